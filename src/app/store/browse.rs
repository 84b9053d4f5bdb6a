//! Looking around: the channel map of one snap, searches, names and categories (device-api.md 7).

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::asker::Asker;
use super::entry::{Question, SnapEntry};
use super::view::Snapshot;
use crate::domain::catalog::{Channel, Offer, Pins, RevisionRecord, Risk, SnapRecord, Track, chance};
use crate::domain::ident::{Architecture, SnapName};
use crate::domain::snap::Confinement;
use crate::domain::time::Timestamp;

/// Results of one search.
const MOST_RESULTS: usize = 250;
/// The category that an empty search shows.
pub const FEATURED: &str = "featured";

/// What a channel shows to who asks.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'c> {
    /// The channel.
    pub channel: &'c Channel,
    /// Since when it shows this.
    pub since: Timestamp,
    /// The revision the asker would get.
    pub revision: &'c RevisionRecord,
}

/// The channel map for an architecture: the default track first, then `latest`, then the others; safest risk first.
/// Branches are not shown: who is to use one is told its name.
pub fn channel_map<'c>(
    entry: &'c SnapEntry,
    asker: &'c Asker,
    architecture: &Architecture,
    now: Timestamp,
) -> Vec<Shown<'c>> {
    shown(entry, asker, architecture, now).collect()
}

/// The entries of [`channel_map`], each looked for when it is asked for. What the asker's store pins stands in the place of
/// what was released, or beside it.
fn shown<'c>(
    entry: &'c SnapEntry,
    asker: &'c Asker,
    architecture: &Architecture,
    now: Timestamp,
) -> impl Iterator<Item = Shown<'c>> {
    let releases = &entry.record.releases;
    let pins = asker.pins(&entry.record.id);
    let place = place(entry, asker);
    let mut channels: Vec<&'c Channel> = releases
        .listed(now)
        .into_iter()
        .map(|open| &open.channel)
        .chain(pins.into_iter().flat_map(Pins::iter).map(|pin| &pin.channel))
        .filter(|channel| channel.branch.is_none())
        .collect();
    if pins.is_some() {
        let latest = Track::default();
        channels.sort_by(|one, other| {
            let order = |channel: &'c Channel| (channel.track != latest, &channel.track, channel.risk);
            order(one).cmp(&order(other))
        });
    }
    channels.dedup();
    let default = entry.record.default_track.clone().unwrap_or_default();
    channels.sort_by_key(|channel| channel.track != default);
    channels.into_iter().filter_map(move |channel| {
        let (number, since) = match pins.and_then(|pins| pins.held(architecture, channel)) {
            Some(pin) => (pin.revision, pin.since),
            None => {
                let found = releases.find(architecture, channel, now, place)?;
                (found.channel == *channel).then_some((found.revision, found.release.released))?
            }
        };
        Some(Shown {
            channel,
            since,
            revision: entry.revisions.get(&number)?,
        })
    })
}

/// Where the asker's device stands among those that get a progressive release; 1 = behind all.
fn place(entry: &SnapEntry, asker: &Asker) -> f64 {
    let session = asker.session.as_ref().filter(|_| entry.progressive);
    session.map_or(1.0, |session| chance(&session.device, &entry.record.id))
}

/// One snap as the asker would get it: from `channel`, or a safer one where that is closed; where none is named, the first
/// of its channel map. None where the asker does not see it, or there is nothing.
pub fn details(
    catalog: &Snapshot,
    asker: &Asker,
    name: &SnapName,
    channel: Option<&Channel>,
    now: Timestamp,
) -> Option<Hit> {
    let entry = catalog.by_name(name, asker.viewer())?;
    let Some(channel) = channel else {
        return installable(entry, asker, None, &[], now);
    };
    let releases = &entry.record.releases;
    let found = releases.find(&asker.architecture, channel, now, place(entry, asker));
    let found = found.map(|found| (found.revision, found.channel));
    let (revision, channel) = match asker.pins(&entry.record.id) {
        Some(pins) => pins.instead(&asker.architecture, channel, found),
        None => found,
    }?;
    Some(Hit {
        entry: Arc::clone(entry),
        revision,
        channel,
    })
}

/// A search.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Words that all must be in it.
    pub words: Option<String>,
    /// How its name begins.
    pub name: Option<String>,
    /// An identifier of one of its applications.
    pub common_id: Option<String>,
    /// Its category.
    pub category: Option<String>,
    /// Only private ones.
    pub private: bool,
    /// Only what is in this risk, of the default track.
    pub risk: Option<Risk>,
    /// Only these; empty = all.
    pub confinement: Vec<Confinement>,
}

/// A result of a search.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The snap.
    pub entry: Arc<SnapEntry>,
    /// The revision the asker would get.
    pub revision: u64,
    /// Where from.
    pub channel: Channel,
}

/// The best results, the best first.
pub fn find(catalog: &Snapshot, asker: &Asker, search: &Search, now: Timestamp) -> Vec<Hit> {
    let wanted = search.words.as_deref().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = wanted.split_whitespace().collect();
    let texts: Vec<&str> = words.iter().copied().chain(search.name.as_deref()).collect();
    let mut hits: Vec<(u8, &Arc<SnapEntry>)> = catalog
        .may_contain(&texts)
        .into_iter()
        // What it contains first: who sees it is the dearer question.
        .filter(|entry| fits(entry, search, &words) && catalog.sees(entry, asker.viewer()))
        .map(|entry| (rank(entry, &wanted), entry))
        .collect();
    // Without a featured snap an empty search shows what there is: a brand's store is small.
    if hits.is_empty() && search.category.as_deref() == Some(FEATURED) {
        let all = Search {
            category: None,
            ..search.clone()
        };
        return find(catalog, asker, &all, now);
    }
    let featured = search.category.as_deref() == Some(FEATURED);
    hits.sort_by_cached_key(|(rank, entry)| {
        let place = entry.record.featured.filter(|_| featured);
        (Reverse(*rank), place, entry.record.name.clone())
    });
    hits.into_iter()
        .filter_map(|(_, entry)| installable(entry, asker, search.risk, &search.confinement, now))
        .take(MOST_RESULTS)
        .collect()
}

/// What the asker would get of a snap: the first entry of its channel map, in one of these confinements (none = any).
fn installable(
    entry: &Arc<SnapEntry>,
    asker: &Asker,
    risk: Option<Risk>,
    confinement: &[Confinement],
    now: Timestamp,
) -> Option<Hit> {
    let best = || {
        let default = entry.record.default_track.clone().unwrap_or_default();
        let shown = shown(entry, asker, &asker.architecture, now).find(|shown| {
            let channel = shown.channel;
            risk.is_none_or(|risk| channel.track == default && channel.risk <= risk)
        })?;
        Some(Offer {
            revision: shown.revision.revision,
            channel: shown.channel.clone(),
        })
    };
    // What is kept is for all stores.
    let Offer { revision, channel } = if asker.pins(&entry.record.id).is_some() {
        best()?
    } else {
        let question = Question::Shows(asker.architecture.clone(), risk);
        entry.offered(&question, best)?.into_owned().offer
    };
    let found = entry.revisions.get(&revision)?;
    let allowed = confinement.is_empty() || confinement.contains(&found.confinement);
    allowed.then(|| Hit {
        entry: Arc::clone(entry),
        revision,
        channel,
    })
}

fn fits(entry: &SnapEntry, search: &Search, words: &[&str]) -> bool {
    let record = &entry.record;
    (!search.private || record.private)
        && words.iter().all(|word| entry.search_text.contains(word))
        && search
            .name
            .as_ref()
            .is_none_or(|name| record.name.as_str().starts_with(name.as_str()))
        && search
            .category
            .as_ref()
            .is_none_or(|category| in_category(record, category))
        && search.common_id.as_ref().is_none_or(|id| {
            let newest = entry.revisions.values().next_back();
            newest.is_some_and(|revision| revision.common_ids.contains(id))
        })
}

/// Publishers choose the categories of their snaps, the operator what is featured.
fn in_category(snap: &SnapRecord, category: &str) -> bool {
    match category {
        FEATURED => snap.featured.is_some(),
        other => snap.listing.categories.contains(other),
    }
}

/// How good a result is: the name itself, a name that begins so, a name that contains it, anything else.
fn rank(entry: &SnapEntry, wanted: &str) -> u8 {
    let name = entry.record.name.as_str();
    if wanted.is_empty() {
        0
    } else if name == wanted {
        3
    } else if name.starts_with(wanted) {
        2
    } else {
        u8::from(name.contains(wanted))
    }
}

/// The categories of all snaps the asker sees, and [`FEATURED`].
pub fn categories(catalog: &Snapshot, asker: &Asker) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = catalog
        .seen(asker.viewer())
        .flat_map(|entry| entry.record.listing.categories.iter().cloned())
        .collect();
    names.insert(FEATURED.to_owned());
    names
}

/// All snaps the asker could install, by name.
pub fn names(catalog: &Snapshot, asker: &Asker, confinement: &[Confinement], now: Timestamp) -> Vec<Hit> {
    let mut hits: Vec<Hit> = catalog
        .seen(asker.viewer())
        .filter_map(|entry| installable(entry, asker, None, confinement, now))
        .collect();
    hits.sort_by(|one, other| one.entry.record.name.cmp(&other.entry.record.name));
    hits
}
