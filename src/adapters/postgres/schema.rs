//! The schema of the database and its versions.
//!
//! Migrations only add, so that programs of the version before go on beside the new schema, and may be restarted there. Each
//! schema says which programs it still suits (`schema_format.oldest`); a migration that older ones cannot live with says its
//! own version there.

use deadpool_postgres::Pool;
use tokio_postgres::GenericClient;

use super::{connect, failed};
use crate::ports::StoreError;

mod embedded {
    refinery::embed_migrations!("src/adapters/postgres/migrations");
}

/// The schema version this program brings about.
const FORMAT: i32 = 14;
/// The first version that says which programs it suits.
const FIRST_WITH_OLDEST: i32 = 14;

/// What a schema says of itself.
#[derive(Clone, Copy, Debug)]
struct Schema {
    version: i32,
    /// The oldest version whose programs work with it.
    oldest: i32,
}

impl Schema {
    /// None: there is none yet.
    async fn read(client: &impl GenericClient) -> Result<Option<Self>, StoreError> {
        let known = client
            .query_opt(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'schema_format'",
                &[],
            )
            .await
            .map_err(failed)?;
        if known.is_none() {
            return Ok(None);
        }
        let row = client
            .query_one("SELECT version FROM schema_format", &[])
            .await
            .map_err(failed)?;
        let version: i32 = row.try_get(0).map_err(failed)?;
        let oldest = if version < FIRST_WITH_OLDEST {
            version
        } else {
            let row = client
                .query_one("SELECT oldest FROM schema_format", &[])
                .await
                .map_err(failed)?;
            row.try_get(0).map_err(failed)?
        };
        Ok(Some(Self { version, oldest }))
    }

    fn is_newer(self) -> bool {
        self.version > FORMAT
    }

    /// That it suits a program of [`FORMAT`].
    fn suits(self) -> Result<(), StoreError> {
        if self.is_newer() && self.oldest > FORMAT {
            return Err(StoreError::Corrupt(format!(
                "the schema has version {} and suits programs from version {} on, this hallmark knows version {FORMAT}: start \
                 a newer hallmark",
                self.version, self.oldest
            )));
        }
        Ok(())
    }
}

/// Brings the schema up to date. One that is newer is left as it is, if it suits this program.
pub(super) async fn prepare(pool: &Pool) -> Result<(), StoreError> {
    let mut client = connect(pool).await?;
    // Two processes may start at once: the second waits here and then finds nothing to do.
    client
        .execute("SELECT pg_advisory_lock(7234091501)", &[])
        .await
        .map_err(failed)?;
    let prepared = async {
        let found = Schema::read(&**client).await?;
        if let Some(schema) = found {
            schema.suits()?;
            if schema.is_newer() {
                tracing::warn!(
                    version = schema.version,
                    known = FORMAT,
                    "the schema of the database is newer than this hallmark, which works with it: replace it soon"
                );
                return Ok(());
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
    prepared
}

/// That this program knows all there is, so that a copy it makes is whole.
///
/// # Errors
/// `Corrupt` if the schema is newer: it may have tables that would be left out.
pub(super) async fn is_all_known(client: &impl GenericClient) -> Result<(), StoreError> {
    match Schema::read(client).await? {
        Some(schema) if schema.is_newer() => Err(StoreError::Corrupt(format!(
            "the schema has version {}, this hallmark knows up to {FORMAT} and would leave out what is new: use the newer \
             hallmark",
            schema.version
        ))),
        _known => Ok(()),
    }
}
