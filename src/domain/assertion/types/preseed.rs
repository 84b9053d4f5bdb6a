//! `preseed`: vouches for an image part prepared in advance for the first boot of a model.

use std::collections::BTreeSet;

use super::Parts;
use super::checks::{Checked, Fields};
use super::names;
use super::serial::model_name;
use super::snap_list::Seen;
use crate::domain::time::Timestamp;

/// A well-formed preseed.
#[derive(Clone, Debug)]
pub struct Preseed {
    /// The series.
    pub series: String,
    /// The brand of the model.
    pub brand_id: String,
    /// The model.
    pub model: String,
    /// The label of the seed system.
    pub system_label: String,
    /// Digest of the prepared artifact.
    pub artifact_sha3_384: String,
    /// The snaps in it.
    pub snaps: Vec<PreseedSnap>,
    /// When it was issued.
    pub timestamp: Timestamp,
}

/// A snap of a preseed.
#[derive(Clone, Debug)]
pub struct PreseedSnap {
    /// Its name.
    pub name: String,
    /// Its id and revision; none for an unasserted snap.
    pub asserted: Option<(String, u64)>,
    /// Its components, each with a revision if the snap has one.
    pub components: Vec<(String, Option<u64>)>,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<Preseed> {
    let fields = &parts.fields;
    let model = model_name(fields)?;
    let label = fields.named("system-label", "a system label", names::is_system_label)?;
    let mut seen = Seen::default();
    let mut snaps = Vec::new();
    for entry in fields.mandatory_maps("snaps")? {
        let snap = snap(&entry)?;
        seen.add(
            &entry,
            &snap.name,
            snap.asserted.as_ref().map(|(id, _)| id.as_str()),
        )?;
        snaps.push(snap);
    }
    Ok(Preseed {
        series: fields.filled("series")?.to_owned(),
        brand_id: fields.filled("brand-id")?.to_owned(),
        model,
        system_label: label.to_owned(),
        artifact_sha3_384: fields.digest("artifact-sha3-384")?.to_owned(),
        snaps,
        timestamp: fields.time("timestamp")?,
    })
}

fn snap(entry: &Fields<'_>) -> Checked<PreseedSnap> {
    let name = entry.named("name", "a snap name", names::is_snap)?.to_owned();
    let asserted = match (entry.has("id"), entry.has("revision")) {
        (false, false) => None,
        (true, false) => return Err(entry.wrong("revision", "is mandatory beside \"id\"")),
        (false, true) => return Err(entry.wrong("id", "is mandatory beside \"revision\"")),
        (true, true) => Some((
            entry.named("id", "a snap id", names::is_snap_id)?.to_owned(),
            entry.positive("revision")?,
        )),
    };
    let mut seen = BTreeSet::new();
    let mut components = Vec::new();
    for component in entry.maps("components")? {
        let name = component.named("name", "the name of a component", names::is_snap)?;
        let revision = component.optional_positive("revision")?;
        if revision.is_some() != asserted.is_some() {
            return Err(component.wrong("revision", "must be given exactly if the snap has one"));
        }
        if !seen.insert(name) {
            return Err(component.wrong("name", format!("lists component {name:?} a second time")));
        }
        components.push((name.to_owned(), revision));
    }
    Ok(PreseedSnap {
        name,
        asserted,
        components,
    })
}
