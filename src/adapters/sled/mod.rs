//! The embedded default: sled as the index of a journal.
//!
//! Every group of writes is appended to the journal and synced once (group commit) before any of it is acknowledged;
//! the index follows later and can be rebuilt from the journal at any time. That way nothing acknowledged depends on
//! how sled behaves on a crash or a full disk, a registration costs one sync, and large values are written once.

mod assertions;
mod audit;
mod check;
mod claims;
mod decisions;
mod encoding;
mod journal;
mod layers;
mod open;
mod registry;
mod rows;
mod serials;
mod settle;
mod snapshot;
#[cfg(test)]
mod tests;
mod transfer;
mod writer;

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

pub use self::open::{OpenError, SledOptions};

use self::encoding::{Key as Bytes, Space};
use self::journal::{Disk, RealDisk};
use self::layers::View;
use self::open::Opened;
use self::settle::{Place, Settler};
use self::writer::{Answer, Writer};
use crate::domain::assertion::{AssertionType, PrimaryKey, Ref};
use crate::domain::audit::{AuditEntry, AuditEvent, ChainHead, Checkpoint};
use crate::domain::ident::{AccountId, BrandId, DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::Approval;
use crate::domain::vault::{ClaimOutcome, Reservation, SerialClaim, SerialRow, Standing};
use crate::ports::{
    ApprovalRow, AssertionFilter, AssertionStore, AuditFilter, AuditLog, ChangeLog, Changes, Commit,
    CommitOutcome, IssuedSerial, Key, Kind, LedgerStats, Mark, Registry, SerialFilter, SerialLedger,
    StandingRow, Storage, StoreError, StoredAssertion, StoredRecord,
};

/// Storage in a directory of its own, for one process at a time. Dropped without [`Storage::close`], it leaves the
/// directory as a crash would: nothing acknowledged is lost, the next start takes a little longer.
#[derive(Debug)]
pub struct Sled {
    /// None once it is closed.
    open: RwLock<Option<Arc<Database>>>,
    commits: Arc<AtomicU64>,
    /// Rows up to this position are of earlier runs: the directory's lock lets no two live at a time.
    earlier: u64,
}

/// The fields go in this order: the lock is given back last.
#[derive(Debug)]
struct Database {
    writer: Writer,
    /// A read failed, and nobody has found since that reads are good again.
    unread: AtomicBool,
    _lock: File,
}

impl Database {
    fn noted<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(read, Err(StoreError::Unavailable(_))) {
            self.unread.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl Sled {
    /// Opens the database, or makes one. Blocks while it reads what a crash left in the journal.
    pub fn open(options: &SledOptions) -> Result<Self, OpenError> {
        Self::open_on(options, Arc::new(RealDisk))
    }

    fn open_on(options: &SledOptions, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let Opened {
            layers,
            journal,
            disk,
            data,
            run,
            lock,
        } = open::open(options, disk)?;
        let chain = uuid::Builder::from_random_bytes(open::random(options)?)
            .into_uuid()
            .to_string();
        let place = Place {
            disk,
            directory: options.directory.clone(),
        };
        let settler = Settler::new(Arc::clone(&layers), place, data, journal.id(), run);
        let writer = Writer::start(layers, journal, settler, chain, options.settle_at)
            .map_err(|error| open::no_threads(options, error))?;
        let earlier = rows::last_position(writer.view()).map_err(|error| open::unreadable(options, error))?;
        let open = RwLock::new(Some(Arc::new(Database {
            writer,
            unread: AtomicBool::new(false),
            _lock: lock,
        })));
        Ok(Self {
            open,
            commits: Arc::default(),
            earlier,
        })
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.clone()
            .ok_or_else(|| StoreError::Unavailable("it is closed".to_owned()))
    }

    /// A look-up of a few keys: quick enough to run where it is asked.
    fn look<T>(&self, read: impl FnOnce(View<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let database = self.database()?;
        database.noted(read(database.writer.view()))
    }

    /// A read that may take long: runs beside the event loop.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(View<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        let result = tokio::task::spawn_blocking(move || database.noted(read(database.writer.view()))).await;
        result.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a read was cut short: {error}"))))
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut writer::Transaction<'_>) -> Result<Answer<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database()?.writer.write(work).await
    }
}

#[async_trait]
impl Storage for Sled {
    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let outcome = self
            .write(move |tx| {
                for change in &commit.records {
                    if let Err(refusal) = registry::apply(tx, change)? {
                        return Ok(Answer::Unchanged(refusal));
                    }
                }
                if !commit.serials.is_empty() {
                    claims::load(tx, commit.serials)?;
                }
                for (assertion, rule) in commit.assertions {
                    if let Err(refusal) = assertions::put(tx, assertion, rule)? {
                        return Ok(Answer::Unchanged(refusal));
                    }
                }
                for event in &commit.audit {
                    audit::append(tx, event)?;
                }
                Ok(Answer::Durable(CommitOutcome::Done))
            })
            .await?;
        if outcome == CommitOutcome::Done {
            self.commits.fetch_add(1, Ordering::AcqRel);
        }
        Ok(outcome)
    }

    async fn spend(&self, nonce: [u8; 16], expires: Timestamp) -> Result<bool, StoreError> {
        self.write(move |tx| claims::spend(tx, nonce, expires)).await
    }

    async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let is_next = audit::put_checkpoint(tx, &checkpoint)?;
            Ok(if is_next {
                Answer::Durable(true)
            } else {
                Answer::Unchanged(false)
            })
        })
        .await
    }

    fn generation(&self) -> Option<u64> {
        Some(self.commits.load(Ordering::Acquire))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let database = self.database()?;
        let unread = database.unread.load(Ordering::Relaxed);
        let trouble = unread || database.writer.trouble().is_some();
        self.write(move |tx| {
            let key = Bytes::new(Space::Meta).text("ping").bytes();
            tx.get(&key)?;
            // After a failure only a write tells whether the disk is well again.
            Ok(if trouble {
                tx.put_small(key, Vec::new());
                Answer::Durable(())
            } else {
                Answer::Unchanged(())
            })
        })
        .await?;
        if unread {
            let journal = Arc::clone(&database.writer.view().layers().journal);
            // Past all that is kept in memory.
            let read = tokio::task::spawn_blocking(move || journal::read_header(&journal)).await;
            match read {
                Ok(Ok(_)) => database.unread.store(false, Ordering::Relaxed),
                Ok(Err(error)) => {
                    return Err(StoreError::Unavailable(format!(
                        "cannot read the journal: {error}"
                    )));
                }
                Err(error) => return Err(StoreError::Unavailable(format!("a read was cut short: {error}"))),
            }
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let database = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        match database {
            Some(database) => {
                let closed = database.writer.close().await;
                // The threads have ended; reads still under way keep the directory locked until they are done.
                tokio::task::spawn_blocking(move || drop(database))
                    .await
                    .unwrap_or_default();
                closed
            }
            None => Ok(()),
        }
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.read(check::check).await
    }
}

/// One process at a time: there is nobody to follow.
#[async_trait]
impl ChangeLog for Sled {
    async fn mark(&self) -> Result<Option<Mark>, StoreError> {
        Ok(None)
    }

    async fn changes(&self, _: &Mark) -> Result<Option<Changes>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl Registry for Sled {
    async fn record(&self, kind: Kind, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        self.look(|view| registry::record(view, kind, key))
    }

    async fn by_unique(
        &self,
        kind: Kind,
        field: &'static str,
        value: &str,
    ) -> Result<Option<StoredRecord>, StoreError> {
        self.look(|view| registry::by_unique(view, kind, field, value))
    }

    async fn records(&self, kind: Kind, prefix: &Key) -> Result<Vec<StoredRecord>, StoreError> {
        let prefix = prefix.clone();
        self.read(move |view| registry::records(view, kind, &prefix))
            .await
    }

    async fn records_after(
        &self,
        kind: Kind,
        prefix: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let (prefix, after) = (prefix.clone(), after.cloned());
        self.read(move |view| registry::records_after(view, kind, &prefix, after.as_ref(), limit))
            .await
    }

    async fn records_of(&self, kind: Kind, account: &AccountId) -> Result<Vec<StoredRecord>, StoreError> {
        let account = account.clone();
        self.read(move |view| {
            let mut all = registry::records(view, kind, &Key(Vec::new()))?;
            all.retain(|record| record.is_of(&account));
            Ok(all)
        })
        .await
    }
}

#[async_trait]
impl AssertionStore for Sled {
    async fn assertion(
        &self,
        reference: &Ref,
        max_format: u32,
    ) -> Result<Option<StoredAssertion>, StoreError> {
        self.look(|view| assertions::assertion(view, reference, max_format))
    }

    async fn assertions(&self, filter: &AssertionFilter) -> Result<Vec<StoredAssertion>, StoreError> {
        let filter = filter.clone();
        self.read(move |view| assertions::assertions(view, &filter)).await
    }

    async fn sequence_member(
        &self,
        kind: AssertionType,
        sequence_key: &PrimaryKey,
        after: Option<u64>,
        max_format: u32,
    ) -> Result<Option<StoredAssertion>, StoreError> {
        self.look(|view| assertions::sequence_member(view, kind, sequence_key, after, max_format))
    }
}

#[async_trait]
impl SerialLedger for Sled {
    async fn claim(&self, claim: SerialClaim) -> Result<ClaimOutcome, StoreError> {
        self.write(move |tx| claims::claim(tx, claim)).await
    }

    async fn issue(
        &self,
        reservation: &Reservation,
        serial: IssuedSerial,
        audit: AuditEvent,
    ) -> Result<(), StoreError> {
        let reservation = reservation.clone();
        self.write(move |tx| claims::issue(tx, &reservation, serial, &audit))
            .await
    }

    async fn void(&self, reservation: &Reservation) -> Result<(), StoreError> {
        let reservation = reservation.clone();
        self.write(move |tx| claims::void(tx, &reservation)).await
    }

    async fn void_abandoned(&self, limit: usize) -> Result<Vec<Reservation>, StoreError> {
        let before = self.earlier;
        self.write(move |tx| claims::void_earlier(tx, before, limit))
            .await
    }

    async fn serials(&self, filter: &SerialFilter) -> Result<Vec<SerialRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |view| serials::serials(view, &filter)).await
    }

    async fn count_serials(&self, filter: &SerialFilter) -> Result<u64, StoreError> {
        let filter = filter.clone();
        self.read(move |view| serials::count(view, &filter)).await
    }

    async fn history(&self, device: &DeviceId) -> Result<Vec<SerialRow>, StoreError> {
        let device = device.clone();
        self.read(move |view| serials::history(view, &device)).await
    }

    async fn latest(&self, device: &DeviceId) -> Result<Option<SerialRow>, StoreError> {
        self.look(|view| serials::latest(view, device))
    }

    async fn stats(&self, brand: &BrandId, model: Option<&ModelName>) -> Result<LedgerStats, StoreError> {
        self.look(|view| rows::stats(view, brand, model))
    }

    async fn set_standing(
        &self,
        brand: &BrandId,
        model: &ModelName,
        serials: &[SerialNumber],
        standing: Option<Standing>,
        now: Timestamp,
        audit: AuditEvent,
    ) -> Result<(), StoreError> {
        let device = |serial: &SerialNumber| DeviceId {
            brand: brand.clone(),
            model: model.clone(),
            serial: serial.clone(),
        };
        let devices: Vec<DeviceId> = serials.iter().map(device).collect();
        self.write(move |tx| decisions::set_standing(tx, &devices, standing, now, &audit))
            .await
    }

    async fn standing(&self, device: &DeviceId) -> Result<Option<Standing>, StoreError> {
        self.look(|view| decisions::standing(view.get(&decisions::standing_key(device))?))
    }

    async fn standings(
        &self,
        brand: &BrandId,
        model: &ModelName,
        after: Option<&SerialNumber>,
        limit: usize,
    ) -> Result<Vec<StandingRow>, StoreError> {
        let (brand, model, after) = (brand.clone(), model.clone(), after.cloned());
        self.read(move |view| decisions::standings(view, &brand, &model, after.as_ref(), limit))
            .await
    }

    async fn approvals(&self, brand: &BrandId) -> Result<Vec<ApprovalRow>, StoreError> {
        let brand = brand.clone();
        self.read(move |view| decisions::approvals(view, &brand)).await
    }

    async fn decide(
        &self,
        device: &DeviceId,
        device_key: &KeyId,
        approval: Approval,
        audit: AuditEvent,
    ) -> Result<bool, StoreError> {
        let (device, device_key) = (device.clone(), device_key.clone());
        self.write(move |tx| decisions::decide(tx, &device, &device_key, approval, &audit))
            .await
    }

    async fn load(&self, rows: Vec<SerialRow>) -> Result<(), StoreError> {
        self.write(move |tx| claims::load(tx, rows)).await
    }
}

#[async_trait]
impl AuditLog for Sled {
    async fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        let filter = filter.clone();
        self.read(move |view| audit::entries(view, &filter)).await
    }

    async fn chain(&self, writer: &str, from: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let writer = writer.to_owned();
        self.read(move |view| audit::chain(view, &writer, from, limit))
            .await
    }

    async fn heads(&self) -> Result<Vec<ChainHead>, StoreError> {
        self.read(|view| Ok(audit::chains(view)?.into_iter().map(|chain| chain.head).collect()))
            .await
    }

    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, StoreError> {
        self.read(move |view| audit::checkpoints(view, after, limit))
            .await
    }

    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.look(audit::last_checkpoint)
    }
}
