//! Reading private RSA keys: PEM (PKCS#8, PKCS#1) and armoured OpenPGP secret keys as `gpg --export-secret-keys`
//! writes them. Only the numbers are taken; nothing here signs.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use openpgp::crypto::{Password, mpi};
use openpgp::packet::Key;
use openpgp::packet::key::{PrimaryRole, SecretKeyMaterial, SecretParts};
use openpgp::parse::{PacketParser, PacketParserResult, Parse as _};
use openpgp::types::PublicKeyAlgorithm;
use openpgp::{Packet, packet};
use sequoia_openpgp as openpgp;
use zeroize::Zeroizing;

use crate::domain::assertion::PublicKey;
use crate::ports::KeyMaterial;

/// Largest text taken for a key file.
const MAX_FILE: usize = 256 * 1024;

/// Why a private key was not taken. The texts end the sentence `cannot use the key: ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ImportError {
    /// Not one of the forms we read.
    #[error("{0}")]
    Form(String),
    /// It is encrypted, and no passphrase (or a wrong one) was given.
    #[error("{0}")]
    Passphrase(&'static str),
    /// It is not a usable RSA private key.
    #[error("it is not a valid RSA private key of 2048 to 8192 bits ({0})")]
    Invalid(String),
}

/// Reads a private key.
pub(super) fn read(material: &KeyMaterial) -> Result<KeyPair, ImportError> {
    match material {
        KeyMaterial::Pem(text) => from_pem(text),
        KeyMaterial::OpenPgp { armoured, passphrase } => {
            from_openpgp(armoured, passphrase.as_ref().map(|text| text.as_str()))
        }
        KeyMaterial::Token(_) => Err(ImportError::Form(
            "it is in a token, where software cannot take it from".to_owned(),
        )),
    }
}

/// The public half of a key pair.
pub(super) fn public_key(pair: &KeyPair) -> Result<PublicKey, ImportError> {
    let der: PublicKeyX509Der<'_> = pair
        .public_key()
        .as_der()
        .map_err(|_| ImportError::Invalid("no public half".to_owned()))?;
    PublicKey::from_spki_der(der.as_ref()).map_err(|e| ImportError::Invalid(e.to_string()))
}

/// Reads the first private key of a PEM text.
fn from_pem(text: &str) -> Result<KeyPair, ImportError> {
    let (label, body) = pem_block(text)?;
    let rejected = |e: aws_lc_rs::error::KeyRejected| ImportError::Invalid(e.to_string());
    match label {
        "PRIVATE KEY" => KeyPair::from_pkcs8(&pem_body(body)?).map_err(rejected),
        "RSA PRIVATE KEY" if body.contains("ENCRYPTED") => Err(ImportError::Passphrase(
            "the PEM file is encrypted; decrypt it first: openssl pkey -in FILE -out PLAIN",
        )),
        "RSA PRIVATE KEY" => KeyPair::from_der(&pem_body(body)?).map_err(rejected),
        "ENCRYPTED PRIVATE KEY" => Err(ImportError::Passphrase(
            "the PEM file is encrypted; decrypt it first: openssl pkey -in FILE -out PLAIN",
        )),
        other => Err(ImportError::Form(format!(
            "a PEM block {:?} is not an RSA private key (wanted: PRIVATE KEY or RSA PRIVATE KEY)",
            other.chars().take(64).collect::<String>()
        ))),
    }
}

/// Label and body of the first PEM block.
fn pem_block(text: &str) -> Result<(&str, &str), ImportError> {
    let none = || ImportError::Form("it holds no PEM block and no armoured OpenPGP key".to_owned());
    if text.len() > MAX_FILE {
        return Err(ImportError::Form(format!("it is larger than {MAX_FILE} bytes")));
    }
    let (_, rest) = text.split_once("-----BEGIN ").ok_or_else(none)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(none)?;
    let end = format!("-----END {label}-----");
    let (body, _) = rest
        .split_once(&end)
        .ok_or_else(|| ImportError::Form(format!("its PEM block lacks the line {end:?}")))?;
    Ok((label, body))
}

/// The DER bytes of a PEM body.
fn pem_body(body: &str) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
    text.extend(body.bytes().filter(|b| !b.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; text.len()]);
    let length = BASE64
        .decode_slice(&*text, der.as_mut_slice())
        .map_err(|_| ImportError::Form("the base64 text of its PEM block is damaged".to_owned()))?;
    der.truncate(length);
    Ok(der)
}

/// Reads the one primary key of an armoured OpenPGP export.
fn from_openpgp(armoured: &str, passphrase: Option<&str>) -> Result<KeyPair, ImportError> {
    let key = primary_key(armoured)?;
    let mpi::PublicKey::RSA { e, n } = key.mpis() else {
        return Err(ImportError::Form(format!(
            "the OpenPGP primary key is {}, not RSA",
            key.pk_algo()
        )));
    };
    let (e, n) = (e.value().to_vec(), n.value().to_vec());
    let key = match key.secret() {
        SecretKeyMaterial::Unencrypted(_) => key,
        SecretKeyMaterial::Encrypted(sealed) => {
            if !sealed.s2k().is_supported() {
                return Err(ImportError::Form(
                    "the export lacks the secret half of the primary key; use gpg --export-secret-keys"
                        .to_owned(),
                ));
            }
            let Some(passphrase) = passphrase else {
                return Err(ImportError::Passphrase(
                    "the OpenPGP key has a passphrase; give it with --passphrase-file",
                ));
            };
            key.decrypt_secret(&Password::from(passphrase))
                .map_err(|_| ImportError::Passphrase("the passphrase does not open the OpenPGP key"))?
        }
    };
    let SecretKeyMaterial::Unencrypted(secret) = key.secret() else {
        return Err(ImportError::Passphrase(
            "the passphrase does not open the OpenPGP key",
        ));
    };
    secret.map(|numbers| match numbers {
        mpi::SecretKeyMaterial::RSA { d, p, q, u } => {
            rebuild(n, e, d.value(), p.value(), q.value(), u.value())
        }
        _ => Err(ImportError::Form("the OpenPGP primary key is not RSA".to_owned())),
    })
}

/// OpenPGP keeps p < q and u = p^-1 mod q; PKCS#1 wants the inverse of the second prime modulo the first. So the
/// primes change places and u is the CRT coefficient as it stands. All numbers are checked against one another.
fn rebuild(n: Vec<u8>, e: Vec<u8>, d: &[u8], p: &[u8], q: &[u8], u: &[u8]) -> Result<KeyPair, ImportError> {
    let (first, second) = (q, p);
    KeyPair::from_components(&KeyPairComponents::<Vec<u8>, Zeroizing<Vec<u8>>> {
        public_key: PublicKeyComponents { n, e },
        d: Zeroizing::new(d.to_vec()),
        p: Zeroizing::new(first.to_vec()),
        q: Zeroizing::new(second.to_vec()),
        dP: below_prime(d, first),
        dQ: below_prime(d, second),
        qInv: Zeroizing::new(u.to_vec()),
    })
    .map_err(|e| ImportError::Invalid(e.to_string()))
}

/// `d mod (prime - 1)` by long division, bit by bit: slow (a millisecond), but all of its state is wiped.
fn below_prime(d: &[u8], prime: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut modulus = Zeroizing::new(prime.to_vec());
    if let Some(last) = modulus.last_mut() {
        *last &= !1; // a prime is odd, so this subtracts one
    }
    // One byte more than the modulus, for the bit that doubling pushes out.
    let mut rest = Zeroizing::new(vec![0_u8; modulus.len() + 1]);
    for bit in d
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |place| (byte >> place) & 1))
    {
        let mut carry = bit;
        for digit in rest.iter_mut().rev() {
            let pushed = *digit >> 7;
            *digit = (*digit << 1) | carry;
            carry = pushed;
        }
        let (top, low) = rest.split_first().map_or((0, &[][..]), |(top, low)| (*top, low));
        if top > 0 || low >= modulus.as_slice() {
            let mut borrow = false;
            let digits = rest
                .iter_mut()
                .rev()
                .zip(modulus.iter().rev().copied().chain(std::iter::once(0)));
            for (digit, subtract) in digits {
                let (value, under) = digit.overflowing_sub(subtract);
                let (value, under_again) = value.overflowing_sub(u8::from(borrow));
                *digit = value;
                borrow = under || under_again;
            }
        }
    }
    Zeroizing::new(rest.get(1..).unwrap_or_default().to_vec())
}

fn not_armoured(error: impl std::fmt::Display) -> ImportError {
    ImportError::Form(format!("it is not an armoured OpenPGP key ({error})"))
}

/// The primary secret key; anything but exactly one is refused, since a name must mean one key.
fn primary_key(armoured: &str) -> Result<packet::Key<SecretParts, PrimaryRole>, ImportError> {
    if armoured.len() > MAX_FILE {
        return Err(ImportError::Form(format!("it is larger than {MAX_FILE} bytes")));
    }
    let mut found: Option<Key<SecretParts, PrimaryRole>> = None;
    let mut parser = PacketParser::from_bytes(armoured.as_bytes()).map_err(not_armoured)?;
    while let PacketParserResult::Some(current) = parser {
        let (packet, next) = current.next().map_err(not_armoured)?;
        parser = next;
        match packet {
            Packet::SecretKey(key) if found.is_none() => found = Some(key),
            Packet::SecretKey(_) => {
                return Err(ImportError::Form(
                    "it holds several keys; export one at a time".to_owned(),
                ));
            }
            Packet::PublicKey(_) => {
                return Err(ImportError::Form(
                    "it is a public key; use gpg --export-secret-keys".to_owned(),
                ));
            }
            _ => {}
        }
    }
    let key = found.ok_or_else(|| ImportError::Form("it holds no OpenPGP secret key".to_owned()))?;
    match key.pk_algo() {
        PublicKeyAlgorithm::RSAEncryptSign => Ok(key),
        other => Err(ImportError::Form(format!(
            "the OpenPGP primary key is {other}, not RSA"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Zeroizing<String> {
        let root = env!("CARGO_MANIFEST_DIR");
        Zeroizing::new(std::fs::read_to_string(format!("{root}/tests/{name}")).unwrap())
    }

    fn armoured(name: &str, passphrase: Option<&str>) -> Result<KeyPair, ImportError> {
        read(&KeyMaterial::from_text(
            file(&format!("data/import/{name}")),
            passphrase.map(|text| Zeroizing::new(text.to_owned())),
        ))
    }

    fn id(pair: &KeyPair) -> String {
        public_key(pair).unwrap().id().to_string()
    }

    #[test]
    fn every_key_of_the_vectors_is_read_and_has_the_published_id() {
        let index: serde_json::Value = serde_json::from_str(&file("vectors/keys/index.json")).unwrap();
        for entry in index.as_array().unwrap() {
            let pem = file(&format!("vectors/{}", entry["pem"].as_str().unwrap()));
            let pair = read(&KeyMaterial::Pem(pem)).unwrap();
            assert_eq!(id(&pair), entry["key-id"].as_str().unwrap());
            assert_eq!(
                public_key(&pair).unwrap().encoded(),
                entry["encoded"].as_str().unwrap()
            );
        }
    }

    #[test]
    fn pkcs1_and_pkcs8_of_one_key_are_the_same_key() {
        let pkcs8 = read(&KeyMaterial::Pem(file("vectors/keys/brand.pem"))).unwrap();
        let pkcs1 = armoured("brand-pkcs1.pem", None).unwrap();
        assert_eq!(id(&pkcs8), id(&pkcs1));
    }

    #[test]
    fn a_gpg_export_is_read_with_and_without_passphrase_and_signs() {
        for (name, passphrase) in [("gpg-plain.asc", None), ("gpg-protected.asc", Some("throw away"))] {
            let pair = armoured(name, passphrase).unwrap();
            let mut signature = vec![0; pair.public_modulus_len()];
            let random = aws_lc_rs::rand::SystemRandom::new();
            pair.sign(
                &aws_lc_rs::signature::RSA_PKCS1_SHA512,
                &random,
                b"text",
                &mut signature,
            )
            .unwrap();
            let public = aws_lc_rs::signature::UnparsedPublicKey::new(
                &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA512,
                pair.public_key().as_ref(),
            );
            public.verify(b"text", &signature).unwrap();
        }
    }

    #[test]
    fn what_is_no_usable_key_is_refused_with_the_reason() {
        let cases = [
            ("gpg-protected.asc", None, "has a passphrase"),
            ("gpg-protected.asc", Some("wrong"), "does not open"),
            (
                "gpg-subkeys-only.asc",
                Some("throw away"),
                "lacks the secret half",
            ),
            ("gpg-ed25519.asc", None, "not RSA"),
            ("gpg-public.asc", None, "public key"),
            ("rsa-1024.pem", None, "not a valid RSA private key"),
            ("ec.pem", None, "EC PRIVATE KEY"),
            ("public.pem", None, "PUBLIC KEY"),
            ("encrypted-pkcs8.pem", None, "decrypt it first"),
            ("encrypted-pkcs1.pem", None, "decrypt it first"),
            ("README.md", None, "no PEM block"),
        ];
        for (name, passphrase, expected) in cases {
            let error = armoured(name, passphrase).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn damaged_key_files_are_refused_and_never_panic() {
        for name in [
            "data/import/gpg-plain.asc",
            "data/import/brand-pkcs1.pem",
            "vectors/keys/brand.pem",
        ] {
            let text = file(name);
            for cut in (0..text.len()).step_by(97) {
                let cut = Zeroizing::new(text.get(..cut).unwrap().to_owned());
                assert!(read(&KeyMaterial::from_text(cut, None)).is_err(), "{name}");
            }
            let lines: Vec<&str> = text.lines().collect();
            for left_out in (2..lines.len() - 2).step_by(7) {
                let kept = lines
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| *at != left_out)
                    .map(|(_, line)| *line);
                let text = Zeroizing::new(kept.collect::<Vec<_>>().join("\n"));
                assert!(
                    read(&KeyMaterial::from_text(text, None)).is_err(),
                    "{name} without line {left_out}"
                );
            }
        }
    }

    #[test]
    fn the_remainder_by_a_prime_less_one_is_right_for_small_numbers() {
        for prime in [3_u32, 251, 257, 65_521, 65_537, 16_777_213] {
            for d in [0_u32, 1, 2, 250, 65_535, 4_294_967_295] {
                let bytes = prime.to_be_bytes();
                let start = bytes.iter().position(|b| *b > 0).unwrap();
                let rest = below_prime(&d.to_be_bytes(), &bytes[start..]);
                let value = rest.iter().fold(0_u32, |sum, b| (sum << 8) | u32::from(*b));
                assert_eq!(value, d % (prime - 1), "{d} mod {prime}-1");
            }
        }
    }
}
