//! Signing model assertions with a brand key, as `snap sign` does, but with the checks devices make.

use serde_json::json;

use super::{App, BrandCtx, Refusal, brand_key, sign, vault_event};
use crate::domain::assertion::{Assertion, AssertionType, Ref, Statement, StatementError};
use crate::domain::ident::{KeyName, ModelName};
use crate::domain::time::Timestamp;
use crate::ports::{Commit, CommitOutcome, PutRule};

/// The key that signs models unless another is named; `init` makes it.
pub const DEFAULT_KEY: &str = "model";
/// A timestamp may lie this many seconds ahead: clocks differ. Further ahead, devices would set their clocks wrong.
const CLOCK_SKEW: i64 = 24 * 3600;

/// Signs the model statement in `text` (JSON as `snap sign` takes it, or YAML) with the brand's key `key` and keeps
/// the assertion. Nothing is filled in that `snap sign` would not.
pub async fn sign_model(
    app: &App,
    ctx: &BrandCtx,
    text: &str,
    key: Option<KeyName>,
) -> Result<Assertion, Refusal> {
    const ACT: &str = "sign the model";
    let statement = read(text)?;
    let brand = ctx.brand();
    for header in ["authority-id", "brand-id"] {
        match statement.headers().text(header) {
            Some(value) if value == brand.as_str() => {}
            Some(value) => {
                return Err(Refusal::invalid(
                    "wrong-brand",
                    format!(
                        "cannot sign the model: {header:?} header is {value:?}, but the brand is {brand}"
                    ),
                ));
            }
            None => {
                return Err(Refusal::invalid(
                    "invalid-statement",
                    format!(
                        "cannot sign the model: {header:?} header is mandatory; for this brand it is {brand}"
                    ),
                ));
            }
        }
    }
    let model: ModelName = statement
        .headers()
        .text("model")
        .unwrap_or_default()
        .parse()
        .map_err(|e| {
            Refusal::invalid(
                "invalid-statement",
                format!("cannot sign the model: \"model\" header: {e}"),
            )
        })?;
    let name = match key {
        Some(key) => key,
        None => DEFAULT_KEY
            .parse()
            .map_err(|e| Refusal::invalid("invalid-key", format!("{e}")))?,
    };
    let key = brand_key::read(&*app.storage, brand, &name)
        .await
        .map_err(|why| why.refusal(ACT))?;
    let now = app.clock.now();
    // All checks before the signature: what devices would refuse is never signed.
    statement.clone().draft(&key.public).map_err(|e| refused(&e))?;
    key.check(AssertionType::Model, statement.headers(), now)
        .map_err(|why| why.refusal(ACT))?;
    let timestamp: Timestamp = statement
        .headers()
        .text("timestamp")
        .unwrap_or_default()
        .parse()
        .map_err(|e| {
            Refusal::invalid(
                "invalid-statement",
                format!("cannot {ACT}: \"timestamp\" header: {e}"),
            )
        })?;
    check_time(timestamp, now)?;
    key.valid_at(timestamp)
        .map_err(|why| why.refusal("sign the model with this \"timestamp\" header"))?;
    check_revision(app, ctx, &statement, &model).await?;
    let assertion = sign::sign(app, &key.record, statement).await?;
    let detail = json!({ "key": name.as_str() });
    let event = vault_event(app, ctx, "model.sign", &format!("{brand}/{model}"), &detail);
    let commit = Commit {
        assertions: vec![(sign::stored(&assertion), PutRule::Newer)],
        audit: vec![sign::record(event, &assertion)],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => Ok(assertion),
        CommitOutcome::OldRevision { stored } => Err(old_revision(&model, assertion.revision(), stored)),
        CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } => Err(Refusal::conflict(
            "changed-meanwhile",
            "cannot keep the model: try again",
        )),
    }
}

fn read(text: &str) -> Result<Statement, Refusal> {
    let statement = if text.trim_start().starts_with('{') {
        Statement::from_json(text)
    } else {
        Statement::from_yaml(text)
    };
    let statement = statement.map_err(|e| refused(&e))?;
    if statement.kind() == AssertionType::Model {
        Ok(statement)
    } else {
        Err(Refusal::invalid(
            "invalid-statement",
            format!(
                "cannot sign the model: \"type\" header is {}, not model",
                statement.kind()
            ),
        ))
    }
}

async fn check_revision(
    app: &App,
    ctx: &BrandCtx,
    statement: &Statement,
    model: &ModelName,
) -> Result<(), Refusal> {
    let series = statement.headers().text("series").unwrap_or_default();
    let reference = Ref::new(
        AssertionType::Model,
        [series, ctx.brand().as_str(), model.as_str()],
    );
    let Some(stored) = app
        .storage
        .assertion(&reference, AssertionType::Model.info().max_format)
        .await?
    else {
        return Ok(());
    };
    let revision = statement
        .headers()
        .text("revision")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if revision > stored.revision {
        Ok(())
    } else {
        Err(old_revision(model, revision, stored.revision))
    }
}

fn check_time(timestamp: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if timestamp <= now.plus_seconds(CLOCK_SKEW) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "timestamp-ahead",
        format!(
            "cannot sign the model: \"timestamp\" header {timestamp} lies in the future; devices would set their clocks by it"
        ),
    ))
}

fn old_revision(model: &ModelName, revision: u64, stored: u64) -> Refusal {
    Refusal::conflict(
        "old-revision",
        format!(
            "cannot sign the model: revision {revision} of {model} is not above the stored revision {stored}; \
             set the \"revision\" header to \"{}\"",
            stored.saturating_add(1)
        ),
    )
}

fn refused(error: &StatementError) -> Refusal {
    Refusal::invalid("invalid-statement", format!("cannot sign the model: {error}"))
}
