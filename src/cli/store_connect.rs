//! `store connect`: what points a device at a store.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::remote::{Client, native};
use super::{BrandArg, CliError, Cx, Format};
use crate::domain::ident::StoreId;

#[derive(Debug, Args)]
pub(super) struct Connect {
    /// The store
    store: StoreId,
    /// What to print: a shell script, cloud-init user data, or the assertions alone
    #[arg(long = "as", value_enum, value_name = "FORM", default_value_t = Form::Script)]
    form: Form,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Script,
    CloudInit,
    Assertions,
}

impl Connect {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let path = native(&["stores", self.store.as_str(), "connect"]);
        let answer = Client::open(&self.brand)?.post(&path, &json!({})).await?;
        let assertions = answer
            .get("assertions")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let text = match (cx.out.format(), self.form) {
            (Format::Json, _) => return cx.out.json(&answer),
            (Format::Table, Form::Assertions) => assertions.to_owned(),
            (Format::Table, Form::Script) => script(&self.store, assertions),
            (Format::Table, Form::CloudInit) => cloud_init(&self.store, assertions),
        };
        cx.out.data(text.as_bytes())
    }
}

/// A script to run on a device as root.
fn script(store: &StoreId, assertions: &str) -> String {
    format!(
        "#!/bin/sh\n# Points this device at store {store}; run it as root.\nset -e\nfile=$(mktemp)\n\
         cat > \"$file\" <<'ASSERTIONS'\n{}\nASSERTIONS\nsnap ack \"$file\"\nrm \"$file\"\n\
         snap set system proxy.store={store}\n",
        assertions.trim_end()
    )
}

/// The same as user data. In a block of YAML every line is indented; blank lines stay blank.
fn cloud_init(store: &StoreId, assertions: &str) -> String {
    let block: String = assertions
        .trim_end()
        .lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("      {line}\n")
            }
        })
        .collect();
    format!(
        "#cloud-config\nwrite_files:\n  - path: /run/{store}.assert\n    permissions: '0600'\n    content: |\n{block}\
         runcmd:\n  - [snap, ack, /run/{store}.assert]\n  - [snap, set, system, proxy.store={store}]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "type: account\nlist:\n  - x\n\nAcLB\n\ntype: store\n\nAcLB\n";

    #[test]
    fn cloud_init_carries_the_assertions_unchanged() {
        let text = cloud_init(&"acme".parse().unwrap(), TWO);
        let data: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(data["write_files"][0]["content"].as_str(), Some(TWO));
        assert_eq!(data["runcmd"][1][3].as_str(), Some("proxy.store=acme"));
    }

    #[test]
    fn the_script_carries_the_assertions_unchanged() {
        let text = script(&"acme".parse().unwrap(), TWO);
        let (_, rest) = text.split_once("<<'ASSERTIONS'\n").unwrap();
        assert_eq!(rest.split_once("ASSERTIONS\n").unwrap().0, TWO);
    }
}
