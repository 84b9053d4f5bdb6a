//! Overrides over real HTTP (admin-api.md 4.1): exact shapes, who may, what is refused, and what stays.

use hallmark::app::upkeep;
use hallmark::domain::catalog::{CatalogHead, Override, RevisionRecord};
use hallmark::domain::review::ReviewState;
use hallmark::ports::Key;
use serde_json::{Value, json};

use super::shop::*;

const PATH: &str = "/v2/metadata/overrides";

/// Calls the API; an empty `store` names none.
async fn call(shop: &Shop, who: &str, store: &str, path: &str, body: Value) -> Answer {
    let url = format!("http://{}{path}", shop.address);
    let request = if body.is_null() {
        shop.http.get(url)
    } else {
        shop.http.post(url).body(body.to_string())
    };
    let mut request = request
        .header(
            "authorization",
            format!("Macaroon root=\"{}\"", token(who).reveal()),
        )
        .header("x-ubuntu-series", "16");
    if !store.is_empty() {
        request = request.header("snap-device-store", store);
    }
    answer(request).await
}

async fn listed(shop: &Shop, store: &str) -> Value {
    let answer = call(shop, "admin", store, &format!("{PATH}/gizmo"), Value::Null).await;
    answer.ok()["overrides"].clone()
}

fn wanted(revision: impl Into<Value>, channel: &str) -> Value {
    let revision: Value = revision.into();
    let mut body = json!({"snap_name": "gizmo", "channel": channel, "series": "16"});
    body["revision"] = revision;
    body
}

/// A shop with `gizmo`: 1 for amd64, in stable; 2 for amd64 and arm64; 3 for everything; 4 waits for a reviewer.
async fn shop() -> Shop {
    let shop = Shop::new().await;
    let name = json!({"name": "gizmo"});
    shop.call("pub", "POST", "/snaps", name).await.ok();
    for names in [&["amd64"][..], &["amd64", "arm64"], &["all"], &["amd64"]] {
        shop.revise("gizmo", |revision| {
            revision.architectures = names.iter().map(|name| name.parse().unwrap()).collect();
            if revision.revision == 4 {
                revision.review = ReviewState::ManualReviewPending;
            }
        })
        .await;
    }
    let release = json!({"revision": 1, "channels": ["stable"]});
    shop.call("pub", "POST", "/snaps/gizmo/releases", release)
        .await
        .ok();
    shop
}

/// What a machine of an architecture gets that names a store.
async fn given(shop: &Shop, store: &str, architecture: &str) -> Value {
    let action = json!({"action": "install", "instance-key": "i", "name": "gizmo", "channel": "stable", "epoch": null});
    let body = json!({"context": [], "actions": [action], "fields": ["revision"]});
    let request = shop
        .http
        .post(format!("http://{}/v2/snaps/refresh", shop.address))
        .header("snap-device-store", store)
        .header("snap-device-architecture", architecture)
        .body(body.to_string());
    let result = answer(request).await.ok()["results"][0].clone();
    match result["snap"]["revision"].clone() {
        Value::Null => result["error"]["code"].clone(),
        revision => revision,
    }
}

#[tokio::test]
async fn overrides_are_made_listed_and_deleted_in_the_shapes_clients_know() {
    let shop = shop().await;
    let id = shop.snap("gizmo").await.id;
    let row = |revision: Value, upstream: Value, channel: &str, architecture: &str| {
        json!({"snap_id": id, "snap_name": "gizmo", "revision": revision, "upstream_revision": upstream,
               "channel": channel, "architecture": architecture, "series": "16"})
    };
    let set = async |list: Value| call(&shop, "admin", "", PATH, list).await.ok();
    assert_eq!(listed(&shop, "").await, json!([]));
    assert_eq!(given(&shop, "acme", "amd64").await, 1);
    assert_eq!(given(&shop, "acme", "arm64").await, "revision-not-found");

    // One for each architecture of the revision.
    let both = json!([
        row(json!(2), json!(1), "stable", "amd64"),
        row(json!(2), Value::Null, "stable", "arm64")
    ]);
    for _twice in 0..2 {
        let made = set(json!([wanted(2, "stable")])).await;
        assert_eq!(made, json!({ "overrides": both }));
    }
    assert_eq!(listed(&shop, "").await, both);
    assert_eq!(given(&shop, "acme", "amd64").await, 2);
    assert_eq!(given(&shop, "acme", "arm64").await, 2);
    let sequence = async || {
        let head = shop.app.storage.find::<CatalogHead>(["head"]).await.unwrap();
        head.unwrap().record.sequence
    };
    let before = sequence().await;
    set(json!([wanted(2, "latest/stable")])).await;
    assert_eq!(sequence().await, before, "said again, nothing is written");

    // Two revisions may share a channel; several changes are one.
    let made = set(json!([wanted(1, "stable"), wanted(3, "edge")])).await;
    let [one, any] = [
        row(json!(1), json!(1), "stable", "amd64"),
        row(json!(3), Value::Null, "edge", "all"),
    ];
    assert_eq!(made["overrides"], json!([one, any]));
    assert_eq!(listed(&shop, "").await, json!([one, both[1], any]));
    assert_eq!(given(&shop, "acme", "amd64").await, 1);
    assert_eq!(given(&shop, "acme", "arm64").await, 2);

    // What is for everything takes the place of what was for single architectures.
    set(json!([wanted(3, "stable")])).await;
    let all = row(json!(3), Value::Null, "stable", "all");
    assert_eq!(listed(&shop, "").await, json!([all, any]));
    assert_eq!(given(&shop, "acme", "amd64").await, 3);
    set(json!([wanted(1, "stable")])).await;
    assert_eq!(listed(&shop, "").await, json!([all, one, any]));
    assert_eq!(given(&shop, "acme", "amd64").await, 1);
    assert_eq!(given(&shop, "acme", "arm64").await, 3);

    let gone = set(json!([wanted(Value::Null, "stable")])).await;
    let none = [
        row(Value::Null, Value::Null, "stable", "all"),
        row(Value::Null, json!(1), "stable", "amd64"),
    ];
    assert_eq!(gone["overrides"], json!(none));
    assert_eq!(listed(&shop, "").await, json!([any]));
    assert_eq!(given(&shop, "acme", "amd64").await, 1);
    assert_eq!(given(&shop, "acme", "arm64").await, "revision-not-found");
    let audited = shop.audited().await;
    let count = |action: &str| audited.iter().filter(|one| *one == action).count();
    assert_eq!((count("snap.override"), count("snap.delete-override")), (5, 1));
}

#[tokio::test]
async fn what_cannot_be_overridden_is_refused_and_changes_nothing() {
    let shop = shop().await;
    let good = wanted(2, "stable");
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        json!([body])
    };
    let without = |name: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(name);
        json!([body])
    };
    for (body, status, code) in [
        (json!([]), 400, "api-error"),
        (good.clone(), 400, "api-error"),
        (json!([[]]), 400, "api-error"),
        (with("architecture", json!("amd64")), 400, "api-error"),
        (without("revision"), 400, "api-error"),
        (without("series"), 400, "api-error"),
        (with("series", json!("18")), 400, "api-error"),
        (with("series", json!(16)), 400, "api-error"),
        (with("revision", json!(0)), 400, "api-error"),
        (with("revision", json!(-1)), 400, "api-error"),
        (with("revision", json!("2")), 400, "api-error"),
        (with("revision", json!(1.5)), 400, "api-error"),
        (with("channel", json!("a/b/c/d")), 400, "api-error"),
        (with("channel", json!("")), 400, "api-error"),
        (with("snap_name", json!("no name")), 400, "api-error"),
        (with("snap_name", json!("nosuch")), 404, "resource-not-found"),
        (with("revision", json!(9)), 400, "revision-not-found"),
        (with("revision", json!(u64::MAX)), 400, "revision-not-found"),
        // What no reviewer let through, and a track that is not there.
        (with("revision", json!(4)), 409, "override-refused"),
        (with("channel", json!("2.0/stable")), 400, "no-such-track"),
        (with("revision", Value::Null), 404, "override-not-found"),
        (json!([good, good]), 400, "contradiction"),
        (json!([good, wanted(3, "stable")]), 400, "contradiction"),
        (json!([good, wanted(9, "edge")]), 400, "revision-not-found"),
    ] {
        let refused = call(&shop, "admin", "", PATH, body.clone()).await;
        assert_eq!(refused.refusal(), (status, code), "{body}");
    }
    assert_eq!(listed(&shop, "").await, json!([]));
    let many: Vec<Value> = (0..257).map(|n| wanted(1, &format!("edge/b{n}"))).collect();
    let refused = call(&shop, "admin", "", PATH, json!(many)).await;
    assert_eq!(refused.refusal(), (400, "too-many-overrides"));
    assert_eq!(listed(&shop, "").await, json!([]));
    let audited = shop.audited().await;
    assert!(!audited.iter().any(|action| action.contains("override")));
}

#[tokio::test]
async fn overrides_are_the_administrators_of_the_store_alone() {
    let shop = shop().await;
    shop.person("nobody", &[], false).await;
    let absent = call(&shop, "nobody", "", PATH, json!([wanted(2, "stable")])).await;
    assert_eq!(absent.refusal(), (404, "resource-not-found"));
    for who in ["pub", "pub2", "rev", "view", "brand", "nobody"] {
        for store in ["", "acme", "nosuch"] {
            let post = call(&shop, who, store, PATH, json!([wanted(2, "stable")])).await;
            assert_eq!((post.status, &post.body), (404, &absent.body), "{who} {store}");
            let get = call(&shop, who, store, &format!("{PATH}/gizmo"), Value::Null).await;
            assert_eq!((get.status, &get.body), (404, &absent.body), "{who} {store}");
        }
    }
    let url = format!("http://{}{PATH}/gizmo", shop.address);
    assert_eq!(answer(shop.http.get(url)).await.status, 401);
    shop.limited("admin", "few", &["snap-read"]).await;
    let few = call(&shop, "few", "", &format!("{PATH}/gizmo"), Value::Null).await;
    assert_eq!(few.refusal(), (403, "macaroon-permission-required"));

    // With several stores the caller says which.
    let view = json!({"id": "acme-gate", "name": "Gates", "parent": "acme"});
    shop.call("admin", "POST", "/stores", view).await.ok();
    let which = call(&shop, "admin", "", PATH, json!([wanted(2, "stable")])).await;
    assert_eq!(which.refusal(), (400, "store-required"));
    let hidden = call(&shop, "admin", "acme-gate", PATH, json!([wanted(2, "stable")])).await;
    assert_eq!((hidden.status, &hidden.body), (404, &absent.body));
    let include = "/stores/acme-gate/snaps/gizmo";
    shop.call("admin", "PUT", include, Value::Null).await.ok();
    // Who administers the view alone has only that one.
    shop.person("gate", &[], false).await;
    shop.role("gate", "acme-gate", &["admin"]).await;
    call(&shop, "gate", "", PATH, json!([wanted(2, "stable")]))
        .await
        .ok();
    let base = call(&shop, "gate", "acme", &format!("{PATH}/gizmo"), Value::Null).await;
    assert_eq!((base.status, &base.body), (404, &absent.body));
    assert_eq!(given(&shop, "acme-gate", "amd64").await, 2);
    assert_eq!(given(&shop, "acme", "amd64").await, 1);
    assert_eq!(listed(&shop, "acme").await, json!([]));

    // What the store no longer shows is still there to be taken back, and cannot be pinned anew.
    shop.call("admin", "DELETE", include, Value::Null).await.ok();
    assert_eq!(given(&shop, "acme-gate", "amd64").await, "name-not-found");
    assert_eq!(listed(&shop, "acme-gate").await.as_array().unwrap().len(), 2);
    let again = call(&shop, "gate", "", PATH, json!([wanted(1, "stable")])).await;
    assert_eq!((again.status, &again.body), (404, &absent.body));
    call(&shop, "gate", "", PATH, json!([wanted(Value::Null, "stable")]))
        .await
        .ok();
    let gone = call(&shop, "gate", "", &format!("{PATH}/gizmo"), Value::Null).await;
    assert_eq!((gone.status, &gone.body), (404, &absent.body));
}

#[tokio::test]
async fn a_pinned_revision_does_not_expire() {
    let shop = shop().await;
    let keep = json!({"keep-unreleased": 0});
    shop.call("admin", "PUT", "/stores/acme", keep).await.ok();
    call(&shop, "admin", "", PATH, json!([wanted(2, "edge")]))
        .await
        .ok();
    let kept = async || {
        upkeep(shop.app.clone(), async {}).await;
        let id = shop.snap("gizmo").await.id;
        let all = shop.app.storage.all::<RevisionRecord>([id.as_str()]).await;
        let all = all.unwrap().into_iter().map(|found| found.record.revision);
        all.collect::<Vec<_>>()
    };
    // 1 is released, 4 waits for a person.
    assert_eq!(kept().await, [1, 2, 4]);
    call(&shop, "admin", "", PATH, json!([wanted(Value::Null, "edge")]))
        .await
        .ok();
    assert_eq!(kept().await, [1, 4]);
    let pinned = shop.app.storage.all::<Override>(Key(Vec::new())).await.unwrap();
    assert!(pinned.is_empty());
}

#[tokio::test]
async fn a_revision_is_pinned_or_expires_but_not_both() {
    let shop = shop().await;
    let keep = json!({"keep-unreleased": 0});
    shop.call("admin", "PUT", "/stores/acme", keep).await.ok();
    for _ in 0..10 {
        let number = shop.revise("gizmo", |_| ()).await;
        let pins = json!([wanted(number, "edge")]);
        let (pinned, ()) = tokio::join!(
            call(&shop, "admin", "", PATH, pins),
            upkeep(shop.app.clone(), async {}),
        );
        let id = shop.snap("gizmo").await.id;
        let key = hallmark::domain::catalog::revision_key(number);
        let there = shop
            .app
            .storage
            .find::<RevisionRecord>([id.as_str(), &key])
            .await
            .unwrap();
        assert_eq!(there.is_some(), pinned.status == 200, "{pinned:?}");
    }
}

#[tokio::test]
async fn overrides_are_managed_from_a_terminal() {
    let shop = shop().await;
    let run = async |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        shop.run("admin", &arguments).await
    };
    let made = run("snap override gizmo stable=2 edge=3").await;
    assert_eq!(made.status, 0, "{made:?}");
    assert_eq!(
        made.err,
        "gizmo stable amd64 2 (upstream 1)\ngizmo stable arm64 2 (upstream nothing)\n\
         gizmo edge all 3 (upstream nothing)\n"
    );
    let listed = run("snap overrides gizmo --store acme").await;
    assert!(
        listed.out.contains("stable") && listed.out.contains("arm64"),
        "{listed:?}"
    );
    let gone = run("snap delete-override gizmo stable").await;
    assert_eq!(
        gone.err,
        "gizmo stable amd64 is tracking upstream (revision 1)\n\
         gizmo stable arm64 is tracking upstream (revision nothing)\n"
    );
    for (arguments, status, what) in [
        ("snap override gizmo stable", 2, "CHANNEL=REVISION"),
        ("snap override gizmo stable=0", 2, "from 1 on"),
        ("snap override gizmo", 2, "required"),
        ("snap override gizmo stable=9", 1, "[revision-not-found]"),
        ("snap overrides gizmo --store other", 1, "[resource-not-found]"),
        ("snap delete-override gizmo beta", 1, "[override-not-found]"),
    ] {
        let ended = run(arguments).await;
        assert!(ended.status == status && ended.err.contains(what), "{ended:?}");
    }
}
