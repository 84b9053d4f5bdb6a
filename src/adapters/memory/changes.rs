//! What changed of the fleet, for other handles on the same data.

use std::collections::{BTreeSet, VecDeque};

use async_trait::async_trait;

use super::Memory;
use crate::domain::ident::DeviceId;
use crate::ports::{ChangeLog, Changes, FOLLOWED, Key, Kind, Mark, StoreError};

/// Changes that are kept.
const MOST: usize = 100_000;

/// The last changes, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    changes: VecDeque<What>,
    /// How many were forgotten.
    gone: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Record(Kind, Key),
    Standing(DeviceId),
}

impl Log {
    /// Records were changed.
    pub(super) fn note<'k>(&mut self, keys: impl Iterator<Item = (Kind, &'k Key)>) {
        let followed = keys.filter(|(kind, _)| FOLLOWED.contains(kind));
        self.keep(followed.map(|(kind, key)| What::Record(kind, key.clone())));
    }

    /// A serial was judged.
    pub(super) fn note_standing(&mut self, device: &DeviceId) {
        self.keep(std::iter::once(What::Standing(device.clone())));
    }

    fn keep(&mut self, changes: impl Iterator<Item = What>) {
        self.changes.extend(changes);
        let surplus = self.changes.len().saturating_sub(MOST);
        self.changes.drain(..surplus);
        self.gone += surplus as u64;
    }

    fn end(&self) -> u64 {
        self.gone + self.changes.len() as u64
    }

    /// What changed after so many changes; none if some of it was forgotten.
    fn after(&self, number: u64) -> Option<BTreeSet<What>> {
        let known = usize::try_from(number.checked_sub(self.gone)?).ok()?;
        Some(self.changes.iter().skip(known).cloned().collect())
    }
}

#[async_trait]
impl ChangeLog for Memory {
    async fn mark(&self) -> Result<Option<Mark>, StoreError> {
        Ok(Some(Mark(self.lock()?.changes.end().to_string())))
    }

    async fn changes(&self, since: &Mark) -> Result<Option<Changes>, StoreError> {
        let number = since
            .0
            .parse()
            .map_err(|_| StoreError::Corrupt("a mark of another storage".to_owned()))?;
        let state = self.lock()?;
        let Some(mut changed) = state.changes.after(number) else {
            return Ok(None);
        };
        // What belongs to a device comes with its place.
        let placed = changed.iter().filter_map(|what| match what {
            What::Record(Kind::FleetDevice, key) => Some(key.clone()),
            What::Record(..) | What::Standing(_) => None,
        });
        for key in placed.collect::<Vec<_>>() {
            changed.insert(What::Standing(device(&key)?));
            changed.insert(What::Record(Kind::Device, key));
        }
        let mut changes = Changes {
            mark: Mark(state.changes.end().to_string()),
            records: Vec::new(),
            standings: Vec::new(),
        };
        for what in changed {
            match what {
                What::Record(kind, key) => {
                    let found = state.records.get(kind, &key);
                    changes.records.extend(found.map(|found| (kind, found)));
                }
                What::Standing(device) => {
                    let standing = state.ledger.standing_of(&device);
                    changes.standings.push((device, standing));
                }
            }
        }
        Ok(Some(changes))
    }
}

fn device(key: &Key) -> Result<DeviceId, StoreError> {
    let corrupt = || StoreError::Corrupt(format!("the place of device {}", key.0.join("/")));
    let [brand, model, serial] = key.0.as_slice() else {
        return Err(corrupt());
    };
    Ok(DeviceId {
        brand: brand.parse().map_err(|_| corrupt())?,
        model: model.parse().map_err(|_| corrupt())?,
        serial: serial.parse().map_err(|_| corrupt())?,
    })
}
