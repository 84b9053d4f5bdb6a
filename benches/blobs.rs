//! Files coming in and going out of the store, beside what hashing alone costs.
//!
//! `taking_in::hashing_alone` is the limit of `taking_in::staged`: SHA-512 and writing run beside SHA3-384 (D-23).
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start may stop")]

use std::sync::Arc;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use futures_util::TryStreamExt as _;
use hallmark::adapters::blobs_file::FileBlobs;
use hallmark::adapters::system::SystemClock;
use hallmark::domain::blob::{BlobIdHasher, Sha512Hasher};
use hallmark::ports::{Blob, Blobs, Staged};

fn main() {
    divan::main();
}

const SIZE: usize = 64 << 20;
/// What a request's body comes in as.
const PIECE: usize = 64 << 10;

fn content() -> Bytes {
    let bytes = (0..SIZE).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
    bytes.collect::<Vec<_>>().into()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

async fn stage(store: &FileBlobs, content: &Bytes) -> Box<dyn Staged> {
    let mut staging = store.stage().await.unwrap();
    for piece in content.chunks(PIECE) {
        staging.write(content.slice_ref(piece)).await.unwrap();
    }
    staging.finish().await.unwrap()
}

mod taking_in {
    use super::*;

    #[divan::bench(sample_count = 10)]
    fn hashing_alone(bencher: Bencher<'_, '_>) {
        let content = content();
        bencher.counter(BytesCount::new(SIZE)).bench(|| {
            let mut hasher = BlobIdHasher::default();
            content.chunks(PIECE).for_each(|piece| hasher.update(piece));
            hasher.finish()
        });
    }

    #[divan::bench(sample_count = 10)]
    fn sha512_alone(bencher: Bencher<'_, '_>) {
        let content = content();
        bencher.counter(BytesCount::new(SIZE)).bench(|| {
            let mut hasher = Sha512Hasher::default();
            content.chunks(PIECE).for_each(|piece| hasher.update(piece));
            hasher.finish()
        });
    }

    #[divan::bench(sample_count = 10)]
    fn staged(bencher: Bencher<'_, '_>) {
        let (content, runtime, directory) = (content(), runtime(), tempfile::tempdir().unwrap());
        let store = FileBlobs::open(directory.path(), Arc::new(SystemClock)).unwrap();
        bencher
            .counter(BytesCount::new(SIZE))
            .bench(|| runtime.block_on(stage(&store, &content)).digest());
    }
}

mod giving_out {
    use super::*;

    #[divan::bench(sample_count = 20)]
    fn streamed(bencher: Bencher<'_, '_>) {
        let (content, runtime, directory) = (content(), runtime(), tempfile::tempdir().unwrap());
        let store = FileBlobs::open(directory.path(), Arc::new(SystemClock)).unwrap();
        let blob: Arc<dyn Blob> = runtime.block_on(async {
            let id = stage(&store, &content).await.keep().await.unwrap();
            store.open(&id).await.unwrap().unwrap()
        });
        bencher.counter(BytesCount::new(SIZE)).bench(|| {
            let pieces = blob
                .stream(0, u64::MAX)
                .try_fold(0, |sum, piece| std::future::ready(Ok(sum + piece.len())));
            assert_eq!(runtime.block_on(pieces), Ok(SIZE));
        });
    }
}
