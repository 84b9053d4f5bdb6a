//! Taking a snap in: from staged files to a revision that devices can install. All that the revision is (records,
//! assertions, what the audit log says) is one commit; its files are kept before it. So a crash leaves the whole
//! revision, or files that nothing names, which `hallmark doctor --repair` clears away.

mod files;
mod intake;
pub(super) mod signing;
mod turns;

pub use intake::{Intake, MAX_COMPONENTS};
pub(super) use intake::{too_large, too_many_components};
pub use signing::DEFAULT_KEY;
pub use turns::Turns;

use bytes::Bytes;
use serde_json::json;

use super::changes::apply;
use super::register::{self, NewSnap, declaration_of, refuse_name, registrant};
use super::releases::{self, NewRelease};
use super::snaps::revision;
use super::{garbage, no_snap, publishers, push, review};
use crate::app::{App, BrandCtx, Leave, Refusal, brands, vault_event};
use crate::domain::access::Permission;
use crate::domain::assertion::Assertion;
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Changed, Channel, Component, Icon, RevisionRecord, SnapRecord, may_be};
use crate::domain::ident::{KeyName, SnapName, StoreId};
use crate::domain::review::{ReviewRecord, ReviewState};
use crate::domain::snap::SnapYaml;
use crate::ports::{Change, Commit, CommitOutcome, Kind, Staged, Versioned};
use files::Reading;
use signing::Case;

/// How often an upload is planned anew because somebody else changed the snap meanwhile.
const ATTEMPTS: usize = 100;

/// What shall become of uploaded files.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// The base store, for a snap that is not registered yet; none = the brand's.
    pub store: Option<StoreId>,
    /// The publisher, for a snap that is not registered yet; none = the caller.
    pub publisher: Option<String>,
    /// A snap that is not registered yet becomes private.
    pub private: bool,
    /// Where the revision is released to at once.
    pub channels: Vec<Channel>,
    /// Only to this part of the devices, out of 100.
    pub percentage: Option<f64>,
    /// The brand key that signs where the snap-declaration delegates to the brand; none = [`DEFAULT_KEY`].
    pub key: Option<KeyName>,
    /// The name the file was announced under, where that was done; none = what it says itself.
    pub name: Option<SnapName>,
    /// The size of the snap that was announced, in bytes.
    pub size: Option<u64>,
    /// The names the components were announced under, in the order of their files; empty = what they say themselves.
    pub components: Vec<String>,
    /// The push they came with, by the hash of its upload id: it is over with the commit of the revision.
    pub push: Option<String>,
}

/// What became of them.
#[derive(Clone, Debug)]
pub struct Ingested {
    /// The snap.
    pub snap: SnapRecord,
    /// The revision. Where it stands on its way to devices is part of it.
    pub revision: RevisionRecord,
    /// What the automatic checks found, and what waits for a reviewer; none for what the operator uploads.
    pub review: Option<ReviewRecord>,
    /// Whether it is new; the same files again are the same revision.
    pub new: bool,
    /// What was left out of the files, and why.
    pub remarks: Vec<String>,
}

/// What can be said before the files have arrived.
///
/// # Errors
/// As [`ingest`], as far as it is known by now.
pub async fn foresee(app: &App, ctx: &BrandCtx, upload: &Upload) -> Result<(), Refusal> {
    // With a snap that is known by name, leave is a matter of that snap.
    if !upload.channels.is_empty() && upload.name.is_none() && !ctx.may(Permission::SnapRelease) {
        return Err(Refusal::not_found(
            "cannot release what is uploaded: your role or token does not allow it",
        ));
    }
    ctx.check_channels(&upload.channels)?;
    if let Some(store) = &upload.store {
        let found = brands::store(app, ctx, store).await?;
        if found.record.parent.is_some() {
            return Err(Refusal::invalid(
                "not-a-base-store",
                format!(
                    "cannot add snaps to store {store}: it only shows snaps of other stores; name a base store"
                ),
            ));
        }
    }
    Ok(())
}

/// Makes a revision of the files: the snap first, then its components. Registers the name if it is not registered yet.
/// The same files again answer with the revision they are. What the operator uploads is approved by that; everything else
/// goes through the automatic checks, and by their result and the policy of the store it is approved at once, waits for a
/// reviewer, or is refused (`review`): then it has its number, but nothing is signed, released or shown. Files may take
/// long to come and to look into: leave must hold still when all of them are there, and when they are written down.
///
/// # Errors
/// What [`Leave::now`] refuses;
/// `invalid-snap`, `invalid-snap-yaml`, `invalid-component`; `type-differs`, `store-differs`, `publisher-differs`;
/// `file-taken`, `components-differ`; `assertion-required`, `not-delegated` where our root does not sign; what
/// [`register::register`] and [`releases::release`] refuse.
pub async fn ingest(
    app: &App,
    leave: impl Into<Leave<'_>>,
    upload: &Upload,
    staged: Vec<Box<dyn Staged>>,
) -> Result<Ingested, Refusal> {
    let leave = leave.into();
    let mut ctx = leave.now(app, Permission::SnapPublish).await?;
    foresee(app, &ctx, upload).await?;
    let reading = files::read(app, &staged).await?;
    upload.check_components(&reading)?;
    let mut icon_file = icon(app, &reading).await?;
    let icon = icon_file.as_ref().map(|(_, icon)| icon.clone());
    let mut files = Some(staged);
    let mut turn = None;
    for attempt in 0..ATTEMPTS {
        // Who was overtaken once waits for its turn: with many at once the same one could lose every time.
        if attempt > 0 && turn.is_none() {
            turn = Some(app.guard.turns.wait(&reading.yaml.name).await);
        }
        let plan = plan(app, &ctx, upload, &reading, icon.as_ref()).await?;
        // What is refused above never reaches the store of files; what is written below needs its files there.
        for file in files.take().into_iter().flatten() {
            file.keep().await?;
        }
        // One attempt may show it where another did not: somebody else describes the snap meanwhile.
        if icon.is_some()
            && plan.shows(icon.as_ref())
            && let Some((file, _)) = icon_file.take()
        {
            file.keep().await?;
        }
        // What was planned is written down only for who may still do it, by the same rights.
        let now = leave.now(app, Permission::SnapPublish).await?;
        if now != ctx {
            ctx = now;
            continue;
        }
        let New {
            snap,
            revision,
            review,
            mut commit,
            replaced,
        } = match plan {
            Plan::Known(snap, revision) => {
                match known(app, &ctx, upload, *snap, *revision, &reading).await? {
                    Some(ingested) => return Ok(ingested),
                    None => continue,
                }
            }
            Plan::New(new) => *new,
        };
        if let Some(id) = &upload.push {
            push::fulfil(app, id, revision.revision, &mut commit).await?;
        }
        match apply(app, commit, &[Changed::Snap(snap.id.clone())]).await? {
            CommitOutcome::Done => {
                if let Some(icon) = replaced {
                    garbage::unnamed(app, icon).await;
                }
                return Ok(Ingested {
                    snap,
                    revision,
                    review,
                    new: true,
                    remarks: reading.remarks,
                });
            }
            // Somebody else was faster: with the name, the number, or the very file. Or the push was renewed.
            overtaken @ (CommitOutcome::Conflict {
                kind: Kind::Snap | Kind::SnapRevision | Kind::Review | Kind::Push | Kind::Upload,
                ..
            }
            | CommitOutcome::Taken {
                kind: Kind::Snap | Kind::Review,
                ..
            }
            | CommitOutcome::OldRevision { .. }) => {
                tracing::debug!(snap = %snap.name, attempt, ?overtaken, "an upload was overtaken");
            }
            outcome => App::settle(&outcome)?,
        }
    }
    Err(App::changed_meanwhile())
}

/// The files are a revision already: it is released where that is asked for, and with that the push is over. None if it
/// was decided about meanwhile, or the push was renewed.
async fn known(
    app: &App,
    ctx: &BrandCtx,
    upload: &Upload,
    mut snap: SnapRecord,
    revision: RevisionRecord,
    reading: &Reading,
) -> Result<Option<Ingested>, Refusal> {
    let mut review = review::record_of(app, &snap, revision.revision)
        .await?
        .map(|found| found.record);
    if let Some(new) = upload.release_of(revision.revision) {
        let mut also = Commit::default();
        if let Some(id) = &upload.push {
            push::fulfil(app, id, revision.revision, &mut also).await?;
        }
        if revision.review.is_open() {
            review = review::redirect(app, ctx, &snap, &revision, &new, also).await?;
            if review.is_none() {
                return Ok(None);
            }
        } else {
            match releases::release_with(app, ctx, &snap.name, &new, &also).await? {
                Some(released) => snap = released,
                None => return Ok(None),
            }
        }
    }
    Ok(Some(Ingested {
        snap,
        revision,
        review,
        new: false,
        remarks: reading.remarks.clone(),
    }))
}

impl Upload {
    fn check_components(&self, reading: &Reading) -> Result<(), Refusal> {
        let names = reading
            .components
            .iter()
            .map(|component| &component.yaml.component);
        match self.components.iter().zip(names).find(|(said, is)| said != is) {
            Some((said, is)) => Err(Refusal::invalid(
                "component-differs",
                format!("cannot add the file as component {said}: it says its name is {is}"),
            )),
            None => Ok(()),
        }
    }

    fn release_of(&self, revision: u64) -> Option<NewRelease> {
        (!self.channels.is_empty()).then(|| NewRelease {
            revision,
            channels: self.channels.clone(),
            percentage: self.percentage,
            pause: None,
        })
    }
}

/// What an upload comes to, as things stand.
enum Plan {
    /// The files are this revision already.
    Known(Box<SnapRecord>, Box<RevisionRecord>),
    /// They become a new one.
    New(Box<New>),
}

/// A revision that is to be.
struct New {
    snap: SnapRecord,
    revision: RevisionRecord,
    review: Option<ReviewRecord>,
    commit: Commit,
    /// An icon that the snap shows no more.
    replaced: Option<BlobId>,
}

impl Plan {
    /// Whether this icon of the file is shown, now or once the revision is approved.
    fn shows(&self, icon: Option<&Icon>) -> bool {
        match self {
            Self::Known(snap, _) => snap.listing.icon.as_ref() == icon,
            Self::New(new) => {
                let waiting = new.review.as_ref().and_then(|review| review.icon.as_ref());
                new.snap.listing.icon.as_ref() == icon || waiting == icon
            }
        }
    }
}

async fn plan(
    app: &App,
    ctx: &BrandCtx,
    upload: &Upload,
    reading: &Reading,
    icon: Option<&Icon>,
) -> Result<Plan, Refusal> {
    let brand = brands::show(app, ctx).await?;
    let mut commit = Commit::default();
    if let Some(name) = upload.name.as_ref().filter(|name| **name != reading.yaml.name) {
        return Err(Refusal::conflict(
            "name-differs",
            format!(
                "cannot add this file to {name}: it says its name is {}",
                reading.yaml.name
            ),
        ));
    }
    // Before the name is looked up: whoever uploads the same file now registers the name with it.
    let file = reading.file();
    let known = signing::known(app, file).await?;
    let (mut snap, version, declaration) = target(app, ctx, upload, reading, &mut commit).await?;
    if let Some(known) = &known {
        if known.snap_id != snap.id.as_str() {
            return Err(Refusal::conflict(
                "file-taken",
                format!(
                    "cannot add this file to {}: it is a revision of another snap",
                    snap.name
                ),
            ));
        }
        signing::same_size("the snap", known.snap_size, reading.digest.size)?;
        if let Some(found) = revision(app, &snap, known.snap_revision).await? {
            return same_components(snap, found, reading);
        }
    } else if let Some(number) = review::number_of(app, &snap, file).await?
        && let Some(found) = revision(app, &snap, number).await?
    {
        return same_components(snap, found, reading);
    }
    let case = Case {
        app,
        ctx,
        snap: &snap,
        file,
    };
    let key = upload.key.as_ref();
    let numbered = signing::number(case, &declaration, known.as_ref(), brand.delegated, key).await?;
    let mut components = Vec::new();
    for component in &reading.components {
        let name = component.yaml.component.clone();
        let (blob, size) = (component.digest.id, component.digest.size);
        components.push(Component {
            revision: signing::component_number(case, &name, blob, size).await?,
            name,
            kind: component.yaml.kind,
            version: component.version.clone(),
            summary: component.summary.clone(),
            blob,
            size,
            created: app.clock.now(),
        });
    }
    let mut revision = record(app, &snap, reading, &numbered, components);
    let imported = known.is_some();
    let mut review = review::begin(app, ctx, upload, (&snap, &revision), &declaration, imported).await?;
    revision.review = review
        .as_ref()
        .map_or(ReviewState::Approved, |review| review.state);
    let shown = snap.listing.icon.as_ref().map(|icon| icon.blob);
    let release = upload.release_of(revision.revision);
    if release.is_some() {
        if !ctx.may_with(&snap, Permission::SnapRelease) {
            return Err(no_snap(ctx, &snap.name));
        }
        ctx.check_channels(&upload.channels)?;
    }
    if revision.review.is_approved() {
        numbered.sign(case, &mut revision.components, &mut commit).await?;
        snap.kind = Some(reading.yaml.kind);
        describe(&mut snap, &reading.yaml, icon);
        if let Some(new) = &release {
            releases::put(app, &mut snap, &revision, new).await?;
        }
    } else {
        if let Some(new) = &release {
            review::foresee_release(app, &snap, &revision, new).await?;
        }
        if let Some(review) = &mut review {
            review.icon = icon.cloned();
        }
    }
    for component in &revision.components {
        let newest = snap.newest_components.entry(component.name.clone()).or_default();
        *newest = component.revision.max(*newest);
    }
    snap.newest_revision = snap.newest_revision.max(revision.revision);
    let replaced = shown.filter(|shown| snap.listing.icon.as_ref().is_none_or(|icon| icon.blob != *shown));
    let detail = json!({
        "snap-id": snap.id, "revision": revision.revision, "sha3-384": revision.blob, "size": revision.size,
        "components": revision.components.iter().map(|one| (&one.name, one.revision)).collect::<Vec<_>>(),
        "channels": upload.channels, "percentage": upload.percentage, "review": revision.review,
    });
    commit
        .audit
        .push(vault_event(app, ctx, "snap.upload", snap.name.as_str(), &detail));
    if revision.review.is_open() || revision.review.is_approved() {
        review::supersede(app, ctx, &snap, &revision, &mut commit).await?;
    }
    commit.records.push(match version {
        Some(version) => Change::replace(&snap, version),
        None => Change::create(&snap),
    });
    commit.records.push(Change::create(&revision));
    commit.records.extend(review.as_ref().map(Change::create));
    Ok(Plan::New(Box::new(New {
        snap,
        revision,
        review,
        commit,
        replaced,
    })))
}

/// The snap the files belong to, its version where it is registered, and its snap-declaration.
async fn target(
    app: &App,
    ctx: &BrandCtx,
    upload: &Upload,
    reading: &Reading,
    commit: &mut Commit,
) -> Result<(SnapRecord, Option<u64>, Assertion), Refusal> {
    let (name, kind) = (&reading.yaml.name, reading.yaml.kind);
    let found = app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await?;
    let Some(Versioned {
        record: snap,
        version,
    }) = found
    else {
        let new = NewSnap {
            name: name.clone(),
            store: upload.store.clone(),
            publisher: upload.publisher.clone(),
            private: upload.private,
        };
        if !ctx.may(Permission::SnapRegister) {
            return Err(no_snap(ctx, name));
        }
        let (snap, declaration) = register::prepare(app, ctx, &new, Some(kind), commit).await?;
        return Ok((snap, None, declaration));
    };
    if snap.brand_id != *ctx.brand() {
        return Err(register::taken(name));
    }
    if !ctx.may_with(&snap, Permission::SnapPublish) {
        return Err(no_snap(ctx, name));
    }
    agrees(app, ctx, upload, &snap).await?;
    match snap.kind {
        Some(known) if known != kind => {
            return Err(Refusal::conflict(
                "type-differs",
                format!("cannot add this revision to {name}: its type is {kind}, the snap's is {known}"),
            ));
        }
        Some(_) => {}
        None => may_be(name, kind, registrant(ctx, ctx.brand(), &snap.publisher_id))
            .map_err(|why| refuse_name(name, &why))?,
    }
    let declaration = declaration_of(app, &snap).await?;
    Ok((snap, Some(version), declaration))
}

/// What is said about a registered snap must be so.
async fn agrees(app: &App, ctx: &BrandCtx, upload: &Upload, snap: &SnapRecord) -> Result<(), Refusal> {
    let refuse = |code, why: String| {
        let message = format!("cannot add this revision to {}: {why}", snap.name);
        Err(Refusal::conflict(code, message))
    };
    if upload.store.as_ref().is_some_and(|store| *store != snap.store_id) {
        return refuse(
            "store-differs",
            format!("it is registered in store {}", snap.store_id),
        );
    }
    if upload.private && !snap.private {
        return refuse(
            "private-differs",
            "it is registered and not private; edit the snap to make it so".to_owned(),
        );
    }
    if let Some(named) = &upload.publisher
        && named != snap.publisher_id.as_str()
        && publishers::named(app, ctx, named).await?.as_ref() != Some(&snap.publisher_id)
    {
        return refuse("publisher-differs", format!("{named} is not its publisher"));
    }
    Ok(())
}

/// The same snap file again is the same revision, with the components it came with.
fn same_components(snap: SnapRecord, found: RevisionRecord, reading: &Reading) -> Result<Plan, Refusal> {
    if found.blob != reading.digest.id {
        return Err(Refusal::conflict(
            "revision-taken",
            format!(
                "cannot add this file to {}: its snap-revision says {}, which is another file here",
                snap.name, found.revision
            ),
        ));
    }
    let there = |digest| found.components.iter().any(|known| known.blob == digest);
    if reading
        .components
        .iter()
        .all(|component| there(component.digest.id))
    {
        return Ok(Plan::Known(Box::new(snap), Box::new(found)));
    }
    Err(Refusal::conflict(
        "components-differ",
        format!(
            "cannot add these components to {}: the snap file is revision {} already, with others",
            snap.name, found.revision
        ),
    ))
}

fn record(
    app: &App,
    snap: &SnapRecord,
    reading: &Reading,
    numbered: &signing::Numbered,
    components: Vec<Component>,
) -> RevisionRecord {
    let yaml = &reading.yaml;
    RevisionRecord {
        snap_id: snap.id.clone(),
        revision: numbered.revision,
        blob: reading.digest.id,
        size: reading.digest.size,
        sha512: reading.digest.sha512.to_string(),
        version: yaml.version.clone(),
        kind: yaml.kind,
        base: yaml.base.clone(),
        architectures: yaml.architectures.clone(),
        confinement: yaml.confinement,
        epoch: yaml.epoch.clone(),
        grade: yaml.grade.map(|grade| grade.to_string()),
        provenance: yaml.provenance.clone(),
        snap_yaml: yaml.text.clone(),
        common_ids: yaml.common_ids().into_iter().map(str::to_owned).collect(),
        apps: yaml.apps.keys().cloned().collect(),
        hooks: reading.hooks.clone(),
        components,
        developer_id: numbered.developer.clone(),
        created: app.clock.now(),
        review: ReviewState::Approved,
    }
}

/// What people read, from the newest upload until somebody edits it.
pub(super) fn describe(snap: &mut SnapRecord, yaml: &SnapYaml, icon: Option<&Icon>) {
    let listing = &mut snap.listing;
    if listing.edited {
        return;
    }
    let first = |kind: &str| yaml.links.get(kind).and_then(|links| links.first()).cloned();
    listing.title.clone_from(&yaml.title);
    listing.summary = yaml.summary.clone().unwrap_or_default();
    listing.description = yaml.description.clone().unwrap_or_default();
    listing.license.clone_from(&yaml.license);
    listing.website = first("website");
    listing.contact = first("contact");
    listing.links.clone_from(&yaml.links);
    if let Some(icon) = icon {
        listing.icon = Some(icon.clone());
    }
}

/// The icon as a file of its own.
async fn icon(app: &App, reading: &Reading) -> Result<Option<(Box<dyn Staged>, Icon)>, Refusal> {
    let Some(icon) = &reading.icon else {
        return Ok(None);
    };
    let mut staging = app.blobs.stage().await?;
    staging.write(Bytes::from(icon.bytes.clone())).await?;
    let staged = staging.finish().await?;
    let digest = staged.digest();
    let icon = Icon {
        blob: digest.id,
        media: icon.kind.media_type().to_owned(),
        size: digest.size,
    };
    Ok(Some((staged, icon)))
}
