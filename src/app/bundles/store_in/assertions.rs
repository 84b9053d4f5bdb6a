//! The assertions of a bundle: each must be signed by a chain that ends in the trusted set of this instance.

use crate::app::assertions::{database, not_of_waves};
use crate::app::instance::{assertion, trusted};
use crate::app::{App, Refusal};
use crate::domain::assertion::database::{Batch, BatchError};
use crate::domain::assertion::{Assertion, AssertionType, Typed};

/// The assertions that are new here, in an order in which they can be put; or why one of them is not to be believed.
pub(super) async fn judge(app: &App, given: &[Assertion]) -> Result<Vec<Assertion>, Refusal> {
    let roots = trusted(app).await?;
    let mut batch = Batch::new();
    for one in given {
        let reference = one.reference();
        // Where both instances have one root, each has made its own account of it.
        let trusted = roots.iter().any(|root| root.reference() == reference);
        if trusted || is_root(one) || stays(app, one).await? {
            continue;
        }
        // What is here is not judged anew: its key may have ended since.
        let here = assertion(app, &reference).await?;
        if here.is_some_and(|here| here.revision() >= one.revision()) {
            continue;
        }
        if one.kind() == AssertionType::Serial {
            return Err(Refusal::invalid(
                "assertion-refused",
                format!("cannot import {reference}: serials are no part of a store"),
            ));
        }
        not_of_waves(app, one).await?;
        batch.add(one.clone()).map_err(|error| {
            Refusal::invalid("assertion-refused", format!("cannot import {reference}: {error}"))
        })?;
    }
    let mut database = database(app, roots, batch.needs()).await?;
    batch
        .commit(&mut database, app.clock.now())
        .map_err(|error| match &error {
            BatchError::Missing { .. } => Refusal::invalid(
                "missing-prerequisite",
                format!(
                    "cannot import the bundle: {error}; if its root is not this instance's, trust that first: \
                     `hallmark trust export` there, `hallmark trust import` here"
                ),
            ),
            BatchError::Circle(_) | BatchError::Refused { .. } => Refusal::invalid(
                "assertion-refused",
                format!("cannot import the bundle: {error}"),
            ),
        })
}

/// Whether it speaks for itself: roots come along in every bundle, and no bundle makes one trusted. What rests on one
/// that is not trusted here lacks it then.
fn is_root(given: &Assertion) -> bool {
    matches!(given.kind(), AssertionType::Account | AssertionType::AccountKey)
        && given.authority_id() == given.text("account-id")
}

/// Whether what is stored here stays, though the bundle says otherwise: of a store assertion the address is this server's
/// own. What another authority signed here under the same name is no place for what the bundle brings: devices could
/// not follow the chain.
async fn stays(app: &App, given: &Assertion) -> Result<bool, Refusal> {
    let kind = given.kind();
    if !matches!(
        kind,
        AssertionType::Account
            | AssertionType::AccountKey
            | AssertionType::SnapDeclaration
            | AssertionType::SnapRevision
            | AssertionType::Store
    ) {
        return Ok(false);
    }
    let Some(here) = assertion(app, &given.reference()).await? else {
        return Ok(false);
    };
    if let (Typed::Store(here), Typed::Store(given)) = (here.typed(), given.typed())
        && here.url != given.url
    {
        return Ok(true);
    }
    if here.authority_id() != given.authority_id() {
        return Err(Refusal::conflict(
            "signed-elsewhere",
            format!(
                "cannot import {}: {} signed it here, {} in the bundle; a brand of another root must be delegated here \
                 (`hallmark init --delegated`, `hallmark brand create --delegated`)",
                given.reference(),
                here.authority_id().unwrap_or("nobody"),
                given.authority_id().unwrap_or("nobody"),
            ),
        ));
    }
    Ok(false)
}
