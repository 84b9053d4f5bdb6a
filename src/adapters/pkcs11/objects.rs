//! What is done inside of a token, with one session: finding, making, destroying keys, and signing with them.

use aws_lc_rs::digest::{Digest, SHA512};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA512};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::trouble::Trouble;
use crate::domain::assertion::PublicKey;
use crate::domain::vault::TokenUri;

/// Size of the keys that are made.
const BITS: u64 = 4096;
/// Their public exponent.
const EXPONENT: [u8; 3] = [1, 0, 1];
/// Bytes of the id of a key that is made here.
const ID: usize = 16;
/// The DER of a DigestInfo for SHA-512, up to the digest (RFC 8017, 9.2): most tokens pad, and do not hash.
const SHA512_INFO: [u8; 19] = [
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00,
    0x04, 0x40,
];

/// Modulus and public exponent, big-endian.
type Components = (Vec<u8>, Vec<u8>);

/// A private key in a token, as one session sees it.
pub(super) struct TokenKey {
    handle: ObjectHandle,
    /// Its public half.
    pub(super) public: PublicKey,
    verifier: ParsedPublicKey,
}

/// The one private key that `place` names.
pub(super) fn find(session: &Session, place: &TokenUri) -> Result<TokenKey, Trouble> {
    let handle = the_one(session, ObjectClass::PRIVATE_KEY, place)?
        .ok_or_else(|| Trouble::Key(format!("there is no private key {place}")))?;
    let public = public_half(session, handle)?;
    TokenKey::new(handle, public)
}

/// Refuses a key that could be read out of the token, or does not sign.
pub(super) fn check_kept(session: &Session, key: &TokenKey) -> Result<(), Trouble> {
    let wanted = [
        (AttributeType::Sign, true, "it may not sign (CKA_SIGN)"),
        (
            AttributeType::Sensitive,
            true,
            "its private half can be read out (CKA_SENSITIVE)",
        ),
        (
            AttributeType::Extractable,
            false,
            "its private half can be taken out (CKA_EXTRACTABLE)",
        ),
    ];
    for (kind, good, why) in wanted {
        let found = session.get_attributes(key.handle, &[kind])?;
        let value = match found.first() {
            Some(Attribute::Sign(value) | Attribute::Sensitive(value) | Attribute::Extractable(value)) => {
                *value
            }
            _ => !good,
        };
        if value != good {
            return Err(Trouble::Key(why.to_owned()));
        }
    }
    Ok(())
}

impl TokenKey {
    fn new(handle: ObjectHandle, public: PublicKey) -> Result<Self, Trouble> {
        let verifier = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA512, public.to_spki_der())
            .map_err(|_| Trouble::Key("its public half is not usable".to_owned()))?;
        Ok(Self {
            handle,
            public,
            verifier,
        })
    }

    /// RSASSA-PKCS1-v1_5 over a digest. What the token gives is verified before it is used, as a computing fault could
    /// leak the key.
    pub(super) fn sign(&self, session: &Session, sha512: &[u8; 64]) -> Result<Vec<u8>, Trouble> {
        let info = [SHA512_INFO.as_slice(), sha512].concat();
        let signature = session.sign(&Mechanism::RsaPkcs, self.handle, &info)?;
        let digest = Digest::import_less_safe(sha512, &SHA512)
            .map_err(|_| Trouble::Key("the digest is none of SHA-512".to_owned()))?;
        self.verifier
            .verify_digest_sig(&digest, &signature)
            .map_err(|_| Trouble::Lost("it gave a signature that is not one of the key".to_owned()))?;
        Ok(signature)
    }
}

/// Makes a key that cannot leave the token. `session` may write.
pub(super) fn generate(
    session: &Session,
    token: &TokenUri,
    label: &str,
) -> Result<(TokenKey, TokenUri), Trouble> {
    let id = random_id()?;
    let both = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.clone()),
    ];
    let public = [
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
        Attribute::ModulusBits(BITS.into()),
        Attribute::PublicExponent(EXPONENT.to_vec()),
    ];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
    ];
    let (public_handle, private_handle) = session.generate_key_pair(
        &Mechanism::RsaPkcsKeyPairGen,
        &[both.as_slice(), &public].concat(),
        &[both.as_slice(), &private].concat(),
    )?;
    let place = TokenUri {
        object: Some(label.to_owned()),
        id: Some(id),
        ..token.clone()
    };
    let made = public_components(session, public_handle)
        .and_then(|found| found.ok_or_else(|| Trouble::Key("it does not show the public half".to_owned())))
        .and_then(|(n, e)| public_key(&n, &e))
        .and_then(|public| TokenKey::new(private_handle, public))
        .and_then(|key| {
            check_kept(session, &key)?;
            prove(session, &key)?;
            Ok(key)
        });
    match made {
        Ok(key) => Ok((key, place)),
        Err(trouble) => {
            for handle in [private_handle, public_handle] {
                if let Err(error) = session.destroy_object(handle) {
                    tracing::error!(%error, %place, "cannot remove a key that is not used from its token");
                }
            }
            Err(trouble)
        }
    }
}

/// That the private half belongs to the public one, and signs: over a digest that stands for nothing.
pub(super) fn prove(session: &Session, key: &TokenKey) -> Result<(), Trouble> {
    let mut digest = [0; 64];
    aws_lc_rs::rand::fill(&mut digest).map_err(|_| Trouble::Lost("no random bytes".to_owned()))?;
    key.sign(session, &digest).map(|_| ())
}

/// Destroys both halves; what is not there any more is fine. `session` may write.
pub(super) fn destroy(session: &Session, place: &TokenUri) -> Result<(), Trouble> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        if let Some(handle) = the_one(session, class, place)? {
            session.destroy_object(handle)?;
        }
    }
    Ok(())
}

/// The one object of this class and name.
fn the_one(session: &Session, class: ObjectClass, place: &TokenUri) -> Result<Option<ObjectHandle>, Trouble> {
    let mut template = vec![
        Attribute::Class(class),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(true),
    ];
    if let Some(label) = &place.object {
        template.push(Attribute::Label(label.as_bytes().to_vec()));
    }
    if let Some(id) = &place.id {
        template.push(Attribute::Id(id.clone()));
    }
    match session.find_objects(&template)?.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(Trouble::Key(format!("{} keys are called {place}", several.len()))),
    }
}

/// The public half of a private key: from its own attributes, else from the public key with the same id.
fn public_half(session: &Session, private: ObjectHandle) -> Result<PublicKey, Trouble> {
    if let Some((n, e)) = public_components(session, private)? {
        return public_key(&n, &e);
    }
    let id = session.get_attributes(private, &[AttributeType::Id])?;
    let Some(Attribute::Id(id)) = id.into_iter().next() else {
        return Err(Trouble::Key("it shows no public half".to_owned()));
    };
    let template = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Id(id),
    ];
    // Whether it is the right one shows when a signature is verified.
    let [public] = session.find_objects(&template)?[..] else {
        return Err(Trouble::Key(
            "it shows no public half, and there is no one public key with its id".to_owned(),
        ));
    };
    let (n, e) = public_components(session, public)?
        .ok_or_else(|| Trouble::Key("it shows no public half".to_owned()))?;
    public_key(&n, &e)
}

/// Modulus and exponent, where the object shows both.
fn public_components(session: &Session, key: ObjectHandle) -> Result<Option<Components>, Trouble> {
    let found = session.get_attributes(key, &[AttributeType::Modulus, AttributeType::PublicExponent])?;
    let (mut modulus, mut exponent) = (None, None);
    for attribute in found {
        match attribute {
            Attribute::Modulus(bytes) if !bytes.is_empty() => modulus = Some(bytes),
            Attribute::PublicExponent(bytes) if !bytes.is_empty() => exponent = Some(bytes),
            _ => {}
        }
    }
    Ok(modulus.zip(exponent))
}

fn public_key(n: &[u8], e: &[u8]) -> Result<PublicKey, Trouble> {
    PublicKey::from_components(n, e).map_err(|error| Trouble::Key(error.to_string()))
}

fn random_id() -> Result<Vec<u8>, Trouble> {
    let mut id = vec![0; ID];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| Trouble::Lost("no random bytes".to_owned()))?;
    Ok(id)
}
