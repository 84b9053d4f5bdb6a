//! Discharges: a log-in, or a token instead of one, that makes a root good for something; and one credential for another.

use std::net::IpAddr;

use super::root::host;
use super::seal::{CaveatId, Purpose, Said, macaroon, read, text};
use super::verify::{Resolution, SINGLE, names_token, resolve};
use super::{Binding, Credential, Narrowing, expired, unusable};
use crate::app::tokens::{fresh, log_in_with};
use crate::app::{App, Caller, Password, Reason, Refusal, login};
use crate::domain::access::secret::random_letters;
use crate::domain::access::{Account, Token, TokenText};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::ident::Email;
use crate::domain::time::Timestamp;

/// Life of a discharge, in seconds: 30 days. What was bound to a root and leaked ends then; whoever holds the discharge
/// as the log-in gave it refreshes it.
const LIFE: i64 = 30 * 86_400;
/// Log-ins of publisher clients an account has at a time; the oldest end first.
const MAX_LOG_INS: usize = 100;

/// A discharge.
#[derive(Clone, Debug)]
pub struct Discharged {
    /// The macaroon, not bound to a root.
    pub text: String,
}

/// Discharges the caveat of a root for who knows the password of an account, or has one of its tokens and gives that
/// instead. A password makes a new token, limited as the root is; a given token stays what it is.
///
/// # Errors
/// `invalid-credentials`, `too-many-failures`, `twofactor-required`, `invalid-caveat`, `token-expired`.
pub async fn log_in(
    app: &App,
    peer: Option<IpAddr>,
    caveat_id: &str,
    email: &str,
    password: Password,
    otp: Option<&str>,
) -> Result<Discharged, Refusal> {
    let caveat = CaveatId::open(&app.secrets, caveat_id).ok_or_else(|| {
        Refusal::invalid(
            "invalid-caveat",
            "cannot log in: the caveat is not of this server; ask for a new macaroon",
        )
    })?;
    if caveat.expires <= app.clock.now() {
        return Err(expired());
    }
    let (id, expires) = match TokenText::parse(password.reveal()) {
        Some(token) => {
            let token = given(app, token, email).await?;
            (token.id, token.expires.min(caveat.expires))
        }
        None => {
            let account = login::check_password(app, peer, email, password, otp).await?;
            let token = record(app, &account, &caveat).await?;
            (token.id, token.expires)
        }
    };
    discharge(app, caveat_id, &id, expires)
}

/// The token that is given instead of a password, if it is the account's.
async fn given(app: &App, token: TokenText, email: &str) -> Result<Token, Refusal> {
    let caller = match Caller::identify(app, Some(&token.into())).await {
        Err(refusal) if refusal.reason == Reason::Unauthenticated => return Err(login::wrong()),
        other => other?,
    };
    let account = app.storage.find::<Account>([caller.account().as_str()]).await?;
    let same =
        account.is_some_and(|account| Email::normal(email).is_ok_and(|email| email == account.record.email));
    if same {
        Ok(caller.token().clone())
    } else {
        Err(login::wrong())
    }
}

/// Records the token of a log-in.
async fn record(app: &App, account: &Account, caveat: &CaveatId) -> Result<Token, Refusal> {
    let now = app.clock.now();
    let life = caveat.expires.unix().saturating_sub(now.unix());
    let (mut token, _) = fresh(app, &account.id, &caveat.description, life);
    token.publisher = true;
    caveat.narrowing.apply(&mut token);
    let mut event = AuditEvent {
        time: now,
        actor: Actor::Account(account.id.clone()),
        brand: None,
        action: "login".to_owned(),
        subject: account.id.to_string(),
        detail: serde_json::Map::new(),
    };
    event.detail.insert("token".to_owned(), token.id.clone().into());
    event.detail.insert("client".to_owned(), "publisher".into());
    log_in_with(app, account, &token, event, MAX_LOG_INS, |other| other.publisher).await?;
    Ok(token)
}

fn discharge(app: &App, caveat_id: &str, token: &str, expires: Timestamp) -> Result<Discharged, Refusal> {
    let end = expires.min(app.clock.now().plus_seconds(LIFE));
    let key = Purpose::Discharge.key(&app.secrets, caveat_id);
    let said = [Said::Token(token.to_owned()), Said::Expires(end)];
    let text = text(&macaroon(host(app), &key, caveat_id, &said)?)?;
    Ok(Discharged { text })
}

/// A fresh discharge for one that is not bound and may have expired, while its token is good. One that somebody narrowed
/// stays as it is: a fresh one would be wider.
///
/// # Errors
/// `invalid-token`, `token-expired`.
pub async fn refresh(app: &App, old: &str) -> Result<Discharged, Refusal> {
    let old = read(old).ok_or_else(unusable)?;
    let caveat_id = std::str::from_utf8(old.identifier()).map_err(|_| unusable())?;
    let caveat = CaveatId::open(&app.secrets, caveat_id).ok_or_else(unusable)?;
    let key = Purpose::Discharge.key(&app.secrets, caveat_id);
    let id = names_token(&old, &key).ok_or_else(unusable)?;
    let token = Caller::named(app, &id).await?.token().clone();
    if caveat.expires <= app.clock.now() {
        return Err(expired());
    }
    discharge(app, caveat_id, &id, token.expires.min(caveat.expires))
}

/// One macaroon that is worth what `credential` is, for clients that keep a single text. It ends with its token, or with
/// the discharge if that came bound.
pub async fn exchange(
    app: &App,
    credential: Option<&Credential>,
    binding: Binding,
) -> Result<String, Refusal> {
    let credential = credential.ok_or_else(|| {
        Refusal::new(
            Reason::Unauthenticated,
            "login-required",
            "cannot exchange credentials: none were sent",
        )
    })?;
    let token = Caller::identify_as(app, credential, binding)
        .await?
        .token()
        .clone();
    let until = match resolve(app, credential, binding)? {
        Resolution::Token(_) => None,
        Resolution::Macaroons(resolved) => resolved.exchanged_until(),
    };
    let expires = until.map_or(token.expires, |until| until.min(token.expires));
    let identifier = format!(
        "{}{}",
        SINGLE,
        random_letters(12, |buffer| app.entropy.fill(buffer)).as_str()
    );
    let key = Purpose::Single.key(&app.secrets, &identifier);
    let said = [
        Said::Token(token.id.clone()),
        Said::Expires(expires),
        Said::Narrowed(Narrowing::of(&token)),
    ];
    text(&macaroon(host(app), &key, &identifier, &said)?)
}

/// The same for a secret in a text: a token, or a single macaroon (`tokens/offline/exchange`).
pub async fn exchange_secret(app: &App, secret: &str) -> Result<String, Refusal> {
    let secret = secret.trim();
    let credential = match TokenText::parse(secret) {
        Some(token) => Credential::Token(token),
        None => Credential::Single(secret.to_owned().into()),
    };
    exchange(app, Some(&credential), Binding::Bound).await
}
