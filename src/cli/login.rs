//! `login`, `logout`, `whoami`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::member::labels;
use super::remote::{Authority, Client, DEFAULT_SERVER, Login as Stored, native, secret_file, variable};
use super::{BrandArg, CliError, Column, Cx};
use crate::adapters::system::SystemEntropy;
use crate::app::terminal;
use crate::domain::access::TokenText;
use crate::ports::Entropy as _;

/// How long somebody may take to let a terminal in.
const PATIENCE: Duration = Duration::from_secs(terminal::LIFE.unsigned_abs());
/// How often the server is asked whether they have.
const POLL: Duration = Duration::from_secs(2);

/// Log in to a server and keep the token for later commands
#[derive(Debug, Args)]
pub(super) struct Login {
    /// Address of the server
    #[arg(long, env = "HALLMARK_SERVER", value_name = "URL", default_value = DEFAULT_SERVER)]
    server: String,
    /// Trust the certificates in this file (PEM) too, now and with the log-in: where the server's is of an authority of
    /// your own
    #[arg(long, env = "HALLMARK_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Your e-mail address; asked for when omitted
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// Read the password from the first line of this file (- is stdin); asked for when omitted
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A code of your authenticator application, or a recovery code; asked for when it is needed
    #[arg(long, value_name = "CODE")]
    otp: Option<String>,
    /// Print an address to open in a browser, and be let in there: for who signs in with a provider, without a password
    #[arg(long, conflicts_with_all = ["email", "password_file", "otp"])]
    web: bool,
}

impl Login {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let ca = self.ca_file.as_deref().map(Authority::read).transpose()?;
        let client = Client::trusting(&self.server, ca)?;
        if self.web {
            return by_browser(&client, cx).await;
        }
        if sends_in_the_clear(client.server()) {
            cx.out
                .warn("the connection is not encrypted: others on the way can read the password");
        }
        let email = match self.email {
            Some(email) => email,
            None => ask("E-mail: ", "--email")?,
        };
        let password = match &self.password_file {
            Some(path) => secret_file(path)?,
            None => ask_secret(&format!("Password for {email}: "), "--password-file")?,
        };
        let request = |otp: Option<&str>| json!({"email": email, "password": password.as_str(), "otp": otp, "description": description()});
        let path = native(&["login"]);
        let answer = match client.post(&path, &request(self.otp.as_deref())).await {
            Err(CliError::Failed(message)) if message.ends_with("[twofactor-required]") => {
                let otp = ask_secret("Code of your authenticator application: ", "--otp")?;
                client.post(&path, &request(Some(&otp))).await?
            }
            other => other?,
        };
        let text = |name: &str| {
            answer
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let login = Stored {
            server: client.server().to_owned(),
            token: Zeroizing::new(text("token")),
            email: text("email"),
            expires: text("expires"),
            ca: client.ca().cloned(),
        };
        keep(&login, cx)
    }
}

/// Keeps a log-in for later commands.
fn keep(login: &Stored, cx: &Cx) -> Result<(), CliError> {
    let path = login.write()?;
    let shown = json!({"server": login.server, "email": login.email, "expires": login.expires});
    let message = format!(
        "logged in to {} as {} until {} ({})",
        login.server,
        login.email,
        login.expires,
        path.display()
    );
    cx.out.done(&shown, &message)
}

/// Makes a token, and waits until somebody who is signed in with a browser lets it in.
async fn by_browser(client: &Client, cx: &Cx) -> Result<(), CliError> {
    let entropy = SystemEntropy::default();
    let token = TokenText::generate(|buffer| entropy.fill(buffer));
    let request = json!({"hash": token.hash(), "description": description()});
    let invitation = client.post(&native(&["login", "web"]), &request).await?;
    let text = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    cx.out.note(&format!(
        "open {} and let the terminal with the code {} in; waiting until {}",
        text(&invitation, "url"),
        terminal::code(&token.hash()),
        text(&invitation, "expires")
    ));
    let mut login = Stored {
        server: client.server().to_owned(),
        token: Zeroizing::new(token.reveal().to_owned()),
        email: String::new(),
        expires: String::new(),
        ca: client.ca().cloned(),
    };
    let waiting = Client::with_login(&login)?;
    let began = std::time::Instant::now();
    let who = loop {
        match waiting.get(&native(&["whoami"]), &[]).await {
            Ok(who) => break who,
            Err(CliError::Failed(message)) if message.ends_with("[invalid-token]") => {}
            Err(error) => return Err(error),
        }
        if began.elapsed() > PATIENCE {
            return Err(CliError::Failed(
                "cannot log in: nobody has let this terminal in; run `hallmark login --web` again".to_owned(),
            ));
        }
        tokio::time::sleep(POLL).await;
    };
    login.email = text(&who, "email");
    login.expires = who
        .get("token")
        .map(|token| text(token, "expires"))
        .unwrap_or_default();
    keep(&login, cx)
}

/// Forget the log-in, here and on the server
#[derive(Debug, Args)]
pub(super) struct Logout {}

impl Logout {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let Some(login) = Stored::read()? else {
            return cx.out.done(&json!({"logged-out": false}), "nobody was logged in");
        };
        let client = Client::with_login(&login)?;
        let revoked = client.post(&native(&["logout"]), &json!({})).await;
        Stored::forget()?;
        if let Err(error) = revoked {
            cx.out.warn(&format!(
                "the token was forgotten here but stays good on the server: {error}"
            ));
        }
        cx.out.done(
            &json!({"logged-out": true}),
            &format!("logged out of {}", login.server),
        )
    }
}

const WHOAMI: &[Column] = &[
    Column::field("Server", "server"),
    Column::field("E-mail", "email"),
    Column::field("Username", "username"),
    Column::field("Name", "display-name"),
    Column::field("Account", "id"),
    Column::field("Operator", "operator"),
    Column::with("Roles", roles),
    Column::field("Token scopes", "token/permissions"),
    Column::field("Token brand", "token/brand-id"),
    Column::field("Token expires", "token/expires"),
];

/// Show who is logged in, and with which roles
#[derive(Debug, Args)]
pub(super) struct Whoami {}

impl Whoami {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::open(&BrandArg::default())?;
        let mut who = client.get(&native(&["whoami"]), &[]).await?;
        if let Some(fields) = who.as_object_mut() {
            fields.insert("server".to_owned(), client.server().into());
        }
        cx.out.item(&who, WHOAMI)
    }
}

fn roles(who: &Value) -> String {
    let rows = who
        .get("memberships")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let store = |row: &Value| {
        row.get("store-id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let lines: Vec<String> = rows
        .iter()
        .map(|row| format!("{}: {}", store(row), labels(row.get("roles"))))
        .collect();
    if lines.is_empty() {
        "-".to_owned()
    } else {
        lines.join("; ")
    }
}

/// Asks on the terminal; `flag` is what to use where there is none.
fn ask(prompt: &str, flag: &str) -> Result<String, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "cannot ask without a terminal: use {flag}"
        )));
    }
    let mut stderr = std::io::stderr();
    let mut line = String::new();
    write!(stderr, "{prompt}")
        .and_then(|()| stderr.flush())
        .and_then(|()| std::io::stdin().read_line(&mut line))
        .map_err(|error| CliError::failed("cannot ask", error))?;
    Ok(line.trim().to_owned())
}

/// Asks for a secret on the terminal, without showing it.
pub(super) fn ask_secret(prompt: &str, flag: &str) -> Result<Zeroizing<String>, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "cannot ask without a terminal: use {flag}"
        )));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|error| CliError::failed("cannot ask", error))
}

/// Asks twice for a new password, or reads it from `file`.
pub(super) fn new_password(file: Option<&std::path::Path>) -> Result<Zeroizing<String>, CliError> {
    if let Some(path) = file {
        return secret_file(path);
    }
    let first = ask_secret("New password: ", "--password-file")?;
    let second = ask_secret("Once more: ", "--password-file")?;
    if first != second {
        return Err(CliError::Failed(
            "cannot take the password: the two differ".to_owned(),
        ));
    }
    Ok(first)
}

/// Says on the server's list of tokens where this one is used.
fn description() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = variable("USER").unwrap_or_default();
    match (user.trim(), host.trim()) {
        ("", "") => "log-in".to_owned(),
        ("", host) => format!("log-in from {host}"),
        (user, "") => format!("log-in of {user}"),
        (user, host) => format!("log-in from {user}@{host}"),
    }
}

/// Plain HTTP to anywhere but this machine.
fn sends_in_the_clear(server: &str) -> bool {
    let Ok(url) = url::Url::parse(server) else {
        return false;
    };
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_to_elsewhere_is_warned_about() {
        for (server, clear) in [
            ("http://127.0.0.1:8380", false),
            ("http://[::1]:8380", false),
            ("http://localhost", false),
            ("https://vault.example", false),
            ("http://vault.example", true),
            ("http://192.0.2.1", true),
        ] {
            assert_eq!(sends_in_the_clear(server), clear, "{server}");
        }
    }
}
