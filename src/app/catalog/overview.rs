//! What an account has: its keys, its roles in stores, and the snaps it may act on (publisher-api.md 6.2).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::app::login;
use crate::app::own_keys;
use crate::app::store::{SnapEntry, publisher};
use crate::app::{App, BrandCtx, OwnCtx, Place, Refusal, SnapCtx};
use crate::domain::access::{Account, Membership, Permission, Role, StoreRecord};
use crate::domain::assertion::Assertion;
use crate::domain::ident::{BrandId, StoreId};
use crate::ports::Key;

/// What an account has.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The account.
    pub account: Account,
    /// What its account assertion says of it: `unproven`, `verified`...
    pub validation: String,
    /// Its account-keys.
    pub keys: Vec<Assertion>,
    /// The stores it has a part in, with its roles.
    pub stores: Vec<(StoreRecord, Vec<Role>)>,
    /// The snaps it may act on, in no order: its own, those it helps with, those of a brand it acts for.
    pub snaps: Vec<Arc<SnapEntry>>,
    /// The names of their stores.
    pub store_names: HashMap<StoreId, String>,
}

/// What the caller has, as far as their token shows it.
///
/// # Errors
/// If the storage is out of reach.
pub async fn overview(app: &App, ctx: &OwnCtx) -> Result<Overview, Refusal> {
    let who = login::whoami(app, ctx).await?;
    let stores = stores(app, ctx, who.memberships).await?;
    let snaps = snaps(app, ctx).await?;
    let catalog = app.catalog.current(app).await?;
    let store_names = snaps
        .iter()
        .map(|entry| &entry.record.store_id)
        .filter_map(|id| Some((id.clone(), catalog.store(id)?.name.clone())))
        .collect();
    Ok(Overview {
        validation: publisher(app, &who.account.id).await?.validation,
        keys: own_keys::list(app, &who.account.id).await?,
        account: who.account,
        stores,
        snaps,
        store_names,
    })
}

/// The stores in which these memberships count: roles in the base store of a brand count in all of its stores.
async fn stores(
    app: &App,
    ctx: &OwnCtx,
    memberships: Vec<Membership>,
) -> Result<Vec<(StoreRecord, Vec<Role>)>, Refusal> {
    let bases: HashSet<StoreId> = ctx
        .brands(app)
        .await?
        .into_iter()
        .map(|brand| brand.base_store)
        .collect();
    let mut stores = Vec::new();
    for found in app.storage.all::<StoreRecord>(Key(Vec::new())).await? {
        let store = found.record;
        let counts = |one: &&Membership| {
            one.store_id == store.id || (one.brand_id == store.brand_id && bases.contains(&one.store_id))
        };
        let counting = memberships.iter().filter(counts);
        let roles: BTreeSet<Role> = counting.flat_map(|one| one.roles.iter().copied()).collect();
        if !roles.is_empty() {
            stores.push((store, roles.into_iter().collect()));
        }
    }
    Ok(stores)
}

/// The snaps the caller may act on, in no order.
///
/// # Errors
/// If the storage is out of reach.
pub async fn snaps(app: &App, ctx: &OwnCtx) -> Result<Vec<Arc<SnapEntry>>, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let mut brands: HashMap<BrandId, BrandCtx> = HashMap::new();
    for brand in ctx.brands(app).await? {
        let leave = ctx
            .caller()
            .authorize::<BrandCtx>(app, Permission::SnapRead, Place::Brand(brand.id.clone()))
            .await;
        if let Ok(leave) = leave {
            brands.insert(brand.id, leave);
        }
    }
    let mut snaps = Vec::new();
    for entry in catalog.every() {
        let snap = &entry.record;
        let helps = snap.collaborators.contains(ctx.account());
        let shown = match brands.get(&snap.brand_id) {
            Some(leave) => {
                (helps || leave.speaks_for(&snap.publisher_id)) && leave.may_with(snap, Permission::SnapRead)
            }
            // Who has a part in one store, or only helps with a snap, need not have any in the rest of the brand.
            None => {
                let place = Place::SnapId(snap.id.clone());
                (helps || snap.publisher_id == *ctx.account())
                    && ctx
                        .caller()
                        .authorize::<SnapCtx>(app, Permission::SnapRead, place)
                        .await
                        .is_ok()
            }
        };
        if shown {
            snaps.push(Arc::clone(entry));
        }
    }
    Ok(snaps)
}

/// What a caller may read about one snap.
///
/// # Errors
/// If the storage is out of reach.
pub async fn entry(app: &App, ctx: &SnapCtx) -> Result<Arc<SnapEntry>, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let found = catalog.any(&ctx.snap().id).cloned();
    found.ok_or_else(|| Refusal::not_found("cannot find the snap: it has just been removed"))
}
