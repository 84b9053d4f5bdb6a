//! Revisions that nobody needs any more: stores may say how many unreleased ones are kept of each snap. Numbers are never
//! given twice, and the assertions of what went stay: who has the file has a good one, and the same bytes uploaded again
//! are the same revision again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::changes::apply;
use crate::app::{App, Refusal, fleet};
use crate::domain::access::StoreRecord;
use crate::domain::assertion::{AssertionType, Typed, decode};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::catalog::{Changed, DeltaRecord, Override, RevisionRecord, SnapRecord, expired};
use crate::domain::review::ReviewRecord;
use crate::ports::{AssertionFilter, Change, Commit, CommitOutcome, Key, Versioned};

/// Forgets revisions beyond what the settings of their stores keep; upkeep. The number of those that went. Their files
/// belong to nothing then, and are cleared away after [`super::garbage::GRACE`].
pub(in crate::app) async fn expire(app: &App) -> Result<usize, Refusal> {
    let stores = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
    let keeping: BTreeMap<_, usize> = stores
        .into_iter()
        .filter_map(|found| {
            Some((
                found.record.id,
                usize::try_from(found.record.keep_unreleased?).ok()?,
            ))
        })
        .collect();
    if keeping.is_empty() {
        return Ok(0);
    }
    // Read before what names revisions: who names one meanwhile gives the snap another version, and its turn is over.
    let snaps = app.storage.all::<SnapRecord>(Key(Vec::new())).await?;
    let named = named(app).await?;
    let none = BTreeSet::new();
    let mut gone = 0;
    for snap in snaps {
        let Some(keep) = keeping.get(&snap.record.store_id) else {
            continue;
        };
        // Most snaps have fewer revisions altogether.
        if snap.record.newest_revision <= *keep as u64 {
            continue;
        }
        let named = named.get(snap.record.id.as_str()).unwrap_or(&none);
        gone += of_snap(app, snap, *keep, named).await?;
    }
    Ok(gone)
}

/// The revisions of snaps that assertions name, validation sets and validations, of whomever; and those that stores pin. What
/// waves name is asked for with each snap.
async fn named(app: &App) -> Result<BTreeMap<String, BTreeSet<u64>>, Refusal> {
    let mut named: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for found in app.storage.all::<Override>(Key(Vec::new())).await? {
        let revisions = named.entry(found.record.snap_id.to_string()).or_default();
        revisions.insert(found.record.revision);
    }
    for kind in [AssertionType::ValidationSet, AssertionType::Validation] {
        let filter = AssertionFilter {
            kind,
            key_prefix: Vec::new(),
            max_format: kind.info().max_format,
        };
        for stored in app.storage.assertions(&filter).await? {
            let Ok(assertion) = decode(&stored.encoded) else {
                continue;
            };
            match assertion.typed() {
                Typed::ValidationSet(set) => {
                    for snap in &set.snaps {
                        if let Some(revision) = snap.revision {
                            named.entry(snap.id.clone()).or_default().insert(revision);
                        }
                    }
                }
                Typed::Validation(view) => {
                    let revisions = named.entry(view.approved_snap_id.clone()).or_default();
                    revisions.insert(view.approved_snap_revision);
                }
                _ => {}
            }
        }
    }
    Ok(named)
}

async fn of_snap(
    app: &App,
    snap: Versioned<SnapRecord>,
    keep: usize,
    named: &BTreeSet<u64>,
) -> Result<usize, Refusal> {
    let Versioned {
        record: snap,
        version,
    } = snap;
    let id = snap.id.as_str();
    let revisions = app.storage.all::<RevisionRecord>([id]).await?;
    let all = revisions.iter().map(|found| &found.record);
    // No wave names a revision while this one goes.
    let (waved, _still) = fleet::named(app, &snap.id).await?;
    let named: BTreeSet<u64> = named.union(&waved).copied().collect();
    let old = expired(&snap.releases, all, keep, &named);
    if old.is_empty() {
        return Ok(0);
    }
    let mut records = vec![Change::replace(&snap, version)];
    for found in revisions
        .iter()
        .filter(|found| old.contains(&found.record.revision))
    {
        records.push(Change::delete(&found.record, found.version));
    }
    let reviews = app
        .storage
        .all::<ReviewRecord>([snap.store_id.as_str(), id])
        .await?;
    for found in reviews
        .iter()
        .filter(|found| old.contains(&found.record.revision))
    {
        records.push(Change::delete(&found.record, found.version));
    }
    for found in app.storage.all::<DeltaRecord>([id]).await? {
        let delta = &found.record;
        if old.contains(&delta.source) || old.contains(&delta.target) {
            records.push(Change::delete(delta, found.version));
        }
    }
    let event = AuditEvent {
        time: app.clock.now(),
        actor: Actor::System,
        brand: Some(snap.brand_id.clone().into()),
        action: "snap.revision-expire".to_owned(),
        subject: snap.name.to_string(),
        detail: serde_json::Map::from_iter([("revisions".to_owned(), json!(old))]),
    };
    let commit = Commit {
        records,
        audit: vec![event],
        ..Commit::default()
    };
    match apply(app, commit, &[Changed::Snap(snap.id.clone())]).await? {
        CommitOutcome::Done => Ok(old.len()),
        // Somebody changes it at this moment: the next round sees to it.
        CommitOutcome::Conflict { .. } => Ok(0),
        outcome => App::settle(&outcome).map(|()| 0),
    }
}
