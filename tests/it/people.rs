//! People: log-in, accounts, members, tokens, audit, as a client of the native API sees them.

use std::sync::Arc;

use hallmark::app::accounts::{self, Standing};
use hallmark::app::audit::Checkpoints;
use hallmark::app::{InstanceCtx, StoreCtx, authorize, members};
use hallmark::domain::access::{Account, Membership, Permission, Role, Token, TokenText};
use hallmark::ports::{AuditFilter, Change, Commit, CommitOutcome, Kind};
use serde_json::{Value, json};

use crate::office::{Answer, BRAND, OTHER, Office};

const OPERATOR: &str = "operator@hallmark.example";
const PASSWORD: &str = "correct horse battery";

async fn person(office: &Office, email: &str) {
    let operator = office.token(OPERATOR).await;
    let answer = office
        .call(
            "POST",
            "/hallmark/v1/accounts",
            Some(&operator),
            json!({"email": email, "password": PASSWORD}),
        )
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

async fn log_in(office: &Office, email: &str, password: &str, from: u8) -> Answer {
    let body = json!({"email": email, "password": password}).to_string();
    office
        .call_raw(
            "POST",
            "/hallmark/v1/login",
            None,
            &body,
            [192, 0, 2, from].into(),
        )
        .await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

pub async fn actions(office: &Office) -> Vec<String> {
    let filter = AuditFilter {
        limit: 10_000,
        ..AuditFilter::default()
    };
    let entries = office.app.storage.audit_entries(&filter).await.unwrap();
    let action = |event: &str| {
        serde_json::from_str::<Value>(event).unwrap()["action"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    entries.iter().map(|(_, entry)| action(&entry.event)).collect()
}

#[tokio::test]
async fn a_person_logs_in_asks_who_they_are_and_logs_out() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    office
        .add_member(BRAND, "jo@acme.example", &[Role::Admin, Role::View])
        .await;
    let session = log_in(&office, " Jo@ACME.example ", PASSWORD, 1).await;
    assert_eq!(session.status, 201);
    let token = text(&session.body, "token");
    let who = office
        .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
        .await;
    assert_eq!(text(&who.body, "email"), "jo@acme.example");
    assert_eq!(
        who.body["memberships"],
        json!([{"brand-id": "acme", "store-id": "acme", "roles": ["admin", "view"]}])
    );
    assert_eq!(who.body["token"]["kind"], "log-in");
    assert_eq!(
        office
            .call("POST", "/hallmark/v1/logout", Some(token), json!({}))
            .await
            .status,
        204
    );
    let after = office
        .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
        .await;
    assert_eq!((after.status, after.code()), (401, "invalid-token"));
}

#[tokio::test]
async fn a_log_in_ends_after_twelve_hours() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    let session = log_in(&office, "jo@acme.example", PASSWORD, 1).await;
    let token = text(&session.body, "token");
    office.advance(12 * 3600 - 1);
    assert_eq!(
        office
            .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
            .await
            .status,
        200
    );
    office.advance(1);
    let answer = office
        .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
        .await;
    assert_eq!(answer.code(), "token-expired");
    assert_eq!(
        hallmark::app::tokens::sweep(&office.app).await.unwrap(),
        2,
        "the operator's token expired too"
    );
}

#[tokio::test]
async fn the_oldest_log_in_ends_when_there_are_too_many() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    let first = office.token("jo@acme.example").await;
    let program = office
        .token_with("jo@acme.example", |token| token.person = false)
        .await;
    for _ in 0..99 {
        office.advance(1);
        office.token("jo@acme.example").await;
    }
    let session = log_in(&office, "jo@acme.example", PASSWORD, 1).await;
    for (token, status) in [
        (first.as_str(), 401),
        (program.as_str(), 200),
        (text(&session.body, "token"), 200),
    ] {
        assert_eq!(
            office
                .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
                .await
                .status,
            status
        );
    }
}

#[tokio::test]
async fn a_wrong_password_an_unknown_name_and_a_disabled_account_answer_alike() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    person(&office, "gone@acme.example").await;
    let operator = office.token(OPERATOR).await;
    let path = "/hallmark/v1/accounts/gone@acme.example/disable";
    assert_eq!(
        office.call("POST", path, Some(&operator), json!({})).await.status,
        200
    );
    let mut answers = Vec::new();
    for (email, password) in [
        ("jo@acme.example", "wrong horse battery"),
        ("jo@acme.example", ""),
        ("nobody@elsewhere.example", PASSWORD),
        ("not an address", PASSWORD),
        ("gone@acme.example", PASSWORD),
        ("admin@acme.example", "has no password at all"),
    ] {
        let answer = log_in(&office, email, password, 1).await;
        answers.push((answer.status, answer.body.to_string()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, 401);
}

#[tokio::test]
async fn ten_failures_lock_one_name_at_one_address_for_fifteen_minutes() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    person(&office, "sam@acme.example").await;
    for _ in 0..10 {
        assert_eq!(log_in(&office, "jo@acme.example", "wrong", 1).await.status, 401);
    }
    let locked = log_in(&office, "jo@acme.example", PASSWORD, 1).await;
    assert_eq!((locked.status, locked.code()), (429, "too-many-failures"));
    assert_eq!(locked.headers["retry-after"], "900");
    assert_eq!(
        log_in(&office, "jo@acme.example", PASSWORD, 2).await.status,
        201,
        "from elsewhere"
    );
    assert_eq!(
        log_in(&office, "sam@acme.example", PASSWORD, 1).await.status,
        201,
        "somebody else behind that address"
    );
    let locks = actions(&office)
        .await
        .iter()
        .filter(|action| *action == "login.locked")
        .count();
    assert_eq!(locks, 1);
    office.advance(900);
    assert_eq!(log_in(&office, "jo@acme.example", PASSWORD, 1).await.status, 201);
}

#[tokio::test]
async fn guesses_at_the_same_time_do_not_get_around_the_lock() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    let guesses = (0..40).map(|n| {
        let (office, guess) = (&office, format!("guess number {n}"));
        async move { log_in(office, "jo@acme.example", &guess, 1).await.status }
    });
    let answers = futures_util::future::join_all(guesses).await;
    let tried = answers.iter().filter(|status| **status == 401).count();
    // Two are tried at a time.
    assert!(tried <= 11, "{tried} guesses were tried: {answers:?}");
    assert!(answers.iter().all(|status| [401, 429, 503].contains(status)));
}

#[tokio::test]
async fn a_new_account_gets_a_password_that_is_shown_once_and_works() {
    let office = Office::new().await;
    let operator = office.token(OPERATOR).await;
    let body = json!({"email": "Jo.Doe@acme.example", "display-name": "Jo Döe"});
    let made = office
        .call("POST", "/hallmark/v1/accounts", Some(&operator), body)
        .await;
    assert_eq!(made.status, 201);
    assert_eq!(
        (text(&made.body, "email"), text(&made.body, "username")),
        ("jo.doe@acme.example", "jo-doe")
    );
    let password = text(&made.body, "password");
    assert_eq!(
        log_in(&office, "jo.doe@acme.example", password, 1).await.status,
        201
    );
    let shown = office
        .call(
            "GET",
            "/hallmark/v1/accounts/jo.doe@acme.example",
            Some(&operator),
            Value::Null,
        )
        .await;
    assert_eq!(shown.body.get("password"), None);
    let stored = office
        .app
        .storage
        .record(Kind::Account, &[text(&made.body, "id")].into())
        .await
        .unwrap()
        .unwrap();
    assert!(!String::from_utf8(stored.json).unwrap().contains(password));
    let filter = AuditFilter {
        limit: 100,
        ..AuditFilter::default()
    };
    let log = format!("{:?}", office.app.storage.audit_entries(&filter).await.unwrap());
    assert!(!log.contains(password) && log.contains("account.create"));
}

#[tokio::test]
async fn usernames_are_made_up_until_one_is_free_but_given_ones_are_not_changed() {
    let office = Office::new().await;
    let operator = office.token(OPERATOR).await;
    let create = async |body| {
        office
            .call("POST", "/hallmark/v1/accounts", Some(&operator), body)
            .await
    };
    assert_eq!(create(json!({"email": "jo@one.example"})).await.status, 201);
    let second = create(json!({"email": "jo@two.example"})).await;
    assert!(text(&second.body, "username").starts_with("jo-"), "{second:?}");
    let given = create(json!({"email": "jo@three.example", "username": "jo"})).await;
    assert_eq!((given.status, given.code()), (409, "username-taken"));
    let again = create(json!({"email": "jo@one.example"})).await;
    assert_eq!((again.status, again.code()), (409, "email-taken"));
    for bad in [
        json!({"email": "no address"}),
        json!({"email": "x@y.example", "username": "UP"}),
        json!({"email": "x@y.example", "display-name": "a\u{7}b"}),
        json!({"email": "x@y.example", "password": "short"}),
        json!({"email": "x@y.example", "pasword": "mistyped field"}),
        json!({}),
        json!([]),
    ] {
        let answer = create(bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad} {answer:?}");
        assert!(
            answer.body["error-list"][0]["message"]
                .as_str()
                .unwrap()
                .starts_with("cannot "),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn disabling_ends_everything_for_good_and_enabling_lets_log_in_again() {
    let office = Office::new().await;
    let operator = office.token(OPERATOR).await;
    let token = office.token("admin@acme.example").await;
    office.add_account("second@acme.example", |_| ()).await;
    office
        .add_member(BRAND, "second@acme.example", &[Role::Admin])
        .await;
    let switch = async |email: &str, verb: &str| {
        office
            .call(
                "POST",
                &format!("/hallmark/v1/accounts/{email}/{verb}"),
                Some(&operator),
                json!({}),
            )
            .await
    };
    assert_eq!(
        switch("admin@acme.example", "disable").await.body["disabled"],
        true
    );
    assert_eq!(
        office
            .call("GET", "/hallmark/v1/whoami", Some(&token), Value::Null)
            .await
            .status,
        401
    );
    assert_eq!(
        switch("admin@acme.example", "enable").await.body["disabled"],
        false
    );
    assert_eq!(
        office
            .call("GET", "/hallmark/v1/whoami", Some(&token), Value::Null)
            .await
            .status,
        401,
        "what was stolen does not come back"
    );
    let fresh = office.token("admin@acme.example").await;
    let own = office
        .call("GET", "/hallmark/v1/whoami", Some(&fresh), Value::Null)
        .await;
    assert_eq!(own.status, 200);
    assert_eq!(switch(OPERATOR, "disable").await.code(), "own-account");
    assert_eq!(switch("who@acme.example", "disable").await.status, 404);
    let made: Vec<String> = actions(&office).await;
    assert_eq!(made, ["account.disable", "account.enable"]);
}

#[tokio::test]
async fn two_operators_cannot_disable_each_other_at_the_same_time() {
    let mut both = 0;
    for _ in 0..200 {
        let office = Arc::new(Office::new().await);
        office
            .add_account("second@hallmark.example", |account| account.operator = true)
            .await;
        let emails = [OPERATOR, "second@hallmark.example"];
        let mut contexts = Vec::new();
        for email in emails {
            let token = TokenText::parse(&office.token(email).await).unwrap();
            let context: InstanceCtx =
                authorize(&office.app, Some(&token.into()), Permission::AccountManage, None)
                    .await
                    .unwrap();
            contexts.push(context);
        }
        let outcomes = race(&office, 2, move |office, turn| {
            let (context, other) = (contexts[turn].clone(), emails[1 - turn].parse().unwrap());
            async move { accounts::set_standing(&office.app, &context, &other, Standing::Disabled).await }
        })
        .await;
        both += usize::from(outcomes.iter().all(Result::is_ok));
        assert!(!(office.account(emails[0]).await.disabled && office.account(emails[1]).await.disabled));
    }
    assert_eq!(both, 0);
}

#[tokio::test]
async fn a_new_password_ends_other_log_ins_but_not_tokens_of_programs() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    let here = log_in(&office, "jo@acme.example", PASSWORD, 1).await;
    let here = text(&here.body, "token");
    let elsewhere = log_in(&office, "jo@acme.example", PASSWORD, 2).await;
    let program = office
        .call("POST", "/hallmark/v1/tokens", Some(here), json!({"for": "admin"}))
        .await;
    let publishing = office
        .token_with("jo@acme.example", |token| {
            token.person = false;
            token.publisher = true;
        })
        .await;
    let change = async |current: &str, new: &str| {
        office
            .call(
                "PUT",
                "/hallmark/v1/password",
                Some(here),
                json!({"current": current, "new": new}),
            )
            .await
    };
    assert_eq!(
        change("wrong", "another long password").await.code(),
        "invalid-credentials"
    );
    assert_eq!(change(PASSWORD, "short").await.code(), "weak-password");
    assert_eq!(change(PASSWORD, "another long password").await.status, 204);
    for (token, status) in [
        (here, 200),
        (text(&elsewhere.body, "token"), 401),
        (publishing.as_str(), 401),
        (text(&program.body, "token"), 200),
    ] {
        assert_eq!(
            office
                .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
                .await
                .status,
            status
        );
    }
    assert_eq!(log_in(&office, "jo@acme.example", PASSWORD, 1).await.status, 401);
    assert_eq!(
        log_in(&office, "jo@acme.example", "another long password", 1)
            .await
            .status,
        201
    );
}

/// Passwords are checked two at a time, so a log-in may wait while the password changes: it is not to live on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_in_under_way_does_not_outlive_the_password_it_was_given() {
    let office = Arc::new(Office::new().await);
    person(&office, "jo@acme.example").await;
    let here = log_in(&office, "jo@acme.example", PASSWORD, 1).await;
    let here = text(&here.body, "token").to_owned();
    let changing = tokio::spawn({
        let office = Arc::clone(&office);
        async move {
            let body = json!({"current": PASSWORD, "new": "another long password"});
            office
                .call("PUT", "/hallmark/v1/password", Some(&here), body)
                .await
                .status
        }
    });
    let mut under_way = Vec::new();
    while !changing.is_finished() && under_way.len() < 200 {
        let (office, from) = (Arc::clone(&office), 2 + u8::try_from(under_way.len()).unwrap());
        under_way.push(tokio::spawn(async move {
            log_in(&office, "jo@acme.example", PASSWORD, from).await
        }));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(changing.await.unwrap(), 204);
    assert!(!under_way.is_empty());
    for one in under_way {
        let answer = one.await.unwrap();
        if answer.status == 201 {
            let token = text(&answer.body, "token");
            let own = office
                .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
                .await;
            assert_eq!(own.status, 401, "it ended with the password");
        } else {
            assert!([401, 503].contains(&answer.status), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn who_owns_the_data_directory_sets_a_password_and_ends_all_log_ins() {
    use hallmark::app::login;
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    let session = log_in(&office, "jo@acme.example", PASSWORD, 1).await;
    let email = "jo@acme.example".parse().unwrap();
    let new = "set from the console".to_owned().into();
    login::reset_password(&office.app, &InstanceCtx::local(), &email, new)
        .await
        .unwrap();
    let token = text(&session.body, "token");
    assert_eq!(
        office
            .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
            .await
            .status,
        401
    );
    assert_eq!(
        log_in(&office, "jo@acme.example", "set from the console", 1)
            .await
            .status,
        201
    );
}

async fn set_roles(office: &Office, token: &str, email: &str, roles: &[&str]) -> Answer {
    let path = format!("/hallmark/v1/stores/acme/members/{email}?brand=acme");
    office
        .call("PUT", &path, Some(token), json!({"roles": roles}))
        .await
}

async fn remove(office: &Office, token: &str, email: &str) -> Answer {
    office
        .call(
            "DELETE",
            &format!("/hallmark/v1/stores/acme/members/{email}"),
            Some(token),
            Value::Null,
        )
        .await
}

#[tokio::test]
async fn an_administrator_grants_changes_and_revokes_roles() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    let granted = set_roles(&office, &admin, "nobody@acme.example", &["view", "access"]).await;
    assert_eq!(
        (granted.status, &granted.body["roles"]),
        (200, &json!(["view", "access"]))
    );
    assert_eq!(
        set_roles(&office, &admin, "nobody@acme.example", &["review"])
            .await
            .body["roles"],
        json!(["review"])
    );
    let list = office
        .call(
            "GET",
            "/hallmark/v1/stores/acme/members",
            Some(&admin),
            Value::Null,
        )
        .await;
    let emails: Vec<&str> = list
        .body
        .as_array()
        .unwrap()
        .iter()
        .map(|row| text(row, "email"))
        .collect();
    assert_eq!(emails.len(), 6, "{emails:?}");
    assert!(emails.is_sorted());
    assert_eq!(remove(&office, &admin, "nobody@acme.example").await.status, 204);
    assert_eq!(remove(&office, &admin, "nobody@acme.example").await.status, 404);
    assert_eq!(
        set_roles(&office, &admin, "nobody@acme.example", &[])
            .await
            .code(),
        "roles-required"
    );
    assert_eq!(
        set_roles(&office, &admin, "nobody@acme.example", &["king"])
            .await
            .status,
        400
    );
    assert_eq!(
        set_roles(&office, &admin, "stranger@acme.example", &["view"])
            .await
            .status,
        404
    );
    assert_eq!(
        actions(&office).await,
        ["member.set", "member.set", "member.remove"]
    );
}

#[tokio::test]
async fn another_brands_store_is_absent() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    let foreign = office
        .call(
            "GET",
            "/hallmark/v1/stores/globex/members",
            Some(&admin),
            Value::Null,
        )
        .await;
    let absent = office
        .call(
            "GET",
            "/hallmark/v1/stores/nosuch/members",
            Some(&admin),
            Value::Null,
        )
        .await;
    assert_eq!((foreign.status, foreign.code()), (404, "resource-not-found"));
    assert_eq!(
        foreign.body.to_string().replace("globex", "nosuch"),
        absent.body.to_string()
    );
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    for answer in [
        remove(&office, &admin, "admin@acme.example").await,
        set_roles(&office, &admin, "admin@acme.example", &["view"]).await,
    ] {
        assert_eq!((answer.status, answer.code()), (409, "last-administrator"));
    }
    office
        .add_account("off@acme.example", |account| account.disabled = true)
        .await;
    office.add_member(BRAND, "off@acme.example", &[Role::Admin]).await;
    assert_eq!(
        remove(&office, &admin, "admin@acme.example").await.code(),
        "last-administrator",
        "a disabled one does not count"
    );
    assert_eq!(
        set_roles(&office, &admin, "view@acme.example", &["admin"])
            .await
            .status,
        200
    );
    assert_eq!(remove(&office, &admin, "admin@acme.example").await.status, 204);
}

#[tokio::test]
async fn administrators_who_are_all_removed_at_the_same_time_leave_one_behind() {
    for _ in 0..20 {
        let office = Arc::new(Office::new().await);
        let mut emails = vec!["admin@acme.example".to_owned()];
        for n in 1..8 {
            emails.push(format!("admin{n}@acme.example"));
            office.add_account(&emails[n], |_| ()).await;
            office.add_member(BRAND, &emails[n], &[Role::Admin]).await;
        }
        let outcomes = race(&office, emails.len(), move |office, turn| {
            let email = emails[turn].parse().unwrap();
            async move {
                let ctx = StoreCtx::local(&office.app, &BRAND.parse().unwrap())
                    .await
                    .unwrap();
                members::remove(&office.app, &ctx, &email).await
            }
        })
        .await;
        let removed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let ctx = StoreCtx::local(&office.app, &BRAND.parse().unwrap())
            .await
            .unwrap();
        let left = members::list(&office.app, &ctx).await.unwrap();
        let left = left
            .iter()
            .filter(|member| member.membership.roles.contains(&Role::Admin))
            .count();
        assert_eq!(left, 8 - removed);
        assert!(left >= 1, "{outcomes:?}");
    }
}

/// Runs `act` for each turn as a task of its own; they start together and take turns at every read.
pub async fn race<F, O, T>(office: &Arc<Office>, turns: usize, act: F) -> Vec<T>
where
    F: Fn(Arc<Office>, usize) -> O + Clone + Send + 'static,
    O: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(turns));
    let turns = (0..turns).map(|turn| {
        let (office, act, start) = (office.clone(), act.clone(), start.clone());
        tokio::spawn(async move {
            start.wait().await;
            act(office, turn).await
        })
    });
    futures_util::future::join_all(turns)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test]
async fn the_role_brand_is_granted_only_by_who_has_it_or_the_operator() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    assert_eq!(
        set_roles(&office, &admin, "admin@acme.example", &["admin", "brand"])
            .await
            .status,
        404
    );
    assert_eq!(
        remove(&office, &admin, "brand@acme.example").await.status,
        404,
        "nor revoked"
    );
    office.add_account("both@acme.example", |_| ()).await;
    office
        .add_member(BRAND, "both@acme.example", &[Role::Admin, Role::Brand])
        .await;
    let both = office.token("both@acme.example").await;
    assert_eq!(
        set_roles(&office, &both, "nobody@acme.example", &["brand"])
            .await
            .status,
        200
    );
    let operator = office.token(OPERATOR).await;
    assert_eq!(
        set_roles(&office, &operator, "access@acme.example", &["brand", "access"])
            .await
            .status,
        200
    );
    office.add_store(BRAND, "acme-gate", Some(BRAND)).await;
    let path = "/hallmark/v1/stores/acme-gate/members/view@acme.example";
    let answer = office
        .call("PUT", path, Some(&both), json!({"roles": ["brand"]}))
        .await;
    assert_eq!(answer.code(), "not-a-base-store");
}

#[tokio::test]
async fn who_acts_for_the_brand_only_publishes_unless_it_is_confirmed() {
    let office = Office::new().await;
    office.add_store(BRAND, "acme-gate", Some(BRAND)).await;
    let operator = office.token(OPERATOR).await;
    let put = async |store: &str, email: &str, body: Value| {
        let path = format!("/hallmark/v1/stores/{store}/members/{email}");
        office.call("PUT", &path, Some(&operator), body).await
    };
    // By any way: the role brand on top of others, others on top of it, in any store of the brand.
    for (store, email, roles) in [
        (BRAND, "view@acme.example", json!(["brand", "view"])),
        (BRAND, "brand@acme.example", json!(["brand", "review"])),
        ("acme-gate", "brand@acme.example", json!(["admin"])),
    ] {
        let answer = put(store, email, json!({"roles": roles})).await;
        assert_eq!((answer.status, answer.code()), (409, "brand-account"), "{email}");
        let confirmed = json!({"roles": roles, "confirm-brand-account": true});
        assert_eq!(put(store, email, confirmed).await.status, 200);
        // What they have is not asked about again.
        assert_eq!(put(store, email, json!({"roles": roles})).await.status, 200);
    }
    assert_eq!(
        put(
            "acme-gate",
            "brand@acme.example",
            json!({"roles": ["access", "admin"]})
        )
        .await
        .status,
        200
    );
    assert_eq!(
        put(BRAND, "brand@acme.example", json!({"roles": ["brand", "access"]}))
            .await
            .status,
        200
    );
    let log = office
        .call(
            "GET",
            "/hallmark/v1/audit?action=member.set&brand=acme",
            Some(&operator),
            Value::Null,
        )
        .await;
    let confirmed = log.body.to_string().matches("brand-account-confirmed").count();
    assert_eq!(confirmed, 3, "{}", log.body);
}

#[tokio::test]
async fn ten_thousand_members_are_listed_at_once() {
    let office = Office::new().await;
    let now = office.now();
    let mut records = Vec::new();
    for number in 0..10_000 {
        let account = Account {
            id: format!("{number:032}").parse().unwrap(),
            email: format!("member-{number}@crowd.example").parse().unwrap(),
            username: format!("member-{number}").parse().unwrap(),
            display_name: "<b>Member</b>".to_owned(),
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
    let commit = Commit {
        records,
        ..Commit::default()
    };
    assert_eq!(
        office.app.storage.commit(commit).await.unwrap(),
        CommitOutcome::Done
    );
    let admin = office.token("admin@acme.example").await;
    let begun = std::time::Instant::now();
    let list = office
        .call(
            "GET",
            "/hallmark/v1/stores/acme/members",
            Some(&admin),
            Value::Null,
        )
        .await;
    let took = begun.elapsed();
    let list = list.body.as_array().unwrap().clone();
    assert_eq!(list.len(), 10_000 + Role::ALL.len());
    assert!(list.is_sorted_by_key(|row| row["email"].as_str().unwrap().to_owned()));
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    // Nor does anybody else's call read them all.
    let nobody = office.token("nobody@acme.example").await;
    let begun = std::time::Instant::now();
    let brands = office
        .call("GET", "/hallmark/v1/brands", Some(&nobody), Value::Null)
        .await;
    assert_eq!(brands.body, json!([]));
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    // A check of a permission, a log-in (one argon2id), a change of one member.
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        let shown = office.call("GET", "/hallmark/v1/stores/acme", Some(&admin), Value::Null);
        assert_eq!(shown.await.status, 200);
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    person(&office, "jo@acme.example").await;
    let begun = std::time::Instant::now();
    assert_eq!(log_in(&office, "jo@acme.example", PASSWORD, 1).await.status, 201);
    let changed = set_roles(&office, &admin, "member-77@crowd.example", &["admin"]).await;
    assert_eq!(changed.status, 200);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn roles_in_a_device_view_store_are_not_roles_in_the_brand() {
    let office = Office::new().await;
    office.add_store(BRAND, "acme-gate", Some(BRAND)).await;
    let admin = office.token("admin@acme.example").await;
    let path = "/hallmark/v1/stores/acme-gate/members/nobody@acme.example";
    assert_eq!(
        office
            .call("PUT", path, Some(&admin), json!({"roles": ["admin"]}))
            .await
            .status,
        200
    );
    let nobody = office.token("nobody@acme.example").await;
    let answer = office
        .call(
            "GET",
            "/hallmark/v1/stores/acme/members",
            Some(&nobody),
            Value::Null,
        )
        .await;
    assert_eq!(answer.status, 404);
    let brands = office
        .call("GET", "/hallmark/v1/brands", Some(&nobody), Value::Null)
        .await;
    assert_eq!(brands.body[0]["id"], "acme", "but the brand is known");
}

#[tokio::test]
async fn the_brand_may_be_left_out_where_it_is_clear() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    let stores = office
        .call("GET", "/hallmark/v1/stores", Some(&admin), Value::Null)
        .await;
    assert_eq!(stores.body[0]["id"], "acme", "the only one of the caller's");
    let operator = office.token(OPERATOR).await;
    let stores = office
        .call("GET", "/hallmark/v1/stores", Some(&operator), Value::Null)
        .await;
    assert_eq!((stores.status, stores.code()), (400, "brand-required"));
    assert!(stores.body.to_string().contains("acme, globex"));
    let stores = office
        .call(
            "GET",
            "/hallmark/v1/stores?brand=globex",
            Some(&operator),
            Value::Null,
        )
        .await;
    assert_eq!(stores.body[0]["brand-id"], OTHER);
}

#[tokio::test]
async fn brands_are_listed_to_those_who_may_know_of_them() {
    let office = Office::new().await;
    for (email, brands) in [
        (OPERATOR, vec!["acme", "globex"]),
        ("view@acme.example", vec!["acme"]),
        ("all@globex.example", vec!["globex"]),
        ("nobody@acme.example", vec![]),
    ] {
        let token = office.token(email).await;
        let answer = office
            .call("GET", "/hallmark/v1/brands", Some(&token), Value::Null)
            .await;
        let ids: Vec<&str> = answer
            .body
            .as_array()
            .unwrap()
            .iter()
            .map(|row| text(row, "id"))
            .collect();
        assert_eq!(ids, brands, "{email}");
    }
}

#[tokio::test]
async fn a_token_for_a_program_has_its_scopes_its_brand_and_its_end() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    let body = json!({"for": "ci", "brand-id": "acme", "ttl": 60, "description": "build\u{7} server"});
    let made = office
        .call("POST", "/hallmark/v1/tokens", Some(&admin), body)
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(text(&made.body, "description"), "build server");
    let token = text(&made.body, "token");
    let stored = office
        .app
        .storage
        .record(Kind::Token, &[text(&made.body, "id")].into())
        .await
        .unwrap()
        .unwrap();
    assert!(
        !String::from_utf8(stored.json).unwrap().contains(token),
        "only its hash is kept"
    );
    let get = async |path: &str| office.call("GET", path, Some(token), Value::Null).await.status;
    assert_eq!(get("/hallmark/v1/stores").await, 200);
    assert_eq!(
        get("/hallmark/v1/audit").await,
        404,
        "the account may, the token may not"
    );
    assert_eq!(get("/hallmark/v1/tokens").await, 404);
    let more = office
        .call(
            "POST",
            "/hallmark/v1/tokens",
            Some(token),
            json!({"for": "admin"}),
        )
        .await;
    assert_eq!(more.status, 404, "a token makes no tokens");
    let list = office
        .call("GET", "/hallmark/v1/tokens", Some(&admin), Value::Null)
        .await;
    assert_eq!(list.body.as_array().unwrap().len(), 2);
    assert!(!list.body.to_string().contains("hash"));
    office.advance(60);
    assert_eq!(get("/hallmark/v1/stores").await, 401);
}

#[tokio::test]
async fn a_limited_token_has_no_say_over_the_others_of_its_owner() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    let make = async |body: Value| {
        let made = office
            .call("POST", "/hallmark/v1/tokens", Some(&admin), body)
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        (
            text(&made.body, "id").to_owned(),
            text(&made.body, "token").to_owned(),
        )
    };
    let (free_id, free) = make(json!({"for": "admin"})).await;
    for limit in [json!({"brand-id": "acme"}), json!({"store-ids": ["acme"]})] {
        let mut body = json!({"for": "admin"});
        body.as_object_mut()
            .unwrap()
            .extend(limit.as_object().unwrap().clone());
        let (id, token) = make(body).await;
        let list = office
            .call("GET", "/hallmark/v1/tokens", Some(&token), Value::Null)
            .await;
        let ids: Vec<&str> = list
            .body
            .as_array()
            .unwrap()
            .iter()
            .map(|row| text(row, "id"))
            .collect();
        assert_eq!(ids, [id.as_str()], "{limit}");
        let path = format!("/hallmark/v1/tokens/{free_id}");
        let other = office.call("DELETE", &path, Some(&token), Value::Null).await;
        assert_eq!(other.status, 404, "{limit}");
        let path = format!("/hallmark/v1/tokens/{id}");
        let own = office.call("DELETE", &path, Some(&token), Value::Null).await;
        assert_eq!(own.status, 204, "{limit}");
    }
    let list = office
        .call("GET", "/hallmark/v1/tokens", Some(&free), Value::Null)
        .await;
    assert_eq!(list.body.as_array().unwrap().len(), 2, "{:?}", list.body);
}

#[tokio::test]
async fn tokens_are_revoked_by_their_owner_only() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    let made = office
        .call(
            "POST",
            "/hallmark/v1/tokens",
            Some(&admin),
            json!({"for": "admin"}),
        )
        .await;
    let path = format!("/hallmark/v1/tokens/{}", text(&made.body, "id"));
    let other = office.token("all@globex.example").await;
    assert_eq!(
        office
            .call("DELETE", &path, Some(&other), Value::Null)
            .await
            .status,
        404
    );
    let token = text(&made.body, "token");
    assert_eq!(
        office
            .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(
        office
            .call("DELETE", &path, Some(&admin), Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(
        office
            .call("GET", "/hallmark/v1/whoami", Some(token), Value::Null)
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn tokens_are_not_made_for_other_brands_or_for_ever() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    for (body, status) in [
        (json!({"for": "ci", "brand-id": "globex"}), 404),
        (json!({"for": "ci", "brand-id": "nosuch"}), 404),
        (json!({"for": "ci", "ttl": 0}), 400),
        (json!({"for": "ci", "ttl": -5}), 400),
        (json!({"for": "ci", "ttl": 3651 * 86_400}), 400),
        (json!({"for": "everything"}), 400),
        (json!({}), 400),
    ] {
        let answer = office
            .call("POST", "/hallmark/v1/tokens", Some(&admin), body.clone())
            .await;
        assert_eq!(answer.status, status, "{body} {answer:?}");
    }
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_page_by_page() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    for n in 0..5 {
        set_roles(
            &office,
            &admin,
            "nobody@acme.example",
            if n % 2 == 0 { &["view"] } else { &["review"] },
        )
        .await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/hallmark/v1/audit?limit=2&action=member.{after}");
        let page = office.call("GET", &path, Some(&admin), Value::Null).await;
        assert_eq!(page.status, 200);
        seen.extend(page.body["entries"].as_array().unwrap().clone());
        match page.body["next"].as_u64() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[0]["actor"]["email"], "admin@acme.example");
    assert_eq!(
        (&seen[0]["action"], &seen[0]["brand-id"]),
        (&json!("member.set"), &json!("acme"))
    );
    assert_eq!(
        (&seen[1]["detail"]["roles-before"], &seen[1]["detail"]["roles"]),
        (&json!(["view"]), &json!(["review"]))
    );
    let other = office.token("all@globex.example").await;
    let page = office
        .call("GET", "/hallmark/v1/audit", Some(&other), Value::Null)
        .await;
    assert_eq!(
        page.body,
        json!({"entries": [], "next": null}),
        "another brand's acts are not shown"
    );
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "since=yesterday",
        "unknown=1",
        "limit=1&limit=2",
    ] {
        let answer = office
            .call(
                "GET",
                &format!("/hallmark/v1/audit?{bad}"),
                Some(&admin),
                Value::Null,
            )
            .await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn checkpoints_cover_what_moved_and_verify_over_the_wire() {
    let office = Office::new().await;
    let operator = office.token(OPERATOR).await;
    let verify = async |body: Value| {
        office
            .call(
                "POST",
                "/hallmark/v1/instance/audit/verify",
                Some(&operator),
                body,
            )
            .await
            .body
    };
    let mut checkpoints = Checkpoints::default();
    assert!(
        checkpoints.make(&office.app).await.unwrap().is_none(),
        "nothing happened yet"
    );
    person(&office, "jo@acme.example").await;
    let report = verify(json!({})).await;
    assert_eq!(
        (&report["entries-after-it"], &report["last-checkpoint"]),
        (&json!(1), &json!(null))
    );
    let first = checkpoints.make(&office.app).await.unwrap().unwrap();
    assert!(
        checkpoints.make(&office.app).await.unwrap().is_none(),
        "nothing moved"
    );
    person(&office, "sam@acme.example").await;
    let second = checkpoints.make(&office.app).await.unwrap().unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    let report = verify(json!({"known": {"number": 1, "signature": first.signature}})).await;
    assert_eq!(
        (&report["verdict"], &report["entries-after-it"]),
        (&json!("ok"), &json!(0))
    );
    assert_eq!(
        (&report["entries"], &report["checkpoints"]),
        (&json!(2), &json!(2))
    );
    let report = verify(json!({"known": {"number": 1, "signature": second.signature}})).await;
    assert_eq!(report["problems"][0]["code"], "checkpoint-replaced");
    let mut restarted = Checkpoints::default();
    assert!(
        restarted.make(&office.app).await.unwrap().is_none(),
        "a restart alone is no reason for another one"
    );
}

#[tokio::test]
async fn upkeep_makes_a_last_checkpoint_when_it_is_told_to_stop() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let keeper = tokio::spawn(hallmark::app::upkeep(office.app.clone(), async {
        let _ = stopped.await;
    }));
    stop.send(()).unwrap();
    keeper.await.unwrap();
    assert_eq!(
        office
            .app
            .storage
            .last_checkpoint()
            .await
            .unwrap()
            .unwrap()
            .number,
        1
    );
}

#[tokio::test]
async fn bodies_and_queries_are_read_strictly() {
    let office = Office::new().await;
    let admin = office.token("admin@acme.example").await;
    let peer = [192, 0, 2, 1].into();
    let big = format!(
        "{{\"for\": \"ci\", \"description\": \"{}\"}}",
        "x".repeat(1024 * 1024)
    );
    let answer = office
        .call_raw("POST", "/hallmark/v1/tokens", Some(&admin), &big, peer)
        .await;
    assert_eq!((answer.status, answer.code()), (413, "request-too-large"));
    let answer = office
        .call_raw("POST", "/hallmark/v1/tokens", None, &big, peer)
        .await;
    assert_eq!(answer.status, 401, "who is not known is not read");
    let answer = office
        .call_raw("POST", "/hallmark/v1/tokens", Some(&admin), "{\"for\":", peer)
        .await;
    assert_eq!((answer.status, answer.code()), (400, "invalid-request"));
    assert!(answer.body.to_string().contains("line 1"), "{answer:?}");
    for path in [
        "/hallmark/v1/whoami?x=1",
        "/hallmark/v1/stores?brand=acme&brand=acme",
        "/hallmark/v1/whoami?brand=acme",
    ] {
        assert_eq!(
            office.call("GET", path, Some(&admin), Value::Null).await.status,
            400,
            "{path}"
        );
    }
    assert_eq!(
        office
            .call("PATCH", "/hallmark/v1/whoami", Some(&admin), Value::Null)
            .await
            .status,
        405
    );
    assert_eq!(
        office
            .call("GET", "/hallmark/v1/whoami/", Some(&admin), Value::Null)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn every_change_of_a_record_is_in_the_audit_log_with_its_token() {
    let office = Office::new().await;
    person(&office, "jo@acme.example").await;
    let session = log_in(&office, "jo@acme.example", PASSWORD, 1).await;
    let jo = text(&session.body, "token");
    let made = office
        .call("POST", "/hallmark/v1/tokens", Some(jo), json!({"for": "ci"}))
        .await;
    let id = text(&made.body, "id");
    office
        .call(
            "DELETE",
            &format!("/hallmark/v1/tokens/{id}"),
            Some(jo),
            Value::Null,
        )
        .await;
    office
        .call(
            "PUT",
            "/hallmark/v1/password",
            Some(jo),
            json!({"current": PASSWORD, "new": "another long password"}),
        )
        .await;
    office
        .call("POST", "/hallmark/v1/logout", Some(jo), json!({}))
        .await;
    assert_eq!(
        actions(&office).await,
        [
            "account.create",
            "login",
            "token.create",
            "token.revoke",
            "account.password",
            "token.revoke"
        ]
    );
    let tokens = office.app.storage.all::<Token>([]).await.unwrap();
    assert_eq!(tokens.len(), 1, "only the operator's is left");
    assert!(office.app.storage.all::<Account>([]).await.unwrap().len() > 5);
}
