//! Releasing revisions and closing channels. A release is one replacement of one record, so no device ever sees a
//! channel map half changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::changes::apply;
use super::snap;
use super::snaps::{ATTEMPTS, replace, revision};
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::catalog::{
    Changed, Channel, MEMORY, ReleaseRefusal, RevisionRecord, SnapRecord, held_there, may_release,
    released_for,
};
use crate::domain::ident::{Architecture, SnapName};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Key};

/// A release to be made.
#[derive(Clone, Debug)]
pub struct NewRelease {
    /// The revision.
    pub revision: u64,
    /// Where to, at once; not empty.
    pub channels: Vec<Channel>,
    /// Only this part of the devices, out of 100.
    pub percentage: Option<f64>,
}

/// Releases a revision to all of these channels, or to none.
///
/// # Errors
/// `release-refused`, `channel-required`; an unknown revision is not found.
pub async fn release(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    new: &NewRelease,
) -> Result<SnapRecord, Refusal> {
    for _ in 0..ATTEMPTS {
        let mut found = snap(app, ctx, name, Permission::SnapRelease).await?;
        ctx.check_channels(&new.channels)?;
        let record = &mut found.record;
        let revision = revision(app, record, new.revision).await?.ok_or_else(|| {
            Refusal::not_found(format!("cannot find revision {} of snap {name}", new.revision))
        })?;
        put(app, record, &revision, new).await?;
        if let Some(done) = replace(app, ctx, found, "snap.release", &detail(new)).await? {
            return Ok(done);
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
            };
            put_for(app, record, &revision, &architectures, &new).await?;
        }
        if let Some(done) = replace(app, ctx, found, "snap.promote", &detail).await? {
            return Ok(done);
        }
    }
    Err(App::changed_meanwhile())
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
        may_release(snap, revision, channel, new.percentage, |number| {
            epochs.get(&number).cloned()
        })
        .map_err(|why| refuse(snap, new.revision, channel, &why))?;
        let number = revision.revision;
        snap.releases
            .release(architectures, channel, number, new.percentage, now);
    }
    Ok(())
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
    json!({ "revision": new.revision, "channels": new.channels, "percentage": new.percentage })
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
    for _ in 0..ATTEMPTS {
        let mut found = snap(app, ctx, name, Permission::SnapRelease).await?;
        ctx.check_channels([channel])?;
        if !found
            .record
            .releases
            .close(channel, architectures, app.clock.now())
        {
            return Err(Refusal::conflict(
                "channel-closed",
                format!("cannot close {channel} of {name}: nothing is released there"),
            ));
        }
        let detail = json!({ "channel": channel, "architectures": architectures });
        if let Some(done) = replace(app, ctx, found, "snap.close", &detail).await? {
            return Ok(done);
        }
    }
    Err(App::changed_meanwhile())
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
