//! Signing in and out, forms of other sites, and the headers every page has.

use std::sync::Arc;

use hallmark::app::{App, AppState, InstanceCtx, Settings, login};
use hallmark::domain::access::Token;
use hallmark::http::endpoint::Access;
use hallmark::http::metrics::Metrics;
use hallmark::http::router::Family;
use hallmark::ports::Key;

use super::browser::{Browser, Seen};
use crate::harness::instance;
use crate::store::shop::Shop;

const PASSWORD: &str = "correct horse battery";

pub async fn give_password(shop: &Shop, who: &str) {
    let email = format!("{who}@people.example").parse().unwrap();
    login::reset_password(
        &shop.app,
        &InstanceCtx::local(),
        &email,
        PASSWORD.to_owned().into(),
    )
    .await
    .unwrap();
}

pub async fn sign_in(browser: &Browser<'_>, email: &str, password: &str, next: &str) -> Seen {
    let mark = browser.get("/login").await.mark().unwrap_or_default();
    let fields = [
        ("mark", mark.as_str()),
        ("next", next),
        ("email", email),
        ("password", password),
    ];
    let headers = [("origin", &*browser.origin()), ("sec-fetch-site", "same-origin")];
    browser.submit_raw("/login", &fields, &headers).await
}

#[tokio::test]
async fn a_person_signs_in_does_something_and_signs_out() {
    let shop = Shop::new().await;
    give_password(&shop, "admin").await;
    let browser = Browser::new(&shop);
    let wanted = browser.get("/brands/acme/stores?page=1").await;
    assert_eq!(
        (wanted.status, wanted.location()),
        (303, "/login?next=%2Fbrands%2Facme%2Fstores%3Fpage%3D1")
    );
    let page = browser.get(wanted.location()).await;
    page.shows("value=\"/brands/acme/stores?page=1\"");
    let signed_in = sign_in(
        &browser,
        " Admin@people.example ",
        PASSWORD,
        "/brands/acme/stores?page=1",
    )
    .await;
    assert_eq!(
        (signed_in.status, signed_in.location()),
        (303, "/brands/acme/stores?page=1")
    );
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("hallmark=hmk_"), "{cookie}");
    for flag in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age=43200"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "people come over plain HTTP here");
    browser.get("/brands/acme/stores").await.shows("New store");
    let made = browser
        .post(
            "/brands/acme/stores",
            &[
                ("id", "kiosk"),
                ("name", "Kiosks"),
                ("parent", "acme"),
                ("kind", "product"),
            ],
        )
        .await;
    made.shows("Created.").shows("Kiosks");
    let token = browser.cookies()["hallmark"].clone();
    let out = browser.submit("/logout", &[]).await;
    assert_eq!((out.status, out.location()), (303, "/login"));
    assert_eq!(browser.cookies().get("hallmark"), None, "the browser forgets it");
    browser.cookie("hallmark", &token);
    assert_eq!(
        browser.get("/start").await.status,
        303,
        "the token is no good any more"
    );
    let left = shop.app.storage.all::<Token>(Key(Vec::new())).await.unwrap();
    assert!(left.iter().all(|found| found.record.description != "web"));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_told_alike_and_lock_after_ten() {
    let shop = Shop::new().await;
    give_password(&shop, "admin").await;
    let browser = Browser::new(&shop);
    let mut told = Vec::new();
    for (email, password) in [
        ("admin@people.example", "wrong horse battery"),
        ("nobody@people.example", PASSWORD),
        ("no address", PASSWORD),
    ] {
        let seen = sign_in(&browser, email, password, "").await;
        assert_eq!(seen.status, 401);
        assert_eq!(browser.cookies().get("hallmark"), None);
        told.push(seen.main().replace(email, "EMAIL"));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    for _ in 0..9 {
        sign_in(&browser, "admin@people.example", "wrong horse battery", "").await;
    }
    let locked = sign_in(&browser, "admin@people.example", PASSWORD, "").await;
    assert_eq!(locked.status, 429);
    assert!(locked.text.contains("too many failures"), "{locked:?}");
}

#[tokio::test]
async fn signing_in_leads_to_own_pages_only() {
    let shop = Shop::new().await;
    give_password(&shop, "admin").await;
    for next in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/login",
        "javascript:alert(1)",
    ] {
        let browser = Browser::new(&shop);
        let seen = sign_in(&browser, "admin@people.example", PASSWORD, next).await;
        assert_eq!((seen.status, seen.location()), (303, "/start"), "{next}");
        let again = browser
            .get(&format!("/login?next={}", next.replace('/', "%2F")))
            .await;
        assert_eq!((again.status, again.location()), (303, "/start"), "{next}");
    }
}

#[tokio::test]
async fn a_sign_in_form_of_another_site_is_refused() {
    let shop = Shop::new().await;
    give_password(&shop, "admin").await;
    let (browser, stranger) = (Browser::new(&shop), Browser::new(&shop));
    let mark = browser.get("/login").await.mark().unwrap();
    let fields = [
        ("mark", mark.as_str()),
        ("email", "admin@people.example"),
        ("password", PASSWORD),
    ];
    let own = [("origin", browser.origin())];
    let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for (browser, fields, headers) in [
        (&stranger, &fields[..], &own[..]),
        (&browser, &fields[1..], &own),
        (&browser, &fields, &[("origin", "https://evil.example")]),
        (&browser, &fields, &[("origin", "null")]),
        (&browser, &fields, &[("sec-fetch-site", "cross-site")]),
        (&browser, &fields, &[("sec-fetch-site", "same-site")]),
    ] {
        let seen = browser.submit_raw("/login", fields, headers).await;
        assert_eq!(seen.status, 403, "{headers:?}");
        assert_eq!(browser.cookies().get("hallmark"), None);
    }
    assert_eq!(browser.submit_raw("/login", &fields, &own).await.status, 303);
}

#[tokio::test]
async fn no_form_counts_without_its_mark_or_from_another_site() {
    let shop = Shop::new().await;
    let admin = Browser::of(&shop, "admin");
    let mark = admin.get("/account").await.mark().unwrap();
    let foreign = Browser::of(&shop, "view").get("/account").await.mark().unwrap();
    assert_ne!(mark, foreign);
    let body = [
        ("id", "evil"),
        ("name", "Evil"),
        ("parent", "acme"),
        ("kind", "product"),
    ];
    let with = |mark: &'static str| [&[("mark", mark)], &body[..]].concat();
    let own = admin.origin();
    let own = [("origin", own.as_str())];
    let foreign: &'static str = foreign.leak();
    let mark: &'static str = mark.leak();
    for (fields, headers) in [
        (body.to_vec(), &own[..]),
        (with(""), &own),
        (with(foreign), &own),
        (with(&mark[1..]), &own),
        ([&[("mark", mark)][..], &with(mark)].concat(), &own),
        (with(mark), &[("origin", "https://evil.example")]),
        (with(mark), &[("origin", "null")]),
        (with(mark), &[("sec-fetch-site", "cross-site")]),
        (with(mark), &[("sec-fetch-site", "same-site")]),
    ] {
        let seen = admin.submit_raw("/brands/acme/stores", &fields, headers).await;
        assert_eq!(seen.status, 403, "{fields:?} {headers:?}");
        assert!(seen.text.contains("Nothing was changed"));
    }
    let json = admin
        .request("POST", "/brands/acme/stores")
        .header("content-type", "text/plain")
        .body(format!("mark={mark}&id=evil&name=Evil&parent=acme&kind=product"));
    assert_eq!(
        admin.send(json).await.status,
        403,
        "only what forms of pages are sent as"
    );
    assert!(!admin.get("/brands/acme/stores").await.text.contains("Evil"));
    // Old browsers say nothing about where a form comes from: the mark decides.
    assert_eq!(
        admin
            .submit_raw("/brands/acme/stores", &with(mark), &[])
            .await
            .status,
        303
    );
}

#[tokio::test]
async fn every_page_has_the_headers_that_protect_it() {
    let shop = Shop::new().await;
    let (nobody, operator) = (Browser::new(&shop), Browser::of(&shop, "operator"));
    let mut seen = vec![
        nobody.get("/login").await,
        nobody.get("/start").await,
        nobody.get("/brands/acme").await,
        nobody.get("/static/nothing.css").await,
        nobody.get("/account/nothing").await,
        nobody.submit_raw("/login", &[], &[]).await,
        operator.get("/brands/nothing").await,
        operator.submit("/brands/acme/stores", &[]).await,
        operator.submit_raw("/brands/acme/stores", &[], &[]).await,
        operator
            .send(operator.request("PUT", "/brands/acme/stores"))
            .await,
    ];
    for endpoint in hallmark::http::endpoints(&shop.app, &Metrics::default()) {
        let page = endpoint.method == "GET" && matches!(endpoint.access, Access::Needs(_));
        if page && Family::of(endpoint.path) == Family::Web {
            let path = endpoint
                .path
                .replace("{brand}", "acme")
                .replace("{store}", "acme");
            seen.push(operator.get(&path).await);
        }
    }
    for seen in &seen {
        let header = |name: &str| seen.headers.get(name).map_or("", |value| value.to_str().unwrap());
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "style-src 'self'",
            "img-src 'self'",
            "script-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{part} {seen:?}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert!(!header("x-request-id").is_empty());
        for inline in ["<style", "style=\"", " onclick", " onload", "javascript:"] {
            assert!(!seen.text.contains(inline), "{inline} {seen:?}");
        }
        assert!(!seen.text.contains("<script>"), "{seen:?}");
    }
}

#[tokio::test]
async fn files_of_pages_are_kept_for_ever_under_a_name_of_their_content() {
    let shop = Shop::new().await;
    let browser = Browser::new(&shop);
    let page = browser.get("/login").await;
    for (ending, media) in [
        ("css", "text/css; charset=utf-8"),
        ("js", "text/javascript; charset=utf-8"),
        ("svg", "image/svg+xml"),
    ] {
        let path = regex::Regex::new(&format!(r#"/static/[a-z]+\.[0-9a-f]{{16}}\.{ending}"#)).unwrap();
        let path = path.find(&page.text).unwrap().as_str();
        let file = browser.get(path).await;
        assert_eq!(
            (file.status, file.headers["content-type"].to_str().unwrap()),
            (200, media)
        );
        assert_eq!(
            file.headers["cache-control"],
            "public, max-age=31536000, immutable"
        );
        assert_eq!(browser.get(&path.replace('.', ".0")).await.status, 404);
    }
}

#[tokio::test]
async fn over_tls_cookies_are_kept_to_it() {
    let (app, clock) = instance().await;
    let settings = Settings {
        public_url: "https://store.acme.example".to_owned(),
        ..(*app.settings).clone()
    };
    let app = App::from(AppState {
        settings: Arc::new(settings),
        ..(*app).clone()
    });
    let shop = Shop::serving(app, clock).await;
    give_password(&shop, "admin").await;
    let browser = Browser::new(&shop);
    let mark = browser.get("/login").await.mark().unwrap();
    let fields = [
        ("mark", mark.as_str()),
        ("email", "admin@people.example"),
        ("password", PASSWORD),
    ];
    // The proxy in front of it hands the request on to another address.
    let headers = [
        ("origin", "https://store.acme.example"),
        ("sec-fetch-site", "same-origin"),
    ];
    let seen = browser.submit_raw("/login", &fields, &headers).await;
    assert_eq!(seen.status, 303, "{seen:?}");
    for name in ["__Host-hallmark", "__Host-hallmark-visit"] {
        assert!(browser.cookies().contains_key(name), "{:?}", browser.cookies());
    }
    let cookie = seen.headers["set-cookie"].to_str().unwrap();
    for flag in ["; Secure", "; Path=/", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    browser.get("/start").await.shows("Welcome, ADMIN");
}

#[tokio::test]
async fn a_programs_token_is_no_log_in() {
    let shop = Shop::new().await;
    let admin = Browser::of(&shop, "admin");
    let made = admin
        .post(
            "/account/tokens",
            &[("for", "admin"), ("description", "<b>bot</b>"), ("days", "1")],
        )
        .await;
    made.shows("Copy the token now").shows("&lt;b&gt;bot&lt;/b&gt;");
    let text = regex::Regex::new("hmk_[0-9A-Za-z]{46}").unwrap();
    let text = text.find(&made.text).unwrap().as_str().to_owned();
    let answer = shop
        .http
        .get(format!("http://{}/hallmark/v1/whoami", shop.address))
        .bearer_auth(&text);
    assert_eq!(answer.send().await.unwrap().status(), 200);
    let program = Browser::new(&shop);
    program.cookie("hallmark", &text);
    assert_eq!(program.get("/start").await.location(), "/login");
    let list = admin.get("/account/tokens").await;
    list.shows("&lt;b&gt;bot&lt;/b&gt;");
    assert!(!list.text.contains(&text), "it is shown once");
    let revoke = list
        .controls()
        .into_iter()
        .find(|action| action.ends_with("/revoke"))
        .unwrap();
    admin.post(&revoke, &[]).await.shows("The token is revoked");
    let answer = shop
        .http
        .get(format!("http://{}/hallmark/v1/whoami", shop.address))
        .bearer_auth(&text);
    assert_eq!(answer.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_password_is_changed_and_other_log_ins_end() {
    let shop = Shop::new().await;
    give_password(&shop, "admin").await;
    let (here, there) = (Browser::new(&shop), Browser::new(&shop));
    for browser in [&here, &there] {
        assert_eq!(
            sign_in(browser, "admin@people.example", PASSWORD, "")
                .await
                .status,
            303
        );
    }
    let new = "another horse battery";
    for (fields, text) in [
        (
            [("current", "wrong horse battery"), ("new", new), ("again", new)],
            "the present one is wrong",
        ),
        (
            [
                ("current", PASSWORD),
                ("new", new),
                ("again", "yet another battery"),
            ],
            "typed in two ways",
        ),
        (
            [("current", PASSWORD), ("new", "short"), ("again", "short")],
            "12 characters or more",
        ),
    ] {
        let seen = here.submit("/account/password", &fields).await;
        assert_eq!(seen.status, 400);
        assert!(seen.text.contains(text), "{seen:?}");
    }
    let done = here
        .post(
            "/account/password",
            &[("current", PASSWORD), ("new", new), ("again", new)],
        )
        .await;
    done.shows("Your password is changed");
    assert_eq!(there.get("/start").await.status, 303);
    assert_eq!(
        sign_in(&Browser::new(&shop), "admin@people.example", new, "")
            .await
            .status,
        303
    );
}

#[tokio::test]
async fn the_front_door_knows_browsers_from_devices() {
    let shop = Shop::new().await;
    let browser = Browser::new(&shop);
    let seen = browser.get("/").await;
    assert_eq!((seen.status, seen.location()), (303, "/start"));
    for method in ["HEAD", "GET"] {
        let url = format!("http://{}/", shop.address);
        let answer = shop
            .http
            .request(method.parse().unwrap(), url)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers()["snap-store-version"].to_str().unwrap()
            ),
            (200, "55")
        );
    }
}

#[tokio::test]
async fn pages_are_not_described_as_an_api() {
    let shop = Shop::new().await;
    let text = Browser::new(&shop).get("/openapi.json").await.text;
    assert!(text.contains("/hallmark/v1/stores") && !text.contains("\"/brands/{brand}/stores\""));
}
