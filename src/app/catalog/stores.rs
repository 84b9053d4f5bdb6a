//! Making stores and changing their settings (admin-api.md 1.1, 1.5).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::changes::{apply, apply_all};
use crate::app::{App, BrandCtx, Refusal, StoreCtx, StoresCtx, accounts, brands, members, vault_event};
use crate::domain::access::{Membership, Permission, ReviewPolicy, Role, StoreRecord};
use crate::domain::audit::AuditEvent;
use crate::domain::catalog::{Changed, KnownPrefix, SnapPrefix, StoreKind, prefixes_of};
use crate::domain::ident::{Email, SnapName, StoreId};
use crate::ports::{Change, Commit, CommitOutcome, Key, Kind};

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
    /// Stores whose snaps may be put into a view one by one; none = its parent. Base stores of the brand; the operator
    /// may name others.
    pub inclusion_sources: Option<BTreeSet<StoreId>>,
    /// Not shown to who names no store.
    pub private: bool,
    /// What happens to uploads after the automatic checks.
    pub review_policy: ReviewPolicy,
    /// Who has which roles in it from the beginning.
    pub members: BTreeMap<Email, BTreeSet<Role>>,
}

impl NewStore {
    /// A store with the settings stores begin with.
    pub fn new(id: StoreId, name: String) -> Self {
        Self {
            id,
            name,
            parent: None,
            kind: None,
            inclusion_sources: None,
            private: false,
            review_policy: ReviewPolicy::default(),
            members: BTreeMap::new(),
        }
    }
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
    /// Stores whose snaps may be put in one by one: of the brand, or any by the operator.
    pub inclusion_sources: Option<BTreeSet<StoreId>>,
    /// Stores that may take snaps from here. The operator's.
    pub inclusion_targets: Option<BTreeSet<StoreId>>,
    /// Stores whose own snaps are all here too: of the brand, or any by the operator.
    pub whole_stores: Option<BTreeSet<StoreId>>,
    /// How names of snaps registered here begin. The operator's.
    pub name_prefixes: Option<Vec<SnapPrefix>>,
    /// How many unreleased revisions are kept of each snap registered here; `Some(None)` = all.
    pub keep_unreleased: Option<Option<u32>>,
}

/// A store with the beginnings of names that hold in it.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The store.
    pub store: StoreRecord,
    /// How names of snaps registered in it, or through it, begin; empty = anyhow.
    pub prefixes: Vec<KnownPrefix>,
}

/// The stores of the brand that the caller has a part in, by id.
pub async fn list(app: &App, ctx: &StoresCtx) -> Result<Vec<Configured>, Refusal> {
    let all = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
    let all: BTreeMap<StoreId, StoreRecord> = all
        .into_iter()
        .map(|found| (found.record.id.clone(), found.record))
        .collect();
    Ok(all
        .values()
        .filter(|store| ctx.includes(store))
        .map(|store| {
            let parent = store.parent.as_ref().and_then(|parent| all.get(parent));
            Configured {
                prefixes: prefixes_of(store, parent),
                store: store.clone(),
            }
        })
        .collect())
}

/// The beginnings of names that hold in a store.
pub async fn configured(app: &App, store: StoreRecord) -> Result<Configured, Refusal> {
    let parent = match &store.parent {
        Some(parent) => app.storage.find::<StoreRecord>([parent.as_str()]).await?,
        None => None,
    };
    let prefixes = prefixes_of(&store, parent.as_ref().map(|found| &found.record));
    Ok(Configured { store, prefixes })
}

/// Makes a store with its first members. A view begins with its parent as the one store to include snaps from, unless
/// others are named; base stores are made by the operator.
///
/// # Errors
/// `store-exists`, `not-a-base-store` for the parent, `invalid-name`, `roles-required`; unknown accounts are not found.
pub async fn create(app: &App, ctx: &BrandCtx, new: NewStore) -> Result<StoreRecord, Refusal> {
    check_name(&new.name)?;
    if new.id.as_str() == GLOBAL {
        return Err(Refusal::invalid(
            "reserved-store",
            format!("cannot create store {}: clients call the public store so", new.id),
        ));
    }
    let mut store = StoreRecord::new(new.id, ctx.brand().clone(), new.name, app.clock.now());
    store.private = new.private;
    store.review_policy = new.review_policy;
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
            if new.kind.is_some() || new.inclusion_sources.is_some() {
                return Err(Refusal::invalid(
                    "invalid-kind",
                    format!(
                        "cannot create base store {}: only views have a kind and include snaps of other stores",
                        store.id
                    ),
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
            match new.inclusion_sources {
                None => {
                    store.inclusion_sources.insert(parent.record.id.clone());
                }
                Some(sources) => {
                    let provisions = ctx.may(Permission::StoreProvision);
                    for source in &sources {
                        source_store(app, &store, source, provisions).await?;
                    }
                    store.inclusion_sources = sources;
                }
            }
            store.parent = Some(parent.record.id.clone());
            store.kind = Some(new.kind.unwrap_or(StoreKind::Product));
            // The parent takes part, so that it cannot go while a view of it is made.
            records.push(Change::replace(&parent.record, parent.version));
        }
    }
    records.push(Change::create(&store));
    let detail = json!({
        "parent": store.parent, "kind": store.kind, "name": store.name,
        "allowed-inclusion-source-stores": store.inclusion_sources,
    });
    let mut audit = vec![vault_event(app, ctx, "store.create", store.id.as_str(), &detail)];
    let (members, events) = first_members(app, ctx, &store, new.members).await?;
    records.extend(members);
    audit.extend(events);
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

/// The memberships a store begins with. The role `brand` belongs in the base store of a brand, which `brand create` makes.
async fn first_members(
    app: &App,
    ctx: &BrandCtx,
    store: &StoreRecord,
    members: BTreeMap<Email, BTreeSet<Role>>,
) -> Result<(Vec<Change>, Vec<AuditEvent>), Refusal> {
    if !members.is_empty() && !ctx.may(Permission::MemberManage) {
        return Err(Refusal::not_found(format!(
            "cannot add members to store {}: your role does not allow it",
            store.id
        )));
    }
    if members.len() > members::MAX_CHANGES {
        return Err(Refusal::invalid(
            "too-many-members",
            format!(
                "cannot create store {} with more than {} members: add the others later",
                store.id,
                members::MAX_CHANGES
            ),
        ));
    }
    let mut made = (Vec::new(), Vec::new());
    for (email, roles) in members {
        if roles.is_empty() || roles.contains(&Role::Brand) {
            return Err(Refusal::invalid(
                "roles-required",
                format!(
                    "cannot add {email} to store {}: name roles other than brand",
                    store.id
                ),
            ));
        }
        let account = accounts::known_in(app, &store.brand_id, &store.id, &email)
            .await?
            .record;
        members::check_first(app, ctx.brand(), &account, &roles).await?;
        let membership = Membership {
            brand_id: store.brand_id.clone(),
            store_id: store.id.clone(),
            account_id: account.id.clone(),
            roles: roles.iter().copied().collect(),
            changed: store.created,
        };
        made.0.push(Change::create(&membership));
        let detail = json!({ "roles-before": [], "roles": roles });
        let subject = format!("{}/{}", store.id, account.id);
        made.1
            .push(vault_event(app, ctx, "member.set", &subject, &detail));
    }
    Ok(made)
}

/// Changes settings of a store. From which stores of its own brand a view takes snaps, administrators of the brand say;
/// about other brands' stores the operator decides, and about targets and prefixes. What somebody may not decide is
/// absent to them.
///
/// # Errors
/// `invalid-name`, `invalid-prefix`, `not-a-base-store`; unknown stores are not found.
pub async fn configure(app: &App, ctx: &StoreCtx, settings: StoreSettings) -> Result<StoreRecord, Refusal> {
    let id = &ctx.store().id;
    let provisions = ctx.may(Permission::StoreProvision);
    let operators = settings.inclusion_targets.is_some() || settings.name_prefixes.is_some();
    let brands_own = settings.inclusion_sources.is_some() || settings.whole_stores.is_some();
    let of_brand = provisions || ctx.brand().may(Permission::StoreCreate);
    if (operators && !provisions) || (brands_own && !of_brand) {
        return Err(Refusal::not_found(format!(
            "cannot change where store {id} takes snaps from, or how their names begin: only the instance operator may, \
             and administrators of the brand for its own stores"
        )));
    }
    let found = ctx.again(app).await?;
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
        for source in sources.difference(&store.inclusion_sources) {
            source_store(app, &store, source, provisions).await?;
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
        for source in whole.difference(&store.whole_stores) {
            source_store(app, &store, source, provisions).await?;
        }
        store.whole_stores = whole;
    }
    if let Some(prefixes) = settings.name_prefixes {
        check_prefixes(&store, &prefixes)?;
        store.name_prefixes = prefixes;
    }
    if let Some(keep) = settings.keep_unreleased {
        if store.parent.is_some() && keep.is_some() {
            return Err(Refusal::invalid(
                "not-a-base-store",
                format!("cannot limit the revisions of store {id}: snaps have theirs in base stores"),
            ));
        }
        store.keep_unreleased = keep;
    }
    let mut event = ctx.event(app.clock.now(), "store.configure", id.as_str());
    if let Value::Object(detail) = detail {
        event.detail.extend(detail);
    }
    let commit = Commit {
        records: vec![Change::replace(&store, found.version)],
        audit: vec![event],
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
        "keep-unreleased": settings.keep_unreleased.map(|keep| json!(keep.map_or(json!("all"), |keep| json!(keep)))),
    })
}

async fn any_store(app: &App, id: &StoreId) -> Result<StoreRecord, Refusal> {
    let found = app.storage.find::<StoreRecord>([id.as_str()]).await?;
    found.map(|found| found.record).ok_or_else(|| no_store(id))
}

/// Refuses what `taking` cannot take snaps from: only base stores have snaps of their own, and those of other brands are
/// absent to who does not provision.
async fn source_store(
    app: &App,
    taking: &StoreRecord,
    id: &StoreId,
    provisions: bool,
) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        let message = format!("cannot let store {} take snaps from store {id}: {why}", taking.id);
        Err(Refusal::invalid("not-a-base-store", message))
    };
    if *id == taking.id {
        return refuse("that is itself");
    }
    let source = any_store(app, id).await?;
    if source.brand_id != taking.brand_id && !provisions {
        return Err(no_store(id));
    }
    match source.parent {
        Some(_) => refuse("it is a view and has no snaps of its own"),
        None => Ok(()),
    }
}

fn no_store(id: &StoreId) -> Refusal {
    Refusal::not_found(format!("cannot find store {id}: there is none on this instance"))
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
