//! Keys in hardware: a signer that keeps some keys in PKCS#11 tokens, beside those of another signer.
//!
//! A key is where its record says. What is in a token is signed for by that token or not at all: while it is away there
//! are errors, and it signs again once it is back, without a restart.

mod login;
mod module;
mod objects;
mod token;
mod trouble;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use module::Module;
use objects::{TokenKey, check_kept, destroy, find, generate, prove};
use token::Token;
use trouble::Trouble;

use crate::domain::assertion::PublicKey;
use crate::domain::ident::{AccountId, KeyId};
use crate::domain::vault::{TokenUri, token_uri};
use crate::ports::{KeyMaterial, NewKey, Seal, SealLabel, SignError, Signer, TokenState};

/// How long a signature may take, waiting included. Devices wait longer than that.
const SIGN_TIME: Duration = Duration::from_secs(10);
/// How long making an RSA-4096 key may take: small devices search for a while.
const MAKE_TIME: Duration = Duration::from_secs(300);
/// In the seal of a key that was made here, behind its place.
const MADE_HERE: &str = "\nmade here";

/// What tokens there are, and how to get at them.
#[derive(Clone, Debug)]
pub struct Pkcs11Options {
    /// The vendor's library.
    pub module: PathBuf,
    /// The tokens, each with the file that holds its PIN.
    pub tokens: Vec<(TokenUri, Option<PathBuf>)>,
    /// Sessions of each token.
    pub sessions: usize,
    /// Requests that may wait for them.
    pub queue: usize,
    /// The token that new keys are made in where nobody names another; none = the other signer makes them.
    pub new_keys: Option<TokenUri>,
}

/// A [`Signer`] with keys in tokens; all others are left to `other`.
pub struct Pkcs11 {
    other: Arc<dyn Signer>,
    seal: Arc<dyn Seal>,
    module: Arc<Module>,
    tokens: Vec<Arc<Token>>,
    new_keys: Option<TokenUri>,
    keys: RwLock<HashMap<KeyId, Arc<Kept>>>,
}

/// A key that is in use.
struct Kept {
    token: Arc<Token>,
    place: TokenUri,
    /// Whether it was not what it should be when it was last looked at.
    doubtful: AtomicBool,
}

impl Kept {
    /// A key that is in use and not in its token may yet come back, as with a token that is restored: trouble of the
    /// token, not of who asks.
    fn away(&self, error: SignError) -> SignError {
        match error {
            SignError::Key(why) => SignError::Token {
                token: self.token.label().to_owned(),
                why,
            },
            other => other,
        }
    }
}

impl std::fmt::Debug for Pkcs11 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pkcs11(…)")
    }
}

impl Pkcs11 {
    /// A signer with these tokens. Neither module nor tokens need to be there yet: they are asked when they are needed.
    pub fn new(
        options: Pkcs11Options,
        seal: Arc<dyn Seal>,
        other: Arc<dyn Signer>,
    ) -> Result<Self, SignError> {
        let module = Arc::new(Module::new(options.module));
        let tokens = options
            .tokens
            .into_iter()
            .map(|(uri, pin)| Token::start(uri, Arc::clone(&module), pin, options.sessions, options.queue))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            other,
            seal,
            module,
            tokens,
            new_keys: options.new_keys,
            keys: RwLock::default(),
        })
    }

    /// The token that is called like this.
    fn named(&self, wanted: &TokenUri) -> Result<&Arc<Token>, SignError> {
        let found = self.tokens.iter().find(|token| {
            let agrees = |ours: &Option<String>, theirs: &Option<String>| {
                ours.is_none() || theirs.is_none() || ours == theirs
            };
            token.uri.token == wanted.token
                && agrees(&token.uri.serial, &wanted.serial)
                && agrees(&token.uri.model, &wanted.model)
                && agrees(&token.uri.manufacturer, &wanted.manufacturer)
        });
        found.ok_or_else(|| SignError::Token {
            token: wanted.token.clone(),
            why: "it is none of those that pkcs11-token names".to_owned(),
        })
    }

    fn kept(&self, key: &KeyId) -> Option<Arc<Kept>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).cloned()
    }

    fn keep(&self, key: &KeyId, token: &Arc<Token>, place: TokenUri, doubtful: bool) -> Arc<Kept> {
        let kept = Arc::new(Kept {
            token: Arc::clone(token),
            place,
            doubtful: AtomicBool::new(doubtful),
        });
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.clone(), Arc::clone(&kept));
        kept
    }

    /// Takes a key that is in a token into use.
    fn new_key(
        &self,
        owner: &AccountId,
        token: &Arc<Token>,
        place: TokenUri,
        public: &PublicKey,
        made_here: bool,
    ) -> Result<NewKey, SignError> {
        let id = public.id().clone();
        let mut content = place.to_string();
        if made_here {
            content.push_str(MADE_HERE);
        }
        let seal = self
            .seal
            .seal(&SealLabel::key(owner, &id), content.as_bytes())
            .map_err(|error| SignError::Key(error.to_string()))?;
        let sealed = token_uri::join(&place, &seal);
        self.keep(&id, token, place, false);
        Ok(NewKey {
            id,
            public_key: public.encoded().to_owned(),
            bits: public.bits(),
            sealed,
        })
    }

    /// The place of a key, and whether it was made here; refused unless the seal says the same.
    fn open(
        &self,
        owner: &AccountId,
        key: &KeyId,
        place: &str,
        seal: &str,
    ) -> Result<(TokenUri, bool), SignError> {
        let content = self
            .seal
            .open(&SealLabel::key(owner, key), seal)
            .map_err(|error| SignError::Key(error.to_string()))?;
        let content = std::str::from_utf8(&content).unwrap_or_default();
        let (sealed_place, made_here) = match content.strip_suffix(MADE_HERE) {
            Some(rest) => (rest, true),
            None => (content, false),
        };
        if sealed_place != place {
            return Err(SignError::Key(
                "its record names another place than its seal: it was tampered with".to_owned(),
            ));
        }
        let place = TokenUri::key(place).map_err(|error| SignError::Key(error.to_string()))?;
        Ok((place, made_here))
    }

    /// Looks whether the key is there, and is that key.
    async fn look(&self, key: &KeyId, kept: &Kept) -> Result<(), SignError> {
        let (id, place) = (key.clone(), kept.place.clone());
        let found = kept
            .token
            .run(SIGN_TIME, move |_, open| {
                open.forget(&id);
                open.look(&id, &place)
            })
            .await;
        kept.doubtful.store(found.is_err(), Ordering::Relaxed);
        found.map_err(|error| kept.away(error))
    }
}

impl Drop for Pkcs11 {
    fn drop(&mut self) {
        self.module.stop();
    }
}

#[async_trait]
impl Signer for Pkcs11 {
    async fn sign(&self, key: &KeyId, sha512: [u8; 64]) -> Result<Vec<u8>, SignError> {
        let Some(kept) = self.kept(key) else {
            return self.other.sign(key, sha512).await;
        };
        let (id, place) = (key.clone(), kept.place.clone());
        let signed = kept
            .token
            .run(SIGN_TIME, move |_, open| open.sign(&id, &place, &sha512))
            .await;
        if let Err(SignError::Key(_)) = &signed {
            kept.doubtful.store(true, Ordering::Relaxed);
        }
        signed.map_err(|error| kept.away(error))
    }

    async fn ready(&self, key: &KeyId) -> Result<(), SignError> {
        let Some(kept) = self.kept(key) else {
            return self.other.ready(key).await;
        };
        if kept.token.is_up() && !kept.doubtful.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.look(key, &kept).await
    }

    async fn generate(
        &self,
        owner: &AccountId,
        name: &str,
        token: Option<&TokenUri>,
    ) -> Result<NewKey, SignError> {
        let Some(wanted) = token.or(self.new_keys.as_ref()) else {
            return self.other.generate(owner, name, None).await;
        };
        let token = self.named(wanted)?;
        let label = format!("{owner}/{name}");
        let home = token.uri.home();
        let (public, place) = token
            .run(MAKE_TIME, move |state, open| {
                open.writing(state, |session| generate(session, &home, &label))
                    .map(|(key, place)| (key.public, place))
            })
            .await?;
        self.new_key(owner, token, place, &public, true)
    }

    async fn import(
        &self,
        owner: &AccountId,
        material: KeyMaterial,
        min_bits: usize,
    ) -> Result<NewKey, SignError> {
        let KeyMaterial::Token(place) = material else {
            return self.other.import(owner, material, min_bits).await;
        };
        let token = self.named(&place)?;
        let wanted = place.clone();
        let public = token
            .run(SIGN_TIME, move |_, open| {
                let key: TokenKey = find(&open.session, &wanted)?;
                let bits = key.public.bits();
                if bits < min_bits {
                    return Err(Trouble::Key(format!(
                        "it has {bits} bits; at least {min_bits} are needed here"
                    )));
                }
                check_kept(&open.session, &key)?;
                prove(&open.session, &key)?;
                Ok(key.public)
            })
            .await?;
        self.new_key(owner, token, place, &public, false)
    }

    async fn load(&self, owner: &AccountId, key: &KeyId, sealed: &str) -> Result<(), SignError> {
        let (Some(place), seal) = token_uri::split(sealed) else {
            return self.other.load(owner, key, sealed).await;
        };
        let (place, _) = self.open(owner, key, place, seal)?;
        let token = self.named(&place)?;
        let kept = self.keep(key, token, place, true);
        self.look(key, &kept).await
    }

    async fn unload(&self, key: &KeyId) {
        {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            keys.remove(key);
        }
        self.other.unload(key).await;
    }

    async fn destroy(&self, owner: &AccountId, key: &KeyId, sealed: &str) -> Result<(), SignError> {
        let (Some(place), seal) = token_uri::split(sealed) else {
            return self.other.destroy(owner, key, sealed).await;
        };
        let (place, made_here) = self.open(owner, key, place, seal)?;
        self.unload(key).await;
        if !made_here {
            return Ok(());
        }
        let id = key.clone();
        self.named(&place)?
            .run(SIGN_TIME, move |state, open| {
                open.forget(&id);
                open.writing(state, |session| destroy(session, &place))
            })
            .await
    }

    fn tokens(&self) -> Vec<TokenState> {
        self.tokens.iter().map(|token| token.state()).collect()
    }

    async fn ask_tokens(&self) -> Vec<TokenState> {
        join_all(self.tokens.iter().map(|token| async move {
            let asked = token
                .run(SIGN_TIME, |_, open| {
                    open.session.get_session_info().map(|_| ()).map_err(Trouble::from)
                })
                .await;
            let mut state = token.state();
            if let Err(error) = asked
                && state.trouble.is_none()
            {
                state.trouble = Some(error.to_string());
            }
            state
        }))
        .await
    }
}
