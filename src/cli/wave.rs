//! `wave`: the next revisions of production devices, let out step by step.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::fleet::{StoreArg, devices, in_store, texts};
use super::moment::{now, span};
use super::{CliError, Column, Cx, Format};
use crate::domain::ident::{GroupName, SnapName, Tag, WaveName};
use crate::domain::time::Timestamp;

/// How often `status --watch` looks.
const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a wave for the production devices of a tag; nobody sees it before a rollout
    Init(Init),
    /// Roll a wave out to more devices
    Rollout(Rollout),
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
pub(super) struct Init {
    /// Its name
    wave: WaveName,
    /// The tag of its devices
    #[arg(long)]
    tag: Tag,
    /// Snaps, each with its revision (SNAP=REV), or without for what the channel gives now
    #[arg(value_name = "SNAP[=REV]", value_parser = snap)]
    snaps: Vec<(SnapName, Option<u64>)>,
    /// The channel that its devices follow [default: latest/stable, or that of the snap's default track]
    #[arg(long)]
    channel: Option<String>,
    /// Take what the channel gives now of every snap of the store
    #[arg(long, conflicts_with_all = ["snaps", "from_wave"])]
    from_channel_map: bool,
    /// Take the revisions of another wave
    #[arg(long, value_name = "WAVE", conflicts_with = "snaps")]
    from_wave: Option<WaveName>,
    /// It goes back: only then may a revision be lower than what devices have
    #[arg(long)]
    rollback: bool,
    /// Snaps that are pinned no more once it is complete, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "SNAPS")]
    prune: Vec<SnapName>,
    /// When it stops by itself: 90d, 12h [default: 365d]
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "expires_at")]
    expires: Option<i64>,
    /// When it stops by itself: 2026-12-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// How it goes on and stops by itself: JSON, or @FILE (docs/waves.md)
    #[arg(long, value_name = "JSON")]
    policy: Option<String>,
    #[command(flatten)]
    store: StoreArg,
}

fn snap(text: &str) -> Result<(SnapName, Option<u64>), String> {
    let (name, revision) = match text.split_once('=') {
        Some((name, revision)) => (name, Some(revision)),
        None => (text, None),
    };
    let revision = revision.map(|revision| {
        let number = revision.parse::<u64>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| format!("a revision is a number from 1, not {revision:?}"))
    });
    Ok((
        name.parse().map_err(|error| format!("{error}"))?,
        revision.transpose()?,
    ))
}

#[derive(Debug, Args)]
pub(super) struct Rollout {
    /// The wave
    wave: WaveName,
    /// A group: all of it, and who joins it later, unless the selection is narrowed
    group: Option<GroupName>,
    /// The same
    #[arg(short, long = "group", value_name = "GROUP", conflicts_with = "group")]
    group_option: Option<GroupName>,
    /// At most so many devices, or such a part of those that match: 100, 5%
    #[arg(short, long, value_name = "N|N%", allow_hyphen_values = true)]
    limit: Option<String>,
    /// Out of these: uuids, MODEL/SERIAL or serials separated by commas or spaces; @FILE for a list in a file
    #[arg(long, value_name = "LIST|@FILE")]
    uuids: Option<String>,
    /// Change nothing, show who would be chosen
    #[arg(long)]
    dry_run: bool,
    /// Print the uuids of the devices
    #[arg(long)]
    print_uuids: bool,
    /// Print the names of the devices
    #[arg(long)]
    print_names: bool,
    /// The same devices and the same seed give the same choice
    #[arg(long)]
    seed: Option<u64>,
    /// Leave out listed devices that do not match, instead of refusing
    #[arg(long)]
    skip_mismatch: bool,
    /// Refuse unless so many devices could be taken
    #[arg(long, value_name = "N")]
    expect_eligible: Option<u64>,
    /// A name for this rollout: the same again is not another one
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    #[command(flatten)]
    store: StoreArg,
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

impl Init {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let (client, store) = self.store.open().await?;
        let mut body = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        set("name", Some(json!(self.wave)));
        set("tag", Some(json!(self.tag)));
        set("kind", self.rollback.then(|| json!("rollback")));
        let snaps: Vec<Value> = self
            .snaps
            .iter()
            .map(|(name, revision)| json!({ "name": name, "revision": revision }))
            .collect();
        set("snaps", (!snaps.is_empty()).then(|| json!(snaps)));
        set("from-wave", self.from_wave.map(|wave| json!(wave)));
        set(
            "from-channel-map",
            self.from_channel_map.then_some(Value::Bool(true)),
        );
        set("channel", self.channel.map(Value::from));
        set("prune", (!self.prune.is_empty()).then(|| json!(self.prune)));
        let expires = self
            .expires_at
            .or_else(|| self.expires.map(|span| now().plus_seconds(span)));
        set("expires-at", expires.map(|time| json!(time)));
        if let Some(policy) = &self.policy {
            set("policy", Some(json_of(policy)?));
        }
        let made = client.post(&in_store(&store, &["waves"]), &body).await?;
        if cx.out.format() == Format::Table {
            show(cx, &made)?;
        }
        let name = &self.wave;
        cx.out.done(
            &made,
            &format!("made wave {name}; next: hallmark wave rollout {name} --limit 5%"),
        )
    }
}

/// A document given in place, or in a file.
fn json_of(text: &str) -> Result<Value, CliError> {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| CliError::failed(format!("cannot read {file}"), error))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| CliError::Usage(format!("cannot read the policy: {error}")))
}

impl Rollout {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let (client, store) = self.store.open().await?;
        let (limit, percentage) = match self.limit.as_deref().map(limit).transpose()? {
            Some((number, true)) => (None, Some(number)),
            Some((number, false)) => (Some(number), None),
            None => (None, None),
        };
        let mut body = json!({
            "dry-run": self.dry_run,
            "skip-mismatch": self.skip_mismatch,
            "return-uuids": self.print_uuids,
            "return-names": self.print_names,
            "seed": self.seed,
            "expect-eligible": self.expect_eligible,
            "key": self.key,
            "limit": limit,
            "percentage": percentage,
        });
        if let Some(fields) = body.as_object_mut() {
            let group = self.group.as_ref().or(self.group_option.as_ref());
            fields.extend(group.map(|group| ("group".to_owned(), json!(group))));
            let listed = self.uuids.as_deref().map(devices).transpose()?;
            fields.extend(listed.map(|listed| ("uuids".to_owned(), json!(listed))));
        }
        let path = in_store(&store, &["waves", self.wave.as_str(), "rollouts"]);
        let rolled = client.post(&path, &body).await?;
        if cx.out.format() == Format::Table {
            let printed = texts(&rolled, "device-uuids").chain(texts(&rolled, "device-names"));
            for line in printed {
                cx.out.data(format!("{line}\n").as_bytes())?;
            }
            for skipped in rolled
                .get("skipped")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let text = |name| skipped.get(name).and_then(Value::as_str).unwrap_or("-");
                cx.out
                    .warn(&format!("left out {}: {}", text("device"), text("why")));
            }
        }
        let number = |name| rolled.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (does, seed) = if self.dry_run {
            (
                "would see",
                format!("; --seed {} chooses the same devices", number("seed")),
            )
        } else {
            ("see", String::new())
        };
        cx.out.done(
            &rolled,
            &format!(
                "{} of {} eligible devices ({} match) {does} wave {}{seed}",
                number("selected"),
                number("eligible"),
                number("matching"),
                self.wave
            ),
        )
    }
}

/// A number, and whether it is a percentage. The server says which numbers are too small or too large.
fn limit(text: &str) -> Result<(i64, bool), CliError> {
    let (number, percentage) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let wrong = || {
        CliError::Usage(format!(
            "cannot use the limit {text:?}: it is a whole number, or one with %"
        ))
    };
    Ok((number.parse().map_err(|_| wrong())?, percentage))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snaps_come_with_and_without_revisions() {
        assert_eq!(snap("app=7").unwrap().1, Some(7));
        assert_eq!(snap("app").unwrap().1, None);
        for bad in ["app=0", "app=x", "app=-1", "App=1", "=1"] {
            assert!(snap(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_whole_numbers_or_percentages() {
        assert_eq!(limit("100").unwrap(), (100, false));
        assert_eq!(limit("5%").unwrap(), (5, true));
        // What the server refuses with a code of its own.
        assert_eq!(limit("-3").unwrap(), (-3, false));
        for bad in ["", "%", "1.5%", "ten"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
