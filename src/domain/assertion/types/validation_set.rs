//! `validation-set`: which revisions of which snaps go together.

use std::collections::BTreeMap;

use super::super::headers::Value;
use super::Parts;
use super::checks::{Checked, Fields};
use super::names;
use super::snap_list::Seen;
use crate::domain::time::Timestamp;

/// Whether a snap or component of a validation set must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetPresence {
    /// It must be installed.
    Required,
    /// It may be installed.
    Optional,
    /// It must not be installed.
    Invalid,
}

/// A well-formed validation-set.
#[derive(Clone, Debug)]
pub struct ValidationSet {
    /// The series.
    pub series: String,
    /// The account that issues it.
    pub account_id: String,
    /// Its name within the account.
    pub name: String,
    /// Its number in the sequence.
    pub sequence: u64,
    /// Its snaps, in order.
    pub snaps: Vec<SetSnap>,
    /// When it was issued.
    pub timestamp: Timestamp,
}

/// A snap of a validation set.
#[derive(Clone, Debug)]
pub struct SetSnap {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whether it must be there.
    pub presence: SetPresence,
    /// The one revision allowed; none = any.
    pub revision: Option<u64>,
    /// Its components.
    pub components: BTreeMap<String, SetComponent>,
}

/// A component of a snap of a validation set.
#[derive(Clone, Debug)]
pub struct SetComponent {
    /// Whether it must be there.
    pub presence: SetPresence,
    /// The one revision allowed; there exactly if the snap has one and the component is not invalid.
    pub revision: Option<u64>,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<ValidationSet> {
    let fields = &parts.fields;
    let account_id = fields.filled("account-id")?;
    if fields.filled("authority-id")? != account_id {
        return Err(fields.wrong(
            "account-id",
            "must equal \"authority-id\": an account signs its own validation sets",
        ));
    }
    let name = fields.named("name", "a validation set name", names::is_validation_set_name)?;
    let sequence = fields.positive("sequence")?;
    let mut seen = Seen::default();
    let mut snaps = Vec::new();
    for entry in fields.mandatory_maps("snaps")? {
        let snap = snap(&entry)?;
        seen.add(&entry, &snap.name, Some(&snap.id))?;
        snaps.push(snap);
    }
    Ok(ValidationSet {
        series: fields.filled("series")?.to_owned(),
        account_id: account_id.to_owned(),
        name: name.to_owned(),
        sequence,
        snaps,
        timestamp: fields.time("timestamp")?,
    })
}

fn snap(entry: &Fields<'_>) -> Checked<SetSnap> {
    let name = entry.named("name", "a snap name", names::is_snap)?.to_owned();
    let id = entry.named("id", "a snap id", names::is_snap_id)?.to_owned();
    let presence = presence(entry)?.unwrap_or(SetPresence::Required);
    let revision = entry.optional_positive("revision")?;
    if revision.is_some() && presence == SetPresence::Invalid {
        return Err(entry.wrong(
            "revision",
            "must not be given for a snap whose presence is invalid",
        ));
    }
    Ok(SetSnap {
        name,
        id,
        presence,
        revision,
        components: components(entry, revision)?,
    })
}

fn presence(entry: &Fields<'_>) -> Checked<Option<SetPresence>> {
    Ok(
        match entry.choice("presence", &["required", "optional", "invalid"])? {
            Some("optional") => Some(SetPresence::Optional),
            Some("invalid") => Some(SetPresence::Invalid),
            Some(_) => Some(SetPresence::Required),
            None => None,
        },
    )
}

fn components(entry: &Fields<'_>, snap_revision: Option<u64>) -> Checked<BTreeMap<String, SetComponent>> {
    let Some(listed) = entry.optional_map("components")? else {
        return Ok(BTreeMap::new());
    };
    let mut components = BTreeMap::new();
    for (name, value) in listed.map() {
        if !names::is_snap(name) {
            return Err(listed.wrong(name, "is not the name of a component"));
        }
        let short: BTreeMap<String, Value>;
        let fields = match value {
            Value::Map(map) => Fields::nested(map, listed.path(name)),
            Value::Text(_) => {
                short = BTreeMap::from([("presence".to_owned(), value.clone())]);
                Fields::nested(&short, listed.path(name))
            }
            Value::List(_) => return Err(listed.wrong(name, "must be a map or a string")),
        };
        components.insert(name.clone(), component(&fields, snap_revision)?);
    }
    Ok(components)
}

fn component(fields: &Fields<'_>, snap_revision: Option<u64>) -> Checked<SetComponent> {
    // An empty presence passes on devices too, and counts as required.
    fields.text("presence")?;
    let presence = presence(fields)?.unwrap_or(SetPresence::Required);
    let revision = fields.optional_positive("revision")?;
    let problem = match (snap_revision, revision, presence) {
        (_, Some(_), SetPresence::Invalid) => "must not be given for a component whose presence is invalid",
        (None, Some(_), _) => "must not be given, as the snap has none",
        (Some(_), None, SetPresence::Required | SetPresence::Optional) => "is mandatory, as the snap has one",
        (_, _, _) => return Ok(SetComponent { presence, revision }),
    };
    Err(fields.wrong("revision", problem))
}
