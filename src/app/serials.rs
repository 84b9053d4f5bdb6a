//! The signing log and what operators decide about serials: lists, standings, approvals.

use serde_json::json;

use super::{App, BrandCtx, Refusal, fleet, models, vault_event};
use crate::domain::ident::{DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::Approval;
use crate::domain::vault::{SerialRow, Standing};
use crate::ports::{ApprovalRow, SerialFilter, StandingRow};

/// Rows of one page unless fewer are asked for.
pub const PAGE: usize = 100;
/// Most rows of one page.
pub const MAX_PAGE: usize = 1000;
/// Most serials that can be judged in one call.
pub const MAX_JUDGED: usize = 100_000;

/// Which part of the signing log is wanted. All given conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct SerialQuery {
    /// Only these models; empty = all.
    pub models: Vec<ModelName>,
    /// Serials that start with this text.
    pub serial_prefix: Option<String>,
    /// Only this device key.
    pub device_key: Option<KeyId>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Continue below this position.
    pub before: Option<u64>,
    /// At most this many rows; none = [`PAGE`].
    pub limit: Option<usize>,
}

impl SerialQuery {
    fn filter(self, ctx: &BrandCtx) -> SerialFilter {
        SerialFilter {
            brand: ctx.brand().clone(),
            models: self.models,
            serial_prefix: self.serial_prefix,
            device_key: self.device_key,
            since: self.since,
            until: self.until,
            before: self.before,
            limit: self.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE),
        }
    }
}

/// One page of the log, newest first.
#[derive(Clone, Debug)]
pub struct SerialPage {
    /// The rows.
    pub rows: Vec<SerialRow>,
    /// Where the next page begins, if there is more.
    pub next: Option<u64>,
}

/// A page of the signing log.
pub async fn list(app: &App, ctx: &BrandCtx, query: SerialQuery) -> Result<SerialPage, Refusal> {
    page(app, query.filter(ctx)).await
}

/// How many rows match.
pub async fn count(app: &App, ctx: &BrandCtx, query: SerialQuery) -> Result<u64, Refusal> {
    Ok(app.storage.count_serials(&query.filter(ctx)).await?)
}

pub(super) async fn page(app: &App, mut filter: SerialFilter) -> Result<SerialPage, Refusal> {
    let wanted = filter.limit;
    filter.limit = wanted.saturating_add(1);
    let mut rows = app.storage.serials(&filter).await?;
    let more = rows.len() > wanted;
    rows.truncate(wanted);
    let next = if more {
        rows.last().map(|row| row.position)
    } else {
        None
    };
    Ok(SerialPage { rows, next })
}

/// Reads the whole log page by page; the source of streamed exports.
#[derive(Debug)]
pub struct SerialReader {
    app: App,
    filter: Option<SerialFilter>,
}

impl SerialReader {
    /// A reader of everything that matches `query` (its limit is left aside).
    pub fn new(app: &App, ctx: &BrandCtx, query: SerialQuery) -> Self {
        let filter = SerialFilter {
            limit: MAX_PAGE,
            ..query.filter(ctx)
        };
        Self {
            app: app.clone(),
            filter: Some(filter),
        }
    }

    /// The next rows; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<SerialRow>>, Refusal> {
        let Some(filter) = self.filter.take() else {
            return Ok(None);
        };
        let SerialPage { rows, next } = page(&self.app, filter.clone()).await?;
        self.filter = next.map(|before| SerialFilter {
            before: Some(before),
            ..filter
        });
        Ok(if rows.is_empty() { None } else { Some(rows) })
    }
}

/// Everything known of one device's serial.
#[derive(Clone, Debug)]
pub struct SerialStory {
    /// All rows, highest revision first.
    pub rows: Vec<SerialRow>,
    /// How operators judge it.
    pub standing: Option<Standing>,
}

/// The story of one serial.
pub async fn show(
    app: &App,
    ctx: &BrandCtx,
    model: &ModelName,
    serial: &SerialNumber,
) -> Result<SerialStory, Refusal> {
    let device = device(ctx, model, serial);
    let rows = app.storage.history(&device).await?;
    let standing = app.storage.standing(&device).await?;
    if rows.is_empty() && standing.is_none() {
        return Err(Refusal::not_found(format!(
            "cannot find serial {serial} of model {model}"
        )));
    }
    Ok(SerialStory { rows, standing })
}

/// Judges serials of a model: puts them on the allow-list, denies them, or (none) takes the judgement back.
pub async fn judge(
    app: &App,
    ctx: &BrandCtx,
    model: &ModelName,
    serials: &[SerialNumber],
    standing: Option<Standing>,
) -> Result<(), Refusal> {
    models::find(app, ctx, model).await?;
    if serials.is_empty() {
        return Err(Refusal::invalid(
            "empty-list",
            "cannot judge serials: the list is empty",
        ));
    }
    if serials.len() > MAX_JUDGED {
        return Err(Refusal::invalid(
            "too-many-serials",
            format!("cannot judge more than {MAX_JUDGED} serials in one call: send the list in parts"),
        ));
    }
    put_standing(app, ctx, model, serials, standing).await
}

/// Writes a judgement down, whether or not the model is known yet.
pub(super) async fn put_standing(
    app: &App,
    ctx: &BrandCtx,
    model: &ModelName,
    serials: &[SerialNumber],
    standing: Option<Standing>,
) -> Result<(), Refusal> {
    let action = match standing {
        Some(Standing::Allowed) => "serial.allow",
        Some(Standing::Denied) => "serial.deny",
        None => "serial.forget",
    };
    let first: Vec<&str> = serials.iter().take(20).map(SerialNumber::as_str).collect();
    let detail = json!({ "count": serials.len(), "serials": first });
    let event = vault_event(app, ctx, action, &format!("{}/{model}", ctx.brand()), &detail);
    app.storage
        .set_standing(ctx.brand(), model, serials, standing, app.clock.now(), event)
        .await?;
    fleet::devices::follow_standing(app, ctx.brand(), model, serials, standing);
    Ok(())
}

/// Judged serials of a model, ordered by serial, after `after`.
pub async fn judged(
    app: &App,
    ctx: &BrandCtx,
    model: &ModelName,
    after: Option<&SerialNumber>,
    limit: Option<usize>,
) -> Result<Vec<StandingRow>, Refusal> {
    models::find(app, ctx, model).await?;
    let limit = limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    Ok(app.storage.standings(ctx.brand(), model, after, limit).await?)
}

/// Requests that wait for a person, oldest first.
pub async fn approvals(app: &App, ctx: &BrandCtx) -> Result<Vec<ApprovalRow>, Refusal> {
    Ok(app.storage.approvals(ctx.brand()).await?)
}

/// What a person says about a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The device's next poll gets its serial.
    Approve,
    /// The device's next poll is refused.
    Reject,
}

/// Decides the request of a device key that waits for this serial. The key may be left out if only one waits.
pub async fn decide(
    app: &App,
    ctx: &BrandCtx,
    model: &ModelName,
    serial: &SerialNumber,
    device_key: Option<&KeyId>,
    decision: Decision,
) -> Result<ApprovalRow, Refusal> {
    let device = device(ctx, model, serial);
    let waiting: Vec<ApprovalRow> = app
        .storage
        .approvals(ctx.brand())
        .await?
        .into_iter()
        .filter(|row| row.device == device && device_key.is_none_or(|key| *key == row.device_key))
        .collect();
    let nothing = || {
        Refusal::not_found(format!(
            "cannot find a waiting request for serial {serial} of model {model}"
        ))
    };
    let [row] = waiting.as_slice() else {
        return Err(if waiting.is_empty() {
            nothing()
        } else {
            Refusal::conflict(
                "several-requests",
                format!(
                    "cannot tell which request is meant: {} device keys wait for serial {serial}; name one of them",
                    waiting.len()
                ),
            )
        });
    };
    let (approval, action) = match decision {
        Decision::Approve => (Approval::Approved, "serial.approve"),
        Decision::Reject => (Approval::Rejected, "serial.reject"),
    };
    let detail = json!({ "device-key-sha3-384": row.device_key.as_str() });
    let event = vault_event(app, ctx, action, &device.to_string(), &detail);
    if app
        .storage
        .decide(&device, &row.device_key, approval, event)
        .await?
    {
        Ok(ApprovalRow {
            approval,
            ..row.clone()
        })
    } else {
        Err(nothing())
    }
}

fn device(ctx: &BrandCtx, model: &ModelName, serial: &SerialNumber) -> DeviceId {
    DeviceId {
        brand: ctx.brand().clone(),
        model: model.clone(),
        serial: serial.clone(),
    }
}
