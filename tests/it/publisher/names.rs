//! Names, and the account hub that most commands of clients begin with.

use hallmark::app::catalog::names::{MOST_DISPUTES, MOST_NAMES};
use hallmark::domain::access::StoreRecord;
use hallmark::domain::catalog::{SnapPrefix, SnapRecord};
use hallmark::ports::{Change, Commit};
use serde_json::{Value, json};

use super::snapcraft::{Client, keys};
use crate::store::shop::{BRAND, Shop, answer};

async fn register(client: &Client<'_>, body: Value) -> crate::store::shop::Answer {
    client.call("POST", "/dev/api/register-name/", body).await
}

#[tokio::test]
async fn a_name_is_registered_once() {
    let shop = Shop::new().await;
    let (client, other) = (Client::new(&shop, "pub"), Client::new(&shop, "pub2"));
    let body = json!({"snap_name": "my-snap", "is_private": true, "series": "16", "store": BRAND});
    let asked = client
        .call("POST", "/dev/api/register-name/?dry_run=1", body.clone())
        .await;
    assert_eq!((asked.status, &asked.body["snap_id"]), (200, &Value::Null));
    let answer = register(&client, body.clone()).await;
    assert_eq!(
        (answer.status, &answer.body["snap_name"]),
        (201, &json!("my-snap"))
    );
    let snap = shop.snap("my-snap").await;
    assert_eq!(
        (snap.id.as_str(), snap.private),
        (answer.body["snap_id"].as_str().unwrap(), true)
    );
    for (client, code) in [(&client, "already_owned"), (&other, "already_registered")] {
        let answer = register(client, body.clone()).await;
        assert_eq!(answer.refusal(), (409, code));
        // Where the oldest client looks, and where it looks else.
        for place in [
            &answer.body,
            &answer.body["error_list"][0],
            &answer.body["error_list"][0]["extra"],
        ] {
            assert_eq!(place["register_name_url"], "http://127.0.0.1:8380/", "{code}");
        }
    }
    let reserved = register(&client, json!({"snap_name": "core22", "series": "16"})).await;
    assert_eq!(reserved.refusal(), (409, "reserved_name"));
    assert!(reserved.body["register_name_url"].is_string());
    for (body, refusal) in [
        (json!({"snap_name": "Hello_World"}), (400, "invalid")),
        (json!({"snap_name": "<script>"}), (400, "invalid")),
        (json!({"snap_name": "x-y", "series": "18"}), (400, "invalid")),
        (
            json!({"snap_name": "x-y", "store": "nowhere"}),
            (404, "resource-not-found"),
        ),
        (
            json!({"snap_name": "x-y", "store": "../x"}),
            (404, "resource-not-found"),
        ),
        (json!({"snap_name": 7}), (400, "invalid-request")),
        (json!({}), (400, "invalid-request")),
        (json!([]), (400, "invalid-request")),
    ] {
        let answer = register(&client, body.clone()).await;
        assert_eq!(answer.refusal(), refusal, "{body}");
    }
    for who in ["view", "rev", "admin"] {
        let answer = register(&Client::new(&shop, who), json!({"snap_name": "x-y"})).await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who}");
    }
}

#[tokio::test]
async fn racing_for_a_name_one_wins() {
    let shop = Shop::new().await;
    let race = (0..12).map(|number| {
        let client = Client::new(&shop, if number % 2 == 0 { "pub" } else { "pub2" });
        async move { register(&client, json!({"snap_name": "my-snap"})).await.status }
    });
    let mut statuses = futures_util::future::join_all(race).await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1]), (201, 409));
    let all = shop
        .app
        .storage
        .all::<SnapRecord>(hallmark::ports::Key(Vec::new()))
        .await
        .unwrap();
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn a_store_says_how_names_begin_and_nobody_takes_many_at_once() {
    let shop = Shop::new().await;
    let found = shop
        .app
        .storage
        .find::<StoreRecord>([BRAND])
        .await
        .unwrap()
        .unwrap();
    let mut store = found.record;
    store.name_prefixes = vec![SnapPrefix {
        prefix: "acme-".to_owned(),
        inheritable: false,
    }];
    shop.commit(Commit {
        records: vec![Change::replace(&store, found.version)],
        ..Commit::default()
    })
    .await;
    let client = Client::new(&shop, "pub");
    let answer = register(&client, json!({"snap_name": "my-snap"})).await;
    assert_eq!(answer.refusal(), (400, "name-refused"));
    assert!(
        answer.body["error_list"][0]["message"]
            .as_str()
            .unwrap()
            .contains("acme-")
    );
    for number in 0..100 {
        client.register(&format!("acme-{number}")).await;
    }
    shop.clock.advance(600);
    let answer = register(&client, json!({"snap_name": "acme-100"})).await;
    assert_eq!(answer.refusal(), (429, "register_window"));
    assert_eq!(answer.body["retry_after"], 3000);
    assert_eq!(answer.body["error_list"][0]["extra"]["retry_after"], 3000);
    // Others are not concerned, and the hour goes by.
    Client::new(&shop, "pub2").register("acme-other").await;
    shop.clock.advance(3000);
    client.register("acme-100").await;
}

#[tokio::test]
async fn a_dispute_is_written_down() {
    let shop = Shop::new().await;
    Client::new(&shop, "pub").register("my-snap").await;
    let client = Client::new(&shop, "pub2");
    let body = json!({"snap_name": "my-snap", "comment": "it is <b>ours</b>"});
    let answer = client.call("POST", "/dev/api/register-name-dispute/", body).await;
    assert_eq!(
        (answer.status, &answer.body["snap_name"]),
        (201, &json!("my-snap"))
    );
    let log = shop.call("admin", "GET", "/audit", Value::Null).await.ok();
    let entry = log.to_string();
    assert!(
        entry.contains("snap.name-dispute") && entry.contains("it is <b>ours</b>"),
        "{entry}"
    );
    for (body, refusal) in [
        (json!({"snap_name": "nobodys"}), (404, "resource-not-found")),
        (
            json!({"snap_name": "my-snap", "comment": "x".repeat(5000)}),
            (400, "invalid-comment"),
        ),
    ] {
        let answer = client.call("POST", "/dev/api/register-name-dispute/", body).await;
        assert_eq!(answer.refusal(), refusal);
    }
    let own = json!({"snap_name": "my-snap"});
    let answer = Client::new(&shop, "pub")
        .call("POST", "/dev/api/register-name-dispute/", own)
        .await;
    assert_eq!(answer.refusal(), (409, "already-owned"));
}

#[tokio::test]
async fn what_is_given_back_was_taken_all_the_same() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    // What is refused is not taken.
    let refused = register(&client, json!({"snap_name": "my-snap", "store": "nowhere"})).await;
    assert_eq!(refused.status, 404);
    for _ in 0..MOST_NAMES {
        client.register("my-snap").await;
        let gone = client.call("DELETE", "/v1/snap/my-snap", Value::Null).await;
        assert!((200..300).contains(&gone.status), "{gone:?}");
    }
    let answer = register(&client, json!({"snap_name": "my-snap"})).await;
    assert_eq!(answer.refusal(), (429, "register_window"));
    assert_eq!(answer.body["retry_after"], 3600);
    // To ask only says the same.
    let asked = client
        .call(
            "POST",
            "/dev/api/register-name/?dry_run=1",
            json!({"snap_name": "my-snap"}),
        )
        .await;
    assert_eq!(asked.refusal(), (429, "register_window"));
    shop.clock.advance(3600);
    client.register("my-snap").await;
}

#[tokio::test]
async fn nobody_disputes_without_end() {
    let shop = Shop::new().await;
    Client::new(&shop, "pub").register("my-snap").await;
    let dispute = async |who: &'static str| {
        let client = Client::new(&shop, who);
        let body = json!({"snap_name": "my-snap", "comment": "ours"});
        client.call("POST", "/dev/api/register-name-dispute/", body).await
    };
    for _ in 0..MOST_DISPUTES {
        assert_eq!(dispute("pub2").await.status, 201);
    }
    assert_eq!(dispute("pub2").await.refusal(), (429, "too-many-disputes"));
    assert_eq!(dispute("view").await.status, 201);
    let audited = shop.audited().await;
    let disputes = audited.iter().filter(|action| *action == "snap.name-dispute");
    assert_eq!(disputes.count(), MOST_DISPUTES + 1);
}

#[tokio::test]
async fn the_account_has_all_that_clients_read() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    client.register("empty-snap").await;
    Client::new(&shop, "pub2").register("their-snap").await;
    let file = crate::store::shop::snap_file("my-snap", "1.5", "");
    client
        .publish("my-snap", &file, json!({"channels": ["edge"]}))
        .await;
    let account = client.get("/dev/api/account").await;
    assert_eq!(
        keys(&account),
        [
            "account-keys",
            "account_id",
            "account_keys",
            "display-name",
            "displayname",
            "email",
            "id",
            "short_namespace",
            "snaps",
            "stores",
            "username",
            "validation",
        ]
    );
    let who = Shop::account("pub");
    assert_eq!(
        (&account["id"], &account["account_id"]),
        (&json!(who), &json!(who))
    );
    assert_eq!(account["validation"], "unproven");
    assert_eq!(
        account["stores"],
        json!([{"id": BRAND, "name": "Acme Ltd", "roles": ["access"]}])
    );
    assert_eq!(keys(&account["snaps"]["16"]), ["empty-snap", "my-snap"]);
    assert_eq!(
        account["snaps"]["16"]["my-snap"],
        json!({
            "snap-id": id, "status": "Approved", "private": false, "unlisted": false,
            "since": "2026-06-01T00:00:00Z", "price": null, "icon_url": null, "store": "Acme Ltd",
            "latest_revisions": [{
                "architectures": ["all"], "channels": ["edge"], "revision": 1,
                "since": "2026-06-01T00:00:00Z", "status": "Published", "version": "1.5",
            }],
            "latest_comments": [],
            "publisher": {
                "id": who, "username": "pub-name", "display-name": "PUB", "validation": "unproven",
            },
        })
    );
    assert_eq!(
        account["snaps"]["16"]["empty-snap"]["latest_revisions"],
        json!([])
    );
    // The brand's own snaps are of who acts for it; others see none of it.
    let account = Client::new(&shop, "view").get("/dev/api/account").await;
    assert_eq!(account["snaps"]["16"], json!({}));
    let operator = Client::new(&shop, "operator").get("/dev/api/account").await;
    assert_eq!(
        keys(&operator["snaps"]["16"]),
        ["empty-snap", "my-snap", "their-snap"]
    );
    let anonymous = client.request("GET", "/dev/api/account");
    assert_eq!(
        crate::store::shop::answer(anonymous).await.refusal(),
        (401, "login-required")
    );
    assert_eq!(
        client.get("/dev/api/snaps/info/my-snap").await,
        json!({"snap_id": id, "snap_name": "my-snap", "store": BRAND, "title": "my-snap"})
    );
    let filter = json!({"filters": [{"snap_id": id, "metric_name": "weekly_device_change", "start": "2026-05-01", "end": "2026-06-01"}]});
    let metrics = client
        .call("POST", "/dev/api/snaps/metrics", filter.clone())
        .await
        .ok();
    assert_eq!(
        metrics,
        json!({"metrics": [{
            "status": "NO DATA", "snap_id": id, "metric_name": "weekly_device_change", "buckets": [], "series": [],
        }]})
    );
    let foreign = Client::new(&shop, "pub2")
        .call("POST", "/dev/api/snaps/metrics", filter)
        .await;
    assert_eq!(foreign.refusal(), (404, "resource-not-found"));
    let absent = client
        .call("GET", "/dev/api/snaps/info/their-snap", Value::Null)
        .await;
    assert_eq!(absent.refusal(), (404, "resource-not-found"));
}

#[tokio::test]
async fn the_oldest_client_looks_names_up_by_declaration() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    let hidden = register(&client, json!({"snap_name": "hidden", "is_private": true})).await;
    let path = |id: &str| format!("/api/v1/snaps/assertions/snap-declaration/16/{id}");
    let told = answer(client.request("GET", &path(&id))).await.ok();
    assert_eq!(keys(&told), ["body", "headers"]);
    assert_eq!(
        (&told["headers"]["snap-name"], &told["headers"]["snap-id"]),
        (&json!("my-snap"), &json!(id))
    );
    for absent in [hidden.body["snap_id"].as_str().unwrap(), "nobody"] {
        let answer = answer(client.request("GET", &path(absent))).await;
        assert_eq!(answer.refusal(), (404, "not-found"), "{absent}");
    }
}
