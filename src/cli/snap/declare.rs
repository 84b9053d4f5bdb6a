//! `snap declare`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::path;
use crate::cli::remote::Client;
use crate::cli::{BrandArg, CliError, Cx};
use crate::domain::ident::SnapName;

#[derive(Debug, Args)]
pub(in crate::cli) struct Declare {
    /// The snap
    name: SnapName,
    /// YAML or JSON with some of plugs, slots, aliases, auto-aliases, refresh-control, revision-authority; - is stdin.
    /// Keys that are not in it stay as they are, an empty key (`slots: {}`) goes
    file: PathBuf,
    /// Of plugs and slots, replace only the interfaces the file names
    #[arg(long, conflicts_with = "replace")]
    merge: bool,
    /// Leave nothing of the declaration but what the file says
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    brand: BrandArg,
}

impl Declare {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let failed = |error| CliError::failed(format!("cannot read {}", self.file.display()), error);
        let text = match self.file.to_str() {
            Some("-") => std::io::read_to_string(std::io::stdin()).map_err(failed)?,
            _ => std::fs::read_to_string(&self.file).map_err(failed)?,
        };
        let mode = match (self.merge, self.replace) {
            (true, _) => "merge",
            (_, true) => "replace",
            (false, false) => "keys",
        };
        let body = json!({ "text": text, "mode": mode });
        let declared = Client::open(&self.brand)?
            .put(&path(&self.name, &["declaration"]), &body)
            .await?;
        let warnings = declared.get("warnings").and_then(Value::as_array);
        for warning in warnings.into_iter().flatten().filter_map(Value::as_str) {
            cx.out.warn(warning);
        }
        let number = |name: &str| declared.get(name).and_then(Value::as_u64).unwrap_or_default();
        let note = format!(
            "the declaration of {} has revision {}, format {}",
            self.name,
            number("revision"),
            number("format")
        );
        cx.out.done(&declared, &note)
    }
}
