//! Talking to a server: where it is, the token to use, requests to `/hallmark/v1`, and refusals as people read them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{BrandArg, CliError, Output};
use crate::domain::ident::StoreId;
use crate::outgoing::http_client;

/// Where a server listens unless told otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8380";

const CONNECT: Duration = Duration::from_secs(10);
/// The longest silence: making an RSA-4096 key on a slow machine takes tens of seconds.
const SILENCE: Duration = Duration::from_secs(120);
/// The largest answer that is kept in memory; longer ones are streamed with [`Client::download`].
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What `hallmark login` keeps: a file of mode 0600.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Login {
    /// The server's address.
    pub server: String,
    /// The token.
    pub token: Zeroizing<String>,
    /// Who logged in.
    pub email: String,
    /// When the token ends, RFC 3339.
    pub expires: String,
    /// Certificates to trust besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Authority>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("server", &self.server)
            .field("email", &self.email)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// The stored log-in, if there is one.
    pub fn read() -> Result<Option<Self>, CliError> {
        let path = login_file()?;
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| CliError::failed(format!("cannot read {}", path.display()), error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::failed(format!("cannot read {}", path.display()), error)),
        }
    }

    /// Stores it; returns where.
    pub fn write(&self) -> Result<PathBuf, CliError> {
        let path = login_file()?;
        let text = Zeroizing::new(
            serde_json::to_vec_pretty(self).map_err(|e| CliError::failed("cannot log in", e))?,
        );
        write_private(&path, &text)
            .map_err(|error| CliError::failed(format!("cannot write {}", path.display()), error))?;
        Ok(path)
    }

    /// Removes the stored log-in.
    pub fn forget() -> Result<(), CliError> {
        let path = login_file()?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CliError::failed(
                format!("cannot remove {}", path.display()),
                error,
            )),
            _ => Ok(()),
        }
    }
}

/// Certificates of an authority of one's own, as PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Authority(String);

impl Authority {
    /// Reads them from a file.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::failed(format!("cannot read {}", path.display()), error))?;
        let authority = Self(text);
        match authority.certificates() {
            Ok(found) if !found.is_empty() => Ok(authority),
            Ok(_) | Err(_) => Err(CliError::failed(
                format!("cannot use {}", path.display()),
                "it holds no certificates (PEM)",
            )),
        }
    }

    /// Those of the file that HALLMARK_CA_FILE names.
    fn of_environment() -> Result<Option<Self>, CliError> {
        variable("HALLMARK_CA_FILE")
            .map(|path| Self::read(Path::new(&path)))
            .transpose()
    }

    fn certificates(&self) -> reqwest::Result<Vec<reqwest::Certificate>> {
        reqwest::Certificate::from_pem_bundle(self.0.as_bytes())
    }
}

/// A connection to a server.
pub struct Client {
    http: reqwest::Client,
    server: String,
    ca: Option<Authority>,
    token: Option<Zeroizing<String>>,
    brand: Option<String>,
    store: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// What to send in a request body. Not `Debug`: it may hold a secret.
#[expect(
    missing_debug_implementations,
    reason = "bodies hold passwords and private keys"
)]
pub enum Content<'a> {
    /// Nothing.
    Empty,
    /// JSON.
    Json(Vec<u8>),
    /// Anything else, with its content type.
    Bytes(&'a str, Vec<u8>),
    /// Files, read while they are sent.
    Stream(reqwest::Body),
}

impl Client {
    /// With the log-in of the environment or of `hallmark login`.
    pub fn open(brand: &BrandArg) -> Result<Self, CliError> {
        let (server, token, ca) = credentials()?;
        let mut client = Self::trusting(&server, ca)?;
        client.token = Some(token);
        client.brand = brand.brand.as_ref().map(ToString::to_string);
        Ok(client)
    }

    /// Like [`Self::open`], for requests that take as long as they take: uploads of large files.
    pub fn patient(brand: &BrandArg) -> Result<Self, CliError> {
        let mut client = Self::open(brand)?;
        let builder = plain(&client.server, client.ca.as_ref())?.tcp_keepalive(CONNECT);
        client.http = builder
            .build()
            .map_err(|error| CliError::failed("cannot set up the connection", chain(&error)))?;
        Ok(client)
    }

    /// With a stored log-in, whatever the environment says.
    pub fn with_login(login: &Login) -> Result<Self, CliError> {
        let ca = match Authority::of_environment()? {
            Some(ca) => Some(ca),
            None => login.ca.clone(),
        };
        let mut client = Self::trusting(&login.server, ca)?;
        client.token = Some(login.token.clone());
        Ok(client)
    }

    /// Without a log-in.
    pub fn anonymous(server: &str) -> Result<Self, CliError> {
        Self::trusting(server, Authority::of_environment()?)
    }

    /// Without a log-in; `ca` is trusted besides what the system trusts.
    pub fn trusting(server: &str, ca: Option<Authority>) -> Result<Self, CliError> {
        let http = plain(server, ca.as_ref())?
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| CliError::failed("cannot set up the connection", chain(&error)))?;
        Ok(Self {
            http,
            server: server.trim_end_matches('/').to_owned(),
            ca,
            token: None,
            brand: None,
            store: None,
        })
    }

    /// Over the socket of a server on this machine; patient, since some local work takes long.
    pub fn over_socket(path: &Path) -> Result<Self, CliError> {
        let http = http_client("http://localhost")
            .unix_socket(path)
            .build()
            .map_err(|error| CliError::failed("cannot set up the connection", chain(&error)))?;
        Ok(Self {
            http,
            server: "http://localhost".to_owned(),
            ca: None,
            token: None,
            brand: None,
            store: None,
        })
    }

    /// The same for calls that take the store they are about from a header.
    pub fn about_store(mut self, store: Option<&StoreId>) -> Self {
        self.store = store.map(ToString::to_string);
        self
    }

    /// What is trusted besides what the system trusts.
    pub fn ca(&self) -> Option<&Authority> {
        self.ca.as_ref()
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// `GET`, an answer in JSON.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
        self.json(Method::GET, path, query, Content::Empty).await
    }

    /// `POST` of a JSON body.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.json(Method::POST, path, &[], encode(body)?).await
    }

    /// `PUT` of a JSON body.
    pub async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.json(Method::PUT, path, &[], encode(body)?).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<Value, CliError> {
        self.json(Method::DELETE, path, &[], Content::Empty).await
    }

    /// Any request with an answer in JSON; an empty answer is `null`.
    pub async fn json(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        content: Content<'_>,
    ) -> Result<Value, CliError> {
        let body = self.bytes(method, path, query, content).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| self.strange("it did not answer in JSON"))
    }

    /// Any request; the answer's body as it is, at most 64 MiB.
    pub async fn bytes(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        content: Content<'_>,
    ) -> Result<Vec<u8>, CliError> {
        let mut response = self.send(method, path, query, content).await?;
        self.collect(&mut response).await
    }

    /// Writes the answer of a `GET` to stdout while it arrives: CSV, an export.
    pub async fn download(
        &self,
        path: &str,
        query: &[(&str, &str)],
        output: &Output,
    ) -> Result<(), CliError> {
        let mut response = self.send(Method::GET, path, query, Content::Empty).await?;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            output.data(&chunk)?;
        }
        Ok(())
    }

    /// The answer of a `GET`, piece by piece while it arrives. It ends with an error where it breaks off.
    pub async fn pieces(&self, path: &str) -> Result<BoxStream<'static, reqwest::Result<Bytes>>, CliError> {
        let response = self.send(Method::GET, path, &[], Content::Empty).await?;
        Ok(response.bytes_stream().boxed())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        content: Content<'_>,
    ) -> Result<reqwest::Response, CliError> {
        let text = format!("{}{path}", self.server);
        let mut url = url::Url::parse(&text).map_err(|error| {
            CliError::Usage(format!(
                "cannot use the server address {:?}: {error}",
                self.server
            ))
        })?;
        if self.brand.is_some() || !query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            pairs.extend_pairs(query);
            if let Some(brand) = &self.brand {
                pairs.append_pair("brand", brand);
            }
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.as_str());
        }
        if let Some(store) = &self.store {
            request = request.header("snap-device-store", store);
        }
        request = match content {
            Content::Empty => request,
            Content::Json(bytes) => request.header("content-type", "application/json").body(bytes),
            Content::Bytes(kind, bytes) => request.header("content-type", kind).body(bytes),
            Content::Stream(body) => request
                .header("content-type", "application/octet-stream")
                .body(body),
        };
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.collect(&mut response).await?;
        Err(self.refused(status, &body))
    }

    async fn collect(&self, response: &mut reqwest::Response) -> Result<Vec<u8>, CliError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.strange("its answer is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        CliError::Unreachable(format!(
            "cannot reach the server at {}: {}",
            self.server,
            chain(error)
        ))
    }

    fn strange(&self, what: &str) -> CliError {
        CliError::Failed(format!(
            "cannot understand the server at {}: {what} (is it hallmark?)",
            self.server
        ))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> CliError {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Refused {
            error_list: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            code: String,
            message: String,
        }
        match serde_json::from_slice::<Refused>(body) {
            Ok(refused) if !refused.error_list.is_empty() => {
                let lines: Vec<String> = refused
                    .error_list
                    .iter()
                    .map(|item| format!("{} [{}]", item.message, item.code))
                    .collect();
                CliError::Failed(lines.join("\n"))
            }
            _ => self.strange(&format!("it answered {status}")),
        }
    }
}

fn plain(server: &str, ca: Option<&Authority>) -> Result<reqwest::ClientBuilder, CliError> {
    let builder = match ca.filter(|_| server.starts_with("https:")) {
        Some(ca) => {
            let certificates = ca
                .certificates()
                .map_err(|error| CliError::failed("cannot set up the connection", chain(&error)))?;
            http_client(server).tls_certs_merge(certificates)
        }
        None => http_client(server),
    };
    Ok(builder
        .user_agent(concat!("hallmark/", env!("CARGO_PKG_VERSION")))
        // A redirect could carry the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT))
}

/// The path of a native endpoint: `native(&["models", name])` is `/hallmark/v1/models/<name, encoded>`.
pub fn native(parts: &[&str]) -> String {
    const KEEP: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    parts.iter().fold("/hallmark/v1".to_owned(), |path, part| {
        format!("{path}/{}", utf8_percent_encode(part, KEEP))
    })
}

/// Reads a secret from the first line of a file; `-` is stdin.
pub fn secret_file(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |error: std::io::Error| CliError::failed(format!("cannot read {}", path.display()), error);
    let text = Zeroizing::new(match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()).map_err(failed)?,
        _ => std::fs::read_to_string(path).map_err(failed)?,
    });
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(CliError::Failed(format!(
            "cannot read {}: its first line is empty",
            path.display()
        )));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Server, token and what to trust: HALLMARK_TOKEN with HALLMARK_SERVER, else the stored log-in.
fn credentials() -> Result<(String, Zeroizing<String>, Option<Authority>), CliError> {
    let ca = Authority::of_environment()?;
    let server = variable("HALLMARK_SERVER");
    if let Some(token) = variable("HALLMARK_TOKEN") {
        return Ok((
            server.unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
            Zeroizing::new(token),
            ca,
        ));
    }
    let login = Login::read()?.ok_or_else(|| {
        CliError::Failed("cannot do this without a log-in: run `hallmark login`, or set HALLMARK_SERVER and HALLMARK_TOKEN".to_owned())
    })?;
    match server {
        // The stored token belongs to one server; it must not be shown to another.
        Some(server) if server.trim_end_matches('/') != login.server => Err(CliError::Failed(format!(
            "cannot use the log-in for {} on {server}: run `hallmark login --server {server}`, or set HALLMARK_TOKEN",
            login.server
        ))),
        _ => Ok((login.server, login.token, ca.or(login.ca))),
    }
}

/// An environment variable that is set to something.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn login_file() -> Result<PathBuf, CliError> {
    let home = variable("HALLMARK_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CONFIG_HOME").map(|base| PathBuf::from(base).join("hallmark")))
        .or_else(|| variable("HOME").map(|base| PathBuf::from(base).join(".config").join("hallmark")));
    home.map(|dir| dir.join("login.json")).ok_or_else(|| {
        CliError::Failed("cannot tell where to keep the log-in: set HALLMARK_HOME to a directory".to_owned())
    })
}

/// Writes a file only its owner can read: all of it, or the old one stays.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    })();
    if written.is_err() {
        let _best_effort = std::fs::remove_file(&new);
    }
    written
}

fn encode(body: &impl Serialize) -> Result<Content<'static>, CliError> {
    serde_json::to_vec(body)
        .map(Content::Json)
        .map_err(|error| CliError::failed("cannot write the request", error))
}

/// An error with its causes, innermost last; reqwest's own text names the URL, which the caller says already.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_per_segment() {
        assert_eq!(
            native(&["serials", "m", "SN 1/é"]),
            "/hallmark/v1/serials/m/SN%201%2F%C3%A9"
        );
    }

    #[test]
    fn refusals_read_as_the_server_wrote_them() {
        let client = Client::anonymous("http://127.0.0.1:1/").unwrap();
        let body =
            br#"{"error-list":[{"code":"brand-exists","message":"cannot create brand acme: it exists"}]}"#;
        let error = client.refused(StatusCode::CONFLICT, body);
        assert_eq!(
            error.message(),
            Some("cannot create brand acme: it exists [brand-exists]")
        );
        assert_eq!(error.status(), 1);
        let error = client.refused(StatusCode::BAD_GATEWAY, b"<html>");
        assert!(error.message().unwrap().contains("502 Bad Gateway"));
    }

    #[tokio::test]
    async fn no_server_is_status_three() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::anonymous(&format!("http://{address}")).unwrap();
        let error = client.get("/hallmark/v1/whoami", &[]).await.unwrap_err();
        assert_eq!(error.status(), 3, "{error}");
        assert!(
            error
                .message()
                .unwrap()
                .starts_with("cannot reach the server at http://127.0.0.1:"),
            "{error}"
        );
    }

    #[test]
    fn a_login_file_is_private_and_replaced_as_a_whole() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a").join("login.json");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
