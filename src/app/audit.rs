//! The audit log: reading it, checking that nobody changed it, and signing checkpoints of it.
//!
//! What can be noticed: an entry that was edited, removed, moved or added in the middle, and a chain cut off before
//! the last checkpoint. Whoever can delete the newest checkpoints too leaves no trace in the database; a checkpoint
//! noted elsewhere (`audit verify` prints the last one, and the server logs each) tells.

pub mod copy;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::{App, BrandCtx, InstanceCtx, Refusal};
use crate::domain::access::Account;
use crate::domain::audit::{Actor, AuditEntry, AuditEvent, ChainHead, Checkpoint, entry_hash, hex};
use crate::domain::ident::{AccountId, Email};
use crate::domain::time::Timestamp;
use crate::ports::{AuditFilter, AuditLog};

/// Most entries of one page.
pub const MAX_PAGE: usize = 1000;
/// How often a checkpoint is made while entries come in.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Entries read at a time while verifying.
const BATCH: usize = 1000;
/// Checkpoints read at a time while verifying.
const CHECKPOINT_BATCH: usize = 1000;
/// Problems a report holds at most; one act of damage can spoil every later entry.
const MAX_PROBLEMS: usize = 100;

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only actions that start with this text.
    pub action_prefix: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Continue after this position.
    pub after: Option<u64>,
    /// At most this many; none or more than [`MAX_PAGE`] = [`MAX_PAGE`].
    pub limit: Option<usize>,
}

/// An entry as people read it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its place in the log; pass the last one as [`Wanted::after`] for the next page.
    pub position: u64,
    /// The entry.
    pub entry: AuditEntry,
    /// Its event; none if the text is damaged.
    pub event: Option<AuditEvent>,
    /// The actor's e-mail address, where it is an account that still exists.
    pub email: Option<Email>,
}

/// Entries about the brand, oldest first.
pub async fn list(app: &App, ctx: &BrandCtx, wanted: Wanted) -> Result<Vec<Line>, Refusal> {
    page(app, Some(ctx.brand().clone().into()), wanted).await
}

/// Entries about everything, oldest first.
pub async fn list_all(app: &App, _ctx: &InstanceCtx, wanted: Wanted) -> Result<Vec<Line>, Refusal> {
    page(app, None, wanted).await
}

async fn page(app: &App, brand: Option<AccountId>, wanted: Wanted) -> Result<Vec<Line>, Refusal> {
    let filter = AuditFilter {
        brand,
        action_prefix: wanted.action_prefix,
        since: wanted.since,
        after: wanted.after,
        limit: wanted.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE),
    };
    let mut emails: HashMap<AccountId, Option<Email>> = HashMap::new();
    let mut lines = Vec::new();
    for (position, entry) in app.storage.audit_entries(&filter).await? {
        let event: Option<AuditEvent> = serde_json::from_str(&entry.event).ok();
        let mut email = None;
        if let Some(Actor::Account(id)) = event.as_ref().map(|event| &event.actor) {
            if !emails.contains_key(id) {
                let account = app.storage.find::<Account>([id.as_str()]).await?;
                emails.insert(id.clone(), account.map(|found| found.record.email));
            }
            email = emails.get(id).cloned().flatten();
        }
        lines.push(Line {
            position,
            entry,
            event,
            email,
        });
    }
    Ok(lines)
}

/// What is wrong with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// What verifying found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Entries read.
    pub entries: u64,
    /// Chains read: one per start of a server or local command that wrote.
    pub chains: usize,
    /// Checkpoints read.
    pub checkpoints: u64,
    /// The last checkpoint; note it elsewhere to notice when the end of the log is cut off later.
    pub last: Option<Checkpoint>,
    /// Entries after the last checkpoint, whose removal would not be noticed yet.
    pub uncovered: u64,
    /// What is wrong; empty = nothing. At most 100.
    pub problems: Vec<Problem>,
}

impl Report {
    fn problem(&mut self, code: &'static str, message: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { code, message });
        }
    }
}

/// What each chain must hold: sequence → the hashes that were promised for it, with who promised.
type Promises = BTreeMap<String, BTreeMap<u64, Vec<(String, String)>>>;

/// Checks the whole log: every chain, every checkpoint. `known` is a checkpoint noted earlier (number, signature).
pub async fn verify(app: &App, _ctx: &InstanceCtx, known: Option<(u64, String)>) -> Result<Report, Refusal> {
    let key = SigningKey::from_bytes(&app.secrets.audit_seed).verifying_key();
    check_log(app.storage.as_ref(), &key, known.as_ref()).await
}

async fn check_log<L: AuditLog + ?Sized>(
    log: &L,
    key: &VerifyingKey,
    known: Option<&(u64, String)>,
) -> Result<Report, Refusal> {
    let mut report = Report::default();
    let mut promises = Promises::new();
    let mut covered: HashMap<String, u64> = HashMap::new();
    read_checkpoints(log, key, known, &mut report, &mut promises, &mut covered).await?;
    for head in log.heads().await? {
        let promised = promises.entry(head.writer).or_default();
        if head.sequence > 0 {
            promised
                .entry(head.sequence)
                .or_default()
                .push(("the index of chain ends".to_owned(), head.hash));
        }
    }
    report.chains = promises.len();
    for (writer, promised) in &promises {
        let end = read_chain(log, writer, promised, &mut report).await?;
        report.uncovered += end.saturating_sub(covered.get(writer).copied().unwrap_or(0));
    }
    Ok(report)
}

async fn read_checkpoints<L: AuditLog + ?Sized>(
    log: &L,
    key: &VerifyingKey,
    known: Option<&(u64, String)>,
    report: &mut Report,
    promises: &mut Promises,
    covered: &mut HashMap<String, u64>,
) -> Result<(), Refusal> {
    let mut next = 1;
    loop {
        let batch = log.checkpoints(next - 1, CHECKPOINT_BATCH).await?;
        let Some(last) = batch.last() else { break };
        let after = last.number.max(next);
        for checkpoint in batch {
            if checkpoint.number != next {
                report.problem(
                    "checkpoint-missing",
                    format!(
                        "checkpoint {next} is missing: the next one is {}",
                        checkpoint.number
                    ),
                );
            }
            next = checkpoint.number.saturating_add(1);
            check_signature(&checkpoint, key, report);
            if let Some((number, signature)) = known
                && checkpoint.number == *number
                && !checkpoint.signature.eq_ignore_ascii_case(signature)
            {
                report.problem(
                    "checkpoint-replaced",
                    format!("checkpoint {number} is not the one that was noted"),
                );
            }
            for head in &checkpoint.heads {
                let reached = covered.entry(head.writer.clone()).or_default();
                if head.sequence < *reached {
                    report.problem(
                        "checkpoint-order",
                        format!(
                            "checkpoint {} has an older end of chain {} than one before it",
                            checkpoint.number, head.writer
                        ),
                    );
                }
                *reached = head.sequence.max(*reached);
                let who = format!("checkpoint {}", checkpoint.number);
                let promised = promises.entry(head.writer.clone()).or_default();
                let at = promised.entry(head.sequence).or_default();
                // Several checkpoints that say the same need no second look.
                if !at.iter().any(|(_, hash)| *hash == head.hash) {
                    at.push((who, head.hash.clone()));
                }
            }
            report.checkpoints += 1;
            report.last = Some(checkpoint);
        }
        next = next.max(after.saturating_add(1));
    }
    if let Some((number, _)) = known
        && report.last.as_ref().is_none_or(|last| last.number < *number)
    {
        report.problem(
            "checkpoint-missing",
            format!("checkpoint {number}, which was noted, is missing: the end of the log was cut off"),
        );
    }
    Ok(())
}

fn check_signature(checkpoint: &Checkpoint, key: &VerifyingKey, report: &mut Report) {
    if checkpoint.public_key != hex(key.as_bytes()) {
        report.problem(
            "checkpoint-key",
            format!(
                "checkpoint {} is signed with a key that is not this instance's",
                checkpoint.number
            ),
        );
        return;
    }
    let signed = Checkpoint::signed_bytes(checkpoint.number, checkpoint.time, &checkpoint.heads);
    let good = unhex::<64>(&checkpoint.signature)
        .is_some_and(|bytes| key.verify_strict(&signed, &Signature::from_bytes(&bytes)).is_ok());
    if !good {
        report.problem(
            "checkpoint-signature",
            format!("checkpoint {} has a wrong signature", checkpoint.number),
        );
    }
}

/// Reads one chain; returns the number of its last entry.
async fn read_chain<L: AuditLog + ?Sized>(
    log: &L,
    writer: &str,
    promised: &BTreeMap<u64, Vec<(String, String)>>,
    report: &mut Report,
) -> Result<u64, Refusal> {
    let mut head = ChainHead::new(writer.to_owned());
    loop {
        let batch = log.chain(writer, head.sequence + 1, BATCH).await?;
        if batch.is_empty() {
            break;
        }
        for entry in batch {
            check_entry(&entry, &mut head, report);
            for (who, hash) in promised
                .get(&entry.sequence)
                .map(Vec::as_slice)
                .unwrap_or_default()
            {
                if *hash != entry.hash {
                    report.problem(
                        "entry-replaced",
                        format!(
                            "entry {} of chain {writer} is not the one {who} vouches for",
                            entry.sequence
                        ),
                    );
                }
            }
        }
    }
    for (sequence, vouchers) in promised.range(head.sequence + 1..) {
        let who: Vec<&str> = vouchers.iter().map(|(who, _)| who.as_str()).collect();
        report.problem(
            "chain-truncated",
            format!(
                "chain {writer} ends at entry {}, but {} vouches for entry {sequence}",
                head.sequence,
                who.join(", ")
            ),
        );
    }
    Ok(head.sequence)
}

fn check_entry(entry: &AuditEntry, head: &mut ChainHead, report: &mut Report) {
    let writer = head.writer.clone();
    let expected = head.sequence + 1;
    if entry.sequence != expected || entry.writer != writer {
        report.problem(
            "entry-missing",
            format!(
                "entry {expected} of chain {writer} is missing: entry {} stands in its place",
                entry.sequence
            ),
        );
    } else if entry.previous != head.hash {
        report.problem(
            "entry-misplaced",
            format!("entry {expected} of chain {writer} does not follow the entry before it"),
        );
    }
    if entry_hash(&entry.previous, &entry.writer, entry.sequence, &entry.event) != entry.hash {
        report.problem(
            "entry-changed",
            format!(
                "entry {} of chain {writer} was changed: its hash does not fit",
                entry.sequence
            ),
        );
    } else if serde_json::from_str::<AuditEvent>(&entry.event).is_err() {
        report.problem(
            "entry-unreadable",
            format!("entry {} of chain {writer} cannot be read", entry.sequence),
        );
    }
    // A lower number than expected must not make the walk start again.
    head.sequence = entry.sequence.max(expected);
    head.hash.clone_from(&entry.hash);
    report.entries += 1;
}

/// Makes checkpoints; remembers which ends of chains the last one covered, so that each covers only what moved.
#[derive(Debug, Default)]
pub struct Checkpoints {
    covered: HashMap<String, u64>,
}

impl Checkpoints {
    /// Signs where the chains stand now and stores it. None if nothing moved since the last one of this maker
    /// (its first covers every chain), or if another process was faster.
    pub async fn make(&mut self, app: &App) -> Result<Option<Checkpoint>, Refusal> {
        let mut heads = app.storage.heads().await?;
        heads.retain(|head| head.sequence > 0 && self.covered.get(&head.writer) != Some(&head.sequence));
        if heads.is_empty() {
            return Ok(None);
        }
        let last = app.storage.last_checkpoint().await?;
        if self.covered.is_empty() && last.as_ref().is_some_and(|last| last.heads == heads) {
            self.remember(&heads);
            return Ok(None);
        }
        let number = last.map_or(0, |last| last.number) + 1;
        let time = app.clock.now();
        let key = SigningKey::from_bytes(&app.secrets.audit_seed);
        let signature = key.sign(&Checkpoint::signed_bytes(number, time, &heads));
        let checkpoint = Checkpoint {
            number,
            time,
            heads,
            public_key: hex(key.verifying_key().as_bytes()),
            signature: hex(&signature.to_bytes()),
        };
        if !app.storage.put_checkpoint(checkpoint.clone()).await? {
            return Ok(None);
        }
        self.remember(&checkpoint.heads);
        // In the log too: a copy outside the database.
        tracing::info!(number, signature = checkpoint.signature, "audit checkpoint");
        Ok(Some(checkpoint))
    }

    fn remember(&mut self, heads: &[ChainHead]) {
        self.covered
            .extend(heads.iter().map(|head| (head.writer.clone(), head.sequence)));
    }
}

/// The bytes of exactly so many hexadecimal digits.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
