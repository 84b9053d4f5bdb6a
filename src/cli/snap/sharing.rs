//! `snap invite`, `snap invites`, `snap revoke-invite`, `snap accept-invite`, `snap reject-invite`: who besides the
//! publisher works on a snap.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{path, text};
use crate::cli::remote::{Client, native, secret_file};
use crate::cli::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{Email, SnapName};

#[derive(Debug, Args)]
pub(in crate::cli) struct Invited {
    /// The snap
    name: SnapName,
    /// Who is asked
    #[arg(value_parser = Email::normal)]
    email: Email,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// The snap
    name: SnapName,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Answer {
    /// Read the token of the invite from the first line of this file (- is stdin)
    #[arg(value_name = "FILE")]
    token_file: PathBuf,
}

const ROW: &[Column] = &[
    Column::field("EMAIL", "email"),
    Column::field("STATUS", "status"),
    Column::field("SENT", "created-at"),
    Column::field("EXPIRES", "expires-at"),
];

const SENT: &[Column] = &[
    Column::field("E-mail", "email"),
    Column::field("Snap", "snap-name"),
    Column::field("Status", "status"),
    Column::field("Expires", "expires-at"),
    Column::field("Invite", "token"),
    Column::field("Link", "url"),
    Column::field("Mailed", "mailed"),
];

impl Invited {
    pub(super) async fn send(self, cx: &Cx) -> Result<(), CliError> {
        let body = json!({ "email": self.email });
        let client = Client::open(&self.brand)?;
        let sent = client.post(&path(&self.name, &["invites"]), &body).await?;
        cx.out.item(&sent, SENT)?;
        if cx.out.format() == Format::Table {
            cx.out.note(
                "the invite is shown only now; hand it to its receiver, who opens the link, or logs in and runs \
                 `hallmark snap accept-invite FILE` with the token",
            );
        }
        Ok(())
    }

    pub(super) async fn revoke(self, cx: &Cx) -> Result<(), CliError> {
        let path = path(&self.name, &["invites", self.email.as_str(), "revoke"]);
        let gone = Client::open(&self.brand)?.post(&path, &json!({})).await?;
        let note = format!(
            "the invite of {} is taken back: they do not help with {}",
            self.email, self.name
        );
        cx.out.done(&gone, &note)
    }
}

impl List {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::open(&self.brand)?;
        let all = client.get(&path(&self.name, &["invites"]), &[]).await?;
        cx.out.list(&all, ROW)
    }
}

impl Answer {
    /// Accepts or rejects as who is logged in: only who was asked can.
    pub(super) async fn run(self, cx: &Cx, accept: bool) -> Result<(), CliError> {
        let client = Client::open(&BrandArg { brand: None })?;
        let token = secret_file(&self.token_file)?;
        let action = if accept { "accept" } else { "reject" };
        let body = json!({ "token": token.as_str() });
        let invite = client.post(&native(&["snap-invites", action]), &body).await?;
        let (email, snap) = (text(&invite, "email"), text(&invite, "snap-name"));
        let note = if accept {
            format!("{email} helps with {snap} now: to upload, release and edit it")
        } else {
            format!("{email} does not help with {snap}")
        };
        cx.out.done(&invite, &note)
    }
}
