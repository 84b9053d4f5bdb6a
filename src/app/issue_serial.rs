//! The vault as devices see it: request-ids, serials, model assertions (serial-vault.md 4, 6, 7).
//!
//! A serial is reserved, signed, recorded, and only then answered. The steps from the reservation on run in a task of
//! their own, so a device that hangs up in between leaves nothing half done.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tracing::Instrument as _;

use super::api_keys::ApiKeyHash;
use super::brand_key;
use super::remodel::{self, Remodel, RemodelRequest};
use super::serial_call::{Call, decode, is_complete, names, wanted_serial};
use super::serial_job::{self, Job, claim};
use super::vault_cache::{ServedModel, VaultCache, is_keyless};
use super::{App, IssueError, ReadLimits, factory, request_id};
use crate::domain::access::Brand;
use crate::domain::assertion::types::SerialRequest;
use crate::domain::assertion::{Assertion, AssertionType, Ref, Typed, encode_stream};
use crate::domain::ident::{BrandId, DeviceId, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::Reservation;
use crate::ports::StoreError;

pub use super::serial_call::MAX_ASSERTIONS;

/// The vault. Cheap to clone; one per process.
#[derive(Clone, Debug)]
pub struct Vault {
    pub(super) app: App,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    cache: VaultCache,
    /// Reservations that could not be voided when it was due, because the database was out of reach.
    pub(super) leftovers: Mutex<Vec<Reservation>>,
}

/// What a device or factory tool presents with every request.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    /// Its API key.
    pub api_key: Option<String>,
    /// The brand in front of the path, if there was one.
    pub brand: Option<BrandId>,
    /// The address it calls from.
    pub peer: Option<IpAddr>,
}

/// The answer to a serial-request that was not refused.
#[derive(Clone, Debug)]
pub enum SerialAnswer {
    /// The serial, or a stream with everything needed to believe it.
    Issued(Bytes),
    /// A person has to decide: ask again with the same request.
    Waiting,
}

/// Who asks: proved by an API key, or nobody in particular.
struct Credential {
    hash: ApiKeyHash,
    /// The brand in front of the path, if there was one.
    brand: Option<BrandId>,
    /// The model the key belongs to, and the key's public id.
    held: Option<(Arc<ServedModel>, String)>,
}

impl Vault {
    /// The vault of an instance.
    pub fn new(app: App) -> Self {
        Self {
            app,
            shared: Arc::default(),
        }
    }

    /// How much of a request is read.
    pub fn limits(&self) -> ReadLimits {
        self.app.settings.limits
    }

    /// Closes the reservations that an earlier run, or another process that is gone, left open: their revisions become
    /// visible holes. Call it once at start-up, before serving. Returns how many there were.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let mut recovered = 0;
        loop {
            let (voided, more) = serial_job::void_abandoned(&self.app).await?;
            recovered += voided;
            if !more {
                return Ok(recovered);
            }
        }
    }

    /// Whether the database answers.
    pub async fn health(&self) -> Result<(), StoreError> {
        self.app.storage.ping().await
    }

    /// A fresh request-id. Writes nothing.
    pub async fn request_id(&self, presented: &Presented) -> Result<String, IssueError> {
        let credential = self.admit(presented).await?;
        Ok(request_id::issue(&self.app, &credential.hash))
    }

    /// The assertions of a model: account, account-key and model, in this order.
    pub async fn model(&self, presented: &Presented, brand: &str, model: &str) -> Result<Bytes, IssueError> {
        let credential = self.admit(presented).await?;
        let storage = &*self.app.storage;
        let brand: BrandId = brand.parse().map_err(|_| IssueError::UnknownBrand)?;
        storage
            .find::<Brand>([brand.as_str()])
            .await?
            .ok_or(IssueError::UnknownBrand)?;
        let model: ModelName = model.parse().map_err(|_| IssueError::UnknownModel)?;
        self.served(&credential, &brand, &model, None).await?;
        let reference = Ref::new(AssertionType::Model, ["16", brand.as_str(), model.as_str()]);
        let assertion = brand_key::stored(storage, &reference).await?.ok_or_else(|| {
            IssueError::NoModelAssertion(format!("no assertion of {model} is stored here; sign it first"))
        })?;
        let chain = brand_key::chain_of(storage, assertion.sign_key())
            .await?
            .ok_or_else(|| {
                IssueError::NoModelAssertion(format!(
                    "the account-key {} is not known here",
                    assertion.sign_key()
                ))
            })?;
        Ok(encode_stream([
            chain.account.encoded(),
            chain.key.encoded(),
            assertion.encoded(),
        ]))
    }

    /// Whether an API key would be accepted; the first check of every call, also before a body is looked at.
    pub async fn check_api_key(&self, presented: &Presented) -> Result<(), IssueError> {
        self.admit(presented).await.map(drop)
    }

    /// A serial for the stream in `body`. With `stream`, account and account-key go along.
    pub async fn serial(
        &self,
        presented: &Presented,
        body: &Bytes,
        stream: bool,
    ) -> Result<SerialAnswer, IssueError> {
        let credential = self.admit(presented).await?;
        if body.is_empty() {
            return Err(IssueError::EmptyData);
        }
        let call = decode(body, self.app.settings.limits.assertion)?;
        let job = self.prepare(&credential, call).await?;
        let vault = self.clone();
        let served = Arc::clone(&job.served);
        // A task of its own: it runs to its end even if the device hangs up now.
        let outcome = tokio::spawn(async move { vault.carry_out(job).await }.in_current_span());
        let serial = match outcome.await {
            Ok(outcome) => outcome?,
            Err(error) => {
                tracing::error!(%error, "the signing task broke off");
                return Err(IssueError::SigningBroke);
            }
        };
        let Some(serial) = serial else {
            return Ok(SerialAnswer::Waiting);
        };
        Ok(SerialAnswer::Issued(match &served.key {
            Ok(key) if stream => encode_stream([serial.encoded(), &key.chain]),
            Ok(_) | Err(_) => serial.encoded().clone(),
        }))
    }

    /// Steps 1 of every call: who asks.
    async fn admit(&self, presented: &Presented) -> Result<Credential, IssueError> {
        let cache = &self.shared.cache;
        let key = presented
            .api_key
            .as_deref()
            .map(str::trim)
            .filter(|key| !key.is_empty());
        let Some(key) = key else {
            let keyless = cache.keyless(&self.app).await?;
            let any = keyless
                .iter()
                .any(|(brand, _)| presented.brand.as_ref().is_none_or(|only| only == brand));
            return if any {
                Ok(Credential {
                    hash: ApiKeyHash::none(),
                    brand: presented.brand.clone(),
                    held: None,
                })
            } else {
                Err(IssueError::InvalidApiKey)
            };
        };
        let hash = ApiKeyHash::of(&self.app.secrets, key);
        let now = self.app.clock.now();
        let served = cache.by_api_key(&self.app, &hash).await?;
        let known = served.as_ref().and_then(|served| {
            let text = hash.text();
            let known = served
                .model
                .api_keys
                .iter()
                .find(|known| known.hash == text && !known.expired(now))?;
            let right_brand = presented
                .brand
                .as_ref()
                .is_none_or(|brand| *brand == served.model.brand_id);
            right_brand.then(|| (Arc::clone(served), known.id.clone()))
        });
        let Some(held) = known else {
            return Err(self.wrong_key(key, presented.peer, now));
        };
        Ok(Credential {
            hash,
            brand: presented.brand.clone(),
            held: Some(held),
        })
    }

    /// Counts a wrong key. The lock is looked at only now: a good key is never kept waiting by anybody's failures
    /// (decisions.md 18).
    fn wrong_key(&self, key: &str, peer: Option<IpAddr>, now: Timestamp) -> IssueError {
        let guard = &self.app.guard.api_keys;
        if guard.locked_for(key, peer, now).is_some() {
            return IssueError::LockedOut;
        }
        if guard.failed(key, peer, now) {
            tracing::warn!(?peer, "too many failures with one wrong API key");
        }
        IssueError::InvalidApiKey
    }

    /// Steps 8 to 14 of serial-vault.md 4.3.
    async fn prepare(&self, credential: &Credential, call: Call) -> Result<Job, IssueError> {
        let Typed::SerialRequest(request) = call.request.typed() else {
            return Err(IssueError::NotASerialRequest(call.request.kind().name()));
        };
        request
            .device_key
            .verify_assertion(&call.request)
            .map_err(|e| IssueError::RequestSignature(e.to_string()))?;
        let names = names(request);
        if let Some(model) = &call.model {
            self.check_model(request, model).await?;
        }
        let (brand, model) = names.map_err(|()| IssueError::UnknownModel)?;
        let remodel = match &request.original {
            Some(original) if is_complete(original) => {
                let request = RemodelRequest {
                    original,
                    brand: &brand,
                    model: &model,
                    device_key: request.device_key.id(),
                    model_assertion: call.model.as_ref(),
                    old_serial: call.old_serial.as_ref(),
                };
                Some(remodel::check(&self.app, &self.shared.cache, request).await?)
            }
            Some(_) | None if call.old_serial.is_some() => return Err(IssueError::UnexpectedSerial),
            Some(_) | None => None,
        };
        let presented = request_id::open(&self.app.secrets, &credential.hash, &request.request_id)
            .ok_or(IssueError::StaleRequest)?;
        let served = self.served(credential, &brand, &model, remodel.as_ref()).await?;
        let key = served
            .key
            .as_ref()
            .map_err(|why| IssueError::UnusableKey(why.clone()))?;
        let now = self.app.clock.now();
        // Before the claim, so that a key that cannot sign costs no revision.
        key.check(
            AssertionType::Serial,
            &brand_key::serial_headers(&brand, &model),
            now,
        )
        .map_err(|why| IssueError::UnusableKey(why.to_string()))?;
        let serial = wanted_serial(request, &call.request, remodel.as_ref()).await?;
        let device = DeviceId { brand, model, serial };
        if !key.reaches(&device) {
            return Err(IssueError::OutOfRange(key.record.name.clone()));
        }
        factory::ours(&served.sites, &device, now)?;
        let claim = claim(&self.app, &served, device, request, presented, now);
        Ok(Job {
            claim,
            actor: credential
                .held
                .as_ref()
                .map_or_else(|| "none".to_owned(), |(_, id)| id.clone()),
            remodelled: remodel.map(|remodel| remodel.original),
            served,
            request: call.request,
        })
    }

    /// Step 9: the model assertion is of the same model, and the brand signed it.
    async fn check_model(&self, request: &SerialRequest, model: &Assertion) -> Result<(), IssueError> {
        if model.text("brand-id") != Some(&request.brand_id) || model.text("model") != Some(&request.model) {
            return Err(IssueError::MismatchedModel);
        }
        let unverified = |why: String| IssueError::UnverifiedModel(why);
        let brand: BrandId = request
            .brand_id
            .parse()
            .map_err(|_| IssueError::MismatchedModel)?;
        let id = model.sign_key();
        let key = self
            .shared
            .cache
            .brand_key(&self.app, &brand, id)
            .await?
            .ok_or_else(|| {
                unverified(format!(
                    "key {id} is not known as one of brand {brand}; import its account-key assertion"
                ))
            })?;
        key.verify_assertion(model).map_err(|e| unverified(e.to_string()))
    }

    /// Step 12: the model whose policy answers, if the credential is good for it.
    async fn served(
        &self,
        credential: &Credential,
        brand: &BrandId,
        model: &ModelName,
        remodel: Option<&Remodel>,
    ) -> Result<Arc<ServedModel>, IssueError> {
        if credential.brand.as_ref().is_some_and(|prefix| prefix != brand) {
            return Err(IssueError::UnknownModel);
        }
        let cache = &self.shared.cache;
        let is = |served: &ServedModel| served.model.brand_id == *brand && served.model.name == *model;
        // The usual case costs one look into the cache: the key is the one of the model that is asked for.
        let target = match &credential.held {
            Some((held, _)) if is(held) => Some(Arc::clone(held)),
            Some(_) | None => cache.by_name(&self.app, brand, model).await?,
        };
        let original = remodel.map(|remodel| &remodel.original_model);
        let good = match &credential.held {
            Some((held, _)) => {
                let holds = |served: &Arc<ServedModel>| {
                    held.model.brand_id == served.model.brand_id && held.model.name == served.model.name
                };
                !held.model.disabled && (target.as_ref().is_some_and(holds) || original.is_some_and(holds))
            }
            None => match (&target, original) {
                (Some(target), _) => is_keyless(&target.model),
                (None, Some(original)) => is_keyless(&original.model),
                (None, None) => false,
            },
        };
        // A remodelling into a model this vault has no record of is served by the old model's policy.
        let served = target
            .or_else(|| original.cloned())
            .filter(|_| good)
            .ok_or(IssueError::UnknownModel)?;
        if served.model.disabled {
            Err(IssueError::UnknownModel)
        } else {
            Ok(served)
        }
    }
}
