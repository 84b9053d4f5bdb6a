//! An instance without keys, for tests about people: two brands, an account per role, and a typed way to call.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use hallmark::adapters::memory::{Memory, MemoryBlobs};
use hallmark::adapters::squashfs::Squashfs;
use hallmark::adapters::system::SystemEntropy;
use hallmark::adapters::vcdiff::Vcdiff;
use hallmark::app::{App, AppState, ReadLimits, Secrets, Settings};
use hallmark::domain::access::{Account, Brand, Membership, Role, StoreRecord, Token, TokenText};
use hallmark::domain::catalog::{Inclusion, SnapRecord};
use hallmark::domain::ident::{AccountId, KeyId, StoreId};
use hallmark::domain::time::Timestamp;
use hallmark::domain::vault::TokenUri;
use hallmark::http::metrics::Metrics;
use hallmark::http::router::{RequestId, Router};
use hallmark::http::serve::Peer;
use hallmark::ports::{
    Change, Clock, Commit, CommitOutcome, KeyMaterial, NewKey, PutRule, Record, SignError, Signer, Storage,
};
use http_body_util::{BodyExt as _, Either, Full};
use serde_json::Value;

/// The brand most tests are about; its base store has the same name.
pub const BRAND: &str = "acme";
/// Another brand of the same instance.
pub const OTHER: &str = "globex";

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct StillClock(AtomicI64);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.0.load(Ordering::SeqCst))
    }
}

/// A signer that holds no key.
#[derive(Debug)]
struct Keyless;

#[async_trait]
impl Signer for Keyless {
    async fn sign(&self, key: &KeyId, _: [u8; 64]) -> Result<Vec<u8>, SignError> {
        Err(SignError::UnknownKey(key.clone()))
    }
    async fn generate(&self, _: &AccountId, _: &str, _: Option<&TokenUri>) -> Result<NewKey, SignError> {
        Err(SignError::Saturated)
    }
    async fn import(&self, _: &AccountId, _: KeyMaterial, _: usize) -> Result<NewKey, SignError> {
        Err(SignError::Saturated)
    }
    async fn load(&self, _: &AccountId, key: &KeyId, _: &str) -> Result<(), SignError> {
        Err(SignError::UnknownKey(key.clone()))
    }
    async fn unload(&self, _: &KeyId) {}
}

/// The instance.
pub struct Office {
    pub app: App,
    pub router: Router,
    clock: Arc<StillClock>,
}

/// An answer: status, headers, JSON body (null where there is none).
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The first code of an error list, or the code fioctl is told.
    pub fn code(&self) -> &str {
        let listed = self.body["error-list"][0]["code"].as_str();
        listed
            .or(self.body["errors"]["code"].as_str())
            .unwrap_or_default()
    }
}

impl Office {
    /// Brands `acme` and `globex`; accounts `<wire role>@acme.example` with that one role in the base store of
    /// `acme`, `all@globex.example` with every role in `globex`, `nobody@acme.example` with none,
    /// `operator@hallmark.example`. Nobody has a password.
    pub async fn new() -> Self {
        Self::on(Arc::new(Memory::new())).await
    }

    /// The same on other, empty storage.
    pub async fn on(storage: Arc<dyn Storage>) -> Self {
        let clock = Arc::new(StillClock(AtomicI64::new(1_780_272_000)));
        let app = App::from(AppState {
            storage,
            signer: Arc::new(Keyless),
            seal: crate::harness::seal("p", &crate::harness::quick_kdf()),
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
            settings: Arc::new(Settings {
                public_url: "http://127.0.0.1:8380".to_owned(),
                request_id_life: 600,
                require_second_factor: false,
                limits: ReadLimits::default(),
                dev: true,
            }),
            guard: Arc::default(),
            catalog: Arc::default(),
            reports: Arc::default(),
            numbers: Arc::default(),
            fleet: Arc::default(),
            gauges: Arc::default(),
            models: Arc::default(),
        });
        let router = hallmark::http::router(&app, Metrics::default()).unwrap();
        let office = Self { app, router, clock };
        for brand in [BRAND, OTHER] {
            office.add_brand(brand).await;
        }
        office
            .add_account("operator@hallmark.example", |account| account.operator = true)
            .await;
        office.add_account("nobody@acme.example", |_| ()).await;
        for role in Role::ALL {
            let email = format!("{}@acme.example", role.wire());
            office.add_account(&email, |_| ()).await;
            office.add_member(BRAND, &email, &[*role]).await;
        }
        office.add_account("all@globex.example", |_| ()).await;
        office.add_member(OTHER, "all@globex.example", Role::ALL).await;
        office
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Stores a record.
    pub async fn put<R: Record>(&self, record: &R) {
        let commit = Commit {
            records: vec![Change::create(record)],
            ..Commit::default()
        };
        assert_eq!(
            self.app.storage.commit(commit).await.unwrap(),
            CommitOutcome::Done
        );
    }

    pub async fn add_brand(&self, id: &str) {
        let (brand_id, store_id, created) = (id.parse().unwrap(), id.parse().unwrap(), self.now());
        self.put(&Brand {
            id: brand_id,
            name: id.to_uppercase(),
            base_store: store_id,
            delegated: false,
            created,
            authorship: Default::default(),
        })
        .await;
        self.add_store(id, id, None).await;
    }

    pub async fn add_store(&self, brand: &str, id: &str, parent: Option<&str>) {
        let parent = parent.map(|parent| parent.parse().unwrap());
        let (id, brand_id, name) = (id.parse().unwrap(), brand.parse().unwrap(), id.to_owned());
        let mut store = StoreRecord::new(id, brand_id, name, self.now());
        store.parent = parent;
        self.put(&store).await;
    }

    /// A view of the base store of [`BRAND`].
    pub async fn add_view(&self, id: &str) {
        let (id, brand_id, name) = (id.parse().unwrap(), BRAND.parse().unwrap(), id.to_owned());
        let mut store = StoreRecord::new(id, brand_id, name, self.now());
        let base: StoreId = BRAND.parse().unwrap();
        store.inclusion_sources.insert(base.clone());
        store.parent = Some(base);
        self.put(&store).await;
    }

    /// Puts a snap into a store.
    pub async fn include(&self, store: &str, snap_id: &str) {
        self.put(&Inclusion {
            store_id: store.parse().unwrap(),
            snap_id: snap_id.parse().unwrap(),
            since: self.now(),
        })
        .await;
    }

    pub async fn add_account(&self, email: &str, change: impl FnOnce(&mut Account)) {
        let mut id = [0u8; 16];
        self.app.entropy.fill(&mut id);
        let mut account = Account {
            id: hallmark::domain::audit::hex(&id).parse().unwrap(),
            email: email.parse().unwrap(),
            username: email
                .replace(['@', '.'], "-")
                .chars()
                .take(28)
                .collect::<String>()
                .parse()
                .unwrap(),
            display_name: email.to_owned(),
            password: None,
            unproven: false,
            operator: false,
            second_factor: None,
            provider: None,
            reset: None,
            disabled: false,
            created: self.now(),
        };
        change(&mut account);
        self.put(&account).await;
    }

    pub async fn account(&self, email: &str) -> Account {
        self.app
            .storage
            .find_unique::<Account>("email", email)
            .await
            .unwrap()
            .unwrap()
            .record
    }

    pub async fn add_member(&self, brand: &str, email: &str, roles: &[Role]) {
        self.add_role(brand, brand, email, roles).await;
    }

    /// Roles in one store of a brand.
    pub async fn add_role(&self, brand: &str, store: &str, email: &str, roles: &[Role]) {
        let account_id = self.account(email).await.id;
        let (brand_id, store_id, changed) = (brand.parse().unwrap(), store.parse().unwrap(), self.now());
        self.put(&Membership {
            brand_id,
            store_id,
            account_id,
            roles: roles.to_vec(),
            changed,
        })
        .await;
    }

    /// A registered snap without revisions.
    pub async fn add_snap(&self, brand: &str, name: &str, id: &str, publisher: &str, collaborators: &[&str]) {
        let mut members = Vec::new();
        for email in collaborators {
            members.push(self.account(email).await.id);
        }
        // A brand publishes too.
        let publisher_id = match publisher.contains('@') {
            true => self.account(publisher).await.id.to_string(),
            false => publisher.to_owned(),
        };
        let record = serde_json::json!({
            "id": id, "name": name, "brand-id": brand, "store-id": brand, "type": null, "private": true,
            "publisher-id": publisher_id, "collaborators": members, "newest-revision": 0,
            "created": self.now(),
        });
        self.put(&serde_json::from_value::<SnapRecord>(record).unwrap())
            .await;
        // Somebody else's, made to fit: whose signature it is nobody looks at here.
        let declaration = include_str!("../vectors/types/snap-declaration/002-ok-snap-name-empty.assert");
        let line = |line: &str| match line.split_once(": ") {
            Some(("snap-id", _)) => format!("snap-id: {id}\n"),
            Some(("snap-name", _)) => format!("snap-name: {name}\n"),
            _ => format!("{line}\n"),
        };
        let text: String = declaration.lines().map(line).collect();
        let declaration = hallmark::domain::assertion::decode(text.as_bytes()).unwrap();
        let stored = crate::vault::factory::stored(&declaration);
        let commit = Commit {
            assertions: vec![(stored, PutRule::SkipOld)],
            ..Commit::default()
        };
        assert_eq!(
            self.app.storage.commit(commit).await.unwrap(),
            CommitOutcome::Done
        );
    }

    /// A log-in of this account, good for an hour.
    pub async fn token(&self, email: &str) -> String {
        self.token_with(email, |_| ()).await
    }

    /// A log-in of this account, changed before it is stored.
    pub async fn token_with(&self, email: &str, change: impl FnOnce(&mut Token)) -> String {
        let text = TokenText::generate(|buffer| self.app.entropy.fill(buffer));
        let mut token = Token {
            id: text.hash().chars().take(12).collect(),
            account_id: self.account(email).await.id,
            hash: text.hash(),
            description: "test".to_owned(),
            permissions: None,
            brand_id: None,
            words: Vec::new(),
            limits: Default::default(),
            publisher: false,
            person: true,
            created: self.now(),
            expires: self.now().plus_seconds(3600),
        };
        change(&mut token);
        self.put(&token).await;
        text.reveal().to_owned()
    }

    /// Calls with a JSON body (null: none).
    pub async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.call_raw(method, path, token, &body, [192, 0, 2, 1].into())
            .await
    }

    /// Asks for a page with this log-in; forms come without a mark. Answers with status, location and what is on it.
    pub async fn browse(&self, method: &str, path: &str, token: Option<&str>) -> (u16, String, String) {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(token) = token {
            request = request.header("cookie", format!("hallmark={token}"));
        }
        let request = request.body(Either::Right(Full::default())).unwrap();
        let response = self.router.answer(request, RequestId(Arc::from("test"))).await;
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let main = text.split("<main").nth(1).unwrap_or_default();
        let main = main.split("</main>").next().unwrap_or_default().to_owned();
        let location = parts.headers.get("location");
        let location = location.map_or("", |value| value.to_str().unwrap()).to_owned();
        (parts.status.as_u16(), location, main)
    }

    /// Calls with any body from any address.
    pub async fn call_raw(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
        peer: IpAddr,
    ) -> Answer {
        let header = token.map(|token| format!("Bearer {token}"));
        self.call_with(method, path, header.as_deref(), body, peer).await
    }

    /// Disables an account.
    pub async fn put_disabled(&self, email: &str) {
        let id = self.account(email).await.id;
        let found = self
            .app
            .storage
            .find::<Account>([id.as_str()])
            .await
            .unwrap()
            .unwrap();
        let mut account = found.record;
        account.disabled = true;
        let commit = Commit {
            records: vec![Change::replace(&account, found.version)],
            ..Commit::default()
        };
        assert_eq!(
            self.app.storage.commit(commit).await.unwrap(),
            CommitOutcome::Done
        );
    }

    /// Calls with a `Macaroons` header; a `POST` brings an empty object.
    pub async fn call_listed(&self, method: &str, path: &str, macaroons: &str) -> Answer {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("macaroons", macaroons);
        let body = if method == "POST" { "{}" } else { "" };
        self.answer(request, body, [192, 0, 2, 1].into()).await
    }

    /// Calls with any `Authorization` header.
    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        body: &str,
        peer: IpAddr,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some(header) = authorization {
            request = request.header("authorization", header);
        }
        self.answer(request, body, peer).await
    }

    async fn answer(&self, request: http::request::Builder, body: &str, peer: IpAddr) -> Answer {
        let mut request = request.body(Either::Right(Full::from(body.to_owned()))).unwrap();
        request.extensions_mut().insert(Peer::Remote(peer));
        let response = self.router.answer(request, RequestId(Arc::from("test"))).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }
}
