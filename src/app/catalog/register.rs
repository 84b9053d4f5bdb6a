//! Registering names: a snap gets its id and its first snap-declaration, or takes over the imported one where another
//! root signs for the brand (contract.md 3).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::changes::apply;
use super::publishers::{self, Publisher};
use super::signed;
use crate::app::instance::{assertion, root};
use crate::app::sign::sign;
use crate::app::{App, BrandCtx, Reason, Refusal, SnapCtx, brands, vault_event};
use crate::domain::access::secret::random_letters;
use crate::domain::access::{Brand, StoreRecord};
use crate::domain::assertion::types::SnapDeclaration;
use crate::domain::assertion::{Assertion, AssertionType, Headers, Ref, Statement, Typed, decode};
use crate::domain::catalog::{
    Changed, Inclusion, Listing, NameRefusal, Registrant, Releases, ShareInvite, SnapRecord, may_be,
    may_register, well_known_id,
};
use crate::domain::ident::{AccountId, BrandId, SnapId, SnapName, StoreId};
use crate::domain::snap::SnapType;
use crate::ports::{AssertionFilter, Change, Commit, CommitOutcome, Key, Kind, PutRule};

/// The one series.
pub(in crate::app) const SERIES: &str = "16";

/// A name to be registered.
#[derive(Clone, Debug)]
pub struct NewSnap {
    /// The name.
    pub name: SnapName,
    /// The base store; none = the brand's.
    pub store: Option<StoreId>,
    /// Username, e-mail address or id of an account, or the brand; none = the caller.
    pub publisher: Option<String>,
    /// Only for those who prove to belong to a store that shows it.
    pub private: bool,
}

/// Registers a name.
///
/// # Errors
/// `name-taken`, `name-refused`, `not-a-base-store`, `private-essential`; in delegated brands `declaration-required`.
pub async fn register(app: &App, ctx: &BrandCtx, new: &NewSnap) -> Result<SnapRecord, Refusal> {
    let mut commit = Commit::default();
    let (record, _) = prepare(app, ctx, new, None, &mut commit).await?;
    commit.records.push(Change::create(&record));
    let changed = [Changed::Snap(record.id.clone())];
    settle(&apply(app, commit, &changed).await?, &record).map(|()| record)
}

/// What the outcome of a commit that makes `record` means.
fn settle(outcome: &CommitOutcome, record: &SnapRecord) -> Result<(), Refusal> {
    match outcome {
        CommitOutcome::Taken { kind: Kind::Snap, .. } | CommitOutcome::Conflict { kind: Kind::Snap, .. } => {
            Err(taken(&record.name))
        }
        outcome => App::settle(outcome),
    }
}

pub(super) fn taken(name: &SnapName) -> Refusal {
    Refusal::conflict(
        "name-taken",
        format!("cannot register {name}: a snap of this name is registered already"),
    )
}

/// Gives the name of a snap back that never had a revision: others may have it then, as another snap.
///
/// # Errors
/// `snap-has-revisions`; `declaration-required` where another root declares the snap.
pub async fn unregister(app: &App, ctx: &SnapCtx) -> Result<(), Refusal> {
    for _ in 0..super::snaps::ATTEMPTS {
        let id = ctx.snap().id.as_str();
        let found = app
            .storage
            .find::<SnapRecord>([id])
            .await?
            .ok_or_else(|| Refusal::not_found(format!("cannot find snap {}", ctx.snap().name)))?;
        let snap = &found.record;
        let refuse = |code, why: &str| {
            let message = format!("cannot give back the name {}: {why}", snap.name);
            Err(Refusal::conflict(code, message))
        };
        if snap.newest_revision > 0 {
            return refuse(
                "snap-has-revisions",
                "it has revisions; close its channels instead",
            );
        }
        if brands::show(app, ctx.brand()).await?.delegated {
            return refuse(
                "declaration-required",
                "another root declares it; have it taken away there",
            );
        }
        let mut commit = Commit {
            records: vec![Change::delete(snap, found.version)],
            ..Commit::default()
        };
        // Devices that know the snap hear that it has no name any more.
        let declared = declaration_of(app, snap).await?;
        let mut headers = declared.headers().clone();
        headers.set("snap-name", "");
        headers.set("revision", (declared.revision() + 1).to_string());
        headers.set("timestamp", app.clock.now().to_string());
        for of_signature in ["sign-key-sha3-384", "body-length"] {
            headers.remove(of_signature);
        }
        let statement = Statement::new(AssertionType::SnapDeclaration, headers, Vec::new());
        let declaration = sign(app, &root(app).await?, statement).await?;
        signed(app, ctx.brand(), &mut commit, &declaration, PutRule::Newer);
        let mut changed = vec![Changed::Snap(snap.id.clone())];
        for inclusion in app.storage.all::<Inclusion>(Key(Vec::new())).await? {
            if inclusion.record.snap_id == snap.id {
                commit
                    .records
                    .push(Change::delete(&inclusion.record, inclusion.version));
                changed.push(Changed::Store(inclusion.record.store_id));
            }
        }
        for invite in app.storage.all::<ShareInvite>([id]).await? {
            commit
                .records
                .push(Change::delete(&invite.record, invite.version));
        }
        let detail = json!({ "snap-id": snap.id });
        let name = snap.name.as_str();
        commit
            .audit
            .push(vault_event(app, ctx.brand(), "snap.unregister", name, &detail));
        match apply(app, commit, &changed).await? {
            CommitOutcome::Conflict { .. } | CommitOutcome::OldRevision { .. } => {}
            outcome => return App::settle(&outcome),
        }
    }
    Err(App::changed_meanwhile())
}

/// Judges whether the name may be registered, for a snap of type `kind` where that is known, and makes its record. What
/// has to be stored with it (account, snap-declaration, audit event) is added to `commit`; the record is the caller's
/// to add. The second value is the snap-declaration.
pub(super) async fn prepare(
    app: &App,
    ctx: &BrandCtx,
    new: &NewSnap,
    kind: Option<SnapType>,
    commit: &mut Commit,
) -> Result<(SnapRecord, Assertion), Refusal> {
    let name = &new.name;
    ctx.check_name(name)?;
    let brand = brands::show(app, ctx).await?;
    let store_id = new.store.as_ref().unwrap_or(&brand.base_store);
    let store = brands::store(app, ctx, store_id).await?;
    if store.record.parent.is_some() {
        return Err(Refusal::invalid(
            "not-a-base-store",
            format!(
                "cannot register {name} in store {store_id}: it only shows snaps of other stores; name a base store"
            ),
        ));
    }
    if app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await?
        .is_some()
    {
        return Err(taken(name));
    }
    let (record, declaration) = if brand.delegated {
        imported(app, ctx, &brand, &store.record, new, kind).await?
    } else {
        own(app, ctx, &brand, &store.record, new, kind, commit).await?
    };
    if record.private && record.placed().essential() {
        return Err(Refusal::invalid(
            "private-essential",
            format!("cannot make {name} private: it is in every store"),
        ));
    }
    let detail = json!({
        "snap-id": record.id, "store-id": record.store_id, "publisher-id": record.publisher_id,
        "private": record.private,
    });
    commit
        .audit
        .push(vault_event(app, ctx, "snap.register", name.as_str(), &detail));
    Ok((record, declaration))
}

async fn own(
    app: &App,
    ctx: &BrandCtx,
    brand: &Brand,
    store: &StoreRecord,
    new: &NewSnap,
    kind: Option<SnapType>,
    commit: &mut Commit,
) -> Result<(SnapRecord, Assertion), Refusal> {
    let publisher = publishers::resolve(app, ctx, new.publisher.as_deref()).await?;
    judge(ctx, brand, store, &new.name, &publisher.id, kind)?;
    let id: SnapId = match well_known_id(&new.name) {
        Some(id) => id.parse()?,
        None => random_letters(32, |buffer| app.entropy.fill(buffer)).parse()?,
    };
    let account = publishers::missing_account(app, &publisher).await?;
    let declaration = declaration(app, &id, &new.name, &publisher).await?;
    if let Some(account) = account {
        // Two uploads of one publisher may both bring it.
        signed(app, ctx, commit, &account, PutRule::SkipOld);
    }
    signed(app, ctx, commit, &declaration, PutRule::Newer);
    Ok((record(app, brand, store, new, id, publisher.id), declaration))
}

/// A brand whose snaps another root declares: everything comes from the imported snap-declaration.
async fn imported(
    app: &App,
    ctx: &BrandCtx,
    brand: &Brand,
    store: &StoreRecord,
    new: &NewSnap,
    kind: Option<SnapType>,
) -> Result<(SnapRecord, Assertion), Refusal> {
    let name = &new.name;
    let (assertion, declaration) = find_imported(app, name).await?.ok_or_else(|| {
        Refusal::conflict(
            "declaration-required",
            format!(
                "cannot register {name}: another root signs for brand {}; import the snap-declaration of {name} first \
                 (`hallmark assertion import`)",
                brand.id
            ),
        )
    })?;
    let publisher_id = declaration.publisher_id.parse()?;
    if let Some(named) = &new.publisher
        && named != declaration.publisher_id.as_str()
        && publishers::resolve(app, ctx, Some(named)).await?.id != publisher_id
    {
        return Err(Refusal::conflict(
            "publisher-differs",
            format!(
                "cannot register {name} for {named}: its snap-declaration names {publisher_id} as the publisher"
            ),
        ));
    }
    judge(ctx, brand, store, name, &publisher_id, kind)?;
    let id = declaration.snap_id.parse()?;
    let mut record = record(app, brand, store, new, id, publisher_id);
    declares(&mut record, &assertion);
    Ok((record, assertion))
}

fn judge(
    ctx: &BrandCtx,
    brand: &Brand,
    store: &StoreRecord,
    name: &SnapName,
    publisher: &AccountId,
    kind: Option<SnapType>,
) -> Result<(), Refusal> {
    let by = registrant(ctx, &brand.id, publisher);
    may_register(name, store, by)
        .and_then(|()| kind.map_or(Ok(()), |kind| may_be(name, kind, by)))
        .map_err(|why| refuse_name(name, &why))
}

/// In which capacity the caller registers, or adds to, snaps of `publisher`.
pub(super) fn registrant(ctx: &BrandCtx, brand: &BrandId, publisher: &AccountId) -> Registrant {
    Registrant {
        brand: publisher.as_str() == brand.as_str(),
        operator: ctx.operates(),
    }
}

pub(super) fn refuse_name(name: &SnapName, why: &NameRefusal) -> Refusal {
    Refusal::invalid("name-refused", format!("cannot register {name}: {why}"))
}

fn record(
    app: &App,
    brand: &Brand,
    store: &StoreRecord,
    new: &NewSnap,
    id: SnapId,
    publisher_id: AccountId,
) -> SnapRecord {
    SnapRecord {
        id,
        name: new.name.clone(),
        brand_id: brand.id.clone(),
        store_id: store.id.clone(),
        publisher_id,
        collaborators: BTreeSet::new(),
        kind: None,
        private: new.private,
        revoked: false,
        listing: Listing::default(),
        tracks: BTreeSet::new(),
        guardrails: Vec::new(),
        default_track: None,
        aliases: BTreeSet::new(),
        refresh_control: BTreeSet::new(),
        newest_revision: 0,
        newest_components: BTreeMap::new(),
        releases: Releases::default(),
        featured: None,
        created: app.clock.now(),
    }
}

async fn declaration(
    app: &App,
    id: &SnapId,
    name: &SnapName,
    publisher: &Publisher,
) -> Result<Assertion, Refusal> {
    let root = root(app).await?;
    let mut headers = Headers::default();
    headers.set("authority-id", root.account_id.as_str());
    headers.set("series", SERIES);
    headers.set("snap-id", id.as_str());
    headers.set("snap-name", name.as_str());
    headers.set("publisher-id", publisher.id.as_str());
    headers.set("timestamp", app.clock.now().to_string());
    let statement = Statement::new(AssertionType::SnapDeclaration, headers, Vec::new());
    sign(app, &root, statement).await
}

/// The one stored snap-declaration with this name.
async fn find_imported(
    app: &App,
    name: &SnapName,
) -> Result<Option<(Assertion, Box<SnapDeclaration>)>, Refusal> {
    let kind = AssertionType::SnapDeclaration;
    let filter = AssertionFilter {
        kind,
        key_prefix: vec![SERIES.to_owned()],
        max_format: kind.info().max_format,
    };
    let mut found = None;
    for stored in app.storage.assertions(&filter).await? {
        let Ok(assertion) = decode(&stored.encoded) else {
            continue;
        };
        let Typed::SnapDeclaration(view) = assertion.typed() else {
            continue;
        };
        if view.snap_name != name.as_str() {
            continue;
        }
        if found.is_some() {
            return Err(Refusal::conflict(
                "declaration-ambiguous",
                format!("cannot register {name}: several imported snap-declarations have this name"),
            ));
        }
        let view = view.clone();
        found = Some((assertion, view));
    }
    Ok(found)
}

/// The snap-declaration in force of a snap.
pub(super) async fn declaration_of(app: &App, snap: &SnapRecord) -> Result<Assertion, Refusal> {
    let reference = Ref::new(AssertionType::SnapDeclaration, [SERIES, snap.id.as_str()]);
    assertion(app, &reference).await?.ok_or_else(|| {
        Refusal::new(
            Reason::Internal,
            "assertion-missing",
            format!("cannot find {reference}: run hallmark doctor"),
        )
    })
}

/// What imported assertions change about registered snaps. Snap-declarations: whose they are, their aliases, whether they
/// are there at all; the records are added to `commit`. Accounts: who publishes them, as people see it.
pub(in crate::app) async fn follow(
    app: &App,
    imported: &[Assertion],
    commit: &mut Commit,
) -> Result<Vec<Changed>, Refusal> {
    let mut newest: BTreeMap<&str, (&Assertion, &SnapDeclaration)> = BTreeMap::new();
    for assertion in imported {
        if let Typed::SnapDeclaration(view) = assertion.typed() {
            let known = newest.get(view.snap_id.as_str());
            if known.is_none_or(|(known, _)| known.revision() < assertion.revision()) {
                newest.insert(&view.snap_id, (assertion, view));
            }
        }
    }
    let mut changed = published(app, imported).await?;
    for (id, (assertion, view)) in newest {
        let Some(found) = app.storage.find::<SnapRecord>([id]).await? else {
            continue;
        };
        let mut record = found.record;
        record.publisher_id = view.publisher_id.parse()?;
        declares(&mut record, assertion);
        commit.records.push(Change::replace(&record, found.version));
        changed.push(Changed::Snap(record.id));
    }
    Ok(changed)
}

/// The snaps of the accounts among these assertions.
async fn published(app: &App, imported: &[Assertion]) -> Result<Vec<Changed>, Refusal> {
    let accounts: BTreeSet<&str> = imported
        .iter()
        .filter(|assertion| assertion.kind() == AssertionType::Account)
        .filter_map(|assertion| assertion.text("account-id"))
        .collect();
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let snaps = app.storage.all::<SnapRecord>(Key(Vec::new())).await?;
    Ok(snaps
        .into_iter()
        .filter(|found| accounts.contains(found.record.publisher_id.as_str()))
        .map(|found| Changed::Snap(found.record.id))
        .collect())
}

/// What the store itself has to know of a snap-declaration: whether it takes the snap away, the aliases it sets up, and
/// the snaps it gates.
pub(super) fn declares(record: &mut SnapRecord, declaration: &Assertion) {
    if let Typed::SnapDeclaration(view) = declaration.typed() {
        record.revoked = view.snap_name.is_empty();
        record.aliases = view.aliases.keys().chain(&view.auto_aliases).cloned().collect();
        // Free text on the wire; what is no id is no snap of ours.
        let gated = view.refresh_control.iter().filter_map(|id| id.parse().ok());
        record.refresh_control = gated.collect();
    }
}
