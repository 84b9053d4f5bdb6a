//! Signing in and out.

use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode};
use maud::{Markup, html};
use warp::Filter;
use warp::reply::Response;

use super::cookies::{self, Cookies, from_our_pages};
use super::form::Form;
use super::frame::{Frame, Page};
use super::parts::{Line, line, post_form, with_query};
use super::reset::FORGOTTEN;
use super::route::{self, Answer, Outcome, Request, Stop, Visit, Web, see_other, status_of};
use super::session::Session;
use crate::app::login::{self, Session as LogIn};
use crate::app::{App, FormMark, OwnCtx, Password, Refusal, mail};
use crate::domain::access::Permission;
use crate::http::body::Unread;
use crate::http::endpoint::{Access, BodyShape, Endpoint};

/// Longest address that is come back to after signing in.
const MAX_NEXT: usize = 1000;

pub(super) fn endpoints(web: &Web, app: &App) -> Vec<Endpoint> {
    let (shown, sent) = (app.clone(), app.clone());
    let show = route::request(Method::GET, "/login")
        .then(move |request| {
            let app = shown.clone();
            async move { show(&app, request).await }
        })
        .boxed();
    let log_in = route::request(Method::POST, "/login")
        .then(move |request| {
            let app = sent.clone();
            async move { log_in(&app, request).await }
        })
        .boxed();
    let body = BodyShape {
        media: "application/x-www-form-urlencoded",
        fields: &["mark", "next", "email", "password", "otp"],
    };
    vec![
        Endpoint::get("/login", Access::Open, "Page: sign in", show).with_query(vec!["next"]),
        Endpoint::post("/login", Access::Open, "Sign in with a password", log_in).with_body(Some(body)),
        web.act("/logout", Permission::OwnRead, "Sign out", log_out),
    ]
}

async fn show(app: &App, request: Request) -> Response {
    let next = request
        .query
        .all("next")
        .next()
        .and_then(own_path)
        .unwrap_or_default();
    if Session::open(app, &request.headers).await.is_ok() {
        return see_other(if next.is_empty() { "/start" } else { next });
    }
    page(app, &request, next, "", None, StatusCode::OK)
}

/// The sign-in page, with what was wrong the last time.
pub(super) fn page(
    app: &App,
    request: &Request,
    next: &str,
    email: &str,
    wrong: Option<&str>,
    status: StatusCode,
) -> Response {
    let provider = app.provider.as_ref().map(|provider| provider.door.label());
    for_visitor(app, request, |mark| {
        let form = form(mark, next, email, wrong, provider);
        Page::new("Sign in", html! { (form) (lost(app)) }).with_status(status)
    })
}

/// A page with a form, for somebody who is not logged in: its mark belongs to a cookie of the visit.
pub(super) fn for_visitor(app: &App, request: &Request, page: impl FnOnce(&FormMark) -> Page) -> Response {
    let cookies = Cookies::of(app);
    let (visitor, cookie) = match cookies.visitor(&request.headers) {
        Some(visitor) => (visitor.to_owned(), None),
        None => cookies.begin_visit(app),
    };
    let mark = FormMark::of(&app.secrets, &visitor);
    let mut response = Frame::default().around(page(&mark));
    cookies::add(response.headers_mut(), cookie);
    response
}

/// Whether a form was sent from a page of [`for_visitor`], in the same visit.
pub(super) fn is_of_visitor(app: &App, request: &Request, form: &Form) -> bool {
    let visitor = Cookies::of(app).visitor(&request.headers);
    from_our_pages(app, &request.headers)
        && visitor.is_some_and(|visitor| FormMark::of(&app.secrets, visitor).fits(form.raw("mark")))
}

/// The form of a request; the answer, where there is none to be read.
pub(super) async fn form_of(request: &mut Request) -> Result<Form, Box<Response>> {
    let body = std::mem::replace(&mut request.body, Unread::nothing());
    match route::form(body, &request.headers).await {
        Ok(form) => Ok(form),
        Err(Stop::NotOurs) => Err(Box::new(route::not_ours(Frame::default()))),
        Err(Stop::Refused(refusal)) => Err(Box::new(route::refused(
            Frame::default(),
            &refusal,
            request.id.as_ref(),
        ))),
    }
}

fn form(mark: &FormMark, next: &str, email: &str, wrong: Option<&str>, provider: Option<&str>) -> Markup {
    html! {
        p { "Brand store and serial vault for snap devices." }
        @if let Some(wrong) = wrong { p class="wrong" role="alert" { (wrong) } }
        div class="narrow" {
            (post_form(mark, "/login", html! {
                input type="hidden" name="next" value=(next);
                (line(Line { name: "email", label: "E-mail address", kind: "email", value: email, required: true,
                             complete: "username", longest: 254, ..Line::default() }))
                (line(Line { name: "password", label: "Password", kind: "password", required: true,
                             complete: "current-password", longest: 1024, ..Line::default() }))
                (line(Line { name: "otp", label: "Code of your authenticator", hint: "Only if you have a second factor.", kind: "text",
                             complete: "one-time-code", longest: 32, ..Line::default() }))
                button class="main" { "Sign in" }
            }))
            @if let Some(name) = provider {
                p class="or" { a class="button" href=(with_query("/login/provider", &[("next", next)])) { "Sign in with " (name) } }
            }
        }
        p class="quiet" { "You were invited? " a href="/login/invite" { "Accept the invite" } "." }
    }
}

/// What to do without a password.
fn lost(app: &App) -> Markup {
    html! {
        @if mail::is_on(app) {
            p class="quiet" { a href=(FORGOTTEN) { "Forgot your password?" } }
        }
        p class="quiet" {
            "The first password is printed by " code { "hallmark init" } " or " code { "hallmark quickstart" } "."
            @if !mail::is_on(app) {
                " Lost it? Ask an operator for a link (" code { "hallmark account reset-password" } ")."
            }
        }
    }
}

async fn log_in(app: &App, mut request: Request) -> Response {
    let form = match form_of(&mut request).await {
        Ok(form) => form,
        Err(answer) => return *answer,
    };
    let next = own_path(form.raw("next")).unwrap_or_default();
    let email = form.raw("email").trim();
    if !is_of_visitor(app, &request, &form) {
        let wrong = "This form was too old, or your browser sends no cookies. Sign in again.";
        return page(app, &request, next, email, Some(wrong), StatusCode::FORBIDDEN);
    }
    let password = Password::from(form.raw("password").to_owned());
    let otp = Some(form.raw("otp"));
    match login::login(app, request.address(), email, password, otp, "web").await {
        Ok(LogIn { text, .. }) => {
            let mut response = see_other(if next.is_empty() { "/start" } else { next });
            cookies::add(response.headers_mut(), Cookies::of(app).log_in(&text));
            response
        }
        Err(refusal) => page(
            app,
            &request,
            next,
            email,
            Some(&refusal.message),
            status_of(&refusal),
        ),
    }
}

async fn log_out(visit: Visit<OwnCtx, Form>) -> Outcome {
    login::logout(&visit.app, &visit.ctx).await?;
    let mut response = see_other("/login");
    cookies::add(response.headers_mut(), Cookies::of(&visit.app).log_out());
    Ok(Answer::Other(Box::new(response)))
}

/// A path of ours to go on with: nothing that leads elsewhere, whatever a browser makes of it.
pub(super) fn own_path(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('/')?;
    let plain = text.len() <= MAX_NEXT
        && !rest.starts_with(['/', '\\'])
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let page = ["account", "accounts", "brands", "start"]
        .iter()
        .any(|first| rest.split(['/', '?']).next() == Some(first));
    (plain && page).then_some(text)
}

/// For people who come to the front door with a browser.
pub(in crate::http) fn front() -> Response {
    let mut response = see_other("/start");
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/start"));
    response
        .headers_mut()
        .insert(http::header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Refusals of pages that ask again instead of ending.
pub(super) fn wrong(refusal: &Refusal) -> Markup {
    html! { p class="wrong" role="alert" { (refusal.message) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_pages_are_come_back_to() {
        for good in [
            "/start",
            "/brands/acme/snaps?q=a%20b",
            "/account/tokens",
            "/accounts?page=2",
        ] {
            assert_eq!(own_path(good), Some(good));
        }
        for bad in [
            "",
            "start",
            "//evil.example/brands",
            "/\\evil.example",
            "/brands\\x",
            "https://evil.example/",
            "/brands/\r\nset-cookie: a=b",
            "/login",
            "/static/x",
            "/brandsx",
            "/\t/evil.example",
            "/brands/é",
        ] {
            assert_eq!(own_path(bad), None, "{bad:?}");
        }
        assert_eq!(own_path(&format!("/start?{}", "x".repeat(MAX_NEXT))), None);
    }
}
