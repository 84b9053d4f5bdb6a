//! Models and their serial policies (admin-api.md 2.5).

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::brand::{ActorView, History};
use super::schema::Schema;
use super::{Created, Input, Json, NoContent, Outcome, Publisher};
use crate::app::actors::Actors;
use crate::app::models::{self, ModelSettings, NewModel};
use crate::app::{App, BrandCtx, Refusal, keys, model_service};
use crate::domain::access::Permission;
use crate::domain::ident::{BrandId, KeyId, KeyName, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::{ModelRecord, SerialPolicy};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/v1/brand/{brand}/model",
            P::ModelRead,
            "List the models of a brand",
            list,
        ),
        publisher.post("/v1/brand/{brand}/model", P::ModelManage, "Make a model", create),
        publisher.patch(
            "/v1/brand/{brand}/model/{model}",
            P::ModelManage,
            "Replace the API key of a model",
            update,
        ),
        publisher.get(
            "/v1/brand/{brand}/model/{model}/serial_policy",
            P::ModelRead,
            "List the serial policies of a model, the newest first",
            policies,
        ),
        publisher.post(
            "/v1/brand/{brand}/model/{model}/serial_policy",
            P::ModelManage,
            "Put a serial policy in force",
            create_policy,
        ),
        publisher.delete(
            "/v1/brand/{brand}/model/{model}/serial_policy/{revision}",
            P::ModelManage,
            "Withdraw a serial policy",
            delete_policy,
        ),
    ]
}

/// The only one there is.
const SERIES: &str = "16";

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ModelView {
    name: ModelName,
    series: &'static str,
    /// Null = none, or not for the caller.
    api_key: Option<Zeroizing<String>>,
    brand_account_id: BrandId,
    #[serde(flatten)]
    history: History,
}

impl ModelView {
    async fn of(app: &App, ctx: &BrandCtx, actors: &mut Actors<'_>, model: ModelRecord) -> Outcome<Self> {
        Ok(Self {
            api_key: model_service::api_key(app, ctx, &model)?,
            history: History::of(actors, model.created, &model.authorship).await?,
            name: model.name,
            series: SERIES,
            brand_account_id: model.brand_id,
        })
    }
}

async fn list(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<ModelView>>> {
    let mut actors = Actors::of(&app, ctx.brand());
    let mut list = Vec::new();
    for model in models::list(&app, &ctx).await? {
        list.push(ModelView::of(&app, &ctx, &mut actors, model).await?);
    }
    Ok(Json(list))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CreateBody {
    name: ModelName,
    series: String,
    #[serde(default)]
    api_key: Option<Zeroizing<String>>,
}

async fn create(app: App, ctx: BrandCtx, input: Input<Schema<CreateBody>>) -> Outcome<Created<ModelView>> {
    let Schema(CreateBody {
        name,
        series,
        api_key,
    }) = input.body;
    if series != SERIES {
        return Err(Refusal::invalid(
            "api-error",
            format!("cannot make model {name}: its series must be {SERIES}"),
        )
        .into());
    }
    let new = NewModel {
        name,
        api_key,
        key: None,
        settings: ModelSettings::default(),
    };
    let model = if new.api_key.is_some() {
        models::create(&app, &ctx, new).await?.0
    } else {
        models::create_without_key(&app, &ctx, new).await?
    };
    let mut actors = Actors::of(&app, ctx.brand());
    Ok(Created(ModelView::of(&app, &ctx, &mut actors, model).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct UpdateBody {
    api_key: Zeroizing<String>,
    /// How many seconds the key of before stays good; 30 days when absent.
    #[serde(default)]
    grace_period: Option<i64>,
}

async fn update(app: App, ctx: BrandCtx, input: Input<Schema<UpdateBody>>) -> Outcome<Json<ModelView>> {
    let name: ModelName = input.variable("model")?;
    let Schema(body) = input.body;
    let model = model_service::set_api_key(&app, &ctx, &name, &body.api_key, body.grace_period).await?;
    let mut actors = Actors::of(&app, ctx.brand());
    Ok(Json(ModelView::of(&app, &ctx, &mut actors, model).await?))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyView {
    authority: BrandId,
    model_name: ModelName,
    revision: u32,
    signing_key_sha3_384: KeyId,
    created_at: Timestamp,
    created_by: ActorView,
    modified_at: Option<Timestamp>,
    modified_by: Option<ActorView>,
}

impl PolicyView {
    async fn of(
        app: &App,
        ctx: &BrandCtx,
        actors: &mut Actors<'_>,
        model: &ModelName,
        policy: &SerialPolicy,
    ) -> Outcome<Self> {
        let key = keys::find(app, ctx, &policy.key).await?.record;
        Ok(Self {
            authority: ctx.brand().clone(),
            model_name: model.clone(),
            revision: policy.revision,
            signing_key_sha3_384: key.key_id,
            created_at: policy.created,
            created_by: actors.name(policy.created_by.as_ref()).await?.into(),
            modified_at: None,
            modified_by: None,
        })
    }
}

async fn policies(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Vec<PolicyView>>> {
    let mut model = models::show(&app, &ctx, &input.variable("model")?).await?;
    model
        .policies
        .sort_by_key(|policy| std::cmp::Reverse(policy.revision));
    let mut actors = Actors::of(&app, ctx.brand());
    let mut list = Vec::new();
    for policy in &model.policies {
        list.push(PolicyView::of(&app, &ctx, &mut actors, &model.name, policy).await?);
    }
    Ok(Json(list))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PolicyBody {
    signing_key_sha3_384: KeyId,
}

async fn create_policy(
    app: App,
    ctx: BrandCtx,
    input: Input<Schema<PolicyBody>>,
) -> Outcome<Created<PolicyView>> {
    let name: ModelName = input.variable("model")?;
    let key = keys::by_id(&app, &ctx, &input.body.0.signing_key_sha3_384).await?;
    let key: KeyName = key.record.name;
    let model = models::set_policy(&app, &ctx, &name, key).await?;
    let policy = model.policy().ok_or_else(App::changed_meanwhile)?;
    let mut actors = Actors::of(&app, ctx.brand());
    Ok(Created(
        PolicyView::of(&app, &ctx, &mut actors, &name, policy).await?,
    ))
}

async fn delete_policy(app: App, ctx: BrandCtx, input: Input) -> Outcome<NoContent> {
    let name: ModelName = input.variable("model")?;
    model_service::withdraw_policy(&app, &ctx, &name, input.variable("revision")?).await?;
    Ok(NoContent)
}
