//! Waves over HTTP: what simulated production devices are told before, during and after one.

use std::collections::BTreeMap;
use std::sync::Arc;

use hallmark::app::devices::DeviceName;
use hallmark::app::fleet::devices::{PlaceChange, change};
use hallmark::app::fleet::rollout::{self, Rolled, Wanted};
use hallmark::app::fleet::waves::{self, NewWave, Source};
use hallmark::app::fleet::{explain, groups, judge_all, status};
use hallmark::app::models::{self, ModelSettings, NewModel};
use hallmark::app::store::flush_reports;
use hallmark::app::{App, Refusal, StoreCtx, devices, serials};
use hallmark::domain::fleet::{Act, Policy, ProductionRule, State, WaveKind, WaveStatus};
use hallmark::domain::vault::Standing;
use hallmark::ports::Storage;
use serde_json::{Value, json};

use super::Field;
use super::stock::{Device, Stock, field, field_on, installed, outcomes, refresh_action};
use crate::harness::acme_ctx;

/// Devices of `acme-store`, each with one snap.
pub(super) struct Fleet<'f> {
    field: &'f Field,
    pub(super) devices: Vec<Member<'f>>,
}

pub(super) struct Member<'f> {
    pub(super) device: Device<'f>,
    pub(super) serial: String,
    pub(super) runs: u64,
    held: bool,
}

/// A field whose snap `agent` has revisions up to 6, the first in stable.
pub(super) async fn agents() -> Field {
    more_agents(field().await).await
}

/// The same on other, empty storage.
pub(super) async fn agents_on(storage: Arc<dyn Storage>) -> Field {
    more_agents(field_on(storage).await).await
}

async fn more_agents(field: Field) -> Field {
    let stock = Stock { field: &field };
    for revision in 2..=6 {
        stock
            .revision("agent", revision, &format!("agent {revision}"), |_| ())
            .await;
    }
    field
}

pub(super) async fn session(field: &Field, serial: &str) -> String {
    let assertion = super::sign_serial(&field.app, &field.device.key, serial, 1).await;
    let request = field.request(&field.nonce().await, &[("serial", serial)]).await;
    let answer = field.open(&request, &assertion, &field.model).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    format!(
        "Macaroon root=\"{}\"",
        answer.json()["macaroon"].as_str().unwrap()
    )
}

pub(super) async fn store(app: &App) -> StoreCtx {
    StoreCtx::local(app, &"acme-store".parse().unwrap())
        .await
        .unwrap()
}

/// A wave of the tag `main` with a revision of the snap `agent`.
pub(super) fn agent_wave(wave: &str, revision: u64) -> NewWave {
    NewWave {
        name: wave.parse().unwrap(),
        tag: "main".parse().unwrap(),
        kind: WaveKind::Forward,
        source: Source::Snaps(vec![("agent".parse().unwrap(), Some(revision))]),
        channel: None,
        prune: Vec::new(),
        expires: None,
        policy: Policy::default(),
        binding: None,
    }
}

pub(super) fn name(serial: &str) -> DeviceName {
    format!("gate-1/{serial}").parse().unwrap()
}

impl<'f> Fleet<'f> {
    /// So many production devices that follow the tag `main`; all have asked once.
    pub(super) async fn new(field: &'f Field, number: usize) -> Self {
        let mut fleet = Self {
            field,
            devices: Vec::new(),
        };
        for number in 0..number {
            fleet.join(&format!("P{number}"), Some("main")).await;
        }
        fleet
    }

    pub(super) async fn join(&mut self, serial: &str, tag: Option<&str>) {
        let device = Device {
            field: self.field,
            session: session(self.field, serial).await,
        };
        let member = Member {
            device,
            serial: serial.to_owned(),
            runs: 1,
            held: false,
        };
        member.ask().await;
        flush_reports(&self.field.app).await.unwrap();
        let place = PlaceChange {
            production: Some(tag.is_some()),
            tag: tag.map(|tag| Some(tag.parse().unwrap())),
            ..PlaceChange::default()
        };
        change(&self.field.app, &acme_ctx(), &name(serial), &place)
            .await
            .unwrap();
        self.devices.push(member);
    }

    pub(super) async fn group(&self, serial: &str, group: Option<&str>) -> Result<(), Refusal> {
        let place = PlaceChange {
            group: Some(group.map(|group| group.parse().unwrap())),
            ..PlaceChange::default()
        };
        change(&self.field.app, &acme_ctx(), &name(serial), &place)
            .await
            .map(drop)
    }

    pub(super) async fn make_group(&self, group: &str) {
        groups::create(
            &self.field.app,
            &store(&self.field.app).await,
            group.parse().unwrap(),
        )
        .await
        .unwrap();
    }

    pub(super) async fn init(
        &self,
        wave: &str,
        kind: WaveKind,
        revision: u64,
        policy: Policy,
    ) -> Result<(), Refusal> {
        let new = NewWave {
            kind,
            policy,
            ..agent_wave(wave, revision)
        };
        waves::init(&self.field.app, &store(&self.field.app).await, new)
            .await
            .map(drop)
    }

    async fn forward(&self, wave: &str, revision: u64) {
        self.init(wave, WaveKind::Forward, revision, Policy::default())
            .await
            .unwrap();
    }

    pub(super) async fn roll(&self, wave: &str, wanted: Wanted) -> Result<Rolled, Refusal> {
        let ctx = store(&self.field.app).await;
        rollout::rollout(&self.field.app, &ctx, &wave.parse().unwrap(), &wanted).await
    }

    pub(super) async fn act(&self, wave: &str, act: Act) -> Result<(), Refusal> {
        let ctx = store(&self.field.app).await;
        waves::act(&self.field.app, &ctx, &wave.parse().unwrap(), act)
            .await
            .map(drop)
    }

    pub(super) async fn status(&self, wave: &str) -> status::WaveState {
        let ctx = store(&self.field.app).await;
        status::status(&self.field.app, &ctx, &wave.parse().unwrap(), 4)
            .await
            .unwrap()
    }

    /// The same devices, asking another process.
    pub(super) fn at(&self, field: &'f Field) -> Self {
        let member = |member: &Member<'f>| Member {
            device: Device {
                field,
                session: member.device.session.clone(),
            },
            serial: member.serial.clone(),
            runs: member.runs,
            held: member.held,
        };
        Self {
            field,
            devices: self.devices.iter().map(member).collect(),
        }
    }

    /// What every device is told, by serial.
    pub(super) async fn told(&self) -> BTreeMap<&str, u64> {
        let mut told = BTreeMap::new();
        for member in &self.devices {
            told.insert(member.serial.as_str(), member.ask().await);
        }
        flush_reports(&self.field.app).await.unwrap();
        told
    }

    /// All of them ask, install what they are told, and ask again.
    pub(super) async fn follow(&mut self) {
        for member in &mut self.devices {
            member.runs = member.ask().await;
        }
        flush_reports(&self.field.app).await.unwrap();
        self.field.clock.advance(60);
        self.told().await;
    }

    pub(super) fn member(&mut self, serial: &str) -> &mut Member<'f> {
        self.devices
            .iter_mut()
            .find(|member| member.serial == serial)
            .unwrap()
    }
}

impl Member<'_> {
    /// What it is told of its snap: what it has, where there is nothing new.
    pub(super) async fn ask(&self) -> u64 {
        let mut context = installed("agent", self.runs, "latest/stable");
        if self.held {
            context["held"] = json!({"by": ["system"]});
        }
        let answer = self
            .device
            .refresh(json!([context]), json!([refresh_action("agent")]))
            .await;
        let outcome = outcomes(&answer).remove(0);
        let (revision, channel) = outcome.split_once('@').unwrap();
        assert_eq!(channel, "latest/stable");
        revision.parse().unwrap()
    }
}

pub(super) fn limit(limit: i64) -> Wanted {
    Wanted {
        limit: Some(limit),
        seed: Some(7),
        ..Wanted::default()
    }
}

pub(super) fn whole(group: &str) -> Wanted {
    Wanted {
        group: Some(group.parse().unwrap()),
        ..Wanted::default()
    }
}

pub(super) fn listed(serials: &[&str]) -> Wanted {
    Wanted {
        devices: Some(serials.iter().map(|serial| name(serial)).collect()),
        ..Wanted::default()
    }
}

pub(super) fn of(told: &BTreeMap<&str, u64>, revision: u64) -> usize {
    told.values().filter(|told| **told == revision).count()
}

#[tokio::test]
async fn a_wave_reaches_exactly_who_it_was_rolled_out_to() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 6).await;
    fleet.join("T1", None).await;
    fleet.forward("v2", 2).await;
    assert_eq!(of(&fleet.told().await, 2), 0, "nobody sees it before a rollout");
    let dry = fleet
        .roll(
            "v2",
            Wanted {
                dry_run: true,
                ..limit(2)
            },
        )
        .await
        .unwrap();
    assert_eq!(
        (dry.rollout.matching, dry.rollout.eligible, dry.rollout.selected),
        (6, 6, 2)
    );
    assert_eq!(of(&fleet.told().await, 2), 0, "a dry run changes nothing");
    let first = fleet.roll("v2", limit(2)).await.unwrap();
    assert_eq!(
        first.devices, dry.devices,
        "the same seed chooses the same devices"
    );
    assert_eq!(of(&fleet.told().await, 2), 2);
    let second = fleet.roll("v2", limit(3)).await.unwrap();
    assert_eq!((second.rollout.eligible, second.rollout.selected), (4, 3));
    assert!(
        second
            .devices
            .iter()
            .all(|device| !first.devices.contains(device))
    );
    assert_eq!(of(&fleet.told().await, 2), 5);
    let state = fleet.status("v2").await;
    assert_eq!(
        (state.total, state.updated, state.scheduled, state.unscheduled),
        (6, 0, 5, 1)
    );
    assert_eq!(state.devices[&State::Offered], 5);

    fleet.follow().await;
    let state = fleet.status("v2").await;
    assert_eq!(
        (state.total, state.updated, state.scheduled, state.unscheduled),
        (6, 5, 0, 1)
    );
    // Ask for all the rest, and more than there are.
    let rest = fleet.roll("v2", limit(100)).await.unwrap();
    assert_eq!((rest.rollout.eligible, rest.rollout.selected), (1, 1));
    fleet.act("v2", Act::Complete).await.unwrap();
    fleet.join("P9", Some("main")).await;
    let told = fleet.told().await;
    assert_eq!((of(&told, 2), told["T1"]), (7, 1), "{told:?}");
    fleet.follow().await;
    let state = fleet.status("v2").await;
    assert_eq!(
        (state.total, state.updated, state.scheduled, state.unscheduled),
        (7, 7, 0, 0)
    );
    for act in [Act::Cancel, Act::Halt, Act::Resume, Act::Complete] {
        assert_eq!(fleet.act("v2", act).await.unwrap_err().code, "wave-complete");
    }
    assert_eq!(
        fleet.roll("v2", limit(1)).await.unwrap_err().code,
        "wave-complete"
    );
}

#[tokio::test]
async fn halting_and_cancelling_move_nobody_back() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 3).await;
    fleet.forward("v2", 2).await;
    fleet.roll("v2", listed(&["P0", "P1"])).await.unwrap();
    let p0 = fleet.member("P0");
    p0.runs = p0.ask().await;
    assert_eq!(p0.runs, 2);
    fleet.act("v2", Act::Halt).await.unwrap();
    let told = fleet.told().await;
    assert_eq!((told["P0"], told["P1"], told["P2"]), (2, 1, 1));
    assert_eq!(fleet.roll("v2", limit(1)).await.unwrap_err().code, "wave-halted");
    fleet.act("v2", Act::Resume).await.unwrap();
    assert_eq!(fleet.told().await["P1"], 2);
    fleet.act("v2", Act::Cancel).await.unwrap();
    let told = fleet.told().await;
    assert_eq!((told["P0"], told["P1"], told["P2"]), (2, 1, 1));
    // The next wave goes on from there; only a rollback goes below what a device has.
    let refused = fleet
        .init("v2", WaveKind::Forward, 3, Policy::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code, "name-in-use");
    fleet.forward("v3", 3).await;
    fleet.roll("v3", limit(3)).await.unwrap();
    fleet.act("v3", Act::Complete).await.unwrap();
    fleet.follow().await;
    let lower = fleet
        .init("v1", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap_err();
    assert_eq!(lower.code, "version-not-newer");
    fleet
        .init("back", WaveKind::Rollback, 2, Policy::default())
        .await
        .unwrap();
    fleet.roll("back", listed(&["P2"])).await.unwrap();
    let told = fleet.told().await;
    assert_eq!((told["P0"], told["P1"], told["P2"]), (3, 3, 2));
    fleet.act("back", Act::Complete).await.unwrap();
    assert_eq!(of(&fleet.told().await, 2), 3);
}

#[tokio::test]
async fn a_whole_group_takes_those_who_join_and_keeps_those_who_were_told() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 4).await;
    fleet.make_group("canary").await;
    fleet.make_group("east").await;
    for serial in ["P0", "P1"] {
        fleet.group(serial, Some("canary")).await.unwrap();
    }
    fleet.forward("v2", 2).await;
    assert_eq!(
        fleet.roll("v2", whole("west")).await.unwrap_err().code,
        "unknown-group"
    );
    let rolled = fleet.roll("v2", whole("canary")).await.unwrap();
    assert_eq!(
        (
            rolled.rollout.matching,
            rolled.rollout.selected,
            rolled.devices.len()
        ),
        (2, 2, 0)
    );
    assert!(rolled.rollout.full_group);
    fleet.group("P2", Some("canary")).await.unwrap();
    // P0 is told, and stays exposed when it leaves; P1 leaves before it asks.
    assert_eq!(fleet.member("P0").ask().await, 2);
    fleet.group("P0", Some("east")).await.unwrap();
    fleet.group("P1", None).await.unwrap();
    let told = fleet.told().await;
    assert_eq!((told["P0"], told["P1"], told["P2"], told["P3"]), (2, 1, 2, 1));
    let ctx = store(&field.app).await;
    let refused = groups::delete(&field.app, &ctx, &"canary".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(refused.code, "group-in-use");
    fleet.group("P2", None).await.unwrap();
    groups::delete(&field.app, &ctx, &"canary".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(
        fleet.group("P3", Some("canary")).await.unwrap_err().code,
        "unknown-group"
    );
    // The exposure is as durable as the answer: another process knows it from the records alone.
    let again = reopened(&field).await;
    let told = status::status(&again, &store(&again).await, &"v2".parse().unwrap(), 4)
        .await
        .unwrap();
    let here = fleet.status("v2").await;
    assert_eq!(told.scheduled, here.scheduled);
    assert_eq!((here.scheduled, here.unscheduled), (2, 2));
}

/// The same storage, as another start of the server sees it.
pub(super) async fn reopened(field: &Field) -> App {
    let mut state = hallmark::app::AppState::clone(&field.app);
    state.fleet = std::sync::Arc::default();
    let app = App::from(state);
    hallmark::app::fleet::start(&app).await.unwrap();
    app
}

#[tokio::test]
async fn what_was_exposed_and_reverted_is_known_after_a_restart() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 3).await;
    fleet.forward("v2", 2).await;
    fleet.roll("v2", listed(&["P0", "P1"])).await.unwrap();
    fleet.follow().await;
    // P1 falls back by itself, as a revert does.
    fleet.member("P1").runs = 1;
    assert_eq!(fleet.member("P1").ask().await, 1, "not offered again, at once");
    let told = fleet.told().await;
    assert_eq!((told["P0"], told["P1"], told["P2"]), (2, 1, 1));
    let here = fleet.status("v2").await;
    assert_eq!(here.devices[&State::Reverted], 1);
    let again = reopened(&field).await;
    let there = status::status(&again, &store(&again).await, &"v2".parse().unwrap(), 4)
        .await
        .unwrap();
    assert_eq!(there.devices, here.devices);
    assert_eq!((there.updated, there.scheduled), (here.updated, here.scheduled));
    let story = devices::show(&again, &acme_ctx(), &name("P1")).await.unwrap();
    let standing = explain::standing(&again, &story.device, story.report.as_ref())
        .await
        .unwrap();
    assert_eq!(standing.snaps[0].rule, "reverted");
    assert_eq!(standing.state, Some(State::Reverted));
    // Until somebody says it may try again.
    let retry = PlaceChange {
        retry: true,
        ..PlaceChange::default()
    };
    change(&field.app, &acme_ctx(), &name("P1"), &retry)
        .await
        .unwrap();
    assert_eq!(fleet.told().await["P1"], 2);
}

#[tokio::test]
async fn a_wave_halts_by_itself_when_devices_fall_back() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 4).await;
    let policy: Policy = serde_json::from_value(json!({
        "error": {"percent": 50, "min-devices": 2, "kinds": ["reverted"]},
    }))
    .unwrap();
    fleet.init("v2", WaveKind::Forward, 2, policy).await.unwrap();
    fleet.roll("v2", limit(4)).await.unwrap();
    fleet.follow().await;
    judge_all(&field.app).await.unwrap();
    assert_eq!(fleet.status("v2").await.record.wave.status, WaveStatus::Active);
    for serial in ["P0", "P1"] {
        fleet.member(serial).runs = 1;
    }
    fleet.told().await;
    judge_all(&field.app).await.unwrap();
    let state = fleet.status("v2").await;
    assert_eq!(state.record.wave.status, WaveStatus::Halted);
    assert_eq!(
        state.record.why.as_deref(),
        Some("2 of 2 devices with a verdict fell back")
    );
}

#[tokio::test]
async fn steps_follow_each_other_while_devices_are_well() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 5).await;
    fleet.make_group("east").await;
    fleet.group("P4", Some("east")).await.unwrap();
    let policy: Policy = serde_json::from_value(json!({
        "on-success": "complete", "success": 100, "patience": {"checks": 1, "soak": 3600, "failed-checks": 3,
            "failed-after": 86400, "silent-after": 86400},
        "steps": [{"limit": 2}, {"group": "east"}],
    }))
    .unwrap();
    fleet.init("v2", WaveKind::Forward, 2, policy).await.unwrap();
    fleet.roll("v2", listed(&["P0"])).await.unwrap();
    // The device of the second step may have been one of the first's.
    for expected in [1, 3, 3] {
        judge_all(&field.app).await.unwrap();
        let told = fleet.told().await;
        if expected == 1 {
            assert_eq!(of(&told, 2), 1, "not before it is healthy");
        }
        fleet.follow().await;
        fleet.follow().await;
        let updated = fleet.devices.iter().filter(|member| member.runs == 2).count();
        assert!(updated >= expected, "{updated} < {expected}");
    }
    judge_all(&field.app).await.unwrap();
    assert_eq!(fleet.status("v2").await.record.wave.status, WaveStatus::Complete);
    fleet.follow().await;
    assert!(fleet.devices.iter().all(|member| member.runs == 2));
}

#[tokio::test]
async fn bad_selections_are_refused_and_change_nothing() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 3).await;
    fleet.join("T1", None).await;
    fleet.join("B1", Some("beta")).await;
    fleet.forward("v2", 2).await;
    for (wanted, code) in [
        (Wanted::default(), "selector-required"),
        (limit(0), "invalid-limit"),
        (limit(-1), "invalid-limit"),
        (
            Wanted {
                percentage: Some(0),
                ..Wanted::default()
            },
            "invalid-percentage",
        ),
        (
            Wanted {
                percentage: Some(101),
                ..Wanted::default()
            },
            "invalid-percentage",
        ),
        (listed(&["P0", "T1"]), "uuid-mismatch"),
        (listed(&["B1"]), "uuid-mismatch"),
        (listed(&["nobody"]), "uuid-mismatch"),
        (
            Wanted {
                expect_eligible: Some(7),
                ..limit(1)
            },
            "eligible-differs",
        ),
    ] {
        let refused = fleet.roll("v2", wanted.clone()).await.unwrap_err();
        assert_eq!(refused.code, code, "{wanted:?}");
    }
    let refused = fleet
        .roll("v2", listed(&["P0", "T1", "B1", "nobody"]))
        .await
        .unwrap_err();
    for reason in [
        "gate-1/T1 (a test device)",
        "gate-1/B1 (of another tag)",
        "gate-1/nobody (unknown)",
    ] {
        assert!(refused.message.contains(reason), "{}", refused.message);
    }
    assert_eq!(of(&fleet.told().await, 2), 0);
    let skipping = Wanted {
        skip_mismatch: true,
        ..listed(&["P0", "T1", "nobody"])
    };
    let rolled = fleet.roll("v2", skipping).await.unwrap();
    assert_eq!((rolled.rollout.selected, rolled.skipped.len()), (1, 2));
    // 34 % of three, rounded up, less whom it was shown to already.
    let part = Wanted {
        percentage: Some(34),
        ..Wanted::default()
    };
    assert_eq!(fleet.roll("v2", part).await.unwrap().rollout.selected, 2);
}

#[tokio::test]
async fn devices_that_are_shut_out_count_for_nothing() {
    let field = agents().await;
    let fleet = Fleet::new(&field, 3).await;
    let (ctx, model) = (acme_ctx(), "gate-1".parse().unwrap());
    let new = NewModel {
        name: "gate-1".parse().unwrap(),
        api_key: None,
        key: None,
        settings: ModelSettings::default(),
    };
    models::create(&field.app, &ctx, new).await.unwrap();
    fleet.forward("v2", 2).await;
    let judge = async |standing| {
        let serials = ["P2".parse().unwrap()];
        serials::judge(&field.app, &ctx, &model, &serials, standing)
            .await
            .unwrap();
    };
    judge(Some(Standing::Denied)).await;
    let dry = |wanted| Wanted {
        dry_run: true,
        ..wanted
    };
    assert_eq!(fleet.roll("v2", dry(limit(9))).await.unwrap().rollout.matching, 2);
    let refused = fleet.roll("v2", dry(listed(&["P2"]))).await.unwrap_err();
    assert!(
        refused.message.contains("gate-1/P2 (denied)"),
        "{}",
        refused.message
    );
    assert_eq!(fleet.status("v2").await.total, 2);
    let again = reopened(&field).await;
    let there = status::status(&again, &store(&again).await, &"v2".parse().unwrap(), 4).await;
    assert_eq!(there.unwrap().total, 2);
    judge(None).await;
    assert_eq!(fleet.status("v2").await.total, 3);
}

#[tokio::test]
async fn devices_that_register_become_what_their_model_says() {
    let field = agents().await;
    let ctx = acme_ctx();
    let new = NewModel {
        name: "gate-1".parse().unwrap(),
        api_key: None,
        key: None,
        settings: ModelSettings {
            production: Some(ProductionRule::AllowList),
            tag: Some(Some("main".parse().unwrap())),
            ..ModelSettings::default()
        },
    };
    models::create(&field.app, &ctx, new).await.unwrap();
    let (model, allowed) = ("gate-1".parse().unwrap(), ["A1".parse().unwrap()]);
    serials::judge(&field.app, &ctx, &model, &allowed, Some(Standing::Allowed))
        .await
        .unwrap();
    for (serial, production) in [("A1", true), ("A2", false)] {
        let device = Device {
            field: &field,
            session: session(&field, serial).await,
        };
        let context = json!([installed("agent", 1, "latest/stable")]);
        device.refresh(context, json!([refresh_action("agent")])).await;
        let place = devices::show(&field.app, &ctx, &name(serial))
            .await
            .unwrap()
            .place
            .unwrap();
        assert_eq!(
            (place.production, place.tag.unwrap().as_str()),
            (production, "main")
        );
    }
    // It is fixed then.
    serials::judge(
        &field.app,
        &ctx,
        &model,
        &["A2".parse().unwrap()],
        Some(Standing::Allowed),
    )
    .await
    .unwrap();
    let place = devices::show(&field.app, &ctx, &name("A2"))
        .await
        .unwrap()
        .place
        .unwrap();
    assert!(!place.production);
    let wanted = PlaceChange {
        production: Some(true),
        ..PlaceChange::default()
    };
    let refused = change(&field.app, &ctx, &name("A2"), &wanted).await;
    assert_eq!(refused.unwrap_err().code, "production-fixed");
}

#[tokio::test]
async fn operators_at_the_same_time_take_different_devices() {
    let field = agents().await;
    let fleet = Fleet::new(&field, 6).await;
    fleet.forward("v2", 2).await;
    let both = futures_util::future::join_all((0..4).map(|_| fleet.roll("v2", limit(2)))).await;
    let mut all: Vec<u128> = both
        .into_iter()
        .flat_map(|rolled| rolled.unwrap().devices)
        .collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6);
    // The same call again is not another rollout.
    let again = Wanted {
        key: Some("nightly".to_owned()),
        ..limit(1)
    };
    let first = fleet.roll("v2", again.clone()).await.unwrap();
    let second = fleet.roll("v2", again).await.unwrap();
    assert_eq!(first.rollout.number, second.rollout.number);
}

#[tokio::test]
async fn a_rollout_knows_what_devices_said_just_before() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 1).await;
    fleet.forward("v2", 2).await;
    fleet.act("v2", Act::Complete).await.unwrap();
    fleet.follow().await;
    fleet.forward("v3", 3).await;
    fleet.act("v3", Act::Complete).await.unwrap();
    let device = fleet.member("P0");
    device.runs = device.ask().await;
    assert_eq!((device.runs, device.ask().await), (3, 3));
    fleet
        .init("back", WaveKind::Rollback, 2, Policy::default())
        .await
        .unwrap();
    let rolled = fleet.roll("back", listed(&["P0"])).await.unwrap();
    assert_eq!((rolled.rollout.eligible, rolled.rollout.selected), (1, 1));
    assert_eq!(fleet.member("P0").ask().await, 2);
}

#[tokio::test]
async fn an_expired_wave_stands_still() {
    let field = agents().await;
    let fleet = Fleet::new(&field, 2).await;
    let new = NewWave {
        expires: Some(field.app.clock.now().plus_seconds(600)),
        ..agent_wave("v2", 2)
    };
    let ctx = store(&field.app).await;
    waves::init(&field.app, &ctx, new).await.unwrap();
    fleet.roll("v2", limit(1)).await.unwrap();
    assert_eq!(of(&fleet.told().await, 2), 1);
    field.clock.advance(601);
    assert_eq!(of(&fleet.told().await, 2), 0);
    assert!(fleet.status("v2").await.expired);
    assert_eq!(fleet.roll("v2", limit(1)).await.unwrap_err().code, "wave-expired");
    assert_eq!(
        fleet.act("v2", Act::Complete).await.unwrap_err().code,
        "wave-expired"
    );
    fleet.act("v2", Act::Cancel).await.unwrap();
}

#[tokio::test]
async fn held_snaps_are_offered_and_counted_apart() {
    let field = agents().await;
    let mut fleet = Fleet::new(&field, 2).await;
    fleet.member("P0").held = true;
    fleet.forward("v2", 2).await;
    fleet.roll("v2", limit(2)).await.unwrap();
    assert_eq!(of(&fleet.told().await, 2), 2);
    let state = fleet.status("v2").await;
    assert_eq!(state.devices.get(&State::Held), Some(&1), "{:?}", state.devices);
}

#[tokio::test]
async fn a_revision_of_a_wave_is_not_there_for_who_is_not_shown_it() {
    let field = agents().await;
    let fleet = Fleet::new(&field, 2).await;
    fleet.forward("v2", 2).await;
    fleet.roll("v2", listed(&["P0"])).await.unwrap();
    let ask = async |member: &Member<'_>, revision: u64| {
        let mut action: Value = refresh_action("agent");
        action["revision"] = json!(revision);
        let context = json!([installed("agent", member.runs, "latest/stable")]);
        let answer = member.device.refresh(context, json!([action])).await;
        outcomes(&answer).remove(0)
    };
    assert_eq!(ask(&fleet.devices[0], 2).await, "2@-");
    assert_eq!(ask(&fleet.devices[1], 2).await, "revision-not-found");
    assert_eq!(ask(&fleet.devices[1], 1).await, "1@-", "what it runs");
}

#[tokio::test]
async fn open_waves_are_in_the_metrics() {
    let field = agents().await;
    let fleet = Fleet::new(&field, 3).await;
    fleet.forward("v2", 2).await;
    fleet.roll("v2", limit(2)).await.unwrap();
    let text = String::from_utf8(field.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "hallmark_wave_devices{store=\"acme-store\",wave=\"v2\",tag=\"main\",state=\"total\"} 3\n",
        "hallmark_wave_devices{store=\"acme-store\",wave=\"v2\",tag=\"main\",state=\"scheduled\"} 2\n",
        "hallmark_wave_device_states{store=\"acme-store\",wave=\"v2\",tag=\"main\",state=\"staged\"} 2\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// Answers what comes with these statuses, one after the other; gives the requests.
async fn listener(statuses: [u16; 3]) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret-path", socket.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut seen = Vec::new();
        for status in statuses {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut request = Vec::new();
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).into_owned();
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length = head
                    .to_lowercase()
                    .split_once("content-length: ")?
                    .1
                    .lines()
                    .next()?
                    .parse()
                    .ok()?;
                (body.len() >= length).then_some(text)
            };
            let text = loop {
                if let Some(text) = whole(&request) {
                    break text;
                }
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            };
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            seen.push(text);
        }
        seen
    });
    (url, task)
}

#[tokio::test]
async fn a_webhook_is_told_until_it_takes_it_with_a_signature() {
    let field = agents().await;
    let fleet = Fleet::new(&field, 2).await;
    let (url, listener) = listener([500, 200, 204]).await;
    let webhook = hallmark::adapters::webhook::Webhook::new(url).unwrap();
    let mut state = hallmark::app::AppState::clone(&field.app);
    state.hook = Some(hallmark::app::fleet::Hook::new(
        std::sync::Arc::new(webhook),
        "hook secret".to_owned().into(),
    ));
    let app = App::from(state);
    let ctx = store(&app).await;
    fleet.forward("v2", 2).await;
    let name = "v2".parse().unwrap();
    rollout::rollout(&app, &ctx, &name, &limit(1)).await.unwrap();
    waves::act(&app, &ctx, &name, Act::Halt).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let delivering = tokio::spawn(hallmark::app::fleet::deliver(
        app.clone(),
        stop.clone().cancelled_owned(),
    ));
    // What was not taken waits by the clock of the server.
    let moving = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            field.clock.advance(10);
        }
    };
    let seen = tokio::select! { seen = listener => seen.unwrap(), () = moving => unreachable!() };
    stop.cancel();
    delivering.await.unwrap();
    let events: Vec<String> = seen
        .iter()
        .map(|request| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"hook secret");
            let signed = aws_lc_rs::hmac::sign(&key, body.as_bytes());
            let hex: String = signed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(
                head.contains(&format!("x-hallmark-signature: sha256={hex}")),
                "{head}"
            );
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(
                (&body["wave"], &body["counts"]["total-devices"]),
                (&json!("v2"), &json!(2))
            );
            format!(
                "{} {}",
                body["event"].as_str().unwrap(),
                body["id"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        events,
        [
            "wave.rollout acme-store/v2/1",
            "wave.rollout acme-store/v2/1",
            "wave.halt acme-store/v2/2"
        ]
    );
    let (record, left) = {
        let record = waves::show(&app, &ctx, &name).await.unwrap();
        let left = record.notices.len();
        (record, left)
    };
    assert!(left <= 1, "{:?}", record.notices);
}

#[tokio::test]
async fn who_has_none_of_the_snaps_is_counted_nowhere() {
    let field = agents().await;
    let fleet = Fleet::new(&field, 2).await;
    let bare = Device {
        field: &field,
        session: session(&field, "bare").await,
    };
    bare.refresh(json!([installed("other", 1, "latest/stable")]), json!([]))
        .await;
    flush_reports(&field.app).await.unwrap();
    let place = PlaceChange {
        production: Some(true),
        tag: Some(Some("main".parse().unwrap())),
        ..PlaceChange::default()
    };
    change(&field.app, &acme_ctx(), &name("bare"), &place)
        .await
        .unwrap();
    fleet.forward("v2", 2).await;
    let rolled = fleet.roll("v2", limit(9)).await.unwrap().rollout;
    let state = fleet.status("v2").await;
    assert_eq!((rolled.matching, rolled.selected, state.total), (2, 2, 2));
    assert_eq!((state.scheduled, state.unscheduled), (2, 0));
    assert_eq!(state.devices.values().sum::<u64>(), 2);
    fleet.act("v2", Act::Cancel).await.unwrap();
    let over = fleet.status("v2").await;
    assert_eq!(
        (over.total, over.devices.len()),
        (2, 0),
        "nobody takes it any more"
    );
}

#[tokio::test]
async fn who_is_not_on_the_list_at_registration_stays_a_test_device() {
    let field = agents().await;
    let ctx = acme_ctx();
    let new = NewModel {
        name: "gate-1".parse().unwrap(),
        api_key: None,
        key: None,
        settings: ModelSettings {
            production: Some(ProductionRule::AllowList),
            ..ModelSettings::default()
        },
    };
    models::create(&field.app, &ctx, new).await.unwrap();
    let device = Device {
        field: &field,
        session: session(&field, "A1").await,
    };
    let ask = async || {
        let context = json!([installed("agent", 1, "latest/stable")]);
        device.refresh(context, json!([refresh_action("agent")])).await;
        let shown = devices::show(&field.app, &ctx, &name("A1")).await.unwrap();
        shown.place.map(|place| place.production)
    };
    assert_eq!(ask().await, Some(false));
    let (model, listed) = ("gate-1".parse().unwrap(), ["A1".parse().unwrap()]);
    serials::judge(&field.app, &ctx, &model, &listed, Some(Standing::Allowed))
        .await
        .unwrap();
    assert_eq!(ask().await, Some(false));
}
