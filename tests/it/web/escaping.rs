//! Text of people and files is shown as text, whatever it is; long lists come in pages.

use std::time::Instant;

use hallmark::domain::access::{Account, Membership, Role};
use hallmark::ports::{Change, Commit};
use serde_json::json;

use super::browser::Browser;
use crate::store::shop::{BRAND, Shop, snap_file};

const HTML: &str = "<script>alert(1)</script>\"'&<b>";

#[tokio::test]
async fn html_in_any_text_is_shown_as_text() {
    let shop = Shop::new().await;
    let admin = Browser::of(&shop, "admin");
    let publisher = Browser::of(&shop, "pub");
    let operator = Browser::of(&shop, "operator");
    let store = [
        ("id", "kiosk"),
        ("name", HTML),
        ("parent", "acme"),
        ("kind", "product"),
    ];
    let mut seen = vec![admin.post("/brands/acme/stores", &store).await];
    shop.upload("pub", "release=edge", &[snap_file("hello", "1", "")])
        .await
        .ok();
    let listing = [
        ("title", HTML),
        ("summary", HTML),
        ("license", HTML),
        ("website", &format!("https://x.example/{HTML}")),
        ("contact", "mailto:<b>"),
        ("description", HTML),
    ];
    seen.push(publisher.post("/brands/acme/snaps/hello/listing", &listing).await);
    let account = [("email", "<b>@people.example"), ("name", HTML)];
    seen.push(operator.post("/accounts", &account).await);
    let member = [("email", "<b>@people.example"), ("role", "view")];
    seen.push(admin.post("/brands/acme/stores/kiosk/members", &member).await);
    seen.push(
        admin
            .post(
                "/account/tokens",
                &[("for", "ci"), ("description", HTML), ("days", "9")],
            )
            .await,
    );
    for page in [
        "/brands/acme/stores",
        "/brands/acme/stores/kiosk",
        "/brands/acme/stores/kiosk/members",
        "/brands/acme/snaps",
        "/brands/acme/snaps/hello",
        "/account/tokens",
    ] {
        seen.push(admin.get(page).await);
    }
    seen.push(operator.get("/accounts").await);
    for seen in &seen {
        assert_eq!(seen.status, 200, "{seen:?}");
        assert!(
            seen.text.contains("&lt;b&gt;") || seen.text.contains("&lt;script&gt;"),
            "{seen:?}"
        );
    }
    let query: String = url::form_urlencoded::byte_serialize(HTML.as_bytes()).collect();
    for page in [
        format!("/brands/acme/stores/kiosk?q={query}&page={query}&done={query}"),
        format!("/brands/acme/stores/kiosk/members?q={query}"),
        format!("/brands/acme/snaps?q={query}"),
        format!("/brands/{query}/snaps"),
        format!("/brands/acme/snaps/{query}"),
    ] {
        seen.push(admin.get(&page).await);
    }
    // What is refused is told with the text that was sent.
    seen.push(
        admin
            .submit(
                "/brands/acme/stores",
                &[("id", HTML), ("name", "x"), ("parent", HTML), ("kind", "product")],
            )
            .await,
    );
    seen.push(
        admin
            .submit("/brands/acme/stores/kiosk/include", &[("snap", HTML)])
            .await,
    );
    seen.push(
        admin
            .submit(
                "/brands/acme/stores/kiosk/members",
                &[("email", HTML), ("role", HTML)],
            )
            .await,
    );
    seen.push(
        publisher
            .submit(
                "/brands/acme/snaps/hello/release",
                &[("revision", "1"), ("channels", HTML)],
            )
            .await,
    );
    seen.push(
        publisher
            .submit("/brands/acme/snaps/hello/tracks", &[("track", HTML)])
            .await,
    );
    seen.push(
        Browser::new(&shop)
            .submit_raw("/login", &[("email", HTML), ("next", HTML)], &[])
            .await,
    );
    for seen in &seen {
        for raw in ["<script>", "\"'&<b>", "<b>"] {
            assert!(!seen.text.contains(raw), "{raw} {seen:?}");
        }
    }
}

#[tokio::test]
async fn ten_thousand_members_come_in_pages_and_fast() {
    let shop = Shop::new().await;
    let now = shop.app.clock.now();
    let mut records = Vec::new();
    for number in 0..10_000 {
        let account = Account {
            id: format!("{number:0>32}").parse().unwrap(),
            email: format!("m{number:05}@many.example").parse().unwrap(),
            username: format!("m{number:05}").parse().unwrap(),
            display_name: format!("Member {number}"),
            password: None,
            unproven: false,
            operator: false,
            second_factor: None,
            provider: None,
            reset: None,
            disabled: false,
            created: now,
        };
        records.push(Change::create(&account));
        records.push(Change::create(&Membership {
            brand_id: BRAND.parse().unwrap(),
            store_id: BRAND.parse().unwrap(),
            account_id: account.id,
            roles: vec![Role::View],
            changed: now,
        }));
    }
    shop.commit(Commit {
        records,
        ..Commit::default()
    })
    .await;
    let admin = Browser::of(&shop, "admin");
    let began = Instant::now();
    let first = admin.get("/brands/acme/stores/acme/members").await;
    first.shows("Page 1 of 201").shows("m00000@many.example");
    assert!(!first.text.contains("m00060@many.example"));
    admin
        .get("/brands/acme/stores/acme/members?page=201")
        .await
        .shows("view@people.example");
    admin
        .get("/brands/acme/stores/acme/members?q=m09999")
        .await
        .shows("m09999@many.example");
    // Three of them, in a build without optimisation.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert!(first.text.len() < 300_000, "{}", first.text.len());
}

#[tokio::test]
async fn a_form_is_read_within_a_limit() {
    let shop = Shop::new().await;
    let admin = Browser::of(&shop, "admin");
    let long = "x".repeat(600_000);
    let seen = admin
        .submit("/brands/acme/stores", &[("id", "a"), ("name", &long)])
        .await;
    assert_eq!(seen.status, 413);
    assert!(seen.text.contains("larger than"), "{}", seen.status);
    let made = json!({"id": "kiosk", "name": "Kiosks", "parent": "acme"});
    shop.call("admin", "POST", "/stores", made).await.ok();
    for (fields, code) in [
        (vec![("name", "x")], 400),
        (
            vec![
                ("id", "kiosk"),
                ("name", "x"),
                ("parent", "acme"),
                ("kind", "product"),
            ],
            409,
        ),
        (
            vec![
                ("id", "k2"),
                ("name", ""),
                ("parent", "acme"),
                ("kind", "product"),
            ],
            400,
        ),
        (
            vec![
                ("id", "k2"),
                ("name", "x"),
                ("parent", "kiosk"),
                ("kind", "product"),
            ],
            400,
        ),
        (
            vec![
                ("id", "k2"),
                ("name", "x"),
                ("parent", "globex"),
                ("kind", "product"),
            ],
            404,
        ),
        (
            vec![
                ("id", "k2"),
                ("id", "k3"),
                ("name", "x"),
                ("parent", "acme"),
                ("kind", "product"),
            ],
            400,
        ),
    ] {
        let seen = admin.submit("/brands/acme/stores", &fields).await;
        assert_eq!(seen.status, code, "{fields:?} {seen:?}");
        assert!(seen.text.contains("cannot "), "{seen:?}");
    }
}
