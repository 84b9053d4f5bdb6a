//! Signing keys: what they are for, where they stand, and what they may sign.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::token_uri;
use crate::domain::access::Authorship;
use crate::domain::assertion::{AssertionType, Headers, Value};
use crate::domain::ident::{AccountId, IdentError, KeyId, KeyName, ModelName};
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
    /// Revisions of snaps and components that a snap-declaration delegates to the brand.
    SnapRevision,
    Repair,
}

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: &'static [KeyPurpose] = &[
        Self::Root,
        Self::Model,
        Self::Serial,
        Self::SystemUser,
        Self::ValidationSet,
        Self::Validation,
        Self::Preseed,
        Self::SnapBuild,
        Self::SnapRevision,
        Self::Repair,
    ];

    /// Its name: the assertion type, or `root`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Model
            | Self::Serial
            | Self::SystemUser
            | Self::ValidationSet
            | Self::Validation
            | Self::Preseed
            | Self::SnapBuild
            | Self::SnapRevision
            | Self::Repair => self.assertion_types().first().map_or("", |kind| kind.name()),
        }
    }

    /// The assertion types a key of this purpose signs; for a brand key the first one gives the purpose its name.
    pub fn assertion_types(self) -> &'static [AssertionType] {
        match self {
            Self::Root => &[
                AssertionType::Account,
                AssertionType::AccountKey,
                AssertionType::BaseDeclaration,
                AssertionType::SnapDeclaration,
                AssertionType::SnapDeveloper,
                AssertionType::SnapResourcePair,
                AssertionType::SnapResourceRevision,
                AssertionType::SnapRevision,
                AssertionType::Store,
            ],
            Self::Model => &[AssertionType::Model],
            Self::Serial => &[AssertionType::Serial],
            Self::SystemUser => &[AssertionType::SystemUser],
            Self::ValidationSet => &[AssertionType::ValidationSet],
            Self::Validation => &[AssertionType::Validation],
            Self::Preseed => &[AssertionType::Preseed],
            Self::SnapBuild => &[AssertionType::SnapBuild],
            Self::SnapRevision => &[
                AssertionType::SnapRevision,
                AssertionType::SnapResourceRevision,
                AssertionType::SnapResourcePair,
            ],
            Self::Repair => &[AssertionType::Repair],
        }
    }

    /// The header by which what it signs can be bound to models; none if it cannot.
    pub fn model_header(self) -> Option<&'static str> {
        match self {
            Self::Model | Self::Serial | Self::Preseed => Some("model"),
            Self::SystemUser => Some("models"),
            Self::Root
            | Self::ValidationSet
            | Self::Validation
            | Self::SnapBuild
            | Self::SnapRevision
            | Self::Repair => None,
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyPurpose {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        Self::ALL
            .iter()
            .find(|purpose| purpose.name() == text)
            .copied()
            .ok_or_else(|| IdentError::new("key purpose", text))
    }
}

/// Whether a key may sign now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It signs.
    Active,
    /// A person switched it off; its public half stays known.
    Disabled,
    /// Its private half was destroyed; its public half stays known, as what it signed stays good.
    Deleted,
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
    /// Whether its account-key carries `constraints`: devices then enforce purposes and models too (snapd 2.64 and
    /// later; older ones refuse such a key).
    #[serde(default)]
    pub constrained: bool,
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
    /// The sealed private half, or the place of a key in hardware with its seal, as the signer gave it; empty once it
    /// was destroyed.
    pub sealed: String,
    /// By whom it was made, and who changed it.
    #[serde(default)]
    pub authorship: Authorship,
}

/// Why a key may not sign something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// It is switched off.
    #[error("key {name} is disabled")]
    Disabled {
        /// The key.
        name: KeyName,
    },
    /// Its validity begins later, or has ended.
    #[error("key {name} is not valid now (from {since} until {until})")]
    NotValidNow {
        /// The key.
        name: KeyName,
        /// Start of its validity.
        since: Timestamp,
        /// End of its validity, or `ever`.
        until: String,
    },
    /// It is for something else.
    #[error("key {name} is for {purposes}, not for {kind} assertions")]
    Purpose {
        /// The key.
        name: KeyName,
        /// What it is for.
        purposes: String,
        /// What it was to sign.
        kind: AssertionType,
    },
    /// It is bound to other models.
    #[error("key {name} is only for the models {models}")]
    Model {
        /// The key.
        name: KeyName,
        /// The models it is for.
        models: String,
    },
    /// It belongs to another account.
    #[error("key {name} belongs to {owner}, not to the authority {authority:?}")]
    Authority {
        /// The key.
        name: KeyName,
        /// Whose it is.
        owner: AccountId,
        /// The authority of the statement.
        authority: String,
    },
}

impl SigningKey {
    /// The place of a key in hardware as a `pkcs11:` URI; none for a software key, and once it was destroyed.
    pub fn place(&self) -> Option<&str> {
        token_uri::split(&self.sealed).0
    }

    /// Whether it is switched on and valid at `now`.
    pub fn usable(&self, now: Timestamp) -> Result<(), KeyRefusal> {
        let name = self.name.clone();
        match self.state {
            KeyState::Disabled | KeyState::Deleted => return Err(KeyRefusal::Disabled { name }),
            KeyState::Active => {}
        }
        if now < self.since || self.until.is_some_and(|until| now >= until) {
            let until = self
                .until
                .map_or_else(|| "ever".to_owned(), |until| until.to_string());
            return Err(KeyRefusal::NotValidNow {
                name,
                since: self.since,
                until,
            });
        }
        Ok(())
    }

    /// Whether it may sign a statement of type `kind` with these headers at `now`.
    pub fn may_sign(&self, kind: AssertionType, headers: &Headers, now: Timestamp) -> Result<(), KeyRefusal> {
        self.usable(now)?;
        if kind == AssertionType::AccountKeyRequest {
            // A key speaks for itself here: anyone who holds it may ask for its registration.
            return self.speaks_for(headers.text("account-id"));
        }
        let mut purposes = self.purposes.iter();
        let Some(purpose) = purposes.find(|purpose| purpose.assertion_types().contains(&kind)) else {
            let purposes = self
                .purposes
                .iter()
                .map(|purpose| purpose.name())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(KeyRefusal::Purpose {
                name: self.name.clone(),
                purposes,
                kind,
            });
        };
        if kind.info().has_authority {
            self.speaks_for(headers.text("authority-id"))?;
        }
        self.covers_models(*purpose, headers)
    }

    fn speaks_for(&self, authority: Option<&str>) -> Result<(), KeyRefusal> {
        if authority == Some(self.account_id.as_str()) {
            return Ok(());
        }
        let authority = authority.unwrap_or_default().chars().take(64).collect();
        Err(KeyRefusal::Authority {
            name: self.name.clone(),
            owner: self.account_id.clone(),
            authority,
        })
    }

    fn covers_models(&self, purpose: KeyPurpose, headers: &Headers) -> Result<(), KeyRefusal> {
        if self.models.is_empty() {
            return Ok(());
        }
        let known = |text: &str| self.models.iter().any(|model| model.as_str() == text);
        let covered = match purpose.model_header().and_then(|header| headers.get(header)) {
            Some(Value::Text(model)) => known(model),
            Some(Value::List(models)) => models.iter().all(|model| model.as_text().is_some_and(known)),
            Some(Value::Map(_)) | None => false,
        };
        if covered {
            return Ok(());
        }
        let models = self
            .models
            .iter()
            .map(ModelName::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        Err(KeyRefusal::Model {
            name: self.name.clone(),
            models,
        })
    }

    /// The `constraints` header of its account-key: one entry per purpose, bound to its models where it has any.
    /// The values are regular expressions (assertions.md 3.1); names and types have no special characters.
    pub fn constraints(&self) -> Value {
        let models = self
            .models
            .iter()
            .map(ModelName::as_str)
            .collect::<Vec<_>>()
            .join("|");
        let entry = |(purpose, kind): (&KeyPurpose, &AssertionType)| {
            let mut headers = BTreeMap::from([("type".to_owned(), Value::from(kind.name()))]);
            if let (Some(header), false) = (purpose.model_header(), models.is_empty()) {
                headers.insert(header.to_owned(), Value::from(models.as_str()));
            }
            Value::Map(BTreeMap::from([("headers".to_owned(), Value::Map(headers))]))
        };
        let brand = self
            .purposes
            .iter()
            .filter(|purpose| **purpose != KeyPurpose::Root);
        let kinds =
            brand.flat_map(|purpose| purpose.assertion_types().iter().map(move |kind| (purpose, kind)));
        Value::List(kinds.map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(purposes: &[KeyPurpose], models: &[&str]) -> SigningKey {
        SigningKey {
            account_id: "acme".parse().unwrap(),
            name: "one".parse().unwrap(),
            key_id: "a".repeat(64).parse().unwrap(),
            public_key: String::new(),
            purposes: purposes.to_vec(),
            models: models.iter().map(|model| model.parse().unwrap()).collect(),
            constrained: false,
            state: KeyState::Active,
            external: false,
            since: Timestamp::from_unix(1000),
            until: Some(Timestamp::from_unix(2000)),
            created: Timestamp::from_unix(1000),
            sealed: String::new(),
            authorship: Authorship::default(),
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in pairs {
            headers.set(name, *value);
        }
        headers
    }

    const NOW: Timestamp = Timestamp::from_unix(1500);

    #[test]
    fn a_key_signs_what_it_is_for_and_nothing_else() {
        let serial = key(&[KeyPurpose::Serial], &[]);
        let acme = headers(&[("authority-id", "acme")]);
        for kind in crate::domain::assertion::TYPES.iter().map(|info| info.kind) {
            let allowed = serial.may_sign(kind, &acme, NOW).is_ok();
            assert_eq!(allowed, kind == AssertionType::Serial, "{kind}");
        }
        assert!(matches!(
            serial.may_sign(AssertionType::Serial, &headers(&[("authority-id", "other")]), NOW),
            Err(KeyRefusal::Authority { .. })
        ));
        assert!(
            serial
                .may_sign(AssertionType::Serial, &headers(&[]), NOW)
                .is_err()
        );
        let request = headers(&[("account-id", "acme")]);
        assert!(
            serial
                .may_sign(AssertionType::AccountKeyRequest, &request, NOW)
                .is_ok()
        );
    }

    #[test]
    fn a_key_signs_only_while_valid_and_switched_on() {
        let mut model = key(&[KeyPurpose::Model], &[]);
        let acme = headers(&[("authority-id", "acme")]);
        for (now, good) in [(999, false), (1000, true), (1999, true), (2000, false)] {
            let verdict = model.may_sign(AssertionType::Model, &acme, Timestamp::from_unix(now));
            assert_eq!(verdict.is_ok(), good, "{now}");
        }
        model.state = KeyState::Disabled;
        assert!(matches!(
            model.may_sign(AssertionType::Model, &acme, NOW),
            Err(KeyRefusal::Disabled { .. })
        ));
    }

    #[test]
    fn a_key_bound_to_models_signs_for_those_only() {
        let bound = key(
            &[KeyPurpose::Model, KeyPurpose::SystemUser],
            &["gate-1", "gate-2"],
        );
        let model = |name| headers(&[("authority-id", "acme"), ("model", name)]);
        assert!(
            bound
                .may_sign(AssertionType::Model, &model("gate-2"), NOW)
                .is_ok()
        );
        assert!(
            bound
                .may_sign(AssertionType::Model, &model("gate-3"), NOW)
                .is_err()
        );
        let mut user = headers(&[("authority-id", "acme")]);
        assert!(bound.may_sign(AssertionType::SystemUser, &user, NOW).is_err());
        user.set("models", Value::List(vec!["gate-1".into(), "gate-2".into()]));
        assert!(bound.may_sign(AssertionType::SystemUser, &user, NOW).is_ok());
        user.set("models", Value::List(vec!["gate-1".into(), "other".into()]));
        assert!(bound.may_sign(AssertionType::SystemUser, &user, NOW).is_err());
    }

    #[test]
    fn every_purpose_is_read_back_by_its_name() {
        for purpose in KeyPurpose::ALL {
            assert_eq!(purpose.name().parse::<KeyPurpose>(), Ok(*purpose));
            assert_eq!(serde_json::to_value(purpose).unwrap(), purpose.name());
        }
        assert!("account".parse::<KeyPurpose>().is_err());
    }
}
