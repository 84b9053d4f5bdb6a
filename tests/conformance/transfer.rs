//! Copies of everything: out of one engine, into another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use hallmark::adapters::memory::Memory;
use hallmark::domain::access::Account;
use hallmark::domain::assertion::{AssertionType, PrimaryKey};
use hallmark::domain::audit::Checkpoint;
use hallmark::domain::vault::claim::Approval;
use hallmark::domain::vault::{ClaimOutcome, Reissue, Standing};
use hallmark::ports::{AuditFilter, Change, Commit, PutRule, Record as _, Row, Rows, Storage, StoreError};

use super::samples::{
    account, assertion, at, brand, claim, claim_under, device, done, event, everything, issue, key, model,
    model_record, place, rules,
};
use super::{Engine, restart};

/// Rows of a copy, without what engines forget in their own time.
async fn rows(rows: Rows) -> Vec<Row> {
    let mut all = every(rows).await;
    all.retain(|row| !row.is_passing());
    all
}

async fn every(mut rows: Rows) -> Vec<Row> {
    let mut all = Vec::new();
    while let Some(piece) = rows.next().await {
        all.extend(piece.expect("a piece"));
    }
    all
}

/// Something of everything.
async fn fill(storage: &dyn Storage) {
    let mut renamed = account("bob");
    done(
        storage,
        Commit {
            records: vec![
                Change::create(&account("ada")),
                Change::create(&renamed),
                Change::create(&model_record("brand-one", "gate-1", &["hash-1", "hash-2"])),
                Change::create(&model_record("brand-one", "gate-2", &[])),
            ],
            assertions: vec![
                (
                    assertion(AssertionType::Store, &["store-1"], 0, 3),
                    PutRule::Newer,
                ),
                (
                    assertion(AssertionType::Store, &["store-1"], 1, 4),
                    PutRule::Newer,
                ),
                (set("2"), PutRule::Newer),
                (set("10"), PutRule::Newer),
            ],
            audit: vec![event("setup", "all")],
            ..Commit::default()
        },
    )
    .await;
    renamed.email = "robert@brand.example".parse().unwrap();
    done(
        storage,
        Commit {
            records: vec![Change::replace(&renamed, 1)],
            audit: vec![event("account.change", "bob")],
            ..Commit::default()
        },
    )
    .await;
    issue(storage, claim("SN1", 'a', 1)).await;
    let mut elsewhere = claim("SN0", 'b', 2);
    elsewhere.device.model = model("a-model");
    issue(storage, elsewhere).await;
    issue(storage, claim("SN1", 'a', 3)).await;
    let given_up = place(storage.claim(claim("SN2", 'c', 4)).await.unwrap());
    storage.void(&given_up).await.unwrap();
    place(storage.claim(claim("SN3", 'd', 5)).await.unwrap());
    for (letter, number) in [('y', 6), ('-', 7), ('_', 8), ('Z', 9), ('7', 10)] {
        issue(storage, claim("SN4", letter, number + 100)).await;
        let asking = claim_under(&rules(Reissue::Approve), "SN4", letter, number);
        let outcome = storage.claim(asking).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::AwaitingApproval);
    }
    let event = || event("serial.judge", "some");
    storage
        .decide(&device("SN4"), &key('Z'), Approval::Rejected, event())
        .await
        .unwrap();
    storage
        .set_standing(
            &brand(),
            &model("gate-1"),
            &["SN8".parse().unwrap(), "SN9".parse().unwrap()],
            Some(Standing::Denied),
            at(5),
            event(),
        )
        .await
        .unwrap();
    let first = Checkpoint {
        number: 1,
        time: at(9),
        heads: storage.heads().await.unwrap(),
        public_key: "p".to_owned(),
        signature: "s".to_owned(),
    };
    assert!(storage.put_checkpoint(first).await.unwrap());
    assert!(storage.spend([9; 16], at(600)).await.unwrap());
}

fn set(sequence: &str) -> hallmark::ports::StoredAssertion {
    assertion(
        AssertionType::ValidationSet,
        &["16", "brand-one", "base", sequence],
        0,
        1,
    )
}

/// Puts everything of one storage into another, in small pieces.
async fn copy(from: &dyn Storage, to: &dyn Storage) {
    for piece in every(from.export().await.unwrap()).await.chunks(3) {
        to.import(piece.to_vec()).await.expect("import");
    }
}

pub(crate) async fn what_comes_out_goes_in_elsewhere(engine: &dyn Engine) {
    let elsewhere: Arc<dyn Storage> = Arc::new(Memory::new());
    fill(&*elsewhere).await;
    let expected = rows(elsewhere.export().await.unwrap()).await;
    assert_eq!(
        expected
            .iter()
            .filter(|row| matches!(row, Row::Serial(_)))
            .count(),
        10
    );

    let storage = engine.open().await;
    copy(&*elsewhere, &*storage).await;
    assert_eq!(rows(storage.export().await.unwrap()).await, expected);
    let storage = restart(engine, storage).await;
    assert_eq!(rows(storage.export().await.unwrap()).await, expected);
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());

    // And everything works on it.
    let bob = storage
        .find_unique::<Account>("email", "robert@brand.example")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((bob.version, bob.record.username.as_str()), (2, "bob"));
    let old = storage.find_unique::<Account>("email", "bob@brand.example").await;
    assert!(old.unwrap().is_none());
    let newest = storage
        .sequence_member(
            AssertionType::ValidationSet,
            &PrimaryKey(vec!["16".to_owned(), "brand-one".to_owned(), "base".to_owned()]),
            None,
            1,
        )
        .await
        .unwrap();
    assert_eq!(newest, Some(set("10")));
    assert_eq!(issue(&*storage, claim("SN1", 'a', 50)).await.revision, 3);
    assert_eq!(
        issue(&*storage, claim("SN3", 'd', 51)).await.revision,
        2,
        "after the place given up"
    );
    let stale = storage.claim(claim("SN7", 'a', 1)).await.unwrap();
    assert_eq!(
        stale,
        ClaimOutcome::StaleRequest,
        "its request-id was spent before"
    );
    assert!(!storage.spend([9; 16], at(600)).await.unwrap());
    let denied = storage.claim(claim("SN9", 'a', 52)).await.unwrap();
    assert_eq!(denied, ClaimOutcome::Denied);
    let asking = claim_under(&rules(Reissue::Approve), "SN4", 'Z', 53);
    assert_eq!(
        storage.claim(asking).await.unwrap(),
        ClaimOutcome::Denied,
        "rejected before"
    );
    let newest_first: Vec<u64> = storage
        .serials(&everything())
        .await
        .unwrap()
        .iter()
        .map(|row| row.position)
        .collect();
    assert!(newest_first.is_sorted_by(|a, b| a > b));
    let numbers = storage.stats(&brand(), None).await.unwrap();
    assert_eq!((numbers.issued, numbers.void, numbers.serials), (10, 2, 4));
    // The chain from elsewhere is whole, and this process writes one of its own.
    for head in storage.heads().await.unwrap() {
        let entries = storage.chain(&head.writer, 1, 1000).await.unwrap();
        assert_eq!(entries.len() as u64, head.sequence);
        assert_eq!(entries.last().map(|entry| &entry.hash), Some(&head.hash));
    }
    let log = AuditFilter {
        limit: 1000,
        ..AuditFilter::default()
    };
    let log = storage.audit_entries(&log).await.unwrap();
    let events: Vec<&str> = log.iter().map(|(_, entry)| entry.event.as_str()).collect();
    assert!(events[0].contains("setup") && events.last().unwrap().contains("serial.sign"));
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn what_an_engine_holds_goes_elsewhere(engine: &dyn Engine) {
    let storage = engine.open().await;
    fill(&*storage).await;
    let storage = restart(engine, storage).await;
    done(
        &*storage,
        Commit {
            audit: vec![event("second", "chain")],
            ..Commit::default()
        },
    )
    .await;
    let elsewhere: Arc<dyn Storage> = Arc::new(Memory::new());
    copy(&*storage, &*elsewhere).await;
    assert_eq!(
        rows(elsewhere.export().await.unwrap()).await,
        rows(storage.export().await.unwrap()).await
    );
    assert_eq!(elsewhere.heads().await.unwrap(), storage.heads().await.unwrap());
    // As text, too.
    for row in every(storage.export().await.unwrap()).await {
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row, "{text}");
    }
}

pub(crate) async fn nothing_is_copied_over_what_is_there(engine: &dyn Engine) {
    let elsewhere: Arc<dyn Storage> = Arc::new(Memory::new());
    fill(&*elsewhere).await;
    let all = every(elsewhere.export().await.unwrap()).await;
    let storage = engine.open().await;
    storage.import(all.clone()).await.unwrap();
    let before = rows(storage.export().await.unwrap()).await;
    let newcomer = Row::Record(match &all[0] {
        Row::Record(row) => {
            let mut row = row.clone();
            row.key.0[0] = "x".repeat(32);
            row.unique = vec![("email".to_owned(), "new@brand.example".to_owned())];
            row
        }
        other => panic!("no record: {other:?}"),
    });
    for row in all.iter().filter(|row| !row.is_passing()) {
        let refused = storage.import(vec![newcomer.clone(), row.clone()]).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_))),
            "{row:?}: {refused:?}"
        );
    }
    assert_eq!(rows(storage.export().await.unwrap()).await, before);
    // A unique value of somebody else's.
    let Row::Record(mut taker) = newcomer.clone() else {
        unreachable!()
    };
    taker.unique = vec![("email".to_owned(), "ada@brand.example".to_owned())];
    let refused = storage.import(vec![Row::Record(taker)]).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    storage.import(vec![newcomer]).await.unwrap();
    // What was only spent may come again.
    let spent: Vec<Row> = all.into_iter().filter(Row::is_passing).collect();
    assert!(!spent.is_empty());
    storage.import(spent).await.unwrap();
}

/// A copy begun before others write is not touched by what they write, wherever it stands by then.
pub(crate) async fn a_copy_is_of_one_moment(engine: &dyn Engine) {
    let storage = engine.open().await;
    let accounts = |range: std::ops::Range<usize>| range.map(|number| account(&format!("user{number:05}")));
    for start in (0..3000).step_by(500) {
        done(
            &*storage,
            Commit {
                records: accounts(start..start + 500)
                    .map(|account| Change::create(&account))
                    .collect(),
                ..Commit::default()
            },
        )
        .await;
    }
    for number in 0..40 {
        issue(&*storage, claim(&format!("SN{number}"), 'a', number)).await;
    }
    let expected = rows(storage.export().await.unwrap()).await;
    assert_eq!(expected.len(), 3000 + 40 + 40);

    for pause_after in [0, 1, 3] {
        let mut copying = storage.export().await.unwrap();
        let mut copied = Vec::new();
        for _ in 0..pause_after {
            copied.extend(copying.next().await.unwrap().unwrap());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn(change_everything(storage.clone(), pause_after, Arc::clone(&stop)));
        while let Some(piece) = copying.next().await {
            copied.extend(piece.unwrap());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        copied.retain(|row| !row.is_passing());
        stop.store(true, Ordering::Release);
        let written = writing.await.unwrap();
        assert!(written > 0, "nothing was written meanwhile");
        if pause_after == 0 {
            assert_eq!(copied.len(), expected.len());
            assert_eq!(copied, expected);
        }
        // Of later moments the count is known: every change replaces, every serial adds one row and one entry.
        let quiet = rows(storage.export().await.unwrap()).await;
        assert!(copied.len() <= quiet.len());
        let whole = |rows: &[Row]| rows.iter().filter(|row| matches!(row, Row::Record(_))).count();
        assert_eq!((whole(&copied), whole(&quiet)), (3000, 3000));
        let serials = |rows: &[Row]| rows.iter().filter(|row| matches!(row, Row::Serial(_))).count();
        let entries = |rows: &[Row]| rows.iter().filter(|row| matches!(row, Row::Audit(_))).count();
        assert_eq!(
            serials(&copied),
            entries(&copied),
            "a serial without its entry, or the other way round"
        );
    }
}

/// Renames accounts up and down the list, replaces some by others, and issues serials, until told to stop.
async fn change_everything(storage: Arc<dyn Storage>, round: usize, stop: Arc<AtomicBool>) -> usize {
    let mut written = 0;
    while !stop.load(Ordering::Acquire) && written < 600 {
        for place in [written, 2999 - written] {
            let name = format!("user{place:05}");
            let stored = storage.find::<Account>(account(&name).key()).await.unwrap();
            let Some(stored) = stored else { continue };
            let mut changed = stored.record.clone();
            changed.display_name = format!("round {round}, {written}");
            // Deleted and made anew under another key: the number of accounts stays.
            let mut other = account(&format!("late{round}x{place:05}"));
            other.display_name.push('x');
            let records = if place % 3 == 0 {
                vec![
                    Change::delete(&stored.record, stored.version),
                    Change::create(&other),
                ]
            } else {
                vec![Change::replace(&changed, stored.version)]
            };
            done(
                &*storage,
                Commit {
                    records,
                    ..Commit::default()
                },
            )
            .await;
        }
        let number = 1000 * (round as u64 + 1) + written as u64;
        issue(&*storage, claim(&format!("SN{}", number % 50), 'a', number)).await;
        written += 1;
    }
    written
}
