//! Makes deltas in the background, one after the other: for every channel, from the revisions it held before to what it
//! holds now.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::entry::SnapEntry;
use super::view::Snapshot;
use crate::app::catalog::changes;
use crate::app::gauges::Queue;
use crate::app::once::once;
use crate::app::{App, Reason, Refusal};
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Changed, DeltaFile, DeltaRecord, is_worthwhile, likely_steps};
use crate::domain::ident::SnapId;
use crate::ports::{Change, Commit, CommitOutcome, Deltas};

/// From how many earlier revisions of a channel.
const LAST: usize = 3;

/// How often it is looked whether anything was released, in seconds.
const PAUSE: Duration = Duration::from_secs(10);

/// Makes deltas until `stop` is ready. `limit`: as for [`make_deltas`].
pub async fn deltas(app: App, maker: Arc<dyn Deltas>, limit: u64, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut done = None;
    loop {
        let work = async {
            let sequence = app.catalog.current(&app).await?.sequence();
            if done != Some(sequence) {
                let made = make_deltas(&app, &maker, limit).await?;
                // What was made changed the catalogue too; then it is looked at once more. So it is while others work: they
                // may not get to the end.
                done = (made == Made::default()).then_some(sequence);
            }
            Ok::<_, Refusal>(())
        };
        tokio::select! {
            () = &mut stop => return,
            result = work => if let Err(error) = result {
                tracing::error!(%error, "cannot make deltas; trying again");
            },
        }
        if tokio::time::timeout(PAUSE, &mut stop).await.is_ok() {
            return;
        }
    }
}

/// What came of looking for deltas to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Deltas that were made here, worthwhile or not.
    pub here: usize,
    /// Deltas that another process is making.
    pub elsewhere: usize,
}

/// Makes what is missing. `limit`: no larger files are read, in bytes; both files of a step are in memory at a time.
/// What another process is making is left to it.
///
/// # Errors
/// If the database or the files are out of reach; what was made until then is kept.
pub async fn make_deltas(app: &App, maker: &Arc<dyn Deltas>, limit: u64) -> Result<Made, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let mut made = Made::default();
    let mut waiting = Queue::default();
    let missing = missing(&catalog, limit);
    for _ in &missing {
        waiting.add(app.clock.now());
    }
    app.gauges.deltas(waiting);
    for (id, source, target) in missing {
        // Looked at again: much may have changed since.
        let catalog = app.catalog.current(app).await?;
        let Some(entry) = catalog.any(&id) else { continue };
        if !entry.deltas.contains_key(&(source, target)) {
            let name = format!("delta {id} {source} {target}");
            match once(app, &name, step(app, maker, entry, source, target)).await? {
                Some(outcome) => made.here += usize::from(outcome?),
                None => made.elsewhere += 1,
            }
        }
        waiting.waiting -= 1;
        waiting.oldest = waiting.oldest.filter(|_| waiting.waiting > 0);
        app.gauges.deltas(waiting);
    }
    Ok(made)
}

fn missing(catalog: &Snapshot, limit: u64) -> Vec<(SnapId, u64, u64)> {
    let small = |entry: &SnapEntry, revision| {
        let found = entry.revisions.get(&revision);
        found.is_some_and(|found| found.size <= limit)
    };
    let mut steps = Vec::new();
    for entry in catalog.every() {
        for (source, target) in likely_steps(&entry.record.releases, LAST) {
            let known = entry.deltas.contains_key(&(source, target));
            if !known && small(entry, source) && small(entry, target) {
                steps.push((entry.record.id.clone(), source, target));
            }
        }
    }
    steps
}

/// Makes one delta and records it. False if it is not needed any more.
async fn step(
    app: &App,
    maker: &Arc<dyn Deltas>,
    entry: &SnapEntry,
    source: u64,
    target: u64,
) -> Result<bool, Refusal> {
    let (Some(from), Some(to)) = (entry.revisions.get(&source), entry.revisions.get(&target)) else {
        return Ok(false);
    };
    let (Some(old), Some(new)) = (read(app, &from.blob).await?, read(app, &to.blob).await?) else {
        tracing::error!(snap = %entry.record.name, source, target, "cannot make a delta: a file is gone");
        return Ok(false);
    };
    let worker = Arc::clone(maker);
    let delta = tokio::task::spawn_blocking(move || worker.make(&old, &new)).await;
    let delta = match delta {
        Ok(Ok(delta)) => Some(delta),
        Ok(Err(why)) => {
            tracing::warn!(snap = %entry.record.name, source, target, %why, "cannot make a delta");
            None
        }
        Err(error) => {
            tracing::error!(snap = %entry.record.name, source, target, %error, "making a delta broke off");
            None
        }
    };
    let delta = delta.filter(|delta| is_worthwhile(delta.len() as u64, to.size));
    let file = match delta {
        Some(delta) => Some(keep(app, delta).await?),
        None => None,
    };
    let record = DeltaRecord {
        snap_id: entry.record.id.clone(),
        source,
        target,
        format: maker.format().to_owned(),
        file,
        created: app.clock.now(),
    };
    let commit = Commit {
        records: vec![Change::create(&record)],
        ..Commit::default()
    };
    let outcome = changes::apply(app, commit, &[Changed::Snap(record.snap_id)]).await?;
    // Another process may have been faster.
    Ok(outcome == CommitOutcome::Done)
}

async fn keep(app: &App, delta: Vec<u8>) -> Result<DeltaFile, Refusal> {
    let mut staging = app.blobs.stage().await.map_err(trouble)?;
    staging.write(delta.into()).await.map_err(trouble)?;
    let staged = staging.finish().await.map_err(trouble)?;
    let size = staged.digest().size;
    let blob = staged.keep().await.map_err(trouble)?;
    Ok(DeltaFile { blob, size })
}

async fn read(app: &App, id: &BlobId) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(blob) = app.blobs.open(id).await.map_err(trouble)? else {
        return Ok(None);
    };
    let mut bytes = Vec::with_capacity(usize::try_from(blob.size()).unwrap_or_default());
    let mut pieces = blob.stream(0, blob.size());
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(trouble)?);
    }
    Ok(Some(bytes))
}

fn trouble(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        Reason::Unavailable,
        "unavailable",
        format!("cannot make a delta: {error}"),
    )
}
