//! One connection's socket with its time limits: a request head that comes too slowly, a client that sends no further
//! request, and a client that no longer takes the answer all end the connection. One that is still sending a body
//! nobody wants is heard out for a while, so that it gets to read the refusal.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::AsyncWriteExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::serve::Ids;
use super::unreadable;

/// A stream of any kind.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Socket {
    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Tls(stream) => stream.get_ref().0.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// How long a client that still sends is heard out.
const LINGER: Duration = Duration::from_secs(5);

const IDLE: u64 = 0;
const HEAD: u64 = 1;
const BUSY: u64 = 2;
const STEP: u64 = 4;

/// What a connection is doing: waiting for a request, reading the head of one, or answering. The lowest two bits say
/// which, the rest counts changes, so that each phase gets a time limit of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase(Arc<State>);

#[derive(Debug, Default)]
struct State {
    phase: AtomicU64,
    /// The body of the last request was not read to its end.
    unread: AtomicBool,
}

impl Phase {
    /// A request has arrived.
    pub(super) fn busy(&self) {
        self.set(BUSY);
    }

    // All of it happens in the task of the connection; the atomic only satisfies `Sync`.
    fn set(&self, phase: u64) {
        let changes = self.now() / STEP + 1;
        self.0.phase.store(changes * STEP + phase, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.phase.load(Ordering::Relaxed)
    }

    fn set_unread(&self, unread: bool) {
        self.0.unread.store(unread, Ordering::Relaxed);
    }

    /// Whether the connection waits for a request.
    pub(super) fn is_idle(&self) -> bool {
        self.now() % STEP == IDLE
    }

    /// Whether the body of the last request was not read to its end.
    pub(super) fn is_unread(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed)
    }
}

/// Sends `answer` to a client whose request nobody reads, and hears it out for a while.
pub(super) async fn refuse(socket: Socket, limit: Duration, ids: Arc<Ids>, answer: &[u8]) {
    let phase = Phase::default();
    phase.busy(); // what is sent is our own answer
    phase.set_unread(true);
    let mut socket = Timed::new(socket, phase, limit, limit, ids);
    // The client may be gone.
    if socket.write_all(answer).await.is_ok() {
        let _best_effort = socket.shutdown().await;
    }
}

/// A socket with time limits.
#[derive(Debug)]
pub(super) struct Timed {
    socket: Socket,
    phase: Phase,
    head: Duration,
    idle: Duration,
    /// The time limit of the phase it was last set for.
    reading: Pin<Box<Sleep>>,
    armed: u64,
    /// Set while the client does not take what is written.
    writing: Option<Pin<Box<Sleep>>>,
    /// Set while the client is heard out after the end.
    lingering: Option<Pin<Box<Sleep>>>,
    ids: Arc<Ids>,
    /// What is sent in place of an answer of hyper's own, and how much of it has gone out.
    refusal: Option<(Vec<u8>, usize)>,
}

impl Timed {
    pub(super) fn new(socket: Socket, phase: Phase, head: Duration, idle: Duration, ids: Arc<Ids>) -> Self {
        let reading = Box::pin(tokio::time::sleep(idle));
        Self {
            socket,
            phase,
            head,
            idle,
            reading,
            armed: IDLE,
            writing: None,
            lingering: None,
            ids,
            refusal: None,
        }
    }

    /// Sends our answer in place of one that hyper made by itself; `None` where `data` is not such an answer.
    fn refuse(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.refusal.is_none() {
            if self.phase.now() % STEP == BUSY {
                return None; // what is written answers a request
            }
            self.refusal = Some((unreadable::answer(data, || self.ids.next())?, 0));
        }
        let (answer, sent) = self.refusal.as_mut()?;
        while let Some(rest) = answer.get(*sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.socket).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(written)) => *sent += written,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        self.refusal = None;
        // Some clients are still sending: they are heard out before the end, like those whose body nobody wants.
        self.phase.set_unread(true);
        Some(Poll::Ready(Ok(data.len())))
    }

    /// Fails once a write has made no progress for the idle time.
    fn stalled<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let idle = self.idle;
        let writing = self
            .writing
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(writing.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client stopped reading",
        )))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
        if read.is_ready() {
            if this.phase.now() % STEP == IDLE && buffer.filled().len() > before {
                this.phase.set(HEAD);
            }
            return read;
        }
        let phase = this.phase.now();
        if phase != this.armed {
            this.armed = phase;
            let limit = if phase % STEP == HEAD {
                this.head
            } else {
                this.idle
            };
            this.reading.as_mut().reset(Instant::now() + limit);
        }
        if phase % STEP == BUSY {
            return Poll::Pending; // reading a body has limits of its own
        }
        ready!(this.reading.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "no request arrived in time",
        )))
    }
}

impl AsyncWrite for Timed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.refuse(cx, data) {
            Some(refused) => refused,
            None => Pin::new(&mut this.socket).poll_write(cx, data),
        };
        this.stalled(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        this.stalled(cx, flushed)
    }

    /// Closes our side. Closing all of it while the client still sends would make its system throw the answer away
    /// (a reset), so what comes is read and dropped for a while.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let lingering = match &mut this.lingering {
            Some(lingering) => lingering,
            None => {
                ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
                if !this.phase.is_unread() {
                    return Poll::Ready(Ok(()));
                }
                this.lingering.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        let mut dropped = [0; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut dropped);
            match Pin::new(&mut this.socket).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_ended) => return Poll::Ready(Ok(())),
                Poll::Pending => return lingering.as_mut().poll(cx).map(Ok),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut parts = data.iter().filter(|part| !part.is_empty());
        // hyper writes an answer of its own in one piece.
        let alone = match (parts.next(), parts.next()) {
            (Some(part), None) => this.refuse(cx, part),
            _ => None,
        };
        let written = match alone {
            Some(refused) => refused,
            None => Pin::new(&mut this.socket).poll_write_vectored(cx, data),
        };
        this.stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

/// A response body; its end makes the connection idle again.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    phase: Phase,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, phase: Phase) -> Self {
        Self { body, phase }
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        self.phase.set(IDLE);
    }
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request body; remembers whether it was read to its end.
#[derive(Debug)]
pub struct Watched<B> {
    body: B,
    phase: Phase,
}

impl<B: Body> Watched<B> {
    pub(super) fn new(body: B, phase: Phase) -> Self {
        phase.set_unread(!body.is_end_stream());
        Self { body, phase }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if frame.is_none() || this.body.is_end_stream() {
            this.phase.set_unread(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
