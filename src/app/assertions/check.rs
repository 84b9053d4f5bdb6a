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
    check_with(app, candidate, None).await
}

/// The same, with an assertion that is to be stored together with `candidate`.
pub(in crate::app) async fn check_with(
    app: &App,
    candidate: &Assertion,
    unsaved: Option<&Assertion>,
) -> Result<Result<(), CheckError>, Refusal> {
    let mut found = fetched(app, needs(candidate)).await?;
    found.extend(unsaved.cloned());
    let database = over(trusted(app).await?, found)?;
    Ok(database.check(candidate, app.clock.now()))
}

/// A database with `roots` and everything stored that is among `needs`.
pub(in crate::app) async fn database(
    app: &App,
    roots: Vec<Assertion>,
    needs: impl IntoIterator<Item = Need>,
) -> Result<Database<MemoryBackstore>, Refusal> {
    over(roots, fetched(app, needs).await?)
}

async fn fetched(app: &App, needs: impl IntoIterator<Item = Need>) -> Result<Vec<Assertion>, Refusal> {
    let mut found = Vec::new();
    for need in needs {
        match need {
            Need::One(reference) => found.extend(one(app, &reference).await?),
            Need::KeysOfAccount(account) => found.extend(keys_of(app, &account).await?),
        }
    }
    Ok(found)
}

fn over(roots: Vec<Assertion>, found: Vec<Assertion>) -> Result<Database<MemoryBackstore>, Refusal> {
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

/// The account-keys of an account. Of those of others only the text is looked at: reading keys is what takes time.
pub(in crate::app) async fn keys_of(app: &App, account: &str) -> Result<Vec<Assertion>, Refusal> {
    let kind = AssertionType::AccountKey;
    let filter = AssertionFilter {
        kind,
        key_prefix: Vec::new(),
        max_format: kind.info().max_format,
    };
    let line = format!("\naccount-id: {account}\n");
    let all = app.storage.assertions(&filter).await?;
    let keys = all
        .iter()
        .filter(|stored| has(&stored.encoded, &line))
        .filter_map(|stored| decode(&stored.encoded).ok());
    Ok(keys
        .filter(|key| key.text("account-id") == Some(account))
        .collect())
}

/// Whether the text of an assertion may have this line; all of it is UTF-8.
fn has(encoded: &[u8], line: &str) -> bool {
    std::str::from_utf8(encoded).is_ok_and(|text| text.contains(line))
}
