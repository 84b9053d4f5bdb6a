//! Signing in with a provider of log-ins, above all with one that lies.

use std::time::Duration;

use hallmark::app::{InstanceCtx, login};
use hallmark::domain::access::{Account, Token};
use hallmark::ports::{Change, Clock as _, Commit, Key, Versioned};
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::browser::{Browser, Seen};
use super::oidc_double::{Double, Lie};
use crate::store::shop::Shop;

const PASSWORD: &str = "correct horse battery";

/// Off to the provider; gives the state.
async fn leave(double: &Double, browser: &Browser<'_>, next: &str) -> String {
    let seen = browser.get(&format!("/login/provider{next}")).await;
    assert_eq!(seen.status, 303, "{seen:?}");
    assert!(seen.location().starts_with(&double.issuer()), "{seen:?}");
    double.visited(seen.location())
}

/// Off to the provider and back.
async fn sign_in(double: &Double, browser: &Browser<'_>, next: &str) -> Seen {
    let state = leave(double, browser, next).await;
    browser.get(&back(&state)).await
}

fn back(state: &str) -> String {
    format!("/login/provider/back?state={state}&code=the-code")
}

fn nobody(browser: &Browser<'_>) -> bool {
    !browser.cookies().contains_key("hallmark")
}

async fn account(shop: &Shop, email: &str) -> Versioned<Account> {
    shop.app
        .storage
        .find_unique::<Account>("email", email)
        .await
        .unwrap()
        .unwrap()
}

async fn change(shop: &Shop, who: &str, change: impl FnOnce(&mut Account)) {
    let Versioned { mut record, version } = account(shop, &format!("{who}@people.example")).await;
    change(&mut record);
    let records = vec![Change::replace(&record, version)];
    shop.commit(Commit {
        records,
        ..Commit::default()
    })
    .await;
}

/// Gives somebody a second factor; the recovery codes.
async fn enrol(shop: &Shop, who: &str) -> Vec<String> {
    let begun = shop.call(who, "POST", "/second-factor", Value::Null).await.ok();
    let secret = Secret::try_from_base32(begun["secret"].as_str().unwrap()).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    let code = totp
        .generate(u64::try_from(shop.clock.now().unix()).unwrap())
        .to_string();
    let codes = shop
        .call(who, "PUT", "/second-factor", json!({"code": code}))
        .await
        .ok();
    let codes = codes["recovery-codes"].as_array().unwrap().iter();
    codes.map(|code| code.as_str().unwrap().to_owned()).collect()
}

async fn password_works(shop: &Shop, who: &str) {
    let email = format!("{who}@people.example");
    login::login(&shop.app, None, &email, PASSWORD.to_owned().into(), None, "test")
        .await
        .unwrap();
}

#[tokio::test]
async fn an_account_is_found_by_its_address_once_and_by_its_subject_ever_after() {
    let (double, shop) = Double::new().await;
    let browser = Browser::new(&shop);
    let page = browser.get("/login?next=/brands/acme/stores").await;
    page.shows("Sign in with Acme &lt;SSO&gt;")
        .shows("/login/provider?next=%2Fbrands%2Facme%2Fstores");
    let seen = sign_in(&double, &browser, "?next=%2Fbrands%2Facme%2Fstores").await;
    assert_eq!((seen.status, seen.location()), (303, "/brands/acme/stores"));
    let cookies: Vec<&str> = seen
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    let session = cookies
        .iter()
        .find(|line| line.starts_with("hallmark=hmk_"))
        .unwrap();
    for flag in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age=43200"] {
        assert!(session.contains(flag), "{session}");
    }
    assert!(
        cookies
            .iter()
            .any(|line| line.starts_with("hallmark-provider=;") && line.contains("Max-Age=0"))
    );
    browser.get("/brands/acme/stores").await.shows("New store");
    let bound = account(&shop, "admin@people.example")
        .await
        .record
        .provider
        .unwrap();
    assert_eq!((bound.issuer, &*bound.subject), (double.issuer(), "subject-1"));
    let tokens = shop.app.storage.all::<Token>(Key(Vec::new())).await.unwrap();
    let made: Vec<&Token> = tokens
        .iter()
        .map(|found| &found.record)
        .filter(|token| token.description == "web")
        .collect();
    assert!(made.len() == 1 && made[0].person && made[0].account_id.as_str() == Shop::account("admin"));

    // Their address at the provider becomes another one, even one of somebody else here.
    for email in ["operator@people.example", "new@elsewhere.example"] {
        double.says(Lie::None, json!({"email": email}));
        let again = Browser::new(&shop);
        assert_eq!(sign_in(&double, &again, "").await.location(), "/start");
        again.get("/start").await.shows("Welcome, ADMIN");
    }
    // And somebody else of the provider gets theirs.
    double.says(Lie::None, json!({"sub": "subject-2"}));
    let seen = sign_in(&double, &Browser::new(&shop), "").await;
    assert_eq!(seen.status, 401);
    assert!(seen.text.contains("belongs to somebody else there"), "{seen:?}");
    // Until the operator unbinds it.
    let answer = shop
        .call(
            "operator",
            "POST",
            "/accounts/admin@people.example/provider/unbind",
            json!({}),
        )
        .await;
    assert_eq!(answer.ok()["provider"], Value::Null);
    assert_eq!(sign_in(&double, &Browser::new(&shop), "").await.status, 303);
    let listed = shop
        .call("operator", "GET", "/accounts/admin@people.example", Value::Null)
        .await;
    assert_eq!(listed.ok()["provider"]["subject"], "subject-2");
    // On a page, too.
    let operator = Browser::of(&shop, "operator");
    let accounts = operator.get("/accounts").await;
    accounts
        .shows("signs in with a provider")
        .shows("Unbind from the provider");
    let unbind = "/accounts/admin@people.example/unbind";
    operator.post(unbind, &[]).await.shows("is unbound");
    assert!(!operator.get("/accounts").await.text.contains("Unbind"));
    assert_eq!(operator.submit(unbind, &[]).await.status, 404);
    assert_eq!(Browser::of(&shop, "admin").submit(unbind, &[]).await.status, 404);
    double.says(Lie::None, json!({"sub": "subject-1"}));
    assert_eq!(sign_in(&double, &Browser::new(&shop), "").await.status, 303);
    let log = shop
        .call(
            "operator",
            "GET",
            "/instance/audit?action=account.provider.",
            Value::Null,
        )
        .await
        .ok();
    let actions: Vec<&str> = log["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions
            .iter()
            .filter(|action| **action == "account.provider.bind")
            .count(),
        3,
        "{log}"
    );
    assert_eq!(
        actions
            .iter()
            .filter(|action| **action == "account.provider.unbind")
            .count(),
        2,
        "{log}"
    );
}

#[tokio::test]
async fn who_took_somebodys_address_by_an_invite_is_out_when_they_come_themselves() {
    let (double, shop) = Double::new().await;
    // Mallory's password, second factor and tokens.
    change(&shop, "view", |account| account.unproven = true).await;
    let email = "view@people.example".parse().unwrap();
    login::reset_password(
        &shop.app,
        &InstanceCtx::local(),
        &email,
        PASSWORD.to_owned().into(),
    )
    .await
    .unwrap();
    change(&shop, "view", |account| account.unproven = true).await;
    password_works(&shop, "view").await;
    let held = shop
        .app
        .storage
        .find_unique::<Account>("email", email.as_str())
        .await;
    let held = held.unwrap().unwrap().record.id;
    shop.limited("admin", "program", &[]).await;
    let Versioned { mut record, version } = shop
        .app
        .storage
        .find::<Token>(["program"])
        .await
        .unwrap()
        .unwrap();
    record.account_id = held.clone();
    shop.commit(Commit {
        records: vec![Change::replace(&record, version)],
        ..Commit::default()
    })
    .await;
    change(&shop, "view", |account| {
        account.second_factor = Some(hallmark::domain::access::SecondFactor {
            sealed: "of somebody else".to_owned(),
            confirmed: true,
            last_step: 0,
            recovery: Vec::new(),
            since: shop.clock.now(),
        });
    })
    .await;

    double.says(Lie::None, json!({"email": email, "sub": "the-real-one"}));
    let browser = Browser::new(&shop);
    let seen = sign_in(&double, &browser, "").await;
    assert_eq!(
        (seen.status, seen.location()),
        (303, "/start"),
        "no code of theirs is asked for"
    );
    browser.get("/start").await.shows("Welcome, VIEW");
    let now = account(&shop, email.as_str()).await.record;
    assert!(!now.unproven && now.password.is_none() && now.second_factor.is_none());
    let tokens = shop.app.storage.all::<Token>(Key(Vec::new())).await.unwrap();
    let left: Vec<&Token> = tokens
        .iter()
        .map(|found| &found.record)
        .filter(|token| token.account_id == held)
        .collect();
    assert!(left.len() == 1 && left[0].description == "web", "{left:?}");
    let refused = login::login(
        &shop.app,
        None,
        email.as_str(),
        PASSWORD.to_owned().into(),
        None,
        "test",
    )
    .await
    .unwrap_err();
    assert_eq!(refused.code, "invalid-credentials");
    // Bound once, nothing of theirs goes again.
    browser.get("/start").await.shows("Welcome, VIEW");
    assert_eq!(sign_in(&double, &Browser::new(&shop), "").await.status, 303);
}

#[tokio::test]
async fn only_the_browser_that_left_comes_back_once_and_in_time() {
    let (double, shop) = Double::new().await;
    let (browser, other) = (Browser::new(&shop), Browser::new(&shop));
    let state = leave(&double, &browser, "").await;
    let foreign = leave(&double, &other, "").await;
    for path in [
        back("wrong"),
        back(""),
        back(&foreign),
        format!("{}&state=x", back(&state)),
        "/login/provider/back".to_owned(),
    ] {
        // The browser keeps what it was given, so that each attempt is about the state alone.
        let ticket = browser.cookies()["hallmark-provider"].clone();
        let seen = browser.get(&path).await;
        assert_eq!(seen.status, 401, "{path}");
        assert!(seen.text.contains("begin again") && nobody(&browser), "{seen:?}");
        browser.cookie("hallmark-provider", &ticket);
    }
    // The state of one with the ticket of the other, and with a ticket that says another page.
    let ticket = browser.cookies()["hallmark-provider"].clone();
    let stranger = Browser::new(&shop);
    assert_eq!(stranger.get(&back(&state)).await.status, 401);
    stranger.cookie("hallmark-provider", &format!("{ticket}x"));
    assert_eq!(stranger.get(&back(&state)).await.status, 401);
    let from = ticket.split('.').next().unwrap();
    stranger.cookie("hallmark-provider", &ticket.replacen(from, "1780272001", 1));
    assert_eq!(stranger.get(&back(&state)).await.status, 401);
    assert_eq!(
        double.plan.lock().unwrap().redeemed,
        0,
        "nothing of that reached the provider"
    );

    let state = leave(&double, &browser, "").await;
    let ticket = browser.cookies()["hallmark-provider"].clone();
    assert_eq!(browser.get(&back(&state)).await.status, 303);
    // Played again, by who has seen all of it.
    stranger.cookie("hallmark-provider", &ticket);
    assert_eq!(stranger.get(&back(&state)).await.status, 401);
    assert!(nobody(&stranger));

    let late = Browser::new(&shop);
    let state = leave(&double, &late, "").await;
    shop.clock.advance(601);
    assert_eq!(late.get(&back(&state)).await.status, 401);
    assert_eq!(double.plan.lock().unwrap().redeemed, 1);
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_in_plain_words() {
    let (double, shop) = Double::new().await;
    for (query, told) in [
        (
            "error=access_denied&error_description=%3Cb%3Eno",
            "says access_denied",
        ),
        ("error=%3Cscript%3Ealert(1)", "says scriptalert"),
        ("code=", "says nothing"),
        (
            "code=the-code&iss=https://evil.example",
            "somebody else sent you back",
        ),
        ("code=another-code", "says invalid_grant"),
    ] {
        let browser = Browser::new(&shop);
        let state = leave(&double, &browser, "").await;
        let seen = browser
            .get(&format!("/login/provider/back?state={state}&{query}"))
            .await;
        assert_eq!(seen.status, 401, "{query}");
        assert!(seen.text.contains(told) && nobody(&browser), "{seen:?}");
        assert!(
            !seen.text.contains("<b>no") && !seen.text.contains("<script>"),
            "{seen:?}"
        );
    }
    let browser = Browser::new(&shop);
    let state = leave(&double, &browser, "").await;
    let long = format!("/login/provider/back?state={state}&code={}", "x".repeat(5000));
    assert_eq!(browser.get(&long).await.status, 401);
    let seen = Browser::new(&shop)
        .get(&format!("/login/provider?next={}", "/x".repeat(3000)))
        .await;
    assert_eq!(seen.status, 303, "{seen:?}");
    // The verifier of one sign-in redeems no code of another.
    let browser = Browser::new(&shop);
    let state = leave(&double, &browser, "").await;
    double.plan.lock().unwrap().nonces.clear();
    let seen = browser.get(&back(&state)).await;
    assert!(
        seen.status == 401 && seen.text.contains("invalid_grant"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn nothing_the_provider_did_not_sign_for_us_now_is_believed() {
    let (double, shop) = Double::new().await;
    let now = shop.clock.now().unix();
    for (lie, claims) in [
        (Lie::Tampered, json!({})),
        (Lie::Unsigned, json!({})),
        (Lie::Symmetric, json!({})),
        (Lie::ForeignKey, json!({})),
        (Lie::UnknownKey, json!({})),
        (Lie::Missing, json!({})),
        (Lie::OtherAccessToken, json!({})),
        (Lie::None, json!({"aud": "somebody-else"})),
        (Lie::None, json!({"aud": ["hallmark-tests", "somebody-else"]})),
        (Lie::None, json!({"aud": null})),
        (Lie::None, json!({"iss": "https://evil.example"})),
        (Lie::None, json!({"nonce": "another"})),
        (Lie::None, json!({"nonce": null})),
        (Lie::None, json!({"exp": now - 1})),
        (Lie::None, json!({"exp": null})),
        (Lie::None, json!({"sub": ""})),
        (Lie::None, json!({"sub": "x".repeat(256)})),
    ] {
        double.says(lie, claims.clone());
        let browser = Browser::new(&shop);
        let seen = sign_in(&double, &browser, "").await;
        assert!(matches!(seen.status, 401 | 503), "{lie:?} {claims} {seen:?}");
        assert!(
            seen.text.contains("cannot sign in with") && nobody(&browser),
            "{lie:?} {claims} {seen:?}"
        );
    }
    double.says(Lie::None, json!({}));
    assert!(
        account(&shop, "admin@people.example")
            .await
            .record
            .provider
            .is_none()
    );
    assert_eq!(sign_in(&double, &Browser::new(&shop), "").await.status, 303);
}

#[tokio::test]
async fn who_has_no_account_gets_none_and_is_told_no_more() {
    let (double, shop) = Double::new().await;
    change(&shop, "pub", |account| account.disabled = true).await;
    let mut told = Vec::new();
    for claims in [
        json!({"email": "nobody@people.example"}),
        json!({"email": "pub@people.example"}),
        json!({"email_verified": false}),
        json!({"email_verified": null}),
        json!({"email": null}),
        json!({"email": "no address"}),
    ] {
        double.says(Lie::None, claims.clone());
        let browser = Browser::new(&shop);
        let seen = sign_in(&double, &browser, "").await;
        assert!(seen.status == 401 && nobody(&browser), "{claims} {seen:?}");
        told.push(
            seen.main()
                .replace(&browser.get("/login").await.mark().unwrap(), "MARK"),
        );
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    // An account that is switched off after it was bound.
    double.says(Lie::None, json!({}));
    assert_eq!(sign_in(&double, &Browser::new(&shop), "").await.status, 303);
    change(&shop, "admin", |account| account.disabled = true).await;
    assert_eq!(sign_in(&double, &Browser::new(&shop), "").await.status, 401);
}

#[tokio::test]
async fn where_it_is_wanted_people_get_an_account_and_no_role() {
    let (double, shop) = Double::with(|options| options.1 = true).await;
    double.says(
        Lie::None,
        json!({"email": "New.One@people.example", "name": "<i>New</i> One", "sub": "9"}),
    );
    let browser = Browser::new(&shop);
    assert_eq!(sign_in(&double, &browser, "").await.status, 303);
    browser
        .get("/account")
        .await
        .shows("&lt;i&gt;New&lt;/i&gt; One")
        .shows("new-one")
        .shows("You have no role");
    assert!(browser.get("/brands/acme").await.absent());
    let made = account(&shop, "new.one@people.example").await.record;
    assert!(made.password.is_none() && !made.operator);
    double.says(
        Lie::None,
        json!({"email": "other@people.example", "email_verified": false, "sub": "10"}),
    );
    assert_eq!(sign_in(&double, &Browser::new(&shop), "").await.status, 401);
}

#[tokio::test]
async fn the_address_may_be_elsewhere() {
    // Apart from the ID token.
    let (double, shop) = Double::new().await;
    double.plan.lock().unwrap().user_info =
        json!({"sub": "subject-1", "email": "admin@people.example", "email_verified": true});
    double.says(Lie::None, json!({"email": null, "email_verified": null}));
    assert_eq!(sign_in(&double, &Browser::new(&shop), "").await.status, 303);
    // There it has to be about the same person.
    double.plan.lock().unwrap().user_info["sub"] = "subject-2".into();
    double.says(
        Lie::None,
        json!({"email": null, "email_verified": null, "sub": "subject-3"}),
    );
    let seen = sign_in(&double, &Browser::new(&shop), "").await;
    assert!(
        seen.status == 401 && seen.text.contains("does not hold"),
        "{seen:?}"
    );

    // In another claim, not called verified; and a provider that wants the secret in the body.
    let (double, shop) = Double::with(|options| {
        options.0.email_claim = "upn".to_owned();
        options.0.trust_email = true;
    })
    .await;
    double.plan.lock().unwrap().methods = vec!["client_secret_post"];
    double.says(
        Lie::None,
        json!({"email": "view@people.example", "email_verified": null, "upn": "admin@people.example"}),
    );
    let browser = Browser::new(&shop);
    assert_eq!(sign_in(&double, &browser, "").await.status, 303);
    browser.get("/start").await.shows("Welcome, ADMIN");
}

#[tokio::test]
async fn a_second_factor_of_ours_is_asked_for_besides() {
    let (double, shop) = Double::new().await;
    let codes = enrol(&shop, "admin").await;
    let (browser, other) = (Browser::new(&shop), Browser::new(&shop));
    let page = sign_in(&double, &browser, "?next=/brands/acme/stores").await;
    page.shows("Your account has a second factor");
    assert!(nobody(&browser));
    assert!(
        account(&shop, "admin@people.example")
            .await
            .record
            .provider
            .is_none(),
        "the provider alone binds nothing"
    );
    let half = regex::Regex::new(r#"name="half" value="([^"]+)""#).unwrap();
    let half = half.captures(&page.text).unwrap()[1].to_owned();
    let headers = [("origin", &*browser.origin()), ("sec-fetch-site", "same-origin")];
    let mark = page.mark().unwrap();
    let foreign = other.get("/login").await.mark().unwrap();
    let send = async |browser: &Browser<'_>, mark: &str, half: &str, otp: &str| {
        let fields = [("mark", mark), ("half", half), ("otp", otp)];
        browser
            .submit_raw("/login/provider/code", &fields, &headers)
            .await
    };
    let wrong = send(&browser, &mark, &half, "000000").await;
    assert!(
        wrong.status == 401 && wrong.text.contains("it is wrong, too old") && wrong.text.contains(&half),
        "{wrong:?}"
    );
    assert_eq!(send(&browser, &mark, &half, "").await.status, 401);
    assert_eq!(send(&browser, "", &half, &codes[0]).await.status, 403);
    assert_eq!(
        send(&other, &foreign, &half, &codes[0]).await.status,
        401,
        "made for another browser"
    );
    let changed = format!("{}{half}", if half.starts_with('e') { "f" } else { "e" });
    assert_eq!(send(&browser, &mark, &changed, &codes[0]).await.status, 401);
    let done = send(&browser, &mark, &half, &codes[0]).await;
    assert_eq!(
        (done.status, done.location()),
        (303, "/brands/acme/stores"),
        "{done:?}"
    );
    browser.get("/start").await.shows("Welcome, ADMIN");
    assert!(
        account(&shop, "admin@people.example")
            .await
            .record
            .provider
            .is_some()
    );
    assert_eq!(
        send(&browser, &mark, &half, &codes[0]).await.status,
        401,
        "the code is spent"
    );

    let late = Browser::new(&shop);
    let page = sign_in(&double, &late, "").await;
    shop.clock.advance(601);
    let half = regex::Regex::new(r#"name="half" value="([^"]+)""#)
        .unwrap()
        .captures(&page.text)
        .unwrap()[1]
        .to_owned();
    assert_eq!(
        send(&late, &page.mark().unwrap(), &half, &codes[1]).await.status,
        401
    );
}

#[tokio::test]
async fn without_the_provider_passwords_go_on() {
    let (double, shop) = Double::new().await;
    let email = "admin@people.example".parse().unwrap();
    login::reset_password(
        &shop.app,
        &InstanceCtx::local(),
        &email,
        PASSWORD.to_owned().into(),
    )
    .await
    .unwrap();
    drop(double);
    // Its port is closed as soon as the task is gone.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let browser = Browser::new(&shop);
    let seen = browser.get("/login/provider?next=/start").await;
    assert_eq!(seen.status, 503, "{seen:?}");
    assert!(
        seen.text.contains("does not answer; use your password"),
        "{seen:?}"
    );
    assert!(seen.text.contains("name=\"password\""), "{seen:?}");
    password_works(&shop, "admin").await;
}

#[tokio::test]
async fn a_provider_that_stops_between_leaving_and_coming_back_is_told_so() {
    let (double, shop) = Double::new().await;
    let browser = Browser::new(&shop);
    let state = leave(&double, &browser, "").await;
    drop(double);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let seen = browser.get(&back(&state)).await;
    assert!(
        seen.status == 503 && seen.text.contains("does not answer") && nobody(&browser),
        "{seen:?}"
    );
}

#[tokio::test]
async fn many_come_at_once_and_an_account_is_bound_to_one() {
    let (double, shop) = Double::new().await;
    let browsers: Vec<Browser<'_>> = (0..8).map(|_| Browser::new(&shop)).collect();
    let mut paths = Vec::new();
    for (n, browser) in browsers.iter().enumerate() {
        let state = leave(&double, browser, "").await;
        paths.push(format!("/login/provider/back?state={state}&code=code-of-{n}"));
    }
    let coming = browsers
        .iter()
        .zip(&paths)
        .map(|(browser, path)| browser.get(path));
    let seen = futures_util::future::join_all(coming).await;
    assert_eq!(
        seen.iter().filter(|seen| seen.status == 303).count(),
        1,
        "{seen:?}"
    );
    assert_eq!(
        seen.iter().filter(|seen| seen.status == 401).count(),
        7,
        "{seen:?}"
    );
}

#[tokio::test]
async fn there_is_no_such_page_where_no_provider_is_set_up() {
    let shop = Shop::new().await;
    let browser = Browser::new(&shop);
    assert!(!browser.get("/login").await.text.contains("/login/provider"));
    for path in ["/login/provider", "/login/provider/back?state=x&code=y"] {
        let seen = browser.get(path).await;
        assert_eq!(seen.status, 404, "{seen:?}");
    }
}
