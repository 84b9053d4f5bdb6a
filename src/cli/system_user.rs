//! `system-user`: log-ins on devices, issued by a person.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::model::{read_text, text_of};
use super::moment::{Moment, now};
use super::remote::{Client, native, secret_file};
use super::{BrandArg, CliError, Cx};
use crate::domain::ident::{KeyName, ModelName, SerialNumber};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Issue a system-user and print what goes on a USB stick as auto-import.assert
    Issue(Box<Issue>),
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    /// E-mail address of the user
    email: String,
    /// User name on the device
    #[arg(long, value_name = "NAME")]
    username: String,
    /// Models whose devices take the user
    #[arg(long = "model", required = true, value_name = "MODEL")]
    models: Vec<ModelName>,
    /// Only these devices; with exactly one model
    #[arg(long = "serial", value_name = "SERIAL")]
    serials: Vec<SerialNumber>,
    /// Name for people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// File with the password's hash in its first line, as `openssl passwd -6` prints it (- is stdin)
    #[arg(long, value_name = "FILE")]
    password_hash_file: Option<PathBuf>,
    /// File with public SSH keys, one a line
    #[arg(long, value_name = "FILE")]
    ssh_keys: Option<PathBuf>,
    /// Start of validity: 2026-01-31, 2026-01-31T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// End of validity, at most 365 days later [default: that]
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Make the user set another password at the first log-in
    #[arg(long)]
    force_password_change: bool,
    /// The signing key [default: system-user]
    #[arg(short = 'k', long, value_name = "NAME")]
    key: Option<KeyName>,
    #[command(flatten)]
    brand: BrandArg,
}

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Issue(issue) => issue.run(cx).await,
        }
    }
}

impl Issue {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let password = self.password_hash_file.as_deref().map(secret_file).transpose()?;
        let ssh_keys = match &self.ssh_keys {
            Some(path) => read_text(path)?,
            None => String::new(),
        };
        let ssh_keys: Vec<&str> = ssh_keys
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let body = json!({
            "email": self.email,
            "username": self.username,
            "name": self.name,
            "models": self.models,
            "serials": self.serials,
            "password": password.as_ref().map(|hash| hash.as_str()),
            "ssh-keys": ssh_keys,
            "since": self.since.map(|time| time.from(now())),
            "until": self.until.map(|time| time.from(now())),
            "force-password-change": self.force_password_change,
            "key": self.key,
        });
        let answer = Client::open(&self.brand)?
            .post(&native(&["system-users"]), &body)
            .await?;
        cx.out.data(text_of(&answer, "assertion").as_bytes())
    }
}
