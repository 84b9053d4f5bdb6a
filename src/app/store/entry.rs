//! One snap of the picture, and what readers made of it for the next reader.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::app::{App, Refusal};
use crate::domain::access::{Account, Brand};
use crate::domain::assertion::{AssertionType, Ref, Typed, decode};
use crate::domain::catalog::{DeltaRecord, Offer, RevisionRecord, SnapRecord};
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

/// What readers made, kept for the next one. It goes with the entry when anything about the snap changes.
#[derive(Debug, Default)]
struct Kept {
    /// What channels hold, by architecture and channel as devices write it; and what searches show.
    offers: Vec<(Purpose, Box<str>, Offer)>,
    /// Revisions as they go to devices.
    texts: Vec<(u64, Text)>,
}

/// What an offer is kept for. Devices may write anything as a channel: it must not look like the key of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For who follows a channel.
    Channel,
    /// For a search up to some risk.
    Search,
}

/// Answers of one snap that are kept. Its open channels bound it too; this bounds how long one is looked for.
const MOST_OFFERS: usize = 64;
/// Revisions of one snap whose text is kept: one per architecture, for most.
const MOST_TEXTS: usize = 4;
/// Longest text that is kept, in bytes.
const LONGEST_TEXT: usize = 8 << 10;

/// A revision as a JSON object: first what all take, then what only refreshes need.
#[derive(Clone, Debug)]
pub struct Text {
    all: Arc<str>,
    bare: usize,
}

impl Text {
    /// From the text of a whole object, with the length of what all take: up to the comma before the rest.
    pub fn new(all: String, bare: usize) -> Self {
        Self {
            all: all.into(),
            bare,
        }
    }

    /// The whole object.
    pub fn whole(&self) -> &str {
        &self.all
    }

    /// What all take, without a brace at its end: more can follow.
    pub fn bare(&self) -> &str {
        self.all.get(..self.bare).unwrap_or_default()
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

    /// What there is for an architecture in `place`, a channel as a device writes it or the bounds of a search: worked out by `make` only once, where all
    /// devices of the architecture get the same at all times.
    pub(super) fn offered(
        &self,
        architecture: &Architecture,
        purpose: Purpose,
        place: &str,
        make: impl FnOnce() -> Option<Offer>,
    ) -> Option<Offer> {
        if !self.same_for_all() {
            return make();
        }
        let architecture = architecture.as_str();
        let is = |kept: &(Purpose, Box<str>, Offer)| {
            let rest = kept.1.strip_prefix(architecture);
            kept.0 == purpose && rest.and_then(|rest| rest.strip_prefix(' ')) == Some(place)
        };
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, offer)) = kept.offers.iter().find(|kept| is(kept)) {
            return Some(offer.clone());
        }
        drop(kept);
        let made = make()?;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.offers.len() >= MOST_OFFERS {
            kept.offers.clear();
        }
        if !kept.offers.iter().any(is) {
            let key = format!("{architecture} {place}");
            kept.offers.push((purpose, key.into(), made.clone()));
        }
        Some(made)
    }

    /// The text of a revision that was made before, else what `make` makes of it.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn text<E>(&self, revision: u64, make: impl FnOnce() -> Result<Text, E>) -> Result<Text, E> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = kept.texts.iter().find(|(number, _)| *number == revision) {
            return Ok(found.clone());
        }
        drop(kept);
        let made = make()?;
        if made.all.len() <= LONGEST_TEXT {
            let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
            if kept.texts.len() >= MOST_TEXTS {
                kept.texts.clear();
            }
            if !kept.texts.iter().any(|(number, _)| *number == revision) {
                kept.texts.push((revision, made.clone()));
            }
        }
        Ok(made)
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
