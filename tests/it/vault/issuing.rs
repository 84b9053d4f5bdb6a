//! Issuing serials: what is issued, in which order requests are refused, and that no two are alike.

use std::sync::Arc;

use bytes::Bytes;
use hallmark::domain::assertion::{AssertionType, Limits, PublicKey};
use hallmark::ports::AuditFilter;

use super::factory::*;

#[tokio::test]
async fn a_device_gets_a_serial_with_the_documented_headers() {
    let factory = Factory::new().await;
    let device = TestKey::new("device");
    let model = factory.model_assertion(MODEL, &TestKey::new("other"), &[]);
    for with_model in [false, true] {
        let serial = if with_model { "WITH" } else { "ALONE" };
        let id = factory.request_id(API_KEY).await;
        let request = Request {
            body: b"mac: 00:11:22\n\n\n".to_vec(),
            ..Request::new(serial)
        }
        .sign(&device, &id);
        let body = if with_model {
            stream(&[&request, &model])
        } else {
            stream(&[&request])
        };
        let issued = factory.serial(body).await.serial();
        let brand_key = TestKey::new("brand").public;
        brand_key.verify_assertion(&issued).unwrap();
        let names: Vec<&str> = issued.headers().iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "authority-id",
                "body-length",
                "brand-id",
                "device-key",
                "device-key-sha3-384",
                "model",
                "revision",
                "serial",
                "sign-key-sha3-384",
                "timestamp",
                "type"
            ]
        );
        for (name, value) in [
            ("authority-id", BRAND),
            ("brand-id", BRAND),
            ("model", MODEL),
            ("serial", serial),
            ("revision", "1"),
            ("timestamp", START),
            ("device-key", device.public.encoded()),
            ("device-key-sha3-384", device.public.id().as_str()),
            ("sign-key-sha3-384", brand_key.id().as_str()),
        ] {
            assert_eq!(issued.text(name), Some(value), "{name}");
        }
        assert_eq!(issued.body(), b"mac: 00:11:22\n\n\n", "byte for byte");
    }
}

#[tokio::test]
async fn what_was_answered_is_in_the_log_byte_for_byte_and_audited() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    let issued = factory.register(&Request::new("S"), &device).await.serial();
    let id = hallmark::domain::ident::DeviceId {
        brand: BRAND.parse().unwrap(),
        model: MODEL.parse().unwrap(),
        serial: "S".parse().unwrap(),
    };
    let row = factory.app.storage.latest(&id).await.unwrap().unwrap();
    assert_eq!(&row.assertion, issued.encoded());
    assert_eq!(row.sign_key.as_ref(), Some(issued.sign_key()));
    assert_eq!(&row.device_key, device.public.id());
    let filter = AuditFilter {
        action_prefix: Some("serial.sign".to_owned()),
        limit: 10,
        ..AuditFilter::default()
    };
    let entries = factory.app.storage.audit_entries(&filter).await.unwrap();
    assert_eq!(entries.len(), 1);
    let event: serde_json::Value = serde_json::from_str(&entries[0].1.event).unwrap();
    assert_eq!(event["subject"], "acme/gate-1/S");
    assert_eq!(event["detail"]["revision"], 1);
    assert!(!entries[0].1.event.contains(API_KEY));
}

#[tokio::test]
async fn the_same_serial_again_has_revision_plus_one_whoever_asks() {
    let factory = Factory::new().await;
    for (revision, key) in [(1, "device"), (2, "device"), (3, "device-2048"), (4, "device")] {
        let issued = factory
            .register(&Request::new("S"), &TestKey::new(key))
            .await
            .serial();
        assert_eq!(issued.revision(), revision);
    }
    assert_eq!(
        factory
            .register(&Request::new("T"), &TestKey::new("device"))
            .await
            .serial()
            .revision(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_requests_for_one_serial_get_distinct_dense_revisions() {
    const N: u64 = 24;
    let factory = Arc::new(Factory::new().await);
    let device = Arc::new(TestKey::new("device-2048"));
    let tasks: Vec<_> = (0..N)
        .map(|_| {
            let (factory, device) = (Arc::clone(&factory), Arc::clone(&device));
            tokio::spawn(async move {
                factory
                    .register(&Request::new("S"), &device)
                    .await
                    .serial()
                    .revision()
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=N).collect::<Vec<_>>());
    let rows = factory.rows(MODEL, "S").await;
    assert_eq!(rows.len(), usize::try_from(N).unwrap());
    assert!(rows.iter().all(|(_, state)| state == "Issued"));
}

#[tokio::test]
async fn a_request_id_buys_one_serial_for_its_own_key_and_in_time() {
    let factory = Factory::new().await;
    factory.model("gate-2", "acme-gate-2-api-key").await;
    let device = TestKey::new("device-2048");
    let stale = (400, "invalid-nonce".to_owned());

    let id = factory.request_id(API_KEY).await;
    let body = Request::new("S").sign(&device, &id).encoded().clone();
    factory.serial(body.clone()).await.serial();
    assert_eq!(factory.serial(body).await.refusal(), stale, "replayed");
    let other = Request::new("OTHER").sign(&device, &id).encoded().clone();
    assert_eq!(
        factory.serial(other).await.refusal(),
        stale,
        "spent, for another serial"
    );

    for made_up in ["REQ-0001", "", &id.to_lowercase(), &format!("{id}A")] {
        if made_up.is_empty() {
            continue; // a serial-request cannot carry an empty request-id
        }
        let body = Request::new("S").sign(&device, made_up).encoded().clone();
        assert_eq!(factory.serial(body).await.refusal(), stale, "{made_up}");
    }
    let foreign = factory.request_id("acme-gate-2-api-key").await;
    let body = Request::new("S").sign(&device, &foreign).encoded().clone();
    assert_eq!(factory.serial(body).await.refusal(), stale, "of another API key");

    for (age, good) in [(599, true), (600, true), (601, false)] {
        let id = factory.request_id(API_KEY).await;
        factory.clock.advance(age);
        let body = Request::new("S").sign(&device, &id).encoded().clone();
        let answer = factory.serial(body).await;
        assert_eq!(answer.status == 200, good, "{age} {answer:?}");
        if !good {
            assert_eq!(answer.refusal(), stale);
        }
    }
}

#[tokio::test]
async fn a_spent_request_id_stays_spent_after_a_restart() {
    let mut factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    let id = factory.request_id(API_KEY).await;
    let unused = factory.request_id(API_KEY).await;
    let body = Request::new("S").sign(&device, &id).encoded().clone();
    factory.serial(body.clone()).await.serial();
    factory.restart().await;
    assert_eq!(factory.serial(body).await.code(), "invalid-nonce");
    factory
        .serial(Request::new("S").sign(&device, &unused).encoded().clone())
        .await
        .serial();
}

#[tokio::test]
async fn refusals_before_the_reservation_leave_the_request_id_usable() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    let id = factory.request_id(API_KEY).await;
    let bad = Request::new("a/b").sign(&device, &id).encoded().clone();
    assert_eq!(factory.serial(bad).await.code(), "create-assertion");
    factory
        .serial(Request::new("S").sign(&device, &id).encoded().clone())
        .await
        .serial();
}

/// Replaces one part of a text assertion, so that its signature no longer fits.
fn changed(assertion: &hallmark::domain::assertion::Assertion, from: &str, to: &str) -> Bytes {
    let text = std::str::from_utf8(assertion.encoded()).unwrap();
    assert!(text.contains(from), "{from}");
    Bytes::from(text.replacen(from, to, 1))
}

#[tokio::test]
async fn requests_are_refused_with_the_code_of_the_first_check_they_fail() {
    let factory = Factory::new().await;
    factory.brand("mallory").await;
    let device = TestKey::new("device-2048");
    let (other, stranger) = (TestKey::new("other"), TestKey::new("brand-expired"));
    let id = factory.request_id(API_KEY).await;
    let request = Request::new("S").sign(&device, &id);
    let model = factory.model_assertion(MODEL, &other, &[]);
    let other_model = factory.model_assertion("gate-2", &other, &[]);
    let forged = factory.model_assertion(MODEL, &stranger, &[]);
    let serial = factory.register(&Request::new("OLD"), &device).await.serial();
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let long = format!("{}\n\n\nmore", text(stream(&[&request, &model])));

    for (why, body, code) in [
        ("nothing", Bytes::new(), "empty-data"),
        ("no assertion", Bytes::from("nonsense"), "invalid-assertion"),
        (
            "half an assertion",
            request.encoded().slice(..request.encoded().len() / 2),
            "invalid-assertion",
        ),
        (
            "a leading line feed",
            Bytes::from(format!("\n{}", text(stream(&[&request])))),
            "invalid-assertion",
        ),
        ("a model first", stream(&[&model]), "invalid-type"),
        ("a serial first", stream(&[&serial]), "invalid-type"),
        (
            "a request second",
            stream(&[&request, &request]),
            "invalid-second-type",
        ),
        (
            "a serial second",
            stream(&[&request, &serial]),
            "invalid-second-type",
        ),
        (
            "a model third",
            stream(&[&request, &model, &model]),
            "invalid-second-type",
        ),
        (
            "a fourth",
            stream(&[&request, &model, &serial, &model]),
            "invalid-assertion",
        ),
        (
            "rubbish second",
            Bytes::from(format!("{}\nnonsense", text(stream(&[&request])))),
            "invalid-assertion",
        ),
        ("rubbish third", Bytes::from(long), "invalid-assertion"),
        (
            "a changed request",
            changed(&request, "serial: S", "serial: X"),
            "invalid-assertion",
        ),
        (
            "another model's assertion",
            stream(&[&request, &other_model]),
            "mismatched-model",
        ),
        (
            "a model the brand did not sign",
            stream(&[&request, &forged]),
            "invalid-assertion",
        ),
        (
            "a changed model",
            Bytes::from(format!(
                "{}\n{}",
                text(stream(&[&request])),
                text(changed(&model, "gadget: pc", "gadget: px"))
            )),
            "invalid-assertion",
        ),
        (
            "a serial without remodelling",
            stream(&[&request, &model, &serial]),
            "invalid-assertion",
        ),
    ] {
        let answer = factory.serial(body).await;
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{why}: {answer:?}");
        assert_eq!(answer.kind, "application/json", "{why}");
    }
    for (why, request, code) in [
        (
            "an unknown model",
            Request::new("S").model("gate-9"),
            "invalid-model",
        ),
        (
            "another brand",
            Request {
                brand: "mallory".to_owned(),
                ..Request::new("S")
            },
            "invalid-model",
        ),
        (
            "a brand that cannot be one",
            Request {
                brand: "No Brand".to_owned(),
                ..Request::new("S")
            },
            "invalid-model",
        ),
        ("no serial at all", Request::body_only(""), "create-assertion"),
        (
            "no serial in the body",
            Request::body_only("mac: 1"),
            "create-assertion",
        ),
        ("a slash in the header", Request::new("a/b"), "create-assertion"),
        (
            "a slash in the body",
            Request::body_only("serial: a/b"),
            "create-assertion",
        ),
        (
            "a serial of 201 bytes",
            Request::new(&"x".repeat(201)),
            "create-assertion",
        ),
        ("spaces at the end", Request::new("S "), "create-assertion"),
    ] {
        let answer = factory.serial(request.sign(&device, &id).encoded().clone()).await;
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{why}: {answer:?}");
    }
    // Nothing of all this spent the request-id or left a trace.
    factory.serial(request.encoded().clone()).await.serial();
    assert_eq!(factory.rows(MODEL, "S").await, [(1, "Issued".to_owned())]);
}

#[tokio::test]
async fn the_serial_may_stand_in_the_body_as_any_scalar() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    for (body, serial) in [
        ("serial: 12345", "12345"),
        ("serial: 0012345\nmac: x", "0012345"),
        ("{\"serial\": \"J-1\", \"hardware-id-key-sha384\": \"x\"}", "J-1"),
        ("serial: 'SN 1 é'", "SN 1 é"),
    ] {
        let issued = factory
            .register(&Request::body_only(body), &device)
            .await
            .serial();
        assert_eq!(issued.text("serial"), Some(serial));
        assert_eq!(issued.body(), body.as_bytes());
    }
    let both = Request {
        body: b"serial: BODY".to_vec(),
        ..Request::new("HEADER")
    };
    assert_eq!(
        factory.register(&both, &device).await.serial().text("serial"),
        Some("HEADER")
    );
}

#[tokio::test]
async fn a_body_of_two_mebibytes_is_taken_and_one_byte_more_is_not() {
    const LIMIT: usize = 2 * 1024 * 1024;
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    let id = factory.request_id(API_KEY).await;
    let sized = |size| Request {
        body: vec![b'x'; size],
        ..Request::new("S")
    };
    let body = stream(&[&sized(LIMIT).sign(&device, &id)]);
    // One byte more: the header and the body both say so. It cannot be signed with our encoder's checks off, so the
    // text is made by hand; the decoder stops at the size, before any signature counts.
    let text = String::from_utf8(body.to_vec()).unwrap();
    let longer = text
        .replacen(
            &format!("body-length: {LIMIT}"),
            &format!("body-length: {}", LIMIT + 1),
            1,
        )
        .replacen("\n\nxxxx", "\n\nxxxxx", 1);
    let answer = factory.serial(longer).await;
    assert_eq!(answer.refusal(), (400, "invalid-assertion".to_owned()));
    assert_eq!(factory.serial(body).await.serial().body().len(), LIMIT);
}

#[tokio::test]
async fn more_than_all_limits_together_is_refused_while_it_is_read() {
    let factory = Factory::new().await;
    let answer = factory
        .serial(vec![
            b'x';
            hallmark::http::vault::serial_body_limit(Limits::default())
                + 1
        ])
        .await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert_eq!(answer.kind, "application/json");
}

#[tokio::test]
async fn device_keys_of_2048_bits_are_taken_and_the_chain_verifies() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    let issued = factory.register(&Request::new("S"), &device).await.serial();
    let key = PublicKey::decode(issued.text("device-key").unwrap()).unwrap();
    assert_eq!(key.id(), device.public.id());
    assert_eq!(issued.kind(), AssertionType::Serial);
}
