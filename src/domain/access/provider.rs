//! People who sign in with a provider of log-ins (OpenID Connect): which account is theirs.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::account::Account;
use crate::domain::audit::hex;
use crate::domain::time::Timestamp;

/// Who somebody is for a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProviderIdentity {
    /// The provider (`iss`).
    pub issuer: String,
    /// Who (`sub`): never changes, and is never given to somebody else.
    pub subject: String,
    /// When the account was bound to it.
    pub since: Timestamp,
}

impl ProviderIdentity {
    /// What it is looked up by; unique among accounts.
    pub fn key(&self) -> String {
        Self::key_of(&self.issuer, &self.subject)
    }

    /// [`Self::key`] of somebody who may have no account: SHA-256, lower-case hex.
    pub fn key_of(issuer: &str, subject: &str) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(issuer.as_bytes());
        context.update(b"\0");
        context.update(subject.as_bytes());
        hex(context.finish().as_ref())
    }
}

/// Which account is somebody's who comes from a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The account that is bound to them.
    Bound,
    /// The account that has their e-mail address: it is bound to them from now on.
    Bind,
    /// A new one.
    Open,
    /// None.
    Refused(NotAdmitted),
}

/// Why none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// There is no account for them.
    Unknown,
    /// Theirs is switched off.
    Disabled,
    /// The account with their e-mail address is bound to somebody else.
    Taken,
}

/// Decides it. `bound` is the account that is bound to them, `named` the one with the e-mail address the provider vouches
/// for, `vouched` whether it vouches for one, `opens` whether unknown people get an account.
///
/// Who is bound stays bound, whatever their e-mail address says today: an address can be given to somebody else, a
/// subject cannot.
pub fn admit(bound: Option<&Account>, named: Option<&Account>, vouched: bool, opens: bool) -> Admission {
    match (bound, named) {
        (Some(account), _) if account.disabled => Admission::Refused(NotAdmitted::Disabled),
        (Some(_), _) => Admission::Bound,
        (None, _) if !vouched => Admission::Refused(NotAdmitted::Unknown),
        (None, Some(account)) if account.disabled => Admission::Refused(NotAdmitted::Disabled),
        (None, Some(account)) if account.provider.is_some() => Admission::Refused(NotAdmitted::Taken),
        (None, Some(_)) => Admission::Bind,
        (None, None) if opens => Admission::Open,
        (None, None) => Admission::Refused(NotAdmitted::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(disabled: bool, bound: bool) -> Account {
        let since = Timestamp::from_unix(0);
        Account {
            id: "a".repeat(32).parse().unwrap(),
            email: "jo@acme.example".parse().unwrap(),
            username: "jo".parse().unwrap(),
            display_name: "Jo".to_owned(),
            password: None,
            unproven: false,
            operator: false,
            disabled,
            second_factor: None,
            provider: bound.then(|| ProviderIdentity {
                issuer: "https://id.example".to_owned(),
                subject: "1".to_owned(),
                since,
            }),
            reset: None,
            created: since,
        }
    }

    #[test]
    fn every_case_of_who_comes_from_a_provider() {
        let (fresh, bound, off, bound_off) = (
            account(false, false),
            account(false, true),
            account(true, false),
            account(true, true),
        );
        let (unknown, disabled, taken) = (
            Admission::Refused(NotAdmitted::Unknown),
            Admission::Refused(NotAdmitted::Disabled),
            Admission::Refused(NotAdmitted::Taken),
        );
        for opens in [false, true] {
            for vouched in [false, true] {
                for named in [None, Some(&fresh), Some(&bound), Some(&off)] {
                    assert_eq!(admit(Some(&bound), named, vouched, opens), Admission::Bound);
                    assert_eq!(admit(Some(&bound_off), named, vouched, opens), disabled);
                }
            }
            // An address the provider does not vouch for is worth nothing.
            for named in [None, Some(&fresh)] {
                assert_eq!(admit(None, named, false, opens), unknown);
            }
            assert_eq!(admit(None, Some(&fresh), true, opens), Admission::Bind);
            assert_eq!(admit(None, Some(&bound), true, opens), taken);
            assert_eq!(admit(None, Some(&off), true, opens), disabled);
            assert_eq!(admit(None, Some(&bound_off), true, opens), disabled);
        }
        assert_eq!(admit(None, None, true, false), unknown);
        assert_eq!(admit(None, None, true, true), Admission::Open);
    }

    #[test]
    fn a_key_tells_issuer_and_subject_apart() {
        let key = ProviderIdentity::key_of("https://id.example", "12");
        assert_eq!(key.len(), 64);
        for (issuer, subject) in [
            ("https://id.example", "1"),
            ("https://id.example1", "2"),
            ("https://id.example/", "12"),
        ] {
            assert_ne!(ProviderIdentity::key_of(issuer, subject), key);
        }
    }
}
