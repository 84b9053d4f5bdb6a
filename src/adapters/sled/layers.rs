//! What is stored, as seen by readers: recent changes in memory over the index on disk.

use std::cmp::Ordering;
use std::collections::btree_map;
use std::fs::File;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::encoding::after_prefix;
use super::journal::{Changes, Large, Place, Value, read_large};
use super::snapshot::Snapshots;
use crate::ports::StoreError;

/// The index and the changes that are not in it yet. Everything here is in the journal, except places that were only
/// reserved.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) index: ::sled::Db,
    pub(super) journal: Arc<File>,
    recent: RwLock<Recent>,
    pub(super) snapshots: Snapshots,
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Grows with every group of writes.
    pub(super) active: Changes,
    /// On its way into the index; no longer changes.
    pub(super) frozen: Option<Arc<Changes>>,
}

/// The order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

/// Reads through all layers, and through changes that only the caller knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    layers: &'a Layers,
    /// Seen before all else; the last first.
    private: &'a [&'a Changes],
}

impl Layers {
    pub(super) fn new(index: ::sled::Db, journal: Arc<File>) -> Self {
        Self {
            index,
            journal,
            recent: RwLock::default(),
            snapshots: Snapshots::default(),
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            layers: self,
            private: &[],
        }
    }

    pub(super) fn view_with<'a>(&'a self, private: &'a [&'a Changes]) -> View<'a> {
        View {
            layers: self,
            private,
        }
    }

    pub(super) fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a group of changes to readers. Who reads an earlier moment goes on seeing that.
    pub(super) fn show(&self, changes: Changes) {
        self.snapshots.keep(self, &changes);
        self.recent_mut().active.extend(changes);
    }

    /// The large part of `value`; empty if it has none.
    pub(super) fn large(&self, value: &Value) -> Result<Bytes, StoreError> {
        match &value.large {
            None => Ok(Bytes::new()),
            Some(Large::New(bytes)) => Ok(bytes.clone()),
            Some(Large::Stored(place)) => read_large(&self.journal, *place),
        }
    }
}

impl<'a> View<'a> {
    /// What lies under it.
    pub(super) fn layers(&self) -> &'a Layers {
        self.layers
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        if let Some(change) = self.private.iter().rev().find_map(|changes| changes.get(key)) {
            return Ok(change.clone());
        }
        {
            let recent = self.layers.recent();
            let frozen = || recent.frozen.as_ref().and_then(|frozen| frozen.get(key));
            if let Some(change) = recent.active.get(key).or_else(frozen) {
                return Ok(change.clone());
            }
        }
        self.layers
            .index
            .get(key)
            .map_err(|error| index_error(&error))?
            .map(|bytes| from_index(&bytes))
            .transpose()
    }

    /// The large part of `value`; empty if it has none.
    pub(super) fn large(&self, value: &Value) -> Result<Bytes, StoreError> {
        self.layers.large(value)
    }

    /// All keys that start with `prefix`, and their values.
    pub(super) fn scan(&self, prefix: &[u8], order: Order) -> Scan {
        self.scan_range(prefix.to_vec(), after_prefix(prefix), order)
    }

    /// All keys from `from` on that lie below `to`, and their values.
    pub(super) fn scan_range(&self, from: Vec<u8>, to: Option<Vec<u8>>, order: Order) -> Scan {
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(from), end);
        let empty = matches!(&bounds, (Bound::Included(from), Bound::Excluded(to)) if from >= to);
        let mut changes = Changes::new();
        if !empty {
            let recent = self.layers.recent();
            let layers = recent.frozen.as_deref().into_iter().chain([&recent.active]);
            for layer in layers.chain(self.private.iter().copied()) {
                let range = layer.range::<Vec<u8>, _>((bounds.0.as_ref(), bounds.1.as_ref()));
                changes.extend(range.map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        let index = (!empty).then(|| self.layers.index.range::<Vec<u8>, _>(bounds));
        Scan {
            changes: Directed {
                inner: changes.into_iter(),
                order,
            }
            .peekable(),
            index: Directed {
                inner: Ends(index),
                order,
            }
            .peekable(),
            order,
        }
    }
}

/// Keys and values in order; changes go before what the index says.
pub(super) struct Scan {
    changes: Peekable<Directed<btree_map::IntoIter<Vec<u8>, Option<Value>>>>,
    index: Peekable<Directed<Ends>>,
    order: Order,
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Value), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let changed_first = match (self.changes.peek(), self.index.peek()) {
                (None, None) => return None,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(_), Some(Err(_))) => Ordering::Greater,
                (Some((changed, _)), Some(Ok((stored, _)))) => match self.order {
                    Order::Ascending => changed.as_slice().cmp(stored.as_ref()),
                    Order::Descending => stored.as_ref().cmp(changed.as_slice()),
                },
            };
            if changed_first == Ordering::Greater {
                let item = self.index.next()?.map_err(|error| index_error(&error));
                return Some(item.and_then(|(key, bytes)| Ok((key.to_vec(), from_index(&bytes)?))));
            }
            if changed_first == Ordering::Equal {
                self.index.next();
            }
            if let (key, Some(value)) = self.changes.next()? {
                return Some(Ok((key, value)));
            }
        }
    }
}

/// A range of the index; none where bounds leave nothing.
struct Ends(Option<::sled::Iter>);

impl Iterator for Ends {
    type Item = ::sled::Result<(::sled::IVec, ::sled::IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }
}

impl DoubleEndedIterator for Ends {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next_back()
    }
}

/// An iterator taken from one of its ends.
struct Directed<I> {
    inner: I,
    order: Order,
}

impl<I: DoubleEndedIterator> Iterator for Directed<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        match self.order {
            Order::Ascending => self.inner.next(),
            Order::Descending => self.inner.next_back(),
        }
    }
}

const PLAIN: u8 = 1;
const WITH_PLACE: u8 = 2;

/// A value as the index holds it.
pub(super) fn to_index(value: &Value) -> Result<Vec<u8>, StoreError> {
    Ok(match &value.large {
        None => [&[PLAIN], value.small.as_slice()].concat(),
        Some(Large::Stored(place)) => [&[WITH_PLACE], place.to_bytes().as_slice(), &value.small].concat(),
        Some(Large::New(_)) => return Err(StoreError::Corrupt("a value is not in the journal".to_owned())),
    })
}

/// What [`to_index`] wrote.
pub(super) fn from_index(bytes: &[u8]) -> Result<Value, StoreError> {
    let corrupt = || StoreError::Corrupt("the index holds a value that is none".to_owned());
    match bytes.split_first() {
        Some((&PLAIN, small)) => Ok(Value {
            small: small.to_vec(),
            large: None,
        }),
        Some((&WITH_PLACE, rest)) => {
            let (place, small) = rest.split_at_checked(Place::SIZE).ok_or_else(corrupt)?;
            let place = Place::from_bytes(place).ok_or_else(corrupt)?;
            Ok(Value {
                small: small.to_vec(),
                large: Some(Large::Stored(place)),
            })
        }
        Some(_) | None => Err(corrupt()),
    }
}

/// What an error of the index means to users.
pub(super) fn index_error(error: &::sled::Error) -> StoreError {
    use ::sled::Error;
    match error {
        Error::Corruption { .. } | Error::CollectionNotFound(_) => StoreError::Corrupt(format!(
            "the index: {error}; stop the server and delete the directory `index`, the next \
                                        start makes it anew from the journal"
        )),
        Error::Io(_) | Error::Unsupported(_) | Error::ReportableBug(_) => {
            StoreError::Unavailable(format!("the index: {error}"))
        }
    }
}
