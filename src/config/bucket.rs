//! Where a bucket is, in one URL, and how its files get to devices.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

use super::values::{ValueError, masked};

const BUCKET: &str = "a bucket like s3://BUCKET/PREFIX?endpoint=https://s3.example&region=REGION; further path-style=yes|no and \
                      plain-http=yes; access keys do not belong there";
const PLAIN: &str = "a bucket with an endpoint of https: others could read and change files on their way; plain-http=yes allows it";

/// A bucket: `s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&path-style=yes|no&plain-http=yes]`.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketUrl {
    /// Its name.
    pub bucket: String,
    /// What the names of its objects begin with; may be empty.
    pub prefix: String,
    /// The server, `http(s)://HOST[:PORT]`; without one AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The bucket's name is in the path, not in front of the host: as most servers besides AWS want it.
    pub path_style: bool,
    shown: String,
}

impl FromStr for BucketUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // What is behind the question mark may hold anything: it is not repeated.
        let shown = masked(text.split('?').next().unwrap_or_default());
        let error = || ValueError::new(BUCKET, &shown);
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= 255
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && text != "."
                && text != ".."
        };
        let rest = text.strip_prefix("s3://").ok_or_else(error)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_end_matches('/');
        if !word(bucket) || !(prefix.is_empty() || prefix.split('/').all(word)) {
            return Err(error());
        }
        let (mut endpoint, mut region, mut path_style, mut plain) = (None, None, None, false);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("endpoint", value) if endpoint.is_none() => {
                    endpoint = Some(server(value).ok_or_else(error)?)
                }
                ("region", value) if region.is_none() && word(value) => region = Some(value.to_owned()),
                ("path-style", "yes" | "true") => path_style = Some(true),
                ("path-style", "no" | "false") => path_style = Some(false),
                ("plain-http", "yes" | "true") => plain = true,
                _ => return Err(error()),
            }
        }
        if let Some(endpoint) = &endpoint
            && endpoint.scheme() == "http"
            && !plain
            && !is_here(endpoint)
        {
            return Err(ValueError::new(PLAIN, &shown));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            path_style: path_style.unwrap_or(endpoint.is_some()),
            endpoint: endpoint.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            region,
            shown: text.to_owned(),
        })
    }
}

/// A server without anything else in its address.
fn server(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    bare.then_some(url)
}

/// Whether what is sent there stays on this machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How files of a bucket get to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downloads {
    /// Through this server.
    Proxied,
    /// From the bucket: devices are sent to an address that is signed for a while.
    Presigned,
}

impl FromStr for Downloads {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "proxied" => Ok(Self::Proxied),
            "presigned" => Ok(Self::Presigned),
            _ => Err(ValueError::new("proxied or presigned", text)),
        }
    }
}

impl fmt::Display for Downloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxied => "proxied",
            Self::Presigned => "presigned",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_read_from_its_url() {
        let bucket: BucketUrl = "s3://snaps/a/b/?endpoint=https://s3.example:9000&region=eu-1"
            .parse()
            .unwrap();
        assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str()), ("snaps", "a/b"));
        assert_eq!(bucket.endpoint.as_deref(), Some("https://s3.example:9000"));
        assert_eq!(bucket.region.as_deref(), Some("eu-1"));
        assert!(bucket.path_style);
        let bucket: BucketUrl = "s3://snaps".parse().unwrap();
        assert_eq!(
            (bucket.prefix.as_str(), bucket.endpoint, bucket.path_style),
            ("", None, false)
        );
        let bucket: BucketUrl = "s3://snaps?endpoint=https://s3.example&path-style=no"
            .parse()
            .unwrap();
        assert!(!bucket.path_style);
    }

    #[test]
    fn plain_http_stays_on_this_machine_unless_told_otherwise() {
        for good in [
            "s3://b?endpoint=http://127.0.0.1:9000",
            "s3://b?endpoint=http://[::1]:9000",
            "s3://b?endpoint=http://localhost:9000",
            "s3://b?endpoint=http://10.0.0.7:9000&plain-http=yes",
        ] {
            assert!(good.parse::<BucketUrl>().is_ok(), "{good}");
        }
        let error = "s3://b?endpoint=http://10.0.0.7:9000"
            .parse::<BucketUrl>()
            .unwrap_err();
        assert!(error.to_string().contains("plain-http=yes"), "{error}");
    }

    #[test]
    fn what_does_not_belong_there_is_refused_and_not_repeated() {
        for bad in [
            "s3://",
            "s3:///prefix",
            "s3://b/a//b",
            "s3://b/../c",
            "s3://b?endpoint=ftp://x",
            "s3://b?endpoint=https://s3.example/path",
            "s3://b?endpoint=https://me:hunter2@s3.example",
            "s3://b?secret-key=hunter2",
            "s3://me:hunter2@b",
            "s3://b?path-style=perhaps",
            "s3://b?colour=red",
        ] {
            let error = bad.parse::<BucketUrl>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
