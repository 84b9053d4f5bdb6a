//! One answer to everything: the cost of HTTP alone. No part of the server; `hallmark bench` compares with it.

use bytes::Bytes;
use http::StatusCode;
use warp::Filter;

use super::body;
use super::endpoint::{Access, Endpoint, Routes};
use super::metrics::Metrics;
use super::reply;
use super::router::{RouteError, Router};

/// Longest body that is read, as for `POST /v2/snaps/refresh`.
const MAX_BODY: usize = 4 << 20;

/// A router that reads what comes below `/v2/` and answers with `answer` whatever it was.
pub fn router(answer: Bytes) -> Result<Router, RouteError> {
    let path = "/v2/{rest...}";
    let summary = "Answer the same to everything";
    let endpoints = vec![
        Endpoint::get(path, Access::Open, summary, routes(answer.clone())),
        Endpoint::post(path, Access::Open, summary, routes(answer)),
    ];
    Router::new(endpoints, Metrics::default())
}

fn routes(answer: Bytes) -> Routes {
    body::up_to(MAX_BODY)
        .map(move |_: Bytes| reply::bytes(StatusCode::OK, "application/json", answer.clone()))
        .boxed()
}
