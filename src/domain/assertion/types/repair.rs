//! `repair`: a script devices of a brand run to mend themselves.

use super::Parts;
use super::checks::Checked;
use super::names;
use crate::domain::time::Timestamp;

/// A well-formed repair; its script is the body.
#[derive(Clone, Debug)]
pub struct Repair {
    /// The brand; it signs the repair.
    pub brand_id: String,
    /// Its number in the sequence.
    pub repair_id: u64,
    /// What it is for, on one line.
    pub summary: String,
    /// Series it is for; empty = all.
    pub series: Vec<String>,
    /// Architectures it is for; empty = all.
    pub architectures: Vec<String>,
    /// Models it is for; empty = all.
    pub models: Vec<String>,
    /// Bases it is for; empty = all.
    pub bases: Vec<String>,
    /// Modes it runs in: run, recover.
    pub modes: Vec<String>,
    /// Whether it must not run (any more).
    pub disabled: bool,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<Repair> {
    let fields = &parts.fields;
    let brand_id = fields.filled("brand-id")?;
    if fields.filled("authority-id")? != brand_id {
        return Err(fields.wrong(
            "authority-id",
            "must equal \"brand-id\": the brand signs its own repairs",
        ));
    }
    let repair_id = fields.positive("repair-id")?;
    let summary = fields.filled("summary")?;
    if summary.contains(['\n', '\r']) {
        return Err(fields.wrong("summary", "must be one line"));
    }
    let bases = fields.names("bases", "snap names", names::is_snap)?;
    let modes = fields.names("modes", "the modes run and recover", |mode| {
        matches!(mode, "run" | "recover")
    })?;
    if !modes.is_empty()
        && bases
            .iter()
            .any(|base| matches!(base.as_str(), "core" | "core16" | "core18"))
    {
        return Err(fields.wrong(
            "bases",
            "must not have core, core16 or core18 where \"modes\" are given",
        ));
    }
    Ok(Repair {
        brand_id: brand_id.to_owned(),
        repair_id,
        summary: summary.to_owned(),
        series: fields.texts("series")?,
        architectures: fields.texts("architectures")?,
        models: fields.texts("models")?,
        bases,
        modes,
        disabled: fields.flag("disabled")?,
        timestamp: fields.time("timestamp")?,
    })
}
