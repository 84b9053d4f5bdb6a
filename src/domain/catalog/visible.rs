//! The visible-set rule (admin-api.md 1.1): which snaps a store shows. The heart of curation; every read path asks it.
//!
//! `visible(S) = essential ∪ own(S) ∪ {s ∈ included(S): its store permits S} ∪ own(W) for every W wholly included in S`,
//! each without what is revoked.
//! A store X permits S if S names X as a source and, where X lists targets, S is one of them.

use crate::domain::access::StoreRecord;
use crate::domain::ident::{SnapId, SnapName, StoreId};

/// Snaps that are in every store, with the ids clients expect them under (device-api.md 12.4, and snapd's own list for
/// the others).
pub const WELL_KNOWN: [(&str, &str); 7] = [
    ("core", "99T7MUlRhtI3U0QFgl5mXXESAiSwt776"),
    ("snapd", "PMrrV4ml8uWuEUDBT8dSGnKUYbevVhc4"),
    ("core18", "CSO04Jhav2yK0uz97cr0ipQRyqg0qQL6"),
    ("core20", "DLqre5XGLbDqg9jPtiAhRRjDuPVa5X1q"),
    ("core22", "amcUKQILKXHHTlmSa7NMdnXSx02dNeeT"),
    ("core24", "dwTAh7MZZ01zyriOZErqd1JynQLiOGvM"),
    ("core26", "cUqM61hRuZAJYmIS898Ux66VY61gBbZf"),
];

/// The id that a snap of this name must have.
pub fn well_known_id(name: &SnapName) -> Option<&'static str> {
    WELL_KNOWN
        .iter()
        .find(|(known, _)| *known == name.as_str())
        .map(|(_, id)| *id)
}

/// What the rule needs to know of a snap.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Its id.
    pub id: &'a SnapId,
    /// Its name.
    pub name: &'a SnapName,
    /// The base store it is registered in.
    pub store: &'a StoreId,
    /// Whether only those who prove to belong to a store get it.
    pub private: bool,
    /// Whether its declaration takes it away from everybody.
    pub revoked: bool,
}

impl Placed<'_> {
    /// Whether it is in every store: snapd and the bases.
    pub fn essential(&self) -> bool {
        well_known_id(self.name) == Some(self.id.as_str())
    }
}

/// The stores, as the rule sees them.
pub trait Stores {
    /// The store of this id.
    fn store(&self, id: &StoreId) -> Option<&StoreRecord>;

    /// Whether an administrator put this snap into the store.
    fn includes(&self, store: &StoreId, snap: &SnapId) -> bool;
}

/// Whether `store` shows `snap`, to those who may see all of the store.
pub fn visible(stores: &impl Stores, snap: Placed<'_>, store: &StoreId) -> bool {
    let Some(record) = stores.store(store).filter(|_| !snap.revoked) else {
        return false;
    };
    // Most snaps are asked for in their own store.
    snap.store == store
        || snap.essential()
        || record.whole_stores.contains(snap.store)
        || (stores.includes(store, snap.id) && permits(stores, snap.store, record))
}

/// Whether snaps of `source` may be included one by one in `target`.
pub fn permits(stores: &impl Stores, source: &StoreId, target: &StoreRecord) -> bool {
    let Some(source) = stores.store(source) else {
        return false;
    };
    target.inclusion_sources.contains(&source.id)
        && (source.inclusion_targets.is_empty() || source.inclusion_targets.contains(&target.id))
}

/// Who asks, as far as it decides what they see.
#[derive(Clone, Copy, Debug)]
pub enum Viewer<'a> {
    /// Nobody in particular. The store they name decides, and private snaps are absent; without one they see what is
    /// not private in stores that are not.
    Anyone(Option<&'a StoreId>),
    /// A device with a session of this store, or an account with a role there.
    Of(&'a StoreId),
}

/// Whether `viewer` gets `snap`. The one question of every read path: what is not seen is answered as absent.
pub fn sees(stores: &impl Stores, snap: Placed<'_>, viewer: Viewer<'_>) -> bool {
    match viewer {
        Viewer::Of(store) => visible(stores, snap, store),
        Viewer::Anyone(_) if snap.private || snap.revoked => false,
        Viewer::Anyone(Some(store)) => visible(stores, snap, store),
        Viewer::Anyone(None) => {
            snap.essential() || stores.store(snap.store).is_some_and(|store| !store.private)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::Timestamp;

    #[derive(Debug, Default)]
    struct World {
        stores: BTreeMap<StoreId, StoreRecord>,
        included: BTreeSet<(StoreId, SnapId)>,
    }

    impl Stores for World {
        fn store(&self, id: &StoreId) -> Option<&StoreRecord> {
            self.stores.get(id)
        }

        fn includes(&self, store: &StoreId, snap: &SnapId) -> bool {
            self.included.contains(&(store.clone(), snap.clone()))
        }
    }

    fn store_id(number: usize) -> StoreId {
        format!("store-{number}").parse().unwrap()
    }

    fn record(number: usize) -> StoreRecord {
        StoreRecord::new(
            store_id(number),
            "acme".parse().unwrap(),
            "x".to_owned(),
            Timestamp::from_unix(0),
        )
    }

    #[derive(Clone, Debug)]
    struct Snap(SnapId, SnapName, StoreId, bool, bool);

    impl Snap {
        fn placed(&self) -> Placed<'_> {
            Placed {
                id: &self.0,
                name: &self.1,
                store: &self.2,
                private: self.3,
                revoked: self.4,
            }
        }
    }

    fn world() -> impl Strategy<Value = (World, Vec<Snap>)> {
        let sets = || proptest::collection::btree_set(0usize..4, 0..4);
        let stores = proptest::collection::vec((sets(), sets(), sets(), any::<bool>()), 4);
        let snap = (0usize..4, any::<bool>(), any::<bool>(), any::<bool>(), sets());
        let snaps = proptest::collection::vec(snap, 6);
        (stores, snaps).prop_map(|(stores, snaps)| {
            let ids = |set: BTreeSet<usize>| set.into_iter().map(store_id).collect::<BTreeSet<_>>();
            let mut world = World::default();
            for (number, (sources, targets, whole, private)) in stores.into_iter().enumerate() {
                let mut record = record(number);
                record.inclusion_sources = ids(sources);
                record.inclusion_targets = ids(targets);
                record.whole_stores = ids(whole);
                record.private = private;
                world.stores.insert(record.id.clone(), record);
            }
            let snaps = snaps.into_iter().enumerate().map(
                |(number, (store, private, revoked, essential, included))| {
                    let (name, id) = match (essential, WELL_KNOWN.get(number)) {
                        (true, Some((name, id))) => ((*name).to_owned(), (*id).to_owned()),
                        _ => (format!("snap-{number}"), format!("{number:032}")),
                    };
                    let id: SnapId = id.parse().unwrap();
                    for store in included {
                        world.included.insert((store_id(store), id.clone()));
                    }
                    Snap(id, name.parse().unwrap(), store_id(store), private, revoked)
                },
            );
            let snaps = snaps.collect();
            (world, snaps)
        })
    }

    proptest! {
        /// The rule, said a second time as sets.
        #[test]
        fn the_rule_holds((world, snaps) in world()) {
            for store in world.stores.values() {
                for snap in &snaps {
                    let mut shown = BTreeSet::new();
                    for other in &snaps {
                        if WELL_KNOWN.iter().any(|(_, id)| *id == other.0.as_str()) || other.2 == store.id {
                            shown.insert(&other.0);
                        }
                        let source = &world.stores[&other.2];
                        let listed = source.inclusion_targets.is_empty() || source.inclusion_targets.contains(&store.id);
                        if world.includes(&store.id, &other.0) && store.inclusion_sources.contains(&source.id) && listed {
                            shown.insert(&other.0);
                        }
                    }
                    for whole in &store.whole_stores {
                        shown.extend(snaps.iter().filter(|other| other.2 == *whole).map(|other| &other.0));
                    }
                    for revoked in snaps.iter().filter(|other| other.4) {
                        shown.remove(&revoked.0);
                    }
                    prop_assert_eq!(visible(&world, snap.placed(), &store.id), shown.contains(&snap.0));
                    prop_assert_eq!(sees(&world, snap.placed(), Viewer::Of(&store.id)), shown.contains(&snap.0));
                    prop_assert_eq!(
                        sees(&world, snap.placed(), Viewer::Anyone(Some(&store.id))),
                        shown.contains(&snap.0) && !snap.3
                    );
                }
            }
        }

        /// Nobody in particular never sees a private snap, and never more than somebody of the store.
        #[test]
        fn strangers_see_less((world, snaps) in world()) {
            for snap in &snaps {
                for store in world.stores.keys() {
                    let stranger = sees(&world, snap.placed(), Viewer::Anyone(Some(store)));
                    prop_assert!(!(stranger && snap.3));
                    prop_assert!(!stranger || sees(&world, snap.placed(), Viewer::Of(store)));
                }
                prop_assert!(!((snap.3 || snap.4) && sees(&world, snap.placed(), Viewer::Anyone(None))));
                prop_assert!(!sees(&world, snap.placed(), Viewer::Of(&"nowhere".parse().unwrap())));
            }
        }
    }
}
