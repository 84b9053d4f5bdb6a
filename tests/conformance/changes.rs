//! Following what others change of the fleet.

use std::collections::BTreeSet;

use hallmark::domain::catalog::DeviceReport;
use hallmark::domain::fleet::{FleetDevice, ProductionMap, WaveRecord};
use hallmark::domain::vault::Standing;
use hallmark::ports::{Change, Changes, Key, Kind, Mark, Record as _, Storage, StoredRecord};

use super::fleet::{device, exposure, of, store, wave};
use super::samples::{self, at, done};
use super::{Engine, race};

/// What changed since, in short, and the next mark; none where nobody else can have the storage open.
async fn since(storage: &dyn Storage, mark: &Mark) -> (BTreeSet<(Kind, String, u64)>, Changes) {
    let changes = storage
        .changes(mark)
        .await
        .unwrap()
        .expect("it is not too long ago");
    let short = |(kind, found): &(Kind, StoredRecord)| (*kind, found.key.0.join("/"), found.version);
    (changes.records.iter().map(short).collect(), changes)
}

fn report(place: &FleetDevice) -> DeviceReport {
    DeviceReport {
        device: place.device.clone(),
        store: None,
        architecture: "amd64".parse().unwrap(),
        client: None,
        snaps: Vec::new(),
        seen: at(0),
        heard: None,
        reverted: Vec::new(),
        wave: None,
        counted: None,
    }
}

async fn judge(storage: &dyn Storage, device: &FleetDevice, standing: Option<Standing>) {
    let device = &device.device;
    let event = samples::event("serial.judge", "SN");
    let serials = [device.serial.clone()];
    storage
        .set_standing(&device.brand, &device.model, &serials, standing, at(0), event)
        .await
        .unwrap();
}

pub(crate) async fn what_changed_is_told_from_a_mark_on(engine: &dyn Engine) {
    let one = engine.open().await;
    let Some(before) = one.mark().await.unwrap() else {
        assert!(
            !engine.shared(),
            "processes that share it have to follow each other"
        );
        return;
    };
    let other = engine.open().await;
    let mut june = wave("june", "main", 1);
    let map = ProductionMap::new("one".parse().unwrap(), "main".parse().unwrap());
    let (gate, late) = (device("gate"), device("late"));
    let rows = exposure("june", 1, "000000", &[7, 8]);
    done(
        &*one,
        of([Change::create(&store()), Change::create(&samples::account("ada"))]),
    )
    .await;
    done(
        &*one,
        of([
            Change::create(&june),
            Change::create(&map),
            Change::create(&gate),
            Change::create(&rows),
            Change::create(&report(&late)),
        ]),
    )
    .await;
    june.noticed = 1;
    done(&*one, of([Change::replace(&june, 1)])).await;
    judge(&*one, &gate, Some(Standing::Denied)).await;
    let place = |name: &str| format!("brand-one/gate/{name}");
    let all: BTreeSet<(Kind, String, u64)> = [
        (Kind::Wave, "one/june".to_owned(), 2),
        (Kind::ProductionMap, "one/main".to_owned(), 1),
        (Kind::FleetDevice, place("gate"), 1),
        (Kind::Device, place("late"), 1),
        (Kind::Exposure, "one/june/1/000000".to_owned(), 1),
    ]
    .into();
    // Both hear of everything, also of what they did themselves; nothing else is told.
    let mut mark = None;
    for storage in [&one, &other] {
        let (told, changes) = since(&**storage, &before).await;
        assert_eq!(
            told,
            all.iter()
                .map(|(kind, key, version)| (*kind, exposed(key), *version))
                .collect()
        );
        assert_eq!(changes.standings, [(gate.device.clone(), Some(Standing::Denied))]);
        let waves = changes.records.iter().filter(|(kind, _)| *kind == Kind::Wave);
        let waves: Vec<WaveRecord> = waves
            .map(|(_, found)| serde_json::from_slice(&found.json).unwrap())
            .collect();
        assert_eq!(waves, std::slice::from_ref(&june));
        mark = Some(changes.mark);
    }
    let mark = mark.unwrap();
    let (told, changes) = since(&*other, &mark).await;
    assert!(told.is_empty() && changes.standings.is_empty());
    // A judgement that is taken back is a change; with a place comes what is known of its device.
    judge(&*other, &gate, None).await;
    judge(&*other, &late, Some(Standing::Allowed)).await;
    let (_, changes) = since(&*one, &mark).await;
    let mut judged = changes.standings;
    judged.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        (gate.device.clone(), None),
        (late.device.clone(), Some(Standing::Allowed)),
    ];
    assert_eq!(judged, expected);
    let mark = changes.mark;
    done(&*other, of([Change::create(&late)])).await;
    let (told, changes) = since(&*one, &mark).await;
    let expected = [
        (Kind::FleetDevice, place("late"), 1),
        (Kind::Device, place("late"), 1),
    ];
    assert_eq!(told, expected.into());
    assert_eq!(
        changes.standings,
        [(late.device.clone(), Some(Standing::Allowed))]
    );
}

/// The number of a rollout is written with leading zeros in keys.
fn exposed(key: &str) -> String {
    let row = exposure("june", 1, "000000", &[]).key().0.join("/");
    if key.ends_with("000000") {
        row
    } else {
        key.to_owned()
    }
}

pub(crate) async fn a_commit_is_told_as_a_whole(engine: &dyn Engine) {
    const ROUNDS: u64 = 60;
    let one = engine.open().await;
    let Some(mut mark) = one.mark().await.unwrap() else {
        return;
    };
    let other = engine.open().await;
    let june = wave("june", "main", 1);
    let map = ProductionMap::new("one".parse().unwrap(), "main".parse().unwrap());
    done(
        &*one,
        of([
            Change::create(&store()),
            Change::create(&june),
            Change::create(&map),
        ]),
    )
    .await;
    let write = async {
        for version in 1..ROUNDS {
            let part = format!("{version:06}");
            let row = exposure("june", 1, &part, &[u128::from(version)]);
            let together = of([
                Change::replace(&june, version),
                Change::create(&row),
                Change::replace(&map, version),
            ]);
            done(&*one, together).await;
        }
    };
    let mut rows = 0;
    let look = async {
        let mut last = 0;
        while last < ROUNDS {
            let (told, changes) = since(&*other, &mark).await;
            mark = changes.mark;
            let of_kind = |kind: Kind| {
                told.iter()
                    .find(|(found, ..)| *found == kind)
                    .map(|(.., version)| *version)
            };
            let version = of_kind(Kind::Wave);
            assert_eq!(version, of_kind(Kind::ProductionMap));
            rows += told.iter().filter(|(kind, ..)| *kind == Kind::Exposure).count() as u64;
            if let Some(version) = version {
                assert!(version > last);
                last = version;
                assert_eq!(rows, version - 1, "the rows of a rollout come with its wave");
            } else {
                tokio::task::yield_now().await;
            }
        }
    };
    futures_util::future::join(write, look).await;
}

pub(crate) async fn nothing_is_missed_among_many(engine: &dyn Engine) {
    const TASKS: usize = 6;
    const EACH: usize = 25;
    let one = engine.open().await;
    let Some(mut mark) = one.mark().await.unwrap() else {
        return;
    };
    let other = engine.open().await;
    done(&*one, of([Change::create(&store())])).await;
    let (writers, expected) = ([one.clone(), other.clone()], TASKS * EACH);
    let writing = race(TASKS, |task| {
        let storage = writers[task % 2].clone();
        async move {
            for number in 0..EACH {
                let commit = of([Change::create(&device(&format!("{task}-{number}")))]);
                done(&*storage, commit).await;
            }
        }
    });
    let mut found = BTreeSet::new();
    let mut quiet = 0;
    let reading = async {
        // Until nothing comes any more: what is missed then is missed for good.
        while found.len() < expected && quiet < 300 {
            let (told, changes) = since(&*other, &mark).await;
            mark = changes.mark;
            quiet = if told.is_empty() { quiet + 1 } else { 0 };
            found.extend(told.into_iter().filter(|(kind, ..)| *kind == Kind::FleetDevice));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    futures_util::future::join(writing, reading).await;
    let all = one
        .page::<FleetDevice>(Key(Vec::new()), None, 1000)
        .await
        .unwrap();
    assert_eq!((found.len(), all.len()), (expected, expected));
}
