//! Reviews over real HTTP: what is held, what devices see of it, who decides, and what a decision sets off.

use hallmark::domain::assertion::AssertionType as T;
use hallmark::domain::blob::BlobId;
use hallmark::domain::catalog::RevisionRecord;
use hallmark::domain::review::ReviewRecord;
use hallmark::ports::Key;
use serde_json::{Value, json};

use super::shop::*;
use hallmark::app::doctor;

/// Something that needs a grant.
const NEEDS_GRANT: &str = "plugs: {snapd-control: null}\n";

/// A shop with `gizmo` of `pub`: revision 1 in stable, nothing wrong with it.
async fn with_gizmo() -> Shop {
    let shop = Shop::new().await;
    shop.send("pub", "release=stable", snap_file("gizmo", "1", ""))
        .await
        .ok();
    shop
}

/// Uploads a revision that is held; its number.
async fn held(shop: &Shop, version: &str, query: &str) -> u64 {
    let file = snap_file("gizmo", version, NEEDS_GRANT);
    let answer = shop.send("pub", query, file).await.ok();
    assert_eq!(answer["revision"]["review"], "ManualReviewPending", "{answer}");
    answer["revision"]["revision"].as_u64().unwrap()
}

async fn act(shop: &Shop, who: &str, revision: u64, action: &str) -> Answer {
    let body = json!({"action": action, "comment": "because"});
    let path = format!("/snaps/gizmo/revisions/{revision}/review");
    shop.call(who, "POST", &path, body).await
}

async fn state(shop: &Shop, revision: u64) -> String {
    let id = shop.snap("gizmo").await.id;
    let key = [id.as_str(), &format!("{revision:010}")];
    let found = shop.app.storage.find::<RevisionRecord>(key).await.unwrap();
    found.unwrap().record.review.to_string()
}

/// What an anonymous device gets for this snap.
async fn device(shop: &Shop, action: Value) -> Value {
    let body = json!({"context": [], "actions": [action], "fields": ["revision", "version", "download"]});
    let url = format!("http://{}/v2/snaps/refresh", shop.address);
    let request = shop.http.post(url).header("Snap-Device-Series", "16");
    let request = request
        .header("Snap-Device-Architecture", "amd64")
        .header("Content-Type", "application/json")
        .body(body.to_string());
    answer(request).await.ok()["results"][0].clone()
}

fn install(more: &Value) -> Value {
    let mut action = json!({"action": "install", "instance-key": "x", "name": "gizmo"});
    action
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    action
}

#[tokio::test]
async fn what_waits_reaches_no_device_until_it_is_approved() {
    let shop = with_gizmo().await;
    let file = snap_file_with_icon("gizmo", "2", &format!("title: New\n{NEEDS_GRANT}"), "more");
    let uploaded = shop
        .send("pub", "release=stable&release=2.0/edge", file.clone())
        .await;
    // The track is not there: that is said at once, and nothing stays.
    assert_eq!(uploaded.refusal(), (400, "no-such-track"));
    let uploaded = shop.send("pub", "release=stable", file.clone()).await.ok();
    assert_eq!(uploaded["revision"]["revision"], 2);
    assert_eq!(uploaded["review"]["state"], "ManualReviewPending");
    assert_eq!(uploaded["review"]["findings"][0]["code"], "interface-not-granted");
    assert_eq!(uploaded["review"]["findings"][0]["about"], "plugs/snapd-control");
    assert_eq!(uploaded["snap"]["title"], Value::Null, "what waits is not shown");

    let digest = BlobId::of(&file).to_base64url();
    let snap = shop.snap("gizmo").await;
    let download = format!("http://{}/download/{}_2.snap", shop.address, snap.id);
    assert_eq!(
        device(&shop, install(&json!({"channel": "stable"}))).await["snap"]["revision"],
        1
    );
    let exact = device(&shop, install(&json!({"revision": 2}))).await;
    assert_eq!(exact["result"], "error", "{exact}");
    assert_eq!(shop.http.get(&download).send().await.unwrap().status(), 404);
    assert!(
        shop.assertion(T::SnapRevision, [&digest, "global-upload"])
            .await
            .is_none()
    );
    let release = json!({"revision": 2, "channels": ["edge"]});
    let refused = shop.call("pub", "POST", "/snaps/gizmo/releases", release).await;
    assert_eq!(refused.refusal(), (409, "not-approved"));
    // The same bytes again are the same revision, which waits; it can be sent elsewhere.
    let again = shop
        .send("pub", "release=beta&percentage=50", file.clone())
        .await
        .ok();
    assert_eq!(
        (&again["new"], &again["revision"]["revision"]),
        (&json!(false), &json!(2))
    );
    assert_eq!(again["review"]["channels"], json!(["latest/beta"]));
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);

    let done = act(&shop, "rev", 2, "approve").await.ok();
    assert_eq!(done["review"]["state"], "approved");
    assert_eq!(done["remarks"], json!([]));
    let snap = shop.snap("gizmo").await;
    assert_eq!(snap.listing.title.as_deref(), Some("New"));
    let open: Vec<(String, u64, bool)> = snap
        .releases
        .open
        .iter()
        .map(|open| {
            (
                open.channel.to_string(),
                open.revision,
                open.progressive.is_some(),
            )
        })
        .collect();
    assert_eq!(
        open,
        [
            ("latest/stable".to_owned(), 1, false),
            ("latest/beta".to_owned(), 2, true)
        ]
    );
    let revision = shop
        .assertion(T::SnapRevision, [&digest, "global-upload"])
        .await
        .unwrap();
    assert_eq!(revision.text("snap-revision"), Some("2"));
    assert_eq!(revision.text("developer-id"), Some(Shop::account("pub").as_str()));
    assert_eq!(
        device(&shop, install(&json!({"revision": 2}))).await["snap"]["revision"],
        2
    );
    assert_eq!(shop.http.get(&download).send().await.unwrap().status(), 200);
    let findings = doctor::examine(&shop.app).await.unwrap();
    assert_eq!((findings.problems.as_slice(), findings.files), ([].as_slice(), 3));
    let log = shop.audited().await;
    let actions: Vec<String> = log.into_iter().collect();
    for action in ["snap.upload", "review.redirect", "review.approve"] {
        assert!(
            actions.iter().any(|known| known == action),
            "{action}: {actions:?}"
        );
    }
}

#[tokio::test]
async fn components_are_signed_with_the_approval() {
    let shop = with_gizmo().await;
    let snap = |version: &str| {
        let more = format!("components: {{more: {{type: standard}}}}\n{NEEDS_GRANT}");
        snap_file("gizmo", version, &more)
    };
    let component = component_file("gizmo", "more", "");
    let id = shop.snap("gizmo").await.id;
    for version in ["2", "3"] {
        let files = [snap(version), component.clone()];
        shop.upload("pub", "", &files).await.ok();
    }
    let digest = BlobId::of(&component).to_base64url();
    let key = [id.as_str(), "more", &digest, "global-upload"];
    assert!(shop.assertion(T::SnapResourceRevision, key).await.is_none());
    // Two that wait have the same component under two numbers; what is approved first says which one it is.
    act(&shop, "rev", 3, "approve").await.ok();
    let number = shop.assertion(T::SnapResourceRevision, key).await.unwrap();
    let number = number.text("resource-revision").unwrap().to_owned();
    let second = act(&shop, "rev", 2, "approve").await.ok();
    assert_eq!(
        second["revision"]["components"][0]["revision"].to_string(),
        number
    );
    for revision in ["2", "3"] {
        let pair = [id.as_str(), "more", &number, revision, "global-upload"];
        assert!(
            shop.assertion(T::SnapResourcePair, pair).await.is_some(),
            "{revision}"
        );
    }
}

#[tokio::test]
async fn whoever_is_involved_does_not_review() {
    let shop = with_gizmo().await;
    let number = held(&shop, "2", "").await;
    for who in ["pub", "pub2", "admin", "view", "brand"] {
        for action in ["approve", "reject", "ask-information", "rerun"] {
            assert_eq!(
                act(&shop, who, number, action).await.refusal(),
                (404, "resource-not-found"),
                "{who} {action}"
            );
        }
    }
    // Reviewers of a snap that is their own: the publisher, a collaborator, who uploaded it.
    shop.person_with("both", &["access", "review"]).await;
    shop.collaborate("gizmo", "both").await;
    let file = snap_file("gizmo", "3", NEEDS_GRANT);
    let uploaded = shop.send("both", "", file).await.ok();
    assert_eq!(uploaded["revision"]["revision"], 3);
    assert_eq!(
        act(&shop, "both", 3, "approve").await.refusal(),
        (404, "resource-not-found")
    );
    shop.leave("gizmo", "both").await;
    assert_eq!(
        act(&shop, "both", 3, "approve").await.refusal(),
        (404, "resource-not-found"),
        "the uploader"
    );
    assert_eq!(
        act(&shop, "both", 2, "reject").await.ok()["review"]["state"],
        "Rejected",
        "somebody else's"
    );
    // The publisher sees it, and others who see the snap; not publishers of other snaps.
    for (who, status) in [
        ("pub", 200),
        ("rev", 200),
        ("view", 200),
        ("admin", 200),
        ("pub2", 404),
    ] {
        let path = format!("/snaps/gizmo/revisions/{number}/review");
        assert_eq!(
            shop.call(who, "GET", &path, Value::Null).await.status,
            status,
            "{who}"
        );
        let listed = shop
            .call(who, "GET", "/reviews?status=all", Value::Null)
            .await
            .ok();
        assert_eq!(listed.as_array().unwrap().is_empty(), status == 404, "{who}");
    }
}

#[tokio::test]
async fn roles_elsewhere_are_no_part_in_a_review() {
    let shop = with_gizmo().await;
    let view = json!({"id": "acme-gate", "name": "Gates", "parent": "acme", "kind": "ecosystem"});
    shop.call("admin", "POST", "/stores", view).await.ok();
    shop.call("admin", "PUT", "/stores/acme-gate/snaps/gizmo", Value::Null)
        .await
        .ok();
    let number = held(&shop, "2", "").await;
    // Everything in a store that shows the snap: it is theirs to see, not to review.
    shop.person_with("partner", &[]).await;
    shop.role("partner", "acme-gate", &["review", "admin", "view"])
        .await;
    let seen = shop
        .call("partner", "GET", "/snaps/gizmo", Value::Null)
        .await
        .ok();
    let revisions = seen["revisions"].as_array().unwrap();
    assert_eq!(revisions.len(), 1, "what waits is not shown: {revisions:?}");
    let path = format!("/snaps/gizmo/revisions/{number}/review");
    let refused = shop.call("partner", "GET", &path, Value::Null).await;
    assert_eq!(refused.refusal(), (404, "resource-not-found"));
    for action in ["approve", "reject", "ask-information", "rerun"] {
        let refused = act(&shop, "partner", number, action).await;
        assert_eq!(refused.refusal(), (404, "resource-not-found"), "{action}");
    }
    let listed = shop
        .call(
            "partner",
            "GET",
            "/stores/acme-gate/reviews?status=all",
            Value::Null,
        )
        .await
        .ok();
    assert_eq!(listed, json!([]));
    let grant =
        json!({"side": "plugs", "interface": "camera", "attribute": "auto-connection", "state": "enabled"});
    for path in [
        "/snaps/gizmo/grants".to_owned(),
        format!(
            "/stores/acme-gate/snaps/{}/interfaces",
            shop.snap("gizmo").await.id
        ),
    ] {
        let refused = shop.call("partner", "POST", &path, grant.clone()).await;
        assert_eq!(refused.refusal(), (404, "resource-not-found"), "{path}");
    }
    // Where the snap is registered they count.
    shop.role("partner", "acme", &["review"]).await;
    act(&shop, "partner", number, "approve").await.ok();
}

#[tokio::test]
async fn a_review_is_a_conversation() {
    let shop = with_gizmo().await;
    let number = held(&shop, "2", "").await;
    let answer = async |who: &str, comment: &str| {
        let path = format!("/snaps/gizmo/revisions/{number}/review/answer");
        shop.call(who, "POST", &path, json!({"comment": comment})).await
    };
    assert_eq!(answer("pub", "hello").await.refusal(), (409, "not-asked"));
    let silent = json!({"action": "ask-information"});
    let path = format!("/snaps/gizmo/revisions/{number}/review");
    let refused = shop.call("rev", "POST", &path, silent).await;
    assert_eq!(refused.refusal(), (400, "comment-required"));
    for bad in ["x".repeat(4001), "bell\u{7}".to_owned()] {
        let body = json!({"action": "approve", "comment": bad});
        let refused = shop.call("rev", "POST", &path, body).await;
        assert_eq!(refused.refusal(), (400, "invalid-comment"));
    }
    for body in [
        json!({"action": "check"}),
        json!({"action": "approve", "x": 1}),
        json!({}),
    ] {
        assert_eq!(shop.call("rev", "POST", &path, body).await.status, 400);
    }
    act(&shop, "rev", number, "ask-information").await.ok();
    assert_eq!(state(&shop, number).await, "NeedsInformation");
    assert_eq!(answer("rev", "mine").await.refusal(), (404, "resource-not-found"));
    assert_eq!(answer("pub", " ").await.refusal(), (400, "comment-required"));
    let html = "<script>alert(1)</script>\nwe need it";
    let answered = answer("pub", html).await.ok();
    assert_eq!(answered["review"]["state"], "ManualReviewPending");
    let history = answered["review"]["history"].as_array().unwrap();
    let steps: Vec<(&str, &str)> = history
        .iter()
        .map(|step| (step["act"].as_str().unwrap(), step["to"].as_str().unwrap()))
        .collect();
    assert_eq!(
        steps,
        [
            ("check", "ManualReviewPending"),
            ("ask-information", "NeedsInformation"),
            ("answer", "ManualReviewPending")
        ]
    );
    assert_eq!(history[2]["comment"], html);
    assert_eq!(history[2]["account-id"], Shop::account("pub"));
    assert_eq!(history[2]["from"], "NeedsInformation");
    // Another upload is an answer too.
    act(&shop, "rev", number, "ask-information").await.ok();
    let next = held(&shop, "3", "").await;
    assert_eq!(state(&shop, number).await, "Rejected");
    assert_eq!(state(&shop, next).await, "ManualReviewPending");
    act(&shop, "rev", next, "reject").await.ok();
    assert_eq!(
        act(&shop, "rev", next, "reject").await.refusal(),
        (409, "already-reviewed")
    );
    assert_eq!(
        act(&shop, "rev", 1, "approve").await.refusal(),
        (409, "already-reviewed")
    );
    assert_eq!(
        act(&shop, "rev", 9, "approve").await.refusal(),
        (404, "resource-not-found")
    );
    // What was refused by mistake can be let through.
    act(&shop, "rev", next, "approve").await.ok();
    assert_eq!(state(&shop, next).await, "approved");
    // All of it is in the log.
    let log = shop.audited().await;
    let steps: Vec<&str> = log
        .iter()
        .filter_map(|action| action.strip_prefix("review."))
        .collect();
    assert_eq!(
        steps,
        [
            "ask-information",
            "answer",
            "ask-information",
            "supersede",
            "reject",
            "approve"
        ]
    );
}

#[tokio::test]
async fn of_two_reviewers_one_decides() {
    let shop = with_gizmo().await;
    shop.person_with("rev2", &["review"]).await;
    for version in 2..6 {
        let number = held(&shop, &version.to_string(), "release=edge").await;
        let (one, two) = tokio::join!(
            act(&shop, "rev", number, "approve"),
            act(&shop, "rev2", number, "reject")
        );
        let statuses = [one.status, two.status];
        // A rejection can be followed by an approval, not the other way round.
        if statuses == [200, 200] {
            assert_eq!(state(&shop, number).await, "approved");
            continue;
        }
        let loser = if one.status == 200 { &two } else { &one };
        assert!(statuses.contains(&200), "{one:?} {two:?}");
        assert!(
            ["changed-meanwhile", "already-reviewed"].contains(&loser.code()),
            "{loser:?}"
        );
        let winner = if one.status == 200 { "approved" } else { "Rejected" };
        assert_eq!(state(&shop, number).await, winner);
    }
}

#[tokio::test]
async fn the_policy_of_the_store_decides_what_waits() {
    let shop = with_gizmo().await;
    let policy = async |policy: &str| {
        let body = json!({"manual-review-policy": policy});
        shop.call("admin", "PUT", "/stores/acme", body).await.ok();
    };
    let upload = async |version: &str, more: &str| {
        let file = snap_file("gizmo", version, more);
        let answer = shop.send("pub", "", file).await.ok();
        answer["revision"]["review"].as_str().unwrap().to_owned()
    };
    policy("avoid").await;
    assert_eq!(upload("2", "").await, "approved");
    assert_eq!(upload("3", NEEDS_GRANT).await, "AutomaticallyRejected");
    policy("require").await;
    assert_eq!(upload("4", "").await, "ManualReviewPending");
    policy("allow").await;
    assert_eq!(upload("5", "").await, "approved");
    // The checks look again after the policy, or the declaration, changed.
    assert_eq!(
        act(&shop, "rev", 4, "rerun").await.ok()["review"]["state"],
        "approved"
    );
    assert_eq!(
        act(&shop, "rev", 3, "rerun").await.ok()["review"]["state"],
        "ManualReviewPending"
    );
    let rules = json!({"text": "plugs: {snapd-control: {allow-installation: true}}"});
    shop.call("operator", "PUT", "/snaps/gizmo/declaration", rules)
        .await
        .ok();
    assert_eq!(
        act(&shop, "rev", 3, "rerun").await.ok()["review"]["state"],
        "approved"
    );
    // An older revision that is approved later does not take the listing back.
    assert_eq!(shop.snap("gizmo").await.newest_revision, 5);
    // The operator is nobody's publisher: what they upload is approved by that.
    policy("require").await;
    let file = snap_file("gizmo", "6", NEEDS_GRANT);
    let hosted = shop.send("operator", "", file).await.ok();
    assert_eq!(
        (&hosted["revision"]["review"], &hosted["review"]),
        (&json!("approved"), &Value::Null)
    );
    // A token of theirs that was made for less approves nothing.
    let scopes = ["snap-read", "snap-publish", "snap-release"];
    shop.limited("operator", "builder", &scopes).await;
    let file = snap_file("gizmo", "7", NEEDS_GRANT);
    let built = shop.send("builder", "release=edge", file).await.ok();
    assert_eq!(built["revision"]["review"], "ManualReviewPending");
}

#[tokio::test]
async fn what_the_checks_refuse_no_reviewer_lets_through() {
    let shop = with_gizmo().await;
    let number = held(&shop, "2", "release=edge").await;
    let revoked = json!({"text": "plugs: {network: 'false'}"});
    shop.call("rev", "PUT", "/snaps/gizmo/declaration", revoked)
        .await
        .ok();
    // The snap has become one of another type: nobody can approve this revision of it.
    shop.change("gizmo", |snap| {
        snap.kind = Some(hallmark::domain::snap::SnapType::Base)
    })
    .await;
    assert_eq!(
        act(&shop, "rev", number, "approve").await.refusal(),
        (409, "unfit")
    );
    let rerun = act(&shop, "rev", number, "rerun").await.ok();
    assert_eq!(rerun["review"]["state"], "AutomaticallyRejected");
    assert_eq!(rerun["review"]["findings"][0]["code"], "type-differs");
    assert_eq!(shop.snap("gizmo").await.releases.open.len(), 1);
}

#[tokio::test]
async fn a_release_that_is_no_longer_possible_does_not_stop_an_approval() {
    let shop = with_gizmo().await;
    let track = json!({"patterns": ["2.*"]});
    shop.call("admin", "PUT", "/snaps/gizmo/guardrails", track)
        .await
        .ok();
    shop.call("pub", "PUT", "/snaps/gizmo/tracks/2.0", json!({}))
        .await
        .ok();
    let number = held(&shop, "2", "release=2.0/stable").await;
    shop.call("pub", "DELETE", "/snaps/gizmo/tracks/2.0", Value::Null)
        .await
        .ok();
    let done = act(&shop, "rev", number, "approve").await.ok();
    assert_eq!(done["review"]["state"], "approved");
    let remark = done["remarks"][0].as_str().unwrap();
    assert!(remark.contains("no track 2.0"), "{remark}");
    assert_eq!(shop.snap("gizmo").await.releases.open.len(), 1);
}

#[tokio::test]
async fn the_first_gadget_and_what_is_shut_in_less_wait() {
    let shop = Shop::new().await;
    let first = gadget_file("1", Some("{}"), &[], "");
    let answer = shop.send("brand", "publisher=acme", first).await.ok();
    assert_eq!(answer["revision"]["review"], "ManualReviewPending");
    assert_eq!(answer["review"]["findings"][0]["code"], "type-not-allowed");
    assert_eq!(answer["snap"]["type"], Value::Null, "it is not one yet");
    let path = "/snaps/board/revisions/1/review";
    // Who acts for the brand is the publisher of its snaps.
    shop.person_with("insider", &["review", "brand"]).await;
    let approve = json!({"action": "approve"});
    let refused = shop.call("insider", "POST", path, approve.clone()).await;
    assert_eq!(refused.refusal(), (404, "resource-not-found"));
    shop.call("rev", "POST", path, approve).await.ok();
    let second = gadget_file("2", Some("{}"), &[], "");
    let answer = shop.send("brand", "", second).await.ok();
    assert_eq!(answer["revision"]["review"], "approved");

    let classic = |version: &str| snap_file("open", version, "confinement: classic\n");
    let answer = shop.send("pub", "", classic("1")).await.ok();
    assert_eq!(answer["review"]["findings"][0]["code"], "confinement-not-allowed");
    let path = "/snaps/open/revisions/1/review";
    shop.call("rev", "POST", path, json!({"action": "approve"}))
        .await
        .ok();
    let answer = shop.send("pub", "release=stable", classic("2")).await.ok();
    assert_eq!(answer["revision"]["review"], "approved");
}

#[tokio::test]
async fn the_queue_is_listed_as_clients_ask_for_it() {
    let shop = with_gizmo().await;
    let first = held(&shop, "2", "").await;
    let second = held(&shop, "3", "").await;
    act(&shop, "rev", first, "ask-information").await.ok();
    let revisions = async |path: &str| {
        let listed = shop.call("rev", "GET", path, Value::Null).await.ok();
        let rows = listed.as_array().unwrap().clone();
        rows.iter()
            .map(|row| row["revision"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(revisions("/reviews").await, [first, second]);
    assert_eq!(revisions("/stores/acme/reviews?status=pending").await, [second]);
    assert_eq!(
        revisions("/reviews?store=acme&status=needs-information").await,
        [first]
    );
    assert_eq!(revisions("/reviews?status=approved").await, [1]);
    assert_eq!(revisions("/reviews?status=rejected").await, [0u64; 0]);
    assert_eq!(revisions("/reviews?status=all").await, [1, first, second]);
    let bad = shop.call("rev", "GET", "/reviews?status=lost", Value::Null).await;
    assert_eq!(bad.status, 400);
    let other = shop
        .call("rev", "GET", "/stores/other/reviews", Value::Null)
        .await;
    assert_eq!(other.refusal(), (404, "resource-not-found"));
    // By the id of the snap, in the shape of admin-api.md 2.7.
    let id = shop.snap("gizmo").await.id;
    let approve = json!({"action": "approve", "comment": ""});
    let elsewhere = format!("/stores/other/reviews/{id}/{second}");
    let refused = shop.call("rev", "POST", &elsewhere, approve.clone()).await;
    assert_eq!(refused.status, 404);
    let path = format!("/stores/acme/reviews/{id}/{second}");
    assert_eq!(shop.call("pub", "POST", &path, approve.clone()).await.status, 404);
    let done = shop.call("rev", "POST", &path, approve).await.ok();
    assert_eq!(done["review"]["state"], "approved");
    let shown = shop
        .call(
            "rev",
            "GET",
            &format!("/snaps/gizmo/revisions/{first}/review"),
            Value::Null,
        )
        .await
        .ok();
    let connection = &shown["connections"][0];
    assert_eq!(
        (&connection["class"], &connection["standing"], &connection["new"]),
        (&json!("C"), &json!("unsaid"), &json!(false)),
        "{shown}"
    );
    assert!(shown["snap-yaml"].as_str().unwrap().contains("name: gizmo"));
}

#[tokio::test]
async fn uploads_at_once_of_what_waits_are_one_revision() {
    let shop = with_gizmo().await;
    let file = snap_file("gizmo", "2", NEEDS_GRANT);
    let uploads = (0..6).map(|_| shop.send("pub", "", file.clone()));
    let answers = futures_util::future::join_all(uploads).await;
    let mut new = 0;
    for answer in answers {
        let answer = answer.ok();
        assert_eq!(answer["revision"]["revision"], 2);
        new += usize::from(answer["new"] == true);
    }
    assert_eq!(new, 1);
    let reviews = shop
        .app
        .storage
        .all::<ReviewRecord>(Key(Vec::new()))
        .await
        .unwrap();
    assert_eq!(reviews.len(), 2, "of revisions 1 and 2");
    assert_eq!(shop.snap("gizmo").await.newest_revision, 2);
}
