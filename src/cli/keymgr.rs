//! The external key manager of `snap sign` and its kin (assertions.md 5.3): `SNAPD_EXT_KEYMGR=.../hallmark-keymgr`, a
//! link to this program. It asks the server on the data directory (HALLMARK_DATA), which signs with the keys opened to
//! it; HALLMARK_BRAND chooses a brand, HALLMARK_KEYMGR_SIGNING=OPENPGP lets newer tools send what they want signed
//! instead of its digest.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::local;
use super::open::SettingsArgs;
use super::remote::variable;
use super::{BrandArg, CliError, Cx};
use crate::http::local::{Mechanism, Task};

/// The name under which the program is the key manager.
pub(super) const PROGRAM: &str = "hallmark-keymgr";
/// The largest content that is signed: headers of 128 KiB and a body of 2 MiB.
const MAX_CONTENT: u64 = 128 * 1024 + 2 * 1024 * 1024 + 2;

#[derive(Debug, Args)]
pub(super) struct Keymgr {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    brand: BrandArg,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print what this key manager can do
    Features,
    /// Print the names of the keys opened to it
    KeyNames,
    /// Write a public key to stdout
    GetPublicKey {
        /// Format of the key
        #[arg(short = 'f', value_enum)]
        encoding: Encoding,
        /// Name of the key
        #[arg(short = 'k')]
        key: String,
    },
    /// Sign what stdin gives; writes the signature to stdout
    Sign {
        /// Kind of signature
        #[arg(short = 'm', value_enum)]
        mechanism: Signing,
        /// Name of the key
        #[arg(short = 'k')]
        key: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Encoding {
    #[value(name = "DER")]
    Der,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Signing {
    #[value(name = "RSA-PKCS")]
    RsaPkcs,
    #[value(name = "OPENPGP")]
    OpenPgp,
}

impl Keymgr {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let brand = self.brand.brand.clone();
        match self.verb {
            // The protocol's documents; --format has no say here.
            Verb::Features => document(cx, &json!({"signing": signing()?, "public-keys": ["DER"]})),
            Verb::KeyNames => {
                let names = self.ask(Task::KeyNames { brand }).await?;
                document(cx, &json!({"key-names": names}))
            }
            Verb::GetPublicKey {
                encoding: Encoding::Der,
                ref key,
            } => {
                let key = key.clone();
                bytes(cx, &self.ask(Task::PublicKey { brand, key }).await?)
            }
            Verb::Sign { mechanism, ref key } => {
                let mut content = Vec::new();
                std::io::stdin()
                    .take(MAX_CONTENT + 1)
                    .read_to_end(&mut content)
                    .map_err(|error| CliError::failed("cannot read what to sign", error))?;
                if content.len() as u64 > MAX_CONTENT {
                    return Err(CliError::Failed(format!(
                        "cannot sign: more than {MAX_CONTENT} bytes"
                    )));
                }
                let mechanism = match mechanism {
                    Signing::RsaPkcs => Mechanism::RsaPkcs,
                    Signing::OpenPgp => Mechanism::OpenPgp,
                };
                let data = BASE64.encode(content);
                bytes(
                    cx,
                    &self
                        .ask(Task::Sign {
                            brand,
                            key: key.clone(),
                            mechanism,
                            data,
                        })
                        .await?,
                )
            }
        }
    }

    async fn ask(&self, task: Task) -> Result<Value, CliError> {
        local::perform_beside_server(&self.settings.load_quietly()?, task).await
    }
}

/// What to offer. Tools prefer RSA-PKCS where it is offered, and old ones know nothing else.
fn signing() -> Result<Vec<&'static str>, CliError> {
    match variable("HALLMARK_KEYMGR_SIGNING").as_deref() {
        None => Ok(vec!["RSA-PKCS", "OPENPGP"]),
        Some("RSA-PKCS") => Ok(vec!["RSA-PKCS"]),
        Some("OPENPGP") => Ok(vec!["OPENPGP"]),
        Some(_) => Err(CliError::Usage(
            "cannot use HALLMARK_KEYMGR_SIGNING: RSA-PKCS or OPENPGP is expected".to_owned(),
        )),
    }
}

fn document(cx: &Cx, document: &Value) -> Result<(), CliError> {
    cx.out.data(format!("{document}\n").as_bytes())
}

fn bytes(cx: &Cx, answer: &Value) -> Result<(), CliError> {
    let bytes = answer.as_str().and_then(|text| BASE64.decode(text).ok());
    let bytes = bytes.ok_or_else(|| CliError::Failed("cannot understand the server's answer".to_owned()))?;
    cx.out.data(&bytes)
}
