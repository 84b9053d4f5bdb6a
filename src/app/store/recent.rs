//! Snap records as they were decoded last. Whoever judges about a snap reads its record from the storage each time; where the
//! bytes are those of the last time, decoding them again would cost more than all else about the judgement.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::domain::catalog::SnapRecord;
use crate::ports::{StoreError, StoredRecord, Versioned};

/// So many snaps are remembered at most, each in the place its key falls on.
const PLACES: usize = 256;
/// Larger records are decoded each time: at most 8 MiB are kept as bytes.
const LARGEST: usize = 32 * 1024;

/// What was decoded last. It cannot be out of date: it is asked with the bytes the storage gave just now, and what they mean
/// depends on nothing else.
#[derive(Debug)]
pub(super) struct Recent {
    places: Box<[Mutex<Option<Known>>]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Known {
    json: Vec<u8>,
    snap: Arc<Versioned<SnapRecord>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
        }
    }
}

impl Recent {
    /// The record these bytes are.
    ///
    /// # Errors
    /// If they are none.
    pub(super) fn decoded(&self, stored: StoredRecord) -> Result<Arc<Versioned<SnapRecord>>, StoreError> {
        let hash = self.hasher.hash_one(&stored.key);
        let place = usize::try_from(hash % PLACES as u64).unwrap_or_default();
        let place = self.places.get(place);
        if let Some(known) = place.and_then(|place| Self::known(&place.lock(), &stored)) {
            return Ok(known);
        }
        let json = (stored.json.len() <= LARGEST).then(|| stored.json.clone());
        let snap = Arc::new(Versioned::try_from(stored)?);
        if let Some((place, json)) = place.zip(json) {
            let snap = Arc::clone(&snap);
            let before = place.lock().replace(Known { json, snap });
            drop(before);
        }
        Ok(snap)
    }

    fn known(place: &Option<Known>, stored: &StoredRecord) -> Option<Arc<Versioned<SnapRecord>>> {
        let known = place.as_ref()?;
        (known.snap.version == stored.version && known.json == stored.json).then(|| Arc::clone(&known.snap))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ports::Key;

    fn stored(publisher: &str, version: u64) -> StoredRecord {
        let id = "s".repeat(32);
        let json = json!({
            "id": id, "name": "gizmo", "brand-id": "acme", "store-id": "acme", "type": null, "private": true,
            "publisher-id": publisher, "newest-revision": 0, "created": "2026-11-22T00:00:00Z",
        });
        StoredRecord {
            key: Key::from([id.as_str()]),
            version,
            json: serde_json::to_vec(&json).unwrap(),
        }
    }

    #[test]
    fn only_the_very_same_bytes_are_not_decoded_again() {
        let recent = Recent::default();
        let first = recent.decoded(stored("first", 1)).unwrap();
        assert!(Arc::ptr_eq(&first, &recent.decoded(stored("first", 1)).unwrap()));
        // A version that came twice, as after a database was put back, is no proof of what the record says.
        let other = recent.decoded(stored("second", 1)).unwrap();
        assert_eq!(other.record.publisher_id.as_str(), "second");
        let later = recent.decoded(stored("second", 2)).unwrap();
        assert_eq!(later.version, 2);
        assert_eq!(first.record.publisher_id.as_str(), "first");
        let broken = StoredRecord {
            json: b"{".to_vec(),
            ..stored("second", 2)
        };
        assert!(recent.decoded(broken).is_err());
        assert!(Arc::ptr_eq(&later, &recent.decoded(stored("second", 2)).unwrap()));
    }

    #[test]
    fn large_records_are_not_kept() {
        let recent = Recent::default();
        let large = || {
            let mut large = stored("first", 1);
            large.json.extend(vec![b' '; LARGEST]);
            large
        };
        let first = recent.decoded(large()).unwrap();
        assert!(!Arc::ptr_eq(&first, &recent.decoded(large()).unwrap()));
    }
}
