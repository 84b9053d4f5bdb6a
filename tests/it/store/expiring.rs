//! Revisions beyond what a store keeps, and files that nothing names any more.

use hallmark::app::{doctor, upkeep};
use hallmark::domain::assertion::AssertionType as T;
use hallmark::domain::blob::BlobId;
use hallmark::domain::catalog::RevisionRecord;
use hallmark::domain::review::ReviewRecord;
use hallmark::ports::Key;
use serde_json::{Value, json};

use super::shop::*;

async fn numbers(shop: &Shop) -> Vec<u64> {
    let id = shop.snap("gizmo").await.id;
    let all = shop
        .app
        .storage
        .all::<RevisionRecord>([id.as_str()])
        .await
        .unwrap();
    all.into_iter().map(|found| found.record.revision).collect()
}

/// One round of what a server does besides answering.
async fn round(shop: &Shop) {
    upkeep(shop.app.clone(), async {}).await;
}

#[tokio::test]
async fn only_the_newest_unreleased_revisions_are_kept_where_a_store_says_so() {
    let shop = Shop::new().await;
    let file = |version: u32| snap_file("gizmo", &version.to_string(), "");
    for version in 1..=6 {
        let query = if version == 2 { "release=edge" } else { "" };
        shop.send("pub", query, file(version)).await.ok();
    }
    let waits = snap_file("gizmo", "7", "plugs: {snapd-control: null}\n");
    shop.send("pub", "", waits).await.ok();
    shop.clock.advance(4000);
    round(&shop).await;
    assert_eq!(numbers(&shop).await, [1, 2, 3, 4, 5, 6, 7], "off by default");

    for (who, body, refusal) in [
        ("pub", json!({"keep-unreleased": 2}), (404, "resource-not-found")),
        ("admin", json!({"keep-unreleased": -1}), (400, "invalid-request")),
        ("admin", json!({"keep-unreleased": "2"}), (400, "invalid-request")),
    ] {
        let answer = shop.call(who, "PUT", "/stores/acme", body).await;
        assert_eq!(answer.refusal(), refusal);
    }
    let set = shop
        .call("admin", "PUT", "/stores/acme", json!({"keep-unreleased": 2}))
        .await
        .ok();
    assert_eq!(set["keep-unreleased"], 2);
    round(&shop).await;
    // 2 is released, 7 waits for a person, 5 and 6 are the newest of the others.
    assert_eq!(numbers(&shop).await, [2, 5, 6, 7]);
    let kept = shop.blobs().await;
    for version in 1..=6 {
        let there = kept.contains(&BlobId::of(&file(version)).to_string());
        assert_eq!(there, [2, 5, 6].contains(&version), "{version}");
    }
    let reviews = shop
        .app
        .storage
        .all::<ReviewRecord>(Key(Vec::new()))
        .await
        .unwrap();
    assert_eq!(reviews.len(), 4);
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
    // The assertion stays, the number is not given again, and the same bytes are the same revision.
    let digest = BlobId::of(&file(3)).to_base64url();
    assert!(
        shop.assertion(T::SnapRevision, [&digest, "global-upload"])
            .await
            .is_some()
    );
    let again = shop.send("pub", "release=beta", file(3)).await.ok();
    assert_eq!(
        (&again["revision"]["revision"], &again["new"]),
        (&json!(3), &json!(true))
    );
    let next = shop.send("pub", "", file(8)).await.ok();
    assert_eq!(next["revision"]["revision"], 8);
    // What a channel held stays as long as it is remembered.
    shop.call("pub", "POST", "/snaps/gizmo/close", json!({"channel": "beta"}))
        .await
        .ok();
    round(&shop).await;
    assert_eq!(numbers(&shop).await, [2, 3, 6, 7, 8]);
    let off = json!({"keep-unreleased": null});
    let set = shop.call("admin", "PUT", "/stores/acme", off).await.ok();
    assert_eq!(set["keep-unreleased"], Value::Null);
}

#[tokio::test]
async fn files_of_what_waits_are_not_garbage() {
    let shop = Shop::new().await;
    let held = |version: &str, icon: &str| {
        snap_file_with_icon("gizmo", version, "plugs: {snapd-control: null}\n", icon)
    };
    shop.send("pub", "", snap_file("gizmo", "1", "")).await.ok();
    shop.send("pub", "", held("2", "other")).await.ok();
    shop.send("pub", "", held("3", "third")).await.ok();
    shop.call("admin", "PUT", "/stores/acme", json!({"keep-unreleased": 0}))
        .await
        .ok();
    shop.clock.advance(4000);
    // Revision 1 goes; the listing still shows its icon.
    round(&shop).await;
    assert_eq!(numbers(&shop).await, [2, 3]);
    assert_eq!(shop.blobs().await.len(), 5, "two files, three icons");
    let reject = json!({"action": "reject", "comment": "no"});
    shop.call("rev", "POST", "/snaps/gizmo/revisions/2/review", reject)
        .await
        .ok();
    let approve = json!({"action": "approve"});
    shop.call("rev", "POST", "/snaps/gizmo/revisions/3/review", approve)
        .await
        .ok();
    // The icon of revision 1 is shown no more, and goes at once; the one that was approved stays.
    assert_eq!(shop.blobs().await.len(), 4);
    round(&shop).await;
    assert_eq!(numbers(&shop).await, [0u64; 0], "nothing is released");
    assert_eq!(shop.blobs().await.len(), 1, "the icon that is shown");
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
}
