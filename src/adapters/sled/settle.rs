//! Moving changes from memory into the index, and the mark that says how far the index follows the journal.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::encoding::{Decoder, Encoder, Key, Space};
use super::journal::{Changes, Disk, Mark, Value};
use super::layers::{Layers, from_index, index_error, to_index};
use super::open::disown;
use crate::ports::StoreError;

/// Changes on their way into the index.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) changes: Arc<Changes>,
    /// Where the journal stood when they were all in it.
    pub(super) mark: Mark,
    /// Nothing follows: the index may be trusted as it is.
    pub(super) last: bool,
}

/// Where the index lies.
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
}

/// Why a part is not in the index.
pub(super) enum Unsettled {
    /// The disk is too full to begin; the index was not touched.
    NoRoom(Part, String),
    /// The index failed. It cannot be written to before it is opened again.
    Failed(String),
}

/// The thread beside the writer.
pub(super) struct Settler {
    layers: Arc<Layers>,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    data: File,
    id: [u8; 16],
    run: Run,
}

impl Settler {
    /// `data` is the index's file, `id` the journal's.
    pub(super) fn new(layers: Arc<Layers>, place: Place, data: File, id: [u8; 16], run: Run) -> Self {
        let Place { disk, directory } = place;
        Self {
            layers,
            disk,
            directory,
            data,
            id,
            run,
        }
    }

    /// Settles part after part and reports on each.
    pub(super) fn work(&self, parts: &Receiver<Part>, report: &Sender<Result<(), Unsettled>>) {
        while let Ok(part) = parts.recv() {
            // sled does not get over a full disk until it is opened again; so it is never let run into one.
            if let Err(error) = self.disk.room(&self.directory, room_for(part.changes.len())) {
                let why = format!("cannot move changes into the index: {error}");
                if report.send(Err(Unsettled::NoRoom(part, why))).is_err() {
                    return;
                }
                continue;
            }
            let settled = catch_unwind(AssertUnwindSafe(|| self.settle(&part)))
                .unwrap_or_else(|_| Err(StoreError::Unavailable("the index gave up".to_owned())));
            match settled {
                Ok(()) => self.layers.recent_mut().frozen = None,
                Err(_) => disown(&self.directory),
            }
            let settled = settled.map_err(|error| Unsettled::Failed(error.to_string()));
            if report.send(settled).is_err() {
                return;
            }
        }
    }

    fn settle(&self, part: &Part) -> Result<(), StoreError> {
        let index = &self.layers.index;
        let follows = Follows {
            journal: self.id,
            mark: part.mark,
            closed: part.last,
            run: self.run.clone(),
        };
        if part.last {
            follows.put(index)?;
        }
        settle(index, &self.data, &part.changes)?;
        // What a mark stands for is on the disk before the mark is; this one gets there with the next part.
        if part.last { Ok(()) } else { follows.put(index) }
    }
}

/// Room on the disk that moving this many changes into the index needs at most, in bytes: a change may cost a page.
pub(super) fn room_for(changes: usize) -> usize {
    (4 << 20) + changes * 1024
}

/// Writes `changes` into the index and onto the disk.
pub(super) fn settle(index: &::sled::Db, data: &File, changes: &Changes) -> Result<(), StoreError> {
    for (key, value) in changes {
        match value {
            Some(value) => index.insert(key, to_index(value)?).map(drop),
            None => index.remove(key).map(drop),
        }
        .map_err(|error| index_error(&error))?;
    }
    index.flush().map_err(|error| index_error(&error))?;
    // `flush` ends in `sync_file_range`, which survives no power cut.
    data.sync_all()
        .map_err(|error| StoreError::Unavailable(format!("cannot sync the index: {error}")))
}

/// How far the index follows the journal; kept in the index itself.
pub(super) struct Follows {
    /// The journal's id.
    pub(super) journal: [u8; 16],
    /// Everything before this is in the index.
    pub(super) mark: Mark,
    /// It was closed in order and not opened since.
    pub(super) closed: bool,
    /// Where and when it was written.
    pub(super) run: Run,
}

/// What must stay the same for an index that was left open to be trusted.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The run of the machine: see [`super::journal::Disk::boot`].
    pub(super) boot: String,
    /// The journal's file: a copy has another number.
    pub(super) file: u64,
}

const LAYOUT: u8 = 2;

impl Follows {
    fn key() -> Vec<u8> {
        Key::new(Space::Meta).text("mark").bytes()
    }

    pub(super) fn read(index: &::sled::Db) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = index.get(Self::key()).map_err(|error| index_error(&error))? else {
            return Ok(None);
        };
        let value = from_index(&bytes)?;
        let mut decoder = Decoder::new(&value.small, LAYOUT, "mark of the index")?;
        let journal = decoder.array()?;
        let mark = Mark {
            offset: decoder.number()?,
            sequence: decoder.number()?,
        };
        Ok(Some(Self {
            journal,
            mark,
            closed: decoder.byte()? != 0,
            run: Run {
                boot: decoder.text()?.to_owned(),
                file: decoder.number()?,
            },
        }))
    }

    pub(super) fn put(&self, index: &::sled::Db) -> Result<(), StoreError> {
        let small = Encoder::new(LAYOUT)
            .raw(&self.journal)
            .number(self.mark.offset)
            .number(self.mark.sequence)
            .byte(self.closed.into())
            .text(&self.run.boot)
            .number(self.run.file)
            .bytes();
        let value = to_index(&Value { small, large: None })?;
        index
            .insert(Self::key(), value)
            .map(drop)
            .map_err(|error| index_error(&error))
    }

    /// Why the index cannot be trusted, if so.
    ///
    /// A killed process leaves what the operating system still writes. A machine that went down may have kept later
    /// writes and lost earlier ones, and sled cannot tell: parts of the index might be missing without a trace. The
    /// same goes for files that were copied while they were written to.
    pub(super) fn doubt(&self, journal: &[u8; 16], run: &Run) -> Option<&'static str> {
        if self.journal != *journal {
            Some("it belongs to another journal")
        } else if self.closed {
            None
        } else if run.boot.is_empty() {
            Some("it was left open, and the system does not tell whether the machine went down since")
        } else if self.run.boot != run.boot {
            Some("the machine went down while it was open")
        } else if self.run.file != run.file {
            Some("it was copied while it was open")
        } else {
            None
        }
    }
}
