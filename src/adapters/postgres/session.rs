//! The writer's connection, and how other processes know that it is gone.
//!
//! Every connection that writes holds an advisory lock of its own, under a random key; reservations carry that key. The
//! server gives the lock back when the connection ends, however that happens. So whoever gets the lock knows that
//! nobody works on those reservations any more. Writing and holding the lock are one connection on purpose: no
//! reservation is made by somebody who has lost the lock without knowing.

use deadpool_postgres::{ClientWrapper, Object, Pool};

use super::{connect, failed};
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
}

impl Sessions {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool, current: None }
    }

    /// The session to write with; a new one if the connection was lost.
    pub(super) async fn current(&mut self) -> Result<&mut Session, StoreError> {
        let lost = match self.current.take() {
            Some(session) if !session.client.is_closed() => {
                return Ok(self.current.insert(session));
            }
            lost => lost,
        };
        let earlier = lost.as_ref().map(|session| session.owner);
        match begin(&self.pool, earlier).await {
            Ok(session) => Ok(self.current.insert(session)),
            Err(error) => {
                // Its key is still needed: the next one takes the reservations over.
                self.current = lost;
                Err(error)
            }
        }
    }
}

/// Connects, takes a lock, and takes over what this writer reserved in its `earlier` session. What others have voided
/// meanwhile stays void.
async fn begin(pool: &Pool, earlier: Option<i64>) -> Result<Session, StoreError> {
    let client = Object::take(connect(pool).await?);
    let owner = random()?;
    let taken: bool = client
        .query_one("SELECT pg_try_advisory_lock($1)", &[&owner])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if !taken {
        return Err(StoreError::Unavailable(
            "the key of the writer's lock is taken".to_owned(),
        ));
    }
    if let Some(earlier) = earlier {
        let taken_over = client
            .execute(
                "UPDATE serial SET owner = $1 WHERE state = 'reserved' AND owner = $2",
                &[&owner, &earlier],
            )
            .await
            .map_err(failed)?;
        tracing::warn!(
            reservations = taken_over,
            "the connection to the database was lost; there is a new one"
        );
    }
    Ok(Session { client, owner })
}

fn random() -> Result<i64, StoreError> {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => Ok(i64::from_ne_bytes(bytes)),
        Err(_) => Err(StoreError::Unavailable("the system has no randomness".to_owned())),
    }
}
