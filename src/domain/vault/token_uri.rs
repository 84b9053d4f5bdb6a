//! Names of tokens and of keys in them: the part of RFC 7512 (`pkcs11:` URIs) that a key manager needs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What such a URI begins with.
pub const SCHEME: &str = "pkcs11:";
/// Between the place of a key and its seal; percent-encoded in a URI, and no base64.
const SEAL: char = '#';
/// Longest URI that is read.
const MAX_URI: usize = 1024;

/// Why a text names no token or key. It is never shown: it may hold a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenUriError {
    /// It is longer than any name.
    #[error("the name of a token is at most {MAX_URI} bytes long")]
    TooLong,
    /// Not `name=value;name=value` behind the scheme, or a broken percent-encoding.
    #[error("a token is named by its label, or like pkcs11:token=LABEL;serial=NUMBER")]
    Form,
    /// An attribute twice.
    #[error("{0} is there twice")]
    Twice(&'static str),
    /// An attribute that we would have to ignore.
    #[error(
        "{0:?} is no attribute that is understood here: token, manufacturer, model, serial, object, id, type=private"
    )]
    Unknown(String),
    /// A PIN, or where to find one.
    #[error("a PIN has no place in the name of a token: set pkcs11-pin-file")]
    Pin,
    /// No label of a token.
    #[error("it does not say which token: token=LABEL is missing")]
    NoToken,
    /// No key where one is needed.
    #[error("it does not say which key: object=LABEL or id=BYTES is missing")]
    NoObject,
    /// A key where only a token is meant.
    #[error("it names a key, where only a token is meant")]
    Object,
}

/// A token by its label, perhaps with more that tells it from others, and perhaps a key in it. Compared as it is
/// written: canonical order and encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenUri {
    /// The label of the token; never empty.
    pub token: String,
    /// Who made the token.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The label of the key.
    pub object: Option<String>,
    /// The id of the key: any bytes.
    pub id: Option<Vec<u8>>,
}

impl TokenUri {
    /// A token by its label alone, or by a URI that names no key.
    pub fn token(text: &str) -> Result<Self, TokenUriError> {
        let found = if text.starts_with(SCHEME) {
            text.parse::<Self>()?
        } else if text.len() > MAX_URI || text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(TokenUriError::Form);
        } else {
            Self {
                token: text.trim().to_owned(),
                ..Self::default()
            }
        };
        if found.object.is_some() || found.id.is_some() {
            return Err(TokenUriError::Object);
        }
        Ok(found)
    }

    /// A key in a token.
    pub fn key(text: &str) -> Result<Self, TokenUriError> {
        let found: Self = text.parse()?;
        if found.object.is_none() && found.id.is_none() {
            return Err(TokenUriError::NoObject);
        }
        Ok(found)
    }

    /// The token alone, by its label.
    pub fn home(&self) -> Self {
        Self {
            token: self.token.clone(),
            ..Self::default()
        }
    }

    /// Whether a token with this label, manufacturer, model and serial number is meant.
    pub fn is(&self, label: &str, manufacturer: &str, model: &str, serial: &str) -> bool {
        let fits =
            |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        self.token == label
            && fits(&self.manufacturer, manufacturer)
            && fits(&self.model, model)
            && fits(&self.serial, serial)
    }
}

impl FromStr for TokenUri {
    type Err = TokenUriError;

    fn from_str(text: &str) -> Result<Self, TokenUriError> {
        if text.len() > MAX_URI {
            return Err(TokenUriError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(TokenUriError::Form)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains("pin-value") || query.contains("pin-value") || query.contains("pin-source") {
            return Err(TokenUriError::Pin);
        }
        if let Some(name) = query.split('&').find(|part| !part.is_empty()) {
            return Err(unknown(name));
        }
        let mut found = Self::default();
        let mut token = None;
        let mut class = None;
        for part in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(TokenUriError::Form)?;
            match name {
                "token" => once("token", &mut token, words(value)?)?,
                "manufacturer" => once("manufacturer", &mut found.manufacturer, words(value)?)?,
                "model" => once("model", &mut found.model, words(value)?)?,
                "serial" => once("serial", &mut found.serial, words(value)?)?,
                "object" => once("object", &mut found.object, words(value)?)?,
                "id" => once("id", &mut found.id, bytes(value)?)?,
                // What is meant is a private key in any case.
                "type" if value == "private" => once("type", &mut class, ())?,
                _ => return Err(unknown(name)),
            }
        }
        if found.id.as_ref().is_some_and(Vec::is_empty) || found.object.as_deref() == Some("") {
            return Err(TokenUriError::NoObject);
        }
        found.token = token
            .filter(|label: &String| !label.is_empty())
            .ok_or(TokenUriError::NoToken)?;
        Ok(found)
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}token={}", encoded(self.token.as_bytes()))?;
        let texts = [
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("object", &self.object),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                write!(f, ";{name}={}", encoded(value.as_bytes()))?;
            }
        }
        if let Some(id) = &self.id {
            f.write_str(";id=")?;
            id.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
        }
        Ok(())
    }
}

impl Serialize for TokenUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Only tokens: who wants a key in one says so with [`TokenUri::key`].
impl<'de> Deserialize<'de> for TokenUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not borrowed: JSON may have written it with escapes.
        let text = String::deserialize(deserializer)?;
        Self::token(&text).map_err(serde::de::Error::custom)
    }
}

/// What is kept of a key in hardware: its place in the open, and the seal that binds it to owner and key.
pub fn join(place: impl fmt::Display, seal: &str) -> String {
    format!("{place}{SEAL}{seal}")
}

/// Place and seal of a key as [`join`] wrote it; no place for a software key.
pub fn split(sealed: &str) -> (Option<&str>, &str) {
    match sealed.split_once(SEAL) {
        Some((place, seal)) if place.starts_with(SCHEME) => (Some(place), seal),
        _ => (None, sealed),
    }
}

fn once<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), TokenUriError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(TokenUriError::Twice(name)),
    }
}

fn unknown(name: &str) -> TokenUriError {
    // Only the name: what follows it may be a secret that somebody misspelt.
    let name = name.split('=').next().unwrap_or_default();
    TokenUriError::Unknown(name.chars().take(32).collect())
}

fn words(value: &str) -> Result<String, TokenUriError> {
    let text = String::from_utf8(bytes(value)?).map_err(|_| TokenUriError::Form)?;
    if text.chars().any(char::is_control) {
        return Err(TokenUriError::Form);
    }
    Ok(text)
}

/// Undoes the percent-encoding.
fn bytes(value: &str) -> Result<Vec<u8>, TokenUriError> {
    let mut found = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            found.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_first_chunk::<2>().ok_or(TokenUriError::Form)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(TokenUriError::Form);
        let [high, low] = *digits;
        found.push(u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| TokenUriError::Form)?);
        rest = after;
    }
    Ok(found)
}

/// Everything but letters, digits and `-._~` percent-encoded, so that one name has one text.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_are_named_by_label_or_uri() {
        assert_eq!(
            TokenUri::token("Brand keys").unwrap().to_string(),
            "pkcs11:token=Brand%20keys"
        );
        let full = "pkcs11:serial=0123;token=Brand%20keys;manufacturer=Acme%3B%20Inc";
        let found = TokenUri::token(full).unwrap();
        assert_eq!(found.token, "Brand keys");
        assert!(found.is("Brand keys", "Acme; Inc", "any", "0123"));
        assert!(!found.is("Brand keys", "Acme; Inc", "any", "0124"));
        assert!(!found.is("other", "Acme; Inc", "any", "0123"));
    }

    #[test]
    fn keys_are_named_by_label_or_id() {
        let found = TokenUri::key("pkcs11:token=hsm;object=serial%23key;id=%01%fF%00;type=private").unwrap();
        assert_eq!(found.id.as_deref(), Some([1, 255, 0].as_slice()));
        assert_eq!(
            found.to_string(),
            "pkcs11:token=hsm;object=serial%23key;id=%01%FF%00"
        );
        assert_eq!(
            TokenUri::key("pkcs11:token=hsm;id=abc").unwrap().id.as_deref(),
            Some(b"abc".as_slice())
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        use TokenUriError as E;
        let cases = [
            ("pkcs11:", E::NoToken),
            ("pkcs11:object=x", E::NoToken),
            ("pkcs11:token=", E::NoToken),
            ("pkcs11:token=a", E::NoObject),
            ("pkcs11:token=a;id=", E::NoObject),
            ("pkcs11:token=a;token=b;id=1", E::Twice("token")),
            ("pkcs11:token=a;id=%0", E::Form),
            ("pkcs11:token=a;id=%zz", E::Form),
            ("pkcs11:token=a;object=%FF", E::Form),
            ("pkcs11:token=a;object=%0A", E::Form),
            ("pkcs11:token", E::Form),
            ("token=a;object=x", E::Form),
            ("pkcs11:token=a;type=public;id=1", E::Unknown("type".to_owned())),
            ("pkcs11:token=a;slot-id=1;id=1", E::Unknown("slot-id".to_owned())),
            (
                "pkcs11:token=a;id=1?module-path=/x.so",
                E::Unknown("module-path".to_owned()),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(TokenUri::key(text).unwrap_err(), error, "{text}");
        }
        assert_eq!(TokenUri::token("pkcs11:token=a;object=x").unwrap_err(), E::Object);
        assert_eq!(TokenUri::token(" ").unwrap_err(), E::Form);
        assert_eq!(TokenUri::token("a\nb").unwrap_err(), E::Form);
        let long = format!("pkcs11:token={}", "a".repeat(MAX_URI));
        assert_eq!(TokenUri::token(&long).unwrap_err(), E::TooLong);
    }

    #[test]
    fn a_pin_is_refused_and_not_repeated() {
        for text in [
            "pkcs11:token=a;object=x?pin-value=hunter2",
            "pkcs11:token=a;object=x;pin-value=hunter2",
            "pkcs11:token=a;object=x?pin-source=file:/hunter2",
            "pkcs11:token=a;object=x?pin=hunter2",
            "pkcs11:token=a;object=x;pin=hunter2",
        ] {
            let error = TokenUri::key(text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_place_and_its_seal_come_apart_again() {
        let place = TokenUri::key("pkcs11:token=a;object=%23").unwrap();
        let sealed = join(place, "AbC+/=");
        assert_eq!(split(&sealed), (Some("pkcs11:token=a;object=%23"), "AbC+/="));
        assert_eq!(split("AbC+/="), (None, "AbC+/="));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(token in "[^\\p{Cc}]{1,40}", object in "[^\\p{Cc}]{1,40}", id in proptest::collection::vec(any::<u8>(), 1..20)) {
            let uri = TokenUri { token, object: Some(object), id: Some(id), ..TokenUri::default() };
            prop_assert_eq!(TokenUri::key(&uri.to_string()).unwrap(), uri);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = TokenUri::key(&text);
            let _ = TokenUri::key(&format!("pkcs11:{text}"));
            let _ = TokenUri::token(&text);
        }
    }
}
