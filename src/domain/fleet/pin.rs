//! What a revision is pinned for.

use serde::{Deserialize, Serialize};

use crate::domain::catalog::Channel;
use crate::domain::ident::{Architecture, SnapId};

/// A snap as devices have it: they follow this channel and run on this architecture (waves-and-registration.md A.7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pin {
    /// The snap.
    pub snap_id: SnapId,
    /// The channel they follow, without a branch.
    pub channel: Channel,
    /// What they run on.
    pub architecture: Architecture,
}

impl Pin {
    /// The same without its own texts.
    pub fn by_ref(&self) -> PinRef<'_> {
        PinRef {
            snap_id: &self.snap_id,
            channel: &self.channel,
            architecture: &self.architecture,
        }
    }
}

/// A pin whose texts are somebody else's: asked with every refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PinRef<'a> {
    /// The snap.
    pub snap_id: &'a SnapId,
    /// The channel, without a branch.
    pub channel: &'a Channel,
    /// What the device runs on.
    pub architecture: &'a Architecture,
}

/// A pinned revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// For what.
    #[serde(flatten)]
    pub pin: Pin,
    /// Which revision.
    pub revision: u64,
}
