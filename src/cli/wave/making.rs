//! Making a wave, and signing its documents.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::show;
use crate::cli::fleet::{StoreArg, in_store};
use crate::cli::moment::{now, span};
use crate::cli::remote::{Client, Content};
use crate::cli::{CliError, Cx, Format};
use crate::domain::ident::{KeyName, SetName, SnapName, Tag, WaveName};
use crate::domain::time::Timestamp;

#[derive(Debug, Args)]
pub(in crate::cli) struct Init {
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
    /// Has it make a validation set too, by which devices hold themselves to it, signed with this key of the brand
    #[arg(short, long, value_name = "NAME")]
    key: Option<KeyName>,
    /// The same, to be signed elsewhere: the documents are written to this directory
    #[arg(long, value_name = "DIR", conflicts_with = "key")]
    offline_out: Option<PathBuf>,
    /// The name of the validation set [default: that of the tag's earlier waves, else the tag]
    #[arg(long, value_name = "NAME")]
    set: Option<SetName>,
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
pub(in crate::cli) struct Sign {
    /// The wave
    wave: WaveName,
    /// Signed documents, of the wave and of what takes it back; - is stdin
    #[arg(value_name = "FILE", required_unless_present = "offline_out")]
    files: Vec<PathBuf>,
    /// Write the documents to this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    offline_out: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArg,
}

impl Init {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
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
        if self.key.is_some() || self.offline_out.is_some() || self.set.is_some() {
            set("binding", Some(json!({ "set": self.set, "key": self.key })));
        }
        if let Some(directory) = &self.offline_out {
            // Before the wave is there: a directory that cannot be written is no reason for half a wave.
            std::fs::create_dir_all(directory)
                .map_err(|error| CliError::failed(format!("cannot make {}", directory.display()), error))?;
        }
        let made = client.post(&in_store(&store, &["waves"]), &body).await?;
        if cx.out.format() == Format::Table {
            show(cx, &made)?;
        }
        let name = &self.wave;
        if made.get("status").and_then(Value::as_str) != Some("draft") {
            let next = format!("made wave {name}; next: hallmark wave rollout {name} --limit 5%");
            return cx.out.done(&made, &next);
        }
        match &self.offline_out {
            Some(directory) => {
                let files = write_documents(&client, &store, name, directory).await?;
                cx.out.done(&made, &format!("made wave {name}; {}", to_sign(name, &files)))
            }
            None => cx.out.done(
                &made,
                &format!("made wave {name}; its documents wait for signatures: hallmark wave sign {name} --offline-out DIR"),
            ),
        }
    }
}

impl Sign {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let (client, store) = self.store.open().await?;
        let name = &self.wave;
        if let Some(directory) = &self.offline_out {
            std::fs::create_dir_all(directory)
                .map_err(|error| CliError::failed(format!("cannot make {}", directory.display()), error))?;
            let files = write_documents(&client, &store, name, directory).await?;
            let wave = client
                .get(&in_store(&store, &["waves", name.as_str()]), &[])
                .await?;
            return cx.out.done(&wave, &to_sign(name, &files));
        }
        let mut stream = Vec::new();
        for file in &self.files {
            let failed = |error| CliError::failed(format!("cannot read {}", file.display()), error);
            let text = match file.to_str() {
                Some("-") => std::io::read_to_string(std::io::stdin()).map_err(failed)?,
                _ => std::fs::read_to_string(file).map_err(failed)?,
            };
            stream.extend_from_slice(text.trim_end().as_bytes());
            stream.extend_from_slice(b"\n\n");
        }
        let path = in_store(&store, &["waves", name.as_str(), "signatures"]);
        let content = Content::Bytes("application/x.ubuntu.assertion", stream);
        let signed = client.json(Method::POST, &path, &[], content).await?;
        if cx.out.format() == Format::Table {
            show(cx, &signed)?;
        }
        let next = match signed.get("status").and_then(Value::as_str) {
            Some("draft") => "one more document waits for its signature".to_owned(),
            _ => format!("next: hallmark wave rollout {name} --limit 5%"),
        };
        cx.out.done(&signed, &format!("wave {name} is signed; {next}"))
    }
}

/// Writes the documents of a wave as `snap sign` takes them: the wave's and what takes it back.
async fn write_documents(
    client: &Client,
    store: &str,
    wave: &WaveName,
    directory: &Path,
) -> Result<[PathBuf; 2], CliError> {
    let path = in_store(store, &["waves", wave.as_str(), "documents"]);
    let documents = client.get(&path, &[]).await?;
    let write = |which: &str| {
        let file = directory.join(format!("{wave}.{which}.json"));
        let failed = |error: &dyn std::fmt::Display| {
            CliError::failed(format!("cannot write {}", file.display()), error)
        };
        let document = documents.get(which).unwrap_or(&Value::Null);
        let mut text = serde_json::to_vec_pretty(document).map_err(|error| failed(&error))?;
        text.push(b'\n');
        std::fs::write(&file, text).map_err(|error| failed(&error))?;
        Ok::<PathBuf, CliError>(file)
    };
    Ok([write("wave")?, write("abort")?])
}

/// What to do with the documents.
fn to_sign(wave: &WaveName, [one, other]: &[PathBuf; 2]) -> String {
    let (one, other) = (one.display(), other.display());
    format!(
        "{one} and {other} wait for signatures: `snap sign -k KEY {one} > wave.assert`, `snap sign -k KEY {other} > abort.assert`, \
         then `hallmark wave sign {wave} wave.assert abort.assert`"
    )
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
}
