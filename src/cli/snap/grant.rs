//! `snap grant`: what a snap's declaration allows its plugs and slots.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::path;
use crate::cli::remote::Client;
use crate::cli::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{SnapName, StoreId};
use crate::domain::review::Interface;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List what is granted to a snap, and what waits for a second person
    List(List),
    /// Grant an interface; a plug of class C waits until a second person confirms
    Enable(Change),
    /// Take a grant back
    Disable(Change),
    /// Confirm what a reviewer wants to grant (administrators)
    Confirm(Confirm),
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Side {
    /// What the snap uses
    #[default]
    Plugs,
    /// What it offers
    Slots,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Attribute {
    /// Devices connect it without a person
    #[default]
    AutoConnection,
    /// Devices install a snap that has it
    Installation,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// The snap
    name: SnapName,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// The snap
    name: SnapName,
    /// The interface, e.g. camera
    interface: Interface,
    /// Plugs or slots
    #[arg(long, value_enum, default_value = "plugs")]
    side: Side,
    /// What is granted; auto-connection of a plug of class C, or of a slot, has installation in it
    #[arg(long, value_enum, default_value = "auto-connection")]
    attribute: Attribute,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Change {
    #[command(flatten)]
    which: Which,
    /// Only on devices of this store; may be given several times [default: enable: the base store; disable: all]
    #[arg(long = "on-store", value_name = "STORE")]
    stores: Vec<StoreId>,
    /// On devices of all stores
    #[arg(long, conflicts_with = "stores")]
    everywhere: bool,
    /// For who reads the audit log, and who confirms
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Confirm {
    #[command(flatten)]
    which: Which,
}

const ROW: &[Column] = &[
    Column::field("SIDE", "side"),
    Column::field("INTERFACE", "interface"),
    Column::field("CLASS", "class"),
    Column::field("GRANTED", "attribute"),
    Column::with("ON STORES", stores),
];

const WAITING_ROW: &[Column] = &[
    Column::field("SIDE", "side"),
    Column::field("INTERFACE", "interface"),
    Column::field("WANTED", "attribute"),
    Column::with("ON STORES", stores),
    Column::field("BY", "requested-by"),
    Column::field("COMMENT", "comment"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::List(List { name, brand }) => {
                let listed = Client::open(&brand)?.get(&path(&name, &["grants"]), &[]).await?;
                if cx.out.format() != Format::Table {
                    return cx.out.json(&listed);
                }
                cx.out.list(listed.get("granted").unwrap_or(&Value::Null), ROW)?;
                let waiting = listed.get("waiting").unwrap_or(&Value::Null);
                if waiting.as_array().is_some_and(|rows| !rows.is_empty()) {
                    cx.out.data(b"\n")?;
                    cx.out.list(waiting, WAITING_ROW)?;
                }
                Ok(())
            }
            Self::Enable(change) => change.run(cx, "enabled").await,
            Self::Disable(change) => change.run(cx, "disabled").await,
            Self::Confirm(Confirm { which }) => {
                let client = Client::open(&which.brand)?;
                let done = client
                    .post(&path(&which.name, &["grants", "confirm"]), &which.body())
                    .await?;
                which.finish(cx, &done, "enabled")
            }
        }
    }
}

impl Which {
    fn body(&self) -> Map<String, Value> {
        let word = |choice: Option<clap::builder::PossibleValue>| {
            choice.map(|value| Value::from(value.get_name().to_owned()))
        };
        let mut body = Map::new();
        body.insert("interface".to_owned(), json!(self.interface));
        body.extend(word(self.side.to_possible_value()).map(|side| ("side".to_owned(), side)));
        let attribute = word(self.attribute.to_possible_value());
        body.extend(attribute.map(|attribute| ("attribute".to_owned(), attribute)));
        body
    }

    fn finish(&self, cx: &Cx, done: &Value, state: &str) -> Result<(), CliError> {
        let remarks = done.get("remarks").and_then(Value::as_array);
        for remark in remarks.into_iter().flatten().filter_map(Value::as_str) {
            cx.out.warn(remark);
        }
        let body = self.body();
        let is_this = |row: &&Value| {
            ["side", "interface", "attribute"]
                .iter()
                .all(|field| row.get(field) == body.get(*field))
        };
        let waiting = done.get("waiting").and_then(Value::as_array);
        let waits = waiting.into_iter().flatten().any(|row| is_this(&row));
        let attribute = body.get("attribute").and_then(Value::as_str).unwrap_or_default();
        let state = if waits { "waits for a second person" } else { state };
        let revision = done
            .get("declaration")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let note = format!(
            "{attribute} of {} for {}: {state} (declaration {revision})",
            self.interface, self.name
        );
        cx.out.done(done, &note)
    }
}

impl Change {
    async fn run(self, cx: &Cx, state: &str) -> Result<(), CliError> {
        let mut body = self.which.body();
        body.insert("state".to_owned(), json!(state));
        body.insert("comment".to_owned(), json!(self.comment));
        body.insert("everywhere".to_owned(), json!(self.everywhere));
        if !self.stores.is_empty() {
            body.insert("on-store".to_owned(), json!(self.stores));
        }
        let client = Client::open(&self.which.brand)?;
        let done = client.post(&path(&self.which.name, &["grants"]), &body).await?;
        self.which.finish(cx, &done, state)
    }
}

fn stores(row: &Value) -> String {
    let constrained = row.get("constrained").and_then(Value::as_bool).unwrap_or(false);
    let mut words: Vec<&str> = match row.get("on-store").and_then(Value::as_array) {
        None => vec!["all"],
        Some(stores) => stores.iter().filter_map(Value::as_str).collect(),
    };
    if constrained {
        words.push("(see snap declare)");
    }
    words.join(" ")
}
