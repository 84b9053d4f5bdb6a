//! Instances for tests: in memory, with a clock that can be set and a cheap seal.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hallmark::adapters::memory::{Memory, MemoryBlobs};
use hallmark::adapters::seal::{MasterKey, new_kdf};
use hallmark::adapters::softkey::SoftKeys;
use hallmark::adapters::squashfs::Squashfs;
use hallmark::adapters::system::SystemEntropy;
use hallmark::adapters::vcdiff::Vcdiff;
use hallmark::app::instance::{self, NewBrand, NewInstance, Parts};
use hallmark::app::{App, BrandCtx, ReadLimits, Settings};
use hallmark::domain::access::{Account, Brand, Membership, StoreRecord};
use hallmark::domain::assertion::AssertionType;
use hallmark::domain::time::Timestamp;
use hallmark::domain::vault::{Instance, Kdf, SigningKey};
use hallmark::ports::{
    AssertionFilter, Change, Clock, Commit, CommitOutcome, Key, KeyMaterial, PutRule, Record, Seal, Storage,
};
use tokio::sync::OnceCell;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    /// 2026-06-01T00:00:00Z.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_780_272_000)))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.0.load(Ordering::SeqCst))
    }
}

/// Key derivation parameters that cost nothing.
pub(crate) fn quick_kdf() -> Kdf {
    Kdf {
        memory_kib: 64,
        passes: 1,
        ..new_kdf().unwrap()
    }
}

pub(crate) fn seal(passphrase: &str, kdf: &Kdf) -> Arc<dyn Seal> {
    Arc::new(MasterKey::derive(passphrase.as_bytes(), kdf).unwrap())
}

pub(crate) fn settings(dev: bool) -> Arc<Settings> {
    Arc::new(Settings {
        public_url: "http://127.0.0.1:8380".into(),
        request_id_life: 600,
        require_second_factor: false,
        limits: ReadLimits::default(),
        dev,
    })
}

/// What an instance on `storage` is made or opened with.
pub(crate) fn parts(
    storage: Arc<dyn Storage>,
    passphrase: &str,
    kdf: &Kdf,
    clock: &Arc<TestClock>,
    dev: bool,
) -> Parts {
    let seal = seal(passphrase, kdf);
    Parts {
        storage,
        signer: Arc::new(SoftKeys::new(Arc::clone(&seal)).unwrap()),
        blobs: Arc::new(MemoryBlobs::new(clock.clone())),
        snap_files: Arc::new(Squashfs::default()),
        deltas: Arc::new(Vcdiff),
        seal,
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy::default()),
        provider: None,
        post: None,
        hook: None,
        settings: settings(dev),
    }
}

/// What `hallmark init --brand acme` would make.
pub(crate) fn acme(kdf: &Kdf) -> NewInstance {
    NewInstance {
        authority: Some("rooty".parse().unwrap()),
        root: None,
        brand: NewBrand {
            id: "acme".parse().unwrap(),
            name: Some("Acme Ltd".into()),
            delegated: false,
            admin: None,
            factory: None,
        },
        admin_email: "admin@acme.example".parse().unwrap(),
        admin_password: "correct horse battery".to_owned().into(),
        kdf: kdf.clone(),
    }
}

/// One of the private keys of the vectors.
pub(crate) fn vector_key(name: &str) -> KeyMaterial {
    let path = format!("{}/tests/vectors/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    KeyMaterial::from_text(std::fs::read_to_string(path).unwrap().into(), None)
}

/// A development instance in memory with brand `acme`, and its clock. Its keys are made once per process and shared
/// by all tests (RSA-4096 keys take seconds); everything else is its own.
pub(crate) async fn instance() -> (App, Arc<TestClock>) {
    instance_on(Arc::new(Memory::new())).await
}

/// The same on other, empty storage.
pub(crate) async fn instance_on(storage: Arc<dyn Storage>) -> (App, Arc<TestClock>) {
    static TEMPLATE: OnceCell<(Arc<dyn Storage>, Kdf)> = OnceCell::const_new();
    let (template, kdf) = TEMPLATE
        .get_or_init(|| async {
            let (storage, kdf): (Arc<dyn Storage>, _) = (Arc::new(Memory::new()), quick_kdf());
            let parts = parts(Arc::clone(&storage), "p", &kdf, &TestClock::new(), true);
            instance::create(parts, acme(&kdf), &|_| ()).await.unwrap();
            (storage, kdf)
        })
        .await;
    let clock = TestClock::new();
    let mut commit = Commit::default();
    copy::<Instance>(template, &mut commit).await;
    copy::<Account>(template, &mut commit).await;
    copy::<Brand>(template, &mut commit).await;
    copy::<StoreRecord>(template, &mut commit).await;
    copy::<Membership>(template, &mut commit).await;
    copy::<SigningKey>(template, &mut commit).await;
    for kind in [AssertionType::Account, AssertionType::AccountKey] {
        let filter = AssertionFilter {
            kind,
            key_prefix: Vec::new(),
            max_format: u32::MAX,
        };
        let found = template.assertions(&filter).await.unwrap();
        commit
            .assertions
            .extend(found.into_iter().map(|assertion| (assertion, PutRule::Newer)));
    }
    assert_eq!(storage.commit(commit).await.unwrap(), CommitOutcome::Done);
    (
        instance::open(parts(storage, "p", kdf, &clock, true))
            .await
            .unwrap(),
        clock,
    )
}

async fn copy<R: Record>(from: &Arc<dyn Storage>, commit: &mut Commit) {
    let found = from.all::<R>(Key(Vec::new())).await.unwrap();
    commit
        .records
        .extend(found.iter().map(|found| Change::create(&found.record)));
}

/// Leave to act for brand `acme`.
pub(crate) fn acme_ctx() -> BrandCtx {
    BrandCtx::local("acme".parse().unwrap())
}
