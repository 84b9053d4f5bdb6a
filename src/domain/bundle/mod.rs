//! Bundles: what one instance hands to another by hand, over an air gap. A manifest lists every file with size and
//! SHA3-384, and the instance's ed25519 key signs the manifest's exact bytes; so who trusts that key can trust all of
//! it before anything is done with it.

mod source;
pub mod store;

pub use source::{BundleSource, WHOLE};

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::audit::hex;
use crate::domain::blob::BlobId;
use crate::domain::ident::BrandId;
use crate::domain::time::Timestamp;

/// The layout that is written and read.
pub const FORMAT: u32 = 1;
/// No manifest is larger.
pub const MAX_MANIFEST: usize = 64 << 20;
/// No manifest lists more files.
pub const MAX_FILES: usize = 200_000;
/// No file is larger.
pub const MAX_FILE: u64 = 1 << 40;
/// No name of a file is longer: such fit into the plain header of a tar entry.
pub const MAX_NAME: usize = 99;
/// In front of what is signed, so that no other signature of the same key can be taken for one of a bundle.
const DOMAIN: &[u8] = b"hallmark-bundle\n";

/// A file of a bundle. The order of the list is the order in the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundleFile {
    /// Its path in the bundle.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// What is in it.
    pub sha3_384: BlobId,
}

impl BundleFile {
    /// The entry of `content` under `name`.
    pub fn of(name: impl Into<String>, content: &[u8]) -> Self {
        Self {
            name: name.into(),
            size: content.len() as u64,
            sha3_384: BlobId::of(content),
        }
    }
}

/// What a bundle is, where it comes from, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// What it is for: `store`, `factory`, `factory-log`...
    pub kind: String,
    /// The version of the program that wrote it.
    pub version: String,
    /// When.
    pub created_at: Timestamp,
    /// The id of the instance that wrote it.
    pub from: String,
    /// The brand it is about; none = several, or none.
    pub brand: Option<BrandId>,
    /// What its kind says besides.
    pub body: Value,
    /// The files.
    pub files: Vec<BundleFile>,
}

/// Why bytes are no manifest, or one that is not taken. Reads as the end of a sentence about the bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It is not what we write.
    #[error("its manifest cannot be read: {0}")]
    Unreadable(String),
    /// Another layout.
    #[error("it has format {0}, this program reads format {FORMAT}")]
    Format(u64),
    /// A limit, or a name that no file may have.
    #[error("its manifest {0}")]
    Refused(String),
    /// The signature does not fit.
    #[error("its signature is wrong: it was changed, or not made by who it says")]
    Signature,
}

/// Who signed a bundle: an ed25519 public key, written as 64 lower-case hexadecimal digits. It is the key that signs the
/// audit checkpoints of that instance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleSigner([u8; 32]);

impl fmt::Display for BundleSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for BundleSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BundleSigner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        digits(text).map(Self).ok_or_else(|| {
            "a signer is 64 hexadecimal digits, as `hallmark export` prints them (Signer)".to_owned()
        })
    }
}

impl Serialize for BundleSigner {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BundleSigner {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The second entry of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundleSignature {
    /// Who signed.
    pub public_key: BundleSigner,
    /// The signature over the manifest, 128 hexadecimal digits.
    pub signature: String,
}

/// A manifest as it is written, with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedManifest {
    /// The exact bytes that are signed.
    pub manifest: Vec<u8>,
    /// Who says so.
    pub signature: BundleSignature,
}

impl SignedManifest {
    /// Writes and signs a manifest with the instance's key.
    ///
    /// # Errors
    /// [`BundleError::Refused`] for what no reader would take.
    pub fn sign(manifest: &Manifest, seed: &[u8; 32]) -> Result<Self, BundleError> {
        manifest.check()?;
        let bytes = serde_json::to_vec_pretty(manifest)
            .map_err(|error| BundleError::Unreadable(error.to_string()))?;
        if bytes.len() > MAX_MANIFEST {
            return Err(BundleError::Refused(format!(
                "is larger than {MAX_MANIFEST} bytes"
            )));
        }
        let key = SigningKey::from_bytes(seed);
        let signature = key.sign(&signed_bytes(&bytes));
        Ok(Self {
            manifest: bytes,
            signature: BundleSignature {
                public_key: BundleSigner(key.verifying_key().to_bytes()),
                signature: hex(&signature.to_bytes()),
            },
        })
    }

    /// The manifest, if its signature is good and it is one we take. Whether the signer is trusted is the caller's to ask.
    ///
    /// # Errors
    /// The signature is looked at first; then format, limits, names.
    pub fn open(&self) -> Result<Manifest, BundleError> {
        if self.manifest.len() > MAX_MANIFEST {
            return Err(BundleError::Refused(format!(
                "is larger than {MAX_MANIFEST} bytes"
            )));
        }
        let key =
            VerifyingKey::from_bytes(&self.signature.public_key.0).map_err(|_| BundleError::Signature)?;
        // One spelling only: a bundle has one form.
        let signature = digits::<64>(&self.signature.signature)
            .filter(|bytes| hex(bytes) == self.signature.signature)
            .ok_or(BundleError::Signature)?;
        key.verify_strict(&signed_bytes(&self.manifest), &Signature::from_bytes(&signature))
            .map_err(|_| BundleError::Signature)?;
        Manifest::read(&self.manifest)
    }

    /// Who signed it, or says so, before [`Self::open`].
    pub fn signer(&self) -> BundleSigner {
        self.signature.public_key
    }
}

impl Manifest {
    fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Only {
            format: u64,
        }
        let unreadable = |error: serde_json::Error| BundleError::Unreadable(error.to_string());
        // What another format holds besides is not ours to judge.
        let only: Only = serde_json::from_slice(bytes).map_err(unreadable)?;
        if only.format != u64::from(FORMAT) {
            return Err(BundleError::Format(only.format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), BundleError> {
        let refuse = |why: String| Err(BundleError::Refused(why));
        if self.files.len() > MAX_FILES {
            return refuse(format!("lists more than {MAX_FILES} files"));
        }
        let mut names = BTreeSet::new();
        for file in &self.files {
            if !may_be_named(&file.name) {
                return refuse(format!("lists a file named {:?}", clipped(&file.name)));
            }
            if !names.insert(file.name.as_str()) {
                return refuse(format!("lists {} twice", file.name));
            }
            if file.size > MAX_FILE {
                return refuse(format!("lists {} with {} bytes", file.name, file.size));
            }
        }
        Ok(())
    }
}

/// Letters, digits, `-`, `_`, `.`, in one or more parts between slashes, none of which begins with a dot; at least two parts,
/// so that no file can stand for the manifest.
fn may_be_named(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.len() <= MAX_NAME && name.contains('/') && name.split('/').all(part)
}

fn clipped(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

fn signed_bytes(manifest: &[u8]) -> Vec<u8> {
    [DOMAIN, manifest].concat()
}

fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [7; 32];

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            kind: "store".to_owned(),
            version: "1".to_owned(),
            created_at: Timestamp::from_unix(5),
            from: "instance".to_owned(),
            brand: Some("acme".parse().unwrap()),
            body: serde_json::json!({"a": [1, "b"]}),
            files: vec![
                BundleFile::of("snaps/x.json", b"one"),
                BundleFile::of("blobs/x_1.snap", b"two"),
            ],
        }
    }

    fn forged(change: impl FnOnce(&mut Value)) -> SignedManifest {
        let mut value = serde_json::to_value(manifest()).unwrap();
        change(&mut value);
        let bytes = serde_json::to_vec(&value).unwrap();
        let key = SigningKey::from_bytes(&SEED);
        SignedManifest {
            signature: BundleSignature {
                public_key: BundleSigner(key.verifying_key().to_bytes()),
                signature: hex(&key.sign(&signed_bytes(&bytes)).to_bytes()),
            },
            manifest: bytes,
        }
    }

    #[test]
    fn what_was_signed_is_read() {
        let signed = SignedManifest::sign(&manifest(), &SEED).unwrap();
        assert_eq!(signed.open(), Ok(manifest()));
        let text = signed.signer().to_string();
        assert_eq!(text.parse(), Ok(signed.signer()));
        assert_eq!(text.to_uppercase().parse(), Ok(signed.signer()));
        for bad in ["", &text[1..], &text.replace(&text[..1], "g"), &"é".repeat(32)] {
            assert!(bad.parse::<BundleSigner>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_changed_byte_shows() {
        let signed = SignedManifest::sign(&manifest(), &SEED).unwrap();
        for at in 0..signed.manifest.len() {
            let mut changed = signed.clone();
            changed.manifest[at] ^= 1;
            assert_eq!(changed.open(), Err(BundleError::Signature), "byte {at}");
        }
        let mut changed = signed.clone();
        changed.signature.signature.replace_range(0..1, "g");
        assert_eq!(changed.open(), Err(BundleError::Signature));
        let mut other = signed;
        other.signature.public_key = SignedManifest::sign(&manifest(), &[8; 32]).unwrap().signer();
        assert_eq!(other.open(), Err(BundleError::Signature));
    }

    #[test]
    fn a_signature_for_something_else_is_none_for_a_bundle() {
        let key = SigningKey::from_bytes(&SEED);
        let mut signed = SignedManifest::sign(&manifest(), &SEED).unwrap();
        signed.signature.signature = hex(&key.sign(&signed.manifest).to_bytes());
        assert_eq!(signed.open(), Err(BundleError::Signature));
    }

    #[test]
    fn a_signed_manifest_that_no_program_of_ours_writes_is_refused() {
        let file = |name: &str, size: u64| {
            let hash = BlobId::of(b"").to_string();
            serde_json::json!({"name": name, "size": size, "sha3-384": hash})
        };
        let with = |files: Vec<Value>| forged(|value| value["files"] = files.into()).open();
        assert!(with(vec![file("a/b", 1), file("a/c", 2)]).is_ok());
        for name in [
            "",
            "/",
            "a",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "a/./b",
            "a/.b",
            "a\\b/c",
            "a/b c",
            "a/b\n",
            "a/é",
            "manifest.json",
            &format!("a/{}", "b".repeat(MAX_NAME)),
        ] {
            assert!(with(vec![file(name, 1)]).is_err(), "{name:?}");
        }
        assert!(with(vec![file("a/b", 1), file("a/b", 1)]).is_err());
        assert!(with(vec![file("a/b", MAX_FILE)]).is_ok());
        assert!(with(vec![file("a/b", MAX_FILE + 1)]).is_err());
        assert_eq!(
            forged(|value| *value = serde_json::json!({"format": 2, "new": true})).open(),
            Err(BundleError::Format(2))
        );
        assert!(matches!(
            forged(|value| value["more"] = 1.into()).open(),
            Err(BundleError::Unreadable(_))
        ));
    }
}
