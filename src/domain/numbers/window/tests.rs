//! The counters against a recount of all that was ever reported.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::{DeviceReport, ReportedSnap};
use crate::domain::ident::SnapId;
use crate::domain::numbers::{Counted, REACH, Seen, WEEK, count};
use crate::domain::time::Timestamp;

/// A device reports: which, how many hours after the report before, and the snaps it has: which, revision, channel.
type Told = (usize, i64, BTreeMap<usize, (u64, usize)>);

const CHANNELS: [(Option<&str>, Option<&str>); 4] = [
    (Some("stable"), Some("latest/stable")),
    (Some("latest/edge"), Some("latest/edge")),
    (Some("not/a/channel/at all"), None),
    (None, None),
];
const SYSTEMS: [(Option<&str>, Option<&str>); 3] = [
    (
        Some("snapd/2.66 (series 16) debian/12 (amd64)"),
        Some("debian/12"),
    ),
    (
        Some("snapd/2.66 (series 16) ubuntu/24.04 (amd64)"),
        Some("ubuntu/24.04"),
    ),
    (Some("other"), None),
];

fn snap(number: usize) -> SnapId {
    format!("{number:0>32}").parse().unwrap()
}

fn version(revision: u64) -> Option<String> {
    // Two revisions of each version; what nobody knows has none.
    (revision < 6).then(|| format!("1.{}", revision / 2))
}

fn report(told: &Told, seen: Timestamp) -> DeviceReport {
    let (device, _, snaps) = told;
    let snaps = snaps.iter().map(|(number, (revision, channel))| ReportedSnap {
        snap_id: snap(*number).to_string(),
        instance: None,
        revision: *revision,
        channel: CHANNELS[*channel].0.map(str::to_owned),
        held: false,
    });
    DeviceReport {
        device: crate::domain::ident::DeviceId {
            brand: "acme".parse().unwrap(),
            model: "gate".parse().unwrap(),
            serial: device.to_string().parse().unwrap(),
        },
        store: None,
        architecture: ["amd64", "arm64"][device % 2].parse().unwrap(),
        client: SYSTEMS[(device + usize::try_from(Day::of(seen).since(START.day())).unwrap() / 5) % 3]
            .0
            .map(str::to_owned),
        snaps: snaps.collect(),
        seen,
        heard: None,
        reverted: Vec::new(),
        wave: None,
        counted: None,
    }
}

struct Start;
const START: Start = Start;

impl Start {
    fn time(&self) -> Timestamp {
        "2026-02-20T12:00:00Z".parse().unwrap()
    }

    fn day(&self) -> Day {
        Day::of(self.time())
    }
}

/// All that was reported, as what: what a recount looks at.
type All = Vec<(usize, usize, Day, Seen)>;

fn names(seen: &Seen, by: Split) -> Option<String> {
    match by {
        Split::Version => version(seen.revision),
        Split::Channel => seen.channel.clone(),
        Split::Architecture => Some(seen.architecture.to_string()),
        Split::System => seen.system.clone(),
    }
}

/// The devices of a span, each with what it said last of the snap in it.
fn recount(all: &All, snap: usize, span: i64, last: Day) -> BTreeMap<usize, Seen> {
    let mut found = BTreeMap::new();
    for (device, of, day, seen) in all {
        if *of == snap && (0..span).contains(&last.since(*day)) {
            found.insert(*device, seen.clone());
        }
    }
    found
}

fn check(histories: &[History], all: &All, last: Day) -> Result<(), TestCaseError> {
    let first = START.day();
    for (snap, history) in histories.iter().enumerate() {
        for span in [1, WEEK] {
            for by in [Split::Version, Split::Channel, Split::Architecture, Split::System] {
                let mut expected: BTreeMap<String, Vec<i64>> = BTreeMap::new();
                for (place, day) in first.to(last).enumerate() {
                    for seen in recount(all, snap, span, day).values() {
                        if let Some(name) = names(seen, by) {
                            let days = first.to(last).count();
                            expected.entry(name).or_insert_with(|| vec![0; days])[place] += 1;
                        }
                    }
                }
                let told = history.installed(by, span, first, last);
                let told: BTreeMap<String, Vec<i64>> = told
                    .into_iter()
                    .map(|(name, values)| (name.to_owned(), values))
                    .collect();
                prop_assert_eq!(told, expected, "snap {} by {:?} in {}", snap, by, span);
                // From later on it is the same.
                let late = first.plus(9);
                let told = history.installed(by, span, late, last);
                for (name, values) in told {
                    let whole = &history.installed(by, span, first, last)[name];
                    prop_assert_eq!(&whole[9..], &values);
                }
            }
            let changes = history.changes(span, first, last);
            for (place, day) in first.to(last).enumerate() {
                let devices =
                    |day: Day| -> BTreeSet<usize> { recount(all, snap, span, day).into_keys().collect() };
                let (here, before) = (devices(day), devices(day.plus(-span)));
                let told = (changes.continued[place], changes.lost[place], changes.new[place]);
                let expected = (
                    here.intersection(&before).count() as i64,
                    before.difference(&here).count() as i64,
                    here.difference(&before).count() as i64,
                );
                prop_assert_eq!(told, expected, "snap {} on {} in {}", snap, day, span);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Several reports a day, days without any, long absences, snaps that go and come back, other channels and systems,
    /// and processes that end and others that go on.
    #[test]
    fn the_counters_equal_a_recount(
        told in prop::collection::vec(
            (0usize..4, prop_oneof![0i64..6, 6i64..60, Just(24 * 9)],
             prop::collection::btree_map(0usize..3, (0u64..8, 0usize..4), 0..3)),
            0..60),
        restarts in prop::collection::btree_set(0usize..60, 0..6),
    ) {
        let mut devices: BTreeMap<usize, DeviceReport> = BTreeMap::new();
        let mut parts: BTreeMap<(usize, SnapId, Day), SnapDay> = BTreeMap::new();
        let (mut process, mut all, mut now) = (0, All::new(), START.time());
        for (place, told) in told.iter().enumerate() {
            if restarts.contains(&place) {
                process += 1;
                // What is written is all that is left.
                for record in devices.values_mut() {
                    *record = serde_json::from_slice(&serde_json::to_vec(record).unwrap()).unwrap();
                }
            }
            now = now.plus_seconds(told.1 * 3600);
            let mut next = report(told, now);
            // The third snap is none of ours.
            let ours = |id: &SnapId| *id != snap(2);
            let steps = count(devices.get(&told.0), &mut next, ours);
            for step in steps {
                let key = (process, step.snap_id.clone(), step.day);
                let (id, day) = (step.snap_id.clone(), step.day);
                let part = parts.entry(key).or_insert_with(|| SnapDay::new(id, day, process.to_string()));
                part.apply(&step, version(step.now.revision).as_deref());
            }
            for (number, (revision, channel)) in &told.2 {
                let seen = Seen {
                    revision: *revision,
                    channel: CHANNELS[*channel].1.map(str::to_owned),
                    architecture: next.architecture.clone(),
                    system: SYSTEMS.iter().find(|(client, _)| *client == next.client.as_deref())
                        .and_then(|(_, system)| system.map(str::to_owned)),
                };
                if *number < 2 {
                    all.push((told.0, *number, Day::of(now), seen));
                }
            }
            // Told again, nothing is counted again.
            let mut again = report(told, now);
            prop_assert_eq!(count(Some(&next), &mut again, ours), Vec::new());
            prop_assert_eq!(&again, &next);
            devices.insert(told.0, next);
        }
        let mut histories = [History::default(), History::default()];
        for ((_, id, _), part) in parts {
            prop_assert!(id != snap(2));
            let part = serde_json::from_slice(&serde_json::to_vec(&part).unwrap()).unwrap();
            histories[usize::from(id == snap(1))].add(part);
        }
        check(&histories, &all, Day::of(now).plus(20))?;
    }
}

#[test]
fn one_of_several_instances_speaks_for_the_device() {
    let mut next = report(&(0, 0, [(0, (1, 0)), (1, (2, 1))].into()), START.time());
    next.snaps[1].snap_id = next.snaps[0].snap_id.clone();
    next.snaps[0].instance = Some("x_one".to_owned());
    let steps = count(None, &mut next, |_| true);
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].now.revision, 2);
    let counted = Counted {
        day: START.day(),
        snaps: vec![1],
        gone: Vec::new(),
    };
    assert_eq!(next.counted, Some(counted));
}

#[test]
fn what_was_long_ago_is_forgotten() {
    let at = |days: i64| START.time().plus_seconds(days * 86_400);
    let mut first = report(&(0, 0, [(0, (1, 0))].into()), at(0));
    count(None, &mut first, |_| true);
    for (days, remembered) in [(1, true), (REACH, true), (REACH + 1, false)] {
        let mut next = report(&(0, 0, BTreeMap::new()), at(days));
        assert_eq!(count(Some(&first), &mut next, |_| true), Vec::new());
        assert_eq!(next.counted.is_some(), remembered, "{days}");
    }
}
