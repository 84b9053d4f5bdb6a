//! The trust root as others need it: to compile into the snapd of devices, or to swap into that of test clients.

use bytes::Bytes;

use super::instance::{instance, refuse_throwaway, root, trusted, uninitialised};
use super::sign::{record, sign, stored};
use super::{App, InstanceCtx, Refusal};
use crate::domain::assertion::{Assertion, AssertionType, PublicKey, Statement, StreamDecoder};
use crate::domain::vault::SigningKey;
use crate::ports::{Change, Commit, PutRule};

/// The header that is nothing but filling.
const PAD: &str = "x-pad";
/// What the header costs before its value: line feed, name, colon, space.
const PAD_COST: usize = PAD.len() + 3;
/// Nobody compiles in more than this.
const MAX_BYTES: usize = 1024 * 1024;

/// Exact sizes wanted, final line feed included; none = as stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Of the account.
    pub account: Option<usize>,
    /// Of the account-key.
    pub key: Option<usize>,
}

/// The self-signed account and account-key of our root. Where a size is given the assertion is signed afresh with a
/// header that fills it up (real-clients.md 2); such a copy is logged, never stored.
pub async fn export(app: &App, ctx: &InstanceCtx, sizes: Sizes) -> Result<Vec<Assertion>, Refusal> {
    let root = root(app).await?;
    refuse_throwaway(app, &root.key_id)?;
    let own = trusted(app).await?.into_iter().take(2);
    let mut exported = Vec::new();
    let mut commit = Commit::default();
    for (assertion, size) in own.zip([sizes.account, sizes.key]) {
        let Some(size) = size else {
            exported.push(assertion);
            continue;
        };
        let padded = pad(app, &root, &assertion, size).await?;
        let mut event = record(ctx.event(app.clock.now(), "", ""), &padded);
        event.detail.insert("padded-to-bytes".to_owned(), size.into());
        commit.audit.push(event);
        exported.push(padded);
    }
    commit
        .audit
        .push(ctx.event(app.clock.now(), "trust.export", root.account_id.as_str()));
    app.commit(commit).await?;
    Ok(exported)
}

/// `assertion` again, filled up to exactly `size` bytes.
async fn pad(app: &App, root: &SigningKey, assertion: &Assertion, size: usize) -> Result<Assertion, Refusal> {
    let kind = assertion.kind();
    let refuse = |why: String| {
        Refusal::invalid(
            "invalid-size",
            format!("cannot pad the {kind} to {size} bytes: {why}"),
        )
    };
    if size > MAX_BYTES {
        return Err(refuse(format!("more than {MAX_BYTES} are not possible")));
    }
    let again = |filling: usize| {
        let mut headers = assertion.headers().clone();
        if filling > 0 {
            headers.set(PAD, "x".repeat(filling));
        }
        sign(
            app,
            root,
            Statement::new(kind, headers, assertion.body().to_vec()),
        )
    };
    // A signature of this key always has the same length, so one without filling tells the rest.
    let bare = again(0).await?;
    let length = bare.encoded().len();
    let Some(missing) = size.checked_sub(length) else {
        return Err(refuse(format!("it has {length} without any filling")));
    };
    if missing == 0 {
        return Ok(bare);
    }
    let filling = missing
        .checked_sub(PAD_COST)
        .filter(|filling| *filling > 0)
        .ok_or_else(|| {
            refuse(format!(
                "it has {length}, and filling takes at least {} more",
                PAD_COST + 1
            ))
        })?;
    let padded = again(filling).await?;
    if padded.encoded().len() == size {
        Ok(padded)
    } else {
        Err(refuse(format!("it became {} bytes long", padded.encoded().len())))
    }
}

/// Trusts a further root: a self-signed account-key and its account, as `known` assertions of another authority give
/// them. From then on what that root signs is accepted on import (delegated mode).
pub async fn import(app: &App, ctx: &InstanceCtx, stream: Bytes) -> Result<Vec<Assertion>, Refusal> {
    let invalid = |why: String| Refusal::invalid("invalid-root", format!("cannot trust this root: {why}"));
    let found: Vec<Assertion> = StreamDecoder::new(stream)
        .collect::<Result<_, _>>()
        .map_err(|e| invalid(e.to_string()))?;
    let of_kind = |kind| found.iter().filter(move |assertion| assertion.kind() == kind);
    let (mut accounts, mut keys) = (
        of_kind(AssertionType::Account),
        of_kind(AssertionType::AccountKey),
    );
    let (Some(account), Some(account_key), None, None, 2) = (
        accounts.next(),
        keys.next(),
        accounts.next(),
        keys.next(),
        found.len(),
    ) else {
        return Err(invalid(
            "one account and one account-key assertion are needed, and nothing else".to_owned(),
        ));
    };
    let key = std::str::from_utf8(account_key.body())
        .ok()
        .and_then(|text| PublicKey::decode(text).ok());
    let key = key.ok_or_else(|| invalid("its account-key holds no usable key".to_owned()))?;
    refuse_throwaway(app, key.id())?;
    for assertion in [account, account_key] {
        let owner = account.text("account-id");
        if assertion.authority_id() != owner || account_key.text("account-id") != owner {
            return Err(invalid(format!(
                "its {} is not by the account itself",
                assertion.kind()
            )));
        }
        key.verify_assertion(assertion).map_err(|e| {
            invalid(format!(
                "its {} is not signed by the account-key itself: {e}",
                assertion.kind()
            ))
        })?;
    }
    let mut record = instance(&app.storage).await?.ok_or_else(uninitialised)?;
    if record.record.root_key == *key.id() || record.record.extra_roots.contains(key.id()) {
        return Ok(found);
    }
    record.record.extra_roots.push(key.id().clone());
    let mut event = ctx.event(
        app.clock.now(),
        "trust.import",
        account.text("account-id").unwrap_or_default(),
    );
    event
        .detail
        .insert("public-key-sha3-384".to_owned(), key.id().as_str().into());
    app.commit(Commit {
        records: vec![Change::replace(&record.record, record.version)],
        assertions: [account, account_key]
            .map(|assertion| (stored(assertion), PutRule::SkipOld))
            .into(),
        audit: vec![event],
        ..Commit::default()
    })
    .await?;
    Ok(found)
}
