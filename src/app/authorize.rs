//! Authorisation in one place: a context value is the proof that the caller may act, and for whom.
//! No other file judges permissions. What a caller may not do answers exactly like what is not there; what only the
//! limits of their token forbid is marked as such ([`Refusal::limit`]), for dialects that have a word for it.

mod brand;
mod grant;
mod leave;
mod placed;

pub use brand::BrandCtx;
pub use leave::Leave;
pub(super) use leave::may_still;
pub use placed::{SnapCtx, StoreCtx, StoresCtx, UnplacedCtx};

use std::collections::BTreeSet;

use grant::Grant;

use crate::domain::access::{Account, Brand, Membership, Permission, Role, Scope, StoreRecord, Token};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::ident::{AccountId, BrandId, SnapId, SnapName, StoreId};
use crate::domain::time::Timestamp;
use crate::ports::Key;

use super::credentials::{Binding, Credential, Resolution, resolve};
use super::{App, Reason, Refusal};

/// Up to this many stores an account's roles are looked up store by store; of more, they are searched among those of all
/// members, of whom there may be ten thousand.
const FEW_STORES: usize = 256;

/// Who calls: an authenticated account with what its token allows.
#[derive(Clone, Debug)]
pub struct Caller {
    account: AccountId,
    operator: bool,
    /// What operators and brands do is not for the account before it has a second factor.
    unproven: bool,
    token: Token,
}

/// A context a caller can be authorised to.
pub trait Authorized: Sized + Send {
    /// The permissions it can be asked with.
    const SCOPE: Scope;
    /// What tells which object it is about.
    const NAMED_BY: NamedBy;

    /// Judges: may `caller` do what `permission` names there?
    fn authorize(
        app: &App,
        caller: &Caller,
        permission: Permission,
        place: Place,
    ) -> impl Future<Output = Result<Self, Refusal>> + Send;
}

/// What a request has to name for a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// Nothing.
    Nothing,
    /// A brand, or nothing where the caller has only one.
    Brand,
    /// A snap.
    Snap,
    /// A store.
    Store,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It does not say.
    Unnamed,
    /// A brand.
    Brand(BrandId),
    /// A snap, by its name.
    Snap(SnapName),
    /// A snap, by its id.
    SnapId(SnapId),
    /// A store.
    Store(StoreId),
    /// A snap or store, which must be of this brand.
    Within(BrandId, Box<Place>),
    /// Something that cannot exist: a name against the rules.
    Nowhere,
}

impl Place {
    /// The place, and the brand it must be of.
    fn split(self) -> (Self, Option<BrandId>) {
        match self {
            Self::Within(brand, place) => (*place, Some(brand)),
            place @ (Self::Unnamed
            | Self::Brand(_)
            | Self::Snap(_)
            | Self::SnapId(_)
            | Self::Store(_)
            | Self::Nowhere) => (place, None),
        }
    }

    /// The brand it names; where it names nothing, the only one of the caller's.
    async fn brand_or_only(self, app: &App, caller: &Caller) -> Result<BrandId, Refusal> {
        match self {
            Self::Brand(brand) => Ok(brand),
            Self::Unnamed => caller.only_brand(app).await,
            Self::Snap(_) | Self::SnapId(_) | Self::Store(_) | Self::Within(..) | Self::Nowhere => Err(
                Refusal::not_found("cannot do this: no brand is named that there can be"),
            ),
        }
    }
}

fn token_expired() -> Refusal {
    Refusal::new(
        Reason::Unauthenticated,
        "token-expired",
        "cannot accept the token: it has expired; log in again",
    )
}

/// The brand is not there, or not for the caller.
fn no_brand(brand: &BrandId) -> Refusal {
    Refusal::not_found(format!(
        "cannot do this for brand {brand}: there is no such brand, or your role does not allow it"
    ))
}

impl From<Option<BrandId>> for Place {
    fn from(brand: Option<BrandId>) -> Self {
        brand.map_or(Self::Unnamed, Self::Brand)
    }
}

/// Who holds `credential` and whether they may do what `permission` names.
pub async fn authorize<C: Authorized>(
    app: &App,
    credential: Option<&Credential>,
    permission: Permission,
    place: impl Into<Place> + Send,
) -> Result<C, Refusal> {
    Caller::identify(app, credential)
        .await?
        .authorize(app, permission, place)
        .await
}

impl Caller {
    /// The caller who holds `credential`: its token is known and not expired, its account not disabled.
    pub async fn identify(app: &App, credential: Option<&Credential>) -> Result<Self, Refusal> {
        let credential = credential.ok_or_else(|| {
            Refusal::new(
                Reason::Unauthenticated,
                "login-required",
                "cannot do this without a log-in: send a good token (`hallmark login`)",
            )
        })?;
        Self::identify_as(app, credential, Binding::Bound).await
    }

    /// The same; `binding` says whether a discharge has to be bound to its root.
    pub(super) async fn identify_as(
        app: &App,
        credential: &Credential,
        binding: Binding,
    ) -> Result<Self, Refusal> {
        let resolved = match resolve(app, credential, binding)? {
            Resolution::Token(text) => {
                let found = app.storage.find_unique::<Token>("hash", &text.hash()).await?;
                return Self::of(app, found.map(|found| found.record)).await;
            }
            Resolution::Macaroons(resolved) => resolved,
        };
        let mut caller = Self::named(app, resolved.token()).await?;
        // Macaroons are handed on to programs, whoever made them.
        caller.token.person = false;
        resolved.narrow(&mut caller.token, app.clock.now())?;
        Ok(caller)
    }

    /// The caller whom macaroons of ours name by the id of a token.
    /// For work that goes on after the answer too.
    pub(super) async fn named(app: &App, token: &str) -> Result<Self, Refusal> {
        let found = app.storage.find::<Token>([token]).await?;
        Self::of(app, found.map(|found| found.record)).await
    }

    async fn of(app: &App, token: Option<Token>) -> Result<Self, Refusal> {
        let unknown = || {
            Refusal::new(
                Reason::Unauthenticated,
                "invalid-token",
                "cannot accept the token: it is unknown or was revoked",
            )
        };
        let token = token.ok_or_else(unknown)?;
        if token.expires <= app.clock.now() {
            return Err(token_expired());
        }
        let account = app
            .storage
            .find::<Account>([token.account_id.as_str()])
            .await?
            .ok_or_else(unknown)?
            .record;
        if account.disabled {
            return Err(unknown());
        }
        Ok(Self::with(app, account, token))
    }

    fn with(app: &App, account: Account, token: Token) -> Self {
        Self {
            unproven: app.settings.require_second_factor && !account.has_second_factor(),
            account: account.id,
            operator: account.operator,
            token,
        }
    }

    /// Whether the caller may do what `permission` names; the context is the proof.
    pub async fn authorize<C: Authorized>(
        &self,
        app: &App,
        permission: Permission,
        place: impl Into<Place> + Send,
    ) -> Result<C, Refusal> {
        if permission.scope() != C::SCOPE {
            tracing::error!(
                permission = permission.name(),
                "a route asks for a permission of another scope"
            );
            return Err(Refusal::new(
                Reason::Internal,
                "internal-error",
                "cannot do this: internal error",
            ));
        }
        C::authorize(app, self, permission, place.into()).await
    }

    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The token, as far as what the caller presents leaves it.
    pub fn token(&self) -> &Token {
        &self.token
    }

    async fn roles(&self, app: &App, brand: &BrandId, store: &StoreId) -> Result<Vec<Role>, Refusal> {
        let key = [brand.as_str(), store.as_str(), self.account.as_str()];
        let found = app.storage.find::<Membership>(key).await?;
        Ok(found.map(|found| found.record.roles).unwrap_or_default())
    }

    fn grant(&self, roles: Vec<Role>) -> Grant {
        Grant::Remote {
            operator: self.operator,
            unproven: self.unproven,
            roles,
            here: Vec::new(),
            token: Box::new(self.token.clone()),
        }
    }

    /// The caller's roles in all stores. Asked store by store while there are few: of members there are many.
    async fn memberships(&self, app: &App) -> Result<Vec<Membership>, Refusal> {
        let stores = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
        if stores.len() > FEW_STORES {
            let found = app.storage.all_of::<Membership>(&self.account).await?;
            return Ok(found.into_iter().map(|found| found.record).collect());
        }
        let mut mine = Vec::new();
        for store in stores {
            let store = store.record;
            let key = [store.brand_id.as_str(), store.id.as_str(), self.account.as_str()];
            if let Some(found) = app.storage.find::<Membership>(key).await? {
                mine.push(found.record);
            }
        }
        Ok(mine)
    }

    /// The brands the caller may know of: all for the operator, else those with a role in any of their stores.
    async fn brands(&self, app: &App) -> Result<Vec<Brand>, Refusal> {
        let mut brands: Vec<Brand> = app
            .storage
            .all([])
            .await?
            .into_iter()
            .map(|found| found.record)
            .collect();
        if let Some(only) = &self.token.brand_id {
            brands.retain(|brand| brand.id == *only);
        }
        if !self.operator {
            let mine: BTreeSet<BrandId> = self
                .memberships(app)
                .await?
                .into_iter()
                .map(|one| one.brand_id)
                .collect();
            brands.retain(|brand| mine.contains(&brand.id));
        }
        Ok(brands)
    }

    /// The brand that is meant where the request names none: the only one there is, or the only one of the caller's.
    async fn only_brand(&self, app: &App) -> Result<BrandId, Refusal> {
        let everything = app.storage.all::<Brand>([]).await?;
        if let [only] = everything.as_slice() {
            return Ok(only.record.id.clone());
        }
        let mine = self.brands(app).await?;
        if let [only] = mine.as_slice() {
            return Ok(only.id.clone());
        }
        let names: Vec<&str> = mine.iter().map(|brand| brand.id.as_str()).collect();
        Err(Refusal::invalid(
            "brand-required",
            format!(
                "cannot tell which brand is meant: name one of yours with --brand, or brand=ID in the API ({})",
                names.join(", ")
            ),
        ))
    }
}

/// Leave to act on the instance as a whole.
#[derive(Clone, Debug)]
pub struct InstanceCtx {
    grant: Grant,
}

impl InstanceCtx {
    /// For local commands.
    pub fn local() -> Self {
        Self { grant: Grant::Local }
    }

    /// Who acts.
    pub fn actor(&self) -> Actor {
        self.grant.actor()
    }

    /// The account that acts; none for local commands.
    pub fn account(&self) -> Option<&AccountId> {
        match &self.grant {
            Grant::Local => None,
            Grant::Remote { token, .. } => Some(&token.account_id),
        }
    }

    /// An audit event about what this context does now.
    pub fn event(&self, now: Timestamp, action: &str, subject: &str) -> AuditEvent {
        self.grant.event(now, None, action, subject)
    }
}

impl Authorized for InstanceCtx {
    const SCOPE: Scope = Scope::Instance;
    const NAMED_BY: NamedBy = NamedBy::Nothing;

    async fn authorize(
        _app: &App,
        caller: &Caller,
        permission: Permission,
        _place: Place,
    ) -> Result<Self, Refusal> {
        let grant = caller.grant(Vec::new());
        grant.judge(permission).or(|| {
            Refusal::not_found(
                "cannot do this on the instance: there is no such thing, or only its operator may",
            )
        })?;
        Ok(Self { grant })
    }
}

/// Leave to act on one's own account.
#[derive(Clone, Debug)]
pub struct OwnCtx {
    caller: Caller,
    grant: Grant,
}

impl OwnCtx {
    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.caller.account
    }

    /// The token the caller came with.
    pub fn token(&self) -> &Token {
        &self.caller.token
    }

    /// The brands the caller may know of.
    pub async fn brands(&self, app: &App) -> Result<Vec<Brand>, Refusal> {
        self.caller.brands(app).await
    }

    /// The caller's roles in all stores their token is good for.
    pub async fn memberships(&self, app: &App) -> Result<Vec<Membership>, Refusal> {
        let mut all = self.caller.memberships(app).await?;
        if let Some(only) = &self.caller.token.brand_id {
            all.retain(|one| one.brand_id == *only);
        }
        Ok(all)
    }

    /// What the caller may do in one of their brands.
    pub async fn permissions_in(&self, app: &App, brand: &BrandId) -> Result<Vec<Permission>, Refusal> {
        let part = BrandCtx::of(app, &self.caller, brand.clone()).await?;
        let all = Permission::ALL.iter().copied();
        Ok(part.map_or_else(Vec::new, |(part, _)| {
            all.filter(|permission| permission.scope() == Scope::Brand && part.may(*permission))
                .collect()
        }))
    }

    /// The caller, for acts that need leave for some brand, snap or store besides.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// An audit event about what this context does now.
    pub fn event(&self, now: Timestamp, action: &str, subject: &str) -> AuditEvent {
        self.grant.event(now, None, action, subject)
    }
}

impl Authorized for OwnCtx {
    const SCOPE: Scope = Scope::Own;
    const NAMED_BY: NamedBy = NamedBy::Nothing;

    async fn authorize(
        _app: &App,
        caller: &Caller,
        permission: Permission,
        _place: Place,
    ) -> Result<Self, Refusal> {
        let grant = caller.grant(Vec::new());
        grant.judge(permission).or(|| {
            Refusal::not_found(
                "cannot do this with this token: its scopes do not allow it, or it needs a person's log-in",
            )
        })?;
        Ok(Self {
            caller: caller.clone(),
            grant,
        })
    }
}
