//! The number of the catalogue's last change, and what changed lately: lets readers follow without reading all of it.

use serde::{Deserialize, Serialize};

use crate::domain::ident::{SnapId, StoreId};

/// Changes that are remembered; who is further behind reads everything again.
const REMEMBERED: usize = 256;

/// A part of the catalogue that changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// A snap, its releases, or its revisions.
    Snap(SnapId),
    /// A store, or what is included in it.
    Store(StoreId),
}

/// The head of the catalogue; every change of it goes with a new version of this record, in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CatalogHead {
    /// Grows by one with every change.
    pub sequence: u64,
    /// What the last changes were, oldest first; the last has number `sequence`.
    pub recent: Vec<Changed>,
}

impl CatalogHead {
    /// The head after further changes.
    #[must_use]
    pub fn after(mut self, changes: impl IntoIterator<Item = Changed>) -> Self {
        for change in changes {
            self.sequence += 1;
            self.recent.push(change);
        }
        let surplus = self.recent.len().saturating_sub(REMEMBERED);
        self.recent.drain(..surplus);
        self
    }

    /// What changed after number `since`; none if that is not remembered.
    pub fn since(&self, since: u64) -> Option<&[Changed]> {
        let missing = usize::try_from(self.sequence.checked_sub(since)?).ok()?;
        let first = self.recent.len().checked_sub(missing)?;
        self.recent.get(first..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_changes_are_remembered() {
        let change = |number: usize| Changed::Store(format!("s{number}").parse().unwrap());
        let mut head = CatalogHead::default();
        for number in 0..300 {
            head = head.after([change(number)]);
        }
        assert_eq!(head.sequence, 300);
        assert_eq!(head.since(300), Some([].as_slice()));
        assert_eq!(head.since(298), Some([change(298), change(299)].as_slice()));
        assert_eq!(head.since(300 - 256).map(<[Changed]>::len), Some(256));
        assert_eq!(head.since(300 - 257), None);
        assert_eq!(head.since(301), None);
    }
}
