//! Forms that bring files: read part by part while they arrive, never held as a whole.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::route::Stop;
use crate::app::Refusal;
use crate::http::body::Unread;
use crate::http::multipart::{Multipart, MultipartError};

/// Longest text in such a form, in bytes; files are bounded by who takes them.
const MAX_TEXT: usize = 64 * 1024;

/// What is left of a form.
#[derive(Debug)]
pub(super) struct Parts {
    form: Multipart,
    announced: Option<u64>,
}

/// A part of a form.
pub(super) enum Part {
    /// A field: its name and text.
    Text(String, String),
    /// A file.
    File(File),
}

/// A file that is arriving: what is in it comes with [`Parts::piece`].
pub(super) struct File {
    /// The name of its field.
    pub field: String,
    /// Whether somebody chose one: browsers send an empty one without a name where nobody did.
    pub chosen: bool,
}

impl Parts {
    /// The form in `body`.
    pub(super) fn begin(body: Unread, headers: &HeaderMap) -> Result<Self, Stop> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(CONTENT_TYPE).ok_or(Stop::NotOurs)?;
        Ok(Self {
            form: Multipart::new(body.pieces(), content_type).map_err(|_| Stop::NotOurs)?,
            announced: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        })
    }

    /// How long the whole form is, where that is known.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Reads on and forgets what comes, about `limit` bytes: browsers read no answer before they have sent everything.
    pub(super) async fn discard(&mut self, limit: u64) {
        let mut left = limit;
        loop {
            match self.form.piece().await {
                Ok(Some(piece)) => match left.checked_sub(piece.len() as u64) {
                    Some(less) => left = less,
                    None => return,
                },
                Ok(None) => match self.form.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                },
                Err(_) => return,
            }
        }
    }

    /// The next part; none at the end. What is left of the one before is passed over.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, Refusal> {
        let Some(part) = self.form.next().await.map_err(|error| broken(&error))? else {
            return Ok(None);
        };
        if let Some(file) = &part.filename {
            let chosen = !file.is_empty();
            return Ok(Some(Part::File(File {
                field: part.name,
                chosen,
            })));
        }
        let text = self
            .form
            .whole(&part, MAX_TEXT)
            .await
            .map_err(|error| broken(&error))?;
        let text = String::from_utf8(text.into()).map_err(|_| {
            Refusal::invalid(
                "invalid-request",
                "cannot read the form: a field is no UTF-8 text",
            )
        })?;
        Ok(Some(Part::Text(part.name, text)))
    }

    /// The next part, where it is a text.
    pub(super) async fn next_text(&mut self) -> Result<Option<(String, String)>, Stop> {
        Ok(match self.next().await? {
            Some(Part::Text(name, text)) => Some((name, text)),
            Some(Part::File(_)) | None => None,
        })
    }

    /// The next piece of the file; none at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Refusal> {
        self.form.piece().await.map_err(|error| broken(&error))
    }
}

fn broken(error: &MultipartError) -> Refusal {
    Refusal::invalid("invalid-request", error.to_string())
}
