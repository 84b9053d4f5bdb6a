//! Mail by SMTP (RFC 5321), with `lettre`. One connection per letter: there are few.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use zeroize::Zeroizing;

use crate::domain::ident::Email;
use crate::ports::{MailError, Mailer};

/// Time for a letter, from connecting to the last answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers that say our log-in is missing or wrong (RFC 4954, section 6): that is about our settings, not about the letter.
const LOG_IN: [u16; 4] = [530, 534, 535, 538];

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// TLS after `STARTTLS`, which the server has to offer (RFC 3207).
    StartTls,
    /// TLS from the first byte on (RFC 8314).
    Tls,
    /// None.
    None,
}

/// How a mail server is reached.
pub struct SmtpOptions {
    /// Its name or address; over TLS its certificate has to be for it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub protection: Protection,
    /// Who we are for it, and the password; none = it does not ask.
    pub login: Option<(String, Zeroizing<String>)>,
    /// Who letters are from.
    pub from: Email,
    /// Who we say we are when we greet it: a name of this server.
    pub own_name: String,
}

impl std::fmt::Debug for SmtpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

/// A mail server.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    name: String,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp")
            .field("server", &self.name)
            .finish_non_exhaustive()
    }
}

impl Smtp {
    /// A server that is connected to when there is something to send.
    ///
    /// # Errors
    /// There are no certificates to check it by, or the sender is no address.
    pub fn new(options: SmtpOptions) -> Result<Self, MailError> {
        let parameters = || TlsParameters::new_rustls(options.host.clone()).map_err(|error| refused(&error));
        let tls = match options.protection {
            Protection::StartTls => Tls::Required(parameters()?),
            Protection::Tls => Tls::Wrapper(parameters()?),
            Protection::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&options.host)
            .port(options.port)
            .tls(tls)
            .hello_name(hello(&options.own_name))
            .timeout(Some(PATIENCE));
        if let Some((user, password)) = options.login {
            builder = builder.credentials(Credentials::new(user, password.to_string()));
        }
        let from = address(&options.from)?;
        Ok(Self {
            transport: builder.build(),
            from: Mailbox::new(Some("hallmark".to_owned()), from),
            name: format!("{}:{}", options.host, options.port),
        })
    }

    fn letter(&self, id: &str, to: &Email, subject: &str, body: &str) -> Result<Message, MailError> {
        let domain = self.from.email.domain();
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address(to)?))
            .subject(subject)
            .message_id(Some(format!("<{id}@{domain}>")))
            .header(ContentType::TEXT_PLAIN)
            .body(body.to_owned())
            .map_err(|error| refused(&error))?;
        // RFC 3834: nobody's absence is to be told to us.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        message
            .headers_mut()
            .insert_raw(HeaderValue::new(automatic, "auto-generated".to_owned()));
        Ok(message)
    }

    /// What an answer means. What the server says may repeat the address: its code is enough.
    fn failure(&self, error: &Error) -> MailError {
        let Some(code) = error.status() else {
            return MailError::NoService(format!("{}: {}", self.name, causes(error)));
        };
        let code = u16::from(code);
        let text = format!("{} answered {code}", self.name);
        if LOG_IN.contains(&code) {
            MailError::NoService(format!("{text}: look at smtp-user and smtp-password-file"))
        } else if error.is_permanent() {
            MailError::Refused(text)
        } else {
            MailError::Later(text)
        }
    }
}

/// Our name in the greeting: a name, or an address in brackets.
fn hello(name: &str) -> ClientId {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(std::net::IpAddr::V4(address)) => ClientId::Ipv4(address),
        Ok(std::net::IpAddr::V6(address)) => ClientId::Ipv6(address),
        Err(_) => ClientId::Domain(name.to_owned()),
    }
}

fn refused(error: &dyn std::fmt::Display) -> MailError {
    MailError::Refused(error.to_string())
}

fn address(email: &Email) -> Result<Address, MailError> {
    // The error of lettre may repeat the address.
    email
        .as_str()
        .parse()
        .map_err(|_| MailError::Refused("the address is none that mail can be sent to".to_owned()))
}

#[async_trait]
impl Mailer for Smtp {
    async fn send(&self, id: &str, to: &Email, subject: &str, body: &str) -> Result<(), MailError> {
        let letter = self.letter(id, to, subject, body)?;
        match tokio::time::timeout(PATIENCE, self.transport.send(letter)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_) => Err(MailError::NoService(format!(
                "{}: no answer within {} seconds",
                self.name,
                PATIENCE.as_secs()
            ))),
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp() -> Smtp {
        Smtp::new(SmtpOptions {
            host: "127.0.0.1".to_owned(),
            port: 25,
            protection: Protection::None,
            login: None,
            from: "store@acme.example".parse().unwrap(),
            own_name: "store.acme.example".to_owned(),
        })
        .unwrap()
    }

    #[test]
    fn a_letter_says_that_a_program_wrote_it_and_keeps_its_id() {
        let to = "jo@acme.example".parse().unwrap();
        let letter = smtp().letter("0001-x", &to, "Größe\r\nBcc: x@y.example", "Grüße\nlink\n");
        let text = String::from_utf8(letter.unwrap().formatted()).unwrap();
        let head = text.split("\r\n\r\n").next().unwrap();
        assert!(head.contains("Message-ID: <0001-x@acme.example>"), "{head}");
        assert!(
            head.contains("Auto-Submitted: auto-generated") && head.contains("Date: "),
            "{head}"
        );
        assert!(
            !head.lines().any(|line| line.starts_with("Bcc")),
            "a subject is one header: {head}"
        );
    }

    #[test]
    fn an_address_that_lettre_does_not_take_is_refused_without_repeating_it() {
        let to = "jo@[127.0.0.1".parse::<Email>();
        if let Ok(to) = to {
            let error = smtp().letter("x", &to, "s", "b").unwrap_err();
            assert!(matches!(error, MailError::Refused(_)) && !error.to_string().contains("jo@"));
        }
    }

    #[test]
    fn a_greeting_names_a_host_or_an_address() {
        assert_eq!(hello("store.example").to_string(), "store.example");
        assert_eq!(hello("192.0.2.1").to_string(), "[192.0.2.1]");
        assert_eq!(hello("[2001:db8::1]").to_string(), "[IPv6:2001:db8::1]");
    }
}
