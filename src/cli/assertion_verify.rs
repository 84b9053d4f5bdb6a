//! `assertion verify`: judges the assertions of a file; needs no server, and a data directory only for its trusted set.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde_json::{Map, Value, json};

use super::moment::now;
use super::open::SettingsArgs;
use super::{CliError, Column, Cx, local};
use crate::app::verify::{Judgement, Known, decode_all, verify};
use crate::domain::assertion::{Assertion, AssertionType};
use crate::http::local::Task;

/// Larger files are not read: they hold something else than assertions.
const MAX_FILE: u64 = 256 * 1024 * 1024;

const AFTER: &str = "\
Each assertion of FILE gets a verdict, `ok` or `refused`; the exit status is 0 only if all are ok. Assertions of FILE \
that hold are known to the others, as on a device that takes the whole file in. Serial-requests and other messages \
signed by a device are refused as not-checkable: only the service they are for can verify them.

Without --trusted the trusted set of the data directory counts. Where there is none nothing is trusted, so everything \
that has an authority is refused; --decode-only looks at the text alone.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Verify {
    /// Believe the accounts and account-keys in this file: the root of trust, in place of that of the data directory
    #[arg(long, value_name = "FILE")]
    trusted: Vec<PathBuf>,
    /// Check the assertions in this file first, in order; they are then known to those of FILE
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Look at the text only, not at signatures
    #[arg(long)]
    decode_only: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    /// The assertions to judge; - reads standard input
    file: PathBuf,
}

const ROW: &[Column] = &[
    Column::field("TYPE", "type"),
    Column::with("PRIMARY KEY", primary_key),
    Column::field("VERDICT", "verdict"),
    Column::field("STAGE", "stage"),
    Column::with("REASON", reason),
];

impl Verify {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let known = if self.decode_only {
            None
        } else {
            Some(self.known(cx).await?)
        };
        let judgements = verify(read(&self.file)?, known);
        let rows: Vec<Value> = judgements.iter().map(row).collect();
        cx.out.list(&Value::Array(rows), ROW)?;
        if judgements.is_empty() {
            let what = format!("cannot verify {}", shown(&self.file));
            return Err(CliError::failed(what, "there is no assertion in it"));
        }
        if judgements.iter().any(|judgement| judgement.refused.is_some()) {
            return Err(CliError::Reported);
        }
        Ok(())
    }

    /// What `--trusted` and `--with` name.
    async fn known(&self, cx: &Cx) -> Result<Known, CliError> {
        let mut trusted = Vec::new();
        for file in &self.trusted {
            trusted.extend(assertions(file)?);
        }
        if self.trusted.is_empty() {
            trusted = self.instance_trusted(cx).await?;
        }
        let mut known = Known::new(trusted, now())?;
        for file in &self.with {
            for (place, assertion) in assertions(file)?.into_iter().enumerate() {
                let reference = assertion.reference();
                known.add(assertion).map_err(|error| {
                    let what = format!(
                        "cannot use assertion {} of {}, {reference}",
                        place + 1,
                        shown(file)
                    );
                    CliError::failed(what, error)
                })?;
            }
        }
        Ok(known)
    }
}

impl Verify {
    /// The trusted set of the data directory; nothing where there is no such directory, or it cannot be opened.
    async fn instance_trusted(&self, cx: &Cx) -> Result<Vec<Assertion>, CliError> {
        let config = self.settings.load_quietly()?;
        if !config.data().is_dir() {
            cx.out
                .note("nothing is trusted: name the root of trust with --trusted FILE");
            return Ok(Vec::new());
        }
        match local::perform(&config, Task::Trusted).await {
            Ok(stream) => {
                let text = stream.as_str().unwrap_or_default().to_owned();
                decode_all(text.into())
                    .map_err(|error| CliError::failed("cannot read the trusted set", error))
            }
            Err(error) => {
                let why = error.message().unwrap_or_default();
                cx.out.warn(&format!(
                    "nothing is trusted ({why}): name the root of trust with --trusted FILE"
                ));
                Ok(Vec::new())
            }
        }
    }
}

fn row(judgement: &Judgement) -> Value {
    let key: Map<String, Value> = judgement
        .primary_key
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let refused = judgement.refused.as_ref();
    json!({
        "type": judgement.kind.map(|kind| kind.name()),
        "primary-key": key,
        "verdict": if refused.is_some() { "refused" } else { "ok" },
        "stage": refused.map(|objection| objection.stage.name()),
        "code": refused.map(|objection| objection.code),
        "message": refused.map(|objection| objection.message.as_str()),
    })
}

/// The values of the primary key in its own order. None of them can hold a slash.
pub(super) fn primary_key(row: &Value) -> String {
    let kind = row
        .get("type")
        .and_then(Value::as_str)
        .and_then(|name| name.parse::<AssertionType>().ok());
    let names = kind.map(|kind| kind.info().primary_key).unwrap_or_default();
    let values = names
        .iter()
        .filter_map(|name| row.get("primary-key")?.get(name)?.as_str());
    let text = values.collect::<Vec<_>>().join("/");
    if text.is_empty() { "-".to_owned() } else { text }
}

fn reason(row: &Value) -> String {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    match (text("message"), text("code")) {
        (Some(message), Some(code)) => format!("{message} [{code}]"),
        (Some(_) | None, _) => "-".to_owned(),
    }
}

/// All assertions of a file, each well-formed.
pub(super) fn assertions(file: &Path) -> Result<Vec<Assertion>, CliError> {
    let what = || format!("cannot read assertions from {}", shown(file));
    let assertions = decode_all(read(file)?).map_err(|error| CliError::failed(what(), error))?;
    if assertions.is_empty() {
        return Err(CliError::failed(what(), "there is none in it"));
    }
    Ok(assertions)
}

fn read(file: &Path) -> Result<Bytes, CliError> {
    let failed = |error: io::Error| CliError::failed(format!("cannot read {}", shown(file)), error);
    let mut bytes = Vec::new();
    let input: Box<dyn Read> = if is_stdin(file) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(failed)?)
    };
    input.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE) {
        let why = format!("it is larger than {} MiB", MAX_FILE / 1024 / 1024);
        return Err(CliError::failed(format!("cannot read {}", shown(file)), why));
    }
    Ok(bytes.into())
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn shown(file: &Path) -> String {
    if is_stdin(file) {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}
