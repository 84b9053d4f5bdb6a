//! `validation-set`: which revisions of which snaps go together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::remote::{Client, Content, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{IdentError, KeyName, SnapName};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Sign a validation set with a brand key, or draw it up to be signed elsewhere, or take one that was
    Create(Create),
    /// List the validation sets of a brand, the last of each sequence
    List(List),
    /// Show a validation set
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its name, e.g. gate-base
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// Its number in the sequence, from 1 on; one that is there gets a next revision
    #[arg(required_unless_present = "file", value_parser = clap::value_parser!(u64).range(1..))]
    sequence: Option<u64>,
    /// Its snaps; without a revision any goes
    #[arg(required_unless_present = "file", value_name = "SNAP[=REVISION]")]
    snaps: Vec<InSet>,
    /// Whether a snap must be installed: required (as all are), optional or invalid; may be given several times
    #[arg(long = "presence", value_name = "SNAP=WORD")]
    presences: Vec<Presence>,
    /// The signing key, of the purpose validation-set [default: validation-set]
    #[arg(short = 'k', long, value_name = "NAME")]
    key: Option<KeyName>,
    /// Write the document for `snap sign` to this file instead of signing it here; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    offline_out: Option<PathBuf>,
    /// Keep this signed assertion instead; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "sequence", "snaps", "presences", "key", "offline_out"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Its name
    name: String,
    /// Its number in the sequence [default: the last]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    sequence: Option<u64>,
    #[command(flatten)]
    brand: BrandArg,
}

/// `SNAP` or `SNAP=REVISION`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InSet {
    name: SnapName,
    revision: Option<u64>,
}

impl FromStr for InSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, revision) = match text.split_once('=') {
            None => (text, None),
            Some((name, number)) => {
                let number = number.parse().ok().filter(|number: &u64| *number > 0);
                (name, Some(number.ok_or("a revision is a number from 1 on")?))
            }
        };
        let name = name.parse().map_err(|error: IdentError| error.to_string())?;
        Ok(Self { name, revision })
    }
}

/// `SNAP=WORD`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Presence {
    name: SnapName,
    word: String,
}

impl FromStr for Presence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, word) = text
            .split_once('=')
            .filter(|(_, word)| ["required", "optional", "invalid"].contains(word))
            .ok_or("SNAP=required, SNAP=optional or SNAP=invalid is expected")?;
        Ok(Self {
            name: name.parse().map_err(|error: IdentError| error.to_string())?,
            word: word.to_owned(),
        })
    }
}

const ROW: &[Column] = &[
    Column::field("NAME", "name"),
    Column::field("SEQUENCE", "sequence"),
    Column::field("REVISION", "revision"),
    Column::with("SNAPS", |row| snaps(row).len().to_string()),
    Column::field("TIMESTAMP", "timestamp"),
];

const CARD: &[Column] = &[
    Column::field("Validation set", "name"),
    Column::field("Account", "account-id"),
    Column::field("Sequence", "sequence"),
    Column::field("Revision", "revision"),
    Column::field("Timestamp", "timestamp"),
    Column::field("Signed by", "sign-key-sha3-384"),
];

const SNAP_ROW: &[Column] = &[
    Column::field("SNAP", "name"),
    Column::with("REVISION", |row| {
        let revision = row.get("revision").and_then(Value::as_u64);
        revision.map_or_else(|| "any".to_owned(), |revision| revision.to_string())
    }),
    Column::field("PRESENCE", "presence"),
    Column::with("COMPONENTS", |row| {
        let components = row.get("components").and_then(Value::as_object);
        let names: Vec<&str> = components
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect();
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(", ")
        }
    }),
];

fn snaps(row: &Value) -> &[Value] {
    let snaps = row.get("snaps").and_then(Value::as_array);
    snaps.map(Vec::as_slice).unwrap_or_default()
}

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run(cx).await,
            Self::List(List { brand }) => {
                let client = Client::open(&brand)?;
                let sets = client.get(&native(&["validation-sets"]), &[]).await?;
                cx.out.list(&sets, ROW)
            }
            Self::Show(show) => show.run(cx).await,
        }
    }
}

impl Show {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let sequence = self.sequence.map(|number| number.to_string());
        let query: Vec<(&str, &str)> = sequence
            .iter()
            .map(|number| ("sequence", number.as_str()))
            .collect();
        let path = native(&["validation-sets", &self.name]);
        let set = Client::open(&self.brand)?.get(&path, &query).await?;
        cx.out.item(&set, CARD)?;
        if cx.out.format() == Format::Table {
            cx.out.data(b"\n")?;
            cx.out.list(set.get("snaps").unwrap_or(&Value::Null), SNAP_ROW)?;
        }
        Ok(())
    }
}

impl Create {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if let Some(file) = &self.file {
            return self.keep(cx, file).await;
        }
        let body = self.body()?;
        let client = Client::open(&self.brand)?;
        let Some(out) = &self.offline_out else {
            let set = client.post(&native(&["validation-sets"]), &body).await?;
            let number = |field: &str| set.get(field).and_then(Value::as_u64).unwrap_or_default();
            let note = format!(
                "validation set {} {} is signed (revision {})",
                body.get("name").and_then(Value::as_str).unwrap_or_default(),
                number("sequence"),
                number("revision")
            );
            return cx.out.done(&set, &note);
        };
        let draft = client.post(&native(&["validation-set-drafts"]), &body).await?;
        let mut text = serde_json::to_vec_pretty(&draft)
            .map_err(|error| CliError::failed("cannot write the document", error))?;
        text.push(b'\n');
        if out.to_str() == Some("-") {
            return cx.out.data(&text);
        }
        let failed = |error| CliError::failed(format!("cannot write {}", out.display()), error);
        std::fs::write(out, text).map_err(failed)?;
        let note = format!(
            "{} waits for a signature: `snap sign -k KEY {0} > SIGNED`, then `hallmark validation-set create --file SIGNED`",
            out.display()
        );
        cx.out.done(&draft, &note)
    }

    fn body(&self) -> Result<Value, CliError> {
        let mut presences = BTreeMap::new();
        for presence in &self.presences {
            let named = self.snaps.iter().any(|snap| snap.name == presence.name);
            if !named || presences.insert(&presence.name, &presence.word).is_some() {
                return Err(CliError::Usage(format!(
                    "cannot make the validation set: --presence names {}, which must be one of its snaps, and only once",
                    presence.name
                )));
            }
        }
        let snaps: Vec<Value> = self
            .snaps
            .iter()
            .map(|snap| {
                json!({ "name": snap.name, "revision": snap.revision, "presence": presences.get(&snap.name) })
            })
            .collect();
        Ok(json!({ "name": self.name, "sequence": self.sequence, "snaps": snaps, "key": self.key }))
    }

    /// Takes what somebody else signed: the server checks it by the keys it knows.
    async fn keep(&self, cx: &Cx, file: &Path) -> Result<(), CliError> {
        let failed = |error| CliError::failed(format!("cannot read {}", file.display()), error);
        let text = match file.to_str() {
            Some("-") => std::io::read_to_string(std::io::stdin()).map_err(failed)?,
            _ => std::fs::read_to_string(file).map_err(failed)?,
        };
        let client = Client::open(&self.brand)?;
        let content = Content::Bytes("application/x.ubuntu.assertion", text.into_bytes());
        let kept = client.json(Method::POST, "/api/v2/validation-sets", &[], content);
        let kept = kept.await?;
        let headers = kept.pointer("/assertions/0/headers").unwrap_or(&Value::Null);
        let of = |name: &str| headers.get(name).and_then(Value::as_str).unwrap_or_default();
        let path = native(&["validation-sets", of("name")]);
        // As the other ways to make one print it; a set of one's own account is not the brand's.
        let set = client.get(&path, &[("sequence", of("sequence"))]).await;
        let set = set.unwrap_or_else(|_| headers.clone());
        let note = format!("validation set {} {} is kept", of("name"), of("sequence"));
        cx.out.done(&set, &note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snaps_and_presences_are_read() {
        let gizmo: InSet = "gizmo=7".parse().unwrap();
        assert_eq!((gizmo.name.as_str(), gizmo.revision), ("gizmo", Some(7)));
        assert_eq!("gizmo".parse::<InSet>().unwrap().revision, None);
        for bad in ["", "gizmo=", "gizmo=0", "gizmo=x", "no name", "=7"] {
            assert!(bad.parse::<InSet>().is_err(), "{bad}");
        }
        assert_eq!("gizmo=invalid".parse::<Presence>().unwrap().word, "invalid");
        for bad in ["gizmo", "gizmo=", "gizmo=maybe", "=optional"] {
            assert!(bad.parse::<Presence>().is_err(), "{bad}");
        }
    }
}
