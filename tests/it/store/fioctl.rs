//! `fioctl waves` against the paths it knows: its requests to the letter, its answers read with its types, which fail on
//! a number where it expects a text, or on a null.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark::domain::catalog::{DeviceReport, ReportedSnap};
use hallmark::domain::fleet::FleetDevice;
use hallmark::domain::ident::DeviceId;
use hallmark::ports::{Change, Commit};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::shop::*;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wave {
    name: String,
    version: String,
    tag: String,
    #[serde(default)]
    targets: Option<Value>,
    status: String,
    rollout_groups: BTreeMap<String, GroupRef>,
    rollout_history: Vec<History>,
    change_meta: ChangeMeta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct GroupRef {
    group_id: i64,
    group_name: String,
    created_at: String,
    created_by: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct History {
    group_name: String,
    rollout_by: String,
    rollout_at: String,
    is_full_group: bool,
    is_factory_wide: bool,
    num_devices: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ChangeMeta {
    created_by: String,
    created_at: String,
    updated_by: String,
    updated_at: String,
}

#[derive(Debug, Deserialize)]
struct List {
    waves: Vec<Wave>,
    total: i64,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Rolled {
    #[serde(flatten)]
    wave: Wave,
    device_num: usize,
    device_uuids: Vec<String>,
    device_names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    name: String,
    version: i64,
    tag: String,
    status: String,
    created_at: String,
    finished_at: String,
    total_devices: i64,
    updated_devices: i64,
    scheduled_devices: i64,
    unscheduled_devices: i64,
    rollout_groups: Vec<Group>,
    other_groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Group {
    name: String,
    rollout_at: String,
    devices_total: i64,
    devices_online: i64,
    devices_on_wave_version: i64,
    devices_on_newer_version: i64,
    devices_on_older_version: i64,
    devices_scheduled_for_update: i64,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Target {
    version: i64,
    devices: i64,
    is_orphan: bool,
}

impl Status {
    fn counts(&self) -> [i64; 4] {
        let Self {
            total_devices,
            updated_devices,
            scheduled_devices,
            unscheduled_devices,
            ..
        } = self;
        [
            *total_devices,
            *updated_devices,
            *scheduled_devices,
            *unscheduled_devices,
        ]
    }
}

/// What the client says of a failed request, in its own order of attempts.
#[derive(Debug, Deserialize)]
struct Failure {
    message: String,
    errors: BTreeMap<String, String>,
}

/// The client, with the token of `admin`.
struct Client<'s>(&'s Shop);

impl Client<'_> {
    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let url = format!("http://{}/ota/factories/acme{path}", self.0.address);
        let mut request = self
            .0
            .http
            .request(method.parse().unwrap(), url)
            .header("user-agent", "fioctl-9b0a6e7")
            .header("OSF-TOKEN", token("admin").reveal());
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        answer(request).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.send("GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_value(answer.body.clone()).unwrap_or_else(|e| panic!("{path}: {e}: {answer:?}"))
    }

    /// As the client does it: three flags always, the rest only where it is neither 0 nor empty.
    async fn roll(&self, wave: &str, selector: Value, flags: &[&str]) -> Answer {
        let mut body = json!({
            "dry-run": flags.contains(&"dry-run"),
            "return-uuids": flags.contains(&"print-uuids"),
            "return-names": flags.contains(&"print-names"),
        });
        body.as_object_mut()
            .unwrap()
            .extend(selector.as_object().unwrap().clone());
        self.send("POST", &format!("/waves/{wave}/rollout/"), Some(body))
            .await
    }

    async fn rolled(&self, wave: &str, selector: Value, flags: &[&str]) -> Rolled {
        let answer = self.roll(wave, selector, flags).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let rolled: Rolled = serde_json::from_value(answer.body).unwrap();
        assert_eq!(rolled.wave.name, wave);
        // It reads that many of what it asked for, or takes the list for one that cannot be shown.
        for (flag, list) in [
            ("print-uuids", &rolled.device_uuids),
            ("print-names", &rolled.device_names),
        ] {
            let expected = if flags.contains(&flag) {
                rolled.device_num
            } else {
                0
            };
            assert_eq!(list.len(), expected, "{rolled:?}");
        }
        rolled
    }

    /// Status, code and message of what fails.
    async fn fails(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        failed(&self.send(method, path, body).await)
    }
}

fn failed(answer: &Answer) -> (u16, String) {
    assert!(answer.status >= 400, "{answer:?}");
    let failure: Failure = serde_json::from_value(answer.body.clone()).unwrap();
    assert!(failure.message.starts_with("cannot "), "{failure:?}");
    (answer.status, failure.errors["code"].clone())
}

/// Devices `SN-1` to `SN-6` of the tag `main`, the first three in the group `canary`, the last with the wave's revision
/// already; and `T-1`, a test device.
async fn shop() -> Shop {
    let shop = Shop::new().await;
    let more = "base: core22\ngrade: stable\narchitectures: [amd64]\n";
    for version in ["1.0", "2.0"] {
        let file = shop.file("gizmo.snap", snap_file("gizmo", version, more));
        let add = ["snap", "add", &file, "--store", "acme", "--publisher", "acme"];
        shop.json("brand", &add).await;
    }
    let id = shop.snap("gizmo").await.id;
    let report = |serial: &str| DeviceReport {
        device: DeviceId {
            brand: BRAND.parse().unwrap(),
            model: "gate-1".parse().unwrap(),
            serial: serial.parse().unwrap(),
        },
        store: None,
        architecture: "amd64".parse().unwrap(),
        client: Some("snapd/2.77".to_owned()),
        snaps: vec![ReportedSnap {
            snap_id: id.to_string(),
            instance: None,
            revision: if serial == "SN-6" { 2 } else { 1 },
            channel: Some("latest/stable".to_owned()),
            held: false,
        }],
        seen: shop.app.clock.now(),
        heard: None,
        reverted: Vec::new(),
        wave: None,
        counted: None,
    };
    let place = |serial: &str| FleetDevice {
        device: report(serial).device,
        store: BRAND.parse().unwrap(),
        production: true,
        tag: Some("main".parse().unwrap()),
        group: (serial <= "SN-3").then(|| "canary".parse().unwrap()),
        since: shop.app.clock.now(),
    };
    let production = ["SN-1", "SN-2", "SN-3", "SN-4", "SN-5", "SN-6"];
    let mut records = vec![Change::create(&report("T-1"))];
    for serial in production {
        records.extend([Change::create(&report(serial)), Change::create(&place(serial))]);
    }
    shop.commit(Commit {
        records,
        ..Commit::default()
    })
    .await;
    native(&shop, "POST", "/stores/acme/groups", json!({"name": "canary"})).await;
    shop
}

async fn native(shop: &Shop, method: &str, path: &str, body: Value) -> Value {
    shop.call("admin", method, path, body).await.ok()
}

async fn init(shop: &Shop, wave: &str, tag: &str) {
    let body = json!({"name": wave, "tag": tag, "snaps": [{"name": "gizmo", "revision": 2}]});
    native(shop, "POST", "/stores/acme/waves", body).await;
    shop.clock.advance(60);
}

fn set(texts: &[String]) -> BTreeSet<&str> {
    texts.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn waves_are_rolled_out_looked_at_and_completed_by_fioctl() {
    let shop = shop().await;
    let client = Client(&shop);
    init(&shop, "june", "main").await;
    let status: Status = client.get("/waves/$active$/status/?offline-threshold=4").await;
    assert_eq!(
        (status.name.as_str(), status.tag.as_str(), status.status.as_str()),
        ("june", "main", "active")
    );
    assert_eq!(status.counts(), [6, 0, 0, 6]);
    assert!(status.rollout_groups.is_empty() && status.finished_at.is_empty());
    assert!(!status.created_at.is_empty());
    let version = status.version;

    // A dry run tells who; the list can be edited and given back.
    let canary = json!({"group": "canary"});
    let dry = client
        .rolled("june", canary.clone(), &["dry-run", "print-uuids", "print-names"])
        .await;
    assert_eq!(
        set(&dry.device_names),
        BTreeSet::from(["gate-1/SN-1", "gate-1/SN-2", "gate-1/SN-3"])
    );
    assert!(dry.wave.rollout_history.is_empty(), "{dry:?}");
    let uuid = |name: &str| {
        let names = dry.device_names.iter().zip(&dry.device_uuids);
        names
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap()
            .1
            .clone()
    };
    let first = uuid("gate-1/SN-1");
    let one = client.rolled("june", json!({"uuids": [first]}), &[]).await;
    assert_eq!(one.device_num, 1);
    // Whom an earlier rollout took is not taken again.
    let limited = client
        .rolled(
            "june",
            json!({"group": "canary", "limit": 1}),
            &["print-uuids", "print-names"],
        )
        .await;
    assert_eq!(limited.device_num, 1);
    assert_eq!(limited.device_uuids[0], uuid(&limited.device_names[0]));
    assert_ne!(limited.device_uuids[0], first);
    // The whole group: the third, and who joins.
    let whole = client
        .rolled("june", canary, &["print-uuids", "print-names"])
        .await;
    let taken = [
        first.clone(),
        limited.device_uuids[0].clone(),
        whole.device_uuids[0].clone(),
    ];
    assert_eq!((whole.device_num, set(&taken)), (1, set(&dry.device_uuids)));
    // A percentage is of all that match, rounded up: 2 of 6; one has it already.
    let part = client
        .rolled("june", json!({"percentage": 20}), &["print-names"])
        .await;
    assert_eq!(
        set(&part.device_names),
        BTreeSet::from(["gate-1/SN-4", "gate-1/SN-5"])
    );
    let again = json!({"uuids": dry.device_uuids, "limit": 5, "group": "canary"});
    assert_eq!(client.rolled("june", again, &["dry-run"]).await.device_num, 0);
    // Names are as good as uuids; 0 is not given.
    let named = json!({"uuids": ["gate-1/SN-4"], "limit": 0, "percentage": 0, "group": ""});
    assert_eq!(client.rolled("june", named, &["dry-run"]).await.device_num, 0);

    let status: Status = client.get("/waves/june/status/?offline-threshold=4").await;
    assert_eq!(status.counts(), [6, 0, 5, 1]);
    let [group] = &status.rollout_groups[..] else {
        panic!("one: {status:?}");
    };
    assert_eq!(
        (group.name.as_str(), group.rollout_at.is_empty()),
        ("canary", false)
    );
    assert_eq!(
        [
            group.devices_total,
            group.devices_online,
            group.devices_on_wave_version,
            group.devices_on_newer_version,
            group.devices_on_older_version,
            group.devices_scheduled_for_update,
        ],
        [3, 3, 0, 0, 3, 3]
    );
    assert!(group.targets.is_empty(), "{group:?}");
    let [rest] = &status.other_groups[..] else {
        panic!("one: {status:?}");
    };
    assert_eq!((rest.name.as_str(), rest.rollout_at.as_str()), ("", ""));
    let [on_wave] = &rest.targets[..] else {
        panic!("one: {rest:?}");
    };
    assert_eq!(
        (on_wave.version, on_wave.devices, on_wave.is_orphan),
        (version, 1, false)
    );
    shop.clock.advance(2 * 3600);
    let later: Status = client.get("/waves/june/status/?offline-threshold=1").await;
    assert_eq!(later.rollout_groups[0].devices_online, 0);

    let wave: Wave = client.get("/waves/june/").await;
    assert!(wave.targets.is_none());
    assert_eq!((wave.version, wave.tag.as_str()), (version.to_string(), "main"));
    let history: Vec<_> = wave
        .rollout_history
        .iter()
        .map(|one| {
            assert!(
                !one.rollout_by.is_empty() && !one.rollout_at.is_empty(),
                "{one:?}"
            );
            (
                one.group_name.as_str(),
                one.is_full_group,
                one.is_factory_wide,
                one.num_devices,
            )
        })
        .collect();
    assert_eq!(
        history,
        [
            ("", false, true, 1),
            ("canary", false, false, 1),
            ("canary", true, false, 1),
            ("", false, true, 2)
        ]
    );
    let groups: Vec<_> = wave
        .rollout_groups
        .iter()
        .map(|(key, group)| {
            assert!(
                !group.created_at.is_empty() && !group.created_by.is_empty(),
                "{group:?}"
            );
            (key.as_str(), group.group_id, group.group_name.as_str())
        })
        .collect();
    assert_eq!(groups, [("2", 2, "canary")]);
    // It prints these as the end of the wave.
    assert_eq!(
        (
            wave.change_meta.updated_at.as_str(),
            wave.change_meta.updated_by.as_str()
        ),
        ("", "")
    );
    assert!(!wave.change_meta.created_at.is_empty() && !wave.change_meta.created_by.is_empty());
    let wave: Wave = client.get("/waves/june/?show-targets=1").await;
    let targets = wave.targets.unwrap();
    assert_eq!(
        (&targets[0]["name"], &targets[0]["revision"]),
        (&json!("gizmo"), &json!(2))
    );

    assert_eq!(
        client.send("POST", "/waves/june/complete/", None).await.status,
        200
    );
    let status: Status = client.get("/waves/june/status/?offline-threshold=4").await;
    assert_eq!(
        (status.status.as_str(), status.counts()),
        ("complete", [6, 1, 5, 0])
    );
    assert!(!status.finished_at.is_empty());
    let wave: Wave = client.get("/waves/june/").await;
    assert_eq!(wave.change_meta.updated_at, status.finished_at);
    assert_eq!(wave.change_meta.updated_by, wave.change_meta.created_by);
    assert_eq!(
        client.fails("POST", "/waves/june/cancel/", None).await,
        (409, "wave-complete".to_owned())
    );
    assert_eq!(
        client
            .fails("GET", "/waves/$active$/status/?offline-threshold=4", None)
            .await,
        (404, "resource-not-found".to_owned())
    );
}

#[tokio::test]
async fn lists_have_pages_and_filters() {
    let shop = shop().await;
    let client = Client(&shop);
    let empty: List = client.get("/waves/?limit=20&page=1").await;
    assert!(empty.waves.is_empty() && empty.total == 0 && empty.next.is_none());
    init(&shop, "june", "main").await;
    client.send("POST", "/waves/june/complete/", None).await.ok();
    init(&shop, "july", "other").await;
    client.send("POST", "/waves/july/cancel/", None).await.ok();
    init(&shop, "august", "other").await;
    init(&shop, "september", "third").await;
    native(&shop, "POST", "/stores/acme/waves/september/halt", Value::Null).await;
    let names = async |query: &str| {
        let list: List = client.get(&format!("/waves/{query}")).await;
        let names: Vec<String> = list
            .waves
            .into_iter()
            .map(|wave| format!("{} {}", wave.name, wave.status))
            .collect();
        (names.join(", "), list.total, list.next)
    };
    let all = "september active, august active, july canceled, june complete";
    for (query, expected, total) in [
        ("?limit=20&page=1", all, 4),
        ("", all, 4),
        ("?limit=0&page=0", all, 4),
        ("?limit=20&page=2", "", 4),
        ("?limit=18446744073709551615&page=18446744073709551615", "", 4),
        (
            "?limit=20&page=1&status=active",
            "september active, august active",
            2,
        ),
        ("?limit=20&page=1&status=complete", "june complete", 1),
        ("?limit=20&page=1&status=canceled&tag=other", "july canceled", 1),
        ("?limit=20&page=1&tag=main", "june complete", 1),
        ("?limit=20&page=1&status=canceled&tag=main", "", 0),
    ] {
        assert_eq!(names(query).await, (expected.to_owned(), total, None), "{query}");
    }
    let (first, total, next) = names("?limit=1&page=1&tag=other").await;
    assert_eq!((first.as_str(), total), ("august active", 2));
    let next = next.unwrap();
    let (second, _, last) = names(next.strip_prefix("/ota/factories/acme/waves/").unwrap()).await;
    assert_eq!((second.as_str(), last), ("july canceled", None), "{next}");
    // Which one is meant cannot be told.
    assert_eq!(
        client
            .fails("GET", "/waves/$active$/status/?offline-threshold=4", None)
            .await,
        (409, "several-waves".to_owned())
    );
    for query in [
        "?status=draft",
        "?status=",
        "?limit=-1",
        "?page=x",
        "?tag=a%20b",
        "?tag=a&tag=b",
    ] {
        let (status, _) = client.fails("GET", &format!("/waves/{query}"), None).await;
        assert_eq!(status, 400, "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_a_code_and_changes_nothing() {
    let shop = shop().await;
    let client = Client(&shop);
    init(&shop, "june", "main").await;
    let nobody = "6f1c0a52-0000-4000-8000-000000000000";
    for (selector, status, code) in [
        (json!({}), 422, "selector-required"),
        (json!({"limit": 0, "uuids": []}), 422, "selector-required"),
        (json!({"limit": -1}), 422, "invalid-limit"),
        (json!({"percentage": -1}), 422, "invalid-percentage"),
        (json!({"percentage": 101}), 422, "invalid-percentage"),
        (json!({"percentage": 10, "limit": 10}), 422, "invalid-percentage"),
        (json!({"uuids": [nobody]}), 422, "uuid-mismatch"),
        (
            json!({"uuids": ["gate-1/SN-1", "gate-1/T-1"]}),
            422,
            "uuid-mismatch",
        ),
        (
            json!({"uuids": ["gate-1/SN-4"], "group": "canary"}),
            422,
            "uuid-mismatch",
        ),
        (json!({"group": "west"}), 422, "unknown-group"),
        (json!({"group": "no group"}), 422, "unknown-group"),
        (json!({"limit": "1"}), 400, "invalid-request"),
        (json!({"limit": 1, "only": "these"}), 400, "invalid-request"),
    ] {
        for flags in [&[][..], &["dry-run"], &["print-uuids", "print-names"]] {
            let answer = client.roll("june", selector.clone(), flags).await;
            assert_eq!(failed(&answer), (status, code.to_owned()), "{selector} {flags:?}");
        }
    }
    // The devices, each with a reason.
    let answer = client
        .roll("june", json!({"uuids": [nobody, "gate-1/T-1"]}), &[])
        .await;
    let message = answer.body["message"].as_str().unwrap();
    for text in [&format!("{nobody} (unknown)"), "gate-1/T-1 ("] {
        assert!(message.contains(text), "{message}");
    }
    for (method, path, status, code) in [
        ("GET", "/waves/july/", 404, "resource-not-found"),
        ("GET", "/waves/NO%20WAVE/", 404, "resource-not-found"),
        ("POST", "/waves/july/complete/", 404, "resource-not-found"),
        ("GET", "/waves/june/?show-targets=yes", 400, "invalid-request"),
        (
            "GET",
            "/waves/june/status/?offline-threshold=-1",
            400,
            "invalid-request",
        ),
        // What takes TUF documents, and what else the client can ask.
        ("POST", "/waves/june/sign/", 404, "resource-not-found"),
        ("POST", "/waves/", 405, "method-not-allowed"),
        ("GET", "/targets/?version=42", 404, "resource-not-found"),
        ("GET", "/prod-targets/?tag=main", 404, "resource-not-found"),
        ("GET", "/wave-targets/?name=june", 404, "resource-not-found"),
        ("GET", "/ci-targets.pub", 404, "resource-not-found"),
        ("GET", "/", 404, "resource-not-found"),
    ] {
        let failed = client.fails(method, path, None).await;
        assert_eq!(failed, (status, code.to_owned()), "{method} {path}");
    }
    let wave: Wave = client.get("/waves/june/").await;
    assert!(
        wave.rollout_history.is_empty() && wave.status == "active",
        "{wave:?}"
    );

    client.send("POST", "/waves/june/cancel/", None).await.ok();
    let answer = client.roll("june", json!({"limit": 1}), &[]).await;
    assert_eq!(failed(&answer), (409, "wave-canceled".to_owned()));
    assert_eq!(
        client.fails("POST", "/waves/june/complete/", None).await,
        (409, "wave-canceled".to_owned())
    );
    let status: Status = client.get("/waves/june/status/?offline-threshold=4").await;
    assert_eq!(
        (status.status.as_str(), status.counts()),
        ("canceled", [6, 1, 0, 5])
    );
}

#[tokio::test]
async fn tokens_come_in_the_headers_of_fioctl() {
    let shop = shop().await;
    init(&shop, "june", "main").await;
    let ask = async |headers: &[(&str, &str)], method: &str, path: &str| {
        let url = format!("http://{}/ota/factories/acme/waves/june/{path}", shop.address);
        let mut request = shop.http.request(method.parse().unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    };
    let admin = token("admin");
    let wrapped = format!("Bearer {}", STANDARD.encode(admin.reveal()));
    for headers in [
        [("OSF-TOKEN", admin.reveal())],
        [("Authorization", &wrapped)],
        [("Authorization", &format!("Bearer {}", admin.reveal()))],
    ] {
        assert_eq!(ask(&headers, "GET", "").await.status, 200);
    }
    for (headers, code) in [
        (&[][..], "login-required"),
        (&[("OSF-TOKEN", "hmk_short")], "invalid-token"),
        (&[("OSF-TOKEN", token("stranger").reveal())], "invalid-token"),
        (&[("OSF-TOKEN", ""), ("Authorization", &wrapped)], "invalid-token"),
    ] {
        assert_eq!(failed(&ask(headers, "GET", "").await), (401, code.to_owned()));
    }
    // What is forbidden is answered like what is not there.
    for who in ["pub", "rev", "brand"] {
        let answer = ask(&[("OSF-TOKEN", token(who).reveal())], "GET", "").await;
        assert_eq!(failed(&answer), (404, "resource-not-found".to_owned()), "{who}");
    }
    let view = token("view");
    let view = [("OSF-TOKEN", view.reveal())];
    assert_eq!(ask(&view, "GET", "status/").await.status, 200);
    for verb in ["complete/", "cancel/", "rollout/"] {
        let answer = ask(&view, "POST", verb).await;
        assert_eq!(failed(&answer), (404, "resource-not-found".to_owned()), "{verb}");
    }
    // Nowhere else does that header mean anything.
    let url = format!("http://{}/hallmark/v1/stores/acme/waves", shop.address);
    let elsewhere = shop.http.get(url).header("OSF-TOKEN", admin.reveal());
    assert_eq!(answer(elsewhere).await.refusal(), (401, "login-required"));
}
