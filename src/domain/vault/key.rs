//! Signing keys: what they are for and where they stand.

use serde::{Deserialize, Serialize};

use crate::domain::ident::{AccountId, KeyId, KeyName, ModelName};
use crate::domain::time::Timestamp;

/// What a key may sign. Enforced at every signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each purpose is the assertion type it may sign")]
pub enum KeyPurpose {
    /// Everything a trust root signs: account, account-key, store, snap-declaration, snap-revision...
    Root,
    Model,
    Serial,
    SystemUser,
    ValidationSet,
    Validation,
    Preseed,
    SnapBuild,
    Repair,
}

/// Whether a key may sign now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It signs.
    Active,
    /// A person switched it off; its public half stays known.
    Disabled,
}

/// A signing key of an account, as the registry keeps it. The private half is sealed by the signer and opaque here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SigningKey {
    /// The account (brand or authority) that owns it.
    pub account_id: AccountId,
    /// Its name, unique within the account.
    pub name: KeyName,
    /// Its id.
    pub key_id: KeyId,
    /// The encoded public key (assertions.md 2.1), base64 with line breaks.
    pub public_key: String,
    /// What it may sign; never empty.
    pub purposes: Vec<KeyPurpose>,
    /// Only for these models, where not empty.
    pub models: Vec<ModelName>,
    /// Whether it may sign.
    pub state: KeyState,
    /// Whether the external key manager may use it; never for keys with purpose serial.
    pub external: bool,
    /// Start of validity.
    pub since: Timestamp,
    /// End of validity, none = for ever.
    pub until: Option<Timestamp>,
    /// When it came here.
    pub created: Timestamp,
    /// The sealed private half, as the signer gave it (base64).
    pub sealed: String,
}
