//! The serial ledger's rows: issuing, voiding, listing, loading.

use hallmark::domain::ident::DeviceId;
use hallmark::domain::vault::{ClaimOutcome, Reservation, SerialRow, SerialState};
use hallmark::ports::{LedgerStats, SerialFilter, Storage, StoreError};

use super::samples::{at, brand, claim, device, event, everything, issue, key, model, place, row, signed};
use super::{Engine, race, restart};

fn refused(result: Result<(), StoreError>) -> bool {
    result.is_err_and(|error| matches!(error, StoreError::Refused(_)))
}

pub(crate) async fn an_issued_serial_is_recorded(engine: &dyn Engine) {
    let storage = engine.open().await;
    assert_eq!(storage.latest(&device("SN1")).await.unwrap(), None);
    assert!(storage.history(&device("SN1")).await.unwrap().is_empty());
    let reservation = issue(&*storage, claim("SN1", 'a', 1)).await;
    let expected = Reservation {
        device: device("SN1"),
        device_key: key('a'),
        revision: 1,
        reserved_at: at(0),
    };
    assert_eq!(reservation, expected);
    let serial = signed(&reservation);
    let latest = storage.latest(&device("SN1")).await.unwrap().unwrap();
    let expected = SerialRow {
        position: latest.position,
        device: device("SN1"),
        revision: 1,
        device_key: key('a'),
        sign_key: Some(serial.sign_key),
        created_at: serial.created_at,
        state: SerialState::Issued,
        assertion: serial.assertion,
    };
    assert_eq!(latest, expected);
    assert_eq!(
        storage.history(&device("SN1")).await.unwrap(),
        std::slice::from_ref(&expected)
    );
    assert_eq!(storage.serials(&everything()).await.unwrap(), [expected]);
    let mut elsewhere = device("SN1");
    elsewhere.model = model("gate");
    assert_eq!(storage.latest(&elsewhere).await.unwrap(), None);
    assert_eq!(storage.latest(&device("SN")).await.unwrap(), None);
    assert_eq!(storage.latest(&device("SN11")).await.unwrap(), None);
}

pub(crate) async fn a_reservation_is_completed_once(engine: &dyn Engine) {
    let storage = engine.open().await;
    let reservation = place(storage.claim(claim("SN1", 'a', 1)).await.unwrap());
    let results = race(8, |_| {
        let (storage, reservation) = (storage.clone(), reservation.clone());
        async move {
            let event = event("serial.sign", "SN1");
            storage.issue(&reservation, signed(&reservation), event).await
        }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(
        results
            .into_iter()
            .filter(|result| matches!(result, Err(StoreError::Refused(_))))
            .count(),
        7
    );
    assert!(refused(storage.void(&reservation).await));
    let entries = storage
        .audit_entries(&hallmark::ports::AuditFilter {
            limit: 10,
            ..Default::default()
        })
        .await;
    assert_eq!(
        entries.unwrap().len(),
        1,
        "refused completions write no audit entry"
    );

    let unknown = Reservation {
        revision: 2,
        ..reservation.clone()
    };
    let other_key = Reservation {
        device_key: key('b'),
        ..reservation
    };
    for wrong in [unknown, other_key] {
        assert!(refused(
            storage
                .issue(&wrong, signed(&wrong), event("serial.sign", "SN1"))
                .await
        ));
        assert!(refused(storage.void(&wrong).await));
    }
}

pub(crate) async fn a_void_place_stays_as_a_hole(engine: &dyn Engine) {
    let storage = engine.open().await;
    issue(&*storage, claim("SN1", 'a', 1)).await;
    let reservation = place(storage.claim(claim("SN1", 'a', 2)).await.unwrap());
    storage.void(&reservation).await.unwrap();
    storage.void(&reservation).await.unwrap();
    assert!(refused(
        storage
            .issue(&reservation, signed(&reservation), event("serial.sign", "x"))
            .await
    ));
    assert_eq!(storage.latest(&device("SN1")).await.unwrap().unwrap().revision, 1);
    assert_eq!(
        storage.claim(claim("SN1", 'a', 2)).await.unwrap(),
        ClaimOutcome::StaleRequest
    );
    assert_eq!(issue(&*storage, claim("SN1", 'a', 3)).await.revision, 3);
    let storage = restart(engine, storage).await;
    let history = storage.history(&device("SN1")).await.unwrap();
    let states: Vec<_> = history.iter().map(|row| (row.revision, row.state)).collect();
    assert_eq!(
        states,
        [
            (3, SerialState::Issued),
            (2, SerialState::Void),
            (1, SerialState::Issued)
        ]
    );
    assert!(history[1].assertion.is_empty() && history[1].sign_key.is_none());
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn open_reservations_are_there_after_a_crash_or_never_were(engine: &dyn Engine) {
    let storage = engine.open().await;
    for number in [1, 2, 4] {
        place(storage.claim(claim("SN1", 'a', number)).await.unwrap());
    }
    let four = place(storage.claim(claim("SN1", 'b', 5)).await.unwrap());
    storage
        .issue(&four, signed(&four), event("serial.sign", "SN1"))
        .await
        .unwrap();
    place(storage.claim(claim("SN1", 'c', 6)).await.unwrap());
    drop(storage);

    // The completed one has revision 4, so what came before it must be there; the last one may be forgotten.
    let storage = engine.open().await;
    let mut open = abandoned(&*storage, 2).await;
    assert_eq!(open.len(), 2, "no more than asked for");
    open.extend(storage.void_abandoned(100).await.unwrap());
    assert!(open.len() == 3 || open.len() == 4, "{open:?}");
    for (reservation, revision) in open.iter().zip([1, 2, 3, 5]) {
        assert_eq!(
            (reservation.revision, &reservation.device),
            (revision, &device("SN1")),
            "oldest first"
        );
        assert!(refused(
            storage
                .issue(reservation, signed(reservation), event("serial.sign", "x"))
                .await
        ));
    }
    assert!(storage.void_abandoned(100).await.unwrap().is_empty());
    let next = issue(&*storage, claim("SN1", 'a', 7)).await.revision;
    assert_eq!(next, 5 + u64::from(open.len() == 4));
    let history = storage.history(&device("SN1")).await.unwrap();
    let revisions: Vec<_> = history.iter().map(|row| row.revision).collect();
    assert_eq!(revisions, (1..=next).rev().collect::<Vec<_>>(), "dense");
    assert!(storage.check().await.unwrap().is_empty());
}

/// What is voided once the engine has noticed that a process is gone; a server far away takes a moment.
async fn abandoned(storage: &dyn Storage, limit: usize) -> Vec<Reservation> {
    for _ in 0..400 {
        let voided = storage.void_abandoned(limit).await.unwrap();
        if !voided.is_empty() {
            return voided;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    Vec::new()
}

pub(crate) async fn a_reservation_belongs_to_the_process_that_made_it(engine: &dyn Engine) {
    let storage = engine.open().await;
    let mine = place(storage.claim(claim("SN1", 'a', 1)).await.unwrap());
    assert!(storage.void_abandoned(100).await.unwrap().is_empty());
    if engine.shared() {
        let other = engine.open().await;
        let theirs = place(other.claim(claim("SN1", 'a', 2)).await.unwrap());
        let lost = place(other.claim(claim("SN2", 'b', 3)).await.unwrap());
        for process in [&storage, &other] {
            assert!(process.void_abandoned(100).await.unwrap().is_empty());
        }
        other
            .issue(&theirs, signed(&theirs), event("serial.sign", "SN1"))
            .await
            .unwrap();
        drop(other);
        assert_eq!(abandoned(&*storage, 100).await, [lost]);
        assert_eq!(issue(&*storage, claim("SN2", 'c', 4)).await.revision, 2);
    }
    storage
        .issue(&mine, signed(&mine), event("serial.sign", "SN1"))
        .await
        .unwrap();
    let left = place(storage.claim(claim("SN3", 'a', 5)).await.unwrap());
    let storage = restart(engine, storage).await;
    assert_eq!(
        abandoned(&*storage, 100).await,
        [left],
        "also of one that ended well"
    );
    let history = storage.history(&device("SN1")).await.unwrap();
    assert!(history.iter().all(|row| row.state == SerialState::Issued));
    assert!(storage.check().await.unwrap().is_empty());
}

/// `(model, serial, device key, seconds)` of each row, oldest first.
const ROWS: &[(&str, &str, char, i64)] = &[
    ("gate-1", "A1", 'a', 0),
    ("gate-2", "A2", 'b', 10),
    ("gate-1", "B1", 'c', 20),
    ("gate-3", "A_%", 'a', 30),
    ("gate-1", "A1", 'd', 40),
    ("gate-2", "AX", 'a', 50),
];

async fn fill(storage: &dyn Storage) {
    for (number, (model_name, serial, letter, seconds)) in (1..).zip(ROWS) {
        let mut claim = claim(serial, *letter, number);
        claim.device.model = model(model_name);
        claim.now = at(*seconds);
        issue(storage, claim).await;
    }
    let mut foreign = claim("A1", 'a', 99);
    foreign.device.brand = "brand-two".parse().unwrap();
    issue(storage, foreign).await;
}

pub(crate) async fn rows_are_filtered_counted_and_paged(engine: &dyn Engine) {
    let storage = engine.open().await;
    fill(&*storage).await;
    let storage = restart(engine, storage).await;
    let prefix = |text: &str| Some(text.to_owned());
    let cases: Vec<(SerialFilter, Vec<i64>)> = vec![
        (everything(), vec![50, 40, 30, 20, 10, 0]),
        (
            SerialFilter {
                models: vec![model("gate-1")],
                ..everything()
            },
            vec![40, 20, 0],
        ),
        (
            SerialFilter {
                models: vec![model("gate-2"), model("gate-1")],
                ..everything()
            },
            vec![50, 40, 20, 10, 0],
        ),
        (
            SerialFilter {
                models: vec![model("gate")],
                ..everything()
            },
            vec![],
        ),
        (
            SerialFilter {
                serial_prefix: prefix("A"),
                ..everything()
            },
            vec![50, 40, 30, 10, 0],
        ),
        (
            SerialFilter {
                serial_prefix: prefix("A_"),
                ..everything()
            },
            vec![30],
        ),
        (
            SerialFilter {
                serial_prefix: prefix("%"),
                ..everything()
            },
            vec![],
        ),
        (
            SerialFilter {
                serial_prefix: prefix(""),
                ..everything()
            },
            vec![50, 40, 30, 20, 10, 0],
        ),
        (
            SerialFilter {
                device_key: Some(key('a')),
                ..everything()
            },
            vec![50, 30, 0],
        ),
        (
            SerialFilter {
                since: Some(at(10)),
                until: Some(at(40)),
                ..everything()
            },
            vec![30, 20, 10],
        ),
        (
            SerialFilter {
                models: vec![model("gate-1"), model("gate-3")],
                serial_prefix: prefix("A"),
                device_key: Some(key('a')),
                until: Some(at(30)),
                ..everything()
            },
            vec![0],
        ),
    ];
    for (filter, expected) in cases {
        let seconds = |rows: &[SerialRow]| -> Vec<i64> {
            rows.iter()
                .map(|row| row.created_at.unix() - at(0).unix())
                .collect()
        };
        let all = storage.serials(&filter).await.unwrap();
        assert_eq!(seconds(&all), expected, "{filter:?}");
        assert!(all.is_sorted_by(|a, b| a.position > b.position));
        assert!(
            all.iter()
                .all(|row| !row.assertion.is_empty() && row.device.brand == brand())
        );
        let count = storage
            .count_serials(&SerialFilter {
                before: Some(2),
                limit: 1,
                ..filter.clone()
            })
            .await
            .unwrap();
        assert_eq!(usize::try_from(count).unwrap(), expected.len(), "{filter:?}");
        // Two rows at a time give the same rows.
        let mut paged = Vec::new();
        let mut before = None;
        loop {
            let page = storage
                .serials(&SerialFilter {
                    before,
                    limit: 2,
                    ..filter.clone()
                })
                .await
                .unwrap();
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            before = Some(last.position);
            paged.extend(page);
        }
        assert_eq!(paged, all, "{filter:?}");
    }
    assert!(
        storage
            .serials(&SerialFilter {
                limit: 0,
                ..everything()
            })
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn numbers_follow_the_rows(engine: &dyn Engine) {
    let storage = engine.open().await;
    fill(&*storage).await;
    let reservation = place(storage.claim(claim("A9", 'a', 7)).await.unwrap());
    storage.void(&reservation).await.unwrap();
    let storage = restart(engine, storage).await;
    let numbers = |issued, void, serials| LedgerStats {
        issued,
        void,
        serials,
    };
    assert_eq!(storage.stats(&brand(), None).await.unwrap(), numbers(6, 1, 5));
    assert_eq!(
        storage.stats(&brand(), Some(&model("gate-1"))).await.unwrap(),
        numbers(3, 1, 2)
    );
    assert_eq!(
        storage.stats(&brand(), Some(&model("gate-2"))).await.unwrap(),
        numbers(2, 0, 2)
    );
    assert_eq!(
        storage.stats(&brand(), Some(&model("gate"))).await.unwrap(),
        numbers(0, 0, 0)
    );
    assert_eq!(
        storage.stats(&"brand-two".parse().unwrap(), None).await.unwrap(),
        numbers(1, 0, 1)
    );
    assert_eq!(
        storage.stats(&"brand".parse().unwrap(), None).await.unwrap(),
        numbers(0, 0, 0)
    );
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn loaded_rows_get_new_positions(engine: &dyn Engine) {
    let storage = engine.open().await;
    issue(&*storage, claim("SN1", 'a', 1)).await;
    let rows = vec![
        row(device("SN1"), 2, SerialState::Issued, 100),
        row(device("SN2"), 5, SerialState::Void, 50),
        row(device("SN2"), 6, SerialState::Issued, 60),
        row(device("SN3"), 1, SerialState::Issued, 70),
    ];
    storage.load(rows.clone()).await.unwrap();
    drop(storage);
    let storage = engine.open().await;
    let mut listed = storage.serials(&everything()).await.unwrap();
    assert!(listed.is_sorted_by(|a, b| a.position > b.position));
    listed.reverse();
    listed.iter_mut().for_each(|row| row.position = 0);
    assert_eq!(listed[1..], rows);
    assert_eq!(
        storage.stats(&brand(), Some(&model("gate-1"))).await.unwrap(),
        LedgerStats {
            issued: 4,
            void: 1,
            serials: 3
        }
    );
    assert_eq!(issue(&*storage, claim("SN1", 'a', 2)).await.revision, 3);
    assert_eq!(issue(&*storage, claim("SN2", 'a', 3)).await.revision, 7);
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn a_row_is_not_loaded_twice(engine: &dyn Engine) {
    let storage = engine.open().await;
    let issued = |serial: &str, revision| row(device(serial), revision, SerialState::Issued, 1);
    storage.load(vec![issued("SN1", 1)]).await.unwrap();
    assert!(refused(
        storage.load(vec![issued("SN2", 1), issued("SN1", 1)]).await
    ));
    assert!(refused(
        storage.load(vec![issued("SN2", 1), issued("SN2", 1)]).await
    ));
    assert!(refused(
        storage
            .load(vec![
                issued("SN2", 1),
                row(device("SN3"), 1, SerialState::Reserved, 1)
            ])
            .await
    ));
    assert_eq!(storage.latest(&device("SN2")).await.unwrap(), None);
    assert_eq!(storage.count_serials(&everything()).await.unwrap(), 1);
    storage
        .load(vec![issued("SN2", 1), issued("SN1", 2)])
        .await
        .unwrap();
    assert_eq!(storage.count_serials(&everything()).await.unwrap(), 3);
}

pub(crate) async fn an_issued_row_takes_the_place_of_a_void_one(engine: &dyn Engine) {
    let storage = engine.open().await;
    let reservation = place(storage.claim(claim("SN1", 'a', 1)).await.unwrap());
    storage.void(&reservation).await.unwrap();
    let of = |revision, state| row(device("SN1"), revision, state, 100);
    // Nothing else does, nor does it where the rest is refused.
    assert!(refused(storage.load(vec![of(1, SerialState::Void)]).await));
    storage
        .load(vec![row(device("SN2"), 1, SerialState::Issued, 90)])
        .await
        .unwrap();
    let both = vec![
        of(1, SerialState::Issued),
        row(device("SN2"), 1, SerialState::Issued, 90),
    ];
    assert!(refused(storage.load(both).await));
    assert_eq!(storage.latest(&device("SN1")).await.unwrap(), None);

    storage.load(vec![of(1, SerialState::Issued)]).await.unwrap();
    // Whoever still had the reservation can do nothing with it.
    assert!(refused(storage.void(&reservation).await));
    drop(storage);
    let storage = engine.open().await;
    let mut history = storage.history(&device("SN1")).await.unwrap();
    history.iter_mut().for_each(|row| row.position = 0);
    assert_eq!(history, [of(1, SerialState::Issued)]);
    assert_eq!(storage.count_serials(&everything()).await.unwrap(), 2);
    assert_eq!(
        storage.stats(&brand(), None).await.unwrap(),
        LedgerStats {
            issued: 2,
            void: 0,
            serials: 2
        }
    );
    assert_eq!(issue(&*storage, claim("SN1", 'a', 2)).await.revision, 2);
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn issued_serials_survive_a_crash(engine: &dyn Engine) {
    let storage = engine.open().await;
    let issued = race(8, |worker| {
        let storage = storage.clone();
        async move {
            let mut reservations = Vec::new();
            for turn in 0..5 {
                let number = (worker * 5 + turn) as u64;
                reservations.push(issue(&*storage, claim(&format!("SN{}", number % 7), 'a', number)).await);
            }
            reservations
        }
    })
    .await;
    drop(storage);
    let storage = engine.open().await;
    for reservation in issued.iter().flatten() {
        let history = storage.history(&reservation.device).await.unwrap();
        let row = history
            .iter()
            .find(|row| row.revision == reservation.revision)
            .unwrap();
        assert_eq!(
            (row.state, &row.assertion),
            (SerialState::Issued, &signed(reservation).assertion)
        );
    }
    assert_eq!(storage.count_serials(&everything()).await.unwrap(), 40);
    let devices: Vec<DeviceId> = (0..7).map(|number| device(&format!("SN{number}"))).collect();
    for device in devices {
        let history = storage.history(&device).await.unwrap();
        let dense = u64::try_from(history.len()).unwrap();
        assert_eq!(
            history.iter().map(|row| row.revision).collect::<Vec<_>>(),
            (1..=dense).rev().collect::<Vec<_>>()
        );
    }
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn spent_request_ids_survive_a_restart(engine: &dyn Engine) {
    let storage = engine.open().await;
    for number in 0..20 {
        issue(&*storage, claim("SN1", 'a', number)).await;
    }
    drop(storage);
    let storage = engine.open().await;
    for number in 0..20 {
        assert_eq!(
            storage.claim(claim("SN1", 'a', number)).await.unwrap(),
            ClaimOutcome::StaleRequest
        );
    }
}
