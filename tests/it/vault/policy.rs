//! What a model's settings make of a request: API keys, re-issue, allow-lists, quotas, approval.

use hallmark::app::models::{self, ModelSettings};
use hallmark::app::serials::{self, Decision};
use hallmark::domain::vault::{DeviceAuth, Reissue, Standing};

use super::factory::*;

fn model() -> hallmark::domain::ident::ModelName {
    MODEL.parse().unwrap()
}

fn settings(change: impl FnOnce(&mut ModelSettings)) -> ModelSettings {
    let mut settings = ModelSettings::default();
    change(&mut settings);
    settings
}

async fn subcode(answer: Answer) -> (u16, String, String) {
    let json = answer.json();
    let text = |key: &str| json[key].as_str().unwrap().to_owned();
    (answer.status, text("error_code"), text("error_subcode"))
}

fn duplicate(why: &str) -> (u16, String, String) {
    (400, "duplicate-assertion".to_owned(), why.to_owned())
}

#[tokio::test]
async fn same_key_only_serves_the_same_device_and_no_other() {
    let factory = Factory::new().await;
    factory
        .configure(settings(|s| s.reissue = Some(Reissue::SameKeyOnly)))
        .await;
    let (one, two) = (TestKey::new("device-2048"), TestKey::new("brand-constrained"));
    factory.register(&Request::new("S"), &one).await.serial();
    assert_eq!(
        factory
            .register(&Request::new("S"), &one)
            .await
            .serial()
            .revision(),
        2
    );
    let refused = factory.register(&Request::new("S"), &two).await;
    assert_eq!(subcode(refused).await, duplicate("already-issued"));
}

#[tokio::test]
async fn deny_issues_every_serial_once() {
    let factory = Factory::new().await;
    factory
        .configure(settings(|s| s.reissue = Some(Reissue::Deny)))
        .await;
    let device = TestKey::new("device-2048");
    factory.register(&Request::new("S"), &device).await.serial();
    assert_eq!(
        subcode(factory.register(&Request::new("S"), &device).await).await,
        duplicate("already-issued")
    );
    factory.register(&Request::new("T"), &device).await.serial();
}

#[tokio::test]
async fn approve_lets_the_device_poll_until_a_person_decides() {
    let factory = Factory::new().await;
    factory
        .configure(settings(|s| s.reissue = Some(Reissue::Approve)))
        .await;
    let (one, two) = (TestKey::new("device-2048"), TestKey::new("brand-constrained"));
    factory.register(&Request::new("S"), &one).await.serial();

    let id = factory.request_id(API_KEY).await;
    let request = Request::new("S").sign(&two, &id).encoded().clone();
    let other = factory.request_id(API_KEY).await;
    let refused = Request::new("S").sign(&one, &other).encoded().clone();
    for _ in 0..3 {
        assert_eq!(factory.serial(request.clone()).await.status, 202);
        // Polls go on for days: the request-id stays good for this request.
        factory.clock.advance(86_400);
    }
    let other_request = Request::new("T").sign(&two, &id).encoded().clone();
    assert_eq!(
        factory.serial(other_request).await.code(),
        "invalid-nonce",
        "but for no other"
    );

    let waiting = serials::approvals(&factory.app, &factory.ctx()).await.unwrap();
    assert_eq!(waiting.len(), 1);
    let serial = "S".parse().unwrap();
    serials::decide(
        &factory.app,
        &factory.ctx(),
        &model(),
        &serial,
        None,
        Decision::Approve,
    )
    .await
    .unwrap();
    let issued = factory.serial(request.clone()).await.serial();
    assert_eq!((issued.revision(), issued.text("serial")), (2, Some("S")));
    assert_eq!(
        factory.serial(request).await.code(),
        "invalid-nonce",
        "an approval is good for one serial"
    );

    factory.clock.advance(-3 * 86_400);
    assert_eq!(factory.serial(refused.clone()).await.status, 202);
    let key = one.public.id();
    serials::decide(
        &factory.app,
        &factory.ctx(),
        &model(),
        &serial,
        Some(key),
        Decision::Reject,
    )
    .await
    .unwrap();
    assert_eq!(subcode(factory.serial(refused).await).await, duplicate("denied"));
    let nobody = serials::decide(
        &factory.app,
        &factory.ctx(),
        &model(),
        &serial,
        None,
        Decision::Approve,
    )
    .await;
    assert_eq!(nobody.unwrap_err().code, "resource-not-found");
}

#[tokio::test]
async fn only_serials_of_the_allow_list_and_none_that_is_denied() {
    let factory = Factory::new().await;
    factory.configure(settings(|s| s.allow_list = Some(true))).await;
    let device = TestKey::new("device-2048");
    let judge = async |serial: &str, standing| {
        serials::judge(
            &factory.app,
            &factory.ctx(),
            &model(),
            &[serial.parse().unwrap()],
            standing,
        )
        .await
        .unwrap();
    };
    assert_eq!(
        subcode(factory.register(&Request::new("S"), &device).await).await,
        duplicate("not-allowed")
    );
    judge("S", Some(Standing::Allowed)).await;
    factory.register(&Request::new("S"), &device).await.serial();
    judge("S", Some(Standing::Denied)).await;
    assert_eq!(
        subcode(factory.register(&Request::new("S"), &device).await).await,
        duplicate("denied")
    );
    judge("S", None).await;
    assert_eq!(
        subcode(factory.register(&Request::new("S"), &device).await).await,
        duplicate("not-allowed")
    );
    factory.configure(settings(|s| s.allow_list = Some(false))).await;
    factory.register(&Request::new("S"), &device).await.serial();
    judge("S", Some(Standing::Denied)).await;
    assert_eq!(
        subcode(factory.register(&Request::new("S"), &device).await).await,
        duplicate("denied")
    );
}

#[tokio::test]
async fn a_quota_counts_distinct_serials() {
    let factory = Factory::new().await;
    factory.configure(settings(|s| s.quota = Some(Some(2)))).await;
    let device = TestKey::new("device-2048");
    for serial in ["A", "A", "B", "A"] {
        factory.register(&Request::new(serial), &device).await.serial();
    }
    assert_eq!(
        subcode(factory.register(&Request::new("C"), &device).await).await,
        duplicate("quota-reached")
    );
    factory.configure(settings(|s| s.quota = Some(None))).await;
    factory.register(&Request::new("C"), &device).await.serial();
}

#[tokio::test]
async fn devices_without_a_key_only_where_the_model_says_so() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    let paths = [
        ("/v1/request-id", "/v1/serial"),
        ("/api/v1/snaps/auth/request-id", "/api/v1/snaps/auth/devices"),
    ];
    for (ids, _) in paths {
        assert_eq!(
            factory.post(ids, "", "").await.code(),
            "invalid-api-key",
            "the default"
        );
    }
    factory
        .configure(settings(|s| s.auth = Some(DeviceAuth::None)))
        .await;
    factory.model("gate-2", "acme-gate-2-api-key").await;
    for (ids, serials) in paths {
        let id = factory.post(ids, "", "").await.json()["request-id"]
            .as_str()
            .unwrap()
            .to_owned();
        factory
            .post(
                serials,
                "",
                Request::new("S").sign(&device, &id).encoded().clone(),
            )
            .await
            .serial();
        let id = factory.post(ids, "", "").await.json()["request-id"]
            .as_str()
            .unwrap()
            .to_owned();
        let keyed = Request::new("S")
            .model("gate-2")
            .sign(&device, &id)
            .encoded()
            .clone();
        assert_eq!(
            factory.post(serials, "", keyed).await.code(),
            "invalid-model",
            "not for its neighbour"
        );
    }
    assert_eq!(
        factory.post("/nobody/v1/request-id", "", "").await.code(),
        "invalid-api-key"
    );
    assert_eq!(
        factory.post("/v1/request-id", "wrong-api-key", "").await.code(),
        "invalid-api-key"
    );
    factory.register(&Request::new("S"), &device).await.serial();

    factory
        .configure(settings(|s| s.auth = Some(DeviceAuth::AllowList)))
        .await;
    let keyless = async |serial: &str| {
        let id = factory.post("/v1/request-id", "", "").await.json()["request-id"]
            .as_str()
            .unwrap()
            .to_owned();
        factory
            .post(
                "/v1/serial",
                "",
                Request::new(serial).sign(&device, &id).encoded().clone(),
            )
            .await
    };
    assert_eq!(subcode(keyless("S").await).await, duplicate("not-allowed"));
    let allowed = ["S".parse().unwrap()];
    serials::judge(
        &factory.app,
        &factory.ctx(),
        &model(),
        &allowed,
        Some(Standing::Allowed),
    )
    .await
    .unwrap();
    keyless("S").await.serial();

    factory
        .configure(settings(|s| s.auth = Some(DeviceAuth::ApiKey)))
        .await;
    assert_eq!(
        factory.post("/v1/request-id", "", "").await.code(),
        "invalid-api-key"
    );
}

#[tokio::test]
async fn api_keys_overlap_expire_and_are_revoked_at_once() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    let now = app.clock.now();
    let (_, new) = models::add_api_key(app, &ctx, &model(), None, None, Some(now.plus_seconds(100)))
        .await
        .unwrap();
    for key in [API_KEY, new.key.as_str()] {
        factory.request_id(key).await;
    }
    factory.clock.advance(99);
    factory.request_id(API_KEY).await;
    factory.clock.advance(1);
    assert_eq!(
        factory.post("/v1/request-id", API_KEY, "").await.code(),
        "invalid-api-key",
        "expired"
    );
    factory.request_id(&new.key).await;
    models::revoke_api_key(app, &ctx, &model(), &new.id)
        .await
        .unwrap();
    assert_eq!(
        factory.post("/v1/request-id", &new.key, "").await.code(),
        "invalid-api-key",
        "revoked"
    );
}

#[tokio::test]
async fn a_request_id_dies_with_its_api_key() {
    let factory = Factory::new().await;
    let (app, ctx) = (&factory.app, factory.ctx());
    let (_, new) = models::add_api_key(app, &ctx, &model(), None, None, None)
        .await
        .unwrap();
    let id = factory.request_id(&new.key).await;
    models::revoke_api_key(app, &ctx, &model(), &new.id)
        .await
        .unwrap();
    let body = Request::new("S")
        .sign(&TestKey::new("device-2048"), &id)
        .encoded()
        .clone();
    assert_eq!(
        factory.post("/v1/serial", &new.key, body.clone()).await.code(),
        "invalid-api-key"
    );
    assert_eq!(factory.serial(body).await.code(), "invalid-nonce");
}

#[tokio::test]
async fn a_disabled_model_gets_no_serials() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    factory.register(&Request::new("S"), &device).await.serial();
    factory.configure(settings(|s| s.disabled = Some(true))).await;
    assert_eq!(
        factory.register(&Request::new("S"), &device).await.code(),
        "invalid-model"
    );
    factory.configure(settings(|s| s.disabled = Some(false))).await;
    factory.register(&Request::new("S"), &device).await.serial();
}

#[tokio::test]
async fn a_key_of_one_model_is_no_good_for_another_and_none_for_another_brand() {
    let factory = Factory::new().await;
    factory.model("gate-2", "acme-gate-2-api-key").await;
    let device = TestKey::new("device-2048");
    let id = factory.request_id("acme-gate-2-api-key").await;
    let body = Request::new("S").sign(&device, &id).encoded().clone();
    assert_eq!(
        factory
            .post("/v1/serial", "acme-gate-2-api-key", body)
            .await
            .code(),
        "invalid-model"
    );
    assert_eq!(
        factory.post("/mallory/v1/request-id", API_KEY, "").await.code(),
        "invalid-api-key"
    );
}

#[tokio::test]
async fn one_wrong_key_from_one_address_is_slowed_down_and_nobody_else() {
    let factory = Factory::new().await;
    for _ in 0..10 {
        assert_eq!(
            factory
                .post("/v1/request-id", "wrong-api-key", "")
                .await
                .refusal()
                .0,
            400
        );
    }
    let locked = factory.post("/v1/request-id", "wrong-api-key", "").await;
    assert_eq!(
        locked.status, 503,
        "temporary, so that a corrected key heals at once"
    );
    assert_eq!(
        factory
            .post("/v1/request-id", "another-wrong-key", "")
            .await
            .status,
        400
    );
    factory.request_id(API_KEY).await;
    // The operator makes the key a good one: no wait.
    models::add_api_key(
        &factory.app,
        &factory.ctx(),
        &model(),
        Some("wrong-api-key"),
        None,
        None,
    )
    .await
    .unwrap();
    factory.request_id("wrong-api-key").await;
}
