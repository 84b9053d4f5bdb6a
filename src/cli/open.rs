//! From settings to a running application: the only place that picks adapters and wires them to ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::remote::secret_file;
use super::{CliError, hardware};
use crate::adapters::blobs_file::FileBlobs;
#[cfg(feature = "s3")]
use crate::adapters::blobs_s3::{S3Blobs, S3Options};
use crate::adapters::oidc::{Oidc, OidcOptions};
use crate::adapters::passphrase::{NEXT, Passphrase, PassphraseError};
use crate::adapters::seal::MasterKey;
use crate::adapters::sled::{Sled, SledOptions};
use crate::adapters::smtp::{Protection, Smtp, SmtpOptions};
use crate::adapters::softkey::{DEFAULT_QUEUE, SoftKeys};
use crate::adapters::squashfs::Squashfs;
use crate::adapters::system::{SystemClock, SystemEntropy};
use crate::adapters::vcdiff::Vcdiff;
use crate::adapters::webhook::Webhook;
use crate::app::fleet::Hook;
use crate::app::instance::{self, Parts};
use crate::app::mail::Post;
use crate::app::provider::Provider;
use crate::app::{App, ReadLimits, Settings};
#[cfg(feature = "s3")]
use crate::config::Downloads;
use crate::config::{
    BlobsUrl, BucketUrl, Config, ConfigError, DatabaseUrl, Flags, LogFilter, MailSecurity, Source,
};
use crate::domain::assertion::Limits;
use crate::domain::vault::{Instance, Kdf};
use crate::http::local::SOCKET;
use crate::ports::{Blobs, Clock, Seal, SealLabel, Storage};
use crate::telemetry;

/// Longest life of a presigned address, in seconds (S3's own limit).
#[cfg(feature = "s3")]
const LONGEST_LINK: u32 = 7 * 24 * 3600;

/// Where a local command finds its settings.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArgs {
    /// Data directory [env: HALLMARK_DATA] [default: ./hallmark-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Settings file; else hallmark.yaml of the working directory, else that of the data directory
    #[arg(long, value_name = "FILE", env = "HALLMARK_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Accept the throw-away keys that ship with the project: never in production
    #[arg(long)]
    pub dev: bool,
}

impl SettingsArgs {
    /// The effective settings; `more` are further flags of the command, by setting name.
    pub fn load(
        &self,
        more: impl IntoIterator<Item = (&'static str, Option<String>)>,
    ) -> Result<Config, CliError> {
        let own = [
            ("data", self.data.clone()),
            ("dev", self.dev.then(|| "true".to_owned())),
        ];
        let flags: Flags = own
            .into_iter()
            .chain(more)
            .filter_map(|(name, value)| value.map(|value| (name, value)))
            .collect();
        let environment = |name: &str| std::env::var(name).ok();
        Config::load(self.config.as_deref(), &flags, &environment).map_err(|error| match &error {
            ConfigError::Value { origin, .. } if origin.starts_with("--") => {
                CliError::Usage(error.to_string())
            }
            ConfigError::Value { .. }
            | ConfigError::Read { .. }
            | ConfigError::File { .. }
            | ConfigError::TooLarge { .. } => CliError::Failed(error.to_string()),
        })
    }

    /// The effective settings of a command that does one thing and ends: its log is warnings, unless asked for more.
    pub fn load_quietly(&self) -> Result<Config, CliError> {
        let config = self.load([])?;
        let quiet = config.log.source == Source::Default;
        let filter = if quiet {
            "warn".parse::<LogFilter>().ok()
        } else {
            None
        };
        telemetry::start(
            filter.as_ref().unwrap_or(&config.log.value),
            config.log_format.value,
        );
        Ok(config)
    }
}

/// The storage the settings name. An embedded database is only opened, never made.
pub async fn storage(config: &Config) -> Result<Arc<dyn Storage>, CliError> {
    match config.database() {
        DatabaseUrl::Sled(dir) if !dir.is_dir() => Err(uninitialised(config)),
        url => database(&url, Some(config.data().join(SOCKET)), false).await,
    }
}

/// The storage the settings name, made if it is not there.
pub async fn new_storage(config: &Config) -> Result<Arc<dyn Storage>, CliError> {
    database(&config.database(), Some(config.data().join(SOCKET)), true).await
}

/// The database at `url`. `socket` is where its server would answer; an embedded one is made only if `make` says so.
pub async fn database(
    url: &DatabaseUrl,
    socket: Option<PathBuf>,
    make: bool,
) -> Result<Arc<dyn Storage>, CliError> {
    match url {
        DatabaseUrl::Sled(dir) if make || dir.is_dir() => embedded(dir, socket).await,
        DatabaseUrl::Sled(dir) => Err(CliError::failed(
            format!("cannot open {}", dir.display()),
            "there is no database",
        )),
        DatabaseUrl::Postgres(url) => postgres(url).await,
    }
}

async fn embedded(dir: &Path, socket: Option<PathBuf>) -> Result<Arc<dyn Storage>, CliError> {
    let mut options = SledOptions::new(dir);
    options.socket = socket;
    let opened = tokio::task::spawn_blocking(move || Sled::open(&options)).await;
    match opened {
        Ok(Ok(storage)) => Ok(Arc::new(storage)),
        Ok(Err(error)) => Err(CliError::Failed(error.to_string())),
        Err(error) => Err(CliError::failed("cannot open the database", error)),
    }
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str) -> Result<Arc<dyn Storage>, CliError> {
    Ok(Arc::new(crate::adapters::postgres::Postgres::open(url).await?))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_url: &str) -> Result<Arc<dyn Storage>, CliError> {
    Err(CliError::Failed(
        "cannot open a PostgreSQL database: this build has no support for it".to_owned(),
    ))
}

/// What says that `hallmark init` has to run first.
pub fn uninitialised(config: &Config) -> CliError {
    let data = config.data().display();
    CliError::failed(
        format!("cannot open {data}"),
        format!("it is not initialised; run `hallmark init --data {data} --brand ID` first"),
    )
}

/// The seal of an instance: reads the passphrase and derives the master key. A rotation that was cut short is finished.
pub async fn seal(config: &Config, record: &Instance) -> Result<Arc<dyn Seal>, CliError> {
    let failed = |error: PassphraseError| CliError::Failed(error.to_string());
    let path = config.passphrase_file();
    let passphrase = Passphrase::read(&path).map_err(failed)?;
    if passphrase.exposed {
        tracing::warn!(file = %path.display(), "others than the owner may read the passphrase file");
    }
    let seal = derive(passphrase, &record.kdf).await?;
    let opens = |seal: &Arc<dyn Seal>| {
        seal.open(&SealLabel::secrets(&record.id), &record.secrets)
            .is_ok()
    };
    let next = config.data().join(NEXT);
    if config.key_passphrase_file.value.0.is_none() && !opens(&seal) && next.exists() {
        let newer = derive(Passphrase::read(&next).map_err(failed)?, &record.kdf).await?;
        if opens(&newer) {
            Passphrase::read(&next)
                .and_then(|next| next.replace(&path))
                .map_err(failed)?;
            return Ok(newer);
        }
    }
    Ok(seal)
}

/// Derives a master key, off the event loop.
pub async fn derive(passphrase: Passphrase, kdf: &Kdf) -> Result<Arc<dyn Seal>, CliError> {
    let kdf = kdf.clone();
    let derived = tokio::task::spawn_blocking(move || MasterKey::derive(passphrase.bytes(), &kdf)).await;
    match derived {
        Ok(Ok(key)) => Ok(Arc::new(key)),
        Ok(Err(error)) => Err(CliError::Failed(error.to_string())),
        Err(error) => Err(CliError::failed("cannot derive the master key", error)),
    }
}

/// The store of files that the settings name, made if it is not there.
pub(super) fn blobs(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Blobs>, CliError> {
    match config.blobs() {
        BlobsUrl::File(dir) => {
            let opened = FileBlobs::open(&dir, Arc::clone(clock));
            let blobs =
                opened.map_err(|error| CliError::failed(format!("cannot use {}", dir.display()), error))?;
            Ok(Arc::new(blobs))
        }
        BlobsUrl::S3(url) => bucket(config, &url, clock),
    }
}

/// The bucket at `url`; incoming files are staged in the data directory. Nothing is asked of it yet.
#[cfg(feature = "s3")]
fn bucket(config: &Config, url: &BucketUrl, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Blobs>, CliError> {
    let failed = |error| CliError::failed(format!("cannot use the bucket {}", url.bucket), error);
    let life = config.blobs_link_life.value;
    if life.0 > LONGEST_LINK {
        return Err(CliError::Failed(format!(
            "cannot use blobs-link-life: {life} is longer than the week that buckets allow"
        )));
    }
    let incoming = config.data().join("incoming");
    let local = FileBlobs::open(&incoming, Arc::clone(clock))
        .map_err(|error| CliError::failed(format!("cannot use {}", incoming.display()), error))?;
    let options = S3Options {
        bucket: url.bucket.clone(),
        prefix: url.prefix.clone(),
        endpoint: url.endpoint.clone(),
        region: url.region.clone(),
        path_style: url.path_style,
        credentials: config
            .blobs_credentials_file
            .value
            .0
            .as_ref()
            .map(|file| file.0.clone()),
        links: (config.blobs_downloads.value == Downloads::Presigned).then(|| life.duration()),
        patience: S3Options::PATIENCE,
        persistence: S3Options::PERSISTENCE,
        slowest: S3Options::SLOWEST,
    };
    let blobs = S3Blobs::open(&options, Arc::clone(clock), Arc::new(local)).map_err(failed)?;
    Ok(Arc::new(blobs))
}

#[cfg(not(feature = "s3"))]
fn bucket(_config: &Config, url: &BucketUrl, _clock: &Arc<dyn Clock>) -> Result<Arc<dyn Blobs>, CliError> {
    Err(CliError::Failed(format!(
        "cannot use the bucket {}: this build has no support for it; set blobs-url to file:DIR",
        url.bucket
    )))
}

/// The adapters of an instance on `storage`.
pub fn parts(
    config: &Config,
    storage: Arc<dyn Storage>,
    seal: Arc<dyn Seal>,
    public_url: String,
) -> Result<Parts, CliError> {
    let threads = match config.signer_threads.value.0 {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let queue = match config.signer_queue.value.0 {
        0 => DEFAULT_QUEUE,
        queue => queue,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let software = SoftKeys::with_pool(Arc::clone(&seal), threads, queue)
        .map_err(|e| CliError::failed("cannot start the signer", e))?;
    Ok(Parts {
        storage,
        signer: hardware::signer(config, queue, &seal, Arc::new(software))?,
        blobs: blobs(config, &clock)?,
        snap_files: Arc::new(Squashfs::default()),
        deltas: Arc::new(Vcdiff),
        seal,
        clock,
        entropy: Arc::new(SystemEntropy::default()),
        provider: None,
        post: None,
        hook: None,
        settings: Arc::new(Settings {
            public_url,
            request_id_life: config.request_id_life.value.0.into(),
            limits: ReadLimits {
                assertion: Limits {
                    headers: config.assertion_headers_limit.value.0,
                    body: config.assertion_body_limit.value.0,
                    signature: config.assertion_signature_limit.value.0,
                },
                json: config.json_limit.value.0,
                session: config.session_limit.value.0,
                refresh: config.refresh_limit.value.0,
                snap: config.snap_limit.value.0,
                delta: u64::try_from(config.delta_limit.value.0).unwrap_or(u64::MAX),
            },
            require_second_factor: config.require_second_factor.value.0,
            dev: config.dev.value.0,
        }),
    })
}

/// The provider of log-ins that the settings name. It is not asked before somebody wants to sign in.
fn provider(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Provider>, CliError> {
    let Some(issuer) = &config.oidc_issuer.value.0 else {
        return Ok(None);
    };
    let client_id = config.oidc_client_id.value.0.as_ref().ok_or_else(|| {
        CliError::Failed(format!(
            "cannot sign people in with {}: set oidc-client-id (HALLMARK_OIDC_CLIENT_ID) too",
            issuer.as_str()
        ))
    })?;
    let secret = config.oidc_client_secret_file.value.0.as_ref();
    let options = OidcOptions {
        issuer: issuer.as_str().to_owned(),
        client_id: client_id.0.clone(),
        client_secret: secret.map(|file| secret_file(&file.0)).transpose()?,
        scopes: config.oidc_scopes.value.0.clone(),
        label: config.provider_name(),
        email_claim: config.oidc_email_claim.value.0.clone(),
        trust_email: config.oidc_trust_email.value.0,
    };
    let door = Oidc::new(options, Arc::clone(clock)).map_err(|error| {
        CliError::failed(format!("cannot sign people in with {}", issuer.as_str()), error)
    })?;
    Ok(Some(Provider {
        door: Arc::new(door),
        opens_accounts: config.oidc_open_accounts.value.0,
    }))
}

/// The mail server that the settings name. It is not connected to before there is a letter.
fn post(config: &Config, public_url: &str) -> Result<Option<Post>, CliError> {
    let Some(host) = &config.smtp_host.value.0 else {
        return Ok(None);
    };
    let cannot = |why: &str| CliError::Failed(format!("cannot send mail by {}: {why}", host.as_str()));
    let security = config.smtp_security.value;
    let from = config.smtp_from.value.0.as_ref();
    let from = from.ok_or_else(|| cannot("set smtp-from (HALLMARK_SMTP_FROM) too"))?;
    let login = match (&config.smtp_user.value.0, &config.smtp_password_file.value.0) {
        (Some(user), Some(file)) => Some((user.0.clone(), secret_file(&file.0)?)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(cannot("set both smtp-user and smtp-password-file, or neither"));
        }
    };
    if login.is_some() && security == MailSecurity::None && !host.is_here() {
        return Err(cannot(
            "the password would go over an open connection; set smtp-security to starttls or tls",
        ));
    }
    let options = SmtpOptions {
        host: host.as_str().to_owned(),
        port: config.mail_port(),
        protection: match security {
            MailSecurity::StartTls => Protection::StartTls,
            MailSecurity::Tls => Protection::Tls,
            MailSecurity::None => Protection::None,
        },
        login,
        from: from.0.clone(),
        own_name: host_of(public_url),
    };
    let mailer = Smtp::new(options).map_err(|error| cannot(&error.to_string()))?;
    Ok(Some(Post::new(Arc::new(mailer))))
}

/// Who is told what happens to waves.
fn hook(config: &Config) -> Result<Option<Hook>, CliError> {
    let (url, secret) = (&config.webhook_url.value.0, &config.webhook_secret_file.value.0);
    let (url, secret) = match (url, secret) {
        (None, None) => return Ok(None),
        (Some(url), Some(secret)) => (url, secret),
        (Some(_), None) | (None, Some(_)) => {
            return Err(CliError::Failed(
                "cannot tell the webhook what happens to waves: set both webhook-url and webhook-secret-file, or neither"
                    .to_owned(),
            ));
        }
    };
    let webhook = Webhook::new(url.as_str().to_owned())
        .map_err(|error| CliError::failed("cannot set the webhook up", error.without_url()))?;
    Ok(Some(Hook::new(Arc::new(webhook), secret_file(&secret.0)?)))
}

/// The host in the address of this server.
pub(super) fn host_of(public_url: &str) -> String {
    let url = url::Url::parse(public_url).ok();
    let host = url.as_ref().and_then(url::Url::host_str);
    host.unwrap_or("localhost").to_owned()
}

/// Opens the instance the settings name. `bound` is the address it listens on, if it does.
pub async fn app(config: &Config, bound: Option<SocketAddr>) -> Result<App, CliError> {
    let storage = storage(config).await?;
    let Some(record) = instance::instance(&storage).await? else {
        return Err(uninitialised(config));
    };
    let seal = seal(config, &record.record).await?;
    let mut parts = parts(config, storage, seal, config.public_url(bound))?;
    if bound.is_some() {
        parts.provider = provider(config, &parts.clock)?;
        parts.post = post(config, &parts.settings.public_url)?;
        parts.hook = hook(config)?;
    }
    Ok(instance::open(parts).await?)
}
