//! What a snap is granted, and what waits for a second person; who may grant, take back, and confirm.

use maud::html;

use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{Line, choice, empty, line, mark, post_button, post_form, table, tick, time};
use super::reviews::{comment, side, who};
use super::route::{Answer, Outcome, Visit, Web, done_at};
use super::snaps::of_snap;
use crate::app::catalog::grants::{self, Grant, Where};
use crate::app::{Refusal, SnapCtx};
use crate::domain::access::Permission;
use crate::domain::ident::{BrandId, SnapName};
use crate::domain::review::{Attribute, GrantRequest, Interface, Side};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page(
            "/brands/{brand}/snaps/{snap}/grants",
            P::SnapRead,
            "Page: what a snap is granted",
            list,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/grants",
            P::SnapReview,
            "Grant an interface to a snap, or take it back",
            change,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/grants/confirm",
            P::GrantConfirm,
            "Confirm what a reviewer wants to grant",
            confirm,
        ),
    ]
}

async fn list(visit: Visit<SnapCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let (brand, name) = (ctx.brand(), &ctx.snap().name);
    let path = format!("{}/grants", of_snap(brand.brand(), name));
    let found = grants::list(app, ctx).await?;
    let (reviews, confirms) = (ctx.may(Permission::SnapReview), ctx.may(Permission::GrantConfirm));
    let granted = html! {
        @for one in &found.granted {
            tr {
                th scope="row" { (side(one.side)) " " code { (one.interface) } }
                td { (attribute(one.attribute)) @if one.constrained { " " (mark("with constraints", "")) } }
                td { @match &one.on_store {
                    Some(stores) => (stores.iter().cloned().collect::<Vec<_>>().join(", ")),
                    None => "all stores",
                } }
                @if reviews {
                    td { (post_button(&session.mark, &path, "Take back", &one.interface, "danger", &[
                        ("state", "disabled"), ("side", side(one.side)), ("interface", &one.interface),
                        ("attribute", one.attribute.as_str()),
                    ])) }
                }
            }
        }
    };
    let mut waiting = Vec::new();
    for one in &found.waiting {
        let by = who(app, Some(&one.requested_by)).await?;
        waiting.push((one, by, one.requested_by == session.account.id));
    }
    let rows = html! {
        @for (one, by, own) in &waiting {
            @let stores: Vec<&str> = one.on_store.iter().map(|id| id.as_str()).collect();
            tr {
                th scope="row" { (side(one.side)) " " code { (one.interface.as_str()) } }
                td { (attribute(one.attribute)) }
                td { (if stores.is_empty() { "all stores".to_owned() } else { stores.join(", ") }) }
                td { (by) ", " (time(one.created)) }
                td class="long" { (one.comment) }
                @if confirms {
                    td { @if !own { (post_button(&session.mark, &format!("{path}/confirm"), "Confirm", one.interface.as_str(), "", &[
                        ("side", side(one.side)), ("interface", one.interface.as_str()), ("attribute", one.attribute.as_str()),
                    ])) } }
                }
            }
        }
    };
    let with_acts = |heads: &'static [&'static str], acts: bool| {
        let mut heads = heads.to_vec();
        if acts {
            heads.push("");
        }
        heads
    };
    let body = html! {
        p { "Revision " (found.declaration) " of the snap-declaration says:" }
        @if found.granted.is_empty() { (empty("Nothing is granted: devices go by their own rules.")) } @else {
            (table("Grants", &with_acts(&["Which", "What", "On devices of"], reviews), granted))
        }
        @if !waiting.is_empty() {
            h2 { "Waiting for a second person" }
            (table("Requests", &with_acts(&["Which", "What", "On devices of", "Wanted by", "Why"], confirms), rows))
        }
        @if reviews {
            h2 { "Grant something" }
            (post_form(&session.mark, &path, html! {
                input type="hidden" name="state" value="enabled";
                (choice("side", "Plug or slot", "", &[("plug", "plug"), ("slot", "slot")], "plug"))
                (line(Line { name: "interface", label: "Interface", required: true, longest: 100, ..Line::default() }))
                (choice("attribute", "What", "", &[
                    ("auto-connection", "devices connect it by themselves"), ("installation", "devices install the snap with it"),
                ], "auto-connection"))
                (line(Line { name: "stores", label: "Only on devices of these stores", longest: 2000,
                    hint: "Store ids, separated by blanks. Empty: of the base store of the snap.", ..Line::default() }))
                p { (tick("everywhere", "yes", "On devices of all stores", false)) }
                (comment("Why", "In the audit log, and for who confirms."))
                button { "Grant" }
                p class="hint" { "What gives a snap much power waits for a second person, an administrator." }
            }))
        }
    };
    Ok(Page::new(format!("What {name} is granted"), body)
        .below(of_brand(brand.brand(), "snaps"), "Snaps")
        .below(of_snap(brand.brand(), name), name.to_string())
        .into())
}

fn attribute(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::AutoConnection => "devices connect it by themselves",
        Attribute::Installation => "devices install the snap with it",
    }
}

fn grant(form: &Form) -> Result<Grant, Refusal> {
    let wrong = |what: &str| Refusal::invalid("invalid-request", format!("cannot read the form: {what}"));
    let interface: Interface = form.need("interface", "Interface")?;
    Ok(Grant {
        side: match form.raw("side") {
            "plug" => Side::Plug,
            "slot" => Side::Slot,
            _ => return Err(wrong("it is a plug or a slot")),
        },
        attribute: match form.raw("attribute") {
            "auto-connection" => Attribute::AutoConnection,
            "installation" => Attribute::Installation,
            _ => return Err(wrong("it is about connecting or about installing")),
        },
        interface,
    })
}

async fn change(visit: Visit<SnapCtx, Form>) -> Outcome {
    let (app, form) = (&visit.app, &visit.body);
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let grant = grant(form)?;
    let place = match (form.text("stores"), form.ticked("everywhere")) {
        (None, false) => Where::Default,
        (None, true) => Where::Everywhere,
        (Some(_), false) => Where::Stores(form.list("stores", "Only on devices of these stores")?),
        (Some(_), true) => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot read the form: name stores, or tick that it is for all; not both",
            ));
        }
    };
    let comment = form.raw("comment").replace("\r\n", "\n");
    let done = match form.raw("state") {
        "enabled" => grants::grant(app, brand, name, &grant, &place, comment.trim()).await?,
        "disabled" => grants::revoke(app, brand, name, &grant, &place, comment.trim()).await?,
        _ => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot read the form: it says neither to grant nor to take back",
            ));
        }
    };
    let waits = |one: &GrantRequest| {
        (one.side, &one.interface, one.attribute) == (grant.side, &grant.interface, grant.attribute)
    };
    if done.waiting.iter().any(waits) {
        return Ok(granted(brand.brand(), name, &[], "asked"));
    }
    Ok(granted(brand.brand(), name, &done.remarks, "granted"))
}

async fn confirm(visit: Visit<SnapCtx, Form>) -> Outcome {
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let done = grants::confirm(&visit.app, brand, name, &grant(&visit.body)?).await?;
    Ok(granted(brand.brand(), name, &done.remarks, "granted"))
}

/// Back to the grants; what the change does not reach is said first.
fn granted(brand: &BrandId, name: &SnapName, remarks: &[String], word: &'static str) -> Answer {
    let path = format!("{}/grants", of_snap(brand, name));
    if remarks.is_empty() {
        return done_at(&path, word);
    }
    let body = html! {
        p class="done" role="status" { "Done." }
        ul { @for remark in remarks { li { (remark) } } }
        p { a class="button" href=(path) { "To the grants" } }
    };
    Page::new("Done, with remarks", body).into()
}
