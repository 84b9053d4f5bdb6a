//! `wave`: the next revisions of production devices, let out step by step.

mod making;
mod rollout;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::fleet::{StoreArg, in_store};
use super::{CliError, Column, Cx, Format};
use crate::domain::ident::{Tag, WaveName};

/// How often `status --watch` looks.
const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a wave for the production devices of a tag; nobody sees it before a rollout
    Init(making::Init),
    /// Roll a wave out to more devices
    Rollout(rollout::Rollout),
    /// Take the documents of a wave that were signed elsewhere, or write them out once more
    Sign(making::Sign),
    /// How far a wave has come
    Status(Status),
    /// List the waves of a store, the newest first
    List(List),
    /// Show a wave: its revisions and rollouts
    Show(Show),
    /// Nobody gets it any more who has not got it; who has it keeps it
    Halt(Named),
    /// Let a halted wave go on
    Resume(Named),
    /// Publish it to all production devices of its tag, for good
    Complete(Named),
    /// Withdraw it, for good; devices that have it keep it
    Cancel(Named),
    /// Show what is published for the production devices of a tag
    Published(Published),
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The wave [default: the only active one]
    wave: Option<WaveName>,
    /// Look again every two seconds, until it is finished
    #[arg(long)]
    watch: bool,
    /// After so many hours without a request a device counts as offline
    #[arg(long, value_name = "HOURS", default_value_t = 4)]
    offline_threshold: u32,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those with this status: active, draft, halted, complete, canceled
    #[arg(short = 'S', long)]
    status: Option<String>,
    /// Only those of this tag
    #[arg(short = 'T', long)]
    tag: Option<Tag>,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The wave [default: the only active one]
    wave: Option<WaveName>,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The wave
    wave: WaveName,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(super) struct Published {
    /// The tag
    tag: Tag,
    #[command(flatten)]
    store: StoreArg,
}

const ROW: &[Column] = &[
    Column::field("NAME", "name"),
    Column::field("VERSION", "sequence"),
    Column::field("TAG", "tag"),
    Column::field("STATUS", "status"),
    Column::field("KIND", "kind"),
    Column::field("CREATED AT", "created-at"),
    Column::field("FINISHED AT", "finished-at"),
];

const CARD: &[Column] = &[
    Column::field("Name", "name"),
    Column::field("Store", "store-id"),
    Column::field("Tag", "tag"),
    Column::field("Version", "sequence"),
    Column::field("Kind", "kind"),
    Column::field("Status", "status"),
    Column::field("Why", "why"),
    Column::field("Created at", "created-at"),
    Column::field("Expires at", "expires-at"),
    Column::field("Finished at", "finished-at"),
    Column::field("Whole groups", "groups"),
    Column::field("Prunes", "prune"),
    Column::with("Validation set", |wave| {
        let Some(binding) = wave.get("binding").filter(|binding| !binding.is_null()) else {
            return "-".to_owned();
        };
        let name = binding.get("set").and_then(Value::as_str).unwrap_or_default();
        let document = |which: &str| {
            let document = binding.get(which).unwrap_or(&Value::Null);
            let sequence = document
                .get("sequence")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            let signed = document
                .get("signed")
                .and_then(Value::as_bool)
                .unwrap_or_default();
            format!("{sequence} {}", if signed { "signed" } else { "not signed" })
        };
        format!(
            "{name} {}, to take it back {}",
            document("wave"),
            document("abort")
        )
    }),
];

const ENTRY: &[Column] = &[
    Column::field("SNAP", "name"),
    Column::field("CHANNEL", "channel"),
    Column::field("ARCHITECTURE", "architecture"),
    Column::field("REVISION", "revision"),
];

const ROLLOUT: &[Column] = &[
    Column::field("ROLLOUT", "number"),
    Column::field("AT", "at"),
    Column::field("GROUP", "group"),
    Column::with("DEVICES", |row| {
        let number = |name| row.get(name).and_then(Value::as_u64).unwrap_or_default();
        let whole = row.get("full-group").and_then(Value::as_bool).unwrap_or(false);
        if whole {
            format!("all of the group ({})", number("selected"))
        } else {
            format!("{} of {}", number("selected"), number("eligible"))
        }
    }),
    Column::field("SEED", "seed"),
    Column::field("BY", "by"),
];

const HEAD: &[Column] = &[
    Column::field("Wave", "name"),
    Column::field("Tag", "tag"),
    Column::field("Version", "version"),
    Column::with("Status", |status| {
        let word = status.get("status").and_then(Value::as_str).unwrap_or("-");
        match status.get("expired").and_then(Value::as_bool) {
            Some(true) => format!("{word} (expired)"),
            _ => word.to_owned(),
        }
    }),
    Column::field("Why", "why"),
    Column::field("Created at", "created-at"),
    Column::field("Finished at", "finished-at"),
    Column::field("Devices on tag", "total-devices"),
    Column::field("Devices updated", "updated-devices"),
    Column::field("Devices scheduled for update", "scheduled-devices"),
    Column::field("Devices not scheduled", "unscheduled-devices"),
    Column::with("How they take it", |status| {
        let states = status.get("devices").and_then(Value::as_object);
        let states = states
            .into_iter()
            .flatten()
            .map(|(state, count)| format!("{count} {state}"));
        let text = states.collect::<Vec<_>>().join(", ");
        if text.is_empty() { "-".to_owned() } else { text }
    }),
];

const GROUP: &[Column] = &[
    Column::with("GROUP", |row| {
        let name = row.get("name").and_then(Value::as_str);
        name.unwrap_or("(No Group)").to_owned()
    }),
    Column::field("TOTAL", "devices-total"),
    Column::with("UPDATED", |row| {
        let number = |name| row.get(name).and_then(Value::as_u64).unwrap_or_default();
        (number("devices-on-wave-version") + number("devices-on-newer-version")).to_string()
    }),
    Column::field("NEED UPDATE", "devices-on-older-version"),
    Column::field("SCHEDULED", "devices-scheduled-for-update"),
    Column::field("ONLINE", "devices-online"),
    Column::field("ROLLOUT AT", "rollout-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Init(init) => init.run(cx).await,
            Self::Rollout(rollout) => rollout.run(cx).await,
            Self::Sign(sign) => sign.run(cx).await,
            Self::Status(status) => status.run(cx).await,
            Self::List(List { status, tag, store }) => {
                let (client, store) = store.open().await?;
                let tag = tag.map(|tag| tag.to_string());
                let query: Vec<(&str, &str)> = [("status", status.as_deref()), ("tag", tag.as_deref())]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect();
                cx.out
                    .list(&client.get(&in_store(&store, &["waves"]), &query).await?, ROW)
            }
            Self::Show(Show { wave, store }) => {
                let (client, store) = store.open().await?;
                let name = wave.as_ref().map_or(ACTIVE, WaveName::as_str);
                let wave = client.get(&in_store(&store, &["waves", name]), &[]).await?;
                show(cx, &wave)
            }
            Self::Halt(named) => {
                named
                    .act(cx, "halt", "nobody gets it any more who has not got it")
                    .await
            }
            Self::Resume(named) => named.act(cx, "resume", "it goes on").await,
            Self::Complete(named) => {
                named
                    .act(cx, "complete", "all production devices of its tag get it")
                    .await
            }
            Self::Cancel(named) => named.act(cx, "cancel", "devices that have it keep it").await,
            Self::Published(Published { tag, store }) => {
                let (client, store) = store.open().await?;
                let map = client
                    .get(&in_store(&store, &["tags", tag.as_str()]), &[])
                    .await?;
                if cx.out.format() == Format::Table {
                    return cx.out.list(map.get("entries").unwrap_or(&Value::Null), ENTRY);
                }
                cx.out.json(&map)
            }
        }
    }
}

/// What the server takes for the only active wave.
const ACTIVE: &str = "$active$";

fn show(cx: &Cx, wave: &Value) -> Result<(), CliError> {
    cx.out.item(wave, CARD)?;
    if cx.out.format() == Format::Table {
        cx.out.list(wave.get("entries").unwrap_or(&Value::Null), ENTRY)?;
        let rollouts = wave
            .get("rollouts")
            .filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
        if let Some(rollouts) = rollouts {
            cx.out.list(rollouts, ROLLOUT)?;
        }
    }
    Ok(())
}

impl Status {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let (client, store) = self.store.open().await?;
        let name = self.wave.as_ref().map_or(ACTIVE, WaveName::as_str);
        let hours = self.offline_threshold.to_string();
        let mut path = in_store(&store, &["waves", name, "status"]);
        loop {
            let status = client.get(&path, &[("offline-threshold", &hours)]).await?;
            // The wave that was meant at first stays the one, also when it ends.
            if let Some(name) = status.get("name").and_then(Value::as_str) {
                path = in_store(&store, &["waves", name, "status"]);
            }
            let table = cx.out.format() == Format::Table;
            if self.watch && table {
                // Clears the screen, as `watch` does.
                cx.out.data_now(b"\x1b[H\x1b[2J")?;
            }
            cx.out.item(&status, HEAD)?;
            if table {
                let groups = |name: &str| {
                    status
                        .get(name)
                        .and_then(Value::as_array)
                        .cloned()
                        .unwrap_or_default()
                };
                let ended = match status.get("status").and_then(Value::as_str) {
                    Some("complete") => "at wave completion (Done)",
                    Some("canceled") => "never",
                    _ => "at wave completion",
                };
                let mut rows = groups("rollout-groups");
                rows.extend(groups("other-groups").into_iter().map(|mut row| {
                    if let Some(fields) = row.as_object_mut() {
                        fields.insert("rollout-at".to_owned(), json!(ended));
                    }
                    row
                }));
                cx.out.list(&Value::Array(rows), GROUP)?;
            }
            let over = matches!(
                status.get("status").and_then(Value::as_str),
                Some("complete" | "canceled")
            );
            if !self.watch || over {
                return Ok(());
            }
            cx.out.data_now(b"")?;
            tokio::time::sleep(EVERY).await;
        }
    }
}

impl Named {
    async fn act(self, cx: &Cx, verb: &str, means: &str) -> Result<(), CliError> {
        let (client, store) = self.store.open().await?;
        let path = in_store(&store, &["waves", self.wave.as_str(), verb]);
        let wave = client.post(&path, &json!({})).await?;
        let status = wave.get("status").and_then(Value::as_str).unwrap_or("-");
        cx.out
            .done(&wave, &format!("wave {} is {status}: {means}", self.wave))
    }
}
