//! The registry: the small records of the instance (accounts, brands, models, keys...), each with a version.

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::domain::access::{Account, Brand, Membership, StoreInvite, StoreRecord, Token};
use crate::domain::blob::BlobId;
use crate::domain::catalog::{
    CatalogHead, DeltaRecord, DeviceReport, Inclusion, Override, PushRecord, RevisionRecord, ShareInvite,
    SnapRecord, UploadRecord, device_uuid, revision_key,
};
use crate::domain::fleet::{Exposure, FleetDevice, Group, ProductionMap, WaveRecord};
use crate::domain::ident::{AccountId, DeviceId};
use crate::domain::mail::OutgoingMail;
use crate::domain::numbers::SnapDay;
use crate::domain::review::{GrantRequest, ReviewRecord};
use crate::domain::vault::{Instance, ModelRecord, RemodelRule, SigningKey};

/// The kinds of records; each is a tree or a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "one per record type")]
pub enum Kind {
    /// The one record about the instance itself; key `["instance"]`.
    Instance,
    Account,
    Brand,
    Store,
    Membership,
    StoreInvite,
    Token,
    SigningKey,
    Model,
    RemodelRule,
    Snap,
    SnapRevision,
    Inclusion,
    Override,
    Delta,
    Review,
    GrantRequest,
    Upload,
    Push,
    ShareInvite,
    OutgoingMail,
    Device,
    SnapDay,
    FleetDevice,
    Group,
    Wave,
    ProductionMap,
    Exposure,
    /// The one record about the last changes of the catalogue; key `["head"]`.
    Catalog,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Kind] = &[
        Kind::Instance,
        Kind::Account,
        Kind::Brand,
        Kind::Store,
        Kind::Membership,
        Kind::StoreInvite,
        Kind::Token,
        Kind::SigningKey,
        Kind::Model,
        Kind::RemodelRule,
        Kind::Snap,
        Kind::SnapRevision,
        Kind::Inclusion,
        Kind::Override,
        Kind::Delta,
        Kind::Review,
        Kind::GrantRequest,
        Kind::Upload,
        Kind::Push,
        Kind::ShareInvite,
        Kind::OutgoingMail,
        Kind::Device,
        Kind::SnapDay,
        Kind::FleetDevice,
        Kind::Group,
        Kind::Wave,
        Kind::ProductionMap,
        Kind::Exposure,
        Kind::Catalog,
    ];

    /// Name of its tree or table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Account => "account",
            Self::Brand => "brand",
            Self::Store => "store",
            Self::Membership => "membership",
            Self::StoreInvite => "store_invite",
            Self::Token => "token",
            Self::SigningKey => "signing_key",
            Self::Model => "model",
            Self::RemodelRule => "remodel_rule",
            Self::Snap => "snap",
            Self::SnapRevision => "snap_revision",
            Self::Inclusion => "inclusion",
            Self::Override => "revision_override",
            Self::Delta => "delta",
            Self::Review => "review",
            Self::GrantRequest => "grant_request",
            Self::Upload => "upload",
            Self::Push => "push",
            Self::ShareInvite => "share_invite",
            Self::OutgoingMail => "outgoing_mail",
            Self::Device => "device",
            Self::SnapDay => "snap_day",
            Self::FleetDevice => "fleet_device",
            Self::Group => "fleet_group",
            Self::Wave => "wave",
            Self::ProductionMap => "production_map",
            Self::Exposure => "exposure",
            Self::Catalog => "catalog",
        }
    }

    /// Names of the parts of its key, in order.
    pub fn key_parts(self) -> &'static [&'static str] {
        match self {
            Self::Instance | Self::Catalog => &["name"],
            Self::Account | Self::Brand | Self::Store | Self::Token | Self::Snap | Self::OutgoingMail => {
                &["id"]
            }
            Self::SnapRevision => &["snap_id", "revision"],
            Self::Inclusion => &["store_id", "snap_id"],
            Self::Override => &["store_id", "snap_id", "channel", "architecture"],
            Self::Delta => &["snap_id", "source", "target"],
            Self::Review => &["store_id", "snap_id", "revision"],
            Self::GrantRequest => &["snap_id", "side", "interface", "attribute"],
            Self::Upload | Self::Push => &["id_hash"],
            Self::ShareInvite => &["snap_id", "email"],
            Self::Device | Self::FleetDevice => &["brand_id", "model", "serial"],
            Self::SnapDay => &["snap_id", "day", "part"],
            Self::Group | Self::Wave => &["store_id", "name"],
            Self::ProductionMap => &["store_id", "tag"],
            Self::Exposure => &["store_id", "wave", "rollout", "part"],
            Self::Membership => &["brand_id", "store_id", "account_id"],
            Self::StoreInvite => &["store_id", "email"],
            Self::SigningKey => &["account_id", "name"],
            Self::Model => &["brand_id", "name"],
            Self::RemodelRule => &["brand_id", "from_model", "to_model", "from_serial"],
        }
    }
}

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

impl Record for Instance {
    const KIND: Kind = Kind::Instance;
    fn key(&self) -> Key {
        Instance::record_key()
    }
}

impl Instance {
    /// The key of the one record of this kind.
    pub fn record_key() -> Key {
        Key::from(["instance"])
    }
}

impl Record for Account {
    const KIND: Kind = Kind::Account;
    fn key(&self) -> Key {
        Key::from([self.id.as_str()])
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        let mut values = vec![
            ("email", self.email.to_string()),
            ("username", self.username.to_string()),
        ];
        values.extend(
            self.provider
                .as_ref()
                .map(|identity| ("provider", identity.key())),
        );
        values.extend(self.reset.as_ref().map(|reset| ("reset", reset.hash.clone())));
        values
    }
}

impl Record for Brand {
    const KIND: Kind = Kind::Brand;
    fn key(&self) -> Key {
        Key::from([self.id.as_str()])
    }
}

impl Record for StoreRecord {
    const KIND: Kind = Kind::Store;
    fn key(&self) -> Key {
        Key::from([self.id.as_str()])
    }
}

impl Record for Membership {
    const KIND: Kind = Kind::Membership;
    fn key(&self) -> Key {
        Key::from([
            self.brand_id.as_str(),
            self.store_id.as_str(),
            self.account_id.as_str(),
        ])
    }
}

impl Record for StoreInvite {
    const KIND: Kind = Kind::StoreInvite;
    fn key(&self) -> Key {
        Key::from([self.store_id.as_str(), self.email.as_str()])
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("secret", self.secret.clone())]
    }
}

impl Record for Token {
    const KIND: Kind = Kind::Token;
    fn key(&self) -> Key {
        Key::from([self.id.as_str()])
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("hash", self.hash.clone())]
    }
}

impl Record for SigningKey {
    const KIND: Kind = Kind::SigningKey;
    fn key(&self) -> Key {
        Key::from([self.account_id.as_str(), self.name.as_str()])
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("key-id", self.key_id.to_string())]
    }
}

impl Record for ModelRecord {
    const KIND: Kind = Kind::Model;
    fn key(&self) -> Key {
        Key::from([self.brand_id.as_str(), self.name.as_str()])
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        self.api_keys
            .iter()
            .map(|key| ("api-key", key.hash.clone()))
            .collect()
    }
}

impl Record for RemodelRule {
    const KIND: Kind = Kind::RemodelRule;
    fn key(&self) -> Key {
        let serial = self.from_serial.as_ref().map_or("*", |serial| serial.as_str());
        Key::from([
            self.brand_id.as_str(),
            self.from_model.as_str(),
            self.to_model.as_str(),
            serial,
        ])
    }
}

impl Record for SnapRecord {
    const KIND: Kind = Kind::Snap;
    fn key(&self) -> Key {
        Key::from([self.id.as_str()])
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.name.to_string())]
    }
}

impl Record for RevisionRecord {
    const KIND: Kind = Kind::SnapRevision;
    fn key(&self) -> Key {
        Key::from([self.snap_id.as_str(), &revision_key(self.revision)])
    }
}

impl Record for Inclusion {
    const KIND: Kind = Kind::Inclusion;
    fn key(&self) -> Key {
        Key::from([self.store_id.as_str(), self.snap_id.as_str()])
    }
}

impl Record for Override {
    const KIND: Kind = Kind::Override;
    fn key(&self) -> Key {
        let (store, snap) = (self.store_id.as_str(), self.snap_id.as_str());
        Key::from([store, snap, &self.channel.to_string(), self.architecture.as_str()])
    }
}

impl Record for DeltaRecord {
    const KIND: Kind = Kind::Delta;
    fn key(&self) -> Key {
        let (source, target) = (revision_key(self.source), revision_key(self.target));
        Key::from([self.snap_id.as_str(), &source, &target])
    }
}

impl ReviewRecord {
    /// The value of the unique field `file`: which upload a file is that no assertion names yet.
    pub fn file_value(blob: &BlobId, provenance: &str) -> String {
        format!("{blob} {provenance}")
    }
}

impl Record for ReviewRecord {
    const KIND: Kind = Kind::Review;
    fn key(&self) -> Key {
        let revision = revision_key(self.revision);
        Key::from([self.store_id.as_str(), self.snap_id.as_str(), &revision])
    }
    /// Once a revision is approved, its snap-revision tells whose the file is.
    fn unique(&self) -> Vec<(&'static str, String)> {
        if self.state.is_approved() {
            return Vec::new();
        }
        vec![("file", Self::file_value(&self.blob, &self.provenance))]
    }
}

impl Record for GrantRequest {
    const KIND: Kind = Kind::GrantRequest;
    fn key(&self) -> Key {
        Key::from([
            self.snap_id.as_str(),
            self.side.header(),
            self.interface.as_str(),
            self.attribute.as_str(),
        ])
    }
}

impl Record for UploadRecord {
    const KIND: Kind = Kind::Upload;
    fn key(&self) -> Key {
        Key::from([self.id_hash.as_str()])
    }
}

impl Record for ShareInvite {
    const KIND: Kind = Kind::ShareInvite;
    fn key(&self) -> Key {
        Key::from([self.snap_id.as_str(), self.email.as_str()])
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("secret", self.secret.clone())]
    }
}

impl Record for PushRecord {
    const KIND: Kind = Kind::Push;
    fn key(&self) -> Key {
        Key::from([self.id_hash.as_str()])
    }
}

impl Record for OutgoingMail {
    const KIND: Kind = Kind::OutgoingMail;
    fn key(&self) -> Key {
        Key::from([self.id.as_str()])
    }
}

impl DeviceReport {
    /// The key of what a device reported.
    pub fn key_of(device: &DeviceId) -> Key {
        Key::from([
            device.brand.as_str(),
            device.model.as_str(),
            device.serial.as_str(),
        ])
    }
}

impl Record for DeviceReport {
    const KIND: Kind = Kind::Device;
    fn key(&self) -> Key {
        Self::key_of(&self.device)
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("uuid", device_uuid(&self.device).to_string())]
    }
}

impl Record for SnapDay {
    const KIND: Kind = Kind::SnapDay;
    fn key(&self) -> Key {
        Key::from([self.snap_id.as_str(), &self.day.to_string(), &self.part])
    }
}

impl Record for FleetDevice {
    const KIND: Kind = Kind::FleetDevice;
    fn key(&self) -> Key {
        DeviceReport::key_of(&self.device)
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("uuid", device_uuid(&self.device).to_string())]
    }
}

impl Record for Group {
    const KIND: Kind = Kind::Group;
    fn key(&self) -> Key {
        Key::from([self.store.as_str(), self.name.as_str()])
    }
}

impl Record for WaveRecord {
    const KIND: Kind = Kind::Wave;
    fn key(&self) -> Key {
        Key::from([self.wave.store.as_str(), self.wave.name.as_str()])
    }
    /// A tag has one open wave.
    fn unique(&self) -> Vec<(&'static str, String)> {
        let wave = &self.wave;
        let open = wave.is_open().then(|| format!("{} {}", wave.store, wave.tag));
        open.map(|tag| ("open", tag)).into_iter().collect()
    }
}

impl Record for ProductionMap {
    const KIND: Kind = Kind::ProductionMap;
    fn key(&self) -> Key {
        Key::from([self.store.as_str(), self.tag.as_str()])
    }
}

impl Record for Exposure {
    const KIND: Kind = Kind::Exposure;
    fn key(&self) -> Key {
        let rollout = format!("{:010}", self.rollout);
        Key::from([self.store.as_str(), self.wave.as_str(), &rollout, &self.part])
    }
}

impl Record for CatalogHead {
    const KIND: Kind = Kind::Catalog;
    fn key(&self) -> Key {
        Key::from(["head"])
    }
}
