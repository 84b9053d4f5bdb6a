//! Failed requests: one rendering per wire dialect, chosen by type, so that answering in the wrong one does not compile.

use std::borrow::Cow;
use std::marker::PhantomData;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use warp::Reply;
use warp::reply::Response;

use crate::app::{Reason, Refusal};
use crate::ports::StoreError;

/// How one API family spells an error.
pub trait Dialect: 'static {
    /// The status for a class of refusal. Exhaustive, so that a new class must choose its answer.
    fn status(reason: Reason) -> StatusCode;

    /// The status for a request body that came too slowly.
    fn slow_body() -> StatusCode {
        StatusCode::REQUEST_TIMEOUT
    }

    /// The JSON body.
    fn body(status: StatusCode, code: &str, message: &str) -> Value;
}

/// Vault paths (serial-vault.md 2.1): permanent refusals are 400, everything temporary and every fault of ours 503,
/// since snapd sleeps for minutes to hours on 429 and 500 (decisions.md 2).
#[derive(Debug)]
pub struct VaultDialect;

impl Dialect for VaultDialect {
    fn status(reason: Reason) -> StatusCode {
        match reason {
            Reason::Invalid | Reason::Unauthenticated | Reason::NotFound | Reason::Conflict => {
                StatusCode::BAD_REQUEST
            }
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Locked | Reason::Unavailable | Reason::Internal => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn slow_body() -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn body(status: StatusCode, code: &str, message: &str) -> Value {
        json!({
            "success": false,
            "error_code": code,
            "error_subcode": "",
            "message": message,
            "StatusCode": status.as_u16(),
        })
    }
}

/// Device store paths (device-api.md 1.4): `error-list`; temporary is 503, which snapd retries.
#[derive(Debug)]
pub struct DeviceDialect;

impl Dialect for DeviceDialect {
    fn status(reason: Reason) -> StatusCode {
        match reason {
            Reason::Invalid => StatusCode::BAD_REQUEST,
            Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::Conflict => StatusCode::CONFLICT,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Locked | Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn body(_status: StatusCode, code: &str, message: &str) -> Value {
        json!({"error-list": [{"code": code, "message": message}]})
    }
}

/// Native paths, and everything no client of old defines.
#[derive(Debug)]
pub struct NativeDialect;

impl Dialect for NativeDialect {
    fn status(reason: Reason) -> StatusCode {
        match reason {
            Reason::Invalid => StatusCode::BAD_REQUEST,
            Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::Conflict => StatusCode::CONFLICT,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Locked => StatusCode::TOO_MANY_REQUESTS,
            Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn body(_status: StatusCode, code: &str, message: &str) -> Value {
        json!({"error-list": [{"code": code, "message": message}]})
    }
}

/// A failed request: status, stable code, and a message safe to show. Handlers return `Result<impl Reply, Fault<_>>`.
pub struct Fault<D> {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    dialect: PhantomData<fn() -> D>,
}

impl<D> std::fmt::Debug for Fault<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
    }
}

impl<D: Dialect> Fault<D> {
    /// A failure with this status, code and message.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl std::fmt::Display,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.to_string(),
            headers: Vec::new(),
            dialect: PhantomData,
        }
    }

    /// A failure of class `reason`, with the status the dialect has for it.
    pub fn of(reason: Reason, code: impl Into<Cow<'static, str>>, message: impl std::fmt::Display) -> Self {
        Self::new(D::status(reason), code, message)
    }

    /// A wrong request.
    pub fn invalid(code: impl Into<Cow<'static, str>>, message: impl std::fmt::Display) -> Self {
        Self::of(Reason::Invalid, code, message)
    }

    /// Temporary trouble: the cause goes to the log, the client is told to try again.
    pub fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::of(
            Reason::Unavailable,
            "unavailable",
            "cannot answer now: try again later",
        )
    }

    /// Our own fault: the cause goes to the log, not to the client.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::of(Reason::Internal, "server-error", "internal error")
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its code.
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl<D: Dialect> From<Refusal> for Fault<D> {
    fn from(refusal: Refusal) -> Self {
        Self::of(refusal.reason, refusal.code, refusal.message)
    }
}

impl<D: Dialect> From<StoreError> for Fault<D> {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl<D: Dialect> Reply for Fault<D> {
    fn into_response(self) -> Response {
        let body = D::body(self.status, &self.code, &self.message).to_string();
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status;
        // Exactly this: with a charset snapd does not read the message (serial-vault.md 2.1, device-api.md 1.3).
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: [Reason; 8] = [
        Reason::Invalid,
        Reason::Unauthenticated,
        Reason::NotFound,
        Reason::Conflict,
        Reason::TooLarge,
        Reason::Locked,
        Reason::Unavailable,
        Reason::Internal,
    ];

    #[test]
    fn no_vault_error_makes_a_device_sleep_for_temporary_trouble() {
        for reason in REASONS {
            let status = VaultDialect::status(reason);
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{reason:?}");
            assert_ne!(status, StatusCode::TOO_MANY_REQUESTS, "{reason:?}");
        }
        for reason in [Reason::Locked, Reason::Unavailable] {
            assert_eq!(VaultDialect::status(reason), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(DeviceDialect::status(reason), StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[test]
    fn errors_are_exactly_application_json() {
        let response = Fault::<VaultDialect>::invalid("invalid-nonce", "cannot x: y").into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
