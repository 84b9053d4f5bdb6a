//! `serial allow`, `deny`, `forget` and `judged`: which serials a model may get at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::model::read_text;
use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::ident::{ModelName, SerialNumber};

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

const JUDGED_ROW: &[Column] = &[
    Column::field("SERIAL", "serial"),
    Column::field("STANDING", "standing"),
    Column::field("SINCE", "since"),
];

impl Judged {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let rows = all_judged(&Client::open(&self.brand)?, &self.model).await?;
        cx.out.list(&Value::Array(rows), JUDGED_ROW)
    }
}

impl Allow {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
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
            .done(&done, &format!("serials put on the allow-list: {count}"))
    }
}

impl These {
    pub(super) async fn run(self, cx: &Cx, standing: &str) -> Result<(), CliError> {
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
