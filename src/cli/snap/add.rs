//! `snap add`: sends a snap file, and those of its components, while they are read.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::Method;
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::text;
use crate::cli::remote::{Client, Content, native};
use crate::cli::{BrandArg, CliError, Cx, Format};
use crate::domain::catalog::Channel;
use crate::domain::ident::{KeyName, StoreId};

/// How much is read at a time, in bytes.
const PIECE: usize = 256 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// The snap file
    file: PathBuf,
    /// Base store to register a new name in [default: the brand's]
    #[arg(long, value_name = "STORE")]
    store: Option<StoreId>,
    /// Who publishes a new name: a username, e-mail address or account id, or the brand [default: you]
    #[arg(long, value_name = "ACCOUNT")]
    publisher: Option<String>,
    /// Release it at once to this channel; may be given several times
    #[arg(long = "release", value_name = "CHANNEL")]
    channels: Vec<Channel>,
    /// Release it only to this part of the devices, out of 100
    #[arg(long, value_name = "PERCENT", requires = "channels")]
    percentage: Option<f64>,
    /// A new name becomes private: only devices and accounts of stores that show it get it
    #[arg(long)]
    private: bool,
    /// File of a component that goes with the snap; may be given several times
    #[arg(long = "component", value_name = "FILE")]
    components: Vec<PathBuf>,
    /// Brand key that signs where the snap-declaration delegates to the brand [default: snap-revision]
    #[arg(short = 'k', long, value_name = "NAME")]
    key: Option<KeyName>,
    #[command(flatten)]
    brand: BrandArg,
}

impl Add {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut files = VecDeque::new();
        let mut query: Vec<(&str, String)> = Vec::new();
        let mut total = 0u64;
        for path in std::iter::once(&self.file).chain(&self.components) {
            let (file, length) = open(path).await?;
            total += length;
            query.push(("part", length.to_string()));
            files.push_back(file);
        }
        query.extend(self.store.iter().map(|store| ("store", store.to_string())));
        query.extend(self.publisher.iter().map(|name| ("publisher", name.clone())));
        query.extend(
            self.channels
                .iter()
                .map(|channel| ("release", channel.to_string())),
        );
        query.extend(self.percentage.map(|part| ("percentage", part.to_string())));
        query.extend(self.private.then(|| ("private", "true".to_owned())));
        query.extend(self.key.iter().map(|key| ("key", key.to_string())));
        let query: Vec<(&str, &str)> = query
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();

        let bar = bar(cx, total);
        let body = reqwest::Body::wrap_stream(pieces(files, bar.clone()));
        let answer = Client::patient(&self.brand)?
            .json(
                Method::POST,
                &native(&["snaps", "upload"]),
                &query,
                Content::Stream(body),
            )
            .await;
        bar.finish_and_clear();
        let answer = answer?;
        let remarks = answer.get("remarks").and_then(Value::as_array);
        for remark in remarks.into_iter().flatten().filter_map(Value::as_str) {
            cx.out.warn(remark);
        }
        let state = answer.pointer("/revision/review").and_then(Value::as_str);
        if state != Some("approved") {
            let review = answer.get("review").unwrap_or(&Value::Null);
            for finding in review
                .get("findings")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                cx.out
                    .warn(&format!("{} [{}]", text(finding, "text"), text(finding, "code")));
            }
        }
        cx.out.done(&answer, &self.note(&answer))
    }

    fn note(&self, answer: &Value) -> String {
        let name = answer.get("snap").map_or("", |snap| text(snap, "name"));
        let number = answer
            .pointer("/revision/revision")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let new = answer.get("new").and_then(Value::as_bool).unwrap_or(true);
        let known = if new { "" } else { " already" };
        let mut note = format!("{} is{known} revision {number} of {name}", self.file.display());
        let state = answer.pointer("/revision/review").and_then(Value::as_str);
        if let Some(state) = state.filter(|state| *state != "approved") {
            note.push_str(&format!(", {state}"));
        } else if !self.channels.is_empty() {
            let channels: Vec<String> = self.channels.iter().map(ToString::to_string).collect();
            note.push_str(&format!(", in {}", channels.join(", ")));
        }
        note
    }
}

async fn open(path: &Path) -> Result<(File, u64), CliError> {
    let failed = |error| CliError::failed(format!("cannot read {}", path.display()), error);
    let file = File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if !metadata.is_file() {
        return Err(CliError::Failed(format!(
            "cannot read {}: it is no file",
            path.display()
        )));
    }
    Ok((file, metadata.len()))
}

/// The contents of the files one after the other.
fn pieces(
    files: VecDeque<File>,
    bar: ProgressBar,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((files, bar), |(mut files, bar)| async move {
        while let Some(file) = files.front_mut() {
            let mut piece = BytesMut::with_capacity(PIECE);
            let read = file.read_buf(&mut piece).await?;
            if read > 0 {
                bar.inc(read as u64);
                return Ok(Some((piece.freeze(), (files, bar))));
            }
            files.pop_front();
        }
        Ok(None)
    })
}

/// A bar on a terminal; nothing elsewhere.
fn bar(cx: &Cx, total: u64) -> ProgressBar {
    if cx.out.format() == Format::Json || !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bytes} of {total_bytes} [{bar:40}] {bytes_per_sec}, {eta}");
    let bar = ProgressBar::new(total);
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
