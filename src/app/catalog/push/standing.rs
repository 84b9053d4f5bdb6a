//! What became of a push, for who asks by the id of its upload.

use crate::app::catalog::review;
use crate::app::{App, Refusal};
use crate::domain::catalog::{PushRecord, PushState, SnapRecord, UploadId};
use crate::domain::ident::SnapId;
use crate::domain::review::{ReviewRecord, ReviewState, Severity};

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is worked on.
    Working,
    /// It is a revision that can be released.
    Ready {
        /// Its number.
        revision: u64,
    },
    /// It is a revision that a reviewer looks at, or asks something about.
    Held {
        /// Its number.
        revision: u64,
        /// For people: what it waits for.
        waits_for: String,
    },
    /// It is none, or one that nobody may release.
    Refused {
        /// Its number, where it has one.
        revision: Option<u64>,
        /// Why: codes for programs, texts for people; at least one.
        reasons: Vec<(String, String)>,
        /// The client may send the whole file instead of a difference.
        whole_file_helps: bool,
    },
}

/// What became of a push to this snap; none if there is no such push (any more).
///
/// # Errors
/// If the storage is out of reach.
pub async fn status(
    app: &App,
    snap: &SnapId,
    id: &UploadId,
) -> Result<Option<(PushRecord, Standing)>, Refusal> {
    let found = app.storage.find::<PushRecord>([id.hash().as_str()]).await?;
    let Some(push) = found
        .map(|found| found.record)
        .filter(|push| push.snap_id == *snap)
    else {
        return Ok(None);
    };
    let standing = match &push.state {
        PushState::Working { .. } => Standing::Working,
        PushState::Taken { revision, .. } => {
            let snap = app.storage.find::<SnapRecord>([push.snap_id.as_str()]).await?;
            let review = match snap {
                Some(snap) => review::record_of(app, &snap.record, *revision).await?,
                None => None,
            };
            reviewed(*revision, review.map(|found| found.record))
        }
        PushState::Refused {
            code,
            message,
            whole_file_helps,
            ..
        } => Standing::Refused {
            revision: None,
            reasons: vec![(code.clone(), message.clone())],
            whole_file_helps: *whole_file_helps,
        },
    };
    Ok(Some((push, standing)))
}

/// Where a revision with this review stands.
fn reviewed(revision: u64, review: Option<ReviewRecord>) -> Standing {
    let Some(review) = review else {
        return Standing::Ready { revision };
    };
    let said = review.history.last().map(|step| step.comment.as_str());
    let said = said.filter(|comment| !comment.is_empty());
    let found = |severity| {
        let findings = review.findings.iter().filter(move |one| one.severity == severity);
        findings.map(|one| (one.code.clone(), one.text.clone()))
    };
    match review.state {
        ReviewState::Approved => Standing::Ready { revision },
        ReviewState::ManualReviewPending => {
            let reasons: Vec<String> = found(Severity::Hold).map(|(_, text)| text).collect();
            let waits_for = match reasons.as_slice() {
                [] => format!("revision {revision} waits for a reviewer of the store"),
                reasons => format!(
                    "revision {revision} waits for a reviewer of the store: {}",
                    reasons.join("; ")
                ),
            };
            Standing::Held { revision, waits_for }
        }
        ReviewState::NeedsInformation => Standing::Held {
            revision,
            waits_for: format!(
                "a reviewer asks about revision {revision}: {}",
                said.unwrap_or("see `hallmark snap review`")
            ),
        },
        ReviewState::Rejected | ReviewState::AutomaticallyRejected => {
            let mut reasons: Vec<(String, String)> = found(Severity::Reject).collect();
            if review.state == ReviewState::Rejected || reasons.is_empty() {
                let why = said.unwrap_or("no reason was given");
                reasons = vec![(
                    "rejected".to_owned(),
                    format!("revision {revision} was rejected: {why}"),
                )];
            }
            Standing::Refused {
                revision: Some(revision),
                reasons,
                whole_file_helps: false,
            }
        }
    }
}
