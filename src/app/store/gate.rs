//! Update control (device-api.md 16.2): a snap that a device has may let only validated revisions of others through.
//! Devices check that themselves, but one revision without a validation ends all of an automatic refresh: so they are
//! offered what will pass. snapd 2.77 looks at what is installed too where the answer is an error, or that revision:
//! where that is not validated either, the snap must not be spoken of.

use std::collections::HashMap;

use super::asker::Asker;
use super::entry::SnapEntry;
use super::refresh::{Context, Found, Kind, SnapAction};
use super::view::Snapshot;
use crate::app::instance::assertion;
use crate::app::{App, Refusal};
use crate::domain::assertion::{AssertionType, Ref, Typed};
use crate::domain::ident::{SnapId, SnapName};

/// Earlier revisions that are looked at for one that may pass.
const MOST: usize = 20;

/// The snaps of a device that gate others, by the snap they gate.
#[derive(Debug, Default)]
pub struct Gates<'c>(HashMap<&'c SnapId, Vec<&'c SnapEntry>>);

impl<'c> Gates<'c> {
    /// Those of a device that has what is in the context.
    pub fn new(catalog: &'c Snapshot, asker: &Asker, context: &Context<'_>) -> Self {
        let mut gates: HashMap<&SnapId, Vec<&SnapEntry>> = HashMap::new();
        // Most stores have no such snap: then nothing is looked up.
        if catalog.nothing_gates() {
            return Self(gates);
        }
        for installed in context.iter() {
            let id = installed.snap_id.parse().ok();
            let Some(entry) = id.and_then(|id| catalog.by_id(&id, asker.viewer())) else {
                continue;
            };
            for gated in &entry.record.refresh_control {
                let gating = gates.entry(gated).or_default();
                if !gating.iter().any(|known| known.record.id == entry.record.id) {
                    gating.push(entry);
                }
            }
        }
        Self(gates)
    }

    /// What a device gets instead of `found`: that, if all who gate the snap validated it; else the newest revision
    /// before it that they did validate. Where there is none, who asks for this snap in particular gets `found` and
    /// refuses it itself, by name; who refreshes everything keeps what it has.
    ///
    /// # Errors
    /// If the database is out of reach. The inner error says why there is no answer for the snap, where what the device
    /// has is not validated either.
    pub async fn pass(
        &self,
        app: &App,
        context: &Context<'_>,
        action: &SnapAction<'_>,
        found: Found<'c>,
    ) -> Result<Result<Found<'c>, NotValidated>, Refusal> {
        let gated = &found.entry.record.id;
        let (Some(gating), Kind::Refresh) = (self.0.get(gated), action.kind) else {
            return Ok(Ok(found));
        };
        let Some(installed) = context.get(action.instance_key) else {
            return Ok(Ok(found));
        };
        // Who names a revision, as validation sets do, gets that and no other.
        if action.revision.is_some() {
            return Ok(Ok(found));
        }
        if action.ignore_validation.unwrap_or(installed.ignore_validation) {
            return Ok(Ok(found));
        }
        let Some(missing) = missing(app, gating, gated, found.revision).await? else {
            return Ok(Ok(found));
        };
        for revision in earlier(&found, installed.revision) {
            let reads = found.entry.epoch_of(revision);
            if reads.is_some_and(|epoch| epoch.can_read(&installed.epoch))
                && self::missing(app, gating, gated, revision).await?.is_none()
            {
                return Ok(Ok(Found { revision, ..found }));
            }
        }
        if action.ignore_validation == Some(false) {
            return Ok(Ok(found));
        }
        let stays = installed.revision;
        if found.entry.revisions.contains_key(&stays)
            && self::missing(app, gating, gated, stays).await?.is_none()
        {
            return Ok(Ok(Found {
                revision: stays,
                ..found
            }));
        }
        let record = &found.entry.record;
        Ok(Err(NotValidated {
            snap: record.name.clone(),
            revision: found.revision,
            gate: missing.record.name.clone(),
        }))
    }
}

/// A revision that a snap of the device does not let through. The text is snapd's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot refresh \"{snap}\" to revision {revision}: no validation by \"{gate}\"")]
pub struct NotValidated {
    snap: SnapName,
    revision: u64,
    gate: SnapName,
}

/// The first of those who gate the snap that did not validate this revision, or no longer does.
async fn missing<'c>(
    app: &App,
    gating: &[&'c SnapEntry],
    gated: &SnapId,
    revision: u64,
) -> Result<Option<&'c SnapEntry>, Refusal> {
    let number = revision.to_string();
    for gate in gating {
        let key = ["16", gate.record.id.as_str(), gated.as_str(), number.as_str()];
        let found = assertion(app, &Ref::new(AssertionType::Validation, key)).await?;
        let holds =
            found.is_some_and(|found| matches!(found.typed(), Typed::Validation(view) if !view.revoked));
        if !holds {
            return Ok(Some(gate));
        }
    }
    Ok(None)
}

/// What the channel held between what is installed and what would be offered, the newest first.
fn earlier(found: &Found<'_>, installed: u64) -> Vec<u64> {
    let Some(channel) = &found.effective else {
        return Vec::new();
    };
    let releases = &found.entry.record.releases;
    let mut revisions = releases.history(&found.architecture, channel);
    revisions.retain(|revision| *revision > installed && *revision < found.revision);
    revisions.truncate(MOST);
    revisions
}
