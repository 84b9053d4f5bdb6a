//! Whether a key of a brand may sign something now: asked when a policy is saved and when assertions are issued, so
//! that nothing leaves which devices would reject (serial-vault.md 18.2).

use bytes::Bytes;

use super::Refusal;
use crate::domain::assertion::types::{AccountKey, Validity};
use crate::domain::assertion::{
    self, Assertion, AssertionType, Headers, PublicKey, Ref, Typed, encode_stream,
};
use crate::domain::ident::{AccountId, BrandId, DeviceId, KeyId, KeyName, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::{KeyRefusal, SigningKey};
use crate::ports::{Storage, StoreError};

/// Why a key may not sign.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// The brand has no key of this name.
    #[error("brand {0} has no key named {1}: see `hallmark key list`")]
    Unknown(BrandId, KeyName),
    /// Its record forbids it.
    #[error(transparent)]
    Refused(#[from] KeyRefusal),
    /// No account-key assertion says that it is the brand's.
    #[error(
        "key {0} is not registered: no account-key assertion of it is known here (`hallmark key register`)"
    )]
    Unregistered(KeyName),
    /// Its account-key assertion is of another account, so devices would reject what it signs.
    #[error("key {0} is registered for account {1}, not for the brand")]
    Foreign(KeyName, String),
    /// Its account-key assertion is not valid then.
    #[error("key {name} is not valid at {at}: its account-key assertion is valid {validity}")]
    Validity {
        /// The key.
        name: KeyName,
        /// The time in question.
        at: Timestamp,
        /// When it is valid.
        validity: Validity,
    },
    /// Its account-key assertion forbids this.
    #[error("the constraints in the account-key assertion of key {0} do not allow it")]
    Constrained(KeyName),
    /// What is stored of it cannot be used.
    #[error("key {0} cannot be used: {1}")]
    Broken(KeyName, String),
    /// The database is out of reach.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Unusable {
    /// The answer to an administrator who wants to `act`.
    pub(super) fn refusal(self, act: &str) -> Refusal {
        let message = format!("cannot {act}: {self}");
        match self {
            Self::Unknown(..) => Refusal::not_found(message),
            Self::Refused(refusal) => Refusal {
                message,
                ..refusal.into()
            },
            Self::Constrained(_) => Refusal::conflict("key-constraints", message),
            Self::Unregistered(_) | Self::Foreign(..) => Refusal::conflict("key-not-registered", message),
            Self::Validity { .. } => Refusal::conflict("key-not-valid", message),
            Self::Broken(..) => Refusal::conflict("key-unusable", message),
            Self::Store(error) => error.into(),
        }
    }
}

/// A key of a brand with what devices need to believe it.
#[derive(Clone, Debug)]
pub(super) struct BrandKey {
    /// The key's record.
    pub record: SigningKey,
    /// Its public half.
    pub public: PublicKey,
    /// Its account-key assertion.
    assertion: Assertion,
    /// Account and account-key as a stream, to be sent with what it signs.
    pub chain: Bytes,
}

impl BrandKey {
    /// Whether it may sign an assertion of type `kind` with these headers at `now`: by its record, by its account-key
    /// assertion, and by the constraints in there. Headers without a `serial` stand for serials that are not known yet.
    pub(super) fn check(
        &self,
        kind: AssertionType,
        headers: &Headers,
        now: Timestamp,
    ) -> Result<(), Unusable> {
        self.record.may_sign(kind, headers, now)?;
        self.valid_at(now)?;
        let view = self.view()?;
        if view.is_constrained() {
            let mut headers = headers.clone();
            headers.set("type", kind.name());
            let may = if kind == AssertionType::Serial && !headers.contains("serial") {
                view.may_sign_with_some(&headers, "serial")
            } else {
                view.may_sign(&headers)
            };
            if !may {
                return Err(Unusable::Constrained(self.record.name.clone()));
            }
        }
        Ok(())
    }

    /// Whether it may sign this very serial, where its constraints name serials.
    pub(super) fn reaches(&self, device: &DeviceId) -> bool {
        let mut headers = serial_headers(&device.brand, &device.model);
        headers.set("serial", device.serial.as_str());
        headers.set("type", AssertionType::Serial.name());
        self.view().is_ok_and(|view| view.may_sign(&headers))
    }

    /// Whether its account-key assertion covers `at`, which may be a timestamp inside of what is signed.
    pub(super) fn valid_at(&self, at: Timestamp) -> Result<(), Unusable> {
        let validity = self.view()?.validity;
        if validity.covers(at) {
            Ok(())
        } else {
            Err(Unusable::Validity {
                name: self.record.name.clone(),
                at,
                validity,
            })
        }
    }

    fn view(&self) -> Result<&AccountKey, Unusable> {
        account_key(&self.assertion).ok_or_else(|| {
            let why = "its account-key assertion is of another type".to_owned();
            Unusable::Broken(self.record.name.clone(), why)
        })
    }
}

/// The brand's key `name`, if devices can know it as the brand's. What it may sign and when is asked with
/// [`BrandKey::check`].
pub(super) async fn read(
    storage: &(dyn Storage + 'static),
    brand: &BrandId,
    name: &KeyName,
) -> Result<BrandKey, Unusable> {
    let record = storage
        .find::<SigningKey>([brand.as_str(), name.as_str()])
        .await?
        .ok_or_else(|| Unusable::Unknown(brand.clone(), name.clone()))?
        .record;
    let public =
        PublicKey::decode(&record.public_key).map_err(|e| Unusable::Broken(name.clone(), e.to_string()))?;
    let chain = chain_of(storage, &record.key_id).await?;
    let Some(Chain {
        account,
        key: assertion,
    }) = chain
    else {
        return Err(Unusable::Unregistered(name.clone()));
    };
    let chain = encode_stream([account.encoded(), assertion.encoded()]);
    let key = BrandKey {
        record,
        public,
        assertion,
        chain,
    };
    let owner = &key.view()?.account_id;
    if owner != brand.as_str() {
        return Err(Unusable::Foreign(name.clone(), owner.clone()));
    }
    Ok(key)
}

/// The brand's key `name`, if it may sign serials of `model` at `now`; what a serial policy asks.
pub(super) async fn for_serials(
    storage: &(dyn Storage + 'static),
    brand: &BrandId,
    model: &ModelName,
    name: &KeyName,
    now: Timestamp,
) -> Result<BrandKey, Unusable> {
    let key = read(storage, brand, name).await?;
    key.check(AssertionType::Serial, &serial_headers(brand, model), now)?;
    Ok(key)
}

/// What is known of every serial of a model before one is made; enough to judge a key by.
pub(super) fn serial_headers(brand: &BrandId, model: &ModelName) -> Headers {
    let mut headers = Headers::default();
    headers.set("authority-id", brand.as_str());
    headers.set("brand-id", brand.as_str());
    headers.set("model", model.as_str());
    headers
}

/// An account and one of its keys, as assertions.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The account.
    pub account: Assertion,
    /// The account-key.
    pub key: Assertion,
}

/// The account-key assertion of key `id` and the account it belongs to; none unless both are known.
pub(super) async fn chain_of(
    storage: &(dyn Storage + 'static),
    id: &KeyId,
) -> Result<Option<Chain>, StoreError> {
    let Some(key) = stored(storage, &Ref::new(AssertionType::AccountKey, [id.as_str()])).await? else {
        return Ok(None);
    };
    let owner = key.text("account-id").unwrap_or_default().to_owned();
    let account = stored(storage, &Ref::new(AssertionType::Account, [owner.as_str()])).await?;
    Ok(account.map(|account| Chain { account, key }))
}

/// The public key with this id, if it is or ever was one of the brand's: by an account-key assertion, or because it
/// was made or imported here. What it signed stays believable after it was disabled (serial-vault.md 6.1, 17 S19).
pub(super) async fn ever_of_brand(
    storage: &(dyn Storage + 'static),
    brand: &BrandId,
    id: &KeyId,
) -> Result<Option<PublicKey>, StoreError> {
    if let Some(assertion) = stored(storage, &Ref::new(AssertionType::AccountKey, [id.as_str()])).await?
        && let Some(key) = account_key(&assertion)
        && key.account_id == brand.as_str()
    {
        return Ok(Some(key.public_key.clone()));
    }
    let Some(found) = storage.find_unique::<SigningKey>("key-id", id.as_str()).await? else {
        return Ok(None);
    };
    if found.record.account_id != AccountId::from(brand.clone()) {
        return Ok(None);
    }
    let key = PublicKey::decode(&found.record.public_key)
        .map_err(|e| StoreError::Corrupt(format!("signing key {}: {e}", found.record.name)))?;
    Ok(Some(key))
}

/// A stored assertion, decoded.
pub(super) async fn stored(
    storage: &(dyn Storage + 'static),
    reference: &Ref,
) -> Result<Option<Assertion>, StoreError> {
    let Some(found) = storage
        .assertion(reference, reference.kind.info().max_format)
        .await?
    else {
        return Ok(None);
    };
    let decoded = assertion::decode(&found.encoded)
        .map_err(|e| StoreError::Corrupt(format!("assertion {reference} does not decode: {e}")))?;
    Ok(Some(decoded))
}

fn account_key(assertion: &Assertion) -> Option<&AccountKey> {
    match assertion.typed() {
        Typed::AccountKey(key) => Some(key),
        _ => None,
    }
}
