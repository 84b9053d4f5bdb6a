//! Single-use links that set a new password: made by an operator for somebody who has lost theirs. A second factor stays.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::login::{Ends, event, set_password};
use super::{App, InstanceCtx, Password, Reason, Refusal, accounts};
use crate::domain::access::{Account, PasswordReset, ResetText};
use crate::domain::ident::Email;
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Versioned};

/// How often a change is tried again when somebody changed the account at the same time.
const ATTEMPTS: usize = 5;
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
