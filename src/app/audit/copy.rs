//! Copies of the audit log elsewhere: chain by chain, each entry as it is hashed, so that the copy proves itself.

use super::MAX_PAGE;
use crate::app::{App, InstanceCtx, Refusal};
use crate::domain::audit::{AuditEntry, ChainHead};

/// The end of every chain. A copy is complete if it holds each of them up to here.
pub async fn heads(app: &App, _ctx: &InstanceCtx) -> Result<Vec<ChainHead>, Refusal> {
    Ok(app.storage.heads().await?)
}

/// Entries of the chain of `writer` from number `from` on, at most `limit` and never more than [`MAX_PAGE`]. Chains of
/// several processes grow side by side, positions in the log may be seen late; numbers of one chain never have gaps.
pub async fn chain(
    app: &App,
    _ctx: &InstanceCtx,
    writer: &str,
    from: u64,
    limit: Option<usize>,
) -> Result<Vec<AuditEntry>, Refusal> {
    let limit = limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    Ok(app.storage.chain(writer, from, limit).await?)
}
