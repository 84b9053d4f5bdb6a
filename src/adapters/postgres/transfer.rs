//! Copies of everything, out and in.

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{IsolationLevel, Row as Found};

use super::claims::{Counts, approval_name, approval_of, standing_name, standing_of};
use super::writer::Fault;
use super::{
    Postgres, assertions, audit, corrupt, decisions, failed, ledger, records, schema, signed, unsigned,
};
use crate::domain::audit::{AuditEvent, Checkpoint};
use crate::domain::ident::DeviceId;
use crate::domain::time::Timestamp;
use crate::domain::vault::{SerialRow, SerialState};
use crate::ports::{
    ApprovalRow, AskedRow, AuditRow, Kind, RecordRow, Row, Rows, SpentRow, StandingRow, StoreError, Transfer,
    kinds_but_instance,
};

/// Rows of one piece.
const PIECE: i32 = 500;
/// Pieces that may wait for who takes them.
const WAITING: usize = 2;

type Read = Box<dyn Fn(&Found) -> Result<Row, StoreError> + Send + Sync>;

/// How rows of one table are read.
struct Section {
    sql: String,
    values: Vec<String>,
    read: Read,
}

impl Section {
    fn new(
        sql: impl Into<String>,
        read: impl Fn(&Found) -> Result<Row, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            sql: sql.into(),
            values: Vec::new(),
            read: Box::new(read),
        }
    }

    fn records(kind: Kind) -> Self {
        let columns = kind.key_parts();
        let all = columns.join(", ");
        let owned = format!("FROM unique_value WHERE kind = $1 AND owner = ARRAY[{all}]");
        let mut section = Self::new(
            format!(
                "SELECT version, doc::text, {all}, ARRAY(SELECT field {owned} ORDER BY field, value), \
                 ARRAY(SELECT value {owned} ORDER BY field, value) FROM {table} ORDER BY {all}",
                table = kind.name()
            ),
            move |row| record(kind, row),
        );
        section.values.push(kind.name().to_owned());
        section
    }
}

/// All tables, in the order of a copy.
fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = kinds_but_instance().map(Section::records).collect();
    sections.extend([
        Section::new(
            format!(
                "SELECT {} FROM assertion ORDER BY type, primary_key, format",
                assertions::COLUMNS
            ),
            |row| assertions::stored(row).map(Row::Assertion),
        ),
        Section::new(
            format!(
                "SELECT {} FROM serial ORDER BY brand_id, model, position",
                ledger::COLUMNS
            ),
            |row| serial(row).map(Row::Serial),
        ),
        Section::new(
            "SELECT brand_id, model, serial, standing, since FROM standing ORDER BY brand_id, model, serial",
            standing,
        ),
        Section::new(
            "SELECT brand_id, model, serial, device_key, approval, since, nonce FROM approval \
             ORDER BY brand_id, model, serial, device_key",
            asked,
        ),
        Section::new(
            format!("SELECT {} FROM audit_entry ORDER BY position", audit::COLUMNS),
            |row| {
                let (position, entry) = audit::entry(row)?;
                Ok(Row::Audit(AuditRow { position, entry }))
            },
        ),
        Section::new("SELECT doc FROM audit_checkpoint ORDER BY number", |row| {
            audit::checkpoint(row).map(Row::Checkpoint)
        }),
        Section::new("SELECT nonce, expires FROM spent_nonce", spent),
        Section::records(Kind::Instance),
    ]);
    sections
}

fn record(kind: Kind, row: &Found) -> Result<Row, StoreError> {
    let parts = kind.key_parts().len();
    let read = || -> Result<_, tokio_postgres::Error> {
        let fields: Vec<String> = row.try_get(parts + 2)?;
        let values: Vec<String> = row.try_get(parts + 3)?;
        let key = (0..parts).map(|place| row.try_get(place + 2));
        Ok(RecordRow {
            kind,
            key: crate::ports::Key(key.collect::<Result<_, _>>()?),
            version: unsigned(row.try_get(0)?),
            unique: fields.into_iter().zip(values).collect(),
            json: row.try_get(1)?,
        })
    };
    read().map(Row::Record).map_err(failed)
}

/// Nobody will complete what is only reserved.
fn serial(row: &Found) -> Result<SerialRow, StoreError> {
    let mut row = ledger::serial_row(row)?;
    if row.state == SerialState::Reserved {
        row.state = SerialState::Void;
    }
    Ok(row)
}

fn standing(row: &Found) -> Result<Row, StoreError> {
    let name: &str = row.try_get(3).map_err(failed)?;
    Ok(Row::Standing(StandingRow {
        device: ledger::device(row, 0)?,
        standing: standing_of(name).ok_or_else(|| corrupt(format!("standing {name:?}")))?,
        since: Timestamp::from_unix(row.try_get(4).map_err(failed)?),
    }))
}

fn asked(row: &Found) -> Result<Row, StoreError> {
    let key: &str = row.try_get(3).map_err(failed)?;
    let approval: &str = row.try_get(4).map_err(failed)?;
    let request: Option<&[u8]> = row.try_get(6).map_err(failed)?;
    Ok(Row::Approval(AskedRow {
        row: ApprovalRow {
            device: ledger::device(row, 0)?,
            device_key: key.parse().map_err(corrupt)?,
            approval: approval_of(approval).ok_or_else(|| corrupt(format!("approval {approval:?}")))?,
            since: Timestamp::from_unix(row.try_get(5).map_err(failed)?),
        },
        request: request.map(nonce).transpose()?,
    }))
}

fn spent(row: &Found) -> Result<Row, StoreError> {
    Ok(Row::Spent(SpentRow {
        nonce: nonce(row.try_get(0).map_err(failed)?)?,
        expires: Timestamp::from_unix(row.try_get(1).map_err(failed)?),
    }))
}

fn nonce(bytes: &[u8]) -> Result<[u8; 16], StoreError> {
    bytes
        .try_into()
        .map_err(|_| corrupt("a nonce is not of 16 bytes"))
}

#[async_trait]
impl Transfer for Postgres {
    async fn export(&self) -> Result<Rows, StoreError> {
        let mut client = self.client().await?;
        let (begun, beginning) = tokio::sync::oneshot::channel();
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            // One transaction sees one moment, however long it takes.
            let tx = client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()
                .await;
            let tx = match tx {
                Ok(tx) => tx,
                Err(error) => return drop(begun.send(Err(failed(error)))),
            };
            // The moment is that of the first statement.
            let first = schema::is_all_known(&*tx).await;
            let went = first.is_ok();
            drop(begun.send(first));
            if went && let Err(error) = send_all(&tx, &sender).await {
                drop(sender.send(Err(error)).await);
            }
        });
        beginning
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the copy was broken off".to_owned())))?;
        Ok(stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        })
        .boxed())
    }

    async fn import(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await.map_err(failed)?;
        let mut counts = Counts::default();
        for row in rows {
            let section = row.section();
            match put(&tx, row, &mut counts).await {
                Ok(true) => {}
                Ok(false) => {
                    return Err(StoreError::Refused(format!(
                        "a row of {section} is there already"
                    )));
                }
                Err(Fault::Engine(error)) => return Err(failed(error)),
                Err(Fault::Refused(error)) => return Err(error),
            }
        }
        counts.write(&tx).await.map_err(failed)?;
        for table in ["serial", "audit_entry"] {
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'position'), top) \
                 FROM (SELECT max(position) AS top FROM {table}) t WHERE top IS NOT NULL"
            );
            tx.query_opt(&sql, &[]).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }
}

/// Sends all rows, until the end or until nobody listens.
async fn send_all(
    tx: &Transaction<'_>,
    sender: &mpsc::Sender<Result<Vec<Row>, StoreError>>,
) -> Result<(), StoreError> {
    for Section { sql, values, read } in sections() {
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let portal = tx.bind(&sql, &values).await.map_err(failed)?;
        loop {
            let rows = tx.query_portal(&portal, PIECE).await.map_err(failed)?;
            if rows.is_empty() {
                break;
            }
            let piece = rows.iter().map(&read).collect::<Result<Vec<Row>, StoreError>>()?;
            if sender.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Adds one row; false if its place is taken.
async fn put(tx: &Transaction<'_>, row: Row, counts: &mut Counts) -> Result<bool, Fault> {
    match row {
        Row::Record(row) => records::import(tx, &row).await,
        Row::Assertion(assertion) => assertions::import(tx, &assertion).await,
        Row::Serial(row) => decisions::import(tx, &row, counts).await,
        Row::Standing(row) => put_standing(tx, &row).await,
        Row::Approval(row) => put_asked(tx, &row).await,
        Row::Audit(row) => put_entry(tx, &row).await,
        Row::Checkpoint(checkpoint) => put_checkpoint(tx, &checkpoint).await,
        Row::Spent(SpentRow { nonce, expires }) => {
            let statement = tx
                .prepare_cached(
                    "INSERT INTO spent_nonce (nonce, expires) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .await?;
            tx.execute(&statement, &[&nonce.as_slice(), &expires.unix()])
                .await?;
            Ok(true)
        }
    }
}

fn names(device: &DeviceId) -> [&str; 3] {
    super::claims::device_values(device)
}

async fn put_standing(tx: &Transaction<'_>, row: &StandingRow) -> Result<bool, Fault> {
    let [brand, model, serial] = names(&row.device);
    let statement = tx
        .prepare_cached(
            "INSERT INTO standing (brand_id, model, serial, standing, since) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
        )
        .await?;
    let values: [&(dyn ToSql + Sync); 5] = [
        &brand,
        &model,
        &serial,
        &standing_name(row.standing),
        &row.since.unix(),
    ];
    Ok(tx.execute(&statement, &values).await? == 1)
}

async fn put_asked(tx: &Transaction<'_>, AskedRow { row, request }: &AskedRow) -> Result<bool, Fault> {
    let [brand, model, serial] = names(&row.device);
    let statement = tx
        .prepare_cached(
            "INSERT INTO approval (brand_id, model, serial, device_key, approval, nonce, since) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .await?;
    let nonce = request.as_ref().map(<[u8; 16]>::as_slice);
    let values: [&(dyn ToSql + Sync); 7] = [
        &brand,
        &model,
        &serial,
        &row.device_key.as_str(),
        &approval_name(row.approval),
        &nonce,
        &row.since.unix(),
    ];
    Ok(tx.execute(&statement, &values).await? == 1)
}

async fn put_entry(tx: &Transaction<'_>, AuditRow { position, entry }: &AuditRow) -> Result<bool, Fault> {
    let event: AuditEvent = serde_json::from_str(&entry.event)
        .map_err(|error| Fault::Refused(StoreError::Refused(format!("audit entry {position}: {error}"))))?;
    let statement = tx
        .prepare_cached(
            "INSERT INTO audit_entry (position, writer, sequence, previous, hash, event, time, brand, action) \
             OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .await?;
    let brand = event.brand.as_ref().map(|brand| brand.as_str());
    let (position, sequence, time) = (signed(*position), signed(entry.sequence), event.time.unix());
    let values: [&(dyn ToSql + Sync); 9] = [
        &position,
        &entry.writer,
        &sequence,
        &entry.previous,
        &entry.hash,
        &entry.event,
        &time,
        &brand,
        &event.action,
    ];
    Ok(tx.execute(&statement, &values).await? == 1)
}

async fn put_checkpoint(tx: &Transaction<'_>, checkpoint: &Checkpoint) -> Result<bool, Fault> {
    let added = tx
        .execute(
            "INSERT INTO audit_checkpoint (number, doc) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&signed(checkpoint.number), &Json(checkpoint)],
        )
        .await?;
    Ok(added == 1)
}
