//! Numbers of devices: parts of days, and that they go with the reports they come from.

use hallmark::domain::catalog::DeviceReport;
use hallmark::domain::numbers::{Before, Counted, Seen, SnapDay, Step};
use hallmark::domain::time::Day;
use hallmark::ports::{Change, Commit, CommitOutcome, Key, Kind, Record as _};

use super::samples::{at, device, done};
use super::{Engine, restart};

fn part(snap: &str, day: &str, part: &str) -> SnapDay {
    let day: Day = day.parse().unwrap();
    let mut made = SnapDay::new(snap.repeat(32).parse().unwrap(), day, part.to_owned());
    let seen = Seen {
        revision: 12,
        channel: Some("latest/stable".to_owned()),
        architecture: "amd64".parse().unwrap(),
        system: None,
    };
    let step = Step {
        snap_id: made.snap_id.clone(),
        day,
        now: seen.clone(),
        before: Before::Earlier { days: 3, seen },
    };
    made.apply(&step, Some("1.0 \"quoted\""));
    made
}

fn of(records: Vec<Change>) -> Commit {
    Commit {
        records,
        ..Commit::default()
    }
}

pub(crate) async fn parts_of_days_are_read_in_order_from_anywhere(engine: &dyn Engine) {
    let storage = engine.open().await;
    let parts = [
        part("a", "2026-02-28", "0f"),
        part("a", "2026-03-01", "0f"),
        part("a", "2026-03-01", SnapDay::WHOLE),
        part("a", "2026-03-02", "ff"),
        part("b", "2025-12-31", "0f"),
    ];
    done(&*storage, of(parts.iter().map(Change::create).collect())).await;
    let storage = restart(engine, storage).await;
    let read = async |prefix: Key, after: Option<Key>, limit: usize| -> Vec<SnapDay> {
        let found = storage
            .page::<SnapDay>(prefix, after.as_ref(), limit)
            .await
            .unwrap();
        found.into_iter().map(|found| found.record).collect()
    };
    let snap = "a".repeat(32);
    let of_snap = Key::from([snap.as_str()]);
    assert_eq!(read(of_snap.clone(), None, 9).await, parts[..4]);
    // From before all parts of a day, from behind all of a snap.
    let from = Key::from([snap.as_str(), "2026-03-01", ""]);
    assert_eq!(read(of_snap.clone(), Some(from), 2).await, parts[1..3]);
    let behind = Key::from([snap.as_str(), "~", "~"]);
    assert_eq!(read(of_snap.clone(), Some(behind.clone()), 9).await, []);
    assert_eq!(read(Key(Vec::new()), Some(behind), 1).await, parts[4..]);
    // Parts become one, in one step.
    let mut whole = parts[2].clone();
    whole.merge(parts[1].clone());
    done(
        &*storage,
        of(vec![Change::delete(&parts[1], 1), Change::replace(&whole, 1)]),
    )
    .await;
    assert_eq!(
        read(of_snap, None, 9).await,
        [parts[0].clone(), whole, parts[3].clone()]
    );
}

pub(crate) async fn numbers_are_written_with_the_report_or_not_at_all(engine: &dyn Engine) {
    let storage = engine.open().await;
    let day = part("a", "2026-03-01", "0f");
    let report = DeviceReport {
        device: device("SN 1"),
        store: None,
        architecture: "amd64".parse().unwrap(),
        client: None,
        snaps: Vec::new(),
        seen: at(0),
        heard: None,
        reverted: Vec::new(),
        wave: None,
        counted: Some(Counted {
            day: day.day,
            snaps: vec![0],
            gone: Vec::new(),
        }),
    };
    done(&*storage, of(vec![Change::create(&report), Change::create(&day)])).await;
    // Another process wrote of the device meanwhile, or of the numbers.
    let other = part("b", "2026-03-01", "0f");
    for (changes, kind) in [
        (
            vec![Change::replace(&report, 7), Change::create(&other)],
            Kind::Device,
        ),
        (
            vec![
                Change::replace(&report, 1),
                Change::create(&other),
                Change::create(&day),
            ],
            Kind::SnapDay,
        ),
    ] {
        let outcome = storage.commit(of(changes)).await.unwrap();
        assert!(
            matches!(outcome, CommitOutcome::Conflict { kind: found, .. } if found == kind),
            "{outcome:?}"
        );
    }
    let storage = restart(engine, storage).await;
    assert!(storage.find::<SnapDay>(other.key()).await.unwrap().is_none());
    let found = storage.find::<DeviceReport>(report.key()).await.unwrap().unwrap();
    assert_eq!((found.record, found.version), (report, 1));
}
