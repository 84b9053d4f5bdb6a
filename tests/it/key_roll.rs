//! Replacing a signing key: what it signed is signed again by its successor, and devices believe it.

use hallmark::app::key_roll::{plan, step};
use hallmark::app::keys::{self, KeyRequest};
use hallmark::app::models::{self, ModelSettings, NewModel};
use hallmark::app::sign_model::sign_model;
use hallmark::app::{App, Reason, assertions};
use hallmark::domain::assertion::{Assertion, AssertionType, Ref, decode};
use hallmark::domain::ident::{KeyId, KeyName, ModelName};
use hallmark::domain::vault::{KeyPurpose, KeyState};

use crate::harness::*;

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

async fn key(app: &App, text: &str, purposes: &[KeyPurpose], models: &[&str]) -> KeyId {
    let request = KeyRequest {
        name: name(text),
        purposes: purposes.to_vec(),
        models: models.iter().map(|model| model.parse().unwrap()).collect(),
        constrained: None,
        since: None,
        until: None,
        external: false,
        token: None,
    };
    let made = keys::create(app, &acme_ctx(), request).await.unwrap();
    made.public_key_sha3_384
}

async fn model(app: &App, model: &str) -> Assertion {
    let reference = Ref::new(AssertionType::Model, ["16", "acme", model]);
    let found = app.storage.assertion(&reference, u32::MAX).await.unwrap();
    decode(&found.unwrap().encoded).unwrap()
}

#[tokio::test]
async fn what_a_key_signed_is_signed_again_and_serials_come_from_its_successor() {
    let (app, clock) = instance().await;
    let ctx = acme_ctx();
    for model in ["gate", "hub"] {
        let statement = serde_json::json!({
            "type": "model", "authority-id": "acme", "series": "16", "brand-id": "acme", "model": model,
            "architecture": "amd64", "base": "core22", "gadget": "pc", "kernel": "pc-kernel",
            "timestamp": app.clock.now(),
        });
        sign_model(&app, &ctx, &statement.to_string(), None)
            .await
            .unwrap();
    }
    let new = NewModel {
        name: "gate".parse().unwrap(),
        api_key: None,
        key: Some(name("serial")),
        settings: ModelSettings::default(),
    };
    models::create(&app, &ctx, new).await.unwrap();
    clock.advance(86_400);

    let before = plan(&app, &ctx, &name("model")).await.unwrap();
    assert_eq!((before.assertions.len(), before.policies.len()), (2, 0));
    let successor = key(&app, "model-2", &[KeyPurpose::Model], &[]).await;
    let part = step(&app, &ctx, &name("model"), &name("model-2")).await.unwrap();
    assert_eq!((part.assertions.len(), part.left), (2, 0));
    for text in ["gate", "hub"] {
        let again = model(&app, text).await;
        assert_eq!((again.sign_key(), again.revision()), (&successor, 1));
        // The successor was not valid yet when the first revision was made.
        assert_eq!(
            again.text("timestamp"),
            Some(app.clock.now().to_string().as_str())
        );
        assert_eq!(again.text("gadget"), Some("pc"));
        assertions::check(&app, &again).await.unwrap().unwrap();
    }
    let after = plan(&app, &ctx, &name("model")).await.unwrap();
    assert!(after.assertions.is_empty());
    let nothing = step(&app, &ctx, &name("model"), &name("model-2")).await.unwrap();
    assert!(nothing.assertions.is_empty());
    assert_eq!(model(&app, "gate").await.revision(), 1);

    let before = plan(&app, &ctx, &name("serial")).await.unwrap();
    assert_eq!(before.policies, ["gate".parse::<ModelName>().unwrap()]);
    key(&app, "serial-2", &[KeyPurpose::Serial], &[]).await;
    let part = step(&app, &ctx, &name("serial"), &name("serial-2"))
        .await
        .unwrap();
    assert_eq!(part.policies, before.policies);
    let shown = models::show(&app, &ctx, &"gate".parse().unwrap()).await.unwrap();
    assert_eq!(shown.policy().unwrap().key, name("serial-2"));
    // Nothing holds the old keys any more.
    for old in ["model", "serial"] {
        let disabled = keys::disable(&app, &ctx, &name(old)).await.unwrap();
        assert_eq!(disabled.state, KeyState::Disabled);
    }
}

#[tokio::test]
async fn a_successor_must_be_able_to_do_what_the_old_key_does() {
    let (app, _) = instance().await;
    let ctx = acme_ctx();
    key(&app, "serials-only", &[KeyPurpose::Serial], &[]).await;
    key(&app, "gates-only", &[KeyPurpose::Model], &["gate"]).await;
    for (old, new, why) in [
        ("model", "model", "the same key"),
        ("model", "serials-only", "not for model assertions"),
        ("model", "gates-only", "for fewer models"),
    ] {
        let refusal = step(&app, &ctx, &name(old), &name(new)).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.code),
            (Reason::Conflict, "key-successor"),
            "{new}"
        );
        assert!(refusal.message.contains(why), "{refusal}");
    }
    for (old, new) in [("model", "nosuchkey"), ("nosuchkey", "model")] {
        let refusal = step(&app, &ctx, &name(old), &name(new)).await.unwrap_err();
        assert_eq!(refusal.code, "resource-not-found");
    }
}
