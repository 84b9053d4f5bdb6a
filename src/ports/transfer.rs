//! All that a storage holds, row by row, in a form no engine owns: what backups, restores and moves from one engine to
//! another are made of.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::{ApprovalRow, Key, Kind, StandingRow, StoreError, StoredAssertion};
use crate::domain::assertion::{PrimaryKey, Ref};
use crate::domain::audit::{AuditEntry, Checkpoint};
use crate::domain::ident::{DeviceId, KeyId};
use crate::domain::time::Timestamp;
use crate::domain::vault::{SerialRow, SerialState};

/// One thing that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Row {
    /// A record of the registry.
    Record(RecordRow),
    /// The newest revision of an assertion in one format.
    Assertion(#[serde(with = "AssertionDef")] StoredAssertion),
    /// A row of the serial ledger, at its position. Never one that is only reserved: it is given as void.
    Serial(#[serde(with = "SerialDef")] SerialRow),
    /// What operators judge of a serial.
    Standing(StandingRow),
    /// A request that waits, or waited, for a person.
    Approval(AskedRow),
    /// An entry of the audit log, at its position.
    Audit(AuditRow),
    /// A checkpoint of the audit log.
    Checkpoint(Checkpoint),
    /// A request-id or nonce that was spent.
    Spent(SpentRow),
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RecordRow {
    /// Its kind.
    #[serde(with = "kind_name")]
    pub kind: Kind,
    /// Its key.
    pub key: Key,
    /// Its version.
    pub version: u64,
    /// Its unique values (field, value), in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<(String, String)>,
    /// The record as JSON, as it was written.
    pub json: String,
}

/// A request for approval in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AskedRow {
    /// Who asks, since when, and where it stands.
    #[serde(flatten)]
    pub row: ApprovalRow,
    /// The request-id it was last asked with, while that keeps it alive.
    pub request: Option<[u8; 16]>,
}

/// An audit entry in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditRow {
    /// Its position in the log.
    pub position: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// What must not be used a second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SpentRow {
    /// The random part of the request-id, or the nonce.
    pub nonce: [u8; 16],
    /// When it may be forgotten.
    pub expires: Timestamp,
}

impl Row {
    /// What kind of thing it is, for counts: `record:account`, `serial`...
    pub fn section(&self) -> String {
        match self {
            Self::Record(row) => format!("record:{}", row.kind.name()),
            Self::Assertion(_) => "assertion".to_owned(),
            Self::Serial(_) => "serial".to_owned(),
            Self::Standing(_) => "standing".to_owned(),
            Self::Approval(_) => "approval".to_owned(),
            Self::Audit(_) => "audit".to_owned(),
            Self::Checkpoint(_) => "checkpoint".to_owned(),
            Self::Spent(_) => "spent".to_owned(),
        }
    }

    /// Whether it is of no use once some hours have gone by: engines forget such rows by themselves, each in its own
    /// time, so that two copies may differ in them.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Spent(_))
    }
}

/// Rows in pieces. Ends after an error.
pub type Rows = BoxStream<'static, Result<Vec<Row>, StoreError>>;

/// Taking everything out, and putting everything in.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// Everything as it was at one moment, while others go on reading and writing. Memory does not grow with what is
    /// stored, only with what is written meanwhile.
    ///
    /// The order is the same for every engine: records by kind (as in [`Kind::ALL`]) and key; assertions by type name,
    /// key and format; serials by brand, model and position; judgements and requests by device; audit entries and
    /// checkpoints by number; spent ones in any order; and the record of the instance last, so that what was not
    /// copied to its end is no instance.
    async fn export(&self) -> Result<Rows, StoreError>;

    /// Puts rows where there is nothing of that key yet; atomic, durable before `Ok`, without audit entries of its own.
    /// Rows come in the order of [`Self::export`], a thousand at a time is a good size. Spent ones may be there already.
    /// [`StoreError::Refused`] if anything else is, and nothing is written.
    async fn import(&self, rows: Vec<Row>) -> Result<(), StoreError>;
}

/// The kinds in the order of a copy: all but that of the instance, which comes last.
pub fn kinds_but_instance() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Instance)
}

/// How [`StoredAssertion`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "StoredAssertion", rename_all = "kebab-case")]
struct AssertionDef {
    #[serde(flatten, with = "RefDef")]
    reference: Ref,
    format: u32,
    revision: u64,
    #[serde(with = "octets")]
    encoded: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Ref", rename_all = "kebab-case")]
struct RefDef {
    #[serde(rename = "type", with = "type_name")]
    kind: crate::domain::assertion::AssertionType,
    #[serde(with = "PrimaryKeyDef")]
    key: PrimaryKey,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PrimaryKey")]
struct PrimaryKeyDef(Vec<String>);

/// How [`SerialRow`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SerialRow", rename_all = "kebab-case")]
struct SerialDef {
    position: u64,
    #[serde(flatten)]
    device: DeviceId,
    revision: u64,
    device_key: KeyId,
    sign_key: Option<KeyId>,
    created_at: Timestamp,
    state: SerialState,
    #[serde(with = "octets")]
    assertion: Bytes,
}

/// Bytes as base64.
mod octets {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::{Deserialize as _, Error as _};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
    }
}

/// Kinds by the names of their tables.
mod kind_name {
    use serde::de::{Deserialize as _, Error as _};
    use serde::{Deserializer, Serializer};

    use crate::ports::Kind;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape `with` takes")]
    pub(super) fn serialize<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        let name = String::deserialize(deserializer)?;
        let kind = Kind::ALL.iter().find(|kind| kind.name() == name);
        kind.copied()
            .ok_or_else(|| D::Error::custom(format!("there is no kind of record {name:?}")))
    }
}

/// Assertion types by name.
mod type_name {
    use serde::de::{Deserialize as _, Error as _};
    use serde::{Deserializer, Serializer};

    use crate::domain::assertion::AssertionType;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape `with` takes")]
    pub(super) fn serialize<S: Serializer>(kind: &AssertionType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AssertionType, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
