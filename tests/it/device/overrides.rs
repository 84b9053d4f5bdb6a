//! Revisions that a store pins, as a device of it sees them over HTTP (admin-api.md 4.1).

use hallmark::app::StoreCtx;
use hallmark::app::catalog::overrides::{self, Wanted};
use hallmark::domain::catalog::RevisionRecord;
use serde_json::{Value, json};

use super::Field;
use super::stock::{Device, Stock, device, field, installed, outcomes, refresh_action};

/// Pins a revision of `agent` in a store; none takes the pin back.
async fn pin(field: &Field, store: &str, channel: &str, revision: Option<u64>) {
    let ctx = StoreCtx::local(&field.app, &store.parse().unwrap())
        .await
        .unwrap();
    let wanted = Wanted {
        snap: "agent".parse().unwrap(),
        channel: channel.parse().unwrap(),
        revision,
    };
    overrides::set(&field.app, &ctx, &[wanted]).await.unwrap();
}

/// A field whose snap `agent` has revisions up to 4; 1 is in stable and 3 in candidate, for all.
async fn agents() -> Field {
    let field = field().await;
    let stock = Stock { field: &field };
    for revision in 2..=4 {
        stock
            .revision("agent", revision, &format!("agent {revision}"), |_| ())
            .await;
    }
    stock.release("agent", 3, "candidate").await;
    field
}

async fn offered(device: &Device<'_>, has: u64, channel: &str) -> String {
    let context = json!([installed("agent", has, channel)]);
    let answer = device.refresh(context, json!([refresh_action("agent")])).await;
    outcomes(&answer).remove(0)
}

/// What somebody without a session installs who names this store.
async fn built(field: &Field, store: &str, channel: &str) -> String {
    let action = json!({"action": "download", "instance-key": "d", "name": "agent", "channel": channel});
    let body = json!({"context": [], "actions": [action], "fields": ["name"]}).to_string();
    let headers = [
        ("snap-device-store", store),
        ("snap-device-architecture", "amd64"),
    ];
    let answer = field.call("POST", "/v2/snaps/refresh", &headers, &body).await;
    outcomes(&answer.json()).remove(0)
}

/// The channel map of `agent`, as a search and `info` tell the device.
async fn told(device: &Device<'_>) -> (Vec<String>, Value) {
    let info = device.get("/v2/snaps/info/agent?fields=revision").await.json();
    let map = info["channel-map"].as_array().unwrap();
    let map = map.iter().map(|entry| {
        let (name, revision) = (&entry["channel"]["name"], &entry["revision"]);
        format!("{}={revision}", name.as_str().unwrap())
    });
    let found = device.get("/v2/snaps/find?q=agent&fields=revision").await.json();
    (map.collect(), found["results"][0]["revision"]["revision"].clone())
}

#[tokio::test]
async fn a_device_follows_the_override_of_its_store_until_it_is_deleted() {
    let field = agents().await;
    let device = device(&field).await;
    // Asked before, so that what is kept for the next one cannot be what answers.
    assert_eq!(offered(&device, 1, "stable").await, "1@latest/stable");
    let before = told(&device).await;
    assert_eq!(before, (vec!["stable=1".into(), "candidate=3".into()], json!(1)));

    pin(&field, "acme-store", "stable", Some(2)).await;
    assert_eq!(offered(&device, 1, "stable").await, "2@latest/stable");
    assert_eq!(offered(&device, 4, "stable").await, "2@latest/stable");
    assert_eq!(device.install(&["agent"], "stable").await, ["2@latest/stable"]);
    assert_eq!(device.install(&["agent"], "2.0").await, ["revision-not-found"]);
    // Candidate is open: it answers itself. A risk beyond answers with it.
    assert_eq!(offered(&device, 1, "candidate").await, "3@latest/candidate");
    assert_eq!(offered(&device, 1, "edge").await, "3@latest/candidate");
    assert_eq!(built(&field, "acme-store", "stable").await, "2@latest/stable");
    assert_eq!(
        told(&device).await,
        (vec!["stable=2".into(), "candidate=3".into()], json!(2))
    );
    let details = device
        .get("/api/v1/snaps/details/agent?channel=stable")
        .await
        .json();
    assert_eq!(details["revision"], 2);
    // The base store of the same brand pins nothing.
    assert_eq!(built(&field, "acme", "stable").await, "1@latest/stable");

    // A closed channel is open where it is pinned.
    pin(&field, "acme-store", "edge", Some(4)).await;
    assert_eq!(offered(&device, 1, "edge").await, "4@latest/edge");
    assert_eq!(offered(&device, 1, "beta").await, "3@latest/candidate");
    assert_eq!(told(&device).await.0, ["stable=2", "candidate=3", "edge=4"]);
    // What the publisher does changes nothing where it is pinned.
    Stock { field: &field }.release("agent", 3, "stable").await;
    assert_eq!(offered(&device, 1, "stable").await, "2@latest/stable");

    pin(&field, "acme-store", "stable", None).await;
    pin(&field, "acme-store", "edge", None).await;
    assert_eq!(offered(&device, 2, "stable").await, "3@latest/stable");
    assert_eq!(offered(&device, 1, "edge").await, "3@latest/candidate");
    assert_eq!(
        told(&device).await,
        (vec!["stable=3".into(), "candidate=3".into()], json!(3))
    );
}

#[tokio::test]
async fn percentages_and_cohorts_do_not_matter_where_something_is_pinned() {
    let field = agents().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    let now = stock.now();
    let headers = [("snap-device-authorization", device.session.as_str())];
    let body = json!({"snaps": ["agent"]}).to_string();
    let answer = field.call("POST", "/v2/cohorts", &headers, &body).await.json();
    let mut joined = refresh_action("agent");
    joined["cohort-key"] = answer["cohort-keys"]["agent"].clone();
    stock
        .edit("agent", |record| {
            let all = ["all".parse().unwrap()];
            let stable = "stable".parse().unwrap();
            record.releases.release(&all, &stable, 4, Some(99.999_999), now);
        })
        .await;
    assert_eq!(offered(&device, 1, "stable").await, "4@latest/stable");
    pin(&field, "acme-store", "stable", Some(2)).await;
    assert_eq!(offered(&device, 1, "stable").await, "2@latest/stable");
    assert_eq!(offered(&device, 4, "stable").await, "2@latest/stable");
    let context = json!([installed("agent", 1, "stable")]);
    let answer = device.refresh(context, json!([joined])).await;
    assert_eq!(outcomes(&answer), ["2@latest/stable"]);
}

#[tokio::test]
async fn no_device_is_told_a_pinned_revision_it_cannot_read() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    for (revision, epoch) in [(2, "1*"), (3, "2*"), (4, "2")] {
        let epoch = |record: &mut RevisionRecord| record.epoch = epoch.parse().unwrap();
        let content = format!("agent {revision}");
        stock.revision("agent", revision, &content, epoch).await;
    }
    let offered = async |has: u64, epoch: [&[u32]; 2]| {
        let mut snap = installed("agent", has, "stable");
        snap["epoch"] = json!({"read": epoch[0], "write": epoch[1]});
        let answer = device
            .refresh(json!([snap]), json!([refresh_action("agent")]))
            .await;
        outcomes(&answer).remove(0)
    };
    pin(&field, "acme-store", "stable", Some(4)).await;
    // No way leads there: who cannot read it stays.
    assert_eq!(offered(1, [&[0], &[0]]).await, "1@latest/stable");
    assert_eq!(offered(3, [&[1, 2], &[2]]).await, "4@latest/stable");
    // Where the channel held what lies between, devices go step by step.
    stock.release("agent", 2, "stable").await;
    stock.release("agent", 3, "stable").await;
    assert_eq!(offered(1, [&[0], &[0]]).await, "2@latest/stable");
    assert_eq!(offered(2, [&[0, 1], &[1]]).await, "3@latest/stable");
    // Pinned to something earlier: who cannot go back stays, too.
    pin(&field, "acme-store", "stable", Some(1)).await;
    assert_eq!(offered(3, [&[1, 2], &[2]]).await, "3@latest/stable");
    assert_eq!(offered(9, [&[7], &[7]]).await, "revision-not-found");
    assert_eq!(device.install(&["agent"], "stable").await, ["1@latest/stable"]);
}

#[tokio::test]
async fn an_override_of_a_snap_the_device_does_not_see_tells_nothing() {
    let field = agents().await;
    let device = device(&field).await;
    pin(&field, "acme", "stable", Some(2)).await;
    assert_eq!(offered(&device, 1, "stable").await, "1@latest/stable");
    assert_eq!(built(&field, "acme", "stable").await, "2@latest/stable");
    assert_eq!(built(&field, "other", "stable").await, "name-not-found");
}
