//! A provider of log-ins that can be told to lie: what the real one of tests/clients never does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hallmark::adapters::oidc::{Oidc, OidcOptions};
use hallmark::app::provider::Provider;
use hallmark::app::{App, AppState};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;
use warp::Filter;

use crate::harness::{TestClock, instance};
use crate::store::shop::Shop;

pub const CLIENT: &str = "hallmark-tests";
pub const SECRET: &str = "a secret: of the client/äö";

/// How the next ID token is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    /// Claims changed after signing.
    Tampered,
    /// `alg: none`, no signature.
    Unsigned,
    /// HMAC with the client's secret.
    Symmetric,
    /// Signed with a key that is not published, under the name of the one that is.
    ForeignKey,
    /// Signed with a key that is not published, under a name of its own.
    UnknownKey,
    /// No ID token.
    Missing,
    /// The access token is another one than `at_hash` says.
    OtherAccessToken,
}

/// What it answers.
#[derive(Clone, Debug)]
pub struct Plan {
    pub lie: Lie,
    /// Claims of the next ID token, over those that are right.
    pub claims: Value,
    /// What it says apart from the ID token; null = nothing.
    pub user_info: Value,
    /// What came with browsers: nonces by challenge.
    pub nonces: BTreeMap<String, String>,
    /// Codes redeemed.
    pub redeemed: usize,
    /// How it takes the client's secret.
    pub methods: Vec<&'static str>,
}

/// The provider.
pub struct Double {
    pub address: SocketAddr,
    pub plan: Arc<Mutex<Plan>>,
    serving: JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Keys {
    own: RsaKeyPair,
    foreign: RsaKeyPair,
}

impl Double {
    pub async fn new() -> (Self, Shop) {
        Self::with(|_| ()).await
    }

    /// A provider, and a shop whose people may sign in with it.
    pub async fn with(change: impl FnOnce(&mut (OidcOptions, bool))) -> (Self, Shop) {
        let (app, clock) = instance().await;
        let double = Self::serve(&clock).await;
        let mut options = (
            OidcOptions {
                issuer: double.issuer(),
                client_id: CLIENT.to_owned(),
                client_secret: Some(SECRET.to_owned().into()),
                scopes: vec!["email".to_owned()],
                label: "Acme <SSO>".to_owned(),
                email_claim: "email".to_owned(),
                trust_email: false,
            },
            false,
        );
        change(&mut options);
        let (options, opens_accounts) = options;
        let door = Arc::new(Oidc::new(options, clock.clone()).unwrap());
        let app = App::from(AppState {
            provider: Some(Provider { door, opens_accounts }),
            ..(*app).clone()
        });
        (double, Shop::serving(app, clock).await)
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next ID tokens say this, and lie so.
    pub fn says(&self, lie: Lie, claims: Value) {
        let mut plan = self.plan.lock().unwrap();
        plan.lie = lie;
        plan.claims = claims;
    }

    /// What the browser brings to the provider; gives the state.
    pub fn visited(&self, url: &str) -> String {
        let url = Url::parse(url).unwrap();
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((url.path(), &*query["response_type"]), ("/authorize", "code"));
        assert_eq!((&*query["client_id"], &*query["scope"]), (CLIENT, "openid email"));
        assert_eq!(query["redirect_uri"], "http://127.0.0.1:8380/login/provider/back");
        assert_eq!(query["code_challenge_method"], "S256");
        let mut plan = self.plan.lock().unwrap();
        plan.nonces
            .insert(query["code_challenge"].clone(), query["nonce"].clone());
        query["state"].clone()
    }

    async fn serve(clock: &Arc<TestClock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan {
            lie: Lie::None,
            claims: json!({}),
            user_info: Value::Null,
            nonces: BTreeMap::new(),
            redeemed: 0,
            methods: vec!["client_secret_basic", "client_secret_post"],
        }));
        let keys = Arc::new(Keys {
            own: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            foreign: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        });
        let issuer = format!("http://{address}");
        let described = {
            let (issuer, plan) = (issuer.clone(), Arc::clone(&plan));
            warp::path!(".well-known" / "openid-configuration").map(move || {
                let plan = plan.lock().unwrap();
                let mut description = json!({
                    "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
                    "response_types_supported": ["code"], "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                    "token_endpoint_auth_methods_supported": plan.methods,
                });
                if !plan.user_info.is_null() {
                    description["userinfo_endpoint"] = format!("{issuer}/me").into();
                }
                warp::reply::json(&description)
            })
        };
        let published = {
            let keys = Arc::clone(&keys);
            warp::path!("keys").map(move || {
                // PKCS#1: a sequence of the modulus (257 bytes, the first is zero) and 65537.
                let key = keys.own.public_key().as_ref();
                let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                assert_eq!(
                    (key.len(), &key[..9], &key[265..]),
                    (
                        270,
                        &b"\x30\x82\x01\x0a\x02\x82\x01\x01\x00"[..],
                        &b"\x02\x03\x01\x00\x01"[..]
                    )
                );
                warp::reply::json(&json!({"keys": [{
                    "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one",
                    "n": number(&key[9..265]),
                    "e": number(&key[267..]),
                }]}))
            })
        };
        let info = {
            let plan = Arc::clone(&plan);
            warp::path!("me")
                .and(warp::header::<String>("authorization"))
                .map(move |bearer: String| {
                    assert_eq!(bearer, "Bearer the-access-token");
                    warp::reply::json(&plan.lock().unwrap().user_info)
                })
        };
        let redeemed = {
            let (plan, clock) = (Arc::clone(&plan), Arc::clone(clock));
            warp::path!("token")
                .and(warp::post())
                .and(warp::header::optional::<String>("authorization"))
                .and(warp::body::form())
                .map(move |basic: Option<String>, form: BTreeMap<String, String>| {
                    let mut plan = plan.lock().unwrap();
                    plan.redeemed += 1;
                    let now = hallmark::ports::Clock::now(&*clock).unix();
                    match answer(&plan, &keys, &issuer, now, basic.as_deref(), &form) {
                        Ok(answer) => {
                            warp::reply::with_status(warp::reply::json(&answer), http::StatusCode::OK)
                        }
                        Err(code) => warp::reply::with_status(
                            warp::reply::json(&json!({"error": code, "error_description": "<b>no</b>"})),
                            http::StatusCode::BAD_REQUEST,
                        ),
                    }
                })
        };
        let routes = described.or(published).or(info).or(redeemed);
        let service = TowerToHyperService::new(warp::service(routes));
        let serving = tokio::spawn(async move {
            // Connections end with the provider.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
                connections.spawn(serving);
            }
        });
        Self {
            address,
            plan,
            serving,
        }
    }
}

fn answer(
    plan: &Plan,
    keys: &Keys,
    issuer: &str,
    now: i64,
    basic: Option<&str>,
    form: &BTreeMap<String, String>,
) -> Result<Value, &'static str> {
    // RFC 6749, 2.3.1: both parts are form-encoded first.
    let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{encoded}")));
    let by_head = basic == Some(&*expected) && plan.methods.contains(&"client_secret_basic");
    let by_body = form.get("client_secret").is_some_and(|secret| secret == SECRET)
        && plan.methods.contains(&"client_secret_post");
    if !(by_head || by_body) {
        return Err("invalid_client");
    }
    let verifier = form.get("code_verifier").map_or("", String::as_str);
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref());
    let subject = match form["code"].as_str() {
        "the-code" => "subject-1",
        code => code.strip_prefix("code-of-").ok_or("invalid_grant")?,
    };
    let nonce = plan.nonces.get(&challenge).ok_or("invalid_grant")?;
    if form["grant_type"] != "authorization_code"
        || form["redirect_uri"] != "http://127.0.0.1:8380/login/provider/back"
    {
        return Err("invalid_grant");
    }
    let half = &digest(&SHA256, b"the-access-token").as_ref()[..16].to_vec();
    let mut claims = json!({
        "iss": issuer, "aud": CLIENT, "sub": subject, "nonce": nonce, "iat": now, "exp": now + 300,
        "email": "admin@people.example", "email_verified": true, "at_hash": URL_SAFE_NO_PAD.encode(half),
    });
    for (name, value) in plan.claims.as_object().unwrap() {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    let mut answer = json!({"access_token": "the-access-token", "token_type": "Bearer", "expires_in": 60});
    if plan.lie == Lie::OtherAccessToken {
        answer["access_token"] = "another-access-token".into();
    }
    if plan.lie != Lie::Missing {
        answer["id_token"] = token(plan.lie, keys, &claims).into();
    }
    Ok(answer)
}

fn token(lie: Lie, keys: &Keys, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (algorithm, kid) = match lie {
        Lie::Unsigned => ("none", "one"),
        Lie::Symmetric => ("HS256", "one"),
        Lie::UnknownKey => ("RS256", "two"),
        _ => ("RS256", "one"),
    };
    let head = part(&json!({"alg": algorithm, "kid": kid, "typ": "JWT"}));
    let signed = format!("{head}.{}", part(claims));
    let sign = |key: &RsaKeyPair| {
        let mut made = vec![0; key.public_modulus_len()];
        let padding: &'static dyn signature::RsaEncoding = &signature::RSA_PKCS1_SHA256;
        key.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut made)
            .unwrap();
        made
    };
    let made = match lie {
        Lie::Unsigned => Vec::new(),
        Lie::Symmetric => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
            hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
        }
        Lie::ForeignKey | Lie::UnknownKey => sign(&keys.foreign),
        _ => sign(&keys.own),
    };
    let mut claims = claims.clone();
    if lie == Lie::Tampered {
        claims["email"] = "operator@people.example".into();
    }
    format!("{head}.{}.{}", part(&claims), URL_SAFE_NO_PAD.encode(made))
}
