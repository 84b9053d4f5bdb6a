//! Single-use links that set a new password: made by an operator, or mailed to who has forgotten theirs. A second factor
//! stays.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::lockout::network;
use super::login::{Ends, event, set_password};
use super::mail::{self, Letter};
use super::{App, InstanceCtx, Password, Reason, Refusal, accounts};
use crate::domain::access::{Account, PasswordReset, ResetText};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::ident::Email;
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Versioned};

/// How often a change is tried again when somebody changed the account at the same time.
const ATTEMPTS: usize = 5;
/// How soon another link is mailed for the same account, in seconds. So nobody fills a mailbox, or makes every link void
/// before it can be used.
const PAUSE: i64 = 900;
/// The page that links lead to.
pub const PAGE: &str = "/login/reset";

/// A link that was made. Its address is shown once; only a hash of its secret is kept.
#[derive(Clone, Debug)]
pub struct Link {
    /// Whose password it sets.
    pub account: Account,
    /// When it stops being good.
    pub expires: Timestamp,
    text: ResetText,
}

impl Link {
    /// Its address.
    pub fn url(&self, app: &App) -> Zeroizing<String> {
        let server = app.settings.public_url.trim_end_matches('/');
        Zeroizing::new(format!("{server}{PAGE}?text={}", self.text.reveal()))
    }
}

/// Makes a link for an operator to hand on. The one before it is void.
///
/// # Errors
/// Not found; `account-disabled`.
pub async fn issue(app: &App, ctx: &InstanceCtx, email: &Email) -> Result<Link, Refusal> {
    for _ in 0..ATTEMPTS {
        let Versioned { record, version } = accounts::by_email(app, email).await?;
        if record.disabled {
            return Err(Refusal::conflict(
                "account-disabled",
                format!("cannot make a link for {email}: the account is switched off; enable it first"),
            ));
        }
        let link = renew(app, record);
        let mut event = ctx.event(app.clock.now(), "account.reset.link", link.account.id.as_str());
        event
            .detail
            .insert("expires".to_owned(), link.expires.to_string().into());
        let commit = Commit {
            records: vec![Change::replace(&link.account, version)],
            audit: vec![event],
            ..Commit::default()
        };
        match app.storage.commit(commit).await? {
            CommitOutcome::Conflict { .. } => {}
            other => return App::settle(&other).map(|()| link),
        }
    }
    Err(App::changed_meanwhile())
}

/// Mails a link to who has forgotten the password. Says the same, and writes as much, whether or not there is such an
/// account. Accounts without a password sign in another way and get none; neither does who got one minutes ago.
///
/// # Errors
/// Not found where this server sends no mail; `too-many-requests`.
pub async fn request(app: &App, peer: Option<IpAddr>, email: &str) -> Result<(), Refusal> {
    if !mail::is_on(app) {
        return Err(Refusal::not_found(
            "cannot mail a link: this server sends no mail; ask whoever runs it",
        ));
    }
    // Ten in a quarter of an hour from one network, whomever they are for.
    let (network, now) = (network(peer), app.clock.now());
    if let Some(seconds) = app.guard.resets.locked_for(&network, None, now) {
        return Err(Refusal::new(
            Reason::Locked,
            "too-many-requests",
            "cannot mail a link: too many were asked for from your network; try again in 15 minutes",
        )
        .after(seconds));
    }
    app.guard.resets.failed(&network, None, now);
    let email = Email::normal(email).ok();
    for _ in 0..ATTEMPTS {
        let found = match &email {
            Some(email) => {
                app.storage
                    .find_unique::<Account>("email", email.as_str())
                    .await?
            }
            None => None,
        };
        let outcome = app.storage.commit(asked(app, peer, found)?).await?;
        if !matches!(outcome, CommitOutcome::Conflict { .. }) {
            App::settle(&outcome)?;
            mail::wake(app);
            return Ok(());
        }
    }
    Err(App::changed_meanwhile())
}

/// What is recorded of a link that was asked for: for the account that was `found`, if it gets one.
fn asked(app: &App, peer: Option<IpAddr>, found: Option<Versioned<Account>>) -> Result<Commit, Refusal> {
    let now = app.clock.now();
    let mut event = AuditEvent {
        time: now,
        actor: Actor::System,
        brand: None,
        action: "account.reset.request".to_owned(),
        subject: String::new(),
        detail: serde_json::Map::new(),
    };
    event
        .detail
        .insert("peer".to_owned(), peer.map(|peer| peer.to_string()).into());
    let mut commit = Commit::default();
    let gets_one = |account: &Account| {
        let recent = account
            .reset
            .as_ref()
            .is_some_and(|reset| reset.is_younger(PAUSE, now));
        !account.disabled && account.password.is_some() && !recent
    };
    if let Some(Versioned { record, version }) = found.filter(|found| gets_one(&found.record)) {
        let link = renew(app, record);
        event.subject = link.account.id.to_string();
        commit.records.push(Change::replace(&link.account, version));
        commit.records.push(mail::write(app, &letter(app, &link))?);
    }
    commit.audit.push(event);
    Ok(commit)
}

fn letter(app: &App, link: &Link) -> Letter {
    let body = format!(
        "Somebody, perhaps you, asked for a new password for your account at {}.\n\n\
         To set one, open this address until {}. It works once:\n\n{}\n\n\
         If it was not you, do nothing: your password stays as it is.\n",
        app.settings.public_url,
        link.expires,
        *link.url(app),
    );
    Letter {
        to: link.account.email.clone(),
        subject: "Set a new password".to_owned(),
        body: body.into(),
        until: link.expires,
    }
}

/// Whose password a link sets. Looking spends nothing.
///
/// # Errors
/// `link-expired` if it is unknown, was used or replaced, or is too old: all the same.
pub async fn preview(app: &App, text: &str) -> Result<Account, Refusal> {
    Ok(pending(app, text).await?.0)
}

/// Sets the password a link is for, once. All the account was logged in with ends, tokens for programs too.
///
/// # Errors
/// Those of [`preview`]; `weak-password`, with which the link stays good.
pub async fn complete(
    app: &App,
    peer: Option<IpAddr>,
    text: &str,
    new: Password,
) -> Result<Account, Refusal> {
    let (account, wanted) = pending(app, text).await?;
    let hash = app.guard.passwords.hash(new, app.entropy.as_ref()).await?;
    let mut event = event(app, &account.id, "account.password", account.id.as_str());
    event.detail.insert("by".to_owned(), "link".into());
    let still = |account: &Account| account.takes_link(&wanted, app.clock.now());
    let account = set_password(app, &account.id, &hash, Ends::All, event, still)
        .await?
        .ok_or_else(expired)?;
    app.guard.logins.succeeded(account.email.as_str(), peer);
    Ok(account)
}

/// The account with a new link, which is not stored yet.
fn renew(app: &App, mut account: Account) -> Link {
    let text = ResetText::generate(|buffer| app.entropy.fill(buffer));
    let reset = PasswordReset::new(text.hash(), app.clock.now());
    let expires = reset.expires;
    account.reset = Some(reset);
    Link {
        account,
        expires,
        text,
    }
}

/// The account a link is for, and the hash of its secret.
async fn pending(app: &App, text: &str) -> Result<(Account, String), Refusal> {
    let hash = ResetText::parse(text).ok_or_else(expired)?.hash();
    let found = app.storage.find_unique::<Account>("reset", &hash).await?;
    found
        .map(|found| found.record)
        .filter(|account| account.takes_link(&hash, app.clock.now()))
        .map(|account| (account, hash))
        .ok_or_else(expired)
}

fn expired() -> Refusal {
    Refusal::new(
        Reason::NotFound,
        "link-expired",
        "cannot set a password with this link: it was used, replaced by a newer one, or is older than a day; ask for another one",
    )
}
