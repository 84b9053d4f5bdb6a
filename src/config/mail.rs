//! The kinds of values that settings of a mail server have.

use std::net::IpAddr;
use std::str::FromStr;

use url::Host;

use super::values::{Shown, ValueError};
use crate::domain::ident::Email;

/// A host: a name, or an address (of IPv6 in brackets or not).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The text, without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this machine.
    pub fn is_here(&self) -> bool {
        match self.0.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.0.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl FromStr for HostName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let bare = bare.unwrap_or(text);
        if bare.parse::<IpAddr>().is_ok() {
            return Ok(Self(bare.to_owned()));
        }
        if let Ok(Host::Domain(name)) = Host::parse(text) {
            Ok(Self(name))
        } else {
            Err(ValueError::new("a host like mail.example", text))
        }
    }
}

/// A port to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u16);

impl FromStr for Port {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let port = text.parse().ok().filter(|port| *port > 0);
        port.map(Self)
            .ok_or_else(|| ValueError::new("a port from 1 to 65535", text))
    }
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS after `STARTTLS`.
    StartTls,
    /// TLS from the first byte on.
    Tls,
    /// None.
    None,
}

impl MailSecurity {
    const ALL: [(&'static str, Self); 3] = [
        ("starttls", Self::StartTls),
        ("tls", Self::Tls),
        ("none", Self::None),
    ];

    /// The port that servers of this kind usually have.
    pub fn usual_port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

impl FromStr for MailSecurity {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found
            .map(|(_, kind)| kind)
            .ok_or_else(|| ValueError::new("starttls, tls or none", text))
    }
}

/// The address letters are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender(pub Email);

impl FromStr for Sender {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Email::normal(text)
            .map(Self)
            .map_err(|_| ValueError::new("an e-mail address like store@acme.example", text))
    }
}

impl Shown for HostName {
    fn shown(&self) -> String {
        self.0.clone()
    }
}

impl Shown for Port {
    fn shown(&self) -> String {
        self.0.to_string()
    }
}

impl Shown for MailSecurity {
    fn shown(&self) -> String {
        let found = Self::ALL.into_iter().find(|(_, kind)| kind == self);
        found.map_or_else(String::new, |(name, _)| name.to_owned())
    }
}

impl Shown for Sender {
    fn shown(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (text, host, here) in [
            ("mail.acme.example", "mail.acme.example", false),
            ("localhost", "localhost", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("[::1]", "::1", true),
            ("2001:db8::1", "2001:db8::1", false),
        ] {
            let parsed: HostName = text.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.is_here()), (host, here));
        }
        for bad in ["", "a b", "mail.example:25", "smtp://mail.example", "[::1", "a/b"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_usual_port_follows_from_the_protection() {
        let port = |text: &str| text.parse::<MailSecurity>().unwrap().usual_port();
        assert_eq!((port("starttls"), port("tls"), port("none")), (587, 465, 25));
        for bad in ["", "ssl", "TLS "] {
            assert!(bad.parse::<MailSecurity>().is_err());
        }
        for bad in ["0", "65536", "-1", "smtp", ""] {
            assert!(bad.parse::<Port>().is_err());
        }
    }

    #[test]
    fn letters_are_from_an_address() {
        assert_eq!(
            "Store@Acme.example".parse::<Sender>().unwrap().shown(),
            "store@acme.example"
        );
        for bad in ["", "store", "Store <store@acme.example>", "a@b\nBcc: c@d"] {
            assert!(bad.parse::<Sender>().is_err(), "{bad}");
        }
    }
}
