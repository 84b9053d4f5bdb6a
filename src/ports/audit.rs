//! Reading the audit log. Entries are written by the commits they belong to.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::audit::{AuditEntry, ChainHead, Checkpoint};
use crate::domain::ident::AccountId;
use crate::domain::time::Timestamp;

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only entries of this brand.
    pub brand: Option<AccountId>,
    /// Only actions that start with this text.
    pub action_prefix: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Continue after this position (as returned); oldest first.
    pub after: Option<u64>,
    /// At most this many.
    pub limit: usize,
}

/// The log.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Entries with their positions, oldest first. The position grows with time and is unique per storage.
    async fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<(u64, AuditEntry)>, StoreError>;

    /// One writer's chain from number `from` on, at most `limit` entries.
    async fn chain(&self, writer: &str, from: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError>;

    /// The end of every chain, ordered by writer.
    async fn heads(&self) -> Result<Vec<ChainHead>, StoreError>;

    /// Checkpoints with a number above `after`, in order, at most `limit`.
    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, StoreError>;

    /// The last checkpoint.
    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError>;
}
