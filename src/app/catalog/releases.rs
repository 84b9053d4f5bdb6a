//! Releasing revisions and closing channels. A release is one replacement of one record, so no device ever sees a
//! channel map half changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::changes::apply;
use super::snap;
use super::snaps::{ATTEMPTS, replace, revision};
use crate::app::{App, BrandCtx, Refusal, vault_event};
use crate::domain::access::Permission;
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::catalog::{
    Changed, Channel, MEMORY, Part, ReleaseRefusal, RevisionRecord, SnapRecord, held_there, may_release,
    released_for,
};
use crate::domain::ident::{Architecture, SnapName};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Key, Kind};

/// A release to be made.
#[derive(Clone, Debug)]
pub struct NewRelease {
    /// The revision.
    pub revision: u64,
    /// Where to, at once; not empty.
    pub channels: Vec<Channel>,
    /// Only this part of the devices, out of 100.
    pub percentage: Option<f64>,
    /// Whether that part waits, so that no further device gets it, or goes on. Without a percentage it is the one the
    /// revision has there. None = it does not wait.
    pub pause: Option<bool>,
}

/// One step of a change of what is released.
#[derive(Clone, Debug)]
pub enum Step {
    /// Releases a revision.
    Release(NewRelease),
    /// Closes a channel, for these architectures (none given: for all).
    Close(Channel, Vec<Architecture>),
}

/// What a change did.
#[derive(Clone, Debug)]
pub struct Done {
    /// The snap after it.
    pub snap: SnapRecord,
    /// The channels that were closed before and are open now.
    pub opened: Vec<Channel>,
    /// The channels that were open before and are closed now.
    pub closed: Vec<Channel>,
}

/// Releases a revision to all of these channels, or to none.
///
/// # Errors
/// `release-refused`, `channel-required`, `not-progressive` where there is nothing to pause or resume; an unknown revision is not found.
pub async fn release(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    new: &NewRelease,
) -> Result<SnapRecord, Refusal> {
    let done = change(app, ctx, name, &[Step::Release(new.clone())]).await?;
    Ok(done.snap)
}

/// Like [`release`], in one commit with `also`. None if a record of `also` has changed meanwhile.
pub(super) async fn release_with(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    new: &NewRelease,
    also: &Commit,
) -> Result<Option<SnapRecord>, Refusal> {
    let done = change_with(app, ctx, name, &[Step::Release(new.clone())], also).await?;
    Ok(done.map(|done| done.snap))
}

/// Takes all of these steps, one after the other, or none.
///
/// # Errors
/// As [`release`] and [`close`].
pub async fn change(app: &App, ctx: &BrandCtx, name: &SnapName, steps: &[Step]) -> Result<Done, Refusal> {
    let done = change_with(app, ctx, name, steps, &Commit::default()).await?;
    done.ok_or_else(App::changed_meanwhile)
}

async fn change_with(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    steps: &[Step],
    also: &Commit,
) -> Result<Option<Done>, Refusal> {
    for _ in 0..ATTEMPTS {
        let found = snap(app, ctx, name, Permission::SnapRelease).await?;
        let mut record = found.record;
        let before = open_channels(&record, app.clock.now());
        let mut audit = Vec::new();
        for step in steps {
            let (action, detail) = match step {
                Step::Release(new) => {
                    ctx.check_channels(&new.channels)?;
                    let revision = revision(app, &record, new.revision).await?.ok_or_else(|| {
                        Refusal::not_found(format!("cannot find revision {} of snap {name}", new.revision))
                    })?;
                    put(app, &mut record, &revision, new).await?;
                    ("snap.release", detail(new))
                }
                Step::Close(channel, architectures) => {
                    ctx.check_channels([channel])?;
                    if !record.releases.close(channel, architectures, app.clock.now()) {
                        return Err(Refusal::conflict(
                            "channel-closed",
                            format!("cannot close {channel} of {name}: nothing is released there"),
                        ));
                    }
                    let detail = json!({ "channel": channel, "architectures": architectures });
                    ("snap.close", detail)
                }
            };
            audit.push(vault_event(app, ctx, action, name.as_str(), &detail));
        }
        let mut commit = also.clone();
        commit.records.push(Change::replace(&record, found.version));
        commit.audit.extend(audit);
        match apply(app, commit, &[Changed::Snap(record.id.clone())]).await? {
            CommitOutcome::Conflict { kind: Kind::Snap, .. } => {}
            CommitOutcome::Conflict { kind, .. } if also.records.iter().any(|one| one.kind == kind) => {
                return Ok(None);
            }
            outcome => {
                App::settle(&outcome)?;
                let after = open_channels(&record, app.clock.now());
                return Ok(Some(Done {
                    opened: after.difference(&before).cloned().collect(),
                    closed: before.difference(&after).cloned().collect(),
                    snap: record,
                }));
            }
        }
    }
    Err(App::changed_meanwhile())
}

/// Releases what `from` holds now to `to`: for every architecture the revision it has there, to all devices.
///
/// # Errors
/// `channel-closed` where `from` holds nothing, `release-refused`.
pub async fn promote(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    from: &Channel,
    to: &Channel,
) -> Result<SnapRecord, Refusal> {
    for _ in 0..ATTEMPTS {
        let mut found = snap(app, ctx, name, Permission::SnapRelease).await?;
        ctx.check_channels([to])?;
        let record = &mut found.record;
        let mut held: BTreeMap<u64, Vec<Architecture>> = BTreeMap::new();
        for entry in record.releases.listed(app.clock.now()) {
            if entry.channel == *from {
                held.entry(entry.revision)
                    .or_default()
                    .push(entry.architecture.clone());
            }
        }
        if held.is_empty() {
            return Err(Refusal::conflict(
                "channel-closed",
                format!("cannot promote {from} of {name}: nothing is released there"),
            ));
        }
        let detail = json!({ "from": from, "to": to, "revisions": held.keys().collect::<Vec<_>>() });
        // What is for all goes first: it would take the place of what is for one.
        let mut held: Vec<(u64, Vec<Architecture>)> = held.into_iter().collect();
        held.sort_by_key(|(_, architectures)| !architectures.contains(&Architecture::ANY));
        for (number, architectures) in held {
            let revision = revision(app, record, number)
                .await?
                .ok_or_else(|| Refusal::not_found(format!("cannot find revision {number} of snap {name}")))?;
            let new = NewRelease {
                revision: number,
                channels: vec![to.clone()],
                percentage: None,
                pause: None,
            };
            put_for(app, record, &revision, &architectures, &new).await?;
        }
        if let Some(done) = replace(app, ctx, found, "snap.promote", &detail).await? {
            return Ok(done);
        }
    }
    Err(App::changed_meanwhile())
}

fn open_channels(snap: &SnapRecord, now: Timestamp) -> BTreeSet<Channel> {
    let open = snap.releases.listed(now).into_iter();
    open.map(|release| release.channel.clone()).collect()
}

/// Judges a release of `revision` and writes it into `snap`.
pub(super) async fn put(
    app: &App,
    snap: &mut SnapRecord,
    revision: &RevisionRecord,
    new: &NewRelease,
) -> Result<(), Refusal> {
    put_for(app, snap, revision, &released_for(revision), new).await
}

/// The same for some of its architectures.
async fn put_for(
    app: &App,
    snap: &mut SnapRecord,
    revision: &RevisionRecord,
    architectures: &[Architecture],
    new: &NewRelease,
) -> Result<(), Refusal> {
    if new.channels.is_empty() {
        return Err(Refusal::invalid(
            "channel-required",
            "cannot release to no channel: name one or more",
        ));
    }
    let now = app.clock.now();
    forget(app, snap, now).await?;
    for channel in &new.channels {
        let epochs = epochs(app, snap, held_there(&snap.releases, architectures, channel)).await?;
        let part = part(snap, architectures, channel, new, now)?;
        may_release(
            snap,
            revision,
            channel,
            part.map(|part| part.percentage),
            |number| epochs.get(&number).cloned(),
        )
        .map_err(|why| refuse(snap, new.revision, channel, &why))?;
        let number = revision.revision;
        snap.releases
            .release_part(architectures, channel, number, part, now);
    }
    Ok(())
}

/// The part of the devices a release is for.
fn part(
    snap: &SnapRecord,
    architectures: &[Architecture],
    channel: &Channel,
    new: &NewRelease,
    now: Timestamp,
) -> Result<Option<Part>, Refusal> {
    let paused = new.pause == Some(true);
    let percentage = match (new.percentage, new.pause) {
        (None, None) => return Ok(None),
        (Some(percentage), _) => percentage,
        (None, Some(_)) => {
            let held = snap
                .releases
                .percentage(architectures, channel, new.revision, now);
            held.ok_or_else(|| {
                Refusal::conflict(
                    "not-progressive",
                    format!(
                        "cannot {} revision {} of {} in {channel}: it is not there for a part of the devices; name a percentage",
                        if paused { "pause" } else { "resume" },
                        new.revision,
                        snap.name
                    ),
                )
            })?
        }
    };
    if paused && percentage >= 100.0 {
        return Err(Refusal::invalid(
            "invalid-percentage",
            "cannot pause a release for all devices: name a percentage below 100",
        ));
    }
    Ok(Some(Part { percentage, paused }))
}

fn refuse(snap: &SnapRecord, revision: u64, channel: &Channel, why: &ReleaseRefusal) -> Refusal {
    let message = format!(
        "cannot release revision {revision} of {} to {channel}: {why}",
        snap.name
    );
    match why {
        ReleaseRefusal::NoTrack(_) => Refusal::invalid("no-such-track", message),
        ReleaseRefusal::Percentage(_) => Refusal::invalid("invalid-percentage", message),
        ReleaseRefusal::NotApproved(_) => Refusal::conflict("not-approved", message),
        ReleaseRefusal::NotStable { .. } | ReleaseRefusal::Epoch { .. } | ReleaseRefusal::TooMany => {
            Refusal::conflict("release-refused", message)
        }
    }
}

pub(super) fn detail(new: &NewRelease) -> Value {
    let mut detail =
        json!({ "revision": new.revision, "channels": new.channels, "percentage": new.percentage });
    if let (Some(pause), Some(detail)) = (new.pause, detail.as_object_mut()) {
        detail.insert("pause".to_owned(), pause.into());
    }
    detail
}

async fn epochs(
    app: &App,
    snap: &SnapRecord,
    numbers: Vec<u64>,
) -> Result<BTreeMap<u64, crate::domain::snap::Epoch>, Refusal> {
    let mut epochs = BTreeMap::new();
    for number in numbers {
        if let Some(found) = revision(app, snap, number).await? {
            epochs.insert(number, found.epoch);
        }
    }
    Ok(epochs)
}

/// Forgets what ended long ago, but for revisions that lead devices from one epoch to another.
async fn forget(app: &App, snap: &mut SnapRecord, now: Timestamp) -> Result<(), Refusal> {
    let oldest = now.plus_seconds(-MEMORY);
    let mut old: Vec<u64> = snap
        .releases
        .past
        .iter()
        .filter(|past| past.until < oldest)
        .map(|past| past.revision)
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    old.sort_unstable();
    old.dedup();
    let epochs = epochs(app, snap, old).await?;
    let leads = |number: u64| epochs.get(&number).is_some_and(|epoch| epoch.read().len() > 1);
    snap.releases.forget(now, leads);
    Ok(())
}

/// Closes a channel, for these architectures (none given: for all): who follows it gets what the safer risks hold.
///
/// # Errors
/// `channel-closed` where nothing is open.
pub async fn close(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    channel: &Channel,
    architectures: &[Architecture],
) -> Result<SnapRecord, Refusal> {
    let step = Step::Close(channel.clone(), architectures.to_vec());
    Ok(change(app, ctx, name, &[step]).await?.snap)
}

/// Closes branches whose time is over; upkeep. Devices do not wait for it: a branch that is over answers as closed.
pub(in crate::app) async fn expire(app: &App) -> Result<(), Refusal> {
    for mut found in app.storage.all::<SnapRecord>(Key(Vec::new())).await? {
        let now = app.clock.now();
        let over: Vec<String> = found
            .record
            .releases
            .open
            .iter()
            .filter(|open| open.expires.is_some_and(|end| end <= now))
            .map(|open| open.channel.to_string())
            .collect();
        if !found.record.releases.expire(now) {
            continue;
        }
        let snap = &found.record;
        let event = AuditEvent {
            time: now,
            actor: Actor::System,
            brand: Some(snap.brand_id.clone().into()),
            action: "snap.branch-expire".to_owned(),
            subject: snap.name.to_string(),
            detail: serde_json::Map::from_iter([("channels".to_owned(), json!(over))]),
        };
        let commit = Commit {
            records: vec![Change::replace(snap, found.version)],
            audit: vec![event],
            ..Commit::default()
        };
        match apply(app, commit, &[Changed::Snap(snap.id.clone())]).await? {
            // Somebody changes it at this moment: the next round sees to it.
            CommitOutcome::Done | CommitOutcome::Conflict { .. } => {}
            outcome => App::settle(&outcome)?,
        }
    }
    Ok(())
}
