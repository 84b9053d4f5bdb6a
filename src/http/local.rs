//! What only somebody with access to the data directory may ask for: over the Unix socket of a running server, or of
//! an application the command line has opened by itself. Never part of the public endpoints.

pub mod bundles;

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use warp::Filter as _;
use warp::reply::{Reply as _, Response};
use zeroize::Zeroizing;

use super::body;
use super::endpoint::{Access, Endpoint, with};
use super::fault::{Fault, NativeDialect};
use super::metrics::Metrics;
use super::native::factories::Bundle;
use super::reply;
use super::router::{RouteError, Router};
use crate::app::catalog::garbage;
use crate::app::trust::{self, Sizes};
use crate::app::{
    App, InstanceCtx, Password, Reason, Refusal, doctor, factory, instance, key_manager, login,
};
use crate::domain::access::Brand;
use crate::domain::assertion::{Assertion, encode_stream};
use crate::domain::bundle::BundleSigner;
use crate::domain::ident::{BrandId, Email};
use crate::ports::{Key, StoreError};

/// Name of the socket in the data directory.
pub const SOCKET: &str = "hallmark.sock";
/// Where tasks are posted.
pub const PATH: &str = "/hallmark/v1/local";
/// Where everything that is stored is read, row by row.
pub const ROWS: &str = "/hallmark/v1/local/rows";
/// A grant of a factory box with a hundred thousand judged serials; the content of an assertion, in base64, is less.
const MAX_TASK: usize = 16 * 1024 * 1024;

/// Something to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(
    tag = "task",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Task {
    /// Who are you?
    Status,
    /// Look at everything that is stored.
    Doctor {
        /// Remove files that belong to nothing.
        #[serde(default)]
        repair: bool,
        /// Only those kept more than so many seconds ago; none = as long as an upload may take to need them.
        #[serde(default)]
        grace: Option<i64>,
    },
    /// Give our root, padded where sizes are given.
    TrustExport {
        /// Bytes of the account.
        account_bytes: Option<usize>,
        /// Bytes of the account-key.
        key_bytes: Option<usize>,
    },
    /// Give the trusted set: our root and those that were imported.
    Trusted,
    /// Trust the root in this assertion stream too.
    TrustImport {
        /// The stream.
        assertions: String,
    },
    /// Set somebody's password.
    Passwd {
        /// Whose.
        email: Email,
        /// The new one; none = make one.
        password: Option<Secret>,
    },
    /// External key manager: the names of usable keys.
    KeyNames {
        /// Only of this brand.
        brand: Option<BrandId>,
    },
    /// External key manager: a public key.
    PublicKey {
        /// Only of this brand.
        brand: Option<BrandId>,
        /// The key.
        key: String,
    },
    /// External key manager: a signature.
    Sign {
        /// Only of this brand.
        brand: Option<BrandId>,
        /// The key.
        key: String,
        /// What kind of signature.
        mechanism: Mechanism,
        /// What to sign, base64.
        data: String,
    },
    /// Factory box: ask the centre for a grant.
    FactoryRequest,
    /// Factory box: what it is and may do.
    FactoryStatus,
    /// Factory box: take a grant in.
    FactoryAccept {
        /// The grant.
        bundle: Bundle,
        /// Who must have signed it.
        #[serde(default)]
        signer: Option<BundleSigner>,
    },
    /// Factory box: what it signed.
    FactoryLog {
        /// From behind this entry; none = from what the centre has.
        after: Option<u64>,
    },
}

impl Task {
    /// The task, for who has all of the data to themselves: no upload can be under way, so that a repair need not wait
    /// for one.
    #[must_use]
    pub fn alone(self) -> Self {
        match self {
            Self::Doctor { repair: true, grace } => Self::Doctor {
                repair: true,
                grace: grace.or(Some(0)),
            },
            other => other,
        }
    }
}

/// A text that is not shown by `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A signing mechanism of the external key manager protocol (assertions.md 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    /// A raw signature over a DigestInfo.
    #[serde(rename = "RSA-PKCS")]
    RsaPkcs,
    /// A detached OpenPGP signature over the content of an assertion.
    #[serde(rename = "OPENPGP")]
    OpenPgp,
}

/// Does `task` for who owns the data directory.
pub async fn perform(app: &App, task: Task) -> Result<Value, Refusal> {
    let ctx = InstanceCtx::local();
    match task {
        Task::Status => status(app).await,
        Task::Doctor { repair: false, .. } => document(&doctor::examine(app).await?),
        Task::Doctor { repair: true, grace } => {
            document(&doctor::repair(app, grace.unwrap_or(garbage::GRACE)).await?)
        }
        Task::TrustExport {
            account_bytes,
            key_bytes,
        } => {
            let sizes = Sizes {
                account: account_bytes,
                key: key_bytes,
            };
            Ok(stream(&trust::export(app, &ctx, sizes).await?))
        }
        Task::Trusted => Ok(stream(&instance::trusted(app).await?)),
        Task::TrustImport { assertions } => {
            Ok(stream(&trust::import(app, &ctx, Bytes::from(assertions)).await?))
        }
        Task::Passwd { email, password } => {
            let (new, made) = match password {
                Some(Secret(text)) => (Password::from(text.as_str().to_owned()), None),
                None => {
                    let made = Password::generate(app.entropy.as_ref());
                    (made.clone(), Some(made))
                }
            };
            login::reset_password(app, &ctx, &email, new).await?;
            Ok(json!({"email": email, "password": made.as_ref().map(Password::reveal)}))
        }
        Task::KeyNames { brand } => document(&key_manager::names(app, brand.as_ref()).await?),
        Task::PublicKey { brand, key } => Ok(BASE64
            .encode(key_manager::public_der(app, brand.as_ref(), &key).await?)
            .into()),
        Task::Sign {
            brand,
            key,
            mechanism,
            data,
        } => {
            let data = BASE64
                .decode(data)
                .map_err(|_| Refusal::invalid("invalid-request", "cannot sign: the data is not base64"))?;
            let signature = match mechanism {
                Mechanism::RsaPkcs => key_manager::sign_digest(app, brand.as_ref(), &key, &data).await?,
                Mechanism::OpenPgp => key_manager::sign_content(app, brand.as_ref(), &key, &data).await?,
            };
            Ok(BASE64.encode(signature).into())
        }
        Task::FactoryRequest => {
            let (enrolment, bundle) = factory::request(app, &ctx).await?;
            Ok(json!({
                "brand-id": enrolment.brand_id,
                "site": enrolment.site,
                "public-key-sha3-384": enrolment.public_key_sha3_384,
                "bundle": Bundle::from(bundle),
            }))
        }
        Task::FactoryStatus => document(&factory::enrolled(app).await?.record),
        Task::FactoryAccept { bundle, signer } => {
            document(&factory::accept(app, &ctx, &bundle.into(), signer).await?)
        }
        Task::FactoryLog { after } => {
            let log = factory::export(app, &ctx, after).await?;
            Ok(json!({
                "first": log.first,
                "entries": log.entries,
                "more": log.more,
                "bundle": Bundle::from(log.bundle),
            }))
        }
    }
}

async fn status(app: &App) -> Result<Value, Refusal> {
    let record = instance::instance(&app.storage).await?.map(|found| found.record);
    let brands = app.storage.all::<Brand>(Key(Vec::new())).await?;
    Ok(json!({
        "instance-id": record.as_ref().map(|record| &record.id),
        "authority-id": record.as_ref().map(|record| &record.authority_id),
        "root-sha3-384": record.as_ref().map(|record| &record.root_key),
        "created-at": record.as_ref().map(|record| record.created),
        "brands": brands.iter().map(|found| &found.record.id).collect::<Vec<_>>(),
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
    }))
}

fn stream(assertions: &[Assertion]) -> Value {
    let encoded = encode_stream(assertions.iter().map(|assertion| assertion.encoded()));
    String::from_utf8_lossy(&encoded).into()
}

fn document(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value)
        .map_err(|_| Refusal::new(Reason::Internal, "internal-error", "cannot write the answer"))
}

/// What answers on the socket; nothing else may serve it.
pub fn router(app: &App, metrics: Metrics) -> Result<Router, RouteError> {
    let filter = warp::path!("hallmark" / "v1" / "local")
        .and(warp::post())
        .and(with(app.clone()))
        .and(body::up_to(MAX_TASK))
        .then(|app: App, bytes: Bytes| async move {
            match answer(&app, &bytes).await {
                Ok(response) => response,
                Err(fault) => fault.into_response(),
            }
        })
        .boxed();
    let rows = warp::path!("hallmark" / "v1" / "local" / "rows")
        .and(warp::get())
        .and(with(app.clone()))
        .then(|app: App| async move {
            match everything(&app).await {
                Ok(response) => response,
                Err(fault) => fault.into_response(),
            }
        })
        .boxed();
    let mut endpoints = vec![
        Endpoint::post(
            PATH,
            Access::Open,
            "Do something for the owner of the data",
            filter,
        ),
        Endpoint::get(
            ROWS,
            Access::Open,
            "Everything that is stored, as it is now, for the owner of the data",
            rows,
        ),
    ];
    endpoints.extend(bundles::endpoints(app));
    Router::new(endpoints, metrics)
}

/// Every row as a line of JSON. An answer that breaks off is no copy.
async fn everything(app: &App) -> Result<Response, Fault<NativeDialect>> {
    let rows = app.storage.export().await.map_err(Refusal::from)?;
    let lines = rows.map(|piece| {
        let piece = piece.inspect_err(|error| tracing::error!(%error, "a copy broke off"))?;
        let mut lines = Vec::new();
        for row in piece {
            // A row is plain data with string keys: writing it cannot fail.
            lines.extend(serde_json::to_vec(&row).unwrap_or_default());
            lines.push(b'\n');
        }
        Ok::<_, StoreError>(Bytes::from(lines))
    });
    Ok(warp::reply::stream(Lines(Mutex::new(lines.boxed()))).into_response())
}

/// Lines on their way out. Nobody shares them; the lock only says so to the compiler.
struct Lines(Mutex<BoxStream<'static, Result<Bytes, StoreError>>>);

impl Stream for Lines {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let lines = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        lines.poll_next_unpin(cx)
    }
}

async fn answer(app: &App, bytes: &Bytes) -> Result<Response, Fault<NativeDialect>> {
    let task = body::json(bytes)?;
    Ok(reply::json(&perform(app, task).await?))
}
