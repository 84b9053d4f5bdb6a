//! What the store takes from the files of a snap besides `snap.yaml`.

use hallmark::domain::catalog::RevisionRecord;
use serde_json::{Value, json};

use super::shop::*;

#[tokio::test]
async fn a_gadget_is_taken_with_a_gadget_yaml_that_can_be_read() {
    let shop = Shop::new().await;
    let bomb = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(20_000), "*a,".repeat(20_000));
    for (text, why) in [
        ("- volumes", "must be a map"),
        ("volumes", "must be a map"),
        ("volumes: [", "is not valid YAML"),
        ("a: 1\na: 2", "twice"),
        (bomb.as_str(), "too much of it"),
    ] {
        let file = gadget_file("1", Some(text), &[], "");
        let answer = shop.send("operator", "publisher=acme", file).await;
        assert_eq!(answer.refusal(), (400, "invalid-snap-yaml"), "{:?}", answer.body);
        let message = answer.body["error-list"][0]["message"].as_str().unwrap();
        assert!(
            message.starts_with("cannot use the snap: cannot use gadget.yaml: it ") && message.contains(why),
            "{message}"
        );
    }
    assert_eq!(shop.blobs().await, [""; 0]);
    // Devices take these; a snap that is no gadget may have anything there.
    for (version, text) in [("1", Some("{}")), ("2", Some("")), ("3", None)] {
        let file = gadget_file(version, text, &[], "");
        shop.send("operator", "publisher=acme", file).await.ok();
    }
}

#[tokio::test]
async fn the_hooks_of_a_snap_are_kept_and_shown() {
    let shop = Shop::new().await;
    let file = gadget_file(
        "1",
        Some("volumes: {}"),
        &["prepare-device", "install", "README.md"],
        "hooks: {configure: {plugs: [network]}}\n",
    );
    shop.send("operator", "publisher=acme", file).await.ok();
    let shown = shop
        .call("operator", "GET", "/snaps/board", Value::Null)
        .await
        .ok();
    assert_eq!(
        shown["revisions"][0]["hooks"],
        json!(["configure", "install", "prepare-device"])
    );
    // What was kept before hooks were is read all the same.
    let id = shop.snap("board").await.id;
    let found = shop
        .app
        .storage
        .find::<RevisionRecord>([id.as_str(), "0000000001"])
        .await;
    let mut old = serde_json::to_value(found.unwrap().unwrap().record).unwrap();
    old.as_object_mut().unwrap().remove("hooks").unwrap();
    let old: RevisionRecord = serde_json::from_value(old).unwrap();
    assert_eq!(serde_json::to_value(old).unwrap()["hooks"], json!([]));
}
