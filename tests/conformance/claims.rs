//! Claims: races, request-ids, policies.

use std::sync::Arc;

use hallmark::domain::vault::claim::PresentedRequestId;
use hallmark::domain::vault::{ClaimOutcome, ClaimRules, Reissue, SerialClaim, Standing};
use hallmark::ports::{SerialFilter, Storage};

use super::samples::{
    at, brand, claim, claim_under, device, event, everything, issue, model, place, request_id, rules, signed,
};
use super::{Engine, race, restart};

async fn outcome(storage: &Arc<dyn Storage>, claim: SerialClaim) -> ClaimOutcome {
    storage.claim(claim).await.unwrap()
}

pub(crate) async fn racing_claims_for_one_serial_get_dense_revisions(engine: &dyn Engine) {
    let storage = engine.open().await;
    let mut revisions = race(16, |number| {
        let storage = storage.clone();
        let letter = char::from(b'a' + u8::try_from(number % 4).unwrap());
        async move {
            issue(&*storage, claim("SN1", letter, number as u64))
                .await
                .revision
        }
    })
    .await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=16).collect::<Vec<_>>());
    let history = storage.history(&device("SN1")).await.unwrap();
    assert_eq!(
        history.iter().map(|row| row.revision).collect::<Vec<_>>(),
        (1..=16).rev().collect::<Vec<_>>()
    );
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn a_request_id_buys_exactly_one_serial(engine: &dyn Engine) {
    let storage = engine.open().await;
    let outcomes = race(16, |number| {
        let storage = storage.clone();
        // Half of them for one serial, the others for serials of their own.
        let serial = if number % 2 == 0 {
            "SN1".to_owned()
        } else {
            format!("SN1-{number}")
        };
        async move { storage.claim(claim(&serial, 'a', 1)).await.unwrap() }
    })
    .await;
    let places: Vec<_> = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, ClaimOutcome::Reserved(_)))
        .collect();
    assert_eq!(places.len(), 1);
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == ClaimOutcome::StaleRequest)
            .count(),
        15
    );
    let reservation = place(places[0].clone());
    storage
        .issue(&reservation, signed(&reservation), event("serial.sign", "x"))
        .await
        .unwrap();
    assert_eq!(
        outcome(&storage, claim("SN1", 'a', 1)).await,
        ClaimOutcome::StaleRequest
    );
    let storage = restart(engine, storage).await;
    assert_eq!(
        outcome(&storage, claim("SN1", 'a', 1)).await,
        ClaimOutcome::StaleRequest
    );
    assert_eq!(storage.serials(&everything()).await.unwrap().len(), 1);
}

pub(crate) async fn a_request_id_is_good_to_its_last_second(engine: &dyn Engine) {
    let storage = engine.open().await;
    let after = |seconds, number| SerialClaim {
        now: at(seconds),
        ..claim("SN1", 'a', number)
    };
    assert_eq!(outcome(&storage, after(601, 1)).await, ClaimOutcome::StaleRequest);
    place(outcome(&storage, after(600, 1)).await);
    place(outcome(&storage, after(599, 2)).await);
    assert_eq!(outcome(&storage, after(601, 2)).await, ClaimOutcome::StaleRequest);
    // The clock of the server went back: a spent one stays spent.
    assert_eq!(outcome(&storage, after(599, 1)).await, ClaimOutcome::StaleRequest);
    assert_eq!(outcome(&storage, after(0, 2)).await, ClaimOutcome::StaleRequest);
}

pub(crate) async fn the_policy_allow_gives_a_new_revision_to_anyone(engine: &dyn Engine) {
    let storage = engine.open().await;
    for (number, letter) in [(1, 'a'), (2, 'a'), (3, 'b'), (4, 'a')] {
        assert_eq!(
            issue(&*storage, claim("SN1", letter, number)).await.revision,
            number
        );
    }
    // The same key may have several serials; revisions are counted per serial.
    assert_eq!(issue(&*storage, claim("SN2", 'a', 5)).await.revision, 1);
    let mut elsewhere = claim("SN1", 'a', 6);
    elsewhere.device.model = model("gate-2");
    assert_eq!(issue(&*storage, elsewhere).await.revision, 1);
    let mut other_brand = claim("SN1", 'a', 7);
    other_brand.device.brand = "brand-two".parse().unwrap();
    assert_eq!(issue(&*storage, other_brand).await.revision, 1);
}

pub(crate) async fn the_policy_same_key_only_refuses_other_keys(engine: &dyn Engine) {
    let storage = engine.open().await;
    let rules = rules(Reissue::SameKeyOnly);
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN1", 'a', 1))
            .await
            .revision,
        1
    );
    assert_eq!(
        outcome(&storage, claim_under(&rules, "SN1", 'b', 2)).await,
        ClaimOutcome::Duplicate
    );
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN1", 'a', 3))
            .await
            .revision,
        2
    );
    // The key of the latest counts; a place that is only reserved counts too.
    let reservation = place(outcome(&storage, claim("SN1", 'b', 4)).await);
    assert_eq!(
        outcome(&storage, claim_under(&rules, "SN1", 'a', 5)).await,
        ClaimOutcome::Duplicate
    );
    assert_eq!(
        place(outcome(&storage, claim_under(&rules, "SN1", 'b', 6)).await).revision,
        4
    );
    storage.void(&reservation).await.unwrap();
    assert_eq!(
        outcome(&storage, claim_under(&rules, "SN1", 'a', 7)).await,
        ClaimOutcome::Duplicate
    );
}

pub(crate) async fn the_policy_deny_refuses_a_second_time(engine: &dyn Engine) {
    let storage = engine.open().await;
    let rules = rules(Reissue::Deny);
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN1", 'a', 1))
            .await
            .revision,
        1
    );
    for (number, letter) in [(2, 'a'), (3, 'b')] {
        assert_eq!(
            outcome(&storage, claim_under(&rules, "SN1", letter, number)).await,
            ClaimOutcome::Duplicate
        );
    }
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN2", 'a', 4))
            .await
            .revision,
        1
    );
    // A place given up was no serial: the next one gets through, with the revision after the hole.
    let reservation = place(outcome(&storage, claim_under(&rules, "SN3", 'a', 5)).await);
    assert_eq!(
        outcome(&storage, claim_under(&rules, "SN3", 'a', 6)).await,
        ClaimOutcome::Duplicate
    );
    storage.void(&reservation).await.unwrap();
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN3", 'a', 7))
            .await
            .revision,
        2
    );
}

pub(crate) async fn an_allow_list_lets_only_its_serials_through(engine: &dyn Engine) {
    let storage = engine.open().await;
    let rules = ClaimRules {
        allow_list: true,
        ..ClaimRules::default()
    };
    assert_eq!(
        outcome(&storage, claim_under(&rules, "SN1", 'a', 1)).await,
        ClaimOutcome::NotAllowed
    );
    let serials = ["SN1".parse().unwrap(), "SN 2 é".parse().unwrap()];
    let allow = |standing| {
        let (storage, serials) = (storage.clone(), serials.clone());
        async move {
            let audit = event("serial.allow", "gate-1");
            storage
                .set_standing(&brand(), &model("gate-1"), &serials, standing, at(0), audit)
                .await
                .unwrap();
        }
    };
    allow(Some(Standing::Allowed)).await;
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN1", 'a', 2))
            .await
            .revision,
        1
    );
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN 2 é", 'a', 3))
            .await
            .revision,
        1
    );
    let mut elsewhere = claim_under(&rules, "SN1", 'a', 4);
    elsewhere.device.model = model("gate-2");
    assert_eq!(outcome(&storage, elsewhere).await, ClaimOutcome::NotAllowed);
    allow(None).await;
    assert_eq!(
        outcome(&storage, claim_under(&rules, "SN1", 'a', 5)).await,
        ClaimOutcome::NotAllowed
    );
    assert_eq!(issue(&*storage, claim("SN1", 'a', 6)).await.revision, 2);
}

pub(crate) async fn a_denied_serial_is_refused_whatever_the_policy(engine: &dyn Engine) {
    let storage = engine.open().await;
    issue(&*storage, claim("SN1", 'a', 1)).await;
    let denied = Some(Standing::Denied);
    let serials = ["SN1".parse().unwrap(), "SN2".parse().unwrap()];
    let audit = event("serial.deny", "gate-1");
    storage
        .set_standing(&brand(), &model("gate-1"), &serials, denied, at(0), audit)
        .await
        .unwrap();
    let all = [
        Reissue::Allow,
        Reissue::SameKeyOnly,
        Reissue::Deny,
        Reissue::Approve,
    ];
    for (number, reissue) in (10..).zip(all) {
        for (offset, allow_list) in [(0, false), (10, true)] {
            for (further, serial) in [(0, "SN1"), (20, "SN2")] {
                let rules = ClaimRules {
                    allow_list,
                    ..rules(reissue)
                };
                let denied = claim_under(&rules, serial, 'a', number + offset + further);
                assert_eq!(outcome(&storage, denied).await, ClaimOutcome::Denied);
            }
        }
    }
}

pub(crate) async fn a_quota_counts_distinct_serials(engine: &dyn Engine) {
    let storage = engine.open().await;
    let rules = ClaimRules {
        quota: Some(2),
        ..ClaimRules::default()
    };
    let full = ClaimOutcome::QuotaReached { quota: 2 };
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN1", 'a', 1))
            .await
            .revision,
        1
    );
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN1", 'a', 2))
            .await
            .revision,
        2
    );
    let reservation = place(outcome(&storage, claim_under(&rules, "SN2", 'a', 3)).await);
    assert_eq!(outcome(&storage, claim_under(&rules, "SN3", 'a', 4)).await, full);
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN1", 'b', 5))
            .await
            .revision,
        3
    );
    // Other models have quotas of their own.
    let mut elsewhere = claim_under(&rules, "SN3", 'a', 6);
    elsewhere.device.model = model("gate-2");
    assert_eq!(issue(&*storage, elsewhere).await.revision, 1);
    // A place given up does not count.
    storage.void(&reservation).await.unwrap();
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN3", 'a', 7))
            .await
            .revision,
        1
    );
    assert_eq!(outcome(&storage, claim_under(&rules, "SN2", 'a', 8)).await, full);
    let storage = restart(engine, storage).await;
    assert_eq!(outcome(&storage, claim_under(&rules, "SN2", 'a', 9)).await, full);
    assert_eq!(
        issue(&*storage, claim_under(&rules, "SN3", 'a', 10))
            .await
            .revision,
        2
    );
}

pub(crate) async fn racing_claims_do_not_exceed_a_quota(engine: &dyn Engine) {
    let storage = engine.open().await;
    let outcomes = race(16, |number| {
        let storage = storage.clone();
        let rules = ClaimRules {
            quota: Some(5),
            ..ClaimRules::default()
        };
        let claim = claim_under(&rules, &format!("SN{number}"), 'a', number as u64);
        async move { storage.claim(claim).await.unwrap() }
    })
    .await;
    let places = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, ClaimOutcome::Reserved(_)))
        .count();
    assert_eq!(places, 5);
    assert!(
        outcomes
            .iter()
            .filter(|o| **o == ClaimOutcome::QuotaReached { quota: 5 })
            .count()
            == 11
    );
}

pub(crate) async fn a_refusal_spends_the_request_id_for_good(engine: &dyn Engine) {
    let storage = engine.open().await;
    let closed = ClaimRules {
        allow_list: true,
        ..ClaimRules::default()
    };
    assert_eq!(
        outcome(&storage, claim_under(&closed, "SN1", 'a', 1)).await,
        ClaimOutcome::NotAllowed
    );
    let full = ClaimRules {
        quota: Some(0),
        ..ClaimRules::default()
    };
    assert_eq!(
        outcome(&storage, claim_under(&full, "SN1", 'a', 2)).await,
        ClaimOutcome::QuotaReached { quota: 0 }
    );
    // A crash after the answer does not bring them back.
    drop(storage);
    let storage = engine.open().await;
    for number in [1, 2] {
        assert_eq!(
            outcome(&storage, claim("SN1", 'a', number)).await,
            ClaimOutcome::StaleRequest
        );
    }
    assert!(storage.serials(&everything()).await.unwrap().is_empty());
    assert_eq!(
        storage
            .count_serials(&SerialFilter {
                limit: 0,
                ..everything()
            })
            .await
            .unwrap(),
        0
    );
}

pub(crate) async fn revisions_start_above_a_floor(engine: &dyn Engine) {
    let storage = engine.open().await;
    let above = ClaimRules {
        revision_floor: 40,
        ..ClaimRules::default()
    };
    assert_eq!(
        issue(&*storage, claim_under(&above, "SN1", 'a', 1))
            .await
            .revision,
        41
    );
    assert_eq!(
        issue(&*storage, claim_under(&above, "SN1", 'a', 2))
            .await
            .revision,
        42
    );
    assert_eq!(issue(&*storage, claim("SN1", 'a', 3)).await.revision, 43);
    let far = SerialClaim {
        request_id: PresentedRequestId {
            expires: at(9_999_999),
            ..request_id(4)
        },
        now: at(5_000_000),
        ..claim("SN1", 'a', 4)
    };
    assert_eq!(issue(&*storage, far).await.revision, 44);
}
