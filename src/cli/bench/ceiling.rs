//! `bench ceiling`: a server that reads requests and answers with the same bytes whatever they are. It is started by
//! `bench store`, as a process of its own, to measure what HTTP costs without a store behind it.

use bytes::Bytes;
use clap::Args;
use tokio::net::TcpListener;

use crate::cli::serve::stop_on_signal;
use crate::cli::{CliError, Cx};
use crate::config::{LogFilter, LogFormat};
use crate::http::canned;
use crate::http::serve::{Limits, Listener, Server};
use crate::telemetry;

/// Serves one answer until a signal ends it
#[derive(Debug, Args)]
pub(in crate::cli) struct Ceiling {
    /// Length of the answer
    #[arg(long, value_name = "N")]
    bytes: usize,
}

impl Ceiling {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        // As the server that is compared with it logs: warnings.
        let filter: LogFilter = "warn"
            .parse()
            .map_err(|error| CliError::failed("cannot log", error))?;
        telemetry::start(&filter, LogFormat::Text);
        let failed = |error| CliError::failed("cannot listen", error);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let answer = Bytes::from(vec![b' '; self.bytes]);
        let router = canned::router(answer).map_err(|error| CliError::Failed(error.to_string()))?;
        let server = Server::new(router, Limits::default(), Vec::new());
        let stop = stop_on_signal()?;
        cx.out
            .data_now(format!("listening on http://{bound}\n").as_bytes())?;
        server.run(Listener::Tcp(listener), stop).await;
        Ok(())
    }
}
