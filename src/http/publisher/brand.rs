//! A brand as the clients of the model service administer it: its name, its keys that sign serials (admin-api.md 2.5).

use serde::{Deserialize, Serialize};

use super::schema::Schema;
use super::{Created, Input, Json, NoContent, Outcome, Publisher};
use crate::app::actors::{ActorName, Actors};
use crate::app::keys::{self, KeyRequest};
use crate::app::{App, BrandCtx, brands};
use crate::domain::access::{Authorship, Permission};
use crate::domain::ident::{AccountId, BrandId, KeyId, KeyName};
use crate::domain::time::Timestamp;
use crate::domain::vault::{KeyPurpose, SigningKey};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get("/v1/brand/{brand}", P::BrandRead, "Show a brand", show),
        publisher.patch("/v1/brand/{brand}", P::BrandEdit, "Rename a brand", rename),
        publisher.get(
            "/v1/brand/{brand}/signing_key",
            P::KeyRead,
            "List the keys that sign serials",
            list_keys,
        ),
        publisher.post(
            "/v1/brand/{brand}/signing_key",
            P::SerialKeyManage,
            "Make a key that signs serials",
            create_key,
        ),
        publisher.delete(
            "/v1/brand/{brand}/signing_key/{key}",
            P::SerialKeyManage,
            "Destroy a key that signs serials",
            delete_key,
        ),
    ]
}

/// Who did something.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ActorView {
    id: AccountId,
    username: Option<String>,
    display_name: Option<String>,
    email: String,
    validation: &'static str,
}

impl From<ActorName> for ActorView {
    fn from(name: ActorName) -> Self {
        Self {
            id: name.id,
            username: name.username,
            display_name: name.display_name,
            email: name.email,
            // As in the account assertions this instance signs.
            validation: if name.brand { "verified" } else { "unproven" },
        }
    }
}

/// When something was made and changed, and by whom.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct History {
    created_at: Timestamp,
    created_by: ActorView,
    modified_at: Option<Timestamp>,
    modified_by: Option<ActorView>,
}

impl History {
    pub(super) async fn of(
        actors: &mut Actors<'_>,
        created: Timestamp,
        authorship: &Authorship,
    ) -> Outcome<Self> {
        let modified_by = match authorship.modified_at {
            None => None,
            Some(_) => Some(actors.name(authorship.modified_by.as_ref()).await?.into()),
        };
        Ok(Self {
            created_at: created,
            created_by: actors.name(authorship.created_by.as_ref()).await?.into(),
            modified_at: authorship.modified_at,
            modified_by,
        })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BrandView {
    account_id: BrandId,
    name: String,
    #[serde(flatten)]
    history: History,
}

async fn show(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<BrandView>> {
    view(&app, &ctx).await.map(Json)
}

async fn view(app: &App, ctx: &BrandCtx) -> Outcome<BrandView> {
    let brand = brands::show(app, ctx).await?;
    let mut actors = Actors::of(app, ctx.brand());
    Ok(BrandView {
        history: History::of(&mut actors, brand.created, &brand.authorship).await?,
        account_id: brand.id,
        name: brand.name,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameBody {
    name: String,
}

async fn rename(app: App, ctx: BrandCtx, input: Input<Schema<RenameBody>>) -> Outcome<Json<BrandView>> {
    brands::rename(&app, &ctx, &input.body.0.name).await?;
    view(&app, &ctx).await.map(Json)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct KeyView {
    name: KeyName,
    sha3_384: KeyId,
    fingerprint: String,
    brand_account_id: AccountId,
    #[serde(flatten)]
    history: History,
}

impl KeyView {
    async fn of(actors: &mut Actors<'_>, key: SigningKey) -> Outcome<Self> {
        Ok(Self {
            history: History::of(actors, key.created, &key.authorship).await?,
            fingerprint: fingerprint(&key.key_id),
            name: key.name,
            sha3_384: key.key_id,
            brand_account_id: key.account_id,
        })
    }
}

/// A short name of a key for lists: the first 20 bytes of its id, in hex.
fn fingerprint(id: &KeyId) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(id.as_str())
        .unwrap_or_default();
    crate::domain::audit::hex(bytes.get(..20).unwrap_or(&bytes))
}

async fn list_keys(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<KeyView>>> {
    let mut actors = Actors::of(&app, ctx.brand());
    let mut list = Vec::new();
    for key in keys::for_serials(&app, &ctx).await? {
        list.push(KeyView::of(&mut actors, key).await?);
    }
    Ok(Json(list))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    name: KeyName,
}

async fn create_key(app: App, ctx: BrandCtx, input: Input<Schema<KeyBody>>) -> Outcome<Created<KeyView>> {
    let request = KeyRequest {
        name: input.body.0.name,
        purposes: vec![KeyPurpose::Serial],
        models: Vec::new(),
        constrained: None,
        since: None,
        until: None,
        external: false,
        token: None,
    };
    let made = keys::create(&app, &ctx, request).await?;
    let key = keys::by_id(&app, &ctx, &made.public_key_sha3_384).await?.record;
    Ok(Created(
        KeyView::of(&mut Actors::of(&app, ctx.brand()), key).await?,
    ))
}

async fn delete_key(app: App, ctx: BrandCtx, input: Input) -> Outcome<NoContent> {
    let id: KeyId = input.variable("key")?;
    keys::delete_for_serials(&app, &ctx, &id).await?;
    Ok(NoContent)
}
