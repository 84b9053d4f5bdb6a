//! Stores and what they show.

use hallmark::domain::catalog::CatalogHead;
use serde_json::{Value, json};

use super::shop::*;

async fn names(shop: &Shop, who: &str, store: &str) -> Vec<(String, String)> {
    let shown = shop
        .call(who, "GET", &format!("/stores/{store}/snaps"), Value::Null)
        .await
        .ok();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = shown.as_array().unwrap();
    rows.iter()
        .map(|row| (text(row, "name"), text(row, "because")))
        .collect()
}

async fn register(shop: &Shop, who: &str, body: Value) -> Answer {
    shop.call(who, "POST", "/snaps", body).await
}

#[tokio::test]
async fn an_administrator_makes_a_view_and_curates_it() {
    let shop = Shop::new().await;
    register(&shop, "operator", json!({"name": "core22", "publisher": "acme"}))
        .await
        .ok();
    register(&shop, "pub", json!({"name": "gizmo"})).await.ok();
    register(
        &shop,
        "brand",
        json!({"name": "widget", "publisher": "acme", "private": true}),
    )
    .await
    .ok();
    let view = shop
        .call(
            "admin",
            "POST",
            "/stores",
            json!({"id": "acme-gate", "name": "Gates", "parent": "acme"}),
        )
        .await
        .ok();
    assert_eq!(view["kind"], "product");
    assert_eq!(view["allowed-inclusion-source-stores"], json!(["acme"]));
    let essential = ("core22".to_owned(), "essential".to_owned());
    assert_eq!(
        names(&shop, "view", "acme-gate").await,
        std::slice::from_ref(&essential)
    );

    let path = "/stores/acme-gate/snaps/gizmo";
    for _twice in 0..2 {
        let shown = shop.call("admin", "PUT", path, Value::Null).await.ok();
        assert_eq!(
            (&shown["because"], &shown["store-id"]),
            (&json!("included"), &json!("acme"))
        );
    }
    let included = ("gizmo".to_owned(), "included".to_owned());
    assert_eq!(
        names(&shop, "view", "acme-gate").await,
        [essential.clone(), included.clone()]
    );
    // A publisher sees what is theirs.
    assert_eq!(names(&shop, "pub", "acme-gate").await, [included]);
    assert_eq!(names(&shop, "pub2", "acme-gate").await, []);

    let refused = async |method: &str, path: &str| {
        let answer = shop.call("admin", method, path, Value::Null).await;
        (answer.status, answer.code().to_owned())
    };
    let not_found = (404, "resource-not-found".to_owned());
    assert_eq!(refused("PUT", "/stores/acme-gate/snaps/nosuch").await, not_found);
    assert_eq!(
        refused("DELETE", "/stores/acme-gate/snaps/widget").await,
        not_found
    );
    let essential_snap = refused("DELETE", "/stores/acme-gate/snaps/core22").await;
    assert_eq!(essential_snap, (409, "essential-snap".to_owned()));
    let shown = refused("PUT", "/stores/acme/snaps/gizmo").await;
    assert_eq!(shown, (409, "already-shown".to_owned()));
    shop.call("admin", "DELETE", path, Value::Null).await.ok();
    assert_eq!(refused("DELETE", path).await, not_found);
    assert_eq!(names(&shop, "view", "acme-gate").await, [essential]);

    // Nothing is registered in a view, and nothing is a view of one.
    let there = register(&shop, "pub", json!({"name": "other", "store": "acme-gate"})).await;
    assert_eq!(there.refusal(), (400, "not-a-base-store"));
    let below = json!({"id": "acme-x", "name": "X", "parent": "acme-gate"});
    let below = shop.call("admin", "POST", "/stores", below).await;
    assert_eq!(below.refusal(), (400, "not-a-base-store"));
    let again = json!({"id": "acme", "name": "X", "parent": "acme"});
    let again = shop.call("admin", "POST", "/stores", again).await;
    assert_eq!(again.refusal(), (409, "store-exists"));

    // Every change has a number: 3 snaps, 1 store, an inclusion and an exclusion.
    let head = shop
        .app
        .storage
        .find::<CatalogHead>(["head"])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.record.sequence, 6);
}

#[tokio::test]
async fn what_stores_may_take_is_the_operators_to_say() {
    let shop = Shop::new().await;
    let brand = json!({"id": "globex"});
    shop.call("operator", "POST", "/brands", brand).await.ok();
    let theirs = json!({"name": "theirs", "publisher": "globex"});
    shop.call("operator", "POST", "/snaps?brand=globex", theirs)
        .await
        .ok();
    let include = async || {
        let answer = shop
            .call(
                "admin",
                "PUT",
                "/stores/acme/snaps/theirs?brand=acme",
                Value::Null,
            )
            .await;
        (answer.status, answer.body)
    };
    let settings = async |who: &str, store: &str, brand: &str, body: Value| {
        shop.call(who, "PUT", &format!("/stores/{store}?brand={brand}"), body)
            .await
    };
    let (status, absent) = include().await;
    assert_eq!(status, 404);
    let from_globex = json!({"allowed-inclusion-source-stores": ["globex"]});
    assert_eq!(
        settings("admin", "acme", "acme", from_globex.clone())
            .await
            .status,
        404
    );
    settings("operator", "acme", "acme", from_globex).await.ok();
    // Their store lets only another one take its snaps: that answers like a snap that is not there.
    let only_itself = json!({"allowed-inclusion-target-stores": ["globex"]});
    settings("operator", "globex", "globex", only_itself).await.ok();
    assert_eq!(include().await, (404, absent));
    settings(
        "operator",
        "globex",
        "globex",
        json!({"allowed-inclusion-target-stores": []}),
    )
    .await
    .ok();
    assert_eq!(include().await.0, 200);
    // The rule decides at every reading: without the leave it is gone again, with all of the store it is back.
    settings(
        "operator",
        "acme",
        "acme",
        json!({"allowed-inclusion-source-stores": []}),
    )
    .await
    .ok();
    assert_eq!(names(&shop, "view", "acme").await, []);
    settings("operator", "acme", "acme", json!({"store-whitelist": ["globex"]}))
        .await
        .ok();
    let whole = ("theirs".to_owned(), "whole-store".to_owned());
    assert_eq!(names(&shop, "view", "acme").await, [whole]);

    for (body, code) in [
        (json!({"store-whitelist": ["acme"]}), "not-a-base-store"),
        (json!({"store-whitelist": ["nosuch"]}), "resource-not-found"),
        (
            json!({"snap-name-prefixes": [{"prefix": "A", "inheritable": true}]}),
            "invalid-prefix",
        ),
        (json!({"name": ""}), "invalid-name"),
    ] {
        assert_eq!(settings("operator", "acme", "acme", body).await.code(), code);
    }
    let own = json!({"private": true, "manual-review-policy": "require", "name": "Acme & Co"});
    let changed = settings("admin", "acme", "acme", own).await.ok();
    assert_eq!(
        (&changed["private"], &changed["manual-review-policy"]),
        (&json!(true), &json!("require"))
    );
    assert_eq!(changed["store-whitelist"], json!(["globex"]), "the rest stays");
}

#[tokio::test]
async fn names_belong_to_who_may_have_them() {
    let shop = Shop::new().await;
    let gizmo = register(&shop, "pub", json!({"name": "gizmo"})).await.ok();
    assert_eq!(gizmo["publisher-id"], Shop::account("pub"));
    assert_eq!(gizmo["store-id"], "acme");
    let id = gizmo["snap-id"].as_str().unwrap();
    use hallmark::domain::assertion::AssertionType as T;
    let declaration = shop.assertion(T::SnapDeclaration, ["16", id]).await.unwrap();
    assert_eq!(declaration.text("snap-name"), Some("gizmo"));
    assert_eq!(
        declaration.text("publisher-id"),
        Some(Shop::account("pub").as_str())
    );
    let account = shop.assertion(T::Account, [&Shop::account("pub")]).await.unwrap();
    assert_eq!(account.text("validation"), Some("unproven"));
    assert_eq!(account.text("username"), Some("pub-name"));

    for (who, body, refusal) in [
        ("pub2", json!({"name": "gizmo"}), (409, "name-taken")),
        (
            "brand",
            json!({"name": "snapd", "publisher": "acme"}),
            (400, "name-refused"),
        ),
        (
            "pub",
            json!({"name": "other", "publisher": "acme"}),
            (404, "resource-not-found"),
        ),
        (
            "pub",
            json!({"name": "other", "publisher": "pub2-name"}),
            (404, "resource-not-found"),
        ),
        (
            "pub",
            json!({"name": "other", "publisher": "nobody"}),
            (404, "resource-not-found"),
        ),
        (
            "operator",
            json!({"name": "core24", "publisher": "acme", "private": true}),
            (400, "private-essential"),
        ),
        ("view", json!({"name": "other"}), (404, "resource-not-found")),
    ] {
        let answer = register(&shop, who, body.clone()).await;
        assert_eq!(answer.refusal(), refusal, "{who} {body}");
    }
    let snapd = register(&shop, "operator", json!({"name": "snapd", "publisher": "acme"}))
        .await
        .ok();
    assert_eq!(snapd["snap-id"], "PMrrV4ml8uWuEUDBT8dSGnKUYbevVhc4");
    for named in ["pub2-name", "Pub2@people.example", &Shop::account("pub2")] {
        let name = format!(
            "x-{}",
            named
                .to_lowercase()
                .replace(['@', '.'], "-")
                .chars()
                .take(20)
                .collect::<String>()
        );
        let made = register(
            &shop,
            "operator",
            json!({"name": name.trim_end_matches('-'), "publisher": named}),
        )
        .await
        .ok();
        assert_eq!(made["publisher-id"], Shop::account("pub2"), "{named}");
    }
    let prefixes = json!({"snap-name-prefixes": [{"prefix": "acme-", "inheritable": true}]});
    shop.call("operator", "PUT", "/stores/acme", prefixes).await.ok();
    let other = register(&shop, "pub", json!({"name": "other"})).await;
    assert_eq!(other.refusal(), (400, "name-refused"));
    register(&shop, "pub", json!({"name": "acme-other"})).await.ok();
    // A view has those that its parent gives away, and follows its parent.
    let view = json!({"id": "acme-view", "name": "View", "parent": "acme"});
    let made = shop.call("admin", "POST", "/stores", view).await.ok();
    let inherited = json!([{"prefix": "acme-", "inheritable": true, "parent-id": "acme"}]);
    assert_eq!(made["snap-name-prefixes"], inherited);
    let own = json!({"snap-name-prefixes": [
        {"prefix": "acme-", "inheritable": false}, {"prefix": "lab-", "inheritable": true}]});
    shop.call("operator", "PUT", "/stores/acme", own).await.ok();
    let shown = shop
        .call("view", "GET", "/stores/acme-view", Value::Null)
        .await
        .ok();
    let lab = json!([{"prefix": "lab-", "inheritable": true, "parent-id": "acme"}]);
    assert_eq!(shown["snap-name-prefixes"], lab);
    let all = shop.call("view", "GET", "/stores", Value::Null).await.ok();
    assert_eq!(all[1]["snap-name-prefixes"], lab);
    assert_eq!(all[0]["snap-name-prefixes"][0]["parent-id"], Value::Null);
    register(&shop, "pub", json!({"name": "lab-one"})).await.ok();

    // Publishers see their own, reviewers and viewers all.
    let seen = async |who: &str| {
        let list = shop.call(who, "GET", "/snaps", Value::Null).await.ok();
        list.as_array().unwrap().len()
    };
    assert_eq!(
        (seen("pub").await, seen("pub2").await, seen("brand").await),
        (3, 3, 1)
    );
    assert_eq!((seen("view").await, seen("operator").await), (7, 7));
    let shown = shop.call("pub2", "GET", "/snaps/gizmo", Value::Null).await;
    let absent = shop.call("pub2", "GET", "/snaps/nosuch", Value::Null).await;
    assert_eq!(
        shown.body.to_string().replace("gizmo", "nosuch"),
        absent.body.to_string()
    );
    let findings = hallmark::app::doctor::examine(&shop.app).await.unwrap();
    assert_eq!(findings.problems, [""; 0]);
}

#[tokio::test]
async fn many_changes_at_once_all_get_a_number() {
    let shop = Shop::new().await;
    let names: Vec<String> = (0..12).map(|number| format!("snap-{number}")).collect();
    let calls = names
        .iter()
        .map(|name| register(&shop, "pub", json!({"name": name})));
    for answer in futures_util::future::join_all(calls).await {
        // They all pass by the store's record, whose rules about names they are judged by.
        assert!(
            answer.status == 201 || answer.code() == "changed-meanwhile",
            "{answer:?}"
        );
    }
    let head = shop
        .app
        .storage
        .find::<CatalogHead>(["head"])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.record.sequence, 12);
}
