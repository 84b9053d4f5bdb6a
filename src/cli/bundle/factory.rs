//! Grants of factory boxes, and their logs: `export factory` at the centre, `export log` on the box, and the import of each at
//! the other side.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::file::{self, Seen, look};
use crate::app::factory::bundle::{GRANT, LOG, REQUEST};
use crate::cli::local;
use crate::cli::moment::{now, span};
use crate::cli::open::SettingsArgs;
use crate::cli::remote::{Client, Content, native};
use crate::cli::{BrandArg, CliError, Column, Cx, Format};
use crate::config::Config;
use crate::domain::bundle::{BundleSigner, SignedManifest};
use crate::domain::ident::ModelName;
use crate::domain::time::Timestamp;
use crate::domain::vault::{SerialRange, SiteName};
use crate::http::local::Task;
use crate::http::native::factories::Bundle;

/// Until when a grant lives.
#[derive(Clone, Copy, Debug)]
enum Until {
    At(Timestamp),
    In(i64),
}

impl std::str::FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = span(text) {
            return Ok(Self::In(seconds));
        }
        text.parse()
            .or_else(|_| format!("{text}T00:00:00Z").parse())
            .map(Self::At)
            .map_err(|_| {
                "a time to come is expected: 2026-12-31, 2026-12-31T10:00:00Z, or how long: 30d, 12h"
                    .to_owned()
            })
    }
}

/// At the centre.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportGrant {
    /// The site
    site: SiteName,
    /// Where to write the grant, to be carried to the box; must not be there yet
    file: PathBuf,
    /// What its box wrote with `hallmark factory request`
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// A model whose serials it may sign; may be given several times
    #[arg(long = "model", value_name = "MODEL", required = true)]
    models: Vec<ModelName>,
    /// Serials it may sign: A-000100..A-000999, or FACT7-* for all that begin so; may be given several times
    #[arg(long, value_name = "RANGE", required = true)]
    serials: Vec<SerialRange>,
    /// When it ends: 2026-12-31, or how long it lives: 30d [default: 30d]
    #[arg(long, value_name = "TIME")]
    until: Option<Until>,
    /// At most this many different serials of each model, those of earlier grants included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    brand: BrandArg,
}

/// On the box.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportLog {
    /// Where to write it, to be carried to the centre; must not be there yet
    file: PathBuf,
    /// Leave out the entries up to this one [default: those that the centre is known to have]
    #[arg(long, value_name = "ENTRY")]
    after: Option<u64>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl ExportGrant {
    pub(in crate::cli) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let Seen { signed, manifest, .. } = look(&self.request).await?;
        if manifest.kind != REQUEST {
            return Err(CliError::Failed(format!(
                "cannot use {}: it is a bundle of kind {}, no box's request",
                self.request.display(),
                manifest.kind
            )));
        }
        let until = self.until.map(|until| match until {
            Until::At(time) => time,
            Until::In(seconds) => now().plus_seconds(seconds),
        });
        let body = json!({
            "request": Bundle::from(signed),
            "models": self.models,
            "serials": self.serials,
            "until": until,
            "count": self.count,
        });
        // Before the grant is made: a file that cannot be written would lose it.
        if self.file.exists() {
            return Err(there(&self.file));
        }
        let path = native(&["factories", self.site.as_str(), "grants"]);
        let answer = Client::open(&self.brand)?.post(&path, &body).await?;
        let card = without_bundle(&answer, &self.file)?;
        if cx.out.format() == Format::Table {
            cx.out
                .note("compare the key with what `hallmark factory status` shows on the box before you carry the file there");
        }
        cx.out.item(
            &card,
            &[
                Column::field("Site", "site"),
                Column::field("Key", "public-key-sha3-384"),
                Column::field("Grant", "grant/number"),
                Column::field("Models", "grant/models"),
                Column::field("Serials", "grant/serials"),
                Column::field("Until", "grant/until"),
                Column::field("File", "file"),
                Column::field("Signer", "signer"),
            ],
        )
    }
}

impl ExportLog {
    pub(in crate::cli) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if self.file.exists() {
            return Err(there(&self.file));
        }
        let task = Task::FactoryLog { after: self.after };
        let answer = local::perform(&self.settings.load_quietly()?, task).await?;
        let card = without_bundle(&answer, &self.file)?;
        if let (Format::Table, Some(true)) = (cx.out.format(), answer.get("more").and_then(Value::as_bool)) {
            let number = |name| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
            cx.out.note(&format!(
                "there are more entries than one file takes: write another with --after {}",
                (number("first") + number("entries")).saturating_sub(1)
            ));
        }
        cx.out.item(
            &card,
            &[
                Column::field("First entry", "first"),
                Column::field("Entries", "entries"),
                Column::field("File", "file"),
            ],
        )
    }
}

/// `import` of a grant, on the box.
pub(super) async fn import_grant(
    cx: &Cx,
    config: &Config,
    signed: SignedManifest,
    signer: Option<BundleSigner>,
) -> Result<(), CliError> {
    let task = Task::FactoryAccept {
        bundle: signed.into(),
        signer,
    };
    let answer = of_kind(local::perform(config, task).await?, GRANT);
    cx.out.item(
        &answer,
        &[
            Column::field("Site", "site"),
            Column::field("Grant", "grant/number"),
            Column::field("Models", "grant/models"),
            Column::field("Serials", "grant/serials"),
            Column::field("Until", "grant/until"),
            Column::field("Count", "grant/count"),
            Column::field("New", "new"),
        ],
    )
}

/// `import` of a log, at the centre.
pub(super) async fn import_log(cx: &Cx, brand: &BrandArg, signed: SignedManifest) -> Result<(), CliError> {
    let text = serde_json::to_vec(&Bundle::from(signed))
        .map_err(|error| CliError::failed("cannot send the log", error))?;
    let answer = Client::patient(brand)?
        .json(Method::POST, &native(&["factory-logs"]), &[], Content::Json(text))
        .await?;
    let answer = of_kind(answer, LOG);
    let refused = answer.get("refused").and_then(Value::as_u64).unwrap_or_default();
    if refused > 0 {
        cx.out.warn(&format!(
            "{refused} entries were signed after the site was revoked, and were left out"
        ));
    }
    cx.out.item(
        &answer,
        &[
            Column::field("Site", "site"),
            Column::field("New entries", "new"),
            Column::field("Known before", "known"),
            Column::field("Left out", "refused"),
            Column::field("Log up to entry", "last-entry"),
        ],
    )
}

/// What was imported, with its kind as other imports have it.
fn of_kind(mut answer: Value, kind: &str) -> Value {
    if let Some(card) = answer.as_object_mut() {
        card.insert("kind".to_owned(), kind.into());
    }
    answer
}

/// Writes the bundle of an answer; the answer without it, with the name of the file.
pub(in crate::cli) fn without_bundle(answer: &Value, file: &Path) -> Result<Value, CliError> {
    let mut card = answer.clone();
    let bundle = card
        .as_object_mut()
        .and_then(|card| card.remove("bundle"))
        .unwrap_or_default();
    let bundle: Bundle = serde_json::from_value(bundle)
        .map_err(|error| CliError::failed("cannot read the answer of the server", error))?;
    let signed: SignedManifest = bundle.into();
    let signer = signed.signer().to_string();
    if file.exists() {
        return Err(there(file));
    }
    file::write(file, &signed, |_| Ok(()))
        .map_err(|error| CliError::failed(format!("cannot write {}", file.display()), error))?;
    if let Some(card) = card.as_object_mut() {
        card.insert("file".to_owned(), file.display().to_string().into());
        card.insert("signer".to_owned(), signer.into());
    }
    Ok(card)
}

fn there(file: &Path) -> CliError {
    CliError::Failed(format!("cannot write {}: it is there already", file.display()))
}
