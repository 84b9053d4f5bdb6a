//! The command line. One file per noun: arguments, the call (local use case or remote request), the view.
//! Data goes to stdout, everything else to stderr; exit status 0 done, 1 refused or failed, 2 usage,
//! 3 server not reachable; a closed pipe is success.

mod device;
mod error;
mod fleet;
mod group;
mod hardware;
mod help;
pub mod output;
pub mod remote;

mod account;
mod assertion;
mod assertion_stock;
mod assertion_verify;
mod audit;
mod audit_export;
mod backup;
mod bench;
mod brand;
mod bundle;
mod completions;
mod config;
mod factory;
mod init;
mod issuing;
mod judging;
mod key;
mod key_roll;
mod keymgr;
pub mod line;
mod local;
mod login;
mod member;
mod model;
pub mod moment;
pub mod open;
mod otp;
mod owner;
mod passphrase;
mod quickstart;
mod quickstart_store;
mod remodel;
mod serial;
mod serve;
mod service_manager;
mod snap;
mod store;
mod store_connect;
mod system_user;
mod token;
mod validation_set;
mod wave;

pub use error::CliError;
pub use output::{Column, Format, Output};

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, FromArgMatches as _, Parser, Subcommand};

use crate::domain::ident::BrandId;

/// Open brand store and serial vault for snap devices
#[derive(Debug, Parser)]
#[command(name = "hallmark", version)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Print results as table, or as json: one document with stable field names
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a new instance, an example model and a simulated factory line, then keep serving
    Quickstart(quickstart::Quickstart),
    /// Measure this machine
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Make an instance: trust root, brand, keys, first administrator
    Init(init::Init),
    /// Serve everything on one address
    Serve(serve::Serve),
    /// The effective settings
    #[command(subcommand)]
    Config(config::Verb),
    /// Log in to a server and keep the token for later commands
    Login(login::Login),
    /// Forget the log-in, here and on the server
    Logout(login::Logout),
    /// Show who is logged in, and with which roles
    Whoami(login::Whoami),
    /// People who can log in
    #[command(subcommand)]
    Account(account::Verb),
    /// The brands of a server
    #[command(subcommand)]
    Brand(brand::Verb),
    /// The stores of a brand
    #[command(subcommand)]
    Store(store::Verb),
    /// Who has which role in a store
    #[command(subcommand)]
    Member(member::Verb),
    /// Signing keys of a brand
    #[command(subcommand)]
    Key(key::Verb),
    /// API tokens for programs
    #[command(subcommand)]
    Token(token::Verb),
    /// Assertions: the signed documents of devices, models and snaps
    #[command(subcommand)]
    Assertion(assertion::Verb),
    /// Who did what, and whether the record of it is whole
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Snaps: upload, release, declare
    #[command(subcommand)]
    Snap(snap::Verb),
    /// Which revisions of which snaps go together
    #[command(subcommand)]
    ValidationSet(validation_set::Verb),
    /// Models the vault serves
    #[command(subcommand)]
    Model(model::Verb),
    /// Serials: the signing log, allow-lists, re-issue policies, approvals
    #[command(subcommand)]
    Serial(serial::Verb),
    /// Devices and what they last reported
    #[command(subcommand)]
    Device(device::Verb),
    /// Groups of devices
    #[command(subcommand)]
    Group(group::Verb),
    /// Waves: the next revisions of production devices, let out step by step
    #[command(subcommand, alias = "waves")]
    Wave(wave::Verb),
    /// Factory sites: boxes that sign serials offline
    #[command(subcommand)]
    Factory(factory::Verb),
    /// Which devices may become another model
    #[command(subcommand)]
    Remodel(remodel::Verb),
    /// Log-ins on devices
    #[command(subcommand)]
    SystemUser(system_user::Verb),
    /// Show what the data directory holds, and whether a server runs on it
    Status(owner::Status),
    /// The root of trust
    #[command(subcommand)]
    Trust(owner::Trust),
    /// Check all that is stored: database, signatures, keys
    Doctor(owner::Doctor),
    /// Copy everything into one file, also while the server runs
    Backup(backup::Backup),
    /// Make an instance of a backup
    Restore(backup::Restore),
    /// Move to another database engine
    Migrate(backup::Migrate),
    /// Write a signed bundle for an instance without a connection to this one
    #[command(subcommand)]
    Export(bundle::Export),
    /// Take in a bundle that another instance exported
    Import(bundle::Import),
    /// Set somebody's password
    Passwd(owner::Passwd),
    /// What seals the private keys
    #[command(subcommand)]
    Passphrase(passphrase::Verb),
    /// Be the external key manager of `snap sign`; see also the name hallmark-keymgr
    Keymgr(keymgr::Keymgr),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Write the manual pages
    Man(completions::Man),
}

/// The groups of `hallmark --help`, in order. Every visible command stands in exactly one (tested).
const GROUPS: &[(&str, &[&str])] = &[
    (
        "The server",
        &[
            "quickstart",
            "init",
            "serve",
            "config",
            "status",
            "doctor",
            "trust",
            "passwd",
            "passphrase",
            "backup",
            "restore",
            "migrate",
            "export",
            "import",
        ],
    ),
    (
        "People and rights",
        &[
            "login", "logout", "whoami", "account", "brand", "store", "member", "token", "audit",
        ],
    ),
    ("Keys and assertions", &["key", "keymgr", "assertion"]),
    ("Store", &["snap", "validation-set"]),
    ("Update control", &["device", "group", "wave"]),
    ("Vault", &["model", "serial", "factory", "remodel", "system-user"]),
    ("This program", &["bench", "completions", "man"]),
];

impl Command {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Quickstart(command) => command.run(cx).await,
            Self::Init(command) => command.run(cx).await,
            Self::Bench(verb) => verb.run(cx).await,
            Self::Status(command) => command.run(cx).await,
            Self::Trust(verb) => verb.run(cx).await,
            Self::Doctor(command) => command.run(cx).await,
            Self::Backup(command) => command.run(cx).await,
            Self::Restore(command) => command.run(cx).await,
            Self::Migrate(command) => command.run(cx).await,
            Self::Export(verb) => verb.run(cx).await,
            Self::Import(command) => command.run(cx).await,
            Self::Passwd(command) => command.run(cx).await,
            Self::Passphrase(verb) => verb.run(cx).await,
            Self::Keymgr(command) => command.run(cx).await,
            Self::Serve(command) => command.run(cx).await,
            Self::Config(verb) => verb.run(cx),
            Self::Login(command) => command.run(cx).await,
            Self::Logout(command) => command.run(cx).await,
            Self::Whoami(command) => command.run(cx).await,
            Self::Account(verb) => verb.run(cx).await,
            Self::Brand(verb) => verb.run(cx).await,
            Self::Store(verb) => verb.run(cx).await,
            Self::Member(verb) => verb.run(cx).await,
            Self::Key(verb) => verb.run(cx).await,
            Self::Token(verb) => verb.run(cx).await,
            Self::Assertion(verb) => verb.run(cx).await,
            Self::Audit(verb) => verb.run(cx).await,
            Self::Snap(verb) => verb.run(cx).await,
            Self::ValidationSet(verb) => verb.run(cx).await,
            Self::Model(verb) => verb.run(cx).await,
            Self::Serial(verb) => verb.run(cx).await,
            Self::Device(verb) => verb.run(cx).await,
            Self::Group(verb) => verb.run(cx).await,
            Self::Wave(verb) => verb.run(cx).await,
            Self::Factory(verb) => verb.run(cx).await,
            Self::Remodel(verb) => verb.run(cx).await,
            Self::SystemUser(verb) => verb.run(cx).await,
            Self::Completions(command) => command.run(cx),
            Self::Man(command) => command.run(cx),
        }
    }
}

/// What every verb works with.
#[derive(Debug)]
pub struct Cx {
    /// Where results and messages go.
    pub out: Output,
}

/// Which data directory a local command works on.
#[derive(Clone, Debug, Args)]
pub struct DataArg {
    /// Data directory
    #[arg(
        long,
        env = "HALLMARK_DATA",
        value_name = "DIR",
        default_value = "./hallmark-data"
    )]
    pub data: PathBuf,
}

/// Which brand a remote command is for.
#[derive(Clone, Debug, Default, Args)]
pub struct BrandArg {
    /// Brand to act for; needed only where the server has several
    #[arg(long, env = "HALLMARK_BRAND", value_name = "ID")]
    pub brand: Option<BrandId>,
}

/// As `hallmark-keymgr` the program is the external key manager, whatever follows.
fn under_our_name(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == keymgr::PROGRAM) {
        arguments.insert(1, "keymgr".into());
    }
    arguments
}

/// Runs the command line `arguments` (the first is the program's name) and says how the process ends.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match help::command()
        .try_get_matches_from(under_our_name(arguments))
        .and_then(|m| Cli::from_arg_matches(&m))
    {
        Ok(cli) => cli,
        Err(error) => {
            let _closed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let cx = Cx {
        out: Output::standard(cli.format),
    };
    let result = guarded(
        || match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(cli.command.run(&cx)),
            Err(error) => Err(CliError::failed("cannot start", error)),
        },
    );
    let result = result.and_then(|()| cx.out.finish());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(message) = error.message() {
                cx.out.error(message);
            }
            ExitCode::from(error.status())
        }
    }
}

/// A fault of ours ends with status 1 like any failure (decisions.md 14); the panic's own text is on stderr already.
fn guarded(work: impl FnOnce() -> Result<(), CliError>) -> Result<(), CliError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(CliError::Failed(
            "cannot go on: an internal error, which should be reported".to_owned(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_is_status_one() {
        assert_eq!(guarded(|| panic!("on purpose")).unwrap_err().status(), 1);
        assert_eq!(guarded(|| Err(CliError::Closed)).unwrap_err().status(), 0);
    }
}
