//! `GET /v2/assertions/{type}/{key...}`: one assertion, as it was received (device-api.md 6).
//!
//! Open to anybody, as devices and image builders fetch prerequisites before they have any credential. Nothing here
//! is secret but system-user assertions (password hashes, e-mail addresses), which need a session of the brand, and
//! those about private snaps, which go to who sees the snap.

use http::StatusCode;
use warp::Filter;
use warp::reply::Response;

use super::asking::{Asking, asking};
use crate::app::App;
use crate::app::assertions::{self, Lookup};
use crate::app::store::known_to;
use crate::domain::assertion::decode_bytes;
use crate::http::endpoint::{Access, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
use crate::http::path::{self, Rest};
use crate::http::query::{Query, query};
use crate::http::reply;

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
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
    ]
}

async fn get(
    app: &App,
    Rest(segments): &Rest,
    query: &Query,
    asking: &Asking,
) -> Result<Response, Fault<DeviceDialect>> {
    let (kind, key) = segments
        .split_first()
        .ok_or_else(|| not_found("no type is named"))?;
    let max_format = query.parse::<u32, _>("max-format")?;
    let lookup = Lookup::parse(kind, key, query.one("sequence")?).map_err(not_found)?;
    let absent = || not_found(format!("cannot find this {} assertion", lookup.kind()));
    let (catalog, asker) = asking.enter(app).await?;
    let found = assertions::find(app, &lookup, max_format).await?;
    let found = found.filter(|encoded| {
        decode_bytes(encoded.clone()).is_ok_and(|assertion| known_to(&catalog, &asker, &assertion))
    });
    found.map(reply::assertions).ok_or_else(absent)
}

/// The code snapd compares; it looks at the body, not at the status.
fn not_found(message: impl std::fmt::Display) -> Fault<DeviceDialect> {
    Fault::new(StatusCode::NOT_FOUND, "not-found", message)
}
