//! Commands for who owns the data directory: `trust`, `doctor`, `passwd`, `status`. They work beside a running server
//! and without one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::local;
use super::moment::span;
use super::open::SettingsArgs;
use super::remote::secret_file;
use super::{CliError, Column, Cx, Format};
use crate::app::doctor::Findings;
use crate::domain::ident::Email;
use crate::http::local::{Secret, Task};

#[derive(Debug, Subcommand)]
pub(super) enum Trust {
    /// Print the root account and account-key, for the snapd of devices
    Export(Export),
    /// Trust a further root: accept what it signs on import
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Fill the account up to exactly this many bytes, signed afresh (to swap it into a test client)
    #[arg(long, value_name = "N")]
    account_bytes: Option<usize>,
    /// Fill the account-key up to exactly this many bytes
    #[arg(long, value_name = "M")]
    key_bytes: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(flatten)]
    settings: SettingsArgs,
    /// The root's account and self-signed account-key (- is stdin)
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Remove files that belong to nothing, as a crash during an upload may leave them
    #[arg(long)]
    repair: bool,
    /// With --repair: files kept within this time stay, an upload may be about to need them: 2h, 10m; 0 for none
    /// [default: 1h, or 0 where no server runs on an embedded database]
    #[arg(long, value_name = "SPAN", value_parser = grace, requires = "repair")]
    grace: Option<i64>,
}

fn grace(text: &str) -> Result<i64, String> {
    if text == "0" { Ok(0) } else { span(text) }
}

#[derive(Debug, Args)]
pub(super) struct Passwd {
    #[command(flatten)]
    settings: SettingsArgs,
    /// E-mail address of the account
    #[arg(value_parser = Email::normal)]
    email: Email,
    /// Take the password from the first line of this file (- is stdin) instead of making one
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Fail with status 3 unless a server runs and answers: for health checks
    #[arg(long)]
    running: bool,
}

const STATUS: &[Column] = &[
    Column::field("Instance", "instance-id"),
    Column::field("Authority", "authority-id"),
    Column::field("Root key", "root-sha3-384"),
    Column::field("Brands", "brands"),
    Column::field("Created", "created-at"),
    Column::field("Server", "server"),
    Column::field("Process", "pid"),
    Column::field("Version", "version"),
];

impl Trust {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Export(Export {
                settings,
                account_bytes,
                key_bytes,
            }) => {
                let task = Task::TrustExport {
                    account_bytes,
                    key_bytes,
                };
                let stream = local::perform(&settings.load_quietly()?, task).await?;
                match cx.out.format() {
                    Format::Json => cx.out.json(&json!({"assertions": stream})),
                    Format::Table => cx.out.data(stream.as_str().unwrap_or_default().as_bytes()),
                }
            }
            Self::Import(Import { settings, file }) => {
                let failed = |error| CliError::failed(format!("cannot read {}", file.display()), error);
                let assertions = match file.to_str() {
                    Some("-") => std::io::read_to_string(std::io::stdin()).map_err(failed)?,
                    _ => std::fs::read_to_string(&file).map_err(failed)?,
                };
                let task = Task::TrustImport { assertions };
                let stream = local::perform(&settings.load_quietly()?, task).await?;
                cx.out
                    .done(&json!({"assertions": stream}), "the root is trusted now")
            }
        }
    }
}

impl Doctor {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let task = Task::Doctor {
            repair: self.repair,
            grace: self.grace,
        };
        let report = local::perform(&self.settings.load_quietly()?, task).await?;
        let findings: Findings = serde_json::from_value(report.clone())
            .map_err(|error| CliError::failed("cannot read the findings", error))?;
        match cx.out.format() {
            Format::Json => cx.out.json(&report)?,
            Format::Table => {
                for token in &findings.tokens {
                    let keys = if token.keys.is_empty() {
                        "no keys".to_owned()
                    } else {
                        token.keys.join(", ")
                    };
                    let answers = if token.answers {
                        "answers"
                    } else {
                        "does not answer"
                    };
                    cx.out.note(&format!("token {} {answers}: {keys}", token.token));
                }
                for problem in &findings.problems {
                    cx.out.data(format!("{problem}\n").as_bytes())?;
                }
                if findings.further_problems > 0 {
                    cx.out
                        .data(format!("and {} more\n", findings.further_problems).as_bytes())?;
                }
            }
        }
        let Findings {
            assertions,
            keys,
            files,
            removed_files,
            young_files,
            judge_after,
            ..
        } = findings;
        if removed_files > 0 {
            cx.out
                .note(&format!("removed {removed_files} files that belonged to nothing"));
        }
        if let Some(after) = judge_after {
            cx.out.note(&format!(
                "{young_files} files belong to nothing but are too young to judge; run again after {after}"
            ));
        }
        if findings.problems.is_empty() {
            let verdict = if young_files == 0 {
                "all is well"
            } else {
                "nothing else is wrong"
            };
            cx.out.note(&format!(
                "{verdict}: {assertions} assertions, {keys} keys, {files} files"
            ));
            return Ok(());
        }
        cx.out.note(&format!(
            "found {} problems in {assertions} assertions, {keys} keys, {files} files and the database",
            findings.problems.len() as u64 + findings.further_problems
        ));
        Err(CliError::Reported)
    }
}

impl Passwd {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let password = self
            .password_file
            .as_deref()
            .map(secret_file)
            .transpose()?
            .map(Secret);
        let task = Task::Passwd {
            email: self.email.clone(),
            password,
        };
        let answer = local::perform(&self.settings.load_quietly()?, task).await?;
        match (cx.out.format(), answer.get("password").and_then(Value::as_str)) {
            (Format::Json, _) => cx.out.json(&answer)?,
            (Format::Table, Some(password)) => cx.out.data(format!("{password}\n").as_bytes())?,
            (Format::Table, None) => {}
        }
        cx.out.note(&format!(
            "set the password of {}; their log-ins have ended",
            self.email
        ));
        Ok(())
    }
}

impl Status {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let config = self.settings.load_quietly()?;
        let runs = local::server_runs(&config).await?;
        let mut status = if self.running {
            local::perform_beside_server(&config, Task::Status).await?
        } else {
            local::perform(&config, Task::Status).await?
        };
        if let Some(fields) = status.as_object_mut() {
            fields.insert(
                "server".to_owned(),
                if runs { "running" } else { "stopped" }.into(),
            );
            if !runs {
                fields.insert("pid".to_owned(), Value::Null);
            }
        }
        cx.out.item(&status, STATUS)
    }
}
