//! The production map of a tag: what its production devices see once waves are complete (waves-and-registration.md A.7).

use serde::{Deserialize, Serialize};

use super::binding::SetRef;
use super::pin::{Entry, PinRef};
use super::wave::{Wave, WaveError, WaveKind};
use crate::domain::ident::{SnapId, StoreId, Tag};

/// A revision all production devices of the tag see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Published {
    /// What, for what.
    #[serde(flatten)]
    pub entry: Entry,
    /// The sequence of the wave that brought it.
    pub sequence: u64,
    /// The sequence of the last rollback wave that named it; 0 = none did. Devices that were told of something later than
    /// that are not taken back by it.
    pub rollback: u64,
}

/// What production devices of a tag see. It grows: a wave replaces only what it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProductionMap {
    /// Of which store.
    pub store: StoreId,
    /// For devices of which tag.
    pub tag: Tag,
    /// The highest number given to a wave or its abort.
    pub issued: u64,
    /// The number of the last complete wave; 0 = none is.
    pub published: u64,
    /// The validation sets its waves make, once one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetRef>,
    entries: Vec<Published>,
}

impl ProductionMap {
    /// Nothing yet.
    pub fn new(store: StoreId, tag: Tag) -> Self {
        Self {
            store,
            tag,
            issued: 0,
            published: 0,
            set: None,
            entries: Vec::new(),
        }
    }

    /// Its revisions, in the order of what they are pinned for.
    pub fn entries(&self) -> &[Published] {
        &self.entries
    }

    /// The number of a new wave; the one after it is that of its abort. Numbers are never given twice.
    pub fn reserve(&mut self) -> u64 {
        let sequence = self.issued.saturating_add(1);
        self.issued = sequence.saturating_add(1);
        sequence
    }

    /// What is published for a pin.
    pub fn find(&self, pin: PinRef<'_>) -> Option<&Published> {
        let at = self.place(pin).ok()?;
        self.entries.get(at)
    }

    /// Whether a wave with these revisions may be made.
    ///
    /// # Errors
    /// [`WaveError::VersionNotNewer`]: only rollbacks go back.
    pub fn check(&self, kind: WaveKind, entries: &[Entry]) -> Result<(), WaveError> {
        if kind == WaveKind::Rollback {
            return Ok(());
        }
        for entry in entries {
            if let Some(published) = self.find(entry.pin.by_ref())
                && entry.revision < published.entry.revision
            {
                return Err(WaveError::VersionNotNewer {
                    pin: entry.pin.clone(),
                    wanted: entry.revision,
                    published: published.entry.revision,
                });
            }
        }
        Ok(())
    }

    /// What a wave names is published; the wave is complete.
    pub fn publish(&mut self, wave: &Wave) {
        for entry in wave.entries() {
            let back = wave.kind == WaveKind::Rollback;
            match self.place(entry.pin.by_ref()) {
                Ok(at) => {
                    if let Some(published) = self.entries.get_mut(at) {
                        published.entry.revision = entry.revision;
                        published.sequence = wave.sequence;
                        published.rollback = if back { wave.sequence } else { published.rollback };
                    }
                }
                Err(at) => self.entries.insert(
                    at,
                    Published {
                        entry: entry.clone(),
                        sequence: wave.sequence,
                        rollback: if back { wave.sequence } else { 0 },
                    },
                ),
            }
        }
        self.published = wave.sequence;
    }

    /// Nothing is pinned for this snap any more.
    pub fn prune(&mut self, snap: &SnapId) {
        self.entries
            .retain(|published| published.entry.pin.snap_id != *snap);
    }

    fn place(&self, pin: PinRef<'_>) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|published| published.entry.pin.by_ref().cmp(&pin))
    }
}
