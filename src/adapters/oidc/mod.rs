//! A provider of log-ins by OpenID Connect (Core 1.0, Discovery 1.0), authorization code flow with PKCE. Signatures,
//! issuer, audience, age and nonce are checked by `openidconnect`; requests go through the client in `wire`.

mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use async_trait::async_trait;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse,
    CoreTokenType,
};
use openidconnect::{
    AccessToken, AccessTokenHash, AdditionalClaims, AuthType, AuthenticationFlow, AuthorizationCode,
    ClaimsVerificationError, Client, ClientId, ClientSecret, CsrfToken, DiscoveryError,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdToken, IdTokenClaims,
    IdTokenFields, IdTokenVerifier, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    StandardErrorResponse, StandardTokenResponse, SubjectIdentifier, TokenResponse as _, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::ports::{Claimed, Clock, Errand, IdentityError, IdentityProvider};
use wire::Wire;

/// How long what the provider publishes about itself is used without asking again.
const FRESH: Duration = Duration::from_secs(3600);
/// How soon it is asked again when it signs with a key that is not known.
const NEW_KEY: Duration = Duration::from_secs(60);
/// How soon it is asked again when it did not answer.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest subject that is taken, in bytes: what OpenID Connect Core 2 allows.
const MAX_SUBJECT: usize = 255;
/// The longest name that is taken, in characters.
const MAX_NAME: usize = 128;

/// How a provider is reached and what is believed of what it says.
pub struct OidcOptions {
    /// Its identifier; `/.well-known/openid-configuration` is looked for below it.
    pub issuer: String,
    /// Who we are for it.
    pub client_id: String,
    /// Proves it; none = a public client.
    pub client_secret: Option<Zeroizing<String>>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// How it is called on buttons.
    pub label: String,
    /// The claim that holds the e-mail address.
    pub email_claim: String,
    /// Whether addresses count that the provider does not call verified.
    pub trust_email: bool,
}

impl std::fmt::Debug for OidcOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcOptions")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// A provider.
pub struct Oidc {
    options: OidcOptions,
    issuer: IssuerUrl,
    clock: Arc<dyn Clock>,
    wire: Wire,
    known: Mutex<Known>,
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.options.fmt(f)
    }
}

/// What is known of the provider, and since when.
#[derive(Default)]
struct Known {
    metadata: Option<(CoreProviderMetadata, Instant)>,
    failed: Option<(String, Instant)>,
}

/// Claims that have no meaning of their own here: one of them may hold the e-mail address.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct More(BTreeMap<String, Value>);

impl AdditionalClaims for More {}

type Fields = IdTokenFields<
    More,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type SignedToken = IdToken<More, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type Party = Client<
    More,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Oidc {
    /// A provider that is asked when somebody first wants to sign in.
    ///
    /// # Errors
    /// The issuer is not a URL, or there are no certificates to check it by.
    pub fn new(options: OidcOptions, clock: Arc<dyn Clock>) -> Result<Self, IdentityError> {
        let unusable = |error: &dyn std::fmt::Display| IdentityError::Unreachable(error.to_string());
        let issuer = IssuerUrl::new(options.issuer.clone()).map_err(|error| unusable(&error))?;
        let wire = Wire::new(&options.issuer).map_err(|error| unusable(&error))?;
        Ok(Self {
            options,
            issuer,
            clock,
            wire,
            known: Mutex::default(),
        })
    }

    /// What the provider publishes, not older than `oldest`. One request at a time, however many wait for it.
    async fn metadata(&self, oldest: Duration) -> Result<CoreProviderMetadata, IdentityError> {
        let mut known = self.known.lock().await;
        if let Some((metadata, since)) = &known.metadata
            && since.elapsed() < oldest
        {
            return Ok(metadata.clone());
        }
        if let Some((why, since)) = &known.failed
            && since.elapsed() < PAUSE
        {
            return Err(IdentityError::Unreachable(why.clone()));
        }
        match CoreProviderMetadata::discover_async(self.issuer.clone(), &self.wire).await {
            Ok(metadata) => {
                known.metadata = Some((metadata.clone(), Instant::now()));
                known.failed = None;
                Ok(metadata)
            }
            Err(error) => {
                let why = match error {
                    DiscoveryError::Request(error) => error.to_string(),
                    DiscoveryError::Parse(error) => format!("its description cannot be read: {error}"),
                    DiscoveryError::Response(status, _, _) => {
                        format!("it answered {status} when asked for its description")
                    }
                    other => other.to_string(),
                };
                known.failed = Some((why.clone(), Instant::now()));
                Err(IdentityError::Unreachable(why))
            }
        }
    }

    fn party(&self, metadata: CoreProviderMetadata, errand: &Errand) -> Result<Party, IdentityError> {
        let back = RedirectUrl::new(errand.back.clone())
            .map_err(|error| IdentityError::Refused(format!("our own address is no URL: {error}")))?;
        let secret = self.options.client_secret.as_ref();
        let by_body = by_body(&metadata);
        let client_id = ClientId::new(self.options.client_id.clone());
        let secret = secret.map(|secret| ClientSecret::new(secret.to_string()));
        let party = Client::from_provider_metadata(metadata, client_id, secret).set_redirect_uri(back);
        Ok(if by_body {
            party.set_auth_type(AuthType::RequestBody)
        } else {
            party
        })
    }

    /// What checks ID tokens: by keys the provider publishes, never by the secret we share, by our own clock.
    fn verifier<'p>(&self, party: &'p Party) -> IdTokenVerifier<'p, CoreJsonWebKey> {
        let now = u64::try_from(self.clock.now().unix()).unwrap_or_default();
        party
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS.iter().cloned())
            .set_time_fn(move || (UNIX_EPOCH + Duration::from_secs(now)).into())
    }

    /// The claims of an ID token that holds. Keys are asked for again where the token is signed with an unknown one.
    async fn hold(
        &self,
        token: &SignedToken,
        access: &AccessToken,
        party: Party,
        errand: &Errand,
    ) -> Result<(IdTokenClaims<More, CoreGenderClaim>, Party), IdentityError> {
        let nonce = Nonce::new(errand.nonce.to_string());
        let mut party = party;
        let unknown =
            ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey);
        if matches!(token.claims(&self.verifier(&party), &nonce), Err(error) if error == unknown) {
            party = self.party(self.metadata(NEW_KEY).await?, errand)?;
        }
        let verifier = self.verifier(&party);
        let claims = token
            .claims(&verifier, &nonce)
            .map_err(|error| untrusted(&error))?
            .clone();
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = token.signing_alg().map_err(|error| untrusted(&error))?;
            let key = token.signing_key(&verifier).map_err(|error| untrusted(&error))?;
            let actual =
                AccessTokenHash::from_token(access, algorithm, key).map_err(|error| untrusted(&error))?;
            if actual != *expected {
                return Err(IdentityError::Untrusted(
                    "the access token is not the one the ID token is about".to_owned(),
                ));
            }
        }
        drop(verifier);
        Ok((claims, party))
    }

    /// The e-mail address, where the provider vouches for it.
    fn vouched(&self, said: &Said<'_>) -> Option<String> {
        let email = if self.options.email_claim == "email" {
            said.email
        } else {
            said.more.0.get(&self.options.email_claim).and_then(Value::as_str)
        };
        let good = self.options.trust_email || said.email_verified == Some(true);
        email.filter(|_| good).map(str::to_owned)
    }

    /// What the provider says apart from the ID token, where that names no e-mail address.
    async fn user_info(
        &self,
        party: &Party,
        access: &AccessToken,
        subject: &SubjectIdentifier,
    ) -> Result<Option<UserInfoClaims<More, CoreGenderClaim>>, IdentityError> {
        let Ok(request) = party.user_info(access.clone(), Some(subject.clone())) else {
            return Ok(None);
        };
        request
            .request_async(&self.wire)
            .await
            .map(Some)
            .map_err(|error| match error {
                openidconnect::UserInfoError::Request(error) => IdentityError::Unreachable(error.to_string()),
                openidconnect::UserInfoError::ClaimsVerification(error) => untrusted(&error),
                other => IdentityError::Unreachable(format!("it does not say who this is: {other}")),
            })
    }
}

/// What a provider may sign with: all that needs its private key.
const ALGORITHMS: &[CoreJwsSigningAlgorithm] = &[
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Claims of an ID token or of what the provider says apart from it.
struct Said<'c> {
    email: Option<&'c str>,
    email_verified: Option<bool>,
    more: &'c More,
}

#[async_trait]
impl IdentityProvider for Oidc {
    fn label(&self) -> &str {
        &self.options.label
    }

    fn issuer(&self) -> &str {
        &self.options.issuer
    }

    async fn begin(&self, errand: &Errand) -> Result<String, IdentityError> {
        let party = self.party(self.metadata(FRESH).await?, errand)?;
        let (state, nonce) = (errand.state.clone(), errand.nonce.to_string());
        let verifier = PkceCodeVerifier::new(errand.verifier.to_string());
        let mut request = party
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        for scope in &self.options.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        Ok(request.url().0.into())
    }

    async fn redeem(&self, errand: &Errand, code: &str) -> Result<Claimed, IdentityError> {
        let party = self.party(self.metadata(FRESH).await?, errand)?;
        let answer = party
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|_| IdentityError::Unreachable("it does not say where codes are redeemed".to_owned()))?
            .set_pkce_verifier(PkceCodeVerifier::new(errand.verifier.to_string()))
            .request_async(&self.wire)
            .await
            .map_err(|error| match error {
                RequestTokenError::ServerResponse(said) => {
                    IdentityError::Refused(word(said.error().as_ref()))
                }
                RequestTokenError::Request(error) => IdentityError::Unreachable(error.to_string()),
                // The answer itself may hold tokens.
                RequestTokenError::Parse(error, _) => {
                    IdentityError::Unreachable(format!("its answer cannot be read at {}", error.path()))
                }
                RequestTokenError::Other(why) => IdentityError::Unreachable(why),
            })?;
        let token = answer
            .id_token()
            .ok_or_else(|| IdentityError::Untrusted("there is no ID token".to_owned()))?;
        let access = answer.access_token();
        let (claims, party) = self.hold(token, access, party, errand).await?;
        let subject = claims.subject();
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(IdentityError::Untrusted("it does not say who this is".to_owned()));
        }
        let mut email = self.vouched(&Said {
            email: claims.email().map(|email| email.as_str()),
            email_verified: claims.email_verified(),
            more: claims.additional_claims(),
        });
        let mut name = claims
            .name()
            .and_then(|name| name.get(None))
            .map(|name| name.to_string());
        if email.is_none()
            && let Some(info) = self.user_info(&party, access, subject).await?
        {
            email = self.vouched(&Said {
                email: info.email().map(|email| email.as_str()),
                email_verified: info.email_verified(),
                more: info.additional_claims(),
            });
            let said = info.name().and_then(|name| name.get(None));
            name = name.or_else(|| said.map(|name| name.to_string()));
        }
        let plain = |name: String| {
            name.chars()
                .filter(|c| !c.is_control())
                .take(MAX_NAME)
                .collect::<String>()
        };
        Ok(Claimed {
            issuer: self.options.issuer.clone(),
            subject: subject.to_string(),
            email,
            name: name.map(plain).filter(|name| !name.trim().is_empty()),
        })
    }
}

/// Providers that take the secret in the body only. What says nothing takes it in the head (Discovery 3).
fn by_body(metadata: &CoreProviderMetadata) -> bool {
    metadata
        .token_endpoint_auth_methods_supported()
        .is_some_and(|methods| {
            !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && methods.contains(&CoreClientAuthMethod::ClientSecretPost)
        })
}

fn untrusted(error: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Untrusted(error.to_string())
}

/// An error code of RFC 6749 as it may be shown: letters and underscores.
fn word(code: &str) -> String {
    let plain = code.chars().filter(|c| c.is_ascii_lowercase() || *c == '_');
    plain.take(60).collect()
}
