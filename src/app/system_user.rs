//! Issuing system-user assertions: log-ins on devices, given by a person (serial-vault.md 8).
//! That only a person may ask is judged with the permission, see [`crate::domain::access::Permission`].

use bytes::Bytes;
use serde_json::json;

use super::{App, BrandCtx, Refusal, brand_key, models, sign, vault_event};
use crate::domain::assertion::{Assertion, AssertionType, Headers, Ref, Statement, Value, encode_stream};
use crate::domain::ident::{KeyName, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::ports::{Commit, CommitOutcome, PutRule};

/// The key that signs system-users unless another is named; `init` makes it.
pub const DEFAULT_KEY: &str = "system-user";
/// Longest life of one, in seconds.
pub const MAX_LIFE: i64 = 365 * 24 * 3600;
const ACT: &str = "issue the system-user";
/// Attempts to take the next revision while others do the same.
const ATTEMPTS: usize = 8;

/// A user to be made on devices.
#[derive(Clone, Debug)]
pub struct NewSystemUser {
    /// The e-mail address; names the assertion together with the brand.
    pub email: String,
    /// For people.
    pub name: Option<String>,
    /// The user name on the device.
    pub username: String,
    /// A crypt(3) hash, `$6$salt$hash`; never a password in clear.
    pub password: Option<String>,
    /// Public SSH keys.
    pub ssh_keys: Vec<String>,
    /// Models whose devices take the user; at least one.
    pub models: Vec<ModelName>,
    /// Only these devices; needs exactly one model.
    pub serials: Vec<SerialNumber>,
    /// Start of validity; none = now.
    pub since: Option<Timestamp>,
    /// End of validity; none = [`MAX_LIFE`] after the start.
    pub until: Option<Timestamp>,
    /// The user must set another password at the first log-in.
    pub force_password_change: bool,
    /// The signing key; none = [`DEFAULT_KEY`].
    pub key: Option<KeyName>,
}

/// Issues a system-user and keeps it. The answer is a stream of account, account-key and system-user: the
/// `auto-import.assert` of a USB stick.
pub async fn issue(app: &App, ctx: &BrandCtx, new: NewSystemUser) -> Result<Bytes, Refusal> {
    check(app, ctx, &new).await?;
    let now = app.clock.now();
    let (since, until) = validity(&new, now)?;
    let brand = ctx.brand();
    let name = match new.key.clone() {
        Some(key) => key,
        None => DEFAULT_KEY
            .parse()
            .map_err(|e| Refusal::invalid("invalid-key", format!("{e}")))?,
    };
    // Refuses a key whose account-key or account is not known here: a device could not check the chain.
    let key = brand_key::read(&*app.storage, brand, &name)
        .await
        .map_err(|why| why.refusal(ACT))?;
    let reference = Ref::new(AssertionType::SystemUser, [brand.as_str(), new.email.as_str()]);
    for _ in 0..ATTEMPTS {
        let stored = app
            .storage
            .assertion(&reference, AssertionType::SystemUser.info().max_format)
            .await?;
        let revision = stored.map_or(0, |stored| stored.revision).saturating_add(1);
        let headers = headers(ctx, &new, since, until, revision);
        key.check(AssertionType::SystemUser, &headers, now)
            .map_err(|why| why.refusal(ACT))?;
        let statement = Statement::new(AssertionType::SystemUser, headers, Vec::new());
        statement
            .clone()
            .draft(&key.public)
            .map_err(|e| Refusal::invalid("invalid-system-user", format!("cannot {ACT}: {e}")))?;
        let assertion = sign::sign(app, &key.record, statement).await?;
        match keep(app, ctx, &new, (since, until), &assertion).await? {
            CommitOutcome::Done => return Ok(encode_stream([&key.chain, assertion.encoded()])),
            // Somebody else took this revision: take the next.
            CommitOutcome::OldRevision { .. }
            | CommitOutcome::Conflict { .. }
            | CommitOutcome::Taken { .. } => {}
        }
    }
    Err(Refusal::conflict(
        "changed-meanwhile",
        format!("cannot {ACT}: others are issuing the same one; try again"),
    ))
}

async fn check(app: &App, ctx: &BrandCtx, new: &NewSystemUser) -> Result<(), Refusal> {
    if new.password.as_deref().is_none_or(str::is_empty)
        && new.ssh_keys.iter().all(|key| key.trim().is_empty())
    {
        return Err(Refusal::invalid(
            "empty-credentials",
            format!("cannot {ACT}: give a password hash or an SSH key, else nobody could log in with it"),
        ));
    }
    if new
        .password
        .as_deref()
        .is_some_and(|hash| !hash.starts_with("$6$"))
    {
        return Err(Refusal::invalid(
            "invalid-password-hash",
            format!(
                "cannot {ACT}: the password must be a hash that begins with $6$ (`openssl passwd -6`), never the password itself"
            ),
        ));
    }
    if new.models.is_empty() {
        return Err(Refusal::invalid(
            "no-models",
            format!("cannot {ACT}: name the models whose devices take it"),
        ));
    }
    for model in &new.models {
        let reference = Ref::new(AssertionType::Model, ["16", ctx.brand().as_str(), model.as_str()]);
        let signed = app
            .storage
            .assertion(&reference, AssertionType::Model.info().max_format)
            .await?;
        if signed.is_none() {
            models::find(app, ctx, model).await?;
        }
    }
    Ok(())
}

fn validity(new: &NewSystemUser, now: Timestamp) -> Result<(Timestamp, Timestamp), Refusal> {
    let since = new.since.unwrap_or(now);
    let until = new.until.unwrap_or_else(|| since.plus_seconds(MAX_LIFE));
    let refuse = |why: &str| {
        Err(Refusal::invalid(
            "invalid-validity",
            format!("cannot {ACT}: {why}"),
        ))
    };
    if until <= since {
        return refuse("its validity ends before it begins");
    }
    if until <= now {
        return refuse("its validity has ended already");
    }
    if until.unix().saturating_sub(since.unix()) > MAX_LIFE {
        return refuse("it may be valid for 365 days at most");
    }
    if since.unix().saturating_sub(now.unix()) > MAX_LIFE {
        return refuse("its validity begins more than 365 days ahead");
    }
    Ok((since, until))
}

fn headers(
    ctx: &BrandCtx,
    new: &NewSystemUser,
    since: Timestamp,
    until: Timestamp,
    revision: u64,
) -> Headers {
    let list = |items: Vec<&str>| Value::List(items.into_iter().map(Value::from).collect());
    let mut headers = Headers::default();
    headers.set("authority-id", ctx.brand().as_str());
    headers.set("brand-id", ctx.brand().as_str());
    headers.set("revision", revision.to_string());
    headers.set("email", new.email.as_str());
    headers.set("username", new.username.as_str());
    headers.set("series", list(vec!["16"]));
    headers.set("models", list(new.models.iter().map(ModelName::as_str).collect()));
    headers.set("since", since.to_string());
    headers.set("until", until.to_string());
    if let Some(name) = &new.name {
        headers.set("name", name.as_str());
    }
    if let Some(password) = &new.password {
        headers.set("password", password.as_str());
    }
    if !new.ssh_keys.is_empty() {
        headers.set(
            "ssh-keys",
            list(new.ssh_keys.iter().map(String::as_str).collect()),
        );
    }
    if !new.serials.is_empty() {
        headers.set("format", "1");
        headers.set(
            "serials",
            list(new.serials.iter().map(SerialNumber::as_str).collect()),
        );
    }
    if new.force_password_change {
        headers.set("force-password-change", "true");
    }
    headers
}

async fn keep(
    app: &App,
    ctx: &BrandCtx,
    new: &NewSystemUser,
    (since, until): (Timestamp, Timestamp),
    assertion: &Assertion,
) -> Result<CommitOutcome, Refusal> {
    let detail = json!({
        "username": new.username,
        "models": new.models.iter().map(ModelName::as_str).collect::<Vec<_>>(),
        "serials": new.serials.iter().map(SerialNumber::as_str).collect::<Vec<_>>(),
        "since": since.to_string(),
        "until": until.to_string(),
    });
    let event = vault_event(app, ctx, "system-user.sign", &new.email, &detail);
    let commit = Commit {
        assertions: vec![(sign::stored(assertion), PutRule::Newer)],
        audit: vec![sign::record(event, assertion)],
        ..Commit::default()
    };
    Ok(app.storage.commit(commit).await?)
}
