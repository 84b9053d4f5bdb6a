//! Names and identifiers of the field. Each is a newtype whose constructor is its check,
//! so past the edge no `String` is really an id.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not the identifier it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}")]
pub struct IdentError {
    /// The kind of identifier that was expected and what one looks like, in the user's words.
    pub what: &'static str,
    /// The refused text, cut to 64 characters.
    pub text: String,
}

impl IdentError {
    /// An error for `text`, keeping at most 64 characters of it.
    pub fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.chars().take(64).collect(),
        }
    }
}

/// What every identifier can do that has a check (`FromStr`) and a text (`as_str`).
macro_rules! textual {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! ident {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        ident!($(#[$doc])* $name(Box<str>), $what, $check);
    };
    ($(#[$doc:meta])* $name:ident($text:ty), $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($text);

        impl $name {
            /// The text as it goes on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentError;
            fn from_str(text: &str) -> Result<Self, IdentError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(IdentError::new($what, text)) }
            }
        }

        textual!($name);
    };
}

ident!(
    /// An account id: 32 alphanumerics, or 2 to 28 of `[-a-z0-9]` (assertions.md 3, ACC).
    AccountId, "account id (2 to 28 of a-z, 0-9 and -, or 32 letters and digits)",
    is_account_id
);
ident!(
    /// The account id of a brand: the `brand-id` of models and serials.
    BrandId, "brand id (2 to 28 of a-z, 0-9 and -, or 32 letters and digits)",
    is_account_id
);
ident!(
    /// A model name (assertions.md 3, MODEL): lower-case words joined by single dashes, at most 128 bytes.
    ModelName, "model name (words of a-z and 0-9 joined by single dashes, at most 128 characters)",
    |text| text.len() <= 128
        && !text.bytes().any(|b| b.is_ascii_uppercase())
        && is_dashed_words(text, |b| b.is_ascii_alphanumeric())
);
ident!(
    /// A device's serial: any text without `/`, control characters or outer spaces, at most 200 bytes.
    SerialNumber, "serial (at most 200 bytes, no /, no control characters, no spaces at the ends)",
    |text| !text.is_empty()
        && text.len() <= 200
        && text.trim() == text
        && !text.chars().any(|c| c == '/' || c.is_control())
);
ident!(
    /// A key name (assertions.md 3, KEYNAME): lower-case words with at least one letter, at most 128 bytes here.
    KeyName, "key name (words of a-z and 0-9 joined by single dashes, at least one letter)",
    |text| text.len() <= 128
        && is_dashed_words(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_lowercase())
);
ident!(
    /// A store id (admin-api.md 2.4): `[-_A-Za-z0-9]`, 1 to 64 bytes. Its text is shared by its clones: all snaps of a
    /// store name it.
    StoreId(Arc<str>), "store id (1 to 64 letters, digits, - and _)",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);
ident!(
    /// The update stream a device follows, one at a time (waves-and-registration.md A.1).
    Tag, "tag (1 to 64 letters, digits and inner . _ + -)", is_fleet_name
);
ident!(
    /// The name of a group of devices of a store.
    GroupName, "group name (1 to 64 letters, digits and inner . _ + -)", is_fleet_name
);
ident!(
    /// The name of a wave, unique in its store.
    WaveName, "wave name (1 to 64 letters, digits and inner . _ + -)", is_fleet_name
);
ident!(
    /// The name of a validation set (assertions.md 3.13): lower-case words joined by single dashes, at most 128 bytes here.
    SetName, "name of a validation set (words of a-z and 0-9 joined by single dashes, at most 128 characters)",
    |text| text.len() <= 128 && is_dashed_words(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
);
ident!(
    /// The public name of an account: `[a-z0-9-]`, 2 to 28 bytes, no outer dash.
    Username, "username (2 to 28 of a-z, 0-9 and inner dashes)",
    |text| (2..=28).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
);
ident!(
    /// An e-mail address people log in with; kept in lower case, one `@`, no spaces, at most 254 bytes.
    Email, "e-mail address", is_email
);
ident!(
    /// `public-key-sha3-384`: unpadded base64url of the 48 bytes that name a key.
    KeyId, "key id (64 characters, as `hallmark key list` shows it)",
    |text| text.len() == 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);

/// The id of a snap: 32 letters and digits, never changes (assertions.md 3, SNAPID). Kept in place: devices name a dozen of
/// them in every refresh.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapId([u8; 32]);

impl SnapId {
    /// The text as it goes on the wire.
    pub fn as_str(&self) -> &str {
        // Always ASCII, by its check.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for SnapId {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let bytes: Option<[u8; 32]> = text.as_bytes().try_into().ok();
        bytes
            .filter(|bytes| bytes.iter().all(u8::is_ascii_alphanumeric))
            .map(Self)
            .ok_or_else(|| IdentError::new("snap id (32 letters and digits)", text))
    }
}

textual!(SnapId);

ident!(
    /// The name of a snap (assertions.md 3, SNAP): 2 to 40 of lower-case letters, digits and inner single dashes.
    SnapName, "snap name (2 to 40 of a-z, 0-9 and inner single dashes, at least one letter)",
    |text| (2..=40).contains(&text.len())
        && is_dashed_words(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_lowercase())
);
/// An architecture as Debian names it, or `all`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture(&'static str);

impl Architecture {
    /// That of what runs anywhere.
    pub const ANY: Self = Self("all");

    const ALL: [&'static str; 8] = [
        "all", "amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x",
    ];

    /// Those that devices have: all but [`Self::ANY`].
    pub fn of_devices() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(Self).filter(|one| *one != Self::ANY)
    }

    /// The text as it goes on the wire.
    pub fn as_str(&self) -> &str {
        self.0
    }
}

impl FromStr for Architecture {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let what = "architecture (amd64, arm64, armhf, i386, ppc64el, riscv64, s390x or all)";
        let known = Self::ALL.into_iter().find(|known| *known == text);
        known.map(Self).ok_or_else(|| IdentError::new(what, text))
    }
}

textual!(Architecture);

/// brand, model and serial: what names one device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeviceId {
    /// The brand of the device.
    #[serde(rename = "brand-id")]
    pub brand: BrandId,
    /// The model of the device.
    pub model: ModelName,
    /// The serial within brand and model.
    pub serial: SerialNumber,
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.brand, self.model, self.serial)
    }
}

impl Email {
    /// The address as it is kept: outer blanks removed, in lower case.
    pub fn normal(text: &str) -> Result<Self, IdentError> {
        text.trim().to_lowercase().parse()
    }
}

impl From<BrandId> for AccountId {
    fn from(brand: BrandId) -> Self {
        Self(brand.0)
    }
}

impl From<AccountId> for BrandId {
    fn from(account: AccountId) -> Self {
        Self(account.0)
    }
}

fn is_fleet_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 64 && bytes.iter().all(|b| inner(*b)) && outer(bytes.first()) && outer(bytes.last())
}

fn is_account_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    (bytes.len() == 32 && bytes.iter().all(u8::is_ascii_alphanumeric))
        || ((2..=28).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-'))
}

/// Words of `word` bytes joined by single dashes, no dash at either end.
fn is_dashed_words(text: &str, word: fn(u8) -> bool) -> bool {
    !text.is_empty()
        && text
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(word))
}

fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else {
        return false;
    };
    !local.is_empty()
        && !host.is_empty()
        && text.len() <= 254
        && !host.contains('@')
        && !text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c.is_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_refuse_what_the_wire_refuses() {
        for good in ["ab", "brand-one", "0123456789ABCDEFabcdef0123456789"] {
            assert!(good.parse::<AccountId>().is_ok(), "{good}");
        }
        for bad in ["", "a", "Brand", "a_b", "a b", "ab\n"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
        for bad in ["", "a/b", "a\nb", " a", "a ", &"x".repeat(201)] {
            assert!(bad.parse::<SerialNumber>().is_err(), "{bad}");
        }
        assert!("SN 1 é".parse::<SerialNumber>().is_ok());
        for bad in ["M", "a--b", "-a", "a-", ""] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad}");
        }
    }
}
