//! Invites into stores: who is invited becomes a member by accepting, and gets an account where they have none
//! (admin-api.md 1.4).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::json;
use zeroize::Zeroizing;

use super::mail::{self, Letter};
use super::members::{self, Assignment, Member};
use super::{App, Password, Refusal, StoreCtx, accounts, login};
use crate::domain::access::invite::INVITE_LIFE;
use crate::domain::access::{
    Account, InviteAction, InviteStatus, InviteText, Membership, Role, StoreInvite, StoreRecord,
};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::ident::{Email, Username};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Versioned};

/// Invites a store may have at a time. Of those that expired or were revoked, some go when there is no room for a new one.
pub const MAX_INVITES: usize = 10_000;
/// How often accepting is tried again because somebody changed the same records.
const ATTEMPTS: usize = 5;
/// The page on which invites are accepted.
pub const PAGE: &str = "/login/invite";

/// An invite that was sent, with the text that accepts it: handed on once, and kept as a hash.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The invite.
    pub invite: StoreInvite,
    /// What its receiver needs; none where it was taken back.
    pub secret: Option<InviteText>,
    /// The same was mailed to its receiver.
    pub mailed: bool,
}

impl Sent {
    /// Where its receiver accepts it.
    pub fn url(&self, app: &App) -> Option<Zeroizing<String>> {
        self.secret.as_ref().map(|secret| url(app, secret))
    }
}

fn url(app: &App, secret: &InviteText) -> Zeroizing<String> {
    let server = app.settings.public_url.trim_end_matches('/');
    Zeroizing::new(format!("{server}{PAGE}?text={}", secret.reveal()))
}

/// The invites of a store, by e-mail address. Accepted ones are no more.
pub async fn list(app: &App, ctx: &StoreCtx) -> Result<Vec<StoreInvite>, Refusal> {
    let all = app.storage.all::<StoreInvite>([ctx.store().id.as_str()]).await?;
    Ok(all.into_iter().map(|found| found.record).collect())
}

/// Invites people into the store: all of them or, if one cannot be, none. Who was invited before is invited anew with
/// these roles, and the text of before is void.
///
/// # Errors
/// `roles-required`, `already-member`, `duplicate-email`, `too-many-invites`.
pub async fn send(app: &App, ctx: &StoreCtx, wanted: &[Assignment]) -> Result<Vec<Sent>, Refusal> {
    distinct(wanted.iter().map(|one| &one.email))?;
    let store = ctx.store();
    let known = app.storage.all::<StoreInvite>([store.id.as_str()]).await?;
    let mut known: BTreeMap<Email, Versioned<StoreInvite>> = known
        .into_iter()
        .map(|found| (found.record.email.clone(), found))
        .collect();
    let now = app.clock.now();
    let mut commit = Commit {
        records: room(store, &known, wanted, now)?,
        ..Commit::default()
    };
    let mut sent = Vec::new();
    for one in wanted {
        check_roles(store, one)?;
        check_no_member(app, store, &one.email).await?;
        let old = known.remove(&one.email);
        let secret = InviteText::generate(|buffer| app.entropy.fill(buffer));
        let invite = StoreInvite {
            brand_id: store.brand_id.clone(),
            store_id: store.id.clone(),
            email: one.email.clone(),
            roles: one.roles.clone(),
            secret: secret.hash(),
            invited_by: ctx.account().cloned(),
            revoked: false,
            created: old.as_ref().map_or(now, |old| old.record.created),
            expires: now.plus_seconds(INVITE_LIFE),
        };
        commit.records.push(match old {
            Some(old) => Change::replace(&invite, old.version),
            None => Change::create(&invite),
        });
        commit.audit.push(event(app, ctx, "invite.send", &invite));
        let mailed = post(app, store, &invite, &secret, &mut commit)?;
        sent.push(Sent {
            invite,
            secret: Some(secret),
            mailed,
        });
    }
    if !commit.records.is_empty() {
        app.commit(commit).await?;
        mail::wake(app);
    }
    Ok(sent)
}

/// Puts a letter with what accepts an invite into the commit that makes it, where this server sends mail.
fn post(
    app: &App,
    store: &StoreRecord,
    invite: &StoreInvite,
    secret: &InviteText,
    commit: &mut Commit,
) -> Result<bool, Refusal> {
    if !mail::is_on(app) {
        return Ok(false);
    }
    let roles: Vec<&str> = invite.roles.iter().map(|role| role.label()).collect();
    let body = format!(
        "You are invited to the store {} ({}) at {}, as {}.\n\n\
         To accept, open this address until {}. It works once:\n\n{}\n\n\
         If you do not know what this is about, do nothing.\n",
        store.name,
        store.id,
        app.settings.public_url,
        roles.join(", "),
        invite.expires,
        *url(app, secret),
    );
    let letter = Letter {
        to: invite.email.clone(),
        subject: format!("Invite to the store {}", store.name),
        body: body.into(),
        until: invite.expires,
    };
    commit.records.push(mail::write(app, &letter)?);
    Ok(true)
}

/// What makes room for new invites where a store has as many as it may: invites go that cannot be accepted any more.
fn room(
    store: &StoreRecord,
    known: &BTreeMap<Email, Versioned<StoreInvite>>,
    wanted: &[Assignment],
    now: Timestamp,
) -> Result<Vec<Change>, Refusal> {
    let again: BTreeSet<&Email> = wanted.iter().map(|one| &one.email).collect();
    let new = again.iter().filter(|email| !known.contains_key(**email)).count();
    let over = (known.len() + new).saturating_sub(MAX_INVITES);
    let gone: Vec<Change> = known
        .iter()
        .filter(|(email, found)| !again.contains(email) && found.record.status(now) != InviteStatus::Pending)
        .take(over)
        .map(|(_, found)| Change::delete(&found.record, found.version))
        .collect();
    if gone.len() < over {
        return Err(Refusal::conflict(
            "too-many-invites",
            format!(
                "cannot invite more people: store {} has {MAX_INVITES} open invites at most; revoke some",
                store.id
            ),
        ));
    }
    Ok(gone)
}

/// Does things to invites of the store: all of them or, if one cannot be done, none.
///
/// # Errors
/// `invite-state` if an invite does not allow it; unknown ones are not found.
pub async fn act(app: &App, ctx: &StoreCtx, wanted: &[(Email, InviteAction)]) -> Result<Vec<Sent>, Refusal> {
    distinct(wanted.iter().map(|(email, _)| email))?;
    let store = ctx.store();
    let now = app.clock.now();
    let mut commit = Commit::default();
    let mut sent = Vec::new();
    for (email, action) in wanted {
        let found = app
            .storage
            .find::<StoreInvite>([store.id.as_str(), email.as_str()])
            .await?;
        let Versioned { mut record, version } = found.ok_or_else(|| {
            Refusal::not_found(format!(
                "cannot find an invite of {email} into store {}",
                store.id
            ))
        })?;
        record
            .act(*action, now)
            .map_err(|status| wrong_state(&record, *action, status))?;
        let secret = action
            .renews()
            .then(|| InviteText::generate(|buffer| app.entropy.fill(buffer)));
        if let Some(secret) = &secret {
            record.secret = secret.hash();
            record.invited_by = ctx.account().cloned();
        }
        commit.records.push(Change::replace(&record, version));
        let name = format!("invite.{}", action.name());
        commit.audit.push(event(app, ctx, &name, &record));
        let mailed = match &secret {
            Some(secret) => post(app, store, &record, secret, &mut commit)?,
            None => false,
        };
        sent.push(Sent {
            invite: record,
            secret,
            mailed,
        });
    }
    if !commit.records.is_empty() {
        app.commit(commit).await?;
        mail::wake(app);
    }
    Ok(sent)
}

fn wrong_state(invite: &StoreInvite, action: InviteAction, status: InviteStatus) -> Refusal {
    let instead = match status {
        InviteStatus::Pending => "it is pending; it can be sent again or revoked",
        InviteStatus::Expired => "it has expired; open it again",
        InviteStatus::Revoked => "it was revoked; open it again",
    };
    Refusal::conflict(
        "invite-state",
        format!(
            "cannot {} the invite of {}: {instead}",
            action.name(),
            invite.email
        ),
    )
}

fn distinct<'e>(emails: impl Iterator<Item = &'e Email>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for email in emails {
        if !seen.insert(email) {
            return Err(Refusal::invalid(
                "duplicate-email",
                format!("cannot do this: {email} is there twice"),
            ));
        }
        if seen.len() > members::MAX_CHANGES {
            return Err(Refusal::invalid(
                "too-many-invites",
                format!(
                    "cannot change more than {} invites at once: send them in parts",
                    members::MAX_CHANGES
                ),
            ));
        }
    }
    Ok(())
}

fn check_roles(store: &StoreRecord, wanted: &Assignment) -> Result<(), Refusal> {
    if wanted.roles.is_empty() || wanted.roles.contains(&Role::Brand) {
        return Err(Refusal::invalid(
            "roles-required",
            format!(
                "cannot invite {} into store {}: name roles; brand is granted to members only",
                wanted.email, store.id
            ),
        ));
    }
    Ok(())
}

async fn check_no_member(app: &App, store: &StoreRecord, email: &Email) -> Result<(), Refusal> {
    let Some(account) = account_of(app, email).await? else {
        return Ok(());
    };
    match membership_of(app, store, &account.record).await? {
        None => Ok(()),
        Some(_) => Err(Refusal::conflict(
            "already-member",
            format!(
                "cannot invite {email}: they are a member of store {}; change their roles",
                store.id
            ),
        )),
    }
}

async fn account_of(app: &App, email: &Email) -> Result<Option<Versioned<Account>>, Refusal> {
    Ok(app
        .storage
        .find_unique::<Account>("email", email.as_str())
        .await?)
}

async fn membership_of(
    app: &App,
    store: &StoreRecord,
    account: &Account,
) -> Result<Option<Versioned<Membership>>, Refusal> {
    let key = [store.brand_id.as_str(), store.id.as_str(), account.id.as_str()];
    Ok(app.storage.find::<Membership>(key).await?)
}

/// What an invite says to who holds its text.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The invite.
    pub invite: StoreInvite,
    /// The store it is into.
    pub store: StoreRecord,
    /// Whether its receiver has an account.
    pub known: bool,
    /// The password accepting takes.
    pub takes: Takes,
}

/// The password accepting an invite takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One for the account that accepting makes.
    New,
    /// That of the account: nobody has shown that its e-mail address is theirs, so who holds the text need not be who
    /// holds the account.
    Own,
    /// None.
    Nothing,
}

/// What is offered to who holds the text of an invite.
///
/// # Errors
/// Not found if it is unknown, was used or replaced, has expired or was taken back: all the same.
pub async fn preview(app: &App, text: &str) -> Result<Preview, Refusal> {
    let (invite, store) = pending(app, text).await?;
    let account = account_of(app, &invite.record.email).await?;
    let takes = match &account {
        None => Takes::New,
        Some(found) if must_prove(app, &store, &found.record).await? => Takes::Own,
        Some(_) => Takes::Nothing,
    };
    Ok(Preview {
        invite: invite.record,
        store,
        known: account.is_some(),
        takes,
    })
}

/// Whether accepting takes the password of an account that is there.
async fn must_prove(app: &App, store: &StoreRecord, account: &Account) -> Result<bool, Refusal> {
    Ok(account.unproven && membership_of(app, store, account).await?.is_none())
}

/// Somebody new, as far as they say who they are.
#[derive(Clone, Debug, Default)]
pub struct Newcomer {
    /// The password of the new account, or that of theirs where the invite takes it.
    pub password: Option<Password>,
    /// Public name; none = made from the e-mail address.
    pub username: Option<Username>,
    /// For people; none = the username.
    pub display_name: Option<String>,
}

/// Accepts an invite, once: the roles are added to those its receiver has in the store. Who has no account gets one.
///
/// # Errors
/// Those of [`preview`]; `password-required` without an account or with an unproven one, `account-exists` with another one
/// and a password; `brand-account`; what is wrong with the new account, or with the password.
pub async fn accept(
    app: &App,
    peer: Option<IpAddr>,
    text: &str,
    newcomer: Newcomer,
) -> Result<Member, Refusal> {
    let mut proved = None;
    let mut hashed = None;
    for _ in 0..ATTEMPTS {
        let (invite, store) = pending(app, text).await?;
        let now = app.clock.now();
        let email = &invite.record.email;
        let mut commit = Commit {
            records: vec![Change::delete(&invite.record, invite.version)],
            ..Commit::default()
        };
        let account = match account_of(app, email).await? {
            Some(found) if found.record.disabled => return Err(no_invite()),
            Some(found) if must_prove(app, &store, &found.record).await? => {
                if proved.as_ref() != Some(&found.record.id) {
                    login::prove(app, peer, &found.record, own_password(&newcomer, email)?).await?;
                    proved = Some(found.record.id.clone());
                }
                found.record
            }
            Some(found) => {
                if newcomer.password.is_some() && proved.is_none() {
                    return Err(Refusal::conflict(
                        "account-exists",
                        format!(
                            "cannot make an account: {email} has one; accept without a password and log in with theirs"
                        ),
                    ));
                }
                found.record
            }
            None => {
                let password = newcomer.password.clone().ok_or_else(|| {
                    Refusal::invalid(
                        "password-required",
                        format!(
                            "cannot accept the invite: {email} has no account yet; choose a password for it"
                        ),
                    )
                })?;
                let hash = match hashed.take() {
                    Some(hash) => hash,
                    None => app.guard.passwords.hash(password, app.entropy.as_ref()).await?,
                };
                hashed = Some(hash.clone());
                let account = accounts::invited(app, email, &newcomer, hash)?;
                commit.records.push(Change::create(&account));
                commit
                    .audit
                    .push(own_event(app, &account, &invite.record, "account.create"));
                account
            }
        };
        members::check_first(app, &store.brand_id, &account, &invite.record.roles).await?;
        let old = membership_of(app, &store, &account).await?;
        let mut roles = invite.record.roles.clone();
        roles.extend(old.iter().flat_map(|old| old.record.roles.iter().copied()));
        let membership = Membership {
            brand_id: store.brand_id.clone(),
            store_id: store.id.clone(),
            account_id: account.id.clone(),
            roles: roles.into_iter().collect(),
            changed: now,
        };
        commit.records.push(match old {
            Some(old) => Change::replace(&membership, old.version),
            None => Change::create(&membership),
        });
        commit
            .audit
            .push(own_event(app, &account, &invite.record, "invite.accept"));
        match app.storage.commit(commit).await? {
            CommitOutcome::Conflict { .. } => {}
            CommitOutcome::Taken {
                field: "username", ..
            } if newcomer.username.is_none() => {}
            outcome => {
                return App::settle(&outcome).map(|()| Member { account, membership });
            }
        }
    }
    Err(App::changed_meanwhile())
}

fn own_password(newcomer: &Newcomer, email: &Email) -> Result<Password, Refusal> {
    newcomer.password.clone().ok_or_else(|| {
        Refusal::invalid(
            "password-required",
            format!(
                "cannot accept the invite: nobody has shown yet that {email} is theirs; give the password of the account, \
                 or ask whoever runs this server for a new one"
            ),
        )
    })
}

fn no_invite() -> Refusal {
    Refusal::not_found(
        "cannot find the invite: it is unknown, was used, has expired or was taken back; ask for another one",
    )
}

async fn pending(app: &App, text: &str) -> Result<(Versioned<StoreInvite>, StoreRecord), Refusal> {
    let text = InviteText::parse(text).ok_or_else(no_invite)?;
    let invite = app
        .storage
        .find_unique::<StoreInvite>("secret", &text.hash())
        .await?
        .filter(|found| found.record.status(app.clock.now()) == InviteStatus::Pending)
        .ok_or_else(no_invite)?;
    let store = app
        .storage
        .find::<StoreRecord>([invite.record.store_id.as_str()])
        .await?
        .ok_or_else(no_invite)?;
    Ok((invite, store.record))
}

fn event(app: &App, ctx: &StoreCtx, action: &str, invite: &StoreInvite) -> AuditEvent {
    let subject = format!("{}/{}", invite.store_id, invite.email);
    let mut event = ctx.event(app.clock.now(), action, &subject);
    event.detail.insert("roles".to_owned(), json!(invite.roles));
    event
}

/// What somebody does by the text of an invite, without being logged in.
fn own_event(app: &App, account: &Account, invite: &StoreInvite, action: &str) -> AuditEvent {
    let mut detail = serde_json::Map::new();
    detail.insert("email".to_owned(), account.email.as_str().into());
    detail.insert("roles".to_owned(), json!(invite.roles));
    detail.insert("invited-by".to_owned(), json!(invite.invited_by));
    AuditEvent {
        time: app.clock.now(),
        actor: Actor::Account(account.id.clone()),
        brand: Some(invite.brand_id.clone().into()),
        action: action.to_owned(),
        subject: format!("{}/{}", invite.store_id, account.id),
        detail,
    }
}
