//! A wave: the next production revisions of a tag, and how far they have been let out (waves-and-registration.md A.3, A.8).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pin::{Entry, Pin, PinRef};
use crate::domain::ident::{GroupName, SnapId, StoreId, Tag, WaveName};
use crate::domain::time::Timestamp;

/// Whether a wave goes on to something newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaveKind {
    /// Only to revisions not below those of the production map.
    Forward,
    /// Back to earlier ones: only then may a device be told a lower revision than it has.
    Rollback,
}

/// Where a wave is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaveStatus {
    /// It waits for signatures; no device sees it.
    Draft,
    /// Devices it was rolled out to see it.
    Active,
    /// Nobody gets it any more who has not got it; who has it keeps it.
    Halted,
    /// It is what all production devices of its tag see. For good.
    Complete,
    /// It was withdrawn. For good.
    Canceled,
}

/// What an operator does with a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Its signatures are there.
    Sign,
    /// Let it out to more devices.
    Rollout,
    /// Stop it for now.
    Halt,
    /// Go on.
    Resume,
    /// Let it out to all, for good.
    Complete,
    /// Withdraw it.
    Cancel,
}

/// Why something is not done with a wave. The code goes on the wire (waves-and-registration.md A.6).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaveError {
    /// It is over.
    #[error("the wave is complete; make another one")]
    Complete,
    /// It is over.
    #[error("the wave was canceled; make another one")]
    Canceled,
    /// It waits for signatures.
    #[error("its signatures are missing; sign it first")]
    NotEnoughSignatures,
    /// It has them.
    #[error("it is signed already")]
    Signed,
    /// It stands still.
    #[error("the wave is halted; resume it first")]
    Halted,
    /// It does not stand still.
    #[error("the wave is not halted")]
    NotHalted,
    /// Its time is over.
    #[error("the wave expired at {0}; cancel it and make another one")]
    Expired(Timestamp),
    /// A revision is below that of the production map.
    #[error("revision {wanted} of snap {} is below revision {published}, which devices of the tag have; make a rollback wave to go back", pin.snap_id)]
    VersionNotNewer {
        /// For what.
        pin: Pin,
        /// In the wave.
        wanted: u64,
        /// In the production map.
        published: u64,
    },
    /// It says nothing.
    #[error("it has no revision; name at least one")]
    Empty,
    /// It says two things.
    #[error("snap {} is named twice for {} on {}", .0.snap_id, .0.channel, .0.architecture)]
    Twice(Pin),
    /// A rollout of nobody in particular.
    #[error("nobody is selected; name a group, a limit or devices, or complete the wave")]
    SelectorRequired,
    /// The limit is no limit.
    #[error("a limit starts at 1")]
    NoLimit,
    /// A percentage that is none.
    #[error("a percentage is a whole number from 1 to 100")]
    NoPercentage,
    /// A validation set could not say it.
    #[error("snap {snap} would have revision {} in one place and {} in another, and a validation set names one; use one tag for each architecture and channel", .revisions.0, .revisions.1)]
    SeveralRevisions {
        /// The snap.
        snap: SnapId,
        /// Two of its revisions.
        revisions: (u64, u64),
    },
}

impl WaveError {
    /// What programs compare.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Complete => "wave-complete",
            Self::Canceled => "wave-canceled",
            Self::NotEnoughSignatures => "not-enough-signatures",
            Self::Signed => "wave-signed",
            Self::Halted => "wave-halted",
            Self::NotHalted => "wave-not-halted",
            Self::Expired(_) => "wave-expired",
            Self::VersionNotNewer { .. } => "version-not-newer",
            Self::Empty | Self::Twice(_) => "invalid-wave",
            Self::SelectorRequired => "selector-required",
            Self::NoLimit => "invalid-limit",
            Self::NoPercentage => "invalid-percentage",
            Self::SeveralRevisions { .. } => "several-revisions",
        }
    }
}

/// A wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Wave {
    /// Of which store.
    pub store: StoreId,
    /// For devices of which tag.
    pub tag: Tag,
    /// Its name.
    pub name: WaveName,
    /// Its place among all that was ever published for the tag. The next number is that of its abort: the document that
    /// says what was before, for devices that enforce what they were told.
    pub sequence: u64,
    /// Forward or back.
    pub kind: WaveKind,
    /// Where it is in its life.
    pub status: WaveStatus,
    /// Its revisions, in the order of what they are pinned for, each pin once.
    entries: Vec<Entry>,
    /// When it stops by itself.
    pub expires: Timestamp,
    /// Groups it was rolled out to as a whole, with the number of the rollout: who joins later sees it too.
    pub groups: BTreeMap<GroupName, u32>,
    /// How many rollouts there were.
    pub rollouts: u32,
}

impl Wave {
    /// A wave that nobody sees yet.
    ///
    /// # Errors
    /// [`WaveError::Empty`], [`WaveError::Twice`].
    pub fn draft(
        store: StoreId,
        tag: Tag,
        name: WaveName,
        sequence: u64,
        kind: WaveKind,
        mut entries: Vec<Entry>,
        expires: Timestamp,
    ) -> Result<Self, WaveError> {
        if entries.is_empty() {
            return Err(WaveError::Empty);
        }
        entries.sort_by(|a, b| a.pin.cmp(&b.pin));
        if let Some(twice) = entries.windows(2).find_map(|pair| match pair {
            [one, other] if one.pin == other.pin => Some(one.pin.clone()),
            _ => None,
        }) {
            return Err(WaveError::Twice(twice));
        }
        Ok(Self {
            store,
            tag,
            name,
            sequence,
            kind,
            status: WaveStatus::Draft,
            entries,
            expires,
            groups: BTreeMap::new(),
            rollouts: 0,
        })
    }

    /// Its revisions.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of the document that takes it back.
    pub fn abort_sequence(&self) -> u64 {
        self.sequence.saturating_add(1)
    }

    /// The revision it has for a pin.
    pub fn revision(&self, pin: PinRef<'_>) -> Option<u64> {
        let order = |entry: &Entry| entry.pin.by_ref().cmp(&pin);
        let at = self.entries.binary_search_by(order).ok()?;
        self.entries.get(at).map(|entry| entry.revision)
    }

    /// Whether it is neither complete nor canceled: a tag has at most one such wave.
    pub fn is_open(&self) -> bool {
        matches!(
            self.status,
            WaveStatus::Draft | WaveStatus::Active | WaveStatus::Halted
        )
    }

    /// Whether devices it was rolled out to are told of it now. One that has expired stands as if halted.
    pub fn is_offered(&self, now: Timestamp) -> bool {
        self.status == WaveStatus::Active && now < self.expires
    }

    /// Does what an operator wants, or says why not; a rollout is counted.
    ///
    /// # Errors
    /// What its status forbids. It is as before then.
    pub fn act(&mut self, act: Act, now: Timestamp) -> Result<(), WaveError> {
        self.status = self.after(act, now)?;
        if act == Act::Rollout {
            self.rollouts += 1;
        }
        Ok(())
    }

    fn after(&self, act: Act, now: Timestamp) -> Result<WaveStatus, WaveError> {
        use WaveStatus::{Active, Canceled, Complete, Draft, Halted};
        match (self.status, act) {
            (Complete, _) => Err(WaveError::Complete),
            (Canceled, _) => Err(WaveError::Canceled),
            (_, Act::Cancel) => Ok(Canceled),
            (Draft, Act::Sign) => Ok(Active),
            (_, Act::Sign) => Err(WaveError::Signed),
            (Draft, _) => Err(WaveError::NotEnoughSignatures),
            (Halted, Act::Halt | Act::Rollout) => Err(WaveError::Halted),
            (Active, Act::Halt) => Ok(Halted),
            (Active, Act::Resume) => Err(WaveError::NotHalted),
            (_, Act::Rollout | Act::Complete | Act::Resume) if self.expires <= now => {
                Err(WaveError::Expired(self.expires))
            }
            (Active, Act::Rollout) | (Halted, Act::Resume) => Ok(Active),
            (Active | Halted, Act::Complete) => Ok(Complete),
        }
    }
}
