//! `snap override`, `snap overrides`, `snap delete-override`: what a store pins on channels.

use std::str::FromStr;

use clap::Args;
use serde_json::{Map, Value, json};

use super::text;
use crate::cli::remote::Client;
use crate::cli::{BrandArg, CliError, Column, Cx};
use crate::domain::catalog::Channel;
use crate::domain::ident::{SnapName, StoreId};

/// Where clients of on-premises stores call too.
const PATH: &str = "/v2/metadata/overrides";

#[derive(Debug, Args)]
struct StoreArg {
    /// The store; needed only where you administer several
    #[arg(long, value_name = "STORE")]
    store: Option<StoreId>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    /// The snap
    name: SnapName,
    /// Channels and what they give, for the architectures of the revision: stable=7 2.0/edge=12
    #[arg(required = true, value_name = "CHANNEL=REVISION")]
    channels: Vec<Pinned>,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// The snap
    name: SnapName,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Delete {
    /// The snap
    name: SnapName,
    /// The channels, for all architectures
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<Channel>,
    #[command(flatten)]
    store: StoreArg,
}

/// `CHANNEL=REVISION`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pinned {
    channel: Channel,
    revision: u64,
}

impl FromStr for Pinned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (channel, revision) = text
            .split_once('=')
            .ok_or("CHANNEL=REVISION is expected, as in stable=7")?;
        let revision = revision.parse().ok().filter(|revision| *revision > 0);
        Ok(Self {
            channel: channel
                .parse()
                .map_err(|error: crate::domain::ident::IdentError| error.to_string())?,
            revision: revision.ok_or("a revision is a number from 1 on")?,
        })
    }
}

const ROW: &[Column] = &[
    Column::field("CHANNEL", "channel"),
    Column::field("ARCHITECTURE", "architecture"),
    Column::field("REVISION", "revision"),
    Column::field("UPSTREAM", "upstream-revision"),
];

impl StoreArg {
    fn client(&self) -> Result<Client, CliError> {
        let client = Client::open(&BrandArg { brand: None })?;
        Ok(client.about_store(self.store.as_ref()))
    }
}

impl Set {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let wanted = self.channels.iter();
        let wanted = wanted.map(|pinned| (&pinned.channel, Some(pinned.revision)));
        change(cx, &self.store, &self.name, wanted.collect()).await
    }
}

impl List {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let path = format!("{PATH}/{}", self.name);
        let answer = self.store.client()?.get(&path, &[]).await?;
        cx.out.list(&rows(&answer), ROW)
    }
}

impl Delete {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let wanted = self.channels.iter().map(|channel| (channel, None));
        change(cx, &self.store, &self.name, wanted.collect()).await
    }
}

async fn change(
    cx: &Cx,
    store: &StoreArg,
    name: &SnapName,
    wanted: Vec<(&Channel, Option<u64>)>,
) -> Result<(), CliError> {
    let body: Vec<Value> = wanted
        .into_iter()
        .map(|(channel, revision)| {
            json!({ "snap_name": name, "revision": revision, "channel": channel, "series": "16" })
        })
        .collect();
    let answer = store.client()?.post(PATH, &body).await?;
    let rows = rows(&answer);
    let lines: Vec<String> = rows.as_array().into_iter().flatten().map(line).collect();
    cx.out.done(&rows, &lines.join("\n"))
}

/// The rows, with names of fields as everywhere else.
fn rows(answer: &Value) -> Value {
    let rows = answer.get("overrides").and_then(Value::as_array);
    let rows = rows.into_iter().flatten().map(|row| {
        let fields = row.as_object().into_iter().flatten();
        let fields = fields.map(|(name, value)| (name.replace('_', "-"), value.clone()));
        Value::Object(fields.collect::<Map<_, _>>())
    });
    rows.collect()
}

/// As clients of on-premises stores print it.
fn line(row: &Value) -> String {
    let number = |field: &str| row.get(field).and_then(Value::as_u64);
    let (name, channel, architecture) = (
        text(row, "snap-name"),
        text(row, "channel"),
        text(row, "architecture"),
    );
    let upstream =
        number("upstream-revision").map_or_else(|| "nothing".to_owned(), |found| found.to_string());
    match number("revision") {
        Some(revision) => format!("{name} {channel} {architecture} {revision} (upstream {upstream})"),
        None => format!("{name} {channel} {architecture} is tracking upstream (revision {upstream})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_read() {
        let pinned: Pinned = "2.0/edge=12".parse().unwrap();
        assert_eq!(
            (pinned.channel.short().as_str(), pinned.revision),
            ("2.0/edge", 12)
        );
        for bad in [
            "stable",
            "stable=",
            "stable=0",
            "stable=-1",
            "=7",
            "a/b=7",
            "stable=7=8",
        ] {
            assert!(bad.parse::<Pinned>().is_err(), "{bad}");
        }
    }
}
