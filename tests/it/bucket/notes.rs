//! Who keeps and who removes a file at the same time, and what processes leave that have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hallmark::adapters::system::SystemClock;
use hallmark::domain::blob::BlobId;
use hallmark::domain::time::Timestamp;
use hallmark::ports::{Blobs as _, Clock};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::{Bucket, bytes, keep, read, stage};

/// The real time, and some more.
#[derive(Debug, Default)]
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.0.load(Ordering::Relaxed))
    }
}

impl Bucket {
    /// The bucket itself, as another program sees it.
    fn raw(&self) -> object_store::aws::AmazonS3 {
        let keys = std::fs::read_to_string(&self.keys).unwrap();
        let value = |name: &str| {
            let line = keys.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once(" = ").unwrap().1.to_owned()
        };
        object_store::aws::AmazonS3Builder::new()
            .with_bucket_name("hallmark")
            .with_endpoint(&self.server)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(value("aws_access_key_id"))
            .with_secret_access_key(value("aws_secret_access_key"))
            .with_http_connector(super::cut::Plain)
            .with_disable_bulk_delete(true)
            .build()
            .unwrap()
    }

    fn path(&self, id: &BlobId) -> Path {
        let id = id.to_string();
        Path::from(format!("{}/{}/{id}", self.prefix, &id[..2]))
    }

    fn note(&self, id: &BlobId, note: &str) -> Path {
        Path::from(format!("{}/kept/{id}/{note}", self.prefix))
    }

    /// Puts something where the blob belongs.
    pub(super) async fn put(&self, id: &BlobId, content: &'static str) {
        self.raw().put(&self.path(id), content.into()).await.unwrap();
    }

    /// The notes of a blob.
    async fn notes(&self, id: &BlobId) -> Vec<String> {
        use futures_util::TryStreamExt as _;
        let (raw, below) = (self.raw(), self.note(id, ""));
        let objects: Vec<_> = raw.list(Some(&below)).try_collect().await.unwrap();
        objects
            .iter()
            .map(|object| object.location.filename().unwrap().to_owned())
            .collect()
    }
}

/// As often as it is tried: what was kept while somebody removed it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_while_it_is_removed_is_there() {
    let Some(bucket) = Bucket::fresh() else { return };
    let clock = Arc::new(Ahead::default());
    let (one, two) = (
        Arc::new(bucket.with(&bucket.options(), Arc::clone(&clock) as _)),
        Arc::new(bucket.with(&bucket.options(), Arc::clone(&clock) as _)),
    );
    let mut gone = 0;
    for round in 0..40_u8 {
        let sent = bytes(1_000 + usize::from(round));
        let id = keep(&*one, &sent).await;
        // An hour later nobody names it, and it is collected; at the same moment somebody brings it again.
        clock.0.fetch_add(3_600, Ordering::Relaxed);
        let staged = stage(&*two, &sent).await;
        let newest = clock.now().plus_seconds(-1_800);
        let removing = tokio::spawn({
            let one = Arc::clone(&one);
            async move { one.remove(&id, newest).await }
        });
        tokio::time::sleep(std::time::Duration::from_millis(u64::from(round) % 8)).await;
        assert_eq!(staged.keep().await, Ok(id));
        gone += u32::from(removing.await.unwrap().unwrap());
        assert!(read(&*one, &id).await.unwrap() == sent, "round {round}");
        let entry = one
            .list()
            .await
            .unwrap()
            .into_iter()
            .find(|entry| entry.id == id)
            .unwrap();
        assert!(entry.kept_at >= newest, "round {round}");
        assert_eq!(one.remove(&id, newest).await, Ok(false));
    }
    println!("removed {gone} times of 40 before it was kept");
}

/// Somebody has said that it removes the file, and does so only now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_a_file_waits_for_who_removes_it() {
    let Some(bucket) = Bucket::fresh() else { return };
    let store = bucket.store();
    let sent = bytes(1_000);
    let staged = stage(&store, &sent).await;
    let digest = staged.digest();
    let id = staged.keep().await.unwrap();
    let raw = bucket.raw();
    let note = bucket.note(&id, "removing-somebody");
    raw.put(&note, "".into()).await.unwrap();
    // Once of what was fetched, and once of what comes in.
    for fetched in [true, false] {
        raw.put(&note, "".into()).await.unwrap();
        let staged = match fetched {
            true => store.reopen(&digest).await.unwrap().unwrap(),
            false => stage(&store, &sent).await,
        };
        let keeping = tokio::spawn(staged.keep());
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert!(!keeping.is_finished());
        raw.delete(&bucket.path(&id)).await.unwrap();
        raw.delete(&note).await.unwrap();
        assert_eq!(keeping.await.unwrap(), Ok(id));
        assert!(read(&store, &id).await.unwrap() == sent);
    }
    assert_eq!(bucket.notes(&id).await.len(), 1);
}

/// Keeping what was fetched costs no second upload, and counts.
#[tokio::test]
async fn what_was_fetched_is_not_uploaded_again() {
    let Some(bucket) = Bucket::fresh() else { return };
    let clock = Arc::new(Ahead::default());
    let store = bucket.with(&bucket.options(), Arc::clone(&clock) as _);
    let staged = stage(&store, &bytes(1_000)).await;
    let digest = staged.digest();
    let id = staged.keep().await.unwrap();
    let raw = bucket.raw();
    let before = raw.head(&bucket.path(&id)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    clock.0.store(500, Ordering::Relaxed);
    store
        .reopen(&digest)
        .await
        .unwrap()
        .unwrap()
        .keep()
        .await
        .unwrap();
    let after = raw.head(&bucket.path(&id)).await.unwrap();
    assert_eq!(before.last_modified, after.last_modified);
    let entry = store.list().await.unwrap()[0];
    assert!((clock.now().unix() - entry.kept_at.unix()) < 60);
    assert_eq!(bucket.notes(&id).await, [entry.kept_at.unix().to_string()]);
}

/// A process ended in the midst of an upload, of a removal, and before an upload. A day later nothing of it is left.
#[tokio::test]
async fn what_ended_processes_left_is_cleared_away_a_day_later() {
    let Some(bucket) = Bucket::fresh() else { return };
    let clock = Arc::new(Ahead::default());
    let store = bucket.with(&bucket.options(), Arc::clone(&clock) as _);
    let (kept, lost) = (keep(&store, &bytes(1_000)).await, BlobId::of(b"lost"));
    let raw = bucket.raw();
    let upload = raw.create_multipart(&bucket.path(&lost)).await.unwrap();
    raw.put_part(&bucket.path(&lost), &upload, 0, vec![7; 5 << 20].into())
        .await
        .unwrap();
    raw.put(&bucket.note(&lost, "uploading-x"), upload.clone().into())
        .await
        .unwrap();
    let now = clock.now().unix().to_string();
    raw.put(&bucket.note(&lost, &now), "".into()).await.unwrap();
    raw.put(&bucket.note(&kept, "removing-x"), "".into())
        .await
        .unwrap();
    raw.put(&Path::from(format!("{}/not ours", bucket.prefix)), "x".into())
        .await
        .unwrap();
    let before = store.list().await.unwrap();
    assert_eq!(before.iter().map(|entry| entry.id).collect::<Vec<_>>(), [kept]);
    assert_eq!(
        (bucket.notes(&kept).await.len(), bucket.notes(&lost).await.len()),
        (2, 2)
    );
    clock.0.store(25 * 3_600, Ordering::Relaxed);
    assert_eq!(store.list().await.unwrap(), before);
    assert_eq!(
        (bucket.notes(&kept).await.len(), bucket.notes(&lost).await.len()),
        (1, 0)
    );
    // The upload is over: nobody can go on with it.
    let more = raw
        .put_part(&bucket.path(&lost), &upload, 1, vec![7; 10].into())
        .await;
    assert!(more.is_err());
    assert!(
        raw.head(&Path::from(format!("{}/not ours", bucket.prefix)))
            .await
            .is_ok()
    );
}
