//! Request bodies: counted while they are read, and read within a time limit.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use warp::reject::Reject;
use warp::{Filter, Rejection};

use super::fault::{Dialect, Fault};
use crate::app::Reason;

/// Time a body may take in all, where the server sets no other ([`ReadTime`]).
const READ_TIME: Duration = Duration::from_secs(30);

/// How long reading one body may take; the server puts it into the request.
#[derive(Clone, Copy, Debug)]
pub struct ReadTime(pub Duration);

/// Why a body could not be read. Rendered by the router in the dialect of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than allowed.
    #[error("cannot read the request body: it is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It did not come in time.
    #[error("cannot read the request body: it did not arrive in time")]
    TooSlow,
    /// The client went away, or the framing is wrong.
    #[error("cannot read the request body: it ended early or its framing is wrong")]
    Broken,
}

impl Reject for BodyError {}

/// The whole body, at most `limit` bytes of it, whatever its framing.
pub fn up_to(
    limit: usize,
) -> impl Filter<Extract = (Bytes,), Error = Rejection> + Clone + Send + Sync + 'static {
    warp::header::optional::<String>("content-length")
        .and(warp::ext::optional::<ReadTime>())
        .and(warp::body::stream())
        .and_then(
            move |length: Option<String>, time: Option<ReadTime>, stream| async move {
                let announced = length.and_then(|length| length.parse::<usize>().ok());
                let time = time.map_or(READ_TIME, |time| time.0);
                read(stream, announced, limit, time)
                    .await
                    .map_err(warp::reject::custom)
            },
        )
}

/// A body that has not been read yet, for endpoints that first want to know who is calling.
pub struct Unread {
    stream: BoxStream<'static, Result<Bytes, BodyError>>,
    announced: Option<usize>,
    content_type: Option<String>,
    time: Duration,
}

impl std::fmt::Debug for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unread")
            .field("announced", &self.announced)
            .finish_non_exhaustive()
    }
}

impl Unread {
    /// A body without a byte.
    pub fn nothing() -> Self {
        Self {
            stream: futures_util::stream::empty().boxed(),
            announced: None,
            content_type: None,
            time: READ_TIME,
        }
    }

    /// The whole body, at most `limit` bytes of it.
    pub async fn up_to(self, limit: usize) -> Result<Bytes, BodyError> {
        read(self.stream, self.announced, limit, self.time).await
    }

    /// What its head says it is.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The body piece by piece.
    pub fn pieces(self) -> Pieces {
        Pieces {
            stream: self.stream,
            time: self.time,
        }
    }
}

/// A body that is taken piece by piece, for what is too large to be held: no limit on its length or its time in all,
/// but every piece has to come in time.
pub struct Pieces {
    stream: BoxStream<'static, Result<Bytes, BodyError>>,
    time: Duration,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").finish_non_exhaustive()
    }
}

impl Pieces {
    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let piece = tokio::time::timeout(self.time, self.stream.next()).await;
        piece.map_err(|_| BodyError::TooSlow)?.transpose()
    }
}

/// The body, to be read later.
pub fn unread() -> impl Filter<Extract = (Unread,), Error = Rejection> + Clone + Send + Sync + 'static {
    warp::header::optional::<String>("content-length")
        .and(warp::header::optional::<String>("content-type"))
        .and(warp::ext::optional::<ReadTime>())
        .and(warp::body::stream())
        .map(
            |length: Option<String>, content_type, time: Option<ReadTime>, stream| Unread {
                stream: erase(stream),
                announced: length.and_then(|length| length.parse().ok()),
                content_type,
                time: time.map_or(READ_TIME, |time| time.0),
            },
        )
}

fn erase<B: Buf, E>(
    stream: impl Stream<Item = Result<B, E>> + Send + 'static,
) -> BoxStream<'static, Result<Bytes, BodyError>> {
    let bytes = |mut chunk: B| chunk.copy_to_bytes(chunk.remaining());
    stream
        .map(move |chunk| chunk.map(bytes).map_err(|_| BodyError::Broken))
        .boxed()
}

impl<D: Dialect> From<BodyError> for Fault<D> {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::of(Reason::TooLarge, "request-too-large", error),
            BodyError::TooSlow => Self::new(D::slow_body(), "request-timeout", error),
            BodyError::Broken => Self::invalid("invalid-request", error),
        }
    }
}

async fn read<B: Buf, E>(
    stream: impl Stream<Item = Result<B, E>>,
    announced: Option<usize>,
    limit: usize,
    time: Duration,
) -> Result<Bytes, BodyError> {
    let mut stream = std::pin::pin!(stream);
    tokio::time::timeout(time, async {
        if announced.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLarge { limit });
        }
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let mut chunk = chunk.map_err(|_| BodyError::Broken)?;
            let chunk = chunk.copy_to_bytes(chunk.remaining());
            let length = first.as_ref().map_or(0, Bytes::len) + rest.len() + chunk.len();
            if length > limit {
                return Err(BodyError::TooLarge { limit });
            }
            if first.is_none() {
                first = Some(chunk); // most bodies are one chunk: no copy
            } else {
                rest.extend_from_slice(&chunk);
            }
        }
        let first = first.unwrap_or_default();
        if rest.is_empty() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&rest);
        Ok(whole.freeze())
    })
    .await
    .unwrap_or(Err(BodyError::TooSlow))
}

/// A JSON list of objects, each as `T`.
pub fn json_list<T: DeserializeOwned, D: Dialect>(body: &[u8]) -> Result<Vec<T>, Fault<D>> {
    let wrong = |error: serde_json::Error| {
        Fault::invalid(
            "invalid-request",
            format!("cannot read the request body as a JSON list of objects: {error}"),
        )
    };
    // Of objects: lists would be taken for the fields in order.
    let items: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(body).map_err(wrong)?;
    let items = items.into_iter().map(serde_json::Value::Object);
    items
        .map(|item| serde_json::from_value(item).map_err(wrong))
        .collect()
}

/// A JSON object as `T`. The message names line and column.
pub fn json<'a, T: Deserialize<'a>, D: Dialect>(body: &'a [u8]) -> Result<T, Fault<D>> {
    // A list would be taken for the fields in order.
    if body
        .trim_ascii_start()
        .first()
        .is_some_and(|first| *first != b'{')
    {
        return Err(Fault::invalid(
            "invalid-request",
            "cannot read the request body as JSON: an object is expected",
        ));
    }
    let wrong = |error: &dyn fmt::Display| {
        Fault::invalid(
            "invalid-request",
            format!("cannot read the request body as JSON: {error}"),
        )
    };
    // Once for all of it: the parser would look at each of its texts by itself.
    let text = std::str::from_utf8(body).map_err(|error| wrong(&error))?;
    serde_json::from_str(text).map_err(|error| wrong(&error))
}

/// A text of a JSON body, read in place where nothing in it is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InPlace;

        impl<'de> Visitor<'de> for InPlace {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }

        deserializer.deserialize_str(InPlace).map(Self)
    }
}
