//! `assertion`: the signed documents, in files and on a server.

use clap::Subcommand;

use super::{CliError, Cx, assertion_stock, assertion_verify};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check the assertions in a file: their text, their signatures, and who may sign what
    Verify(assertion_verify::Verify),
    /// Give a server assertions that others signed (delegated mode)
    Import(assertion_stock::Import),
    /// Print the assertions of the brand, with the root they rest on
    Export(assertion_stock::Export),
    /// Print the assertions of a type that have some headers
    Show(assertion_stock::Show),
}

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Verify(verify) => verify.run(cx).await,
            Self::Import(import) => import.run(cx).await,
            Self::Export(export) => export.run(cx).await,
            Self::Show(show) => show.run(cx).await,
        }
    }
}
