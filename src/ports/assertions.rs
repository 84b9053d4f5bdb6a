//! Stored assertions (assertions.md 4.1). Serials are kept by the serial ledger, everything else here.

use async_trait::async_trait;
use bytes::Bytes;

use super::StoreError;
use crate::domain::assertion::{AssertionType, PrimaryKey, Ref};

/// An assertion as stored: what lookups need, and the received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAssertion {
    /// Type and primary key (optional values filled in).
    pub reference: Ref,
    /// Its format iteration.
    pub format: u32,
    /// Its revision.
    pub revision: u64,
    /// The assertion, verbatim, ending with one line feed.
    pub encoded: Bytes,
}

/// When an assertion may be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutRule {
    /// Only if its revision is higher than that of every stored one of the same reference (any format).
    Newer,
    /// Like `Newer`, but an equal or older one is silently left out (idempotent import).
    SkipOld,
}

/// Which assertions a search wants.
#[derive(Clone, Debug)]
pub struct AssertionFilter {
    /// The type.
    pub kind: AssertionType,
    /// The first parts of the primary key; empty = all.
    pub key_prefix: Vec<String>,
    /// Highest format wanted.
    pub max_format: u32,
}

/// Looking assertions up. Writes go through [`super::Storage::commit`].
#[async_trait]
pub trait AssertionStore: Send + Sync {
    /// The highest revision with format at most `max_format`.
    async fn assertion(
        &self,
        reference: &Ref,
        max_format: u32,
    ) -> Result<Option<StoredAssertion>, StoreError>;

    /// Like [`Self::assertion`] for every reference of a search, ordered by primary key (byte order).
    async fn assertions(&self, filter: &AssertionFilter) -> Result<Vec<StoredAssertion>, StoreError>;

    /// The member of a sequence with the smallest number above `after` (none: the largest number), compared as
    /// numbers. `sequence_key` is the primary key without its last part.
    async fn sequence_member(
        &self,
        kind: AssertionType,
        sequence_key: &PrimaryKey,
        after: Option<u64>,
        max_format: u32,
    ) -> Result<Option<StoredAssertion>, StoreError>;
}
