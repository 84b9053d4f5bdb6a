//! Curation: which snaps a store shows beside its own, and what it shows in all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::changes::apply;
use crate::app::{App, Refusal, StoreCtx};
use crate::domain::access::StoreRecord;
use crate::domain::audit::AuditEvent;
use crate::domain::catalog::{Changed, Inclusion, SnapRecord, Stores, permits, visible};
use crate::domain::ident::{SnapId, SnapName, StoreId};
use crate::ports::{Change, Commit, Key};

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
pub async fn contents(app: &App, ctx: &StoreCtx) -> Result<Vec<Shown>, Refusal> {
    let store = ctx.store();
    let shelf = Shelf::of(app, &store.id).await?;
    let mut shown: Vec<Shown> = snaps(app)
        .await?
        .filter(|snap| ctx.may_see(snap))
        .filter_map(|snap| shelf.because(&snap, store).map(|because| Shown { snap, because }))
        .collect();
    shown.sort_by(|a, b| a.snap.name.cmp(&b.snap.name));
    Ok(shown)
}

/// The snaps that an administrator may put into a store and that it does not show yet, by name.
pub async fn candidates(app: &App, ctx: &StoreCtx) -> Result<Vec<SnapRecord>, Refusal> {
    let store = ctx.store();
    let shelf = Shelf::of(app, &store.id).await?;
    let mut free: Vec<SnapRecord> = snaps(app)
        .await?
        .filter(|snap| !snap.revoked && permits(&shelf, &snap.store_id, store))
        .filter(|snap| shelf.because(snap, store).is_none())
        .collect();
    free.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(free)
}

async fn snaps(app: &App) -> Result<impl Iterator<Item = SnapRecord>, Refusal> {
    let all = app.storage.all::<SnapRecord>(Key(Vec::new())).await?;
    Ok(all.into_iter().map(|found| found.record))
}

/// Puts a snap into a store. A snap that may not be put there answers like one that is not there; doing it twice is
/// fine.
///
/// # Errors
/// `already-shown` where the store shows it anyway.
pub async fn include(app: &App, ctx: &StoreCtx, name: &SnapName) -> Result<Shown, Refusal> {
    let change = Curation {
        add: vec![name.clone()],
        remove: Vec::new(),
    };
    let mut shown = curate(app, ctx, &change).await?;
    shown.pop().ok_or_else(App::changed_meanwhile)
}

/// Takes a snap out of a store again; it stays where it is registered.
///
/// # Errors
/// `essential-snap` for what is in every store; a snap that was not put in is not found.
pub async fn exclude(app: &App, ctx: &StoreCtx, name: &SnapName) -> Result<(), Refusal> {
    let change = Curation {
        add: Vec::new(),
        remove: vec![name.clone()],
    };
    curate(app, ctx, &change).await.map(|_| ())
}

/// Snaps that go into a store and out of it.
#[derive(Clone, Debug, Default)]
pub struct Curation {
    /// To be put in.
    pub add: Vec<SnapName>,
    /// To be taken out.
    pub remove: Vec<SnapName>,
}

/// Changes what a store shows: all of it or, if one part cannot be, nothing. Answers what was added.
///
/// # Errors
/// Those of [`include`] and [`exclude`]; `contradiction` for a snap that is in both lists or twice in one.
pub async fn curate(app: &App, ctx: &StoreCtx, change: &Curation) -> Result<Vec<Shown>, Refusal> {
    let names: BTreeSet<&SnapName> = change.add.iter().chain(&change.remove).collect();
    if names.len() != change.add.len() + change.remove.len() {
        return Err(Refusal::invalid(
            "contradiction",
            "cannot change what the store shows: a snap is named twice",
        ));
    }
    let found = ctx.again(app).await?;
    let store = &found.record;
    let shelf = Shelf::of(app, &store.id).await?;
    let mut commit = Commit::default();
    let mut shown = Vec::new();
    for name in &change.add {
        shown.push(put_in(app, ctx, &shelf, store, name, &mut commit).await?);
    }
    for name in &change.remove {
        take_out(app, ctx, store, name, &mut commit).await?;
    }
    if commit.records.is_empty() {
        return Ok(shown);
    }
    if !change.add.is_empty() {
        // What was judged by must still hold.
        commit.records.push(Change::replace(store, found.version));
    }
    let outcome = apply(app, commit, &[Changed::Store(store.id.clone())]).await?;
    App::settle(&outcome).map(|()| shown)
}

async fn put_in(
    app: &App,
    ctx: &StoreCtx,
    shelf: &Shelf,
    store: &StoreRecord,
    name: &SnapName,
    commit: &mut Commit,
) -> Result<Shown, Refusal> {
    let id = &store.id;
    let absent = || {
        Refusal::not_found(format!(
            "cannot include snap {name} in store {id}: there is no such snap, or the store may not take it"
        ))
    };
    let snap = find(app, name).await?.ok_or_else(absent)?;
    match shelf.because(&snap, store) {
        Some(because @ Because::Included) => return Ok(Shown { snap, because }),
        Some(Because::Essential | Because::Own | Because::WholeStore) => {
            return Err(Refusal::conflict(
                "already-shown",
                format!("cannot include snap {name} in store {id}: the store shows it anyway"),
            ));
        }
        None => {}
    }
    if !permits(shelf, &snap.store_id, store) {
        return Err(absent());
    }
    let inclusion = Inclusion {
        store_id: id.clone(),
        snap_id: snap.id.clone(),
        since: app.clock.now(),
    };
    commit.records.push(Change::create(&inclusion));
    commit.audit.push(event(app, ctx, "store.include", &snap));
    Ok(Shown {
        snap,
        because: Because::Included,
    })
}

async fn take_out(
    app: &App,
    ctx: &StoreCtx,
    store: &StoreRecord,
    name: &SnapName,
    commit: &mut Commit,
) -> Result<(), Refusal> {
    let absent = || {
        Refusal::not_found(format!(
            "cannot exclude snap {name} from store {}: it was not included there",
            store.id
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
    commit
        .records
        .push(Change::delete(&inclusion.record, inclusion.version));
    commit.audit.push(event(app, ctx, "store.exclude", &snap));
    Ok(())
}

async fn find(app: &App, name: &SnapName) -> Result<Option<SnapRecord>, Refusal> {
    let found = app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await?;
    Ok(found.map(|found| found.record))
}

fn event(app: &App, ctx: &StoreCtx, action: &str, snap: &SnapRecord) -> AuditEvent {
    let subject = format!("{}/{}", ctx.store().id, snap.name);
    let mut event = ctx.event(app.clock.now(), action, &subject);
    event.detail.insert("snap-id".to_owned(), json!(snap.id));
    event
}
