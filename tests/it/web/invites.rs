//! Inviting on the page of members, and accepting without an account, with a browser.

use regex::Regex;
use serde_json::json;

use super::browser::{Browser, Seen};
use crate::store::shop::Shop;

const MEMBERS: &str = "/brands/acme/stores/kiosk/members";
const INVITES: &str = "/brands/acme/stores/kiosk/invites";
const ACCEPT: &str = "/login/invite";
const PASSWORD: &str = "correct horse battery";

async fn shop() -> Shop {
    let shop = Shop::new().await;
    let made = json!({"id": "kiosk", "name": "<b>Kiosks", "parent": "acme", "kind": "ecosystem"});
    shop.call("admin", "POST", "/stores", made).await.ok();
    shop
}

/// The text of the invite on a page that shows one.
fn text(seen: &Seen) -> String {
    let field = Regex::new(r#"value="(hmi_[A-Za-z0-9_-]+)""#).unwrap();
    let found = field.captures(&seen.text);
    found.map_or_else(|| panic!("no text in {seen:?}"), |found| found[1].to_owned())
}

/// Sends the form of the page of invites like somebody who is not logged in.
async fn accept(browser: &Browser<'_>, fields: &[(&str, &str)]) -> Seen {
    let mark = browser.get(ACCEPT).await.mark().unwrap_or_default();
    let fields = [&[("mark", mark.as_str())], fields].concat();
    let headers = [("origin", &*browser.origin()), ("sec-fetch-site", "same-origin")];
    browser.submit_raw(ACCEPT, &fields, &headers).await
}

#[tokio::test]
async fn somebody_new_is_invited_accepts_and_administers_that_store_only() {
    let shop = shop().await;
    let admin = Browser::of(&shop, "admin");
    let fields = [("email", "Partner@Else.example"), ("role", "admin")];
    let invited = admin.post(INVITES, &fields).await;
    invited.shows("shown this once");
    let secret = text(&invited);
    let listed = admin.get(MEMBERS).await;
    listed.shows("partner@else.example").shows("pending");
    assert!(!listed.text.contains(&secret), "it is shown once");

    let partner = Browser::new(&shop);
    partner.get("/login").await.shows("href=\"/login/invite\"");
    let offered = accept(&partner, &[("invite", &format!(" {secret} "))]).await;
    offered
        .shows("&lt;b&gt;Kiosks")
        .shows("administrator")
        .shows("name=\"password\"");
    let accepted = |password, again| {
        let fields = [
            ("invite", secret.clone()),
            ("accept", "yes".to_owned()),
            ("password", password),
            ("again", again),
            ("username", "partner".to_owned()),
            ("name", "<i>Partner".to_owned()),
        ];
        let partner = &partner;
        async move {
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, text)| (*name, text.as_str())).collect();
            accept(partner, &fields).await
        }
    };
    let differ = accepted(PASSWORD.to_owned(), "other".to_owned()).await;
    assert_eq!(differ.status, 400);
    assert!(differ.text.contains("typed in two ways"), "{differ:?}");
    assert!(
        differ.text.contains("value=\"&lt;i&gt;Partner\""),
        "what was entered stays: {differ:?}"
    );
    assert!(
        !differ.text.contains(PASSWORD),
        "but for the password: {differ:?}"
    );
    let short = accepted("short".to_owned(), "short".to_owned()).await;
    assert_eq!(short.status, 400, "{short:?}");
    let done = accepted(PASSWORD.to_owned(), PASSWORD.to_owned()).await;
    done.shows("partner@else.example is now administrator in");
    let again = accepted(PASSWORD.to_owned(), PASSWORD.to_owned()).await;
    assert_eq!(again.status, 404);
    assert!(again.text.contains("cannot find the invite"), "{again:?}");

    let mark = partner.get("/login").await.mark().unwrap();
    let fields = [
        ("mark", &*mark),
        ("email", "partner@else.example"),
        ("password", PASSWORD),
    ];
    let headers = [("origin", &*partner.origin()), ("sec-fetch-site", "same-origin")];
    let signed_in = partner.submit_raw("/login", &fields, &headers).await;
    assert_eq!((signed_in.status, signed_in.location()), (303, "/start"));
    partner.get("/start").await.shows("/brands/acme/stores/kiosk");
    let members = partner.get(MEMBERS).await;
    members.shows("&lt;i&gt;Partner").shows("Add member");
    for closed in [
        "/brands/acme",
        "/brands/acme/stores",
        "/brands/acme/models",
        "/brands/acme/stores/acme",
    ] {
        assert!(partner.get(closed).await.absent(), "{closed}");
        assert!(
            !members.text.contains(&format!("\"{closed}\"")),
            "no link to {closed}: {members:?}"
        );
    }
    let listed = admin.get(MEMBERS).await;
    assert!(
        !listed.text.contains("pending"),
        "who accepted is no longer listed as invited"
    );
}

#[tokio::test]
async fn somebody_with_an_account_accepts_without_a_password() {
    let shop = shop().await;
    let admin = Browser::of(&shop, "admin");
    let invited = admin
        .post(INVITES, &[("email", "view@people.example"), ("role", "review")])
        .await;
    let secret = text(&invited);
    let browser = Browser::new(&shop);
    let offered = accept(&browser, &[("invite", &secret)]).await;
    offered.shows("reviewer");
    assert!(!offered.text.contains("name=\"password\""), "{offered:?}");
    let done = accept(&browser, &[("invite", &secret), ("accept", "yes")]).await;
    done.shows("view@people.example is now reviewer");
}

#[tokio::test]
async fn an_account_whose_address_is_not_proven_accepts_with_its_password() {
    let shop = shop().await;
    let admin = Browser::of(&shop, "admin");
    let fields = [("email", "partner@else.example"), ("role", "view")];
    let first = text(&admin.post(INVITES, &fields).await);
    let partner = Browser::new(&shop);
    let newcomer = [
        ("invite", &*first),
        ("accept", "yes"),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ];
    accept(&partner, &newcomer).await.shows("is now viewer");
    let second = text(&admin.post("/brands/acme/stores/acme/invites", &fields).await);
    let offered = accept(&partner, &[("invite", &second)]).await;
    offered.shows("Nobody has shown yet").shows("name=\"password\"");
    assert!(!offered.text.contains("name=\"again\""), "{offered:?}");
    let accepted = async |password: &str| {
        let fields = [("invite", &*second), ("accept", "yes"), ("password", password)];
        accept(&partner, &fields).await
    };
    assert_eq!(accepted("").await.status, 400);
    assert_eq!(accepted("of somebody else").await.status, 400);
    accepted(PASSWORD).await.shows("is now viewer");
}

#[tokio::test]
async fn an_invite_is_renewed_taken_back_and_opened_again() {
    let shop = shop().await;
    let admin = Browser::of(&shop, "admin");
    let someone = [("email", "someone@else.example")];
    let first = text(&admin.post(INVITES, &[someone[0], ("role", "view")]).await);
    let second = text(&admin.post(&format!("{INVITES}/resend"), &someone).await);
    let stranger = Browser::new(&shop);
    let void = accept(&stranger, &[("invite", &first)]).await;
    assert_eq!(void.status, 404, "{void:?}");
    accept(&stranger, &[("invite", &second)]).await.shows("viewer");
    let revoked = admin.post(&format!("{INVITES}/revoke"), &someone).await;
    revoked.shows("taken back").shows("revoked").shows("Open again");
    assert_eq!(accept(&stranger, &[("invite", &second)]).await.status, 404);
    let twice = admin.submit(&format!("{INVITES}/revoke"), &someone).await;
    assert_eq!(twice.status, 409);
    assert!(twice.text.contains("open it again"), "{twice:?}");
    let third = text(&admin.post(&format!("{INVITES}/open"), &someone).await);
    accept(&stranger, &[("invite", &third)]).await.shows("viewer");
    admin
        .get(&format!("{INVITES}?q=SOME"))
        .await
        .shows("someone@else.example");
    admin
        .get(&format!("{INVITES}?q=nobody"))
        .await
        .shows("No invite fits");

    for (action, fields, status) in [
        ("/resend", vec![("email", "nobody@else.example")], 404),
        ("/burn", someone.to_vec(), 404),
        ("", vec![("email", "no address"), ("role", "view")], 400),
        ("", vec![("email", "new@else.example")], 400),
        ("", vec![("email", "new@else.example"), ("role", "brand")], 400),
        ("", vec![("email", "new@else.example"), ("role", "king")], 400),
        (
            "",
            vec![
                ("email", "new@else.example"),
                ("role", "view"),
                ("email", "b@else.example"),
            ],
            400,
        ),
    ] {
        let seen = admin.submit(&format!("{INVITES}{action}"), &fields).await;
        assert_eq!(seen.status, status, "{action} {fields:?}: {seen:?}");
    }
    assert!(
        !admin.get(MEMBERS).await.text.contains("new@else.example"),
        "nothing was done"
    );
}

#[tokio::test]
async fn an_invite_is_accepted_on_our_own_page_only() {
    let shop = shop().await;
    let admin = Browser::of(&shop, "admin");
    let invited = admin
        .post(INVITES, &[("email", "view@people.example"), ("role", "review")])
        .await;
    let secret = text(&invited);
    let browser = Browser::new(&shop);
    let origin = browser.origin();
    let mark = browser.get(ACCEPT).await.mark().unwrap();
    let fields = [("mark", &*mark), ("invite", &*secret), ("accept", "yes")];
    let elsewhere = [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    let ours = [("origin", &*origin), ("sec-fetch-site", "same-origin")];
    assert_eq!(browser.submit_raw(ACCEPT, &fields, &elsewhere).await.status, 403);
    assert_eq!(browser.submit_raw(ACCEPT, &fields[1..], &ours).await.status, 403);
    let other = Browser::new(&shop);
    assert_eq!(
        other.submit_raw(ACCEPT, &fields, &ours).await.status,
        403,
        "the mark of another visit"
    );
    for nonsense in ["", "hmi_", "hmi_nonsense", "<b>", &"x".repeat(100_000)] {
        let seen = accept(&browser, &[("invite", nonsense), ("accept", "yes")]).await;
        assert_eq!(seen.status, 404, "{nonsense:.20}");
    }
    browser
        .submit_raw(ACCEPT, &fields, &ours)
        .await
        .shows("is now reviewer");
}

#[tokio::test]
async fn links_lead_a_partner_to_pages_that_open() {
    let shop = shop().await;
    shop.upload(
        "pub",
        "release=edge",
        &[crate::store::shop::snap_file("hello", "1", "")],
    )
    .await
    .ok();
    shop.call(
        "admin",
        "PUT",
        "/stores/kiosk/snaps/hello",
        serde_json::Value::Null,
    )
    .await
    .ok();
    shop.person("partner", &[], false).await;
    shop.role("partner", "kiosk", &["admin", "view"]).await;
    let partner = Browser::of(&shop, "partner");
    let link = Regex::new(r#"<a [^>]*href="(/[^"]*)""#).unwrap();
    let (mut known, mut open) = (std::collections::BTreeSet::new(), vec!["/start".to_owned()]);
    while let Some(path) = open.pop() {
        if !known.insert(path.clone()) {
            continue;
        }
        let seen = partner.get(&path).await;
        assert_eq!(seen.status, 200, "{path}");
        open.extend(
            link.captures_iter(&seen.text)
                .map(|found| found[1].replace("&amp;", "&")),
        );
    }
    for wanted in ["/brands/acme/stores/kiosk", MEMBERS, "/brands/acme/snaps/hello"] {
        assert!(known.contains(wanted), "{wanted} is not in {known:?}");
    }
}

#[tokio::test]
async fn an_invite_to_help_with_a_snap_is_answered_on_its_page() {
    let shop = Shop::new().await;
    let made = json!({"snap_name": "my-snap", "series": "16"});
    shop.api("pub", "POST", "/dev/api/register-name/", made)
        .await
        .ok();
    let asked = json!({"email": "view@people.example"});
    let sent = shop
        .call("pub", "POST", "/snaps/my-snap/invites", asked)
        .await
        .ok();
    let token = sent["token"].as_str().unwrap().to_owned();
    let page = "/account/snap-invite";
    let link = format!("{page}?text={token}");
    // Somebody else who has the link learns nothing by it.
    let other = Browser::of(&shop, "admin");
    let seen = other.get(&link).await;
    assert!(seen.status == 404 && !seen.main().contains("my-snap"), "{seen:?}");
    let taken = other
        .post(page, &[("invite", &token), ("answer", "accept")])
        .await;
    assert!(
        taken.status == 404 && taken.text.contains("admin@people.example"),
        "{taken:?}"
    );
    let browser = Browser::of(&shop, "view");
    browser.get("/account").await.shows(page);
    browser.get(page).await.shows("Token of the invite");
    browser
        .post(page, &[("invite", &token)])
        .await
        .shows("my-snap")
        .shows("Reject");
    // A form of another page is not ours.
    let fields = [("invite", token.as_str()), ("answer", "accept")];
    assert_eq!(browser.submit_raw(page, &fields, &[]).await.status, 403);
    assert_eq!(shop.snap("my-snap").await.collaborators.len(), 0);
    let fields = [("invite", token.as_str()), ("answer", "reject")];
    browser.post(page, &fields).await.shows("do not help with");
    let over = browser.get(&link).await;
    assert!(over.status == 409 && over.text.contains("it is over"), "{over:?}");
}

#[tokio::test]
async fn a_publisher_asks_others_to_help_on_the_page_of_a_snap() {
    let shop = Shop::new().await;
    let made = json!({"snap_name": "my-snap", "series": "16"});
    shop.api("pub", "POST", "/dev/api/register-name/", made)
        .await
        .ok();
    let (page, email) = ("/brands/acme/snaps/my-snap", "view@people.example");
    let (invites, revoke) = (format!("{page}/invites"), format!("{page}/invites/revoke"));
    let publisher = Browser::of(&shop, "pub");
    publisher.get(page).await.shows("Nobody helps with this snap");
    // Whose snap it is not sees nothing of this, and cannot do it.
    for who in ["admin", "rev", "pub2"] {
        let other = Browser::of(&shop, who);
        assert!(!other.get(page).await.text.contains("Who helps"), "{who}");
        for action in [&invites, &revoke] {
            assert!(other.submit(action, &[("email", email)]).await.absent(), "{who}");
        }
    }
    // A form of another page is not ours, nor is one without the mark.
    let origin = publisher.origin();
    for headers in [&[][..], &[("origin", origin.as_str())][..]] {
        let seen = publisher.submit_raw(&invites, &[("email", email)], headers).await;
        assert_eq!(seen.status, 403);
    }
    publisher.get(page).await.shows("Nobody helps with this snap");
    for (address, status, text) in [
        ("no address", 400, "e-mail"),
        ("pub@people.example", 409, "help with my-snap already"),
    ] {
        let seen = publisher.submit(&invites, &[("email", address)]).await;
        assert!(
            seen.status == status && seen.text.contains(text),
            "{address} {seen:?}"
        );
    }
    let token = async || {
        let sent = publisher.submit(&invites, &[("email", email)]).await;
        sent.shows("it is shown this once").shows(email);
        let token = regex::Regex::new(r#"snap-invite\?text=([0-9A-Za-z]{40})""#).unwrap();
        token.captures(&sent.text).unwrap()[1].to_owned()
    };
    let void = token().await;
    let first = token().await;
    let seen = publisher.get(page).await;
    seen.shows("pending").shows(email);
    assert!(!seen.text.contains(&first), "the token is shown once");
    let helper = Browser::of(&shop, "view");
    let accept = async |token: &str| {
        let fields = [("invite", token), ("answer", "accept")];
        helper.post("/account/snap-invite", &fields).await
    };
    assert_eq!(
        accept(&void).await.status,
        404,
        "who is asked anew has another token"
    );
    publisher
        .post(&revoke, &[("email", email)])
        .await
        .shows("The invite is taken back")
        .shows("revoked");
    assert_eq!(accept(&first).await.status, 409);
    let again = publisher.submit(&revoke, &[("email", email)]).await;
    assert!(
        again.status == 409 && again.text.contains("it is over"),
        "{again:?}"
    );
    let nobody = publisher
        .submit(&revoke, &[("email", "rev@people.example")])
        .await;
    assert_eq!(nobody.status, 404);

    let third = token().await;
    accept(&third).await.shows("You help with");
    publisher
        .get(page)
        .await
        .shows("may upload, release and edit it")
        .shows("End their help");
    // Who helps does not say who else does.
    let seen = helper.get(page).await;
    assert!(!seen.shows("my-snap").text.contains("Who helps"), "{seen:?}");
    assert!(
        helper
            .submit(&invites, &[("email", "rev@people.example")])
            .await
            .absent()
    );
    publisher
        .post(&revoke, &[("email", email)])
        .await
        .shows("Nobody helps with this snap");
    assert_eq!(shop.snap("my-snap").await.collaborators.len(), 0);
}
