//! Links that set a new password: good once, for a day, until a newer one, for accounts that are switched on.

use hallmark::domain::access::{Account, ResetText, SecondFactor, Token};
use hallmark::ports::{AuditFilter, Change, Clock as _, Commit, Key, Versioned};
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::browser::{Browser, Seen};
use super::signing_in::{give_password, sign_in};
use crate::store::shop::Shop;

const OLD: &str = "correct horse battery";
const NEW: &str = "another horse battery";
const PAGE: &str = "/login/reset";

/// A link an operator made; the path of its page.
async fn link(shop: &Shop, who: &str) -> String {
    let path = format!("/accounts/{who}@people.example/reset-password");
    let made = shop.call("operator", "POST", &path, json!({})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.ok();
    assert_eq!(made["email"], format!("{who}@people.example"));
    let url = made["url"].as_str().unwrap();
    url.strip_prefix("http://127.0.0.1:8380").unwrap().to_owned()
}

fn secret(path: &str) -> &str {
    path.strip_prefix("/login/reset?text=").unwrap()
}

/// Sends the form of the page of a link.
async fn set(browser: &Browser<'_>, path: &str, password: &str, again: &str) -> Seen {
    // A link that is no good has no form; the mark is that of any page for visitors.
    let mark = browser.get("/login").await.mark().unwrap();
    let fields = [
        ("mark", mark.as_str()),
        ("text", secret(path)),
        ("password", password),
        ("again", again),
    ];
    let headers = [("origin", &*browser.origin()), ("sec-fetch-site", "same-origin")];
    browser.submit_raw(PAGE, &fields, &headers).await
}

fn useless(seen: &Seen) {
    assert!(
        seen.status == 404
            && seen.text.contains("ask for another one")
            && !seen.text.contains("new-password"),
        "{seen:?}"
    );
}

async fn signs_in(shop: &Shop, who: &str, password: &str) -> bool {
    let seen = sign_in(
        &Browser::new(shop),
        &format!("{who}@people.example"),
        password,
        "",
    )
    .await;
    assert!(matches!(seen.status, 303 | 401), "{seen:?}");
    seen.status == 303
}

async fn reset_of(shop: &Shop, who: &str) -> bool {
    let found = shop.app.storage.find::<Account>([&*Shop::account(who)]).await;
    found.unwrap().unwrap().record.reset.is_some()
}

#[tokio::test]
async fn a_link_sets_the_password_once_and_ends_all_log_ins_and_tokens() {
    let shop = Shop::new().await;
    shop.limited("admin", "robot", &["brand-read"]).await;
    give_password(&shop, "admin").await;
    let there = Browser::new(&shop);
    assert_eq!(sign_in(&there, "admin@people.example", OLD, "").await.status, 303);
    let others = |tokens: Vec<Token>| {
        let of_admin = tokens
            .iter()
            .filter(|token| token.account_id.as_str() == Shop::account("admin"));
        (of_admin.count(), tokens.len())
    };
    let tokens = async || {
        let all = shop.app.storage.all::<Token>(Key(Vec::new())).await.unwrap();
        others(all.into_iter().map(|found| found.record).collect())
    };
    let (own, all) = tokens().await;
    assert_eq!(own, 2);

    let path = link(&shop, "admin").await;
    let browser = Browser::new(&shop);
    for _ in 0..2 {
        let page = browser.get(&path).await;
        page.shows("admin@people.example").shows("new-password");
    }
    assert!(
        signs_in(&shop, "admin", OLD).await,
        "looking at a link changes nothing"
    );
    there.get("/start").await.shows("Welcome, ADMIN");
    set(&browser, &path, NEW, NEW)
        .await
        .shows("Your new password is set");
    assert_eq!(there.get("/start").await.status, 303, "the log-in has ended");
    let robot = shop.call("robot", "GET", "/brands/acme", Value::Null).await;
    assert_eq!(robot.status, 401, "and the token for a program");
    let (own, left) = tokens().await;
    assert_eq!((own, left), (0, all - 2), "nobody else's");
    assert!(!signs_in(&shop, "admin", OLD).await);
    assert!(signs_in(&shop, "admin", NEW).await);

    useless(&browser.get(&path).await);
    useless(&set(&browser, &path, OLD, OLD).await);
    assert!(signs_in(&shop, "admin", NEW).await && !reset_of(&shop, "admin").await);

    let filter = AuditFilter {
        limit: 1000,
        ..AuditFilter::default()
    };
    let log = shop.app.storage.audit_entries(&filter).await.unwrap();
    let about = |action: &str| {
        let action = format!("\"action\":\"{action}\"");
        let entries = log.iter().map(|(_, entry)| entry.event.clone());
        entries
            .filter(|event| event.contains(&action))
            .collect::<Vec<_>>()
    };
    let (made, used) = (about("account.reset.link"), about("account.password"));
    assert!(
        made.len() == 1
            && made[0].contains(&Shop::account("operator"))
            && made[0].contains(&Shop::account("admin")),
        "{made:?}"
    );
    assert!(
        used.len() == 2 && used.iter().any(|entry| entry.contains("\"link\"")),
        "{used:?}"
    );
    assert!(
        !format!("{log:?}").contains(secret(&path)),
        "no secrets in the record"
    );
}

#[tokio::test]
async fn a_newer_link_another_password_time_and_switching_off_end_a_link() {
    let shop = Shop::new().await;
    give_password(&shop, "admin").await;
    let browser = Browser::new(&shop);

    let (first, second) = (link(&shop, "admin").await, link(&shop, "admin").await);
    useless(&browser.get(&first).await);
    useless(&set(&browser, &first, NEW, NEW).await);
    browser.get(&second).await.shows("new-password");

    // Their own password, changed by themselves.
    let own = Browser::new(&shop);
    sign_in(&own, "admin@people.example", OLD, "").await;
    let change = [("current", OLD), ("new", NEW), ("again", NEW)];
    own.post("/account/password", &change)
        .await
        .shows("Your password is changed");
    useless(&set(&browser, &second, OLD, OLD).await);
    assert!(signs_in(&shop, "admin", NEW).await);

    let late = link(&shop, "admin").await;
    shop.clock.advance(86_399);
    browser.get(&late).await.shows("new-password");
    shop.clock.advance(1);
    useless(&browser.get(&late).await);
    useless(&set(&browser, &late, OLD, OLD).await);

    let path = link(&shop, "admin").await;
    let switched = |verb: &'static str| {
        let path = format!("/accounts/admin@people.example/{verb}");
        let shop = &shop;
        async move { shop.call("operator", "POST", &path, json!({})).await.ok() }
    };
    switched("disable").await;
    useless(&set(&browser, &path, OLD, OLD).await);
    let refused = shop
        .call(
            "operator",
            "POST",
            "/accounts/admin@people.example/reset-password",
            json!({}),
        )
        .await;
    assert_eq!(refused.refusal(), (409, "account-disabled"));
    switched("enable").await;
    useless(&set(&browser, &path, OLD, OLD).await);
    assert!(signs_in(&shop, "admin", NEW).await);

    let nobody = shop
        .call(
            "operator",
            "POST",
            "/accounts/nobody@people.example/reset-password",
            json!({}),
        )
        .await;
    assert_eq!(nobody.refusal(), (404, "resource-not-found"));
}

#[tokio::test]
async fn a_bad_password_spends_nothing_and_nonsense_is_no_link() {
    let shop = Shop::new().await;
    let path = link(&shop, "admin").await;
    let browser = Browser::new(&shop);
    for (password, again, said) in [
        ("short", "short", "12 characters or more"),
        (NEW, OLD, "typed in two ways"),
        ("", "", "12 characters or more"),
        (&*"x".repeat(1025), &*"x".repeat(1025), "12 characters or more"),
    ] {
        let seen = set(&browser, &path, password, again).await;
        assert!(seen.status == 400 && seen.text.contains(said), "{seen:?}");
        assert!(!seen.text.contains(NEW), "what was typed is not shown: {seen:?}");
    }
    // A form of somebody else's page.
    let mark = browser.get(&path).await.mark().unwrap();
    let fields = [
        ("text", secret(&path)),
        ("password", NEW),
        ("again", NEW),
        ("mark", &*mark),
    ];
    let ours = [("origin", &*browser.origin()), ("sec-fetch-site", "same-origin")];
    let foreign = [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    for (fields, headers) in [(&fields[..3], &ours), (&fields[..], &foreign)] {
        assert_eq!(browser.submit_raw(PAGE, fields, headers).await.status, 403);
    }
    let other = Browser::new(&shop);
    assert_eq!(other.submit_raw(PAGE, &fields, &ours).await.status, 403);

    let unknown = ResetText::generate(|buffer| buffer.fill(7));
    let twisted = secret(&path).replace("hmr_", "hmi_");
    for text in [
        "",
        "hmr_",
        "%00",
        "<b>",
        unknown.reveal(),
        &twisted,
        &"x".repeat(4000),
    ] {
        useless(&browser.get(&format!("{PAGE}?text={text}")).await);
        useless(&set(&browser, &format!("{PAGE}?text={text}"), NEW, NEW).await);
    }
    useless(&browser.get(&format!("{path}&text=x")).await);
    useless(&browser.get(PAGE).await);

    // Who had no password gets their first one.
    set(&browser, &path, NEW, NEW).await.shows("is set");
    assert!(signs_in(&shop, "admin", NEW).await);
}

#[tokio::test]
async fn a_second_factor_stays() {
    let shop = Shop::new().await;
    let begun = shop
        .call("admin", "POST", "/second-factor", Value::Null)
        .await
        .ok();
    let totp = Secret::try_from_base32(begun["secret"].as_str().unwrap()).unwrap();
    let totp = Builder::new().with_secret(totp).build().unwrap();
    let code = totp
        .generate(u64::try_from(shop.clock.now().unix()).unwrap())
        .to_string();
    let codes = shop
        .call("admin", "PUT", "/second-factor", json!({"code": code}))
        .await
        .ok();
    let path = link(&shop, "admin").await;
    set(&Browser::new(&shop), &path, NEW, NEW).await.shows("is set");
    assert!(!signs_in(&shop, "admin", NEW).await, "a code is wanted");
    let login = |password: &str, otp: &Value| {
        let body = json!({"email": "admin@people.example", "password": password, "otp": otp});
        let request = shop
            .http
            .post(format!("http://{}/hallmark/v1/login", shop.address))
            .body(body.to_string());
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let recovery = &codes["recovery-codes"][0];
    assert_eq!(login(NEW, &Value::Null).await, 401);
    assert_eq!(login(OLD, recovery).await, 401);
    assert_eq!(login(NEW, recovery).await, 201);
}

#[tokio::test]
async fn of_many_who_use_a_link_at_once_one_sets_the_password() {
    let shop = Shop::new().await;
    for _ in 0..3 {
        let path = link(&shop, "admin").await;
        let tries = (0..8).map(|number| {
            let (shop, path) = (&shop, &path);
            async move {
                let password = format!("password of number {number}");
                let seen = set(&Browser::new(shop), path, &password, &password).await;
                if seen.status != 200 {
                    useless(&seen);
                }
                (seen.status == 200, password)
            }
        });
        let tries = futures_util::future::join_all(tries).await;
        let won: Vec<&String> = tries
            .iter()
            .filter(|(won, _)| *won)
            .map(|(_, text)| text)
            .collect();
        assert_eq!(won.len(), 1, "{tries:?}");
        for (won, password) in &tries {
            assert_eq!(signs_in(&shop, "admin", password).await, *won, "{password}");
        }
        // Seven wrong passwords a round: the counter is not to be met.
        shop.clock.advance(1000);
    }
}

#[tokio::test]
async fn operators_make_links_on_the_page_of_accounts() {
    let shop = Shop::new().await;
    let operator = Browser::of(&shop, "operator");
    let action = "/accounts/view%40people.example/reset-password";
    operator.get("/accounts").await.shows(action);
    let made = operator.post(action, &[]).await;
    made.shows("shown this once").shows("view@people.example");
    let found = regex::Regex::new("/login/reset\\?text=hmr_[0-9A-Za-z]{46}").unwrap();
    let path = found.find(&made.text).unwrap().as_str();
    set(&Browser::new(&shop), path, NEW, NEW).await.shows("is set");
    assert!(signs_in(&shop, "view", NEW).await);
    let admin = Browser::of(&shop, "admin");
    assert!(admin.submit(action, &[]).await.absent(), "for operators only");
    assert!(!reset_of(&shop, "view").await);
}

#[tokio::test]
async fn a_link_proves_the_address_of_an_account_that_was_made_by_an_invite() {
    let shop = Shop::new().await;
    give_password(&shop, "view").await;
    // Whoever accepted in the owner's place has made themselves at home.
    let found = shop.app.storage.find::<Account>([&*Shop::account("view")]).await;
    let Versioned { mut record, version } = found.unwrap().unwrap();
    record.unproven = true;
    record.second_factor = Some(SecondFactor {
        sealed: "of somebody else".to_owned(),
        confirmed: true,
        last_step: 0,
        recovery: Vec::new(),
        since: shop.clock.now(),
    });
    shop.commit(Commit {
        records: vec![Change::replace(&record, version)],
        ..Commit::default()
    })
    .await;
    let path = link(&shop, "view").await;
    set(&Browser::new(&shop), &path, NEW, NEW)
        .await
        .shows("Your new password is set");
    assert!(
        signs_in(&shop, "view", NEW).await,
        "without a code of somebody else's"
    );
    let now = shop.app.storage.find::<Account>([&*Shop::account("view")]).await;
    assert!(!now.unwrap().unwrap().record.unproven);
}
