//! What an account has: its keys, its roles in stores, and the snaps it may act on (publisher-api.md 6.2).

use std::collections::HashMap;
use std::sync::Arc;

use crate::app::login;
use crate::app::own_keys;
use crate::app::store::{SnapEntry, publisher};
use crate::app::{App, BrandCtx, OwnCtx, Place, Refusal, SnapCtx};
use crate::domain::access::{Account, Permission, Role, StoreRecord};
use crate::domain::assertion::Assertion;
use crate::domain::ident::{BrandId, StoreId};

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
    let mut stores = Vec::new();
    for membership in who.memberships {
        if let Some(found) = app
            .storage
            .find::<StoreRecord>([membership.store_id.as_str()])
            .await?
        {
            stores.push((found.record, membership.roles));
        }
    }
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
