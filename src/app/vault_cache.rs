//! What the vault needs to know of a model to serve its devices, kept in memory between requests.
//!
//! Correctness first: everything is dropped as soon as this process commits any administrative change (the storage
//! counts them), and after [`LIFE`] seconds in any case, so that changes by another process on the same database are
//! seen too. Storage that does not count is never cached.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::api_keys::ApiKeyHash;
use super::brand_key::{self, BrandKey, Unusable};
use super::{App, factory};
use crate::domain::assertion::PublicKey;
use crate::domain::ident::{BrandId, KeyId, ModelName};
use crate::domain::vault::{DeviceAuth, FactorySite, ModelRecord};
use crate::ports::StoreError;

/// Seconds after which an entry is read again.
pub(super) const LIFE: i64 = 2;
/// Entries of each kind; when there are more, all are dropped.
const CAPACITY: usize = 4096;

/// A model with the key that signs its serials.
#[derive(Debug)]
pub(super) struct ServedModel {
    /// The model.
    pub model: ModelRecord,
    /// The key of its policy in force, or why it cannot sign.
    pub key: Result<BrandKey, String>,
    /// The sites of the brand, which have serials of their own.
    pub sites: Vec<FactorySite>,
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct VaultCache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    generation: u64,
    since: i64,
    by_api_key: HashMap<ApiKeyHash, Arc<ServedModel>>,
    by_name: HashMap<(BrandId, ModelName), Arc<ServedModel>>,
    keyless: Option<Arc<Vec<(BrandId, ModelName)>>>,
    brand_keys: HashMap<(BrandId, KeyId), PublicKey>,
}

/// When something was read: only then may it go into the cache.
#[derive(Clone, Copy, Debug)]
struct Reading(Option<u64>);

impl VaultCache {
    /// The model that has this API key. Whether the key is expired or the model disabled is for the caller to judge.
    pub(super) async fn by_api_key(
        &self,
        app: &App,
        hash: &ApiKeyHash,
    ) -> Result<Option<Arc<ServedModel>>, StoreError> {
        if let Some(found) = self.look(app, |inner| inner.by_api_key.get(hash).cloned()) {
            return Ok(Some(found));
        }
        let reading = Reading(app.storage.generation());
        let Some(found) = app
            .storage
            .find_unique::<ModelRecord>("api-key", &hash.text())
            .await?
        else {
            return Ok(None);
        };
        let served = Arc::new(serve(app, found.record).await?);
        self.keep(app, reading, |inner| {
            bounded(&mut inner.by_api_key).insert(*hash, Arc::clone(&served));
        });
        Ok(Some(served))
    }

    /// The model of this name.
    pub(super) async fn by_name(
        &self,
        app: &App,
        brand: &BrandId,
        model: &ModelName,
    ) -> Result<Option<Arc<ServedModel>>, StoreError> {
        let key = (brand.clone(), model.clone());
        if let Some(found) = self.look(app, |inner| inner.by_name.get(&key).cloned()) {
            return Ok(Some(found));
        }
        let reading = Reading(app.storage.generation());
        let Some(found) = app
            .storage
            .find::<ModelRecord>([brand.as_str(), model.as_str()])
            .await?
        else {
            return Ok(None);
        };
        let served = Arc::new(serve(app, found.record).await?);
        self.keep(app, reading, |inner| {
            bounded(&mut inner.by_name).insert(key, Arc::clone(&served));
        });
        Ok(Some(served))
    }

    /// The models in force that serve devices without an API key.
    pub(super) async fn keyless(&self, app: &App) -> Result<Arc<Vec<(BrandId, ModelName)>>, StoreError> {
        if let Some(found) = self.look(app, |inner| inner.keyless.clone()) {
            return Ok(found);
        }
        let reading = Reading(app.storage.generation());
        let models = app.storage.all::<ModelRecord>([]).await?;
        let keyless = models
            .into_iter()
            .map(|found| found.record)
            .filter(|model| !model.disabled && is_keyless(model))
            .map(|model| (model.brand_id, model.name))
            .collect();
        let keyless = Arc::new(keyless);
        self.keep(app, reading, |inner| inner.keyless = Some(Arc::clone(&keyless)));
        Ok(keyless)
    }

    /// The public key with this id, if it is or ever was the brand's.
    pub(super) async fn brand_key(
        &self,
        app: &App,
        brand: &BrandId,
        id: &KeyId,
    ) -> Result<Option<PublicKey>, StoreError> {
        let key = (brand.clone(), id.clone());
        if let Some(found) = self.look(app, |inner| inner.brand_keys.get(&key).cloned()) {
            return Ok(Some(found));
        }
        let reading = Reading(app.storage.generation());
        let found = brand_key::ever_of_brand(&*app.storage, brand, id).await?;
        if let Some(public) = &found {
            self.keep(app, reading, |inner| {
                bounded(&mut inner.brand_keys).insert(key, public.clone());
            });
        }
        Ok(found)
    }

    fn look<T>(&self, app: &App, get: impl FnOnce(&Inner) -> Option<T>) -> Option<T> {
        let generation = app.storage.generation()?;
        let now = app.clock.now().unix();
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = inner.generation == generation && (0..LIFE).contains(&now.saturating_sub(inner.since));
        if fresh { get(&inner) } else { None }
    }

    /// Puts something in that was read while the storage stood at `reading`.
    fn keep(&self, app: &App, reading: Reading, put: impl FnOnce(&mut Inner)) {
        let (Some(read_at), Some(generation)) = (reading.0, app.storage.generation()) else {
            return;
        };
        if read_at != generation {
            return;
        }
        let now = app.clock.now().unix();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = inner.generation == generation && (0..LIFE).contains(&now.saturating_sub(inner.since));
        if !fresh {
            *inner = Inner {
                generation,
                since: now,
                ..Inner::default()
            };
        }
        put(&mut inner);
    }
}

fn bounded<K, V>(map: &mut HashMap<K, V>) -> &mut HashMap<K, V> {
    if map.len() >= CAPACITY {
        map.clear();
    }
    map
}

/// Whether devices of the model need no API key.
pub(super) fn is_keyless(model: &ModelRecord) -> bool {
    match model.auth {
        DeviceAuth::ApiKey => false,
        DeviceAuth::AllowList | DeviceAuth::None => true,
    }
}

async fn serve(app: &App, model: ModelRecord) -> Result<ServedModel, StoreError> {
    let key = match model.policy() {
        None => Err("the model has no serial policy".to_owned()),
        Some(policy) => match brand_key::read(&*app.storage, &model.brand_id, &policy.key).await {
            Ok(key) => Ok(key),
            Err(Unusable::Store(error)) => return Err(error),
            Err(why) => Err(why.to_string()),
        },
    };
    let sites = factory::sites(app, &model.brand_id).await?;
    Ok(ServedModel { model, key, sites })
}
