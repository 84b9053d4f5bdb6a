//! What a context may do: the one place where roles, rank and token limits meet.

use crate::app::refusal::TokenLimit;
use crate::app::{Reason, Refusal};
use crate::domain::access::{Limits, Permission, Role, Scope, Token};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::catalog::Channel;
use crate::domain::ident::{AccountId, BrandId, SnapName, StoreId};
use crate::domain::time::Timestamp;

/// What a context may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// Whoever can write to the data directory may do anything.
    Local,
    /// A caller over the network.
    Remote {
        operator: bool,
        unproven: bool,
        /// Roles that hold for the whole brand.
        roles: Vec<Role>,
        /// Roles that hold in the one store the context is about.
        here: Vec<Role>,
        token: Box<Token>,
    },
}

impl Grant {
    pub(super) fn judge(&self, permission: Permission) -> Judgement {
        let (operator, unproven, roles, here, token) = match self {
            Self::Local => return Judgement::Yes,
            Self::Remote {
                operator,
                unproven,
                roles,
                here,
                token,
            } => (*operator, *unproven, roles, here, token),
        };
        let by_rank = match permission.scope() {
            Scope::Own => true,
            Scope::Instance => operator && permission.operator() && token.brand_id.is_none(),
            Scope::Brand => (operator && permission.operator()) || role_grants(permission, roles, here),
        };
        if !by_rank || (permission.person_only() && !token.person) {
            return Judgement::No;
        }
        let as_operator = permission.scope() == Scope::Brand && !role_grants(permission, roles, here);
        if unproven && (permission.weighty() || as_operator) {
            return Judgement::Unproven;
        }
        within(token, permission)
    }

    /// The same with these roles in the one store it is about.
    pub(super) fn with_roles_here(&self, more: Vec<Role>) -> Self {
        let mut grant = self.clone();
        grant.add_roles_here(more);
        grant
    }

    /// These roles in the one store it is about, besides those it has.
    pub(super) fn add_roles_here(&mut self, more: Vec<Role>) {
        if let Self::Remote { here, .. } = self {
            here.extend(more);
        }
    }

    /// Every role, wherever it is held. Whoever owns the data directory has all.
    pub(super) fn all_roles(&self) -> Vec<Role> {
        match self {
            Self::Local => Role::ALL.to_vec(),
            Self::Remote { roles, here, .. } => {
                let held = |role: &&Role| roles.contains(role) || here.contains(role);
                Role::ALL.iter().filter(held).copied().collect()
            }
        }
    }

    /// Whether the token alone allows it, where the right comes from somewhere else than a role.
    pub(super) fn judge_token(&self, permission: Permission) -> Judgement {
        match self {
            Self::Local => Judgement::Yes,
            Self::Remote { token, .. } => within(token, permission),
        }
    }

    /// Whether the token is for this snap.
    pub(super) fn judge_package(&self, name: &SnapName) -> Judgement {
        self.judge_limits(TokenLimit::Package, |limits| limits.allows_package(name))
    }

    /// Whether the token is for this store.
    pub(super) fn judge_store(&self, store: &StoreId) -> Judgement {
        self.judge_limits(TokenLimit::Store, |limits| limits.allows_store(store))
    }

    /// Whether the token is for this channel.
    pub(super) fn judge_channel(&self, channel: &Channel) -> Judgement {
        let patterns = |limits: &Limits| {
            let all = limits.channels.iter().flatten();
            TokenLimit::Channels(all.map(ToString::to_string).collect())
        };
        match self {
            Self::Remote { token, .. } if !token.limits.allows_channel(channel) => {
                Judgement::Limited(patterns(&token.limits))
            }
            Self::Local | Self::Remote { .. } => Judgement::Yes,
        }
    }

    fn judge_limits(&self, limit: TokenLimit, allows: impl FnOnce(&Limits) -> bool) -> Judgement {
        match self {
            Self::Remote { token, .. } if !allows(&token.limits) => Judgement::Limited(limit),
            Self::Local | Self::Remote { .. } => Judgement::Yes,
        }
    }

    pub(super) fn allows(&self, permission: Permission) -> bool {
        matches!(self.judge(permission), Judgement::Yes)
    }

    /// Whether the instance operator acts, or who owns the data directory.
    pub(super) fn operates(&self) -> bool {
        match self {
            Self::Local => true,
            Self::Remote { operator, .. } => *operator,
        }
    }

    pub(super) fn actor(&self) -> Actor {
        match self {
            Self::Local => Actor::Local,
            Self::Remote { token, .. } => Actor::Account(token.account_id.clone()),
        }
    }

    pub(super) fn event(
        &self,
        now: Timestamp,
        brand: Option<&BrandId>,
        action: &str,
        subject: &str,
    ) -> AuditEvent {
        let mut detail = serde_json::Map::new();
        if let Self::Remote { token, .. } = self {
            detail.insert("token".to_owned(), token.id.clone().into());
        }
        AuditEvent {
            time: now,
            actor: self.actor(),
            brand: brand.cloned().map(AccountId::from),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail,
        }
    }
}

/// The one rule about places: a role in the base store of a brand counts everywhere in it; a role in another of its stores
/// only there, and only for what concerns one store.
pub(super) fn role_grants(permission: Permission, brand: &[Role], here: &[Role]) -> bool {
    let granted = |held: &[Role]| permission.roles().iter().any(|role| held.contains(role));
    granted(brand) || (permission.within_store() && granted(here))
}

/// Whether the limits of `token` leave `permission`. Every good token may see whose it is.
pub(super) fn within(token: &Token, permission: Permission) -> Judgement {
    if permission == Permission::OwnRead {
        return Judgement::Yes;
    }
    let named = token
        .permissions
        .as_ref()
        .is_none_or(|names| names.iter().any(|name| name == permission.name()));
    if !named || (token.limits.only_snaps() && !permission.about_snaps()) {
        return Judgement::Limited(TokenLimit::Permission(permission));
    }
    // The instance is more than any of its stores.
    if token.limits.stores.is_some() && permission.scope() == Scope::Instance {
        return Judgement::Limited(TokenLimit::Store);
    }
    Judgement::Yes
}

/// Whether something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It is, but not before the account has a second factor.
    Unproven,
    /// To the account it is; not with this token.
    Limited(TokenLimit),
}

impl Judgement {
    /// Nothing where it is allowed; else `absent`, which says nothing of what there is, marked with the limit.
    pub(super) fn or(self, absent: impl FnOnce() -> Refusal) -> Result<(), Refusal> {
        match self {
            Self::Yes => Ok(()),
            Self::No => Err(absent()),
            Self::Unproven => Err(Refusal::new(
                Reason::Forbidden,
                "second-factor-required",
                "cannot do this without a second factor: enrol one with `hallmark account otp enrol`",
            )),
            Self::Limited(limit) => Err(absent().limited(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn roles() -> impl Strategy<Value = Vec<Role>> {
        proptest::sample::subsequence(Role::ALL.to_vec(), 0..=Role::ALL.len())
    }

    proptest! {
        /// Roles of one store never open anything that concerns more than a store, and there no more than the same
        /// roles in the base store would.
        #[test]
        fn a_role_in_one_store_is_worth_no_more_than_in_the_base_store(
            brand in roles(), here in roles(), number in 0..Permission::ALL.len()
        ) {
            let permission = Permission::ALL[number];
            let granted = role_grants(permission, &brand, &here);
            let everywhere: Vec<Role> = brand.iter().chain(&here).copied().collect();
            prop_assert!(!granted || role_grants(permission, &everywhere, &[]));
            prop_assert_eq!(role_grants(permission, &brand, &[]), permission.roles().iter().any(|role| brand.contains(role)));
            if permission.within_store() {
                prop_assert_eq!(granted, role_grants(permission, &everywhere, &[]));
            } else {
                prop_assert_eq!(granted, role_grants(permission, &brand, &[]));
            }
        }
    }
}
