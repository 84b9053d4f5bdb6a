//! Files: snaps, deltas, components, pictures, with ranges (device-api.md 8).
//!
//! Devices present their credentials on the first request of a download, and files of private snaps go only to who
//! sees the snap. Icons and screenshots are asked for without any: their name is their content, which is hard to guess.
//!
//! Where files may be fetched from a bucket, devices are sent there after that was judged. Pictures never are: what keeps
//! browsers from taking them for something else is in the headers of this server.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::asking::{Asking, asking, not_found};
use crate::app::App;
use crate::app::store::{File, download};
use crate::domain::ident::SnapId;
use crate::http::endpoint::{Access, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
use crate::http::path;
use crate::http::router::HeadOnly;
use crate::ports::{BlobError, BlobStream};

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let file = warp::path!("download" / ..)
        .and(path::segment::<String>())
        .and(warp::path::end())
        .and(warp::header::headers_cloned())
        .and(asking())
        .and(warp::ext::optional::<HeadOnly>())
        .and(with(app.clone()))
        .then(
            |name: String, headers: HeaderMap, asking: Asking, head: Option<HeadOnly>, app: App| async move {
                file(&app, &asking, &headers, &name, head)
                    .await
                    .unwrap_or_else(Fault::into_response)
            },
        )
        .boxed();
    let picture = warp::path!("download" / ..)
        .and(path::segment::<SnapId>())
        .and(path::segment::<String>())
        .and(warp::path::end())
        .and(warp::header::headers_cloned())
        .and(with(app.clone()))
        .then(
            |snap: SnapId, name: String, headers: HeaderMap, app: App| async move {
                picture(&app, &headers, &snap, &name)
                    .await
                    .unwrap_or_else(Fault::into_response)
            },
        )
        .boxed();
    vec![
        Endpoint::get(
            "/download/{file}",
            Access::Open,
            "Download a snap, a delta or a component",
            file,
        ),
        Endpoint::get(
            "/download/{snap-id}/{icon}",
            Access::Open,
            "Download the icon of a snap, or a screenshot",
            picture,
        ),
    ]
}

async fn file(
    app: &App,
    asking: &Asking,
    headers: &HeaderMap,
    name: &str,
    head: Option<HeadOnly>,
) -> Result<Response, Fault<DeviceDialect>> {
    let absent = || not_found("cannot find the file");
    let name = name.parse().map_err(|()| absent())?;
    let (catalog, asker, unsure) = asking.enter_for_file(app).await?;
    let file = download::find(app, &catalog, &asker, &name).await?;
    let file = file.ok_or_else(|| unsure.map_or_else(absent, Fault::from))?;
    // An address of the bucket is signed for GET alone.
    if head.is_none()
        && !names_it(headers, IF_NONE_MATCH, &etag_of(&file))
        && let Some(link) = app
            .blobs
            .link(&file.blob)
            .await
            .map_err(|error| trouble(&error))?
    {
        return elsewhere(&link);
    }
    send(
        app,
        headers,
        &file,
        "application/vnd.snap",
        "private, max-age=31536000, immutable",
    )
    .await
}

async fn picture(
    app: &App,
    headers: &HeaderMap,
    snap: &SnapId,
    name: &str,
) -> Result<Response, Fault<DeviceDialect>> {
    let absent = || not_found("cannot find the picture");
    let blob = name.parse().map_err(|_| absent())?;
    let catalog = app.catalog.readable(app).await?;
    let (file, media) = download::picture(&catalog, snap, blob).ok_or_else(absent)?;
    let cache = "public, max-age=31536000, immutable";
    let mut answer = send(app, headers, &file, &media, cache).await?;
    // Publishers choose what a picture is: in a browser it must stay a picture.
    set(
        &mut answer,
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; sandbox",
    )?;
    set(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    Ok(answer)
}

/// Sends a file, or the part of it that is asked for.
async fn send(
    app: &App,
    headers: &HeaderMap,
    file: &File,
    media: &str,
    cache: &'static str,
) -> Result<Response, Fault<DeviceDialect>> {
    let etag = etag_of(file);
    let mut answer = Response::new(Bytes::new().into());
    if names_it(headers, IF_NONE_MATCH, &etag) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        set(&mut answer, ETAG, &etag)?;
        return Ok(answer);
    }
    let blob = app
        .blobs
        .open(&file.blob)
        .await
        .map_err(|error| trouble(&error))?;
    let blob = blob.ok_or_else(|| {
        tracing::error!(blob = %file.blob, "a file of the catalogue is gone");
        not_found("cannot find the file")
    })?;
    let size = blob.size();
    let whole = headers.contains_key(IF_RANGE) && !names_it(headers, IF_RANGE, &etag);
    let range = headers
        .get(RANGE)
        .filter(|_| !whole)
        .and_then(|value| value.to_str().ok());
    let part = match range.map_or(Part::Whole, |text| Part::read(text, size)) {
        Part::Beyond => {
            *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"))?;
            return Ok(answer);
        }
        Part::Whole => None,
        Part::From { first, last } => Some((first, last)),
    };
    let (offset, length) = part.map_or((0, size), |(first, last)| (first, last - first + 1));
    answer = warp::reply::stream(Pieces(Mutex::new(blob.stream(offset, length)))).into_response();
    if let Some((first, last)) = part {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(
            &mut answer,
            CONTENT_RANGE,
            &format!("bytes {first}-{last}/{size}"),
        )?;
    }
    set(&mut answer, CONTENT_TYPE, media)?;
    set(&mut answer, CONTENT_LENGTH, &length.to_string())?;
    set(&mut answer, ETAG, &etag)?;
    set(&mut answer, ACCEPT_RANGES, "bytes")?;
    set(&mut answer, CACHE_CONTROL, cache)?;
    Ok(answer)
}

fn etag_of(file: &File) -> String {
    format!("\"{}\"", file.blob)
}

/// Whether a header that lists tags names this one.
fn names_it(headers: &HeaderMap, name: HeaderName, etag: &str) -> bool {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.is_some_and(|text| {
        text.split(',')
            .any(|tag| matches!(tag.trim(), "*") || tag.trim() == etag)
    })
}

/// Sends a client to where the file is. It says again there which part it wants; the next time it asks here again, since the
/// address is good for a while only, and leave may end.
fn elsewhere(link: &str) -> Result<Response, Fault<DeviceDialect>> {
    let mut answer = Response::new(Bytes::new().into());
    *answer.status_mut() = StatusCode::FOUND;
    set(&mut answer, LOCATION, link)?;
    set(&mut answer, CACHE_CONTROL, "private, no-store")?;
    Ok(answer)
}

fn set(answer: &mut Response, name: HeaderName, value: &str) -> Result<(), Fault<DeviceDialect>> {
    let value = HeaderValue::from_str(value).map_err(|error| Fault::internal(&error))?;
    answer.headers_mut().insert(name, value);
    Ok(())
}

fn trouble(error: &BlobError) -> Fault<DeviceDialect> {
    Fault::unavailable(error)
}

/// The pieces of a file on their way out. Nobody shares them; the lock only says so to the compiler.
struct Pieces(Mutex<BlobStream>);

impl Stream for Pieces {
    type Item = Result<Bytes, BlobError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let piece = stream.poll_next_unpin(cx);
        if let Poll::Ready(Some(Err(error))) = &piece {
            tracing::error!(%error, "a download broke off");
        }
        piece
    }
}

/// Which bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All: there is no range, or one we need not understand (RFC 9110, 14.2).
    Whole,
    /// These, both included.
    From { first: u64, last: u64 },
    /// None that there are.
    Beyond,
}

impl Part {
    /// One range of bytes; several at once are answered with all.
    fn read(text: &str, size: u64) -> Self {
        let Some((from, to)) = text
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
        else {
            return Self::Whole;
        };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
        };
        match (from, to, number(from), number(to)) {
            (_, "", Some(first), _) if first < size => Self::From {
                first,
                last: size - 1,
            },
            (_, "", Some(_), _) => Self::Beyond,
            (_, _, Some(first), Some(last)) if first <= last => {
                if first < size {
                    Self::From {
                        first,
                        last: last.min(size - 1),
                    }
                } else {
                    Self::Beyond
                }
            }
            ("", _, _, Some(0)) => Self::Beyond,
            ("", _, _, Some(_)) if size == 0 => Self::Beyond,
            ("", _, _, Some(count)) => Self::From {
                first: size.saturating_sub(count),
                last: size - 1,
            },
            _other => Self::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let part = |first, last| Part::From { first, last };
        for (text, size, expected) in [
            ("bytes=0-", 10, part(0, 9)),
            ("bytes=4-", 10, part(4, 9)),
            ("bytes=9-", 10, part(9, 9)),
            ("bytes=10-", 10, Part::Beyond),
            ("bytes=2-3", 10, part(2, 3)),
            ("bytes=2-99", 10, part(2, 9)),
            ("bytes=12-99", 10, Part::Beyond),
            ("bytes=-3", 10, part(7, 9)),
            ("bytes=-99", 10, part(0, 9)),
            ("bytes=-0", 10, Part::Beyond),
            ("bytes=0-", 0, Part::Beyond),
            ("bytes=3-2", 10, Part::Whole),
            ("bytes=1-2,4-5", 10, Part::Whole),
            ("bytes=a-", 10, Part::Whole),
            ("bytes=+1-", 10, Part::Whole),
            ("pages=1-", 10, Part::Whole),
            ("bytes=-", 10, Part::Whole),
            ("bytes=99999999999999999999-", 10, Part::Beyond),
        ] {
            assert_eq!(Part::read(text, size), expected, "{text} of {size}");
        }
    }
}
