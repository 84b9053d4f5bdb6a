//! Reading the serial ledger.

use async_trait::async_trait;
use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::claims::{approval_of, standing_of};
use super::writer::{Answer, Op};
use super::{Postgres, corrupt, failed, signed, unsigned};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::Approval;
use crate::domain::vault::{ClaimOutcome, Reservation, SerialClaim, SerialRow, SerialState, Standing};
use crate::ports::{
    ApprovalRow, IssuedSerial, LedgerStats, SerialFilter, SerialLedger, StandingRow, StoreError,
};

/// What [`serial_row`] reads.
pub(super) const COLUMNS: &str =
    "position, brand_id, model, serial, revision, device_key, sign_key, created_at, state, assertion";

#[async_trait]
impl SerialLedger for Postgres {
    async fn claim(&self, claim: SerialClaim) -> Result<ClaimOutcome, StoreError> {
        match self.writer.submit(Op::Claim(claim)).await? {
            Answer::Claim(outcome) => Ok(outcome),
            Answer::Commit(_) | Answer::Flag(_) | Answer::Voided(_) | Answer::Done => {
                Err(corrupt("the writer answered out of turn"))
            }
        }
    }

    async fn issue(
        &self,
        reservation: &Reservation,
        serial: IssuedSerial,
        audit: AuditEvent,
    ) -> Result<(), StoreError> {
        self.writer
            .submit_done(Op::Issue {
                reservation: reservation.clone(),
                serial,
                audit,
            })
            .await
    }

    async fn void(&self, reservation: &Reservation) -> Result<(), StoreError> {
        self.writer.submit_done(Op::Void(reservation.clone())).await
    }

    async fn void_abandoned(&self, limit: usize) -> Result<Vec<Reservation>, StoreError> {
        match self.writer.submit(Op::VoidAbandoned(limit)).await? {
            Answer::Voided(reservations) => Ok(reservations),
            Answer::Claim(_) | Answer::Commit(_) | Answer::Flag(_) | Answer::Done => {
                Err(corrupt("the writer answered out of turn"))
            }
        }
    }

    async fn serials(&self, filter: &SerialFilter) -> Result<Vec<SerialRow>, StoreError> {
        let mut conditions = Conditions::of(filter);
        if let Some(before) = filter.before {
            conditions.add("position <", signed(before));
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM serial WHERE {} ORDER BY position DESC LIMIT {}",
            conditions.sql, filter.limit
        );
        let client = self.client().await?;
        let rows = client.query(&sql, &conditions.values()).await.map_err(failed)?;
        rows.iter().map(serial_row).collect()
    }

    async fn count_serials(&self, filter: &SerialFilter) -> Result<u64, StoreError> {
        let conditions = Conditions::of(filter);
        let sql = format!("SELECT count(*) FROM serial WHERE {}", conditions.sql);
        let client = self.client().await?;
        let row = client
            .query_one(&sql, &conditions.values())
            .await
            .map_err(failed)?;
        row.try_get(0).map(unsigned).map_err(failed)
    }

    async fn history(&self, device: &DeviceId) -> Result<Vec<SerialRow>, StoreError> {
        self.device_rows(device, "ORDER BY revision DESC").await
    }

    async fn latest(&self, device: &DeviceId) -> Result<Option<SerialRow>, StoreError> {
        let rows = self
            .device_rows(device, "AND state = 'issued' ORDER BY revision DESC LIMIT 1")
            .await?;
        Ok(rows.into_iter().next())
    }

    async fn stats(&self, brand: &BrandId, model: Option<&ModelName>) -> Result<LedgerStats, StoreError> {
        let client = self.client().await?;
        let model = model.map(ModelName::as_str);
        let row = client
            .query_one(
                "SELECT coalesce(sum(issued), 0)::bigint, coalesce(sum(void), 0)::bigint, \
                 coalesce(sum(serials), 0)::bigint FROM model_counter \
                 WHERE brand_id = $1 AND ($2::text IS NULL OR model = $2)",
                &[&brand.as_str(), &model],
            )
            .await
            .map_err(failed)?;
        let number = |place: usize| row.try_get(place).map(unsigned).map_err(failed);
        Ok(LedgerStats {
            issued: number(0)?,
            void: number(1)?,
            serials: number(2)?,
        })
    }

    async fn set_standing(
        &self,
        brand: &BrandId,
        model: &ModelName,
        serials: &[SerialNumber],
        standing: Option<Standing>,
        now: Timestamp,
        audit: AuditEvent,
    ) -> Result<(), StoreError> {
        let (brand, model, serials) = (brand.clone(), model.clone(), serials.to_vec());
        self.writer
            .submit_done(Op::Standing {
                brand,
                model,
                serials,
                standing,
                now,
                audit,
            })
            .await
    }

    async fn standing(&self, device: &DeviceId) -> Result<Option<Standing>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "SELECT standing FROM standing WHERE brand_id = $1 AND model = $2 AND serial = $3",
            )
            .await
            .map_err(failed)?;
        let row = client
            .query_opt(
                &statement,
                &[
                    &device.brand.as_str(),
                    &device.model.as_str(),
                    &device.serial.as_str(),
                ],
            )
            .await
            .map_err(failed)?;
        row.map(|row| row.try_get(0).map_err(failed).and_then(judged))
            .transpose()
    }

    async fn standings(
        &self,
        brand: &BrandId,
        model: &ModelName,
        after: Option<&SerialNumber>,
        limit: usize,
    ) -> Result<Vec<StandingRow>, StoreError> {
        let client = self.client().await?;
        let after = after.map_or("", SerialNumber::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = client
            .query(
                "SELECT serial, standing, since FROM standing WHERE brand_id = $1 AND model = $2 AND serial > $3 \
                 ORDER BY serial LIMIT $4",
                &[&brand.as_str(), &model.as_str(), &after, &limit],
            )
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let serial: &str = row.try_get(0).map_err(failed)?;
                Ok(StandingRow {
                    device: DeviceId {
                        brand: brand.clone(),
                        model: model.clone(),
                        serial: serial.parse().map_err(corrupt)?,
                    },
                    standing: row.try_get(1).map_err(failed).and_then(judged)?,
                    since: Timestamp::from_unix(row.try_get(2).map_err(failed)?),
                })
            })
            .collect()
    }

    async fn approvals(&self, brand: &BrandId) -> Result<Vec<ApprovalRow>, StoreError> {
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT brand_id, model, serial, device_key, approval, since FROM approval \
                 WHERE brand_id = $1 AND approval = 'pending' ORDER BY since, model, serial, device_key",
                &[&brand.as_str()],
            )
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let key: &str = row.try_get(3).map_err(failed)?;
                let approval: &str = row.try_get(4).map_err(failed)?;
                Ok(ApprovalRow {
                    device: device(row, 0)?,
                    device_key: key.parse().map_err(corrupt)?,
                    approval: approval_of(approval)
                        .ok_or_else(|| corrupt(format!("approval {approval:?}")))?,
                    since: Timestamp::from_unix(row.try_get(5).map_err(failed)?),
                })
            })
            .collect()
    }

    async fn decide(
        &self,
        device: &DeviceId,
        device_key: &KeyId,
        approval: Approval,
        audit: AuditEvent,
    ) -> Result<bool, StoreError> {
        let (device, device_key) = (device.clone(), device_key.clone());
        self.writer
            .submit_flag(Op::Decide {
                device,
                device_key,
                approval,
                audit,
            })
            .await
    }

    async fn load(&self, rows: Vec<SerialRow>) -> Result<(), StoreError> {
        self.writer.submit_done(Op::Load(rows)).await
    }
}

impl Postgres {
    /// Rows of one device; `rest` narrows and orders them.
    async fn device_rows(&self, device: &DeviceId, rest: &str) -> Result<Vec<SerialRow>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM serial WHERE brand_id = $1 AND model = $2 AND serial = $3 {rest}"
            ))
            .await
            .map_err(failed)?;
        let rows = client
            .query(
                &statement,
                &[
                    &device.brand.as_str(),
                    &device.model.as_str(),
                    &device.serial.as_str(),
                ],
            )
            .await
            .map_err(failed)?;
        rows.iter().map(serial_row).collect()
    }
}

fn judged(name: &str) -> Result<Standing, StoreError> {
    standing_of(name).ok_or_else(|| corrupt(format!("standing {name:?}")))
}

pub(super) fn device(row: &Row, first: usize) -> Result<DeviceId, StoreError> {
    let text = |place: usize| row.try_get::<_, &str>(first + place).map_err(failed);
    Ok(DeviceId {
        brand: text(0)?.parse().map_err(corrupt)?,
        model: text(1)?.parse().map_err(corrupt)?,
        serial: text(2)?.parse().map_err(corrupt)?,
    })
}

/// Reads a row of [`COLUMNS`].
pub(super) fn serial_row(row: &Row) -> Result<SerialRow, StoreError> {
    let position: i64 = row.try_get(0).map_err(failed)?;
    let revision: i64 = row.try_get(4).map_err(failed)?;
    let device_key: &str = row.try_get(5).map_err(failed)?;
    let sign_key: Option<&str> = row.try_get(6).map_err(failed)?;
    let state: &str = row.try_get(8).map_err(failed)?;
    let assertion: Vec<u8> = row.try_get(9).map_err(failed)?;
    Ok(SerialRow {
        position: unsigned(position),
        device: device(row, 1)?,
        revision: unsigned(revision),
        device_key: device_key.parse().map_err(corrupt)?,
        sign_key: sign_key.map(str::parse::<KeyId>).transpose().map_err(corrupt)?,
        created_at: Timestamp::from_unix(row.try_get(7).map_err(failed)?),
        state: match state {
            "reserved" => SerialState::Reserved,
            "issued" => SerialState::Issued,
            "void" => SerialState::Void,
            other => return Err(corrupt(format!("serial state {other:?}"))),
        },
        assertion: Bytes::from(assertion),
    })
}

/// A WHERE clause and its parameters.
struct Conditions {
    sql: String,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Conditions {
    fn of(filter: &SerialFilter) -> Self {
        let mut conditions = Self {
            sql: "true".to_owned(),
            values: Vec::new(),
        };
        conditions.add("brand_id =", filter.brand.to_string());
        if !filter.models.is_empty() {
            let models: Vec<String> = filter.models.iter().map(ToString::to_string).collect();
            conditions.values.push(Box::new(models));
            conditions
                .sql
                .push_str(&format!(" AND model = ANY(${})", conditions.values.len()));
        }
        if let Some(prefix) = &filter.serial_prefix {
            conditions.values.push(Box::new(prefix.clone()));
            // The two bounds let the index be used; starts_with alone decides.
            conditions.sql.push_str(&format!(
                " AND serial >= ${0} AND starts_with(serial, ${0})",
                conditions.values.len()
            ));
        }
        if let Some(key) = &filter.device_key {
            conditions.add("device_key =", key.to_string());
        }
        if let Some(since) = filter.since {
            conditions.add("created_at >=", since.unix());
        }
        if let Some(until) = filter.until {
            conditions.add("created_at <", until.unix());
        }
        conditions
    }

    fn add(&mut self, comparison: &str, value: impl ToSql + Sync + Send + 'static) {
        self.values.push(Box::new(value));
        self.sql
            .push_str(&format!(" AND {comparison} ${}", self.values.len()));
    }

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values
            .iter()
            .map(|value| value.as_ref() as &(dyn ToSql + Sync))
            .collect()
    }
}
