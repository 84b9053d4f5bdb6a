//! The server proper: HTTP/1.1 on TCP, TLS or a Unix socket, with the limits `warp::serve` lacks: time for the head of a
//! request, time between requests, number of connections, and a stop that lets running requests finish.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;

use super::body::ReadTime;
use super::connection::{self, Phase, Socket, Timed, Tracked, Watched};
use super::router::{REQUEST_ID, RequestBody, RequestId, Router};
use super::spans::TRACE_HEADERS;
use super::tls::{Accepted, Tls};
use super::unreadable;

/// Longest head of a request, and the most that is buffered per connection.
const MAX_HEAD: usize = 64 * 1024;
/// Who connected this long before a stop, or later, still gets its first request in.
const FIRST_CALL: Duration = Duration::from_secs(2);
/// How long after a stop a connection without a request waits for one that is on its way. Clients of a machine that is
/// busy with the upgrade pause for longer than those of a network are late.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Limits of the server (contract.md 6).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time for the head of a request, from its first byte on; also for a TLS handshake.
    pub head: Duration,
    /// Time a connection may wait for the next request, and a client may stop taking an answer.
    pub idle: Duration,
    /// Time for a request body that is read whole.
    pub body: Duration,
    /// Connections at a time; more wait in the backlog of the listening socket.
    pub connections: usize,
    /// Time running requests have to finish after a stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(30),
            connections: 20_000,
            drain: Duration::from_secs(30),
        }
    }
}

/// Where a request came from; in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// This address: the one nearest to us that is not a trusted proxy.
    Remote(IpAddr),
    /// The Unix socket in the data directory.
    Local,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Remote(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

/// Where the request came from.
pub fn peer() -> impl Filter<Extract = (Peer,), Error = warp::Rejection> + Copy + Send + Sync + 'static {
    warp::ext::get::<Peer>()
}

/// A range of addresses: `10.0.0.0/8`, `::1`, `192.0.2.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not an address or a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IP address or a range like 10.0.0.0/8")]
pub struct NetworkError(String);

impl std::str::FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.chars().take(64).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| error())?;
        if prefix > bits {
            Err(error())
        } else {
            Ok(Self { address, prefix })
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// Whether `address` lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                u32::from(net).checked_shr(shift).unwrap_or(0)
                    == u32::from(address).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(net).checked_shr(shift).unwrap_or(0)
                    == u128::from(address).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// A socket that waits for clients.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// TLS on TCP.
    Tls(TcpListener, Tls),
    /// A Unix socket; whoever may open its file is [`Peer::Local`].
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => {
                let (stream, address) = listener.accept().await?;
                // Fails only if the client is gone again.
                let _best_effort = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), Peer::Remote(address.ip().to_canonical())))
            }
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept().await?.0), Peer::Local)),
        }
    }

    fn tls(&self) -> Option<Tls> {
        match self {
            Self::Tls(_, tls) => Some(tls.clone()),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }
}

/// A server: what answers, and within which limits. Cheap to clone; several listeners may share one.
#[derive(Clone, Debug)]
pub struct Server {
    router: Arc<Router>,
    limits: Limits,
    proxies: Arc<[Network]>,
    permits: Arc<Semaphore>,
    ids: Arc<Ids>,
}

impl Server {
    /// A server that answers with `router`. `X-Forwarded-For` and `X-Request-Id` count only from `proxies`.
    pub fn new(router: Router, limits: Limits, proxies: Vec<Network>) -> Self {
        Self {
            router: Arc::new(router),
            limits,
            proxies: proxies.into(),
            permits: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            ids: Arc::default(),
        }
    }

    /// Serves until `stop` is cancelled; then stops accepting, lets running requests finish within the drain time,
    /// and returns.
    pub async fn run(self, listener: Listener, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let drained = CancellationToken::new();
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => break,
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let (server, stop, drained) = (self.clone(), stop.clone(), drained.clone());
                    let tls = listener.tls();
                    connections.spawn(async move {
                        let gauge = server.router.metrics().connections().clone();
                        gauge.inc();
                        tokio::select! {
                            () = server.connection(socket, peer, tls, stop) => {}
                            () = drained.cancelled() => {}
                        }
                        gauge.dec();
                        drop(permit);
                    });
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of file descriptors or memory: go on, but do not spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(self.limits.drain, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "stopped before all requests were answered"
            );
            drained.cancel();
            connections.wait().await;
        }
    }

    /// Waits for the first byte of a connection: one that has sent nothing yet costs a task and a socket; buffers come
    /// with that byte.
    async fn begins(&self, socket: &Socket, stop: &CancellationToken) -> bool {
        let accepted = Instant::now();
        let mut readable = std::pin::pin!(tokio::time::timeout(self.limits.idle, socket.readable()));
        let first = tokio::select! {
            first = &mut readable => first,
            () = stop.cancelled() => match tokio::time::timeout_at(accepted + FIRST_CALL, readable).await {
                Ok(first) => first,
                Err(_elapsed) => return false,
            },
        };
        matches!(first, Ok(Ok(())))
    }

    /// The connection with TLS, if it comes about.
    async fn secure(&self, socket: Socket, tls: &Tls) -> Option<Socket> {
        let Socket::Tcp(stream) = socket else {
            return Some(socket);
        };
        match tls.accept(stream, self.limits.head).await {
            Accepted::Secured(stream) => Some(Socket::Tls(stream)),
            Accepted::Plain(stream) => {
                let answer = unreadable::without_tls(self.ids.next());
                let ids = Arc::clone(&self.ids);
                connection::refuse(Socket::Tcp(stream), self.limits.head, ids, &answer).await;
                None
            }
            Accepted::Gone => None,
        }
    }

    async fn connection(self, socket: Socket, peer: Peer, tls: Option<Tls>, stop: CancellationToken) {
        if !self.begins(&socket, &stop).await {
            return;
        }
        let socket = match tls {
            Some(tls) => match self.secure(socket, &tls).await {
                Some(socket) => socket,
                None => return,
            },
            None => socket,
        };
        let phase = Phase::default();
        let io = TokioIo::new(Timed::new(
            socket,
            phase.clone(),
            self.limits.head,
            self.limits.idle,
            Arc::clone(&self.ids),
        ));
        let service = service_fn(|request: Request<Incoming>| {
            phase.busy();
            let (server, phase) = (self.clone(), phase.clone());
            let stopping = stop.is_cancelled();
            async move {
                let request = request.map(|body| Either::Left(Watched::new(body, phase.clone())));
                let mut answer = server.answer(request, peer).await;
                // What is left of the body ends the connection: a client that is not told so sends its next request on
                // it, and gets no answer to that.
                if phase.is_unread() || stopping {
                    answer
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(answer.map(|body| Tracked::new(body, phase)))
            }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(true)
            .max_buf_size(MAX_HEAD);
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stop.cancelled() => {
                // A client that keeps its connection may have sent the next request just now.
                let last = if phase.is_idle() { LAST_CALL } else { Duration::ZERO };
                match tokio::time::timeout(last, connection.as_mut()).await {
                    Ok(outcome) => outcome,
                    Err(_elapsed) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, %peer, "connection ended");
        }
    }

    async fn answer(&self, mut request: Request<RequestBody>, socket: Peer) -> warp::reply::Response {
        let proxied = matches!(socket, Peer::Remote(address) if self.is_proxy(address));
        let peer = if proxied {
            self.forwarded(request.headers()).unwrap_or(socket)
        } else {
            socket
        };
        let headers = request.headers_mut();
        let given = proxied.then(|| headers.get(REQUEST_ID)).flatten();
        let given = given
            .and_then(|id| id.to_str().ok())
            .filter(|id| is_request_id(id));
        let id = given.map_or_else(|| self.ids.next(), |id| RequestId(id.into()));
        if !proxied {
            for name in TRACE_HEADERS {
                headers.remove(name);
            }
        }
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(ReadTime(self.limits.body));
        self.router.answer(request, id).await
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }

    /// The last address of `X-Forwarded-For` that is not a trusted proxy: what stands left of it, the client made up.
    fn forwarded(&self, headers: &HeaderMap) -> Option<Peer> {
        let lines = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok());
        let addresses: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        let mut nearest = None;
        for text in addresses.into_iter().rev() {
            let Ok(address) = text.parse::<IpAddr>() else {
                break;
            };
            nearest = Some(Peer::Remote(address.to_canonical()));
            if !self.is_proxy(address) {
                break;
            }
        }
        nearest
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Makes request ids: unique, not secret.
#[derive(Debug)]
pub(super) struct Ids {
    prefix: u64,
    next: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        let prefix = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        Self {
            prefix,
            next: AtomicU64::new(0),
        }
    }
}

impl Ids {
    pub(super) fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId(format!("{:016x}-{number:x}", self.prefix).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_the_addresses_of_their_range() {
        let holds = |network: &str, address: &str| {
            network
                .parse::<Network>()
                .unwrap()
                .contains(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.9.8.7"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "203.0.113.9"));
        assert!(holds("192.0.2.7", "192.0.2.7"));
        assert!(holds("192.0.2.7", "::ffff:192.0.2.7"));
        assert!(!holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1"));
        for bad in ["", "10.0.0.0/33", "host", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
