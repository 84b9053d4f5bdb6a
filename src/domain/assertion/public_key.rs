//! RSA public keys as assertions carry them, and their ids (assertions.md 2.1).

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::envelope::Envelope;
use super::packet::{self, Octets, PacketError};
use super::signature::{SignatureBlock, SignatureError, SignatureInfo};
use crate::domain::ident::KeyId;

/// Smallest modulus accepted, in bits (assertions.md 2.1: smaller keys SHOULD be refused).
pub const MIN_BITS: usize = 2048;
/// Largest modulus the verifier handles, in bits.
pub const MAX_BITS: usize = 8192;

/// 2016-01-01T00:00:00Z: the creation time of every key packet, so that the id depends on the key alone.
const CREATION_TIME: [u8; 4] = [0x56, 0x85, 0xc1, 0x80];
const TAG_PUBLIC_KEY: u8 = 6;
const TAG_PUBLIC_SUBKEY: u8 = 14;
const ALGORITHM_RSA: u8 = 1;

/// Why something is not a public key we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// The base64 text or the packet around the key is broken.
    #[error("the public key {0}")]
    Packet(#[from] PacketError),
    /// A packet of another tag or version, or a private key.
    #[error("the packet is no version 4 public key")]
    NotPublicKey,
    /// Another algorithm than RSA.
    #[error("the public key is not RSA")]
    NotRsa,
    /// Fewer bits than [`MIN_BITS`].
    #[error("the public key has only {0} bits: at least 2048 are needed")]
    TooSmall(usize),
    /// More bits than [`MAX_BITS`].
    #[error("the public key has {0} bits: at most 8192 are supported")]
    TooLarge(usize),
    /// An exponent of more than three octets, or an even or trivial one.
    #[error("the public exponent is not an odd number between 3 and 16777215")]
    Exponent,
    /// Not the DER form of an RSA SubjectPublicKeyInfo.
    #[error("this is not an RSA SubjectPublicKeyInfo in DER")]
    Der,
    /// Such a key cannot exist: its modulus is even.
    #[error("the public key is not a usable RSA key: its modulus is even")]
    Unusable,
}

impl PublicKeyError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Packet(_) | Self::NotPublicKey | Self::Der => "public-key-format",
            Self::NotRsa => "public-key-algorithm",
            Self::TooSmall(_) | Self::TooLarge(_) => "public-key-size",
            Self::Exponent | Self::Unusable => "public-key-value",
        }
    }
}

/// An RSA public key in its canonical form. Cheap to clone.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    modulus: Box<[u8]>,
    exponent: Box<[u8]>,
    id: KeyId,
    encoded: Box<str>,
    /// Prepared for the library when the first signature is verified: most keys that are read are only passed on.
    /// One per digest would only repeat it, so that of SHA-512, the usual one, is kept.
    sha512: OnceLock<Option<ParsedPublicKey>>,
}

impl PublicKey {
    /// Decodes the base64 form. Old packet headers, subkey packets, other creation times and the sign-only and
    /// encrypt-only algorithm ids are taken, but the id is always that of the canonical form.
    pub fn decode(encoded: &str) -> Result<Self, PublicKeyError> {
        let data = packet::from_base64(encoded.as_bytes())?;
        let (tag, body) = packet::single_packet(&data)?;
        if tag != TAG_PUBLIC_KEY && tag != TAG_PUBLIC_SUBKEY {
            return Err(PublicKeyError::NotPublicKey);
        }
        let (modulus, exponent) = rsa_of_packet(body)?;
        Self::from_components(modulus, exponent)
    }

    /// The key with modulus `n` and exponent `e`, big-endian; leading zeros do not matter.
    pub fn from_components(n: &[u8], e: &[u8]) -> Result<Self, PublicKeyError> {
        let (modulus, exponent) = (packet::strip_zeros(n), packet::strip_zeros(e));
        let bits = packet::bit_length(modulus);
        if bits < MIN_BITS {
            return Err(PublicKeyError::TooSmall(bits));
        }
        if bits > MAX_BITS {
            return Err(PublicKeyError::TooLarge(bits));
        }
        if modulus.last().is_some_and(|last| last % 2 == 0) {
            return Err(PublicKeyError::Unusable);
        }
        match exponent {
            [] | [1] => return Err(PublicKeyError::Exponent),
            [.., last] if last % 2 == 0 || exponent.len() > 3 => return Err(PublicKeyError::Exponent),
            [..] => {}
        }
        let packet = canonical_packet(modulus, exponent);
        let id = id_of(&packet).ok_or(PublicKeyError::Unusable)?;
        Ok(Self(Arc::new(Inner {
            modulus: modulus.into(),
            exponent: exponent.into(),
            id,
            encoded: packet::to_base64_lines(&packet).into(),
            sha512: OnceLock::new(),
        })))
    }

    /// The key in a DER SubjectPublicKeyInfo (PKIX), as external key managers and PEM files write it.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        let (modulus, exponent) = rsa_of_spki(der).ok_or(PublicKeyError::Der)?;
        Self::from_components(modulus, exponent)
    }

    /// The key as a DER SubjectPublicKeyInfo (PKIX).
    pub fn to_spki_der(&self) -> Vec<u8> {
        let der = |key: &ParsedPublicKey| -> Option<Vec<u8>> {
            let der: PublicKeyX509Der<'_> = key.as_der().ok()?;
            Some(der.as_ref().to_vec())
        };
        self.sha512().and_then(der).unwrap_or_default()
    }

    /// Its id: unpadded base64url of the SHA3-384 of the canonical packet.
    pub fn id(&self) -> &KeyId {
        &self.0.id
    }

    /// The canonical text form: base64 in lines of 76 characters, no line feed at the end.
    pub fn encoded(&self) -> &str {
        &self.0.encoded
    }

    /// Size of the modulus in bits.
    pub fn bits(&self) -> usize {
        packet::bit_length(&self.0.modulus)
    }

    /// Size of a signature in octets.
    pub fn signature_len(&self) -> usize {
        self.0.modulus.len()
    }

    /// Modulus and exponent, big-endian without leading zeros.
    pub fn components(&self) -> (&[u8], &[u8]) {
        (&self.0.modulus, &self.0.exponent)
    }

    /// Verifies a signature block (base64 text) over `content` (assertions.md 2.2).
    pub fn verify(&self, content: &[u8], signature_block: &[u8]) -> Result<SignatureInfo, SignatureError> {
        SignatureBlock::decode(signature_block)?.verify(content, self)
    }

    /// Verifies the signature of an assertion. Whether this key may sign it is for the caller to judge.
    pub fn verify_assertion(&self, assertion: &Envelope) -> Result<(), SignatureError> {
        self.verify(assertion.content(), assertion.signature())
            .map(|_| ())
    }

    /// Checks PKCS#1 v1.5 over `digest`; `signature` has as many octets as the modulus.
    pub(super) fn verify_digest(&self, digest: &digest::Digest, signature: &[u8]) -> bool {
        let algorithm = digest.algorithm();
        if algorithm == &digest::SHA512 {
            return self
                .sha512()
                .is_some_and(|key| key.verify_digest_sig(digest, signature).is_ok());
        }
        let parameters = if algorithm == &digest::SHA384 {
            &RSA_PKCS1_2048_8192_SHA384
        } else if algorithm == &digest::SHA256 {
            &RSA_PKCS1_2048_8192_SHA256
        } else {
            return false;
        };
        parsed(&self.0.modulus, &self.0.exponent, parameters)
            .is_some_and(|key| key.verify_digest_sig(digest, signature).is_ok())
    }

    fn sha512(&self) -> Option<&ParsedPublicKey> {
        let key = &self.0;
        key.sha512
            .get_or_init(|| parsed(&key.modulus, &key.exponent, &RSA_PKCS1_2048_8192_SHA512))
            .as_ref()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for PublicKey {}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({}, {} bits)", self.0.id, self.bits())
    }
}

fn parsed(modulus: &[u8], exponent: &[u8], parameters: &'static RsaParameters) -> Option<ParsedPublicKey> {
    PublicKeyComponents {
        n: modulus,
        e: exponent,
    }
    .to_parsed_public_key(parameters)
    .ok()
}

/// Modulus and exponent of a version 4 RSA public key packet.
fn rsa_of_packet(mut body: Octets<'_>) -> Result<(&[u8], &[u8]), PublicKeyError> {
    if body.u8()? != 4 {
        return Err(PublicKeyError::NotPublicKey);
    }
    body.take(CREATION_TIME.len())?;
    if !matches!(body.u8()?, 1..=3) {
        return Err(PublicKeyError::NotRsa);
    }
    let modulus = body.mpi()?;
    let exponent = body.mpi()?;
    if body.is_empty() {
        Ok((modulus, exponent))
    } else {
        Err(PacketError::Trailing.into())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "both integers are at most 8192 bits long"
)]
fn canonical_packet(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let n_bits = (packet::bit_length(modulus) as u16).to_be_bytes();
    let e_bits = (packet::bit_length(exponent) as u16).to_be_bytes();
    packet::format1_packet(
        TAG_PUBLIC_KEY,
        &[
            &[4],
            &CREATION_TIME,
            &[ALGORITHM_RSA],
            &n_bits,
            modulus,
            &e_bits,
            exponent,
        ],
    )
}

fn id_of(packet: &[u8]) -> Option<KeyId> {
    URL_SAFE_NO_PAD
        .encode(digest::digest(&digest::SHA3_384, packet))
        .parse()
        .ok()
}

/// Modulus and exponent of `SEQUENCE { SEQUENCE { rsaEncryption, NULL }, BIT STRING { SEQUENCE { n, e } } }`.
fn rsa_of_spki(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const RSA_ENCRYPTION: &[u8] = &[
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let (mut info, rest) = der_element(der, 0x30)?;
    let (algorithm, key) = der_element(info, 0x30)?;
    info = key;
    let (bits, after_bits) = der_element(info, 0x03)?;
    let (numbers, after_numbers) = der_element(bits.strip_prefix(&[0])?, 0x30)?;
    let (modulus, numbers) = der_element(numbers, 0x02)?;
    let (exponent, after_exponent) = der_element(numbers, 0x02)?;
    let complete = [rest, after_bits, after_numbers, after_exponent]
        .iter()
        .all(|rest| rest.is_empty());
    (complete && algorithm == RSA_ENCRYPTION).then_some((modulus, exponent))
}

/// The content of the DER element with `tag` at the front, and what follows it. Lengths up to 65535.
fn der_element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let mut octets = Octets(der);
    if octets.u8().ok()? != tag {
        return None;
    }
    let length = match octets.u8().ok()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(octets.u8().ok()?),
        0x82 => octets.u16().ok()?,
        _ => return None,
    };
    let content = octets.take(length).ok()?;
    Some((content, octets.0))
}
