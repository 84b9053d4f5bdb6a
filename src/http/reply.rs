//! Successful answers: JSON and assertion streams with the exact content types clients compare.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use warp::reply::Response;

use crate::domain::assertion::{Statement, Value as Header};

/// The media type of assertions, alone or in a stream.
pub const ASSERTION: &str = "application/x.ubuntu.assertion";

/// JSON with status 200 and exactly `application/json`.
pub fn json(value: &impl Serialize) -> Response {
    json_with(StatusCode::OK, value)
}

/// JSON with another status.
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => bytes(status, "application/json", body),
        Err(error) => {
            tracing::error!(%error, "cannot write an answer as JSON");
            bytes(StatusCode::SERVICE_UNAVAILABLE, "application/json", "{}")
        }
    }
}

/// A header of an assertion as JSON.
pub fn header(value: &Header) -> Value {
    match value {
        Header::Text(text) => text.as_str().into(),
        Header::List(items) => items.iter().map(header).collect(),
        Header::Map(map) => {
            let entries = map.iter().map(|(name, value)| (name.clone(), header(value)));
            Value::Object(entries.collect())
        }
    }
}

/// What is to be signed, as `snap sign` takes it: its type and its headers.
pub fn unsigned(statement: &Statement) -> Map<String, Value> {
    let kind = ("type".to_owned(), statement.kind().name().into());
    let headers = statement.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_owned(), header(value)));
    std::iter::once(kind).chain(headers).collect()
}

/// One or more assertions as a stream.
pub fn assertions(stream: impl Into<Bytes>) -> Response {
    bytes(StatusCode::OK, ASSERTION, stream)
}

/// Any body with its content type.
pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Status 204.
pub fn no_content() -> Response {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
