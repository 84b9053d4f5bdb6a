//! A brand's signing keys: made, taken in, listed, switched off and on.

use serde::Serialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::account_keys;
use super::instance::{key_event, refuse_throwaway};
use super::{App, BrandCtx, Reason, Refusal};
use crate::domain::access::{Authorship, Brand};
use crate::domain::ident::{AccountId, KeyId, KeyName, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::{KeyPurpose, KeyState, ModelRecord, SigningKey, TokenUri};
use crate::ports::{Change, Commit, CommitOutcome, KeyMaterial, NewKey, SignError, Versioned};

/// The smallest brand key that is taken in, in bits (decisions.md 19).
pub const MIN_BRAND_BITS: usize = 4096;
/// More models than this on one key would not fit a readable constraint.
const MAX_MODELS: usize = 64;

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// Its name, new within the brand.
    pub name: KeyName,
    /// What it may sign; empty = model assertions.
    pub purposes: Vec<KeyPurpose>,
    /// Only for these models, where not empty.
    pub models: Vec<ModelName>,
    /// Whether its account-key says so too, for devices to enforce; by default if there are models.
    pub constrained: Option<bool>,
    /// Start of validity; default now.
    pub since: Option<Timestamp>,
    /// End of validity; default never.
    pub until: Option<Timestamp>,
    /// Whether the external key manager may use it.
    pub external: bool,
    /// The token it is made in; none = where the settings say, else in software.
    pub token: Option<TokenUri>,
}

/// A key as it is shown: everything but its private half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyView {
    /// The brand.
    pub brand_id: AccountId,
    /// Its name.
    pub name: KeyName,
    /// Its id.
    pub public_key_sha3_384: KeyId,
    /// What it may sign.
    pub purposes: Vec<KeyPurpose>,
    /// Only for these models, where not empty.
    pub models: Vec<ModelName>,
    /// Whether its account-key carries constraints.
    pub constrained: bool,
    /// Whether it may sign.
    pub state: KeyState,
    /// Whether the external key manager may use it.
    pub external: bool,
    /// The place of a key in hardware, as a `pkcs11:` URI; none = a software key, or it was destroyed.
    pub token: Option<String>,
    /// Start of validity.
    pub since: Timestamp,
    /// End of validity.
    pub until: Option<Timestamp>,
    /// When it came here.
    pub created_at: Timestamp,
    /// Revision of its account-key; none = not registered, devices do not accept what it signs.
    pub account_key_revision: Option<u64>,
}

/// Makes an RSA-4096 key; registered at once where our root speaks for the brand.
pub async fn create(app: &App, ctx: &BrandCtx, request: KeyRequest) -> Result<KeyView, Refusal> {
    let brand = prepare(app, ctx, &request).await?;
    let made = app
        .signer
        .generate(
            &ctx.brand().clone().into(),
            request.name.as_str(),
            request.token.as_ref(),
        )
        .await?;
    keep(app, ctx, &brand, request, made, "key.create").await
}

/// Takes a private key in, or into use where it is in a token; registered at once where our root speaks for the brand.
pub async fn import(
    app: &App,
    ctx: &BrandCtx,
    request: KeyRequest,
    material: KeyMaterial,
) -> Result<KeyView, Refusal> {
    let brand = prepare(app, ctx, &request).await?;
    let owner = ctx.brand().clone().into();
    let made = app.signer.import(&owner, material, MIN_BRAND_BITS).await?;
    if let Err(refusal) = refuse_throwaway(app, &made.id) {
        app.signer.unload(&made.id).await;
        return Err(refusal);
    }
    keep(app, ctx, &brand, request, made, "key.import").await
}

/// All keys of the brand, by name.
pub async fn list(app: &App, ctx: &BrandCtx) -> Result<Vec<KeyView>, Refusal> {
    let mut views = Vec::new();
    for key in app.storage.all::<SigningKey>([ctx.brand().as_str()]).await? {
        views.push(view(app, key.record).await?);
    }
    Ok(views)
}

/// One key of the brand.
pub async fn show(app: &App, ctx: &BrandCtx, name: &KeyName) -> Result<KeyView, Refusal> {
    view(app, find(app, ctx, name).await?.record).await
}

/// The encoded public key (assertions.md 2.1), without a final line feed.
pub async fn export_public(app: &App, ctx: &BrandCtx, name: &KeyName) -> Result<String, Refusal> {
    Ok(find(app, ctx, name).await?.record.public_key)
}

/// Switches a key off. Refused while the serial policy of an enabled model uses it.
pub async fn disable(app: &App, ctx: &BrandCtx, name: &KeyName) -> Result<KeyView, Refusal> {
    let mut found = find(app, ctx, name).await?;
    if found.record.state == KeyState::Active {
        if found.record.purposes.contains(&KeyPurpose::Root) {
            return Err(Refusal::conflict(
                "key-in-use",
                format!("cannot disable key {name}: it is the only root of the instance"),
            ));
        }
        refuse_in_use(app, ctx, name, "disable").await?;
        found.record.state = KeyState::Disabled;
        replace(app, ctx, &found, "key.disable").await?;
        app.signer.unload(&found.record.key_id).await;
    }
    view(app, found.record).await
}

/// Switches a key on again; a revoked one stays off.
pub async fn enable(app: &App, ctx: &BrandCtx, name: &KeyName) -> Result<KeyView, Refusal> {
    let mut found = find(app, ctx, name).await?;
    if found
        .record
        .until
        .is_some_and(|until| until <= found.record.since)
    {
        return Err(Refusal::conflict(
            "key-revoked",
            format!(
                "cannot enable key {name}: it was revoked for good; make another with `hallmark key create`"
            ),
        ));
    }
    if found.record.state == KeyState::Deleted {
        return Err(Refusal::conflict(
            "key-deleted",
            format!(
                "cannot enable key {name}: its private half was destroyed; make another with `hallmark key create`"
            ),
        ));
    }
    if found.record.state == KeyState::Disabled {
        let key = &mut found.record;
        if let Err(error) = app.signer.load(&key.account_id, &key.key_id, &key.sealed).await {
            app.signer.unload(&key.key_id).await;
            return Err(error.into());
        }
        key.state = KeyState::Active;
        if let Err(refusal) = replace(app, ctx, &found, "key.enable").await {
            app.signer.unload(&found.record.key_id).await;
            return Err(refusal);
        }
    }
    view(app, found.record).await
}

/// Destroys the private half of a key for good. What it signed stays good, and its name and public half stay known.
/// Refused while a serial policy of any model names it. A key made in a token is destroyed there too; one that was there
/// before stays in it.
///
/// # Errors
/// `key-in-use`; `token-unavailable`: nothing was changed; `key-left-in-token`: only its token still has it.
pub async fn delete(app: &App, ctx: &BrandCtx, id: &KeyId) -> Result<(), Refusal> {
    let mut found = by_id(app, ctx, id).await?;
    let name = found.record.name.clone();
    if found.record.purposes.contains(&KeyPurpose::Root) {
        return Err(Refusal::conflict(
            "key-in-use",
            format!("cannot delete key {name}: it is the only root of the instance"),
        ));
    }
    let models = app.storage.all::<ModelRecord>([ctx.brand().as_str()]).await?;
    let users: Vec<&str> = models
        .iter()
        .map(|found| &found.record)
        .filter(|model| model.policies.iter().any(|policy| policy.key == name))
        .map(|model| model.name.as_str())
        .collect();
    if !users.is_empty() {
        return Err(in_use("delete", &name, &users));
    }
    let (owner, id) = (found.record.account_id.clone(), found.record.key_id.clone());
    let sealed = Zeroizing::new(found.record.sealed.clone());
    let place = found.record.place().map(str::to_owned);
    if let Some(place) = place.as_deref().and_then(|place| TokenUri::key(place).ok()) {
        token_answers(app, place.token).await?;
    }
    found.record.state = KeyState::Deleted;
    found.record.sealed.zeroize();
    found.record.external = false;
    replace(app, ctx, &found, "key.delete").await?;
    if let Err(error) = app.signer.destroy(&owner, &id, &sealed).await {
        let place = place.unwrap_or_default();
        tracing::error!(%error, key = %name, place, "a deleted key is still in its token");
        return Err(Refusal::new(
            Reason::Unavailable,
            "key-left-in-token",
            format!("deleted key {name}, but cannot remove it from its token: {error}; remove {place} there"),
        ));
    }
    Ok(())
}

/// Refuses where a token does not answer now.
async fn token_answers(app: &App, token: String) -> Result<(), Refusal> {
    let states = app.signer.ask_tokens().await;
    let why = match states.into_iter().find(|state| state.token == token) {
        Some(state) => state.trouble,
        None => Some("it is none of those that pkcs11-token names".to_owned()),
    };
    match why {
        Some(why) => Err(SignError::Token { token, why }.into()),
        None => Ok(()),
    }
}

/// Like [`delete`], for keys that sign nothing but serials: others are absent.
pub async fn delete_for_serials(app: &App, ctx: &BrandCtx, id: &KeyId) -> Result<(), Refusal> {
    let found = by_id(app, ctx, id).await?;
    if found
        .record
        .purposes
        .iter()
        .any(|purpose| *purpose != KeyPurpose::Serial)
    {
        return Err(Refusal::not_found(format!(
            "cannot find key {id} of brand {}",
            ctx.brand()
        )));
    }
    delete(app, ctx, id).await
}

/// The key with this id, unless it was deleted.
pub async fn by_id(app: &App, ctx: &BrandCtx, id: &KeyId) -> Result<Versioned<SigningKey>, Refusal> {
    let found = app
        .storage
        .find_unique::<SigningKey>("key-id", id.as_str())
        .await?
        .filter(|found| found.record.account_id.as_str() == ctx.brand().as_str())
        .filter(|found| found.record.state != KeyState::Deleted);
    found.ok_or_else(|| Refusal::not_found(format!("cannot find key {id} of brand {}", ctx.brand())))
}

/// The keys of the brand that sign serials, by name.
pub async fn for_serials(app: &App, ctx: &BrandCtx) -> Result<Vec<SigningKey>, Refusal> {
    let all = app.storage.all::<SigningKey>([ctx.brand().as_str()]).await?;
    Ok(all
        .into_iter()
        .map(|found| found.record)
        .filter(|key| key.state != KeyState::Deleted && key.purposes.contains(&KeyPurpose::Serial))
        .collect())
}

/// Lets the external key manager use a key, or no longer (decisions.md 16).
pub async fn set_external(
    app: &App,
    ctx: &BrandCtx,
    name: &KeyName,
    external: bool,
) -> Result<KeyView, Refusal> {
    let mut found = find(app, ctx, name).await?;
    if found.record.external != external {
        if external {
            check_external(&found.record.name, &found.record.purposes)?;
        }
        found.record.external = external;
        replace(
            app,
            ctx,
            &found,
            if external {
                "key.external-on"
            } else {
                "key.external-off"
            },
        )
        .await?;
    }
    view(app, found.record).await
}

/// The key of this name, or a refusal.
pub async fn find(app: &App, ctx: &BrandCtx, name: &KeyName) -> Result<Versioned<SigningKey>, Refusal> {
    let found = app
        .storage
        .find::<SigningKey>([ctx.brand().as_str(), name.as_str()])
        .await?;
    found.ok_or_else(|| Refusal::not_found(format!("cannot find key {name} of brand {}", ctx.brand())))
}

/// Refuses to `verb` a key that signs for an enabled model.
pub(super) async fn refuse_in_use(
    app: &App,
    ctx: &BrandCtx,
    name: &KeyName,
    verb: &str,
) -> Result<(), Refusal> {
    let models = app.storage.all::<ModelRecord>([ctx.brand().as_str()]).await?;
    let users: Vec<&str> = models
        .iter()
        .map(|found| &found.record)
        .filter(|model| !model.disabled && model.policy().is_some_and(|policy| policy.key == *name))
        .map(|model| model.name.as_str())
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    Err(in_use(verb, name, &users))
}

/// Clients look for the words about a serial policy.
fn in_use(verb: &str, name: &KeyName, models: &[&str]) -> Refusal {
    Refusal::conflict(
        "key-in-use",
        format!(
            "cannot {verb} key {name}: it is used to sign at least one serial policy (models: {}); \
             give them another key first",
            models.join(", ")
        ),
    )
}

/// Replaces a key record, with an event of the given action.
async fn replace(
    app: &App,
    ctx: &BrandCtx,
    found: &Versioned<SigningKey>,
    action: &str,
) -> Result<(), Refusal> {
    let now = app.clock.now();
    let event = key_event(ctx.event(now, action, ""), &found.record);
    let mut record = found.record.clone();
    record.authorship.change(ctx.account(), now);
    let commit = Commit {
        records: vec![Change::replace(&record, found.version)],
        assertions: Vec::new(),
        audit: vec![event],
        ..Commit::default()
    };
    settle(&found.record.name, &app.storage.commit(commit).await?)
}

/// The refusal that belongs to a commit that was not applied.
pub(super) fn settle(name: &KeyName, outcome: &CommitOutcome) -> Result<(), Refusal> {
    match outcome {
        CommitOutcome::Done => Ok(()),
        CommitOutcome::Conflict { .. } | CommitOutcome::OldRevision { .. } => Err(Refusal::conflict(
            "changed-meanwhile",
            format!("cannot change key {name}: it was changed at the same time; try again"),
        )),
        CommitOutcome::Taken { field, .. } => Err(taken(name, field)),
    }
}

fn taken(name: &KeyName, field: &str) -> Refusal {
    let why = if field == "key-id" {
        "this key is here already, under another name or brand"
    } else {
        field
    };
    Refusal::conflict("key-exists", format!("cannot add key {name}: {why}"))
}

/// All that can be refused before a key is made.
async fn prepare(app: &App, ctx: &BrandCtx, request: &KeyRequest) -> Result<Brand, Refusal> {
    let KeyRequest {
        name,
        purposes,
        models,
        since,
        until,
        external,
        ..
    } = request;
    let invalid = |why: String| Refusal::invalid("invalid-key", format!("cannot add key {name}: {why}"));
    if purposes.contains(&KeyPurpose::Root) {
        return Err(invalid("a brand has no root keys".to_owned()));
    }
    if !models.is_empty() {
        if let Some(purpose) = purposes.iter().find(|purpose| purpose.model_header().is_none()) {
            return Err(invalid(format!(
                "{purpose} assertions name no model, so it cannot be bound to models"
            )));
        }
        if models.len() > MAX_MODELS {
            return Err(invalid(format!("it may be bound to {MAX_MODELS} models at most")));
        }
    }
    let start = since.unwrap_or_else(|| app.clock.now());
    if until.is_some_and(|until| until <= start) {
        return Err(invalid("its validity ends before it begins".to_owned()));
    }
    if *external {
        check_external(name, purposes)?;
    }
    if app
        .storage
        .find::<SigningKey>([ctx.brand().as_str(), name.as_str()])
        .await?
        .is_some()
    {
        return Err(taken(name, "the brand has a key of this name"));
    }
    let brand = app.storage.find::<Brand>([ctx.brand().as_str()]).await?;
    brand
        .map(|found| found.record)
        .ok_or_else(|| Refusal::not_found(format!("cannot find brand {}", ctx.brand())))
}

fn check_external(name: &KeyName, purposes: &[KeyPurpose]) -> Result<(), Refusal> {
    let barred = purposes
        .iter()
        .find(|purpose| matches!(purpose, KeyPurpose::Serial | KeyPurpose::Root));
    barred.map_or(Ok(()), |purpose| {
        Err(Refusal::invalid(
            "key-external",
            format!("cannot open key {name} to the external key manager: it is a {purpose} key"),
        ))
    })
}

/// Records a new key, and its account-key where our root speaks for the brand, in one commit.
async fn keep(
    app: &App,
    ctx: &BrandCtx,
    brand: &Brand,
    request: KeyRequest,
    made: NewKey,
    action: &str,
) -> Result<KeyView, Refusal> {
    let (id, owner, sealed) = (made.id.clone(), brand.id.clone().into(), made.sealed.clone());
    let outcome = record(app, ctx, brand, request, made, action).await;
    if outcome.is_err() {
        // It may have been here before under another name: then it goes on signing for that one.
        let known = app
            .storage
            .find_unique::<SigningKey>("key-id", id.as_str())
            .await?;
        if !known.is_some_and(|found| found.record.state == KeyState::Active)
            && let Err(error) = app.signer.destroy(&owner, &id, &sealed).await
        {
            tracing::error!(%error, key = %id, "cannot remove a key that was not recorded");
        }
    }
    outcome
}

async fn record(
    app: &App,
    ctx: &BrandCtx,
    brand: &Brand,
    request: KeyRequest,
    made: NewKey,
    action: &str,
) -> Result<KeyView, Refusal> {
    let now = app.clock.now();
    let mut purposes = if request.purposes.is_empty() {
        vec![KeyPurpose::Model]
    } else {
        request.purposes
    };
    purposes.sort_unstable();
    purposes.dedup();
    let key = SigningKey {
        account_id: brand.id.clone().into(),
        name: request.name,
        key_id: made.id,
        public_key: made.public_key,
        purposes,
        constrained: request.constrained.unwrap_or(!request.models.is_empty()),
        models: request.models,
        state: KeyState::Active,
        external: request.external,
        since: request.since.unwrap_or(now),
        until: request.until,
        created: now,
        sealed: made.sealed,
        authorship: Authorship::made_by(ctx.account()),
    };
    let mut commit = Commit {
        records: vec![Change::create(&key)],
        assertions: Vec::new(),
        audit: vec![key_event(ctx.event(now, action, ""), &key)],
        ..Commit::default()
    };
    if !brand.delegated {
        account_keys::issue(app, ctx, &key, 0, &mut commit).await?;
    }
    match app.storage.commit(commit).await? {
        CommitOutcome::Conflict { .. } => Err(taken(&key.name, "the brand has a key of this name")),
        outcome => {
            settle(&key.name, &outcome)?;
            view(app, key).await
        }
    }
}

pub(super) async fn view(app: &App, key: SigningKey) -> Result<KeyView, Refusal> {
    let account_key = account_keys::of(app, &key).await?;
    let token = key.place().map(str::to_owned);
    Ok(KeyView {
        brand_id: key.account_id,
        name: key.name,
        public_key_sha3_384: key.key_id,
        purposes: key.purposes,
        models: key.models,
        constrained: key.constrained,
        state: key.state,
        external: key.external,
        since: key.since,
        until: key.until,
        created_at: key.created,
        token,
        account_key_revision: account_key.map(|assertion| assertion.revision()),
    })
}
