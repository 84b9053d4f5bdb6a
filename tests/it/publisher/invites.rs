//! Invites into stores, from being sent to being accepted (admin-api.md 1.4).

use hallmark::app::invites::MAX_INVITES;
use hallmark::domain::access::invite::INVITE_LIFE;
use hallmark::domain::access::{Role, StoreInvite};
use hallmark::ports::{Change, Commit};
use serde_json::{Value, json};

use crate::store::shop::*;

const PASSWORD: &str = "correct horse battery";
const DAY: i64 = 86_400;

async fn send(shop: &Shop, email: &str, roles: Value) -> Answer {
    shop.call(
        "admin",
        "POST",
        "/stores/acme/invites",
        json!({"email": email, "roles": roles}),
    )
    .await
}

async fn open(shop: &Shop, path: &str, body: Value) -> Answer {
    let url = format!("http://{}/hallmark/v1/invites/{path}", shop.address);
    answer(shop.http.post(url).body(body.to_string())).await
}

fn secret(sent: &Value) -> String {
    sent["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_is_invited_gets_an_account_by_accepting_once() {
    let shop = Shop::new().await;
    let sent = send(&shop, "New@Elsewhere.example", json!(["view", "access"]))
        .await
        .ok();
    assert_eq!(
        (&sent["email"], &sent["status"], &sent["roles"]),
        (
            &json!("new@elsewhere.example"),
            &json!("Pending"),
            &json!(["view", "access"])
        )
    );
    let text = secret(&sent);
    let list = shop
        .call("admin", "GET", "/stores/acme/invites", Value::Null)
        .await
        .ok();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(!list.to_string().contains("hmi_"), "the text is shown once");
    let offer = open(&shop, "show", json!({"token": text})).await.ok();
    assert_eq!(
        (&offer["store-id"], &offer["has-account"]),
        (&json!("acme"), &json!(false))
    );
    for (body, refusal) in [
        (json!({"token": text}), (400, "password-required")),
        (
            json!({"token": text, "password": "short"}),
            (400, "weak-password"),
        ),
        (
            json!({"token": text, "password": PASSWORD, "username": "view-name"}),
            (409, "username-taken"),
        ),
        (
            json!({"token": text, "password": PASSWORD, "display-name": "\n"}),
            (400, "invalid-display-name"),
        ),
        (
            json!({"token": text, "password": PASSWORD, "roles": ["admin"]}),
            (400, "invalid-request"),
        ),
        (
            json!({"token": format!("{text}x"), "password": PASSWORD}),
            (404, "resource-not-found"),
        ),
        (
            json!({"token": token("admin").reveal(), "password": PASSWORD}),
            (404, "resource-not-found"),
        ),
    ] {
        let answer = open(&shop, "accept", body.clone()).await;
        assert_eq!(answer.refusal(), refusal, "{body}");
    }
    // Several at once: it is good once.
    let accept =
        json!({"token": text, "password": PASSWORD, "username": "newbie", "display-name": "<b>New</b>"});
    let outcomes =
        futures_util::future::join_all((0..4).map(|_| open(&shop, "accept", accept.clone()))).await;
    let made: Vec<&Answer> = outcomes.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(made.len(), 1, "{outcomes:?}");
    assert_eq!(
        (
            &made[0].body["username"],
            &made[0].body["roles"],
            &made[0].body["display-name"]
        ),
        (&json!("newbie"), &json!(["view", "access"]), &json!("<b>New</b>"))
    );
    assert_eq!(
        open(&shop, "accept", accept).await.refusal(),
        (404, "resource-not-found")
    );
    assert_eq!(open(&shop, "show", json!({"token": text})).await.status, 404);
    let list = shop
        .call("admin", "GET", "/stores/acme/invites", Value::Null)
        .await
        .ok();
    assert_eq!(list, json!([]));
    let login = shop
        .http
        .post(format!("http://{}/hallmark/v1/login", shop.address))
        .body(json!({"email": "new@elsewhere.example", "password": PASSWORD}).to_string());
    assert_eq!(answer(login).await.status, 201);
    let log = shop
        .call("admin", "GET", "/audit?limit=20", Value::Null)
        .await
        .ok()
        .to_string();
    for action in ["invite.send", "invite.accept", "account.create"] {
        assert!(log.contains(action), "{action}: {log}");
    }
    assert!(!log.contains("hmi_"));
}

#[tokio::test]
async fn an_account_that_is_there_gets_the_roles_on_top_of_its_own() {
    let shop = Shop::new().await;
    shop.person("guest", &[], false).await;
    let text = secret(&send(&shop, "guest@people.example", json!(["view"])).await.ok());
    let offer = open(&shop, "show", json!({"token": text})).await.ok();
    assert_eq!(offer["has-account"], true);
    let refused = open(&shop, "accept", json!({"token": text, "password": PASSWORD})).await;
    assert_eq!(refused.refusal(), (409, "account-exists"));
    // Somebody gave them a role meanwhile.
    shop.role("guest", "acme", &["access"]).await;
    let member = open(&shop, "accept", json!({"token": text})).await.ok();
    assert_eq!(member["roles"], json!(["view", "access"]));
    let again = send(&shop, "guest@people.example", json!(["admin"])).await;
    assert_eq!(again.refusal(), (409, "already-member"));
    // Who acts for the brand only publishes, by this way too.
    shop.person("acting", &[Role::Brand], false).await;
    shop.call(
        "admin",
        "POST",
        "/stores",
        json!({"id": "acme-gate", "name": "G", "parent": "acme"}),
    )
    .await
    .ok();
    let path = "/stores/acme-gate/invites";
    let body = json!({"email": "acting@people.example", "roles": ["admin"]});
    let text = secret(&shop.call("admin", "POST", path, body).await.ok());
    assert_eq!(
        open(&shop, "accept", json!({"token": text})).await.refusal(),
        (409, "brand-account")
    );
    // A disabled account accepts nothing.
    shop.person("off", &[], false).await;
    let text = secret(&send(&shop, "off@people.example", json!(["view"])).await.ok());
    shop.call(
        "operator",
        "POST",
        "/accounts/off@people.example/disable",
        json!({}),
    )
    .await
    .ok();
    assert_eq!(open(&shop, "accept", json!({"token": text})).await.status, 404);
}

#[tokio::test]
async fn invites_are_resent_revoked_opened_and_expire() {
    let shop = Shop::new().await;
    let email = "new@elsewhere.example";
    let first = secret(&send(&shop, email, json!(["view"])).await.ok());
    let put = async |body: Value| {
        shop.api("admin", "PUT", "/api/v2/stores/acme/invites", body)
            .await
    };
    let act = async |action: &str| put(json!([{"email": email, "action": action}])).await;
    let usable = async |text: &str| open(&shop, "show", json!({"token": text})).await.status == 200;
    assert!(usable(&first).await);
    let sent = act("resend").await.ok();
    let second = secret(&sent["invites"][0]);
    assert_eq!(sent["invites"][0]["status"], "Pending");
    assert!(
        !usable(&first).await && usable(&second).await,
        "the text of before is void"
    );
    assert_eq!(act("open").await.refusal(), (409, "invite-state"));
    let revoked = act("revoke").await.ok();
    assert_eq!(
        (&revoked["invites"][0]["status"], &revoked["invites"][0]["token"]),
        (&json!("Revoked"), &Value::Null)
    );
    assert!(!usable(&second).await);
    let accept = open(&shop, "accept", json!({"token": second, "password": PASSWORD})).await;
    assert_eq!(accept.refusal(), (404, "resource-not-found"));
    assert_eq!(act("resend").await.refusal(), (409, "invite-state"));
    let third = secret(&act("open").await.ok()["invites"][0]);
    assert!(usable(&third).await && !usable(&second).await);
    shop.clock.advance(30 * DAY - 1);
    assert!(usable(&third).await);
    shop.clock.advance(1);
    assert!(!usable(&third).await);
    let shown = shop
        .api("admin", "GET", "/api/v2/stores/acme", Value::Null)
        .await
        .ok();
    let invite = &shown["invites"][0];
    assert_eq!(
        (&invite["email"], &invite["roles"], &invite["status"]),
        (&json!(email), &json!(["view"]), &json!("Expired"))
    );
    assert!(invite["expiration-date"].as_str().unwrap().ends_with('Z'));
    assert_eq!(act("revoke").await.refusal(), (409, "invite-state"));
    assert_eq!(act("open").await.status, 200);

    // All or none, and only those of this store.
    shop.call(
        "admin",
        "POST",
        "/stores",
        json!({"id": "acme-gate", "name": "G", "parent": "acme"}),
    )
    .await
    .ok();
    for (body, refusal) in [
        (
            json!([{"email": email, "action": "revoke"}, {"email": "x@y.example", "action": "revoke"}]),
            (404, "resource-not-found"),
        ),
        (json!([{"email": email, "action": "delete"}]), (400, "api-error")),
        (
            json!([{"email": email, "action": "revoke", "x": 1}]),
            (400, "api-error"),
        ),
        (
            json!([{"email": email, "action": "revoke"}, {"email": email, "action": "open"}]),
            (400, "duplicate-email"),
        ),
    ] {
        assert_eq!(put(body.clone()).await.refusal(), refusal, "{body}");
    }
    let other = "/api/v2/stores/acme-gate/invites";
    let elsewhere = shop
        .api(
            "admin",
            "PUT",
            other,
            json!([{"email": email, "action": "revoke"}]),
        )
        .await;
    assert_eq!(elsewhere.refusal(), (404, "resource-not-found"));
    for (body, code) in [
        (json!([{"email": "x@y.example", "roles": []}]), "roles-required"),
        (json!([{"email": "x@y.example", "roles": ["brand"]}]), "api-error"),
        (json!([{"email": "x", "roles": ["view"]}]), "invalid-request"),
        (
            json!([{"email": "x@y.example", "roles": ["view"], "expires": 1}]),
            "api-error",
        ),
    ] {
        let answer = shop.api("admin", "POST", other, body.clone()).await;
        assert_eq!(answer.refusal(), (400, code), "{body}");
    }
    let shown = shop
        .api("admin", "GET", "/api/v2/stores/acme", Value::Null)
        .await
        .ok();
    assert_eq!(shown["invites"][0]["status"], "Pending", "nothing changed");
    assert_eq!(shop.api("view", "POST", other, json!([])).await.status, 404);
}

#[tokio::test]
async fn people_are_invited_by_commands() {
    let shop = Shop::new().await;
    let sent = shop
        .json(
            "admin",
            &[
                "member",
                "invite",
                "acme",
                "jo@elsewhere.example",
                "--role",
                "viewer,publisher",
            ],
        )
        .await;
    assert_eq!(sent["status"], "Pending");
    let ended = shop.run("admin", &["member", "invites", "acme"]).await;
    assert!(
        ended.out.contains("jo@elsewhere.example") && ended.out.contains("viewer, publisher"),
        "{ended:?}"
    );
    let resent = shop
        .json(
            "admin",
            &["member", "resend-invite", "acme", "jo@elsewhere.example"],
        )
        .await;
    assert_ne!(resent["token"], sent["token"]);
    shop.json(
        "admin",
        &["member", "revoke-invite", "acme", "jo@elsewhere.example"],
    )
    .await;
    let opened = shop
        .json(
            "admin",
            &["member", "open-invite", "acme", "jo@elsewhere.example"],
        )
        .await;
    let file = shop.file("invite", secret(&opened));
    let password = shop.file("password", PASSWORD);
    let accepted = shop
        .run(
            "admin",
            &[
                "member",
                "accept",
                &file,
                "--password-file",
                &password,
                "--username",
                "jolly",
            ],
        )
        .await;
    assert_eq!(accepted.status, 0, "{accepted:?}");
    assert!(
        accepted
            .err
            .contains("jo@elsewhere.example is now viewer, publisher in store acme"),
        "{accepted:?}"
    );
    let again = shop
        .run(
            "admin",
            &["member", "accept", &file, "--password-file", &password],
        )
        .await;
    assert_eq!(again.status, 1);
    assert!(again.err.contains("cannot find the invite"), "{again:?}");
    let refused = shop
        .run(
            "admin",
            &[
                "member",
                "add",
                "acme",
                "brand@people.example",
                "--role",
                "brand,viewer",
            ],
        )
        .await;
    assert_eq!(refused.status, 1, "{refused:?}");
    // A store with all that belongs to it, made by its administrator.
    let store = shop
        .json(
            "admin",
            &[
                "store",
                "create",
                "acme-partner",
                "--name",
                "Partner",
                "--parent",
                "acme",
                "--kind",
                "ecosystem",
                "--include-from",
                "acme",
                "--private",
                "--manual-review-policy",
                "require",
                "--member",
                "view@people.example=administrator,viewer",
                "--member",
                "pub@people.example=viewer",
            ],
        )
        .await;
    assert_eq!(
        (&store["kind"], &store["private"], &store["manual-review-policy"]),
        (&json!("ecosystem"), &json!(true), &json!("require"))
    );
    let members = shop.json("view", &["member", "list", "acme-partner"]).await;
    assert_eq!(members.as_array().unwrap().len(), 2);
    let wrong = shop
        .run(
            "admin",
            &["store", "create", "x", "--name", "X", "--member", "nobody"],
        )
        .await;
    assert_eq!(wrong.status, 2, "{wrong:?}");
}

#[tokio::test]
async fn ten_thousand_invites_are_as_many_as_there_may_be() {
    let shop = Shop::new().await;
    let now = shop.app.clock.now();
    let invite = |number: usize, revoked: bool| StoreInvite {
        brand_id: BRAND.parse().unwrap(),
        store_id: BRAND.parse().unwrap(),
        email: format!("guest-{number}@crowd.example").parse().unwrap(),
        roles: [Role::View].into(),
        secret: format!("{number:064}"),
        invited_by: None,
        revoked,
        created: now,
        expires: now.plus_seconds(INVITE_LIFE),
    };
    let records = (0..MAX_INVITES)
        .map(|number| Change::create(&invite(number, number == 7)))
        .collect();
    shop.commit(Commit {
        records,
        ..Commit::default()
    })
    .await;
    let count = async || {
        let shown = shop
            .api("admin", "GET", "/api/v2/stores/acme", Value::Null)
            .await
            .ok();
        shown["invites"].as_array().unwrap().len()
    };
    let began = std::time::Instant::now();
    assert_eq!(count().await, MAX_INVITES);
    assert!(began.elapsed().as_secs() < 10, "existing clients wait 12 s");
    // Who was invited before takes no more room.
    send(&shop, "guest-3@crowd.example", json!(["review"])).await.ok();
    // The one that was taken back makes room, once.
    send(&shop, "new@crowd.example", json!(["view"])).await.ok();
    assert_eq!(count().await, MAX_INVITES);
    let refused = send(&shop, "newer@crowd.example", json!(["view"])).await;
    assert_eq!(refused.refusal(), (409, "too-many-invites"));
    let gone = json!([{"email": "guest-7@crowd.example", "action": "open"}]);
    let gone = shop
        .api("admin", "PUT", "/api/v2/stores/acme/invites", gone)
        .await;
    assert_eq!(gone.refusal(), (404, "resource-not-found"));
    let revoke = json!([{"email": "guest-9@crowd.example", "action": "revoke"}]);
    shop.api("admin", "PUT", "/api/v2/stores/acme/invites", revoke)
        .await
        .ok();
    send(&shop, "newer@crowd.example", json!(["view"])).await.ok();
}
