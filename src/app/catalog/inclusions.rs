//! Curation: which snaps a store shows beside its own, and what it shows in all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::changes::apply;
use crate::app::{App, BrandCtx, Refusal, brands, vault_event};
use crate::domain::access::{Permission, StoreRecord};
use crate::domain::catalog::{Changed, Inclusion, SnapRecord, Stores, permits, visible};
use crate::domain::ident::{SnapId, SnapName, StoreId};
use crate::ports::{Change, Commit, CommitOutcome, Key};

/// Why a store shows a snap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// It is in every store.
    Essential,
    /// It is registered here.
    Own,
    /// All snaps of its store are here.
    WholeStore,
    /// An administrator put it in.
    Included,
}

/// A snap a store shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The snap.
    pub snap: SnapRecord,
    /// Why it is there.
    pub because: Because,
}

/// All stores, and what was put into one of them.
#[derive(Debug)]
struct Shelf {
    stores: BTreeMap<StoreId, StoreRecord>,
    included: BTreeSet<(StoreId, SnapId)>,
}

impl Stores for Shelf {
    fn store(&self, id: &StoreId) -> Option<&StoreRecord> {
        self.stores.get(id)
    }

    fn includes(&self, store: &StoreId, snap: &SnapId) -> bool {
        self.included.contains(&(store.clone(), snap.clone()))
    }
}

impl Shelf {
    async fn of(app: &App, store: &StoreId) -> Result<Self, Refusal> {
        let stores = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
        let included = app.storage.all::<Inclusion>([store.as_str()]).await?;
        Ok(Self {
            stores: stores
                .into_iter()
                .map(|found| (found.record.id.clone(), found.record))
                .collect(),
            included: included
                .into_iter()
                .map(|found| (found.record.store_id, found.record.snap_id))
                .collect(),
        })
    }

    fn because(&self, snap: &SnapRecord, store: &StoreRecord) -> Option<Because> {
        if !visible(self, snap.placed(), &store.id) {
            return None;
        }
        Some(if snap.placed().essential() {
            Because::Essential
        } else if snap.store_id == store.id {
            Because::Own
        } else if store.whole_stores.contains(&snap.store_id) {
            Because::WholeStore
        } else {
            Because::Included
        })
    }
}

/// What a store shows, by name: to publishers their own snaps, to the others all.
pub async fn contents(app: &App, ctx: &BrandCtx, id: &StoreId) -> Result<Vec<Shown>, Refusal> {
    let store = brands::store(app, ctx, id).await?.record;
    let shelf = Shelf::of(app, id).await?;
    let all = ctx.may(Permission::SnapReadAll);
    let snaps = app.storage.all::<SnapRecord>(Key(Vec::new())).await?;
    let mut shown: Vec<Shown> = snaps
        .into_iter()
        .map(|found| found.record)
        .filter(|snap| all || ctx.may_with(snap, Permission::SnapRead))
        .filter_map(|snap| {
            shelf
                .because(&snap, &store)
                .map(|because| Shown { snap, because })
        })
        .collect();
    shown.sort_by(|a, b| a.snap.name.cmp(&b.snap.name));
    Ok(shown)
}

/// Puts a snap into a store. A snap that may not be put there answers like one that is not there; doing it twice is
/// fine.
///
/// # Errors
/// `already-shown` where the store shows it anyway.
pub async fn include(app: &App, ctx: &BrandCtx, id: &StoreId, name: &SnapName) -> Result<Shown, Refusal> {
    let found = brands::store(app, ctx, id).await?;
    let shelf = Shelf::of(app, id).await?;
    let absent = || {
        Refusal::not_found(format!(
            "cannot include snap {name} in store {id}: there is no such snap, or the store may not take it"
        ))
    };
    let snap = find(app, name).await?.ok_or_else(absent)?;
    match shelf.because(&snap, &found.record) {
        Some(because @ Because::Included) => return Ok(Shown { snap, because }),
        Some(Because::Essential | Because::Own | Because::WholeStore) => {
            return Err(Refusal::conflict(
                "already-shown",
                format!("cannot include snap {name} in store {id}: the store shows it anyway"),
            ));
        }
        None => {}
    }
    if !permits(&shelf, &snap.store_id, &found.record) {
        return Err(absent());
    }
    let inclusion = Inclusion {
        store_id: id.clone(),
        snap_id: snap.id.clone(),
        since: app.clock.now(),
    };
    let records = vec![
        Change::create(&inclusion),
        // What was judged by must still hold.
        Change::replace(&found.record, found.version),
    ];
    let outcome = commit(app, ctx, "store.include", id, &snap, records).await?;
    App::settle(&outcome)?;
    Ok(Shown {
        snap,
        because: Because::Included,
    })
}

/// Takes a snap out of a store again; it stays where it is registered.
///
/// # Errors
/// `essential-snap` for what is in every store; a snap that was not put in is not found.
pub async fn exclude(app: &App, ctx: &BrandCtx, id: &StoreId, name: &SnapName) -> Result<(), Refusal> {
    let store = brands::store(app, ctx, id).await?.record;
    let absent = || {
        Refusal::not_found(format!(
            "cannot exclude snap {name} from store {id}: it was not included there"
        ))
    };
    let snap = find(app, name).await?.ok_or_else(absent)?;
    if snap.placed().essential() {
        return Err(Refusal::conflict(
            "essential-snap",
            format!("cannot exclude snap {name}: snapd and the bases are in every store"),
        ));
    }
    let key = [store.id.as_str(), snap.id.as_str()];
    let inclusion = app.storage.find::<Inclusion>(key).await?.ok_or_else(absent)?;
    let records = vec![Change::delete(&inclusion.record, inclusion.version)];
    let outcome = commit(app, ctx, "store.exclude", id, &snap, records).await?;
    App::settle(&outcome)
}

async fn find(app: &App, name: &SnapName) -> Result<Option<SnapRecord>, Refusal> {
    let found = app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await?;
    Ok(found.map(|found| found.record))
}

async fn commit(
    app: &App,
    ctx: &BrandCtx,
    action: &str,
    store: &StoreId,
    snap: &SnapRecord,
    records: Vec<Change>,
) -> Result<CommitOutcome, Refusal> {
    let detail = json!({ "snap-id": snap.id });
    let audit = vec![vault_event(
        app,
        ctx,
        action,
        &format!("{store}/{}", snap.name),
        &detail,
    )];
    let commit = Commit {
        records,
        audit,
        ..Commit::default()
    };
    apply(app, commit, &[Changed::Store(store.clone())]).await
}
