//! What the server tells of itself while it works: the log, lines on standard error, filtered by `HALLMARK_LOG`; and traces, if
//! the environment names a collector.

mod traces;

pub use traces::{TraceError, Traces};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFilter, LogFormat};

/// Starts logging. A second call changes nothing, so that tests may call it freely.
pub fn start(filter: &LogFilter, format: LogFormat) {
    if let Some(log) = log(filter, format) {
        let _already_started = Registry::default().with(log).try_init();
    }
}

/// Starts logging, and sending traces to the collector that the environment names (`OTEL_…`), if it names one. Wants a Tokio
/// runtime.
///
/// # Errors
/// If what the environment says of it cannot be used.
pub fn start_with_traces(filter: &LogFilter, format: LogFormat) -> Result<Option<Traces>, TraceError> {
    let Some(traces) = Traces::from_environment()? else {
        start(filter, format);
        return Ok(None);
    };
    let layers = log(filter, format)
        .into_iter()
        .chain([traces.layer()])
        .collect::<Vec<_>>();
    let _already_started = Registry::default().with(layers).try_init();
    Ok(Some(traces))
}

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

fn log<S>(filter: &LogFilter, format: LogFormat) -> Option<Boxed<S>>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let filter = EnvFilter::try_new(filter.as_str()).ok()?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    Some(match format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    })
}
