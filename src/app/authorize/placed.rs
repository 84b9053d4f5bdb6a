//! Leave to act where the brand follows from what a request names: a snap or a store.

use super::grant::within;
use super::{Authorized, BrandCtx, Caller, NamedBy, Place};
use crate::app::{App, Refusal};
use crate::domain::access::{Permission, Scope, StoreRecord};
use crate::domain::catalog::SnapRecord;
use crate::domain::ident::{AccountId, BrandId, SnapId, SnapName, StoreId};
use crate::ports::Versioned;

/// Leave to do something with one snap.
#[derive(Clone, Debug)]
pub struct SnapCtx {
    brand: BrandCtx,
    snap: Versioned<SnapRecord>,
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

    /// For acts that need a second permission: whether the caller has that one too.
    pub fn may(&self, permission: Permission) -> bool {
        self.brand.may_with(self.snap(), permission)
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
        let storage = &app.storage;
        let (found, named) = match &place {
            Place::Snap(name) => (
                storage.find_unique::<SnapRecord>("name", name.as_str()).await?,
                name.as_str(),
            ),
            Place::SnapId(id) => (storage.find::<SnapRecord>([id.as_str()]).await?, id.as_str()),
            Place::Unnamed | Place::Brand(_) | Place::Store(_) | Place::Nowhere => (None, "of this name"),
        };
        let absent = || {
            Refusal::not_found(format!(
                "cannot find snap {named}: there is no such snap, or it is not yours to do this with"
            ))
        };
        let snap = found.ok_or_else(absent)?;
        let brand = BrandCtx::of(app, caller, snap.record.brand_id.clone()).await?;
        let (brand, _) = brand.ok_or_else(absent)?;
        brand.judge_with(&snap.record, permission).or(absent)?;
        Ok(Self { brand, snap })
    }
}

/// Leave to do something with one store. Roles in the store itself count as well as those in the base store of its
/// brand, so who administers a store of a brand need not have any part in the others.
#[derive(Clone, Debug)]
pub struct StoreCtx {
    brand: BrandCtx,
    store: Versioned<StoreRecord>,
}

impl StoreCtx {
    /// Leave in the store's brand, for the use cases. It may come from a role in this store only: do nothing with it
    /// that concerns other stores.
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

    /// For acts that need a second permission: whether the caller has that one too.
    pub fn may(&self, permission: Permission) -> bool {
        self.brand.may(permission)
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
        let (found, named) = match &place {
            Place::Store(store) => (
                app.storage.find::<StoreRecord>([store.as_str()]).await?,
                store.as_str(),
            ),
            Place::Unnamed | Place::Brand(_) | Place::Snap(_) | Place::SnapId(_) | Place::Nowhere => {
                (None, "of this id")
            }
        };
        let absent = || {
            Refusal::not_found(format!(
                "cannot find store {named}: there is no such store, or your role in it does not allow this"
            ))
        };
        let store = found.ok_or_else(absent)?;
        let brand_id = store.record.brand_id.clone();
        let here = caller.roles(app, &brand_id, &store.record.id).await?;
        let part = BrandCtx::of(app, caller, brand_id).await?;
        let (mut brand, _) = part.ok_or_else(absent)?;
        brand.grant.add_roles(here);
        brand.grant.judge(permission).or(absent)?;
        brand.grant.judge_store(&store.record.id).or(absent)?;
        Ok(Self { brand, store })
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
