//! Routes as one line each: method, path, permission, summary, handler `async fn(App, Ctx, Input<B>) -> Result<T, Fault>`,
//! in the dialect of a family. `Ctx` ([`BrandCtx`], [`SnapCtx`], [`StoreCtx`], [`UnplacedCtx`], [`InstanceCtx`],
//! [`OwnCtx`]) is proof that the caller holds the permission; the body is read only after that.
//!
//! [`BrandCtx`]: crate::app::BrandCtx
//! [`SnapCtx`]: crate::app::SnapCtx
//! [`StoreCtx`]: crate::app::StoreCtx
//! [`UnplacedCtx`]: crate::app::UnplacedCtx
//! [`InstanceCtx`]: crate::app::InstanceCtx
//! [`OwnCtx`]: crate::app::OwnCtx

mod answer;
mod input;

pub use answer::{Answer, Created, Json, NoContent};
pub use input::{Body, Form, Input, List, Nothing, Raw, Streamed};

use std::marker::PhantomData;

use http::{HeaderMap, Method};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply as _};

use super::auth::{self, Presented};
use super::body::{self, Unread};
use super::endpoint::{Access, Endpoint, Routes};
use super::fault::{Dialect, Fault};
use super::query::{Query, query};
use super::serve::Peer;
use crate::app::{App, Authorized, Caller, NamedBy};
use crate::domain::access::Permission;

/// Makes endpoints that answer in the dialect `D`. A path may name its query parameters:
/// `/hallmark/v1/audit{?since,limit}`; a strict dialect refuses others. What the context is about comes from the path:
/// `{brand}`, `{snap}` (a name) or `{snap-id}`, `{store}`. In a strict dialect routes for a brand without `{brand}` take
/// it from the query; those for a snap or store let it be named there too.
pub struct Maker<D> {
    app: App,
    dialect: PhantomData<fn() -> D>,
}

impl<D> std::fmt::Debug for Maker<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maker").finish_non_exhaustive()
    }
}

impl<D: Dialect> Maker<D> {
    /// Endpoints on `app`.
    pub fn new(app: &App) -> Self {
        Self {
            app: app.clone(),
            dialect: PhantomData,
        }
    }

    /// `GET`.
    pub fn get<C, B, T, F, O>(
        &self,
        path: &'static str,
        needs: Permission,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        C: Authorized + 'static,
        B: Body,
        T: Answer,
        F: Fn(App, C, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        self.route(Method::GET, "GET", path, needs, summary, handler)
    }

    /// `POST`.
    pub fn post<C, B, T, F, O>(
        &self,
        path: &'static str,
        needs: Permission,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        C: Authorized + 'static,
        B: Body,
        T: Answer,
        F: Fn(App, C, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        self.route(Method::POST, "POST", path, needs, summary, handler)
    }

    /// `PUT`.
    pub fn put<C, B, T, F, O>(
        &self,
        path: &'static str,
        needs: Permission,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        C: Authorized + 'static,
        B: Body,
        T: Answer,
        F: Fn(App, C, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        self.route(Method::PUT, "PUT", path, needs, summary, handler)
    }

    /// `DELETE`.
    pub fn delete<C, B, T, F, O>(
        &self,
        path: &'static str,
        needs: Permission,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        C: Authorized + 'static,
        B: Body,
        T: Answer,
        F: Fn(App, C, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        self.route(Method::DELETE, "DELETE", path, needs, summary, handler)
    }

    /// `PATCH`.
    pub fn patch<C, B, T, F, O>(
        &self,
        path: &'static str,
        needs: Permission,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        C: Authorized + 'static,
        B: Body,
        T: Answer,
        F: Fn(App, C, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        self.route(Method::PATCH, "PATCH", path, needs, summary, handler)
    }

    /// `GET` for anybody.
    pub fn open_get<B, T, F, O>(&self, path: &'static str, summary: &'static str, handler: F) -> Endpoint
    where
        B: Body,
        T: Answer,
        F: Fn(App, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        self.open(Method::GET, "GET", path, summary, handler)
    }

    /// `POST` for anybody: log-in.
    pub fn open_post<B, T, F, O>(&self, path: &'static str, summary: &'static str, handler: F) -> Endpoint
    where
        B: Body,
        T: Answer,
        F: Fn(App, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        self.open(Method::POST, "POST", path, summary, handler)
    }

    fn open<B, T, F, O>(
        &self,
        method: Method,
        method_name: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        B: Body,
        T: Answer,
        F: Fn(App, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        let template = Template::new(path);
        let app = self.app.clone();
        let filter = request::<D>(method, template)
            .then(move |request: Request| {
                let (app, handler) = (app.clone(), handler.clone());
                async move {
                    let answer = async {
                        let input = Input::read(&app, request, template).await?;
                        handler(app, input).await
                    };
                    finish(answer.await)
                }
            })
            .boxed();
        Endpoint {
            method: method_name,
            path: template.path,
            access: Access::Open,
            summary,
            query: template.parameters(),
            body: B::shape(),
            filter,
        }
    }

    fn route<C, B, T, F, O>(
        &self,
        method: Method,
        method_name: &'static str,
        path: &'static str,
        needs: Permission,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        C: Authorized + 'static,
        B: Body,
        T: Answer,
        F: Fn(App, C, Input<D, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Result<T, Fault<D>>> + Send,
    {
        let template = Template {
            takes_brand: D::STRICT && C::NAMED_BY != NamedBy::Nothing,
            ..Template::new(path)
        };
        let app = self.app.clone();
        let filter: Routes = request::<D>(method, template)
            .then(move |request: Request| {
                let (app, handler) = (app.clone(), handler.clone());
                async move {
                    let answer = async {
                        let caller = Caller::identify(&app, request.presented.credential()?).await?;
                        let context: C = caller
                            .authorize(&app, needs, request.place::<D>(C::NAMED_BY, template)?)
                            .await?;
                        let input = Input::read(&app, request, template).await?;
                        handler(app, context, input).await
                    };
                    finish(answer.await)
                }
            })
            .boxed();
        Endpoint {
            method: method_name,
            path: template.path,
            access: Access::Needs(needs),
            summary,
            query: template.parameters(),
            body: B::shape(),
            filter,
        }
    }
}

/// A path with its variables, and the query parameters it takes.
#[derive(Clone, Copy, Debug)]
struct Template {
    path: &'static str,
    query: &'static str,
    takes_brand: bool,
}

impl Template {
    fn new(path: &'static str) -> Self {
        let (path, query) = path.split_once("{?").unwrap_or((path, ""));
        Self {
            path,
            query: query.trim_end_matches('}'),
            takes_brand: false,
        }
    }

    /// The names of all query parameters.
    fn parameters(self) -> Vec<&'static str> {
        let named = self.query.split(',').filter(|name| !name.is_empty());
        let in_path = self.path.contains("{brand}");
        named
            .chain((self.takes_brand && !in_path).then_some("brand"))
            .collect()
    }
}

/// A request whose body has not been read.
#[derive(Debug)]
struct Request {
    path: FullPath,
    query: Query,
    presented: Presented,
    peer: Option<Peer>,
    store: Option<String>,
    body: Unread,
}

fn request<D: Dialect>(
    method: Method,
    template: Template,
) -> impl Filter<Extract = (Request,), Error = Rejection> + Clone + Send + Sync + 'static {
    warp::path::full()
        .and(warp::method())
        .and_then(move |path: FullPath, actual: Method| {
            let fits = actual == method && input::variables(template.path, path.as_str()).is_some();
            std::future::ready(if fits {
                Ok(path)
            } else {
                Err(warp::reject::not_found())
            })
        })
        .and(query())
        .and(auth::presented::<D>())
        .and(warp::ext::optional::<Peer>())
        .and(warp::header::headers_cloned())
        .and(body::unread())
        .map(|path, query, presented, peer, headers: HeaderMap, body| Request {
            path,
            query,
            presented,
            peer,
            store: named_store(&headers),
            body,
        })
}

/// The store that a header names, in both spellings (device-api.md 1.2). What is no text names one that cannot be.
fn named_store(headers: &HeaderMap) -> Option<String> {
    let mut named = ["snap-device-store", "x-ubuntu-store"].into_iter();
    let value = named.find_map(|name| headers.get(name))?;
    let text = value.to_str().unwrap_or("-").trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn finish<D: Dialect, T: Answer>(outcome: Result<T, Fault<D>>) -> Response {
    match outcome {
        Ok(answer) => answer.into_answer(),
        Err(fault) => auth::challenge(fault).into_response(),
    }
}
