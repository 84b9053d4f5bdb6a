//! `export` and `import`: what goes from one instance to another without a connection, as one signed file.
//!
//! Each kind of bundle has a file here: what `export` writes, and what `import` does once the bundle was read to its end and
//! found whole.

pub(super) mod factory;
mod file;
mod store;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::file::{Seen, look};
use super::open::SettingsArgs;
use super::{BrandArg, CliError, Cx};
use crate::app::bundles::{Trust, store_out};
use crate::app::factory::bundle as factory_bundle;
use crate::domain::bundle::BundleSigner;

#[derive(Debug, Subcommand)]
pub(super) enum Export {
    /// A store with its snaps, their files and all assertions that devices need
    Store(store::Export),
    /// At the centre: a grant for the box of a factory site
    Factory(factory::ExportGrant),
    /// On a factory box: what it signed, for the centre
    Log(factory::ExportLog),
}

impl Export {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Store(command) => command.run(cx).await,
            Self::Factory(command) => command.run(cx).await,
            Self::Log(command) => command.run(cx).await,
        }
    }
}

/// Take in a bundle that another instance exported, of any kind.
#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(flatten)]
    settings: SettingsArgs,
    /// The bundle
    file: PathBuf,
    /// Who must have signed it, as `hallmark export` printed it there; needed for the first bundle of an instance
    #[arg(long, value_name = "FINGERPRINT")]
    signer: Option<BundleSigner>,
    /// Go back: take it though a newer one of the same instance was imported
    #[arg(long)]
    force: bool,
    /// Let snaps that are here already from elsewhere follow the bundle from now on
    #[arg(long)]
    adopt: bool,
    #[command(flatten)]
    brand: BrandArg,
}

impl Import {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let config = self.settings.load_quietly()?;
        let trust = Trust {
            signer: self.signer,
            force: self.force,
            adopt: self.adopt,
        };
        // All of it is read and compared with what was signed before anything is done with it.
        let seen = look(&self.file).await?;
        match seen.manifest.kind.as_str() {
            store_out::KIND => store::import(cx, &config, &self.file, seen, trust).await,
            factory_bundle::GRANT => factory::import_grant(cx, &config, seen.signed, trust.signer).await,
            factory_bundle::LOG => factory::import_log(cx, &self.brand, seen.signed).await,
            kind => Err(unknown(&self.file, kind, &seen)),
        }
    }
}

fn unknown(file: &std::path::Path, kind: &str, seen: &Seen) -> CliError {
    CliError::failed(
        format!("cannot import {}", file.display()),
        format!(
            "it is a bundle of kind {kind:?}, made by hallmark {}, which this program does not know",
            seen.manifest.version
        ),
    )
}
