//! `snap-revision`: a snap file is revision N of a snap.

use super::Parts;
use super::checks::{Checked, Fields, shown};
use super::names;
use crate::domain::time::Timestamp;

/// Provenance of what came through a store's ordinary upload; the default of the optional primary key.
pub const DEFAULT_PROVENANCE: &str = "global-upload";

/// A well-formed snap-revision.
#[derive(Clone, Debug)]
pub struct SnapRevision {
    /// Digest of the snap file.
    pub snap_sha3_384: String,
    /// Where the file came from; [`DEFAULT_PROVENANCE`] unless delegated.
    pub provenance: String,
    /// The snap.
    pub snap_id: String,
    /// Size of the file in bytes.
    pub snap_size: u64,
    /// The revision.
    pub snap_revision: u64,
    /// Who uploaded it.
    pub developer_id: String,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<SnapRevision> {
    let fields = &parts.fields;
    let revision = SnapRevision {
        snap_sha3_384: fields.digest("snap-sha3-384")?.to_owned(),
        provenance: provenance(parts)?,
        snap_id: fields.filled("snap-id")?.to_owned(),
        snap_size: fields.unsigned("snap-size")?,
        snap_revision: fields.positive("snap-revision")?,
        developer_id: fields.filled("developer-id")?.to_owned(),
        timestamp: fields.time("timestamp")?,
    };
    integrity(fields)?;
    Ok(revision)
}

/// `provenance`, always the last part of the primary key of the types that have it.
pub(super) fn provenance(parts: &Parts<'_>) -> Checked<String> {
    let text = parts.key.0.last().map_or("", String::as_str);
    if names::is_provenance(text) {
        Ok(text.to_owned())
    } else {
        Err(parts.fields.not_a(
            "provenance",
            "a provenance (letters and digits joined by single dashes)",
            text,
        ))
    }
}

/// `integrity`: a list of dm-verity data. Checked only: hallmark does not issue it (assertions.md 6).
pub(super) fn integrity(fields: &Fields<'_>) -> Checked<()> {
    for entry in fields.maps("integrity")? {
        let one_of = |name: &str, allowed: &str| match entry.text(name)? {
            text if text == allowed => Ok(()),
            text => Err(entry.wrong(name, format!("must be {allowed}, not {:?}", shown(text)))),
        };
        one_of("type", "dm-verity")?;
        one_of("version", "1")?;
        one_of("hash-algorithm", "sha256")?;
        entry.unsigned("data-block-size")?;
        entry.unsigned("hash-block-size")?;
        for name in ["digest", "salt"] {
            let text = entry.filled(name)?;
            if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(entry.not_a(name, "32 bytes in hexadecimal", text));
            }
        }
    }
    Ok(())
}
