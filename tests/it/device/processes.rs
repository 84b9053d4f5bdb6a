//! Processes that share a database and each serve some of the devices: what one does, the others know. Runs on every engine that
//! can be shared (`process_tests!`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hallmark::adapters::vcdiff::Vcdiff;
use hallmark::app::devices::DeviceName;
use hallmark::app::fleet::devices::{PlaceChange, change};
use hallmark::app::fleet::waves;
use hallmark::app::fleet::{Hook, current, deliver, follow, judge_all, start};
use hallmark::app::models::{self, ModelSettings, NewModel};
use hallmark::app::store::{Made, flush_reports, make_deltas};
use hallmark::app::{App, AppState, serials};
use hallmark::domain::fleet::{Act, Policy, ProductionRule, State, WaveKind, WaveStatus};
use hallmark::domain::vault::Standing;
use hallmark::ports::{Courier, Deltas};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Field;
use super::stock::{Device, Stock, id, installed, outcomes, refresh_action};
use super::wave_sets::{bound, newest_of, set_key};
use super::waves::{Fleet, agents_on, limit, listed, name, of, session, store, whole};
use crate::conformance::Engine;
use crate::harness::acme_ctx;

/// Makes one test per case. `$engine` is evaluated anew for each.
#[macro_export]
macro_rules! process_tests {
    ($engine:expr) => {
        $crate::process_cases! { $engine;
            what_one_process_rolls_out_all_offer, a_whole_group_is_shown_a_wave_by_all,
            a_device_that_got_its_place_elsewhere_is_no_test_device, operators_at_two_processes_take_different_devices,
            what_devices_say_anywhere_counts_everywhere, what_was_fetched_elsewhere_counts,
            what_a_device_said_elsewhere_takes_a_wave_back,
            steps_are_taken_once, messages_are_sent_once, who_is_cut_off_tells_devices_nothing,
            a_delta_is_made_once_and_by_somebody_else_if_need_be,
            who_is_cut_off_gives_out_what_anybody_may_have,
        }
    };
}

/// See [`process_tests`].
#[macro_export]
macro_rules! process_cases {
    ($engine:expr; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let engine = $engine;
                $crate::device::processes::$case(&engine).await;
            }
        )+
    };
}

/// Two processes.
struct Pair {
    one: Field,
    other: Field,
    following: Vec<JoinHandle<()>>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for task in &self.following {
            task.abort();
        }
    }
}

impl Pair {
    /// Both have started, and neither follows the other by itself.
    async fn apart(engine: &dyn Engine) -> Self {
        let one = agents_on(engine.open().await).await;
        let other = one.beside(engine.open().await);
        for field in [&one, &other] {
            start(&field.app).await.unwrap();
        }
        Self {
            one,
            other,
            following: Vec::new(),
        }
    }

    /// As two servers do.
    async fn new(engine: &dyn Engine) -> Self {
        let mut pair = Self::apart(engine).await;
        for field in [&pair.one, &pair.other] {
            let following = follow(field.app.clone(), std::future::pending());
            pair.following.push(tokio::spawn(following));
        }
        pair
    }

    /// What one has put into the catalogue the other has heard of.
    async fn one_catalogue(&self) {
        let sequence = async |field: &Field| field.app.catalog.current(&field.app).await.unwrap().sequence();
        soon("they know the same catalogue", async || {
            sequence(&self.one).await == sequence(&self.other).await
        })
        .await;
    }
}

/// Waits until `holds` does: changes of other processes are heard of, not seen at once. How soon is for the benchmarks to say; a
/// machine with other work may take its time.
async fn soon(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it does not happen: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What `status` counts.
async fn counts(fleet: &Fleet<'_>, wave: &str) -> (u64, u64, u64, u64, BTreeMap<State, u64>) {
    let state = fleet.status(wave).await;
    (
        state.total,
        state.updated,
        state.scheduled,
        state.unscheduled,
        state.devices,
    )
}

async fn equal_counts(fleet: &Fleet<'_>, there: &Fleet<'_>, wave: &str) {
    assert_eq!(counts(fleet, wave).await, counts(there, wave).await);
}

pub(crate) async fn what_one_process_rolls_out_all_offer(engine: &dyn Engine) {
    let pair = Pair::new(engine).await;
    let fleet = Fleet::new(&pair.one, 6).await;
    let there = fleet.at(&pair.other);
    fleet
        .init("v2", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap();
    assert_eq!(of(&there.told().await, 2), 0, "nobody sees it before a rollout");
    fleet.roll("v2", limit(3)).await.unwrap();
    let told = fleet.told().await;
    assert_eq!(of(&told, 2), 3);
    soon("the same devices are told", async || there.told().await == told).await;
    equal_counts(&fleet, &there, "v2").await;
    // And the other way round.
    there.act("v2", Act::Halt).await.unwrap();
    soon("it is halted", async || of(&fleet.told().await, 2) == 0).await;
    fleet.act("v2", Act::Resume).await.unwrap();
    soon("it goes on", async || there.told().await == told).await;
    fleet.act("v2", Act::Cancel).await.unwrap();
    soon("it is cancelled", async || of(&there.told().await, 2) == 0).await;
    there
        .init("v3", WaveKind::Forward, 3, Policy::default())
        .await
        .unwrap();
    there.act("v3", Act::Complete).await.unwrap();
    soon("it is published", async || of(&fleet.told().await, 3) == 6).await;
    // A process that starts now knows all of it.
    let third = pair.one.beside(engine.open().await);
    let third = fleet.at(&third);
    assert_eq!(of(&third.told().await, 3), 6);
    equal_counts(&fleet, &third, "v2").await;
    equal_counts(&there, &third, "v3").await;
}

pub(crate) async fn a_whole_group_is_shown_a_wave_by_all(engine: &dyn Engine) {
    let pair = Pair::new(engine).await;
    let fleet = Fleet::new(&pair.one, 4).await;
    let there = fleet.at(&pair.other);
    there.make_group("east").await;
    for serial in ["P0", "P1"] {
        there.group(serial, Some("east")).await.unwrap();
    }
    fleet
        .init("v2", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap();
    let rolled = fleet.roll("v2", whole("east")).await.unwrap();
    assert_eq!(
        rolled.rollout.eligible, 2,
        "who is in the group was said elsewhere"
    );
    soon("the group is told", async || of(&there.told().await, 2) == 2).await;
    // What they were told there they keep here, wherever they go.
    fleet.group("P0", None).await.unwrap();
    assert_eq!(fleet.told().await["P0"], 2);
    soon("who joins is told", async || {
        let _moved = fleet.group("P3", Some("east")).await;
        there.told().await["P3"] == 2
    })
    .await;
    equal_counts(&fleet, &there, "v2").await;
    assert_eq!(fleet.status("v2").await.scheduled, 3);
}

pub(crate) async fn a_device_that_got_its_place_elsewhere_is_no_test_device(engine: &dyn Engine) {
    let pair = Pair::apart(engine).await;
    let mut fleet = Fleet::new(&pair.one, 1).await;
    fleet
        .init("v2", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap();
    fleet.roll("v2", limit(1)).await.unwrap();
    fleet.act("v2", Act::Complete).await.unwrap();
    // The other process knows what is published, and hears of nothing after that.
    let asks = async |field: &Field, session: &str| {
        let device = Device {
            field,
            session: session.to_owned(),
        };
        let context = json!([installed("agent", 1, "latest/stable")]);
        let answer = device.refresh(context, json!([refresh_action("agent")])).await;
        outcomes(&answer).remove(0)
    };
    assert_eq!(fleet.at(&pair.other).status("v2").await.total, 1);
    fleet.join("P7", Some("main")).await;
    let seventh = fleet.at(&pair.other);
    assert_eq!(seventh.devices[1].ask().await, 2, "an operator gave it its place");
    // Who was found to have no place is not asked for again; when it gets one, that is heard of.
    let ninth = session(&pair.one, "P9").await;
    assert_eq!(asks(&pair.other, &ninth).await, "1@latest/stable");
    flush_reports(&pair.other.app).await.unwrap();
    let place = PlaceChange {
        production: Some(true),
        tag: Some(Some("main".parse().unwrap())),
        ..PlaceChange::default()
    };
    change(
        &pair.one.app,
        &acme_ctx(),
        &DeviceName::Of("gate-1".parse().unwrap(), "P9".parse().unwrap()),
        &place,
    )
    .await
    .unwrap();
    assert_eq!(fleet.at(&pair.other).status("v2").await.total, 3);
    assert_eq!(asks(&pair.other, &ninth).await, "2@latest/stable");
    // By the rule of its model.
    let ctx = acme_ctx();
    let new = NewModel {
        name: "gate-1".parse().unwrap(),
        key: None,
        api_key: None,
        settings: ModelSettings {
            production: Some(ProductionRule::Yes),
            tag: Some(Some("main".parse().unwrap())),
            ..ModelSettings::default()
        },
    };
    models::create(&pair.one.app, &ctx, new).await.unwrap();
    let eighth = session(&pair.one, "P8").await;
    assert_eq!(asks(&pair.one, &eighth).await, "2@latest/stable");
    assert_eq!(asks(&pair.other, &eighth).await, "2@latest/stable");
}

pub(crate) async fn operators_at_two_processes_take_different_devices(engine: &dyn Engine) {
    let pair = Pair::apart(engine).await;
    let fleet = Fleet::new(&pair.one, 12).await;
    let there = fleet.at(&pair.other);
    fleet
        .init("v2", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap();
    let calls = (0..6).map(|number| {
        let at = if number % 2 == 0 { &fleet } else { &there };
        at.roll("v2", limit(2))
    });
    let rolled = futures_util::future::join_all(calls).await;
    let mut numbers = Vec::new();
    let mut taken = Vec::new();
    for rolled in rolled {
        let rolled = rolled.unwrap();
        assert_eq!(rolled.devices.len(), 2);
        numbers.push(rolled.rollout.number);
        taken.extend(rolled.devices);
    }
    numbers.sort_unstable();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!((numbers, taken.len()), ((1..=6).collect(), 12));
    equal_counts(&fleet, &there, "v2").await;
    assert_eq!(of(&there.told().await, 2), 12);
    // Only one of them can end it; who comes second is told what happened.
    let (completed, cancelled) =
        futures_util::future::join(fleet.act("v2", Act::Complete), there.act("v2", Act::Cancel)).await;
    let refused = [completed.err(), cancelled.err()].into_iter().flatten();
    let refused: Vec<&str> = refused.map(|refusal| refusal.code).collect();
    assert!(
        matches!(refused.as_slice(), ["wave-canceled"] | ["wave-complete"]),
        "{refused:?}"
    );
    equal_counts(&fleet, &there, "v2").await;
}

pub(crate) async fn what_devices_say_anywhere_counts_everywhere(engine: &dyn Engine) {
    let pair = Pair::new(engine).await;
    let mut fleet = Fleet::new(&pair.one, 4).await;
    fleet
        .init("v2", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap();
    fleet.roll("v2", listed(&["P0", "P1", "P2"])).await.unwrap();
    fleet.told().await;
    // They ask here and install, and say so there, by turns.
    let mut there = fleet.at(&pair.other);
    soon("they are told there", async || of(&there.told().await, 2) == 3).await;
    there.follow().await;
    equal_counts(&fleet, &there, "v2").await;
    let state = fleet.status("v2").await;
    assert_eq!(
        (state.total, state.updated, state.scheduled, state.unscheduled),
        (4, 3, 0, 1)
    );
    assert_eq!(state.devices[&State::Updated], 3);
    // Check-ins add up wherever they were made: two after it was updated make a device healthy.
    for at in [&pair.one, &pair.other] {
        pair.one.clock.advance(60);
        for member in &mut fleet.devices[..2] {
            member.runs = 2;
        }
        fleet.at(at).told().await;
    }
    let state = fleet.status("v2").await;
    assert_eq!(
        state.devices.get(&State::Healthy),
        Some(&2),
        "{:?}",
        state.devices
    );
    assert_eq!(
        state.devices.get(&State::Reverted),
        Some(&1),
        "P2 says again what it ran before"
    );
    equal_counts(&fleet, &there, "v2").await;
    // What a device came back from is not offered again, there as here.
    assert_eq!(fleet.at(&pair.one).told().await["P2"], 1);
    soon("it is known there", async || {
        fleet.at(&pair.other).told().await["P2"] == 1
    })
    .await;
}

pub(crate) async fn what_was_fetched_elsewhere_counts(engine: &dyn Engine) {
    let pair = Pair::new(engine).await;
    let fleet = Fleet::new(&pair.one, 1).await;
    fleet
        .init("v2", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap();
    fleet.roll("v2", limit(1)).await.unwrap();
    assert_eq!(fleet.told().await["P0"], 2);
    let path = format!("/download/{}_2.snap", id("agent"));
    assert_eq!(fleet.devices[0].device.get(&path).await.status, 200);
    flush_reports(&pair.one.app).await.unwrap();
    let there = fleet.at(&pair.other);
    assert_eq!(there.status("v2").await.devices, [(State::Downloading, 1)].into());
    for _ in 0..3 {
        pair.one.clock.advance(60);
        there.told().await;
    }
    assert_eq!(fleet.status("v2").await.devices, [(State::Failed, 1)].into());
    equal_counts(&fleet, &there, "v2").await;
}

pub(crate) async fn what_a_device_said_elsewhere_takes_a_wave_back(engine: &dyn Engine) {
    let pair = Pair::new(engine).await;
    set_key(&pair.one.app, "sets").await;
    let fleet = Fleet::new(&pair.one, 2).await;
    let there = fleet.at(&pair.other);
    let ctx = store(&pair.one.app).await;
    let new = bound("v2", 2, Some("sets"));
    waves::init(&pair.one.app, &ctx, new).await.unwrap();
    fleet.roll("v2", listed(&["P0"])).await.unwrap();
    let told = async |fleet: &Fleet<'_>| newest_of(&fleet.devices[0].device, 0).await;
    soon("it is told", async || told(&there).await == Some(1)).await;
    // It says what it runs, which is nothing new, and nothing new again after the wave was cancelled.
    fleet.told().await;
    fleet.act("v2", Act::Cancel).await.unwrap();
    pair.one.clock.advance(60);
    assert_eq!(told(&fleet).await, Some(1), "it has not said yet what it runs");
    fleet.told().await;
    assert_eq!(told(&fleet).await, Some(2));
    soon("it is taken back by the other too", async || {
        told(&there).await == Some(2)
    })
    .await;
    // And by one that starts now.
    let third = pair.one.beside(engine.open().await);
    assert_eq!(told(&fleet.at(&third)).await, Some(2));
}

pub(crate) async fn steps_are_taken_once(engine: &dyn Engine) {
    let pair = Pair::apart(engine).await;
    let mut fleet = Fleet::new(&pair.one, 6).await;
    let policy: Policy = serde_json::from_value(json!({
        "on-success": "complete", "success": 100, "patience": {"checks": 1, "soak": 3600, "failed-checks": 3,
            "failed-after": 86400, "silent-after": 86400},
        "steps": [{"limit": 1}, {"limit": 1}],
    }))
    .unwrap();
    fleet.init("v2", WaveKind::Forward, 2, policy).await.unwrap();
    fleet.roll("v2", listed(&["P0"])).await.unwrap();
    for rollouts in 2..=3 {
        fleet.follow().await;
        fleet.follow().await;
        let there = fleet.at(&pair.other);
        // Both are at it, again and again: the next step waits for the devices of the one before.
        for _ in 0..3 {
            let both = futures_util::future::join(judge_all(&pair.one.app), judge_all(&pair.other.app)).await;
            assert!(both.0.is_ok() && both.1.is_ok());
        }
        let state = there.status("v2").await;
        assert_eq!(
            (state.record.history.len(), state.updated),
            (rollouts, rollouts as u64 - 1)
        );
    }
    fleet.follow().await;
    fleet.follow().await;
    judge_all(&pair.other.app).await.unwrap();
    assert_eq!(fleet.status("v2").await.record.wave.status, WaveStatus::Complete);
}

/// Takes messages slowly.
#[derive(Debug, Default)]
struct Slow(Mutex<Vec<String>>);

#[async_trait]
impl Courier for Slow {
    async fn deliver(&self, id: &str, _: &str, body: Vec<u8>) -> Result<(), String> {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let event = body["event"].as_str().unwrap();
        self.0.lock().unwrap().push(format!("{id} {event}"));
        Ok(())
    }
}

pub(crate) async fn messages_are_sent_once(engine: &dyn Engine) {
    let mut pair = Pair::new(engine).await;
    let listener = Arc::new(Slow::default());
    for field in [&mut pair.one, &mut pair.other] {
        field.app = App::from(AppState {
            hook: Some(Hook::new(listener.clone(), "secret".to_owned().into())),
            ..AppState::clone(&field.app)
        });
    }
    for field in [&pair.one, &pair.other] {
        let delivering = deliver(field.app.clone(), std::future::pending());
        pair.following.push(tokio::spawn(delivering));
    }
    let fleet = Fleet::new(&pair.one, 1).await;
    fleet
        .init("v2", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap();
    fleet.roll("v2", limit(1)).await.unwrap();
    fleet.at(&pair.other).act("v2", Act::Cancel).await.unwrap();
    let expected = [
        "acme-store/v2/1 wave.init",
        "acme-store/v2/2 wave.rollout",
        "acme-store/v2/3 wave.cancel",
    ];
    for _ in 0..150 {
        if listener.0.lock().unwrap().len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(*listener.0.lock().unwrap(), expected);
    assert!(fleet.status("v2").await.record.notices.is_empty());
}

pub(crate) async fn who_is_cut_off_tells_devices_nothing(engine: &dyn Engine) {
    let pair = Pair::new(engine).await;
    let fleet = Fleet::new(&pair.one, 1).await;
    let place = PlaceChange::default();
    change(&pair.one.app, &acme_ctx(), &name("P0"), &place)
        .await
        .unwrap();
    current(&pair.other.app).await.unwrap();
    pair.other.app.storage.close().await.unwrap();
    // For a moment what was known last is good enough.
    current(&pair.other.app).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(current(&pair.other.app).await.is_err());
    let answer = pair.other.call("GET", "/readyz", &[], "").await;
    assert_eq!(answer.status, 503);
    current(&pair.one.app).await.unwrap();
    assert_eq!(fleet.told().await["P0"], 1);
}

/// A process that cannot be told what changed, since that was forgotten with `forget`, reads everything anew.
pub(crate) async fn who_heard_nothing_for_too_long_knows_it(engine: &dyn Engine, forget: impl AsyncFn()) {
    let pair = Pair::apart(engine).await;
    let mut fleet = Fleet::new(&pair.one, 5).await;
    let (ctx, model) = (acme_ctx(), "gate-1".parse().unwrap());
    let judge = async |serial: &str, standing| {
        let serials = [serial.parse().unwrap()];
        serials::judge(&pair.one.app, &ctx, &model, &serials, standing)
            .await
            .unwrap();
    };
    let new = NewModel {
        name: "gate-1".parse().unwrap(),
        key: None,
        api_key: None,
        settings: ModelSettings::default(),
    };
    models::create(&pair.one.app, &ctx, new).await.unwrap();
    judge("P3", Some(Standing::Denied)).await;
    fleet
        .init("v2", WaveKind::Forward, 2, Policy::default())
        .await
        .unwrap();
    equal_counts(&fleet, &fleet.at(&pair.other), "v2").await;
    assert_eq!(fleet.status("v2").await.total, 4);
    // One comes back, one is shut out, one is new, two are chosen and told.
    judge("P3", None).await;
    judge("P4", Some(Standing::Denied)).await;
    fleet.join("P6", Some("main")).await;
    fleet.roll("v2", listed(&["P0", "P6"])).await.unwrap();
    forget().await;
    let there = fleet.at(&pair.other);
    equal_counts(&fleet, &there, "v2").await;
    let state = there.status("v2").await;
    assert_eq!((state.total, state.scheduled), (5, 2));
    // P4 would not get an answer.
    let mut told = Vec::new();
    for member in there.devices.iter().filter(|member| member.serial != "P4") {
        told.push((member.serial.as_str(), member.ask().await));
    }
    assert_eq!(told, [("P0", 2), ("P1", 1), ("P2", 1), ("P3", 1), ("P6", 2)]);
    // From there on it follows again.
    fleet.act("v2", Act::Complete).await.unwrap();
    equal_counts(&fleet, &there, "v2").await;
    assert_eq!(there.devices[1].ask().await, 2);
}

/// Makes deltas, but waits with each until it is let go on.
#[derive(Debug)]
struct Waiting {
    began: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Deltas for Waiting {
    fn format(&self) -> &'static str {
        Vcdiff.format()
    }

    fn make(&self, source: &[u8], target: &[u8]) -> Result<Vec<u8>, String> {
        self.began.send(()).unwrap();
        // Whoever held the other end may be gone: then too.
        let _told = self.go_on.lock().unwrap().recv();
        Vcdiff.make(source, target)
    }

    fn apply(&self, source: &[u8], delta: &[u8], limit: u64) -> Result<Vec<u8>, String> {
        Vcdiff.apply(source, delta, limit)
    }
}

pub(crate) async fn a_delta_is_made_once_and_by_somebody_else_if_need_be(engine: &dyn Engine) {
    const LIMIT: u64 = 1 << 20;
    let pair = Pair::apart(engine).await;
    let stock = Stock { field: &pair.one };
    for revision in 2..=4 {
        stock.release("agent", revision, "stable").await;
    }
    let (began, begun) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let slow: Arc<dyn Deltas> = Arc::new(Waiting {
        began,
        go_on: Mutex::new(go_on),
    });
    let quick: Arc<dyn Deltas> = Arc::new(Vcdiff);
    let beginning = || {
        let (app, slow) = (pair.one.app.clone(), Arc::clone(&slow));
        tokio::spawn(async move { make_deltas(&app, &slow, LIMIT).await })
    };
    pair.one_catalogue().await;
    // What one is at, the other leaves alone; it does the rest.
    let working = beginning();
    tokio::task::block_in_place(|| begun.recv().unwrap());
    let made = make_deltas(&pair.other.app, &quick, LIMIT).await.unwrap();
    assert_eq!(made.elsewhere, 1);
    assert!(made.here > 0, "there are several to make");
    working.abort();
    let_go.send(()).unwrap();
    assert!(working.await.is_err(), "it died at work");

    // For a while nobody knows that it died.
    let made = make_deltas(&pair.other.app, &quick, LIMIT).await.unwrap();
    assert_eq!((made.here, made.elsewhere), (0, 1));
    pair.one.clock.advance(180);
    pair.one_catalogue().await;
    let working = beginning();
    tokio::task::block_in_place(|| begun.recv().unwrap());
    let made = make_deltas(&pair.other.app, &quick, LIMIT).await.unwrap();
    assert_eq!((made.here, made.elsewhere), (0, 1));
    let_go.send(()).unwrap();
    assert_eq!(
        working.await.unwrap().unwrap(),
        Made {
            here: 1,
            elsewhere: 0
        }
    );
    pair.one_catalogue().await;
    let made = make_deltas(&pair.other.app, &quick, LIMIT).await.unwrap();
    assert_eq!(made, Made::default());
}

pub(crate) async fn who_is_cut_off_gives_out_what_anybody_may_have(engine: &dyn Engine) {
    let pair = Pair::apart(engine).await;
    let session = session(&pair.one, "S1").await;
    let file = |snap: &str| format!("/download/{}_1.snap", id(snap));
    let with_session = [("snap-device-authorization", session.as_str())];
    let asks = async |path: &str, headers: &[(&str, &str)]| {
        let mut headers = headers.to_vec();
        headers.push(("snap-device-series", "16"));
        pair.other.call("GET", path, &headers, "").await.status
    };
    for snap in ["agent", "secret"] {
        assert_eq!(asks(&file(snap), &with_session).await, 200, "{snap}");
    }
    assert_eq!(asks(&file("secret"), &[]).await, 404);

    pair.other.app.storage.close().await.unwrap();
    for headers in [&with_session[..], &[]] {
        assert_eq!(asks(&file("agent"), headers).await, 200, "anybody may have it");
    }
    for path in ["/v2/snaps/info/agent", "/v2/snaps/find?q=agent"] {
        assert_eq!(asks(path, &[]).await, 200, "{path}");
    }
    // Nothing is said about what only some may have, and no device is told what to install.
    assert_eq!(asks(&file("secret"), &with_session).await, 503);
    assert_eq!(asks("/v2/snaps/info/agent", &with_session).await, 503);
    let body = json!({"context": [installed("agent", 1, "stable")], "actions": [refresh_action("agent")]});
    let refused = pair
        .other
        .call("POST", "/v2/snaps/refresh", &with_session, &body.to_string())
        .await;
    assert_eq!(refused.status, 503);
}
