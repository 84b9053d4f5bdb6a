//! The pages for what did not happen: it is not there, the form is not ours, it was refused.

use http::StatusCode;
use maud::html;
use warp::reply::Response;

use super::super::frame::{Frame, Page};
use crate::app::{Reason, Refusal};
use crate::http::fault::{Dialect, Fault, NativeDialect};
use crate::http::router::RequestId;

/// The page for what is not there, or not the caller's to see: the same for both.
pub(in crate::http::web) fn absent(frame: Frame<'_>) -> Response {
    let body = html! {
        p { "There is no such page, or your role does not let you see it." }
        p { "If you expected something here, ask an administrator of the brand which role you have." }
        p { a href="/start" { "To the start page" } }
    };
    frame.around(Page::new("Not found", body).with_status(StatusCode::NOT_FOUND))
}

/// The page for a form that is not one of ours, or is of an earlier log-in.
pub(in crate::http::web) fn not_ours(frame: Frame<'_>) -> Response {
    let body = html! {
        p { "The form was not accepted: it is not of this log-in, or it was not sent from a page of this server." }
        p { "Nothing was changed. Go back, load the page again, and send the form once more." }
        p { a href="/start" { "To the start page" } }
    };
    frame.around(Page::new("Form not accepted", body).with_status(StatusCode::FORBIDDEN))
}

/// The page for a refusal: what cannot be done, why, and how to go on.
pub(in crate::http::web) fn refused(frame: Frame<'_>, refusal: &Refusal, id: Option<&RequestId>) -> Response {
    let fault: Fault<NativeDialect> = refusal.clone().into();
    let title = match refusal.reason {
        Reason::Invalid | Reason::Conflict | Reason::TooLarge => "That did not work",
        Reason::Unauthenticated => "Sign in first",
        Reason::NotFound => "Not found",
        Reason::Forbidden => "Not before something else is done",
        Reason::Locked => "Too many attempts",
        Reason::Unavailable | Reason::Internal => "Something is wrong on the server",
    };
    let hint = match refusal.reason {
        Reason::Invalid | Reason::TooLarge => "Go back, change what you entered, and send it again.",
        Reason::Conflict => "Go back, load the page again to see how things stand, and decide anew.",
        Reason::Unauthenticated => "Sign in, then open the page again.",
        Reason::Forbidden => "Do what the message says, then open the page again.",
        Reason::NotFound => "Go back and look whether it is still there; lists show what there is.",
        Reason::Locked => "Wait, then try again.",
        Reason::Unavailable => "Try again in a minute. If it stays so, tell who runs the server.",
        Reason::Internal => "Tell who runs the server; the request id below is in its log.",
    };
    let body = html! {
        p class="wrong" { (refusal.message) }
        p { (hint) }
        p class="quiet" { "Code " code { (refusal.code) } @if let Some(RequestId(id)) = id { ", request id " code { (id) } } }
        @if frame.session.is_some() { p { a href="/start" { "To the start page" } } }
    };
    frame.around(Page::new(title, body).with_status(fault.status()))
}

/// The page of a path below which there are pages, but not this one; for the router.
pub(in crate::http) fn failed(status: StatusCode, message: &str) -> Response {
    if status == StatusCode::NOT_FOUND {
        return absent(Frame::default());
    }
    let body = html! {
        p class="wrong" { (message) }
        p { a href="/start" { "To the start page" } }
    };
    Frame::default().around(Page::new("That did not work", body).with_status(status))
}

/// The status of a page about a refusal.
pub(in crate::http::web) fn status_of(refusal: &Refusal) -> StatusCode {
    NativeDialect::status(refusal.reason)
}
