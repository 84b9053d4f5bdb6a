//! Files and the records that name them: whether all are there and what they should be, and which ones nothing names.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;

use super::uploads;
use crate::app::doctor::Findings;
use crate::app::store::SnapEntry;
use crate::app::{App, Refusal};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::blob::{BlobId, BlobIdHasher};
use crate::domain::catalog::{DeltaRecord, RevisionRecord, SnapRecord, revision_key};
use crate::domain::review::ReviewRecord;
use crate::ports::{Commit, Key};

/// How long files that nothing names are left alone, in seconds: an upload may be about to name them.
pub const GRACE: i64 = 3600;

/// A file that must be there.
#[derive(Clone, Debug)]
struct Wanted {
    size: u64,
    /// What names it, for people.
    by: String,
}

/// Every file that a record names. Whoever keeps files in further records adds them here, or they are cleared away.
async fn wanted(app: &App) -> Result<BTreeMap<BlobId, Wanted>, Refusal> {
    let mut wanted = BTreeMap::new();
    let mut names = BTreeMap::new();
    // In the order in which files go on from one record to the next, so that none is missed on its way.
    let uploads = uploads::named(app).await?;
    let reviews = app.storage.all::<ReviewRecord>(Key(Vec::new())).await?;
    for found in app.storage.all::<SnapRecord>(Key(Vec::new())).await? {
        let snap = found.record;
        if let Some(icon) = &snap.listing.icon {
            let by = format!("the icon of snap {}", snap.name);
            wanted.insert(icon.blob, Wanted { size: icon.size, by });
        }
        for shot in &snap.listing.screenshots {
            let by = format!("a screenshot of snap {}", snap.name);
            wanted.insert(shot.blob, Wanted { size: shot.size, by });
        }
        names.insert(snap.id, snap.name);
    }
    for found in app.storage.all::<DeltaRecord>(Key(Vec::new())).await? {
        let delta = found.record;
        if let Some(file) = &delta.file {
            let snap = names.get(&delta.snap_id);
            let snap = snap.map_or_else(|| delta.snap_id.to_string(), ToString::to_string);
            let by = format!(
                "the delta of snap {snap} from revision {} to {}",
                delta.source, delta.target
            );
            let size = file.size;
            wanted.insert(file.blob, Wanted { size, by });
        }
    }
    for found in reviews {
        let review = found.record;
        if let (Some(icon), false) = (&review.icon, review.state.is_approved()) {
            let snap = names.get(&review.snap_id);
            let snap = snap.map_or_else(|| review.snap_id.to_string(), ToString::to_string);
            let by = format!("the icon of revision {} of snap {snap}", review.revision);
            wanted.insert(icon.blob, Wanted { size: icon.size, by });
        }
    }
    for found in app.storage.all::<RevisionRecord>(Key(Vec::new())).await? {
        let revision = found.record;
        let snap = names.get(&revision.snap_id);
        let snap = snap.map_or_else(|| revision.snap_id.to_string(), ToString::to_string);
        for component in &revision.components {
            let (name, number) = (&component.name, component.revision);
            let by = format!("revision {number} of component {snap}+{name}");
            let size = component.size;
            wanted.insert(component.blob, Wanted { size, by });
        }
        let by = format!("revision {} of snap {snap}", revision.revision);
        let size = revision.size;
        wanted.insert(revision.blob, Wanted { size, by });
    }
    for file in uploads {
        wanted.entry(file.blob).or_insert(Wanted {
            size: file.size,
            by: "an upload that waits to be used".to_owned(),
        });
    }
    Ok(wanted)
}

/// Whether anything of a snap names a file.
fn names(entry: &SnapEntry, file: BlobId) -> bool {
    let pictures = entry.record.listing.pictures().map(|(blob, _)| blob);
    let deltas = entry.deltas.values().filter_map(|delta| delta.file.as_ref());
    let revisions = entry.revisions.values().flat_map(|revision| {
        let components = revision.components.iter().map(|component| component.blob);
        components.chain([revision.blob])
    });
    pictures
        .chain(deltas.map(|delta| delta.blob))
        .chain(revisions)
        .any(|named| named == file)
}

/// The files of revisions that are not approved, which are in no catalogue of devices.
async fn held(app: &App) -> Result<BTreeSet<BlobId>, Refusal> {
    let mut held = BTreeSet::new();
    for found in app.storage.all::<ReviewRecord>(Key(Vec::new())).await? {
        let review = found.record;
        if review.state.is_approved() {
            continue;
        }
        held.insert(review.blob);
        held.extend(review.icon.map(|icon| icon.blob));
        let key = [review.snap_id.as_str(), &revision_key(review.revision)];
        if let Some(found) = app.storage.find::<RevisionRecord>(key).await? {
            held.extend(found.record.components.iter().map(|component| component.blob));
        }
    }
    Ok(held)
}

/// Clears a file away that something named until now (a replaced picture), unless something else names it, or it was kept
/// within [`GRACE`]. The latter, and what fails here, is left to [`collect`]. Reads all reviews: not for many files.
pub(super) async fn unnamed(app: &App, file: BlobId) {
    let clear = async {
        // In the order in which files go on: what is approved meanwhile is in the catalogue then.
        let waits = uploads::named(app).await?.iter().any(|named| named.blob == file);
        if waits || held(app).await?.contains(&file) {
            return Ok(());
        }
        let catalog = app.catalog.current(app).await?;
        // Catalogues may be large.
        let looked = tokio::task::spawn_blocking(move || catalog.every().any(|entry| names(entry, file)));
        if looked.await.is_ok_and(|named| !named) {
            let newest = app.clock.now().plus_seconds(-GRACE);
            app.blobs.remove(&file, newest.plus_seconds(1)).await?;
        }
        Ok::<_, Refusal>(())
    };
    if let Err(error) = clear.await {
        tracing::warn!(%error, %file, "cannot clear a file away that nothing names");
    }
}

/// Clears away the files that nothing names, if they were kept more than [`GRACE`] seconds ago; upkeep, without reading
/// any file. Their number.
pub(in crate::app) async fn collect(app: &App) -> Result<usize, Refusal> {
    // First what is there, then what is named: what is kept and named in between is not taken for garbage.
    let there = app.blobs.list().await?;
    let wanted = wanted(app).await?;
    let newest = app.clock.now().plus_seconds(-GRACE);
    let mut removed = 0;
    for blob in there {
        let old = !wanted.contains_key(&blob.id) && blob.kept_at <= newest;
        // Not after all, if somebody keeps it at this moment.
        if old && app.blobs.remove(&blob.id, newest.plus_seconds(1)).await? {
            removed += 1;
        }
    }
    if removed > 0 {
        app.commit(Commit {
            audit: vec![removal(app, Actor::System, removed)],
            ..Commit::default()
        })
        .await?;
    }
    Ok(removed)
}

fn removal(app: &App, actor: Actor, count: usize) -> AuditEvent {
    AuditEvent {
        time: app.clock.now(),
        actor,
        brand: None,
        action: "file.remove".to_owned(),
        subject: "orphans".to_owned(),
        detail: serde_json::Map::from_iter([("count".to_owned(), count.into())]),
    }
}

/// Reads every file that is named, and looks for those that are not. With `repair` the latter are removed, if they were
/// kept more than `grace` seconds ago.
pub(in crate::app) async fn examine(
    app: &App,
    findings: &mut Findings,
    repair: bool,
    grace: i64,
) -> Result<(), Refusal> {
    // First what is there, then what is named: what is kept and named in between is not taken for garbage.
    let there = app.blobs.list().await?;
    let wanted = wanted(app).await?;
    for (id, wanted) in &wanted {
        findings.files += 1;
        if let Some(problem) = broken(app, id, wanted.size).await? {
            findings.problem(format!("the file of {} ({id}) {problem}", wanted.by));
        }
    }
    let newest = app.clock.now().plus_seconds(-grace);
    let mut removed = Vec::new();
    for blob in there {
        if wanted.contains_key(&blob.id) {
            continue;
        }
        if blob.kept_at > newest {
            findings.young_files += 1;
            let judged = blob.kept_at.plus_seconds(grace);
            findings.judge_after = findings.judge_after.max(Some(judged));
            continue;
        }
        // Not after all, if somebody keeps it at this moment.
        if repair && app.blobs.remove(&blob.id, newest.plus_seconds(1)).await? {
            removed.push(blob.id.to_string());
        } else if !repair {
            let (id, size) = (blob.id, blob.size);
            findings.problem(format!(
                "file {id} ({size} bytes) belongs to nothing: `hallmark doctor --repair` removes it"
            ));
        }
    }
    if removed.is_empty() {
        return Ok(());
    }
    findings.removed_files = removed.len() as u64;
    app.commit(Commit {
        audit: vec![removal(app, Actor::Local, removed.len())],
        ..Commit::default()
    })
    .await
}

/// What is wrong with a file. Reads all of it.
async fn broken(app: &App, id: &BlobId, size: u64) -> Result<Option<String>, Refusal> {
    let Some(blob) = app.blobs.open(id).await? else {
        return Ok(Some("is missing".to_owned()));
    };
    if blob.size() != size {
        return Ok(Some(format!("has {} bytes, not {size}", blob.size())));
    }
    let mut stream = blob.stream(0, size);
    let mut hasher = BlobIdHasher::default();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => hasher.update(&piece),
            Err(error) => return Ok(Some(format!("does not read: {error}"))),
        }
    }
    Ok((hasher.finish() != *id).then(|| "has other contents than its name says".to_owned()))
}
