//! Update control: what is kept of waves, devices and rollouts.

use hallmark::domain::access::StoreRecord;
use hallmark::domain::fleet::{
    Act, Binding, Document, Entry, Exposure, FleetDevice, Group, Listed, Pin, Policy, ProductionMap, SetRef,
    Wave, WaveKind, WaveRecord,
};
use hallmark::domain::ident::DeviceId;
use hallmark::ports::{Change, Commit, CommitOutcome, Key, Kind, Record as _};

use super::samples::{at, done};
use super::{Engine, restart};

const STORE: &str = "one";

pub(crate) fn store() -> StoreRecord {
    let brand = "brand-one".parse().unwrap();
    StoreRecord::new(STORE.parse().unwrap(), brand, STORE.to_owned(), at(0))
}

pub(super) fn wave(name: &str, tag: &str, sequence: u64) -> WaveRecord {
    let entry = Entry {
        pin: Pin {
            snap_id: "a".repeat(32).parse().unwrap(),
            channel: "latest/stable".parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
        },
        revision: 2,
    };
    let (store, tag) = (STORE.parse().unwrap(), tag.parse().unwrap());
    let name = name.parse().unwrap();
    let wave = Wave::draft(
        store,
        tag,
        name,
        sequence,
        WaveKind::Forward,
        vec![entry],
        at(1000),
    );
    WaveRecord {
        wave: wave.unwrap(),
        created: at(0),
        authorship: Default::default(),
        finished: None,
        history: Vec::new(),
        policy: Policy::default(),
        prune: Default::default(),
        binding: Some(binding(sequence)),
        why: None,
        notices: Vec::new(),
        noticed: 0,
        telling: None,
    }
}

fn binding(sequence: u64) -> Binding {
    let document = |sequence, revision| Document {
        sequence,
        snaps: vec![Listed {
            name: "agent".parse().unwrap(),
            id: "a".repeat(32).parse().unwrap(),
            required: true,
            revision,
        }],
        assertion: Some("type: validation-set\n\nAA==\n".to_owned()),
    };
    Binding {
        set: SetRef {
            account: "brand-one".parse().unwrap(),
            name: "main".parse().unwrap(),
        },
        wave: document(sequence, Some(2)),
        abort: document(sequence + 1, None),
    }
}

pub(crate) fn device(serial: &str) -> FleetDevice {
    FleetDevice {
        device: DeviceId {
            brand: "brand-one".parse().unwrap(),
            model: "gate".parse().unwrap(),
            serial: serial.parse().unwrap(),
        },
        store: STORE.parse().unwrap(),
        production: true,
        tag: Some("main".parse().unwrap()),
        group: None,
        since: at(0),
    }
}

pub(super) fn exposure(wave: &str, rollout: u32, part: &str, devices: &[u128]) -> Exposure {
    Exposure::new(
        STORE.parse().unwrap(),
        wave.parse().unwrap(),
        rollout,
        part.to_owned(),
        devices,
    )
}

pub(super) fn of<const N: usize>(records: [Change; N]) -> Commit {
    Commit {
        records: records.into(),
        ..Commit::default()
    }
}

pub(crate) async fn a_tag_has_one_open_wave(engine: &dyn Engine) {
    let storage = engine.open().await;
    let mut first = wave("june", "main", 1);
    done(&*storage, of([Change::create(&store()), Change::create(&first)])).await;
    let second = wave("july", "main", 3);
    let taken = CommitOutcome::Taken {
        kind: Kind::Wave,
        field: "open",
    };
    assert_eq!(
        storage.commit(of([Change::create(&second)])).await.unwrap(),
        taken
    );
    done(&*storage, of([Change::create(&wave("beta", "beta", 1))])).await;
    first.wave.act(Act::Cancel, at(5)).unwrap();
    done(
        &*storage,
        of([Change::replace(&first, 1), Change::create(&second)]),
    )
    .await;
    let open = storage
        .find_unique::<WaveRecord>("open", "one main")
        .await
        .unwrap();
    assert_eq!(open.unwrap().record, second);
    let storage = restart(engine, storage).await;
    let all = storage.all::<WaveRecord>([STORE]).await.unwrap();
    let all: Vec<WaveRecord> = all.into_iter().map(|found| found.record).collect();
    assert_eq!(all, [wave("beta", "beta", 1), second, first]);
}

pub(crate) async fn a_rollout_is_kept_whole_or_not_at_all(engine: &dyn Engine) {
    let storage = engine.open().await;
    let june = wave("june", "main", 1);
    let map = ProductionMap::new(STORE.parse().unwrap(), "main".parse().unwrap());
    done(
        &*storage,
        of([
            Change::create(&store()),
            Change::create(&june),
            Change::create(&map),
        ]),
    )
    .await;
    let rows = [
        exposure("june", 1, "000000", &[1, 2, u128::MAX]),
        exposure("june", 1, "000001", &[3]),
        exposure("june", 10, "000000", &[4]),
    ];
    // Somebody else changed the wave meanwhile: nothing of it is written.
    let conflict = of([
        Change::replace(&june, 7),
        Change::create(&rows[0]),
        Change::create(&rows[1]),
    ]);
    let outcome = storage.commit(conflict).await.unwrap();
    assert!(matches!(
        outcome,
        CommitOutcome::Conflict { kind: Kind::Wave, .. }
    ));
    assert!(storage.all::<Exposure>([STORE]).await.unwrap().is_empty());
    let together = of([
        Change::replace(&june, 1),
        Change::create(&rows[0]),
        Change::create(&rows[1]),
        Change::create(&rows[2]),
    ]);
    done(&*storage, together).await;
    let storage = restart(engine, storage).await;
    let read = storage.all::<Exposure>([STORE, "june"]).await.unwrap();
    let read: Vec<Exposure> = read.into_iter().map(|found| found.record).collect();
    assert_eq!(read, rows);
    let mut of_one = rows[0].key();
    of_one.0.pop();
    let devices = storage.all::<Exposure>(of_one).await.unwrap();
    let devices: Vec<u128> = devices
        .iter()
        .flat_map(|found| found.record.devices().unwrap())
        .collect();
    assert_eq!(devices, [1, 2, u128::MAX, 3]);
    // A device's own row is made once.
    let row = exposure("june", 0, "some-uuid", &[9]);
    done(&*storage, of([Change::create(&row)])).await;
    let outcome = storage.commit(of([Change::create(&row)])).await.unwrap();
    assert!(matches!(
        outcome,
        CommitOutcome::Conflict {
            kind: Kind::Exposure,
            ..
        }
    ));
}

pub(crate) async fn devices_are_read_page_by_page(engine: &dyn Engine) {
    let storage = engine.open().await;
    let group = Group {
        store: STORE.parse().unwrap(),
        name: "canary".parse().unwrap(),
        created: at(0),
        authorship: Default::default(),
    };
    done(&*storage, of([Change::create(&store()), Change::create(&group)])).await;
    let serials = ["a", "a b", "a-b", "b", "ä"];
    for serial in serials {
        done(&*storage, of([Change::create(&device(serial))])).await;
    }
    let mut other = device("a");
    other.device.model = "other".parse().unwrap();
    done(&*storage, of([Change::create(&other)])).await;
    for limit in 1..8 {
        for (prefix, expected) in [
            (Key::from(["brand-one", "gate"]), &serials[..]),
            (Key::from([]), &["a", "a b", "a-b", "b", "ä", "a"][..]),
        ] {
            let (mut read, mut after) = (Vec::new(), None);
            loop {
                let page = storage
                    .page::<FleetDevice>(prefix.clone(), after.as_ref(), limit)
                    .await
                    .unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.record.key());
                read.extend(page.iter().map(|found| found.record.device.serial.to_string()));
            }
            assert_eq!(read, expected, "{limit} at a time below {prefix:?}");
        }
    }
    let uuid = hallmark::domain::catalog::device_uuid(&other.device).to_string();
    let found = storage.find_unique::<FleetDevice>("uuid", &uuid).await.unwrap();
    assert_eq!(found.unwrap().record, other);
}
