//! Accounts, brands, stores, memberships and API tokens.

use serde::{Deserialize, Serialize};

use super::permission::Role;
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
    /// Instance operator: above all brands (decisions.md 10).
    pub operator: bool,
    /// May no longer log in; tokens are dead.
    pub disabled: bool,
    /// When it was made.
    pub created: Timestamp,
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
    /// When it was made.
    pub created: Timestamp,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Only this brand; none = all of the account's.
    pub brand_id: Option<BrandId>,
    /// Made by a log-in of a person (as opposed to `token create`, for programs).
    pub person: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops being good.
    pub expires: Timestamp,
}
