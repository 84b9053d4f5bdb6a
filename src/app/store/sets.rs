//! Validation sets as a device may see them: some are waves' (`app::fleet`), and every device has a latest one of its own;
//! and the revisions they let a device have that no channel gives.

use bytes::Bytes;

use super::asker::Asker;
use super::refresh::{Context, SnapAction};
use super::view::Snapshot;
use crate::app::assertions::{self, Lookup};
use crate::app::{App, Refusal, fleet};
use crate::domain::assertion::{AssertionType, PrimaryKey, Ref, Typed, decode};
use crate::domain::fleet::SetRef;
use crate::domain::ident::SnapId;

/// Validation sets of an action that are looked at.
const MOST: usize = 32;
const SERIES: &str = "16";

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

/// Whether a validation set that the device may follow holds it to the revision it asks for: then it gets that, whatever
/// its channels and waves say.
///
/// # Errors
/// If the database is out of reach.
pub async fn vouched(
    app: &App,
    catalog: &Snapshot,
    asker: &Asker,
    context: &Context<'_>,
    action: &SnapAction<'_>,
) -> Result<bool, Refusal> {
    let (Some(revision), Some(session)) = (action.revision, &asker.session) else {
        return Ok(false);
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
    let Some(snap) = snap else { return Ok(false) };
    for key in action.sets.iter().take(MOST) {
        let Some((number, sequence_key)) = key.split_last() else {
            continue;
        };
        let (Some(set), Ok(number)) = (set_ref(sequence_key), number.parse::<u64>()) else {
            continue;
        };
        let holds = match fleet::holds(app, &session.device, &set, number, (&snap, revision)) {
            Some(holds) => holds,
            None => stored_holds(app, key, &snap, revision).await?,
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn stored_holds(app: &App, key: &[String], snap: &SnapId, revision: u64) -> Result<bool, Refusal> {
    let reference = Ref {
        kind: AssertionType::ValidationSet,
        key: PrimaryKey(key.to_vec()),
    };
    let Some(found) = app.storage.assertion(&reference, u32::MAX).await? else {
        return Ok(false);
    };
    let Ok(assertion) = decode(&found.encoded) else {
        return Ok(false);
    };
    let Typed::ValidationSet(set) = assertion.typed() else {
        return Ok(false);
    };
    let mut snaps = set.snaps.iter();
    Ok(snaps.any(|listed| listed.id == snap.as_str() && listed.revision == Some(revision)))
}
