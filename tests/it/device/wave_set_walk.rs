//! Any operations on a small fleet whose devices hold themselves to the validation sets of its waves, as snapd does: it asks for
//! a newer set before it says what it runs, and then for what the set says (waves-and-registration.md A.7 to A.9).

use std::collections::{BTreeMap, BTreeSet};

use hallmark::app::fleet::binding::NewBinding;
use hallmark::app::fleet::waves::{self, NewWave, Source};
use hallmark::app::store::flush_reports;
use hallmark::domain::assertion::{Typed, decode};
use hallmark::domain::fleet::{Act, WaveKind};
use serde_json::json;

use super::stock::{Device, Stock, installed, outcomes, refresh_action};
use super::wave_sets::set_key;
use super::wave_walk::Dice;
use super::waves::{Fleet, agent_wave, agents, listed, store};

const SNAPS: [&str; 2] = ["agent", "secret"];
const NEWEST: u64 = 12;

/// A device that enforces the set `main`.
struct Enforcing<'d, 'f> {
    device: &'d Device<'f>,
    serial: String,
    /// The sequence it has, and what that holds it to.
    has: u64,
    held: BTreeMap<&'static str, u64>,
    runs: BTreeMap<&'static str, u64>,
}

impl Enforcing<'_, '_> {
    /// Takes a newer set, if there is one.
    async fn fetch(&mut self) {
        let mut wanted = json!({"type": "validation-set", "sequence-key": ["16", "acme", "main"]});
        if self.has > 0 {
            wanted["if-sequence-equal-or-newer-than"] = self.has.into();
        }
        let fetch = json!([{"action": "fetch-assertions", "key": "sets", "assertions": [wanted]}]);
        let answer = self.device.refresh(json!([]), fetch).await;
        let result = &answer["results"][0];
        if self.has > 0 {
            assert_eq!(result["error-list"], json!([]), "snapd would refresh nothing");
        }
        let Some(url) = result["assertion-stream-urls"].get(0) else {
            return;
        };
        let path = url.as_str().unwrap().split_once("/v2/").unwrap().1;
        let served = self.device.field.get(&format!("/v2/{path}")).await;
        let set = decode(&served.body).unwrap();
        let Typed::ValidationSet(set) = set.typed() else {
            panic!("{set:?}")
        };
        if set.sequence == self.has {
            return;
        }
        assert!(set.sequence > self.has, "a sequence only goes up");
        self.has = set.sequence;
        self.held.clear();
        for snap in &set.snaps {
            let name = SNAPS.into_iter().find(|name| *name == snap.name).unwrap();
            if let Some(revision) = snap.revision {
                self.held.insert(name, revision);
            }
        }
    }

    /// Says what it runs, and asks for what its set says, or else for what there is. What it runs then.
    async fn refresh(&self) -> BTreeMap<&'static str, u64> {
        let context = SNAPS.map(|name| installed(name, self.runs[name], "latest/stable"));
        let asked: Vec<&str> = SNAPS
            .into_iter()
            .filter(|name| self.held.get(name) != Some(&self.runs[name]))
            .collect();
        let actions = asked.iter().map(|name| {
            let mut action = refresh_action(name);
            if let Some(revision) = self.held.get(name) {
                action["revision"] = (*revision).into();
                action["validation-sets"] = json!([["16", "acme", "main", self.has.to_string()]]);
            }
            action
        });
        let answer = self
            .device
            .refresh(json!(context), json!(actions.collect::<Vec<_>>()))
            .await;
        let mut runs = self.runs.clone();
        for (name, outcome) in asked.into_iter().zip(outcomes(&answer)) {
            if let Some((revision, _)) = outcome.split_once('@') {
                let name = SNAPS.into_iter().find(|known| *known == name).unwrap();
                runs.insert(name, revision.parse().unwrap());
            } else {
                assert_eq!(outcome, "revision-not-found");
            }
        }
        runs
    }
}

/// The open wave.
struct Open {
    name: String,
    says: BTreeMap<&'static str, u64>,
    back: bool,
    halted: bool,
    exposed: BTreeSet<String>,
}

async fn walk(seed: u64, steps: usize) {
    let field = agents().await;
    set_key(&field.app, "sets").await;
    let stock = Stock { field: &field };
    for (name, first) in [("agent", 7), ("secret", 2)] {
        for revision in first..=NEWEST {
            let content = format!("{name} {revision}");
            stock.revision(name, revision, &content, |_| ()).await;
        }
    }
    let fleet = Fleet::new(&field, 4).await;
    let mut devices: Vec<Enforcing<'_, '_>> = fleet
        .devices
        .iter()
        .map(|member| Enforcing {
            device: &member.device,
            serial: member.serial.clone(),
            has: 0,
            held: BTreeMap::new(),
            runs: SNAPS.map(|name| (name, 1)).into(),
        })
        .collect();
    for device in &devices {
        device.refresh().await;
    }
    flush_reports(&field.app).await.unwrap();
    let mut dice = Dice(seed);
    let mut open: Option<Open> = None;
    let mut published: BTreeMap<&str, u64> = BTreeMap::new();
    let mut newest: BTreeMap<&str, u64> = SNAPS.map(|name| (name, 1)).into();
    let mut went_back = false;
    let (mut moved, mut abortive) = (0, 0);
    for step in 0..steps {
        field.clock.advance(60);
        match dice.below(10) {
            0 | 1 if open.is_none() => {
                let back = dice.below(6) == 0 && published.values().any(|revision| *revision > 1);
                let mut says = BTreeMap::new();
                for name in SNAPS {
                    let now = published.get(name).copied().unwrap_or(0);
                    let next = match back {
                        true if now > 1 => 1 + dice.below(now - 1),
                        false if dice.below(3) > 0 && newest[name] < NEWEST => newest[name] + 1,
                        _ => continue,
                    };
                    says.insert(name, next);
                }
                if says.is_empty() {
                    continue;
                }
                let snaps = says
                    .iter()
                    .map(|(name, revision)| (name.parse().unwrap(), Some(*revision)));
                let new = NewWave {
                    kind: if back {
                        WaveKind::Rollback
                    } else {
                        WaveKind::Forward
                    },
                    source: Source::Snaps(snaps.collect()),
                    binding: Some(NewBinding {
                        set: None,
                        key: Some("sets".parse().unwrap()),
                    }),
                    ..agent_wave(&format!("w{step}"), 1)
                };
                waves::init(&field.app, &store(&field.app).await, new)
                    .await
                    .unwrap();
                for (name, revision) in &says {
                    let known = newest.entry(name).or_default();
                    *known = (*known).max(*revision);
                }
                open = Some(Open {
                    name: format!("w{step}"),
                    says,
                    back,
                    halted: false,
                    exposed: BTreeSet::new(),
                });
            }
            2 | 3 => {
                let Some(open) = open.as_mut().filter(|open| !open.halted) else {
                    continue;
                };
                let serial = devices[dice.below(4) as usize].serial.clone();
                fleet.roll(&open.name, listed(&[&serial])).await.unwrap();
                open.exposed.insert(serial);
                went_back |= open.back;
            }
            4 => {
                let Some(open) = &mut open else { continue };
                let act = if open.halted { Act::Resume } else { Act::Halt };
                fleet.act(&open.name, act).await.unwrap();
                open.halted = !open.halted;
            }
            5 if dice.below(2) == 0 => {
                let Some(open) = open.take() else { continue };
                if dice.below(2) == 0 {
                    fleet.act(&open.name, Act::Complete).await.unwrap();
                    went_back |= open.back;
                    published.extend(open.says);
                } else {
                    fleet.act(&open.name, Act::Cancel).await.unwrap();
                    abortive += 1;
                }
            }
            _ => {
                let device = &mut devices[dice.below(4) as usize];
                device.fetch().await;
                let runs = device.refresh().await;
                flush_reports(&field.app).await.unwrap();
                for name in SNAPS {
                    let (had, has) = (device.runs[name], runs[name]);
                    if had == has {
                        continue;
                    }
                    moved += 1;
                    let offered = open
                        .as_ref()
                        .filter(|open| !open.halted && open.exposed.contains(&device.serial))
                        .and_then(|open| open.says.get(name));
                    assert!(
                        Some(&has) == offered || Some(&has) == published.get(name),
                        "I4, I5, I15, I16: {} went from {had} to {has} of {name}; {published:?}, {offered:?}",
                        device.serial
                    );
                    assert!(
                        has > had || went_back,
                        "I6, I14: {} went from {had} to {has} of {name}",
                        device.serial
                    );
                }
                device.runs = runs;
            }
        }
    }
    assert!(moved > 0 && abortive > 0, "nothing happened: {moved}, {abortive}");
}

#[tokio::test]
async fn devices_that_enforce_a_set_go_where_waves_say_and_nowhere_else() {
    for seed in 0..6 {
        walk(seed, 200).await;
    }
}
