//! The wire: warp filters that parse requests, call the use cases and render answers. Names no adapter.
//!
//! A family of routes is a function `endpoints(app, ..) -> Vec<Endpoint>`; [`endpoints`] lists them all, [`router`]
//! makes them answer, [`serve`] puts them on a socket.

pub mod auth;
pub mod body;
pub mod buffer;
pub mod canned;
mod connection;
pub mod device;
pub mod endpoint;
pub mod fault;
mod fields;
pub mod local;
pub mod metrics;
pub mod multipart;
pub mod native;
pub mod openapi;
pub mod ops;
pub mod ota;
pub mod path;
pub mod publisher;
pub mod query;
pub mod reply;
pub mod router;
pub mod serve;
mod spans;
pub mod tls;
pub mod typed;
mod unreadable;
pub mod vault;
pub mod web;
mod x509;

use crate::app::App;
use endpoint::Endpoint;
use metrics::Metrics;
use router::{RouteError, Router};

/// Every endpoint of the server.
pub fn endpoints(app: &App, metrics: &Metrics) -> Vec<Endpoint> {
    let mut all = ops::endpoints(app, metrics);
    all.extend(device::endpoints(app));
    all.extend(vault::endpoints(app, metrics));
    all.extend(publisher::endpoints(app));
    all.extend(ota::endpoints(app));
    all.extend(native::endpoints(app));
    all.extend(web::endpoints(app));
    ops::described(all)
}

/// A router over [`endpoints`].
pub fn router(app: &App, metrics: Metrics) -> Result<Router, RouteError> {
    Router::new(endpoints(app, &metrics), metrics)
}
