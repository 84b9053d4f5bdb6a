//! The review queue, the interface diff, and grants by pages.

use serde_json::json;

use super::browser::Browser;
use crate::store::shop::{Shop, snap_file};

const PLUGS: &str = "plugs:\n  network: null\n  files: {interface: system-files, read: [/etc/<b>]}\n";

/// Revision 1 of `gizmo` by `pub` is approved and in stable, revision 2 is held.
async fn with_held() -> Shop {
    let shop = Shop::new().await;
    let first = snap_file("gizmo", "1", "plugs:\n  network: null\n  camera: null\n");
    shop.upload("pub", "release=stable", &[first]).await.ok();
    let held = shop
        .upload("pub", "release=edge", &[snap_file("gizmo", "2", PLUGS)])
        .await
        .ok();
    assert_eq!(held["revision"]["review"], "ManualReviewPending", "{held}");
    shop
}

const REVISION: &str = "/brands/acme/snaps/gizmo/revisions/2";

#[tokio::test]
async fn a_reviewer_sees_what_differs_asks_and_approves() {
    let shop = with_held().await;
    let (reviewer, publisher) = (Browser::of(&shop, "rev"), Browser::of(&shop, "pub"));
    reviewer
        .get("/brands/acme/reviews")
        .await
        .shows("gizmo 2")
        .shows("waits for a reviewer");
    let page = reviewer.get(REVISION).await;
    page.shows("Compared with revision 1")
        .shows("released to <strong>latest/edge</strong>");
    let row = |name: &str| {
        let rows = page
            .text
            .split("<tr")
            .find(|row| row.contains(&format!("plug {name}<")));
        rows.unwrap_or_else(|| panic!("{name} is not in {page:?}"))
            .to_owned()
    };
    assert!(
        row("files").contains("new") && row("files").contains("two persons"),
        "{}",
        row("files")
    );
    assert!(row("files").contains("/etc/&lt;b&gt;"), "{}", row("files"));
    assert!(row("camera").contains("gone"), "{}", row("camera"));
    assert!(row("network").contains("as before"), "{}", row("network"));
    let action = format!("{REVISION}/review");
    let seen = reviewer.submit(&action, &[("action", "ask-information")]).await;
    assert_eq!(seen.status, 400, "a question needs words");
    let asked = [("action", "ask-information"), ("comment", "why <b>files</b>?")];
    reviewer
        .post(&action, &asked)
        .await
        .shows("waits for the publisher")
        .shows("why &lt;b&gt;files&lt;/b&gt;?");
    let page = publisher.get(REVISION).await;
    page.shows("Answer the reviewer");
    assert!(
        !page.controls().contains(&action),
        "the publisher decides nothing"
    );
    let answered = publisher
        .post(&format!("{REVISION}/answer"), &[("comment", "for logs")])
        .await;
    answered.shows("for logs").shows("waits for a reviewer");
    let seen = publisher.submit(&action, &[("action", "approve")]).await;
    assert!(seen.absent(), "{seen:?}");
    let done = reviewer.post(&action, &[("action", "approve")]).await;
    done.shows("Your decision is recorded").shows("approved");
    assert!(!done.controls().contains(&action), "it is decided");
    publisher
        .get("/brands/acme/snaps/gizmo")
        .await
        .shows("latest/edge");
    reviewer.get("/brands/acme/reviews").await.shows("No such review");
    reviewer
        .get("/brands/acme/reviews?status=all")
        .await
        .shows("gizmo 2");
    assert_eq!(reviewer.get("/brands/acme/reviews?status=odd").await.status, 400);
    let again = reviewer
        .submit(&action, &[("action", "reject"), ("comment", "no")])
        .await;
    assert_eq!(again.status, 409, "{again:?}");
}

#[tokio::test]
async fn links_of_admin_clients_lead_to_the_queue_of_the_store() {
    let shop = with_held().await;
    let view = json!({"id": "kiosk", "name": "Kiosks", "parent": "acme"});
    shop.call("admin", "POST", "/stores", view).await.ok();
    let reviewer = Browser::of(&shop, "rev");
    for (path, store) in [
        ("/stores/acme/reviews/", "acme"),
        ("/reviewer/acme/", "acme"),
        ("/reviewer/kiosk", "kiosk"),
    ] {
        let seen = reviewer.get(path).await;
        let queue = format!("/brands/acme/stores/{store}/reviews");
        assert_eq!((seen.status, seen.location()), (303, queue.as_str()), "{path}");
        let nobody = Browser::new(&shop).get(path).await;
        assert!(nobody.location().starts_with("/login"), "{nobody:?}");
    }
    let queue = reviewer
        .get("/brands/acme/stores/acme/reviews?status=pending")
        .await;
    queue.shows("gizmo 2");
    let view = reviewer.get("/brands/acme/stores/kiosk/reviews").await;
    view.shows("in the base store");
    for path in ["/stores/nosuch/reviews", "/reviewer/No%20Store"] {
        assert_eq!(reviewer.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_decision_counts_only_with_the_mark_of_the_log_in() {
    let shop = with_held().await;
    let reviewer = Browser::of(&shop, "rev");
    let action = format!("{REVISION}/review");
    let foreign = Browser::of(&shop, "admin").get("/account").await.mark().unwrap();
    let origin = reviewer.origin();
    let mark = reviewer.get("/account").await.mark().unwrap();
    for (mark, site) in [
        ("", "same-origin"),
        (foreign.as_str(), "same-origin"),
        (mark.as_str(), "cross-site"),
    ] {
        let fields = [("mark", mark), ("action", "approve")];
        let headers = [("origin", origin.as_str()), ("sec-fetch-site", site)];
        let seen = reviewer.submit_raw(&action, &fields, &headers).await;
        assert_eq!(seen.status, 403, "{seen:?}");
    }
    reviewer.get(REVISION).await.shows("waits for a reviewer");
}

#[tokio::test]
async fn only_what_can_be_done_is_offered() {
    let shop = with_held().await;
    let reviewer = Browser::of(&shop, "rev");
    let action = format!("{REVISION}/review");
    let offered = async |word: &str| {
        let page = reviewer.get(REVISION).await;
        page.shows("Decide");
        page.text.contains(&format!("value=\"{word}\""))
    };
    assert!(offered("ask-information").await && offered("reject").await);
    let no = [("action", "reject"), ("comment", "no")];
    reviewer.post(&action, &no).await.shows("rejected");
    assert!(!offered("ask-information").await && !offered("reject").await);
    assert!(offered("approve").await && offered("rerun").await);
    let unknown = reviewer.submit(&action, &[("action", "erase")]).await;
    assert_eq!(unknown.status, 400);
    // Whoever uploaded it does not decide, whatever their role.
    shop.person_with("both", &["access", "review"]).await;
    shop.collaborate("gizmo", "both").await;
    let file = snap_file("gizmo", "3", PLUGS);
    shop.upload("both", "", &[file]).await.ok();
    shop.leave("gizmo", "both").await;
    let third = "/brands/acme/snaps/gizmo/revisions/3";
    let page = Browser::of(&shop, "both").get(third).await;
    page.shows("Compared with revision 1");
    assert!(!page.text.contains("Decide"), "{page:?}");
    let approve = [("action", "approve")];
    let seen = Browser::of(&shop, "both")
        .submit(&format!("{third}/review"), &approve)
        .await;
    assert_eq!(seen.status, 404, "{seen:?}");
}

#[tokio::test]
async fn a_rejected_revision_is_released_nowhere() {
    let shop = with_held().await;
    let (reviewer, publisher) = (Browser::of(&shop, "rev"), Browser::of(&shop, "pub"));
    let page = publisher.get("/brands/acme/snaps/gizmo").await;
    assert!(
        !page.text.contains("2: version 2"),
        "what is held is not offered: {page:?}"
    );
    let release = [("revision", "2"), ("channels", "edge")];
    let seen = publisher
        .submit("/brands/acme/snaps/gizmo/release", &release)
        .await;
    assert!([400, 409].contains(&seen.status), "{seen:?}");
    let rejected = reviewer
        .post(
            &format!("{REVISION}/review"),
            &[("action", "reject"), ("comment", "no")],
        )
        .await;
    rejected.shows("rejected");
    publisher
        .get("/brands/acme/snaps/gizmo/revisions")
        .await
        .shows("rejected");
    for who in ["view", "admin", "brand", "pub2"] {
        let seen = Browser::of(&shop, who)
            .submit(&format!("{REVISION}/review"), &[("action", "approve")])
            .await;
        assert!(seen.absent(), "{who} {seen:?}");
    }
}

#[tokio::test]
async fn a_grant_of_power_takes_two_persons() {
    let shop = with_held().await;
    let (reviewer, admin) = (Browser::of(&shop, "rev"), Browser::of(&shop, "admin"));
    let path = "/brands/acme/snaps/gizmo/grants";
    reviewer.get(path).await.shows("Nothing is granted");
    let wanted = [
        ("state", "enabled"),
        ("side", "plug"),
        ("interface", "system-files"),
        ("attribute", "installation"),
        ("comment", "<b>needed</b>"),
    ];
    let asked = reviewer.post(path, &wanted).await;
    asked
        .shows("Waiting for a second person")
        .shows("&lt;b&gt;needed");
    let confirm = format!("{path}/confirm");
    let fields = [
        ("side", "plug"),
        ("interface", "system-files"),
        ("attribute", "installation"),
    ];
    assert!(
        reviewer.submit(&confirm, &fields).await.absent(),
        "the same person does not confirm"
    );
    admin.post(&confirm, &fields).await.shows("system-files");
    let back = [&[("state", "disabled")][..], &fields].concat();
    reviewer.post(path, &back).await.shows("Nothing is granted");
    for (fields, status) in [
        (
            [
                ("state", "enabled"),
                ("side", "sideways"),
                ("interface", "camera"),
                ("attribute", "installation"),
            ],
            400,
        ),
        (
            [
                ("state", "enabled"),
                ("side", "plug"),
                ("interface", "<b>"),
                ("attribute", "installation"),
            ],
            400,
        ),
        (
            [
                ("state", "maybe"),
                ("side", "plug"),
                ("interface", "camera"),
                ("attribute", "installation"),
            ],
            400,
        ),
    ] {
        assert_eq!(reviewer.submit(path, &fields).await.status, status, "{fields:?}");
    }
    for who in ["pub", "view", "admin"] {
        assert!(
            Browser::of(&shop, who).submit(path, &wanted).await.absent(),
            "{who}"
        );
    }
}
