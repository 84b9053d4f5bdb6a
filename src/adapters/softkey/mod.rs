//! The software signer: RSA keys in this process's memory, signatures by aws-lc-rs on a bounded pool of threads.

mod import;
mod pool;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use tokio::sync::{Semaphore, oneshot};

use pool::{Job, Pool};

use crate::domain::assertion::PublicKey;
use crate::domain::ident::{AccountId, KeyId};
use crate::domain::vault::{TokenUri, token_uri};
use crate::ports::{KeyMaterial, NewKey, Seal, SealLabel, SignError, Signer};

/// Signatures that may wait by default: at some 3 ms each, about a second on two cores.
pub const DEFAULT_QUEUE: usize = 512;
/// Key generations and imports that may wait or run.
const MAX_MAKING: usize = 16;

/// A [`Signer`] with keys in memory. Dropping it stops its threads.
pub struct SoftKeys {
    seal: Arc<dyn Seal>,
    keys: RwLock<HashMap<KeyId, Arc<KeyPair>>>,
    pool: Arc<Pool>,
    /// How many generations may run at once, and how many may wait as well.
    making: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl std::fmt::Debug for SoftKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftKeys(…)")
    }
}

impl SoftKeys {
    /// A signer with one thread per core and the default queue.
    pub fn new(seal: Arc<dyn Seal>) -> Result<Self, SignError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_pool(seal, cores, DEFAULT_QUEUE)
    }

    /// A signer with `threads` threads and room for `queue` waiting signatures.
    pub fn with_pool(seal: Arc<dyn Seal>, threads: usize, queue: usize) -> Result<Self, SignError> {
        let threads = threads.max(1);
        Ok(Self {
            seal,
            keys: RwLock::default(),
            pool: Pool::start(threads, queue.max(1))?,
            making: Arc::new(Semaphore::new(threads)),
            waiting: Arc::new(Semaphore::new(MAX_MAKING)),
        })
    }

    /// Runs slow key work off the event loop, a few at a time.
    async fn make<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SignError> + Send + 'static,
    ) -> Result<T, SignError> {
        let stopped = |_| SignError::Offline("the key workers have stopped".to_owned());
        let _place = Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| SignError::Saturated)?;
        let turn = Arc::clone(&self.making).acquire_owned().await.map_err(stopped)?;
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
        .map_err(|_| SignError::Offline("the key worker failed".to_owned()))?
    }

    /// Seals a new key and takes it into memory.
    fn keep(&self, owner: &AccountId, pair: KeyPair, public: &PublicKey) -> Result<NewKey, SignError> {
        let der: Pkcs8V1Der<'_> = pair
            .as_der()
            .map_err(|_| SignError::Key("its private half cannot be encoded".to_owned()))?;
        let id = public.id().clone();
        let sealed = self
            .seal
            .seal(&SealLabel::key(owner, &id), der.as_ref())
            .map_err(|e| SignError::Key(e.to_string()))?;
        self.insert(&id, pair);
        Ok(NewKey {
            id,
            public_key: public.encoded().to_owned(),
            bits: public.bits(),
            sealed,
        })
    }

    fn insert(&self, id: &KeyId, pair: KeyPair) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(id.clone(), Arc::new(pair));
    }
}

#[async_trait]
impl Signer for SoftKeys {
    async fn sign(&self, key: &KeyId, sha512: [u8; 64]) -> Result<Vec<u8>, SignError> {
        let pair = {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            keys.get(key)
                .cloned()
                .ok_or_else(|| SignError::UnknownKey(key.clone()))?
        };
        let (answer, signature) = oneshot::channel();
        self.pool.submit(Job { pair, sha512, answer })?;
        signature
            .await
            .map_err(|_| SignError::Offline("the signing threads have stopped".to_owned()))?
    }

    async fn generate(
        &self,
        owner: &AccountId,
        _name: &str,
        token: Option<&TokenUri>,
    ) -> Result<NewKey, SignError> {
        if let Some(token) = token {
            return Err(no_tokens(token));
        }
        let (pair, public) = self
            .make(|| {
                let pair = KeyPair::generate(KeySize::Rsa4096)
                    .map_err(|_| SignError::Offline("the key generator failed".to_owned()))?;
                let public = import::public_key(&pair).map_err(|e| SignError::Key(e.to_string()))?;
                Ok((pair, public))
            })
            .await?;
        self.keep(owner, pair, &public)
    }

    async fn import(
        &self,
        owner: &AccountId,
        material: KeyMaterial,
        min_bits: usize,
    ) -> Result<NewKey, SignError> {
        if let KeyMaterial::Token(token) = &material {
            return Err(no_tokens(token));
        }
        let (pair, public) = self
            .make(move || {
                let pair = import::read(&material).map_err(|e| SignError::Key(e.to_string()))?;
                let public = import::public_key(&pair).map_err(|e| SignError::Key(e.to_string()))?;
                if public.bits() < min_bits {
                    let bits = public.bits();
                    return Err(SignError::Key(format!(
                        "it has {bits} bits; at least {min_bits} are needed here"
                    )));
                }
                Ok((pair, public))
            })
            .await?;
        self.keep(owner, pair, &public)
    }

    async fn load(&self, owner: &AccountId, key: &KeyId, sealed: &str) -> Result<(), SignError> {
        if let (Some(place), _) = token_uri::split(sealed) {
            let token = TokenUri::key(place).map_err(|e| SignError::Key(e.to_string()))?;
            return Err(no_tokens(&token));
        }
        let seal = Arc::clone(&self.seal);
        let (owner, id, sealed) = (owner.clone(), key.clone(), sealed.to_owned());
        let pair = self
            .make(move || {
                let der = seal
                    .open(&SealLabel::key(&owner, &id), &sealed)
                    .map_err(|e| SignError::Key(e.to_string()))?;
                let pair = KeyPair::from_pkcs8(&der).map_err(|e| SignError::Key(e.to_string()))?;
                let public = import::public_key(&pair).map_err(|e| SignError::Key(e.to_string()))?;
                if *public.id() != id {
                    return Err(SignError::Key(format!(
                        "the sealed key is {}, not {id}",
                        public.id()
                    )));
                }
                Ok(pair)
            })
            .await?;
        self.insert(key, pair);
        Ok(())
    }

    async fn unload(&self, key: &KeyId) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.remove(key);
    }
}

/// Keys in hardware are never signed for here.
fn no_tokens(token: &TokenUri) -> SignError {
    SignError::Token {
        token: token.token.clone(),
        why: "no tokens are set up here; set pkcs11-module and pkcs11-token".to_owned(),
    }
}

impl Drop for SoftKeys {
    fn drop(&mut self) {
        self.pool.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::seal::{MasterKey, new_kdf};
    use crate::domain::vault::Kdf;
    use aws_lc_rs::digest::SHA512;
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey};
    use zeroize::Zeroizing;

    fn seal() -> Arc<dyn Seal> {
        let kdf = Kdf {
            memory_kib: 64,
            passes: 1,
            ..new_kdf().unwrap()
        };
        Arc::new(MasterKey::derive(b"p", &kdf).unwrap())
    }

    fn owner(text: &str) -> AccountId {
        text.parse().unwrap()
    }

    fn pem(name: &str) -> KeyMaterial {
        let path = format!("{}/tests/vectors/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        KeyMaterial::Pem(Zeroizing::new(std::fs::read_to_string(path).unwrap()))
    }

    fn digest(text: &[u8]) -> [u8; 64] {
        aws_lc_rs::digest::digest(&SHA512, text)
            .as_ref()
            .try_into()
            .unwrap()
    }

    fn verify(public_key: &str, text: &[u8], signature: &[u8]) -> bool {
        let der = PublicKey::decode(public_key).unwrap().to_spki_der();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA512, der)
            .verify(text, signature)
            .is_ok()
    }

    #[tokio::test]
    async fn a_key_survives_being_sealed_and_loaded_by_its_owner_only() {
        let seal = seal();
        let signer = SoftKeys::new(seal.clone()).unwrap();
        let key = signer.import(&owner("acme"), pem("brand"), 4096).await.unwrap();
        assert!(!key.sealed.contains(&key.public_key) && key.bits == 4096);

        let later = SoftKeys::new(seal).unwrap();
        let unknown = later.sign(&key.id, digest(b"text")).await;
        assert!(matches!(unknown, Err(SignError::UnknownKey(_))));
        assert!(later.load(&owner("other"), &key.id, &key.sealed).await.is_err());
        later.load(&owner("acme"), &key.id, &key.sealed).await.unwrap();
        let signature = later.sign(&key.id, digest(b"text")).await.unwrap();
        assert!(verify(&key.public_key, b"text", &signature));
        assert_eq!(signature, signer.sign(&key.id, digest(b"text")).await.unwrap());

        later.unload(&key.id).await;
        assert!(later.sign(&key.id, digest(b"text")).await.is_err());
    }

    #[tokio::test]
    async fn a_generated_key_has_4096_bits_and_signs() {
        let signer = SoftKeys::new(seal()).unwrap();
        let key = signer.generate(&owner("acme"), "model", None).await.unwrap();
        assert_eq!(key.bits, 4096);
        let signature = signer.sign(&key.id, digest(b"text")).await.unwrap();
        assert!(verify(&key.public_key, b"text", &signature));
    }

    #[tokio::test]
    async fn a_key_in_a_token_is_never_made_or_loaded_in_software() {
        let signer = SoftKeys::new(seal()).unwrap();
        let place = TokenUri::key("pkcs11:token=hsm;object=x").unwrap();
        let id: KeyId = "a".repeat(64).parse().unwrap();
        // Not even where the seal holds a whole private key.
        let software = signer.import(&owner("acme"), pem("brand"), 4096).await.unwrap();
        signer.unload(&software.id).await;
        let outcomes = [
            signer
                .generate(&owner("acme"), "x", Some(&place))
                .await
                .map(|_| ()),
            signer
                .import(&owner("acme"), KeyMaterial::Token(place.clone()), 0)
                .await
                .map(|_| ()),
            signer
                .load(&owner("acme"), &id, &token_uri::join(&place, "AAAA"))
                .await,
            signer
                .load(
                    &owner("acme"),
                    &software.id,
                    &token_uri::join(&place, &software.sealed),
                )
                .await,
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(SignError::Token { token, .. }) if token == "hsm"));
        }
        assert!(signer.sign(&software.id, digest(b"text")).await.is_err());
    }

    #[tokio::test]
    async fn a_key_below_the_wanted_size_is_refused() {
        let signer = SoftKeys::new(seal()).unwrap();
        let error = signer
            .import(&owner("acme"), pem("device-2048"), 4096)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("2048 bits"), "{error}");
        signer
            .import(&owner("acme"), pem("device-2048"), 2048)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_full_queue_answers_at_once_and_the_waiting_still_get_their_signatures() {
        let signer = Arc::new(SoftKeys::with_pool(seal(), 1, 4).unwrap());
        let key = signer.import(&owner("acme"), pem("brand"), 4096).await.unwrap();
        let sign = || {
            let (signer, id) = (Arc::clone(&signer), key.id.clone());
            tokio::spawn(async move { signer.sign(&id, digest(b"text")).await })
        };
        let mut signed = 0;
        let mut saturated = 0;
        for task in (0..64).map(|_| sign()).collect::<Vec<_>>() {
            match task.await.unwrap() {
                Ok(_) => signed += 1,
                Err(SignError::Saturated) => saturated += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(
            signed >= 4 && saturated >= 1,
            "{signed} signed, {saturated} saturated"
        );
        assert!(signer.sign(&key.id, digest(b"text")).await.is_ok());
    }
}
