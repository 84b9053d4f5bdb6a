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

async fn store(shop: &Shop, id: &str) {
    let made = json!({"id": id, "name": id, "parent": "acme", "kind": "ecosystem"});
    shop.call("admin", "POST", "/stores", made).await.ok();
}

async fn invited(shop: &Shop, by: &str, store: &str, email: &str) -> String {
    let body = json!({"email": email, "roles": ["view"]});
    let path = format!("/stores/{store}/invites");
    secret(&shop.call(by, "POST", &path, body).await.ok())
}

async fn log_in(shop: &Shop, email: &str, password: &str) -> u16 {
    let login = shop
        .http
        .post(format!("http://{}/hallmark/v1/login", shop.address))
        .body(json!({"email": email, "password": password}).to_string());
    answer(login).await.status
}

#[tokio::test]
async fn who_invites_an_address_and_accepts_in_its_place_is_known_in_that_store_only() {
    const CEO: &str = "ceo@acme.example";
    let shop = Shop::new().await;
    store(&shop, "kiosk").await;
    shop.person("mallory", &[], false).await;
    shop.role("mallory", "kiosk", &["admin"]).await;
    let text = invited(&shop, "mallory", "kiosk", CEO).await;
    open(&shop, "accept", json!({"token": text, "password": PASSWORD}))
        .await
        .ok();
    assert_eq!(log_in(&shop, CEO, PASSWORD).await, 201);

    // Nobody else takes the account for the person.
    let body = json!([{"email": CEO, "roles": ["admin"]}]);
    let api = shop.api("admin", "POST", "/api/v2/stores/acme/users", body).await;
    assert_eq!(api.refusal(), (400, "store-users-no-match"));
    for who in ["admin", "operator"] {
        let path = format!("/stores/acme/members/{CEO}");
        let put = shop.call(who, "PUT", &path, json!({"roles": ["admin"]})).await;
        assert_eq!(put.refusal(), (404, "resource-not-found"), "{who}");
    }
    let member = format!("{CEO}=administrator");
    let arguments = [
        "store",
        "create",
        "acme-two",
        "--name",
        "Two",
        "--parent",
        "acme",
        "--kind",
        "ecosystem",
        "--member",
        &member,
    ];
    assert_ne!(shop.run("admin", &arguments).await.status, 0);
    let body = json!({"name": "gizmo", "publisher": CEO});
    let register = shop.call("operator", "POST", "/snaps", body).await;
    assert_eq!(register.status, 404, "{register:?}");
    // Where it was invited, it is a member like others.
    let path = format!("/stores/kiosk/members/{CEO}");
    shop.call("admin", "PUT", &path, json!({"roles": ["view", "review"]}))
        .await
        .ok();

    // Invited elsewhere, it takes the password of the account besides: who holds the text need not hold the account.
    let text = invited(&shop, "admin", "acme", CEO).await;
    let offer = open(&shop, "show", json!({"token": text})).await.ok();
    assert_eq!(
        (&offer["has-account"], &offer["takes-password"]),
        (&json!(true), &json!(true))
    );
    let without = open(&shop, "accept", json!({"token": text})).await;
    assert_eq!(without.refusal(), (400, "password-required"));
    let wrong = open(
        &shop,
        "accept",
        json!({"token": text, "password": "the real one's password"}),
    )
    .await;
    assert_eq!(wrong.refusal(), (400, "invalid-credentials"));
    let right = open(&shop, "accept", json!({"token": text, "password": PASSWORD})).await;
    assert_eq!(right.ok()["store-id"], "acme");
    let path = format!("/stores/acme/members/{CEO}");
    shop.call("admin", "PUT", &path, json!({"roles": ["access"]}))
        .await
        .ok();
}

#[tokio::test]
async fn a_password_that_the_operator_set_proves_the_address_and_ends_what_was_before() {
    use hallmark::app::{InstanceCtx, login};
    use hallmark::domain::access::Token;
    use hallmark::ports::Key;
    const CEO: &str = "ceo@acme.example";
    let shop = Shop::new().await;
    let text = secret(&send(&shop, CEO, json!(["view"])).await.ok());
    open(&shop, "accept", json!({"token": text, "password": PASSWORD}))
        .await
        .ok();
    assert_eq!(log_in(&shop, CEO, PASSWORD).await, 201);
    let new = "handed over in person".to_owned();
    let account = login::reset_password(
        &shop.app,
        &InstanceCtx::local(),
        &CEO.parse().unwrap(),
        new.clone().into(),
    )
    .await
    .unwrap();
    assert!(!account.unproven);
    let tokens = shop.app.storage.all::<Token>(Key(Vec::new())).await.unwrap();
    assert!(tokens.iter().all(|found| found.record.account_id != account.id));
    assert_eq!(log_in(&shop, CEO, PASSWORD).await, 401);
    assert_eq!(log_in(&shop, CEO, &new).await, 201);
    store(&shop, "kiosk").await;
    let path = format!("/stores/kiosk/members/{CEO}");
    shop.call("admin", "PUT", &path, json!({"roles": ["admin"]}))
        .await
        .ok();
}

#[tokio::test]
async fn who_only_sees_a_snap_in_another_store_does_not_read_who_makes_it() {
    let shop = Shop::new().await;
    let hello = [snap_file("hello", "1", "")];
    shop.upload("pub", "release=edge", &hello).await.ok();
    store(&shop, "kiosk").await;
    shop.call("admin", "PUT", "/stores/kiosk/snaps/hello", Value::Null)
        .await
        .ok();
    shop.person("guest", &[], false).await;
    shop.role("guest", "kiosk", &["view"]).await;
    let path = "/v1/snap/hello/collaborators";
    let shown = shop.api("pub", "GET", path, Value::Null).await.ok();
    assert_eq!(shown["publisher"]["email"], "pub@people.example");
    let hidden = shop.api("guest", "GET", path, Value::Null).await;
    assert_eq!(hidden.refusal(), (404, "resource-not-found"));
    // Nor who helps, and how many revisions wait for a reviewer.
    shop.collaborate("hello", "pub2").await;
    let held = [snap_file("hello", "2", "plugs: {snapd-control: null}\n")];
    shop.upload("pub", "", &held).await.ok();
    let told = async |who: &str| {
        let shown = shop.call(who, "GET", "/snaps/hello", Value::Null).await.ok();
        (shown["collaborators"].clone(), shown["newest-revision"].clone())
    };
    assert_eq!(told("pub").await, (json!([Shop::account("pub2")]), json!(2)));
    assert_eq!(told("guest").await, (json!([]), json!(1)));
}

#[tokio::test]
async fn a_token_that_may_only_read_has_nothing_served_in_its_accounts_name() {
    let shop = Shop::new().await;
    shop.limited("pub", "reads", &["snap-read", "snap-read-all"])
        .await;
    shop.limited("pub", "vouches", &["own-vouch"]).await;
    for path in ["/api/v2/validation-sets", "/api/v2/confdb-schemas"] {
        let refused = shop.api("reads", "POST", path, json!({})).await;
        assert_eq!(refused.refusal(), (403, "macaroon-permission-required"), "{path}");
        let read = shop.api("vouches", "POST", path, json!({})).await;
        assert_eq!(read.status, 400, "{path} {read:?}");
        assert_eq!(
            shop.api("reads", "GET", path, Value::Null).await.status,
            200,
            "{path}"
        );
    }
}
