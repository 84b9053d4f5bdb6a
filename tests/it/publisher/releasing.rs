//! Releases, and the lists that strict clients read of them.

use serde_json::{Value, json};

use super::snapcraft::{Client, keys};
use crate::store::shop::{Shop, snap_file};

/// A shop with revisions 1 to 3 of `my-snap`; its id.
async fn stocked(shop: &Shop) -> String {
    let client = Client::new(shop, "pub");
    let id = client.register("my-snap").await;
    for version in ["1.1", "1.2", "1.3"] {
        let file = snap_file(
            "my-snap",
            version,
            "architectures: [amd64]\nbase: core22\ngrade: stable\n",
        );
        client.publish("my-snap", &file, json!({})).await;
        shop.clock.advance(10);
    }
    id
}

async fn release(
    client: &Client<'_>,
    revision: Value,
    channels: &[&str],
    more: Value,
) -> crate::store::shop::Answer {
    let mut body = json!({"name": "my-snap", "revision": revision, "channels": channels});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    client.call("POST", "/dev/api/snap-release/", body).await
}

#[tokio::test]
async fn releases_and_closings_as_the_oldest_client_wants_them() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = stocked(&shop).await;
    let row = |channel: &str, revision: Option<u64>, otherwise: &str| match revision {
        Some(revision) => {
            json!({"channel": channel, "info": "specific", "version": format!("1.{revision}"), "revision": revision})
        }
        None => json!({"channel": channel, "info": otherwise}),
    };
    let answer = release(&client, json!("1"), &["candidate"], json!({})).await.ok();
    assert_eq!(
        keys(&answer),
        ["channel_map", "channel_map_tree", "opened_channels", "success"]
    );
    assert_eq!(answer["opened_channels"], json!(["candidate"]));
    assert_eq!(
        answer["channel_map_tree"],
        json!({"latest": {"16": {"amd64": [
            row("stable", None, "none"), row("candidate", Some(1), ""), row("beta", None, "tracking"),
            row("edge", None, "tracking"),
        ]}}})
    );
    // Opened is what was closed.
    let answer = release(&client, json!(2), &["candidate", "latest/beta"], json!({}))
        .await
        .ok();
    assert_eq!(answer["opened_channels"], json!(["beta"]));
    let branch = release(&client, json!("3"), &["stable/fix"], json!({}))
        .await
        .ok();
    let tree = &branch["channel_map_tree"]["latest"]["16"]["amd64"][4];
    assert_eq!(
        keys(tree),
        ["channel", "expires_at", "info", "revision", "version"]
    );
    assert_eq!(
        (&tree["channel"], &tree["info"]),
        (&json!("stable/fix"), &json!("branch"))
    );
    let close = |channels: Value| {
        let (client, path) = (&client, format!("/dev/api/snaps/{id}/close"));
        async move { client.call("POST", &path, json!({"channels": channels})).await }
    };
    let closed = close(json!(["beta", "edge"])).await.ok();
    assert_eq!(closed["closed_channels"], json!(["beta"]));
    assert_eq!(
        closed["channel_map_tree"]["latest"]["16"]["amd64"][2],
        row("beta", None, "tracking")
    );
    assert_eq!(close(json!(["beta"])).await.refusal(), (409, "channel-closed"));
    assert_eq!(close(json!([])).await.refusal(), (400, "channel-required"));
    assert_eq!(
        close(json!(["x/y/z/u"])).await.refusal(),
        (400, "invalid-request")
    );
    let state = client.get(&format!("/dev/api/snaps/{id}/state?series=16")).await;
    assert_eq!(state["channel_map_tree"], closed["channel_map_tree"]);
    for (revision, channels, more, refusal) in [
        (
            json!("77"),
            vec!["stable"],
            json!({}),
            (404, "resource-not-found"),
        ),
        (json!("0"), vec!["stable"], json!({}), (400, "invalid-revision")),
        (json!("+1"), vec!["stable"], json!({}), (400, "invalid-revision")),
        (json!("one"), vec!["stable"], json!({}), (400, "invalid-revision")),
        (json!(-1), vec!["stable"], json!({}), (400, "invalid-request")),
        (json!("1"), vec![], json!({}), (400, "channel-required")),
        (json!("1"), vec!["9.9/stable"], json!({}), (400, "no-such-track")),
        (json!("1"), vec!["stable/"], json!({}), (400, "invalid-request")),
        (
            json!("1"),
            vec!["stable"],
            json!({"progressive": {"percentage": 0, "paused": false}}),
            (400, "invalid-percentage"),
        ),
        (
            json!("1"),
            vec!["stable"],
            json!({"progressive": {"percentage": 101}}),
            (400, "invalid-percentage"),
        ),
        (
            json!("1"),
            vec!["stable"],
            json!({"progressive": {"percentage": 100, "paused": true}}),
            (400, "invalid-percentage"),
        ),
        (
            json!("1"),
            vec!["stable"],
            json!({"progressive": {"percentage": null, "paused": true}}),
            (409, "not-progressive"),
        ),
        (
            json!("1"),
            vec!["stable"],
            json!({"name": "their-snap"}),
            (404, "resource-not-found"),
        ),
    ] {
        let answer = release(&client, revision.clone(), &channels, more.clone()).await;
        assert_eq!(answer.refusal(), refusal, "{revision} {channels:?} {more}");
    }
    for who in ["pub2", "view", "admin"] {
        let answer = release(&Client::new(&shop, who), json!("1"), &["stable"], json!({})).await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who}");
    }
}

const FACTS: [&str; 10] = [
    "architectures",
    "attributes",
    "base",
    "confinement",
    "epoch",
    "grade",
    "revision",
    "sha3-384",
    "size",
    "version",
];

fn with<'k>(more: &[&'k str]) -> Vec<&'k str> {
    let mut all = [&FACTS[..], more].concat();
    all.sort_unstable();
    all
}

fn check_facts(revision: &Value) {
    assert!(!revision["architectures"].as_array().unwrap().is_empty());
    assert!(["strict", "classic", "devmode"].contains(&revision["confinement"].as_str().unwrap()));
    assert!(["stable", "devel"].contains(&revision["grade"].as_str().unwrap()));
    assert_eq!(revision["sha3-384"].as_str().unwrap().len(), 96);
    assert_eq!(revision["epoch"], json!({"read": [0], "write": [0]}));
    assert_eq!(revision["attributes"], json!({}));
}

#[tokio::test]
async fn the_channel_map_passes_the_strictest_reader() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = stocked(&shop).await;
    let nothing = client.get("/api/v2/snaps/my-snap/channel-map").await;
    assert_eq!(nothing["channel-map"], json!([]));
    assert_eq!(nothing["snap"]["channels"].as_array().unwrap().len(), 4);
    release(&client, json!("1"), &["stable", "edge/fix"], json!({}))
        .await
        .ok();
    shop.clock.advance(60);
    let part = json!({"progressive": {"percentage": 30, "paused": false}});
    release(&client, json!("3"), &["stable"], part).await.ok();
    let map = client.get("/api/v2/snaps/my-snap/channel-map").await;
    assert_eq!(keys(&map), ["channel-map", "revisions", "snap"]);
    let entry = |channel: &str, revision: u64, percentage: Value, paused: Value| json!({"channel": channel, "revision": revision, "percentage": percentage, "paused": paused});
    let entries: Vec<Value> = map["channel-map"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            assert_eq!(
                keys(found),
                [
                    "architecture",
                    "channel",
                    "expiration-date",
                    "progressive",
                    "revision",
                    "when"
                ]
            );
            let progressive = &found["progressive"];
            assert_eq!(keys(progressive), ["current-percentage", "paused", "percentage"]);
            assert_eq!(found["architecture"], "amd64");
            let listed = map["revisions"].as_array().unwrap();
            assert!(
                listed
                    .iter()
                    .any(|revision| revision["revision"] == found["revision"])
            );
            let channels = map["snap"]["channels"].as_array().unwrap();
            assert!(channels.iter().any(|channel| channel["name"] == found["channel"]));
            let revision = found["revision"].as_u64().unwrap();
            let channel = found["channel"].as_str().unwrap();
            entry(
                channel,
                revision,
                progressive["percentage"].clone(),
                progressive["paused"].clone(),
            )
        })
        .collect();
    assert_eq!(
        entries,
        [
            entry("latest/stable", 1, Value::Null, Value::Null),
            entry("latest/stable", 3, json!(30.0), json!(false)),
            entry("latest/edge/fix", 1, Value::Null, Value::Null),
        ]
    );
    // The older one is there since it was released.
    assert_eq!(map["channel-map"][0]["when"], "2026-06-01T00:00:30Z");
    assert_eq!(map["channel-map"][1]["when"], "2026-06-01T00:01:30Z");
    assert!(map["channel-map"][2]["expiration-date"].is_string());
    for revision in map["revisions"].as_array().unwrap() {
        assert_eq!(keys(revision), with(&["build-url", "created-at"]));
        check_facts(revision);
    }
    let snap = &map["snap"];
    assert_eq!(
        keys(snap),
        ["channels", "default-track", "id", "name", "private", "tracks"]
    );
    assert_eq!((&snap["id"], &snap["default-track"]), (&json!(id), &Value::Null));
    assert_eq!(
        snap["tracks"],
        json!([{"name": "latest", "status": "active", "creation-date": null, "version-pattern": null}])
    );
    let channel = |name: &str, branch: Value, fallback: Value| {
        let risk = name.split('/').nth(1).unwrap();
        json!({"name": name, "track": "latest", "risk": risk, "branch": branch, "fallback": fallback})
    };
    assert_eq!(
        snap["channels"],
        json!([
            channel("latest/stable", Value::Null, Value::Null),
            channel("latest/candidate", Value::Null, json!("latest/stable")),
            channel("latest/beta", Value::Null, json!("latest/candidate")),
            channel("latest/edge", Value::Null, json!("latest/beta")),
            channel("latest/edge/fix", json!("fix"), json!("latest/edge")),
        ])
    );
}

#[tokio::test]
async fn lists_have_exactly_the_keys_that_clients_allow() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = stocked(&shop).await;
    release(&client, json!("1"), &["stable"], json!({})).await.ok();
    shop.clock.advance(5);
    release(&client, json!("2"), &["stable", "edge"], json!({}))
        .await
        .ok();
    shop.clock.advance(5);
    let path = format!("/dev/api/snaps/{id}/close");
    client
        .call("POST", &path, json!({"channels": ["edge"]}))
        .await
        .ok();
    let list = client.get("/api/v2/snaps/my-snap/releases?page=1").await;
    assert_eq!(keys(&list), ["releases", "revisions"]);
    let releases: Vec<(&str, &Value)> = list["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            assert_eq!(
                keys(found),
                [
                    "architecture",
                    "branch",
                    "channel",
                    "expiration-date",
                    "progressive",
                    "revision",
                    "risk",
                    "track",
                    "when",
                ]
            );
            assert_eq!(
                keys(&found["progressive"]),
                ["current-percentage", "paused", "percentage"]
            );
            (found["channel"].as_str().unwrap(), &found["revision"])
        })
        .collect();
    // The latest first: a closed channel, then what was released.
    assert_eq!(releases[0], ("latest/edge", &Value::Null));
    assert_eq!(releases[3], ("latest/stable", &json!(1)));
    let found: Vec<(u64, &str)> = list["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            assert_eq!(keys(found), with(&["build_url", "created_at", "status"]));
            check_facts(found);
            (
                found["revision"].as_u64().unwrap(),
                found["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [(3, "Unpublished"), (2, "Published"), (1, "Unpublished")]);
    let one = client.get(&format!("/api/v2/snaps/{id}/revisions/3")).await;
    assert_eq!(one["revision"]["version"], "1.3");
    for path in [
        format!("/api/v2/snaps/{id}/revisions/9"),
        format!("/api/v2/snaps/{id}/revisions/x"),
        format!("/api/v2/snaps/{}/revisions/1", "b".repeat(32)),
        "/api/v2/snaps/their-snap/channel-map".to_owned(),
        "/api/v2/snaps/Not%20A%20Name/releases".to_owned(),
    ] {
        let answer = client.call("GET", &path, Value::Null).await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{path}");
    }
}

#[tokio::test]
async fn a_progressive_release_is_paused_and_goes_on() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = stocked(&shop).await;
    release(&client, json!("1"), &["stable"], json!({})).await.ok();
    let part = |percentage: Value, paused: bool| json!({"progressive": {"percentage": percentage, "paused": paused}});
    let shown = async || -> Vec<(u64, Value, Value)> {
        let map = client.get("/api/v2/snaps/my-snap/channel-map").await;
        let entries = map["channel-map"].as_array().unwrap().iter();
        entries
            .map(|found| {
                let (revision, part) = (found["revision"].as_u64().unwrap(), &found["progressive"]);
                (revision, part["percentage"].clone(), part["paused"].clone())
            })
            .collect()
    };
    let for_all = (1, Value::Null, Value::Null);
    release(&client, json!("3"), &["stable"], part(json!(30), false))
        .await
        .ok();
    assert_eq!(shown().await, [for_all.clone(), (3, json!(30.0), json!(false))]);
    shop.clock.advance(5);
    let paused = release(&client, json!("3"), &["stable"], part(json!(30), true))
        .await
        .ok();
    assert_eq!(paused["channel_map"][1]["progressive"]["paused"], true);
    assert_eq!(shown().await, [for_all.clone(), (3, json!(30.0), json!(true))]);
    let events = client.get("/api/v2/snaps/my-snap/releases").await;
    assert_eq!(events["releases"][0]["progressive"]["paused"], true, "{events}");
    assert_eq!(events["releases"][1]["progressive"]["paused"], false, "{events}");
    let gateway = client.get("/v1/snap/my-snap/releases").await;
    assert_eq!(
        gateway["channel-map"][1]["progressive"]["paused"], true,
        "{gateway}"
    );
    // Of another revision there is nothing to pause.
    let other = release(&client, json!("2"), &["stable"], part(Value::Null, true)).await;
    assert_eq!(other.refusal(), (409, "not-progressive"));
    // From a terminal, at the percentage it had; and by the way of on-premises clients.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let table = shop.run("pub", &["snap", "show", "my-snap"]).await;
    assert!(
        words(&table.out).contains("latest/stable amd64 3 30 %, paused"),
        "{}",
        table.out
    );
    let go_on = ["snap", "release", "my-snap", "3", "stable", "--resume"];
    let done = shop.run("pub", &go_on).await;
    assert_eq!(
        done.err,
        "revision 3 of my-snap is in latest/stable, and goes on\n"
    );
    assert_eq!(shown().await, [for_all.clone(), (3, json!(30.0), json!(false))]);
    let body =
        json!([{"channel": "stable", "revision": 3, "progressive": {"percentage": 40, "paused": true}}]);
    client.call("POST", "/v1/snap/my-snap/releases", body).await.ok();
    assert_eq!(shown().await, [for_all, (3, json!(40.0), json!(true))]);
    // What is released to all is for all, also with a client that says that it does not wait.
    release(&client, json!("3"), &["stable"], part(Value::Null, false))
        .await
        .ok();
    assert_eq!(shown().await, [(3, Value::Null, Value::Null)]);
    let state = client.get(&format!("/dev/api/snaps/{id}/state")).await;
    assert!(state["channel_map_tree"].is_object());
    let late = shop
        .run("pub", &["snap", "release", "my-snap", "3", "stable", "--pause"])
        .await;
    assert!(
        late.status == 1 && late.err.contains("[not-progressive]"),
        "{late:?}"
    );
}
