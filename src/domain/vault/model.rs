//! Models as the vault serves them: API keys, policies, remodel rules.

use serde::{Deserialize, Serialize};

use super::claim::Reissue;
use crate::domain::access::Authorship;
use crate::domain::fleet::FleetRule;
use crate::domain::ident::{AccountId, BrandId, IdentError, KeyName, ModelName, SerialNumber, StoreId};
use crate::domain::time::Timestamp;

/// How a device proves that it may ask for a serial of the model (decisions.md 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceAuth {
    /// It presents one of the model's API keys.
    #[default]
    ApiKey,
    /// Its serial is on the model's allow-list.
    AllowList,
    /// No proof at all; for closed factory networks.
    None,
}

impl std::str::FromStr for DeviceAuth {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        match text {
            "api-key" => Ok(Self::ApiKey),
            "allow-list" => Ok(Self::AllowList),
            "none" => Ok(Self::None),
            other => Err(IdentError::new(
                "way to authenticate devices (api-key, allow-list, none)",
                other,
            )),
        }
    }
}

/// One API key of a model. It is checked by its keyed hash; who administers models can read it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ApiKey {
    /// A short public name for it.
    pub id: String,
    /// HMAC-SHA256 of the key under the instance's secret, lower-case hex (`app::api_keys`).
    pub hash: String,
    /// The key itself, sealed (`app::api_keys`); none for those from before it was kept.
    #[serde(default)]
    pub sealed: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops being good.
    pub expires: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is no good any more at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// Binds a model to the key that signs its serials; the highest revision is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SerialPolicy {
    /// 1, 2, ...
    pub revision: u32,
    /// The brand's signing key.
    pub key: KeyName,
    /// When it came into force.
    pub created: Timestamp,
    /// Who put it in force.
    #[serde(default)]
    pub created_by: Option<AccountId>,
}

/// A model of a brand as the vault serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModelRecord {
    /// The brand.
    pub brand_id: BrandId,
    /// The model.
    pub name: ModelName,
    /// The API keys in use; several while one is being rotated.
    pub api_keys: Vec<ApiKey>,
    /// How devices prove themselves.
    pub auth: DeviceAuth,
    /// About serials issued before.
    pub reissue: Reissue,
    /// Only serials of the allow-list.
    pub allow_list: bool,
    /// At most this many distinct serials.
    pub quota: Option<u64>,
    /// Serial policies, oldest first. Without one there are no serials.
    pub policies: Vec<SerialPolicy>,
    /// The highest revision a policy ever had: none is given twice.
    #[serde(default)]
    pub last_policy: u32,
    /// What its devices become when they register.
    #[serde(default)]
    pub fleet: FleetRule,
    /// A disabled model gets no serials and no sessions.
    pub disabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// By whom, and who changed it.
    #[serde(default)]
    pub authorship: Authorship,
}

impl ModelRecord {
    /// The serial policy in force.
    pub fn policy(&self) -> Option<&SerialPolicy> {
        self.policies.iter().max_by_key(|policy| policy.revision)
    }

    /// The revision the next serial policy gets.
    pub fn next_policy(&self) -> u32 {
        let highest = self.policy().map_or(0, |policy| policy.revision);
        highest.max(self.last_policy).saturating_add(1)
    }

    /// The API key of those in force that was added last.
    pub fn newest_api_key(&self, now: Timestamp) -> Option<&ApiKey> {
        self.api_keys.iter().rev().find(|key| !key.expired(now))
    }
}

/// Lets devices of one model become another (serial-vault.md 6, admin-api.md 1.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemodelRule {
    /// The brand of the old model.
    pub brand_id: BrandId,
    /// The model the device has.
    pub from_model: ModelName,
    /// The model it may become.
    pub to_model: ModelName,
    /// Only this serial; none = every serial.
    pub from_serial: Option<SerialNumber>,
    /// The store of the new model, where the rule names one.
    pub store: Option<StoreId>,
    /// A note for people, at most 140 characters.
    pub note: String,
    /// When it was made.
    pub created: Timestamp,
    /// By whom, and who changed it.
    #[serde(default)]
    pub authorship: Authorship,
}
