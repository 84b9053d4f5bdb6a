//! `GET /v2/assertions/{type}/{key...}`: one assertion, as it was received (device-api.md 6); an older path tells the same
//! as JSON.
//!
//! Open to anybody, as devices and image builders fetch prerequisites before they have any credential. Nothing here
//! is secret but system-user assertions (password hashes, e-mail addresses), which need a session of the brand, and
//! those about private snaps, which go to who sees the snap.

use bytes::Bytes;
use http::StatusCode;
use warp::Filter;
use warp::reply::Response;

use super::asking::{Asking, asking};
use crate::app::App;
use crate::app::assertions::Lookup;
use crate::app::store::{assertion_for, known_to};
use crate::domain::assertion::decode_bytes;
use crate::http::endpoint::{Access, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
use crate::http::path::{self, Rest};
use crate::http::query::{Query, query};
use crate::http::reply;

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let tell = warp::path!("api" / "v1" / "snaps" / "assertions" / ..)
        .and(path::rest())
        .and(query())
        .and(asking())
        .and(with(app.clone()))
        .then(|rest: Rest, query: Query, asking: Asking, app: App| async move {
            tell(&app, &rest, &query, &asking)
                .await
                .unwrap_or_else(warp::Reply::into_response)
        })
        .boxed();
    let get = warp::path!("v2" / "assertions" / ..)
        .and(path::rest())
        .and(query())
        .and(asking())
        .and(with(app.clone()))
        .then(|rest: Rest, query: Query, asking: Asking, app: App| async move {
            get(&app, &rest, &query, &asking)
                .await
                .unwrap_or_else(warp::Reply::into_response)
        })
        .boxed();
    vec![
        Endpoint::get(
            "/v2/assertions/{type}/{key...}",
            Access::Open,
            "Serve an assertion",
            get,
        )
        .with_query(vec!["max-format", "sequence"]),
        Endpoint::get(
            "/api/v1/snaps/assertions/{type}/{key...}",
            Access::Open,
            "Tell what an assertion says, as JSON",
            tell,
        )
        .with_query(vec!["max-format", "sequence"]),
    ]
}

async fn get(
    app: &App,
    rest: &Rest,
    query: &Query,
    asking: &Asking,
) -> Result<Response, Fault<DeviceDialect>> {
    found(app, rest, query, asking).await.map(reply::assertions)
}

/// For publisher clients of old, which look names of snaps up here.
async fn tell(
    app: &App,
    rest: &Rest,
    query: &Query,
    asking: &Asking,
) -> Result<Response, Fault<DeviceDialect>> {
    let encoded = found(app, rest, query, asking).await?;
    let assertion = decode_bytes(encoded).map_err(|error| Fault::internal(&error))?;
    let headers = assertion.headers().iter();
    let headers: serde_json::Map<String, serde_json::Value> = headers
        .map(|(name, value)| (name.to_owned(), reply::header(value)))
        .collect();
    let body = String::from_utf8_lossy(assertion.body());
    Ok(reply::json(
        &serde_json::json!({"headers": headers, "body": body}),
    ))
}

async fn found(
    app: &App,
    Rest(segments): &Rest,
    query: &Query,
    asking: &Asking,
) -> Result<Bytes, Fault<DeviceDialect>> {
    let (kind, key) = segments
        .split_first()
        .ok_or_else(|| not_found("no type is named"))?;
    let max_format = query.parse::<u32, _>("max-format")?;
    let lookup = Lookup::parse(kind, key, query.one("sequence")?).map_err(not_found)?;
    let absent = || not_found(format!("cannot find this {} assertion", lookup.kind()));
    let (catalog, asker) = asking.enter(app).await?;
    let found = assertion_for(app, &asker, &lookup, max_format).await?;
    let found = found.filter(|encoded| {
        decode_bytes(encoded.clone()).is_ok_and(|assertion| known_to(&catalog, &asker, &assertion))
    });
    found.ok_or_else(absent)
}

/// The code snapd compares; it looks at the body, not at the status.
fn not_found(message: impl std::fmt::Display) -> Fault<DeviceDialect> {
    Fault::new(StatusCode::NOT_FOUND, "not-found", message)
}
