//! What becomes of a push while the world goes on: credentials that are less than their token, leave that ends, processes
//! that end, files that others want too.

use std::time::Duration;

use hallmark::app::App;
use hallmark::app::catalog::{push, uploads};
use hallmark::app::doctor;
use hallmark::domain::blob::BlobId;
use hallmark::domain::catalog::{MOST_TURNS, PushRecord, PushState, UNCLAIMED_LIFE, UploadId};
use hallmark::ports::{Change, Commit, Versioned};
use serde_json::{Value, json};

use super::client::{bound, caveat, narrowed};
use super::snapcraft::{BOUNDARY, Client, form};
use crate::harness::{TestClock, instance};
use crate::store::gate::Gate;
use crate::store::leave::{End, in_pieces};
use crate::store::shop::{Shop, answer, component_file, snap_file, token};

/// Something that needs a grant.
const NEEDS_GRANT: &str = "plugs: {snapd-control: null}\n";

/// An instance whose largest snap is of this size.
async fn sized(largest: u64) -> (App, std::sync::Arc<TestClock>) {
    let (app, clock) = instance().await;
    let mut state = hallmark::app::AppState::clone(&app);
    let mut settings = hallmark::app::Settings::clone(&state.settings);
    settings.limits.snap = largest;
    state.settings = std::sync::Arc::new(settings);
    (state.into(), clock)
}

async fn record(shop: &Shop, upload: &str) -> Versioned<PushRecord> {
    let hash = upload.parse::<UploadId>().unwrap().hash();
    let found = shop.app.storage.find::<PushRecord>([hash.as_str()]).await;
    found.unwrap().unwrap()
}

#[tokio::test]
async fn what_waits_for_a_reviewer_keeps_its_components() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let docs = component_file("my-snap", "docs", "");
    // Sent for nothing, as two more files are.
    for file in [docs.as_slice(), b"one", b"two"] {
        client.upload(file).await;
    }
    let more = format!("components: {{docs: {{type: standard}}}}\n{NEEDS_GRANT}");
    let snap = client.upload(&snap_file("my-snap", "1", &more)).await;
    let again = client.upload(&docs).await;
    let wanted = json!({"components": {"docs": again}});
    let status = client.push("my-snap", &snap, wanted).await.unwrap();
    assert_eq!(client.processed(&status).await["code"], "need_manual_review");
    shop.clock.advance(UNCLAIMED_LIFE + 1);
    uploads::sweep(&shop.app).await.unwrap();
    let kept = shop.blobs().await;
    assert!(
        kept.contains(&BlobId::of(&docs).to_string()),
        "a reviewer may approve it"
    );
    assert!(!kept.contains(&BlobId::of(b"one").to_string()));
    // All that nobody wants is looked for once.
    let audited = shop.audited().await;
    assert_eq!(
        audited.iter().filter(|action| *action == "file.remove").count(),
        1
    );
    let path = "/snaps/my-snap/revisions/1/review";
    shop.call("rev", "POST", path, json!({"action": "approve"}))
        .await
        .ok();
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
}

/// The header of a client that logged in with somebody's token, for less than that.
async fn credential(shop: &Shop, who: &str, asked: Value) -> (String, String) {
    let client = Client::new(shop, "pub");
    let root = answer(
        client
            .request("POST", "/dev/api/acl/")
            .header("Content-Type", "application/json")
            .body(asked.to_string()),
    )
    .await
    .ok();
    let root = root["macaroon"].as_str().unwrap().to_owned();
    let given = json!({
        "email": format!("{who}@people.example"), "password": token(who).reveal(), "caveat_id": caveat(&root).1,
    });
    let discharge = answer(
        client
            .request("POST", "/api/v2/tokens/discharge")
            .header("Content-Type", "application/json")
            .body(given.to_string()),
    )
    .await
    .ok();
    (root, discharge["discharge_macaroon"].as_str().unwrap().to_owned())
}

async fn push_with(shop: &Shop, authorization: &str, upload: &str) -> String {
    let client = Client::new(shop, "pub");
    let body = json!({"name": "my-snap", "updown_id": upload});
    let request = client
        .request("POST", "/dev/api/snap-push/")
        .header("Content-Type", "application/json")
        .body(body.to_string());
    let told = answer(request.header("Authorization", authorization)).await;
    assert_eq!(told.status, 202, "{told:?}");
    let url = told.body["status_details_url"].as_str().unwrap();
    url.strip_prefix("http://127.0.0.1:8380").unwrap().to_owned()
}

#[tokio::test]
async fn what_a_credential_was_not_made_for_its_push_does_not_do() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    shop.limited("operator", "programs", &[]).await;
    let asked = json!({"permissions": ["package_push", "package_access"], "packages": [{"name": "my-snap"}]});
    let (root, discharge) = credential(&shop, "operator", asked).await;
    let pair = format!("Macaroon root={root}, discharge={}", bound(&root, &discharge));
    let wide = json!({"permissions": ["package_push", "package_access", "store_review", "store_admin"]});
    let (wide, of_wide) = credential(&shop, "operator", wide).await;
    let narrow = narrowed(&wide, r#"hallmark|only|{"permissions":["snap-publish"]}"#);
    let less = format!("Macaroon root={narrow}, discharge={}", bound(&narrow, &of_wide));
    for (version, authorization) in [("1", &pair), ("2", &less)] {
        let upload = client.upload(&snap_file("my-snap", version, NEEDS_GRANT)).await;
        let status = push_with(&shop, authorization, &upload).await;
        let told = client.processed(&status).await;
        assert_eq!(told["code"], "need_manual_review", "{told}");
    }
    // The token itself says everything.
    let all = format!("Macaroon {}", token("operator").reveal());
    let upload = client.upload(&snap_file("my-snap", "3", NEEDS_GRANT)).await;
    let status = push_with(&shop, &all, &upload).await;
    assert_eq!(client.processed(&status).await["code"], "ready_to_release");
}

#[tokio::test]
async fn leave_that_ends_while_a_push_is_worked_on_ends_the_push() {
    let (app, clock) = instance().await;
    let ends = [("pub", End::Role), ("pub2", End::Token), ("brand", End::Account)];
    let (app, gate) = Gate::before(&app, ends.len() + 1);
    let shop = Shop::serving(app, clock).await;
    // A credential that ends before its token.
    let soon = json!({"permissions": ["package_push", "package_access"], "ttl": 60});
    let (root, discharge) = credential(&shop, "operator", soon).await;
    let soon = format!("Macaroon root={root}, discharge={}", bound(&root, &discharge));
    // First the files: the gate lets no more through.
    let mut uploads = Vec::new();
    for who in ["pub", "pub2", "brand", "my"] {
        let client = Client::new(&shop, if who == "my" { "pub" } else { who });
        let name = format!("{who}-snap");
        client.register(&name).await;
        uploads.push(client.upload(&snap_file(&name, "1", "")).await);
    }
    let mut pushed = Vec::new();
    for ((who, end), upload) in ends.iter().zip(&uploads) {
        let channels = json!({"channels": ["stable"]});
        let status = Client::new(&shop, who)
            .push(&format!("{who}-snap"), upload, channels)
            .await
            .unwrap();
        pushed.push((status, end.refusal().1));
    }
    pushed.push((push_with(&shop, &soon, &uploads[3]).await, "token-expired"));
    gate.reached(8).await;
    for (who, end) in ends {
        end.comes(&shop, who).await;
    }
    shop.clock.advance(61);
    gate.open();
    for (status, code) in pushed {
        let told = Client::new(&shop, "view").processed(&status).await;
        assert_eq!(told["errors"][0]["code"], code, "{told}");
    }
}

#[tokio::test]
async fn a_revision_and_the_end_of_its_push_are_one_fact() {
    let (app, clock) = instance().await;
    let (app, gate) = Gate::before(&app, 1);
    let shop = Shop::serving(app, clock).await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    let upload = client.upload(&snap_file("my-snap", "1", "")).await;
    let channels = json!({"channels": ["stable"]});
    let status = client.push("my-snap", &upload, channels).await.unwrap();
    gate.reached(2).await;
    // Another process takes it over, and ends; the first one comes to write the revision down, and no further.
    let mut found = record(&shop, &upload).await;
    found.record.state = PushState::Working {
        until: shop.app.clock.now().plus_seconds(20),
    };
    shop.commit(Commit {
        records: vec![Change::replace(&found.record, found.version)],
        ..Commit::default()
    })
    .await;
    gate.open();
    while shop.snap("my-snap").await.releases.open.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let close = json!({"channels": ["stable"]});
    client
        .call("POST", &format!("/dev/api/snaps/{id}/close"), close)
        .await
        .ok();
    // What was released once is not released again.
    shop.clock.advance(21);
    assert_eq!(push::take_up(&shop.app).await.unwrap(), 0);
    let told = client.processed(&status).await;
    assert_eq!(
        (&told["code"], &told["revision"]),
        (&json!("ready_to_release"), &json!(1))
    );
    assert!(shop.snap("my-snap").await.releases.open.is_empty());
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
}

#[tokio::test]
async fn a_push_that_only_waited_is_not_given_up() {
    let (app, clock) = instance().await;
    let (app, gate) = Gate::before(&app, push::AT_ONCE + 1);
    let shop = Shop::serving(app, clock).await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let mut uploads = Vec::new();
    for number in 0..=push::AT_ONCE {
        uploads.push(
            client
                .upload(&snap_file("my-snap", &number.to_string(), ""))
                .await,
        );
    }
    let mut pushed = Vec::new();
    for upload in uploads {
        if pushed.len() == push::AT_ONCE {
            // All desks are taken: these have kept their files.
            gate.reached(2 * push::AT_ONCE as u32 + 1).await;
        }
        let status = client.push("my-snap", &upload, json!({})).await.unwrap();
        pushed.push((upload, status));
    }
    for _ in 0..=MOST_TURNS {
        shop.clock.advance(21);
        push::take_up(&shop.app).await.unwrap();
    }
    let (waiting, _) = pushed.last().unwrap();
    assert_eq!(record(&shop, waiting).await.record.turns, 0);
    gate.open();
    for (_, status) in &pushed {
        assert_eq!(client.processed(status).await["code"], "ready_to_release");
    }
    assert_eq!(record(&shop, waiting).await.record.turns, 1);
}

#[tokio::test]
async fn the_same_upload_is_not_asked_for_twice_in_different_ways() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let more = "components: {docs: {type: standard}}\n";
    let upload = client.upload(&snap_file("my-snap", "1", more)).await;
    let docs = client.upload(&component_file("my-snap", "docs", "")).await;
    let wanted = json!({"channels": ["edge"], "components": {"docs": docs}});
    let status = client.push("my-snap", &upload, wanted.clone()).await.unwrap();
    assert_eq!(client.push("my-snap", &upload, wanted).await.unwrap(), status);
    for other in [
        json!({"components": {"docs": docs}}),
        json!({"channels": ["stable"], "components": {"docs": docs}}),
        json!({"channels": ["edge"]}),
        json!({"channels": ["edge"], "components": {"more": docs}}),
        json!({
            "channels": ["edge"], "components": {"docs": docs}, "delta_format": "xdelta3",
            "delta_hash": "0".repeat(96), "source_hash": "0".repeat(96), "target_hash": "0".repeat(96),
        }),
    ] {
        let answer = client.push("my-snap", &upload, other.clone()).await.unwrap_err();
        assert_eq!(answer.refusal(), (409, "upload-claimed"), "{other}");
    }
    assert_eq!(client.processed(&status).await["code"], "ready_to_release");
}

#[tokio::test]
async fn files_that_came_at_once_take_no_more_room_than_others() {
    const LARGEST: usize = 30 << 20;
    let (app, clock) = sized(LARGEST as u64).await;
    let shop = Shop::serving(app, clock).await;
    let client = Client::new(&shop, "pub");
    let mut coming = Vec::new();
    for size in [LARGEST, LARGEST / 2, LARGEST] {
        let file = form("binary", &vec![size as u8 | 1; size]);
        let (pieces, body) = in_pieces();
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = client.request("POST", "/unscanned-upload/");
        let answer = tokio::spawn(answer(request.header("Content-Type", kind).body(body)));
        pieces.send(file[..1000].to_vec().into()).await.unwrap();
        coming.push((pieces, file, answer));
    }
    // All of them have begun by now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut answers = Vec::new();
    for (pieces, file, answer) in coming {
        let _gone = pieces.send(file[1000..].to_vec().into()).await;
        drop(pieces);
        let answer = answer.await.unwrap();
        answers.push((answer.status, answer.code().to_owned()));
    }
    let good = (200, String::new());
    assert_eq!(
        answers,
        [good.clone(), good, (429, "too-many-uploads".to_owned())]
    );
    shop.clock.advance(UNCLAIMED_LIFE);
    uploads::sweep(&shop.app).await.unwrap();
    client.upload(&vec![4u8; LARGEST]).await;
}
