//! Somebody who publishes: what snapcraft sends from login to release (publisher-api.md 5, 6.3-6.7).

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::{Value, json};

use super::LineError;
use crate::outgoing::http_client;

/// What a body is sent in, in bytes.
const PIECE: usize = 64 << 10;
/// Between two questions what became of an upload.
const ASK: Duration = Duration::from_millis(100);
const BOUNDARY: &str = "627d095e5e11437b8b59000ef0a5b79b";

/// Sends what publishers send, to one server, on connections that are kept.
#[derive(Clone, Debug)]
pub struct Publisher {
    client: reqwest::Client,
    /// The server's address without a trailing slash.
    base: String,
    /// Header that says who it is.
    authorization: String,
}

impl Publisher {
    /// Whoever has this token.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(base: &str, token: &str) -> Result<Self, LineError> {
        Ok(Self {
            client: http_client(base).build()?,
            base: base.trim_end_matches('/').to_owned(),
            authorization: format!("Macaroon {token}"),
        })
    }

    /// Logs in with a password.
    ///
    /// # Errors
    /// If the server is not reached or refuses.
    pub async fn login(base: &str, email: &str, password: &str) -> Result<Self, LineError> {
        let nobody = Self::new(base, "")?;
        let doing = "log in as publisher";
        let body = json!({"email": email, "password": password, "description": "publisher"});
        let answer = nobody
            .client
            .post(format!("{}/hallmark/v1/login", nobody.base))
            .body(body.to_string())
            .send()
            .await?;
        let answer = read(doing, answer).await?;
        Self::new(base, text(doing, &answer, "token")?)
    }

    /// Registers a name; one that is theirs already is fine.
    ///
    /// # Errors
    /// If the server is not reached or refuses.
    pub async fn register(&self, name: &str) -> Result<(), LineError> {
        let body = json!({"snap_name": name, "series": "16"});
        match self
            .ask("register the name", "/dev/api/register-name/", &body)
            .await
        {
            Err(LineError::Answer { body, .. }) if body.contains("already_owned") => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Sends a file; the id by which it can be pushed. `tail` comes behind `file`, so that many files can share most of
    /// what is in them.
    ///
    /// # Errors
    /// If the server is not reached or refuses.
    pub async fn upload(&self, file: &Bytes, tail: &str) -> Result<String, LineError> {
        let before = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"binary\"; filename=\"a.snap\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let after = format!("{tail}\r\n--{BOUNDARY}--\r\n");
        let length = before.len() + file.len() + after.len();
        let file = file.clone();
        let pieces = (0..file.len().div_ceil(PIECE))
            .map(move |piece| file.slice(piece * PIECE..file.len().min((piece + 1) * PIECE)));
        let body = std::iter::once(Bytes::from(before))
            .chain(pieces)
            .chain(std::iter::once(Bytes::from(after)))
            .map(Ok::<_, std::io::Error>);
        let answer = self
            .client
            .post(format!("{}/unscanned-upload/", self.base))
            .header(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"))
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(stream::iter(body)))
            .send()
            .await?;
        let doing = "upload a file";
        let answer = read(doing, answer).await?;
        Ok(text(doing, &answer, "upload_id")?.to_owned())
    }

    /// Has a file made a revision of a snap, and waits until it is one: its number.
    ///
    /// # Errors
    /// If the server is not reached or refuses, at once or later.
    pub async fn push(&self, name: &str, upload: &str) -> Result<u64, LineError> {
        let doing = "make a revision of the file";
        let body = json!({"name": name, "series": "16", "updown_id": upload, "source_uploaded": false});
        let pushed = self.ask(doing, "/dev/api/snap-push/", &body).await?;
        let status = text(doing, &pushed, "status_details_url")?;
        loop {
            let answer = self.client.get(status).send().await?;
            let answer = read(doing, answer).await?;
            match text(doing, &answer, "code")? {
                "being_processed" => tokio::time::sleep(ASK).await,
                "ready_to_release" => {
                    return answer
                        .get("revision")
                        .and_then(Value::as_u64)
                        .ok_or_else(|| lacks(doing));
                }
                _ => return Err(LineError::Document(format!("cannot {doing}: {answer}"))),
            }
        }
    }

    /// Releases a revision.
    ///
    /// # Errors
    /// If the server is not reached or refuses.
    pub async fn release(&self, name: &str, revision: u64, channel: &str) -> Result<(), LineError> {
        let body = json!({
            "name": name, "series": "16", "revision": revision.to_string(), "channels": [channel],
        });
        self.ask("release the revision", "/dev/api/snap-release/", &body)
            .await
            .map(drop)
    }

    async fn ask(&self, doing: &'static str, path: &str, body: &Value) -> Result<Value, LineError> {
        let answer = self
            .client
            .post(format!("{}{path}", self.base))
            .header(AUTHORIZATION, &self.authorization)
            .body(body.to_string())
            .send()
            .await?;
        read(doing, answer).await
    }
}

async fn read(doing: &'static str, answer: reqwest::Response) -> Result<Value, LineError> {
    let status = answer.status();
    let body = answer.text().await?;
    if !status.is_success() {
        let body = body.chars().take(1000).collect();
        return Err(LineError::Answer { doing, status, body });
    }
    serde_json::from_str(&body).map_err(|_| lacks(doing))
}

fn text<'a>(doing: &str, answer: &'a Value, field: &str) -> Result<&'a str, LineError> {
    answer
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| lacks(doing))
}

fn lacks(doing: &str) -> LineError {
    LineError::Document(format!("cannot {doing}: the answer lacks what is needed"))
}
