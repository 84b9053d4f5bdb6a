//! Keys of publishers, and what they sign with them.

use hallmark::domain::assertion::{Assertion, AssertionType as T, Headers, Value as Header};
use serde_json::{Value, json};

use super::snapcraft::{Client, keys};
use crate::store::shop::{Answer, Shop, answer, snap_file, token};
use crate::vault::factory::{TestKey, headers};

/// A request to register a key.
fn request(shop: &Shop, key: &TestKey, account: &str, name: &str) -> Assertion {
    let headers = headers(&[
        ("account-id", account),
        ("name", name),
        ("public-key-sha3-384", key.public.id().as_str()),
        ("since", "2026-06-01T00:00:00Z"),
    ]);
    let body = key.public.encoded().as_bytes().to_vec();
    key.sign(T::AccountKeyRequest, headers, &body, shop.app.clock.now())
}

fn text(assertion: &Assertion) -> String {
    String::from_utf8(assertion.encoded().to_vec()).unwrap()
}

async fn register(client: &Client<'_>, text: &str) -> Answer {
    let body = json!({"account_key_request": text});
    client.call("POST", "/dev/api/account/account-key", body).await
}

/// A shop where `pub` has a registered key.
async fn with_key() -> (Shop, TestKey) {
    let shop = Shop::new().await;
    let key = TestKey::new("other");
    let client = Client::new(&shop, "pub");
    register(
        &client,
        &text(&request(&shop, &key, &Shop::account("pub"), "publishing")),
    )
    .await
    .ok();
    (shop, key)
}

#[tokio::test]
async fn a_key_is_registered_once_by_its_owner() {
    let (shop, key) = with_key().await;
    let client = Client::new(&shop, "pub");
    let who = Shop::account("pub");
    let account = client.get("/dev/api/account").await;
    assert_eq!(account["account-keys"], account["account_keys"]);
    assert_eq!(
        account["account-keys"],
        json!([{
            "name": "publishing", "public-key-sha3-384": key.public.id(), "since": "2026-06-01T00:00:00Z",
        }])
    );
    // Devices trust it by our root.
    let stored = shop
        .assertion(T::AccountKey, [key.public.id().as_str()])
        .await
        .unwrap();
    assert_eq!(
        (stored.authority_id(), stored.text("account-id")),
        (Some("rooty"), Some(who.as_str()))
    );
    assert!(shop.assertion(T::Account, [&who]).await.is_some());
    assert_eq!(
        hallmark::app::doctor::examine(&shop.app).await.unwrap().problems,
        [""; 0]
    );

    let other = TestKey::new("device");
    let mut forged = text(&request(&shop, &other, &who, "forged"));
    forged = forged.replace("name: forged", "name: forted");
    let build = other.sign(
        T::SnapBuild,
        headers(&[
            ("authority-id", &who),
            ("snap-sha3-384", &"a".repeat(64)),
            ("snap-id", "x"),
            ("grade", "stable"),
            ("snap-size", "1"),
            ("timestamp", "2026-06-01T00:00:00Z"),
        ]),
        b"",
        shop.app.clock.now(),
    );
    for (who, request, refusal) in [
        (
            "pub",
            text(&request(&shop, &key, &who, "again")),
            (409, "key-registered"),
        ),
        (
            "pub",
            text(&request(&shop, &other, &who, "publishing")),
            (409, "key-name-taken"),
        ),
        (
            "pub2",
            text(&request(&shop, &other, &who, "theirs")),
            (400, "account-differs"),
        ),
        (
            "pub2",
            text(&request(&shop, &key, &Shop::account("pub2"), "mine")),
            (409, "key-registered"),
        ),
        ("pub", text(&build), (400, "invalid-assertion")),
        ("pub", "nonsense".to_owned(), (400, "invalid-assertion")),
        ("pub", forged, (400, "assertion-refused")),
    ] {
        let answer = register(&Client::new(&shop, who), &request).await;
        assert_eq!(answer.refusal(), refusal, "{answer:?}");
    }
    // What is refused leaves nothing behind.
    let theirs = Shop::account("pub2");
    let forged = text(&request(&shop, &other, &theirs, "forged")).replace("name: forged", "name: forted");
    let refused = register(&Client::new(&shop, "pub2"), &forged).await;
    assert_eq!(refused.refusal(), (400, "assertion-refused"));
    assert!(shop.assertion(T::Account, [&theirs]).await.is_none());
    let none = client.request("POST", "/dev/api/account/account-key").body("{}");
    assert_eq!(answer(none).await.refusal(), (401, "login-required"));
}

#[tokio::test]
async fn builds_are_kept_as_they_were_signed() {
    let (shop, key) = with_key().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    let build = |snap: &str, key: &TestKey, authority: &str| {
        let headers = headers(&[
            ("authority-id", authority),
            ("snap-sha3-384", &"b".repeat(64)),
            ("snap-id", snap),
            ("grade", "stable"),
            ("snap-size", "4096"),
            ("timestamp", "2026-06-01T00:00:00Z"),
        ]);
        key.sign(T::SnapBuild, headers, b"", shop.app.clock.now())
    };
    let path = format!("/dev/api/snaps/{id}/builds");
    let who = Shop::account("pub");
    let good = build(&id, &key, &who);
    for _ in 0..2 {
        let answer = client
            .call("POST", &path, json!({"assertion": text(&good)}))
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let stored = shop.assertion(T::SnapBuild, [&"b".repeat(64)]).await.unwrap();
    assert_eq!(stored.encoded(), good.encoded());
    let unknown = TestKey::new("device");
    for (assertion, refusal) in [
        (
            text(&build(&"z".repeat(32), &key, &who)),
            (400, "assertion-differs"),
        ),
        (text(&build(&id, &unknown, &who)), (400, "assertion-refused")),
        ("x".to_owned(), (400, "invalid-assertion")),
    ] {
        let answer = client.call("POST", &path, json!({"assertion": assertion})).await;
        assert_eq!(answer.refusal(), refusal);
    }
    let foreign = Client::new(&shop, "pub2")
        .call("POST", &path, json!({"assertion": text(&good)}))
        .await;
    assert_eq!(foreign.refusal(), (404, "resource-not-found"));
}

#[tokio::test]
async fn a_gating_snap_says_what_may_come() {
    let (shop, key) = with_key().await;
    let client = Client::new(&shop, "pub");
    let gate = client.register("guard").await;
    let other = Client::new(&shop, "pub2");
    let gated = other.register("my-snap").await;
    other
        .publish("my-snap", &snap_file("my-snap", "1", ""), json!({}))
        .await;
    let path = format!("/dev/api/snaps/{gate}/validations");
    assert_eq!(client.get(&path).await, json!([]));
    let validation = |revision: &str, more: &[(&str, &str)]| {
        let who = Shop::account("pub");
        let mut headers = headers(&[
            ("authority-id", &who),
            ("series", "16"),
            ("snap-id", &gate),
            ("approved-snap-id", &gated),
            ("approved-snap-revision", revision),
            ("timestamp", "2026-06-01T00:00:00Z"),
        ]);
        for (name, value) in more {
            headers.set(name, *value);
        }
        text(&key.sign(T::Validation, headers, b"", shop.app.clock.now()))
    };
    let put = |assertion: String| client.call("PUT", &path, json!({"assertion": assertion}));
    assert!(put(validation("1", &[])).await.ok().is_object());
    let found = client.get(&path).await;
    assert_eq!(
        keys(&found[0]),
        [
            "approved-snap-id",
            "approved-snap-name",
            "approved-snap-revision",
            "authority-id",
            "required",
            "series",
            "sign-key-sha3-384",
            "snap-id",
            "timestamp",
            "type",
        ]
    );
    assert_eq!(
        (
            &found[0]["approved-snap-name"],
            &found[0]["approved-snap-revision"]
        ),
        (&json!("my-snap"), &json!("1"))
    );
    let revoked = validation("1", &[("revoked", "true"), ("revision", "1")]);
    put(revoked.clone()).await.ok();
    assert_eq!(client.get(&path).await, json!([]));
    let all = client.get(&format!("{path}?include_revoked=1")).await;
    assert_eq!(
        (&all[0]["revoked"], &all[0]["revision"]),
        (&json!("true"), &json!("1"))
    );
    // Of what is private and not theirs to see neither the name is told nor which revisions there are.
    shop.change("my-snap", |snap| snap.private = true).await;
    let hidden = client.get(&format!("{path}?include_revoked=1")).await;
    assert_eq!(hidden[0]["approved-snap-id"], json!(gated));
    assert_ne!(hidden[0]["approved-snap-name"], "my-snap", "{hidden}");
    let probe = put(validation("1", &[("revision", "2")])).await;
    assert_eq!(probe.refusal(), (400, "assertion-differs"));
    shop.change("my-snap", |snap| snap.private = false).await;
    for (assertion, refusal) in [
        (revoked, (409, "old-revision")),
        (validation("77", &[]), (400, "assertion-differs")),
        (
            validation("1", &[("snap-id", &gated), ("revision", "2")]),
            (400, "assertion-refused"),
        ),
    ] {
        assert_eq!(put(assertion).await.refusal(), refusal);
    }
    let foreign = other
        .call(
            "PUT",
            &path,
            json!({"assertion": validation("1", &[("revision", "2")])}),
        )
        .await;
    assert_eq!(foreign.refusal(), (404, "resource-not-found"));
}

/// The headers of a validation set as a client signs what it was given.
fn signable(built: &Value) -> Headers {
    fn header(value: &Value) -> Header {
        match value {
            Value::String(text) => Header::from(text.as_str()),
            Value::Array(items) => Header::List(items.iter().map(header).collect()),
            Value::Object(map) => Header::Map(
                map.iter()
                    .map(|(name, value)| (name.clone(), header(value)))
                    .collect(),
            ),
            other => panic!("{other} is no text"),
        }
    }
    let mut headers = Headers::default();
    for (name, value) in built.as_object().unwrap() {
        if name != "type" && (name != "revision" || value != "0") {
            headers.set(name, header(value));
        }
    }
    headers
}

#[tokio::test]
async fn validation_sets_are_completed_signed_and_served() {
    let (shop, key) = with_key().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    client
        .publish("my-snap", &snap_file("my-snap", "1", ""), json!({}))
        .await;
    let secret = json!({"snap_name": "secret-snap", "is_private": true});
    Client::new(&shop, "pub2")
        .call("POST", "/dev/api/register-name/", secret)
        .await
        .ok();
    let sets = "/api/v2/validation-sets";
    assert_eq!(client.get(sets).await, json!({"assertions": []}));
    let who = Shop::account("pub");
    let build = |sequence: Value, snaps: Value| {
        let body = json!({"account-id": who, "name": "ring", "sequence": sequence, "snaps": snaps});
        client.call("POST", "/api/v2/validation-sets/build-assertion", body)
    };
    let one = json!([{"name": "my-snap", "presence": "required", "revision": 1}]);
    let built = build(json!(1), one.clone()).await.ok();
    assert_eq!(
        built,
        json!({
            "type": "validation-set", "authority-id": who, "series": "16", "account-id": who, "name": "ring",
            "sequence": "1", "revision": "0", "timestamp": "2026-06-01T00:00:00Z",
            "snaps": [{"id": id, "name": "my-snap", "presence": "required", "revision": "1"}],
        })
    );
    let post = async |who: &'static str, headers: Headers| {
        let set = key.sign(T::ValidationSet, headers, b"", shop.app.clock.now());
        let request = Client::new(&shop, who)
            .request("POST", sets)
            .header("Content-Type", "application/x.ubuntu.assertion")
            .header("Authorization", format!("Macaroon {}", token(who).reveal()));
        answer(request.body(text(&set))).await
    };
    let posted = post("pub", signable(&built)).await;
    assert_eq!(posted.status, 201, "{posted:?}");
    let told = &posted.body["assertions"][0]["headers"];
    assert_eq!(
        keys(told),
        [
            "account-id",
            "authority-id",
            "name",
            "sequence",
            "series",
            "sign-key-sha3-384",
            "snaps",
            "timestamp",
            "type",
        ]
    );
    assert_eq!(build(json!("1"), one.clone()).await.ok()["revision"], "1");
    assert_eq!(
        post("pub", signable(&built)).await.refusal(),
        (409, "old-revision")
    );
    post("pub", signable(&build(json!(1), one.clone()).await.ok()))
        .await
        .ok();
    post("pub", signable(&build(json!(2), one.clone()).await.ok()))
        .await
        .ok();
    let list = async |query: &str| {
        let found = client.get(&format!("{sets}{query}")).await;
        let found = found["assertions"].as_array().unwrap().clone();
        found
            .iter()
            .map(|one| {
                let headers = &one["headers"];
                (
                    headers["sequence"].as_str().unwrap().to_owned(),
                    headers["revision"].as_str().map(str::to_owned),
                )
            })
            .collect::<Vec<_>>()
    };
    let (first, second) = (("1".to_owned(), Some("1".to_owned())), ("2".to_owned(), None));
    assert_eq!(list("").await, std::slice::from_ref(&second));
    assert_eq!(list("/ring").await, std::slice::from_ref(&second));
    assert_eq!(list("/ring?sequence=all").await, [first.clone(), second.clone()]);
    assert_eq!(list("/ring?sequence=1").await, [first]);
    assert_eq!(list("/other").await, []);
    let wrong = client
        .call("GET", "/api/v2/validation-sets?sequence=x", Value::Null)
        .await;
    assert_eq!(wrong.refusal(), (400, "invalid-request"));
    // Devices get what was signed.
    assert!(
        shop.assertion(T::ValidationSet, ["16", &who, "ring", "2"])
            .await
            .is_some()
    );
    // Others do not see them, nor make any of this account.
    assert_eq!(
        Client::new(&shop, "pub2").get(sets).await,
        json!({"assertions": []})
    );
    let mut stolen = signable(&built);
    stolen.set("sequence", "9");
    assert_eq!(post("pub2", stolen).await.refusal(), (400, "account-differs"));
    for (snaps, refusal) in [
        (
            json!([{"name": "my-snap", "revision": 77}]),
            (400, "unknown-revision"),
        ),
        (json!([{"name": "no-snap"}]), (400, "unknown-snap")),
        (json!([{"name": "secret-snap"}]), (400, "unknown-snap")),
        (json!([{"name": "Not A Name"}]), (400, "invalid-request")),
        (json!([]), (400, "invalid-request")),
    ] {
        assert_eq!(build(json!(3), snaps.clone()).await.refusal(), refusal, "{snaps}");
    }
    assert_eq!(build(json!(0), one).await.refusal(), (400, "invalid-request"));
    let foreign =
        json!({"account-id": "acme", "name": "ring", "sequence": 1, "snaps": [{"name": "my-snap"}]});
    let answer = client
        .call("POST", "/api/v2/validation-sets/build-assertion", foreign)
        .await;
    assert_eq!(answer.refusal(), (400, "account-differs"));
}

#[tokio::test]
async fn confdb_schemas_are_completed_signed_and_served() {
    let (shop, key) = with_key().await;
    let client = Client::new(&shop, "pub");
    let who = Shop::account("pub");
    let schemas = "/api/v2/confdb-schemas";
    assert_eq!(client.get(schemas).await, json!({"assertions": []}));
    let body = "{\n  \"storage\": {\n    \"schema\": {\n      \"ssid\": \"string\"\n    }\n  }\n}";
    let views =
        json!({"wifi": {"rules": [{"request": "ssid", "storage": "wifi.ssid", "access": "read-write"}]}});
    let build = |account: &str| {
        let asked = json!({"account-id": account, "name": "network", "views": views, "body": body});
        client.call("POST", "/api/v2/confdb-schemas/build-assertion", asked)
    };
    let built = build(&who).await.ok();
    assert_eq!(
        built,
        json!({
            "type": "confdb-schema", "authority-id": who, "account-id": who, "name": "network", "revision": "0",
            "timestamp": "2026-06-01T00:00:00Z", "views": views, "body": body,
        })
    );
    let others = build(&Shop::account("pub2")).await;
    assert_eq!(others.refusal(), (400, "account-differs"));

    let post = async |who: &'static str, mut built: Value| {
        let body = built.as_object_mut().unwrap().remove("body").unwrap();
        let signed = key.sign(
            T::ConfdbSchema,
            signable(&built),
            body.as_str().unwrap().as_bytes(),
            shop.app.clock.now(),
        );
        let request = Client::new(&shop, who)
            .request("POST", schemas)
            .header("Content-Type", "application/x.ubuntu.assertion")
            .header("Authorization", format!("Macaroon {}", token(who).reveal()));
        answer(request.body(text(&signed))).await
    };
    let posted = post("pub", built.clone()).await;
    assert_eq!(posted.status, 201, "{posted:?}");
    let told = &posted.body["assertions"][0];
    assert_eq!(
        keys(&told["headers"]),
        [
            "account-id",
            "authority-id",
            "body-length",
            "name",
            "revision",
            "sign-key-sha3-384",
            "timestamp",
            "type",
            "views",
        ]
    );
    assert_eq!(
        (&told["body"], &told["headers"]["revision"]),
        (&json!(body), &json!("0"))
    );
    assert_eq!(client.get(schemas).await, posted.body);
    assert_eq!(client.get(&format!("{schemas}/network")).await, posted.body);
    assert_eq!(
        client.get(&format!("{schemas}/other")).await,
        json!({"assertions": []})
    );
    assert_eq!(
        Client::new(&shop, "pub2").get(schemas).await,
        json!({"assertions": []})
    );
    assert_eq!(build(&who).await.ok()["revision"], "1");
    assert_eq!(post("pub", built.clone()).await.refusal(), (409, "old-revision"));
    assert_eq!(post("pub2", built).await.refusal(), (400, "account-differs"));
    // Devices get it as it was signed.
    let served = shop
        .http
        .get(format!(
            "http://{}/v2/assertions/confdb-schema/{who}/network",
            shop.address
        ))
        .send()
        .await
        .unwrap();
    assert_eq!(served.status(), 200);
}
