//! PostgreSQL behind the storage port: real tables, constraints and transactions (see `migrations/`).
//!
//! Reads go through a pool. Writes of one process go through one writer task that applies whatever waits as one
//! transaction, so that concurrent writers share one commit. Other processes may write to the same database: rows and
//! advisory locks order the claims of one device, unique indexes do the rest; `session` says how processes know that
//! one of them is gone, `news` how they hear what others changed.

mod abandoned;
mod assertions;
mod audit;
mod check;
mod claims;
mod decisions;
mod ledger;
mod news;
mod records;
mod session;
mod transfer;
mod writer;

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio_postgres::NoTls;

use crate::domain::audit::Checkpoint;
use crate::domain::time::Timestamp;
use crate::ports::{Commit, CommitOutcome, Storage, StoreError};

use news::News;
use writer::{Answer, Op, Writer};

mod embedded {
    refinery::embed_migrations!("src/adapters/postgres/migrations");
}

/// Connections kept for reads, besides the writer's.
const POOL_SIZE: usize = 16;
/// The schema version this binary works with.
const FORMAT: i32 = 10;

/// A PostgreSQL database as storage.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
    writer: Writer,
    /// Commits of this process so far, and announcements of others.
    commits: Arc<AtomicU64>,
    news: News,
}

impl Postgres {
    /// Connects to `url` (`postgres://…`), brings the schema up to date and starts the writer.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached or refuses; `Corrupt` if the schema is newer than this binary.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let config = tokio_postgres::Config::from_str(url)
            .map_err(|e| StoreError::Unavailable(format!("cannot read the database URL: {e}")))?;
        let listener = config.clone();
        let manager = Manager::from_config(
            config,
            NoTls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .build()
            .map_err(|e| StoreError::Unavailable(format!("cannot set up the connection pool: {e}")))?;
        migrate(&pool).await?;
        let writer = Writer::start(pool.clone());
        let commits = Arc::<AtomicU64>::default();
        let news = News::start(listener, Arc::clone(&commits));
        news.wait().await;
        Ok(Self {
            pool,
            writer,
            news,
            commits,
        })
    }

    async fn client(&self) -> Result<Object, StoreError> {
        connect(&self.pool).await
    }
}

async fn connect(pool: &Pool) -> Result<Object, StoreError> {
    pool.get()
        .await
        .map_err(|e| StoreError::Unavailable(e.to_string()))
}

async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    let mut client = connect(pool).await?;
    // Two processes may start at once: the second waits here and then finds nothing to do.
    client
        .execute("SELECT pg_advisory_lock(7234091501)", &[])
        .await
        .map_err(failed)?;
    let applied = async {
        let known = client
            .query_opt(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'schema_format'",
                &[],
            )
            .await
            .map_err(failed)?;
        if known.is_some() {
            let row = client.query_one("SELECT version FROM schema_format", &[]).await.map_err(failed)?;
            let version: i32 = row.try_get(0).map_err(failed)?;
            if version > FORMAT {
                return Err(StoreError::Corrupt(format!(
                    "the schema has version {version}, this hallmark knows up to {FORMAT}: start a newer hallmark"
                )));
            }
        }
        embedded::migrations::runner()
            .run_async(&mut **client)
            .await
            .map_err(|e| StoreError::Unavailable(format!("cannot bring the schema up to date: {e}")))?;
        Ok(())
    }
    .await;
    client
        .execute("SELECT pg_advisory_unlock(7234091501)", &[])
        .await
        .map_err(failed)?;
    applied
}

/// What a failed statement means to the caller: everything is worth another try.
#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` takes")]
fn failed(error: tokio_postgres::Error) -> StoreError {
    let text = match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => error.to_string(),
    };
    StoreError::Unavailable(text)
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
        self.writer.close().await;
        self.pool.close();
        Ok(())
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        check::check(&*self.client().await?).await
    }
}
