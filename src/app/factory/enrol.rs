//! A box asks to be one: what it is, with its public key, signed by that key.

use serde::{Deserialize, Serialize};

use super::{bundle, sealing};
use crate::app::sign::{public_key, record, sign};
use crate::app::{App, InstanceCtx, Refusal};
use crate::domain::assertion::{AssertionType, Headers, Statement};
use crate::domain::bundle::SignedManifest;
use crate::domain::ident::BrandId;
use crate::domain::vault::{FactoryBox, SigningKey, SiteName};
use crate::ports::{Commit, Key, Versioned};

/// The header of a request with the name of the site.
pub(super) const SITE_HEADER: &str = "factory-site";
/// The header with the key that answers are sealed to.
pub(super) const SEAL_HEADER: &str = "factory-seal-key";

/// The header that says who signs bundles of the box.
pub(super) const SIGNER_HEADER: &str = "factory-signer";

/// What a box sends to be granted something. The assertion says all of it; the rest is for people and programs that look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Enrolment {
    /// The brand.
    pub brand_id: BrandId,
    /// The site.
    pub site: SiteName,
    /// The id of its key: to be compared with what the box shows.
    pub public_key_sha3_384: String,
    /// The number of the newest grant it took, 0 for none: a centre that was set back goes on from there.
    #[serde(default)]
    pub grant: u32,
    /// An account-key-request, signed by the key it is about.
    pub request: String,
}

/// What this instance is as a box.
///
/// # Errors
/// `resource-not-found` if it is none.
pub async fn enrolled(app: &App) -> Result<Versioned<FactoryBox>, Refusal> {
    let found = app.storage.all::<FactoryBox>(Key(Vec::new())).await?;
    found.into_iter().next().ok_or_else(|| {
        Refusal::not_found(
            "cannot do this: this instance is no factory box; make one with `hallmark init --factory SITE --brand ID`",
        )
    })
}

/// The request of this box. Logged, since it is a signature.
pub async fn request(app: &App, ctx: &InstanceCtx) -> Result<(Enrolment, SignedManifest), Refusal> {
    let FactoryBox {
        brand_id,
        site,
        key_id,
        grant,
        ..
    } = enrolled(app).await?.record;
    let key = app
        .storage
        .find_unique::<SigningKey>("key-id", key_id.as_str())
        .await?
        .ok_or_else(|| {
            Refusal::not_found(format!("cannot find the key of site {site}: run hallmark doctor"))
        })?
        .record;
    let mut headers = Headers::default();
    headers.set("account-id", key.account_id.as_str());
    headers.set("name", key.name.as_str());
    headers.set("public-key-sha3-384", key.key_id.as_str());
    headers.set("since", key.created.to_string());
    headers.set(SITE_HEADER, site.as_str());
    headers.set(SEAL_HEADER, sealing::public_key(app)?);
    headers.set(SIGNER_HEADER, bundle::own_signer(app)?.to_string());
    let body = public_key(&key)?.encoded().as_bytes().to_vec();
    // The record's own validity is that of the last grant, which may be over.
    let usable = SigningKey {
        since: key.created,
        until: None,
        ..key
    };
    let statement = Statement::new(AssertionType::AccountKeyRequest, headers, body);
    let request = sign(app, &usable, statement).await?;
    app.commit(Commit {
        audit: vec![record(ctx.event(app.clock.now(), "", ""), &request)],
        ..Commit::default()
    })
    .await?;
    let enrolment = Enrolment {
        brand_id,
        site,
        public_key_sha3_384: key_id.to_string(),
        grant: grant.map_or(0, |grant| grant.number),
        request: String::from_utf8_lossy(request.encoded()).into_owned(),
    };
    let bundle = bundle::sign(app, bundle::REQUEST, &enrolment.brand_id, &enrolment).await?;
    Ok((enrolment, bundle))
}
