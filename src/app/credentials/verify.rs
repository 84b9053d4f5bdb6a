//! From what a caller presents to the stored token it names, and what is left of that.

use libmacaroon::{Caveat, Macaroon, MacaroonKey, Verifier};

use super::seal::{Purpose, Said, read};
use super::{Binding, Credential, Narrowing, expired, needs_refresh, root, unusable};
use crate::app::{App, Refusal, Secrets};
use crate::domain::access::{Token, TokenText};
use crate::domain::time::Timestamp;

pub(super) const SINGLE: &str = "hallmark publisher-single v1 ";

/// What a macaroon, or a root with its discharge, says when all signatures hold.
#[derive(Clone, Debug)]
pub(in crate::app) struct Resolved {
    /// The token it stands for.
    token: String,
    /// When it ends, whatever the token says.
    expires: Option<Timestamp>,
    /// When only its discharge ends.
    fresh_until: Option<Timestamp>,
    /// The discharge came bound: who has it cannot refresh it.
    bound: bool,
    narrowings: Vec<Narrowing>,
}

impl Resolved {
    /// The id of the token.
    pub(in crate::app) fn token(&self) -> &str {
        &self.token
    }

    /// When what is given in exchange for it ends at the latest; none = with its token. A discharge that came bound may have
    /// leaked with a request, and is not to become good for longer by being exchanged.
    pub(super) fn exchanged_until(&self) -> Option<Timestamp> {
        self.fresh_until.filter(|_| self.bound)
    }

    /// What it leaves of `token`, now.
    pub(in crate::app) fn narrow(&self, token: &mut Token, now: Timestamp) -> Result<(), Refusal> {
        token.expires = self.expires.map_or(token.expires, |end| end.min(token.expires));
        if token.expires <= now {
            return Err(expired());
        }
        if self.fresh_until.is_some_and(|end| end <= now) {
            return Err(needs_refresh());
        }
        for narrowing in &self.narrowings {
            narrowing.apply(token);
        }
        Ok(())
    }
}

/// Whether macaroons come from this instance or one that could be it; others are for another server.
pub(in crate::app) fn is_ours(credential: &Credential) -> bool {
    let identifier = |text: &str, prefix: &str| {
        read(text).is_some_and(|macaroon| macaroon.identifier().starts_with(prefix.as_bytes()))
    };
    match credential {
        Credential::Token(_) => true,
        Credential::Single(text) => identifier(text, SINGLE),
        Credential::Pair { root, .. } => identifier(root, root::IDENTIFIER),
    }
}

/// How a credential names a stored token.
#[derive(Clone, Debug)]
pub(in crate::app) enum Resolution<'c> {
    /// It is the token.
    Token(&'c TokenText),
    /// Macaroons of ours that nobody changed name it.
    Macaroons(Resolved),
}

/// How `credential` names a stored token.
///
/// # Errors
/// `invalid-token` for macaroons that are not ours, were changed, or are not bound.
pub(in crate::app) fn resolve<'c>(
    app: &App,
    credential: &'c Credential,
    binding: Binding,
) -> Result<Resolution<'c>, Refusal> {
    let resolved = match credential {
        Credential::Token(text) => return Ok(Resolution::Token(text)),
        Credential::Single(text) => single(&app.secrets, text),
        Credential::Pair { root, discharge } => pair(&app.secrets, root, discharge, binding),
    };
    resolved.map(Resolution::Macaroons).ok_or_else(unusable)
}

fn single(secrets: &Secrets, text: &str) -> Option<Resolved> {
    let macaroon = read(text)?;
    let identifier = std::str::from_utf8(macaroon.identifier()).ok()?;
    identifier.strip_prefix(SINGLE)?;
    let key = Purpose::Single.key(secrets, identifier);
    holds(&macaroon, &key, &[]).then_some(())?;
    let said = Everything::of(&macaroon)?;
    Some(Resolved {
        token: said.token?,
        expires: said.expires,
        fresh_until: None,
        bound: false,
        narrowings: said.narrowings,
    })
}

fn pair(secrets: &Secrets, root: &str, discharge: &str, binding: Binding) -> Option<Resolved> {
    let (root, discharge) = (read(root)?, read(discharge)?);
    let identifier = std::str::from_utf8(root.identifier()).ok()?;
    identifier.strip_prefix(root::IDENTIFIER)?;
    let key = Purpose::Root.key(secrets, identifier);
    let mut bound = discharge.clone();
    root.bind(&mut bound);
    let as_sent = holds(&root, &key, std::slice::from_ref(&discharge));
    if !as_sent && (binding == Binding::Bound || !holds(&root, &key, &[bound])) {
        return None;
    }
    let (of_root, of_discharge) = (Everything::of(&root)?, Everything::of(&discharge)?);
    if of_root.token.is_some() {
        return None;
    }
    let mut narrowings = of_root.narrowings;
    narrowings.extend(of_discharge.narrowings);
    Some(Resolved {
        token: of_discharge.token?,
        expires: of_root.expires,
        fresh_until: of_discharge.expires,
        bound: as_sent,
        narrowings,
    })
}

/// The token that an unbound discharge names, if it says nothing but that and when it ends.
pub(super) fn names_token(discharge: &Macaroon, key: &MacaroonKey) -> Option<String> {
    holds(discharge, key, &[]).then_some(())?;
    let said = Everything::of(discharge)?;
    (discharge.caveats().len() == 2 && said.narrowings.is_empty())
        .then_some(said.token)
        .flatten()
}

/// Whether the chain of signatures holds; what the caveats say is judged elsewhere.
fn holds(macaroon: &Macaroon, key: &MacaroonKey, discharges: &[Macaroon]) -> bool {
    let mut verifier = Verifier::default();
    verifier.satisfy_general(|_| true);
    verifier.verify(macaroon, key, discharges).is_ok()
}

/// All that the caveats of one macaroon say.
#[derive(Debug, Default)]
struct Everything {
    token: Option<String>,
    expires: Option<Timestamp>,
    narrowings: Vec<Narrowing>,
}

impl Everything {
    /// None if a caveat is not known, or they contradict each other. Whoever holds a macaroon may add caveats, so each
    /// may only take away: the earliest end counts, and what all narrowings leave.
    fn of(macaroon: &Macaroon) -> Option<Self> {
        let mut all = Self::default();
        for caveat in macaroon.caveats() {
            let caveat = match caveat {
                Caveat::FirstParty(caveat) => caveat,
                // The one a discharge was verified for.
                Caveat::ThirdParty(_) => continue,
            };
            match Said::read(caveat.predicate())? {
                Said::Expires(end) => all.expires = Some(all.expires.map_or(end, |earlier| earlier.min(end))),
                Said::Token(id) => match &all.token {
                    None => all.token = Some(id),
                    Some(same) if *same == id => {}
                    Some(_) => return None,
                },
                Said::Narrowed(narrowing) => all.narrowings.push(narrowing),
            }
        }
        Some(all)
    }
}
