//! Sealing with AES-256-GCM under a master key that argon2id derives from the passphrase.
//!
//! A sealed text is base64 of `01 | tag of the KDF salt (4) | salt (32) | nonce (12) | ciphertext and tag`. Each
//! seal has a key of its own (HKDF-SHA256 of the master key with the random salt); label and version are associated
//! data.

use aws_lc_rs::{aead, hkdf, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use zeroize::Zeroizing;

use crate::domain::vault::Kdf;
use crate::ports::{Seal, SealError, SealLabel};

/// Version of the sealed form.
const VERSION: u8 = 1;
const SALT: usize = 32;
const GENERATION: usize = 4;
/// Bytes before the ciphertext.
const HEAD: usize = 1 + GENERATION + SALT + aead::NONCE_LEN;
/// What a damaged or hostile record may make us allocate: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;

/// Why no master key could be derived.
#[derive(Debug, thiserror::Error)]
pub enum KdfError {
    /// The recorded parameters are not ones this program uses.
    #[error("cannot derive the master key: the instance record has bad key derivation parameters ({0})")]
    Parameters(String),
    /// The random source failed.
    #[error("cannot derive the master key: no random bytes")]
    Random,
}

/// The master key of an instance. Its only way out is through seals.
pub struct MasterKey {
    key: hkdf::Prk,
    generation: [u8; GENERATION],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Fresh parameters for a new instance or a new passphrase: argon2id, 64 MiB, 3 passes, 1 lane.
pub fn new_kdf() -> Result<Kdf, KdfError> {
    let mut salt = [0; SALT];
    rand::fill(&mut salt).map_err(|_| KdfError::Random)?;
    Ok(Kdf {
        algorithm: "argon2id".to_owned(),
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 1,
        salt: BASE64.encode(salt),
    })
}

impl MasterKey {
    /// Derives the master key. Takes about a tenth of a second and the memory `kdf` names: not for the event loop.
    pub fn derive(passphrase: &[u8], kdf: &Kdf) -> Result<Self, KdfError> {
        if kdf.algorithm != "argon2id" {
            return Err(KdfError::Parameters(format!("algorithm {:?}", kdf.algorithm)));
        }
        if kdf.memory_kib > MAX_MEMORY_KIB || kdf.passes > MAX_PASSES {
            return Err(KdfError::Parameters("too costly".to_owned()));
        }
        let salt = BASE64
            .decode(&kdf.salt)
            .map_err(|e| KdfError::Parameters(e.to_string()))?;
        let bad = |e: argon2::Error| KdfError::Parameters(e.to_string());
        let params = argon2::Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32)).map_err(bad)?;
        let blocks = params.block_count();
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        // The working memory is ours so that it is wiped: its last blocks give the key away.
        let mut memory = Zeroizing::new(vec![argon2::Block::default(); blocks]);
        let mut key = Zeroizing::new([0; 32]);
        argon2
            .hash_password_into_with_memory(passphrase, &salt, key.as_mut(), memory.as_mut_slice())
            .map_err(bad)?;
        let generation = salt
            .first_chunk::<GENERATION>()
            .copied()
            .ok_or_else(|| KdfError::Parameters("salt too short".to_owned()))?;
        Ok(Self {
            key: hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key.as_ref()),
            generation,
        })
    }

    /// The key of one seal.
    fn key(&self, salt: &[u8]) -> Result<aead::LessSafeKey, SealError> {
        // The master key is uniform already; the random salt goes into the expansion.
        let info = [b"hallmark seal 1".as_slice(), salt];
        let okm = self
            .key
            .expand(&info, &aead::AES_256_GCM)
            .map_err(|_| SealError::Engine("key derivation failed"))?;
        Ok(aead::LessSafeKey::new(aead::UnboundKey::from(okm)))
    }
}

/// Length-prefixed parts, so that no two labels give the same bytes.
fn associated(label: &SealLabel<'_>) -> aead::Aad<Vec<u8>> {
    let mut data = b"hallmark seal 1".to_vec();
    for part in [label.kind, label.owner, label.name] {
        data.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    aead::Aad::from(data)
}

impl Seal for MasterKey {
    fn seal(&self, label: &SealLabel<'_>, secret: &[u8]) -> Result<String, SealError> {
        let mut salt = [0; SALT];
        let mut nonce = [0; aead::NONCE_LEN];
        rand::fill(&mut salt)
            .and_then(|()| rand::fill(&mut nonce))
            .map_err(|_| SealError::Engine("no random bytes"))?;
        // Room for the tag, so that the plaintext is never moved by a growing vector.
        let mut data = Zeroizing::new(Vec::with_capacity(secret.len() + aead::MAX_TAG_LEN));
        data.extend_from_slice(secret);
        self.key(&salt)?
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                associated(label),
                &mut *data,
            )
            .map_err(|_| SealError::Engine("encryption failed"))?;
        let blob = [&[VERSION], self.generation.as_slice(), &salt, &nonce, &data].concat();
        Ok(BASE64.encode(blob))
    }

    fn open(&self, label: &SealLabel<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let blob = BASE64.decode(sealed).map_err(|_| SealError::Broken)?;
        let (head, data) = blob.split_at_checked(HEAD).ok_or(SealError::Broken)?;
        let (version, head) = head.split_first().ok_or(SealError::Broken)?;
        let (generation, head) = head.split_at_checked(GENERATION).ok_or(SealError::Broken)?;
        let (salt, nonce) = head.split_at_checked(SALT).ok_or(SealError::Broken)?;
        if *version != VERSION {
            return Err(SealError::Broken);
        }
        if generation != self.generation {
            return Err(SealError::OtherPassphrase);
        }
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut data = Zeroizing::new(data.to_vec());
        let length = self
            .key(salt)?
            .open_in_place(nonce, associated(label), &mut data)
            .map_err(|_| SealError::Broken)?
            .len();
        data.truncate(length);
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(passphrase: &str) -> MasterKey {
        MasterKey::derive(passphrase.as_bytes(), &quick_kdf()).unwrap()
    }

    fn quick_kdf() -> Kdf {
        Kdf {
            memory_kib: 64,
            passes: 1,
            salt: BASE64.encode([7; 32]),
            ..new_kdf().unwrap()
        }
    }

    const LABEL: SealLabel<'_> = SealLabel {
        kind: "key",
        owner: "acme",
        name: "one",
    };

    #[test]
    fn a_sealed_secret_opens_for_its_label_only_and_never_looks_the_same_twice() {
        let master = quick("p");
        let sealed = master.seal(&LABEL, b"secret").unwrap();
        assert_eq!(master.open(&LABEL, &sealed).unwrap().as_slice(), b"secret");
        assert_ne!(sealed, master.seal(&LABEL, b"secret").unwrap());
        for other in [
            SealLabel {
                kind: "secrets",
                ..LABEL
            },
            SealLabel {
                owner: "acm",
                name: "eone",
                ..LABEL
            },
            SealLabel { name: "two", ..LABEL },
        ] {
            assert!(
                matches!(master.open(&other, &sealed), Err(SealError::Broken)),
                "{other:?}"
            );
        }
    }

    #[test]
    fn every_changed_bit_of_a_seal_is_noticed() {
        let master = quick("p");
        let blob = BASE64.decode(master.seal(&LABEL, b"secret").unwrap()).unwrap();
        for place in 0..blob.len() {
            let mut changed = blob.clone();
            changed[place] ^= 1;
            assert!(
                master.open(&LABEL, &BASE64.encode(changed)).is_err(),
                "byte {place}"
            );
            assert!(
                master.open(&LABEL, &BASE64.encode(&blob[..place])).is_err(),
                "cut at {place}"
            );
        }
        assert!(master.open(&LABEL, "not base64!").is_err());
    }

    #[test]
    fn another_passphrase_or_another_salt_does_not_open() {
        let sealed = quick("p").seal(&LABEL, b"secret").unwrap();
        assert!(matches!(quick("q").open(&LABEL, &sealed), Err(SealError::Broken)));
        let other = MasterKey::derive(
            b"p",
            &Kdf {
                salt: BASE64.encode([8; 32]),
                ..quick_kdf()
            },
        )
        .unwrap();
        assert!(matches!(
            other.open(&LABEL, &sealed),
            Err(SealError::OtherPassphrase)
        ));
    }

    #[test]
    fn hostile_parameters_are_refused_before_they_cost_anything() {
        for kdf in [
            Kdf {
                memory_kib: u32::MAX,
                ..quick_kdf()
            },
            Kdf {
                passes: u32::MAX,
                ..quick_kdf()
            },
            Kdf {
                algorithm: "scrypt".into(),
                ..quick_kdf()
            },
            Kdf {
                salt: "AA".into(),
                ..quick_kdf()
            },
            Kdf {
                lanes: 0,
                ..quick_kdf()
            },
        ] {
            assert!(MasterKey::derive(b"p", &kdf).is_err(), "{kdf:?}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        assert_eq!(format!("{:?}", quick("p")), "MasterKey(…)");
    }
}
