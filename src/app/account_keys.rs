//! account-key assertions: what makes a brand's keys good in the eyes of devices. Our root signs them, or, in
//! delegated mode, another one does, for whom we write requests and whose answers are imported.

use super::instance::{account_key_statement, assertion, key_event, root};
use super::keys::{find, refuse_in_use, settle};
use super::sign::{public_key, record, sign, stored};
use super::{App, BrandCtx, Refusal};
use crate::domain::access::Brand;
use crate::domain::assertion::{Assertion, AssertionType, Headers, Ref, Statement};
use crate::domain::ident::KeyName;
use crate::domain::time::Timestamp;
use crate::domain::vault::{KeyState, SigningKey};
use crate::ports::{Change, Commit, PutRule};

/// The answer to a registration.
#[derive(Clone, Debug)]
pub enum Registration {
    /// The key is registered: this is its account-key.
    Registered(Assertion),
    /// Another root has to register it: send it this account-key-request, and import what it answers.
    Requested(Assertion),
}

/// Registers a key: gives its account-key, made if needed, or in delegated mode a request for one.
/// `until` changes the end of its validity, which needs a new revision.
pub async fn register(
    app: &App,
    ctx: &BrandCtx,
    name: &KeyName,
    until: Option<Timestamp>,
) -> Result<Registration, Refusal> {
    let mut found = find(app, ctx, name).await?;
    let known = of(app, &found.record).await?;
    if delegated(app, ctx).await? {
        if until.is_some() {
            return Err(elsewhere(name, "change the validity of"));
        }
        return match known {
            Some(account_key) => Ok(Registration::Registered(account_key)),
            None => request(app, ctx, &found.record)
                .await
                .map(Registration::Requested),
        };
    }
    let changed = until.is_some() && until != found.record.until;
    if let (Some(account_key), false) = (&known, changed) {
        return Ok(Registration::Registered(account_key.clone()));
    }
    if changed {
        if until.is_some_and(|until| until < found.record.since) {
            return Err(Refusal::invalid(
                "invalid-key",
                format!("cannot register key {name}: its validity would end before it begins"),
            ));
        }
        found.record.until = until;
    }
    let mut commit = Commit {
        records: vec![Change::replace(&found.record, found.version)],
        assertions: Vec::new(),
        audit: vec![key_event(
            ctx.event(app.clock.now(), "key.register", ""),
            &found.record,
        )],
        ..Commit::default()
    };
    let revision = known.map_or(0, |account_key| account_key.revision() + 1);
    let account_key = issue(app, ctx, &found.record, revision, &mut commit).await?;
    settle(name, &app.storage.commit(commit).await?)?;
    Ok(Registration::Registered(account_key))
}

/// Revokes a key for good: a new revision of its account-key that was never valid, so that devices refuse everything
/// it signed whatever their clock says (assertions.md 4.4). The key is switched off too.
pub async fn revoke(app: &App, ctx: &BrandCtx, name: &KeyName) -> Result<Assertion, Refusal> {
    let mut found = find(app, ctx, name).await?;
    if delegated(app, ctx).await? {
        return Err(elsewhere(name, "revoke"));
    }
    refuse_in_use(app, ctx, name, "revoke").await?;
    let revision = of(app, &found.record)
        .await?
        .map_or(0, |account_key| account_key.revision() + 1);
    found.record.state = KeyState::Disabled;
    found.record.until = Some(found.record.since);
    let mut commit = Commit {
        records: vec![Change::replace(&found.record, found.version)],
        assertions: Vec::new(),
        audit: vec![key_event(
            ctx.event(app.clock.now(), "key.revoke", ""),
            &found.record,
        )],
        ..Commit::default()
    };
    let account_key = issue(app, ctx, &found.record, revision, &mut commit).await?;
    settle(name, &app.storage.commit(commit).await?)?;
    app.signer.unload(&found.record.key_id).await;
    Ok(account_key)
}

/// For an imported account-key of one of our keys: the change that takes over its validity. To be committed with it.
pub async fn adopt(app: &App, account_key: &Assertion) -> Result<Option<Change>, Refusal> {
    let Some(id) = account_key.text("public-key-sha3-384") else {
        return Ok(None);
    };
    let Some(mut found) = app.storage.find_unique::<SigningKey>("key-id", id).await? else {
        return Ok(None);
    };
    let key = &mut found.record;
    if account_key.text("account-id") != Some(key.account_id.as_str()) {
        return Err(Refusal::conflict(
            "key-authority",
            format!(
                "cannot import the account-key of {id}: it is for another account than {}, whose key it is here",
                key.account_id
            ),
        ));
    }
    let time = |header: &str| {
        account_key
            .text(header)
            .and_then(|text| text.parse::<Timestamp>().ok())
    };
    let (since, until) = (time("since").unwrap_or(key.since), time("until"));
    if (since, until) == (key.since, key.until) {
        return Ok(None);
    }
    (key.since, key.until) = (since, until);
    Ok(Some(Change::replace(&found.record, found.version)))
}

/// The stored account-key of a key.
pub(super) async fn of(app: &App, key: &SigningKey) -> Result<Option<Assertion>, Refusal> {
    assertion(app, &Ref::new(AssertionType::AccountKey, [key.key_id.as_str()])).await
}

/// Lets our root sign the account-key of `key`; assertion and event go into `commit`.
pub(super) async fn issue(
    app: &App,
    ctx: &BrandCtx,
    key: &SigningKey,
    revision: u64,
    commit: &mut Commit,
) -> Result<Assertion, Refusal> {
    let root = root(app).await?;
    let account_key = sign(
        app,
        &root,
        account_key_statement(&root.account_id, key, revision)?,
    )
    .await?;
    commit
        .audit
        .push(record(ctx.event(app.clock.now(), "", ""), &account_key));
    commit.assertions.push((stored(&account_key), PutRule::Newer));
    Ok(account_key)
}

/// A request to register `key`, signed by itself. Logged, since it is a signature.
async fn request(app: &App, ctx: &BrandCtx, key: &SigningKey) -> Result<Assertion, Refusal> {
    let mut headers = Headers::default();
    headers.set("account-id", key.account_id.as_str());
    headers.set("name", key.name.as_str());
    headers.set("public-key-sha3-384", key.key_id.as_str());
    headers.set("since", key.since.to_string());
    if let Some(until) = key.until {
        headers.set("until", until.to_string());
    }
    let body = public_key(key)?.encoded().as_bytes().to_vec();
    let request = sign(
        app,
        key,
        Statement::new(AssertionType::AccountKeyRequest, headers, body),
    )
    .await?;
    let commit = Commit {
        audit: vec![record(ctx.event(app.clock.now(), "", ""), &request)],
        ..Commit::default()
    };
    settle(&key.name, &app.storage.commit(commit).await?)?;
    Ok(request)
}

async fn delegated(app: &App, ctx: &BrandCtx) -> Result<bool, Refusal> {
    let brand = app.storage.find::<Brand>([ctx.brand().as_str()]).await?;
    brand
        .map(|found| found.record.delegated)
        .ok_or_else(|| Refusal::not_found(format!("cannot find brand {}", ctx.brand())))
}

fn elsewhere(name: &KeyName, verb: &str) -> Refusal {
    Refusal::conflict(
        "delegated-brand",
        format!(
            "cannot {verb} key {name} here: another root signs its account-key; ask there and import the answer"
        ),
    )
}
