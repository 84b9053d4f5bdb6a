//! What is around every page: head, navigation by what the caller may do, foot; and the headers every answer carries.

use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use maud::{DOCTYPE, Markup, html};
use warp::reply::Response;

use super::assets;
use super::parts::{at, post_form};
use super::session::Session;
use crate::app::BrandCtx;
use crate::domain::access::Permission;
use crate::domain::ident::BrandId;
use crate::http::reply;

/// Nothing but our own files; nothing inline; nobody puts a page of ours into one of theirs. `connect-src` is for the
/// progress of uploads.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// A page without its frame.
#[derive(Debug)]
pub(super) struct Page {
    /// Names it in the tab, and is its heading.
    pub title: String,
    /// Where it lies: (path, name) of the pages above it.
    pub above: Vec<(String, String)>,
    /// What is on it.
    pub body: Markup,
    /// Mostly 200.
    pub status: StatusCode,
    /// The page is asked for again after so many seconds.
    pub again: Option<u32>,
}

impl Page {
    /// A page.
    pub(super) fn new(title: impl Into<String>, body: Markup) -> Self {
        Self {
            title: title.into(),
            above: Vec::new(),
            body,
            status: StatusCode::OK,
            again: None,
        }
    }

    /// The same page below another one.
    pub(super) fn below(mut self, path: String, name: impl Into<String>) -> Self {
        self.above.push((path, name.into()));
        self
    }

    /// The same page with another status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

/// Who looks at a page, and where.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frame<'a> {
    /// Who is logged in.
    pub session: Option<&'a Session>,
    /// The brand the page is about.
    pub brand: Option<&'a BrandCtx>,
    /// The path of the page.
    pub path: &'a str,
    /// What was done just before, from a fixed list.
    pub done: Option<&'static str>,
}

/// The pages of a brand: the permission that opens each, its last path segment, its name.
const OF_BRAND: &[(Permission, &str, &str)] = &[
    (Permission::BrandRead, "", "Overview"),
    (Permission::SnapRead, "snaps", "Snaps"),
    (Permission::SnapPublish, "upload", "Upload"),
    (Permission::SnapRead, "reviews", "Reviews"),
    (Permission::BrandRead, "stores", "Stores"),
    (Permission::DeviceRead, "devices", "Devices"),
    (Permission::SerialRead, "serials", "Serial log"),
    (Permission::ModelRead, "models", "Models"),
    (Permission::KeyRead, "keys", "Keys"),
    (Permission::AuditRead, "audit", "Audit log"),
];

impl Frame<'_> {
    /// The whole page.
    pub(super) fn around(self, page: Page) -> Response {
        let Page {
            title,
            above,
            body,
            status,
            again,
        } = page;
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(seconds) = again { meta http-equiv="refresh" content=(seconds); }
                    title { (title) " · hallmark" }
                    link rel="icon" type="image/svg+xml" href=(assets::icon());
                    link rel="stylesheet" href=(assets::style());
                    script src=(assets::script()) defer {}
                }
                body {
                    a class="skip" href="#content" { "Skip to the content" }
                    (self.head())
                    div class="columns" {
                        (self.navigation())
                        main id="content" tabindex="-1" {
                            @if !above.is_empty() {
                                nav class="above" aria-label="Where this page lies" {
                                    ol {
                                        @for (path, name) in &above {
                                            li { a href=(path) { (name) } }
                                        }
                                    }
                                }
                            }
                            h1 { (title) }
                            @if let Some(text) = self.done {
                                p class="done" role="status" { (text) }
                            }
                            (body)
                        }
                    }
                }
            }
        };
        let mut response = reply::bytes(status, "text/html; charset=utf-8", markup.into_string());
        secure(response.headers_mut());
        response
    }

    fn head(self) -> Markup {
        html! {
            header class="top" {
                a class="name" href=(if self.session.is_some() { "/start" } else { "/login" }) {
                    img src=(assets::icon()) alt="" width="22" height="22";
                    "hallmark"
                }
                @if let Some(session) = self.session {
                    nav aria-label="Your account" {
                        @if session.keeps_accounts {
                            (self.link("/accounts", "Accounts"))
                        }
                        (self.link("/account/tokens", "Tokens"))
                        (self.link("/account", &session.account.display_name))
                        (post_form(&session.mark, "/logout", html! { button class="plain" { "Sign out" } }))
                    }
                }
            }
        }
    }

    fn navigation(self) -> Markup {
        let Some(ctx) = self.brand else {
            return html! {};
        };
        let brand = ctx.brand();
        html! {
            nav class="side" aria-label={ "Brand " (brand) } {
                p class="brand" { (brand) }
                ul {
                    @for (permission, segment, name) in OF_BRAND {
                        @if ctx.may(*permission) {
                            li { (self.link(&of_brand(brand, segment), name)) }
                        }
                    }
                }
            }
        }
    }

    /// A link of the navigation, marked where it leads to this page or one below it.
    fn link(self, path: &str, name: &str) -> Markup {
        let exact = path.matches('/').count() < 3;
        let below = self.path.strip_prefix(path);
        let here = below.is_some_and(|rest| rest.is_empty() || (!exact && rest.starts_with('/')));
        html! { a href=(path) aria-current=[here.then_some("page")] { (name) } }
    }
}

/// The path of a page of a brand; an empty segment is its overview.
pub(super) fn of_brand(brand: &BrandId, segment: &str) -> String {
    if segment.is_empty() {
        at(&["brands", brand.as_str()])
    } else {
        at(&["brands", brand.as_str(), segment])
    }
}

/// Headers of every answer below the paths of pages.
pub(super) fn secure(headers: &mut HeaderMap) {
    const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let own = HeaderValue::from_static("same-origin");
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
    headers.insert(REFERRER_POLICY, own.clone());
    headers.insert(OPENER, own.clone());
    headers.insert(RESOURCE, own);
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
