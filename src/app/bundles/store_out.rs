//! A store as a bundle: its records, its snaps as far as their channels are chosen, and every assertion that devices ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::gather::{Gathered, search};
use super::{Bundle, sign};
use crate::app::assertions::keys_of;
use crate::app::catalog::register::SERIES;
use crate::app::instance::trusted;
use crate::app::store::{SnapEntry, Snapshot};
use crate::app::{App, InstanceCtx, Reason, Refusal};
use crate::domain::access::{Brand, StoreRecord};
use crate::domain::assertion::{Assertion, AssertionType, Ref, Typed, encode_stream};
use crate::domain::blob::BlobId;
use crate::domain::bundle::BundleFile;
use crate::domain::bundle::store::{
    BundleScope, BundledBrand, BundledSnap, ListedSnap, MAX_TEXTS, SHARED, StoreBody, assertions_of, named,
    records_of,
};
use crate::domain::catalog::{Override, Placed, Stores as _, visible};
use crate::domain::ident::{SnapId, StoreId};
use crate::domain::time::Timestamp;
use crate::ports::Commit;

/// What kind of bundle this is.
pub const KIND: &str = "store";

/// What shall be in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wanted {
    /// The store.
    pub store: StoreId,
    /// What of it.
    pub scope: BundleScope,
}

/// The revisions that validation sets name, by snap.
type Vouched = BTreeMap<String, BTreeSet<u64>>;

/// Makes the bundle of a store: all of it but the files of snaps, which the manifest lists after the texts.
///
/// # Errors
/// Unknown stores and snaps the store does not show are not found; `bundle-too-large`.
pub async fn export(app: &App, ctx: &InstanceCtx, wanted: &Wanted) -> Result<Bundle, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let store = catalog.store(&wanted.store).ok_or_else(|| {
        Refusal::not_found(format!(
            "cannot export store {}: there is none of this id",
            wanted.store
        ))
    })?;
    let now = app.clock.now();
    let shown = shown(&catalog, store, &wanted.scope)?;
    let mut gathered = Gathered::new(app);
    let vouched = of_brand(app, &mut gathered, store, &shown).await?;
    let mut snaps = Vec::new();
    for entry in &shown {
        let id = entry.record.id.as_str();
        let pins = app.storage.all::<Override>([store.id.as_str(), id]).await?;
        let pins = pins.into_iter().map(|found| found.record).collect();
        let snap = bundled(entry, pins, vouched.get(id), &wanted.scope, now);
        gathered
            .reference(Ref::new(AssertionType::SnapDeclaration, [SERIES, id]))
            .await?;
        of_revisions(&mut gathered, &snap).await?;
        snaps.push(snap);
    }
    validations(app, &mut gathered, &snaps).await?;
    for root in trusted(app).await? {
        gathered.take(root).await?;
    }
    let stores = stores(app, &catalog, store, &shown).await?;
    let contents = contents(&snaps, gathered)?;
    let included = snaps.iter().map(|snap| &snap.snap.id);
    let body = StoreBody {
        store: store.id.clone(),
        scope: wanted.scope.clone(),
        brands: brands(app, &stores).await?,
        stores: stores
            .into_values()
            .map(|store| StoreRecord::clone(&store))
            .collect(),
        included: included
            .filter(|id| catalog.includes(&store.id, id))
            .cloned()
            .collect(),
        snaps: contents.snaps,
    };
    let body = serde_json::to_value(&body).map_err(|_| unwritable())?;
    let signed = sign(app, KIND, Some(store.brand_id.clone()), body, contents.files).await?;
    let mut event = ctx.event(now, "bundle.export", store.id.as_str());
    event.brand = Some(store.brand_id.clone().into());
    event.detail.extend([
        ("kind".to_owned(), json!(KIND)),
        ("sha3-384".to_owned(), json!(BlobId::of(&signed.manifest))),
    ]);
    app.commit(Commit {
        audit: vec![event],
        ..Commit::default()
    })
    .await?;
    Bundle::new(signed, contents.texts)
}

/// The snaps that are meant, by name: what the store shows, and what it would show if its declaration had not taken it away.
fn shown<'c>(
    catalog: &'c Snapshot,
    store: &StoreRecord,
    scope: &BundleScope,
) -> Result<Vec<&'c Arc<SnapEntry>>, Refusal> {
    let mut shown: Vec<&Arc<SnapEntry>> = catalog
        .every()
        .filter(|entry| {
            let placed = Placed {
                revoked: false,
                ..entry.record.placed()
            };
            let meant = scope.snaps.is_empty() || scope.snaps.contains(&entry.record.name);
            meant && visible(catalog, placed, &store.id)
        })
        .collect();
    shown.sort_by(|one, other| one.record.name.cmp(&other.record.name));
    for name in &scope.snaps {
        if !shown.iter().any(|entry| entry.record.name == *name) {
            return Err(Refusal::not_found(format!(
                "cannot export snap {name}: store {} does not show it",
                store.id
            )));
        }
    }
    Ok(shown)
}

/// Takes what the brand of the store signed: its keys, models for the store, validation sets of these snaps. Gives the
/// revisions that those sets name.
async fn of_brand(
    app: &App,
    gathered: &mut Gathered<'_>,
    store: &StoreRecord,
    shown: &[&Arc<SnapEntry>],
) -> Result<Vouched, Refusal> {
    let brand = store.brand_id.as_str();
    gathered
        .reference(Ref::new(AssertionType::Account, [brand]))
        .await?;
    gathered
        .reference(Ref::new(AssertionType::Store, [store.id.as_str()]))
        .await?;
    for key in keys_of(app, brand).await? {
        gathered.take(key).await?;
    }
    for schema in search(app, AssertionType::ConfdbSchema, &[brand]).await? {
        gathered.take(schema).await?;
    }
    let mut named: BTreeSet<(String, u64)> = BTreeSet::new();
    for model in search(app, AssertionType::Model, &[SERIES, brand]).await? {
        let Typed::Model(view) = model.typed() else {
            continue;
        };
        if view
            .store
            .as_deref()
            .is_some_and(|named| named != store.id.as_str())
        {
            continue;
        }
        let sets = view.validation_sets.iter();
        named.extend(sets.filter_map(|set| Some((set.name.clone(), set.sequence?))));
        gathered.take(model).await?;
    }
    let ids: BTreeSet<&str> = shown.iter().map(|entry| entry.record.id.as_str()).collect();
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut sets = Vec::new();
    for set in search(app, AssertionType::ValidationSet, &[SERIES, brand]).await? {
        if let Typed::ValidationSet(view) = set.typed()
            && view.snaps.iter().all(|snap| ids.contains(snap.id.as_str()))
        {
            let known = newest.entry(view.name.clone()).or_default();
            *known = view.sequence.max(*known);
            sets.push(set);
        }
    }
    let mut vouched = Vouched::new();
    for set in sets {
        let Typed::ValidationSet(view) = set.typed() else {
            continue;
        };
        let wanted = newest.get(&view.name) == Some(&view.sequence)
            || named.contains(&(view.name.clone(), view.sequence));
        if !wanted {
            continue;
        }
        for snap in &view.snaps {
            vouched.entry(snap.id.clone()).or_default().extend(snap.revision);
        }
        gathered.take(set).await?;
    }
    Ok(vouched)
}

/// A snap as it goes out.
fn bundled(
    entry: &SnapEntry,
    mut pins: Vec<Override>,
    vouched: Option<&BTreeSet<u64>>,
    scope: &BundleScope,
    now: Timestamp,
) -> BundledSnap {
    let mut snap = entry.record.clone();
    // Who works on it, and its place in a shop window, are matters of each instance.
    snap.collaborators.clear();
    snap.featured = None;
    let known = |number: u64| entry.revisions.contains_key(&number);
    let leads = |number: u64| {
        let revision = entry.revisions.get(&number);
        revision.is_some_and(|revision| revision.epoch.read().len() > 1)
    };
    snap.releases.open.retain(|open| {
        let over = open.expires.is_some_and(|end| end <= now);
        !snap.revoked && !over && known(open.revision) && scope.includes(&open.channel, &open.architecture)
    });
    snap.releases
        .past
        .retain(|past| leads(past.revision) && scope.includes(&past.channel, &past.architecture));
    pins.retain(|pin| {
        !snap.revoked && known(pin.revision) && scope.includes(&pin.channel, &pin.architecture)
    });
    let mut numbers = BTreeSet::new();
    if scope.channels.is_empty() {
        snap.listing.icon = None;
        snap.listing.screenshots.clear();
    } else {
        numbers = named(&snap.releases);
        numbers.extend(pins.iter().map(|pin| pin.revision));
        numbers.extend(vouched.into_iter().flatten().filter(|_| !snap.revoked));
    }
    let revisions = numbers.iter().filter_map(|number| entry.revisions.get(number));
    BundledSnap {
        revisions: revisions.cloned().collect(),
        snap,
        pins,
    }
}

/// Takes what makes files revisions.
async fn of_revisions(gathered: &mut Gathered<'_>, snap: &BundledSnap) -> Result<(), Refusal> {
    let id = snap.snap.id.as_str();
    for revision in &snap.revisions {
        let (digest, provenance) = (revision.blob.to_base64url(), revision.provenance.as_str());
        gathered
            .reference(Ref::new(AssertionType::SnapRevision, [&digest, provenance]))
            .await?;
        for component in &revision.components {
            let (name, digest) = (component.name.as_str(), component.blob.to_base64url());
            let key = [id, name, &digest, provenance];
            gathered
                .reference(Ref::new(AssertionType::SnapResourceRevision, key))
                .await?;
            let (resource, number) = (component.revision.to_string(), revision.revision.to_string());
            let key = [id, name, &resource, &number, provenance];
            gathered
                .reference(Ref::new(AssertionType::SnapResourcePair, key))
                .await?;
        }
    }
    Ok(())
}

/// Takes what lets gated revisions through.
async fn validations(app: &App, gathered: &mut Gathered<'_>, snaps: &[BundledSnap]) -> Result<(), Refusal> {
    let there: BTreeSet<(&str, u64)> = snaps
        .iter()
        .flat_map(|snap| {
            let id = snap.snap.id.as_str();
            snap.revisions.iter().map(move |revision| (id, revision.revision))
        })
        .collect();
    for gating in snaps.iter().filter(|snap| !snap.snap.refresh_control.is_empty()) {
        for found in search(app, AssertionType::Validation, &[SERIES, gating.snap.id.as_str()]).await? {
            if let Typed::Validation(view) = found.typed()
                && there.contains(&(view.approved_snap_id.as_str(), view.approved_snap_revision))
            {
                gathered.take(found).await?;
            }
        }
    }
    Ok(())
}

/// The store, the one above it, those whose snaps it takes or shows, and the base stores of their brands.
async fn stores(
    app: &App,
    catalog: &Snapshot,
    store: &Arc<StoreRecord>,
    shown: &[&Arc<SnapEntry>],
) -> Result<BTreeMap<StoreId, Arc<StoreRecord>>, Refusal> {
    let mut stores = BTreeMap::new();
    let homes = shown.iter().map(|entry| &entry.record.store_id);
    let ids = homes
        .chain(&store.parent)
        .chain(&store.whole_stores)
        .chain([&store.id]);
    for id in ids {
        if let Some(found) = catalog.store(id) {
            stores.insert(id.clone(), Arc::clone(found));
        }
    }
    let brands: BTreeSet<_> = stores.values().map(|store| store.brand_id.clone()).collect();
    for brand in brands {
        if let Some(found) = app.storage.find::<Brand>([brand.as_str()]).await?
            && let Some(base) = catalog.store(&found.record.base_store)
        {
            stores.insert(base.id.clone(), Arc::clone(base));
        }
    }
    Ok(stores)
}

async fn brands(
    app: &App,
    stores: &BTreeMap<StoreId, Arc<StoreRecord>>,
) -> Result<Vec<BundledBrand>, Refusal> {
    let ids: BTreeSet<_> = stores.values().map(|store| &store.brand_id).collect();
    let mut brands = Vec::new();
    for id in ids {
        if let Some(found) = app.storage.find::<Brand>([id.as_str()]).await? {
            brands.push(BundledBrand {
                id: found.record.id,
                name: found.record.name,
                base_store: found.record.base_store,
            });
        }
    }
    Ok(brands)
}

/// What a bundle is made of.
struct Contents {
    texts: BTreeMap<String, String>,
    /// All files, the texts among them.
    files: Vec<BundleFile>,
    snaps: Vec<ListedSnap>,
}

fn contents(snaps: &[BundledSnap], gathered: Gathered<'_>) -> Result<Contents, Refusal> {
    let mut shared: Vec<Assertion> = Vec::new();
    let mut of_snaps: BTreeMap<SnapId, Vec<Assertion>> = BTreeMap::new();
    for assertion in gathered.into_found() {
        let snap = match assertion.kind() {
            AssertionType::SnapRevision
            | AssertionType::SnapResourceRevision
            | AssertionType::SnapResourcePair => assertion.text("snap-id"),
            _ => None,
        };
        match snap {
            Some(id) => of_snaps.entry(id.parse()?).or_default().push(assertion),
            None => shared.push(assertion),
        }
    }
    let stream = |assertions: &[Assertion]| {
        let encoded = encode_stream(assertions.iter().map(|assertion| assertion.encoded()));
        String::from_utf8(encoded.to_vec()).map_err(|_| unwritable())
    };
    let mut texts = vec![(SHARED.to_owned(), stream(&shared)?)];
    let mut blobs = Vec::new();
    let mut listed = Vec::new();
    let mut known = BTreeSet::new();
    for snap in snaps {
        let id = &snap.snap.id;
        let text = serde_json::to_string(snap).map_err(|_| unwritable())?;
        texts.push((records_of(id), text));
        texts.push((
            assertions_of(id),
            of_snaps
                .get(id)
                .map(|found| stream(found))
                .transpose()?
                .unwrap_or_default(),
        ));
        for (name, blob, size) in named_files(snap) {
            if known.insert(blob) {
                blobs.push(BundleFile {
                    name,
                    size,
                    sha3_384: blob,
                });
            }
        }
        listed.push(ListedSnap {
            id: id.clone(),
            name: snap.snap.name.clone(),
            files: snap.files().map(|(blob, _)| blob).collect(),
        });
    }
    if texts.iter().map(|(_, text)| text.len() as u64).sum::<u64>() > MAX_TEXTS {
        return Err(Refusal::invalid(
            "bundle-too-large",
            format!(
                "cannot make the bundle: its texts have more than {MAX_TEXTS} bytes; export parts with --snap"
            ),
        ));
    }
    let mut files: Vec<BundleFile> = texts
        .iter()
        .map(|(name, text)| BundleFile::of(name.as_str(), text.as_bytes()))
        .collect();
    files.extend(blobs);
    Ok(Contents {
        texts: texts.into_iter().collect(),
        files,
        snaps: listed,
    })
}

/// The files of a snap with their names in the bundle.
fn named_files(snap: &BundledSnap) -> Vec<(String, BlobId, u64)> {
    let id = &snap.snap.id;
    let mut files = Vec::new();
    for revision in &snap.revisions {
        let name = format!("blobs/{id}_{}.snap", revision.revision);
        files.push((name, revision.blob, revision.size));
        for (at, component) in revision.components.iter().enumerate() {
            let name = format!("blobs/{id}_{}_{at}.comp", revision.revision);
            files.push((name, component.blob, component.size));
        }
    }
    let known: BTreeSet<BlobId> = files.iter().map(|(_, blob, _)| *blob).collect();
    for (number, (blob, size)) in snap.files().filter(|(blob, _)| !known.contains(blob)).enumerate() {
        files.push((format!("blobs/{id}_picture-{number}"), blob, size));
    }
    files
}

fn unwritable() -> Refusal {
    Refusal::new(Reason::Internal, "internal-error", "cannot write the bundle")
}
