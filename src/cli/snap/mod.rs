//! `snap`: names, revisions, releases, tracks, declarations and what people read about snaps.

mod add;
mod declare;
mod grant;
mod overriding;
mod review;
mod sharing;

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::catalog::{Channel, Track};
use crate::domain::ident::{Architecture, SnapName, StoreId};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Upload a snap file as the next revision; a new name is registered
    Add(add::Add),
    /// Register a name without a file
    Register(Register),
    /// List the snaps of a brand
    List(List),
    /// Show a snap: its channels and revisions
    Show(Named),
    /// Edit what people read about a snap, and who gets it
    Edit(Edit),
    /// Release a revision to channels
    Release(Release),
    /// Close a channel: who follows it gets what the safer risks hold
    Close(Close),
    /// Declare what a snap may do: plugs, slots, aliases, refresh-control, revision-authority
    Declare(declare::Declare),
    /// Pin the revisions that channels give to all devices of a store (administrators)
    Override(overriding::Set),
    /// List the revisions that a store pins on channels of a snap (administrators)
    Overrides(overriding::List),
    /// Let channels give again what the publisher released (administrators)
    DeleteOverride(overriding::Delete),
    /// Ask somebody to help with a snap: to upload, release and edit it; prints the token that accepts, once
    Invite(sharing::Invited),
    /// List who was asked to help with a snap, and what became of it
    Invites(sharing::List),
    /// Take an invite back; who accepted it helps no more
    RevokeInvite(sharing::Invited),
    /// Accept an invite to help with a snap, as who was asked
    AcceptInvite(sharing::Answer),
    /// Reject an invite to help with a snap
    RejectInvite(sharing::Answer),
    /// Tracks of a snap
    #[command(subcommand)]
    Track(TrackVerb),
    /// Revisions that wait for a reviewer
    #[command(subcommand)]
    Review(review::Verb),
    /// What a snap's declaration allows its plugs and slots
    #[command(subcommand)]
    Grant(grant::Verb),
}

#[derive(Debug, Args)]
pub(super) struct Register {
    /// The name
    name: SnapName,
    /// Base store to register it in [default: the brand's]
    #[arg(long, value_name = "STORE")]
    store: Option<StoreId>,
    /// Who publishes it: a username, e-mail address or account id, or the brand [default: you]
    #[arg(long, value_name = "ACCOUNT")]
    publisher: Option<String>,
    /// Only devices and accounts of stores that show it get it
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The snap
    name: SnapName,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Edit {
    /// The snap
    name: SnapName,
    /// Only devices and accounts of stores that show it get it: true or false
    #[arg(long, value_name = "BOOL")]
    private: Option<bool>,
    /// What a channel without a track means on installation
    #[arg(long, value_name = "TRACK")]
    default_track: Option<Track>,
    /// At most 40 characters; "" for none
    #[arg(long)]
    title: Option<String>,
    /// At most 128 characters
    #[arg(long)]
    summary: Option<String>,
    /// At most 4096 characters
    #[arg(long)]
    description: Option<String>,
    /// An SPDX expression; "" for none
    #[arg(long)]
    license: Option<String>,
    /// The main page; "" for none
    #[arg(long, value_name = "URL")]
    website: Option<String>,
    /// Where to ask; "" for none
    #[arg(long, value_name = "URL")]
    contact: Option<String>,
    /// Categories, separated by commas; "" for none
    #[arg(long)]
    categories: Option<String>,
    /// Take title, summary and the others from the next revision again
    #[arg(long)]
    from_snap: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Release {
    /// The snap
    name: SnapName,
    /// The revision
    revision: u64,
    /// The channels: stable, 2.0/beta, latest/edge/fix
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<Channel>,
    /// Only to this part of the devices, out of 100; the others get what the channel held for all before
    #[arg(long, value_name = "PERCENT")]
    percentage: Option<f64>,
    /// No further device gets it until --resume; who has it keeps it. Without --percentage: the part it has there
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Let a paused release go on. Without --percentage: to the part it has there
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Close {
    /// The snap
    name: SnapName,
    /// The channel
    channel: Channel,
    /// Only for this architecture; may be given several times
    #[arg(long = "architecture", value_name = "ARCH")]
    architectures: Vec<Architecture>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Subcommand)]
pub(super) enum TrackVerb {
    /// Make a track; it must fit a guardrail
    Add(OneTrack),
    /// Remove a track without open channels
    Remove(OneTrack),
    /// Say which tracks the publisher may make (administrators)
    Guard(Guard),
}

#[derive(Debug, Args)]
pub(super) struct OneTrack {
    /// The snap
    name: SnapName,
    /// The track
    track: Track,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Guard {
    /// The snap
    name: SnapName,
    /// Regular expressions over whole names of tracks, in place of those before
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("SNAP", "name"),
    Column::field("TYPE", "type"),
    Column::field("STORE", "store-id"),
    Column::field("PRIVATE", "private"),
    Column::field("REVISIONS", "newest-revision"),
    Column::with("STABLE", stable),
    Column::field("CREATED", "created-at"),
];

const CARD: &[Column] = &[
    Column::field("Snap", "name"),
    Column::field("Id", "snap-id"),
    Column::field("Type", "type"),
    Column::field("Store", "store-id"),
    Column::field("Publisher", "publisher"),
    Column::field("Private", "private"),
    Column::field("Revoked", "revoked"),
    Column::field("Title", "title"),
    Column::field("Summary", "summary"),
    Column::field("License", "license"),
    Column::field("Website", "website"),
    Column::field("Contact", "contact"),
    Column::field("Categories", "categories"),
    Column::with("Screenshots", screenshots),
    Column::field("Tracks", "tracks"),
    Column::field("Guardrails", "guardrails"),
    Column::field("Default track", "default-track"),
    Column::field("Created", "created-at"),
];

/// The sizes of the screenshots, in pixels.
fn screenshots(snap: &Value) -> String {
    let all = snap.get("screenshots").and_then(Value::as_array);
    let side = |shot: &Value, name| shot.get(name).and_then(Value::as_u64).unwrap_or_default();
    let sizes = all.into_iter().flatten();
    let sizes = sizes.map(|shot| format!("{}x{}", side(shot, "width"), side(shot, "height")));
    sizes.collect::<Vec<_>>().join(", ")
}

const CHANNEL_ROW: &[Column] = &[
    Column::field("CHANNEL", "channel"),
    Column::field("ARCHITECTURE", "architecture"),
    Column::field("REVISION", "revision"),
    Column::with("DEVICES", |row| {
        match row.get("percentage").and_then(Value::as_f64) {
            Some(part) if row.get("paused") == Some(&Value::Bool(true)) => format!("{part} %, paused"),
            Some(part) => format!("{part} %"),
            None => "all".to_owned(),
        }
    }),
    Column::field("RELEASED", "released-at"),
    Column::field("ENDS", "expires-at"),
];

const REVISION_ROW: &[Column] = &[
    Column::field("REVISION", "revision"),
    Column::field("VERSION", "version"),
    Column::field("ARCHITECTURES", "architectures"),
    Column::field("CONFINEMENT", "confinement"),
    Column::field("SIZE", "size"),
    Column::field("REVIEW", "review"),
    Column::with("COMPONENTS", components),
    Column::field("CREATED", "created-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Add(add) => add.run(cx).await,
            Self::Register(register) => register.run(cx).await,
            Self::List(List { brand }) => cx
                .out
                .list(&Client::open(&brand)?.get(&native(&["snaps"]), &[]).await?, ROW),
            Self::Show(named) => named.run(cx).await,
            Self::Edit(edit) => edit.run(cx).await,
            Self::Release(release) => release.run(cx).await,
            Self::Close(Close {
                name,
                channel,
                architectures,
                brand,
            }) => {
                let body = json!({ "channel": channel, "architectures": architectures });
                let client = Client::open(&brand)?;
                let snap = client.post(&path(&name, &["close"]), &body).await?;
                cx.out.done(&snap, &format!("{channel} of {name} is closed"))
            }
            Self::Declare(declare) => declare.run(cx).await,
            Self::Override(set) => set.run(cx).await,
            Self::Overrides(list) => list.run(cx).await,
            Self::DeleteOverride(delete) => delete.run(cx).await,
            Self::Invite(invited) => invited.send(cx).await,
            Self::Invites(list) => list.run(cx).await,
            Self::RevokeInvite(invited) => invited.revoke(cx).await,
            Self::AcceptInvite(answer) => answer.run(cx, true).await,
            Self::RejectInvite(answer) => answer.run(cx, false).await,
            Self::Track(verb) => verb.run(cx).await,
            Self::Review(verb) => verb.run(cx).await,
            Self::Grant(verb) => verb.run(cx).await,
        }
    }
}

impl Register {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let body = json!({
            "name": self.name, "store": self.store, "publisher": self.publisher, "private": self.private,
        });
        let client = Client::open(&self.brand)?;
        let snap = client.post(&native(&["snaps"]), &body).await?;
        let id = text(&snap, "snap-id");
        cx.out.done(&snap, &format!("registered {} as {id}", self.name))
    }
}

impl Named {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let snap = Client::open(&self.brand)?
            .get(&path(&self.name, &[]), &[])
            .await?;
        cx.out.item(&snap, CARD)?;
        if cx.out.format() == Format::Table {
            for (rows, columns) in [("channels", CHANNEL_ROW), ("revisions", REVISION_ROW)] {
                let rows = snap.get(rows).unwrap_or(&Value::Null);
                if rows.as_array().is_some_and(|rows| !rows.is_empty()) {
                    cx.out.data(b"\n")?;
                    cx.out.list(rows, columns)?;
                }
            }
        }
        Ok(())
    }
}

impl Edit {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut body = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        set("private", self.private.map(Value::from));
        set("default-track", self.default_track.map(|track| json!(track)));
        set("title", self.title.map(Value::from));
        set("summary", self.summary.map(Value::from));
        set("description", self.description.map(Value::from));
        set("license", self.license.map(Value::from));
        set("website", self.website.map(Value::from));
        set("contact", self.contact.map(Value::from));
        set(
            "categories",
            self.categories.map(|list| {
                let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
                json!(words.collect::<BTreeSet<_>>())
            }),
        );
        set("from-snap", self.from_snap.then_some(Value::Bool(true)));
        if body.is_empty() {
            return Err(CliError::Usage(
                "cannot edit: name what shall change, see `hallmark snap edit --help`".to_owned(),
            ));
        }
        let snap = Client::open(&self.brand)?
            .put(&path(&self.name, &[]), &body)
            .await?;
        cx.out.done(&snap, &format!("edited {}", self.name))
    }
}

impl Release {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let Self {
            name,
            revision,
            channels,
            percentage,
            pause,
            resume,
            brand,
        } = self;
        let turned = (pause || resume).then_some(pause);
        let mut body = json!({ "revision": revision, "channels": channels, "percentage": percentage });
        if let (Some(pause), Some(body)) = (turned, body.as_object_mut()) {
            body.insert("pause".to_owned(), pause.into());
        }
        let client = Client::open(&brand)?;
        let snap = client.post(&path(&name, &["releases"]), &body).await?;
        let list: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let part = percentage.map_or_else(String::new, |part| format!(", for {part} % of the devices"));
        let turned = match turned {
            Some(true) => ", paused: no further device gets it",
            Some(false) => ", and goes on",
            None => "",
        };
        cx.out.done(
            &snap,
            &format!(
                "revision {revision} of {name} is in {}{part}{turned}",
                list.join(", ")
            ),
        )
    }
}

impl TrackVerb {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Add(OneTrack { name, track, brand }) => {
                let path = path(&name, &["tracks", track.as_str()]);
                let snap = Client::open(&brand)?.put(&path, &json!({})).await?;
                cx.out.done(&snap, &format!("{name} has track {track}"))
            }
            Self::Remove(OneTrack { name, track, brand }) => {
                let path = path(&name, &["tracks", track.as_str()]);
                let snap = Client::open(&brand)?.delete(&path).await?;
                cx.out
                    .done(&snap, &format!("{name} has no track {track} any more"))
            }
            Self::Guard(Guard {
                name,
                patterns,
                brand,
            }) => {
                let path = path(&name, &["guardrails"]);
                let body = json!({ "patterns": patterns });
                let snap = Client::open(&brand)?.put(&path, &body).await?;
                let note = if patterns.is_empty() {
                    format!("the publisher of {name} makes no tracks")
                } else {
                    format!("tracks of {name} must fit {}", patterns.join(" or "))
                };
                cx.out.done(&snap, &note)
            }
        }
    }
}

fn path(name: &SnapName, more: &[&str]) -> String {
    native(&[&["snaps", name.as_str()], more].concat())
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The revisions in `latest/stable`.
fn stable(row: &Value) -> String {
    let channels = row.get("channels").and_then(Value::as_array);
    let stable: BTreeSet<u64> = channels
        .into_iter()
        .flatten()
        .filter(|open| text(open, "channel") == "latest/stable")
        .filter_map(|open| open.get("revision")?.as_u64())
        .collect();
    if stable.is_empty() {
        return "-".to_owned();
    }
    let texts: Vec<String> = stable.iter().map(u64::to_string).collect();
    texts.join(", ")
}

fn components(row: &Value) -> String {
    let list = row.get("components").and_then(Value::as_array);
    let names: Vec<&str> = list.into_iter().flatten().map(|one| text(one, "name")).collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}
