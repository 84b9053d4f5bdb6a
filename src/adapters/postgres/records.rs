//! The registry in tables: one per kind, unique values in a table of their own.

use std::collections::BTreeSet;

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use super::writer::Fault;
use super::{Postgres, failed, signed, unsigned};
use crate::domain::ident::AccountId;
use crate::ports::{Change, CommitOutcome, Expect, Key, Kind, RecordRow, Registry, StoreError, StoredRecord};

/// JSON exactly as it was written: the column type `json` keeps the text.
type Document = Json<Box<serde_json::value::RawValue>>;

#[async_trait]
impl Registry for Postgres {
    async fn record(&self, kind: Kind, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        Ok(self.select(kind, key).await?.into_iter().next())
    }

    async fn by_unique(
        &self,
        kind: Kind,
        field: &'static str,
        value: &str,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("SELECT owner FROM unique_value WHERE kind = $1 AND field = $2 AND value = $3")
            .await
            .map_err(failed)?;
        let Some(row) = client
            .query_opt(&statement, &[&kind.name(), &field, &value])
            .await
            .map_err(failed)?
        else {
            return Ok(None);
        };
        let owner: Vec<String> = row.try_get(0).map_err(failed)?;
        drop(client);
        self.record(kind, &Key(owner)).await
    }

    async fn records(&self, kind: Kind, prefix: &Key) -> Result<Vec<StoredRecord>, StoreError> {
        self.select(kind, prefix).await
    }

    async fn records_after(
        &self,
        kind: Kind,
        prefix: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let columns = kind.key_parts();
        let given = columns.get(..prefix.0.len()).unwrap_or(columns);
        let mut values: Vec<&(dyn ToSql + Sync)> =
            prefix.0.iter().map(|part| part as &(dyn ToSql + Sync)).collect();
        let mut conditions = conditions(given);
        if let Some(after) = after {
            let word = if given.is_empty() { " WHERE" } else { " AND" };
            let places = (1..=columns.len()).map(|place| format!("${}", given.len() + place));
            let places = places.collect::<Vec<_>>().join(", ");
            conditions.push_str(&format!("{word} ({}) > ({places})", columns.join(", ")));
            values.extend(after.0.iter().map(|part| part as &(dyn ToSql + Sync)));
        }
        let limit = signed(limit as u64);
        values.push(&limit);
        let sql = format!(
            "SELECT version, doc, {all} FROM {table}{conditions} ORDER BY {all} LIMIT ${}",
            values.len(),
            all = columns.join(", "),
            table = kind.name(),
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await.map_err(failed)?;
        let rows = client.query(&statement, &values).await.map_err(failed)?;
        rows.iter().map(|row| record(row, columns.len())).collect()
    }

    async fn records_of(&self, kind: Kind, account: &AccountId) -> Result<Vec<StoredRecord>, StoreError> {
        let columns = kind.key_parts();
        let sql = format!(
            "SELECT version, doc, {all} FROM {table} WHERE {of} = $1 ORDER BY {all}",
            all = columns.join(", "),
            table = kind.name(),
            of = if columns.contains(&"account_id") {
                "account_id"
            } else {
                "doc->>'account-id'"
            },
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await.map_err(failed)?;
        let rows = client
            .query(&statement, &[&account.as_str()])
            .await
            .map_err(failed)?;
        rows.iter().map(|row| record(row, columns.len())).collect()
    }
}

impl Postgres {
    async fn select(&self, kind: Kind, prefix: &Key) -> Result<Vec<StoredRecord>, StoreError> {
        let columns = kind.key_parts();
        let given = columns.get(..prefix.0.len()).unwrap_or(columns);
        let sql = format!(
            "SELECT version, doc, {all} FROM {table}{conditions} ORDER BY {all}",
            all = columns.join(", "),
            table = kind.name(),
            conditions = conditions(given),
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await.map_err(failed)?;
        let values: Vec<&(dyn ToSql + Sync)> =
            prefix.0.iter().map(|part| part as &(dyn ToSql + Sync)).collect();
        let rows = client.query(&statement, &values).await.map_err(failed)?;
        rows.iter().map(|row| record(row, columns.len())).collect()
    }
}

fn conditions(columns: &[&str]) -> String {
    let mut text = String::new();
    for (place, column) in columns.iter().enumerate() {
        let word = if place == 0 { " WHERE" } else { " AND" };
        text.push_str(&format!("{word} {column} = ${}", place + 1));
    }
    text
}

pub(super) fn record(row: &Row, parts: usize) -> Result<StoredRecord, StoreError> {
    let version: i64 = row.try_get(0).map_err(failed)?;
    let document: Document = row.try_get(1).map_err(failed)?;
    let key = (0..parts)
        .map(|place| row.try_get(place + 2))
        .collect::<Result<Vec<String>, _>>()
        .map_err(failed)?;
    Ok(StoredRecord {
        key: Key(key),
        version: unsigned(version),
        json: document.0.get().as_bytes().to_vec(),
    })
}

/// Records that are replaced by one statement.
const RUN: usize = 2_000;

/// Applies changes in their order; the refusal of the first that does not apply.
pub(super) async fn apply_all(
    tx: &Transaction<'_>,
    changes: &[Change],
) -> Result<Option<CommitOutcome>, Fault> {
    let replaces = |change: &Change| {
        let whole = change.kind.key_parts().len() == change.key.0.len();
        whole && change.json.is_some() && change.expect != Expect::Absent
    };
    for alike in changes.chunk_by(|one, next| one.kind == next.kind && replaces(one) == replaces(next)) {
        for run in alike.chunks(RUN) {
            let refused = match run.first() {
                Some(first) if replaces(first) => replace(tx, first.kind, run).await?,
                _ => {
                    let mut refused = None;
                    for change in run {
                        refused = apply(tx, change).await?;
                        if refused.is_some() {
                            break;
                        }
                    }
                    refused
                }
            };
            if refused.is_some() {
                return Ok(refused);
            }
        }
    }
    Ok(None)
}

/// The parts of keys, each in a list of its own.
pub(super) fn columns<'k>(keys: &[&'k Vec<String>], parts: usize) -> Vec<Vec<&'k str>> {
    let part = |place: usize| {
        keys.iter()
            .map(move |key: &&'k Vec<String>| key.get(place).map_or("", String::as_str))
    };
    (0..parts).map(|place| part(place).collect()).collect()
}

/// Replaces records of one kind: what devices report comes by the hundred, and an operator may move a hundred thousand of them.
async fn replace(tx: &Transaction<'_>, kind: Kind, run: &[Change]) -> Result<Option<CommitOutcome>, Fault> {
    let names = kind.key_parts();
    let keys: Vec<&Vec<String>> = run.iter().map(|change| &change.key.0).collect();
    let lists = columns(&keys, names.len());
    let versions: Vec<i64> = run
        .iter()
        .map(|change| match change.expect {
            Expect::Version(version) => signed(version),
            Expect::Absent => 0,
        })
        .collect();
    let text = |change: &'_ Change| match change.json.as_deref().map(str::from_utf8) {
        Some(Ok(text)) => Ok(text.to_owned()),
        Some(Err(error)) => Err(Fault::Refused(super::corrupt(error))),
        None => Err(Fault::Refused(super::corrupt("a record without content"))),
    };
    let documents = run.iter().map(text).collect::<Result<Vec<String>, Fault>>()?;
    let each = |piece: &dyn Fn(&str) -> String, between: &str| {
        names
            .iter()
            .map(|name| piece(name))
            .collect::<Vec<_>>()
            .join(between)
    };
    let sql = format!(
        "UPDATE {table} t SET version = t.version + 1, doc = n.doc::json \
         FROM unnest({lists}, ${version}::int8[], ${doc}::text[]) AS n({names}, version, doc) \
         WHERE {same} AND t.version = n.version RETURNING {returned}",
        table = kind.name(),
        lists = (1..=names.len())
            .map(|place| format!("${place}::text[]"))
            .collect::<Vec<_>>()
            .join(", "),
        version = names.len() + 1,
        doc = names.len() + 2,
        names = names.join(", "),
        same = each(&|name| format!("t.{name} = n.{name}"), " AND "),
        returned = each(&|name| format!("t.{name}"), ", "),
    );
    let mut values: Vec<&(dyn ToSql + Sync)> = lists.iter().map(|list| list as &(dyn ToSql + Sync)).collect();
    values.push(&versions);
    values.push(&documents);
    let statement = tx.prepare_cached(&sql).await?;
    let rows = tx.query(&statement, &values).await?;
    if rows.len() != run.len() {
        let mut replaced = BTreeSet::new();
        for row in &rows {
            let key = (0..names.len()).map(|place| row.try_get(place));
            replaced.insert(key.collect::<Result<Vec<String>, _>>()?);
        }
        let other = keys.iter().find(|key| !replaced.contains(**key));
        return Ok(Some(CommitOutcome::Conflict {
            kind,
            key: Key(other.map_or_else(Vec::new, |key| Vec::clone(key))),
        }));
    }
    if owned(tx, kind, &lists).await? == wanted(run) {
        return Ok(None);
    }
    for change in run {
        if let Some(refused) = renew_unique(tx, change).await? {
            return Ok(Some(refused));
        }
    }
    Ok(None)
}

/// Whose a unique value is: owner, field, value.
type Unique = BTreeSet<(Vec<String>, String, String)>;

/// The unique values that records have.
async fn owned(tx: &Transaction<'_>, kind: Kind, lists: &[Vec<&str>]) -> Result<Unique, Fault> {
    let names = kind.key_parts().join(", ");
    let places = (2..lists.len() + 2).map(|place| format!("${place}::text[]"));
    let sql = format!(
        "SELECT u.owner, u.field, u.value FROM unnest({}) AS k({names}) \
         JOIN unique_value u ON u.kind = $1 AND u.owner = ARRAY[{}]",
        places.collect::<Vec<_>>().join(", "),
        kind.key_parts()
            .iter()
            .map(|name| format!("k.{name}"))
            .collect::<Vec<_>>()
            .join(", "),
    );
    let table = kind.name();
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&table];
    values.extend(lists.iter().map(|list| list as &(dyn ToSql + Sync)));
    let statement = tx.prepare_cached(&sql).await?;
    let mut owned = Unique::new();
    for row in tx.query(&statement, &values).await? {
        owned.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    }
    Ok(owned)
}

/// Those they are to have.
fn wanted(run: &[Change]) -> Unique {
    run.iter()
        .flat_map(|change| {
            let owner = |(field, value): &(&'static str, String)| {
                (change.key.0.clone(), (*field).to_owned(), value.clone())
            };
            change.unique.iter().map(owner)
        })
        .collect()
}

/// Gives a record the unique values it is to have, in place of those it has.
async fn renew_unique(tx: &Transaction<'_>, change: &Change) -> Result<Option<CommitOutcome>, Fault> {
    if change.expect != Expect::Absent {
        let statement = tx
            .prepare_cached("DELETE FROM unique_value WHERE kind = $1 AND owner = $2")
            .await?;
        tx.execute(&statement, &[&change.kind.name(), &change.key.0])
            .await?;
    }
    for (field, value) in &change.unique {
        if !add_unique(tx, change.kind, field, value, &change.key).await? {
            return Ok(Some(CommitOutcome::Taken {
                kind: change.kind,
                field,
            }));
        }
    }
    Ok(None)
}

/// Applies a change that makes or deletes a record; the refusal if it does not apply.
async fn apply(tx: &Transaction<'_>, change: &Change) -> Result<Option<CommitOutcome>, Fault> {
    let conflict = || CommitOutcome::Conflict {
        kind: change.kind,
        key: change.key.clone(),
    };
    let columns = change.kind.key_parts();
    if columns.len() != change.key.0.len() {
        return Ok(Some(conflict()));
    }
    let document: Option<Document> = match &change.json {
        None => None,
        Some(json) => Some(Json(
            serde_json::from_slice(json).map_err(|e| Fault::Refused(super::corrupt(e)))?,
        )),
    };
    let table = change.kind.name();
    let mut values: Vec<&(dyn ToSql + Sync)> = change
        .key
        .0
        .iter()
        .map(|part| part as &(dyn ToSql + Sync))
        .collect();
    let count = columns.len();
    let version;
    let sql = match (&change.expect, &document) {
        (Expect::Absent, None) => return Ok(Some(conflict())),
        (Expect::Absent, Some(document)) => {
            values.push(document);
            let places = (1..=count)
                .map(|place| format!("${place}"))
                .collect::<Vec<_>>()
                .join(", ");
            format!(
                "INSERT INTO {table} ({}, version, doc) VALUES ({places}, 1, ${}) ON CONFLICT DO NOTHING",
                columns.join(", "),
                count + 1
            )
        }
        // See [`replace`].
        (Expect::Version(_), Some(_)) => return Ok(Some(conflict())),
        (Expect::Version(expected), None) => {
            version = signed(*expected);
            values.push(&version);
            format!(
                "DELETE FROM {table}{} AND version = ${}",
                conditions(columns),
                count + 1
            )
        }
    };
    let statement = tx.prepare_cached(&sql).await?;
    if tx.execute(&statement, &values).await? != 1 {
        return Ok(Some(conflict()));
    }
    renew_unique(tx, change).await
}

/// Puts a record as it was elsewhere; false if it, or one of its unique values, is there.
pub(super) async fn import(tx: &Transaction<'_>, row: &RecordRow) -> Result<bool, Fault> {
    let columns = row.kind.key_parts();
    if columns.len() != row.key.0.len() {
        return Ok(false);
    }
    let document: Document =
        Json(serde_json::from_str(&row.json).map_err(|e| Fault::Refused(super::corrupt(e)))?);
    let version = signed(row.version);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&version, &document];
    values.extend(row.key.0.iter().map(|part| part as &(dyn ToSql + Sync)));
    let places = (1..=values.len()).map(|place| format!("${place}"));
    let sql = format!(
        "INSERT INTO {} (version, doc, {}) VALUES ({}) ON CONFLICT DO NOTHING",
        row.kind.name(),
        columns.join(", "),
        places.collect::<Vec<_>>().join(", ")
    );
    let statement = tx.prepare_cached(&sql).await?;
    let mut added = tx.execute(&statement, &values).await? == 1;
    for (field, value) in &row.unique {
        added &= add_unique(tx, row.kind, field, value, &row.key).await?;
    }
    Ok(added)
}

/// Gives a unique value to a record; false if it belongs to another.
async fn add_unique(
    tx: &Transaction<'_>,
    kind: Kind,
    field: &str,
    value: &str,
    owner: &Key,
) -> Result<bool, Fault> {
    let statement = tx
        .prepare_cached(
            "INSERT INTO unique_value (kind, field, value, owner) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .await?;
    let added = tx
        .execute(&statement, &[&kind.name(), &field, &value, &owner.0])
        .await?;
    Ok(added == 1)
}
