//! The kinds of values settings have: each is parsed once, with a message that says what would have been good.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::bucket::{BucketUrl, Downloads};

use crate::http::serve::Network;

/// The text is not a value of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ValueError {
    text: String,
    expected: &'static str,
}

impl ValueError {
    /// `text` is not `expected`. Not for texts that may hold a secret.
    pub fn new(expected: &'static str, text: &str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            expected,
        }
    }
}

/// How a value is shown by `config show`: secrets masked.
pub(super) trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown_as_displayed {
    ($($kind:ty),*) => {
        $(impl Shown for $kind {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}

shown_as_displayed!(
    FilePath,
    ListenAddress,
    PublicUrl,
    DatabaseUrl,
    BlobsUrl,
    Downloads,
    LogFilter,
    LogFormat,
    Seconds
);
shown_as_displayed!(Proxies, Count, Size, FileSize, Switch);

/// A value that may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maybe<T>(pub Option<T>);

impl<T: FromStr<Err = ValueError>> FromStr for Maybe<T> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse().map(|value| Self(Some(value)))
    }
}

impl<T: Shown> Shown for Maybe<T> {
    fn shown(&self) -> String {
        self.0.as_ref().map(Shown::shown).unwrap_or_default()
    }
}

/// A path that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

impl FromStr for FilePath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            Err(ValueError::new("a path", text))
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// `HOST:PORT`; an IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress(String);

impl ListenAddress {
    /// The text, for binding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ListenAddress {
    fn default() -> Self {
        Self("127.0.0.1:8380".to_owned())
    }
}

impl FromStr for ListenAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (host, port) = text.rsplit_once(':').unwrap_or_default();
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let good = !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok();
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::new("an address like 127.0.0.1:8380", text))
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where clients reach us: an `http` or `https` URL without query, kept without its final slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The URL, without a final slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new("a URL like https://store.example", text);
        let url = Url::parse(text).map_err(|_| error())?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if plain {
            Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
        } else {
            Err(error())
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The database that keeps everything but blobs.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// Embedded, in this directory.
    Sled(PathBuf),
    /// A PostgreSQL server. May hold a password.
    Postgres(String),
}

impl FromStr for DatabaseUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some(dir) = text.strip_prefix("sled:").filter(|dir| !dir.is_empty()) {
            return Ok(Self::Sled(dir.into()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        Err(ValueError::new(
            "a database like sled:DIR or postgres://...",
            scheme(text),
        ))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(dir) => write!(f, "sled:{}", dir.display()),
            Self::Postgres(url) => f.write_str(&masked(url)),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where files (snaps, icons) are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum BlobsUrl {
    /// In this directory.
    File(PathBuf),
    /// In a bucket.
    S3(BucketUrl),
}

impl FromStr for BlobsUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some(dir) = text.strip_prefix("file:").filter(|dir| !dir.is_empty()) {
            return Ok(Self::File(dir.into()));
        }
        if text.starts_with("s3://") {
            return text.parse().map(Self::S3);
        }
        Err(ValueError::new(
            "a place like file:DIR or s3://bucket/prefix",
            scheme(text),
        ))
    }
}

impl fmt::Display for BlobsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(dir) => write!(f, "file:{}", dir.display()),
            Self::S3(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Debug for BlobsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The part of a URL that holds no secret.
fn scheme(text: &str) -> &str {
    text.split_once(':').map_or(text, |(scheme, _)| scheme)
}

/// A URL with its password and everything secret in its query masked.
pub(super) fn masked(text: &str) -> String {
    const MASK: &str = "*****";
    let Ok(mut url) = Url::parse(text) else {
        return format!("{}:{MASK}", scheme(text));
    };
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return format!("{}:{MASK}", scheme(text));
    }
    let Some(query) = url.query() else {
        return url.to_string();
    };
    let query: Vec<String> = query
        .split('&')
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let lower = key.to_ascii_lowercase();
            let secret = ["pass", "secret", "token", "key", "credential"]
                .iter()
                .any(|word| lower.contains(word));
            if secret || has_password(value) {
                format!("{key}={MASK}")
            } else {
                pair.to_owned()
            }
        })
        .collect();
    url.set_query(Some(&query.join("&")));
    url.to_string()
}

/// Whether a value of a query is a URL with a password in it.
fn has_password(value: &str) -> bool {
    let text = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
    Url::parse(&text).is_ok_and(|url| url.password().is_some())
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The rules as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(ValueError::new(
                "a log level or filter like info,hallmark::http=debug",
                text,
            )),
        }
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(ValueError::new("text or json", text)),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// A length of time in whole seconds; at least one. Written `600`, `600s`, `10m` or `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u32);

impl Seconds {
    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl FromStr for Seconds {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new("a time like 600 or 10m", text);
        let (digits, factor) = match text.strip_suffix(['s', 'm', 'h']) {
            Some(digits) if text.ends_with('m') => (digits, 60),
            Some(digits) if text.ends_with('h') => (digits, 3600),
            Some(digits) => (digits, 1),
            None => (text, 1),
        };
        let seconds = digits
            .parse::<u32>()
            .ok()
            .and_then(|number| number.checked_mul(factor));
        seconds.filter(|seconds| *seconds > 0).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

/// Trusted proxies, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies(pub Vec<Network>);

impl FromStr for Proxies {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| {
                part.parse()
                    .map_err(|_| ValueError::new("an IP address or a range like 10.0.0.0/8", part))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub usize);

impl FromStr for Count {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse()
            .map(Self)
            .map_err(|_| ValueError::new("a number", text))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of bytes, with `KiB` or `MiB` where that is meant; 1 GiB at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (digits, factor) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
            (Some(digits), _) => (digits, 1 << 10),
            (_, Some(digits)) => (digits, 1 << 20),
            (None, None) => (text, 1),
        };
        let bytes = digits.trim_end().parse::<usize>().ok();
        bytes
            .and_then(|number| number.checked_mul(factor))
            .filter(|bytes| (1..=1 << 30).contains(bytes))
            .map(Self)
            .ok_or_else(|| ValueError::new("a size like 131072, 128KiB or 2MiB", text))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes => write!(f, "{bytes}"),
        }
    }
}

/// The length of a file, with `KiB`, `MiB` or `GiB` where that is meant; 1 TiB at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSize(pub u64);

impl FromStr for FileSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let units = [("KiB", 1u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let unit = units
            .iter()
            .find_map(|(name, factor)| Some((text.strip_suffix(name)?, *factor)));
        let (digits, factor) = unit.unwrap_or((text, 1));
        let bytes = digits.trim_end().parse::<u64>().ok();
        bytes
            .and_then(|number| number.checked_mul(factor))
            .filter(|bytes| (1..=1 << 40).contains(bytes))
            .map(Self)
            .ok_or_else(|| ValueError::new("a size like 500MiB or 10GiB", text))
    }
}

impl fmt::Display for FileSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 30) == 0 => write!(f, "{}GiB", bytes >> 30),
            bytes if bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes => write!(f, "{bytes}"),
        }
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "true" | "yes" | "1" => Ok(Self(true)),
            "false" | "no" | "0" => Ok(Self(false)),
            _ => Err(ValueError::new("true or false", text)),
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
