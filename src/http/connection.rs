//! One connection's socket with its time limits: a request head that comes too slowly, a client that sends no further
//! request, and a client that no longer takes the answer all end the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};

/// A stream of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
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
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
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
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

const IDLE: u64 = 0;
const HEAD: u64 = 1;
const BUSY: u64 = 2;
const STEP: u64 = 4;

/// What a connection is doing: waiting for a request, reading the head of one, or answering. The lowest two bits say
/// which, the rest counts changes, so that each phase gets a time limit of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase(Arc<AtomicU64>);

impl Phase {
    /// A request has arrived.
    pub(super) fn busy(&self) {
        self.set(BUSY);
    }

    // All of it happens in the task of the connection; the atomic only satisfies `Sync`.
    fn set(&self, phase: u64) {
        let changes = self.now() / STEP + 1;
        self.0.store(changes * STEP + phase, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
}

impl Timed {
    pub(super) fn new(socket: Socket, phase: Phase, head: Duration, idle: Duration) -> Self {
        let reading = Box::pin(tokio::time::sleep(idle));
        Self {
            socket,
            phase,
            head,
            idle,
            reading,
            armed: IDLE,
            writing: None,
        }
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
        let written = Pin::new(&mut this.socket).poll_write(cx, data);
        this.stalled(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        this.stalled(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, data);
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
