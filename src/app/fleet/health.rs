//! What devices report, as far as waves ask for it: what they came back from, and how they take the wave they were shown.

use crate::app::App;
use crate::app::store::Asker;
use crate::domain::catalog::{Channel, DeviceReport, WaveReport};
use crate::domain::fleet::{CheckIn, PinRef, Position, State as DeviceState, WaveKind};
use crate::domain::ident::SnapId;
use crate::domain::time::Timestamp;

use super::index::{State, id_of};

/// Revisions a device came back from that are remembered, the newest ones.
const MOST_REVERTED: usize = 64;

/// A device reported `next`; `before` is what is recorded of it. What follows for waves is put into `next`, to be recorded
/// with it.
pub fn observe(app: &App, before: Option<&DeviceReport>, next: &mut DeviceReport, told: bool) {
    if let Some(before) = before {
        next.reverted.clone_from(&before.reverted);
        next.wave.clone_from(&before.wave);
    }
    if !app.fleet.is_used() {
        return;
    }
    app.fleet.write(|state| {
        let Some(number) = state.number(id_of(&next.device)) else {
            return;
        };
        if !told {
            state.see(number, next.seen);
            return;
        }
        if let Some(before) = before {
            note_reverts(state, number, before, next);
        }
        state.report(number, next);
        state.hear(number, next.seen);
        state.set_reverted(number, next.reverted.clone());
        check_in(state, number, next);
    });
}

/// Whether a cancelled wave that the device was told of waits for its word: what takes the wave back is for those who have said
/// since that they do not run it, whichever process they ask next.
pub(in crate::app) fn is_waited_for(app: &App, known: &DeviceReport) -> bool {
    if !app.fleet.is_used() {
        return false;
    }
    let state = app.fleet.read();
    let Some(number) = state.number(id_of(&known.device)) else {
        return false;
    };
    let Some(place) = state.place(number) else {
        return false;
    };
    state.all_left_behind().any(|shown| {
        let over = shown.record.finished.map(Timestamp::unix);
        shown.wave().store == place.store
            && shown.record.binding.is_some()
            && shown.exposed.contains(number as usize)
            && over.is_some_and(|over| known.heard.is_none_or(|heard| heard.unix() <= over))
    })
}

/// Revisions that a device ran and does not run any more, unless it was told to go back.
fn note_reverts(state: &State, number: u32, before: &DeviceReport, next: &mut DeviceReport) {
    let mut reverted = std::mem::take(&mut next.reverted);
    for snap in next.snaps.iter().filter(|snap| snap.instance.is_none()) {
        let (Ok(id), Ok(channel)) = (
            snap.snap_id.parse::<SnapId>(),
            snap.channel.as_deref().unwrap_or("stable").parse::<Channel>(),
        ) else {
            continue;
        };
        // What it runs, and all before that, it has no quarrel with any more.
        reverted.retain(|(known, from)| *known != id || *from > snap.revision);
        let had = before
            .snaps
            .iter()
            .find(|had| had.snap_id == snap.snap_id && had.instance.is_none() && had.channel == snap.channel);
        let Some(had) = had.filter(|had| had.revision > snap.revision && snap.revision > 0) else {
            continue;
        };
        let pin = PinRef {
            snap_id: &id,
            channel: &channel,
            architecture: &next.architecture,
        };
        if !was_told_back(state, number, pin, snap.revision) {
            reverted.push((id, had.revision));
        }
    }
    let surplus = reverted.len().saturating_sub(MOST_REVERTED);
    reverted.drain(..surplus);
    next.reverted = reverted;
}

/// Whether a rollback names the revision, for all devices of the tag or for this one.
fn was_told_back(state: &State, number: u32, pin: PinRef<'_>, revision: u64) -> bool {
    let Some(place) = state.place(number) else {
        return false;
    };
    let Some(tag) = &place.tag else { return false };
    let published = state
        .stream(&place.store, tag)
        .and_then(|stream| stream.map.find(pin));
    if published.is_some_and(|found| found.rollback > 0 && found.entry.revision == revision) {
        return true;
    }
    state.waves(&place.store).any(|shown| {
        let wave = shown.wave();
        wave.kind == WaveKind::Rollback
            && wave.tag == *tag
            && wave.revision(pin) == Some(revision)
            && shown.shows(number, place.group.as_ref())
    })
}

fn check_in(state: &mut State, number: u32, next: &mut DeviceReport) {
    let Some(place) = state.place(number).filter(|place| place.production).cloned() else {
        return;
    };
    let Some(tag) = &place.tag else { return };
    let Some(shown) = state.open(&place.store, tag) else {
        return;
    };
    if !shown.shows(number, place.group.as_ref()) {
        return;
    }
    let record = std::sync::Arc::clone(&shown.record);
    let wave = &record.wave;
    let position = state.device_position(wave, number);
    if position == Position::Apart {
        return;
    }
    let some = state
        .row(number)
        .is_some_and(|row| state.runs_some(wave, row.set));
    let held = next.snaps.iter().filter(|snap| snap.held).any(|snap| {
        let id = snap.snap_id.parse::<SnapId>();
        id.is_ok_and(|id| wave.entries().iter().any(|entry| entry.pin.snap_id == id))
    });
    // What is recorded counts, whoever heard it; so an attempt that another process was faster than is not counted twice.
    let known = next.wave.take().filter(|told| told.wave == wave.name);
    let known = known.map(|told| told.progress).unwrap_or_default();
    let Some(shown) = state.wave_mut(&place.store, &wave.name) else {
        return;
    };
    let progress = shown.progress.entry(number).or_default();
    *progress = known.with(progress);
    // Once healthy, nothing more is asked of it while it stays so: a fleet that is done costs no writes.
    let settled =
        position.is_updated() && progress.state(&record.policy.patience, next.seen) == DeviceState::Healthy;
    if !settled {
        progress.check_in(CheckIn {
            at: next.seen,
            position,
            some,
            held,
            offered: false,
        });
    }
    next.wave = Some(WaveReport {
        wave: wave.name.clone(),
        progress: *progress,
    });
}

/// A device fetches a file.
pub(in crate::app) fn fetched(app: &App, asker: &Asker, snap: &SnapId, revision: u64) {
    let Some(session) = asker.session.as_ref().filter(|_| app.fleet.is_used()) else {
        return;
    };
    let id = id_of(&session.device);
    let found = {
        let state = app.fleet.read();
        state.number(id).and_then(|number| {
            let place = state.place(number)?;
            let shown = state.open(&place.store, place.tag.as_ref()?)?;
            let wave = shown.wave();
            let named = wave
                .entries()
                .iter()
                .any(|entry| entry.pin.snap_id == *snap && entry.revision == revision);
            let first = shown
                .progress
                .get(&number)
                .is_none_or(|progress| !progress.was_fetched());
            (named && first && place.production && shown.shows(number, place.group.as_ref()))
                .then(|| (number, place.store.clone(), wave.name.clone()))
        })
    };
    if let Some((number, store, wave)) = found {
        let now = app.clock.now();
        app.fleet.write(|state| {
            if let Some(shown) = state.wave_mut(&store, &wave) {
                shown.progress.entry(number).or_default().fetch(now);
            }
        });
        if app.fleet.following.is_shared() {
            // The device may say to another process what came of it.
            app.reports.note_fetched(&session.device);
        }
    }
}

/// Puts into the report of a device what it fetched and nothing has recorded yet; false if there is nothing.
pub(in crate::app) fn put_fetched(app: &App, next: &mut DeviceReport) -> bool {
    let state = app.fleet.read();
    let noticed = state.number(id_of(&next.device)).and_then(|number| {
        let place = state.place(number)?;
        let shown = state.open(&place.store, place.tag.as_ref()?)?;
        Some((shown.wave().name.clone(), *shown.progress.get(&number)?))
    });
    let Some((wave, noticed)) = noticed.filter(|(_, noticed)| noticed.was_fetched()) else {
        return false;
    };
    let known = next.wave.as_ref().filter(|told| told.wave == wave);
    let known = known.map(|told| told.progress).unwrap_or_default();
    let progress = known.with(&noticed);
    next.wave = Some(WaveReport { wave, progress });
    progress != known
}
