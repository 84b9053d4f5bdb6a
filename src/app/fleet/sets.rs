//! Which validation sets of waves devices are shown (waves-and-registration.md A.7, A.8): every device has a latest one of its own.

use bytes::Bytes;

use super::index::{Shown, State, id_of};
use super::{current, sight, start};
use crate::app::{App, Refusal};
use crate::domain::fleet::{Part, SetRef, WaveStatus, newest_set};
use crate::domain::ident::{DeviceId, SnapId};
use crate::domain::time::Timestamp;

/// The newest validation set of a sequence that a device may see, where that is one of a wave which is not published; else what
/// is stored counts. That a member of a whole group was told is recorded before this answers.
///
/// # Errors
/// If the database is out of reach.
pub(in crate::app) async fn latest(
    app: &App,
    device: Option<&DeviceId>,
    set: &SetRef,
) -> Result<Option<Bytes>, Refusal> {
    start(app).await?;
    current(app).await?;
    let Some(device) = device else { return Ok(None) };
    let now = app.clock.now();
    let found = {
        let state = app.fleet.read();
        newest(&state, set, device, now)
    };
    let Some((number, sequence)) = found else {
        return Ok(None);
    };
    sight::stay_in(app, number, (set, sequence), now).await?;
    // The wave may have been stopped meanwhile, before its row was there.
    let state = app.fleet.read();
    if newest(&state, set, device, now) != Some((number, sequence)) {
        return Ok(None);
    }
    Ok(of_number(&state, set, sequence))
}

/// Whether waves make this set: then a device that has one of it, and may see no other, hears that there is nothing newer.
pub(in crate::app) fn is_made(app: &App, set: &SetRef) -> bool {
    app.fleet.read().maker(set).is_some()
}

/// The number of the device, and that of the set it may see beyond what is published.
fn newest(state: &State, set: &SetRef, device: &DeviceId, now: Timestamp) -> Option<(u32, u64)> {
    let (store, tag) = state.maker(set)?;
    let number = state.number(id_of(device))?;
    let (place, row) = (state.place(number)?, state.row(number)?);
    if row.denied || !place.production || place.store != *store {
        return None;
    }
    let follows = place.tag.as_ref() == Some(tag);
    let stream = state.stream(store, tag)?;
    let published = stream.map.published;
    let group = place.group.as_ref();
    let waves = stream
        .waves
        .values()
        .rev()
        .filter_map(|name| state.wave(store, name));
    let bound = waves.filter(|shown| shown.record.binding.is_some());
    let sequence = newest_set(
        published,
        bound.map(|shown| {
            let wave = shown.wave();
            Part {
                wave,
                told: sight::is_told(&shown.record, now),
                // Who is in a group now that a cancelled wave was for has nothing of it.
                // What it was told is taken back wherever it has gone since.
                exposed: match wave.status {
                    WaveStatus::Canceled => shown.exposed.contains(number as usize),
                    _ => follows && shown.shows(number, group),
                },
                updated: move || {
                    let since = shown.record.finished.unwrap_or(now);
                    let told = i64::from(row.told) > since.unix();
                    told.then(|| state.device_position(wave, number).is_updated())
                },
            }
        }),
    );
    (sequence > published).then_some((number, sequence))
}

/// The validation set of this number, where a wave made it and it has been told to devices. Addresses name numbers: who has one
/// was told of it.
pub(in crate::app) fn numbered(app: &App, set: &SetRef, sequence: u64) -> Option<Bytes> {
    of_number(&app.fleet.read(), set, sequence)
}

fn of_number(state: &State, set: &SetRef, sequence: u64) -> Option<Bytes> {
    let shown = made(state, set, sequence)?;
    let document = shown.record.binding.as_ref()?.document(sequence)?;
    Some(Bytes::from(document.assertion.clone()?.into_bytes()))
}

/// The wave that made this number, if that may be fetched. What is published is among the assertions, perhaps in a newer
/// revision.
fn made<'s>(state: &'s State, set: &SetRef, sequence: u64) -> Option<&'s Shown> {
    let (store, tag) = state.maker(set)?;
    let stream = state.stream(store, tag)?;
    // The abort has the number after that of its wave.
    let (first, name) = stream.waves.range(..=sequence).next_back()?;
    let shown = state.wave(store, name)?;
    if shown.wave().rollouts == 0 {
        return None;
    }
    let may = match shown.wave().status {
        WaveStatus::Draft | WaveStatus::Complete => false,
        WaveStatus::Active | WaveStatus::Halted => *first == sequence,
        WaveStatus::Canceled => true,
    };
    may.then_some(shown)
}

/// Whether a set of a wave holds a device to this revision of a snap now; none where no wave made it, or it is published.
pub(in crate::app) fn holds(
    app: &App,
    device: &DeviceId,
    set: &SetRef,
    sequence: u64,
    (snap, revision): (&SnapId, u64),
) -> Option<bool> {
    let state = app.fleet.read();
    let shown = made(&state, set, sequence)?;
    let seen = newest(&state, set, device, app.clock.now());
    let document = shown.record.binding.as_ref()?.document(sequence)?;
    // A cancelled wave is told to nobody any more: who runs what it says needs no leave.
    let over = shown.wave().status == WaveStatus::Canceled && shown.wave().sequence == sequence;
    let told = !over && seen.is_some_and(|(_, newest)| newest == sequence);
    Some(told && document.holds(|listed| listed.id == *snap, revision))
}
