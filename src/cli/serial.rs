//! `serial`: the signing log, allow-lists and denials, re-issue policies, approvals.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::issuing::Settings;
use super::judging::{Allow, Judged, These};
use super::moment::{Moment, now};
use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{KeyId, ModelName, SerialNumber};

/// Rows fetched in one request.
const PAGE: &str = "1000";
/// Rows a table shows unless told otherwise.
const TABLE_ROWS: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List issued serials, newest first
    List(List),
    /// Show the history of one serial
    Show(Show),
    /// Put serials on the allow-list of a model
    Allow(Allow),
    /// Never issue these serials (again)
    Deny(These),
    /// Take an allowance or denial back
    Forget(These),
    /// List allowed and denied serials of a model
    Judged(Judged),
    /// Set how serials of a model are issued
    Policy(Policy),
    /// List requests that wait for a person
    Waiting(Waiting),
    /// Approve a waiting request: the device gets its serial
    Approve(Decide),
    /// Reject a waiting request
    Reject(Decide),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these models
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<ModelName>,
    /// Only serials that start with this
    #[arg(long, value_name = "PREFIX")]
    serial: Option<String>,
    /// Only this device key
    #[arg(long, value_name = "KEY-ID")]
    device_key: Option<KeyId>,
    /// Not before this time: 2026-01-31, 2026-01-31T10:00:00Z, or how long ago: 7d, 12h
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// At most this many rows [default: 100 in a table, else all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// All rows as CSV
    #[arg(long, conflicts_with_all = ["ndjson", "limit"])]
    csv: bool,
    /// All rows, one JSON object a line
    #[arg(long, conflicts_with = "limit")]
    ndjson: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The model
    model: ModelName,
    /// The serial
    serial: SerialNumber,
    /// Print the serial assertion itself: the one of the highest revision
    #[arg(long)]
    assertion: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Policy {
    /// The model
    model: ModelName,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Waiting {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Decide {
    /// The model
    model: ModelName,
    /// The serial
    serial: SerialNumber,
    /// The device key, where several wait for the same serial
    #[arg(long, value_name = "KEY-ID")]
    device_key: Option<KeyId>,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("MODEL", "model"),
    Column::field("SERIAL", "serial"),
    Column::field("REVISION", "revision"),
    Column::field("CREATED", "created-at"),
    Column::field("STATE", "state"),
    Column::with("DEVICE KEY", |row| {
        row.get("device-key-sha3-384")
            .and_then(Value::as_str)
            .unwrap_or("-")
            .chars()
            .take(16)
            .collect()
    }),
];

const WAITING_ROW: &[Column] = &[
    Column::field("MODEL", "model"),
    Column::field("SERIAL", "serial"),
    Column::field("DEVICE KEY", "device-key-sha3-384"),
    Column::field("SINCE", "since"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(cx).await,
            Self::Show(show) => show.run(cx).await,
            Self::Allow(allow) => allow.run(cx).await,
            Self::Deny(these) => these.run(cx, "denied").await,
            Self::Forget(these) => these.run(cx, "none").await,
            Self::Judged(judged) => judged.run(cx).await,
            Self::Policy(Policy {
                model,
                settings,
                brand,
            }) => {
                let mut body = settings.body();
                if body.is_empty() {
                    return Err(CliError::Usage(
                        "cannot set the policy: say what, e.g. --reissue deny".to_owned(),
                    ));
                }
                let client = Client::open(&brand)?;
                let mut answer = Value::Null;
                // How devices prove themselves is a matter of the model, and needs the right to manage models.
                if let Some(auth) = body.remove("auth") {
                    let path = native(&["models", model.as_str()]);
                    answer = client.put(&path, &json!({ "auth": auth })).await?;
                }
                if !body.is_empty() {
                    let path = native(&["models", model.as_str(), "serial-policy"]);
                    answer = client.put(&path, &body).await?;
                }
                cx.out
                    .done(&answer, &format!("the serial policy of model {model} is set"))
            }
            Self::Waiting(Waiting { brand }) => cx.out.list(
                &Client::open(&brand)?.get(&native(&["approvals"]), &[]).await?,
                WAITING_ROW,
            ),
            Self::Approve(decide) => decide.run(cx, "approve", "approved").await,
            Self::Reject(decide) => decide.run(cx, "reject", "rejected").await,
        }
    }
}

impl List {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::open(&self.brand)?;
        let mut query: Vec<(&str, String)> = self
            .models
            .iter()
            .map(|model| ("model", model.to_string()))
            .collect();
        let mut put = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
        put("serial", self.serial.clone());
        put("device-key", self.device_key.as_ref().map(ToString::to_string));
        put("since", self.since.map(|time| time.from(now()).to_string()));
        put("until", self.until.map(|time| time.from(now()).to_string()));
        if self.csv || self.ndjson {
            query.push(("as", if self.csv { "csv" } else { "ndjson" }.to_owned()));
            let query: Vec<(&str, &str)> = query
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            return client
                .download(&native(&["serials", "export"]), &query, &cx.out)
                .await;
        }
        match cx.out.format() {
            Format::Table => {
                let limit = self.limit.unwrap_or(TABLE_ROWS);
                let mut rows = Vec::new();
                let more = pages(&client, "serials", query, limit, |row| {
                    rows.push(row);
                    Ok(())
                })
                .await?;
                cx.out.list(&Value::Array(rows), ROW)?;
                if more {
                    cx.out
                        .note("there are more rows: use --limit, or --csv for all of them");
                }
                Ok(())
            }
            // Written while it arrives: a log of a million rows does not have to fit into memory.
            Format::Json => {
                let mut first = true;
                cx.out.data(b"[")?;
                pages(
                    &client,
                    "serials",
                    query,
                    self.limit.unwrap_or(usize::MAX),
                    |row| {
                        cx.out.data(if first { b"\n  " } else { b",\n  " })?;
                        first = false;
                        cx.out.data(row.to_string().as_bytes())
                    },
                )
                .await?;
                cx.out.data(if first { b"]\n" } else { b"\n]\n" })
            }
        }
    }
}

/// Hands every row of the list `noun` to `take`, newest first, at most `limit`; true if there are more.
pub(super) async fn pages(
    client: &Client,
    noun: &'static str,
    query: Vec<(&str, String)>,
    limit: usize,
    mut take: impl FnMut(Value) -> Result<(), CliError>,
) -> Result<bool, CliError> {
    let mut before: Option<String> = None;
    let mut left = limit;
    loop {
        let mut page: Vec<(&str, &str)> = query
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        page.push(("limit", PAGE));
        page.extend(before.as_deref().map(|before| ("before", before)));
        let mut answer = client.get(&native(&[noun]), &page).await?;
        let rows = answer.get_mut(noun).map(Value::take);
        for row in rows.as_ref().and_then(Value::as_array).into_iter().flatten() {
            if left == 0 {
                return Ok(true);
            }
            take(row.clone())?;
            left -= 1;
        }
        before = match answer.get("next") {
            Some(Value::Number(next)) => Some(next.to_string()),
            Some(Value::String(next)) => Some(next.clone()),
            _ => return Ok(false),
        };
    }
}

impl Show {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let path = native(&["serials", self.model.as_str(), self.serial.as_str()]);
        let story = Client::open(&self.brand)?.get(&path, &[]).await?;
        if self.assertion {
            let text = story.get("assertion").and_then(Value::as_str).ok_or_else(|| {
                CliError::Failed(format!("cannot print serial {}: none is issued", self.serial))
            })?;
            return cx.out.data(text.as_bytes());
        }
        match cx.out.format() {
            Format::Json => cx.out.json(&story),
            Format::Table => {
                if let Some(standing) = story.get("standing").and_then(Value::as_str) {
                    cx.out.note(&format!("serial {} is {standing}", self.serial));
                }
                cx.out.list(story.get("serials").unwrap_or(&Value::Null), ROW)
            }
        }
    }
}

impl Decide {
    async fn run(self, cx: &Cx, decision: &str, word: &str) -> Result<(), CliError> {
        let body = json!({
            "model": self.model,
            "serial": self.serial,
            "device-key-sha3-384": self.device_key,
            "decision": decision,
        });
        let answer = Client::open(&self.brand)?
            .post(&native(&["approvals"]), &body)
            .await?;
        cx.out.done(
            &answer,
            &format!(
                "the request for serial {} of model {} is {word}",
                self.serial, self.model
            ),
        )
    }
}
