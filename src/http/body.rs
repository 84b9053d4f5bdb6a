//! Request bodies: counted while they are read, and read within a time limit.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

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
    /// Less of it came than a [`Pace`] asks for.
    #[error(
        "cannot read the request body: for {} seconds it came slower than {least} bytes a second; send it over a faster line",
        .patience.as_secs()
    )]
    Dribbled {
        /// Bytes that had to come in a second.
        least: u32,
        /// For how long fewer came.
        patience: Duration,
    },
    /// It took longer in all than a [`Pace`] allows.
    #[error(
        "cannot read the request body: it took longer than {} seconds in all; send it over a faster line",
        .0.as_secs()
    )]
    Endless(Duration),
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
            kept_to: None,
        }
    }
}

/// How quickly a body has to come that is taken piece by piece. Only waiting for its sender counts towards the rate, not
/// what is done with the pieces here.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes that have to come in a second. At least one.
    pub least: u32,
    /// For how long fewer may come.
    pub patience: Duration,
    /// How long it may take in all, from the first look at it.
    pub total: Duration,
}

/// A [`Pace`] that is kept.
#[derive(Debug)]
struct Kept {
    pace: Pace,
    /// For how long its sender may still be waited for. It grows with what comes, up to the patience.
    left: Duration,
    began: Instant,
}

impl Kept {
    /// How long the next piece may be waited for.
    fn next(&self) -> Result<Duration, BodyError> {
        let in_all = self.pace.total.saturating_sub(self.began.elapsed());
        if in_all.is_zero() {
            return Err(BodyError::Endless(self.pace.total));
        }
        if self.left.is_zero() {
            return Err(BodyError::Dribbled {
                least: self.pace.least,
                patience: self.pace.patience,
            });
        }
        Ok(self.left.min(in_all))
    }

    /// So many bytes came after so long.
    fn count(&mut self, bytes: usize, waited: Duration) {
        let worth = bytes as f64 / f64::from(self.pace.least.max(1));
        // A piece is worth no more than the patience, so the number is small.
        let worth = Duration::from_secs_f64(worth.min(self.pace.patience.as_secs_f64()));
        self.left = self.left.saturating_sub(waited);
        self.left = self.left.saturating_add(worth).min(self.pace.patience);
    }
}

/// A body that is taken piece by piece, for what is too large to be held: no limit on its length, but every piece has to
/// come in time, and all of them at the [`Pace`] that is asked for, if one is.
pub struct Pieces {
    stream: BoxStream<'static, Result<Bytes, BodyError>>,
    time: Duration,
    kept_to: Option<Kept>,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").finish_non_exhaustive()
    }
}

impl Pieces {
    /// The same, to come at this pace.
    #[must_use]
    pub fn at(mut self, pace: Pace) -> Self {
        self.kept_to = Some(Kept {
            pace,
            left: pace.patience,
            began: Instant::now(),
        });
        self
    }

    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(kept) = &mut self.kept_to else {
            let piece = tokio::time::timeout(self.time, self.stream.next()).await;
            return piece.map_err(|_| BodyError::TooSlow)?.transpose();
        };
        let (may_take, began) = (kept.next()?, Instant::now());
        let piece = tokio::time::timeout(self.time.min(may_take), self.stream.next()).await;
        let length = match &piece {
            Ok(Some(Ok(piece))) => piece.len(),
            _ => 0,
        };
        kept.count(length, began.elapsed());
        match piece {
            Ok(piece) => piece.transpose(),
            // Which of the times was over.
            Err(_) => Err(kept.next().err().unwrap_or(BodyError::TooSlow)),
        }
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
            BodyError::TooSlow | BodyError::Dribbled { .. } | BodyError::Endless(_) => {
                Self::new(D::slow_body(), "request-timeout", error)
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// A body of pieces of `size` bytes, one every `every`.
    fn coming(size: usize, every: Duration, pieces: usize) -> Pieces {
        let stream = futures_util::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok(Bytes::from(vec![0; size]))
        });
        Pieces {
            stream: stream.boxed(),
            time: READ_TIME,
            kept_to: None,
        }
    }

    async fn taken(mut pieces: Pieces) -> (usize, Option<BodyError>) {
        let mut length = 0;
        loop {
            match pieces.next().await {
                Ok(Some(piece)) => length += piece.len(),
                Ok(None) => return (length, None),
                Err(error) => return (length, Some(error)),
            }
        }
    }

    fn pace(least: u32, total: Duration) -> Pace {
        Pace {
            least,
            patience: PATIENCE,
            total,
        }
    }

    #[tokio::test]
    async fn who_dribbles_is_stopped_and_who_keeps_the_pace_is_not() {
        let every = Duration::from_millis(20);
        // About 50 bytes a second.
        let began = Instant::now();
        let (length, error) = taken(coming(1, every, 1000).at(pace(1000, READ_TIME))).await;
        assert_eq!(
            error,
            Some(BodyError::Dribbled {
                least: 1000,
                patience: PATIENCE
            })
        );
        assert!(length < 1000, "{length}");
        assert!(began.elapsed() >= PATIENCE);
        // For longer than the patience, and at more than it has to.
        let took = taken(coming(1000, every, 80).at(pace(1000, READ_TIME))).await;
        assert_eq!(took, (80_000, None));
        // What came quickly is not saved up for ever.
        let mut quick = coming(1_000_000, Duration::ZERO, 1);
        let slow = coming(1, every, 1000);
        quick.stream = quick.stream.chain(slow.stream).boxed();
        let (length, error) = taken(quick.at(pace(1000, READ_TIME))).await;
        assert!(length < 1_001_000, "{length}");
        assert!(matches!(error, Some(BodyError::Dribbled { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn what_takes_too_long_in_all_is_stopped() {
        let total = Duration::from_secs(1);
        let (length, error) = taken(coming(1000, Duration::from_millis(20), 1000).at(pace(1, total))).await;
        assert_eq!(error, Some(BodyError::Endless(total)));
        assert!((1..1_000_000).contains(&length), "{length}");
    }

    #[tokio::test]
    async fn what_is_done_with_the_pieces_is_not_the_senders_fault() {
        let mut pieces = coming(1000, Duration::ZERO, 5).at(pace(1000, READ_TIME));
        let mut count = 0;
        while let Some(piece) = pieces.next().await.unwrap() {
            count += piece.len();
            tokio::time::sleep(PATIENCE / 2).await;
        }
        assert_eq!(count, 5000);
    }
}
