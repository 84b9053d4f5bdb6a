//! The shop window (admin-api.md 2.6).

use serde_json::{Value, json};

use crate::store::shop::*;

#[tokio::test]
async fn the_operator_fills_the_shop_window() {
    let shop = Shop::new().await;
    let mut ids = Vec::new();
    for name in ["alpha", "beta", "gamma"] {
        let made = shop
            .call("pub", "POST", "/snaps", json!({"name": name}))
            .await
            .ok();
        ids.push(made["snap-id"].as_str().unwrap().to_owned());
        shop.revise(name, |_| ()).await;
        shop.call(
            "pub",
            "POST",
            &format!("/snaps/{name}/releases"),
            json!({"revision": 1, "channels": ["stable"]}),
        )
        .await
        .ok();
    }
    let path = "/v1/snap/featured";
    let window = async || {
        let query = "scope=wide&arch=wide&confinement=strict,classic,devmode&fields=snap_id&section=featured";
        let url = format!("http://{}/api/v1/snaps/search?{query}", shop.address);
        let found = answer(shop.http.get(url).header("x-ubuntu-series", "16"))
            .await
            .ok();
        assert_eq!(found["_links"]["next"], Value::Null);
        let rows = found["_embedded"]["clickindex:package"]
            .as_array()
            .unwrap()
            .clone();
        rows.iter()
            .map(|row| {
                assert_eq!(row.as_object().unwrap().len(), 1, "only what was asked for");
                row["snap_id"].as_str().unwrap().to_owned()
            })
            .collect::<Vec<String>>()
    };
    assert_eq!(window().await, [""; 0]);
    let order = [&ids[2], &ids[0]];
    let set = shop.api("operator", "PUT", path, json!(order)).await;
    assert_eq!((set.status, &set.body), (201, &json!({})));
    assert_eq!(window().await, order.map(String::clone));
    // Below the other prefix of the same clients too.
    let all = json!([ids[1], ids[2], ids[0]]);
    shop.api("operator", "PUT", "/publishergw/v1/snap/featured", all)
        .await
        .ok();
    assert_eq!(window().await, [ids[1].clone(), ids[2].clone(), ids[0].clone()]);
    let gone = shop
        .api("operator", "DELETE", path, json!({"packages": [ids[2], ids[1]]}))
        .await;
    assert_eq!(gone.status, 201);
    for (method, body, refusal) in [
        (
            "DELETE",
            json!({"packages": [ids[0]], "x": 1}),
            (400, "api-error"),
        ),
        ("DELETE", json!([ids[0]]), (400, "api-error")),
        (
            "DELETE",
            json!({"packages": ["nOsUcHsNaP0000000000000000000000"]}),
            (404, "resource-not-found"),
        ),
        ("PUT", json!({"packages": [ids[0]]}), (400, "api-error")),
        ("PUT", json!([ids[1], ids[1]]), (400, "duplicate-snap")),
        (
            "PUT",
            json!([ids[1], "nOsUcHsNaP0000000000000000000000"]),
            (404, "resource-not-found"),
        ),
        ("PUT", json!(["short"]), (400, "api-error")),
    ] {
        let answer = shop.api("operator", method, path, body.clone()).await;
        assert_eq!(answer.refusal(), refusal, "{method} {body}");
    }
    // Administrators of a brand have no say in what all see; a mangled credential is no credential.
    let admin = shop.api("admin", "PUT", path, json!([])).await;
    assert_eq!(admin.refusal(), (404, "resource-not-found"));
    let url = format!("http://{}{path}", shop.address);
    let dump = shop
        .http
        .put(url)
        .header("authorization", "Macaroon {'macaroon_root': 'MDAy'}");
    assert_eq!(answer(dump.body("[]")).await.status, 401);
    assert_eq!(window().await, [ids[0].clone()], "nothing changed");
    // What is private is in no shop window but its own.
    shop.call("pub", "PUT", "/snaps/alpha", json!({"private": true}))
        .await
        .ok();
    assert_eq!(window().await, [""; 0]);
}

#[tokio::test]
async fn older_clients_search_with_the_fields_they_name() {
    let shop = Shop::new().await;
    shop.call("pub", "POST", "/snaps", json!({"name": "gizmo"}))
        .await
        .ok();
    shop.revise("gizmo", |_| ()).await;
    shop.call(
        "pub",
        "POST",
        "/snaps/gizmo/releases",
        json!({"revision": 1, "channels": ["stable"]}),
    )
    .await
    .ok();
    let find = async |query: &str| {
        let url = format!("http://{}/api/v1/snaps/search?{query}", shop.address);
        let found = answer(shop.http.get(url)).await.ok();
        found["_embedded"]["clickindex:package"].clone()
    };
    let query = "q=giz&size=100&page=1&scope=wide&confinement=strict,classic&arch=wide\
                 &fields=package_name,title,summary,architecture,media,developer_name,developer_id,developer_validation,origin,apps,sections";
    let rows = find(query).await;
    let row = rows[0].as_object().unwrap();
    assert_eq!(row.len(), 12, "what was asked for and its id: {row:?}");
    assert_eq!(
        (&row["package_name"], &row["origin"]),
        (&json!("gizmo"), &json!("pub-name"))
    );
    assert_eq!(find("q=nosuch&arch=wide").await, json!([]));
    assert_eq!(find("q=giz&arch=s390x").await.as_array().unwrap().len(), 0);
    assert_eq!(find("q=giz&arch=amd64").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn older_clients_ask_about_one_snap_in_a_channel() {
    let shop = Shop::new().await;
    for (name, private) in [("gizmo", false), ("secret", true)] {
        shop.call("pub", "POST", "/snaps", json!({"name": name, "private": private}))
            .await
            .ok();
        shop.revise(name, |revision| revision.version = "2.1".to_owned())
            .await;
        let release = json!({"revision": 1, "channels": ["beta"]});
        let path = format!("/snaps/{name}/releases");
        shop.call("pub", "POST", &path, release).await.ok();
    }
    let details = async |query: &str| {
        let url = format!("http://{}/api/v1/snaps/details/{query}", shop.address);
        answer(shop.http.get(url).header("x-ubuntu-series", "16")).await
    };
    let found = details("gizmo?channel=").await.ok();
    assert_eq!(
        (
            &found["package_name"],
            &found["version"],
            &found["channel"],
            &found["revision"]
        ),
        (&json!("gizmo"), &json!("2.1"), &json!("beta"), &json!(1))
    );
    let edge = details("gizmo?channel=edge&fields=channel").await.ok();
    assert_eq!(edge["channel"], "beta", "what edge follows");
    assert_eq!(
        edge.as_object().unwrap().len(),
        2,
        "what was asked for and its id: {edge}"
    );
    for absent in [
        "gizmo?channel=stable",
        "secret",
        "secret?channel=beta",
        "nosuch",
        "%3Cb%3E",
    ] {
        assert_eq!(
            details(absent).await.refusal(),
            (404, "resource-not-found"),
            "{absent}"
        );
    }
    let wrong = details("gizmo?channel=a/b/c/d").await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
}

#[tokio::test]
async fn how_often_snaps_are_installed_is_not_told_to_everybody() {
    let shop = Shop::new().await;
    let ask = async |body: Value| {
        let url = format!("http://{}/api/v1/snaps/metrics", shop.address);
        answer(shop.http.post(url).body(body.to_string())).await
    };
    assert_eq!(ask(json!([])).await.ok(), json!([]));
    let question = json!({
        "metric_name": "weekly_installed_base_by_country_percent", "snap_id": "gIzMo000000000000000000000000000",
        "start": "2026-01-01", "end": "2026-01-08",
    });
    let told = ask(json!([question])).await.ok();
    assert_eq!(
        told,
        json!([{
            "metric_name": "weekly_installed_base_by_country_percent", "snap_id": "gIzMo000000000000000000000000000",
            "status": "NO DATA", "buckets": [], "series": [],
        }])
    );
    for wrong in [
        json!({}),
        json!([{}]),
        json!([{"snap_id": "-", "metric_name": "x"}]),
        json!(vec![question; 101]),
    ] {
        assert_eq!(ask(wrong).await.status, 400);
    }
}
