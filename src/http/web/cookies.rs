//! The cookies of the pages: who is logged in, and before that, which browser a sign-in form was made for, or was sent to
//! the provider of log-ins. And the question whether a form was sent from a page of ours.

use http::HeaderMap;
use http::HeaderValue;
use http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use url::Url;

use crate::app::App;
use crate::app::provider::LIFE;
use crate::app::tokens::LOGIN_LIFE;
use crate::domain::access::TokenText;
use crate::domain::access::secret::random_letters;

/// Life of the cookie of a sign-in form, in seconds.
const VISIT: i64 = 3600;
/// Letters of the cookie of a sign-in form: 190 bits.
const VISITOR: usize = 32;

/// How cookies are named and marked: where people reach us over TLS, browsers keep them to TLS and to this very host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cookies {
    secure: bool,
}

impl Cookies {
    /// Those of this instance.
    pub(super) fn of(app: &App) -> Self {
        Self {
            secure: app.settings.public_url.starts_with("https://"),
        }
    }

    fn session_name(self) -> &'static str {
        if self.secure {
            "__Host-hallmark"
        } else {
            "hallmark"
        }
    }

    fn visitor_name(self) -> &'static str {
        if self.secure {
            "__Host-hallmark-visit"
        } else {
            "hallmark-visit"
        }
    }

    /// The log-in a request comes with.
    pub(super) fn session(self, headers: &HeaderMap) -> Option<TokenText> {
        value(headers, self.session_name()).and_then(TokenText::parse)
    }

    /// The visit a request belongs to.
    pub(super) fn visitor(self, headers: &HeaderMap) -> Option<&str> {
        value(headers, self.visitor_name())
            .filter(|text| text.len() == VISITOR && text.bytes().all(|b| b.is_ascii_alphanumeric()))
    }

    /// A new visit: its text, and the header that gives it to the browser.
    pub(super) fn begin_visit(self, app: &App) -> (String, Option<HeaderValue>) {
        let text = random_letters(VISITOR, |buffer| app.entropy.fill(buffer)).to_string();
        let header = self.set(self.visitor_name(), &text, VISIT);
        (text, header)
    }

    fn ticket_name(self) -> &'static str {
        if self.secure {
            "__Host-hallmark-provider"
        } else {
            "hallmark-provider"
        }
    }

    /// What a browser that comes back from the provider of log-ins was given.
    pub(super) fn ticket(self, headers: &HeaderMap) -> Option<&str> {
        value(headers, self.ticket_name()).filter(|text| !text.is_empty())
    }

    /// The header that gives it to the browser.
    pub(super) fn begin_leave(self, ticket: &str) -> Option<HeaderValue> {
        let mut header = self.set(self.ticket_name(), ticket, LIFE);
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        header
    }

    /// The header that makes the browser forget it.
    pub(super) fn end_leave(self) -> Option<HeaderValue> {
        self.set(self.ticket_name(), "", 0)
    }

    /// The header that logs the browser in.
    pub(super) fn log_in(self, token: &TokenText) -> Option<HeaderValue> {
        let mut header = self.set(self.session_name(), token.reveal(), LOGIN_LIFE);
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        header
    }

    /// The header that makes the browser forget the log-in.
    pub(super) fn log_out(self) -> Option<HeaderValue> {
        self.set(self.session_name(), "", 0)
    }

    fn set(self, name: &str, value: &str, life: i64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&text).ok()
    }
}

/// Adds a cookie to an answer.
pub(super) fn add(headers: &mut HeaderMap, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        headers.append(SET_COOKIE, cookie);
    }
}

fn value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether a form may come from a page of ours, as far as the browser says where it comes from. What says nothing is
/// judged by the form's mark alone.
pub(super) fn from_our_pages(app: &App, headers: &HeaderMap) -> bool {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
            (Some(_), Some(_)) => Err(()),
        }
    };
    match one("sec-fetch-site") {
        Ok(None | Some("same-origin" | "none")) => {}
        Ok(Some(_)) | Err(()) => return false,
    }
    let (origin, host) = match (one(ORIGIN.as_str()), one(HOST.as_str())) {
        (Ok(None), _) => return true,
        (Ok(Some(origin)), Ok(host)) => (origin, host),
        (Ok(Some(_)), Err(())) | (Err(()), _) => return false,
    };
    let ours =
        Url::parse(&app.settings.public_url).is_ok_and(|url| url.origin().ascii_serialization() == origin);
    let reached = || {
        let authority = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        authority.is_some() && authority == host
    };
    ours || reached()
}
