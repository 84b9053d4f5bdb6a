//! `serial`: the signing log, allow-lists and denials, re-issue policies, approvals.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::model::read_text;
use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::{DeviceAuth, Reissue};

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
    /// Not before this time, RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Before this time, RFC 3339
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
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
pub(super) struct Allow {
    /// Files with one serial a line, or MODEL/SERIAL; - is stdin
    #[arg(value_name = "FILE", required_unless_present = "serials")]
    files: Vec<PathBuf>,
    /// A serial, or MODEL/SERIAL
    #[arg(long = "serial", value_name = "SERIAL")]
    serials: Vec<String>,
    /// The model of serials given without one; needed only where there are several models
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct These {
    /// The model
    model: ModelName,
    /// Serials; @FILE reads them from a file, one a line
    #[arg(required = true, value_name = "SERIAL")]
    serials: Vec<String>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Judged {
    /// The model
    model: ModelName,
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

/// How serials of a model are issued; what is left out stays as it is.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Serials issued before: allow, same-key-only, deny, approve
    #[arg(long, value_name = "POLICY")]
    reissue: Option<Reissue>,
    /// How devices prove themselves: api-key, allow-list, none
    #[arg(long, value_name = "HOW")]
    auth: Option<DeviceAuth>,
    /// Whether only serials on the allow-list are issued: on, off
    #[arg(long, value_name = "SWITCH", value_parser = switch)]
    allow_list: Option<bool>,
    /// Most distinct serials of the model, or none
    #[arg(long, value_name = "N", value_parser = quota)]
    quota: Option<Quota>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Quota(Option<u64>);

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("say on or off".to_owned()),
    }
}

fn quota(text: &str) -> Result<Quota, String> {
    match text {
        "none" => Ok(Quota(None)),
        number => number
            .parse()
            .map(|n| Quota(Some(n)))
            .map_err(|_| "say a number, or none".to_owned()),
    }
}

impl Settings {
    /// The settings that were given, as the server reads them.
    pub(super) fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("reissue", self.reissue.map(|reissue| json!(reissue)));
        put("auth", self.auth.map(|auth| json!(auth)));
        put("allow-list", self.allow_list.map(Value::from));
        put("quota", self.quota.map(|quota| json!(quota.0)));
        body
    }
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

const JUDGED_ROW: &[Column] = &[
    Column::field("SERIAL", "serial"),
    Column::field("STANDING", "standing"),
    Column::field("SINCE", "since"),
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
            Self::Judged(Judged { model, brand }) => {
                let client = Client::open(&brand)?;
                let rows = all_judged(&client, &model).await?;
                cx.out.list(&Value::Array(rows), JUDGED_ROW)
            }
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
        put("since", self.since.map(|time| time.to_string()));
        put("until", self.until.map(|time| time.to_string()));
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
                let more = pages(&client, query, limit, |row| {
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
                pages(&client, query, self.limit.unwrap_or(usize::MAX), |row| {
                    cx.out.data(if first { b"\n  " } else { b",\n  " })?;
                    first = false;
                    cx.out.data(row.to_string().as_bytes())
                })
                .await?;
                cx.out.data(if first { b"]\n" } else { b"\n]\n" })
            }
        }
    }
}

/// Hands every row to `take`, newest first, at most `limit`; true if there are more.
async fn pages(
    client: &Client,
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
        let mut answer = client.get(&native(&["serials"]), &page).await?;
        let rows = answer.get_mut("serials").map(Value::take);
        for row in rows.as_ref().and_then(Value::as_array).into_iter().flatten() {
            if left == 0 {
                return Ok(true);
            }
            take(row.clone())?;
            left -= 1;
        }
        match answer.get("next").and_then(Value::as_u64) {
            Some(next) => before = Some(next.to_string()),
            None => return Ok(false),
        }
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

impl Allow {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut entries: Vec<String> = self.serials.clone();
        for file in &self.files {
            entries.extend(lines(&read_text(file)?));
        }
        let client = Client::open(&self.brand)?;
        let mut by_model = BTreeMap::<ModelName, Vec<SerialNumber>>::new();
        let mut default = self.model.clone();
        for entry in &entries {
            let wrong = |error| CliError::failed(format!("cannot read the entry {entry:?}"), error);
            let (model, serial) = match (entry.split_once('/'), &default) {
                (Some((model, serial)), _) => (model.parse().map_err(wrong)?, serial),
                (None, Some(model)) => (model.clone(), entry.as_str()),
                (None, None) => {
                    let model = only_model(&client).await?;
                    default = Some(model.clone());
                    (model, entry.as_str())
                }
            };
            by_model
                .entry(model)
                .or_default()
                .push(serial.parse().map_err(wrong)?);
        }
        let mut count = 0;
        for (model, serials) in &by_model {
            judge(&client, model, serials, "allowed").await?;
            count += serials.len();
        }
        let done = json!({ "standing": "allowed", "count": count });
        cx.out
            .done(&done, &format!("{count} serials are on the allow-list"))
    }
}

impl These {
    async fn run(self, cx: &Cx, standing: &str) -> Result<(), CliError> {
        let mut serials = Vec::<SerialNumber>::new();
        for text in &self.serials {
            let texts = match text.strip_prefix('@') {
                Some(file) => lines(&read_text(Path::new(file))?),
                None => vec![text.clone()],
            };
            for text in texts {
                serials.push(
                    text.parse()
                        .map_err(|error| CliError::failed("cannot read the serials", error))?,
                );
            }
        }
        judge(&Client::open(&self.brand)?, &self.model, &serials, standing).await?;
        let word = if standing == "denied" {
            "denied"
        } else {
            "neither allowed nor denied any more"
        };
        let count = serials.len();
        let done = json!({ "model": self.model, "standing": standing, "count": count });
        cx.out.done(
            &done,
            &format!("{count} serials of model {} are {word}", self.model),
        )
    }
}

/// The lines of a list that say something; spaces inside belong to the serial.
fn lines(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// Judges serials, in parts: the server reads a million bytes at once.
async fn judge(
    client: &Client,
    model: &ModelName,
    serials: &[SerialNumber],
    standing: &str,
) -> Result<(), CliError> {
    let path = native(&["models", model.as_str(), "standings"]);
    for part in serials.chunks(4000) {
        client
            .put(&path, &json!({ "serials": part, "standing": standing }))
            .await?;
    }
    Ok(())
}

/// The model that is meant where none is named: the only one there is.
async fn only_model(client: &Client) -> Result<ModelName, CliError> {
    let models = client.get(&native(&["models"]), &[]).await?;
    let names: Vec<&str> = models
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|model| model.get("name")?.as_str())
        .collect();
    match names.as_slice() {
        [only] => only
            .parse()
            .map_err(|error| CliError::failed("cannot tell the model", error)),
        _ => Err(CliError::Usage(format!(
            "cannot tell which model is meant: write MODEL/SERIAL, or name one with --model ({})",
            names.join(", ")
        ))),
    }
}

async fn all_judged(client: &Client, model: &ModelName) -> Result<Vec<Value>, CliError> {
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let after = rows
            .last()
            .and_then(|row| row.get("serial")?.as_str())
            .map(str::to_owned);
        let query: Vec<(&str, &str)> = after
            .as_deref()
            .map(|after| ("after", after))
            .into_iter()
            .collect();
        let page = client
            .get(&native(&["models", model.as_str(), "standings"]), &query)
            .await?;
        match page {
            Value::Array(page) if !page.is_empty() => rows.extend(page),
            _ => return Ok(rows),
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
