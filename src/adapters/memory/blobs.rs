//! Blobs in memory. A staged file is on disk too, in the directory for temporary files, since it has a path.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::domain::blob::{BlobDigest, BlobId, BlobIdHasher, Sha512Hasher};
use crate::domain::time::Timestamp;
use crate::ports::{Blob, BlobEntry, BlobError, BlobStream, Blobs, Clock, Staged, Staging};

/// Largest piece a stream gives.
const PIECE: usize = 128 << 10;

#[derive(Debug, Default)]
struct Kept {
    blobs: BTreeMap<BlobId, (Bytes, Timestamp)>,
}

/// A store of files in memory.
#[derive(Clone, Debug)]
pub struct MemoryBlobs {
    kept: Arc<Mutex<Kept>>,
    clock: Arc<dyn Clock>,
}

impl MemoryBlobs {
    /// An empty store; `clock` says when files are kept.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            kept: Arc::default(),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn stage(&self) -> Result<Box<dyn Staging>, BlobError> {
        Ok(Box::new(Incoming {
            store: self.clone(),
            bytes: BytesMut::new(),
            id: BlobIdHasher::default(),
            sha512: Sha512Hasher::default(),
        }))
    }

    async fn open(&self, id: &BlobId) -> Result<Option<Arc<dyn Blob>>, BlobError> {
        let found = self.lock().blobs.get(id).map(|(bytes, _)| bytes.clone());
        Ok(found.map(|bytes| Arc::new(InMemory(bytes)) as Arc<dyn Blob>))
    }

    async fn reopen(&self, digest: &BlobDigest) -> Result<Option<Box<dyn Staged>>, BlobError> {
        let found = self.lock().blobs.get(&digest.id).map(|(bytes, _)| bytes.clone());
        let staged = found.map(|bytes| Complete::write(self.clone(), bytes, *digest));
        Ok(staged
            .transpose()?
            .map(|staged| Box::new(staged) as Box<dyn Staged>))
    }

    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError> {
        let kept = self.lock();
        let entry = |(id, (bytes, kept_at)): (&BlobId, &(Bytes, Timestamp))| BlobEntry {
            id: *id,
            size: bytes.len() as u64,
            kept_at: *kept_at,
        };
        Ok(kept.blobs.iter().map(entry).collect())
    }

    async fn remove(&self, id: &BlobId, unless_kept_since: Timestamp) -> Result<bool, BlobError> {
        let mut kept = self.lock();
        let old = kept
            .blobs
            .get(id)
            .is_some_and(|(_, kept_at)| *kept_at < unless_kept_since);
        if old {
            kept.blobs.remove(id);
        }
        Ok(old)
    }
}

#[derive(Debug)]
struct Incoming {
    store: MemoryBlobs,
    bytes: BytesMut,
    id: BlobIdHasher,
    sha512: Sha512Hasher,
}

#[async_trait]
impl Staging for Incoming {
    async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        self.id.update(&piece);
        self.sha512.update(&piece);
        self.bytes.extend_from_slice(&piece);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Box<dyn Staged>, BlobError> {
        let incoming = *self;
        let digest = BlobDigest {
            id: incoming.id.finish(),
            sha512: incoming.sha512.finish(),
            size: incoming.bytes.len() as u64,
        };
        let staged = Complete::write(incoming.store, incoming.bytes.freeze(), digest)?;
        Ok(Box::new(staged))
    }
}

#[derive(Debug)]
struct Complete {
    store: MemoryBlobs,
    bytes: Bytes,
    digest: BlobDigest,
    path: PathBuf,
}

impl Complete {
    fn write(store: MemoryBlobs, bytes: Bytes, digest: BlobDigest) -> Result<Self, BlobError> {
        let failed = |why: String| BlobError::Unavailable {
            doing: "write a staged file",
            why,
        };
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| failed("no randomness".to_owned()))?;
        let name = uuid::Builder::from_random_bytes(random).into_uuid();
        let path = std::env::temp_dir().join(format!("hallmark-staged-{name}"));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(error.to_string()))?;
        let staged = Self {
            store,
            bytes,
            digest,
            path,
        };
        file.write_all(&staged.bytes)
            .map_err(|error| failed(error.to_string()))?;
        Ok(staged)
    }
}

#[async_trait]
impl Staged for Complete {
    fn digest(&self) -> BlobDigest {
        self.digest
    }

    fn path(&self) -> &Path {
        &self.path
    }

    async fn keep(self: Box<Self>) -> Result<BlobId, BlobError> {
        let kept_at = self.store.clock.now();
        let kept = (self.bytes.clone(), kept_at);
        self.store.lock().blobs.insert(self.digest.id, kept);
        Ok(self.digest.id)
    }
}

impl Drop for Complete {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[derive(Debug)]
struct InMemory(Bytes);

impl Blob for InMemory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn stream(&self, offset: u64, len: u64) -> BlobStream {
        let end = offset.saturating_add(len).min(self.size());
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let mut rest = self.0.slice(place(offset.min(end))..place(end));
        let pieces = std::iter::from_fn(move || {
            let piece = rest.split_to(rest.len().min(PIECE));
            (!piece.is_empty()).then_some(Ok(piece))
        });
        futures_util::stream::iter(pieces).boxed()
    }
}
