//! Signing keys of a brand. Private halves come in (`import`) and never go out.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Created, Input, Json, Native, Outcome};
use crate::app::account_keys::{self, Registration};
use crate::app::key_roll;
use crate::app::keys::{self, KeyRequest, KeyView};
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::assertion::{Assertion, Ref};
use crate::domain::ident::{KeyId, KeyName, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::{KeyPurpose, TokenUri};
use crate::http::endpoint::Endpoint;
use crate::ports::KeyMaterial;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get("/hallmark/v1/keys", P::KeyRead, "List signing keys", list),
        native.post(
            "/hallmark/v1/keys",
            P::KeyManage,
            "Make an RSA-4096 signing key and register it",
            create,
        ),
        native.post(
            "/hallmark/v1/keys/import",
            P::KeyManage,
            "Take a private key in, or one that is in a token into use, and register it",
            import,
        ),
        native.get("/hallmark/v1/keys/{key}", P::KeyRead, "Show a signing key", show),
        native.get(
            "/hallmark/v1/keys/{key}/public",
            P::KeyRead,
            "Give the encoded public key",
            public,
        ),
        native.post(
            "/hallmark/v1/keys/{key}/register",
            P::KeyManage,
            "Give the key's account-key, or a request for one where another root signs it",
            register,
        ),
        native.post(
            "/hallmark/v1/keys/{key}/revoke",
            P::KeyManage,
            "Revoke a key for good: devices refuse everything it signed",
            revoke,
        ),
        native.post(
            "/hallmark/v1/keys/{key}/disable",
            P::KeyManage,
            "Switch a key off",
            disable,
        ),
        native.post(
            "/hallmark/v1/keys/{key}/enable",
            P::KeyManage,
            "Switch a key on again",
            enable,
        ),
        native.put(
            "/hallmark/v1/keys/{key}/external",
            P::KeyManage,
            "Open a key to the external key manager, or close it",
            external,
        ),
        native.get(
            "/hallmark/v1/keys/{key}/roll",
            P::KeyManage,
            "Tell what replacing a key changes",
            plan,
        ),
        native.post(
            "/hallmark/v1/keys/{key}/roll",
            P::KeyManage,
            "Do a part of replacing a key by another: policies, and what it signed",
            roll,
        ),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NewKey {
    name: KeyName,
    #[serde(default)]
    purposes: Vec<KeyPurpose>,
    #[serde(default)]
    models: Vec<ModelName>,
    constrained: Option<bool>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    #[serde(default)]
    external: bool,
    token: Option<TokenUri>,
}

impl From<NewKey> for KeyRequest {
    fn from(new: NewKey) -> Self {
        Self {
            name: new.name,
            purposes: new.purposes,
            models: new.models,
            constrained: new.constrained,
            since: new.since,
            until: new.until,
            external: new.external,
            token: new.token,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ImportedKey {
    key: NewKey,
    private_key: Option<String>,
    reference: Option<String>,
    passphrase: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Until {
    until: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct External {
    external: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Successor {
    to: KeyName,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Plan {
    policies: Vec<ModelName>,
    assertions: Vec<Signed>,
    system_users: usize,
}

/// An assertion: with its text where it is new.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Signed {
    #[serde(rename = "type")]
    kind: &'static str,
    primary_key: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assertion: Option<String>,
}

impl Signed {
    fn new(reference: Ref, assertion: Option<String>) -> Self {
        Self {
            kind: reference.kind.name(),
            primary_key: reference.key.0,
            assertion,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Part {
    policies: Vec<ModelName>,
    assertions: Vec<Signed>,
    left: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Public {
    name: KeyName,
    public_key_sha3_384: KeyId,
    public_key: String,
}

/// Exactly one of the two assertions is there.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Registered {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_key_request: Option<String>,
}

async fn list(app: App, ctx: BrandCtx, _: Input) -> Outcome<Json<Vec<KeyView>>> {
    Ok(Json(keys::list(&app, &ctx).await?))
}

async fn create(app: App, ctx: BrandCtx, input: Input<Json<NewKey>>) -> Outcome<Created<KeyView>> {
    Ok(Created(keys::create(&app, &ctx, input.body.0.into()).await?))
}

async fn import(app: App, ctx: BrandCtx, input: Input<Json<ImportedKey>>) -> Outcome<Created<KeyView>> {
    let ImportedKey {
        key,
        private_key,
        reference,
        passphrase,
    } = input.body.0;
    let private_key = private_key.map(Zeroizing::new);
    let invalid =
        |why: String| Refusal::invalid("invalid-key", format!("cannot add key {}: {why}", key.name));
    let material = match (private_key, reference) {
        (Some(text), None) => KeyMaterial::from_text(text, passphrase.map(Zeroizing::new)),
        (None, Some(reference)) => {
            KeyMaterial::Token(TokenUri::key(&reference).map_err(|error| invalid(error.to_string()))?)
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(invalid("either private-key or reference is needed".to_owned()).into());
        }
    };
    if key.token.is_some() {
        return Err(invalid("it is taken as it is; a token is only named for a new key".to_owned()).into());
    }
    Ok(Created(keys::import(&app, &ctx, key.into(), material).await?))
}

async fn show(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<KeyView>> {
    Ok(Json(keys::show(&app, &ctx, &input.variable("key")?).await?))
}

async fn public(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Public>> {
    let key = keys::find(&app, &ctx, &input.variable("key")?).await?.record;
    Ok(Json(Public {
        name: key.name,
        public_key_sha3_384: key.key_id,
        public_key: key.public_key,
    }))
}

async fn register(app: App, ctx: BrandCtx, input: Input<Json<Until>>) -> Outcome<Json<Registered>> {
    let name = input.variable("key")?;
    let registration = account_keys::register(&app, &ctx, &name, input.body.0.until).await?;
    Ok(Json(match registration {
        Registration::Registered(account_key) => Registered {
            account_key: Some(text(&account_key)),
            ..Registered::default()
        },
        Registration::Requested(request) => Registered {
            account_key_request: Some(text(&request)),
            ..Registered::default()
        },
    }))
}

async fn revoke(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Registered>> {
    let account_key = account_keys::revoke(&app, &ctx, &input.variable("key")?).await?;
    Ok(Json(Registered {
        account_key: Some(text(&account_key)),
        ..Registered::default()
    }))
}

async fn disable(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<KeyView>> {
    Ok(Json(keys::disable(&app, &ctx, &input.variable("key")?).await?))
}

async fn enable(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<KeyView>> {
    Ok(Json(keys::enable(&app, &ctx, &input.variable("key")?).await?))
}

async fn external(app: App, ctx: BrandCtx, input: Input<Json<External>>) -> Outcome<Json<KeyView>> {
    let name = input.variable("key")?;
    Ok(Json(
        keys::set_external(&app, &ctx, &name, input.body.0.external).await?,
    ))
}

async fn plan(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Plan>> {
    let plan = key_roll::plan(&app, &ctx, &input.variable("key")?).await?;
    let signed = plan.assertions.into_iter();
    Ok(Json(Plan {
        policies: plan.policies,
        assertions: signed.map(|reference| Signed::new(reference, None)).collect(),
        system_users: plan.system_users,
    }))
}

async fn roll(app: App, ctx: BrandCtx, input: Input<Json<Successor>>) -> Outcome<Json<Part>> {
    let name = input.variable("key")?;
    let part = key_roll::step(&app, &ctx, &name, &input.body.0.to).await?;
    let signed = part.assertions.iter();
    Ok(Json(Part {
        policies: part.policies,
        assertions: signed
            .map(|assertion| Signed::new(assertion.reference(), Some(text(assertion))))
            .collect(),
        left: part.left,
    }))
}

fn text(assertion: &Assertion) -> String {
    String::from_utf8_lossy(assertion.encoded()).into_owned()
}
