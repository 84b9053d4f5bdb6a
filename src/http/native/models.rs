//! Models, model assertions, system-users.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Created, Input, Json, Native, Nothing, Outcome};
use crate::app::models::{self, HookKey, ModelSettings, NewModel, ShownOnce};
use crate::app::system_user::{self, NewSystemUser};
use crate::app::{App, BrandCtx, sign_model};
use crate::domain::access::Permission;
use crate::domain::assertion::types::compat_warnings;
use crate::domain::fleet::{FleetRule, ProductionRule};
use crate::domain::ident::{BrandId, KeyId, KeyName, ModelName, SerialNumber, Tag};
use crate::domain::time::Timestamp;
use crate::domain::vault::{ApiKey, DeviceAuth, ModelRecord, Reissue, SerialPolicy};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/models",
            P::ModelRead,
            "List the models the vault serves",
            list,
        ),
        native.post(
            "/hallmark/v1/models",
            P::ModelManage,
            "Let the vault serve a model",
            create,
        ),
        native.get("/hallmark/v1/models/{name}", P::ModelRead, "Show a model", show),
        native.put(
            "/hallmark/v1/models/{name}",
            P::ModelManage,
            "Change how a model is served",
            configure,
        ),
        native.put(
            "/hallmark/v1/models/{name}/serial-policy",
            P::SerialManage,
            "Change how serials of a model are issued",
            set_issuing,
        ),
        native.post(
            "/hallmark/v1/models/{name}/policies",
            P::ModelManage,
            "Let another key sign the serials of a model",
            add_policy,
        ),
        native.post(
            "/hallmark/v1/models/{name}/hook",
            P::ModelManage,
            "Write a prepare-device hook",
            hook,
        ),
        native.post(
            "/hallmark/v1/models/{name}/api-keys",
            P::ModelManage,
            "Add an API key",
            add_api_key,
        ),
        native.put(
            "/hallmark/v1/models/{name}/api-keys/{id}",
            P::ModelManage,
            "Set when an API key ends",
            expire_api_key,
        ),
        native.delete(
            "/hallmark/v1/models/{name}/api-keys/{id}",
            P::ModelManage,
            "Revoke an API key",
            revoke_api_key,
        ),
        native.post(
            "/hallmark/v1/model-assertions",
            P::ModelSign,
            "Sign a model assertion",
            sign,
        ),
        native.post(
            "/hallmark/v1/system-users",
            P::SystemUserIssue,
            "Issue a system-user",
            issue_user,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ApiKeyView {
    id: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyView {
    revision: u32,
    key: KeyName,
    created_at: Timestamp,
}

/// A model as the API shows it. Hashes of API keys stay inside.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ModelView {
    brand_id: BrandId,
    name: ModelName,
    /// The key of the policy in force.
    key: Option<KeyName>,
    policies: Vec<PolicyView>,
    api_keys: Vec<ApiKeyView>,
    auth: DeviceAuth,
    reissue: Reissue,
    allow_list: bool,
    quota: Option<u64>,
    disabled: bool,
    /// What its devices become when they register.
    #[serde(flatten)]
    fleet: FleetRule,
    created_at: Timestamp,
    /// A key made by this very request.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<Zeroizing<String>>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_id: Option<String>,
}

impl From<ModelRecord> for ModelView {
    fn from(model: ModelRecord) -> Self {
        let key = model.policy().map(|policy| policy.key.clone());
        let api_key = |key: ApiKey| ApiKeyView {
            id: key.id,
            created_at: key.created,
            expires_at: key.expires,
        };
        let policy = |policy: SerialPolicy| PolicyView {
            revision: policy.revision,
            key: policy.key,
            created_at: policy.created,
        };
        Self {
            brand_id: model.brand_id,
            name: model.name,
            key,
            policies: model.policies.into_iter().map(policy).collect(),
            api_keys: model.api_keys.into_iter().map(api_key).collect(),
            auth: model.auth,
            reissue: model.reissue,
            allow_list: model.allow_list,
            fleet: model.fleet,
            quota: model.quota,
            disabled: model.disabled,
            created_at: model.created,
            api_key: None,
            api_key_id: None,
        }
    }
}

impl ModelView {
    fn with_key((model, shown): (ModelRecord, ShownOnce)) -> Self {
        Self {
            api_key: Some(shown.key),
            api_key_id: Some(shown.id),
            ..Self::from(model)
        }
    }
}

/// `GET /hallmark/v1/models`: all models of the brand.
async fn list(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<ModelView>>> {
    let models = models::list(&app, &ctx).await?;
    Ok(Json(models.into_iter().map(ModelView::from).collect()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ServingBody {
    #[serde(default)]
    auth: Option<DeviceAuth>,
    #[serde(default)]
    disabled: Option<bool>,
    /// Whether devices that register from now on are production devices.
    #[serde(default)]
    production: Option<ProductionRule>,
    /// The tag they follow at first; null = none.
    #[serde(default, deserialize_with = "present_tag")]
    tag: Option<Option<Tag>>,
}

fn present_tag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Tag>>, D::Error> {
    Option::<Tag>::deserialize(deserializer).map(Some)
}

/// How serials are issued. `quota` tells absent (stays) from null (no limit).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct IssuingBody {
    #[serde(default)]
    reissue: Option<Reissue>,
    #[serde(default)]
    allow_list: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    quota: Option<Option<u64>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CreateBody {
    name: ModelName,
    #[serde(default)]
    api_key: Option<Zeroizing<String>>,
    #[serde(default)]
    key: Option<KeyName>,
    #[serde(default)]
    auth: Option<DeviceAuth>,
    #[serde(default)]
    reissue: Option<Reissue>,
    #[serde(default)]
    allow_list: Option<bool>,
    #[serde(default)]
    quota: Option<u64>,
    /// Whether its devices are production devices when they register.
    #[serde(default)]
    production: Option<ProductionRule>,
    /// The tag its devices follow at first.
    #[serde(default)]
    tag: Option<Tag>,
}

/// `POST /hallmark/v1/models`: a new model; the answer holds its API key, once.
async fn create(app: App, ctx: BrandCtx, input: Input<Json<CreateBody>>) -> Outcome<Created<ModelView>> {
    let Json(body) = input.body;
    let settings = ModelSettings {
        auth: body.auth,
        reissue: body.reissue,
        allow_list: body.allow_list,
        quota: body.quota.map(Some),
        production: body.production,
        tag: body.tag.map(Some),
        disabled: None,
    };
    let new = NewModel {
        name: body.name,
        api_key: body.api_key,
        key: body.key,
        settings,
    };
    Ok(Created(ModelView::with_key(
        models::create(&app, &ctx, new).await?,
    )))
}

/// `GET /hallmark/v1/models/{name}`: one model.
async fn show(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<ModelView>> {
    Ok(Json(
        models::show(&app, &ctx, &input.variable("name")?).await?.into(),
    ))
}

/// `PUT /hallmark/v1/models/{name}`: authentication, on and off; what is absent stays.
async fn configure(app: App, ctx: BrandCtx, input: Input<Json<ServingBody>>) -> Outcome<Json<ModelView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    let settings = ModelSettings {
        auth: body.auth,
        disabled: body.disabled,
        production: body.production,
        tag: body.tag,
        ..ModelSettings::default()
    };
    Ok(Json(models::configure(&app, &ctx, &name, settings).await?.into()))
}

/// `PUT /hallmark/v1/models/{name}/serial-policy`: re-issue policy, allow-list, quota; what is absent stays.
async fn set_issuing(app: App, ctx: BrandCtx, input: Input<Json<IssuingBody>>) -> Outcome<Json<ModelView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    let settings = ModelSettings {
        reissue: body.reissue,
        allow_list: body.allow_list,
        quota: body.quota,
        ..ModelSettings::default()
    };
    Ok(Json(models::configure(&app, &ctx, &name, settings).await?.into()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PolicyBody {
    key: KeyName,
}

/// `POST /hallmark/v1/models/{name}/policies`: a new serial policy.
async fn add_policy(app: App, ctx: BrandCtx, input: Input<Json<PolicyBody>>) -> Outcome<Created<ModelView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    Ok(Created(
        models::set_policy(&app, &ctx, &name, body.key).await?.into(),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct HookBody {
    #[serde(default)]
    api_key: Option<Zeroizing<String>>,
    #[serde(default)]
    new_api_key: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct HookView {
    hook: Zeroizing<String>,
}

/// `POST /hallmark/v1/models/{name}/hook`: a prepare-device hook.
async fn hook(app: App, ctx: BrandCtx, input: Input<Json<HookBody>>) -> Outcome<Json<HookView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    let key = match (body.api_key, body.new_api_key) {
        (Some(key), _) => HookKey::Given(key),
        (None, true) => HookKey::New,
        (None, false) => HookKey::Placeholder,
    };
    Ok(Json(HookView {
        hook: models::hook(&app, &ctx, &name, key).await?,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ApiKeyBody {
    #[serde(default)]
    api_key: Option<Zeroizing<String>>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// Seconds until the other keys end.
    #[serde(default)]
    retire_others_after: Option<u32>,
}

/// `POST /hallmark/v1/models/{name}/api-keys`: one more API key; the answer holds it, once.
async fn add_api_key(app: App, ctx: BrandCtx, input: Input<Json<ApiKeyBody>>) -> Outcome<Created<ModelView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    let retire = body
        .retire_others_after
        .map(|seconds| app.clock.now().plus_seconds(i64::from(seconds)));
    let given = body.api_key.as_ref().map(|key| key.as_str());
    let made = models::add_api_key(&app, &ctx, &name, given, body.expires_at, retire).await?;
    Ok(Created(ModelView::with_key(made)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExpiryBody {
    expires_at: Option<Timestamp>,
}

/// `PUT /hallmark/v1/models/{name}/api-keys/{id}`: when the key ends; null = never.
async fn expire_api_key(app: App, ctx: BrandCtx, input: Input<Json<ExpiryBody>>) -> Outcome<Json<ModelView>> {
    let (name, id): (ModelName, String) = (input.variable("name")?, input.variable("id")?);
    let Json(body) = input.body;
    Ok(Json(
        models::expire_api_key(&app, &ctx, &name, &id, body.expires_at)
            .await?
            .into(),
    ))
}

/// `DELETE /hallmark/v1/models/{name}/api-keys/{id}`: the key is no good from now on.
async fn revoke_api_key(app: App, ctx: BrandCtx, input: Input<Nothing>) -> Outcome<Json<ModelView>> {
    let (name, id): (ModelName, String) = (input.variable("name")?, input.variable("id")?);
    Ok(Json(models::revoke_api_key(&app, &ctx, &name, &id).await?.into()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SignBody {
    /// The statement as text: JSON or YAML.
    statement: String,
    #[serde(default)]
    key: Option<KeyName>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SignedView {
    #[serde(rename = "type")]
    kind: &'static str,
    primary_key: Vec<String>,
    revision: u64,
    sign_key_sha3_384: KeyId,
    assertion: String,
    /// What older clients would make of it, a sentence each.
    warnings: Vec<String>,
}

/// `POST /hallmark/v1/model-assertions`: signs a model, keeps it and returns it.
async fn sign(app: App, ctx: BrandCtx, input: Input<Json<SignBody>>) -> Outcome<Created<SignedView>> {
    let Json(body) = input.body;
    let signed = sign_model::sign_model(&app, &ctx, &body.statement, body.key).await?;
    Ok(Created(SignedView {
        kind: signed.kind().name(),
        primary_key: signed.primary_key().0.clone(),
        revision: signed.revision(),
        sign_key_sha3_384: signed.sign_key().clone(),
        assertion: String::from_utf8_lossy(signed.encoded()).into_owned(),
        warnings: compat_warnings(&signed),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct UserBody {
    email: String,
    username: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    ssh_keys: Vec<String>,
    #[serde(default)]
    models: Vec<ModelName>,
    #[serde(default)]
    serials: Vec<SerialNumber>,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    until: Option<Timestamp>,
    #[serde(default)]
    force_password_change: bool,
    #[serde(default)]
    key: Option<KeyName>,
}

#[derive(Debug, Serialize)]
struct UserView {
    /// The stream for `auto-import.assert`.
    assertion: String,
}

/// `POST /hallmark/v1/system-users`: a log-in on devices.
async fn issue_user(app: App, ctx: BrandCtx, input: Input<Json<UserBody>>) -> Outcome<Created<UserView>> {
    let Json(body) = input.body;
    let new = NewSystemUser {
        email: body.email,
        name: body.name,
        username: body.username,
        password: body.password,
        ssh_keys: body.ssh_keys,
        models: body.models,
        serials: body.serials,
        since: body.since,
        until: body.until,
        force_password_change: body.force_password_change,
        key: body.key,
    };
    let stream = system_user::issue(&app, &ctx, new).await?;
    Ok(Created(UserView {
        assertion: String::from_utf8_lossy(&stream).into_owned(),
    }))
}
