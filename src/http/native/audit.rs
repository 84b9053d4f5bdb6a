//! The audit log.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Input, Json, Native, Outcome};
use crate::app::audit::{self, Line, MAX_PAGE, Report, Wanted};
use crate::app::{App, BrandCtx, InstanceCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::audit::{Actor, AuditEntry, ChainHead};
use crate::domain::ident::{AccountId, Email};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/audit{?after,since,action,limit}",
            P::AuditRead,
            "Read the audit log of a brand, oldest first",
            list,
        ),
        native.get(
            "/hallmark/v1/instance/audit{?after,since,action,limit}",
            P::AuditVerify,
            "Read the whole audit log, oldest first",
            list_all,
        ),
        native.get(
            "/hallmark/v1/instance/audit/chains",
            P::AuditVerify,
            "List the chains of the audit log and where they end",
            chains,
        ),
        native.get(
            "/hallmark/v1/instance/audit/chains/{writer}{?from,limit}",
            P::AuditVerify,
            "Read a chain of the audit log as it is hashed",
            chain,
        ),
        native.post(
            "/hallmark/v1/instance/audit/verify",
            P::AuditVerify,
            "Check the whole audit log",
            verify,
        ),
    ]
}

#[derive(Debug, Serialize)]
struct Page {
    entries: Vec<LineView>,
    /// Pass it as `after` for the next page; null at the end.
    next: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct LineView {
    position: u64,
    time: Option<Timestamp>,
    actor: Option<ActorView>,
    brand_id: Option<AccountId>,
    action: Option<String>,
    subject: Option<String>,
    detail: Map<String, Value>,
    writer: String,
    sequence: u64,
    hash: String,
}

#[derive(Debug, Serialize)]
struct ActorView {
    /// `account`, `device`, `local` or `system`.
    kind: &'static str,
    id: Option<String>,
    email: Option<Email>,
}

impl From<Line> for LineView {
    fn from(line: Line) -> Self {
        let Line {
            position,
            entry,
            event,
            email,
        } = line;
        let actor = event.as_ref().map(|event| {
            let (kind, id) = match &event.actor {
                Actor::Account(id) => ("account", Some(id.to_string())),
                Actor::Device(id) => ("device", Some(id.clone())),
                Actor::Local => ("local", None),
                Actor::System => ("system", None),
            };
            ActorView { kind, id, email }
        });
        let time = event.as_ref().map(|event| event.time);
        let (brand_id, action, subject, detail) = match event {
            Some(event) => (event.brand, Some(event.action), Some(event.subject), event.detail),
            None => (None, None, None, Map::new()),
        };
        let (writer, sequence, hash) = (entry.writer, entry.sequence, entry.hash);
        Self {
            position,
            time,
            actor,
            brand_id,
            action,
            subject,
            detail,
            writer,
            sequence,
            hash,
        }
    }
}

async fn list(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Page>> {
    let wanted = wanted(&input)?;
    let limit = wanted.limit;
    Ok(page(audit::list(&app, &ctx, wanted).await?, limit))
}

async fn list_all(app: App, ctx: InstanceCtx, input: Input) -> Outcome<Json<Page>> {
    let wanted = wanted(&input)?;
    let limit = wanted.limit;
    Ok(page(audit::list_all(&app, &ctx, wanted).await?, limit))
}

async fn chains(app: App, ctx: InstanceCtx, _input: Input) -> Outcome<Json<Vec<ChainHead>>> {
    Ok(Json(audit::copy::heads(&app, &ctx).await?))
}

#[derive(Debug, Serialize)]
struct ChainView {
    entries: Vec<AuditEntry>,
}

async fn chain(app: App, ctx: InstanceCtx, input: Input) -> Outcome<Json<ChainView>> {
    let limit = limit(&input)?;
    let from = input.query("from")?.unwrap_or(1);
    let writer: String = input.variable("writer")?;
    let entries = audit::copy::chain(&app, &ctx, &writer, from, limit).await?;
    Ok(Json(ChainView { entries }))
}

fn limit(input: &Input) -> Outcome<Option<usize>> {
    let limit: Option<usize> = input.query("limit")?;
    if limit.is_some_and(|limit| limit == 0 || limit > MAX_PAGE) {
        let message = format!("cannot read the query: limit must be 1 to {MAX_PAGE}");
        return Err(Refusal::invalid("invalid-request", message).into());
    }
    Ok(limit)
}

fn wanted(input: &Input) -> Outcome<Wanted> {
    Ok(Wanted {
        action_prefix: input.query("action")?,
        since: input.query("since")?,
        after: input.query("after")?,
        limit: limit(input)?,
    })
}

fn page(lines: Vec<Line>, limit: Option<usize>) -> Json<Page> {
    let full = lines.len() >= limit.unwrap_or(MAX_PAGE);
    let next = lines.last().map(|line| line.position).filter(|_| full);
    Json(Page {
        entries: lines.into_iter().map(LineView::from).collect(),
        next,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Question {
    /// A checkpoint that was noted earlier.
    #[serde(default)]
    known: Option<Noted>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Noted {
    number: u64,
    signature: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ReportView {
    verdict: &'static str,
    entries: u64,
    chains: usize,
    checkpoints: u64,
    last_checkpoint: Option<CheckpointView>,
    entries_after_it: u64,
    problems: Vec<ProblemView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct CheckpointView {
    number: u64,
    time: Timestamp,
    signature: String,
    public_key: String,
}

#[derive(Debug, Serialize)]
struct ProblemView {
    code: &'static str,
    message: String,
}

async fn verify(app: App, ctx: InstanceCtx, input: Input<Json<Question>>) -> Outcome<Json<ReportView>> {
    let known = input.body.0.known.map(|noted| (noted.number, noted.signature));
    let Report {
        entries,
        chains,
        checkpoints,
        last,
        uncovered,
        problems,
    } = audit::verify(&app, &ctx, known).await?;
    Ok(Json(ReportView {
        verdict: if problems.is_empty() { "ok" } else { "broken" },
        entries,
        chains,
        checkpoints,
        last_checkpoint: last.map(|last| CheckpointView {
            number: last.number,
            time: last.time,
            signature: last.signature,
            public_key: last.public_key,
        }),
        entries_after_it: uncovered,
        problems: problems
            .into_iter()
            .map(|p| ProblemView {
                code: p.code,
                message: p.message,
            })
            .collect(),
    }))
}
