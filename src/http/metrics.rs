//! Counters of requests and of what the vault does, in one registry.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::tls::Tls;

/// All metrics of the server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    timeouts: Family<ViewLabels, Counter>,
    latency: Family<Labels, Histogram, fn() -> Histogram>,
    connections: Gauge,
    serials: Family<SerialLabels, Counter>,
    disk_free: Family<DiskLabels, Gauge<u64, AtomicU64>>,
    disk_size: Family<DiskLabels, Gauge<u64, AtomicU64>>,
    tls: OnceLock<Tls>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: MethodLabel,
    status: u16,
    view: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewLabels {
    method: MethodLabel,
    view: &'static str,
}

/// What became of a device's request for a serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SerialLabels {
    result: &'static str,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DiskLabels {
    place: &'static str,
}

/// A method; anything unusual is `OTHER`, so that clients cannot grow the set of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct MethodLabel(&'static str);

impl EncodeLabelValue for MethodLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        Self(
            KNOWN
                .into_iter()
                .find(|known| *known == method.as_str())
                .unwrap_or("OTHER"),
        )
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // Names, labels and buckets as older vaults had them (serial-vault.md 12): dashboards keep working.
        let latency = || Histogram::new(exponential_buckets(4.0, 2.0, 12));
        let requests = Family::default();
        let errors = Family::default();
        let timeouts = Family::default();
        let latency = Family::new_with_constructor(latency as fn() -> Histogram);
        let connections = Gauge::default();
        let mut registry = Registry::default();
        registry.register("http_in_requests", "Requests answered", requests.clone());
        registry.register(
            "http_in_errors",
            "Requests answered with status 500 or above",
            errors.clone(),
        );
        registry.register(
            "http_in_timeouts",
            "Requests answered with status 504",
            timeouts.clone(),
        );
        registry.register(
            "http_in_latency",
            "Time from head of request to head of answer, in ms",
            latency.clone(),
        );
        registry.register(
            "hallmark_http_connections",
            "Open connections",
            connections.clone(),
        );
        let serials = Family::<SerialLabels, Counter>::default();
        // There from the start, so that the first of them is seen to rise.
        for (result, reason) in [
            ("issued", ""),
            ("error", "signer"),
            ("error", "storage"),
            ("error", "storage-unavailable"),
        ] {
            let _known = serials.get_or_create(&SerialLabels { result, reason });
        }
        registry.register(
            "hallmark_serial_requests",
            "Devices' requests for a serial, by what became of them",
            serials.clone(),
        );
        let (disk_free, disk_size) = (Family::default(), Family::default());
        registry.register(
            "hallmark_disk_free_bytes",
            "Room that is left for the server where its files are",
            disk_free.clone(),
        );
        registry.register(
            "hallmark_disk_size_bytes",
            "Size of the file system they are on",
            disk_size.clone(),
        );
        Self(Arc::new(Inner {
            registry,
            requests,
            errors,
            timeouts,
            latency,
            connections,
            serials,
            disk_free,
            disk_size,
            tls: OnceLock::new(),
        }))
    }
}

impl Metrics {
    /// Counts one answered request.
    pub fn count(&self, method: &Method, status: StatusCode, view: &'static str, elapsed: Duration) {
        let method = MethodLabel::from(method);
        let labels = Labels {
            method,
            status: status.as_u16(),
            view,
        };
        self.0.requests.get_or_create(&labels).inc();
        self.0
            .latency
            .get_or_create(&labels)
            .observe(elapsed.as_secs_f64() * 1000.0);
        if status.is_server_error() {
            self.0.errors.get_or_create(&labels).inc();
        }
        if status == StatusCode::GATEWAY_TIMEOUT {
            self.0.timeouts.get_or_create(&ViewLabels { method, view }).inc();
        }
    }

    /// The gauge of open connections.
    pub fn connections(&self) -> &Gauge {
        &self.0.connections
    }

    /// Counts a request for a serial. `result`: `issued`, `waiting`, `refused` or `error`; `reason`: which of them.
    pub(super) fn count_serial(&self, result: &'static str, reason: &'static str) {
        self.0
            .serials
            .get_or_create(&SerialLabels { result, reason })
            .inc();
    }

    /// Room at a place, as `(free, size)` in bytes.
    pub fn set_disk(&self, place: &'static str, (free, size): (u64, u64)) {
        let labels = DiskLabels { place };
        self.0.disk_free.get_or_create(&labels).set(free);
        self.0.disk_size.get_or_create(&labels).set(size);
    }

    /// Tells how the TLS of the listener goes from now on.
    pub fn watch_tls(&self, tls: Tls) {
        // A server has one; a second would be the same.
        let _first = self.0.tls.set(tls);
    }

    /// Everything as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.0.registry) {
            tracing::error!(%error, "cannot write the metrics");
        }
        text
    }

    /// The same with further families, which are complete lines of the format.
    pub fn text_with(&self, further: &str) -> String {
        const END: &str = "# EOF\n";
        let text = self.text();
        let families = text.strip_suffix(END).unwrap_or(&text);
        let tls = self.0.tls.get().map(Tls::text).unwrap_or_default();
        format!("{families}{tls}{further}{END}")
    }

    /// The `http_in_*` metrics under exactly the names older vaults gave them: Prometheus text, counters without the
    /// suffix that OpenMetrics puts behind them.
    pub fn legacy_text(&self) -> String {
        let text = self.text();
        let mut legacy = String::with_capacity(text.len());
        for line in text.lines().filter(|line| line.contains("http_in_")) {
            legacy.push_str(&line.replacen("_total{", "{", 1));
            legacy.push('\n');
        }
        legacy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_dashboards_find_their_names() {
        let metrics = Metrics::default();
        metrics.count(
            &Method::POST,
            StatusCode::OK,
            "signSerial",
            Duration::from_millis(5),
        );
        metrics.count(
            &Method::POST,
            StatusCode::SERVICE_UNAVAILABLE,
            "signSerial",
            Duration::from_millis(5),
        );
        let legacy = metrics.legacy_text();
        assert!(
            legacy.contains("http_in_requests{method=\"POST\",status=\"200\",view=\"signSerial\"} 1"),
            "{legacy}"
        );
        assert!(
            legacy.contains("http_in_errors{method=\"POST\",status=\"503\",view=\"signSerial\"} 1"),
            "{legacy}"
        );
        assert!(legacy.contains("http_in_latency_bucket{"), "{legacy}");
        assert!(metrics.text().contains("http_in_requests_total{"));
    }
}
