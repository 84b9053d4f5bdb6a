//! The page on which somebody who is asked to help with a snap says yes or no.

use maud::{Markup, html};

use super::form::Form;
use super::frame::Page;
use super::parts::{Line, facts, line, post_form, time};
use super::route::{Outcome, Visit, Web, status_of};
use super::sign_in::wrong;
use super::snaps::of_snap;
use crate::app::catalog::sharing::{self, Offer, PAGE};
use crate::app::{FormMark, OwnCtx, Refusal};
use crate::domain::access::Permission;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    vec![
        web.page(
            PAGE,
            Permission::OwnAccount,
            "Page: an invite to help with a snap",
            come,
        ),
        web.act(
            PAGE,
            Permission::OwnAccount,
            "Answer an invite to help with a snap",
            answer,
        ),
    ]
}

/// The page a link leads to shows its invite. Opening it spends nothing: programs look at links in mail.
async fn come(visit: Visit<OwnCtx>) -> Outcome {
    match visit.query("text") {
        "" => Ok(ask(&visit, &html! {}).into()),
        token => shown(&visit, token).await,
    }
}

async fn shown<B>(visit: &Visit<OwnCtx, B>, token: &str) -> Outcome {
    match sharing::preview(&visit.app, &visit.ctx, token).await {
        Ok(found) => Ok(Page::new("Help with a snap", offer(&visit.session.mark, token, &found)).into()),
        Err(refusal) => Ok(again(visit, &refusal).into()),
    }
}

/// The page that asks for another token, with what was wrong with this one.
fn again<B>(visit: &Visit<OwnCtx, B>, refusal: &Refusal) -> Page {
    let trouble = html! {
        (wrong(refusal))
        p { "You are signed in as " strong { (visit.session.account.email) }
            ": an invite is good only for the address it was sent to. Was it sent to another one of yours, sign out and open the link again." }
    };
    ask(visit, &trouble).with_status(status_of(refusal))
}

fn ask<B>(visit: &Visit<OwnCtx, B>, trouble: &Markup) -> Page {
    let body = html! {
        p { "Somebody asked you to help with a snap and gave you a link or a token." }
        (trouble)
        div class="narrow" {
            (post_form(&visit.session.mark, PAGE, html! {
                (line(Line { name: "invite", label: "Token of the invite", required: true, longest: 200, ..Line::default() }))
                button class="main" { "Look at the invite" }
            }))
        }
    };
    Page::new("Help with a snap", body)
}

fn offer(mark: &FormMark, token: &str, offer: &Offer) -> Markup {
    let Offer { invite, snap, by } = offer;
    html! {
        p { "Who helps with a snap uploads, releases and edits it like its publisher, until that one takes it back." }
        (facts(&[
            ("Snap", html! { strong { (snap.name) } }),
            ("Brand", html! { (snap.brand_id) }),
            ("For", html! { (invite.email) }),
            ("Asked by", html! { (by.as_deref().unwrap_or("somebody who is gone")) }),
            ("Good until", time(invite.expires)),
        ]))
        @for (word, label, class) in [("accept", "Accept", "main"), ("reject", "Reject", "danger")] {
            (post_form(mark, PAGE, html! {
                input type="hidden" name="invite" value=(token);
                input type="hidden" name="answer" value=(word);
                button class=(class) { (label) }
            }))
        }
    }
}

async fn answer(visit: Visit<OwnCtx, Form>) -> Outcome {
    let token = visit.body.raw("invite").trim();
    let accept = match visit.body.raw("answer") {
        "accept" => true,
        "reject" => false,
        _ => return shown(&visit, token).await,
    };
    let (_, snap) = match sharing::answer(&visit.app, &visit.ctx, None, token, accept).await {
        Ok(done) => done,
        Err(refusal) => return Ok(again(&visit, &refusal).into()),
    };
    let body = if accept {
        html! {
            p class="done" role="status" { "You help with " strong { (snap.name) } " now." }
            p { a class="button main" href=(of_snap(&snap.brand_id, &snap.name)) { "To the snap" } }
        }
    } else {
        html! {
            p class="done" role="status" { "You do not help with " strong { (snap.name) } ". The invite is over." }
            p { a href="/start" { "To the start page" } }
        }
    };
    Ok(Page::new("Help with a snap", body).into())
}
