//! Leave to act where the brand follows from what a request names: a snap or a store.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::grant::{Grant, Judgement, within};
use super::{Authorized, BrandCtx, Caller, NamedBy, Place, no_brand};
use crate::app::{App, Reason, Refusal};
use crate::domain::access::{Permission, Role, Scope, StoreRecord};
use crate::domain::audit::AuditEvent;
use crate::domain::catalog::{SnapRecord, Viewer, sees};
use crate::domain::ident::{AccountId, BrandId, SnapId, SnapName, StoreId};
use crate::domain::time::Timestamp;
use crate::ports::{Key, Versioned};

/// Leave to do something with one snap.
#[derive(Clone, Debug)]
pub struct SnapCtx {
    brand: BrandCtx,
    snap: Arc<Versioned<SnapRecord>>,
    takes_part: bool,
}

impl SnapCtx {
    /// Leave in the snap's brand, for the use cases; they judge about the snap once more.
    pub fn brand(&self) -> &BrandCtx {
        &self.brand
    }

    /// The snap as it was when the caller was judged.
    pub fn snap(&self) -> &SnapRecord {
        &self.snap.record
    }

    /// The same with its version, for changes.
    pub fn versioned(&self) -> &Versioned<SnapRecord> {
        &self.snap
    }

    /// Whether leave comes from where the snap is registered. Else some store of the caller's shows it, and they see of it
    /// what devices of that store may get.
    pub fn takes_part(&self) -> bool {
        self.takes_part
    }

    /// For acts that need a second permission: whether the caller has that one too.
    pub fn may(&self, permission: Permission) -> bool {
        self.judge(permission) == Judgement::Yes
    }

    /// The same, refused as the first one would be.
    pub fn require(&self, permission: Permission) -> Result<(), Refusal> {
        let absent = || absent(self.snap().name.as_str());
        self.judge(permission).or(absent)
    }

    /// What roles in a store give that only shows the snap is reading, whatever they are.
    fn judge(&self, permission: Permission) -> Judgement {
        if self.takes_part {
            self.brand.judge_with(self.snap(), permission)
        } else if reads(permission) {
            self.brand.judge_wherever(self.snap(), permission)
        } else {
            Judgement::No
        }
    }
}

impl Authorized for SnapCtx {
    const SCOPE: Scope = Scope::Brand;
    const NAMED_BY: NamedBy = NamedBy::Snap;

    async fn authorize(
        app: &App,
        caller: &Caller,
        permission: Permission,
        place: Place,
    ) -> Result<Self, Refusal> {
        let snaps = &app.catalog;
        let (place, within) = place.split();
        let (found, named) = match &place {
            Place::Snap(name) => (snaps.stored_by_name(app, name).await?, name.as_str()),
            Place::SnapId(id) => (snaps.stored_by_id(app, id).await?, id.as_str()),
            Place::Unnamed | Place::Brand(_) | Place::Store(_) | Place::Within(..) | Place::Nowhere => {
                (None, "of this name")
            }
        };
        let absent = || absent(named);
        let snap = found.ok_or_else(absent)?;
        let brand_id = &snap.record.brand_id;
        if within.is_some_and(|within| within != *brand_id) {
            return Err(absent());
        }
        let part = BrandCtx::of(app, caller, brand_id.clone()).await?;
        let (mut brand, base_store) = part.ok_or_else(absent)?;
        // Roles in the base store hold everywhere in the brand: they are known by now.
        if snap.record.store_id != base_store {
            let registered = caller.roles(app, brand_id, &snap.record.store_id).await?;
            brand.grant.add_roles_here(registered);
        }
        let mut judgement = brand.judge_with(&snap.record, permission);
        let takes_part = judgement != Judgement::No;
        if !takes_part && reads(permission) {
            let shown = shown_to(app, caller, &snap.record).await?;
            brand.grant.add_roles_here(shown);
            judgement = brand.judge_wherever(&snap.record, permission);
        }
        judgement.or(absent)?;
        Ok(Self {
            brand,
            snap,
            takes_part,
        })
    }
}

/// Whether a role in a store that shows a snap is enough.
fn reads(permission: Permission) -> bool {
    matches!(
        permission,
        Permission::SnapRead | Permission::SnapReadAll | Permission::ImageBuild
    )
}

/// The caller's roles in the stores that show the snap and that the token is for.
async fn shown_to(app: &App, caller: &Caller, snap: &SnapRecord) -> Result<Vec<Role>, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let mut roles = Vec::new();
    for membership in caller.memberships(app).await? {
        let viewer = Viewer::Of(&membership.store_id);
        if caller
            .token
            .brand_id
            .as_ref()
            .is_none_or(|only| *only == membership.brand_id)
            && caller.token.limits.allows_store(&membership.store_id)
            && sees(&*catalog, snap.placed(), viewer)
        {
            roles.extend(membership.roles);
        }
    }
    Ok(roles)
}

fn absent(snap: &str) -> Refusal {
    Refusal::not_found(format!(
        "cannot find snap {snap}: there is no such snap, or it is not yours to do this with"
    ))
}

/// Leave to do something with one store. Roles in the store itself count as well as those in the base store of its
/// brand, so who administers a store of a brand need not have any part in the others.
#[derive(Clone, Debug)]
pub struct StoreCtx {
    brand: BrandCtx,
    grant: Grant,
    store: Versioned<StoreRecord>,
}

impl StoreCtx {
    /// For local commands: access to the data directory is the proof.
    pub async fn local(app: &App, id: &StoreId) -> Result<Self, Refusal> {
        let found = app.storage.find::<StoreRecord>([id.as_str()]).await?;
        let store =
            found.ok_or_else(|| Refusal::not_found(format!("cannot find store {id}: there is none")))?;
        Ok(Self {
            brand: BrandCtx::local(store.record.brand_id.clone()),
            grant: Grant::Local,
            store,
        })
    }

    /// Leave in the store's brand by the roles that hold there, and, where this is a base store, by those held in it: for
    /// registering names. What is held in a view only gives no leave in the brand.
    pub fn brand(&self) -> &BrandCtx {
        &self.brand
    }

    /// The store as it was when the caller was judged.
    pub fn store(&self) -> &StoreRecord {
        &self.store.record
    }

    /// The same with its version, for changes.
    pub fn versioned(&self) -> &Versioned<StoreRecord> {
        &self.store
    }

    /// The store as it is now, for another attempt at a change. Stores do not change brands, so leave stays.
    pub async fn again(&self, app: &App) -> Result<Versioned<StoreRecord>, Refusal> {
        let id = &self.store().id;
        let found = app.storage.find::<StoreRecord>([id.as_str()]).await?;
        found.ok_or_else(|| Refusal::not_found(format!("cannot find store {id}: it is gone")))
    }

    /// For acts that need a second permission: whether the caller has that one too, in this store.
    pub fn may(&self, permission: Permission) -> bool {
        self.grant.allows(permission)
    }

    /// Whether the caller may see this snap, which the store shows: publishers see their own, the others all.
    pub fn may_see(&self, snap: &SnapRecord) -> bool {
        self.may(Permission::SnapReadAll) || self.brand.may_with(snap, Permission::SnapRead) || {
            let own =
                |account: &AccountId| snap.publisher_id == *account || snap.collaborators.contains(account);
            self.may(Permission::SnapRead) && self.account().is_some_and(own)
        }
    }

    /// The caller's roles here: those that hold for the whole brand, and those held in the store.
    pub fn roles(&self) -> Vec<Role> {
        self.grant.all_roles()
    }

    /// The account that acts; none for local commands.
    pub fn account(&self) -> Option<&AccountId> {
        self.brand.account()
    }

    /// Whether the instance operator acts, or who owns the data directory.
    pub fn operates(&self) -> bool {
        self.grant.operates()
    }

    /// An audit event about what this context does now (actor, brand and token filled in).
    pub fn event(&self, now: Timestamp, action: &str, subject: &str) -> AuditEvent {
        self.brand.event(now, action, subject)
    }
}

impl Authorized for StoreCtx {
    const SCOPE: Scope = Scope::Brand;
    const NAMED_BY: NamedBy = NamedBy::Store;

    async fn authorize(
        app: &App,
        caller: &Caller,
        permission: Permission,
        place: Place,
    ) -> Result<Self, Refusal> {
        let (place, within) = place.split();
        let (found, named) = match &place {
            Place::Store(store) => (
                app.storage.find::<StoreRecord>([store.as_str()]).await?,
                store.as_str(),
            ),
            Place::Unnamed
            | Place::Brand(_)
            | Place::Snap(_)
            | Place::SnapId(_)
            | Place::Within(..)
            | Place::Nowhere => (None, "of this id"),
        };
        let absent = || {
            Refusal::not_found(format!(
                "cannot find store {named}: there is no such store, or your role in it does not allow this"
            ))
        };
        let store = found.ok_or_else(absent)?;
        let brand_id = &store.record.brand_id;
        if within.is_some_and(|within| within != *brand_id) {
            return Err(absent());
        }
        let part = BrandCtx::of(app, caller, brand_id.clone()).await?;
        let (mut brand, _) = part.ok_or_else(absent)?;
        let here = caller.roles(app, brand_id, &store.record.id).await?;
        let grant = brand.grant.with_roles_here(here);
        if store.record.parent.is_none() {
            brand.grant = grant.clone();
        }
        grant.judge(permission).or(absent)?;
        grant.judge_store(&store.record.id).or(absent)?;
        Ok(Self { brand, grant, store })
    }
}

/// Leave in some stores of a brand, at least one: in all for who has a role in its base store, else in those where the
/// caller has one.
#[derive(Clone, Debug)]
pub struct StoresCtx {
    brand: BrandId,
    grant: Grant,
    only: Option<BTreeSet<StoreId>>,
}

impl StoresCtx {
    /// The brand.
    pub fn brand(&self) -> &BrandId {
        &self.brand
    }

    /// Whether there is leave in this store of the brand.
    pub fn includes(&self, store: &StoreRecord) -> bool {
        store.brand_id == self.brand
            && self.only.as_ref().is_none_or(|only| only.contains(&store.id))
            && self.grant.judge_store(&store.id) == Judgement::Yes
    }
}

impl Authorized for StoresCtx {
    const SCOPE: Scope = Scope::Brand;
    const NAMED_BY: NamedBy = NamedBy::Brand;

    async fn authorize(
        app: &App,
        caller: &Caller,
        permission: Permission,
        place: Place,
    ) -> Result<Self, Refusal> {
        let id = place.brand_or_only(app, caller).await?;
        let absent = || no_brand(&id);
        let part = BrandCtx::of(app, caller, id.clone()).await?;
        let (brand, _) = part.ok_or_else(absent)?;
        let in_brand = brand.grant.judge(permission);
        if in_brand == Judgement::Yes {
            return Ok(Self {
                brand: id,
                grant: brand.grant,
                only: None,
            });
        }
        let mut only = BTreeSet::new();
        let mut limited = None;
        for membership in caller.memberships(app).await? {
            if membership.brand_id != id {
                continue;
            }
            match brand.grant.with_roles_here(membership.roles).judge(permission) {
                Judgement::Yes => {
                    only.insert(membership.store_id);
                }
                other @ (Judgement::Unproven | Judgement::Limited(_)) => limited = Some(other),
                Judgement::No => {}
            }
        }
        if only.is_empty() {
            limited.unwrap_or(in_brand).or(absent)?;
        }
        Ok(Self {
            brand: id,
            grant: brand.grant,
            only: Some(only),
        })
    }
}

/// A caller whose token allows what the route is for, where the body says what it is about. Leave comes with the name.
#[derive(Clone, Debug)]
pub struct UnplacedCtx {
    caller: Caller,
    permission: Permission,
}

impl UnplacedCtx {
    /// The account that acts.
    pub fn account(&self) -> &AccountId {
        self.caller.account()
    }

    /// Leave for the snap of this name; what is not the caller's is absent.
    pub async fn snap(&self, app: &App, name: &SnapName) -> Result<SnapCtx, Refusal> {
        self.place(app, Place::Snap(name.clone())).await
    }

    /// Leave for the snap of this id.
    pub async fn snap_of_id(&self, app: &App, id: &SnapId) -> Result<SnapCtx, Refusal> {
        self.place(app, Place::SnapId(id.clone())).await
    }

    /// Leave for this store.
    pub async fn store(&self, app: &App, store: &StoreId) -> Result<StoreCtx, Refusal> {
        self.place(app, Place::Store(store.clone())).await
    }

    /// Leave for the only store in which the caller has it; none where they have it in no store.
    ///
    /// # Errors
    /// `store-required` where there are several; what a limit of the token forbids is marked with it.
    pub async fn only_store(&self, app: &App) -> Result<Option<StoreCtx>, Refusal> {
        let mut found: Vec<StoreCtx> = Vec::new();
        let mut limited = None;
        for store in app.storage.all::<StoreRecord>(Key(Vec::new())).await? {
            match self.store(app, &store.record.id).await {
                Ok(leave) => found.push(leave),
                Err(refusal) if refusal.limit.is_some() => limited = Some(refusal),
                Err(refusal) if refusal.reason == Reason::NotFound => {}
                Err(refusal) => return Err(refusal),
            }
        }
        if found.len() > 1 {
            let names: Vec<&str> = found.iter().map(|leave| leave.store().id.as_str()).collect();
            return Err(Refusal::invalid(
                "store-required",
                format!(
                    "cannot tell which store is meant: name one of yours with --store, or in the header \
                     Snap-Device-Store ({})",
                    names.join(", ")
                ),
            ));
        }
        match (found.pop(), limited) {
            (None, Some(refusal)) => Err(refusal),
            (leave, _) => Ok(leave),
        }
    }

    /// Leave for this brand, or the only one of the caller's.
    pub async fn brand(&self, app: &App, brand: Option<BrandId>) -> Result<BrandCtx, Refusal> {
        self.place(app, brand.into()).await
    }

    async fn place<C: Authorized>(&self, app: &App, place: Place) -> Result<C, Refusal> {
        self.caller.authorize(app, self.permission, place).await
    }
}

impl Authorized for UnplacedCtx {
    const SCOPE: Scope = Scope::Brand;
    const NAMED_BY: NamedBy = NamedBy::Nothing;

    async fn authorize(
        _app: &App,
        caller: &Caller,
        permission: Permission,
        _place: Place,
    ) -> Result<Self, Refusal> {
        within(&caller.token, permission)
            .or(|| Refusal::not_found("cannot do this with this token: its scopes do not allow it"))?;
        Ok(Self {
            caller: caller.clone(),
            permission,
        })
    }
}
