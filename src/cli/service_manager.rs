//! What a service manager (systemd) hands to the server, and is told by it: listening sockets that stay open while the
//! server is replaced, so that clients wait instead of being refused, and when it answers.

use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};

use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::CliError;
use crate::config::{Config, Source};

/// The sockets to serve: those the service manager passes (`LISTEN_FDS`), else one at the address of the settings. Also
/// the address of the first.
pub(super) async fn listeners(config: &Config) -> Result<(Vec<TcpListener>, SocketAddr), CliError> {
    let passed = passed()?;
    let (listeners, bound) = if passed.is_empty() {
        let address = &config.listen.value;
        let failed = |error| CliError::failed(format!("cannot listen on {address}"), error);
        let listener = TcpListener::bind(address.as_str()).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        (vec![listener], bound)
    } else {
        let first = passed.first().map(TcpListener::local_addr);
        let bound = first
            .transpose()
            .map_err(unusable)?
            .ok_or_else(|| unusable("there is none"))?;
        if config.listen.source != Source::Default && config.listen.value.to_string() != bound.to_string() {
            tracing::warn!(listen = %config.listen.value, %bound, "the service manager passes a socket: the setting listen does not count");
        }
        (passed, bound)
    };
    Ok((listeners, bound))
}

fn unusable(why: impl std::fmt::Display) -> CliError {
    CliError::failed("cannot use the sockets of the service manager", why)
}

fn passed() -> Result<Vec<TcpListener>, CliError> {
    let mut given = ListenFd::from_env();
    let mut listeners = Vec::new();
    for place in 0..given.len() {
        if let Some(listener) = given.take_tcp_listener(place).map_err(unusable)? {
            listener.set_nonblocking(true).map_err(unusable)?;
            listeners.push(TcpListener::from_std(listener).map_err(unusable)?);
        }
    }
    Ok(listeners)
}

/// The server answers.
pub(super) fn ready() {
    tell("READY=1");
}

/// The server finishes what runs, and ends.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

/// Tells the service manager that started this process, if one wants to know (`NOTIFY_SOCKET`).
fn tell(state: &str) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty()) else {
        return;
    };
    let name = place.as_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => UnixAddress::from_abstract_name(name),
        None => UnixAddress::from_pathname(&place),
    };
    let told = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        tracing::warn!(%error, "cannot tell the service manager: {state}");
    }
}
