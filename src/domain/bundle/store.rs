//! What a bundle of kind `store` says: a store with the stores its snaps are registered in, its snaps, the revisions of some
//! channels, and what is released there.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::access::StoreRecord;
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Channel, Override, Releases, RevisionRecord, Risk, SnapRecord};
use crate::domain::ident::{Architecture, BrandId, SnapId, SnapName, StoreId};

/// What the texts of a bundle (all but files of snaps) are together at most: they are held in memory.
pub const MAX_TEXTS: u64 = 32 << 20;
/// Where the assertions are that belong to no snap.
pub const SHARED: &str = "assertions/shared.assert";

/// Where the assertions of a snap are.
pub fn assertions_of(snap: &SnapId) -> String {
    format!("assertions/{snap}.assert")
}

/// Where the records of a snap are.
pub fn records_of(snap: &SnapId) -> String {
    format!("snaps/{snap}.json")
}

/// Channels that are chosen: a risk in all tracks, or one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channels {
    /// `stable`: the channel of this risk in every track; no branches.
    Risk(Risk),
    /// `2.0/edge`, `latest/stable/fix`: this one.
    One(Channel),
}

impl Channels {
    /// Whether `channel` is among them.
    pub fn include(&self, channel: &Channel) -> bool {
        match self {
            Self::Risk(risk) => channel.risk == *risk && channel.branch.is_none(),
            Self::One(one) => one == channel,
        }
    }
}

impl FromStr for Channels {
    type Err = crate::domain::ident::IdentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(risk) => Ok(Self::Risk(risk)),
            Err(_) => text.parse().map(Self::One),
        }
    }
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Risk(risk) => risk.fmt(f),
            Self::One(channel) => channel.fmt(f),
        }
    }
}

impl Serialize for Channels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Channels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a bundle speaks of. Of all else it says nothing, so an import leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundleScope {
    /// The channels; none: no revisions are in it.
    pub channels: Vec<Channels>,
    /// The architectures; none = all.
    pub architectures: BTreeSet<Architecture>,
    /// The snaps; none = all the store shows.
    pub snaps: BTreeSet<SnapName>,
}

impl BundleScope {
    /// Whether it speaks of what is released there. What runs anywhere is always meant.
    pub fn includes(&self, channel: &Channel, architecture: &Architecture) -> bool {
        let wanted = self.architectures.is_empty()
            || *architecture == Architecture::ANY
            || self.architectures.contains(architecture);
        wanted && self.channels.iter().any(|channels| channels.include(channel))
    }
}

/// A brand that stores of a bundle belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundledBrand {
    /// Its id.
    pub id: BrandId,
    /// For people.
    pub name: String,
    /// Its base store.
    pub base_store: StoreId,
}

/// A snap of a bundle, in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ListedSnap {
    /// Its id.
    pub id: SnapId,
    /// Its name.
    pub name: SnapName,
    /// The files that its records name.
    pub files: BTreeSet<BlobId>,
}

/// The body of the manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StoreBody {
    /// The store.
    pub store: StoreId,
    /// What it speaks of.
    pub scope: BundleScope,
    /// The brands of the stores.
    pub brands: Vec<BundledBrand>,
    /// The store, the one above it, and those its snaps are registered in or come from.
    pub stores: Vec<StoreRecord>,
    /// The snaps that were put into the store one by one, as far as they are in the bundle.
    pub included: BTreeSet<SnapId>,
    /// The snaps.
    pub snaps: Vec<ListedSnap>,
}

/// All of a snap but its files and assertions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundledSnap {
    /// The snap; what is released is what the bundle speaks of.
    pub snap: SnapRecord,
    /// The revisions that are named by that.
    pub revisions: Vec<RevisionRecord>,
    /// What the store pins.
    pub pins: Vec<Override>,
}

impl BundledSnap {
    /// The files that are named, with their lengths.
    pub fn files(&self) -> impl Iterator<Item = (BlobId, u64)> {
        let listing = &self.snap.listing;
        let icon = listing.icon.iter().map(|icon| (icon.blob, icon.size));
        let shots = listing.screenshots.iter().map(|shot| (shot.blob, shot.size));
        let revisions = self.revisions.iter().flat_map(|revision| {
            let components = revision.components.iter();
            let components = components.map(|component| (component.blob, component.size));
            components.chain([(revision.blob, revision.size)])
        });
        icon.chain(shots).chain(revisions)
    }
}

/// The revisions a channel map names: what is open, what stands in, what a part of the devices keeps, and what some have to
/// step through.
pub fn named(releases: &Releases) -> BTreeSet<u64> {
    let open = releases.open.iter().flat_map(|open| {
        let part = open.progressive.iter();
        let others = part.flat_map(|part| part.otherwise.into_iter().chain(part.given.iter().copied()));
        std::iter::once(open.revision).chain(others)
    });
    open.chain(releases.past.iter().map(|past| past.revision))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_risk_alone_means_all_tracks() {
        let scope = |channels: &[&str], architectures: &[&str]| BundleScope {
            channels: channels.iter().map(|text| text.parse().unwrap()).collect(),
            architectures: architectures.iter().map(|text| text.parse().unwrap()).collect(),
            snaps: BTreeSet::new(),
        };
        let includes = |scope: &BundleScope, channel: &str, architecture: &str| {
            scope.includes(&channel.parse().unwrap(), &architecture.parse().unwrap())
        };
        let stable = scope(&["stable"], &[]);
        for channel in ["stable", "latest/stable", "2.0/stable"] {
            assert!(includes(&stable, channel, "amd64"), "{channel}");
        }
        for channel in ["edge", "2.0/beta", "stable/fix"] {
            assert!(!includes(&stable, channel, "amd64"), "{channel}");
        }
        let one = scope(&["2.0/edge", "latest/stable/fix"], &["arm64"]);
        assert!(includes(&one, "2.0/edge", "arm64") && includes(&one, "2.0/edge", "all"));
        assert!(includes(&one, "stable/fix", "arm64") && !includes(&one, "stable", "arm64"));
        assert!(!includes(&one, "2.0/edge", "amd64") && !includes(&one, "edge", "arm64"));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<BundleScope>(&text).unwrap(), one);
        assert!("2.0/stable/a/b".parse::<Channels>().is_err());
    }
}
