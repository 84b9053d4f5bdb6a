//! What publishers sign themselves about snaps (publisher-api.md 6.13-6.15): that a file is a build of theirs, that a
//! revision of another snap may come beside one of theirs, which revisions go together. It is checked like any
//! assertion, by the keys that were registered, and served to devices as it is.

use std::collections::BTreeMap;

use serde_json::json;

use crate::app::assertions::check;
use crate::app::fleet::{Doer, take_signature as take, waiting_for};
use crate::app::sign::stored;
use crate::app::store::SnapEntry;
use crate::app::{App, BrandCtx, OwnCtx, Place, Refusal, SnapCtx, vault_event};
use crate::domain::access::Permission;
use crate::domain::assertion::{Assertion, AssertionType, Ref, Typed, decode};
use crate::domain::ident::{AccountId, SnapId, SnapName};
use crate::ports::{AssertionFilter, Commit, PutRule};

use super::register::SERIES;

/// Reads and checks an assertion that somebody signed.
pub(super) async fn read(app: &App, text: &[u8], kind: AssertionType) -> Result<Assertion, Refusal> {
    let invalid = |why: &dyn std::fmt::Display| {
        Refusal::invalid("invalid-assertion", format!("cannot take the assertion: {why}"))
    };
    let assertion = decode(text).map_err(|error| invalid(&error))?;
    if assertion.kind() != kind {
        return Err(invalid(&format!(
            "a {kind} is expected, this is a {}",
            assertion.kind()
        )));
    }
    if let Err(why) = check(app, &assertion).await? {
        return Err(Refusal::invalid(
            "assertion-refused",
            format!("cannot take the {kind}: {why}; register the key that signed it first"),
        ));
    }
    Ok(assertion)
}

fn differs(what: &str) -> Refusal {
    Refusal::invalid("assertion-differs", format!("cannot take the assertion: {what}"))
}

/// Whether the caller signs in the name of this account.
fn signs_for(ctx: &BrandCtx, account: Option<&str>) -> bool {
    account.is_some_and(|account| {
        account
            .parse()
            .is_ok_and(|account: AccountId| ctx.speaks_for(&account))
    }) || ctx.account().is_some_and(|own| account == Some(own.as_str()))
}

async fn keep(app: &App, ctx: &BrandCtx, assertion: &Assertion, rule: PutRule) -> Result<(), Refusal> {
    let detail = json!({
        "revision": assertion.revision(), "sign-key-sha3-384": assertion.sign_key(),
    });
    let action = format!("{}.add", assertion.kind());
    let subject = assertion.primary_key().0.join("/");
    app.commit(Commit {
        assertions: vec![(stored(assertion), rule)],
        audit: vec![vault_event(app, ctx, &action, &subject, &detail)],
        ..Commit::default()
    })
    .await
}

/// Keeps a snap-build: the caller says that a file is a build of this snap. Said again, it stays as it was.
///
/// # Errors
/// `invalid-assertion`, `assertion-refused`, `assertion-differs`.
pub async fn add_build(app: &App, ctx: &SnapCtx, text: &str) -> Result<(), Refusal> {
    let build = read(app, text.as_bytes(), AssertionType::SnapBuild).await?;
    if build.text("snap-id") != Some(ctx.snap().id.as_str()) {
        return Err(differs("it is about another snap"));
    }
    if !signs_for(ctx.brand(), build.authority_id()) {
        return Err(differs("somebody else signed it"));
    }
    keep(app, ctx.brand(), &build, PutRule::SkipOld).await
}

/// Keeps a validation: the publisher of this snap approves a revision of another one, or no longer does.
///
/// # Errors
/// `invalid-assertion`, `assertion-refused`, `assertion-differs`; `old-revision`.
pub async fn add_validation(app: &App, ctx: &SnapCtx, text: &str) -> Result<Assertion, Refusal> {
    let validation = read(app, text.as_bytes(), AssertionType::Validation).await?;
    if validation.text("snap-id") != Some(ctx.snap().id.as_str()) {
        return Err(differs("it is of another gating snap"));
    }
    if !signs_for(ctx.brand(), validation.authority_id()) {
        return Err(differs("somebody else signed it"));
    }
    if let Typed::Validation(view) = validation.typed() {
        let catalog = app.catalog.current(app).await?;
        let entry = view.approved_snap_id.parse().ok();
        let entry = entry.and_then(|id: SnapId| catalog.any(&id).cloned());
        let there = entry.is_some_and(|entry| {
            shows(ctx, &entry) && entry.revisions.contains_key(&view.approved_snap_revision)
        });
        if !there && !view.revoked {
            return Err(differs(&format!(
                "there is no revision {} of the snap it approves",
                view.approved_snap_revision
            )));
        }
    }
    keep(app, ctx.brand(), &validation, PutRule::Newer).await?;
    Ok(validation)
}

/// Whether who approves for a gating snap may know of another one: it is not private, or theirs to see.
fn shows(ctx: &SnapCtx, entry: &SnapEntry) -> bool {
    let other = &entry.record;
    !other.private || other.id == ctx.snap().id || ctx.brand().may_with(other, Permission::SnapRead)
}

/// A validation and the name of the snap whose revision it approves.
#[derive(Clone, Debug)]
pub struct Approval {
    /// The validation.
    pub assertion: Assertion,
    /// The name, where the snap is known here and the caller may know of it.
    pub approved: Option<SnapName>,
}

/// What a gating snap approves; with `revoked`, what it no longer does too.
///
/// # Errors
/// If the storage is out of reach.
pub async fn validations(app: &App, ctx: &SnapCtx, revoked: bool) -> Result<Vec<Approval>, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let found = stored_below(
        app,
        AssertionType::Validation,
        vec![SERIES.to_owned(), ctx.snap().id.to_string()],
    )
    .await?;
    let mut approvals = Vec::new();
    for assertion in found {
        let Typed::Validation(view) = assertion.typed() else {
            continue;
        };
        if revoked || !view.revoked {
            let id = view.approved_snap_id.parse().ok();
            let approved = id
                .and_then(|id: SnapId| catalog.any(&id))
                .filter(|entry| shows(ctx, entry))
                .map(|entry| entry.record.name.clone());
            approvals.push(Approval { assertion, approved });
        }
    }
    Ok(approvals)
}

/// The stored assertions of a type whose primary key begins so.
pub(in crate::app) async fn stored_below(
    app: &App,
    kind: AssertionType,
    key_prefix: Vec<String>,
) -> Result<Vec<Assertion>, Refusal> {
    let filter = AssertionFilter {
        kind,
        key_prefix,
        max_format: kind.info().max_format,
    };
    let stored = app.storage.assertions(&filter).await?;
    Ok(stored
        .into_iter()
        .filter_map(|stored| decode(&stored.encoded).ok())
        .collect())
}

/// Which of a sequence of validation sets are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The last one.
    Latest,
    /// All of them.
    All,
    /// This one.
    One(u64),
}

/// The accounts in whose name the caller signs: their own, and those of brands they act for.
pub(super) async fn issuers(app: &App, ctx: &OwnCtx) -> Result<Vec<AccountId>, Refusal> {
    let mut accounts = vec![ctx.account().clone()];
    for brand in ctx.brands(app).await? {
        let place = Place::Brand(brand.id.clone());
        let leave = ctx
            .caller()
            .authorize::<BrandCtx>(app, Permission::SnapRead, place)
            .await;
        let account: AccountId = brand.id.into();
        if leave.is_ok_and(|leave| leave.speaks_for(&account)) {
            accounts.push(account);
        }
    }
    Ok(accounts)
}

/// The caller's validation sets, of this name or all.
///
/// # Errors
/// If the storage is out of reach.
pub async fn validation_sets(
    app: &App,
    ctx: &OwnCtx,
    name: Option<&str>,
    which: Which,
) -> Result<Vec<Assertion>, Refusal> {
    let mut sets = Vec::new();
    for account in issuers(app, ctx).await? {
        sets.extend(of_account(app, &account, name, which).await?);
    }
    Ok(sets)
}

/// The validation sets of an account, of this name or all, by name and sequence.
pub(super) async fn of_account(
    app: &App,
    account: &AccountId,
    name: Option<&str>,
    which: Which,
) -> Result<Vec<Assertion>, Refusal> {
    let mut prefix = vec![SERIES.to_owned(), account.to_string()];
    prefix.extend(name.map(str::to_owned));
    let mut sets = Vec::new();
    let mut last: BTreeMap<String, (u64, Assertion)> = BTreeMap::new();
    for assertion in stored_below(app, AssertionType::ValidationSet, prefix).await? {
        let Typed::ValidationSet(view) = assertion.typed() else {
            continue;
        };
        let (name, sequence) = (view.name.clone(), view.sequence);
        match which {
            Which::All => sets.push(assertion),
            Which::One(wanted) if wanted == sequence => sets.push(assertion),
            Which::One(_) => {}
            Which::Latest => {
                if last.get(&name).is_none_or(|(known, _)| *known < sequence) {
                    last.insert(name, (sequence, assertion));
                }
            }
        }
    }
    sets.extend(last.into_values().map(|(_, assertion)| assertion));
    Ok(sets)
}

/// The revision of a validation set that is there.
pub(super) async fn stored_revision(
    app: &App,
    account: &AccountId,
    name: &str,
    sequence: u64,
) -> Result<Option<u64>, Refusal> {
    let reference = Ref::new(
        AssertionType::ValidationSet,
        [SERIES, account.as_str(), name, &sequence.to_string()],
    );
    let known = app.storage.assertion(&reference, u32::MAX).await?;
    Ok(known.map(|known| known.revision))
}

/// A validation set that is to be signed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whose.
    pub account: AccountId,
    /// The revision it gets.
    pub revision: u64,
    /// The ids of its snaps, in their order.
    pub snaps: Vec<SnapId>,
}

/// A snap of a set, as its maker names it.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name.
    pub name: SnapName,
    /// Its revision, where one is named.
    pub revision: Option<u64>,
}

/// What a maker of a validation set need not know: the ids of its snaps, and its revision.
///
/// # Errors
/// `account-differs`; `unknown-snap`, `unknown-revision` for snaps the caller may not know, too.
pub async fn draft_set(
    app: &App,
    ctx: &OwnCtx,
    account: &str,
    name: &str,
    sequence: u64,
    snaps: &[Named],
) -> Result<Draft, Refusal> {
    let account = issuer(app, ctx, AssertionType::ValidationSet, account).await?;
    let mut ids = Vec::new();
    for wanted in snaps {
        let entry = known(app, ctx, &wanted.name).await?.ok_or_else(|| {
            Refusal::invalid(
                "unknown-snap",
                format!("cannot make the validation set: there is no snap {}", wanted.name),
            )
        })?;
        if let Some(revision) = wanted.revision
            && !entry.revisions.contains_key(&revision)
        {
            return Err(Refusal::invalid(
                "unknown-revision",
                format!(
                    "cannot make the validation set: snap {} has no revision {revision}",
                    wanted.name
                ),
            ));
        }
        ids.push(entry.record.id.clone());
    }
    let known = stored_revision(app, &account, name, sequence).await?;
    Ok(Draft {
        account,
        revision: known.map_or(0, |known| known + 1),
        snaps: ids,
    })
}

/// The account of this id, if the caller signs in its name.
pub(super) async fn issuer(
    app: &App,
    ctx: &OwnCtx,
    kind: AssertionType,
    account: &str,
) -> Result<AccountId, Refusal> {
    let issuers = issuers(app, ctx).await?;
    issuers
        .into_iter()
        .find(|known| known.as_str() == account)
        .ok_or_else(|| {
            Refusal::invalid(
                "account-differs",
                format!(
                    "cannot make the {kind}: account-id must be your own account, or a brand you act for"
                ),
            )
        })
}

/// A snap the caller may know of: anybody knows those that are not private.
async fn known(
    app: &App,
    ctx: &OwnCtx,
    name: &SnapName,
) -> Result<Option<std::sync::Arc<SnapEntry>>, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let Some(entry) = catalog.named(name).cloned() else {
        return Ok(None);
    };
    if !entry.record.private {
        return Ok(Some(entry));
    }
    let place = Place::SnapId(entry.record.id.clone());
    let leave = ctx
        .caller()
        .authorize::<SnapCtx>(app, Permission::SnapRead, place)
        .await;
    Ok(leave.is_ok().then_some(entry))
}

/// Keeps a signed validation set. Where waves make it, it signs the one that waits for this number instead.
///
/// # Errors
/// `invalid-assertion`, `assertion-refused`, `account-differs`, `unknown-snap`; `old-revision`; `made-by-waves`, and those of
/// signing a wave.
pub async fn add_set(app: &App, ctx: &OwnCtx, text: &[u8]) -> Result<Assertion, Refusal> {
    let set = read(app, text, AssertionType::ValidationSet).await?;
    let account = set.text("account-id").unwrap_or_default();
    issuer(app, ctx, AssertionType::ValidationSet, account).await?;
    if let Typed::ValidationSet(view) = set.typed() {
        for snap in &view.snaps {
            let name: SnapName = snap.name.parse()?;
            let entry = known(app, ctx, &name).await?;
            if entry.is_none_or(|entry| entry.record.id.as_str() != snap.id) {
                return Err(Refusal::invalid(
                    "unknown-snap",
                    format!("cannot take the validation set: there is no snap {name} of this id"),
                ));
            }
        }
    }
    if let Typed::ValidationSet(said) = set.typed()
        && let Some((store, wave)) = waiting_for(app, said).await?
    {
        let doer = Doer {
            account: Some(ctx.account()),
            event: ctx.event(app.clock.now(), "wave.sign", store.as_str()),
            why: None,
        };
        take(app, &store, &wave, std::slice::from_ref(&set), doer).await?;
        return Ok(set);
    }
    let mut event = ctx.event(
        app.clock.now(),
        "validation-set.add",
        &set.primary_key().0.join("/"),
    );
    event.detail.insert("revision".to_owned(), set.revision().into());
    app.commit(Commit {
        assertions: vec![(stored(&set), PutRule::Newer)],
        audit: vec![event],
        ..Commit::default()
    })
    .await?;
    Ok(set)
}
