//! Files, named by their content. Records refer to a blob by its [`BlobId`] only after [`Staged::keep`] has answered;
//! so a crash leaves at most blobs that no record names, which `hallmark doctor --repair` collects.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::time::Timestamp;

/// Why files were not stored or read. Every case is temporary or a matter for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The storage refused or is out of reach.
    #[error("cannot {doing}: {why}")]
    Unavailable {
        /// What was tried, e.g. `write a staged file`.
        doing: &'static str,
        /// What the storage said.
        why: String,
    },
    /// There is no room for the file.
    #[error("cannot store the file: the disk is full")]
    Full,
    /// A blob is not what its name says. Run `hallmark doctor`.
    #[error("cannot read the file {id}: {why}")]
    Damaged {
        /// The blob.
        id: BlobId,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Pieces of a file in order, at most some 100 KiB each. Ends after an error.
pub type BlobStream = BoxStream<'static, Result<Bytes, BlobError>>;

/// One blob of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// Its name.
    pub id: BlobId,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last kept; [`Staged::keep`] of a file that is there already counts.
    pub kept_at: Timestamp,
}

/// A store of files.
#[async_trait]
pub trait Blobs: fmt::Debug + Send + Sync {
    /// Begins an incoming file.
    async fn stage(&self) -> Result<Box<dyn Staging>, BlobError>;

    /// A blob for reading; it stays readable to its holder even if it is removed meanwhile.
    async fn open(&self, id: &BlobId) -> Result<Option<Arc<dyn Blob>>, BlobError>;

    /// A kept blob as if it had just come in: it can be read where it lies, and kept again. `digest` is taken at its
    /// word. None if it is not there.
    async fn reopen(&self, digest: &BlobDigest) -> Result<Option<Box<dyn Staged>>, BlobError>;

    /// All blobs, ordered by name. For repair and garbage collection; takes long on large stores.
    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError>;

    /// Removes a blob, unless it was kept at or after `unless_kept_since` (whoever kept it may be about to refer to
    /// it). False if nothing was removed.
    async fn remove(&self, id: &BlobId, unless_kept_since: Timestamp) -> Result<bool, BlobError>;

    /// An address where anybody who has it can `GET` the blob for a while, ranges too. None if there is no such thing, or if
    /// files shall go through this server. Whether the blob is there is not looked at.
    async fn link(&self, _id: &BlobId) -> Result<Option<String>, BlobError> {
        Ok(None)
    }

    /// Whether the store answered in the last seconds. None where that is a matter of course.
    async fn check(&self) -> Option<Result<(), BlobError>> {
        None
    }
}

/// A file under construction. Dropping it forgets the file, at the latest when the store is opened the next time.
#[async_trait]
pub trait Staging: fmt::Debug + Send {
    /// Appends a piece. Waits while earlier pieces are still being hashed and written; memory stays constant however
    /// fast pieces come. After an error the file is lost.
    async fn write(&mut self, piece: Bytes) -> Result<(), BlobError>;

    /// Ends the file.
    async fn finish(self: Box<Self>) -> Result<Box<dyn Staged>, BlobError>;
}

/// A complete file that has not been kept yet. Dropping it removes it.
#[async_trait]
pub trait Staged: fmt::Debug + Send + Sync {
    /// Digests and size, computed while the file came in.
    fn digest(&self) -> BlobDigest;

    /// Where the file can be read on this machine, as long as this value lives.
    fn path(&self) -> &Path;

    /// Makes the file durable under its name. Keeping what is there already is fine and replaces it.
    async fn keep(self: Box<Self>) -> Result<BlobId, BlobError>;
}

/// A blob that can be read, also by many at the same time.
pub trait Blob: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> u64;

    /// `len` bytes from `offset` on; what would lie beyond the end is left out. Memory is constant for each stream,
    /// and nothing is read before it is asked for.
    fn stream(&self, offset: u64, len: u64) -> BlobStream;
}
