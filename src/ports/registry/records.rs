//! What each type of record is found by: its key, and the values that no other may have.

use super::{Key, Kind, Record};
use crate::domain::access::{Account, Brand, Membership, StoreInvite, StoreRecord, Token};
use crate::domain::blob::BlobId;
use crate::domain::bundle::BundleSource;
use crate::domain::catalog::{
    CatalogHead, DeltaRecord, DeviceReport, Inclusion, Override, PushRecord, RevisionRecord, ShareInvite,
    SnapRecord, UploadRecord, device_uuid, revision_key,
};
use crate::domain::fleet::{Exposure, FleetDevice, Group, ProductionMap, WaveRecord};
use crate::domain::ident::DeviceId;
use crate::domain::mail::OutgoingMail;
use crate::domain::numbers::SnapDay;
use crate::domain::review::{GrantRequest, ReviewRecord};
use crate::domain::vault::{FactoryBox, FactorySite, Instance, ModelRecord, RemodelRule, SigningKey};

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

impl Record for FactorySite {
    const KIND: Kind = Kind::FactorySite;
    fn key(&self) -> Key {
        Key::from([self.brand_id.as_str(), self.site.as_str()])
    }
    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("key-id", self.key_id.to_string())]
    }
}

impl Record for FactoryBox {
    const KIND: Kind = Kind::FactoryBox;
    fn key(&self) -> Key {
        Key::from([self.brand_id.as_str()])
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

impl Record for BundleSource {
    const KIND: Kind = Kind::BundleSource;
    fn key(&self) -> Key {
        Key::from([self.source.as_str(), self.part.as_str()])
    }
}

impl Record for CatalogHead {
    const KIND: Kind = Kind::Catalog;
    fn key(&self) -> Key {
        Key::from(["head"])
    }
}
