//! Validation sets as a device may see them: some are waves' (`app::fleet`), and every device has a latest one of its own;
//! and the revisions they let a device have that no channel gives.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::asker::Asker;
use super::fetch::{Wanted, WantedKey};
use super::refresh::{Context, SnapAction};
use super::view::Snapshot;
use crate::app::assertions::{self, Lookup};
use crate::app::catalog::register::SERIES;
use crate::app::{App, Refusal, fleet};
use crate::domain::assertion::{Assertion, AssertionType, PrimaryKey, Ref, Typed, decode};
use crate::domain::fleet::SetRef;
use crate::domain::ident::SnapId;

/// Validation sets of an action that are looked at.
const MOST: usize = 32;
/// Different validation sets of a request that are looked at.
const MOST_DIFFERENT: usize = 64;

/// The snaps and revisions of the validation sets that a request named so far: many actions name the same.
pub type KnownSets<'r> = HashMap<&'r [String], HashSet<(String, u64)>>;

/// The set that a key names without its number.
fn set_ref(key: &[String]) -> Option<SetRef> {
    match key {
        [series, account, name] if series == SERIES => Some(SetRef {
            account: account.parse().ok()?,
            name: name.parse().ok()?,
        }),
        _ => None,
    }
}

/// An assertion as it is for who asks: of a validation set that waves make, the latest one is that which they may see.
///
/// # Errors
/// If the database is out of reach.
pub(crate) async fn assertion(
    app: &App,
    asker: &Asker,
    lookup: &Lookup,
    max_format: Option<u32>,
) -> Result<Option<Bytes>, Refusal> {
    const SET: AssertionType = AssertionType::ValidationSet;
    let made = match lookup {
        Lookup::Latest(SET, PrimaryKey(key)) => match set_ref(key) {
            Some(set) => {
                let device = asker.session.as_ref().map(|session| &session.device);
                fleet::latest_set(app, device, &set).await?
            }
            None => None,
        },
        Lookup::Exact(Ref {
            kind: SET,
            key: PrimaryKey(key),
        }) => key.split_last().and_then(|(number, key)| {
            let (set, number) = (set_ref(key)?, number.parse().ok()?);
            fleet::numbered_set(app, &set, number)
        }),
        Lookup::Latest(..) | Lookup::Exact(_) => None,
    };
    match made {
        Some(made) => Ok(Some(made)),
        None => assertions::find(app, lookup, max_format).await,
    }
}

/// Whether a device has one of the validation sets that waves make, and asks whether there is a newer one. That it may see none,
/// as of a halted wave, is no error: snapd would refresh nothing at all.
pub(super) fn has_one(app: &App, wanted: &Wanted) -> bool {
    match &wanted.key {
        WantedKey::Sequence {
            key,
            number: None,
            at_least,
            above,
        } if wanted.kind == AssertionType::ValidationSet.name() => {
            (at_least.is_some() || above.is_some())
                && set_ref(key).is_some_and(|set| fleet::is_set_made(app, &set))
        }
        WantedKey::Sequence { .. } | WantedKey::Primary(_) => false,
    }
}

/// Whether a validation set that the device may follow holds it to the revision it asks for: then it gets that, whatever
/// its channels and waves say. False: only sets of waves do that are told to nobody now; none: no set does.
///
/// # Errors
/// If the database is out of reach.
pub async fn vouched<'r>(
    app: &App,
    catalog: &Snapshot,
    asker: &Asker,
    context: &Context<'_>,
    action: &SnapAction<'r>,
    known: &mut KnownSets<'r>,
) -> Result<Option<bool>, Refusal> {
    let (Some(revision), Some(session)) = (action.revision, &asker.session) else {
        return Ok(None);
    };
    let id = action.snap_id.or_else(|| {
        context
            .get(action.instance_key)
            .map(|installed| installed.snap_id)
    });
    let snap = match id {
        Some(id) => id.parse::<SnapId>().ok(),
        None => {
            let name = action.name.and_then(|name| name.parse().ok());
            let entry = name.and_then(|name| catalog.by_name(&name, asker.viewer()));
            entry.map(|entry| entry.record.id.clone())
        }
    };
    let Some(snap) = snap else { return Ok(None) };
    let mut said = None;
    for key in action.sets.iter().take(MOST) {
        let Some((number, sequence_key)) = key.split_last() else {
            continue;
        };
        let (Some(set), Ok(number)) = (set_ref(sequence_key), number.parse::<u64>()) else {
            continue;
        };
        let holds = match fleet::holds(app, &session.device, &set, number, (&snap, revision)) {
            Some(holds) => {
                said = Some(false);
                holds
            }
            None => {
                if !known.contains_key(key.as_slice()) {
                    if known.len() >= MOST_DIFFERENT {
                        return Ok(said);
                    }
                    known.insert(key, stored(app, key).await?);
                }
                let held = (snap.to_string(), revision);
                known
                    .get(key.as_slice())
                    .is_some_and(|known| known.contains(&held))
            }
        };
        if holds {
            return Ok(Some(true));
        }
    }
    Ok(said)
}

/// What a stored validation set holds its devices to; nothing where there is none.
async fn stored(app: &App, key: &[String]) -> Result<HashSet<(String, u64)>, Refusal> {
    let reference = Ref {
        kind: AssertionType::ValidationSet,
        key: PrimaryKey(key.to_vec()),
    };
    let found = app.storage.assertion(&reference, u32::MAX).await?;
    let assertion = found.and_then(|found| decode(&found.encoded).ok());
    let Some(Typed::ValidationSet(set)) = assertion.as_ref().map(Assertion::typed) else {
        return Ok(HashSet::new());
    };
    let held = set.snaps.iter();
    Ok(held
        .filter_map(|listed| Some((listed.id.clone(), listed.revision?)))
        .collect())
}
