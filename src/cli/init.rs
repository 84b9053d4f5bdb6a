//! `init`: an instance in an empty directory, or in an empty database.

use std::io::IsTerminal as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use zeroize::Zeroizing;

use super::open::{self, SettingsArgs};
use super::remote::secret_file;
use super::{CliError, Column, Cx};
use crate::adapters::passphrase::Passphrase;
use crate::adapters::seal::new_kdf;
use crate::adapters::system::SystemEntropy;
use crate::app::Password;
use crate::app::instance::{self, NewBrand, NewInstance};
use crate::config::Config;
use crate::domain::ident::{AccountId, BrandId, Email};
use crate::domain::vault::{SigningKey, SiteName};
use crate::ports::KeyMaterial;

#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Account id of the brand: its brand-id in models and serials
    #[arg(long, value_name = "ID")]
    brand: BrandId,
    /// Name of the brand for people; the id when omitted
    #[arg(long, value_name = "TEXT")]
    brand_name: Option<String>,
    /// Account id of the trust root; hallmark- and 8 random letters when omitted
    #[arg(long, value_name = "ID")]
    authority: Option<AccountId>,
    /// Take the root key from this file (PEM or armoured OpenPGP, RSA, 2048 bits or more) instead of making one
    #[arg(long, value_name = "FILE")]
    authority_key: Option<PathBuf>,
    /// Read the passphrase of an OpenPGP root key from the first line of this file
    #[arg(long, value_name = "FILE", requires = "authority_key")]
    authority_key_passphrase_file: Option<PathBuf>,
    /// Another root signs the brand's account and keys (stock snapd): import those assertions later
    #[arg(long)]
    delegated: bool,
    /// A factory box for this site of the brand: it signs serials offline, within what the centre grants
    /// (`hallmark factory request`)
    #[arg(long, value_name = "SITE", conflicts_with_all = ["delegated", "authority_key"])]
    factory: Option<SiteName>,
    /// E-mail address of the first administrator; admin@BRAND.example when omitted
    #[arg(long, value_name = "EMAIL", value_parser = Email::normal)]
    admin_email: Option<Email>,
    /// Take their password from the first line of this file (- is stdin) instead of making one
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
}

const CARD: &[Column] = &[
    Column::field("Data", "data"),
    Column::field("Authority", "authority-id"),
    Column::field("Root key", "root-sha3-384"),
    Column::field("Brand", "brand-id"),
    Column::field("Base store", "base-store"),
    Column::field("Keys", "keys"),
    Column::field("Factory site", "factory"),
    Column::field("Administrator", "admin-email"),
    Column::field("Password", "admin-password"),
    Column::field("Passphrase file", "passphrase-file"),
];

impl Init {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let config = self.settings.load_quietly()?;
        let (password, made) = self.password()?;
        let root = self.root()?;
        let email = self.email()?;
        let root = self.create(cx, &config, &email, password, root).await?;
        let keys = match &self.factory {
            Some(site) => vec![site.key_name().to_string()],
            None => ["model", "serial", "system-user"].map(str::to_owned).to_vec(),
        };
        let card = json!({
            "data": config.data(),
            "factory": self.factory,
            "authority-id": root.account_id,
            "root-sha3-384": root.key_id,
            "brand-id": self.brand,
            "base-store": self.brand,
            "keys": keys,
            "admin-email": email,
            "admin-password": made.as_ref().map(|text| text.as_str()),
            "passphrase-file": config.passphrase_file(),
        });
        cx.out.item(&card, CARD)?;
        if made.is_some() {
            cx.out
                .note("the password is shown only now; change it with `hallmark account password`");
        }
        Ok(())
    }

    /// Makes the instance; its root key.
    async fn create(
        &self,
        cx: &Cx,
        config: &Config,
        email: &Email,
        password: Password,
        root: Option<KeyMaterial>,
    ) -> Result<SigningKey, CliError> {
        make_directory(config.data())?;
        let storage = open::new_storage(config).await?;
        let done = async {
            if instance::instance(&storage).await?.is_some() {
                let data = config.data().display();
                return Err(CliError::Failed(format!(
                    "cannot initialise {data}: it is initialised already"
                )));
            }
            let passphrase = passphrase(config, cx)?;
            let kdf = new_kdf().map_err(|e| CliError::Failed(e.to_string()))?;
            let seal = open::derive(passphrase, &kdf).await?;
            let parts = open::parts(config, storage.clone(), seal, config.public_url(None))?;
            let new = NewInstance {
                authority: self.authority.clone(),
                root,
                brand: NewBrand {
                    id: self.brand.clone(),
                    name: self.brand_name.clone(),
                    delegated: self.delegated,
                    admin: None,
                    factory: self.factory.clone(),
                },
                admin_email: email.clone(),
                admin_password: password,
                kdf,
            };
            let progress = Progress::start();
            let app = instance::create(parts, new, &|key| progress.ready(key)).await;
            progress.end();
            Ok(instance::root(&app?).await?)
        };
        let root = done.await;
        let closed = storage.close().await;
        let root = root?;
        closed?;
        Ok(root)
    }

    /// The administrator's password; its text too, if it was made here.
    fn password(&self) -> Result<(Password, Option<Zeroizing<String>>), CliError> {
        match &self.admin_password_file {
            Some(path) => {
                let password = Password::from(secret_file(path)?.to_string());
                password.check_new()?;
                Ok((password, None))
            }
            None => {
                let password = Password::generate(&SystemEntropy::default());
                let text = Zeroizing::new(password.reveal().to_owned());
                Ok((password, Some(text)))
            }
        }
    }

    fn root(&self) -> Result<Option<KeyMaterial>, CliError> {
        let Some(path) = &self.authority_key else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::failed(format!("cannot read {}", path.display()), error))?;
        let passphrase = self
            .authority_key_passphrase_file
            .as_deref()
            .map(secret_file)
            .transpose()?;
        Ok(Some(KeyMaterial::from_text(Zeroizing::new(text), passphrase)))
    }

    fn email(&self) -> Result<Email, CliError> {
        match &self.admin_email {
            Some(email) => Ok(email.clone()),
            None => format!("admin@{}.example", self.brand.as_str().to_ascii_lowercase())
                .parse()
                .map_err(|error| {
                    CliError::failed("cannot make up an e-mail address (use --admin-email)", error)
                }),
        }
    }
}

/// Who can log in to a new instance.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) email: Email,
    pub(super) password: Zeroizing<String>,
}

/// For `quickstart`: an instance for `brand` with all defaults; none if one is there already.
pub(super) async fn unless_there(
    cx: &Cx,
    config: &Config,
    brand: &BrandId,
) -> Result<Option<Made>, CliError> {
    make_directory(config.data())?;
    let storage = open::new_storage(config).await?;
    let there = instance::instance(&storage).await;
    storage.close().await?;
    if there?.is_some() {
        return Ok(None);
    }
    let init = Init {
        settings: SettingsArgs::default(),
        brand: brand.clone(),
        brand_name: None,
        authority: None,
        authority_key: None,
        authority_key_passphrase_file: None,
        delegated: false,
        factory: None,
        admin_email: None,
        admin_password_file: None,
    };
    let email = init.email()?;
    let password = Password::generate(&SystemEntropy::default());
    let text = Zeroizing::new(password.reveal().to_owned());
    init.create(cx, config, &email, password, None).await?;
    Ok(Some(Made {
        email,
        password: text,
    }))
}

/// Only the owner may look inside. The names of what was made are on the disk afterwards: an instance must not go with
/// the directory it is in.
pub(super) fn make_directory(data: &Path) -> Result<(), CliError> {
    let new: Vec<&Path> = data
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .and_then(|()| {
            new.iter().try_for_each(|path| {
                let above = path.parent().filter(|above| !above.as_os_str().is_empty());
                std::fs::File::open(above.unwrap_or(Path::new(".")))?.sync_all()
            })
        })
        .map_err(|error| {
            CliError::failed(
                format!("cannot make the data directory {}", data.display()),
                error,
            )
        })
}

/// The configured passphrase; else that of the data directory, made if it is not there.
fn passphrase(config: &Config, cx: &Cx) -> Result<Passphrase, CliError> {
    let path = config.passphrase_file();
    let failed = |error: crate::adapters::passphrase::PassphraseError| CliError::Failed(error.to_string());
    let configured = config.key_passphrase_file.value.0.is_some();
    if configured || path.exists() {
        let passphrase = Passphrase::read(&path).map_err(failed)?;
        if passphrase.exposed {
            cx.out.warn(&format!(
                "others than you may read the passphrase file {}",
                path.display()
            ));
        }
        return Ok(passphrase);
    }
    let passphrase = Passphrase::generate(&path).map_err(failed)?;
    cx.out.warn(&format!(
        "made the passphrase file {}: it unseals every private key. Leave it out of backups, and KEEP A COPY elsewhere: \
         without it all keys are lost. Who has it and the data can sign in your name; better keep it on another disk \
         and name it with HALLMARK_KEY_PASSPHRASE_FILE",
        path.display()
    ));
    Ok(passphrase)
}

/// A line on a terminal while the keys are made; elsewhere nothing.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn start() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(Some(4), ProgressDrawTarget::stderr());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} making RSA-4096 keys: {pos} of {len} {msg}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Some(bar))
    }

    fn ready(&self, key: &str) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
            bar.set_message(format!("({key})"));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
