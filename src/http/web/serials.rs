//! The log of issued serials, and requests that wait for a person.

use maud::{Markup, html};

use super::devices::of_device;
use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{ROWS, empty, mark, onward, post_button, search, table, time, with_query};
use super::route::{Outcome, Visit, Web, done_at};
use crate::app::serials::{self, Decision, SerialQuery};
use crate::app::{App, BrandCtx, Refusal, models};
use crate::domain::access::Permission;
use crate::domain::ident::ModelName;
use crate::domain::vault::SerialState;
use crate::domain::vault::claim::Approval;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page(
            "/brands/{brand}/serials",
            P::SerialRead,
            "Page: the log of issued serials",
            list,
        ),
        web.act(
            "/brands/{brand}/serials/decide",
            P::SerialManage,
            "Approve or reject a waiting request",
            decide,
        ),
    ]
}

/// The state of a row of the log.
pub(super) fn state(state: SerialState) -> Markup {
    match state {
        SerialState::Issued => html! { "issued" },
        SerialState::Reserved => mark("reserved", "strong"),
        SerialState::Void => mark("void", "bad"),
    }
}

/// Links to the same list for one model, or all.
pub(super) async fn model_links(
    app: &App,
    ctx: &BrandCtx,
    path: &str,
    chosen: Option<&ModelName>,
    wanted: &str,
) -> Result<Markup, Refusal> {
    // More would be a list of their own; the address takes any.
    const MOST: usize = 12;
    let names: Vec<ModelName> = models::list(app, ctx)
        .await?
        .into_iter()
        .map(|model| model.name)
        .take(MOST)
        .collect();
    Ok(html! {
        @if names.len() > 1 || chosen.is_some() {
            nav class="pages" aria-label="Models" {
                a href=(with_query(path, &[("q", wanted)])) aria-current=[chosen.is_none().then_some("true")] { "All models" }
                @for name in &names {
                    a href=(with_query(path, &[("model", name.as_str()), ("q", wanted)]))
                        aria-current=[(chosen == Some(name)).then_some("true")] { (name) }
                }
            }
        }
    })
}

async fn list(visit: Visit<BrandCtx>) -> Outcome {
    let Visit { app, ctx, .. } = &visit;
    let path = of_brand(ctx.brand(), "serials");
    let model: Option<ModelName> = visit.asked("model", "model")?;
    let before: Option<u64> = visit.asked("before", "page")?;
    let query = SerialQuery {
        models: model.iter().cloned().collect(),
        serial_prefix: Some(visit.query("q").to_owned()).filter(|text| !text.is_empty()),
        before,
        limit: Some(ROWS),
        ..SerialQuery::default()
    };
    let page = serials::list(app, ctx, query).await?;
    let kept = [("q", visit.query("q")), ("model", visit.query("model"))];
    let next = page
        .next
        .map(|position| with_query(&path, &[&kept[..], &[("before", &position.to_string())]].concat()));
    let rows = html! {
        @for row in &page.rows {
            tr {
                th scope="row" { a href=(of_device(ctx.brand(), &row.device.model, &row.device.serial)) { (row.device.serial) } }
                td { (row.device.model) }
                td class="number" { (row.revision) }
                td { (state(row.state)) }
                td { (time(row.created_at)) }
            }
        }
    };
    let body = html! {
        @if before.is_none() { (waiting(&visit).await?) }
        (search(&path, "Serials that begin with", visit.query("q"), &[("model", visit.query("model"))]))
        (model_links(app, ctx, &path, model.as_ref(), visit.query("q")).await?)
        @if page.rows.is_empty() {
            (empty(if before.is_some() || model.is_some() || !visit.query("q").is_empty() {
                "No serial fits."
            } else {
                "No serial was issued yet. Give the gadget of a model its hook (under Models), and boot a device."
            }))
        } @else {
            (table("Issued serials, the newest first", &["Serial", "Model", "Revision", "State", "When"], rows))
        }
        (onward(&with_query(&path, &kept), next, before.is_some()))
        p class="quiet" { "All of it as CSV: " code { "hallmark serial list --csv" } "." }
    };
    Ok(Page::new("Serial log", body).into())
}

/// Requests that wait for a person; nothing where there are none.
async fn waiting(visit: &Visit<BrandCtx>) -> Result<Markup, Refusal> {
    let ctx = &visit.ctx;
    let all: Vec<_> = serials::approvals(&visit.app, ctx)
        .await?
        .into_iter()
        .filter(|row| row.approval == Approval::Pending)
        .collect();
    let action = format!("{}/decide", of_brand(ctx.brand(), "serials"));
    let decides = ctx.may(Permission::SerialManage);
    let rows = html! {
        @for row in all.iter().take(ROWS) {
            tr {
                th scope="row" { (row.device.serial) }
                td { (row.device.model) }
                td { details { summary { "Key" } code class="long" { (row.device_key) } } }
                td { (time(row.since)) }
                @if decides {
                    td class="acts" {
                        @for (word, label, class) in [("approve", "Approve", ""), ("reject", "Reject", "danger")] {
                            (post_button(&visit.session.mark, &action, label, row.device.serial.as_str(), class, &[
                                ("model", row.device.model.as_str()), ("serial", row.device.serial.as_str()),
                                ("key", row.device_key.as_str()), ("decision", word),
                            ]))
                        }
                    }
                }
            }
        }
    };
    Ok(html! {
        @if !all.is_empty() {
            h2 { "Waiting for a person (" (all.len()) ")" }
            (table("Requests that wait", if decides { &["Serial", "Model", "Device key", "Since", ""] } else { &["Serial", "Model", "Device key", "Since"] }, rows))
            h2 { "Issued" }
        }
    })
}

async fn decide(visit: Visit<BrandCtx, Form>) -> Outcome {
    let form = &visit.body;
    let decision = match form.raw("decision") {
        "approve" => Decision::Approve,
        "reject" => Decision::Reject,
        _ => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot read the form: a request is approved or rejected",
            ));
        }
    };
    let (model, serial) = (form.need("model", "Model")?, form.need("serial", "Serial")?);
    let key = form.parse("key", "Device key")?;
    serials::decide(&visit.app, &visit.ctx, &model, &serial, key.as_ref(), decision).await?;
    Ok(done_at(&of_brand(visit.ctx.brand(), "serials"), "decided"))
}
