//! The log of issued serials, and which devices may become another model (admin-api.md 2.5).

use serde::{Deserialize, Serialize};

use super::schema::Schema;
use super::{Created, Input, Json, Outcome, Publisher};
use crate::app::actors::Actors;
use crate::app::remodel_rules::{self, NewRule, RuleName, RuleQuery};
use crate::app::serials::{self, SerialPage, SerialQuery};
use crate::app::{App, BrandCtx, Refusal, models};
use crate::domain::access::Permission;
use crate::domain::ident::{AccountId, BrandId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::{RemodelRule, SerialRow, SerialState};
use crate::http::endpoint::Endpoint;

/// Rows of one page unless another number is asked for.
const PAGE: usize = 100;
/// Most rows of one page.
const MAX_PAGE: usize = 500;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/v1/brand/{brand}/remodel-allowlist{?cursor,page-size,from-model,to-model}",
            P::RemodelRead,
            "List which devices may become another model",
            list_rules,
        ),
        publisher.post(
            "/v1/brand/{brand}/remodel-allowlist",
            P::RemodelManage,
            "Let devices become another model",
            add_rules,
        ),
        publisher.patch(
            "/v1/brand/{brand}/remodel-allowlist",
            P::RemodelManage,
            "Change what is noted about entries of the list",
            describe_rules,
        ),
        publisher.post(
            "/v1/brand/{brand}/remodel-allowlist/delete",
            P::RemodelManage,
            "Take entries off the list",
            delete_rules,
        ),
        publisher.get(
            "/v1/brand/{brand}/model/{model}/serial-log{?start-time,end-time,page-size,cursor}",
            P::SerialRead,
            "List the serials issued for a model, the newest first",
            serial_log,
        ),
        publisher.get(
            "/v1/brand/{brand}/model/{model}/serial/{serial}/serial-log{?include-serial-assertion,include-serial-request-assertion}",
            P::SerialRead,
            "Show what was issued for one serial",
            one_serial,
        ),
    ]
}

/// An empty text is as good as none: clients send both.
fn text<B>(input: &Input<B>, name: &str) -> Outcome<Option<String>> {
    Ok(input.query::<String>(name)?.filter(|text| !text.is_empty()))
}

fn parsed<T, B>(input: &Input<B>, name: &'static str) -> Outcome<Option<T>>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let text = text(input, name)?;
    let read = |text: String| {
        text.parse()
            .map_err(|error| Refusal::invalid("api-error", format!("cannot use {name}: {error}")))
    };
    Ok(text.map(read).transpose()?)
}

fn page_size<B>(input: &Input<B>) -> Outcome<usize> {
    let wanted: Option<usize> = parsed(input, "page-size")?;
    match wanted {
        None => Ok(PAGE),
        Some(size) if (1..=MAX_PAGE).contains(&size) => Ok(size),
        Some(_) => Err(Refusal::invalid(
            "api-error",
            format!("cannot use page-size: it must be 1 to {MAX_PAGE}"),
        )
        .into()),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RuleView {
    from_model: ModelName,
    to_model: ModelName,
    from_serial: Option<SerialNumber>,
    description: Option<String>,
    created_at: Timestamp,
    created_by: AccountId,
    modified_at: Option<Timestamp>,
    modified_by: Option<AccountId>,
}

#[derive(Debug, Serialize)]
struct RulesView {
    allowlist: Vec<RuleView>,
}

fn rule_views(app: &App, ctx: &BrandCtx, rules: Vec<RemodelRule>) -> Vec<RuleView> {
    let actors = Actors::of(app, ctx.brand());
    let view = |rule: RemodelRule| RuleView {
        created_by: actors.id(rule.authorship.created_by.as_ref()),
        modified_by: rule
            .authorship
            .modified_at
            .map(|_| actors.id(rule.authorship.modified_by.as_ref())),
        modified_at: rule.authorship.modified_at,
        from_model: rule.from_model,
        to_model: rule.to_model,
        from_serial: rule.from_serial,
        description: Some(rule.note).filter(|note| !note.is_empty()),
        created_at: rule.created,
    };
    rules.into_iter().map(view).collect()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RulePageView {
    allowlist: Vec<RuleView>,
    next_cursor: Option<String>,
}

async fn list_rules(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<RulePageView>> {
    let query = RuleQuery {
        from_model: parsed(&input, "from-model")?,
        to_model: parsed(&input, "to-model")?,
        cursor: text(&input, "cursor")?,
        limit: page_size(&input)?,
    };
    let page = remodel_rules::page(&app, &ctx, &query).await?;
    Ok(Json(RulePageView {
        allowlist: rule_views(&app, &ctx, page.rules),
        next_cursor: page.next,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuleBody {
    from_model: ModelName,
    to_model: ModelName,
    #[serde(default)]
    from_serial: Option<SerialNumber>,
    #[serde(default)]
    description: Option<String>,
}

impl RuleBody {
    fn name(&self) -> RuleName {
        RuleName {
            from_model: self.from_model.clone(),
            to_model: self.to_model.clone(),
            from_serial: self.from_serial.clone(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesBody {
    allowlist: Vec<RuleBody>,
}

async fn add_rules(app: App, ctx: BrandCtx, input: Input<Schema<RulesBody>>) -> Outcome<Created<RulesView>> {
    let Schema(RulesBody { allowlist }) = input.body;
    let mut new = Vec::new();
    for entry in allowlist {
        // Both must be models of the brand here, as these clients expect; `hallmark remodel add` takes others too.
        models::show(&app, &ctx, &entry.to_model).await?;
        new.push(NewRule {
            from_model: entry.from_model,
            to_model: entry.to_model,
            from_serial: entry.from_serial,
            store: None,
            note: entry.description.unwrap_or_default(),
        });
    }
    let rules = remodel_rules::add_all(&app, &ctx, new).await?;
    Ok(Created(RulesView {
        allowlist: rule_views(&app, &ctx, rules),
    }))
}

async fn describe_rules(
    app: App,
    ctx: BrandCtx,
    input: Input<Schema<RulesBody>>,
) -> Outcome<Json<RulesView>> {
    let Schema(RulesBody { allowlist }) = input.body;
    let changes: Vec<(RuleName, String)> = allowlist
        .into_iter()
        .map(|entry| (entry.name(), entry.description.unwrap_or_default()))
        .collect();
    let rules = remodel_rules::describe(&app, &ctx, &changes).await?;
    Ok(Json(RulesView {
        allowlist: rule_views(&app, &ctx, rules),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuleNameBody {
    from_model: ModelName,
    to_model: ModelName,
    #[serde(default)]
    from_serial: Option<SerialNumber>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleNamesBody {
    allowlist: Vec<RuleNameBody>,
}

async fn delete_rules(
    app: App,
    ctx: BrandCtx,
    input: Input<Schema<RuleNamesBody>>,
) -> Outcome<Json<RulesView>> {
    let names: Vec<RuleName> = input
        .body
        .0
        .allowlist
        .into_iter()
        .map(|entry| RuleName {
            from_model: entry.from_model,
            to_model: entry.to_model,
            from_serial: entry.from_serial,
        })
        .collect();
    let rules = remodel_rules::remove_all(&app, &ctx, &names).await?;
    Ok(Json(RulesView {
        allowlist: rule_views(&app, &ctx, rules),
    }))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SerialView {
    brand_id: BrandId,
    model_name: ModelName,
    serial: SerialNumber,
    created_at: Timestamp,
    serial_sign_key_sha3_384: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_assertion: Option<String>,
}

impl SerialView {
    fn of(row: SerialRow, with_assertion: bool) -> Self {
        Self {
            serial_assertion: with_assertion.then(|| String::from_utf8_lossy(&row.assertion).into_owned()),
            brand_id: row.device.brand,
            model_name: row.device.model,
            serial: row.device.serial,
            created_at: row.created_at,
            serial_sign_key_sha3_384: row.sign_key,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SerialPageView {
    items: Vec<SerialView>,
    next_cursor: Option<String>,
}

async fn serial_log(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<SerialPageView>> {
    let model = models::show(&app, &ctx, &input.variable("model")?).await?;
    let query = SerialQuery {
        models: vec![model.name],
        since: parsed(&input, "start-time")?,
        until: parsed(&input, "end-time")?,
        before: parsed(&input, "cursor")?,
        limit: Some(page_size(&input)?),
        ..SerialQuery::default()
    };
    let SerialPage { rows, next } = serials::list(&app, &ctx, query).await?;
    Ok(Json(SerialPageView {
        items: issued(rows).map(|row| SerialView::of(row, false)).collect(),
        next_cursor: next.map(|position| position.to_string()),
    }))
}

/// Places that were reserved and not used are no serials.
fn issued(rows: Vec<SerialRow>) -> impl Iterator<Item = SerialRow> {
    rows.into_iter().filter(|row| row.state == SerialState::Issued)
}

async fn one_serial(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<SerialPageView>> {
    let (model, serial) = (input.variable("model")?, input.variable("serial")?);
    // What the device asked with is not kept, so `include-serial-request-assertion` adds nothing.
    let with_assertion: Option<bool> = parsed(&input, "include-serial-assertion")?;
    let story = serials::show(&app, &ctx, &model, &serial).await?;
    Ok(Json(SerialPageView {
        items: issued(story.rows)
            .map(|row| SerialView::of(row, with_assertion == Some(true)))
            .collect(),
        next_cursor: None,
    }))
}
