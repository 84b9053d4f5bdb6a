//! Which names may be registered in a store, by whom, and for what kind of snap (admin-api.md 1.2, 1.3).

use super::snap::SnapPrefix;
use super::visible::well_known_id;
use crate::domain::access::StoreRecord;
use crate::domain::ident::{SnapName, StoreId};
use crate::domain::snap::SnapType;

/// For whom a name is registered.
#[derive(Clone, Copy, Debug)]
pub struct Registrant {
    /// The publisher is the brand's own account.
    pub brand: bool,
    /// The instance operator registers it.
    pub operator: bool,
}

/// Why a name may not be registered. Reads as the end of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameRefusal {
    /// It is the name of a snap that is in every store.
    #[error("only the instance operator hosts snaps of this name")]
    WellKnown,
    /// The store wants names to begin otherwise.
    #[error("names of snaps in this store begin with {0}")]
    Prefix(String),
    /// A kind of snap that only the brand publishes.
    #[error("only the brand's own account publishes {0} snaps; the instance operator can register it")]
    BrandOnly(SnapType),
    /// The name and the kind do not go together.
    #[error("a snap of this name has type {0}")]
    Reserved(SnapType),
    /// There is one snap of this kind.
    #[error("a snap of type {0} is named {1}")]
    Singular(SnapType, &'static str),
}

/// A beginning of names that holds in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPrefix {
    /// The beginning.
    pub prefix: SnapPrefix,
    /// The store it is inherited from; none: it is the store's own.
    pub from: Option<StoreId>,
}

/// The beginnings of names that hold in `store`: its own, and those of its parent that can be inherited. Names are
/// registered in base stores, which have no parent; of a view these are the beginnings its brand gives away, as clients
/// show them (`snap-name-prefixes` with `parent-id`).
pub fn prefixes_of(store: &StoreRecord, parent: Option<&StoreRecord>) -> Vec<KnownPrefix> {
    let own = store.name_prefixes.iter().map(|prefix| KnownPrefix {
        prefix: prefix.clone(),
        from: None,
    });
    let inherited = parent.into_iter().flat_map(|parent| {
        let given = parent.name_prefixes.iter().filter(|known| known.inheritable);
        given.map(|prefix| KnownPrefix {
            prefix: prefix.clone(),
            from: Some(parent.id.clone()),
        })
    });
    own.chain(inherited).collect()
}

/// Whether `name` may be registered in `store`.
pub fn may_register(name: &SnapName, store: &StoreRecord, by: Registrant) -> Result<(), NameRefusal> {
    if well_known_id(name).is_some() {
        return if by.operator {
            Ok(())
        } else {
            Err(NameRefusal::WellKnown)
        };
    }
    let prefixes = &store.name_prefixes;
    let fits = prefixes
        .iter()
        .any(|known| name.as_str().starts_with(&known.prefix));
    if fits || prefixes.is_empty() {
        return Ok(());
    }
    let known: Vec<&str> = prefixes.iter().map(|known| known.prefix.as_str()).collect();
    Err(NameRefusal::Prefix(known.join(", ")))
}

/// Whether a snap of this name may be of type `kind`.
pub fn may_be(name: &SnapName, kind: SnapType, by: Registrant) -> Result<(), NameRefusal> {
    let reserved = match name.as_str() {
        "snapd" => Some(SnapType::Snapd),
        "core" => Some(SnapType::Os),
        _ => well_known_id(name).map(|_| SnapType::Base),
    };
    match (reserved, kind) {
        (Some(reserved), kind) if reserved == kind => Ok(()),
        (Some(reserved), _) => Err(NameRefusal::Reserved(reserved)),
        (None, SnapType::Snapd) => Err(NameRefusal::Singular(kind, "snapd")),
        (None, SnapType::Os) => Err(NameRefusal::Singular(kind, "core")),
        (None, SnapType::Gadget | SnapType::Kernel) if !(by.brand || by.operator) => {
            Err(NameRefusal::BrandOnly(kind))
        }
        (None, SnapType::Gadget | SnapType::Kernel | SnapType::App | SnapType::Base) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::visible::WELL_KNOWN;
    use super::*;
    use crate::domain::time::Timestamp;

    fn store(prefixes: &[&str]) -> StoreRecord {
        let mut store = StoreRecord::new(
            "acme".parse().unwrap(),
            "acme".parse().unwrap(),
            "Acme".to_owned(),
            Timestamp::from_unix(0),
        );
        store.name_prefixes = prefixes
            .iter()
            .map(|prefix| SnapPrefix {
                prefix: (*prefix).to_owned(),
                inheritable: false,
            })
            .collect();
        store
    }

    fn by(brand: bool, operator: bool) -> Registrant {
        Registrant { brand, operator }
    }

    #[test]
    fn the_names_in_every_store_are_the_operators() {
        for (name, _) in WELL_KNOWN {
            let name: SnapName = name.parse().unwrap();
            assert_eq!(may_register(&name, &store(&["acme-"]), by(true, true)), Ok(()));
            assert_eq!(
                may_register(&name, &store(&[]), by(true, false)),
                Err(NameRefusal::WellKnown)
            );
            assert!(may_be(&name, SnapType::App, by(true, true)).is_err());
        }
        assert_eq!(
            may_be(&"core22".parse().unwrap(), SnapType::Base, by(false, true)),
            Ok(())
        );
        assert_eq!(
            may_be(&"core".parse().unwrap(), SnapType::Os, by(false, true)),
            Ok(())
        );
        assert_eq!(
            may_be(&"mine".parse().unwrap(), SnapType::Snapd, by(true, true)),
            Err(NameRefusal::Singular(SnapType::Snapd, "snapd"))
        );
    }

    #[test]
    fn views_have_the_beginnings_their_parent_gives_away() {
        let mut base = store(&["acme-", "lab-"]);
        base.name_prefixes[0].inheritable = true;
        let mut view = store(&[]);
        view.id = "view".parse().unwrap();
        view.parent = Some(base.id.clone());
        let known = |store: &StoreRecord, parent: Option<&StoreRecord>| -> Vec<(String, bool)> {
            let all = prefixes_of(store, parent).into_iter();
            all.map(|known| (known.prefix.prefix, known.from.is_some()))
                .collect()
        };
        assert_eq!(
            known(&base, None),
            [("acme-".to_owned(), false), ("lab-".to_owned(), false)]
        );
        assert_eq!(known(&view, Some(&base)), [("acme-".to_owned(), true)]);
        assert_eq!(known(&view, None), []);
    }

    proptest! {
        /// A name passes exactly if the store wants no beginning, or it has one of those.
        #[test]
        fn a_beginning_is_enough(name in "[a-c]{2,4}", prefixes in prop::collection::vec("[a-c]{1,2}", 0..4)) {
            let name: SnapName = name.parse().unwrap();
            let words: Vec<&str> = prefixes.iter().map(String::as_str).collect();
            let fits = words.is_empty() || words.iter().any(|word| name.as_str().starts_with(word));
            prop_assert_eq!(may_register(&name, &store(&words), by(false, false)).is_ok(), fits);
        }

        /// Gadgets and kernels are the brand's or the operator's; applications and bases anybody's.
        #[test]
        fn gadgets_and_kernels_are_the_brands(name in "x-[a-z]{1,8}", brand: bool, operator: bool) {
            let name: SnapName = name.parse().unwrap();
            for kind in [SnapType::Gadget, SnapType::Kernel] {
                prop_assert_eq!(may_be(&name, kind, by(brand, operator)).is_ok(), brand || operator);
            }
            for kind in [SnapType::App, SnapType::Base] {
                prop_assert!(may_be(&name, kind, by(brand, operator)).is_ok());
            }
        }
    }
}
