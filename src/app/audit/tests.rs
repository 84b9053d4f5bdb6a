//! Every kind of damage to the log is found: each test spoils a good log in one way.

use async_trait::async_trait;

use super::*;
use crate::domain::audit::link;
use crate::ports::StoreError;

const SEED: [u8; 32] = [42; 32];

/// A log as a storage engine keeps it, open to tampering.
#[derive(Default)]
struct Log {
    chains: BTreeMap<String, Vec<AuditEntry>>,
    heads: BTreeMap<String, ChainHead>,
    checkpoints: Vec<Checkpoint>,
}

impl Log {
    fn write(&mut self, writer: &str, subject: &str) {
        let head = self
            .heads
            .entry(writer.to_owned())
            .or_insert_with(|| ChainHead::new(writer.to_owned()));
        let event = AuditEvent {
            time: Timestamp::from_unix(1_700_000_000),
            actor: Actor::Local,
            brand: None,
            action: "test.write".to_owned(),
            subject: subject.to_owned(),
            detail: serde_json::Map::new(),
        };
        self.chains
            .entry(writer.to_owned())
            .or_default()
            .push(link(head, &event));
    }

    fn checkpoint(&mut self, seed: [u8; 32]) {
        let number = self.checkpoints.last().map_or(0, |last| last.number) + 1;
        let (time, heads) = (
            Timestamp::from_unix(1_700_000_060),
            self.heads.values().cloned().collect::<Vec<_>>(),
        );
        let key = SigningKey::from_bytes(&seed);
        let signature = hex(&key
            .sign(&Checkpoint::signed_bytes(number, time, &heads))
            .to_bytes());
        let public_key = hex(key.verifying_key().as_bytes());
        self.checkpoints.push(Checkpoint {
            number,
            time,
            heads,
            public_key,
            signature,
        });
    }

    /// Two chains of ten entries, a checkpoint after five of each and one at the end.
    fn good() -> Self {
        let mut log = Self::default();
        for round in 0..2 {
            for n in 0..5 {
                log.write("a", &format!("a{round}{n}"));
                log.write("b", &format!("b{round}{n}"));
            }
            log.checkpoint(SEED);
        }
        log
    }

    /// What somebody does who knows the hash rule: hashes everything from `from` on anew.
    fn rehash(&mut self, writer: &str, from: usize) {
        let chain = self.chains.get_mut(writer).unwrap();
        let mut previous = if from == 0 {
            "0".repeat(64)
        } else {
            chain[from - 1].hash.clone()
        };
        for (at, entry) in chain.iter_mut().enumerate().skip(from) {
            entry.sequence = u64::try_from(at).unwrap() + 1;
            entry.previous.clone_from(&previous);
            entry.hash = entry_hash(&entry.previous, &entry.writer, entry.sequence, &entry.event);
            previous.clone_from(&entry.hash);
        }
        let last = chain.last().unwrap();
        let head = ChainHead {
            writer: writer.to_owned(),
            sequence: last.sequence,
            hash: last.hash.clone(),
        };
        self.heads.insert(writer.to_owned(), head);
    }

    async fn report(&self) -> Report {
        let key = SigningKey::from_bytes(&SEED).verifying_key();
        check_log(self, &key, None).await.unwrap()
    }

    async fn codes(&self) -> Vec<&'static str> {
        let mut codes: Vec<_> = self
            .report()
            .await
            .problems
            .iter()
            .map(|problem| problem.code)
            .collect();
        codes.dedup();
        codes
    }
}

#[async_trait]
impl AuditLog for Log {
    async fn audit_entries(&self, _: &AuditFilter) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        Ok(Vec::new())
    }

    async fn chain(&self, writer: &str, from: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let chain = self.chains.get(writer).map(Vec::as_slice).unwrap_or_default();
        Ok(chain
            .iter()
            .filter(|entry| entry.sequence >= from)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn heads(&self) -> Result<Vec<ChainHead>, StoreError> {
        Ok(self.heads.values().cloned().collect())
    }

    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, StoreError> {
        Ok(self
            .checkpoints
            .iter()
            .filter(|one| one.number > after)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.checkpoints.last().cloned())
    }
}

#[tokio::test]
async fn a_whole_log_is_fine_and_says_what_no_checkpoint_covers_yet() {
    let mut log = Log::good();
    log.write("a", "later");
    log.write("c", "a new chain");
    let report = log.report().await;
    assert_eq!(report.problems, []);
    assert_eq!(
        (
            report.entries,
            report.chains,
            report.checkpoints,
            report.uncovered
        ),
        (22, 3, 2, 2)
    );
    assert_eq!(report.last.unwrap().number, 2);
}

#[tokio::test]
async fn an_empty_log_is_fine() {
    assert_eq!(Log::default().report().await.problems, []);
}

#[tokio::test]
async fn an_edited_entry_is_found() {
    for at in [0, 4, 9] {
        let mut log = Log::good();
        let entry = &mut log.chains.get_mut("a").unwrap()[at];
        entry.event = entry.event.replace("test.write", "test.wrote");
        assert_eq!(log.codes().await, ["entry-changed"], "{at}");
    }
}

#[tokio::test]
async fn an_edited_entry_is_found_even_when_all_later_hashes_were_made_anew() {
    let mut log = Log::good();
    let entry = &mut log.chains.get_mut("a").unwrap()[2];
    entry.event = entry.event.replace("test.write", "test.wrote");
    log.rehash("a", 2);
    assert_eq!(log.codes().await, ["entry-replaced"]);
}

#[tokio::test]
async fn a_removed_entry_is_found() {
    for at in [0, 4, 8] {
        let mut log = Log::good();
        log.chains.get_mut("a").unwrap().remove(at);
        assert_eq!(log.codes().await, ["entry-missing"], "{at}");
    }
}

#[tokio::test]
async fn a_removed_entry_is_found_even_when_the_rest_was_renumbered() {
    let mut log = Log::good();
    log.chains.get_mut("a").unwrap().remove(3);
    log.rehash("a", 3);
    assert_eq!(log.codes().await, ["entry-replaced", "chain-truncated"]);
}

#[tokio::test]
async fn swapped_entries_are_found() {
    let mut log = Log::good();
    let chain = log.chains.get_mut("a").unwrap();
    let (left, right) = (chain[2].event.clone(), chain[3].event.clone());
    chain[2].event = right;
    chain[3].event = left;
    assert_eq!(log.codes().await, ["entry-changed"]);
    log.rehash("a", 2);
    assert_eq!(log.codes().await, ["entry-replaced"]);
}

#[tokio::test]
async fn an_entry_moved_to_another_chain_is_found() {
    let mut log = Log::good();
    let stolen = log.chains["b"][2].clone();
    log.chains.get_mut("a").unwrap()[2] = stolen;
    assert!(log.codes().await.contains(&"entry-missing"));
}

#[tokio::test]
async fn an_added_entry_is_found() {
    let mut log = Log::good();
    let added = log.chains["a"][2].clone();
    log.chains.get_mut("a").unwrap().insert(3, added);
    log.rehash("a", 3);
    assert!(log.codes().await.contains(&"entry-replaced"));
}

#[tokio::test]
async fn a_chain_cut_off_before_the_last_checkpoint_is_found() {
    let mut log = Log::good();
    log.chains.get_mut("a").unwrap().truncate(7);
    assert_eq!(log.codes().await, ["chain-truncated"]);
    log.rehash("a", 7 - 1);
    assert_eq!(
        log.codes().await,
        ["chain-truncated"],
        "also when the index of ends was changed to match"
    );
}

#[tokio::test]
async fn a_chain_cut_off_after_the_last_checkpoint_is_found_by_the_index_of_ends() {
    let mut log = Log::good();
    log.write("a", "later");
    log.chains.get_mut("a").unwrap().pop();
    assert_eq!(log.codes().await, ["chain-truncated"]);
}

#[tokio::test]
async fn a_removed_chain_is_found() {
    let mut log = Log::good();
    log.chains.remove("b");
    log.heads.remove("b");
    assert_eq!(log.codes().await, ["chain-truncated"]);
}

#[tokio::test]
async fn a_removed_checkpoint_is_found() {
    let mut log = Log::good();
    log.checkpoints.remove(0);
    assert_eq!(log.codes().await, ["checkpoint-missing"]);
}

#[tokio::test]
async fn an_edited_checkpoint_is_found() {
    let mut log = Log::good();
    log.checkpoints[0].heads[0].sequence = 4;
    assert!(log.codes().await.contains(&"checkpoint-signature"));
    let mut log = Log::good();
    log.checkpoints[1].time = Timestamp::from_unix(0);
    assert_eq!(log.codes().await, ["checkpoint-signature"]);
}

#[tokio::test]
async fn a_checkpoint_of_another_key_is_found() {
    let mut log = Log::good();
    log.write("a", "later");
    log.checkpoint([1; 32]);
    assert_eq!(log.codes().await, ["checkpoint-key"]);
    let ours = log.checkpoints[1].public_key.clone();
    log.checkpoints[2].public_key = ours;
    assert_eq!(log.codes().await, ["checkpoint-signature"]);
}

#[tokio::test]
async fn an_end_cut_off_with_its_checkpoint_is_found_by_a_noted_checkpoint() {
    let mut log = Log::good();
    let key = SigningKey::from_bytes(&SEED).verifying_key();
    let noted = (2, log.checkpoints[1].signature.clone());
    assert_eq!(check_log(&log, &key, Some(&noted)).await.unwrap().problems, []);
    for chain in log.chains.values_mut() {
        chain.truncate(5);
    }
    log.rehash("a", 4);
    log.rehash("b", 4);
    log.checkpoints.pop();
    assert_eq!(log.codes().await, [""; 0], "nothing in the database tells");
    let problems = check_log(&log, &key, Some(&noted)).await.unwrap().problems;
    assert_eq!(problems[0].code, "checkpoint-missing");
    log.write("a", "something else");
    log.checkpoint(SEED);
    let problems = check_log(&log, &key, Some(&noted)).await.unwrap().problems;
    assert_eq!(problems[0].code, "checkpoint-replaced");
}

#[tokio::test]
async fn a_badly_spoilt_log_gives_a_bounded_report() {
    let mut log = Log::default();
    for n in 0..500 {
        log.write("a", &n.to_string());
    }
    for entry in log.chains.get_mut("a").unwrap() {
        entry.hash = "0".repeat(64);
    }
    assert_eq!(log.report().await.problems.len(), MAX_PROBLEMS);
}
