//! Stores, members and snaps as administration clients drive them (admin-api.md 2.4), over real HTTP.

use serde_json::{Value, json};

use crate::store::shop::*;

async fn view(shop: &Shop, id: &str) {
    let body = json!({"id": id, "name": "Gates", "parent": BRAND});
    shop.call("admin", "POST", "/stores", body).await.ok();
}

async fn get(shop: &Shop, who: &str, path: &str) -> Value {
    shop.api(who, "GET", path, Value::Null).await.ok()
}

fn texts<'v>(list: &'v Value, name: &str) -> Vec<&'v str> {
    let rows = list.as_array().unwrap();
    rows.iter().map(|row| row[name].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_store_is_shown_with_all_that_clients_read() {
    let shop = Shop::new().await;
    view(&shop, "acme-gate").await;
    let shown = get(&shop, "admin", "/api/v2/stores/acme-gate").await;
    let store = &shown["store"];
    assert_eq!(
        (
            &store["id"],
            &store["brand-id"],
            &store["parent"],
            &store["private"]
        ),
        (&json!("acme-gate"), &json!("acme"), &json!("acme"), &json!(false))
    );
    assert_eq!(store["manual-review-policy"], "allow");
    assert_eq!(store["allowed-inclusion-source-stores"], json!(["acme"]));
    assert_eq!(store["store-whitelist"], json!([]));
    assert_eq!(texts(&store["roles"], "role"), ["admin"]);
    assert_eq!(texts(&store["roles"], "label"), ["Admin"]);
    assert!(store["roles"][0]["description"].is_string());
    assert_eq!((&shown["users"], &shown["invites"]), (&json!([]), &json!([])));
    // The operator administers it, whatever roles they hold.
    let shown = get(&shop, "operator", "/api/v2/stores/acme").await;
    assert_eq!(texts(&shown["store"]["roles"], "role"), ["admin"]);
    assert_eq!(shown["store"]["parent"], Value::Null);
    // Everybody sees themselves, administrators everybody. The role of the brand is not one these clients know.
    let users = &shown["users"];
    assert!(texts(users, "email").contains(&"rev@people.example"));
    let brand = users
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["email"] == "brand@people.example");
    assert_eq!(brand.unwrap()["roles"], json!(["access"]));
    let shown = get(&shop, "rev", "/api/v2/stores/acme").await;
    assert_eq!(texts(&shown["users"], "email"), ["rev@people.example"]);
    assert_eq!(shown["users"][0]["roles"], json!(["review"]));
    assert_eq!(shown["users"][0]["displayname"], "REV");
    assert_eq!(shown["invites"], json!([]));
    for (who, store) in [
        ("admin", "nowhere"),
        ("stranger", "acme"),
        ("admin", "ubuntu"),
        ("admin", "-"),
    ] {
        if who == "stranger" {
            shop.person("stranger", &[], false).await;
        }
        let answer = shop
            .api(who, "GET", &format!("/api/v2/stores/{store}"), Value::Null)
            .await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{store}");
        assert_eq!(answer.body["error_list"], answer.body["error-list"]);
    }
}

#[tokio::test]
async fn members_are_changed_all_or_none() {
    let shop = Shop::new().await;
    view(&shop, "acme-gate").await;
    let path = "/api/v2/stores/acme-gate/users";
    let post = async |who: &str, body: Value| shop.api(who, "POST", path, body).await;
    let users = post(
        "admin",
        json!([
            {"email": "View@people.example", "roles": ["view"]},
            {"email": "pub@people.example", "roles": ["access", "review"]},
        ]),
    )
    .await
    .ok();
    assert_eq!(
        texts(&users["users"], "email"),
        ["pub@people.example", "view@people.example"]
    );
    assert_eq!(users["users"][0]["roles"], json!(["review", "access"]));
    let before = get(&shop, "admin", "/api/v2/stores/acme-gate").await;
    for (body, status, code) in [
        // Nobody has this address: clients offer an invite then.
        (
            json!([{"email": "pub@people.example", "roles": []}, {"email": "new@people.example", "roles": ["view"]}]),
            400,
            "store-users-no-match",
        ),
        (
            json!([{"email": "rev@people.example", "roles": []}]),
            404,
            "resource-not-found",
        ),
        (
            json!([{"email": "rev@people.example", "roles": ["brand"]}]),
            400,
            "api-error",
        ),
        (
            json!([{"email": "rev@people.example", "roles": ["owner"]}]),
            400,
            "api-error",
        ),
        (
            json!([{"email": "rev@people.example", "roles": ["view"], "store": "acme"}]),
            400,
            "api-error",
        ),
        (json!([{"email": "rev@people.example"}]), 400, "api-error"),
        (
            json!({"email": "rev@people.example", "roles": ["view"]}),
            400,
            "api-error",
        ),
        (json!([["rev@people.example", ["view"]]]), 400, "api-error"),
        (
            json!([{"email": "nonsense", "roles": ["view"]}]),
            400,
            "invalid-request",
        ),
        (
            json!([{"email": "rev@people.example", "roles": ["view"]}, {"email": "REV@people.example", "roles": []}]),
            400,
            "duplicate-email",
        ),
        (
            json!([{"email": "brand@people.example", "roles": ["admin"]}]),
            409,
            "brand-account",
        ),
    ] {
        let answer = post("admin", body.clone()).await;
        assert_eq!(answer.refusal(), (status, code), "{body}");
    }
    assert_eq!(
        get(&shop, "admin", "/api/v2/stores/acme-gate").await,
        before,
        "nothing changed"
    );
    // Members of the store who do not administer it change nothing.
    assert_eq!(
        post("view", json!([])).await.refusal(),
        (404, "resource-not-found")
    );
    let gone = post("admin", json!([{"email": "pub@people.example", "roles": []}]))
        .await
        .ok();
    assert_eq!(texts(&gone["users"], "email"), ["view@people.example"]);
    // What such clients say about roles says nothing about the role of the brand, and the last administrator stays.
    let base = "/api/v2/stores/acme/users";
    let users = shop
        .api(
            "admin",
            "POST",
            base,
            json!([{"email": "brand@people.example", "roles": []}]),
        )
        .await
        .ok();
    assert!(texts(&users["users"], "email").contains(&"brand@people.example"));
    let both = json!([
        {"email": "admin@people.example", "roles": ["view"]}, {"email": "admin@acme.example", "roles": []},
    ]);
    let refused = shop.api("operator", "POST", base, both).await;
    assert_eq!(refused.refusal(), (409, "last-administrator"), "{refused:?}");
}

#[tokio::test]
async fn snaps_go_into_a_store_and_out_of_it_at_once() {
    let shop = Shop::new().await;
    view(&shop, "acme-gate").await;
    view(&shop, "acme-other").await;
    for (who, body) in [
        ("operator", json!({"name": "core22", "publisher": "acme"})),
        ("pub", json!({"name": "gizmo"})),
        ("pub", json!({"name": "widget", "private": true})),
    ] {
        shop.call(who, "POST", "/snaps?brand=acme", body).await.ok();
    }
    shop.revise("gizmo", |revision| revision.version = "2.1".to_owned())
        .await;
    shop.call(
        "pub",
        "POST",
        "/snaps/gizmo/releases",
        json!({"revision": 1, "channels": ["edge"]}),
    )
    .await
    .ok();
    let path = "/api/v2/stores/acme-gate/snaps";
    let rows =
        async |who: &str, query: &str| get(&shop, who, &format!("{path}{query}")).await["snaps"].clone();
    let shown = rows("admin", "").await;
    assert_eq!(texts(&shown, "name"), ["core22"], "the page is never empty");
    assert_eq!(shown[0]["essential"], true);
    let nothing = json!({"channel": null, "timestamp": null, "version": null, "revision": null});
    assert_eq!(shown[0]["latest-release"], nothing);
    // What may be put in.
    let free = rows("admin", "?allowed-for-inclusion=acme-gate").await;
    assert_eq!(texts(&free, "name"), ["gizmo", "widget"]);
    let here = get(
        &shop,
        "admin",
        "/api/v2/stores/acme/snaps?q=WID&allowed-for-inclusion=acme-gate",
    )
    .await;
    assert_eq!(texts(&here["snaps"], "name"), ["widget"]);

    let post = async |body: Value| shop.api("admin", "POST", path, body).await;
    for (body, status, code) in [
        (
            json!({"add": [{"name": "gizmo"}, {"name": "nosuch"}]}),
            404,
            "resource-not-found",
        ),
        (
            json!({"add": [{"name": "gizmo"}], "remove": [{"name": "gizmo"}]}),
            400,
            "contradiction",
        ),
        (
            json!({"add": [{"name": "gizmo"}], "remove": [{"name": "core22"}]}),
            409,
            "essential-snap",
        ),
        (json!({"add": [{"name": "gizmo", "x": 1}]}), 400, "api-error"),
        (json!({"add": ["gizmo"]}), 400, "api-error"),
        (json!({"add": [], "include": []}), 400, "api-error"),
        (json!([]), 400, "api-error"),
    ] {
        assert_eq!(post(body.clone()).await.refusal(), (status, code), "{body}");
    }
    assert_eq!(
        texts(&rows("admin", "").await, "name"),
        ["core22"],
        "nothing changed"
    );
    let both = post(json!({"add": [{"name": "gizmo"}, {"name": "widget"}]}))
        .await
        .ok();
    assert_eq!(texts(&both["snaps"], "name"), ["core22", "gizmo", "widget"]);
    let gizmo = &both["snaps"][1];
    assert_eq!(
        (
            &gizmo["store"],
            &gizmo["other-stores"],
            &gizmo["private"],
            &gizmo["essential"]
        ),
        (
            &json!("acme"),
            &json!(["acme-gate"]),
            &json!(false),
            &json!(false)
        )
    );
    assert_eq!(
        gizmo["users"],
        json!([{"displayname": "PUB", "username": "pub-name", "roles": ["owner"]}])
    );
    let latest = &gizmo["latest-release"];
    assert_eq!(
        (&latest["channel"], &latest["version"], &latest["revision"]),
        (&json!("latest/edge"), &json!("2.1"), &json!(1))
    );
    assert!(latest["timestamp"].is_string());
    assert_eq!(rows("admin", "?allowed-for-inclusion=acme-gate").await, json!([]));
    let one = post(json!({"remove": [{"name": "widget"}]})).await.ok();
    assert_eq!(texts(&one["snaps"], "name"), ["core22", "gizmo"]);
    // Publishers see what is theirs, viewers all.
    assert_eq!(texts(&rows("pub", "").await, "name"), ["gizmo"]);
    assert_eq!(texts(&rows("view", "").await, "name"), ["core22", "gizmo"]);
    assert_eq!(
        shop.api("view", "POST", path, json!({})).await.refusal(),
        (404, "resource-not-found")
    );
}

#[tokio::test]
async fn settings_are_kept_and_strange_ones_refused() {
    let shop = Shop::new().await;
    view(&shop, "acme-gate").await;
    let path = "/api/v2/stores/acme-gate/settings";
    let put = async |who: &str, body: Value| shop.api(who, "PUT", path, body).await;
    let changed = put(
        "admin",
        json!({"private": true, "manual-review-policy": "require"}),
    )
    .await
    .ok();
    assert_eq!(
        (
            &changed["store"]["private"],
            &changed["store"]["manual-review-policy"]
        ),
        (&json!(true), &json!("require"))
    );
    for body in [
        json!({"private": "yes"}),
        json!({"manual-review-policy": "sometimes"}),
        json!({"private": false, "store-whitelist": ["acme"]}),
        json!({"private": false, "id": "acme"}),
    ] {
        assert_eq!(
            put("admin", body.clone()).await.refusal(),
            (400, "api-error"),
            "{body}"
        );
    }
    assert_eq!(
        put("view", json!({"private": false})).await.refusal(),
        (404, "resource-not-found")
    );
    let shown = get(&shop, "admin", "/api/v2/stores/acme-gate/").await;
    assert_eq!(shown["store"]["private"], true);
}

#[tokio::test]
async fn a_partner_administers_its_store_and_sees_nothing_else() {
    let shop = Shop::new().await;
    shop.person("partner", &[], false).await;
    let made = shop
        .call(
            "admin",
            "POST",
            "/stores",
            json!({
                "id": "acme-partner", "name": "<script>Partner</script>", "parent": "acme", "kind": "ecosystem",
                "private": true, "manual-review-policy": "require",
                "members": {"partner@people.example": ["admin", "view"]},
            }),
        )
        .await
        .ok();
    assert_eq!(made["name"], "<script>Partner</script>", "text is text");
    assert_eq!(
        (&made["kind"], &made["private"]),
        (&json!("ecosystem"), &json!(true))
    );
    view(&shop, "acme-secret").await;
    for name in ["gizmo", "hidden"] {
        shop.call("pub", "POST", "/snaps", json!({"name": name, "private": true}))
            .await
            .ok();
    }
    let partner = async |method: &str, path: &str, body: Value| {
        let answer = shop.api("partner", method, path, body).await;
        (answer.status, answer.body)
    };
    let native = |path: &str| format!("/hallmark/v1{path}");
    // It curates, invites, configures.
    for (method, path, body) in [
        (
            "POST",
            "/api/v2/stores/acme-partner/snaps".to_owned(),
            json!({"add": [{"name": "gizmo"}]}),
        ),
        (
            "PUT",
            "/api/v2/stores/acme-partner/settings".to_owned(),
            json!({"private": false}),
        ),
        (
            "POST",
            "/api/v2/stores/acme-partner/users".to_owned(),
            json!([{"email": "pub2@people.example", "roles": ["view"]}]),
        ),
        (
            "POST",
            "/api/v2/stores/acme-partner/invites".to_owned(),
            json!([{"email": "new@partner.example", "roles": ["view"]}]),
        ),
        ("GET", native("/stores/acme-partner"), Value::Null),
        ("GET", native("/stores/acme-partner/members"), Value::Null),
        ("GET", native("/snaps/gizmo"), Value::Null),
        ("GET", native("/snaps/gizmo?brand=acme"), Value::Null),
    ] {
        let (status, body) = partner(method, &path, body).await;
        assert_eq!(status, 200, "{method} {path}: {body}");
    }
    let (_, rows) = partner("GET", "/api/v2/stores/acme-partner/snaps", Value::Null).await;
    assert_eq!(texts(&rows["snaps"], "name"), ["gizmo"]);
    assert_eq!(
        rows["snaps"][0]["other-stores"],
        json!(["acme-partner"]),
        "other stores are not told"
    );
    let (_, stores) = partner("GET", &native("/stores"), Value::Null).await;
    assert_eq!(texts(&stores, "id"), ["acme-partner"]);
    shop.collaborate("gizmo", "pub2").await;
    for (who, helpers) in [("partner", json!([])), ("view", json!([Shop::account("pub2")]))] {
        let shown = shop.call(who, "GET", "/snaps/gizmo", Value::Null).await.ok();
        assert_eq!(shown["collaborators"], helpers, "{who}");
    }
    // A token for that store alone reads what it shows; one for another store does not.
    for (store, status) in [("acme-partner", 200), ("acme-secret", 404)] {
        let limits = json!({"for": "admin", "store-ids": [store]});
        let made = shop.call("partner", "POST", "/tokens", limits).await.ok();
        let request = shop
            .http
            .get(format!("http://{}/hallmark/v1/snaps/gizmo", shop.address))
            .bearer_auth(made["token"].as_str().unwrap());
        assert_eq!(request.send().await.unwrap().status(), status, "{store}");
    }
    // The rest of the brand is absent.
    let nothing = Value::Null;
    for (method, path, body) in [
        ("GET", "/api/v2/stores/acme".to_owned(), nothing.clone()),
        ("GET", "/api/v2/stores/acme-secret".to_owned(), nothing.clone()),
        (
            "GET",
            "/api/v2/stores/acme-partner/snaps?allowed-for-inclusion=acme-secret".to_owned(),
            nothing.clone(),
        ),
        (
            "POST",
            "/api/v2/stores/acme-secret/snaps".to_owned(),
            json!({"add": []}),
        ),
        ("POST", "/api/v2/stores/acme/users".to_owned(), json!([])),
        ("GET", native("/stores/acme"), nothing.clone()),
        ("GET", native("/stores/acme/members"), nothing.clone()),
        ("GET", native("/snaps/hidden"), nothing.clone()),
        ("GET", native("/snaps"), nothing.clone()),
        ("PUT", native("/snaps/gizmo"), json!({"title": "Mine"})),
        ("GET", native("/models"), nothing.clone()),
        ("GET", native("/keys"), nothing.clone()),
        ("GET", native("/serials"), nothing.clone()),
        ("GET", native("/devices"), nothing.clone()),
        ("GET", native("/audit"), nothing.clone()),
        ("GET", "/v1/brand/acme".to_owned(), nothing.clone()),
        ("GET", "/v1/brand/acme/model".to_owned(), nothing.clone()),
        ("GET", "/v1/brand/acme/signing_key".to_owned(), nothing.clone()),
        (
            "POST",
            native("/stores"),
            json!({"id": "x-view", "name": "X", "parent": "acme"}),
        ),
        ("POST", native("/snaps"), json!({"name": "mine"})),
        // Who publishes and helps with a snap that its store shows: people of the brand.
        ("GET", "/v1/snap/gizmo/collaborators".to_owned(), nothing.clone()),
        // Nor does it widen its own store: what may be put in is the brand's to say.
        (
            "PUT",
            native("/stores/acme-partner"),
            json!({"store-whitelist": ["acme"]}),
        ),
        (
            "PUT",
            native("/stores/acme-partner"),
            json!({"allowed-inclusion-source-stores": ["acme"]}),
        ),
    ] {
        let (status, body) = partner(method, &path, body).await;
        assert_eq!(status, 404, "{method} {path}: {body}");
        assert_eq!(
            body["error-list"][0]["code"], "resource-not-found",
            "{method} {path}"
        );
    }
    // Its private snaps open to its members' image builders by the token, and to nobody of another store.
    let find = async |who: &str, store: &str| {
        let url = format!("http://{}/v2/snaps/info/gizmo", shop.address);
        let request = shop
            .http
            .get(url)
            .header("snap-device-series", "16")
            .header("snap-device-store", store);
        let request = request.header(
            "authorization",
            format!("Macaroon root=\"{}\"", token(who).reveal()),
        );
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(find("partner", "acme-partner").await, 200);
    assert_eq!(find("partner", "acme").await, 404);
    assert_eq!(find("view", "acme-partner").await, 200);
}

#[tokio::test]
async fn who_may_take_from_which_store_at_creation() {
    let shop = Shop::new().await;
    shop.call("operator", "POST", "/brands", json!({"id": "globex"}))
        .await
        .ok();
    let create = async |who: &str, body: Value| {
        let mut new = json!({"id": "acme-x", "name": "X", "parent": "acme"});
        new.as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        shop.call(who, "POST", "/stores?brand=acme", new).await
    };
    for (who, body, refusal) in [
        (
            "admin",
            json!({"allowed-inclusion-source-stores": ["globex"]}),
            (404, "resource-not-found"),
        ),
        (
            "admin",
            json!({"allowed-inclusion-source-stores": ["nosuch"]}),
            (404, "resource-not-found"),
        ),
        (
            "admin",
            json!({"allowed-inclusion-source-stores": ["acme-x"]}),
            (400, "not-a-base-store"),
        ),
        (
            "admin",
            json!({"members": {"nobody@people.example": ["view"]}}),
            (404, "resource-not-found"),
        ),
        (
            "admin",
            json!({"members": {"view@people.example": []}}),
            (400, "roles-required"),
        ),
        (
            "admin",
            json!({"members": {"view@people.example": ["brand"]}}),
            (400, "roles-required"),
        ),
        (
            "admin",
            json!({"members": {"brand@people.example": ["admin"]}}),
            (409, "brand-account"),
        ),
        ("admin", json!({"brand-id": "globex"}), (400, "invalid-request")),
        ("view", json!({}), (404, "resource-not-found")),
    ] {
        assert_eq!(create(who, body.clone()).await.refusal(), refusal, "{who} {body}");
    }
    let list = shop.call("admin", "GET", "/stores", Value::Null).await.ok();
    assert_eq!(texts(&list, "id"), ["acme"], "nothing was made");
    let sources = json!({"allowed-inclusion-source-stores": ["globex", "acme"]});
    let made = create("operator", sources).await.ok();
    assert_eq!(made["allowed-inclusion-source-stores"], json!(["acme", "globex"]));
    // An administrator of the brand narrows it, and opens it to the brand's own stores again.
    let put = async |body: Value| shop.call("admin", "PUT", "/stores/acme-x", body).await;
    put(json!({"allowed-inclusion-source-stores": []})).await.ok();
    put(json!({"allowed-inclusion-source-stores": ["acme"]}))
        .await
        .ok();
    let foreign = put(json!({"allowed-inclusion-source-stores": ["acme", "globex"]})).await;
    assert_eq!(foreign.refusal(), (404, "resource-not-found"));
    put(json!({"store-whitelist": ["acme"]})).await.ok();
}

#[tokio::test]
async fn the_public_name_of_an_account_is_changed_with_what_devices_know_of_it() {
    let shop = Shop::new().await;
    shop.call("pub", "POST", "/snaps", json!({"name": "gizmo"}))
        .await
        .ok();
    let rename = async |who: &str, body: Value| shop.api(who, "PATCH", "/dev/api/account", body).await;
    let done = rename("pub", json!({"short_namespace": "gizmo-makers"})).await;
    assert_eq!((done.status, done.body), (204, Value::Null));
    use hallmark::domain::assertion::AssertionType as T;
    let account = shop.assertion(T::Account, [&Shop::account("pub")]).await.unwrap();
    assert_eq!(
        (account.text("username"), account.revision()),
        (Some("gizmo-makers"), 1)
    );
    let snap = shop.call("pub", "GET", "/snaps/gizmo", Value::Null).await.ok();
    assert_eq!(snap["publisher"], "gizmo-makers");
    assert_eq!(
        rename("pub2", json!({"short_namespace": "gizmo-makers"}))
            .await
            .refusal(),
        (409, "username-taken")
    );
    for body in [
        json!({"short_namespace": "Not Good"}),
        json!({"short_namespace": "x1", "email": "x@y.example"}),
        json!({}),
    ] {
        assert_eq!(
            rename("pub", body.clone()).await.refusal(),
            (400, "api-error"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn an_account_is_shown_the_stores_in_which_its_roles_count() {
    let shop = Shop::new().await;
    view(&shop, "acme-gate").await;
    view(&shop, "acme-other").await;
    shop.person("partner", &[], false).await;
    shop.role("partner", "acme-gate", &["admin", "access"]).await;
    shop.role("pub", "acme-other", &["access"]).await;
    let stores = async |who: &str| get(&shop, who, "/dev/api/account").await["stores"].clone();
    let all = stores("admin").await;
    assert_eq!(texts(&all, "id"), ["acme", "acme-gate", "acme-other"]);
    for store in all.as_array().unwrap() {
        assert_eq!(store["roles"], json!(["admin"]), "{store}");
    }
    // Names are registered in base stores: who publishes there need not see the views.
    let store = |id: &str, name: &str, roles: &[&str]| json!({"id": id, "name": name, "roles": roles});
    let acme = all[0]["name"].as_str().unwrap().to_owned();
    assert_eq!(
        stores("pub").await,
        json!([
            store("acme", &acme, &["access"]),
            store("acme-other", "Gates", &["access"])
        ])
    );
    assert_eq!(
        stores("partner").await,
        json!([store("acme-gate", "Gates", &["admin", "access"])])
    );
    shop.person("stranger", &[], false).await;
    assert_eq!(stores("stranger").await, json!([]));
}
