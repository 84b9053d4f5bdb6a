//! Copies of everything, out and in.

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::{Memory, State};
use crate::ports::{Kind, Row, Rows, SpentRow, StoreError, Transfer, kinds_but_instance};

/// Rows of one piece.
const PIECE: usize = 500;

impl State {
    fn rows(&self) -> Vec<Row> {
        let records = |kind| self.records.export(kind).map(Row::Record);
        let spent = self.ledger.spent().chain(&self.nonces).map(|(nonce, expires)| {
            Row::Spent(SpentRow {
                nonce: *nonce,
                expires: *expires,
            })
        });
        kinds_but_instance()
            .flat_map(records)
            .chain(self.assertions.export().into_iter().map(Row::Assertion))
            .chain(self.ledger.export())
            .chain(self.journal.export())
            .chain(spent)
            .chain(records(Kind::Instance))
            .collect()
    }

    /// Adds one row; false if its place is taken.
    fn import(&mut self, row: Row) -> Result<bool, StoreError> {
        Ok(match row {
            Row::Record(row) => self.records.import(row),
            Row::Assertion(assertion) => self.assertions.import(assertion),
            Row::Serial(row) => self.ledger.import(row),
            Row::Standing(row) => self.ledger.import_standing(row),
            Row::Approval(row) => self.ledger.import_asked(row),
            Row::Audit(row) => self.journal.import(row)?,
            Row::Checkpoint(checkpoint) => self.journal.put_checkpoint(checkpoint),
            Row::Spent(SpentRow { nonce, expires }) => {
                self.ledger.import_spent(nonce, expires);
                self.nonces.insert(nonce, expires);
                true
            }
        })
    }
}

#[async_trait]
impl Transfer for Memory {
    async fn export(&self) -> Result<Rows, StoreError> {
        let rows = self.lock()?.rows();
        let pieces: Vec<_> = rows.chunks(PIECE).map(|piece| Ok(piece.to_vec())).collect();
        Ok(stream::iter(pieces).boxed())
    }

    async fn import(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        // On a copy: all of them or none.
        let mut filled = state.clone();
        for row in rows {
            let section = row.section();
            if !filled.import(row)? {
                return Err(StoreError::Refused(format!(
                    "a row of {section} is there already"
                )));
            }
        }
        *state = filled;
        Ok(())
    }
}
