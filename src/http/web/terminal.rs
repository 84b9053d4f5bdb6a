//! The page where people let a terminal in that runs `hallmark login --web`.

use maud::html;

use super::form::Form;
use super::frame::Page;
use super::parts::{at, facts, post_form};
use super::route::{Outcome, Visit, Web};
use crate::app::{OwnCtx, terminal};
use crate::domain::access::Permission;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    vec![
        web.page(
            "/account/terminal/{request}",
            Permission::OwnCredentials,
            "Page: let a terminal in",
            show,
        ),
        web.act(
            "/account/terminal/{request}",
            Permission::OwnCredentials,
            "Let a terminal in",
            let_in,
        ),
    ]
}

async fn show(visit: Visit<OwnCtx>) -> Outcome {
    let text: String = visit.variable("request")?;
    let request = terminal::read(&visit.app, &text)?;
    let address = request
        .peer
        .map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    let body = html! {
        p { "A program wants to be logged in as " strong { (visit.session.account.email) } ", for 12 hours, with all that you may do." }
        (facts(&[
            ("Code", html! { strong { code { (request.code()) } } }),
            ("It says it is", html! { (request.description) }),
            ("Its address", html! { code { (address) } }),
        ]))
        p { "Let it in only if you have just run " code { "hallmark login --web" } " yourself and your terminal shows the same code. "
            "If somebody sent you this link, close the page." }
        (post_form(&visit.session.mark, &at(&["account", "terminal", &text]), html! {
            button class="main" { "Let it in" }
        }))
    };
    Ok(Page::new("Log in on a terminal", body).into())
}

async fn let_in(visit: Visit<OwnCtx, Form>) -> Outcome {
    let text: String = visit.variable("request")?;
    terminal::let_in(&visit.app, &visit.ctx, &text).await?;
    let body = html! {
        p { "The terminal is logged in. You may close this page." }
        p { "The log-in stands among " a href="/account/tokens" { "your tokens" } "; revoke it there if it was not yours." }
    };
    Ok(Page::new("Logged in", body).into())
}
