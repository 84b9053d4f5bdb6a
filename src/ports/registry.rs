//! The registry: the small records of the instance (accounts, brands, models, keys...), each with a version.

mod kind;
mod records;

pub use kind::Kind;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::domain::ident::AccountId;

/// The key of a record: the values of [`Kind::key_parts`]. No part contains a NUL byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub Vec<String>);

impl<const N: usize> From<[&str; N]> for Key {
    fn from(parts: [&str; N]) -> Self {
        Self(parts.iter().map(|part| (*part).to_owned()).collect())
    }
}

/// A type kept in the registry.
pub trait Record: Serialize + DeserializeOwned + Send + Sync {
    /// Its kind.
    const KIND: Kind;

    /// Its key.
    fn key(&self) -> Key;

    /// Values no other record of the kind may have: (field, value). Looked up with [`Registry::by_unique`].
    fn unique(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// A record as the adapters see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its key.
    pub key: Key,
    /// Its version, from 1; grows with every change.
    pub version: u64,
    /// The record as JSON.
    pub json: Vec<u8>,
}

impl StoredRecord {
    /// Whether its field `account-id` is `account`. Records are written without spaces, and quotes in texts are escaped.
    pub fn is_of(&self, account: &AccountId) -> bool {
        let field = format!("\"account-id\":\"{account}\"");
        std::str::from_utf8(&self.json).is_ok_and(|text| text.contains(&field))
    }
}

/// What must be true of a record for a change to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It is not there.
    Absent,
    /// It is there with this version.
    Version(u64),
}

/// One change to the registry. Built with [`Change::create`], [`Change::replace`], [`Change::delete`].
#[derive(Clone, Debug)]
pub struct Change {
    /// The kind of record.
    pub kind: Kind,
    /// Its key.
    pub key: Key,
    /// What must be true.
    pub expect: Expect,
    /// The new JSON; none deletes it.
    pub json: Option<Vec<u8>>,
    /// Its unique values after the change (none when it is deleted).
    pub unique: Vec<(&'static str, String)>,
}

impl Change {
    /// Makes a record that must not be there yet.
    pub fn create<R: Record>(record: &R) -> Self {
        Self::write(record, Expect::Absent)
    }

    /// Replaces version `version` of a record.
    pub fn replace<R: Record>(record: &R, version: u64) -> Self {
        Self::write(record, Expect::Version(version))
    }

    /// Deletes version `version` of the record.
    pub fn delete<R: Record>(record: &R, version: u64) -> Self {
        Self {
            kind: R::KIND,
            key: record.key(),
            expect: Expect::Version(version),
            json: None,
            unique: Vec::new(),
        }
    }

    fn write<R: Record>(record: &R, expect: Expect) -> Self {
        // Records are plain structs with string keys: their serialisation cannot fail.
        let json = serde_json::to_vec(record).unwrap_or_default();
        Self {
            kind: R::KIND,
            key: record.key(),
            expect,
            json: Some(json),
            unique: record.unique(),
        }
    }
}

/// Reading records. Writes go through [`super::Storage::commit`].
#[async_trait]
pub trait Registry: Send + Sync {
    /// The record with this key.
    async fn record(&self, kind: Kind, key: &Key) -> Result<Option<StoredRecord>, StoreError>;

    /// The record that has `value` as its unique `field`.
    async fn by_unique(
        &self,
        kind: Kind,
        field: &'static str,
        value: &str,
    ) -> Result<Option<StoredRecord>, StoreError>;

    /// All records whose key starts with the parts of `prefix` (an empty prefix: all), ordered by key.
    async fn records(&self, kind: Kind, prefix: &Key) -> Result<Vec<StoredRecord>, StoreError>;

    /// At most `limit` of the records whose key starts with the parts of `prefix`, ordered by key, after the key `after`: for
    /// kinds of which there are many.
    async fn records_after(
        &self,
        kind: Kind,
        prefix: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError>;

    /// All records of the kind whose field `account-id` is `account`, ordered by key: tokens and memberships of somebody,
    /// without those of all others leaving the engine.
    async fn records_of(&self, kind: Kind, account: &AccountId) -> Result<Vec<StoredRecord>, StoreError>;
}

/// A record with the version it was read at.
#[derive(Clone, Debug)]
pub struct Versioned<R> {
    /// The record.
    pub record: R,
    /// Its version, for [`Change::replace`].
    pub version: u64,
}

impl<R: Record> TryFrom<StoredRecord> for Versioned<R> {
    type Error = StoreError;

    fn try_from(stored: StoredRecord) -> Result<Self, StoreError> {
        let record = serde_json::from_slice(&stored.json).map_err(|e| {
            StoreError::Corrupt(format!("{} {}: {e}", R::KIND.name(), stored.key.0.join("/")))
        })?;
        Ok(Self {
            record,
            version: stored.version,
        })
    }
}

impl dyn super::Storage {
    /// The record of type `R` with this key.
    pub async fn find<R: Record>(&self, key: impl Into<Key>) -> Result<Option<Versioned<R>>, StoreError> {
        self.record(R::KIND, &key.into())
            .await?
            .map(Versioned::try_from)
            .transpose()
    }

    /// The record of type `R` with this unique value.
    pub async fn find_unique<R: Record>(
        &self,
        field: &'static str,
        value: &str,
    ) -> Result<Option<Versioned<R>>, StoreError> {
        self.by_unique(R::KIND, field, value)
            .await?
            .map(Versioned::try_from)
            .transpose()
    }

    /// All records of type `R` whose field `account-id` is `account`.
    pub async fn all_of<R: Record>(&self, account: &AccountId) -> Result<Vec<Versioned<R>>, StoreError> {
        self.records_of(R::KIND, account)
            .await?
            .into_iter()
            .map(Versioned::try_from)
            .collect()
    }

    /// All records of type `R` below `prefix`.
    pub async fn all<R: Record>(&self, prefix: impl Into<Key>) -> Result<Vec<Versioned<R>>, StoreError> {
        self.records(R::KIND, &prefix.into())
            .await?
            .into_iter()
            .map(Versioned::try_from)
            .collect()
    }
}

impl dyn super::Storage {
    /// At most `limit` records of type `R` below `prefix`, after the key `after`.
    pub async fn page<R: Record>(
        &self,
        prefix: impl Into<Key>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Versioned<R>>, StoreError> {
        self.records_after(R::KIND, &prefix.into(), after, limit)
            .await?
            .into_iter()
            .map(Versioned::try_from)
            .collect()
    }
}
