//! The station of the line that talks to the vault for its devices.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::Device;
use crate::domain::assertion::{Assertion, AssertionType, StreamDecoder};
use crate::domain::time::Timestamp;
use crate::outgoing::http_client;

/// Why a simulated device did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// A device key did not work.
    #[error("{0}")]
    Key(&'static str),
    /// A document could not be built or read.
    #[error("{0}")]
    Document(String),
    /// The server was not reached.
    #[error("cannot reach the vault: {0}")]
    Connect(#[from] reqwest::Error),
    /// The server answered something else.
    #[error("cannot {doing}: status {status}: {body}")]
    Answer {
        /// What was asked for.
        doing: &'static str,
        /// The status.
        status: StatusCode,
        /// The start of the body.
        body: String,
    },
}

/// Sends what devices send, to one server. Every call is a connection of its own; [`Station::visitor`] keeps one.
#[derive(Clone, Debug)]
pub struct Station {
    client: reqwest::Client,
    /// The server's address without a trailing slash.
    base: String,
    api_key: String,
}

impl Station {
    /// A station that presents `api_key` to the server at `base`.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(base: &str, api_key: &str) -> Result<Self, LineError> {
        Ok(Self {
            client: client(base, 0)?,
            base: base.trim_end_matches('/').to_owned(),
            api_key: api_key.to_owned(),
        })
    }

    /// The station as one device uses it: with a connection of its own, kept from call to call, as snapd's client
    /// does for request-id and serial (`getSerial` in snapd's `handlers_serial.go`).
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn visitor(&self) -> Result<Self, LineError> {
        Ok(Self {
            client: client(&self.base, 1)?,
            ..self.clone()
        })
    }

    /// `POST /v1/request-id`.
    ///
    /// # Errors
    /// If the vault is not reached or refuses.
    pub async fn request_id(&self) -> Result<String, LineError> {
        let doing = "get a request-id";
        let answer = self.post("/v1/request-id", "", Vec::new()).await?;
        field(&expect_ok(doing, answer).await?, "request-id").ok_or_else(|| lacks(doing))
    }

    /// `POST /v1/serial` with a finished request; the body of the answer.
    ///
    /// # Errors
    /// If the vault is not reached or refuses.
    pub async fn submit(&self, request: Vec<u8>) -> Result<Vec<u8>, LineError> {
        let answer = self
            .post("/v1/serial", "application/x.ubuntu.assertion", request)
            .await?;
        expect_ok("get a serial", answer).await
    }

    /// The whole registration of a device: its serial.
    ///
    /// # Errors
    /// If the vault is not reached, refuses, or answers with another device's serial.
    pub async fn register(&self, device: &Device, now: Timestamp) -> Result<Assertion, LineError> {
        let request_id = self.request_id().await?;
        let body = self.submit(device.serial_request(&request_id, now)?).await?;
        let serial = StreamDecoder::new(body.into())
            .find_map(|decoded| {
                decoded
                    .ok()
                    .filter(|assertion| assertion.kind() == AssertionType::Serial)
            })
            .ok_or_else(|| LineError::Document("cannot find a serial in the answer".to_owned()))?;
        let expected = [
            device.id.brand.as_str(),
            device.id.model.as_str(),
            device.id.serial.as_str(),
        ];
        if serial.primary_key().0 != expected {
            return Err(LineError::Document(format!(
                "cannot use the serial of {}: it is not ours",
                serial.reference()
            )));
        }
        Ok(serial)
    }

    /// Opens a device session: the macaroon.
    ///
    /// # Errors
    /// If the store is not reached or refuses.
    pub async fn session(
        &self,
        device: &Device,
        serial: &Assertion,
        model: &str,
        now: Timestamp,
    ) -> Result<String, LineError> {
        let doing = "get a nonce";
        let answer = self.post("/api/v1/snaps/auth/nonces", "", Vec::new()).await?;
        let nonce = field(&expect_ok(doing, answer).await?, "nonce").ok_or_else(|| lacks(doing))?;
        let request = device.session_request(&nonce, now)?;
        let body = serde_json::json!({
            "device-session-request": String::from_utf8_lossy(&request),
            "serial-assertion": String::from_utf8_lossy(serial.encoded()),
            "model-assertion": model,
        });
        let doing = "open a device session";
        let answer = self
            .post(
                "/api/v1/snaps/auth/sessions",
                "application/json",
                body.to_string().into_bytes(),
            )
            .await?;
        field(&expect_ok(doing, answer).await?, "macaroon").ok_or_else(|| lacks(doing))
    }

    /// `POST /v2/snaps/refresh` with a session: the answer.
    ///
    /// # Errors
    /// If the store is not reached, refuses, or answers with something else than JSON.
    pub async fn refresh(&self, session: &str, context: Value, actions: Value) -> Result<Value, LineError> {
        let doing = "ask for snaps";
        let body =
            serde_json::json!({"context": context, "actions": actions, "fields": ["download", "revision"]});
        let answer = self
            .client
            .post(format!("{}/v2/snaps/refresh", self.base))
            .headers(device_headers(session)?)
            .body(body.to_string())
            .send()
            .await?;
        serde_json::from_slice(&expect_ok(doing, answer).await?).map_err(|_| lacks(doing))
    }

    /// Downloads a file of the store with a session.
    ///
    /// # Errors
    /// If the store is not reached or refuses.
    pub async fn download(&self, session: &str, url: &str) -> Result<Vec<u8>, LineError> {
        let answer = self
            .client
            .get(url)
            .headers(device_headers(session)?)
            .send()
            .await?;
        expect_ok("download a file", answer).await
    }

    async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<reqwest::Response, LineError> {
        let mut headers = HeaderMap::new();
        if let Ok(value) = self.api_key.parse() {
            headers.insert("api-key", value);
        }
        if let Ok(value) = content_type.parse()
            && !content_type.is_empty()
        {
            headers.insert(CONTENT_TYPE, value);
        }
        Ok(self
            .client
            .post(format!("{}{path}", self.base))
            .headers(headers)
            .body(body)
            .send()
            .await?)
    }
}

/// What a device with a session sends along.
fn device_headers(session: &str) -> Result<HeaderMap, LineError> {
    let session = format!("Macaroon root=\"{session}\"");
    let session = session
        .parse()
        .map_err(|_| LineError::Document("cannot send the session: it is no header".to_owned()))?;
    Ok(HeaderMap::from_iter([
        (HeaderName::from_static("snap-device-authorization"), session),
        (
            HeaderName::from_static("snap-device-architecture"),
            HeaderValue::from_static("amd64"),
        ),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ]))
}

fn client(base: &str, idle_connections: usize) -> Result<reqwest::Client, LineError> {
    Ok(http_client(base)
        .pool_max_idle_per_host(idle_connections)
        .user_agent("hallmark-line/1")
        .timeout(std::time::Duration::from_secs(30))
        .build()?)
}

async fn expect_ok(doing: &'static str, answer: reqwest::Response) -> Result<Vec<u8>, LineError> {
    let status = answer.status();
    let body = answer.bytes().await?;
    if status == StatusCode::OK {
        return Ok(body.to_vec());
    }
    let body = String::from_utf8_lossy(&body).chars().take(200).collect();
    Err(LineError::Answer { doing, status, body })
}

fn field(body: &[u8], name: &str) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    json.get(name)?.as_str().map(str::to_owned)
}

fn lacks(doing: &str) -> LineError {
    LineError::Document(format!("cannot {doing}: the answer does not hold one"))
}
