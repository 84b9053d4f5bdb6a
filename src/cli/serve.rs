//! `serve`: the server. Prints `listening on http://ADDR` when it answers; SIGTERM or SIGINT lets running requests
//! finish, flushes, and ends with status 0; a second signal ends at once.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::local;
use super::open::{self, SettingsArgs};
use super::{CliError, Cx};
use crate::adapters::vcdiff::Vcdiff;
use crate::app::issue_serial::Vault;
use crate::app::{self, App};
use crate::config::Config;
use crate::http;
use crate::http::metrics::Metrics;
use crate::http::serve::{Limits, Listener, Server};
use crate::telemetry;

/// File descriptors that are not connections: database, logs, outgoing connections, and some to spare.
const OTHER_FILES: u64 = 512;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Address to listen on; port 0 picks a free one [env: HALLMARK_LISTEN] [default: 127.0.0.1:8380]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

impl Serve {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let config = self.settings.load([("listen", self.listen)])?;
        telemetry::start(&config.log.value, config.log_format.value);
        let running = Running::start(&config).await?;
        cx.out
            .data_now(format!("listening on http://{}\n", running.bound).as_bytes())?;
        running.until_stopped().await
    }
}

/// A server at work.
#[derive(Debug)]
pub(super) struct Running {
    /// What it serves.
    pub(super) app: App,
    /// Where it listens.
    pub(super) bound: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Opens the instance and starts to answer.
    pub(super) async fn start(config: &Config) -> Result<Self, CliError> {
        let limits = limits(config);
        // Bound before anything is opened: a second server fails before it has touched the data, and the address is
        // known (port 0). Clients that come early wait in the backlog.
        let address = &config.listen.value;
        let failed = |error| CliError::failed(format!("cannot listen on {address}"), error);
        let listener = TcpListener::bind(address.as_str()).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let app = open::app(config, Some(bound)).await?;
        if bound.ip().is_unspecified() && config.public_url.value.0.is_none() {
            tracing::warn!("HALLMARK_PUBLIC_URL is not set: URLs handed out to clients will name {bound}");
        }
        let (socket, socket_file) = local::listen(config).await?;
        Vault::new(app.clone()).recover().await?;
        // The first device need not wait for it.
        app.catalog.current(&app).await?;
        app::fleet::start(&app).await?;
        let router = http::router(&app, Metrics::default()).map_err(|e| CliError::Failed(e.to_string()))?;
        let server = Server::new(router, limits, config.trusted_proxies.value.0.clone());
        let stop = stop_on_signal()?;
        let owner =
            http::local::router(&app, Metrics::default()).map_err(|e| CliError::Failed(e.to_string()))?;
        let (owner, stop_owner) = (Server::new(owner, limits, Vec::new()), stop.clone());
        let drained = CancellationToken::new();
        let upkeep = app::upkeep(app.clone(), drained.clone().cancelled_owned());
        let limit = u64::try_from(config.delta_limit.value.0).unwrap_or(u64::MAX);
        let deltas = app::store::deltas(
            app.clone(),
            Arc::new(Vcdiff),
            limit,
            drained.clone().cancelled_owned(),
        );
        let notices = app::fleet::deliver(app.clone(), drained.clone().cancelled_owned());
        let waves = app::fleet::watch(app.clone(), drained.clone().cancelled_owned());
        let reports = app::store::reports(app.clone(), drained.clone().cancelled_owned());
        let pushes = app::catalog::push::pushes(app.clone(), drained.clone().cancelled_owned());
        let letters = app::mail::deliver(app.clone(), drained.clone().cancelled_owned());
        let serving = server.run(Listener::Tcp(listener), stop.clone());
        let tasks = vec![
            tokio::spawn(async move {
                let local = async move {
                    owner.run(Listener::Unix(socket), stop_owner).await;
                    drop(socket_file);
                };
                futures_util::future::join(serving, local).await;
                drained.cancel();
            }),
            tokio::spawn(upkeep),
            tokio::spawn(deltas),
            tokio::spawn(reports),
            tokio::spawn(waves),
            tokio::spawn(notices),
            tokio::spawn(pushes),
            tokio::spawn(letters),
        ];
        Ok(Self {
            app,
            bound,
            stop,
            tasks,
        })
    }

    /// Serves until a signal (or [`Running::stop`]) ends it; then flushes.
    pub(super) async fn until_stopped(self) -> Result<(), CliError> {
        for task in self.tasks {
            task.await
                .map_err(|error| CliError::failed("cannot serve on", error))?;
        }
        self.app.storage.close().await?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Ends it without a signal.
    pub(super) async fn stop(self) -> Result<(), CliError> {
        self.stop.cancel();
        self.until_stopped().await
    }
}

fn limits(config: &Config) -> Limits {
    let wanted = config.max_connections.value.0.max(1);
    let connections = connections_for(wanted);
    if connections < wanted {
        tracing::warn!(
            connections,
            wanted,
            "fewer connections than wanted: the limit of open files (ulimit -n) is too low"
        );
    }
    Limits {
        head: config.header_time.value.duration(),
        idle: config.idle_time.value.duration(),
        body: config.body_time.value.duration(),
        connections,
        drain: config.drain_time.value.duration(),
    }
}

/// Raises the limit of open files as far as `wanted` connections need and the system allows; says for how many it is
/// enough.
fn connections_for(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = (wanted as u64).saturating_add(OTHER_FILES);
    let limit = getrlimit(Resource::Nofile);
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < needed {
        let raised = needed.min(limit.maximum.unwrap_or(u64::MAX));
        if raised > current
            && setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: Some(raised),
                    maximum: limit.maximum,
                },
            )
            .is_ok()
        {
            current = raised;
        }
    }
    let room = current.saturating_sub(OTHER_FILES).max(current / 2).max(1);
    usize::try_from(room).unwrap_or(usize::MAX).min(wanted)
}

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process.
pub(super) fn stop_on_signal() -> Result<CancellationToken, CliError> {
    let failed = |error| CliError::failed("cannot listen for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                tracing::warn!("stopped at once");
                std::process::exit(1);
            }
            tracing::info!("stopping: running requests may finish");
            token.cancel();
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_bounds_the_connections() {
        let allowed = connections_for(100);
        assert!((1..=100).contains(&allowed));
        assert!(connections_for(usize::MAX) >= allowed);
    }
}
