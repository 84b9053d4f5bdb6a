//! Stores: making them, their settings, and which snaps they show.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Created, Input, Json, Native, NoContent, Outcome};
use crate::app::catalog::inclusions::{self, Because, Shown};
use crate::app::catalog::stores::{self, Configured, NewStore, StoreSettings};
use crate::app::{App, BrandCtx, Refusal, StoreCtx, StoresCtx};
use crate::domain::access::{Permission, ReviewPolicy, Role};
use crate::domain::catalog::{SnapPrefix, StoreKind};
use crate::domain::ident::{AccountId, BrandId, Email, SnapId, SnapName, StoreId};
use crate::domain::snap::SnapType;
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/stores",
            P::BrandRead,
            "List the stores of a brand, as far as the caller has a role there",
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
    /// Its own, and those it has from its parent: `parent-id` says so.
    snap_name_prefixes: Vec<PrefixView>,
    /// How many unreleased revisions are kept of each snap registered here; null = all.
    keep_unreleased: Option<u32>,
    created_at: Timestamp,
}

/// A beginning of names, as the wire has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PrefixView {
    prefix: String,
    inheritable: bool,
    /// The store it comes from; null: it is its own.
    parent_id: Option<StoreId>,
}

impl From<Configured> for StoreView {
    fn from(Configured { store, prefixes }: Configured) -> Self {
        let prefixes = prefixes.into_iter().map(|known| PrefixView {
            prefix: known.prefix.prefix,
            inheritable: known.prefix.inheritable,
            parent_id: known.from,
        });
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
            snap_name_prefixes: prefixes.collect(),
            keep_unreleased: store.keep_unreleased,
            created_at: store.created,
        }
    }
}

async fn list(app: App, ctx: StoresCtx, _input: Input) -> Outcome<Json<Vec<StoreView>>> {
    let stores = stores::list(&app, &ctx).await?;
    Ok(Json(stores.into_iter().map(StoreView::from).collect()))
}

async fn show(app: App, ctx: StoreCtx, _input: Input) -> Outcome<Json<StoreView>> {
    let found = stores::configured(&app, ctx.store().clone()).await?;
    Ok(Json(found.into()))
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
    #[serde(default)]
    private: bool,
    #[serde(default)]
    manual_review_policy: ReviewPolicy,
    /// Stores a view may include snaps from; its parent when absent.
    #[serde(default)]
    allowed_inclusion_source_stores: Option<BTreeSet<StoreId>>,
    /// Roles by e-mail address.
    #[serde(default)]
    members: BTreeMap<String, BTreeSet<Role>>,
}

async fn create(app: App, ctx: BrandCtx, input: Input<Json<CreateBody>>) -> Outcome<Created<StoreView>> {
    let Json(body) = input.body;
    let mut members = BTreeMap::new();
    for (email, roles) in body.members {
        let email = Email::normal(&email).map_err(Refusal::from)?;
        members.entry(email).or_insert_with(BTreeSet::new).extend(roles);
    }
    let new = NewStore {
        parent: body.parent,
        kind: body.kind,
        inclusion_sources: body.allowed_inclusion_source_stores,
        private: body.private,
        review_policy: body.manual_review_policy,
        members,
        ..NewStore::new(body.id, body.name)
    };
    let store = stores::create(&app, &ctx, new).await?;
    Ok(Created(stores::configured(&app, store).await?.into()))
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
    /// Null keeps all.
    #[serde(default, deserialize_with = "present")]
    keep_unreleased: Option<Option<u32>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::<u32>::deserialize(deserializer).map(Some)
}

async fn configure(app: App, ctx: StoreCtx, input: Input<Json<SettingsBody>>) -> Outcome<Json<StoreView>> {
    let Json(body) = input.body;
    let settings = StoreSettings {
        name: body.name,
        private: body.private,
        review_policy: body.manual_review_policy,
        inclusion_sources: body.allowed_inclusion_source_stores,
        inclusion_targets: body.allowed_inclusion_target_stores,
        whole_stores: body.store_whitelist,
        name_prefixes: body.snap_name_prefixes,
        keep_unreleased: body.keep_unreleased,
    };
    let store = stores::configure(&app, &ctx, settings).await?;
    Ok(Json(stores::configured(&app, store).await?.into()))
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

async fn contents(app: App, ctx: StoreCtx, _input: Input) -> Outcome<Json<Vec<ShownView>>> {
    let shown = inclusions::contents(&app, &ctx).await?;
    Ok(Json(shown.into_iter().map(ShownView::from).collect()))
}

async fn include(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<ShownView>> {
    let name = input.variable("name")?;
    Ok(Json(inclusions::include(&app, &ctx, &name).await?.into()))
}

async fn exclude(app: App, ctx: StoreCtx, input: Input) -> Outcome<NoContent> {
    let name = input.variable("name")?;
    inclusions::exclude(&app, &ctx, &name).await?;
    Ok(NoContent)
}
