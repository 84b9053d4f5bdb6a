//! Which models are disabled: asked with every request of a device, and nearly never changed.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::app::{App, Refusal};
use crate::domain::ident::{BrandId, ModelName};
use crate::domain::vault::ModelRecord;

/// Models that are remembered; when there are more, all are read again.
const MOST: usize = 4096;

/// What was read of models, kept while the storage counts no further commit
/// ([`crate::ports::Storage::generation`]). Storage that does not count is asked each time.
#[derive(Debug, Default)]
pub struct Models {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    generation: u64,
    models: usize,
    disabled: HashMap<BrandId, HashMap<ModelName, bool>>,
}

impl Models {
    /// Whether a model is disabled; one that we do not have is not.
    ///
    /// # Errors
    /// If the database is out of reach.
    pub(super) async fn is_disabled(
        &self,
        app: &App,
        brand: &BrandId,
        model: &ModelName,
    ) -> Result<bool, Refusal> {
        // Counted before anything is read: a commit meanwhile makes the next call look again.
        let generation = app.storage.generation();
        if let Some(known) = generation.and_then(|generation| self.known(generation, brand, model)) {
            return Ok(known);
        }
        let found = app
            .storage
            .find::<ModelRecord>([brand.as_str(), model.as_str()])
            .await?;
        let disabled = found.is_some_and(|found| found.record.disabled);
        if let Some(generation) = generation {
            self.keep(generation, brand, model, disabled);
        }
        Ok(disabled)
    }

    fn known(&self, generation: u64, brand: &BrandId, model: &ModelName) -> Option<bool> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let models = known
            .disabled
            .get(brand)
            .filter(|_| known.generation == generation)?;
        models.get(model).copied()
    }

    fn keep(&self, generation: u64, brand: &BrandId, model: &ModelName, disabled: bool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Counts only grow: what was read before something else was kept must not replace it.
        if known.generation > generation {
            return;
        }
        if known.generation < generation || known.models >= MOST {
            *known = Known {
                generation,
                ..Known::default()
            };
        }
        let of_brand = known.disabled.entry(brand.clone()).or_default();
        if of_brand.insert(model.clone(), disabled).is_none() {
            known.models += 1;
        }
    }
}
