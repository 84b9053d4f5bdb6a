//! `base-declaration`: the interface rules every device has built in.

use super::Parts;
use super::checks::Checked;
use super::rules;
use crate::domain::time::Timestamp;

/// A well-formed base-declaration. Its rules are checked, not interpreted: devices do that.
#[derive(Clone, Debug)]
pub struct BaseDeclaration {
    /// The series.
    pub series: String,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<BaseDeclaration> {
    let fields = &parts.fields;
    rules::check(fields)?;
    Ok(BaseDeclaration {
        series: fields.filled("series")?.to_owned(),
        timestamp: fields.time("timestamp")?,
    })
}
