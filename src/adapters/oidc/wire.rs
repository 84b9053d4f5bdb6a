//! Requests to a provider: by the program's own HTTP client, within limits of time and size, without following anywhere.

use std::pin::Pin;
use std::time::Duration;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

use crate::outgoing::http_client;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for a request with its answer. A person waits for it.
const WHOLE: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why a request has no answer. Says nothing of what was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The connection.
    #[error("{0}")]
    Connection(String),
    /// More than [`MAX_ANSWER`].
    #[error("its answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    /// The answer is no HTTP.
    #[error("its answer cannot be read: {0}")]
    Malformed(#[from] http::Error),
}

impl From<reqwest::Error> for WireError {
    fn from(error: reqwest::Error) -> Self {
        // Addresses carry codes.
        let error = error.without_url();
        if error.is_timeout() {
            return Self::Connection("it did not answer in time".to_owned());
        }
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::Connection(text)
    }
}

/// The client.
pub(super) struct Wire(reqwest::Client);

impl Wire {
    /// For the provider at `issuer`: over TLS it has to have a certificate the system trusts.
    pub(super) fn new(issuer: &str) -> Result<Self, WireError> {
        let client = http_client(issuer)
            .user_agent(concat!("hallmark/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .build()?;
        Ok(Self(client))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, WireError> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let mut whole = http::Response::builder().status(answer.status());
        if let Some(headers) = whole.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await? {
            if body.len() + piece.len() > MAX_ANSWER {
                return Err(WireError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(whole.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Wire {
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, WireError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
