//! What tokens are limited to is enforced, and told apart from what is not there only where clients know the word.

use serde_json::{Value, json};

use super::client::{logged_in, with, with_password};
use crate::office::{BRAND, Office};

const WHO: &str = "jo@acme.example";
const THING: &str = "tHiNg000000000000000000000000000";

async fn office() -> Office {
    let office = Office::new().await;
    with_password(&office, WHO).await;
    office
        .add_member(BRAND, WHO, &[hallmark::domain::access::Role::Access])
        .await;
    office.add_snap(BRAND, "thing", THING, WHO, &[]).await;
    office
}

/// Status and code of closing a channel of the snap.
async fn close(office: &Office, authorization: &str, channel: &str) -> (u16, String) {
    let path = format!("/hallmark/v1/snaps/thing/close?brand={BRAND}");
    let answer = with(office, "POST", &path, authorization, json!({"channel": channel})).await;
    (answer.status, answer.code().to_owned())
}

#[tokio::test]
async fn snaps_channels_and_stores_of_a_log_in_are_enforced() {
    let office = office().await;
    let releasing = |limits: Value| {
        let mut body = json!({"permissions": ["package_access", "package_release"]});
        for (name, value) in limits.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let absent = (404, "resource-not-found".to_owned());
    let closed = (409, "channel-closed".to_owned());
    for (limits, edge, stable) in [
        (json!({}), &closed, &closed),
        (
            json!({"packages": [{"name": "thing"}, {"name": "later"}]}),
            &closed,
            &closed,
        ),
        (json!({"packages": [{"name": "other"}]}), &absent, &absent),
        (json!({"channels": ["edge"]}), &closed, &absent),
        (json!({"channels": ["latest/*"]}), &closed, &closed),
        (json!({"channels": ["2.*/edge"]}), &absent, &absent),
        (json!({"store_ids": [BRAND]}), &closed, &closed),
        (json!({"store_ids": ["elsewhere"]}), &absent, &absent),
        (json!({"permissions": ["package_access"]}), &absent, &absent),
    ] {
        let header = logged_in(&office, WHO, releasing(limits.clone())).await;
        assert_eq!(close(&office, &header, "edge").await, *edge, "{limits}");
        assert_eq!(
            close(&office, &header, "latest/stable").await,
            *stable,
            "{limits}"
        );
    }
}

#[tokio::test]
async fn a_token_for_snaps_is_for_nothing_else() {
    let office = office().await;
    office
        .add_member("globex", WHO, hallmark::domain::access::Role::ALL)
        .await;
    let models = "/hallmark/v1/models?brand=globex";
    for (limits, status) in [
        (json!({"permissions": ["store_admin"]}), 200),
        (
            json!({"permissions": ["store_admin"], "packages": [{"name": "thing"}]}),
            404,
        ),
        (json!({"permissions": ["store_admin"], "channels": ["*"]}), 404),
        (
            json!({"permissions": ["store_admin"], "store_ids": ["globex"]}),
            200,
        ),
        (json!({"permissions": ["store_admin"], "store_ids": [BRAND]}), 404),
        (json!({"permissions": ["store_review"]}), 404),
    ] {
        let header = logged_in(&office, WHO, limits.clone()).await;
        let answer = with(&office, "GET", models, &header, Value::Null).await;
        assert_eq!(answer.status, status, "{limits} {}", answer.body);
    }
}

#[tokio::test]
async fn names_that_a_token_is_not_for_are_not_registered() {
    let office = office().await;
    let header = logged_in(
        &office,
        WHO,
        json!({"permissions": ["package_register"], "packages": [{"name": "later"}]}),
    )
    .await;
    let path = format!("/hallmark/v1/snaps?brand={BRAND}");
    let answer = with(&office, "POST", &path, &header, json!({"name": "other"})).await;
    assert_eq!(
        (answer.status, answer.code()),
        (404, "resource-not-found"),
        "{}",
        answer.body
    );
    // This instance has no keys: the name is let pass and fails at the signature.
    let answer = with(&office, "POST", &path, &header, json!({"name": "later"})).await;
    assert!(
        answer.body.to_string().contains("hallmark init"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn limits_of_tokens_for_programs_are_kept_and_shown() {
    let office = office().await;
    let person = format!("Bearer {}", office.token(WHO).await);
    let body = json!({"for": "ci", "packages": ["thing"], "channels": ["edge"], "store-ids": [BRAND]});
    let answer = with(&office, "POST", "/hallmark/v1/tokens", &person, body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["packages"], json!(["thing"]));
    let token = format!("Macaroon {}", answer.body["token"].as_str().unwrap());
    assert_eq!(close(&office, &token, "edge").await.0, 409);
    assert_eq!(close(&office, &token, "beta").await.0, 404);
    let whoami = with(&office, "GET", "/v1/tokens/whoami", &token, Value::Null).await;
    assert_eq!(whoami.body["channels"], json!(["edge"]));
    assert_eq!(whoami.body["store-ids"], json!([BRAND]));
    for bad in [
        json!({"for": "ci", "channels": ["a b"]}),
        json!({"for": "ci", "packages": ["-"]}),
        json!({"for": "ci", "packages": []}),
        json!({"for": "ci", "channels": []}),
    ] {
        let answer = with(&office, "POST", "/hallmark/v1/tokens", &person, bad.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid-request"), "{bad}");
    }
}
