//! How far a wave has come (waves-and-registration.md A.5). Counted by cells of equal devices, not device by device.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::follow::look;
use super::index::{Shown, State};
use super::waves;
use crate::app::{App, Refusal, StoreCtx};
use crate::domain::fleet::{
    Counts, Position, State as DeviceState, Verdict, Wave, WaveRecord, WaveStatus, judge,
};
use crate::domain::ident::{GroupName, WaveName};
use crate::domain::time::Timestamp;

/// A device counts as online when it was seen in the last so many hours, unless told otherwise.
pub const ONLINE_HOURS: u32 = 4;

/// How far a wave has come.
#[derive(Clone, Debug)]
pub struct WaveState {
    /// The wave.
    pub record: Arc<WaveRecord>,
    /// Whether its time is over while it was still open.
    pub expired: bool,
    /// Production devices that follow its tag and have some snap of it.
    pub total: u64,
    /// Those that have what it brings, or something newer, as far as it was shown to them.
    pub updated: u64,
    /// Those that were shown it and have not got it.
    pub scheduled: u64,
    /// The rest.
    pub unscheduled: u64,
    /// Groups it was shown to, in the order of their first rollout.
    pub rollout_groups: Vec<GroupState>,
    /// Other groups with matching devices by name; the devices without a group last.
    pub other_groups: Vec<GroupState>,
    /// How those take it that were shown it.
    pub devices: Counts,
    /// What they say together.
    pub verdict: Verdict,
}

/// One group.
#[derive(Clone, Debug, Default)]
pub struct GroupState {
    /// Its name; none = the devices without a group.
    pub name: Option<GroupName>,
    /// When the wave was first shown to it, or to some of it.
    pub rollout_at: Option<Timestamp>,
    /// Whether all of it, and who joins.
    pub full: bool,
    /// Matching devices.
    pub total: u64,
    /// Those seen lately.
    pub online: u64,
    /// Those that have what the wave says.
    pub on_wave: u64,
    /// Those that have something newer.
    pub newer: u64,
    /// Those that have something older.
    pub older: u64,
    /// Those that were shown it.
    pub exposed: u64,
    /// Those of them that have not got it.
    pub scheduled: u64,
}

/// How far a wave of the store has come, now.
///
/// # Errors
/// Absent.
pub async fn status(
    app: &App,
    ctx: &StoreCtx,
    name: &WaveName,
    online_hours: u32,
) -> Result<WaveState, Refusal> {
    look(app).await?;
    let store = &ctx.store().id;
    waves::find(app, store, name)?;
    let state = app.fleet.read();
    let shown = state.wave(store, name);
    let shown = shown.ok_or_else(|| Refusal::not_found(format!("cannot find wave {name}")))?;
    Ok(of(&state, shown, app.clock.now(), online_hours))
}

/// How far all open waves of all stores have come; nothing before the fleet is known.
pub fn open(app: &App) -> Vec<WaveState> {
    let now = app.clock.now();
    let state = app.fleet.read();
    let open = state.open_waves();
    open.map(|shown| of(&state, shown, now, ONLINE_HOURS)).collect()
}

/// The same for one that is at hand.
pub(super) fn of(state: &State, shown: &Shown, now: Timestamp, online_hours: u32) -> WaveState {
    let record = Arc::clone(&shown.record);
    let wave = &record.wave;
    let (groups, positions) = groups(state, shown, now.plus_seconds(-i64::from(online_hours) * 3600));
    let (mut rolled, mut others): (Vec<_>, Vec<_>) =
        groups.into_values().partition(|group| group.rollout_at.is_some());
    rolled.sort_by_key(|group| first_rollout(&record, group.name.as_ref()).map(|(number, _)| number));
    others.sort_by(|one, other| (one.name.is_none(), &one.name).cmp(&(other.name.is_none(), &other.name)));
    let sum = |part: fn(&GroupState) -> u64| rolled.iter().chain(&others).map(part).sum::<u64>();
    let total = sum(|group| group.total);
    let done = sum(|group| group.on_wave + group.newer);
    let (updated, scheduled) = match wave.status {
        WaveStatus::Complete => (done, total - done),
        WaveStatus::Canceled => (done, 0),
        WaveStatus::Draft | WaveStatus::Active | WaveStatus::Halted => {
            let scheduled = sum(|group| group.scheduled);
            (sum(|group| group.exposed) - scheduled, scheduled)
        }
    };
    // Of waves that are over nobody says any more how it takes them.
    let devices = if wave.is_open() {
        counts(state, shown, &positions, sum(|group| group.exposed), now)
    } else {
        Counts::new()
    };
    WaveState {
        expired: wave.is_open() && wave.expires <= now,
        total,
        updated,
        scheduled,
        unscheduled: total - updated - scheduled,
        rollout_groups: rolled,
        other_groups: others,
        verdict: judge(&devices, &record.policy.error, record.policy.success),
        devices,
        record,
    }
}

/// The first rollout that was for a group.
fn first_rollout(record: &WaveRecord, group: Option<&GroupName>) -> Option<(u32, Timestamp)> {
    let group = group?;
    let mut rollouts = record.history.iter();
    let first = rollouts.find(|rollout| rollout.group.as_ref() == Some(group))?;
    Some((first.number, first.at))
}

/// Where those stand towards a wave that run a set, by its number.
type Positions = HashMap<u32, Position>;

fn groups(
    state: &State,
    shown: &Shown,
    since: Timestamp,
) -> (BTreeMap<Option<GroupName>, GroupState>, Positions) {
    let wave = shown.wave();
    let mut groups: BTreeMap<Option<GroupName>, GroupState> = BTreeMap::new();
    for group in shown
        .record
        .history
        .iter()
        .filter_map(|rollout| rollout.group.clone())
    {
        groups.entry(Some(group)).or_default();
    }
    let matches = |place: u32| {
        state.place_of(place).filter(|place| {
            place.production && place.store == wave.store && place.tag.as_ref() == Some(&wave.tag)
        })
    };
    let mut positions = Positions::new();
    for ((place, set), count) in state.cells() {
        let Some(found) = matches(*place) else { continue };
        let position = *positions.entry(*set).or_insert_with(|| state.stands(wave, *set));
        // The wave is not about who has none of its snaps.
        if position == Position::Apart {
            continue;
        }
        let group = groups.entry(found.group.clone()).or_default();
        let whole = found
            .group
            .as_ref()
            .is_some_and(|group| wave.groups.contains_key(group));
        let exposed = if whole {
            *count
        } else {
            shown.cells.get(&(*place, *set)).copied().unwrap_or(0)
        };
        group.total += count;
        group.exposed += exposed;
        match position {
            Position::Apart => {}
            Position::Before => {
                group.older += count;
                group.scheduled += exposed;
            }
            Position::On => group.on_wave += count,
            Position::Beyond => group.newer += count,
        }
    }
    for (number, place) in state.places() {
        if matches(number).is_some()
            && let Some(group) = groups.get_mut(&place.group)
        {
            group.online += state.seen_since(number, since);
        }
    }
    for (name, group) in &mut groups {
        group.rollout_at = first_rollout(&shown.record, name.as_ref()).map(|(_, at)| at);
        group.full = name.as_ref().is_some_and(|name| wave.groups.contains_key(name));
        group.name.clone_from(name);
    }
    (groups, positions)
}

/// How those take a wave that were shown it: who was not heard of since is staged, or was updated before.
fn counts(state: &State, shown: &Shown, positions: &Positions, exposed: u64, now: Timestamp) -> Counts {
    let wave: &Wave = shown.wave();
    let patience = &shown.record.policy.patience;
    let mut counts = Counts::new();
    for (number, progress) in &shown.progress {
        let (Some(place), Some(row)) = (state.place(*number), state.row(*number)) else {
            continue;
        };
        let follows = place.production && place.tag.as_ref() == Some(&wave.tag);
        let apart = matches!(positions.get(&row.set), None | Some(Position::Apart));
        if follows && !row.denied && !apart && shown.shows(*number, place.group.as_ref()) {
            *counts.entry(progress.state(patience, now)).or_default() += 1;
        }
    }
    let heard: u64 = counts.values().sum();
    let silent = exposed.saturating_sub(heard);
    if silent > 0 {
        *counts.entry(DeviceState::Staged).or_default() += silent;
    }
    counts
}
