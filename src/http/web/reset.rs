//! Passwords that were forgotten: asking for a link by mail, and the page a link leads to.

use http::{Method, StatusCode};
use maud::{Markup, html};
use warp::Filter;
use warp::reply::Response;

use super::frame::{Frame, Page};
use super::parts::{Line, line, post_form};
use super::route::{self, Request, status_of};
use super::sign_in::{for_visitor, form_of, is_of_visitor, wrong};
use crate::app::password_reset::{self, PAGE};
use crate::app::{App, Password, Refusal, mail};
use crate::http::endpoint::{Access, BodyShape, Endpoint};

/// Where a link is asked for.
pub(super) const FORGOTTEN: &str = "/login/forgotten";

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let (asking, asked) = (app.clone(), app.clone());
    let ask_page = route::request(Method::GET, FORGOTTEN)
        .then(move |request| std::future::ready(ask(&asking, &request, None)))
        .boxed();
    let ask_sent = route::request(Method::POST, FORGOTTEN)
        .then(move |request| {
            let app = asked.clone();
            async move { post(&app, request).await }
        })
        .boxed();
    let asking_body = BodyShape {
        media: "application/x-www-form-urlencoded",
        fields: &["mark", "email"],
    };
    let (shown, sent) = (app.clone(), app.clone());
    let show = route::request(Method::GET, PAGE)
        .then(move |request| {
            let app = shown.clone();
            async move { show(&app, request).await }
        })
        .boxed();
    let set = route::request(Method::POST, PAGE)
        .then(move |request| {
            let app = sent.clone();
            async move { set(&app, request).await }
        })
        .boxed();
    let body = BodyShape {
        media: "application/x-www-form-urlencoded",
        fields: &["mark", "text", "password", "again"],
    };
    vec![
        Endpoint::get(FORGOTTEN, Access::Open, "Page: forgot the password", ask_page),
        Endpoint::post(
            FORGOTTEN,
            Access::Open,
            "Mail a link that sets a new password",
            ask_sent,
        )
        .with_body(Some(asking_body)),
        Endpoint::get(PAGE, Access::Open, "Page: set a new password with a link", show)
            .with_query(vec!["text"]),
        Endpoint::post(PAGE, Access::Open, "Set a new password with a link", set).with_body(Some(body)),
    ]
}

/// The page that asks whom to mail a link to, with what was wrong the last time.
fn ask(app: &App, request: &Request, again: Option<&Refusal>) -> Response {
    if !mail::is_on(app) {
        let said = html! {
            p { "This server sends no mail. Ask an operator for a link: they make one with "
                code { "hallmark account reset-password" } "." }
        };
        let page = Page::new("Forgot your password?", to_sign_in(&said));
        return Frame::default().around(page.with_status(StatusCode::NOT_FOUND));
    }
    for_visitor(app, request, |mark| {
        let body = html! {
            @if let Some(refusal) = again { (wrong(refusal)) }
            p { "You get a letter with a link that sets a new password." }
            div class="narrow" {
                (post_form(mark, FORGOTTEN, html! {
                    (line(Line { name: "email", label: "E-mail address", kind: "email", required: true,
                        complete: "username", longest: 254, ..Line::default() }))
                    button class="main" { "Mail a link" }
                }))
            }
            p class="quiet" { a href="/login" { "Back to the sign-in page" } }
        };
        Page::new("Forgot your password?", body).with_status(again.map_or(StatusCode::OK, status_of))
    })
}

async fn post(app: &App, mut request: Request) -> Response {
    let form = match form_of(&mut request).await {
        Ok(form) => form,
        Err(answer) => return *answer,
    };
    if !mail::is_on(app) {
        return ask(app, &request, None);
    }
    if !is_of_visitor(app, &request, &form) {
        return route::not_ours(Frame::default());
    }
    match password_reset::request(app, request.address(), form.raw("email")).await {
        // The same whether or not there is such an account.
        Ok(()) => {
            let said = html! {
                p class="done" role="status" {
                    "If there is an account with this address and a password, a link is on its way. It is good for 24 hours."
                }
                p { "Within 15 minutes only one is sent. Nothing comes? Look among unwanted mail, or ask an operator." }
            };
            Frame::default().around(Page::new("Look at your mail", to_sign_in(&said)))
        }
        Err(refusal) => ask(app, &request, Some(&refusal)),
    }
}

/// The page of a link. Opening it spends nothing: programs look at links in mail.
async fn show(app: &App, request: Request) -> Response {
    let text = request.asked("text");
    match password_reset::preview(app, text).await {
        Ok(account) => page(app, &request, text, account.email.as_str(), None),
        Err(refusal) => useless(&refusal),
    }
}

/// The form, with what was wrong the last time.
fn page(app: &App, request: &Request, text: &str, email: &str, again: Option<&Refusal>) -> Response {
    for_visitor(app, request, |mark| {
        let body = html! {
            @if let Some(refusal) = again { (wrong(refusal)) }
            p { "For " strong { (email) } ". Everything this account is logged in with ends, tokens for programs too. "
                "A second factor stays as it is." }
            div class="narrow" {
                (post_form(mark, PAGE, html! {
                    input type="hidden" name="text" value=(text);
                    input type="hidden" value=(email) autocomplete="username";
                    (line(Line { name: "password", label: "New password", kind: "password", required: true,
                        complete: "new-password", longest: 1024, hint: "12 characters or more.", ..Line::default() }))
                    (line(Line { name: "again", label: "New password once more", kind: "password", required: true,
                        complete: "new-password", longest: 1024, ..Line::default() }))
                    button class="main" { "Set password" }
                }))
            }
        };
        Page::new("Set a new password", body).with_status(again.map_or(StatusCode::OK, status_of))
    })
}

/// The page of a link that is no good.
fn useless(refusal: &Refusal) -> Response {
    Frame::default()
        .around(Page::new("Set a new password", to_sign_in(&wrong(refusal))).with_status(status_of(refusal)))
}

/// What is said, and the way on.
fn to_sign_in(said: &Markup) -> Markup {
    html! {
        (said)
        p { a class="button" href="/login" { "Sign in" } }
    }
}

async fn set(app: &App, mut request: Request) -> Response {
    let form = match form_of(&mut request).await {
        Ok(form) => form,
        Err(answer) => return *answer,
    };
    if !is_of_visitor(app, &request, &form) {
        return route::not_ours(Frame::default());
    }
    let text = form.raw("text");
    let account = match password_reset::preview(app, text).await {
        Ok(account) => account,
        Err(refusal) => return useless(&refusal),
    };
    let done = if form.raw("password") == form.raw("again") {
        let password = Password::from(form.raw("password").to_owned());
        password_reset::complete(app, request.address(), text, password).await
    } else {
        Err(Refusal::invalid(
            "passwords-differ",
            "cannot set the password: it was typed in two ways",
        ))
    };
    match done {
        Ok(_) => {
            let said = html! {
                p class="done" role="status" { "Your new password is set. Sign in with it." }
            };
            Frame::default().around(Page::new("Password set", to_sign_in(&said)))
        }
        Err(refusal) if refusal.code == "link-expired" => useless(&refusal),
        Err(refusal) => page(app, &request, text, account.email.as_str(), Some(&refusal)),
    }
}
