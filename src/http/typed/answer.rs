//! What handlers answer with.

use http::StatusCode;
use serde::Serialize;
use warp::reply::Response;

use crate::http::reply;

/// Something a handler can answer with.
pub trait Answer: Send {
    /// As a response.
    fn into_answer(self) -> Response;
}

/// JSON: as an answer status 200; as a request body read strictly.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

/// JSON with status 201: something was made.
#[derive(Clone, Debug)]
pub struct Created<T>(pub T);

/// Status 204: done, nothing to say.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl<T: Serialize + Send> Answer for Json<T> {
    fn into_answer(self) -> Response {
        reply::json(&self.0)
    }
}

impl<T: Serialize + Send> Answer for Created<T> {
    fn into_answer(self) -> Response {
        reply::json_with(StatusCode::CREATED, &self.0)
    }
}

impl Answer for NoContent {
    fn into_answer(self) -> Response {
        reply::no_content()
    }
}

/// For assertions, CSV, streams.
impl Answer for Response {
    fn into_answer(self) -> Response {
        self
    }
}
