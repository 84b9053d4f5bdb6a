//! The second factor: codes of an authenticator application (TOTP, RFC 6238) on top of the password, and recovery codes
//! for who has lost it. Demanded at every log-in with a password once it is confirmed.

use aws_lc_rs::digest;
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use super::tokens::of_account;
use super::{App, InstanceCtx, OwnCtx, Reason, Refusal, accounts};
use crate::domain::access::secret::random_letters;
use crate::domain::access::{Account, SecondFactor};
use crate::domain::audit::{Actor, AuditEvent, hex};
use crate::domain::ident::{AccountId, Email};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, SealLabel, Versioned};

/// Length of the shared secret, in bytes: what RFC 4226 recommends.
const SECRET: usize = 20;
/// Recovery codes one gets at a time.
const RECOVERY_CODES: usize = 10;
/// Letters of a recovery code: 71 bits.
const RECOVERY_LENGTH: usize = 12;
/// How often a change is tried again when somebody changed the account at the same time.
const ATTEMPTS: usize = 5;

/// What goes into an authenticator application; shown once.
#[derive(Clone)]
pub struct Enrolment {
    /// The shared secret in base 32.
    pub secret: Zeroizing<String>,
    /// The same as `otpauth://` URL.
    pub url: Zeroizing<String>,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolment(…)")
    }
}

/// Whether somebody has a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Since when; none = not, or not confirmed.
    pub since: Option<Timestamp>,
    /// Recovery codes that are left.
    pub recovery_codes: usize,
}

/// Begins: the secret for the application. Nothing is demanded before [`confirm`]; begun again, the last secret counts.
///
/// # Errors
/// `second-factor-exists`.
pub async fn enrol(app: &App, ctx: &OwnCtx) -> Result<Enrolment, Refusal> {
    let mut secret = Zeroizing::new([0u8; SECRET]);
    app.entropy.fill(secret.as_mut());
    let account = change(app, ctx.account(), |account| {
        if account
            .second_factor
            .as_ref()
            .is_some_and(|factor| factor.confirmed)
        {
            return Err(Refusal::conflict(
                "second-factor-exists",
                "cannot enrol a second factor: you have one; disable it first",
            ));
        }
        account.second_factor = Some(SecondFactor {
            sealed: seal(app, &account.id, secret.as_ref())?,
            confirmed: false,
            last_step: 0,
            recovery: Vec::new(),
            since: app.clock.now(),
        });
        let event = ctx.event(
            app.clock.now(),
            "account.second-factor.enrol",
            account.id.as_str(),
        );
        Ok(event)
    })
    .await?;
    let totp = totp(secret.as_ref(), Some(&account))?;
    let url = totp.to_url().map_err(trouble)?;
    Ok(Enrolment {
        secret: Zeroizing::new(totp.secret().to_base32()),
        url: Zeroizing::new(url),
    })
}

/// Proves that the application has the secret. From now on log-ins demand a code; the account's other log-ins end,
/// those of publisher clients too: they were made with the password alone. The answer is the recovery codes, each good for one log-in; shown once.
///
/// # Errors
/// `no-second-factor`, `second-factor-exists`, `invalid-otp`, `too-many-failures`.
pub async fn confirm(app: &App, ctx: &OwnCtx, code: &str) -> Result<Vec<Zeroizing<String>>, Refusal> {
    let codes: Vec<Zeroizing<String>> = (0..RECOVERY_CODES)
        .map(|_| random_letters(RECOVERY_LENGTH, |buffer| app.entropy.fill(buffer)))
        .collect();
    guess(app, ctx.account())?;
    let own = Some(ctx.token().id.as_str());
    change_and_end(app, ctx.account(), own, |account| {
        let id = account.id.clone();
        let factor = account.second_factor.as_mut().ok_or_else(absent)?;
        if factor.confirmed {
            return Err(Refusal::conflict(
                "second-factor-exists",
                "cannot confirm the second factor: it is confirmed already",
            ));
        }
        factor.last_step = step(app, &id, factor, code)?.ok_or_else(wrong)?;
        factor.confirmed = true;
        factor.recovery = codes.iter().map(|code| hash(code)).collect();
        factor.since = app.clock.now();
        let event = ctx.event(app.clock.now(), "account.second-factor.confirm", id.as_str());
        Ok(event)
    })
    .await
    .map_err(in_request)?;
    forgive(app, ctx.account());
    Ok(codes)
}

/// Takes the second factor away, for who has it: a code of the application or a recovery code is the proof.
///
/// # Errors
/// `no-second-factor`, `invalid-otp`, `too-many-failures`.
pub async fn disable(app: &App, ctx: &OwnCtx, code: &str) -> Result<(), Refusal> {
    guess(app, ctx.account())?;
    change(app, ctx.account(), |account| {
        let id = account.id.clone();
        let factor = account.second_factor.as_mut().ok_or_else(absent)?;
        if factor.confirmed {
            spend(app, &id, factor, code)?;
        }
        account.second_factor = None;
        let event = ctx.event(app.clock.now(), "account.second-factor.disable", id.as_str());
        Ok(event)
    })
    .await
    .map_err(in_request)?;
    forgive(app, ctx.account());
    Ok(())
}

/// Takes somebody's second factor away, for the operator: they lost the application and the recovery codes.
///
/// # Errors
/// `no-second-factor`.
pub async fn remove(app: &App, ctx: &InstanceCtx, email: &Email) -> Result<Account, Refusal> {
    let id = accounts::by_email(app, email).await?.record.id;
    change(app, &id, |account| {
        account.second_factor.take().ok_or_else(absent)?;
        let event = ctx.event(
            app.clock.now(),
            "account.second-factor.remove",
            account.id.as_str(),
        );
        Ok(event)
    })
    .await
}

/// Whether the caller has one.
pub async fn show(app: &App, ctx: &OwnCtx) -> Result<Standing, Refusal> {
    let account = read(app, ctx.account()).await?.record;
    let factor = account.second_factor.filter(|factor| factor.confirmed);
    Ok(Standing {
        since: factor.as_ref().map(|factor| factor.since),
        recovery_codes: factor.map_or(0, |factor| factor.recovery.len()),
    })
}

/// The second half of a log-in, after the right password: nothing where the account has no second factor; else `code`
/// has to be one that was not used before.
///
/// # Errors
/// `twofactor-required` without a code, `invalid-otp`, `too-many-failures`.
pub(super) async fn check(app: &App, account: &Account, code: Option<&str>) -> Result<(), Refusal> {
    if !account.has_second_factor() {
        return Ok(());
    }
    let code = code
        .map(str::trim)
        .filter(|code| !code.is_empty())
        .ok_or_else(|| {
            Refusal::new(
                Reason::Unauthenticated,
                "twofactor-required",
                "cannot log in: a code of your authenticator application, or a recovery code, is needed too",
            )
        })?;
    guess(app, &account.id)?;
    change(app, &account.id, |account| {
        let id = account.id.clone();
        // It was taken away meanwhile.
        let Some(factor) = account.second_factor.as_mut().filter(|factor| factor.confirmed) else {
            return Err(wrong());
        };
        let recovered = spend(app, &id, factor, code)?;
        let left = factor.recovery.len();
        let action = if recovered {
            "login.recovery-code"
        } else {
            "login.code"
        };
        let mut event = AuditEvent {
            time: app.clock.now(),
            actor: Actor::Account(id.clone()),
            brand: None,
            action: action.to_owned(),
            subject: id.to_string(),
            detail: serde_json::Map::new(),
        };
        if recovered {
            event.detail.insert("left".to_owned(), left.into());
        }
        Ok(event)
    })
    .await?;
    forgive(app, &account.id);
    Ok(())
}

/// Uses up a code of the application, or a recovery code (then true).
fn spend(app: &App, id: &AccountId, factor: &mut SecondFactor, code: &str) -> Result<bool, Refusal> {
    let code: String = code.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    if let Some(step) = step(app, id, factor, &code)? {
        if step <= factor.last_step {
            return Err(wrong());
        }
        factor.last_step = step;
        return Ok(false);
    }
    let hash = hash(&code);
    let before = factor.recovery.len();
    factor.recovery.retain(|known| *known != hash);
    if factor.recovery.len() == before {
        Err(wrong())
    } else {
        Ok(true)
    }
}

/// The time step whose code this is, one step early or late included.
fn step(app: &App, id: &AccountId, factor: &SecondFactor, code: &str) -> Result<Option<u64>, Refusal> {
    let secret = app.seal.open(&label(id), &factor.sealed).map_err(|error| {
        tracing::error!(%error, account = %id, "cannot open a second factor");
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot check the code: internal error",
        )
    })?;
    let now = u64::try_from(app.clock.now().unix()).unwrap_or_default();
    Ok(totp(&secret, None)?.check(code, now))
}

/// As every authenticator application has it: SHA-1, six digits, 30 seconds; one step early or late is let pass.
fn totp(secret: &[u8], account: Option<&Account>) -> Result<Totp, Refusal> {
    let mut builder = Builder::new().with_secret(secret.to_vec()).with_skew(1);
    if let Some(account) = account {
        // A colon would end the name.
        let name = account.email.as_str().replace(':', "_");
        builder = builder.with_account_name(name).with_issuer(Some("hallmark"));
    }
    builder.build().map_err(trouble)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn trouble(error: totp_rs::TotpError) -> Refusal {
    tracing::error!(%error, "cannot use a second factor");
    Refusal::new(
        Reason::Internal,
        "internal-error",
        "cannot use the second factor: internal error",
    )
}

fn seal(app: &App, id: &AccountId, secret: &[u8]) -> Result<String, Refusal> {
    app.seal.seal(&label(id), secret).map_err(|error| {
        tracing::error!(%error, "cannot seal a second factor");
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot keep the second factor: internal error",
        )
    })
}

/// What binds the sealed secret to its account.
pub(super) fn label(id: &AccountId) -> SealLabel<'_> {
    SealLabel {
        kind: "second-factor",
        owner: id.as_str(),
        name: "totp",
    }
}

/// Counts a guess before it is looked at, so that guesses at the same time count too. Codes are short, and whoever
/// guesses them knows the password: ten in 15 minutes for the account, from wherever they come.
fn guess(app: &App, id: &AccountId) -> Result<(), Refusal> {
    let (logins, now) = (&app.guard.logins, app.clock.now());
    let name = counter(id);
    if let Some(seconds) = logins.locked_for(&name, None, now) {
        return Err(Refusal::new(
            Reason::Locked,
            "too-many-failures",
            "cannot check the code: too many failures; try again in 15 minutes",
        )
        .after(seconds));
    }
    logins.failed(&name, None, now);
    Ok(())
}

fn forgive(app: &App, id: &AccountId) {
    app.guard.logins.succeeded(&counter(id), None);
}

/// No e-mail address looks like this.
fn counter(id: &AccountId) -> String {
    format!("second factor of {id}")
}

fn hash(code: &str) -> String {
    hex(digest::digest(&digest::SHA256, code.as_bytes()).as_ref())
}

fn wrong() -> Refusal {
    Refusal::new(
        Reason::Unauthenticated,
        "invalid-otp",
        "cannot accept the code: it is wrong, too old, or was used before",
    )
}

/// A wrong code of somebody who is logged in says nothing about the log-in.
fn in_request(refusal: Refusal) -> Refusal {
    match refusal.code {
        "invalid-otp" => Refusal::invalid(refusal.code, refusal.message),
        _ => refusal,
    }
}

fn absent() -> Refusal {
    Refusal::not_found("cannot find a second factor: there is none; enrol one first")
}

async fn read(app: &App, id: &AccountId) -> Result<Versioned<Account>, Refusal> {
    let gone = || Refusal::not_found("cannot find the account: it is gone");
    app.storage.find([id.as_str()]).await?.ok_or_else(gone)
}

/// Changes an account in one step; again if somebody was faster.
async fn change(
    app: &App,
    id: &AccountId,
    act: impl FnMut(&mut Account) -> Result<AuditEvent, Refusal>,
) -> Result<Account, Refusal> {
    change_and_end(app, id, None, act).await
}

/// The same; with the id of a token, all other log-ins of the account end in that step.
async fn change_and_end(
    app: &App,
    id: &AccountId,
    but: Option<&str>,
    mut act: impl FnMut(&mut Account) -> Result<AuditEvent, Refusal>,
) -> Result<Account, Refusal> {
    for _ in 0..ATTEMPTS {
        let Versioned { mut record, version } = read(app, id).await?;
        let event = act(&mut record)?;
        let mut records = vec![Change::replace(&record, version)];
        if let Some(own) = but {
            // Read anew each time: one of them may have ended by itself.
            let others = of_account(app, id).await?;
            let others = others
                .iter()
                .filter(|found| found.record.is_log_in() && found.record.id != own);
            records.extend(others.map(|found| Change::delete(&found.record, found.version)));
        }
        let commit = Commit {
            records,
            audit: vec![event],
            ..Commit::default()
        };
        match app.storage.commit(commit).await? {
            CommitOutcome::Conflict { .. } => {}
            other @ (CommitOutcome::Done
            | CommitOutcome::Taken { .. }
            | CommitOutcome::OldRevision { .. }) => {
                return App::settle(&other).map(|()| record);
            }
        }
    }
    Err(App::changed_meanwhile())
}
