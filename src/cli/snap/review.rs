//! `snap review`: the queue of revisions that wait for a person, and what reviewers decide.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{path, text};
use crate::cli::remote::{Client, native};
use crate::cli::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{SnapName, StoreId};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List what waits for a reviewer or for the publisher
    List(List),
    /// Show a revision: what the checks found, its plugs and slots, what was done
    Show(One),
    /// Let a revision through: it is signed, and released where its upload said
    Approve(Act),
    /// Refuse a revision, with a comment for the publisher
    Reject(Comment),
    /// Ask the publisher something; the revision waits for the answer
    Ask(Comment),
    /// Run the automatic checks again, after a change of the declaration or the policy
    Rerun(Act),
    /// Answer what a reviewer asked (publishers)
    Answer(Comment),
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Status {
    /// What waits for a reviewer or for the publisher
    #[default]
    Open,
    /// What waits for a reviewer
    Pending,
    /// What waits for the publisher
    NeedsInformation,
    /// What was refused
    Rejected,
    /// What was approved
    Approved,
    /// Everything
    All,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only of this base store
    #[arg(long, value_name = "STORE")]
    store: Option<StoreId>,
    /// Which ones
    #[arg(long, value_enum, default_value = "open")]
    status: Status,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// The snap
    name: SnapName,
    /// The revision
    revision: u64,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Act {
    #[command(flatten)]
    one: One,
    /// For who reads it later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Comment {
    #[command(flatten)]
    one: One,
    /// What is wrong, what you need to know, or your answer
    #[arg(long, value_name = "TEXT")]
    comment: String,
}

const ROW: &[Column] = &[
    Column::field("SNAP", "name"),
    Column::field("REVISION", "revision"),
    Column::field("STATE", "state"),
    Column::with("BECAUSE", codes),
    Column::field("RELEASE TO", "channels"),
    Column::field("UPLOADED", "created-at"),
];

const CARD: &[Column] = &[
    Column::field("Snap", "name"),
    Column::with("Revision", |row| inner(row, "revision", "revision")),
    Column::with("Version", |row| inner(row, "revision", "version")),
    Column::with("Confinement", |row| inner(row, "revision", "confinement")),
    Column::with("State", |row| inner(row, "revision", "review")),
    Column::with("Release to", |row| inner(row, "review", "channels")),
];

const FINDING_ROW: &[Column] = &[
    Column::field("WEIGHT", "severity"),
    Column::field("CODE", "code"),
    Column::field("FOUND", "text"),
];

const CONNECTION_ROW: &[Column] = &[
    Column::field("SIDE", "side"),
    Column::field("NAME", "name"),
    Column::field("INTERFACE", "interface"),
    Column::field("CLASS", "class"),
    Column::field("DECLARATION", "standing"),
    Column::field("NEW", "new"),
];

const STEP_ROW: &[Column] = &[
    Column::field("TIME", "time"),
    Column::field("ACCOUNT", "account-id"),
    Column::field("ACT", "act"),
    Column::field("STATE", "to"),
    Column::field("COMMENT", "comment"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::List(List { store, status, brand }) => {
                let status = status.to_possible_value();
                let status = status.map(|value| value.get_name().to_owned());
                let query: Vec<(&str, &str)> = status
                    .as_deref()
                    .map(|status| ("status", status))
                    .into_iter()
                    .collect();
                // By the path of the store roles held only there count.
                let path = match &store {
                    Some(store) => native(&["stores", store.as_str(), "reviews"]),
                    None => native(&["reviews"]),
                };
                let rows = Client::open(&brand)?.get(&path, &query).await?;
                cx.out.list(&rows, ROW)
            }
            Self::Show(one) => {
                let shown = Client::open(&one.brand)?.get(&one.path(&[]), &[]).await?;
                cx.out.item(&shown, CARD)?;
                tables(cx, &shown)
            }
            Self::Approve(Act { one, comment }) => act(cx, &one, "approve", &comment).await,
            Self::Rerun(Act { one, comment }) => act(cx, &one, "rerun", &comment).await,
            Self::Reject(Comment { one, comment }) => act(cx, &one, "reject", &comment).await,
            Self::Ask(Comment { one, comment }) => act(cx, &one, "ask-information", &comment).await,
            Self::Answer(Comment { one, comment }) => {
                let body = json!({ "comment": comment });
                let done = Client::open(&one.brand)?
                    .post(&one.path(&["answer"]), &body)
                    .await?;
                finish(cx, &one, &done)
            }
        }
    }
}

impl One {
    fn path(&self, more: &[&str]) -> String {
        let revision = self.revision.to_string();
        path(
            &self.name,
            &[&["revisions", revision.as_str(), "review"], more].concat(),
        )
    }
}

async fn act(cx: &Cx, one: &One, action: &str, comment: &str) -> Result<(), CliError> {
    let body = json!({ "action": action, "comment": comment });
    let done = Client::open(&one.brand)?.post(&one.path(&[]), &body).await?;
    finish(cx, one, &done)
}

fn finish(cx: &Cx, one: &One, done: &Value) -> Result<(), CliError> {
    let remarks = done.get("remarks").and_then(Value::as_array);
    for remark in remarks.into_iter().flatten().filter_map(Value::as_str) {
        cx.out.warn(remark);
    }
    let state = inner(done, "revision", "review");
    cx.out.done(
        done,
        &format!("revision {} of {} is {state}", one.revision, one.name),
    )
}

/// What the card has no room for.
fn tables(cx: &Cx, shown: &Value) -> Result<(), CliError> {
    if cx.out.format() != Format::Table {
        return Ok(());
    }
    for (place, columns) in [
        ("/review/findings", FINDING_ROW),
        ("/connections", CONNECTION_ROW),
        ("/review/history", STEP_ROW),
    ] {
        let rows = shown.pointer(place).unwrap_or(&Value::Null);
        if rows.as_array().is_some_and(|rows| !rows.is_empty()) {
            cx.out.data(b"\n")?;
            cx.out.list(rows, columns)?;
        }
    }
    Ok(())
}

/// The codes of what holds a revision, or of what was noted.
pub(super) fn codes(row: &Value) -> String {
    let findings = row.get("findings").and_then(Value::as_array);
    let codes: Vec<&str> = findings
        .into_iter()
        .flatten()
        .filter(|finding| text(finding, "severity") != "note")
        .map(|finding| text(finding, "code"))
        .collect();
    if codes.is_empty() {
        "-".to_owned()
    } else {
        codes.join(", ")
    }
}

fn inner(row: &Value, part: &str, field: &str) -> String {
    match row.get(part).and_then(|part| part.get(field)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if !items.is_empty() => {
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            texts.join(", ")
        }
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    }
}
