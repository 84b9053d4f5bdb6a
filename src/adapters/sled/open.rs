//! Opening a database directory: the lock, the journal, the index, and what has to be put right after a crash.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::journal::{Changes, Disk, HEADER, Journal, Mark, ReplayError, header, read_header, replay};
use super::layers::Layers;
use super::settle::{Follows, Run, room_for, settle};
use crate::ports::StoreError;

/// The layout of everything in the directory. A newer program may raise it; it is checked before anything is touched.
pub(super) const FORMAT: u32 = 1;

/// How to open a database.
#[derive(Clone, Debug)]
pub struct SledOptions {
    /// The directory; made if it is not there.
    pub directory: PathBuf,
    /// Memory for pages of the index, in bytes.
    pub cache: u64,
    /// Changes kept in memory until they move into the index together; a registration makes about ten.
    pub settle_at: usize,
    /// Where a running server takes local commands, to be named when the directory is in use.
    pub socket: Option<PathBuf>,
}

impl SledOptions {
    /// The usual settings for `directory`: 64 MiB of cache, 8192 changes.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            cache: 64 << 20,
            settle_at: 8192,
            socket: None,
        }
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the database in {}: {why}", directory.display())]
pub struct OpenError {
    directory: PathBuf,
    #[source]
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("another hallmark process has it open; {0}")]
    Locked(String),
    #[error("it was written by a newer hallmark (format {0}, this one knows {FORMAT}); use that one")]
    Newer(u32),
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    #[error("there is no room to start with, a few megabytes: {0}; make room on the disk")]
    Full(#[source] io::Error),
    #[error("{0} is no journal; restore it from a backup")]
    NoJournal(PathBuf),
    #[error("the journal is damaged at byte {0}, and good entries follow; restore it from a backup")]
    Damaged(u64),
    #[error(
        "the journal ends before what the index holds: writes are missing; restore it from a backup, or delete {0} to \
         go on with what the journal has"
    )]
    Shorter(PathBuf),
    #[error(
        "there is an index, but no journal: {0} is missing; restore it from a backup, or delete {1} to begin with an \
         empty database"
    )]
    Missing(PathBuf, PathBuf),
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// 16 random bytes.
pub(super) fn random(options: &SledOptions) -> Result<[u8; 16], OpenError> {
    let mut random = [0; 16];
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => Ok(random),
        Err(_) => Err(no_threads(options, io::Error::other("no random numbers"))),
    }
}

/// The operating system did not give what is needed beside files.
pub(super) fn no_threads(options: &SledOptions, error: io::Error) -> OpenError {
    let directory = options.directory.clone();
    OpenError {
        why: Why::File(directory.clone(), error),
        directory,
    }
}

/// What was read while opening it cannot be right.
pub(super) fn unreadable(options: &SledOptions, error: StoreError) -> OpenError {
    OpenError {
        directory: options.directory.clone(),
        why: Why::Store(error),
    }
}

/// What a database directory gives once it is open.
pub(super) struct Opened {
    pub(super) layers: Arc<Layers>,
    pub(super) journal: Journal,
    pub(super) disk: Arc<dyn Disk>,
    /// The index's file, to be synced after its flush.
    pub(super) data: File,
    /// For the mark of the index.
    pub(super) run: Run,
    /// Keeps other processes out while it is held.
    pub(super) lock: File,
}

/// Opens the directory. Blocks; after a crash or a loss of the index for as long as it takes to put it right.
pub(super) fn open(options: &SledOptions, disk: Arc<dyn Disk>) -> Result<Opened, OpenError> {
    let directory = &options.directory;
    open_directory(options, disk).map_err(|why| OpenError {
        directory: directory.clone(),
        why,
    })
}

fn open_directory(options: &SledOptions, disk: Arc<dyn Disk>) -> Result<Opened, Why> {
    let directory = &options.directory;
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| Why::File(path, error)
    };
    std::fs::create_dir_all(directory).map_err(at(directory))?;
    let lock = lock(options)?;

    let journal_path = directory.join("journal");
    let index_path = directory.join("index");
    // An index that runs out of room while it is opened is a broken one. This comes after the lock, which tells of
    // directories that cannot be written at all.
    disk.room(directory, room_for(0)).map_err(Why::Full)?;
    // What a crash left of an index that was being deleted.
    remove(&discarded(&index_path)).map_err(at(&index_path))?;
    let (file, id) = open_journal(directory, &journal_path, &index_path)?;
    let run = Run {
        boot: disk.boot(),
        file: file.metadata().map_err(at(&journal_path))?.ino(),
    };
    let file = Arc::new(file);
    let (index, known) = trusted_index(&index_path, options.cache, &id, &run)?;
    let data_path = index_path.join("db");
    let data = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&data_path)
        .map_err(at(&data_path))?;
    // The names of what is in there, and of the directory itself: a file whose name is lost is lost.
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
    for path in [&index_path, directory, above.unwrap_or(Path::new("."))] {
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(at(path))?;
    }

    let length = file.metadata().map_err(at(&journal_path))?.len();
    if known.is_none() && length > HEADER {
        tracing::warn!(
            journal.bytes = length,
            "making the index anew from the journal; this may take minutes"
        );
    }
    let from = known.unwrap_or(Mark {
        offset: HEADER,
        sequence: 1,
    });
    if from.offset > length {
        return Err(Why::Shorter(index_path));
    }
    // From here on a power cut is noticed by the next start.
    let mut follows = Follows {
        journal: id,
        mark: from,
        closed: false,
        run,
    };
    follows.put(&index)?;
    settle(&index, &data, &Changes::new()).inspect_err(|_| disown(directory))?;
    let layers = Arc::new(Layers::new(index, Arc::clone(&file)));
    let end =
        catch_up(&layers, &file, &*disk, &mut follows, &data, options.settle_at).map_err(
            |error| match error {
                ReplayError::Read(error) => Why::File(journal_path.clone(), error),
                ReplayError::Damaged(offset) => Why::Damaged(offset),
                ReplayError::Apply(error) => {
                    disown(directory);
                    Why::Store(error)
                }
            },
        )?;
    if end.offset < length {
        tracing::warn!(
            bytes = length - end.offset,
            "cutting off a write that a crash interrupted"
        );
        file.set_len(end.offset)
            .and_then(|()| file.sync_all())
            .map_err(at(&journal_path))?;
    }
    Ok(Opened {
        layers,
        journal: Journal::new(file, Arc::clone(&disk), id, end),
        disk,
        data,
        run: follows.run,
        lock,
    })
}

fn lock(options: &SledOptions) -> Result<File, Why> {
    let path = options.directory.join("hallmark.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(|error| Why::File(path.clone(), error))?;
    for attempt in 0.. {
        match file.try_lock() {
            Ok(()) => break,
            // What a process that is just ending has started may hold its files for a moment longer.
            Err(TryLockError::WouldBlock) if attempt < 10 => std::thread::sleep(Duration::from_millis(30)),
            Err(TryLockError::WouldBlock) => {
                return Err(Why::Locked(options.socket.as_ref().map_or_else(
                    || "stop it first".to_owned(),
                    |socket| {
                        format!(
                            "stop it first, or use a command that goes through {}",
                            socket.display()
                        )
                    },
                )));
            }
            Err(TryLockError::Error(error)) => return Err(Why::File(path, error)),
        }
    }
    Ok(file)
}

fn open_journal(directory: &Path, path: &Path, index: &Path) -> Result<(File, [u8; 16]), Why> {
    let at = |error| Why::File(path.to_owned(), error);
    if !path.try_exists().map_err(at)? {
        // An index is only ever made after its journal. To begin anew would give every revision a second time.
        if index.try_exists().map_err(at)? {
            return Err(Why::Missing(path.to_owned(), index.to_owned()));
        }
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| at(io::Error::other("no random numbers")))?;
        // Made beside its place, so that a journal is there with its header or not at all.
        let made = directory.join("journal.new");
        let file = File::create(&made).map_err(at)?;
        io::Write::write_all(&mut &file, &header(FORMAT, id))
            .and_then(|()| file.sync_all())
            .map_err(at)?;
        std::fs::rename(&made, path).map_err(at)?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(at)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(at)?;
    match read_header(&file).map_err(at)? {
        Some((FORMAT, id)) => Ok((file, id)),
        Some((newer, _)) => Err(Why::Newer(newer)),
        None => Err(Why::NoJournal(path.to_owned())),
    }
}

/// Opens the index; in place of one that is broken comes an empty one.
fn open_index(path: &Path, cache: u64) -> Result<::sled::Db, Why> {
    match try_open_index(path, cache)? {
        Some(index) => Ok(index),
        None => {
            discard(path)?;
            let broken = || StoreError::Corrupt("a new index cannot be opened".to_owned());
            try_open_index(path, cache)?.ok_or_else(|| broken().into())
        }
    }
}

/// None if what is there is no good index.
fn try_open_index(path: &Path, cache: u64) -> Result<Option<::sled::Db>, Why> {
    remove_half_snapshots(path).map_err(|error| Why::File(path.to_owned(), error))?;
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(cache)
        .flush_every_ms(None);
    for attempt in 0.. {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(index)) => return Ok(Some(index)),
            // Threads of an index this process had open before may still be on their way out.
            Ok(Err(::sled::Error::Io(_))) if attempt < 20 && locked_by_us(path) => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(Err(::sled::Error::Io(error))) => return Err(Why::File(path.to_owned(), error)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the index is broken");
                return Ok(None);
            }
            Err(_) => {
                tracing::warn!("the index is broken: opening it failed badly");
                return Ok(None);
            }
        }
    }
    Ok(None)
}

/// sled takes a snapshot that a crash left half-written for a good one, and then fails to open (style.md 8.1).
fn remove_half_snapshots(path: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(path.join(&*name))?;
        }
    }
    Ok(())
}

/// Whether the index's file is locked. We hold the directory, so it can only be by this process.
fn locked_by_us(path: &Path) -> bool {
    let Ok(file) = File::open(path.join("db")) else {
        return false;
    };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Deletes an index: all it held is in the journal.
fn discard(path: &Path) -> Result<(), Why> {
    // Renamed first, so that a crash leaves no part of it behind that looks whole.
    let discarded = discarded(path);
    remove(&discarded)
        .and_then(|()| std::fs::rename(path, &discarded))
        .and_then(|()| remove(&discarded))
        .map_err(|error| Why::File(path.to_owned(), error))
}

/// Sees to it that the next start makes the index anew: writing it failed. What did not get to the disk may be read for
/// now all the same, and be gone once it was closed in order.
pub(super) fn disown(directory: &Path) {
    let index = directory.join("index");
    let discarded = discarded(&index);
    let gone = remove(&discarded)
        .and_then(|()| std::fs::rename(&index, &discarded))
        .and_then(|()| File::open(directory)?.sync_all());
    if let Err(error) = gone {
        tracing::error!(%error, "cannot discard the index: delete {} before the next start", index.display());
    }
}

/// Where an index goes to be deleted.
fn discarded(path: &Path) -> PathBuf {
    path.with_extension("discarded")
}

/// Removes a directory, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The index, and how far it follows journal `id`; in place of one that cannot be trusted comes an empty one.
fn trusted_index(
    path: &Path,
    cache: u64,
    id: &[u8; 16],
    run: &Run,
) -> Result<(::sled::Db, Option<Mark>), Why> {
    let index = open_index(path, cache)?;
    let doubt = match Follows::read(&index) {
        Ok(Some(follows)) => match follows.doubt(id, run) {
            None => return Ok((index, Some(follows.mark))),
            Some(doubt) => doubt.to_owned(),
        },
        Ok(None) if index.is_empty() => return Ok((index, None)),
        Ok(None) => "it does not say what it holds".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(%doubt, "the index cannot be trusted");
    drop(index);
    discard(path)?;
    Ok((open_index(path, cache)?, None))
}

/// Changes that are applied at once when the journal is read at start-up.
const CATCH_UP_AT: usize = 65_536;

/// Applies what the journal has from the mark on. The last changes stay in memory if they are not more than `few`: the
/// first devices should not have to wait for many of them. The others go into the index.
///
/// The last frame is written and synced again: the run before may have ended because its sync failed. It can be read then,
/// but the system takes it for written, and it might never get to the disk, while what follows it does. Before it there is
/// none like it, since nothing is appended after a failed sync.
fn catch_up(
    layers: &Layers,
    file: &File,
    disk: &dyn Disk,
    follows: &mut Follows,
    data: &File,
    few: usize,
) -> Result<Mark, ReplayError> {
    let (mut last, mut seen) = (follows.mark, follows.mark);
    let end = replay(file, follows.journal, follows.mark, |changes, mark| {
        last = std::mem::replace(&mut seen, mark);
        let full = {
            let mut recent = layers.recent_mut();
            recent.active.extend(changes);
            if recent.active.len() >= CATCH_UP_AT {
                std::mem::take(&mut recent.active)
            } else {
                Changes::new()
            }
        };
        if full.is_empty() {
            return Ok(());
        }
        // The index must not be ahead of what the disk has of the journal.
        write_again(file, disk, last, mark)
            .map_err(|error| StoreError::Unavailable(format!("cannot write the journal: {error}")))?;
        settle(&layers.index, data, &full)?;
        follows.mark = mark;
        follows.put(&layers.index)
    })?;
    write_again(file, disk, last, end).map_err(ReplayError::Read)?;
    if layers.recent().active.len() > few {
        // They are seen in the index before they go from memory.
        let rest = layers.recent().active.clone();
        settle(&layers.index, data, &rest).map_err(ReplayError::Apply)?;
        layers.recent_mut().active.clear();
        follows.mark = end;
        follows.put(&layers.index).map_err(ReplayError::Apply)?;
    }
    Ok(end)
}

/// Writes what the journal holds between two marks once more, and syncs it.
fn write_again(file: &File, disk: &dyn Disk, from: Mark, to: Mark) -> io::Result<()> {
    let mut frame = vec![0; usize::try_from(to.offset - from.offset).unwrap_or_default()];
    if frame.is_empty() {
        return Ok(());
    }
    file.read_exact_at(&mut frame, from.offset)?;
    disk.write(file, &frame, from.offset)?;
    disk.sync(file)
}
