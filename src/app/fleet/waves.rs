//! Waves: making them, and what operators do with them (waves-and-registration.md A.2, A.8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;
use tokio::sync::MutexGuard;

use super::binding::{self, NewBinding};
use super::choice::{Shop, check_policy};
use super::follow::{Tries, look};
use super::{act as act_alone, notify, start};
use crate::app::sign::stored;
use crate::app::store::flush_reports;
use crate::app::{App, Refusal, StoreCtx, vault_event};
use crate::domain::access::Authorship;
use crate::domain::audit::AuditEvent;
use crate::domain::catalog::{Channel, RevisionRecord, SnapRecord, revision_key};
use crate::domain::fleet::{
    Act, Binding, Entry, Policy, ProductionMap, Wave, WaveError, WaveKind, WaveRecord, WaveStatus,
};
use crate::domain::ident::{AccountId, SnapId, SnapName, StoreId, Tag, WaveName};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Kind, PutRule};

/// Life of a wave unless told otherwise, in days (as of fioctl).
pub const DEFAULT_LIFE: i64 = 365;
const DAY: i64 = 24 * 3600;

/// Where a wave takes its revisions from.
#[derive(Clone, Debug)]
pub enum Source {
    /// These snaps: with a number that revision, without what the channel gives now.
    Snaps(Vec<(SnapName, Option<u64>)>),
    /// All that the store shows and the channel gives now.
    Channel,
    /// What another wave of the store has.
    Wave(WaveName),
}

/// A wave to be made.
#[derive(Clone, Debug)]
pub struct NewWave {
    /// Its name.
    pub name: WaveName,
    /// For devices of which tag.
    pub tag: Tag,
    /// Forward or back.
    pub kind: WaveKind,
    /// Its revisions.
    pub source: Source,
    /// The channel that devices follow which get them; `latest/stable`, or that of the default track.
    pub channel: Option<Channel>,
    /// Snaps that are pinned no more once it is complete.
    pub prune: Vec<SnapName>,
    /// When it stops by itself; [`DEFAULT_LIFE`] from now.
    pub expires: Option<Timestamp>,
    /// How it goes on by itself.
    pub policy: Policy,
    /// How it binds devices themselves; none = the store alone decides.
    pub binding: Option<NewBinding>,
}

/// The refusal of a rule of waves.
pub(super) fn refused(doing: &str, name: &WaveName, error: &WaveError) -> Refusal {
    let message = format!("cannot {doing} wave {name}: {error}");
    match error {
        WaveError::Complete
        | WaveError::Canceled
        | WaveError::NotEnoughSignatures
        | WaveError::Signed
        | WaveError::Halted
        | WaveError::NotHalted
        | WaveError::Expired(_) => Refusal::conflict(error.code(), message),
        WaveError::VersionNotNewer { .. }
        | WaveError::Empty
        | WaveError::Twice(_)
        | WaveError::SeveralRevisions { .. }
        | WaveError::SelectorRequired
        | WaveError::NoLimit
        | WaveError::NoPercentage => Refusal::invalid(error.code(), message),
    }
}

/// Makes a wave. No device sees it before a rollout.
///
/// # Errors
/// `name-in-use`, `wave-active-for-tag`, `version-not-newer`, `unknown-snap`, `unknown-revision`, `epoch-incompatible`,
/// `invalid-wave`, `invalid-expiry`, `invalid-policy`.
pub async fn init(app: &App, ctx: &StoreCtx, new: NewWave) -> Result<Arc<WaveRecord>, Refusal> {
    start(app).await?;
    check_policy(&new)?;
    let _one_at_a_time = act_alone(app).await?;
    let mut tries = Tries::default();
    loop {
        let refusal = match make(app, ctx, &new).await {
            Err(refusal) => refusal,
            made => return made,
        };
        if !tries.again(app, &refusal).await? {
            return Err(refusal);
        }
    }
}

async fn make(app: &App, ctx: &StoreCtx, new: &NewWave) -> Result<Arc<WaveRecord>, Refusal> {
    let now = app.clock.now();
    let expires = new.expires.unwrap_or(now.plus_seconds(DEFAULT_LIFE * DAY));
    if expires <= now {
        return Err(Refusal::invalid(
            "invalid-expiry",
            format!("cannot make wave {}: it would expire before it begins", new.name),
        ));
    }
    // Read while no revision expires that the wave may name.
    let catalog = app.catalog.current(app).await?;
    let store = &ctx.store().id;
    let shop = Shop {
        catalog: &catalog,
        store,
        wave: &new.name,
        now,
    };
    let (entries, mut map, map_version) = {
        let state = app.fleet.read();
        if let Some(open) = state.open(store, &new.tag) {
            return Err(open_already(new, Some(&open.wave().name)));
        }
        let stream = state.stream(store, &new.tag);
        let (map, version) = match stream {
            Some(stream) => (ProductionMap::clone(&stream.map), stream.version),
            None => (ProductionMap::new(store.clone(), new.tag.clone()), 0),
        };
        (shop.entries(&state, new)?, map, version)
    };
    let pruned = shop.pruned(new)?;
    if let Some(both) = entries.iter().find(|entry| pruned.contains(&entry.pin.snap_id)) {
        return Err(Refusal::invalid(
            "invalid-wave",
            format!(
                "cannot make wave {}: snap {} is both named and pruned",
                new.name, both.pin.snap_id
            ),
        ));
    }
    map.check(new.kind, &entries)
        .map_err(|error| refused("make", &new.name, &error))?;
    if new.kind == WaveKind::Rollback {
        shop.check_epochs(&map, &entries)?;
    }
    let set = binding::set_of(app, ctx.brand(), new, &mut map).await?;
    let sequence = map.reserve();
    let mut bound = match set {
        None => None,
        Some(set) => {
            let said = (new, sequence, entries.as_slice());
            Some(binding::draw(app, &catalog, set, &map, said, &pruned).await?)
        }
    };
    let mut signatures = Vec::new();
    if let (Some(bound), Some(key)) = (&mut bound, new.binding.as_ref().and_then(|new| new.key.as_ref())) {
        signatures = binding::sign_here(app, ctx.brand(), bound, key, now).await?;
    }
    let mut wave = Wave::draft(
        store.clone(),
        new.tag.clone(),
        new.name.clone(),
        sequence,
        new.kind,
        entries,
        expires,
    )
    .map_err(|error| refused("make", &new.name, &error))?;
    // What the store alone decides needs no further signature.
    if bound.as_ref().is_none_or(Binding::is_signed) {
        wave.act(Act::Sign, now)
            .map_err(|error| refused("make", &new.name, &error))?;
    }
    let mut record = WaveRecord {
        wave,
        created: now,
        authorship: Authorship::made_by(ctx.account()),
        finished: None,
        history: Vec::new(),
        policy: new.policy.clone(),
        prune: pruned,
        binding: bound,
        why: None,
        notices: Vec::new(),
        noticed: 0,
        telling: None,
    };
    notify::tell(app, &mut record, "wave.init");
    let detail = json!({
        "wave": new.name,
        "tag": new.tag,
        "sequence": sequence,
        "kind": new.kind,
        "entries": record.wave.entries().len(),
        "validation-set": record.binding.as_ref().map(|binding| &binding.set.name),
    });
    signatures.push(vault_event(
        app,
        ctx.brand(),
        "wave.init",
        store.as_str(),
        &detail,
    ));
    let mut commit = Commit {
        records: vec![Change::create(&record), change_map(&map, map_version)],
        audit: signatures,
        ..Commit::default()
    };
    if app.fleet.following.is_shared() {
        commit.records.extend(kept(app, record.wave.entries()).await?);
    }
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => {}
        CommitOutcome::Conflict { kind: Kind::Wave, .. } => {
            return Err(Refusal::conflict(
                "name-in-use",
                format!(
                    "cannot make wave {}: store {store} has one of this name",
                    new.name
                ),
            ));
        }
        CommitOutcome::Taken { kind: Kind::Wave, .. } => return Err(open_already(new, None)),
        outcome => App::settle(&outcome)?,
    }
    let record = Arc::new(record);
    app.fleet.write(|state| {
        state.put_map(map, map_version + 1);
        state.put_wave(Arc::clone(&record), 1);
    });
    Ok(record)
}

/// What was judged by must still hold: the snaps are written as they are, so that no other process lets a revision expire meanwhile.
/// In this process that is seen to: see [`named`].
async fn kept(app: &App, entries: &[Entry]) -> Result<Vec<Change>, Refusal> {
    let mut kept = BTreeMap::new();
    for entry in entries {
        let id = &entry.pin.snap_id;
        if !kept.contains_key(id)
            && let Some(snap) = app.storage.find::<SnapRecord>([id.as_str()]).await?
        {
            kept.insert(id, Change::replace(&snap.record, snap.version));
        }
        // After the snap: whatever goes from now on is noticed by that.
        let key = [id.as_str(), &revision_key(entry.revision)];
        if app.storage.find::<RevisionRecord>(key).await?.is_none() {
            return Err(App::changed_meanwhile());
        }
    }
    Ok(kept.into_values().collect())
}

fn open_already(new: &NewWave, open: Option<&WaveName>) -> Refusal {
    let which = open.map_or_else(String::new, |name| format!(": {name}"));
    Refusal::conflict(
        "wave-active-for-tag",
        format!(
            "cannot make wave {}: tag {} has an open wave{which}; complete or cancel that first",
            new.name, new.tag
        ),
    )
}

pub(super) fn change_map(map: &ProductionMap, version: u64) -> Change {
    if version == 0 {
        Change::create(map)
    } else {
        Change::replace(map, version)
    }
}

/// A wave of the store.
///
/// # Errors
/// Absent.
pub async fn show(app: &App, ctx: &StoreCtx, name: &WaveName) -> Result<Arc<WaveRecord>, Refusal> {
    look(app).await?;
    let (record, _) = find(app, &ctx.store().id, name)?;
    Ok(record)
}

pub(super) fn find(app: &App, store: &StoreId, name: &WaveName) -> Result<(Arc<WaveRecord>, u64), Refusal> {
    let state = app.fleet.read();
    let shown = state.wave(store, name);
    let shown = shown.ok_or_else(|| {
        Refusal::not_found(format!(
            "cannot find wave {name}: store {store} has none of this name"
        ))
    })?;
    Ok((Arc::clone(&shown.record), shown.version))
}

/// The open wave of a store, where there is exactly one: what people mean who name none.
///
/// # Errors
/// Absent; `several-waves`.
pub async fn active(app: &App, ctx: &StoreCtx) -> Result<WaveName, Refusal> {
    look(app).await?;
    let store = &ctx.store().id;
    let state = app.fleet.read();
    let open: Vec<&WaveName> = state
        .waves(store)
        .filter(|shown| shown.wave().is_open())
        .map(|shown| &shown.wave().name)
        .collect();
    match open.as_slice() {
        [] => Err(Refusal::not_found(format!(
            "cannot find an active wave: store {store} has none"
        ))),
        [one] => Ok((*one).clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            Err(Refusal::conflict(
                "several-waves",
                format!(
                    "cannot tell which wave is meant: {} are active; name one",
                    names.join(", ")
                ),
            ))
        }
    }
}

/// The waves of a store, the newest first.
pub async fn list(app: &App, ctx: &StoreCtx) -> Result<Vec<Arc<WaveRecord>>, Refusal> {
    look(app).await?;
    let state = app.fleet.read();
    let waves = state.waves(&ctx.store().id);
    let mut waves: Vec<Arc<WaveRecord>> = waves.map(|shown| Arc::clone(&shown.record)).collect();
    waves.sort_by(|one, other| {
        let place = |record: &WaveRecord| (record.created, record.wave.name.clone());
        place(other).cmp(&place(one))
    });
    Ok(waves)
}

/// Who does something to a wave.
#[derive(Clone)]
pub(in crate::app) struct Doer<'a> {
    /// The account; none for what happens by itself and for local commands.
    pub(in crate::app) account: Option<&'a AccountId>,
    /// The event that is recorded, without its detail.
    pub(in crate::app) event: AuditEvent,
    /// Why it happens by itself.
    pub(in crate::app) why: Option<String>,
}

/// Halts, resumes, completes or cancels a wave.
///
/// # Errors
/// What its status forbids: see [`WaveError`]; absent.
pub async fn act(app: &App, ctx: &StoreCtx, name: &WaveName, act: Act) -> Result<Arc<WaveRecord>, Refusal> {
    start(app).await?;
    let store = &ctx.store().id;
    let action = match act {
        Act::Sign => "wave.sign",
        Act::Rollout => "wave.rollout",
        Act::Halt => "wave.halt",
        Act::Resume => "wave.resume",
        Act::Complete => "wave.complete",
        Act::Cancel => "wave.cancel",
    };
    let doer = Doer {
        account: ctx.account(),
        event: vault_event(app, ctx.brand(), action, store.as_str(), &json!({})),
        why: None,
    };
    if act == Act::Cancel {
        // Who has got it stays where it is: what devices said just now counts.
        flush_reports(app).await?;
    }
    let _one_at_a_time = act_alone(app).await?;
    let mut tries = Tries::default();
    loop {
        let refusal = match apply(app, store, name, act, doer.clone()).await {
            Err(refusal) => refusal,
            done => return done,
        };
        if !tries.again(app, &refusal).await? {
            return Err(refusal);
        }
    }
}

/// The same, once nobody else acts.
pub(super) async fn apply(
    app: &App,
    store: &StoreId,
    name: &WaveName,
    act: Act,
    doer: Doer<'_>,
) -> Result<Arc<WaveRecord>, Refusal> {
    let now = app.clock.now();
    let (found, version) = find(app, store, name)?;
    let mut record = WaveRecord::clone(&found);
    let doing = match act {
        Act::Sign => "sign",
        Act::Rollout => "roll out",
        Act::Halt => "halt",
        Act::Resume => "resume",
        Act::Complete => "complete",
        Act::Cancel => "cancel",
    };
    record
        .wave
        .act(act, now)
        .map_err(|error| refused(doing, name, &error))?;
    record.authorship.change(doer.account, now);
    record.why = doer.why.clone();
    let mut commit = Commit::default();
    let mut published = None;
    if !record.wave.is_open() {
        record.finished = Some(now);
    }
    if record.wave.status == WaveStatus::Complete {
        binding::check_documents(app, doing, &record).await?;
        let (mut map, map_version) = map_of(app, &record.wave);
        map.publish(&record.wave);
        if let Some(binding) = &record.binding {
            let assertion = binding::assertion_of(&binding.wave)
                .ok_or_else(|| refused(doing, name, &WaveError::NotEnoughSignatures))?;
            commit.assertions.push((stored(&assertion), PutRule::Newer));
        }
        for snap in &record.prune {
            map.prune(snap);
        }
        commit.records.push(change_map(&map, map_version));
        published = Some((map, map_version + 1));
    } else if found.wave.status == WaveStatus::Draft && binding::was_first(&app.fleet.read(), &record) {
        // Nothing of its set was ever signed: the tag is free to make another one, or none.
        let (mut map, map_version) = map_of(app, &record.wave);
        map.set = None;
        commit.records.push(change_map(&map, map_version));
        published = Some((map, map_version + 1));
    }
    let mut event = doer.event;
    notify::tell(app, &mut record, &event.action);
    event.detail.insert("wave".to_owned(), json!(name));
    event.detail.insert("tag".to_owned(), json!(record.wave.tag));
    if let Some(why) = &doer.why {
        event.detail.insert("why".to_owned(), json!(why));
    }
    commit.records.push(Change::replace(&record, version));
    commit.audit.push(event);
    app.commit(commit).await?;
    let record = Arc::new(record);
    app.fleet.write(|state| {
        if let Some((map, version)) = published {
            state.put_map(map, version);
        }
        state.put_wave(Arc::clone(&record), version + 1);
    });
    Ok(record)
}

/// What is published for the tag of a wave, with its version; 0 = it is not recorded yet.
fn map_of(app: &App, wave: &Wave) -> (ProductionMap, u64) {
    let state = app.fleet.read();
    match state.stream(&wave.store, &wave.tag) {
        Some(stream) => (ProductionMap::clone(&stream.map), stream.version),
        None => (ProductionMap::new(wave.store.clone(), wave.tag.clone()), 0),
    }
}

/// What is published for a tag of the store, by name of snap; and its sequence.
///
/// # Errors
/// Absent where no wave of the tag was completed.
pub async fn published(app: &App, ctx: &StoreCtx, tag: &Tag) -> Result<Arc<ProductionMap>, Refusal> {
    look(app).await?;
    let store = &ctx.store().id;
    let state = app.fleet.read();
    let stream = state.stream(store, tag).filter(|stream| stream.map.published > 0);
    let stream = stream.ok_or_else(|| {
        Refusal::not_found(format!("cannot find what is published for tag {tag}: nothing is"))
    })?;
    Ok(Arc::clone(&stream.map))
}

/// The revisions of a snap that production devices may be told of, or may have: those of open waves, of waves that were cancelled
/// lately, and what is published. Nobody makes a wave while the guard lives.
///
/// # Errors
/// If the database is out of reach.
pub(in crate::app) async fn named<'a>(
    app: &'a App,
    snap: &SnapId,
) -> Result<(BTreeSet<u64>, MutexGuard<'a, ()>), Refusal> {
    start(app).await?;
    let guard = act_alone(app).await?;
    let state = app.fleet.read();
    let waves = state.open_waves().chain(state.all_left_behind());
    let waved = waves.flat_map(|shown| shown.wave().entries());
    let published = state.maps().flat_map(ProductionMap::entries);
    let all = waved.chain(published.map(|published| &published.entry));
    let named = all.filter(|entry| entry.pin.snap_id == *snap);
    Ok((named.map(|entry| entry.revision).collect(), guard))
}

/// The tags of a store that have waves or devices, with the sequence of what is published.
pub async fn tags(app: &App, ctx: &StoreCtx) -> Result<BTreeMap<Tag, u64>, Refusal> {
    look(app).await?;
    let store = &ctx.store().id;
    let state = app.fleet.read();
    let mut tags = BTreeMap::new();
    for (_, place) in state.places().filter(|(_, place)| place.store == *store) {
        if let Some(tag) = &place.tag {
            tags.entry(tag.clone()).or_insert(0);
        }
    }
    for shown in state.waves(store) {
        let tag = &shown.wave().tag;
        let published = state.stream(store, tag).map_or(0, |stream| stream.map.published);
        tags.insert(tag.clone(), published);
    }
    Ok(tags)
}
