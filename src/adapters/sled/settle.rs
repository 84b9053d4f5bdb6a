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
    boot: String,
}

impl Settler {
    /// `data` is the index's file, `id` the journal's; `boot` names the run of the machine.
    pub(super) fn new(layers: Arc<Layers>, data: File, id: [u8; 16], boot: String) -> Self {
        Self {
            layers,
            data,
            id,
            boot,
        }
    }

    /// Settles part after part and reports on each.
    pub(super) fn run(&self, parts: &Receiver<Part>, report: &Sender<Result<(), String>>) {
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
            boot: self.boot.clone(),
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
    /// The run of the machine it was written in.
    pub(super) boot: String,
}

const LAYOUT: u8 = 1;

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
            boot: decoder.text()?.to_owned(),
        }))
    }

    pub(super) fn put(&self, index: &::sled::Db) -> Result<(), StoreError> {
        let small = Encoder::new(LAYOUT)
            .raw(&self.journal)
            .number(self.mark.offset)
            .number(self.mark.sequence)
            .byte(self.closed.into())
            .text(&self.boot)
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
    /// writes and lost earlier ones, and sled cannot tell: parts of the index might be missing without a trace.
    pub(super) fn doubt(&self, journal: &[u8; 16], boot: &str) -> Option<&'static str> {
        if self.journal != *journal {
            Some("it belongs to another journal")
        } else if !self.closed && self.boot != boot {
            Some("the machine went down while it was open")
        } else {
            None
        }
    }
}
