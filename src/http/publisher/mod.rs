//! What publisher and brand administration clients of old call: `/dev/api`, `/api/v2`, `/v1/tokens`, `/v1/snap`,
//! `/v1/brand`, all of it below `/publishergw` too. Unknown query parameters and fields are let pass, as clients send
//! more than they need; what a path or body names decides the brand ([`typed`]).

mod brand;
mod brand_logs;
mod brand_models;
mod featured;
mod schema;
mod stores;
mod tokens;
mod whoami;

pub use super::typed::{Answer, Body, Created, Json, NoContent, Nothing, Raw, Streamed};

use super::endpoint::Endpoint;
use super::fault::{Fault, PublisherDialect};
use super::typed;
use crate::app::App;

/// Makes publisher endpoints.
pub type Publisher = typed::Maker<PublisherDialect>;

/// What publisher handlers are given.
pub type Input<B = Nothing> = typed::Input<PublisherDialect, B>;

/// What a publisher handler returns; `?` turns refusals and storage errors into faults.
pub type Outcome<T> = Result<T, Fault<PublisherDialect>>;

/// Every publisher endpoint.
pub fn endpoints(app: &App) -> Vec<Endpoint> {
    let publisher = Publisher::new(app);
    [
        tokens::endpoints(&publisher),
        stores::endpoints(&publisher),
        brand::endpoints(&publisher),
        brand_models::endpoints(&publisher),
        brand_logs::endpoints(&publisher),
        featured::endpoints(&publisher),
        whoami::endpoints(&publisher),
    ]
    .concat()
}
