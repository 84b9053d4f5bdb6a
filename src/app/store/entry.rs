//! One snap of the picture, and what readers made of it for the next reader.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hint::black_box;

use super::kept::Kept;
use crate::app::{App, Refusal};
use crate::domain::access::{Account, Brand};
use crate::domain::assertion::{AssertionType, Ref, Typed, decode};
use crate::domain::catalog::{Channel, DeltaRecord, Offer, Placed, RevisionRecord, Risk, SnapRecord};
use crate::domain::ident::{AccountId, Architecture, StoreId};
use crate::domain::snap::Epoch;

/// A snap with everything that is known of it.
#[derive(Debug)]
pub struct SnapEntry {
    hot: Hot,
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
}

/// What every refresh looks at, in one place: of a large catalogue nothing is in the processor's cache, and every look
/// elsewhere is slow. What readers made goes with the entry when anything about the snap changes.
#[derive(Debug)]
struct Hot {
    store: StoreId,
    private: bool,
    revoked: bool,
    /// Whether all devices of an architecture get the same, at all times: nothing is progressive, and no branch ends by
    /// itself.
    same_for_all: bool,
    offers: Kept<(Question, Offered)>,
    /// Revisions as they go to devices.
    texts: Kept<(u64, Text)>,
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
/// Bytes that come from memory together.
const CACHE_LINE: usize = 64;
/// Longest text that is kept, in bytes.
const LONGEST_TEXT: usize = 8 << 10;

/// A revision as JSON, in one piece: members that name the snap, then an object of the revision, in it first what all take,
/// then what only refreshes need.
#[derive(Clone, Debug)]
pub struct Text {
    all: Box<str>,
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
        let progressive = record.releases.is_progressive();
        let ending = record.releases.open.iter().any(|open| open.expires.is_some());
        Self {
            hot: Hot {
                store: record.store_id.clone(),
                private: record.private,
                revoked: record.revoked,
                same_for_all: !progressive && !ending,
                offers: Kept::default(),
                texts: Kept::default(),
            },
            progressive,
            record,
            revisions,
            deltas: deltas
                .into_iter()
                .map(|delta| ((delta.source, delta.target), delta))
                .collect(),
            publisher,
            search_text,
        }
    }

    /// The same with another copy of the id of its store: comparing equal ones is quick where the copy is the same.
    pub(super) fn in_store(mut self, store: &StoreId) -> Self {
        self.hot.store = store.clone();
        self
    }

    /// What the visible-set rule needs to know.
    pub(super) fn placed(&self) -> Placed<'_> {
        Placed {
            store: &self.hot.store,
            private: self.hot.private,
            revoked: self.hot.revoked,
            ..self.record.placed()
        }
    }

    /// Touches what [`Self::offered`] and [`Self::text`] look at first.
    pub(super) fn touch(&self) {
        black_box(self.hot.private);
        black_box(
            self.hot
                .offers
                .find(|_| true)
                .map(|(_, kept)| kept.offer.revision),
        );
        black_box(self.hot.texts.find(|_| true).map(|(revision, _)| revision));
    }

    /// Touches the text that most devices get.
    pub(super) fn touch_text(&self) {
        if let Some((_, text)) = self.hot.texts.find(|_| true) {
            for byte in text.all.as_bytes().iter().step_by(CACHE_LINE) {
                black_box(*byte);
            }
        }
    }

    /// The epoch of a revision.
    pub fn epoch_of(&self, revision: u64) -> Option<&Epoch> {
        self.revisions.get(&revision).map(|found| &found.epoch)
    }

    /// Whether all devices of an architecture get the same, at all times.
    pub(super) fn same_for_all(&self) -> bool {
        self.hot.same_for_all
    }

    /// The answer to a question: worked out by `make` only once, where all devices of an architecture get the same at all
    /// times.
    pub(super) fn offered(
        &self,
        question: &Question,
        make: impl FnOnce() -> Option<Offer>,
    ) -> Option<Cow<'_, Offered>> {
        let make = || {
            let offer = make()?;
            let epoch = self.epoch_of(offer.revision)?.clone();
            Some(Offered { offer, epoch })
        };
        if !self.same_for_all() {
            return make().map(Cow::Owned);
        }
        if let Some((_, offer)) = self.hot.offers.find(|(known, _)| known == question) {
            return Some(Cow::Borrowed(offer));
        }
        let made = make()?;
        self.hot
            .offers
            .keep((question.clone(), made.clone()), MOST_OFFERS);
        Some(Cow::Owned(made))
    }

    /// The text of a revision that was made before, else what `make` makes of it. None if there is no such revision.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn text<E>(
        &self,
        revision: u64,
        make: impl FnOnce(&RevisionRecord) -> Result<Text, E>,
    ) -> Result<Option<Cow<'_, Text>>, E> {
        if let Some((_, found)) = self.hot.texts.find(|(number, _)| *number == revision) {
            return Ok(Some(Cow::Borrowed(found)));
        }
        let Some(record) = self.revisions.get(&revision) else {
            return Ok(None);
        };
        let made = make(record)?;
        if made.all.len() <= LONGEST_TEXT {
            self.hot.texts.keep((revision, made.clone()), MOST_TEXTS);
        }
        Ok(Some(Cow::Owned(made)))
    }
}

/// Who an account is to people: what its account assertion says, else its record.
pub(in crate::app) async fn publisher(app: &App, id: &AccountId) -> Result<Publisher, Refusal> {
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
