//! Making revisions of uploaded files, as snapcraft asks for it (publisher-api.md 6.5).

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use warp::reply::Response;

use super::{Input, Json, Outcome, Publisher};
use crate::app::catalog::push::{self, NewDelta, NewPush, Standing};
use crate::app::{App, Refusal, UnplacedCtx};
use crate::domain::access::Permission;
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Channel, PushRecord, UploadId};
use crate::domain::ident::{SnapId, SnapName};
use crate::http::endpoint::Endpoint;
use crate::http::reply;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    vec![
        publisher.post(
            "/dev/api/snap-push",
            Permission::SnapPublish,
            "Make a revision of an uploaded file",
            accept,
        ),
        publisher.open_get(
            "/dev/api/snaps/{snap-id}/builds/{upload}/status",
            "Tell what became of an upload",
            status,
        ),
    ]
}

#[derive(Debug, Deserialize)]
struct PushBody {
    name: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    updown_id: Option<String>,
    #[serde(default)]
    binary_filesize: Option<u64>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    #[serde(default)]
    components: Option<BTreeMap<String, String>>,
    #[serde(default)]
    delta_format: Option<String>,
    #[serde(default)]
    delta_hash: Option<BlobId>,
    #[serde(default)]
    source_hash: Option<BlobId>,
    #[serde(default)]
    target_hash: Option<BlobId>,
}

impl PushBody {
    fn delta(&self) -> Result<Option<NewDelta>, Refusal> {
        let Some(format) = &self.delta_format else {
            return Ok(None);
        };
        match (self.delta_hash, self.source_hash, self.target_hash) {
            (Some(delta), Some(source), Some(target)) => Ok(Some(NewDelta {
                format: format.clone(),
                delta,
                source,
                target,
            })),
            _ => Err(Refusal::invalid(
                "invalid-request",
                "cannot read the request: with delta_format go delta_hash, source_hash and target_hash",
            )),
        }
    }
}

/// An upload id; what cannot be one is as good as an unknown one.
pub(super) fn upload_id(text: &str) -> Result<UploadId, Refusal> {
    text.parse().map_err(|_| {
        Refusal::invalid(
            "upload-not-found",
            "cannot find the uploaded file: there is no such upload id; upload it again",
        )
    })
}

/// Channels as people type them.
pub(super) fn channels(texts: &[String]) -> Result<Vec<Channel>, Refusal> {
    Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
}

async fn accept(app: App, ctx: UnplacedCtx, input: Input<Json<PushBody>>) -> Outcome<Response> {
    let Json(body) = input.body;
    // No snap has a name that is none.
    let name: SnapName = body.name.parse().map_err(|_| {
        Refusal::not_found("cannot find the snap: this is no name of a snap; register one first")
    })?;
    let snap = ctx.snap(&app, &name).await?;
    if body.dry_run {
        return Ok(reply::json_with(StatusCode::ACCEPTED, &json!({})));
    }
    let upload = body
        .updown_id
        .as_deref()
        .ok_or_else(|| Refusal::invalid("invalid-request", "cannot read the request: it lacks updown_id"))?;
    let upload = upload_id(upload)?;
    let delta = body.delta()?;
    let mut components = Vec::new();
    for (name, id) in body.components.unwrap_or_default() {
        components.push((name, upload_id(&id)?));
    }
    let new = NewPush {
        size: body.binary_filesize,
        components,
        channels: channels(&body.channels.unwrap_or_default())?,
        delta,
        upload,
    };
    push::accept(&app, &snap, &new).await?;
    let url = format!(
        "{}/dev/api/snaps/{}/builds/{}/status",
        app.settings.public_url,
        snap.snap().id,
        new.upload.reveal()
    );
    let answer = json!({"success": true, "status_details_url": url, "status_url": url});
    Ok(reply::json_with(StatusCode::ACCEPTED, &answer))
}

#[derive(Debug, Serialize)]
struct StatusView {
    code: &'static str,
    processed: bool,
    can_release: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    errors: Option<Vec<Value>>,
}

impl StatusView {
    const WAITING: Self = Self {
        code: "being_processed",
        processed: false,
        can_release: false,
        revision: None,
        url: None,
        errors: None,
    };

    fn of(push: &PushRecord, standing: Standing) -> Self {
        let done = |code, revision: u64| Self {
            code,
            processed: true,
            revision: Some(revision),
            url: Some(format!("/snaps/{}/revisions/{revision}", push.name)),
            ..Self::WAITING
        };
        match standing {
            Standing::Working => Self::WAITING,
            Standing::Ready { revision } => Self {
                can_release: true,
                ..done("ready_to_release", revision)
            },
            // With errors clients would take it for refused.
            Standing::Held { revision, .. } => done("need_manual_review", revision),
            Standing::Refused {
                revision,
                reasons,
                whole_file_helps,
            } => Self {
                code: if whole_file_helps {
                    "processing_upload_delta_error"
                } else {
                    "processing_error"
                },
                processed: true,
                revision,
                errors: Some(errors(reasons)),
                ..Self::WAITING
            },
        }
    }
}

/// Why an upload was refused, as clients read it.
pub(super) fn errors(reasons: Vec<(String, String)>) -> Vec<Value> {
    let reasons = reasons.into_iter();
    reasons
        .map(|(code, message)| json!({"code": code, "message": message}))
        .collect()
}

/// Older clients ask without credentials: to know the upload id is enough.
async fn status(app: App, input: Input) -> Outcome<Json<StatusView>> {
    let absent =
        || Refusal::not_found("cannot find the upload: there is none of this id, or it is long over");
    let snap: SnapId = input.variable("snap-id")?;
    let id: UploadId = input.variable("upload").map_err(|_| absent())?;
    let found = push::status(&app, &snap, &id).await?;
    let (push, standing) = found.ok_or_else(absent)?;
    Ok(Json(StatusView::of(&push, standing)))
}
