//! The places of devices in the fleet: production or test, tag, group.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::follow::{Tries, look};
use super::index::id_of;
use super::{act, load, start};
use crate::app::devices::{self, DeviceName};
use crate::app::{App, BrandCtx, Refusal, StoreCtx, brand_key, vault_event};
use crate::domain::assertion::{AssertionType, Ref, Typed};
use crate::domain::catalog::DeviceReport;
use crate::domain::fleet::{FleetDevice, Group, ProductionRule};
use crate::domain::ident::{BrandId, DeviceId, GroupName, ModelName, SerialNumber, StoreId, Tag};
use crate::domain::vault::{ModelRecord, Standing};
use crate::ports::{Change, Commit, CommitOutcome, Kind, Versioned};

/// Devices that may be moved in one call.
pub const MOST_MOVED: usize = 100_000;
/// Places that are looked up at a time.
const AT_ONCE: usize = 4;

/// What becomes of the place of a device; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct PlaceChange {
    /// The tag it follows; `Some(None)` takes it away.
    pub tag: Option<Option<Tag>>,
    /// Its group; `Some(None)` takes it out.
    pub group: Option<Option<GroupName>>,
    /// Whether it is a production device: only where that was not fixed before.
    pub production: Option<bool>,
    /// Offers again what the device came back from by itself.
    pub retry: bool,
}

/// The number of a device that has just registered, or asks for the first time; none where its model's devices have no
/// place, and it has none of its own.
pub(in crate::app) async fn register(
    app: &App,
    device: &DeviceId,
    store: Option<&StoreId>,
) -> Result<Option<u32>, Refusal> {
    start(app).await?;
    let rule = {
        let state = app.fleet.read();
        let models = state.rules.get(&device.brand);
        models.and_then(|models| models.get(&device.model)).cloned()
    };
    if let Some(number) = app.fleet.read().number(id_of(device)) {
        return Ok(Some(number));
    }
    let Some(rule) = rule else {
        return elsewhere(app, device).await;
    };
    let production = match rule.production {
        ProductionRule::No => false,
        ProductionRule::Yes => true,
        ProductionRule::AllowList => app.storage.standing(device).await? == Some(Standing::Allowed),
    };
    // Who is not on the list today stays a test device, also once it is: so that is recorded as well.
    if rule.production == ProductionRule::No && rule.tag.is_none() {
        return elsewhere(app, device).await;
    }
    let store = match store {
        Some(store) => store.clone(),
        None => match home(app, &device.brand, &device.model).await? {
            Some(store) => store,
            None => return Ok(None),
        },
    };
    let place = FleetDevice {
        device: device.clone(),
        store,
        production,
        tag: rule.tag,
        group: None,
        since: app.clock.now(),
    };
    let commit = Commit {
        records: vec![Change::create(&place)],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => enter(app, &place, 1).await.map(Some),
        // Another request of the same device was faster.
        CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } => {
            let found = find(app, device).await?;
            match found {
                Some(found) => enter(app, &found.record, found.version).await.map(Some),
                None => Ok(None),
            }
        }
        outcome @ CommitOutcome::OldRevision { .. } => App::settle(&outcome).map(|()| None),
    }
}

/// The same of a device that has just registered: what it becomes is what was decided before, in whatever process.
///
/// # Errors
/// If the database is out of reach.
pub(in crate::app) async fn registered(app: &App, device: &DeviceId) -> Result<(), Refusal> {
    look(app).await?;
    register(app, device, None).await.map(drop)
}

/// The number of a device that got its place from another process, which was not heard of yet.
async fn elsewhere(app: &App, device: &DeviceId) -> Result<Option<u32>, Refusal> {
    let (following, id) = (&app.fleet.following, id_of(device));
    if !following.is_shared() || following.is_stranger(id) {
        return Ok(None);
    }
    match find(app, device).await? {
        Some(found) => enter(app, &found.record, found.version).await.map(Some),
        None => {
            following.add_stranger(id);
            Ok(None)
        }
    }
}

/// A device takes its place in memory, with what it reported and how it was judged before it had one.
async fn enter(app: &App, place: &FleetDevice, version: u64) -> Result<u32, Refusal> {
    let known = app.fleet.read().number(id_of(&place.device)).is_some();
    let (mut report, mut denied) = (None, None);
    if !known {
        let key = DeviceReport::key_of(&place.device);
        report = app.storage.find::<DeviceReport>(key).await?;
        denied = Some(app.storage.standing(&place.device).await? == Some(Standing::Denied));
    }
    Ok(app.fleet.write(|state| {
        let number = state.put(place, version);
        if let Some(denied) = denied {
            state.deny(number, denied);
        }
        if let Some(found) = report {
            load::apply_report(state, found.record);
        }
        number
    }))
}

/// The store of the devices of a model: the one it names, if that is of its brand, else the brand's base store.
async fn home(app: &App, brand: &BrandId, model: &ModelName) -> Result<Option<StoreId>, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let reference = Ref::new(AssertionType::Model, ["16", brand.as_str(), model.as_str()]);
    let assertion = brand_key::stored(&*app.storage, &reference).await?;
    let named = assertion.and_then(|assertion| match assertion.typed() {
        Typed::Model(model) => model.store.clone(),
        _ => None,
    });
    let own = named
        .and_then(|named| named.parse::<StoreId>().ok())
        .filter(|store| catalog.brand_of(store) == Some(brand));
    Ok(own.or_else(|| catalog.base_store(brand).cloned()))
}

/// The place of a device, if it has one.
pub async fn find(app: &App, device: &DeviceId) -> Result<Option<Versioned<FleetDevice>>, Refusal> {
    let key = [
        device.brand.as_str(),
        device.model.as_str(),
        device.serial.as_str(),
    ];
    Ok(app.storage.find::<FleetDevice>(key).await?)
}

/// The rule of a model changed, with this version of it: devices that register from now on follow it.
pub(in crate::app) fn follow_rule(app: &App, model: &ModelRecord, version: u64) {
    app.fleet.write(|state| state.put_rule(model, version));
}

/// Serials of a model were judged.
pub(in crate::app) fn follow_standing(
    app: &App,
    brand: &BrandId,
    model: &ModelName,
    serials: &[SerialNumber],
    standing: Option<Standing>,
) {
    if !app.fleet.is_used() {
        return;
    }
    app.fleet.write(|state| {
        for serial in serials {
            let device = DeviceId {
                brand: brand.clone(),
                model: model.clone(),
                serial: serial.clone(),
            };
            if let Some(number) = state.number(id_of(&device)) {
                state.deny(number, standing == Some(Standing::Denied));
            }
        }
    });
}

/// Changes the place of one device of the brand.
///
/// # Errors
/// `unknown-group`, `production-fixed`.
pub async fn change(
    app: &App,
    ctx: &BrandCtx,
    name: &DeviceName,
    change: &PlaceChange,
) -> Result<FleetDevice, Refusal> {
    let device = devices::find(app, ctx.brand(), name).await?;
    if change.retry {
        forget_reverts(app, ctx, &device).await?;
    }
    let mut moved = place_all(app, ctx, None, vec![device], change).await?;
    moved
        .pop()
        .ok_or_else(|| Refusal::not_found("cannot find the device"))
}

/// What a device came back from by itself is forgotten: it is offered that again.
async fn forget_reverts(app: &App, ctx: &BrandCtx, device: &DeviceId) -> Result<(), Refusal> {
    let key = DeviceReport::key_of(device);
    let Some(mut found) = app.storage.find::<DeviceReport>(key).await? else {
        return Ok(());
    };
    if found.record.reverted.is_empty() {
        return Ok(());
    }
    found.record.reverted.clear();
    app.commit(Commit {
        records: vec![Change::replace(&found.record, found.version)],
        audit: vec![vault_event(
            app,
            ctx,
            "device.retry",
            &device.to_string(),
            &json!({}),
        )],
        ..Commit::default()
    })
    .await?;
    app.fleet.write(|state| {
        if let Some(number) = state.number(id_of(device)) {
            state.set_reverted(number, Vec::new());
        }
    });
    Ok(())
}

/// Puts devices of a store into one of its groups: all of them, or none.
///
/// # Errors
/// `unknown-group`, `unknown-device` with the names that are none, `too-many-devices`.
pub async fn add_to_group(
    app: &App,
    ctx: &StoreCtx,
    group: Option<&GroupName>,
    names: &[DeviceName],
) -> Result<Vec<FleetDevice>, Refusal> {
    if names.len() > MOST_MOVED {
        return Err(Refusal::invalid(
            "too-many-devices",
            format!("cannot move more than {MOST_MOVED} devices in one call: send the list in parts"),
        ));
    }
    let brand = BrandCtx::clone(ctx.brand());
    let (mut found, mut unknown) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        match devices::find(app, brand.brand(), name).await {
            Ok(device) => found.push(device),
            Err(refusal) => unknown.push(format!("{name} ({})", refusal.message)),
        }
    }
    if !unknown.is_empty() {
        let shown: Vec<String> = unknown.iter().take(20).cloned().collect();
        return Err(Refusal::invalid(
            "unknown-device",
            format!(
                "cannot move the devices: {} are not known: {}",
                unknown.len(),
                shown.join(", ")
            ),
        ));
    }
    let change = PlaceChange {
        group: Some(group.cloned()),
        ..PlaceChange::default()
    };
    place_all(app, &brand, Some(&ctx.store().id), found, &change).await
}

async fn place_all(
    app: &App,
    ctx: &BrandCtx,
    store: Option<&StoreId>,
    devices: Vec<DeviceId>,
    change: &PlaceChange,
) -> Result<Vec<FleetDevice>, Refusal> {
    start(app).await?;
    let _one_at_a_time = act(app).await?;
    let mut tries = Tries::default();
    loop {
        let refusal = match place_once(app, ctx, store, &devices, change).await {
            Err(refusal) => refusal,
            placed => return placed,
        };
        if !tries.again(app, &refusal).await? {
            return Err(refusal);
        }
    }
}

async fn place_once(
    app: &App,
    ctx: &BrandCtx,
    store: Option<&StoreId>,
    devices: &[DeviceId],
    change: &PlaceChange,
) -> Result<Vec<FleetDevice>, Refusal> {
    let now = app.clock.now();
    let (mut commit, mut moved, mut versions) = (Commit::default(), Vec::new(), Vec::new());
    let place_of = |device: DeviceId| {
        let app = app.clone();
        async move { find(&app, &device).await }
    };
    let places: Vec<_> = devices.iter().cloned().map(place_of).collect();
    let found: Vec<Option<Versioned<FleetDevice>>> =
        stream::iter(places).buffered(AT_ONCE).try_collect().await?;
    let mut grouped = None;
    for (device, found) in devices.iter().zip(found) {
        let mut place = match &found {
            Some(found) => found.record.clone(),
            None => {
                let home = match store {
                    Some(store) => Some(store.clone()),
                    None => home(app, &device.brand, &device.model).await?,
                };
                FleetDevice {
                    store: home.ok_or_else(|| {
                        Refusal::not_found("cannot place the device: its brand has no store")
                    })?,
                    device: device.clone(),
                    production: false,
                    tag: None,
                    group: None,
                    since: now,
                }
            }
        };
        if store.is_some_and(|store| *store != place.store) {
            return Err(Refusal::invalid(
                "unknown-device",
                format!(
                    "cannot move device {}: it is a device of another store",
                    place.device
                ),
            ));
        }
        match change.production {
            Some(production) if found.is_some() && production != place.production => {
                return Err(Refusal::conflict(
                    "production-fixed",
                    format!(
                        "cannot change whether device {} is a production device: that is fixed when it registers; \
                         register it anew under another serial",
                        place.device
                    ),
                ));
            }
            Some(production) => place.production = production,
            None => {}
        }
        if let Some(tag) = &change.tag {
            place.tag.clone_from(tag);
        }
        if let Some(group) = &change.group {
            if let Some(group) = group
                && grouped.as_ref() != Some(&place.store)
                && app
                    .storage
                    .find::<Group>([place.store.as_str(), group.as_str()])
                    .await?
                    .is_none()
            {
                return Err(Refusal::invalid(
                    "unknown-group",
                    format!(
                        "cannot move device {}: store {} has no group {group}",
                        place.device, place.store
                    ),
                ));
            }
            grouped = Some(place.store.clone());
            place.group.clone_from(group);
        }
        let version = match found {
            Some(found) if found.record == place => found.version,
            Some(found) => {
                commit.records.push(Change::replace(&place, found.version));
                found.version + 1
            }
            None => {
                commit.records.push(Change::create(&place));
                1
            }
        };
        versions.push(version);
        moved.push(place);
    }
    if !commit.records.is_empty() {
        let subject = match moved.as_slice() {
            [one] => one.device.to_string(),
            _ => ctx.brand().to_string(),
        };
        let detail = json!({
            "devices": moved.len(),
            "tag": change.tag,
            "group": change.group,
            "production": change.production,
        });
        commit
            .audit
            .push(vault_event(app, ctx, "device.place", &subject, &detail));
        match app.storage.commit(commit).await? {
            CommitOutcome::Done => {}
            CommitOutcome::Conflict {
                kind: Kind::FleetDevice,
                ..
            } => return Err(App::changed_meanwhile()),
            outcome => App::settle(&outcome)?,
        }
    }
    for (place, version) in moved.iter().zip(versions) {
        enter(app, place, version).await?;
    }
    Ok(moved)
}
