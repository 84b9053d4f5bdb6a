//! Signing in with a provider of log-ins (OpenID Connect) instead of the password. Nothing is stored until somebody has
//! come back: what a sign-in is bound to follows from a text that only the person's browser has.

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::login::{Session, begin_session, event};
use super::tokens::of_account;
use super::{App, InstanceCtx, Reason, Refusal, accounts, second_factor};
use crate::domain::access::secret::random_letters;
use crate::domain::access::{Account, Admission, NotAdmitted, ProviderIdentity, admit};
use crate::domain::ident::Email;
use crate::domain::time::Timestamp;
use crate::ports::{
    Change, Claimed, Commit, CommitOutcome, Errand, IdentityError, IdentityProvider, Versioned,
};

/// How long somebody may stay with the provider, and how long a code of the second factor may take, in seconds.
pub const LIFE: i64 = 600;
/// How far clocks of the servers of one instance may be apart, in seconds.
const SKEW: i64 = 60;
/// Letters of the text a browser is given: 190 bits.
const SECRET: usize = 32;
/// Longest code that is taken from a provider, in bytes.
const MAX_CODE: usize = 4096;
/// How often a change is tried again when somebody changed the account at the same time.
const ATTEMPTS: usize = 5;
/// Below which path of ours people come back.
pub const BACK: &str = "/login/provider/back";

/// The provider of this instance.
#[derive(Clone, Debug)]
pub struct Provider {
    /// How it is asked.
    pub door: Arc<dyn IdentityProvider>,
    /// People without an account get one.
    pub opens_accounts: bool,
}

/// Somebody who is sent to the provider.
#[derive(Debug)]
pub struct Leaving {
    /// For their browser alone, until they come back.
    pub ticket: Zeroizing<String>,
    /// Where to.
    pub url: String,
}

/// What somebody comes back with, as the query of [`BACK`] has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Return<'q> {
    /// Tells which sign-in.
    pub state: &'q str,
    /// To be redeemed.
    pub code: &'q str,
    /// Why there is no code.
    pub error: &'q str,
    /// The provider, where it says so (RFC 9207).
    pub issuer: &'q str,
}

/// How a sign-in goes on.
#[derive(Debug)]
pub enum Arrival {
    /// It is done.
    In(Box<Session>),
    /// A code of the second factor is needed too: it goes with this text to [`finish`].
    Half(Zeroizing<String>),
}

/// Begins a sign-in. `next` is the page to go on with; it is kept by the browser and comes out of [`arrive`].
///
/// # Errors
/// `resource-not-found` where there is no provider, `provider-unavailable`.
pub async fn leave(app: &App, next: &str) -> Result<Leaving, Refusal> {
    let provider = of(app)?;
    let random = random_letters(SECRET, |buffer| app.entropy.fill(buffer));
    let now = app.clock.now().unix();
    let ticket = Zeroizing::new(format!(
        "{now}.{}.{}",
        random.as_str(),
        URL_SAFE_NO_PAD.encode(next)
    ));
    let url = provider
        .door
        .begin(&errand(app, &ticket))
        .await
        .map_err(|error| trouble(provider, &error))?;
    Ok(Leaving { ticket, url })
}

/// Somebody has come back: whoever holds `ticket` is who the provider says, once. Gives the page to go on with too. `holder`
/// names the browser; what is still to be done is good for it alone.
///
/// # Errors
/// `sign-in-expired`, `provider-refused`, `provider-untrusted`, `provider-unavailable`, `no-account`, and those of a second
/// factor.
pub async fn arrive(
    app: &App,
    ticket: Option<&str>,
    holder: &str,
    back: Return<'_>,
) -> Result<(Arrival, String), Refusal> {
    let provider = of(app)?;
    let ticket = ticket.ok_or_else(expired)?;
    let (begun, next) = read_ticket(ticket).ok_or_else(expired)?;
    let age = app.clock.now().unix().saturating_sub(begun);
    let errand = errand(app, ticket);
    let known: bool = errand.state.as_bytes().ct_eq(back.state.as_bytes()).into();
    if !known || !(-SKEW..=LIFE).contains(&age) {
        return Err(expired());
    }
    let until = Timestamp::from_unix(begun.saturating_add(LIFE + 2 * SKEW));
    if !app.storage.spend(short(&errand.state), until).await? {
        return Err(expired());
    }
    let refused = |why: &str| {
        let name = provider.door.label();
        Refusal::new(
            Reason::Unauthenticated,
            "provider-refused",
            format!("cannot sign in: {name} says {why}; try again, or use your password"),
        )
    };
    if !back.issuer.is_empty() && back.issuer != provider.door.issuer() {
        return Err(refused("that somebody else sent you back"));
    }
    if back.code.is_empty() || back.code.len() > MAX_CODE {
        let plain = back.error.chars().filter(|c| c.is_ascii_lowercase() || *c == '_');
        let word: String = plain.take(60).collect();
        return Err(refused(if word.is_empty() { "nothing" } else { &word }));
    }
    let claimed = provider
        .door
        .redeem(&errand, back.code)
        .await
        .map_err(|error| trouble(provider, &error))?;
    let arrival = match enter(app, provider, &claimed, None).await {
        Ok(session) => Arrival::In(Box::new(session)),
        Err(refusal) if refusal.code == "twofactor-required" => {
            Arrival::Half(half(app, holder, claimed, &next)?)
        }
        Err(refusal) => return Err(refusal),
    };
    Ok((arrival, next))
}

/// The second half of a sign-in: a code of the second factor. Gives the page to go on with too.
///
/// # Errors
/// `sign-in-expired`, and those of a second factor: with these the same text is good again.
pub async fn finish(app: &App, half: &str, holder: &str, code: &str) -> Result<(Session, String), Refusal> {
    let provider = of(app)?;
    let half = read_half(app, half, holder).ok_or_else(expired)?;
    if half.expires < app.clock.now().unix() {
        return Err(expired());
    }
    let claimed = Claimed {
        issuer: half.issuer,
        subject: half.subject,
        email: half.email,
        name: None,
    };
    let session = enter(app, provider, &claimed, Some(code)).await?;
    Ok((session, half.next))
}

/// Unbinds an account from the provider, for the operator: the next sign-in with its e-mail address binds it anew.
pub async fn unbind(app: &App, ctx: &InstanceCtx, email: &Email) -> Result<Account, Refusal> {
    for _ in 0..ATTEMPTS {
        let Versioned { mut record, version } = accounts::by_email(app, email).await?;
        let was = record.provider.take().ok_or_else(|| {
            Refusal::not_found(format!(
                "cannot unbind {email}: it is not bound to anybody of a provider"
            ))
        })?;
        let mut event = ctx.event(app.clock.now(), "account.provider.unbind", record.id.as_str());
        event.detail.extend(told(&was));
        let commit = Commit {
            records: vec![Change::replace(&record, version)],
            audit: vec![event],
            ..Commit::default()
        };
        match app.storage.commit(commit).await? {
            CommitOutcome::Conflict { .. } => {}
            other => return App::settle(&other).map(|()| record),
        }
    }
    Err(App::changed_meanwhile())
}

/// The log-in of who the provider names: their account is found, bound or made.
async fn enter(
    app: &App,
    provider: &Provider,
    claimed: &Claimed,
    otp: Option<&str>,
) -> Result<Session, Refusal> {
    let email = claimed
        .email
        .as_deref()
        .and_then(|email| Email::normal(email).ok());
    let key = ProviderIdentity::key_of(&claimed.issuer, &claimed.subject);
    // A code is good once, however often the rest is tried.
    let mut checked = None;
    for attempt in 0..ATTEMPTS {
        let bound = app.storage.find_unique::<Account>("provider", &key).await?;
        let named = match &email {
            Some(email) => {
                app.storage
                    .find_unique::<Account>("email", email.as_str())
                    .await?
            }
            None => None,
        };
        let (first, second) = (
            bound.as_ref().map(|b| &b.record),
            named.as_ref().map(|n| &n.record),
        );
        let admission = admit(first, second, email.is_some(), provider.opens_accounts);
        let found = match admission {
            Admission::Refused(why) => return Err(not_admitted(provider, claimed, why)),
            Admission::Bound => bound,
            Admission::Bind => named,
            Admission::Open => None,
        };
        // What is asked of an unproven account somebody else may have set: it goes when the account is bound.
        if let Some(found) = &found
            && !found.record.unproven
            && checked.as_ref() != Some(&found.record.id)
        {
            second_factor::check(app, &found.record, otp).await?;
            checked = Some(found.record.id.clone());
        }
        if let (Admission::Bound, Some(found)) = (admission, &found) {
            return begin_session(app, found.record.clone(), "web", Some(&claimed.issuer)).await;
        }
        let commit = match (found, &email) {
            (Some(found), _) => bind(app, &found.record, claimed).await?,
            (None, Some(email)) => Some(open(app, email, claimed, attempt)?),
            (None, None) => None,
        };
        let Some((account, commit)) = commit else {
            continue;
        };
        match app.storage.commit(commit).await? {
            // Somebody was faster: look again.
            CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } => {}
            other => {
                App::settle(&other)?;
                return begin_session(app, account, "web", Some(&claimed.issuer)).await;
            }
        }
    }
    Err(App::changed_meanwhile())
}

/// Binds an account to who has its e-mail address for the provider. None = it changed meanwhile: look again.
async fn bind(app: &App, found: &Account, claimed: &Claimed) -> Result<Option<(Account, Commit)>, Refusal> {
    // The code of the second factor has changed the record.
    let Some(Versioned { mut record, version }) = app.storage.find::<Account>([found.id.as_str()]).await?
    else {
        return Ok(None);
    };
    if record.provider.is_some() || record.disabled || record.unproven != found.unproven {
        return Ok(None);
    }
    let identity = identity(app, claimed);
    let mut event = event(app, &record.id, "account.provider.bind", record.id.as_str());
    event.detail.extend(told(&identity));
    record.provider = Some(identity);
    let mut records = Vec::new();
    if record.prove() {
        event.detail.insert("address-proven".to_owned(), true.into());
        for token in of_account(app, &record.id).await? {
            records.push(Change::delete(&token.record, token.version));
        }
    }
    records.push(Change::replace(&record, version));
    let commit = Commit {
        records,
        audit: vec![event],
        ..Commit::default()
    };
    Ok(Some((record, commit)))
}

/// An account for somebody who has none.
fn open(app: &App, email: &Email, claimed: &Claimed, attempt: usize) -> Result<(Account, Commit), Refusal> {
    let username = accounts::made_up_username(app, email, attempt)?;
    let identity = identity(app, claimed);
    let account = Account {
        id: accounts::random_id(app)?,
        email: email.clone(),
        display_name: claimed.name.clone().unwrap_or_else(|| username.to_string()),
        username,
        password: None,
        unproven: false,
        operator: false,
        disabled: false,
        second_factor: None,
        provider: Some(identity.clone()),
        reset: None,
        created: app.clock.now(),
    };
    let mut event = event(app, &account.id, "account.create", account.id.as_str());
    event.detail.insert("email".to_owned(), email.as_str().into());
    event.detail.extend(told(&identity));
    let commit = Commit {
        records: vec![Change::create(&account)],
        audit: vec![event],
        ..Commit::default()
    };
    Ok((account, commit))
}

fn identity(app: &App, claimed: &Claimed) -> ProviderIdentity {
    ProviderIdentity {
        issuer: claimed.issuer.clone(),
        subject: claimed.subject.clone(),
        since: app.clock.now(),
    }
}

/// What the audit log says of an identity.
fn told(identity: &ProviderIdentity) -> [(String, serde_json::Value); 2] {
    [
        ("provider".to_owned(), identity.issuer.clone().into()),
        ("subject".to_owned(), identity.subject.clone().into()),
    ]
}

fn of(app: &App) -> Result<&Provider, Refusal> {
    app.provider.as_ref().ok_or_else(|| {
        Refusal::not_found("cannot sign in with a provider: none is set up (HALLMARK_OIDC_ISSUER)")
    })
}

/// What a sign-in is bound to: all of it follows from the ticket and the instance's secret.
fn errand(app: &App, ticket: &str) -> Errand {
    Errand {
        state: derived(app, "state", ticket),
        nonce: Zeroizing::new(derived(app, "nonce", ticket)),
        verifier: Zeroizing::new(derived(app, "verifier", ticket)),
        back: format!("{}{BACK}", app.settings.public_url),
    }
}

fn read_ticket(ticket: &str) -> Option<(i64, String)> {
    let (begun, rest) = ticket.split_once('.')?;
    let (random, next) = rest.split_once('.')?;
    let next = URL_SAFE_NO_PAD.decode(next).ok()?;
    let next = String::from_utf8(next).ok()?;
    (random.len() == SECRET).then_some((begun.parse().ok()?, next))
}

/// HMAC-SHA256 under the instance's secret, in base64url: 43 characters.
fn derived(app: &App, what: &str, text: &str) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &app.secrets.nonce_key));
    for part in ["hallmark sign-in with a provider v1", what, text] {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    URL_SAFE_NO_PAD.encode(context.sign().as_ref())
}

/// What a spent sign-in is remembered by.
fn short(state: &str) -> [u8; 16] {
    let hash = digest::digest(&digest::SHA256, format!("sign-in {state}").as_bytes());
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

/// A sign-in that lacks the code of a second factor.
#[derive(Serialize, Deserialize)]
struct Half {
    issuer: String,
    subject: String,
    email: Option<String>,
    next: String,
    expires: i64,
}

fn half(app: &App, holder: &str, claimed: Claimed, next: &str) -> Result<Zeroizing<String>, Refusal> {
    let half = Half {
        issuer: claimed.issuer,
        subject: claimed.subject,
        email: claimed.email,
        next: next.to_owned(),
        expires: app.clock.now().unix().saturating_add(LIFE),
    };
    let text = serde_json::to_vec(&half).map_err(|error| {
        tracing::error!(%error, "cannot write down a sign-in");
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot sign in: internal error",
        )
    })?;
    let text = URL_SAFE_NO_PAD.encode(text);
    let mark = derived(app, &format!("half of {holder}"), &text);
    Ok(Zeroizing::new(format!("{text}.{mark}")))
}

fn read_half(app: &App, half: &str, holder: &str) -> Option<Half> {
    let (text, mark) = half.split_once('.')?;
    let own = derived(app, &format!("half of {holder}"), text);
    let ours: bool = own.as_bytes().ct_eq(mark.as_bytes()).into();
    let text = ours.then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten()?;
    serde_json::from_slice(&text).ok()
}

fn expired() -> Refusal {
    Refusal::new(
        Reason::Unauthenticated,
        "sign-in-expired",
        "cannot sign in: this sign-in took too long, was used already, or began in another browser; begin again",
    )
}

fn not_admitted(provider: &Provider, claimed: &Claimed, why: NotAdmitted) -> Refusal {
    tracing::info!(issuer = %claimed.issuer, subject = %claimed.subject, ?why, "a sign-in with the provider was refused");
    let name = provider.door.label();
    let why = match why {
        NotAdmitted::Unknown | NotAdmitted::Disabled => "there is no account for you here",
        NotAdmitted::Taken => "the account with your e-mail address belongs to somebody else there",
    };
    Refusal::new(
        Reason::Unauthenticated,
        "no-account",
        format!("cannot sign in with {name}: {why}; ask whoever runs this server"),
    )
}

fn trouble(provider: &Provider, error: &IdentityError) -> Refusal {
    let name = provider.door.label();
    tracing::warn!(provider = %provider.door.issuer(), %error, "a sign-in with the provider failed");
    match error {
        IdentityError::Unreachable(_) => Refusal::new(
            Reason::Unavailable,
            "provider-unavailable",
            format!("cannot sign in with {name}: it does not answer; use your password, or try again later"),
        ),
        IdentityError::Refused(why) => Refusal::new(
            Reason::Unauthenticated,
            "provider-refused",
            format!("cannot sign in: {name} says {why}; try again, or use your password"),
        ),
        IdentityError::Untrusted(_) => Refusal::new(
            Reason::Unauthenticated,
            "provider-untrusted",
            format!(
                "cannot sign in with {name}: what it says of you does not hold; tell whoever runs this server"
            ),
        ),
    }
}
