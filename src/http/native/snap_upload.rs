//! Uploading snaps. The body is the file of the snap, followed by those of its components where the query gives their
//! lengths; it is taken in while it arrives and never held as a whole.

use serde::Serialize;

use super::reviews::ReviewView;
use super::snaps::{RevisionView, SnapView};
use super::{Created, Input, Native, Outcome, Streamed};
use crate::app::catalog::ingest::{self, Intake, Upload};
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::catalog::Channel;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    vec![native.post(
        "/hallmark/v1/snaps/upload{?store,publisher,private,release,percentage,key,part}",
        Permission::SnapPublish,
        "Upload a revision of a snap; a new name is registered",
        upload,
    )]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct UploadedView {
    /// Whether the revision is new; the same files again are the same revision.
    new: bool,
    snap: SnapView,
    revision: RevisionView,
    /// What the automatic checks found; null for what the operator uploads.
    review: Option<ReviewView>,
    /// What was left out of the files, and why.
    remarks: Vec<String>,
}

/// `part` is given once per file, with its length: the snap, then the components. Without it the body is the snap.
async fn upload(app: App, ctx: BrandCtx, input: Input<Streamed>) -> Outcome<Created<UploadedView>> {
    let channels = input.query_all("release").map(str::parse::<Channel>);
    let parts = input.query_all("part").map(|text| {
        text.parse::<u64>().map_err(|_| {
            Refusal::invalid(
                "invalid-request",
                format!("cannot read the query: \"part\": {text:?} is no length"),
            )
        })
    });
    let parts: Vec<u64> = parts.collect::<Result<_, _>>()?;
    let upload = Upload {
        channels: channels.collect::<Result<_, _>>().map_err(Refusal::from)?,
        store: input.query("store")?,
        publisher: input.query("publisher")?,
        private: input.query("private")?.unwrap_or(false),
        percentage: input.query("percentage")?,
        key: input.query("key")?,
        name: None,
        size: None,
        components: Vec::new(),
        push: None,
    };
    ingest::foresee(&app, &ctx, &upload).await?;
    let mut intake = Intake::begin(&app, parts).await?;
    let Streamed(mut pieces) = input.body;
    while let Some(piece) = pieces.next().await? {
        intake.write(piece).await?;
    }
    let ingested = ingest::ingest(&app, &ctx, &upload, intake.finish().await?).await?;
    let (name, publisher) = (ingested.snap.name.clone(), ingested.snap.publisher_id.clone());
    Ok(Created(UploadedView {
        new: ingested.new,
        review: ingested
            .review
            .map(|review| ReviewView::of(name, publisher, review)),
        snap: SnapView::of(ingested.snap, app.clock.now()),
        revision: ingested.revision.into(),
        remarks: ingested.remarks,
    }))
}
