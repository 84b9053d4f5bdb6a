//! The address of a webhook.

use std::str::FromStr;

use url::Url;

use super::values::{Shown, ValueError};

/// An http or https URL without user and password. Its path may hold a secret: it is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookUrl(Url);

impl HookUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for HookUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let url = Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        });
        url.map(Self)
            .ok_or_else(|| ValueError::new("a URL like https://ops.acme.example/waves", text))
    }
}

impl Shown for HookUrl {
    fn shown(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        let rest = if self.0.path() == "/" { "/" } else { "/…" };
        format!("{}://{host}{port}{rest}", self.0.scheme())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_path() {
        for (text, shown) in [
            (
                "https://ops.acme.example/secret/path?x=1",
                "https://ops.acme.example/…",
            ),
            ("http://10.0.0.7:8080", "http://10.0.0.7:8080/"),
        ] {
            assert_eq!(text.parse::<HookUrl>().unwrap().shown(), shown);
        }
        for bad in ["", "ops.acme.example", "ftp://x/", "https://me:pw@x/"] {
            assert!(bad.parse::<HookUrl>().is_err(), "{bad}");
        }
    }
}
