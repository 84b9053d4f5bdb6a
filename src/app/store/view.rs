//! The catalogue in memory: every read path works on one consistent picture of it, without touching the database.
//!
//! Writers put what they changed into [`CatalogHead`] in the same commit; a picture that is behind reads only that
//! again. Where the storage counts its commits ([`crate::ports::Storage::generation`]), nothing is asked at all while
//! it stands still; elsewhere one small record is read per request.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use tokio::sync::Mutex;

use super::away::Away;
use super::entry::{SnapEntry, publisher};
use super::index::Index;
use super::recent::Recent;
use crate::app::{App, Reason, Refusal};
use crate::domain::access::StoreRecord;
use crate::domain::catalog::{
    CatalogHead, Changed, DeltaRecord, Inclusion, Override, Pins, Placed, RevisionRecord, SnapRecord, Stores,
    Viewer, sees,
};
use crate::domain::ident::{BrandId, SnapId, SnapName, StoreId};
use crate::ports::{Key, Kind, StoreError, Versioned};

/// So many snaps are looked at ahead at a time: their texts fit into the nearer caches of a processor.
pub const AHEAD: usize = 32;

/// What one store pins of each snap.
pub(super) type Pinned = HashMap<SnapId, Pins, RandomState>;

/// The catalogue as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    sequence: u64,
    snaps: HashMap<SnapId, Arc<SnapEntry>, RandomState>,
    /// Ids by name, in the order people read them.
    names: Arc<BTreeMap<SnapName, SnapId>>,
    index: Arc<Index>,
    stores: HashMap<StoreId, Arc<StoreRecord>>,
    included: HashMap<StoreId, Arc<HashSet<SnapId>>>,
    /// What stores pin; those that pin nothing are not in it.
    pinned: HashMap<StoreId, Arc<Pinned>>,
    /// The snaps that let only validated revisions of others through.
    gating: HashSet<SnapId>,
}

impl Stores for Snapshot {
    fn store(&self, id: &StoreId) -> Option<&StoreRecord> {
        self.stores.get(id).map(|store| &**store)
    }

    fn includes(&self, store: &StoreId, snap: &SnapId) -> bool {
        self.included.get(store).is_some_and(|snaps| snaps.contains(snap))
    }
}

impl Snapshot {
    /// A snap by its id, if `viewer` sees it.
    pub fn by_id(&self, id: &SnapId, viewer: Viewer<'_>) -> Option<&Arc<SnapEntry>> {
        self.snaps.get(id).filter(|entry| self.sees(entry, viewer))
    }

    /// Brings what answers about these snaps are made of near the processor: one after the other, each look would wait for
    /// memory by itself; like this they wait together.
    pub fn look_ahead<'r>(&self, ids: impl Iterator<Item = &'r str>) {
        let entries: SmallVec<[&Arc<SnapEntry>; AHEAD]> =
            ids.filter_map(|id| self.snaps.get(&id.parse().ok()?)).collect();
        for entry in &entries {
            entry.touch();
        }
        for entry in &entries {
            entry.touch_text();
        }
    }

    /// A snap by its name, if `viewer` sees it.
    pub fn by_name(&self, name: &SnapName, viewer: Viewer<'_>) -> Option<&Arc<SnapEntry>> {
        self.by_id(self.names.get(name)?, viewer)
    }

    /// A snap, whoever asks: only for what is nobody's secret.
    pub(in crate::app) fn any(&self, id: &SnapId) -> Option<&Arc<SnapEntry>> {
        self.snaps.get(id)
    }

    /// The snap of this name, whoever asks.
    pub(in crate::app) fn named(&self, name: &SnapName) -> Option<&Arc<SnapEntry>> {
        self.snaps.get(self.names.get(name)?)
    }

    /// A store.
    pub fn store(&self, id: &StoreId) -> Option<&Arc<StoreRecord>> {
        self.stores.get(id)
    }

    /// The name of a snap, for who manages devices that have it.
    pub fn name_of(&self, id: &SnapId) -> Option<&SnapName> {
        self.snaps.get(id).map(|entry| &entry.record.name)
    }

    /// Every snap, in no order: for work that nobody asked for.
    pub(in crate::app) fn every(&self) -> impl Iterator<Item = &Arc<SnapEntry>> {
        self.snaps.values()
    }

    /// All snaps that `viewer` sees, in no order.
    pub fn seen(&self, viewer: Viewer<'_>) -> impl Iterator<Item = &Arc<SnapEntry>> {
        self.snaps.values().filter(move |entry| self.sees(entry, viewer))
    }

    /// The snaps that may have all of these texts among what a search looks through, whoever sees them; all that do have
    /// them are among these.
    pub(super) fn may_contain(&self, texts: &[&str]) -> Vec<&Arc<SnapEntry>> {
        let of = |id| self.snaps.get(id);
        match self.index.candidates(texts) {
            Some(candidates) => candidates.filter_map(of).collect(),
            None => self.names.values().filter_map(of).collect(),
        }
    }

    /// Whether `viewer` may have an assertion about this snap: unknown ids are nobody's secret. That a snap is revoked
    /// must reach those who have it.
    pub fn may_know(&self, id: &str, viewer: Viewer<'_>) -> bool {
        let Ok(id) = id.parse::<SnapId>() else { return true };
        let Some(entry) = self.snaps.get(&id) else {
            return true;
        };
        let placed = Placed {
            revoked: false,
            ..entry.placed()
        };
        !placed.private || sees(self, placed, viewer)
    }

    /// The brand of a store.
    pub fn brand_of(&self, store: &StoreId) -> Option<&BrandId> {
        self.stores.get(store).map(|store| &store.brand_id)
    }

    /// All stores, in no order.
    pub fn store_ids(&self) -> impl Iterator<Item = &StoreId> {
        self.stores.keys()
    }

    /// The base store of a brand.
    pub fn base_store(&self, brand: &BrandId) -> Option<&StoreId> {
        let mut bases = self
            .stores
            .values()
            .filter(|store| store.brand_id == *brand && store.parent.is_none());
        // The one `init` made is named after the brand.
        let named = brand.as_str().parse::<StoreId>().ok();
        named
            .and_then(|id| self.stores.get(&id))
            .filter(|store| store.brand_id == *brand)
            .or_else(|| bases.next())
            .map(|store| &store.id)
    }

    /// What a store pins; none where it pins nothing, as most do.
    pub(super) fn pinned_by(&self, store: &StoreId) -> Option<&Arc<Pinned>> {
        self.pinned.get(store)
    }

    /// Whether no snap gates another.
    pub(super) fn nothing_gates(&self) -> bool {
        self.gating.is_empty()
    }

    /// The number of the last change it knows.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many snaps there are.
    pub fn len(&self) -> usize {
        self.snaps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.snaps.is_empty()
    }

    /// Whether `viewer` sees a snap.
    pub(super) fn sees(&self, entry: &SnapEntry, viewer: Viewer<'_>) -> bool {
        sees(self, entry.placed(), viewer)
    }

    fn put(&mut self, entry: SnapEntry) {
        // One text for the id of a store: comparing it touches no memory of its own for every snap.
        let entry = match self.stores.get(&entry.record.store_id) {
            Some(store) => entry.in_store(&store.id),
            None => entry,
        };
        if entry.record.refresh_control.is_empty() {
            self.gating.remove(&entry.record.id);
        } else {
            self.gating.insert(entry.record.id.clone());
        }
        let (id, name) = (&entry.record.id, &entry.record.name);
        let before = self.snaps.get(id);
        // Most changes are releases: names and texts stay, and need not be copied.
        if before.is_none_or(|before| before.search_text != entry.search_text) {
            let before = before.map(|before| before.search_text.as_str());
            Arc::make_mut(&mut self.index).put(id, before, &entry.search_text);
        }
        if self.names.get(name) != Some(id) {
            Arc::make_mut(&mut self.names).insert(name.clone(), id.clone());
        }
        self.snaps.insert(entry.record.id.clone(), Arc::new(entry));
    }

    /// All of the catalogue.
    async fn load(app: &App, sequence: u64) -> Result<Self, Refusal> {
        let storage = &*app.storage;
        let everything = || Key(Vec::new());
        let mut picture = Self {
            sequence,
            ..Self::default()
        };
        for found in storage.all::<StoreRecord>(everything()).await? {
            picture
                .stores
                .insert(found.record.id.clone(), Arc::new(found.record));
        }
        let mut included: HashMap<StoreId, HashSet<SnapId>> = HashMap::new();
        for found in storage.all::<Inclusion>(everything()).await? {
            let Inclusion {
                store_id, snap_id, ..
            } = found.record;
            included.entry(store_id).or_default().insert(snap_id);
        }
        picture.included = included
            .into_iter()
            .map(|(store, snaps)| (store, Arc::new(snaps)))
            .collect();
        let mut pinned: HashMap<StoreId, Pinned> = HashMap::new();
        for found in storage.all::<Override>(everything()).await? {
            let pin = found.record;
            let store = pinned.entry(pin.store_id.clone()).or_default();
            store.entry(pin.snap_id.clone()).or_default().add(pin);
        }
        picture.pinned = pinned
            .into_iter()
            .map(|(store, pins)| (store, Arc::new(pins)))
            .collect();
        // Snaps before revisions: a release never names a revision that is not read yet.
        let snaps = storage.all::<SnapRecord>(everything()).await?;
        let mut revisions: HashMap<SnapId, BTreeMap<u64, RevisionRecord>> = HashMap::new();
        for found in storage.all::<RevisionRecord>(everything()).await? {
            let record = found.record;
            // What no reviewer let through is not there for devices.
            if !record.review.is_approved() {
                continue;
            }
            revisions
                .entry(record.snap_id.clone())
                .or_default()
                .insert(record.revision, record);
        }
        let mut deltas: HashMap<SnapId, Vec<DeltaRecord>> = HashMap::new();
        for found in storage.all::<DeltaRecord>(everything()).await? {
            let record = found.record;
            deltas.entry(record.snap_id.clone()).or_default().push(record);
        }
        let mut publishers = HashMap::new();
        for found in snaps {
            let record = found.record;
            let publisher = match publishers.get(&record.publisher_id) {
                Some(known) => Clone::clone(known),
                None => {
                    let found = publisher(app, &record.publisher_id).await?;
                    publishers.insert(record.publisher_id.clone(), found.clone());
                    found
                }
            };
            let revisions = revisions.remove(&record.id).unwrap_or_default();
            let deltas = deltas.remove(&record.id).unwrap_or_default();
            picture.put(SnapEntry::new(record, revisions, deltas, publisher));
        }
        Ok(picture)
    }

    /// Reads what changed again.
    async fn follow(&mut self, app: &App, changes: &[Changed], sequence: u64) -> Result<(), Refusal> {
        let storage = &*app.storage;
        let changes: HashSet<&Changed> = changes.iter().collect();
        for change in changes {
            match change {
                Changed::Store(id) => {
                    match storage.find::<StoreRecord>([id.as_str()]).await? {
                        Some(found) => self.stores.insert(id.clone(), Arc::new(found.record)),
                        None => self.stores.remove(id),
                    };
                    let included = storage.all::<Inclusion>([id.as_str()]).await?;
                    let included = included.into_iter().map(|found| found.record.snap_id).collect();
                    self.included.insert(id.clone(), Arc::new(included));
                    let mut pinned = Pinned::default();
                    for found in storage.all::<Override>([id.as_str()]).await? {
                        let pin = found.record;
                        pinned.entry(pin.snap_id.clone()).or_default().add(pin);
                    }
                    if pinned.is_empty() {
                        self.pinned.remove(id);
                    } else {
                        self.pinned.insert(id.clone(), Arc::new(pinned));
                    }
                }
                Changed::Snap(id) => {
                    let Some(found) = storage.find::<SnapRecord>([id.as_str()]).await? else {
                        if let Some(gone) = self.snaps.remove(id) {
                            Arc::make_mut(&mut self.names).remove(&gone.record.name);
                            Arc::make_mut(&mut self.index).remove(id, &gone.search_text);
                            self.gating.remove(id);
                        }
                        continue;
                    };
                    let revisions = storage.all::<RevisionRecord>([id.as_str()]).await?;
                    let revisions = revisions
                        .into_iter()
                        .filter(|found| found.record.review.is_approved())
                        .map(|found| (found.record.revision, found.record))
                        .collect();
                    let deltas = storage.all::<DeltaRecord>([id.as_str()]).await?;
                    let deltas = deltas.into_iter().map(|found| found.record).collect();
                    let publisher = publisher(app, &found.record.publisher_id).await?;
                    self.put(SnapEntry::new(found.record, revisions, deltas, publisher));
                }
            }
        }
        self.sequence = sequence;
        Ok(())
    }
}

/// The picture, kept up to date. One per process.
#[derive(Debug, Default)]
pub struct Catalog {
    picture: RwLock<Option<Arc<Snapshot>>>,
    /// The storage's count of commits up to which the picture is known to be right, plus one; 0 = none.
    checked: AtomicU64,
    /// Only one at a time brings it up to date.
    loading: Mutex<()>,
    recent: Recent,
    away: Away,
}

/// How long a reader waits for the storage before it is taken to be out of reach.
const PATIENCE: Duration = Duration::from_secs(2);

impl Catalog {
    /// The catalogue as it is now: every commit that was answered before this call is in it.
    pub async fn current(&self, app: &App) -> Result<Arc<Snapshot>, Refusal> {
        let generation = app.storage.generation();
        if let Some(picture) = self.fresh(generation) {
            return Ok(picture);
        }
        let _one_at_a_time = self.loading.lock().await;
        // Counted before anything is read: a commit meanwhile makes the next call look again.
        let generation = app.storage.generation();
        if let Some(picture) = self.fresh(generation) {
            return Ok(picture);
        }
        let head = app.storage.find::<CatalogHead>(["head"]).await?;
        let head = head.map(|found| found.record).unwrap_or_default();
        let held = self.held();
        let picture = match held {
            Some(held) if held.sequence == head.sequence => held,
            Some(held) => match head.since(held.sequence) {
                Some(changes) => {
                    let mut next = Snapshot::clone(&held);
                    next.follow(app, changes, head.sequence).await?;
                    Arc::new(next)
                }
                None => Arc::new(Snapshot::load(app, head.sequence).await?),
            },
            None => Arc::new(Snapshot::load(app, head.sequence).await?),
        };
        *self.picture.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&picture));
        if let Some(generation) = generation {
            self.checked.store(generation.wrapping_add(1), Ordering::Release);
        }
        Ok(picture)
    }

    /// The catalogue for who only reads: as [`Self::current`], or for a minute as it was known last, while the storage is out of
    /// reach. Sessions and tokens cannot be judged meanwhile, so nobody sees more of it than anybody may.
    ///
    /// # Errors
    /// If the storage is out of reach for longer.
    pub async fn readable(&self, app: &App) -> Result<Arc<Snapshot>, Refusal> {
        if let Some(picture) = self.fresh(app.storage.generation()) {
            return Ok(picture);
        }
        let held = || self.held();
        if let Some(answer) = self.away.answer(held, Instant::now()) {
            return answer;
        }
        let asked = match tokio::time::timeout(PATIENCE, self.current(app)).await {
            Ok(asked) => asked,
            Err(_elapsed) => Err(StoreError::Unavailable("it does not answer".to_owned()).into()),
        };
        match asked {
            Err(why) if why.reason == Reason::Unavailable => self.away.failed(why, held, Instant::now()),
            asked => {
                self.away.is_back();
                asked
            }
        }
    }

    /// The snap of this name as the storage has it at this moment, whatever the picture says: for who judges about it.
    pub(in crate::app) async fn stored_by_name(
        &self,
        app: &App,
        name: &SnapName,
    ) -> Result<Option<Arc<Versioned<SnapRecord>>>, Refusal> {
        let found = app.storage.by_unique(Kind::Snap, "name", name.as_str()).await?;
        Ok(found.map(|found| self.recent.decoded(found)).transpose()?)
    }

    /// The same by its id.
    pub(in crate::app) async fn stored_by_id(
        &self,
        app: &App,
        id: &SnapId,
    ) -> Result<Option<Arc<Versioned<SnapRecord>>>, Refusal> {
        let found = app.storage.record(Kind::Snap, &Key::from([id.as_str()])).await?;
        Ok(found.map(|found| self.recent.decoded(found)).transpose()?)
    }

    fn fresh(&self, generation: Option<u64>) -> Option<Arc<Snapshot>> {
        let known = self.checked.load(Ordering::Acquire);
        (generation?.wrapping_add(1) == known)
            .then(|| self.held())
            .flatten()
    }

    fn held(&self) -> Option<Arc<Snapshot>> {
        self.picture
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
