//! `account`: people who can log in. Making and switching off needs the instance operator.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::login::{ask_secret, new_password};
use super::remote::{Client, native, secret_file};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::ident::{Email, Username};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Create an account; prints its first password once
    Create(Create),
    /// List all accounts
    List(List),
    /// Show one account
    Show(Named),
    /// Switch an account off: it can no longer log in, and its tokens are revoked for good
    Disable(Named),
    /// Switch a disabled account on again
    Enable(Named),
    /// Unbind an account from the provider of log-ins: the next sign-in there with its e-mail address binds it anew
    Unbind(Named),
    /// Make a link that sets a new password, once, within 24 hours; the link before it is void
    ResetPassword(Named),
    /// Change your own password
    Password(Password),
    /// Codes of an authenticator application as a second factor
    #[command(subcommand)]
    Otp(super::otp::Verb),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What the person logs in with
    #[arg(value_parser = Email::normal)]
    email: Email,
    /// Public name; made from the e-mail address when omitted
    #[arg(long, value_name = "NAME")]
    username: Option<Username>,
    /// Name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Take the first password from the first line of this file (- is stdin) instead of making one
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make it an instance operator: creates brands and accounts, reads and verifies the whole audit log
    #[arg(long)]
    operator: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// E-mail address of the account
    #[arg(value_parser = Email::normal)]
    email: Email,
}

#[derive(Debug, Args)]
pub(super) struct Password {
    /// Read the present password from the first line of this file; asked for when omitted
    #[arg(long, value_name = "FILE")]
    current_file: Option<PathBuf>,
    /// Read the new password from the first line of this file; asked for when omitted
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

const ROW: &[Column] = &[
    Column::field("EMAIL", "email"),
    Column::field("USERNAME", "username"),
    Column::field("NAME", "display-name"),
    Column::field("OPERATOR", "operator"),
    Column::field("DISABLED", "disabled"),
    Column::field("CREATED", "created-at"),
];

const CARD: &[Column] = &[
    Column::field("E-mail", "email"),
    Column::field("Username", "username"),
    Column::field("Name", "display-name"),
    Column::field("Account", "id"),
    Column::field("Operator", "operator"),
    Column::field("Disabled", "disabled"),
    Column::field("Second factor", "second-factor"),
    Column::field("Provider", "provider/issuer"),
    Column::field("Provider's name", "provider/subject"),
    Column::field("Created", "created-at"),
    Column::field("Password", "password"),
];

const LINK: &[Column] = &[
    Column::field("E-mail", "email"),
    Column::field("Link", "url"),
    Column::field("Expires", "expires-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::open(&BrandArg::default())?;
        match self {
            Self::Create(create) => create.run(&client, cx).await,
            Self::List(List {}) => cx.out.list(&client.get(&native(&["accounts"]), &[]).await?, ROW),
            Self::Show(Named { email }) => cx.out.item(
                &client.get(&native(&["accounts", email.as_str()]), &[]).await?,
                CARD,
            ),
            Self::Disable(named) => named.switch(&client, cx, "disable").await,
            Self::Enable(named) => named.switch(&client, cx, "enable").await,
            Self::Unbind(Named { email }) => {
                let path = native(&["accounts", email.as_str(), "provider", "unbind"]);
                let account = client.post(&path, &json!({})).await?;
                cx.out.done(
                    &account,
                    &format!("{email} is bound to nobody of the provider any more"),
                )
            }
            Self::ResetPassword(Named { email }) => {
                let path = native(&["accounts", email.as_str(), "reset-password"]);
                let link = client.post(&path, &json!({})).await?;
                cx.out.item(&link, LINK)?;
                cx.out.note(
                    "the link is shown only now; hand it to its owner: who uses it sets the password and ends all log-ins and tokens of the account",
                );
                Ok(())
            }
            Self::Password(password) => password.run(&client, cx).await,
            Self::Otp(verb) => verb.run(&client, cx).await,
        }
    }
}

impl Create {
    async fn run(self, client: &Client, cx: &Cx) -> Result<(), CliError> {
        let password = self.password_file.as_deref().map(secret_file).transpose()?;
        let mut request = json!({"email": self.email, "operator": self.operator});
        if let Some(fields) = request.as_object_mut() {
            fields.extend(self.username.map(|name| ("username".to_owned(), json!(name))));
            fields.extend(
                self.display_name
                    .map(|name| ("display-name".to_owned(), json!(name))),
            );
            fields.extend(password.map(|text| ("password".to_owned(), json!(text.as_str()))));
        }
        let account = client.post(&native(&["accounts"]), &request).await?;
        cx.out.item(&account, CARD)?;
        if account.get("password").is_some_and(Value::is_string) {
            cx.out.note(
                "the password is shown only now; its owner changes it with `hallmark account password`",
            );
        }
        Ok(())
    }
}

impl Named {
    async fn switch(self, client: &Client, cx: &Cx, verb: &str) -> Result<(), CliError> {
        let path = native(&["accounts", self.email.as_str(), verb]);
        let account = client.post(&path, &json!({})).await?;
        cx.out.done(&account, &format!("{verb}d {}", self.email))
    }
}

impl Password {
    async fn run(self, client: &Client, cx: &Cx) -> Result<(), CliError> {
        let current = match &self.current_file {
            Some(path) => secret_file(path)?,
            None => ask_secret("Present password: ", "--current-file")?,
        };
        let new = new_password(self.password_file.as_deref())?;
        let request = json!({"current": current.as_str(), "new": new.as_str()});
        client.put(&native(&["password"]), &request).await?;
        cx.out.done(
            &json!({"changed": true}),
            "password changed; other log-ins of yours have ended",
        )
    }
}
