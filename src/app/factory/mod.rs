//! Factory sites: boxes that sign serials without us, each with a key of its own, within what they were granted
//! ([`SiteGrant`]); their logs flow back. `enrol` and `accept` are a box's part, `grant` the centre's, `log` both's.
//!
//! No serial is issued twice, whoever is cut off: what is a site's the centre does not sign, until the end of every
//! grant that is about it; and what it signs there afterwards has revisions above all of the site's.

mod accept;
pub mod bundle;
mod enrol;
mod grant;
mod log;
mod sealing;

pub use accept::{Accepted, accept};
pub use enrol::{Enrolment, enrolled, request};
pub use grant::{GrantRequest, Granted, GrantedModel, LIFE, Made, grant};
pub use log::{Exported, MAX_ENTRIES, SiteLog, TakenIn, export, take_in};
pub use sealing::Sealed;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::{App, BrandCtx, IssueError, Refusal, vault_event};
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::factory::SITE_REVISIONS;
use crate::domain::vault::{FactorySite, SiteClaim, SiteGrant, SiteName};
use crate::ports::{Change, Commit, StoreError, Versioned};

/// The sites of a brand, by name.
pub(super) async fn sites(app: &App, brand: &BrandId) -> Result<Vec<FactorySite>, StoreError> {
    let found = app.storage.all::<FactorySite>([brand.as_str()]).await?;
    Ok(found.into_iter().map(|found| found.record).collect())
}

/// Whether the serial of `device` is ours to sign.
///
/// # Errors
/// [`IssueError::GivenAway`] while it is a site's.
pub(super) fn ours(sites: &[FactorySite], device: &DeviceId, now: Timestamp) -> Result<(), IssueError> {
    for site in sites {
        match site.claim_on(&device.model, &device.serial, now) {
            SiteClaim::Living(until) => {
                return Err(IssueError::GivenAway {
                    site: site.site.clone(),
                    until,
                });
            }
            SiteClaim::None | SiteClaim::Past => {}
        }
    }
    Ok(())
}

/// Revisions that we sign for `device` are above this: a site it was given to may have signed some that are not known here.
pub(super) fn floor(sites: &[FactorySite], device: &DeviceId) -> u64 {
    let was_given = sites
        .iter()
        .flat_map(FactorySite::all)
        .any(|grant| grant.covers(&device.model, &device.serial));
    if was_given { SITE_REVISIONS } else { 0 }
}

/// The names of the brand's sites by their keys: which serials are whose.
pub async fn by_key(app: &App, ctx: &BrandCtx) -> Result<BTreeMap<KeyId, SiteName>, Refusal> {
    let found = sites(app, ctx.brand()).await?;
    Ok(found.into_iter().map(|site| (site.key_id, site.site)).collect())
}

/// Where a site stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteState {
    /// It signs.
    Active,
    /// Its grant has ended.
    Expired,
    /// It gets no further grants.
    Revoked,
    /// Its first grant was begun and not finished.
    Pending,
}

/// A site as it is shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SiteView {
    /// The brand.
    pub brand_id: BrandId,
    /// Its name.
    pub site: SiteName,
    /// Where it stands.
    pub state: SiteState,
    /// The id of its key.
    pub public_key_sha3_384: String,
    /// The newest grant.
    pub grant: Option<SiteGrant>,
    /// All grants, oldest first.
    pub grants: Vec<SiteGrant>,
    /// What is being granted just now; or was, and the server stopped meanwhile: its serials are nobody else's until the site is
    /// granted something again or revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<SiteGrant>,
    /// How many different serials of each model came in.
    pub used: BTreeMap<ModelName, u64>,
    /// The number of the last entry of its log that is here.
    pub last_entry: u64,
    /// When its log came in last.
    pub last_log: Option<Timestamp>,
    /// Since when it gets no grants.
    pub revoked_at: Option<Timestamp>,
    /// When it was enrolled.
    pub created_at: Timestamp,
}

impl SiteView {
    fn of(site: FactorySite, now: Timestamp) -> Self {
        let state = match (site.revoked, site.grant()) {
            (Some(_), _) => SiteState::Revoked,
            (None, None) => SiteState::Pending,
            (None, Some(grant)) if now < grant.until => SiteState::Active,
            (None, Some(_)) => SiteState::Expired,
        };
        Self {
            state,
            grant: site.grant().cloned(),
            brand_id: site.brand_id,
            site: site.site,
            public_key_sha3_384: site.key_id.to_string(),
            grants: site.grants,
            pending: site.pending,
            used: site.used,
            last_entry: site.last_entry,
            last_log: site.last_log,
            revoked_at: site.revoked,
            created_at: site.created,
        }
    }
}

/// The sites of the brand, by name.
pub async fn list(app: &App, ctx: &BrandCtx) -> Result<Vec<SiteView>, Refusal> {
    let now = app.clock.now();
    let found = sites(app, ctx.brand()).await?;
    Ok(found.into_iter().map(|site| SiteView::of(site, now)).collect())
}

/// One site of the brand.
pub async fn show(app: &App, ctx: &BrandCtx, site: &SiteName) -> Result<SiteView, Refusal> {
    Ok(SiteView::of(find(app, ctx, site).await?.record, app.clock.now()))
}

/// Closes a site: it gets no grants any more. The one it has cannot be called back: until its end the box goes on signing,
/// and devices believe it. What it signed before now is taken in when its log comes; what it signed later is not.
pub async fn revoke(app: &App, ctx: &BrandCtx, site: &SiteName) -> Result<SiteView, Refusal> {
    let Versioned { mut record, version } = find(app, ctx, site).await?;
    let now = app.clock.now();
    if record.revoked.is_none() {
        record.revoked = Some(now);
        record.pending = None;
        record.authorship.change(ctx.account(), now);
        let subject = format!("{}/{site}", ctx.brand());
        let detail = json!({ "grant": record.grant().map(|grant| grant.number) });
        app.commit(Commit {
            records: vec![Change::replace(&record, version)],
            audit: vec![vault_event(app, ctx, "factory.revoke", &subject, &detail)],
            ..Commit::default()
        })
        .await?;
    }
    Ok(SiteView::of(record, now))
}

async fn find(app: &App, ctx: &BrandCtx, site: &SiteName) -> Result<Versioned<FactorySite>, Refusal> {
    app.storage
        .find::<FactorySite>([ctx.brand().as_str(), site.as_str()])
        .await?
        .ok_or_else(|| Refusal::not_found(format!("cannot find site {site} of brand {}", ctx.brand())))
}
