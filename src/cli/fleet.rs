//! What `wave`, `group` and `device` share: which store is meant, and lists of devices.

use std::path::Path;

use clap::Args;
use serde_json::Value;

use super::remote::{Client, native};
use super::{BrandArg, CliError};
use crate::domain::ident::StoreId;

/// Longest name of a device in a list, in bytes; serials have up to 200, models 128.
const LONGEST: usize = 400;

/// Which store a command is about.
#[derive(Clone, Debug, Args)]
pub(super) struct StoreArg {
    /// The store [default: the only one of the brand]
    #[arg(long, value_name = "STORE", env = "HALLMARK_STORE")]
    store: Option<StoreId>,
    #[command(flatten)]
    pub(super) brand: BrandArg,
}

impl StoreArg {
    /// A connection, and the store that is meant.
    pub(super) async fn open(&self) -> Result<(Client, String), CliError> {
        let client = Client::open(&self.brand)?;
        if let Some(store) = &self.store {
            return Ok((client, store.to_string()));
        }
        let stores = client.get(&native(&["stores"]), &[]).await?;
        let ids: Vec<&str> = stores
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|store| store.get("id")?.as_str())
            .collect();
        match ids.as_slice() {
            [one] => {
                let one = (*one).to_owned();
                Ok((client, one))
            }
            [] => Err(CliError::Failed(
                "cannot tell which store is meant: you have a role in none; name it with --store".to_owned(),
            )),
            several => Err(CliError::Usage(format!(
                "cannot tell which store is meant: name one of {} with --store",
                several.join(", ")
            ))),
        }
    }
}

/// The path of something in a store.
pub(super) fn in_store(store: &str, parts: &[&str]) -> String {
    let all: Vec<&str> = ["stores", store]
        .into_iter()
        .chain(parts.iter().copied())
        .collect();
    native(&all)
}

/// The devices that a list names: uuids, `MODEL/SERIAL` or serials, separated by commas, semicolons, bars or white space;
/// `@FILE` takes them from a file (`@-`: from the input). A file with anything but uuids is taken line by line, so that
/// serials with spaces work.
pub(super) fn devices(text: &str) -> Result<Vec<String>, CliError> {
    let names = match text.strip_prefix('@') {
        Some(file) => of_file(&read(file)?),
        None => split(text),
    };
    if names.is_empty() {
        return Err(CliError::Usage(
            "cannot use the list of devices: it names none".to_owned(),
        ));
    }
    if let Some(long) = names.iter().find(|name| name.len() > LONGEST) {
        let start: String = long.chars().take(40).collect();
        return Err(CliError::Usage(format!(
            "cannot use the list of devices: {start}… is too long to be one"
        )));
    }
    Ok(names)
}

fn read(file: &str) -> Result<String, CliError> {
    let read = if file == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(Path::new(file))
    };
    read.map_err(|error| CliError::failed(format!("cannot read {file}"), error))
}

fn split(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| matches!(c, ',' | ';' | '|') || c.is_whitespace());
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn of_file(text: &str) -> Vec<String> {
    let parts = split(text);
    if parts.iter().all(|part| uuid::Uuid::try_parse(part).is_ok()) {
        return parts;
    }
    let items = text.lines().flat_map(|line| line.split([',', ';', '|']));
    let items = items.map(str::trim).filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

/// The texts of a JSON list.
pub(super) fn texts<'v>(document: &'v Value, field: &str) -> impl Iterator<Item = &'v str> {
    let list = document.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_all_separators() {
        assert_eq!(
            devices("a,b;c|d e\tf\n,g").unwrap(),
            ["a", "b", "c", "d", "e", "f", "g"]
        );
        assert!(devices(" ,; ").is_err());
        assert!(devices(&"x".repeat(401)).is_err());
        assert!(devices("@/nowhere/at/all").is_err());
    }

    #[test]
    fn files_are_read_line_by_line_unless_they_hold_uuids() {
        assert_eq!(
            of_file("gate/SN 1\ngate/SN 2, SN 3\n\n"),
            ["gate/SN 1", "gate/SN 2", "SN 3"]
        );
        let one = "ab8ecb00-8ed4-42ff-90b2-815b371c0f86";
        assert_eq!(of_file(&format!("{one} {one};{one}")).len(), 3);
    }
}
