//! Validation sets of a brand, from a terminal and over HTTP: signed with a key of the vault, signed elsewhere, listed.

use hallmark::app::keys;
use hallmark::app::sign::sign;
use hallmark::domain::assertion::{AssertionType as T, Statement};
use serde_json::{Value, json};

use super::shop::*;
use crate::harness::acme_ctx;

/// A shop with `gizmo` (1 and 2) and `widget` (1, private) of the brand, and a key for validation sets.
async fn shop() -> Shop {
    let shop = Shop::new().await;
    for (name, private, revisions) in [("gizmo", false, 2), ("widget", true, 1)] {
        let body = json!({"name": name, "publisher": "acme", "private": private});
        shop.call("brand", "POST", "/snaps", body).await.ok();
        for _ in 0..revisions {
            shop.revise(name, |_| ()).await;
        }
        shop.change(name, |_| ()).await;
    }
    let key = json!({"name": "sets", "purposes": ["validation-set"]});
    shop.call("brand", "POST", "/keys", key).await.ok();
    shop
}

fn new(sequence: u64, snaps: Value) -> Value {
    let mut body = json!({"name": "base", "sequence": sequence, "key": "sets"});
    body["snaps"] = snaps;
    body
}

#[tokio::test]
async fn a_brand_signs_its_validation_sets_with_a_key_of_the_vault() {
    let shop = shop().await;
    let gizmo = shop.snap("gizmo").await.id;
    let snaps = json!([{"name": "gizmo", "revision": 1}, {"name": "widget", "presence": "optional"}]);
    let create = async |body: Value| shop.call("brand", "POST", "/validation-sets", body).await;
    let made = create(new(1, snaps.clone())).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.body;
    assert_eq!(
        (&made["account-id"], &made["sequence"], &made["revision"]),
        (&json!("acme"), &json!(1), &json!(0))
    );
    let row = json!({"name": "gizmo", "id": gizmo, "presence": "required", "revision": 1, "components": {}});
    assert_eq!(made["snaps"][0], row);
    assert_eq!(made["snaps"][1]["revision"], Value::Null);
    // Devices are served what was signed.
    let text = made["assertion"].as_str().unwrap();
    let url = format!(
        "http://{}/v2/assertions/validation-set/16/acme/base/1",
        shop.address
    );
    let served = shop.http.get(url).send().await.unwrap().text().await.unwrap();
    assert_eq!(served, text);
    // The same again is its next revision.
    let again = create(new(1, snaps.clone())).await.ok();
    assert_eq!(again["revision"], 1);
    create(new(2, json!([{"name": "gizmo", "revision": 2}])))
        .await
        .ok();
    let listed = shop
        .call("view", "GET", "/validation-sets", Value::Null)
        .await
        .ok();
    let listed = listed.as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["sequence"]), (1, &json!(2)));
    let shown = async |query: &str| {
        let path = format!("/validation-sets/base{query}");
        shop.call("view", "GET", &path, Value::Null).await
    };
    assert_eq!(shown("").await.ok()["sequence"], 2);
    assert_eq!(shown("?sequence=1").await.ok()["revision"], 1);
    assert_eq!(shown("?sequence=3").await.refusal(), (404, "resource-not-found"));
    assert_eq!(shown("?sequence=x").await.refusal(), (400, "invalid-request"));
    let audited = shop.audited().await;
    let signed = audited.iter().filter(|action| *action == "validation-set.sign");
    assert_eq!(signed.count(), 3);
}

#[tokio::test]
async fn what_is_no_validation_set_is_not_signed() {
    let shop = shop().await;
    let before = shop.audited().await.len();
    let good = json!([{"name": "gizmo", "revision": 1}]);
    for (body, refusal) in [
        (new(0, good.clone()), (400, "invalid-statement")),
        (new(1, json!([])), (400, "invalid-statement")),
        (new(1, json!([{"name": "nosuch"}])), (400, "unknown-snap")),
        (
            new(1, json!([{"name": "gizmo", "revision": 3}])),
            (400, "unknown-revision"),
        ),
        (
            new(
                1,
                json!([{"name": "gizmo", "revision": 1, "presence": "invalid"}]),
            ),
            (400, "invalid-statement"),
        ),
        (
            new(1, json!([{"name": "gizmo"}, {"name": "gizmo"}])),
            (400, "invalid-statement"),
        ),
        (
            new(1, json!([{"name": "gizmo", "presence": "maybe"}])),
            (400, "invalid-request"),
        ),
        (
            json!({"name": "No Name", "sequence": 1, "snaps": good, "key": "sets"}),
            (400, "invalid-statement"),
        ),
        (
            json!({"name": "base", "sequence": 1, "snaps": good, "key": "model"}),
            (409, "key-purpose"),
        ),
        (
            json!({"name": "base", "sequence": 1, "snaps": good}),
            (404, "resource-not-found"),
        ),
        (
            json!({"name": "base", "sequence": "1", "snaps": good, "key": "sets"}),
            (400, "invalid-request"),
        ),
    ] {
        let refused = shop.call("brand", "POST", "/validation-sets", body.clone()).await;
        assert_eq!(refused.refusal(), refusal, "{body} {refused:?}");
    }
    assert_eq!(shop.audited().await.len(), before);
    for who in ["admin", "operator", "pub", "rev", "view"] {
        let refused = shop
            .call(who, "POST", "/validation-sets", new(1, good.clone()))
            .await;
        assert_eq!(refused.refusal(), (404, "resource-not-found"), "{who}");
    }
}

#[tokio::test]
async fn a_validation_set_is_drawn_up_signed_elsewhere_and_kept() {
    let shop = shop().await;
    let out = shop.file("draft.json", "");
    let run = async |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        shop.run("brand", &arguments).await
    };
    let drawn = run(&format!(
        "validation-set create base 4 gizmo=2 widget --presence widget=invalid --offline-out {out}"
    ))
    .await;
    assert!(drawn.status == 0 && drawn.err.contains("snap sign"), "{drawn:?}");
    assert!(
        shop.assertion(T::ValidationSet, ["16", "acme", "base", "4"])
            .await
            .is_none()
    );
    let text = std::fs::read_to_string(&out).unwrap();
    let draft: Value = serde_json::from_str(&text).unwrap();
    let (gizmo, widget) = (shop.snap("gizmo").await.id, shop.snap("widget").await.id);
    assert_eq!(
        draft,
        json!({
            "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": "base",
            "sequence": "4", "timestamp": shop.app.clock.now(), "snaps": [
                {"name": "gizmo", "id": gizmo, "revision": "2"},
                {"name": "widget", "id": widget, "presence": "invalid"},
            ],
        })
    );
    // Whoever holds the key signs it as it is.
    let key = keys::find(&shop.app, &acme_ctx(), &"sets".parse().unwrap())
        .await
        .unwrap()
        .record;
    let statement = Statement::from_json(&text).unwrap();
    let signed = sign(&shop.app, &key, statement).await.unwrap();
    let file = shop.file("signed.assert", signed.encoded());
    let kept = run(&format!("validation-set create --file {file}")).await;
    assert_eq!(
        (kept.status, kept.err.as_str()),
        (0, "validation set base 4 is kept\n")
    );
    assert!(
        shop.assertion(T::ValidationSet, ["16", "acme", "base", "4"])
            .await
            .is_some()
    );
    let again = run(&format!("validation-set create --file {file}")).await;
    assert!(
        again.status == 1 && again.err.contains("[old-revision]"),
        "{again:?}"
    );
    let broken = shop.file("broken.assert", "type: validation-set\n");
    for (arguments, status, what) in [
        (
            format!("validation-set create --file {broken}"),
            1,
            "[invalid-assertion]",
        ),
        (
            format!("validation-set create --file {file} --key sets"),
            2,
            "cannot be used with",
        ),
        ("validation-set create base".to_owned(), 2, "required"),
        ("validation-set create base 0 gizmo".to_owned(), 2, "[SEQUENCE]"),
        ("validation-set create base 1 gizmo=0".to_owned(), 2, "from 1 on"),
        (
            "validation-set create base 1 gizmo --presence widget=optional".to_owned(),
            2,
            "widget",
        ),
        ("validation-set show nosuch".to_owned(), 1, "[resource-not-found]"),
    ] {
        let ended = run(&arguments).await;
        assert!(
            ended.status == status && ended.err.contains(what),
            "{arguments} {ended:?}"
        );
    }
    let shown = run("validation-set show base").await;
    for word in ["Sequence:", "gizmo", "invalid", "any"] {
        assert!(shown.out.contains(word), "{shown:?}");
    }
    let listed = run("validation-set list").await;
    assert!(listed.out.contains("base"), "{listed:?}");
}
