//! What an account has: its keys, its roles in stores, and the snaps it may act on (publisher-api.md 6.2).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::app::login;
use crate::app::own_keys;
use crate::app::store::{SnapEntry, publisher};
use crate::app::{App, BrandCtx, OwnCtx, Place, Refusal, SnapCtx};
use crate::domain::access::{Account, Brand, Membership, Permission, Role, StoreRecord};
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
    /// The stores it has a part in, with the roles that count there.
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
    let stores = stores(app, &who.memberships).await?;
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

/// The stores in which these roles count: where they are held and, for those held in the base store of a brand, its other
/// stores. There nobody publishes, so that role is left out.
async fn stores(app: &App, memberships: &[Membership]) -> Result<Vec<(StoreRecord, Vec<Role>)>, Refusal> {
    let mut bases = Vec::new();
    for one in memberships {
        let brand = app.storage.find::<Brand>([one.brand_id.as_str()]).await?;
        if brand.is_some_and(|brand| brand.record.base_store == one.store_id) {
            bases.push(one);
        }
    }
    let all = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
    let mut stores = Vec::new();
    for store in all.into_iter().map(|found| found.record) {
        let held = memberships.iter().filter(|one| one.store_id == store.id);
        let mut roles: BTreeSet<Role> = held.flat_map(|one| one.roles.iter().copied()).collect();
        let above = bases
            .iter()
            .filter(|base| base.brand_id == store.brand_id && base.store_id != store.id);
        let above = above.flat_map(|base| base.roles.iter().copied());
        roles.extend(above.filter(|role| !matches!(role, Role::Access | Role::Brand)));
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
            // Who helps with a snap need not have any other part in its brand.
            None => {
                let place = Place::SnapId(snap.id.clone());
                helps
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
