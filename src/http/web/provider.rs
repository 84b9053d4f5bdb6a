//! Signing in with the provider of log-ins: off to it, back from it, and the code of a second factor after it.

use http::{Method, StatusCode};
use maud::html;
use warp::Filter;
use warp::reply::Response;

use super::cookies::{self, Cookies};
use super::frame::{Frame, Page};
use super::parts::{Line, line, post_form};
use super::route::{self, Request, see_other, status_of};
use super::session::Session;
use super::sign_in::{form_of, is_of_visitor, own_path, page};
use crate::app::login::Session as LogIn;
use crate::app::provider::{self, Arrival, BACK, Leaving, Return};
use crate::app::{App, FormMark, Refusal};
use crate::http::endpoint::{Access, BodyShape, Endpoint};

/// Where the code of a second factor is sent.
const CODE: &str = "/login/provider/code";

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let (leaving, coming, coded) = (app.clone(), app.clone(), app.clone());
    let leave = route::request(Method::GET, "/login/provider")
        .then(move |request| {
            let app = leaving.clone();
            async move { leave(&app, request).await }
        })
        .boxed();
    let arrive = route::request(Method::GET, BACK)
        .then(move |request| {
            let app = coming.clone();
            async move { arrive(&app, request).await }
        })
        .boxed();
    let finish = route::request(Method::POST, CODE)
        .then(move |request| {
            let app = coded.clone();
            async move { finish(&app, request).await }
        })
        .boxed();
    let body = BodyShape {
        media: "application/x-www-form-urlencoded",
        fields: &["mark", "half", "otp"],
    };
    vec![
        Endpoint::get(
            "/login/provider",
            Access::Open,
            "Sign in with the provider of log-ins",
            leave,
        )
        .with_query(vec!["next"]),
        Endpoint::get(
            BACK,
            Access::Open,
            "Come back from the provider of log-ins",
            arrive,
        )
        .with_query(vec!["code", "error", "iss", "state"]),
        Endpoint::post(
            CODE,
            Access::Open,
            "Give the code of a second factor after it",
            finish,
        )
        .with_body(Some(body)),
    ]
}

async fn leave(app: &App, request: Request) -> Response {
    let next = own_path(request.asked("next")).unwrap_or_default();
    if Session::open(app, &request.headers).await.is_ok() {
        return see_other(if next.is_empty() { "/start" } else { next });
    }
    match provider::leave(app, next).await {
        Ok(Leaving { ticket, url }) => {
            let mut response = see_other(&url);
            cookies::add(response.headers_mut(), Cookies::of(app).begin_leave(&ticket));
            response
        }
        Err(refusal) => refused(app, &request, next, &refusal),
    }
}

async fn arrive(app: &App, request: Request) -> Response {
    let cookies = Cookies::of(app);
    let (visitor, cookie) = match cookies.visitor(&request.headers) {
        Some(visitor) => (visitor.to_owned(), None),
        None => cookies.begin_visit(app),
    };
    let back = Return {
        state: request.asked("state"),
        code: request.asked("code"),
        error: request.asked("error"),
        issuer: request.asked("iss"),
    };
    let arrived = provider::arrive(app, cookies.ticket(&request.headers), &visitor, back).await;
    let mut response = match arrived {
        Ok((Arrival::In(session), next)) => signed_in(app, &session, &next),
        Ok((Arrival::Half(half), _)) => {
            let mut response = code(app, &visitor, &half, None);
            cookies::add(response.headers_mut(), cookie);
            response
        }
        Err(refusal) => refused(app, &request, "", &refusal),
    };
    if cookies.ticket(&request.headers).is_some() {
        cookies::add(response.headers_mut(), cookies.end_leave());
    }
    response
}

fn signed_in(app: &App, session: &LogIn, next: &str) -> Response {
    let mut response = see_other(own_path(next).unwrap_or("/start"));
    cookies::add(response.headers_mut(), Cookies::of(app).log_in(&session.text));
    response
}

fn refused(app: &App, request: &Request, next: &str, refusal: &Refusal) -> Response {
    page(app, request, next, "", Some(&refusal.message), status_of(refusal))
}

/// The page that asks for a code of the second factor.
fn code(app: &App, visitor: &str, half: &str, wrong: Option<&Refusal>) -> Response {
    let mark = FormMark::of(&app.secrets, visitor);
    let body = html! {
        @if let Some(wrong) = wrong { p class="wrong" role="alert" { (wrong.message) } }
        p { "Your account has a second factor." }
        div class="narrow" {
            (post_form(&mark, CODE, html! {
                input type="hidden" name="half" value=(half);
                (line(Line { name: "otp", label: "Code of your authenticator", hint: "Or one of your recovery codes.", kind: "text",
                             required: true, complete: "one-time-code", longest: 32, ..Line::default() }))
                button class="main" { "Sign in" }
            }))
        }
        p { a href="/login" { "Begin again" } }
    };
    let status = wrong.map_or(StatusCode::OK, status_of);
    Frame::default().around(Page::new("Code of your authenticator", body).with_status(status))
}

async fn finish(app: &App, mut request: Request) -> Response {
    let form = match form_of(&mut request).await {
        Ok(form) => form,
        Err(answer) => return *answer,
    };
    if !is_of_visitor(app, &request, &form) {
        return route::not_ours(Frame::default());
    }
    let visitor = Cookies::of(app)
        .visitor(&request.headers)
        .unwrap_or_default()
        .to_owned();
    let half = form.raw("half");
    match provider::finish(app, half, &visitor, form.raw("otp")).await {
        Ok((session, next)) => signed_in(app, &session, &next),
        Err(refusal) if matches!(refusal.code, "invalid-otp" | "twofactor-required") => {
            code(app, &visitor, half, Some(&refusal))
        }
        Err(refusal) => refused(app, &request, "", &refusal),
    }
}
