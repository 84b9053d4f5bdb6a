//! Each page for each role: it shows the controls of what the role may do, and what it does not show is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::browser::Browser;
use crate::store::shop::{Shop, snap_file};

/// The people of the shop, and who has roles in a view only.
const PEOPLE: [&str; 8] = [
    "operator", "admin", "pub", "pub2", "rev", "view", "brand", "partner",
];

/// A shop with something on every page.
async fn furnished() -> Shop {
    let shop = Shop::new().await;
    let made = json!({"id": "kiosk", "name": "Kiosks", "parent": "acme", "kind": "product"});
    shop.call("admin", "POST", "/stores", made).await.ok();
    shop.upload(
        "pub",
        "release=edge",
        &[snap_file("hello", "1", "architectures: [amd64]\n")],
    )
    .await
    .ok();
    // One that is held.
    let held = snap_file("hello", "2", "plugs: {snapd-control: null}\n");
    shop.upload("pub", "", &[held]).await.ok();
    shop.call("admin", "PUT", "/stores/kiosk/snaps/hello", Value::Null)
        .await
        .ok();
    shop.person("partner", &[], false).await;
    shop.role("partner", "kiosk", &["admin", "review", "access", "view"])
        .await;
    let invited = json!({"email": "invited@people.example", "roles": ["view"]});
    shop.call("admin", "POST", "/stores/kiosk/invites", invited)
        .await
        .ok();
    let asked = json!({"email": "helper@people.example"});
    shop.call("pub", "POST", "/snaps/hello/invites", asked).await.ok();
    shop.call("admin", "POST", "/models", json!({"name": "gate"}))
        .await
        .ok();
    let serial = super::vault::issued(&shop, "SN1");
    shop.app.storage.load(vec![serial]).await.unwrap();
    shop
}

pub const PAGES: &[&str] = &[
    "/start",
    "/account",
    "/account/tokens",
    "/accounts",
    "/brands/acme",
    "/brands/acme/stores",
    "/brands/acme/stores/acme",
    "/brands/acme/stores/kiosk",
    "/brands/acme/stores/acme/members",
    "/brands/acme/stores/kiosk/members",
    "/brands/acme/stores/kiosk/invites",
    "/brands/acme/snaps",
    "/brands/acme/snaps/hello",
    "/brands/acme/snaps/hello/revisions",
    "/brands/acme/snaps/hello/revisions/1",
    "/brands/acme/snaps/hello/revisions/2",
    "/brands/acme/snaps/hello/grants",
    "/brands/acme/reviews",
    "/brands/acme/stores/acme/reviews",
    "/brands/acme/upload",
    "/brands/acme/models",
    "/brands/acme/models/gate",
    "/brands/acme/keys",
    "/brands/acme/devices",
    "/brands/acme/devices/gate/SN1",
    "/brands/acme/serials",
    "/brands/acme/audit",
];

#[tokio::test]
async fn a_page_shows_what_its_reader_may_do_and_the_rest_is_refused() {
    let shop = furnished().await;
    let mut wrong = String::new();
    for page in PAGES {
        let mut shown: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for who in PEOPLE {
            let seen = Browser::of(&shop, who).get(page).await;
            if seen.status == 200 {
                shown.insert(who, seen.controls());
            } else {
                assert!(seen.absent(), "{who} {page}: {seen:?}");
            }
        }
        assert!(!shown.is_empty(), "nobody sees {page}");
        // What belongs to one log-in or account alone is not a matter of roles.
        let own =
            |action: &String| action.starts_with("/account/tokens/") || action.starts_with("/accounts/");
        let all: BTreeSet<&String> = shown.values().flatten().filter(|action| !own(action)).collect();
        for who in PEOPLE {
            let browser = Browser::of(&shop, who);
            for action in &all {
                let there = shown.get(who).is_some_and(|controls| controls.contains(*action));
                // Without a field filled in nothing is done; what is forbidden is refused before the form is read.
                let seen = browser.submit(action, &[]).await;
                // A form that brings files is another kind of form.
                let odd = seen.status == 403 && !action.ends_with("/upload");
                if there == seen.absent() || seen.status >= 500 || odd {
                    let _ = writeln!(
                        wrong,
                        "{page}: {action} by {who}: shown {there}, sent {}",
                        seen.status
                    );
                }
            }
        }
    }
    assert_eq!(wrong, "");
}

#[tokio::test]
async fn links_of_a_page_lead_to_pages_that_open() {
    let shop = furnished().await;
    let link = regex::Regex::new(r#"<a [^>]*href="(/[^"]*)""#).unwrap();
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
            open.extend(
                link.captures_iter(&seen.text)
                    .map(|found| found[1].replace("&amp;", "&")),
            );
        }
        assert!(known.len() > 5, "{who} finds {known:?}");
    }
}

#[tokio::test]
async fn another_brand_is_absent() {
    let shop = furnished().await;
    let stranger = Browser::of(&shop, "view");
    let absent = stranger.get("/brands/nosuchbrand/snaps").await;
    assert!(absent.absent());
    for path in [
        "/brands/acme/audit",
        "/brands/acme/keys",
        "/brands/acme/nothing",
        "/brands/NO%20BRAND",
        "/accounts",
    ] {
        let seen = stranger.get(path).await;
        // The same words, whether it is not there or not for this reader.
        assert_eq!((seen.status, seen.main()), (404, absent.main()), "{path}");
    }
}

#[tokio::test]
async fn members_are_added_changed_found_and_removed() {
    let shop = furnished().await;
    let admin = Browser::of(&shop, "admin");
    let path = "/brands/acme/stores/kiosk/members";
    let of_view = format!("{path}?q=view@");
    admin.get(&of_view).await.shows("Nobody fits");
    let fields = [
        ("email", "View@people.example"),
        ("role", "admin"),
        ("role", "view"),
    ];
    admin.post(path, &fields).await.shows("administrator, viewer");
    admin
        .get(&format!("{path}?q=VIEW@"))
        .await
        .shows("view@people.example");
    admin.get(&format!("{path}?q=nobody")).await.shows("Nobody fits");
    let seen = admin.submit(path, &[("email", "view@people.example")]).await;
    assert_eq!(seen.status, 400);
    assert!(seen.text.contains("without a role"), "{seen:?}");
    let seen = admin
        .submit(path, &[("email", "stranger@people.example"), ("role", "view")])
        .await;
    assert_eq!(seen.status, 404);
    assert!(
        seen.text.contains("cannot find account stranger@people.example"),
        "{seen:?}"
    );
    let seen = admin
        .submit(path, &[("email", "view@people.example"), ("role", "king")])
        .await;
    assert_eq!(seen.status, 400);
    let removed = admin
        .post(&format!("{path}/remove"), &[("email", "view@people.example")])
        .await;
    removed.shows("no role here any more");
    admin.get(&of_view).await.shows("Nobody fits");
    let last = admin
        .submit(
            "/brands/acme/stores/acme/members/remove",
            &[("email", "admin@people.example")],
        )
        .await;
    // `init` made another administrator.
    assert_eq!(last.status, 303);
}
