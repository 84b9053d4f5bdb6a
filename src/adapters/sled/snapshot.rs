//! Everything as it was at one moment, while the writer goes on: what is about to change is kept as it was until the
//! reader has passed it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::encoding::after_prefix;
use super::journal::{Changes, Value};
use super::layers::{Layers, Order};
use crate::ports::StoreError;

/// Keys and values in order.
pub(super) type Piece = Vec<(Vec<u8>, Value)>;

/// A moment that is being read. Keys of the sections are kept as they were; all others are none of its business.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// What the keys of each section start with, in the order they are read.
    sections: Vec<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The section that is read, and the last key of it that was.
    section: usize,
    cursor: Option<Vec<u8>>,
    /// What changed since, as it was: none where there was nothing.
    before: Changes,
    /// Why something could not be kept.
    failed: Option<String>,
}

impl Snapshot {
    pub(super) fn new(sections: Vec<Vec<u8>>) -> Self {
        Self {
            sections,
            state: Mutex::new(State {
                section: 0,
                cursor: None,
                before: Changes::new(),
                failed: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what `changes` are about to replace. To be called before readers see any of them.
    pub(super) fn keep(&self, layers: &Layers, changes: &Changes) {
        let mut state = self.state();
        for key in changes.keys() {
            if state.failed.is_some() || state.before.contains_key(key) || !self.still_to_read(&state, key) {
                continue;
            }
            match layers.view().get(key) {
                Ok(value) => drop(state.before.insert(key.clone(), value)),
                // The write goes on; the snapshot is worth nothing any more, and its reader is told.
                Err(error) => state.failed = Some(error.to_string()),
            }
        }
    }

    fn still_to_read(&self, state: &State, key: &[u8]) -> bool {
        let section = self.sections.iter().position(|prefix| key.starts_with(prefix));
        match section {
            None => false,
            Some(section) if section == state.section => {
                state.cursor.as_ref().is_none_or(|cursor| key > cursor.as_slice())
            }
            Some(section) => section > state.section,
        }
    }

    /// The next piece in the order of keys: `more` tells after each value whether the piece goes on. None at the end.
    pub(super) fn piece(
        &self,
        layers: &Layers,
        mut more: impl FnMut(&[u8], &Value) -> bool,
    ) -> Result<Option<Piece>, StoreError> {
        loop {
            let (section, cursor) = {
                let state = self.state();
                (state.section, state.cursor.clone())
            };
            let Some(prefix) = self.sections.get(section) else {
                return Ok(None);
            };
            let from = match &cursor {
                // The next key there can be.
                Some(cursor) => [cursor.as_slice(), b"\0"].concat(),
                None => prefix.clone(),
            };
            let end = after_prefix(prefix);
            let mut found = BTreeMap::new();
            let mut whole = true;
            for item in layers
                .view()
                .scan_range(from.clone(), end.clone(), Order::Ascending)
            {
                let (key, value) = item?;
                let goes_on = more(&key, &value);
                found.insert(key, value);
                if !goes_on {
                    whole = false;
                    break;
                }
            }
            // Only now: a change that was seen above was written down before it could be seen.
            let mut state = self.state();
            if let Some(why) = &state.failed {
                return Err(StoreError::Unavailable(format!("a copy was broken off: {why}")));
            }
            let upper = match (whole, found.last_key_value(), end) {
                (false, Some((last, _)), _) => Bound::Included(last.clone()),
                (_, _, Some(end)) => Bound::Excluded(end),
                (_, _, None) => Bound::Unbounded,
            };
            let passed: Vec<Vec<u8>> = state
                .before
                .range((Bound::Included(from), upper))
                .map(|(key, _)| key.clone())
                .collect();
            // Where the piece ends; what was taken away since may lie before it only.
            let last = found.last_key_value().map(|(key, _)| key.clone());
            for key in passed {
                match state.before.remove(&key).flatten() {
                    Some(value) => drop(found.insert(key, value)),
                    None => drop(found.remove(&key)),
                }
            }
            if whole {
                state.section += 1;
                state.cursor = None;
            } else {
                state.cursor = last;
            }
            if !found.is_empty() {
                return Ok(Some(found.into_iter().collect()));
            }
        }
    }
}

/// The snapshots that are being read now.
#[derive(Debug, Default)]
pub(super) struct Snapshots(Mutex<Vec<Weak<Snapshot>>>);

impl Snapshots {
    /// Begins one. Only the writer may, between two groups of changes or within one that readers do not see yet.
    pub(super) fn begin(&self, sections: Vec<Vec<u8>>) -> Arc<Snapshot> {
        let snapshot = Arc::new(Snapshot::new(sections));
        self.list().push(Arc::downgrade(&snapshot));
        snapshot
    }

    /// Lets all of them keep what `changes` are about to replace.
    pub(super) fn keep(&self, layers: &Layers, changes: &Changes) {
        let mut list = self.list();
        list.retain(|snapshot| snapshot.strong_count() > 0);
        for snapshot in list.iter().filter_map(Weak::upgrade) {
            snapshot.keep(layers, changes);
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Weak<Snapshot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
