//! `remodel`: which devices of one model may become another.

use clap::{Args, Subcommand};
use serde_json::json;

use super::remote::{Client, Content, native};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::ident::{ModelName, SerialNumber, StoreId};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Let devices of one model become another
    Add(Add),
    /// List the rules
    List(List),
    /// Remove a rule
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The model the devices have
    from: ModelName,
    /// The model they may become
    to: ModelName,
    /// Only this serial; every serial when omitted
    #[arg(long, value_name = "SERIAL")]
    serial: Option<SerialNumber>,
    /// The store the new model must name
    #[arg(long, value_name = "STORE")]
    store: Option<StoreId>,
    /// A note for people, at most 140 characters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The model the devices have
    from: ModelName,
    /// The model they may become
    to: ModelName,
    /// The serial the rule is for, if it is for one
    #[arg(long, value_name = "SERIAL")]
    serial: Option<SerialNumber>,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("FROM", "from-model"),
    Column::field("TO", "to-model"),
    Column::with("SERIAL", |row| {
        row.get("from-serial")
            .and_then(serde_json::Value::as_str)
            .unwrap_or("every")
            .to_owned()
    }),
    Column::field("STORE", "store"),
    Column::field("NOTE", "note"),
    Column::field("CREATED", "created-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let path = native(&["remodel-rules"]);
        match self {
            Self::Add(Add {
                from,
                to,
                serial,
                store,
                note,
                brand,
            }) => {
                let body = json!({
                    "from-model": from, "to-model": to, "from-serial": serial, "store": store, "note": note,
                });
                let rule = Client::open(&brand)?.post(&path, &body).await?;
                cx.out
                    .done(&rule, &format!("devices of model {from} may become {to}"))
            }
            Self::List(List { brand }) => cx.out.list(&Client::open(&brand)?.get(&path, &[]).await?, ROW),
            Self::Remove(Remove {
                from,
                to,
                serial,
                brand,
            }) => {
                let mut query = vec![("from-model", from.as_str()), ("to-model", to.as_str())];
                query.extend(serial.as_ref().map(|serial| ("from-serial", serial.as_str())));
                let client = Client::open(&brand)?;
                let rule = client
                    .json(reqwest::Method::DELETE, &path, &query, Content::Empty)
                    .await?;
                cx.out
                    .done(&rule, &format!("the rule from model {from} to {to} is removed"))
            }
        }
    }
}
