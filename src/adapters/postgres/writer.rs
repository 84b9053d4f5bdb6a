//! The writer: one task that turns whatever waits into one transaction, then answers all of it.

use std::time::Duration;

use deadpool_postgres::{Pool, Transaction};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::session::{Session, Sessions};
use super::{abandoned, assertions, audit, claims, decisions, failed, news, records};
use crate::domain::audit::{AuditEvent, ChainHead, Checkpoint};
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::Approval;
use crate::domain::vault::{ClaimOutcome, Reservation, SerialClaim, SerialRow, Standing};
use crate::ports::{Commit, CommitOutcome, IssuedSerial, StoreError};

/// Writes that may wait; more answer `Saturated`.
const QUEUE: usize = 1024;
/// Writes that share one transaction at most.
const BATCH: usize = 128;
/// How long a transaction may take. A commit that waits for a standby that is gone, or a server that stands still, would hold
/// everybody up who comes after: devices are told to come back instead.
const LIMIT: Duration = Duration::from_secs(15);
/// Attempts when other processes get in the way (deadlock, serialisation failure).
const ATTEMPTS: usize = 5;

/// A write. Must be repeatable: a batch that lost a deadlock runs again from the start.
#[derive(Debug)]
pub(super) enum Op {
    Commit(Commit),
    Claim(SerialClaim),
    Issue {
        reservation: Reservation,
        serial: IssuedSerial,
        audit: AuditEvent,
    },
    Void(Reservation),
    Spend {
        nonce: [u8; 16],
        expires: Timestamp,
    },
    Checkpoint(Checkpoint),
    Standing {
        brand: BrandId,
        model: ModelName,
        serials: Vec<SerialNumber>,
        standing: Option<Standing>,
        now: Timestamp,
        audit: AuditEvent,
    },
    Decide {
        device: DeviceId,
        device_key: KeyId,
        approval: Approval,
        audit: AuditEvent,
    },
    Load(Vec<SerialRow>),
    /// At most this many.
    VoidAbandoned(usize),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Commit(CommitOutcome),
    Claim(ClaimOutcome),
    Flag(bool),
    Voided(Vec<Reservation>),
    Done,
}

struct Waiting {
    op: Op,
    reply: oneshot::Sender<Result<Answer, StoreError>>,
}

/// What one transaction builds up besides its rows.
pub(super) struct Batch<'t> {
    /// The transaction.
    pub(super) tx: &'t Transaction<'t>,
    /// Where this process's audit chain will stand after the commit.
    pub(super) head: ChainHead,
    /// What reservations made here belong to: see [`Session`].
    pub(super) owner: i64,
    /// What is added to the numbers of models: written as the last of the transaction.
    pub(super) counts: claims::Counts,
    /// Whether there is one write only: what it refuses then takes all of the transaction back, without a savepoint.
    alone: bool,
}

/// Why an operation did not go through.
pub(super) enum Fault {
    /// The engine failed: the whole batch is off.
    Engine(tokio_postgres::Error),
    /// This operation alone is refused.
    Refused(StoreError),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Engine(error)
    }
}

/// The sending end of the writer's queue.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(pool: Pool) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(pool, waiting));
        Self {
            queue: Mutex::new(Some(queue)),
            task: Mutex::new(Some(task)),
        }
    }

    /// Queues `op` and waits for its transaction.
    pub(super) async fn submit(&self, op: Op) -> Result<Answer, StoreError> {
        let queue = self.queue.lock().await.clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        queue.try_send(Waiting { op, reply }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => StoreError::Saturated,
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        answer.await.map_err(|_| closed())?
    }

    /// For operations that answer yes or no.
    pub(super) async fn submit_flag(&self, op: Op) -> Result<bool, StoreError> {
        match self.submit(op).await? {
            Answer::Flag(flag) => Ok(flag),
            Answer::Commit(_) | Answer::Claim(_) | Answer::Voided(_) | Answer::Done => {
                Err(super::corrupt("the writer answered out of turn"))
            }
        }
    }

    /// For operations without an answer.
    pub(super) async fn submit_done(&self, op: Op) -> Result<(), StoreError> {
        self.submit(op).await.map(|_| ())
    }

    /// Finishes what waits, then stops.
    pub(super) async fn close(&self) {
        self.queue.lock().await.take();
        if let Some(task) = self.task.lock().await.take() {
            let _joined = task.await;
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the database is closed".to_owned())
}

async fn run(pool: Pool, mut waiting: mpsc::Receiver<Waiting>) {
    let mut head = new_chain();
    let mut sessions = Sessions::new(pool);
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let answers = match tokio::time::timeout(LIMIT, transact(&mut sessions, &batch, &mut head)).await {
            Ok(answers) => answers,
            Err(_) => Err(StoreError::Unavailable(format!(
                "the database did not answer within {} s",
                LIMIT.as_secs()
            ))),
        };
        match answers {
            Ok(answers) => {
                follow(&mut sessions, &batch, &answers);
                for (Waiting { reply, .. }, answer) in batch.drain(..).zip(answers) {
                    // A caller that is gone has lost its answer, not its write.
                    let _gone = reply.send(answer);
                }
            }
            Err(error) => {
                tracing::error!(error = %failed_text(&error), "a batch of writes failed");
                // Whether it was committed is not known, so neither is where the chain stands: this one ends here. A connection
                // that is still there may be in the middle of it, or to a server that takes no writes any more.
                sessions.lose();
                head = new_chain();
                for Waiting { reply, .. } in batch.drain(..) {
                    let _gone = reply.send(Err(StoreError::Unavailable(failed_text(&error))));
                }
            }
        }
    }
}

/// The audit chain of a process, or of what it writes after it lost sight of the one before.
fn new_chain() -> ChainHead {
    let mut random = [0; 16];
    // A process that has no randomness cannot make keys either; the chain's name need only be unique.
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        tracing::error!("cannot name the audit chain: the system has no randomness");
    }
    ChainHead::new(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
}

/// Keeps track of what somebody works on here.
fn follow(sessions: &mut Sessions, waiting: &[Waiting], answers: &[Result<Answer, StoreError>]) {
    for (Waiting { op, .. }, answer) in waiting.iter().zip(answers) {
        match (op, answer) {
            (Op::Claim(_), Ok(Answer::Claim(ClaimOutcome::Reserved(reservation)))) => {
                sessions.opened(reservation);
            }
            (Op::Issue { reservation, .. } | Op::Void(reservation), Ok(_)) => sessions.closed(reservation),
            // Refused: it is void or issued already.
            (Op::Void(reservation), Err(StoreError::Refused(_))) => sessions.closed(reservation),
            _ => {}
        }
    }
}

fn failed_text(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable(text) | StoreError::Corrupt(text) | StoreError::Refused(text) => text.clone(),
        StoreError::Saturated => error.to_string(),
    }
}

/// Applies a batch as one transaction; the chain head moves only with its commit.
async fn transact(
    sessions: &mut Sessions,
    waiting: &[Waiting],
    head: &mut ChainHead,
) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        if attempt > 1 {
            // Who is in each other's way would be again, if both began anew at once.
            tokio::time::sleep(pause(attempt)).await;
        }
        let Session { client, owner } = sessions.current().await?;
        let tx = client.transaction().await.map_err(failed)?;
        let mut batch = Batch {
            tx: &tx,
            head: head.clone(),
            owner: *owner,
            counts: claims::Counts::default(),
            alone: waiting.len() == 1,
        };
        let mut applied = apply_all(&mut batch, waiting).await;
        let moved = batch.head;
        if applied.as_ref().is_ok_and(|answers| is_news(waiting, answers))
            && let Err(error) = tx.batch_execute(news::ANNOUNCE).await
        {
            applied = Err(error);
        }
        match applied {
            Ok(answers) if refuses_all(&answers) => {
                tx.rollback().await.map_err(failed)?;
                return Ok(answers);
            }
            Ok(answers) => match tx.commit().await {
                Ok(()) => {
                    *head = moved;
                    return Ok(answers);
                }
                Err(error) if attempt < ATTEMPTS && is_conflict(&error) => {}
                Err(error) => return Err(failed(error)),
            },
            Err(error) => {
                // Dropping the transaction rolls it back.
                drop(tx);
                if attempt >= ATTEMPTS || !is_conflict(&error) {
                    return Err(failed(error));
                }
            }
        }
    }
}

/// How long to wait before an attempt: up to 10, 20, 40, 80 ms.
fn pause(attempt: usize) -> Duration {
    let mut random = [0];
    // Without randomness all wait for as short as can be.
    let _same = aws_lc_rs::rand::fill(&mut random);
    let [random] = random;
    Duration::from_micros((u64::from(random) * 40) << attempt.saturating_sub(2))
}

/// Whether this was one commit, and nothing of it is to stay.
fn refuses_all(answers: &[Result<Answer, StoreError>]) -> bool {
    matches!(answers, [Ok(Answer::Commit(outcome))] if *outcome != CommitOutcome::Done)
}

/// Whether other processes must hear of it.
fn is_news(waiting: &[Waiting], answers: &[Result<Answer, StoreError>]) -> bool {
    waiting.iter().zip(answers).any(|(Waiting { op, .. }, answer)| {
        let done = matches!(answer, Ok(Answer::Commit(CommitOutcome::Done)));
        done && matches!(op, Op::Commit(commit) if news::matters(commit))
    })
}

/// Another transaction got in the way; trying again is the cure.
fn is_conflict(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    error.code().is_some_and(|code| {
        *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE
    })
}

async fn apply_all(
    batch: &mut Batch<'_>,
    waiting: &[Waiting],
) -> Result<Vec<Result<Answer, StoreError>>, tokio_postgres::Error> {
    claims::lock_counts(batch.tx, waiting.iter().map(|waiting| &waiting.op)).await?;
    let mut answers = Vec::with_capacity(waiting.len());
    for Waiting { op, .. } in waiting {
        match apply(batch, op).await {
            Ok(answer) => answers.push(Ok(answer)),
            Err(Fault::Refused(error)) => answers.push(Err(error)),
            Err(Fault::Engine(error)) => return Err(error),
        }
    }
    batch.counts.write(batch.tx).await?;
    Ok(answers)
}

async fn apply(batch: &mut Batch<'_>, op: &Op) -> Result<Answer, Fault> {
    match op {
        Op::Commit(commit) => apply_commit(batch, commit).await.map(Answer::Commit),
        Op::Claim(claim) => claims::claim(batch, claim).await.map(Answer::Claim),
        Op::Issue {
            reservation,
            serial,
            audit,
        } => claims::issue(batch, reservation, serial, audit)
            .await
            .map(|()| Answer::Done),
        Op::Void(reservation) => claims::void(batch, reservation).await.map(|()| Answer::Done),
        Op::Spend { nonce, expires } => claims::spend(batch, nonce, *expires).await.map(Answer::Flag),
        Op::Checkpoint(checkpoint) => audit::put_checkpoint(batch, checkpoint).await.map(Answer::Flag),
        Op::Standing {
            brand,
            model,
            serials,
            standing,
            now,
            audit,
        } => {
            decisions::set_standing(batch, brand, model, serials, *standing, *now).await?;
            audit::append(batch, audit).await?;
            Ok(Answer::Done)
        }
        Op::Decide {
            device,
            device_key,
            approval,
            audit,
        } => {
            let decided = decisions::decide(batch, device, device_key, *approval).await?;
            if decided {
                audit::append(batch, audit).await?;
            }
            Ok(Answer::Flag(decided))
        }
        Op::VoidAbandoned(limit) => abandoned::void(batch, *limit).await.map(Answer::Voided),
        Op::Load(rows) => decisions::load(batch, rows).await.map(|()| Answer::Done),
    }
}

/// All parts or none: a savepoint takes back what a later part refuses.
async fn apply_commit(batch: &mut Batch<'_>, commit: &Commit) -> Result<CommitOutcome, Fault> {
    if !batch.alone {
        batch.tx.batch_execute("SAVEPOINT one_commit").await?;
    }
    let (head, counts) = (batch.head.clone(), batch.counts.clone());
    let outcome = async {
        // First, since only they can be refused with an error: nothing else has to be taken back then.
        if !commit.serials.is_empty() {
            decisions::load(batch, &commit.serials).await?;
        }
        if let Some(refused) = records::apply_all(batch.tx, &commit.records).await? {
            return Ok(refused);
        }
        for (assertion, rule) in &commit.assertions {
            if let Some(refused) = assertions::put(batch.tx, assertion, *rule).await? {
                return Ok(refused);
            }
        }
        for event in &commit.audit {
            audit::append(batch, event).await?;
        }
        Ok::<_, Fault>(CommitOutcome::Done)
    }
    .await?;
    if batch.alone {
        return Ok(outcome);
    }
    if outcome == CommitOutcome::Done {
        batch.tx.batch_execute("RELEASE SAVEPOINT one_commit").await?;
    } else {
        batch.tx.batch_execute("ROLLBACK TO SAVEPOINT one_commit").await?;
        (batch.head, batch.counts) = (head, counts);
    }
    Ok(outcome)
}
