//! Copies of everything, out and in.

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc;

use super::encoding::{Key, Space};
use super::journal::Value;
use super::layers::View;
use super::snapshot::Snapshot;
use super::writer::{Answer, Transaction};
use super::{Database, Sled, assertions, audit, claims, decisions, registry};
use crate::ports::{AskedRow, Kind, Row, Rows, StoreError, Transfer, kinds_but_instance};

/// Rows of one piece, at most...
const PIECE_ROWS: usize = 500;
/// ...and bytes of their large parts, roughly.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that may wait for who takes them.
const WAITING: usize = 2;

/// What the keys of each part of a copy start with, in order.
fn sections() -> Vec<Vec<u8>> {
    let spaces = [
        Space::Assertion,
        Space::Row,
        Space::Standing,
        Space::Approval,
        Space::Entry,
        Space::Checkpoint,
        Space::SpentRequest,
        Space::NonceExpiry,
    ];
    kinds_but_instance()
        .map(registry::kind_prefix)
        .chain(spaces.map(|space| Key::new(space).bytes()))
        .chain([registry::kind_prefix(Kind::Instance)])
        .collect()
}

#[async_trait]
impl Transfer for Sled {
    async fn export(&self) -> Result<Rows, StoreError> {
        let snapshot = self
            .write(|tx| Ok(Answer::Unchanged(tx.snapshot(sections()))))
            .await?;
        let database = self.database()?;
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            let result = read(&database, &snapshot, &sender);
            if let Err(error) = result {
                // Who no longer listens does not want to know.
                drop(sender.blocking_send(Err(error)));
            }
        });
        Ok(stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        })
        .boxed())
    }

    async fn import(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        self.write(move |tx| {
            for row in rows {
                let section = row.section();
                if !put(tx, row)? {
                    return Err(StoreError::Refused(format!(
                        "a row of {section} is there already"
                    )));
                }
            }
            Ok(Answer::Durable(()))
        })
        .await
    }
}

/// Sends all rows, until the end or until nobody listens.
fn read(
    database: &Database,
    snapshot: &Snapshot,
    sender: &mpsc::Sender<Result<Vec<Row>, StoreError>>,
) -> Result<(), StoreError> {
    let view = database.writer.view();
    loop {
        let (mut rows, mut bytes) = (0, 0);
        let piece = snapshot.piece(view.layers(), |key, value| {
            rows += 1;
            bytes += value.size();
            // Requests for approval are few, and sorted below.
            key.first() == Some(&(Space::Approval as u8)) || rows < PIECE_ROWS && bytes < PIECE_BYTES
        })?;
        let Some(piece) = piece else { return Ok(()) };
        let piece = piece.iter().map(|(key, value)| row(view, key, value));
        let mut piece = piece.collect::<Result<Vec<Row>, StoreError>>()?;
        // Keys are in the order of the 48 bytes of a device key, a copy in that of its text.
        piece.sort_by_cached_key(|row| match row {
            Row::Approval(AskedRow { row, .. }) => Some((row.device.clone(), row.device_key.clone())),
            _ => None,
        });
        if sender.blocking_send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
}

fn row(view: View<'_>, key: &[u8], value: &Value) -> Result<Row, StoreError> {
    let space = key.first().copied().unwrap_or_default();
    let is = |other: Space| space == other as u8;
    if is(Space::Record) {
        registry::export(view, key, value).map(Row::Record)
    } else if is(Space::Assertion) {
        assertions::export(view, key, value).map(Row::Assertion)
    } else if is(Space::Row) {
        claims::export(view, key, value).map(Row::Serial)
    } else if is(Space::Standing) {
        decisions::standing_row(key, value).map(Row::Standing)
    } else if is(Space::Approval) {
        decisions::export_asked(key, value).map(Row::Approval)
    } else if is(Space::Entry) {
        audit::export(view, key, value).map(Row::Audit)
    } else if is(Space::Checkpoint) {
        audit::checkpoint(view, value).map(Row::Checkpoint)
    } else {
        claims::export_spent(key).map(Row::Spent)
    }
}

/// Adds one row; false if its place is taken.
fn put(tx: &mut Transaction<'_>, row: Row) -> Result<bool, StoreError> {
    match row {
        Row::Record(row) => registry::import(tx, row),
        Row::Assertion(assertion) => assertions::import(tx, assertion),
        Row::Serial(row) => claims::import(tx, row),
        Row::Standing(row) => decisions::import_standing(tx, &row),
        Row::Approval(row) => decisions::import_asked(tx, &row),
        Row::Audit(row) => audit::import(tx, &row),
        Row::Checkpoint(checkpoint) => audit::put_checkpoint(tx, &checkpoint),
        Row::Spent(row) => {
            claims::import_spent(tx, &row);
            Ok(true)
        }
    }
}
