//! Any operations on a small fleet, over HTTP: what devices are told follows from what was let out to them
//! (waves-and-registration.md A.9), also for a server that was started again.

use std::collections::{BTreeMap, BTreeSet};

use hallmark::app::fleet::devices::{PlaceChange, change};
use hallmark::app::fleet::rollout::Wanted;
use hallmark::app::store::flush_reports;
use hallmark::domain::catalog::device_uuid;
use hallmark::domain::fleet::{Act, Policy, WaveKind};
use hallmark::domain::ident::DeviceId;

use super::waves::{Fleet, agents, name, reopened};
use crate::harness::acme_ctx;

/// Chance that repeats itself (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % most
    }
}

/// The open wave, as those who look from outside know it.
#[derive(Debug, Default)]
struct Open {
    name: String,
    revision: u64,
    back: bool,
    halted: bool,
    /// By serial: those whom a rollout chose, and those who were told as members of a whole group.
    rows: BTreeSet<String>,
    groups: BTreeSet<&'static str>,
}

/// What is known of the fleet from outside.
#[derive(Debug, Default)]
struct World {
    open: Option<Open>,
    published: Option<u64>,
    group: BTreeMap<String, &'static str>,
    reverted: BTreeSet<(String, u64)>,
    newest: u64,
    /// Whether a rollback was ever complete, or shown.
    back: bool,
}

const GROUPS: [&str; 2] = ["canary", "east"];

fn serial_of(devices: &[String], id: u128) -> String {
    let of = |serial: &String| {
        device_uuid(&DeviceId {
            brand: "acme".parse().unwrap(),
            model: "gate-1".parse().unwrap(),
            serial: serial.parse().unwrap(),
        })
        .as_u128()
    };
    devices.iter().find(|serial| of(serial) == id).unwrap().clone()
}

impl World {
    fn exposed(&self, serial: &str) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.rows.contains(serial)
                || self
                    .group
                    .get(serial)
                    .is_some_and(|group| open.groups.contains(group))
        })
    }

    /// What a device must be told that runs this, or none where only bounds are known.
    fn check(&self, serial: &str, runs: u64, told: u64) {
        let waved = self.open.as_ref().filter(|_| self.exposed(serial));
        let offered = waved.filter(|open| !open.halted).map(|open| open.revision);
        let legal = [Some(runs), self.published, offered, Some(1)];
        assert!(
            legal.contains(&Some(told)),
            "I4: {serial} runs {runs}, is told {told}: {self:#?}"
        );
        if let Some(open) = &self.open
            && offered.is_none()
            && open.revision != runs
            && self.published != Some(open.revision)
            && open.revision != 1
        {
            assert_ne!(told, open.revision, "I5, I16: {serial} runs {runs}: {self:#?}");
        }
        assert!(
            told >= runs || self.back,
            "I6: {serial} runs {runs}, is told {told}: {self:#?}"
        );
        assert!(
            told == runs || !self.reverted.contains(&(serial.to_owned(), told)),
            "I7: {serial} is told {told} again: {self:#?}"
        );
    }
}

async fn walk(seed: u64, steps: usize) {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 5).await;
    fleet.join("T1", None).await;
    let tag = PlaceChange {
        tag: Some(Some("main".parse().unwrap())),
        ..PlaceChange::default()
    };
    change(&field.app, &acme_ctx(), &name("T1"), &tag).await.unwrap();
    for group in GROUPS {
        fleet.make_group(group).await;
    }
    let serials: Vec<String> = fleet.devices.iter().map(|member| member.serial.clone()).collect();
    let mut world = World {
        newest: 1,
        ..World::default()
    };
    let mut dice = Dice(seed);
    let mut shown = 0;
    for step in 0..steps {
        match dice.below(12) {
            0 | 1 => {
                let back = dice.below(5) == 0 && world.newest > 2;
                let revision = if back {
                    1 + dice.below(world.newest - 1)
                } else {
                    (world.newest + 1).min(6)
                };
                let kind = if back {
                    WaveKind::Rollback
                } else {
                    WaveKind::Forward
                };
                let name = format!("w{step}");
                let made = fleet.init(&name, kind, revision, Policy::default()).await;
                assert_eq!(made.is_ok(), world.open.is_none(), "I1: {made:?}");
                if made.is_ok() {
                    world.newest = world.newest.max(revision);
                    world.open = Some(Open {
                        name,
                        revision,
                        back,
                        ..Open::default()
                    });
                }
            }
            2..=4 => {
                let group = (dice.below(3) == 0).then(|| GROUPS[dice.below(2) as usize]);
                let whole = group.is_some() && dice.below(2) == 0;
                let limit = 1 + dice.below(3);
                let wanted = Wanted {
                    group: group.map(|group| group.parse().unwrap()),
                    limit: (!whole).then_some(limit as i64),
                    dry_run: dice.below(4) == 0,
                    seed: Some(dice.below(1000)),
                    ..Wanted::default()
                };
                let Some(open) = &mut world.open else { continue };
                let rolled = fleet.roll(&open.name, wanted.clone()).await;
                assert_eq!(rolled.is_ok(), !open.halted);
                let Ok(rolled) = rolled else { continue };
                let chosen: BTreeSet<String> =
                    rolled.devices.iter().map(|id| serial_of(&serials, *id)).collect();
                assert_eq!(chosen.len(), rolled.devices.len());
                assert!(chosen.is_disjoint(&open.rows), "I11");
                assert!(!chosen.contains("T1"), "I3");
                if !whole {
                    let expected = rolled.rollout.eligible.min(limit);
                    assert_eq!(rolled.rollout.selected, expected, "I10");
                    assert_eq!(chosen.len() as u64, expected, "I10");
                }
                if !wanted.dry_run {
                    shown += chosen.len();
                    open.rows.extend(chosen);
                    open.groups.extend(group.filter(|_| whole));
                    world.back |= open.back;
                }
            }
            5 => {
                let act = [Act::Halt, Act::Resume][dice.below(2) as usize];
                let Some(open) = &mut world.open else { continue };
                let done = fleet.act(&open.name, act).await;
                assert_eq!(done.is_ok(), open.halted == (act == Act::Resume));
                open.halted = if done.is_ok() {
                    act == Act::Halt
                } else {
                    open.halted
                };
            }
            6 => {
                let act = [Act::Complete, Act::Cancel][dice.below(2) as usize];
                let Some(open) = world.open.take() else { continue };
                fleet.act(&open.name, act).await.unwrap();
                for again in [Act::Complete, Act::Cancel, Act::Halt, Act::Resume] {
                    assert!(fleet.act(&open.name, again).await.is_err(), "I9");
                }
                if act == Act::Complete {
                    world.published = Some(open.revision);
                    world.back |= open.back;
                }
            }
            7 => {
                let serial = &serials[dice.below(5) as usize];
                let group = [None, Some(GROUPS[0]), Some(GROUPS[1])][dice.below(3) as usize];
                fleet.group(serial, group).await.unwrap();
                match group {
                    Some(group) => world.group.insert(serial.clone(), group),
                    None => world.group.remove(serial),
                };
            }
            8 => {
                // A device falls back by itself to the revision below.
                let at = dice.below(5) as usize;
                let (serial, runs) = (fleet.devices[at].serial.clone(), fleet.devices[at].runs);
                if runs > 1 && world.published != Some(runs - 1) && !world.back {
                    fleet.devices[at].ask().await;
                    flush_reports(&field.app).await.unwrap();
                    fleet.devices[at].runs = runs - 1;
                    world.reverted.insert((serial, runs));
                    fleet.devices[at].ask().await;
                    flush_reports(&field.app).await.unwrap();
                }
            }
            _ => {
                let at = dice.below(5) as usize;
                let told = fleet.devices[at].ask().await;
                let serial = fleet.devices[at].serial.clone();
                world.check(&serial, fleet.devices[at].runs, told);
                fleet.devices[at].runs = told;
                world
                    .reverted
                    .retain(|(known, from)| *known != serial || *from > told);
                flush_reports(&field.app).await.unwrap();
                field.clock.advance(30);
            }
        }
        for member in &fleet.devices {
            let (first, again) = (member.ask().await, member.ask().await);
            assert_eq!(first, again, "I8");
            if member.serial == "T1" {
                assert_eq!(first, 1, "I3: the channel decides");
                continue;
            }
            world.check(&member.serial, member.runs, first);
            // Who is told as a member of a whole group stays exposed.
            if let Some(open) = world
                .open
                .as_ref()
                .filter(|open| !open.halted && open.revision != member.runs)
                && world.exposed(&member.serial)
                && first == open.revision
            {
                let serial = member.serial.clone();
                world.open.as_mut().unwrap().rows.insert(serial);
            }
        }
        flush_reports(&field.app).await.unwrap();
    }
    // I20: there is a row for each device that a rollout chose, and a server that starts again knows the same.
    let again = reopened(&field).await;
    let mut rows = 0;
    for found in field
        .app
        .storage
        .all::<hallmark::domain::fleet::Exposure>([])
        .await
        .unwrap()
    {
        rows += if found.record.rollout > 0 {
            found.record.devices().unwrap().len()
        } else {
            0
        };
    }
    assert_eq!(rows, shown, "I20");
    for serial in serials.iter().filter(|serial| *serial != "T1") {
        let story = hallmark::app::devices::show(&field.app, &acme_ctx(), &name(serial))
            .await
            .unwrap();
        let here = hallmark::app::fleet::explain::standing(&field.app, &story.device, story.report.as_ref())
            .await
            .unwrap();
        let there = hallmark::app::fleet::explain::standing(&again, &story.device, story.report.as_ref())
            .await
            .unwrap();
        let seen = |standing: &hallmark::app::fleet::explain::Standing| {
            standing
                .snaps
                .iter()
                .map(|seen| (seen.revision, seen.rule))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(&here), seen(&there), "{serial}");
    }
}

#[tokio::test]
async fn whatever_operators_and_devices_do_the_invariants_hold() {
    for seed in 0..4 {
        walk(seed, 60).await;
    }
}
