//! Bundles for other instances, and from them, for who owns the data: the texts of a bundle as JSON, and the files of snaps
//! that come in. The server writes those itself, since who runs the command may be another user than it is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use warp::Filter as _;
use warp::reply::{Reply as _, Response};

use crate::app::bundles::store_out::Wanted;
use crate::app::bundles::{Bundle, Trust, store_in, store_out};
use crate::app::{App, InstanceCtx, Refusal};
use crate::domain::blob::BlobId;
use crate::domain::ident::SnapId;
use crate::http::body::{self, Unread};
use crate::http::endpoint::{Access, Endpoint, with};
use crate::http::fault::{Fault, NativeDialect};
use crate::http::reply;

/// Where tasks about bundles are posted.
pub const PATH: &str = "/hallmark/v1/local/bundles";
/// Where files are put, each under its SHA3-384.
pub const FILES: &str = "/hallmark/v1/local/files";
/// A manifest and all texts of a bundle, with what JSON adds to them.
const MAX_TASK: usize = 192 << 20;

/// Something to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(
    tag = "task",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum BundleTask {
    /// Make the bundle of a store.
    ExportStore {
        /// What shall be in it.
        wanted: Wanted,
    },
    /// Judge the bundle of a store; nothing changes.
    CheckStore {
        /// The bundle with all its texts.
        bundle: Bundle,
        /// Whether to take it.
        trust: Trust,
    },
    /// Is this file kept here?
    HasFile {
        /// Its name.
        file: BlobId,
        /// Its length.
        size: u64,
    },
    /// Take in what its snaps share.
    ImportStore {
        /// The bundle with the texts that belong to no snap.
        bundle: Bundle,
        /// Whether to take it.
        trust: Trust,
    },
    /// Take in one of its snaps.
    ImportSnap {
        /// The bundle with the texts of this snap.
        bundle: Bundle,
        /// Whether to take it.
        trust: Trust,
        /// The snap.
        snap: SnapId,
    },
    /// Take out of the store what is not there any more.
    FinishStore {
        /// The bundle; its texts are not needed.
        bundle: Bundle,
        /// Whether to take it.
        trust: Trust,
    },
}

/// Does `task` for who owns the data directory.
pub async fn perform(app: &App, task: BundleTask) -> Result<Value, Refusal> {
    let ctx = InstanceCtx::local();
    match task {
        BundleTask::ExportStore { wanted } => super::document(&store_out::export(app, &ctx, &wanted).await?),
        BundleTask::CheckStore { bundle, trust } => {
            super::document(&store_in::check(app, &ctx, &bundle, &trust).await?)
        }
        BundleTask::HasFile { file, size } => {
            let found = app.blobs.open(&file).await?;
            Ok(json!({ "there": found.is_some_and(|found| found.size() == size) }))
        }
        BundleTask::ImportStore { bundle, trust } => {
            Ok(json!({ "changed": store_in::shared(app, &ctx, &bundle, &trust).await? }))
        }
        BundleTask::ImportSnap { bundle, trust, snap } => {
            Ok(json!({ "state": store_in::snap(app, &ctx, &bundle, &snap, &trust).await? }))
        }
        BundleTask::FinishStore { bundle, trust } => {
            Ok(json!({ "excluded": store_in::finish(app, &ctx, &bundle, &trust).await? }))
        }
    }
}

pub(super) fn endpoints(app: &App) -> [Endpoint; 2] {
    [tasks(app), files(app)]
}

/// Takes a file in. It is kept only if it is what its name says.
fn files(app: &App) -> Endpoint {
    let filter = warp::path!("hallmark" / "v1" / "local" / "files" / String)
        .and(warp::put())
        .and(with(app.clone()))
        .and(body::unread())
        .then(|id: String, app: App, body: Unread| async move {
            match put(&app, &id, body).await {
                Ok(response) => response,
                Err(fault) => fault.into_response(),
            }
        })
        .boxed();
    Endpoint::put(
        "/hallmark/v1/local/files/{sha3-384}",
        Access::Open,
        "Keep a file of a bundle, for the owner of the data",
        filter,
    )
}

async fn put(app: &App, id: &str, body: Unread) -> Result<Response, Fault<NativeDialect>> {
    let id: BlobId = id.parse().map_err(Refusal::from)?;
    let mut staging = app.blobs.stage().await.map_err(Refusal::from)?;
    let mut pieces = body.pieces();
    while let Some(piece) = pieces.next().await? {
        staging.write(piece).await.map_err(Refusal::from)?;
    }
    let staged = staging.finish().await.map_err(Refusal::from)?;
    if staged.digest().id != id {
        return Err(Refusal::invalid(
            "file-differs",
            format!("cannot keep the file {id}: its digest is another"),
        )
        .into());
    }
    staged.keep().await.map_err(Refusal::from)?;
    Ok(reply::json(&json!({ "sha3-384": id })))
}

fn tasks(app: &App) -> Endpoint {
    let filter = warp::path!("hallmark" / "v1" / "local" / "bundles")
        .and(warp::post())
        .and(with(app.clone()))
        .and(body::up_to(MAX_TASK))
        .then(|app: App, bytes: Bytes| async move {
            match answer(&app, &bytes).await {
                Ok(response) => response,
                Err(fault) => fault.into_response(),
            }
        })
        .boxed();
    Endpoint::post(
        PATH,
        Access::Open,
        "Make or take in a bundle, for the owner of the data",
        filter,
    )
}

async fn answer(app: &App, bytes: &Bytes) -> Result<Response, Fault<NativeDialect>> {
    let task = body::json(bytes)?;
    Ok(reply::json(&perform(app, task).await?))
}
