//! How many devices have which snap: counted with the reports of devices, in the same commit, and told to publishers.
//!
//! Every process writes numbers of its own ([`SnapDay::part`]): they add up, so that processes that share a database never
//! wait for each other, and one that starts has nothing to read. Parts of days that are over are merged ([`sweep`]).

mod sweep;
mod tell;

pub use sweep::sweep;
pub use tell::{Answer, Question, Series, tell};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::store::Snapshot;
use super::{App, Refusal};
use crate::domain::audit::hex;
use crate::domain::ident::SnapId;
use crate::domain::numbers::{SnapDay, Step};
use crate::domain::time::Day;
use crate::ports::{Change, Record as _, Versioned};

type Place = (SnapId, Day);

/// What this process counts, as it is written: nothing is in here that is not in the storage.
#[derive(Debug, Default)]
pub struct Numbers {
    /// The name of this process.
    part: OnceLock<String>,
    written: Mutex<HashMap<Place, Versioned<SnapDay>>>,
}

/// Numbers that are to be written with the reports they come from.
#[derive(Debug)]
pub(super) struct Draft {
    /// With the version they had; 0 = they are new.
    days: Vec<Versioned<SnapDay>>,
}

impl Numbers {
    /// The numbers after `steps`.
    pub(super) async fn draft(app: &App, catalog: &Snapshot, steps: &[Step]) -> Result<Draft, Refusal> {
        let mut days: BTreeMap<Place, Versioned<SnapDay>> = BTreeMap::new();
        for step in steps {
            let place = (step.snap_id.clone(), step.day);
            if !days.contains_key(&place) {
                let day = app.numbers.day(app, &place).await?;
                days.insert(place.clone(), day);
            }
            let revisions = catalog.any(&step.snap_id).map(|entry| &entry.revisions);
            let revision = revisions.and_then(|revisions| revisions.get(&step.now.revision));
            if let Some(day) = days.get_mut(&place) {
                let version = revision.map(|revision| revision.version.as_str());
                day.record.apply(step, version);
            }
        }
        Ok(Draft {
            days: days.into_values().collect(),
        })
    }

    /// What this process has written of a day.
    async fn day(&self, app: &App, (snap_id, day): &Place) -> Result<Versioned<SnapDay>, Refusal> {
        if let Some(known) = self.lock().get(&(snap_id.clone(), *day)) {
            return Ok(known.clone());
        }
        let part = self.part.get_or_init(|| {
            let mut name = [0; 16];
            app.entropy.fill(&mut name);
            hex(&name)
        });
        let day = SnapDay::new(snap_id.clone(), *day, part.clone());
        // Only after a commit of which nobody knows whether it was done is there anything.
        let found = app.storage.find::<SnapDay>(day.key()).await?;
        Ok(found.unwrap_or(Versioned {
            record: day,
            version: 0,
        }))
    }

    /// The draft was written.
    pub(super) fn keep(&self, draft: Draft) {
        let Some(newest) = draft.days.iter().map(|day| day.record.day).max() else {
            return;
        };
        let mut written = self.lock();
        for mut day in draft.days {
            day.version += 1;
            written.insert((day.record.snap_id.clone(), day.record.day), day);
        }
        // Reports of the day before may still be on their way.
        written.retain(|(_, day), _| newest.since(*day) <= 1);
    }

    /// The draft was not written, or nobody knows: what is written is looked up again.
    pub(super) fn forget(&self, draft: &Draft) {
        let mut written = self.lock();
        for day in &draft.days {
            written.remove(&(day.record.snap_id.clone(), day.record.day));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Versioned<SnapDay>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft {
    /// What is to be written.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        self.days.iter().map(|day| match day.version {
            0 => Change::create(&day.record),
            version => Change::replace(&day.record, version),
        })
    }
}
