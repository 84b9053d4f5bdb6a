//! Reading the fleet, at start and where following lost its thread: places of devices, waves and what is published, then what
//! devices last reported.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::index::{State, id_of};
use super::{Fleet, rollout};
use crate::app::{App, Refusal};
use crate::domain::catalog::DeviceReport;
use crate::domain::fleet::{Exposure, FleetDevice, ProductionMap, WaveRecord};
use crate::domain::ident::{DeviceId, StoreId, WaveName};
use crate::domain::vault::{ModelRecord, Standing};
use crate::ports::{Changes, Key, Kind, Record, StoreError, Versioned};

/// Records that are read at a time.
const PAGE: usize = 2_000;

/// Brings the fleet into memory, once. Until then no device gets an answer: a production device must never be taken for a
/// test device.
///
/// # Errors
/// If the database is out of reach, or a record is broken.
pub async fn start(app: &App) -> Result<(), Refusal> {
    let load = || async {
        // Taken before anything is read: what others change meanwhile is found from here on.
        let (mark, begun) = (app.storage.mark().await?, Instant::now());
        let mut place = Place::New(Box::default());
        load(app, &mut place).await?;
        if let Place::New(state) = place {
            app.fleet.write(|place| *place = *state);
        }
        app.fleet.following.begin(mark, begun).await;
        Ok::<(), Refusal>(())
    };
    app.fleet.loaded.get_or_try_init(load).await.map(drop)
}

/// Reads everything anew into the fleet that is in memory: what is known stays, numbers of devices too.
///
/// # Errors
/// If the database is out of reach, or a record is broken.
pub(super) async fn reload(app: &App) -> Result<(), Refusal> {
    load(app, &mut Place::Live(&app.fleet)).await
}

/// Where what is read goes.
enum Place<'f> {
    /// Nobody sees it yet.
    New(Box<State>),
    Live(&'f Fleet),
}

impl Place<'_> {
    fn change<T>(&mut self, change: impl FnOnce(&mut State) -> T) -> T {
        match self {
            Self::New(state) => change(state),
            Self::Live(fleet) => fleet.write(change),
        }
    }

    fn take(&mut self, batch: Batch) {
        self.change(|state| batch.apply(state));
    }
}

/// Records of the fleet that are applied in one go.
#[derive(Debug, Default)]
pub(super) struct Batch {
    models: Vec<Versioned<ModelRecord>>,
    maps: Vec<Versioned<ProductionMap>>,
    waves: Vec<Versioned<WaveRecord>>,
    devices: Vec<Versioned<FleetDevice>>,
    standings: Vec<(DeviceId, Option<Standing>)>,
    reports: Vec<DeviceReport>,
    exposures: Vec<(Exposure, Vec<u128>)>,
}

impl TryFrom<Changes> for Batch {
    type Error = StoreError;

    fn try_from(changes: Changes) -> Result<Self, StoreError> {
        let mut batch = Self {
            standings: changes.standings,
            ..Self::default()
        };
        for (kind, stored) in changes.records {
            match kind {
                Kind::Model => batch.models.push(stored.try_into()?),
                Kind::ProductionMap => batch.maps.push(stored.try_into()?),
                Kind::Wave => batch.waves.push(stored.try_into()?),
                Kind::FleetDevice => batch.devices.push(stored.try_into()?),
                Kind::Device => batch
                    .reports
                    .push(Versioned::<DeviceReport>::try_from(stored)?.record),
                Kind::Exposure => {
                    let row = Versioned::<Exposure>::try_from(stored)?.record;
                    let devices = read(&row)?;
                    batch.exposures.push((row, devices));
                }
                _ => {}
            }
        }
        Ok(batch)
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            models,
            maps,
            waves,
            devices,
            standings,
            reports,
            exposures,
        } = self;
        models.is_empty()
            && maps.is_empty()
            && waves.is_empty()
            && devices.is_empty()
            && standings.is_empty()
            && reports.is_empty()
            && exposures.is_empty()
    }

    /// Whether it may change what becomes of devices that have no place.
    pub(super) fn has_rules(&self) -> bool {
        !self.models.is_empty()
    }

    /// Applies all of it. What is older than what is known changes nothing, so it does not matter who tells of it, and how often.
    pub(super) fn apply(self, state: &mut State) {
        for found in self.models {
            state.put_rule(&found.record, found.version);
        }
        for found in self.maps {
            state.put_map(found.record, found.version);
        }
        for found in self.waves {
            state.put_wave(Arc::new(found.record), found.version);
        }
        for found in self.devices {
            state.put(&found.record, found.version);
        }
        for (device, standing) in self.standings {
            if let Some(number) = state.number(id_of(&device)) {
                state.deny(number, standing == Some(Standing::Denied));
            }
        }
        for report in self.reports {
            apply_report(state, report);
        }
        // Last: devices are counted once for what they are and what they run.
        for (row, devices) in self.exposures {
            state.expose(&row.store, &row.wave, &devices);
        }
    }
}

/// What a device last reported, as it is recorded.
pub(super) fn apply_report(state: &mut State, report: DeviceReport) {
    let Some(number) = state.number(id_of(&report.device)) else {
        return;
    };
    state.report(number, &report);
    if let Some(heard) = report.heard {
        state.hear(number, heard);
    }
    state.set_reverted(number, report.reverted);
    if let Some((place, told)) = state.place(number).cloned().zip(report.wave)
        && let Some(shown) = state.wave_mut(&place.store, &told.wave)
        && shown.wave().is_open()
    {
        let noticed = shown.progress.entry(number).or_default();
        if !noticed.is_later_than(&told.progress) {
            *noticed = told.progress.with(noticed);
        }
    }
}

async fn load(app: &App, place: &mut Place<'_>) -> Result<(), Refusal> {
    let storage = &*app.storage;
    let everything = || Key(Vec::new());
    let first = Batch {
        models: storage.all(everything()).await?,
        maps: storage.all(everything()).await?,
        waves: storage.all(everything()).await?,
        ..Batch::default()
    };
    let denying: Vec<_> = first
        .models
        .iter()
        .map(|found| (found.record.brand_id.clone(), found.record.name.clone()))
        .collect();
    place.take(first);
    each(app, |devices| {
        place.take(Batch {
            devices,
            ..Batch::default()
        });
    })
    .await?;
    if place.change(|state| state.len()) == 0 {
        return Ok(());
    }
    let mut denied = HashSet::new();
    for (brand, model) in denying {
        let mut after = None;
        loop {
            let page = storage.standings(&brand, &model, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.device.serial.clone());
            let page = page.iter().filter(|row| row.standing == Standing::Denied);
            denied.extend(page.map(|row| id_of(&row.device)));
        }
    }
    place.change(|state| state.deny_these(&denied));
    each(app, |reports: Vec<Versioned<DeviceReport>>| {
        place.take(Batch {
            reports: reports.into_iter().map(|found| found.record).collect(),
            ..Batch::default()
        });
    })
    .await?;
    let names: Vec<(StoreId, WaveName)> = place.change(|state| {
        state
            .all_waves()
            .map(|shown| (shown.wave().store.clone(), shown.wave().name.clone()))
            .collect()
    });
    for (store, wave) in names {
        let rows = exposures(app, Key::from([store.as_str(), wave.as_str()])).await?;
        place.take(Batch {
            exposures: rows,
            ..Batch::default()
        });
    }
    Ok(())
}

/// The devices that have rows of a wave, record by record.
async fn exposures(app: &App, rows: Key) -> Result<Vec<(Exposure, Vec<u128>)>, Refusal> {
    let found = app.storage.all::<Exposure>(rows).await?;
    let rows = found.into_iter().map(|found| {
        let devices = read(&found.record)?;
        Ok((found.record, devices))
    });
    rows.collect::<Result<_, StoreError>>().map_err(Refusal::from)
}

fn read(row: &Exposure) -> Result<Vec<u128>, StoreError> {
    row.devices().ok_or_else(|| {
        StoreError::Corrupt(format!(
            "the devices of a rollout of wave {} cannot be read",
            row.wave
        ))
    })
}

/// The devices of one rollout, record by record.
pub(super) async fn exposures_of(
    app: &App,
    store: &StoreId,
    wave: &WaveName,
    number: u32,
) -> Result<Vec<Vec<u128>>, Refusal> {
    let rows = exposures(app, rollout::rows_of(store, wave, number)).await?;
    Ok(rows.into_iter().map(|(_, devices)| devices).collect())
}

async fn each<R: Record>(app: &App, mut take: impl FnMut(Vec<Versioned<R>>)) -> Result<(), Refusal> {
    let mut after: Option<Key> = None;
    loop {
        let page = app
            .storage
            .page::<R>(Key(Vec::new()), after.as_ref(), PAGE)
            .await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.record.key());
        take(page);
    }
}
