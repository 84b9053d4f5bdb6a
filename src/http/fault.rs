//! Failed requests: one rendering per wire dialect, chosen by type, so that answering in the wrong one does not compile.

use std::borrow::Cow;
use std::marker::PhantomData;

use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use warp::Reply;
use warp::reply::Response;

use super::auth::{self, Presented};
use crate::app::{Reason, Refusal, TokenLimit};
use crate::ports::StoreError;

/// How one API family spells an error.
pub trait Dialect: 'static {
    /// Spoken by our own clients only: query parameters that a path does not name are refused.
    const STRICT: bool = false;

    /// The status for a class of refusal. Exhaustive, so that a new class must choose its answer.
    fn status(reason: Reason) -> StatusCode;

    /// The status for a request body that came too slowly.
    fn slow_body() -> StatusCode {
        StatusCode::REQUEST_TIMEOUT
    }

    /// The JSON body; `problems` holds one or more.
    fn body(status: StatusCode, problems: &[Problem]) -> Value;

    /// The answer to a refusal.
    fn refusal(refusal: Refusal) -> Fault<Self>
    where
        Self: Sized,
    {
        Fault::of(refusal.reason, refusal.code, refusal.message)
    }

    /// The credential, where clients of the dialect put it.
    fn presented(headers: &HeaderMap) -> Presented {
        auth::read(headers)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Stable, for programs.
    pub code: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// What some dialects say besides (`extra`).
    pub extra: Map<String, Value>,
}

fn error_list(problems: &[Problem]) -> Value {
    let list: Vec<Value> = problems
        .iter()
        .map(|problem| json!({"code": problem.code, "message": problem.message}))
        .collect();
    json!({ "error-list": list })
}

/// Vault paths (serial-vault.md 2.1): permanent refusals are 400, everything temporary and every fault of ours 503,
/// since snapd sleeps for minutes to hours on 429 and 500 (decisions.md 2).
#[derive(Debug)]
pub struct VaultDialect;

impl Dialect for VaultDialect {
    fn status(reason: Reason) -> StatusCode {
        match reason {
            Reason::Invalid
            | Reason::Unauthenticated
            | Reason::NotFound
            | Reason::Forbidden
            | Reason::Conflict => StatusCode::BAD_REQUEST,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Locked | Reason::Unavailable | Reason::Internal => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn slow_body() -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn body(status: StatusCode, problems: &[Problem]) -> Value {
        let problem = problems.first();
        json!({
            "success": false,
            "error_code": problem.map_or("", |problem| &problem.code),
            "error_subcode": "",
            "message": problem.map_or("", |problem| &problem.message),
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
            Reason::Forbidden => StatusCode::FORBIDDEN,
            Reason::Conflict => StatusCode::CONFLICT,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Locked | Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn body(_status: StatusCode, problems: &[Problem]) -> Value {
        error_list(problems)
    }
}

/// Native paths, and everything no client of old defines.
#[derive(Debug)]
pub struct NativeDialect;

impl Dialect for NativeDialect {
    const STRICT: bool = true;

    fn status(reason: Reason) -> StatusCode {
        match reason {
            Reason::Invalid => StatusCode::BAD_REQUEST,
            Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::Forbidden => StatusCode::FORBIDDEN,
            Reason::Conflict => StatusCode::CONFLICT,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Locked => StatusCode::TOO_MANY_REQUESTS,
            Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn body(_status: StatusCode, problems: &[Problem]) -> Value {
        error_list(problems)
    }
}

/// Paths of publisher and brand administration clients (publisher-api.md 2.1, admin-api.md 2.3). Some clients read
/// `error_list`, some `error-list`; an entry has to have `extra`, and the body has to be an object.
#[derive(Debug)]
pub struct PublisherDialect;

impl Dialect for PublisherDialect {
    fn status(reason: Reason) -> StatusCode {
        NativeDialect::status(reason)
    }

    fn body(_status: StatusCode, problems: &[Problem]) -> Value {
        let list: Vec<Value> = problems
            .iter()
            .map(|problem| {
                // Older clients look for some members in the entry itself.
                let mut entry = problem.extra.clone();
                entry.insert("code".to_owned(), (*problem.code).into());
                entry.insert("message".to_owned(), problem.message.as_str().into());
                entry.insert("extra".to_owned(), problem.extra.clone().into());
                entry.into()
            })
            .collect();
        json!({ "error_list": list, "error-list": list })
    }

    /// What only the limits of a token forbid is told apart: its owner can make another token.
    fn refusal(refusal: Refusal) -> Fault<Self> {
        let Some(limit) = refusal.limit else {
            return Fault::of(refusal.reason, refusal.code, refusal.message);
        };
        let fault = |what: &str, permission: &str| {
            let message =
                format!("cannot do this with this token: {what}; log in again or make another token");
            Fault::new(StatusCode::FORBIDDEN, "macaroon-permission-required", message)
                .with_member("permission", permission)
        };
        match *limit {
            TokenLimit::Permission(permission) => {
                let what = format!("it lacks the permission {}", permission.name());
                fault(&what, permission.name())
            }
            TokenLimit::Package => fault("it is for other snaps", "package"),
            TokenLimit::Store => fault("it is for other stores", "store"),
            TokenLimit::Channels(patterns) => {
                let what = format!("it is only for the channels {}", patterns.join(", "));
                fault(&what, "channel").with_member("channels", patterns)
            }
        }
    }
}

/// Paths of `fioctl` (waves-and-registration.md A.6): a message, and a map the client prints line by line. What was
/// understood and cannot be done is told apart from what could not be read.
#[derive(Debug)]
pub struct FactoryDialect;

impl Dialect for FactoryDialect {
    fn status(reason: Reason) -> StatusCode {
        NativeDialect::status(reason)
    }

    fn body(_status: StatusCode, problems: &[Problem]) -> Value {
        let mut errors = Map::new();
        let mut problems = problems.iter();
        let first = problems.next();
        errors.insert("code".to_owned(), first.map_or("", |first| &first.code).into());
        errors.extend(problems.map(|problem| (problem.code.to_string(), problem.message.as_str().into())));
        json!({"message": first.map_or("", |first| &first.message), "errors": errors})
    }

    fn refusal(refusal: Refusal) -> Fault<Self> {
        let status = match refusal.reason {
            Reason::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            other => Self::status(other),
        };
        Fault::new(status, refusal.code, refusal.message)
    }

    fn presented(headers: &HeaderMap) -> Presented {
        auth::of_fioctl(headers)
    }
}

/// A failed request: status, stable code, and a message safe to show. Handlers return `Result<impl Reply, Fault<_>>`.
pub struct Fault<D> {
    status: StatusCode,
    problems: Vec<Problem>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    dialect: PhantomData<fn() -> D>,
}

impl<D> std::fmt::Debug for Fault<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, problems, .. } = self;
        write!(f, "{status}")?;
        problems
            .iter()
            .try_for_each(|Problem { code, message, .. }| write!(f, " {code}: {message}"))
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
            problems: vec![Problem {
                code: code.into(),
                message: message.to_string(),
                extra: Map::new(),
            }],
            members: Map::new(),
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

    /// Says after how many seconds to try again (`Retry-After`), where the answer is 429: devices sleep long enough on
    /// what they get.
    #[must_use]
    pub fn wait(mut self, seconds: Option<u32>) -> Self {
        if let (Some(seconds), StatusCode::TOO_MANY_REQUESTS) = (seconds, self.status) {
            self.headers.push((RETRY_AFTER, seconds.into()));
        }
        self
    }

    /// One more thing that is wrong.
    #[must_use]
    pub fn and(mut self, code: impl Into<Cow<'static, str>>, message: impl std::fmt::Display) -> Self {
        self.problems.push(Problem {
            code: code.into(),
            message: message.to_string(),
            extra: Map::new(),
        });
        self
    }

    /// Says `name` in `extra` of the last problem, and, for older clients, in the problem itself.
    #[must_use]
    pub fn with_extra(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some(problem) = self.problems.last_mut() {
            problem.extra.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Says `name` beside the list of problems.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its code.
    pub fn code(&self) -> &str {
        self.problems.first().map_or("", |problem| &problem.code)
    }
}

impl<D: Dialect> From<Refusal> for Fault<D> {
    fn from(refusal: Refusal) -> Self {
        let seconds = refusal.retry_after;
        D::refusal(refusal).wait(seconds)
    }
}

impl<D: Dialect> From<StoreError> for Fault<D> {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl<D: Dialect> Reply for Fault<D> {
    fn into_response(self) -> Response {
        let mut body = D::body(self.status, &self.problems);
        if let Value::Object(body) = &mut body {
            body.extend(self.members);
        }
        let mut response = Response::new(body.to_string().into());
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

    #[test]
    fn how_long_to_wait_is_told_where_the_answer_is_429() {
        fn told<D: Dialect>(reason: Reason) -> Option<String> {
            let refusal = Refusal::new(reason, "too-many-failures", "cannot do this").after(61);
            let response = Fault::<D>::from(refusal).into_response();
            let value = response.headers().get(RETRY_AFTER)?;
            Some(value.to_str().unwrap().to_owned())
        }
        assert_eq!(told::<NativeDialect>(Reason::Locked).as_deref(), Some("61"));
        assert_eq!(told::<PublisherDialect>(Reason::Locked).as_deref(), Some("61"));
        assert_eq!(told::<PublisherDialect>(Reason::Conflict), None);
        // Devices get 503 for it, and wait long enough by themselves.
        assert_eq!(told::<VaultDialect>(Reason::Locked), None);
        assert_eq!(told::<DeviceDialect>(Reason::Locked), None);
    }

    const REASONS: [Reason; 9] = [
        Reason::Forbidden,
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
    fn publisher_errors_are_listed_twice_and_carry_extras_everywhere_clients_look() {
        let fault = Fault::<PublisherDialect>::invalid("conflict", "cannot x: y")
            .with_extra("name", "title")
            .and("invalid", "cannot x: z")
            .with_member("retry_after", 3);
        let body = PublisherDialect::body(fault.status(), &fault.problems);
        assert_eq!(body["error_list"], body["error-list"]);
        assert_eq!(
            body["error-list"],
            json!([
                {"code": "conflict", "message": "cannot x: y", "name": "title", "extra": {"name": "title"}},
                {"code": "invalid", "message": "cannot x: z", "extra": {}},
            ])
        );
        assert_eq!(fault.members["retry_after"], 3);
    }

    #[test]
    fn fioctl_is_told_a_message_and_a_map() {
        let fault =
            Fault::<FactoryDialect>::invalid("uuid-mismatch", "cannot x: y").and("other", "cannot x: z");
        assert_eq!(fault.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            FactoryDialect::body(fault.status(), &fault.problems),
            json!({"message": "cannot x: y", "errors": {"code": "uuid-mismatch", "other": "cannot x: z"}})
        );
        for reason in REASONS {
            let refused =
                Fault::<FactoryDialect>::from(Refusal::new(reason, "some-code", "cannot x: y".to_owned()));
            let native = Fault::<NativeDialect>::of(reason, "some-code", "cannot x: y");
            let expected = match reason {
                Reason::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
                _ => native.status(),
            };
            assert_eq!(
                (refused.status(), refused.code()),
                (expected, "some-code"),
                "{reason:?}"
            );
        }
    }

    #[test]
    fn what_only_a_token_forbids_is_absent_but_where_clients_know_the_word() {
        use crate::domain::access::Permission;
        let refusal =
            Refusal::not_found("cannot x: absent").limited(TokenLimit::Permission(Permission::SnapRelease));
        let native = Fault::<NativeDialect>::from(refusal.clone());
        assert_eq!(
            (native.status().as_u16(), native.code()),
            (404, "resource-not-found")
        );
        let publisher = Fault::<PublisherDialect>::from(refusal);
        assert_eq!(
            (publisher.status().as_u16(), publisher.code()),
            (403, "macaroon-permission-required")
        );
    }

    #[test]
    fn channels_that_a_token_is_for_are_told_where_an_older_client_looks() {
        let limit = TokenLimit::Channels(vec!["edge".to_owned(), "2.*/beta".to_owned()]);
        let fault = Fault::<PublisherDialect>::from(Refusal::not_found("cannot x: absent").limited(limit));
        assert_eq!(fault.status(), StatusCode::FORBIDDEN);
        assert_eq!(fault.members["permission"], "channel");
        assert_eq!(fault.members["channels"], json!(["edge", "2.*/beta"]));
    }

    #[test]
    fn errors_are_exactly_application_json() {
        let response = Fault::<VaultDialect>::invalid("invalid-nonce", "cannot x: y").into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
