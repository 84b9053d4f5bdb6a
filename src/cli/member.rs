//! `member`: who has which role in a store, and who was invited into it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::login::{ask_secret, new_password};
use super::output::Format;
use super::remote::{Client, native, secret_file};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::access::Role;
use crate::domain::ident::{Email, StoreId, Username};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Give an account these roles in a store, in place of those it had
    Add(Add),
    /// Take all roles in a store away from an account
    Remove(Remove),
    /// List the members of a store
    List(List),
    /// Invite somebody who may have no account yet; prints the text that accepts it, once
    Invite(Invite),
    /// List who was invited into a store
    Invites(List),
    /// Make a new text for a pending invite, good for another 30 days
    ResendInvite(Invited),
    /// Take an invite back
    RevokeInvite(Invited),
    /// Make an expired or revoked invite good again
    OpenInvite(Invited),
    /// Accept an invite; needs no log-in
    Accept(Accept),
}

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// The store
    store: StoreId,
    /// Who is invited
    #[arg(value_parser = Email::normal)]
    email: Email,
    /// Roles, separated by commas: administrator, publisher, reviewer, viewer
    #[arg(long = "role", required = true, value_delimiter = ',', value_name = "ROLES")]
    roles: Vec<Role>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Invited {
    /// The store
    store: StoreId,
    /// Who was invited
    #[arg(value_parser = Email::normal)]
    email: Email,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Accept {
    /// Read the text of the invite from the first line of this file (- is stdin)
    #[arg(value_name = "FILE")]
    invite_file: PathBuf,
    /// The server, e.g. https://store.acme.example
    #[arg(long, env = "HALLMARK_SERVER", value_name = "URL")]
    server: String,
    /// Read the password of your new account from the first line of this file; asked for when it is needed
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Public name of your new account; made from the e-mail address when omitted
    #[arg(long, value_name = "NAME")]
    username: Option<Username>,
    /// Name for people of your new account
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The store; roles in a brand's base store hold for the whole brand
    store: StoreId,
    /// The account
    #[arg(value_parser = Email::normal)]
    email: Email,
    /// Roles, separated by commas: administrator, publisher, reviewer, viewer, brand
    #[arg(long = "role", required = true, value_delimiter = ',', value_name = "ROLES")]
    roles: Vec<Role>,
    /// It is meant that who acts for the brand account is administrator, reviewer or viewer too
    #[arg(long)]
    confirm_brand_account: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The store
    store: StoreId,
    /// The account
    #[arg(value_parser = Email::normal)]
    email: Email,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The store
    store: StoreId,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("EMAIL", "email"),
    Column::field("USERNAME", "username"),
    Column::field("NAME", "display-name"),
    Column::with("ROLES", |row| labels(row.get("roles"))),
    Column::field("SINCE", "changed-at"),
];

const INVITE_ROW: &[Column] = &[
    Column::field("EMAIL", "email"),
    Column::with("ROLES", |row| labels(row.get("roles"))),
    Column::field("STATUS", "status"),
    Column::field("EXPIRES", "expires-at"),
];

const SENT: &[Column] = &[
    Column::field("E-mail", "email"),
    Column::field("Store", "store-id"),
    Column::with("Roles", |row| labels(row.get("roles"))),
    Column::field("Status", "status"),
    Column::field("Expires", "expires-at"),
    Column::field("Invite", "token"),
    Column::field("Link", "url"),
    Column::field("Mailed", "mailed"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Add(Add {
                store,
                email,
                roles,
                confirm_brand_account,
                brand,
            }) => {
                let path = native(&["stores", store.as_str(), "members", email.as_str()]);
                let body = json!({"roles": roles, "confirm-brand-account": confirm_brand_account});
                let member = Client::open(&brand)?.put(&path, &body).await?;
                let words = labels(member.get("roles"));
                cx.out
                    .done(&member, &format!("{email} is now {words} in store {store}"))
            }
            Self::Remove(Remove { store, email, brand }) => {
                let path = native(&["stores", store.as_str(), "members", email.as_str()]);
                Client::open(&brand)?.delete(&path).await?;
                let gone = json!({"store-id": store, "email": email, "roles": []});
                cx.out
                    .done(&gone, &format!("{email} has no role in store {store} any more"))
            }
            Self::List(List { store, brand }) => {
                let path = native(&["stores", store.as_str(), "members"]);
                cx.out.list(&Client::open(&brand)?.get(&path, &[]).await?, ROW)
            }
            Self::Invites(List { store, brand }) => {
                let path = native(&["stores", store.as_str(), "invites"]);
                cx.out
                    .list(&Client::open(&brand)?.get(&path, &[]).await?, INVITE_ROW)
            }
            Self::Invite(invite) => invite.run(cx).await,
            Self::ResendInvite(invited) => invited.act(cx, "resend").await,
            Self::RevokeInvite(invited) => invited.act(cx, "revoke").await,
            Self::OpenInvite(invited) => invited.act(cx, "open").await,
            Self::Accept(accept) => accept.run(cx).await,
        }
    }
}

impl Invite {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let path = native(&["stores", self.store.as_str(), "invites"]);
        let body = json!({"email": self.email, "roles": self.roles});
        let sent = Client::open(&self.brand)?.post(&path, &body).await?;
        cx.out.item(&sent, SENT)?;
        hint(cx, &sent);
        Ok(())
    }
}

impl Invited {
    async fn act(self, cx: &Cx, action: &str) -> Result<(), CliError> {
        let path = native(&[
            "stores",
            self.store.as_str(),
            "invites",
            self.email.as_str(),
            action,
        ]);
        let sent = Client::open(&self.brand)?.post(&path, &json!({})).await?;
        cx.out.item(&sent, SENT)?;
        hint(cx, &sent);
        Ok(())
    }
}

/// What to do with the text of an invite.
fn hint(cx: &Cx, sent: &Value) {
    if cx.out.format() == Format::Table && sent.get("token").is_some_and(Value::is_string) {
        cx.out.note(
            "the invite is shown only now; hand it to its receiver, who opens the link or runs `hallmark member accept FILE` with the text",
        );
    }
}

impl Accept {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::anonymous(&self.server)?;
        let token = secret_file(&self.invite_file)?;
        let mut body = json!({"token": token.as_str()});
        let offer = client.post(&native(&["invites", "show"]), &body).await?;
        let (known, takes) = (offer.get("has-account"), offer.get("takes-password"));
        if known == Some(&Value::Bool(true)) && takes == Some(&Value::Bool(true)) {
            cx.out
                .note("nobody has shown yet that the e-mail address is theirs: this takes the password of its account");
            let password = match &self.password_file {
                Some(path) => secret_file(path)?,
                None => ask_secret("Password: ", "--password-file")?,
            };
            if let Some(fields) = body.as_object_mut() {
                fields.insert("password".to_owned(), json!(password.as_str()));
            }
        } else if known == Some(&Value::Bool(false)) {
            let password = new_password(self.password_file.as_deref())?;
            if let Some(fields) = body.as_object_mut() {
                fields.insert("password".to_owned(), json!(password.as_str()));
                fields.extend(self.username.map(|name| ("username".to_owned(), json!(name))));
                fields.extend(
                    self.display_name
                        .map(|name| ("display-name".to_owned(), json!(name))),
                );
            }
        }
        let member = client.post(&native(&["invites", "accept"]), &body).await?;
        let text = |name| member.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = format!(
            "{} is now {} in store {}; log in with `hallmark login`",
            text("email"),
            labels(member.get("roles")),
            text("store-id")
        );
        cx.out.done(&member, &message)
    }
}

/// Roles as people call them (decisions.md 11); an unknown wire word stays as it is.
pub(super) fn labels(roles: Option<&Value>) -> String {
    let words = roles
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str);
    let labels: Vec<&str> = words
        .map(|word| word.parse::<Role>().map_or(word, |role| role.label()))
        .collect();
    if labels.is_empty() {
        "-".to_owned()
    } else {
        labels.join(", ")
    }
}
