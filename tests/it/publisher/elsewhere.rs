//! What is of another brand, named in a path or body: it answers like what is not there, and nothing is changed.

use hallmark::domain::access::{Membership, StoreInvite, StoreRecord, Token};
use hallmark::domain::catalog::{Inclusion, SnapRecord};
use hallmark::domain::vault::{ModelRecord, RemodelRule, SigningKey};
use hallmark::ports::{Key, Record};
use serde_json::{Value, json};

use crate::store::shop::Shop;

/// Who calls, how, where, with which body. `STORE`, `SNAP`, `SID` and `MODEL` stand for something of another brand, or
/// for something that nobody has.
const CALLS: &[(&str, &str, &str, &str)] = &[
    // Stores.
    (
        "admin",
        "POST",
        "/hallmark/v1/stores",
        r#"{"id": "new", "name": "x", "parent": "STORE"}"#,
    ),
    (
        "admin",
        "POST",
        "/hallmark/v1/stores",
        r#"{"id": "new", "name": "x", "parent": "acme", "allowed-inclusion-source-stores": ["STORE"]}"#,
    ),
    (
        "admin",
        "PUT",
        "/hallmark/v1/stores/kiosk",
        r#"{"store-whitelist": ["STORE"]}"#,
    ),
    (
        "admin",
        "PUT",
        "/hallmark/v1/stores/kiosk",
        r#"{"allowed-inclusion-source-stores": ["STORE"]}"#,
    ),
    ("admin", "PUT", "/hallmark/v1/stores/STORE", r#"{"name": "mine"}"#),
    ("admin", "GET", "/hallmark/v1/stores/STORE/members", ""),
    (
        "admin",
        "PUT",
        "/hallmark/v1/stores/STORE/members/admin@people.example",
        r#"{"roles": ["admin"]}"#,
    ),
    ("admin", "GET", "/api/v2/stores/STORE", ""),
    (
        "admin",
        "PUT",
        "/api/v2/stores/STORE/settings",
        r#"{"private": true}"#,
    ),
    (
        "admin",
        "POST",
        "/api/v2/stores/STORE/users",
        r#"[{"email": "admin@people.example", "roles": ["admin"]}]"#,
    ),
    (
        "admin",
        "POST",
        "/api/v2/stores/STORE/invites",
        r#"[{"email": "new@people.example", "roles": ["admin"]}]"#,
    ),
    (
        "admin",
        "POST",
        "/api/v2/stores/STORE/snaps",
        r#"{"add": [{"name": "gizmo"}]}"#,
    ),
    (
        "admin",
        "GET",
        "/api/v2/stores/acme/snaps?allowed-for-inclusion=STORE",
        "",
    ),
    ("rev", "GET", "/hallmark/v1/stores/STORE/reviews", ""),
    // Names and snaps.
    (
        "pub",
        "POST",
        "/hallmark/v1/snaps",
        r#"{"name": "mine", "store": "STORE"}"#,
    ),
    (
        "pub",
        "POST",
        "/dev/api/register-name/",
        r#"{"snap_name": "mine", "store": "STORE"}"#,
    ),
    ("pub", "POST", "/v1/snap", r#"{"name": "mine", "store": "STORE"}"#),
    ("admin", "PUT", "/hallmark/v1/stores/kiosk/snaps/SNAP", ""),
    (
        "admin",
        "POST",
        "/api/v2/stores/kiosk/snaps",
        r#"{"add": [{"name": "gizmo"}, {"name": "SNAP"}]}"#,
    ),
    (
        "pub",
        "POST",
        "/dev/api/snap-push/",
        r#"{"name": "SNAP", "dry_run": true}"#,
    ),
    (
        "pub",
        "POST",
        "/dev/api/snap-push/",
        r#"{"name": "SNAP", "updown_id": "x"}"#,
    ),
    (
        "pub",
        "POST",
        "/dev/api/snap-release/",
        r#"{"name": "SNAP", "revision": "1", "channels": ["edge"]}"#,
    ),
    (
        "pub",
        "POST",
        "/v1/snap/SNAP/releases",
        r#"[{"revision": 1, "channel": "edge"}]"#,
    ),
    ("pub", "PATCH", "/v1/snap/SNAP", r#"{"title": "Mine"}"#),
    ("pub", "DELETE", "/v1/snap/SNAP", ""),
    ("pub", "GET", "/v1/snap/SNAP/collaborators", ""),
    (
        "pub",
        "POST",
        "/dev/api/snaps/SID/close",
        r#"{"channels": ["edge"]}"#,
    ),
    (
        "pub",
        "PUT",
        "/dev/api/snaps/SID/metadata",
        r#"{"title": "Mine"}"#,
    ),
    (
        "pub",
        "POST",
        "/dev/api/snaps/metrics",
        r#"{"filters": [{"snap_id": "SID", "metric_name": "daily_device_change", "start": "2026-01-01",
            "end": "2026-01-02"}]}"#,
    ),
    (
        "rev",
        "PUT",
        "/hallmark/v1/snaps/SNAP/declaration",
        r#"{"text": "aliases: []"}"#,
    ),
    (
        "rev",
        "POST",
        "/hallmark/v1/snaps/SNAP/grants",
        r#"{"side": "plugs", "interface": "camera", "attribute": "auto-connection", "state": "enabled"}"#,
    ),
    (
        "rev",
        "POST",
        "/hallmark/v1/snaps/gizmo/grants",
        r#"{"side": "plugs", "interface": "camera", "attribute": "auto-connection", "state": "enabled",
            "on-store": ["STORE"]}"#,
    ),
    (
        "rev",
        "POST",
        "/hallmark/v1/snaps/SNAP/revisions/1/review",
        r#"{"action": "approve"}"#,
    ),
    // The vault and tokens.
    (
        "admin",
        "POST",
        "/v1/brand/STORE/model",
        r#"{"name": "mine", "series": "16"}"#,
    ),
    (
        "admin",
        "POST",
        "/v1/brand/STORE/signing_key",
        r#"{"name": "mine"}"#,
    ),
    ("admin", "PATCH", "/v1/brand/STORE", r#"{"name": "Mine"}"#),
    (
        "admin",
        "POST",
        "/v1/brand/acme/remodel-allowlist",
        r#"{"allowlist": [{"from-model": "gate", "to-model": "MODEL", "from-serial": null}]}"#,
    ),
    ("admin", "GET", "/hallmark/v1/models/MODEL?brand=acme", ""),
    ("admin", "GET", "/hallmark/v1/audit?brand=STORE", ""),
    (
        "admin",
        "POST",
        "/hallmark/v1/models?brand=STORE",
        r#"{"name": "mine"}"#,
    ),
    (
        "brand",
        "POST",
        "/hallmark/v1/keys?brand=STORE",
        r#"{"name": "mine", "purposes": ["serial"]}"#,
    ),
    (
        "admin",
        "POST",
        "/hallmark/v1/tokens",
        r#"{"for": "ci", "brand-id": "STORE"}"#,
    ),
    (
        "pub",
        "POST",
        "/api/v2/validation-sets/build-assertion",
        r#"{"account-id": "STORE", "name": "set", "sequence": 1, "snaps": [{"name": "gizmo"}]}"#,
    ),
];

/// All that is kept of these kinds, and how long the audit log is.
async fn kept(shop: &Shop) -> Vec<String> {
    async fn of<R: Record + std::fmt::Debug>(shop: &Shop) -> String {
        let all = shop.app.storage.all::<R>(Key(Vec::new())).await.unwrap();
        format!("{:?}", all.iter().map(|found| &found.record).collect::<Vec<_>>())
    }
    vec![
        of::<StoreRecord>(shop).await,
        of::<Membership>(shop).await,
        of::<StoreInvite>(shop).await,
        of::<Token>(shop).await,
        of::<SnapRecord>(shop).await,
        of::<Inclusion>(shop).await,
        of::<ModelRecord>(shop).await,
        of::<RemodelRule>(shop).await,
        of::<SigningKey>(shop).await,
        shop.audited().await.len().to_string(),
    ]
}

#[tokio::test]
async fn what_is_of_another_brand_answers_like_what_is_not_there_and_stays_as_it_is() {
    let shop = Shop::new().await;
    shop.call(
        "admin",
        "POST",
        "/stores",
        json!({"id": "kiosk", "name": "Kiosks", "parent": "acme"}),
    )
    .await
    .ok();
    shop.call("admin", "POST", "/models", json!({"name": "gate"}))
        .await
        .ok();
    shop.call("pub", "POST", "/snaps", json!({"name": "gizmo"}))
        .await
        .ok();
    shop.call("operator", "POST", "/brands", json!({"id": "globex"}))
        .await
        .ok();
    let theirs = json!({"name": "theirs", "publisher": "globex", "private": true});
    shop.call("operator", "POST", "/snaps?brand=globex", theirs)
        .await
        .ok();
    shop.call(
        "operator",
        "POST",
        "/models?brand=globex",
        json!({"name": "their-gate"}),
    )
    .await
    .ok();
    let id = shop.snap("theirs").await.id.to_string();
    let there = [
        ("STORE", "globex"),
        ("SNAP", "theirs"),
        ("SID", &id),
        ("MODEL", "their-gate"),
    ];
    let nowhere = [
        ("STORE", "nosuchone"),
        ("SNAP", "no-such"),
        ("SID", "nOsUcHsNaP0000000000000000000000"),
        ("MODEL", "no-gate"),
    ];
    let before = kept(&shop).await;
    let mut wrong = Vec::new();
    for (who, method, path, body) in CALLS {
        let mut answers = Vec::new();
        for names in [&there, &nowhere] {
            let named = |text: &str| {
                names
                    .iter()
                    .fold(text.to_owned(), |text, (word, name)| text.replace(word, name))
            };
            let body = serde_json::from_str(&named(body)).unwrap_or(Value::Null);
            let answer = shop.api(who, method, &named(path), body).await;
            let text = names.iter().fold(answer.body.to_string(), |text, (word, name)| {
                text.replace(name, word)
            });
            let coded = !answer.code().is_empty() && (400..500).contains(&answer.status);
            answers.push((coded, answer.status, text));
        }
        if answers[0] != answers[1] || !answers[0].0 {
            wrong.push(format!("{who} {method} {path} {body}: {answers:?}"));
        }
        if kept(&shop).await != before {
            wrong.push(format!("{who} {method} {path} {body}: something was changed"));
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
