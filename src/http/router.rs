//! Finds the endpoint of a request in a tree of path segments, so that routing costs the same however many endpoints
//! there are, and answers 404, 405 and broken bodies in the dialect of the path.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ALLOW, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tracing::Instrument;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::body::BodyError;
pub use super::connection::Watched;
use super::endpoint::Endpoint;
use super::fault::{
    DeviceDialect, Dialect, FactoryDialect, Fault, NativeDialect, PublisherDialect, VaultDialect,
};
use super::metrics::Metrics;
use super::path::BrandPrefix;
use super::{spans, web};
use crate::domain::ident::BrandId;
use crate::domain::vault::RESERVED;

/// Every answer carries it, and so do the log lines of the request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Sent on device answers; snapd reads it on some errors and on `HEAD /` (device-api.md 1.4, decisions.md 6).
const STORE_VERSION: HeaderName = HeaderName::from_static("snap-store-version");

/// What publisher clients may have in front of every path.
const GATEWAY: &str = "/publishergw";

/// The id of a request, for answers and the log.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// An API family: decides the dialect of errors and what every answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Registration (serial-vault.md).
    Vault,
    /// The device-facing store (device-api.md).
    Device,
    /// Publishing and brand administration by clients of old (publisher-api.md, admin-api.md). All of it is below
    /// `/publishergw` too.
    Publisher,
    /// What `fioctl` calls (waves-and-registration.md A.4).
    Factory,
    /// Everything else.
    Native,
    /// Pages for people.
    Web,
}

impl Family {
    /// The family of a path or path template.
    pub fn of(path: &str) -> Self {
        let mut segments = path.split('/').skip(1);
        match (
            segments.next().unwrap_or_default(),
            segments.next().unwrap_or_default(),
        ) {
            ("api", "v1") => match (segments.next(), segments.next(), segments.next()) {
                (Some("snaps"), Some("auth"), Some("request-id" | "devices")) => Self::Vault,
                _ => Self::Device,
            },
            ("v2", "metadata") => Self::Publisher,
            ("v2" | "download" | "", _) => Self::Device,
            ("dev", "api") | ("api", "v2") | ("unscanned-upload" | "publishergw", _) => Self::Publisher,
            ("v1", "tokens" | "snap" | "brand") => Self::Publisher,
            // A client leaves `snap` out of one path (admin-api.md 2.6).
            ("v1", _) if segments.next() == Some("collaborators") => Self::Publisher,
            ("ota", _) => Self::Factory,
            ("v1" | "_status", _) => Self::Vault,
            (first, "v1") if !RESERVED.contains(&first) => Self::Vault,
            // `snap-repair` leaves the version out where it is pointed at a server without one.
            ("repairs", _) => Self::Device,
            _ if web::is_page(path) => Self::Web,
            _ => Self::Native,
        }
    }

    /// A failure in the family's dialect.
    fn fault(self, status: StatusCode, code: &'static str, message: &str) -> Response {
        match self {
            Self::Vault => Fault::<VaultDialect>::new(status, code, message).into_response(),
            Self::Device => Fault::<DeviceDialect>::new(status, code, message).into_response(),
            Self::Publisher => Fault::<PublisherDialect>::new(status, code, message).into_response(),
            Self::Factory => Fault::<FactoryDialect>::new(status, code, message).into_response(),
            Self::Native => Fault::<NativeDialect>::new(status, code, message).into_response(),
            Self::Web => web::failed(status, message),
        }
    }

    fn slow_body(self) -> StatusCode {
        match self {
            Self::Vault => VaultDialect::slow_body(),
            Self::Device => DeviceDialect::slow_body(),
            Self::Publisher => PublisherDialect::slow_body(),
            Self::Factory => FactoryDialect::slow_body(),
            Self::Native | Self::Web => NativeDialect::slow_body(),
        }
    }

    /// What a rejection of an endpoint's filter means: it only ever says that the request does not fit the route.
    fn rejection(self, rejection: &Rejection) -> Response {
        if let Some(error) = rejection.find::<BodyError>() {
            let (status, code) = match error {
                BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "request-too-large"),
                BodyError::TooSlow | BodyError::Dribbled { .. } | BodyError::Endless(_) => {
                    (self.slow_body(), "request-timeout")
                }
                BodyError::Broken => (StatusCode::BAD_REQUEST, "invalid-request"),
            };
            return self.fault(status, code, &error.to_string());
        }
        if rejection.is_not_found() {
            return self.not_found();
        }
        self.fault(
            StatusCode::BAD_REQUEST,
            "invalid-request",
            "cannot read the request: a header or the query is wrong",
        )
    }

    fn not_found(self) -> Response {
        let code = match self {
            Self::Device => "not-found", // snapd compares (device-api.md 6)
            // As older vaults do (serial-vault.md 2): no call of theirs ended here.
            Self::Vault => {
                let text = "cannot find what was asked for: no such path\n";
                return super::reply::bytes(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text);
            }
            Self::Publisher | Self::Factory | Self::Native | Self::Web => "resource-not-found",
        };
        self.fault(
            StatusCode::NOT_FOUND,
            code,
            "cannot find what was asked for: no such path or object",
        )
    }
}

/// Two endpoints answer the same method on the same path, or a path cannot be routed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot route {method} {path}: {problem}")]
pub struct RouteError {
    method: String,
    path: String,
    problem: &'static str,
}

/// All endpoints, ready to answer.
pub struct Router {
    root: Node,
    leaves: Vec<Leaf>,
    metrics: Metrics,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Router({} endpoints)", self.leaves.len())
    }
}

/// The body of a request: from the wire, or whole (in-process calls and tests).
pub type RequestBody = Either<Watched<Incoming>, Full<Bytes>>;

type Handler = Box<dyn Fn(Request<RequestBody>) -> BoxFuture<'static, Response> + Send + Sync>;

struct Leaf {
    method: Method,
    path: &'static str,
    family: Family,
    view: &'static str,
    handler: Handler,
}

#[derive(Default)]
struct Node {
    literals: Vec<(&'static str, Node)>,
    variable: Option<Box<Node>>,
    /// Endpoints of a `{name...}` below here.
    rest: Vec<usize>,
    /// Endpoints of exactly this path.
    here: Vec<usize>,
}

impl Node {
    /// The node for the segments of a template, made where missing, and whether the template ends in `{name...}`.
    fn place(&mut self, template: &'static str) -> Result<(&mut Self, bool), &'static str> {
        let mut node = self;
        let mut segments = template
            .strip_prefix('/')
            .ok_or("the path does not start with /")?
            .split('/')
            .peekable();
        if template == "/" {
            return Ok((node, false));
        }
        while let Some(segment) = segments.next() {
            if segment.ends_with("...}") {
                return if segments.peek().is_none() {
                    Ok((node, true))
                } else {
                    Err("{name...} is not last")
                };
            }
            node = if segment.starts_with('{') {
                node.variable.get_or_insert_default()
            } else if segment.is_empty() {
                return Err("a segment is empty");
            } else {
                let at = match node.literals.binary_search_by(|(name, _)| (*name).cmp(segment)) {
                    Ok(at) => at,
                    Err(at) => {
                        node.literals.insert(at, (segment, Node::default()));
                        at
                    }
                };
                match node.literals.get_mut(at) {
                    Some((_, child)) => child,
                    None => return Err("the segment tree is broken"),
                }
            };
        }
        Ok((node, false))
    }

    /// The endpoints that fit a path, best first: exact segments win over variables, variables over the rest. All of
    /// them count, since `POST /keys/import` must not hide `GET /keys/{key}` for a key of that name.
    fn find(&self, mut segments: std::str::Split<'_, char>, found: &mut Vec<usize>) {
        let mut whole = segments.clone();
        let Some(segment) = segments.next() else {
            found.extend(&self.here);
            return;
        };
        if segment.is_empty() {
            return;
        }
        let exact = self
            .literals
            .binary_search_by(|(name, _)| (*name).cmp(segment))
            .ok();
        if let Some((_, child)) = exact.and_then(|at| self.literals.get(at)) {
            child.find(segments.clone(), found);
        }
        if let Some(child) = &self.variable {
            child.find(segments, found);
        }
        if !self.rest.is_empty() && whole.all(|segment| !segment.is_empty()) {
            found.extend(&self.rest);
        }
    }
}

impl Router {
    /// A router over `endpoints`; two of them on one method and path are an error.
    pub fn new(endpoints: Vec<Endpoint>, metrics: Metrics) -> Result<Self, RouteError> {
        let mut router = Self {
            root: Node::default(),
            leaves: Vec::new(),
            metrics,
        };
        for endpoint in endpoints {
            router.add(endpoint)?;
        }
        Ok(router)
    }

    /// The counters of this router.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn add(&mut self, endpoint: Endpoint) -> Result<(), RouteError> {
        let refuse = |problem| RouteError {
            method: endpoint.method.to_owned(),
            path: endpoint.path.to_owned(),
            problem,
        };
        let method =
            Method::from_bytes(endpoint.method.as_bytes()).map_err(|_| refuse("the method is not one"))?;
        let family = Family::of(endpoint.path);
        let number = self.leaves.len();
        let (node, is_rest) = self.root.place(endpoint.path).map_err(refuse)?;
        let there = if is_rest { &mut node.rest } else { &mut node.here };
        if there
            .iter()
            .filter_map(|other| self.leaves.get(*other))
            .any(|other| other.method == method)
        {
            return Err(refuse("another endpoint answers there"));
        }
        there.push(number);
        let recovered = endpoint.filter.recover(move |rejection: Rejection| {
            std::future::ready(Ok::<_, Infallible>(family.rejection(&rejection)))
        });
        let service = TowerToHyperService::new(warp::service(recovered));
        let handler: Handler = Box::new(move |request| {
            let answer = service.call(request);
            Box::pin(async move {
                match answer.await {
                    Ok(response) => response.into_response(),
                    Err(never) => match never {},
                }
            })
        });
        self.leaves.push(Leaf {
            method,
            path: endpoint.path,
            family,
            view: view(endpoint.method, endpoint.path),
            handler,
        });
        Ok(())
    }

    /// Answers one request. `id` names it in the answer and in the log.
    pub async fn answer(&self, mut request: Request<RequestBody>, id: RequestId) -> Response {
        let started = Instant::now();
        let method = request.method().clone();
        let found = self.find(&mut request);
        let (mut response, view, path, family) = match found {
            Ok(leaf) => {
                request.extensions_mut().insert(id.clone());
                let trace = spans::of_request(&method, leaf.path, &id.0, request.headers());
                let span = trace.in_scope(|| tracing::info_span!("request", id = &*id.0));
                let handled = (leaf.handler)(request).instrument(span);
                let response = handled.instrument(trace.clone()).await;
                spans::answered(&trace, response.status());
                (response, leaf.view, leaf.path, leaf.family)
            }
            Err(refused) => (refused.0, "none", "none", refused.1),
        };
        if matches!(family, Family::Device | Family::Vault) {
            response
                .headers_mut()
                .insert(STORE_VERSION, HeaderValue::from_static("55"));
        }
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let elapsed = started.elapsed();
        self.metrics.count(&method, response.status(), view, elapsed);
        tracing::info!(
            request.id = &*id.0, %method, endpoint = path, status = response.status().as_u16(),
            microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), "answered"
        );
        response
    }

    /// The endpoint of a request. A brand in front of a vault path is taken off, and [`GATEWAY`] in front of others, `HEAD` becomes `GET` where the path
    /// has no endpoint of its own for it (hyper leaves the body out).
    fn find(&self, request: &mut Request<RequestBody>) -> Result<&Leaf, Box<(Response, Family)>> {
        let path = request.uri().path();
        let mut family = Family::of(path);
        let mut numbers = self.lookup(path);
        let mut brand_prefix = None;
        let mut cut_to = None;
        if numbers.is_empty()
            && let Some(rest) = path.strip_prefix(GATEWAY)
            && rest.starts_with('/')
            && matches!(Family::of(rest), Family::Publisher | Family::Device)
        {
            numbers = self.lookup(rest);
            family = Family::of(rest);
            cut_to = Some(rest.len());
        }
        if numbers.is_empty()
            && family == Family::Vault
            && let Some((brand, rest)) = split_brand(path)
        {
            numbers = if Family::of(rest) == Family::Vault {
                self.lookup(rest)
            } else {
                numbers
            };
            cut_to = Some(rest.len());
            brand_prefix = Some(BrandPrefix(brand));
        }
        if numbers.is_empty() {
            return Err(Box::new((family.not_found(), family)));
        }
        let leaves = || numbers.iter().filter_map(|number| self.leaves.get(*number));
        let method = request.method();
        let leaf = leaves().find(|leaf| leaf.method == *method);
        let leaf = match leaf {
            None if *method == Method::HEAD => leaves().find(|leaf| leaf.method == Method::GET),
            other => other,
        };
        let Some(leaf) = leaf else {
            family = leaves().next().map_or(family, |leaf| leaf.family);
            return Err(Box::new((
                not_allowed(family, leaves().map(|leaf| leaf.method.as_str())),
                family,
            )));
        };
        if *method == Method::HEAD && leaf.method == Method::GET {
            request.extensions_mut().insert(HeadOnly);
        }
        *request.method_mut() = leaf.method.clone();
        if let Some(prefix) = brand_prefix {
            request.extensions_mut().insert(prefix);
        }
        if let Some(rest) = cut_to {
            cut_path(request.uri_mut(), rest);
        }
        Ok(leaf)
    }

    fn lookup(&self, path: &str) -> Vec<usize> {
        let mut found = Vec::new();
        if let Some(path) = path.strip_prefix('/') {
            match path.strip_suffix('/').unwrap_or(path) {
                "" if path.is_empty() => found.extend(&self.root.here),
                path => self.root.find(path.split('/'), &mut found),
            }
        }
        found
    }
}

fn not_allowed<'m>(family: Family, methods: impl Iterator<Item = &'m str>) -> Response {
    let mut allowed: BTreeSet<&str> = methods.collect();
    if allowed.contains("GET") {
        allowed.insert("HEAD");
    }
    let allowed = allowed.into_iter().collect::<Vec<_>>().join(", ");
    let message = format!("cannot do that with this path: it takes {allowed}");
    let mut response = family.fault(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", &message);
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// The brand in front of a path, and the path without it.
fn split_brand(path: &str) -> Option<(BrandId, &str)> {
    let rest = path.strip_prefix('/')?;
    let (brand, tail) = rest.split_at(rest.find('/')?);
    (!RESERVED.contains(&brand))
        .then(|| brand.parse().ok())
        .flatten()
        .map(|brand| (brand, tail))
}

/// Keeps the last `length` bytes of the path, and the query.
fn cut_path(uri: &mut Uri, length: usize) {
    let path = uri.path();
    let Some(path) = path.len().checked_sub(length).and_then(|from| path.get(from..)) else {
        return;
    };
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    if let Ok(path_and_query) = PathAndQuery::try_from(path_and_query) {
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query = Some(path_and_query);
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }
}

/// In the extensions of a request: its body is left out of the answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct HeadOnly;

/// The name of an endpoint in the metrics: what older vaults called it (serial-vault.md 12), else its path.
fn view(method: &str, path: &'static str) -> &'static str {
    match (method, path) {
        ("POST", "/v1/request-id") => "signRequestID",
        ("POST", "/v1/serial") => "signSerial",
        ("POST", "/v1/model") => "assertionModelAssertion",
        ("POST", "/v1/pivot") => "pivotModel",
        ("POST", "/v1/pivotmodel") => "pivotModelAssertion",
        ("POST", "/v1/pivotserial") => "pivotSerialAssertion",
        ("POST", "/v1/pivotuser") => "pivotSystemUserAssertion",
        _ => path,
    }
}
