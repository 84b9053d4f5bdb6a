//! Routes of pages as one line each: path, permission, summary, handler `async fn(Visit<Ctx>) -> Outcome`. `Ctx` is
//! proof that the caller holds the permission. Who is not logged in is sent to the sign-in page; what is forbidden
//! answers like what is not there. A form is read only after that, and counts only with the mark of this log-in.

mod done;
mod refused;

pub(super) use done::done_at;
pub(in crate::http) use refused::failed;
pub(super) use refused::{absent, not_ours, refused, status_of};

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection};

use self::done::done;
use super::cookies::from_our_pages;
use super::form::{Form, MAX_FORM};
use super::frame::{Frame, Page, of_brand, secure};
use super::multipart::Parts;
use super::parts::with_query;
use super::session::Session;
use super::template::variables;
use crate::app::{
    App, Authorized, BrandCtx, InstanceCtx, NamedBy, OwnCtx, Place, Reason, Refusal, SnapCtx, StoreCtx,
};
use crate::domain::access::Permission;
use crate::domain::ident::BrandId;
use crate::http::body::{self, BodyError, Unread};
use crate::http::endpoint::{Access, BodyShape, Endpoint, Routes};
use crate::http::query::{Query, query};
use crate::http::reply;
use crate::http::router::RequestId;
use crate::http::serve::Peer;

/// What a handler answers with.
#[derive(Debug)]
pub(super) enum Answer {
    /// A page.
    Page(Page),
    /// On to another page of ours, by `GET`.
    On(String),
    /// Something else.
    Other(Box<Response>),
}

impl From<Page> for Answer {
    fn from(page: Page) -> Self {
        Self::Page(page)
    }
}

/// What a handler returns; refusals become pages.
pub(super) type Outcome = Result<Answer, Refusal>;

/// A context that pages can be about.
pub(super) trait About: Authorized + 'static {
    /// The brand, where it is about one or something of one.
    fn brand_id(&self) -> Option<&BrandId> {
        None
    }
}

impl About for OwnCtx {}
impl About for InstanceCtx {}
impl About for BrandCtx {
    fn brand_id(&self) -> Option<&BrandId> {
        Some(self.brand())
    }
}
impl About for StoreCtx {
    fn brand_id(&self) -> Option<&BrandId> {
        Some(self.brand().brand())
    }
}
impl About for SnapCtx {
    fn brand_id(&self) -> Option<&BrandId> {
        Some(self.brand().brand())
    }
}

/// What comes with a request beside its path.
pub(super) trait Brought: Sized + Send + 'static {
    /// Its media type; none = nothing is sent.
    const MEDIA: Option<&'static str>;

    /// Reads it; a form that does not carry the mark is [`Stop::NotOurs`].
    fn read(
        body: Unread,
        headers: &HeaderMap,
        session: &Session,
    ) -> impl Future<Output = Result<Self, Stop>> + Send;
}

impl Brought for () {
    const MEDIA: Option<&'static str> = None;

    async fn read(_body: Unread, _headers: &HeaderMap, _session: &Session) -> Result<Self, Stop> {
        Ok(())
    }
}

impl Brought for Form {
    const MEDIA: Option<&'static str> = Some("application/x-www-form-urlencoded");

    async fn read(body: Unread, headers: &HeaderMap, session: &Session) -> Result<Self, Stop> {
        let form = form(body, headers).await?;
        if session.mark.fits(form.raw("mark")) {
            Ok(form)
        } else {
            Err(Stop::NotOurs)
        }
    }
}

impl Brought for Parts {
    const MEDIA: Option<&'static str> = Some("multipart/form-data");

    async fn read(body: Unread, headers: &HeaderMap, session: &Session) -> Result<Self, Stop> {
        let mut parts = Parts::begin(body, headers)?;
        // The mark is the first field of our form, so that nothing of a foreign one is taken in.
        match parts.next_text().await? {
            Some((name, text)) if name == "mark" && session.mark.fits(&text) => Ok(parts),
            Some(_) | None => Err(Stop::NotOurs),
        }
    }
}

/// A form that has the right media type.
pub(super) async fn form(body: Unread, headers: &HeaderMap) -> Result<Form, Stop> {
    let media = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next());
    if !media.is_some_and(|media| {
        media
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }) {
        return Err(Stop::NotOurs);
    }
    Ok(Form::read(&body.up_to(MAX_FORM).await?))
}

/// Why there is no answer of a handler's.
#[derive(Debug)]
pub(super) enum Stop {
    /// Refused: by the edge, or by a use case.
    Refused(Refusal),
    /// The form is not one of ours, or is of an earlier log-in.
    NotOurs,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BodyError> for Stop {
    fn from(error: BodyError) -> Self {
        let reason = match error {
            BodyError::TooLarge { .. } => Reason::TooLarge,
            BodyError::TooSlow | BodyError::Dribbled { .. } | BodyError::Endless(_) | BodyError::Broken => {
                Reason::Invalid
            }
        };
        Self::Refused(Refusal::new(reason, "invalid-request", error.to_string()))
    }
}

/// A request to a page, with leave for it.
#[derive(Debug)]
pub(super) struct Visit<C, B = ()> {
    /// The instance.
    pub app: App,
    /// Leave.
    pub ctx: C,
    /// Who.
    pub session: Session,
    /// What came with it.
    pub body: B,
    /// From where; none in process.
    pub peer: Option<IpAddr>,
    /// Leave in the whole brand the page is about, for who has more than a role in one of its stores.
    pub whole: Option<BrandCtx>,
    variables: Vec<(&'static str, String)>,
    query: Query,
}

impl<C, B> Visit<C, B> {
    /// The variable `name` of the path. What cannot be such a thing does not exist.
    pub(super) fn variable<T>(&self, name: &str) -> Result<T, Refusal>
    where
        T: FromStr,
        T::Err: Display,
    {
        let found = self.variables.iter().find(|(key, _)| *key == name);
        found
            .map_or("", |(_, text)| text.as_str())
            .parse()
            .map_err(|error| Refusal::not_found(format!("cannot find it: {error}")))
    }

    /// The query parameter `name`; empty where it is missing or given twice.
    pub(super) fn query(&self, name: &str) -> &str {
        self.query.once(name).trim()
    }

    /// The query parameter `name` as `T`; none where it is empty.
    pub(super) fn asked<T>(&self, name: &str, what: &str) -> Result<Option<T>, Refusal>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.query(name);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error| {
            Refusal::invalid("invalid-request", format!("cannot look for this {what}: {error}"))
        })
    }

    /// The page below one of the brand's, where the caller may see that: roles in one store do not open it.
    pub(super) fn below_brand(&self, page: Page, opens: Permission, segment: &str, name: &str) -> Page {
        match &self.whole {
            Some(brand) if brand.may(opens) => page.below(of_brand(brand.brand(), segment), name),
            Some(_) | None => page,
        }
    }

    /// The number of the page of a list.
    pub(super) fn page(&self) -> Option<usize> {
        self.query("page").parse().ok()
    }
}

/// Makes endpoints of pages.
#[derive(Clone, Debug)]
pub(super) struct Web {
    app: App,
}

impl Web {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    /// A page.
    pub(super) fn page<C, F, O>(
        &self,
        path: &'static str,
        needs: Permission,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        C: About,
        F: Fn(Visit<C>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Outcome> + Send,
    {
        Endpoint::get(
            path,
            Access::Needs(needs),
            summary,
            self.filter(Method::GET, path, needs, handler),
        )
    }

    /// Something a form does. It answers with the page to go on with.
    pub(super) fn act<C, B, F, O>(
        &self,
        path: &'static str,
        needs: Permission,
        summary: &'static str,
        handler: F,
    ) -> Endpoint
    where
        C: About,
        B: Brought,
        F: Fn(Visit<C, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Outcome> + Send,
    {
        let body = B::MEDIA.map(|media| BodyShape { media, fields: &[] });
        Endpoint::post(
            path,
            Access::Needs(needs),
            summary,
            self.filter(Method::POST, path, needs, handler),
        )
        .with_body(body)
    }

    fn filter<C, B, F, O>(&self, method: Method, path: &'static str, needs: Permission, handler: F) -> Routes
    where
        C: About,
        B: Brought,
        F: Fn(Visit<C, B>) -> O + Clone + Send + Sync + 'static,
        O: Future<Output = Outcome> + Send,
    {
        let app = self.app.clone();
        request(method, path)
            .then(move |request: Request| {
                let (app, handler) = (app.clone(), handler.clone());
                async move { answer(app, request, path, needs, handler).await }
            })
            .boxed()
    }
}

/// A request whose body has not been read.
#[derive(Debug)]
pub(super) struct Request {
    pub method: Method,
    pub path: FullPath,
    pub query: Query,
    pub raw_query: String,
    pub headers: HeaderMap,
    pub peer: Option<Peer>,
    pub id: Option<RequestId>,
    pub body: Unread,
}

impl Request {
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.peer {
            Some(Peer::Remote(address)) => Some(address),
            Some(Peer::Local) | None => None,
        }
    }

    /// The query parameter `name`; empty where it is missing or given twice.
    pub(super) fn asked(&self, name: &str) -> &str {
        self.query.once(name)
    }
}

/// The request, where method and path fit.
pub(super) fn request(
    method: Method,
    template: &'static str,
) -> impl Filter<Extract = (Request,), Error = Rejection> + Clone + Send + Sync + 'static {
    warp::path::full()
        .and(warp::method())
        .and_then(move |path: FullPath, actual: Method| {
            let fits = actual == method && variables(template, path.as_str()).is_some();
            std::future::ready(if fits {
                Ok((path, actual))
            } else {
                Err(warp::reject::not_found())
            })
        })
        .untuple_one()
        .and(query())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::ext::optional::<RequestId>())
        .and(body::unread())
        .map(
            |path, method, query, raw_query, headers, peer, id, body| Request {
                method,
                path,
                query,
                raw_query,
                headers,
                peer,
                id,
                body,
            },
        )
}

async fn answer<C, B, F, O>(
    app: App,
    request: Request,
    template: &'static str,
    needs: Permission,
    handler: F,
) -> Response
where
    C: About,
    B: Brought,
    F: Fn(Visit<C, B>) -> O,
    O: Future<Output = Outcome> + Send,
{
    let id = request.id.clone();
    let path = request.path.as_str().to_owned();
    let session = match Session::open(&app, &request.headers).await {
        Ok(session) => session,
        Err(refusal) if refusal.reason == Reason::Unauthenticated => return to_sign_in(&request),
        Err(refusal) => return refused(Frame::default(), &refusal, id.as_ref()),
    };
    let frame = Frame {
        session: Some(&session),
        brand: None,
        path: &path,
        done: done(&request.query),
    };
    if request.method == Method::POST && !from_our_pages(&app, &request.headers) {
        return not_ours(frame);
    }
    let found = variables(template, request.path.as_str()).unwrap_or_default();
    let ctx: C = match leave(&app, &session, needs, &found).await {
        Ok(ctx) => ctx,
        Err(refusal) if refusal.reason == Reason::NotFound => return absent(frame),
        Err(refusal) => return refused(frame, &refusal, id.as_ref()),
    };
    // What the frame shows is what the caller may do in the whole brand; a page may be about a part of it.
    let (seen, mut brand) = (session.clone(), None);
    if let Some(id) = ctx.brand_id() {
        let leave = session.authorize::<BrandCtx>(&app, Permission::BrandRead, Place::Brand(id.clone()));
        brand = leave.await.ok();
    }
    let frame = Frame {
        session: Some(&seen),
        brand: brand.as_ref(),
        ..frame
    };
    let peer = request.address();
    let outcome = async {
        let body = B::read(request.body, &request.headers, &session).await?;
        let visit = Visit {
            app,
            ctx,
            session: session.clone(),
            body,
            peer,
            whole: brand.clone(),
            variables: found,
            query: request.query,
        };
        Ok(handler(visit).await?)
    };
    match outcome.await {
        Ok(Answer::Page(page)) => frame.around(page),
        Ok(Answer::On(path)) => see_other(&path),
        Ok(Answer::Other(response)) => {
            let mut response = *response;
            secure(response.headers_mut());
            response
        }
        Err(Stop::NotOurs) => not_ours(frame),
        Err(Stop::Refused(refusal)) => refused(frame, &refusal, id.as_ref()),
    }
}

/// Leave for the page, for what its path names. What is of another brand than the path says is not there.
async fn leave<C: About>(
    app: &App,
    session: &Session,
    needs: Permission,
    variables: &[(&'static str, String)],
) -> Result<C, Refusal> {
    let named = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| text)
    };
    let place = match C::NAMED_BY {
        NamedBy::Nothing => Place::Unnamed,
        NamedBy::Brand => place(named("brand"), Place::Brand),
        NamedBy::Snap => place(named("snap"), Place::Snap),
        NamedBy::Store => place(named("store"), Place::Store),
    };
    if place == Place::Nowhere {
        return Err(Refusal::not_found("cannot find it: there can be no such name"));
    }
    let ctx: C = session.authorize(app, needs, place).await?;
    let elsewhere = |brand: &String| ctx.brand_id().is_some_and(|id| id.as_str() != brand);
    if named("brand").is_some_and(elsewhere) {
        return Err(Refusal::not_found("cannot find it: the brand has none"));
    }
    Ok(ctx)
}

/// What a variable of a path names.
fn place<T: FromStr>(text: Option<&String>, make: impl FnOnce(T) -> Place) -> Place {
    match text.map(|text| text.parse()) {
        None => Place::Unnamed,
        Some(Ok(name)) => make(name),
        Some(Err(_)) => Place::Nowhere,
    }
}

/// To the sign-in page, and back to this one after it.
fn to_sign_in(request: &Request) -> Response {
    let back = match (request.method == Method::GET, request.raw_query.as_str()) {
        (true, "") => request.path.as_str().to_owned(),
        (true, query) => format!("{}?{query}", request.path.as_str()),
        (false, _) => String::new(),
    };
    let back = if back == "/start" { "" } else { &back };
    see_other(&with_query("/login", &[("next", back)]))
}

/// On to another page, by `GET`.
pub(super) fn see_other(path: &str) -> Response {
    let mut response = reply::bytes(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/start"));
    response.headers_mut().insert(LOCATION, location);
    secure(response.headers_mut());
    response
}
