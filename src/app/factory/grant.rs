//! The centre grants a site serials: the account-key of its key with constraints, and all that its box needs to serve
//! devices of the models.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::bundle;
use super::enrol::{Enrolment, SEAL_HEADER, SIGNER_HEADER, SITE_HEADER};
use super::sealing::{self, Sealed};
use crate::app::api_keys::{self, Owner};
use crate::app::instance::{refuse_throwaway, root, trusted};
use crate::app::keys::MIN_BRAND_BITS;
use crate::app::sign::{record, sign, stored};
use crate::app::{App, BrandCtx, Reason, Refusal, brand_key, vault_event};
use crate::domain::access::{Authorship, Brand, Permission};
use crate::domain::assertion::types::AccountKeyRequest;
use crate::domain::assertion::{
    Assertion, AssertionType, Headers, Ref, Statement, Typed, decode_bytes, encode_stream,
};
use crate::domain::bundle::{BundleSigner, SignedManifest};
use crate::domain::ident::{BrandId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::factory::{MAX_PARTS, SITE_REVISIONS};
use crate::domain::vault::{
    DeviceAuth, FactorySite, ModelRecord, Reissue, SerialRange, SerialState, SigningKey, SiteGrant, SiteName,
    Standing,
};
use crate::ports::{Change, Commit, CommitOutcome, PutRule, SerialFilter};

/// How long a grant lives unless told otherwise, in seconds: 30 days.
pub const LIFE: i64 = 30 * 24 * 3600;
/// Rows of the ledger, or judgements, that are looked at in one step.
const PAGE: usize = 1000;
/// Serials that a refusal names.
const MAX_NAMED: usize = 5;
/// Judgements that a grant carries at most.
const MAX_STANDINGS: usize = 100_000;
/// Most bytes of a grant: it goes through a box's socket, quoted.
const MAX_BYTES: usize = 8 << 20;
/// For how long claims are waited for that began before the grant was written down: here, and at other processes, which
/// remember what they read for two seconds.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_SHARED: Duration = Duration::from_secs(3);

/// What a site shall get.
#[derive(Clone, Debug)]
pub struct GrantRequest {
    /// The site, as the person names it who grants.
    pub site: SiteName,
    /// What its box sent.
    pub request: SignedManifest,
    /// For these models.
    pub models: Vec<ModelName>,
    /// Serials in these ranges.
    pub serials: Vec<SerialRange>,
    /// Until when; none = [`LIFE`] from now.
    pub until: Option<Timestamp>,
    /// At most this many different serials of each model, over all grants.
    pub count: Option<u64>,
}

/// What a box gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Granted {
    /// The brand.
    pub brand_id: BrandId,
    /// The site.
    pub site: SiteName,
    /// The key that was granted something.
    pub public_key_sha3_384: KeyId,
    /// What.
    pub grant: SiteGrant,
    /// The number of the last entry of the site's log that the centre has.
    pub acknowledged: u64,
    /// The digest of that entry: a box that was set back since, and caught up, has another one in its place.
    #[serde(default)]
    pub acknowledged_sha256: Option<String>,
    /// The centre's root: account and account-key.
    pub trust: String,
    /// What rests on it: the brand's account, the account-key of the box, models and the keys that signed them.
    pub assertions: String,
    /// The models as the vault serves them.
    pub models: Vec<GrantedModel>,
    /// Their API keys ([`SharedKey`] each), for this box only.
    pub api_keys: Sealed,
}

/// A grant that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// What to carry to the box.
    pub bundle: SignedManifest,
    /// The site.
    pub site: SiteName,
    /// What it may do.
    pub grant: SiteGrant,
    /// Its key, to be compared with what the box shows.
    pub public_key_sha3_384: KeyId,
}

/// A model as a box shall serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GrantedModel {
    /// Its name.
    pub name: ModelName,
    /// How devices prove themselves.
    pub auth: DeviceAuth,
    /// About serials issued before.
    pub reissue: Reissue,
    /// Only serials of the allow-list.
    pub allow_list: bool,
    /// What is judged of serials in the ranges.
    pub standings: BTreeMap<SerialNumber, Standing>,
}

/// An API key in clear. Only ever written to be sealed.
#[derive(Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SharedKey {
    #[zeroize(skip)]
    pub model: ModelName,
    #[zeroize(skip)]
    pub id: String,
    pub key: String,
    #[zeroize(skip)]
    pub created: Timestamp,
    #[zeroize(skip)]
    pub expires: Option<Timestamp>,
}

/// What API keys of a grant are sealed for.
pub(super) fn purpose(brand: &BrandId, site: &SiteName, number: u32) -> String {
    format!("api-keys/{brand}/{site}/{number}")
}

/// Grants a site serials: for the first time, or anew, which replaces what it had. Whoever may not see API keys may not
/// send them along, so it takes `model-manage` too.
///
/// # Errors
/// `invalid-enrolment`, `invalid-grant`; `site-key`: the site has another key; `site-revoked`; `range-taken`: another site
/// has or had serials of it; `range-used`: we have signed some ourselves; `delegated-brand`: our root cannot.
pub async fn grant(app: &App, ctx: &BrandCtx, mut request: GrantRequest) -> Result<Made, Refusal> {
    only_once(&mut request.models);
    only_once(&mut request.serials);
    let site = request.site;
    let act = format!("grant serials to site {site}");
    if !ctx.may(Permission::ModelManage) {
        return Err(Refusal::not_found(format!(
            "cannot {act}: API keys of models go along, and those are for administrators"
        )));
    }
    let brand = app.storage.find::<Brand>([ctx.brand().as_str()]).await?;
    if brand.is_none_or(|brand| brand.record.delegated) {
        return Err(Refusal::conflict(
            "delegated-brand",
            format!(
                "cannot {act}: another root signs the keys of brand {}",
                ctx.brand()
            ),
        ));
    }
    let (enrolment, signer): (Enrolment, _) = bundle::open(&request.request, bundle::REQUEST)?;
    if enrolment.site != site {
        return Err(Refusal::invalid(
            "invalid-enrolment",
            format!("cannot {act}: the request is of site {}", enrolment.site),
        ));
    }
    let enrolled = proven(app, ctx, &enrolment, signer)?;
    let now = app.clock.now();
    let models = models(app, ctx, &request.models, &act).await?;
    let known = app
        .storage
        .find::<FactorySite>([ctx.brand().as_str(), site.as_str()])
        .await?;
    let first = known
        .as_ref()
        .and_then(|known| known.record.grants.first())
        // Clocks of boxes are not all set alike: the key is good from when its box says that it was made.
        .map_or_else(|| enrolled.since.min(now), |grant| grant.since);
    let offer = SiteGrant {
        number: known
            .as_ref()
            .and_then(|known| known.record.grant())
            .map_or(0, |grant| grant.number)
            .max(enrolment.grant)
            .saturating_add(1),
        models: request.models,
        serials: request.serials,
        since: first,
        until: request.until.unwrap_or_else(|| now.plus_seconds(LIFE)),
        count: request.count,
    };
    check(&offer, now, &act)?;
    let (record, version) = match known {
        Some(known) => (known.record, Some(known.version)),
        None => (new_site(ctx, &site, &enrolled, signer, now), None),
    };
    fits(app, ctx, &record, &enrolled, &offer, &act).await?;
    bundle::by(record.signer.as_ref(), signer, "requests of this site")?;
    let making = Making {
        app: app.clone(),
        ctx: ctx.clone(),
        act,
        enrolled,
        models,
    };
    // A task of its own: what was offered is granted or taken back even if whoever asked for it hangs up.
    let made = tokio::spawn(async move { making.run(record, version, offer).await });
    made.await.map_err(|_| {
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot grant serials: making the grant broke off",
        )
    })?
}

fn only_once<T: PartialEq + Clone>(list: &mut Vec<T>) {
    let mut seen = Vec::new();
    list.retain(|one| {
        !seen.contains(one) && {
            seen.push(one.clone());
            true
        }
    });
}

/// A grant in the making.
struct Making {
    app: App,
    ctx: BrandCtx,
    act: String,
    enrolled: Enrolled,
    models: Vec<ModelRecord>,
}

impl Making {
    /// Writes down what is offered, then grants it, or takes it back.
    async fn run(
        &self,
        mut site: FactorySite,
        version: Option<u64>,
        offer: SiteGrant,
    ) -> Result<Made, Refusal> {
        let (app, ctx) = (&self.app, &self.ctx);
        site.pending = Some(offer.clone());
        let version = write(app, ctx, &site, version, "factory.offer", Vec::new()).await?;
        site.pending = None;
        let made = self.give(site.clone(), version, offer).await;
        if made.is_err() {
            // A grant that was written down after all has another version, and stays.
            let withdrawn = write(app, ctx, &site, Some(version), "factory.withdraw", Vec::new()).await;
            if let Err(error) = withdrawn {
                tracing::warn!(%error, site = %site.site, "cannot take back what was offered to a site; granting it again does");
            }
        }
        made
    }

    /// Everything that can fail comes before the grant is written down, and nothing of it is told before.
    async fn give(&self, mut site: FactorySite, version: u64, offer: SiteGrant) -> Result<Made, Refusal> {
        let (app, ctx, act) = (&self.app, &self.ctx, &self.act);
        // Whoever grants at the same time has written down what it offers, too: of two, one at least sees the other.
        fits(app, ctx, &site, &self.enrolled, &offer, act).await?;
        let used = used(app, ctx, &site, &offer).await?;
        if !used.is_empty() {
            return Err(Refusal::conflict(
                "range-used",
                format!(
                    "cannot {act}: serials of these ranges are in the log already, such as {}",
                    used.join(", ")
                ),
            ));
        }
        let account_key = account_key(app, ctx, &site, &self.enrolled, &offer).await?;
        site.grants.push(offer.clone());
        site.authorship.change(ctx.account(), app.clock.now());
        let granted = self.filled(&site, offer, &account_key).await?;
        let bundle = bundle::sign(app, bundle::GRANT, ctx.brand(), &granted).await?;
        if bundle.manifest.len() > MAX_BYTES {
            return Err(Refusal::invalid(
                "too-many-serials",
                format!("cannot {act}: too many serials of these ranges are judged; grant less"),
            ));
        }
        write(app, ctx, &site, Some(version), "factory.grant", vec![account_key]).await?;
        Ok(Made {
            bundle,
            site: granted.site,
            grant: granted.grant,
            public_key_sha3_384: granted.public_key_sha3_384,
        })
    }

    /// What the box gets.
    async fn filled(
        &self,
        site: &FactorySite,
        grant: SiteGrant,
        account_key: &Assertion,
    ) -> Result<Granted, Refusal> {
        let (app, ctx) = (&self.app, &self.ctx);
        let trust: Vec<Assertion> = trusted(app).await?.into_iter().take(2).collect();
        let mut assertions = vec![account_key.clone()];
        let mut shared = Vec::new();
        let mut granted = Vec::new();
        for model in &self.models {
            let reference = Ref::new(
                AssertionType::Model,
                ["16", ctx.brand().as_str(), model.name.as_str()],
            );
            if let Some(found) = brand_key::stored(&*app.storage, &reference).await? {
                if let Some(chain) = brand_key::chain_of(&*app.storage, found.sign_key()).await? {
                    assertions.extend([chain.account, chain.key]);
                }
                assertions.push(found);
            }
            shared.extend(api_keys_of(app, model)?);
            granted.push(GrantedModel {
                standings: standings(app, ctx, &model.name, &grant).await?,
                name: model.name.clone(),
                auth: model.auth,
                reissue: model.reissue,
                allow_list: model.allow_list,
            });
        }
        let account = Ref::new(AssertionType::Account, [ctx.brand().as_str()]);
        assertions.extend(brand_key::stored(&*app.storage, &account).await?);
        let mut seen = std::collections::BTreeSet::new();
        assertions.retain(|assertion| seen.insert(assertion.encoded().clone()));
        let text = zeroize::Zeroizing::new(serde_json::to_vec(&shared).unwrap_or_default());
        let purpose = purpose(ctx.brand(), &site.site, grant.number);
        let api_keys = sealing::seal(app, &self.enrolled.seal_key, &purpose, &text)?;
        Ok(Granted {
            brand_id: ctx.brand().clone(),
            site: site.site.clone(),
            public_key_sha3_384: site.key_id.clone(),
            acknowledged: site.last_entry,
            acknowledged_sha256: site.last_digest.clone(),
            trust: stream(&trust),
            assertions: stream(&assertions),
            models: granted,
            api_keys,
            grant,
        })
    }
}

/// What a request proves.
struct Enrolled {
    key: AccountKeyRequest,
    since: Timestamp,
    seal_key: String,
}

fn proven(
    app: &App,
    ctx: &BrandCtx,
    enrolment: &Enrolment,
    signer: BundleSigner,
) -> Result<Enrolled, Refusal> {
    let refuse = |why: String| {
        Refusal::invalid(
            "invalid-enrolment",
            format!("cannot take the request of site {}: {why}", enrolment.site),
        )
    };
    let decoded = decode_bytes(Bytes::from(enrolment.request.clone())).map_err(|e| refuse(e.to_string()))?;
    let Typed::AccountKeyRequest(request) = decoded.typed() else {
        return Err(refuse(format!("it carries a {}", decoded.kind())));
    };
    request
        .public_key
        .verify_assertion(&decoded)
        .map_err(|e| refuse(format!("it is not signed by the key it is about: {e}")))?;
    if request.account_id != ctx.brand().as_str() {
        return Err(refuse(format!("it is for brand {}", request.account_id)));
    }
    let site = decoded.text(SITE_HEADER);
    if site != Some(enrolment.site.as_str()) || request.name != enrolment.site.key_name().as_str() {
        return Err(refuse("its key is for another site".to_owned()));
    }
    if decoded.text(SIGNER_HEADER) != Some(signer.to_string().as_str()) {
        return Err(refuse("somebody else than its box signed the bundle".to_owned()));
    }
    if request.public_key.bits() < MIN_BRAND_BITS {
        return Err(refuse(format!("its key has less than {MIN_BRAND_BITS} bits")));
    }
    refuse_throwaway(app, request.public_key.id())?;
    let seal_key = decoded
        .text(SEAL_HEADER)
        .filter(|key| sealing::is_public_key(key))
        .ok_or_else(|| refuse("it has no key to seal the answer to".to_owned()))?;
    Ok(Enrolled {
        key: request.clone(),
        since: request.validity.since,
        seal_key: seal_key.to_owned(),
    })
}

async fn models(
    app: &App,
    ctx: &BrandCtx,
    names: &[ModelName],
    act: &str,
) -> Result<Vec<ModelRecord>, Refusal> {
    let mut models = Vec::new();
    for name in names {
        let model = crate::app::models::find(app, ctx, name).await?.record;
        if model.disabled {
            return Err(Refusal::conflict(
                "model-disabled",
                format!("cannot {act}: model {name} is disabled"),
            ));
        }
        models.push(model);
    }
    Ok(models)
}

fn check(offer: &SiteGrant, now: Timestamp, act: &str) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::invalid("invalid-grant", format!("cannot {act}: {why}")));
    if offer.models.is_empty() || offer.serials.is_empty() {
        return refuse("it needs a model and a range of serials at least");
    }
    if offer.models.len() > MAX_PARTS || offer.serials.len() > MAX_PARTS {
        return refuse("these are too many models or ranges for one key");
    }
    if offer.until <= now {
        return refuse("it would have ended already");
    }
    if offer.count == Some(0) {
        return refuse("a count of 0 allows nothing");
    }
    Ok(())
}

fn new_site(
    ctx: &BrandCtx,
    site: &SiteName,
    enrolled: &Enrolled,
    signer: BundleSigner,
    now: Timestamp,
) -> FactorySite {
    FactorySite {
        brand_id: ctx.brand().clone(),
        site: site.clone(),
        key_id: enrolled.key.public_key.id().clone(),
        public_key: enrolled.key.public_key.encoded().to_owned(),
        grants: Vec::new(),
        pending: None,
        signer: Some(signer),
        revoked: None,
        last_entry: 0,
        last_digest: None,
        last_log: None,
        used: BTreeMap::new(),
        created: now,
        authorship: Authorship::made_by(ctx.account()),
    }
}

/// Whether the site may get this at all.
async fn fits(
    app: &App,
    ctx: &BrandCtx,
    site: &FactorySite,
    enrolled: &Enrolled,
    offer: &SiteGrant,
    act: &str,
) -> Result<(), Refusal> {
    let conflict = |code, why: String| Err(Refusal::conflict(code, format!("cannot {act}: {why}")));
    if site.key_id != *enrolled.key.public_key.id() {
        return conflict(
            "site-key",
            format!(
                "the site has the key {}; a new box is a new site, as the old one may still sign",
                site.key_id
            ),
        );
    }
    if site.revoked.is_some() {
        return conflict("site-revoked", "the site was revoked".to_owned());
    }
    let name = site.site.key_name();
    let key = [ctx.brand().as_str(), name.as_str()];
    let ours = app
        .storage
        .find_unique::<SigningKey>("key-id", site.key_id.as_str())
        .await?;
    if ours.is_some() || app.storage.find::<SigningKey>(key).await?.is_some() {
        return conflict(
            "key-exists",
            format!("key {name} is one of this instance, no site's"),
        );
    }
    for other in super::sites(app, ctx.brand()).await? {
        if other.site == site.site {
            continue;
        }
        if let Some((model, range)) = other.all().find_map(|theirs| offer.meets(theirs)) {
            return conflict(
                "range-taken",
                format!(
                    "serials of {range} of model {model} are those of site {}",
                    other.site
                ),
            );
        }
    }
    Ok(())
}

/// Writes the site; its new version.
async fn write(
    app: &App,
    ctx: &BrandCtx,
    site: &FactorySite,
    version: Option<u64>,
    action: &str,
    assertions: Vec<Assertion>,
) -> Result<u64, Refusal> {
    let subject = format!("{}/{}", ctx.brand(), site.site);
    let grant = site.pending.as_ref().or_else(|| site.grant());
    let detail = json!({ "public-key-sha3-384": site.key_id, "grant": grant });
    let mut audit = vec![vault_event(app, ctx, action, &subject, &detail)];
    for assertion in &assertions {
        audit.push(record(ctx.event(app.clock.now(), "", ""), assertion));
    }
    let commit = Commit {
        records: vec![match version {
            Some(version) => Change::replace(site, version),
            None => Change::create(site),
        }],
        assertions: assertions
            .iter()
            .map(|assertion| (stored(assertion), PutRule::Newer))
            .collect(),
        audit,
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::Taken { .. } => Err(Refusal::conflict(
            "site-key",
            format!("cannot enrol site {}: its key is that of another site", site.site),
        )),
        outcome => App::settle(&outcome).map(|()| version.unwrap_or(0) + 1),
    }
}

/// Serials of what is offered that we have in our log, and not from this site; some of them. Waits first until claims that
/// began before the offer was written down are in the ledger.
async fn used(
    app: &App,
    ctx: &BrandCtx,
    site: &FactorySite,
    offer: &SiteGrant,
) -> Result<Vec<String>, Refusal> {
    let shared = app.storage.mark().await?.is_some();
    tokio::time::sleep(if shared { PAUSE_SHARED } else { PAUSE }).await;
    let mut used: Vec<String> = Vec::new();
    for range in &offer.serials {
        let prefix = range.common_prefix();
        let mut filter = SerialFilter {
            brand: ctx.brand().clone(),
            models: offer.models.clone(),
            serial_prefix: Some(prefix).filter(|prefix| !prefix.is_empty()),
            device_key: None,
            since: None,
            until: None,
            before: None,
            limit: PAGE,
        };
        loop {
            let rows = app.storage.serials(&filter).await?;
            for row in &rows {
                let theirs = row.sign_key.as_ref() == Some(&site.key_id);
                // Where nothing was signed, and nothing of the site's can come.
                let harmless = row.state == SerialState::Void && row.revision > SITE_REVISIONS;
                let name = row.device.serial.to_string();
                if !theirs && !harmless && range.contains(&row.device.serial) && !used.contains(&name) {
                    used.push(name);
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE && used.len() < MAX_NAMED => {
                    filter.before = Some(last.position);
                }
                Some(_) | None => break,
            }
        }
    }
    used.truncate(MAX_NAMED);
    Ok(used)
}

/// The account-key of the site's key, in its next revision. It goes with the commit that records the grant.
async fn account_key(
    app: &App,
    ctx: &BrandCtx,
    site: &FactorySite,
    enrolled: &Enrolled,
    offer: &SiteGrant,
) -> Result<Assertion, Refusal> {
    let root = root(app).await?;
    let reference = Ref::new(AssertionType::AccountKey, [site.key_id.as_str()]);
    let known = brand_key::stored(&*app.storage, &reference).await?;
    let mut headers = Headers::default();
    headers.set("authority-id", root.account_id.as_str());
    headers.set("format", "1");
    if let Some(known) = known {
        headers.set("revision", (known.revision() + 1).to_string());
    }
    headers.set("public-key-sha3-384", site.key_id.as_str());
    headers.set("account-id", ctx.brand().as_str());
    headers.set("name", site.site.key_name().as_str());
    headers.set("since", offer.since.to_string());
    headers.set("until", offer.until.to_string());
    headers.set("constraints", offer.constraints(ctx.brand()));
    let body = enrolled.key.public_key.encoded().as_bytes().to_vec();
    sign(
        app,
        &root,
        Statement::new(AssertionType::AccountKey, headers, body),
    )
    .await
}

fn stream(assertions: &[Assertion]) -> String {
    let encoded = encode_stream(assertions.iter().map(|assertion| assertion.encoded()));
    String::from_utf8_lossy(&encoded).into_owned()
}

/// The API keys of a model in force. One from before keys could be read again cannot go along.
fn api_keys_of(app: &App, model: &ModelRecord) -> Result<Vec<SharedKey>, Refusal> {
    let now = app.clock.now();
    let mut shared = Vec::new();
    for key in model.api_keys.iter().filter(|key| !key.expired(now)) {
        let Some(sealed) = &key.sealed else {
            tracing::warn!(model = %model.name, id = key.id, "an API key cannot be read, so no site gets it");
            continue;
        };
        let owner = Owner {
            brand: &model.brand_id,
            model: &model.name,
            id: &key.id,
        };
        shared.push(SharedKey {
            model: model.name.clone(),
            id: key.id.clone(),
            key: api_keys::open(app, owner, sealed)?.to_string(),
            created: key.created,
            expires: key.expires,
        });
    }
    Ok(shared)
}

/// What is judged of serials of the model within the grant.
async fn standings(
    app: &App,
    ctx: &BrandCtx,
    model: &ModelName,
    grant: &SiteGrant,
) -> Result<BTreeMap<SerialNumber, Standing>, Refusal> {
    let mut found = BTreeMap::new();
    let mut after: Option<SerialNumber> = None;
    loop {
        let rows = app
            .storage
            .standings(ctx.brand(), model, after.as_ref(), PAGE)
            .await?;
        let full = rows.len() == PAGE;
        after = rows.last().map(|row| row.device.serial.clone());
        for row in rows {
            if grant.covers(model, &row.device.serial) {
                found.insert(row.device.serial, row.standing);
            }
        }
        if found.len() > MAX_STANDINGS {
            return Err(Refusal::invalid(
                "too-many-serials",
                format!(
                    "cannot send along more than {MAX_STANDINGS} judged serials of model {model}: grant less"
                ),
            ));
        }
        if !full {
            return Ok(found);
        }
    }
}
