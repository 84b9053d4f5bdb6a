//! What a registered device asks a store: refresh, info, find, names, files; and that nobody sees what is not theirs.

use std::sync::Arc;

use hallmark::adapters::vcdiff::Vcdiff;
use hallmark::app::store::make_deltas;
use hallmark::domain::blob::BlobId;
use hallmark::ports::Deltas;
use serde_json::{Value, json};

use super::Answer;
use super::stock::{Device, Stock, device, field, id, installed, outcomes, refresh_action};

#[tokio::test]
async fn a_device_gets_what_its_store_shows_and_one_answer_per_action() {
    let field = field().await;
    let device = device(&field).await;
    assert_eq!(
        device
            .install(
                &[
                    "agent",
                    "secret",
                    "elsewhere",
                    "theirs",
                    "their-secret",
                    "nothing"
                ],
                "stable"
            )
            .await,
        [
            "1@latest/stable",
            "1@latest/stable",
            "name-not-found",
            "name-not-found",
            "name-not-found",
            "name-not-found"
        ]
    );
    let answer = device
        .refresh(
            json!([installed("agent", 1, "latest/stable")]),
            json!([
                refresh_action("agent"),
                refresh_action("theirs"),
                {"action": "dance", "instance-key": "dance-1"},
                {"action": "download", "instance-key": "download-1", "name": "agent", "revision": 1},
                {"action": "download", "instance-key": "download-2", "name": "agent", "revision": 7},
            ]),
        )
        .await;
    assert_eq!(
        outcomes(&answer),
        [
            "1@latest/stable",
            "invalid-instance-key",
            "invalid-action",
            "1@-",
            "revision-not-found"
        ]
    );
    let results = answer["results"].as_array().unwrap();
    let keys: Vec<&str> = results
        .iter()
        .map(|r| r["instance-key"].as_str().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            id("agent").as_str(),
            id("theirs").as_str(),
            "dance-1",
            "download-1",
            "download-2"
        ]
    );
    let snap = &results[0]["snap"];
    assert_eq!(snap["download"]["size"], "agent one".len());
    assert_eq!(snap["download"]["sha3-384"], BlobId::of(b"agent one").to_string());
    assert_eq!(snap["publisher"]["validation"], "verified");
    assert_eq!(snap["epoch"], json!({"read": [0], "write": [0]}));
    assert_eq!(snap["prices"], json!({}));
    assert_eq!(snap["type"], "app");
}

#[tokio::test]
async fn strangers_see_what_is_not_private_in_the_store_they_name() {
    let field = field().await;
    let info = |name: &'static str, store: Option<&'static str>| {
        let field = &field;
        async move {
            let headers: Vec<(&str, &str)> = store
                .map(|store| ("snap-device-store", store))
                .into_iter()
                .collect();
            let path = format!("/v2/snaps/info/{name}?architecture=amd64");
            field.call("GET", &path, &headers, "").await.status
        }
    };
    assert_eq!(info("agent", Some("acme-store")).await, 200);
    assert_eq!(info("agent", None).await, 200);
    assert_eq!(info("secret", Some("acme-store")).await, 404);
    assert_eq!(info("secret", None).await, 404);
    assert_eq!(info("elsewhere", Some("acme-store")).await, 404);
    assert_eq!(info("theirs", Some("acme-store")).await, 404);
    assert_eq!(info("agent", Some("nowhere")).await, 404);
}

#[tokio::test]
async fn a_model_that_names_another_brands_store_opens_nothing_there() {
    let field = field().await;
    let model = super::sign_model(&field.app, "other", "1").await;
    let request = field.request(&field.nonce().await, &[]).await;
    let answer = field.open(&request, &field.serial, &model).await;
    let session = format!(
        "Macaroon root=\"{}\"",
        answer.json()["macaroon"].as_str().unwrap()
    );
    let device = Device {
        field: &field,
        session,
    };
    assert_eq!(
        device.install(&["theirs", "their-secret"], "stable").await,
        ["1@latest/stable", "name-not-found"]
    );
    let path = format!("/download/{}_1.snap", id("their-secret"));
    assert_eq!(device.get(&path).await.status, 404);
}

#[tokio::test]
async fn files_come_whole_or_in_part_and_private_ones_only_to_their_store() {
    let field = field().await;
    let device = device(&field).await;
    let path = format!("/download/{}_1.snap", id("agent"));
    let answer = field.get(&path).await;
    assert_eq!((answer.status, &answer.body[..]), (200, b"agent one".as_slice()));
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("content-length"), "9");
    let etag = answer.header("etag").to_owned();
    for (headers, status, body, range) in [
        (vec![("range", "bytes=6-")], 206, "one", "bytes 6-8/9"),
        (vec![("range", "bytes=0-0")], 206, "a", "bytes 0-0/9"),
        (vec![("range", "bytes=9-")], 416, "", "bytes */9"),
        (
            vec![("range", "bytes=6-"), ("if-range", "\"other\"")],
            200,
            "agent one",
            "",
        ),
        (
            vec![("range", "bytes=6-"), ("if-range", &etag)],
            206,
            "one",
            "bytes 6-8/9",
        ),
        (vec![("if-none-match", &etag)], 304, "", ""),
    ] {
        let answer = field.call("GET", &path, &headers, "").await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (status, body.as_bytes()),
            "{headers:?}"
        );
        assert_eq!(answer.header("content-range"), range, "{headers:?}");
    }
    assert_eq!(field.call("HEAD", &path, &[], "").await.status, 200);
    let secret = format!("/download/{}_1.snap", id("secret"));
    assert_eq!(field.get(&secret).await.status, 404);
    assert_eq!(device.get(&secret).await.status, 200);
    for none in [
        format!("/download/{}_2.snap", id("agent")),
        "/download/agent_1.snap".to_owned(),
    ] {
        assert_eq!(device.get(&none).await.status, 404, "{none}");
    }
}

#[tokio::test]
async fn searching_finds_what_is_seen_and_the_content_types_are_exact() {
    let field = field().await;
    let device = device(&field).await;
    let names = |answer: &Answer| -> Vec<String> {
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json")
        );
        let json = answer.json();
        let results = json["results"].as_array().unwrap();
        results
            .iter()
            .map(|r| r["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&device.get("/v2/snaps/find?q=what").await),
        ["agent", "secret"]
    );
    assert_eq!(names(&device.get("/v2/snaps/find?q=agent+does").await), ["agent"]);
    assert_eq!(names(&device.get("/v2/snaps/find?q=their").await), [""; 0]);
    assert_eq!(
        names(&device.get("/v2/snaps/find?category=featured").await),
        ["agent", "secret"]
    );
    assert_eq!(
        names(&device.get("/v2/snaps/find?private=true").await),
        ["secret"]
    );
    assert_eq!(
        names(&device.get("/v2/snaps/find?q=agent&confinement=classic").await),
        [""; 0]
    );
    let answer = device
        .get("/api/v1/snaps/names?confinement=strict%2Cclassic")
        .await;
    assert_eq!(answer.header("content-type"), "application/hal+json");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        text.starts_with("{\"_embedded\":{\"clickindex:package\":[{\"package_name\":\"agent\""),
        "{text}"
    );
    let answer = device.get("/api/v1/snaps/sections").await;
    assert_eq!(answer.header("content-type"), "application/hal+json");
    assert_eq!(
        answer.json()["_embedded"]["clickindex:sections"][0]["name"],
        "featured"
    );
    assert_eq!(
        device.get("/v2/snaps/categories").await.json()["categories"][0]["name"],
        "featured"
    );
}

#[tokio::test]
async fn assertions_are_offered_only_when_they_are_newer() {
    let field = field().await;
    let device = device(&field).await;
    let groups = json!([
        {"action": "fetch-assertions", "key": "A", "assertions": [
            {"type": "account", "primary-key": ["acme"], "if-newer-than": 0}]},
        {"action": "fetch-assertions", "key": "B", "assertions": [{"type": "account", "primary-key": ["acme"]}]},
        {"action": "fetch-assertions", "key": "C", "assertions": [{"type": "account", "primary-key": ["nobody"]}]},
        {"action": "fetch-assertions", "key": "D", "assertions": [
            {"type": "validation-set", "sequence-key": ["16", "acme", "base"], "if-sequence-equal-or-newer-than": 3}]},
        {"action": "fetch-assertions", "key": "E", "assertions": [{"type": "banana", "primary-key": []}]},
    ]);
    let answer = device.refresh(json!([]), groups).await;
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!(results[0]["assertion-stream-urls"], json!([]));
    let url = results[1]["assertion-stream-urls"][0].as_str().unwrap();
    let path = url.strip_prefix(&field.app.settings.public_url).unwrap();
    assert_eq!(
        field.get(path).await.header("content-type"),
        "application/x.ubuntu.assertion"
    );
    for (number, kind, key) in [
        (2, "account", "primary-key"),
        (3, "validation-set", "sequence-key"),
        (4, "banana", "primary-key"),
    ] {
        let error = &results[number]["error-list"][0];
        assert_eq!(
            (error["code"].as_str(), error["type"].as_str()),
            (Some("not-found"), Some(kind))
        );
        assert!(error[key].is_array());
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_as_a_whole() {
    let field = field().await;
    let device = device(&field).await;
    let headers = [("snap-device-authorization", device.session.as_str())];
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let twice = json!([installed("agent", 1, "stable"), installed("agent", 2, "stable")]);
    let many: Vec<Value> = (0..2001)
        .map(|n| installed(&format!("s{n}"), 1, "stable"))
        .collect();
    for body in [
        "".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        deep,
        json!({"context": {}, "actions": []}).to_string(),
        json!({"context": twice, "actions": []}).to_string(),
        json!({"context": many, "actions": []}).to_string(),
        json!({"actions": [{"action": "install", "instance-key": "a", "name": 7}]}).to_string(),
        json!({"actions": [refresh_action("agent"), refresh_action("agent")]}).to_string(),
        json!({"context": [{"snap-id": "x", "instance-key": "x", "revision": 1, "epoch": {"read": [2, 1], "write": [1]}}]}).to_string(),
    ] {
        let answer = field.call("POST", "/v2/snaps/refresh", &headers, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid-request"), "{}", &body[..body.len().min(200)]);
    }
    let nothing = device.refresh(json!([]), json!([])).await;
    assert_eq!(nothing, json!({"results": [], "error-list": []}));
}

#[tokio::test]
async fn a_session_that_ends_soon_is_renewed_and_one_that_ended_is_refused_with_the_challenge() {
    let field = field().await;
    let device = device(&field).await;
    field.clock.advance(23 * 3600);
    let answer = device.refresh(json!([]), json!([])).await;
    assert_eq!(
        answer["error-list"][0]["code"],
        "device-authorization-needs-refresh"
    );
    field.clock.advance(3600);
    let answer = device.get("/v2/snaps/find?q=agent").await;
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .header("www-authenticate")
            .contains("refresh_device_session=1")
    );
}

#[tokio::test]
async fn a_delta_is_offered_to_who_has_its_source_and_takes_its_format() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    // Long enough that a delta saves something, and nothing that packs by itself.
    let line = |n: u32| format!("{n} {}\n", BlobId::of(&n.to_be_bytes()).to_base64url());
    let old: String = (0..500).map(line).collect();
    let new = old.replace("\n77 ", "\nseventy-seven ");
    stock.revision("agent", 2, &old, |_| ()).await;
    stock.release("agent", 2, "stable").await;
    stock.revision("agent", 3, &new, |_| ()).await;
    stock.release("agent", 3, "stable").await;
    let maker: Arc<dyn Deltas> = Arc::new(Vcdiff);
    // From 2 to 3, and from 1 to 3, which is not worthwhile.
    assert_eq!(make_deltas(&field.app, &maker, 1 << 20).await.unwrap().here, 2);
    assert_eq!(make_deltas(&field.app, &maker, 1 << 20).await.unwrap().here, 0);
    let ask = async |has: u64, formats: &str| {
        let headers = [
            ("snap-device-authorization", device.session.as_str()),
            ("snap-accept-delta-format", formats),
        ];
        let body =
            json!({"context": [installed("agent", has, "stable")], "actions": [refresh_action("agent")]});
        let answer = field
            .call("POST", "/v2/snaps/refresh", &headers, &body.to_string())
            .await
            .json();
        answer["results"][0]["snap"]["download"]["deltas"].clone()
    };
    let offered = ask(2, "snap-1-1-xdelta3, xdelta3").await;
    let delta = &offered[0];
    assert_eq!(
        (
            delta["format"].as_str(),
            delta["source"].as_u64(),
            delta["target"].as_u64()
        ),
        (Some("xdelta3"), Some(2), Some(3))
    );
    for (has, formats) in [(1, "xdelta3"), (3, "xdelta3"), (2, ""), (2, "other")] {
        assert_eq!(ask(has, formats).await, json!([]), "{has} {formats}");
    }
    let path = delta["url"]
        .as_str()
        .unwrap()
        .strip_prefix(&field.app.settings.public_url)
        .unwrap();
    let file = field.get(path).await;
    assert_eq!(
        (file.status, BlobId::of(&file.body).to_string().as_str()),
        (200, delta["sha3-384"].as_str().unwrap())
    );
    assert_eq!(
        oxidelta::compress::decoder::decode_all(old.as_bytes(), &file.body).unwrap(),
        new.as_bytes()
    );
    // Larger files than the limit are left alone.
    stock
        .revision("agent", 4, &new.replace("\n5 ", "\nfive "), |_| ())
        .await;
    stock.release("agent", 4, "stable").await;
    assert_eq!(make_deltas(&field.app, &maker, 1000).await.unwrap().here, 0);
}
