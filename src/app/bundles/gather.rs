//! Collecting the assertions that a bundle needs: what is asked for, with everything it rests on, down to the root.

use std::collections::BTreeMap;

use crate::app::instance::assertion;
use crate::app::{App, Refusal};
use crate::domain::assertion::database::{Need, needs};
use crate::domain::assertion::{Assertion, AssertionType, Ref, decode};
use crate::ports::AssertionFilter;

/// What was found so far, by type and primary key.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    app: &'a App,
    found: BTreeMap<Ref, Assertion>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(app: &'a App) -> Self {
        Self {
            app,
            found: BTreeMap::new(),
        }
    }

    /// Takes the stored assertion of this reference, if there is one, and all it rests on.
    pub(super) async fn reference(&mut self, reference: Ref) -> Result<(), Refusal> {
        let mut waiting = vec![reference];
        while let Some(reference) = waiting.pop() {
            if reference.kind == AssertionType::Serial || self.found.contains_key(&reference) {
                continue;
            }
            if let Some(found) = assertion(self.app, &reference).await? {
                waiting.extend(self.put(found));
            }
        }
        Ok(())
    }

    /// Takes an assertion, and all it rests on.
    pub(super) async fn take(&mut self, assertion: Assertion) -> Result<(), Refusal> {
        for reference in self.put(assertion) {
            self.reference(reference).await?;
        }
        Ok(())
    }

    fn put(&mut self, assertion: Assertion) -> Vec<Ref> {
        let needed = needs(&assertion).into_iter().filter_map(|need| match need {
            Need::One(reference) => Some(reference),
            // Only for comparing names of keys.
            Need::KeysOfAccount(_) => None,
        });
        let needed = needed.collect();
        self.found.insert(assertion.reference(), assertion);
        needed
    }

    /// Everything that was found, by type and primary key.
    pub(super) fn into_found(self) -> impl Iterator<Item = Assertion> {
        self.found.into_values()
    }
}

/// The stored assertions of a type whose primary key begins so, newest revisions.
pub(super) async fn search(
    app: &App,
    kind: AssertionType,
    prefix: &[&str],
) -> Result<Vec<Assertion>, Refusal> {
    let filter = AssertionFilter {
        kind,
        key_prefix: prefix.iter().map(|part| (*part).to_owned()).collect(),
        max_format: kind.info().max_format,
    };
    let stored = app.storage.assertions(&filter).await?;
    let decoded = stored.iter().filter_map(|stored| {
        decode(&stored.encoded)
            .inspect_err(
                |error| tracing::error!(%error, reference = %stored.reference, "stored assertion is damaged"),
            )
            .ok()
    });
    Ok(decoded.collect())
}
