//! HTTP to the bucket: our own `reqwest` with the one crypto provider, and how long it may take.
//!
//! `object_store` repeats what failed for a moment (5xx, 429, connections that break or time out), with growing pauses; here
//! is decided what counts as such.

use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use reqwest::redirect::Policy;

/// Connections to the bucket.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// For what is read: it may take as long as something comes.
    reading: reqwest::Client,
    /// For everything else: it has to be over in time.
    writing: reqwest::Client,
    patience: Duration,
    slowest: u64,
}

impl Connection {
    /// `patience` is for connecting, for the first word of an answer, and for every next piece of it; what is sent gets more, by
    /// the bytes a second that are the `slowest`.
    pub(super) fn new(patience: Duration, slowest: u64, plain: bool) -> Result<Self, reqwest::Error> {
        // Fails only when a provider is installed already, which is as good.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = || {
            let builder = reqwest::Client::builder()
                .connect_timeout(patience)
                .redirect(Policy::none())
                .user_agent(concat!("hallmark/", env!("CARGO_PKG_VERSION")));
            if plain {
                // Plain HTTP needs no certificates: do not insist on a trust store.
                builder.tls_certs_only([])
            } else {
                builder
            }
        };
        Ok(Self {
            reading: client().read_timeout(patience).build()?,
            writing: client().build()?,
            patience,
            slowest: slowest.max(1),
        })
    }
}

impl HttpConnector for Connection {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connection {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = url::Url::parse(&parts.uri.to_string())
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let length = body.content_length() as u64;
        let mut sent = reqwest::Request::new(parts.method, url);
        *sent.headers_mut() = parts.headers;
        let client = if *sent.method() == Method::GET {
            &self.reading
        } else {
            *sent.timeout_mut() = Some(self.patience + Duration::from_secs(length / self.slowest));
            &self.writing
        };
        *sent.body_mut() = Some(reqwest::Body::wrap(body));
        let answer = client.execute(sent).await.map_err(broken)?;
        let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        let body = HttpResponseBody::new(body.map_err(broken));
        Ok(HttpResponse::from_parts(parts, body))
    }
}

/// A connection that did not bring an answer. The address is not repeated.
#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` takes")]
fn broken(error: reqwest::Error) -> HttpError {
    let (kind, what) = if error.is_timeout() {
        (HttpErrorKind::Timeout, "it does not answer in time".to_owned())
    } else {
        let kind = if error.is_connect() {
            HttpErrorKind::Connect
        } else {
            HttpErrorKind::Interrupted
        };
        // The innermost reason says most.
        let mut reason = error.source();
        while let Some(inner) = reason.and_then(std::error::Error::source) {
            reason = Some(inner);
        }
        let what = reason.map_or_else(|| "the connection broke".to_owned(), ToString::to_string);
        (kind, what)
    };
    HttpError::new(kind, std::io::Error::other(what))
}
