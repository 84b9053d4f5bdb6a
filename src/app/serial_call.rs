//! What a device sends to get a serial: the stream of assertions, and what it asks for in there
//! (serial-vault.md 4.2, steps 3 to 7 and 14 of 4.3).

use bytes::Bytes;

use super::IssueError;
use super::remodel::Remodel;
use crate::domain::assertion::types::{Original, SerialRequest};
use crate::domain::assertion::{Assertion, AssertionType, Limits, StreamDecoder};
use crate::domain::ident::{BrandId, ModelName, SerialNumber};
use crate::domain::vault::{ProposalError, proposed_serial};

/// Most assertions that are looked at in one request: serial-request, model, serial, and one too many.
pub const MAX_ASSERTIONS: usize = 4;
/// Bodies longer than this are searched for a serial off the event loop, in bytes.
const LONG_BODY: usize = 16 * 1024;

/// The decoded parts of a serial-request call.
pub(super) struct Call {
    pub request: Assertion,
    pub model: Option<Assertion>,
    pub old_serial: Option<Assertion>,
}

/// Steps 3 to 7: at most three assertions of the right types, and nothing after them.
pub(super) fn decode(body: &Bytes, limits: Limits) -> Result<Call, IssueError> {
    let mut stream = StreamDecoder::with_limits(body.clone(), limits)
        .take(MAX_ASSERTIONS)
        .zip(1..);
    let mut next = || match stream.next() {
        None => Ok(None),
        Some((Ok(assertion), number)) => Ok(Some((assertion, number))),
        Some((Err(e), number)) => Err(IssueError::Undecodable {
            number,
            reason: e.to_string(),
        }),
    };
    let (request, _) = next()?.ok_or(IssueError::EmptyData)?;
    if request.kind() != AssertionType::SerialRequest {
        return Err(IssueError::NotASerialRequest(request.kind().name()));
    }
    let mut ancillary = |wanted: AssertionType| match next()? {
        None => Ok(None),
        Some((found, _)) if found.kind() == wanted => Ok(Some(found)),
        Some((found, number)) => Err(IssueError::WrongAncillary {
            number,
            found: found.kind().name(),
            wanted: wanted.name(),
        }),
    };
    let model = ancillary(AssertionType::Model)?;
    let old_serial = ancillary(AssertionType::Serial)?;
    if next()?.is_some() {
        return Err(IssueError::TrailingData);
    }
    Ok(Call {
        request,
        model,
        old_serial,
    })
}

/// Only all three headers together make a remodelling (serial-vault.md 4.3, step 10).
pub(super) fn is_complete(original: &Original) -> bool {
    ![&original.brand_id, &original.model, &original.serial]
        .iter()
        .any(|text| text.is_empty())
}

pub(super) fn names(request: &SerialRequest) -> Result<(BrandId, ModelName), ()> {
    Ok((
        request.brand_id.parse().map_err(drop)?,
        request.model.parse().map_err(drop)?,
    ))
}

/// Step 14. A remodelling device that proposes no serial keeps its number; under a rule for one serial it must.
pub(super) async fn wanted_serial(
    request: &SerialRequest,
    assertion: &Assertion,
    remodel: Option<&Remodel>,
) -> Result<SerialNumber, IssueError> {
    let proposed = if assertion.body().len() > LONG_BODY {
        let (header, assertion) = (request.serial.clone(), assertion.clone());
        let search = move || proposed_serial(header.as_deref(), assertion.body());
        // A search that broke off has not found that there is none.
        tokio::task::spawn_blocking(search)
            .await
            .map_err(|_| IssueError::SigningBroke)?
    } else {
        proposed_serial(request.serial.as_deref(), assertion.body())
    };
    let Some(remodel) = remodel else {
        return Ok(proposed?);
    };
    let serial = match proposed {
        // A body that is no YAML is none of ours.
        Err(ProposalError::Missing | ProposalError::Unreadable(_)) => remodel.original.serial.clone(),
        other => other?,
    };
    if remodel.rule.from_serial.is_some() && serial != remodel.original.serial {
        return Err(IssueError::NoRemodelRule);
    }
    Ok(serial)
}
