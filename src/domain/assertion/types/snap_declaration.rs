//! `snap-declaration`: names a snap, its publisher and what it may do.

use std::collections::BTreeMap;

use super::super::headers::Headers;
use super::Parts;
use super::checks::{Checked, Fields};
use super::names;
use super::rules::{self, DeviceScope};
use crate::domain::time::Timestamp;

/// A well-formed snap-declaration. Its interface rules are checked, not interpreted: devices do that.
#[derive(Clone, Debug)]
pub struct SnapDeclaration {
    /// The series.
    pub series: String,
    /// The snap id; free text on the wire.
    pub snap_id: String,
    /// The name; empty means the declaration was revoked.
    pub snap_name: String,
    /// The publisher.
    pub publisher_id: String,
    /// Snaps whose refreshes this one gates.
    pub refresh_control: Vec<String>,
    /// Aliases set up on installation, old form.
    pub auto_aliases: Vec<String>,
    /// Aliases set up on installation: alias to application.
    pub aliases: BTreeMap<String, String>,
    /// Who besides the store may sign revisions of other provenances.
    pub revision_authority: Vec<RevisionAuthority>,
    /// The format iteration its content needs; a client that knows less must not get it.
    pub needed_format: u32,
    /// When it was issued.
    pub timestamp: Timestamp,
}

impl SnapDeclaration {
    /// Whether `authority` may sign `revision` of the snap with this provenance.
    pub fn delegates(&self, provenance: &str, authority: &str, revision: u64) -> bool {
        self.revision_authority.iter().any(|delegation| {
            delegation.account_id == authority
                && delegation.provenance.iter().any(|listed| listed == provenance)
                && delegation.min_revision <= revision
                && delegation.max_revision.is_none_or(|max| revision <= max)
        })
    }
}

impl SnapDeclaration {
    /// The lowest revision above `after` that `authority` may sign with this provenance.
    pub fn next_delegated(&self, provenance: &str, authority: &str, after: u64) -> Option<u64> {
        let next = after.checked_add(1)?;
        let starts = self.revision_authority.iter().map(|entry| entry.min_revision);
        starts
            .chain([next])
            .filter(|revision| *revision >= next && self.delegates(provenance, authority, *revision))
            .min()
    }
}

/// One entry of `revision-authority`.
#[derive(Clone, Debug)]
pub struct RevisionAuthority {
    /// Who may sign.
    pub account_id: String,
    /// Revisions of these provenances.
    pub provenance: Vec<String>,
    /// From this revision on.
    pub min_revision: u64,
    /// Up to this revision; none = no end.
    pub max_revision: Option<u64>,
    /// On which devices it counts; checked when installing.
    pub scope: DeviceScope,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<SnapDeclaration> {
    let fields = &parts.fields;
    Ok(SnapDeclaration {
        series: fields.filled("series")?.to_owned(),
        snap_id: fields.filled("snap-id")?.to_owned(),
        snap_name: fields.text("snap-name")?.to_owned(),
        publisher_id: fields.filled("publisher-id")?.to_owned(),
        timestamp: fields.time("timestamp")?,
        refresh_control: fields.texts("refresh-control")?,
        needed_format: rules::check(fields)?,
        auto_aliases: fields.names("auto-aliases", "command aliases", names::is_alias)?,
        aliases: aliases(fields)?,
        revision_authority: revision_authority(fields)?,
    })
}

/// The format iteration that snap-declaration headers need; 0 for rules that do not hold, which assembling refuses.
pub(super) fn needed_format(headers: &Headers) -> u32 {
    rules::check(&Fields::of(headers)).unwrap_or_default()
}

fn aliases(fields: &Fields<'_>) -> Checked<BTreeMap<String, String>> {
    let mut aliases = BTreeMap::new();
    for entry in fields.maps("aliases")? {
        let name = entry.named("name", "a command alias", names::is_alias)?;
        let target = entry.named("target", "the name of an application", names::is_app)?;
        if aliases.insert(name.to_owned(), target.to_owned()).is_some() {
            return Err(entry.wrong("name", format!("defines alias {name:?} a second time")));
        }
    }
    Ok(aliases)
}

fn revision_authority(fields: &Fields<'_>) -> Checked<Vec<RevisionAuthority>> {
    const NAME: &str = "revision-authority";
    let entries = fields.maps(NAME)?;
    if entries.is_empty() && fields.has(NAME) {
        return Err(fields.wrong(NAME, "must not be empty"));
    }
    entries
        .iter()
        .map(|entry| {
            let account_id = entry
                .named("account-id", "an account id", names::is_account_id)?
                .to_owned();
            let provenance = entry.names("provenance", "provenances", names::is_provenance)?;
            if provenance.is_empty() {
                return Err(entry.wrong("provenance", "must not be empty"));
            }
            let min_revision = entry.optional_positive("min-revision")?.unwrap_or(1);
            let max_revision = entry.optional_positive("max-revision")?;
            if max_revision.is_some_and(|max| max < min_revision) {
                return Err(entry.wrong("max-revision", "must not be below \"min-revision\""));
            }
            let scope = DeviceScope::of(entry)?;
            Ok(RevisionAuthority {
                account_id,
                provenance,
                min_revision,
                max_revision,
                scope,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = RevisionAuthority> {
        (0usize..2, 1u64..12, prop::option::of(0u64..6)).prop_map(|(who, min_revision, more)| {
            RevisionAuthority {
                account_id: ["acme", "other"][who].to_owned(),
                provenance: vec!["prod".to_owned()],
                min_revision,
                max_revision: more.map(|more| min_revision + more),
                scope: DeviceScope::default(),
            }
        })
    }

    proptest! {
        /// The same as trying one revision after the other.
        #[test]
        fn the_next_delegated_revision_is_the_lowest(
            revision_authority in prop::collection::vec(entry(), 0..4), after in 0u64..20,
        ) {
            let declaration = SnapDeclaration {
                series: "16".into(),
                snap_id: "x".into(),
                snap_name: "x".into(),
                publisher_id: "acme".into(),
                refresh_control: Vec::new(),
                auto_aliases: Vec::new(),
                aliases: BTreeMap::new(),
                revision_authority,
                needed_format: 0,
                timestamp: Timestamp::from_unix(0),
            };
            let tried = (after + 1..100).find(|revision| declaration.delegates("prod", "acme", *revision));
            prop_assert_eq!(declaration.next_delegated("prod", "acme", after), tried);
            prop_assert_eq!(declaration.next_delegated("test", "acme", after), None);
        }
    }
}
