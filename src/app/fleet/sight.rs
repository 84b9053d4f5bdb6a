//! What a production device can see at a refresh (waves-and-registration.md A.8): decided in memory, but for the row that makes
//! a member's first look at a wave of its group last.

use std::sync::Arc;

use super::index::{Shown, State, id_of};
use super::{current, devices, start};
use crate::app::store::Installed;
use crate::app::{App, Refusal};
use crate::domain::catalog::Channel;
use crate::domain::fleet::{
    Decision, Exposure, PinRef, ProductionMap, Running, SetRef, Sight, WaveRecord, decide,
};
use crate::domain::ident::{Architecture, DeviceId, SnapId, StoreId};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome};

/// What a device sees of the stream it follows.
#[derive(Clone, Debug)]
pub struct DeviceSight {
    number: u32,
    map: Arc<ProductionMap>,
    /// The open wave, where the device is exposed to it.
    wave: Option<Arc<WaveRecord>>,
    /// The open wave where it is not.
    hidden: Option<Arc<WaveRecord>>,
    /// Whether the wave is told now, by its status, its expiry and its window.
    told: bool,
}

/// What is known of a device before its request is looked at.
struct Standing {
    sight: DeviceSight,
    id: u128,
    /// It is exposed as a member of a group, without a row of its own.
    by_group: bool,
}

impl DeviceSight {
    /// What a device of this store sees; none where its channels decide. Its first look at a wave of its whole group is
    /// recorded before this answers.
    ///
    /// # Errors
    /// If the database is out of reach and something has to be recorded, or was for so long that other processes may have stopped
    /// the wave.
    pub async fn of<'r>(
        app: &App,
        device: &DeviceId,
        store: Option<&StoreId>,
        architecture: &Architecture,
        installed: impl Iterator<Item = &'r Installed<'r>>,
    ) -> Result<Option<Self>, Refusal> {
        start(app).await?;
        current(app).await?;
        let fleet = &app.fleet;
        if !fleet.may_be_used() {
            return Ok(None);
        }
        let id = id_of(device);
        let now = app.clock.now();
        let known = {
            let state = fleet.read();
            let number = state.number(id);
            number.map(|number| standing(&state, number, id, now))
        };
        let standing = match known {
            Some(standing) => standing,
            // It registered elsewhere, or before its model had a rule.
            None => match devices::register(app, device, store).await? {
                Some(number) => standing(&fleet.read(), number, id, now),
                None => None,
            },
        };
        let Some(standing) = standing else { return Ok(None) };
        if standing.by_group && standing.sight.told && standing.sight.has_news(architecture, installed) {
            stay(app, &standing).await?;
        }
        Ok(Some(standing.sight))
    }

    /// What a device sees that is known already; nothing is recorded.
    pub(super) fn at(state: &State, number: u32, now: Timestamp) -> Option<Self> {
        Some(standing(state, number, state.row(number)?.id, now)?.sight)
    }

    /// The wave it is exposed to.
    pub(super) fn wave(&self) -> Option<&WaveRecord> {
        self.wave.as_deref()
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            map: &self.map,
            wave: self.wave.as_ref().map(|record| &record.wave),
            told: self.told,
        }
    }

    /// What the device sees of one snap. `running` is its revision, where it has the snap.
    pub fn decide(&self, app: &App, pin: PinRef<'_>, running: Option<u64>) -> Decision {
        // Branches are for somebody in particular: nothing is pinned there.
        if pin.channel.branch.is_some() {
            return Decision::channel();
        }
        let running = running.map(|revision| Running {
            revision,
            since: move || app.fleet.read().since(self.number, pin, revision),
            reverted: move |target| {
                let state = app.fleet.read();
                // What it ran when it last asked, and does not any more, it came back from just now.
                state.has_reverted(self.number, pin.snap_id, target)
                    || (target > revision && state.ran(self.number, pin) == Some(target))
            },
        });
        decide(&self.sight(), pin, running)
    }

    /// Whether a device keeps what it runs rather than take a lower revision from its channel: where nothing is pinned any more,
    /// as after a cancelled wave, what a wave brought is not taken back.
    pub fn keeps(&self, app: &App, pin: PinRef<'_>, (running, offered): (u64, u64)) -> bool {
        offered < running && app.fleet.read().since(self.number, pin, running) > 0
    }

    /// Whether the device may have this revision by its number: what is pinned hides all others.
    pub fn allows(&self, pin: PinRef<'_>, revision: u64, running: Option<u64>) -> bool {
        let published = self.map.find(pin).map(|found| found.entry.revision);
        let waved = self.wave.as_ref().and_then(|record| record.wave.revision(pin));
        let hidden = self.hidden.as_ref().and_then(|record| record.wave.revision(pin));
        if running == Some(revision) || published == Some(revision) {
            return true;
        }
        if waved == Some(revision) {
            return self.told;
        }
        published.is_none() && waved.is_none() && hidden != Some(revision)
    }

    /// Whether this revision is published.
    pub fn publishes(&self, pin: PinRef<'_>, revision: u64) -> bool {
        self.map
            .find(pin)
            .is_some_and(|found| found.entry.revision == revision)
    }

    /// Whether the wave brings this revision now.
    pub fn brings(&self, pin: PinRef<'_>, revision: u64) -> bool {
        let wave = self.wave.as_ref().filter(|_| self.told);
        wave.is_some_and(|record| record.wave.revision(pin) == Some(revision))
    }

    /// Whether the document of this sequence is that of the wave, and it is told now.
    fn tells(&self, set: &SetRef, sequence: u64) -> bool {
        let binding = self.wave.as_ref().and_then(|record| record.binding.as_ref());
        let binding = binding.filter(|_| self.told);
        binding.is_some_and(|binding| binding.set == *set && binding.wave.sequence == sequence)
    }

    /// Whether the wave says something else than what the device has.
    fn has_news<'r>(
        &self,
        architecture: &Architecture,
        mut installed: impl Iterator<Item = &'r Installed<'r>>,
    ) -> bool {
        let Some(record) = &self.wave else { return false };
        installed.any(|snap| {
            let channel = snap.tracking_channel.unwrap_or("stable").parse::<Channel>();
            let (Ok(snap_id), Ok(channel)) = (snap.snap_id.parse::<SnapId>(), channel) else {
                return false;
            };
            let pin = PinRef {
                snap_id: &snap_id,
                channel: &channel,
                architecture,
            };
            record
                .wave
                .revision(pin)
                .is_some_and(|revision| revision != snap.revision)
        })
    }

    /// The device was told of a revision of the wave.
    pub fn was_offered(&self, app: &App) {
        let Some(record) = &self.wave else { return };
        let wave = &record.wave;
        let known = app
            .fleet
            .read()
            .wave(&wave.store, &wave.name)
            .is_some_and(|shown| {
                shown
                    .progress
                    .get(&self.number)
                    .is_some_and(|progress| progress.was_offered())
            });
        if !known {
            app.fleet.write(|state| {
                if let Some(shown) = state.wave_mut(&wave.store, &wave.name) {
                    shown.progress.entry(self.number).or_default().offer();
                }
            });
        }
    }
}

/// Whether those who are exposed to a wave are told of it now, by its status, its expiry and its window.
pub(super) fn is_told(record: &WaveRecord, now: Timestamp) -> bool {
    let window = record.policy.window.as_ref();
    record.wave.is_offered(now) && window.is_none_or(|window| window.is_open(now))
}

/// A device is told of the document of this sequence of its tag: where that is of the open wave, which it sees as a member of a
/// whole group, it is recorded.
pub(super) async fn stay_in(
    app: &App,
    number: u32,
    (set, sequence): (&SetRef, u64),
    now: Timestamp,
) -> Result<(), Refusal> {
    let standing = {
        let state = app.fleet.read();
        let id = state.row(number).map(|row| row.id);
        id.and_then(|id| standing(&state, number, id, now))
    };
    match standing {
        Some(standing) if standing.by_group && standing.sight.tells(set, sequence) => {
            stay(app, &standing).await
        }
        _ => Ok(()),
    }
}

fn standing(state: &State, number: u32, id: u128, now: Timestamp) -> Option<Standing> {
    let place = state.place(number)?;
    if !place.production {
        return None;
    }
    let tag = place.tag.as_ref()?;
    let stream = state.stream(&place.store, tag)?;
    let open = state.open(&place.store, tag);
    let group = place.group.as_ref();
    let shows = |shown: &&Shown| shown.shows(number, group);
    let exposed = open.filter(shows);
    let record = exposed.map(|shown| Arc::clone(&shown.record));
    let told = record.as_ref().is_some_and(|record| is_told(record, now));
    Some(Standing {
        by_group: exposed.is_some_and(|shown| !shown.exposed.contains(number as usize)),
        id,
        sight: DeviceSight {
            number,
            map: Arc::clone(&stream.map),
            hidden: open
                .filter(|shown| !shows(shown))
                .map(|shown| Arc::clone(&shown.record)),
            wave: record,
            told,
        },
    })
}

/// A member of a whole group keeps what it is shown here, wherever it goes.
async fn stay(app: &App, standing: &Standing) -> Result<(), Refusal> {
    let Some(record) = &standing.sight.wave else {
        return Ok(());
    };
    let wave = &record.wave;
    let part = uuid::Uuid::from_u128(standing.id).to_string();
    let row = Exposure::new(wave.store.clone(), wave.name.clone(), 0, part, &[standing.id]);
    let commit = Commit {
        records: vec![Change::create(&row)],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        // Another request of the same device was faster.
        CommitOutcome::Done | CommitOutcome::Conflict { .. } => {}
        outcome @ (CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. }) => App::settle(&outcome)?,
    }
    app.fleet
        .write(|state| state.expose(&wave.store, &wave.name, &[standing.id]));
    Ok(())
}
