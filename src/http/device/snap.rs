//! The snap object of refresh, info and find (device-api.md 5.5). Everything is always sent: clients take what they
//! asked for, and a field that is missing where it was wanted breaks them.

use std::borrow::Cow;

use serde::Serialize;

use crate::app::App;
use crate::app::store::{SnapEntry, Text};
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Component, DeltaRecord, Icon, RevisionRecord, SnapRecord};
use crate::domain::ident::{Architecture, SnapId};
use crate::domain::snap::{Confinement, Epoch, SnapType};
use crate::domain::time::Timestamp;

/// A snap in one revision, without its `snap.yaml`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Snap<'a> {
    architectures: Vec<&'a Architecture>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    categories: Vec<Category<'a>>,
    common_ids: &'a [String],
    confinement: Confinement,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
    created_at: Timestamp,
    description: &'a str,
    download: Download,
    epoch: &'a Epoch,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
    links: &'a std::collections::BTreeMap<String, Vec<String>>,
    media: Vec<Media>,
    name: &'a str,
    /// Always empty: anything in it makes a snap a paid one.
    prices: Nothing,
    private: bool,
    publisher: Publisher<'a>,
    resources: Vec<Resource<'a>>,
    revision: u64,
    snap_id: &'a SnapId,
    summary: &'a str,
    title: &'a str,
    #[serde(rename = "type")]
    kind: SnapType,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    website: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Nothing {}

#[derive(Debug, Serialize)]
struct Category<'a> {
    name: &'a str,
    featured: bool,
}

/// A file to download.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Download {
    url: String,
    size: u64,
    sha3_384: BlobId,
    deltas: Vec<Delta>,
}

/// A file that makes the new snap out of what the device has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Delta {
    format: String,
    source: u64,
    target: u64,
    url: String,
    size: u64,
    sha3_384: BlobId,
}

#[derive(Debug, Serialize)]
pub(super) struct Media {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
    width: u32,
    height: u32,
}

/// Who publishes a snap.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Publisher<'a> {
    id: &'a str,
    username: &'a str,
    display_name: &'a str,
    validation: &'a str,
}

impl<'a> From<&'a crate::app::store::Publisher> for Publisher<'a> {
    fn from(publisher: &'a crate::app::store::Publisher) -> Self {
        Self {
            id: publisher.id.as_str(),
            username: &publisher.username,
            display_name: &publisher.display_name,
            validation: &publisher.validation,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Resource<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: String,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    created_at: Timestamp,
    description: &'a str,
    download: Download,
}

impl<'a> Snap<'a> {
    fn new(app: &App, entry: &'a SnapEntry, revision: &'a RevisionRecord) -> Self {
        let record = &entry.record;
        let listing = &record.listing;
        Self {
            architectures: revision.architectures.iter().collect(),
            base: revision.base.as_deref(),
            categories: listing
                .categories
                .iter()
                .map(|name| Category {
                    name,
                    featured: name == super::catalogue::FEATURED,
                })
                .collect(),
            common_ids: &revision.common_ids,
            confinement: revision.confinement,
            contact: listing.contact.as_deref(),
            created_at: revision.created,
            description: &listing.description,
            download: Download {
                url: snap_url(app, &record.id, revision.revision),
                size: revision.size,
                sha3_384: revision.blob,
                deltas: Vec::new(),
            },
            epoch: &revision.epoch,
            license: listing.license.as_deref(),
            links: &listing.links,
            media: listing
                .icon
                .iter()
                .map(|icon| media(app, &record.id, icon))
                .chain(screenshots(app, record))
                .collect(),
            name: record.name.as_str(),
            prices: Nothing {},
            private: record.private,
            publisher: Publisher::from(&entry.publisher),
            resources: revision
                .components
                .iter()
                .map(|component| resource(app, &record.id, component))
                .collect(),
            revision: revision.revision,
            snap_id: &record.id,
            summary: &listing.summary,
            title: listing.title.as_deref().unwrap_or(record.name.as_str()),
            kind: revision.kind,
            version: &revision.version,
            website: listing.website.as_deref(),
        }
    }
}

/// A revision as it goes to all devices; none if there is no such revision.
///
/// # Errors
/// If it cannot be written as JSON.
pub(super) fn text<'e>(
    app: &App,
    entry: &'e SnapEntry,
    revision: u64,
) -> serde_json::Result<Option<Cow<'e, Text>>> {
    entry.text(revision, |revision| {
        written(&Snap::new(app, entry, revision), revision)
    })
}

/// A revision for a device that has revision `source` and takes deltas in these formats. It is the same for all devices
/// unless there is a delta for this one.
///
/// # Errors
/// If it cannot be written as JSON.
pub(super) fn text_from<'e>(
    app: &App,
    entry: &'e SnapEntry,
    revision: u64,
    source: Option<u64>,
    formats: &[String],
) -> serde_json::Result<Option<Cow<'e, Text>>> {
    let source = source.filter(|source| entry.deltas.contains_key(&(*source, revision)));
    let Some(source) = source else {
        return text(app, entry, revision);
    };
    let revision = entry.revisions.get(&revision);
    revision
        .map(|revision| {
            let snap = Snap::new(app, entry, revision).with_delta(app, entry, source, formats);
            written(&snap, revision).map(Cow::Owned)
        })
        .transpose()
}

/// Only refreshes need the text of `snap.yaml`: it comes last, to be left out of everything else.
fn written(snap: &Snap<'_>, revision: &RevisionRecord) -> serde_json::Result<Text> {
    let names = serde_json::to_string(&Names {
        snap_id: snap.snap_id,
        name: snap.name,
    })?;
    let bare = serde_json::to_string(snap)?;
    let rest = format!(",\"snap-yaml\":{}}}", serde_json::to_string(&revision.snap_yaml)?);
    Ok(Text::new(
        inner(&names),
        bare.strip_suffix('}').unwrap_or(&bare),
        &rest,
    ))
}

/// What names a snap beside its object.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Names<'a> {
    snap_id: &'a SnapId,
    name: &'a str,
}

/// The members of an object, without its braces.
fn inner(object: &str) -> &str {
    let inner = object.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    inner.unwrap_or(object)
}

impl Snap<'_> {
    /// The same with the deltas from `source`, in formats the client takes.
    fn with_delta(mut self, app: &App, entry: &SnapEntry, source: u64, formats: &[String]) -> Self {
        let delta = entry.deltas.get(&(source, self.revision));
        let delta = delta.filter(|delta| formats.contains(&delta.format));
        if let Some((delta, file)) = delta.and_then(|delta| Some((delta, delta.file.as_ref()?))) {
            let DeltaRecord {
                snap_id,
                source,
                target,
                format,
                ..
            } = delta;
            self.download.deltas.push(Delta {
                format: format.clone(),
                source: *source,
                target: *target,
                url: format!(
                    "{}/download/{snap_id}_{source}_{target}.{format}",
                    app.settings.public_url
                ),
                size: file.size,
                sha3_384: file.blob,
            });
        }
        self
    }
}

fn resource<'a>(app: &App, snap: &SnapId, component: &'a Component) -> Resource<'a> {
    let Component { name, revision, .. } = component;
    Resource {
        name,
        kind: format!("component/{}", component.kind),
        revision: *revision,
        version: component.version.as_deref(),
        created_at: component.created,
        description: &component.summary,
        download: Download {
            url: format!(
                "{}/download/{snap}+{name}_{revision}.comp",
                app.settings.public_url
            ),
            size: component.size,
            sha3_384: component.blob,
            deltas: Vec::new(),
        },
    }
}

/// Where a picture is served. Pictures are fetched without any credential: what names them is their content.
pub(in crate::http) fn picture_url(app: &App, snap: &SnapId, picture: BlobId) -> String {
    format!("{}/download/{snap}/{picture}", app.settings.public_url)
}

/// The screenshots of a snap, as all devices and software centres see them.
pub(super) fn screenshots(app: &App, snap: &SnapRecord) -> impl Iterator<Item = Media> {
    snap.listing.screenshots.iter().map(|shot| Media {
        kind: "screenshot",
        url: picture_url(app, &snap.id, shot.blob),
        width: shot.width,
        height: shot.height,
    })
}

fn media(app: &App, snap: &SnapId, icon: &Icon) -> Media {
    Media {
        kind: "icon",
        url: picture_url(app, snap, icon.blob),
        // Not known for every format; clients do not use it.
        width: 0,
        height: 0,
    }
}

fn snap_url(app: &App, snap: &SnapId, revision: u64) -> String {
    format!("{}/download/{snap}_{revision}.snap", app.settings.public_url)
}
