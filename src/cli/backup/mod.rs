//! `backup`, `restore`, `migrate`: everything of an instance out of one place and into another.

pub(super) mod files;
mod migrate;
mod restore;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Handle;

use super::open::{self, SettingsArgs};
use super::remote::secret_file;
use super::{CliError, Column, Cx, local};
use crate::adapters::archive::{self, Head, Keys};
use crate::adapters::blobs_file::FileBlobs;
use crate::adapters::system::SystemClock;
use crate::app::transfer::{Summary, Tally};
use crate::ports::{Blobs, Clock, Row, Rows};

pub(super) use migrate::Migrate;
pub(super) use restore::Restore;

#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Where to (- is stdout)
    file: PathBuf,
    /// Keep the files of snaps in this directory instead, which later backups add to: only new ones are copied
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    /// Encrypt under the passphrase in the first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Encrypt to the OpenPGP certificate in this file; may be given several times
    #[arg(long, value_name = "FILE")]
    encrypt_to: Vec<PathBuf>,
}

/// The last entry of a backup: what must be in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Contents {
    /// Of the database.
    #[serde(flatten)]
    pub(super) database: Summary,
    /// Files of snaps, here or in the directory beside.
    pub(super) files: u64,
    /// Their length together.
    pub(super) file_bytes: u64,
}

const CARD: &[Column] = &[
    Column::field("File", "file"),
    Column::field("Rows", "row-count"),
    Column::field("Files", "files"),
    Column::field("Of them new", "new-files"),
    Column::field("Bytes of files", "file-bytes"),
    Column::field("Digest", "sha256"),
];

impl Backup {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let config = self.settings.load_quietly()?;
        let keys = self.keys()?;
        if self.blobs.is_some() && !keys.is_empty() {
            return Err(CliError::Usage(
                "cannot encrypt the files of snaps in --blobs: they lie there as they are; leave out --blobs, or \
                 encrypt the disk"
                    .to_owned(),
            ));
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let source = open::blobs(&config, &clock)?;
        let (rows, opened) = local::rows(&config).await?;
        let job = Job {
            rows,
            source,
            beside: self
                .blobs
                .as_deref()
                .map(|dir| directory(dir, &clock))
                .transpose()?,
            head: Head {
                format: archive::FORMAT,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                created_at: clock.now(),
                holds_files: self.blobs.is_none(),
            },
            progress: progress("rows"),
            runtime: Handle::current(),
        };
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || job.write(&file, &keys)).await;
        if let Some(storage) = opened {
            storage.close().await?;
        }
        let failed = |why: String| CliError::failed(format!("cannot write {}", self.file.display()), why);
        let (contents, new) = written
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        let card = json!({
            "file": self.file,
            "row-count": contents.database.total(),
            "rows": contents.database.rows,
            "files": contents.files,
            "new-files": new,
            "file-bytes": contents.file_bytes,
            "sha256": contents.database.sha256,
        });
        cx.out.note(&format!(
            "the passphrase {} is not in it: keep a copy elsewhere, without it the keys in the backup are lost",
            config.passphrase_file().display()
        ));
        if self.file == Path::new("-") {
            return Ok(());
        }
        cx.out.item(&card, CARD)
    }
}

impl Backup {
    /// What it is encrypted to.
    fn keys(&self) -> Result<Keys, CliError> {
        let certificate = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|error| CliError::failed(format!("cannot read {}", path.display()), error))
        };
        Ok(Keys {
            passphrase: self.password_file.as_deref().map(secret_file).transpose()?,
            certificates: self
                .encrypt_to
                .iter()
                .map(certificate)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Everything that writing needs, on a thread of its own.
struct Job {
    rows: Rows,
    source: Arc<dyn Blobs>,
    beside: Option<Arc<dyn Blobs>>,
    head: Head,
    progress: ProgressBar,
    runtime: Handle,
}

impl Job {
    fn write(self, file: &Path, keys: &Keys) -> io::Result<(Contents, u64)> {
        if file == Path::new("-") {
            return self.write_to(&mut io::stdout(), keys);
        }
        // Under another name until it is whole, so that no half backup replaces a good one.
        let mut partial = file.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        let mut sink = BufWriter::with_capacity(1 << 20, opened);
        let written = self.write_to(&mut sink, keys).and_then(|written| {
            sink.flush()?;
            sink.get_ref().sync_all()?;
            std::fs::rename(&partial, file)?;
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(written)
        });
        if written.is_err() {
            let _best_effort = std::fs::remove_file(&partial);
        }
        written
    }

    fn write_to(self, sink: &mut (dyn Write + Send + Sync), keys: &Keys) -> io::Result<(Contents, u64)> {
        if keys.is_empty() {
            self.archive(sink)
        } else {
            archive::encrypt(sink, keys, |sink| self.archive(sink))
        }
    }

    fn archive(mut self, sink: &mut dyn Write) -> io::Result<(Contents, u64)> {
        let mut writer = archive::Writer::begin(sink, &self.head)?;
        let mut tally = Tally::default();
        let mut whole = false;
        while let Some(piece) = self.runtime.block_on(self.rows.next()) {
            let piece = piece.map_err(io::Error::other)?;
            piece.iter().for_each(|row| tally.count(row));
            whole = piece.last().is_some_and(is_instance);
            self.progress.inc(piece.len() as u64);
            writer.rows(&piece)?;
        }
        // The record of the instance comes last: without it something broke off, or there is no instance.
        if !whole {
            return Err(io::Error::other(
                "there is no initialised instance, or reading it broke off",
            ));
        }
        let mut contents = Contents {
            database: tally.summary(),
            files: 0,
            file_bytes: 0,
        };
        let list = self
            .runtime
            .block_on(self.source.list())
            .map_err(io::Error::other)?;
        self.progress.set_message("files");
        self.progress.set_position(0);
        let mut new = 0;
        for entry in list {
            // What goes away meanwhile was collected as garbage.
            let Some(blob) = self
                .runtime
                .block_on(self.source.open(&entry.id))
                .map_err(io::Error::other)?
            else {
                continue;
            };
            contents.files += 1;
            contents.file_bytes += blob.size();
            match &self.beside {
                Some(beside) => {
                    let copied = self
                        .runtime
                        .block_on(files::copy(&*self.source, &**beside, &entry.id))?;
                    new += u64::from(copied);
                }
                None => {
                    let stream = blob.stream(0, blob.size());
                    let content = files::Reading::new(stream, self.runtime.clone());
                    writer.file(&entry.id, blob.size(), content)?;
                    new += 1;
                }
            }
            self.progress.inc(1);
        }
        writer.finish(&contents)?;
        self.progress.finish_and_clear();
        Ok((contents, new))
    }
}

fn is_instance(row: &Row) -> bool {
    matches!(row, Row::Record(row) if row.kind == crate::ports::Kind::Instance)
}

/// A directory of files beside backups.
fn directory(dir: &Path, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Blobs>, CliError> {
    let opened = FileBlobs::open(dir, Arc::clone(clock));
    let opened = opened.map_err(|error| CliError::failed(format!("cannot use {}", dir.display()), error))?;
    Ok(Arc::new(opened))
}

/// A line on a terminal that counts `what`; elsewhere nothing.
fn progress(what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
