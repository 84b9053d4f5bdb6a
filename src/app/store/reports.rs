//! What devices report with every refresh, collected in memory and written in batches, off their way.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::refresh::Context;
use super::view::Snapshot;
use crate::app::numbers::Numbers;
use crate::app::{App, Refusal, fleet};
use crate::domain::catalog::{DeviceReport, ReportedSnap};
use crate::domain::ident::{Architecture, DeviceId, SnapId};
use crate::domain::numbers::{Step, count};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Record as _};

/// How often reports are written.
const EVERY: Duration = Duration::from_secs(5);
/// Reports in one commit.
const BATCH: usize = 128;
/// Reports that wait; further devices are left out until the next round. A device asks again within hours.
const MOST: usize = 20_000;
/// How often a report is tried again that somebody else was faster than.
const TRIES: usize = 4;
/// A report that says nothing new is written again only after this time, in seconds, or on another day.
const STALE: i64 = 600;

/// What has been reported and not been written yet.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: Mutex<HashMap<DeviceId, Heard>>,
    /// Devices that fetched something of a wave, where other processes have to know.
    fetched: Mutex<HashSet<DeviceId>>,
}

/// What a device says of itself with a request.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'r> {
    /// The device.
    pub device: &'r DeviceId,
    /// The store of its model.
    pub store: Option<&'r str>,
    /// Its architecture.
    pub architecture: &'r Architecture,
    /// The client it runs, as that names itself.
    pub client: Option<&'r str>,
    /// When it asked.
    pub seen: Timestamp,
    /// Whether it says what it has; else only when it was seen counts.
    pub told: bool,
}

/// What was heard of a device, all texts in one: it waits for some seconds, and a fleet says much in that time.
#[derive(Clone, Debug)]
struct Heard {
    architecture: Architecture,
    seen: Timestamp,
    told: bool,
    texts: String,
    store: Option<Part>,
    client: Option<Part>,
    snaps: Vec<HeardSnap>,
}

/// From where to where a text reaches.
type Part = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct HeardSnap {
    snap_id: Part,
    instance: Option<Part>,
    revision: u64,
    channel: Option<Part>,
    held: bool,
}

impl Heard {
    fn new(telling: &Telling<'_>, context: &Context<'_>) -> Self {
        let mut texts = String::with_capacity(128 + context.len() * 56);
        let mut put = |text: &str| {
            let place = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
            let from = place(texts.len());
            texts.push_str(text);
            (from, place(texts.len()))
        };
        let store = telling.store.map(&mut put);
        let client = telling.client.map(&mut put);
        let snaps = context.iter().map(|installed| HeardSnap {
            snap_id: put(installed.snap_id),
            instance: (installed.instance_key != installed.snap_id).then(|| put(installed.instance_key)),
            revision: installed.revision,
            channel: installed.tracking_channel.map(&mut put),
            held: installed.held,
        });
        Self {
            architecture: telling.architecture.clone(),
            seen: telling.seen,
            told: telling.told,
            snaps: snaps.collect(),
            store,
            client,
            texts,
        }
    }

    /// The same as it is stored.
    fn report(&self, device: &DeviceId) -> DeviceReport {
        let text = |(from, to): Part| {
            let place = |number| usize::try_from(number).unwrap_or(usize::MAX);
            self.texts
                .get(place(from)..place(to))
                .unwrap_or_default()
                .to_owned()
        };
        let snaps = self.snaps.iter().map(|snap| ReportedSnap {
            snap_id: text(snap.snap_id),
            instance: snap.instance.map(text),
            revision: snap.revision,
            channel: snap.channel.map(text),
            held: snap.held,
        });
        DeviceReport {
            device: device.clone(),
            store: self.store.map(text),
            architecture: self.architecture.clone(),
            client: self.client.map(text),
            snaps: snaps.collect(),
            seen: self.seen,
            heard: self.told.then_some(self.seen),
            reverted: Vec::new(),
            wave: None,
            counted: None,
        }
    }
}

impl Reports {
    /// Takes a report.
    pub fn note(&self, telling: &Telling<'_>, context: &Context<'_>) {
        let new = Heard::new(telling, context);
        let mut waiting = self.lock();
        if let Some(heard) = waiting.get_mut(telling.device) {
            let seen = new.seen.max(heard.seen);
            if new.told {
                *heard = new;
            }
            heard.seen = seen;
        } else if waiting.len() < MOST {
            waiting.insert(telling.device.clone(), new);
        }
    }

    /// A device fetched something of its wave.
    pub fn note_fetched(&self, device: &DeviceId) {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.len() < MOST {
            fetched.insert(device.clone());
        }
    }

    fn take_fetched(&self) -> Vec<DeviceId> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fetched: Vec<_> = std::mem::take(&mut *fetched).into_iter().collect();
        fetched.sort_unstable();
        fetched
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn take(&self) -> Vec<(DeviceReport, bool)> {
        let waiting = std::mem::take(&mut *self.lock());
        let report = |(device, heard): (DeviceId, Heard)| (heard.report(&device), heard.told);
        let mut reports: Vec<_> = waiting.into_iter().map(report).collect();
        // In one order: processes that write of the same devices do not wait for each other in a circle.
        reports.sort_unstable_by(|(one, _), (other, _)| one.device.cmp(&other.device));
        reports
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

/// Writes what waits, and with it the numbers that follow. What another process wrote meanwhile stays; the device will
/// report again.
pub async fn flush(app: &App) -> Result<(), Refusal> {
    flush_told(app).await?;
    // After what the devices said before they fetched it.
    for batch in app.reports.take_fetched().chunks(BATCH) {
        if !write_fetched(app, batch).await? {
            for device in batch {
                let mut tries = 0;
                while !write_fetched(app, std::slice::from_ref(device)).await? && tries < TRIES {
                    tries += 1;
                }
            }
        }
    }
    Ok(())
}

/// Writes what devices fetched; false if something of it was changed meanwhile, and nothing written.
async fn write_fetched(app: &App, batch: &[DeviceId]) -> Result<bool, Refusal> {
    let mut commit = Commit::default();
    for device in batch {
        let found = app
            .storage
            .find::<DeviceReport>(DeviceReport::key_of(device))
            .await?;
        if let Some(mut found) = found
            && fleet::put_fetched(app, &mut found.record)
        {
            commit.records.push(Change::replace(&found.record, found.version));
        }
    }
    Ok(commit.records.is_empty() || app.storage.commit(commit).await? == CommitOutcome::Done)
}

async fn flush_told(app: &App) -> Result<(), Refusal> {
    if app.reports.waiting() == 0 {
        return Ok(());
    }
    let catalog = app.catalog.current(app).await?;
    for batch in app.reports.take().chunks(BATCH) {
        if !write(app, &catalog, batch).await? {
            for report in batch {
                // Somebody else wrote of this device, or it takes turns with another flush on the same numbers.
                let mut tries = 0;
                while !write(app, &catalog, std::slice::from_ref(report)).await? && tries < TRIES {
                    tries += 1;
                }
            }
        }
    }
    Ok(())
}

/// Writes reports with their numbers, in one commit; false if something of it was changed meanwhile, and nothing written.
async fn write(app: &App, catalog: &Snapshot, batch: &[(DeviceReport, bool)]) -> Result<bool, Refusal> {
    let mut commit = Commit::default();
    let mut steps = Vec::new();
    for (report, told) in batch {
        if let Some((change, counted)) = change(app, catalog, report, *told).await? {
            commit.records.push(change);
            steps.extend(counted);
        }
    }
    if commit.records.is_empty() {
        return Ok(true);
    }
    let draft = Numbers::draft(app, catalog, &steps).await?;
    commit.records.extend(draft.changes());
    let outcome = app.storage.commit(commit).await;
    if !matches!(outcome, Ok(CommitOutcome::Done)) {
        app.numbers.forget(&draft);
        outcome?;
        return Ok(false);
    }
    app.numbers.keep(draft);
    Ok(true)
}

/// What has to be written, if anything, and what it means for the numbers of devices.
async fn change(
    app: &App,
    catalog: &Snapshot,
    report: &DeviceReport,
    told: bool,
) -> Result<Option<(Change, Vec<Step>)>, Refusal> {
    let ours = |id: &SnapId| catalog.any(id).is_some();
    let found = app.storage.find::<DeviceReport>(report.key()).await?;
    let Some(found) = found else {
        let mut first = report.clone();
        fleet::observe(app, None, &mut first, told);
        let steps = count(None, &mut first, ours);
        return Ok(Some((Change::create(&first), steps)));
    };
    // Another process heard it later, or the clock went back: what is recorded is its last word.
    if report.seen < found.record.seen {
        return Ok(None);
    }
    let mut next = if told {
        report.clone()
    } else {
        found.record.clone()
    };
    next.seen = report.seen;
    fleet::observe(app, Some(&found.record), &mut next, told);
    let steps = if told {
        count(Some(&found.record), &mut next, ours)
    } else {
        Vec::new()
    };
    (next.seen, next.heard) = (found.record.seen, found.record.heard);
    let waited_for = || told && fleet::is_waited_for(app, &found.record);
    if next == found.record && report.seen < found.record.seen.plus_seconds(STALE) && !waited_for() {
        return Ok(None);
    }
    next.seen = report.seen;
    if told {
        next.heard = report.heard;
    }
    Ok(Some((Change::replace(&next, found.version), steps)))
}
