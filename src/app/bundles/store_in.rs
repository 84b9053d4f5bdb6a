//! A store out of a bundle, while the server goes on: everything is judged before anything changes ([`check`]), then what
//! snaps share comes in ([`shared`]), then each snap at once, when its files are here ([`snap`]), then what is no more goes
//! ([`finish`]). Each step judges what it is given again and does nothing where it was done before, so an import that was
//! cut short goes on where it was, and the same bundle again changes nothing.

mod assertions;
mod snaps;
mod stores;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::store_out::KIND;
use super::{Bundle, Opened, Trust, invalid, open};
use crate::app::assertions::read_stream;
use crate::app::catalog::{apply, register};
use crate::app::sign::stored;
use crate::app::{App, InstanceCtx, Refusal, account_keys};
use crate::domain::assertion::{Assertion, AssertionType};
use crate::domain::audit::AuditEvent;
use crate::domain::bundle::BundleSource;
use crate::domain::bundle::store::{BundledSnap, ListedSnap, SHARED, StoreBody, assertions_of, records_of};
use crate::domain::catalog::{Changed, Inclusion};
use crate::domain::ident::{SnapId, SnapName, StoreId};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, PutRule, Versioned};

/// How often a step is planned anew because somebody else changed something meanwhile.
const ATTEMPTS: usize = 20;

/// What an import would do with a snap, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapState {
    /// It is not here yet.
    New,
    /// It moves on.
    Changed,
    /// It is as the bundle says.
    Same,
    /// A newer bundle brought it already.
    Newer,
}

/// A snap of a bundle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outlook {
    /// Its id.
    pub id: SnapId,
    /// Its name.
    pub name: SnapName,
    /// What becomes of it.
    pub state: SnapState,
}

/// A bundle that can be taken in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// The store.
    pub store: StoreId,
    /// The snaps, in the order of the bundle.
    pub snaps: Vec<Outlook>,
    /// Whether stores, assertions or snaps would change.
    pub changes: bool,
}

/// A bundle with what its manifest says.
struct Read<'b> {
    bundle: &'b Bundle,
    opened: Opened,
    body: StoreBody,
    /// What is known of the store from this source.
    part: Option<Versioned<BundleSource>>,
    part_name: String,
}

/// Judges all of a bundle, with all its texts. Nothing changes.
///
/// # Errors
/// What [`open`] refuses; `older-bundle`; `missing-prerequisite`, `assertion-refused`, `signed-elsewhere` for assertions;
/// `store-taken`, `name-taken`, `snap-differs`, `revision-differs`.
pub async fn check(
    app: &App,
    _ctx: &InstanceCtx,
    bundle: &Bundle,
    trust: &Trust,
) -> Result<Checked, Refusal> {
    let read = read(app, bundle, trust).await?;
    let mut given = texts(app, bundle, SHARED)?;
    let mut parts = Vec::new();
    for listed in &read.body.snaps {
        let own = texts(app, bundle, &assertions_of(&listed.id))?;
        given.extend(own.iter().cloned());
        parts.push((listed, records(bundle, listed)?, own));
    }
    let added = assertions::judge(app, &given).await?;
    let planned = stores::plan(app, &read, &given, trust).await?;
    let mut changes = !(added.is_empty() && planned.changed.is_empty());
    let mut snaps = Vec::new();
    for (listed, record, own) in parts {
        let plan = snaps::plan(app, &read, &record, &own, trust).await?;
        changes |= matches!(plan.state, SnapState::New | SnapState::Changed);
        snaps.push(Outlook {
            id: listed.id.clone(),
            name: listed.name.clone(),
            state: plan.state,
        });
    }
    Ok(Checked {
        store: read.body.store,
        snaps,
        changes,
    })
}

/// Takes in what the snaps share: stores, brands, accounts, keys, declarations, models, validation sets. The signer is
/// pinned with it. Whether anything changed.
///
/// # Errors
/// As [`check`].
pub async fn shared(app: &App, ctx: &InstanceCtx, bundle: &Bundle, trust: &Trust) -> Result<bool, Refusal> {
    for _ in 0..ATTEMPTS {
        let read = read(app, bundle, trust).await?;
        let given = texts(app, bundle, SHARED)?;
        let added = assertions::judge(app, &given).await?;
        let stores::Plan {
            mut records,
            mut changed,
            notes,
        } = stores::plan(app, &read, &given, trust).await?;
        let now = app.clock.now();
        records.extend(notes);
        records.extend(read.opened.pin(now));
        if read.is_whole() {
            records.extend(read.opened.note(&read.part_name, read.part.as_ref(), now));
        }
        if records.is_empty() && added.is_empty() {
            return Ok(false);
        }
        for assertion in &added {
            if assertion.kind() == AssertionType::AccountKey {
                records.extend(account_keys::adopt(app, assertion).await?);
            }
        }
        let mut event = read.event(ctx, now, "bundle.import", read.body.store.as_str());
        event.detail.insert("assertions".to_owned(), json!(added.len()));
        let mut commit = Commit {
            records,
            assertions: put(&added),
            audit: vec![event],
            ..Commit::default()
        };
        changed.extend(register::follow(app, &added, &mut commit).await?);
        if written(app, commit, &changed).await? {
            return Ok(true);
        }
    }
    Err(App::changed_meanwhile())
}

/// Takes in one snap whose files are here, with its revisions and what is released, at once. The bundle has the texts of this
/// snap.
///
/// # Errors
/// As [`check`]; `file-missing`.
pub async fn snap(
    app: &App,
    ctx: &InstanceCtx,
    bundle: &Bundle,
    id: &SnapId,
    trust: &Trust,
) -> Result<SnapState, Refusal> {
    for _ in 0..ATTEMPTS {
        let read = read(app, bundle, trust).await?;
        let listed = read.body.snaps.iter().find(|listed| listed.id == *id);
        let listed = listed.ok_or_else(|| invalid(&format!("it lists no snap {id}")))?;
        let record = records(bundle, listed)?;
        let own = texts(app, bundle, &assertions_of(id))?;
        let added = assertions::judge(app, &own).await?;
        let plan = snaps::plan(app, &read, &record, &own, trust).await?;
        if plan.records.is_empty() && added.is_empty() {
            return Ok(plan.state);
        }
        snaps::files_are_here(app, &record).await?;
        let now = app.clock.now();
        let mut event = read.event(ctx, now, "snap.import", record.snap.name.as_str());
        let revisions: Vec<u64> = record
            .revisions
            .iter()
            .map(|revision| revision.revision)
            .collect();
        event.detail.insert("revisions".to_owned(), json!(revisions));
        let commit = Commit {
            records: plan.records,
            assertions: put(&added),
            audit: vec![event],
            ..Commit::default()
        };
        if written(app, commit, &plan.changed).await? {
            snaps::files_are_here(app, &record).await?;
            return Ok(plan.state);
        }
    }
    Err(App::changed_meanwhile())
}

/// Takes the snaps out of the store that the source does not show there any more, where the bundle speaks of all snaps. Comes
/// last. How many there were.
///
/// # Errors
/// As [`check`].
pub async fn finish(app: &App, ctx: &InstanceCtx, bundle: &Bundle, trust: &Trust) -> Result<usize, Refusal> {
    for _ in 0..ATTEMPTS {
        let read = read(app, bundle, trust).await?;
        if !read.is_whole() {
            return Ok(0);
        }
        let store = &read.body.store;
        let mut records = Vec::new();
        let mut gone = 0;
        for found in app.storage.all::<Inclusion>([store.as_str()]).await? {
            let id = &found.record.snap_id;
            if read.body.included.contains(id) {
                continue;
            }
            // What was put in here is not the source's to take out.
            let Some(part) = read.opened.part(app, &snaps::included(store, id)).await? else {
                continue;
            };
            if read.opened.is_older(Some(&part)) && !trust.force {
                continue;
            }
            records.push(Change::delete(&found.record, found.version));
            records.push(Change::delete(&part.record, part.version));
            gone += 1;
        }
        if gone == 0 {
            return Ok(0);
        }
        let now = app.clock.now();
        let mut event = read.event(ctx, now, "store.exclude", store.as_str());
        event.detail.insert("snaps".to_owned(), json!(gone));
        let commit = Commit {
            records,
            audit: vec![event],
            ..Commit::default()
        };
        if written(app, commit, &[Changed::Store(store.clone())]).await? {
            return Ok(gone);
        }
    }
    Err(App::changed_meanwhile())
}

async fn read<'b>(app: &App, bundle: &'b Bundle, trust: &Trust) -> Result<Read<'b>, Refusal> {
    let opened = open(app, bundle, KIND, trust).await?;
    let body: StoreBody = serde_json::from_value(opened.manifest.body.clone())
        .map_err(|error| invalid(&format!("its manifest: {error}")))?;
    let part_name = format!("store/{}", body.store);
    let part = opened.part(app, &part_name).await?;
    if opened.is_older(part.as_ref()) && !trust.force {
        let newest = part.map_or(opened.manifest.created_at, |part| part.record.created_at);
        return Err(Refusal::conflict(
            "older-bundle",
            format!(
                "cannot import the bundle: it is of {}, and one of {newest} of all of store {} was imported before; \
                 --force goes back",
                opened.manifest.created_at, body.store
            ),
        ));
    }
    Ok(Read {
        bundle,
        opened,
        body,
        part,
        part_name,
    })
}

impl Read<'_> {
    /// Whether it speaks of all snaps of the store. Parts of a store may come in any order; of what speaks of all, the newest
    /// is followed.
    fn is_whole(&self) -> bool {
        self.body.scope.snaps.is_empty()
    }

    fn event(&self, ctx: &InstanceCtx, now: Timestamp, action: &str, subject: &str) -> AuditEvent {
        let mut event = ctx.event(now, action, subject);
        event.brand = self.opened.manifest.brand.clone().map(Into::into);
        event.detail.extend([
            ("from".to_owned(), json!(self.opened.manifest.from)),
            ("created-at".to_owned(), json!(self.opened.manifest.created_at)),
            ("signer".to_owned(), json!(self.bundle.signature.public_key)),
        ]);
        event
    }
}

/// The assertions of one of the texts; an empty one has none.
fn texts(app: &App, bundle: &Bundle, name: &str) -> Result<Vec<Assertion>, Refusal> {
    let text = bundle.text(name)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    read_stream(bytes::Bytes::from(text.to_owned()), app.settings.limits.assertion)
}

fn records(bundle: &Bundle, listed: &ListedSnap) -> Result<BundledSnap, Refusal> {
    let name = records_of(&listed.id);
    let record: BundledSnap =
        serde_json::from_str(bundle.text(&name)?).map_err(|error| invalid(&format!("{name}: {error}")))?;
    if record.snap.id != listed.id || record.snap.name != listed.name {
        return Err(invalid(&format!("{name} is about another snap")));
    }
    Ok(record)
}

fn put(added: &[Assertion]) -> Vec<(crate::ports::StoredAssertion, PutRule)> {
    added
        .iter()
        .map(|assertion| (stored(assertion), PutRule::SkipOld))
        .collect()
}

/// Writes it down; false: somebody else was faster, look again.
async fn written(app: &App, commit: Commit, changed: &[Changed]) -> Result<bool, Refusal> {
    let outcome = if changed.is_empty() {
        app.storage.commit(commit).await?
    } else {
        apply(app, commit, changed).await?
    };
    match outcome {
        CommitOutcome::Conflict { .. } => Ok(false),
        outcome => App::settle(&outcome).map(|()| true),
    }
}
