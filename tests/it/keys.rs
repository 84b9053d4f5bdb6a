//! Instances and keys, as the use cases see them.

use std::sync::Arc;

use hallmark::adapters::memory::Memory;
use hallmark::app::account_keys::{self, Registration};
use hallmark::app::instance::{self, NewBrand};
use hallmark::app::keys::{self, KeyRequest};
use hallmark::app::models::{self, ModelSettings, NewModel};
use hallmark::app::sign::sign;
use hallmark::app::trust::{self, Sizes};
use hallmark::app::{InstanceCtx, Reason, doctor, key_manager};
use hallmark::domain::access::{Account, Brand, Membership, Role, SecondFactor};
use hallmark::domain::assertion::{Assertion, AssertionType, Headers, PublicKey, Ref, Statement, decode};
use hallmark::domain::ident::KeyName;
use hallmark::domain::vault::{KeyPurpose, KeyState, ModelRecord, SerialPolicy, SigningKey, is_throwaway};
use hallmark::ports::{
    AuditFilter, Change, Commit, CommitOutcome, Key, KeyMaterial, PutRule, SealLabel, Storage,
};

use crate::harness::*;

fn request(name: &str, purposes: &[KeyPurpose]) -> KeyRequest {
    KeyRequest {
        name: name.parse().unwrap(),
        purposes: purposes.to_vec(),
        models: Vec::new(),
        constrained: None,
        since: None,
        until: None,
        external: false,
        token: None,
    }
}

async fn stored(app: &hallmark::app::App, kind: AssertionType, key: &str) -> Assertion {
    let found = app
        .storage
        .assertion(&Ref::new(kind, [key]), u32::MAX)
        .await
        .unwrap()
        .expect("is stored");
    decode(&found.encoded).unwrap()
}

async fn brand_key(app: &hallmark::app::App, name: &str) -> SigningKey {
    app.storage
        .find::<SigningKey>(["acme", name])
        .await
        .unwrap()
        .unwrap()
        .record
}

async fn actions(app: &hallmark::app::App) -> Vec<String> {
    let filter = AuditFilter {
        limit: 1000,
        ..AuditFilter::default()
    };
    let entries = app.storage.audit_entries(&filter).await.unwrap();
    entries
        .into_iter()
        .map(|(_, entry)| {
            let event: serde_json::Value = serde_json::from_str(&entry.event).unwrap();
            format!(
                "{} {}",
                event["action"].as_str().unwrap(),
                event["subject"].as_str().unwrap()
            )
        })
        .collect()
}

pub(crate) fn model_statement(name: &str) -> Statement {
    let mut headers = Headers::default();
    for (header, value) in [
        ("authority-id", "acme"),
        ("series", "16"),
        ("brand-id", "acme"),
        ("model", name),
        ("architecture", "amd64"),
        ("base", "core22"),
        ("gadget", "pc"),
        ("kernel", "pc-kernel"),
        ("timestamp", "2026-06-01T00:00:00Z"),
    ] {
        headers.set(header, value);
    }
    Statement::new(AssertionType::Model, headers, Vec::new())
}

#[tokio::test]
async fn a_new_instance_has_a_trust_chain_brand_keys_and_an_administrator() {
    let (kdf, clock) = (quick_kdf(), TestClock::new());
    let parts = parts(Arc::new(Memory::new()), "p", &kdf, &clock, false);
    let app = instance::create(parts, acme(&kdf), &|_| ()).await.unwrap();
    let set = instance::trusted(&app).await.unwrap();
    assert_eq!(
        set.iter().map(|a| a.kind()).collect::<Vec<_>>(),
        [AssertionType::Account, AssertionType::AccountKey]
    );
    let root = PublicKey::decode(std::str::from_utf8(set[1].body()).unwrap()).unwrap();
    for assertion in &set {
        assert_eq!(assertion.authority_id(), Some("rooty"));
        root.verify_assertion(assertion).unwrap();
    }

    let account = stored(&app, AssertionType::Account, "acme").await;
    assert_eq!(account.text("display-name"), Some("Acme Ltd"));
    root.verify_assertion(&account).unwrap();
    for (name, purpose) in [
        ("model", KeyPurpose::Model),
        ("serial", KeyPurpose::Serial),
        ("system-user", KeyPurpose::SystemUser),
    ] {
        let key = brand_key(&app, name).await;
        assert_eq!(
            (key.purposes.as_slice(), key.state),
            ([purpose].as_slice(), KeyState::Active)
        );
        let account_key = stored(&app, AssertionType::AccountKey, key.key_id.as_str()).await;
        assert_eq!(account_key.text("account-id"), Some("acme"));
        assert_eq!(account_key.text("name"), Some(name));
        assert_eq!(account_key.text("since"), Some("2026-06-01T00:00:00Z"));
        root.verify_assertion(&account_key).unwrap();
    }

    let admin = app
        .storage
        .find_unique::<Account>("email", "admin@acme.example")
        .await
        .unwrap()
        .unwrap()
        .record;
    assert!(admin.operator && admin.username.as_str() == "admin");
    let member = app
        .storage
        .find::<Membership>(["acme", "acme", admin.id.as_str()])
        .await
        .unwrap()
        .unwrap()
        .record;
    assert_eq!(member.roles, [Role::Admin, Role::Brand]);

    let log = actions(&app).await;
    for expected in [
        "instance.create rooty",
        "account.sign acme",
        "key.create acme/serial",
        "brand.create acme",
    ] {
        assert!(log.iter().any(|line| line == expected), "{expected} in {log:?}");
    }
    assert_eq!(
        log.iter()
            .filter(|line| line.starts_with("account-key.sign "))
            .count(),
        4
    );
}

#[tokio::test]
async fn an_instance_opens_with_its_passphrase_only_and_signs_again() {
    let (kdf, clock) = (quick_kdf(), TestClock::new());
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let make = |passphrase| parts(Arc::clone(&storage), passphrase, &kdf, &clock, false);
    assert_eq!(
        instance::open(make("p")).await.unwrap_err().reason,
        Reason::NotFound
    );
    instance::create(make("p"), acme(&kdf), &|_| ()).await.unwrap();
    assert_eq!(
        instance::create(make("p"), acme(&kdf), &|_| ())
            .await
            .unwrap_err()
            .code,
        "already-initialised"
    );
    assert_eq!(
        instance::open(make("q")).await.unwrap_err().code,
        "wrong-passphrase"
    );
    let app = instance::open(make("p")).await.unwrap();
    sign(&app, &brand_key(&app, "model").await, model_statement("gate"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_failed_creation_leaves_nothing_behind() {
    let (kdf, clock) = (quick_kdf(), TestClock::new());
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let make = || parts(Arc::clone(&storage), "p", &kdf, &clock, false);
    let mut published = acme(&kdf);
    published.root = Some(vector_key("root"));
    assert_eq!(
        instance::create(make(), published, &|_| ())
            .await
            .unwrap_err()
            .code,
        "published-key"
    );
    let mut reserved = acme(&kdf);
    reserved.brand.id = "api".parse().unwrap();
    assert_eq!(
        instance::create(make(), reserved, &|_| ())
            .await
            .unwrap_err()
            .code,
        "reserved-brand"
    );
    let mut same = acme(&kdf);
    same.authority = Some("acme".parse().unwrap());
    assert_eq!(
        instance::create(make(), same, &|_| ()).await.unwrap_err().code,
        "invalid-brand"
    );
    let mut weak = acme(&kdf);
    weak.admin_password = "short".to_owned().into();
    assert_eq!(
        instance::create(make(), weak, &|_| ()).await.unwrap_err().code,
        "weak-password"
    );
    assert!(
        storage
            .all::<SigningKey>(Key(Vec::new()))
            .await
            .unwrap()
            .is_empty()
    );
    instance::create(make(), acme(&kdf), &|_| ()).await.unwrap();
}

#[tokio::test]
async fn a_key_signs_only_what_it_is_for() {
    let (app, clock) = instance().await;
    let signed = sign(&app, &brand_key(&app, "model").await, model_statement("gate"))
        .await
        .unwrap();
    assert_eq!(signed.text("model"), Some("gate"));
    for (name, code) in [("serial", "key-purpose"), ("system-user", "key-purpose")] {
        let refusal = sign(&app, &brand_key(&app, name).await, model_statement("gate"))
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.code),
            (Reason::Conflict, code),
            "{refusal}"
        );
    }
    let mut bound = request("bound", &[KeyPurpose::Model]);
    bound.models = vec!["gate".parse().unwrap()];
    bound.until = Some(hallmark::ports::Clock::now(clock.as_ref()).plus_seconds(100));
    keys::create(&app, &acme_ctx(), bound).await.unwrap();
    let bound = brand_key(&app, "bound").await;
    sign(&app, &bound, model_statement("gate")).await.unwrap();
    assert_eq!(
        sign(&app, &bound, model_statement("door"))
            .await
            .unwrap_err()
            .code,
        "key-model"
    );
    clock.advance(100);
    assert_eq!(
        sign(&app, &bound, model_statement("gate"))
            .await
            .unwrap_err()
            .code,
        "key-not-valid"
    );

    let account_key = stored(&app, AssertionType::AccountKey, bound.key_id.as_str()).await;
    assert_eq!(account_key.format(), 1);
    let text = String::from_utf8(account_key.content().to_vec()).unwrap();
    assert!(
        text.contains("constraints:\n  -\n    headers:\n      model: gate\n      type: model\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_key_is_not_disabled_while_an_enabled_model_uses_it() {
    let (app, clock) = instance().await;
    let (ctx, serial) = (acme_ctx(), "serial".parse().unwrap());
    let mut model = ModelRecord {
        last_policy: 0,
        fleet: Default::default(),
        authorship: Default::default(),
        brand_id: "acme".parse().unwrap(),
        name: "gate".parse().unwrap(),
        api_keys: Vec::new(),
        auth: Default::default(),
        reissue: Default::default(),
        allow_list: false,
        quota: None,
        policies: vec![SerialPolicy {
            created_by: None,
            revision: 1,
            key: "serial".parse().unwrap(),
            created: hallmark::ports::Clock::now(clock.as_ref()),
        }],
        disabled: false,
        created: hallmark::ports::Clock::now(clock.as_ref()),
    };
    let commit = |change| Commit {
        records: vec![change],
        ..Commit::default()
    };
    app.storage.commit(commit(Change::create(&model))).await.unwrap();
    for refusal in [
        keys::disable(&app, &ctx, &serial).await.unwrap_err(),
        account_keys::revoke(&app, &ctx, &serial).await.unwrap_err(),
    ] {
        assert_eq!((refusal.reason, refusal.code), (Reason::Conflict, "key-in-use"));
        assert!(
            refusal
                .message
                .contains("used to sign at least one serial policy (models: gate)"),
            "{refusal}"
        );
    }
    model.disabled = true;
    assert_eq!(
        app.storage
            .commit(commit(Change::replace(&model, 1)))
            .await
            .unwrap(),
        CommitOutcome::Done
    );
    assert_eq!(
        keys::disable(&app, &ctx, &serial).await.unwrap().state,
        KeyState::Disabled
    );
    let id = brand_key(&app, "serial").await.key_id;
    assert!(app.signer.sign(&id, [0; 64]).await.is_err());
    assert_eq!(
        keys::enable(&app, &ctx, &serial).await.unwrap().state,
        KeyState::Active
    );
    assert!(app.signer.sign(&id, [0; 64]).await.is_ok());
}

#[tokio::test]
async fn bad_key_requests_are_refused_before_anything_is_made() {
    let (app, _) = instance().await;
    let ctx = acme_ctx();
    let mut external = request("x", &[KeyPurpose::Serial, KeyPurpose::Model]);
    external.external = true;
    let mut bound = request("x", &[KeyPurpose::ValidationSet]);
    bound.models = vec!["gate".parse().unwrap()];
    let mut ended = request("x", &[]);
    ended.until = Some(hallmark::domain::time::Timestamp::from_unix(1));
    for (request, code) in [
        (request("x", &[KeyPurpose::Root]), "invalid-key"),
        (request("model", &[]), "key-exists"),
        (external, "key-external"),
        (bound, "invalid-key"),
        (ended, "invalid-key"),
    ] {
        assert_eq!(keys::create(&app, &ctx, request).await.unwrap_err().code, code);
    }
    assert_eq!(
        keys::set_external(&app, &ctx, &"serial".parse().unwrap(), true)
            .await
            .unwrap_err()
            .code,
        "key-external"
    );
    assert_eq!(keys::list(&app, &ctx).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_imported_key_is_registered_once_and_its_private_half_never_shows() {
    let (app, _) = instance().await;
    let ctx = acme_ctx();
    let view = keys::import(
        &app,
        &ctx,
        request("old", &[KeyPurpose::Model]),
        vector_key("brand"),
    )
    .await
    .unwrap();
    assert_eq!(view.account_key_revision, Some(0));
    let shown = serde_json::to_string(&keys::list(&app, &ctx).await.unwrap()).unwrap();
    let key = brand_key(&app, "old").await;
    assert!(shown.contains(key.key_id.as_str()) && !shown.contains(&key.sealed) && !shown.contains("sealed"));

    let again = keys::import(&app, &ctx, request("new", &[]), vector_key("brand"))
        .await
        .unwrap_err();
    assert_eq!(again.code, "key-exists");
    sign(&app, &key, model_statement("gate")).await.unwrap();
    let small = keys::import(&app, &ctx, request("small", &[]), vector_key("device-2048"))
        .await
        .unwrap_err();
    assert!(small.message.contains("2048 bits"), "{small}");
}

#[tokio::test]
async fn a_revoked_key_gets_a_higher_account_key_that_was_never_valid() {
    let (app, _) = instance().await;
    let ctx = acme_ctx();
    keys::create(&app, &ctx, request("extra", &[])).await.unwrap();
    let name = "extra".parse().unwrap();
    let Registration::Registered(first) = account_keys::register(&app, &ctx, &name, None).await.unwrap()
    else {
        panic!("our root registers it");
    };
    assert_eq!(first.revision(), 0);
    let revoked = account_keys::revoke(&app, &ctx, &name).await.unwrap();
    assert_eq!(
        (revoked.revision(), revoked.text("until")),
        (1, revoked.text("since"))
    );
    let key = brand_key(&app, "extra").await;
    assert_eq!(key.state, KeyState::Disabled);
    assert!(sign(&app, &key, model_statement("gate")).await.is_err());
    let again = keys::enable(&app, &ctx, &name).await.unwrap_err();
    assert_eq!(again.code, "key-revoked");
    assert_eq!(brand_key(&app, "extra").await.state, KeyState::Disabled);
}

#[tokio::test]
async fn a_delegated_brand_gets_requests_and_adopts_what_another_root_answers() {
    let (app, _) = instance().await;
    let new = NewBrand {
        id: "other".parse().unwrap(),
        name: None,
        delegated: true,
        admin: None,
        factory: None,
    };
    let brand: Brand = instance::create_brand(&app, &InstanceCtx::local(), new.clone())
        .await
        .unwrap();
    assert!(
        instance::create_brand(&app, &InstanceCtx::local(), new)
            .await
            .is_err()
    );
    let ctx = hallmark::app::BrandCtx::local(brand.id.clone());
    let name = "model".parse().unwrap();
    assert_eq!(
        keys::show(&app, &ctx, &name).await.unwrap().account_key_revision,
        None
    );
    let Registration::Requested(request) = account_keys::register(&app, &ctx, &name, None).await.unwrap()
    else {
        panic!("another root registers it");
    };
    assert_eq!(request.kind(), AssertionType::AccountKeyRequest);
    assert_eq!(request.text("account-id"), Some("other"));
    let key = PublicKey::decode(std::str::from_utf8(request.body()).unwrap()).unwrap();
    key.verify_assertion(&request).unwrap();
    assert!(account_keys::revoke(&app, &ctx, &name).await.is_err());
    let missing = app
        .storage
        .assertion(&Ref::new(AssertionType::Account, ["other"]), u32::MAX)
        .await
        .unwrap();
    assert!(missing.is_none(), "our root does not speak for it");
}

#[tokio::test]
async fn a_rotated_passphrase_opens_everything_and_the_old_one_nothing() {
    let (kdf, clock) = (quick_kdf(), TestClock::new());
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let make = |passphrase, kdf: &_| parts(Arc::clone(&storage), passphrase, kdf, &clock, false);
    instance::create(make("p", &kdf), acme(&kdf), &|_| ())
        .await
        .unwrap();
    let new_kdf = quick_kdf();
    let now = hallmark::ports::Clock::now(clock.as_ref());
    let (old, new) = (seal("p", &kdf), seal("q", &new_kdf));
    let found = storage
        .find_unique::<Account>("email", "admin@acme.example")
        .await
        .unwrap()
        .unwrap();
    let mut account = found.record;
    let id = account.id.clone();
    let label = SealLabel {
        kind: "second-factor",
        owner: id.as_str(),
        name: "totp",
    };
    account.second_factor = Some(SecondFactor {
        sealed: old.seal(&label, b"shared").unwrap(),
        confirmed: true,
        last_step: 0,
        recovery: Vec::new(),
        since: now,
    });
    let commit = Commit {
        records: vec![Change::replace(&account, found.version)],
        ..Commit::default()
    };
    assert_eq!(storage.commit(commit).await.unwrap(), CommitOutcome::Done);
    let local = InstanceCtx::local();
    let wrong = instance::rotate(&storage, &local, new.as_ref(), old.as_ref(), kdf.clone(), now).await;
    assert_eq!(wrong.unwrap_err().code, "seal-broken");
    let secrets = instance::rotate(&storage, &local, old.as_ref(), new.as_ref(), new_kdf.clone(), now)
        .await
        .unwrap();
    assert_eq!(secrets, 6);
    let account = storage
        .find::<Account>([id.as_str()])
        .await
        .unwrap()
        .unwrap()
        .record;
    let sealed = account.second_factor.unwrap().sealed;
    assert_eq!(new.open(&label, &sealed).unwrap().as_slice(), b"shared");
    assert_eq!(
        instance::open(make("p", &kdf)).await.unwrap_err().code,
        "wrong-passphrase"
    );
    let app = instance::open(make("q", &new_kdf)).await.unwrap();
    sign(&app, &brand_key(&app, "model").await, model_statement("gate"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_exported_root_is_as_stored_or_padded_to_the_byte() {
    let (app, _) = instance().await;
    let local = InstanceCtx::local();
    let stored = trust::export(&app, &local, Sizes::default()).await.unwrap();
    let bytes = |assertions: &[Assertion]| assertions.iter().map(|a| a.encoded().clone()).collect::<Vec<_>>();
    assert_eq!(bytes(&stored), bytes(&instance::trusted(&app).await.unwrap()));
    let key = PublicKey::decode(std::str::from_utf8(stored[1].body()).unwrap()).unwrap();

    let natural = [stored[0].encoded().len(), stored[1].encoded().len()];
    for extra in [0, 9, 10, 500] {
        let sizes = Sizes {
            account: Some(natural[0] + extra),
            key: Some(natural[1] + extra),
        };
        let padded = trust::export(&app, &local, sizes).await.unwrap();
        for (assertion, natural) in padded.iter().zip(natural) {
            assert_eq!(assertion.encoded().len(), natural + extra);
            key.verify_assertion(assertion).unwrap();
        }
    }
    let sizes = Sizes {
        account: Some(1672),
        key: Some(3141),
    };
    let padded = trust::export(&app, &local, sizes).await.unwrap();
    assert_eq!(
        [padded[0].encoded().len(), padded[1].encoded().len()],
        [1672, 3141]
    );
    for size in [0, 100, natural[0] - 1, natural[0] + 1, natural[0] + 8, usize::MAX] {
        let sizes = Sizes {
            account: Some(size),
            key: None,
        };
        assert_eq!(
            trust::export(&app, &local, sizes).await.unwrap_err().code,
            "invalid-size",
            "{size}"
        );
    }
    assert_eq!(
        bytes(&stored),
        bytes(&instance::trusted(&app).await.unwrap()),
        "padded copies are not stored"
    );
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong_with_a_new_instance_and_names_what_is_tampered_with() {
    let (app, _) = instance().await;
    let signed = sign(&app, &brand_key(&app, "model").await, model_statement("gate"))
        .await
        .unwrap();
    let put = |stored| Commit {
        assertions: vec![(stored, PutRule::Newer)],
        ..Commit::default()
    };
    app.storage
        .commit(put(hallmark::app::sign::stored(&signed)))
        .await
        .unwrap();
    let findings = doctor::examine(&app).await.unwrap();
    assert_eq!((findings.problems.as_slice(), findings.keys), ([].as_slice(), 4));
    assert_eq!(findings.assertions, 2 + 1 + 3 + 1);

    let text = String::from_utf8(signed.encoded().to_vec()).unwrap();
    let forged = text
        .replace("base: core22", "base: core20")
        .replace("model: gate", "model: fake");
    let forged = decode(forged.as_bytes()).unwrap();
    app.storage
        .commit(put(hallmark::app::sign::stored(&forged)))
        .await
        .unwrap();
    let mut key = app
        .storage
        .find::<SigningKey>(["acme", "serial"])
        .await
        .unwrap()
        .unwrap();
    key.record.sealed = brand_key(&app, "model").await.sealed;
    let change = Commit {
        records: vec![Change::replace(&key.record, key.version)],
        ..Commit::default()
    };
    app.storage.commit(change).await.unwrap();
    let problems = doctor::examine(&app).await.unwrap().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with("assertion model (16/acme/fake) is not signed well"),
        "{problems:?}"
    );
    assert!(
        problems[1].starts_with("key serial of acme: its private half does not open"),
        "{problems:?}"
    );
}

#[tokio::test]
async fn the_key_manager_signs_with_opened_keys_only_and_logs_it_first() {
    let (app, _) = instance().await;
    let (ctx, name) = (acme_ctx(), "model".parse().unwrap());
    assert!(key_manager::names(&app, None).await.unwrap().is_empty());
    assert_eq!(
        key_manager::public_der(&app, None, "model")
            .await
            .unwrap_err()
            .reason,
        Reason::NotFound
    );
    keys::set_external(&app, &ctx, &name, true).await.unwrap();
    assert_eq!(key_manager::names(&app, None).await.unwrap(), ["model"]);
    let der = key_manager::public_der(&app, None, "acme/model").await.unwrap();
    let public = PublicKey::from_spki_der(&der).unwrap();

    let mut info = hex("3051300d060960864801650304020305000440");
    info.extend([7; 64]);
    let raw = key_manager::sign_digest(&app, None, "model", &info)
        .await
        .unwrap();
    assert_eq!(raw.len(), 512);
    for wrong in [&info[..82], &info[1..], &[info.as_slice(), b"x"].concat(), b""] {
        assert_eq!(
            key_manager::sign_digest(&app, None, "model", wrong)
                .await
                .unwrap_err()
                .code,
            "invalid-digest"
        );
    }

    let content = model_statement("gate").draft(&public).unwrap().content().to_vec();
    let packet = key_manager::sign_content(&app, None, "model", &content)
        .await
        .unwrap();
    let block = [&[1], packet.as_slice()].concat();
    let block = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, block);
    public.verify(&content, block.as_bytes()).unwrap();
    let foreign = String::from_utf8(content.clone())
        .unwrap()
        .replace("authority-id: acme", "authority-id: other")
        .replace("brand-id: acme", "brand-id: other");
    assert_eq!(
        key_manager::sign_content(&app, None, "model", foreign.as_bytes())
            .await
            .unwrap_err()
            .code,
        "key-authority"
    );
    let serial = brand_key(&app, "serial").await;
    let other = model_statement("gate")
        .draft(&PublicKey::decode(&serial.public_key).unwrap())
        .unwrap();
    assert!(
        key_manager::sign_content(&app, None, "model", other.content())
            .await
            .is_err()
    );
    assert!(
        key_manager::sign_content(&app, None, "model", b"not an assertion")
            .await
            .is_err()
    );

    let log = actions(&app).await;
    assert_eq!(
        log.iter()
            .filter(|line| *line == "key.sign-digest acme/model")
            .count(),
        1
    );
    assert_eq!(
        log.iter()
            .filter(|line| *line == "model.sign 16/acme/gate")
            .count(),
        1
    );

    let other: NewBrand = NewBrand {
        id: "other".parse().unwrap(),
        name: None,
        delegated: false,
        admin: None,
        factory: None,
    };
    let other = instance::create_brand(&app, &InstanceCtx::local(), other)
        .await
        .unwrap();
    let theirs = hallmark::app::BrandCtx::local(other.id.clone());
    keys::set_external(&app, &theirs, &name, true).await.unwrap();
    assert_eq!(
        key_manager::names(&app, None).await.unwrap(),
        ["acme/model", "other/model"]
    );
    assert_eq!(
        key_manager::names(&app, Some(&other.id)).await.unwrap(),
        ["model"]
    );
    assert_eq!(
        key_manager::public_der(&app, None, "model")
            .await
            .unwrap_err()
            .code,
        "ambiguous-key"
    );
    assert_eq!(
        key_manager::public_der(&app, Some(ctx.brand()), "model")
            .await
            .unwrap(),
        der
    );
    keys::disable(&app, &ctx, &name).await.unwrap();
    assert_eq!(key_manager::names(&app, None).await.unwrap(), ["model"]);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_being_disabled_never_comes_into_use() {
    let (app, _) = instance().await;
    let (ctx, serial) = (acme_ctx(), "serial".parse().unwrap());
    for round in 0..40 {
        let model = NewModel {
            name: format!("gate-{round}").parse().unwrap(),
            key: None,
            api_key: None,
            settings: ModelSettings::default(),
        };
        let (one, two, three) = (app.clone(), ctx.clone(), app.clone());
        let make = tokio::spawn(async move { models::create(&one, &two, model).await });
        let (two, name) = (ctx.clone(), KeyName::clone(&serial));
        let switch_off = tokio::spawn(async move { keys::disable(&three, &two, &name).await });
        let (_either, _or) = (make.await.unwrap(), switch_off.await.unwrap());
        let disabled = brand_key(&app, "serial").await.state == KeyState::Disabled;
        let used = app.storage.all::<ModelRecord>(["acme"]).await.unwrap();
        assert!(
            !disabled || used.iter().all(|found| found.record.disabled),
            "round {round}"
        );
        keys::enable(&app, &ctx, &serial).await.unwrap();
        for found in used.iter().filter(|found| !found.record.disabled) {
            let off = ModelSettings {
                disabled: Some(true),
                ..ModelSettings::default()
            };
            models::configure(&app, &ctx, &found.record.name, off)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_key_made_by_another_process_is_loaded_when_it_is_first_needed() {
    let (app, _) = instance().await;
    let key = brand_key(&app, "model").await;
    app.signer.unload(&key.key_id).await;
    sign(&app, &key, model_statement("gate")).await.unwrap();
    keys::disable(&app, &acme_ctx(), &key.name).await.unwrap();
    let stale = sign(&app, &key, model_statement("gate")).await.unwrap_err();
    assert_eq!(
        stale.code, "key-disabled",
        "the record at hand is old, the one in the database decides"
    );
}

#[tokio::test]
async fn every_private_key_in_the_repository_is_known_to_be_published() {
    let (kdf, clock) = (quick_kdf(), TestClock::new());
    let signer = parts(Arc::new(Memory::new()), "p", &kdf, &clock, true).signer;
    let mut found = 0;
    let mut missing: Vec<String> = Vec::new();
    let mut folders: Vec<std::path::PathBuf> = ["assertions", "examples", "keys", "src", "tests"]
        .iter()
        .map(|folder| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            if !text.starts_with("-----BEGIN ") {
                continue;
            }
            let material = KeyMaterial::from_text(text.into(), Some("throw away".to_owned().into()));
            // What cannot be imported at all needs no refusal.
            if let Ok(key) = signer.import(&"acme".parse().unwrap(), material, 0).await {
                if !is_throwaway(&key.id) {
                    missing.push(format!("{} // {}", key.id, path.display()));
                }
                found += 1;
            }
        }
    }
    assert_eq!(missing, [""; 0], "add them to domain/vault/throwaway.rs");
    assert!(found >= 12, "{found} keys");
}
