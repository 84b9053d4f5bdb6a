//! Factory sites: what they were granted, grants for their boxes, and logs that come back.

use serde::{Deserialize, Serialize};

use super::{Body, Created, Input, Json, Native, Outcome};
use crate::app::factory::{self, GrantRequest, SiteView, TakenIn};
use crate::app::{App, BrandCtx, ReadLimits};
use crate::domain::access::Permission;
use crate::domain::bundle::{BundleSignature, MAX_MANIFEST, SignedManifest};
use crate::domain::ident::{KeyId, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::{SerialRange, SiteGrant, SiteName};
use crate::http::body::Unread;
use crate::http::endpoint::{BodyShape, Endpoint};
use crate::http::fault::{Dialect, Fault};

/// A manifest within a JSON text, with room for what has to be escaped there.
const MAX_BUNDLE: usize = MAX_MANIFEST + MAX_MANIFEST / 4;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get("/hallmark/v1/factories", P::KeyRead, "List factory sites", list),
        native.get(
            "/hallmark/v1/factories/{site}",
            P::KeyRead,
            "Show a factory site",
            show,
        ),
        native.post(
            "/hallmark/v1/factories/{site}/grants",
            P::SerialKeyManage,
            "Grant a factory site serials: a bundle for its box",
            grant,
        ),
        native.post(
            "/hallmark/v1/factories/{site}/revoke",
            P::SerialKeyManage,
            "Give a factory site no grants any more",
            revoke,
        ),
        native.post(
            "/hallmark/v1/factory-logs",
            P::SerialKeyManage,
            "Take in what the box of a factory site signed",
            take_in,
        ),
    ]
}

/// A bundle without files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bundle {
    /// The manifest: the exact text that is signed.
    pub manifest: String,
    /// Who signed it.
    pub signature: BundleSignature,
}

impl From<Bundle> for SignedManifest {
    fn from(bundle: Bundle) -> Self {
        Self {
            manifest: bundle.manifest.into_bytes(),
            signature: bundle.signature,
        }
    }
}

impl From<SignedManifest> for Bundle {
    fn from(signed: SignedManifest) -> Self {
        Self {
            manifest: String::from_utf8_lossy(&signed.manifest).into_owned(),
            signature: signed.signature,
        }
    }
}

impl Body for Bundle {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape {
            media: "application/json",
            fields: &["manifest", "signature"],
        })
    }

    async fn read<D: Dialect>(body: Unread, _limits: &ReadLimits) -> Result<Self, Fault<D>> {
        crate::http::body::json(&body.up_to(MAX_BUNDLE).await?)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NewGrant {
    request: Bundle,
    models: Vec<ModelName>,
    serials: Vec<SerialRange>,
    until: Option<Timestamp>,
    count: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct GrantView {
    site: SiteName,
    public_key_sha3_384: KeyId,
    grant: SiteGrant,
    bundle: Bundle,
}

/// `GET /hallmark/v1/factories`
async fn list(app: App, ctx: BrandCtx, _: Input) -> Outcome<Json<Vec<SiteView>>> {
    Ok(Json(factory::list(&app, &ctx).await?))
}

/// `GET /hallmark/v1/factories/{site}`
async fn show(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<SiteView>> {
    Ok(Json(factory::show(&app, &ctx, &input.variable("site")?).await?))
}

/// `POST /hallmark/v1/factories/{site}/grants`
async fn grant(app: App, ctx: BrandCtx, input: Input<Json<NewGrant>>) -> Outcome<Created<GrantView>> {
    let site = input.variable("site")?;
    let Json(new) = input.body;
    let request = GrantRequest {
        site,
        request: new.request.into(),
        models: new.models,
        serials: new.serials,
        until: new.until,
        count: new.count,
    };
    let made = factory::grant(&app, &ctx, request).await?;
    Ok(Created(GrantView {
        site: made.site,
        public_key_sha3_384: made.public_key_sha3_384,
        grant: made.grant,
        bundle: made.bundle.into(),
    }))
}

/// `POST /hallmark/v1/factories/{site}/revoke`
async fn revoke(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<SiteView>> {
    Ok(Json(factory::revoke(&app, &ctx, &input.variable("site")?).await?))
}

/// `POST /hallmark/v1/factory-logs`
async fn take_in(app: App, ctx: BrandCtx, input: Input<Bundle>) -> Outcome<Json<TakenIn>> {
    Ok(Json(factory::take_in(&app, &ctx, &input.body.into()).await?))
}
