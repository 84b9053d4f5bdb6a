//! The little of OpenPGP that assertions use: packet headers, MPIs, and base64 in lines (assertions.md 2).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Standard alphabet with padding; stray bits after the last octet are tolerated, as the reference does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Characters on a line of base64.
const COLUMNS: usize = 76;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Not base64: standard alphabet, padding, line breaks only.
    #[error("is not base64 text")]
    Base64,
    /// The format octet before the packet is not 1.
    #[error("is not of format 1")]
    Format,
    /// The octets end inside the packet, or it has no length we accept.
    #[error("is cut short, or of partial or indeterminate length")]
    Length,
    /// Not an OpenPGP packet.
    #[error("holds no OpenPGP packet")]
    NoPacket,
    /// Octets follow the packet, or what it should hold.
    #[error("has octets after its end")]
    Trailing,
}

/// Base64 of `data` in lines of 76 characters, no line feed at the end.
pub(super) fn to_base64_lines(data: &[u8]) -> String {
    let flat = BASE64.encode(data);
    let mut out = String::with_capacity(flat.len() + flat.len() / COLUMNS);
    let mut rest = flat.as_str();
    while let Some((line, more)) = rest
        .split_at_checked(COLUMNS)
        .filter(|(_, more)| !more.is_empty())
    {
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str(rest);
    out
}

/// Decodes base64; CR and LF are skipped wherever they stand.
pub(super) fn from_base64(text: &[u8]) -> Result<Vec<u8>, PacketError> {
    let mut flat = Vec::with_capacity(text.len());
    flat.extend(text.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    BASE64.decode(flat).map_err(|_| PacketError::Base64)
}

/// Reads octets from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl<'a> Octets<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], PacketError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(PacketError::Length)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, PacketError> {
        let (first, rest) = self.0.split_first().ok_or(PacketError::Length)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn u16(&mut self) -> Result<usize, PacketError> {
        Ok(self
            .take(2)?
            .iter()
            .fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    pub(super) fn u32(&mut self) -> Result<usize, PacketError> {
        Ok(self
            .take(4)?
            .iter()
            .fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    /// The octets of a multi-precision integer, as written.
    pub(super) fn mpi(&mut self) -> Result<&'a [u8], PacketError> {
        let bits = self.u16()?;
        self.take(bits.div_ceil(8))
    }

    /// A packet header and the packet's body: its tag and octets.
    pub(super) fn packet(&mut self) -> Result<(u8, Octets<'a>), PacketError> {
        let first = self.u8()?;
        if first & 0x80 == 0 {
            return Err(PacketError::NoPacket);
        }
        let (tag, length) = if first & 0x40 == 0 {
            let length = match first & 0x03 {
                0 => usize::from(self.u8()?),
                1 => self.u16()?,
                2 => self.u32()?,
                _ => return Err(PacketError::Length),
            };
            ((first >> 2) & 0x0f, length)
        } else {
            (first & 0x3f, self.new_length(224)?)
        };
        Ok((tag, Octets(self.take(length)?)))
    }

    /// A length of new-format packets (two-octet forms below 224) or of signature subpackets (below 255).
    pub(super) fn new_length(&mut self, two_octets_below: u8) -> Result<usize, PacketError> {
        let first = self.u8()?;
        if first < 192 {
            Ok(usize::from(first))
        } else if first < two_octets_below {
            Ok((usize::from(first - 192) << 8) + usize::from(self.u8()?) + 192)
        } else if first == 255 {
            self.u32()
        } else {
            Err(PacketError::Length)
        }
    }
}

/// Decodes `base64(01 || packet)`: the tag and the body of exactly one packet.
pub(super) fn single_packet<'a>(data: &'a [u8]) -> Result<(u8, Octets<'a>), PacketError> {
    let mut octets = Octets(data);
    if octets.u8().map_err(|_| PacketError::Format)? != 1 {
        return Err(PacketError::Format);
    }
    let packet = octets.packet()?;
    if octets.is_empty() {
        Ok(packet)
    } else {
        Err(PacketError::Trailing)
    }
}

/// `01 || packet` with a new-format header.
pub(super) fn format1_packet(tag: u8, body_parts: &[&[u8]]) -> Vec<u8> {
    let length = body_parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length + 7);
    out.extend([1, 0xc0 | tag]);
    push_new_length(&mut out, length);
    for part in body_parts {
        out.extend_from_slice(part);
    }
    out
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each octet is masked or bounded by the branch"
)]
fn push_new_length(out: &mut Vec<u8>, length: usize) {
    if length < 192 {
        out.push(length as u8);
    } else if length < 8384 {
        let rest = length - 192;
        out.extend([((rest >> 8) + 192) as u8, (rest & 0xff) as u8]);
    } else {
        out.push(0xff);
        out.extend((length as u32).to_be_bytes());
    }
}

/// An integer without leading zero octets.
pub(super) fn strip_zeros(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

/// Length in bits of an integer without leading zero octets.
pub(super) fn bit_length(integer: &[u8]) -> usize {
    match integer.first() {
        Some(first) => integer.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}
