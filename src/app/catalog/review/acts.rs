//! What reviewers and publishers do to a review. Each is one commit: the review, the revision, and with an approval what
//! makes the revision one that devices get (assertions, listing, releases). Of two who act at once one wins.

use serde_json::json;

use super::super::changes::apply;
use super::super::ingest::describe;
use super::super::ingest::signing::{self, Case, File};
use super::super::register::declaration_of;
use super::super::releases::{self, NewRelease};
use super::super::snaps::{ATTEMPTS, revision};
use super::super::{garbage, no_snap, snap};
use super::checking::{again, policy};
use super::{Reviewed, not_the_uploader, record_of, reviewed, unknown};
use crate::app::{App, BrandCtx, Refusal, brands, may_still, vault_event};
use crate::domain::access::Permission;
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Changed, RevisionRecord, SnapRecord, revision_key};
use crate::domain::ident::SnapName;
use crate::domain::review::{
    Act, ActRefusal, MAX_COMMENT, MAX_STEPS, ReviewRecord, ReviewState, next, outcome,
};
use crate::domain::snap::SnapYaml;
use crate::ports::{Change, Commit, CommitOutcome, Kind, Versioned};

/// A reviewer approves, rejects, asks, or has the checks look again. With an approval the revision is signed, its listing
/// shown, and it is released where its upload said; where that is not possible any more, it is approved all the same and
/// a remark says so.
///
/// # Errors
/// `already-reviewed`, `unfit` for what the checks refuse, `comment-required`, `invalid-comment`; `changed-meanwhile` if
/// another reviewer was faster. Snaps of one's own, and one's own uploads, are not found.
pub async fn act(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    number: u64,
    act: Act,
    comment: &str,
) -> Result<Reviewed, Refusal> {
    check_comment(comment, matches!(act, Act::Reject | Act::AskInformation))?;
    let by = Permission::SnapReview;
    step(app, ctx, name, number, by, act, comment).await
}

/// The publisher answers what a reviewer asked.
///
/// # Errors
/// `not-asked`, `comment-required`, `invalid-comment`, `review-too-long`.
pub async fn answer(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    number: u64,
    comment: &str,
) -> Result<Reviewed, Refusal> {
    check_comment(comment, true)?;
    let by = Permission::SnapPublish;
    step(app, ctx, name, number, by, Act::Answer, comment).await
}

/// A comment is a text of people: lines, no other control characters.
fn check_comment(comment: &str, required: bool) -> Result<(), Refusal> {
    if required && comment.trim().is_empty() {
        return Err(Refusal::invalid(
            "comment-required",
            "cannot do this without a comment: say what is wrong, or what you need to know",
        ));
    }
    let good = comment.chars().count() <= MAX_COMMENT
        && !comment
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    if good {
        return Ok(());
    }
    Err(Refusal::invalid(
        "invalid-comment",
        format!(
            "cannot use this comment: it has at most {MAX_COMMENT} characters, and no control characters but line \
             feeds and tabs"
        ),
    ))
}

async fn step(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    number: u64,
    by: Permission,
    act: Act,
    comment: &str,
) -> Result<Reviewed, Refusal> {
    let mut seen = None;
    for _ in 0..ATTEMPTS {
        let found = snap(app, ctx, name, by).await?;
        let mut record = found.record;
        let review = record_of(app, &record, number).await?;
        let stored = app
            .storage
            .find::<RevisionRecord>([record.id.as_str(), &revision_key(number)])
            .await?;
        let (Some(stored), Some(review)) = (stored, review) else {
            return Err(unreviewed(app, &record, number).await?);
        };
        if by == Permission::SnapReview {
            not_the_uploader(ctx, &record, &review.record)?;
        }
        // Only other parts may have changed since the caller came.
        if *seen.get_or_insert(review.version) != review.version {
            return Err(App::changed_meanwhile());
        }
        let (mut revision, mut after) = (stored.record, review.record.clone());
        let imported = signing::known(app, File::of(&revision)).await?.is_some();
        if matches!(act, Act::Approve | Act::Rerun) && !revision.review.is_approved() {
            after.findings = again(app, &record, &revision, &after, imported).await?;
        }
        let policy = policy(app, ctx, &record.store_id).await?;
        let state = next(after.state, act, policy, outcome(&after.findings))
            .map_err(|why| refuse(name, number, act, &why))?;
        if after.history.len() >= MAX_STEPS && !matches!(act, Act::Approve | Act::Reject) {
            return Err(Refusal::conflict(
                "review-too-long",
                format!(
                    "cannot add to the review of revision {number} of {name}: it has {MAX_STEPS} steps; decide it"
                ),
            ));
        }
        let from = after.state;
        after.step(app.clock.now(), ctx.actor(), act, state, comment);
        revision.review = state;
        let mut commit = Commit::default();
        let mut done = Admitted::default();
        if state.is_approved() {
            done = admit(app, ctx, &mut record, &mut revision, &mut after, &mut commit).await?;
        }
        let detail = json!({
            "snap-id": record.id, "revision": number, "from": from, "to": state,
            "comment": (!comment.is_empty()).then_some(comment),
            "channels": state.is_approved().then_some(&after.channels),
        });
        let action = format!("review.{}", act.as_str());
        commit
            .audit
            .push(vault_event(app, ctx, &action, name.as_str(), &detail));
        // The snap takes part: what the caller was judged by must still hold.
        commit.records.push(Change::replace(&record, found.version));
        commit.records.push(Change::replace(&revision, stored.version));
        commit.records.push(Change::replace(&after, review.version));
        match apply(app, commit, &[Changed::Snap(record.id.clone())]).await? {
            CommitOutcome::Conflict { kind: Kind::Snap, .. } => {}
            outcome => {
                App::settle(&outcome)?;
                if let Some(icon) = done.replaced {
                    garbage::unnamed(app, icon).await;
                }
                return reviewed(app, record, revision, Some(after), done.remarks).await;
            }
        }
    }
    Err(App::changed_meanwhile())
}

/// A revision without a review is approved, or is none.
async fn unreviewed(app: &App, record: &SnapRecord, number: u64) -> Result<Refusal, Refusal> {
    let (name, found) = (&record.name, revision(app, record, number).await?);
    Ok(match found {
        Some(_) => refuse(
            name,
            number,
            Act::Approve,
            &ActRefusal::Decided(ReviewState::Approved),
        ),
        None => unknown(name, number),
    })
}

fn refuse(name: &SnapName, number: u64, act: Act, why: &ActRefusal) -> Refusal {
    let message = format!("cannot {} revision {number} of {name}: {why}", phrase(act));
    match why {
        ActRefusal::Decided(_) => Refusal::conflict("already-reviewed", message),
        ActRefusal::NotAsked(_) => Refusal::conflict("not-asked", message),
        ActRefusal::Unfit => Refusal::conflict("unfit", message),
    }
}

fn phrase(act: Act) -> &'static str {
    match act {
        Act::Check | Act::Rerun => "check",
        Act::Approve => "approve",
        Act::Reject => "reject",
        Act::AskInformation => "ask about",
        Act::Answer => "answer for",
        Act::Supersede => "supersede",
    }
}

/// What an approval brought about besides.
#[derive(Debug, Default)]
struct Admitted {
    /// An icon that the snap shows no more.
    replaced: Option<BlobId>,
    /// What was not possible.
    remarks: Vec<String>,
}

/// Makes an approved revision one that devices get.
async fn admit(
    app: &App,
    ctx: &BrandCtx,
    snap: &mut SnapRecord,
    revision: &mut RevisionRecord,
    review: &mut ReviewRecord,
    commit: &mut Commit,
) -> Result<Admitted, Refusal> {
    let delegated = brands::show(app, ctx).await?.delegated;
    let declaration = declaration_of(app, snap).await?;
    let before = snap.clone();
    let provenance = revision.provenance.clone();
    let case = Case {
        app,
        ctx,
        snap: &before,
        file: File {
            blob: revision.blob,
            size: revision.size,
            provenance: &provenance,
        },
    };
    let numbered = signing::numbered(case, &declaration, revision, delegated, review.key.as_ref()).await?;
    numbered.sign(case, &mut revision.components, commit).await?;
    let mut done = Admitted::default();
    snap.kind = Some(revision.kind);
    // What people read is that of the newest revision, whenever an older one is approved.
    let newest = super::newest_approved(app, snap, revision.revision).await?;
    if newest.is_none_or(|newest| newest.revision < revision.revision) {
        let shown = snap.listing.icon.as_ref().map(|icon| icon.blob);
        describe(snap, &SnapYaml::parse(&revision.snap_yaml)?, review.icon.as_ref());
        let now = snap.listing.icon.as_ref().map(|icon| icon.blob);
        done.replaced = shown.filter(|shown| now != Some(*shown));
    }
    if review.channels.is_empty() {
        return Ok(done);
    }
    let new = NewRelease {
        revision: revision.revision,
        channels: review.channels.clone(),
        percentage: review.percentage,
        pause: None,
    };
    // Whoever asked for the release may have lost their part in the snap since.
    let asked = review.release_by.as_ref().or(review.uploader.as_ref());
    if let Some(asked) = asked
        && !may_still(app, asked, snap, Permission::SnapRelease).await?
    {
        let channels: Vec<String> = review
            .channels
            .drain(..)
            .map(|channel| channel.to_string())
            .collect();
        done.remarks.push(format!(
            "cannot release revision {} to {}: who asked for it may not release {} any more; release it yourself",
            revision.revision,
            channels.join(", "),
            snap.name
        ));
        return Ok(done);
    }
    let mut released = snap.clone();
    match releases::put(app, &mut released, revision, &new).await {
        Ok(()) => *snap = released,
        Err(refusal) if refusal.reason == crate::app::Reason::Unavailable => return Err(refusal),
        Err(refusal) => {
            review.channels.clear();
            done.remarks.push(refusal.message);
        }
    }
    Ok(done)
}

/// Judges a release of a revision that is not approved yet, as if it were: who uploads hears at once what is wrong.
pub(in crate::app::catalog) async fn foresee_release(
    app: &App,
    snap: &SnapRecord,
    revision: &RevisionRecord,
    new: &NewRelease,
) -> Result<(), Refusal> {
    let mut revision = revision.clone();
    revision.review = ReviewState::Approved;
    releases::put(app, &mut snap.clone(), &revision, new).await
}

/// The same file again while it waits, with other channels: it is released there when it is approved. None if it was
/// decided about meanwhile.
pub(in crate::app::catalog) async fn redirect(
    app: &App,
    ctx: &BrandCtx,
    snap: &SnapRecord,
    revision: &RevisionRecord,
    new: &NewRelease,
    also: Commit,
) -> Result<Option<ReviewRecord>, Refusal> {
    if !ctx.may_with(snap, Permission::SnapRelease) {
        return Err(no_snap(ctx, &snap.name));
    }
    ctx.check_channels(&new.channels)?;
    foresee_release(app, snap, revision, new).await?;
    let Versioned { mut record, version } = record_of(app, snap, revision.revision)
        .await?
        .ok_or_else(|| unknown(&snap.name, revision.revision))?;
    if !record.state.is_open() {
        return Ok(None);
    }
    record.channels.clone_from(&new.channels);
    record.release_by = ctx.account().cloned();
    record.percentage = new.percentage;
    let detail = releases::detail(new);
    let mut commit = also;
    commit.records.push(Change::replace(&record, version));
    commit.audit.push(vault_event(
        app,
        ctx,
        "review.redirect",
        snap.name.as_str(),
        &detail,
    ));
    match app.storage.commit(commit).await? {
        CommitOutcome::Conflict {
            kind: Kind::Review | Kind::Push | Kind::Upload,
            ..
        } => Ok(None),
        outcome => App::settle(&outcome).map(|()| Some(record)),
    }
}

/// An upload instead of an answer: reviews of the snap that wait for the publisher, for the same architectures, end.
pub(in crate::app::catalog) async fn supersede(
    app: &App,
    ctx: &BrandCtx,
    snap: &SnapRecord,
    by: &RevisionRecord,
    commit: &mut Commit,
) -> Result<(), Refusal> {
    let key = [snap.store_id.as_str(), snap.id.as_str()];
    for found in app.storage.all::<ReviewRecord>(key).await? {
        let mut review = found.record;
        if review.state != ReviewState::NeedsInformation {
            continue;
        }
        let stored = app
            .storage
            .find::<RevisionRecord>([snap.id.as_str(), &revision_key(review.revision)])
            .await?;
        let Some(stored) = stored.filter(|old| old.record.architectures == by.architectures) else {
            continue;
        };
        let mut revision = stored.record;
        let comment = format!("revision {} was uploaded instead", by.revision);
        let state = ReviewState::Rejected;
        review.step(app.clock.now(), ctx.actor(), Act::Supersede, state, &comment);
        revision.review = state;
        let detail = json!({ "revision": review.revision, "by": by.revision });
        commit.audit.push(vault_event(
            app,
            ctx,
            "review.supersede",
            snap.name.as_str(),
            &detail,
        ));
        commit.records.push(Change::replace(&revision, stored.version));
        commit.records.push(Change::replace(&review, found.version));
    }
    Ok(())
}
