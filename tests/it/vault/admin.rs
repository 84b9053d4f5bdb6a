//! What operators do: models, signing, system-users, the log.

use hallmark::app::models::{self, HookKey, ModelSettings, NewModel};
use hallmark::app::serials::{self, SerialQuery, SerialReader};
use hallmark::app::sign_model::sign_model;
use hallmark::app::system_user::{self, NewSystemUser};
use hallmark::domain::assertion::{AssertionType as T, StreamDecoder};
use hallmark::domain::vault::KeyPurpose;

use super::factory::*;

fn model() -> hallmark::domain::ident::ModelName {
    MODEL.parse().unwrap()
}

fn new_model(name: &str, api_key: Option<&str>, key: Option<&str>) -> NewModel {
    NewModel {
        name: name.parse().unwrap(),
        api_key: api_key.map(|key| key.to_owned().into()),
        key: key.map(|key| key.parse().unwrap()),
        settings: ModelSettings::default(),
    }
}

#[tokio::test]
async fn a_model_shows_its_api_key_once_and_keeps_a_hash() {
    let factory = Factory::empty().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    let (model, shown) = models::create(app, &ctx, new_model(MODEL, None, None))
        .await
        .unwrap();
    assert!(shown.key.starts_with("hmv_") && shown.key.len() > 40);
    assert!(
        !serde_json::to_string(&model)
            .unwrap()
            .contains(shown.key.as_str())
    );
    assert!(!format!("{shown:?}").contains(shown.key.as_str()));
    factory.request_id(&shown.key).await;
    assert_eq!(models::list(app, &ctx).await.unwrap(), [model]);
}

#[tokio::test]
async fn models_that_cannot_work_are_refused() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    factory.brand("mallory").await;
    for (new, code) in [
        (new_model(MODEL, None, None), "already-exists"),
        (new_model("m2", Some("short"), None), "invalid-api-key"),
        (new_model("m2", Some(API_KEY), None), "api-key-taken"),
        (new_model("m2", None, Some("absent")), "resource-not-found"),
        (new_model("m2", None, Some("model")), "key-purpose"),
    ] {
        let refusal = models::create(app, &ctx, new).await.unwrap_err();
        assert_eq!(refusal.code, code);
        assert!(refusal.message.starts_with("cannot "), "{refusal}");
    }
    // A key that is registered for another account: its serials would be rejected by every device.
    let key = factory
        .key(BRAND, "stray", "brand-expired", &[KeyPurpose::Serial])
        .await;
    factory
        .account_key("mallory", "stray", &key.public_key, key.key_id.as_str(), 1, None)
        .await;
    let refusal = models::create(app, &ctx, new_model("m2", None, Some("stray")))
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "key-not-registered");
}

#[tokio::test]
async fn another_brands_models_are_not_there() {
    let factory = Factory::new().await;
    factory.brand("mallory").await;
    let other = hallmark::app::BrandCtx::local("mallory".parse().unwrap());
    assert!(models::list(&factory.app, &other).await.unwrap().is_empty());
    assert_eq!(
        models::show(&factory.app, &other, &model())
            .await
            .unwrap_err()
            .code,
        "resource-not-found"
    );
    let serials = serials::list(&factory.app, &other, SerialQuery::default())
        .await
        .unwrap();
    assert!(serials.rows.is_empty());
}

#[tokio::test]
async fn the_hook_is_ready_to_run() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    let given = models::hook(app, &ctx, &model(), HookKey::Given(API_KEY.to_owned().into()))
        .await
        .unwrap();
    assert!(given.starts_with("#!/bin/sh\n"), "{}", *given);
    assert!(
        given.contains("snapctl set device-service.url='http://127.0.0.1:8380/v1/'"),
        "{}",
        *given
    );
    assert!(given.contains(&format!(
        "snapctl set device-service.headers='{{\"api-key\":\"{API_KEY}\"}}'"
    )));
    let wrong = models::hook(
        app,
        &ctx,
        &model(),
        HookKey::Given("some-other-key".to_owned().into()),
    )
    .await;
    assert_eq!(wrong.unwrap_err().code, "invalid-api-key");
    let fresh = models::hook(app, &ctx, &model(), HookKey::New).await.unwrap();
    let key = fresh
        .split("\"api-key\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    factory.request_id(key).await;
}

const STATEMENT: &str = r#"{
    "type": "model", "authority-id": "acme", "series": "16", "brand-id": "acme", "model": "gate-1",
    "architecture": "amd64", "base": "core22", "gadget": "pc", "kernel": "pc-kernel",
    "timestamp": "2026-06-01T00:00:00Z"
}"#;

#[tokio::test]
async fn a_model_is_signed_from_json_or_yaml_kept_and_served() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    let signed = sign_model(app, &ctx, STATEMENT, None).await.unwrap();
    TestKey::new("other").public.verify_assertion(&signed).unwrap();
    let yaml = "type: model\nauthority-id: acme\nrevision: 1\nseries: 16\nbrand-id: acme\nmodel: gate-1\n\
                architecture: amd64\nbase: core22\ngadget: pc\nkernel: pc-kernel\ntimestamp: 2026-06-01T00:00:00Z\n";
    let second = sign_model(app, &ctx, yaml, Some("model".parse().unwrap()))
        .await
        .unwrap();
    assert_eq!(second.revision(), 1);
    let served = factory
        .post(
            "/v1/model",
            API_KEY,
            "{\"brand-id\":\"acme\",\"model\":\"gate-1\"}",
        )
        .await;
    assert_eq!(served.assertions()[2].encoded(), second.encoded());
}

#[tokio::test]
async fn a_model_devices_would_refuse_is_refused_with_the_header_named() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    for (from, to, word, code) in [
        (
            "\"type\": \"model\"",
            "\"type\": \"serial\"",
            "type",
            "invalid-statement",
        ),
        (
            "\"brand-id\": \"acme\"",
            "\"brand-id\": \"mallory\"",
            "brand-id",
            "wrong-brand",
        ),
        (
            "\"authority-id\": \"acme\", ",
            "",
            "authority-id",
            "invalid-statement",
        ),
        (
            "\"base\": \"core22\", ",
            "\"base\": \"UPPER\", ",
            "base",
            "invalid-statement",
        ),
        (
            "\"architecture\": \"amd64\", ",
            "",
            "architecture",
            "invalid-statement",
        ),
        ("\"gate-1\"", "\"Gate-1\"", "model", "invalid-statement"),
        (
            "\"series\": \"16\"",
            "\"series\": 16",
            "series",
            "invalid-statement",
        ),
        (
            "2026-06-01T00:00:00Z",
            "yesterday",
            "timestamp",
            "invalid-statement",
        ),
        (
            "2026-06-01T00:00:00Z",
            "2027-06-01T00:00:00Z",
            "timestamp",
            "timestamp-ahead",
        ),
        (
            "2026-06-01T00:00:00Z",
            "2020-06-01T00:00:00Z",
            "\"timestamp\"",
            "key-not-valid",
        ),
    ] {
        assert!(STATEMENT.contains(from), "{from}");
        let refusal = sign_model(app, &ctx, &STATEMENT.replacen(from, to, 1), None)
            .await
            .unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.message.contains(word), "{refusal}");
    }
    sign_model(app, &ctx, STATEMENT, None).await.unwrap();
    let again = sign_model(app, &ctx, STATEMENT, None).await.unwrap_err();
    assert_eq!(again.code, "old-revision");
    assert!(again.message.contains("\"revision\" header to \"1\""), "{again}");
    let wrong_key = sign_model(app, &ctx, STATEMENT, Some("serial".parse().unwrap()))
        .await
        .unwrap_err();
    assert_eq!(wrong_key.code, "key-purpose");
}

fn user() -> NewSystemUser {
    NewSystemUser {
        email: "ann@acme.example".to_owned(),
        name: Some("Ann".to_owned()),
        username: "ann".to_owned(),
        password: None,
        ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIw ann".to_owned()],
        models: vec![model()],
        serials: Vec::new(),
        since: None,
        until: None,
        force_password_change: false,
        key: None,
    }
}

#[tokio::test]
async fn a_system_user_comes_with_its_chain_and_numbered_revisions() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    for revision in 1..=2 {
        let stream = system_user::issue(app, &ctx, user()).await.unwrap();
        let found: Vec<_> = StreamDecoder::new(stream).map(Result::unwrap).collect();
        let kinds: Vec<T> = found.iter().map(|assertion| assertion.kind()).collect();
        assert_eq!(kinds, [T::Account, T::AccountKey, T::SystemUser]);
        assert_eq!(found[2].revision(), revision);
        assert_eq!(found[2].text("until"), Some("2027-06-01T00:00:00Z"));
        TestKey::new("brand-future")
            .public
            .verify_assertion(&found[2])
            .unwrap();
    }
    let with_serials = NewSystemUser {
        serials: vec!["S1".parse().unwrap()],
        ..user()
    };
    let stream = system_user::issue(app, &ctx, with_serials).await.unwrap();
    let last = StreamDecoder::new(stream).map(Result::unwrap).last().unwrap();
    assert_eq!((last.format(), last.revision()), (1, 3));
}

#[tokio::test]
async fn useless_or_dangerous_system_users_are_refused() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    let time = |text: &str| Some(text.parse().unwrap());
    for (new, code) in [
        (
            NewSystemUser {
                ssh_keys: Vec::new(),
                ..user()
            },
            "empty-credentials",
        ),
        (
            NewSystemUser {
                ssh_keys: vec![" ".to_owned()],
                ..user()
            },
            "empty-credentials",
        ),
        (
            NewSystemUser {
                password: Some("secret".to_owned()),
                ..user()
            },
            "invalid-password-hash",
        ),
        (
            NewSystemUser {
                password: Some("$6$only".to_owned()),
                ..user()
            },
            "invalid-system-user",
        ),
        (
            NewSystemUser {
                password: Some("$1$salt$hash".to_owned()),
                ..user()
            },
            "invalid-password-hash",
        ),
        (
            NewSystemUser {
                models: Vec::new(),
                ..user()
            },
            "no-models",
        ),
        (
            NewSystemUser {
                models: vec!["gate-9".parse().unwrap()],
                ..user()
            },
            "resource-not-found",
        ),
        (
            NewSystemUser {
                username: "Ann".to_owned(),
                ..user()
            },
            "invalid-system-user",
        ),
        (
            NewSystemUser {
                email: "nobody".to_owned(),
                ..user()
            },
            "invalid-system-user",
        ),
        (
            NewSystemUser {
                until: time("2027-06-02T00:00:00Z"),
                ..user()
            },
            "invalid-validity",
        ),
        (
            NewSystemUser {
                until: time("2026-05-01T00:00:00Z"),
                ..user()
            },
            "invalid-validity",
        ),
        (
            NewSystemUser {
                since: time("2028-01-01T00:00:00Z"),
                ..user()
            },
            "invalid-validity",
        ),
        (
            NewSystemUser {
                key: Some("serial".parse().unwrap()),
                ..user()
            },
            "key-purpose",
        ),
    ] {
        let refusal = system_user::issue(app, &ctx, new).await.unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
    }
}

#[tokio::test]
async fn the_log_is_paged_filtered_and_read_to_its_end() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    let device = TestKey::new("device-2048");
    for n in 0..7 {
        factory.clock.advance(10);
        factory
            .register(&Request::new(&format!("S{n}")), &device)
            .await
            .serial();
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let query = SerialQuery {
            before,
            limit: Some(3),
            ..SerialQuery::default()
        };
        let page = serials::list(app, &ctx, query).await.unwrap();
        assert!(page.rows.len() <= 3);
        seen.extend(page.rows.iter().map(|row| row.device.serial.to_string()));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["S6", "S5", "S4", "S3", "S2", "S1", "S0"]);
    let query = SerialQuery {
        since: Some("2026-06-01T00:01:00Z".parse().unwrap()),
        ..SerialQuery::default()
    };
    assert_eq!(serials::count(app, &ctx, query.clone()).await.unwrap(), 2);
    let mut reader = SerialReader::new(app, &ctx, query);
    assert_eq!(reader.next().await.unwrap().unwrap().len(), 2);
    assert!(reader.next().await.unwrap().is_none());
    let query = SerialQuery {
        serial_prefix: Some("S3".to_owned()),
        ..SerialQuery::default()
    };
    assert_eq!(serials::list(app, &ctx, query).await.unwrap().rows.len(), 1);
}
