//! Reviews: the queue, one revision with what the checks found and how its interfaces differ from the approved one
//! before, and what reviewers and publishers do about it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{Cut, empty, facts, field, mark, post_form, size, table, time, with_query};
use super::route::{Answer, Outcome, Visit, Web, done_at};
use super::snaps::{architectures, of_snap};
use super::stores::of_store;
use crate::app::catalog::review::{self, Listed, Reviewed, Wanted};
use crate::app::catalog::snaps;
use crate::app::{App, BrandCtx, Refusal, SnapCtx, StoreCtx};
use crate::domain::access::{Account, Permission};
use crate::domain::assertion::Value;
use crate::domain::audit::Actor;
use crate::domain::catalog::RevisionRecord;
use crate::domain::ident::{AccountId, BrandId, SnapName, StoreId};
use crate::domain::review::{
    Act, Class, Connected, Described, Difference, Finding, ReviewRecord, ReviewState, Severity, Side,
    Standing, difference,
};
use crate::domain::snap::SnapYaml;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page(
            "/brands/{brand}/reviews",
            P::SnapRead,
            "Page: revisions that wait for somebody",
            list,
        ),
        web.page(
            "/brands/{brand}/stores/{store}/reviews",
            P::SnapRead,
            "Page: revisions of a base store that wait for somebody",
            list_of_store,
        ),
        web.page(
            "/stores/{store}/reviews",
            P::SnapRead,
            "Page: revisions of a store that wait for somebody, where admin clients link to",
            linked,
        ),
        web.page(
            "/reviewer/{store}",
            P::SnapRead,
            "Page: revisions of a store that wait for somebody, where admin clients link to",
            linked,
        ),
        web.page(
            "/brands/{brand}/snaps/{snap}/revisions/{revision}",
            P::SnapRead,
            "Page: a revision with its review",
            show,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/revisions/{revision}/review",
            P::SnapReview,
            "Approve or reject a revision, ask for information, run the checks again",
            act,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/revisions/{revision}/answer",
            P::SnapPublish,
            "Answer what a reviewer asked",
            answer,
        ),
    ]
}

/// The path of the page of a revision.
pub(super) fn of_revision(brand: &BrandId, name: &SnapName, revision: u64) -> String {
    format!("{}/revisions/{revision}", of_snap(brand, name))
}

/// A state as people call it.
pub(super) fn state(state: ReviewState) -> Markup {
    match state {
        ReviewState::Approved => html! { "approved" },
        ReviewState::ManualReviewPending => mark("waits for a reviewer", "strong"),
        ReviewState::NeedsInformation => mark("waits for the publisher", "strong"),
        ReviewState::Rejected => mark("rejected", "bad"),
        ReviewState::AutomaticallyRejected => mark("rejected by the checks", "bad"),
    }
}

const WANTED: [(&str, &str); 5] = [
    ("open", "Waiting"),
    ("pending", "For a reviewer"),
    ("needs-information", "For the publisher"),
    ("rejected", "Rejected"),
    ("all", "All"),
];

async fn list(visit: Visit<BrandCtx>) -> Outcome {
    let path = of_brand(visit.ctx.brand(), "reviews");
    let body = queue(&visit, &visit.ctx, None, &path).await?;
    Ok(Page::new("Reviews", body).into())
}

async fn list_of_store(visit: Visit<StoreCtx>) -> Outcome {
    let (brand, store) = (visit.ctx.brand(), visit.ctx.store());
    let path = format!("{}/reviews", of_store(brand.brand(), &store.id));
    let body = html! {
        @if let Some(base) = &store.parent {
            p { "Snaps are registered, and so reviewed, in the base store " code { (base) } "." }
        } @else { (queue(&visit, brand, Some(&store.id), &path).await?) }
    };
    Ok(Page::new(format!("Reviews in {}", store.name), body)
        .below(of_brand(brand.brand(), "stores"), "Stores")
        .below(of_store(brand.brand(), &store.id), store.name.clone())
        .into())
}

/// Admin clients link to the reviews of a store by its id alone (admin-api.md 2.7).
async fn linked(visit: Visit<StoreCtx>) -> Outcome {
    let (brand, store) = (visit.ctx.brand().brand(), visit.ctx.store());
    Ok(Answer::On(format!("{}/reviews", of_store(brand, &store.id))))
}

/// The reviews of one base store, or of all, a part at a time.
async fn queue<C>(
    visit: &Visit<C>,
    ctx: &BrandCtx,
    store: Option<&StoreId>,
    path: &str,
) -> Result<Markup, Refusal> {
    let wanted: Option<Wanted> = visit.asked("status", "state")?;
    let status = visit.query("status");
    let chosen = if status.is_empty() { "open" } else { status };
    let found = review::list(&visit.app, ctx, store, wanted.unwrap_or_default()).await?;
    let (cut, part) = Cut::of(found, visit.page());
    let rows = html! {
        @for Listed { snap, review } in &part {
            tr {
                th scope="row" class="short" { a href=(of_revision(ctx.brand(), &snap.name, review.revision)) { (snap.name) " " (review.revision) } }
                td { (state(review.state)) }
                td class="text" { (weightiest(&review.findings)) }
                td { (snap.store_id) }
                td { (time(review.created)) }
            }
        }
    };
    Ok(html! {
        nav class="pages" aria-label="Which reviews" {
            @for (word, name) in WANTED {
                a href=(with_query(path, &[("status", word)])) aria-current=[(word == chosen).then_some("true")] { (name) }
            }
        }
        @if part.is_empty() {
            (empty("No such review. Uploads of publishers stand here when the checks or the settings of their store ask for a person."))
        } @else {
            (table("Reviews, the oldest upload first", &["Revision", "State", "Found", "Store", "Uploaded"], rows))
        }
        (cut.links(path, &[("status", status)]))
    })
}

/// What the checks found that weighs most, in short.
fn weightiest(findings: &[Finding]) -> Markup {
    match findings {
        [] => html! { span class="quiet" { "nothing" } },
        [first, rest @ ..] => html! { (first.text) @if !rest.is_empty() { " and " (rest.len()) " more" } },
    }
}

async fn show(visit: Visit<SnapCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let brand = ctx.brand();
    let found = review::show(app, ctx, visit.variable("revision")?).await?;
    let before = approved_before(app, ctx, &found).await?;
    let path = of_revision(brand.brand(), &found.snap.name, found.revision.revision);
    let uploader = found.review.as_ref().and_then(|review| review.uploader.clone());
    let reviews = ctx.may(Permission::SnapReview) && uploader.as_ref() != Some(&session.account.id);
    let shown = found.revision.review;
    let body = html! {
        (facts(&[
            ("State", state(shown)),
            ("Version", html! { (found.revision.version) }),
            ("Architectures", html! { (architectures(&found.revision)) }),
            ("Size", html! { (size(found.revision.size)) }),
            ("Uploaded", time(found.revision.created)),
            ("Uploaded by", html! { (who(app, uploader.as_ref()).await?) }),
        ]))
        @if let Some(review) = &found.review { (wishes(review)) (findings(review)) }
        h2 { "What it plugs into and offers" }
        (interfaces(&found, before.as_ref()))
        @if let Some(before) = &before { (other_differences(&found.revision, before)) }
        details class="more" { summary { h2 { "snap.yaml" } }
            pre tabindex="0" role="region" aria-label="snap.yaml" { (found.revision.snap_yaml) }
        }
        @if let Some(review) = &found.review { (history(app, review).await?) }
        @if reviews && found.review.is_some() && !shown.is_approved() {
            h2 { "Decide" }
            (post_form(&session.mark, &format!("{path}/review"), html! {
                (comment("Comment", "For who reads it later; needed to reject and to ask."))
                div class="inline" {
                    button class="main" name="action" value="approve" { "Approve" } " "
                    @if shown.is_open() { button name="action" value="ask-information" { "Ask for information" } " " }
                    button name="action" value="rerun" { "Run the checks again" } " "
                    @if shown != ReviewState::Rejected { button class="danger" name="action" value="reject" { "Reject" } }
                }
            }))
        }
        @if shown == ReviewState::NeedsInformation && ctx.may(Permission::SnapPublish) {
            h2 { "Answer the reviewer" }
            (post_form(&session.mark, &format!("{path}/answer"), html! {
                (comment("Answer", "Or upload another revision."))
                button class="main" { "Answer" }
            }))
        }
        p { a class="button" href={ (of_snap(brand.brand(), &found.snap.name)) "/grants" } { "What the snap is granted" } }
    };
    let name = found.snap.name.to_string();
    Ok(
        Page::new(format!("{name} revision {}", found.revision.revision), body)
            .below(of_brand(brand.brand(), "snaps"), "Snaps")
            .below(of_snap(brand.brand(), &found.snap.name), name)
            .below(
                format!("{}/revisions", of_snap(brand.brand(), &found.snap.name)),
                "Revisions",
            )
            .into(),
    )
}

pub(super) fn comment(label: &str, hint: &str) -> Markup {
    field(
        "f-comment",
        label,
        html! { textarea id="f-comment" name="comment" rows="3" maxlength="4000" aria-describedby="f-comment-hint" {} },
        hint,
    )
}

/// The newest approved revision that is older, to compare with; for an older one than that, the newest of all.
async fn approved_before(
    app: &App,
    ctx: &SnapCtx,
    found: &Reviewed,
) -> Result<Option<RevisionRecord>, Refusal> {
    let all = snaps::show(app, ctx).await?.revisions;
    let number = found.revision.revision;
    let mut approved = all
        .into_iter()
        .filter(|one| one.review.is_approved() && one.revision < number);
    Ok(approved.next())
}

/// An account as people know it.
pub(super) async fn who(app: &App, id: Option<&AccountId>) -> Result<Markup, Refusal> {
    let Some(id) = id else {
        return Ok(html! { span class="quiet" { "the operator, or before there were reviews" } });
    };
    let account = app.storage.find::<Account>([id.as_str()]).await?;
    Ok(match account {
        Some(account) => html! { (account.record.display_name) " (" (account.record.email) ")" },
        None => html! { code { (id) } },
    })
}

/// Where it goes when it is approved.
fn wishes(review: &ReviewRecord) -> Markup {
    let channels: Vec<String> = review.channels.iter().map(ToString::to_string).collect();
    html! {
        @if !channels.is_empty() && !review.state.is_approved() {
            p { "When it is approved it is released to " strong { (channels.join(", ")) }
                @if let Some(percentage) = review.percentage { " for " (percentage) " % of the devices" } "." }
        }
    }
}

fn findings(review: &ReviewRecord) -> Markup {
    let rows = html! {
        @for finding in &review.findings {
            tr {
                th scope="row" class="text" { (finding.text) }
                td { @match finding.severity {
                    Severity::Reject => (mark("refused", "bad")),
                    Severity::Hold => (mark("a person decides", "strong")),
                    Severity::Note => (mark("note", "")),
                } }
                td class="short" { code { (finding.code) } }
            }
        }
    };
    html! {
        h2 { "What the checks found" }
        @if review.findings.is_empty() { (empty("Nothing.")) } @else { (table("Findings, the weightiest first", &["What", "Weight", "Code"], rows)) }
    }
}

/// The interface diff: against the approved revision before, with what the declaration says.
fn interfaces(found: &Reviewed, before: Option<&RevisionRecord>) -> Markup {
    let Ok(after) = SnapYaml::parse(&found.revision.snap_yaml) else {
        return empty("What is in the file cannot be compared.");
    };
    let old = before.and_then(|before| SnapYaml::parse(&before.snap_yaml).ok());
    let mut all = difference(old.as_ref(), &after);
    all.sort_by_key(|one| !one.differs());
    let said = |one: &Difference| {
        found
            .connections
            .iter()
            .find(|known| known.side == one.side && known.name == one.name)
    };
    let rows = html! {
        @for one in &all {
            tr class=(match (&one.before, &one.after) { (None, Some(_)) => "add", (Some(_), None) => "gone", _ => "" }) {
                th scope="row" { (side(one.side)) " " (one.name) }
                td class="short" { @match (&one.before, &one.after) {
                    (None, Some(_)) => "new",
                    (Some(_), None) => "gone",
                    _ => @if one.differs() { strong { "changed" } } @else { "as before" },
                } }
                td { @if let Some(known) = said(one) { (class_of(known)) } }
                td { @if let Some(known) = said(one) { (standing(known.standing)) } }
                td { (described(one.before.as_ref())) }
                td { (described(one.after.as_ref())) }
            }
        }
    };
    let head = before.map_or_else(
        || "Before".to_owned(),
        |before| format!("Revision {}", before.revision),
    );
    let now = format!("Revision {}", found.revision.revision);
    html! {
        @match before {
            Some(before) => p { "Compared with revision " (before.revision) ", the newest approved one before it." },
            None => p { "No revision before it was approved: all of it is new." },
        }
        @if all.is_empty() { (empty("It has no plugs and no slots, and neither had the one before.")) } @else {
            (table("Plugs and slots", &["Which", "", "Needs", "Declaration", &head, &now], rows))
        }
    }
}

pub(super) fn side(side: Side) -> &'static str {
    match side {
        Side::Plug => "plug",
        Side::Slot => "slot",
    }
}

fn described(what: Option<&Described>) -> Markup {
    html! {
        @if let Some(what) = what {
            code { (what.interface) }
            @for (name, value) in &what.attributes { div class="quiet" { (name) ": " code { (text(value)) } } }
        }
    }
}

/// An attribute on one line.
fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::List(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Map(entries) => map(entries),
    }
}

fn map(entries: &BTreeMap<String, Value>) -> String {
    let pairs: Vec<String> = entries
        .iter()
        .map(|(name, value)| format!("{name}: {}", text(value)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn class_of(known: &Connected) -> &'static str {
    match known.class {
        Class::A => "nothing",
        Class::B => "one reviewer, to connect by itself",
        Class::C => "two persons, to be installed",
    }
}

fn standing(standing: Standing) -> Markup {
    match standing {
        Standing::Unsaid => html! { span class="quiet" { "says nothing" } },
        Standing::Granted => mark("granted", "good"),
        Standing::Denied => mark("denied", "bad"),
    }
}

/// What else is not as in the approved revision before.
fn other_differences(now: &RevisionRecord, before: &RevisionRecord) -> Markup {
    let list = |names: &[String]| names.join(", ");
    let hooks = |one: &RevisionRecord| one.hooks.iter().cloned().collect::<Vec<_>>().join(", ");
    let pairs: Vec<(&str, String, String)> = [
        (
            "Confinement",
            before.confinement.to_string(),
            now.confinement.to_string(),
        ),
        ("Type", before.kind.to_string(), now.kind.to_string()),
        (
            "Base",
            before.base.clone().unwrap_or_default(),
            now.base.clone().unwrap_or_default(),
        ),
        ("Epoch", before.epoch.to_string(), now.epoch.to_string()),
        (
            "Grade",
            before.grade.clone().unwrap_or_default(),
            now.grade.clone().unwrap_or_default(),
        ),
        ("Applications", list(&before.apps), list(&now.apps)),
        ("Hooks", hooks(before), hooks(now)),
        ("Architectures", architectures(before), architectures(now)),
    ]
    .into_iter()
    .filter(|(_, before, now)| before != now)
    .collect();
    let rows = html! {
        @for (name, before, now) in &pairs { tr { th scope="row" { (name) } td class="gone" { (before) } td class="add" { (now) } } }
    };
    html! {
        @if !pairs.is_empty() {
            h2 { "What else differs" }
            (table("Differences", &["What", "Before", "Now"], rows))
        }
    }
}

async fn history(app: &App, review: &ReviewRecord) -> Result<Markup, Refusal> {
    let mut steps = Vec::new();
    for step in &review.history {
        let by = match &step.actor {
            Actor::Account(id) => who(app, Some(id)).await?,
            Actor::Device(_) | Actor::Local | Actor::System => html! { "the automatic checks" },
        };
        steps.push((step, by));
    }
    let rows = html! {
        @for (step, by) in &steps {
            tr {
                td { (time(step.time)) }
                th scope="row" class="long" { (step.act.as_str()) }
                td class="text" { (step.comment) }
                td { (by) }
                td { (state(step.to)) }
            }
        }
    };
    Ok(html! {
        h2 { "What was done" }
        (table("Steps, the oldest first", &["When", "What", "Comment", "Who", "Then"], rows))
    })
}

async fn act(visit: Visit<SnapCtx, Form>) -> Outcome {
    let number: u64 = visit.variable("revision")?;
    let act = match visit.body.raw("action") {
        "approve" => Act::Approve,
        "reject" => Act::Reject,
        "ask-information" => Act::AskInformation,
        "rerun" => Act::Rerun,
        _ => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot read the form: choose what to do with the revision",
            ));
        }
    };
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let said = visit.body.raw("comment").replace("\r\n", "\n");
    let done = review::act(&visit.app, brand, name, number, act, said.trim()).await?;
    let path = of_revision(brand.brand(), name, number);
    if done.remarks.is_empty() {
        return Ok(done_at(&path, "decided"));
    }
    let body = html! {
        p class="done" role="status" { "Your decision is recorded." }
        h2 { "What could not be done with it" }
        ul { @for remark in &done.remarks { li { (remark) } } }
        p { a class="button" href=(path) { "To the revision" } }
    };
    Ok(Page::new("Decided, with remarks", body).into())
}

async fn answer(visit: Visit<SnapCtx, Form>) -> Outcome {
    let number: u64 = visit.variable("revision")?;
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let said = visit.body.raw("comment").replace("\r\n", "\n");
    review::answer(&visit.app, brand, name, number, said.trim()).await?;
    Ok(done_at(&of_revision(brand.brand(), name, number), "answered"))
}
