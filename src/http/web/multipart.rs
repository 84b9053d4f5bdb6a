//! Forms that bring files: read part by part while they arrive, never held as a whole.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use multer::{Constraints, Field, Multipart, SizeLimit};

use super::route::Stop;
use crate::app::Refusal;
use crate::http::body::{BodyError, Unread};

/// Longest text in such a form, in bytes; files are bounded by who takes them.
const MAX_TEXT: usize = 64 * 1024;
/// Most fields and files of one form.
const MAX_PARTS: usize = 300;

/// What is left of a form.
pub(super) struct Parts {
    form: Multipart<'static>,
    read: usize,
    announced: Option<u64>,
    /// How many bytes are read yet at most.
    allowed: Arc<AtomicU64>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

/// A part of a form.
pub(super) enum Part {
    /// A field: its name and text.
    Text(String, String),
    /// A file.
    File(File),
}

/// A file that is arriving.
pub(super) struct File {
    /// The name of its field.
    pub field: String,
    /// Whether somebody chose one: browsers send an empty one without a name where nobody did.
    pub chosen: bool,
    content: Box<Field<'static>>,
}

impl Parts {
    /// The form in `body`.
    pub(super) fn begin(body: Unread, headers: &HeaderMap) -> Result<Self, Stop> {
        let boundary = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| multer::parse_boundary(text).ok())
            .ok_or(Stop::NotOurs)?;
        let allowed = Arc::new(AtomicU64::new(u64::MAX));
        let pieces = stream::unfold(
            (body.pieces(), Arc::clone(&allowed)),
            |(mut pieces, allowed)| async move {
                let piece = match pieces.next().await {
                    Ok(Some(piece)) => {
                        let left = allowed.load(Ordering::Relaxed).checked_sub(piece.len() as u64);
                        match left {
                            Some(left) => {
                                allowed.store(left, Ordering::Relaxed);
                                Ok(piece)
                            }
                            None => Err(BodyError::Broken),
                        }
                    }
                    Ok(None) => return None,
                    Err(error) => Err(error),
                };
                Some((piece, (pieces, allowed)))
            },
        );
        // What a part may hold is judged where it is taken: texts here, files by their taker.
        let limits = Constraints::new().size_limit(SizeLimit::new());
        Ok(Self {
            form: Multipart::with_constraints(pieces, boundary, limits),
            read: 0,
            allowed,
            announced: headers
                .get(CONTENT_LENGTH)
                .and_then(|value| value.to_str().ok()?.parse().ok()),
        })
    }

    /// How long the whole form is, where that is known.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Reads on and forgets what comes, at most `limit` bytes: browsers read no answer before they have sent everything.
    pub(super) async fn discard(&mut self, limit: u64) {
        self.allowed.store(limit, Ordering::Relaxed);
        while let Ok(Some(_)) = self.next().await {}
    }

    /// The next part; none at the end. The one before must have been taken.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, Refusal> {
        let Some(mut field) = self.form.next_field().await.map_err(|error| broken(&error))? else {
            return Ok(None);
        };
        self.read += 1;
        if self.read > MAX_PARTS {
            return Err(Refusal::invalid(
                "invalid-request",
                format!("cannot read the form: it has more than {MAX_PARTS} parts"),
            ));
        }
        let name = field.name().unwrap_or_default().to_owned();
        if let Some(file) = field.file_name() {
            let chosen = !file.is_empty();
            return Ok(Some(Part::File(File {
                field: name,
                chosen,
                content: Box::new(field),
            })));
        }
        let mut text = Vec::new();
        while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
            text.extend_from_slice(&piece);
            if text.len() > MAX_TEXT {
                return Err(Refusal::invalid(
                    "invalid-request",
                    format!("cannot read the form: a field has more than {MAX_TEXT} bytes"),
                ));
            }
        }
        let text = String::from_utf8(text).map_err(|_| {
            Refusal::invalid(
                "invalid-request",
                "cannot read the form: a field is no UTF-8 text",
            )
        })?;
        Ok(Some(Part::Text(name, text)))
    }

    /// The next part, where it is a text.
    pub(super) async fn next_text(&mut self) -> Result<Option<(String, String)>, Stop> {
        Ok(match self.next().await? {
            Some(Part::Text(name, text)) => Some((name, text)),
            Some(Part::File(_)) | None => None,
        })
    }
}

impl File {
    /// The next piece of it; none at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Refusal> {
        self.content.chunk().await.map_err(|error| broken(&error))
    }
}

fn broken(error: &multer::Error) -> Refusal {
    Refusal::invalid("invalid-request", format!("cannot read the form: {error}"))
}
