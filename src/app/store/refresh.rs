//! Which revision answers each action of `POST /v2/snaps/refresh` (device-api.md 5, 16). Exactly one answer per action,
//! in the order of the request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::asker::Asker;
use super::cohort;
use super::entry::SnapEntry;
use super::follow::{Follower, next};
use super::view::Snapshot;
use crate::app::App;
use crate::app::fleet::DeviceSight;
use crate::domain::catalog::{Ask, Channel, Pins, Track, chance, offer};
use crate::domain::fleet::{PinRef, Rule};
use crate::domain::ident::{Architecture, IdentError, SnapId, SnapName};
use crate::domain::snap::Epoch;
use crate::domain::time::Timestamp;

/// A snap the device has.
#[derive(Clone, Debug)]
pub struct Installed<'r> {
    /// Its id.
    pub snap_id: &'r str,
    /// What names this instance of it in the request.
    pub instance_key: &'r str,
    /// What is installed.
    pub revision: u64,
    /// What it follows.
    pub tracking_channel: Option<&'r str>,
    /// The epoch of what is installed.
    pub epoch: Epoch,
    /// Its cohort.
    pub cohort_key: Option<&'r str>,
    /// Whether it is refreshed without the consent of those who gate it.
    pub ignore_validation: bool,
    /// Whether its owner holds it back.
    pub held: bool,
}

/// The snaps a device has, by instance key.
#[derive(Clone, Debug, Default)]
pub struct Context<'r>(BTreeMap<&'r str, Installed<'r>>);

impl<'r> Context<'r> {
    /// From the request; an instance key that comes twice is refused with its text.
    pub fn new(installed: impl IntoIterator<Item = Installed<'r>>) -> Result<Self, &'r str> {
        let mut by_key = BTreeMap::new();
        for entry in installed {
            if let Some(twice) = by_key.insert(entry.instance_key, entry) {
                return Err(twice.instance_key);
            }
        }
        Ok(Self(by_key))
    }

    /// The entry of an instance key.
    pub fn get(&self, instance_key: &str) -> Option<&Installed<'r>> {
        self.0.get(instance_key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All entries, by instance key.
    pub fn iter(&self) -> impl Iterator<Item = &Installed<'r>> {
        self.0.values()
    }
}

/// What to do with a snap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Make it known to a device that does not have it.
    Install,
    /// Like that, for a person or an image.
    Download,
    /// Something newer for what is installed.
    Refresh,
}

/// An action on a snap.
#[derive(Clone, Debug)]
pub struct SnapAction<'r> {
    /// What to do.
    pub kind: Kind,
    /// Names it in the request.
    pub instance_key: &'r str,
    /// Which snap, on installation and download.
    pub name: Option<&'r str>,
    /// Which snap, on refresh.
    pub snap_id: Option<&'r str>,
    /// From where.
    pub channel: Option<&'r str>,
    /// Exactly this.
    pub revision: Option<u64>,
    /// The cohort it shall join.
    pub cohort_key: Option<&'r str>,
    /// The epoch of what is there, when a local snap is amended.
    pub epoch: Option<Epoch>,
    /// Whether those who gate it are asked; said only for one snap in particular.
    pub ignore_validation: Option<bool>,
    /// The validation sets that hold the device to what it asks for, as it says: series, account, name and number of each.
    pub sets: &'r [Vec<String>],
    /// Whether one of them does; false = only some do that are told to nobody now; none = there is none.
    pub vouched: Option<bool>,
}

/// One action of a request; what is none of these is answered as an error of its own.
#[derive(Clone, Debug)]
pub enum Action<'r> {
    /// On a snap.
    Snap(SnapAction<'r>),
    /// Assertions.
    Fetch(super::fetch::Group),
    /// Something else: its name and instance key.
    Unknown(String, Option<&'r str>),
}

/// The revision for an action.
#[derive(Clone, Debug)]
pub struct Found<'c> {
    /// The snap.
    pub entry: &'c SnapEntry,
    /// The revision.
    pub revision: u64,
    /// Where it comes from, if a channel answers.
    pub effective: Option<Cow<'c, Channel>>,
    /// What to follow instead of what was asked for.
    pub redirect: Option<Channel>,
    /// What the device has, on refresh: deltas start there.
    pub installed: Option<u64>,
    /// What it runs on.
    pub architecture: Architecture,
    /// Whether a wave brings it, that is not complete.
    pub waved: bool,
}

/// Why there is no revision for an action.
#[derive(Clone, Debug)]
pub struct ActionError {
    /// What the client compares (device-api.md 5.6).
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Where the snap could be had: architecture and channel.
    pub releases: Vec<(Architecture, Channel)>,
    /// The snap, as far as the asker may know it.
    pub snap: Option<(SnapId, SnapName)>,
}

/// The answer to an action on a snap.
pub fn refresh<'c>(
    app: &App,
    catalog: &'c Snapshot,
    asker: &Asker,
    sight: Option<&DeviceSight>,
    context: &Context<'_>,
    action: &SnapAction<'_>,
) -> Result<Found<'c>, ActionError> {
    match action.kind {
        Kind::Refresh => upgrade(app, catalog, asker, sight, context, action),
        Kind::Install | Kind::Download => new(app, catalog, asker, sight, action),
    }
}

fn new<'c>(
    app: &App,
    catalog: &'c Snapshot,
    asker: &Asker,
    sight: Option<&DeviceSight>,
    action: &SnapAction<'_>,
) -> Result<Found<'c>, ActionError> {
    let name = action.name.unwrap_or_default();
    let by_name = name
        .parse()
        .ok()
        .and_then(|name| catalog.by_name(&name, asker.viewer()));
    let by_id = || {
        let id = action.snap_id.filter(|_| name.is_empty())?;
        catalog.by_id(&id.parse().ok()?, asker.viewer())
    };
    let entry = by_name.or_else(by_id).ok_or_else(|| {
        absent(
            "name-not-found",
            &format!("there is no snap {name:?} in this store"),
        )
    })?;
    let now = app.clock.now();
    let default = entry.record.default_track.clone().unwrap_or_default();
    let text = action.channel.unwrap_or("stable");
    let parsed = Channel::parse(text, &default);
    if let Some(revision) = action.revision {
        let hidden = sight
            .zip(parsed.as_ref().ok())
            .is_some_and(|(sight, (channel, _))| {
                hides(sight, action, entry, asker, channel, (revision, None))
            });
        return if hidden {
            Err(no_revision(entry, asker, revision))
        } else {
            exactly(entry, asker, revision, None)
        };
    }
    let (channel, bare) = parsed.map_err(|error| no_channel(entry, &error))?;
    let redirect = (bare && channel.track != Track::default()).then(|| channel.clone());
    if let Some(sight) = sight {
        let decision = sight.decide(app, pin(entry, &channel, asker), None);
        let fits = |revision: &u64| match (&action.epoch, entry.epoch_of(*revision)) {
            (Some(current), Some(epoch)) => epoch.can_read(current),
            (None, known) => known.is_some(),
            (Some(_), None) => false,
        };
        if let Some(revision) = decision.revision.filter(fits) {
            return Ok(Found {
                entry,
                revision,
                effective: Some(Cow::Owned(channel)),
                redirect,
                installed: None,
                architecture: asker.architecture.clone(),
                waved: matches!(decision.rule, Rule::Wave(_)),
            });
        }
    }
    let ask = Ask {
        architecture: &asker.architecture,
        channel: &channel,
        cohort: cohort_time(app, entry, action.cohort_key),
        installed: None,
        epoch: action.epoch.as_ref(),
        chance: place(asker, entry),
        now,
        pins: asker.pins(&entry.record.id),
    };
    let offer = offer(&entry.record.releases, ask, |revision| entry.epoch_of(revision))
        .ok_or_else(|| none_there(entry, asker, now, Some(&channel)))?;
    Ok(Found {
        entry,
        revision: offer.revision,
        effective: Some(Cow::Owned(offer.channel)),
        redirect,
        installed: None,
        architecture: asker.architecture.clone(),
        waved: false,
    })
}

fn upgrade<'c>(
    app: &App,
    catalog: &'c Snapshot,
    asker: &Asker,
    sight: Option<&DeviceSight>,
    context: &Context<'_>,
    action: &SnapAction<'_>,
) -> Result<Found<'c>, ActionError> {
    let installed = context.get(action.instance_key).ok_or_else(|| {
        let key = action.instance_key;
        absent("invalid-instance-key", &format!("{key:?} is not in the context"))
    })?;
    let id = action.snap_id.unwrap_or(installed.snap_id);
    if id != installed.snap_id {
        return Err(absent(
            "invalid-snap-id",
            &format!("snap-id {id:?} is not that of the instance in the context"),
        ));
    }
    let entry = id
        .parse()
        .ok()
        .and_then(|id| catalog.by_id(&id, asker.viewer()))
        .ok_or_else(|| {
            absent(
                "id-not-found",
                &format!("there is no snap of id {id:?} in this store"),
            )
        })?;
    let now = app.clock.now();
    let text = action.channel.or(installed.tracking_channel).unwrap_or("stable");
    let cohort = action.cohort_key.or(installed.cohort_key);
    // Here `stable` is what it says: a device that follows it was told so, or is of before tracks.
    let channel = Channel::parse(text, &Track::default());
    let running = Some(installed.revision);
    if let Some(revision) = action.revision {
        let hidden = sight
            .zip(channel.as_ref().ok())
            .is_some_and(|(sight, (channel, _))| {
                hides(sight, action, entry, asker, channel, (revision, running))
            });
        if hidden {
            return Err(no_revision(entry, asker, revision));
        }
        let waved = sight
            .zip(channel.as_ref().ok())
            .is_some_and(|(sight, (channel, _))| {
                running != Some(revision) && sight.brings(pin(entry, channel, asker), revision)
            });
        let found = exactly(entry, asker, revision, running);
        return found.map(|found| Found { waved, ..found });
    }
    let (channel, _) = channel.map_err(|error| no_channel(entry, &error))?;
    if let Some(sight) = sight
        && let Some(told) = pinned(app, entry, asker, sight, &channel, installed)
    {
        return told;
    }
    let follower = Follower {
        architecture: &asker.architecture,
        channel: &channel,
        cohort: cohort_time(app, entry, cohort),
        revision: installed.revision,
        epoch: &installed.epoch,
        chance: place(asker, entry),
        now,
        pins: asker.pins(&entry.record.id),
    };
    let offer = next(entry, &follower);
    if let Some(sight) = sight {
        let moves = (
            installed.revision,
            offer.as_ref().map_or(0, |offer| offer.revision),
        );
        let known = entry.revisions.contains_key(&installed.revision);
        if known && sight.keeps(app, pin(entry, &channel, asker), moves) {
            return Ok(stays(entry, asker, channel, installed.revision));
        }
    }
    let offer = offer.ok_or_else(|| none_there(entry, asker, now, Some(&channel)))?;
    Ok(Found {
        entry,
        revision: offer.revision,
        effective: Some(match offer {
            Cow::Borrowed(offer) => Cow::Borrowed(&offer.channel),
            Cow::Owned(offer) => Cow::Owned(offer.channel),
        }),
        redirect: None,
        installed: Some(installed.revision),
        architecture: asker.architecture.clone(),
        waved: false,
    })
}

/// What a revision of the snap would be pinned for, to this device.
fn pin<'a>(entry: &'a SnapEntry, channel: &'a Channel, asker: &'a Asker) -> PinRef<'a> {
    PinRef {
        snap_id: &entry.record.id,
        channel,
        architecture: &asker.architecture,
    }
}

/// Whether a production device may not have a revision by its number: what a validation set holds it to, it may.
fn hides(
    sight: &DeviceSight,
    action: &SnapAction<'_>,
    entry: &SnapEntry,
    asker: &Asker,
    channel: &Channel,
    (revision, running): (u64, Option<u64>),
) -> bool {
    let pin = pin(entry, channel, asker);
    match action.vouched {
        Some(true) => false,
        Some(false) => running != Some(revision) && !sight.publishes(pin, revision),
        None => !sight.allows(pin, revision, running),
    }
}

/// What it has, as if that were what its channel gives.
fn stays<'c>(entry: &'c SnapEntry, asker: &Asker, channel: Channel, revision: u64) -> Found<'c> {
    Found {
        entry,
        revision,
        effective: Some(Cow::Owned(channel)),
        redirect: None,
        installed: Some(revision),
        architecture: asker.architecture.clone(),
        waved: false,
    }
}

/// What a production device gets of a snap that is pinned for it; none where its channel decides.
fn pinned<'c>(
    app: &App,
    entry: &'c SnapEntry,
    asker: &Asker,
    sight: &DeviceSight,
    channel: &Channel,
    installed: &Installed<'_>,
) -> Option<Result<Found<'c>, ActionError>> {
    let running = installed.revision;
    let decision = sight.decide(app, pin(entry, channel, asker), Some(running));
    let wanted = decision.revision?;
    // What it could not read, or is not there any more, is no reason to leave what it has.
    let reads = entry
        .epoch_of(wanted)
        .is_some_and(|epoch| epoch.can_read(&installed.epoch));
    let revision = if reads { wanted } else { running };
    if !entry.revisions.contains_key(&revision) {
        return Some(Err(none_there(entry, asker, app.clock.now(), Some(channel))));
    }
    Some(Ok(Found {
        installed: Some(running),
        waved: revision != running && matches!(decision.rule, Rule::Wave(_)),
        ..stays(entry, asker, channel.clone(), revision)
    }))
}

/// A revision asked for by its number, as validation sets and people do: it need not be in any channel.
fn exactly<'c>(
    entry: &'c SnapEntry,
    asker: &Asker,
    revision: u64,
    installed: Option<u64>,
) -> Result<Found<'c>, ActionError> {
    let fits = entry.revisions.get(&revision).is_some_and(|found| {
        let architectures = &found.architectures;
        architectures.contains(&asker.architecture) || architectures.iter().any(|name| name.as_str() == "all")
    });
    if !fits {
        return Err(no_revision(entry, asker, revision));
    }
    Ok(Found {
        entry,
        revision,
        effective: None,
        redirect: None,
        installed,
        architecture: asker.architecture.clone(),
        waved: false,
    })
}

/// There is no such revision, or not for this device now.
fn no_revision(entry: &SnapEntry, asker: &Asker, revision: u64) -> ActionError {
    ActionError {
        code: "revision-not-found",
        message: format!(
            "cannot find revision {revision} of snap {:?} for {}",
            entry.record.name, asker.architecture
        ),
        releases: Vec::new(),
        snap: Some((entry.record.id.clone(), entry.record.name.clone())),
    }
}

fn no_channel(entry: &SnapEntry, error: &IdentError) -> ActionError {
    ActionError {
        code: "invalid-channel",
        message: format!("cannot find the revision: {error}"),
        releases: Vec::new(),
        snap: Some((entry.record.id.clone(), entry.record.name.clone())),
    }
}

fn cohort_time(app: &App, entry: &SnapEntry, key: Option<&str>) -> Option<Timestamp> {
    cohort::open(app, &entry.record.id, key?)
}

/// The device's place among all; strangers are behind everybody: what is not for all is not for them. Where all is for
/// all, nobody's place is worked out.
fn place(asker: &Asker, entry: &SnapEntry) -> f64 {
    let session = asker.session.as_ref();
    let session = session.filter(|_| entry.progressive);
    session.map_or(1.0, |session| chance(&session.device, &entry.record.id))
}

fn absent(code: &'static str, why: &str) -> ActionError {
    ActionError {
        code,
        message: format!("cannot find the snap: {why}"),
        releases: Vec::new(),
        snap: None,
    }
}

/// Nothing is released where the device asked. Branches are not told: who is to use one knows its name.
fn none_there(entry: &SnapEntry, asker: &Asker, now: Timestamp, asked: Option<&Channel>) -> ActionError {
    let listed = entry.record.releases.listed(now).into_iter();
    let listed = listed.map(|open| (&open.architecture, &open.channel));
    let pins = asker.pins(&entry.record.id).into_iter().flat_map(Pins::iter);
    let listed = listed.chain(pins.map(|pin| (&pin.architecture, &pin.channel)));
    let listed = listed.filter(|(_, channel)| channel.branch.is_none() || asked == Some(*channel));
    // Clients look for their own architecture in this list, to say whether another channel would do.
    let mut releases: Vec<(Architecture, Channel)> = listed
        .map(|(architecture, channel)| {
            let anywhere = *architecture == Architecture::ANY;
            let architecture = if anywhere {
                &asker.architecture
            } else {
                architecture
            };
            (architecture.clone(), channel.clone())
        })
        .collect();
    releases.dedup();
    ActionError {
        code: "revision-not-found",
        message: "no snap revision available as specified".to_owned(),
        releases,
        snap: Some((entry.record.id.clone(), entry.record.name.clone())),
    }
}
