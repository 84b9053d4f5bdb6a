//! Whose bundles an instance takes: the signer of each source, pinned with its first bundle, and how far each part of what
//! it sends has come.

use serde::{Deserialize, Serialize};

use super::{BundleSigner, Manifest};
use crate::domain::time::Timestamp;

/// The part of a source that stands for the source itself: its record pins the signer.
pub const WHOLE: &str = "instance";

/// What is known of a source, or of one part of what it sends. Its key is (source, part).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BundleSource {
    /// The id of the instance that makes the bundles.
    pub source: String,
    /// [`WHOLE`], or what is followed on its own: `store/ID`, `settings/ID`, `snap/ID`, `included/STORE/ID`.
    pub part: String,
    /// Who signs its bundles.
    pub signer: BundleSigner,
    /// When the newest bundle was made of which this part came.
    pub created_at: Timestamp,
    /// When that was taken in.
    pub imported_at: Timestamp,
}

impl BundleSource {
    /// The record of a part that comes with a bundle.
    pub fn of(manifest: &Manifest, part: &str, signer: BundleSigner, now: Timestamp) -> Self {
        Self {
            source: manifest.from.clone(),
            part: part.to_owned(),
            signer,
            created_at: manifest.created_at,
            imported_at: now,
        }
    }
}
