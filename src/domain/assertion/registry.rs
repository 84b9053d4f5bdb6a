//! The assertion types hallmark knows: names, primary keys and what each may do (assertions.md 3).

use std::fmt;
use std::str::FromStr;

/// An assertion type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are the wire names")]
pub enum AssertionType {
    Account,
    AccountKey,
    AccountKeyRequest,
    BaseDeclaration,
    Cluster,
    ConfdbControl,
    ConfdbSchema,
    DeviceSessionRequest,
    HardwareIdentity,
    Model,
    Preseed,
    Repair,
    RequestMessage,
    ResponseMessage,
    Serial,
    SerialRequest,
    SnapBuild,
    SnapDeclaration,
    SnapDeveloper,
    SnapResourcePair,
    SnapResourceRevision,
    SnapRevision,
    Store,
    SystemUser,
    Validation,
    ValidationSet,
}

/// What is fixed about a type.
#[derive(Debug)]
pub struct TypeInfo {
    /// The type.
    pub kind: AssertionType,
    /// Its name on the wire.
    pub name: &'static str,
    /// The headers of its primary key, in order.
    pub primary_key: &'static [&'static str],
    /// Trailing primary key headers that may be left out, with their default.
    pub optional: &'static [(&'static str, &'static str)],
    /// The highest format iteration understood.
    pub max_format: u32,
    /// Whether it carries an `authority-id`.
    pub has_authority: bool,
    /// Whether the last primary key header is a sequence number.
    pub sequence: bool,
    /// Whether the body is JSON in the canonical indentation.
    pub json_body: bool,
    /// Whether it carries a `timestamp` that must lie inside the validity of its key (assertions.md 4.3, step 5).
    pub timestamp_in_key: bool,
}

const PROVENANCE: &[(&str, &str)] = &[("provenance", "global-upload")];

macro_rules! types {
    ($($kind:ident $name:literal [$($key:literal),*] $(optional $optional:expr,)? $(format $format:literal,)?
        $(authority $authority:literal,)? $(sequence $sequence:literal,)? $(json $json:literal,)? timestamp $timestamp:literal;)*) => {
        /// Every type, in the order of [`AssertionType`].
        pub const TYPES: &[TypeInfo] = &[$(TypeInfo {
            kind: AssertionType::$kind,
            name: $name,
            primary_key: &[$($key),*],
            optional: { #[allow(unused_mut, unused_assignments, reason = "set only where given")] let mut o: &[(&str, &str)] = &[]; $(o = $optional;)? o },
            max_format: { #[allow(unused_mut, unused_assignments, reason = "set only where given")] let mut f = 0; $(f = $format;)? f },
            has_authority: { #[allow(unused_mut, unused_assignments, reason = "set only where given")] let mut a = true; $(a = $authority;)? a },
            sequence: { #[allow(unused_mut, unused_assignments, reason = "set only where given")] let mut s = false; $(s = $sequence;)? s },
            json_body: { #[allow(unused_mut, unused_assignments, reason = "set only where given")] let mut j = false; $(j = $json;)? j },
            timestamp_in_key: $timestamp,
        }),*];
    };
}

types! {
    Account "account" ["account-id"] timestamp true;
    AccountKey "account-key" ["public-key-sha3-384"] format 1, timestamp false;
    AccountKeyRequest "account-key-request" ["public-key-sha3-384"] authority false, timestamp false;
    BaseDeclaration "base-declaration" ["series"] timestamp true;
    Cluster "cluster" ["cluster-id", "sequence"] sequence true, timestamp false;
    ConfdbControl "confdb-control" ["brand-id", "model", "serial"] authority false, timestamp false;
    ConfdbSchema "confdb-schema" ["account-id", "name"] json true, timestamp false;
    DeviceSessionRequest "device-session-request" ["brand-id", "model", "serial"] authority false, timestamp false;
    HardwareIdentity "hardware-identity" ["issuer-id", "hardware-id-key-sha3-384"] timestamp false;
    Model "model" ["series", "brand-id", "model"] timestamp true;
    Preseed "preseed" ["series", "brand-id", "model", "system-label"] timestamp true;
    Repair "repair" ["brand-id", "repair-id"] sequence true, timestamp true;
    RequestMessage "request-message" ["account-id", "message-id"] timestamp false;
    ResponseMessage "response-message" ["account-id", "message-id", "device"] authority false, timestamp false;
    Serial "serial" ["brand-id", "model", "serial"] timestamp true;
    SerialRequest "serial-request" [] authority false, timestamp false;
    SnapBuild "snap-build" ["snap-sha3-384"] timestamp true;
    SnapDeclaration "snap-declaration" ["series", "snap-id"] format 7, timestamp true;
    SnapDeveloper "snap-developer" ["snap-id", "publisher-id"] timestamp false;
    SnapResourcePair "snap-resource-pair" ["snap-id", "resource-name", "resource-revision", "snap-revision", "provenance"] optional PROVENANCE, timestamp true;
    SnapResourceRevision "snap-resource-revision" ["snap-id", "resource-name", "resource-sha3-384", "provenance"] optional PROVENANCE, timestamp true;
    SnapRevision "snap-revision" ["snap-sha3-384", "provenance"] optional PROVENANCE, timestamp true;
    Store "store" ["store"] timestamp true;
    SystemUser "system-user" ["brand-id", "email"] format 2, timestamp false;
    Validation "validation" ["series", "snap-id", "approved-snap-id", "approved-snap-revision"] timestamp true;
    ValidationSet "validation-set" ["series", "account-id", "name", "sequence"] sequence true, timestamp true;
}

impl AssertionType {
    /// What is fixed about this type.
    #[expect(
        clippy::indexing_slicing,
        reason = "TYPES has one row per variant, in order; a test checks it"
    )]
    pub fn info(self) -> &'static TypeInfo {
        &TYPES[self as usize]
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

impl fmt::Display for AssertionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not one of an assertion type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown assertion type {0:?}")]
pub struct UnknownType(pub String);

impl FromStr for AssertionType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        TYPES
            .iter()
            .find(|info| info.name == text)
            .map(|info| info.kind)
            .ok_or_else(|| UnknownType(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_stands_at_its_own_place() {
        assert_eq!(TYPES.len(), 26);
        for (place, info) in TYPES.iter().enumerate() {
            assert_eq!(info.kind as usize, place, "{}", info.name);
            assert_eq!(info.name.parse::<AssertionType>(), Ok(info.kind));
        }
    }

    #[test]
    fn what_is_fixed_about_a_type_agrees_with_itself() {
        for info in TYPES {
            let (key, optional) = (info.primary_key, info.optional);
            let trailing = &key[key.len() - optional.len()..];
            assert!(
                trailing
                    .iter()
                    .zip(optional)
                    .all(|(name, (given, default))| name == given && !default.is_empty())
            );
            assert!(
                !info.sequence || (key.len() > 1 && optional.is_empty()),
                "{}",
                info.name
            );
            assert!(info.has_authority || !info.timestamp_in_key, "{}", info.name);
            assert!(
                key.is_empty() == (info.kind == AssertionType::SerialRequest),
                "{}",
                info.name
            );
        }
    }
}
