//! PostgreSQL behind the storage port: real tables, constraints and transactions (see `migrations/`).
//!
//! Reads go through a pool. Writes of one process go through one writer task that applies whatever waits as one
//! transaction, so that concurrent writers share one commit. Other processes may write to the same database: rows and
//! advisory locks order the claims of one device, unique indexes do the rest; `session` says how processes know that
//! one of them is gone, `news` how they hear what others changed.

mod abandoned;
mod address;
mod assertions;
mod audit;
mod changes;
mod check;
mod claims;
mod decisions;
mod ledger;
mod news;
mod records;
mod schema;
mod session;
mod transfer;
mod upkeep;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};

use crate::domain::audit::Checkpoint;
use crate::domain::time::Timestamp;
use crate::ports::{Commit, CommitOutcome, Storage, StoreError};

use address::Address;
use news::News;
use upkeep::Upkeep;
use writer::{Answer, Op, Writer};

/// Connections kept for reads, besides the writer's.
const POOL_SIZE: usize = 16;
/// How long a read waits for a connection. Longer means that the database is away or far too slow: devices come back later.
const PATIENCE: Duration = Duration::from_secs(5);

/// A PostgreSQL database as storage.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
    writer: Writer,
    /// Commits of this process so far, and announcements of others.
    commits: Arc<AtomicU64>,
    news: News,
    upkeep: Upkeep,
}

impl Postgres {
    /// Connects to `url` (`postgres://…`, see `address`), brings the schema up to date and starts the writer.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached or refuses; `Corrupt` if the schema is newer than this program can work
    /// with (see `schema`).
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        let manager = Manager::from_config(
            address.config.clone(),
            address.tls.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE))
            .build()
            .map_err(|e| StoreError::Unavailable(format!("cannot set up the connection pool: {e}")))?;
        schema::prepare(&pool).await?;
        let writer = Writer::start(pool.clone());
        let upkeep = Upkeep::start(pool.clone());
        let commits = Arc::<AtomicU64>::default();
        let news = News::start(address, Arc::clone(&commits));
        news.wait().await;
        Ok(Self {
            pool,
            writer,
            news,
            commits,
            upkeep,
        })
    }

    /// Clears away now what nobody needs any more, as is done every minute.
    ///
    /// # Errors
    /// `Unavailable` if the database does not answer within a time.
    pub async fn clear(&self) -> Result<(), StoreError> {
        upkeep::clear_within(&self.pool).await
    }

    async fn client(&self) -> Result<Object, StoreError> {
        connect(&self.pool).await
    }
}

async fn connect(pool: &Pool) -> Result<Object, StoreError> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => failed(error),
        other => StoreError::Unavailable(other.to_string()),
    })
}

/// What a failed statement means to the caller: everything is worth another try.
#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` takes")]
fn failed(error: tokio_postgres::Error) -> StoreError {
    let text = match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => with_reasons(&error),
    };
    StoreError::Unavailable(text)
}

/// An error with what it comes from: that a connection failed says little without why.
fn with_reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut reason = error.source();
    while let Some(inner) = reason {
        let why = inner.to_string();
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        reason = inner.source();
    }
    text
}

/// What a value that cannot be right means.
fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

/// Numbers are kept as signed 64 bit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// And read back as unsigned.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[async_trait]
impl Storage for Postgres {
    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        match self.writer.submit(Op::Commit(commit)).await? {
            Answer::Commit(outcome) => {
                if outcome == CommitOutcome::Done {
                    self.commits.fetch_add(1, Ordering::AcqRel);
                }
                Ok(outcome)
            }
            Answer::Claim(_) | Answer::Flag(_) | Answer::Voided(_) | Answer::Done => {
                Err(corrupt("the writer answered out of turn"))
            }
        }
    }

    async fn spend(&self, nonce: [u8; 16], expires: Timestamp) -> Result<bool, StoreError> {
        self.writer.submit_flag(Op::Spend { nonce, expires }).await
    }

    async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<bool, StoreError> {
        self.writer.submit_flag(Op::Checkpoint(checkpoint)).await
    }

    fn generation(&self) -> Option<u64> {
        // While others cannot be heard, nothing that was read may be taken for what is there.
        self.news.listens().then(|| self.commits.load(Ordering::Acquire))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        client
            .query_one("SELECT version FROM schema_format", &[])
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.news.stop();
        self.upkeep.stop();
        self.writer.close().await;
        self.pool.close();
        Ok(())
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        check::check(&*self.client().await?).await
    }
}
