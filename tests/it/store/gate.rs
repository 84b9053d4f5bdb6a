//! A store of files with a gate: whoever keeps a file waits behind it, so that tests do something meanwhile. One that is
//! never opened is as good as a crash.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hallmark::app::{App, AppState};
use hallmark::domain::blob::{BlobDigest, BlobId};
use hallmark::domain::time::Timestamp;
use hallmark::ports::{Blob, BlobEntry, BlobError, Blobs, Staged, Staging};
use tokio::sync::Semaphore;

/// Who is through, and who may be.
#[derive(Debug)]
pub struct Gate {
    here: Semaphore,
    may: Semaphore,
}

impl Gate {
    /// A gate that lets so many through, and `app` behind it.
    pub fn before(app: &App, through: usize) -> (App, Arc<Self>) {
        let gate = Arc::new(Self {
            here: Semaphore::new(0),
            may: Semaphore::new(through),
        });
        let gated = App::from(AppState {
            blobs: Arc::new(Gated(Arc::clone(&app.blobs), Arc::clone(&gate))),
            ..AppState::clone(app)
        });
        (gated, gate)
    }

    /// Waits until so many more have kept a file and wait, or went through.
    pub async fn reached(&self, count: u32) {
        self.here.acquire_many(count).await.unwrap().forget();
    }

    /// Lets everybody through.
    pub fn open(&self) {
        self.may.add_permits(1000);
    }
}

#[derive(Debug)]
struct Gated<T>(T, Arc<Gate>);

#[async_trait]
impl Blobs for Gated<Arc<dyn Blobs>> {
    async fn stage(&self) -> Result<Box<dyn Staging>, BlobError> {
        Ok(Box::new(Gated(self.0.stage().await?, Arc::clone(&self.1))))
    }
    async fn open(&self, id: &BlobId) -> Result<Option<Arc<dyn Blob>>, BlobError> {
        self.0.open(id).await
    }
    async fn reopen(&self, digest: &BlobDigest) -> Result<Option<Box<dyn Staged>>, BlobError> {
        let staged = self.0.reopen(digest).await?;
        Ok(staged.map(|staged| -> Box<dyn Staged> { Box::new(Gated(staged, Arc::clone(&self.1))) }))
    }
    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError> {
        self.0.list().await
    }
    async fn remove(&self, id: &BlobId, unless_kept_since: Timestamp) -> Result<bool, BlobError> {
        self.0.remove(id, unless_kept_since).await
    }
}

#[async_trait]
impl Staging for Gated<Box<dyn Staging>> {
    async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        self.0.write(piece).await
    }
    async fn finish(self: Box<Self>) -> Result<Box<dyn Staged>, BlobError> {
        Ok(Box::new(Gated(self.0.finish().await?, self.1)))
    }
}

#[async_trait]
impl Staged for Gated<Box<dyn Staged>> {
    fn digest(&self) -> BlobDigest {
        self.0.digest()
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    async fn keep(self: Box<Self>) -> Result<BlobId, BlobError> {
        let kept = self.0.keep().await?;
        self.1.here.add_permits(1);
        self.1.may.acquire().await.unwrap().forget();
        Ok(kept)
    }
}
