//! What it costs to judge who calls and whether they may: the token looked up, the account, the roles, the table, the limits
//! of the token. Storage is in memory, so that it is the judgement that is measured. Budget: 5 microseconds.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start may stop")]

use std::sync::Arc;

use async_trait::async_trait;
use divan::Bencher;
use hallmark::adapters::memory::{Memory, MemoryBlobs};
use hallmark::adapters::seal::{MasterKey, new_kdf};
use hallmark::adapters::squashfs::Squashfs;
use hallmark::adapters::system::{SystemClock, SystemEntropy};
use hallmark::adapters::vcdiff::Vcdiff;
use hallmark::app::credentials::Credential;
use hallmark::app::{App, AppState, BrandCtx, Caller, Place, ReadLimits, Secrets, Settings, SnapCtx};
use hallmark::domain::access::{
    Account, Authorship, Brand, Membership, Permission, Role, StoreRecord, Token, TokenText,
};
use hallmark::domain::catalog::SnapRecord;
use hallmark::domain::ident::{AccountId, KeyId};
use hallmark::domain::vault::{Kdf, TokenUri};
use hallmark::ports::{Change, Clock as _, Commit, KeyMaterial, NewKey, SignError, Signer};
use serde_json::json;

fn main() {
    divan::main();
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

/// An instance with a brand, a snap and its publisher; and the token they call with.
async fn instance() -> (App, Credential) {
    let clock = Arc::new(SystemClock);
    let kdf = Kdf {
        memory_kib: 8,
        passes: 1,
        ..new_kdf().unwrap()
    };
    let app: App = AppState {
        storage: Arc::new(Memory::new()),
        signer: Arc::new(Keyless),
        seal: Arc::new(MasterKey::derive(b"bench", &kdf).unwrap()),
        blobs: Arc::new(MemoryBlobs::new(clock.clone())),
        snap_files: Arc::new(Squashfs::default()),
        deltas: Arc::new(Vcdiff),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy::default()),
        revision_floor: 0,
        secrets: Arc::new(Secrets {
            nonce_key: [1; 32],
            session_key: [2; 32],
            audit_seed: [3; 32],
        }),
        settings: Arc::new(Settings {
            public_url: "http://127.0.0.1:8380".to_owned(),
            request_id_life: 600,
            limits: ReadLimits::default(),
            require_second_factor: false,
            dev: true,
        }),
        guard: Arc::default(),
        catalog: Arc::default(),
        reports: Arc::default(),
        numbers: Arc::default(),
        fleet: Arc::default(),
        models: Arc::default(),
        provider: None,
        post: None,
        hook: None,
        gauges: Arc::default(),
    }
    .into();
    let now = clock.now();
    let account: Account = serde_json::from_value(json!({
        "id": "a".repeat(32), "email": "pub@acme.example", "username": "pub", "display-name": "Pub", "password": null,
        "operator": false, "disabled": false, "created": now,
    }))
    .unwrap();
    let brand = Brand {
        id: "acme".parse().unwrap(),
        name: "Acme".to_owned(),
        base_store: "acme".parse().unwrap(),
        delegated: false,
        created: now,
        authorship: Authorship::default(),
    };
    let store = StoreRecord::new("acme".parse().unwrap(), brand.id.clone(), "Acme".to_owned(), now);
    let member = Membership {
        brand_id: brand.id.clone(),
        store_id: store.id.clone(),
        account_id: account.id.clone(),
        roles: vec![Role::Access],
        changed: now,
    };
    let snap: SnapRecord = serde_json::from_value(json!({
        "id": "s".repeat(32), "name": "gizmo", "brand-id": "acme", "store-id": "acme", "type": null, "private": true,
        "publisher-id": account.id, "newest-revision": 0, "created": now,
    }))
    .unwrap();
    let text = TokenText::generate(|buffer| app.entropy.fill(buffer));
    let token: Token = serde_json::from_value(json!({
        "id": "token", "account-id": account.id, "hash": text.hash(), "description": "", "permissions": null,
        "brand-id": null, "person": true, "created": now, "expires": now.plus_seconds(3600),
    }))
    .unwrap();
    let commit = Commit {
        records: vec![
            Change::create(&account),
            Change::create(&brand),
            Change::create(&store),
            Change::create(&member),
            Change::create(&snap),
            Change::create(&token),
        ],
        ..Commit::default()
    };
    app.storage.commit(commit).await.unwrap();
    (app, Credential::Token(text))
}

#[divan::bench]
fn who_calls(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (app, credential) = runtime.block_on(instance());
    bencher.bench_local(|| {
        runtime
            .block_on(Caller::identify(&app, Some(&credential)))
            .unwrap()
    });
}

#[divan::bench]
fn leave_for_a_brand(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (app, credential) = runtime.block_on(instance());
    let caller = runtime
        .block_on(Caller::identify(&app, Some(&credential)))
        .unwrap();
    bencher.bench_local(|| {
        let place = Place::Brand("acme".parse().unwrap());
        let leave = caller.authorize::<BrandCtx>(&app, Permission::SnapRelease, place);
        runtime.block_on(leave).unwrap()
    });
}

#[divan::bench]
fn leave_for_a_snap(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (app, credential) = runtime.block_on(instance());
    let caller = runtime
        .block_on(Caller::identify(&app, Some(&credential)))
        .unwrap();
    bencher.bench_local(|| {
        let place = Place::Snap("gizmo".parse().unwrap());
        let leave = caller.authorize::<SnapCtx>(&app, Permission::SnapRelease, place);
        runtime.block_on(leave).unwrap()
    });
}

/// The judgement itself, with everything it needs at hand.
#[divan::bench]
fn judgement_about_a_snap(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (app, credential) = runtime.block_on(instance());
    let caller = runtime
        .block_on(Caller::identify(&app, Some(&credential)))
        .unwrap();
    let place = Place::Snap("gizmo".parse().unwrap());
    let leave = runtime
        .block_on(caller.authorize::<SnapCtx>(&app, Permission::SnapRead, place))
        .unwrap();
    bencher.bench_local(|| divan::black_box(&leave).may(divan::black_box(Permission::SnapRelease)));
}
