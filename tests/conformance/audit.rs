//! The audit log: chains, filters, checkpoints.

use std::sync::Arc;

use hallmark::domain::audit::{AuditEntry, AuditEvent, ChainHead, Checkpoint, entry_hash};
use hallmark::ports::{AuditFilter, Commit, Storage};

use super::samples::{at, claim, done, event, issue};
use super::{Engine, race, restart};

fn audit(events: Vec<AuditEvent>) -> Commit {
    Commit {
        audit: events,
        ..Commit::default()
    }
}

fn up_to(limit: usize) -> AuditFilter {
    AuditFilter {
        limit,
        ..AuditFilter::default()
    }
}

/// Reads every chain in steps of three, follows the hashes, and gives the number of entries per chain.
async fn follow(storage: &Arc<dyn Storage>) -> Vec<u64> {
    let heads = storage.heads().await.unwrap();
    assert!(heads.is_sorted_by(|a, b| a.writer < b.writer));
    for head in &heads {
        let mut previous = ChainHead::new(head.writer.clone());
        while previous.sequence < head.sequence {
            let entries = storage
                .chain(&head.writer, previous.sequence + 1, 3)
                .await
                .unwrap();
            assert!(!entries.is_empty() && entries.len() <= 3);
            for AuditEntry {
                writer,
                sequence,
                previous: before,
                hash,
                event,
            } in entries
            {
                assert_eq!(
                    (&writer, sequence, &before),
                    (&head.writer, previous.sequence + 1, &previous.hash)
                );
                assert_eq!(hash, entry_hash(&before, &writer, sequence, &event));
                previous = ChainHead {
                    writer,
                    sequence,
                    hash,
                };
            }
        }
        assert_eq!(previous, *head);
        assert!(
            storage
                .chain(&head.writer, head.sequence + 1, 10)
                .await
                .unwrap()
                .is_empty()
        );
    }
    heads.iter().map(|head| head.sequence).collect()
}

pub(crate) async fn entries_of_a_commit_form_a_chain(engine: &dyn Engine) {
    let storage = engine.open().await;
    assert!(storage.heads().await.unwrap().is_empty());
    assert!(storage.audit_entries(&up_to(10)).await.unwrap().is_empty());
    let mut detailed = event("key.create", "serial");
    detailed.detail.insert("bits".to_owned(), 4096.into());
    let events = vec![
        detailed,
        event("key.disable", "é \"quoted\"\n"),
        event("third", "x"),
    ];
    done(&*storage, audit(events.clone())).await;
    done(&*storage, audit(vec![event("fourth", "x")])).await;
    assert_eq!(follow(&storage).await, [4]);
    let entries = storage.audit_entries(&up_to(10)).await.unwrap();
    assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
    for ((_, entry), event) in entries.iter().zip(&events) {
        assert_eq!(entry.event, serde_json::to_string(event).unwrap());
    }
    let writer = &entries[0].1.writer;
    assert_eq!(
        storage.chain(writer, 2, 2).await.unwrap(),
        [entries[1].1.clone(), entries[2].1.clone()]
    );
    assert!(storage.chain("nobody", 0, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_chain_has_no_gaps_under_concurrency(engine: &dyn Engine) {
    let storage = engine.open().await;
    race(16, |number| {
        let storage = storage.clone();
        async move {
            for turn in 0..4_u64 {
                done(&*storage, audit(vec![event("a", "1"), event("a", "2")])).await;
                issue(
                    &*storage,
                    claim(&format!("SN{number}"), 'a', number as u64 * 4 + turn),
                )
                .await;
            }
        }
    })
    .await;
    assert_eq!(follow(&storage).await, [16 * 4 * 3]);
    let entries = storage.audit_entries(&up_to(1000)).await.unwrap();
    assert!(
        entries.is_sorted_by(|a, b| a.0 < b.0),
        "positions grow and are unique"
    );
    // The events of one commit stand side by side.
    let subjects: Vec<String> = entries
        .iter()
        .map(|(_, entry)| serde_json::from_str::<AuditEvent>(&entry.event).unwrap())
        .filter(|event| event.action == "a")
        .map(|event| event.subject)
        .collect();
    assert!(subjects.chunks(2).all(|pair| pair == ["1", "2"]));
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn every_start_begins_a_chain_of_its_own(engine: &dyn Engine) {
    let mut storage = engine.open().await;
    for start in 1..=3 {
        for _ in 0..start {
            done(&*storage, audit(vec![event("start", "x")])).await;
        }
        if start == 2 {
            drop(storage);
            storage = engine.open().await;
        } else {
            storage = restart(engine, storage).await;
        }
    }
    let mut lengths = follow(&storage).await;
    lengths.sort_unstable();
    assert_eq!(lengths, [1, 2, 3]);
    let entries = storage.audit_entries(&up_to(10)).await.unwrap();
    assert_eq!(entries.len(), 6);
    assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn entries_are_filtered_and_paged(engine: &dyn Engine) {
    let storage = engine.open().await;
    for number in 0..10 {
        let mut event = event(
            if number % 2 == 0 {
                "key.create"
            } else {
                "serial.sign"
            },
            &number.to_string(),
        );
        event.time = at(number);
        event.brand = match number % 3 {
            0 => None,
            1 => Some("brand-one".parse().unwrap()),
            _ => Some("brand-two".parse().unwrap()),
        };
        done(&*storage, audit(vec![event])).await;
    }
    let storage = restart(engine, storage).await;
    let cases: Vec<(AuditFilter, &[i64])> = vec![
        (up_to(100), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (
            AuditFilter {
                brand: Some("brand-one".parse().unwrap()),
                ..up_to(100)
            },
            &[1, 4, 7],
        ),
        (
            AuditFilter {
                action_prefix: Some("key.".to_owned()),
                ..up_to(100)
            },
            &[0, 2, 4, 6, 8],
        ),
        (
            AuditFilter {
                since: Some(at(6)),
                ..up_to(100)
            },
            &[6, 7, 8, 9],
        ),
        (
            AuditFilter {
                brand: Some("brand-two".parse().unwrap()),
                action_prefix: Some("serial.sign".to_owned()),
                since: Some(at(1)),
                ..up_to(100)
            },
            &[5],
        ),
    ];
    for (filter, expected) in cases {
        let mut subjects = Vec::new();
        let mut after = None;
        loop {
            let page = storage
                .audit_entries(&AuditFilter {
                    after,
                    limit: 2,
                    ..filter.clone()
                })
                .await
                .unwrap();
            let Some((last, _)) = page.last() else { break };
            assert!(page.len() <= 2);
            after = Some(*last);
            for (_, entry) in page {
                let event: AuditEvent = serde_json::from_str(&entry.event).unwrap();
                subjects.push(event.subject.parse::<i64>().unwrap());
            }
        }
        assert_eq!(subjects, expected, "{filter:?}");
    }
    assert!(storage.audit_entries(&up_to(0)).await.unwrap().is_empty());
}

fn checkpoint(number: u64, heads: Vec<ChainHead>) -> Checkpoint {
    let time = at(i64::try_from(number).unwrap());
    Checkpoint {
        number,
        time,
        heads,
        public_key: "ab".repeat(32),
        signature: format!("{number:0>128}"),
    }
}

pub(crate) async fn checkpoints_are_numbered_without_gaps(engine: &dyn Engine) {
    let storage = engine.open().await;
    done(&*storage, audit(vec![event("start", "x")])).await;
    assert_eq!(storage.last_checkpoint().await.unwrap(), None);
    assert!(!storage.put_checkpoint(checkpoint(2, Vec::new())).await.unwrap());
    let first = checkpoint(1, storage.heads().await.unwrap());
    assert!(storage.put_checkpoint(first.clone()).await.unwrap());
    assert!(!storage.put_checkpoint(checkpoint(1, Vec::new())).await.unwrap());
    let stored = race(8, |_| {
        let storage = storage.clone();
        async move { storage.put_checkpoint(checkpoint(2, Vec::new())).await.unwrap() }
    })
    .await;
    assert_eq!(stored.iter().filter(|stored| **stored).count(), 1);
    let storage = restart(engine, storage).await;
    let second = checkpoint(2, Vec::new());
    assert_eq!(storage.checkpoints(0, 10).await.unwrap(), [first, second.clone()]);
    assert_eq!(
        storage.checkpoints(1, 10).await.unwrap(),
        std::slice::from_ref(&second)
    );
    assert_eq!(storage.checkpoints(0, 1).await.unwrap().len(), 1);
    assert!(storage.checkpoints(2, 10).await.unwrap().is_empty());
    assert_eq!(storage.last_checkpoint().await.unwrap(), Some(second));
    assert!(storage.put_checkpoint(checkpoint(3, Vec::new())).await.unwrap());
}

pub(crate) async fn two_processes_write_two_chains(engine: &dyn Engine) {
    if !engine.shared() {
        return;
    }
    let storages = [engine.open().await, engine.open().await];
    let taken = race(8, |number| {
        let storage = storages[number % 2].clone();
        async move {
            let mut revisions = Vec::new();
            for turn in 0..4 {
                let claim = claim("SN1", 'a', (number * 4 + turn) as u64);
                revisions.push(issue(&*storage, claim).await.revision);
            }
            revisions
        }
    })
    .await;
    let mut revisions: Vec<u64> = taken.into_iter().flatten().collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=32).collect::<Vec<_>>());
    assert_eq!(follow(&storages[0]).await, [16, 16]);
    let positions: Vec<u64> = storages[1]
        .audit_entries(&up_to(100))
        .await
        .unwrap()
        .iter()
        .map(|(position, _)| *position)
        .collect();
    assert!(positions.is_sorted_by(|a, b| a < b));
    assert_eq!(positions.len(), 32);
}
