//! confdb-schemas that publishers sign (publisher-api.md 6.16): checked by the keys that were registered, kept, and served
//! to devices as they are.

use crate::app::sign::stored;
use crate::app::{App, OwnCtx, Refusal};
use crate::domain::assertion::{Assertion, AssertionType, Ref};
use crate::domain::ident::AccountId;
use crate::ports::{Commit, PutRule};

use super::vouching::{issuer, issuers, read, stored_below};

const KIND: AssertionType = AssertionType::ConfdbSchema;

/// The caller's schemas, of this name or all.
///
/// # Errors
/// If the storage is out of reach.
pub async fn schemas(app: &App, ctx: &OwnCtx, name: Option<&str>) -> Result<Vec<Assertion>, Refusal> {
    let mut found = Vec::new();
    for account in issuers(app, ctx).await? {
        let prefix = std::iter::once(account.to_string()).chain(name.map(str::to_owned));
        found.extend(stored_below(app, KIND, prefix.collect()).await?);
    }
    Ok(found)
}

/// Whose a schema that is to be signed will be, and the revision it gets.
///
/// # Errors
/// `account-differs`.
pub async fn draft(app: &App, ctx: &OwnCtx, account: &str, name: &str) -> Result<(AccountId, u64), Refusal> {
    let account = issuer(app, ctx, KIND, account).await?;
    let reference = Ref::new(KIND, [account.as_str(), name]);
    let known = app.storage.assertion(&reference, u32::MAX).await?;
    Ok((account, known.map_or(0, |known| known.revision + 1)))
}

/// Keeps a signed schema.
///
/// # Errors
/// `invalid-assertion`, `assertion-refused`, `account-differs`; `old-revision`.
pub async fn add(app: &App, ctx: &OwnCtx, text: &[u8]) -> Result<Assertion, Refusal> {
    let schema = read(app, text, KIND).await?;
    issuer(app, ctx, KIND, schema.text("account-id").unwrap_or_default()).await?;
    let subject = schema.primary_key().0.join("/");
    let mut event = ctx.event(app.clock.now(), "confdb-schema.add", &subject);
    event
        .detail
        .insert("revision".to_owned(), schema.revision().into());
    app.commit(Commit {
        assertions: vec![(stored(&schema), PutRule::Newer)],
        audit: vec![event],
        ..Commit::default()
    })
    .await?;
    Ok(schema)
}
