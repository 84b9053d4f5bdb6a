//! Fills the catalogue of a stopped server, through the storage port: snaps, revisions, releases, declarations.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;

use crate::adapters::sled::{Sled, SledOptions};
use crate::cli::line::Device;
use crate::domain::assertion::{AssertionType, Headers, Ref};
use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::catalog::{
    CatalogHead, Changed, Channel, Listing, Release, Releases, RevisionRecord, Risk, SnapRecord, Track,
};
use crate::domain::ident::{Architecture, BrandId, SnapId, SnapName};
use crate::domain::review::ReviewState;
use crate::domain::snap::{Confinement, Epoch, SnapType};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, PutRule, Storage, StoredAssertion};

/// Architectures every snap has.
pub(super) const ARCHITECTURES: [&str; 4] = ["amd64", "arm64", "armhf", "riscv64"];
/// Revisions every snap has for each of them: an older one in the channels of track `2.0`, a newer in those of `latest`.
pub(super) const REVISIONS: u64 = 2;
/// Snaps with the same topic are one in this many.
pub(super) const TOPICS: usize = 100;
/// Snaps in one commit.
const CHUNK: usize = 20;
const OLDER_TRACK: &str = "2.0";

/// The id of a snap of the catalogue.
pub(super) fn snap_id(number: usize) -> anyhow::Result<SnapId> {
    Ok(format!("bench{number:027}").parse()?)
}

/// The name of a snap of the catalogue.
pub(super) fn snap_name(number: usize) -> anyhow::Result<SnapName> {
    Ok(format!("bench-snap-{number:05}").parse()?)
}

/// A word that one in [`TOPICS`] snaps has in its summary.
pub(super) fn topic(number: usize) -> String {
    format!("topic{:02}", number % TOPICS)
}

/// The revision of the first architecture in the channels of `latest`, or before it.
pub(super) fn revision(newest: bool) -> u64 {
    if newest { ARCHITECTURES.len() as u64 + 1 } else { 1 }
}

/// Adds snaps with these numbers. Their declarations are copies of one signed with the key of `signer`: nobody
/// verifies them again.
pub(super) async fn load(
    database: &Path,
    brand: &BrandId,
    signer: &Device,
    numbers: Range<usize>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let storage = Sled::open(&SledOptions::new(database))?;
    let shelf = Shelf::new(brand, signer, now)?;
    for start in numbers.clone().step_by(CHUNK) {
        let chunk = start..numbers.end.min(start + CHUNK);
        let mut commit = Commit::default();
        for number in chunk.clone() {
            shelf.stock(&mut commit, number)?;
        }
        let changed = chunk.map(snap_id).collect::<anyhow::Result<Vec<_>>>()?;
        finish(&storage, commit, changed).await?;
    }
    storage.close().await?;
    Ok(())
}

/// Adds one snap whose only revision is a file of the store: its id.
pub(super) async fn load_file(
    database: &Path,
    brand: &BrandId,
    file: &BlobDigest,
    now: Timestamp,
) -> anyhow::Result<SnapId> {
    let storage = Sled::open(&SledOptions::new(database))?;
    let id: SnapId = "benchfile"
        .repeat(4)
        .chars()
        .take(32)
        .collect::<String>()
        .parse()?;
    let record = snap(id.clone(), "bench-file".parse()?, brand, String::new(), now)?;
    let mut revision = revision_record(&record, 1, "amd64".parse()?, now);
    revision.blob = file.id;
    revision.size = file.size;
    let mut commit = Commit::default();
    commit.records.push(Change::create(&record));
    commit.records.push(Change::create(&revision));
    finish(&storage, commit, vec![id.clone()]).await?;
    storage.close().await?;
    Ok(id)
}

/// Commits with a new head of the catalogue.
async fn finish(
    storage: &(dyn Storage + 'static),
    mut commit: Commit,
    changed: Vec<SnapId>,
) -> anyhow::Result<()> {
    let head = storage.find::<CatalogHead>(["head"]).await?;
    let changed = changed.into_iter().map(Changed::Snap);
    commit.records.push(match head {
        Some(found) => Change::replace(&found.record.after(changed), found.version),
        None => Change::create(&CatalogHead::default().after(changed)),
    });
    match storage.commit(commit).await? {
        CommitOutcome::Done => Ok(()),
        other => bail!("cannot fill the catalogue: {other:?}"),
    }
}

/// What all snaps of the catalogue have in common.
struct Shelf {
    brand: BrandId,
    declaration: String,
    open: Vec<(Architecture, Channel, u64)>,
    now: Timestamp,
}

impl Shelf {
    fn new(brand: &BrandId, signer: &Device, now: Timestamp) -> anyhow::Result<Self> {
        let mut headers = Headers::default();
        for (name, value) in [
            ("authority-id", brand.as_str()),
            ("series", "16"),
            ("snap-id", snap_id(0)?.as_str()),
            ("snap-name", snap_name(0)?.as_str()),
            ("publisher-id", brand.as_str()),
        ] {
            headers.set(name, value);
        }
        headers.set("timestamp", now.to_string());
        let signed = signer.signed(AssertionType::SnapDeclaration, headers, now)?;
        let mut open = Vec::new();
        for (place, architecture) in (1..).zip(ARCHITECTURES) {
            let architecture: Architecture = architecture.parse()?;
            for (track, revision) in [
                (Track::default(), place + ARCHITECTURES.len() as u64),
                (OLDER_TRACK.parse()?, place),
            ] {
                let channels = Risk::ALL.map(|risk| Channel::new(track.clone(), risk));
                open.extend(channels.map(|channel| (architecture.clone(), channel, revision)));
            }
        }
        Ok(Self {
            brand: brand.clone(),
            declaration: String::from_utf8(signed).context("cannot read a declaration")?,
            open,
            now,
        })
    }

    /// A snap with everything that belongs to it.
    fn stock(&self, commit: &mut Commit, number: usize) -> anyhow::Result<()> {
        let (id, name) = (snap_id(number)?, snap_name(number)?);
        let summary = format!("Reads what sensors say and tells others, {}", topic(number));
        let mut record = snap(id.clone(), name.clone(), &self.brand, summary, self.now)?;
        record.tracks = BTreeSet::from([OLDER_TRACK.parse()?]);
        record.newest_revision = REVISIONS * ARCHITECTURES.len() as u64;
        record.releases = Releases {
            open: self
                .open
                .iter()
                .map(|(architecture, channel, revision)| Release {
                    architecture: architecture.clone(),
                    channel: channel.clone(),
                    revision: *revision,
                    progressive: None,
                    released: self.now,
                    expires: None,
                })
                .collect(),
            past: Vec::new(),
        };
        commit.records.push(Change::create(&record));
        for (revision, architecture) in (1..=record.newest_revision).zip(ARCHITECTURES.iter().cycle()) {
            let revision = revision_record(&record, revision, architecture.parse()?, self.now);
            commit.records.push(Change::create(&revision));
        }
        let declaration = self
            .declaration
            .replacen(
                &format!("\nsnap-id: {}\n", snap_id(0)?),
                &format!("\nsnap-id: {id}\n"),
                1,
            )
            .replacen(
                &format!("\nsnap-name: {}\n", snap_name(0)?),
                &format!("\nsnap-name: {name}\n"),
                1,
            );
        let stored = StoredAssertion {
            reference: Ref::new(AssertionType::SnapDeclaration, ["16", id.as_str()]),
            format: 0,
            revision: 0,
            encoded: Bytes::from(declaration),
        };
        commit.assertions.push((stored, PutRule::Newer));
        Ok(())
    }
}

fn snap(
    id: SnapId,
    name: SnapName,
    brand: &BrandId,
    summary: String,
    now: Timestamp,
) -> anyhow::Result<SnapRecord> {
    let website = format!("https://{name}.example");
    Ok(SnapRecord {
        listing: Listing {
            title: Some(name.to_string()),
            summary,
            description: "It has been made to be measured, and is as long as people write them.\n".repeat(8),
            license: Some("Apache-2.0".to_owned()),
            website: Some(website.clone()),
            links: BTreeMap::from([("website".to_owned(), vec![website])]),
            categories: BTreeSet::from(["devices-and-iot".to_owned()]),
            ..Listing::default()
        },
        id,
        name,
        brand_id: brand.clone(),
        // The base store that `init` made is named after the brand.
        store_id: brand.as_str().parse()?,
        publisher_id: brand.clone().into(),
        collaborators: BTreeSet::new(),
        kind: Some(SnapType::App),
        private: false,
        revoked: false,
        tracks: BTreeSet::new(),
        guardrails: Vec::new(),
        default_track: None,
        aliases: BTreeSet::new(),
        refresh_control: BTreeSet::new(),
        newest_revision: 1,
        newest_components: BTreeMap::new(),
        releases: Releases::default(),
        featured: None,
        created: now,
    })
}

fn revision_record(
    snap: &SnapRecord,
    revision: u64,
    architecture: Architecture,
    now: Timestamp,
) -> RevisionRecord {
    let apps = ["daemon", "cli", "probe"];
    let mut yaml = format!(
        "name: {}\nversion: '{revision}.0'\nsummary: {}\ndescription: |\n  It has been made to be measured.\n\
         base: core24\ngrade: stable\nconfinement: strict\narchitectures: [{architecture}]\napps:\n",
        snap.name, snap.listing.summary
    );
    for app in apps {
        yaml.push_str(&format!(
            "  {app}:\n    command: bin/{app}\n    daemon: simple\n    restart-condition: always\n    \
             plugs: [network, network-bind, hardware-observe, serial-port]\n    environment:\n      \
             LD_LIBRARY_PATH: $SNAP/usr/lib:$SNAP/lib\n      HOME: $SNAP_DATA\n"
        ));
    }
    RevisionRecord {
        snap_id: snap.id.clone(),
        revision,
        blob: BlobId::of(format!("{}-{revision}", snap.id).as_bytes()),
        size: 20 << 20,
        sha512: "0".repeat(128),
        version: format!("{revision}.0"),
        kind: SnapType::App,
        base: Some("core24".to_owned()),
        architectures: BTreeSet::from([architecture]),
        confinement: Confinement::Strict,
        epoch: Epoch::default(),
        grade: Some("stable".to_owned()),
        provenance: "global-upload".to_owned(),
        snap_yaml: yaml,
        common_ids: Vec::new(),
        apps: apps.map(str::to_owned).to_vec(),
        hooks: BTreeSet::new(),
        components: Vec::new(),
        developer_id: snap.publisher_id.clone(),
        created: now,
        review: ReviewState::Approved,
    }
}
