//! The reference implementation of [`Storage`]: ordered maps behind one mutex. For tests and `--dev`; nothing is kept
//! beyond the process. Where another adapter and this one differ, the conformance suite says who is right.

mod assertions;
mod audit;
mod blobs;
mod changes;
mod registry;
mod serials;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};

pub use self::blobs::MemoryBlobs;

use self::audit::Journal;
use self::registry::Records;
use self::serials::Ledger;
use crate::domain::audit::Checkpoint;
use crate::domain::time::Timestamp;
use crate::ports::{Commit, CommitOutcome, Storage, StoreError};

/// Storage in memory. Clones of the data are never made: [`Memory::another`] gives a second handle, as a second
/// process on the same database would have.
#[derive(Debug)]
pub struct Memory {
    /// Behind a lock that is fair in the long run: who reads without a pause cannot keep others from writing.
    state: Arc<Mutex<State>>,
    /// The chain this handle writes.
    writer: String,
    closed: std::sync::atomic::AtomicBool,
    commits: Arc<AtomicU64>,
}

#[derive(Clone, Debug, Default)]
struct State {
    records: Records,
    changes: changes::Log,
    assertions: assertions::Shelf,
    ledger: Ledger,
    journal: Journal,
    nonces: BTreeMap<[u8; 16], Timestamp>,
    /// The handles in use, by their chain: what an engine knows of living processes.
    handles: BTreeSet<String>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Empty storage.
    pub fn new() -> Self {
        Self::on(Arc::default(), Arc::default())
    }

    /// Another handle on the same data, with a chain of its own in the audit log; also after [`Storage::close`].
    pub fn another(&self) -> Self {
        Self::on(Arc::clone(&self.state), Arc::clone(&self.commits))
    }

    fn on(state: Arc<Mutex<State>>, commits: Arc<AtomicU64>) -> Self {
        let mut random = [0; 16];
        // Only uniqueness matters here; where the random source fails, the number of handles must do.
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            random = u128::try_from(Arc::strong_count(&state))
                .unwrap_or_default()
                .to_be_bytes();
        }
        let writer = uuid::Builder::from_random_bytes(random).into_uuid().to_string();
        let mut known = state.lock();
        known.handles.insert(writer.clone());
        drop(known);
        Self {
            state,
            writer,
            closed: false.into(),
            commits,
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("it is closed".to_owned()));
        }
        Ok(self.state.lock())
    }

    fn let_go(&self) {
        self.closed.store(true, Ordering::Release);
        let mut state = self.state.lock();
        state.handles.remove(&self.writer);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[async_trait]
impl Storage for Memory {
    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        tokio::task::yield_now().await; // others take their turn, as with an engine that works on disk
        let mut state = self.lock()?;
        let records = match state.records.plan(&commit.records) {
            Ok(plan) => plan,
            Err(refusal) => return Ok(refusal),
        };
        let assertions = match state.assertions.plan(commit.assertions) {
            Ok(plan) => plan,
            Err(refusal) => return Ok(refusal),
        };
        state.ledger.load(commit.serials)?;
        state.records.apply(records);
        state
            .changes
            .note(commit.records.iter().map(|change| (change.kind, &change.key)));
        state.assertions.apply(assertions);
        for event in commit.audit {
            state.journal.append(&self.writer, event);
        }
        drop(state);
        self.commits.fetch_add(1, Ordering::AcqRel);
        Ok(CommitOutcome::Done)
    }

    async fn spend(&self, nonce: [u8; 16], expires: Timestamp) -> Result<bool, StoreError> {
        Ok(self.lock()?.nonces.insert(nonce, expires).is_none())
    }

    async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<bool, StoreError> {
        Ok(self.lock()?.journal.put_checkpoint(checkpoint))
    }

    fn generation(&self) -> Option<u64> {
        Some(self.commits.load(Ordering::Acquire))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.lock().map(drop)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.let_go();
        Ok(())
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.lock()?.journal.check())
    }
}
