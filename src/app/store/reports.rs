//! What devices report with every refresh, collected in memory and written in batches, off their way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::app::{App, Refusal};
use crate::domain::catalog::DeviceReport;
use crate::domain::ident::DeviceId;
use crate::ports::{Change, Commit, CommitOutcome, Record as _};

/// How often reports are written.
const EVERY: Duration = Duration::from_secs(5);
/// Reports in one commit.
const BATCH: usize = 128;
/// Reports that wait; further devices are left out until the next round. A device asks again within hours.
const MOST: usize = 20_000;
/// A report that says nothing new is written again only after this time, in seconds.
const STALE: i64 = 600;

/// What has been reported and not been written yet.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: Mutex<HashMap<DeviceId, Heard>>,
}

/// What was heard of a device; `told` is false where it only asked, without saying what it has.
#[derive(Clone, Debug)]
struct Heard {
    report: DeviceReport,
    told: bool,
}

impl Reports {
    /// Takes a report. `told`: it says what the device has; else only when it was seen counts.
    pub fn note(&self, report: DeviceReport, told: bool) {
        let mut waiting = self.lock();
        let full = waiting.len() >= MOST;
        match waiting.entry(report.device.clone()) {
            Entry::Occupied(mut entry) => {
                let heard = entry.get_mut();
                let seen = report.seen.max(heard.report.seen);
                if told {
                    *heard = Heard { report, told };
                }
                heard.report.seen = seen;
            }
            Entry::Vacant(entry) if !full => {
                entry.insert(Heard { report, told });
            }
            Entry::Vacant(_) => {}
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Heard>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes reports until `stop` is ready, and once more then.
pub async fn reports(app: App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let stopped = tokio::time::timeout(EVERY, &mut stop).await.is_ok();
        if let Err(error) = flush(&app).await {
            tracing::error!(%error, "cannot write what devices reported");
        }
        if stopped {
            return;
        }
    }
}

/// Writes what waits. What another process wrote meanwhile stays; the device will report again.
pub async fn flush(app: &App) -> Result<(), Refusal> {
    for batch in app.reports.take().chunks(BATCH) {
        let mut commit = Commit::default();
        for heard in batch {
            commit.records.extend(change(app, heard).await?);
        }
        if commit.records.is_empty() {
            continue;
        }
        if let CommitOutcome::Conflict { .. } = app.storage.commit(commit).await? {
            for heard in batch {
                let records: Vec<Change> = change(app, heard).await?.into_iter().collect();
                let commit = Commit {
                    records,
                    ..Commit::default()
                };
                app.storage.commit(commit).await?;
            }
        }
    }
    Ok(())
}

/// What has to be written, if anything.
async fn change(app: &App, Heard { report, told }: &Heard) -> Result<Option<Change>, Refusal> {
    let found = app.storage.find::<DeviceReport>(report.key()).await?;
    let Some(found) = found else {
        return Ok(Some(Change::create(report)));
    };
    let mut next = if *told {
        report.clone()
    } else {
        found.record.clone()
    };
    next.seen = found.record.seen;
    let same = next == found.record;
    if report.seen < found.record.seen || (same && report.seen < found.record.seen.plus_seconds(STALE)) {
        return Ok(None);
    }
    next.seen = report.seen;
    Ok(Some(Change::replace(&next, found.version)))
}
