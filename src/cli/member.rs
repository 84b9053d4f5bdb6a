//! `member`: who has which role in a store.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::access::Role;
use crate::domain::ident::{Email, StoreId};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Give an account these roles in a store, in place of those it had
    Add(Add),
    /// Take all roles in a store away from an account
    Remove(Remove),
    /// List the members of a store
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The store; roles in a brand's base store hold for the whole brand
    store: StoreId,
    /// The account
    #[arg(value_parser = Email::normal)]
    email: Email,
    /// Roles, separated by commas: administrator, publisher, reviewer, viewer, brand
    #[arg(long = "role", required = true, value_delimiter = ',', value_name = "ROLES")]
    roles: Vec<Role>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The store
    store: StoreId,
    /// The account
    #[arg(value_parser = Email::normal)]
    email: Email,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The store
    store: StoreId,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("EMAIL", "email"),
    Column::field("USERNAME", "username"),
    Column::field("NAME", "display-name"),
    Column::with("ROLES", |row| labels(row.get("roles"))),
    Column::field("SINCE", "changed-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Add(Add {
                store,
                email,
                roles,
                brand,
            }) => {
                let path = native(&["stores", store.as_str(), "members", email.as_str()]);
                let member = Client::open(&brand)?.put(&path, &json!({"roles": roles})).await?;
                let words = labels(member.get("roles"));
                cx.out
                    .done(&member, &format!("{email} is now {words} in store {store}"))
            }
            Self::Remove(Remove { store, email, brand }) => {
                let path = native(&["stores", store.as_str(), "members", email.as_str()]);
                Client::open(&brand)?.delete(&path).await?;
                let gone = json!({"store-id": store, "email": email, "roles": []});
                cx.out
                    .done(&gone, &format!("{email} has no role in store {store} any more"))
            }
            Self::List(List { store, brand }) => {
                let path = native(&["stores", store.as_str(), "members"]);
                cx.out.list(&Client::open(&brand)?.get(&path, &[]).await?, ROW)
            }
        }
    }
}

/// Roles as people call them (decisions.md 11); an unknown wire word stays as it is.
pub(super) fn labels(roles: Option<&Value>) -> String {
    let words = roles
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str);
    let labels: Vec<&str> = words
        .map(|word| word.parse::<Role>().map_or(word, |role| role.label()))
        .collect();
    if labels.is_empty() {
        "-".to_owned()
    } else {
        labels.join(", ")
    }
}
