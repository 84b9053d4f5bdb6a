//! PostgreSQL through the conformance suite. `HALLMARK_TEST_POSTGRES` names a server (`postgres://…`) whose user may
//! create databases; without it these cases do not run and say so. `.ci/run` starts a server and sets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hallmark::adapters::postgres::Postgres;
use hallmark::app::audit::{self, Checkpoints};
use hallmark::app::members::{self, Confirmed};
use hallmark::app::{InstanceCtx, StoreCtx};
use hallmark::domain::access::Role;
use hallmark::domain::fleet::ProductionMap;
use hallmark::domain::vault::{Reservation, SerialState};
use hallmark::ports::{
    AuditFilter, Change, ChangeLog as _, Commit, CommitOutcome, Mark, SerialLedger as _, Storage, StoreError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::conformance::{Engine, samples};
use crate::office::{BRAND, Office};

/// A database of its own on the test server; dropped at the end.
pub(crate) struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    pub(crate) async fn fresh() -> Option<Self> {
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
crate::process_tests!(match Database::fresh().await {
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

/// Devices of two models register at two processes at once, each in another order; with a limit or without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_do_not_wait_for_each_other_in_a_circle() {
    const SERIALS: u64 = 150;
    for quota in [None, Some(2 * SERIALS)] {
        let Some(database) = Database::fresh().await else {
            return;
        };
        let processes = [database.open().await, database.open().await];
        let mut registering = tokio::task::JoinSet::new();
        for (number, serial) in (0..SERIALS).flat_map(|serial| (0..4).map(move |number| (number, serial))) {
            let (process, model) = (number / 2, number % 2);
            let storage = Arc::clone(&processes[usize::try_from(process).unwrap()]);
            let mut claim = samples::claim(&format!("SN{process}-{serial}"), 'a', serial * 4 + number);
            claim.device.model =
                samples::model(["gate-1", "gate-2"][usize::try_from((model + process) % 2).unwrap()]);
            claim.rules.quota = quota;
            registering.spawn(async move { samples::issue(&*storage, claim).await });
        }
        while let Some(registered) = registering.join_next().await {
            registered.unwrap();
        }
        for storage in &processes {
            assert!(storage.check().await.unwrap().is_empty());
            storage.close().await.unwrap();
        }
        // Told by the connections of the two, which have ended.
        let (client, connection) = tokio_postgres::connect(&database.server, tokio_postgres::NoTls)
            .await
            .unwrap();
        let running = tokio::spawn(connection);
        let sql = "SELECT deadlocks, xact_commit FROM pg_stat_database WHERE datname = $1";
        let told = loop {
            let row = client.query_one(sql, &[&database.name]).await.unwrap();
            let (deadlocks, commits): (i64, i64) = (row.get(0), row.get(1));
            if commits > 20 {
                break deadlocks;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(told, 0, "deadlocks, quota {quota:?}");
        drop(client);
        running.await.unwrap().unwrap();
    }
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

/// A transaction that began first and ends last is not missed, and nobody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told_in_whatever_order_they_end() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    let storage = database.open().await;
    let store = crate::conformance::fleet::store();
    let write = async |tag: &str| {
        let map = ProductionMap::new("one".parse().unwrap(), tag.parse().unwrap());
        let commit = Commit {
            records: vec![Change::create(&map)],
            ..Commit::default()
        };
        samples::done(&*storage, commit).await;
    };
    let first = Commit {
        records: vec![Change::create(&store)],
        ..Commit::default()
    };
    samples::done(&*storage, first).await;
    let mut mark = storage.mark().await.unwrap().unwrap();
    let mut tags = async || {
        let changes = storage.changes(&mark).await.unwrap().unwrap();
        mark = changes.mark;
        let tags = changes
            .records
            .into_iter()
            .map(|(_, found)| found.key.0[1].clone());
        tags.collect::<Vec<_>>()
    };
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let running = tokio::spawn(connection);
    let early = "INSERT INTO production_map (store_id, tag, version, doc) VALUES ('one', 'early', 1, '{}')";
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute(early).await.unwrap();
    write("late").await;
    assert_eq!(tags().await, ["late"]);
    write("later").await;
    client.batch_execute("COMMIT").await.unwrap();
    let mut both = tags().await;
    both.sort_unstable();
    assert_eq!(both, ["early", "later"]);
    assert_eq!(tags().await, [""; 0]);
    drop(client);
    running.await.unwrap().unwrap();
}

/// A program goes on beside a schema that is newer than itself, if that suits it; it makes no copies of what it does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_schemas_are_judged_by_whom_they_suit() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    let storage = database.open().await;
    assert!(storage.export().await.is_ok());
    let newer = "UPDATE schema_format SET version = version + 2";
    statement(&database.url, newer).await;
    // What a later migration leaves behind here: programs before it do not know it.
    let applied = "INSERT INTO refinery_schema_history SELECT max(version) + 1, 'later', applied_on, checksum
                   FROM refinery_schema_history GROUP BY applied_on, checksum ORDER BY 1 DESC LIMIT 1";
    statement(&database.url, applied).await;
    storage.ping().await.expect("one that runs goes on");
    let again = database.open().await;
    let commit = Commit {
        records: vec![Change::create(&crate::conformance::fleet::device("beside"))],
        ..Commit::default()
    };
    samples::done(&*again, commit).await;
    let Err(refused) = again.export().await else {
        panic!("a copy was made of what is not known");
    };
    assert!(
        refused.to_string().contains("would leave out what is new"),
        "{refused}"
    );

    statement(&database.url, "UPDATE schema_format SET oldest = version").await;
    let refused = Postgres::open(&database.url).await.expect_err("it does not suit");
    assert!(
        refused.to_string().contains("start a newer hallmark"),
        "{refused}"
    );
}

/// What was told long ago is forgotten, and who did not hear of it knows that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_changes_are_forgotten() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    let storage = Postgres::open(&database.url).await.unwrap();
    let before = storage.mark().await.unwrap().unwrap();
    let write = async |storage: &dyn Storage, serial: &str| {
        let commit = Commit {
            records: vec![Change::create(&crate::conformance::fleet::device(serial))],
            ..Commit::default()
        };
        samples::done(storage, commit).await;
    };
    write(&storage, "old").await;
    statement(
        &database.url,
        "UPDATE fleet_change SET at = at - interval '2 hours'",
    )
    .await;
    write(&storage, "new").await;
    let after = storage.mark().await.unwrap().unwrap();
    storage.clear().await.unwrap();
    assert!(storage.changes(&before).await.unwrap().is_none());
    let since = storage.changes(&after).await.unwrap().unwrap();
    assert!(since.records.is_empty());
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let running = tokio::spawn(connection);
    let left = client
        .query("SELECT key[3] FROM fleet_change", &[])
        .await
        .unwrap();
    let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, ["new"]);
    drop(client);
    running.await.unwrap().unwrap();
    // Another server has other numbers.
    let other = Mark(format!("0.5 {}", after.0.split_once(' ').unwrap().1));
    assert!(storage.changes(&other).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_heard_nothing_for_too_long_knows_it() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    let forget = async || {
        let sql = "UPDATE fleet_change_gone SET xid = pg_current_xact_id()";
        statement(&database.url, sql).await;
    };
    crate::device::processes::who_heard_nothing_for_too_long_knows_it(&database, forget).await;
}

/// A line to the database that can be cut at the worst moment: after a COMMIT was sent, before its answer comes back.
struct Line {
    url: String,
    armed: Arc<AtomicBool>,
}

impl Line {
    async fn to(database: &Database) -> Self {
        let mut url = url::Url::parse(&database.url).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        url.set_query(Some("sslmode=disable"));
        let armed = Arc::<AtomicBool>::default();
        let trigger = Arc::clone(&armed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((server.0.as_str(), server.1)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&trigger)));
            }
        });
        Self {
            url: url.to_string(),
            armed,
        }
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, armed: Arc<AtomicBool>) {
    let (mut question, mut answer) = ([0; 16_384], [0; 16_384]);
    loop {
        tokio::select! {
            read = client.read(&mut question) => {
                let Ok(length @ 1..) = read else { return };
                let sent = &question[..length];
                server.write_all(sent).await.unwrap();
                if sent.windows(6).any(|word| word == b"COMMIT") && armed.swap(false, Ordering::AcqRel) {
                    // The server commits, and nobody hears of it.
                    let _answer = server.read(&mut answer).await;
                    return;
                }
            }
            read = server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn every_entry() -> AuditFilter {
    AuditFilter {
        limit: 100,
        ..AuditFilter::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_holds_nobody_up() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    let line = Line::to(&database).await;
    let one = Postgres::open(&line.url).await.unwrap();
    let other = database.open().await;
    let create = |name: &str| Commit {
        records: vec![Change::create(&samples::account(name))],
        audit: vec![samples::event("account.create", name)],
        ..Commit::default()
    };
    samples::done(&one, create("ada")).await;

    // It is there, its audit entry too; what comes after it is linked to a chain that nobody else writes.
    line.armed.store(true, Ordering::Release);
    let lost = one.commit(create("bob")).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    for name in ["bob", "cyd"] {
        let again = once_connected(async || one.commit(create(name)).await)
            .await
            .unwrap();
        assert_eq!(again == CommitOutcome::Done, name == "cyd", "{again:?}");
    }
    let entries = other.audit_entries(&every_entry()).await.unwrap();
    assert_eq!(entries.len(), 3);
    assert_eq!(other.heads().await.unwrap().len(), 2);

    // A claim nobody knows of is given up by whoever looks, while the process that made it goes on.
    line.armed.store(true, Ordering::Release);
    let lost = one.claim(samples::claim("SN1", 'a', 1)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    let kept = samples::place(
        once_connected(async || one.claim(samples::claim("SN2", 'a', 2)).await)
            .await
            .unwrap(),
    );
    let mut voided = Vec::new();
    for _ in 0..100 {
        voided.extend(other.void_abandoned(100).await.unwrap());
        if !voided.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let serials: Vec<&str> = voided.iter().map(|gone| gone.device.serial.as_str()).collect();
    assert_eq!(serials, ["SN1"]);
    one.issue(
        &kept,
        samples::signed(&kept),
        samples::event("serial.sign", "SN2"),
    )
    .await
    .unwrap();
    assert!(other.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn commits_are_synced_whatever_the_server_is_set_to() {
    let Some(database) = Database::fresh().await else {
        return;
    };
    drop(database.open().await);
    let name = &database.name;
    statement(
        &database.url,
        &format!(
            "ALTER DATABASE {name} SET synchronous_commit = off; \
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF current_setting('synchronous_commit') <> 'on' THEN RAISE 'not synced'; END IF; RETURN NULL; END $$; \
             CREATE TRIGGER look AFTER INSERT ON audit_entry EXECUTE FUNCTION look()"
        ),
    )
    .await;
    let storage = database.open().await;
    samples::issue(&*storage, samples::claim("SN1", 'a', 1)).await;
    assert_eq!(storage.audit_entries(&every_entry()).await.unwrap().len(), 1);
}

/// How the server sees the connections of a process.
async fn encrypted(database: &Database) -> Vec<bool> {
    let (client, connection) = tokio_postgres::connect(&database.server, tokio_postgres::NoTls)
        .await
        .expect("the test server");
    tokio::spawn(connection);
    let rows = client
        .query(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE datname = $1 AND application_name = 'hallmark'",
            &[&database.name],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_server_is_who_its_authority_says() {
    let (Some(database), Ok(tls)) = (
        Database::fresh().await,
        std::env::var("HALLMARK_TEST_POSTGRES_TLS"),
    ) else {
        eprintln!("NOT RUN: TLS to PostgreSQL; tests/postgres.sh starts a server that speaks it");
        return;
    };
    let open = async |host: &str, options: &str| {
        let mut url = url::Url::parse(&database.url).unwrap();
        url.set_host(Some(host)).unwrap();
        if options.contains("sslcert") {
            url.set_username("witness").unwrap();
        }
        let options = options.replace("TLS", &tls);
        Postgres::open(&format!("{url}?{options}")).await
    };
    for (number, (host, options, encrypts)) in [
        ("localhost", "sslmode=verify-full&sslrootcert=TLS/ca.pem", true),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=TLS/ca.pem", true),
        ("127.0.0.1", "sslmode=require&sslrootcert=TLS/ca.pem", true),
        ("127.0.0.1", "sslmode=require", true),
        ("127.0.0.1", "", true),
        ("127.0.0.1", "sslmode=disable", false),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=TLS/ca.pem&sslcert=TLS/witness.pem&sslkey=TLS/witness.key",
            true,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let storage = open(host, options)
            .await
            .unwrap_or_else(|e| panic!("{host} {options}: {e}"));
        // Who writes, and who listens.
        samples::issue(
            &storage,
            samples::claim(&format!("SN{number}"), 'a', number as u64),
        )
        .await;
        let seen = encrypted(&database).await;
        assert!(
            seen.len() >= 2 && seen.iter().all(|ssl| *ssl == encrypts),
            "{host} {options}: {seen:?}"
        );
        storage.close().await.unwrap();
        disconnect(&database).await;
    }
    for (host, options, why) in [
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=TLS/ca.pem",
            "not valid for name",
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=TLS/other.pem",
            "UnknownIssuer",
        ),
        (
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=TLS/other.pem",
            "UnknownIssuer",
        ),
        ("localhost", "sslmode=verify-full", "UnknownIssuer"),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=TLS/ca.pem&sslcert=TLS/other.pem&sslkey=TLS/other.key",
            "",
        ),
    ] {
        let error = open(host, options).await.expect_err(options).to_string();
        assert!(error.contains(why), "{host} {options}: {error}");
    }
}
