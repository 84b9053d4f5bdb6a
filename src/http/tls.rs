//! TLS on the listening port: one certificate from two files, read anew when they change, and handshakes within limits.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::x509;
use crate::domain::time::Timestamp;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Handshakes at a time. One that has begun may hold some 70 KiB of what its client sent; those that wait for their turn
/// hold a socket. A client's time runs either way.
const HANDSHAKES: usize = 1024;
/// A longer file is no certificate or key.
const MAX_FILE: u64 = 1024 * 1024;

/// Why certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("cannot use {}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS itself cannot be set up.
    #[error("cannot set TLS up: {0}")]
    Setup(rustls::Error),
}

/// What the listener shows to clients, and how it goes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    acceptor: DebugAcceptor,
    shown: Arc<Shown>,
    turns: Semaphore,
    certificate: PathBuf,
    key: PathBuf,
    /// The files as they were when they were last read, whatever came of it.
    seen: Mutex<[Option<Stamp>; 2]>,
    good: AtomicBool,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    handshakes: [AtomicU64; Handshake::ALL.len()],
}

struct DebugAcceptor(TlsAcceptor);

impl std::fmt::Debug for DebugAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

/// How a handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    Done,
    Failed,
    Slow,
    Plain,
}

impl Handshake {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Done, "ok"),
        (Self::Failed, "failed"),
        (Self::Slow, "timeout"),
        (Self::Plain, "plain-http"),
    ];
}

/// Device, inode, length and time of change: another file, another content, or another owner or mode, by which a file that
/// was not readable may become so.
type Stamp = (u64, u64, u64, i64, i64);

/// The certificate that new connections get.
#[derive(Debug)]
struct Shown(RwLock<Current>);

#[derive(Clone, Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    until: Timestamp,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().key))
    }
}

/// What became of a new connection.
#[derive(Debug)]
pub(super) enum Accepted {
    /// It speaks TLS.
    Secured(Box<TlsStream<TcpStream>>),
    /// The client sent a request without TLS: it can be told so.
    Plain(TcpStream),
    /// It is over.
    Gone,
}

impl Tls {
    /// Reads certificate (with its chain, its own first) and key, both PEM.
    ///
    /// # Errors
    /// If a file cannot be read, holds no certificate or no key, or the two do not belong together.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let seen = [stamp(certificate), stamp(key)];
        let current = read(certificate, key)?;
        let shown = Arc::new(Shown(RwLock::new(current)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&shown) as _;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Who comes back saves the signature; what the ticket seals under is new every few hours and kept in memory.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        let tls = Self(Arc::new(Inner {
            acceptor: DebugAcceptor(TlsAcceptor::from(Arc::new(config))),
            shown,
            turns: Semaphore::new(HANDSHAKES),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            seen: Mutex::new(seen),
            good: AtomicBool::new(true),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
            handshakes: Default::default(),
        }));
        tracing::info!(certificate = %certificate.display(), until = %tls.until(), "TLS certificate read");
        Ok(tls)
    }

    /// Until when the certificate is valid that is shown now.
    pub fn until(&self) -> Timestamp {
        self.0.shown.0.read().until
    }

    /// Whether the certificate is good for this host.
    pub fn is_for(&self, host: &str) -> bool {
        let key = Arc::clone(&self.0.shown.0.read().key);
        let certificate = key.end_entity_cert().ok();
        let parsed = certificate.and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
        let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']')).ok();
        parsed
            .zip(name)
            .is_some_and(|(parsed, name)| rustls::client::verify_server_name(&parsed, &name).is_ok())
    }

    /// Reads the files anew. Connections from now on get the new certificate, those there are go on. Files that cannot
    /// be used leave everything as it is.
    ///
    /// # Errors
    /// As [`Tls::open`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let inner = &self.0;
        // Before they are read: what changes meanwhile is read once more.
        *inner.seen.lock() = [stamp(&inner.certificate), stamp(&inner.key)];
        let read = read(&inner.certificate, &inner.key);
        inner.good.store(read.is_ok(), Ordering::Relaxed);
        match read {
            Ok(current) => {
                let until = current.until;
                *inner.shown.0.write() = current;
                inner.reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!(certificate = %inner.certificate.display(), %until, "TLS certificate read anew");
                Ok(())
            }
            Err(error) => {
                inner.failed_reloads.fetch_add(1, Ordering::Relaxed);
                let until = self.until();
                tracing::error!(%error, %until, "the TLS certificate from before stays in use");
                Err(error)
            }
        }
    }

    /// Reads the files anew if they are others than those read last.
    pub fn reload_if_changed(&self) {
        let inner = &self.0;
        let now = [stamp(&inner.certificate), stamp(&inner.key)];
        let changed = *inner.seen.lock() != now;
        if changed {
            // What comes of it is in the log.
            let _logged = self.reload();
        }
    }

    /// Looks at the files every few seconds, forever. A look waits for the disk, so it is done off the event loop.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = self.clone();
            let _best_effort = tokio::task::spawn_blocking(move || tls.reload_if_changed()).await;
        }
    }

    /// The server's side of a handshake, within `limit`.
    pub(super) async fn accept(&self, stream: TcpStream, limit: Duration) -> Accepted {
        match tokio::time::timeout(limit, self.handshake(stream)).await {
            Ok(accepted) => accepted,
            Err(_elapsed) => {
                self.count(Handshake::Slow);
                Accepted::Gone
            }
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Accepted {
        let mut first = [0; 1];
        match stream.peek(&mut first).await {
            // A handshake begins with 22, a method with a letter.
            Ok(1) if first.iter().all(u8::is_ascii_alphabetic) => {
                self.count(Handshake::Plain);
                return Accepted::Plain(stream);
            }
            Ok(1) => {}
            // It came to see whether somebody listens.
            Ok(_) | Err(_) => return Accepted::Gone,
        }
        let Ok(_turn) = self.0.turns.acquire().await else {
            return Accepted::Gone;
        };
        match self.0.acceptor.0.accept(stream).await {
            Ok(stream) => {
                self.count(Handshake::Done);
                Accepted::Secured(Box::new(stream))
            }
            Err(error) => {
                tracing::debug!(%error, "no TLS connection came about");
                self.count(Handshake::Failed);
                Accepted::Gone
            }
        }
    }

    fn count(&self, how: Handshake) {
        for (counter, (kind, _)) in self.0.handshakes.iter().zip(Handshake::ALL) {
            if kind == how {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How it goes, as OpenMetrics text.
    pub(super) fn text(&self) -> String {
        use std::fmt::Write as _;
        let inner = &self.0;
        let mut text = format!(
            "# HELP hallmark_tls_certificate_expiry_timestamp_seconds When the certificate in use ends to be valid.\n\
             # TYPE hallmark_tls_certificate_expiry_timestamp_seconds gauge\n\
             hallmark_tls_certificate_expiry_timestamp_seconds {}\n\
             # HELP hallmark_tls_reload_success Whether the certificate's files could be used when they were last read.\n\
             # TYPE hallmark_tls_reload_success gauge\n\
             hallmark_tls_reload_success {}\n\
             # HELP hallmark_tls_reloads How often the certificate's files were read anew.\n\
             # TYPE hallmark_tls_reloads counter\n\
             hallmark_tls_reloads_total{{result=\"ok\"}} {}\n\
             hallmark_tls_reloads_total{{result=\"failed\"}} {}\n\
             # HELP hallmark_tls_handshakes Connections by how their handshake went.\n\
             # TYPE hallmark_tls_handshakes counter\n",
            self.until().unix(),
            u8::from(inner.good.load(Ordering::Relaxed)),
            inner.reloads.load(Ordering::Relaxed),
            inner.failed_reloads.load(Ordering::Relaxed),
        );
        for (counter, (_, name)) in inner.handshakes.iter().zip(Handshake::ALL) {
            let count = counter.load(Ordering::Relaxed);
            // Writing into a text cannot fail.
            let _ = writeln!(text, "hallmark_tls_handshakes_total{{result=\"{name}\"}} {count}");
        }
        text
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.len(),
        file.ctime(),
        file.ctime_nsec(),
    ))
}

/// What two files hold.
fn read(certificate: &Path, key: &Path) -> Result<Current, TlsError> {
    let unusable = |path: &Path, why: String| TlsError::Unusable {
        path: path.to_owned(),
        why,
    };
    let (text, _) = contents(certificate)?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(certificate, error.to_string()))?;
    let until = match chain.first() {
        Some(own) => x509::valid_until(own)
            .ok_or_else(|| unusable(certificate, "it is not a certificate".to_owned()))?,
        None => return Err(unusable(certificate, "it holds no certificate (PEM)".to_owned())),
    };
    let (text, mode) = contents(key)?;
    // A group of their own is how others share a key with a service.
    if mode & 0o007 != 0 {
        tracing::warn!(file = %key.display(), "everybody on this machine may use the TLS key: set its mode to 0600 or 0640");
    }
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        unusable(
            key,
            "it holds no private key (PEM, without a passphrase)".to_owned(),
        )
    })?;
    let pair =
        CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider()).map_err(
            |error| match error {
                rustls::Error::InconsistentKeys(_) => unusable(
                    key,
                    format!(
                        "it is not the key of the certificate in {}",
                        certificate.display()
                    ),
                ),
                error => unusable(key, error.to_string()),
            },
        )?;
    Ok(Current {
        key: Arc::new(pair),
        until,
    })
}

/// A file's bytes and mode.
fn contents(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > MAX_FILE {
        return Err(TlsError::Unusable {
            path: path.to_owned(),
            why: format!("it is longer than {MAX_FILE} bytes"),
        });
    }
    let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes, metadata.permissions().mode()))
}
