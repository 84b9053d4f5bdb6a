//! The edge over real sockets: routing, dialects, limits, slow and broken clients.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hallmark::domain::ident::{BrandId, ModelName};
use hallmark::domain::vault::is_reserved;
use hallmark::http::endpoint::{Access, Endpoint};
use hallmark::http::metrics::Metrics;
use hallmark::http::path;
use hallmark::http::router::{Family, Router};
use hallmark::http::serve::{self, Limits, Listener, Server};
use hallmark::http::{body, reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use warp::Filter;

use crate::office::Office;

const LIMIT: usize = 2 * 1024 * 1024;

fn endpoints() -> Vec<Endpoint> {
    let echo = warp::path!("v1" / "serial")
        .and(warp::post())
        .and(path::brand_prefix())
        .and(body::up_to(LIMIT))
        .map(|brand: Option<path::BrandPrefix>, body: bytes::Bytes| {
            reply::json(&serde_json::json!({"brand": brand.map(|b| b.0.to_string()), "length": body.len()}))
        })
        .boxed();
    let slow = warp::path!("hallmark" / "v1" / "slow")
        .then(|| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            reply::json(&"done")
        })
        .boxed();
    let model = warp::path!("hallmark" / "v1" / "models" / ..)
        .and(path::segment::<ModelName>())
        .and(warp::path::end())
        .map(|model: ModelName| reply::json(&model))
        .boxed();
    let import = warp::path!("hallmark" / "v1" / "models" / "import")
        .map(|| reply::json(&"imported"))
        .boxed();
    let assertion = warp::path!("v2" / "assertions" / ..)
        .and(path::rest())
        .map(|rest: path::Rest| reply::json(&rest.0))
        .boxed();
    let who = warp::path!("hallmark" / "v1" / "who")
        .and(serve::peer())
        .map(|peer: serve::Peer| reply::json(&peer.to_string()))
        .boxed();
    vec![
        Endpoint::post("/v1/serial", Access::Open, "Echo", echo),
        Endpoint::get("/hallmark/v1/slow", Access::Open, "Slow", slow),
        Endpoint::get("/hallmark/v1/models/{name}", Access::Open, "Model", model),
        Endpoint::get("/v2/assertions/{key...}", Access::Open, "Assertion", assertion),
        Endpoint::post("/hallmark/v1/models/import", Access::Open, "Import", import),
        Endpoint::get("/hallmark/v1/who", Access::Open, "Who", who),
    ]
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let router = Router::new(endpoints(), Metrics::default()).unwrap();
    let server = Server::new(router, limits, vec!["127.0.0.0/8".parse().unwrap()]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.run(Listener::Tcp(listener), stop.clone()));
    Running { address, stop, task }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, closes the sending side if asked, and returns all that comes back.
    async fn raw(&self, request: &[u8], half_close: bool) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        if half_close {
            stream.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn send(&self, head: &str, body: &str) -> String {
        self.raw(
            format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n{body}").as_bytes(),
            false,
        )
        .await
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn short() -> Limits {
    Limits {
        head: Duration::from_millis(150),
        idle: Duration::from_millis(400),
        body: Duration::from_millis(200),
        connections: 64,
        drain: Duration::from_secs(2),
    }
}

#[tokio::test]
async fn both_spellings_the_brand_prefix_and_decoded_segments_reach_their_endpoint() {
    let server = start(Limits::default()).await;
    for path in ["/v1/serial", "/v1/serial/"] {
        let answer = server
            .send(&format!("POST {path} HTTP/1.1\r\nContent-Length: 3"), "abc")
            .await;
        assert!(answer.ends_with(r#"{"brand":null,"length":3}"#), "{answer}");
    }
    let answer = server
        .send("POST /acme/v1/serial HTTP/1.1\r\nContent-Length: 3", "abc")
        .await;
    assert!(answer.ends_with(r#"{"brand":"acme","length":3}"#), "{answer}");
    let answer = server
        .send("GET /v2/assertions/model/16/b%20c/d/ HTTP/1.1", "")
        .await;
    assert!(answer.ends_with(r#"["model","16","b c","d"]"#), "{answer}");
    let answer = server.send("GET /hallmark/v1/models/ok-1 HTTP/1.1", "").await;
    assert!(answer.ends_with(r#""ok-1""#), "{answer}");
    for path in [
        "/v1//serial",
        "//v1/serial",
        "/api/v1/serial",
        "/acme/v1",
        "/ACME/v1/serial",
        "/acme/v2/assertions/a",
    ] {
        let answer = server
            .send(&format!("POST {path} HTTP/1.1\r\nContent-Length: 0"), "")
            .await;
        assert_eq!(status(&answer), "404", "{path}: {answer}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_the_dialect_of_their_family() {
    let server = start(Limits::default()).await;
    let cases = [
        ("POST /v1/nothing", "404", "text/plain"),
        ("GET /acme/v1/nothing", "404", "text/plain"),
        ("GET /v1/serial", "405", "\"success\":false"),
        ("GET /acme/v1/serial", "405", "\"success\":false"),
        (
            "GET /v2/nothing",
            "404",
            "{\"error-list\":[{\"code\":\"not-found\"",
        ),
        (
            "POST /v2/assertions/a/b",
            "405",
            "{\"error-list\":[{\"code\":\"method-not-allowed\"",
        ),
        (
            "GET /hallmark/v1/nothing",
            "404",
            "{\"error-list\":[{\"code\":\"resource-not-found\"",
        ),
        (
            "GET /hallmark/v1/models/No",
            "404",
            "{\"error-list\":[{\"code\":\"resource-not-found\"",
        ),
        ("DELETE /hallmark/v1/slow", "405", "it takes GET, HEAD"),
    ];
    for (request, expected, part) in cases {
        let answer = server.send(&format!("{request} HTTP/1.1"), "").await;
        assert_eq!(status(&answer), expected, "{request}");
        assert!(answer.contains(part), "{request}: {answer}");
        let kind = if part == "text/plain" {
            "content-type: text/plain; charset=utf-8\r\n"
        } else {
            "content-type: application/json\r\n"
        };
        assert!(answer.contains(kind), "{request}: {answer}");
        assert!(answer.contains("x-request-id: "), "{request}: {answer}");
        assert_eq!(
            answer.contains("snap-store-version: 55"),
            !request.contains("/hallmark/"),
            "{request}: {answer}"
        );
    }
    assert!(
        server
            .send("DELETE /hallmark/v1/slow HTTP/1.1", "")
            .await
            .contains("allow: GET, HEAD\r\n")
    );
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let server = start(Limits::default()).await;
    let answer = server.send("HEAD /v2/assertions/model/16 HTTP/1.1", "").await;
    assert_eq!(status(&answer), "200");
    assert!(
        answer.contains("content-length: 14\r\n") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whatever_its_framing() {
    let server = start(Limits::default()).await;
    let body = "x".repeat(LIMIT + 1);
    let answer = server
        .send(
            &format!("POST /v1/serial HTTP/1.1\r\nContent-Length: {}", body.len()),
            &body,
        )
        .await;
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains("larger than 2097152 bytes"), "{answer}");
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let answer = server
        .send("POST /v1/serial HTTP/1.1\r\nTransfer-Encoding: chunked", &chunked)
        .await;
    assert_eq!(status(&answer), "413", "{answer}");
    let answer = server
        .send(
            &format!("POST /v1/serial HTTP/1.1\r\nContent-Length: {LIMIT}"),
            &body[..LIMIT],
        )
        .await;
    assert_eq!(status(&answer), "200", "{answer}");
    let answer = server
        .send(
            "POST /v1/serial HTTP/1.1\r\nTransfer-Encoding: chunked",
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        )
        .await;
    assert!(answer.ends_with("\"length\":5}"), "{answer}");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = start(Limits::default()).await;
    let body = "x".repeat(16 * 1024 * 1024);
    for (path, expected) in [
        ("/nothing", "404"),
        ("/hallmark/v1/who", "405"),
        ("/v1/serial", "413"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = server.connect().await;
        // All of it is sent before anything is read, as simple clients do.
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(status(&answer), expected, "{path}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    // Who asks first is told without having to send.
    let mut stream = server.connect().await;
    let head =
        "POST /v1/serial HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let length = stream.read(&mut answer).await.unwrap();
    assert!(
        answer[..length].starts_with(b"HTTP/1.1 413"),
        "{}",
        String::from_utf8_lossy(&answer[..length])
    );
}

/// The head of an answer; its body is read and dropped.
async fn heard(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    head
}

/// Clients keep connections. Where a refusal leaves a body unread, the connection ends with it, and the client is told.
#[tokio::test]
async fn a_refusal_does_not_cost_the_next_request_its_answer() {
    let server = start(Limits::default()).await;
    for (path, size) in [
        ("/nothing", 10),
        ("/nothing", 5_000),
        ("/nothing", 300_000),
        ("/v1/serial", 300_000),
        ("/v1/serial", LIMIT + 1),
    ] {
        for _ in 0..20 {
            let mut stream = server.connect().await;
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
            let _refused_early = stream.write_all(&vec![b'x'; size]).await;
            if heard(&mut stream).await.contains("connection: close") {
                assert_ne!((path, size), ("/v1/serial", 300_000), "it was read");
                continue;
            }
            let next = "POST /v1/serial HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
            stream.write_all(next.as_bytes()).await.unwrap();
            assert_eq!(status(&heard(&mut stream).await), "200", "{path} {size}");
        }
    }
}

#[tokio::test]
async fn half_closed_and_wrongly_framed_bodies_are_refused_clearly() {
    let server = start(short()).await;
    let head = "POST /v1/serial HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let answer = server
        .raw(format!("{head}Content-Length: 10\r\n\r\nabc").as_bytes(), true)
        .await;
    assert_eq!(status(&answer), "400", "{answer}");
    assert!(answer.contains("ended early"), "{answer}");
    // Still open, but nothing more comes: the device is told to try again, not to sleep.
    let answer = server
        .raw(format!("{head}Content-Length: 10\r\n\r\nabc").as_bytes(), false)
        .await;
    assert_eq!(status(&answer), "503", "{answer}");
    let answer = server
        .raw(format!("{head}Content-Length: x\r\n\r\nabc").as_bytes(), false)
        .await;
    assert_eq!(status(&answer), "400", "{answer}");
    let answer = server
        .raw(
            format!("{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc").as_bytes(),
            false,
        )
        .await;
    assert_eq!(status(&answer), "400", "{answer}");
    let answer = server
        .raw(
            format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n").as_bytes(),
            false,
        )
        .await;
    assert_eq!(status(&answer), "400", "{answer}");
    // A complete request whose sender closes its side is answered.
    let answer = server
        .raw(format!("{head}Content-Length: 3\r\n\r\nabc").as_bytes(), true)
        .await;
    assert_eq!(status(&answer), "200", "{answer}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_reason_and_a_request_id() {
    let server = start(short()).await;
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    for (request, expected) in [
        ("HELLO\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), "400"),
        (
            "POST /v1/serial HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(),
            "400",
        ),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), "431"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)), "4"),
    ] {
        let answer = server.raw(request.as_bytes(), true).await;
        // A path that is too long is either 414 or 431, as it comes.
        assert!(status(&answer).starts_with(expected), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nx-request-id: "), "{answer}");
        assert!(
            head.ends_with(&format!("\r\ncontent-length: {}", body.len())),
            "{answer}"
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let message = body["error-list"][0]["message"].as_str().unwrap();
        assert!(message.starts_with("cannot read the request"), "{message}");
    }
    // Neither does a request before it, on the same connection, change that.
    let answer = server
        .raw(
            b"GET /hallmark/v1/who HTTP/1.1\r\nHost: x\r\n\r\nHELLO\r\n\r\n",
            true,
        )
        .await;
    assert_eq!(answer.matches("x-request-id: ").count(), 2, "{answer}");
}

#[tokio::test]
async fn slow_heads_are_dropped_and_idle_connections_last_longer() {
    // Idle connections are not dropped while this test runs, so what is dropped was slow.
    let limits = Limits {
        idle: Duration::from_secs(600),
        ..short()
    };
    let server = start(limits).await;
    assert_eq!(
        server.raw(b"GET /hallmark/v1/who HTTP/1.1\r\nHost:", false).await,
        ""
    );

    // One byte at a time does not help.
    let mut stream = server.connect().await;
    let mut dropped = false;
    for byte in b"GET /hallmark/v1/who HTTP/1.1\r\nHost: x\r\n\r\n" {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if stream.write_all(&[*byte]).await.is_err() {
            dropped = true;
            break;
        }
    }
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest).await;
    assert!(
        dropped || read.is_err() || rest.is_empty(),
        "{}",
        String::from_utf8_lossy(&rest)
    );

    // An idle connection outlives the limit for heads, and a second request on it is answered; for ever it does not last.
    let limits = Limits {
        idle: Duration::from_secs(2),
        ..short()
    };
    let server = start(limits).await;
    let mut stream = server.connect().await;
    let request = b"GET /hallmark/v1/who HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(170)).await;
        stream.write_all(request).await.unwrap();
        let mut answer = vec![0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(
            answer[..length].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..length])
        );
    }
    let started = Instant::now();
    let mut end = Vec::new();
    stream.read_to_end(&mut end).await.unwrap();
    assert!(
        started.elapsed() > Duration::from_millis(1_800),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_stop_lets_running_requests_finish_and_closes_idle_connections() {
    let server = start(Limits::default()).await;
    let mut idle = server.connect().await;
    let mut used = server.connect().await;
    used.write_all(b"GET /hallmark/v1/who HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0; 1024];
    assert!(used.read(&mut answer).await.unwrap() > 0);
    let mut busy = server.connect().await;
    busy.write_all(b"GET /hallmark/v1/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop.cancel();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\"done\""), "{answer}");
    for stream in [&mut idle, &mut used] {
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap_or(0), 0);
    }
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// Where another process takes over the socket, clients see nothing of it.
#[tokio::test]
async fn a_request_that_is_on_its_way_at_a_stop_is_answered() {
    let server = start(Limits::default()).await;
    let request = b"GET /hallmark/v1/who HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut used = server.connect().await;
    used.write_all(request).await.unwrap();
    assert_eq!(status(&heard(&mut used).await), "200");
    let mut fresh = server.connect().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for stream in [&mut used, &mut fresh] {
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(status(&answer), "200", "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    server.task.await.unwrap();
}

#[tokio::test]
async fn only_trusted_proxies_name_the_client() {
    let server = start(Limits::default()).await;
    let ask = async |forwarded: &str| {
        server
            .send(
                &format!("GET /hallmark/v1/who HTTP/1.1\r\nX-Forwarded-For: {forwarded}"),
                "",
            )
            .await
    };
    assert!(ask("203.0.113.7").await.ends_with("\"203.0.113.7\""));
    assert!(
        ask("6.6.6.6, 203.0.113.7, 127.0.0.9")
            .await
            .ends_with("\"203.0.113.7\"")
    );
    assert!(ask("rubbish").await.ends_with("\"127.0.0.1\""));
    let answer = server
        .send("GET /hallmark/v1/who HTTP/1.1\r\nX-Request-Id: from-proxy-1", "")
        .await;
    assert!(answer.contains("x-request-id: from-proxy-1\r\n"), "{answer}");
}

#[tokio::test]
async fn connections_above_the_cap_wait_their_turn() {
    let limits = Limits {
        connections: 2,
        ..short()
    };
    let server = start(limits).await;
    let started = Instant::now();
    let _first = server.connect().await;
    let _second = server.connect().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = server.send("GET /hallmark/v1/who HTTP/1.1", "").await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(
        started.elapsed() > Duration::from_millis(200),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_fixed_path_does_not_hide_a_variable_one_of_another_method() {
    let server = start(Limits::default()).await;
    let answer = server
        .send(
            "POST /hallmark/v1/models/import HTTP/1.1\r\nContent-Length: 0",
            "",
        )
        .await;
    assert!(answer.ends_with("\"imported\""), "{answer}");
    let answer = server.send("GET /hallmark/v1/models/import HTTP/1.1", "").await;
    assert!(answer.ends_with("\"import\""), "{answer}");
    let answer = server
        .send("PUT /hallmark/v1/models/import HTTP/1.1\r\nContent-Length: 0", "")
        .await;
    assert!(answer.contains("allow: GET, HEAD, POST\r\n"), "{answer}");
}

#[tokio::test]
async fn no_two_endpoints_collide_and_no_brand_can_hide_one() {
    let office = Office::new().await;
    let all = hallmark::http::endpoints(&office.app, &Metrics::default());
    Router::new(all.clone(), Metrics::default()).unwrap();
    for endpoint in &all {
        let first = endpoint.path.split('/').nth(1).unwrap();
        assert!(!first.starts_with('{'), "{endpoint:?}");
        if let Ok(brand) = first.parse::<BrandId>() {
            assert!(
                is_reserved(&brand),
                "a brand could be called {first}, which hides {endpoint:?}"
            );
        }
    }
    // The vault answers below every brand, and nothing else does. No endpoint has this method.
    const UNUSED: &str = "PROPFIND";
    for endpoint in all.iter().filter(|endpoint| !endpoint.path.contains('{')) {
        let answer = office
            .call(
                UNUSED,
                &format!("/acme{}", endpoint.path),
                None,
                serde_json::Value::Null,
            )
            .await;
        let expected = if endpoint.path.starts_with("/v1/") && Family::of(endpoint.path) == Family::Vault {
            405
        } else {
            404
        };
        assert_eq!(answer.status, expected, "{endpoint:?}");
        let answer = office
            .call(UNUSED, endpoint.path, None, serde_json::Value::Null)
            .await;
        assert_eq!(answer.status, 405, "{endpoint:?}");
    }
}

#[tokio::test]
async fn every_endpoint_is_described() {
    let office = Office::new().await;
    let answer = office
        .call("GET", "/openapi.json", None, serde_json::Value::Null)
        .await;
    for endpoint in hallmark::http::endpoints(&office.app, &Metrics::default()) {
        let path = endpoint.path.replace("...}", "}");
        let operation = &answer.body["paths"][&path][endpoint.method.to_ascii_lowercase()];
        // Pages are for people.
        let described = Family::of(endpoint.path) != Family::Web;
        assert_eq!(
            operation["summary"].as_str(),
            described.then_some(endpoint.summary),
            "{endpoint:?}"
        );
        assert!(
            endpoint.summary.starts_with(char::is_uppercase) && !endpoint.summary.ends_with('.'),
            "{endpoint:?}"
        );
    }
}

#[test]
fn two_endpoints_on_one_path_are_an_error() {
    let mut doubled = endpoints();
    doubled.extend(endpoints().into_iter().take(1));
    let error = Router::new(doubled, Metrics::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot route POST /v1/serial: another endpoint answers there"
    );
}
