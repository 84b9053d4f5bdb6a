//! Ten thousand clients that do nothing must not keep the others from being served.

use std::time::{Duration, Instant};

use hallmark::cli::line::Instance;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const IDLE: usize = 10_000;
/// Of these, how many have asked something before.
const USED: usize = 2_000;
/// What the server may need for them, in MiB above the most its start needed. Deriving keys takes 64 MiB for a moment, and
/// whether the allocator has given these back before the crowd comes, or lets it have them, differs from run to run: above
/// what the server has just then the growth is anything from 140 to 207. Above the peak it is the same either way.
const MEMORY: f64 = 170.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_do_no_harm() {
    let limit = getrlimit(Resource::Nofile);
    let needed = IDLE as u64 + 512;
    assert!(
        limit.maximum.is_none_or(|most| most >= needed),
        "the limit of open files is too low for this test"
    );
    if limit.current.is_some_and(|current| current < needed) {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(needed),
                maximum: limit.maximum,
            },
        )
        .unwrap();
    }
    let below = tempfile::tempdir().unwrap();
    let instance = Instance::new(env!("CARGO_BIN_EXE_hallmark"), below.path());
    instance.init("crowd-brand").unwrap();
    let server = instance.serve().unwrap();
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    ask(&mut TcpStream::connect(&address).await.unwrap(), "/readyz").await;
    let (_, before) = server.memory().unwrap();

    let mut crowd = Vec::with_capacity(IDLE);
    for place in 0..IDLE {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        if place % (IDLE / USED) == 0 {
            ask(&mut stream, "/healthz").await;
        }
        crowd.push(stream);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let started = Instant::now();
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let answer = ask(&mut stream, "/v2/assertions/account/crowd-brand").await;
        assert!(answer.contains("type: account\n"), "{answer}");
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "a request took {slowest:?}");
    let metrics = ask(&mut TcpStream::connect(&address).await.unwrap(), "/metrics").await;
    let gauge = metrics
        .lines()
        .find_map(|line| line.strip_prefix("hallmark_http_connections "))
        .unwrap();
    assert!(gauge.parse::<usize>().unwrap() >= IDLE, "{gauge}");
    let (after, _) = server.memory().unwrap();
    assert!(
        after - before < MEMORY,
        "memory grew from {before:.0} at most to {after:.0} MiB"
    );
    eprintln!("{IDLE} idle connections: slowest request {slowest:?}, memory {before:.0} -> {after:.0} MiB");

    // They do not keep it from ending either.
    let started = Instant::now();
    server.stop().unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    drop(crowd);
}

/// One request on a connection that stays open.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    loop {
        let mut part = [0; 16 * 1024];
        let length = stream.read(&mut part).await.unwrap();
        assert!(length > 0, "the server closed the connection");
        answer.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let announced = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if announced.is_some_and(|announced| announced.parse() == Ok(body.len())) {
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                return body.to_owned();
            }
        }
    }
}
