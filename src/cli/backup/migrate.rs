//! `migrate`: from one database engine to another.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::progress;
use crate::app::instance;
use crate::app::transfer::{Summary, count, fill};
use crate::cli::open::{self, SettingsArgs};
use crate::cli::{CliError, Column, Cx};
use crate::config::DatabaseUrl;
use crate::ports::Storage;

#[derive(Debug, Args)]
pub(in crate::cli) struct Migrate {
    /// The database to read: sled:DIR (DIR is usually DATA/db), or postgres://…; no server may write to it meanwhile
    #[arg(long, value_name = "URL")]
    from: DatabaseUrl,
    /// The database to fill: empty, or what an attempt that was cut short left
    #[arg(long, value_name = "URL")]
    to: DatabaseUrl,
}

const CARD: &[Column] = &[
    Column::field("Rows", "row-count"),
    Column::field("Digest", "sha256"),
];

impl Migrate {
    pub(in crate::cli) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        SettingsArgs::default().load_quietly()?;
        if self.from == self.to {
            return Err(CliError::Usage(
                "cannot migrate: both databases are the same".to_owned(),
            ));
        }
        let from = open::database(&self.from, None, false).await?;
        let done = async {
            if instance::instance(&from).await?.is_none() {
                return Err(CliError::Failed(
                    "cannot migrate: there is no instance in the database to read".to_owned(),
                ));
            }
            let to = open::database(&self.to, None, true).await?;
            let copied = copy(&from, &to).await;
            let closed = to.close().await;
            let copied = copied?;
            closed?;
            Ok(copied)
        }
        .await;
        let closed = from.close().await;
        let summary = done?;
        closed?;
        let card = json!({
            "row-count": summary.total(),
            "rows": summary.rows,
            "sha256": summary.sha256,
        });
        cx.out.item(&card, CARD)?;
        cx.out.note(
            "both hold the same; set database-url (HALLMARK_DATABASE_URL) to the new one. Files and passphrase stay \
             where they are",
        );
        Ok(())
    }
}

/// Copies, and compares what both hold.
async fn copy(from: &Arc<dyn Storage>, to: &Arc<dyn Storage>) -> Result<Summary, CliError> {
    let bar = progress("rows");
    fill(to, from.export().await?, |rows| bar.set_position(rows)).await?;
    bar.set_message("rows, comparing");
    let (source, target) = (count(from).await?, count(to).await?);
    bar.finish_and_clear();
    if source == target {
        return Ok(target);
    }
    Err(CliError::Failed(format!(
        "cannot migrate: the databases differ ({} and {} rows); something wrote to one of them meanwhile. Stop all \
         servers, empty the new database and run this again",
        source.total(),
        target.total()
    )))
}
