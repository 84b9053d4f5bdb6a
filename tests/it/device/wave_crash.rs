//! A rollout that the power cuts off, wherever it is being written: all of its devices see the wave, or none does.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use hallmark::adapters::sled::{Sled, SledOptions};
use hallmark::app::fleet::rollout::{self, Wanted};
use hallmark::app::fleet::{start, status};
use hallmark::app::{App, AppState, StoreCtx};
use hallmark::domain::access::StoreRecord;
use hallmark::domain::fleet::{
    Act, Entry, Exposure, FleetDevice, Pin, Policy, ProductionMap, Wave, WaveKind, WaveRecord,
};
use hallmark::domain::ident::DeviceId;
use hallmark::ports::{Change, Commit, CommitOutcome};

use crate::harness::instance;

const DEVICES: usize = 300;
const LIMIT: u64 = 200;
/// Places where the write is cut off, besides its ends.
const CUTS: u64 = 20;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn journal(directory: &Path) -> u64 {
    std::fs::metadata(directory.join("journal")).unwrap().len()
}

/// The instance on the database in this directory.
async fn on(app: &App, directory: &Path) -> App {
    let mut state = AppState::clone(app);
    state.storage = Arc::new(Sled::open(&SledOptions::new(directory)).unwrap());
    state.fleet = Arc::default();
    state.catalog = Arc::default();
    let app = App::from(state);
    start(&app).await.unwrap();
    app
}

/// A store with production devices and a wave that none of them sees.
async fn fill(app: &App) {
    let now = app.clock.now();
    let brand: hallmark::domain::ident::BrandId = "acme".parse().unwrap();
    let store: hallmark::domain::ident::StoreId = "acme".parse().unwrap();
    let mut map = ProductionMap::new(store.clone(), "main".parse().unwrap());
    let entry = Entry {
        pin: Pin {
            snap_id: "a".repeat(32).parse().unwrap(),
            channel: "latest/stable".parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
        },
        revision: 2,
    };
    let mut wave = Wave::draft(
        store.clone(),
        "main".parse().unwrap(),
        "june".parse().unwrap(),
        map.reserve(),
        WaveKind::Forward,
        vec![entry],
        now.plus_seconds(100_000),
    )
    .unwrap();
    wave.act(Act::Sign, now).unwrap();
    let wave = WaveRecord {
        wave,
        created: now,
        authorship: Default::default(),
        finished: None,
        history: Vec::new(),
        policy: Policy::default(),
        prune: Default::default(),
        binding: None,
        why: None,
        notices: Vec::new(),
        noticed: 0,
        telling: None,
    };
    let mut records = vec![
        Change::create(&StoreRecord::new(
            store.clone(),
            brand.clone(),
            "Acme".to_owned(),
            now,
        )),
        Change::create(&map),
        Change::create(&wave),
    ];
    for number in 0..DEVICES {
        let device = FleetDevice {
            device: DeviceId {
                brand: brand.clone(),
                model: "gate".parse().unwrap(),
                serial: format!("SN{number}").parse().unwrap(),
            },
            store: store.clone(),
            production: true,
            tag: Some("main".parse().unwrap()),
            group: None,
            since: now,
        };
        records.push(Change::create(&device));
    }
    let commit = Commit {
        records,
        ..Commit::default()
    };
    assert_eq!(app.storage.commit(commit).await.unwrap(), CommitOutcome::Done);
}

/// How many devices the rollouts say they chose, how many have a row, and how many are counted.
async fn told(app: &App) -> (u64, u64, u64) {
    let ctx = StoreCtx::local(app, &"acme".parse().unwrap()).await.unwrap();
    let state = status::status(app, &ctx, &"june".parse().unwrap(), 4)
        .await
        .unwrap();
    assert_eq!(state.record.history.len(), state.record.wave.rollouts as usize);
    let chosen = state.record.history.iter().map(|rollout| rollout.selected).sum();
    let rows = app.storage.all::<Exposure>(["acme", "june"]).await.unwrap();
    let rows = rows.iter().map(|row| row.record.devices().unwrap().len() as u64);
    (chosen, rows.sum(), state.scheduled)
}

async fn roll_out(app: &App) {
    let ctx = StoreCtx::local(app, &"acme".parse().unwrap()).await.unwrap();
    let wanted = Wanted {
        limit: Some(LIMIT as i64),
        key: Some("nightly".to_owned()),
        ..Wanted::default()
    };
    rollout::rollout(app, &ctx, &"june".parse().unwrap(), &wanted)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_rollout_cut_off_anywhere_is_whole_or_was_not() {
    let (memory, _) = instance().await;
    let directory = tempfile::tempdir().unwrap();
    let app = on(&memory, directory.path()).await;
    fill(&app).await;
    drop(app);
    let app = on(&memory, directory.path()).await;
    let before = journal(directory.path());
    roll_out(&app).await;
    assert_eq!(told(&app).await, (LIMIT, LIMIT, LIMIT));
    drop(app);
    let end = journal(directory.path());
    let step = (end - before) / CUTS;
    let mut cuts: Vec<u64> = (0..CUTS).map(|number| before + number * step).collect();
    cuts.extend([before + 1, end - 1, end]);
    for cut in cuts {
        let broken = tempfile::tempdir().unwrap();
        copy(directory.path(), broken.path());
        // The index was behind the journal, or it would hold what the journal has lost.
        std::fs::remove_dir_all(broken.path().join("index")).unwrap();
        let file = File::options()
            .write(true)
            .open(broken.path().join("journal"))
            .unwrap();
        file.set_len(cut).unwrap();
        let app = on(&memory, broken.path()).await;
        let whole = if cut == end { LIMIT } else { 0 };
        assert_eq!(
            told(&app).await,
            (whole, whole, whole),
            "cut at {cut} of {before} to {end}"
        );
        // Who asks again gets it once.
        roll_out(&app).await;
        assert_eq!(told(&app).await, (LIMIT, LIMIT, LIMIT), "cut at {cut}");
    }
}
