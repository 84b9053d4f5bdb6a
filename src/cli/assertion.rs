//! `assertion`: the signed documents, in files and on a server.

use clap::Subcommand;

use super::{CliError, Cx, assertion_verify};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check the assertions in a file: their text, their signatures, and who may sign what
    Verify(assertion_verify::Verify),
}

impl Verb {
    #[expect(clippy::unused_async, reason = "every noun has the same shape")]
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Verify(verify) => verify.run(cx),
        }
    }
}
