//! TLS on the listening port, over real sockets: what is shown, when it changes, and clients that misbehave.
//! `tls/` holds throw-away certificates of a throw-away authority, for `localhost` and 127.0.0.1.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark::http::endpoint::{Access, Endpoint};
use hallmark::http::metrics::Metrics;
use hallmark::http::router::Router;
use hallmark::http::serve::{Limits, Listener, Server};
use hallmark::http::tls::Tls;
use hallmark::http::{body, reply};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use warp::Filter;

const GET: &[u8] = b"GET /hallmark/v1/slow HTTP/1.1\r\nHost: x\r\n\r\n";
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/tls")
        .join(name)
}

struct Running {
    files: TempDir,
    tls: Tls,
    metrics: Metrics,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(limits: Limits) -> Self {
        let files = TempDir::new().unwrap();
        put(files.path(), "first");
        let tls = Tls::open(&files.path().join("chain.pem"), &files.path().join("key.pem")).unwrap();
        let metrics = Metrics::default();
        metrics.watch_tls(tls.clone());
        let server = Server::new(
            Router::new(endpoints(), metrics.clone()).unwrap(),
            limits,
            Vec::new(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(Listener::Tls(listener, tls.clone()), stop.clone()));
        Self {
            files,
            tls,
            metrics,
            address,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_with(BOTH, &[]).await.unwrap()
    }

    async fn connect_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(fixture("authority.pem")).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
    }

    fn tells(&self, line: &str) {
        let text = self.metrics.text_with("");
        assert!(text.lines().any(|found| found == line), "no {line}: {text}");
    }
}

fn endpoints() -> Vec<Endpoint> {
    let slow = warp::path!("hallmark" / "v1" / "slow")
        .then(|| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            reply::json(&"done")
        })
        .boxed();
    let echo = warp::path!("hallmark" / "v1" / "echo")
        .and(warp::post())
        .and(body::up_to(1024 * 1024))
        .map(|body: bytes::Bytes| reply::json(&body.len()))
        .boxed();
    vec![
        Endpoint::get("/hallmark/v1/slow", Access::Open, "Slow", slow),
        Endpoint::post("/hallmark/v1/echo", Access::Open, "Echo", echo),
    ]
}

/// Puts the pair called `name` where the server looks, as a renewal does: key first.
fn put(at: &Path, name: &str) {
    for (from, to) in [
        (format!("{name}.key"), "key.pem"),
        (format!("{name}.pem"), "chain.pem"),
    ] {
        let new = at.join("new");
        std::fs::copy(fixture(&from), &new).unwrap();
        std::fs::rename(&new, at.join(to)).unwrap();
    }
}

/// The certificate of a fixture.
fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(fixture(&format!("{name}.pem"))).unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

/// Sends a request and returns the answer; the connection goes on.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(GET).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\"done\"") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn both_versions_are_spoken_and_http_1_1_is_agreed_on() {
    let server = Running::start(Limits::default()).await;
    for version in BOTH {
        let mut stream = server
            .connect_with(&[version], &["h2", "http/1.1"])
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        // The connection stays.
        for _ in 0..2 {
            assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
        }
    }
    // Who speaks nothing we do is told so in the handshake.
    let error = server.connect_with(BOTH, &["h2"]).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    server.tells("hallmark_tls_handshakes_total{result=\"ok\"} 2");
    server.tells("hallmark_tls_handshakes_total{result=\"failed\"} 1");
    server.tells("hallmark_tls_certificate_expiry_timestamp_seconds 4940368304");
    assert!(server.tls.is_for("localhost") && server.tls.is_for("127.0.0.1"));
    assert!(!server.tls.is_for("vault.example"));
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let server = Running::start(Limits::default()).await;
    let mut old = server.connect().await;
    assert_eq!(shown(&old), certificate("first"));
    server.tls.reload_if_changed();
    server.tells("hallmark_tls_reloads_total{result=\"ok\"} 0");

    put(server.files.path(), "second");
    server.tls.reload_if_changed();
    assert_eq!(shown(&server.connect().await), certificate("second"));
    assert!(ask(&mut old).await.starts_with("HTTP/1.1 200"));
    server.tells("hallmark_tls_reloads_total{result=\"ok\"} 1");
    // Asked to, it reads files that are the same.
    server.tls.reload().unwrap();
    server.tells("hallmark_tls_reloads_total{result=\"ok\"} 2");
    server.tells("hallmark_tls_certificate_expiry_timestamp_seconds 4905808304");
}

#[tokio::test]
async fn what_cannot_be_used_leaves_the_certificate_from_before() {
    let server = Running::start(Limits::default()).await;
    let (chain, key) = (
        server.files.path().join("chain.pem"),
        server.files.path().join("key.pem"),
    );
    let error = |what: &str| {
        let error = server.tls.reload().unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    };
    std::fs::copy(fixture("second.pem"), &chain).unwrap();
    error("key.pem: it is not the key of the certificate in ");
    std::fs::write(&chain, "no certificate").unwrap();
    error("chain.pem: it holds no certificate (PEM)");
    std::fs::copy(fixture("first.pem"), &chain).unwrap();
    std::fs::write(
        &key,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    error("cannot use ");
    std::fs::copy(fixture("first.pem"), &key).unwrap();
    error("key.pem: it holds no private key (PEM, without a passphrase)");
    std::fs::write(&key, vec![b'x'; 2 * 1024 * 1024]).unwrap();
    error("it is longer than 1048576 bytes");
    std::fs::remove_file(&key).unwrap();
    error("cannot read ");
    assert_eq!(shown(&server.connect().await), certificate("first"));
    server.tells("hallmark_tls_reload_success 0");
    server.tells("hallmark_tls_reloads_total{result=\"failed\"} 6");
    // It was told once: the same files are not complained about again and again.
    server.tls.reload_if_changed();
    server.tells("hallmark_tls_reloads_total{result=\"failed\"} 6");

    put(server.files.path(), "second");
    server.tls.reload_if_changed();
    assert_eq!(shown(&server.connect().await), certificate("second"));
    server.tells("hallmark_tls_reload_success 1");

    // A change that the time of the content does not show, as a change of the owner: the service may read the key now.
    std::fs::copy(fixture("first.pem"), &chain).unwrap();
    error("key.pem: it is not the key of the certificate in ");
    let modified = std::fs::metadata(&key).unwrap().modified().unwrap();
    std::fs::write(&key, std::fs::read(fixture("first.key")).unwrap()).unwrap();
    let file = std::fs::File::options().write(true).open(&key).unwrap();
    file.set_modified(modified).unwrap();
    server.tls.reload_if_changed();
    assert_eq!(shown(&server.connect().await), certificate("first"));
}

#[tokio::test]
async fn handshakes_have_a_time_limit_and_count_as_connections() {
    let limits = Limits {
        head: Duration::from_millis(400),
        connections: 8,
        ..Limits::default()
    };
    let server = Running::start(limits).await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The beginning of a handshake of 512 bytes that never come.
        stream.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        slow.push(stream);
    }
    // All places are taken, so this waits until their time is over, no longer.
    let mut stream = server.connect().await;
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert!(
        began.elapsed() >= Duration::from_millis(380),
        "{:?}",
        began.elapsed()
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for mut stream in slow {
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
    server.tells("hallmark_tls_handshakes_total{result=\"timeout\"} 8");
}

#[tokio::test]
async fn a_request_without_tls_is_told_so() {
    let server = Running::start(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = "x".repeat(1024 * 1024);
    stream
        .write_all(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n{body}").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(
        answer.contains(r#""code":"tls-required""#) && answer.contains("use https://"),
        "{answer}"
    );
    // What is neither gets nothing but an end.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[0; 64]).await.unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.tells("hallmark_tls_handshakes_total{result=\"plain-http\"} 1");
    server.tells("hallmark_tls_handshakes_total{result=\"failed\"} 1");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = Running::start(Limits::default()).await;
    let body = "x".repeat(8 * 1024 * 1024);
    let mut stream = server.connect().await;
    stream
        .write_all(
            format!(
                "POST /hallmark/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_stop_lets_running_requests_finish() {
    let server = Running::start(Limits::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.cancel();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    server.task.await.unwrap();
}

#[test]
fn files_of_others_are_refused_at_the_start() {
    let error = |chain: &str, key: &str| Tls::open(&fixture(chain), &fixture(key)).unwrap_err().to_string();
    assert!(error("first.pem", "second.key").contains("second.key: it is not the key of"));
    assert!(error("none.pem", "first.key").starts_with("cannot read "));
    assert!(error("first.key", "first.key").contains("it holds no certificate"));
}
