//! `audit`: who did what, and whether the record of it is whole.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::audit_export::Export;
use super::moment::{Moment, now};
use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List entries of the audit log, oldest first
    List(List),
    /// Check that nobody changed the audit log (instance operator)
    Verify(Verify),
    /// Copy the whole audit log into a file elsewhere, and go on copying (instance operator)
    Export(Export),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Not before: a time (2026-01-31T10:00:00Z), a date, or how long ago (7d, 12h)
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: Moment,
    /// Only actions that start with this, e.g. key. or serial.sign
    #[arg(long, value_name = "TEXT")]
    action: Option<String>,
    /// At most this many entries
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Continue after the entry with this number
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Of all brands and the instance itself (instance operator)
    #[arg(long, conflicts_with = "brand")]
    all: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A checkpoint noted earlier: it must still be there, unchanged
    #[arg(long, value_name = "NUMBER:SIGNATURE", value_parser = noted)]
    known: Option<(u64, String)>,
}

const ROW: &[Column] = &[
    Column::field("NO", "position"),
    Column::field("TIME", "time"),
    Column::with("WHO", who),
    Column::field("BRAND", "brand-id"),
    Column::field("ACTION", "action"),
    Column::field("SUBJECT", "subject"),
];

const REPORT: &[Column] = &[
    Column::field("Verdict", "verdict"),
    Column::field("Entries", "entries"),
    Column::field("Chains", "chains"),
    Column::field("Checkpoints", "checkpoints"),
    Column::with("Last checkpoint", last),
    Column::field("Its time", "last-checkpoint/time"),
    Column::field("Entries after it", "entries-after-it"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(cx).await,
            Self::Verify(verify) => verify.run(cx).await,
            Self::Export(export) => export.run(cx).await,
        }
    }
}

impl List {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::open(&self.brand)?;
        let path = if self.all {
            native(&["instance", "audit"])
        } else {
            native(&["audit"])
        };
        let since = self.since.from(now()).to_string();
        let mut entries: Vec<Value> = Vec::new();
        let mut after = self.after;
        while entries.len() < self.limit {
            let (limit, from) = (
                (self.limit - entries.len()).min(1000).to_string(),
                after.map(|at| at.to_string()),
            );
            let mut query = vec![("since", since.as_str()), ("limit", limit.as_str())];
            query.extend(from.as_deref().map(|at| ("after", at)));
            query.extend(self.action.as_deref().map(|text| ("action", text)));
            let mut page = client.get(&path, &query).await?;
            if let Some(Value::Array(rows)) = page.get_mut("entries").map(Value::take) {
                entries.extend(rows);
            }
            after = page.get("next").and_then(Value::as_u64);
            if after.is_none() {
                break;
            }
        }
        cx.out.list(&Value::Array(entries), ROW)?;
        if let Some(after) = after {
            cx.out.note(&format!("there may be more: --after {after}"));
        }
        Ok(())
    }
}

impl Verify {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::open(&BrandArg::default())?;
        let known = self
            .known
            .map(|(number, signature)| json!({"number": number, "signature": signature}));
        let report = client
            .post(
                &native(&["instance", "audit", "verify"]),
                &json!({"known": known}),
            )
            .await?;
        cx.out.item(&report, REPORT)?;
        let problems = report
            .get("problems")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if problems.is_empty() {
            return Ok(());
        }
        for problem in problems {
            let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
            cx.out.note(&format!("{} [{}]", text("message"), text("code")));
        }
        Err(CliError::Failed(
            "cannot vouch for the audit log: it was changed".to_owned(),
        ))
    }
}

fn who(entry: &Value) -> String {
    let actor = |name: &str| {
        entry
            .get("actor")
            .and_then(|actor| actor.get(name))
            .and_then(Value::as_str)
    };
    match (actor("kind"), actor("email").or(actor("id"))) {
        (Some("account"), Some(name)) => name.to_owned(),
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        (Some(kind), None) => kind.to_owned(),
        (None, _) => "-".to_owned(),
    }
}

/// The last checkpoint as `--known` takes it.
fn last(report: &Value) -> String {
    let Some(last) = report.get("last-checkpoint").filter(|last| last.is_object()) else {
        return "-".to_owned();
    };
    let number = last.get("number").and_then(Value::as_u64).unwrap_or_default();
    format!(
        "{number}:{}",
        last.get("signature").and_then(Value::as_str).unwrap_or_default()
    )
}

fn noted(text: &str) -> Result<(u64, String), String> {
    text.split_once(':')
        .and_then(|(number, signature)| Some((number.parse().ok()?, signature.to_owned())))
        .ok_or_else(|| "NUMBER:SIGNATURE is expected, as `audit verify` printed it".to_owned())
}
