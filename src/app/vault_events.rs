//! How the vault's administrative acts are written into the audit log.

use serde_json::Value;

use super::{App, BrandCtx};
use crate::domain::audit::AuditEvent;

/// The event of `ctx`'s caller doing `action` to `subject`, now. `detail` is an object without secrets.
pub(super) fn vault_event(
    app: &App,
    ctx: &BrandCtx,
    action: &str,
    subject: &str,
    detail: &Value,
) -> AuditEvent {
    let mut event = ctx.event(app.clock.now(), action, subject);
    for (name, value) in detail
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
    {
        event.detail.insert(name.clone(), value.clone());
    }
    event
}
