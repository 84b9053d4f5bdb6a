//! What reserving and recording a serial costs on the embedded engine, alone and with many at once.
//!
//! `bare …` is one write and one sync of a file on the same disk: the limit for a ledger that loses nothing. The
//! many share their syncs, so a serial of theirs costs less than one.
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

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hallmark::adapters::sled::{Sled, SledOptions};
use hallmark::ports::Storage;

fn ledger(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let below = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut group = criterion.benchmark_group("ledger");
    group.sample_size(30);

    let mut file = std::fs::File::create(below.path().join("bare")).unwrap();
    let block = vec![7_u8; 4096];
    group.bench_function("bare write and sync", |b| {
        b.iter(|| {
            file.rewind().unwrap();
            file.write_all(&block).unwrap();
            file.sync_data().unwrap();
        })
    });

    let sled = runtime.block_on(async { Sled::open(&SledOptions::new(below.path().join("db"))) });
    let storage: Arc<dyn Storage> = Arc::new(sled.unwrap());
    let number = Arc::new(AtomicU64::new(1));
    for together in [1_u64, 16] {
        group.throughput(Throughput::Elements(together));
        group.bench_function(format!("sled, {together} at once"), |b| {
            b.iter(|| {
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
                })
            })
        });
    }
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
