//! Records and their unique values.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;

use super::Memory;
use crate::domain::ident::AccountId;
use crate::ports::{Change, CommitOutcome, Expect, Key, Kind, RecordRow, Registry, StoreError, StoredRecord};

#[derive(Clone, Debug)]
struct Row {
    record: StoredRecord,
    unique: Vec<(String, String)>,
}

type Unique = (Kind, String, String);

#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    rows: BTreeMap<(Kind, Key), Row>,
    owners: BTreeMap<Unique, Key>,
}

/// What a commit does to the records; later changes of one commit see the earlier ones.
#[derive(Debug, Default)]
pub(super) struct Plan {
    rows: BTreeMap<(Kind, Key), Option<Row>>,
    owners: BTreeMap<Unique, Option<Key>>,
}

impl Records {
    pub(super) fn plan(&self, changes: &[Change]) -> Result<Plan, CommitOutcome> {
        let mut plan = Plan::default();
        for change in changes {
            self.plan_change(&mut plan, change)?;
        }
        Ok(plan)
    }

    fn plan_change(&self, plan: &mut Plan, change: &Change) -> Result<(), CommitOutcome> {
        let (kind, key) = (change.kind, &change.key);
        let place = (kind, key.clone());
        let current = match plan.rows.get(&place) {
            Some(planned) => planned.clone(),
            None => self.rows.get(&place).cloned(),
        };
        let version = current.as_ref().map_or(0, |row| row.record.version);
        let expected = match change.expect {
            Expect::Absent => 0,
            Expect::Version(version) => version.max(1),
        };
        if version != expected {
            return Err(CommitOutcome::Conflict {
                kind,
                key: key.clone(),
            });
        }
        for (field, value) in current.into_iter().flat_map(|row| row.unique) {
            plan.owners.insert((kind, field, value), None);
        }
        for (field, value) in &change.unique {
            let unique = (kind, (*field).to_owned(), value.clone());
            let owner = match plan.owners.get(&unique) {
                Some(planned) => planned.as_ref(),
                None => self.owners.get(&unique),
            };
            if owner.is_some_and(|owner| owner != key) {
                return Err(CommitOutcome::Taken { kind, field });
            }
            plan.owners.insert(unique, Some(key.clone()));
        }
        let row = change.json.clone().map(|json| Row {
            record: StoredRecord {
                key: key.clone(),
                version: version + 1,
                json,
            },
            unique: change
                .unique
                .iter()
                .map(|(field, value)| ((*field).to_owned(), value.clone()))
                .collect(),
        });
        plan.rows.insert(place, row);
        Ok(())
    }

    /// The record with this key.
    pub(super) fn get(&self, kind: Kind, key: &Key) -> Option<StoredRecord> {
        self.rows.get(&(kind, key.clone())).map(|row| row.record.clone())
    }

    pub(super) fn apply(&mut self, plan: Plan) {
        for (place, row) in plan.rows {
            match row {
                Some(row) => drop(self.rows.insert(place, row)),
                None => drop(self.rows.remove(&place)),
            }
        }
        for (unique, owner) in plan.owners {
            match owner {
                Some(key) => drop(self.owners.insert(unique, key)),
                None => drop(self.owners.remove(&unique)),
            }
        }
    }
}

impl Records {
    /// The records of a kind with their unique values, ordered by key.
    pub(super) fn export(&self, kind: Kind) -> impl Iterator<Item = RecordRow> {
        let rows = self.rows.range((kind, Key(Vec::new()))..);
        rows.take_while(move |((other, _), _)| *other == kind)
            .map(move |((_, key), row)| {
                let mut unique = row.unique.clone();
                unique.sort();
                RecordRow {
                    kind,
                    key: key.clone(),
                    version: row.record.version,
                    unique,
                    json: String::from_utf8_lossy(&row.record.json).into_owned(),
                }
            })
    }

    /// Puts a record as it was elsewhere; false if it, or one of its unique values, is there.
    pub(super) fn import(&mut self, row: RecordRow) -> bool {
        let RecordRow {
            kind,
            key,
            version,
            unique,
            json,
        } = row;
        let owned = |(field, value): &(String, String)| (kind, field.clone(), value.clone());
        let taken = unique.iter().any(|pair| self.owners.contains_key(&owned(pair)));
        if taken || self.rows.contains_key(&(kind, key.clone())) {
            return false;
        }
        self.owners
            .extend(unique.iter().map(|pair| (owned(pair), key.clone())));
        let record = StoredRecord {
            key: key.clone(),
            version,
            json: json.into_bytes(),
        };
        self.rows.insert((kind, key), Row { record, unique });
        true
    }
}

#[async_trait]
impl Registry for Memory {
    async fn record(&self, kind: Kind, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        tokio::task::yield_now().await; // others take their turn, as with an engine that works on disk
        Ok(self.lock()?.records.get(kind, key))
    }

    async fn by_unique(
        &self,
        kind: Kind,
        field: &'static str,
        value: &str,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let state = self.lock()?;
        let Some(key) = state
            .records
            .owners
            .get(&(kind, field.to_owned(), value.to_owned()))
        else {
            return Ok(None);
        };
        Ok(state
            .records
            .rows
            .get(&(kind, key.clone()))
            .map(|row| row.record.clone()))
    }

    async fn records(&self, kind: Kind, prefix: &Key) -> Result<Vec<StoredRecord>, StoreError> {
        tokio::task::yield_now().await;
        let state = self.lock()?;
        let from = (kind, prefix.clone());
        let matching = state
            .records
            .rows
            .range(from..)
            .take_while(|((k, key), _)| *k == kind && key.0.starts_with(&prefix.0));
        Ok(matching.map(|(_, row)| row.record.clone()).collect())
    }

    async fn records_after(
        &self,
        kind: Kind,
        prefix: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        tokio::task::yield_now().await;
        let state = self.lock()?;
        let from = match after {
            Some(after) => Bound::Excluded((kind, after.clone())),
            None => Bound::Included((kind, prefix.clone())),
        };
        let matching = state
            .records
            .rows
            .range((from, Bound::Unbounded))
            .take_while(|((k, key), _)| *k == kind && key.0.starts_with(&prefix.0));
        Ok(matching.take(limit).map(|(_, row)| row.record.clone()).collect())
    }

    async fn records_of(&self, kind: Kind, account: &AccountId) -> Result<Vec<StoredRecord>, StoreError> {
        tokio::task::yield_now().await;
        let state = self.lock()?;
        let rows = state.records.rows.range((kind, Key(Vec::new()))..);
        let matching = rows
            .take_while(|((k, _), _)| *k == kind)
            .filter(|(_, row)| row.record.is_of(account));
        Ok(matching.map(|(_, row)| row.record.clone()).collect())
    }
}
