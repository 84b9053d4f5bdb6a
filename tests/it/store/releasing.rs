//! Releases, tracks, listings and declarations.

use hallmark::domain::assertion::AssertionType as T;
use hallmark::domain::snap::Confinement;
use serde_json::{Value, json};

use super::shop::*;

async fn gizmo() -> Shop {
    let shop = Shop::new().await;
    shop.call("pub", "POST", "/snaps", json!({"name": "gizmo"}))
        .await
        .ok();
    shop
}

async fn release(shop: &Shop, who: &str, body: Value) -> Answer {
    shop.call(who, "POST", "/snaps/gizmo/releases", body).await
}

/// Channel, architecture and revision of what is open.
fn open(snap: &Value) -> Vec<String> {
    let rows = snap["channels"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            format!("{} {} {}", text("channel"), text("architecture"), row["revision"])
        })
        .collect()
}

#[tokio::test]
async fn revisions_are_released_closed_and_expire() {
    let shop = gizmo().await;
    for number in 1..=3 {
        shop.revise("gizmo", |revision| {
            if number == 3 {
                revision.confinement = Confinement::Devmode;
                revision.architectures = ["arm64".parse().unwrap(), "amd64".parse().unwrap()].into();
            }
        })
        .await;
    }
    release(
        &shop,
        "pub",
        json!({"revision": 1, "channels": ["stable", "latest/beta"]}),
    )
    .await
    .ok();
    let shown = release(
        &shop,
        "pub",
        json!({"revision": 3, "channels": ["edge", "beta/fix"]}),
    )
    .await
    .ok();
    assert_eq!(
        open(&shown),
        [
            "latest/stable amd64 1",
            "latest/beta amd64 1",
            "latest/beta/fix amd64 3",
            "latest/beta/fix arm64 3",
            "latest/edge amd64 3",
            "latest/edge arm64 3",
        ]
    );
    let part = release(
        &shop,
        "pub",
        json!({"revision": 2, "channels": ["stable"], "percentage": 25}),
    )
    .await
    .ok();
    assert_eq!(
        (
            &part["channels"][0]["percentage"],
            &part["channels"][0]["otherwise"]
        ),
        (&json!(25.0), &json!(1))
    );
    for (body, refusal) in [
        (
            json!({"revision": 9, "channels": ["stable"]}),
            (404, "resource-not-found"),
        ),
        (
            json!({"revision": 3, "channels": ["edge", "stable"]}),
            (409, "release-refused"),
        ),
        (
            json!({"revision": 1, "channels": ["2.0/stable"]}),
            (400, "no-such-track"),
        ),
        (json!({"revision": 1, "channels": []}), (400, "channel-required")),
        (
            json!({"revision": 1, "channels": ["a/b/c/d"]}),
            (400, "invalid-request"),
        ),
        (
            json!({"revision": 1, "channels": ["stable"], "percentage": 0}),
            (400, "invalid-percentage"),
        ),
    ] {
        let answer = release(&shop, "pub", body.clone()).await;
        assert_eq!(answer.refusal(), refusal, "{body}");
    }
    let now = shop.call("pub", "GET", "/snaps/gizmo", Value::Null).await.ok();
    assert_eq!(
        now["channels"], part["channels"],
        "a refused release changes nothing"
    );
    // Others do not release it, and do not learn that it is there.
    for who in ["pub2", "admin", "view", "rev"] {
        let answer = release(&shop, who, json!({"revision": 1, "channels": ["stable"]})).await;
        assert_eq!(answer.status, 404, "{who}");
    }
    release(
        &shop,
        "operator",
        json!({"revision": 1, "channels": ["candidate"]}),
    )
    .await
    .ok();

    let close = async |body: Value| shop.call("pub", "POST", "/snaps/gizmo/close", body).await;
    let closed = close(json!({"channel": "edge", "architectures": ["arm64"]}))
        .await
        .ok();
    assert!(open(&closed).contains(&"latest/edge amd64 3".to_owned()));
    close(json!({"channel": "edge"})).await.ok();
    assert_eq!(
        close(json!({"channel": "edge"})).await.refusal(),
        (409, "channel-closed")
    );

    shop.clock.advance(31 * 24 * 3600);
    let later = shop.call("pub", "GET", "/snaps/gizmo", Value::Null).await.ok();
    assert!(!open(&later).iter().any(|row| row.contains("/fix")), "{later}");
    assert!(
        shop.snap("gizmo")
            .await
            .releases
            .open
            .iter()
            .any(|open| open.channel.branch.is_some())
    );
    hallmark::app::upkeep(shop.app.clone(), std::future::ready(())).await;
    assert!(
        !shop
            .snap("gizmo")
            .await
            .releases
            .open
            .iter()
            .any(|open| open.channel.branch.is_some())
    );
}

#[tokio::test]
async fn tracks_are_made_within_guardrails() {
    let shop = gizmo().await;
    let track = async |who: &str, method: &str, track: &str| {
        shop.call(who, method, &format!("/snaps/gizmo/tracks/{track}"), Value::Null)
            .await
    };
    assert_eq!(track("pub", "PUT", "2.0").await.refusal(), (409, "track-refused"));
    let guard = async |who: &str, patterns: Value| {
        shop.call(
            who,
            "PUT",
            "/snaps/gizmo/guardrails",
            json!({"patterns": patterns}),
        )
        .await
    };
    assert_eq!(guard("pub", json!([r"\d+"])).await.status, 404);
    assert_eq!(
        guard("admin", json!(["("])).await.refusal(),
        (400, "invalid-pattern")
    );
    guard("admin", json!([r"[0-9]+\.[0-9]+"])).await.ok();
    assert_eq!(track("pub", "PUT", "lts").await.refusal(), (409, "track-refused"));
    assert_eq!(
        track("pub", "PUT", "edge").await.refusal(),
        (400, "invalid-request")
    );
    let made = track("pub", "PUT", "2.0").await.ok();
    assert_eq!(made["tracks"], json!(["latest", "2.0"]));
    track("operator", "PUT", "lts").await.ok();
    shop.revise("gizmo", |_| ()).await;
    release(&shop, "pub", json!({"revision": 1, "channels": ["2.0"]}))
        .await
        .ok();
    let edit = async |body: Value| shop.call("pub", "PUT", "/snaps/gizmo", body).await;
    assert_eq!(
        edit(json!({"default-track": "9"})).await.refusal(),
        (400, "no-such-track")
    );
    assert_eq!(
        edit(json!({"default-track": "lts"})).await.ok()["default-track"],
        "lts"
    );
    assert_eq!(
        track("pub", "DELETE", "lts").await.refusal(),
        (409, "track-in-use")
    );
    assert_eq!(
        track("pub", "DELETE", "2.0").await.refusal(),
        (409, "track-in-use")
    );
    edit(json!({"default-track": null})).await.ok();
    let left = track("pub", "DELETE", "lts").await.ok();
    assert_eq!(left["tracks"], json!(["latest", "2.0"]));
}

#[tokio::test]
async fn what_people_read_is_edited_within_limits() {
    let shop = gizmo().await;
    let edit = async |who: &str, body: Value| shop.call(who, "PUT", "/snaps/gizmo", body).await;
    let edited = edit(
        "pub",
        json!({"title": "Gizmo", "summary": "It turns", "categories": ["art-and-design"]}),
    )
    .await
    .ok();
    assert_eq!(
        (&edited["title"], &edited["edited"]),
        (&json!("Gizmo"), &json!(true))
    );
    let edited = edit("pub", json!({"title": "", "private": true})).await.ok();
    assert_eq!(
        (&edited["title"], &edited["summary"], &edited["private"]),
        (&Value::Null, &json!("It turns"), &json!(true))
    );
    assert_eq!(
        edit("pub", json!({"from-snap": true})).await.ok()["edited"],
        false
    );
    for bad in [
        json!({"title": "x".repeat(41)}),
        json!({"summary": "x".repeat(129)}),
        json!({"summary": "two\nlines"}),
        json!({"description": "x".repeat(4097)}),
        json!({"website": "javascript:alert(1)"}),
        json!({"categories": ["Not A Word"]}),
    ] {
        assert_eq!(
            edit("pub", bad.clone()).await.refusal(),
            (400, "invalid-listing"),
            "{bad}"
        );
    }
    assert_eq!(edit("admin", json!({"title": "Mine"})).await.status, 404);
}

#[tokio::test]
async fn a_declaration_is_judged_as_devices_would() {
    let shop = gizmo().await;
    let id = shop.snap("gizmo").await.id;
    let declare = async |who: &str, text: &str, mode: &str| {
        let body = json!({"text": text, "mode": mode});
        shop.call(who, "PUT", "/snaps/gizmo/declaration", body).await
    };
    let grant = "plugs:\n  raw-usb:\n    allow-auto-connection:\n      on-store: [acme-gate]\n";
    // Publishers do not grant themselves anything.
    assert_eq!(declare("pub", grant, "keys").await.status, 404);
    let declared = declare("rev", grant, "keys").await.ok();
    assert_eq!(
        (&declared["revision"], &declared["format"]),
        (&json!(1), &json!(3))
    );
    let stored = shop
        .assertion(T::SnapDeclaration, ["16", id.as_str()])
        .await
        .unwrap();
    assert_eq!(stored.revision(), 1);
    assert!(
        stored
            .headers()
            .get("plugs")
            .unwrap()
            .as_map()
            .unwrap()
            .contains_key("raw-usb")
    );
    assert_eq!(declare("rev", grant, "keys").await.refusal(), (409, "unchanged"));
    let more = "plugs:\n  camera: {allow-auto-connection: true}\naliases: [{name: gz, target: gizmo}]\n";
    let declared = declare("rev", more, "merge").await.ok();
    // What names no app of any revision is declared all the same: a later one may bring it.
    let nowhere = "alias gz leads nowhere: no revision of gizmo has an app gizmo";
    assert_eq!(
        (&declared["revision"], &declared["warnings"]),
        (&json!(2), &json!([nowhere]))
    );
    assert_eq!(shop.snap("gizmo").await.aliases, ["gz".to_owned()].into());
    let variant = "slots:\n  home:\n    allow-connection:\n      on-classic: [ubuntu/core-desktop]\n";
    let declared = declare("operator", variant, "keys").await.ok();
    assert_eq!(declared["format"], 7);
    let warnings = declared["warnings"].to_string();
    assert!(
        warnings.contains("snapd 2.57") && warnings.contains("snapd 2.64"),
        "{warnings}"
    );
    let stored = shop
        .assertion(T::SnapDeclaration, ["16", id.as_str()])
        .await
        .unwrap();
    let plugs = stored.headers().get("plugs").unwrap().as_map().unwrap();
    assert_eq!(plugs.len(), 2, "what was merged stays");
    let declared = declare("rev", "slots: {}", "keys").await.ok();
    assert_eq!(declared["format"], 3);
    let declared = declare("rev", "auto-aliases: [gz]", "replace").await.ok();
    assert_eq!(
        (&declared["revision"], &declared["format"]),
        (&json!(5), &json!(0))
    );
    for bad in [
        "plugs: {a: maybe}",
        "plugs: {a: {allow-connection: {nothing: known}}}",
        "aliases: [{name: '-', target: gizmo}]",
        "revision-authority: []\nplugs: [a]",
        "snap-name: other",
        "refresh-control: [gizmo]",
        "plugs: [",
    ] {
        let answer = declare("rev", bad, "keys").await;
        assert_eq!(
            answer.refusal(),
            (400, "invalid-declaration"),
            "{bad}: {:?}",
            answer.body
        );
    }
    let findings = hallmark::app::doctor::examine(&shop.app).await.unwrap();
    assert_eq!(findings.problems, [""; 0]);
}

#[tokio::test]
async fn aliases_that_lead_nowhere_are_warned_about() {
    let shop = gizmo().await;
    for app in ["turner", "gizmo"] {
        shop.revise("gizmo", |revision| revision.apps = vec![app.to_owned()])
            .await;
    }
    let aliases = [("gz", "gizmo"), ("old", "turner"), ("x", "none")];
    let aliases = aliases.map(|(name, target)| json!({"name": name, "target": target}));
    let text = json!({"aliases": aliases}).to_string();
    let file = shop.file("aliases", &text);
    let declared = shop.run("rev", &["snap", "declare", "gizmo", &file]).await;
    assert_eq!(
        (declared.status, declared.err.as_str()),
        (
            0,
            "warning: alias x leads nowhere: no revision of gizmo has an app none\n\
             the declaration of gizmo has revision 1, format 0\n"
        )
    );
    let fewer = shop.file("fewer", "aliases: [{name: gz, target: gizmo}]");
    let declared = shop.json("rev", &["snap", "declare", "gizmo", &fewer]).await;
    assert_eq!(declared["warnings"], json!([]));
}
