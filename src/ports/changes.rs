//! What processes that share a storage change of the fleet: update control keeps it in memory, and follows what others do.

use async_trait::async_trait;

use super::{Kind, StoreError, StoredRecord};
use crate::domain::ident::DeviceId;
use crate::domain::vault::Standing;

/// A moment of the storage, in a form of its own. Good while the storage runs; never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(pub String);

/// What changed since a mark, as it is at one moment: all of a commit, or nothing of it.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The moment.
    pub mark: Mark,
    /// The records, as they are now. With a device's place comes what it last reported.
    pub records: Vec<(Kind, StoredRecord)>,
    /// What operators judge now of serials; none = nothing. That of a device whose place changed is among them.
    pub standings: Vec<(DeviceId, Option<Standing>)>,
}

/// Kinds of records that are followed. None of them is ever deleted.
pub const FOLLOWED: &[Kind] = &[
    Kind::Model,
    Kind::ProductionMap,
    Kind::Wave,
    Kind::FleetDevice,
    Kind::Device,
    Kind::Exposure,
];

/// Following what others change.
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// The present moment: what is committed from now on is a change since it, what is read from now on has all before it. None:
    /// no other process can have this storage open, so there is nothing to follow.
    async fn mark(&self) -> Result<Option<Mark>, StoreError>;

    /// What was committed since `since`, by any process, this one too: each change at least once, whatever the order in which
    /// commits began and ended. None: that is too long ago, or too much, or the server is another one since: all must be read anew.
    async fn changes(&self, since: &Mark) -> Result<Option<Changes>, StoreError>;
}
