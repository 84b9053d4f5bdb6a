//! Use cases: one file per thing a client or operator can ask for. They know the domain and the ports, nothing else.

pub mod account_keys;
pub mod accounts;
pub mod actors;
pub mod api_keys;
pub mod assertions;
pub mod audit;
mod authorize;
mod brand_key;
pub mod brands;
pub mod bundles;
pub mod catalog;
pub mod credentials;
pub mod devices;
pub mod doctor;
pub mod factory;
pub mod fleet;
mod form_mark;
pub mod gauges;
pub mod instance;
pub mod invites;
mod issue_error;
pub mod issue_serial;
pub mod key_manager;
pub mod key_roll;
pub mod keys;
pub mod lockout;
pub mod login;
pub mod mail;
pub mod members;
pub mod model_service;
pub mod models;
pub mod numbers;
mod once;
pub mod own_keys;
pub mod password_reset;
pub mod passwords;
pub mod provider;
mod refusal;
mod remodel;
pub mod remodel_rules;
pub mod request_id;
pub mod second_factor;
mod serial_call;
mod serial_job;
pub mod serials;
pub mod sessions;
pub mod sign;
pub mod sign_model;
pub mod store;
pub mod system_user;
pub mod terminal;
pub mod tokens;
pub mod transfer;
pub mod trust;
mod upkeep;
mod vault_cache;
mod vault_events;
pub mod verify;

use authorize::may_still;
pub use authorize::{
    Authorized, BrandCtx, Caller, InstanceCtx, Leave, NamedBy, OwnCtx, Place, SnapCtx, StoreCtx, StoresCtx,
    UnplacedCtx, authorize,
};
pub use form_mark::FormMark;
pub use issue_error::IssueError;
pub use lockout::Lockout;
pub use passwords::{Password, Passwords};
pub use refusal::{Reason, Refusal, TokenLimit};
pub use upkeep::upkeep;
use vault_events::vault_event;

use std::sync::Arc;

use zeroize::Zeroize;

use crate::domain::assertion::Limits;
use crate::ports::{Blobs, Clock, Commit, CommitOutcome, Deltas, Entropy, Seal, Signer, SnapFiles, Storage};

/// The instance's own secrets; sealed at rest like keys.
#[derive(Zeroize)]
#[zeroize(drop)]
pub struct Secrets {
    /// MACs request-ids and session nonces.
    pub nonce_key: [u8; 32],
    /// Root key of device session macaroons.
    pub session_key: [u8; 32],
    /// Seed of the ed25519 key that signs audit checkpoints.
    pub audit_seed: [u8; 32],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// Settings the use cases depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients reach us, without a trailing slash (decisions.md 7).
    pub public_url: String,
    /// Life of a request-id, in seconds; 600 by default.
    pub request_id_life: i64,
    /// How much is read at most.
    pub limits: ReadLimits,
    /// Operator, brand and system-user acts are for accounts with a second factor only.
    pub require_second_factor: bool,
    /// Accept the throw-away keys that ship with the project (decisions.md 19).
    pub dev: bool,
}

/// How much of what clients send is read at most, in bytes (contract.md 6).
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// The parts of one assertion.
    pub assertion: Limits,
    /// A JSON body.
    pub json: usize,
    /// The JSON body of a device's session request, which carries three assertions.
    pub session: usize,
    /// The JSON body of a refresh, which may list thousands of snaps.
    pub refresh: usize,
    /// The file of a snap or component.
    pub snap: u64,
    /// A file that is held in memory as a whole, to make or apply a delta.
    pub delta: u64,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            assertion: Limits::default(),
            json: 1024 * 1024,
            session: 8 * 1024 * 1024,
            refresh: 4 * 1024 * 1024,
            snap: 10 * 1024 * 1024 * 1024,
            delta: 64 * 1024 * 1024,
        }
    }
}

/// What protects against guessing and flooding. In memory, one per process.
#[derive(Debug, Default)]
pub struct Guard {
    /// Failed log-ins, by e-mail address and peer.
    pub logins: Lockout,
    /// Wrong API keys, by presented key and peer.
    pub api_keys: Lockout,
    /// Links for new passwords that were asked for, by network.
    pub resets: Lockout,
    /// Hashing, a few at a time.
    pub passwords: Passwords,
    /// Files that come in from anybody.
    pub uploads: catalog::uploads::Coming,
    /// Uploads that are worked on, a few at a time.
    pub desk: catalog::push::Desk,
    /// Uploads of one snap, one after the other.
    pub turns: catalog::ingest::Turns,
    /// Names that were registered.
    pub names: catalog::names::Lately<{ catalog::names::MOST_NAMES }>,
    /// Names that were disputed.
    pub disputes: catalog::names::Lately<{ catalog::names::MOST_DISPUTES }>,
}

/// Everything a use case works with. Cheap to clone: one counter, which all workers share, for all of it.
#[derive(Clone, Debug)]
pub struct App(Arc<AppState>);

impl From<AppState> for App {
    fn from(state: AppState) -> Self {
        Self(Arc::new(state))
    }
}

impl std::ops::Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

/// What an [`App`] is made of.
#[derive(Clone, Debug)]
pub struct AppState {
    /// All that is kept.
    pub storage: Arc<dyn Storage>,
    /// All that signs.
    pub signer: Arc<dyn Signer>,
    /// Seals secrets of accounts.
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
    /// The instance's own secrets.
    pub secrets: Arc<Secrets>,
    /// Every serial gets a revision above this; 0 unless the instance was restored from a backup.
    pub revision_floor: u64,
    /// Who people may sign in with besides their password.
    pub provider: Option<provider::Provider>,
    /// Who takes letters to people; none = nothing is mailed.
    pub post: Option<mail::Post>,
    /// Who is told what happens to waves; none = nobody.
    pub hook: Option<fleet::Hook>,
    /// Settings.
    pub settings: Arc<Settings>,
    /// Guards against guessing; `Arc::default()`.
    pub guard: Arc<Guard>,
    /// The catalogue in memory; `Arc::default()`.
    pub catalog: Arc<store::Catalog>,
    /// What devices reported and was not written yet; `Arc::default()`.
    pub reports: Arc<store::Reports>,
    /// How many devices have which snap, as far as this process counts; `Arc::default()`.
    pub numbers: Arc<numbers::Numbers>,
    /// The fleet in memory; `Arc::default()`.
    pub fleet: Arc<fleet::Fleet>,
    /// What was measured last; `Arc::default()`.
    pub gauges: Arc<gauges::Gauges>,
    /// Which models are disabled; `Arc::default()`.
    pub models: Arc<sessions::Models>,
}

impl App {
    /// Applies `commit`; anything but success is a refusal.
    pub(crate) async fn commit(&self, commit: Commit) -> Result<(), Refusal> {
        Self::settle(&self.storage.commit(commit).await?)
    }

    /// What the outcome of a commit means to who asked for it.
    pub(crate) fn settle(outcome: &CommitOutcome) -> Result<(), Refusal> {
        match outcome {
            CommitOutcome::Done => Ok(()),
            CommitOutcome::Conflict { .. } => Err(Self::changed_meanwhile()),
            CommitOutcome::Taken { field: "email", .. } => Err(Refusal::conflict(
                "email-taken",
                "cannot save this: another account has the e-mail address",
            )),
            CommitOutcome::Taken {
                field: "username", ..
            } => Err(Refusal::conflict(
                "username-taken",
                "cannot save this: another account has the username",
            )),
            CommitOutcome::Taken { kind, field } => Err(Refusal::conflict(
                "value-taken",
                format!("cannot save this: another {} has the same {field}", kind.name()),
            )),
            CommitOutcome::OldRevision { stored } => Err(Refusal::conflict(
                "old-revision",
                format!("cannot save this: revision {stored} is stored already"),
            )),
        }
    }

    /// Somebody else was faster.
    pub(crate) fn changed_meanwhile() -> Refusal {
        Refusal::conflict(
            "changed-meanwhile",
            "cannot save this: it was changed meanwhile; look again and retry",
        )
    }
}
