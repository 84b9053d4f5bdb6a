//! Incoming files. Hashing SHA3-384 is the slowest part; SHA-512 and writing run beside it on another thread, so that
//! a file comes in as fast as SHA3-384 alone. Both are done by [`Hands`], which all files share.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{Timespec, Timestamps};
use tokio::sync::Notify;

use super::hands::{Hands, Turn};
use super::{Inner, blocking, unavailable};
use crate::domain::blob::{BlobDigest, BlobId, BlobIdHasher, Sha512Hasher};
use crate::ports::{BlobError, Staged, Staging};

/// How much is collected before it is handed to the threads.
const BATCH: usize = 256 << 10;
/// Most batches that wait for a thread. So an incoming file holds at most 1 MiB.
const QUEUE: usize = 2;

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
        let path = store.staging().join(random_name()?);
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

    /// A second name for a kept file; none if it is not there.
    fn of_kept(store: Arc<Inner>, id: &BlobId) -> io::Result<Option<Self>> {
        let path = store.staging().join(random_name()?);
        let _alone = store.lock()?;
        match std::fs::hard_link(store.path(id), &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            linked => linked?,
        }
        let staged = Self {
            file: Arc::new(File::open(&path)?),
            path,
            store,
        };
        // Several may read it at a time. Whoever has just kept it may hold it alone for another moment.
        staged.file.lock_shared()?;
        Ok(Some(staged))
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
        let folder = self.store.lasting_folder(id)?;
        let _alone = self.store.lock()?;
        std::fs::rename(&self.path, self.store.path(id))?;
        File::open(folder)?.sync_all()
    }
}

fn random_name() -> io::Result<String> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
    Ok(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
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

/// A value that batches are worked into, in order.
#[derive(Debug)]
struct Lane<T> {
    inner: Arc<LaneInner<T>>,
    hands: Arc<Hands>,
}

type Batch = Arc<[Bytes]>;

#[derive(Debug)]
struct LaneInner<T> {
    state: Mutex<LaneState<T>>,
    /// A batch is done, or all is over.
    progress: Notify,
    work: fn(&mut T, &[u8]) -> io::Result<()>,
}

#[derive(Debug)]
struct LaneState<T> {
    waiting: VecDeque<Batch>,
    /// Away while a thread works on it.
    value: Option<T>,
    failed: Option<BlobError>,
}

impl<T: Send + 'static> Lane<T> {
    fn new(hands: Arc<Hands>, value: T, work: fn(&mut T, &[u8]) -> io::Result<()>) -> Self {
        Self {
            hands,
            inner: Arc::new(LaneInner {
                state: Mutex::new(LaneState {
                    waiting: VecDeque::new(),
                    value: Some(value),
                    failed: None,
                }),
                progress: Notify::new(),
                work,
            }),
        }
    }

    /// Puts a batch at the end, once there is room.
    async fn put(&self, batch: Batch) -> Result<(), BlobError> {
        self.until(|state| state.waiting.len() < QUEUE).await?;
        let mut state = self.inner.lock();
        state.waiting.push_back(batch);
        if let Some(value) = state.value.take() {
            let worker = Worker {
                lane: Arc::clone(&self.inner),
                value: Some(value),
                turn: self.hands.turn(),
            };
            self.hands.spawn(worker.run());
        }
        Ok(())
    }

    /// The value, once all batches are worked in. It is gone then.
    async fn finish(&self) -> Result<T, BlobError> {
        self.until(|state| state.value.is_some()).await?;
        self.inner.lock().value.take().ok_or_else(stopped)
    }

    async fn until(&self, condition: fn(&LaneState<T>) -> bool) -> Result<(), BlobError> {
        loop {
            {
                let state = self.inner.lock();
                if let Some(failed) = &state.failed {
                    return Err(failed.clone());
                }
                if condition(&state) {
                    return Ok(());
                }
            }
            self.inner.progress.notified().await;
        }
    }
}

impl<T> LaneInner<T> {
    fn lock(&self) -> MutexGuard<'_, LaneState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works batches in until none is waiting. If it is dropped before, the lane has failed.
struct Worker<T> {
    lane: Arc<LaneInner<T>>,
    value: Option<T>,
    turn: Turn,
}

impl<T> Worker<T> {
    async fn run(mut self) {
        while let Some(value) = self.value.as_mut() {
            let batch = {
                let mut state = self.lane.lock();
                match state.waiting.pop_front() {
                    Some(batch) => batch,
                    None => {
                        state.value = self.value.take();
                        break;
                    }
                }
            };
            self.lane.progress.notify_one();
            if let Err(error) = batch.iter().try_for_each(|piece| (self.lane.work)(value, piece)) {
                self.lane.lock().failed = Some(unavailable(WRITING, &error));
                break;
            }
            // The other files' turn.
            self.turn.pass().await;
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        if self.value.is_some() {
            let mut state = self.lane.lock();
            state.waiting.clear();
            state.failed.get_or_insert_with(stopped);
        }
        self.lane.progress.notify_one();
    }
}

fn stopped() -> BlobError {
    BlobError::Unavailable {
        doing: WRITING,
        why: "it was stopped".to_owned(),
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
        let hands = Arc::clone(&store.hands);
        let staged = StagedFile::create(store)?;
        Ok(Self {
            id: Lane::new(Arc::clone(&hands), BlobIdHasher::default(), |hasher, piece| {
                hasher.update(piece);
                Ok(())
            }),
            rest: Lane::new(
                hands,
                (Sha512Hasher::default(), Arc::clone(&staged.file)),
                |(hasher, file), piece| {
                    (&**file).write_all(piece)?;
                    hasher.update(piece);
                    Ok(())
                },
            ),
            staged,
            pending: Vec::new(),
            pending_len: 0,
            size: 0,
        })
    }

    async fn hand_over(&mut self) -> Result<(), BlobError> {
        let batch: Batch = std::mem::take(&mut self.pending).into();
        self.pending_len = 0;
        self.id.put(Arc::clone(&batch)).await?;
        self.rest.put(batch).await
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
        let id = self.id.finish().await?.finish();
        let (sha512, _) = self.rest.finish().await?;
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
pub(super) struct Complete {
    digest: BlobDigest,
    staged: StagedFile,
}

impl Complete {
    /// A kept file again; none if it is not there.
    pub(super) fn of_kept(store: Arc<Inner>, digest: BlobDigest) -> io::Result<Option<Self>> {
        let staged = StagedFile::of_kept(store, &digest.id)?;
        Ok(staged.map(|staged| Self { digest, staged }))
    }
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
