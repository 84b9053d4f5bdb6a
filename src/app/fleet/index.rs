//! The fleet in memory: every production and every tagged device, where it stands, what it runs, and the waves it may see.
//! Counts are kept by cells (place, set of snaps), of which there are few, so that they cost the same for a thousand devices
//! and for a million.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use fixedbitset::FixedBitSet;
use foldhash::fast::RandomState;

use super::pool::Pool;
use crate::domain::catalog::{Channel, DeviceReport, device_uuid};
use crate::domain::fleet::{
    FleetDevice, FleetRule, PinRef, Position, ProductionMap, Progress, SetRef, Wave, WaveRecord, WaveStatus,
    position,
};
use crate::domain::ident::{
    Architecture, BrandId, DeviceId, GroupName, ModelName, SnapId, StoreId, Tag, WaveName,
};
use crate::domain::time::Timestamp;
use crate::domain::vault::ModelRecord;

/// What devices share that see the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) store: StoreId,
    pub(super) tag: Option<Tag>,
    pub(super) group: Option<GroupName>,
    pub(super) production: bool,
}

/// What a device runs, as far as its channels could be controlled: numbers of pins, and revisions, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Set {
    architecture: Architecture,
    snaps: Box<[(u32, u64)]>,
}

/// A device. There may be millions: 48 bytes each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) id: u128,
    pub(super) place: u32,
    pub(super) set: u32,
    /// When it last asked, in seconds since 1970; 0 = never.
    pub(super) seen: u32,
    /// When it last said what it runs, as far as this process heard it; 0 = never.
    pub(super) told: u32,
    /// The version of its place.
    pub(super) version: u32,
    /// Whether it was shut out: nobody counts it.
    pub(super) denied: bool,
}

/// Where a device is counted.
type Cell = (u32, u32);
type Cells = HashMap<Cell, u64, RandomState>;

/// A wave, and who was shown it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) record: Arc<WaveRecord>,
    pub(super) version: u64,
    /// Devices with a row of their own, by number.
    pub(super) exposed: FixedBitSet,
    /// How many of them are in each cell.
    pub(super) cells: Cells,
    /// How those take it that were heard of.
    pub(super) progress: HashMap<u32, Progress, RandomState>,
}

/// What is published for a tag, and the waves that were for it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) map: Arc<ProductionMap>,
    pub(super) version: u64,
    /// By sequence.
    pub(super) waves: BTreeMap<u64, WaveName>,
    pub(super) open: Option<WaveName>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    numbers: HashMap<u128, u32, RandomState>,
    rows: Vec<Row>,
    places: Pool<Place>,
    pins: Pool<(SnapId, Channel)>,
    sets: Pool<Set>,
    cells: Cells,
    /// How many devices of a place were last seen in which minute since 1970.
    minutes: HashMap<u32, BTreeMap<u32, u64>, RandomState>,
    reverted: HashMap<u32, Vec<(SnapId, u64)>, RandomState>,
    streams: HashMap<StoreId, HashMap<Tag, Stream>>,
    waves: HashMap<StoreId, BTreeMap<WaveName, Shown>>,
    /// The tags whose waves make validation sets.
    makers: HashMap<SetRef, (StoreId, Tag)>,
    pub(super) rules: HashMap<BrandId, HashMap<ModelName, FleetRule>>,
    /// The versions of the models that are known.
    models: HashMap<(BrandId, ModelName), u64>,
}

/// The number of a device, as the index knows it.
pub(super) fn id_of(device: &DeviceId) -> u128 {
    device_uuid(device).as_u128()
}

fn count(cells: &mut Cells, cell: Cell, more: bool) {
    if more {
        *cells.entry(cell).or_default() += 1;
    } else if let Some(number) = cells.get_mut(&cell) {
        *number -= 1;
        if *number == 0 {
            cells.remove(&cell);
        }
    }
}

impl Shown {
    pub(super) fn wave(&self) -> &Wave {
        &self.record.wave
    }

    /// Whether a device of this group is shown the wave.
    pub(super) fn shows(&self, number: u32, group: Option<&GroupName>) -> bool {
        self.exposed.contains(number as usize)
            || group.is_some_and(|group| self.wave().groups.contains_key(group))
    }
}

impl State {
    /// Whether there is nothing to decide for anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.rules.is_empty()
    }

    pub(super) fn number(&self, id: u128) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    pub(super) fn row(&self, number: u32) -> Option<&Row> {
        self.rows.get(number as usize)
    }

    /// How many devices there ever were.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (u32, &Row)> {
        (0u32..).zip(&self.rows)
    }

    pub(super) fn place(&self, number: u32) -> Option<&Place> {
        self.places.get(self.row(number)?.place)
    }

    pub(super) fn place_of(&self, place: u32) -> Option<&Place> {
        self.places.get(place)
    }

    /// All places that devices have, by number.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, &Place)> {
        self.places.iter()
    }

    pub(super) fn cells(&self) -> &Cells {
        &self.cells
    }

    /// How many devices of a place were seen since then.
    pub(super) fn seen_since(&self, place: u32, since: Timestamp) -> u64 {
        let first = u32::try_from(since.unix().div_euclid(60)).unwrap_or(0);
        let minutes = self.minutes.get(&place);
        minutes.map_or(0, |minutes| minutes.range(first..).map(|(_, count)| count).sum())
    }

    pub(super) fn stream(&self, store: &StoreId, tag: &Tag) -> Option<&Stream> {
        self.streams.get(store)?.get(tag)
    }

    /// The tag whose waves make a validation set.
    pub(super) fn maker(&self, set: &SetRef) -> Option<(&StoreId, &Tag)> {
        self.makers.get(set).map(|(store, tag)| (store, tag))
    }

    pub(super) fn wave(&self, store: &StoreId, name: &WaveName) -> Option<&Shown> {
        self.waves.get(store)?.get(name)
    }

    pub(super) fn wave_mut(&mut self, store: &StoreId, name: &WaveName) -> Option<&mut Shown> {
        self.waves.get_mut(store)?.get_mut(name)
    }

    /// The waves of a store, by name.
    pub(super) fn waves(&self, store: &StoreId) -> impl Iterator<Item = &Shown> {
        self.waves.get(store).into_iter().flat_map(BTreeMap::values)
    }

    /// The waves of all stores.
    pub(super) fn all_waves(&self) -> impl Iterator<Item = &Shown> {
        self.waves.values().flat_map(BTreeMap::values)
    }

    /// The open waves of all stores.
    pub(super) fn open_waves(&self) -> impl Iterator<Item = &Shown> {
        let streams = self.streams.iter();
        streams.flat_map(|(store, streams)| {
            let open = streams.values().filter_map(|stream| stream.open.as_ref());
            open.filter_map(|name| self.wave(store, name))
        })
    }

    /// What is published, of all tags of all stores.
    pub(super) fn maps(&self) -> impl Iterator<Item = &ProductionMap> {
        let streams = self.streams.values().flat_map(HashMap::values);
        streams.map(|stream| &*stream.map)
    }

    /// Waves of a tag that were cancelled after some devices saw them, and after what is published.
    pub(super) fn left_behind(&self, store: &StoreId, tag: &Tag) -> impl Iterator<Item = &Shown> {
        let stream = self.stream(store, tag);
        let names = stream.into_iter().flat_map(|stream| {
            let later = (Bound::Excluded(stream.map.published), Bound::Unbounded);
            stream.waves.range(later).map(|(_, name)| name)
        });
        let waves = self.waves.get(store);
        let shown = names.filter_map(move |name| waves?.get(name));
        shown.filter(|shown| shown.wave().status == WaveStatus::Canceled && shown.wave().rollouts > 0)
    }

    /// The same of all tags of all stores.
    pub(super) fn all_left_behind(&self) -> impl Iterator<Item = &Shown> {
        let streams = self.streams.iter();
        streams.flat_map(|(store, streams)| streams.keys().flat_map(|tag| self.left_behind(store, tag)))
    }

    /// The open wave of a tag.
    pub(super) fn open(&self, store: &StoreId, tag: &Tag) -> Option<&Shown> {
        let name = self.stream(store, tag)?.open.as_ref()?;
        self.wave(store, name)
    }

    /// The sequence of the newest wave by which a device may have got a revision: see [`crate::domain::fleet::Running`].
    pub(super) fn since(&self, number: u32, pin: PinRef<'_>, revision: u64) -> u64 {
        let Some(place) = self.place(number) else { return 0 };
        let stream = place.tag.as_ref().and_then(|tag| self.stream(&place.store, tag));
        let names = stream.into_iter().flat_map(|stream| stream.waves.iter().rev());
        let mut brought = names.filter(|(_, name)| {
            self.wave(&place.store, name).is_some_and(|shown| {
                shown.wave().revision(pin) == Some(revision)
                    && (shown.wave().status == WaveStatus::Complete
                        || shown.exposed.contains(number as usize))
            })
        });
        brought.next().map_or(0, |(sequence, _)| *sequence)
    }

    /// What a device ran of a pin when it last said so.
    pub(super) fn ran(&self, number: u32, pin: PinRef<'_>) -> Option<u64> {
        let set = self.sets.get(self.row(number)?.set)?;
        let mut found = set.snaps.iter().filter(|(known, _)| {
            self.pins
                .get(*known)
                .is_some_and(|(snap, channel)| snap == pin.snap_id && channel == pin.channel)
        });
        found.next().map(|(_, revision)| *revision)
    }

    /// Whether a device came back from a revision by itself.
    pub(super) fn has_reverted(&self, number: u32, snap: &SnapId, revision: u64) -> bool {
        let reverted = self.reverted.get(&number);
        reverted.is_some_and(|list| {
            list.iter()
                .any(|(known, from)| known == snap && *from == revision)
        })
    }

    pub(super) fn set_reverted(&mut self, number: u32, list: Vec<(SnapId, u64)>) {
        if list.is_empty() {
            self.reverted.remove(&number);
        } else {
            self.reverted.insert(number, list);
        }
    }

    /// Where those stand towards a wave that run a set. Rollback waves ask since when, which is of single devices: `since` of
    /// the device where one is meant.
    pub(super) fn position(&self, wave: &Wave, set: u32, since: impl Fn(PinRef<'_>, u64) -> u64) -> Position {
        let Some(set) = self.sets.get(set) else {
            return Position::Apart;
        };
        // Of whom nothing was heard yet may have anything: a wave has something to do for it.
        if set.architecture == Architecture::ANY && set.snaps.is_empty() {
            return Position::Before;
        }
        let snaps = set.snaps.iter().filter_map(|(pin, revision)| {
            let (snap_id, channel) = self.pins.get(*pin)?;
            let pin = PinRef {
                snap_id,
                channel,
                architecture: &set.architecture,
            };
            Some((pin, *revision, since(pin, *revision)))
        });
        position(wave, snaps)
    }

    /// Where those stand towards a wave that run a set. What a device had of later waves is told by those that are complete.
    pub(super) fn stands(&self, wave: &Wave, set: u32) -> Position {
        self.position(wave, set, |pin, revision| {
            let stream = self.stream(&wave.store, &wave.tag);
            let names = stream.into_iter().flat_map(|stream| stream.waves.iter().rev());
            let mut later = names.take_while(|(sequence, _)| **sequence > wave.sequence);
            let brought = later.find(|(_, name)| {
                self.wave(&wave.store, name).is_some_and(|shown| {
                    shown.wave().status == WaveStatus::Complete
                        && shown.wave().revision(pin) == Some(revision)
                })
            });
            brought.map_or(0, |(sequence, _)| *sequence)
        })
    }

    /// Where a device stands towards a wave.
    pub(super) fn device_position(&self, wave: &Wave, number: u32) -> Position {
        let Some(row) = self.row(number) else {
            return Position::Apart;
        };
        self.position(wave, row.set, |pin, revision| self.since(number, pin, revision))
    }

    /// Whether those who run a set run some revision of a wave.
    pub(super) fn runs_some(&self, wave: &Wave, set: u32) -> bool {
        let Some(set) = self.sets.get(set) else {
            return false;
        };
        set.snaps.iter().any(|(pin, revision)| {
            self.pins.get(*pin).is_some_and(|(snap_id, channel)| {
                let pin = PinRef {
                    snap_id,
                    channel,
                    architecture: &set.architecture,
                };
                wave.revision(pin) == Some(*revision)
            })
        })
    }

    /// A device takes a place, or another one. The version is that of its record: older ones change nothing.
    pub(super) fn put(&mut self, device: &FleetDevice, version: u64) -> u32 {
        let id = id_of(&device.device);
        let version = u32::try_from(version).unwrap_or(u32::MAX);
        let known = self.number(id);
        if let Some((number, row)) = known.and_then(|number| Some((number, self.row(number)?)))
            && row.version >= version
        {
            return number;
        }
        let place = Place {
            store: device.store.clone(),
            tag: device.tag.clone(),
            group: device.group.clone(),
            production: device.production,
        };
        let place = self.places.take(place);
        if let Some(number) = known {
            let before = self.row(number).map(|row| row.place);
            self.change(number, |row| {
                row.place = place;
                row.version = version;
            });
            before.and_then(|before| self.places.give_back(before));
            return number;
        }
        let number = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let set = self.sets.take(Set {
            architecture: Architecture::ANY,
            snaps: Box::default(),
        });
        self.rows.push(Row {
            id,
            place,
            set,
            seen: 0,
            told: 0,
            version,
            denied: false,
        });
        self.numbers.insert(id, number);
        self.tally(number, true);
        number
    }

    /// What devices of a model become that register. Older versions of the model change nothing.
    pub(super) fn put_rule(&mut self, model: &ModelRecord, version: u64) {
        let key = (model.brand_id.clone(), model.name.clone());
        let known = self.models.entry(key).or_default();
        if *known >= version {
            return;
        }
        *known = version;
        let models = self.rules.entry(model.brand_id.clone()).or_default();
        if model.fleet.is_nothing() {
            models.remove(&model.name);
        } else {
            models.insert(model.name.clone(), model.fleet.clone());
        }
        self.rules.retain(|_, models| !models.is_empty());
    }

    /// Those and no others are shut out.
    pub(super) fn deny_these(&mut self, ids: &HashSet<u128>) {
        let wrong = self.rows().filter(|(_, row)| row.denied != ids.contains(&row.id));
        let wrong: Vec<(u32, bool)> = wrong.map(|(number, row)| (number, !row.denied)).collect();
        for (number, denied) in wrong {
            self.deny(number, denied);
        }
    }

    /// A device is shut out, or let in again.
    pub(super) fn deny(&mut self, number: u32, denied: bool) {
        self.change(number, |row| row.denied = denied);
    }

    /// What a device reported.
    pub(super) fn report(&mut self, number: u32, report: &DeviceReport) {
        let mut snaps: Vec<(u32, u64)> = Vec::with_capacity(report.snaps.len());
        for snap in &report.snaps {
            // Parallel instances and what follows a branch are nobody's but their owner's.
            if snap.instance.is_some() || snap.revision == 0 {
                continue;
            }
            let channel = snap.channel.as_deref().unwrap_or("stable").parse::<Channel>();
            let (Ok(id), Ok(channel)) = (snap.snap_id.parse::<SnapId>(), channel) else {
                continue;
            };
            if channel.branch.is_none() {
                snaps.push((self.pins.take((id, channel)), snap.revision));
            }
        }
        snaps.sort_unstable();
        let set = Set {
            architecture: report.architecture.clone(),
            snaps: snaps.into_boxed_slice(),
        };
        let seen = u32::try_from(report.seen.unix()).unwrap_or(0);
        let known = self.sets.number(&set);
        let set = match known {
            // The set has its pins already.
            Some(known) => {
                for (pin, _) in &set.snaps {
                    self.pins.give_back(*pin);
                }
                self.sets.keep(known);
                known
            }
            None => self.sets.take(set),
        };
        let before = self.row(number).map(|row| row.set);
        self.change(number, |row| {
            row.set = set;
            row.seen = row.seen.max(seen);
        });
        if let Some(gone) = before.and_then(|before| self.sets.give_back(before)) {
            for (pin, _) in &gone.snaps {
                self.pins.give_back(*pin);
            }
        }
    }

    /// A device said what it runs.
    pub(super) fn hear(&mut self, number: u32, at: Timestamp) {
        if let Some(row) = self.rows.get_mut(number as usize) {
            row.told = row.told.max(u32::try_from(at.unix()).unwrap_or(0));
        }
    }

    /// A device was seen.
    pub(super) fn see(&mut self, number: u32, at: Timestamp) {
        let seen = u32::try_from(at.unix()).unwrap_or(0);
        self.change(number, |row| row.seen = row.seen.max(seen));
    }

    /// Changes a row and all counts it is in.
    fn change(&mut self, number: u32, change: impl FnOnce(&mut Row)) {
        self.tally(number, false);
        if let Some(row) = self.rows.get_mut(number as usize) {
            change(row);
        }
        self.tally(number, true);
    }

    /// Counts a device, or takes it out of all counts.
    fn tally(&mut self, number: u32, more: bool) {
        let Some(row) = self.row(number).copied() else {
            return;
        };
        if row.denied {
            return;
        }
        let cell = (row.place, row.set);
        count(&mut self.cells, cell, more);
        if row.seen > 0 {
            let minutes = self.minutes.entry(row.place).or_default();
            let minute = minutes.entry(row.seen / 60).or_default();
            *minute = if more {
                *minute + 1
            } else {
                minute.saturating_sub(1)
            };
            if *minute == 0 {
                minutes.remove(&(row.seen / 60));
            }
        }
        let Some(place) = self.places.get(row.place) else {
            return;
        };
        let Some(tag) = &place.tag else { return };
        let stream = self
            .streams
            .get(&place.store)
            .and_then(|streams| streams.get(tag));
        let Some(open) = stream.and_then(|stream| stream.open.as_ref()) else {
            return;
        };
        let shown = self
            .waves
            .get_mut(&place.store)
            .and_then(|waves| waves.get_mut(open));
        if let Some(shown) = shown.filter(|shown| shown.exposed.contains(number as usize)) {
            count(&mut shown.cells, cell, more);
        }
    }

    /// What is published for a tag is known, or changed. Older versions change nothing.
    pub(super) fn put_map(&mut self, map: ProductionMap, version: u64) {
        if self
            .stream(&map.store, &map.tag)
            .is_some_and(|stream| stream.version >= version)
        {
            return;
        }
        let maker = (map.store.clone(), map.tag.clone());
        match &map.set {
            Some(set) => drop(self.makers.insert(set.clone(), maker)),
            None => self.makers.retain(|_, place| *place != maker),
        }
        let streams = self.streams.entry(map.store.clone()).or_default();
        let stream = streams.entry(map.tag.clone()).or_insert_with(|| Stream {
            map: Arc::new(ProductionMap::new(map.store.clone(), map.tag.clone())),
            version: 0,
            waves: BTreeMap::new(),
            open: None,
        });
        stream.map = Arc::new(map);
        stream.version = version;
    }

    /// A wave is known, or changed. Older versions change nothing.
    pub(super) fn put_wave(&mut self, record: Arc<WaveRecord>, version: u64) {
        if self
            .wave(&record.wave.store, &record.wave.name)
            .is_some_and(|shown| shown.version >= version)
        {
            return;
        }
        let (store, name) = (record.wave.store.clone(), record.wave.name.clone());
        let (tag, sequence, open) = (
            record.wave.tag.clone(),
            record.wave.sequence,
            record.wave.is_open(),
        );
        let waves = self.waves.entry(store.clone()).or_default();
        match waves.get_mut(&name) {
            Some(shown) => {
                shown.record = record;
                shown.version = version;
                if !open {
                    shown.cells = Cells::default();
                    shown.progress = HashMap::default();
                }
            }
            None => {
                waves.insert(
                    name.clone(),
                    Shown {
                        record,
                        version,
                        exposed: FixedBitSet::new(),
                        cells: Cells::default(),
                        progress: HashMap::default(),
                    },
                );
            }
        }
        let streams = self.streams.entry(store.clone()).or_default();
        let stream = streams.entry(tag.clone()).or_insert_with(|| Stream {
            map: Arc::new(ProductionMap::new(store, tag)),
            version: 0,
            waves: BTreeMap::new(),
            open: None,
        });
        stream.waves.insert(sequence, name.clone());
        if open {
            stream.open = Some(name);
        } else if stream.open.as_ref() == Some(&name) {
            stream.open = None;
        }
    }

    /// Devices have rows of a wave; those that are not known any more are left out.
    pub(super) fn expose(&mut self, store: &StoreId, name: &WaveName, ids: &[u128]) {
        for id in ids {
            let Some(number) = self.number(*id) else { continue };
            let Some(row) = self.row(number).copied() else {
                continue;
            };
            let counted = !row.denied && self.follows(row.place, store, name);
            let Some(shown) = self.wave_mut(store, name) else {
                return;
            };
            let index = number as usize;
            shown.exposed.grow(index + 1);
            if !shown.exposed.put(index) && counted {
                count(&mut shown.cells, (row.place, row.set), true);
            }
        }
    }

    /// Whether devices of a place follow the tag of this wave, and it is open.
    fn follows(&self, place: u32, store: &StoreId, name: &WaveName) -> bool {
        let Some(place) = self.places.get(place) else {
            return false;
        };
        let stream = place.tag.as_ref().and_then(|tag| self.stream(&place.store, tag));
        place.store == *store && stream.is_some_and(|stream| stream.open.as_ref() == Some(name))
    }
}
