//! The model service as administration clients drive it (admin-api.md 2.5), over real HTTP.

use hallmark::domain::access::Role;
use hallmark::domain::vault::ModelRecord;
use serde_json::{Value, json};

use crate::store::shop::*;

const MODEL: &str = "/v1/brand/acme/model";
const KEYS: &str = "/v1/brand/acme/signing_key";
const LIST: &str = "/v1/brand/acme/remodel-allowlist";

async fn get(shop: &Shop, path: &str) -> Value {
    shop.api("admin", "GET", path, Value::Null).await.ok()
}

async fn model(shop: &Shop, name: &str) -> Value {
    shop.api("admin", "POST", MODEL, json!({"name": name, "series": "16"}))
        .await
        .ok()
}

#[tokio::test]
async fn a_brand_is_shown_and_renamed() {
    let shop = Shop::new().await;
    let brand = get(&shop, "/v1/brand/acme").await;
    assert_eq!(
        (&brand["account-id"], &brand["name"]),
        (&json!("acme"), &json!("Acme Ltd"))
    );
    assert!(brand["created-at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(brand["modified-by"], Value::Null);
    for member in ["id", "username", "display-name", "email", "validation"] {
        assert!(brand["created-by"][member].is_string(), "{brand}");
    }
    let renamed = shop
        .api(
            "admin",
            "PATCH",
            "/v1/brand/acme",
            json!({"name": "Acme & <i>Co</i>"}),
        )
        .await
        .ok();
    assert_eq!(renamed["name"], "Acme & <i>Co</i>");
    assert_eq!(renamed["modified-by"]["email"], "admin@people.example");
    for (body, code) in [
        (json!({"name": ""}), "invalid-name"),
        (json!({"name": "x\ny"}), "invalid-name"),
        (json!({"name": "x", "account-id": "y"}), "api-error"),
    ] {
        let answer = shop.api("admin", "PATCH", "/v1/brand/acme", body.clone()).await;
        assert_eq!(answer.refusal(), (400, code), "{body}");
    }
    for path in ["/v1/brand/nosuch", "/v1/brand/nosuch/model", "/v1/brand/rooty"] {
        assert_eq!(
            shop.api("admin", "GET", path, Value::Null).await.refusal(),
            (404, "resource-not-found")
        );
    }
    assert_eq!(
        shop.api("pub", "GET", MODEL, Value::Null).await.refusal(),
        (404, "resource-not-found")
    );
}

#[tokio::test]
async fn an_api_key_is_set_read_and_replaced_with_grace() {
    let shop = Shop::new().await;
    let made = model(&shop, "gate-1").await;
    assert_eq!(
        (
            &made["name"],
            &made["series"],
            &made["api-key"],
            &made["brand-account-id"]
        ),
        (&json!("gate-1"), &json!("16"), &Value::Null, &json!("acme"))
    );
    assert_eq!(made["created-by"]["username"], "admin-name");
    let path = format!("{MODEL}/gate-1");
    let patch = async |body: Value| shop.api("admin", "PATCH", &path, body).await;
    let (first, second) = ("K".repeat(50), "L".repeat(50));
    assert_eq!(patch(json!({"api-key": first})).await.ok()["api-key"], first);
    let replaced = patch(json!({"api-key": second, "grace-period": 600})).await.ok();
    assert_eq!(replaced["api-key"], second);
    assert!(replaced["modified-at"].is_string());
    assert_eq!(get(&shop, MODEL).await[0]["api-key"], second);
    // Sealed at rest, and only for those who may replace it.
    let stored = shop
        .app
        .storage
        .find::<ModelRecord>(["acme", "gate-1"])
        .await
        .unwrap()
        .unwrap();
    let stored = serde_json::to_string(&stored.record).unwrap();
    assert!(
        !stored.contains("KKKKKKK") && !stored.contains("LLLLLLL"),
        "{stored}"
    );
    let viewed = shop.api("view", "GET", MODEL, Value::Null).await.ok();
    assert_eq!(viewed[0]["api-key"], Value::Null);
    let log = shop
        .call("admin", "GET", "/audit?limit=50", Value::Null)
        .await
        .ok()
        .to_string();
    assert!(!log.contains("KKKKKKK") && !log.contains("LLLLLLL"));
    // Both are good until the grace is over.
    let good = async |key: &str| {
        let url = format!("http://{}/v1/request-id", shop.address);
        answer(shop.http.post(url).header("api-key", key)).await.status == 200
    };
    assert!(good(&first).await && good(&second).await);
    shop.clock.advance(600);
    assert!(!good(&first).await && good(&second).await);
    // The one of before comes back by being set again.
    assert_eq!(
        patch(json!({"api-key": first, "grace-period": 0})).await.ok()["api-key"],
        first
    );
    assert!(good(&first).await);
    assert_eq!(
        patch(json!({"api-key": first})).await.ok()["api-key"],
        first,
        "twice is fine"
    );
    // However often: no key is left over, and none is refused.
    for number in 0..25 {
        let key = format!("rotated-key-{number:04}");
        assert_eq!(patch(json!({"api-key": key})).await.ok()["api-key"], key);
    }
    for (body, code) in [
        (json!({"api-key": "short"}), "invalid-api-key"),
        (json!({"api-key": "ünicode-is-no-header-text"}), "invalid-api-key"),
        (
            json!({"api-key": "good-enough-key", "grace-period": -1}),
            "invalid-grace",
        ),
        (json!({"api-key": null}), "api-error"),
        (json!({}), "api-error"),
        (
            json!({"api-key": "good-enough-key", "brand-account-id": "globex"}),
            "api-error",
        ),
    ] {
        assert_eq!(patch(body.clone()).await.refusal(), (400, code), "{body}");
    }
    let absent = shop
        .api(
            "admin",
            "PATCH",
            &format!("{MODEL}/nosuch"),
            json!({"api-key": first}),
        )
        .await;
    assert_eq!(absent.refusal(), (404, "resource-not-found"));
    for (body, status, code) in [
        (json!({"name": "gate-1", "series": "16"}), 409, "already-exists"),
        (json!({"name": "gate-2", "series": "18"}), 400, "api-error"),
        (json!({"name": "gate-2"}), 400, "api-error"),
        (json!({"name": "Gate 2", "series": "16"}), 400, "api-error"),
        (
            json!({"name": "gate-2", "series": "16", "api-key": "short"}),
            400,
            "invalid-api-key",
        ),
    ] {
        let answer = shop.api("admin", "POST", MODEL, body.clone()).await;
        assert_eq!(answer.refusal(), (status, code), "{body}");
    }
    // One made by the command can be read too.
    shop.json(
        "admin",
        &["model", "create", "gate-3", "--api-key", "made-by-a-command"],
    )
    .await;
    assert_eq!(get(&shop, MODEL).await[1]["api-key"], "made-by-a-command");
}

#[tokio::test]
async fn keys_and_policies_hold_each_other() {
    let shop = Shop::new().await;
    model(&shop, "gate-1").await;
    let key = shop.api("admin", "POST", KEYS, json!({"name": "web"})).await;
    assert_eq!(key.status, 201, "{key:?}");
    let key = key.ok();
    let id = key["sha3-384"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 64);
    assert!(key["fingerprint"].as_str().unwrap().len() == 40 && !key.to_string().contains("sealed"));
    let list = get(&shop, KEYS).await;
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["serial", "web"], "keys for serials only");
    let again = shop.api("admin", "POST", KEYS, json!({"name": "web"})).await;
    assert_eq!(again.refusal(), (409, "key-exists"));

    let policies = format!("{MODEL}/gate-1/serial_policy");
    let post = async |key: &str| {
        shop.api("admin", "POST", &policies, json!({"signing-key-sha3-384": key}))
            .await
    };
    let made = post(&id).await;
    assert_eq!((made.status, &made.body["revision"]), (201, &json!(2)));
    assert_eq!(
        (
            &made.body["authority"],
            &made.body["model-name"],
            &made.body["signing-key-sha3-384"]
        ),
        (&json!("acme"), &json!("gate-1"), &json!(id))
    );
    let revisions = async || {
        let list = get(&shop, &policies).await;
        let list = list.as_array().unwrap().clone();
        list.iter()
            .map(|policy| policy["revision"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(revisions().await, [2, 1], "the newest first");
    let unknown = "x".repeat(64);
    assert_eq!(post(&unknown).await.refusal(), (404, "resource-not-found"));
    assert_eq!(post("short").await.refusal(), (400, "api-error"));

    let delete = async |path: &str| shop.api("admin", "DELETE", path, Value::Null).await;
    let path = format!("{KEYS}/{id}");
    let used = delete(&path).await;
    assert_eq!(used.refusal(), (409, "key-in-use"));
    let text = used.body["error-list"][0]["message"].as_str().unwrap();
    assert!(text.contains("used to sign at least one serial policy"), "{text}");
    let gone = delete(&format!("{policies}/2")).await;
    assert_eq!((gone.status, gone.body), (204, Value::Null));
    assert_eq!(
        delete(&format!("{policies}/2")).await.refusal(),
        (404, "resource-not-found")
    );
    // A model that issues serials keeps a policy.
    assert_eq!(
        delete(&format!("{policies}/1")).await.refusal(),
        (409, "policy-in-use")
    );
    assert_eq!(delete(&path).await.status, 204);
    assert_eq!(delete(&path).await.refusal(), (404, "resource-not-found"));
    assert_eq!(
        post(&id).await.refusal(),
        (404, "resource-not-found"),
        "it signs no more"
    );
    assert_eq!(get(&shop, KEYS).await.as_array().unwrap().len(), 1);
    // No revision is given twice.
    let serial = get(&shop, KEYS).await[0]["sha3-384"].as_str().unwrap().to_owned();
    assert_eq!(post(&serial).await.ok()["revision"], 3);
    assert_eq!(revisions().await, [3, 1]);

    // A destroyed key does not come back, and nothing is wrong with the instance.
    shop.person("keeper", &[Role::Brand], false).await;
    let enable = shop.call("keeper", "POST", "/keys/web/enable", json!({})).await;
    assert_eq!(enable.refusal(), (409, "key-deleted"));
    let shown = shop.call("keeper", "GET", "/keys/web", Value::Null).await.ok();
    assert_eq!(shown["state"], "deleted");
    // An administrator makes and destroys keys for serials, and touches no other.
    let model_key = shop.call("admin", "GET", "/keys/model", Value::Null).await.ok();
    let model_key = model_key["public-key-sha3-384"].as_str().unwrap().to_owned();
    let other = shop
        .api("admin", "DELETE", &format!("{KEYS}/{model_key}"), Value::Null)
        .await;
    assert_eq!(other.refusal(), (404, "resource-not-found"));
    for who in ["view", "rev", "pub", "operator"] {
        let answer = shop.api(who, "POST", KEYS, json!({"name": "mine"})).await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who}");
    }
    for body in [
        json!({"name": "x", "purpose": "model"}),
        json!({}),
        json!({"name": "not a name!"}),
    ] {
        assert_eq!(
            shop.api("admin", "POST", KEYS, body.clone()).await.refusal(),
            (400, "api-error"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn the_remodel_list_is_paged_filtered_and_changed_all_or_none() {
    let shop = Shop::new().await;
    for name in ["gate-1", "gate-2", "gate-3"] {
        model(&shop, name).await;
    }
    let entry =
        |to: &str, serial: Value| json!({"from-model": "gate-1", "to-model": to, "from-serial": serial});
    let post = async |path: &str, entries: Value| {
        shop.api("admin", "POST", path, json!({"allowlist": entries}))
            .await
    };
    let mut first = entry("gate-2", Value::Null);
    first["description"] = json!("<b>upgrade</b>");
    let added = post(
        LIST,
        json!([
            first,
            entry("gate-2", json!("SN 1")),
            entry("gate-3", Value::Null)
        ]),
    )
    .await;
    assert_eq!(added.status, 201, "{added:?}");
    let row = &added.body["allowlist"][0];
    assert_eq!(
        (&row["description"], &row["from-serial"], &row["created-by"]),
        (
            &json!("<b>upgrade</b>"),
            &Value::Null,
            &json!(Shop::account("admin"))
        )
    );
    for (entries, status, code) in [
        (
            json!([entry("gate-3", json!("A")), entry("gate-2", Value::Null)]),
            409,
            "already-exists",
        ),
        (
            json!([entry("gate-3", json!("A")), entry("gate-3", json!("A"))]),
            409,
            "already-exists",
        ),
        (
            json!([entry("gate-3", json!("A")), entry("nosuch", Value::Null)]),
            404,
            "resource-not-found",
        ),
        (
            json!([{"from-model": "nosuch", "to-model": "gate-1", "from-serial": null}]),
            404,
            "resource-not-found",
        ),
        (json!([entry("gate-1", Value::Null)]), 400, "same-model"),
        (json!([]), 400, "wrong-number"),
        (json!([{"from-model": "gate-1"}]), 400, "api-error"),
        (
            json!([{"from-model": "gate-1", "to-model": "gate-2", "brand-id": "globex"}]),
            400,
            "api-error",
        ),
        (
            json!([{"from-model": "gate-2", "to-model": "gate-3", "description": "x".repeat(141)}]),
            400,
            "note-too-long",
        ),
    ] {
        assert_eq!(
            post(LIST, entries.clone()).await.refusal(),
            (status, code),
            "{entries}"
        );
    }
    // Each row once, whatever the size of the pages.
    for size in 1..5 {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&shop, &format!("{LIST}?page-size={size}&cursor={cursor}")).await;
            for row in page["allowlist"].as_array().unwrap() {
                seen.push(format!("{} {}", row["to-model"], row["from-serial"]));
            }
            match page["next-cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(
            seen,
            ["\"gate-2\" null", "\"gate-2\" \"SN 1\"", "\"gate-3\" null"],
            "{size}"
        );
    }
    let filtered = get(
        &shop,
        &format!("{LIST}?from-model=gate-1&to-model=gate-3&cursor=&page-size="),
    )
    .await;
    assert_eq!(filtered["allowlist"].as_array().unwrap().len(), 1);
    for query in [
        "page-size=0",
        "page-size=501",
        "page-size=x",
        "from-model=Not%20One",
        "cursor=%21",
    ] {
        let answer = shop
            .api("admin", "GET", &format!("{LIST}?{query}"), Value::Null)
            .await;
        assert_eq!(answer.status, 400, "{query}");
    }
    let mut described = entry("gate-2", json!("SN 1"));
    described["description"] = json!("y");
    let changed = shop
        .api("admin", "PATCH", LIST, json!({"allowlist": [described]}))
        .await
        .ok();
    assert_eq!(changed["allowlist"][0]["description"], "y");
    assert_eq!(changed["allowlist"][0]["modified-by"], Shop::account("admin"));
    let path = format!("{LIST}/delete");
    let missing = post(
        &path,
        json!([entry("gate-3", Value::Null), entry("gate-3", json!("A"))]),
    )
    .await;
    assert_eq!(missing.refusal(), (404, "resource-not-found"));
    let deleted = post(
        &path,
        json!([entry("gate-3", Value::Null), entry("gate-2", Value::Null)]),
    )
    .await;
    assert_eq!(
        (
            deleted.status,
            deleted.body["allowlist"].as_array().unwrap().len()
        ),
        (200, 2)
    );
    assert_eq!(get(&shop, LIST).await["allowlist"].as_array().unwrap().len(), 1);
    assert_eq!(
        shop.api("view", "GET", LIST, Value::Null).await.refusal(),
        (404, "resource-not-found")
    );
}
