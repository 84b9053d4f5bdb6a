//! What every store of files must do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use hallmark::domain::blob::{BlobId, Sha512Hasher};
use hallmark::domain::time::Timestamp;
use hallmark::ports::{Blob, Blobs, Clock, Staged};

/// An engine with one store that starts empty.
#[async_trait::async_trait]
pub(crate) trait BlobEngine: Send + Sync {
    /// Opens the store, as a process does at its start; `clock` is the time it sees.
    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Blobs>;
}

/// A clock that is set by hand.
#[derive(Debug)]
pub(crate) struct Hands(AtomicI64);

impl Hands {
    fn at(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds)))
    }

    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.0.load(Ordering::Relaxed))
    }
}

const NOON: i64 = 1_790_000_000;

async fn open(engine: &dyn BlobEngine) -> Arc<dyn Blobs> {
    engine.open(Hands::at(NOON)).await
}

/// Bytes that differ from place to place.
fn bytes(len: usize, seed: u8) -> Bytes {
    (0..len)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed)
        .collect::<Vec<_>>()
        .into()
}

async fn stage(store: &dyn Blobs, content: &Bytes, piece: usize) -> Box<dyn Staged> {
    let mut staging = store.stage().await.expect("stage");
    for part in content.chunks(piece) {
        staging.write(content.slice_ref(part)).await.expect("write");
    }
    staging.finish().await.expect("finish")
}

async fn keep(store: &dyn Blobs, content: &Bytes) -> BlobId {
    stage(store, content, 70_000).await.keep().await.expect("keep")
}

async fn read(blob: &dyn Blob, offset: u64, len: u64) -> Vec<u8> {
    let pieces: Vec<Bytes> = blob.stream(offset, len).try_collect().await.expect("read");
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    pieces.concat()
}

async fn content(store: &dyn Blobs, id: &BlobId) -> Option<Vec<u8>> {
    let blob = store.open(id).await.expect("open")?;
    Some(read(&*blob, 0, u64::MAX).await)
}

pub(crate) async fn a_kept_file_is_read_back(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    for len in [0, 1, 100_000, 3_000_000] {
        let sent = bytes(len, 1);
        let staged = stage(&*store, &sent, 8_000).await;
        let digest = staged.digest();
        let mut sha512 = Sha512Hasher::default();
        sha512.update(&sent);
        assert_eq!(digest.id, BlobId::of(&sent));
        assert_eq!(digest.sha512, sha512.finish());
        assert_eq!(digest.size, len as u64);
        assert_eq!(staged.keep().await, Ok(digest.id));
        let blob = store.open(&digest.id).await.unwrap().unwrap();
        assert_eq!(blob.size(), len as u64);
        assert!(read(&*blob, 0, u64::MAX).await == sent, "{len} bytes changed");
    }
}

pub(crate) async fn digests_do_not_depend_on_the_pieces(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let sent = bytes(2_500_001, 2);
    let mut digests = Vec::new();
    for piece in [997, 65_536, 524_288, 5_000_000] {
        digests.push(stage(&*store, &sent, piece).await.digest());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(digests[0].id, BlobId::of(&sent));
}

pub(crate) async fn a_staged_file_has_a_path_until_dropped(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let sent = bytes(700_000, 3);
    let staged = stage(&*store, &sent, 50_000).await;
    let path = staged.path().to_owned();
    assert!(std::fs::read(&path).unwrap() == sent);
    drop(staged);
    assert!(!path.exists());
    let staged = stage(&*store, &sent, 50_000).await;
    let path = staged.path().to_owned();
    staged.keep().await.unwrap();
    assert!(!path.exists());
}

pub(crate) async fn a_file_that_was_not_kept_is_not_there(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let sent = bytes(10, 4);
    drop(stage(&*store, &sent, 10).await);
    let mut unfinished = store.stage().await.unwrap();
    unfinished.write(sent.clone()).await.unwrap();
    drop(unfinished);
    assert_eq!(content(&*store, &BlobId::of(&sent)).await, None);
    assert_eq!(store.list().await, Ok(vec![]));
}

pub(crate) async fn any_part_of_a_file_is_streamed(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let sent = bytes(1_000_000, 5);
    let blob = {
        let id = keep(&*store, &sent).await;
        store.open(&id).await.unwrap().unwrap()
    };
    for (offset, len) in [
        (0, 0),
        (0, 1),
        (999_999, 1),
        (999_999, 2),
        (1_000_000, 1),
        (1_000_001, 1),
        (u64::MAX, u64::MAX),
        (131_071, 131_074),
        (500, u64::MAX),
    ] {
        let from = usize::try_from(offset).unwrap().min(sent.len());
        let to = from.saturating_add(usize::try_from(len).unwrap()).min(sent.len());
        assert!(
            read(&*blob, offset, len).await == sent[from..to],
            "{len} at {offset}"
        );
    }
}

pub(crate) async fn keeping_twice_keeps_one(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let sent = bytes(5_000, 6);
    let (one, two) = (stage(&*store, &sent, 100).await, stage(&*store, &sent, 100).await);
    assert_eq!(one.keep().await, two.keep().await);
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert!(content(&*store, &BlobId::of(&sent)).await.unwrap() == sent);
}

pub(crate) async fn a_kept_file_is_opened_again(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let sent = bytes(5_000, 7);
    let staged = stage(&*store, &sent, 100).await;
    let digest = staged.digest();
    assert!(store.reopen(&digest).await.unwrap().is_none());
    let id = staged.keep().await.unwrap();
    let (one, two) = (
        store.reopen(&digest).await.unwrap(),
        store.reopen(&digest).await.unwrap(),
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.digest(), two.digest()), (digest, digest));
    assert_ne!(one.path(), two.path());
    // It can be read whoever else reads it, and whether it is removed meanwhile.
    assert!(store.remove(&id, Timestamp::from_unix(NOON + 1)).await.unwrap());
    let path = one.path().to_owned();
    assert!(std::fs::read(&path).unwrap() == sent);
    drop(one);
    assert!(!path.exists());
    assert!(content(&*store, &id).await.is_none());
    // And kept again, as often as one likes.
    assert_eq!(two.keep().await.unwrap(), id);
    let again = store.reopen(&digest).await.unwrap().unwrap();
    assert_eq!(again.keep().await.unwrap(), id);
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert!(content(&*store, &id).await.unwrap() == sent);
}

pub(crate) async fn files_are_listed_by_name_with_their_age(engine: &dyn BlobEngine) {
    let clock = Hands::at(NOON);
    let store = engine.open(Arc::clone(&clock) as _).await;
    let mut expected = Vec::new();
    for number in 0..20_u8 {
        clock.set(NOON + i64::from(number));
        let id = keep(&*store, &bytes(usize::from(number), number)).await;
        expected.push((id, u64::from(number), NOON + i64::from(number)));
    }
    // Keeping again counts.
    clock.set(NOON + 100);
    keep(&*store, &bytes(7, 7)).await;
    expected[7].2 = NOON + 100;
    expected.sort_unstable();
    let listed = store.list().await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|entry| (entry.id, entry.size, entry.kept_at.unix()))
        .collect();
    assert_eq!(listed, expected);
}

pub(crate) async fn only_old_files_are_removed(engine: &dyn BlobEngine) {
    let clock = Hands::at(NOON);
    let store = engine.open(Arc::clone(&clock) as _).await;
    let sent = bytes(100, 8);
    let id = keep(&*store, &sent).await;
    assert_eq!(store.remove(&id, Timestamp::from_unix(NOON)).await, Ok(false));
    assert!(content(&*store, &id).await.is_some());
    assert_eq!(store.remove(&id, Timestamp::from_unix(NOON + 1)).await, Ok(true));
    assert_eq!(content(&*store, &id).await, None);
    assert_eq!(store.remove(&id, Timestamp::from_unix(NOON + 1)).await, Ok(false));
    // A second life.
    clock.set(NOON + 5);
    assert_eq!(keep(&*store, &sent).await, id);
    assert_eq!(store.remove(&id, Timestamp::from_unix(NOON + 1)).await, Ok(false));
    assert!(content(&*store, &id).await.unwrap() == sent);
}

pub(crate) async fn an_open_file_outlives_its_removal(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let sent = bytes(600_000, 9);
    let id = keep(&*store, &sent).await;
    let blob = store.open(&id).await.unwrap().unwrap();
    let mut stream = blob.stream(0, u64::MAX);
    let first = stream.try_next().await.unwrap().unwrap();
    assert_eq!(store.remove(&id, Timestamp::from_unix(NOON + 1)).await, Ok(true));
    drop(blob);
    let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert!([&[first], &rest[..]].concat().concat() == sent);
}

pub(crate) async fn kept_files_survive_a_restart(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let sent = bytes(300_000, 10);
    let id = keep(&*store, &sent).await;
    drop(store);
    let store = open(engine).await;
    assert!(content(&*store, &id).await.unwrap() == sent);
}

pub(crate) async fn many_files_come_in_and_go_out_at_once(engine: &dyn BlobEngine) {
    let store = open(engine).await;
    let results = super::race(24, |number| {
        let store = Arc::clone(&store);
        async move {
            // Every third file is the same one.
            let seed = if number % 3 == 0 { 0 } else { number };
            let sent = bytes(1_200_000, seed as u8);
            let id = keep(&*store, &sent).await;
            content(&*store, &id).await.unwrap() == sent
        }
    })
    .await;
    assert!(results.into_iter().all(|same| same));
    assert_eq!(store.list().await.unwrap().len(), 17);
}
