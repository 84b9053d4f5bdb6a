//! `snap-build`: a developer vouches for a snap file.

use super::Parts;
use super::checks::Checked;
use crate::domain::time::Timestamp;

/// A well-formed snap-build assertion.
#[derive(Clone, Debug)]
pub struct SnapBuild {
    /// Digest of the snap file.
    pub snap_sha3_384: String,
    /// The snap.
    pub snap_id: String,
    /// `stable` or `devel` by convention.
    pub grade: String,
    /// Size of the snap file in bytes.
    pub snap_size: u64,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<SnapBuild> {
    let fields = &parts.fields;
    Ok(SnapBuild {
        snap_sha3_384: fields.digest("snap-sha3-384")?.to_owned(),
        snap_id: fields.filled("snap-id")?.to_owned(),
        grade: fields.filled("grade")?.to_owned(),
        snap_size: fields.unsigned("snap-size")?,
        timestamp: fields.time("timestamp")?,
    })
}
