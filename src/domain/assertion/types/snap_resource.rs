//! `snap-resource-revision` and `snap-resource-pair`: a component file is revision N of a resource of a snap, and
//! which revisions of snap and resource belong together.

use super::Parts;
use super::checks::{Checked, Fields};
use super::names;
use super::snap_revision::{integrity, provenance};
use crate::domain::time::Timestamp;

/// A well-formed snap-resource-revision.
#[derive(Clone, Debug)]
pub struct SnapResourceRevision {
    /// The snap.
    pub snap_id: String,
    /// The resource (component).
    pub resource_name: String,
    /// Digest of the file.
    pub resource_sha3_384: String,
    /// Where the file came from.
    pub provenance: String,
    /// Size of the file in bytes.
    pub resource_size: u64,
    /// The revision.
    pub resource_revision: u64,
    /// Who uploaded it.
    pub developer_id: String,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble_revision(parts: &Parts<'_>) -> Checked<SnapResourceRevision> {
    let fields = &parts.fields;
    let revision = SnapResourceRevision {
        snap_id: fields.filled("snap-id")?.to_owned(),
        resource_name: resource_name(fields)?,
        resource_sha3_384: fields.digest("resource-sha3-384")?.to_owned(),
        provenance: provenance(parts)?,
        resource_size: fields.unsigned("resource-size")?,
        resource_revision: fields.positive("resource-revision")?,
        developer_id: fields.filled("developer-id")?.to_owned(),
        timestamp: fields.time("timestamp")?,
    };
    integrity(fields)?;
    Ok(revision)
}

/// A well-formed snap-resource-pair.
#[derive(Clone, Debug)]
pub struct SnapResourcePair {
    /// The snap.
    pub snap_id: String,
    /// The resource (component).
    pub resource_name: String,
    /// The revision of the resource.
    pub resource_revision: u64,
    /// The revision of the snap it goes with.
    pub snap_revision: u64,
    /// Where both came from.
    pub provenance: String,
    /// Who paired them.
    pub developer_id: String,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble_pair(parts: &Parts<'_>) -> Checked<SnapResourcePair> {
    let fields = &parts.fields;
    Ok(SnapResourcePair {
        snap_id: fields.filled("snap-id")?.to_owned(),
        resource_name: resource_name(fields)?,
        resource_revision: fields.positive("resource-revision")?,
        snap_revision: fields.positive("snap-revision")?,
        provenance: provenance(parts)?,
        developer_id: fields.filled("developer-id")?.to_owned(),
        timestamp: fields.time("timestamp")?,
    })
}

fn resource_name(fields: &Fields<'_>) -> Checked<String> {
    fields
        .named("resource-name", "the name of a component", names::is_snap)
        .map(str::to_owned)
}
