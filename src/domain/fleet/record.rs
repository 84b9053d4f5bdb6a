//! What is kept of waves, devices and groups (waves-and-registration.md A.8, data sketch).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::binding::Binding;
use super::gate::ErrorGate;
use super::health::Patience;
use super::wave::Wave;
use crate::domain::access::Authorship;
use crate::domain::ident::{AccountId, DeviceId, GroupName, SnapId, StoreId, Tag, WaveName};
use crate::domain::time::Timestamp;

/// Whether devices of a model are production devices: those that get what waves let out, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProductionRule {
    /// They are test devices: their channels decide.
    #[default]
    No,
    /// All of them are.
    Yes,
    /// Those are whose serial is on the model's allow-list.
    AllowList,
}

impl std::str::FromStr for ProductionRule {
    type Err = crate::domain::ident::IdentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "no" => Ok(Self::No),
            "yes" => Ok(Self::Yes),
            "allow-list" => Ok(Self::AllowList),
            other => Err(crate::domain::ident::IdentError::new(
                "production rule (no, yes, allow-list)",
                other,
            )),
        }
    }
}

/// What devices of a model become when they register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct FleetRule {
    /// Whether they are production devices. For good: later changes of the rule are for later devices.
    pub production: ProductionRule,
    /// The tag they follow at first.
    pub tag: Option<Tag>,
}

impl FleetRule {
    /// Whether devices of the model need no place in the fleet.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A device as waves see it. A device without such a record is a test device without tag or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FleetDevice {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceId,
    /// The store whose waves it sees.
    pub store: StoreId,
    /// Whether it is a production device; fixed when it registers.
    pub production: bool,
    /// The update stream it follows.
    pub tag: Option<Tag>,
    /// Its group.
    pub group: Option<GroupName>,
    /// When it took this place.
    pub since: Timestamp,
}

/// A group of devices of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Group {
    /// Of which store.
    pub store: StoreId,
    /// Its name.
    pub name: GroupName,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    #[serde(default)]
    pub authorship: Authorship,
}

/// What happens when the error gate trips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The wave is halted: an operator looks at it.
    #[default]
    Halt,
    /// The wave is cancelled.
    Cancel,
}

/// What happens when enough devices are healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSuccess {
    /// An operator goes on.
    #[default]
    Nothing,
    /// The next of the steps is rolled out; after the last one nothing more.
    NextStep,
    /// The next of the steps is rolled out; after the last one the wave is completed.
    Complete,
}

/// A rollout that is made by itself once the one before did well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// To devices of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// To at most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// To at most this part of those that match, out of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
}

/// How a wave goes on, or stops, by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Policy {
    /// When too many fall back.
    pub error: ErrorGate,
    /// Part of the exposed devices, out of 100, that has to be healthy.
    pub success: u8,
    /// What a device has to do to count as healthy.
    pub patience: Patience,
    /// What happens when too many fall back.
    pub on_error: OnError,
    /// What happens when enough are healthy.
    pub on_success: OnSuccess,
    /// Rollouts to come, in order.
    pub steps: Vec<Step>,
    /// When devices are told of the wave; at any time where there is none.
    pub window: Option<Window>,
}

impl Default for Policy {
    /// Halts when 5 of 100 fall back, of at least 10; goes on by itself with nothing.
    fn default() -> Self {
        Self {
            error: ErrorGate::default(),
            success: 90,
            patience: Patience::default(),
            on_error: OnError::default(),
            on_success: OnSuccess::default(),
            steps: Vec::new(),
            window: None,
        }
    }
}

/// Hours and days at which devices are told of a wave. Outside of them they keep what they have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Window {
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Days of the week, 1 = Monday to 7 = Sunday; all where none is named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub days: BTreeSet<u8>,
    /// From this hour of the day on, 0 to 23.
    #[serde(default)]
    pub from: u8,
    /// To before this hour, 1 to 24; where it is not above `from` the window reaches over midnight.
    #[serde(default = "midnight")]
    pub to: u8,
    /// Minutes by which the clock of these hours is ahead of UTC.
    #[serde(default)]
    pub utc_offset: i16,
}

fn midnight() -> u8 {
    24
}

impl Window {
    /// Whether it makes sense: hours, days and offset are within their limits.
    pub fn is_sound(&self) -> bool {
        self.from <= 23
            && (1..=24).contains(&self.to)
            && self.days.iter().all(|day| (1..=7).contains(day))
            && (-18 * 60..=18 * 60).contains(&self.utc_offset)
    }

    /// Whether it is open. A window over midnight belongs to the day it began on.
    pub fn is_open(&self, now: Timestamp) -> bool {
        const DAY: i64 = 24 * 3600;
        if self.not_before.is_some_and(|first| now < first) {
            return false;
        }
        let local = now.unix().saturating_add(i64::from(self.utc_offset) * 60);
        let (mut day, hour) = (local.div_euclid(DAY), local.rem_euclid(DAY) / 3600);
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        let open = if from < to {
            from <= hour && hour < to
        } else if hour < to {
            day -= 1;
            true
        } else {
            from <= hour
        };
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3).rem_euclid(7) + 1;
        open && (self.days.is_empty()
            || u8::try_from(weekday).is_ok_and(|weekday| self.days.contains(&weekday)))
    }
}

/// One rollout of a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rollout {
    /// 1, 2, ...
    pub number: u32,
    /// Within this group.
    pub group: Option<GroupName>,
    /// Out of so many devices that were named.
    pub named: Option<u64>,
    /// To at most so many.
    pub limit: Option<u64>,
    /// To at most this part of those that match, out of 100.
    pub percentage: Option<u8>,
    /// Whether it is for the whole group, and who joins later too.
    pub full_group: bool,
    /// How many devices matched.
    pub matching: u64,
    /// How many of them could be taken.
    pub eligible: u64,
    /// How many were.
    pub selected: u64,
    /// What chance was made of.
    pub seed: u64,
    /// By whom; none = by the wave's policy, or on the machine itself.
    pub by: Option<AccountId>,
    /// When.
    pub at: Timestamp,
    /// What the caller named it, so that the same call again is not another rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A wave with its story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WaveRecord {
    /// The wave.
    #[serde(flatten)]
    pub wave: Wave,
    /// When it was made.
    pub created: Timestamp,
    /// By whom, and who changed it last.
    #[serde(default)]
    pub authorship: Authorship,
    /// When it was completed or cancelled.
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// Its rollouts, in order.
    #[serde(default)]
    pub history: Vec<Rollout>,
    /// How it goes on by itself.
    #[serde(default)]
    pub policy: Policy,
    /// Snaps that are pinned no more once it is complete: their channels decide again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub prune: BTreeSet<SnapId>,
    /// The validation sets by which devices hold themselves to it; none = the store alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// Why it was halted or cancelled by itself.
    #[serde(default)]
    pub why: Option<String>,
    /// What a listener was not told yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// The number of the last notice.
    #[serde(default)]
    pub noticed: u32,
    /// Until when one of several processes tells the listener; the others leave it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telling: Option<Timestamp>,
}

/// Something that happened to a wave and that a listener shall be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notice {
    /// 1, 2, ... for each wave.
    pub number: u32,
    /// What happened, in the words of the audit log.
    pub event: String,
    /// Why, where it happened by itself.
    pub why: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Devices a rollout chose, or (number 0) one that first asked as a member of a whole group: it stays exposed wherever it
/// goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exposure {
    /// Of which store.
    pub store: StoreId,
    /// To which wave.
    pub wave: WaveName,
    /// By which rollout.
    pub rollout: u32,
    /// Which part of it: a rollout of many devices is many records, written as one.
    pub part: String,
    /// The uuids, 16 bytes each, in base64.
    devices: String,
}

impl Exposure {
    /// Of these devices.
    pub fn new(store: StoreId, wave: WaveName, rollout: u32, part: String, devices: &[u128]) -> Self {
        use base64::Engine as _;
        let bytes: Vec<u8> = devices.iter().flat_map(|device| device.to_be_bytes()).collect();
        Self {
            store,
            wave,
            rollout,
            part,
            devices: base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes),
        }
    }

    /// The devices; none if the record is broken.
    pub fn devices(&self) -> Option<Vec<u128>> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD_NO_PAD
            .decode(&self.devices)
            .ok()?;
        let (whole, rest) = bytes.as_chunks::<16>();
        rest.is_empty()
            .then(|| whole.iter().map(|id| u128::from_be_bytes(*id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_rollout_are_read_as_written() {
        let ids = [0, 7, u128::MAX];
        let exposure = |ids: &[u128]| {
            Exposure::new(
                "acme".parse().unwrap(),
                "w".parse().unwrap(),
                1,
                "0".to_owned(),
                ids,
            )
        };
        assert_eq!(exposure(&ids).devices(), Some(ids.to_vec()));
        assert_eq!(exposure(&[]).devices(), Some(Vec::new()));
        let broken = Exposure {
            devices: "AAAA".to_owned(),
            ..exposure(&ids)
        };
        assert_eq!(broken.devices(), None);
    }

    #[test]
    fn windows_open_by_day_and_hour() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let window = |days: &[u8], from, to, utc_offset| Window {
            not_before: None,
            days: days.iter().copied().collect(),
            from,
            to,
            utc_offset,
        };
        // 2026-11-20 is a Friday.
        let day = window(&[], 8, 12, 0);
        assert!(!day.is_open(at("2026-11-20T07:59:59Z")));
        assert!(day.is_open(at("2026-11-20T08:00:00Z")));
        assert!(!day.is_open(at("2026-11-20T12:00:00Z")));
        // The night from Friday to Saturday.
        let night = window(&[5], 22, 4, 0);
        assert!(night.is_open(at("2026-11-20T23:00:00Z")));
        assert!(night.is_open(at("2026-11-21T03:59:00Z")));
        assert!(!night.is_open(at("2026-11-20T03:00:00Z")));
        assert!(!night.is_open(at("2026-11-21T22:00:00Z")));
        // Where it is three hours later.
        let east = window(&[6], 0, 2, 180);
        assert!(east.is_open(at("2026-11-20T21:30:00Z")));
        assert!(!east.is_open(at("2026-11-20T20:59:00Z")));
        let later = Window {
            not_before: Some(at("2026-12-01T00:00:00Z")),
            ..window(&[], 0, 24, 0)
        };
        assert!(!later.is_open(at("2026-11-30T23:59:59Z")));
        assert!(later.is_open(at("2026-12-01T00:00:00Z")));
        assert!(!window(&[0], 0, 24, 0).is_sound());
        assert!(!window(&[], 24, 24, 0).is_sound());
        assert!(window(&[7], 0, 24, -300).is_sound());
    }
}
