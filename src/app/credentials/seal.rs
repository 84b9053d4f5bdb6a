//! Keys and texts of publisher macaroons. All keys are derived from a secret of the instance.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libmacaroon::{Format, Macaroon, MacaroonKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Narrowing;
use crate::app::{Reason, Refusal, Secrets};
use crate::domain::time::Timestamp;

/// How much of a macaroon's text is looked at, in bytes.
pub(super) const MAX_MACAROON: usize = 48 * 1024;
/// Length of the seal of a caveat id, in bytes.
const SEAL: usize = 16;

/// What a key is for. Macaroons signed with different keys are never taken for each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Signs roots.
    Root,
    /// Signs macaroons that stand alone.
    Single,
    /// Seals caveat ids.
    Seal,
    /// Makes the keys of discharges from caveat ids.
    Discharge,
}

impl Purpose {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Root => b"hallmark publisher-root v1\0",
            Self::Single => b"hallmark publisher-single v1\0",
            Self::Seal => b"hallmark publisher-caveat-seal v1\0",
            Self::Discharge => b"hallmark publisher-discharge v1\0",
        }
    }

    fn mac(self, secrets: &Secrets, text: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secrets.session_key));
        context.update(self.text());
        context.update(text);
        context.sign()
    }

    /// The macaroon key for `text`.
    pub(super) fn key(self, secrets: &Secrets, text: &str) -> MacaroonKey {
        let seed = Zeroizing::new(self.mac(secrets, text.as_bytes()).as_ref().to_vec());
        MacaroonKey::generate(&seed)
    }
}

/// What the id of a third-party caveat says: what the log-in is for. Its holder can read it, nobody else can make one.
/// The key of its discharge follows from the id, so it is not kept and not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CaveatId {
    /// Makes every id another one.
    pub(super) nonce: String,
    /// When root and log-in end.
    pub(super) expires: Timestamp,
    pub(super) narrowing: Narrowing,
    /// For the list of tokens.
    pub(super) description: String,
}

impl CaveatId {
    /// As text: UTF-8 without anything that needs quoting, as some clients print it into JSON by hand.
    pub(super) fn seal(&self, secrets: &Secrets) -> String {
        // A plain struct with string keys: its serialisation cannot fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let mac = Purpose::Seal.mac(secrets, &text);
        let seal = mac.as_ref().get(..SEAL).unwrap_or_default();
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(&text),
            URL_SAFE_NO_PAD.encode(seal)
        )
    }

    /// What a caveat id says, if this instance made it.
    pub(super) fn open(secrets: &Secrets, text: &str) -> Option<Self> {
        if text.len() > MAX_MACAROON {
            return None;
        }
        let (text, seal) = text.split_once('.')?;
        let text = URL_SAFE_NO_PAD.decode(text).ok()?;
        let seal = URL_SAFE_NO_PAD.decode(seal).ok()?;
        let mac = Purpose::Seal.mac(secrets, &text);
        constant_time::verify_slices_are_equal(mac.as_ref().get(..SEAL)?, &seal).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// One thing that a first-party caveat of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// When it ends.
    Expires(Timestamp),
    /// Which token it stands for, by id.
    Token(String),
    /// What it takes away.
    Narrowed(Narrowing),
}

impl Said {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Expires(end) => format!("hallmark|expires|{end}"),
            Self::Token(id) => format!("hallmark|token|{id}"),
            Self::Narrowed(narrowing) => {
                let text = serde_json::to_string(narrowing).unwrap_or_default();
                format!("hallmark|only|{text}")
            }
        }
    }

    pub(super) fn read(predicate: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(predicate).ok()?.strip_prefix("hallmark|")?;
        match text.split_once('|')? {
            ("expires", end) => end.parse().ok().map(Self::Expires),
            ("token", id) => Some(Self::Token(id.to_owned())),
            ("only", text) => serde_json::from_str(text).ok().map(Self::Narrowed),
            _unknown => None,
        }
    }
}

/// A macaroon that says these things.
pub(super) fn macaroon(
    location: &str,
    key: &MacaroonKey,
    identifier: &str,
    said: &[Said],
) -> Result<Macaroon, Refusal> {
    let mut macaroon = Macaroon::create(Some(location), key, identifier).map_err(trouble)?;
    for said in said {
        macaroon.add_first_party_caveat(said.text()).map_err(trouble)?;
    }
    Ok(macaroon)
}

/// As text: format 1, URL-safe base64 without padding. Clients fail on the id of a caveat in format 2.
pub(super) fn text(macaroon: &Macaroon) -> Result<String, Refusal> {
    let text = macaroon.serialize(Format::V1).map_err(trouble)?;
    Ok(text.trim_end_matches('=').to_owned())
}

/// The macaroon in a text of reasonable length, in base64 or JSON.
pub(super) fn read(text: &str) -> Option<Macaroon> {
    if text.len() > MAX_MACAROON {
        return None;
    }
    if text.starts_with('{') {
        return Macaroon::deserialize_binary(&super::json::binary(text)?).ok();
    }
    Macaroon::deserialize(text).ok()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn trouble(error: libmacaroon::MacaroonError) -> Refusal {
    tracing::error!(%error, "cannot make a macaroon");
    Refusal::new(
        Reason::Internal,
        "internal-error",
        "cannot make the credentials: internal error",
    )
}
