//! `account otp`: the second factor, codes of an authenticator application.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::{Client, native};
use super::{CliError, Column, Cx};
use crate::domain::ident::Email;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Begin: print the secret for an authenticator application
    Enrol(Enrol),
    /// Prove that the application has it; log-ins demand a code from now on. Prints recovery codes once
    Confirm(Code),
    /// Show whether you have a second factor
    Show(Show),
    /// Take your second factor away
    Disable(Code),
    /// Take somebody's second factor away, as operator: they lost application and recovery codes
    Remove(Named),
}

#[derive(Debug, Args)]
pub(super) struct Enrol {}

#[derive(Debug, Args)]
pub(super) struct Show {}

#[derive(Debug, Args)]
pub(super) struct Code {
    /// The code the application shows now; to disable, a recovery code is as good
    code: String,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// E-mail address of the account
    #[arg(value_parser = Email::normal)]
    email: Email,
}

const ENROLMENT: &[Column] = &[Column::field("Secret", "secret"), Column::field("URL", "url")];

const STANDING: &[Column] = &[
    Column::field("Enrolled", "enrolled"),
    Column::field("Since", "since"),
    Column::field("Recovery codes", "recovery-codes"),
];

impl Verb {
    pub(super) async fn run(self, client: &Client, cx: &Cx) -> Result<(), CliError> {
        let path = native(&["second-factor"]);
        match self {
            Self::Enrol(Enrol {}) => {
                let enrolment = client.post(&path, &json!({})).await?;
                cx.out.item(&enrolment, ENROLMENT)?;
                cx.out.note(
                    "put one of these into an authenticator application, then `hallmark account otp confirm CODE`; \
                     they are shown only now",
                );
                Ok(())
            }
            Self::Confirm(Code { code }) => {
                let answer = client.put(&path, &json!({"code": code})).await?;
                let codes = answer.get("recovery-codes").and_then(Value::as_array);
                let codes: Vec<&str> = codes.into_iter().flatten().filter_map(Value::as_str).collect();
                cx.out.done(
                    &answer,
                    "log-ins demand a code from now on; other log-ins of yours have ended",
                )?;
                if cx.out.format() == super::Format::Table {
                    cx.out.data(format!("{}\n", codes.join("\n")).as_bytes())?;
                }
                cx.out
                    .note("keep these recovery codes: each is good for one log-in; they are shown only now");
                Ok(())
            }
            Self::Show(Show {}) => cx.out.item(&client.get(&path, &[]).await?, STANDING),
            Self::Disable(Code { code }) => {
                client
                    .post(&native(&["second-factor", "disable"]), &json!({"code": code}))
                    .await?;
                cx.out
                    .done(&json!({"enrolled": false}), "log-ins demand no code any more")
            }
            Self::Remove(Named { email }) => {
                let path = native(&["accounts", email.as_str(), "second-factor", "remove"]);
                let account = client.post(&path, &json!({})).await?;
                cx.out
                    .done(&account, &format!("{email} has no second factor any more"))
            }
        }
    }
}
