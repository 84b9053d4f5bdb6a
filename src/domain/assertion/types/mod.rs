//! Typed views of assertions: one file per type or close family. A view comes only out of [`assemble`], so holding
//! one proves that the checks of its type were made (assertions.md 3, rules of snapd 2.77).

mod account;
mod account_key;
mod base_declaration;
mod checks;
mod cluster;
mod compat;
mod confdb;
mod device_session_request;
mod email;
mod hardware_identity;
mod messages;
mod model;
mod model_policy;
mod model_snaps;
pub mod names;
mod preseed;
mod repair;
mod rules;
mod serial;
mod serial_request;
mod snap_build;
mod snap_declaration;
mod snap_developer;
mod snap_list;
mod snap_resource;
mod snap_revision;
mod spki;
mod store;
mod system_user;
mod validation;
mod validation_set;

pub use account::Account;
pub use account_key::{AccountKey, AccountKeyRequest, Validity};
pub use base_declaration::BaseDeclaration;
pub use cluster::Cluster;
pub use compat::compat_warnings;
pub use confdb::{ConfdbControl, ConfdbSchema};
pub use device_session_request::DeviceSessionRequest;
pub use hardware_identity::HardwareIdentity;
pub use messages::{DeviceName, RequestMessage, ResponseMessage};
pub use model::{Grade, Model, StorageSafety, check_model};
pub use model_policy::{Authorities, ModelValidationSet, SetMode};
pub use model_snaps::{ModelComponent, ModelSnap, Presence, SnapKind};
pub use preseed::{Preseed, PreseedSnap};
pub use repair::Repair;
pub use rules::{Connection, DeviceScope, Installation, Side as InterfaceSide, installation};
pub use serial::Serial;
pub use serial_request::{Original, SerialRequest};
pub use snap_build::SnapBuild;
pub use snap_declaration::{RevisionAuthority, SnapDeclaration};
pub use snap_developer::SnapDeveloper;
pub use snap_resource::{SnapResourcePair, SnapResourceRevision};
pub use snap_revision::{DEFAULT_PROVENANCE, SnapRevision};
pub use spki::KeyKind;
pub use store::Store;
pub use system_user::SystemUser;
pub use validation::Validation;
pub use validation_set::{SetComponent, SetPresence, SetSnap, ValidationSet};

use super::envelope::{Envelope, PrimaryKey};
use super::headers::{HeaderError, Headers};
use super::registry::AssertionType;
use crate::domain::ident::KeyId;
use crate::domain::time::Timestamp;
use checks::Fields;

/// The typed view of an assertion.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "one variant per type")]
pub enum Typed {
    Account(Account),
    AccountKey(AccountKey),
    AccountKeyRequest(AccountKeyRequest),
    BaseDeclaration(BaseDeclaration),
    Cluster(Cluster),
    ConfdbControl(ConfdbControl),
    ConfdbSchema(ConfdbSchema),
    DeviceSessionRequest(DeviceSessionRequest),
    HardwareIdentity(HardwareIdentity),
    Model(Box<Model>),
    Preseed(Preseed),
    Repair(Repair),
    RequestMessage(RequestMessage),
    ResponseMessage(ResponseMessage),
    Serial(Serial),
    SerialRequest(SerialRequest),
    SnapBuild(SnapBuild),
    SnapDeclaration(Box<SnapDeclaration>),
    SnapDeveloper(SnapDeveloper),
    SnapResourcePair(SnapResourcePair),
    SnapResourceRevision(SnapResourceRevision),
    SnapRevision(SnapRevision),
    Store(Store),
    SystemUser(Box<SystemUser>),
    Validation(Validation),
    ValidationSet(ValidationSet),
}

/// What the checks of a type may look at.
struct Parts<'a> {
    fields: Fields<'a>,
    body: &'a [u8],
    format: u32,
    sign_key: &'a KeyId,
    key: &'a PrimaryKey,
}

/// Makes the typed view of a decoded assertion, or says which header is wrong.
pub fn assemble(envelope: &Envelope) -> Result<Typed, HeaderError> {
    let parts = &Parts {
        fields: Fields::of(envelope.headers()),
        body: envelope.body(),
        format: envelope.format(),
        sign_key: envelope.sign_key(),
        key: envelope.primary_key(),
    };
    Ok(match envelope.kind() {
        AssertionType::Account => Typed::Account(account::assemble(parts)?),
        AssertionType::AccountKey => Typed::AccountKey(account_key::assemble(parts)?),
        AssertionType::AccountKeyRequest => Typed::AccountKeyRequest(account_key::assemble_request(parts)?),
        AssertionType::BaseDeclaration => Typed::BaseDeclaration(base_declaration::assemble(parts)?),
        AssertionType::Cluster => Typed::Cluster(cluster::assemble(parts)?),
        AssertionType::ConfdbControl => Typed::ConfdbControl(confdb::assemble_control(parts)?),
        AssertionType::ConfdbSchema => Typed::ConfdbSchema(confdb::assemble_schema(parts)?),
        AssertionType::DeviceSessionRequest => {
            Typed::DeviceSessionRequest(device_session_request::assemble(parts)?)
        }
        AssertionType::HardwareIdentity => Typed::HardwareIdentity(hardware_identity::assemble(parts)?),
        AssertionType::Model => Typed::Model(Box::new(model::assemble(parts)?)),
        AssertionType::Preseed => Typed::Preseed(preseed::assemble(parts)?),
        AssertionType::Repair => Typed::Repair(repair::assemble(parts)?),
        AssertionType::RequestMessage => Typed::RequestMessage(messages::assemble_request(parts)?),
        AssertionType::ResponseMessage => Typed::ResponseMessage(messages::assemble_response(parts)?),
        AssertionType::Serial => Typed::Serial(serial::assemble(parts)?),
        AssertionType::SerialRequest => Typed::SerialRequest(serial_request::assemble(parts)?),
        AssertionType::SnapBuild => Typed::SnapBuild(snap_build::assemble(parts)?),
        AssertionType::SnapDeclaration => {
            Typed::SnapDeclaration(Box::new(snap_declaration::assemble(parts)?))
        }
        AssertionType::SnapDeveloper => Typed::SnapDeveloper(snap_developer::assemble(parts)?),
        AssertionType::SnapResourcePair => Typed::SnapResourcePair(snap_resource::assemble_pair(parts)?),
        AssertionType::SnapResourceRevision => {
            Typed::SnapResourceRevision(snap_resource::assemble_revision(parts)?)
        }
        AssertionType::SnapRevision => Typed::SnapRevision(snap_revision::assemble(parts)?),
        AssertionType::Store => Typed::Store(store::assemble(parts)?),
        AssertionType::SystemUser => Typed::SystemUser(Box::new(system_user::assemble(parts)?)),
        AssertionType::Validation => Typed::Validation(validation::assemble(parts)?),
        AssertionType::ValidationSet => Typed::ValidationSet(validation_set::assemble(parts)?),
    })
}

impl Typed {
    /// The time that must lie inside the validity of the signing key; none for types without that check
    /// (assertions.md 4.3).
    pub fn timestamp_in_key(&self) -> Option<Timestamp> {
        Some(match self {
            Self::Account(view) => view.timestamp,
            Self::BaseDeclaration(view) => view.timestamp,
            Self::Model(view) => view.timestamp,
            Self::Preseed(view) => view.timestamp,
            Self::Repair(view) => view.timestamp,
            Self::Serial(view) => view.timestamp,
            Self::SnapBuild(view) => view.timestamp,
            Self::SnapDeclaration(view) => view.timestamp,
            Self::SnapResourcePair(view) => view.timestamp,
            Self::SnapResourceRevision(view) => view.timestamp,
            Self::SnapRevision(view) => view.timestamp,
            Self::Store(view) => view.timestamp,
            Self::Validation(view) => view.timestamp,
            Self::ValidationSet(view) => view.timestamp,
            Self::AccountKey(_)
            | Self::AccountKeyRequest(_)
            | Self::Cluster(_)
            | Self::ConfdbControl(_)
            | Self::ConfdbSchema(_)
            | Self::DeviceSessionRequest(_)
            | Self::HardwareIdentity(_)
            | Self::RequestMessage(_)
            | Self::ResponseMessage(_)
            | Self::SerialRequest(_)
            | Self::SnapDeveloper(_)
            | Self::SystemUser(_) => return None,
        })
    }
}

/// The lowest format iteration that covers the features the headers use (assertions.md 1.4: signing refuses less).
pub fn needed_format(kind: AssertionType, headers: &Headers) -> u32 {
    match kind {
        AssertionType::AccountKey => account_key::needed_format(headers),
        AssertionType::SnapDeclaration => snap_declaration::needed_format(headers),
        AssertionType::SystemUser => system_user::needed_format(headers),
        AssertionType::Account
        | AssertionType::AccountKeyRequest
        | AssertionType::BaseDeclaration
        | AssertionType::Cluster
        | AssertionType::ConfdbControl
        | AssertionType::ConfdbSchema
        | AssertionType::DeviceSessionRequest
        | AssertionType::HardwareIdentity
        | AssertionType::Model
        | AssertionType::Preseed
        | AssertionType::Repair
        | AssertionType::RequestMessage
        | AssertionType::ResponseMessage
        | AssertionType::Serial
        | AssertionType::SerialRequest
        | AssertionType::SnapBuild
        | AssertionType::SnapDeveloper
        | AssertionType::SnapResourcePair
        | AssertionType::SnapResourceRevision
        | AssertionType::SnapRevision
        | AssertionType::Store
        | AssertionType::Validation
        | AssertionType::ValidationSet => 0,
    }
}

/// Refuses headers that would vanish when written although they limit something: an account-key whose constraints are
/// empty lists or maps would come out with fewer limits than its author wrote down.
pub fn check_nothing_vanishes(kind: AssertionType, headers: &Headers) -> Result<(), HeaderError> {
    const LIMITS: [(AssertionType, &str); 2] = [
        (AssertionType::AccountKey, "constraints"),
        (AssertionType::SnapDeclaration, "revision-authority"),
    ];
    let Some((_, limits)) = LIMITS.iter().find(|(limited, _)| *limited == kind) else {
        return Ok(());
    };
    match headers.get(limits) {
        Some(value) if checks::has_empty_part(value) => {
            Err(HeaderError::new(*limits, "must not have empty lists or maps"))
        }
        Some(_) | None => Ok(()),
    }
}
