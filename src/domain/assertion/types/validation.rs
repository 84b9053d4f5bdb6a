//! `validation`: a gating snap's publisher approves (or no longer approves) a revision of another snap.

use super::Parts;
use super::checks::Checked;
use crate::domain::time::Timestamp;

/// A well-formed validation.
#[derive(Clone, Debug)]
pub struct Validation {
    /// The series.
    pub series: String,
    /// The gating snap.
    pub snap_id: String,
    /// The snap whose revision is approved.
    pub approved_snap_id: String,
    /// The approved revision.
    pub approved_snap_revision: u64,
    /// Whether the approval was taken back.
    pub revoked: bool,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<Validation> {
    let fields = &parts.fields;
    Ok(Validation {
        series: fields.filled("series")?.to_owned(),
        snap_id: fields.filled("snap-id")?.to_owned(),
        approved_snap_id: fields.filled("approved-snap-id")?.to_owned(),
        approved_snap_revision: fields.positive("approved-snap-revision")?,
        revoked: fields.flag("revoked")?,
        timestamp: fields.time("timestamp")?,
    })
}
