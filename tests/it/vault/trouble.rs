//! When things fail: temporary trouble is 503, nothing half done stays, nothing unsafe leaves.

use std::sync::Arc;
use std::time::Duration;

use hallmark::adapters::memory::Memory;
use hallmark::app::issue_serial::Vault;
use hallmark::app::models;
use hallmark::domain::vault::claim::PresentedRequestId;
use hallmark::domain::vault::{ClaimOutcome, ClaimRules, KeyState, SerialClaim, SigningKey};
use hallmark::ports::{Change, Commit, SerialLedger as _};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::factory::*;

fn model() -> hallmark::domain::ident::ModelName {
    MODEL.parse().unwrap()
}

async fn find_key(factory: &Factory, name: &str) -> hallmark::ports::Versioned<SigningKey> {
    factory
        .app
        .storage
        .find::<SigningKey>([BRAND, name])
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn with_the_database_down_devices_are_told_to_come_back() {
    let factory = Factory::new().await;
    let id = factory.request_id(API_KEY).await;
    let body = Request::new("S")
        .sign(&TestKey::new("device-2048"), &id)
        .encoded()
        .clone();
    factory.app.storage.close().await.unwrap();
    factory.clock.advance(10); // past the life of what is cached
    for (path, body) in [("/v1/request-id", bytes::Bytes::new()), ("/v1/serial", body)] {
        let answer = factory.post(path, API_KEY, body).await;
        assert_eq!(answer.status, 503, "{path} {answer:?}");
        assert_eq!(answer.kind, "application/json");
    }
}

#[tokio::test]
async fn a_signer_failure_is_503_and_leaves_a_visible_hole() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    let key = find_key(&factory, "serial").await.record;
    factory.app.signer.unload(&key.key_id).await;
    let answer = factory.register(&Request::new("S"), &device).await;
    assert_eq!(answer.refusal(), (503, "signing-assertion".to_owned()));
    assert_eq!(factory.rows(MODEL, "S").await, [(1, "Void".to_owned())]);
    factory
        .app
        .signer
        .load(&key.account_id, &key.key_id, &key.sealed)
        .await
        .unwrap();
    let issued = factory.register(&Request::new("S"), &device).await.serial();
    assert_eq!(issued.revision(), 2);
    assert_eq!(
        factory.rows(MODEL, "S").await,
        [(2, "Issued".to_owned()), (1, "Void".to_owned())]
    );
}

#[tokio::test]
async fn a_device_that_hangs_up_leaves_nothing_half_done() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    for n in 0..8 {
        let id = factory.request_id(API_KEY).await;
        let body = Request::new("S").sign(&device, &id).encoded().clone();
        let mut socket = TcpStream::connect(factory.address).await.unwrap();
        let head = format!(
            "POST /v1/serial HTTP/1.1\r\nhost: x\r\napi-key: {API_KEY}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&body).await.unwrap();
        tokio::time::sleep(Duration::from_millis(n)).await;
        drop(socket);
    }
    for _ in 0..100 {
        let rows = factory.rows(MODEL, "S").await;
        if rows.len() == 8 && rows.iter().all(|(_, state)| state == "Issued") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows = factory.rows(MODEL, "S").await;
    assert!(
        !rows.is_empty() && rows.iter().all(|(_, state)| state == "Issued"),
        "{rows:?}"
    );
    let next = u64::try_from(rows.len()).unwrap() + 1;
    assert_eq!(
        factory
            .register(&Request::new("S"), &device)
            .await
            .serial()
            .revision(),
        next
    );
}

#[tokio::test]
async fn reservations_of_a_process_that_is_gone_are_voided_at_start_up() {
    let database = Memory::new();
    let factory = Factory::on(Arc::new(database.another())).await;
    factory.model(MODEL, API_KEY).await;
    let other = database.another();
    let device = TestKey::new("device-2048");
    let now = factory.app.clock.now();
    let claim = SerialClaim {
        device: hallmark::domain::ident::DeviceId {
            brand: BRAND.parse().unwrap(),
            model: model(),
            serial: "S".parse().unwrap(),
        },
        device_key: device.public.id().clone(),
        request_id: PresentedRequestId {
            nonce: [9; 16],
            expires: now.plus_seconds(600),
        },
        rules: ClaimRules::default(),
        now,
    };
    assert!(matches!(
        other.claim(claim).await.unwrap(),
        ClaimOutcome::Reserved(_)
    ));
    let vault = Vault::new(factory.app.clone());
    assert_eq!(vault.recover().await.unwrap(), 0, "it is at work on it");
    drop(other);
    assert_eq!(vault.recover().await.unwrap(), 1);
    assert_eq!(vault.recover().await.unwrap(), 0);
    assert_eq!(factory.rows(MODEL, "S").await, [(1, "Void".to_owned())]);
    assert_eq!(
        factory
            .register(&Request::new("S"), &device)
            .await
            .serial()
            .revision(),
        2
    );
}

#[tokio::test]
async fn a_disabled_key_stops_at_once() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    factory.register(&Request::new("S"), &device).await.serial();
    let mut key = find_key(&factory, "serial").await;
    key.record.state = KeyState::Disabled;
    let change = Change::replace(&key.record, key.version);
    factory
        .commit(Commit {
            records: vec![change],
            ..Commit::default()
        })
        .await;
    let answer = factory.register(&Request::new("S"), &device).await;
    assert_eq!(answer.refusal(), (400, "invalid-model".to_owned()), "{answer:?}");
    assert!(
        answer.json()["message"].as_str().unwrap().contains("disabled"),
        "{answer:?}"
    );
    models::set_policy(
        &factory.app,
        &factory.ctx(),
        &model(),
        "serial-2".parse().unwrap(),
    )
    .await
    .unwrap();
    factory.register(&Request::new("S"), &device).await.serial();
}

#[tokio::test]
async fn nothing_is_signed_with_a_key_devices_would_not_believe() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    factory.register(&Request::new("S"), &device).await.serial();
    // The account-key is replaced by one that has ended.
    let key = TestKey::new("brand").public;
    factory
        .account_key(
            BRAND,
            "serial",
            key.encoded(),
            key.id().as_str(),
            1,
            Some("2026-06-01T00:10:00Z"),
        )
        .await;
    factory.register(&Request::new("S"), &device).await.serial();
    factory.clock.advance(600);
    let answer = factory.register(&Request::new("S"), &device).await;
    assert_eq!(answer.refusal(), (400, "invalid-model".to_owned()));
    assert!(
        answer.json()["message"].as_str().unwrap().contains("not valid"),
        "{answer:?}"
    );
    // Nor is such a key taken into a policy.
    let policy = models::set_policy(&factory.app, &factory.ctx(), &model(), "serial".parse().unwrap()).await;
    assert_eq!(policy.unwrap_err().code, "key-not-valid");
}
