//! What a store keeps from those who are not to have it: assertions about private snaps.

use hallmark::app::sign::{record, stored};
use hallmark::domain::assertion::AssertionType as T;
use hallmark::domain::blob::BlobId;
use hallmark::ports::{Commit, CommitOutcome, PutRule};

use super::Field;
use super::store::{device, field, id, validate};
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
