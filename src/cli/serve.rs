//! `serve`: the server. Prints `listening on http://ADDR` (or https) when it answers; SIGTERM or SIGINT lets running
//! requests finish, flushes, and ends with status 0; a second signal ends at once. SIGHUP reads the certificate anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::local;
use super::open::{self, SettingsArgs};
use super::service_manager;
use super::{CliError, Cx};
use crate::adapters::vcdiff::Vcdiff;
use crate::app::issue_serial::Vault;
use crate::app::{self, App};
use crate::config::{BlobsUrl, Config};
use crate::http;
use crate::http::metrics::Metrics;
use crate::http::serve::{Limits, Listener, Server};
use crate::http::tls::Tls;
use crate::telemetry;

/// How often it is looked how much room is left.
const LOOK_AT_DISKS: Duration = Duration::from_secs(30);
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
        let traces = telemetry::start_with_traces(&config.log.value, config.log_format.value)
            .map_err(|error| CliError::Failed(error.to_string()))?;
        let running = Running::start(&config).await?;
        cx.out
            .data_now(format!("listening on {}\n", running.address()).as_bytes())?;
        service_manager::ready();
        let ended = running.until_stopped().await;
        if let Some(traces) = traces {
            traces.end().await;
        }
        ended
    }
}

/// A server at work.
#[derive(Debug)]
pub(super) struct Running {
    /// What it serves.
    pub(super) app: App,
    /// Where it listens.
    pub(super) bound: SocketAddr,
    scheme: &'static str,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Opens the instance and starts to answer.
    pub(super) async fn start(config: &Config) -> Result<Self, CliError> {
        let limits = limits(config);
        // Bound before anything is opened: a second server fails before it has touched the data, and the address is
        // known (port 0). Clients that come early wait in the backlog.
        let (listeners, bound) = service_manager::listeners(config).await?;
        let tls = tls(config)?;
        let app = open::app(config, Some(bound)).await?;
        if bound.ip().is_unspecified() && config.public_url.value.0.is_none() {
            tracing::warn!("HALLMARK_PUBLIC_URL is not set: URLs handed out to clients will name {bound}");
        }
        if let Some(Err(error)) = app.blobs.check().await {
            tracing::error!(%error, "uploads and downloads are refused until the bucket answers");
        }
        let (socket, socket_file) = local::listen(config).await?;
        Vault::new(app.clone()).recover().await?;
        // The first device need not wait for it.
        app.catalog.current(&app).await?;
        app::fleet::start(&app).await?;
        let metrics = Metrics::default();
        if let Some(tls) = &tls {
            metrics.watch_tls(tls.clone());
        }
        let disks = disks(metrics.clone(), config);
        let router = http::router(&app, metrics).map_err(|e| CliError::Failed(e.to_string()))?;
        let server = Server::new(router, limits, config.trusted_proxies.value.0.clone());
        let stop = stop_on_signal()?;
        reload_on_signal(tls.clone(), stop.clone())?;
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
        let others = app::fleet::follow(app.clone(), drained.clone().cancelled_owned());
        let waves = app::fleet::watch(app.clone(), drained.clone().cancelled_owned());
        let reports = app::store::reports(app.clone(), drained.clone().cancelled_owned());
        let pushes = app::catalog::push::pushes(app.clone(), drained.clone().cancelled_owned());
        let measures = app::gauges::measure(app.clone(), drained.clone().cancelled_owned());
        let stop_disks = drained.clone();
        let letters = app::mail::deliver(app.clone(), drained.clone().cancelled_owned());
        let serving = futures_util::future::join_all(listeners.into_iter().map(|listener| {
            let listener = match &tls {
                Some(tls) => Listener::Tls(listener, tls.clone()),
                None => Listener::Tcp(listener),
            };
            server.clone().run(listener, stop.clone())
        }));
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
            tokio::spawn(others),
            tokio::spawn(waves),
            tokio::spawn(notices),
            tokio::spawn(pushes),
            tokio::spawn(letters),
            tokio::spawn(measures),
            tokio::spawn(async move { stop_disks.run_until_cancelled(disks).await.unwrap_or_default() }),
        ];
        Ok(Self {
            app,
            bound,
            scheme: config.scheme(),
            stop,
            tasks,
        })
    }

    /// Its address as clients on this machine write it.
    pub(super) fn address(&self) -> String {
        format!("{}://{}", self.scheme, self.bound)
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

/// The certificate to show, if the settings name one.
fn tls(config: &Config) -> Result<Option<Tls>, CliError> {
    let files = (&config.tls_cert_file.value.0, &config.tls_key_file.value.0);
    let (certificate, key) = match files {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) | (None, Some(_)) => {
            return Err(CliError::Failed(
                "cannot speak TLS: set both tls-cert-file and tls-key-file, or neither".to_owned(),
            ));
        }
    };
    let tls = Tls::open(&certificate.0, &key.0).map_err(|e| CliError::Failed(e.to_string()))?;
    if let Some(url) = &config.public_url.value.0 {
        let host = open::host_of(url.as_str());
        if !tls.is_for(&host) {
            tracing::warn!(%host, "the TLS certificate is not for the host of public-url");
        }
    }
    Ok(Some(tls))
}

/// Reads the certificate anew when its files change, and on SIGHUP, which ends no server.
fn reload_on_signal(tls: Option<Tls>, stop: CancellationToken) -> Result<(), CliError> {
    let mut hangup =
        signal(SignalKind::hangup()).map_err(|error| CliError::failed("cannot listen for signals", error))?;
    if let Some(tls) = &tls {
        let (watching, stop) = (tls.clone().watch(), stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(watching).await });
    }
    tokio::spawn(async move {
        while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
            match tls.clone() {
                Some(tls) => {
                    // What comes of it is in the log.
                    let _logged = tokio::task::spawn_blocking(move || tls.reload()).await;
                }
                None => tracing::info!("SIGHUP: there is no TLS certificate to read anew"),
            }
        }
    });
    Ok(())
}

/// Looks every so often how much room is left, forever. A file system that does not answer holds up nothing else.
fn disks(metrics: Metrics, config: &Config) -> impl Future<Output = ()> + use<> {
    let mut places = vec![("data", config.data().to_owned())];
    if let BlobsUrl::File(blobs) = config.blobs() {
        places.push(("blobs", blobs));
    }
    async move {
        loop {
            for (name, place) in places.clone() {
                let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&place)).await;
                if let Ok(Ok(found)) = asked {
                    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                    metrics.set_disk(name, (bytes(found.f_bavail), bytes(found.f_blocks)));
                }
            }
            tokio::time::sleep(LOOK_AT_DISKS).await;
        }
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
            service_manager::stopping();
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
