//! From bytes to an assertion: the one-shot decoder for files, and the checks every assertion gets (assertions.md 1.5).
//!
//! Stricter than the reference, because what we take in is stored under its text: integers must be canonical
//! (`+1`, `-0` are refused), a `body-length` cannot be negative, and the `$builtin` marker is no signature.

use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::envelope::{Envelope, PrimaryKey};
use super::grammar::{self, GrammarError};
use super::headers::{HeaderError, Headers};
use super::json;
use super::registry::{AssertionType, TypeInfo};
use super::types::{self, Typed};
use crate::domain::ident::KeyId;

/// What stands between headers and body, content and signature.
pub(super) const BLANK_LINE: &[u8] = b"\n\n";

/// A decoded assertion: all checks that need nothing but its own text were made. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Assertion(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    envelope: Envelope,
    typed: Typed,
}

impl Assertion {
    /// The parts every assertion has.
    pub fn envelope(&self) -> &Envelope {
        &self.0.envelope
    }

    /// The view of its type.
    pub fn typed(&self) -> &Typed {
        &self.0.typed
    }
}

impl Deref for Assertion {
    type Target = Envelope;

    fn deref(&self) -> &Envelope {
        &self.0.envelope
    }
}

/// Equal if the bytes are.
impl PartialEq for Assertion {
    fn eq(&self, other: &Self) -> bool {
        self.encoded() == other.encoded()
    }
}

impl Eq for Assertion {}

/// A part of an assertion, for size limits and encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The header block.
    Headers,
    /// The body.
    Body,
    /// The signature block.
    Signature,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Signature => "signature",
        })
    }
}

/// Why bytes are no assertion we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No blank line between content and signature.
    #[error("there is no blank line between content and signature")]
    NoSeparator,
    /// Nothing after the blank line.
    #[error("the signature is empty")]
    EmptySignature,
    /// The stream ends inside headers or body.
    #[error("the input ends inside the {0}")]
    UnexpectedEnd(Part),
    /// The body is not followed by a blank line.
    #[error("the body is not followed by a blank line after body-length bytes")]
    BodySeparator,
    /// A part is larger than the decoder's limit.
    #[error("the limit of {limit} bytes for the {part} is exceeded")]
    TooLarge {
        /// The part.
        part: Part,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body is no UTF-8.
    #[error("the body is not UTF-8")]
    BodyNotUtf8,
    /// The header block is broken.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// `revision`, `format` or `body-length` is no canonical integer.
    #[error(transparent)]
    Integer(HeaderError),
    /// The body has another length than its header says.
    #[error("the body has {actual} bytes, but body-length says {declared}")]
    BodyLength {
        /// What the header says.
        declared: u64,
        /// What is there.
        actual: usize,
    },
    /// `sign-key-sha3-384` is absent or no key id.
    #[error(transparent)]
    SignKey(HeaderError),
    /// `type` is absent or empty.
    #[error(transparent)]
    TypeMissing(HeaderError),
    /// No type of this name is known.
    #[error("unknown assertion type {0:?}")]
    UnknownType(String),
    /// The body of a JSON type is not JSON in its canonical form.
    #[error("{kind}: the body {problem}")]
    BodyJson {
        /// The type.
        kind: AssertionType,
        /// What is wrong, as the end of a sentence.
        problem: String,
    },
    /// `authority-id` is absent, empty or no string.
    #[error(transparent)]
    AuthorityMissing(HeaderError),
    /// `authority-id` on a type that has none.
    #[error("{0} assertions have no authority-id")]
    AuthorityForbidden(AssertionType),
    /// A primary key header holds a slash.
    #[error("{kind}: {error}")]
    PrimaryKey {
        /// The type.
        kind: AssertionType,
        /// The header.
        error: HeaderError,
    },
    /// The marker of assertions compiled into a client, which nobody signed.
    #[error("the signature is the $builtin marker, which is valid only inside a client")]
    Builtin,
    /// What the type asks of its headers does not hold.
    #[error("{kind}: {error}")]
    Content {
        /// The type.
        kind: AssertionType,
        /// The header.
        error: HeaderError,
    },
}

impl DecodeError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSeparator => "wire-no-separator",
            Self::EmptySignature => "wire-empty-signature",
            Self::UnexpectedEnd(_) => "wire-unexpected-eof",
            Self::BodySeparator => "wire-body-separator",
            Self::TooLarge { .. } => "size-limit",
            Self::BodyNotUtf8 | Self::Grammar(GrammarError::NotUtf8) => "utf8",
            Self::Grammar(GrammarError::Syntax { .. }) => "header-syntax",
            Self::Grammar(GrammarError::Name { .. }) => "header-name",
            Self::Grammar(GrammarError::Duplicate { .. }) => "header-duplicate",
            Self::Integer(_) => "meta-integer",
            Self::BodyLength { .. } => "body-length-mismatch",
            Self::SignKey(_) => "sign-key-header",
            Self::TypeMissing(_) => "type-missing",
            Self::UnknownType(_) => "type-unknown",
            Self::BodyJson { .. } => "body-json",
            Self::AuthorityMissing(_) => "authority-missing",
            Self::AuthorityForbidden(_) => "authority-forbidden",
            Self::PrimaryKey { .. } => "primary-key",
            Self::Builtin => "signature-format",
            Self::Content { .. } => "content",
        }
    }

    /// The type, where the decoder came far enough to know it.
    pub fn kind(&self) -> Option<AssertionType> {
        match self {
            Self::AuthorityForbidden(kind)
            | Self::BodyJson { kind, .. }
            | Self::PrimaryKey { kind, .. }
            | Self::Content { kind, .. } => Some(*kind),
            Self::NoSeparator
            | Self::EmptySignature
            | Self::UnexpectedEnd(_)
            | Self::BodySeparator
            | Self::TooLarge { .. }
            | Self::BodyNotUtf8
            | Self::Grammar(_)
            | Self::Integer(_)
            | Self::BodyLength { .. }
            | Self::SignKey(_)
            | Self::TypeMissing(_)
            | Self::UnknownType(_)
            | Self::AuthorityMissing(_)
            | Self::Builtin => None,
        }
    }

    /// The header that is wrong, where one is.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Integer(error)
            | Self::SignKey(error)
            | Self::TypeMissing(error)
            | Self::AuthorityMissing(error)
            | Self::PrimaryKey { error, .. }
            | Self::Content { error, .. } => Some(&error.header),
            Self::BodyLength { .. } => Some("body-length"),
            Self::AuthorityForbidden(_) => Some("authority-id"),
            Self::Grammar(GrammarError::Name { name, .. } | GrammarError::Duplicate { name, .. }) => {
                Some(name)
            }
            Self::UnknownType(_) => Some("type"),
            Self::NoSeparator
            | Self::EmptySignature
            | Self::UnexpectedEnd(_)
            | Self::BodySeparator
            | Self::TooLarge { .. }
            | Self::BodyNotUtf8
            | Self::Grammar(GrammarError::NotUtf8 | GrammarError::Syntax { .. })
            | Self::BodyJson { .. }
            | Self::Builtin => None,
        }
    }
}

/// Decodes the text of one assertion, with nothing after its final line feed. For files and for what was stored.
///
/// Without size limits: bound the input yourself. Input from the network goes through
/// [`StreamDecoder`](super::StreamDecoder).
pub fn decode(bytes: &[u8]) -> Result<Assertion, DecodeError> {
    decode_bytes(with_line_feed(bytes))
}

/// Like [`decode`], without copying the bytes if they end with a line feed.
pub fn decode_bytes(encoded: Bytes) -> Result<Assertion, DecodeError> {
    let split = rfind_blank_line(&encoded).ok_or(DecodeError::NoSeparator)?;
    let (content, signature) = encoded.split_at_checked(split).ok_or(DecodeError::NoSeparator)?;
    let head_end = find_blank_line(content).unwrap_or(content.len());
    let headers = grammar::parse_headers(content.get(..head_end).unwrap_or_default())?;
    let body = (head_end + BLANK_LINE.len()).min(content.len())..content.len();
    let layout = Layout {
        content: 0..content.len(),
        body,
        signature: split + BLANK_LINE.len()..encoded.len(),
        signature_is_empty: signature.len() <= BLANK_LINE.len(),
    };
    let encoded = if encoded.ends_with(b"\n") {
        encoded
    } else {
        with_line_feed(&encoded)
    };
    assemble(headers, encoded, layout)
}

fn with_line_feed(bytes: &[u8]) -> Bytes {
    if bytes.ends_with(b"\n") {
        return Bytes::copy_from_slice(bytes);
    }
    let mut copy = BytesMut::with_capacity(bytes.len() + 1);
    copy.put_slice(bytes);
    copy.put_u8(b'\n');
    copy.freeze()
}

/// Where the first blank line begins.
pub(super) fn find_blank_line(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(BLANK_LINE.len())
        .position(|pair| pair == BLANK_LINE)
}

fn rfind_blank_line(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(BLANK_LINE.len())
        .rposition(|pair| pair == BLANK_LINE)
}

/// Where the parts stand in the encoded bytes.
pub(super) struct Layout {
    pub(super) content: Range<usize>,
    pub(super) body: Range<usize>,
    pub(super) signature: Range<usize>,
    pub(super) signature_is_empty: bool,
}

/// The common checks in the order of assertions.md 1.5, then those of the type.
pub(super) fn assemble(
    mut headers: Headers,
    encoded: Bytes,
    layout: Layout,
) -> Result<Assertion, DecodeError> {
    let declared = integer(&headers, "body-length")?;
    let body = encoded.get(layout.body.clone()).unwrap_or_default();
    if usize::try_from(declared).ok() != Some(body.len()) {
        return Err(DecodeError::BodyLength {
            declared,
            actual: body.len(),
        });
    }
    if std::str::from_utf8(body).is_err() {
        return Err(DecodeError::BodyNotUtf8);
    }
    let signature = encoded.get(layout.signature.clone()).unwrap_or_default();
    if signature.trim_ascii() == b"$builtin" {
        return Err(DecodeError::Builtin);
    }
    let sign_key = sign_key(&headers)?;
    let type_name = string(&headers, "type").map_err(DecodeError::TypeMissing)?;
    let kind: AssertionType = type_name
        .parse()
        .map_err(|unknown: super::registry::UnknownType| DecodeError::UnknownType(unknown.0))?;
    let info = kind.info();
    if info.json_body {
        json::check_body(body).map_err(|problem| DecodeError::BodyJson { kind, problem })?;
    }
    if info.has_authority {
        string(&headers, "authority-id").map_err(DecodeError::AuthorityMissing)?;
    } else if headers.contains("authority-id") {
        return Err(DecodeError::AuthorityForbidden(kind));
    }
    let format = u32::try_from(integer(&headers, "format")?).unwrap_or(u32::MAX);
    let key = primary_key(info, &mut headers)?;
    let revision = integer(&headers, "revision")?;
    if layout.signature_is_empty {
        return Err(DecodeError::EmptySignature);
    }
    let envelope = Envelope {
        kind,
        headers,
        encoded,
        content: layout.content,
        body: layout.body,
        signature: layout.signature,
        key,
        revision,
        format,
        sign_key,
    };
    let typed = types::assemble(&envelope).map_err(|error| DecodeError::Content { kind, error })?;
    Ok(Assertion(Arc::new(Inner { envelope, typed })))
}

/// A header that must be a string and not empty.
pub(super) fn string<'a>(headers: &'a Headers, name: &str) -> Result<&'a str, HeaderError> {
    let value = headers
        .get(name)
        .ok_or_else(|| HeaderError::new(name, "is mandatory"))?;
    let text = value
        .as_text()
        .ok_or_else(|| HeaderError::new(name, "must be a string"))?;
    if text.is_empty() {
        Err(HeaderError::new(name, "should not be empty"))
    } else {
        Ok(text)
    }
}

/// A header with a canonical integer that is not negative and fits 63 bits; 0 where it is absent.
pub(super) fn integer(headers: &Headers, name: &str) -> Result<u64, DecodeError> {
    let refuse = |problem: &str| DecodeError::Integer(HeaderError::new(name, problem));
    let Some(value) = headers.get(name) else {
        return Ok(0);
    };
    let text = value.as_text().ok_or_else(|| refuse("is not an integer"))?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse("is not an integer"));
    }
    if text.len() != digits.len() {
        return Err(refuse("must be written without a sign"));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(refuse("has leading zeros"));
    }
    match digits.parse::<i64>() {
        Ok(number) => Ok(number.unsigned_abs()),
        Err(_) => Err(refuse("is out of range")),
    }
}

fn sign_key(headers: &Headers) -> Result<KeyId, DecodeError> {
    let text = string(headers, "sign-key-sha3-384").map_err(DecodeError::SignKey)?;
    text.parse().map_err(|_| {
        DecodeError::SignKey(HeaderError::new(
            "sign-key-sha3-384",
            "is not the base64url of 48 bytes",
        ))
    })
}

/// The primary key; optional headers that are absent are filled in.
fn primary_key(info: &TypeInfo, headers: &mut Headers) -> Result<PrimaryKey, DecodeError> {
    for (name, default) in info.optional {
        if !headers.contains(name) {
            headers.set(name, *default);
        }
    }
    let kind = info.kind;
    let mut values = Vec::with_capacity(info.primary_key.len());
    for name in info.primary_key {
        let value = string(headers, name).map_err(|error| DecodeError::Content { kind, error })?;
        if value.contains('/') {
            let error = HeaderError::new(*name, "cannot contain '/', it is part of the primary key");
            return Err(DecodeError::PrimaryKey { kind, error });
        }
        values.push(value.to_owned());
    }
    Ok(PrimaryKey(values))
}
