//! The records of the catalogue.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::channel::Track;
use super::releases::Releases;
use super::screenshot::Screenshot;
use super::visible::Placed;
use crate::domain::blob::BlobId;
use crate::domain::ident::{AccountId, Architecture, BrandId, SnapId, SnapName, StoreId};
use crate::domain::review::ReviewState;
use crate::domain::snap::{ComponentType, Confinement, Epoch, SnapType};
use crate::domain::time::Timestamp;

/// What a store is for (admin-api.md 1.1). Base stores have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// For one product line or model of the brand.
    Product,
    /// For a partner of the brand.
    Ecosystem,
}

/// A beginning that names of snaps registered in a store must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapPrefix {
    /// The beginning.
    pub prefix: String,
    /// Whether stores below take it over.
    pub inheritable: bool,
}

/// A snap that an administrator put into a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inclusion {
    /// The store it was put into.
    pub store_id: StoreId,
    /// The snap.
    pub snap_id: SnapId,
    /// When.
    pub since: Timestamp,
}

/// What people read about a snap. Taken from the first revision, and from later ones until somebody edits it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Listing {
    /// At most 40 characters.
    pub title: Option<String>,
    /// At most 128 characters.
    pub summary: String,
    /// At most 4096 characters.
    pub description: String,
    /// An SPDX expression.
    pub license: Option<String>,
    /// The main page.
    pub website: Option<String>,
    /// Where to ask.
    pub contact: Option<String>,
    /// Further links, by kind.
    pub links: BTreeMap<String, Vec<String>>,
    /// Names of categories.
    pub categories: BTreeSet<String>,
    /// The icon, a blob.
    pub icon: Option<Icon>,
    /// The snap at work, in the order in which they are shown; at most [`Screenshot::MOST`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub screenshots: Vec<Screenshot>,
    /// Somebody edited it: revisions no longer change it.
    pub edited: bool,
    /// Who edited it last were the tools of the publisher, which may do it again; people's edits they must not undo.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_tools: bool,
}

impl Listing {
    /// The files of all its pictures, with their media types.
    pub fn pictures(&self) -> impl Iterator<Item = (BlobId, &str)> {
        let icon = self.icon.iter().map(|icon| (icon.blob, icon.media.as_str()));
        let shots = self.screenshots.iter();
        icon.chain(shots.map(|shot| (shot.blob, shot.media.as_str())))
    }
}

/// An icon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Icon {
    /// The file.
    pub blob: BlobId,
    /// Its media type.
    pub media: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A snap: its name, whose it is, what people read about it, what is released. Its declaration is an assertion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapRecord {
    /// Never changes.
    pub id: SnapId,
    /// Unique on the instance.
    pub name: SnapName,
    /// The brand whose base store it is registered in.
    pub brand_id: BrandId,
    /// That base store.
    pub store_id: StoreId,
    /// `publisher-id` of its declaration.
    pub publisher_id: AccountId,
    /// Who besides the publisher may upload and release.
    #[serde(default)]
    pub collaborators: BTreeSet<AccountId>,
    /// None until the first revision.
    #[serde(rename = "type")]
    pub kind: Option<SnapType>,
    /// Only for those who prove to belong to a store that shows it.
    pub private: bool,
    /// Its declaration names it no more: whoever asks, it is not there.
    #[serde(default)]
    pub revoked: bool,
    /// What people read.
    #[serde(default)]
    pub listing: Listing,
    /// The tracks besides `latest`.
    #[serde(default)]
    pub tracks: BTreeSet<Track>,
    /// Patterns of tracks that a publisher may make (regular expressions over the whole name).
    #[serde(default)]
    pub guardrails: Vec<String>,
    /// What a channel without a track means on installation; none = `latest`.
    #[serde(default)]
    pub default_track: Option<Track>,
    /// The aliases its declaration sets up.
    #[serde(default)]
    pub aliases: BTreeSet<String>,
    /// The snaps it gates: devices that have it take only revisions of them that its publisher validated.
    #[serde(default)]
    pub refresh_control: BTreeSet<SnapId>,
    /// The highest revision; they are dense from 1 on.
    pub newest_revision: u64,
    /// The highest revision of each component.
    #[serde(default)]
    pub newest_components: BTreeMap<String, u64>,
    /// What is where.
    #[serde(default)]
    pub releases: Releases,
    /// Its place in the shop window, from 1 on; none = it is not featured.
    #[serde(default)]
    pub featured: Option<u32>,
    /// When it was registered.
    pub created: Timestamp,
}

impl SnapRecord {
    /// What the visible-set rule needs to know.
    pub fn placed(&self) -> Placed<'_> {
        Placed {
            id: &self.id,
            name: &self.name,
            store: &self.store_id,
            private: self.private,
            revoked: self.revoked,
        }
    }
}

/// A component file that belongs to a revision of a snap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Component {
    /// Its name within the snap.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ComponentType,
    /// The revision of the component.
    pub revision: u64,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// For people.
    pub summary: String,
    /// The file.
    pub blob: BlobId,
    /// Its size in bytes.
    pub size: u64,
    /// When it was uploaded.
    pub created: Timestamp,
}

/// A revision of a snap: one file, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RevisionRecord {
    /// The snap.
    pub snap_id: SnapId,
    /// From 1 on.
    pub revision: u64,
    /// The file.
    pub blob: BlobId,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-512, lower-case hex.
    pub sha512: String,
    /// From `snap.yaml`.
    pub version: String,
    /// From `snap.yaml`.
    #[serde(rename = "type")]
    pub kind: SnapType,
    /// From `snap.yaml`.
    pub base: Option<String>,
    /// From `snap.yaml`; never empty.
    pub architectures: BTreeSet<Architecture>,
    /// From `snap.yaml`.
    pub confinement: Confinement,
    /// From `snap.yaml`.
    pub epoch: Epoch,
    /// From `snap.yaml`.
    pub grade: Option<String>,
    /// `global-upload`, or who signs its snap-revision by delegation.
    pub provenance: String,
    /// `meta/snap.yaml` as it stands in the file.
    pub snap_yaml: String,
    /// Identifiers of its applications for software centres.
    #[serde(default)]
    pub common_ids: Vec<String>,
    /// The names of its applications.
    #[serde(default)]
    pub apps: Vec<String>,
    /// The names of its hooks.
    #[serde(default)]
    pub hooks: BTreeSet<String>,
    /// The component files that go with it.
    #[serde(default)]
    pub components: Vec<Component>,
    /// Who uploaded it.
    pub developer_id: AccountId,
    /// When.
    pub created: Timestamp,
    /// Whether it may go to devices. Those from before reviews may.
    #[serde(default, skip_serializing_if = "ReviewState::is_approved")]
    pub review: ReviewState,
}

/// The text of a revision in a key: keys are ordered as texts.
pub fn revision_key(revision: u64) -> String {
    format!("{revision:010}")
}
