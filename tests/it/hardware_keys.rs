//! Keys in hardware that is not there: nothing is signed elsewhere, nothing is lost, everything else works. With a token
//! at hand they are tested by `tests/clients/run.sh hardware`.

use std::sync::Arc;

use hallmark::adapters::pkcs11::{Pkcs11, Pkcs11Options};
use hallmark::app::instance::{self, Parts};
use hallmark::app::keys::{self, KeyRequest};
use hallmark::app::sign::sign;
use hallmark::app::{App, InstanceCtx, Reason, doctor};
use hallmark::domain::vault::{KeyPurpose, KeyState, SigningKey, TokenUri, token_uri};
use hallmark::ports::{Change, Clock as _, Commit, CommitOutcome, KeyMaterial, SealLabel, SignError};

use crate::harness::*;
use crate::keys::model_statement;

const PLACE: &str = "pkcs11:token=brand%20keys;object=acme%2Fmodel";

/// What opens the instance of `app` on a machine with a token whose library is missing.
async fn without_library(app: &App, clock: &Arc<TestClock>) -> Parts {
    let record = instance::instance(&app.storage).await.unwrap().unwrap().record;
    let mut parts = parts(Arc::clone(&app.storage), "p", &record.kdf, clock, true);
    let options = Pkcs11Options {
        module: "/nowhere/libtoken.so".into(),
        tokens: vec![(TokenUri::token("brand keys").unwrap(), None)],
        sessions: 2,
        queue: 4,
        new_keys: None,
    };
    let signer = Pkcs11::new(options, Arc::clone(&parts.seal), Arc::clone(&parts.signer)).unwrap();
    parts.signer = Arc::new(signer);
    parts
}

async fn key(app: &App, name: &str) -> SigningKey {
    let found = app.storage.find::<SigningKey>(["acme", name]).await.unwrap();
    found.unwrap().record
}

/// Makes the record of key `name` say that it is at `place`, under a seal for `sealed_place`.
async fn put_into_token(app: &App, name: &str, place: &str, sealed_place: &str) -> SigningKey {
    let found = app
        .storage
        .find::<SigningKey>(["acme", name])
        .await
        .unwrap()
        .unwrap();
    let mut record = found.record;
    let label = SealLabel::key(&record.account_id, &record.key_id);
    record.sealed = token_uri::join(place, &app.seal.seal(&label, sealed_place.as_bytes()).unwrap());
    let commit = Commit {
        records: vec![Change::replace(&record, found.version)],
        ..Commit::default()
    };
    assert_eq!(app.storage.commit(commit).await.unwrap(), CommitOutcome::Done);
    record
}

#[tokio::test]
async fn a_server_starts_without_its_token_and_signs_with_all_other_keys() {
    let (app, clock) = instance().await;
    put_into_token(&app, "model", PLACE, PLACE).await;
    let app = instance::open(without_library(&app, &clock).await).await.unwrap();
    for _ in 0..3 {
        let refusal = sign(&app, &key(&app, "model").await, model_statement("gate"))
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.code),
            (Reason::Unavailable, "token-unavailable")
        );
        assert!(
            refusal.message.contains("token brand keys"),
            "{}",
            refusal.message
        );
    }
    let ready = app.signer.ready(&key(&app, "model").await.key_id).await;
    assert!(matches!(ready, Err(SignError::Token { .. })), "{ready:?}");
    let serial = key(&app, "serial").await.key_id;
    app.signer.ready(&serial).await.unwrap();
    app.signer.sign(&serial, [7; 64]).await.unwrap();

    let findings = doctor::examine(&app).await.unwrap();
    assert_eq!(findings.tokens.len(), 1);
    assert!(!findings.tokens[0].answers);
    assert_eq!(findings.tokens[0].keys, ["acme/model"]);
    assert!(
        findings
            .problems
            .iter()
            .any(|line| line.starts_with("key model of acme: cannot use token"))
    );
    let view = keys::show(&app, &acme_ctx(), &"model".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(view.token.as_deref(), Some(PLACE));
}

#[tokio::test]
async fn nothing_is_made_taken_or_deleted_while_the_token_is_away() {
    let (app, clock) = instance().await;
    put_into_token(&app, "serial", PLACE, PLACE).await;
    let app = instance::open(without_library(&app, &clock).await).await.unwrap();
    let ctx = acme_ctx();
    let request = |token: Option<&str>| KeyRequest {
        name: "new".parse().unwrap(),
        purposes: vec![KeyPurpose::Serial],
        models: Vec::new(),
        constrained: None,
        since: None,
        until: None,
        external: false,
        token: token.map(|label| TokenUri::token(label).unwrap()),
    };
    let reference = KeyMaterial::Token(TokenUri::key(PLACE).unwrap());
    let id = key(&app, "serial").await.key_id;
    let codes = [
        keys::create(&app, &ctx, request(Some("brand keys")))
            .await
            .unwrap_err()
            .code,
        keys::create(&app, &ctx, request(Some("other")))
            .await
            .unwrap_err()
            .code,
        keys::import(&app, &ctx, request(None), reference)
            .await
            .unwrap_err()
            .code,
        keys::delete(&app, &ctx, &id).await.unwrap_err().code,
    ];
    assert_eq!(codes, ["token-unavailable"; 4]);
    assert_eq!(key(&app, "serial").await.state, KeyState::Active);
    assert!(
        app.storage
            .find::<SigningKey>(["acme", "new"])
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_place_that_its_seal_does_not_name_is_refused_as_is_another_owner() {
    let (app, clock) = instance().await;
    let other = "pkcs11:token=brand%20keys;object=other";
    let forged = put_into_token(&app, "model", other, PLACE).await;
    let signer = without_library(&app, &clock).await.signer;
    let load = signer
        .load(&forged.account_id, &forged.key_id, &forged.sealed)
        .await;
    assert!(
        matches!(&load, Err(SignError::Key(why)) if why.contains("another place")),
        "{load:?}"
    );
    let good = put_into_token(&app, "serial", PLACE, PLACE).await;
    let load = signer
        .load(&"mallory".parse().unwrap(), &good.key_id, &good.sealed)
        .await;
    assert!(matches!(&load, Err(SignError::Key(_))), "{load:?}");
    // A whole software key behind a place is none.
    let software = key(&app, "system-user").await;
    let dressed = token_uri::join(PLACE, &software.sealed);
    let load = signer
        .load(&software.account_id, &software.key_id, &dressed)
        .await;
    assert!(matches!(&load, Err(SignError::Key(_))), "{load:?}");
    assert!(signer.sign(&software.key_id, [7; 64]).await.is_err());
}

#[tokio::test]
async fn a_rotated_passphrase_leaves_the_place_of_a_key_as_it_is() {
    let (app, clock) = instance().await;
    let before = put_into_token(&app, "model", PLACE, PLACE).await;
    let (new_kdf, now) = (quick_kdf(), clock.now());
    let new = seal("q", &new_kdf);
    instance::rotate(
        &app.storage,
        &InstanceCtx::local(),
        app.seal.as_ref(),
        new.as_ref(),
        new_kdf,
        now,
    )
    .await
    .unwrap();
    let after = key(&app, "model").await;
    assert_eq!(after.place(), Some(PLACE));
    assert_ne!(after.sealed, before.sealed);
    let label = SealLabel::key(&after.account_id, &after.key_id);
    let (_, sealed) = token_uri::split(&after.sealed);
    assert_eq!(new.open(&label, sealed).unwrap().as_slice(), PLACE.as_bytes());
}
