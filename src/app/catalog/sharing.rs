//! Asking others to help with a snap: they may upload and release it then, and nothing else in its brand.

use serde_json::json;
use zeroize::Zeroizing;

use super::changes::apply;
use super::no_snap;
use super::snaps::ATTEMPTS;
use crate::app::mail::{self, Letter};
use crate::app::{App, OwnCtx, Refusal, SnapCtx, accounts, vault_event};
use crate::domain::access::Account;
use crate::domain::audit::hex;
use crate::domain::catalog::{Changed, SHARE_LIFE, ShareAct, ShareInvite, SnapRecord};
use crate::domain::ident::{AccountId, Email};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Kind, Versioned};

/// Most people who may help with one snap, with those who are asked to. As many invites that are over are kept.
pub const MAX_COLLABORATORS: usize = 100;
/// Letters and digits of the token that accepts: 238 random bits.
const TOKEN: usize = 40;

/// The page on which invites are answered.
pub const PAGE: &str = "/account/snap-invite";

/// An invite that was sent, with the token that accepts it: handed on once, and kept as a hash.
#[derive(Debug)]
pub struct Asked {
    /// The invite.
    pub invite: ShareInvite,
    /// What its receiver needs.
    pub token: Zeroizing<String>,
    /// The same was mailed to its receiver.
    pub mailed: bool,
}

impl Asked {
    /// Where its receiver answers it.
    pub fn url(&self, app: &App) -> Zeroizing<String> {
        url(app, &self.token)
    }
}

fn url(app: &App, token: &str) -> Zeroizing<String> {
    let server = app.settings.public_url.trim_end_matches('/');
    Zeroizing::new(format!("{server}{PAGE}?text={token}"))
}

/// What an invite is about.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The invite.
    pub invite: ShareInvite,
    /// The snap.
    pub snap: SnapRecord,
    /// Public name of who asks.
    pub by: Option<String>,
}

/// Somebody who helps with a snap.
#[derive(Clone, Debug)]
pub struct Collaborator {
    /// Who.
    pub account: Account,
    /// Since when, and who asked them; none where an operator put them there.
    pub invite: Option<ShareInvite>,
}

/// Who publishes a snap, and who helps.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The publisher, where it is an account of this instance.
    pub publisher: Option<Account>,
    /// The others, by name.
    pub collaborators: Vec<Collaborator>,
}

/// Who helps with a snap.
///
/// # Errors
/// Not found for who only sees the snap in a store that shows it: people of the brand are no concern of theirs.
pub async fn list(app: &App, ctx: &SnapCtx) -> Result<Sharing, Refusal> {
    let snap = ctx.snap();
    if !ctx.takes_part() {
        return Err(no_snap(ctx.brand(), &snap.name));
    }
    let invites = invites(app, ctx).await?;
    let account = async |id: &AccountId| -> Result<Option<Account>, Refusal> {
        let found = app.storage.find::<Account>([id.as_str()]).await?;
        Ok(found.map(|found| found.record))
    };
    let mut collaborators = Vec::new();
    for id in &snap.collaborators {
        if let Some(account) = account(id).await? {
            let invite = invites
                .iter()
                .find(|invite| invite.done(ShareAct::Accept).is_some_and(|end| end.by == *id));
            collaborators.push(Collaborator {
                account,
                invite: invite.cloned(),
            });
        }
    }
    collaborators.sort_by(|one, other| one.account.username.cmp(&other.account.username));
    Ok(Sharing {
        publisher: account(&snap.publisher_id).await?,
        collaborators,
    })
}

/// All invites of a snap, whatever became of them.
///
/// # Errors
/// If the storage is out of reach.
pub async fn invites(app: &App, ctx: &SnapCtx) -> Result<Vec<ShareInvite>, Refusal> {
    let found = app.storage.all::<ShareInvite>([ctx.snap().id.as_str()]).await?;
    Ok(found.into_iter().map(|found| found.record).collect())
}

fn hash(token: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()).as_ref())
}

/// Asks these people; the invites in the same order. Who was asked before is asked anew, and the token of before is void.
///
/// # Errors
/// `too-many-collaborators`, `already-collaborator`.
pub async fn invite(app: &App, ctx: &SnapCtx, emails: &[Email]) -> Result<Vec<Asked>, Refusal> {
    let snap = ctx.snap();
    let now = app.clock.now();
    let (invited_by, _) = ctx
        .brand()
        .identity()
        .ok_or_else(|| Refusal::invalid("login-required", "cannot invite anybody without a log-in"))?;
    let mut known = app.storage.all::<ShareInvite>([snap.id.as_str()]).await?;
    let asked = known
        .iter()
        .filter(|found| found.record.is_open(now) && !emails.contains(&found.record.email));
    if emails.is_empty() || emails.len() + asked.count() + snap.collaborators.len() > MAX_COLLABORATORS {
        return Err(Refusal::invalid(
            "too-many-collaborators",
            format!(
                "cannot invite them: name 1 person or more, and at most {MAX_COLLABORATORS} in all who help or are asked to"
            ),
        ));
    }
    let mut commit = Commit::default();
    // Of those that are over the last ones are shown.
    known.retain(|found| {
        let invite = &found.record;
        let over = !invite.is_open(now) && invite.done(ShareAct::Accept).is_none();
        over && !emails.contains(&invite.email)
    });
    known.sort_by_key(|found| std::cmp::Reverse(found.record.created));
    let forgotten = known.iter().skip(MAX_COLLABORATORS);
    commit
        .records
        .extend(forgotten.map(|found| Change::delete(&found.record, found.version)));
    let mut asked = Vec::new();
    for (at, email) in emails.iter().enumerate() {
        if emails.iter().skip(at + 1).any(|other| other == email) {
            return Err(Refusal::invalid(
                "invalid-request",
                format!("cannot invite {email} twice at once"),
            ));
        }
        let known = account_of(app, email).await?;
        if known.is_some_and(|known| known == snap.publisher_id || snap.collaborators.contains(&known)) {
            return Err(Refusal::conflict(
                "already-collaborator",
                format!(
                    "cannot invite {email}: they publish or help with {} already",
                    snap.name
                ),
            ));
        }
        let token = crate::domain::access::secret::random_letters(TOKEN, |buffer| app.entropy.fill(buffer));
        let token = Zeroizing::new(token.to_string());
        let invite = ShareInvite {
            snap_id: snap.id.clone(),
            brand_id: snap.brand_id.clone(),
            email: email.clone(),
            secret: hash(&token),
            invited_by: invited_by.clone(),
            created: now,
            expires: now.plus_seconds(SHARE_LIFE),
            end: None,
        };
        let before = app
            .storage
            .find::<ShareInvite>([snap.id.as_str(), email.as_str()])
            .await?;
        commit.records.push(match before {
            Some(before) => Change::replace(&invite, before.version),
            None => Change::create(&invite),
        });
        let detail = json!({"snap-id": snap.id, "email": email});
        commit.audit.push(vault_event(
            app,
            ctx.brand(),
            "snap.invite",
            snap.name.as_str(),
            &detail,
        ));
        let mailed = post(app, snap, &invite, &token, &mut commit)?;
        asked.push(Asked {
            invite,
            token,
            mailed,
        });
    }
    app.commit(commit).await?;
    mail::wake(app);
    Ok(asked)
}

/// Puts a letter with the token into the commit that makes the invite, where this server sends mail.
fn post(
    app: &App,
    snap: &SnapRecord,
    invite: &ShareInvite,
    token: &str,
    commit: &mut Commit,
) -> Result<bool, Refusal> {
    if !mail::is_on(app) {
        return Ok(false);
    }
    let server = app.settings.public_url.trim_end_matches('/');
    let body = format!(
        "You are asked to help with the snap {} of {}, at {server}: to upload, release and edit it.\n\n\
         To accept or reject, open this address until {} and sign in as {}. It works once:\n\n{}\n\n\
         Or log in with a terminal and run `hallmark snap accept-invite FILE` with this token in a file:\n\n{token}\n\n\
         If you do not know what this is about, do nothing.\n",
        snap.name,
        snap.brand_id,
        invite.expires,
        invite.email,
        *url(app, token),
    );
    let letter = Letter {
        to: invite.email.clone(),
        subject: format!("Invite to help with the snap {}", snap.name),
        body: body.into(),
        until: invite.expires,
    };
    commit.records.push(mail::write(app, &letter)?);
    Ok(true)
}

async fn account_of(app: &App, email: &Email) -> Result<Option<AccountId>, Refusal> {
    match accounts::by_email(app, email).await {
        Ok(found) => Ok(Some(found.record.id)),
        Err(refusal) if refusal.reason == crate::app::Reason::NotFound => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Takes invites back; who accepted one helps no more.
///
/// # Errors
/// Not found, if one of them was not asked; `invite-over`.
pub async fn revoke(app: &App, ctx: &SnapCtx, emails: &[Email]) -> Result<(), Refusal> {
    let (by, _) = ctx
        .brand()
        .identity()
        .ok_or_else(|| Refusal::invalid("login-required", "cannot take invites back without a log-in"))?;
    for _ in 0..ATTEMPTS {
        let now = app.clock.now();
        let (mut snap, mut commit) = (read(app, ctx.snap()).await?, Commit::default());
        let before = snap.record.collaborators.len();
        for email in emails {
            let key = [snap.record.id.as_str(), email.as_str()];
            let found = app.storage.find::<ShareInvite>(key).await?.ok_or_else(|| {
                Refusal::not_found(format!(
                    "cannot find an invite of {email} for {}",
                    ctx.snap().name
                ))
            })?;
            let mut invite = found.record;
            if let Some(end) = invite.done(ShareAct::Accept) {
                snap.record.collaborators.remove(&end.by.clone());
            }
            over(&mut invite, ShareAct::Revoke, by, now)?;
            commit.records.push(Change::replace(&invite, found.version));
            let detail = json!({"snap-id": invite.snap_id, "email": email});
            let event = vault_event(
                app,
                ctx.brand(),
                "snap.invite-revoke",
                ctx.snap().name.as_str(),
                &detail,
            );
            commit.audit.push(event);
        }
        let changed = snap.record.collaborators.len() < before;
        if settle(app, snap, commit, changed).await? {
            return Ok(());
        }
    }
    Err(App::changed_meanwhile())
}

fn over(invite: &mut ShareInvite, how: ShareAct, by: &AccountId, now: Timestamp) -> Result<(), Refusal> {
    invite
        .act(how, by, now)
        .map_err(|why| Refusal::conflict("invite-over", format!("cannot do this to the invite: {why}")))
}

async fn read(app: &App, snap: &SnapRecord) -> Result<Versioned<SnapRecord>, Refusal> {
    let found = app.storage.find::<SnapRecord>([snap.id.as_str()]).await?;
    found.ok_or_else(|| Refusal::not_found("cannot find the snap: it is gone"))
}

/// Applies `commit`, with the snap where it changed; false if somebody was faster.
async fn settle(
    app: &App,
    snap: Versioned<SnapRecord>,
    mut commit: Commit,
    changed: bool,
) -> Result<bool, Refusal> {
    let outcome = if changed {
        commit.records.push(Change::replace(&snap.record, snap.version));
        apply(app, commit, &[Changed::Snap(snap.record.id)]).await?
    } else {
        app.storage.commit(commit).await?
    };
    match outcome {
        CommitOutcome::Conflict {
            kind: Kind::Snap | Kind::ShareInvite,
            ..
        } => Ok(false),
        outcome => App::settle(&outcome).map(|()| true),
    }
}

/// What is asked of the caller by the invite with this token. Looking at it spends nothing.
///
/// # Errors
/// Not found, unless the caller is who was asked; `invite-over`.
pub async fn preview(app: &App, ctx: &OwnCtx, token: &str) -> Result<Offer, Refusal> {
    let (found, snap) = asked(app, ctx, token).await?;
    let mut after = found.record.clone();
    over(&mut after, ShareAct::Accept, ctx.account(), app.clock.now())?;
    let by = app
        .storage
        .find::<Account>([found.record.invited_by.as_str()])
        .await?;
    Ok(Offer {
        invite: found.record,
        snap: snap.record,
        by: by.map(|by| by.record.username.to_string()),
    })
}

fn no_invite() -> Refusal {
    Refusal::not_found(
        "cannot find the invite: there is none with this token for this snap and your e-mail address",
    )
}

/// The invite with this token and its snap, where it asks the caller.
async fn asked(
    app: &App,
    ctx: &OwnCtx,
    token: &str,
) -> Result<(Versioned<ShareInvite>, Versioned<SnapRecord>), Refusal> {
    let invite = app
        .storage
        .find_unique::<ShareInvite>("secret", &hash(token.trim()))
        .await?
        .ok_or_else(no_invite)?;
    let account = app.storage.find::<Account>([ctx.account().as_str()]).await?;
    if account.is_none_or(|account| account.record.email != invite.record.email) {
        return Err(no_invite());
    }
    let snap = app
        .storage
        .find::<SnapRecord>([invite.record.snap_id.as_str()])
        .await?
        .ok_or_else(no_invite)?;
    Ok((invite, snap))
}

/// Answers an invite: the caller helps with the snap from now on, or does not. `name`, where given, must be its snap.
///
/// # Errors
/// Not found, unless the token is good and the caller is who was asked; `invite-over`, `too-many-collaborators`.
pub async fn answer(
    app: &App,
    ctx: &OwnCtx,
    name: Option<&str>,
    token: &str,
    accept: bool,
) -> Result<(ShareInvite, SnapRecord), Refusal> {
    for _ in 0..ATTEMPTS {
        let now = app.clock.now();
        let (found, mut snap) = asked(app, ctx, token).await?;
        let mut invite = found.record;
        if name.is_some_and(|name| name != snap.record.name.as_str()) {
            return Err(no_invite());
        }
        let (how, action) = if accept {
            (ShareAct::Accept, "snap.invite-accept")
        } else {
            (ShareAct::Reject, "snap.invite-reject")
        };
        over(&mut invite, how, ctx.account(), now)?;
        let mut event = ctx.event(now, action, snap.record.name.as_str());
        event.brand = Some(invite.brand_id.clone().into());
        event.detail.insert("snap-id".to_owned(), json!(invite.snap_id));
        let commit = Commit {
            records: vec![Change::replace(&invite, found.version)],
            audit: vec![event],
            ..Commit::default()
        };
        let changed = accept && snap.record.collaborators.insert(ctx.account().clone());
        if changed && snap.record.collaborators.len() > MAX_COLLABORATORS {
            return Err(Refusal::conflict(
                "too-many-collaborators",
                format!(
                    "cannot accept the invite: {MAX_COLLABORATORS} people help with {} already",
                    snap.record.name
                ),
            ));
        }
        let after = snap.record.clone();
        if settle(app, snap, commit, changed).await? {
            return Ok((invite, after));
        }
    }
    Err(App::changed_meanwhile())
}
