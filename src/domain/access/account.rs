//! Accounts, brands, stores, memberships and API tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::authorship::Authorship;
use super::limits::{Limits, common};
use super::permission::Role;
use super::provider::ProviderIdentity;
use super::reset::PasswordReset;
use crate::domain::catalog::{SnapPrefix, StoreKind};
use crate::domain::ident::{AccountId, BrandId, Email, StoreId, Username};
use crate::domain::time::Timestamp;

/// A person who can log in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Account {
    /// 32 characters, never changes.
    pub id: AccountId,
    /// What they log in with; unique.
    pub email: Email,
    /// Public name; unique.
    pub username: Username,
    /// For people.
    pub display_name: String,
    /// argon2id, PHC string; none = cannot log in with a password.
    pub password: Option<String>,
    /// Nobody has shown that the e-mail address is theirs: the account was made by accepting an invite, whose text the
    /// inviter has too. Until then it is known only in stores it is a member of (D-53).
    #[serde(default)]
    pub unproven: bool,
    /// Instance operator: above all brands (decisions.md 10).
    pub operator: bool,
    /// May no longer log in; its tokens went when it was switched off.
    pub disabled: bool,
    /// What log-ins demand besides the password, once it is confirmed.
    #[serde(default)]
    pub second_factor: Option<SecondFactor>,
    /// Who they are for the provider they sign in with; none = they have not yet.
    #[serde(default)]
    pub provider: Option<ProviderIdentity>,
    /// The link that sets a new password, where one is out.
    #[serde(default)]
    pub reset: Option<PasswordReset>,
    /// When it was made.
    pub created: Timestamp,
}

impl Account {
    /// Who the e-mail address belongs to has come. What somebody else may have set on an unproven account goes: password
    /// and second factor. True if so; its tokens have to go in the same commit.
    pub fn prove(&mut self) -> bool {
        if !self.unproven {
            return false;
        }
        self.unproven = false;
        self.password = None;
        self.second_factor = None;
        true
    }

    /// Whether a log-in that was proved to `before`, the account as it was then, counts for the account as it is now: it is
    /// not switched off, and what was proved is not another password, second factor or person of a provider by now.
    pub fn admits(&self, before: &Account) -> bool {
        let factor = |account: &Account| {
            let factor = account.second_factor.as_ref().filter(|factor| factor.confirmed);
            factor.map(|factor| factor.sealed.clone())
        };
        !self.disabled
            && self.password == before.password
            && self.provider == before.provider
            && factor(self) == factor(before)
    }

    /// Whether log-ins demand a second factor.
    pub fn has_second_factor(&self) -> bool {
        self.second_factor.as_ref().is_some_and(|factor| factor.confirmed)
    }

    /// Whether the link with this hash sets a new password at `now`: those of accounts that are switched off do not.
    pub fn takes_link(&self, hash: &str, now: Timestamp) -> bool {
        let reset = self.reset.as_ref();
        !self.disabled && reset.is_some_and(|reset| reset.hash == hash && now < reset.expires)
    }
}

/// Codes of an authenticator application (TOTP, RFC 6238).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SecondFactor {
    /// The shared secret, sealed.
    pub sealed: String,
    /// Its owner has proved to have it; before that nothing is demanded.
    pub confirmed: bool,
    /// The time step of the last code that was used: no code is good twice.
    pub last_step: u64,
    /// SHA-256 of the recovery codes that are left, lower-case hex.
    pub recovery: Vec<String>,
    /// When it was confirmed, or begun.
    pub since: Timestamp,
}

/// A brand of this instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Brand {
    /// Its account id: `brand-id` and `authority-id` of what it signs.
    pub id: BrandId,
    /// For people.
    pub name: String,
    /// Its base store.
    pub base_store: StoreId,
    /// Its account and account-keys are signed by another root and imported (delegated mode); ours signs neither.
    #[serde(default)]
    pub delegated: bool,
    /// When it was made.
    pub created: Timestamp,
    /// By whom, and who changed it.
    #[serde(default)]
    pub authorship: Authorship,
}

/// A store of a brand.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreRecord {
    /// Its id, unique on the instance.
    pub id: StoreId,
    /// The brand it belongs to.
    pub brand_id: BrandId,
    /// For people.
    pub name: String,
    /// The store above it; none for a base store.
    pub parent: Option<StoreId>,
    /// What it is for; none for a base store.
    #[serde(default)]
    pub kind: Option<StoreKind>,
    /// Not shown to who names no store (admin-api.md 1.5); still usable by its id.
    #[serde(default)]
    pub private: bool,
    /// What happens to uploads after the automatic checks.
    #[serde(default)]
    pub review_policy: ReviewPolicy,
    /// Stores whose snaps may be put in one by one (`allowed-inclusion-source-stores`).
    #[serde(default)]
    pub inclusion_sources: BTreeSet<StoreId>,
    /// Stores that may take snaps from here; empty = all (`allowed-inclusion-target-stores`).
    #[serde(default)]
    pub inclusion_targets: BTreeSet<StoreId>,
    /// Stores whose own snaps are all here too (`store-whitelist`).
    #[serde(default)]
    pub whole_stores: BTreeSet<StoreId>,
    /// How names of snaps registered here begin; empty = anyhow (`snap-name-prefixes`).
    #[serde(default)]
    pub name_prefixes: Vec<SnapPrefix>,
    /// How many unreleased revisions are kept of each snap registered here; none = all.
    #[serde(default)]
    pub keep_unreleased: Option<u32>,
    /// When it was made.
    pub created: Timestamp,
}

impl StoreRecord {
    /// A base store with the settings stores begin with.
    pub fn new(id: StoreId, brand_id: BrandId, name: String, created: Timestamp) -> Self {
        Self {
            id,
            brand_id,
            name,
            parent: None,
            kind: None,
            private: false,
            review_policy: ReviewPolicy::default(),
            inclusion_sources: BTreeSet::new(),
            inclusion_targets: BTreeSet::new(),
            whole_stores: BTreeSet::new(),
            name_prefixes: Vec::new(),
            keep_unreleased: None,
            created,
        }
    }
}

/// What happens to uploads after the automatic checks (`manual-review-policy`, admin-api.md 1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewPolicy {
    /// Their result decides.
    #[default]
    Allow,
    /// Nothing waits for a person.
    Avoid,
    /// Everything waits for a person.
    Require,
}

/// The roles of one account in one store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Membership {
    /// The brand of the store.
    pub brand_id: BrandId,
    /// The store.
    pub store_id: StoreId,
    /// The account.
    pub account_id: AccountId,
    /// Never empty.
    pub roles: Vec<Role>,
    /// When it was last changed.
    pub changed: Timestamp,
}

/// An API token (`hmk_…`): only its hash is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Token {
    /// Public id.
    pub id: String,
    /// Whose rights it carries (at most).
    pub account_id: AccountId,
    /// SHA-256 of the token, lower-case hex.
    pub hash: String,
    /// For people.
    pub description: String,
    /// Only these permissions, by name; none = all of the account's.
    pub permissions: Option<Vec<String>>,
    /// What was asked for, in the words of the client that asked (see [`super::vocabulary`]).
    #[serde(default)]
    pub words: Vec<String>,
    /// Only these snaps, channels and stores.
    #[serde(default)]
    pub limits: Limits,
    /// Only this brand; none = all of the account's.
    pub brand_id: Option<BrandId>,
    /// Made by a log-in of a person (as opposed to `token create`, for programs).
    pub person: bool,
    /// Made by the log-in of a publisher client; its text is nowhere, macaroons name it.
    #[serde(default)]
    pub publisher: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops being good.
    pub expires: Timestamp,
}

/// What of a token a caller presented: the token itself is all of it, macaroons leave less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Presented {
    /// Only these permissions, by name; none = all of the account's.
    pub permissions: Option<BTreeSet<String>>,
    /// Only these snaps, channels and stores.
    pub limits: Limits,
    /// A person was there.
    pub person: bool,
    /// When it stops being good.
    pub expires: Timestamp,
}

impl Token {
    /// All of it.
    pub fn presented(&self) -> Presented {
        Presented {
            permissions: self.permissions.clone().map(BTreeSet::from_iter),
            limits: self.limits.clone(),
            person: self.person,
            expires: self.expires,
        }
    }

    /// Takes away what was not presented.
    pub fn keep(&mut self, presented: &Presented) {
        let own = self.permissions.take().map(BTreeSet::from_iter);
        self.permissions = common(own, presented.permissions.as_ref()).map(Vec::from_iter);
        self.limits = std::mem::take(&mut self.limits).and(&presented.limits);
        self.person &= presented.person;
        self.expires = self.expires.min(presented.expires);
    }

    /// Whether a log-in made it, of a person or of a publisher client: it ends with the password that was given for it.
    pub fn is_log_in(&self) -> bool {
        self.person || self.publisher
    }
}
