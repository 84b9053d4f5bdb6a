//! Encrypted backups are OpenPGP messages: `gpg --decrypt` and `sq decrypt` open them too.

use std::io::{self, Read, Write};
use std::sync::OnceLock;

use openpgp::cert::Cert;
use openpgp::crypto::{Password, SessionKey};
use openpgp::packet::{PKESK, SKESK};
use openpgp::parse::Parse as _;
use openpgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageStructure, VerificationHelper};
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Encryptor, LiteralWriter, Message};
use openpgp::types::SymmetricAlgorithm;
use openpgp::{KeyHandle, Result as PgpResult};
use sequoia_openpgp as openpgp;
use zeroize::Zeroizing;

/// What opens, or seals, a backup.
#[derive(Clone, Default)]
pub struct Keys {
    /// A passphrase.
    pub passphrase: Option<Zeroizing<String>>,
    /// OpenPGP certificates to encrypt to, armoured or not. What is encrypted to them only, is opened elsewhere (`gpg
    /// --decrypt`): no private key of others is used here (ARCHITECTURE.md D-3).
    pub certificates: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.passphrase.is_none() && self.certificates.is_empty()
    }

    fn certs(&self) -> io::Result<Vec<Cert>> {
        self.certificates
            .iter()
            .map(|bytes| Cert::from_bytes(bytes).map_err(failed))
            .collect()
    }
}

fn failed(error: anyhow::Error) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => error,
        Err(error) => io::Error::other(error.to_string()),
    }
}

/// Encrypts what `write` writes.
///
/// # Errors
/// What `write` or `sink` says; a certificate that nothing can be encrypted to.
pub fn encrypt<T>(
    sink: &mut (dyn Write + Send + Sync),
    keys: &Keys,
    write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> io::Result<T> {
    let policy = StandardPolicy::new();
    let certs = keys.certs()?;
    let mut recipients = Vec::new();
    for cert in &certs {
        let usable = cert
            .keys()
            .with_policy(&policy, None)
            .supported()
            .alive()
            .revoked(false)
            .for_storage_encryption();
        let before = recipients.len();
        recipients.extend(usable);
        if recipients.len() == before {
            return Err(io::Error::other(format!(
                "nothing can be encrypted to the certificate {}",
                cert.fingerprint()
            )));
        }
    }
    let mut message = Encryptor::for_recipients(Message::new(sink), recipients);
    if let Some(passphrase) = &keys.passphrase {
        message = message.add_passwords(Some(Password::from(passphrase.as_str())));
    }
    let message = message
        .symmetric_algo(SymmetricAlgorithm::AES256)
        .build()
        .map_err(failed)?;
    let mut literal = LiteralWriter::new(message).build().map_err(failed)?;
    let result = write(&mut literal)?;
    literal.finalize().map_err(failed)?;
    Ok(result)
}

/// What is in a `source` that was encrypted under `passphrase`. Pieces are given out before the end was seen to be untouched:
/// nothing may count before reading ended without an error.
///
/// # Errors
/// A wrong passphrase; what is no such message.
pub fn decrypt<'a>(
    source: impl Read + Send + Sync + 'a,
    passphrase: Zeroizing<String>,
) -> io::Result<Box<dyn Read + 'a>> {
    // The policy outlives the reader, which may live as long as the program.
    static POLICY: OnceLock<StandardPolicy<'static>> = OnceLock::new();
    let decryptor = DecryptorBuilder::from_reader(source)
        .and_then(|builder| {
            builder.with_policy(
                POLICY.get_or_init(StandardPolicy::new),
                None,
                Opener { passphrase },
            )
        })
        .map_err(failed)?;
    Ok(Box::new(decryptor))
}

struct Opener {
    passphrase: Zeroizing<String>,
}

impl VerificationHelper for Opener {
    fn get_certs(&mut self, _ids: &[KeyHandle]) -> PgpResult<Vec<Cert>> {
        Ok(Vec::new())
    }

    fn check(&mut self, _structure: MessageStructure<'_>) -> PgpResult<()> {
        // Nothing is signed: what a backup says is checked against its own summary, and by `doctor`.
        Ok(())
    }
}

impl DecryptionHelper for Opener {
    fn decrypt(
        &mut self,
        _for_keys: &[PKESK],
        for_passwords: &[SKESK],
        _algorithm: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> PgpResult<Option<Cert>> {
        let passphrase = Password::from(self.passphrase.as_str());
        for for_password in for_passwords {
            if let Ok((algorithm, session)) = for_password.decrypt(&passphrase)
                && decrypt(algorithm, &session)
            {
                return Ok(None);
            }
        }
        anyhow::bail!(
            "the passphrase is another, or it is encrypted to a key: `gpg --decrypt FILE | hallmark restore -`"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openpgp::cert::CertBuilder;
    use openpgp::serialize::SerializeInto as _;
    use openpgp::{Packet, PacketPile};

    fn sealed(keys: &Keys, text: &[u8]) -> Vec<u8> {
        let mut sink = Vec::new();
        encrypt(&mut sink, keys, |sink| sink.write_all(text)).unwrap();
        sink
    }

    fn opened(sealed: &[u8], passphrase: &str) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        decrypt(sealed, Zeroizing::new(passphrase.to_owned()))?.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_passphrase_opens_what_it_sealed_and_nothing_else_does() {
        let text = b"a backup ".repeat(9000);
        let keys = Keys {
            passphrase: Some(Zeroizing::new("secret".to_owned())),
            ..Keys::default()
        };
        let sealed = sealed(&keys, &text);
        assert_eq!(opened(&sealed, "secret").unwrap(), text);
        assert!(opened(&sealed, "Secret").is_err());
        for place in [sealed.len() / 2, sealed.len() - 5] {
            let mut touched = sealed.clone();
            touched[place] ^= 1;
            assert!(opened(&touched, "secret").is_err(), "{place}");
        }
        for length in [10, sealed.len() / 2, sealed.len() - 1] {
            assert!(opened(&sealed[..length], "secret").is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_encrypted_to_a_certificate_is_for_its_key() {
        let (cert, _) = CertBuilder::new()
            .add_storage_encryption_subkey()
            .generate()
            .unwrap();
        let to = |cert: &Cert| Keys {
            certificates: vec![cert.to_vec().unwrap()],
            ..Keys::default()
        };
        let sealed = sealed(&to(&cert), b"a backup");
        assert!(!sealed.windows(8).any(|window| window == b"a backup"));
        let subkey = cert.keys().subkeys().next().unwrap().key().key_handle();
        let pile = PacketPile::from_bytes(&sealed).unwrap();
        let Some(Packet::PKESK(for_key)) = pile.path_ref(&[0]) else {
            panic!("it is encrypted to no key");
        };
        assert!(for_key.recipient().unwrap().aliases(&subkey));
        assert!(opened(&sealed, "").is_err());
        let (signs_only, _) = CertBuilder::new().add_signing_subkey().generate().unwrap();
        assert!(encrypt(&mut Vec::new(), &to(&signs_only), |_| Ok(())).is_err());
    }
}
