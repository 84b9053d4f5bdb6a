//! Interface grants over real HTTP: what the declaration says after each, who may, and the second person.

use std::collections::BTreeMap;

use hallmark::domain::assertion::{AssertionType as T, Value as Header};
use hallmark::domain::review::GrantRequest;
use hallmark::ports::Key;
use serde_json::{Value, json};

use super::shop::*;

async fn with_gizmo() -> Shop {
    let shop = Shop::new().await;
    shop.send("pub", "", snap_file("gizmo", "1", "")).await.ok();
    shop
}

fn body(interface: &str, attribute: &str, state: &str, more: impl std::borrow::Borrow<Value>) -> Value {
    let mut body = json!({"side": "plugs", "interface": interface, "attribute": attribute, "state": state});
    let more = more.borrow().as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

async fn change(shop: &Shop, who: &str, body: Value) -> Answer {
    shop.call(who, "POST", "/snaps/gizmo/grants", body).await
}

async fn confirm(shop: &Shop, who: &str, interface: &str, attribute: &str) -> Answer {
    let body = json!({"side": "plugs", "interface": interface, "attribute": attribute});
    shop.call(who, "POST", "/snaps/gizmo/grants/confirm", body).await
}

/// The rule for a plug in the declaration in force, and its revision.
async fn rule(shop: &Shop, interface: &str) -> (Option<BTreeMap<String, Header>>, u64) {
    let id = shop.snap("gizmo").await.id;
    let declaration = shop
        .assertion(T::SnapDeclaration, ["16", id.as_str()])
        .await
        .unwrap();
    let plugs = declaration.headers().get("plugs").and_then(Header::as_map);
    let rule = plugs
        .and_then(|plugs| plugs.get(interface))
        .and_then(Header::as_map);
    (rule.cloned(), declaration.revision())
}

fn on_store(rule: &BTreeMap<String, Header>, key: &str) -> Vec<String> {
    let list = rule[key].as_map().unwrap()["on-store"].as_list().unwrap();
    list.iter()
        .map(|item| item.as_text().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_reviewer_grants_and_takes_back() {
    let shop = with_gizmo().await;
    let view = json!({"id": "acme-view", "name": "V", "parent": "acme"});
    shop.call("admin", "POST", "/stores", view).await.ok();
    let done = change(
        &shop,
        "rev",
        body("camera", "auto-connection", "enabled", json!({})),
    )
    .await
    .ok();
    assert_eq!(done["declaration"], 1);
    let granted = json!({"side": "plugs", "interface": "camera", "class": "B", "attribute": "auto-connection",
        "on-store": ["acme"], "constrained": false});
    assert_eq!(done["granted"], json!([granted]));
    let remark = done["remarks"][0].as_str().unwrap();
    assert!(remark.contains("acme-view"), "{remark}");
    let (found, revision) = rule(&shop, "camera").await;
    let found = found.unwrap();
    assert_eq!(
        (on_store(&found, "allow-auto-connection"), revision),
        (vec!["acme".to_owned()], 1)
    );
    // Again is no news; another store joins.
    let again = change(
        &shop,
        "rev",
        body("camera", "auto-connection", "enabled", json!({})),
    )
    .await;
    assert_eq!(again.refusal(), (409, "grant-refused"));
    let more = json!({"on-store": ["acme-view"]});
    change(
        &shop,
        "rev",
        body("camera", "auto-connection", "enabled", more.clone()),
    )
    .await
    .ok();
    let (found, revision) = rule(&shop, "camera").await;
    assert_eq!(
        on_store(&found.unwrap(), "allow-auto-connection"),
        ["acme", "acme-view"]
    );
    assert_eq!(revision, 2);
    change(&shop, "rev", body("camera", "auto-connection", "disabled", more))
        .await
        .ok();
    let (found, _) = rule(&shop, "camera").await;
    assert_eq!(on_store(&found.unwrap(), "allow-auto-connection"), ["acme"]);
    let done = change(
        &shop,
        "rev",
        body("camera", "auto-connection", "disabled", json!({})),
    )
    .await
    .ok();
    assert_eq!((&done["granted"], &done["declaration"]), (&json!([]), &json!(4)));
    assert_eq!(rule(&shop, "camera").await, (None, 4));
    let gone = change(
        &shop,
        "rev",
        body("camera", "auto-connection", "disabled", json!({})),
    )
    .await;
    assert_eq!(gone.refusal(), (409, "grant-refused"));
    // Everywhere is said.
    let everywhere = body(
        "camera",
        "auto-connection",
        "enabled",
        json!({"everywhere": true}),
    );
    change(&shop, "rev", everywhere).await.ok();
    let (found, _) = rule(&shop, "camera").await;
    assert_eq!(found.unwrap()["allow-auto-connection"].as_text(), Some("true"));
    let log = shop.audited().await;
    let steps: Vec<String> = log
        .into_iter()
        .filter(|action| action.starts_with("grant."))
        .collect();
    assert_eq!(steps.len(), 5, "{steps:?}");
}

#[tokio::test]
async fn who_asked_for_class_c_and_reviews_no_more_asked_for_nothing() {
    let shop = with_gizmo().await;
    shop.person_with("second", &["review"]).await;
    let wanted = body("userns", "installation", "enabled", json!({}));
    change(&shop, "second", wanted).await.ok();
    let account = async |verb: &str| {
        let path = format!("/accounts/second@people.example/{verb}");
        shop.call("operator", "POST", &path, json!({})).await.ok();
    };
    let void = async || {
        let refused = confirm(&shop, "admin", "userns", "installation").await;
        assert_eq!(refused.refusal(), (409, "request-void"));
    };
    shop.role("second", "acme", &["view"]).await;
    void().await;
    shop.role("second", "acme", &["review"]).await;
    account("disable").await;
    void().await;
    account("enable").await;
    confirm(&shop, "admin", "userns", "installation").await.ok();
}

#[tokio::test]
async fn class_c_takes_two_persons() {
    let shop = with_gizmo().await;
    let wanted = body(
        "snapd-control",
        "installation",
        "enabled",
        json!({"comment": "needs it"}),
    );
    let asked = change(&shop, "rev", wanted.clone()).await.ok();
    assert_eq!(
        (&asked["granted"], &asked["declaration"]),
        (&json!([]), &json!(0))
    );
    assert_eq!(asked["waiting"][0]["requested-by"], Shop::account("rev"));
    assert_eq!(rule(&shop, "snapd-control").await, (None, 0));
    for who in ["rev", "pub", "pub2", "view", "brand"] {
        let refused = confirm(&shop, who, "snapd-control", "installation").await;
        assert_eq!(refused.refusal(), (404, "resource-not-found"), "{who}");
    }
    let nobody = confirm(&shop, "admin", "snapd-control", "auto-connection").await;
    assert_eq!(nobody.refusal(), (404, "resource-not-found"));
    // Who is both asks, and does not confirm.
    shop.person_with("both", &["review", "administrator"]).await;
    change(
        &shop,
        "both",
        body("userns", "installation", "enabled", json!({})),
    )
    .await
    .ok();
    let same = confirm(&shop, "both", "userns", "installation").await;
    assert_eq!(same.refusal(), (409, "second-person-required"));
    // An administrator who publishes the snap is nobody else.
    shop.person_with("chief", &["administrator"]).await;
    shop.collaborate("gizmo", "chief").await;
    let own = confirm(&shop, "chief", "userns", "installation").await;
    assert_eq!(own.refusal(), (404, "resource-not-found"));
    let done = confirm(&shop, "admin", "snapd-control", "installation")
        .await
        .ok();
    assert_eq!(done["waiting"].as_array().unwrap().len(), 1);
    let (found, revision) = rule(&shop, "snapd-control").await;
    let found = found.unwrap();
    assert_eq!(
        (on_store(&found, "allow-installation"), revision),
        (vec!["acme".to_owned()], 1)
    );
    assert_eq!(found["allow-auto-connection"].as_text(), Some("false"));
    // Who became a publisher of the snap meanwhile asked for nothing.
    shop.collaborate("gizmo", "both").await;
    let void = confirm(&shop, "operator", "userns", "installation").await;
    assert_eq!(void.refusal(), (409, "request-void"));
    shop.leave("gizmo", "both").await;
    // The operator is a second person too.
    confirm(&shop, "operator", "userns", "installation").await.ok();
    let waiting = shop
        .app
        .storage
        .all::<GrantRequest>(Key(Vec::new()))
        .await
        .unwrap();
    assert!(waiting.is_empty());
    // An upload with the plug passes now, and waits again when it was taken back.
    let upload = async |version: &str| {
        let file = snap_file("gizmo", version, "plugs: {snapd-control: null}\n");
        shop.send("pub", "", file).await.ok()["revision"]["review"].clone()
    };
    assert_eq!(upload("2").await, "approved");
    change(
        &shop,
        "rev",
        body("snapd-control", "installation", "disabled", json!({})),
    )
    .await
    .ok();
    assert_eq!(rule(&shop, "snapd-control").await.0, None);
    assert_eq!(upload("3").await, "ManualReviewPending");
    // What was only asked for can be taken back.
    change(&shop, "rev", wanted).await.ok();
    let back = change(
        &shop,
        "rev",
        body("snapd-control", "installation", "disabled", json!({})),
    )
    .await
    .ok();
    assert_eq!(back["waiting"], json!([]));
}

#[tokio::test]
async fn declaring_is_no_way_around_the_second_person() {
    let shop = with_gizmo().await;
    let declare = async |who: &str, text: &str| {
        let body = json!({"text": text, "mode": "merge"});
        shop.call(who, "PUT", "/snaps/gizmo/declaration", body).await
    };
    for text in [
        "plugs: {snapd-control: 'true'}",
        "plugs: {snapd-control: {allow-installation: true}}",
        "plugs: {snapd-control: {allow-auto-connection: {on-store: [acme]}}}",
        "plugs: {camera: 'true', docker-support: {deny-auto-connection: true}}",
    ] {
        assert_eq!(
            declare("rev", text).await.refusal(),
            (409, "two-persons-required"),
            "{text}"
        );
    }
    declare("rev", "plugs: {camera: 'true', snapd-control: 'false'}")
        .await
        .ok();
    declare("operator", "plugs: {snapd-control: {allow-installation: true}}")
        .await
        .ok();
    // What stands may stay.
    declare("rev", "plugs: {camera: 'false'}").await.ok();
}

#[tokio::test]
async fn whoever_is_involved_grants_nothing() {
    let shop = with_gizmo().await;
    let wanted = || body("camera", "auto-connection", "enabled", json!({}));
    for who in ["pub", "pub2", "admin", "view", "brand"] {
        let refused = change(&shop, who, wanted()).await;
        assert_eq!(refused.refusal(), (404, "resource-not-found"), "{who}");
    }
    shop.person_with("both", &["access", "review"]).await;
    shop.collaborate("gizmo", "both").await;
    let own = change(&shop, "both", wanted()).await;
    assert_eq!(own.refusal(), (404, "resource-not-found"));
    let listed = shop.call("pub2", "GET", "/snaps/gizmo/grants", Value::Null).await;
    assert_eq!(listed.status, 404);
    let listed = shop
        .call("pub", "GET", "/snaps/gizmo/grants", Value::Null)
        .await
        .ok();
    assert_eq!(listed["granted"], json!([]));
}

#[tokio::test]
async fn requests_are_read_strictly() {
    let shop = with_gizmo().await;
    let id = shop.snap("gizmo").await.id;
    for (more, code) in [
        (json!({"on-store": []}), "invalid-request"),
        (json!({"on-store": ["nosuch"]}), "unknown-store"),
        (
            json!({"on-store": ["acme"], "everywhere": true}),
            "invalid-request",
        ),
        (json!({"comment": "x".repeat(4001)}), "invalid-comment"),
        (json!({"interface": "No Interface"}), "invalid-request"),
        (json!({"side": "both"}), "invalid-request"),
        (json!({"attribute": "all"}), "invalid-request"),
        (json!({"state": "maybe"}), "invalid-request"),
        (json!({"unknown": 1}), "invalid-request"),
    ] {
        let answer = change(
            &shop,
            "rev",
            body("camera", "auto-connection", "enabled", more.clone()),
        )
        .await;
        assert_eq!(answer.refusal(), (400, code), "{more}");
    }
    let unneeded = change(&shop, "rev", body("camera", "installation", "enabled", json!({}))).await;
    assert_eq!(unneeded.refusal(), (409, "grant-refused"));
    // The shape of admin-api.md 2.7: the store in the path is the one that is meant.
    let path = format!("/stores/acme/snaps/{id}/interfaces");
    let wanted =
        json!({"side": "slots", "interface": "dbus", "attribute": "installation", "state": "enabled"});
    assert_eq!(shop.call("pub", "POST", &path, wanted.clone()).await.status, 404);
    let done = shop.call("rev", "POST", &path, wanted).await.ok();
    assert_eq!(done["granted"][0]["on-store"], json!(["acme"]));
    assert_eq!(done["granted"][0]["class"], Value::Null);
    let declared = shop
        .call("pub", "GET", "/snaps/gizmo/grants", Value::Null)
        .await
        .ok();
    assert_eq!(declared["declaration"], 1);
}

#[tokio::test]
async fn grants_at_once_all_count() {
    let shop = with_gizmo().await;
    let names = ["camera", "kvm", "joystick", "raw-usb"];
    let grant = |name: &'static str| {
        let shop = &shop;
        async move {
            loop {
                let answer = change(shop, "rev", body(name, "auto-connection", "enabled", json!({}))).await;
                match answer.code() {
                    "changed-meanwhile" | "old-revision" => {}
                    _ => return answer.ok(),
                }
            }
        }
    };
    futures_util::future::join_all(names.map(grant)).await;
    let listed = shop
        .call("rev", "GET", "/snaps/gizmo/grants", Value::Null)
        .await
        .ok();
    assert_eq!(listed["granted"].as_array().unwrap().len(), 4);
    assert_eq!(listed["declaration"], 4);
}
