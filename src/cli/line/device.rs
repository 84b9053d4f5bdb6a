//! One simulated device: its key and the documents it signs with it.

use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA512};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA512};

use super::LineError;
use crate::domain::assertion::{AssertionType, Headers, PublicKey, Statement};
use crate::domain::ident::DeviceId;
use crate::domain::time::Timestamp;

/// A device key: RSA-4096, as snapd makes them.
pub struct DeviceKey {
    pair: KeyPair,
    public: PublicKey,
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DeviceKey").field(&self.public.id()).finish()
    }
}

impl DeviceKey {
    /// Makes a new key; takes about a second.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn generate() -> Result<Self, LineError> {
        let pair =
            KeyPair::generate(KeySize::Rsa4096).map_err(|_| LineError::Key("cannot make a device key"))?;
        let der = pair
            .public_key()
            .as_der()
            .map_err(|_| LineError::Key("cannot encode a device key"))?;
        let public = PublicKey::from_spki_der(der.as_ref())
            .map_err(|_| LineError::Key("cannot read back a device key"))?;
        Ok(Self { pair, public })
    }

    /// `count` new keys, made on all cores.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn generate_many(count: usize) -> Result<Vec<Arc<Self>>, LineError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut keys = Vec::with_capacity(count);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores)
                .map(|core| {
                    let share = count / cores + usize::from(core < count % cores);
                    scope.spawn(move || {
                        (0..share)
                            .map(|_| Self::generate())
                            .collect::<Result<Vec<_>, _>>()
                    })
                })
                .collect();
            for worker in workers {
                let made = worker
                    .join()
                    .map_err(|_| LineError::Key("cannot make a device key"))??;
                keys.extend(made.into_iter().map(Arc::new));
            }
            Ok(keys)
        })
    }

    /// RSASSA-PKCS1-v1_5 over a SHA-512 digest.
    fn sign(&self, sha512: &[u8; 64]) -> Result<Vec<u8>, LineError> {
        let fault = |_| LineError::Key("cannot sign with a device key");
        let digest = Digest::import_less_safe(sha512, &SHA512).map_err(fault)?;
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign_digest(&RSA_PKCS1_SHA512, &digest, &mut signature)
            .map_err(fault)?;
        Ok(signature)
    }
}

/// A device of a model, with its key.
#[derive(Clone, Debug)]
pub struct Device {
    /// Who it is.
    pub id: DeviceId,
    /// Its key.
    pub key: Arc<DeviceKey>,
}

impl Device {
    /// The serial-request for `request_id`, as it goes on the wire.
    ///
    /// # Errors
    /// If the request cannot be built or signed.
    pub fn serial_request(&self, request_id: &str, now: Timestamp) -> Result<Vec<u8>, LineError> {
        let mut headers = Headers::default();
        headers.set("brand-id", self.id.brand.as_str());
        headers.set("model", self.id.model.as_str());
        headers.set("serial", self.id.serial.as_str());
        headers.set("request-id", request_id);
        headers.set("device-key", self.key.public.encoded());
        self.signed(AssertionType::SerialRequest, headers, now)
    }

    /// The device-session-request for `nonce`.
    ///
    /// # Errors
    /// If the request cannot be built or signed.
    pub fn session_request(&self, nonce: &str, now: Timestamp) -> Result<Vec<u8>, LineError> {
        let mut headers = Headers::default();
        headers.set("brand-id", self.id.brand.as_str());
        headers.set("model", self.id.model.as_str());
        headers.set("serial", self.id.serial.as_str());
        headers.set("nonce", nonce);
        headers.set("timestamp", now.to_string());
        self.signed(AssertionType::DeviceSessionRequest, headers, now)
    }

    /// An assertion of type `kind` signed with the device key.
    ///
    /// # Errors
    /// If the assertion cannot be built or signed.
    pub fn signed(
        &self,
        kind: AssertionType,
        headers: Headers,
        now: Timestamp,
    ) -> Result<Vec<u8>, LineError> {
        let document =
            |e: &dyn std::fmt::Display| LineError::Document(format!("cannot build the {kind}: {e}"));
        let draft = Statement::new(kind, headers, Vec::new())
            .draft(&self.key.public)
            .map_err(|e| document(&e))?;
        let signature = self.key.sign(&draft.digest(now))?;
        let assertion = draft.finish(now, &signature).map_err(|e| document(&e))?;
        Ok(assertion.encoded().to_vec())
    }
}
