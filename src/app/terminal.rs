//! Logging in on a terminal with a browser instead of a password: the program makes its token itself and shows only the
//! token's hash; who is signed in lets it in. Nothing is stored before that.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::login::MAX_LOG_INS;
use super::tokens::{LOGIN_LIFE, fresh, log_in_with};
use super::{App, OwnCtx, Reason, Refusal, login};
use crate::domain::access::Token;
use crate::domain::time::Timestamp;

/// How long a request may wait for somebody to let it in, in seconds.
pub const LIFE: i64 = 600;
/// Length of a token's hash: SHA-256 in lower-case hex.
const HASH: usize = 64;
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 100;

/// A terminal that wants to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    hash: String,
    /// What it says of itself; to be shown as such.
    pub description: String,
    /// Where it is, as far as we saw.
    pub peer: Option<IpAddr>,
    /// When it is too late, as Unix time.
    expires: i64,
}

impl Request {
    /// What terminal and page both show, so that people can compare: eight letters in two halves.
    pub fn code(&self) -> String {
        code(&self.hash)
    }
}

/// The code that people compare, of the hash of a token.
pub fn code(hash: &str) -> String {
    let (first, rest) = hash.split_at_checked(4).unwrap_or((hash, ""));
    let second = rest.split_at_checked(4).map_or(rest, |(second, _)| second);
    format!("{first}-{second}").to_ascii_uppercase()
}

/// Where a terminal sends its owner.
#[derive(Debug)]
pub struct Invitation {
    /// The page.
    pub url: String,
    /// When it is too late.
    pub expires: Timestamp,
}

/// A terminal asks to be let in; `hash` is that of the token it has made.
///
/// # Errors
/// `invalid-request`.
pub fn ask(app: &App, peer: Option<IpAddr>, hash: &str, description: &str) -> Result<Invitation, Refusal> {
    if hash.len() != HASH || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Refusal::invalid(
            "invalid-request",
            "cannot let a terminal in: `hash` is the SHA-256 of its token in lower-case hex",
        ));
    }
    let plain = description.chars().filter(|c| !c.is_control());
    let expires = app.clock.now().plus_seconds(LIFE);
    let request = Request {
        hash: hash.to_owned(),
        description: plain.take(MAX_DESCRIPTION).collect(),
        peer,
        expires: expires.unix(),
    };
    let text = serde_json::to_vec(&request).map_err(|error| {
        tracing::error!(%error, "cannot write down the request of a terminal");
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot let a terminal in: internal error",
        )
    })?;
    let text = URL_SAFE_NO_PAD.encode(text);
    let mark = mark(app, &text);
    let url = format!("{}/account/terminal/{text}.{mark}", app.settings.public_url);
    Ok(Invitation { url, expires })
}

/// The request of a page.
///
/// # Errors
/// `terminal-expired`: too late, or not one of ours.
pub fn read(app: &App, text: &str) -> Result<Request, Refusal> {
    let expired = || {
        Refusal::new(
            Reason::NotFound,
            "terminal-expired",
            "cannot let the terminal in: the link is older than ten minutes or incomplete; run `hallmark login --web` again",
        )
    };
    let (text, presented) = text.split_once('.').ok_or_else(expired)?;
    let ours: bool = mark(app, text).as_bytes().ct_eq(presented.as_bytes()).into();
    let bytes = ours.then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
    let request: Option<Request> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    request
        .filter(|request| request.expires >= app.clock.now().unix())
        .ok_or_else(expired)
}

/// Lets a terminal in: from now on its token is a log-in of the caller's.
///
/// # Errors
/// `terminal-expired`, `terminal-known`.
pub async fn let_in(app: &App, ctx: &OwnCtx, text: &str) -> Result<Token, Refusal> {
    let request = read(app, text)?;
    // In this order: what ends the caller's log-in after this is seen when the new one is recorded.
    let account = login::own_account(app, ctx).await?.record;
    let token = app.storage.find::<Token>([ctx.token().id.as_str()]).await?;
    token.ok_or_else(login::wrong)?;
    let (mut token, _) = fresh(app, ctx.account(), &request.description, LOGIN_LIFE);
    token.hash.clone_from(&request.hash);
    token.person = true;
    let mut event = ctx.event(token.created, "login", ctx.account().as_str());
    event.detail.insert("token".to_owned(), token.id.clone().into());
    event.detail.insert("terminal".to_owned(), request.code().into());
    let known = |refusal: Refusal| match refusal.code {
        "value-taken" => Refusal::conflict("terminal-known", "cannot let the terminal in: it is in already"),
        _ => refusal,
    };
    log_in_with(app, &account, &token, event, MAX_LOG_INS, |other| other.person)
        .await
        .map_err(known)?;
    Ok(token)
}

fn mark(app: &App, text: &str) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &app.secrets.nonce_key));
    context.update(b"hallmark terminal v1\0");
    context.update(text.as_bytes());
    URL_SAFE_NO_PAD.encode(context.sign().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_beginning_of_the_hash() {
        assert_eq!(code("3f9a01bc77"), "3F9A-01BC");
        assert_eq!(code("3f"), "3F-");
    }
}
