//! The record about the instance itself: who it is, its trust root, and how its secrets are sealed.

use serde::{Deserialize, Serialize};

use crate::domain::ident::{AccountId, BrandId, KeyId};
use crate::domain::time::Timestamp;

/// How the master key is derived from the passphrase: argon2id (RFC 9106). Not secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kdf {
    /// `argon2id`.
    pub algorithm: String,
    /// Memory in KiB; 65536 (64 MiB) for new instances.
    pub memory_kib: u32,
    /// Passes over it; 3 for new instances.
    pub passes: u32,
    /// Lanes; 1 for new instances.
    pub lanes: u32,
    /// 32 random bytes, base64.
    pub salt: String,
}

/// The instance. Made once by `hallmark init`, changed only by a rotation of its passphrase.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Instance {
    /// Version of everything stored; this program reads [`Instance::FORMAT`] only.
    pub format: u32,
    /// A UUID made by `init`.
    pub id: String,
    /// The root account of the trust chain.
    pub authority_id: AccountId,
    /// The root key: its record is the authority's signing key named `root`.
    pub root_key: KeyId,
    /// Further root account-keys whose signatures are trusted, imported by the operator.
    #[serde(default)]
    pub extra_roots: Vec<KeyId>,
    /// How the master key is derived.
    pub kdf: Kdf,
    /// The instance's own secrets, sealed.
    pub secrets: String,
    /// When it was made.
    pub created: Timestamp,
    /// Every serial gets a revision above this: what may have been issued after the backup that this instance was
    /// restored from (decisions.md 21). 0 for one that was never restored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision_floor: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde takes")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Instance {
    /// The stored format this program reads and writes.
    pub const FORMAT: u32 = 1;
}

/// First path segments that are taken: a brand of that name would hide them, or be hidden (decisions.md 8).
pub const RESERVED: &[&str] = &[
    "_status",
    "account",
    "accounts",
    "api",
    "apps",
    "assets",
    "brands",
    "dev",
    "docs",
    "download",
    "hallmark",
    "healthz",
    "icons",
    "keys",
    "login",
    "logout",
    "metrics",
    "openapi.json",
    "ota",
    "publishergw",
    "readyz",
    "repo",
    "reviewer",
    "start",
    "static",
    "stores",
    "testlog",
    "tuf",
    "unscanned-upload",
    "v1",
    "v2",
];

/// Whether no brand may have this id, because a path family begins with it.
pub fn is_reserved(brand: &BrandId) -> bool {
    RESERVED.contains(&brand.as_str())
}
