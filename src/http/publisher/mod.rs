//! What publisher and brand administration clients of old call: `/dev/api`, `/api/v2`, `/v1/tokens`, `/v1/snap`,
//! `/v1/brand`, `/v2/metadata`, all of it below `/publishergw` too. Unknown query parameters and fields are let pass, as clients send
//! more than they need; what a path or body names decides the brand ([`typed`]).

mod account;
mod assertions;
mod brand;
mod brand_logs;
mod brand_models;
mod collaborators;
mod confdb;
mod featured;
mod gateway;
mod metadata;
mod metrics;
mod overrides;
mod push;
mod releases;
mod schema;
mod stores;
mod tokens;
mod uploads;
mod whoami;

pub use super::typed::{Answer, Body, Created, Form, Json, List, NoContent, Nothing, Raw, Streamed};

use super::endpoint::Endpoint;
use super::fault::PublisherDialect;
use super::typed;
use crate::app::App;

/// Makes publisher endpoints.
pub type Publisher = typed::Maker<PublisherDialect>;

/// What publisher handlers are given.
pub type Input<B = Nothing> = typed::Input<PublisherDialect, B>;

/// What a publisher handler returns; `?` turns refusals and storage errors into faults.
pub type Outcome<T> = Result<T, Fault>;

/// A failure as publisher clients read it.
pub type Fault = super::fault::Fault<PublisherDialect>;

/// Every publisher endpoint.
pub fn endpoints(app: &App) -> Vec<Endpoint> {
    let publisher = Publisher::new(app);
    [
        stores::endpoints(&publisher),
        brand::endpoints(&publisher),
        brand_models::endpoints(&publisher),
        brand_logs::endpoints(&publisher),
        featured::endpoints(&publisher),
        account::endpoints(&publisher),
        tokens::endpoints(&publisher),
        uploads::endpoints(&publisher),
        push::endpoints(&publisher),
        releases::endpoints(&publisher),
        gateway::endpoints(&publisher),
        collaborators::endpoints(&publisher),
        assertions::endpoints(&publisher),
        confdb::endpoints(&publisher),
        metadata::endpoints(&publisher),
        metrics::endpoints(&publisher),
        overrides::endpoints(&publisher),
        whoami::endpoints(&publisher),
    ]
    .concat()
}
