//! Blobs as files of one directory:
//!
//! ```text
//! staging/UUID        incoming files, each locked by the process that writes it
//! 0c/0c63a7…f004      a blob under its SHA3-384, in a folder named after its first byte
//! lock                held while files are made, kept or removed
//! ```
//!
//! Several processes may share the directory. Files are readable by their owner alone.

mod hands;
mod read;
mod staging;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;

use self::hands::Hands;
use self::read::{Buffers, FileBlob};
use self::staging::{Complete, Incoming};
use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::time::Timestamp;
use crate::ports::{Blob, BlobEntry, BlobError, Blobs, Clock, Staged, Staging};

/// A store of files in a directory.
#[derive(Clone, Debug)]
pub struct FileBlobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    buffers: Arc<Buffers>,
    hands: Arc<Hands>,
    /// The folders, by first byte, whose own names are known to be on the disk.
    folders: [AtomicBool; 256],
}

impl FileBlobs {
    /// Opens the store at `root`, makes it if it is not there, and removes staged files that no process writes any
    /// more. `clock` says when files are kept. Blocks for a moment.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] if the directory cannot be made or read.
    pub fn open(root: &Path, clock: Arc<dyn Clock>) -> Result<Self, BlobError> {
        let hands = Hands::new().map_err(|error| unavailable("start threads for files", &error))?;
        let inner = Inner {
            root: root.to_owned(),
            clock,
            buffers: Arc::default(),
            hands: Arc::new(hands),
            folders: [const { AtomicBool::new(false) }; 256],
        };
        let prepared = make_directory(&inner.staging()).and_then(|()| {
            // What is kept must not go with the directory it is in.
            let above = inner.root.parent().filter(|above| !above.as_os_str().is_empty());
            File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
            let _alone = inner.lock()?;
            inner.clear_staging()
        });
        prepared.map_err(|error| unavailable("open the directory of files", &error))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let inner = Arc::clone(&self.inner);
        blocking(doing, move || work(&inner)).await
    }
}

impl Inner {
    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    fn folder(&self, id: &BlobId) -> PathBuf {
        let [first, ..] = id.as_bytes();
        self.root.join(format!("{first:02x}"))
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.folder(id).join(id.to_string())
    }

    /// The folder of a blob, there and on the disk under its name. That it is there says nothing: whoever made it may
    /// not have synced it yet, or was killed before.
    fn lasting_folder(&self, id: &BlobId) -> io::Result<PathBuf> {
        let folder = self.folder(id);
        let [first, ..] = id.as_bytes();
        let lasting = self.folders.get(usize::from(*first));
        if lasting.is_none_or(|lasting| !lasting.load(Ordering::Acquire)) {
            make_directory(&folder)?;
            File::open(&self.root)?.sync_all()?;
            if let Some(lasting) = lasting {
                lasting.store(true, Ordering::Release);
            }
        }
        Ok(folder)
    }

    /// Keeps others from making, keeping and removing files until the handle is dropped.
    fn lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.root.join("lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn clear_staging(&self) -> io::Result<()> {
        for entry in self.staging().read_dir()? {
            let path = entry?.path();
            // Whoever writes the file holds a lock on it; after a crash nobody does.
            let file = File::open(&path)?;
            if file.try_lock().is_ok() {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<BlobEntry>> {
        let mut entries = Vec::new();
        for first in 0..=u8::MAX {
            let folder = match self.root.join(format!("{first:02x}")).read_dir() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                folder => folder?,
            };
            for entry in folder {
                let entry = entry?;
                let name = entry.file_name();
                let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                    continue; // not ours
                };
                match entry.metadata() {
                    Ok(metadata) => entries.push(BlobEntry {
                        id,
                        size: metadata.len(),
                        kept_at: kept_at(&metadata)?,
                    }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {} // removed meanwhile
                    Err(error) => return Err(error),
                }
            }
        }
        entries.sort_unstable_by_key(|entry| entry.id);
        Ok(entries)
    }

    fn remove(&self, id: &BlobId, unless_kept_since: Timestamp) -> io::Result<bool> {
        let _alone = self.lock()?;
        let path = self.path(id);
        let metadata = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata?,
        };
        if kept_at(&metadata)? >= unless_kept_since {
            return Ok(false);
        }
        std::fs::remove_file(&path)?;
        File::open(self.folder(id))?.sync_all()?;
        Ok(true)
    }
}

#[async_trait]
impl Blobs for FileBlobs {
    async fn stage(&self) -> Result<Box<dyn Staging>, BlobError> {
        let inner = Arc::clone(&self.inner);
        let incoming = blocking("make a staged file", move || Incoming::create(inner)).await?;
        Ok(Box::new(incoming))
    }

    async fn open(&self, id: &BlobId) -> Result<Option<Arc<dyn Blob>>, BlobError> {
        let id = *id;
        let found = self
            .blocking("open a file of the store", move |inner| {
                match File::open(inner.path(&id)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    file => FileBlob::new(id, file?, Arc::clone(&inner.buffers)).map(Some),
                }
            })
            .await?;
        Ok(found.map(|blob| Arc::new(blob) as Arc<dyn Blob>))
    }

    async fn reopen(&self, digest: &BlobDigest) -> Result<Option<Box<dyn Staged>>, BlobError> {
        let (inner, digest) = (Arc::clone(&self.inner), *digest);
        let found = blocking("open a file of the store", move || {
            Complete::of_kept(inner, digest)
        })
        .await?;
        Ok(found.map(|staged| Box::new(staged) as Box<dyn Staged>))
    }

    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError> {
        self.blocking("list the store of files", Inner::list).await
    }

    async fn remove(&self, id: &BlobId, unless_kept_since: Timestamp) -> Result<bool, BlobError> {
        let id = *id;
        self.blocking("remove a file", move |inner| inner.remove(&id, unless_kept_since))
            .await
    }
}

/// When the file was kept: [`staging`] sets the time of its last change.
fn kept_at(metadata: &std::fs::Metadata) -> io::Result<Timestamp> {
    let since = metadata.modified()?.duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    Ok(Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

/// Makes a directory and those above it, for the owner alone; fine if it is there.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn unavailable(doing: &'static str, error: &io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            BlobError::Full
        }
        _ => BlobError::Unavailable {
            doing,
            why: error.to_string(),
        },
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| unavailable(doing, &error)),
        Err(stopped) => Err(BlobError::Unavailable {
            doing,
            why: stopped.to_string(),
        }),
    }
}
