//! `group`: groups of devices.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::fleet::{StoreArg, devices, in_store};
use super::{CliError, Column, Cx};
use crate::domain::ident::GroupName;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a group
    Create(Named),
    /// List the groups of a store and how many devices they have
    List(List),
    /// Delete a group without devices
    Delete(Named),
    /// Put devices into a group: out of the one they were in
    Add(Add),
    /// Take devices out of their group
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The group
    group: GroupName,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The group
    group: GroupName,
    /// The devices: uuids, MODEL/SERIAL or serials; @FILE for a list in a file
    #[arg(required = true, value_name = "SERIAL")]
    devices: Vec<String>,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The devices: uuids, MODEL/SERIAL or serials; @FILE for a list in a file
    #[arg(required = true, value_name = "SERIAL")]
    devices: Vec<String>,
    #[command(flatten)]
    store: StoreArg,
}

const ROW: &[Column] = &[
    Column::field("GROUP", "name"),
    Column::field("STORE", "store-id"),
    Column::field("DEVICES", "devices"),
    Column::field("PRODUCTION", "production-devices"),
    Column::field("CREATED", "created-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Create(Named { group, store }) => {
                let (client, store) = store.open().await?;
                let made = client
                    .post(&in_store(&store, &["groups"]), &json!({ "name": group }))
                    .await?;
                cx.out
                    .done(&made, &format!("store {store} has the group {group}"))
            }
            Self::List(List { store }) => {
                let (client, store) = store.open().await?;
                cx.out
                    .list(&client.get(&in_store(&store, &["groups"]), &[]).await?, ROW)
            }
            Self::Delete(Named { group, store }) => {
                let (client, store) = store.open().await?;
                client
                    .delete(&in_store(&store, &["groups", group.as_str()]))
                    .await?;
                let gone = json!({ "name": group, "store-id": store });
                cx.out.done(&gone, &format!("deleted group {group}"))
            }
            Self::Add(Add {
                group,
                devices,
                store,
            }) => {
                let (client, store) = store.open().await?;
                let body = json!({ "devices": all(&devices)? });
                let path = in_store(&store, &["groups", group.as_str(), "devices"]);
                let moved = client.post(&path, &body).await?;
                cx.out
                    .done(&moved, &format!("{} are in group {group}", count(&moved)))
            }
            Self::Remove(Remove { devices, store }) => {
                let (client, store) = store.open().await?;
                let body = json!({ "devices": all(&devices)? });
                let moved = client
                    .post(&in_store(&store, &["ungrouped-devices"]), &body)
                    .await?;
                cx.out.done(&moved, &format!("{} are in no group", count(&moved)))
            }
        }
    }
}

fn all(given: &[String]) -> Result<Vec<String>, CliError> {
    let mut names = Vec::new();
    for one in given {
        // One argument may be a serial with spaces: only lists are split.
        if one.starts_with('@') {
            names.extend(devices(one)?);
        } else {
            names.push(one.clone());
        }
    }
    Ok(names)
}

fn count(moved: &Value) -> String {
    match moved.get("devices").and_then(Value::as_u64) {
        Some(1) => "1 device".to_owned(),
        number => format!("{} devices", number.unwrap_or_default()),
    }
}
