//! Whatever people may write anywhere, every page that anybody can come to shows it as text.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::browser::Browser;
use crate::store::shop::{Shop, snap_file};

/// Ends attributes and tags, whatever it stands in.
const EVIL: &str = "\"'><img src=x onerror=alert(1)><b>&";
/// What must not be in a page.
const RAW: [&str; 2] = ["<img src=x", "<b>"];
const ESCAPED: &str = "&lt;b&gt;";
const PEOPLE: [&str; 7] = ["operator", "admin", "pub", "rev", "view", "brand", "partner"];

/// A shop in which everything that may hold any text holds harmful text.
async fn scribbled() -> Shop {
    let shop = Shop::new().await;
    shop.person("partner", &[], false).await;
    let yaml = "title: '<img src=x><b>'\nlicense: MIT\nwebsite: 'https://x.example/<b>'\n\
                links: {donation: ['https://x.example/<b>']}\n\
                plugs:\n  files: {interface: system-files, read: ['/etc/<img src=x onerror=a><b>'], '<b>': '<b>'}\n\
                \x20 shared: {interface: content, content: '<b>', target: '$SNAP/<b>'}\n";
    let call = async |who: &str, method: &str, path: &str, body: Value| {
        let answer = shop.api(who, method, path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.body
    };
    let native = |path: &str| format!("/hallmark/v1{path}");
    let dispute = json!({"snap_name": "scribble", "comment": EVIL});
    let remodel = json!({"allowlist": [
        {"from-model": "gate", "to-model": "gate-2", "from-serial": EVIL, "description": EVIL},
    ]});
    let listing = json!({
        "title": EVIL, "summary": EVIL, "description": EVIL, "license": EVIL,
        "website": format!("https://x.example/{EVIL}"), "contact": format!("mailto:{EVIL}"),
    });
    let view = json!({
        "id": "kiosk", "name": EVIL, "parent": "acme", "members": {"partner@people.example": ["admin", "review"]},
    });
    for (who, method, path, body) in [
        (
            "operator",
            "POST",
            "/accounts",
            json!({"email": "<b>@people.example", "display-name": EVIL}),
        ),
        ("admin", "PUT", "/stores/acme", json!({"name": EVIL})),
        ("admin", "POST", "/stores", view),
        (
            "admin",
            "PUT",
            "/stores/kiosk/members/%3Cb%3E@people.example",
            json!({"roles": ["view"]}),
        ),
        (
            "admin",
            "POST",
            "/stores/kiosk/invites",
            json!({"email": "<b>2@people.example", "roles": ["view"]}),
        ),
        (
            "admin",
            "POST",
            "/tokens",
            json!({"for": "ci", "description": EVIL}),
        ),
        ("admin", "POST", "/models", json!({"name": "gate"})),
        ("admin", "POST", "/models", json!({"name": "gate-2"})),
        ("pub", "POST", "/snaps", json!({"name": "scribble"})),
        (
            "admin",
            "PUT",
            "/snaps/scribble/guardrails",
            json!({"patterns": ["<b>.*"]}),
        ),
    ] {
        call(who, method, &native(path), body).await;
    }
    call("admin", "PATCH", "/v1/brand/acme", json!({"name": EVIL})).await;
    call("admin", "POST", "/v1/brand/acme/remodel-allowlist", remodel).await;
    call("pub2", "POST", "/dev/api/register-name-dispute/", dispute).await;
    let first = snap_file("scribble", "1", "");
    shop.upload("pub", "release=edge", &[first]).await.ok();
    for version in ["2", "3"] {
        shop.upload("pub", "", &[snap_file("scribble", version, yaml)])
            .await
            .ok();
    }
    let review = |number: u64| native(&format!("/snaps/scribble/revisions/{number}/review"));
    let say = |action: &str| json!({"action": action, "comment": EVIL});
    call("rev", "POST", &review(2), say("ask-information")).await;
    call(
        "pub",
        "POST",
        &format!("{}/answer", review(2)),
        json!({"comment": EVIL}),
    )
    .await;
    call("rev", "POST", &review(2), say("reject")).await;
    let grant = json!({
        "side": "plugs", "interface": "system-files", "attribute": "installation", "state": "enabled",
        "comment": EVIL,
    });
    call("rev", "POST", &native("/snaps/scribble/grants"), grant).await;
    let id = shop.snap("scribble").await.id;
    let texts = format!("/dev/api/snaps/{id}/metadata");
    call("pub", "PUT", &texts, listing).await;
    call(
        "pub",
        "POST",
        "/v1/snap/scribble/collaborators/invites",
        json!({"invites": [{"email": "<b>3@people.example"}]}),
    )
    .await;
    call(
        "admin",
        "PUT",
        &native("/stores/kiosk/snaps/scribble"),
        Value::Null,
    )
    .await;
    let issued = super::vault::issued(&shop, EVIL);
    shop.app.storage.load(vec![issued]).await.unwrap();
    shop
}

#[tokio::test]
async fn every_page_shows_what_anybody_wrote_as_text() {
    let shop = scribbled().await;
    let link = regex::Regex::new(r#"<a [^>]*href="(/[^"]*)""#).unwrap();
    let odd =
        regex::Regex::new(r#"(?i)(href|src|action|formaction)="\s*(javascript|data|vbscript):"#).unwrap();
    let (mut pages, mut with) = (BTreeSet::new(), BTreeSet::new());
    for who in PEOPLE {
        let browser = Browser::of(&shop, who);
        let (mut known, mut open) = (BTreeSet::new(), vec!["/start".to_owned()]);
        while let Some(path) = open.pop() {
            if !known.insert(path.clone()) {
                continue;
            }
            assert!(known.len() < 500, "{who} finds no end");
            let seen = browser.get(&path).await;
            assert_eq!(seen.status, 200, "{who} {path}");
            for raw in RAW {
                assert!(!seen.text.contains(raw), "{who} {path}: {raw} {seen:?}");
            }
            assert!(!odd.is_match(&seen.text), "{who} {path}: {seen:?}");
            let kind = path.split('?').next().unwrap_or_default().to_owned();
            if seen.text.contains(ESCAPED) {
                with.insert(kind.clone());
            }
            pages.insert(kind);
            open.extend(
                link.captures_iter(&seen.text)
                    .map(|found| found[1].replace("&amp;", "&").replace("&#39;", "'")),
            );
        }
    }
    // The names of brand and stores are on most pages, the rest on its own.
    for page in [
        "/accounts",
        "/account/tokens",
        "/brands/acme",
        "/brands/acme/audit",
        "/brands/acme/devices",
        "/brands/acme/serials",
        "/brands/acme/snaps",
        "/brands/acme/snaps/scribble",
        "/brands/acme/snaps/scribble/grants",
        "/brands/acme/snaps/scribble/revisions/2",
        "/brands/acme/snaps/scribble/revisions/3",
        "/brands/acme/stores",
        "/brands/acme/stores/kiosk",
        "/brands/acme/stores/kiosk/members",
    ] {
        assert!(with.contains(page), "{page} is not in {with:?}, {pages:?}");
    }
    assert!(pages.len() > 25, "{pages:?}");
}
