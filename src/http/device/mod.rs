//! What snapd asks a store (device-api.md). Errors are an `error-list`, exactly `application/json`.

mod asking;
mod assertions;
mod catalogue;
mod download;
mod legacy;
mod older;
mod refresh;
mod sessions;
mod snap;

pub use sessions::{Presented, presented};
pub(in crate::http) use snap::picture_url;

use super::endpoint::Endpoint;
use crate::app::App;

/// The endpoints of the device-facing store.
pub fn endpoints(app: &App) -> Vec<Endpoint> {
    [
        sessions::endpoints(app),
        assertions::endpoints(app),
        refresh::endpoints(app),
        catalogue::endpoints(app),
        download::endpoints(app),
        legacy::endpoints(app),
        older::endpoints(app),
    ]
    .concat()
}
