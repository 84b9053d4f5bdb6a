//! Stores: making them, their settings, and which snaps they show.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Created, Input, Json, Native, NoContent, Outcome};
use crate::app::catalog::inclusions::{self, Because, Shown};
use crate::app::catalog::stores::{self, NewStore, StoreSettings};
use crate::app::{App, BrandCtx, brands};
use crate::domain::access::{Permission, ReviewPolicy, StoreRecord};
use crate::domain::catalog::{SnapPrefix, StoreKind};
use crate::domain::ident::{AccountId, BrandId, SnapId, SnapName, StoreId};
use crate::domain::snap::SnapType;
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/stores",
            P::BrandRead,
            "List the stores of a brand",
            list,
        ),
        native.post("/hallmark/v1/stores", P::StoreCreate, "Create a store", create),
        native.get("/hallmark/v1/stores/{store}", P::BrandRead, "Show a store", show),
        native.put(
            "/hallmark/v1/stores/{store}",
            P::StoreManage,
            "Change settings of a store",
            configure,
        ),
        native.get(
            "/hallmark/v1/stores/{store}/snaps",
            P::SnapRead,
            "List the snaps a store shows",
            contents,
        ),
        native.put(
            "/hallmark/v1/stores/{store}/snaps/{name}",
            P::InclusionManage,
            "Include a snap in a store",
            include,
        ),
        native.delete(
            "/hallmark/v1/stores/{store}/snaps/{name}",
            P::InclusionManage,
            "Exclude a snap from a store",
            exclude,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StoreView {
    id: StoreId,
    brand_id: BrandId,
    name: String,
    parent: Option<StoreId>,
    kind: Option<StoreKind>,
    private: bool,
    manual_review_policy: ReviewPolicy,
    allowed_inclusion_source_stores: BTreeSet<StoreId>,
    allowed_inclusion_target_stores: BTreeSet<StoreId>,
    store_whitelist: BTreeSet<StoreId>,
    snap_name_prefixes: Vec<SnapPrefix>,
    created_at: Timestamp,
}

impl From<StoreRecord> for StoreView {
    fn from(store: StoreRecord) -> Self {
        Self {
            id: store.id,
            brand_id: store.brand_id,
            name: store.name,
            parent: store.parent,
            kind: store.kind,
            private: store.private,
            manual_review_policy: store.review_policy,
            allowed_inclusion_source_stores: store.inclusion_sources,
            allowed_inclusion_target_stores: store.inclusion_targets,
            store_whitelist: store.whole_stores,
            snap_name_prefixes: store.name_prefixes,
            created_at: store.created,
        }
    }
}

async fn list(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<StoreView>>> {
    let stores = brands::stores(&app, &ctx).await?;
    Ok(Json(stores.into_iter().map(StoreView::from).collect()))
}

async fn show(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<StoreView>> {
    let found = brands::store(&app, &ctx, &input.variable("store")?).await?;
    Ok(Json(found.record.into()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CreateBody {
    id: StoreId,
    name: String,
    /// The base store it is a view of; a base store itself when absent.
    #[serde(default)]
    parent: Option<StoreId>,
    #[serde(default)]
    kind: Option<StoreKind>,
}

async fn create(app: App, ctx: BrandCtx, input: Input<Json<CreateBody>>) -> Outcome<Created<StoreView>> {
    let Json(CreateBody {
        id,
        name,
        parent,
        kind,
    }) = input.body;
    let new = NewStore {
        id,
        name,
        parent,
        kind,
    };
    Ok(Created(stores::create(&app, &ctx, new).await?.into()))
}

/// Names as in admin-api.md 1.5; what is absent stays.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SettingsBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    private: Option<bool>,
    #[serde(default)]
    manual_review_policy: Option<ReviewPolicy>,
    #[serde(default)]
    allowed_inclusion_source_stores: Option<BTreeSet<StoreId>>,
    #[serde(default)]
    allowed_inclusion_target_stores: Option<BTreeSet<StoreId>>,
    #[serde(default)]
    store_whitelist: Option<BTreeSet<StoreId>>,
    #[serde(default)]
    snap_name_prefixes: Option<Vec<SnapPrefix>>,
}

async fn configure(app: App, ctx: BrandCtx, input: Input<Json<SettingsBody>>) -> Outcome<Json<StoreView>> {
    let store = input.variable("store")?;
    let Json(body) = input.body;
    let settings = StoreSettings {
        name: body.name,
        private: body.private,
        review_policy: body.manual_review_policy,
        inclusion_sources: body.allowed_inclusion_source_stores,
        inclusion_targets: body.allowed_inclusion_target_stores,
        whole_stores: body.store_whitelist,
        name_prefixes: body.snap_name_prefixes,
    };
    Ok(Json(
        stores::configure(&app, &ctx, &store, settings).await?.into(),
    ))
}

/// A snap as a store shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ShownView {
    snap_id: SnapId,
    name: SnapName,
    #[serde(rename = "type")]
    kind: Option<SnapType>,
    /// The base store it is registered in.
    store_id: StoreId,
    publisher_id: AccountId,
    private: bool,
    because: Because,
}

impl From<Shown> for ShownView {
    fn from(Shown { snap, because }: Shown) -> Self {
        Self {
            snap_id: snap.id,
            name: snap.name,
            kind: snap.kind,
            store_id: snap.store_id,
            publisher_id: snap.publisher_id,
            private: snap.private,
            because,
        }
    }
}

async fn contents(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Vec<ShownView>>> {
    let shown = inclusions::contents(&app, &ctx, &input.variable("store")?).await?;
    Ok(Json(shown.into_iter().map(ShownView::from).collect()))
}

async fn include(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<ShownView>> {
    let (store, name) = (input.variable("store")?, input.variable("name")?);
    Ok(Json(inclusions::include(&app, &ctx, &store, &name).await?.into()))
}

async fn exclude(app: App, ctx: BrandCtx, input: Input) -> Outcome<NoContent> {
    let (store, name) = (input.variable("store")?, input.variable("name")?);
    inclusions::exclude(&app, &ctx, &store, &name).await?;
    Ok(NoContent)
}
