//! What a registered device asks a store: refresh, info, find, names, cohorts, downloads; and that nobody sees what is
//! not theirs. The catalogue is written as records here; management has tests of its own.

use std::sync::Arc;

use hallmark::adapters::vcdiff::Vcdiff;
use hallmark::app::catalog::connect;
use hallmark::app::devices::{self, DeviceName, Place};
use hallmark::app::serials::SerialQuery;
use hallmark::app::sign::{record, stored};
use hallmark::app::store::{flush_reports, make_deltas};
use hallmark::domain::access::{Account, Membership, Role, StoreRecord, Token, TokenText};
use hallmark::domain::assertion::AssertionType;
use hallmark::domain::blob::BlobId;
use hallmark::domain::catalog::{
    CatalogHead, Changed, Channel, Inclusion, Listing, Releases, RevisionRecord, SnapRecord, Track,
};
use hallmark::domain::ident::{AccountId, Architecture, BrandId, SnapId, StoreId};
use hallmark::domain::snap::{Confinement, Epoch, SnapType};
use hallmark::domain::time::Timestamp;
use hallmark::ports::{Change, Commit, CommitOutcome, Deltas, PutRule};
use serde_json::{Value, json};

use super::{Answer, Field};
use crate::harness::acme_ctx;

/// A catalogue being written.
pub(super) struct Stock<'f> {
    pub(super) field: &'f Field,
}

pub(super) fn id(name: &str) -> SnapId {
    format!("{name:x<32}").replace('-', "0").parse().unwrap()
}

impl Stock<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.field.app.clock.now()
    }

    async fn write(&self, records: Vec<Change>, changed: Changed) {
        let head = self
            .field
            .app
            .storage
            .find::<CatalogHead>(["head"])
            .await
            .unwrap();
        let change = match head {
            None => Change::create(&CatalogHead::default().after([changed])),
            Some(found) => Change::replace(&found.record.after([changed]), found.version),
        };
        let mut commit = Commit {
            records,
            ..Commit::default()
        };
        commit.records.push(change);
        let outcome = self.field.app.storage.commit(commit).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Done);
    }

    /// A store of a brand that may take snaps from these.
    async fn store(&self, store: &str, brand: &str, sources: &[&str]) {
        let id: StoreId = store.parse().unwrap();
        let mut record = StoreRecord::new(id.clone(), brand.parse().unwrap(), store.to_owned(), self.now());
        record.parent = (store != brand).then(|| brand.parse().unwrap());
        record.inclusion_sources = sources.iter().map(|source| source.parse().unwrap()).collect();
        self.write(vec![Change::create(&record)], Changed::Store(id))
            .await;
    }

    pub(super) async fn include(&self, store: &str, snap: &str) {
        let store_id: StoreId = store.parse().unwrap();
        let inclusion = Inclusion {
            store_id: store_id.clone(),
            snap_id: id(snap),
            since: self.now(),
        };
        self.write(vec![Change::create(&inclusion)], Changed::Store(store_id))
            .await;
    }

    /// A snap of the base store of `brand`, with nothing released.
    pub(super) async fn snap(&self, name: &str, brand: &str, private: bool) {
        let brand_id: BrandId = brand.parse().unwrap();
        let record = SnapRecord {
            id: id(name),
            name: name.parse().unwrap(),
            store_id: brand.parse().unwrap(),
            publisher_id: brand_id.clone().into(),
            brand_id,
            collaborators: Default::default(),
            kind: Some(SnapType::App),
            private,
            revoked: false,
            listing: Listing {
                title: Some(name.to_uppercase()),
                summary: format!("What {name} does"),
                ..Listing::default()
            },
            tracks: Default::default(),
            guardrails: Vec::new(),
            default_track: None,
            aliases: Default::default(),
            refresh_control: Default::default(),
            newest_revision: 0,
            newest_components: Default::default(),
            releases: Releases::default(),
            created: self.now(),
        };
        self.write(vec![Change::create(&record)], Changed::Snap(id(name)))
            .await;
    }

    pub(super) async fn edit(&self, name: &str, change: impl FnOnce(&mut SnapRecord)) {
        let mut found = self
            .field
            .app
            .storage
            .find::<SnapRecord>([id(name).as_str()])
            .await
            .unwrap()
            .unwrap();
        change(&mut found.record);
        let change = Change::replace(&found.record, found.version);
        self.write(vec![change], Changed::Snap(id(name))).await;
    }

    pub(super) async fn release(&self, name: &str, revision: u64, channel: &str) {
        let channel: Channel = channel.parse().unwrap();
        let now = self.now();
        self.edit(name, |record| {
            record.releases.release(
                &["all".parse::<Architecture>().unwrap()],
                &channel,
                revision,
                None,
                now,
            );
        })
        .await;
    }

    /// A revision whose file is `content`.
    pub(super) async fn revision(
        &self,
        name: &str,
        revision: u64,
        content: &str,
        change: impl FnOnce(&mut RevisionRecord),
    ) {
        let mut staging = self.field.app.blobs.stage().await.unwrap();
        staging.write(content.to_owned().into()).await.unwrap();
        let staged = staging.finish().await.unwrap();
        let digest = staged.digest();
        staged.keep().await.unwrap();
        let mut record = RevisionRecord {
            snap_id: id(name),
            revision,
            blob: digest.id,
            size: digest.size,
            sha512: String::new(),
            version: format!("1.{revision}"),
            kind: SnapType::App,
            base: Some("core22".to_owned()),
            architectures: ["all".parse().unwrap()].into(),
            confinement: Confinement::Strict,
            epoch: Epoch::default(),
            grade: None,
            provenance: "global-upload".to_owned(),
            snap_yaml: format!("name: {name}\nversion: '1.{revision}'\n"),
            common_ids: Vec::new(),
            apps: vec![name.to_owned()],
            hooks: Default::default(),
            components: Vec::new(),
            developer_id: "acme".parse().unwrap(),
            created: self.now(),
        };
        change(&mut record);
        self.write(vec![Change::create(&record)], Changed::Snap(id(name)))
            .await;
    }

    /// A snap with revision 1 in stable.
    pub(super) async fn simple(&self, name: &str, brand: &str, private: bool) {
        self.snap(name, brand, private).await;
        self.revision(name, 1, &format!("{name} one"), |_| ()).await;
        self.release(name, 1, "stable").await;
    }
}

/// A device of acme in `acme-store`, with snaps in its store, in the brand's and in another brand's.
pub(super) async fn field() -> Field {
    let field = Field::new().await;
    let stock = Stock { field: &field };
    stock.store("acme-store", "acme", &["acme"]).await;
    stock.store("other", "other", &[]).await;
    for (name, brand, private) in [
        ("agent", "acme", false),
        ("secret", "acme", true),
        ("elsewhere", "acme", false),
        ("theirs", "other", false),
        ("their-secret", "other", true),
    ] {
        stock.simple(name, brand, private).await;
    }
    stock.include("acme-store", "agent").await;
    stock.include("acme-store", "secret").await;
    field
}

pub(super) struct Device<'f> {
    pub(super) field: &'f Field,
    pub(super) session: String,
}

impl Device<'_> {
    pub(super) async fn get(&self, path: &str) -> Answer {
        let headers = [
            ("snap-device-authorization", self.session.as_str()),
            ("snap-device-architecture", "amd64"),
        ];
        self.field.call("GET", path, &headers, "").await
    }

    pub(super) async fn refresh(&self, context: Value, actions: Value) -> Value {
        let headers = [
            ("snap-device-authorization", self.session.as_str()),
            ("snap-device-architecture", "amd64"),
        ];
        let body = json!({"context": context, "actions": actions, "fields": ["name"]}).to_string();
        let answer = self
            .field
            .call("POST", "/v2/snaps/refresh", &headers, &body)
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()
    }

    /// The results of installing these, by name: the revision, or the code of the error.
    pub(super) async fn install(&self, names: &[&str], channel: &str) -> Vec<String> {
        let actions: Vec<Value> = names
            .iter()
            .enumerate()
            .map(|(n, name)| json!({"action": "install", "instance-key": format!("install-{n}"), "name": name, "channel": channel, "epoch": null}))
            .collect();
        let answer = self.refresh(json!([]), json!(actions)).await;
        outcomes(&answer)
    }
}

pub(super) fn outcomes(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().unwrap();
    results
        .iter()
        .map(|result| match result["result"].as_str().unwrap() {
            "error" => result["error"]["code"].as_str().unwrap().to_owned(),
            _ => format!(
                "{}@{}",
                result["snap"]["revision"],
                result["effective-channel"].as_str().unwrap_or("-")
            ),
        })
        .collect()
}

pub(super) fn installed(name: &str, revision: u64, channel: &str) -> Value {
    json!({
        "snap-id": id(name), "instance-key": id(name), "revision": revision, "tracking-channel": channel,
        "epoch": {"read": [0], "write": [0]}, "refreshed-date": "2026-01-02T03:04:05Z",
    })
}

pub(super) fn refresh_action(name: &str) -> Value {
    json!({"action": "refresh", "instance-key": id(name), "snap-id": id(name)})
}

pub(super) async fn device(field: &Field) -> Device<'_> {
    Device {
        field,
        session: field.session().await,
    }
}

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
async fn a_release_is_seen_at_once_and_a_closed_channel_follows_the_safer_one() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    let context = json!([installed("agent", 1, "latest/edge")]);
    let ask = || device.refresh(context.clone(), json!([refresh_action("agent")]));
    assert_eq!(outcomes(&ask().await), ["1@latest/stable"]);
    stock.release("agent", 2, "edge").await;
    assert_eq!(outcomes(&ask().await), ["2@latest/edge"]);
    let now = field.app.clock.now();
    stock
        .edit("agent", |record| {
            record.releases.close(&"edge".parse().unwrap(), &[], now);
            record.releases.close(&"stable".parse().unwrap(), &[], now);
            record.releases.release(
                &["arm64".parse().unwrap()],
                &"beta".parse().unwrap(),
                2,
                None,
                now,
            );
        })
        .await;
    let answer = ask().await;
    assert_eq!(outcomes(&answer), ["revision-not-found"]);
    assert_eq!(
        answer["results"][0]["error"]["extra"]["releases"],
        json!([{"architecture": "arm64", "channel": "latest/beta"}])
    );
    assert_eq!(answer["results"][0]["name"], "agent");
    // What runs anywhere is listed for the device's own architecture: the client compares the word.
    stock.release("agent", 2, "candidate").await;
    let answer = device
        .refresh(
            json!([installed("agent", 1, "9/edge")]),
            json!([refresh_action("agent")]),
        )
        .await;
    assert_eq!(
        answer["results"][0]["error"]["extra"]["releases"],
        json!([
            {"architecture": "amd64", "channel": "latest/candidate"},
            {"architecture": "arm64", "channel": "latest/beta"},
        ])
    );
}

#[tokio::test]
async fn while_releases_happen_devices_get_the_old_or_the_new_and_never_nothing() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    let writing = async {
        for round in 0..40 {
            stock.release("agent", 1 + round % 2, "stable").await;
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            seen.extend(device.install(&["agent"], "stable").await);
            tokio::task::yield_now().await;
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, reading);
    let either = ["1@latest/stable".to_owned(), "2@latest/stable".to_owned()];
    assert_eq!(seen, either.into());
}

#[tokio::test]
async fn the_default_track_redirects_an_installation() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    stock.release("agent", 2, "2.0/stable").await;
    stock
        .edit("agent", |record| {
            record.default_track = Some("2.0".parse::<Track>().unwrap());
        })
        .await;
    let install = |channel: Value| {
        let action = json!({"action": "install", "instance-key": "install-1", "name": "agent", "channel": channel, "epoch": null});
        device.refresh(json!([]), json!([action]))
    };
    let answer = install(json!("stable")).await;
    assert_eq!(answer["results"][0]["redirect-channel"], "2.0/stable");
    assert_eq!(answer["results"][0]["snap"]["revision"], 2);
    let answer = install(json!("latest/stable")).await;
    assert_eq!(answer["results"][0]["redirect-channel"], Value::Null);
    assert_eq!(answer["results"][0]["snap"]["revision"], 1);
    let answer = install(Value::Null).await;
    assert_eq!(answer["results"][0]["snap"]["revision"], 2);
    let info = device.get("/v2/snaps/info/agent?architecture=amd64").await.json();
    let names: Vec<&str> = info["channel-map"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["channel"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["2.0/stable", "stable"]);
    assert_eq!(info["default-track"], "2.0");
}

#[tokio::test]
async fn a_cohort_stays_where_it_was_made() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    let headers = [("snap-device-authorization", device.session.as_str())];
    let keys = async |names: Value| {
        let body = json!({"snaps": names}).to_string();
        field.call("POST", "/v2/cohorts", &headers, &body).await
    };
    let answer = keys(json!(["agent"])).await;
    let key = answer.json()["cohort-keys"]["agent"].as_str().unwrap().to_owned();
    assert_eq!(keys(json!(["agent", "theirs"])).await.status, 404);
    field.clock.advance(10);
    stock.revision("agent", 2, "agent two", |_| ()).await;
    stock.release("agent", 2, "stable").await;
    let context = json!([installed("agent", 1, "latest/stable")]);
    for (cohort, revision) in [(None, 2), (Some(key.as_str()), 1), (Some("nonsense"), 2)] {
        let mut action = refresh_action("agent");
        action["cohort-key"] = json!(cohort);
        let answer = device.refresh(context.clone(), json!([action])).await;
        assert_eq!(answer["results"][0]["snap"]["revision"], revision, "{cohort:?}");
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
    assert_eq!(make_deltas(&field.app, &maker, 1 << 20).await.unwrap(), 2);
    assert_eq!(make_deltas(&field.app, &maker, 1 << 20).await.unwrap(), 0);
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
    assert_eq!(make_deltas(&field.app, &maker, 1000).await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_device_reports_is_kept_and_only_written_when_it_changes() {
    let field = field().await;
    let device = device(&field).await;
    let name: DeviceName = "gate-1/SN 1".parse().unwrap();
    let seen = async || {
        flush_reports(&field.app).await.unwrap();
        devices::show(&field.app, &acme_ctx(), &name)
            .await
            .unwrap()
            .report
    };
    assert_eq!(seen().await, None);
    device
        .refresh(
            json!([installed("agent", 1, "stable")]),
            json!([refresh_action("agent")]),
        )
        .await;
    assert_eq!(field.app.reports.waiting(), 1);
    let first = seen().await.unwrap();
    assert_eq!(
        (first.snaps[0].revision, first.snaps[0].channel.as_deref()),
        (1, Some("stable"))
    );
    assert_eq!(first.store.as_deref(), Some("acme-store"));
    // A call that says nothing of snaps does not wipe what is known; a little later nothing is written at all.
    field.clock.advance(60);
    device.refresh(json!([]), json!([])).await;
    assert_eq!(seen().await.unwrap(), first);
    field.clock.advance(600);
    device.refresh(json!([]), json!([])).await;
    let later = seen().await.unwrap();
    assert_eq!((later.snaps, later.seen), (first.snaps, field.app.clock.now()));
    device
        .refresh(json!([installed("agent", 2, "edge")]), json!([]))
        .await;
    assert_eq!(seen().await.unwrap().snaps[0].revision, 2);
    let uuid = devices::uuid(&later.device);
    let by_uuid = devices::show(&field.app, &acme_ctx(), &uuid.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(by_uuid.device.to_string(), "acme/gate-1/SN 1");
    let absent = devices::show(&field.app, &acme_ctx(), &"gate-1/SN 2".parse().unwrap()).await;
    assert_eq!(absent.unwrap_err().code, "resource-not-found");
}

#[tokio::test]
async fn devices_of_another_vault_are_listed_once_they_have_reported() {
    let field = field().await;
    device(&field).await.refresh(json!([]), json!([])).await;
    for serial in ["SN 8", "SN 9"] {
        let assertion = super::sign_serial(&field.app, &field.device.key, serial, 1).await;
        let request = field.request(&field.nonce().await, &[("serial", serial)]).await;
        let answer = field.open(&request, &assertion, &field.model).await;
        let session = format!(
            "Macaroon root=\"{}\"",
            answer.json()["macaroon"].as_str().unwrap()
        );
        let device = Device {
            field: &field,
            session,
        };
        let context = json!([installed("agent", 1, "stable")]);
        device.refresh(context, json!([])).await;
    }
    let list = async |query: &SerialQuery, from: Option<&Place>| {
        let page = devices::list(&field.app, &acme_ctx(), query.clone(), from.cloned()).await;
        let page = page.unwrap();
        let names: Vec<String> = page
            .devices
            .iter()
            .map(|found| found.device.to_string())
            .collect();
        (names, page.next)
    };
    let all = SerialQuery::default();
    assert_eq!(
        list(&all, None).await,
        (vec!["acme/gate-1/SN 1".to_owned()], None)
    );
    flush_reports(&field.app).await.unwrap();
    let names = ["SN 1", "SN 8", "SN 9"].map(|serial| format!("acme/gate-1/{serial}"));
    assert_eq!(list(&all, None).await, (names.to_vec(), None));
    // One by one, with every cursor as it travels.
    let one = SerialQuery {
        limit: Some(1),
        ..all.clone()
    };
    let (mut found, mut from) = (Vec::new(), None::<Place>);
    loop {
        let (page, next) = list(&one, from.as_ref()).await;
        assert_eq!(page.len(), 1);
        found.extend(page);
        let Some(next) = next else { break };
        let text = serde_json::to_value(&next).unwrap();
        from = Some(text.as_str().unwrap().parse().unwrap());
        assert_eq!(from, Some(next));
    }
    assert_eq!(found, names);
    for (query, expected) in [
        (
            SerialQuery {
                serial_prefix: Some("SN 9".to_owned()),
                ..all.clone()
            },
            &names[2..],
        ),
        (
            SerialQuery {
                models: vec!["gate-2".parse().unwrap()],
                ..all.clone()
            },
            &[],
        ),
        (
            SerialQuery {
                since: Some(Timestamp::from_unix(0)),
                ..all.clone()
            },
            &names[..1],
        ),
    ] {
        assert_eq!(list(&query, None).await, (expected.to_vec(), None), "{query:?}");
    }
    let shown = devices::show(&field.app, &acme_ctx(), &"SN 9".parse().unwrap()).await;
    let shown = shown.unwrap();
    assert_eq!((shown.device.to_string(), shown.serial), (names[2].clone(), None));
    assert_eq!(shown.report.unwrap().snaps.len(), 1);
    let absent = devices::show(&field.app, &acme_ctx(), &"SN".parse().unwrap()).await;
    assert_eq!(absent.unwrap_err().code, "resource-not-found");
}

#[tokio::test]
async fn devices_are_pointed_at_a_store_by_an_assertion_that_changes_only_with_the_address() {
    let field = field().await;
    let store: StoreId = "acme-store".parse().unwrap();
    assert_eq!(field.get("/v2/auth/store/assertions").await.status, 404);
    let first = connect::connect(&field.app, &acme_ctx(), &store).await.unwrap();
    let again = connect::connect(&field.app, &acme_ctx(), &store).await.unwrap();
    assert_eq!(first.assertions, again.assertions);
    assert_eq!(first.url, field.app.settings.public_url);
    for path in [
        "/v2/auth/store/assertions",
        "/v2/auth/store/assertions?store=acme-store",
    ] {
        assert_eq!(field.get(path).await.body, first.assertions, "{path}");
    }
    assert_eq!(
        field.get("/v2/auth/store/assertions?store=other").await.status,
        404
    );
    let mut moved = field.app.clone();
    let mut settings = hallmark::app::Settings::clone(&moved.settings);
    settings.public_url = "https://store.acme.example".to_owned();
    moved.settings = Arc::new(settings);
    let next = connect::connect(&moved, &acme_ctx(), &store).await.unwrap();
    assert_eq!(next.url, "https://store.acme.example");
    let served = field.get("/v2/assertions/store/acme-store").await;
    let served = hallmark::domain::assertion::decode(&served.body).unwrap();
    assert_eq!(
        (served.revision(), served.text("url")),
        (1, Some("https://store.acme.example"))
    );
    // Devices resolve some addresses relative to this one, which takes the last part of a path away.
    let mut settings = hallmark::app::Settings::clone(&moved.settings);
    settings.public_url = "https://acme.example/store".to_owned();
    moved.settings = Arc::new(settings);
    let next = connect::connect(&moved, &acme_ctx(), &store).await.unwrap();
    assert_eq!(next.url, "https://acme.example/store/");
    let again = connect::connect(&moved, &acme_ctx(), &store).await.unwrap();
    assert_eq!(next.assertions, again.assertions);
    let foreign = connect::connect(&field.app, &acme_ctx(), &"other".parse().unwrap()).await;
    assert_eq!(foreign.unwrap_err().code, "resource-not-found");
}

#[tokio::test]
async fn an_image_builder_sees_private_snaps_with_a_token_of_the_brand_only() {
    let field = field().await;
    let token = async |roles: &[Role]| builder(&field, roles).await;
    let status = async |authorization: &str, path: &str| {
        let headers = [
            ("authorization", authorization),
            ("snap-device-store", "acme-store"),
        ];
        field.call("GET", path, &headers, "").await.status
    };
    let good = token(&[Role::View]).await;
    let info = "/v2/snaps/info/secret?architecture=amd64";
    let file = format!("/download/{}_1.snap", id("secret"));
    for form in [
        format!("Bearer {good}"),
        format!("Macaroon {good}"),
        format!("Macaroon root=\"{good}\""),
    ] {
        assert_eq!(status(&form, info).await, 200, "{form}");
        assert_eq!(status(&form, &file).await, 200, "{form}");
    }
    let none = token(&[]).await;
    assert_eq!(status(&format!("Macaroon {none}"), info).await, 404);
    assert_eq!(
        status(&format!("Macaroon {none}"), "/v2/snaps/info/agent").await,
        200
    );
    assert_eq!(
        status("Macaroon root=\"MDAy\", discharge=\"x\"", "/v2/snaps/info/agent").await,
        200
    );
    let mut forged = good.clone();
    forged.replace_range(6..8, "zz");
    assert!([401, 404].contains(&status(&format!("Macaroon {forged}"), info).await));
}

/// A token of a new account with these roles in acme.
async fn builder(field: &Field, roles: &[Role]) -> String {
    let now = field.app.clock.now();
    let mut bytes = [0; 16];
    field.app.entropy.fill(&mut bytes);
    let account_id: AccountId = hallmark::domain::audit::hex(&bytes).parse().unwrap();
    let name = format!("b{}", &account_id.as_str()[..8]);
    let text = TokenText::generate(|buffer| field.app.entropy.fill(buffer));
    let account = Account {
        id: account_id.clone(),
        email: format!("{name}@acme.example").parse().unwrap(),
        username: name.parse().unwrap(),
        display_name: name.clone(),
        password: None,
        operator: false,
        disabled: false,
        created: now,
    };
    let token = Token {
        id: name,
        account_id: account_id.clone(),
        hash: text.hash(),
        description: String::new(),
        permissions: Some(vec!["image-build".to_owned()]),
        brand_id: None,
        person: false,
        created: now,
        expires: now.plus_seconds(3600),
    };
    let mut records = vec![Change::create(&account), Change::create(&token)];
    if !roles.is_empty() {
        records.push(Change::create(&Membership {
            brand_id: "acme".parse().unwrap(),
            store_id: "acme".parse().unwrap(),
            account_id,
            roles: roles.to_vec(),
            changed: now,
        }));
    }
    let commit = Commit {
        records,
        ..Commit::default()
    };
    assert_eq!(
        field.app.storage.commit(commit).await.unwrap(),
        CommitOutcome::Done
    );
    text.reveal().to_owned()
}

/// A validation of a revision, or its revocation, as it is after an import.
pub(super) async fn validate(field: &Field, gating: &str, gated: &str, revision: u64, revoked: bool) {
    let (now, number) = (field.app.clock.now().to_string(), revision.to_string());
    let (gating, gated) = (id(gating), id(gated));
    let mut headers = vec![
        ("authority-id", "acme"),
        ("series", "16"),
        ("snap-id", gating.as_str()),
        ("approved-snap-id", gated.as_str()),
        ("approved-snap-revision", number.as_str()),
        ("timestamp", now.as_str()),
    ];
    if revoked {
        headers.extend([("revoked", "true"), ("revision", "1")]);
    }
    let kind = AssertionType::Validation;
    // By whom does not matter here: what is stored was judged when it came.
    let validation = field.device.sign(&field.app, kind, &headers, b"").await;
    let commit = Commit {
        assertions: vec![(stored(&validation), PutRule::Newer)],
        audit: vec![record(
            acme_ctx().event(field.app.clock.now(), "", ""),
            &validation,
        )],
        ..Commit::default()
    };
    assert_eq!(
        field.app.storage.commit(commit).await.unwrap(),
        CommitOutcome::Done
    );
}

#[tokio::test]
async fn a_gated_snap_is_offered_in_what_was_validated() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.simple("warden", "acme", false).await;
    stock.include("acme-store", "warden").await;
    for revision in 2..=4 {
        let content = format!("agent {revision}");
        stock.revision("agent", revision, &content, |_| ()).await;
        stock.release("agent", revision, "stable").await;
    }
    stock
        .edit("warden", |record| {
            record.refresh_control = [id("agent")].into();
        })
        .await;
    let context = |has: u64| {
        json!([
            installed("agent", has, "latest/stable"),
            installed("warden", 1, "stable")
        ])
    };
    let ask = |has: u64, action: Value| {
        let context = context(has);
        let device = &device;
        async move {
            let answer = device.refresh(context, json!([action])).await;
            outcomes(&answer).pop().unwrap_or_else(|| "nothing".to_owned())
        }
    };
    let with = |ignore: bool| {
        let mut action = refresh_action("agent");
        action["ignore-validation"] = json!(ignore);
        action
    };

    // Nothing is validated: a refresh of everything goes past it, for one snap the device itself says why.
    let answer = device
        .refresh(
            context(1),
            json!([refresh_action("agent"), refresh_action("warden")]),
        )
        .await;
    assert_eq!(outcomes(&answer), ["1@latest/stable"]);
    assert_eq!(
        answer["error-list"],
        json!([{
            "code": "not-validated",
            "message": "cannot refresh \"agent\" to revision 4: no validation by \"warden\"",
        }])
    );
    assert_eq!(ask(4, refresh_action("agent")).await, "nothing");
    assert_eq!(ask(1, with(false)).await, "4@latest/stable");
    assert_eq!(ask(1, with(true)).await, "4@latest/stable");
    // Who does not have the gate is not held back, nor is an installation.
    let free = device
        .refresh(
            json!([installed("agent", 1, "stable")]),
            json!([refresh_action("agent")]),
        )
        .await;
    assert_eq!(outcomes(&free), ["4@latest/stable"]);
    assert_eq!(device.install(&["agent"], "stable").await, ["4@latest/stable"]);
    let mut sticky = context(1);
    sticky[0]["ignore-validation"] = json!(true);
    let sticky = device.refresh(sticky, json!([refresh_action("agent")])).await;
    assert_eq!(outcomes(&sticky), ["4@latest/stable"]);

    // The newest that is validated, never one before what is there.
    validate(&field, "warden", "agent", 2, false).await;
    assert_eq!(ask(1, refresh_action("agent")).await, "2@latest/stable");
    assert_eq!(ask(1, with(false)).await, "2@latest/stable");
    assert_eq!(ask(2, refresh_action("agent")).await, "2@latest/stable");
    assert_eq!(ask(3, refresh_action("agent")).await, "nothing");
    validate(&field, "warden", "agent", 4, false).await;
    assert_eq!(ask(1, refresh_action("agent")).await, "4@latest/stable");
    validate(&field, "warden", "agent", 4, true).await;
    assert_eq!(ask(1, refresh_action("agent")).await, "2@latest/stable");
    // Another gate has a say of its own; what another snap validated is nothing to it.
    stock
        .edit("secret", |record| {
            record.refresh_control = [id("agent")].into();
        })
        .await;
    let both = json!([
        installed("agent", 1, "latest/stable"),
        installed("warden", 1, "stable"),
        installed("secret", 1, "stable"),
    ]);
    let both = device.refresh(both, json!([refresh_action("agent")])).await;
    assert_eq!(outcomes(&both), [""; 0]);
    assert!(
        both["error-list"][0]["message"].to_string().contains("secret"),
        "{both}"
    );
}
