//! A store behind a real socket, on memory storage, with people who manage it.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hallmark::adapters::squashfs::{Content, Entry, build};
use hallmark::app::App;
use hallmark::domain::access::{Account, Membership, Role, Token, TokenText};
use hallmark::domain::assertion::{Assertion, AssertionType, Ref, decode};
use hallmark::domain::audit::{AuditEntry, AuditEvent};
use hallmark::domain::catalog::{CatalogHead, Changed, RevisionRecord, SnapRecord};
use hallmark::http::metrics::Metrics;
use hallmark::http::serve::{Limits, Listener, Server};
use hallmark::ports::{AuditFilter, Change, Commit, CommitOutcome};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{TestClock, instance};

pub const BRAND: &str = "acme";

/// A store that serves.
pub struct Shop {
    pub app: App,
    pub clock: Arc<TestClock>,
    pub address: SocketAddr,
    pub http: reqwest::Client,
    home: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The first code of an error list.
    pub fn code(&self) -> &str {
        self.body["error-list"][0]["code"].as_str().unwrap_or_default()
    }

    /// What a successful answer says.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// Status and code of a refusal.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.code())
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Shop {
    /// Brand `acme` with its own root, and these people: `operator`, `admin`, `pub` and `pub2` (publishers), `rev`
    /// (reviewer), `view`, `brand` (publisher who acts for the brand too); their tokens are their names.
    pub async fn new() -> Self {
        let (app, clock) = instance().await;
        Self::serving(app, clock).await
    }

    pub async fn serving(app: App, clock: Arc<TestClock>) -> Self {
        Self::within(app, clock, Limits::default()).await
    }

    pub async fn within(app: App, clock: Arc<TestClock>, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = hallmark::http::router(&app, Metrics::default()).unwrap();
        let stop = CancellationToken::new();
        let serving = Server::new(router, limits, Vec::new());
        tokio::spawn(serving.run(Listener::Tcp(listener), stop.clone()));
        let shop = Self {
            app,
            clock,
            address,
            http: plain_client(),
            home: tempfile::TempDir::new().unwrap(),
            stop,
        };
        shop.person("operator", &[], true).await;
        shop.person("admin", &[Role::Admin], false).await;
        shop.person("pub", &[Role::Access], false).await;
        shop.person("pub2", &[Role::Access], false).await;
        shop.person("rev", &[Role::Review], false).await;
        shop.person("view", &[Role::View], false).await;
        shop.person("brand", &[Role::Access, Role::Brand], false).await;
        shop
    }

    /// The id of a person's account.
    pub fn account(name: &str) -> String {
        format!("{name:0<32}")
    }

    /// Somebody with roles in the base store.
    pub async fn person(&self, name: &str, roles: &[Role], operator: bool) {
        let now = self.app.clock.now();
        let account = Account {
            id: Self::account(name).parse().unwrap(),
            email: format!("{name}@people.example").parse().unwrap(),
            username: format!("{name}-name").parse().unwrap(),
            display_name: name.to_uppercase(),
            password: None,
            unproven: false,
            operator,
            second_factor: None,
            provider: None,
            reset: None,
            disabled: false,
            created: now,
        };
        let mut records = vec![Change::create(&account)];
        if !roles.is_empty() {
            records.push(Change::create(&Membership {
                brand_id: BRAND.parse().unwrap(),
                store_id: BRAND.parse().unwrap(),
                account_id: account.id.clone(),
                roles: roles.to_vec(),
                changed: now,
            }));
        }
        let text = token(name);
        records.push(Change::create(&Token {
            id: name.to_owned(),
            account_id: account.id.clone(),
            hash: text.hash(),
            description: "test".to_owned(),
            permissions: None,
            brand_id: None,
            words: Vec::new(),
            limits: Default::default(),
            publisher: false,
            person: true,
            created: now,
            expires: now.plus_seconds(100_000_000),
        }));
        self.commit(Commit {
            records,
            ..Commit::default()
        })
        .await;
    }

    /// One more person, with these roles.
    pub async fn person_with(&self, name: &str, roles: &[&str]) {
        let roles: Vec<Role> = roles.iter().map(|role| role.parse().unwrap()).collect();
        self.person(name, &roles, false).await;
    }

    /// A token of somebody's that is good for these permissions only; calls use it by `name`.
    pub async fn limited(&self, who: &str, name: &str, permissions: &[&str]) {
        let found = self.app.storage.find::<Token>([who]).await.unwrap();
        let limited = Token {
            id: name.to_owned(),
            hash: token(name).hash(),
            permissions: Some(permissions.iter().map(|one| (*one).to_owned()).collect()),
            person: false,
            ..found.unwrap().record
        };
        self.commit(Commit {
            records: vec![Change::create(&limited)],
            ..Commit::default()
        })
        .await;
    }

    /// Changes the record of a snap.
    pub async fn change(&self, name: &str, change: impl FnOnce(&mut SnapRecord)) {
        let found = self.app.storage.find_unique::<SnapRecord>("name", name).await;
        let found = found.unwrap().unwrap();
        let mut snap = found.record;
        change(&mut snap);
        let head = self
            .app
            .storage
            .find::<CatalogHead>(["head"])
            .await
            .unwrap()
            .unwrap();
        let next = head.record.after([Changed::Snap(snap.id.clone())]);
        self.commit(Commit {
            records: vec![
                Change::replace(&snap, found.version),
                Change::replace(&next, head.version),
            ],
            ..Commit::default()
        })
        .await;
    }

    /// What the audit log says was done, the oldest first.
    pub async fn audited(&self) -> Vec<String> {
        let filter = AuditFilter {
            limit: 1000,
            ..AuditFilter::default()
        };
        let entries = self.app.storage.audit_entries(&filter).await.unwrap();
        let action = |(_, entry): (u64, AuditEntry)| {
            let event: AuditEvent = serde_json::from_str(&entry.event).unwrap();
            event.action
        };
        entries.into_iter().map(action).collect()
    }

    /// Makes somebody a collaborator of a snap.
    pub async fn collaborate(&self, snap: &str, who: &str) {
        let account = Self::account(who).parse().unwrap();
        self.change(snap, |snap| assert!(snap.collaborators.insert(account)))
            .await;
    }

    /// No longer.
    pub async fn leave(&self, snap: &str, who: &str) {
        self.change(snap, |snap| {
            assert!(snap.collaborators.remove(&Self::account(who).parse().unwrap()))
        })
        .await;
    }

    pub async fn commit(&self, commit: Commit) {
        assert_eq!(
            self.app.storage.commit(commit).await.unwrap(),
            CommitOutcome::Done
        );
    }

    /// Calls the native API below `/hallmark/v1`; a body of null is none.
    pub async fn call(&self, who: &str, method: &str, path: &str, body: Value) -> Answer {
        let url = format!("http://{}/hallmark/v1{path}", self.address);
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .bearer_auth(token(who).reveal());
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        answer(request).await
    }

    /// Calls any path; a body of null is none.
    pub async fn api(&self, who: &str, method: &str, path: &str, body: Value) -> Answer {
        let url = format!("http://{}{path}", self.address);
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .header("authorization", format!("Macaroon {}", token(who).reveal()));
        if !body.is_null() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        answer(request).await
    }

    /// Gives somebody roles in a store.
    pub async fn role(&self, who: &str, store: &str, roles: &[&str]) {
        let path = format!("/stores/{store}/members/{who}@people.example?brand={BRAND}");
        let body = serde_json::json!({ "roles": roles });
        self.call("operator", "PUT", &path, body).await.ok();
    }

    /// Runs the program as somebody.
    pub async fn run(&self, who: &str, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hallmark"));
        command
            .args(arguments)
            .env_clear()
            .env("HALLMARK_HOME", self.home.path())
            .env("HALLMARK_SERVER", format!("http://{}", self.address))
            .env("HALLMARK_TOKEN", token(who).reveal())
            .stdin(Stdio::null());
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        Ended {
            status: ended.status.code().unwrap(),
            out: String::from_utf8(ended.stdout).unwrap(),
            err: String::from_utf8(ended.stderr).unwrap(),
        }
    }

    /// Runs a verb that must do what it is asked, and gives what it prints as JSON.
    pub async fn json(&self, who: &str, arguments: &[&str]) -> Value {
        let ended = self.run(who, &[arguments, &["--format", "json"]].concat()).await;
        assert_eq!(ended.status, 0, "{arguments:?} {ended:?}");
        serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {}", ended.out))
    }

    /// Uploads files with this query.
    pub async fn upload(&self, who: &str, query: &str, files: &[Vec<u8>]) -> Answer {
        let parts: String = files.iter().map(|file| format!("&part={}", file.len())).collect();
        self.send(who, &format!("{query}{parts}"), files.concat()).await
    }

    /// Uploads a body with this query.
    pub async fn send(&self, who: &str, query: &str, body: impl Into<reqwest::Body>) -> Answer {
        let url = format!("http://{}/hallmark/v1/snaps/upload?{query}", self.address);
        answer(self.http.post(url).bearer_auth(token(who).reveal()).body(body)).await
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The names of all files that are kept.
    pub async fn blobs(&self) -> Vec<String> {
        let kept = self.app.blobs.list().await.unwrap();
        kept.iter().map(|blob| blob.id.to_string()).collect()
    }

    /// The record of a snap.
    pub async fn snap(&self, name: &str) -> SnapRecord {
        let found = self.app.storage.find_unique::<SnapRecord>("name", name).await;
        found.unwrap().unwrap().record
    }

    /// The newest stored assertion of this reference.
    pub async fn assertion<const N: usize>(&self, kind: AssertionType, key: [&str; N]) -> Option<Assertion> {
        let stored = self
            .app
            .storage
            .assertion(&Ref::new(kind, key), kind.info().max_format)
            .await
            .unwrap();
        stored.map(|stored| decode(&stored.encoded).unwrap())
    }

    /// Makes a revision of a registered snap without a file.
    pub async fn revise(&self, name: &str, change: impl FnOnce(&mut RevisionRecord)) -> u64 {
        let found = self
            .app
            .storage
            .find_unique::<SnapRecord>("name", name)
            .await
            .unwrap()
            .unwrap();
        let mut snap = found.record;
        snap.newest_revision += 1;
        let mut revision = RevisionRecord {
            snap_id: snap.id.clone(),
            revision: snap.newest_revision,
            blob: hallmark::domain::blob::BlobId::of(format!("{name} {}", snap.newest_revision).as_bytes()),
            size: 4096,
            sha512: "0".repeat(128),
            version: "1.0".to_owned(),
            kind: hallmark::domain::snap::SnapType::App,
            base: None,
            architectures: ["amd64".parse().unwrap()].into(),
            confinement: hallmark::domain::snap::Confinement::Strict,
            epoch: hallmark::domain::snap::Epoch::default(),
            grade: None,
            provenance: "global-upload".to_owned(),
            snap_yaml: String::new(),
            common_ids: Vec::new(),
            apps: Vec::new(),
            hooks: Default::default(),
            components: Vec::new(),
            developer_id: snap.publisher_id.clone(),
            created: self.app.clock.now(),
            review: Default::default(),
        };
        change(&mut revision);
        self.commit(Commit {
            records: vec![Change::replace(&snap, found.version), Change::create(&revision)],
            ..Commit::default()
        })
        .await;
        revision.revision
    }
}

/// A person's token.
pub fn token(who: &str) -> TokenText {
    TokenText::generate(|buffer| {
        buffer
            .iter_mut()
            .zip(who.bytes().cycle())
            .for_each(|(to, from)| *to = from);
    })
}

pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status, body }
}

/// For plain HTTP, which needs no certificates.
pub fn plain_client() -> reqwest::Client {
    // Fails only when a provider is installed already, which is as good.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

/// Not much of a picture.
const ICON: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A snap file: `more` is added to its `snap.yaml`.
pub fn snap_file(name: &str, version: &str, more: &str) -> Vec<u8> {
    snap_file_with_icon(name, version, more, "")
}

/// One with an icon of its own.
pub fn snap_file_with_icon(name: &str, version: &str, more: &str, icon: &str) -> Vec<u8> {
    let text =
        format!("name: {name}\nversion: '{version}'\nsummary: Turns\ndescription: It turns things\n{more}");
    image("meta/snap.yaml", &text, icon)
}

/// A component file.
pub fn component_file(snap: &str, name: &str, more: &str) -> Vec<u8> {
    let text = format!("component: {snap}+{name}\ntype: standard\nversion: '1'\nsummary: More\n{more}");
    image("meta/component.yaml", &text, "")
}

/// A gadget with this `gadget.yaml`, and hooks of these names.
pub fn gadget_file(version: &str, gadget: Option<&str>, hooks: &[&str], more: &str) -> Vec<u8> {
    let text = format!("name: board\nversion: '{version}'\nsummary: Boots\ntype: gadget\n{more}");
    let hooks = hooks.iter().map(|hook| entry(&format!("meta/hooks/{hook}"), ""));
    let gadget = gadget.map(|text| entry("meta/gadget.yaml", text));
    build(hooks.chain(gadget).chain([entry("meta/snap.yaml", text)])).unwrap()
}

fn image(path: &str, text: &str, icon: &str) -> Vec<u8> {
    let icon = [ICON, icon.as_bytes()].concat();
    build([entry(path, text.as_bytes()), entry("meta/gui/icon.png", icon)]).unwrap()
}

fn entry(path: &str, content: impl Into<Vec<u8>>) -> Entry {
    Entry {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::File(content.into()),
    }
}
