//! Who one is, in the words of publisher clients, and what all their calls have in common.

use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use crate::office::{Answer, BRAND, OTHER, Office};

async fn get(office: &Office, path: &str, authorization: Option<&str>) -> Answer {
    office
        .call_with("GET", path, authorization, "", [192, 0, 2, 1].into())
        .await
}

/// The words an older client checks the answer against; null or a list with something in it.
const KNOWN: &[&str] = &[
    "edit_account",
    "modify_account_key",
    "package_access",
    "package_manage",
    "package_metrics",
    "package_purchase",
    "package_push",
    "package_register",
    "package_release",
    "package_update",
    "package_upload",
    "package_upload_request",
    "store_admin",
    "store_review",
];

#[tokio::test]
async fn whoami_has_what_clients_read_and_nothing_they_choke_on() {
    let office = Office::new().await;
    let account = office.account("access@acme.example").await;
    let whole = office.token("access@acme.example").await;
    let limited = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        office.token_with("access@acme.example", |token| token.permissions = Some(names))
    };
    let releasing = limited(&["snap-read", "snap-release"]).await;
    let nothing = limited(&[]).await;
    let reading = json!(["package_access"]);
    let releases = json!(["package_access", "package_release"]);
    for (token, permissions) in [(whole, Value::Null), (releasing, releases), (nothing, reading)] {
        let token = format!("Macaroon {token}");
        let answer = get(&office, "/api/v2/tokens/whoami", Some(&token)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(
            answer.body,
            json!({
                "account": {
                    "email": "access@acme.example", "id": account.id, "username": account.username,
                    "name": account.display_name, "display-name": account.display_name,
                },
                "channels": null, "packages": null, "store-ids": null, "permissions": permissions,
                "expires": "2026-06-01T01:00:00", "errors": [],
            })
        );
        for word in answer.body["permissions"].as_array().into_iter().flatten() {
            assert!(KNOWN.contains(&word.as_str().unwrap()), "{word}");
        }
    }
}

#[tokio::test]
async fn the_gateway_tells_rights_in_brands() {
    let office = Office::new().await;
    office.add_account("all@acme.example", |_| ()).await;
    for (email, brand, expected) in [
        ("admin@acme.example", BRAND, true),
        ("access@acme.example", BRAND, false),
        ("all@globex.example", OTHER, true),
        ("all@globex.example", BRAND, false),
    ] {
        let token = format!("macaroon root=\"{}\"", office.token(email).await);
        let answer = get(&office, "/publishergw/v1/tokens/whoami/", Some(&token)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let words = &answer.body["brand-permissions"][brand];
        let reads = words
            .as_array()
            .is_some_and(|words| words.contains(&json!("read-serial-log")));
        assert_eq!(reads, expected, "{email} {brand} {words}");
    }
    let limited = office
        .token_with("admin@acme.example", |token| {
            token.permissions = Some(vec!["snap-release".to_owned()]);
        })
        .await;
    let answer = get(&office, "/v1/tokens/whoami", Some(&format!("Bearer {limited}"))).await;
    assert_eq!(answer.body["brand-permissions"], json!({}));
    assert_eq!(answer.body["permissions"], json!(["package-manage-releases"]));
}

#[tokio::test]
async fn every_failure_is_an_object_with_both_lists() {
    let office = Office::new().await;
    let token = office.token("view@acme.example").await;
    let token = format!("Bearer {token}");
    for (method, path, authorization, status, code) in [
        ("GET", "/api/v2/tokens/whoami", None, 401, "login-required"),
        (
            "GET",
            "/v1/tokens/whoami",
            Some("Macaroon root=abc"),
            401,
            "invalid-token",
        ),
        (
            "GET",
            "/v1/tokens/whoami",
            Some("Basic YTpi"),
            401,
            "invalid-token",
        ),
        ("DELETE", "/api/v2/tokens/whoami", None, 405, "method-not-allowed"),
        (
            "POST",
            "/publishergw/api/v2/tokens/whoami/",
            None,
            405,
            "method-not-allowed",
        ),
        (
            "POST",
            "/dev/api/no-such-thing/",
            Some(&*token),
            404,
            "resource-not-found",
        ),
        ("GET", "/publishergw", None, 404, "resource-not-found"),
        (
            "GET",
            "/publishergw/hallmark/v1/whoami",
            Some(&*token),
            404,
            "resource-not-found",
        ),
        ("GET", "/v1/snap/x/y/z", None, 404, "resource-not-found"),
    ] {
        let answer = office
            .call_with(method, path, authorization, "", [192, 0, 2, 1].into())
            .await;
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {path}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.body["error_list"], answer.body["error-list"]);
        assert_eq!(answer.body["error_list"][0]["extra"], json!({}));
        assert_eq!(answer.headers.contains_key(WWW_AUTHENTICATE), status == 401);
    }
}

#[tokio::test]
async fn unknown_queries_are_let_pass_and_the_device_store_answers_behind_the_gateway_too() {
    let office = Office::new().await;
    let token = format!("Bearer {}", office.token("view@acme.example").await);
    let answer = get(
        &office,
        "/v1/tokens/whoami?later=1&brand=nosuchbrand",
        Some(&token),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = get(&office, "/publishergw/v2/snaps/info/nothing", Some(&token)).await;
    assert_eq!((answer.status, answer.code()), (404, "resource-not-found"));
    assert!(answer.headers.contains_key("snap-store-version"));
}
