//! The instance: opening it, its root of trust and its record.

mod create;
mod rotate;

pub use create::{NewBrand, NewInstance, create, create_brand};
pub use rotate::rotate;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use zeroize::Zeroizing;

use super::fleet::Hook;
use super::mail::Post;
use super::provider::Provider;
use super::sign::public_key;
use super::{App, AppState, Guard, Reason, Refusal, Secrets, Settings};
use crate::domain::assertion::{Assertion, AssertionType, Headers, Ref, Statement, decode};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{AccountId, KeyId};
use crate::domain::vault::{Instance, KeyState, SigningKey, is_throwaway};
use crate::ports::{
    Blobs, Clock, Deltas, Entropy, Key, Seal, SealLabel, Signer, SnapFiles, Storage, Versioned,
};

/// Keys that are unsealed at the same time while opening.
const LOAD_AT_ONCE: usize = 4;
/// What an instance is made or opened with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// All that is kept.
    pub storage: Arc<dyn Storage>,
    /// All that signs; seals with `seal`.
    pub signer: Arc<dyn Signer>,
    /// Seals the instance's secrets.
    pub seal: Arc<dyn Seal>,
    /// All files.
    pub blobs: Arc<dyn Blobs>,
    /// Looks into snap files.
    pub snap_files: Arc<dyn SnapFiles>,
    /// Makes and applies deltas.
    pub deltas: Arc<dyn Deltas>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Who people may sign in with besides their password.
    pub provider: Option<Provider>,
    /// Who takes letters to people; none = nothing is mailed.
    pub post: Option<Post>,
    /// Who is told what happens to waves; none = nobody.
    pub hook: Option<Hook>,
    /// Settings.
    pub settings: Arc<Settings>,
}

impl Parts {
    fn app(self, secrets: Secrets, revision_floor: u64) -> App {
        App::from(AppState {
            storage: self.storage,
            signer: self.signer,
            seal: self.seal,
            blobs: self.blobs,
            snap_files: self.snap_files,
            deltas: self.deltas,
            clock: self.clock,
            entropy: self.entropy,
            secrets: Arc::new(secrets),
            revision_floor,
            provider: self.provider,
            post: self.post,
            hook: self.hook,
            settings: self.settings,
            guard: Arc::new(Guard::default()),
            catalog: Arc::default(),
            reports: Arc::default(),
            numbers: Arc::default(),
            fleet: Arc::default(),
            gauges: Arc::default(),
            models: Arc::default(),
        })
    }
}

/// The record of the instance.
pub async fn instance(storage: &Arc<dyn Storage>) -> Result<Option<Versioned<Instance>>, Refusal> {
    let Some(found) = storage.find::<Instance>(Instance::record_key()).await? else {
        return Ok(None);
    };
    if found.record.format != Instance::FORMAT {
        return Err(Refusal::conflict(
            "instance-format",
            format!(
                "cannot use this data: it has format {}, this program reads format {}",
                found.record.format,
                Instance::FORMAT
            ),
        ));
    }
    Ok(Some(found))
}

pub(super) fn uninitialised() -> Refusal {
    Refusal::not_found("cannot open the instance: nothing is initialised here; run `hallmark init` first")
}

/// Opens an instance: its secrets and all active keys are unsealed and loaded.
pub async fn open(parts: Parts) -> Result<App, Refusal> {
    let record = instance(&parts.storage).await?.ok_or_else(uninitialised)?.record;
    let secrets = parts
        .seal
        .open(&SealLabel::secrets(&record.id), &record.secrets)
        .map_err(|_| {
            Refusal::invalid(
                "wrong-passphrase",
                "cannot open the instance: the passphrase is not the one its secrets were sealed with \
             (see HALLMARK_KEY_PASSPHRASE_FILE)",
            )
        })?;
    let secrets = secrets_from(&secrets).ok_or_else(|| {
        Refusal::new(
            Reason::Internal,
            "instance-damaged",
            "cannot open the instance: its sealed secrets are damaged",
        )
    })?;
    let app = parts.app(secrets, record.revision_floor);
    let keys = app.storage.all::<SigningKey>(Key(Vec::new())).await?;
    let active = keys
        .into_iter()
        .map(|key| key.record)
        .filter(|key| key.state == KeyState::Active);
    stream::iter(active)
        .for_each_concurrent(LOAD_AT_ONCE, |key| {
            let signer = Arc::clone(&app.signer);
            async move {
                // One damaged key must not keep the others from working; `hallmark doctor` lists it.
                if let Err(error) = signer.load(&key.account_id, &key.key_id, &key.sealed).await {
                    tracing::error!(%error, account = %key.account_id, key = %key.name, "cannot load a signing key");
                }
            }
        })
        .await;
    Ok(app)
}

/// The root key, as its record.
pub async fn root(app: &App) -> Result<SigningKey, Refusal> {
    let record = instance(&app.storage).await?.ok_or_else(uninitialised)?.record;
    let found = app
        .storage
        .find_unique::<SigningKey>("key-id", record.root_key.as_str())
        .await?;
    found.map(|found| found.record).ok_or_else(|| {
        Refusal::new(
            Reason::Internal,
            "root-missing",
            "cannot find the root key: run hallmark doctor",
        )
    })
}

/// The trusted set: account and account-key of our root, then those of the imported roots.
pub async fn trusted(app: &App) -> Result<Vec<Assertion>, Refusal> {
    let record = instance(&app.storage).await?.ok_or_else(uninitialised)?.record;
    let mut set = Vec::new();
    for key in std::iter::once(&record.root_key).chain(&record.extra_roots) {
        let account_key = required(app, &Ref::new(AssertionType::AccountKey, [key.as_str()])).await?;
        let owner = account_key.text("account-id").unwrap_or_default().to_owned();
        set.push(required(app, &Ref::new(AssertionType::Account, [&owner])).await?);
        set.push(account_key);
    }
    Ok(set)
}

async fn required(app: &App, reference: &Ref) -> Result<Assertion, Refusal> {
    assertion(app, reference).await?.ok_or_else(|| {
        Refusal::new(
            Reason::Internal,
            "assertion-missing",
            format!("cannot find {reference}: run hallmark doctor"),
        )
    })
}

/// The newest stored assertion of this reference.
pub(super) async fn assertion(app: &App, reference: &Ref) -> Result<Option<Assertion>, Refusal> {
    let found = app
        .storage
        .assertion(reference, reference.kind.info().max_format)
        .await?;
    found
        .map(|found| {
            decode(&found.encoded).map_err(|error| {
                tracing::error!(%error, %reference, "stored assertion is damaged");
                Refusal::new(
                    Reason::Internal,
                    "assertion-damaged",
                    format!("cannot read {reference}: run hallmark doctor"),
                )
            })
        })
        .transpose()
}

/// Refuses keys whose private half is published with this project, unless this is a development instance.
pub(super) fn refuse_throwaway(app: &App, key: &KeyId) -> Result<(), Refusal> {
    if is_throwaway(key) && !app.settings.dev {
        return Err(Refusal::invalid(
            "published-key",
            format!("cannot use key {key}: its private half is published with hallmark's tests (see --dev)"),
        ));
    }
    Ok(())
}

/// The account-key statement for `key`, to be signed by the root.
pub(super) fn account_key_statement(
    root: &AccountId,
    key: &SigningKey,
    revision: u64,
) -> Result<Statement, Refusal> {
    let mut headers = Headers::default();
    headers.set("authority-id", root.as_str());
    headers.set("public-key-sha3-384", key.key_id.as_str());
    headers.set("account-id", key.account_id.as_str());
    headers.set("name", key.name.as_str());
    headers.set("since", key.since.to_string());
    if let Some(until) = key.until {
        headers.set("until", until.to_string());
    }
    if revision > 0 {
        headers.set("revision", revision.to_string());
    }
    if key.constrained {
        headers.set("format", "1");
        headers.set("constraints", key.constraints());
    }
    let body = public_key(key)?.encoded().as_bytes().to_vec();
    Ok(Statement::new(AssertionType::AccountKey, headers, body))
}

/// Fills in what events about a key say.
pub(super) fn key_event(mut event: AuditEvent, key: &SigningKey) -> AuditEvent {
    event.subject = format!("{}/{}", key.account_id, key.name);
    event
        .detail
        .insert("public-key-sha3-384".to_owned(), key.key_id.as_str().into());
    let purposes = key.purposes.iter().map(|purpose| purpose.name().into()).collect();
    event
        .detail
        .insert("purposes".to_owned(), serde_json::Value::Array(purposes));
    event
}

fn secrets_bytes(secrets: &Secrets) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([secrets.nonce_key, secrets.session_key, secrets.audit_seed].concat())
}

fn secrets_from(bytes: &[u8]) -> Option<Secrets> {
    let (nonce_key, rest) = bytes.split_first_chunk()?;
    let (session_key, rest) = rest.split_first_chunk()?;
    let audit_seed = rest.try_into().ok()?;
    Some(Secrets {
        nonce_key: *nonce_key,
        session_key: *session_key,
        audit_seed,
    })
}
