//! Endpoints as data: method, path, who may call, one line of description, and the filter that answers.
//! The router, the API description and the authorisation tests all read the same list.

use std::convert::Infallible;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::domain::access::Permission;

/// A boxed filter that answers. Every endpoint is boxed: a chain of unboxed `or`s stops compiling at about thirty.
pub type Routes = BoxedFilter<(Response,)>;

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, or whoever presents what the request itself carries (an API key, a log-in).
    Open,
    /// A device with a session (device-api.md 3).
    Device,
    /// An account with this permission for the brand in question.
    Needs(Permission),
}

/// What a request body looks like, for the API description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyShape {
    /// Its media type.
    pub media: &'static str,
    /// The fields of a JSON object, where it is one.
    pub fields: &'static [&'static str],
}

impl BodyShape {
    /// Assertions, one or a stream of them.
    pub const ASSERTIONS: Self = Self {
        media: "application/x.ubuntu.assertion",
        fields: &[],
    };
}

/// One method on one path.
#[derive(Clone)]
pub struct Endpoint {
    /// `GET`, `POST`, `PUT`, `DELETE`... A `GET` answers `HEAD` too, unless the path has an endpoint of its own for it.
    pub method: &'static str,
    /// The path with its variables: `/v2/assertions/{type}/{key...}`. `{name}` is one segment, `{name...}` (last only)
    /// one or more. Both spellings, with and without a final slash, reach it.
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// One line for the API description: starts with a capital letter, no final period.
    pub summary: &'static str,
    /// The query parameters it takes.
    pub query: Vec<&'static str>,
    /// The body it takes, if any.
    pub body: Option<BodyShape>,
    /// What answers. It matches the path itself again (`warp::path!`) to get at the variables.
    pub filter: Routes,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.access)
    }
}

impl Endpoint {
    /// A `GET` endpoint (and `HEAD`).
    pub fn get(path: &'static str, access: Access, summary: &'static str, filter: Routes) -> Self {
        Self {
            method: "GET",
            path,
            access,
            summary,
            query: Vec::new(),
            body: None,
            filter,
        }
    }

    /// A `POST` endpoint.
    pub fn post(path: &'static str, access: Access, summary: &'static str, filter: Routes) -> Self {
        Self {
            method: "POST",
            path,
            access,
            summary,
            query: Vec::new(),
            body: None,
            filter,
        }
    }

    /// A `PUT` endpoint.
    pub fn put(path: &'static str, access: Access, summary: &'static str, filter: Routes) -> Self {
        Self {
            method: "PUT",
            path,
            access,
            summary,
            query: Vec::new(),
            body: None,
            filter,
        }
    }

    /// A `DELETE` endpoint.
    pub fn delete(path: &'static str, access: Access, summary: &'static str, filter: Routes) -> Self {
        Self {
            method: "DELETE",
            path,
            access,
            summary,
            query: Vec::new(),
            body: None,
            filter,
        }
    }
}

impl Endpoint {
    /// The same endpoint, which takes these query parameters.
    pub fn with_query(mut self, query: Vec<&'static str>) -> Self {
        self.query = query;
        self
    }

    /// The same endpoint, which takes such a body.
    pub fn with_body(mut self, body: Option<BodyShape>) -> Self {
        self.body = body;
        self
    }
}

/// Hands a handler a clone of `value`: `.and(with(app.clone()))`.
pub fn with<T: Clone + Send + Sync + 'static>(
    value: T,
) -> impl Filter<Extract = (T,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::any().map(move || value.clone())
}
