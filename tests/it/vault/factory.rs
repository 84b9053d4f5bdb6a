//! A vault behind a real socket, on memory storage, with throw-away keys of the vectors; and devices that talk to it.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hallmark::adapters::memory::{Memory, MemoryBlobs};
use hallmark::adapters::softkey::SoftKeys;
use hallmark::adapters::squashfs::Squashfs;
use hallmark::adapters::system::SystemEntropy;
use hallmark::adapters::vcdiff::Vcdiff;
use hallmark::app::models::{self, ModelSettings, NewModel};
use hallmark::app::{App, AppState, BrandCtx, Secrets};
use hallmark::domain::access::Brand;
use hallmark::domain::assertion::{
    Assertion, AssertionType, Headers, PublicKey, Statement, StreamDecoder, encode_stream,
};
use hallmark::domain::time::Timestamp;
use hallmark::domain::vault::{KeyPurpose, KeyState, SigningKey};
use hallmark::http;
use hallmark::http::metrics::Metrics;
use hallmark::http::serve::{Limits, Listener, Server};
use hallmark::ports::{Change, Commit, CommitOutcome, PutRule, Signer, Storage, StoredAssertion};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{TestClock, quick_kdf, seal, settings, vector_key};

/// 2026-06-01T00:00:00Z, where the test clock starts.
pub const START: &str = "2026-06-01T00:00:00Z";
pub const BRAND: &str = "acme";
pub const MODEL: &str = "gate-1";
pub const API_KEY: &str = "acme-gate-1-api-key";

/// A private key of the vectors that signs here, in the test, as a device or a foreign brand would.
pub struct TestKey {
    pair: KeyPair,
    pub public: PublicKey,
}

impl TestKey {
    pub fn new(name: &str) -> Self {
        let path = format!("{}/tests/vectors/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        let pem = std::fs::read_to_string(path).unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = KeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap();
        let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
            aws_lc_rs::encoding::AsDer::as_der(aws_lc_rs::signature::KeyPair::public_key(&pair)).unwrap();
        let public = PublicKey::from_spki_der(spki.as_ref()).unwrap();
        Self { pair, public }
    }

    /// Signs `headers` and `body` as an assertion of type `kind`.
    pub fn sign(&self, kind: AssertionType, headers: Headers, body: &[u8], at: Timestamp) -> Assertion {
        let draft = Statement::new(kind, headers, body.to_vec())
            .draft(&self.public)
            .unwrap();
        let digest = draft.digest(at);
        let digest =
            aws_lc_rs::digest::Digest::import_less_safe(&digest, &aws_lc_rs::digest::SHA512).unwrap();
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign_digest(&RSA_PKCS1_SHA512, &digest, &mut signature)
            .unwrap();
        draft.finish(at, &signature).unwrap()
    }
}

pub fn headers(pairs: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in pairs {
        headers.set(name, *value);
    }
    headers
}

/// A vault with one brand and one model, serving on a free port.
pub struct Factory {
    pub app: App,
    pub clock: Arc<TestClock>,
    pub address: SocketAddr,
    pub http: reqwest::Client,
    pub root: TestKey,
    stop: CancellationToken,
}

impl Drop for Factory {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub headers: reqwest::header::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and error code.
    pub fn refusal(&self) -> (u16, String) {
        (
            self.status,
            self.json()["error_code"].as_str().unwrap_or_default().to_owned(),
        )
    }

    pub fn code(&self) -> String {
        self.refusal().1
    }

    /// The assertions of a successful answer.
    pub fn assertions(&self) -> Vec<Assertion> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.kind, "application/x.ubuntu.assertion");
        StreamDecoder::new(self.body.clone())
            .map(Result::unwrap)
            .collect()
    }

    /// The one serial of a successful answer.
    pub fn serial(&self) -> Assertion {
        let mut found = self.assertions();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind(), AssertionType::Serial);
        found.remove(0)
    }
}

impl Factory {
    /// The usual factory: model [`MODEL`] with [`API_KEY`], default settings.
    pub async fn new() -> Self {
        let factory = Self::empty().await;
        factory.model(MODEL, API_KEY).await;
        factory
    }

    /// A brand with keys `serial`, `serial-2`, `model` and `system-user`, but no model.
    pub async fn empty() -> Self {
        Self::on(Arc::new(Memory::new())).await
    }

    /// The same on other storage.
    pub async fn on(storage: Arc<dyn Storage>) -> Self {
        let clock = TestClock::new();
        let kdf = quick_kdf();
        let signer: Arc<dyn Signer> = Arc::new(SoftKeys::new(seal("p", &kdf)).unwrap());
        let app = App::from(AppState {
            seal: seal("p", &kdf),
            storage,
            signer,
            blobs: Arc::new(MemoryBlobs::new(clock.clone())),
            snap_files: Arc::new(Squashfs::default()),
            deltas: Arc::new(Vcdiff),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy::default()),
            provider: None,
            post: None,
            hook: None,
            revision_floor: 0,
            secrets: Arc::new(Secrets {
                nonce_key: [1; 32],
                session_key: [2; 32],
                audit_seed: [3; 32],
            }),
            settings: settings(true),
            guard: Arc::default(),
            catalog: Arc::default(),
            reports: Arc::default(),
            numbers: Arc::default(),
            fleet: Arc::default(),
            gauges: Arc::default(),
            models: Arc::default(),
        });
        let root = TestKey::new("root");
        let (address, stop) = serve(&app).await;
        let factory = Self {
            app,
            clock,
            address,
            http: client(),
            root,
            stop,
        };
        factory.brand(BRAND).await;
        for (name, vector, purpose) in [
            ("serial", "brand", KeyPurpose::Serial),
            ("serial-2", "unregistered", KeyPurpose::Serial),
            ("model", "other", KeyPurpose::Model),
            ("system-user", "brand-future", KeyPurpose::SystemUser),
        ] {
            factory.key(BRAND, name, vector, &[purpose]).await;
        }
        factory
    }

    /// Serves the same vault once more, as after a restart: nothing that was kept in memory is there.
    pub async fn restart(&mut self) {
        self.stop.cancel();
        let (address, stop) = serve(&self.app).await;
        self.address = address;
        self.stop = stop;
    }

    pub fn ctx(&self) -> BrandCtx {
        BrandCtx::local(BRAND.parse().unwrap())
    }

    pub async fn commit(&self, commit: Commit) {
        assert_eq!(
            self.app.storage.commit(commit).await.unwrap(),
            CommitOutcome::Done
        );
    }

    /// A brand with its account assertion.
    pub async fn brand(&self, id: &str) {
        let at: Timestamp = START.parse().unwrap();
        let account = self.root.sign(
            AssertionType::Account,
            headers(&[
                ("authority-id", "rooty"),
                ("account-id", id),
                ("display-name", id),
                ("validation", "verified"),
                ("timestamp", START),
            ]),
            b"",
            at,
        );
        let brand = Brand {
            id: id.parse().unwrap(),
            name: id.to_owned(),
            base_store: id.parse().unwrap(),
            created: at,
            ..template_brand()
        };
        self.commit(Commit {
            records: vec![Change::create(&brand)],
            assertions: vec![(stored(&account), PutRule::Newer)],
            audit: Vec::new(),
            ..Commit::default()
        })
        .await;
    }

    /// Makes a vector key a registered key of a brand.
    pub async fn key(&self, brand: &str, name: &str, vector: &str, purposes: &[KeyPurpose]) -> SigningKey {
        let at: Timestamp = START.parse().unwrap();
        let owner = brand.parse().unwrap();
        let made = self
            .app
            .signer
            .import(&owner, vector_key(vector), 2048)
            .await
            .unwrap();
        let key = SigningKey {
            authorship: Default::default(),
            account_id: owner,
            name: name.parse().unwrap(),
            key_id: made.id.clone(),
            public_key: made.public_key.clone(),
            purposes: purposes.to_vec(),
            models: Vec::new(),
            constrained: false,
            state: KeyState::Active,
            external: false,
            since: at,
            until: None,
            created: at,
            sealed: made.sealed,
        };
        self.commit(Commit {
            records: vec![Change::create(&key)],
            ..Commit::default()
        })
        .await;
        self.account_key(brand, name, &made.public_key, &made.id.to_string(), 0, None)
            .await;
        key
    }

    /// Puts an account-key assertion in: a higher revision replaces an older one.
    pub async fn account_key(
        &self,
        brand: &str,
        name: &str,
        public_key: &str,
        id: &str,
        revision: u64,
        until: Option<&str>,
    ) {
        let revision = revision.to_string();
        let mut fields = vec![
            ("authority-id", "rooty"),
            ("revision", revision.as_str()),
            ("public-key-sha3-384", id),
            ("account-id", brand),
            ("name", name),
            ("since", START),
        ];
        fields.extend(until.map(|until| ("until", until)));
        let at = START.parse().unwrap();
        let assertion = self.root.sign(
            AssertionType::AccountKey,
            headers(&fields),
            public_key.as_bytes(),
            at,
        );
        self.commit(Commit {
            assertions: vec![(stored(&assertion), PutRule::Newer)],
            ..Commit::default()
        })
        .await;
    }

    /// A model with this API key and default settings.
    pub async fn model(&self, name: &str, api_key: &str) {
        self.model_with(name, api_key, ModelSettings::default()).await;
    }

    pub async fn model_with(&self, name: &str, api_key: &str, settings: ModelSettings) {
        let new = NewModel {
            name: name.parse().unwrap(),
            api_key: Some(api_key.to_owned().into()),
            key: None,
            settings,
        };
        models::create(&self.app, &self.ctx(), new).await.unwrap();
    }

    pub async fn configure(&self, settings: ModelSettings) {
        models::configure(&self.app, &self.ctx(), &MODEL.parse().unwrap(), settings)
            .await
            .unwrap();
    }

    /// The signed model assertion of `name`, not stored.
    pub fn model_assertion(&self, name: &str, key: &TestKey, extra: &[(&str, &str)]) -> Assertion {
        let mut fields = vec![
            ("authority-id", BRAND),
            ("series", "16"),
            ("brand-id", BRAND),
            ("model", name),
            ("architecture", "amd64"),
            ("base", "core22"),
            ("gadget", "pc"),
            ("kernel", "pc-kernel"),
            ("timestamp", START),
        ];
        fields.extend(extra);
        key.sign(
            AssertionType::Model,
            headers(&fields),
            b"",
            START.parse().unwrap(),
        )
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            kind: response
                .headers()
                .get("content-type")
                .map(|value| value.to_str().unwrap().to_owned())
                .unwrap_or_default(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    /// `POST` with an API key (none if empty).
    pub async fn post(&self, path: &str, api_key: &str, body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.http.post(self.url(path)).body(body);
        if !api_key.is_empty() {
            request = request.header("api-key", api_key);
        }
        self.send(request).await
    }

    /// A request-id for an API key.
    pub async fn request_id(&self, api_key: &str) -> String {
        let answer = self.post("/v1/request-id", api_key, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["request-id"].as_str().unwrap().to_owned()
    }

    /// Sends a stream to `/v1/serial` with the usual API key.
    pub async fn serial(&self, stream: impl Into<reqwest::Body>) -> Answer {
        self.post("/v1/serial", API_KEY, stream).await
    }

    /// The whole way: request-id, serial-request, serial.
    pub async fn register(&self, request: &Request, key: &TestKey) -> Answer {
        let id = self.request_id(API_KEY).await;
        self.serial(request.sign(key, &id).encoded().clone()).await
    }

    /// The rows of a serial, highest revision first: revision and state.
    pub async fn rows(&self, model: &str, serial: &str) -> Vec<(u64, String)> {
        let device = hallmark::domain::ident::DeviceId {
            brand: BRAND.parse().unwrap(),
            model: model.parse().unwrap(),
            serial: serial.parse().unwrap(),
        };
        let rows = self.app.storage.history(&device).await.unwrap();
        rows.iter()
            .map(|row| (row.revision, format!("{:?}", row.state)))
            .collect()
    }
}

pub fn client() -> reqwest::Client {
    // Fails only when a provider is installed already, which is as good.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

fn template_brand() -> Brand {
    serde_json::from_value(serde_json::json!({
        "id": "xx", "name": "", "base-store": "x", "created": START, "delegated": false,
    }))
    .unwrap()
}

pub async fn serve(app: &App) -> (SocketAddr, CancellationToken) {
    let router = http::router(app, Metrics::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(
        Server::new(router, Limits::default(), Vec::new()).run(Listener::Tcp(listener), stop.clone()),
    );
    (address, stop)
}

pub fn stored(assertion: &Assertion) -> StoredAssertion {
    StoredAssertion {
        reference: assertion.reference(),
        format: assertion.format(),
        revision: assertion.revision(),
        encoded: assertion.encoded().clone(),
    }
}

pub fn stream(assertions: &[&Assertion]) -> Bytes {
    encode_stream(assertions.iter().map(|assertion| assertion.encoded()))
}

/// A serial-request to be signed.
#[derive(Clone, Debug)]
pub struct Request {
    pub brand: String,
    pub model: String,
    pub serial: Option<String>,
    pub body: Vec<u8>,
    pub extra: Vec<(String, String)>,
}

impl Request {
    /// The usual one, for this serial.
    pub fn new(serial: &str) -> Self {
        Self {
            brand: BRAND.to_owned(),
            model: MODEL.to_owned(),
            serial: Some(serial.to_owned()),
            body: Vec::new(),
            extra: Vec::new(),
        }
    }

    pub fn model(mut self, model: &str) -> Self {
        self.model = model.to_owned();
        self
    }

    /// No `serial` header, this body.
    pub fn body_only(body: impl Into<Vec<u8>>) -> Self {
        Self {
            serial: None,
            body: body.into(),
            ..Self::new("")
        }
    }

    pub fn original(mut self, model: &str, serial: &str) -> Self {
        for (name, value) in [
            ("original-brand-id", BRAND),
            ("original-model", model),
            ("original-serial", serial),
        ] {
            self.extra.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn sign(&self, key: &TestKey, request_id: &str) -> Assertion {
        let mut fields = headers(&[
            ("brand-id", &self.brand),
            ("model", &self.model),
            ("request-id", request_id),
            ("device-key", key.public.encoded()),
        ]);
        if let Some(serial) = &self.serial {
            fields.set("serial", serial.as_str());
        }
        for (name, value) in &self.extra {
            fields.set(name, value.as_str());
        }
        key.sign(
            AssertionType::SerialRequest,
            fields,
            &self.body,
            START.parse().unwrap(),
        )
    }
}
