//! The writer's connection, and how other processes know that it is gone.
//!
//! Every connection that writes holds an advisory lock of its own, under a random key; reservations carry that key. The
//! server gives the lock back when the connection ends, however that happens. So whoever gets the lock knows that
//! nobody works on those reservations any more. Writing and holding the lock are one connection on purpose: no
//! reservation is made by somebody who has lost the lock without knowing.

use std::collections::HashSet;

use deadpool_postgres::{ClientWrapper, Object, Pool};

use super::{connect, failed, signed};
use crate::domain::ident::DeviceId;
use crate::domain::vault::Reservation;
use crate::ports::StoreError;

/// A connection that holds its lock.
pub(super) struct Session {
    /// The connection. It never goes back into the pool: the lock would live on there.
    pub(super) client: ClientWrapper,
    /// The key of its lock.
    pub(super) owner: i64,
}

/// The sessions of one writer, one after the other.
pub(super) struct Sessions {
    pool: Pool,
    current: Option<Session>,
    /// The key of the last lock that was lost, until what was reserved under it is taken over.
    earlier: Option<i64>,
    /// What somebody here works on. A claim whose answer got lost with its connection is not among them: nobody knows of it,
    /// so it is left to whoever looks for abandoned reservations.
    open: HashSet<(DeviceId, u64)>,
}

impl Sessions {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            current: None,
            earlier: None,
            open: HashSet::new(),
        }
    }

    /// Somebody here works on a reservation now.
    pub(super) fn opened(&mut self, reservation: &Reservation) {
        self.open
            .insert((reservation.device.clone(), reservation.revision));
    }

    /// It was issued or given up.
    pub(super) fn closed(&mut self, reservation: &Reservation) {
        self.open
            .remove(&(reservation.device.clone(), reservation.revision));
    }

    /// Gives the connection up: what became of its last transaction is not known, or the server is no longer the one that
    /// takes writes.
    pub(super) fn lose(&mut self) {
        if let Some(session) = self.current.take() {
            self.earlier = Some(session.owner);
        }
    }

    /// The session to write with; a new one if the connection was lost.
    pub(super) async fn current(&mut self) -> Result<&mut Session, StoreError> {
        if self
            .current
            .as_ref()
            .is_some_and(|session| session.client.is_closed())
        {
            self.lose();
        }
        let session = match self.current.take() {
            Some(session) => session,
            None => {
                let session = begin(&self.pool).await?;
                if let Some(earlier) = self.earlier {
                    take_over(&session, earlier, &self.open).await?;
                    self.earlier = None;
                }
                session
            }
        };
        Ok(self.current.insert(session))
    }
}

/// Connects and takes a lock.
async fn begin(pool: &Pool) -> Result<Session, StoreError> {
    let client = Object::take(connect(pool).await?);
    let owner = random()?;
    // A commit that is only in memory would be no commit: what the server's settings say of that is not taken below `on`.
    let taken: bool = client
        .query_one(
            "SELECT pg_try_advisory_lock($1), CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') \
             THEN set_config('synchronous_commit', 'on', false) END",
            &[&owner],
        )
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if !taken {
        return Err(StoreError::Unavailable(
            "the key of the writer's lock is taken".to_owned(),
        ));
    }
    Ok(Session { client, owner })
}

/// Takes over what this writer works on and reserved in its `earlier` session. What others have voided meanwhile stays void.
async fn take_over(
    session: &Session,
    earlier: i64,
    open: &HashSet<(DeviceId, u64)>,
) -> Result<(), StoreError> {
    let column = |part: fn(&DeviceId) -> &str| open.iter().map(|(device, _)| part(device)).collect();
    let brands: Vec<&str> = column(|device| device.brand.as_str());
    let models: Vec<&str> = column(|device| device.model.as_str());
    let serials: Vec<&str> = column(|device| device.serial.as_str());
    let revisions: Vec<i64> = open.iter().map(|(_, revision)| signed(*revision)).collect();
    let reservations = session
        .client
        .execute(
            "UPDATE serial SET owner = $1 WHERE state = 'reserved' AND owner = $2 AND (brand_id, model, serial, revision) IN \
             (SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[]))",
            &[&session.owner, &earlier, &brands, &models, &serials, &revisions],
        )
        .await
        .map_err(failed)?;
    tracing::warn!(
        reservations,
        "the connection to the database was lost; there is a new one"
    );
    Ok(())
}

fn random() -> Result<i64, StoreError> {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => Ok(i64::from_ne_bytes(bytes)),
        Err(_) => Err(StoreError::Unavailable("the system has no randomness".to_owned())),
    }
}
