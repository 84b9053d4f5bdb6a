//! `store`: the stores of a brand.

use clap::{Args, Subcommand};

use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::ident::StoreId;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the stores of a brand
    List(List),
    /// Show one store
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The store
    store: StoreId,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("STORE", "id"),
    Column::field("BRAND", "brand-id"),
    Column::field("NAME", "name"),
    Column::field("PARENT", "parent"),
    Column::field("CREATED", "created-at"),
];

const CARD: &[Column] = &[
    Column::field("Store", "id"),
    Column::field("Brand", "brand-id"),
    Column::field("Name", "name"),
    Column::field("Parent", "parent"),
    Column::field("Created", "created-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::List(List { brand }) => cx
                .out
                .list(&Client::open(&brand)?.get(&native(&["stores"]), &[]).await?, ROW),
            Self::Show(Show { store, brand }) => {
                let path = native(&["stores", store.as_str()]);
                cx.out.item(&Client::open(&brand)?.get(&path, &[]).await?, CARD)
            }
        }
    }
}
