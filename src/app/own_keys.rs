//! Keys of people: they are made and kept by their owners, who ask for an account-key with a request signed by the key
//! itself (publisher-api.md 6.13). Our root vouches for the account, and so for its keys.

use serde_json::json;

use super::assertions::{check_with, keys_of};
use super::catalog::missing_developer;
use super::instance::{refuse_throwaway, root};
use super::sign::{record, sign, stored};
use super::{App, OwnCtx, Refusal};
use crate::domain::access::Account;
use crate::domain::assertion::{Assertion, AssertionType, Headers, Statement, Typed, decode};
use crate::domain::ident::AccountId;
use crate::domain::vault::SigningKey;
use crate::ports::{Change, Commit, CommitOutcome, PutRule};

/// Keys one account may have, good or not.
const MAX_KEYS: usize = 50;
/// How often it is tried again because somebody changed the account at the same time.
const ATTEMPTS: usize = 5;

/// The account-keys of an account.
///
/// # Errors
/// If the storage is out of reach.
pub async fn list(app: &App, account: &AccountId) -> Result<Vec<Assertion>, Refusal> {
    keys_of(app, account.as_str()).await
}

/// Registers a key of the caller; its account-key. A key is registered once, and so is its name.
///
/// # Errors
/// `invalid-assertion`, `account-differs`, `key-registered`, `key-name-taken`, `too-many-keys`, `invalid-key`,
/// `assertion-refused`.
pub async fn register(app: &App, ctx: &OwnCtx, request: &str) -> Result<Assertion, Refusal> {
    let invalid = |why: &dyn std::fmt::Display| {
        Refusal::invalid("invalid-assertion", format!("cannot register the key: {why}"))
    };
    let assertion = decode(request.as_bytes()).map_err(|error| invalid(&error))?;
    let Typed::AccountKeyRequest(wanted) = assertion.typed() else {
        return Err(invalid(&"an account-key-request is expected"));
    };
    if wanted.account_id != ctx.account().as_str() {
        return Err(Refusal::invalid(
            "account-differs",
            "cannot register the key: the request is for another account than yours",
        ));
    }
    refuse_throwaway(app, wanted.public_key.id())?;
    for _ in 0..ATTEMPTS {
        // Whoever registers another key at the same time changes the version of the account too.
        let account = app.storage.find::<Account>([ctx.account().as_str()]).await?;
        let account = account.ok_or_else(|| Refusal::not_found("cannot find your account"))?;
        let known = list(app, ctx.account()).await?;
        if known.len() >= MAX_KEYS {
            return Err(Refusal::conflict(
                "too-many-keys",
                format!("cannot register the key: you have {MAX_KEYS} already"),
            ));
        }
        if known.iter().any(|key| key.text("name") == Some(&wanted.name)) {
            return Err(Refusal::conflict(
                "key-name-taken",
                format!(
                    "cannot register the key: you have another one named {}; choose another name",
                    wanted.name
                ),
            ));
        }
        let id = wanted.public_key.id();
        let ours = app
            .storage
            .find_unique::<SigningKey>("key-id", id.as_str())
            .await?;
        let reference = crate::domain::assertion::Ref::new(AssertionType::AccountKey, [id.as_str()]);
        if ours.is_some() || app.storage.assertion(&reference, u32::MAX).await?.is_some() {
            return Err(Refusal::conflict(
                "key-registered",
                "cannot register the key: it is registered already; make another one",
            ));
        }
        let now = app.clock.now();
        let mut commit = Commit {
            records: vec![Change::replace(&account.record, account.version)],
            ..Commit::default()
        };
        let unsaved = missing_developer(app, ctx.account()).await?;
        if let Some(account) = &unsaved {
            commit.assertions.push((stored(account), PutRule::SkipOld));
            commit.audit.push(record(ctx.event(now, "", ""), account));
        }
        if let Err(why) = check_with(app, &assertion, unsaved.as_ref()).await? {
            return Err(Refusal::invalid(
                "assertion-refused",
                format!("cannot register the key: {why}"),
            ));
        }
        let root = root(app).await?;
        let mut headers = Headers::default();
        headers.set("authority-id", root.account_id.as_str());
        headers.set("account-id", wanted.account_id.as_str());
        headers.set("name", wanted.name.as_str());
        headers.set("public-key-sha3-384", id.as_str());
        headers.set("since", wanted.validity.since.to_string());
        if let Some(until) = wanted.validity.until {
            headers.set("until", until.to_string());
        }
        let body = wanted.public_key.encoded().as_bytes().to_vec();
        let statement = Statement::new(AssertionType::AccountKey, headers, body);
        let account_key = sign(app, &root, statement).await?;
        let mut event = ctx.event(now, "account-key.register", wanted.account_id.as_str());
        event.detail.extend([
            ("name".to_owned(), json!(wanted.name)),
            ("public-key-sha3-384".to_owned(), json!(id)),
        ]);
        commit.assertions.push((stored(&account_key), PutRule::Newer));
        commit.audit.push(event);
        commit.audit.push(record(ctx.event(now, "", ""), &account_key));
        match app.storage.commit(commit).await? {
            CommitOutcome::Conflict { .. } | CommitOutcome::OldRevision { .. } => {}
            outcome => {
                App::settle(&outcome)?;
                return Ok(account_key);
            }
        }
    }
    Err(App::changed_meanwhile())
}
