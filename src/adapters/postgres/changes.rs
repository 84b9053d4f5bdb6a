//! What changed of the fleet, in a log that triggers write (`V11__fleet_changes.sql`). A mark is a snapshot of the server: what
//! it does not see is new. So nothing is missed whose transaction began early and ended late, and nobody waits for long ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Object, Transaction};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, IsolationLevel};

use super::claims::standing_of;
use super::records::{columns, record};
use super::{Postgres, corrupt, failed};
use crate::domain::ident::DeviceId;
use crate::domain::vault::Standing;
use crate::ports::{ChangeLog, Changes, FOLLOWED, Kind, Mark, StoreError, StoredRecord};

/// Changes that are told at once; where there are more, reading everything anew costs less.
const MOST: usize = 150_000;
/// Rows that are looked up in one statement.
const PIECE: usize = 10_000;
/// How long it may take to tell whether there are changes, and to read them. Much changes at once where somebody moves many devices,
/// or nobody could ask for a while.
const LOOK: Duration = Duration::from_secs(2);
const READ: Duration = Duration::from_secs(60);
/// The table of what operators judge; not a kind of records.
const STANDING: &str = "standing";

/// The transactions whose changes the snapshot $1 does not see.
const UNSEEN: &str = "FROM fleet_change WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot) \
                      AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)";

/// The server since its last start: after a failover or a restore, numbers of transactions may come again.
const SERVER: &str = "extract(epoch FROM pg_postmaster_start_time())::text";

#[async_trait]
impl ChangeLog for Postgres {
    async fn mark(&self) -> Result<Option<Mark>, StoreError> {
        let client = self.client().await?;
        let sql = format!("SELECT {SERVER} || ' ' || pg_current_snapshot()::text");
        let row = client.query_one(&sql, &[]).await.map_err(failed)?;
        Ok(Some(Mark(row.try_get(0).map_err(failed)?)))
    }

    async fn changes(&self, since: &Mark) -> Result<Option<Changes>, StoreError> {
        let mut client = self.client().await?;
        let looked = match tokio::time::timeout(LOOK, look(&**client, since)).await {
            Ok(looked) => looked?,
            Err(_) => return Err(gone(client)),
        };
        let Some((mark, more)) = looked else {
            return Ok(None);
        };
        if !more {
            return Ok(Some(Changes {
                mark,
                records: Vec::new(),
                standings: Vec::new(),
            }));
        }
        match tokio::time::timeout(READ, read_all(&mut client, since)).await {
            Ok(changes) => changes,
            Err(_) => Err(gone(client)),
        }
    }
}

/// The connection stays out of the pool: whoever came next would wait for what it is still at.
fn gone(client: Object) -> StoreError {
    drop(Object::take(client));
    StoreError::Unavailable("it does not answer".to_owned())
}

/// All that changed, as of one moment.
async fn read_all(client: &mut ClientWrapper, since: &Mark) -> Result<Option<Changes>, StoreError> {
    let tx = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    let changes = match look(&*tx, since).await? {
        Some((mark, _)) => read(&tx, since, mark).await?,
        None => None,
    };
    tx.commit().await.map_err(failed)?;
    Ok(changes)
}

fn snapshot(mark: &Mark) -> Result<(&str, &str), StoreError> {
    mark.0
        .split_once(' ')
        .ok_or_else(|| corrupt("a mark of another storage"))
}

/// The present moment, and whether there are changes since the mark; none if some may have been cleared away.
async fn look(client: &impl GenericClient, since: &Mark) -> Result<Option<(Mark, bool)>, StoreError> {
    let (server, since) = snapshot(since)?;
    let sql = format!(
        "SELECT {SERVER}, pg_current_snapshot()::text, EXISTS (SELECT 1 {UNSEEN}), \
         (SELECT xid FROM fleet_change_gone) >= pg_snapshot_xmin($1::text::pg_snapshot)"
    );
    // Not prepared: a plan for any snapshot reads all of the log, one for this snapshot only what is behind it.
    let row = client
        .query_typed_one(&sql, &[(&since, Type::TEXT)])
        .await
        .map_err(failed)?;
    let same: String = row.try_get(0).map_err(failed)?;
    let now: String = row.try_get(1).map_err(failed)?;
    let (more, gone): (bool, bool) = (row.try_get(2).map_err(failed)?, row.try_get(3).map_err(failed)?);
    Ok((same == server && !gone).then(|| (Mark(format!("{same} {now}")), more)))
}

/// The keys that changed, by table.
type Keys = BTreeMap<String, BTreeSet<Vec<String>>>;

async fn read(tx: &Transaction<'_>, since: &Mark, mark: Mark) -> Result<Option<Changes>, StoreError> {
    let (_, snapshot) = snapshot(since)?;
    let sql = format!("SELECT kind, key {UNSEEN} LIMIT {MOST} + 1");
    let rows = tx
        .query_typed(&sql, &[(&snapshot, Type::TEXT)])
        .await
        .map_err(failed)?;
    if rows.len() > MOST {
        return Ok(None);
    }
    let mut keys = Keys::new();
    for row in rows {
        let (kind, key) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        keys.entry(kind).or_default().insert(key);
    }
    // What belongs to a device comes with its place: who hears of it for the first time knows nothing of it.
    if let Some(placed) = keys.get(Kind::FleetDevice.name()).cloned() {
        for table in [Kind::Device.name(), STANDING] {
            keys.entry(table.to_owned())
                .or_default()
                .extend(placed.iter().cloned());
        }
    }
    let of = |table: &str| keys.get(table).into_iter().flatten().collect::<Vec<_>>();
    let (mut records, mut standings) = (Vec::new(), Vec::new());
    for kind in FOLLOWED {
        for piece in of(kind.name()).chunks(PIECE) {
            let found = rows_of(tx, *kind, piece).await?;
            records.extend(found.into_iter().map(|found| (*kind, found)));
        }
    }
    for piece in of(STANDING).chunks(PIECE) {
        standings.extend(judged(tx, piece).await?);
    }
    Ok(Some(Changes {
        mark,
        records,
        standings,
    }))
}

/// `unnest($1::text[], ...) AS k(...)`.
fn unnested(names: &[&str]) -> String {
    let lists: Vec<String> = (1..=names.len())
        .map(|place| format!("${place}::text[]"))
        .collect();
    format!("unnest({}) AS k({})", lists.join(", "), names.join(", "))
}

async fn rows_of(
    tx: &Transaction<'_>,
    kind: Kind,
    keys: &[&Vec<String>],
) -> Result<Vec<StoredRecord>, StoreError> {
    let names = kind.key_parts();
    let of = |table: &str| {
        names
            .iter()
            .map(|name| format!("{table}.{name}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let sql = format!(
        "SELECT r.version, r.doc, {record} FROM {keys} JOIN {table} r ON ({record}) = ({key})",
        record = of("r"),
        key = of("k"),
        keys = unnested(names),
        table = kind.name(),
    );
    let lists = columns(keys, names.len());
    let values: Vec<&(dyn ToSql + Sync)> = lists.iter().map(|list| list as &(dyn ToSql + Sync)).collect();
    let statement = tx.prepare_cached(&sql).await.map_err(failed)?;
    let rows = tx.query(&statement, &values).await.map_err(failed)?;
    rows.iter().map(|row| record(row, names.len())).collect()
}

async fn judged(
    tx: &Transaction<'_>,
    keys: &[&Vec<String>],
) -> Result<Vec<(DeviceId, Option<Standing>)>, StoreError> {
    let sql = format!(
        "SELECT k.brand_id, k.model, k.serial, s.standing FROM {} \
         LEFT JOIN standing s ON (s.brand_id, s.model, s.serial) = (k.brand_id, k.model, k.serial)",
        unnested(&["brand_id", "model", "serial"])
    );
    let lists = columns(keys, 3);
    let values: Vec<&(dyn ToSql + Sync)> = lists.iter().map(|list| list as &(dyn ToSql + Sync)).collect();
    let statement = tx.prepare_cached(&sql).await.map_err(failed)?;
    let mut found = Vec::with_capacity(keys.len());
    for row in tx.query(&statement, &values).await.map_err(failed)? {
        let text = |place| row.try_get::<_, String>(place).map_err(failed);
        let device = DeviceId {
            brand: text(0)?.parse().map_err(corrupt)?,
            model: text(1)?.parse().map_err(corrupt)?,
            serial: text(2)?.parse().map_err(corrupt)?,
        };
        let standing: Option<String> = row.try_get(3).map_err(failed)?;
        found.push((device, standing.and_then(|text| standing_of(&text))));
    }
    Ok(found)
}
