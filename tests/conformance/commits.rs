//! Commits as a whole, nonces, closing.

use hallmark::domain::access::Account;
use hallmark::domain::assertion::AssertionType;
use hallmark::domain::audit::Checkpoint;
use hallmark::domain::vault::SerialState;
use hallmark::ports::{AuditFilter, Change, Commit, CommitOutcome, Kind, PutRule, Record, StoreError};

use super::samples::{account, assertion, at, claim, device, done, event, everything, issue, row};
use super::{Engine, race, restart};

pub(crate) async fn a_commit_with_one_bad_part_writes_nothing(engine: &dyn Engine) {
    let storage = engine.open().await;
    let store = |revision| {
        (
            assertion(AssertionType::Store, &["store-1"], 0, revision),
            PutRule::Newer,
        )
    };
    done(
        &*storage,
        Commit {
            records: vec![Change::create(&account("ada"))],
            assertions: vec![store(3)],
            audit: vec![event("setup", "all")],
            ..Commit::default()
        },
    )
    .await;

    let mut carol = account("carol");
    carol.email = account("ada").email;
    let good = || vec![Change::create(&account("bob"))];
    let bad = [
        (good(), vec![store(3)], CommitOutcome::OldRevision { stored: 3 }),
        (
            vec![Change::create(&account("bob")), Change::create(&account("ada"))],
            vec![store(4)],
            CommitOutcome::Conflict {
                kind: Kind::Account,
                key: account("ada").key(),
            },
        ),
        (
            vec![Change::create(&account("bob")), Change::create(&carol)],
            vec![store(4)],
            CommitOutcome::Taken {
                kind: Kind::Account,
                field: "email",
            },
        ),
    ];
    for (records, assertions, expected) in bad {
        let outcome = storage
            .commit(Commit {
                records,
                assertions,
                audit: vec![event("no", "never")],
                ..Commit::default()
            })
            .await
            .unwrap();
        assert_eq!(outcome, expected);
        assert!(
            storage
                .find::<Account>(account("bob").key())
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            storage
                .find_unique::<Account>("username", "bob")
                .await
                .unwrap()
                .is_none()
        );
        let stored = storage
            .assertion(&store(0).0.reference, 9)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored.revision, 3);
        let entries = storage
            .audit_entries(&AuditFilter {
                limit: 10,
                ..AuditFilter::default()
            })
            .await
            .unwrap();
        assert_eq!(entries.len(), 1, "audit entries of a refused commit");
    }
}

pub(crate) async fn serials_of_a_commit_come_with_all_of_it_or_not_at_all(engine: &dyn Engine) {
    let mut storage = engine.open().await;
    let issued = |serial, revision| row(device(serial), revision, SerialState::Issued, 5);
    done(
        &*storage,
        Commit {
            records: vec![Change::create(&account("ada"))],
            serials: vec![issued("S1", 1), issued("S1", 2), issued("S2", 1)],
            audit: vec![event("log", "one")],
            ..Commit::default()
        },
    )
    .await;
    // A row that is there, one that comes twice, one that is not finished; and a record that stands against good rows.
    let reserved = row(device("S3"), 1, SerialState::Reserved, 6);
    for serials in [
        vec![issued("S3", 1), issued("S1", 2)],
        vec![issued("S3", 1), issued("S3", 1)],
        vec![issued("S4", 1), reserved],
    ] {
        let refused = storage
            .commit(Commit {
                records: vec![Change::create(&account("bob"))],
                serials,
                audit: vec![event("no", "never")],
                ..Commit::default()
            })
            .await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
    let refused = Commit {
        records: vec![Change::create(&account("bob")), Change::create(&account("ada"))],
        serials: vec![issued("S3", 1)],
        audit: vec![event("no", "never")],
        ..Commit::default()
    };
    let outcome = storage.commit(refused).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
    // Two at the same time, of which one has to lose all of its parts.
    let commit = |name: &str| Commit {
        records: vec![Change::create(&account(name))],
        serials: vec![issued("S5", 1)],
        ..Commit::default()
    };
    let (one, two) = tokio::join!(storage.commit(commit("carol")), storage.commit(commit("dora")));
    assert_eq!(
        u8::from(one.is_ok()) + u8::from(two.is_ok()),
        1,
        "{one:?} {two:?}"
    );
    let carol_won = one.is_ok();
    for _ in 0..2 {
        for (name, there) in [
            ("ada", true),
            ("bob", false),
            ("carol", carol_won),
            ("dora", !carol_won),
        ] {
            let found = storage.find::<Account>(account(name).key()).await.unwrap();
            assert_eq!(found.is_some(), there, "{name}");
        }
        let rows = storage.serials(&everything()).await.unwrap();
        let rows: Vec<_> = rows
            .iter()
            .rev()
            .map(|row| (row.device.serial.to_string(), row.revision))
            .collect();
        let expected = [("S1", 1), ("S1", 2), ("S2", 1), ("S5", 1)];
        assert_eq!(
            rows,
            expected.map(|(serial, revision)| (serial.to_owned(), revision))
        );
        let entries = storage
            .audit_entries(&AuditFilter {
                limit: 10,
                ..AuditFilter::default()
            })
            .await
            .unwrap();
        assert_eq!(entries.len(), 1);
        storage = restart(engine, storage).await;
    }
    // What is claimed next knows them.
    let place = issue(&*storage, claim("S1", 'a', 1)).await;
    assert_eq!(place.revision, 3);
}

pub(crate) async fn later_changes_of_a_commit_see_the_earlier_ones(engine: &dyn Engine) {
    let storage = engine.open().await;
    done(
        &*storage,
        Commit {
            records: vec![Change::create(&account("ada"))],
            ..Commit::default()
        },
    )
    .await;
    // A successor takes the unique values of who goes in the same step.
    let mut heir = account("heir");
    heir.email = account("ada").email;
    let records = vec![
        Change::delete(&account("ada"), 1),
        Change::create(&heir),
        Change::replace(&heir, 1),
    ];
    done(
        &*storage,
        Commit {
            records,
            ..Commit::default()
        },
    )
    .await;
    let found = storage
        .find_unique::<Account>("email", "ada@brand.example")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.record.username.as_str(), found.version), ("heir", 2));

    let store = |revision| {
        (
            assertion(AssertionType::Store, &["store-1"], 0, revision),
            PutRule::Newer,
        )
    };
    let outcome = storage
        .commit(Commit {
            assertions: vec![store(2), store(1)],
            ..Commit::default()
        })
        .await
        .unwrap();
    assert_eq!(outcome, CommitOutcome::OldRevision { stored: 2 });
    done(
        &*storage,
        Commit {
            assertions: vec![store(1), store(2)],
            ..Commit::default()
        },
    )
    .await;
    assert_eq!(
        storage
            .assertion(&store(0).0.reference, 0)
            .await
            .unwrap()
            .unwrap()
            .revision,
        2
    );
}

pub(crate) async fn a_nonce_is_spent_once(engine: &dyn Engine) {
    let storage = engine.open().await;
    let spent = race(16, |_| {
        let storage = storage.clone();
        async move { storage.spend([5; 16], at(300)).await.unwrap() }
    })
    .await;
    assert_eq!(spent.iter().filter(|first| **first).count(), 1);
    assert!(storage.spend([6; 16], at(300)).await.unwrap());
    // The nonce is what counts, not the time that comes with it.
    assert!(!storage.spend([6; 16], at(400)).await.unwrap());
    let storage = restart(engine, storage).await;
    assert!(!storage.spend([5; 16], at(300)).await.unwrap());
    assert!(!storage.spend([6; 16], at(300)).await.unwrap());
    assert!(storage.spend([7; 16], at(300)).await.unwrap());
}

pub(crate) async fn the_generation_grows_with_commits(engine: &dyn Engine) {
    let storage = engine.open().await;
    let Some(before) = storage.generation() else {
        return;
    };
    done(
        &*storage,
        Commit {
            records: vec![Change::create(&account("ada"))],
            ..Commit::default()
        },
    )
    .await;
    assert!(storage.generation().unwrap() > before);
}

pub(crate) async fn a_closed_storage_answers_unavailable(engine: &dyn Engine) {
    let storage = engine.open().await;
    storage.ping().await.unwrap();
    storage.close().await.unwrap();
    let unavailable = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Unavailable(_)));
    assert!(unavailable(storage.ping().await));
    assert!(unavailable(storage.commit(Commit::default()).await.map(drop)));
    assert!(unavailable(storage.claim(claim("SN1", 'a', 1)).await.map(drop)));
    assert!(unavailable(storage.spend([1; 16], at(0)).await.map(drop)));
    assert!(unavailable(
        storage.find::<Account>(account("ada").key()).await.map(drop)
    ));
    assert!(unavailable(storage.last_checkpoint().await.map(drop)));
    let checkpoint = Checkpoint {
        number: 1,
        time: at(0),
        heads: Vec::new(),
        public_key: String::new(),
        signature: String::new(),
    };
    assert!(unavailable(storage.put_checkpoint(checkpoint).await.map(drop)));
}
