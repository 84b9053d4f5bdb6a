//! The names of files: what is in a file is its name, as SHA3-384.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::audit::hex;
use super::ident::IdentError;

/// The SHA3-384 of a file. JSON and [`fmt::Display`] have 96 lower-case hexadecimal digits (device-api.md 1.3),
/// assertions [`Self::to_base64url`]; both are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId([u8; 48]);

/// The SHA-512 of a file; written as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha512Sum([u8; 64]);

/// What is known of a file once all of it has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlobDigest {
    /// Its name.
    #[serde(rename = "sha3-384")]
    pub id: BlobId,
    /// Its other digest, for clients that compare it.
    pub sha512: Sha512Sum,
    /// Its length in bytes.
    pub size: u64,
}

impl BlobId {
    const WHAT: &'static str = "SHA3-384 (96 lower-case hexadecimal digits, or 64 characters of base64url)";

    /// From the digest itself.
    pub fn from_bytes(bytes: [u8; 48]) -> Self {
        Self(bytes)
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }

    /// The id of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = BlobIdHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// As `snap-sha3-384` of assertions: 64 characters of unpadded base64url.
    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl FromStr for BlobId {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let bytes = match text.len() {
            96 => from_hex(text),
            64 => URL_SAFE_NO_PAD.decode(text).ok(),
            _ => None,
        };
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| IdentError::new(Self::WHAT, text))
    }
}

impl Sha512Sum {
    /// From the digest itself.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl FromStr for Sha512Sum {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        from_hex(text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| IdentError::new("SHA-512 (128 lower-case hexadecimal digits)", text))
    }
}

/// Bytes from pairs of lower-case hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

macro_rules! as_hex {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&hex(&self.0))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

as_hex!(BlobId, Sha512Sum);

macro_rules! hasher {
    ($(#[$doc:meta])* $name:ident, $algorithm:ident, $sum:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(digest::Context);

        impl Default for $name {
            fn default() -> Self {
                Self(digest::Context::new(&digest::$algorithm))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl $name {
            /// Takes the next piece of the file.
            pub fn update(&mut self, piece: &[u8]) {
                self.0.update(piece);
            }

            /// The digest of all pieces.
            pub fn finish(self) -> $sum {
                let mut bytes = [0; $len];
                for (byte, digest) in bytes.iter_mut().zip(self.0.finish().as_ref()) {
                    *byte = *digest;
                }
                $sum(bytes)
            }
        }
    };
}

hasher!(
    /// Makes a [`BlobId`] piece by piece (D-23).
    BlobIdHasher, SHA3_384, BlobId, 48
);
hasher!(
    /// Makes a [`Sha512Sum`] piece by piece.
    Sha512Hasher, SHA512, Sha512Sum, 64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_both_spellings() {
        // FIPS 202, the empty message.
        let hex = "0c63a75b845e4f7d01107d852e4c2485c51a50aaaa94fc61995e71bbee983a2ac3713831264adb47fb6bd1e058d5f004";
        let id = BlobId::of(b"");
        assert_eq!(id.to_string(), hex);
        assert_eq!(hex.parse(), Ok(id));
        assert_eq!(id.to_base64url().parse(), Ok(id));
        assert_eq!(id.to_base64url().len(), 64);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{hex}\""));
        assert_eq!(serde_json::from_str::<BlobId>(&format!("\"{hex}\"")).unwrap(), id);
        for bad in [
            "",
            &hex[1..],
            &hex.to_uppercase(),
            &hex.replace('0', "g"),
            &"=".repeat(64),
            &"é".repeat(48),
        ] {
            assert!(bad.parse::<BlobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pieces_make_the_whole() {
        let (mut id, mut sum) = (BlobIdHasher::default(), Sha512Hasher::default());
        for piece in [&b"ab"[..], b"", b"c"] {
            id.update(piece);
            sum.update(piece);
        }
        assert_eq!(id.finish(), BlobId::of(b"abc"));
        let sum = sum.finish();
        assert!(sum.to_string().starts_with("ddaf35a193617aba"));
        assert_eq!(sum.to_string().parse(), Ok(sum));
    }
}
