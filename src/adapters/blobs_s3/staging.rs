//! Incoming files: staged on this machine, uploaded when they are kept.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::Inner;
use crate::domain::blob::{BlobDigest, BlobId};
use crate::ports::{Blob, BlobError, Staged, Staging};

/// A file under construction.
#[derive(Debug)]
pub(super) struct Incoming {
    store: Arc<Inner>,
    local: Box<dyn Staging>,
}

impl Incoming {
    pub(super) fn new(store: Arc<Inner>, local: Box<dyn Staging>) -> Self {
        Self { store, local }
    }
}

#[async_trait]
impl Staging for Incoming {
    async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        self.local.write(piece).await
    }

    async fn finish(self: Box<Self>) -> Result<Box<dyn Staged>, BlobError> {
        Ok(Box::new(Complete {
            local: self.local.finish().await?,
            store: self.store,
            fetched: false,
        }))
    }
}

/// A file that is complete on this machine.
#[derive(Debug)]
struct Complete {
    store: Arc<Inner>,
    local: Box<dyn Staged>,
    /// It comes from the bucket, and is what its name says.
    fetched: bool,
}

/// A copy of a blob on this machine. Its contents are looked at on the way.
pub(super) async fn fetched(
    store: &Arc<Inner>,
    blob: &dyn Blob,
    digest: &BlobDigest,
) -> Result<Box<dyn Staged>, BlobError> {
    let mut local = store.local.stage().await?;
    let mut pieces = blob.stream(0, blob.size());
    while let Some(piece) = pieces.try_next().await? {
        local.write(piece).await?;
    }
    let local = local.finish().await?;
    if local.digest() != *digest {
        return Err(BlobError::Damaged {
            id: digest.id,
            why: "it has other contents than its name says",
        });
    }
    Ok(Box::new(Complete {
        store: Arc::clone(store),
        local,
        fetched: true,
    }))
}

#[async_trait]
impl Staged for Complete {
    fn digest(&self) -> BlobDigest {
        self.local.digest()
    }

    fn path(&self) -> &Path {
        self.local.path()
    }

    async fn keep(self: Box<Self>) -> Result<BlobId, BlobError> {
        let digest = self.local.digest();
        self.store.keep(&digest, self.local.path(), self.fetched).await?;
        Ok(digest.id)
    }
}
