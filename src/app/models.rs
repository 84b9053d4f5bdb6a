//! Models as the vault serves them: API keys, serial policies, settings, and the hook that points devices here.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::api_keys::{self, ApiKeyHash, Owner};
use super::{App, BrandCtx, Reason, Refusal, brand_key, fleet, keys};
use crate::domain::access::Authorship;
use crate::domain::audit::AuditEvent;
use crate::domain::fleet::{FleetRule, ProductionRule};
use crate::domain::ident::{BrandId, KeyName, ModelName, Tag};
use crate::domain::time::Timestamp;
use crate::domain::vault::{ApiKey, DeviceAuth, ModelRecord, Reissue, SerialPolicy};
use crate::ports::{Change, Commit, CommitOutcome, Kind, Versioned};

/// The key that signs serials unless another is named; `init` makes it.
pub const DEFAULT_KEY: &str = "serial";
/// API keys one model may have at once.
pub const MAX_API_KEYS: usize = 20;

/// A model to be made.
#[derive(Debug)]
pub struct NewModel {
    /// Its name.
    pub name: ModelName,
    /// An API key chosen by a person; none = one is made.
    pub api_key: Option<Zeroizing<String>>,
    /// The key of its first serial policy; none = [`DEFAULT_KEY`].
    pub key: Option<KeyName>,
    /// Its settings.
    pub settings: ModelSettings,
}

/// Settings of a model; what is none stays as it is.
#[derive(Debug, Default)]
pub struct ModelSettings {
    /// How devices prove themselves.
    pub auth: Option<DeviceAuth>,
    /// About serials issued before.
    pub reissue: Option<Reissue>,
    /// Only serials of the allow-list.
    pub allow_list: Option<bool>,
    /// Most distinct serials; `Some(None)` lifts the limit.
    pub quota: Option<Option<u64>>,
    /// Whether its devices are production devices.
    pub production: Option<ProductionRule>,
    /// The tag its devices follow at first; `Some(None)` takes it away.
    pub tag: Option<Option<Tag>>,
    /// No serials and no sessions.
    pub disabled: Option<bool>,
}

impl ModelSettings {
    fn apply(&self, model: &mut ModelRecord) {
        if let Some(auth) = self.auth {
            model.auth = auth;
        }
        if let Some(reissue) = self.reissue {
            model.reissue = reissue;
        }
        if let Some(allow_list) = self.allow_list {
            model.allow_list = allow_list;
        }
        if let Some(quota) = self.quota {
            model.quota = quota;
        }
        if let Some(production) = self.production {
            model.fleet.production = production;
        }
        if let Some(tag) = &self.tag {
            model.fleet.tag.clone_from(tag);
        }
        if let Some(disabled) = self.disabled {
            model.disabled = disabled;
        }
    }

    fn detail(&self) -> Value {
        let mut detail = serde_json::Map::new();
        let mut note = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                detail.insert(name.to_owned(), value);
            }
        };
        note("auth", self.auth.map(|auth| json!(auth)));
        note("reissue", self.reissue.map(|reissue| json!(reissue)));
        note("allow-list", self.allow_list.map(Value::from));
        note("quota", self.quota.map(Value::from));
        note("production", self.production.map(|production| json!(production)));
        note("tag", self.tag.as_ref().map(|tag| json!(tag)));
        note("disabled", self.disabled.map(Value::from));
        Value::Object(detail)
    }
}

/// An API key in clear, to be shown once and forgotten.
#[derive(Clone)]
pub struct ShownOnce {
    /// Its public id.
    pub id: String,
    /// The key.
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for ShownOnce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShownOnce({}, …)", self.id)
    }
}

/// Makes a model with one API key and its first serial policy.
pub async fn create(app: &App, ctx: &BrandCtx, new: NewModel) -> Result<(ModelRecord, ShownOnce), Refusal> {
    let given = new.api_key.as_ref().map(|key| key.as_str());
    let owner = (ctx.brand(), &new.name);
    let (record, shown) = make_api_key(app, owner, given, None, app.clock.now())?;
    let model = make(app, ctx, new, vec![record]).await?;
    Ok((model, shown))
}

/// Makes a model with its first serial policy and no API key: until it gets one, no device registers that has to show one.
pub async fn create_without_key(app: &App, ctx: &BrandCtx, new: NewModel) -> Result<ModelRecord, Refusal> {
    make(app, ctx, new, Vec::new()).await
}

async fn make(
    app: &App,
    ctx: &BrandCtx,
    new: NewModel,
    api_keys: Vec<ApiKey>,
) -> Result<ModelRecord, Refusal> {
    let now = app.clock.now();
    let key = match new.key {
        Some(key) => key,
        None => DEFAULT_KEY
            .parse()
            .map_err(|e| Refusal::invalid("invalid-key", format!("{e}")))?,
    };
    let held = held_key(app, ctx, &new.name, &key, now).await?;
    let mut model = ModelRecord {
        brand_id: ctx.brand().clone(),
        name: new.name,
        api_keys,
        auth: DeviceAuth::default(),
        reissue: Reissue::default(),
        allow_list: false,
        quota: None,
        policies: vec![SerialPolicy {
            revision: 1,
            key,
            created: now,
            created_by: ctx.account().cloned(),
        }],
        last_policy: 1,
        fleet: FleetRule::default(),
        disabled: false,
        created: now,
        authorship: Authorship::made_by(ctx.account()),
    };
    new.settings.apply(&mut model);
    let mut detail = new.settings.detail();
    if let Value::Object(map) = &mut detail {
        map.insert(
            "api-key-id".to_owned(),
            json!(model.api_keys.first().map(|key| &key.id)),
        );
        map.insert(
            "key".to_owned(),
            json!(model.policies.first().map(|policy| policy.key.to_string())),
        );
    }
    let event = event(app, ctx, "model.create", &model.name, &detail);
    let commit = Commit {
        records: vec![Change::create(&model), held],
        audit: vec![event],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => {
            fleet::devices::follow_rule(app, &model, 1);
            Ok(model)
        }
        outcome @ CommitOutcome::Conflict {
            kind: Kind::SigningKey,
            ..
        } => Err(refused(&model.name, &outcome)),
        CommitOutcome::Conflict { .. } => Err(Refusal::conflict(
            "already-exists",
            format!("cannot create model {}: it is there already", model.name),
        )),
        outcome @ (CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. }) => {
            Err(refused(&model.name, &outcome))
        }
    }
}

/// All models of the brand, ordered by name.
pub async fn list(app: &App, ctx: &BrandCtx) -> Result<Vec<ModelRecord>, Refusal> {
    let models = app.storage.all::<ModelRecord>([ctx.brand().as_str()]).await?;
    Ok(models.into_iter().map(|model| model.record).collect())
}

/// One model of the brand.
pub async fn show(app: &App, ctx: &BrandCtx, name: &ModelName) -> Result<ModelRecord, Refusal> {
    Ok(find(app, ctx, name).await?.record)
}

/// Puts a new serial policy in force: from now on `key` signs the serials of the model.
pub async fn set_policy(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
    key: KeyName,
) -> Result<ModelRecord, Refusal> {
    let Versioned {
        record: mut model,
        version,
    } = find(app, ctx, name).await?;
    let now = app.clock.now();
    let held = held_key(app, ctx, name, &key, now).await?;
    let revision = model.next_policy();
    let detail = json!({ "key": key.as_str(), "revision": revision });
    model.policies.push(SerialPolicy {
        revision,
        key,
        created: now,
        created_by: ctx.account().cloned(),
    });
    model.last_policy = revision;
    replace(app, ctx, model, version, Some(held), "model.policy", detail).await
}

/// Changes settings of a model.
pub async fn configure(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
    settings: ModelSettings,
) -> Result<ModelRecord, Refusal> {
    let Versioned {
        record: mut model,
        version,
    } = find(app, ctx, name).await?;
    let was_disabled = model.disabled;
    settings.apply(&mut model);
    let held = match model.policy() {
        Some(policy) if was_disabled && !model.disabled => {
            Some(held_key(app, ctx, name, &policy.key, app.clock.now()).await?)
        }
        Some(_) | None => None,
    };
    let detail = settings.detail();
    replace(app, ctx, model, version, held, "model.configure", detail).await
}

/// Adds an API key. With `retire_others`, the keys in use until now stop at that time, so that both old and new
/// ones work while a factory changes over.
pub async fn add_api_key(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
    given: Option<&str>,
    expires: Option<Timestamp>,
    retire_others: Option<Timestamp>,
) -> Result<(ModelRecord, ShownOnce), Refusal> {
    let Versioned {
        record: mut model,
        version,
    } = find(app, ctx, name).await?;
    let now = app.clock.now();
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Refusal::invalid(
            "invalid-expiry",
            "cannot add the API key: its end lies in the past",
        ));
    }
    model.api_keys.retain(|key| !key.expired(now));
    if model.api_keys.len() >= MAX_API_KEYS {
        return Err(Refusal::conflict(
            "too-many-api-keys",
            format!("cannot add the API key: model {name} has {MAX_API_KEYS} already; revoke one first"),
        ));
    }
    if let Some(end) = retire_others {
        for key in &mut model.api_keys {
            key.expires = Some(key.expires.map_or(end, |expires| expires.min(end)));
        }
    }
    let (record, shown) = make_api_key(app, (ctx.brand(), name), given, expires, now)?;
    model.api_keys.push(record);
    let detail = json!({
        "api-key-id": shown.id,
        "expires": expires.map(|time| time.to_string()),
        "others-expire": retire_others.map(|time| time.to_string()),
    });
    let model = replace(app, ctx, model, version, None, "model.api-key.add", detail).await?;
    Ok((model, shown))
}

/// Sets when an API key stops being good; none = never.
pub async fn expire_api_key(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
    id: &str,
    expires: Option<Timestamp>,
) -> Result<ModelRecord, Refusal> {
    let Versioned {
        record: mut model,
        version,
    } = find(app, ctx, name).await?;
    let key = model
        .api_keys
        .iter_mut()
        .find(|key| key.id == id)
        .ok_or_else(|| no_api_key(name, id))?;
    key.expires = expires;
    let detail = json!({ "api-key-id": id, "expires": expires.map(|time| time.to_string()) });
    replace(app, ctx, model, version, None, "model.api-key.expire", detail).await
}

/// Revokes an API key at once.
pub async fn revoke_api_key(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
    id: &str,
) -> Result<ModelRecord, Refusal> {
    let Versioned {
        record: mut model,
        version,
    } = find(app, ctx, name).await?;
    let before = model.api_keys.len();
    model.api_keys.retain(|key| key.id != id);
    if model.api_keys.len() == before {
        return Err(no_api_key(name, id));
    }
    replace(
        app,
        ctx,
        model,
        version,
        None,
        "model.api-key.revoke",
        json!({ "api-key-id": id }),
    )
    .await
}

/// Whose key goes into the hook.
#[derive(Clone, Debug)]
pub enum HookKey {
    /// None: a placeholder stands in its place.
    Placeholder,
    /// This one; it must be a key of the model.
    Given(Zeroizing<String>),
    /// A new one is added to the model.
    New,
}

/// A ready `prepare-device` hook for the gadget of the model's devices.
pub async fn hook(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
    key: HookKey,
) -> Result<Zeroizing<String>, Refusal> {
    let model = show(app, ctx, name).await?;
    let api_key = match key {
        HookKey::Placeholder => Zeroizing::new("PUT-THE-API-KEY-HERE".to_owned()),
        HookKey::Given(key) => {
            let hash = ApiKeyHash::of(&app.secrets, &key).text();
            let known = model
                .api_keys
                .iter()
                .any(|known| known.hash == hash && !known.expired(app.clock.now()));
            if !known {
                return Err(Refusal::invalid(
                    "invalid-api-key",
                    format!("cannot write the hook: this is no API key of model {name} in force"),
                ));
            }
            Zeroizing::new(key.trim().to_owned())
        }
        HookKey::New => add_api_key(app, ctx, name, None, None, None).await?.1.key,
    };
    // Single quotes keep the shell away from the key; a given key may contain one.
    let quoted = Zeroizing::new(
        api_key
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\'', "'\\''"),
    );
    Ok(Zeroizing::new(format!(
        "#!/bin/sh\n\
         # prepare-device hook of the gadget for model {name} of brand {brand}: put it at meta/hooks/prepare-device (0755).\n\
         # snapd runs it once, before the device asks for its serial.\n\
         set -e\n\
         snapctl set device-service.url='{url}/v1/'\n\
         snapctl set device-service.headers='{{\"api-key\":\"{quoted}\"}}'\n\
         # The serial the device asks for: read it from where your factory writes it. The inner quotes make it a\n\
         # string for snapd, which takes digits alone for a number and then does not register.\n\
         # snapctl set registration.proposed-serial=\"\\\"$(cat /sys/class/dmi/id/product_serial)\\\"\"\n",
        brand = ctx.brand(),
        url = app.settings.public_url,
        quoted = quoted.as_str(),
    )))
}

pub(super) fn make_api_key(
    app: &App,
    (brand, model): (&BrandId, &ModelName),
    given: Option<&str>,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Result<(ApiKey, ShownOnce), Refusal> {
    let key = match given {
        Some(text) => api_keys::given(text)?,
        None => api_keys::generate(app),
    };
    let hash = ApiKeyHash::of(&app.secrets, &key).text();
    let mut random = [0; 4];
    app.entropy.fill(&mut random);
    let id = format!("ak-{}", crate::domain::audit::hex(&random));
    let owner = Owner {
        brand,
        model,
        id: &id,
    };
    let sealed = api_keys::seal(app, owner, &key)?;
    Ok((
        ApiKey {
            id: id.clone(),
            hash,
            sealed: Some(sealed),
            created: now,
            expires,
        },
        ShownOnce { id, key },
    ))
}

pub(super) async fn find(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
) -> Result<Versioned<ModelRecord>, Refusal> {
    app.storage
        .find::<ModelRecord>([ctx.brand().as_str(), name.as_str()])
        .await?
        .ok_or_else(|| Refusal::not_found(format!("cannot find model {name} of brand {}", ctx.brand())))
}

/// Checks that `key` may sign serials of the model, and gives the change that makes a commit fail where the key is
/// changed at the same time: a key that is being switched off must not come into use.
pub(super) async fn held_key(
    app: &App,
    ctx: &BrandCtx,
    model: &ModelName,
    key: &KeyName,
    now: Timestamp,
) -> Result<Change, Refusal> {
    let found = keys::find(app, ctx, key).await;
    brand_key::for_serials(&*app.storage, ctx.brand(), model, key, now)
        .await
        .map_err(|why| why.refusal("use the key for serials"))?;
    let found = found?;
    Ok(Change::replace(&found.record, found.version))
}

pub(super) async fn replace(
    app: &App,
    ctx: &BrandCtx,
    mut model: ModelRecord,
    version: u64,
    held: Option<Change>,
    action: &str,
    detail: Value,
) -> Result<ModelRecord, Refusal> {
    model.authorship.change(ctx.account(), app.clock.now());
    let event = event(app, ctx, action, &model.name, &detail);
    let commit = Commit {
        records: std::iter::once(Change::replace(&model, version))
            .chain(held)
            .collect(),
        audit: vec![event],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => {
            fleet::devices::follow_rule(app, &model, version + 1);
            Ok(model)
        }
        outcome @ (CommitOutcome::Conflict { .. }
        | CommitOutcome::Taken { .. }
        | CommitOutcome::OldRevision { .. }) => Err(refused(&model.name, &outcome)),
    }
}

fn refused(model: &ModelName, outcome: &CommitOutcome) -> Refusal {
    match outcome {
        CommitOutcome::Taken { .. } => Refusal::conflict(
            "api-key-taken",
            format!("cannot use this API key for model {model}: choose another one"),
        ),
        CommitOutcome::Conflict { .. } | CommitOutcome::OldRevision { .. } | CommitOutcome::Done => {
            Refusal::conflict(
                "changed-meanwhile",
                format!("cannot change model {model}: somebody changed it at the same time; try again"),
            )
        }
    }
}

fn no_api_key(model: &ModelName, id: &str) -> Refusal {
    Refusal::new(
        Reason::NotFound,
        "resource-not-found",
        format!("cannot find API key {id} of model {model}: see `hallmark model show {model}`"),
    )
}

fn event(app: &App, ctx: &BrandCtx, action: &str, model: &ModelName, detail: &Value) -> AuditEvent {
    super::vault_event(app, ctx, action, &format!("{}/{model}", ctx.brand()), detail)
}
