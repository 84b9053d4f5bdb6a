//! How keys and values are written as bytes. Keys sort as the values they hold; every value starts with a version.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::ident::KeyId;
use crate::domain::time::Timestamp;
use crate::ports::StoreError;

/// What can be looked up; the first byte of every key in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Space {
    /// Facts about the database itself, by name.
    Meta = b'm',
    /// Records: kind, key parts.
    Record = b'r',
    /// Owners of unique values: kind, field, value.
    Unique = b'u',
    /// Assertions: type, primary key parts, format.
    Assertion = b'a',
    /// Members of sequences: type, sequence key parts, number, format.
    Sequence = b'q',
    /// Rows of the ledger: brand, model, position.
    Row = b'p',
    /// Positions of a device's rows: brand, model, serial, revision.
    Device = b'd',
    /// Rows of a device key: its first bytes, position.
    DeviceKey = b'k',
    /// Open reservations: brand, model, serial, revision.
    Open = b'o',
    /// Numbers of a model: brand, model.
    Counts = b'c',
    /// Judged serials: brand, model, serial.
    Standing = b's',
    /// Requests for approval: brand, model, serial, device key.
    Approval = b'w',
    /// Spent request-ids: expiry, random part.
    SpentRequest = b'n',
    /// Spent nonces.
    SpentNonce = b'x',
    /// Spent nonces by expiry: expiry, nonce.
    NonceExpiry = b'y',
    /// Audit entries: position.
    Entry = b'e',
    /// Audit chains: writer.
    Chain = b'h',
    /// Audit checkpoints: number.
    Checkpoint = b'z',
}

/// A key under construction.
#[derive(Clone, Debug)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn new(space: Space) -> Self {
        Self(vec![space as u8])
    }

    /// A text of any length. Two bytes are escaped, so that the end of a text sorts before all that could follow.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.open_text(text);
        self.0.push(0);
        self
    }

    /// The beginning of a text: matches all that start with it.
    pub(super) fn text_prefix(mut self, text: &str) -> Self {
        self.open_text(text);
        self
    }

    pub(super) fn texts<'a>(self, texts: impl IntoIterator<Item = &'a str>) -> Self {
        texts.into_iter().fold(self, Self::text)
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn small(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn time(self, time: Timestamp) -> Self {
        // Times before 1970 sort first.
        self.number(time.unix().cast_unsigned() ^ (1 << 63))
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }

    fn open_text(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                0 | 1 => self.0.extend_from_slice(&[1, byte + 1]),
                plain => self.0.push(plain),
            }
        }
    }
}

/// The smallest key above all that start with `prefix`; none if there is no such key.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// Appends the parts of a value.
#[derive(Debug)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    /// A value of layout `version`.
    pub(super) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(super) fn time(self, time: Timestamp) -> Self {
        self.number(time.unix().cast_unsigned())
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn key_id(self, key: &KeyId) -> Self {
        let raw = key_bytes(key);
        self.raw(&raw)
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Takes the parts of a value in order; every lack is [`StoreError::Corrupt`].
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Decoder<'a> {
    /// Starts reading a value of layout `version`. `what` names it in errors.
    pub(super) fn new(bytes: &'a [u8], version: u8, what: &'static str) -> Result<Self, StoreError> {
        let mut decoder = Self { rest: bytes, what };
        let found = decoder.byte()?;
        if found != version {
            return Err(decoder.corrupt(&format!("has layout {found}, not {version}")));
        }
        Ok(decoder)
    }

    /// Reads the parts of a key behind its space.
    pub(super) fn of_key(key: &'a [u8], what: &'static str) -> Result<Self, StoreError> {
        let mut decoder = Self { rest: key, what };
        decoder.byte()?;
        Ok(decoder)
    }

    pub(super) fn raw(&mut self, length: usize) -> Result<&'a [u8], StoreError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.corrupt("is too short"));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let what = self.what;
        self.raw(N)?
            .try_into()
            .map_err(|_| StoreError::Corrupt(format!("a {what} is too short")))
    }

    pub(super) fn byte(&mut self) -> Result<u8, StoreError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_unix(self.number()?.cast_signed()))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, StoreError> {
        let length = u32::from_le_bytes(self.array()?);
        let bytes = self.raw(usize::try_from(length).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map_err(|_| self.corrupt("holds a text that is none"))
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, StoreError> {
        self.text()?
            .parse()
            .map_err(|_| self.corrupt("holds a name that is none"))
    }

    pub(super) fn key_id(&mut self) -> Result<KeyId, StoreError> {
        let text = URL_SAFE_NO_PAD.encode(self.array::<KEY_BYTES>()?);
        text.parse()
            .map_err(|_| self.corrupt("holds a key id that is none"))
    }

    /// A text of a key, as [`Key::text`] wrote it.
    pub(super) fn key_text(&mut self) -> Result<String, StoreError> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| self.corrupt("does not end"))?;
        let written = self.raw(end)?;
        self.byte()?;
        let mut plain = Vec::with_capacity(written.len());
        let mut bytes = written.iter();
        while let Some(byte) = bytes.next() {
            plain.push(match byte {
                1 => bytes.next().map_or(0, |escaped| escaped.wrapping_sub(1)),
                plain => *plain,
            });
        }
        String::from_utf8(plain).map_err(|_| self.corrupt("holds a text that is none"))
    }

    pub(super) fn key_parsed<T: std::str::FromStr>(&mut self) -> Result<T, StoreError> {
        self.key_text()?
            .parse()
            .map_err(|_| self.corrupt("holds a name that is none"))
    }

    pub(super) fn key_number(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A time of a key, as [`Key::time`] wrote it.
    pub(super) fn key_time(&mut self) -> Result<Timestamp, StoreError> {
        let number = self.key_number()? ^ (1 << 63);
        Ok(Timestamp::from_unix(number.cast_signed()))
    }

    pub(super) fn key_small(&mut self) -> Result<u32, StoreError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn corrupt(&self, why: &str) -> StoreError {
        StoreError::Corrupt(format!("a {} {why}", self.what))
    }
}

const KEY_BYTES: usize = 48;

/// The 48 bytes a key id stands for.
pub(super) fn key_bytes(key: &KeyId) -> [u8; KEY_BYTES] {
    let mut raw = [0; KEY_BYTES];
    // 64 characters of the alphabet are exactly 48 bytes, so this cannot fail for a `KeyId`.
    let _length = URL_SAFE_NO_PAD.decode_slice(key.as_str(), &mut raw);
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_parts() {
        let texts = [
            "", "\0", "\0a", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "a ", "aa", "b", "é",
        ];
        let keys: Vec<Vec<u8>> = texts
            .iter()
            .map(|text| Key::new(Space::Record).text(text).text("z").bytes())
            .collect();
        assert!(keys.is_sorted());
        for (text, key) in texts.iter().zip(&keys) {
            let mut decoder = Decoder::of_key(key, "key").unwrap();
            assert_eq!(
                (
                    decoder.key_text().unwrap().as_str(),
                    decoder.key_text().unwrap().as_str()
                ),
                (*text, "z")
            );
            assert_eq!(decoder.left(), 0);
        }
        let times: Vec<_> = [i64::MIN, -1, 0, 1, i64::MAX]
            .map(|seconds| {
                Key::new(Space::SpentRequest)
                    .time(Timestamp::from_unix(seconds))
                    .bytes()
            })
            .to_vec();
        assert!(times.is_sorted());
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[255]), None);
    }

    #[test]
    fn values_are_read_back_and_cut_ones_are_refused() {
        let key: KeyId = "abcdefghijklmnop".repeat(4).parse().unwrap();
        let time = Timestamp::from_unix(-5);
        let bytes = Encoder::new(3)
            .byte(7)
            .number(u64::MAX)
            .time(time)
            .text("é")
            .key_id(&key)
            .bytes();
        for length in 0..bytes.len() {
            let read = |bytes: &[u8]| -> Result<(), StoreError> {
                let mut decoder = Decoder::new(bytes, 3, "value")?;
                assert_eq!(decoder.byte()?, 7);
                assert_eq!(decoder.number()?, u64::MAX);
                assert_eq!(decoder.time()?, time);
                assert_eq!(decoder.text()?, "é");
                assert_eq!(decoder.key_id()?, key);
                Ok(())
            };
            assert!(
                matches!(read(&bytes[..length]), Err(StoreError::Corrupt(_))),
                "{length}"
            );
            read(&bytes).unwrap();
        }
        assert!(matches!(
            Decoder::new(&bytes, 4, "value"),
            Err(StoreError::Corrupt(_))
        ));
    }
}
