//! What reserving and recording a serial costs on the embedded engine, alone and with many at once.
//!
//! `bare_write_and_sync` is one write and one sync of a file on the same disk: the limit for a ledger that loses
//! nothing. Many at once share their syncs, so a serial of theirs costs less than one.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start may stop")]

#[path = "../tests/conformance/samples.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::panic,
    reason = "shared with the conformance suite, which uses the rest"
)]
mod samples;

use std::io::{Seek as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use hallmark::adapters::sled::{Sled, SledOptions};
use hallmark::ports::Storage;

fn main() {
    divan::main();
}

/// On the disk the build is on, which is a real one; `/tmp` need not be.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[divan::bench]
fn bare_write_and_sync(bencher: Bencher<'_, '_>) {
    let below = directory();
    let mut file = std::fs::File::create(below.path().join("bare")).unwrap();
    let block = vec![7_u8; 4096];
    bencher.bench_local(|| {
        file.rewind().unwrap();
        file.write_all(&block).unwrap();
        file.sync_data().unwrap();
    });
}

#[divan::bench(args = [1, 16, 64])]
fn serials_at_once(bencher: Bencher<'_, '_>, together: u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let below = directory();
    let storage = runtime.block_on(async { Sled::open(&SledOptions::new(below.path().join("db"))) });
    let storage: Arc<dyn Storage> = Arc::new(storage.unwrap());
    let number = Arc::new(AtomicU64::new(1));
    bencher.counter(ItemsCount::new(together)).bench_local(|| {
        runtime.block_on(async {
            let tasks = (0..together).map(|_| {
                let (storage, number) = (Arc::clone(&storage), Arc::clone(&number));
                tokio::spawn(async move {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    let claim = samples::claim(&format!("serial-{number}"), 'a', number);
                    samples::issue(&*storage, claim).await
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
    });
}
