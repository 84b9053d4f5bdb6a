//! The validation sets of waves (waves-and-registration.md A.7, level 2): drawn up with a wave, signed with a key of the
//! vault or elsewhere. Nothing of a wave is rolled out before both of its documents are signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::follow::{Tries, look};
use super::index::{Shown, State};
use super::waves::{Doer, NewWave, find, refused};
use super::{act as act_alone, notify, start};
use crate::app::assertions::{check, read_stream};
use crate::app::catalog::register::SERIES;
use crate::app::catalog::validation_sets::{self, MOST_SNAPS, listed};
use crate::app::catalog::vouching::stored_below;
use crate::app::store::Snapshot;
use crate::app::{App, BrandCtx, Refusal, StoreCtx, sign as signing, vault_event};
use crate::domain::access::Permission;
use crate::domain::assertion::types::{SetPresence, ValidationSet};
use crate::domain::assertion::{Assertion, AssertionType, PrimaryKey, Statement, Typed, decode};
use crate::domain::audit::AuditEvent;
use crate::domain::fleet::{
    Act, Binding, Document, Entry, Listed, ProductionMap, SetRef, WaveRecord, WaveStatus, contents,
};
use crate::domain::ident::{AccountId, KeyId, KeyName, SetName, SnapId, StoreId, Tag, WaveName};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit};

/// How a wave binds devices, beside what the store decides.
#[derive(Clone, Debug, Default)]
pub struct NewBinding {
    /// The name of its validation sets; that of earlier waves of the tag, else the tag.
    pub set: Option<SetName>,
    /// The key of the brand that signs them here; none = they are signed elsewhere.
    pub key: Option<KeyName>,
}

/// The validation sets that a new wave makes, if it makes any. The first time, the numbers of the tag go on after those that
/// are there.
///
/// # Errors
/// `signature-required`, `set-differs`, `set-in-use`, `invalid-set`.
pub(super) async fn set_of(
    app: &App,
    ctx: &BrandCtx,
    new: &NewWave,
    map: &mut ProductionMap,
) -> Result<Option<SetRef>, Refusal> {
    let cannot = |why: String| format!("cannot make wave {}: {why}", new.name);
    let Some(binding) = &new.binding else {
        return match &map.set {
            None => Ok(None),
            Some(set) => Err(Refusal::conflict(
                "signature-required",
                cannot(format!(
                    "waves of tag {} make validation set {}, which has to be signed; name a key of the brand, or have \
                     the documents written to be signed elsewhere",
                    new.tag, set.name
                )),
            )),
        };
    };
    if let Some(known) = &map.set {
        return match &binding.set {
            Some(name) if *name != known.name => Err(Refusal::conflict(
                "set-differs",
                cannot(format!(
                    "waves of tag {} make validation set {}; that stays so",
                    new.tag, known.name
                )),
            )),
            _ => Ok(Some(known.clone())),
        };
    }
    let name = match &binding.set {
        Some(name) => name.clone(),
        None => new.tag.as_str().parse().map_err(|_| {
            Refusal::invalid(
                "invalid-set",
                cannot(format!(
                    "tag {} is no name of a validation set; name the set",
                    new.tag
                )),
            )
        })?,
    };
    let set = SetRef {
        account: AccountId::from(ctx.brand().clone()),
        name,
    };
    let last = last_stored(app, &set).await?;
    if last > 0 && !ctx.may(Permission::ValidationSetSign) {
        return Err(Refusal::conflict(
            "set-in-use",
            cannot(format!(
                "the brand makes validation set {} itself; name another one",
                set.name
            )),
        ));
    }
    if app.fleet.read().maker(&set).is_some() {
        return Err(Refusal::conflict(
            "set-in-use",
            cannot(format!(
                "waves of another tag make validation set {}; name another one",
                set.name
            )),
        ));
    }
    map.issued = map.issued.max(last);
    map.set = Some(set.clone());
    Ok(Some(set))
}

/// The highest number of a set that is stored; 0 = there is none.
async fn last_stored(app: &App, set: &SetRef) -> Result<u64, Refusal> {
    let key = [SERIES, set.account.as_str(), set.name.as_str()];
    let key = PrimaryKey(key.map(str::to_owned).into());
    let kind = AssertionType::ValidationSet;
    let stored = app.storage.sequence_member(kind, &key, None, u32::MAX).await?;
    let last = stored.and_then(|stored| stored.reference.key.0.last()?.parse().ok());
    Ok(last.unwrap_or(0))
}

/// The documents of a new wave, not yet signed.
///
/// # Errors
/// `several-revisions`, `invalid-wave`.
pub(super) async fn draw(
    app: &App,
    catalog: &Snapshot,
    set: SetRef,
    map: &ProductionMap,
    (new, sequence, entries): (&NewWave, u64, &[Entry]),
    prune: &BTreeSet<SnapId>,
) -> Result<Binding, Refusal> {
    let name = &new.name;
    let kept = kept(&app.fleet.read(), map);
    let (comes, was) =
        contents(map, (new.kind, entries), prune, &kept).map_err(|error| refused("make", name, &error))?;
    if comes.len().max(was.len()) > MOST_SNAPS {
        return Err(Refusal::invalid(
            "invalid-wave",
            format!("cannot make wave {name}: its validation set would have more than {MOST_SNAPS} snaps"),
        ));
    }
    let required = required(app, &set).await?;
    let document = |sequence, said: BTreeMap<SnapId, Option<u64>>| {
        // What the catalogue does not know any more has no name, and no device could get it.
        let snaps = said.into_iter().filter_map(|(id, revision)| {
            Some(Listed {
                name: catalog.name_of(&id)?.clone(),
                required: required.contains(&id),
                id,
                revision,
            })
        });
        let mut snaps: Vec<Listed> = snaps.collect();
        snaps.sort_by(|one, other| one.name.cmp(&other.name));
        Document {
            sequence,
            snaps,
            assertion: None,
        }
    };
    Ok(Binding {
        wave: document(sequence, comes),
        abort: document(sequence.saturating_add(1), was),
        set,
    })
}

/// What devices may have of waves of a tag that were cancelled after some saw them, unless a rollback came after.
fn kept(state: &State, map: &ProductionMap) -> Vec<Entry> {
    let cancelled = state
        .waves(&map.store)
        .map(Shown::wave)
        .filter(|wave| wave.tag == map.tag && wave.status == WaveStatus::Canceled && wave.rollouts > 0);
    let left = cancelled.flat_map(|wave| {
        let stays = |entry: &&Entry| {
            let published = map.find(entry.pin.by_ref());
            published.is_none_or(|published| published.rollback < wave.sequence)
        };
        wave.entries().iter().filter(stays)
    });
    left.cloned().collect()
}

/// The snaps that all devices have whose model follows the set. Others are optional: a device drops a set of which it lacks a
/// required snap.
async fn required(app: &App, set: &SetRef) -> Result<BTreeSet<SnapId>, Refusal> {
    let prefix = vec![SERIES.to_owned(), set.account.to_string()];
    let models = stored_below(app, AssertionType::Model, prefix).await?;
    let mut common: Option<BTreeSet<SnapId>> = None;
    for model in &models {
        let Typed::Model(model) = model.typed() else {
            continue;
        };
        let follows = model
            .validation_sets
            .iter()
            .any(|one| one.account_id == set.account.as_str() && one.name == set.name.as_str());
        if !follows {
            continue;
        }
        let ids = model
            .required_snaps()
            .filter_map(|snap| snap.id.as_ref()?.parse().ok());
        let ids: BTreeSet<SnapId> = ids.collect();
        common = Some(match common {
            None => ids,
            Some(common) => common.intersection(&ids).cloned().collect(),
        });
    }
    Ok(common.unwrap_or_default())
}

/// A document as it is signed.
pub fn statement(set: &SetRef, document: &Document, created: Timestamp) -> Statement {
    let snaps = document.snaps.iter().map(|snap| {
        let presence = match snap.required {
            true => SetPresence::Required,
            false => SetPresence::Optional,
        };
        listed(&snap.name, &snap.id, Some(presence), snap.revision)
    });
    let (account, name) = (&set.account, set.name.as_str());
    validation_sets::statement(account, name, document.sequence, created, snaps.collect())
}

/// Signs both documents with a key of the brand; the events are to be recorded with them.
///
/// # Errors
/// Those of the key. A key that the caller may not sign validation sets with is not there for them.
pub(super) async fn sign_here(
    app: &App,
    ctx: &BrandCtx,
    binding: &mut Binding,
    key: &KeyName,
    created: Timestamp,
) -> Result<Vec<AuditEvent>, Refusal> {
    if !ctx.may(Permission::ValidationSetSign) {
        return Err(Refusal::not_found(format!(
            "cannot find key {key}: you have none of this name; have the documents written to be signed elsewhere"
        )));
    }
    let set = binding.set.clone();
    let mut events = Vec::new();
    for document in [&mut binding.wave, &mut binding.abort] {
        let statement = statement(&set, document, created);
        let assertion = validation_sets::signed(app, ctx.brand(), key, statement).await?;
        let detail = json!({ "key": key });
        let event = vault_event(app, ctx, "validation-set.sign", set.name.as_str(), &detail);
        events.push(signing::record(event, &assertion));
        document.assertion = Some(text(&assertion));
    }
    Ok(events)
}

fn text(assertion: &Assertion) -> String {
    String::from_utf8_lossy(assertion.encoded()).into_owned()
}

/// The documents of a wave, as they are signed.
///
/// # Errors
/// Absent, also where the wave has none.
pub async fn documents(app: &App, ctx: &StoreCtx, name: &WaveName) -> Result<[Statement; 2], Refusal> {
    start(app).await?;
    let (record, _) = find(app, &ctx.store().id, name)?;
    let binding = record.binding.as_ref().ok_or_else(|| {
        Refusal::not_found(format!(
            "cannot find documents of wave {name}: it makes no validation set"
        ))
    })?;
    let document = |document| statement(&binding.set, document, record.created);
    Ok([document(&binding.wave), document(&binding.abort)])
}

/// Takes the signed documents of a wave, together or one after the other. Once it has both it can be rolled out.
///
/// # Errors
/// `invalid-assertion`, `assertion-refused` (somebody else's key), `assertion-differs` (it says something else), `not-bound`,
/// `wave-signed`, what else the status of the wave forbids; absent.
pub async fn sign(
    app: &App,
    ctx: &StoreCtx,
    name: &WaveName,
    stream: Bytes,
) -> Result<Arc<WaveRecord>, Refusal> {
    let given = read_stream(stream, app.settings.limits.assertion)?;
    // Tools add the chain of the key: that is here, or the signature counts for nothing.
    let is_chain = |one: &Assertion| matches!(one.kind(), AssertionType::Account | AssertionType::AccountKey);
    let given: Vec<Assertion> = given.into_iter().filter(|one| !is_chain(one)).collect();
    if given.is_empty() {
        return Err(Refusal::invalid(
            "invalid-assertion",
            format!("cannot sign wave {name}: there is no validation-set in the input"),
        ));
    }
    for assertion in &given {
        if let Err(why) = check(app, assertion).await? {
            return Err(Refusal::invalid(
                "assertion-refused",
                format!(
                    "cannot sign wave {name}: {why}; register the key that signed it first, and make the wave after that"
                ),
            ));
        }
    }
    let store = &ctx.store().id;
    let doer = Doer {
        account: ctx.account(),
        event: vault_event(app, ctx.brand(), "wave.sign", store.as_str(), &json!({})),
        why: None,
    };
    take(app, store, name, &given, doer).await
}

/// The same, of what has been checked.
pub(in crate::app) async fn take(
    app: &App,
    store: &StoreId,
    name: &WaveName,
    given: &[Assertion],
    doer: Doer<'_>,
) -> Result<Arc<WaveRecord>, Refusal> {
    start(app).await?;
    let _one_at_a_time = act_alone(app).await?;
    let mut tries = Tries::default();
    loop {
        let refusal = match take_once(app, store, name, given, doer.clone()).await {
            Err(refusal) => refusal,
            taken => return taken,
        };
        if !tries.again(app, &refusal).await? {
            return Err(refusal);
        }
    }
}

async fn take_once(
    app: &App,
    store: &StoreId,
    name: &WaveName,
    given: &[Assertion],
    doer: Doer<'_>,
) -> Result<Arc<WaveRecord>, Refusal> {
    let now = app.clock.now();
    let (found, version) = find(app, store, name)?;
    let mut record = WaveRecord::clone(&found);
    let Some(binding) = &mut record.binding else {
        return Err(Refusal::conflict(
            "not-bound",
            format!("cannot sign wave {name}: it makes no validation set, the store alone decides"),
        ));
    };
    for assertion in given {
        let document = fits(binding, assertion).map_err(|why| {
            Refusal::invalid("assertion-differs", format!("cannot sign wave {name}: {why}"))
        })?;
        document.assertion = Some(text(assertion));
    }
    let whole = binding.is_signed();
    if whole || record.wave.status != WaveStatus::Draft {
        record
            .wave
            .act(Act::Sign, now)
            .map_err(|error| refused("sign", name, &error))?;
    }
    record.authorship.change(doer.account, now);
    let mut event = doer.event;
    if whole {
        notify::tell(app, &mut record, &event.action);
    }
    event.detail.insert("wave".to_owned(), json!(name));
    event.detail.insert("tag".to_owned(), json!(record.wave.tag));
    event.detail.insert(
        "signed".to_owned(),
        json!(given.iter().map(signature).collect::<Vec<_>>()),
    );
    app.commit(Commit {
        records: vec![Change::replace(&record, version)],
        audit: vec![event],
        ..Commit::default()
    })
    .await?;
    let record = Arc::new(record);
    app.fleet
        .write(|state| state.put_wave(Arc::clone(&record), version + 1));
    Ok(record)
}

fn signature(assertion: &Assertion) -> serde_json::Value {
    json!({
        "validation-set": assertion.primary_key().0.join("/"),
        "sign-key-sha3-384": assertion.sign_key(),
    })
}

/// The document that an assertion is the signed form of, or why it is that of none.
fn fits<'b>(binding: &'b mut Binding, assertion: &Assertion) -> Result<&'b mut Document, String> {
    let Typed::ValidationSet(said) = assertion.typed() else {
        return Err(format!(
            "a validation-set is expected, this is a {}",
            assertion.kind()
        ));
    };
    let set = binding.set.clone();
    if said.series != SERIES || said.account_id != set.account.as_str() || said.name != set.name.as_str() {
        return Err(format!("it is of validation set {}, not {}", said.name, set.name));
    }
    let numbers = (binding.wave.sequence, binding.abort.sequence);
    let document = binding.document_mut(said.sequence).ok_or_else(|| {
        format!(
            "its sequence is {}; {} and {} are those of the wave and of what takes it back",
            said.sequence, numbers.0, numbers.1
        )
    })?;
    match differs(document, said) {
        Some(snap) => Err(format!(
            "what it says of snap {snap} in sequence {} is not what the wave says",
            said.sequence
        )),
        None => Ok(document),
    }
}

/// A snap of which an assertion says something else than the document.
fn differs(document: &Document, said: &ValidationSet) -> Option<String> {
    let one_more = said.snaps.iter().find(|snap| {
        !document
            .snaps
            .iter()
            .any(|listed| listed.id.as_str() == snap.id && listed.name.as_str() == snap.name)
    });
    if let Some(snap) = one_more {
        return Some(snap.name.clone());
    }
    let other = document.snaps.iter().find(|listed| {
        !said.snaps.iter().any(|snap| {
            listed.id.as_str() == snap.id
                && listed.revision == snap.revision
                && snap.components.is_empty()
                && snap.presence
                    == match listed.required {
                        true => SetPresence::Required,
                        false => SetPresence::Optional,
                    }
        })
    });
    other.map(|listed| listed.name.to_string())
}

/// Whether a wave that was never signed is cancelled, and no other wave of its tag ever made its set.
pub(super) fn was_first(state: &State, record: &WaveRecord) -> bool {
    let Some(binding) = record.binding.as_ref().filter(|_| !record.wave.is_open()) else {
        return false;
    };
    !state.waves(&record.wave.store).any(|other| {
        other.wave().tag == record.wave.tag
            && other
                .record
                .binding
                .as_ref()
                .is_some_and(|other| other.set == binding.set && other.is_signed())
    })
}

/// The signed documents of a wave count still: their key may have been revoked.
///
/// # Errors
/// `assertion-refused`.
pub(super) async fn check_documents(app: &App, doing: &str, record: &WaveRecord) -> Result<(), Refusal> {
    let Some(binding) = &record.binding else {
        return Ok(());
    };
    for document in [&binding.wave, &binding.abort] {
        let Some(assertion) = assertion_of(document) else {
            continue;
        };
        if let Err(why) = check(app, &assertion).await? {
            let name = &record.wave.name;
            return Err(Refusal::conflict(
                "assertion-refused",
                format!("cannot {doing} wave {name}: {why}; cancel it and make another one"),
            ));
        }
    }
    Ok(())
}

/// The assertion of a document, to be kept as what is published.
pub(super) fn assertion_of(document: &Document) -> Option<Assertion> {
    decode(document.assertion.as_ref()?.as_bytes()).ok()
}

/// A wave with documents that this key signed and devices are told of: they would count for nothing without it.
///
/// # Errors
/// If the database is out of reach.
pub(in crate::app) async fn open_with_key(app: &App, key: &KeyId) -> Result<Option<WaveName>, Refusal> {
    look(app).await?;
    let state = app.fleet.read();
    let signed =
        |document: &Document| assertion_of(document).is_some_and(|assertion| assertion.sign_key() == key);
    let told = state.open_waves().chain(state.all_left_behind());
    let mut bound = told.filter(|shown| {
        let binding = shown.record.binding.as_ref();
        binding.is_some_and(|binding| signed(&binding.wave) || signed(&binding.abort))
    });
    Ok(bound.next().map(|shown| shown.wave().name.clone()))
}

/// The tag whose waves make a validation set, and the last sequence they published.
///
/// # Errors
/// If the database is out of reach.
pub(in crate::app) async fn maker(
    app: &App,
    account: &AccountId,
    name: &str,
) -> Result<Option<(Tag, u64)>, Refusal> {
    look(app).await?;
    let Ok(name) = name.parse() else { return Ok(None) };
    let set = SetRef {
        account: account.clone(),
        name,
    };
    let state = app.fleet.read();
    Ok(state.maker(&set).map(|(store, tag)| {
        let published = state.stream(store, tag).map_or(0, |stream| stream.map.published);
        (tag.clone(), published)
    }))
}

/// What somebody brings who signed a validation set, where waves make that set: the store and the name of the wave that waits for
/// it; none = waves have nothing to do with the set.
///
/// # Errors
/// `made-by-waves`: no wave waits for this number.
pub(in crate::app) async fn waiting_for(
    app: &App,
    said: &ValidationSet,
) -> Result<Option<(StoreId, WaveName)>, Refusal> {
    look(app).await?;
    let (Ok(account), Ok(name)) = (said.account_id.parse(), said.name.parse()) else {
        return Ok(None);
    };
    let set = SetRef { account, name };
    let state = app.fleet.read();
    let Some((store, tag)) = state.maker(&set) else {
        return Ok(None);
    };
    let waits = state.open(store, tag).filter(|shown| {
        shown.wave().status == WaveStatus::Draft
            && shown
                .record
                .binding
                .as_ref()
                .is_some_and(|binding| binding.document(said.sequence).is_some())
    });
    match waits {
        Some(shown) => Ok(Some((store.clone(), shown.wave().name.clone()))),
        None => Err(Refusal::conflict(
            "made-by-waves",
            format!(
                "cannot take validation set {} {}: waves of tag {tag} make it, and none waits for this number; \
                 make a wave, and sign its documents",
                said.name, said.sequence
            ),
        )),
    }
}
