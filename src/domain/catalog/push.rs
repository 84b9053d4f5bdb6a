//! Uploads of publisher clients (publisher-api.md 5, 6.5): first comes a file, from anybody; then somebody who may says
//! which snap it shall be a revision of.

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use crate::domain::access::Presented;
use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::ident::{AccountId, BrandId, IdentError, SnapId, SnapName};
use crate::domain::time::Timestamp;

/// Letters and digits of an [`UploadId`]: 238 random bits.
const ID_LENGTH: usize = 40;

/// How long a file waits for somebody to say what it is for, in seconds: 6 hours.
pub const UNCLAIMED_LIFE: i64 = 6 * 3600;
/// How long it can be asked what became of a push, in seconds: 30 days.
pub const PUSH_LIFE: i64 = 30 * 86_400;
/// How long a push belongs to the process that works on it unless it says so again, in seconds.
pub const LEASE: i64 = 20;

/// How often a push is begun with, at most: one that ends the process each time must not do so for ever.
pub const MOST_TURNS: u32 = 5;

/// What names an uploaded file towards its client. Who knows it may ask what became of the file, so only its hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadId(String);

impl std::fmt::Debug for UploadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UploadId(…)")
    }
}

impl UploadId {
    /// A new one; `refill` fills buffers with random bytes.
    pub fn generate(refill: impl FnMut(&mut [u8])) -> Self {
        Self(crate::domain::access::secret::random_letters(ID_LENGTH, refill).to_string())
    }

    /// The text, for its client.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// SHA-256, lower-case hex: what is kept and looked up.
    pub fn hash(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.as_bytes());
        crate::domain::audit::hex(digest.as_ref())
    }
}

impl std::str::FromStr for UploadId {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let good = text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        good.then(|| Self(text.to_owned()))
            .ok_or_else(|| IdentError::new("upload id", ""))
    }
}

/// A file that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UploadRecord {
    /// [`UploadId::hash`].
    pub id_hash: String,
    /// The file.
    pub file: BlobDigest,
    /// The network it came from, which may have so many waiting.
    pub network: String,
    /// When.
    pub received: Timestamp,
    /// The push that is to use it, by [`PushRecord::id_hash`]; none = nobody asked for it yet.
    #[serde(default)]
    pub claimed_by: Option<String>,
}

impl UploadRecord {
    /// Whether it waited too long for somebody to want it.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.claimed_by.is_none() && self.received.plus_seconds(UNCLAIMED_LIFE) <= now
    }
}

/// A difference that was sent instead of a whole file (publisher-api.md 6.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PushedDelta {
    /// How it was made: `xdelta3`.
    pub format: String,
    /// The file it was made from.
    pub source: BlobId,
    /// The file it leads to.
    pub target: BlobId,
    /// The difference itself.
    pub delta: BlobId,
}

/// A file that becomes a part of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PushedFile {
    /// [`UploadRecord::id_hash`].
    pub upload: String,
    /// The file.
    pub file: BlobDigest,
    /// The component it is; none = the snap.
    pub component: Option<String>,
}

/// A revision that is to be made of uploaded files, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PushRecord {
    /// The hash of the upload id of the snap file.
    pub id_hash: String,
    /// The snap.
    pub snap_id: SnapId,
    /// Its name, as the client said it.
    pub name: SnapName,
    /// Its brand.
    pub brand_id: BrandId,
    /// Who pushes.
    pub account_id: AccountId,
    /// The token they came with.
    pub token_id: String,
    /// What of it they presented: its limits are theirs until the end. None = all of it.
    #[serde(default)]
    pub presented: Option<Presented>,
    /// The snap, then its components.
    pub files: Vec<PushedFile>,
    /// The snap file is a difference.
    #[serde(default)]
    pub delta: Option<PushedDelta>,
    /// Where it is released to at once.
    pub channels: Vec<Channel>,
    /// Since when.
    pub received: Timestamp,
    /// How often somebody began to work on it.
    #[serde(default)]
    pub turns: u32,
    /// What became of it.
    pub state: PushState,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushState {
    /// A process works on it, until this time unless it says so again; then another one takes it up.
    Working {
        /// Until when.
        until: Timestamp,
    },
    /// It is this revision.
    Taken {
        /// The number.
        revision: u64,
        /// When that was clear.
        at: Timestamp,
    },
    /// It was refused.
    Refused {
        /// Stable, for programs.
        code: String,
        /// For people.
        message: String,
        /// The client may send the whole file instead.
        whole_file_helps: bool,
        /// When that was clear.
        at: Timestamp,
    },
}

impl PushState {
    /// When it ended; none while it is worked on.
    pub fn ended(&self) -> Option<Timestamp> {
        match self {
            Self::Working { .. } => None,
            Self::Taken { at, .. } | Self::Refused { at, .. } => Some(*at),
        }
    }
}

impl PushRecord {
    /// Whether somebody should take it up: nobody works on it.
    pub fn is_abandoned(&self, now: Timestamp) -> bool {
        matches!(self.state, PushState::Working { until } if until <= now)
    }

    /// Whether nobody asks for it any more.
    pub fn is_old(&self, now: Timestamp) -> bool {
        self.state
            .ended()
            .is_some_and(|end| end.plus_seconds(PUSH_LIFE) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_unguessable_and_not_printed() {
        let mut next = 0u8;
        let mut id = || {
            UploadId::generate(|buffer| {
                for byte in buffer {
                    *byte = next;
                    next = next.wrapping_add(7);
                }
            })
        };
        let (one, other) = (id(), id());
        assert_ne!(one.reveal(), other.reveal());
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.reveal().parse::<UploadId>().unwrap(), one);
        assert_eq!(one.hash().len(), 64);
        assert!(!format!("{one:?}").contains(one.reveal()));
        for bad in [
            "",
            "a",
            &"a".repeat(39),
            &"é".repeat(20),
            &format!("{}/", "a".repeat(39)),
        ] {
            assert!(bad.parse::<UploadId>().is_err(), "{bad}");
        }
    }
}
