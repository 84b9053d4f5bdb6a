//! How many may be asked to help with a snap, and may help.

use hallmark::app::catalog::sharing::MAX_COLLABORATORS;
use hallmark::domain::catalog::ShareInvite;
use hallmark::ports::Key;
use serde_json::{Value, json};

use super::snapcraft::Client;
use crate::store::shop::{Answer, Shop};

const INVITES: &str = "/v1/snap/my-snap/collaborators/invites";

fn named(people: impl IntoIterator<Item = String>) -> Value {
    let invites: Vec<Value> = people
        .into_iter()
        .map(|who| json!({"email": format!("{who}@people.example")}))
        .collect();
    json!({ "invites": invites })
}

fn people(first: usize, count: usize) -> Value {
    named((first..first + count).map(|number| format!("p{number}")))
}

async fn kept(shop: &Shop) -> usize {
    let all = shop.app.storage.all::<ShareInvite>(Key(Vec::new())).await;
    all.unwrap().len()
}

#[tokio::test]
async fn no_more_are_asked_to_help_than_may() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let invite = async |body: Value| -> Answer { client.call("POST", INVITES, body).await };
    let asked = invite(named(["pub2".to_owned(), "view".to_owned()])).await.ok();
    invite(people(0, MAX_COLLABORATORS - 2)).await.ok();
    let answer = invite(people(1000, 1)).await;
    assert_eq!(answer.refusal(), (400, "too-many-collaborators"));
    // Who is asked anew is no one more; who is asked no more leaves room.
    invite(people(0, 1)).await.ok();
    client
        .call("POST", &format!("{INVITES}/revoke"), people(0, 1))
        .await;
    invite(people(1000, 1)).await.ok();
    // A snap that has all the help there may be.
    shop.change("my-snap", |snap| {
        for number in 0..MAX_COLLABORATORS - 1 {
            snap.collaborators
                .insert(format!("{number:032}").parse().unwrap());
        }
    })
    .await;
    let accept = async |who: &'static str, number: usize| {
        let body = json!({"token": asked["tokens"][number]["token"]});
        let path = format!("{INVITES}/accept");
        Client::new(&shop, who).call("POST", &path, body).await
    };
    assert_eq!(accept("pub2", 0).await.status, 204);
    assert_eq!(accept("view", 1).await.refusal(), (409, "too-many-collaborators"));
    assert_eq!(shop.snap("my-snap").await.collaborators.len(), MAX_COLLABORATORS);
}

#[tokio::test]
async fn invites_that_are_over_do_not_pile_up() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    for round in 0..5 {
        let asked = people(round * MAX_COLLABORATORS, MAX_COLLABORATORS);
        client.call("POST", INVITES, asked.clone()).await.ok();
        let gone = client.call("POST", &format!("{INVITES}/revoke"), asked).await;
        assert_eq!(gone.status, 204);
        assert!(
            kept(&shop).await <= 2 * MAX_COLLABORATORS,
            "{}",
            kept(&shop).await
        );
    }
    // The last ones are shown still.
    let listed = client.get(INVITES).await;
    assert!(listed["invites"].as_array().unwrap().len() >= MAX_COLLABORATORS);
}

/// The token of an invite that `pub` sends.
async fn ask(shop: &Shop, who: &str) -> String {
    let body = json!({"email": format!("{who}@people.example")});
    let sent = shop
        .call("pub", "POST", "/snaps/my-snap/invites", body)
        .await
        .ok();
    let (token, url) = (sent["token"].as_str().unwrap(), sent["url"].as_str().unwrap());
    assert!(
        url.ends_with(&format!("/account/snap-invite?text={token}")),
        "{url}"
    );
    token.to_owned()
}

async fn reply(shop: &Shop, who: &str, action: &str, token: &str) -> Answer {
    let path = format!("/snap-invites/{action}");
    shop.call(who, "POST", &path, json!({ "token": token })).await
}

#[tokio::test]
async fn only_who_is_asked_answers_and_once() {
    let shop = Shop::new().await;
    Client::new(&shop, "pub").register("my-snap").await;
    let token = ask(&shop, "view").await;
    for action in ["show", "accept", "reject"] {
        for (who, text) in [
            ("admin", token.as_str()),
            ("pub", &token),
            ("view", "x"),
            ("view", ""),
        ] {
            let answer = reply(&shop, who, action, text).await;
            assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who} {action}");
        }
    }
    assert_eq!(
        reply(&shop, "view", "show", &token).await.ok()["status"],
        "Pending"
    );
    // Asked anew, the token of before is void.
    let newer = ask(&shop, "view").await;
    assert_eq!(reply(&shop, "view", "accept", &token).await.status, 404);
    let done = reply(&shop, "view", "accept", &format!(" {newer}\n")).await.ok();
    assert_eq!(
        (&done["status"], &done["snap-name"]),
        (&json!("Accepted"), &json!("my-snap"))
    );
    assert_eq!(shop.snap("my-snap").await.collaborators.len(), 1);
    for action in ["show", "accept", "reject"] {
        let again = reply(&shop, "view", action, &newer).await;
        assert_eq!(again.refusal(), (409, "invite-over"), "{action}");
    }
    let revoke = "/snaps/my-snap/invites/View@people.example/revoke";
    let gone = shop.call("pub", "POST", revoke, Value::Null).await.ok();
    assert_eq!(gone["status"], "Revoked");
    assert_eq!(shop.snap("my-snap").await.collaborators.len(), 0);
    // Rejected, and too late.
    let token = ask(&shop, "view").await;
    assert_eq!(
        reply(&shop, "view", "reject", &token).await.ok()["status"],
        "Rejected"
    );
    let token = ask(&shop, "view").await;
    shop.clock.advance(30 * 86_400);
    assert_eq!(reply(&shop, "view", "show", &token).await.status, 409);
    assert_eq!(
        reply(&shop, "view", "accept", &token).await.refusal(),
        (409, "invite-over")
    );
    assert_eq!(shop.snap("my-snap").await.collaborators.len(), 0);
    // Who only helps invites nobody.
    shop.collaborate("my-snap", "pub2").await;
    let body = json!({"email": "view@people.example"});
    let refused = shop.call("pub2", "POST", "/snaps/my-snap/invites", body).await;
    assert!(refused.status == 403 || refused.status == 404, "{refused:?}");
    let log = shop.audited().await.join("\n");
    for action in [
        "snap.invite",
        "snap.invite-accept",
        "snap.invite-reject",
        "snap.invite-revoke",
    ] {
        assert!(log.contains(action), "{action}: {log}");
    }
    assert!(!log.contains(&token));
}
