//! Files from anybody (publisher-api.md 5): no client sends credentials here. Only who may publish can make something of a
//! file, by the id that its client alone was told.

use serde::Serialize;

use super::{Form, Input, Json, Outcome, Publisher};
use crate::app::catalog::uploads::Receiving;
use crate::app::{App, Refusal};
use crate::http::endpoint::Endpoint;

/// The part that is the file.
const PART: &str = "binary";
/// Most bytes of parts that are something else.
const MAX_OTHER: usize = 64 * 1024;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    vec![publisher.open_post(
        "/unscanned-upload",
        "Upload a file that is pushed afterwards",
        receive,
    )]
}

#[derive(Debug, Serialize)]
struct Received {
    successful: bool,
    upload_id: String,
}

/// The file is there once the whole form is; before, nothing is.
async fn receive(app: App, input: Input<Form>) -> Outcome<Json<Received>> {
    let Form(mut form) = input.body;
    let mut file = None;
    while let Some(part) = form.next().await? {
        if part.name != PART {
            form.whole(&part, MAX_OTHER).await?;
            continue;
        }
        if file.is_some() {
            return Err(Refusal::invalid(
                "invalid-multipart",
                "cannot take the upload: it has more than one file; send one at a time",
            )
            .into());
        }
        let mut receiving = Receiving::begin(&app, input.peer).await?;
        while let Some(piece) = form.piece().await? {
            receiving.write(piece).await?;
        }
        file = Some(receiving);
    }
    let file = file.ok_or_else(|| {
        Refusal::invalid(
            "invalid-multipart",
            format!("cannot take the upload: it has no part named {PART}"),
        )
    })?;
    Ok(Json(Received {
        successful: true,
        upload_id: file.finish().await?.reveal().to_owned(),
    }))
}
