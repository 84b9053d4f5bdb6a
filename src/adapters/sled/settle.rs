//! Moving changes from memory into the index, and the mark that says how far the index follows the journal.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::encoding::{Decoder, Encoder, Key, Space};
use super::journal::{Changes, Mark, Value};
use super::layers::{Layers, from_index, index_error, to_index};
use crate::ports::StoreError;

/// Changes on their way into the index.
pub(super) struct Part {
    pub(super) changes: Arc<Changes>,
    /// Where the journal stood when they were all in it.
    pub(super) mark: Mark,
    /// Nothing follows: the index may be trusted as it is.
    pub(super) last: bool,
}

/// The thread beside the writer.
pub(super) struct Settler {
    layers: Arc<Layers>,
    data: File,
    id: [u8; 16],
    run: Run,
}

impl Settler {
    /// `data` is the index's file, `id` the journal's.
    pub(super) fn new(layers: Arc<Layers>, data: File, id: [u8; 16], run: Run) -> Self {
        Self {
            layers,
            data,
            id,
            run,
        }
    }

    /// Settles part after part and reports on each.
    pub(super) fn work(&self, parts: &Receiver<Part>, report: &Sender<Result<(), String>>) {
        while let Ok(part) = parts.recv() {
            let settled = catch_unwind(AssertUnwindSafe(|| self.settle(&part)))
                .unwrap_or_else(|_| Err(StoreError::Unavailable("the index gave up".to_owned())));
            if settled.is_ok() {
                self.layers.recent_mut().frozen = None;
            }
            if report.send(settled.map_err(|error| error.to_string())).is_err() {
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
