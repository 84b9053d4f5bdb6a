//! Rollouts: which devices are shown a wave (waves-and-registration.md A.3). Exact at any size: a rollout is recorded with all
//! its devices, or not at all.

use std::collections::HashSet;
use std::sync::Arc;

use fixedbitset::FixedBitSet;
use foldhash::fast::RandomState;
use serde_json::{Value, json};

use super::binding::check_documents;
use super::follow::{Tries, look};
use super::index::{Shown, State, id_of};
use super::{act, load, notify, start, waves};
use crate::app::devices::DeviceName;
use crate::app::store::flush_reports;
use crate::app::{App, Refusal, StoreCtx, vault_event};
use crate::domain::audit::AuditEvent;
use crate::domain::fleet::{
    Act, Candidate, Exposure, FleetDevice, Position, Rollout, Selected, Size, Wave, WaveError, WaveRecord,
    select,
};
use crate::domain::ident::{AccountId, BrandId, DeviceId, GroupName, ModelName, StoreId, WaveName};
use crate::domain::time::Timestamp;
use crate::domain::vault::ModelRecord;
use crate::ports::{Change, Commit, Record as _};

/// Devices in one record.
const PART: usize = 50_000;
/// Devices that an error names.
const NAMED_IN_ERRORS: usize = 20;
/// Longest name a caller may give a rollout, in bytes.
const MOST_KEY: usize = 128;

/// Which devices shall be shown a wave.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of this group.
    pub group: Option<GroupName>,
    /// At most so many.
    pub limit: Option<i64>,
    /// At most this part of those that match, out of 100, rounded up.
    pub percentage: Option<i64>,
    /// Out of these.
    pub devices: Option<Vec<DeviceName>>,
    /// Leaves out named devices that do not match, instead of refusing.
    pub skip_mismatch: bool,
    /// Refuses unless so many could be taken.
    pub expect_eligible: Option<u64>,
    /// What chance is made of: the same devices and the same seed give the same choice.
    pub seed: Option<u64>,
    /// Changes nothing, tells only who would be taken.
    pub dry_run: bool,
    /// What the caller names this rollout: the same name again is not another rollout.
    pub key: Option<String>,
}

/// What a rollout did, or would do.
#[derive(Clone, Debug)]
pub struct Rolled {
    /// The wave after it.
    pub record: Arc<WaveRecord>,
    /// The rollout; its number is the next one in a dry run.
    pub rollout: Rollout,
    /// The devices that were taken, the first choice first.
    pub devices: Vec<u128>,
    /// Named devices that were left out, with reasons.
    pub skipped: Vec<(DeviceName, &'static str)>,
}

/// How many devices are asked for.
pub(super) fn size(limit: Option<i64>, percentage: Option<i64>) -> Result<Size, WaveError> {
    match (limit, percentage) {
        (Some(_), Some(_)) => Err(WaveError::NoPercentage),
        (Some(limit), None) => Size::limit(limit),
        (None, Some(percentage)) => Size::percent(percentage),
        (None, None) => Ok(Size::All),
    }
}

/// Shows a wave to more devices.
///
/// # Errors
/// `selector-required`, `invalid-limit`, `invalid-percentage`, `uuid-mismatch` with the devices and a reason each,
/// `unknown-group`, `eligible-differs`, what the status of the wave forbids; absent.
pub async fn rollout(app: &App, ctx: &StoreCtx, name: &WaveName, wanted: &Wanted) -> Result<Rolled, Refusal> {
    start(app).await?;
    if wanted
        .key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > MOST_KEY)
    {
        return Err(Refusal::invalid(
            "invalid-key",
            format!("cannot roll out wave {name}: a key has 1 to {MOST_KEY} bytes"),
        ));
    }
    let models = match &wanted.devices {
        Some(devices)
            if devices
                .iter()
                .any(|device| matches!(device, DeviceName::Serial(_))) =>
        {
            let brand = ctx.brand().brand();
            let all = app.storage.all::<ModelRecord>([brand.as_str()]).await?;
            all.into_iter().map(|found| found.record.name).collect()
        }
        Some(_) | None => Vec::new(),
    };
    // What devices said just now counts: who has come back since is taken again, who has got it is not.
    flush_reports(app).await?;
    let store = &ctx.store().id;
    let asking = Asking {
        store,
        brand: ctx.brand().brand(),
        models,
        account: ctx.account(),
        event: vault_event(app, ctx.brand(), "wave.rollout", store.as_str(), &json!({})),
    };
    let _one_at_a_time = act(app).await?;
    let mut tries = Tries::default();
    loop {
        let refusal = match roll(app, name, wanted, &asking).await {
            Err(refusal) => refusal,
            rolled => return rolled,
        };
        if !tries.again(app, &refusal).await? {
            return Err(refusal);
        }
    }
}

/// Who asks for a rollout, and where.
pub(super) struct Asking<'a> {
    pub(super) store: &'a StoreId,
    pub(super) brand: &'a BrandId,
    /// The models a bare serial may be of.
    pub(super) models: Vec<ModelName>,
    pub(super) account: Option<&'a AccountId>,
    pub(super) event: AuditEvent,
}

/// The same, once nobody else acts.
pub(super) async fn roll(
    app: &App,
    name: &WaveName,
    wanted: &Wanted,
    asking: &Asking<'_>,
) -> Result<Rolled, Refusal> {
    let refused = |error: &WaveError| waves::refused("roll out", name, error);
    let now = app.clock.now();
    let (found, version) = waves::find(app, asking.store, name)?;
    if let Some(known) = wanted.key.as_ref().and_then(|key| {
        found
            .history
            .iter()
            .find(|rollout| rollout.key.as_ref() == Some(key))
    }) {
        let devices = rolled(app, asking.store, name, known.number).await?;
        return Ok(Rolled {
            rollout: known.clone(),
            record: found,
            devices,
            skipped: Vec::new(),
        });
    }
    let size = size(wanted.limit, wanted.percentage).map_err(|error| refused(&error))?;
    if size == Size::All && wanted.group.is_none() && wanted.devices.is_none() {
        return Err(refused(&WaveError::SelectorRequired));
    }
    let mut record = WaveRecord::clone(&found);
    record
        .wave
        .act(Act::Rollout, now)
        .map_err(|error| refused(&error))?;
    check_documents(app, "roll out", &record).await?;
    if let Some(group) = &wanted.group {
        let key = [asking.store.as_str(), group.as_str()];
        if app
            .storage
            .find::<crate::domain::fleet::Group>(key)
            .await?
            .is_none()
        {
            return Err(Refusal::invalid(
                "unknown-group",
                format!(
                    "cannot roll out wave {name}: store {} has no group {group}",
                    asking.store
                ),
            ));
        }
    }
    let seed = wanted.seed.unwrap_or_else(|| chance(app));
    let full_group = wanted.group.is_some() && wanted.devices.is_none() && size == Size::All;
    let (mut selected, skipped) = {
        let state = app.fleet.read();
        let wave = &found.wave;
        let shown = state.wave(asking.store, name);
        let (named, skipped) = match &wanted.devices {
            Some(devices) => {
                let (named, skipped) = named(&state, wave, asking, wanted.group.as_ref(), devices);
                if !skipped.is_empty() && !wanted.skip_mismatch {
                    return Err(mismatch(name, &skipped));
                }
                (Some(named), skipped)
            }
            None => (None, Vec::new()),
        };
        if full_group && !wanted.dry_run {
            (whole(&state, wave, shown, wanted.group.as_ref()), skipped)
        } else {
            let candidates = candidates(&state, wave, shown, wanted.group.as_ref(), named.as_ref(), now);
            drop(state);
            (select(candidates, size, seed), skipped)
        }
    };
    let whole_group = full_group && !wanted.dry_run;
    let taken = if whole_group {
        selected.eligible
    } else {
        selected.chosen.len() as u64
    };
    if let Some(expected) = wanted
        .expect_eligible
        .filter(|expected| *expected != selected.eligible)
    {
        return Err(Refusal::conflict(
            "eligible-differs",
            format!(
                "cannot roll out wave {name}: {} devices could be taken, not {expected}; look again and retry",
                selected.eligible
            ),
        ));
    }
    let rollout = Rollout {
        number: record.wave.rollouts,
        group: wanted.group.clone(),
        named: wanted.devices.as_ref().map(|devices| devices.len() as u64),
        limit: wanted.limit.and_then(|limit| u64::try_from(limit).ok()),
        percentage: wanted
            .percentage
            .and_then(|percentage| u8::try_from(percentage).ok()),
        full_group,
        matching: selected.matching,
        eligible: selected.eligible,
        selected: taken,
        seed,
        by: asking.account.cloned(),
        at: now,
        key: wanted.key.clone(),
    };
    let devices = std::mem::take(&mut selected.chosen);
    if wanted.dry_run {
        return Ok(Rolled {
            record: found,
            rollout,
            devices,
            skipped,
        });
    }
    if let (true, Some(group)) = (full_group, &wanted.group) {
        record.wave.groups.insert(group.clone(), rollout.number);
    }
    record.history.push(rollout.clone());
    record.authorship.change(asking.account, now);
    notify::tell(app, &mut record, "wave.rollout");
    let mut commit = Commit {
        records: vec![Change::replace(&record, version)],
        audit: vec![described(asking.event.clone(), &record, &rollout)],
        ..Commit::default()
    };
    // All devices of the rollout in one commit: all of them, or none.
    for (part, devices) in devices.chunks(PART).enumerate() {
        let part = format!("{part:06}");
        let row = Exposure::new(asking.store.clone(), name.clone(), rollout.number, part, devices);
        commit.records.push(Change::create(&row));
    }
    app.commit(commit).await?;
    let record = Arc::new(record);
    app.fleet.write(|state| {
        state.put_wave(Arc::clone(&record), version + 1);
        state.expose(asking.store, name, &devices);
    });
    Ok(Rolled {
        record,
        rollout,
        devices,
        skipped,
    })
}

fn described(mut event: AuditEvent, record: &WaveRecord, rollout: &Rollout) -> AuditEvent {
    let detail = json!({
        "wave": record.wave.name,
        "tag": record.wave.tag,
        "rollout": rollout.number,
        "group": rollout.group,
        "named": rollout.named,
        "limit": rollout.limit,
        "percentage": rollout.percentage,
        "matching": rollout.matching,
        "eligible": rollout.eligible,
        "selected": rollout.selected,
        "seed": rollout.seed.to_string(),
    });
    if let Value::Object(detail) = detail {
        event
            .detail
            .extend(detail.into_iter().filter(|(_, value)| !value.is_null()));
    }
    event
}

fn chance(app: &App) -> u64 {
    let mut bytes = [0; 8];
    app.entropy.fill(&mut bytes);
    // JSON readers of many languages keep 53 bits of a number.
    u64::from_be_bytes(bytes) >> 11
}

fn mismatch(name: &WaveName, skipped: &[(DeviceName, &'static str)]) -> Refusal {
    let first = skipped.iter().take(NAMED_IN_ERRORS);
    let first: Vec<String> = first.map(|(device, why)| format!("{device} ({why})")).collect();
    let more = skipped.len().saturating_sub(first.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Refusal::invalid(
        "uuid-mismatch",
        format!(
            "cannot roll out wave {name}: {} of the named devices do not match: {}{more}; \
             take them out, or leave them out with skip-mismatch",
            skipped.len(),
            first.join(", ")
        ),
    )
}

/// The named devices that match, by number, and the others.
fn named(
    state: &State,
    wave: &Wave,
    asking: &Asking<'_>,
    group: Option<&GroupName>,
    devices: &[DeviceName],
) -> (FixedBitSet, Vec<(DeviceName, &'static str)>) {
    let mut found = FixedBitSet::with_capacity(state.len());
    let mut others = Vec::new();
    let of = |model: &ModelName, serial: &crate::domain::ident::SerialNumber| {
        state.number(id_of(&DeviceId {
            brand: asking.brand.clone(),
            model: model.clone(),
            serial: serial.clone(),
        }))
    };
    for device in devices {
        let number = match device {
            DeviceName::Uuid(uuid) => state.number(uuid.as_u128()),
            DeviceName::Of(model, serial) => of(model, serial),
            DeviceName::Serial(serial) => {
                let mut all = asking.models.iter().filter_map(|model| of(model, serial));
                let first = all.next();
                if all.next().is_some() {
                    others.push((device.clone(), "several models have it: name it MODEL/SERIAL"));
                    continue;
                }
                first
            }
        };
        let why = match number.and_then(|number| Some((number, state.row(number)?, state.place(number)?))) {
            None => "unknown",
            Some((_, _, place)) if place.store != *asking.store => "unknown",
            Some((_, row, _)) if row.denied => "denied",
            Some((_, _, place)) if !place.production => "a test device",
            Some((_, _, place)) if place.tag.as_ref() != Some(&wave.tag) => "of another tag",
            Some((_, _, place)) if group.is_some() && place.group.as_ref() != group => "not in the group",
            Some((_, row, _)) if state.stands(wave, row.set) == Position::Apart => "has none of its snaps",
            Some((number, ..)) => {
                found.insert(number as usize);
                continue;
            }
        };
        others.push((device.clone(), why));
    }
    (found, others)
}

/// The places whose devices match, by number.
fn matching(state: &State, wave: &Wave, group: Option<&GroupName>) -> HashSet<u32, RandomState> {
    let places = state.places().filter(|(_, place)| {
        place.production
            && place.store == wave.store
            && place.tag.as_ref() == Some(&wave.tag)
            && (group.is_none() || place.group.as_ref() == group)
    });
    places.map(|(number, _)| number).collect()
}

/// All devices that match, and whether each can be taken.
fn candidates(
    state: &State,
    wave: &Wave,
    shown: Option<&Shown>,
    group: Option<&GroupName>,
    named: Option<&FixedBitSet>,
    now: Timestamp,
) -> Vec<(u128, Candidate)> {
    let places = matching(state, wave, group);
    // What is shown to a group as a whole is shown to its members.
    let by_group: HashSet<u32, RandomState> = places
        .iter()
        .copied()
        .filter(|place| {
            let group = state.place_of(*place).and_then(|place| place.group.as_ref());
            group.is_some_and(|group| wave.groups.contains_key(group))
        })
        .collect();
    let mut known: Vec<Option<Position>> = Vec::new();
    let mut stands = |set: u32| {
        let place = set as usize;
        if known.len() <= place {
            known.resize(place + 1, None);
        }
        match known.get_mut(place) {
            Some(Some(known)) => *known,
            Some(unknown) => *unknown.insert(state.stands(wave, set)),
            None => Position::Apart,
        }
    };
    let mut found = Vec::new();
    for (number, row) in state.rows() {
        if row.denied
            || !places.contains(&row.place)
            || named.is_some_and(|named| !named.contains(number as usize))
        {
            continue;
        }
        // The wave is not about who has none of its snaps.
        let position = stands(row.set);
        if position == Position::Apart {
            continue;
        }
        let exposed = by_group.contains(&row.place)
            || shown.is_some_and(|shown| shown.exposed.contains(number as usize));
        let unseen = (row.seen > 0).then(|| u64::try_from(now.unix() - i64::from(row.seen)).unwrap_or(0));
        let candidate = Candidate {
            id: row.id,
            unseen,
            open: !exposed && !position.is_updated(),
        };
        found.push((row.id, candidate));
    }
    found
}

/// A whole group: counted, not listed.
fn whole(state: &State, wave: &Wave, shown: Option<&Shown>, group: Option<&GroupName>) -> Selected<u128> {
    let places = matching(state, wave, group);
    let already = group.is_some_and(|group| wave.groups.contains_key(group));
    let (mut matching, mut eligible) = (0, 0);
    for ((place, set), count) in state.cells() {
        if !places.contains(place) {
            continue;
        }
        let position = state.stands(wave, *set);
        if position == Position::Apart {
            continue;
        }
        matching += count;
        if !already && !position.is_updated() {
            let exposed = shown.and_then(|shown| shown.cells.get(&(*place, *set)));
            eligible += count.saturating_sub(exposed.copied().unwrap_or(0));
        }
    }
    Selected {
        matching,
        eligible,
        chosen: Vec::new(),
    }
}

/// The devices of a rollout, as they were chosen.
pub(super) async fn rolled(
    app: &App,
    store: &StoreId,
    wave: &WaveName,
    number: u32,
) -> Result<Vec<u128>, Refusal> {
    Ok(load::exposures_of(app, store, wave, number).await?.concat())
}

/// The devices of a rollout of a wave. Of one to a whole group none is listed here: those are the members of the group.
///
/// # Errors
/// Absent.
pub async fn devices(app: &App, ctx: &StoreCtx, name: &WaveName, number: u32) -> Result<Vec<u128>, Refusal> {
    look(app).await?;
    let store = &ctx.store().id;
    let (record, _) = waves::find(app, store, name)?;
    if !record.history.iter().any(|rollout| rollout.number == number) {
        return Err(Refusal::not_found(format!(
            "cannot find rollout {number}: wave {name} has none of this number"
        )));
    }
    rolled(app, store, name, number).await
}

/// The names of devices, in the order of their uuids given; what is not known any more has none.
///
/// # Errors
/// If the database is out of reach.
pub async fn names(app: &App, ids: &[u128]) -> Result<Vec<Option<DeviceId>>, Refusal> {
    let mut names = Vec::with_capacity(ids.len());
    for id in ids {
        let uuid = uuid::Uuid::from_u128(*id).to_string();
        let found = app.storage.find_unique::<FleetDevice>("uuid", &uuid).await?;
        names.push(found.map(|found| found.record.device));
    }
    Ok(names)
}

/// The key under which rows of a rollout are found.
pub(super) fn rows_of(store: &StoreId, wave: &WaveName, number: u32) -> crate::ports::Key {
    let mut key = Exposure::new(store.clone(), wave.clone(), number, String::new(), &[]).key();
    key.0.pop();
    key
}
