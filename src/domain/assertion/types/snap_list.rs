//! What lists of snaps have in common: no snap and no snap id stands there twice.

use std::collections::{BTreeMap, BTreeSet};

use super::checks::{Checked, Fields};

/// The snaps of a list so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    names: BTreeSet<String>,
    ids: BTreeMap<String, String>,
}

impl Seen {
    /// Notes the snap of `entry`; refuses one whose name or id was there before.
    pub(super) fn add(&mut self, entry: &Fields<'_>, name: &str, id: Option<&str>) -> Checked<()> {
        if !self.names.insert(name.to_owned()) {
            return Err(entry.wrong("name", format!("lists snap {name:?} a second time")));
        }
        if let Some(id) = id
            && let Some(before) = self.ids.insert(id.to_owned(), name.to_owned())
        {
            return Err(entry.wrong("id", format!("is the id of two snaps, {before:?} and {name:?}")));
        }
        Ok(())
    }
}
