//! The device-facing store as snapd sees it: nonces, sessions, assertions; and what a brand imports and exports.

mod bad_input;
mod connecting;
mod hidden;
mod numbers;
mod overrides;
pub(crate) mod processes;
mod releases;
mod reports;
mod stock;
mod store;
mod updates;
mod wave_crash;
mod wave_set_walk;
mod wave_sets;
mod wave_walk;
mod waves;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use hallmark::adapters::memory::Memory;
use hallmark::adapters::softkey::SoftKeys;
use hallmark::app::assertions::{self, Search};
use hallmark::app::sessions::{NoSession, verify_session};
use hallmark::app::sign::{record, sign, stored};
use hallmark::app::{App, AppState, keys};
use hallmark::domain::assertion::{
    Assertion, AssertionType, Headers, PublicKey, Statement, StreamDecoder, encode_stream,
};
use hallmark::domain::ident::DeviceId;
use hallmark::domain::vault::claim::PresentedRequestId;
use hallmark::domain::vault::{
    ClaimOutcome, ClaimRules, DeviceAuth, ModelRecord, Reissue, SerialClaim, Standing,
};
use hallmark::http::metrics::Metrics;
use hallmark::http::router::{RequestId, Router};
use hallmark::http::serve::Peer;
use hallmark::ports::{Change, Commit, IssuedSerial, KeyMaterial, PutRule, Signer as _, Storage};
use http::Request;
use http_body_util::{BodyExt as _, Either, Full};
use serde_json::{Value, json};

use crate::harness::{TestClock, acme_ctx, instance_on, quick_kdf, seal, vector_key};

/// A key of somebody outside: a device, another authority.
struct Outside {
    signer: SoftKeys,
    key: PublicKey,
}

impl Outside {
    async fn new(material: KeyMaterial) -> Self {
        let signer = SoftKeys::with_pool(seal("outside", &quick_kdf()), 1, 4).unwrap();
        let key = signer
            .import(&"acme".parse().unwrap(), material, 2048)
            .await
            .unwrap();
        Self {
            key: PublicKey::decode(&key.public_key).unwrap(),
            signer,
        }
    }

    async fn sign(&self, app: &App, kind: AssertionType, headers: &[(&str, &str)], body: &[u8]) -> Assertion {
        self.sign_statement(app, &statement(kind, headers, body)).await
    }

    async fn sign_statement(&self, app: &App, statement: &Statement) -> Assertion {
        let draft = statement.clone().draft(&self.key).unwrap();
        let now = app.clock.now();
        let raw = self.signer.sign(self.key.id(), draft.digest(now)).await.unwrap();
        draft.finish(now, &raw).unwrap()
    }
}

fn statement(kind: AssertionType, headers: &[(&str, &str)], body: &[u8]) -> Statement {
    let mut all = Headers::default();
    for (name, value) in headers {
        all.set(name, *value);
    }
    Statement::new(kind, all, body.to_vec())
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> String {
        self.json()["error-list"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A store with one model, and a device that has its serial.
struct Field {
    app: App,
    clock: Arc<TestClock>,
    router: Router,
    device: Arc<Outside>,
    model: Assertion,
    serial: Assertion,
}

impl Field {
    async fn new() -> Self {
        Self::on(Arc::new(Memory::new())).await
    }

    /// The same on other, empty storage.
    async fn on(storage: Arc<dyn Storage>) -> Self {
        let (app, clock) = instance_on(storage).await;
        let device = Arc::new(Outside::new(vector_key("device")).await);
        let model = sign_model(&app, "acme-store", "0").await;
        let serial = issue(&app, &device.key, "SN 1").await;
        let router = hallmark::http::router(&app, Metrics::default()).unwrap();
        Self {
            app,
            clock,
            router,
            device,
            model,
            serial,
        }
    }

    /// Another process on the same database, with the same files and keys, and the same time.
    fn beside(&self, storage: Arc<dyn Storage>) -> Self {
        let app = App::from(AppState {
            storage,
            guard: Arc::default(),
            catalog: Arc::default(),
            reports: Arc::default(),
            numbers: Arc::default(),
            fleet: Arc::default(),
            models: Arc::default(),
            ..AppState::clone(&self.app)
        });
        let router = hallmark::http::router(&app, Metrics::default()).unwrap();
        Self {
            app,
            router,
            clock: Arc::clone(&self.clock),
            device: Arc::clone(&self.device),
            model: self.model.clone(),
            serial: self.serial.clone(),
        }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).extension(Peer::Local);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Either::Right(Full::from(body.to_owned()))).unwrap();
        let answer = self.router.answer(request, RequestId("test".into())).await;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[("accept", "")], "").await
    }

    async fn nonce(&self) -> String {
        let answer = self.call("POST", "/api/v1/snaps/auth/nonces", &[], "").await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json")
        );
        assert_eq!(answer.header("snap-store-version"), "55");
        answer.json()["nonce"].as_str().unwrap().to_owned()
    }

    /// The device's request for a session, with some headers changed.
    async fn request(&self, nonce: &str, changes: &[(&str, &str)]) -> Assertion {
        let now = self.app.clock.now().to_string();
        let mut headers = vec![
            ("brand-id", "acme"),
            ("model", "gate-1"),
            ("serial", "SN 1"),
            ("nonce", nonce),
            ("timestamp", now.as_str()),
        ];
        for (name, value) in changes {
            headers.retain(|(given, _)| given != name);
            headers.push((name, value));
        }
        self.device
            .sign(&self.app, AssertionType::DeviceSessionRequest, &headers, b"")
            .await
    }

    async fn open(&self, request: &Assertion, serial: &Assertion, model: &Assertion) -> Answer {
        let text = |assertion: &Assertion| String::from_utf8(assertion.encoded().to_vec()).unwrap();
        let body = json!({
            "device-session-request": text(request), "serial-assertion": text(serial),
            "model-assertion": text(model),
        });
        let headers = [
            ("content-type", "application/json"),
            ("x-device-authorization", "Macaroon root=\"old\""),
        ];
        self.call("POST", "/api/v1/snaps/auth/sessions", &headers, &body.to_string())
            .await
    }

    /// A session, opened as a device does it.
    async fn session(&self) -> String {
        let request = self.request(&self.nonce().await, &[]).await;
        let answer = self.open(&request, &self.serial, &self.model).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        format!(
            "Macaroon root=\"{}\"",
            answer.json()["macaroon"].as_str().unwrap()
        )
    }
}

/// A model `gate-1` with this store, signed and stored.
async fn sign_model(app: &App, store: &str, revision: &str) -> Assertion {
    let key = keys::find(app, &acme_ctx(), &"model".parse().unwrap())
        .await
        .unwrap()
        .record;
    let now = app.clock.now().to_string();
    let headers = [
        ("authority-id", "acme"),
        ("series", "16"),
        ("brand-id", "acme"),
        ("model", "gate-1"),
        ("architecture", "amd64"),
        ("classic", "true"),
        ("store", store),
        ("revision", revision),
        ("timestamp", now.as_str()),
    ];
    let model = sign(app, &key, statement(AssertionType::Model, &headers, b""))
        .await
        .unwrap();
    let event = record(acme_ctx().event(app.clock.now(), "", ""), &model);
    let commit = Commit {
        assertions: vec![(stored(&model), PutRule::Newer)],
        audit: vec![event],
        ..Commit::default()
    };
    app.storage.commit(commit).await.unwrap();
    model
}

/// A serial for the key that no ledger knows, as another vault of the brand makes it.
async fn sign_serial(app: &App, key: &PublicKey, serial: &str, revision: u64) -> Assertion {
    let (revision, created) = (revision.to_string(), app.clock.now().to_string());
    let headers = [
        ("authority-id", "acme"),
        ("revision", revision.as_str()),
        ("brand-id", "acme"),
        ("model", "gate-1"),
        ("serial", serial),
        ("device-key", key.encoded()),
        ("device-key-sha3-384", key.id().as_str()),
        ("timestamp", created.as_str()),
    ];
    let signer = keys::find(app, &acme_ctx(), &"serial".parse().unwrap())
        .await
        .unwrap()
        .record;
    sign(app, &signer, statement(AssertionType::Serial, &headers, b""))
        .await
        .unwrap()
}

/// A serial for the key, through the ledger.
async fn issue(app: &App, key: &PublicKey, serial: &str) -> Assertion {
    let now = app.clock.now();
    let mut nonce = [0; 16];
    app.entropy.fill(&mut nonce);
    let device = DeviceId {
        brand: "acme".parse().unwrap(),
        model: "gate-1".parse().unwrap(),
        serial: serial.parse().unwrap(),
    };
    let claim = SerialClaim {
        device,
        device_key: key.id().clone(),
        request_id: PresentedRequestId {
            nonce,
            expires: now.plus_seconds(60),
        },
        rules: ClaimRules::default(),
        now,
    };
    let ClaimOutcome::Reserved(place) = app.storage.claim(claim).await.unwrap() else {
        panic!("no place")
    };
    let assertion = sign_serial(app, key, serial, place.revision).await;
    let issued = IssuedSerial {
        assertion: assertion.encoded().clone(),
        sign_key: assertion.sign_key().clone(),
        created_at: now,
    };
    let event = record(acme_ctx().event(now, "", ""), &assertion);
    app.storage.issue(&place, issued, event).await.unwrap();
    assertion
}

#[tokio::test]
async fn a_device_with_a_serial_gets_a_session_that_says_who_it_is() {
    let field = Field::new().await;
    let header = field.session().await;
    let session = verify_session(&field.app, Some(&header)).await.unwrap();
    assert_eq!(session.device.to_string(), "acme/gate-1/SN 1");
    assert_eq!(session.device_key, *field.device.key.id());
    assert_eq!(session.store.as_deref(), Some("acme-store"));
    field.clock.advance(24 * 3600);
    assert!(matches!(
        verify_session(&field.app, Some(&header)).await,
        Err(NoSession::Expired)
    ));
    assert!(matches!(
        verify_session(&field.app, None).await,
        Err(NoSession::Missing)
    ));
    assert!(matches!(
        verify_session(&field.app, Some("Macaroon root=\"x\"")).await,
        Err(NoSession::Expired)
    ));
}

#[tokio::test]
async fn a_new_model_with_another_store_and_the_same_serial_gives_a_session_for_that_store() {
    let field = Field::new().await;
    let model = sign_model(&field.app, "other-store", "1").await;
    let request = field.request(&field.nonce().await, &[]).await;
    let answer = field.open(&request, &field.serial, &model).await;
    let header = format!(
        "Macaroon root=\"{}\"",
        answer.json()["macaroon"].as_str().unwrap()
    );
    let session = verify_session(&field.app, Some(&header)).await.unwrap();
    assert_eq!(session.store.as_deref(), Some("other-store"));
}

#[tokio::test]
async fn a_nonce_opens_one_session_but_a_lost_answer_may_be_asked_for_again() {
    let field = Field::new().await;
    let nonce = field.nonce().await;
    let request = field.request(&nonce, &[]).await;
    let first = field.open(&request, &field.serial, &field.model).await;
    let again = field.open(&request, &field.serial, &field.model).await;
    assert_eq!((first.status, first.body), (200, again.body));
    // Another request with the same nonce is refused, and so is the same one later.
    field.clock.advance(1);
    let other = field.request(&nonce, &[]).await;
    let answer = field.open(&other, &field.serial, &field.model).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid-nonce"));
    field.clock.advance(60);
    let answer = field.open(&request, &field.serial, &field.model).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid-nonce"));
    let nonce = field.nonce().await;
    field.clock.advance(301);
    let late = field.request(&nonce, &[]).await;
    assert_eq!(
        field.open(&late, &field.serial, &field.model).await.code(),
        "invalid-nonce"
    );
    let foreign = field.request("NONCE-0", &[]).await;
    assert_eq!(
        field.open(&foreign, &field.serial, &field.model).await.code(),
        "invalid-nonce"
    );
}

#[tokio::test]
async fn sixteen_requests_with_one_nonce_open_one_session() {
    let field = Field::new().await;
    let nonce = field.nonce().await;
    let mut requests = Vec::new();
    for second in 0..16 {
        let time = field.app.clock.now().plus_seconds(-second).to_string();
        requests.push(field.request(&nonce, &[("timestamp", &time)]).await);
    }
    let answers = futures_util::future::join_all(
        requests
            .iter()
            .map(|request| field.open(request, &field.serial, &field.model)),
    )
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 || answer.code() == "invalid-nonce")
    );
}

#[tokio::test]
async fn what_does_not_belong_together_opens_no_session() {
    let field = Field::new().await;
    let future = field.app.clock.now().plus_seconds(2 * 24 * 3600).to_string();
    for (change, code) in [
        (("serial", "SN 2"), "invalid-request"),
        (("brand-id", "other"), "invalid-request"),
        (("model", "gate-2"), "invalid-request"),
        (("timestamp", future.as_str()), "invalid-request"),
    ] {
        let request = field.request(&field.nonce().await, &[change]).await;
        let answer = field.open(&request, &field.serial, &field.model).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{change:?}");
    }
    // A clock in the past is fine: boards without a battery have one.
    let request = field
        .request(&field.nonce().await, &[("timestamp", "1970-01-01T00:00:09Z")])
        .await;
    assert_eq!(
        field.open(&request, &field.serial, &field.model).await.status,
        200
    );
    // Assertions in each other's place, and no assertions at all.
    let request = field.request(&field.nonce().await, &[]).await;
    assert_eq!(
        field.open(&request, &field.model, &field.serial).await.code(),
        "invalid-request"
    );
    for body in [
        "",
        "{}",
        "[]",
        r#"{"device-session-request":"","serial-assertion":"","model-assertion":""}"#,
    ] {
        let answer = field.call("POST", "/api/v1/snaps/auth/sessions", &[], body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid-request"),
            "{body}"
        );
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn forged_serials_models_and_requests_open_no_session() {
    let field = Field::new().await;
    let thief = Outside::new(vector_key("device-2048")).await;
    let time = field.app.clock.now().to_string();
    let nonce = field.nonce().await;
    let headers = [
        ("brand-id", "acme"),
        ("model", "gate-1"),
        ("serial", "SN 1"),
        ("nonce", &nonce),
        ("timestamp", &time),
    ];
    let request = thief
        .sign(&field.app, AssertionType::DeviceSessionRequest, &headers, b"")
        .await;
    let answer = field.open(&request, &field.serial, &field.model).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "invalid-assertion")
    );

    // A serial that says it is ours, signed by somebody else: known to the ledger under its revision, or not.
    for revision in ["1", "7"] {
        let headers = [
            ("authority-id", "acme"),
            ("revision", revision),
            ("brand-id", "acme"),
            ("model", "gate-1"),
            ("serial", "SN 1"),
            ("device-key", field.device.key.encoded()),
            ("device-key-sha3-384", field.device.key.id().as_str()),
            ("timestamp", &time),
        ];
        let forged = thief.sign(&field.app, AssertionType::Serial, &headers, b"").await;
        let request = field.request(&field.nonce().await, &[]).await;
        let answer = field.open(&request, &forged, &field.model).await;
        let expected = if revision == "1" {
            (403, "unknown-serial")
        } else {
            (400, "invalid-assertion")
        };
        assert_eq!((answer.status, answer.code().as_str()), expected);
    }

    let headers = [
        ("authority-id", "acme"),
        ("series", "16"),
        ("brand-id", "acme"),
        ("model", "gate-1"),
        ("architecture", "amd64"),
        ("classic", "true"),
        ("store", "better-store"),
        ("timestamp", &time),
    ];
    let forged = thief.sign(&field.app, AssertionType::Model, &headers, b"").await;
    let request = field.request(&field.nonce().await, &[]).await;
    let answer = field.open(&request, &field.serial, &forged).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "invalid-assertion")
    );
}

#[tokio::test]
async fn a_serial_issued_again_to_another_key_leaves_both_devices_their_sessions() {
    let field = Field::new().await;
    let other = Outside::new(vector_key("device-2048")).await;
    let newer = issue(&field.app, &other.key, "SN 1").await;
    assert_eq!(newer.revision(), 2);
    field.session().await;
    let request = field.request(&field.nonce().await, &[]).await;
    assert_eq!(
        field.open(&request, &newer, &field.model).await.code(),
        "invalid-assertion"
    );
}

#[tokio::test]
async fn a_denied_serial_and_a_disabled_model_lose_their_sessions() {
    let field = Field::new().await;
    let header = field.session().await;
    let (brand, model) = ("acme".parse().unwrap(), "gate-1".parse().unwrap());
    let now = field.app.clock.now();
    let set = async |standing| {
        let event = acme_ctx().event(now, "serial.standing", "");
        let serials = ["SN 1".parse().unwrap()];
        field
            .app
            .storage
            .set_standing(&brand, &model, &serials, standing, now, event)
            .await
            .unwrap();
    };
    set(Some(Standing::Denied)).await;
    assert!(matches!(
        verify_session(&field.app, Some(&header)).await,
        Err(NoSession::Denied)
    ));
    let request = field.request(&field.nonce().await, &[]).await;
    let answer = field.open(&request, &field.serial, &field.model).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "device-denied"));
    assert_eq!(answer.header("www-authenticate"), "");
    set(None).await;
    assert!(verify_session(&field.app, Some(&header)).await.is_ok());

    let record = ModelRecord {
        last_policy: 0,
        fleet: Default::default(),
        authorship: Default::default(),
        brand_id: brand.clone(),
        name: model.clone(),
        api_keys: Vec::new(),
        auth: DeviceAuth::ApiKey,
        reissue: Reissue::Allow,
        allow_list: false,
        quota: None,
        policies: Vec::new(),
        disabled: true,
        created: now,
    };
    let commit = Commit {
        records: vec![Change::create(&record)],
        ..Commit::default()
    };
    field.app.storage.commit(commit).await.unwrap();
    assert!(matches!(
        verify_session(&field.app, Some(&header)).await,
        Err(NoSession::Denied)
    ));
}

#[tokio::test]
async fn assertions_are_served_as_they_were_signed() {
    let field = Field::new().await;
    for (path, expected) in [
        (
            "/v2/assertions/model/16/acme/gate-1?max-format=0",
            field.model.encoded(),
        ),
        ("/v2/assertions/model/16/acme/gate-1", field.model.encoded()),
        (
            "/v2/assertions/serial/acme/gate-1/SN%201?max-format=0",
            field.serial.encoded(),
        ),
    ] {
        let answer = field.get(path).await;
        assert_eq!((answer.status, &answer.body), (200, expected), "{path}");
        assert_eq!(answer.header("content-type"), "application/x.ubuntu.assertion");
        assert_eq!(answer.header("snap-store-version"), "55");
    }
    // The walk of a client from the serial to the root ends in what is served.
    let mut next = field.serial.sign_key().to_string();
    for owner in ["acme", "rooty"] {
        let key = field
            .get(&format!("/v2/assertions/account-key/{next}?max-format=1"))
            .await;
        let key = StreamDecoder::new(key.body).next().unwrap().unwrap();
        assert_eq!(key.text("account-id"), Some(owner));
        assert_eq!(
            field
                .get(&format!("/v2/assertions/account/{owner}?max-format=0"))
                .await
                .status,
            200
        );
        next = key.sign_key().to_string();
    }
    // A newer revision takes the place of the older one.
    let newer = sign_model(&field.app, "acme-store", "1").await;
    assert_eq!(
        field.get("/v2/assertions/model/16/acme/gate-1").await.body,
        newer.encoded()
    );
}

#[tokio::test]
async fn what_is_not_there_answers_in_the_words_snapd_compares() {
    let field = Field::new().await;
    for path in [
        "/v2/assertions/account/nobody?max-format=0",
        "/v2/assertions/banana/x",
        "/v2/assertions/model/16/acme",
        "/v2/assertions/validation-set/16/acme/base?sequence=latest&max-format=0",
        "/v2/assertions/validation-set/16/acme/base/3?max-format=0",
        "/v2/assertions/serial/acme/gate-1/SN%202",
        "/v2/assertions/serial/ACME/gate-1/SN%201",
        "/v2/assertions/account",
        "/v2/assertions",
    ] {
        let answer = field.get(path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "not-found"),
            "{path}"
        );
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
    }
    for path in [
        "/v2/assertions/account/acme?max-format=x",
        "/v2/assertions/account/acme?max-format=0&max-format=1",
    ] {
        assert_eq!(field.get(path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn sequences_are_found_by_path_query_and_as_the_newest() {
    let field = Field::new().await;
    let key = keys::find(&field.app, &acme_ctx(), &"model".parse().unwrap())
        .await
        .unwrap()
        .record;
    let key = hallmark::domain::vault::SigningKey {
        purposes: vec![hallmark::domain::vault::KeyPurpose::ValidationSet],
        ..key
    };
    let mut all = Vec::new();
    for (sequence, revision) in [("2", "0"), ("9", "0"), ("10", "0"), ("2", "1")] {
        let time = field.app.clock.now().to_string();
        let mut headers = Headers::default();
        for (name, value) in [
            ("authority-id", "acme"),
            ("series", "16"),
            ("account-id", "acme"),
            ("name", "base"),
            ("sequence", sequence),
            ("revision", revision),
            ("timestamp", &time),
        ] {
            headers.set(name, value);
        }
        let snap = [
            ("name", "agent"),
            ("id", "acmeagentABCDEFGHIJKLMNOPQRSTUVW"),
            ("presence", "required"),
        ];
        let snap = snap.map(|(name, value)| (name.to_owned(), value.into()));
        use hallmark::domain::assertion::Value as Header;
        headers.set("snaps", Header::List(vec![Header::Map(snap.into())]));
        let signed = sign(
            &field.app,
            &key,
            Statement::new(AssertionType::ValidationSet, headers, Vec::new()),
        );
        let assertion = signed.await.unwrap();
        let commit = Commit {
            assertions: vec![(stored(&assertion), PutRule::Newer)],
            ..Commit::default()
        };
        field.app.storage.commit(commit).await.unwrap();
        all.push(assertion);
    }
    let base = "/v2/assertions/validation-set/16/acme/base";
    for (path, place) in [
        (format!("{base}?sequence=latest&max-format=0"), 2),
        (format!("{base}?max-format=0"), 2),
        (base.to_owned(), 2),
        (format!("{base}?sequence=2&max-format=0"), 3),
        (format!("{base}/2?max-format=0"), 3),
        (format!("{base}/9"), 1),
    ] {
        assert_eq!(field.get(&path).await.body, all[place].encoded(), "{path}");
    }
    for path in [
        format!("{base}?sequence=3"),
        format!("{base}/02"),
        format!("{base}?sequence=2&sequence=9"),
    ] {
        assert_ne!(field.get(&path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn head_on_the_front_door_is_what_snapd_wants_of_a_proxy() {
    let field = Field::new().await;
    let answer = field.call("HEAD", "/", &[], "").await;
    assert_eq!((answer.status, answer.header("snap-store-version")), (200, "55"));
    assert_eq!(answer.header("location"), "");
    let answer = field.call("HEAD", "/v2/assertions/account/acme", &[], "").await;
    assert_eq!(answer.status, 200);
}

/// What an upstream root signs for a brand of a delegated instance.
struct Upstream {
    root: Outside,
    account: Assertion,
    key: Assertion,
}

impl Upstream {
    async fn new(app: &App) -> Self {
        let root = Outside::new(vector_key("root")).await;
        let time = app.clock.now().to_string();
        let headers = [
            ("authority-id", "upstream"),
            ("account-id", "upstream"),
            ("display-name", "Upstream"),
            ("validation", "verified"),
            ("timestamp", &time),
        ];
        let account = root.sign(app, AssertionType::Account, &headers, b"").await;
        let key = Self::account_key(app, &root, "upstream", &root.key, "root").await;
        Self { root, account, key }
    }

    async fn account_key(app: &App, root: &Outside, account: &str, key: &PublicKey, name: &str) -> Assertion {
        let time = app.clock.now().to_string();
        let headers = [
            ("authority-id", "upstream"),
            ("public-key-sha3-384", key.id().as_str()),
            ("account-id", account),
            ("name", name),
            ("since", &time),
        ];
        root.sign(app, AssertionType::AccountKey, &headers, key.encoded().as_bytes())
            .await
    }

    async fn account(&self, app: &App, id: &str, revision: &str) -> Assertion {
        let time = app.clock.now().to_string();
        let headers = [
            ("authority-id", "upstream"),
            ("revision", revision),
            ("account-id", id),
            ("display-name", id),
            ("validation", "unproven"),
            ("timestamp", &time),
        ];
        self.root.sign(app, AssertionType::Account, &headers, b"").await
    }
}

fn stream(assertions: &[&Assertion]) -> Bytes {
    encode_stream(assertions.iter().map(|assertion| assertion.encoded()))
}

#[tokio::test]
async fn an_import_takes_what_chains_to_the_trusted_set_in_any_order_and_is_idempotent() {
    let field = Field::new().await;
    let app = &field.app;
    let upstream = Upstream::new(app).await;
    let publisher = upstream.account(app, "publisher", "0").await;
    let other = Outside::new(vector_key("other")).await;
    let key = Upstream::account_key(app, &upstream.root, "publisher", &other.key, "default").await;
    let given = stream(&[&key, &publisher, &upstream.key, &upstream.account]);

    // Before its root is trusted nothing of it is taken.
    let refusal = assertions::import(app, &acme_ctx(), given.clone())
        .await
        .unwrap_err();
    assert!(refusal.message.contains("cannot import"), "{refusal}");
    assert_eq!(field.get("/v2/assertions/account/publisher").await.status, 404);

    trust(app, &upstream).await;
    let imported = assertions::import(app, &acme_ctx(), given.clone()).await.unwrap();
    let new: Vec<bool> = imported.iter().map(|imported| imported.new).collect();
    assert_eq!(new, [true, true, false, false]);
    assert_eq!(
        field.get("/v2/assertions/account/publisher").await.body,
        publisher.encoded()
    );

    let imported = assertions::import(app, &acme_ctx(), given).await.unwrap();
    assert!(imported.iter().all(|imported| !imported.new));
    let newer = upstream.account(app, "publisher", "3").await;
    assert!(
        assertions::import(app, &acme_ctx(), stream(&[&newer]))
            .await
            .unwrap()[0]
            .new
    );
    assert!(
        !assertions::import(app, &acme_ctx(), stream(&[&publisher]))
            .await
            .unwrap()[0]
            .new
    );
    assert_eq!(
        field.get("/v2/assertions/account/publisher").await.body,
        newer.encoded()
    );
}

#[tokio::test]
async fn an_import_is_all_or_nothing_and_says_what_is_wrong() {
    let field = Field::new().await;
    let app = &field.app;
    let upstream = Upstream::new(app).await;
    trust(app, &upstream).await;
    let good = upstream.account(app, "publisher", "0").await;
    let stranger = Outside::new(vector_key("other")).await;
    let time = app.clock.now().to_string();
    let headers = [
        ("authority-id", "upstream"),
        ("account-id", "liar"),
        ("display-name", "Liar"),
        ("validation", "verified"),
        ("timestamp", &time),
    ];
    let forged = stranger.sign(app, AssertionType::Account, &headers, b"").await;
    let cases = [
        (stream(&[&good, &forged]), "missing-prerequisite"),
        (stream(&[&good, &field.serial]), "serial-import"),
        (Bytes::from_static(b"nonsense"), "invalid-assertion"),
        (Bytes::new(), "invalid-assertion"),
    ];
    for (given, code) in cases {
        let refusal = assertions::import(app, &acme_ctx(), given).await.unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
        assert_eq!(field.get("/v2/assertions/account/publisher").await.status, 404);
    }
}

#[tokio::test]
async fn an_export_stands_on_its_own_and_a_search_finds_by_headers() {
    let field = Field::new().await;
    let app = &field.app;
    let whole = assertions::export(app, &acme_ctx(), &Search::default())
        .await
        .unwrap();
    let names: Vec<String> = StreamDecoder::new(whole)
        .map(|assertion| assertion.unwrap().reference().to_string())
        .collect();
    assert!(names[0].starts_with("account (rooty)"), "{names:?}");
    assert!(
        names.contains(&"account (acme)".to_owned()) && names.contains(&"model (16/acme/gate-1)".to_owned())
    );

    let search = |kind, headers: &[(&str, &str)]| Search {
        kind: Some(kind),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let found = async |search: Search| assertions::export(app, &acme_ctx(), &search).await.unwrap();
    assert_eq!(
        found(search(AssertionType::Model, &[("store", "acme-store")])).await,
        field.model.encoded()
    );
    assert!(
        found(search(AssertionType::Model, &[("store", "other")]))
            .await
            .is_empty()
    );
    let key = [("brand-id", "acme"), ("model", "gate-1"), ("serial", "SN 1")];
    assert_eq!(
        found(search(AssertionType::Serial, &key)).await,
        field.serial.encoded()
    );
    assert!(
        assertions::export(app, &acme_ctx(), &search(AssertionType::Serial, &key[..1]))
            .await
            .is_err()
    );
}

async fn trust(app: &App, upstream: &Upstream) {
    let mut record = hallmark::app::instance::instance(&app.storage)
        .await
        .unwrap()
        .unwrap();
    record.record.extra_roots.push(upstream.key.sign_key().clone());
    let commit = Commit {
        records: vec![Change::replace(&record.record, record.version)],
        assertions: vec![
            (stored(&upstream.account), PutRule::Newer),
            (stored(&upstream.key), PutRule::Newer),
        ],
        audit: Vec::new(),
        ..Commit::default()
    };
    app.storage.commit(commit).await.unwrap();
}
