//! All settings in one place: flags win over the environment, that over `hallmark.yaml`, that over defaults; each value
//! remembers where it came from (contract.md 1).

mod bucket;
mod hardware;
mod in_file;
mod mail;
mod sign_in;
mod values;
mod webhook;

pub use bucket::{BucketUrl, Downloads};
pub use hardware::{FilePaths, TokenName, TokenNames};
use in_file::InFile;
pub use mail::{HostName, MailSecurity, Port, Sender};
pub use sign_in::{Issuer, Label, Scopes, Word};
use values::Shown;
pub use values::{
    BlobsUrl, Count, DatabaseUrl, FilePath, FileSize, ListenAddress, LogFilter, LogFormat, Maybe, Proxies,
    PublicUrl, Seconds, Size, Switch, ValueError,
};

pub use webhook::HookUrl;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

/// The name of the settings file, in the working directory or the data directory.
pub const FILE: &str = "hallmark.yaml";
/// A settings file is at most this long.
const MAX_FILE: u64 = 1024 * 1024;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// This environment variable.
    Environment(&'static str),
    /// The settings file.
    File,
    /// Nobody set it.
    Default,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file is not readable.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what a settings file looks like; the message names line and column.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_yaml::Error,
    },
    /// It is far longer than any settings file.
    #[error("cannot use {}: it is larger than {MAX_FILE} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A flag or variable has no good value.
    #[error("cannot use {origin}: {source}")]
    Value {
        /// The flag or variable.
        origin: String,
        /// What is wrong.
        source: ValueError,
    },
}

/// Values given on the command line, by setting name.
pub type Flags = BTreeMap<&'static str, String>;

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $field:ident: $kind:ty, $name:literal, $env:literal, $default:expr;)*) => {
        /// The effective settings.
        #[derive(Clone, Debug)]
        pub struct Config {
            /// The settings file that was read, if any.
            pub file: Option<PathBuf>,
            $($(#[doc = $doc])* pub $field: Setting<$kind>,)*
        }

        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, expecting = "settings, one `name: value` per line")]
        struct File {
            $(#[serde(rename = $name, default)] $field: Option<InFile<$kind>>,)*
        }

        impl Config {
            fn resolve(
                path: Option<PathBuf>,
                file: File,
                flags: &Flags,
                environment: &dyn Fn(&str) -> Option<String>,
            ) -> Result<Self, ConfigError> {
                Ok(Self {
                    file: path,
                    $($field: pick($name, $env, flags, environment, file.$field, || $default)?,)*
                })
            }

            /// Every setting: its name, its value with secrets masked, and where it came from.
            pub fn rows(&self) -> Vec<(&'static str, String, String)> {
                vec![$((
                    $name,
                    self.derived($name).unwrap_or_else(|| self.$field.value.shown()),
                    self.origin(&self.$field.source, $name),
                ),)*]
            }
        }

        /// Every setting: name, environment variable, what it is for.
        pub const SETTINGS: &[(&str, &str, &str)] = &[$(($name, $env, concat!($($doc),*)),)*];
    };
}

settings! {
    /// The data directory
    data: FilePath, "data", "HALLMARK_DATA", FilePath("./hallmark-data".into());
    /// Address to listen on; port 0 picks a free one
    listen: ListenAddress, "listen", "HALLMARK_LISTEN", ListenAddress::default();
    /// The certificate (PEM, with its chain) that the server shows: with one it speaks TLS, without one HTTP
    tls_cert_file: Maybe<FilePath>, "tls-cert-file", "HALLMARK_TLS_CERT_FILE", Maybe(None);
    /// The certificate's private key (PEM)
    tls_key_file: Maybe<FilePath>, "tls-key-file", "HALLMARK_TLS_KEY_FILE", Maybe(None);
    /// Where clients reach the server, where that is not the listening address
    public_url: Maybe<PublicUrl>, "public-url", "HALLMARK_PUBLIC_URL", Maybe(None);
    /// The database: `sled:DIR` or `postgres://...`
    database_url: Maybe<DatabaseUrl>, "database-url", "HALLMARK_DATABASE_URL", Maybe(None);
    /// The blobs: `file:DIR` or `s3://bucket/prefix?endpoint=...`
    blobs_url: Maybe<BlobsUrl>, "blobs-url", "HALLMARK_BLOBS_URL", Maybe(None);
    /// File with the access keys of the bucket, in the form of AWS's; else they come from the usual variables and services
    blobs_credentials_file: Maybe<FilePath>, "blobs-credentials-file", "HALLMARK_BLOBS_CREDENTIALS_FILE", Maybe(None);
    /// How devices get files of a bucket: `proxied` through this server, or `presigned`, by an address of the bucket
    blobs_downloads: Downloads, "blobs-downloads", "HALLMARK_BLOBS_DOWNLOADS", Downloads::Proxied;
    /// Life of such an address; at most a week
    blobs_link_life: Seconds, "blobs-link-life", "HALLMARK_BLOBS_LINK_LIFE", Seconds(600);
    /// File with the passphrase that seals the private keys
    key_passphrase_file: Maybe<FilePath>, "key-passphrase-file", "HALLMARK_KEY_PASSPHRASE_FILE", Maybe(None);
    /// What is logged: a level, or rules like `info,hallmark::http=debug`
    log: LogFilter, "log", "HALLMARK_LOG", LogFilter::default();
    /// How log lines look: `text` or `json`
    log_format: LogFormat, "log-format", "HALLMARK_LOG_FORMAT", LogFormat::Text;
    /// Life of a request-id
    request_id_life: Seconds, "request-id-life", "HALLMARK_REQUEST_ID_LIFE", Seconds(600);
    /// Addresses whose `X-Forwarded-For` counts, e.g. `127.0.0.1,10.0.0.0/8`
    trusted_proxies: Proxies, "trusted-proxies", "HALLMARK_TRUSTED_PROXIES", Proxies(Vec::new());
    /// Connections at a time
    max_connections: Count, "max-connections", "HALLMARK_MAX_CONNECTIONS", Count(16_384);
    /// Time for the head of a request
    header_time: Seconds, "header-time", "HALLMARK_HEADER_TIME", Seconds(10);
    /// Time for the body of a request
    body_time: Seconds, "body-time", "HALLMARK_BODY_TIME", Seconds(30);
    /// Time a connection may wait for its next request
    idle_time: Seconds, "idle-time", "HALLMARK_IDLE_TIME", Seconds(60);
    /// Time running requests have to finish when the server stops
    drain_time: Seconds, "drain-time", "HALLMARK_DRAIN_TIME", Seconds(30);
    /// Largest headers of an assertion in a stream
    assertion_headers_limit: Size, "assertion-headers-limit", "HALLMARK_ASSERTION_HEADERS_LIMIT", Size(128 << 10);
    /// Largest body of an assertion in a stream
    assertion_body_limit: Size, "assertion-body-limit", "HALLMARK_ASSERTION_BODY_LIMIT", Size(2 << 20);
    /// Largest signature of an assertion in a stream
    assertion_signature_limit: Size, "assertion-signature-limit", "HALLMARK_ASSERTION_SIGNATURE_LIMIT", Size(128 << 10);
    /// Largest JSON body
    json_limit: Size, "json-limit", "HALLMARK_JSON_LIMIT", Size(1 << 20);
    /// Largest JSON body of a device's session request
    session_limit: Size, "session-limit", "HALLMARK_SESSION_LIMIT", Size(8 << 20);
    /// Largest JSON body of a refresh
    refresh_limit: Size, "refresh-limit", "HALLMARK_REFRESH_LIMIT", Size(4 << 20);
    /// Largest snap that deltas are made for; 0 = none are made
    delta_limit: Size, "delta-limit", "HALLMARK_DELTA_LIMIT", Size(64 << 20);
    /// Largest file of a snap or component
    snap_limit: FileSize, "snap-limit", "HALLMARK_SNAP_LIMIT", FileSize(10 << 30);
    /// Threads that sign; 0 = as many as there are processors
    signer_threads: Count, "signer-threads", "HALLMARK_SIGNER_THREADS", Count(0);
    /// Signatures that may wait for a thread; more are answered with 503
    signer_queue: Count, "signer-queue", "HALLMARK_SIGNER_QUEUE", Count(256);
    /// The PKCS#11 module (a library) of hardware tokens; without one all keys are software keys
    pkcs11_module: Maybe<FilePath>, "pkcs11-module", "HALLMARK_PKCS11_MODULE", Maybe(None);
    /// The tokens: labels or `pkcs11:` URIs, separated by commas
    pkcs11_token: TokenNames, "pkcs11-token", "HALLMARK_PKCS11_TOKEN", TokenNames::default();
    /// Files with the PINs of the tokens: one for all, or one for each, separated by commas
    pkcs11_pin_file: FilePaths, "pkcs11-pin-file", "HALLMARK_PKCS11_PIN_FILE", FilePaths::default();
    /// Sessions of each token: signatures it makes at the same time
    pkcs11_sessions: Count, "pkcs11-sessions", "HALLMARK_PKCS11_SESSIONS", Count(4);
    /// The token that new keys are made in, where the command names no other; without one they are software keys
    pkcs11_new_keys: Maybe<TokenName>, "pkcs11-new-keys", "HALLMARK_PKCS11_NEW_KEYS", Maybe(None);
    /// Operators, brands and who issues system-users need a second factor
    require_second_factor: Switch, "require-second-factor", "HALLMARK_REQUIRE_SECOND_FACTOR", Switch(false);
    /// The provider of log-ins (OpenID Connect) that people may sign in with
    oidc_issuer: Maybe<Issuer>, "oidc-issuer", "HALLMARK_OIDC_ISSUER", Maybe(None);
    /// Who this server is for the provider
    oidc_client_id: Maybe<Word>, "oidc-client-id", "HALLMARK_OIDC_CLIENT_ID", Maybe(None);
    /// File with the secret that proves it to the provider; none for a public client
    oidc_client_secret_file: Maybe<FilePath>, "oidc-client-secret-file", "HALLMARK_OIDC_CLIENT_SECRET_FILE", Maybe(None);
    /// What the provider is asked for besides `openid`
    oidc_scopes: Scopes, "oidc-scopes", "HALLMARK_OIDC_SCOPES", Scopes::default();
    /// How the provider is called on the sign-in page
    oidc_name: Maybe<Label>, "oidc-name", "HALLMARK_OIDC_NAME", Maybe(None);
    /// The claim that holds the e-mail address
    oidc_email_claim: Word, "oidc-email-claim", "HALLMARK_OIDC_EMAIL_CLAIM", Word("email".to_owned());
    /// Take e-mail addresses that the provider does not call verified
    oidc_trust_email: Switch, "oidc-trust-email", "HALLMARK_OIDC_TRUST_EMAIL", Switch(false);
    /// Make accounts for people of the provider who have none
    oidc_open_accounts: Switch, "oidc-open-accounts", "HALLMARK_OIDC_OPEN_ACCOUNTS", Switch(false);
    /// The mail server (SMTP) that takes letters to people; without one nothing is mailed
    smtp_host: Maybe<HostName>, "smtp-host", "HALLMARK_SMTP_HOST", Maybe(None);
    /// Its port; else the usual one: 587 for starttls, 465 for tls, 25 for none
    smtp_port: Maybe<Port>, "smtp-port", "HALLMARK_SMTP_PORT", Maybe(None);
    /// How the connection to it is protected: `starttls`, `tls` or `none`
    smtp_security: MailSecurity, "smtp-security", "HALLMARK_SMTP_SECURITY", MailSecurity::StartTls;
    /// Who this server is for the mail server; none where it does not ask
    smtp_user: Maybe<Word>, "smtp-user", "HALLMARK_SMTP_USER", Maybe(None);
    /// File with the password for the mail server
    smtp_password_file: Maybe<FilePath>, "smtp-password-file", "HALLMARK_SMTP_PASSWORD_FILE", Maybe(None);
    /// The address letters are from
    smtp_from: Maybe<Sender>, "smtp-from", "HALLMARK_SMTP_FROM", Maybe(None);
    /// The address that is told what happens to waves; without one nobody is
    webhook_url: Maybe<HookUrl>, "webhook-url", "HALLMARK_WEBHOOK_URL", Maybe(None);
    /// File with the secret that signs what it is told (HMAC-SHA256)
    webhook_secret_file: Maybe<FilePath>, "webhook-secret-file", "HALLMARK_WEBHOOK_SECRET_FILE", Maybe(None);
    /// Accept the throw-away keys that ship with the project: never in production
    dev: Switch, "dev", "HALLMARK_DEV", Switch(false);
}

impl Config {
    /// Collects the settings. `config` names the settings file; else `hallmark.yaml` of the working directory is read,
    /// else that of the data directory, where there is one.
    pub fn load(
        config: Option<&Path>,
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let (path, file) = match config {
            Some(path) => (Some(path.to_owned()), read(path)?.unwrap_or_default()),
            None => {
                let here = Path::new(FILE).to_owned();
                match read_if_there(&here)? {
                    Some(file) => (Some(here), file),
                    None => {
                        let data = Self::resolve(None, File::default(), flags, environment)?
                            .data
                            .value
                            .0;
                        let there = data.join(FILE);
                        match read_if_there(&there)? {
                            Some(file) => (Some(there), file),
                            None => (None, File::default()),
                        }
                    }
                }
            }
        };
        Self::resolve(path, file, flags, environment)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data.value.0
    }

    /// The database, with its default place inside the data directory.
    pub fn database(&self) -> DatabaseUrl {
        self.database_url
            .value
            .0
            .clone()
            .unwrap_or_else(|| DatabaseUrl::Sled(self.data().join("db")))
    }

    /// The blobs, with their default place inside the data directory.
    pub fn blobs(&self) -> BlobsUrl {
        self.blobs_url
            .value
            .0
            .clone()
            .unwrap_or_else(|| BlobsUrl::File(self.data().join("blobs")))
    }

    /// The passphrase file, with its default place inside the data directory.
    pub fn passphrase_file(&self) -> PathBuf {
        match &self.key_passphrase_file.value.0 {
            Some(file) => file.0.clone(),
            None => self.data().join("passphrase"),
        }
    }

    /// Where clients reach the server; `bound` is the address it listens on, where that is known by now.
    pub fn public_url(&self, bound: Option<SocketAddr>) -> String {
        let scheme = self.scheme();
        match (&self.public_url.value.0, bound) {
            (Some(url), _) => url.as_str().to_owned(),
            (None, Some(address)) => format!("{scheme}://{address}"),
            (None, None) => format!("{scheme}://{}", self.listen.value),
        }
    }

    /// What the listening port speaks: `https` with a certificate, else `http`.
    pub fn scheme(&self) -> &'static str {
        match self.tls_cert_file.value.0 {
            Some(_) => "https",
            None => "http",
        }
    }

    /// What the provider of log-ins is called: its host, unless told otherwise.
    pub fn provider_name(&self) -> String {
        match (&self.oidc_name.value.0, &self.oidc_issuer.value.0) {
            (Some(label), _) => label.0.clone(),
            (None, Some(issuer)) => issuer.host(),
            (None, None) => String::new(),
        }
    }

    /// The port of the mail server: the usual one, unless told otherwise.
    pub fn mail_port(&self) -> u16 {
        let usual = self.smtp_security.value.usual_port();
        self.smtp_port.value.0.map_or(usual, |port| port.0)
    }

    /// The value of a setting whose default follows from other settings.
    fn derived(&self, name: &str) -> Option<String> {
        match name {
            "public-url" => Some(self.public_url(None)),
            "database-url" => Some(self.database().to_string()),
            "blobs-url" => Some(self.blobs().to_string()),
            "key-passphrase-file" => Some(self.passphrase_file().display().to_string()),
            "oidc-name" => Some(self.provider_name()),
            "smtp-port" => Some(self.mail_port().to_string()),
            _ => None,
        }
    }

    fn origin(&self, source: &Source, name: &str) -> String {
        match source {
            Source::Flag => format!("flag --{name}"),
            Source::Environment(variable) => format!("environment {variable}"),
            Source::File => match &self.file {
                Some(path) => format!("file {}", path.display()),
                None => "file".to_owned(),
            },
            Source::Default => "default".to_owned(),
        }
    }
}

fn pick<T: FromStr<Err = ValueError>>(
    name: &'static str,
    variable: &'static str,
    flags: &Flags,
    environment: &dyn Fn(&str) -> Option<String>,
    file: Option<InFile<T>>,
    default: impl FnOnce() -> T,
) -> Result<Setting<T>, ConfigError> {
    let parse = |text: &str, origin: String| {
        text.parse::<T>()
            .map_err(|source| ConfigError::Value { origin, source })
    };
    if let Some(text) = flags.get(name) {
        return Ok(Setting {
            value: parse(text, format!("--{name}"))?,
            source: Source::Flag,
        });
    }
    // An empty variable is one that was not set: shells and unit files have no better way to say so.
    if let Some(text) = environment(variable).filter(|text| !text.is_empty()) {
        return Ok(Setting {
            value: parse(&text, variable.to_owned())?,
            source: Source::Environment(variable),
        });
    }
    Ok(match file {
        Some(InFile(value)) => Setting {
            value,
            source: Source::File,
        },
        None => Setting {
            value: default(),
            source: Source::Default,
        },
    })
}

fn read_if_there(path: &Path) -> Result<Option<File>, ConfigError> {
    match std::fs::metadata(path) {
        Ok(_) => read(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn read(path: &Path) -> Result<Option<File>, ConfigError> {
    let fail = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(fail)?.len() > MAX_FILE {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    parse_file(&text)
        .map_err(|source| ConfigError::File {
            path: path.to_owned(),
            source,
        })
        .map(Some)
}

fn parse_file(text: &str) -> Result<File, serde_yaml::Error> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(File::default());
    }
    serde_yaml::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    fn load(
        text: &str,
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.yaml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path), flags, environment).map_err(|e| e.to_string())
    }

    fn row(config: &Config, name: &str) -> (String, String) {
        let (_, value, origin) = config.rows().into_iter().find(|row| row.0 == name).unwrap();
        (value, origin.split(' ').next().unwrap_or_default().to_owned())
    }

    #[test]
    fn sizes_are_told_in_bytes_or_binary_units() {
        let file = "json-limit: 2MiB\nassertion-body-limit: 131072\nsession-limit: 1000\n";
        let config = load(file, &Flags::default(), &none).unwrap();
        assert_eq!(config.json_limit.value, Size(2 << 20));
        assert_eq!(row(&config, "assertion-body-limit").0, "128KiB");
        assert_eq!(row(&config, "session-limit").0, "1000");
        assert_eq!(row(&config, "assertion-headers-limit").0, "128KiB");
        for bad in ["0", "-1", "2GB", "2TiB", "MiB", "''"] {
            let error = load(&format!("json-limit: {bad}\n"), &Flags::default(), &none).unwrap_err();
            assert!(
                error.contains("json-limit") && error.contains("like 131072"),
                "{error}"
            );
        }
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = "listen: 127.0.0.1:1\nlog: debug\nrequest-id-life: 60\ntrusted-proxies: [127.0.0.1, 10.0.0.0/8]\n";
        let environment = |name: &str| match name {
            "HALLMARK_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "HALLMARK_LOG" => Some("warn".to_owned()),
            "HALLMARK_DEV" => Some(String::new()),
            _ => None,
        };
        let flags = Flags::from([("listen", "127.0.0.1:3".to_owned())]);
        let config = load(file, &flags, &environment).unwrap();
        assert_eq!(row(&config, "listen"), ("127.0.0.1:3".into(), "flag".into()));
        assert_eq!(row(&config, "log"), ("warn".into(), "environment".into()));
        assert_eq!(row(&config, "request-id-life"), ("60s".into(), "file".into()));
        assert_eq!(
            row(&config, "trusted-proxies"),
            ("127.0.0.1/32,10.0.0.0/8".into(), "file".into())
        );
        assert_eq!(row(&config, "dev"), ("false".into(), "default".into()));
        assert_eq!(row(&config, "idle-time"), ("60s".into(), "default".into()));
    }

    #[test]
    fn the_file_is_refused_with_line_and_column() {
        for (text, expected) in [
            ("listen: 127.0.0.1:1\nlisten-on: x\n", "unknown field `listen-on`"),
            (
                "listen: nowhere\n",
                "\"nowhere\" is not an address like 127.0.0.1:8380",
            ),
            (
                "\n\nrequest-id-life: soon\n",
                "\"soon\" is not a time like 600 or 10m",
            ),
            ("listen: [\n", "did not find"),
        ] {
            let error = load(text, &Flags::new(), &none).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("line ") && error.contains("column "), "{error}");
        }
        let error = load("- a\n", &Flags::new(), &none).unwrap_err();
        assert!(
            error.ends_with("expected settings, one `name: value` per line"),
            "{error}"
        );
        assert!(load("# nothing\n\n", &Flags::new(), &none).is_ok());
        assert!(load("", &Flags::new(), &none).is_ok());
    }

    #[test]
    fn wrong_flags_and_variables_are_named() {
        let flags = Flags::from([("listen", "x".to_owned())]);
        let error = load("", &flags, &none).unwrap_err();
        assert_eq!(
            error,
            "cannot use --listen: \"x\" is not an address like 127.0.0.1:8380"
        );
        let environment = |name: &str| (name == "HALLMARK_MAX_CONNECTIONS").then(|| "many".to_owned());
        let error = load("", &Flags::new(), &environment).unwrap_err();
        assert_eq!(
            error,
            "cannot use HALLMARK_MAX_CONNECTIONS: \"many\" is not a number"
        );
    }

    #[test]
    fn with_a_certificate_clients_are_told_to_use_https() {
        let config = load("tls-cert-file: /etc/tls/chain.pem\n", &Flags::new(), &none).unwrap();
        assert_eq!(row(&config, "public-url").0, "https://127.0.0.1:8380");
        let config = load("", &Flags::new(), &none).unwrap();
        assert_eq!(row(&config, "public-url").0, "http://127.0.0.1:8380");
    }

    #[test]
    fn secrets_are_masked() {
        let flags = Flags::from([(
            "database-url",
            "postgres://vault:hunter2@db.example/vault?password=hunter2&sslmode=require".to_owned(),
        )]);
        for secret in [
            "s3://bucket/prefix?endpoint=https://s3.example&secret-key=hunter2",
            "s3://bucket/prefix?endpoint=https%3A//vault:hunter2@s3.example",
        ] {
            let flags = Flags::from([("blobs-url", secret.to_owned())]);
            let error = load("", &flags, &none).unwrap_err();
            assert!(
                error.contains("s3://bucket/prefix") && !error.contains("hunter2"),
                "{error}"
            );
        }
        let config = load("", &flags, &none).unwrap();
        let all = format!("{:?}", config.rows());
        assert!(!all.contains("hunter2"), "{all}");
        assert!(
            all.contains("sslmode=require") && all.contains("db.example"),
            "{all}"
        );
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_file_of_the_data_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "log: debug\n").unwrap();
        let flags = Flags::from([("data", dir.path().display().to_string())]);
        let config = Config::load(None, &flags, &none).unwrap();
        assert_eq!(row(&config, "log").0, "debug");
        assert_eq!(config.database(), DatabaseUrl::Sled(dir.path().join("db")));
    }
}
