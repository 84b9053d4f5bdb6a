//! Traces in the form of OpenTelemetry: what a request did, and how long each step took, sent to a collector by OTLP over HTTP.
//!
//! Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set. The other variables of the
//! specification count as everywhere: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`,
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_BSP_…`; `OTEL_SDK_DISABLED=true` turns it off.
//!
//! Spans that belong to traces are those of the target [`TARGET`], at level debug: nobody pays for them while nothing is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::Boxed;
use crate::outgoing::http_client;

/// The target of the spans that are sent.
const TARGET: &str = "hallmark::traces";
/// These say where the collector is, the first that is set.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
/// How long sending may take; the exporter's own limit is usually shorter (`OTEL_EXPORTER_OTLP_TIMEOUT`, 10 s).
const LONGEST: Duration = Duration::from_secs(30);

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot send traces: {0}; look at the environment variables OTEL_…, or unset them")]
pub struct TraceError(String);

/// The way to the collector.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    pub(super) fn from_environment() -> Result<Option<Self>, TraceError> {
        let says = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let disabled = says("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some(collector) = ENDPOINTS.into_iter().find_map(says).filter(|_| !disabled) else {
            return Ok(None);
        };
        let failed = |error: &dyn std::fmt::Display| TraceError(error.to_string());
        let sender = Sender::new(&collector).map_err(|error| failed(&error))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender)
            .build()
            .map_err(|error| failed(&error))?;
        let mut resource = Resource::builder();
        if says("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("hallmark");
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        Ok(Some(Self(provider)))
    }

    pub(super) fn layer<S>(&self) -> Boxed<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("hallmark"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::DEBUG))
            .boxed()
    }

    /// Sends what is left.
    pub async fn end(self) {
        // The thread of the exporter is waited for, and that needs this runtime.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "cannot send the last traces");
        }
    }
}

/// Sends what the exporter hands over from a thread of its own.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    failing: Arc<AtomicBool>,
}

impl Sender {
    fn new(collector: &str) -> reqwest::Result<Self> {
        let client = http_client(collector)
            .timeout(LONGEST)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            runtime: Handle::current(),
            failing: Arc::default(),
        })
    }

    /// Says it once when traces are lost, and once when they are not any more.
    fn tell(&self, failed: Option<&dyn std::fmt::Display>) {
        let before = self.failing.swap(failed.is_some(), Ordering::AcqRel);
        match failed {
            Some(error) if !before => {
                tracing::warn!(%error, "cannot send traces: they are lost until the collector is back")
            }
            None if before => tracing::info!("the collector takes traces again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request).await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        });
        match sent.await? {
            Ok((status, body)) => {
                let refused = (!status.is_success()).then(|| format!("the collector answers {status}"));
                self.tell(refused.as_ref().map(|why| why as &dyn std::fmt::Display));
                Ok(Response::builder().status(status).body(body)?)
            }
            Err(error) => {
                self.tell(Some(&error));
                Err(error.into())
            }
        }
    }
}
