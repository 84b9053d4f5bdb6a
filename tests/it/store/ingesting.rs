//! From a file to a revision, and what happens when it breaks off.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use hallmark::app::App;
use hallmark::app::catalog::garbage;
use hallmark::app::catalog::ingest::{Intake, Upload, ingest};
use hallmark::app::doctor;
use hallmark::domain::assertion::AssertionType as T;
use hallmark::domain::blob::BlobId;
use hallmark::domain::catalog::{RevisionRecord, SnapRecord};
use hallmark::domain::time::Timestamp;
use hallmark::http::serve::Limits;
use hallmark::ports::Key;
use serde_json::json;

use super::gate::Gate;
use super::shop::*;
use crate::harness::{acme_ctx, instance};

#[tokio::test]
async fn a_file_becomes_a_revision_with_its_assertions() {
    let shop = Shop::new().await;
    let more = "title: Gizmo\nlicense: MIT\nwebsite: https://gizmo.example\napps: {gizmo: {command: x, common-id: org.x}}\n";
    let file = snap_file("gizmo", "1.0", more);
    let id = BlobId::of(&file);
    let answer = shop
        .upload("pub", "release=stable&release=edge", std::slice::from_ref(&file))
        .await
        .ok();
    assert_eq!(
        (&answer["new"], &answer["revision"]["revision"]),
        (&json!(true), &json!(1))
    );
    let snap = shop.snap("gizmo").await;
    assert_eq!(snap.releases.open.len(), 2);
    let listing = &snap.listing;
    assert_eq!(
        (
            listing.title.as_deref(),
            listing.summary.as_str(),
            listing.website.as_deref()
        ),
        (Some("Gizmo"), "Turns", Some("https://gizmo.example"))
    );
    let icon = listing.icon.clone().unwrap();
    assert_eq!(icon.media, "image/png");
    let mut blobs = vec![id.to_string(), icon.blob.to_string()];
    blobs.sort();
    assert_eq!(shop.blobs().await, blobs);

    let digest = id.to_base64url();
    let revision = shop
        .assertion(T::SnapRevision, [&digest, "global-upload"])
        .await
        .unwrap();
    for (header, value) in [
        ("snap-id", snap.id.to_string()),
        ("snap-size", file.len().to_string()),
        ("snap-revision", "1".to_owned()),
        ("developer-id", Shop::account("pub")),
        ("authority-id", "rooty".to_owned()),
    ] {
        assert_eq!(revision.text(header), Some(value.as_str()), "{header}");
    }
    assert!(
        shop.assertion(T::Account, [&Shop::account("pub")])
            .await
            .is_some()
    );

    // The same bytes are the same revision; other bytes are the next.
    let again = shop.upload("pub", "release=beta", &[file]).await.ok();
    assert_eq!(
        (&again["new"], &again["revision"]["revision"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(shop.snap("gizmo").await.releases.open.len(), 3);
    let edit = json!({"title": "Mine"});
    shop.call("pub", "PUT", "/snaps/gizmo", edit).await.ok();
    let second = shop.send("pub", "", snap_file("gizmo", "2.0", more)).await.ok();
    assert_eq!(second["revision"]["revision"], 2);
    assert_eq!(second["snap"]["title"], "Mine", "what was edited stays");
    let findings = doctor::examine(&shop.app).await.unwrap();
    assert_eq!((findings.problems.as_slice(), findings.files), ([].as_slice(), 3));
}

#[tokio::test]
async fn components_go_with_their_snap() {
    let shop = Shop::new().await;
    let snap = |version: &str| {
        snap_file(
            "gizmo",
            version,
            "components: {more: {type: standard}, less: {type: test}}\n",
        )
    };
    let more = component_file("gizmo", "more", "");
    let first = shop.upload("pub", "", &[snap("1"), more.clone()]).await.ok();
    assert_eq!(first["revision"]["components"][0]["revision"], 1);
    // The same component with the next snap is the same revision of it, another one the next.
    let second = shop.upload("pub", "", &[snap("2"), more.clone()]).await.ok();
    assert_eq!(second["revision"]["components"][0]["revision"], 1);
    let newer = component_file("gizmo", "more", "description: newer\n");
    let third = shop.upload("pub", "", &[snap("3"), newer]).await.ok();
    assert_eq!(third["revision"]["components"][0]["revision"], 2);
    let id = shop.snap("gizmo").await.id;
    for (resource, snap) in [("1", "1"), ("1", "2"), ("2", "3")] {
        let pair = shop
            .assertion(
                T::SnapResourcePair,
                [id.as_str(), "more", resource, snap, "global-upload"],
            )
            .await;
        assert!(pair.is_some(), "{resource} with {snap}");
    }
    let digest = BlobId::of(&more).to_base64url();
    let key = [id.as_str(), "more", &digest, "global-upload"];
    let resource = shop.assertion(T::SnapResourceRevision, key).await.unwrap();
    assert_eq!(
        resource.text("resource-size"),
        Some(more.len().to_string().as_str())
    );
    let again = shop.upload("pub", "", &[snap("1"), more.clone()]).await.ok();
    assert_eq!(again["new"], false);

    for (files, refusal) in [
        (vec![more.clone()], (400, "invalid-snap")),
        (vec![snap("9"), snap("8")], (400, "invalid-snap")),
        (
            vec![snap("9"), component_file("other", "more", "")],
            (400, "invalid-component"),
        ),
        (
            vec![snap("9"), component_file("gizmo", "none", "")],
            (400, "invalid-component"),
        ),
        (
            vec![snap("9"), component_file("gizmo", "less", "")],
            (400, "invalid-component"),
        ),
        (
            vec![snap("9"), more.clone(), more.clone()],
            (400, "invalid-component"),
        ),
        (
            vec![snap("1"), component_file("gizmo", "more", "description: x\n")],
            (409, "components-differ"),
        ),
    ] {
        let answer = shop.upload("pub", "", &files).await;
        assert_eq!(answer.refusal(), refusal, "{:?}", answer.body);
    }
    assert_eq!(shop.snap("gizmo").await.newest_revision, 3);
    let findings = doctor::examine(&shop.app).await.unwrap();
    assert_eq!(findings.problems, [""; 0]);
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let shop = Shop::new().await;
    shop.send("pub", "", snap_file("gizmo", "1", "")).await.ok();
    let kept = shop.blobs().await;
    let another = || snap_file("gizmo", "2", "");
    shop.call(
        "admin",
        "POST",
        "/stores",
        json!({"id": "view", "name": "V", "parent": "acme"}),
    )
    .await
    .ok();
    for (who, query, file, refusal) in [
        ("pub", "", b"no snap".to_vec(), (400, "invalid-snap")),
        ("pub", "", snap_file("Gizmo", "1", ""), (400, "invalid-snap-yaml")),
        (
            "pub",
            "",
            snap_file("gizmo", "2", "type: base\n"),
            (409, "type-differs"),
        ),
        (
            "pub",
            "",
            snap_file("gizmo", "2", "architectures: [vax]\n"),
            (400, "invalid-snap-yaml"),
        ),
        (
            "pub",
            "",
            snap_file("board", "1", "type: gadget\n"),
            (400, "name-refused"),
        ),
        (
            "pub",
            "",
            snap_file("core22", "1", "type: base\n"),
            (400, "name-refused"),
        ),
        ("pub2", "", another(), (404, "resource-not-found")),
        ("view", "", another(), (404, "resource-not-found")),
        ("pub", "store=view", another(), (400, "not-a-base-store")),
        ("pub", "store=nosuch", another(), (404, "resource-not-found")),
        (
            "pub",
            "publisher=pub2-name",
            another(),
            (409, "publisher-differs"),
        ),
        ("pub", "private=true", another(), (409, "private-differs")),
        ("pub", "release=9/stable", another(), (400, "no-such-track")),
        ("pub", "release=nonsense/x", another(), (400, "invalid-request")),
        ("pub", "percentage=x", another(), (400, "invalid-request")),
        ("pub", "part=x", another(), (400, "invalid-request")),
        ("pub", "part=5", another(), (400, "upload-length")),
        ("pub", "part=999999", another(), (400, "upload-length")),
        ("pub", "part=99999999999999", another(), (413, "snap-too-large")),
        (
            "pub",
            "",
            snap_file("gizmo", "2", "provenance: other\n"),
            (409, "assertion-required"),
        ),
        (
            "operator",
            "",
            snap_file("gizmo2", "1", "type: snapd\n"),
            (400, "name-refused"),
        ),
    ] {
        let answer = shop.send(who, query, file).await;
        assert_eq!(answer.refusal(), refusal, "{who} {query}: {:?}", answer.body);
    }
    assert_eq!(shop.blobs().await, kept);
    assert_eq!(shop.snap("gizmo").await.newest_revision, 1);
    assert_eq!(
        shop.app
            .storage
            .all::<SnapRecord>(Key(Vec::new()))
            .await
            .unwrap()
            .len(),
        1
    );
    // Gadgets are the brand's, or for the operator to host.
    shop.send(
        "brand",
        "publisher=acme",
        snap_file("board", "1", "type: gadget\n"),
    )
    .await
    .ok();
    shop.send(
        "operator",
        "publisher=acme",
        snap_file("core22", "1", "type: base\n"),
    )
    .await
    .ok();
}

#[tokio::test]
async fn uploads_at_once_get_dense_revisions() {
    let shop = Shop::new().await;
    let files: Vec<Vec<u8>> = (0..6)
        .map(|number| snap_file("gizmo", &number.to_string(), ""))
        .collect();
    // Each of them twice, and nobody registered the name before.
    let calls = files
        .iter()
        .chain(&files)
        .map(|file| shop.send("pub", "release=edge", file.clone()));
    let mut numbers: Vec<(u64, bool)> = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .map(Answer::ok)
        .map(|body| {
            (
                body["revision"]["revision"].as_u64().unwrap(),
                body["new"].as_bool().unwrap(),
            )
        })
        .collect();
    numbers.sort_unstable();
    let expected: Vec<(u64, bool)> = (1..=6)
        .flat_map(|number| [(number, false), (number, true)])
        .collect();
    assert_eq!(numbers, expected);
    let snap = shop.snap("gizmo").await;
    assert_eq!(snap.newest_revision, 6);
    let revisions = shop
        .app
        .storage
        .all::<RevisionRecord>([snap.id.as_str()])
        .await
        .unwrap();
    assert_eq!(revisions.len(), 6);
    let findings = doctor::examine(&shop.app).await.unwrap();
    assert_eq!(findings.problems, [""; 0]);
}

#[tokio::test]
async fn a_long_upload_needs_to_go_on_not_to_be_fast() {
    let (app, clock) = instance().await;
    let limits = Limits {
        body: Duration::from_secs(2),
        ..Limits::default()
    };
    let shop = Shop::within(app, clock, limits).await;
    let body = |pause: u64| {
        let file = snap_file("gizmo", "1", "");
        let pieces: Vec<Bytes> = file
            .chunks(file.len() / 5 + 1)
            .map(Bytes::copy_from_slice)
            .collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces).then(move |piece| async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            Ok::<_, std::io::Error>(piece)
        }))
    };
    let stalled = shop.send("pub", "", body(6_000)).await;
    assert_eq!(stalled.refusal(), (408, "request-timeout"));
    assert_eq!(shop.blobs().await, [""; 0]);
    shop.send("pub", "", body(600)).await.ok();
}

#[tokio::test]
async fn a_replaced_icon_is_cleared_away_when_no_snap_shows_it() {
    let shop = Shop::new().await;
    let publish = async |name: &str, version: &str, icon: &str| {
        let file = snap_file_with_icon(name, version, "", icon);
        shop.send("pub", "", file).await.ok();
        shop.snap(name).await.listing.icon.unwrap().blob.to_string()
    };
    let first = publish("gizmo", "1", "first").await;
    assert_eq!(publish("widget", "1", "first").await, first);
    shop.clock.advance(garbage::GRACE + 1);
    let second = publish("gizmo", "2", "second").await;
    assert!(shop.blobs().await.contains(&first), "widget shows it");
    assert_eq!(publish("widget", "2", "second").await, second);
    let kept = shop.blobs().await;
    assert!(!kept.contains(&first) && kept.contains(&second), "{kept:?}");

    // A young one could be about to be named; the next repair takes it.
    publish("gizmo", "3", "third").await;
    publish("widget", "3", "third").await;
    assert!(shop.blobs().await.contains(&second));
    shop.clock.advance(garbage::GRACE + 1);
    let repaired = doctor::repair(&shop.app, garbage::GRACE).await.unwrap();
    assert_eq!((repaired.removed_files, repaired.problems.len()), (1, 0));
    assert!(!shop.blobs().await.contains(&second));
    // What an edited listing shows is not replaced.
    let edit = json!({"title": "Mine"});
    shop.call("pub", "PUT", "/snaps/gizmo", edit).await.ok();
    publish("gizmo", "4", "fourth").await;
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
}

#[tokio::test]
async fn a_crash_leaves_no_half_revision_and_repair_clears_up() {
    let (app, clock) = instance().await;
    // The world stops once the file is kept.
    let (crashing, _) = Gate::before(&app, 0);
    let file = snap_file("gizmo", "1", "");
    let upload = Upload {
        publisher: Some("acme".to_owned()),
        channels: vec!["stable".parse().unwrap()],
        ..Upload::default()
    };
    let mut intake = Intake::begin(&crashing, Vec::new()).await.unwrap();
    intake.write(file.clone().into()).await.unwrap();
    let staged = intake.finish().await.unwrap();
    let ctx = acme_ctx();
    let broken_off = ingest(&crashing, &ctx, &upload, staged);
    assert!(
        tokio::time::timeout(Duration::from_secs(2), broken_off)
            .await
            .is_err()
    );

    assert!(
        app.storage
            .all::<SnapRecord>(Key(Vec::new()))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        app.storage
            .all::<RevisionRecord>(Key(Vec::new()))
            .await
            .unwrap()
            .is_empty()
    );
    let shop = Shop::serving(app.clone(), clock.clone()).await;
    let orphan = BlobId::of(&file).to_string();
    assert_eq!(shop.blobs().await, std::slice::from_ref(&orphan));
    // It could belong to an upload that goes on.
    assert_eq!(doctor::examine(&app).await.unwrap().problems, [""; 0]);
    let repaired = doctor::repair(&app, 3600).await.unwrap();
    assert_eq!((repaired.removed_files, shop.blobs().await.len()), (0, 1));
    let judged = clock_now(&app).plus_seconds(3600);
    assert_eq!((repaired.young_files, repaired.judge_after), (1, Some(judged)));
    clock.advance(3601);
    let problems = doctor::examine(&app).await.unwrap().problems;
    assert!(
        problems.len() == 1 && problems[0].contains(&orphan),
        "{problems:?}"
    );
    let repaired = doctor::repair(&app, 3600).await.unwrap();
    assert_eq!((repaired.removed_files, repaired.problems.len()), (1, 0));
    assert_eq!(shop.blobs().await, [""; 0]);

    let added = shop
        .send("operator", "publisher=acme&release=stable", file)
        .await
        .ok();
    assert_eq!(
        (&added["new"], &added["revision"]["revision"]),
        (&json!(true), &json!(1))
    );
    clock.advance(3601);
    let repaired = doctor::repair(&app, 0).await.unwrap();
    assert_eq!(
        (repaired.removed_files, repaired.problems.len(), repaired.files),
        (0, 0, 2)
    );
    // A file that is gone is found, and comes back with the same upload.
    let now = clock_now(&app).plus_seconds(10);
    assert!(app.blobs.remove(&orphan.parse().unwrap(), now).await.unwrap());
    let problems = doctor::examine(&app).await.unwrap().problems;
    assert!(
        problems.len() == 1 && problems[0].ends_with("is missing"),
        "{problems:?}"
    );
    let healed = shop.send("operator", "", snap_file("gizmo", "1", "")).await.ok();
    assert_eq!(healed["new"], false);
    assert_eq!(doctor::examine(&app).await.unwrap().problems, [""; 0]);
}

fn clock_now(app: &App) -> Timestamp {
    app.clock.now()
}
