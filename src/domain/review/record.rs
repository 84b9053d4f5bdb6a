//! The records of reviews.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::checks::Finding;
use super::grant::Attribute;
use super::interfaces::Interface;
use super::state::{Act, ReviewState};
use crate::domain::assertion::types::InterfaceSide;
use crate::domain::audit::Actor;
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Channel, Icon};
use crate::domain::ident::{AccountId, BrandId, KeyName, SnapId, StoreId};
use crate::domain::time::Timestamp;

/// Longest comment, in characters.
pub const MAX_COMMENT: usize = 4000;
/// Most steps of one review; after that it can only be decided.
pub const MAX_STEPS: usize = 100;

/// The review of one revision: what was found, what was done, and what approving it sets off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReviewRecord {
    /// The base store of the snap.
    pub store_id: StoreId,
    /// The snap.
    pub snap_id: SnapId,
    /// The revision.
    pub revision: u64,
    /// The brand of the store.
    pub brand_id: BrandId,
    /// The file.
    pub blob: BlobId,
    /// Its provenance.
    pub provenance: String,
    /// Where it stands; as in the record of the revision.
    pub state: ReviewState,
    /// What the automatic checks found the last time.
    pub findings: Vec<Finding>,
    /// Who uploaded it; none: somebody with access to the data directory.
    pub uploader: Option<AccountId>,
    /// Where it is released to when it is approved.
    pub channels: Vec<Channel>,
    /// Who asked for that, where it was somebody else than who uploaded it.
    #[serde(default)]
    pub release_by: Option<AccountId>,
    /// Only to this part of the devices, out of 100.
    #[serde(default)]
    pub percentage: Option<f64>,
    /// The brand key that signs, where the snap-declaration delegates to the brand; none = the default.
    #[serde(default)]
    pub key: Option<KeyName>,
    /// The icon the file brings; the snap shows it from the approval on.
    #[serde(default)]
    pub icon: Option<Icon>,
    /// What was done, the oldest first.
    pub history: Vec<Step>,
    /// When it was uploaded.
    pub created: Timestamp,
}

impl ReviewRecord {
    /// Goes on to `to`.
    pub fn step(&mut self, time: Timestamp, actor: Actor, act: Act, to: ReviewState, comment: &str) {
        let from = (act != Act::Check).then_some(self.state);
        self.history.push(Step {
            time,
            actor,
            act,
            from,
            to,
            comment: comment.to_owned(),
        });
        self.state = to;
    }

    /// When something was done the last time.
    pub fn changed(&self) -> Timestamp {
        self.history.last().map_or(self.created, |step| step.time)
    }
}

/// One step of a review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What.
    pub act: Act,
    /// The state before; none for the upload.
    pub from: Option<ReviewState>,
    /// The state after.
    pub to: ReviewState,
    /// What they said; may be empty.
    pub comment: String,
}

/// A grant that a reviewer wants and a second person has to confirm (class C, admin-api.md 1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GrantRequest {
    /// The snap.
    pub snap_id: SnapId,
    /// Plug or slot.
    pub side: InterfaceSide,
    /// The interface.
    pub interface: Interface,
    /// What is granted.
    pub attribute: Attribute,
    /// Only on devices of these stores; empty = of all.
    pub on_store: BTreeSet<StoreId>,
    /// Who wants it.
    pub requested_by: AccountId,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// When.
    pub created: Timestamp,
}
