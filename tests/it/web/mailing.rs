//! Letters: links for forgotten passwords and invites, sent by a mail server that refuses, waits, or is not there.

use std::sync::Arc;
use std::time::Duration;

use hallmark::adapters::smtp::{Protection, SmtpOptions};
use hallmark::app::mail::{self, Post};
use hallmark::app::{App, AppState};
use hallmark::domain::mail::OutgoingMail;
use hallmark::ports::{AuditFilter, Key, Kind};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::browser::{Browser, Seen};
use super::signing_in::{give_password, sign_in};
use super::smtp_double::{Double, PASSWORD, USER};
use crate::harness::instance;
use crate::store::shop::Shop;

const NEW: &str = "another horse battery";
const PAGE: &str = "/login/forgotten";
const ADMIN: &str = "admin@people.example";

/// A shop that sends mail; its administrator has a password.
async fn shop() -> (Double, Shop) {
    shop_with(|_| ()).await
}

async fn shop_with(change: impl FnOnce(&mut SmtpOptions)) -> (Double, Shop) {
    let double = Double::new().await;
    let (app, clock) = instance().await;
    let app = App::from(AppState {
        post: Some(Post::new(Arc::new(double.mailer(change)))),
        ..(*app).clone()
    });
    let shop = Shop::serving(app, clock).await;
    give_password(&shop, "admin").await;
    (double, shop)
}

/// Asks for a link, as somebody who is not logged in.
async fn forget(shop: &Shop, email: &str) -> Seen {
    let browser = Browser::new(shop);
    let mark = browser.get(PAGE).await.mark().unwrap_or_default();
    let fields = [("mark", mark.as_str()), ("email", email)];
    let headers = [("origin", &*browser.origin()), ("sec-fetch-site", "same-origin")];
    browser.submit_raw(PAGE, &fields, &headers).await
}

async fn waiting(shop: &Shop) -> Vec<OutgoingMail> {
    let all = shop
        .app
        .storage
        .all::<OutgoingMail>(Key(Vec::new()))
        .await
        .unwrap();
    all.into_iter().map(|found| found.record).collect()
}

/// Everything the audit log says.
async fn audited(shop: &Shop) -> String {
    let filter = AuditFilter {
        limit: 1000,
        ..AuditFilter::default()
    };
    let entries = shop.app.storage.audit_entries(&filter).await.unwrap();
    entries
        .iter()
        .map(|(_, entry)| format!("{}\n", entry.event))
        .collect()
}

/// Sets a password with the link of a letter.
async fn set(shop: &Shop, path: &str) -> Seen {
    let browser = Browser::new(shop);
    let mark = browser.get("/login").await.mark().unwrap();
    let text = path.split_once("?text=").unwrap().1;
    let fields = [
        ("mark", &*mark),
        ("text", text),
        ("password", NEW),
        ("again", NEW),
    ];
    let headers = [("origin", &*browser.origin()), ("sec-fetch-site", "same-origin")];
    browser.submit_raw("/login/reset", &fields, &headers).await
}

async fn eventually(what: &str, mut there: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if there().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} does not come");
}

#[tokio::test]
async fn who_forgot_the_password_gets_a_letter_and_sets_another() {
    let (double, shop) = shop().await;
    let stop = CancellationToken::new();
    let delivery = tokio::spawn(mail::deliver(shop.app.clone(), stop.clone().cancelled_owned()));
    Browser::new(&shop)
        .get("/login")
        .await
        .shows("href=\"/login/forgotten\"");
    forget(&shop, " Admin@People.example ")
        .await
        .shows("a link is on its way");
    eventually("the letter", async || !double.letters().is_empty()).await;
    let letter = double.letters().remove(0);
    assert_eq!(
        (&*letter.from, &letter.to[..]),
        ("store@acme.example", &[ADMIN.to_owned()][..])
    );
    assert_eq!(letter.header("To"), ADMIN);
    assert!(
        letter.header("From").contains("<store@acme.example>"),
        "{letter:?}"
    );
    assert_eq!(letter.header("Subject"), "Set a new password");
    assert_eq!(letter.header("Auto-Submitted"), "auto-generated");
    assert!(letter.header("Content-Type").starts_with("text/plain"));
    let body = letter.body();
    assert!(
        body.starts_with("Somebody, perhaps you, asked") && body.contains("2026-06-02T00:00:00Z"),
        "{body}"
    );
    assert!(
        body.trim_end().ends_with("your password stays as it is."),
        "it came whole: {body}"
    );
    eventually("an empty outbox", async || waiting(&shop).await.is_empty()).await;

    set(&shop, &letter.link()).await.shows("is set");
    let seen = sign_in(&Browser::new(&shop), ADMIN, NEW, "").await;
    assert_eq!(seen.status, 303);
    let log = audited(&shop).await;
    assert!(
        log.contains("account.reset.request") && !log.contains("hmr_"),
        "{log}"
    );
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), delivery)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn nobody_learns_which_accounts_there_are_and_letters_are_rare() {
    let (double, shop) = shop().await;
    shop.person_with("gone", &["view"]).await;
    give_password(&shop, "gone").await;
    let disable = shop
        .call(
            "operator",
            "POST",
            "/accounts/gone@people.example/disable",
            json!({}),
        )
        .await;
    disable.ok();
    let known = forget(&shop, ADMIN).await;
    known.shows("If there is an account");
    for other in [
        "nobody@people.example",
        // Without a password; switched off; asked for moments ago.
        "view@people.example",
        "gone@people.example",
        ADMIN,
        "no address",
        "",
        "a@b\r\nBcc: c@d.example",
    ] {
        let seen = forget(&shop, other).await;
        assert_eq!((seen.status, seen.main()), (200, known.main()), "{other}");
    }
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 1);
    let first = double.letters().remove(0);
    shop.clock.advance(899);
    forget(&shop, ADMIN).await.shows("is on its way");
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0);
    // Not from the same network, which has asked for nine.
    shop.clock.advance(901);
    forget(&shop, ADMIN).await.shows("is on its way");
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 1);
    let second = double.letters().remove(1);
    assert_eq!(
        set(&shop, &first.link()).await.status,
        404,
        "the newer one counts"
    );
    set(&shop, &second.link()).await.shows("is set");
}

#[tokio::test]
async fn a_network_asks_for_ten_links_in_a_quarter_of_an_hour() {
    let (_double, shop) = shop().await;
    for number in 0..10 {
        forget(&shop, &format!("nobody{number}@people.example"))
            .await
            .shows("is on its way");
    }
    for email in [ADMIN, "nobody@people.example"] {
        let seen = forget(&shop, email).await;
        assert!(
            seen.status == 429 && seen.text.contains("try again in 15 minutes"),
            "{seen:?}"
        );
    }
    assert!(waiting(&shop).await.is_empty());
    shop.clock.advance(901);
    forget(&shop, ADMIN).await.shows("is on its way");
    assert_eq!(waiting(&shop).await.len(), 1);
    // A form of somebody else's page.
    let browser = Browser::new(&shop);
    let fields = [("email", ADMIN)];
    assert_eq!(browser.submit_raw(PAGE, &fields, &[]).await.status, 403);
}

#[tokio::test]
async fn without_a_mail_server_nothing_is_offered() {
    let shop = Shop::new().await;
    let page = Browser::new(&shop).get("/login").await;
    assert!(!page.text.contains(PAGE), "{page:?}");
    for seen in [Browser::new(&shop).get(PAGE).await, forget(&shop, ADMIN).await] {
        assert_eq!(seen.status, 404, "{seen:?}");
        assert!(seen.text.contains("sends no mail"), "{seen:?}");
    }
    assert_eq!(mail::round(&shop.app, true).await.unwrap(), 0);
}

#[tokio::test]
async fn what_waits_is_sealed() {
    let (_double, shop) = shop().await;
    forget(&shop, ADMIN).await.shows("is on its way");
    let kept = shop
        .app
        .storage
        .records(Kind::OutgoingMail, &Key(Vec::new()))
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    let text = String::from_utf8(kept[0].json.clone()).unwrap();
    for secret in ["admin", "hmr_", "password", "login"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_letter_that_is_not_taken_now_is_sent_later() {
    let (double, shop) = shop().await;
    double.answers("RCPT", "451 later, admin@people.example");
    double.answers(".", "452 full");
    forget(&shop, ADMIN).await.shows("is on its way");
    for pause in [60, 120] {
        assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0);
        shop.clock.advance(pause - 1);
        assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0, "not yet");
        assert_eq!(waiting(&shop).await.len(), 1);
        shop.clock.advance(1);
    }
    assert!(double.letters().is_empty());
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 1);
    assert_eq!(double.letters().len(), 1);
    assert!(waiting(&shop).await.is_empty());
    set(&shop, &double.letters()[0].link()).await.shows("is set");
}

#[tokio::test]
async fn a_letter_that_is_refused_or_too_old_is_given_up_and_the_audit_log_says_so() {
    let (double, shop) = shop().await;
    double.answers("RCPT", "550 no admin@people.example here");
    forget(&shop, ADMIN).await.shows("is on its way");
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0);
    assert!(waiting(&shop).await.is_empty() && double.letters().is_empty());
    let log = audited(&shop).await;
    let failed: Vec<&str> = log.lines().filter(|line| line.contains("mail.failed")).collect();
    assert!(
        failed.len() == 1 && failed[0].contains("answered 550") && failed[0].contains(ADMIN),
        "{log}"
    );
    assert!(!log.contains("hmr_") && !log.contains("here"), "{log}");

    // A day later it is no use: the link is not good any more.
    shop.clock.advance(901);
    double.answers("RCPT", "450 later");
    forget(&shop, ADMIN).await.shows("is on its way");
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0);
    shop.clock.advance(86_400);
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0);
    assert!(waiting(&shop).await.is_empty() && double.letters().is_empty());
    assert_eq!(audited(&shop).await.matches("mail.failed").count(), 2);
}

#[tokio::test]
async fn a_wrong_password_for_the_mail_server_loses_no_letter() {
    let log_in = |password: &'static str| {
        move |options: &mut SmtpOptions| {
            options.login = Some((USER.to_owned(), password.to_owned().into()));
        }
    };
    let (double, shop) = shop_with(log_in("wrong")).await;
    double.plan.lock().unwrap().asks = true;
    forget(&shop, ADMIN).await.shows("is on its way");
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0);
    for answer in ["530 first say who you are", "534 too weak", "538 over TLS"] {
        double.answers("AUTH", answer);
        assert_eq!(mail::round(&shop.app, true).await.unwrap(), 0);
    }
    let left = waiting(&shop).await;
    assert_eq!((left.len(), left[0].attempts), (1, 4));
    assert!(!audited(&shop).await.contains("mail.failed"));
    // Set right, after a restart of the server: at once.
    let app = App::from(AppState {
        post: Some(Post::new(Arc::new(double.mailer(log_in(PASSWORD))))),
        ..(*shop.app).clone()
    });
    assert_eq!(mail::round(&app, true).await.unwrap(), 1);
    let said = double.plan.lock().unwrap().said.join("\n");
    assert!(said.contains("EHLO store.acme.example"), "{said}");
}

#[tokio::test]
async fn nothing_is_sent_in_the_open_that_should_be_protected() {
    for protection in [Protection::StartTls, Protection::Tls] {
        let (double, shop) = shop_with(|options| options.protection = protection).await;
        forget(&shop, ADMIN).await.shows("is on its way");
        if protection == Protection::StartTls {
            assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0);
            let said = double.plan.lock().unwrap().said.join("\n");
            assert!(!said.contains("MAIL"), "{said}");
        } else {
            // The double does not speak TLS: it waits for a line that does not come, and so do we.
            let round = tokio::time::timeout(Duration::from_secs(2), mail::round(&shop.app, false)).await;
            assert!(round.is_err() || round.unwrap().unwrap() == 0);
        }
        assert!(double.letters().is_empty());
        assert_eq!(waiting(&shop).await.len(), 1);
    }
}

#[tokio::test]
async fn where_the_server_is_out_of_reach_one_letter_is_tried_for_all() {
    let (double, shop) = shop().await;
    give_password(&shop, "pub").await;
    let address = double.address;
    drop(double);
    for email in [ADMIN, "pub@people.example"] {
        forget(&shop, email).await.shows("is on its way");
    }
    eventually("the end of the double", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 0);
    let tried: Vec<u32> = waiting(&shop).await.iter().map(|mail| mail.attempts).collect();
    assert_eq!(tried.iter().sum::<u32>(), 1, "{tried:?}");
    let double = Double::at(address).await;
    assert_eq!(mail::round(&shop.app, true).await.unwrap(), 2);
    let mut to: Vec<String> = double
        .letters()
        .into_iter()
        .flat_map(|letter| letter.to)
        .collect();
    to.sort();
    assert_eq!(to, [ADMIN, "pub@people.example"]);
}

#[tokio::test]
async fn of_several_processes_one_sends_a_letter() {
    let (double, shop) = shop().await;
    for who in ["pub", "rev", "view"] {
        give_password(&shop, who).await;
        forget(&shop, &format!("{who}@people.example"))
            .await
            .shows("is on its way");
    }
    let rounds = (0..4).map(|_| mail::round(&shop.app, false));
    let sent: usize = futures_util::future::join_all(rounds)
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert_eq!((sent, double.letters().len()), (3, 3));
    assert!(waiting(&shop).await.is_empty());
}

#[tokio::test]
async fn invites_are_mailed_with_a_link_that_shows_and_accepts_them() {
    let (double, shop) = shop().await;
    let made = json!({"id": "kiosk", "name": "Kiosks & Größe", "parent": "acme", "kind": "ecosystem"});
    shop.person_with("boss", &["admin"]).await;
    shop.call("boss", "POST", "/stores", made).await.ok();
    let invites = "/brands/acme/stores/kiosk/invites";
    let boss = Browser::of(&shop, "boss");
    let email = "new@else.example";
    let seen = boss.post(invites, &[("email", email), ("role", "view")]).await;
    seen.shows("on its way to")
        .shows(email)
        .shows("/login/invite?text=hmi_");
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 1);
    let first = double.letters().remove(0);
    assert_eq!(first.to, [email]);
    let body = first.body();
    assert!(
        body.contains("Kiosks & Größe (kiosk)") && body.contains("as viewer"),
        "{body}"
    );

    let resent = shop
        .call(
            "boss",
            "POST",
            &format!("/stores/kiosk/invites/{email}/resend"),
            json!({}),
        )
        .await
        .ok();
    assert_eq!(resent["mailed"], true);
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 1);
    let second = double.letters().remove(1);
    assert!(
        resent["url"].as_str().unwrap().ends_with(&second.link()),
        "{resent}"
    );
    let revoked = [("email", email)];
    let browser = Browser::new(&shop);
    assert_eq!(browser.get(&first.link()).await.status, 404, "replaced");
    let offer = browser.get(&second.link()).await;
    offer.shows("Kiosks &amp; Größe").shows("new-password");
    let text = second.link().split_once("?text=").unwrap().1.to_owned();
    let mark = offer.mark().unwrap();
    let fields = [
        ("mark", &*mark),
        ("invite", &*text),
        ("accept", "yes"),
        ("password", NEW),
        ("again", NEW),
    ];
    let headers = [("origin", &*browser.origin()), ("sec-fetch-site", "same-origin")];
    let done = browser.submit_raw("/login/invite", &fields, &headers).await;
    done.shows("is now viewer");
    assert_eq!(browser.get(&second.link()).await.status, 404, "used");
    assert_eq!(sign_in(&Browser::new(&shop), email, NEW, "").await.status, 303);

    // What is taken back is not mailed.
    boss.post(invites, &[("email", "other@else.example"), ("role", "view")])
        .await
        .shows("on its way");
    boss.post(&format!("{invites}/revoke"), &[("email", "other@else.example")])
        .await
        .shows("taken back");
    assert_eq!(waiting(&shop).await.len(), 1, "the letter of before only");
    assert_eq!(
        boss.submit(&format!("{invites}/revoke"), &revoked).await.status,
        404
    );
}

#[tokio::test]
async fn who_is_asked_to_help_with_a_snap_gets_a_letter() {
    let (double, shop) = shop().await;
    let made = json!({"snap_name": "gizmo", "series": "16"});
    shop.api("pub", "POST", "/dev/api/register-name/", made)
        .await
        .ok();
    let invites = "/v1/snap/gizmo/collaborators/invites";
    let email = "view@people.example";
    let asked = json!({"invites": [{"email": email}, {"email": "nobody@else.example"}]});
    let told = shop.api("pub", "POST", invites, asked).await.ok();
    let token = told["tokens"][0]["token"].as_str().unwrap();
    assert_eq!(mail::round(&shop.app, false).await.unwrap(), 2);
    let letters = double.letters();
    let letter = letters.iter().find(|letter| letter.to == [email]).unwrap();
    let body = letter.body();
    assert!(body.contains(token) && body.contains("gizmo"), "{body}");
    assert!(body.contains("hallmark snap accept-invite"), "{body}");
    let link = letter.link();
    let page = format!("/account/snap-invite?text={token}");
    assert_eq!(link, page);
    // It leads by the sign-in page and back, and shows what it is about without spending it.
    let unknown = Browser::new(&shop).get(&link).await;
    assert_eq!(unknown.status, 303);
    assert!(
        unknown
            .location()
            .starts_with("/login?next=%2Faccount%2Fsnap-invite"),
        "{unknown:?}"
    );
    let browser = Browser::of(&shop, "view");
    for _ in 0..2 {
        browser.get(&link).await.shows("gizmo").shows("pub-name");
    }
    let fields = [("invite", token), ("answer", "accept")];
    let done = browser.post("/account/snap-invite", &fields).await;
    done.shows("You help with").shows("/brands/acme/snaps/gizmo");
    browser.get("/brands/acme/snaps/gizmo").await.shows("gizmo");
    assert_eq!(shop.snap("gizmo").await.collaborators.len(), 1);
    // What is refused is not mailed.
    let twice = json!({"invites": [{"email": email}]});
    let refused = shop.api("pub", "POST", invites, twice).await;
    assert_eq!(refused.refusal(), (409, "already-collaborator"));
    assert_eq!(waiting(&shop).await.len(), 0);
}
