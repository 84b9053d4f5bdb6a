//! Throttling, errors, cut connections, silence and slowness between the server and the bucket: a file is there as a whole or
//! not at all, and what is read is right or ends with an error.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use hallmark::domain::blob::BlobId;
use hallmark::ports::{BlobError, Blobs as _};

use super::cut::{Fault, Line};
use super::{Bucket, LARGE, bytes, keep, read, stage};

const SLOW_DOWN: Fault = Fault::Answer("503 Slow Down", "SlowDown");
const BROKEN: Fault = Fault::Answer("500 Internal Server Error", "InternalError");

fn any(_line: &str) -> bool {
    true
}

fn parts(line: &str) -> bool {
    line.starts_with("PUT") && line.contains("partNumber=")
}

fn gets(line: &str) -> bool {
    line.starts_with("GET") && !line.contains("list-type")
}

fn ends(line: &str) -> bool {
    line.starts_with("POST") && line.contains("uploadId=")
}

fn puts_of_blobs(line: &str) -> bool {
    line.starts_with("PUT") && !line.contains("/kept/")
}

/// What passes is tried again, and nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_a_moment_is_tried_again() {
    let Some(bucket) = Bucket::fresh() else { return };
    let line = Line::to(&bucket.server).await;
    let store = bucket.hasty(&line.url);
    let sent = bytes(LARGE);
    line.next(1, any, SLOW_DOWN);
    line.next(1, any, BROKEN);
    line.next(2, parts, SLOW_DOWN);
    line.next(1, parts, Fault::CutRequest(3 << 20));
    line.next(
        1,
        parts,
        Fault::DoneAnd("500 Internal Server Error", "InternalError"),
    );
    line.next(1, ends, BROKEN);
    let id = keep(&store, &sent).await;
    line.heal();
    line.next(1, gets, SLOW_DOWN);
    line.next(1, gets, BROKEN);
    line.next(1, gets, Fault::CutAnswer(1 << 20));
    line.next(1, gets, Fault::CutAnswer(0));
    line.next(1, gets, Fault::CutAnswer(10 << 20));
    assert!(read(&store, &id).await.unwrap() == sent);
    let seen = line.heal();
    assert!(seen.iter().filter(|line| gets(line)).count() >= 6, "{seen:?}");
    line.next(2, any, SLOW_DOWN);
    assert_eq!(store.list().await.unwrap().len(), 1);
}

/// Which requests a fault is for.
type Which = fn(&str) -> bool;

/// What lasts ends with an error, in time; nothing of the file is there, and the next try works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_kept_or_refused() {
    let Some(bucket) = Bucket::fresh() else { return };
    let line = Line::to(&bucket.server).await;
    let store = bucket.hasty(&line.url);
    for len in [100_000, LARGE] {
        let sent = bytes(len);
        let id = BlobId::of(&sent);
        let faults: [(Which, Fault); 5] = [
            (puts_of_blobs, SLOW_DOWN),
            (puts_of_blobs, Fault::CutRequest(50_000)),
            (puts_of_blobs, Fault::Silence),
            (ends, Fault::Answer("403 Forbidden", "AccessDenied")),
            (any, Fault::Answer("500 Internal Server Error", "InternalError")),
        ];
        for (which, fault) in faults {
            if len < LARGE && matches!(fault, Fault::Answer("403 Forbidden", _)) {
                continue; // it has no parts
            }
            line.next(usize::MAX, which, fault);
            let began = Instant::now();
            let error = stage(&store, &sent).await.keep().await.unwrap_err();
            assert!(matches!(error, BlobError::Unavailable { .. }), "{error}");
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{fault:?} took {:?}",
                began.elapsed()
            );
            line.heal();
            assert!(
                store.open(&id).await.unwrap().is_none(),
                "{len} bytes after {fault:?}"
            );
            assert_eq!(bucket.staged_files(), 0);
        }
        assert_eq!(keep(&store, &sent).await, id);
        assert!(read(&store, &id).await.unwrap() == sent);
    }
}

/// The bucket did it, and the answer got lost: the error says it did not work, which does no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_got_lost_does_no_harm() {
    let Some(bucket) = Bucket::fresh() else { return };
    let line = Line::to(&bucket.server).await;
    let store = bucket.hasty(&line.url);
    let sent = bytes(LARGE);
    line.next(1, ends, Fault::DoneAnd("503 Slow Down", "SlowDown"));
    let first = stage(&store, &sent).await.keep().await;
    line.heal();
    println!("the first time: {first:?}");
    let id = keep(&store, &sent).await;
    assert!(read(&store, &id).await.unwrap() == sent);
    assert_eq!(store.list().await.unwrap().len(), 1);
}

/// However reading ends, what came is the beginning of what was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_is_right_or_ends_with_an_error() {
    let Some(bucket) = Bucket::fresh() else { return };
    let line = Line::to(&bucket.server).await;
    let store = bucket.hasty(&line.url);
    let sent = bytes(3 << 20);
    let id = keep(&store, &sent).await;
    let blob = store.open(&id).await.unwrap().unwrap();
    for fault in [
        Fault::CutAnswer(0),
        Fault::CutAnswer(10),
        Fault::Silence,
        SLOW_DOWN,
        Fault::Trickle(50_000, Duration::from_millis(5)),
        Fault::Trickle(1 << 10, Duration::from_secs(3)),
    ] {
        line.next(usize::MAX, gets, fault);
        let began = Instant::now();
        let mut stream = blob.stream(1_000_000, 1 << 20);
        let (mut came, mut error) = (Vec::new(), None);
        let reading = async {
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => came.extend_from_slice(&piece),
                    Err(failed) => error = Some(failed),
                }
            }
        };
        // A connection that brings a little each time is read on and on.
        let endless = matches!(fault, Fault::CutAnswer(10) | Fault::Trickle(1024, _));
        let ended = tokio::time::timeout(Duration::from_secs(if endless { 5 } else { 60 }), reading).await;
        assert_eq!(ended.is_err(), endless, "{fault:?} after {:?}", began.elapsed());
        assert!(sent[1_000_000..].starts_with(&came), "{fault:?}");
        let whole = came.len() == 1 << 20;
        assert_eq!(
            whole,
            error.is_none() && !endless,
            "{fault:?}: {} bytes, {error:?}",
            came.len()
        );
        line.heal();
    }
    assert!(read(&store, &id).await.unwrap() == sent);
    // The file is replaced by another one of another length: no bytes of both are mixed.
    line.next(1, gets, Fault::CutAnswer(1 << 20));
    let mut stream = blob.stream(0, u64::MAX);
    let first = stream.try_next().await.unwrap().unwrap();
    assert!(sent.starts_with(&first));
    bucket.put(&id, "another").await;
    let rest = stream.try_collect::<Vec<_>>().await;
    assert!(rest.is_err(), "{rest:?}");
}

/// Nobody reads: nothing is taken from the bucket beyond what fits between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reads_is_not_fetched() {
    let Some(bucket) = Bucket::fresh() else { return };
    let store = bucket.store();
    let sent = bytes(64 << 20);
    let id = keep(&store, &sent).await;
    let blob = store.open(&id).await.unwrap().unwrap();
    let before = resident();
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = blob.stream(0, u64::MAX);
        stream.try_next().await.unwrap().unwrap();
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let more = resident().saturating_sub(before);
    assert!(more < 64 << 20, "16 downloads of 64 MiB hold {} MiB", more >> 20);
    let mut last = streams.pop().unwrap();
    let mut length = 0;
    while let Some(piece) = last.try_next().await.unwrap() {
        assert!(piece.len() <= 1 << 20, "a piece of {} bytes", piece.len());
        length += piece.len();
    }
    assert!(length > 60 << 20);
}

/// Memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
