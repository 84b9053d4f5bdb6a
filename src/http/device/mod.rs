//! What snapd asks a store (device-api.md). Errors are an `error-list`, exactly `application/json`.

mod assertions;

use super::endpoint::Endpoint;
use crate::app::App;

/// The endpoints of the device-facing store.
pub fn endpoints(app: &App) -> Vec<Endpoint> {
    assertions::endpoints(app)
}
