//! `config`: the effective settings.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::open::SettingsArgs;
use super::{CliError, Column, Cx};
use crate::config::SETTINGS;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show every setting, its value and where it came from; secrets are masked
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Address to listen on, as given to serve
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

const ROW: &[Column] = &[
    Column::field("SETTING", "name"),
    Column::field("VALUE", "value"),
    Column::field("FROM", "source"),
    Column::field("ENVIRONMENT", "environment"),
    Column::field("MEANING", "description"),
];

impl Verb {
    pub(super) fn run(self, cx: &Cx) -> Result<(), CliError> {
        let Self::Show(Show { settings, listen }) = self;
        let config = settings.load([("listen", listen)])?;
        let rows: Vec<Value> = config
            .rows()
            .into_iter()
            .zip(SETTINGS)
            .map(|((name, value, source), (_, environment, description))| {
                json!({
                    "name": name, "value": value, "source": source, "environment": environment,
                    "description": description.trim(),
                })
            })
            .collect();
        cx.out.list(&rows.into(), ROW)
    }
}
