//! Blobs as objects of a bucket (S3 and what speaks like it), through `object_store`. [`keys`] says what they are called.
//!
//! A bucket has no lock. So whoever keeps a blob writes down when, before anything else, and whoever removes one says so
//! before looking at that a last time ([`notes`]): of two at the same time at least one sees the other.
//!
//! An incoming file is staged by another store of files, on a disk of this machine, where it can be looked into. It is
//! uploaded when it is kept, and acknowledged when all of it is in the bucket.

mod connection;
mod credentials;
mod keys;
mod notes;
mod read;
mod staging;
mod trouble;
mod upload;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use http::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::signer::Signer as _;
use object_store::{BackoffConfig, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, RetryConfig};
use tokio::sync::Semaphore;

use self::connection::Connection;
use self::credentials::CredentialsFile;
use self::keys::Keys;
use self::read::S3Blob;
use self::staging::Incoming;
use self::trouble::{unavailable, within, within_if_there};
use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::time::Timestamp;
use crate::ports::{Blob, BlobEntry, BlobError, Blobs, Clock, Staged, Staging};

/// Parts on their way at a time, of all uploads. With parts of 8 MiB they take 48 MiB of memory.
const PARTS_AT_ONCE: usize = 6;

/// How long it counts whether the bucket answered, and how long it may take to say so.
const CHECKED: Duration = Duration::from_secs(5);

const LOOKING: &str = "look for a file in the bucket";

/// Where the bucket is, and how it is used.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// Its name.
    pub bucket: String,
    /// What all names of objects begin with; may be empty.
    pub prefix: String,
    /// The server, `http(s)://HOST[:PORT]`; without one that of AWS for the region.
    pub endpoint: Option<String>,
    /// The region; without one that of the environment (`AWS_REGION`), else `us-east-1`.
    pub region: Option<String>,
    /// The bucket's name is in the path, not in front of the host.
    pub path_style: bool,
    /// File with the access keys; without one they come from the usual variables and services.
    pub credentials: Option<PathBuf>,
    /// How long [`Blobs::link`] is good for; without one there are no links.
    pub links: Option<Duration>,
    /// For connecting, for the first word of an answer, and for every next piece of one.
    pub patience: Duration,
    /// How long something that failed for a moment is tried again; uploads four times as long.
    pub persistence: Duration,
    /// Uploads that are slower than this, in bytes a second, are given up.
    pub slowest: u64,
}

impl S3Options {
    /// The usual patience.
    pub const PATIENCE: Duration = Duration::from_secs(15);
    /// The usual persistence.
    pub const PERSISTENCE: Duration = Duration::from_secs(15);
    /// The usual slowest upload of a part.
    pub const SLOWEST: u64 = 64 << 10;
}

/// A store of files in a bucket.
#[derive(Clone, Debug)]
pub struct S3Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    /// For what somebody waits for.
    bucket: AmazonS3,
    /// For uploads, which are tried again for longer.
    uploads: AmazonS3,
    keys: Keys,
    clock: Arc<dyn Clock>,
    /// Where incoming files are staged.
    local: Arc<dyn Blobs>,
    links: Option<Duration>,
    /// Until when a short request is over, with all its tries.
    patience: Duration,
    parts: Semaphore,
    checked: Mutex<Checked>,
}

/// What the last check found.
#[derive(Debug)]
struct Checked {
    at: Option<Instant>,
    found: Result<(), BlobError>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Blobs")
            .field("prefix", &self.keys)
            .finish_non_exhaustive()
    }
}

impl S3Blobs {
    /// Opens a store; nothing is sent yet. `clock` says when files are kept; `local` stages incoming files.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] if the access keys cannot be read, or the connection cannot be set up at all.
    pub fn open(
        options: &S3Options,
        clock: Arc<dyn Clock>,
        local: Arc<dyn Blobs>,
    ) -> Result<Self, BlobError> {
        const OPENING: &str = "use the bucket";
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&options.bucket)
            .with_virtual_hosted_style_request(!options.path_style)
            .with_disable_bulk_delete(true);
        let mut plain = false;
        if let Some(endpoint) = &options.endpoint {
            plain = endpoint.starts_with("http:");
            let endpoint = if options.path_style {
                endpoint.clone()
            } else {
                endpoint.replacen("://", &format!("://{}.", options.bucket), 1)
            };
            builder = builder.with_endpoint(endpoint).with_allow_http(plain);
        }
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        if let Some(path) = &options.credentials {
            let file = CredentialsFile::open(path.clone()).map_err(|why| unavailable(OPENING, why))?;
            builder = builder.with_credentials(Arc::new(file));
        }
        let connection = Connection::new(options.patience, options.slowest, plain)
            .map_err(|error| unavailable(OPENING, error.to_string()))?;
        let build = |builder: AmazonS3Builder, persistence| {
            let built = builder
                .with_http_connector(connection.clone())
                .with_retry(retries(persistence))
                .build();
            built.map_err(|error| unavailable(OPENING, error.to_string()))
        };
        let bucket = build(builder.clone(), options.persistence)?;
        let builder = builder.with_credentials(Arc::clone(bucket.credentials()));
        let uploads = build(builder, options.persistence * 4)?;
        Ok(Self {
            inner: Arc::new(Inner {
                bucket,
                uploads,
                keys: Keys::new(&options.prefix),
                clock,
                local,
                links: options.links,
                patience: options.patience + options.persistence,
                parts: Semaphore::new(PARTS_AT_ONCE),
                checked: Mutex::new(Checked {
                    at: None,
                    found: Ok(()),
                }),
            }),
        })
    }
}

/// Tries again with growing pauses.
fn retries(persistence: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.,
        },
        max_retries: 10,
        retry_timeout: persistence,
    }
}

impl Inner {
    /// What the bucket says of a blob; none if it is not there.
    async fn look(&self, id: &BlobId) -> Result<Option<ObjectMeta>, BlobError> {
        let path = self.keys.blob(id);
        within_if_there(self.patience, LOOKING, self.bucket.head(&path)).await
    }

    /// Whether the bucket answers.
    async fn reach(&self) -> Result<(), BlobError> {
        // A listing, since looking at an object does not tell a bucket that is not there from an object that is not.
        let nothing = self.keys.nothing();
        let mut listing = self.bucket.list(Some(&nothing));
        let patience = self.patience.min(CHECKED);
        within(patience, "reach the bucket", listing.try_next()).await?;
        Ok(())
    }

    fn checked(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn stage(&self) -> Result<Box<dyn Staging>, BlobError> {
        let local = self.inner.local.stage().await?;
        Ok(Box::new(Incoming::new(Arc::clone(&self.inner), local)))
    }

    async fn open(&self, id: &BlobId) -> Result<Option<Arc<dyn Blob>>, BlobError> {
        let found = self.inner.look(id).await?;
        Ok(found.map(|meta| Arc::new(S3Blob::new(Arc::clone(&self.inner), *id, meta.size)) as Arc<dyn Blob>))
    }

    async fn reopen(&self, digest: &BlobDigest) -> Result<Option<Box<dyn Staged>>, BlobError> {
        match self.open(&digest.id).await? {
            Some(blob) => staging::fetched(&self.inner, &*blob, digest).await.map(Some),
            None => Ok(None),
        }
    }

    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError> {
        self.inner.list().await
    }

    async fn remove(&self, id: &BlobId, unless_kept_since: Timestamp) -> Result<bool, BlobError> {
        self.inner.remove(id, unless_kept_since).await
    }

    async fn link(&self, id: &BlobId) -> Result<Option<String>, BlobError> {
        let Some(life) = self.inner.links else {
            return Ok(None);
        };
        let path = self.inner.keys.blob(id);
        let signing = self.inner.bucket.signed_url(Method::GET, &path, life);
        let url = within(self.inner.patience, "sign an address of the bucket", signing).await?;
        Ok(Some(url.into()))
    }

    async fn check(&self) -> Option<Result<(), BlobError>> {
        let fresh = {
            let mut last = self.inner.checked();
            let fresh = last.at.is_some_and(|at| at.elapsed() < CHECKED);
            if !fresh {
                // Whoever asks meanwhile gets the answer of before.
                last.at = Some(Instant::now());
            }
            fresh.then(|| last.found.clone())
        };
        if fresh.is_some() {
            return fresh;
        }
        let found = self.inner.reach().await;
        self.inner.checked().found.clone_from(&found);
        Some(found)
    }
}
