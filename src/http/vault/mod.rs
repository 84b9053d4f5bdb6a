//! The vault on the wire (serial-vault.md): what devices and factory tools call. The same paths answer below a brand
//! (`/{brand}/v1/...`, taken off by the router) and, for store proxies, as `/api/v1/snaps/auth/...`.

mod fault;

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection};

use self::fault::{VaultFault, render};
use super::endpoint::{Access, BodyShape, Endpoint, Routes, with};
use super::metrics::Metrics;
use super::path::{BrandPrefix, brand_prefix};
use super::serve::Peer;
use super::{body, reply};
use crate::app::issue_serial::{MAX_ASSERTIONS, Presented, SerialAnswer, Vault};
use crate::app::{App, IssueError};
use crate::domain::assertion::Limits;

/// Limit of the body of a serial-request call: that of the assertions looked at, each with headers, body and
/// signature at their limits (serial-vault.md 4.2, decisions.md 9).
pub fn serial_body_limit(parts: Limits) -> usize {
    let one = parts
        .headers
        .saturating_add(parts.body)
        .saturating_add(parts.signature);
    one.saturating_mul(MAX_ASSERTIONS)
}

/// Answers that are JSON say so with the charset, as older vaults do; errors say `application/json` exactly.
const JSON: &str = "application/json; charset=UTF-8";

/// The endpoints of the vault.
pub fn endpoints(app: &App, metrics: &Metrics) -> Vec<Endpoint> {
    let vault = Vault::new(app.clone());
    let post = |path: &'static str, summary, handler: fn(&'static str, &Vault) -> Routes| {
        Endpoint::post(path, Access::Open, summary, handler(path, &vault))
    };
    let issuing = |path: &'static str, summary| {
        Endpoint::post(path, Access::Open, summary, serial(path, &vault, metrics))
            .with_body(Some(BodyShape::ASSERTIONS))
    };
    let get = |path: &'static str, summary, filter: Routes| {
        let filter = on(Method::GET, path).and(filter).boxed();
        Endpoint::get(path, Access::Open, summary, filter)
    };
    vec![
        post("/v1/request-id", "Give out a request-id", request_id),
        issuing("/v1/serial", "Issue a serial assertion"),
        post("/v1/model", "Serve the assertions of a model", model).with_body(Some(BodyShape {
            media: "application/json",
            fields: &["brand-id", "model"],
        })),
        post(
            "/api/v1/snaps/auth/request-id",
            "Give out a request-id, through a store proxy",
            request_id,
        ),
        issuing(
            "/api/v1/snaps/auth/devices",
            "Issue a serial assertion, through a store proxy",
        ),
        get("/v1/version", "Say which version this is", version()),
        get(
            "/v1/health",
            "Say whether the database answers",
            health(&vault, "healthy"),
        ),
        get("/_status/ping", "Answer with the version", ping()),
        get(
            "/_status/check",
            "Say whether the database answers",
            health(&vault, "OK"),
        ),
        get(
            "/_status/metrics",
            "Serve the metrics under their older names",
            legacy_metrics(metrics),
        ),
    ]
}

/// Requests with this method on exactly this path; a final slash does not count.
fn on(
    method: Method,
    path: &'static str,
) -> impl Filter<Extract = (), Error = Rejection> + Clone + Send + Sync + 'static {
    warp::method()
        .and(warp::path::full())
        .and_then(move |found: Method, full: FullPath| {
            let full = full.as_str();
            let fits = found == method && full.strip_suffix('/').unwrap_or(full) == path;
            std::future::ready(if fits {
                Ok(())
            } else {
                Err(warp::reject::not_found())
            })
        })
        .untuple_one()
}

/// `POST /v1/request-id`: a request-id. Whatever the body holds is ignored.
fn request_id(path: &'static str, vault: &Vault) -> Routes {
    on(Method::POST, path)
        .and(presented())
        .and(with(vault.clone()))
        .then(|presented: Presented, vault: Vault| async move {
            vault.request_id(&presented).await.map(|id| {
                let answer = json!({ "success": true, "message": "", "request-id": id });
                reply::bytes(StatusCode::OK, JSON, answer.to_string())
            })
        })
        .map(respond)
        .boxed()
}

/// What became of a request, in the words of the metrics.
fn became(outcome: &Result<SerialAnswer, IssueError>) -> (&'static str, &'static str) {
    let error = match outcome {
        Ok(SerialAnswer::Issued(_)) => return ("issued", ""),
        Ok(SerialAnswer::Waiting) => return ("waiting", "approval"),
        Err(error) => error,
    };
    let VaultFault {
        status,
        code,
        subcode,
    } = VaultFault::of(error);
    let reason = if subcode.is_empty() { code } else { subcode };
    // Who was locked out did something wrong; all else that is temporary is our trouble.
    let ours = status.is_server_error() && !matches!(error, IssueError::LockedOut);
    (if ours { "error" } else { "refused" }, reason)
}

/// `POST /v1/serial`: serial-request (and model, and old serial) in, serial out.
fn serial(path: &'static str, vault: &Vault, metrics: &Metrics) -> Routes {
    let metrics = metrics.clone();
    on(Method::POST, path)
        .and(presented())
        .and(streams())
        .and(body::up_to(serial_body_limit(vault.limits().assertion)))
        .and(with(vault.clone()))
        .then(
            |presented: Presented, stream: bool, body: Bytes, vault: Vault| async move {
                vault.serial(&presented, &body, stream).await
            },
        )
        .map(move |outcome: Result<SerialAnswer, IssueError>| {
            let (result, reason) = became(&outcome);
            metrics.count_serial(result, reason);
            outcome.map(|answer| match answer {
                SerialAnswer::Issued(serial) => reply::assertions(serial),
                SerialAnswer::Waiting => {
                    let answer =
                        json!({ "success": true, "message": "the request waits for approval: ask again" });
                    reply::bytes(StatusCode::ACCEPTED, JSON, answer.to_string())
                }
            })
        })
        .map(respond)
        .boxed()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ModelRequest {
    brand_id: String,
    model: String,
}

/// `POST /v1/model`: account, account-key and model.
fn model(path: &'static str, vault: &Vault) -> Routes {
    on(Method::POST, path)
        .and(presented())
        .and(body::up_to(vault.limits().json))
        .and(with(vault.clone()))
        .then(|presented: Presented, body: Bytes, vault: Vault| async move {
            vault.check_api_key(&presented).await?;
            if body.is_empty() {
                return Err(IssueError::EmptyData);
            }
            let request: ModelRequest =
                serde_json::from_slice(&body).map_err(|e| IssueError::InvalidJson(e.to_string()))?;
            vault
                .model(&presented, &request.brand_id, &request.model)
                .await
                .map(reply::assertions)
        })
        .map(respond)
        .boxed()
}

/// `GET /v1/version`: what this is.
fn version() -> Routes {
    warp::any()
        .map(|| {
            let revision = option_env!("HALLMARK_REVISION").unwrap_or_default();
            let answer = json!({ "version": env!("CARGO_PKG_VERSION"), "revision": revision });
            reply::bytes(StatusCode::OK, JSON, answer.to_string())
        })
        .boxed()
}

/// `GET /_status/ping`: the version as text.
fn ping() -> Routes {
    warp::any()
        .map(|| {
            reply::bytes(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                env!("CARGO_PKG_VERSION"),
            )
        })
        .boxed()
}

/// `GET /v1/health` and `GET /_status/check`: whether the database answers, in the word `good` of each.
fn health(vault: &Vault, good: &'static str) -> Routes {
    with(vault.clone())
        .then(move |vault: Vault| async move {
            let (status, word) = match vault.health().await {
                Ok(()) => (StatusCode::OK, good),
                Err(error) => {
                    tracing::error!(%error, "the database does not answer");
                    (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
                }
            };
            reply::bytes(status, JSON, json!({ "database": word }).to_string())
        })
        .boxed()
}

/// `GET /_status/metrics`: Prometheus text with the names of serial-vault.md 12.
fn legacy_metrics(metrics: &Metrics) -> Routes {
    with(metrics.clone())
        .map(|metrics: Metrics| {
            reply::bytes(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                metrics.legacy_text(),
            )
        })
        .boxed()
}

/// What the caller presents: the first `api-key` header, the brand in front of the path, the address it calls from.
fn presented() -> impl Filter<Extract = (Presented,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::header::headers_cloned()
        .and(brand_prefix())
        .and(warp::ext::optional::<Peer>())
        .map(
            |headers: HeaderMap, brand: Option<BrandPrefix>, peer: Option<Peer>| Presented {
                // A value that is no text cannot be a key; it is refused like any wrong one.
                api_key: headers
                    .get("api-key")
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
                brand: brand.map(|BrandPrefix(brand)| brand),
                peer: peer.and_then(|peer| match peer {
                    Peer::Remote(address) => Some(address),
                    Peer::Local => None,
                }),
            },
        )
}

/// Whether the client takes a stream with ancillary assertions.
fn streams() -> impl Filter<Extract = (bool,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::header::headers_cloned().map(|headers: HeaderMap| {
        headers
            .get_all("snap-device-capabilities")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([',', ' ']))
            .any(|word| word.trim() == "serial-stream")
    })
}

fn respond(outcome: Result<Response, IssueError>) -> Response {
    outcome.unwrap_or_else(|error| render(&VaultFault::of(&error), &error))
}
