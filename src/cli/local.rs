//! Local commands beside a running server: it holds the data, so they ask it through the Unix socket in the data
//! directory (decisions.md 15). Where no server runs they open the data themselves.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use reqwest::Method;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::CliError;
use super::backup::files;
use super::open;
use super::remote::{Client, Content, chain};
use crate::app::App;
use crate::config::{Config, DatabaseUrl};
use crate::domain::blob::BlobId;
use crate::http::local::bundles::{self, BundleTask};
use crate::http::local::{self, PATH, ROWS, SOCKET, Task};
use crate::ports::{Row, Rows, Storage, StoreError};

/// The system takes no longer names for sockets than 107 bytes; a bit of room for the name while it is made.
const MAX_NAME: usize = 90;
/// Pieces of this size are read of a file on its way to the server.
const PIECE: usize = 256 * 1024;
/// So many of them wait to be sent.
const AHEAD: usize = 4;

/// Does `task`: through the server that runs on the data directory, else by opening the data.
pub(super) async fn perform(config: &Config, task: Task) -> Result<Value, CliError> {
    match Place::of(config.data())?.client().await? {
        Some(client) => client.post(PATH, &task).await,
        None => {
            let app = open::app(config, None).await?;
            // An embedded database is locked by who has it open; another may have further users on other machines.
            let task = match config.database() {
                DatabaseUrl::Sled(_) => task.alone(),
                DatabaseUrl::Postgres(_) => task,
            };
            let done = local::perform(&app, task).await;
            app.storage.close().await?;
            Ok(done?)
        }
    }
}

/// A place at the data: beside the server that runs on it, or alone with it. For commands of several steps.
pub(super) enum Seat {
    /// A server has the data.
    Beside(Client),
    /// Nobody else has it.
    Alone(App),
}

impl Seat {
    pub(super) async fn take(config: &Config) -> Result<Self, CliError> {
        match Place::of(config.data())?.client().await? {
            Some(client) => Ok(Self::Beside(client)),
            None => Ok(Self::Alone(open::app(config, None).await?)),
        }
    }

    /// Does something with a bundle.
    pub(super) async fn bundle(&self, task: BundleTask) -> Result<Value, CliError> {
        match self {
            Self::Beside(client) => client.post(bundles::PATH, &task).await,
            Self::Alone(app) => Ok(bundles::perform(app, task).await?),
        }
    }

    /// Keeps a file of this name and length, unless it is there; whether it was new. Blocks: for threads that may wait.
    /// `content` is read to its end either way, and must be what its name says.
    pub(super) fn put(
        &self,
        runtime: &Handle,
        id: &BlobId,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<bool, CliError> {
        let there = runtime.block_on(self.bundle(BundleTask::HasFile { file: *id, size }))?;
        let unread = |error: io::Error| CliError::failed(format!("cannot read the file {id}"), error);
        if there.get("there") == Some(&Value::Bool(true)) {
            io::copy(content, &mut io::sink()).map_err(unread)?;
            return Ok(false);
        }
        let client = match self {
            Self::Beside(client) => client,
            Self::Alone(app) => {
                return files::put(runtime, &*app.blobs, id, size, content).map_err(unread);
            }
        };
        // Read here, sent there: few pieces wait in between.
        let (send, wait) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
        let pieces = stream::unfold(wait, |mut wait| async { Some((wait.recv().await?, wait)) });
        let path = format!("{}/{id}", bundles::FILES);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let body = reqwest::Body::wrap_stream(pieces);
                runtime.block_on(client.json(Method::PUT, &path, &[], Content::Stream(body)))
            });
            let read = feed(content, &send);
            if let Err(error) = &read {
                let _gone = send.blocking_send(Err(io::Error::other(error.to_string())));
            }
            drop(send);
            let sent = sending
                .join()
                .unwrap_or_else(|_| Err(CliError::Failed("cannot send the file".to_owned())));
            read.map_err(unread)?;
            sent.map(|_| true)
        })
    }

    /// Closes what was opened.
    pub(super) async fn leave(self) -> Result<(), CliError> {
        match self {
            Self::Beside(_) => Ok(()),
            Self::Alone(app) => Ok(app.storage.close().await?),
        }
    }
}

/// Sends what is read, until nobody wants it any more.
fn feed(content: &mut dyn Read, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let read = content.read(&mut piece)?;
        piece.truncate(read);
        if read == 0 || to.blocking_send(Ok(Bytes::from(piece))).is_err() {
            return Ok(());
        }
    }
}

/// Does `task` through the server; without one it is refused.
pub(super) async fn perform_beside_server(config: &Config, task: Task) -> Result<Value, CliError> {
    let data = config.data();
    match Place::of(data)?.client().await? {
        Some(client) => client.post(PATH, &task).await,
        None => Err(CliError::Unreachable(format!(
            "cannot reach a server for {}: none runs there (HALLMARK_DATA names the directory); \
             start `hallmark serve`",
            data.display()
        ))),
    }
}

/// Everything that is stored, as it is now: through the server that runs on the data directory, else by opening the
/// data. The second is what to close when the rows were read.
pub(super) async fn rows(config: &Config) -> Result<(Rows, Option<Arc<dyn Storage>>), CliError> {
    if let Some(client) = Place::of(config.data())?.client().await? {
        return Ok((lines(client.pieces(ROWS).await?), None));
    }
    let storage = open::storage(config).await?;
    let rows = storage.export().await?;
    Ok((rows, Some(storage)))
}

/// Rows from lines of JSON, wherever pieces end.
fn lines(pieces: BoxStream<'static, reqwest::Result<Bytes>>) -> Rows {
    let broken = |why: String| StoreError::Unavailable(format!("the server broke off: {why}"));
    stream::try_unfold((pieces, Vec::new()), move |(mut pieces, mut rest)| async move {
        loop {
            let Some(piece) = pieces.next().await else {
                return if rest.is_empty() {
                    Ok(None)
                } else {
                    Err(broken("within a row".to_owned()))
                };
            };
            rest.extend_from_slice(&piece.map_err(|error| broken(chain(&error)))?);
            let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
                continue;
            };
            let after = rest.split_off(end + 1);
            let rows = rest
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(serde_json::from_slice)
                .collect::<Result<Vec<Row>, _>>()
                .map_err(|error| broken(error.to_string()))?;
            return Ok(Some((rows, (pieces, after))));
        }
    })
    .boxed()
}

/// Whether a server runs on the data directory.
pub(super) async fn server_runs(config: &Config) -> Result<bool, CliError> {
    Ok(Place::of(config.data())?.client().await?.is_some())
}

/// The socket of a server; its file is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    file: PathBuf,
    _place: Place,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_file(&self.file);
    }
}

/// Makes the socket of a server that has the data open. Only its owner can reach it, from the first moment on.
pub(super) async fn listen(config: &Config) -> Result<(UnixListener, Socket), CliError> {
    let place = Place::of(config.data())?;
    let file = config.data().join(SOCKET);
    let failed =
        |error: io::Error| CliError::failed(format!("cannot make the socket {}", file.display()), error);
    if place.client().await?.is_some() {
        return Err(CliError::Failed(format!(
            "cannot serve: another server runs on {} and answers at {}",
            config.data().display(),
            file.display()
        )));
    }
    // Made under another name and moved when only the owner may open it.
    let draft = place.path.with_extension(format!("{}.new", std::process::id()));
    let _left_over = std::fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft).map_err(failed)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&draft, &place.path))
        .map_err(failed)?;
    Ok((listener, Socket { file, _place: place }))
}

/// A path to the socket that is short enough, and what keeps it good.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    _directory: Option<File>,
}

impl Place {
    fn of(data: &Path) -> Result<Self, CliError> {
        let path = data.join(SOCKET);
        if path.as_os_str().len() <= MAX_NAME || !data.is_dir() {
            return Ok(Self {
                path,
                _directory: None,
            });
        }
        let directory = File::open(data)
            .map_err(|error| CliError::failed(format!("cannot open {}", data.display()), error))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(SOCKET);
        Ok(Self {
            path,
            _directory: Some(directory),
        })
    }

    /// A connection to the server, if one listens. A file that a killed server left behind does not answer.
    async fn client(&self) -> Result<Option<Client>, CliError> {
        match UnixStream::connect(&self.path).await {
            Ok(_) => Client::over_socket(&self.path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(CliError::failed(
                format!("cannot talk to the server at {}", self.path.display()),
                "only the owner of the data directory may",
            )),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn config(data: &Path) -> Config {
        let flags = Flags::from([("data", data.display().to_string())]);
        Config::load(None, &flags, &|_| None).unwrap()
    }

    #[tokio::test]
    async fn a_socket_is_private_replaces_a_dead_one_and_keeps_a_living_one() {
        let root = tempfile::tempdir().unwrap();
        let long = root.path().join("d".repeat(120));
        for data in [root.path().join("short"), long] {
            std::fs::create_dir(&data).unwrap();
            let config = config(&data);
            assert!(!server_runs(&config).await.unwrap());
            let (listener, socket) = listen(&config).await.unwrap();
            let mode = std::fs::metadata(data.join(SOCKET)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(server_runs(&config).await.unwrap());
            assert!(listen(&config).await.is_err());
            drop(listener);
            assert!(!server_runs(&config).await.unwrap());
            let (_listener, second) = listen(&config).await.unwrap();
            drop((socket, second));
            assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
        }
    }
}
