//! What the wire carries besides the usual: members that only some clients send, the longest request, components, paths of
//! `snap-repair`; and releases while many devices ask.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hallmark::app::catalog::releases::{NewRelease, release};
use hallmark::domain::blob::BlobId;
use hallmark::domain::catalog::Component;
use hallmark::domain::snap::ComponentType;
use serde_json::{Value, json};

use super::Field;
use super::stock::{Stock, device, field, id, installed, outcomes, refresh_action};
use crate::harness::acme_ctx;

#[tokio::test]
async fn holds_and_validation_sets_are_taken_and_change_nothing() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    let sets = json!([["16", "acme", "base-set", "3"], ["16", "acme", "other", "1"]]);
    let mut snap = installed("agent", 1, "latest/stable");
    snap["held"] = json!({"by": ["system", "agent"]});
    snap["validation-sets"] = sets.clone();
    snap["ignore-validation"] = json!(true);
    let mut refresh = refresh_action("agent");
    refresh["validation-sets"] = sets.clone();
    refresh["ignore-validation"] = json!(false);
    let pinned = json!({"action": "install", "instance-key": "install-1", "name": "agent", "revision": 2,
        "validation-sets": sets, "ignore-validation": false, "epoch": null});
    let answer = device.refresh(json!([snap]), json!([refresh, pinned])).await;
    assert_eq!(outcomes(&answer), ["1@latest/stable", "2@-"]);
    assert_eq!(answer["error-list"], json!([]));
}

#[tokio::test]
async fn the_longest_request_is_answered_one_for_one() {
    let field = field().await;
    let device = device(&field).await;
    let name = |number: usize| match number {
        700 => "agent".to_owned(),
        1400 => "secret".to_owned(),
        _ => format!("s{number}"),
    };
    let context: Vec<Value> = (0..2000).map(|n| installed(&name(n), 1, "stable")).collect();
    let mut actions: Vec<Value> = (0..2000).map(|n| refresh_action(&name(n))).collect();
    // Clients need not keep an order of their own.
    actions.reverse();
    let answer = device.refresh(json!(context), json!(actions)).await;
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 2000);
    for (action, result) in actions.iter().zip(results) {
        assert_eq!(action["instance-key"], result["instance-key"]);
    }
    let outcomes = outcomes(&answer);
    for (number, outcome) in outcomes.iter().rev().enumerate() {
        let known = matches!(number, 700 | 1400);
        let expected = if known { "1@latest/stable" } else { "id-not-found" };
        assert_eq!(outcome, expected, "{number}");
    }
    actions.push(refresh_action("one-more"));
    let headers = [("snap-device-authorization", device.session.as_str())];
    let body = json!({"context": context, "actions": actions}).to_string();
    let refused = field.call("POST", "/v2/snaps/refresh", &headers, &body).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "invalid-request")
    );
}

#[tokio::test]
async fn there_are_no_repairs_and_the_client_understands_it() {
    let field = field().await;
    for path in ["/v2/repairs/canonical/1", "/repairs/canonical/1"] {
        for accept in ["application/json", "application/x.ubuntu.assertion"] {
            let answer = field.call("GET", path, &[("accept", accept)], "").await;
            assert_eq!(
                (
                    answer.status,
                    answer.header("content-type"),
                    answer.code().as_str()
                ),
                (404, "application/json", "not-found"),
                "{path}"
            );
            assert_eq!(answer.header("snap-store-version"), "55", "{path}");
        }
    }
}

#[tokio::test]
async fn components_come_with_their_snap_and_only_to_who_sees_it() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    let content = "what the component holds";
    let mut staging = field.app.blobs.stage().await.unwrap();
    staging.write(content.to_owned().into()).await.unwrap();
    let staged = staging.finish().await.unwrap();
    let blob = staged.digest().id;
    staged.keep().await.unwrap();
    for name in ["agent", "secret"] {
        let component = Component {
            name: "docs".to_owned(),
            kind: ComponentType::Standard,
            revision: 3,
            version: Some("7".to_owned()),
            summary: "More to read".to_owned(),
            blob,
            size: content.len() as u64,
            created: stock.now(),
        };
        stock
            .revision(name, 2, &format!("{name} two"), |revision| {
                revision.components = vec![component];
            })
            .await;
        stock.release(name, 2, "stable").await;
    }
    let context = json!([installed("agent", 1, "stable"), installed("secret", 1, "stable")]);
    let actions = json!([refresh_action("agent"), refresh_action("secret")]);
    let answer = device.refresh(context, actions).await;
    assert_eq!(outcomes(&answer), ["2@latest/stable", "2@latest/stable"]);
    for (at, name, strangers) in [(0, "agent", 200), (1, "secret", 404)] {
        let path = format!("/download/{}+docs_3.comp", id(name));
        let resources = &answer["results"][at]["snap"]["resources"];
        assert_eq!(
            *resources,
            json!([{
                "name": "docs",
                "type": "component/standard",
                "revision": 3,
                "version": "7",
                "created-at": stock.now(),
                "description": "More to read",
                "download": {
                    "url": format!("{}{path}", field.app.settings.public_url),
                    "size": content.len(),
                    "sha3-384": BlobId::of(content.as_bytes()),
                    "deltas": [],
                },
            }])
        );
        let file = device.get(&path).await;
        assert_eq!((file.status, &file.body[..]), (200, content.as_bytes()), "{path}");
        assert_eq!(field.get(&path).await.status, strangers, "{path}");
    }
    for none in ["docs_2.comp", "docs_4.comp", "other_3.comp"] {
        let path = format!("/download/{}+{none}", id("agent"));
        assert_eq!(device.get(&path).await.status, 404, "{path}");
    }
}

/// What one device is told of `agent`: in stable, in beta, and by a channel that follows stable. All in one answer.
async fn told(field: &Field, session: &str, architecture: &str) -> BTreeSet<u64> {
    let headers = [
        ("snap-device-authorization", session),
        ("snap-device-architecture", architecture),
    ];
    let mut parallel = installed("agent", 1, "beta");
    parallel["instance-key"] = json!("parallel");
    let body = json!({
        "context": [installed("agent", 1, "stable"), parallel],
        "actions": [
            refresh_action("agent"),
            {"action": "refresh", "instance-key": "parallel", "snap-id": id("agent")},
            {"action": "install", "instance-key": "install-1", "name": "agent", "channel": "candidate", "epoch": null},
        ],
    });
    let answer = field
        .call("POST", "/v2/snaps/refresh", &headers, &body.to_string())
        .await;
    let results = answer.json()["results"].clone();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 3);
    results
        .iter()
        .map(|result| result["snap"]["revision"].as_u64().unwrap())
        .collect()
}

/// The revisions of all channels in the channel map.
async fn shown(field: &Field, session: &str, architecture: &str) -> BTreeSet<u64> {
    let headers = [("snap-device-authorization", session)];
    let path = format!("/v2/snaps/info/agent?architecture={architecture}");
    let info = field.call("GET", &path, &headers, "").await.json();
    let channels = info["channel-map"].as_array().unwrap();
    channels
        .iter()
        .map(|channel| channel["revision"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_release_to_several_channels_is_seen_whole_by_all_who_ask_meanwhile() {
    let field = Arc::new(field().await);
    let stock = Stock { field: &field };
    for number in 2..=5 {
        let content = format!("agent {number}");
        stock
            .revision("agent", number, &content, |revision| {
                revision.architectures = ["amd64".parse().unwrap(), "arm64".parse().unwrap()].into();
            })
            .await;
    }
    let session = field.session().await;
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|number| {
            let (field, session, over) = (Arc::clone(&field), session.clone(), Arc::clone(&over));
            let architecture = ["amd64", "arm64"][number % 2];
            tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    for revisions in [
                        told(&field, &session, architecture).await,
                        shown(&field, &session, architecture).await,
                    ] {
                        assert_eq!(revisions.len(), 1, "a part of one release, a part of another");
                        seen.extend(revisions);
                    }
                    // A connection that waits for its next request lets other tasks run. Here nothing waits, and who
                    // never does keeps those behind it from running, whatever they hold.
                    tokio::task::yield_now().await;
                }
                seen
            })
        })
        .collect();
    for round in 0..60 {
        let new = NewRelease {
            revision: 2 + round % 4,
            channels: vec!["stable".parse().unwrap(), "beta".parse().unwrap()],
            percentage: None,
            pause: None,
        };
        let done = release(&field.app, &acme_ctx(), &"agent".parse().unwrap(), &new).await;
        assert_eq!(done.unwrap().releases.listed(stock.now()).len(), 5);
        // A release that was answered is what everybody gets who asks from then on.
        let now = told(&field, &session, "amd64").await;
        assert_eq!(now, [new.revision].into());
    }
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        let seen = reader.await.unwrap();
        assert!(seen.len() > 1, "{seen:?}");
    }
}
