//! What is to be signed: headers and body from a tool, and the bytes made of them (assertions.md 1.4, 5.1).

use bytes::Bytes;

use super::decode::{self, Assertion, DecodeError};
use super::encode::append_header;
use super::grammar::is_header_name;
use super::headers::{HeaderError, Headers, Value};
use super::json;
use super::public_key::PublicKey;
use super::registry::AssertionType;
use super::signature::{SignatureError, SignatureWriter};
use super::{types, yaml};
use crate::domain::time::Timestamp;

/// Stands in for the signature while a draft is checked.
const NO_SIGNATURE_YET: &str = "\n\nAA==\n";

/// Why a statement cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not JSON or YAML, or not a map.
    #[error("the statement {0}")]
    Syntax(String),
    /// A header with another scalar than a string.
    #[error(transparent)]
    NotText(HeaderError),
    /// No `type`, or not a string.
    #[error(transparent)]
    TypeMissing(HeaderError),
    /// No type of this name is known.
    #[error("unknown assertion type {0:?}")]
    UnknownType(String),
    /// A header that the tool sets stands in the statement, too.
    #[error(transparent)]
    Clash(HeaderError),
    /// A higher format iteration than the type has.
    #[error("the format of {kind} assertions is at most {max}, not {format}")]
    FormatTooHigh {
        /// The type.
        kind: AssertionType,
        /// The highest format.
        max: u32,
        /// What the statement says.
        format: u32,
    },
    /// A lower format iteration than the headers need.
    #[error("the headers of this {kind} assertion need format {needed} at least, not {format}")]
    FormatTooLow {
        /// The type.
        kind: AssertionType,
        /// The lowest format that covers the headers.
        needed: u32,
        /// What the statement says.
        format: u32,
    },
    /// A header name or map key no decoder accepts; with a line feed in it, it could even pass for two headers.
    #[error(transparent)]
    Name(HeaderError),
    /// No decoder would accept the result.
    #[error(transparent)]
    Content(#[from] DecodeError),
    /// The creation time does not fit the signature packet (1970 to 2106).
    #[error("{0} cannot be the time of a signature: it must lie between 1970 and 2106")]
    CreationTime(Timestamp),
    /// The signer returned something that does not verify with the key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl StatementError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "statement-syntax",
            Self::NotText(_) => "header-not-text",
            Self::TypeMissing(_) => "type-missing",
            Self::UnknownType(_) => "type-unknown",
            Self::Clash(_) => "header-clash",
            Self::Name(_) => "header-name",
            Self::FormatTooHigh { .. } | Self::FormatTooLow { .. } => "unsupported-format",
            Self::Content(error) => error.code(),
            Self::CreationTime(_) => "creation-time",
            Self::Signature(error) => error.code(),
        }
    }

    /// The header that is wrong, where one is.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::NotText(error) | Self::TypeMissing(error) | Self::Clash(error) | Self::Name(error) => {
                Some(&error.header)
            }
            Self::UnknownType(_) => Some("type"),
            Self::FormatTooHigh { .. } | Self::FormatTooLow { .. } => Some("format"),
            Self::Content(error) => error.header(),
            Self::Syntax(_) | Self::CreationTime(_) | Self::Signature(_) => None,
        }
    }
}

/// Headers and body to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    kind: AssertionType,
    headers: Headers,
    body: Vec<u8>,
}

impl Statement {
    /// A statement of type `kind`.
    pub fn new(kind: AssertionType, headers: Headers, body: Vec<u8>) -> Self {
        Self { kind, headers, body }
    }

    /// Reads what `snap sign` reads: a JSON object with strings, lists and maps; `body` is the body.
    pub fn from_json(text: &str) -> Result<Self, StatementError> {
        Self::from_json_with(text, &Headers::default())
    }

    /// Like [`Self::from_json`], with headers a tool adds. They may not stand in the text, except an equal `type`.
    pub fn from_json_with(text: &str, complement: &Headers) -> Result<Self, StatementError> {
        let object = json::object(text).map_err(StatementError::Syntax)?;
        let mut headers = Headers::default();
        for (name, value) in object {
            let value = text_only(value).map_err(|scalar| not_text(&name, &scalar))?;
            headers.set(&name, value);
        }
        Self::from_headers(headers, complement)
    }

    /// Reads the same from YAML. Unquoted numbers, booleans and dates are taken as the text they are written in
    /// (`revision: 1` is the string `1`); null, tags and repeated keys are refused.
    pub fn from_yaml(text: &str) -> Result<Self, StatementError> {
        Self::from_yaml_with(text, &Headers::default())
    }

    /// Like [`Self::from_yaml`], with headers a tool adds, as in [`Self::from_json_with`].
    pub fn from_yaml_with(text: &str, complement: &Headers) -> Result<Self, StatementError> {
        let headers = yaml::headers(text).map_err(StatementError::Syntax)?;
        Self::from_headers(headers, complement)
    }

    fn from_headers(mut headers: Headers, complement: &Headers) -> Result<Self, StatementError> {
        for (name, value) in complement.iter() {
            match headers.get(name) {
                Some(_) if name != "type" => {
                    let error = HeaderError::new(name, "is set by the tool and must not be in the statement");
                    return Err(StatementError::Clash(error));
                }
                Some(given) if given != value => {
                    let error = HeaderError::new(name, "differs from the type asked for");
                    return Err(StatementError::Clash(error));
                }
                Some(_) => {}
                None => headers.set(name, value.clone()),
            }
        }
        let kind = decode::string(&headers, "type").map_err(StatementError::TypeMissing)?;
        let kind: AssertionType = kind
            .parse()
            .map_err(|unknown: super::registry::UnknownType| StatementError::UnknownType(unknown.0))?;
        let body = match headers.remove("body") {
            None => String::new(),
            Some(Value::Text(body)) => body,
            Some(Value::List(_) | Value::Map(_)) => {
                return Err(StatementError::NotText(HeaderError::new(
                    "body",
                    "must be a string",
                )));
            }
        };
        let body = if kind.info().json_body && !body.is_empty() {
            json::canonical_body(&body)
                .map_err(|problem| StatementError::Content(DecodeError::BodyJson { kind, problem }))?
        } else {
            body
        };
        Ok(Self {
            kind,
            headers,
            body: body.into_bytes(),
        })
    }

    /// The type.
    pub fn kind(&self) -> AssertionType {
        self.kind
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The headers, to complete them.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// The body; empty where there is none.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Orders the headers and makes the bytes to be signed by `key`. Everything a decoder would refuse is refused
    /// here, before anything is signed; `type`, `body-length` and `sign-key-sha3-384` are overwritten.
    pub fn draft(self, key: &PublicKey) -> Result<Draft, StatementError> {
        let Self {
            kind,
            mut headers,
            body,
        } = self;
        let info = kind.info();
        types::check_nothing_vanishes(kind, &headers)
            .map_err(|error| DecodeError::Content { kind, error })?;
        let format = decode::integer(&headers, "format")?;
        let revision = decode::integer(&headers, "revision")?;
        for name in ["type", "body-length", "sign-key-sha3-384"] {
            headers.remove(name);
        }
        for (name, value) in headers.iter() {
            check_name(name, name)?;
            check_keys(name, value)?;
        }
        let mut text = String::with_capacity(1024 + body.len());
        text.push_str("type: ");
        text.push_str(info.name);
        for (name, wanted) in [
            ("format", format > 0),
            ("authority-id", info.has_authority),
            ("revision", revision > 0),
        ] {
            if !wanted && name == "authority-id" {
                // Left among the others, so that the decoder below refuses it by name.
                continue;
            }
            if let Some(value) = headers.remove(name).filter(|_| wanted) {
                append_header(&mut text, name, &value);
            }
        }
        for name in info.primary_key {
            let default = info
                .optional
                .iter()
                .find(|(optional, _)| optional == name)
                .map(|(_, default)| *default);
            let Some(value) = headers.remove(name) else {
                // As the reference does: a default that was not given is written out among the others.
                if let Some(default) = default {
                    headers.set(name, default);
                }
                continue;
            };
            // An empty list would vanish, and the default take its place unseen.
            let Some(given) = value.as_text() else {
                let error = HeaderError::new(*name, "must be a string");
                return Err(DecodeError::Content { kind, error }.into());
            };
            if Some(given) != default {
                append_header(&mut text, name, &value);
            }
        }
        for (name, value) in headers.iter() {
            append_header(&mut text, name, value);
        }
        if !body.is_empty() {
            append_header(&mut text, "body-length", &Value::Text(body.len().to_string()));
        }
        append_header(&mut text, "sign-key-sha3-384", &key.id().as_str().into());
        let mut content = text.into_bytes();
        if !body.is_empty() {
            content.extend_from_slice(decode::BLANK_LINE);
            content.extend_from_slice(&body);
        }
        check(&content)?;
        Ok(Draft {
            content,
            key: key.clone(),
        })
    }
}

fn check_name(header: &str, name: &str) -> Result<(), StatementError> {
    if is_header_name(name) {
        return Ok(());
    }
    let problem = format!("has an invalid name {name:?}: use lower-case letters, digits and single dashes");
    Err(StatementError::Name(HeaderError::new(header, problem)))
}

/// Checks the keys of all maps inside `value`.
fn check_keys(header: &str, value: &Value) -> Result<(), StatementError> {
    match value {
        Value::Text(_) => Ok(()),
        Value::List(items) => items.iter().try_for_each(|item| check_keys(header, item)),
        Value::Map(entries) => entries.iter().try_for_each(|(key, entry)| {
            check_name(header, key)?;
            check_keys(header, entry)
        }),
    }
}

/// Decodes the draft with a stand-in for its signature, and judges its format.
fn check(content: &[u8]) -> Result<(), StatementError> {
    let mut whole = Vec::with_capacity(content.len() + NO_SIGNATURE_YET.len());
    whole.extend_from_slice(content);
    whole.extend_from_slice(NO_SIGNATURE_YET.as_bytes());
    let draft = decode::decode_bytes(Bytes::from(whole))?;
    let (kind, format) = (draft.kind(), draft.format());
    let max = kind.info().max_format;
    if format > max {
        return Err(StatementError::FormatTooHigh { kind, max, format });
    }
    let needed = types::needed_format(kind, draft.headers());
    if format < needed {
        return Err(StatementError::FormatTooLow { kind, needed, format });
    }
    Ok(())
}

/// A JSON value as a header value, or the scalar that is no string.
fn text_only(value: serde_json::Value) -> Result<Value, serde_json::Value> {
    match value {
        serde_json::Value::String(text) => Ok(Value::Text(text)),
        serde_json::Value::Array(items) => items
            .into_iter()
            .map(text_only)
            .collect::<Result<_, _>>()
            .map(Value::List),
        serde_json::Value::Object(entries) => entries
            .into_iter()
            .map(|(key, entry)| Ok((key, text_only(entry)?)))
            .collect::<Result<_, _>>()
            .map(Value::Map),
        scalar @ (serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => {
            Err(scalar)
        }
    }
}

fn not_text(header: &str, scalar: &serde_json::Value) -> StatementError {
    let problem =
        format!("holds {scalar}: only strings, lists and maps of strings are possible, so put it in quotes");
    StatementError::NotText(HeaderError::new(header, problem))
}

/// Content ready to be signed.
#[derive(Clone, Debug)]
pub struct Draft {
    content: Vec<u8>,
    key: PublicKey,
}

impl Draft {
    /// Content somebody else put together (an external signing tool), to be signed as it stands by the holder of
    /// `key`. Whether it is an assertion shows in [`Draft::finish`].
    pub fn of_content(content: Vec<u8>, key: &PublicKey) -> Self {
        Self {
            content,
            key: key.clone(),
        }
    }

    /// The bytes the signature covers.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The SHA-512 digest to sign with RSASSA-PKCS1-v1_5: over the content and the trailer of a signature packet
    /// made at `created`. A time no packet can hold is clipped here and refused by [`Self::finish`].
    pub fn digest(&self, created: Timestamp) -> [u8; 64] {
        SignatureWriter::clipped(created).digest(&self.content)
    }

    /// Puts the signature in place and gives the assertion, after decoding and verifying it like a stranger's.
    pub fn finish(self, created: Timestamp, raw_signature: &[u8]) -> Result<Assertion, StatementError> {
        let writer = SignatureWriter::new(created).ok_or(StatementError::CreationTime(created))?;
        let block = writer.block(&writer.digest(&self.content), raw_signature);
        let mut whole = self.content;
        whole.reserve_exact(block.len() + 3);
        whole.extend_from_slice(decode::BLANK_LINE);
        whole.extend_from_slice(block.as_bytes());
        whole.push(b'\n');
        let assertion = decode::decode_bytes(Bytes::from(whole))?;
        self.key.verify_assertion(&assertion)?;
        Ok(assertion)
    }
}
