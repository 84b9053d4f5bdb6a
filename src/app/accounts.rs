//! Accounts: people who can log in.

use super::invites::Newcomer;
use super::tokens::of_account;
use super::{App, InstanceCtx, OwnCtx, Password, Refusal, catalog, members};
use crate::domain::access::secret::random_letters;
use crate::domain::access::{Account, Membership};
use crate::domain::ident::{AccountId, BrandId, Email, StoreId, Username};
use crate::ports::{Change, Commit, CommitOutcome, Key, Versioned};

/// Longest display name, in characters.
const MAX_NAME: usize = 128;
/// How many made-up usernames are tried, and how often a change is when the account changed at the same time.
const ATTEMPTS: usize = 8;

/// An account somebody shall have.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// What they log in with.
    pub email: Email,
    /// Public name; none = made from the e-mail address.
    pub username: Option<Username>,
    /// For people; none = the username.
    pub display_name: Option<String>,
    /// Their first password; none = one is made.
    pub password: Option<Password>,
    /// Whether they are an instance operator.
    pub operator: bool,
}

/// Makes an account. A password that was made here is in the answer and nowhere else.
pub async fn create(
    app: &App,
    ctx: &InstanceCtx,
    new: NewAccount,
) -> Result<(Account, Option<Password>), Refusal> {
    check_display_name(new.display_name.as_deref())?;
    let made = new
        .password
        .is_none()
        .then(|| Password::generate(app.entropy.as_ref()));
    let password = new.password.or_else(|| made.clone());
    let hash = match password {
        Some(password) => Some(app.guard.passwords.hash(password, app.entropy.as_ref()).await?),
        None => None,
    };
    for attempt in 0..ATTEMPTS {
        let username = match &new.username {
            Some(username) => username.clone(),
            None => made_up_username(app, &new.email, attempt)?,
        };
        let account = Account {
            id: random_id(app)?,
            email: new.email.clone(),
            display_name: new.display_name.clone().unwrap_or_else(|| username.to_string()),
            username,
            password: hash.clone(),
            unproven: false,
            operator: new.operator,
            second_factor: None,
            provider: None,
            reset: None,
            disabled: false,
            created: app.clock.now(),
        };
        let mut event = ctx.event(account.created, "account.create", account.id.as_str());
        event
            .detail
            .insert("email".to_owned(), account.email.as_str().into());
        event
            .detail
            .insert("operator".to_owned(), account.operator.into());
        let records = vec![Change::create(&account)];
        match app
            .storage
            .commit(Commit {
                records,
                audit: vec![event],
                ..Commit::default()
            })
            .await?
        {
            CommitOutcome::Taken {
                field: "username", ..
            } if new.username.is_none() => {}
            other => return App::settle(&other).map(|()| (account, made)),
        }
    }
    Err(Refusal::conflict(
        "username-taken",
        "cannot make up a username that is free: choose one",
    ))
}

fn check_display_name(name: Option<&str>) -> Result<(), Refusal> {
    let Some(name) = name else { return Ok(()) };
    if name.trim().is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        let message = format!(
            "cannot use this display name: it needs 1 to {MAX_NAME} characters, no control characters"
        );
        return Err(Refusal::invalid("invalid-display-name", message));
    }
    Ok(())
}

/// The account of somebody who accepts an invite; to be stored with what they are invited to. Who sent the invite may
/// have accepted it too, so the address is not proven by that.
pub(super) fn invited(
    app: &App,
    email: &Email,
    newcomer: &Newcomer,
    password: String,
) -> Result<Account, Refusal> {
    check_display_name(newcomer.display_name.as_deref())?;
    let username = match &newcomer.username {
        Some(username) => username.clone(),
        None => free_username(app, email)?,
    };
    Ok(Account {
        id: random_id(app)?,
        email: email.clone(),
        display_name: newcomer
            .display_name
            .clone()
            .unwrap_or_else(|| username.to_string()),
        username,
        password: Some(password),
        unproven: true,
        operator: false,
        second_factor: None,
        provider: None,
        reset: None,
        disabled: false,
        created: app.clock.now(),
    })
}

/// A username made from the e-mail address, with a number so that it is likely to be free.
fn free_username(app: &App, email: &Email) -> Result<Username, Refusal> {
    made_up_username(app, email, 1)
}

/// Changes the caller's own public name. The account assertion that devices know a publisher by follows.
///
/// # Errors
/// `username-taken`.
pub async fn rename(app: &App, ctx: &OwnCtx, username: Username) -> Result<Account, Refusal> {
    let Versioned { mut record, version } = app
        .storage
        .find::<Account>([ctx.account().as_str()])
        .await?
        .ok_or_else(|| Refusal::not_found("cannot find your account"))?;
    if record.username == username {
        return Ok(record);
    }
    let mut event = ctx.event(app.clock.now(), "account.rename", record.id.as_str());
    event
        .detail
        .insert("username-before".to_owned(), record.username.as_str().into());
    event
        .detail
        .insert("username".to_owned(), username.as_str().into());
    record.username = username;
    let mut commit = Commit {
        records: vec![Change::replace(&record, version)],
        audit: vec![event],
        ..Commit::default()
    };
    let changed = catalog::renamed(app, ctx, &record, &mut commit).await?;
    App::settle(&catalog::apply(app, commit, &changed).await?)?;
    Ok(record)
}

/// All accounts, by e-mail address.
pub async fn list(app: &App, _ctx: &InstanceCtx) -> Result<Vec<Account>, Refusal> {
    let all = app.storage.all::<Account>(Key(Vec::new())).await?;
    let mut accounts: Vec<Account> = all.into_iter().map(|found| found.record).collect();
    accounts.sort_by(|a, b| a.email.cmp(&b.email));
    Ok(accounts)
}

/// One account.
pub async fn show(app: &App, _ctx: &InstanceCtx, email: &Email) -> Result<Account, Refusal> {
    Ok(by_email(app, email).await?.record)
}

/// Whether an account may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Enabled,
    /// It may not, and its tokens are revoked.
    Disabled,
}

/// Switches an account on or off. Off, its tokens are revoked: on again, it begins with a log-in. Nobody switches
/// themselves off, so an operator always remains; nor is the last administrator of a base store switched off.
///
/// # Errors
/// `own-account`, `last-administrator`; `changed-meanwhile` if others keep changing these at the same time.
pub async fn set_standing(
    app: &App,
    ctx: &InstanceCtx,
    email: &Email,
    standing: Standing,
) -> Result<Account, Refusal> {
    for _ in 0..ATTEMPTS {
        let Versioned { mut record, version } = by_email(app, email).await?;
        let disabled = standing == Standing::Disabled;
        if record.disabled == disabled {
            return Ok(record);
        }
        let mut records = Vec::new();
        if let Some(actor) = ctx.account() {
            if *actor == record.id {
                return Err(Refusal::conflict(
                    "own-account",
                    "cannot disable your own account: another operator must do it",
                ));
            }
            // The actor's own record takes part, so that two operators cannot disable each other at the same time.
            if let Some(own) = app.storage.find::<Account>([actor.as_str()]).await?
                && !own.record.disabled
            {
                records.push(Change::replace(&own.record, own.version));
            } else {
                return Err(App::changed_meanwhile());
            }
        }
        record.disabled = disabled;
        if disabled {
            record.reset = None;
            for token in of_account(app, &record.id).await? {
                records.push(Change::delete(&token.record, token.version));
            }
            records.extend(members::left_without(app, &record).await?);
        }
        records.push(Change::replace(&record, version));
        let action = if disabled {
            "account.disable"
        } else {
            "account.enable"
        };
        let commit = Commit {
            records,
            audit: vec![ctx.event(app.clock.now(), action, record.id.as_str())],
            ..Commit::default()
        };
        match app.storage.commit(commit).await? {
            // They logged in at this moment, or a token ended by itself.
            CommitOutcome::Conflict { .. } => {}
            outcome => return App::settle(&outcome).map(|()| record),
        }
    }
    Err(App::changed_meanwhile())
}

/// The account with this e-mail address.
pub(super) async fn by_email(app: &App, email: &Email) -> Result<Versioned<Account>, Refusal> {
    app.storage
        .find_unique::<Account>("email", email.as_str())
        .await?
        .ok_or_else(|| absent(email))
}

/// The account with this e-mail address, as far as a store may know of it: where nobody has shown that the address is
/// theirs, members only.
pub(super) async fn known_in(
    app: &App,
    brand: &BrandId,
    store: &StoreId,
    email: &Email,
) -> Result<Versioned<Account>, Refusal> {
    let found = by_email(app, email).await?;
    if found.record.unproven {
        let key = [brand.as_str(), store.as_str(), found.record.id.as_str()];
        let member = app.storage.find::<Membership>(key).await?;
        member.ok_or_else(|| absent(email))?;
    }
    Ok(found)
}

/// The account with this e-mail address, if it is proven, for who names somebody to a brand that has no members yet.
pub(super) async fn proven(app: &App, email: &Email) -> Result<Versioned<Account>, Refusal> {
    let found = by_email(app, email).await?;
    if found.record.unproven {
        return Err(absent(email));
    }
    Ok(found)
}

fn absent(email: &Email) -> Refusal {
    Refusal::not_found(format!("cannot find account {email}: there is none"))
}

/// An account id nobody has: 32 random letters and digits.
pub(super) fn random_id(app: &App) -> Result<AccountId, Refusal> {
    Ok(random_letters(32, |buffer| app.entropy.fill(buffer)).parse()?)
}

/// From `Jo.Doe+x@example`: `jo-doe-x`; later attempts add a number.
pub(super) fn made_up_username(app: &App, email: &Email, attempt: usize) -> Result<Username, Refusal> {
    let local = email.as_str().split('@').next().unwrap_or_default();
    let plain = |c: char| {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            c
        } else {
            '-'
        }
    };
    let words: String = local.chars().map(plain).take(20).collect();
    let mut name = words.trim_matches('-').to_owned();
    if name.len() < 2 {
        name.push_str("user");
    }
    if attempt > 0 {
        let mut random = [0u8; 4];
        app.entropy.fill(&mut random);
        name = format!("{name}-{}", u32::from_le_bytes(random) % 1_000_000);
    }
    Ok(name.parse()?)
}
