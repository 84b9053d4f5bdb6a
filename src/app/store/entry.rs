//! One snap of the picture, and what readers made of it for the next reader.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use smallvec::SmallVec;

use crate::app::{App, Refusal};
use crate::domain::access::{Account, Brand};
use crate::domain::assertion::{AssertionType, Ref, Typed, decode};
use crate::domain::catalog::{Channel, DeltaRecord, Offer, RevisionRecord, Risk, SnapRecord};
use crate::domain::ident::{AccountId, Architecture};
use crate::domain::snap::Epoch;

/// A snap with everything that is known of it.
#[derive(Debug)]
pub struct SnapEntry {
    /// The snap.
    pub record: SnapRecord,
    /// Its revisions.
    pub revisions: BTreeMap<u64, RevisionRecord>,
    /// What was made of deltas, by source and target.
    pub deltas: BTreeMap<(u64, u64), DeltaRecord>,
    /// Who publishes it.
    pub publisher: Publisher,
    /// What a search looks through: name, title, summary and publisher, in lower case.
    pub search_text: String,
    /// Whether some devices get something else than others of their architecture.
    pub progressive: bool,
    /// Whether a branch ends by itself: then time tells what is open.
    ending: bool,
    kept: RwLock<Kept>,
}

/// What readers made, kept for the next one. It goes with the entry when anything about the snap changes. The first ones
/// are kept in place: of a large catalogue nothing is in the processor's cache, and every look elsewhere is slow.
#[derive(Debug, Default)]
struct Kept {
    offers: SmallVec<[(Question, Offered); 1]>,
    /// Revisions as they go to devices.
    texts: SmallVec<[(u64, Text); 2]>,
}

/// What is asked of a snap, for an architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// What devices get that follow a channel.
    Follows(Architecture, Channel),
    /// What people see first, up to a risk of the default track.
    Shows(Architecture, Option<Risk>),
}

/// What a channel holds.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    /// The revision, and where it is.
    pub(super) offer: Offer,
    /// The epoch of the revision.
    pub(super) epoch: Epoch,
}

/// Answers of one snap that are kept. Its open channels bound it too; this bounds how long one is looked for.
const MOST_OFFERS: usize = 64;
/// Revisions of one snap whose text is kept: one per architecture, for most.
const MOST_TEXTS: usize = 4;
/// Longest text that is kept, in bytes.
const LONGEST_TEXT: usize = 8 << 10;

/// A revision as JSON, in one piece: members that name the snap, then an object of the revision, in it first what all take,
/// then what only refreshes need.
#[derive(Clone, Debug)]
pub struct Text {
    all: Arc<str>,
    names: u32,
    bare: u32,
}

impl Text {
    /// From the members that name the snap, what all take of the object (its brace open), and the rest of it.
    pub fn new(names: &str, bare: &str, rest: &str) -> Self {
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
        Self {
            all: [names, bare, rest].concat().into(),
            names: length(names),
            bare: length(names).saturating_add(length(bare)),
        }
    }

    /// The members that name the snap.
    pub fn names(&self) -> &str {
        self.part(0, self.names)
    }

    /// The whole object.
    pub fn whole(&self) -> &str {
        self.part(self.names, u32::MAX)
    }

    /// What all take of it, without a brace at its end: more can follow.
    pub fn bare(&self) -> &str {
        self.part(self.names, self.bare)
    }

    fn part(&self, from: u32, to: u32) -> &str {
        let place = |number| usize::try_from(number).unwrap_or(usize::MAX).min(self.all.len());
        self.all.get(place(from)..place(to)).unwrap_or_default()
    }
}

/// Who publishes a snap, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The account.
    pub id: AccountId,
    /// Its public name.
    pub username: String,
    /// For people.
    pub display_name: String,
    /// `unproven`, `verified` or `starred`.
    pub validation: String,
}

impl SnapEntry {
    pub(super) fn new(
        record: SnapRecord,
        revisions: BTreeMap<u64, RevisionRecord>,
        deltas: Vec<DeltaRecord>,
        publisher: Publisher,
    ) -> Self {
        let title = record.listing.title.as_deref().unwrap_or_default();
        let search_text = [
            record.name.as_str(),
            title,
            &record.listing.summary,
            &publisher.username,
            &publisher.display_name,
        ]
        .join("\n")
        .to_lowercase();
        Self {
            progressive: record.releases.is_progressive(),
            ending: record.releases.open.iter().any(|open| open.expires.is_some()),
            record,
            revisions,
            deltas: deltas
                .into_iter()
                .map(|delta| ((delta.source, delta.target), delta))
                .collect(),
            publisher,
            search_text,
            kept: RwLock::default(),
        }
    }

    /// The epoch of a revision.
    pub fn epoch_of(&self, revision: u64) -> Option<&Epoch> {
        self.revisions.get(&revision).map(|found| &found.epoch)
    }

    /// Whether all devices of an architecture get the same, at all times.
    pub(super) fn same_for_all(&self) -> bool {
        !self.progressive && !self.ending
    }

    /// The answer to a question: worked out by `make` only once, where all devices of an architecture get the same at all
    /// times.
    pub(super) fn offered(
        &self,
        question: &Question,
        make: impl FnOnce() -> Option<Offer>,
    ) -> Option<Offered> {
        let make = || {
            let offer = make()?;
            let epoch = self.epoch_of(offer.revision)?.clone();
            Some(Offered { offer, epoch })
        };
        if !self.same_for_all() {
            return make();
        }
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, offer)) = kept.offers.iter().find(|(known, _)| known == question) {
            return Some(Clone::clone(offer));
        }
        drop(kept);
        let made = make()?;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.offers.len() >= MOST_OFFERS {
            kept.offers.clear();
        }
        if !kept.offers.iter().any(|(known, _)| known == question) {
            kept.offers.push((question.clone(), made.clone()));
        }
        Some(made)
    }

    /// The text of a revision that was made before, else what `make` makes of it. None if there is no such revision.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn text<E>(
        &self,
        revision: u64,
        make: impl FnOnce(&RevisionRecord) -> Result<Text, E>,
    ) -> Result<Option<Text>, E> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = kept.texts.iter().find(|(number, _)| *number == revision) {
            return Ok(Some(found.clone()));
        }
        drop(kept);
        let Some(record) = self.revisions.get(&revision) else {
            return Ok(None);
        };
        let made = make(record)?;
        if made.all.len() <= LONGEST_TEXT {
            let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
            if kept.texts.len() >= MOST_TEXTS {
                kept.texts.clear();
            }
            if !kept.texts.iter().any(|(number, _)| *number == revision) {
                kept.texts.push((revision, made.clone()));
            }
        }
        Ok(Some(made))
    }
}

/// Who an account is to people: what its account assertion says, else its record.
pub(super) async fn publisher(app: &App, id: &AccountId) -> Result<Publisher, Refusal> {
    let reference = Ref::new(AssertionType::Account, [id.as_str()]);
    if let Some(stored) = app.storage.assertion(&reference, u32::MAX).await?
        && let Ok(assertion) = decode(&stored.encoded)
        && let Typed::Account(account) = assertion.typed()
    {
        return Ok(Publisher {
            id: id.clone(),
            username: assertion.text("username").unwrap_or(id.as_str()).to_owned(),
            display_name: account.display_name.clone(),
            validation: account.validation.clone(),
        });
    }
    let (username, display_name) = match app.storage.find::<Account>([id.as_str()]).await? {
        Some(found) => (found.record.username.to_string(), found.record.display_name),
        None => {
            let brand = app.storage.find::<Brand>([id.as_str()]).await?;
            let name = brand.map_or_else(|| id.to_string(), |found| found.record.name);
            (id.to_string(), name)
        }
    };
    Ok(Publisher {
        id: id.clone(),
        username,
        display_name,
        validation: "unproven".to_owned(),
    })
}
