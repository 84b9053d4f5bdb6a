//! Leave in one brand: the context that most use cases are given, and what roles, tokens and help with a snap come to there.

use super::grant::{Grant, Judgement, role_grants};
use super::{Authorized, Caller, NamedBy, Place, no_brand};
use crate::app::{App, Refusal};
use crate::domain::access::{Account, Brand, Membership, Permission, Presented, Role, Scope};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::catalog::{Channel, SnapRecord};
use crate::domain::ident::{AccountId, BrandId, SnapName, StoreId};
use crate::domain::time::Timestamp;

/// Leave to act for one brand. Made by authorising a caller, or locally by who owns the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrandCtx {
    pub(super) brand: BrandId,
    pub(super) grant: Grant,
}

impl BrandCtx {
    /// For local commands: access to the data directory is the proof.
    pub fn local(brand: BrandId) -> Self {
        Self {
            brand,
            grant: Grant::Local,
        }
    }

    /// The brand.
    pub fn brand(&self) -> &BrandId {
        &self.brand
    }

    /// Who acts, for the audit log.
    pub fn actor(&self) -> Actor {
        self.grant.actor()
    }

    /// An audit event about what this context does now (actor, brand and token filled in).
    pub fn event(&self, now: Timestamp, action: &str, subject: &str) -> AuditEvent {
        self.grant.event(now, Some(&self.brand), action, subject)
    }

    /// For acts that need a second permission: whether the caller has that one too.
    pub fn may(&self, permission: Permission) -> bool {
        self.grant.allows(permission)
    }

    /// The account that acts; none for local commands.
    pub fn account(&self) -> Option<&AccountId> {
        match &self.grant {
            Grant::Local => None,
            Grant::Remote { token, .. } => Some(&token.account_id),
        }
    }

    /// The account that acts and the id of its token; none for local commands.
    pub fn identity(&self) -> Option<(&AccountId, &str)> {
        match &self.grant {
            Grant::Local => None,
            Grant::Remote { token, .. } => Some((&token.account_id, &token.id)),
        }
    }

    /// What of their token the caller came with; none for local commands.
    pub fn presented(&self) -> Option<Presented> {
        match &self.grant {
            Grant::Local => None,
            Grant::Remote { token, .. } => Some(token.presented()),
        }
    }

    /// Whether the instance operator acts, or who owns the data directory: they host snaps for anybody.
    pub fn operates(&self) -> bool {
        self.grant.operates()
    }

    /// Whether the caller may act as the publisher `account`: it is their own; or the brand's, and they act for it; the
    /// operator for all.
    pub fn speaks_for(&self, account: &AccountId) -> bool {
        match &self.grant {
            Grant::Local => true,
            Grant::Remote {
                operator,
                roles,
                token,
                ..
            } => {
                let of_brand = account.as_str() == self.brand.as_str() && roles.contains(&Role::Brand);
                *operator || token.account_id == *account || of_brand
            }
        }
    }

    /// Whether the snap is the caller's own, so that somebody else has to review it. Unlike [`Self::speaks_for`] the
    /// operator is involved only as the very account, not by rank: hosting for anybody is no interest in the snap.
    pub(super) fn is_involved(&self, snap: &SnapRecord) -> bool {
        let Grant::Remote {
            operator,
            roles,
            token,
            ..
        } = &self.grant
        else {
            return false;
        };
        let of_brand = snap.publisher_id.as_str() == self.brand.as_str() && roles.contains(&Role::Brand);
        token.account_id == snap.publisher_id
            || snap.collaborators.contains(&token.account_id)
            || (of_brand && !operator)
    }

    /// Whether somebody who is not the caller still reviews this snap: their account is there and switched on, a role of
    /// theirs reviews it, and it is not their own.
    ///
    /// # Errors
    /// If the storage is out of reach.
    pub async fn still_reviews(
        &self,
        app: &App,
        snap: &SnapRecord,
        account: &AccountId,
    ) -> Result<bool, Refusal> {
        let found = app.storage.find::<Account>([account.as_str()]).await?;
        let Some(account) = found.map(|found| found.record).filter(|found| !found.disabled) else {
            return Ok(false);
        };
        let Some(brand) = app.storage.find::<Brand>([self.brand.as_str()]).await? else {
            return Ok(false);
        };
        let roles = async |store: &StoreId| -> Result<Vec<Role>, Refusal> {
            let key = [self.brand.as_str(), store.as_str(), account.id.as_str()];
            let found = app.storage.find::<Membership>(key).await?;
            Ok(found.map(|found| found.record.roles).unwrap_or_default())
        };
        let (everywhere, here) = (
            roles(&brand.record.base_store).await?,
            roles(&snap.store_id).await?,
        );
        let of_brand = snap.publisher_id.as_str() == self.brand.as_str() && everywhere.contains(&Role::Brand);
        let own = account.id == snap.publisher_id
            || snap.collaborators.contains(&account.id)
            || (of_brand && !account.operator);
        let reviews = account.operator || role_grants(Permission::SnapReview, &everywhere, &here);
        Ok(reviews && !own)
    }

    /// Whether the caller may do what `permission` names to this snap (admin-api.md 1.2): publishers and collaborators
    /// publish and release their own, reviewers decide about those of others, and see all.
    pub fn may_with(&self, snap: &SnapRecord, permission: Permission) -> bool {
        matches!(self.judge_with(snap, permission), Judgement::Yes)
    }

    pub(super) fn judge_with(&self, snap: &SnapRecord, permission: Permission) -> Judgement {
        match self.judge_wherever(snap, permission) {
            Judgement::Yes => self.grant.judge_store(&snap.store_id),
            other @ (Judgement::No | Judgement::Unproven | Judgement::Limited(_)) => other,
        }
    }

    /// The same, whichever stores the token is for.
    pub(super) fn judge_wherever(&self, snap: &SnapRecord, permission: Permission) -> Judgement {
        if snap.brand_id != self.brand || !self.has_part_in(snap, permission) {
            return Judgement::No;
        }
        // Who helps with a snap need not have any other part in its brand.
        let by_right = if self.helps(snap) && Self::is_help(permission) {
            self.grant.judge_token(permission)
        } else {
            self.grant.judge(permission)
        };
        match by_right {
            Judgement::Yes => self.grant.judge_package(&snap.name),
            other @ (Judgement::No | Judgement::Unproven | Judgement::Limited(_)) => other,
        }
    }

    /// Refuses names that the caller's token is not for; the snap need not exist.
    ///
    /// # Errors
    /// Absent, marked with the limit.
    pub fn check_name(&self, name: &SnapName) -> Result<(), Refusal> {
        self.grant.judge_package(name).or(|| {
            Refusal::not_found(format!(
                "cannot find snap {name}: there is no such snap, or it is not yours to do this with"
            ))
        })
    }

    /// Refuses channels that the caller's token is not for.
    ///
    /// # Errors
    /// Absent, marked with the limit.
    pub fn check_channels<'c>(&self, channels: impl IntoIterator<Item = &'c Channel>) -> Result<(), Refusal> {
        channels.into_iter().try_for_each(|channel| {
            self.grant.judge_channel(channel).or(|| {
                Refusal::not_found(format!(
                    "cannot release to {channel}: there is no such channel, or it is not yours to release to"
                ))
            })
        })
    }

    /// Whether the caller is a collaborator of this snap.
    fn helps(&self, snap: &SnapRecord) -> bool {
        self.account()
            .is_some_and(|account| snap.collaborators.contains(account))
    }

    /// What collaborators may do to the snap they help with (admin-api.md 1.2).
    fn is_help(permission: Permission) -> bool {
        matches!(
            permission,
            Permission::SnapRead | Permission::SnapPublish | Permission::SnapEdit | Permission::SnapRelease
        )
    }

    /// Whether snap and permission go together for the caller, whatever their rights in the brand are.
    fn has_part_in(&self, snap: &SnapRecord, permission: Permission) -> bool {
        let own = || self.speaks_for(&snap.publisher_id) || self.helps(snap);
        match permission {
            Permission::SnapRegister | Permission::CollaboratorManage => self.speaks_for(&snap.publisher_id),
            Permission::SnapPublish | Permission::SnapEdit | Permission::SnapRelease => own(),
            Permission::SnapDeclare => self.operates() || !own(),
            Permission::SnapReview | Permission::GrantConfirm => !self.is_involved(snap),
            Permission::SnapRead => own() || self.grant.allows(Permission::SnapReadAll),
            _ => true,
        }
    }
}

impl BrandCtx {
    /// The caller's part in `brand`, of any rights, and its base store; none if there is no such brand, or their token
    /// is not for it.
    pub(super) async fn of(
        app: &App,
        caller: &Caller,
        brand: BrandId,
    ) -> Result<Option<(Self, StoreId)>, Refusal> {
        if caller.token.brand_id.as_ref().is_some_and(|only| *only != brand) {
            return Ok(None);
        }
        let Some(record) = app.storage.find::<Brand>([brand.as_str()]).await? else {
            return Ok(None);
        };
        let base_store = record.record.base_store;
        let roles = caller.roles(app, &brand, &base_store).await?;
        let grant = caller.grant(roles);
        Ok(Some((Self { brand, grant }, base_store)))
    }
}

impl Authorized for BrandCtx {
    const SCOPE: Scope = Scope::Brand;
    const NAMED_BY: NamedBy = NamedBy::Brand;

    async fn authorize(
        app: &App,
        caller: &Caller,
        permission: Permission,
        place: Place,
    ) -> Result<Self, Refusal> {
        let brand = place.brand_or_only(app, caller).await?;
        let forbidden = || no_brand(&brand);
        let part = Self::of(app, caller, brand.clone()).await?;
        let (ctx, base_store) = part.ok_or_else(forbidden)?;
        ctx.grant.judge(permission).or(forbidden)?;
        ctx.grant.judge_store(&base_store).or(forbidden)?;
        Ok(ctx)
    }
}
