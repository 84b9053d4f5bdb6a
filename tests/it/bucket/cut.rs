//! A bad line: a proxy in front of the server that answers wrongly, cuts connections and takes its time, as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// It is answered with this status, and S3's word for it; the server does not hear of it.
    Answer(&'static str, &'static str),
    /// The server does it, and is said to have failed.
    DoneAnd(&'static str, &'static str),
    /// The connection ends after so many bytes of the body of the answer.
    CutAnswer(usize),
    /// The connection ends after so many bytes of the body of the request.
    CutRequest(usize),
    /// Nobody answers.
    Silence,
    /// The answer comes in pieces of this size, with this much time in between.
    Trickle(usize, Duration),
}

/// For how many more requests, which ones by their first line, what.
type Rule = (usize, fn(&str) -> bool, Fault);

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    seen: Vec<String>,
}

/// A proxy on a port of its own; ends with the test.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) url: String,
    script: Arc<Mutex<Script>>,
}

impl Line {
    pub(super) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let script = Arc::new(Mutex::new(Script::default()));
        let line = Self {
            url,
            script: Arc::clone(&script),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, script) = (server.clone(), Arc::clone(&script));
                // A connection that breaks is what it is for.
                tokio::spawn(async move { carry(client, &server, &script).await.ok() });
            }
        });
        line
    }

    /// The next `times` requests whose first line `which` takes get this.
    pub(super) fn next(&self, times: usize, which: fn(&str) -> bool, fault: Fault) {
        self.script.lock().unwrap().rules.push((times, which, fault));
    }

    /// All is well again; the first lines of the requests since the last time.
    pub(super) fn heal(&self) -> Vec<String> {
        let mut script = self.script.lock().unwrap();
        script.rules.clear();
        std::mem::take(&mut script.seen)
    }
}

fn fault_for(script: &Mutex<Script>, line: &str) -> Option<Fault> {
    let mut script = script.lock().unwrap();
    script.seen.push(line.to_owned());
    let rule = script
        .rules
        .iter_mut()
        .find(|(left, which, _)| *left > 0 && which(line))?;
    rule.0 -= 1;
    Some(rule.2)
}

/// One request: each connection carries one, so that the end of its answer is the end of the connection.
async fn carry(mut client: TcpStream, server: &str, script: &Mutex<Script>) -> std::io::Result<()> {
    let (head, rest) = read_head(&mut client).await?;
    let line = head.lines().next().unwrap_or_default().to_owned();
    let fault = fault_for(script, &line);
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    match fault {
        Some(Fault::Answer(status, code)) => {
            drain(&mut client, length - rest.len()).await?;
            return client.write_all(refusal(status, code).as_bytes()).await;
        }
        Some(Fault::Silence) => return drain(&mut client, usize::MAX).await,
        Some(_) | None => {}
    }
    let mut upstream = TcpStream::connect(server).await?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    upstream.write_all(head.as_bytes()).await?;
    if let Some(Fault::CutRequest(after)) = fault {
        let mut sent = rest.len().min(after);
        upstream.write_all(&rest[..sent]).await?;
        let mut piece = vec![0; 64 << 10];
        while sent < after {
            let got = client.read(&mut piece).await?;
            if got == 0 {
                break;
            }
            let part = got.min(after - sent);
            upstream.write_all(&piece[..part]).await?;
            sent += part;
        }
        return Ok(()); // both are closed, with data unread
    }
    upstream.write_all(&rest).await?;
    copy(
        &mut client,
        &mut upstream,
        length - rest.len(),
        usize::MAX,
        Duration::ZERO,
    )
    .await?;
    match fault {
        Some(Fault::DoneAnd(status, code)) => {
            drain(&mut upstream, usize::MAX).await?;
            client.write_all(refusal(status, code).as_bytes()).await
        }
        Some(Fault::CutAnswer(after)) => {
            let (head, rest) = read_head(&mut upstream).await?;
            client.write_all(head.as_bytes()).await?;
            client.write_all(&rest[..rest.len().min(after)]).await?;
            let left = after.saturating_sub(rest.len());
            copy(&mut upstream, &mut client, left, usize::MAX, Duration::ZERO).await
        }
        Some(Fault::Trickle(piece, pause)) => {
            copy(&mut upstream, &mut client, usize::MAX, piece, pause).await
        }
        _ => copy(&mut upstream, &mut client, usize::MAX, usize::MAX, Duration::ZERO).await,
    }
}

fn refusal(status: &str, code: &str) -> String {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>As told</Message></Error>");
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn read_head(from: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok((String::from_utf8(read).unwrap(), rest));
        }
        if from.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn drain(from: &mut TcpStream, length: usize) -> std::io::Result<()> {
    copy(from, &mut tokio::io::sink(), length, usize::MAX, Duration::ZERO).await
}

/// At most `length` bytes, in pieces, with pauses.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    length: usize,
    piece: usize,
    pause: Duration,
) -> std::io::Result<()> {
    let mut buffer = vec![0; piece.min(64 << 10)];
    let mut left = length;
    while left > 0 {
        let want = buffer.len().min(left);
        let got = from.read(&mut buffer[..want]).await?;
        if got == 0 {
            break;
        }
        to.write_all(&buffer[..got]).await?;
        left -= got;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

/// A client that follows nothing.
pub(super) fn client() -> reqwest::Client {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.tls_certs_only([]).build().unwrap()
}

/// HTTP without anything, for looking into the bucket past the store of files.
#[derive(Debug)]
pub(super) struct Plain;

#[derive(Debug)]
struct PlainHttp(reqwest::Client);

impl HttpConnector for Plain {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(PlainHttp(client())))
    }
}

#[async_trait::async_trait]
impl HttpService for PlainHttp {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let failed = |error: reqwest::Error| HttpError::new(HttpErrorKind::Unknown, error);
        let (parts, body) = request.into_parts();
        let sent = self
            .0
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(reqwest::Body::wrap(body));
        let answer: http::Response<reqwest::Body> = sent.send().await.map_err(failed)?.into();
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(failed))))
    }
}
