//! `restore`: a backup becomes an instance again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgGroup, Args};
use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{Contents, directory, files, is_instance, progress};
use crate::adapters::archive::{self, Head, Taker};
use crate::adapters::system::SystemClock;
use crate::app::instance;
use crate::app::transfer::{Tally, fill};
use crate::cli::audit_export::read_copy;
use crate::cli::init::make_directory;
use crate::cli::open::{self, SettingsArgs};
use crate::cli::remote::secret_file;
use crate::cli::{CliError, Column, Cx, local};
use crate::config::Config;
use crate::domain::audit::AuditEvent;
use crate::domain::blob::BlobId;
use crate::domain::vault::Instance;
use crate::domain::vault::factory::SITE_REVISIONS;
use crate::ports::{Blobs, Clock, RecordRow, Row, Storage};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("floor").required(true))]
pub(in crate::cli) struct Restore {
    #[command(flatten)]
    settings: SettingsArgs,
    /// The backup (- is stdin)
    file: PathBuf,
    /// The directory that keeps the files of snaps, where the backup was made with --blobs
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    /// The passphrase the backup was encrypted under, in the first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A copy of the audit log from `hallmark audit export`: serials get revisions above the highest in it
    #[arg(long, value_name = "FILE", group = "floor")]
    audit_copy: Option<PathBuf>,
    /// Serials get revisions above this; 0 only if none was signed since the backup
    #[arg(long, value_name = "N", group = "floor")]
    revision_floor: Option<u64>,
}

const CARD: &[Column] = &[
    Column::field("Data", "data"),
    Column::field("Backup of", "created-at"),
    Column::field("Instance", "instance-id"),
    Column::field("Rows", "row-count"),
    Column::field("Files", "files"),
    Column::field("Serials above revision", "revision-floor"),
];

impl Restore {
    pub(in crate::cli) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let config = self.settings.load_quietly()?;
        let data = config.data().display().to_string();
        let floor = self.floor()?;
        let passphrase = config.passphrase_file();
        if !passphrase.exists() {
            return Err(CliError::Failed(format!(
                "cannot restore {data}: the passphrase of the instance is missing; put the copy you kept at {}, or name \
                 it with HALLMARK_KEY_PASSPHRASE_FILE",
                passphrase.display()
            )));
        }
        if local::server_runs(&config).await? {
            return Err(CliError::Failed(format!(
                "cannot restore {data}: a server runs on it; name an empty directory"
            )));
        }
        make_directory(config.data())?;
        let storage = open::new_storage(&config).await?;
        let done = self.restore(&config, &storage, floor).await;
        let closed = storage.close().await;
        let (head, contents, instance) = done?;
        closed?;
        let card = json!({
            "data": config.data(),
            "created-at": head.created_at,
            "instance-id": instance.id,
            "row-count": contents.database.total(),
            "rows": contents.database.rows,
            "files": contents.files,
            "revision-floor": instance.revision_floor,
        });
        cx.out.item(&card, CARD)?;
        cx.out
            .note("check it with `hallmark doctor`, then start `hallmark serve`");
        Ok(())
    }

    /// Revisions that may have been given out since the backup.
    fn floor(&self) -> Result<u64, CliError> {
        match (&self.audit_copy, self.revision_floor) {
            (Some(file), _) => highest(file)
                .map_err(|error| CliError::failed(format!("cannot read {}", file.display()), error)),
            (None, floor) => Ok(floor.unwrap_or_default()),
        }
    }

    async fn restore(
        &self,
        config: &Config,
        storage: &Arc<dyn Storage>,
        floor: u64,
    ) -> Result<(Head, Contents, Instance), CliError> {
        let data = config.data().display();
        if instance::instance(storage).await?.is_some() {
            return Err(CliError::Failed(format!(
                "cannot restore {data}: it is initialised already; name an empty directory or database"
            )));
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let blobs = open::blobs(config, &clock)?;
        let (sender, receiver) = mpsc::channel(2);
        let unpack = Unpack {
            sender,
            blobs: Arc::clone(&blobs),
            runtime: Handle::current(),
            progress: progress("rows and files"),
            tally: Tally::default(),
            instance: None,
            files: BTreeMap::new(),
        };
        let password = self.password_file.as_deref().map(secret_file).transpose()?;
        let file = self.file.clone();
        let reading = tokio::task::spawn_blocking(move || unpack.all(&file, password));
        let rows = stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((Ok(piece), receiver))
        });
        let filled = fill(storage, rows.boxed(), |_| {}).await;
        let failed = |why: String| CliError::failed(format!("cannot restore {}", self.file.display()), why);
        let read = reading.await.map_err(|error| failed(error.to_string()))?;
        // A target that refuses ends the reading too: its own word comes first.
        filled?;
        let Unpacked {
            head,
            contents,
            instance: mut row,
            files,
        } = read.map_err(|error| failed(error.to_string()))?;
        if !head.holds_files {
            self.files_beside(&clock, &*blobs, &contents).await?;
        } else if (files.len() as u64, files.values().sum::<u64>()) != (contents.files, contents.file_bytes) {
            return Err(failed("not all files are in it".to_owned()));
        }
        let mut record: Instance =
            serde_json::from_str(&row.json).map_err(|error| failed(error.to_string()))?;
        record.revision_floor = record.revision_floor.max(floor);
        let seal = open::seal(config, &record).await?;
        if seal
            .open(&crate::ports::SealLabel::secrets(&record.id), &record.secrets)
            .is_err()
        {
            return Err(CliError::Failed(format!(
                "cannot restore {data}: {} holds another passphrase than that of the instance; put the right one there \
                 and run this again",
                config.passphrase_file().display()
            )));
        }
        row.json = serde_json::to_string(&record).map_err(|error| failed(error.to_string()))?;
        // Last of all: only from now on this is an instance.
        storage.import(vec![Row::Record(row)]).await?;
        Ok((head, contents, record))
    }

    /// Copies the files from the directory beside the backup.
    async fn files_beside(
        &self,
        clock: &Arc<dyn Clock>,
        blobs: &dyn Blobs,
        contents: &Contents,
    ) -> Result<(), CliError> {
        let Some(dir) = &self.blobs else {
            return Err(CliError::Usage(format!(
                "cannot restore {}: its files are kept beside it; name the directory with --blobs",
                self.file.display()
            )));
        };
        let failed =
            |error: String| CliError::failed(format!("cannot copy files from {}", dir.display()), error);
        let beside = directory(dir, clock)?;
        let list = beside.list().await.map_err(|error| failed(error.to_string()))?;
        if (list.len() as u64) < contents.files {
            return Err(failed(format!(
                "it holds {} files, the backup was made with {}",
                list.len(),
                contents.files
            )));
        }
        // Those of older backups too: `doctor --repair` removes what belongs to nothing.
        for entry in list {
            files::copy(&*beside, blobs, &entry.id)
                .await
                .map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }
}

/// What was in a backup.
struct Unpacked {
    head: Head,
    contents: Contents,
    instance: RecordRow,
    files: BTreeMap<BlobId, u64>,
}

/// Takes a backup apart, on a thread of its own.
struct Unpack {
    sender: mpsc::Sender<Vec<Row>>,
    blobs: Arc<dyn Blobs>,
    runtime: Handle,
    progress: ProgressBar,
    tally: Tally,
    /// Kept back until everything else is in its place.
    instance: Option<RecordRow>,
    files: BTreeMap<BlobId, u64>,
}

impl Taker for Unpack {
    fn rows(&mut self, mut rows: Vec<Row>) -> io::Result<()> {
        if self.instance.is_some() {
            return Err(io::Error::other("rows follow the record of the instance"));
        }
        rows.iter().for_each(|row| self.tally.count(row));
        self.progress.inc(rows.len() as u64);
        if rows.last().is_some_and(is_instance)
            && let Some(Row::Record(row)) = rows.pop()
        {
            self.instance = Some(row);
        }
        self.sender
            .blocking_send(rows)
            .map_err(|_| io::Error::other("the database took no more rows"))
    }

    fn file(&mut self, id: BlobId, size: u64, content: &mut dyn Read) -> io::Result<()> {
        files::put(&self.runtime, &*self.blobs, &id, size, content)?;
        self.files.insert(id, size);
        self.progress.inc(1);
        Ok(())
    }
}

impl Unpack {
    fn all(mut self, file: &Path, password: Option<Zeroizing<String>>) -> io::Result<Unpacked> {
        let source: Box<dyn Read + Send + Sync> = if file == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(file)?)
        };
        let source = BufReader::with_capacity(1 << 20, source);
        let (head, summary) = match password {
            None => archive::read(source, &mut self)?,
            Some(password) => {
                let mut opened = archive::decrypt(source, password)?;
                let read = archive::read(&mut opened, &mut self)?;
                // To the very end: only there an encrypted backup proves that nobody touched it.
                io::copy(&mut opened, &mut io::sink())?;
                read
            }
        };
        self.progress.finish_and_clear();
        let contents: Contents = serde_json::from_value(summary)?;
        let found = self.tally.summary();
        if found != contents.database {
            return Err(io::Error::other(
                "its rows are not those it was made with: the file is damaged",
            ));
        }
        let instance = self.instance;
        Ok(Unpacked {
            head,
            contents,
            instance: instance.ok_or_else(|| io::Error::other("it holds no instance"))?,
            files: self.files,
        })
    }
}

/// The highest revision of a serial in a copy of the audit log, and one more: the copy is some seconds behind the log,
/// and the device of that revision may have asked once more in them. Where serials were given to a factory, above all that it may
/// have signed: the backup may not know of it.
fn highest(file: &Path) -> io::Result<u64> {
    let mut highest = 0;
    read_copy(file, |entry| {
        let event: AuditEvent = serde_json::from_str(&entry.event)?;
        if event.action == "serial.sign" {
            let revision = event.detail.get("revision").and_then(revision);
            let revision =
                revision.ok_or_else(|| io::Error::other("a serial is logged without its revision"))?;
            highest = highest.max(revision);
        } else if event.action == "factory.offer" {
            highest = highest.max(SITE_REVISIONS);
        }
        Ok(())
    })?;
    Ok(highest + 1)
}

/// A revision as the log writes it: as a number or as text.
fn revision(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}
