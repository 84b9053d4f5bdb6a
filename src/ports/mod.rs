//! What the use cases need from the world, as traits. Adapters implement them; nothing here knows an engine.
//!
//! Writes: [`Storage::commit`] applies one [`Commit`] atomically and durably; the serial ledger has its own
//! claim/issue pair. Reads are plain methods of the aggregate's trait.

mod assertions;
mod audit;
mod blobs;
mod changes;
mod courier;
mod deltas;
mod identity;
mod mail;
mod registry;
mod seal;
mod serials;
mod signer;
mod snap_files;
mod transfer;
mod world;

pub use assertions::{AssertionFilter, AssertionStore, PutRule, StoredAssertion};
pub use audit::{AuditFilter, AuditLog};
pub use blobs::{Blob, BlobEntry, BlobError, BlobStream, Blobs, Staged, Staging};
pub use changes::{ChangeLog, Changes, FOLLOWED, Mark};
pub use courier::Courier;
pub use deltas::Deltas;
pub use identity::{Claimed, Errand, IdentityError, IdentityProvider};
pub use mail::{MailError, Mailer};
pub use registry::{Change, Expect, Key, Kind, Record, Registry, StoredRecord, Versioned};
pub use seal::{Seal, SealError, SealLabel};
pub use serials::{ApprovalRow, IssuedSerial, LedgerStats, SerialFilter, SerialLedger, StandingRow};
pub use signer::{KeyMaterial, NewKey, SignError, Signer, TokenState};
pub use snap_files::{Description, Icon, IconKind, SnapContents, SnapFileError, SnapFiles};
pub use transfer::{AskedRow, AuditRow, RecordRow, Row, Rows, SpentRow, Transfer, kinds_but_instance};
pub use world::{Clock, Entropy};

use crate::domain::audit::{AuditEvent, Checkpoint};
use crate::domain::vault::SerialRow;

/// Why storage did not do what it was asked. Every case is temporary from a client's view (503 on device paths).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine refused or is out of reach: disk full, connection lost, read-only directory.
    #[error("cannot reach the database: {0}")]
    Unavailable(String),
    /// What was read cannot be right. Run `hallmark doctor`.
    #[error("cannot read the database: {0}")]
    Corrupt(String),
    /// Too many requests are waiting for it.
    #[error("cannot queue the write: too many are waiting")]
    Saturated,
    /// The write contradicts what is stored, and nothing changed: the reservation is not open (any more), or a
    /// loaded row is there already.
    #[error("cannot record it: {0}")]
    Refused(String),
}

/// Everything one use case changes, applied atomically and durably.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Records to create, replace or delete.
    pub records: Vec<Change>,
    /// Assertions to add.
    pub assertions: Vec<(StoredAssertion, PutRule)>,
    /// Finished rows to add to the serial ledger, as by [`SerialLedger::load`]; what that refuses refuses the commit.
    pub serials: Vec<SerialRow>,
    /// What to write into the audit log.
    pub audit: Vec<AuditEvent>,
}

/// The answer to a [`Commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// All of it is durable.
    Done,
    /// A record was not as expected (changed or made meanwhile, or already there). Nothing was written.
    Conflict {
        /// The kind of record.
        kind: Kind,
        /// Its key.
        key: Key,
    },
    /// A unique value belongs to another record. Nothing was written.
    Taken {
        /// The kind of record.
        kind: Kind,
        /// Which unique value, e.g. `email`.
        field: &'static str,
    },
    /// An assertion of equal or higher revision is there. Nothing was written.
    OldRevision {
        /// The revision that is stored.
        stored: u64,
    },
}

/// A storage engine: everything hallmark keeps.
#[async_trait::async_trait]
pub trait Storage:
    AssertionStore + Registry + SerialLedger + AuditLog + Transfer + ChangeLog + std::fmt::Debug + Send + Sync
{
    /// Applies `commit` as one atomic step; `Done` only after it is on disk.
    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError>;

    /// Remembers `nonce` until `expires` (for log-in challenges and session nonces); false if it was known.
    /// Durable before it answers; forgotten some time after `expires`.
    async fn spend(
        &self,
        nonce: [u8; 16],
        expires: crate::domain::time::Timestamp,
    ) -> Result<bool, StoreError>;

    /// Stores a signed audit checkpoint; its number must be one above the last, else `Ok(false)` and nothing changes.
    async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<bool, StoreError>;

    /// Grows with every [`Self::commit`] this process has applied, after it is visible to readers; lets caches in front
    /// of the registry notice local changes at once. None: this storage does not count, so nothing may be cached.
    fn generation(&self) -> Option<u64> {
        None
    }

    /// Quick check that reads and writes work, for `/readyz` and `/v1/health`.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Flushes what is pending and closes; later calls fail with `Unavailable`.
    async fn close(&self) -> Result<(), StoreError>;

    /// Deep check for `hallmark doctor`: one line per thing that is wrong.
    async fn check(&self) -> Result<Vec<String>, StoreError>;
}
