//! Remodel rules.

use serde::{Deserialize, Serialize};

use super::{Created, Input, Json, Native, Nothing, Outcome};
use crate::app::remodel_rules::{self, NewRule};
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::ident::{BrandId, ModelName, SerialNumber, StoreId};
use crate::domain::time::Timestamp;
use crate::domain::vault::RemodelRule;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/remodel-rules",
            P::RemodelRead,
            "List the remodel rules",
            list_rules,
        ),
        native.post(
            "/hallmark/v1/remodel-rules",
            P::RemodelManage,
            "Add a remodel rule",
            add_rule,
        ),
        native.delete(
            "/hallmark/v1/remodel-rules{?from-model,to-model,from-serial}",
            P::RemodelManage,
            "Remove a remodel rule",
            remove_rule,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RuleView {
    brand_id: BrandId,
    from_model: ModelName,
    to_model: ModelName,
    from_serial: Option<SerialNumber>,
    store: Option<StoreId>,
    note: String,
    created_at: Timestamp,
}

impl From<RemodelRule> for RuleView {
    fn from(rule: RemodelRule) -> Self {
        Self {
            brand_id: rule.brand_id,
            from_model: rule.from_model,
            to_model: rule.to_model,
            from_serial: rule.from_serial,
            store: rule.store,
            note: rule.note,
            created_at: rule.created,
        }
    }
}

/// `GET /hallmark/v1/remodel-rules`: all rules of the brand.
async fn list_rules(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<RuleView>>> {
    let rules = remodel_rules::list(&app, &ctx).await?;
    Ok(Json(rules.into_iter().map(RuleView::from).collect()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RuleBody {
    from_model: ModelName,
    to_model: ModelName,
    #[serde(default)]
    from_serial: Option<SerialNumber>,
    #[serde(default)]
    store: Option<StoreId>,
    #[serde(default)]
    note: String,
}

/// `POST /hallmark/v1/remodel-rules`: one more rule.
async fn add_rule(app: App, ctx: BrandCtx, input: Input<Json<RuleBody>>) -> Outcome<Created<RuleView>> {
    let Json(body) = input.body;
    let new = NewRule {
        from_model: body.from_model,
        to_model: body.to_model,
        from_serial: body.from_serial,
        store: body.store,
        note: body.note,
    };
    Ok(Created(remodel_rules::add(&app, &ctx, new).await?.into()))
}

/// `DELETE /hallmark/v1/remodel-rules?from-model=M&to-model=M[&from-serial=S]`: a rule less.
async fn remove_rule(app: App, ctx: BrandCtx, input: Input<Nothing>) -> Outcome<Json<RuleView>> {
    let from = required(&input, "from-model")?;
    let to = required(&input, "to-model")?;
    let serial: Option<SerialNumber> = input.query("from-serial")?;
    Ok(Json(
        remodel_rules::remove(&app, &ctx, &from, &to, serial.as_ref())
            .await?
            .into(),
    ))
}

fn required(input: &Input, name: &str) -> Outcome<ModelName> {
    let missing = || {
        Refusal::invalid(
            "invalid-request",
            format!("cannot read the query: {name} is missing"),
        )
    };
    Ok(input.query(name)?.ok_or_else(missing)?)
}
