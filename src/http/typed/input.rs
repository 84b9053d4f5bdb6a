//! What handlers are given: variables of the path, query parameters, the body.

use std::fmt::{Debug, Display};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::{Json, Request, Template};
use crate::app::{App, NamedBy, Place, ReadLimits, Refusal};
use crate::domain::ident::BrandId;
use crate::http::auth::Presented;
use crate::http::body::{self, Pace, Pieces, Unread};
use crate::http::endpoint::BodyShape;
use crate::http::fault::{Dialect, Fault};
use crate::http::fields;
use crate::http::multipart::Multipart;
use crate::http::query::Query;
use crate::http::serve::Peer;

/// The parts of a request.
pub struct Input<D, B = Nothing> {
    variables: Vec<(&'static str, String)>,
    query: Query,
    /// Where the request came from; none in process or over the local socket.
    pub peer: Option<IpAddr>,
    /// What the caller came with, for calls that exchange one credential for another.
    pub presented: Presented,
    /// The store that the header `Snap-Device-Store` names, as it stands there.
    pub store: Option<String>,
    /// The body.
    pub body: B,
    dialect: PhantomData<fn() -> D>,
}

impl<D, B: Debug> Debug for Input<D, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("variables", &self.variables)
            .field("query", &self.query)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A request body of some kind.
pub trait Body: Send + Sized + 'static {
    /// What it looks like; none = there is no body.
    fn shape() -> Option<BodyShape>;

    /// Reads it within its limit; refusals name what is wrong and where.
    fn read<D: Dialect>(
        body: Unread,
        limits: &ReadLimits,
    ) -> impl Future<Output = Result<Self, Fault<D>>> + Send;
}

/// No body; `{}` is as good.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Body for Nothing {
    fn shape() -> Option<BodyShape> {
        None
    }

    async fn read<D: Dialect>(body: Unread, _limits: &ReadLimits) -> Result<Self, Fault<D>> {
        match body.up_to(1024).await?.trim_ascii() {
            b"" | b"{}" => Ok(Self),
            _ => Err(Fault::invalid(
                "invalid-request",
                "cannot read the request: it takes no body",
            )),
        }
    }
}

/// Types that are read from JSON say `#[serde(deny_unknown_fields)]`, so that mistyped fields are noticed.
impl<T: DeserializeOwned + Send + 'static> Body for Json<T> {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape {
            media: "application/json",
            fields: fields::of::<T>(),
        })
    }

    async fn read<D: Dialect>(body: Unread, limits: &ReadLimits) -> Result<Self, Fault<D>> {
        body::json(&body.up_to(limits.json).await?).map(Json)
    }
}

/// A JSON list of objects.
#[derive(Clone, Debug)]
pub struct List<T>(pub Vec<T>);

impl<T: DeserializeOwned + Send + 'static> Body for List<T> {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape {
            media: "application/json",
            fields: fields::of::<T>(),
        })
    }

    async fn read<D: Dialect>(body: Unread, limits: &ReadLimits) -> Result<Self, Fault<D>> {
        body::json_list(&body.up_to(limits.json).await?).map(Self)
    }
}

/// The bytes as they are, at most `LIMIT`: assertions.
#[derive(Clone, Debug)]
pub struct Raw<const LIMIT: usize>(pub Bytes);

impl<const LIMIT: usize> Body for Raw<LIMIT> {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape::ASSERTIONS)
    }

    async fn read<D: Dialect>(body: Unread, _limits: &ReadLimits) -> Result<Self, Fault<D>> {
        body.up_to(LIMIT).await.map(Self).map_err(Fault::from)
    }
}

/// The bytes piece by piece: files too large to be held. The handler sees to their limit.
#[derive(Debug)]
pub struct Streamed(pub Pieces);

impl Body for Streamed {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape {
            media: "application/octet-stream",
            fields: &[],
        })
    }

    async fn read<D: Dialect>(body: Unread, _limits: &ReadLimits) -> Result<Self, Fault<D>> {
        Ok(Self(body.pieces()))
    }
}

/// How quickly a form has to come. Anybody may send files this way, and each takes one of a few places while it comes.
const PACE: Pace = Pace {
    least: 16 << 10,
    patience: Duration::from_secs(60),
    total: Duration::from_secs(12 * 60 * 60),
};

/// `multipart/form-data`, part by part, at least at [`PACE`]. The handler sees to the limits of the parts.
#[derive(Debug)]
pub struct Form(pub Multipart);

impl Body for Form {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape {
            media: "multipart/form-data",
            fields: &[],
        })
    }

    async fn read<D: Dialect>(body: Unread, _limits: &ReadLimits) -> Result<Self, Fault<D>> {
        let content_type = body.content_type().unwrap_or_default().to_owned();
        Ok(Self(Multipart::new(body.pieces().at(PACE), &content_type)?))
    }
}

impl<D: Dialect, B: Body> Input<D, B> {
    pub(super) async fn read(app: &App, request: Request, template: Template) -> Result<Self, Fault<D>> {
        if D::STRICT {
            request.query.only(&template.parameters())?;
        }
        Ok(Self {
            variables: variables(template.path, request.path.as_str()).unwrap_or_default(),
            query: request.query,
            peer: request.peer.as_ref().and_then(address),
            presented: request.presented,
            store: request.store,
            body: B::read(request.body, &app.settings.limits).await?,
            dialect: PhantomData,
        })
    }
}

impl<D: Dialect, B> Input<D, B> {
    /// The variable `name` of the path. What cannot be such a thing does not exist.
    pub fn variable<T>(&self, name: &str) -> Result<T, Refusal>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self
            .variables
            .iter()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, text)| text.as_str());
        text.parse()
            .map_err(|error| Refusal::not_found(format!("cannot find it: {error}")))
    }

    /// The query parameter `name`; refused when it is given twice or is no `T`.
    pub fn query<T>(&self, name: &str) -> Result<Option<T>, Fault<D>>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.query.parse(name)
    }

    /// All values of the query parameter `name`.
    pub fn query_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.all(name)
    }
}

impl Request {
    /// What the request is about, by the path or, for a brand, by the query. What cannot be a snap or store is none.
    pub(super) fn place<D: Dialect>(&self, named_by: NamedBy, template: Template) -> Result<Place, Fault<D>> {
        let variables = variables(template.path, self.path.as_str()).unwrap_or_default();
        let of = |wanted: &str| {
            variables
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, text)| text.as_str())
        };
        let brand = match of("brand") {
            Some(text) => Some(text),
            None if template.takes_brand => self.query.one("brand")?,
            None => None,
        };
        let brand: Option<BrandId> = brand
            .map(str::parse)
            .transpose()
            .map_err(|error| Fault::invalid("invalid-request", format!("cannot use the brand: {error}")))?;
        let place = match named_by {
            NamedBy::Nothing => return Ok(Place::Unnamed),
            NamedBy::Brand => return Ok(brand.into()),
            NamedBy::Snap => match (of("snap").map(str::parse), of("snap-id").map(str::parse)) {
                (Some(Ok(name)), _) => Place::Snap(name),
                (None, Some(Ok(id))) => Place::SnapId(id),
                _ => Place::Nowhere,
            },
            NamedBy::Store => match of("store").map(str::parse) {
                Some(Ok(store)) => Place::Store(store),
                Some(Err(_)) | None => Place::Nowhere,
            },
        };
        Ok(match brand {
            Some(brand) => Place::Within(brand, Box::new(place)),
            None => place,
        })
    }
}

/// The variables of `path`, decoded, where it fits `template`: `{name}` takes one segment, `{name...}` at the end
/// takes one or more. A final slash does not count.
pub(super) fn variables(template: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut found = Vec::new();
    let mut segments = path.split('/');
    for part in template.split('/') {
        if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix("...}")) {
            let rest: Vec<&str> = segments.by_ref().collect();
            if rest.is_empty() || rest.iter().any(|segment| segment.is_empty()) {
                return None;
            }
            found.push((name, decode(&rest.join("/"))?));
            continue;
        }
        let segment = segments.next()?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(_) if segment.is_empty() => return None,
            Some(name) => found.push((name, decode(segment)?)),
            None if part == segment => {}
            None => return None,
        }
    }
    segments.next().is_none().then_some(found)
}

fn decode(raw: &str) -> Option<String> {
    percent_decode_str(raw)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

fn address(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Remote(address) => Some(*address),
        Peer::Local => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_decoded_per_segment() {
        let fit = |template, path| {
            variables(template, path).map(|all| all.into_iter().map(|(_, text)| text).collect())
        };
        let some = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(fit("/a/{x}/b/{y}", "/a/1%2F2/b/SN%201"), some(&["1/2", "SN 1"]));
        assert_eq!(fit("/a/{x}", "/a/1/"), some(&["1"]));
        assert_eq!(fit("/a/{x}", "/a/"), None);
        assert_eq!(fit("/a/{x}", "/a/1/2"), None);
        assert_eq!(fit("/a/{x}", "/a/%FF"), None);
        assert_eq!(fit("/a/{x...}", "/a/1/2"), some(&["1/2"]));
        assert_eq!(fit("/a/{x...}", "/a"), None);
        assert_eq!(fit("/a", "/a"), some(&[]));
        assert_eq!(fit("/a", "/b"), None);
    }
}
