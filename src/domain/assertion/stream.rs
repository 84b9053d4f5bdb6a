//! The stream decoder (assertions.md 1.6): several assertions in a row, each within limits.

use bytes::{BufMut, Bytes, BytesMut};

use super::decode::{self, Assertion, BLANK_LINE, DecodeError, Layout, Part, find_blank_line};
use super::grammar;

/// Sizes up to which the stream decoder reads the parts of each assertion, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Headers, with the blank line after them.
    pub headers: usize,
    /// Body.
    pub body: usize,
    /// Signature block, with the blank line after it.
    pub signature: usize,
}

impl Default for Limits {
    /// Those of the reference: 128 KiB, 2 MiB, 128 KiB.
    fn default() -> Self {
        Self {
            headers: 128 * 1024,
            body: 2 * 1024 * 1024,
            signature: 128 * 1024,
        }
    }
}

/// Decodes a stream of assertions separated by blank lines. Yields them in order; the first error is final.
///
/// The assertions share the input's memory.
#[derive(Debug)]
pub struct StreamDecoder {
    input: Bytes,
    limits: Limits,
    failed: bool,
}

impl StreamDecoder {
    /// With the usual limits.
    pub fn new(input: Bytes) -> Self {
        Self::with_limits(input, Limits::default())
    }

    /// With other limits.
    pub fn with_limits(input: Bytes, limits: Limits) -> Self {
        Self {
            input,
            limits,
            failed: false,
        }
    }

    fn decode_next(&mut self) -> Result<Assertion, DecodeError> {
        let input = &self.input;
        let head_end = match find_within(input, self.limits.headers) {
            Found::At(place) => place,
            Found::End => return Err(DecodeError::UnexpectedEnd(Part::Headers)),
            Found::BeyondLimit => return Err(self.too_large(Part::Headers)),
        };
        let headers = grammar::parse_headers(input.get(..head_end).unwrap_or_default())?;
        let declared = decode::integer(&headers, "body-length")?;
        let body_len = usize::try_from(declared)
            .ok()
            .filter(|length| *length <= self.limits.body)
            .ok_or_else(|| self.too_large(Part::Body))?;
        let body_start = head_end + BLANK_LINE.len();
        let body = body_start..body_start + body_len;
        let Some(after_body) = input.get(body.end..) else {
            return Err(DecodeError::UnexpectedEnd(Part::Body));
        };
        let (content, signature_start) = if after_body.starts_with(BLANK_LINE) {
            (0..body.end, body.end + BLANK_LINE.len())
        } else if body_len == 0 {
            (0..head_end, body_start)
        } else {
            return Err(DecodeError::BodySeparator);
        };
        let rest = input.get(signature_start..).unwrap_or_default();
        // The signature ends with the first line feed of a blank line, or with the input.
        let (signature_len, consumed) = match find_within(rest, self.limits.signature) {
            Found::At(place) => (place + 1, place + BLANK_LINE.len()),
            Found::End => (rest.len(), rest.len()),
            Found::BeyondLimit => return Err(self.too_large(Part::Signature)),
        };
        let signature = signature_start..signature_start + signature_len;
        let layout = Layout {
            content,
            body,
            signature: signature.clone(),
            signature_is_empty: signature_len == 0,
        };
        let next = self.input.split_off(signature_start + consumed);
        let mut encoded = std::mem::replace(&mut self.input, next);
        encoded.truncate(signature.end);
        if !encoded.ends_with(b"\n") {
            let mut copy = BytesMut::with_capacity(encoded.len() + 1);
            copy.put_slice(&encoded);
            copy.put_u8(b'\n');
            encoded = copy.freeze();
        }
        decode::assemble(headers, encoded, layout)
    }

    fn too_large(&self, part: Part) -> DecodeError {
        let limit = match part {
            Part::Headers => self.limits.headers,
            Part::Body => self.limits.body,
            Part::Signature => self.limits.signature,
        };
        DecodeError::TooLarge { part, limit }
    }
}

impl Iterator for StreamDecoder {
    type Item = Result<Assertion, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.input.is_empty() {
            return None;
        }
        let result = self.decode_next();
        self.failed = result.is_err();
        Some(result)
    }
}

enum Found {
    At(usize),
    /// The input ends first.
    End,
    /// Not within the limit.
    BeyondLimit,
}

/// Looks for a blank line that ends within the first `limit` bytes.
fn find_within(input: &[u8], limit: usize) -> Found {
    let window = input.get(..limit).unwrap_or(input);
    match find_blank_line(window) {
        Some(place) => Found::At(place),
        None if input.len() < limit => Found::End,
        None => Found::BeyondLimit,
    }
}
