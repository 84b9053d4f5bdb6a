//! Reading the fleet at start: places of devices, waves and what is published, then what devices last reported.

use std::sync::Arc;

use super::index::{State, id_of};
use super::rollout;
use crate::app::{App, Refusal};
use crate::domain::catalog::DeviceReport;
use crate::domain::fleet::{Exposure, FleetDevice, ProductionMap, WaveRecord};
use crate::domain::ident::{SnapId, StoreId, WaveName};
use crate::domain::vault::{ModelRecord, Standing};
use crate::ports::{Key, Record, Versioned};

/// Records that are read at a time.
const PAGE: usize = 2_000;

/// Brings the fleet into memory, once. Until then no device gets an answer: a production device must never be taken for a
/// test device.
///
/// # Errors
/// If the database is out of reach, or a record is broken.
pub async fn start(app: &App) -> Result<(), Refusal> {
    let load = || async {
        let state = load(app).await?;
        app.fleet.write(|place| *place = state);
        Ok::<(), Refusal>(())
    };
    app.fleet.loaded.get_or_try_init(load).await.map(drop)
}

async fn load(app: &App) -> Result<State, Refusal> {
    let storage = &*app.storage;
    let everything = || Key(Vec::new());
    let mut state = State::default();
    let mut denying = Vec::new();
    for found in storage.all::<ModelRecord>(everything()).await? {
        let model = found.record;
        if !model.fleet.is_nothing() {
            let models = state.rules.entry(model.brand_id.clone()).or_default();
            models.insert(model.name.clone(), model.fleet.clone());
        }
        denying.push((model.brand_id, model.name));
    }
    for found in storage.all::<ProductionMap>(everything()).await? {
        state.put_map(found.record, found.version);
    }
    for found in storage.all::<WaveRecord>(everything()).await? {
        state.put_wave(Arc::new(found.record), found.version);
    }
    each(app, |found: Versioned<FleetDevice>| {
        state.put(&found.record);
    })
    .await?;
    if state.rows().next().is_none() {
        return Ok(state);
    }
    for (brand, model) in denying {
        let mut after = None;
        loop {
            let page = storage.standings(&brand, &model, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.device.serial.clone());
            for row in page {
                if let Some(number) = state.number(id_of(&row.device)) {
                    state.deny(number, row.standing == Standing::Denied);
                }
            }
        }
    }
    each(app, |found: Versioned<DeviceReport>| {
        let report = found.record;
        let Some(number) = state.number(id_of(&report.device)) else {
            return;
        };
        state.report(number, &report);
        state.set_reverted(number, reverted(&report));
        if let Some((place, told)) = state.place(number).cloned().zip(report.wave)
            && let Some(shown) = state.wave_mut(&place.store, &told.wave)
            && shown.wave().is_open()
        {
            shown.progress.insert(number, told.progress);
        }
    })
    .await?;
    // Last: devices are counted once for what they are and what they run.
    let names: Vec<(StoreId, WaveName)> = state
        .all_waves()
        .map(|shown| (shown.wave().store.clone(), shown.wave().name.clone()))
        .collect();
    for (store, name) in names {
        for exposure in exposures(app, &store, &name).await? {
            state.expose(&store, &name, &exposure);
        }
    }
    Ok(state)
}

/// What a device came back from by itself, as it is recorded.
pub(super) fn reverted(report: &DeviceReport) -> Vec<(SnapId, u64)> {
    report.reverted.clone()
}

/// The devices that have rows of a wave, record by record.
pub(super) async fn exposures(
    app: &App,
    store: &StoreId,
    wave: &WaveName,
) -> Result<Vec<Vec<u128>>, Refusal> {
    read(app, wave, Key::from([store.as_str(), wave.as_str()])).await
}

async fn read(app: &App, wave: &WaveName, rows: Key) -> Result<Vec<Vec<u128>>, Refusal> {
    let found = app.storage.all::<Exposure>(rows).await?;
    found
        .into_iter()
        .map(|found| {
            found.record.devices().ok_or_else(|| {
                Refusal::from(crate::ports::StoreError::Corrupt(format!(
                    "the devices of a rollout of wave {wave} cannot be read"
                )))
            })
        })
        .collect()
}

/// The same of one rollout.
pub(super) async fn exposures_of(
    app: &App,
    store: &StoreId,
    wave: &WaveName,
    number: u32,
) -> Result<Vec<Vec<u128>>, Refusal> {
    read(app, wave, rollout::rows_of(store, wave, number)).await
}

async fn each<R: Record>(app: &App, mut take: impl FnMut(Versioned<R>)) -> Result<(), Refusal> {
    let mut after: Option<Key> = None;
    loop {
        let page = app
            .storage
            .page::<R>(Key(Vec::new()), after.as_ref(), PAGE)
            .await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.record.key());
        page.into_iter().for_each(&mut take);
    }
}
