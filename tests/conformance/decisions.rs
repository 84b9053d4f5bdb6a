//! What people decide about serials: approvals, allow-lists, denials.

use std::sync::Arc;

use hallmark::domain::ident::SerialNumber;
use hallmark::domain::vault::claim::Approval;
use hallmark::domain::vault::{ClaimOutcome, Reissue, SerialClaim, Standing};
use hallmark::ports::{AuditFilter, Storage};

use super::samples::{at, brand, claim, claim_under, device, event, issue, key, model, place, rules};
use super::{Engine, restart};

/// A claim under the policy `approve`, `seconds` after the request-id was given out.
fn ask(serial: &str, letter: char, number: u64, seconds: i64) -> SerialClaim {
    SerialClaim {
        now: at(seconds),
        ..claim_under(&rules(Reissue::Approve), serial, letter, number)
    }
}

async fn outcome(storage: &Arc<dyn Storage>, claim: SerialClaim) -> ClaimOutcome {
    storage.claim(claim).await.unwrap()
}

async fn decide(storage: &Arc<dyn Storage>, serial: &str, letter: char, approval: Approval) -> bool {
    storage
        .decide(
            &device(serial),
            &key(letter),
            approval,
            event("serial.approve", serial),
        )
        .await
        .unwrap()
}

async fn waiting(storage: &Arc<dyn Storage>) -> Vec<(String, i64)> {
    let rows = storage.approvals(&brand()).await.unwrap();
    assert!(rows.iter().all(|row| row.approval == Approval::Pending));
    rows.iter()
        .map(|row| (row.device.serial.to_string(), row.since.unix() - at(0).unix()))
        .collect()
}

pub(crate) async fn an_approval_is_polled_with_an_expired_request_id(engine: &dyn Engine) {
    let storage = engine.open().await;
    assert_eq!(
        issue(&*storage, ask("SN1", 'a', 1, 0)).await.revision,
        1,
        "the first needs no approval"
    );
    assert_eq!(
        outcome(&storage, ask("SN1", 'b', 2, 10)).await,
        ClaimOutcome::AwaitingApproval
    );
    for seconds in [70, 600, 601, 5000] {
        assert_eq!(
            outcome(&storage, ask("SN1", 'b', 2, seconds)).await,
            ClaimOutcome::AwaitingApproval
        );
    }
    assert_eq!(waiting(&storage).await, [("SN1".to_owned(), 10)]);
    // The request-id is good for this request alone.
    assert_eq!(
        outcome(&storage, ask("SN1", 'c', 2, 20)).await,
        ClaimOutcome::StaleRequest
    );
    assert_eq!(
        outcome(&storage, ask("SN9", 'b', 2, 20)).await,
        ClaimOutcome::StaleRequest
    );
    let storage = restart(engine, storage).await;
    assert_eq!(
        outcome(&storage, ask("SN1", 'b', 2, 6000)).await,
        ClaimOutcome::AwaitingApproval
    );
    assert!(decide(&storage, "SN1", 'b', Approval::Approved).await);
    assert!(waiting(&storage).await.is_empty());
    let storage = restart(engine, storage).await;
    assert_eq!(issue(&*storage, ask("SN1", 'b', 2, 7000)).await.revision, 2);
    assert_eq!(
        outcome(&storage, ask("SN1", 'b', 2, 7060)).await,
        ClaimOutcome::StaleRequest
    );
    assert_eq!(
        outcome(&storage, ask("SN1", 'b', 2, 20)).await,
        ClaimOutcome::StaleRequest
    );
}

pub(crate) async fn a_rejected_request_is_refused(engine: &dyn Engine) {
    let storage = engine.open().await;
    issue(&*storage, ask("SN1", 'a', 1, 0)).await;
    assert_eq!(
        outcome(&storage, ask("SN1", 'a', 2, 0)).await,
        ClaimOutcome::AwaitingApproval
    );
    assert!(decide(&storage, "SN1", 'a', Approval::Rejected).await);
    assert_eq!(
        outcome(&storage, ask("SN1", 'a', 2, 700)).await,
        ClaimOutcome::Denied
    );
    assert_eq!(
        outcome(&storage, ask("SN1", 'a', 2, 700)).await,
        ClaimOutcome::StaleRequest,
        "answered and spent"
    );
    assert_eq!(
        outcome(&storage, ask("SN1", 'a', 3, 0)).await,
        ClaimOutcome::Denied,
        "the rejection stays"
    );
    assert!(waiting(&storage).await.is_empty());
    // Another key of the same serial asks for itself.
    assert_eq!(
        outcome(&storage, ask("SN1", 'b', 4, 0)).await,
        ClaimOutcome::AwaitingApproval
    );
    // A person may change their mind.
    assert!(decide(&storage, "SN1", 'a', Approval::Approved).await);
    assert_eq!(issue(&*storage, ask("SN1", 'a', 5, 0)).await.revision, 2);
}

pub(crate) async fn an_approval_is_good_for_one_serial_of_one_key(engine: &dyn Engine) {
    let storage = engine.open().await;
    issue(&*storage, ask("SN1", 'a', 1, 0)).await;
    assert_eq!(
        outcome(&storage, ask("SN1", 'a', 2, 0)).await,
        ClaimOutcome::AwaitingApproval
    );
    // A device that starts over asks with a new request-id; the old one is spent, the time of asking stays.
    assert_eq!(
        outcome(&storage, ask("SN1", 'a', 3, 100)).await,
        ClaimOutcome::AwaitingApproval
    );
    assert_eq!(
        outcome(&storage, ask("SN1", 'a', 2, 100)).await,
        ClaimOutcome::StaleRequest
    );
    assert_eq!(waiting(&storage).await, [("SN1".to_owned(), 0)]);
    assert!(decide(&storage, "SN1", 'a', Approval::Approved).await);
    assert_eq!(
        outcome(&storage, ask("SN1", 'b', 4, 0)).await,
        ClaimOutcome::AwaitingApproval
    );
    // An approved request may come with a new request-id, too.
    assert_eq!(issue(&*storage, ask("SN1", 'a', 5, 0)).await.revision, 2);
    assert_eq!(
        outcome(&storage, ask("SN1", 'a', 6, 0)).await,
        ClaimOutcome::AwaitingApproval,
        "it is used up"
    );
    // Once the policy changes, nobody waits in vain.
    assert_eq!(issue(&*storage, claim("SN1", 'a', 7)).await.revision, 3);
    assert_eq!(waiting(&storage).await, [("SN1".to_owned(), 0)], "that of key b");
}

pub(crate) async fn only_a_waiting_request_is_decided(engine: &dyn Engine) {
    let storage = engine.open().await;
    assert!(!decide(&storage, "SN1", 'a', Approval::Approved).await);
    issue(&*storage, ask("SN1", 'a', 1, 0)).await;
    assert!(!decide(&storage, "SN1", 'a', Approval::Rejected).await);
    let entries = storage
        .audit_entries(&AuditFilter {
            limit: 10,
            ..AuditFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(entries.len(), 1, "only the signature");
    for (serial, number) in [("SN1", 2), ("SN2", 3), ("SN3", 4)] {
        if serial != "SN1" {
            issue(&*storage, claim(serial, 'a', number + 10)).await;
        }
        let seconds = 100 - 10 * i64::try_from(number).unwrap();
        assert_eq!(
            outcome(&storage, ask(serial, 'a', number, seconds)).await,
            ClaimOutcome::AwaitingApproval
        );
    }
    let oldest_first = [
        ("SN3".to_owned(), 60),
        ("SN2".to_owned(), 70),
        ("SN1".to_owned(), 80),
    ];
    assert_eq!(waiting(&storage).await, oldest_first);
    assert!(
        storage
            .approvals(&"brand-two".parse().unwrap())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(decide(&storage, "SN2", 'a', Approval::Approved).await);
    assert!(
        !decide(&storage, "SN2", 'a', Approval::Approved).await,
        "decided already"
    );
    assert_eq!(waiting(&storage).await.len(), 2);
    let filter = AuditFilter {
        action_prefix: Some("serial.approve".to_owned()),
        limit: 10,
        ..AuditFilter::default()
    };
    assert_eq!(storage.audit_entries(&filter).await.unwrap().len(), 1);
    let reservation = place(outcome(&storage, ask("SN2", 'a', 3, 9000)).await);
    assert_eq!(reservation.revision, 2);
}

fn serials(names: &[&str]) -> Vec<SerialNumber> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

async fn judge(storage: &Arc<dyn Storage>, names: &[&str], standing: Option<Standing>, time: i64) {
    let audit = event("serial.judge", "gate-1");
    storage
        .set_standing(
            &brand(),
            &model("gate-1"),
            &serials(names),
            standing,
            at(time),
            audit,
        )
        .await
        .unwrap();
}

async fn judged(
    storage: &Arc<dyn Storage>,
    after: Option<&str>,
    limit: usize,
) -> Vec<(String, Standing, i64)> {
    let after = after.map(|name| name.parse().unwrap());
    let rows = storage
        .standings(&brand(), &model("gate-1"), after.as_ref(), limit)
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            (
                row.device.serial.to_string(),
                row.standing,
                row.since.unix() - at(0).unix(),
            )
        })
        .collect()
}

pub(crate) async fn standings_are_listed_by_serial(engine: &dyn Engine) {
    let storage = engine.open().await;
    judge(&storage, &["b", "a", "d é", "ab"], Some(Standing::Allowed), 5).await;
    judge(&storage, &["ab", "c"], Some(Standing::Denied), 9).await;
    judge(&storage, &["b", "unknown"], None, 10).await;
    let (allowed, denied) = (Standing::Allowed, Standing::Denied);
    let all = [
        ("a", allowed, 5),
        ("ab", denied, 9),
        ("c", denied, 9),
        ("d é", allowed, 5),
    ];
    let all: Vec<_> = all
        .iter()
        .map(|(name, standing, time)| ((*name).to_owned(), *standing, *time))
        .collect();
    assert_eq!(judged(&storage, None, 10).await, all);
    assert_eq!(judged(&storage, Some("ab"), 1).await, all[2..3]);
    assert_eq!(judged(&storage, Some("abc"), 10).await, all[2..]);
    assert!(judged(&storage, Some("d é"), 10).await.is_empty());
    let elsewhere = storage
        .standings(&brand(), &model("gate"), None, 10)
        .await
        .unwrap();
    assert!(elsewhere.is_empty());
    assert_eq!(
        storage.standing(&device("ab")).await.unwrap(),
        Some(Standing::Denied)
    );
    assert_eq!(storage.standing(&device("b")).await.unwrap(), None);
    let entries = storage
        .audit_entries(&AuditFilter {
            limit: 10,
            ..AuditFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(entries.len(), 3);
}

pub(crate) async fn judgements_survive_a_restart(engine: &dyn Engine) {
    let storage = engine.open().await;
    judge(&storage, &["a", "b", "c"], Some(Standing::Denied), 0).await;
    judge(&storage, &["b"], None, 0).await;
    drop(storage);
    let storage = engine.open().await;
    assert_eq!(judged(&storage, None, 10).await.len(), 2);
    assert_eq!(outcome(&storage, claim("a", 'a', 1)).await, ClaimOutcome::Denied);
    place(outcome(&storage, claim("b", 'a', 2)).await);
}
