//! kill -9 at any moment: what the embedded storage acknowledged is there afterwards, and nothing counts twice.
//!
//! A child process (this test binary again) writes and reports every acknowledged write on its standard output; it is
//! killed after a random number of them, and the database is opened and compared. `HALLMARK_CRASH_CYCLES` sets the
//! number of cycles (20).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hallmark::adapters::sled::{Sled, SledOptions};
use hallmark::domain::access::Account;
use hallmark::domain::vault::{ClaimOutcome, Reservation, SerialState};
use hallmark::ports::{Change, Commit, CommitOutcome, PutRule, Record, SerialLedger, Storage};

use crate::conformance::samples;

const DIRECTORY: &str = "HALLMARK_CRASH_DIRECTORY";
const FIRST: &str = "HALLMARK_CRASH_FIRST";
const CYCLES: &str = "HALLMARK_CRASH_CYCLES";

fn open(directory: &Path) -> Sled {
    // A small bound, so that kills also hit the moments when changes move into the index.
    let options = SledOptions {
        settle_at: 200,
        ..SledOptions::new(directory)
    };
    Sled::open(&options).expect("the database opens after a kill")
}

/// The child: does nothing unless it was started by the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_writes_until_it_is_killed() {
    let (Ok(directory), Ok(first)) = (std::env::var(DIRECTORY), std::env::var(FIRST)) else {
        return;
    };
    let storage = Arc::new(open(directory.as_ref()));
    let first: u64 = first.parse().unwrap();
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                for number in (first + worker..).step_by(8) {
                    write(&*storage, number).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

/// One round of writes; every request-id is presented twice.
async fn write(storage: &dyn Storage, number: u64) {
    let claim = samples::claim(&format!("SN{}", number % 5), 'a', number);
    let (one, two) = tokio::join!(storage.claim(claim.clone()), storage.claim(claim));
    let outcomes = [one.unwrap(), two.unwrap()];
    let places: Vec<_> = outcomes
        .into_iter()
        .filter_map(|outcome| match outcome {
            ClaimOutcome::Reserved(reservation) => Some(reservation),
            _ => None,
        })
        .collect();
    for reservation in places {
        let event = samples::event("serial.sign", &reservation.device.to_string());
        storage
            .issue(&reservation, samples::signed(&reservation), event)
            .await
            .unwrap();
        report(&format!(
            "issued {} {} {number}",
            reservation.device.serial, reservation.revision
        ));
    }
    if number.is_multiple_of(7) {
        assert!(storage.spend(nonce(number), samples::at(600)).await.unwrap());
        report(&format!("spent {number}"));
    }
    if number.is_multiple_of(5) {
        let commit = Commit {
            records: vec![Change::create(&samples::account(&format!("user{number}")))],
            assertions: vec![(assertion(number), PutRule::Newer)],
            audit: vec![
                samples::event("account.create", "x"),
                samples::event("assertion.import", "x"),
            ],
            ..Commit::default()
        };
        assert_eq!(storage.commit(commit).await.unwrap(), CommitOutcome::Done);
        report(&format!("committed {number}"));
    }
}

fn nonce(number: u64) -> [u8; 16] {
    let mut nonce = [0; 16];
    nonce[8..].copy_from_slice(&number.to_be_bytes());
    nonce
}

fn assertion(number: u64) -> hallmark::ports::StoredAssertion {
    let kind = hallmark::domain::assertion::AssertionType::Store;
    samples::assertion(kind, &[&format!("store-{number}")], 0, number)
}

/// Reports an acknowledged write; the parent has it once the line is whole.
fn report(line: &str) {
    let mut output = std::io::stdout().lock();
    // When the parent is gone the child has nothing more to do.
    if writeln!(output, "ack {line}")
        .and_then(|()| output.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// What children were told is stored.
#[derive(Default)]
struct Acknowledged {
    /// Revisions per serial, with the request-id that bought each.
    issued: BTreeMap<String, BTreeMap<u64, u64>>,
    request_ids: BTreeSet<u64>,
    spent: BTreeSet<u64>,
    committed: BTreeSet<u64>,
    highest: u64,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number: u64 = words.last().unwrap().parse().unwrap();
        self.highest = self.highest.max(number);
        match words[..] {
            ["issued", serial, revision, _] => {
                let revision = revision.parse().unwrap();
                let before = self
                    .issued
                    .entry(serial.to_owned())
                    .or_default()
                    .insert(revision, number);
                assert_eq!(before, None, "revision {revision} of {serial} was issued twice");
                assert!(
                    self.request_ids.insert(number),
                    "request-id {number} bought two serials"
                );
            }
            ["spent", _] => assert!(self.spent.insert(number), "nonce {number} was spent twice"),
            ["committed", _] => assert!(self.committed.insert(number)),
            _ => panic!("{line}"),
        }
    }

    async fn compare(&self, storage: &Sled) {
        storage.void_abandoned(usize::MAX).await.unwrap();
        for (serial, revisions) in &self.issued {
            let device = samples::device(serial);
            let history = storage.history(&device).await.unwrap();
            let count = u64::try_from(history.len()).unwrap();
            let dense: Vec<u64> = (1..=count).rev().collect();
            assert_eq!(
                history.iter().map(|row| row.revision).collect::<Vec<_>>(),
                dense,
                "{serial}"
            );
            for revision in revisions.keys() {
                let row = history
                    .iter()
                    .find(|row| row.revision == *revision)
                    .expect("an acknowledged serial");
                let expected = samples::signed(&Reservation {
                    device: device.clone(),
                    device_key: samples::key('a'),
                    revision: *revision,
                    reserved_at: samples::at(0),
                });
                assert_eq!(
                    (row.state, &row.assertion),
                    (SerialState::Issued, &expected.assertion)
                );
            }
        }
        for number in &self.request_ids {
            let again = storage
                .claim(samples::claim("SN-again", 'b', *number))
                .await
                .unwrap();
            assert_eq!(again, ClaimOutcome::StaleRequest, "request-id {number}");
        }
        for number in &self.spent {
            assert!(
                !storage.spend(nonce(*number), samples::at(600)).await.unwrap(),
                "nonce {number}"
            );
        }
        let storage: &dyn Storage = storage;
        for number in &self.committed {
            let key = samples::account(&format!("user{number}")).key();
            assert!(storage.find::<Account>(key).await.unwrap().is_some());
            let stored = storage.assertion(&assertion(*number).reference, 0).await.unwrap();
            assert_eq!(stored, Some(assertion(*number)));
        }
        assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
    }
}

/// Runs a child until it acknowledged `writes`, kills it, and notes all that it said.
fn run_and_kill(directory: &Path, acknowledged: &mut Acknowledged, writes: usize, linger: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "storage_crash::a_child_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        // Far above all that an earlier child may have begun.
        .env(FIRST, (acknowledged.highest + 10_000).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut seen = 0;
    let mut line = String::new();
    let mut killed = false;
    // The end of the output comes after the kill.
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(write) = line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix('\n')) {
            acknowledged.note(write);
            seen += 1;
        }
        if seen >= writes && !killed {
            std::thread::sleep(linger);
            child.kill().unwrap();
            killed = true;
        }
        line.clear();
    }
    let status = child.wait().unwrap();
    assert!(killed, "the child ended by itself: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed_at_any_moment() {
    let cycles: u64 = std::env::var(CYCLES).map_or(20, |cycles| cycles.parse().expect(CYCLES));
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    // Reproducible in what it asks for; the moments differ with the machine.
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    for cycle in 0..cycles {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let writes = usize::try_from(1 + random % 150).unwrap();
        let linger = Duration::from_micros(random >> 32 & 0x1fff);
        let path = directory.path().to_owned();
        acknowledged = tokio::task::spawn_blocking(move || {
            run_and_kill(&path, &mut acknowledged, writes, linger);
            acknowledged
        })
        .await
        .unwrap();
        let storage = open(directory.path());
        acknowledged.compare(&storage).await;
        // Sometimes the next child finds a clean database, sometimes one that was left as by a crash.
        if cycle % 3 == 0 {
            storage.close().await.unwrap();
        }
    }
    assert!(acknowledged.request_ids.len() as u64 > cycles);
}
