//! `device`: devices and what they last reported.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::moment::{Moment, now};
use super::remote::{Client, native};
use super::serial::pages;
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::ModelName;

/// Rows a table shows unless told otherwise.
const TABLE_ROWS: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List devices with a serial of this vault, or of another one and a session here, and when they were last seen
    List(List),
    /// Show a device and the snaps it last reported
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these models
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<ModelName>,
    /// Only serials that start with this
    #[arg(long, value_name = "PREFIX")]
    serial: Option<String>,
    /// Only serials issued here since: 2026-01-31, 2026-01-31T10:00:00Z, or how long ago: 7d, 12h
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// At most this many devices [default: 100 in a table, else all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The device: its uuid, MODEL/SERIAL, or its serial where no other model has the same
    device: String,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("MODEL", "model"),
    Column::field("SERIAL", "serial"),
    Column::field("REVISION", "revision"),
    Column::field("STANDING", "standing"),
    Column::field("LAST SEEN", "last-seen"),
    Column::with("SNAPS", |row| {
        let snaps = row.get("snaps").and_then(Value::as_array);
        snaps.map_or(0, Vec::len).to_string()
    }),
    Column::field("UUID", "uuid"),
];

const CARD: &[Column] = &[
    Column::field("Uuid", "uuid"),
    Column::field("Brand", "brand-id"),
    Column::field("Model", "model"),
    Column::field("Serial", "serial"),
    Column::field("Serial revision", "revision"),
    Column::field("Issued", "issued-at"),
    Column::field("Standing", "standing"),
    Column::field("Store", "store"),
    Column::field("Architecture", "architecture"),
    Column::field("Client", "client"),
    Column::field("Last seen", "last-seen"),
];

const SNAP: &[Column] = &[
    Column::field("SNAP", "name"),
    Column::field("SNAP ID", "snap-id"),
    Column::field("INSTANCE", "instance"),
    Column::field("REVISION", "revision"),
    Column::field("CHANNEL", "channel"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(cx).await,
            Self::Show(Show { device, brand }) => {
                let parts: Vec<&str> = match device.split_once('/') {
                    Some((model, serial)) => vec!["devices", model, serial],
                    None => vec!["devices", &device],
                };
                let story = Client::open(&brand)?.get(&native(&parts), &[]).await?;
                cx.out.item(&story, CARD)?;
                if cx.out.format() == Format::Table {
                    cx.out.list(story.get("snaps").unwrap_or(&Value::Null), SNAP)?;
                }
                Ok(())
            }
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
        query.extend(self.serial.map(|serial| ("serial", serial)));
        query.extend(self.since.map(|time| ("since", time.from(now()).to_string())));
        let table = cx.out.format() == Format::Table;
        let limit = self.limit.unwrap_or(if table { TABLE_ROWS } else { usize::MAX });
        let mut rows = Vec::new();
        let more = pages(&client, "devices", query, limit, |row| {
            rows.push(row);
            Ok(())
        })
        .await?;
        cx.out.list(&Value::Array(rows), ROW)?;
        if more && table {
            cx.out.note("there are more devices: use --limit");
        }
        Ok(())
    }
}
