//! Authorisation in one place: a context value is the proof that the caller may act, and for whom.

use crate::domain::audit::Actor;
use crate::domain::ident::{AccountId, BrandId};

/// Who calls: an authenticated account with what its credential allows.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) account: AccountId,
}

/// Leave to act for one brand. Made by authorising a caller, or locally by who owns the data directory.
#[derive(Clone, Debug)]
pub struct BrandCtx {
    brand: BrandId,
    actor: Actor,
}

impl BrandCtx {
    /// For local commands: access to the data directory is the proof.
    pub fn local(brand: BrandId) -> Self {
        Self {
            brand,
            actor: Actor::Local,
        }
    }

    /// The brand.
    pub fn brand(&self) -> &BrandId {
        &self.brand
    }

    /// Who acts, for the audit log.
    pub fn actor(&self) -> Actor {
        self.actor.clone()
    }
}

/// Leave to act on the instance as a whole.
#[derive(Clone, Debug)]
pub struct InstanceCtx {
    actor: Actor,
}

impl InstanceCtx {
    /// For local commands.
    pub fn local() -> Self {
        Self { actor: Actor::Local }
    }

    /// Who acts.
    pub fn actor(&self) -> Actor {
        self.actor.clone()
    }
}

/// Leave to act on one's own account.
#[derive(Clone, Debug)]
pub struct OwnCtx {
    pub(super) account: AccountId,
}

impl OwnCtx {
    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }
}

impl Caller {
    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }
}
