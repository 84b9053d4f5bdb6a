//! From a file without a name to a revision, as unmodified clients do it.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use hallmark::app::catalog::ingest::{Intake, Upload, ingest};
use hallmark::app::catalog::{push, uploads};
use hallmark::app::doctor;
use hallmark::domain::blob::BlobId;
use hallmark::domain::catalog::{
    MOST_TURNS, PUSH_LIFE, PushRecord, PushState, RevisionRecord, UNCLAIMED_LIFE, UploadRecord,
};
use hallmark::ports::{Change, Commit, Key};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::snapcraft::{BOUNDARY, Client, form};
use crate::harness::acme_ctx;
use crate::store::shop::{Shop, component_file, snap_file, token};

async fn waiting(shop: &Shop) -> Vec<UploadRecord> {
    let all = shop
        .app
        .storage
        .all::<UploadRecord>(Key(Vec::new()))
        .await
        .unwrap();
    all.into_iter().map(|found| found.record).collect()
}

async fn revisions(shop: &Shop) -> Vec<u64> {
    let all = shop
        .app
        .storage
        .all::<RevisionRecord>(Key(Vec::new()))
        .await
        .unwrap();
    all.into_iter().map(|found| found.record.revision).collect()
}

#[tokio::test]
async fn snapcraft_uploads_and_releases() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let absent = json!({"name": "my-snap", "dry_run": true});
    let answer = client.call("POST", "/dev/api/snap-push/", absent).await;
    assert_eq!(answer.refusal(), (404, "resource-not-found"));
    client.register("my-snap").await;
    let file = snap_file("my-snap", "1.0", "architectures: [amd64]\n");
    let status = client
        .publish("my-snap", &file, json!({"channels": ["edge", "beta"]}))
        .await;
    assert_eq!(
        status,
        json!({
            "code": "ready_to_release", "processed": true, "can_release": true, "revision": 1,
            "url": "/snaps/my-snap/revisions/1", "errors": null,
        })
    );
    let open: Vec<String> = shop
        .snap("my-snap")
        .await
        .releases
        .open
        .iter()
        .map(|open| open.channel.short())
        .collect();
    assert_eq!(open, ["beta", "edge"]);
    // Nothing of the way there is left, and the file is the revision's.
    assert!(waiting(&shop).await.is_empty());
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
    assert!(shop.blobs().await.contains(&BlobId::of(&file).to_string()));
    // The same bytes again are the same revision.
    let status = client.publish("my-snap", &file, json!({})).await;
    assert_eq!(
        (&status["code"], &status["revision"]),
        (&json!("ready_to_release"), &json!(1))
    );
    assert_eq!(revisions(&shop).await, [1]);
    let status = client
        .publish("my-snap", &snap_file("my-snap", "2.0", ""), json!({}))
        .await;
    assert_eq!(status["revision"], 2);
    // Foreign snaps are absent, and so is everything for who may only look.
    for who in ["pub2", "view", "rev"] {
        let answer = Client::new(&shop, who)
            .call(
                "POST",
                "/dev/api/snap-push/",
                json!({"name": "my-snap", "dry_run": true}),
            )
            .await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who}");
    }
}

#[tokio::test]
async fn files_that_are_known_are_released_in_one_step_with_the_end_of_their_push() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let file = snap_file("my-snap", "1.0", "");
    let open = async || -> Vec<String> {
        let open = shop.snap("my-snap").await.releases.open;
        open.iter().map(|open| open.channel.short()).collect()
    };
    client
        .publish("my-snap", &file, json!({"channels": ["edge"]}))
        .await;
    let pushes = shop.app.storage.all::<PushRecord>(Key(Vec::new())).await.unwrap();
    // Somebody else has ended the push meanwhile: then nothing is released either.
    let upload = Upload {
        channels: vec!["beta".parse().unwrap()],
        push: Some(pushes[0].record.id_hash.clone()),
        ..Upload::default()
    };
    let mut intake = Intake::begin(&shop.app, Vec::new()).await.unwrap();
    intake.write(file.clone().into()).await.unwrap();
    let staged = intake.finish().await.unwrap();
    let refusal = ingest(&shop.app, &acme_ctx(), &upload, staged).await.unwrap_err();
    assert_eq!(refusal.code, "changed-meanwhile");
    assert_eq!(open().await, ["edge"]);
    let status = client
        .publish("my-snap", &file, json!({"channels": ["beta"]}))
        .await;
    assert_eq!(
        (&status["code"], &status["revision"]),
        (&json!("ready_to_release"), &json!(1))
    );
    assert_eq!(open().await, ["beta", "edge"]);
    assert!(waiting(&shop).await.is_empty());
    // One that waits for a reviewer, sent again with other channels.
    let held = snap_file("my-snap", "2.0", "plugs: {snapd-control: null}\n");
    for channels in [json!(["edge"]), json!(["beta"])] {
        let status = client
            .publish("my-snap", &held, json!({ "channels": channels }))
            .await;
        assert_eq!(
            (&status["code"], &status["revision"]),
            (&json!("need_manual_review"), &json!(2)),
            "{status}"
        );
    }
    assert!(waiting(&shop).await.is_empty());
    assert_eq!(revisions(&shop).await, [1, 2]);
}

#[tokio::test]
async fn components_come_along() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let more = "components: {docs: {type: standard}, extra: {type: standard}}\n";
    let snap = client.upload(&snap_file("my-snap", "1", more)).await;
    let docs = client.upload(&component_file("my-snap", "docs", "")).await;
    let extra = client.upload(&component_file("my-snap", "extra", "")).await;
    let swapped = json!({"components": {"docs": extra, "extra": docs}});
    let status = client.push("my-snap", &snap, swapped).await.unwrap();
    let status = client.processed(&status).await;
    assert_eq!(status["code"], "processing_error");
    assert_eq!(status["errors"][0]["code"], "component-differs");
    assert!(status["errors"][0]["message"].as_str().unwrap().contains("docs"));
    let snap = client.upload(&snap_file("my-snap", "1", more)).await;
    let docs = client.upload(&component_file("my-snap", "docs", "")).await;
    let status = client
        .push("my-snap", &snap, json!({"components": {"docs": docs}}))
        .await
        .unwrap();
    assert_eq!(client.processed(&status).await["revision"], 1);
    assert_eq!(shop.snap("my-snap").await.newest_components["docs"], 1);
}

#[tokio::test]
async fn what_cannot_be_a_revision_is_said_in_the_status() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    for (file, code) in [
        (b"no snap at all".to_vec(), "invalid-snap"),
        (snap_file("other", "1", ""), "name-differs"),
        (snap_file("my-snap", "1", "type: gadget\n"), "name-refused"),
        (component_file("my-snap", "docs", ""), "invalid-snap"),
    ] {
        let status = client.publish("my-snap", &file, json!({})).await;
        assert_eq!(
            (&status["code"], &status["processed"]),
            (&json!("processing_error"), &json!(true))
        );
        assert_eq!(status["errors"][0]["code"], code, "{status}");
        assert!(
            status["errors"][0]["message"]
                .as_str()
                .unwrap()
                .starts_with("cannot ")
        );
    }
    let status = client
        .publish(
            "my-snap",
            &snap_file("my-snap", "1", ""),
            json!({"channels": ["9.9/stable"]}),
        )
        .await;
    assert_eq!(status["errors"][0]["code"], "no-such-track");
    assert_eq!(revisions(&shop).await, [0u64; 0]);
    // What was refused goes away in time.
    assert_eq!(waiting(&shop).await.len(), 5);
    shop.clock.advance(2 * 3600);
    uploads::sweep(&shop.app).await.unwrap();
    assert!(waiting(&shop).await.is_empty());
    assert!(shop.blobs().await.is_empty());
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
}

#[tokio::test]
async fn wrong_pushes_are_refused_at_once() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    let other = Client::new(&shop, "pub2");
    other.register("their-snap").await;
    let file = snap_file("my-snap", "1", "");
    let upload = client.upload(&file).await;
    let unknown = "a".repeat(40);
    for (more, upload, refusal) in [
        (json!({}), unknown.as_str(), (400, "upload-not-found")),
        (json!({}), "../../etc/passwd", (400, "upload-not-found")),
        (
            json!({"updown_id": null}),
            upload.as_str(),
            (400, "invalid-request"),
        ),
        (json!({"updown_id": 7}), &upload, (400, "invalid-request")),
        (json!({"binary_filesize": 1}), &upload, (400, "size-differs")),
        (
            json!({"channels": ["a/b/c/d"]}),
            &upload,
            (400, "invalid-request"),
        ),
        (
            json!({"components": {"docs": upload}}),
            &upload,
            (409, "upload-claimed"),
        ),
        (
            json!({"components": {"docs": unknown}}),
            &upload,
            (400, "upload-not-found"),
        ),
        (
            json!({"delta_format": "xdelta3"}),
            &upload,
            (400, "invalid-request"),
        ),
        (
            json!({"name": "Not A Name"}),
            &upload,
            (404, "resource-not-found"),
        ),
    ] {
        let answer = client.push("my-snap", upload, more.clone()).await.unwrap_err();
        assert_eq!(answer.refusal(), refusal, "{more}");
        assert_eq!(answer.body["error_list"], answer.body["error-list"]);
    }
    // Once it is used, it is used; saying the same again is fine.
    let status = client.push("my-snap", &upload, json!({})).await.unwrap();
    assert_eq!(client.push("my-snap", &upload, json!({})).await.unwrap(), status);
    assert_eq!(client.processed(&status).await["revision"], 1);
    let stolen = other.push("their-snap", &upload, json!({})).await.unwrap_err();
    assert_eq!(stolen.refusal(), (409, "upload-claimed"));
    // The status is nobody's to guess, and belongs to its snap.
    for path in [
        format!("/dev/api/snaps/{id}/builds/{unknown}/status"),
        format!("/dev/api/snaps/{}/builds/{upload}/status", "b".repeat(32)),
        format!("/dev/api/snaps/{id}/builds/x/status"),
    ] {
        let answer = client.call("GET", &path, Value::Null).await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{path}");
    }
}

#[tokio::test]
async fn broken_forms_leave_nothing() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let whole = form("binary", b"content");
    let twice = [
        &whole[..whole.len() - 4],
        &form("binary", b"more")[2 + BOUNDARY.len()..],
    ]
    .concat();
    for body in [
        whole[..whole.len() - 10].to_vec(),
        form("other", b"content"),
        form("binary", b""),
        twice,
        format!("--{BOUNDARY}--\r\n").into_bytes(),
        b"binary=content".to_vec(),
        Vec::new(),
        format!("--{BOUNDARY}\r\n{}", "x: y\r\n".repeat(100_000)).into_bytes(),
    ] {
        let answer = client.send(body).await;
        assert!(
            [(400, "invalid-multipart"), (400, "empty-file")].contains(&answer.refusal()),
            "{answer:?}"
        );
    }
    let no_form = client.request("POST", "/unscanned-upload/").body("x");
    assert_eq!(
        crate::store::shop::answer(no_form).await.refusal(),
        (400, "invalid-multipart")
    );
    // A client that goes away in the middle.
    let mut stream = tokio::net::TcpStream::connect(shop.address).await.unwrap();
    let head = format!(
        "POST /unscanned-upload/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&whole[..whole.len() - 10]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _closed = stream.read_to_end(&mut rest).await;
    assert!(waiting(&shop).await.is_empty());
    assert!(shop.blobs().await.is_empty());
}

#[tokio::test]
async fn one_network_cannot_fill_the_store() {
    let (app, clock) = crate::harness::instance().await;
    let mut state = hallmark::app::AppState::clone(&app);
    let mut settings = hallmark::app::Settings::clone(&state.settings);
    settings.limits.snap = 30 << 20;
    state.settings = std::sync::Arc::new(settings);
    let shop = Shop::serving(state.into(), clock).await;
    let client = Client::new(&shop, "pub");
    let large = vec![7u8; (30 << 20) + 1];
    assert_eq!(
        client.send(form("binary", &large)).await.refusal(),
        (413, "snap-too-large")
    );
    assert!(shop.blobs().await.is_empty());
    // Twice the largest file may wait.
    for seed in 1..=2u8 {
        client.upload(&vec![seed; 30 << 20]).await;
    }
    let answer = client.send(form("binary", &vec![3u8; 20 << 20])).await;
    assert_eq!(answer.refusal(), (429, "too-many-uploads"));
    assert_eq!(waiting(&shop).await.len(), 2);
    // Nobody asked for them: they go, and there is room again.
    shop.clock.advance(UNCLAIMED_LIFE);
    let stale = client.push("my-snap", "x", json!({})).await.unwrap_err();
    assert_eq!(stale.status, 404);
    uploads::sweep(&shop.app).await.unwrap();
    assert!(shop.blobs().await.is_empty());
    client.upload(&vec![4u8; 20 << 20]).await;
}

#[tokio::test]
async fn many_at_once_get_dense_numbers() {
    const MANY: u64 = 40;
    let shop = Shop::new().await;
    Client::new(&shop, "pub").register("my-snap").await;
    let one = |number: u64| {
        let client = Client::new(&shop, "pub");
        async move {
            // Every fifth one is the same file as the one before.
            let version = number - u64::from(number.is_multiple_of(5));
            let file = snap_file("my-snap", &version.to_string(), "");
            client.publish("my-snap", &file, json!({})).await["revision"]
                .as_u64()
                .unwrap()
        }
    };
    let told: Vec<u64> = futures_util::stream::iter((1..=MANY).map(one))
        .buffer_unordered(MANY as usize)
        .collect()
        .await;
    let expected = MANY - MANY / 5;
    assert_eq!(told.iter().collect::<BTreeSet<_>>().len() as u64, expected);
    let mut kept = revisions(&shop).await;
    kept.sort_unstable();
    assert_eq!(kept, (1..=expected).collect::<Vec<_>>());
    assert!(waiting(&shop).await.is_empty());
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
}

/// Leaves a push behind as a process does that ends before it is through.
async fn left_behind(shop: &Shop, file: &[u8], change: impl FnOnce(&mut PushRecord)) -> (String, String) {
    let client = Client::new(shop, "pub");
    let upload = client.upload(file).await;
    let hash = upload
        .parse::<hallmark::domain::catalog::UploadId>()
        .unwrap()
        .hash();
    let mut found = shop
        .app
        .storage
        .find::<UploadRecord>([hash.as_str()])
        .await
        .unwrap()
        .unwrap();
    found.record.claimed_by = Some(hash.clone());
    let snap = shop.snap("my-snap").await;
    let mut push = PushRecord {
        id_hash: hash.clone(),
        snap_id: snap.id.clone(),
        name: snap.name.clone(),
        brand_id: snap.brand_id.clone(),
        account_id: snap.publisher_id.clone(),
        token_id: "pub".to_owned(),
        presented: None,
        files: vec![hallmark::domain::catalog::PushedFile {
            upload: hash.clone(),
            file: found.record.file,
            component: None,
        }],
        delta: None,
        channels: vec!["edge".parse().unwrap()],
        received: shop.app.clock.now(),
        turns: 0,
        state: PushState::Working {
            until: shop.app.clock.now().plus_seconds(20),
        },
    };
    change(&mut push);
    let commit = Commit {
        records: vec![
            Change::replace(&found.record, found.version),
            Change::create(&push),
        ],
        ..Commit::default()
    };
    shop.commit(commit).await;
    let status = format!("/dev/api/snaps/{}/builds/{upload}/status", snap.id);
    (upload, status)
}

#[tokio::test]
async fn what_a_process_left_behind_is_taken_up() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let file = snap_file("my-snap", "1", "");
    let (_, status) = left_behind(&shop, &file, |_| ()).await;
    let (_, revoked) = left_behind(&shop, &snap_file("my-snap", "2", ""), |push| {
        push.token_id = "gone".to_owned();
    })
    .await;
    // Whoever works on it may still be there.
    assert_eq!(push::take_up(&shop.app).await.unwrap(), 0);
    assert_eq!(client.get(&status).await["processed"], false);
    shop.clock.advance(21);
    assert_eq!(push::take_up(&shop.app).await.unwrap(), 2);
    let done = client.processed(&status).await;
    assert_eq!(
        (&done["code"], &done["revision"]),
        (&json!("ready_to_release"), &json!(1))
    );
    assert_eq!(shop.snap("my-snap").await.releases.open.len(), 1);
    let done = client.processed(&revoked).await;
    assert_eq!(
        (&done["code"], &done["errors"][0]["code"]),
        (&json!("processing_error"), &json!("invalid-token"))
    );
    assert_eq!(push::take_up(&shop.app).await.unwrap(), 0);
    // One that ends whoever works on it is not taken up for ever.
    let (_, deadly) = left_behind(&shop, &snap_file("my-snap", "3", ""), |push| {
        push.turns = MOST_TURNS;
    })
    .await;
    shop.clock.advance(21);
    assert_eq!(push::take_up(&shop.app).await.unwrap(), 0);
    let done = client.get(&deadly).await;
    assert_eq!(
        (&done["processed"], &done["code"], &done["errors"][0]["code"]),
        (
            &json!(true),
            &json!("processing_error"),
            &json!("upload-given-up")
        )
    );
    // The answer does not stay for ever.
    shop.clock.advance(PUSH_LIFE + 1);
    uploads::sweep(&shop.app).await.unwrap();
    assert_eq!(client.call("GET", &status, Value::Null).await.status, 404);
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
}

#[tokio::test]
async fn a_difference_is_as_good_as_the_file() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let (old, new) = (snap_file("my-snap", "1", ""), snap_file("my-snap", "2", ""));
    client.publish("my-snap", &old, json!({})).await;
    let delta = shop.app.deltas.make(&old, &new).unwrap();
    let bomb = [0xd6, 0xc3, 0xc4, 0, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let hash = |bytes: &[u8]| BlobId::of(bytes).to_string();
    let said = |delta_hash: String, source: &[u8], target: &[u8], format: &str| {
        json!({
            "delta_format": format, "delta_hash": delta_hash, "source_hash": hash(source),
            "target_hash": hash(target), "binary_filesize": target.len(),
        })
    };
    for wrong in [
        said(hash(&old), &old, &new, "xdelta3"),
        said(hash(&delta), &new, &new, "xdelta3"),
        said(hash(&delta), &old, &old, "xdelta3"),
        said(hash(&delta), &old, &new, "bsdiff"),
        // Says that a header of 2^48 bytes follows, and is over.
        said(hash(&bomb), &old, &new, "xdelta3"),
    ] {
        let is_bomb = wrong["delta_hash"] == hash(&bomb);
        let upload = client.upload(if is_bomb { &bomb } else { &delta }).await;
        let status = client.push("my-snap", &upload, wrong).await.unwrap();
        let status = client.processed(&status).await;
        assert_eq!(status["code"], "processing_upload_delta_error", "{status}");
        assert!(!status["errors"].as_array().unwrap().is_empty());
    }
    let upload = client.upload(&delta).await;
    let good = said(hash(&delta), &old, &new, "xdelta3");
    let status = client.push("my-snap", &upload, good).await.unwrap();
    assert_eq!(client.processed(&status).await["revision"], 2);
    let kept = shop.blobs().await;
    assert!(kept.contains(&hash(&new)));
    assert_eq!(revisions(&shop).await, [1, 2]);
}

#[tokio::test]
async fn a_token_may_be_too_limited() {
    let shop = Shop::new().await;
    Client::new(&shop, "pub").register("my-snap").await;
    let mut found = shop
        .app
        .storage
        .find::<hallmark::domain::access::Token>(["pub"])
        .await
        .unwrap()
        .unwrap();
    found.record.permissions = Some(vec!["snap-publish".to_owned()]);
    shop.commit(Commit {
        records: vec![Change::replace(&found.record, found.version)],
        ..Commit::default()
    })
    .await;
    let client = Client::new(&shop, "pub");
    let upload = client.upload(&snap_file("my-snap", "1", "")).await;
    let answer = client
        .push("my-snap", &upload, json!({"channels": ["edge"]}))
        .await
        .unwrap_err();
    assert_eq!(answer.refusal(), (403, "macaroon-permission-required"));
    let status = client.push("my-snap", &upload, json!({})).await.unwrap();
    assert_eq!(client.processed(&status).await["revision"], 1);
    let release = json!({"name": "my-snap", "revision": "1", "channels": ["edge"]});
    let answer = client.call("POST", "/dev/api/snap-release/", release).await;
    assert_eq!(answer.refusal(), (403, "macaroon-permission-required"));
    assert_eq!(token("pub").hash(), found.record.hash);
}

#[tokio::test]
async fn what_a_reviewer_looks_at_is_told_to_every_client() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    client
        .publish("my-snap", &snap_file("my-snap", "1", ""), json!({}))
        .await;
    let held = async |version: &str| {
        let file = snap_file("my-snap", version, "plugs: {snapd-control: null}\n");
        let upload = client.upload(&file).await;
        let channels = json!({"channels": ["edge"]});
        let status = client.push("my-snap", &upload, channels).await.unwrap();
        let told = client.processed(&status).await;
        let review = format!("/v1/snap/my-snap/revisions/review?upload-id={upload}");
        (told, status, review)
    };
    let decide = async |revision: u64, action: &str| {
        let path = format!("/snaps/my-snap/revisions/{revision}/review");
        let body = json!({"action": action, "comment": "so it is"});
        shop.call("rev", "POST", &path, body).await.ok();
    };
    let word = async |path: &str| client.get(path).await["revisions"][0]["status"].clone();
    let lists = ["/api/v2/snaps/my-snap/releases", "/v1/snap/my-snap/revisions"];

    let (told, status, review) = held("2").await;
    assert_eq!(
        told,
        json!({
            "code": "need_manual_review", "processed": true, "can_release": false, "revision": 2,
            "url": "/snaps/my-snap/revisions/2", "errors": null,
        })
    );
    let entry = client.get(&review).await["revisions"][0].clone();
    assert_eq!(
        (&entry["status"], &entry["revision"], &entry["errors"][0]["code"]),
        (&json!("rejected"), &json!(2), &json!("need-manual-review"))
    );
    assert!(entry["errors"][0]["message"].as_str().unwrap().contains("waits"));
    for list in lists {
        assert_eq!(word(list).await, "ManualReviewPending", "{list}");
    }
    let release = json!({"name": "my-snap", "revision": "2", "channels": ["stable"]});
    let answer = client.call("POST", "/dev/api/snap-release/", release).await;
    assert_eq!(answer.refusal(), (409, "not-approved"));
    decide(2, "ask-information").await;
    assert_eq!(client.get(&status).await["code"], "need_manual_review");
    for list in lists {
        assert_eq!(word(list).await, "NeedsInformation", "{list}");
    }
    decide(2, "approve").await;
    let told = client.get(&status).await;
    assert_eq!(
        (&told["code"], &told["can_release"]),
        (&json!("ready_to_release"), &json!(true))
    );
    let entry = client.get(&review).await["revisions"][0].clone();
    assert_eq!(
        (&entry["status"], &entry["errors"]),
        (&json!("approved"), &Value::Null)
    );
    for list in lists {
        assert_eq!(word(list).await, "Published", "{list}");
    }

    let (_, status, review) = held("3").await;
    decide(3, "reject").await;
    let told = client.get(&status).await;
    assert_eq!(
        (&told["code"], &told["revision"], &told["errors"][0]["code"]),
        (&json!("processing_error"), &json!(3), &json!("rejected"))
    );
    assert!(
        told["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("so it is")
    );
    assert_eq!(client.get(&review).await["revisions"][0]["status"], "rejected");
    for list in lists {
        assert_eq!(word(list).await, "Rejected", "{list}");
    }
}
