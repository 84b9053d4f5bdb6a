//! One snap of a bundle, as records: the snap with what is released, its new revisions, what the store pins, and that the store
//! includes it.

use std::collections::BTreeSet;

use super::{Read, SnapState};
use crate::app::bundles::{Trust, invalid};
use crate::app::{App, Refusal};
use crate::domain::assertion::{Assertion, AssertionType, Ref, Typed};
use crate::domain::bundle::store::{BundleScope, BundledSnap, named};
use crate::domain::catalog::{Changed, Inclusion, Override, RevisionRecord, SnapRecord, revision_key};
use crate::domain::ident::{SnapId, StoreId};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Versioned};

/// What comes to be of a snap.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) state: SnapState,
    pub(super) records: Vec<Change>,
    pub(super) changed: Vec<Changed>,
}

/// The part of a source that a snap is.
pub(super) fn part(id: &SnapId) -> String {
    format!("snap/{id}")
}

/// The part of a source that the place of a snap in a store is.
pub(super) fn included(store: &StoreId, id: &SnapId) -> String {
    format!("included/{store}/{id}")
}

/// Plans a snap. `own` are its assertions.
pub(super) async fn plan(
    app: &App,
    read: &Read<'_>,
    given: &BundledSnap,
    own: &[Assertion],
    trust: &Trust,
) -> Result<Plan, Refusal> {
    let id = &given.snap.id;
    let body = &read.body;
    let part_name = part(id);
    let part = read.opened.part(app, &part_name).await?;
    is_sound(given, own)?;
    if read.opened.is_older(part.as_ref()) && !trust.force {
        return Ok(Plan {
            state: SnapState::Newer,
            records: Vec::new(),
            changed: Vec::new(),
        });
    }
    if !body
        .stores
        .iter()
        .any(|store| store.id == given.snap.store_id && store.brand_id == given.snap.brand_id)
    {
        return Err(invalid(&format!(
            "snap {} is registered in a store that is not in it",
            given.snap.name
        )));
    }
    let here = app.storage.find::<SnapRecord>([id.as_str()]).await?;
    may_follow(app, given, here.as_ref(), part.is_some() || trust.adopt).await?;
    let mut records = revisions(app, given).await?;
    let now = app.clock.now();
    let snap = followed(
        here.as_ref().map(|here| &here.record),
        &given.snap,
        &body.scope,
        now,
    );
    let mut changed = Vec::new();
    let pins = pins(app, read, given).await?;
    let (included, put_in) = inclusion(app, read, id, trust, now).await?;
    if !pins.is_empty() || included.is_some() {
        changed.push(Changed::Store(body.store.clone()));
    }
    let moved = here.as_ref().is_none_or(|here| here.record != snap);
    // The record of the snap goes with its revisions, so that whoever changes one of them meanwhile is noticed.
    let touched = moved || !records.is_empty() || !pins.is_empty();
    if touched {
        records.push(match &here {
            Some(here) => Change::replace(&snap, here.version),
            None => Change::create(&snap),
        });
        changed.push(Changed::Snap(id.clone()));
    }
    records.extend(pins);
    records.extend(included);
    let state = match (&here, records.is_empty()) {
        (None, _) => SnapState::New,
        (Some(_), false) => SnapState::Changed,
        (Some(_), true) => SnapState::Same,
    };
    records.extend(read.opened.note(&part_name, part.as_ref(), now));
    if here.is_some() && part.is_none() {
        records.extend(read.opened.alone(app, &part_name).await?);
    }
    records.extend(put_in);
    Ok(Plan {
        state,
        records,
        changed,
    })
}

/// Whether the parts of the bundle fit together: every released revision is in it, and every revision has its assertion.
fn is_sound(given: &BundledSnap, own: &[Assertion]) -> Result<(), Refusal> {
    let name = &given.snap.name;
    let other = own.iter().find(|assertion| {
        !matches!(
            assertion.kind(),
            AssertionType::SnapRevision
                | AssertionType::SnapResourceRevision
                | AssertionType::SnapResourcePair
        )
    });
    if let Some(other) = other {
        return Err(invalid(&format!(
            "{} is not of snap {name} alone",
            other.reference()
        )));
    }
    let there: BTreeSet<u64> = given.revisions.iter().map(|revision| revision.revision).collect();
    let mut wanted = given.snap.releases.clone();
    wanted.past.clear();
    let pinned = given.pins.iter().map(|pin| pin.revision);
    if let Some(missing) = named(&wanted)
        .into_iter()
        .chain(pinned)
        .find(|number| !there.contains(number))
    {
        return Err(invalid(&format!(
            "revision {missing} of snap {name} is not in it"
        )));
    }
    for revision in &given.revisions {
        let digest = revision.blob.to_base64url();
        let reference = Ref::new(
            AssertionType::SnapRevision,
            [digest.as_str(), revision.provenance.as_str()],
        );
        let vouched = own.iter().any(|assertion| {
            matches!(assertion.typed(), Typed::SnapRevision(view)
                if assertion.reference() == reference
                    && view.snap_id == given.snap.id.as_str()
                    && view.snap_revision == revision.revision
                    && view.snap_size == revision.size)
        });
        if revision.snap_id != given.snap.id || !revision.review.is_approved() || !vouched {
            return Err(invalid(&format!(
                "revision {} of snap {name} has no assertion that says so",
                revision.revision
            )));
        }
        for component in &revision.components {
            let vouched = own.iter().any(|assertion| {
                matches!(assertion.typed(), Typed::SnapResourceRevision(view)
                    if assertion.text("resource-sha3-384") == Some(&component.blob.to_base64url())
                        && assertion.text("resource-name") == Some(&component.name)
                        && view.resource_revision == component.revision
                        && view.resource_size == component.size)
            });
            if !vouched {
                return Err(invalid(&format!(
                    "component {name}+{} has no assertion that says so",
                    component.name
                )));
            }
        }
    }
    Ok(())
}

/// Whether the snap here may follow the source: it came from there, or it is not here, and nothing else has its name.
async fn may_follow(
    app: &App,
    given: &BundledSnap,
    here: Option<&Versioned<SnapRecord>>,
    follows: bool,
) -> Result<(), Refusal> {
    let name = &given.snap.name;
    let refuse = |code, why: &str| {
        Err(Refusal::conflict(
            code,
            format!("cannot import snap {name}: {why}"),
        ))
    };
    let named = app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await?;
    if named.is_some_and(|named| named.record.id != given.snap.id) {
        return refuse("name-taken", "another snap has this name here");
    }
    let Some(here) = here else { return Ok(()) };
    if here.record.brand_id != given.snap.brand_id || here.record.store_id != given.snap.store_id {
        return refuse("snap-differs", "it is registered in another store here");
    }
    if !follows {
        return refuse(
            "snap-differs",
            "it is here already, and not from this source; --adopt lets it follow the bundle from now on",
        );
    }
    Ok(())
}

/// The revisions that are not here yet.
async fn revisions(app: &App, given: &BundledSnap) -> Result<Vec<Change>, Refusal> {
    let id = given.snap.id.as_str();
    let mut new = Vec::new();
    for revision in &given.revisions {
        let key = [id, &revision_key(revision.revision)];
        match app.storage.find::<RevisionRecord>(key).await? {
            None => new.push(Change::create(revision)),
            Some(here) if here.record.blob == revision.blob && here.record.review.is_approved() => {}
            Some(_) => {
                return Err(Refusal::conflict(
                    "revision-differs",
                    format!(
                        "cannot import revision {} of snap {}: it is another file here",
                        revision.revision, given.snap.name
                    ),
                ));
            }
        }
    }
    Ok(new)
}

/// The snap as it is here after the bundle. Who works on it here, and its place in the shop window, stay.
fn followed(
    here: Option<&SnapRecord>,
    given: &SnapRecord,
    scope: &BundleScope,
    now: Timestamp,
) -> SnapRecord {
    let mut snap = given.clone();
    let mut releases = here.map(|here| here.releases.clone()).unwrap_or_default();
    releases.mirror(
        &given.releases,
        |channel, architecture| scope.includes(channel, architecture),
        now,
    );
    snap.releases = releases;
    let Some(here) = here else {
        // People and the shop window are matters of each instance.
        snap.collaborators.clear();
        snap.featured = None;
        return snap;
    };
    snap.collaborators.clone_from(&here.collaborators);
    snap.featured = here.featured;
    snap.created = here.created;
    snap.tracks.extend(here.tracks.iter().cloned());
    snap.newest_revision = snap.newest_revision.max(here.newest_revision);
    for (name, newest) in &here.newest_components {
        let known = snap.newest_components.entry(name.clone()).or_default();
        *known = (*known).max(*newest);
    }
    if snap.kind.is_none() {
        snap.kind = here.kind;
    }
    if scope.channels.is_empty() {
        snap.listing.icon.clone_from(&here.listing.icon);
        snap.listing.screenshots.clone_from(&here.listing.screenshots);
    }
    snap
}

/// What changes about the pins of the store, where the bundle speaks of channels.
async fn pins(app: &App, read: &Read<'_>, given: &BundledSnap) -> Result<Vec<Change>, Refusal> {
    let (store, scope) = (&read.body.store, &read.body.scope);
    let id = given.snap.id.as_str();
    let here = app.storage.all::<Override>([store.as_str(), id]).await?;
    let mut changes = Vec::new();
    for pin in &given.pins {
        if pin.store_id != *store
            || pin.snap_id != given.snap.id
            || !scope.includes(&pin.channel, &pin.architecture)
        {
            return Err(invalid(&format!(
                "a pin of snap {} is about something else",
                given.snap.name
            )));
        }
        let known = here.iter().find(|known| {
            known.record.channel == pin.channel && known.record.architecture == pin.architecture
        });
        match known {
            None => changes.push(Change::create(pin)),
            Some(known) if known.record == *pin => {}
            Some(known) => changes.push(Change::replace(pin, known.version)),
        }
    }
    for known in here {
        let pin = &known.record;
        let stays = given
            .pins
            .iter()
            .any(|given| given.channel == pin.channel && given.architecture == pin.architecture);
        if scope.includes(&pin.channel, &pin.architecture) && !stays {
            changes.push(Change::delete(pin, known.version));
        }
    }
    Ok(changes)
}

/// That the store includes the snap, if it does there and not yet here; and that the source put it in, if it did or takes it over
/// from the one that did.
async fn inclusion(
    app: &App,
    read: &Read<'_>,
    id: &SnapId,
    trust: &Trust,
    now: Timestamp,
) -> Result<(Option<Change>, Vec<Change>), Refusal> {
    let store = &read.body.store;
    if !read.body.included.contains(id) {
        return Ok((None, Vec::new()));
    }
    let part_name = included(store, id);
    let part = read.opened.part(app, &part_name).await?;
    let is_in = app
        .storage
        .find::<Inclusion>([store.as_str(), id.as_str()])
        .await?
        .is_some();
    let mut notes = Vec::new();
    if is_in && part.is_none() {
        if trust.adopt {
            notes = read.opened.alone(app, &part_name).await?;
        }
        // People put it in here.
        if notes.is_empty() {
            return Ok((None, Vec::new()));
        }
    }
    let new = || {
        Change::create(&Inclusion {
            store_id: store.clone(),
            snap_id: id.clone(),
            since: now,
        })
    };
    notes.extend(read.opened.note(&part_name, part.as_ref(), now));
    Ok(((!is_in).then(new), notes))
}

/// Looks that every file of the snap is kept here. Asked before it is written down and after: files that nothing names
/// may be cleared away until then.
pub(super) async fn files_are_here(app: &App, given: &BundledSnap) -> Result<(), Refusal> {
    for (id, size) in given.files() {
        let found = app.blobs.open(&id).await?;
        if found.is_none_or(|found| found.size() != size) {
            return Err(Refusal::conflict(
                "file-missing",
                format!(
                    "cannot import snap {}: the file {id} is not here; import the bundle again",
                    given.snap.name
                ),
            ));
        }
    }
    Ok(())
}
