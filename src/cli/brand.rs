//! `brand`: the brands of a server.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::ident::{BrandId, Email};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Create a brand with its keys and base store
    Create(Create),
    /// List the brands you may know of
    List(List),
    /// Show one brand
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Account id of the brand: its brand-id in models and serials
    id: BrandId,
    /// Name for people; the id when omitted
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Account that becomes its administrator; yours when omitted
    #[arg(long, value_name = "EMAIL", value_parser = Email::normal)]
    admin: Option<Email>,
    /// Another root signs the brand's account and keys; import them later
    #[arg(long)]
    delegated: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The brand; may be omitted where there is only one
    id: Option<BrandId>,
}

const ROW: &[Column] = &[
    Column::field("BRAND", "id"),
    Column::field("NAME", "name"),
    Column::field("BASE STORE", "base-store"),
    Column::field("CREATED", "created-at"),
];

const CARD: &[Column] = &[
    Column::field("Brand", "id"),
    Column::field("Name", "name"),
    Column::field("Base store", "base-store"),
    Column::field("Created", "created-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::open(&BrandArg::default())?;
        match self {
            Self::Create(Create {
                id,
                name,
                admin,
                delegated,
            }) => {
                cx.out.note("making three RSA-4096 keys; this takes a while");
                let request = json!({"id": id, "name": name, "admin": admin, "delegated": delegated});
                cx.out
                    .item(&client.post(&native(&["brands"]), &request).await?, CARD)
            }
            Self::List(List {}) => cx.out.list(&client.get(&native(&["brands"]), &[]).await?, ROW),
            Self::Show(Show { id }) => {
                let brand = match id {
                    Some(id) => client.get(&native(&["brands", id.as_str()]), &[]).await?,
                    None => only(client.get(&native(&["brands"]), &[]).await?)?,
                };
                cx.out.item(&brand, CARD)
            }
        }
    }
}

/// The one brand there is.
fn only(brands: Value) -> Result<Value, CliError> {
    match brands {
        Value::Array(mut all) if all.len() == 1 => Ok(all.pop().unwrap_or_default()),
        _ => Err(CliError::Usage(
            "cannot tell which brand is meant: name one of `hallmark brand list`".to_owned(),
        )),
    }
}
