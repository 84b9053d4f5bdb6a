//! Where the database is and how far its server is trusted: `postgres://…` with the options of libpq.
//!
//! Beyond what tokio-postgres reads itself: `sslmode=verify-ca|verify-full`, `sslrootcert`, `sslcert` and `sslkey`, as in
//! the PostgreSQL documentation (34.19, SSL support), and limits after which a server that vanished counts as gone.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::ports::StoreError;

/// How long connecting may take, unless the URL says otherwise.
const CONNECT: Duration = Duration::from_secs(5);
/// How long what was sent may stay unacknowledged: a machine that vanished does not say so.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// When a silent connection is asked whether it still stands, how often, how many times.
const IDLE: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_secs(3);
const PROBES: u32 = 3;

/// A database, as it is connected to.
#[derive(Clone)]
pub(super) struct Address {
    /// Host, user, database, limits. May hold a password.
    pub(super) config: Config,
    /// How TLS is spoken, where it is.
    pub(super) tls: MakeRustlsConnect,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Address").field(&self.config.get_hosts()).finish()
    }
}

/// Why a URL cannot be used. Never shows the URL: it may hold a password.
fn cannot(why: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("cannot use the database URL: {why}"))
}

/// Which server is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Whoever answers.
    Anybody,
    /// Whoever an authority vouches for, under any name.
    Vouched,
    /// The host of the URL alone.
    Named,
}

/// The options of a URL that are read here.
#[derive(Debug, Default)]
struct Tls {
    mode: Option<String>,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Address {
    /// Reads `url` and the files it names.
    ///
    /// # Errors
    /// `Unavailable`, saying which option or file is wrong.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (rest, options) = split(url)?;
        let mut config = Config::from_str(&rest).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            cannot(source.unwrap_or_else(|| error.to_string()))
        })?;
        let trust = match (options.mode.as_deref(), &options.roots) {
            (Some("disable"), _) => {
                config.ssl_mode(SslMode::Disable);
                Trust::Anybody
            }
            (None | Some("prefer"), None) => Trust::Anybody,
            (Some("require"), None) => {
                config.ssl_mode(SslMode::Require);
                Trust::Anybody
            }
            // Whoever names an authority wants it to be asked.
            (None | Some("require" | "verify-ca"), _) => {
                config.ssl_mode(SslMode::Require);
                Trust::Vouched
            }
            (Some("verify-full"), _) => {
                config.ssl_mode(SslMode::Require);
                Trust::Named
            }
            (Some("prefer"), Some(_)) => {
                return Err(cannot(
                    "sslmode=prefer asks no authority; with sslrootcert say sslmode=verify-full",
                ));
            }
            (Some(_), _) => {
                return Err(cannot(
                    "sslmode must be disable, prefer, require, verify-ca or verify-full",
                ));
            }
        };
        let tls = MakeRustlsConnect::new(client(trust, &options)?);
        limits(&mut config, &rest);
        if trust == Trust::Anybody && leaves_the_machine(&config) {
            tracing::warn!(
                "nothing says that the database is the right one, nor that the connection is encrypted: \
                 add sslmode=verify-full&sslrootcert=FILE to database-url"
            );
        }
        Ok(Self { config, tls })
    }
}

/// The URL without the options that are read here, and those.
fn split(url: &str) -> Result<(String, Tls), StoreError> {
    let mut options = Tls::default();
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), options));
    };
    let mut others = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "sslmode" => &mut options.mode,
            "sslrootcert" => &mut options.roots,
            "sslcert" => &mut options.certificate,
            "sslkey" => &mut options.key,
            _ => {
                others.push(pair);
                continue;
            }
        };
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| cannot(format!("{name} is not UTF-8")))?;
        *place = Some(value.into_owned());
    }
    if others.is_empty() {
        Ok((base.to_owned(), options))
    } else {
        Ok((format!("{base}?{}", others.join("&")), options))
    }
}

/// What the URL leaves open. `url` is its text: the defaults of tokio-postgres do not show whether they were set.
fn limits(config: &mut Config, url: &str) {
    let says = |option: &str| url.contains(option);
    if config.get_application_name().is_none() {
        config.application_name("hallmark");
    }
    if !says("connect_timeout=") {
        config.connect_timeout(CONNECT);
    }
    if !says("tcp_user_timeout=") {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    if !says("keepalives") {
        config
            .keepalives_idle(IDLE)
            .keepalives_interval(PROBE)
            .keepalives_retries(PROBES);
    }
    if config.get_hosts().len() > 1 && !says("target_session_attrs=") {
        // Of several servers the one that takes writes.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

/// Whether any of the hosts is another machine.
fn leaves_the_machine(config: &Config) -> bool {
    config.get_hosts().iter().any(|host| match host {
        Host::Tcp(name) => {
            let address = name.parse::<std::net::IpAddr>();
            !(name == "localhost" || address.is_ok_and(|address| address.is_loopback()))
        }
        Host::Unix(_) => false,
    })
}

fn client(trust: Trust, options: &Tls) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(cannot)?;
    let builder = match trust {
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unnamed {
                authority: None,
                provider,
            })),
        Trust::Vouched => {
            let authority = WebPkiServerVerifier::builder_with_provider(
                Arc::new(roots(options.roots.as_deref())?),
                Arc::clone(&provider),
            );
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unnamed {
                    authority: Some(authority.build().map_err(cannot)?),
                    provider,
                }))
        }
        Trust::Named => builder.with_root_certificates(roots(options.roots.as_deref())?),
    };
    match (&options.certificate, &options.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates("sslcert", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| cannot(format!("the key of sslkey={key}: {error}")))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| cannot(format!("sslcert={certificate}: {error}")))
        }
        (Some(_), None) | (None, Some(_)) => Err(cannot("sslcert and sslkey belong together")),
    }
}

/// The authorities of a file, or those of the system.
fn roots(file: Option<&str>) -> Result<RootCertStore, StoreError> {
    let found = match file {
        None | Some("system") => rustls_native_certs::load_native_certs().certs,
        Some(file) => certificates("sslrootcert", file)?,
    };
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found);
    if taken == 0 {
        let place = file.unwrap_or("system");
        return Err(cannot(format!("sslrootcert={place} holds no certificate")));
    }
    Ok(roots)
}

fn certificates(option: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    CertificateDer::pem_file_iter(Path::new(file))
        .and_then(Iterator::collect)
        .map_err(|error| cannot(format!("{option}={file}: {error}")))
}

/// Takes a server under any name, as `sslmode=require` and `verify-ca` do.
#[derive(Debug)]
struct Unnamed {
    /// Who must vouch for it; none = nobody.
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is looked at last: only the certificate of a good chain gets as far as that.
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ours_are_taken_out_and_the_others_stay() {
        let (rest, options) = split(
            "postgres://a:b@one,two:5433/db?sslmode=verify-full&options=-c%20x%3D1&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=2",
        )
        .unwrap();
        assert_eq!(
            rest,
            "postgres://a:b@one,two:5433/db?options=-c%20x%3D1&connect_timeout=2"
        );
        assert_eq!(options.mode.as_deref(), Some("verify-full"));
        assert_eq!(options.roots.as_deref(), Some("/etc/ca.pem"));
        assert_eq!(
            split("postgres://h/db?sslmode=require").unwrap().0,
            "postgres://h/db"
        );
    }

    #[test]
    fn several_servers_mean_the_one_that_takes_writes_and_limits_hold_unless_said() {
        let one = Address::parse("postgres://h/db?connect_timeout=2")
            .unwrap()
            .config;
        assert_eq!(one.get_target_session_attrs(), TargetSessionAttrs::Any);
        assert_eq!(one.get_connect_timeout(), Some(&Duration::from_secs(2)));
        assert_eq!(one.get_tcp_user_timeout(), Some(&UNACKNOWLEDGED));
        assert_eq!(one.get_keepalives_idle(), IDLE);
        let two = Address::parse("postgres://h,i/db").unwrap().config;
        assert_eq!(two.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(two.get_connect_timeout(), Some(&CONNECT));
        let any = Address::parse("postgres://h,i/db?target_session_attrs=any").unwrap();
        assert_eq!(any.config.get_target_session_attrs(), TargetSessionAttrs::Any);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (query, why) in [
            ("sslmode=always", "sslmode must be"),
            ("sslmode=prefer&sslrootcert=/x", "sslmode=verify-full"),
            (
                "sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
                "sslrootcert=/nowhere/ca.pem",
            ),
            ("sslcert=/nowhere/cert.pem", "belong together"),
            ("sslmode=verify-ful", "sslmode must be"),
            ("colour=red", "unknown option `colour`"),
        ] {
            let error = Address::parse(&format!("postgres://u:secret@h/db?{query}")).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(why) && !text.contains("secret"), "{query}: {text}");
        }
    }

    #[test]
    fn a_required_authority_is_never_left_out() {
        let mode = |query: &str| {
            let url = format!("postgres://h/db?{query}");
            Address::parse(&url).unwrap().config.get_ssl_mode()
        };
        assert_eq!(mode("sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("sslmode=prefer"), SslMode::Prefer);
        assert_eq!(mode("sslmode=require"), SslMode::Require);
    }
}
