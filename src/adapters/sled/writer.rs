//! The one writer: takes writes from a bounded queue, applies as many as are waiting, and makes all of them durable
//! with one sync of the journal (group commit). A second thread moves older changes into the index.

use std::sync::mpsc::{Receiver, RecvError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::journal::{AppendError, Changes, Journal, Value};
use super::layers::{Layers, Order, Scan, View};
use super::settle::{Part, Settler, Unsettled};
use super::snapshot::Snapshot;
use crate::ports::StoreError;

/// Writes that may wait; more are refused.
const QUEUE: usize = 1024;
/// Pause before a full disk is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// At most this many writes share one sync.
const GROUP: usize = 256;
/// With at least this many writes known to follow soon, the writer waits for some of them...
const BUSY: usize = 6;
/// ...this long, so that they share a sync.
const GATHER: Duration = Duration::from_millis(3);

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
    /// At once; its changes become durable together with the next that must be. Another write of the same caller
    /// follows, and answers [`Answer::Awaited`].
    Early(T),
    /// As [`Answer::Durable`]: the write that was to follow an early one.
    Awaited(T),
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

    /// Begins a snapshot of the keys that start with one of `sections`: what is there before this write's group.
    pub(super) fn snapshot(&self, sections: Vec<Vec<u8>>) -> Arc<Snapshot> {
        self.layers.snapshots.begin(sections)
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
    follow: Follow,
    reply: Reply,
}

/// What a write says about later ones of its caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    Nothing,
    /// One will come: this one need not be durable before.
    Later,
    /// It is the one that was to come.
    This,
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

/// What keeps writes from being accepted.
#[derive(Debug, Default)]
struct Health {
    /// All of them, until the database is opened again.
    failed: Mutex<Option<String>>,
    /// What went wrong with the last one.
    trouble: Mutex<Option<String>>,
    /// The index has no room to follow: writes go on until too many changes are in memory.
    behind: Mutex<Option<String>>,
}

impl Writer {
    /// Starts the writer on `journal`. `chain` names the audit chain of this process; `settle_at`: see
    /// [`super::SledOptions`].
    pub(super) fn start(
        layers: Arc<Layers>,
        journal: Journal,
        settler: Settler,
        chain: String,
        settle_at: usize,
    ) -> std::io::Result<Self> {
        let health = Arc::<Health>::default();
        let (queue, messages) = sync_channel(QUEUE);
        let (to_settle, parts) = channel();
        let (report, settled) = channel();
        let settler = Builder::new()
            .name("hallmark-index".to_owned())
            .spawn(move || settler.work(&parts, &report))?;
        let state = State {
            layers: Arc::clone(&layers),
            health: Arc::clone(&health),
            journal,
            chain,
            backlog: Changes::new(),
            to_settle,
            settled,
            settling: false,
            stuck: None,
            settle_at,
            awaited: 0,
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
            let (keep, follow, result) = match work(transaction) {
                Ok(Answer::Durable(value)) => (true, Follow::Nothing, Ok(value)),
                Ok(Answer::Early(value)) => (true, Follow::Later, Ok(value)),
                Ok(Answer::Awaited(value)) => (true, Follow::This, Ok(value)),
                Ok(Answer::Unchanged(value)) => (false, Follow::Nothing, Ok(value)),
                Err(error) => (false, Follow::Nothing, Err(error)),
            };
            // A caller that went away does not want the answer any more.
            let reply = move |flushed: Result<(), StoreError>| drop(answer.send(flushed.and(result)));
            Done {
                keep,
                follow,
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
    to_settle: Sender<Part>,
    settled: Receiver<Result<(), Unsettled>>,
    settling: bool,
    /// What found no room, and when.
    stuck: Option<(Part, Instant)>,
    settle_at: usize,
    /// Early answers whose second write has not come yet. Only a guess of what is under way: callers may vanish.
    awaited: usize,
}

impl State {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            let gathered = self.gather();
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
            if gathered && group.writes == 1 {
                // Not so many after all.
                self.awaited /= 2;
            }
            self.finish(group);
            self.settle_some();
        }
    }

    /// Waits a moment while many signatures are being made: each of them ends in a write that must be durable, and one
    /// sync for several of them costs hardly more than one for each. A lone caller is not kept waiting. Whether it did.
    fn gather(&self) -> bool {
        let busy = self.awaited >= BUSY;
        if busy {
            std::thread::sleep(GATHER);
        }
        busy
    }

    fn run_work(&mut self, group: &mut Group, work: Work) {
        group.writes += 1;
        if let Some(why) = self.refusal() {
            let mut transaction = self.transaction(&group.changes);
            return (work(&mut transaction).reply)(Err(StoreError::Unavailable(why)));
        }
        let mut transaction = self.transaction(&group.changes);
        let done = work(&mut transaction);
        let own = transaction.own;
        if done.keep {
            group.changes.extend(own);
        }
        self.awaited = match done.follow {
            Follow::Nothing => self.awaited,
            Follow::Later => self.awaited + 1,
            Follow::This => self.awaited.saturating_sub(1),
        };
        // Early answers take memory until they are durable: on a full disk there are none.
        if done.follow == Follow::Later && lock(&self.health.trouble).is_none() {
            group.early.push(done.reply);
        } else {
            group.durable |= done.keep;
            group.replies.push(done.reply);
        }
    }

    /// Why no write is accepted now.
    fn refusal(&self) -> Option<String> {
        let behind = || {
            let why = lock(&self.health.behind).clone()?;
            (self.layers.recent().active.len() >= self.most_waiting()).then_some(why)
        };
        lock(&self.health.failed).clone().or_else(behind)
    }

    /// Changes that may wait in memory.
    fn most_waiting(&self) -> usize {
        4 * self.settle_at
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
                Ok(()) => self.layers.show(changes),
                Err(_) => self.backlog = early,
            }
            result
        } else {
            self.backlog.extend(group.changes.clone());
            self.layers.show(group.changes);
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
            let report = if waiting < self.most_waiting() {
                self.settled.try_recv().ok()
            } else {
                Some(self.settled.recv().unwrap_or_else(|RecvError| Err(ended())))
            };
            match report {
                None => return,
                Some(Ok(())) => {
                    self.settling = false;
                    lock(&self.health.behind).take();
                }
                Some(Err(Unsettled::NoRoom(part, why))) => {
                    self.settling = false;
                    self.stuck = Some((part, Instant::now()));
                    let before = lock(&self.health.behind).replace(why.clone());
                    if before.is_none() {
                        tracing::error!(%why, "the index cannot follow; still trying");
                    }
                }
                Some(Err(Unsettled::Failed(why))) => return self.fail(&why),
            }
        }
        if let Some((part, since)) = self.stuck.take() {
            if since.elapsed() < TRY_AGAIN {
                self.stuck = Some((part, since));
            } else {
                self.settling = self.to_settle.send(part).is_ok();
            }
            return;
        }
        if waiting >= self.settle_at && lock(&self.health.failed).is_none() {
            // A failure is noted, and the changes stay in memory.
            let _noted = self.start_settling(false);
        }
    }

    fn start_settling(&mut self, last: bool) -> Result<(), String> {
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
        let part = Part {
            changes: frozen,
            mark: self.journal.end(),
            last,
        };
        self.settling = self.to_settle.send(part).is_ok();
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
        if let Some((part, _)) = self.stuck.take() {
            self.settling = self.to_settle.send(part).is_ok();
        }
        if self.settling {
            self.wait()?;
        }
        // Only an index that is known to be on the disk is marked as closed.
        for last in [false, true] {
            self.start_settling(last).map_err(StoreError::Unavailable)?;
            self.wait()?;
        }
        Ok(())
    }

    /// Waits for the settler's report.
    fn wait(&self) -> Result<(), StoreError> {
        match self.settled.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Unsettled::NoRoom(_, why) | Unsettled::Failed(why))) => Err(StoreError::Unavailable(why)),
            Err(RecvError) => Err(stopped()),
        }
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

fn ended() -> Unsettled {
    Unsettled::Failed("the index thread ended".to_owned())
}

fn stopped() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
