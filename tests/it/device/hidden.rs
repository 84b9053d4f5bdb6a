//! What a store keeps from those who are not to have it: assertions about private snaps, and files for other machines.

use hallmark::app::sign::{record, stored};
use hallmark::domain::assertion::AssertionType as T;
use hallmark::domain::blob::BlobId;
use hallmark::ports::{Commit, CommitOutcome, PutRule};
use serde_json::json;

use super::Field;
use super::stock::{Stock, device, field, id, outcomes, validate};
use crate::harness::acme_ctx;

/// Stores an assertion as it is after an import, and says where it is served.
async fn put(field: &Field, kind: T, headers: &[(&str, &str)]) -> String {
    let now = field.app.clock.now();
    let time = now.to_string();
    let mut headers = headers.to_vec();
    headers.extend([("authority-id", "acme"), ("timestamp", &time)]);
    let assertion = field.device.sign(&field.app, kind, &headers, b"").await;
    let commit = Commit {
        assertions: vec![(stored(&assertion), PutRule::Newer)],
        audit: vec![record(acme_ctx().event(now, "", ""), &assertion)],
        ..Commit::default()
    };
    let outcome = field.app.storage.commit(commit).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Done);
    format!("/v2/assertions/{kind}/{}", assertion.primary_key().0.join("/"))
}

/// Assertions about a snap: all but declaration and revision, which have tests of their own.
async fn about(field: &Field, snap: &str) -> Vec<String> {
    let snap_id = id(snap);
    let named = ("snap-id", snap_id.as_str());
    let digest = BlobId::of(snap.as_bytes()).to_base64url();
    vec![
        put(field, T::SnapDeveloper, &[named, ("publisher-id", "acme")]).await,
        put(
            field,
            T::SnapBuild,
            &[
                named,
                ("snap-sha3-384", &digest),
                ("snap-size", "1"),
                ("grade", "stable"),
            ],
        )
        .await,
    ]
}

#[tokio::test]
async fn assertions_about_private_snaps_go_to_who_sees_the_snap() {
    let field = field().await;
    let session = device(&field).await.session;
    let headers = [("snap-device-authorization", session.as_str())];
    let own = async |path: &str| field.call("GET", path, &headers, "").await.status;
    for path in about(&field, "agent").await {
        assert_eq!(field.get(&path).await.status, 200, "{path}");
    }
    let mut secrets = about(&field, "secret").await;
    // A validation tells about the snap it lets through as much as about the one that lets it.
    for (gating, gated) in [("secret", "agent"), ("agent", "secret")] {
        validate(&field, gating, gated, 1, false).await;
        secrets.push(format!(
            "/v2/assertions/validation/16/{}/{}/1",
            id(gating),
            id(gated)
        ));
    }
    for path in &secrets {
        let stranger = field.get(path).await;
        assert_eq!(
            (stranger.status, stranger.code().as_str()),
            (404, "not-found"),
            "{path}"
        );
        assert_eq!(own(path).await, 200, "{path}");
    }
    for path in about(&field, "their-secret").await {
        assert_eq!(own(&path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn a_machine_nobody_knows_gets_what_runs_anywhere() {
    let field = field().await;
    let stock = Stock { field: &field };
    // `agent` runs anywhere, `elsewhere` on one kind of machine.
    let now = field.app.clock.now();
    stock
        .edit("elsewhere", |record| {
            let stable = "stable".parse().unwrap();
            record.releases.close(&stable, &[], now);
            let only = "amd64".parse().unwrap();
            record.releases.release(&[only], &stable, 1, None, now);
        })
        .await;
    let install = async |architecture: &str| {
        let actions: Vec<_> = ["agent", "elsewhere"]
            .into_iter()
            .map(|name| json!({"action": "install", "instance-key": name, "name": name, "channel": "stable", "epoch": null}))
            .collect();
        let body = json!({"context": [], "actions": actions, "fields": ["name"]}).to_string();
        let mut headers = vec![("snap-device-store", "acme")];
        if !architecture.is_empty() {
            headers.push(("snap-device-architecture", architecture));
        }
        let answer = field.call("POST", "/v2/snaps/refresh", &headers, &body).await;
        outcomes(&answer.json())
    };
    let all = ["1@latest/stable", "1@latest/stable"];
    assert_eq!(install("amd64").await, all);
    assert_eq!(install("").await, all);
    for unknown in ["ppc", "AMD64", "v9"] {
        assert_eq!(
            install(unknown).await,
            ["1@latest/stable", "revision-not-found"],
            "{unknown}"
        );
    }
}
