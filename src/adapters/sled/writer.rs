//! The one writer: takes writes from a bounded queue, applies as many as are waiting, and makes all of them durable
//! with one sync of the journal (group commit). A second thread moves older changes into the index.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

use super::encoding::{Encoder, Key, Space};
use super::journal::{AppendError, Changes, Journal, Mark, Value};
use super::layers::{Layers, Order, Scan, View, index_error, to_index};
use crate::ports::StoreError;

/// Writes that may wait; more are refused.
const QUEUE: usize = 1024;
/// At most this many writes share one sync.
const GROUP: usize = 256;

/// The changes of one write, and what it sees: its own changes over those of its group over everything stored.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    layers: &'a Layers,
    group: &'a Changes,
    own: Changes,
    /// Names the audit chain of this process.
    pub(super) writer: &'a str,
}

/// What a write answers, and how certain it must be before.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// After all changes up to this one are durable.
    Durable(T),
    /// At once; its changes become durable together with the next that must be.
    Early(T),
    /// Nothing is changed, whatever was put; answered after all changes it may have seen are durable.
    Unchanged(T),
}

impl Transaction<'_> {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.layers.view_with(&[self.group, &self.own]).get(key)
    }

    pub(super) fn scan(&self, prefix: &[u8], order: Order) -> Scan {
        self.layers
            .view_with(&[self.group, &self.own])
            .scan(prefix, order)
    }

    pub(super) fn scan_range(&self, from: Vec<u8>, to: Vec<u8>) -> Scan {
        self.layers
            .view_with(&[self.group, &self.own])
            .scan_range(from, Some(to), Order::Ascending)
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Value) {
        self.own.insert(key, Some(value));
    }

    pub(super) fn put_small(&mut self, key: Vec<u8>, small: Vec<u8>) {
        self.put(key, Value { small, large: None });
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.own.insert(key, None);
    }
}

type Work = Box<dyn FnOnce(&mut Transaction<'_>) -> Done + Send>;

/// A write that has run; `reply` tells its caller once it is known whether its changes are durable.
struct Done {
    keep: bool,
    early: bool,
    reply: Reply,
}

type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

enum Message {
    Write(Work),
    /// Move everything into the index, sync it, and end.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// The callers' end of the writer. Dropped without [`Writer::close`], it ends the threads as they stand: what was
/// acknowledged is in the journal.
#[derive(Debug)]
pub(super) struct Writer {
    layers: Arc<Layers>,
    health: Arc<Health>,
    queue: Mutex<Option<SyncSender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why writes are refused until the database is opened again, and what went wrong last.
#[derive(Debug, Default)]
struct Health {
    failed: Mutex<Option<String>>,
    trouble: Mutex<Option<String>>,
}

impl Writer {
    /// Starts the writer on `journal`, for the audit chain `chain`. `data` is the file to sync after the index.
    /// `settle_at`: see [`super::SledOptions`].
    pub(super) fn start(
        layers: Arc<Layers>,
        journal: Journal,
        data: File,
        chain: String,
        settle_at: usize,
    ) -> std::io::Result<Self> {
        let health = Arc::<Health>::default();
        let (queue, messages) = sync_channel(QUEUE);
        let (to_settle, settling) = channel();
        let (report, settled) = channel();
        let settler = Settler {
            layers: Arc::clone(&layers),
            data,
            id: journal.id(),
        };
        let settler = Builder::new()
            .name("hallmark-index".to_owned())
            .spawn(move || settler.run(&settling, &report))?;
        let state = State {
            layers: Arc::clone(&layers),
            health: Arc::clone(&health),
            journal,
            chain,
            backlog: Changes::new(),
            to_settle,
            settled,
            settling: false,
            settle_at,
        };
        let thread = Builder::new().name("hallmark-writer".to_owned()).spawn(move || {
            state.run(&messages);
            // The queue to the settler is closed by now.
            let _panicked = settler.join();
        })?;
        Ok(Self {
            layers,
            health,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What readers see.
    pub(super) fn view(&self) -> View<'_> {
        self.layers.view()
    }

    /// Why the last write failed, if it did.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.health.failed)
            .clone()
            .or_else(|| lock(&self.health.trouble).clone())
    }

    /// Runs `work` as one atomic write.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<Answer<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(why) = lock(&self.health.failed).clone() {
            return Err(StoreError::Unavailable(why));
        }
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |transaction| {
            let (keep, early, result) = match work(transaction) {
                Ok(Answer::Durable(value)) => (true, false, Ok(value)),
                Ok(Answer::Early(value)) => (true, true, Ok(value)),
                Ok(Answer::Unchanged(value)) => (false, false, Ok(value)),
                Err(error) => (false, false, Err(error)),
            };
            // A caller that went away does not want the answer any more.
            let reply = move |flushed: Result<(), StoreError>| drop(answer.send(flushed.and(result)));
            Done {
                keep,
                early,
                reply: Box::new(reply),
            }
        });
        self.send(Message::Write(work))?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Moves everything into the index and ends.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Close(answer))?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        let queue = lock(&self.queue);
        match queue.as_ref().map(|queue| queue.try_send(message)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(StoreError::Saturated),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(stopped()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.queue).take();
        if let Some(thread) = lock(&self.thread).take() {
            let _panicked = thread.join();
        }
    }
}

/// The writer thread's side.
struct State {
    layers: Arc<Layers>,
    health: Arc<Health>,
    journal: Journal,
    chain: String,
    /// Seen by readers, but not in the journal yet: early answers.
    backlog: Changes,
    to_settle: Sender<(Arc<Changes>, Mark)>,
    settled: Receiver<Result<(), String>>,
    settling: bool,
    settle_at: usize,
}

impl State {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            let mut next = Some(message);
            let mut group = Group::default();
            while let Some(message) = next {
                match message {
                    Message::Write(work) => self.run_work(&mut group, work),
                    Message::Close(answer) => {
                        self.finish(group);
                        return drop(answer.send(self.close()));
                    }
                }
                next = if group.writes < GROUP {
                    messages.try_recv().ok()
                } else {
                    None
                };
            }
            self.finish(group);
            self.settle_some();
        }
    }

    fn run_work(&self, group: &mut Group, work: Work) {
        group.writes += 1;
        if let Some(why) = lock(&self.health.failed).clone() {
            let mut transaction = self.transaction(&group.changes);
            return (work(&mut transaction).reply)(Err(StoreError::Unavailable(why)));
        }
        let mut transaction = self.transaction(&group.changes);
        let done = work(&mut transaction);
        let own = transaction.own;
        if done.keep {
            group.changes.extend(own);
        }
        if done.early {
            group.early.push(done.reply);
        } else {
            group.durable |= done.keep;
            group.replies.push(done.reply);
        }
    }

    fn transaction<'a>(&'a self, group: &'a Changes) -> Transaction<'a> {
        Transaction {
            layers: &self.layers,
            group,
            own: Changes::new(),
            writer: &self.chain,
        }
    }

    /// Makes a group durable if it must be, shows it to readers, and answers.
    fn finish(&mut self, mut group: Group) {
        let result = if group.durable {
            // They need not wait for the disk.
            group.early.drain(..).for_each(|reply| reply(Ok(())));
            let mut changes = std::mem::take(&mut self.backlog);
            let early = changes.clone();
            changes.extend(std::mem::take(&mut group.changes));
            let result = self.append(&mut changes);
            match &result {
                Ok(()) => self.layers.recent_mut().active.extend(changes),
                Err(_) => self.backlog = early,
            }
            result
        } else {
            self.backlog.extend(group.changes.clone());
            self.layers.recent_mut().active.extend(group.changes);
            Ok(())
        };
        for reply in group.early.into_iter().chain(group.replies) {
            reply(result.clone().map_err(StoreError::Unavailable));
        }
    }

    fn append(&mut self, changes: &mut Changes) -> Result<(), String> {
        match self.journal.append(changes) {
            Ok(()) => {
                lock(&self.health.trouble).take();
                Ok(())
            }
            Err(AppendError::Refused(why)) => {
                tracing::error!(%why, "cannot write; still trying");
                *lock(&self.health.trouble) = Some(why.clone());
                Err(why)
            }
            Err(AppendError::Lost(why)) => {
                self.fail(&why);
                Err(why)
            }
        }
    }

    fn fail(&self, why: &str) {
        tracing::error!(%why, "cannot write until the database is opened again; reading goes on");
        *lock(&self.health.failed) = Some(format!("{why}; restart the server once the disk is well"));
    }

    /// Hands the recent changes to the settler once there are enough of them.
    fn settle_some(&mut self) {
        let waiting = self.layers.recent().active.len();
        if self.settling {
            // Memory is bounded: with too many behind, the writer waits.
            let report = if waiting < 4 * self.settle_at {
                self.settled.try_recv().ok()
            } else {
                Some(
                    self.settled
                        .recv()
                        .unwrap_or_else(|RecvError| Err("the index thread ended".to_owned())),
                )
            };
            match report {
                None => return,
                Some(Ok(())) => self.settling = false,
                Some(Err(why)) => return self.fail(&why),
            }
        }
        if waiting >= self.settle_at && lock(&self.health.failed).is_none() {
            // A failure is noted, and the changes stay in memory.
            let _noted = self.start_settling();
        }
    }

    fn start_settling(&mut self) -> Result<(), String> {
        if !self.backlog.is_empty() {
            let mut backlog = self.backlog.clone();
            self.append(&mut backlog)?;
            self.backlog.clear();
        }
        let frozen = {
            let mut recent = self.layers.recent_mut();
            let frozen = Arc::new(std::mem::take(&mut recent.active));
            recent.frozen = Some(Arc::clone(&frozen));
            frozen
        };
        self.settling = self.to_settle.send((frozen, self.journal.end())).is_ok();
        if self.settling {
            Ok(())
        } else {
            Err("the index thread ended".to_owned())
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if let Some(why) = lock(&self.health.failed).clone() {
            return Err(StoreError::Unavailable(why));
        }
        let wait = |settling: bool| match settling.then(|| self.settled.recv()) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(why))) => Err(StoreError::Unavailable(why)),
            Some(Err(RecvError)) => Err(stopped()),
        };
        wait(self.settling)?;
        // Twice: the mark of the first becomes durable with the second.
        for _ in 0..2 {
            self.start_settling().map_err(StoreError::Unavailable)?;
            let report = self.settled.recv().map_err(|RecvError| stopped())?;
            report.map_err(StoreError::Unavailable)?;
        }
        Ok(())
    }
}

/// Writes that become durable together.
#[derive(Default)]
struct Group {
    writes: usize,
    changes: Changes,
    durable: bool,
    early: Vec<Reply>,
    replies: Vec<Reply>,
}

/// Moves changes into the index.
struct Settler {
    layers: Arc<Layers>,
    data: File,
    id: [u8; 16],
}

impl Settler {
    fn run(&self, settling: &Receiver<(Arc<Changes>, Mark)>, report: &Sender<Result<(), String>>) {
        while let Ok((changes, mark)) = settling.recv() {
            let settled = catch_unwind(AssertUnwindSafe(|| {
                settle(&self.layers.index, &self.data, &changes)
            }))
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the index gave up".to_owned())))
            // The mark is written only when what it stands for is on disk.
            .and_then(|()| put_mark(&self.layers.index, &self.id, mark));
            if settled.is_ok() {
                self.layers.recent_mut().frozen = None;
            }
            if report.send(settled.map_err(|error| error.to_string())).is_err() {
                return;
            }
        }
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

/// The key under which the index keeps how far it follows the journal.
pub(super) fn mark_key() -> Vec<u8> {
    Key::new(Space::Meta).text("mark").bytes()
}

/// Version of the mark's layout.
pub(super) const MARK_LAYOUT: u8 = 1;

/// Notes in the index that it holds everything in journal `id` before `mark`.
pub(super) fn put_mark(index: &::sled::Db, id: &[u8; 16], mark: Mark) -> Result<(), StoreError> {
    let small = Encoder::new(MARK_LAYOUT)
        .raw(id)
        .number(mark.offset)
        .number(mark.sequence)
        .bytes();
    let value = to_index(&Value { small, large: None })?;
    index
        .insert(mark_key(), value)
        .map(drop)
        .map_err(|error| index_error(&error))
}

fn stopped() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
