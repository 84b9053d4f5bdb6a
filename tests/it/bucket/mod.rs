//! Files in a bucket: the conformance suite on a real S3 server, what only a bucket can show, and faults.
//!
//! `HALLMARK_TEST_S3` names a server whose bucket `hallmark` may be written to, `HALLMARK_TEST_S3_KEYS` the file with its
//! access keys; `tests/s3.sh` starts one. Without it these cases do not run and say so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hallmark::adapters::blobs_file::FileBlobs;
use hallmark::adapters::blobs_s3::{S3Blobs, S3Options};
use hallmark::adapters::system::SystemClock;
use hallmark::domain::blob::BlobId;
use hallmark::ports::{Blobs, Clock};

use crate::conformance::blobs::BlobEngine;

mod cut;
mod faults;
mod notes;
mod path;

/// A place of its own in the bucket of the test server.
struct Bucket {
    server: String,
    keys: PathBuf,
    prefix: String,
    local: tempfile::TempDir,
}

impl Bucket {
    fn fresh() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (Ok(server), Ok(keys)) = (
            std::env::var("HALLMARK_TEST_S3"),
            std::env::var("HALLMARK_TEST_S3_KEYS"),
        ) else {
            eprintln!(
                "NOT RUN: `tests/s3.sh cargo test --test it bucket` runs the cases of files in a bucket"
            );
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            server,
            keys: keys.into(),
            prefix: format!("{}/{number}", std::process::id()),
            local: tempfile::tempdir().expect("a directory"),
        })
    }

    fn options(&self) -> S3Options {
        S3Options {
            bucket: "hallmark".to_owned(),
            prefix: self.prefix.clone(),
            endpoint: Some(self.server.clone()),
            region: Some("us-east-1".to_owned()),
            path_style: true,
            credentials: Some(self.keys.clone()),
            links: None,
            patience: S3Options::PATIENCE,
            persistence: S3Options::PERSISTENCE,
            slowest: S3Options::SLOWEST,
        }
    }

    /// Opens the store with other options than the usual ones.
    fn with(&self, options: &S3Options, clock: Arc<dyn Clock>) -> S3Blobs {
        let local = FileBlobs::open(self.local.path(), Arc::clone(&clock)).expect("a place for staged files");
        S3Blobs::open(options, clock, Arc::new(local)).expect("open the bucket")
    }

    fn store(&self) -> S3Blobs {
        self.with(&self.options(), Arc::new(SystemClock))
    }

    /// With the patience of somebody who waits for a test.
    fn hasty(&self, server: &str) -> S3Blobs {
        let options = S3Options {
            endpoint: Some(server.to_owned()),
            patience: Duration::from_secs(1),
            persistence: Duration::from_secs(2),
            slowest: 8 << 20,
            ..self.options()
        };
        self.with(&options, Arc::new(SystemClock))
    }

    fn staged_files(&self) -> usize {
        self.local
            .path()
            .join("staging")
            .read_dir()
            .expect("the staging folder")
            .count()
    }
}

#[async_trait::async_trait]
impl BlobEngine for Bucket {
    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Blobs> {
        Arc::new(self.with(&self.options(), clock))
    }
}

crate::blob_conformance_tests!(match Bucket::fresh() {
    Some(bucket) => bucket,
    None => return,
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_imported_into_a_bucket() {
    let Some(bucket) = Bucket::fresh() else { return };
    crate::airgap::killed_imports(|name| {
        let Bucket { server, prefix, .. } = &bucket;
        let url = format!("s3://hallmark/{prefix}/{name}?endpoint={server}&region=us-east-1");
        let keys = bucket.keys.display().to_string();
        vec![
            ("HALLMARK_BLOBS_URL", url),
            ("HALLMARK_BLOBS_CREDENTIALS_FILE", keys),
        ]
    })
    .await;
}

/// Bytes that are not alike anywhere.
fn bytes(len: usize) -> Bytes {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect::<Vec<u8>>().into()
}

async fn stage(store: &dyn Blobs, content: &Bytes) -> Box<dyn hallmark::ports::Staged> {
    let mut staging = store.stage().await.expect("stage");
    for part in content.chunks(500_000) {
        staging.write(content.slice_ref(part)).await.expect("write");
    }
    staging.finish().await.expect("finish")
}

async fn keep(store: &dyn Blobs, content: &Bytes) -> BlobId {
    stage(store, content).await.keep().await.expect("keep")
}

/// All of a blob, or how reading it ends.
async fn read(store: &dyn Blobs, id: &BlobId) -> Result<Vec<u8>, hallmark::ports::BlobError> {
    use futures_util::TryStreamExt as _;
    let blob = store.open(id).await?.expect("the blob is there");
    let pieces: Vec<Bytes> = blob.stream(0, u64::MAX).try_collect().await?;
    Ok(pieces.concat())
}

/// Larger than a part, so it comes in parts.
const LARGE: usize = (20 << 20) + 12_345;

#[tokio::test]
async fn a_large_file_comes_in_parts_and_any_part_of_it_is_read() {
    use futures_util::TryStreamExt as _;
    let Some(bucket) = Bucket::fresh() else { return };
    let store = bucket.store();
    let sent = bytes(LARGE);
    let id = keep(&store, &sent).await;
    assert_eq!(bucket.staged_files(), 0);
    assert!(read(&store, &id).await.unwrap() == sent);
    let blob = store.open(&id).await.unwrap().unwrap();
    for (offset, len) in [
        (0, 1),
        (8 << 20, 1),
        ((8 << 20) - 5, 10),
        (LARGE - 3, 100),
        (12_000_000, 5_000_000),
    ] {
        let pieces: Vec<Bytes> = blob
            .stream(offset as u64, len as u64)
            .try_collect()
            .await
            .unwrap();
        assert!(
            pieces.concat() == sent[offset..LARGE.min(offset + len)],
            "{len} at {offset}"
        );
    }
    // What belongs to another prefix is not ours, and its notes are gone.
    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id, listed[0].size), (id, LARGE as u64));
}

/// Whoever has the address gets the file, ranges too, and nobody else; the address says when it ends.
#[tokio::test]
async fn a_presigned_address_is_good_for_a_while() {
    let Some(bucket) = Bucket::fresh() else { return };
    let options = S3Options {
        links: Some(Duration::from_secs(2)),
        ..bucket.options()
    };
    let store = bucket.with(&options, Arc::new(SystemClock));
    let sent = bytes(100_000);
    let id = keep(&store, &sent).await;
    let link = store.link(&id).await.unwrap().unwrap();
    assert!(link.contains("X-Amz-Expires=2"), "{link}");
    let secret = std::fs::read_to_string(&bucket.keys).unwrap();
    let secret = secret.lines().last().unwrap().rsplit(' ').next().unwrap();
    assert!(!link.contains(secret));
    let client = cut::client();
    let answer = client.get(&link).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap() == sent);
    let answer = client
        .get(&link)
        .header("range", "bytes=500-")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 206);
    assert!(answer.bytes().await.unwrap() == sent[500..]);
    let (bare, _) = link.split_once('?').unwrap();
    assert_eq!(client.get(bare).send().await.unwrap().status(), 403);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(client.get(&link).send().await.unwrap().status(), 403);
    // Without the setting there are none.
    assert_eq!(bucket.store().link(&id).await, Ok(None));
}

/// Why the bucket cannot be used is said in words, and never with the keys.
#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_an_error_with_its_reason() {
    let Some(bucket) = Bucket::fresh() else { return };
    assert_eq!(bucket.store().check().await, Some(Ok(())));
    let elsewhere = S3Options {
        bucket: "no-such-bucket".to_owned(),
        ..bucket.options()
    };
    let error = bucket
        .with(&elsewhere, Arc::new(SystemClock))
        .check()
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
    let keys = bucket.local.path().join("keys");
    std::fs::write(
        &keys,
        "[default]\naws_access_key_id = hallmark\naws_secret_access_key = hunter2\n",
    )
    .unwrap();
    let stranger = S3Options {
        credentials: Some(keys.clone()),
        ..bucket.options()
    };
    let stranger = bucket.with(&stranger, Arc::new(SystemClock));
    let error = stranger.check().await.unwrap().unwrap_err().to_string();
    assert!(error.contains("403") && !error.contains("hunter2"), "{error}");
    assert!(!format!("{stranger:?}").contains("hunter2"));
    let staged = stage(&stranger, &bytes(10)).await;
    let error = staged.keep().await.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot note in the bucket that a file is kept: the bucket answers 403"),
        "{error}"
    );
    std::fs::remove_file(&keys).unwrap();
    // The port is closed.
    let error = bucket
        .hasty("http://127.0.0.1:9")
        .check()
        .await
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot reach the bucket: "), "{error}");
}

/// Damage in the bucket is found, and healed by whoever brings the file again.
#[tokio::test]
async fn keeping_a_file_heals_a_damaged_one() {
    let Some(bucket) = Bucket::fresh() else { return };
    let store = bucket.store();
    let sent = Bytes::from_static(b"content");
    let staged = stage(&store, &sent).await;
    let digest = staged.digest();
    let id = staged.keep().await.unwrap();
    bucket.put(&id, "rotten!").await;
    let error = store.reopen(&digest).await.unwrap_err();
    assert!(
        error.to_string().contains("other contents than its name says"),
        "{error}"
    );
    keep(&store, &sent).await;
    assert!(read(&store, &id).await.unwrap() == sent);
    // One that was copied into the bucket by other means counts from when the bucket got it.
    let other = BlobId::of(b"copied");
    bucket.put(&other, "copied").await;
    let listed = store.list().await.unwrap();
    let entry = listed.iter().find(|entry| entry.id == other).unwrap();
    assert!((SystemClock.now().unix() - entry.kept_at.unix()).abs() < 60);
}
