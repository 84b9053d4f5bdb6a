//! A box takes a grant in: trust, assertions, models and their API keys, all under its own key.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::enrol::enrolled;
use super::grant::{Granted, GrantedModel, SharedKey, purpose};
use super::{bundle, log, sealing};
use crate::app::api_keys::{self, ApiKeyHash, Owner};
use crate::app::{App, BrandCtx, InstanceCtx, Refusal, assertions, fleet, serials, trust, vault_event};
use crate::domain::access::Authorship;
use crate::domain::bundle::{BundleSigner, SignedManifest};
use crate::domain::fleet::FleetRule;
use crate::domain::ident::{ModelName, SerialNumber};
use crate::domain::vault::{
    ApiKey, FactoryBox, ModelRecord, SerialPolicy, SigningKey, SiteGrant, SiteName, Standing,
};
use crate::ports::{Change, Commit, Versioned};

/// Judgements that are written in one step.
const STEP: usize = 10_000;

/// What became of a grant.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Accepted {
    /// The site.
    pub site: SiteName,
    /// What this box may do now.
    pub grant: SiteGrant,
    /// Whether that is new; otherwise this very grant was here before.
    pub new: bool,
    /// How many entries of the log of this box the centre has.
    pub acknowledged: u64,
}

/// Takes a grant in, the same one as often as it comes. In steps that can each be done again: what breaks off is completed by
/// doing it once more.
///
/// # Errors
/// `invalid-bundle`; `wrong-signer` if another centre than before made it, or not who was `expected`; `signer-required` if it is
/// the first and nobody says whose it must be; `not-for-this-box`; `old-grant`; `other-root`;
/// `box-behind` if this box has lost serials that the centre knows: it must not sign any more; what taking in assertions
/// refuses.
pub async fn accept(
    app: &App,
    ctx: &InstanceCtx,
    signed: &SignedManifest,
    expected: Option<BundleSigner>,
) -> Result<Accepted, Refusal> {
    let (granted, signer): (Granted, _) = bundle::open(signed, bundle::GRANT)?;
    let Versioned { record, version } = enrolled(app).await?;
    bundle::by(record.centre.as_ref(), signer, "grants of this box")?;
    bundle::by(expected.as_ref(), signer, "bundles that you take")?;
    if record.centre.is_none() && expected.is_none() {
        return Err(Refusal::conflict(
            "signer-required",
            format!(
                "cannot take the first grant of this box: {signer} signed it; compare that with what `hallmark export factory` \
                 printed at the centre, and say --signer {signer}"
            ),
        ));
    }
    let here = granted.brand_id == record.brand_id
        && granted.site == record.site
        && granted.public_key_sha3_384 == record.key_id;
    if !here {
        return Err(Refusal::invalid(
            "not-for-this-box",
            format!(
                "cannot take the grant: it is for site {} of brand {} and key {}",
                granted.site, granted.brand_id, granted.public_key_sha3_384
            ),
        ));
    }
    let digest = bundle::digest(signed);
    if let Some(grant) = &record.grant {
        if record.digest.as_ref() == Some(&digest) {
            return Ok(Accepted {
                site: record.site.clone(),
                grant: grant.clone(),
                new: false,
                acknowledged: record.acknowledged,
            });
        }
        if granted.grant.number <= grant.number {
            return Err(Refusal::conflict(
                "old-grant",
                format!(
                    "cannot take grant {}: this box has grant {} already",
                    granted.grant.number, grant.number
                ),
            ));
        }
    }
    let brand = BrandCtx::local(record.brand_id.clone());
    let digest_there = granted.acknowledged_sha256.as_deref();
    let position = log::acknowledge(app, &record, granted.acknowledged, digest_there).await?;
    let keys = opened(app, &record, &granted)?;
    root(app, ctx, &granted).await?;
    assertions::import(app, &brand, Bytes::from(granted.assertions.clone())).await?;
    for model in &granted.models {
        judge(app, &brand, model, &granted.grant).await?;
    }
    let accepted = FactoryBox {
        grant: Some(granted.grant.clone()),
        digest: Some(digest),
        centre: Some(signer),
        // Fewer than before, if the centre was set back: it gets them again.
        acknowledged: granted.acknowledged,
        position,
        ..record
    };
    take(app, &brand, &granted, &keys, Change::replace(&accepted, version)).await?;
    Ok(Accepted {
        site: accepted.site,
        grant: granted.grant,
        new: true,
        acknowledged: accepted.acknowledged,
    })
}

/// The API keys that came along.
fn opened(app: &App, record: &FactoryBox, granted: &Granted) -> Result<Vec<SharedKey>, Refusal> {
    let purpose = purpose(&record.brand_id, &record.site, granted.grant.number);
    let text = sealing::open(app, &purpose, &granted.api_keys)?;
    serde_json::from_slice(&text).map_err(|_| {
        Refusal::invalid(
            "invalid-bundle",
            "cannot take the grant: its API keys cannot be read",
        )
    })
}

/// Trusts the root of the centre; there is one, for good.
async fn root(app: &App, ctx: &InstanceCtx, granted: &Granted) -> Result<(), Refusal> {
    let record = crate::app::instance::instance(&app.storage).await?;
    let known = record.map(|found| found.record.extra_roots).unwrap_or_default();
    let stream = Bytes::from(granted.trust.clone());
    let found = assertions::read_stream(stream.clone(), app.settings.limits.assertion)?;
    let ids: Vec<&str> = found
        .iter()
        .filter_map(|assertion| assertion.text("public-key-sha3-384"))
        .collect();
    let is_known = ids.iter().any(|id| known.iter().any(|root| root.as_str() == *id));
    if is_known {
        return Ok(());
    }
    if !known.is_empty() {
        return Err(Refusal::conflict(
            "other-root",
            "cannot take the grant: it comes from another root than the one this box trusts",
        ));
    }
    trust::import(app, ctx, stream).await.map(drop)
}

/// Judges serials as the centre does, within the ranges.
async fn judge(app: &App, brand: &BrandCtx, model: &GrantedModel, grant: &SiteGrant) -> Result<(), Refusal> {
    let mut known = BTreeMap::new();
    let mut after: Option<SerialNumber> = None;
    loop {
        let rows = app
            .storage
            .standings(brand.brand(), &model.name, after.as_ref(), STEP)
            .await?;
        let full = rows.len() == STEP;
        after = rows.last().map(|row| row.device.serial.clone());
        known.extend(rows.into_iter().map(|row| (row.device.serial, row.standing)));
        if !full {
            break;
        }
    }
    let of = |standing: Standing| {
        let known = &known;
        model
            .standings
            .iter()
            .filter(move |(serial, wanted)| **wanted == standing && known.get(*serial) != Some(&standing))
            .map(|(serial, _)| serial.clone())
            .collect::<Vec<_>>()
    };
    let gone = known
        .keys()
        .filter(|serial| grant.covers(&model.name, serial) && !model.standings.contains_key(*serial))
        .cloned()
        .collect::<Vec<_>>();
    for (standing, list) in [
        (Some(Standing::Denied), of(Standing::Denied)),
        (Some(Standing::Allowed), of(Standing::Allowed)),
        (None, gone),
    ] {
        for part in list.chunks(STEP) {
            serials::put_standing(app, brand, &model.name, part, standing).await?;
        }
    }
    Ok(())
}

/// Puts the models in force, those that are not granted any more out of service, and the grant with them.
async fn take(
    app: &App,
    brand: &BrandCtx,
    granted: &Granted,
    keys: &[SharedKey],
    record: Change,
) -> Result<(), Refusal> {
    let now = app.clock.now();
    let grant = &granted.grant;
    let mut commit = Commit::default();
    let mut known: BTreeMap<ModelName, Versioned<ModelRecord>> = app
        .storage
        .all::<ModelRecord>([brand.brand().as_str()])
        .await?
        .into_iter()
        .map(|found| (found.record.name.clone(), found))
        .collect();
    let mut changed = Vec::new();
    for model in &granted.models {
        let found = known.remove(&model.name);
        let version = found.as_ref().map(|found| found.version);
        let mut new = served(brand, model, grant, found.map(|found| found.record), granted);
        new.api_keys = Vec::new();
        for key in keys.iter().filter(|key| key.model == model.name) {
            new.api_keys.push(api_key(app, brand, key)?);
        }
        commit.records.push(match version {
            Some(version) => Change::replace(&new, version),
            None => Change::create(&new),
        });
        changed.push((new, version.unwrap_or(0) + 1));
    }
    for (_, Versioned { mut record, version }) in known {
        if !record.disabled {
            record.disabled = true;
            record.authorship.change(None, now);
            commit.records.push(Change::replace(&record, version));
            changed.push((record, version + 1));
        }
    }
    let key = app
        .storage
        .find_unique::<SigningKey>("key-id", granted.public_key_sha3_384.as_str())
        .await?;
    if let Some(Versioned { mut record, version }) = key {
        record.constrained = true;
        record.models.clone_from(&grant.models);
        record.authorship.change(None, now);
        commit.records.push(Change::replace(&record, version));
    }
    commit.records.push(record);
    let subject = format!("{}/{}", brand.brand(), granted.site);
    let detail = json!({ "grant": grant });
    commit
        .audit
        .push(vault_event(app, brand, "factory.accept", &subject, &detail));
    app.commit(commit).await?;
    for (model, version) in &changed {
        fleet::devices::follow_rule(app, model, *version);
    }
    Ok(())
}

/// A model as this box serves it.
fn served(
    brand: &BrandCtx,
    model: &GrantedModel,
    grant: &SiteGrant,
    known: Option<ModelRecord>,
    granted: &Granted,
) -> ModelRecord {
    let mut record = known.unwrap_or_else(|| ModelRecord {
        brand_id: brand.brand().clone(),
        name: model.name.clone(),
        api_keys: Vec::new(),
        auth: model.auth,
        reissue: model.reissue,
        allow_list: model.allow_list,
        quota: None,
        policies: Vec::new(),
        last_policy: 0,
        fleet: FleetRule::default(),
        disabled: false,
        created: grant.since,
        authorship: Authorship::default(),
    });
    record.auth = model.auth;
    record.reissue = model.reissue;
    record.allow_list = model.allow_list;
    record.quota = grant.count;
    record.disabled = false;
    let key = granted.site.key_name();
    if record.policy().is_none_or(|policy| policy.key != key) {
        let revision = record.next_policy();
        record.policies.push(SerialPolicy {
            revision,
            key,
            created: grant.since,
            created_by: None,
        });
        record.last_policy = revision;
    }
    record
}

/// The key as this instance checks and keeps it.
fn api_key(app: &App, brand: &BrandCtx, shared: &SharedKey) -> Result<ApiKey, Refusal> {
    let owner = Owner {
        brand: brand.brand(),
        model: &shared.model,
        id: &shared.id,
    };
    Ok(ApiKey {
        id: shared.id.clone(),
        hash: ApiKeyHash::of(&app.secrets, &shared.key).text(),
        sealed: Some(api_keys::seal(app, owner, &shared.key)?),
        created: shared.created,
        expires: shared.expires,
    })
}
