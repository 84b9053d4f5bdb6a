//! Sealing of secrets at rest: authenticated encryption under the instance's master key.

use zeroize::Zeroizing;

use crate::domain::ident::{AccountId, KeyId};

/// Why a seal was not made or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It was sealed under another passphrase.
    #[error("cannot open the seal: it was made with another passphrase")]
    OtherPassphrase,
    /// It does not open, or opens for another owner: the record was damaged or tampered with.
    #[error("cannot open the seal: the sealed data is damaged or belongs to another record")]
    Broken,
    /// The engine refused.
    #[error("cannot seal: {0}")]
    Engine(&'static str),
}

/// What is sealed, and whose it is. Bound into the seal, so that one sealed secret cannot stand in for another.
#[derive(Clone, Copy, Debug)]
pub struct SealLabel<'a> {
    /// The kind of secret: `key`, `secrets`.
    pub kind: &'a str,
    /// The account or instance it belongs to.
    pub owner: &'a str,
    /// What names it there: a key id, a version.
    pub name: &'a str,
}

impl<'a> SealLabel<'a> {
    /// For the private half of a key.
    pub fn key(owner: &'a AccountId, id: &'a KeyId) -> Self {
        Self {
            kind: "key",
            owner: owner.as_str(),
            name: id.as_str(),
        }
    }

    /// For the secrets of the instance.
    pub fn secrets(instance: &'a str) -> Self {
        Self {
            kind: "secrets",
            owner: instance,
            name: "1",
        }
    }
}

/// Seals and opens secrets. Fast: deriving the master key from the passphrase has been done before.
pub trait Seal: std::fmt::Debug + Send + Sync {
    /// Seals `secret`; every call gives another text. Printable, without spaces.
    fn seal(&self, label: &SealLabel<'_>, secret: &[u8]) -> Result<String, SealError>;

    /// Opens what [`Self::seal`] made under the same passphrase and label.
    fn open(&self, label: &SealLabel<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError>;
}
