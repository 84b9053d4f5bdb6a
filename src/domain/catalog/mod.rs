//! The catalogue: snaps, their revisions, what is released where, and which store shows what (admin-api.md 1,
//! device-api.md 16). Pure rules and the records they work on.

mod channel;
mod delta;
mod expiry;
mod head;
mod mirrored;
mod naming;
mod offer;
mod overriding;
mod past;
mod push;
mod release_rules;
mod releases;
mod report;
mod screenshot;
mod sharing;
mod snap;
mod told;
mod visible;

pub use channel::{Channel, LATEST, Risk, Track};
pub use delta::{DeltaFile, DeltaRecord, WORTHWHILE, is_worthwhile, likely_steps};
pub use expiry::expired;
pub use head::{CatalogHead, Changed};
pub use naming::{KnownPrefix, NameRefusal, Registrant, may_be, may_register, prefixes_of};
pub use offer::{Ask, Offer, chance, offer};
pub use overriding::{Override, Pin, Pins};
pub use past::{MEMORY, Past};
pub use push::{
    LEASE, MOST_TURNS, PUSH_LIFE, PushRecord, PushState, PushedDelta, PushedFile, UNCLAIMED_LIFE, UploadId,
    UploadRecord,
};
pub use release_rules::{
    PatternError, ReleaseRefusal, check_pattern, guarded, held_there, may_release, released_for,
};
pub use releases::{BRANCH_LIFE, Found, MAX_OPEN, Part, Progressive, Release, Releases, followers};
pub use report::{DeviceReport, ReportedSnap, WaveReport, device_uuid};
pub use screenshot::{NoScreenshot, Picture, Screenshot};
pub use sharing::{SHARE_LIFE, ShareAct, ShareEnd, ShareInvite, ShareRefusal, ShareStatus};
pub use snap::{
    Component, Icon, Inclusion, Listing, RevisionRecord, SnapPrefix, SnapRecord, StoreKind, revision_key,
};
pub use told::{Event, Holds, Shown};
pub use visible::{Placed, Stores, Viewer, WELL_KNOWN, permits, sees, visible, well_known_id};
