//! PostgreSQL through the conformance suite. `HALLMARK_TEST_POSTGRES` names a server (`postgres://…`) whose user may
//! create databases; without it these cases do not run and say so. `.ci/run` starts a server and sets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hallmark::adapters::postgres::Postgres;
use hallmark::app::audit::{self, Checkpoints};
use hallmark::app::members::{self, Confirmed};
use hallmark::app::{InstanceCtx, StoreCtx};
use hallmark::domain::access::Role;
use hallmark::domain::vault::{Reservation, SerialState};
use hallmark::ports::{Change, Commit, CommitOutcome, Storage, StoreError};

use crate::conformance::{Engine, samples};
use crate::office::{BRAND, Office};

/// A database of its own on the test server; dropped at the end.
struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    async fn fresh() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var("HALLMARK_TEST_POSTGRES") else {
            eprintln!(
                "NOT RUN: set HALLMARK_TEST_POSTGRES=postgres://… to run the PostgreSQL conformance cases"
            );
            return None;
        };
        let name = format!(
            "hallmark_{}_{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        statement(&server, &format!("CREATE DATABASE {name}")).await;
        let mut url = url::Url::parse(&server).expect("HALLMARK_TEST_POSTGRES is a URL");
        url.set_path(&name);
        Some(Self {
            server,
            url: url.to_string(),
            name,
        })
    }
}

async fn statement(server: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls)
        .await
        .expect("the test server");
    let running = tokio::spawn(connection);
    client.batch_execute(sql).await.expect(sql);
    drop(client);
    running.await.expect("the connection").expect("the connection");
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, sql) = (
            self.server.clone(),
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
        );
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(statement(&server, &sql));
        });
        if dropping.join().is_err() {
            eprintln!("the database {} is left behind", self.name);
        }
    }
}

#[async_trait::async_trait]
impl Engine for Database {
    async fn open(&self) -> Arc<dyn Storage> {
        Arc::new(Postgres::open(&self.url).await.expect("open the database"))
    }

    fn shared(&self) -> bool {
        true
    }
}

crate::conformance_tests!(match Database::fresh().await {
    Some(database) => database,
    None => return,
});

/// Whoever can write to the database cannot change the audit log unnoticed.
#[tokio::test]
async fn tampering_with_the_audit_tables_is_found() {
    let damages = [
        (
            "UPDATE audit_entry SET event = replace(event, 'view', 'admin') WHERE sequence = 3",
            "entry-changed",
        ),
        ("DELETE FROM audit_entry WHERE sequence = 3", "entry-missing"),
        ("DELETE FROM audit_entry WHERE sequence >= 5", "chain-truncated"),
        ("DELETE FROM audit_entry", "chain-truncated"),
        (
            "UPDATE audit_entry a SET event = b.event, time = b.time FROM audit_entry b \
             WHERE (a.sequence, b.sequence) IN ((3, 4), (4, 3))",
            "entry-changed",
        ),
        (
            "UPDATE audit_entry SET writer = 'somebody' WHERE sequence = 6",
            "chain-truncated",
        ),
        (
            "DELETE FROM audit_checkpoint WHERE number = 1",
            "checkpoint-missing",
        ),
        (
            "UPDATE audit_checkpoint SET doc = replace(doc::text, '\"number\":1', '\"number\":1, \"x\":1')::json \
             WHERE number = 2",
            "",
        ),
        (
            "UPDATE audit_checkpoint SET doc = replace(doc::text, '2026-', '2025-')::json WHERE number = 2",
            "checkpoint-signature",
        ),
    ];
    for (damage, code) in damages {
        let Some(database) = Database::fresh().await else {
            return;
        };
        let office = Office::on(database.open().await).await;
        let mut checkpoints = Checkpoints::default();
        for round in 0..2 {
            for turn in 0..3 {
                let ctx = StoreCtx::local(&office.app, &BRAND.parse().unwrap())
                    .await
                    .unwrap();
                let roles = [if turn % 2 == round % 2 {
                    Role::View
                } else {
                    Role::Review
                }]
                .into();
                let email = "nobody@acme.example".parse().unwrap();
                members::set(&office.app, &ctx, &email, &roles, Confirmed::default())
                    .await
                    .unwrap();
            }
            checkpoints.make(&office.app).await.unwrap().unwrap();
        }
        let verify = async || {
            audit::verify(&office.app, &InstanceCtx::local(), None)
                .await
                .unwrap()
        };
        let before = verify().await;
        assert_eq!(
            (before.problems.len(), before.entries, before.checkpoints),
            (0, 6, 2)
        );
        statement(&database.url, damage).await;
        let codes: Vec<&str> = verify()
            .await
            .problems
            .iter()
            .map(|problem| problem.code)
            .collect();
        assert!(
            if code.is_empty() {
                codes.is_empty()
            } else {
                codes.contains(&code)
            },
            "{damage}: {codes:?}"
        );
    }
}

/// Ends all connections to the database, as a restart of the server or a broken network does.
async fn disconnect(database: &Database) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'",
        database.name
    );
    statement(&database.server, &sql).await;
}

/// The outcome of a write to a database that may just have lost its connections; they come back by themselves.
async fn once_connected<T>(mut write: impl AsyncFnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for _ in 0..100 {
        match write().await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            outcome => return outcome,
        }
    }
    panic!("the connection does not come back");
}

#[tokio::test]
async fn a_process_that_loses_its_connection_keeps_what_nobody_voided() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    let (one, other) = (database.open().await, database.open().await);
    let claim = |number| samples::claim("SN1", 'a', number);
    let reservation = samples::place(one.claim(claim(1)).await.unwrap());
    disconnect(&database).await;

    // It comes back before anybody else looks.
    let nonce = |number| [number; 16];
    once_connected(async || one.spend(nonce(1), samples::at(600)).await)
        .await
        .unwrap();
    let voided = once_connected(async || other.void_abandoned(100).await)
        .await
        .unwrap();
    assert_eq!(voided, []);
    let issue = async |reservation: &Reservation| {
        let event = || samples::event("serial.sign", "SN1");
        once_connected(async || {
            one.issue(reservation, samples::signed(reservation), event())
                .await
        })
        .await
    };
    issue(&reservation).await.unwrap();

    // Somebody else looks first.
    let reservation = samples::place(one.claim(claim(2)).await.unwrap());
    disconnect(&database).await;
    let voided = once_connected(async || other.void_abandoned(100).await)
        .await
        .unwrap();
    assert_eq!(voided, std::slice::from_ref(&reservation));
    let refused = issue(&reservation).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    one.void(&reservation).await.unwrap();
    let next = samples::place(one.claim(claim(3)).await.unwrap());
    assert_eq!(next.revision, 3);
    issue(&next).await.unwrap();
    let history = other.history(&next.device).await.unwrap();
    let states: Vec<_> = history.iter().map(|row| (row.revision, row.state)).collect();
    assert_eq!(
        states,
        [
            (3, SerialState::Issued),
            (2, SerialState::Void),
            (1, SerialState::Issued)
        ]
    );
    assert!(other.check().await.unwrap().is_empty());
}

/// Two processes share the work, and one looks for abandoned reservations all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_for_abandoned_reservations_disturbs_nobody() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    let (one, other) = (database.open().await, database.open().await);
    let work = async {
        for number in 0..60 {
            let claim = samples::claim(&format!("SN{}", number % 3), 'a', number);
            samples::issue(&*one, claim).await;
        }
    };
    let look = async {
        loop {
            assert_eq!(other.void_abandoned(100).await.unwrap(), []);
        }
    };
    tokio::select! {
        () = work => {}
        () = look => {}
    }
    assert!(one.check().await.unwrap().is_empty());
}

/// Waits until `holds` does, for as long as changes of other processes may take to be seen.
async fn within_a_second(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..100 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within a second: {what}");
}

/// What one process changes reaches the caches of another, also after nobody listened for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_hears_what_others_change() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    let (one, other) = (database.open().await, database.open().await);
    let before = other.generation().expect("it listens");
    let create = |name: &str| Commit {
        records: vec![Change::create(&samples::account(name))],
        ..Commit::default()
    };
    samples::done(&*one, create("ada")).await;
    within_a_second("a commit", || other.generation().is_some_and(|now| now > before)).await;

    // What devices cause is no news: serials do not wait for announcements.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = other.generation().expect("it listens");
    samples::issue(&*one, samples::claim("SN1", 'a', 1)).await;
    let refused = one.commit(create("ada")).await.unwrap();
    assert!(matches!(refused, CommitOutcome::Conflict { .. }));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(other.generation(), Some(before));

    // Cut off, it takes nothing for known; what happened meanwhile counts as soon as it listens again.
    disconnect(&database).await;
    within_a_second("it knows that it hears nothing", || other.generation().is_none()).await;
    let connected = once_connected(async || one.commit(create("bob")).await).await;
    assert_eq!(connected.unwrap(), CommitOutcome::Done);
    for _ in 0..500 {
        if other.generation().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(other.generation().is_some_and(|now| now > before));
    one.close().await.unwrap();
    assert_eq!(one.generation(), None);
}
