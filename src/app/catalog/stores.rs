//! Making stores and changing their settings (admin-api.md 1.1, 1.5).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::changes::{apply, apply_all};
use crate::app::{App, BrandCtx, Refusal, brands, vault_event};
use crate::domain::access::{Permission, ReviewPolicy, StoreRecord};
use crate::domain::catalog::{Changed, SnapPrefix, StoreKind};
use crate::domain::ident::{SnapName, StoreId};
use crate::ports::{Change, Commit, CommitOutcome, Kind};

/// The id that clients know the public store by: no store of an instance is called so.
const GLOBAL: &str = "ubuntu";
/// Longest name of a store, in characters.
const MAX_NAME: usize = 128;
/// Most beginnings of names a store may have.
const MAX_PREFIXES: usize = 100;

/// A store to be made.
#[derive(Clone, Debug)]
pub struct NewStore {
    /// Its id, unique on the instance.
    pub id: StoreId,
    /// For people.
    pub name: String,
    /// The base store it is a view of; none = it is a base store itself.
    pub parent: Option<StoreId>,
    /// What a view is for; none = a product.
    pub kind: Option<StoreKind>,
}

/// Settings of a store; what is none stays as it is.
#[derive(Clone, Debug, Default)]
pub struct StoreSettings {
    /// For people.
    pub name: Option<String>,
    /// Not shown to who names no store.
    pub private: Option<bool>,
    /// What happens to uploads after the automatic checks.
    pub review_policy: Option<ReviewPolicy>,
    /// Stores whose snaps may be put in one by one. The operator's.
    pub inclusion_sources: Option<BTreeSet<StoreId>>,
    /// Stores that may take snaps from here. The operator's.
    pub inclusion_targets: Option<BTreeSet<StoreId>>,
    /// Stores whose own snaps are all here too. The operator's.
    pub whole_stores: Option<BTreeSet<StoreId>>,
    /// How names of snaps registered here begin. The operator's.
    pub name_prefixes: Option<Vec<SnapPrefix>>,
}

/// Makes a store. A view begins with its parent as the one store to include snaps from; base stores are made by the
/// operator.
///
/// # Errors
/// `store-exists`, `not-a-base-store` for the parent, `invalid-name`.
pub async fn create(app: &App, ctx: &BrandCtx, new: NewStore) -> Result<StoreRecord, Refusal> {
    check_name(&new.name)?;
    if new.id.as_str() == GLOBAL {
        return Err(Refusal::invalid(
            "reserved-store",
            format!("cannot create store {}: clients call the public store so", new.id),
        ));
    }
    let mut store = StoreRecord::new(new.id, ctx.brand().clone(), new.name, app.clock.now());
    let mut records = Vec::new();
    match new.parent {
        None => {
            if !ctx.may(Permission::StoreProvision) {
                return Err(Refusal::not_found(format!(
                    "cannot create base store {}: only the instance operator may; name a base store with --parent to \
                     make a view of it",
                    store.id
                )));
            }
            if new.kind.is_some() {
                return Err(Refusal::invalid(
                    "invalid-kind",
                    format!("cannot create base store {}: only views have a kind", store.id),
                ));
            }
        }
        Some(parent) => {
            let parent = brands::store(app, ctx, &parent).await?;
            if parent.record.parent.is_some() {
                return Err(Refusal::invalid(
                    "not-a-base-store",
                    format!(
                        "cannot create store {}: {} is no base store, so nothing can be a view of it",
                        store.id, parent.record.id
                    ),
                ));
            }
            store.inclusion_sources.insert(parent.record.id.clone());
            store.parent = Some(parent.record.id.clone());
            store.kind = Some(new.kind.unwrap_or(StoreKind::Product));
            // The parent takes part, so that it cannot go while a view of it is made.
            records.push(Change::replace(&parent.record, parent.version));
        }
    }
    records.push(Change::create(&store));
    let detail = json!({ "parent": store.parent, "kind": store.kind, "name": store.name });
    let audit = vec![vault_event(app, ctx, "store.create", store.id.as_str(), &detail)];
    let commit = Commit {
        records,
        audit,
        ..Commit::default()
    };
    match apply(app, commit, &[Changed::Store(store.id.clone())]).await? {
        CommitOutcome::Conflict {
            kind: Kind::Store,
            key,
        } if key.0.first().is_some_and(|id| id == store.id.as_str()) => Err(Refusal::conflict(
            "store-exists",
            format!("cannot create store {}: the id is in use", store.id),
        )),
        outcome => App::settle(&outcome).map(|()| store),
    }
}

/// Changes settings of a store. What the operator decides is absent to everybody else.
///
/// # Errors
/// `invalid-name`, `invalid-prefix`, `not-a-base-store`; unknown stores are not found.
pub async fn configure(
    app: &App,
    ctx: &BrandCtx,
    id: &StoreId,
    settings: StoreSettings,
) -> Result<StoreRecord, Refusal> {
    let provisions = settings.inclusion_sources.is_some()
        || settings.inclusion_targets.is_some()
        || settings.whole_stores.is_some()
        || settings.name_prefixes.is_some();
    if provisions && !ctx.may(Permission::StoreProvision) {
        return Err(Refusal::not_found(format!(
            "cannot change where store {id} takes snaps from, or how their names begin: only the instance operator may"
        )));
    }
    let found = brands::store(app, ctx, id).await?;
    let mut store = found.record;
    let detail = detail(&settings);
    if let Some(name) = settings.name {
        check_name(&name)?;
        store.name = name;
    }
    if let Some(private) = settings.private {
        store.private = private;
    }
    if let Some(policy) = settings.review_policy {
        store.review_policy = policy;
    }
    if let Some(sources) = settings.inclusion_sources {
        for source in &sources {
            base_store(app, &store, source).await?;
        }
        store.inclusion_sources = sources;
    }
    if let Some(targets) = settings.inclusion_targets {
        for target in &targets {
            any_store(app, target).await?;
        }
        store.inclusion_targets = targets;
    }
    if let Some(whole) = settings.whole_stores {
        for source in &whole {
            base_store(app, &store, source).await?;
        }
        store.whole_stores = whole;
    }
    if let Some(prefixes) = settings.name_prefixes {
        check_prefixes(&store, &prefixes)?;
        store.name_prefixes = prefixes;
    }
    let commit = Commit {
        records: vec![Change::replace(&store, found.version)],
        audit: vec![vault_event(app, ctx, "store.configure", id.as_str(), &detail)],
        ..Commit::default()
    };
    apply_all(app, commit, &[Changed::Store(store.id.clone())]).await?;
    Ok(store)
}

fn detail(settings: &StoreSettings) -> Value {
    json!({
        "name": settings.name,
        "private": settings.private,
        "manual-review-policy": settings.review_policy,
        "allowed-inclusion-source-stores": settings.inclusion_sources,
        "allowed-inclusion-target-stores": settings.inclusion_targets,
        "store-whitelist": settings.whole_stores,
        "snap-name-prefixes": settings.name_prefixes,
    })
}

async fn any_store(app: &App, id: &StoreId) -> Result<StoreRecord, Refusal> {
    let found = app.storage.find::<StoreRecord>([id.as_str()]).await?;
    found
        .map(|found| found.record)
        .ok_or_else(|| Refusal::not_found(format!("cannot find store {id}: there is none on this instance")))
}

/// A store that others can take snaps from: only base stores have snaps of their own.
async fn base_store(app: &App, taking: &StoreRecord, id: &StoreId) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        let message = format!("cannot let store {} take snaps from store {id}: {why}", taking.id);
        Err(Refusal::invalid("not-a-base-store", message))
    };
    if *id == taking.id {
        return refuse("that is itself");
    }
    match any_store(app, id).await?.parent {
        Some(_) => refuse("it is a view and has no snaps of its own"),
        None => Ok(()),
    }
}

fn check_prefixes(store: &StoreRecord, prefixes: &[SnapPrefix]) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        Err(Refusal::invalid(
            "invalid-prefix",
            format!("cannot use these prefixes: {why}"),
        ))
    };
    if store.parent.is_some() && !prefixes.is_empty() {
        return refuse("names are registered in base stores only");
    }
    if prefixes.len() > MAX_PREFIXES {
        return refuse(&format!("there are more than {MAX_PREFIXES}"));
    }
    // What a name can begin with is what becomes a name with a letter behind it.
    let bad = prefixes
        .iter()
        .find(|known| format!("{}a", known.prefix).parse::<SnapName>().is_err());
    match bad {
        Some(bad) => refuse(&format!("no name of a snap begins with {:?}", bad.prefix)),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let length = name.chars().count();
    if (1..=MAX_NAME).contains(&length) && name.trim() == name && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "invalid-name",
        format!(
            "cannot use this store name: it needs 1 to {MAX_NAME} characters on one line, without outer spaces"
        ),
    ))
}
