//! Taking in assertions that others signed (delegated mode, contract.md 3). What does not chain to the trusted set
//! stays out; an import that was done before changes nothing.

use bytes::Bytes;

use super::check::database;
use crate::app::account_keys::adopt;
use crate::app::catalog::{apply, register};
use crate::app::instance::trusted;
use crate::app::sign::stored;
use crate::app::{App, BrandCtx, Refusal, fleet};
use crate::domain::access::Brand;
use crate::domain::assertion::database::{Batch, BatchError, CheckError};
use crate::domain::assertion::{Assertion, AssertionType, Envelope, Limits, Ref, StreamDecoder, Typed};
use crate::ports::{Commit, CommitOutcome, PutRule};

/// Largest stream that is taken in at once.
pub const MAX_IMPORT: usize = 16 * 1024 * 1024;
/// Assertions the audit log lists by name; of longer imports it has the number.
const MAX_LISTED: usize = 100;

/// What became of one assertion of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Which one.
    pub reference: Ref,
    /// Its revision.
    pub revision: u64,
    /// Whether it was taken in; otherwise it, or a newer one, was there before.
    pub new: bool,
}

/// Takes a stream of assertions in, in any order: all of them or none.
pub async fn import(app: &App, ctx: &BrandCtx, stream: Bytes) -> Result<Vec<Imported>, Refusal> {
    let given = read(stream, app.settings.limits.assertion)?;
    let roots = trusted(app).await?;
    let mut batch = Batch::new();
    for assertion in &given {
        if assertion.kind() == AssertionType::Serial {
            return Err(Refusal::invalid(
                "serial-import",
                format!(
                    "cannot import {}: serials are kept by the ledger of the vault that issued them",
                    assertion.reference()
                ),
            ));
        }
        of_this_brand(app, ctx, assertion).await?;
        not_of_waves(app, assertion).await?;
        // The roots themselves come along in every export: they are here already.
        if !roots.contains(assertion) {
            batch
                .add(assertion.clone())
                .map_err(|e| refuse(&assertion.reference(), &e))?;
        }
    }
    let mut database = database(app, roots, batch.needs()).await?;
    let added = batch
        .commit(&mut database, app.clock.now())
        .map_err(|error| match &error {
            BatchError::Missing { .. } => Refusal::invalid(
                "missing-prerequisite",
                format!("cannot import: {error}; import that as well, or trust its root with `hallmark trust import`"),
            ),
            BatchError::Circle(_) | BatchError::Refused { .. } => {
                Refusal::invalid("assertion-refused", format!("cannot import: {error}"))
            }
        })?;
    if !added.is_empty() {
        let mut commit = Commit::default();
        for assertion in added
            .iter()
            .filter(|assertion| assertion.kind() == AssertionType::AccountKey)
        {
            commit.records.extend(adopt(app, assertion).await?);
        }
        commit.assertions = added
            .iter()
            .map(|assertion| (stored(assertion), PutRule::SkipOld))
            .collect();
        let mut event = ctx.event(app.clock.now(), "assertion.import", ctx.brand().as_str());
        let names = added
            .iter()
            .take(MAX_LISTED)
            .map(|assertion| assertion.reference().to_string().into());
        event.detail.insert("count".to_owned(), added.len().into());
        event
            .detail
            .insert("assertions".to_owned(), serde_json::Value::Array(names.collect()));
        commit.audit.push(event);
        let changed = register::follow(app, &added, &mut commit).await?;
        let outcome = if changed.is_empty() {
            app.storage.commit(commit).await?
        } else {
            apply(app, commit, &changed).await?
        };
        settle(&outcome)?;
    }
    Ok(given
        .iter()
        .map(|assertion| Imported {
            reference: assertion.reference(),
            revision: assertion.revision(),
            new: added.contains(assertion),
        })
        .collect())
}

/// Whose an assertion is: its brand, account, publisher, developer or operator, else its authority.
pub(super) fn owner(assertion: &Envelope) -> Option<&str> {
    [
        "brand-id",
        "account-id",
        "publisher-id",
        "developer-id",
        "operator-id",
        "authority-id",
    ]
    .into_iter()
    .find_map(|header| assertion.text(header))
}

/// What waves make is published by them: further on in a sequence nothing else is taken.
pub(in crate::app) async fn not_of_waves(app: &App, assertion: &Assertion) -> Result<(), Refusal> {
    let Typed::ValidationSet(set) = assertion.typed() else {
        return Ok(());
    };
    let account = set.account_id.parse()?;
    match fleet::maker(app, &account, &set.name).await? {
        Some((tag, published)) if set.sequence > published => Err(Refusal::conflict(
            "made-by-waves",
            format!(
                "cannot import {}: waves of tag {tag} make this validation set, and have published sequence {published}",
                assertion.reference()
            ),
        )),
        _ => Ok(()),
    }
}

/// What belongs to another brand of this instance is that brand's to import; what belongs to nobody here (upstream
/// publishers, their keys and snaps) anybody may bring.
async fn of_this_brand(app: &App, ctx: &BrandCtx, assertion: &Assertion) -> Result<(), Refusal> {
    let Some(owner) = owner(assertion).filter(|owner| *owner != ctx.brand().as_str()) else {
        return Ok(());
    };
    match app.storage.find::<Brand>([owner]).await? {
        None => Ok(()),
        Some(_) => Err(Refusal::invalid(
            "other-brand",
            format!(
                "cannot import {} for brand {}: it belongs to brand {owner}",
                assertion.reference(),
                ctx.brand()
            ),
        )),
    }
}

/// Reads a stream of assertions; none is too few.
///
/// # Errors
/// `invalid-assertion`.
pub(in crate::app) fn read(stream: Bytes, limits: Limits) -> Result<Vec<Assertion>, Refusal> {
    let mut given: Vec<Assertion> = Vec::new();
    for assertion in StreamDecoder::with_limits(stream, limits) {
        let assertion = assertion.map_err(|error| {
            let place = given.len() + 1;
            Refusal::invalid(
                "invalid-assertion",
                format!("cannot read assertion {place} of the stream: {error}"),
            )
        })?;
        given.push(assertion);
    }
    if given.is_empty() {
        return Err(Refusal::invalid(
            "invalid-assertion",
            "cannot import: there is no assertion in the input",
        ));
    }
    Ok(given)
}

fn refuse(reference: &Ref, error: &CheckError) -> Refusal {
    Refusal::invalid("assertion-refused", format!("cannot import {reference}: {error}"))
}

fn settle(outcome: &CommitOutcome) -> Result<(), Refusal> {
    match outcome {
        CommitOutcome::Done => Ok(()),
        CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. } => {
            Err(Refusal::conflict(
                "changed-meanwhile",
                "cannot import: something was changed meanwhile; try again",
            ))
        }
    }
}
