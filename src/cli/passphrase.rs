//! `passphrase`: what seals the private keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::local;
use super::open::{self, SettingsArgs};
use super::{CliError, Cx};
use crate::adapters::passphrase::{NEXT, Passphrase, PassphraseError};
use crate::adapters::seal::new_kdf;
use crate::adapters::system::SystemClock;
use crate::app::{InstanceCtx, instance};
use crate::config::Config;
use crate::ports::{Clock as _, Storage};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Seal everything under another passphrase; the server must be stopped
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    settings: SettingsArgs,
    /// File with the new passphrase; made in the data directory when omitted
    #[arg(long, value_name = "FILE")]
    new_file: Option<PathBuf>,
}

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let Self::Rotate(rotate) = self;
        let config = rotate.settings.load_quietly()?;
        if local::server_runs(&config).await? {
            return Err(CliError::Failed(
                "cannot rotate the passphrase while a server runs: it would go on sealing with the old one; stop it"
                    .to_owned(),
            ));
        }
        let storage = open::storage(&config).await?;
        let done = rotate.rotate(&config, &storage).await;
        let closed = storage.close().await;
        let (secrets, path) = done?;
        closed?;
        let message = if config.key_passphrase_file.value.0.is_some() {
            format!(
                "sealed {secrets} secrets anew; now set HALLMARK_KEY_PASSPHRASE_FILE (or key-passphrase-file) to {}",
                path.display()
            )
        } else {
            format!(
                "sealed {secrets} secrets anew; KEEP A COPY of {} elsewhere",
                path.display()
            )
        };
        cx.out
            .done(&json!({"secrets": secrets, "passphrase-file": path}), &message)
    }
}

impl Rotate {
    /// The number of secrets, and the file that holds the passphrase from now on.
    async fn rotate(
        &self,
        config: &Config,
        storage: &std::sync::Arc<dyn Storage>,
    ) -> Result<(usize, PathBuf), CliError> {
        let failed = |error: PassphraseError| CliError::Failed(error.to_string());
        let Some(record) = instance::instance(storage).await? else {
            return Err(open::uninitialised(config));
        };
        let old = open::seal(config, &record.record).await?;
        let current = config.passphrase_file();
        let configured = config.key_passphrase_file.value.0.is_some();
        let (next, path) = match (&self.new_file, configured) {
            (Some(file), true) => (Passphrase::read(file).map_err(failed)?, file.clone()),
            (None, true) => {
                return Err(CliError::Usage(format!(
                    "cannot rotate the passphrase in {}, it is yours to write: name the file with the new one \
                     (--new-file)",
                    current.display()
                )));
            }
            // Written beside the old one first: if we are killed, the next start finds out which of them it is.
            (Some(file), false) => {
                let given = Passphrase::read(file).map_err(failed)?;
                (
                    given.copy(&config.data().join(NEXT)).map_err(failed)?,
                    current.clone(),
                )
            }
            (None, false) => (
                Passphrase::generate(&config.data().join(NEXT)).map_err(failed)?,
                current.clone(),
            ),
        };
        let kdf = new_kdf().map_err(|e| CliError::Failed(e.to_string()))?;
        let place = next.path.clone();
        let new = open::derive(next, &kdf).await?;
        let local = InstanceCtx::local();
        let secrets = instance::rotate(
            storage,
            &local,
            old.as_ref(),
            new.as_ref(),
            kdf,
            SystemClock.now(),
        )
        .await?;
        if !configured {
            Passphrase::read(&place)
                .and_then(|next| next.replace(&current))
                .map_err(failed)?;
        }
        Ok((secrets, path))
    }
}
