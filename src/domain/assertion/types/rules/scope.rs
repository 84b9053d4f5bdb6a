//! On which devices a rule or a delegation counts: `on-store`, `on-brand`, `on-model`.

use super::super::checks::{Checked, Fields};
use super::super::names;

/// A device scope. Each list that is not empty must have the device's value; all must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceScope {
    /// Stores.
    pub stores: Vec<String>,
    /// Brands.
    pub brands: Vec<String>,
    /// Models, as `brand/model`.
    pub models: Vec<String>,
}

impl DeviceScope {
    /// The scope that the entries of a map state.
    pub(in super::super) fn of(fields: &Fields<'_>) -> Checked<Self> {
        Ok(Self {
            stores: fields.names("on-store", "store ids", names::is_store_id)?,
            brands: fields.names("on-brand", "account ids", names::is_account_id)?,
            models: fields.names("on-model", "models (BRAND/MODEL)", is_brand_and_model)?,
        })
    }

    /// Whether it has no limits.
    pub fn is_everywhere(&self) -> bool {
        self.stores.is_empty() && self.brands.is_empty() && self.models.is_empty()
    }
}

fn is_brand_and_model(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(brand, model)| names::is_account_id(brand) && names::is_provenance(model))
}
