//! Several assertions at once, in any order: all of them are taken or none (assertions.md 4.5).

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::Assertion;
use super::super::envelope::{PrimaryKey, Ref};
use super::super::registry::AssertionType;
use super::memory::MemoryBackstore;
use super::needs::{Need, needs, prerequisites};
use super::{AddError, Backstore, CheckError, Database, sequence_number};
use crate::domain::time::Timestamp;

/// Longest chain of prerequisites followed. Real ones have fewer than ten links.
const MAX_CHAIN: usize = 64;

/// Why a batch was not taken. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Something rests on what is neither in the batch nor known.
    #[error("{reference} needs {missing}, which is neither here nor known")]
    Missing {
        /// What needs it.
        reference: Ref,
        /// What is missing.
        missing: Ref,
    },
    /// Assertions rest on each other in a circle, or in a chain without a sensible end.
    #[error("{0} rests on itself")]
    Circle(Ref),
    /// One of them does not hold.
    #[error("{reference} is refused: {error}")]
    Refused {
        /// Which one.
        reference: Ref,
        /// Why.
        error: Box<AddError>,
    },
}

/// Assertions to be added together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The newest revision of each, and the references in the order they came.
    newest: MemoryBackstore,
    order: Vec<Ref>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `assertion` into the batch, unless a newer revision of it is there already. A format this version does
    /// not understand is refused at once.
    pub fn add(&mut self, assertion: Assertion) -> Result<(), CheckError> {
        let (reference, supported) = (assertion.reference(), assertion.kind().info().max_format);
        if assertion.format() > supported {
            return Err(CheckError::UnsupportedFormat {
                reference,
                format: assertion.format(),
                supported,
            });
        }
        match self.newest.get(&reference, supported) {
            Some(present) if present.revision() >= assertion.revision() => {}
            Some(_) => self.newest.put(assertion),
            None => {
                self.newest.put(assertion);
                self.order.push(reference);
            }
        }
        Ok(())
    }

    /// Everything that committing may look up in the database.
    pub fn needs(&self) -> BTreeSet<Need> {
        self.newest.iter().flat_map(needs).collect()
    }

    /// Adds all of the batch to `database` in the order their prerequisites ask for. What is known already in the
    /// same or a higher revision is passed over. Returns what was new.
    pub fn commit<S: Backstore>(
        self,
        database: &mut Database<S>,
        now: Timestamp,
    ) -> Result<Vec<Assertion>, BatchError> {
        let ordered = Sorter {
            batch: &self.newest,
            database,
            ordered: Vec::new(),
            state: BTreeMap::new(),
        }
        .sort(&self.order)?;
        let mut trial = Database {
            trusted: database.trusted.clone(),
            predefined: database.predefined.clone(),
            store: Overlay {
                below: &database.store,
                above: MemoryBackstore::default(),
            },
        };
        let mut added = Vec::with_capacity(ordered.len());
        for assertion in ordered {
            match trial.add(assertion.clone(), now) {
                Ok(_) => added.push(assertion),
                Err(AddError::Revision { .. }) => {}
                Err(error) => {
                    return Err(BatchError::Refused {
                        reference: assertion.reference(),
                        error: Box::new(error),
                    });
                }
            }
        }
        for assertion in &added {
            database.store.put(assertion.clone());
        }
        Ok(added)
    }
}

/// Whether an assertion is in the order yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Done,
}

struct Sorter<'a, S> {
    batch: &'a MemoryBackstore,
    database: &'a Database<S>,
    ordered: Vec<Assertion>,
    state: BTreeMap<Ref, Progress>,
}

impl<S: Backstore> Sorter<'_, S> {
    fn sort(mut self, references: &[Ref]) -> Result<Vec<Assertion>, BatchError> {
        for reference in references {
            self.place(reference, reference, 0)?;
        }
        Ok(self.ordered)
    }

    /// Puts `reference` after everything it rests on. What is not in the batch must be known, and then was checked
    /// with all it rests on when it came in.
    fn place(&mut self, reference: &Ref, wanted_by: &Ref, depth: usize) -> Result<(), BatchError> {
        match self.state.get(reference) {
            Some(Progress::Done) => return Ok(()),
            Some(Progress::Waiting) => return Err(BatchError::Circle(reference.clone())),
            None if depth > MAX_CHAIN => return Err(BatchError::Circle(reference.clone())),
            None => {}
        }
        if self.database.is_predefined(reference) && depth > 0 {
            return Ok(());
        }
        let Some(assertion) = self.batch.get(reference, reference.kind.info().max_format) else {
            return match self.database.resolve(reference) {
                Some(_) => Ok(()),
                None => Err(BatchError::Missing {
                    reference: wanted_by.clone(),
                    missing: reference.clone(),
                }),
            };
        };
        self.state.insert(reference.clone(), Progress::Waiting);
        for needed in prerequisites(&assertion) {
            self.place(&needed, reference, depth + 1)?;
        }
        if assertion.kind().info().has_authority {
            let key = Ref::new(AssertionType::AccountKey, [assertion.sign_key().as_str()]);
            self.place(&key, reference, depth + 1)?;
        }
        self.state.insert(reference.clone(), Progress::Done);
        self.ordered.push(assertion);
        Ok(())
    }
}

/// What a batch adds, on top of a store that stays as it is.
struct Overlay<'a, S> {
    below: &'a S,
    above: MemoryBackstore,
}

impl<S: Backstore> Backstore for Overlay<'_, S> {
    fn get(&self, reference: &Ref, max_format: u32) -> Option<Assertion> {
        let both = [
            self.above.get(reference, max_format),
            self.below.get(reference, max_format),
        ];
        both.into_iter()
            .flatten()
            .max_by_key(|assertion| assertion.revision())
    }

    fn search(&self, kind: AssertionType, headers: &[(&str, &str)], max_format: u32) -> Vec<Assertion> {
        let mut found: BTreeMap<Ref, Assertion> = BTreeMap::new();
        // What lies below counts only where nothing above replaces it, even if that no longer has the headers.
        for assertion in self.below.search(kind, headers, max_format) {
            if let Some(current) = self.get(&assertion.reference(), max_format)
                && super::has_headers(&current, headers)
            {
                found.insert(current.reference(), current);
            }
        }
        found.extend(
            self.above
                .search(kind, headers, max_format)
                .into_iter()
                .map(|new| (new.reference(), new)),
        );
        found.into_values().collect()
    }

    fn sequence_member(
        &self,
        kind: AssertionType,
        sequence_key: &PrimaryKey,
        after: Option<u64>,
        max_format: u32,
    ) -> Option<Assertion> {
        let above = self.above.sequence_member(kind, sequence_key, after, max_format);
        let below = self.below.sequence_member(kind, sequence_key, after, max_format);
        let both = [below, above].into_iter().flatten();
        // Of two revisions of one member the later in line counts, which is the one above.
        match after {
            None => both.max_by_key(|member| (sequence_number(member), member.revision())),
            Some(_) => {
                both.min_by_key(|member| (sequence_number(member), std::cmp::Reverse(member.revision())))
            }
        }
    }

    fn put(&mut self, assertion: Assertion) {
        self.above.put(assertion);
    }
}
