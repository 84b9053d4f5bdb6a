//! Waves by the command line and the native API: what administrators do, what others may not.

use std::collections::BTreeMap;

use hallmark::app::keys;
use hallmark::app::sign::sign;
use hallmark::app::upkeep;
use hallmark::domain::assertion::Statement;
use hallmark::domain::catalog::{DeviceReport, Releases, ReportedSnap, RevisionRecord};
use hallmark::domain::ident::DeviceId;
use hallmark::ports::{Change, Commit};
use serde_json::{Value, json};

use super::shop::*;
use crate::cli::{differences, documented};
use crate::harness::acme_ctx;

/// Verbs that print what another one prints.
const LIKE: [(&str, &str); 11] = [
    ("device group", "device tag"),
    ("device production", "device tag"),
    ("device retry", "device tag"),
    ("group remove", "group add"),
    ("wave init", "wave show"),
    ("wave sign", "wave show"),
    ("wave halt", "wave show"),
    ("wave resume", "wave show"),
    ("wave complete", "wave show"),
    ("wave cancel", "wave show"),
    ("model fleet", "model show"),
];

fn report(shop: &Shop, serial: &str, snap_id: &str) -> DeviceReport {
    DeviceReport {
        device: DeviceId {
            brand: BRAND.parse().unwrap(),
            model: "gate-1".parse().unwrap(),
            serial: serial.parse().unwrap(),
        },
        store: None,
        architecture: "amd64".parse().unwrap(),
        client: Some("snapd/2.77".to_owned()),
        snaps: vec![ReportedSnap {
            snap_id: snap_id.to_owned(),
            instance: None,
            revision: 1,
            channel: Some("latest/stable".to_owned()),
            held: false,
        }],
        seen: shop.app.clock.now(),
        heard: None,
        reverted: Vec::new(),
        wave: None,
        counted: None,
    }
}

/// A shop with a snap of two revisions and four devices that have the first.
async fn shop() -> Shop {
    let shop = Shop::new().await;
    let more = "base: core22\ngrade: stable\narchitectures: [amd64]\n";
    for version in ["1.0", "2.0"] {
        let file = shop.file("gizmo.snap", snap_file("gizmo", version, more));
        let add = [
            "snap",
            "add",
            &file,
            "--store",
            "acme",
            "--publisher",
            "acme",
            "--release",
            "stable",
        ];
        shop.json("brand", &add).await;
    }
    let id = shop.snap("gizmo").await.id;
    let reports =
        ["SN 1", "SN 2", "SN 3", "SN 4"].map(|serial| Change::create(&report(&shop, serial, id.as_str())));
    shop.commit(Commit {
        records: reports.into(),
        ..Commit::default()
    })
    .await;
    shop
}

#[tokio::test]
async fn json_output_of_waves_is_as_documented() {
    let shop = shop().await;
    let mut printed: BTreeMap<&str, Value> = BTreeMap::new();
    let json = async |arguments: &[&str]| shop.json("admin", arguments).await;
    printed.insert(
        "device production",
        json(&["device", "production", "gate-1/SN 1", "yes"]).await,
    );
    printed.insert(
        "device tag",
        json(&["device", "tag", "gate-1/SN 1", "main"]).await,
    );
    for serial in ["gate-1/SN 2", "SN 3"] {
        json(&["device", "production", serial, "yes"]).await;
        json(&["device", "tag", serial, "main"]).await;
    }
    printed.insert("group create", json(&["group", "create", "canary"]).await);
    printed.insert("device group", json(&["device", "group", "SN 1", "canary"]).await);
    let list = shop.file("list", "gate-1/SN 2\nSN 3\n");
    printed.insert(
        "group add",
        json(&["group", "add", "canary", &format!("@{list}")]).await,
    );
    printed.insert("group remove", json(&["group", "remove", "SN 3"]).await);
    printed.insert("group list", json(&["group", "list"]).await);
    assert_eq!(printed["group list"][0]["production-devices"], 2);
    let init = [
        "wave",
        "init",
        "june",
        "--tag",
        "main",
        "gizmo=2",
        "--expires",
        "90d",
    ];
    printed.insert("wave init", json(&init).await);
    let dry = json(&[
        "wave",
        "rollout",
        "june",
        "--limit",
        "50%",
        "--dry-run",
        "--print-uuids",
        "--print-names",
    ])
    .await;
    assert_eq!(
        (&dry["device-num"], dry["device-uuids"].as_array().unwrap().len()),
        (&json!(2), 2)
    );
    let uuids = dry["device-uuids"].as_array().unwrap();
    let uuids: Vec<&str> = uuids.iter().map(|uuid| uuid.as_str().unwrap()).collect();
    let file = shop.file("uuids", uuids.join("\n"));
    let rollout = [
        "wave",
        "rollout",
        "june",
        "--uuids",
        &format!("@{file}"),
        "--print-uuids",
    ];
    printed.insert("wave rollout", json(&rollout).await);
    assert_eq!(printed["wave rollout"]["selected"], 2);
    json(&["wave", "rollout", "june", "canary"]).await;
    printed.insert("wave status", json(&["wave", "status"]).await);
    printed.insert(
        "wave list",
        json(&["wave", "list", "--status", "active", "--tag", "main"]).await,
    );
    printed.insert("wave show", json(&["wave", "show"]).await);
    printed.insert("device show", json(&["device", "show", "SN 1"]).await);
    assert_eq!(printed["device show"]["snaps"][0]["sees-revision"], 2);
    assert_eq!(printed["device show"]["snaps"][0]["rule"], "wave");
    printed.insert("device list", json(&["device", "list"]).await);
    printed.insert("wave halt", json(&["wave", "halt", "june"]).await);
    printed.insert("wave resume", json(&["wave", "resume", "june"]).await);
    printed.insert("wave complete", json(&["wave", "complete", "june"]).await);
    printed.insert("wave published", json(&["wave", "published", "main"]).await);
    json(&["wave", "init", "back", "--tag", "main", "gizmo=1", "--rollback"]).await;
    printed.insert("wave cancel", json(&["wave", "cancel", "back"]).await);
    let documents = shop.file("documents", "");
    std::fs::remove_file(&documents).unwrap();
    let bound = [
        "wave",
        "init",
        "bound",
        "--tag",
        "main",
        "gizmo=2",
        "--offline-out",
        &documents,
    ];
    let draft = json(&bound).await;
    assert_eq!(
        (&draft["status"], &draft["binding"]["set"]),
        (&json!("draft"), &json!("main"))
    );
    let sign = ["wave", "sign", "bound", "--offline-out", &documents];
    printed.insert("wave sign", json(&sign).await);
    json(&["wave", "cancel", "bound"]).await;
    printed.insert("device retry", json(&["device", "retry", "SN 1"]).await);
    json(&["group", "create", "empty"]).await;
    printed.insert("group delete", json(&["group", "delete", "empty"]).await);
    json(&[
        "model",
        "create",
        "gate-1",
        "--production",
        "yes",
        "--tag",
        "main",
    ])
    .await;
    printed.insert(
        "model fleet",
        json(&["model", "fleet", "gate-1", "--tag", "none"]).await,
    );
    assert_eq!(
        (
            &printed["model fleet"]["production"],
            &printed["model fleet"]["tag"]
        ),
        (&json!("yes"), &Value::Null)
    );

    let documented = documented();
    let mut wrong = Vec::new();
    for (verb, actual) in &printed {
        let like = LIKE
            .iter()
            .find(|(one, _)| one == verb)
            .map_or(*verb, |(_, other)| other);
        match documented.get(like) {
            Some(example) => wrong.extend(differences(verb, example, actual)),
            None => wrong.push(format!("{verb}: not in docs/cli-json.md")),
        }
    }
    assert_eq!(wrong, [""; 0]);
    let ours = documented
        .keys()
        .filter(|verb| verb.starts_with("wave ") || verb.starts_with("group "));
    let untested: Vec<_> = ours.filter(|verb| !printed.contains_key(verb.as_str())).collect();
    assert!(untested.is_empty(), "{untested:?}");
    let audited = shop.audited().await;
    for action in [
        "wave.init",
        "wave.rollout",
        "wave.complete",
        "wave.cancel",
        "group.create",
        "device.place",
    ] {
        assert!(
            audited.iter().any(|line| line.contains(action)),
            "{action}: {audited:?}"
        );
    }
}

#[tokio::test]
async fn tables_tell_what_happened_and_what_to_do_next() {
    let shop = shop().await;
    let run = async |arguments: &[&str]| shop.run("admin", arguments).await;
    for serial in ["SN 1", "SN 2"] {
        run(&["device", "production", serial, "yes"]).await;
        run(&["device", "tag", serial, "main"]).await;
    }
    let none = run(&["wave", "status"]).await;
    assert!(none.err.contains("has none"), "{none:?}");
    let made = run(&["wave", "init", "june", "--tag", "main", "gizmo=2"]).await;
    assert_eq!(made.status, 0, "{made:?}");
    assert!(made.err.contains("hallmark wave rollout june"), "{made:?}");
    for (arguments, text) in [
        (&["wave", "rollout", "june"][..], "[selector-required]"),
        (&["wave", "rollout", "june", "--limit", "0"], "[invalid-limit]"),
        (&["wave", "rollout", "june", "--limit", "-5"], "[invalid-limit]"),
        (
            &["wave", "rollout", "june", "--limit", "101%"],
            "[invalid-percentage]",
        ),
        (
            &["wave", "rollout", "june", "--uuids", "gate-1/nobody"],
            "[uuid-mismatch]",
        ),
        (&["wave", "rollout", "june", "west"], "[unknown-group]"),
        (
            &["wave", "init", "july", "--tag", "main", "gizmo=2"],
            "[wave-active-for-tag]",
        ),
        (
            &["wave", "init", "july", "--tag", "other", "gizmo=9"],
            "[unknown-revision]",
        ),
        (
            &["wave", "init", "july", "--tag", "other", "nothing=9"],
            "[unknown-snap]",
        ),
        (&["wave", "init", "july", "--tag", "other"], "[invalid-wave]"),
        (&["device", "production", "SN 1", "no"], "[production-fixed]"),
        (&["device", "group", "SN 1", "west"], "[unknown-group]"),
        (&["wave", "resume", "june"], "[wave-not-halted]"),
        (&["wave", "show", "nothing"], "[resource-not-found]"),
    ] {
        let refused = run(arguments).await;
        assert!(
            refused.status != 0 && refused.err.contains(text),
            "{arguments:?}: {refused:?}"
        );
    }
    let rolled = run(&["wave", "rollout", "june", "--limit", "1", "--seed", "3"]).await;
    assert!(
        rolled
            .err
            .contains("1 of 2 eligible devices (2 match) see wave june"),
        "{rolled:?}"
    );
    let status = run(&["wave", "status", "june"]).await;
    for text in [
        "GROUP",
        "(No Group)",
        "at wave completion",
        "Devices scheduled for update",
    ] {
        assert!(status.out.contains(text), "{status:?}");
    }
}

#[tokio::test]
async fn who_may_look_and_who_may_act() {
    let shop = shop().await;
    let path = "/hallmark/v1/stores/acme/waves";
    let wave = json!({"name": "june", "tag": "main", "snaps": [{"name": "gizmo", "revision": 2}]});
    for who in ["view", "pub", "rev", "brand"] {
        let refused = shop.api(who, "POST", path, wave.clone()).await;
        assert_eq!(refused.refusal().0, 404, "{who}");
    }
    shop.api("admin", "POST", path, wave).await.ok();
    shop.api("view", "GET", path, json!({})).await.ok();
    for who in ["pub", "rev", "brand"] {
        assert_eq!(
            shop.api(who, "GET", path, json!({})).await.refusal().0,
            404,
            "{who}"
        );
    }
}

#[tokio::test]
async fn what_waves_name_does_not_expire() {
    let shop = shop().await;
    shop.call("admin", "PUT", "/stores/acme", json!({"keep-unreleased": 0}))
        .await
        .ok();
    let kept = async || {
        upkeep(shop.app.clone(), async {}).await;
        let id = shop.snap("gizmo").await.id;
        let all = shop.app.storage.all::<RevisionRecord>([id.as_str()]).await;
        let all = all.unwrap().into_iter().map(|found| found.record.revision);
        all.collect::<Vec<_>>()
    };
    for (wave, revision) in [("one", "gizmo=1"), ("two", "gizmo=2")] {
        shop.json("admin", &["wave", "init", wave, "--tag", wave, revision])
            .await;
    }
    shop.json("admin", &["wave", "complete", "one"]).await;
    for _ in 0..2 {
        shop.revise("gizmo", |_| ()).await;
    }
    let release = ["snap", "release", "gizmo", "4", "stable"];
    shop.json("brand", &release).await;
    // What a channel held stays for a while; that is not what this is about.
    shop.change("gizmo", |record| record.releases = Releases::default())
        .await;
    assert_eq!(kept().await, [1, 2]);
    shop.json("admin", &["wave", "cancel", "two"]).await;
    assert_eq!(kept().await, [1]);
}

/// Signs what was written for a wave with a key of the brand, as its owner would elsewhere.
async fn signed(shop: &Shop, document: &str) -> String {
    let key = keys::find(&shop.app, &acme_ctx(), &"sets".parse().unwrap())
        .await
        .unwrap()
        .record;
    let statement = Statement::from_json(&std::fs::read_to_string(document).unwrap()).unwrap();
    let signed = sign(&shop.app, &key, statement).await.unwrap();
    String::from_utf8(signed.encoded().to_vec()).unwrap()
}

#[tokio::test]
async fn documents_of_a_wave_are_written_signed_and_taken() {
    let shop = shop().await;
    let key = json!({"name": "sets", "purposes": ["validation-set"]});
    shop.call("brand", "POST", "/keys", key).await.ok();
    let folder = shop.file("documents", "");
    std::fs::remove_file(&folder).unwrap();
    let run = async |arguments: &[&str]| shop.run("admin", arguments).await;
    let init = [
        "wave",
        "init",
        "june",
        "--tag",
        "main",
        "gizmo=2",
        "--offline-out",
        &folder,
    ];
    let made = run(&init).await;
    assert_eq!(made.status, 0, "{made:?}");
    for text in ["snap sign -k KEY", "june.abort.json", "hallmark wave sign june"] {
        assert!(made.err.contains(text), "{made:?}");
    }
    let refused = run(&["wave", "rollout", "june", "--limit", "1"]).await;
    assert!(refused.err.contains("[not-enough-signatures]"), "{refused:?}");
    let wave = signed(&shop, &format!("{folder}/june.wave.json")).await;
    let abort = signed(&shop, &format!("{folder}/june.abort.json")).await;
    let (wave, abort) = (shop.file("wave.assert", wave), shop.file("abort.assert", abort));
    let half = run(&["wave", "sign", "june", &wave]).await;
    assert!(
        half.status == 0 && half.err.contains("one more document"),
        "{half:?}"
    );
    let whole = run(&["wave", "sign", "june", &abort]).await;
    assert!(
        whole.status == 0 && whole.err.contains("wave rollout june"),
        "{whole:?}"
    );
    assert!(
        whole.out.contains("main 1 signed, to take it back 2 signed"),
        "{whole:?}"
    );
    assert!(shop.audited().await.iter().any(|line| line.contains("wave.sign")));
    run(&["wave", "complete", "june"]).await;

    // snapcraft brings what it signed to the publishers' door: there it signs the wave that waits, and publishes nothing.
    let init = [
        "wave",
        "init",
        "july",
        "--tag",
        "main",
        "gizmo=2",
        "--offline-out",
        &folder,
    ];
    assert_eq!(run(&init).await.status, 0);
    let brought = async |which: &str| {
        let text = signed(&shop, &format!("{folder}/july.{which}.json")).await;
        let file = shop.file(which, text);
        shop.run("brand", &["validation-set", "create", "--file", &file])
            .await
    };
    assert_eq!(brought("wave").await.status, 0);
    let status = async || shop.json("admin", &["wave", "show", "july"]).await["status"].clone();
    assert_eq!(status().await, "draft");
    assert_eq!(brought("abort").await.status, 0);
    assert_eq!(status().await, "active");
    let again = brought("abort").await;
    assert!(again.err.contains("[made-by-waves]"), "{again:?}");
    let direct = [
        "validation-set",
        "create",
        "main",
        "9",
        "gizmo=2",
        "--key",
        "sets",
    ];
    let direct = shop.run("brand", &direct).await;
    assert!(direct.err.contains("[made-by-waves]"), "{direct:?}");
    let latest = format!(
        "http://{}/v2/assertions/validation-set/16/acme/main?sequence=latest",
        shop.address
    );
    let latest = shop.http.get(latest).send().await.unwrap().text().await.unwrap();
    assert!(latest.contains("\nsequence: 1\n"), "{latest}");
    // An administrator does not sign with keys of the brand.
    run(&["wave", "complete", "july"]).await;
    let init = [
        "wave", "init", "august", "--tag", "main", "gizmo=2", "--key", "sets",
    ];
    assert!(run(&init).await.err.contains("[resource-not-found]"));
}
