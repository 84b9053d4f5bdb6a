//! What a publisher client does with macaroons (publisher-api.md 3.1): finds the caveat, has it discharged, binds.

use libmacaroon::{Caveat, Format, Macaroon};
use serde_json::{Value, json};

use crate::office::{Answer, Office};

/// The password of everybody who has one.
pub const PASSWORD: &str = "correct horse battery";

/// Gives an account the password.
pub async fn with_password(office: &Office, email: &str) {
    let hash = office
        .app
        .guard
        .passwords
        .hash(PASSWORD.to_owned().into(), office.app.entropy.as_ref())
        .await
        .unwrap();
    office
        .add_account(email, |account| account.password = Some(hash))
        .await;
}

/// A call without credentials.
pub async fn post(office: &Office, path: &str, body: Value) -> Answer {
    office.call("POST", path, None, body).await
}

/// A call with an `Authorization` header.
pub async fn with(office: &Office, method: &str, path: &str, authorization: &str, body: Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    office
        .call_with(method, path, Some(authorization), &body, [192, 0, 2, 1].into())
        .await
}

/// A root macaroon for `body`.
pub async fn root(office: &Office, body: Value) -> String {
    let answer = post(office, "/dev/api/acl/", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["macaroon"].as_str().unwrap().to_owned()
}

/// Location and id of the third-party caveat.
pub fn caveat(root: &str) -> (String, String) {
    let root = Macaroon::deserialize(root).unwrap();
    let third: Vec<_> = root
        .caveats()
        .iter()
        .filter_map(|caveat| match caveat {
            Caveat::ThirdParty(third) => Some(third),
            Caveat::FirstParty(_) => None,
        })
        .collect();
    assert_eq!(third.len(), 1, "clients want exactly one");
    let id = String::from_utf8(third[0].id().to_vec()).unwrap();
    (third[0].location().to_owned(), id)
}

/// The answer to a log-in that discharges `root`.
pub async fn discharge(office: &Office, root: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password, "caveat_id": caveat(root).1});
    post(office, "/api/v2/tokens/discharge", body).await
}

/// A discharge of `root`.
pub async fn discharged(office: &Office, root: &str, email: &str, password: &str) -> String {
    let answer = discharge(office, root, email, password).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["discharge_macaroon"].as_str().unwrap().to_owned()
}

pub fn text(macaroon: &Macaroon) -> String {
    macaroon
        .serialize(Format::V1)
        .unwrap()
        .trim_end_matches('=')
        .to_owned()
}

/// `discharge` bound to `root`.
pub fn bound(root: &str, discharge: &str) -> String {
    let root = Macaroon::deserialize(root).unwrap();
    let mut discharge = Macaroon::deserialize(discharge).unwrap();
    root.bind(&mut discharge);
    text(&discharge)
}

/// With one more first-party caveat, as any holder can add.
pub fn narrowed(macaroon: &str, predicate: &str) -> String {
    let mut macaroon = Macaroon::deserialize(macaroon).unwrap();
    macaroon.add_first_party_caveat(predicate).unwrap();
    text(&macaroon)
}

/// The header of a client that logged in.
pub fn header(root: &str, discharge: &str) -> String {
    format!("Macaroon root={root}, discharge={}", bound(root, discharge))
}

/// The header after a whole log-in for `body`.
pub async fn logged_in(office: &Office, email: &str, body: Value) -> String {
    let root = root(office, body).await;
    let discharge = discharged(office, &root, email, PASSWORD).await;
    header(&root, &discharge)
}

pub async fn whoami(office: &Office, authorization: &str) -> Answer {
    with(office, "GET", "/api/v2/tokens/whoami", authorization, Value::Null).await
}
