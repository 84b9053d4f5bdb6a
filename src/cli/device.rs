//! `device`: devices and what they last reported.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::moment::{Moment, now};
use super::remote::{Client, native};
use super::serial::pages;
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{GroupName, ModelName, Tag};

/// Rows a table shows unless told otherwise.
const TABLE_ROWS: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List devices with a serial of this vault, or of another one and a session here, and when they were last seen
    List(List),
    /// Show a device, the snaps it last reported, and why it sees which revision
    Show(Show),
    /// Set the tag a device follows, or take it away
    Tag(Tagging),
    /// Put a device into a group, or take it out
    Group(Grouping),
    /// Say whether a device is a production device, where its registration did not
    Production(Production),
    /// Offer a device again what it came back from by itself
    Retry(Show),
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

#[derive(Debug, Args)]
pub(super) struct Tagging {
    /// The device: its uuid, MODEL/SERIAL, or its serial
    device: String,
    /// The tag
    #[arg(required_unless_present = "unset")]
    tag: Option<Tag>,
    /// It follows none
    #[arg(long, conflicts_with = "tag")]
    unset: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Grouping {
    /// The device: its uuid, MODEL/SERIAL, or its serial
    device: String,
    /// The group
    #[arg(required_unless_present = "unset")]
    group: Option<GroupName>,
    /// It is in none
    #[arg(long, conflicts_with = "group")]
    unset: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Production {
    /// The device: its uuid, MODEL/SERIAL, or its serial
    device: String,
    /// yes or no
    #[arg(value_parser = ["yes", "no"])]
    production: String,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("MODEL", "model"),
    Column::field("SERIAL", "serial"),
    Column::field("REVISION", "revision"),
    Column::field("STANDING", "standing"),
    Column::with("PRODUCTION", |row| yes_no(row.get("production"))),
    Column::field("TAG", "tag"),
    Column::field("GROUP", "group"),
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
    Column::with("Production", |row| yes_no(row.get("production"))),
    Column::field("Tag", "tag"),
    Column::field("Group", "group"),
    Column::with("Wave", |row| {
        let text = |name| row.get(name).and_then(Value::as_str);
        let shown = row.get("rolled-out").and_then(Value::as_bool).unwrap_or(false);
        match (text("wave"), shown) {
            (None, _) => "-".to_owned(),
            (Some(wave), false) => format!("{wave}: not rolled out to it"),
            (Some(wave), true) => format!("{wave}: {}", text("wave-state").unwrap_or("staged")),
        }
    }),
];

fn yes_no(value: Option<&Value>) -> String {
    let yes = value.and_then(Value::as_bool).unwrap_or(false);
    if yes { "yes" } else { "no" }.to_owned()
}

const SNAP: &[Column] = &[
    Column::field("SNAP", "name"),
    Column::field("SNAP ID", "snap-id"),
    Column::field("INSTANCE", "instance"),
    Column::field("REVISION", "revision"),
    Column::field("CHANNEL", "channel"),
    Column::field("SEES", "sees-revision"),
    Column::field("WHY", "why"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(cx).await,
            Self::Tag(Tagging {
                device, tag, brand, ..
            }) => {
                let note = match &tag {
                    Some(tag) => format!("device {device} follows tag {tag}"),
                    None => format!("device {device} follows no tag"),
                };
                place(cx, &brand, &device, &json!({ "tag": tag }), &note).await
            }
            Self::Group(Grouping {
                device, group, brand, ..
            }) => {
                let note = match &group {
                    Some(group) => format!("device {device} is in group {group}"),
                    None => format!("device {device} is in no group"),
                };
                place(cx, &brand, &device, &json!({ "group": group }), &note).await
            }
            Self::Production(Production {
                device,
                production,
                brand,
            }) => {
                let yes = production == "yes";
                let word = if yes { "production" } else { "test" };
                let note = format!("device {device} is a {word} device");
                place(cx, &brand, &device, &json!({ "production": yes }), &note).await
            }
            Self::Retry(Show { device, brand }) => {
                let note = format!("device {device} is offered again what it came back from");
                place(cx, &brand, &device, &json!({ "retry": true }), &note).await
            }
            Self::Show(Show { device, brand }) => {
                let story = Client::open(&brand)?.get(&path("devices", &device), &[]).await?;
                cx.out.item(&story, CARD)?;
                if cx.out.format() == Format::Table {
                    cx.out.list(story.get("snaps").unwrap_or(&Value::Null), SNAP)?;
                }
                Ok(())
            }
        }
    }
}

/// The path of a device, however it is named.
fn path(what: &str, device: &str) -> String {
    match device.split_once('/') {
        Some((model, serial)) => native(&[what, model, serial]),
        None => native(&[what, device]),
    }
}

async fn place(cx: &Cx, brand: &BrandArg, device: &str, change: &Value, note: &str) -> Result<(), CliError> {
    let placed = Client::open(brand)?
        .put(&path("device-places", device), change)
        .await?;
    cx.out.done(&placed, note)
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
