//! Models, keys, devices, serials and the audit log by pages.

use std::time::Instant;

use bytes::Bytes;
use hallmark::domain::catalog::{DeviceReport, ReportedSnap};
use hallmark::domain::ident::DeviceId;
use hallmark::domain::vault::{SerialRow, SerialState};
use hallmark::ports::{Change, Commit};
use serde_json::json;

use super::browser::Browser;
use crate::store::shop::{BRAND, Shop};

fn device(serial: &str) -> DeviceId {
    DeviceId {
        brand: BRAND.parse().unwrap(),
        model: "gate".parse().unwrap(),
        serial: serial.parse().unwrap(),
    }
}

pub fn issued(shop: &Shop, serial: &str) -> SerialRow {
    SerialRow {
        position: 0,
        device: device(serial),
        revision: 1,
        device_key: "d".repeat(64).parse().unwrap(),
        sign_key: Some("s".repeat(64).parse().unwrap()),
        created_at: shop.app.clock.now(),
        state: SerialState::Issued,
        assertion: Bytes::from_static(b"type: serial\n"),
    }
}

#[tokio::test]
async fn a_model_is_made_with_its_key_and_hook_and_rotated() {
    let shop = Shop::new().await;
    let admin = Browser::of(&shop, "admin");
    admin
        .get("/brands/acme/models")
        .await
        .shows("The vault serves no model yet");
    let made = admin
        .post("/brands/acme/models", &[("name", "gate"), ("key", "serial")])
        .await;
    let key = regex::Regex::new("hmv_[0-9a-z]{52}").unwrap();
    let first = key.find(&made.text).unwrap().as_str().to_owned();
    made.shows("snapctl set device-service.url=");
    assert!(
        made.text.matches(&first).count() >= 2,
        "in the field and in the hook"
    );
    let page = admin.get("/brands/acme/models/gate").await;
    page.shows("PUT-THE-API-KEY-HERE").shows("in force");
    assert!(!page.text.contains(&first), "it is shown once");
    let more = admin
        .post("/brands/acme/models/gate/api-keys", &[("hours", "24")])
        .await;
    assert_ne!(key.find(&more.text).unwrap().as_str(), first);
    let page = admin.get("/brands/acme/models/gate").await;
    let id = regex::Regex::new("ak-[0-9a-f]{8}").unwrap();
    let old = id.find(&page.text).unwrap().as_str().to_owned();
    let gone = admin
        .post("/brands/acme/models/gate/api-keys/revoke", &[("id", &old)])
        .await;
    gone.shows("The API key is revoked");
    assert!(!gone.text.contains(&old));
    let saved = admin
        .post(
            "/brands/acme/models/gate/settings",
            &[("auth", "allow-list"), ("disabled", "yes")],
        )
        .await;
    saved.shows("Saved.").shows("switched off");
    let saved = admin
        .post(
            "/brands/acme/models/gate/issuing",
            &[("reissue", "approve"), ("quota", "7"), ("allow-list", "yes")],
        )
        .await;
    saved.shows("after a person approves").shows("value=\"7\"");
    for (path, fields, status) in [
        (
            "/brands/acme/models",
            vec![("name", "gate"), ("key", "serial")],
            409,
        ),
        (
            "/brands/acme/models",
            vec![("name", "No Model"), ("key", "serial")],
            400,
        ),
        ("/brands/acme/models", vec![("name", "m2"), ("key", "nokey")], 404),
        ("/brands/acme/models/gate/settings", vec![("auth", "magic")], 400),
        (
            "/brands/acme/models/gate/issuing",
            vec![("reissue", "allow"), ("quota", "-1")],
            400,
        ),
        ("/brands/acme/models/gate/api-keys", vec![("hours", "soon")], 400),
        (
            "/brands/acme/models/gate/api-keys/revoke",
            vec![("id", "ak-nothing")],
            404,
        ),
        (
            "/brands/acme/models/nothing/policies",
            vec![("key", "serial")],
            404,
        ),
    ] {
        let seen = admin.submit(path, &fields).await;
        assert_eq!(seen.status, status, "{path} {fields:?} {seen:?}");
    }
}

#[tokio::test]
async fn a_key_shows_its_account_key_and_is_switched_off_and_on() {
    let shop = Shop::new().await;
    let brand = Browser::of(&shop, "brand");
    let page = brand.get("/brands/acme/keys").await;
    page.shows("system-user").shows("revision 0");
    let shown = brand.post("/brands/acme/keys/model/register", &[]).await;
    shown.shows("type: account-key").shows("name: model");
    brand
        .post("/brands/acme/keys/model/state", &[("state", "off")])
        .await
        .shows("The key is switched off");
    brand
        .post("/brands/acme/keys/model/state", &[("state", "on")])
        .await
        .shows("The key is switched on");
    let admin = Browser::of(&shop, "admin").get("/brands/acme/keys").await;
    admin.shows("system-user");
    assert!(admin.controls().is_empty(), "{:?}", admin.controls());
    let statement = "type: model\nauthority-id: acme\nbrand-id: acme\nseries: 16\nmodel: <b>\n";
    let seen = brand
        .submit("/brands/acme/model-assertions", &[("statement", statement)])
        .await;
    assert_eq!(seen.status, 400, "{seen:?}");
    let statement = "type: model\nauthority-id: acme\nseries: 16\nbrand-id: acme\nmodel: gate\narchitecture: amd64\n\
                     classic: 'true'\ntimestamp: 2026-06-01T00:00:00Z\n";
    let seen = brand
        .submit(
            "/brands/acme/model-assertions",
            &[("statement", statement), ("key", "model")],
        )
        .await;
    seen.shows("sign-key-sha3-384").shows("brand-id: acme");
}

#[tokio::test]
async fn ten_thousand_devices_come_in_pages_and_are_found() {
    let shop = Shop::new().await;
    shop.call("admin", "POST", "/models", json!({"name": "gate"}))
        .await
        .ok();
    let admin = Browser::of(&shop, "admin");
    admin.get("/brands/acme/devices").await.shows("No device yet");
    admin
        .get("/brands/acme/serials")
        .await
        .shows("No serial was issued yet");
    let rows: Vec<SerialRow> = (0..10_000).map(|n| issued(&shop, &format!("SN{n:05}"))).collect();
    for rows in rows.chunks(1000) {
        shop.app.storage.load(rows.to_vec()).await.unwrap();
    }
    let report = |n: u32| DeviceReport {
        device: device(&format!("SN{n:05}")),
        store: Some("acme".to_owned()),
        architecture: "amd64".parse().unwrap(),
        client: Some("snapd/<b>2.77</b>".to_owned()),
        snaps: vec![ReportedSnap {
            snap_id: "<b>".to_owned(),
            instance: None,
            revision: 7,
            channel: Some("<script>".to_owned()),
            held: false,
        }],
        seen: shop.app.clock.now(),
        heard: None,
        reverted: Vec::new(),
        wave: None,
        counted: None,
    };
    let records = (0..10_000).map(|n| Change::create(&report(n))).collect();
    shop.commit(Commit {
        records,
        ..Commit::default()
    })
    .await;
    let began = Instant::now();
    let first = admin.get("/brands/acme/devices").await;
    first.shows("SN09999").shows("Next page").shows("snapd/&lt;b&gt;");
    let next = regex::Regex::new(r#"href="(/brands/acme/devices\?from=[^"]+)""#).unwrap();
    let next = next.captures(&first.text).unwrap()[1].replace("&amp;", "&");
    admin.get(&next).await.shows("SN09949").shows("First page");
    admin
        .get("/brands/acme/devices?q=SN0000&model=gate")
        .await
        .shows("SN00009");
    admin
        .get("/brands/acme/serials?q=SN0000")
        .await
        .shows("SN00009")
        .shows("issued");
    admin.get("/brands/acme/serials").await.shows("before=");
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    let one = admin.get("/brands/acme/devices/gate/SN00009").await;
    one.shows("&lt;script&gt;")
        .shows("type: serial")
        .shows("snapd/&lt;b&gt;");
    let standing = "/brands/acme/devices/gate/SN00009/standing";
    admin
        .post(standing, &[("standing", "denied")])
        .await
        .shows("The judgement is in force")
        .shows("denied");
    let viewer = Browser::of(&shop, "view")
        .get("/brands/acme/devices/gate/SN00009")
        .await;
    viewer.shows("denied");
    assert!(viewer.controls().is_empty() && !viewer.text.contains("type: serial"));
    for (path, status) in [
        ("/brands/acme/devices/gate/nothing", 404),
        ("/brands/acme/devices?model=No%20Model", 400),
        ("/brands/acme/devices?from=nowhere", 400),
        ("/brands/acme/serials?before=x", 400),
    ] {
        assert_eq!(admin.get(path).await.status, status, "{path}");
    }
    assert_eq!(admin.submit(standing, &[("standing", "maybe")]).await.status, 400);
}

#[tokio::test]
async fn a_serial_may_hold_any_text() {
    let shop = Shop::new().await;
    shop.call("admin", "POST", "/models", json!({"name": "gate"}))
        .await
        .ok();
    let serial = "<b>\"&' %2F?#é";
    shop.app.storage.load(vec![issued(&shop, serial)]).await.unwrap();
    let admin = Browser::of(&shop, "admin");
    let list = admin.get("/brands/acme/devices").await;
    let link = regex::Regex::new(r#"href="(/brands/acme/devices/gate/[^"]+)""#).unwrap();
    let link = link.captures(&list.text).unwrap()[1].to_owned();
    let page = admin.get(&link).await;
    page.shows("&lt;b&gt;");
    assert!(!page.text.contains("<b>"));
    admin
        .post(&format!("{link}/standing"), &[("standing", "allowed")])
        .await
        .shows("allowed");
}

#[tokio::test]
async fn what_was_done_is_in_the_audit_log() {
    let shop = Shop::new().await;
    let admin = Browser::of(&shop, "admin");
    let store = [
        ("id", "kiosk"),
        ("name", "<b>Kiosks</b>"),
        ("parent", "acme"),
        ("kind", "product"),
    ];
    admin.post("/brands/acme/stores", &store).await.shows("Created.");
    let log = admin.get("/brands/acme/audit").await;
    log.shows("store.create")
        .shows("admin@people.example")
        .shows("&lt;b&gt;Kiosks");
    admin
        .get("/brands/acme/audit?q=store.&since=hour")
        .await
        .shows("store.create");
    admin
        .get("/brands/acme/audit?q=snap.")
        .await
        .shows("Nothing was done in this time");
    for number in 0..60 {
        let name = format!("Kiosks {number}");
        let fields = [("name", name.as_str()), ("policy", "allow")];
        assert_eq!(
            admin
                .submit("/brands/acme/stores/kiosk/settings", &fields)
                .await
                .status,
            303
        );
    }
    let log = admin.get("/brands/acme/audit?q=store.").await;
    let next = regex::Regex::new(r#"href="(/brands/acme/audit\?[^"]*after=[^"]+)""#).unwrap();
    let next = next.captures(&log.text).unwrap()[1].replace("&amp;", "&");
    admin.get(&next).await.shows("Kiosks 59").shows("First page");
    assert_eq!(admin.get("/brands/acme/audit?after=x").await.status, 400);
}
