//! Paths, verbs, content types, error bodies.

use super::factory::*;

#[tokio::test]
async fn a_request_id_is_json_with_the_three_keys_and_short() {
    let factory = Factory::new().await;
    for path in [
        "/v1/request-id",
        "/v1/request-id/",
        "/acme/v1/request-id",
        "/api/v1/snaps/auth/request-id",
        "/api/v1/snaps/auth/request-id/",
    ] {
        let answer = factory.post(path, API_KEY, "ignored").await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        assert_eq!(answer.kind, "application/json; charset=UTF-8", "{path}");
        let json = answer.json();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["message", "request-id", "success"], "{path}");
        assert_eq!((&json["success"], &json["message"]), (&true.into(), &"".into()));
        let id = json["request-id"].as_str().unwrap();
        assert!(
            !id.is_empty() && id.len() < 200 && id.bytes().all(|b| b.is_ascii_graphic()),
            "{id}"
        );
        assert!(answer.headers.contains_key("x-request-id"), "{path}");
    }
}

#[tokio::test]
async fn issuing_a_request_id_writes_nothing() {
    let factory = Factory::new().await;
    let before = factory.app.storage.generation();
    let heads = factory.app.storage.heads().await.unwrap();
    factory.request_id(API_KEY).await;
    assert_eq!(factory.app.storage.generation(), before);
    assert_eq!(factory.app.storage.heads().await.unwrap(), heads);
}

#[tokio::test]
async fn errors_are_exactly_json_with_five_keys() {
    let factory = Factory::new().await;
    for (path, key) in [
        ("/v1/request-id", ""),
        ("/v1/request-id", "  "),
        ("/v1/request-id", "wrong-api-key"),
        ("/v1/serial", ""),
        ("/v1/serial", "wrong-api-key"),
        ("/v1/model", "wrong-api-key"),
        ("/other/v1/request-id", API_KEY),
        ("/other/v1/serial", API_KEY),
        ("/api/v1/snaps/auth/request-id", ""),
        ("/api/v1/snaps/auth/devices", ""),
    ] {
        let answer = factory.post(path, key, "").await;
        assert_eq!(
            answer.refusal(),
            (400, "invalid-api-key".to_owned()),
            "{path} {key:?}"
        );
        assert_eq!(answer.kind, "application/json", "{path}");
        let json = answer.json();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["StatusCode", "error_code", "error_subcode", "message", "success"]
        );
        assert_eq!(
            (&json["StatusCode"], &json["success"]),
            (&400.into(), &false.into())
        );
    }
}

#[tokio::test]
async fn the_api_key_header_may_be_padded_but_not_garbled() {
    let factory = Factory::new().await;
    assert_eq!(
        factory
            .post("/v1/request-id", &format!(" {API_KEY} "), "")
            .await
            .status,
        200
    );
    let request = factory
        .http
        .post(factory.url("/v1/request-id"))
        .header("api-key", &b"\xff\xfe"[..]);
    assert_eq!(factory.send(request).await.code(), "invalid-api-key");
}

#[tokio::test]
async fn verbs_and_paths_answer_as_the_vault_always_did() {
    let factory = Factory::new().await;
    for path in [
        "/v1/request-id",
        "/v1/serial",
        "/v1/model",
        "/api/v1/snaps/auth/devices",
        "/acme/v1/serial",
    ] {
        assert_eq!(factory.get(path).await.status, 405, "{path}");
        let answer = factory.send(factory.http.delete(factory.url(path))).await;
        assert_eq!(answer.status, 405, "{path}");
    }
    assert_eq!(factory.post("/v1/version", API_KEY, "").await.status, 405);
    for path in [
        "/v1/nothing",
        "/v1/status/healthz",
        "/acme/v1/nothing",
        "/v1/serial/more",
    ] {
        let answer = factory.post(path, API_KEY, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.kind.starts_with("text/plain"), "{path} {answer:?}");
    }
}

#[tokio::test]
async fn any_or_no_content_type_will_do() {
    let factory = Factory::new().await;
    let device = TestKey::new("device-2048");
    for kind in [
        "",
        "application/x.ubuntu.assertion",
        "text/plain",
        "application/json",
        "x",
    ] {
        let id = factory.request_id(API_KEY).await;
        let body = Request::new("S").sign(&device, &id).encoded().clone();
        let mut request = factory
            .http
            .post(factory.url("/v1/serial"))
            .header("api-key", API_KEY)
            .body(body);
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        factory.send(request).await.serial();
    }
}

#[tokio::test]
async fn version_health_and_status_need_no_key() {
    let factory = Factory::new().await;
    let version = factory.get("/v1/version").await;
    assert_eq!(version.status, 200);
    assert_eq!(version.json()["version"], env!("CARGO_PKG_VERSION"));
    assert!(version.json()["revision"].is_string());
    assert_eq!(factory.get("/v1/health").await.json()["database"], "healthy");
    assert_eq!(factory.get("/acme/v1/health").await.json()["database"], "healthy");
    assert_eq!(factory.get("/_status/check").await.json()["database"], "OK");
    let ping = factory.get("/_status/ping").await;
    assert!(ping.kind.starts_with("text/plain") && ping.body == env!("CARGO_PKG_VERSION"));
    factory.request_id(API_KEY).await;
    let metrics = factory.get("/_status/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        text.contains("http_in_requests") && text.contains("signRequestID"),
        "{text}"
    );

    // What became of requests for a serial is told.
    let device = TestKey::new("device");
    factory.register(&Request::new("S"), &device).await.serial();
    assert_eq!(factory.serial("nonsense").await.status, 400);
    let metrics = factory.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        "hallmark_serial_requests_total{result=\"issued\",reason=\"\"} 1",
        "hallmark_serial_requests_total{result=\"refused\",reason=\"undecodable\"} 1",
        "hallmark_serial_requests_total{result=\"error\",reason=\"storage\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line}:\n{text}");
    }

    factory.app.storage.close().await.unwrap();
    for path in ["/v1/health", "/_status/check"] {
        let answer = factory.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.json()["database"].is_string());
    }
}

#[tokio::test]
async fn a_stream_client_gets_the_whole_chain_and_others_the_serial_alone() {
    use hallmark::domain::assertion::AssertionType as T;
    let factory = Factory::new().await;
    let device = TestKey::new("device");
    let id = factory.request_id(API_KEY).await;
    let body = Request::new("S").sign(&device, &id).encoded().clone();
    let request = factory
        .http
        .post(factory.url("/v1/serial"))
        .header("api-key", API_KEY)
        .header("Snap-Device-Capabilities", "something, serial-stream")
        .body(body);
    let found = factory.send(request).await.assertions();
    let kinds: Vec<T> = found.iter().map(|assertion| assertion.kind()).collect();
    assert_eq!(kinds, [T::Serial, T::Account, T::AccountKey]);
    let key = hallmark::domain::assertion::PublicKey::decode(std::str::from_utf8(found[2].body()).unwrap())
        .unwrap();
    key.verify_assertion(&found[0]).unwrap();
    factory.root.public.verify_assertion(&found[1]).unwrap();
    factory.root.public.verify_assertion(&found[2]).unwrap();
}

#[tokio::test]
async fn the_proxy_alias_issues_serials() {
    let factory = Factory::new().await;
    let id = factory.request_id(API_KEY).await;
    let body = Request::new("S")
        .sign(&TestKey::new("device-2048"), &id)
        .encoded()
        .clone();
    let answer = factory.post("/api/v1/snaps/auth/devices", API_KEY, body).await;
    assert_eq!(answer.serial().text("serial"), Some("S"));
}

#[tokio::test]
async fn a_model_is_served_with_its_chain_from_our_own_assertions() {
    use hallmark::domain::assertion::AssertionType as T;
    let factory = Factory::new().await;
    let ask = |body: &str| {
        let body = body.to_owned();
        factory.post("/v1/model", API_KEY, body)
    };
    assert_eq!(ask("").await.code(), "empty-data");
    assert_eq!(ask("nonsense").await.code(), "error-decode-json");
    assert_eq!(ask("{\"brand-id\": \"acme\"}").await.code(), "error-decode-json");
    assert_eq!(
        ask("{\"brand-id\": \"nobody\", \"model\": \"gate-1\"}")
            .await
            .code(),
        "error-account"
    );
    assert_eq!(
        ask("{\"brand-id\": \"acme\", \"model\": \"gate-9\"}")
            .await
            .code(),
        "invalid-model"
    );
    let good = "{\"brand-id\": \"acme\", \"model\": \"gate-1\"}";
    assert_eq!(ask(good).await.code(), "create-assertion");

    let model = factory.model_assertion(MODEL, &TestKey::new("other"), &[]);
    let commit = hallmark::ports::Commit {
        assertions: vec![(stored(&model), hallmark::ports::PutRule::Newer)],
        ..hallmark::ports::Commit::default()
    };
    factory.commit(commit).await;
    let found = ask(good).await.assertions();
    let kinds: Vec<T> = found.iter().map(|assertion| assertion.kind()).collect();
    assert_eq!(kinds, [T::Account, T::AccountKey, T::Model]);
    assert_eq!(found[2].encoded(), model.encoded());
    assert_eq!(
        found[1].text("public-key-sha3-384"),
        Some(model.sign_key().as_str())
    );
}
