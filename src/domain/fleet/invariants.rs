//! The invariants of waves (waves-and-registration.md A.9) over any operations on a small fleet.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::ident::{GroupName, Tag};
use crate::domain::time::Timestamp;

const TAGS: [&str; 2] = ["main", "beta"];
const GROUPS: [&str; 3] = ["canary", "east", "west"];
const SNAPS: usize = 3;

#[derive(Clone, Debug)]
struct Device {
    production: bool,
    tag: usize,
    group: Option<usize>,
    snaps: BTreeMap<Pin, u64>,
    reverted: BTreeSet<(Pin, u64)>,
    held: bool,
    denied: bool,
}

/// A wave, and the rows of those it was shown to: by a rollout, or (0) when a member of a whole group first asked.
#[derive(Clone, Debug)]
struct Told {
    wave: Wave,
    rows: BTreeMap<usize, u32>,
}

#[derive(Clone, Debug)]
struct World {
    devices: Vec<Device>,
    waves: Vec<Told>,
    maps: Vec<ProductionMap>,
    newest: Vec<Vec<u64>>,
    now: Timestamp,
    /// Sum of what rollouts said they chose.
    selected: u64,
}

fn pin(snap: usize) -> Pin {
    Pin {
        snap_id: format!("{snap:032}").parse().unwrap(),
        channel: "latest/stable".parse().unwrap(),
        architecture: "amd64".parse().unwrap(),
    }
}

fn tag(number: usize) -> Tag {
    TAGS[number].parse().unwrap()
}

fn group(number: usize) -> GroupName {
    GROUPS[number].parse().unwrap()
}

impl World {
    fn new() -> Self {
        let store = || "acme".parse().unwrap();
        let device = |number: usize| Device {
            production: number % 7 != 3,
            tag: number % 5 % 2,
            group: [None, Some(0), Some(1), Some(2)][number % 4],
            snaps: (0..SNAPS)
                .filter(|snap| *snap != 1 || number % 6 != 5)
                .map(|snap| (pin(snap), 1))
                .collect(),
            reverted: BTreeSet::new(),
            held: false,
            denied: false,
        };
        Self {
            devices: (0..24).map(device).collect(),
            waves: Vec::new(),
            maps: (0..TAGS.len())
                .map(|number| ProductionMap::new(store(), tag(number)))
                .collect(),
            newest: vec![vec![1; SNAPS]; TAGS.len()],
            now: Timestamp::from_unix(1_000_000),
            selected: 0,
        }
    }

    fn open(&self, tag: usize) -> Option<usize> {
        self.waves
            .iter()
            .position(|told| told.wave.is_open() && told.wave.tag.as_str() == TAGS[tag])
    }

    fn exposed(&self, wave: usize, device: usize) -> bool {
        let told = &self.waves[wave];
        told.rows.contains_key(&device)
            || self.devices[device]
                .group
                .is_some_and(|number| told.wave.groups.contains_key(&group(number)))
    }

    /// As [`Running::since`]: rows and complete waves tell it.
    fn since(&self, device: usize, pin: &Pin, revision: u64) -> u64 {
        let tag = TAGS[self.devices[device].tag];
        let brought = self.waves.iter().filter(|told| {
            told.wave.tag.as_str() == tag
                && told.wave.revision(pin.by_ref()) == Some(revision)
                && (told.wave.status == WaveStatus::Complete || told.rows.contains_key(&device))
        });
        brought.map(|told| told.wave.sequence).max().unwrap_or(0)
    }

    fn sight(&self, device: usize) -> Sight<'_> {
        let tag = self.devices[device].tag;
        let wave = self.open(tag).filter(|wave| self.exposed(*wave, device));
        Sight {
            map: &self.maps[tag],
            wave: wave.map(|wave| &self.waves[wave].wave),
            told: wave.is_some_and(|wave| self.waves[wave].wave.is_offered(self.now)),
        }
    }

    /// What the device sees of each of its snaps; none for test devices: their channels decide.
    fn decisions(&self, number: usize) -> Option<BTreeMap<Pin, Decision>> {
        let device = &self.devices[number];
        device.production.then(|| {
            let sight = self.sight(number);
            let one = |(pin, revision): (&Pin, &u64)| {
                let running = Running {
                    revision: *revision,
                    since: || self.since(number, pin, *revision),
                    reverted: |revision| device.reverted.contains(&(pin.clone(), revision)),
                };
                (pin.clone(), decide(&sight, pin.by_ref(), Some(running)))
            };
            device.snaps.iter().map(one).collect()
        })
    }

    fn position(&self, wave: usize, number: usize) -> Position {
        let snaps = self.devices[number].snaps.iter();
        let snaps =
            snaps.map(|(pin, revision)| (pin.by_ref(), *revision, self.since(number, pin, *revision)));
        position(&self.waves[wave].wave, snaps)
    }

    fn check_in(&mut self, number: usize, installs: bool, fails: Option<usize>) {
        if self.devices[number].denied {
            return;
        }
        let Some(seen) = self.decisions(number) else {
            return;
        };
        if let Some(wave) = self.open(self.devices[number].tag)
            && self.waves[wave].wave.is_offered(self.now)
            && self.exposed(wave, number)
        {
            self.waves[wave].rows.entry(number).or_insert(0);
        }
        let device = &mut self.devices[number];
        if device.held || !installs {
            return;
        }
        for (pin_of, decision) in seen {
            let Some(revision) = decision.revision else {
                continue;
            };
            if device.snaps[&pin_of] == revision {
                continue;
            }
            if fails.is_some_and(|snap| pin(snap) == pin_of) {
                device.reverted.insert((pin_of, revision));
            } else {
                device.snaps.insert(pin_of, revision);
            }
        }
    }

    fn matching(&self, wave: usize, only: Option<usize>) -> Vec<usize> {
        let tag = &self.waves[wave].wave.tag;
        let matches = |number: &usize| {
            let device = &self.devices[*number];
            device.production
                && !device.denied
                && TAGS[device.tag] == tag.as_str()
                && only.is_none_or(|group| device.group == Some(group))
        };
        (0..self.devices.len()).filter(matches).collect()
    }

    fn rollout(
        &mut self,
        wave: usize,
        only: Option<usize>,
        size: Size,
        seed: u64,
        dry: bool,
    ) -> Result<(), TestCaseError> {
        let mut next = self.waves[wave].wave.clone();
        if next.act(Act::Rollout, self.now).is_err() {
            return Ok(());
        }
        let matching = self.matching(wave, only);
        let number_of = matching.len() as u64;
        let candidates = matching.into_iter().map(|number| {
            let candidate = Candidate {
                id: number as u128,
                unseen: (number % 3 != 0).then_some(number as u64 * 3600),
                open: !self.exposed(wave, number) && !self.position(wave, number).is_updated(),
            };
            (number, candidate)
        });
        let selected = select(candidates.collect::<Vec<_>>(), size, seed);
        // I10
        let most = match size {
            Size::All => selected.eligible,
            Size::Limit(limit) => selected.eligible.min(limit),
            Size::Percent(percent) => selected
                .eligible
                .min((number_of * u64::from(percent)).div_ceil(100)),
        };
        prop_assert_eq!(selected.chosen.len() as u64, most, "I10");
        for number in &selected.chosen {
            prop_assert!(!self.waves[wave].rows.contains_key(number), "I11");
            prop_assert!(!self.position(wave, *number).is_updated(), "I12");
        }
        if dry {
            return Ok(());
        }
        self.selected += selected.chosen.len() as u64;
        let told = &mut self.waves[wave];
        told.wave = next;
        for number in selected.chosen {
            told.rows.insert(number, told.wave.rollouts);
        }
        if let (Some(number), Size::All) = (only, size) {
            told.wave
                .groups
                .entry(group(number))
                .or_insert(told.wave.rollouts);
        }
        Ok(())
    }

    fn check(&self, before: &Self) -> Result<(), TestCaseError> {
        for tag in TAGS {
            let of_tag = || {
                self.waves
                    .iter()
                    .filter(move |told| told.wave.tag.as_str() == tag)
            };
            prop_assert!(of_tag().filter(|told| told.wave.is_open()).count() <= 1, "I1");
            let numbers: Vec<u64> = of_tag()
                .flat_map(|told| [told.wave.sequence, told.wave.abort_sequence()])
                .collect();
            prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "I2 {numbers:?}");
        }
        for (number, device) in self.devices.iter().enumerate() {
            let seen = self.decisions(number);
            if !device.production {
                prop_assert!(
                    seen.is_none() && self.waves.iter().all(|told| !told.rows.contains_key(&number)),
                    "I3"
                );
                continue;
            }
            let seen = seen.unwrap();
            let again = self.decisions(number);
            prop_assert_eq!(Some(&seen), again.as_ref(), "I8");
            let wave = self.open(device.tag);
            for (pin, decision) in &seen {
                let has = device.snaps[pin];
                let published = self.maps[device.tag].find(pin.by_ref());
                let general = published.map(|found| found.entry.revision);
                let told = wave.filter(|wave| self.exposed(*wave, number));
                let waved = told.and_then(|wave| self.waves[wave].wave.revision(pin.by_ref()));
                let Some(revision) = decision.revision else {
                    prop_assert!(general.is_none(), "I4");
                    continue;
                };
                prop_assert!(
                    revision == has || Some(revision) == general || Some(revision) == waved,
                    "I4"
                );
                if let Some(wave) = wave.filter(|wave| !self.exposed(*wave, number))
                    && let Some(hidden) = self.waves[wave].wave.revision(pin.by_ref())
                    && hidden != has
                    && Some(hidden) != general
                {
                    prop_assert!(revision != hidden, "I5");
                }
                if revision < has {
                    // A rollback that came after what it has, and that it is told of: complete, or shown to it.
                    let since = self.since(number, pin, has);
                    let allows = |(at, other): (usize, &Told)| {
                        other.wave.kind == WaveKind::Rollback
                            && other.wave.tag == tag(device.tag)
                            && other.wave.revision(pin.by_ref()).is_some()
                            && other.wave.sequence > since
                            && (other.wave.status == WaveStatus::Complete || told == Some(at))
                    };
                    prop_assert!(self.waves.iter().enumerate().any(allows), "I6");
                }
                prop_assert!(
                    revision == has || !device.reverted.contains(&(pin.clone(), revision)),
                    "I7"
                );
            }
        }
        for (told, now) in before.waves.iter().zip(&self.waves) {
            if !told.wave.is_open() {
                prop_assert_eq!(told.wave.status, now.wave.status, "I9");
            }
        }
        for (at, name) in TAGS.iter().enumerate() {
            for snap in 0..SNAPS {
                let complete = self.waves.iter().filter(|told| {
                    told.wave.status == WaveStatus::Complete && told.wave.tag.as_str() == *name
                });
                let last = complete
                    .filter_map(|told| told.wave.revision(pin(snap).by_ref()))
                    .next_back();
                let published = self.maps[at]
                    .find(pin(snap).by_ref())
                    .map(|found| found.entry.revision);
                prop_assert_eq!(
                    published,
                    last,
                    "the production map is what the last complete waves say"
                );
            }
        }
        let rows = self.waves.iter().flat_map(|told| told.rows.values());
        prop_assert_eq!(
            rows.filter(|rollout| **rollout > 0).count() as u64,
            self.selected,
            "I20"
        );
        Ok(())
    }

    fn step(&mut self, op: u8, a: u8, b: u8, c: u64) -> Result<(), TestCaseError> {
        let before = self.clone();
        let number = usize::from(a) % self.devices.len();
        let tag_of = usize::from(b) % TAGS.len();
        let wave = match self.waves.len() {
            0 => None,
            // Waves that are over are tried too.
            many if c.is_multiple_of(7) => Some(usize::from(a) % many),
            _ => self.open(tag_of),
        };
        let only = [None, Some(0), Some(1), Some(2)][usize::from(a) % 4];
        match op % 24 {
            0..=2 => {
                let back = c.is_multiple_of(6);
                let mut entries = Vec::new();
                for snap in 0..SNAPS {
                    if (a >> snap) & 1 == 0 && snap != usize::from(b) % SNAPS {
                        continue;
                    }
                    let general = self.maps[tag_of]
                        .find(pin(snap).by_ref())
                        .map_or(1, |found| found.entry.revision);
                    self.newest[tag_of][snap] += 1;
                    let revision = if back {
                        general.saturating_sub(1).max(1)
                    } else {
                        self.newest[tag_of][snap]
                    };
                    entries.push(Entry {
                        pin: pin(snap),
                        revision,
                    });
                }
                let kind = if back {
                    WaveKind::Rollback
                } else {
                    WaveKind::Forward
                };
                if self.open(tag_of).is_none() && self.maps[tag_of].check(kind, &entries).is_ok() {
                    let sequence = self.maps[tag_of].reserve();
                    let name = format!("w{}", self.waves.len()).parse().unwrap();
                    let expires = self
                        .now
                        .plus_seconds(if c.is_multiple_of(11) { 50 } else { 1_000_000 });
                    let wave = Wave::draft(
                        "acme".parse().unwrap(),
                        tag(tag_of),
                        name,
                        sequence,
                        kind,
                        entries,
                        expires,
                    );
                    let mut wave = wave.unwrap();
                    if !c.is_multiple_of(5) {
                        wave.act(Act::Sign, self.now).unwrap();
                    }
                    self.waves.push(Told {
                        wave,
                        rows: BTreeMap::new(),
                    });
                }
            }
            3..=7 => {
                if let Some(wave) = wave {
                    let size = match c % 4 {
                        0 => Size::All,
                        1 | 2 => Size::limit(1 + (c as i64 / 4) % 6).unwrap(),
                        _ => Size::percent(1 + (c as i64 / 4) % 100).unwrap(),
                    };
                    let dry = b.is_multiple_of(3);
                    self.rollout(wave, only, size, c, dry)?;
                    if dry {
                        prop_assert_eq!(format!("{:?}", self), format!("{:?}", before), "I13");
                    }
                }
            }
            8..=15 => {
                let fails = c.is_multiple_of(19).then_some(usize::from(b) % SNAPS);
                self.check_in(number, c % 10 != 1, fails);
            }
            16 => {
                if let Some(wave) = wave
                    && self.waves[wave].wave.act(Act::Complete, self.now).is_ok()
                {
                    let told = self.waves[wave].wave.clone();
                    let at = TAGS.iter().position(|name| *name == told.tag.as_str()).unwrap();
                    self.maps[at].publish(&told);
                }
            }
            17 => {
                if let Some(wave) = wave
                    && self.waves[wave].wave.act(Act::Cancel, self.now).is_ok()
                {
                    self.after_cancel(wave)?;
                }
            }
            18 => {
                if let Some(wave) = wave
                    && self.waves[wave].wave.act(Act::Halt, self.now).is_ok()
                {
                    self.while_halted(wave)?;
                }
            }
            19 => {
                if let Some(wave) = wave {
                    let act = if c.is_multiple_of(2) {
                        Act::Resume
                    } else {
                        Act::Sign
                    };
                    let _ = self.waves[wave].wave.act(act, self.now);
                }
            }
            20 => self.devices[number].group = [None, Some(0), Some(1), Some(2)][usize::from(b) % 4],
            21 => {
                self.now = self.now.plus_seconds((c % 60) as i64);
                let open = self.open(tag_of);
                if let Some(wave) = open
                    && self.waves[wave].wave.status == WaveStatus::Active
                    && self.waves[wave].wave.expires <= self.now
                {
                    self.while_halted(wave)?;
                }
            }
            22 => self.devices[number].held = !self.devices[number].held,
            _ => match c % 5 {
                0 => self.devices[number].tag = tag_of,
                // Made anew from an image that is newer than what is published.
                1 => {
                    let newest = &self.newest[self.devices[number].tag];
                    let device = &mut self.devices[number];
                    device.snaps = (0..SNAPS).map(|snap| (pin(snap), newest[snap])).collect();
                    device.reverted.clear();
                }
                other => self.devices[number].denied = other == 2,
            },
        }
        self.check(&before)
    }

    fn after_cancel(&self, wave: usize) -> Result<(), TestCaseError> {
        let told = &self.waves[wave];
        for number in told.rows.keys() {
            let device = &self.devices[*number];
            let Some(seen) = self
                .decisions(*number)
                .filter(|_| tag(device.tag) == told.wave.tag)
            else {
                continue;
            };
            for entry in told.wave.entries() {
                let Some(has) = device.snaps.get(&entry.pin) else {
                    continue;
                };
                let published = self.maps[device.tag].find(entry.pin.by_ref());
                let sees = seen[&entry.pin].revision;
                if *has == entry.revision {
                    // Rollbacks that came before the wave take nobody back who got it.
                    prop_assert!(sees.is_none_or(|sees| sees >= *has), "I14: {has} -> {sees:?}");
                } else if published.map(|found| found.entry.revision) != Some(entry.revision) {
                    prop_assert!(sees != Some(entry.revision), "I15");
                }
            }
        }
        Ok(())
    }

    fn while_halted(&self, wave: usize) -> Result<(), TestCaseError> {
        let told = &self.waves[wave];
        for (number, device) in self.devices.iter().enumerate() {
            let Some(seen) = self
                .decisions(number)
                .filter(|_| tag(device.tag) == told.wave.tag)
            else {
                continue;
            };
            for entry in told.wave.entries() {
                let Some(has) = device.snaps.get(&entry.pin) else {
                    continue;
                };
                let general = self.maps[device.tag]
                    .find(entry.pin.by_ref())
                    .map(|found| found.entry.revision);
                let sees = seen[&entry.pin].revision;
                prop_assert!(
                    sees != Some(entry.revision) || *has == entry.revision || general == Some(entry.revision),
                    "I16"
                );
                // It is as if there were no wave, but for who has it.
                if *has != entry.revision {
                    let general = Sight {
                        wave: None,
                        ..self.sight(number)
                    };
                    let running = Running {
                        revision: *has,
                        since: || self.since(number, &entry.pin, *has),
                        reverted: |revision| device.reverted.contains(&(entry.pin.clone(), revision)),
                    };
                    let without = decide(&general, entry.pin.by_ref(), Some(running));
                    prop_assert_eq!(seen[&entry.pin], without, "I16");
                }
            }
        }
        Ok(())
    }

    /// I17: everything that can be is complete, and everybody asks three times.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for wave in 0..self.waves.len() {
            let _ = self.waves[wave].wave.act(Act::Sign, self.now);
            if self.waves[wave].wave.act(Act::Complete, self.now).is_ok() {
                let told = self.waves[wave].wave.clone();
                let at = TAGS.iter().position(|name| *name == told.tag.as_str()).unwrap();
                self.maps[at].publish(&told);
            } else {
                let _ = self.waves[wave].wave.act(Act::Cancel, self.now);
            }
        }
        for number in 0..self.devices.len() {
            self.devices[number].held = false;
            self.devices[number].denied = false;
            for _ in 0..3 {
                self.check_in(number, true, None);
            }
            let device = &self.devices[number];
            for (pin, has) in device.snaps.iter().filter(|_| device.production) {
                let Some(general) = self.maps[device.tag]
                    .find(pin.by_ref())
                    .map(|found| found.entry.revision)
                else {
                    continue;
                };
                prop_assert!(
                    *has >= general || device.reverted.contains(&(pin.clone(), general)),
                    "I17"
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_whatever_is_done(
        steps in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0u64..100_000), 1..250)
    ) {
        let mut world = World::new();
        for (op, a, b, c) in steps {
            world.step(op, a, b, c)?;
        }
        world.settle()?;
    }
}
