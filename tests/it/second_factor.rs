//! The second factor: enrolled, demanded at every log-in with a password, good once, and what happens without it.

use hallmark::app::{App, AppState, Settings};
use hallmark::domain::access::Role;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret, Totp};

use crate::office::{Answer, BRAND, Office};
use crate::publisher::client::{self, PASSWORD, with_password};

const WHO: &str = "jo@acme.example";

struct Jo {
    office: Office,
    token: String,
}

impl Jo {
    async fn new() -> Self {
        let office = Office::new().await;
        with_password(&office, WHO).await;
        office.add_member(BRAND, WHO, Role::ALL).await;
        let token = office.token(WHO).await;
        Self { office, token }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.office
            .call(method, &format!("/hallmark/v1/{path}"), Some(&self.token), body)
            .await
    }

    async fn log_in(&self, otp: Option<&str>) -> Answer {
        let body = json!({"email": WHO, "password": PASSWORD, "otp": otp});
        self.office.call("POST", "/hallmark/v1/login", None, body).await
    }

    /// Enrols and confirms; the application and the recovery codes.
    async fn enrolled(&self) -> (Totp, Vec<String>) {
        let begun = self.call("POST", "second-factor", Value::Null).await;
        assert_eq!(begun.status, 201, "{}", begun.body);
        let totp = application(begun.body["secret"].as_str().unwrap());
        let code = self.code(&totp, 0);
        let answer = self.call("PUT", "second-factor", json!({"code": code})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let codes = answer.body["recovery-codes"].as_array().unwrap();
        (
            totp,
            codes
                .iter()
                .map(|code| code.as_str().unwrap().to_owned())
                .collect(),
        )
    }

    /// The code that the application shows so many steps from now.
    fn code(&self, totp: &Totp, steps: i64) -> String {
        let now = self.office.now().unix() + 30 * steps;
        totp.generate(u64::try_from(now).unwrap()).to_string()
    }
}

fn application(secret: &str) -> Totp {
    let secret = Secret::try_from_base32(secret).unwrap();
    Builder::new().with_secret(secret).build().unwrap()
}

fn is(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
}

#[tokio::test]
async fn nothing_is_demanded_before_it_is_confirmed_and_a_code_at_every_log_in_then() {
    let jo = Jo::new().await;
    let begun = jo.call("POST", "second-factor", Value::Null).await;
    let (secret, url) = (
        begun.body["secret"].as_str().unwrap(),
        begun.body["url"].as_str().unwrap(),
    );
    assert!(
        url.starts_with("otpauth://totp/hallmark:jo%40acme.example?") && url.contains(secret),
        "{url}"
    );
    assert_eq!(jo.log_in(None).await.status, 201, "not confirmed yet");
    is(
        &jo.call("PUT", "second-factor", json!({"code": "000000"})).await,
        400,
        "invalid-otp",
    );

    // Begun again: the last secret counts.
    let stale = application(secret);
    let again = jo.call("POST", "second-factor", Value::Null).await;
    is(
        &jo.call("PUT", "second-factor", json!({"code": jo.code(&stale, 0)}))
            .await,
        400,
        "invalid-otp",
    );
    let totp = application(again.body["secret"].as_str().unwrap());
    let other = jo.office.token(WHO).await;
    let program = jo.office.token_with(WHO, |token| token.person = false).await;
    let publishing = jo
        .office
        .token_with(WHO, |token| {
            token.person = false;
            token.publisher = true;
        })
        .await;
    let answer = jo
        .call("PUT", "second-factor", json!({"code": jo.code(&totp, 0)}))
        .await;
    assert_eq!(
        answer.body["recovery-codes"].as_array().unwrap().len(),
        10,
        "{}",
        answer.body
    );
    let whoami = |token: String| async move { token };
    for (token, status) in [
        (other, 401),
        (publishing, 401),
        (program, 200),
        (jo.token.clone(), 200),
    ] {
        let token = whoami(token).await;
        let answer = jo
            .office
            .call("GET", "/hallmark/v1/whoami", Some(&token), Value::Null)
            .await;
        assert_eq!(answer.status, status, "other log-ins end, programs go on");
    }

    is(&jo.log_in(None).await, 401, "twofactor-required");
    is(&jo.log_in(Some("")).await, 401, "twofactor-required");
    is(&jo.log_in(Some("123")).await, 401, "invalid-otp");
    is(&jo.log_in(Some(&jo.code(&totp, 0))).await, 401, "invalid-otp"); // used to confirm
    jo.office.advance(30);
    let code = jo.code(&totp, 0);
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    assert_eq!(jo.log_in(Some(&spaced)).await.status, 201);
    is(&jo.log_in(Some(&code)).await, 401, "invalid-otp"); // used
    assert_eq!(
        jo.log_in(Some(&jo.code(&totp, 1))).await.status,
        201,
        "a clock that is early"
    );
    is(&jo.log_in(Some(&jo.code(&totp, 0))).await, 401, "invalid-otp"); // older than the last
    jo.office.advance(90);
    is(&jo.log_in(Some(&jo.code(&totp, -2))).await, 401, "invalid-otp"); // too old
    is(
        &jo.call("POST", "second-factor", Value::Null).await,
        409,
        "second-factor-exists",
    );
    is(
        &jo.call("PUT", "second-factor", json!({"code": jo.code(&totp, 0)}))
            .await,
        409,
        "second-factor-exists",
    );
    let wrong = json!({"email": WHO, "password": "wrong password", "otp": jo.code(&totp, 0)});
    is(
        &jo.office.call("POST", "/hallmark/v1/login", None, wrong).await,
        401,
        "invalid-credentials",
    );
}

#[tokio::test]
async fn the_secret_is_sealed_and_recovery_codes_are_hashed() {
    let jo = Jo::new().await;
    let (_, codes) = jo.enrolled().await;
    let kept = jo.office.account(WHO).await.second_factor.unwrap();
    let text = serde_json::to_string(&kept).unwrap();
    for code in &codes {
        assert!(!text.contains(code.as_str()));
    }
    let other = jo.office.account("admin@acme.example").await;
    let label = hallmark::ports::SealLabel {
        kind: "second-factor",
        owner: other.id.as_str(),
        name: "totp",
    };
    assert!(
        jo.office.app.seal.open(&label, &kept.sealed).is_err(),
        "bound to its account"
    );
}

#[tokio::test]
async fn a_recovery_code_is_good_once_and_what_is_left_is_shown() {
    let jo = Jo::new().await;
    let (_, codes) = jo.enrolled().await;
    assert_eq!(jo.log_in(Some(&codes[0])).await.status, 201);
    is(&jo.log_in(Some(&codes[0])).await, 401, "invalid-otp");
    let (left, right) = codes[1].split_at(6);
    assert_eq!(jo.log_in(Some(&format!("{left}-{right}"))).await.status, 201);
    let shown = jo.call("GET", "second-factor", Value::Null).await;
    assert_eq!(
        (&shown.body["enrolled"], &shown.body["recovery-codes"]),
        (&json!(true), &json!(8))
    );
}

#[tokio::test]
async fn one_code_lets_one_of_many_in() {
    let jo = Jo::new().await;
    let (totp, _) = jo.enrolled().await;
    jo.office.advance(30);
    let code = jo.code(&totp, 0);
    let answers = futures_util::future::join_all((0..6).map(|_| jo.log_in(Some(&code)))).await;
    let good = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(good, 1, "{answers:?}");
}

#[tokio::test]
async fn ten_guesses_lock_the_code_for_fifteen_minutes_from_wherever_they_come() {
    let jo = Jo::new().await;
    let (totp, codes) = jo.enrolled().await;
    jo.office.advance(30);
    for peer in 0..10u8 {
        let body = json!({"email": WHO, "password": PASSWORD, "otp": "000000"}).to_string();
        let answer = jo
            .office
            .call_raw(
                "POST",
                "/hallmark/v1/login",
                None,
                &body,
                [192, 0, 2, peer].into(),
            )
            .await;
        is(&answer, 401, "invalid-otp");
    }
    is(
        &jo.log_in(Some(&jo.code(&totp, 0))).await,
        429,
        "too-many-failures",
    );
    is(&jo.log_in(Some(&codes[0])).await, 429, "too-many-failures");
    jo.office.advance(901);
    assert_eq!(jo.log_in(Some(&jo.code(&totp, 0))).await.status, 201);
}

#[tokio::test]
async fn it_is_taken_away_by_its_owner_with_a_code_or_by_the_operator() {
    let jo = Jo::new().await;
    is(
        &jo.call("POST", "second-factor/disable", json!({"code": "000000"}))
            .await,
        404,
        "resource-not-found",
    );
    let (_, codes) = jo.enrolled().await;
    is(
        &jo.call("POST", "second-factor/disable", json!({"code": "000000"}))
            .await,
        400,
        "invalid-otp",
    );
    assert_eq!(
        jo.call("POST", "second-factor/disable", json!({"code": codes[0]}))
            .await
            .status,
        204
    );
    assert_eq!(jo.log_in(None).await.status, 201);

    jo.enrolled().await;
    let path = format!("/hallmark/v1/accounts/{WHO}/second-factor/remove");
    let mine = jo.office.call("POST", &path, Some(&jo.token), json!({})).await;
    is(&mine, 404, "resource-not-found");
    let operator = jo.office.token("operator@hallmark.example").await;
    let answer = jo.office.call("POST", &path, Some(&operator), json!({})).await;
    assert_eq!(
        (answer.status, &answer.body["second-factor"]),
        (200, &json!(false)),
        "{}",
        answer.body
    );
    is(
        &jo.office.call("POST", &path, Some(&operator), json!({})).await,
        404,
        "resource-not-found",
    );
    assert_eq!(jo.log_in(None).await.status, 201);
}

#[tokio::test]
async fn publisher_clients_are_asked_for_it_and_programs_do_not_enrol() {
    let jo = Jo::new().await;
    let (totp, _) = jo.enrolled().await;
    jo.office.advance(30);
    let root = client::root(&jo.office, json!({"permissions": ["package_access"]})).await;
    let caveat = client::caveat(&root).1;
    let post = |otp: Option<String>| {
        let body = json!({"email": WHO, "password": PASSWORD, "caveat_id": caveat, "otp": otp});
        client::post(&jo.office, "/api/v2/tokens/discharge", body)
    };
    let answer = post(None).await;
    is(&answer, 401, "twofactor-required");
    assert_eq!(answer.body["code"], "TWOFACTOR_REQUIRED");
    is(&post(Some("000000".to_owned())).await, 401, "invalid-otp");
    let answer = post(Some(jo.code(&totp, 0))).await;
    let discharge = answer.body["discharge_macaroon"].as_str().unwrap();
    assert_eq!(
        client::whoami(&jo.office, &client::header(&root, discharge))
            .await
            .status,
        200
    );
    // A token needs no code: it was made with one.
    let token = jo.office.token_with(WHO, |token| token.person = false).await;
    client::discharged(&jo.office, &root, WHO, &token).await;
    let answer = jo
        .office
        .call(
            "POST",
            "/hallmark/v1/second-factor/disable",
            Some(&token),
            json!({"code": "1"}),
        )
        .await;
    is(&answer, 404, "resource-not-found");
}

#[tokio::test]
async fn a_setting_keeps_weighty_acts_for_accounts_that_have_one() {
    let mut jo = Jo::new().await;
    let app = jo.office.app.clone();
    let state = AppState::clone(&app);
    let settings = Settings {
        require_second_factor: true,
        ..Settings::clone(&state.settings)
    };
    jo.office.app = App::from(AppState {
        settings: settings.into(),
        ..state
    });
    jo.office.router =
        hallmark::http::router(&jo.office.app, hallmark::http::metrics::Metrics::default()).unwrap();
    let operator = jo.office.token("operator@hallmark.example").await;
    let weighty = [
        ("GET", "/hallmark/v1/accounts", &operator),
        ("POST", "/hallmark/v1/system-users?brand=acme", &jo.token),
        ("POST", "/hallmark/v1/keys?brand=acme", &jo.token),
        // The operator has no role there.
        ("GET", "/hallmark/v1/models?brand=acme", &operator),
    ];
    for (method, path, token) in weighty {
        let answer = jo.office.call(method, path, Some(token), Value::Null).await;
        is(&answer, 403, "second-factor-required");
    }
    // Who may not at all learns nothing from it.
    let viewer = jo.office.token("view@acme.example").await;
    let answer = jo
        .office
        .call("GET", "/hallmark/v1/accounts", Some(&viewer), Value::Null)
        .await;
    is(&answer, 404, "resource-not-found");
    for path in ["/hallmark/v1/models?brand=acme", "/hallmark/v1/whoami"] {
        let answer = jo.office.call("GET", path, Some(&jo.token), Value::Null).await;
        assert_eq!(answer.status, 200, "{path} {}", answer.body);
    }
    jo.enrolled().await;
    let answer = jo
        .office
        .call(
            "POST",
            "/hallmark/v1/keys?brand=acme",
            Some(&jo.token),
            Value::Null,
        )
        .await;
    is(&answer, 400, "invalid-request");
}
