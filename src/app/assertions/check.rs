//! Checking assertions against what is stored: everything a check may look up is fetched first, then the pure database
//! of the domain judges.

use crate::app::instance::{assertion, trusted};
use crate::app::{App, Reason, Refusal};
use crate::domain::assertion::database::{CheckError, Database, MemoryBackstore, Need, needs};
use crate::domain::assertion::{Assertion, AssertionType, Ref, decode};
use crate::ports::AssertionFilter;

/// Whether `candidate` is properly signed by a chain that ends in the trusted set, and agrees with what is stored.
/// The outer error is ours (storage), the inner one the verdict.
pub async fn check(app: &App, candidate: &Assertion) -> Result<Result<(), CheckError>, Refusal> {
    let database = database(app, trusted(app).await?, needs(candidate)).await?;
    Ok(database.check(candidate, app.clock.now()))
}

/// A database with `roots` and everything stored that is among `needs`.
pub(super) async fn database(
    app: &App,
    roots: Vec<Assertion>,
    needs: impl IntoIterator<Item = Need>,
) -> Result<Database<MemoryBackstore>, Refusal> {
    let mut found = Vec::new();
    for need in needs {
        match need {
            Need::One(reference) => found.extend(one(app, &reference).await?),
            Need::KeysOfAccount(account) => found.extend(keys_of(app, &account).await?),
        }
    }
    Database::new(roots, [], found.into_iter().collect()).map_err(|error| {
        tracing::error!(%error, "the trusted set is damaged");
        Refusal::new(
            Reason::Internal,
            "trust-damaged",
            "cannot use the trusted set: run hallmark doctor",
        )
    })
}

async fn one(app: &App, reference: &Ref) -> Result<Option<Assertion>, Refusal> {
    if reference.kind == AssertionType::Serial {
        let encoded = super::lookup::serial(app, &reference.key).await?;
        return Ok(encoded.and_then(|encoded| decode(&encoded).ok()));
    }
    assertion(app, reference).await
}

async fn keys_of(app: &App, account: &str) -> Result<Vec<Assertion>, Refusal> {
    let kind = AssertionType::AccountKey;
    let filter = AssertionFilter {
        kind,
        key_prefix: Vec::new(),
        max_format: kind.info().max_format,
    };
    let all = app.storage.assertions(&filter).await?;
    let keys = all.iter().filter_map(|stored| decode(&stored.encoded).ok());
    Ok(keys
        .filter(|key| key.text("account-id") == Some(account))
        .collect())
}
