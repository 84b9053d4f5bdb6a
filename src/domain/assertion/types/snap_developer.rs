//! `snap-developer`: who else may act for a snap, and when.

use std::collections::BTreeMap;

use super::Parts;
use super::account_key::Validity;
use super::checks::{Checked, Fields};
use super::names;

/// A well-formed snap-developer assertion.
#[derive(Clone, Debug)]
pub struct SnapDeveloper {
    /// The snap.
    pub snap_id: String,
    /// Its publisher.
    pub publisher_id: String,
    /// The periods of each developer. `since == until` stands alone and means the developer was revoked.
    pub developers: BTreeMap<String, Vec<Validity>>,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<SnapDeveloper> {
    let fields = &parts.fields;
    Ok(SnapDeveloper {
        snap_id: fields.filled("snap-id")?.to_owned(),
        publisher_id: fields.filled("publisher-id")?.to_owned(),
        developers: developers(fields)?,
    })
}

fn developers(fields: &Fields<'_>) -> Checked<BTreeMap<String, Vec<Validity>>> {
    let mut developers: BTreeMap<String, Vec<Validity>> = BTreeMap::new();
    for entry in fields.maps("developers")? {
        let id = entry.named("developer-id", "an account id", names::is_account_id)?;
        let since = entry.time("since")?;
        let until = entry.optional_time("until")?;
        entry.in_order("until", since, until)?;
        let periods = developers.entry(id.to_owned()).or_default();
        let revoked = |period: &Validity| Some(period.since) == period.until;
        let period = Validity { since, until };
        if !periods.is_empty() && (revoked(&period) || periods.iter().any(revoked)) {
            return Err(entry.wrong(
                "developer-id",
                "is revoked (since equals until) and has other periods too",
            ));
        }
        periods.push(period);
    }
    Ok(developers)
}
