//! Signature packets: the one form we write, and the forms we take (assertions.md 2.2).
//!
//! Stricter than the reference, as that page recommends: only signature type 0x00, only SHA-256/384/512, no octets
//! after the signature value, no partial or indeterminate packet length.

use aws_lc_rs::digest;

use super::packet::{self, Octets, PacketError};
use super::public_key::PublicKey;
use crate::domain::time::Timestamp;

const TAG_SIGNATURE: u8 = 2;
const HASH_SHA512: u8 = 10;
const SUBPACKET_CREATION: u8 = 2;
const CRITICAL: u8 = 0x80;

/// Why a signature is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The base64 text or the packet around the signature is broken.
    #[error("the signature {0}")]
    Packet(#[from] PacketError),
    /// Another kind of packet, or another version than 4.
    #[error("the packet is no version 4 signature")]
    NotSignature,
    /// A signature over something else than a plain document.
    #[error("the signature is of type {0:#04x}: only 0x00 (binary document) is accepted")]
    Kind(u8),
    /// Another algorithm than RSA (1).
    #[error("the signature is of algorithm {0}: only RSA (1) is accepted")]
    Algorithm(u8),
    /// A weak or unknown hash.
    #[error("the signature uses hash {0}: only SHA-256, SHA-384 and SHA-512 are accepted")]
    Hash(u8),
    /// A subpacket of the wrong size, in the wrong place, or critical and unknown.
    #[error("the signature has a subpacket of type {0} that is broken, misplaced, or critical and unknown")]
    Subpacket(u8),
    /// No creation time in the hashed area.
    #[error("the signature has no creation time")]
    NoCreationTime,
    /// The signature does not match content and key.
    #[error("the signature does not match: the content was changed, or another key signed it")]
    Mismatch,
}

impl SignatureError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Packet(_)
            | Self::NotSignature
            | Self::Kind(_)
            | Self::Hash(_)
            | Self::Subpacket(_)
            | Self::NoCreationTime => "signature-format",
            // Every key is of algorithm 1, so another one in the signature is a mismatch.
            Self::Algorithm(_) | Self::Mismatch => "signature-invalid",
        }
    }
}

/// What a good signature says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureInfo {
    /// When it was made, by its own account; compared with nothing.
    pub created: Timestamp,
    /// The name of its hash.
    pub hash: &'static str,
}

/// A decoded signature packet.
#[derive(Clone, Debug)]
pub struct SignatureBlock {
    /// From the version octet to the end of the hashed subpackets.
    hashed: Vec<u8>,
    hash: Hash,
    created: Timestamp,
    left16: [u8; 2],
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }
}

impl SignatureBlock {
    /// Decodes a signature block: the base64 text between content and end of an assertion.
    pub fn decode(block: &[u8]) -> Result<Self, SignatureError> {
        let data = packet::from_base64(block)?;
        let (tag, body) = packet::single_packet(&data)?;
        Self::from_packet(tag, body)
    }

    /// Decodes a binary OpenPGP signature packet, as `gpg --detach-sign` writes it.
    pub fn from_binary(data: &[u8]) -> Result<Self, SignatureError> {
        let mut octets = Octets(data);
        let (tag, body) = octets.packet()?;
        if !octets.is_empty() {
            return Err(PacketError::Trailing.into());
        }
        Self::from_packet(tag, body)
    }

    fn from_packet(tag: u8, body: Octets<'_>) -> Result<Self, SignatureError> {
        let mut octets = body;
        if tag != TAG_SIGNATURE || octets.u8()? != 4 {
            return Err(SignatureError::NotSignature);
        }
        let (kind, algorithm, hash) = (octets.u8()?, octets.u8()?, octets.u8()?);
        if kind != 0 {
            return Err(SignatureError::Kind(kind));
        }
        if algorithm != 1 {
            return Err(SignatureError::Algorithm(algorithm));
        }
        let hash = match hash {
            8 => Hash::Sha256,
            9 => Hash::Sha384,
            HASH_SHA512 => Hash::Sha512,
            other => return Err(SignatureError::Hash(other)),
        };
        let hashed_len = octets.u16()?;
        let created = subpackets(octets.take(hashed_len)?, true)?.ok_or(SignatureError::NoCreationTime)?;
        let hashed = body.0.get(..6 + hashed_len).ok_or(PacketError::Length)?.to_vec();
        let unhashed_len = octets.u16()?;
        subpackets(octets.take(unhashed_len)?, false)?;
        let left16 = [octets.u8()?, octets.u8()?];
        let value = octets.mpi()?.to_vec();
        if !octets.is_empty() {
            return Err(PacketError::Trailing.into());
        }
        Ok(Self {
            hashed,
            hash,
            created: Timestamp::from_unix(i64::from(created)),
            left16,
            value,
        })
    }

    /// Checks the signature over `content` with `key`.
    pub fn verify(&self, content: &[u8], key: &PublicKey) -> Result<SignatureInfo, SignatureError> {
        let digest = document_digest(self.hash.algorithm(), content, &self.hashed);
        if !digest.as_ref().starts_with(&self.left16) {
            return Err(SignatureError::Mismatch);
        }
        let size = key.signature_len();
        let padding = size
            .checked_sub(self.value.len())
            .ok_or(SignatureError::Mismatch)?;
        let good = if padding == 0 {
            key.verify_digest(&digest, &self.value)
        } else {
            let mut padded = vec![0; padding];
            padded.extend_from_slice(&self.value);
            key.verify_digest(&digest, &padded)
        };
        if good {
            Ok(SignatureInfo {
                created: self.created,
                hash: self.hash.name(),
            })
        } else {
            Err(SignatureError::Mismatch)
        }
    }

    /// When the signature was made, by its own account.
    pub fn created(&self) -> Timestamp {
        self.created
    }
}

/// Walks an area of subpackets; gives the creation time, which only the hashed area may hold.
fn subpackets(area: &[u8], hashed: bool) -> Result<Option<u32>, SignatureError> {
    let mut octets = Octets(area);
    let mut created = None;
    while !octets.is_empty() {
        let length = octets.new_length(255)?;
        let mut subpacket = Octets(octets.take(length)?);
        let kind = subpacket.u8()?;
        let value = subpacket.0;
        let broken = SignatureError::Subpacket(kind & !CRITICAL);
        // Sizes as the reference checks them. A type it does not know is skipped unless critical.
        let fits = match kind & !CRITICAL {
            SUBPACKET_CREATION => {
                let seconds = <[u8; 4]>::try_from(value).map_err(|_| broken)?;
                created = Some(u32::from_be_bytes(seconds));
                hashed
            }
            3 | 9 => value.len() == 4,
            16 => value.len() == 8,
            25 => value.len() == 1,
            27 | 29 => !value.is_empty(),
            11 | 21 | 22 | 30 => true,
            // Embedded signatures belong to key bindings, never to documents.
            32 => false,
            _ => kind & CRITICAL == 0,
        };
        if !fits {
            return Err(broken);
        }
    }
    Ok(created)
}

fn document_digest(algorithm: &'static digest::Algorithm, content: &[u8], hashed: &[u8]) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    context.update(content);
    context.update(hashed);
    context.update(&[4, 0xff]);
    context.update(&u32::try_from(hashed.len()).unwrap_or(u32::MAX).to_be_bytes());
    context.finish()
}

/// Writes signatures octet by octet as the reference's own signer does: binary document, RSA, SHA-512, the creation
/// time as the only hashed subpacket, nothing unhashed, and the length of the value fixed at that of the modulus.
#[derive(Clone, Copy, Debug)]
pub struct SignatureWriter {
    hashed: [u8; 12],
}

impl SignatureWriter {
    /// For a signature made at `created`; none if 32 bits of seconds since 1970 cannot say it.
    pub fn new(created: Timestamp) -> Option<Self> {
        Some(Self::at(u32::try_from(created.unix()).ok()?))
    }

    /// Like [`Self::new`], with the nearest time that can be said.
    pub(super) fn clipped(created: Timestamp) -> Self {
        Self::at(u32::try_from(created.unix().max(0)).unwrap_or(u32::MAX))
    }

    fn at(seconds: u32) -> Self {
        let [a, b, c, d] = seconds.to_be_bytes();
        Self {
            hashed: [4, 0, 1, HASH_SHA512, 0, 6, 5, SUBPACKET_CREATION, a, b, c, d],
        }
    }

    /// The SHA-512 digest to sign with RSASSA-PKCS1-v1_5.
    pub fn digest(&self, content: &[u8]) -> [u8; 64] {
        let digest = document_digest(&digest::SHA512, content, &self.hashed);
        let mut out = [0; 64];
        out.copy_from_slice(digest.as_ref());
        out
    }

    /// The signature block (base64 text, no line feed at the end) around the raw value, one octet per octet of the
    /// modulus.
    pub fn block(&self, digest: &[u8; 64], raw: &[u8]) -> String {
        packet::to_base64_lines(&self.format1(digest, raw))
    }

    /// The binary OpenPGP packet, as `gpg --detach-sign` would write it.
    pub fn binary(&self, digest: &[u8; 64], raw: &[u8]) -> Vec<u8> {
        self.format1(digest, raw).split_off(1)
    }

    fn format1(&self, digest: &[u8; 64], raw: &[u8]) -> Vec<u8> {
        let bits = u16::try_from(raw.len() * 8).unwrap_or(u16::MAX).to_be_bytes();
        let left16 = [digest[0], digest[1]];
        packet::format1_packet(TAG_SIGNATURE, &[&self.hashed, &[0, 0], &left16, &bits, raw])
    }
}
