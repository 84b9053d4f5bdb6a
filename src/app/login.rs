//! Logging in and out, who one is, and passwords.

use std::net::IpAddr;

use super::tokens::{LOGIN_LIFE, fresh, log_in_with, of_account};
use super::{App, InstanceCtx, OwnCtx, Password, Reason, Refusal, second_factor};
use crate::domain::access::{Account, Membership, Token, TokenText};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::ident::{AccountId, Email};
use crate::ports::{Change, Commit, CommitOutcome, Versioned};

/// Log-ins an account has at a time; the oldest end first. Keeps scripts that log in anew every time from filling
/// the database.
pub(super) const MAX_LOG_INS: usize = 100;
/// How often a write is tried again when somebody else changed the same records.
const ATTEMPTS: usize = 5;

/// A log-in that worked.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who logged in.
    pub account: Account,
    /// The token's record.
    pub token: Token,
    /// The token itself; shown once.
    pub text: TokenText,
}

/// What one may know about oneself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The account.
    pub account: Account,
    /// Its roles.
    pub memberships: Vec<Membership>,
    /// The token it came with.
    pub token: Token,
}

/// Logs a person in.
pub async fn login(
    app: &App,
    peer: Option<IpAddr>,
    email: &str,
    password: Password,
    otp: Option<&str>,
    description: &str,
) -> Result<Session, Refusal> {
    let account = check_password(app, peer, email, password, otp).await?;
    begin_session(app, account, description, None).await
}

/// The log-in of somebody who has proved who they are; `issuer` is the provider that says so, if one does.
pub(super) async fn begin_session(
    app: &App,
    account: Account,
    description: &str,
    issuer: Option<&str>,
) -> Result<Session, Refusal> {
    let (mut token, text) = fresh(app, &account.id, description, LOGIN_LIFE);
    token.person = true;
    let mut event = event(app, &account.id, "login", account.id.as_str());
    event.detail.insert("token".to_owned(), token.id.clone().into());
    if let Some(issuer) = issuer {
        event.detail.insert("provider".to_owned(), issuer.into());
    }
    log_in_with(app, &account, &token, event, MAX_LOG_INS, |other| other.person).await?;
    Ok(Session { account, token, text })
}

/// The account that has this password, if it may log in. Ten failures for one name from one address lock that pair for
/// 15 minutes. An unknown name costs as much time as a wrong password, and both answer alike. Where the account has a
/// second factor, `otp` has to be a code of it.
pub(super) async fn check_password(
    app: &App,
    peer: Option<IpAddr>,
    email: &str,
    password: Password,
    otp: Option<&str>,
) -> Result<Account, Refusal> {
    let email = Email::normal(email).ok();
    let found = match &email {
        Some(email) => {
            app.storage
                .find_unique::<Account>("email", email.as_str())
                .await?
        }
        None => None,
    };
    let account = found
        .map(|found| found.record)
        .filter(|account| !account.disabled);
    let name = email.as_ref().map_or("", Email::as_str);
    let hash = account.as_ref().and_then(|account| account.password.clone());
    let right = verify(app, peer, name, password, hash).await?;
    let (Some(account), true) = (account, right) else {
        return Err(wrong());
    };
    second_factor::check(app, &account, otp).await?;
    Ok(account)
}

/// Whether somebody knows the password of an account, within the same limits on guessing.
pub(super) async fn prove(
    app: &App,
    peer: Option<IpAddr>,
    account: &Account,
    password: Password,
) -> Result<(), Refusal> {
    let hash = account.password.clone();
    if verify(app, peer, account.email.as_str(), password, hash).await? {
        return Ok(());
    }
    Err(Refusal::invalid(
        "invalid-credentials",
        "cannot do this: the password of the account is another one",
    ))
}

/// What answers a wrong name and a wrong password alike.
pub(super) fn wrong() -> Refusal {
    Refusal::new(
        Reason::Unauthenticated,
        "invalid-credentials",
        "cannot log in: the e-mail address or the password is wrong",
    )
}

/// Ends the token the caller came with.
pub async fn logout(app: &App, ctx: &OwnCtx) -> Result<(), Refusal> {
    super::tokens::revoke(app, ctx, &ctx.token().id).await
}

/// Who the caller is.
pub async fn whoami(app: &App, ctx: &OwnCtx) -> Result<Identity, Refusal> {
    let account = own_account(app, ctx).await?.record;
    let memberships = ctx.memberships(app).await?;
    Ok(Identity {
        account,
        memberships,
        token: ctx.token().clone(),
    })
}

/// Changes the caller's own password, which has to be given once more. Other log-ins of the account end, those of
/// publisher clients too; tokens made for programs stay.
pub async fn change_password(
    app: &App,
    ctx: &OwnCtx,
    peer: Option<IpAddr>,
    current: Password,
    new: Password,
) -> Result<(), Refusal> {
    let account = own_account(app, ctx).await?.record;
    if !verify(app, peer, account.email.as_str(), current, account.password).await? {
        return Err(Refusal::invalid(
            "invalid-credentials",
            "cannot change the password: the present one is wrong",
        ));
    }
    let hash = app.guard.passwords.hash(new, app.entropy.as_ref()).await?;
    let event = ctx.event(app.clock.now(), "account.password", account.id.as_str());
    let ends = Ends::LogIns {
        but: Some(&ctx.token().id),
    };
    set_password(app, &account.id, &hash, ends, event, |_| true)
        .await?
        .map(|_| ())
        .ok_or_else(App::changed_meanwhile)
}

/// Sets somebody's password, for who owns the data directory. All log-ins of the account end. Who is handed the password
/// is who the e-mail address belongs to, so that the address is proven.
pub async fn reset_password(
    app: &App,
    ctx: &InstanceCtx,
    email: &Email,
    new: Password,
) -> Result<Account, Refusal> {
    let account = super::accounts::by_email(app, email).await?.record;
    let hash = app.guard.passwords.hash(new, app.entropy.as_ref()).await?;
    let event = ctx.event(app.clock.now(), "account.password", account.id.as_str());
    set_password(app, &account.id, &hash, Ends::LogIns { but: None }, event, |_| {
        true
    })
    .await?
    .ok_or_else(App::changed_meanwhile)
}

/// What ends with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends<'a> {
    /// Log-ins of the person, but for the token with this id.
    LogIns { but: Option<&'a str> },
    /// All tokens: log-ins, and those for programs and publisher clients.
    All,
}

impl Ends<'_> {
    fn concerns(self, token: &Token) -> bool {
        match self {
            Self::LogIns { but } => token.is_log_in() && but != Some(token.id.as_str()),
            Self::All => true,
        }
    }
}

/// Sets the password of an account, if it is `still` as it should be; none if it is not, or is gone. A link for another
/// password is void then.
pub(super) async fn set_password(
    app: &App,
    account: &AccountId,
    hash: &str,
    ends: Ends<'_>,
    event: AuditEvent,
    still: impl Fn(&Account) -> bool,
) -> Result<Option<Account>, Refusal> {
    for _ in 0..ATTEMPTS {
        let found = app.storage.find::<Account>([account.as_str()]).await?;
        let Some(Versioned { mut record, version }) = found else {
            return Ok(None);
        };
        if !still(&record) {
            return Ok(None);
        }
        // Others than the account's holder set it for the owner of the address, or its owner by a link.
        let taken_over = !matches!(ends, Ends::LogIns { but: Some(_) }) && record.prove();
        record.password = Some(hash.to_owned());
        record.reset = None;
        let mut records = vec![Change::replace(&record, version)];
        for token in of_account(app, account).await? {
            if taken_over || ends.concerns(&token.record) {
                records.push(Change::delete(&token.record, token.version));
            }
        }
        match app
            .storage
            .commit(Commit {
                records,
                audit: vec![event.clone()],
                ..Commit::default()
            })
            .await?
        {
            CommitOutcome::Conflict { .. } => {}
            other @ (CommitOutcome::Done
            | CommitOutcome::Taken { .. }
            | CommitOutcome::OldRevision { .. }) => {
                return App::settle(&other).map(|()| Some(record));
            }
        }
    }
    Err(App::changed_meanwhile())
}

/// Checks a password within the limits on guessing.
async fn verify(
    app: &App,
    peer: Option<IpAddr>,
    name: &str,
    password: Password,
    hash: Option<String>,
) -> Result<bool, Refusal> {
    let logins = &app.guard.logins;
    let unlocked = || match logins.locked_for(name, peer, app.clock.now()) {
        None => Ok(()),
        Some(seconds) => Err(Refusal::new(
            Reason::Locked,
            "too-many-failures",
            format!(
                "cannot log in: too many failures; try again in {} minutes",
                seconds.max(1).saturating_add(59).div_euclid(60)
            ),
        )
        .after(seconds)),
    };
    unlocked()?;
    let count = {
        let (app, name) = (app.clone(), name.to_owned());
        move |right: bool| {
            let logins = &app.guard.logins;
            if right {
                logins.succeeded(&name, peer);
            }
            (right, !right && logins.failed(&name, peer, app.clock.now()))
        }
    };
    let checked = app
        .guard
        .passwords
        .verify(password, hash, unlocked, count)
        .await?;
    let (right, locks) = checked;
    if locks {
        let mut event = AuditEvent {
            time: app.clock.now(),
            actor: Actor::System,
            brand: None,
            action: "login.locked".to_owned(),
            subject: name.to_owned(),
            detail: serde_json::Map::new(),
        };
        event
            .detail
            .insert("peer".to_owned(), peer.map(|peer| peer.to_string()).into());
        app.commit(Commit {
            audit: vec![event],
            ..Commit::default()
        })
        .await?;
    }
    Ok(right)
}

pub(super) async fn own_account(app: &App, ctx: &OwnCtx) -> Result<Versioned<Account>, Refusal> {
    let gone = || Refusal::not_found("cannot find your account: it is gone");
    app.storage.find([ctx.account().as_str()]).await?.ok_or_else(gone)
}

pub(super) fn event(app: &App, account: &AccountId, action: &str, subject: &str) -> AuditEvent {
    AuditEvent {
        time: app.clock.now(),
        actor: Actor::Account(account.clone()),
        brand: None,
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: serde_json::Map::new(),
    }
}
