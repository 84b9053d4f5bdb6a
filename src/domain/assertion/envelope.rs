//! A decoded assertion: its headers, and the bytes exactly as they were received.

use bytes::Bytes;

use super::headers::Headers;
use super::registry::AssertionType;
use crate::domain::ident::KeyId;

/// The values of an assertion's primary key headers, in order, as text; defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrimaryKey(pub Vec<String>);

/// Names one assertion: its type and primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref {
    /// The type.
    pub kind: AssertionType,
    /// The primary key, optional values filled in.
    pub key: PrimaryKey,
}

impl Ref {
    /// A reference to the assertion of type `kind` with the given primary key values.
    pub fn new<const N: usize>(kind: AssertionType, key: [&str; N]) -> Self {
        Self {
            kind,
            key: PrimaryKey(key.iter().map(|part| (*part).to_owned()).collect()),
        }
    }
}

impl std::fmt::Display for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.kind, self.key.0.join("/"))
    }
}

/// The parts every assertion has. Built only by the decoders, so the common checks of assertions.md 1.5 hold.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub(super) kind: AssertionType,
    pub(super) headers: Headers,
    /// Content, separator and signature block as received, with the final line feed.
    pub(super) encoded: Bytes,
    pub(super) content: std::ops::Range<usize>,
    pub(super) body: std::ops::Range<usize>,
    pub(super) signature: std::ops::Range<usize>,
    pub(super) key: PrimaryKey,
    pub(super) revision: u64,
    pub(super) format: u32,
    pub(super) sign_key: KeyId,
}

impl Envelope {
    /// The type.
    pub fn kind(&self) -> AssertionType {
        self.kind
    }

    /// All headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Header `name`, if it is there and a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.text(name)
    }

    /// The whole assertion as received; it ends with exactly one line feed. This is what is stored and served.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// The signed bytes.
    pub fn content(&self) -> &[u8] {
        self.encoded.get(self.content.clone()).unwrap_or_default()
    }

    /// The body; empty where there is none.
    pub fn body(&self) -> &[u8] {
        self.encoded.get(self.body.clone()).unwrap_or_default()
    }

    /// The signature block (base64 text).
    pub fn signature(&self) -> &[u8] {
        self.encoded.get(self.signature.clone()).unwrap_or_default()
    }

    /// Primary key values in order.
    pub fn primary_key(&self) -> &PrimaryKey {
        &self.key
    }

    /// Type and primary key.
    pub fn reference(&self) -> Ref {
        Ref {
            kind: self.kind,
            key: self.key.clone(),
        }
    }

    /// The revision; 0 where not given.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The format iteration; 0 where not given.
    pub fn format(&self) -> u32 {
        self.format
    }

    /// The id of the key that signed it.
    pub fn sign_key(&self) -> &KeyId {
        &self.sign_key
    }

    /// The authority; none for types without one.
    pub fn authority_id(&self) -> Option<&str> {
        self.text("authority-id")
    }
}
