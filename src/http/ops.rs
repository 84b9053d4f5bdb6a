//! For machines that watch the server: `/healthz`, `/readyz`, `/metrics`, the API description, and the front door.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use warp::Filter;
use warp::reply::Response;

use super::endpoint::{Access, Endpoint, with};
use super::fault::{Fault, NativeDialect};
use super::metrics::Metrics;
use super::{openapi, reply, web};
use crate::app::App;
use crate::app::fleet::status;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The endpoints of operations.
pub fn endpoints(app: &App, metrics: &Metrics) -> Vec<Endpoint> {
    let front = warp::path::end()
        .and(warp::header::optional::<String>("accept"))
        .map(|accept: Option<String>| {
            if accept.is_some_and(|accept| accept.contains("text/html")) {
                return web::front();
            }
            let text = "hallmark: brand store and serial vault for snap devices\n\
                        The API is described at /openapi.json\n";
            reply::bytes(StatusCode::OK, "text/plain; charset=utf-8", text)
        })
        .boxed();
    let healthz = warp::path!("healthz")
        .map(|| reply::bytes(StatusCode::OK, "text/plain", "ok\n"))
        .boxed();
    let readyz = warp::path!("readyz").and(with(app.clone())).then(ready).boxed();
    let metrics = warp::path!("metrics")
        .and(with(metrics.clone()))
        .and(with(app.clone()))
        .map(|metrics: Metrics, app: App| {
            reply::bytes(
                StatusCode::OK,
                OPENMETRICS,
                metrics.text_with(&(waves(&app) + &tokens(&app))),
            )
        })
        .boxed();
    vec![
        Endpoint::get(
            "/",
            Access::Open,
            "Answer that a server is here; HEAD is how snapd tries a store proxy, browsers are sent to the pages",
            front,
        ),
        Endpoint::get("/healthz", Access::Open, "Answer while the process runs", healthz),
        Endpoint::get(
            "/readyz",
            Access::Open,
            "Answer 200 while the database does, else 503",
            readyz,
        ),
        Endpoint::get("/metrics", Access::Open, "Metrics as OpenMetrics text", metrics),
    ]
}

/// The counts of open waves, as OpenMetrics text. Names of stores, waves and tags have no character that would end a label.
fn waves(app: &App) -> String {
    use std::fmt::Write as _;
    let open = status::open(app);
    if open.is_empty() {
        return String::new();
    }
    let mut devices = String::from(
        "# HELP hallmark_wave_devices Production devices of the tag of an open wave.\n# TYPE hallmark_wave_devices gauge\n",
    );
    let mut states = String::from(
        "# HELP hallmark_wave_device_states Devices that were shown an open wave, by how they take it.\n\
         # TYPE hallmark_wave_device_states gauge\n",
    );
    for state in &open {
        let wave = &state.record.wave;
        let labels = format!(
            "store=\"{}\",wave=\"{}\",tag=\"{}\"",
            wave.store, wave.name, wave.tag
        );
        for (name, count) in [
            ("total", state.total),
            ("updated", state.updated),
            ("scheduled", state.scheduled),
            ("unscheduled", state.unscheduled),
        ] {
            // Writing into a text cannot fail.
            let _ = writeln!(
                devices,
                "hallmark_wave_devices{{{labels},state=\"{name}\"}} {count}"
            );
        }
        for (name, count) in &state.devices {
            let name = name.word();
            let _ = writeln!(
                states,
                "hallmark_wave_device_states{{{labels},state=\"{name}\"}} {count}"
            );
        }
    }
    devices + &states
}

/// Whether the hardware tokens answered when they were last needed, as OpenMetrics text. A label may have any character.
fn tokens(app: &App) -> String {
    use std::fmt::Write as _;
    let states = app.signer.tokens();
    if states.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "# HELP hallmark_token_up Whether a hardware token could be used when it was last needed.\n\
         # TYPE hallmark_token_up gauge\n",
    );
    for state in states {
        let label = state.token.replace('\\', "\\\\").replace('"', "\\\"");
        let up = u8::from(state.trouble.is_none());
        // Writing into a text cannot fail.
        let _ = writeln!(text, "hallmark_token_up{{token=\"{label}\"}} {up}");
    }
    text
}

/// `GET /openapi.json`: the description of `endpoints` and of itself, written once.
pub fn described(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    const SUMMARY: &str = "Describe every endpoint";
    let filter = |text: Bytes| {
        warp::path!("openapi.json")
            .map(move || reply::bytes(StatusCode::OK, "application/json", text.clone()))
            .boxed()
    };
    endpoints.push(Endpoint::get(
        "/openapi.json",
        Access::Open,
        SUMMARY,
        filter(Bytes::new()),
    ));
    let text = openapi::document(&endpoints).to_string();
    if let Some(last) = endpoints.last_mut() {
        last.filter = filter(text.into());
    }
    endpoints
}

/// `GET /readyz`: whether requests that need the database would be answered.
async fn ready(app: App) -> Response {
    match app.storage.ping().await {
        Ok(()) => reply::json(&json!({"status": "ready"})),
        Err(error) => {
            let fault: Fault<NativeDialect> = error.into();
            warp::Reply::into_response(fault)
        }
    }
}
