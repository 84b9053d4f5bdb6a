//! The kinds of values that settings of a provider of log-ins have.

use std::str::FromStr;

use url::{Host, Url};

use super::values::{Shown, ValueError};

/// Most scopes that are asked for.
const MAX_SCOPES: usize = 20;
/// Longest word, in bytes.
const MAX_WORD: usize = 255;

/// The identifier of a provider, exactly as it writes it: an `https` URL without query. `http` only on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(String);

impl Issuer {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its host, for people.
    pub fn host(&self) -> String {
        let url = Url::parse(&self.0).ok();
        url.and_then(|url| url.host_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

impl FromStr for Issuer {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new("an https URL like https://id.example/realm", text);
        let url = Url::parse(text).map_err(|_| error())?;
        let here = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if plain && (url.scheme() == "https" || (url.scheme() == "http" && here)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(error())
        }
    }
}

/// A word without blanks: a client id, the name of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

impl FromStr for Word {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if !text.is_empty() && text.len() <= MAX_WORD && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::new(
                "a word of up to 255 letters, digits and signs",
                text,
            ))
        }
    }
}

/// What people read on a button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(pub String);

impl FromStr for Label {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        if (1..=60).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::new("a name of 1 to 60 characters", text))
        }
    }
}

/// Scopes, separated by blanks or commas. `openid` is always asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(pub Vec<String>);

impl Default for Scopes {
    fn default() -> Self {
        Self(vec!["email".to_owned(), "profile".to_owned()])
    }
}

impl FromStr for Scopes {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        let scopes: Vec<String> = words
            .filter(|word| *word != "openid")
            .map(str::to_owned)
            .collect();
        // RFC 6749, appendix A.4.
        let good = |scope: &String| {
            scope.len() <= MAX_WORD
                && scope
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
        };
        if scopes.len() <= MAX_SCOPES && scopes.iter().all(good) {
            Ok(Self(scopes))
        } else {
            Err(ValueError::new("a list of scopes like email,profile", text))
        }
    }
}

impl Shown for Issuer {
    fn shown(&self) -> String {
        self.0.clone()
    }
}

impl Shown for Word {
    fn shown(&self) -> String {
        self.0.clone()
    }
}

impl Shown for Label {
    fn shown(&self) -> String {
        self.0.clone()
    }
}

impl Shown for Scopes {
    fn shown(&self) -> String {
        self.0.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_reached_over_tls_or_on_this_machine() {
        for good in [
            "https://id.example",
            "https://id.example/",
            "https://id.example:8443/realms/acme",
            "http://localhost:9000",
            "http://127.0.0.1:9000/x",
            "http://[::1]:1",
        ] {
            assert_eq!(good.parse::<Issuer>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "id.example",
            "http://id.example",
            "http://192.0.2.1",
            "https://id.example?x=1",
            "https://id.example#x",
            "https://jo:pw@id.example",
            "ftp://localhost",
        ] {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
        assert_eq!(
            "https://id.example:8443/a".parse::<Issuer>().unwrap().host(),
            "id.example"
        );
    }

    #[test]
    fn scopes_are_separated_by_blanks_or_commas() {
        for text in ["email,groups", "openid email groups", " email , groups,"] {
            assert_eq!(text.parse::<Scopes>().unwrap().0, ["email", "groups"]);
        }
        assert!("em\"ail".parse::<Scopes>().is_err());
        assert!("e\u{308}".parse::<Scopes>().is_err());
        assert!(["x"; 21].join(" ").parse::<Scopes>().is_err());
    }

    #[test]
    fn words_and_labels_are_short_and_plain() {
        assert!(
            "hallmark".parse::<Word>().is_ok()
                && "a b".parse::<Word>().is_err()
                && "".parse::<Word>().is_err()
        );
        assert!("Acme SSO".parse::<Label>().is_ok());
        assert!(
            " ".parse::<Label>().is_err()
                && "a\nb".parse::<Label>().is_err()
                && "x".repeat(61).parse::<Label>().is_err()
        );
    }
}
