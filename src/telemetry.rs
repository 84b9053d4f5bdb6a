//! The log: lines on standard error, filtered by `HALLMARK_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogFilter, LogFormat};

/// Starts logging. A second call changes nothing, so that tests may call it freely.
pub fn start(filter: &LogFilter, format: LogFormat) {
    let Ok(filter) = EnvFilter::try_new(filter.as_str()) else {
        return;
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let _already_started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
