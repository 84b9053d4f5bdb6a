//! Overrides (admin-api.md 4.1): which revisions a store pins on channels of the snaps it shows, for all who see the
//! catalogue through it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::changes::apply;
use super::snaps::{ATTEMPTS, revision};
use crate::app::{App, Reason, Refusal, StoreCtx};
use crate::domain::audit::AuditEvent;
use crate::domain::catalog::{
    Changed, Channel, Override, ReleaseRefusal, SnapRecord, Track, Viewer, released_for, sees,
};
use crate::domain::ident::{Architecture, SnapId, SnapName};
use crate::ports::{Change, Commit, CommitOutcome, Kind, Versioned};

/// Overrides that a store may have of one snap, over all channels and architectures.
pub const MOST: usize = 256;

/// What is wanted of one channel.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The snap.
    pub snap: SnapName,
    /// The channel.
    pub channel: Channel,
    /// What it is to give, for every architecture of this revision; none = what the publisher released, for all.
    pub revision: Option<u64>,
}

/// An override, or what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The snap.
    pub snap_id: SnapId,
    /// Its name.
    pub snap_name: SnapName,
    /// What is pinned; none = nothing any more.
    pub revision: Option<u64>,
    /// What the channel gives as its publisher left it, to who comes anew and is not of the part a progressive release
    /// reaches; none = nothing.
    pub upstream: Option<u64>,
    /// The channel.
    pub channel: Channel,
    /// The architecture, or `all`.
    pub architecture: Architecture,
}

/// What a store pins of a snap, by channel and architecture. A snap that the store does not show is absent, unless
/// something of it is pinned still.
///
/// # Errors
/// If the storage is out of reach.
pub async fn list(app: &App, ctx: &StoreCtx, name: &SnapName) -> Result<Vec<Row>, Refusal> {
    let part = Part::of(app, ctx, name).await?;
    let snap = &part.snap.record;
    let rows = part.now.iter().map(|((channel, architecture), found)| {
        let pinned = Some(found.record.revision);
        row(app, snap, channel, architecture, pinned)
    });
    Ok(rows.collect())
}

/// The answer to who names a snap or a store that is not there for them.
pub fn absent(name: &SnapName) -> Refusal {
    Refusal::not_found(format!(
        "cannot find snap {name}: there is no such snap in the store, or no such store that you administer"
    ))
}

/// Pins revisions on channels and takes pins back: all of it or, if one part cannot be, nothing. Answers one row for every
/// architecture concerned, in the order asked for. What is pinned for `all` architectures takes the place of what was
/// pinned for single ones.
///
/// # Errors
/// `nothing-to-override`, `contradiction`, `no-such-track`, `revision-not-found`, `override-refused`,
/// `override-not-found`, `too-many-overrides`.
pub async fn set(app: &App, ctx: &StoreCtx, wanted: &[Wanted]) -> Result<Vec<Row>, Refusal> {
    if wanted.is_empty() {
        return Err(Refusal::invalid(
            "nothing-to-override",
            "cannot override: name at least one channel and revision",
        ));
    }
    for _ in 0..ATTEMPTS {
        let mut work = Work::default();
        for one in wanted {
            if !work.parts.contains_key(&one.snap) {
                let part = Part::of(app, ctx, &one.snap).await?;
                work.parts.insert(one.snap.clone(), part);
            }
            work.take(app, ctx, one).await?;
        }
        let (rows, commit) = work.done()?;
        if commit.records.is_empty() {
            return Ok(rows);
        }
        let changed = [Changed::Store(ctx.store().id.clone())];
        match apply(app, commit, &changed).await? {
            CommitOutcome::Conflict {
                kind: Kind::Snap | Kind::Override,
                ..
            } => {}
            outcome => return App::settle(&outcome).map(|()| rows),
        }
    }
    Err(App::changed_meanwhile())
}

type Place = (Channel, Architecture);

/// A snap, and what the store pins of it.
#[derive(Debug)]
struct Part {
    snap: Versioned<SnapRecord>,
    shown: bool,
    now: BTreeMap<Place, Versioned<Override>>,
    then: BTreeMap<Place, Override>,
}

impl Part {
    async fn of(app: &App, ctx: &StoreCtx, name: &SnapName) -> Result<Self, Refusal> {
        let store = &ctx.store().id;
        let found = app
            .storage
            .find_unique::<SnapRecord>("name", name.as_str())
            .await?;
        let snap = found.ok_or_else(|| absent(name))?;
        let catalog = app.catalog.current(app).await?;
        let shown = sees(&*catalog, snap.record.placed(), Viewer::Of(store));
        let key = [store.as_str(), snap.record.id.as_str()];
        let pinned = app.storage.all::<Override>(key).await?;
        if !shown && pinned.is_empty() {
            return Err(absent(name));
        }
        let place = |pin: &Override| (pin.channel.clone(), pin.architecture.clone());
        let then = pinned
            .iter()
            .map(|found| (place(&found.record), found.record.clone()));
        Ok(Self {
            snap,
            shown,
            then: then.collect(),
            now: pinned
                .into_iter()
                .map(|found| (place(&found.record), found))
                .collect(),
        })
    }
}

/// A change of overrides while it is judged.
#[derive(Debug, Default)]
struct Work {
    parts: BTreeMap<SnapName, Part>,
    /// What was said of which channel: of one architecture, or (none) of all.
    said: BTreeSet<(SnapName, Channel, Option<Architecture>)>,
    rows: Vec<Row>,
    audit: Vec<AuditEvent>,
    /// Snaps of which something is pinned anew.
    judged: BTreeSet<SnapName>,
}

impl Work {
    async fn take(&mut self, app: &App, ctx: &StoreCtx, wanted: &Wanted) -> Result<(), Refusal> {
        let Wanted {
            snap: name,
            channel,
            revision,
        } = wanted;
        let part = self.parts.get_mut(name).ok_or_else(|| absent(name))?;
        let places = match revision {
            Some(number) => pin(app, ctx, part, channel, *number).await?,
            None => unpin(part, channel)?,
        };
        for (channel, architecture) in &places {
            let snap = &part.snap.record;
            self.rows.push(row(app, snap, channel, architecture, *revision));
        }
        let unchanged = places.iter().all(|place| {
            let now = part.now.get(place).map(|found| found.record.revision);
            now == *revision
        });
        if !unchanged {
            let snap = &part.snap.record;
            let architectures: Vec<&Architecture> = places.iter().map(|(_, name)| name).collect();
            let action = match revision {
                Some(_) => "snap.override",
                None => "snap.delete-override",
            };
            let subject = format!("{}/{name}", ctx.store().id);
            let mut event = ctx.event(app.clock.now(), action, &subject);
            event.detail.extend([
                ("snap-id".to_owned(), json!(snap.id)),
                ("channel".to_owned(), json!(channel)),
                ("architectures".to_owned(), json!(architectures)),
                ("revision".to_owned(), json!(revision)),
            ]);
            self.audit.push(event);
        }
        if revision.is_some() {
            self.judged.insert(name.clone());
        }
        self.say(name, channel, *revision, &places)
    }

    /// Notes what is said of a channel.
    fn say(
        &mut self,
        name: &SnapName,
        channel: &Channel,
        revision: Option<u64>,
        places: &[Place],
    ) -> Result<(), Refusal> {
        for (_, architecture) in places {
            let one = (revision.is_some() && *architecture != Architecture::ANY).then_some(architecture);
            let again = self.said.iter().any(|(snap, other, known)| {
                let same = one.is_none() || known.is_none() || known.as_ref() == one;
                snap == name && other == channel && same
            });
            if again {
                return Err(Refusal::invalid(
                    "contradiction",
                    format!("cannot override {channel} of snap {name}: it is said twice what it shall give"),
                ));
            }
        }
        for (_, architecture) in places {
            let one = (revision.is_some() && *architecture != Architecture::ANY).then_some(architecture);
            self.said.insert((name.clone(), channel.clone(), one.cloned()));
        }
        Ok(())
    }

    /// The rows, and what is to be written.
    fn done(self) -> Result<(Vec<Row>, Commit), Refusal> {
        let mut records = Vec::new();
        for (name, part) in &self.parts {
            if part.then.len() > MOST && part.then.len() > part.now.len() {
                return Err(Refusal::invalid(
                    "too-many-overrides",
                    format!(
                        "cannot override: a store pins at most {MOST} channels of a snap; delete some of {name}"
                    ),
                ));
            }
            let before = records.len();
            for (place, found) in &part.now {
                match part.then.get(place) {
                    None => records.push(Change::delete(&found.record, found.version)),
                    Some(then) if *then != found.record => {
                        records.push(Change::replace(then, found.version));
                    }
                    Some(_) => {}
                }
            }
            for (place, then) in &part.then {
                if !part.now.contains_key(place) {
                    records.push(Change::create(then));
                }
            }
            // What was judged by must still hold: a revision does not go while it is being pinned.
            if records.len() > before && self.judged.contains(name) {
                records.push(Change::replace(&part.snap.record, part.snap.version));
            }
        }
        let commit = Commit {
            records,
            audit: self.audit,
            ..Commit::default()
        };
        Ok((self.rows, commit))
    }
}

/// Pins a revision, for each of its architectures.
async fn pin(
    app: &App,
    ctx: &StoreCtx,
    part: &mut Part,
    channel: &Channel,
    number: u64,
) -> Result<Vec<Place>, Refusal> {
    let snap = &part.snap.record;
    let name = &snap.name;
    if !part.shown {
        return Err(absent(name));
    }
    let refused = |why: ReleaseRefusal| {
        Refusal::conflict(
            "override-refused",
            format!("cannot override {channel} of snap {name} with revision {number}: {why}"),
        )
    };
    if channel.track != Track::default() && !snap.tracks.contains(&channel.track) {
        let why = ReleaseRefusal::NoTrack(channel.track.clone());
        return Err(Refusal::invalid(
            "no-such-track",
            format!("cannot override {channel} of snap {name}: {why}"),
        ));
    }
    let found = revision(app, snap, number).await?.ok_or_else(|| {
        Refusal::invalid(
            "revision-not-found",
            format!("cannot override {channel} of snap {name}: it has no revision {number}"),
        )
    })?;
    if !found.review.is_approved() {
        return Err(refused(ReleaseRefusal::NotApproved(found.review)));
    }
    let architectures = released_for(&found);
    if architectures.contains(&Architecture::ANY) {
        part.then.retain(|(other, _), _| other != channel);
    }
    let mut places = Vec::new();
    for architecture in architectures {
        let place = (channel.clone(), architecture.clone());
        let before = part.now.get(&place).map(|found| &found.record);
        let pinned = match before.filter(|before| before.revision == number) {
            // Said again, it stays as it was.
            Some(before) => before.clone(),
            None => Override {
                store_id: ctx.store().id.clone(),
                snap_id: snap.id.clone(),
                channel: channel.clone(),
                architecture,
                revision: number,
                since: app.clock.now(),
            },
        };
        part.then.insert(place.clone(), pinned);
        places.push(place);
    }
    Ok(places)
}

/// Takes back what is pinned on a channel, for all architectures.
fn unpin(part: &mut Part, channel: &Channel) -> Result<Vec<Place>, Refusal> {
    let here = part.now.keys().filter(|(other, _)| other == channel);
    let places: Vec<Place> = here.cloned().collect();
    if places.is_empty() {
        let name = &part.snap.record.name;
        return Err(Refusal::new(
            Reason::NotFound,
            "override-not-found",
            format!("cannot delete the override of {channel} of snap {name}: the store has none there"),
        ));
    }
    for place in &places {
        part.then.remove(place);
    }
    Ok(places)
}

fn row(
    app: &App,
    snap: &SnapRecord,
    channel: &Channel,
    architecture: &Architecture,
    revision: Option<u64>,
) -> Row {
    let found = snap.releases.find(architecture, channel, app.clock.now(), 1.0);
    Row {
        snap_id: snap.id.clone(),
        snap_name: snap.name.clone(),
        revision,
        upstream: found.map(|found| found.revision),
        channel: channel.clone(),
        architecture: architecture.clone(),
    }
}
