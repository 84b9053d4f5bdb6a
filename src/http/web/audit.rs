//! The audit log of a brand, with a filter.

use maud::{Markup, html};
use serde_json::Value;

use super::frame::{Page, of_brand};
use super::parts::{ROWS, empty, onward, table, time, with_query};
use super::route::{Outcome, Visit, Web};
use crate::app::BrandCtx;
use crate::app::audit::{self, Line, Wanted};
use crate::domain::access::Permission;
use crate::domain::audit::{Actor, AuditEvent};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    vec![web.page(
        "/brands/{brand}/audit",
        Permission::AuditRead,
        "Page: the audit log of a brand",
        list,
    )]
}

/// From when on entries are shown: (word, name, seconds; none = all).
const SINCE: [(&str, &str, Option<i64>); 5] = [
    ("hour", "the last hour", Some(3600)),
    ("day", "the last day", Some(86_400)),
    ("week", "the last 7 days", Some(7 * 86_400)),
    ("month", "the last 30 days", Some(30 * 86_400)),
    ("all", "the beginning", None),
];

async fn list(visit: Visit<BrandCtx>) -> Outcome {
    let Visit { app, ctx, .. } = &visit;
    let path = of_brand(ctx.brand(), "audit");
    let word = visit.query("since");
    let (word, _, seconds) = SINCE
        .into_iter()
        .find(|(known, ..)| *known == word)
        .unwrap_or(SINCE[2]);
    let action = visit.query("q");
    let after: Option<u64> = visit.asked("after", "page")?;
    let wanted = Wanted {
        action_prefix: Some(action.to_owned()).filter(|text| !text.is_empty()),
        since: seconds.map(|seconds| app.clock.now().plus_seconds(-seconds)),
        after,
        limit: Some(ROWS),
    };
    let lines = audit::list(app, ctx, wanted).await?;
    let kept = [("q", action), ("since", word)];
    let next = lines.last().filter(|_| lines.len() == ROWS).map(|line| {
        with_query(
            &path,
            &[&kept[..], &[("after", &line.position.to_string())]].concat(),
        )
    });
    let rows = html! { @for line in &lines { (row(line)) } };
    let body = html! {
        form class="search" role="search" method="get" action=(path) {
            div class="field" {
                label for="f-since" { "From" }
                select id="f-since" name="since" {
                    @for (known, name, _) in SINCE { option value=(known) selected[known == word] { (name) } }
                }
            }
            div class="field" {
                label for="f-q" { "Actions that begin with" }
                input type="search" id="f-q" name="q" value=(action) maxlength="100" autocomplete="off" placeholder="snap.";
            }
            button { "Show" }
        }
        @if lines.is_empty() {
            (empty("Nothing was done in this time that fits. Choose an earlier beginning, or a shorter text."))
        } @else { (table("What was done, the oldest first", &["Time", "Who", "Action", "To what", "Details"], rows)) }
        (onward(&with_query(&path, &kept), next, after.is_some()))
        p class="quiet" { "The entries form chains that are signed; " code { "hallmark audit verify" } " checks them." }
    };
    Ok(Page::new("Audit log", body).into())
}

fn row(line: &Line) -> Markup {
    let Some(event) = &line.event else {
        return html! { tr { td colspan="5" class="bad" { "Entry " (line.position) " is damaged; run " code { "hallmark doctor" } "." } } };
    };
    html! {
        tr {
            td { (time(event.time)) }
            td { (who(line, event)) }
            th scope="row" { code { (event.action) } }
            td class="long" { (event.subject) }
            td {
                @if !event.detail.is_empty() {
                    details { summary { "Show" }
                        ul class="detail" {
                            @for (name, value) in &event.detail {
                                @if !value.is_null() { li { (name) ": " code { (text(value)) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn who(line: &Line, event: &AuditEvent) -> String {
    match (&event.actor, &line.email) {
        (Actor::Account(_), Some(email)) => email.to_string(),
        (Actor::Account(id), None) => id.to_string(),
        (Actor::Device(id), _) => format!("device {id}"),
        (Actor::Local, _) => "on the server itself".to_owned(),
        (Actor::System, _) => "the server".to_owned(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
