//! Everything of one storage into another: what `backup`, `restore` and `migrate` have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::{Reason, Refusal};
use crate::domain::audit::hex;
use crate::ports::{Row, Rows, Storage, StoreError};

/// Rows that are put in as one step.
const PIECE: usize = 500;

/// What was copied: how much of what, and a digest over all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Rows of each kind: `serial`, `record:account`...
    pub rows: BTreeMap<String, u64>,
    /// SHA-256 over the rows in order, each as a line of JSON; without those that engines forget by themselves.
    pub sha256: String,
}

impl Summary {
    /// Rows in all.
    pub fn total(&self) -> u64 {
        self.rows.values().sum()
    }
}

/// Counts rows as they go by.
#[derive(Clone)]
pub struct Tally {
    rows: BTreeMap<String, u64>,
    context: Context,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            context: Context::new(&SHA256),
        }
    }
}

impl Tally {
    /// Counts one row.
    pub fn count(&mut self, row: &Row) {
        if row.is_passing() {
            return;
        }
        *self.rows.entry(row.section()).or_default() += 1;
        // A row is plain data with string keys: writing it cannot fail.
        self.context.update(&serde_json::to_vec(row).unwrap_or_default());
        self.context.update(b"\n");
    }

    /// What went by.
    pub fn summary(self) -> Summary {
        Summary {
            rows: self.rows,
            sha256: hex(self.context.finish().as_ref()),
        }
    }
}

/// Counts everything a storage holds.
///
/// # Errors
/// What the storage says.
pub async fn count(storage: &Arc<dyn Storage>) -> Result<Summary, Refusal> {
    let mut tally = Tally::default();
    let mut rows = storage.export().await?;
    while let Some(piece) = rows.next().await {
        piece?.iter().for_each(|row| tally.count(row));
    }
    Ok(tally.summary())
}

/// Puts `rows` into `target`, which is empty or holds the beginning of them: an attempt that was cut short goes on
/// where it was. `progress` is told after each step how many rows are in.
///
/// # Errors
/// `target-differs`, if the target holds something else; what either storage says.
pub async fn fill(
    target: &Arc<dyn Storage>,
    mut rows: Rows,
    mut progress: impl FnMut(u64),
) -> Result<Summary, Refusal> {
    let mut there = Lines::new(target.export().await?);
    let mut tally = Tally::default();
    let mut waiting = Vec::new();
    let mut done = 0;
    while let Some(piece) = rows.next().await {
        for row in piece? {
            tally.count(&row);
            done += 1;
            if row.is_passing() {
                waiting.push(row);
                continue;
            }
            match there.next().await? {
                Some(known) if known == row => {}
                Some(known) => return Err(differs(&known)),
                None => waiting.push(row),
            }
        }
        if waiting.len() >= PIECE {
            target.import(std::mem::take(&mut waiting)).await?;
        }
        progress(done);
    }
    if let Some(known) = there.next().await? {
        return Err(differs(&known));
    }
    if !waiting.is_empty() {
        target.import(waiting).await?;
    }
    Ok(tally.summary())
}

fn differs(row: &Row) -> Refusal {
    Refusal::new(
        Reason::Conflict,
        "target-differs",
        format!(
            "cannot copy into this database: it holds something else already (a row of {}); name an empty one",
            row.section()
        ),
    )
}

/// Rows one by one, without those that may differ.
struct Lines {
    rows: futures_util::stream::Fuse<Rows>,
    piece: std::vec::IntoIter<Row>,
}

impl Lines {
    fn new(rows: Rows) -> Self {
        Self {
            // It is asked again for every row behind its end.
            rows: rows.fuse(),
            piece: Vec::new().into_iter(),
        }
    }

    async fn next(&mut self) -> Result<Option<Row>, StoreError> {
        loop {
            if let Some(row) = self.piece.find(|row| !row.is_passing()) {
                return Ok(Some(row));
            }
            match self.rows.next().await {
                Some(piece) => self.piece = piece?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}
