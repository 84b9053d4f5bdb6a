//! The files that pages use: one style sheet, one script, one icon. They are part of the program; their paths change
//! with what is in them, so that browsers may keep them for ever.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::HeaderValue;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use warp::reply::Response;

use crate::domain::audit::hex;
use crate::http::reply;

/// What a path that changes with its content may be kept for: a year.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A file.
struct Asset {
    path: String,
    media: &'static str,
    bytes: &'static [u8],
}

/// All of them.
struct Assets {
    style: Asset,
    script: Asset,
    icon: Asset,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: asset(
        "style",
        "css",
        "text/css; charset=utf-8",
        include_bytes!("assets/style.css"),
    ),
    script: asset(
        "script",
        "js",
        "text/javascript; charset=utf-8",
        include_bytes!("assets/script.js"),
    ),
    icon: asset("icon", "svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
});

fn asset(name: &str, ending: &str, media: &'static str, bytes: &'static [u8]) -> Asset {
    let hash = hex(digest::digest(&digest::SHA256, bytes).as_ref());
    Asset {
        path: format!("/static/{name}.{}.{ending}", hash.split_at(16).0),
        media,
        bytes,
    }
}

/// The path of the style sheet.
pub(super) fn style() -> &'static str {
    &ASSETS.style.path
}

/// The path of the script.
pub(super) fn script() -> &'static str {
    &ASSETS.script.path
}

/// The path of the icon.
pub(super) fn icon() -> &'static str {
    &ASSETS.icon.path
}

/// The file of this path; none = there is no such file (any more).
pub(super) fn answer(path: &str) -> Option<Response> {
    let all = [&ASSETS.style, &ASSETS.script, &ASSETS.icon];
    let asset = all.into_iter().find(|asset| asset.path == path)?;
    let mut response = reply::bytes(StatusCode::OK, asset.media, Bytes::from_static(asset.bytes));
    response.headers_mut().insert(CACHE_CONTROL, FOR_EVER);
    Some(response)
}
