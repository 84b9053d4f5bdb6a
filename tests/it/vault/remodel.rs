//! Remodelling: a device of one model becomes another (serial-vault.md 6.1).

use bytes::Bytes;
use hallmark::app::models;
use hallmark::app::remodel_rules::{self, NewRule};
use hallmark::app::serials;
use hallmark::domain::assertion::{Assertion, AssertionType};

use super::factory::*;

const NEW: &str = "gate-2";
const NEW_KEY: &str = "acme-gate-2-api-key";

struct Line {
    factory: Factory,
    device: TestKey,
    old: Assertion,
    new_model: Assertion,
}

/// A device with serial `S` of the old model, and a new model with an API key of its own.
async fn line() -> Line {
    let factory = Factory::new().await;
    factory.model(NEW, NEW_KEY).await;
    let device = TestKey::new("device-2048");
    let old = factory.register(&Request::new("S"), &device).await.serial();
    let new_model = factory.model_assertion(NEW, &TestKey::new("other"), &[("store", "acme-store")]);
    Line {
        factory,
        device,
        old,
        new_model,
    }
}

fn rule(from_serial: Option<&str>, store: Option<&str>) -> NewRule {
    NewRule {
        from_model: MODEL.parse().unwrap(),
        to_model: NEW.parse().unwrap(),
        from_serial: from_serial.map(|serial| serial.parse().unwrap()),
        store: store.map(|store| store.parse().unwrap()),
        note: String::new(),
    }
}

impl Line {
    async fn allow(&self, rule: NewRule) {
        remodel_rules::add(&self.factory.app, &self.factory.ctx(), rule)
            .await
            .unwrap();
    }

    fn request(&self) -> Request {
        Request::new("S").model(NEW).original(MODEL, "S")
    }

    async fn send(
        &self,
        request: &Request,
        old: Option<&Assertion>,
        model: Option<&Assertion>,
        key: &str,
    ) -> Answer {
        let id = self.factory.request_id(key).await;
        let request = request.sign(&self.device, &id);
        let parts: Vec<&Assertion> = std::iter::once(&request).chain(model).chain(old).collect();
        self.factory.post("/v1/serial", key, stream(&parts)).await
    }

    async fn usual(&self, key: &str) -> Answer {
        self.send(&self.request(), Some(&self.old), Some(&self.new_model), key)
            .await
    }
}

#[tokio::test]
async fn a_rule_lets_devices_become_the_new_model_with_either_key() {
    let line = line().await;
    assert_eq!(
        line.usual(API_KEY).await.refusal(),
        (400, "invalid-substore".to_owned()),
        "no rule yet"
    );
    line.allow(rule(None, None)).await;
    let issued = line.usual(API_KEY).await.serial();
    assert_eq!(
        (issued.text("model"), issued.text("serial"), issued.revision()),
        (Some(NEW), Some("S"), 1)
    );
    assert_eq!(line.usual(NEW_KEY).await.serial().revision(), 2);
    line.factory.model("gate-3", "acme-gate-3-api-key").await;
    assert_eq!(
        line.usual("acme-gate-3-api-key").await.code(),
        "invalid-model",
        "the key of a third model"
    );
}

#[tokio::test]
async fn remodelling_works_after_a_key_rotation_and_a_restart() {
    let mut line = line().await;
    line.allow(rule(None, None)).await;
    let (app, ctx) = (line.factory.app.clone(), line.factory.ctx());
    for model in [MODEL, NEW] {
        models::set_policy(&app, &ctx, &model.parse().unwrap(), "serial-2".parse().unwrap())
            .await
            .unwrap();
    }
    line.factory.restart().await;
    let issued = line.usual(API_KEY).await.serial();
    assert_ne!(issued.sign_key(), line.old.sign_key());
}

#[tokio::test]
async fn a_rule_for_one_serial_is_for_that_serial() {
    let line = line().await;
    line.allow(rule(Some("OTHER"), None)).await;
    assert_eq!(line.usual(API_KEY).await.code(), "invalid-substore");
    line.allow(rule(Some("S"), None)).await;
    line.usual(API_KEY).await.serial();
    let renamed = Request::new("T").model(NEW).original(MODEL, "S");
    let answer = line
        .send(&renamed, Some(&line.old), Some(&line.new_model), API_KEY)
        .await;
    assert_eq!(answer.code(), "invalid-substore", "it keeps its number");
    remodel_rules::remove(
        &line.factory.app,
        &line.factory.ctx(),
        &MODEL.parse().unwrap(),
        &NEW.parse().unwrap(),
        Some(&"S".parse().unwrap()),
    )
    .await
    .unwrap();
    assert_eq!(line.usual(API_KEY).await.code(), "invalid-substore");
}

#[tokio::test]
async fn a_device_that_proposes_no_serial_keeps_its_own() {
    let line = line().await;
    line.allow(rule(None, None)).await;
    let request = Request {
        serial: None,
        ..line.request()
    };
    let issued = line
        .send(&request, Some(&line.old), Some(&line.new_model), API_KEY)
        .await
        .serial();
    assert_eq!(issued.text("serial"), Some("S"));
}

#[tokio::test]
async fn a_rule_may_ask_for_a_store() {
    let line = line().await;
    line.allow(rule(Some("S"), Some("other-store"))).await;
    assert_eq!(line.usual(API_KEY).await.code(), "invalid-assertion");
    line.allow(rule(None, Some("acme-store"))).await;
    assert_eq!(
        line.usual(API_KEY).await.code(),
        "invalid-assertion",
        "the rule for the serial counts first"
    );
}

#[tokio::test]
async fn the_new_model_need_not_be_one_of_this_vault() {
    let line = line().await;
    let elsewhere = NewRule {
        to_model: "elsewhere".parse().unwrap(),
        ..rule(None, None)
    };
    line.allow(elsewhere).await;
    let model = line
        .factory
        .model_assertion("elsewhere", &TestKey::new("other"), &[]);
    let request = Request::new("S").model("elsewhere").original(MODEL, "S");
    let issued = line
        .send(&request, Some(&line.old), Some(&model), API_KEY)
        .await
        .serial();
    assert_eq!(issued.text("model"), Some("elsewhere"));
    assert_eq!(
        line.send(&request, Some(&line.old), Some(&model), NEW_KEY)
            .await
            .code(),
        "invalid-model"
    );
}

#[tokio::test]
async fn every_part_of_a_remodelling_must_fit() {
    let line = line().await;
    line.allow(rule(None, None)).await;
    let (old, new) = (&line.old, &line.new_model);
    let invalid = "invalid-assertion";
    assert_eq!(
        line.send(&line.request(), None, Some(new), API_KEY).await.code(),
        invalid,
        "no old serial"
    );
    assert_eq!(
        line.send(&line.request(), None, None, API_KEY).await.code(),
        invalid,
        "no model"
    );

    let wrong = Request::new("S").model(NEW).original(MODEL, "T");
    assert_eq!(
        line.send(&wrong, Some(old), Some(new), API_KEY).await.code(),
        invalid,
        "another original serial"
    );
    let wrong = Request::new("S").model(NEW).original("gate-9", "S");
    assert_eq!(
        line.send(&wrong, Some(old), Some(new), API_KEY).await.code(),
        invalid,
        "an unknown original model"
    );
    let mut wrong = line.request();
    wrong.extra[0].1 = "mallory".to_owned();
    assert_eq!(
        line.send(&wrong, Some(old), Some(new), API_KEY).await.code(),
        invalid,
        "another brand's"
    );
    let mut partial = line.request();
    partial.extra.pop();
    assert_eq!(
        line.send(&partial, Some(old), Some(new), API_KEY).await.code(),
        invalid,
        "two of three headers"
    );

    // Another device's serial: the device key in it is not the one that asks.
    let stolen = line
        .factory
        .register(&Request::new("S"), &TestKey::new("device"))
        .await
        .serial();
    assert_eq!(
        line.send(&line.request(), Some(&stolen), Some(new), API_KEY)
            .await
            .code(),
        invalid,
        "stolen"
    );

    // Well made, but not by the brand; and by a key of the brand, but never issued here.
    let forge = |key: &TestKey| {
        let device = &line.device.public;
        let fields = headers(&[
            ("authority-id", BRAND),
            ("revision", "7"),
            ("brand-id", BRAND),
            ("model", MODEL),
            ("serial", "S"),
            ("device-key", device.encoded()),
            ("device-key-sha3-384", device.id().as_str()),
            ("timestamp", START),
        ]);
        key.sign(AssertionType::Serial, fields, b"", START.parse().unwrap())
    };
    for key in ["brand-expired", "brand"] {
        let forged = forge(&TestKey::new(key));
        assert_eq!(
            line.send(&line.request(), Some(&forged), Some(new), API_KEY)
                .await
                .code(),
            invalid,
            "{key}"
        );
    }
    let changed =
        String::from_utf8(old.encoded().to_vec())
            .unwrap()
            .replacen(START, "2026-06-01T00:00:01Z", 1);
    let id = line.factory.request_id(API_KEY).await;
    let request = line.request().sign(&line.device, &id);
    let mut body = stream(&[&request, new]).to_vec();
    body.push(b'\n');
    body.extend_from_slice(changed.as_bytes());
    assert_eq!(
        line.factory.serial(Bytes::from(body)).await.code(),
        invalid,
        "changed"
    );

    line.usual(API_KEY).await.serial();
}

#[tokio::test]
async fn a_key_the_brand_once_had_still_vouches_for_old_serials() {
    let line = line().await;
    line.allow(rule(None, None)).await;
    let (app, ctx) = (&line.factory.app, line.factory.ctx());
    for model in [MODEL, NEW] {
        models::set_policy(app, &ctx, &model.parse().unwrap(), "serial-2".parse().unwrap())
            .await
            .unwrap();
    }
    // The old key is revoked: its account-key ended before today.
    let key = TestKey::new("brand").public;
    line.factory
        .account_key(
            BRAND,
            "serial",
            key.encoded(),
            key.id().as_str(),
            1,
            Some("2026-06-01T00:00:01Z"),
        )
        .await;
    line.factory.clock.advance(3600);
    line.usual(API_KEY).await.serial();
}

#[tokio::test]
async fn rules_are_listed_noted_and_checked() {
    let line = line().await;
    let (app, ctx) = (&line.factory.app, line.factory.ctx());
    line.allow(NewRule {
        note: "trial".to_owned(),
        ..rule(None, None)
    })
    .await;
    line.allow(rule(Some("S"), None)).await;
    let rules = remodel_rules::list(app, &ctx).await.unwrap();
    assert_eq!(rules.len(), 2);
    let refused = [
        (rule(None, None), "already-exists"),
        (
            NewRule {
                to_model: MODEL.parse().unwrap(),
                ..rule(None, None)
            },
            "same-model",
        ),
        (
            NewRule {
                from_model: "gate-9".parse().unwrap(),
                ..rule(None, None)
            },
            "resource-not-found",
        ),
        (
            NewRule {
                note: "x".repeat(141),
                ..rule(None, None)
            },
            "note-too-long",
        ),
        (rule(Some("*"), None), "invalid-serial"),
    ];
    for (rule, code) in refused {
        assert_eq!(remodel_rules::add(app, &ctx, rule).await.unwrap_err().code, code);
    }
    let story = serials::show(app, &ctx, &MODEL.parse().unwrap(), &"S".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(story.rows.len(), 1);
}
