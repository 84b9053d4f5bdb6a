//! Incoming files. Hashing SHA3-384 is the slowest part; SHA-512 and writing run beside it on another thread, so that
//! a file comes in as fast as SHA3-384 alone. Threads are held only while there is something to do.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{Timespec, Timestamps};
use tokio::task::JoinHandle;

use super::{Inner, blocking, make_directory, unavailable};
use crate::domain::blob::{BlobDigest, BlobId, BlobIdHasher, Sha512Hasher};
use crate::ports::{BlobError, Staged, Staging};

/// How much is collected before it is handed to the threads. An incoming file holds at most three times as much.
const BATCH: usize = 512 << 10;

const WRITING: &str = "write a staged file";

/// A staged file on disk; gone when this is dropped.
#[derive(Debug)]
struct StagedFile {
    path: PathBuf,
    file: Arc<File>,
    store: Arc<Inner>,
}

impl StagedFile {
    fn create(store: Arc<Inner>) -> io::Result<Self> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
        let name = uuid::Builder::from_random_bytes(random).into_uuid();
        let path = store.staging().join(name.to_string());
        // Nobody clears the directory between making the file and locking it.
        let _alone = store.lock()?;
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let staged = Self {
            path,
            file: Arc::new(file),
            store,
        };
        staged.file.lock()?;
        Ok(staged)
    }

    /// Makes the file durable under its name.
    fn keep(&self, id: &BlobId) -> io::Result<()> {
        let kept_at = Timespec {
            tv_sec: self.store.clock.now().unix(),
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: kept_at,
            last_modification: kept_at,
        };
        rustix::fs::futimens(&self.file, &times)?;
        self.file.sync_all()?;
        let folder = self.store.folder(id);
        if !folder.exists() {
            make_directory(&folder)?;
            File::open(&self.store.root)?.sync_all()?;
        }
        let _alone = self.store.lock()?;
        std::fs::rename(&self.path, self.store.path(id))?;
        File::open(folder)?.sync_all()
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // If it was kept there is nothing under this name; if it cannot be removed the next start does it.
        let _ = std::fs::remove_file(&self.path);
        // The space of a large file is freed with its last handle, which may take a while.
        if let (Some(file), Ok(runtime)) = (self.file.try_clone().ok(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

/// A value that one job at a time works on.
#[derive(Debug)]
struct Lane<T> {
    job: Option<JoinHandle<(T, io::Result<()>)>>,
    idle: Option<T>,
}

impl<T: Send + 'static> Lane<T> {
    fn new(value: T) -> Self {
        Self {
            job: None,
            idle: Some(value),
        }
    }

    /// Waits for the running job, if there is one.
    async fn settled(&mut self) -> Result<T, BlobError> {
        if let Some(job) = self.job.as_mut() {
            let (value, done) = job.await.map_err(|stopped| BlobError::Unavailable {
                doing: WRITING,
                why: stopped.to_string(),
            })?;
            self.job = None;
            done.map_err(|error| unavailable(WRITING, &error))?;
            self.idle = Some(value);
        }
        // Empty only after an error.
        self.idle.take().ok_or_else(|| BlobError::Unavailable {
            doing: WRITING,
            why: "an earlier piece of it could not be written".to_owned(),
        })
    }

    /// Starts `work` on the value once the job before is done.
    async fn start(
        &mut self,
        batch: &Arc<[Bytes]>,
        work: fn(&mut T, &[u8]) -> io::Result<()>,
    ) -> Result<(), BlobError> {
        let mut value = self.settled().await?;
        let batch = Arc::clone(batch);
        self.job = Some(tokio::task::spawn_blocking(move || {
            let done = batch.iter().try_for_each(|piece| work(&mut value, piece));
            (value, done)
        }));
        Ok(())
    }
}

/// A file under construction.
#[derive(Debug)]
pub(super) struct Incoming {
    staged: StagedFile,
    id: Lane<BlobIdHasher>,
    rest: Lane<(Sha512Hasher, Arc<File>)>,
    pending: Vec<Bytes>,
    pending_len: usize,
    size: u64,
}

impl Incoming {
    pub(super) fn create(store: Arc<Inner>) -> io::Result<Self> {
        let staged = StagedFile::create(store)?;
        Ok(Self {
            id: Lane::new(BlobIdHasher::default()),
            rest: Lane::new((Sha512Hasher::default(), Arc::clone(&staged.file))),
            staged,
            pending: Vec::new(),
            pending_len: 0,
            size: 0,
        })
    }

    async fn hand_over(&mut self) -> Result<(), BlobError> {
        let batch: Arc<[Bytes]> = std::mem::take(&mut self.pending).into();
        self.pending_len = 0;
        self.id
            .start(&batch, |hasher, piece| {
                hasher.update(piece);
                Ok(())
            })
            .await?;
        self.rest
            .start(&batch, |(hasher, file), piece| {
                (&**file).write_all(piece)?;
                hasher.update(piece);
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Staging for Incoming {
    async fn write(&mut self, mut piece: Bytes) -> Result<(), BlobError> {
        self.size += piece.len() as u64;
        while !piece.is_empty() {
            let part = piece.split_to(piece.len().min(BATCH - self.pending_len));
            self.pending_len += part.len();
            self.pending.push(part);
            if self.pending_len == BATCH {
                self.hand_over().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Box<dyn Staged>, BlobError> {
        self.hand_over().await?;
        let id = self.id.settled().await?.finish();
        let (sha512, _) = self.rest.settled().await?;
        Ok(Box::new(Complete {
            digest: BlobDigest {
                id,
                sha512: sha512.finish(),
                size: self.size,
            },
            staged: self.staged,
        }))
    }
}

/// A staged file that is complete.
#[derive(Debug)]
struct Complete {
    digest: BlobDigest,
    staged: StagedFile,
}

#[async_trait]
impl Staged for Complete {
    fn digest(&self) -> BlobDigest {
        self.digest
    }

    fn path(&self) -> &Path {
        &self.staged.path
    }

    async fn keep(self: Box<Self>) -> Result<BlobId, BlobError> {
        let id = self.digest.id;
        blocking("keep a file", move || self.staged.keep(&id)).await?;
        Ok(id)
    }
}
