//! Making an instance (`hallmark init`) and giving it further brands.

use futures_util::future::{try_join, try_join_all};

use super::{
    Parts, account_key_statement, instance, key_event, refuse_throwaway, root, secrets_bytes, uninitialised,
};
use crate::app::accounts::{made_up_username, proven, random_id};
use crate::app::sign::{record, sign, stored};
use crate::app::{App, InstanceCtx, Password, Reason, Refusal, Secrets, catalog};
use crate::domain::access::secret::random_letters;
use crate::domain::access::{Account, Authorship, Brand, Membership, Role, StoreRecord};
use crate::domain::assertion::{AssertionType, Headers, Statement};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::catalog::Changed;
use crate::domain::ident::{AccountId, BrandId, Email, KeyName, StoreId};
use crate::domain::time::Timestamp;
use crate::domain::vault::{
    FactoryBox, Instance, Kdf, KeyPurpose, KeyState, SigningKey, SiteName, is_reserved,
};
use crate::ports::{Change, Commit, CommitOutcome, Entropy, KeyMaterial, NewKey, PutRule, SealLabel};

/// The smallest root key that is taken in, in bits (decisions.md 19).
const MIN_ROOT_BITS: usize = 2048;
/// The keys every brand begins with; each is named after its purpose.
const BRAND_KEYS: [KeyPurpose; 3] = [KeyPurpose::Model, KeyPurpose::Serial, KeyPurpose::SystemUser];
/// Name of the authority's own key.
const ROOT: &str = "root";

/// What a new instance shall be.
#[derive(Debug)]
pub struct NewInstance {
    /// The root account; none = `hallmark-` and 8 random letters.
    pub authority: Option<AccountId>,
    /// The root key, where it is not to be made here.
    pub root: Option<KeyMaterial>,
    /// The first brand.
    pub brand: NewBrand,
    /// What the first administrator logs in with.
    pub admin_email: Email,
    /// Their password.
    pub admin_password: Password,
    /// The parameters the seal in [`Parts`] was derived with.
    pub kdf: Kdf,
}

/// What a new brand shall be.
#[derive(Clone, Debug)]
pub struct NewBrand {
    /// Its account id.
    pub id: BrandId,
    /// For people; none = the id.
    pub name: Option<String>,
    /// Another root signs its account and keys.
    pub delegated: bool,
    /// Who becomes its first administrator; none = who makes it. Unused by `init`, which makes one.
    pub admin: Option<Email>,
    /// The site whose factory box this is: it gets one key, for serials. Such a brand is delegated.
    pub factory: Option<SiteName>,
}

/// Makes an instance: trust root, first brand with its keys, base store and administrator, in one commit.
/// `progress` hears of every key that is ready.
pub async fn create(
    parts: Parts,
    new: NewInstance,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<App, Refusal> {
    if instance(&parts.storage).await?.is_some() {
        return Err(initialised());
    }
    let now = parts.clock.now();
    let secrets = new_secrets(parts.entropy.as_ref());
    let id = uuid(parts.entropy.as_ref());
    let sealed = parts
        .seal
        .seal(&SealLabel::secrets(&id), &secrets_bytes(&secrets))
        .map_err(|error| {
            Refusal::new(
                Reason::Internal,
                "seal-failed",
                format!("cannot make the instance: {error}"),
            )
        })?;
    let authority = match new.authority {
        Some(authority) => authority,
        None => random_authority(parts.entropy.as_ref())?,
    };
    check_brand(&new.brand.id, &authority)?;
    let app = parts.app(secrets, 0);

    let (root, brand_keys) = try_join(
        root_key(&app, &authority, new.root, now, progress),
        brand_keys(&app, &new.brand, now, progress),
    )
    .await?;
    let mut commit = Commit::default();
    let by = |action: &str, subject: &str| event(now, Actor::Local, None, action, subject);
    let account = sign(
        &app,
        &root,
        account_statement(&authority, &authority, authority.as_str(), now),
    )
    .await?;
    let account_key = sign(&app, &root, account_key_statement(&authority, &root, 0)?).await?;
    let admin = administrator(&app, &new.admin_email, new.admin_password, now).await?;
    commit.records.push(Change::create(&Instance {
        format: Instance::FORMAT,
        id,
        authority_id: authority.clone(),
        root_key: root.key_id.clone(),
        extra_roots: Vec::new(),
        kdf: new.kdf,
        secrets: sealed,
        created: now,
        revision_floor: 0,
    }));
    commit.records.push(Change::create(&root));
    commit.records.push(Change::create(&admin));
    commit.audit.push(by("instance.create", authority.as_str()));
    commit.audit.push(key_event(by("key.create", ""), &root));
    commit.audit.push(by("account.create", admin.id.as_str()));
    for assertion in [account, account_key] {
        commit.audit.push(record(by("", ""), &assertion));
        commit.assertions.push((stored(&assertion), PutRule::Newer));
    }
    let brand = add_brand(
        &app,
        &root,
        &new.brand,
        &brand_keys,
        Actor::Local,
        now,
        &mut commit,
    )
    .await?;
    commit
        .records
        .push(Change::create(&first_member(&brand, admin.id.clone(), now)));
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => Ok(app),
        CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. } => {
            Err(initialised())
        }
    }
}

/// The first administrator holds keys and signs too; they may give either role to others later.
fn first_member(brand: &Brand, account_id: AccountId, now: Timestamp) -> Membership {
    Membership {
        brand_id: brand.id.clone(),
        store_id: brand.base_store.clone(),
        account_id,
        roles: vec![Role::Admin, Role::Brand],
        changed: now,
    }
}

fn initialised() -> Refusal {
    Refusal::conflict(
        "already-initialised",
        "cannot initialise: there is an instance already; use another --data directory (or database)",
    )
}

/// Makes a further brand with its keys and base store.
pub async fn create_brand(app: &App, ctx: &InstanceCtx, new: NewBrand) -> Result<Brand, Refusal> {
    let record = instance(&app.storage).await?.ok_or_else(uninitialised)?.record;
    check_brand(&new.id, &record.authority_id)?;
    let taken = || {
        Refusal::conflict(
            "brand-exists",
            format!("cannot create brand {}: the name is in use", new.id),
        )
    };
    if app.storage.find::<Brand>([new.id.as_str()]).await?.is_some() {
        return Err(taken());
    }
    let admin = match &new.admin {
        Some(email) => Some(proven(app, email).await?.record.id),
        None => ctx.account().cloned(),
    };
    let root = root(app).await?;
    let now = app.clock.now();
    let keys = brand_keys(app, &new, now, &|_| ()).await?;
    let mut commit = Commit::default();
    let brand = add_brand(app, &root, &new, &keys, ctx.actor(), now, &mut commit).await?;
    if let Some(admin) = admin {
        let event = ctx.event(now, "member.set", &format!("{}/{admin}", brand.base_store));
        commit.audit.push(AuditEvent {
            brand: Some(brand.id.clone().into()),
            ..event
        });
        commit
            .records
            .push(Change::create(&first_member(&brand, admin, now)));
    }
    match catalog::apply(app, commit, &[Changed::Store(brand.base_store.clone())]).await {
        Ok(CommitOutcome::Done) => Ok(brand),
        outcome => {
            for key in &keys {
                // What a token keeps of them would belong to nothing.
                if let Err(error) = app
                    .signer
                    .destroy(&key.account_id, &key.key_id, &key.sealed)
                    .await
                {
                    tracing::error!(%error, key = %key.name, "cannot remove a key that was not recorded");
                }
            }
            outcome.and(Err(taken()))
        }
    }
}

/// Everything of a brand but its members, added to `commit`.
async fn add_brand(
    app: &App,
    root: &SigningKey,
    new: &NewBrand,
    keys: &[SigningKey],
    actor: Actor,
    now: Timestamp,
    commit: &mut Commit,
) -> Result<Brand, Refusal> {
    let by = |action: &str, subject: &str| event(now, actor.clone(), Some(&new.id), action, subject);
    let name = new.name.clone().unwrap_or_else(|| new.id.to_string());
    check_name(&name)?;
    let base_store: StoreId =
        new.id.as_str().parse().map_err(|e| {
            Refusal::invalid("invalid-brand", format!("cannot create the brand's store: {e}"))
        })?;
    let brand = Brand {
        id: new.id.clone(),
        name,
        base_store,
        delegated: new.delegated || new.factory.is_some(),
        created: now,
        authorship: Authorship::made_by(actor.account()),
    };
    commit.records.push(Change::create(&brand));
    commit.audit.push(by("brand.create", brand.id.as_str()));
    commit.records.push(Change::create(&StoreRecord::new(
        brand.base_store.clone(),
        brand.id.clone(),
        brand.name.clone(),
        now,
    )));
    commit.audit.push(by("store.create", brand.base_store.as_str()));
    for key in keys {
        commit.records.push(Change::create(key));
        commit.audit.push(key_event(by("key.create", ""), key));
    }
    if let (Some(site), Some(key)) = (&new.factory, keys.first()) {
        commit.records.push(Change::create(&FactoryBox {
            brand_id: brand.id.clone(),
            site: site.clone(),
            key_id: key.key_id.clone(),
            grant: None,
            digest: None,
            centre: None,
            acknowledged: 0,
            position: 0,
            created: now,
        }));
    }
    if !brand.delegated {
        let account = brand.id.clone().into();
        let mut assertions = vec![
            sign(
                app,
                root,
                account_statement(&root.account_id, &account, &brand.name, now),
            )
            .await?,
        ];
        for key in keys {
            assertions.push(sign(app, root, account_key_statement(&root.account_id, key, 0)?).await?);
        }
        for assertion in assertions {
            commit.audit.push(record(by("", ""), &assertion));
            commit.assertions.push((stored(&assertion), PutRule::Newer));
        }
    }
    Ok(brand)
}

fn check_brand(brand: &BrandId, authority: &AccountId) -> Result<(), Refusal> {
    if is_reserved(brand) {
        return Err(Refusal::invalid(
            "reserved-brand",
            format!("cannot create brand {brand}: the name is reserved for a path of the server"),
        ));
    }
    if brand.as_str() == authority.as_str() {
        return Err(Refusal::invalid(
            "invalid-brand",
            format!(
                "cannot create brand {brand}: the root account has this name; choose another --authority"
            ),
        ));
    }
    Ok(())
}

/// Names for people go into one-line headers.
fn check_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty()
        || name.chars().count() > 128
        || name.trim() != name
        || name.chars().any(char::is_control)
    {
        return Err(Refusal::invalid(
            "invalid-name",
            "cannot use this brand name: it needs 1 to 128 characters on one line, without outer spaces",
        ));
    }
    Ok(())
}

async fn root_key(
    app: &App,
    authority: &AccountId,
    material: Option<KeyMaterial>,
    now: Timestamp,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<SigningKey, Refusal> {
    let made = match material {
        Some(material) => app.signer.import(authority, material, MIN_ROOT_BITS).await?,
        None => app.signer.generate(authority, ROOT, None).await?,
    };
    refuse_throwaway(app, &made.id)?;
    progress(ROOT);
    key_record(authority.clone(), ROOT, KeyPurpose::Root, made, now)
}

async fn brand_keys(
    app: &App,
    brand: &NewBrand,
    now: Timestamp,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<SigningKey>, Refusal> {
    let owner = &AccountId::from(brand.id.clone());
    if let Some(site) = &brand.factory {
        let name = site.key_name();
        let made = app.signer.generate(owner, name.as_str(), None).await?;
        progress(name.as_str());
        return Ok(vec![key_record(
            owner.clone(),
            name.as_str(),
            KeyPurpose::Serial,
            made,
            now,
        )?]);
    }
    try_join_all(BRAND_KEYS.map(|purpose| async move {
        let made = app.signer.generate(owner, purpose.name(), None).await?;
        progress(purpose.name());
        key_record(owner.clone(), purpose.name(), purpose, made, now)
    }))
    .await
}

fn key_record(
    account_id: AccountId,
    name: &str,
    purpose: KeyPurpose,
    made: NewKey,
    now: Timestamp,
) -> Result<SigningKey, Refusal> {
    let name: KeyName = name
        .parse()
        .map_err(|e| Refusal::invalid("invalid-key-name", format!("cannot name the key: {e}")))?;
    Ok(SigningKey {
        account_id,
        name,
        key_id: made.id,
        public_key: made.public_key,
        purposes: vec![purpose],
        models: Vec::new(),
        constrained: false,
        state: KeyState::Active,
        external: false,
        since: now,
        until: None,
        created: now,
        sealed: made.sealed,
        authorship: Authorship::default(),
    })
}

fn account_statement(root: &AccountId, account: &AccountId, name: &str, now: Timestamp) -> Statement {
    let mut headers = Headers::default();
    headers.set("authority-id", root.as_str());
    headers.set("account-id", account.as_str());
    headers.set("display-name", name);
    headers.set("username", account.as_str());
    headers.set("validation", "verified");
    headers.set("timestamp", now.to_string());
    Statement::new(AssertionType::Account, headers, Vec::new())
}

async fn administrator(
    app: &App,
    email: &Email,
    password: Password,
    now: Timestamp,
) -> Result<Account, Refusal> {
    let username = made_up_username(app, email, 0)?;
    Ok(Account {
        id: random_id(app)?,
        email: email.clone(),
        display_name: username.to_string(),
        username,
        password: Some(app.guard.passwords.hash(password, app.entropy.as_ref()).await?),
        unproven: false,
        operator: true,
        second_factor: None,
        provider: None,
        reset: None,
        disabled: false,
        created: now,
    })
}

fn event(now: Timestamp, actor: Actor, brand: Option<&BrandId>, action: &str, subject: &str) -> AuditEvent {
    AuditEvent {
        time: now,
        actor,
        brand: brand.cloned().map(AccountId::from),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: serde_json::Map::new(),
    }
}

fn random_authority(entropy: &dyn Entropy) -> Result<AccountId, Refusal> {
    let letters: String = random_letters(256, |buffer| entropy.fill(buffer))
        .chars()
        .filter(char::is_ascii_lowercase)
        .take(8)
        .collect();
    format!("hallmark-{letters}").parse().map_err(|_| {
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot make a root account id",
        )
    })
}

fn uuid(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn new_secrets(entropy: &dyn Entropy) -> Secrets {
    let mut secrets = Secrets {
        nonce_key: [0; 32],
        session_key: [0; 32],
        audit_seed: [0; 32],
    };
    entropy.fill(&mut secrets.nonce_key);
    entropy.fill(&mut secrets.session_key);
    entropy.fill(&mut secrets.audit_seed);
    secrets
}
