//! The span of a request, for traces (`telemetry`). Where none are sent it is nothing.

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What names the trace that a request is part of (W3C Trace Context). Believed from proxies only, as it decides what is kept.
pub(super) const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        TRACE_HEADERS.to_vec()
    }
}

/// The span of a request to `endpoint`, a pattern like `/v2/snaps/info/{name}`: paths and queries may name devices or secrets.
pub(super) fn of_request(
    method: &http::Method,
    endpoint: &'static str,
    id: &str,
    headers: &HeaderMap,
) -> Span {
    let span = tracing::debug_span!(
        target: "hallmark::traces",
        "http",
        otel.name = format_args!("{method} {endpoint}"),
        otel.kind = "server",
        http.request.method = %method,
        http.route = endpoint,
        request.id = id,
        http.response.status_code = Empty,
        otel.status_code = Empty,
    );
    if !span.is_disabled() && headers.contains_key("traceparent") {
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        // Without one the span begins a trace of its own.
        let _best_effort = span.set_parent(parent);
    }
    span
}

/// Notes what the answer is.
pub(super) fn answered(span: &Span, status: http::StatusCode) {
    // As a signed number: others are sent as text.
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
