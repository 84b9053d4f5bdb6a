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
use crate::app::fleet::{self, status};
use crate::app::gauges::Queue;
use crate::domain::fleet::WaveStatus;

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
        .then(|metrics: Metrics, app: App| async move {
            let more =
                build() + &gauges(&app) + &waves(&app) + &others(&app) + &tokens(&app) + &files(&app).await;
            reply::bytes(StatusCode::OK, OPENMETRICS, metrics.text_with(&more))
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

/// What runs, as OpenMetrics text.
fn build() -> String {
    format!(
        "# HELP hallmark_build_info What runs here; always 1.\n# TYPE hallmark_build_info gauge\n\
         hallmark_build_info{{version=\"{}\",revision=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("HALLMARK_REVISION").unwrap_or_default()
    )
}

/// What was measured last, as OpenMetrics text. Names of accounts and keys have no character that would end a label.
fn gauges(app: &App) -> String {
    use std::fmt::Write as _;
    let found = app.gauges.found();
    let now = app.clock.now().unix();
    let mut text = String::new();
    // Writing into a text cannot fail.
    if let Some(up) = found.database {
        let _ = write!(
            text,
            "# HELP hallmark_database_up Whether the database answered when it was last asked.\n\
             # TYPE hallmark_database_up gauge\nhallmark_database_up {}\n",
            u8::from(up)
        );
    }
    text.push_str(
        "# HELP hallmark_signing_key_expiry_timestamp_seconds When a key that signs ends to be valid.\n\
         # TYPE hallmark_signing_key_expiry_timestamp_seconds gauge\n",
    );
    for key in &found.keys {
        let (account, name, until) = (&key.account, &key.name, key.until.unix());
        let _ = writeln!(
            text,
            "hallmark_signing_key_expiry_timestamp_seconds{{account=\"{account}\",key=\"{name}\"}} {until}"
        );
    }
    let reports = Queue {
        waiting: u64::try_from(app.reports.waiting()).unwrap_or(u64::MAX),
        oldest: None,
    };
    let queues = [
        ("pushes", found.pushes),
        ("deltas", found.deltas),
        ("mail", found.mail),
        ("webhook", found.webhook),
        ("reports", reports),
    ];
    text.push_str(
        "# HELP hallmark_queue_length What waits to be worked on.\n# TYPE hallmark_queue_length gauge\n",
    );
    for (name, queue) in queues {
        let _ = writeln!(
            text,
            "hallmark_queue_length{{queue=\"{name}\"}} {}",
            queue.waiting
        );
    }
    text.push_str(
        "# HELP hallmark_queue_oldest_age_seconds How long the oldest of it has waited.\n\
         # TYPE hallmark_queue_oldest_age_seconds gauge\n",
    );
    // Reports are written every few seconds, all of them.
    for (name, queue) in queues.into_iter().filter(|(name, _)| *name != "reports") {
        let age = queue.oldest.map_or(0, |oldest| (now - oldest.unix()).max(0));
        let _ = writeln!(
            text,
            "hallmark_queue_oldest_age_seconds{{queue=\"{name}\"}} {age}"
        );
    }
    text
}

/// The counts of open waves, as OpenMetrics text. Names of stores, waves and tags have no character that would end a label.
fn waves(app: &App) -> String {
    use std::fmt::Write as _;
    let open = status::open(app);
    let mut devices = String::from(
        "# HELP hallmark_wave_devices Production devices of the tag of an open wave.\n# TYPE hallmark_wave_devices gauge\n",
    );
    let mut states = String::from(
        "# HELP hallmark_wave_device_states Devices that were shown an open wave, by how they take it.\n\
         # TYPE hallmark_wave_device_states gauge\n",
    );
    let mut halted = String::from(
        "# HELP hallmark_wave_halted Whether an open wave is halted.\n# TYPE hallmark_wave_halted gauge\n",
    );
    for state in &open {
        let wave = &state.record.wave;
        let labels = format!(
            "store=\"{}\",wave=\"{}\",tag=\"{}\"",
            wave.store, wave.name, wave.tag
        );
        // Writing into a text cannot fail.
        let _ = writeln!(
            halted,
            "hallmark_wave_halted{{{labels}}} {}",
            u8::from(wave.status == WaveStatus::Halted)
        );
        for (name, count) in [
            ("total", state.total),
            ("updated", state.updated),
            ("scheduled", state.scheduled),
            ("unscheduled", state.unscheduled),
        ] {
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
    devices + &states + &halted
}

/// How old what is known of other processes' changes is, as OpenMetrics text; nothing where there can be none.
fn others(app: &App) -> String {
    fleet::behind(app).map_or_else(String::new, |behind| {
        format!(
            "# HELP hallmark_fleet_behind_seconds Age of what this process knows of the waves and devices other processes change.\n\
             # TYPE hallmark_fleet_behind_seconds gauge\n\
             hallmark_fleet_behind_seconds {}\n",
            behind.as_secs_f64()
        )
    })
}

/// Whether the hardware tokens answered when they were last needed, as OpenMetrics text. A label may have any character.
fn tokens(app: &App) -> String {
    use std::fmt::Write as _;
    let states = app.signer.tokens();
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

/// Whether the bucket with the files answers, as OpenMetrics text.
async fn files(app: &App) -> String {
    let up = match app.blobs.check().await {
        Some(found) => u8::from(found.is_ok()),
        None => return String::new(),
    };
    format!(
        "# HELP hallmark_bucket_up Whether the bucket with the files of snaps answers.\n\
         # TYPE hallmark_bucket_up gauge\n\
         hallmark_bucket_up {up}\n"
    )
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

/// `GET /readyz`: whether requests that need the database would be answered. A bucket that is away is said, and no reason to be
/// taken out of service: all processes share it, and only files need it.
async fn ready(app: App) -> Response {
    let fault: Fault<NativeDialect> = match app.storage.ping().await {
        Ok(()) => match fleet::current(&app).await {
            Ok(()) => return in_service(&app).await,
            Err(refusal) => refusal.into(),
        },
        Err(error) => error.into(),
    };
    warp::Reply::into_response(fault)
}

/// What a server that is ready says of its files.
async fn in_service(app: &App) -> Response {
    match app.blobs.check().await {
        None => reply::json(&json!({"status": "ready"})),
        Some(Ok(())) => reply::json(&json!({"status": "ready", "files": "ready"})),
        Some(Err(error)) => {
            tracing::error!(%error, "the files of snaps are out of reach");
            reply::json(&json!({"status": "ready", "files": "unavailable"}))
        }
    }
}
