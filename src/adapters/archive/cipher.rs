//! Encrypted backups are OpenPGP messages: `gpg --decrypt` and `sq decrypt` open them too.

use std::io::{self, Read, Write};

use openpgp::cert::Cert;
use openpgp::crypto::{Password, SessionKey};
use openpgp::packet::{PKESK, SKESK};
use openpgp::parse::Parse as _;
use openpgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageStructure, VerificationHelper};
use openpgp::policy::{Policy, StandardPolicy};
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
    /// OpenPGP certificates (to encrypt to) or secret keys (to decrypt with), armoured or not.
    pub certificates: Vec<Zeroizing<Vec<u8>>>,
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
            .map(|bytes| Cert::from_bytes(bytes.as_slice()).map_err(failed))
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

/// What is in an encrypted `source`. Pieces are given out before the end was seen to be untouched: nothing may count
/// before reading ended without an error.
///
/// # Errors
/// A wrong key or passphrase; what is no such message.
pub fn decrypt<'a>(source: impl Read + Send + Sync + 'a, keys: &Keys) -> io::Result<Box<dyn Read + 'a>> {
    // The policy outlives the reader, which may live as long as the program.
    let policy: &'static StandardPolicy<'static> = {
        static POLICY: std::sync::OnceLock<StandardPolicy<'static>> = std::sync::OnceLock::new();
        POLICY.get_or_init(StandardPolicy::new)
    };
    let helper = Opener {
        certs: keys.certs()?,
        passphrase: keys.passphrase.clone(),
        policy,
    };
    let decryptor = DecryptorBuilder::from_reader(source)
        .and_then(|builder| builder.with_policy(policy, None, helper))
        .map_err(failed)?;
    Ok(Box::new(decryptor))
}

struct Opener {
    certs: Vec<Cert>,
    passphrase: Option<Zeroizing<String>>,
    policy: &'static dyn Policy,
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
        for_keys: &[PKESK],
        for_passwords: &[SKESK],
        algorithm: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> PgpResult<Option<Cert>> {
        let passphrase = self.passphrase.as_ref().map(|text| Password::from(text.as_str()));
        for cert in &self.certs {
            for key in cert
                .keys()
                .with_policy(self.policy, None)
                .for_storage_encryption()
                .secret()
            {
                let mut key = key.key().clone();
                if !key.has_unencrypted_secret() {
                    let Some(passphrase) = &passphrase else { continue };
                    let Ok(open) = key.decrypt_secret(passphrase) else {
                        continue;
                    };
                    key = open;
                }
                let mut pair = key.into_keypair()?;
                for for_key in for_keys {
                    let opened = for_key.decrypt(&mut pair, algorithm);
                    if opened.is_some_and(|(algorithm, session)| decrypt(algorithm, &session)) {
                        return Ok(None);
                    }
                }
            }
        }
        for for_password in for_passwords {
            let Some(passphrase) = &passphrase else { break };
            if let Ok((algorithm, session)) = for_password.decrypt(passphrase)
                && decrypt(algorithm, &session)
            {
                return Ok(None);
            }
        }
        anyhow::bail!("no key or passphrase that was given opens it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openpgp::cert::CertBuilder;
    use openpgp::serialize::SerializeInto as _;

    fn sealed(keys: &Keys, text: &[u8]) -> Vec<u8> {
        let mut sink = Vec::new();
        encrypt(&mut sink, keys, |sink| sink.write_all(text)).unwrap();
        sink
    }

    fn opened(sealed: &[u8], keys: &Keys) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        decrypt(sealed, keys)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn with_passphrase(text: &str) -> Keys {
        Keys {
            passphrase: Some(Zeroizing::new(text.to_owned())),
            ..Keys::default()
        }
    }

    #[test]
    fn a_passphrase_opens_what_it_sealed_and_nothing_else_does() {
        let text = b"a backup ".repeat(9000);
        let sealed = sealed(&with_passphrase("secret"), &text);
        assert_eq!(opened(&sealed, &with_passphrase("secret")).unwrap(), text);
        assert!(opened(&sealed, &with_passphrase("Secret")).is_err());
        assert!(opened(&sealed, &Keys::default()).is_err());
        for place in [sealed.len() / 2, sealed.len() - 5] {
            let mut touched = sealed.clone();
            touched[place] ^= 1;
            assert!(opened(&touched, &with_passphrase("secret")).is_err(), "{place}");
        }
        for length in [10, sealed.len() / 2, sealed.len() - 1] {
            assert!(
                opened(&sealed[..length], &with_passphrase("secret")).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn a_secret_key_opens_what_was_sealed_to_its_certificate() {
        let (cert, _) = CertBuilder::new()
            .add_storage_encryption_subkey()
            .generate()
            .unwrap();
        let public = Keys {
            certificates: vec![Zeroizing::new(cert.to_vec().unwrap())],
            ..Keys::default()
        };
        let secret = Keys {
            certificates: vec![Zeroizing::new(cert.as_tsk().to_vec().unwrap())],
            ..Keys::default()
        };
        let sealed = sealed(&public, b"a backup");
        assert_eq!(opened(&sealed, &secret).unwrap(), b"a backup");
        assert!(opened(&sealed, &public).is_err());
        let (signs_only, _) = CertBuilder::new().add_signing_subkey().generate().unwrap();
        let useless = Keys {
            certificates: vec![Zeroizing::new(signs_only.to_vec().unwrap())],
            ..Keys::default()
        };
        assert!(encrypt(&mut Vec::new(), &useless, |_| Ok(())).is_err());
    }
}
