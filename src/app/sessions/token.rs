//! The session itself: a macaroon whose first-party caveats bind it to brand, model, serial, store and device key
//! until it expires. Holders may add caveats; each narrows it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use libmacaroon::{Caveat, Format, Macaroon, MacaroonKey};

use crate::app::{App, Refusal, Secrets};
use crate::domain::ident::{DeviceId, KeyId};
use crate::domain::time::Timestamp;
use crate::domain::vault::Standing;

/// Life of a session, in seconds: a day. Devices renew it by themselves.
pub const SESSION_LIFE: i64 = 24 * 3600;
/// Longest header value that is looked at.
const MAX_HEADER: usize = 8 * 1024;
const IDENTIFIER: &str = "hallmark device session 1";

/// Who a device has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSession {
    /// The device.
    pub device: DeviceId,
    /// The key that proved it.
    pub device_key: KeyId,
    /// The `store` of its model; the catalogue it sees. None = the brand's default.
    pub store: Option<String>,
    /// When the session ends.
    pub expires: Timestamp,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum NoSession {
    /// The header is absent.
    #[error("cannot answer without a device session")]
    Missing,
    /// It is not a session of ours, or no more: the device has to make a new one.
    #[error("cannot accept the device session: it is expired or not ours")]
    Expired,
    /// The device or its model was shut out.
    #[error("cannot accept the device session: the device or its model is disabled")]
    Denied,
    /// We cannot tell now.
    #[error("{0}")]
    Refused(Refusal),
}

impl DeviceSession {
    /// The macaroon, as text without quotes or line breaks.
    pub(super) fn seal(&self, secrets: &Secrets) -> libmacaroon::Result<String> {
        let mut macaroon = Macaroon::create(None, &key(secrets), IDENTIFIER)?;
        let expires = self.expires.to_string();
        let caveats = [
            ("brand-id", Some(self.device.brand.as_str())),
            ("model", Some(self.device.model.as_str())),
            ("serial", Some(self.device.serial.as_str())),
            ("device-key-sha3-384", Some(self.device_key.as_str())),
            ("store", self.store.as_deref()),
            ("expires", Some(&expires)),
        ];
        for (name, value) in caveats {
            if let Some(value) = value {
                macaroon.add_first_party_caveat(format!("{name} = {value}"))?;
            }
        }
        macaroon.serialize(Format::V2)
    }

    /// The session a macaroon stands for; its expiry is judged at `now`. The first caveat of a name is ours; later
    /// ones a holder added, so they may only say the same, or an earlier end.
    fn open(secrets: &Secrets, text: &str, now: Timestamp) -> Option<Self> {
        let macaroon = Macaroon::deserialize(text).ok()?;
        if macaroon.identifier() != IDENTIFIER.as_bytes() {
            return None;
        }
        if !is_signed(secrets, &macaroon) {
            return None;
        }
        let mut said = Said::default();
        for caveat in macaroon.caveats() {
            let Caveat::FirstParty(caveat) = caveat else {
                return None;
            };
            let (name, value) = std::str::from_utf8(caveat.predicate()).ok()?.split_once(" = ")?;
            said.take(name, value)?;
        }
        let session = said.complete()?;
        (now < session.expires).then_some(session)
    }
}

/// What the caveats have said so far.
#[derive(Default)]
struct Said<'m> {
    brand: Option<&'m str>,
    model: Option<&'m str>,
    serial: Option<&'m str>,
    device_key: Option<&'m str>,
    store: Option<&'m str>,
    expires: Option<Timestamp>,
}

impl<'m> Said<'m> {
    /// Takes one caveat in; none if it contradicts an earlier one or is not known.
    fn take(&mut self, name: &str, value: &'m str) -> Option<()> {
        let slot = match name {
            "brand-id" => &mut self.brand,
            "model" => &mut self.model,
            "serial" => &mut self.serial,
            "device-key-sha3-384" => &mut self.device_key,
            // Where we named no store a holder may not name one either: it would widen what the session sees.
            "store" if self.store.is_none() && self.expires.is_some() => return None,
            "store" => &mut self.store,
            "expires" => {
                let end: Timestamp = value.parse().ok()?;
                self.expires = Some(self.expires.map_or(end, |earlier| earlier.min(end)));
                return Some(());
            }
            _unknown => return None,
        };
        match slot {
            Some(earlier) => (*earlier == value).then_some(()),
            None => {
                *slot = Some(value);
                Some(())
            }
        }
    }

    fn complete(self) -> Option<DeviceSession> {
        Some(DeviceSession {
            device: DeviceId {
                brand: self.brand?.parse().ok()?,
                model: self.model?.parse().ok()?,
                serial: self.serial?.parse().ok()?,
            },
            device_key: self.device_key?.parse().ok()?,
            store: self.store.map(str::to_owned),
            expires: self.expires?,
        })
    }
}

/// The session in a `Snap-Device-Authorization` or `X-Device-Authorization` header: `Macaroon root="..."`. Devices
/// and models that were disabled since have none any more.
pub async fn verify_session(app: &App, header: Option<&str>) -> Result<DeviceSession, NoSession> {
    let header = header.filter(|text| !text.is_empty()).ok_or(NoSession::Missing)?;
    let text = root(header).ok_or(NoSession::Expired)?;
    let session = DeviceSession::open(&app.secrets, text, app.clock.now()).ok_or(NoSession::Expired)?;
    if shut_out(app, &session.device).await.map_err(NoSession::Refused)? {
        return Err(NoSession::Denied);
    }
    Ok(session)
}

/// Whether a person denied the device, or its model is disabled.
pub(super) async fn shut_out(app: &App, device: &DeviceId) -> Result<bool, Refusal> {
    if app.models.is_disabled(app, &device.brand, &device.model).await? {
        return Ok(true);
    }
    Ok(app.storage.standing(device).await? == Some(Standing::Denied))
}

/// The value of `root="..."` in a `Macaroon` header.
fn root(header: &str) -> Option<&str> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("macaroon") {
        return None;
    }
    rest.split(',')
        .find_map(|part| part.trim().strip_prefix("root=\"")?.strip_suffix('"'))
}

fn key(secrets: &Secrets) -> MacaroonKey {
    MacaroonKey::generate(&secrets.session_key)
}

/// Whether the chain of signatures begins with our key; what the caveats say is another matter. libmacaroon can tell too, but
/// hashes with portable code, which is a tenth of a refresh where the processor has no instructions for SHA-256.
fn is_signed(secrets: &Secrets, macaroon: &Macaroon) -> bool {
    let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    // As `MacaroonKey::generate` derives it, in all macaroon libraries.
    let root = sign(b"macaroons-key-generator", &secrets.session_key);
    let mut signature = sign(root.as_ref(), macaroon.identifier());
    for caveat in macaroon.caveats() {
        let Caveat::FirstParty(caveat) = caveat else {
            return false;
        };
        signature = sign(signature.as_ref(), caveat.predicate());
    }
    verify_slices_are_equal(signature.as_ref(), macaroon.signature().as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(byte: u8) -> Secrets {
        Secrets {
            nonce_key: [0; 32],
            session_key: [byte; 32],
            audit_seed: [0; 32],
        }
    }

    fn session(store: Option<&str>) -> DeviceSession {
        DeviceSession {
            device: DeviceId {
                brand: "acme".parse().unwrap(),
                model: "gate-1".parse().unwrap(),
                serial: "SN 1 = \"é\"".parse().unwrap(),
            },
            device_key: "k".repeat(64).parse().unwrap(),
            store: store.map(str::to_owned),
            expires: Timestamp::from_unix(1_000_000),
        }
    }

    fn narrowed(text: &str, caveat: &str) -> String {
        let mut macaroon = Macaroon::deserialize(text).unwrap();
        macaroon.add_first_party_caveat(caveat).unwrap();
        macaroon.serialize(Format::V2).unwrap()
    }

    #[test]
    fn a_session_comes_back_as_it_went_out() {
        let now = Timestamp::from_unix(999_999);
        for store in [None, Some("acme-store")] {
            let text = session(store).seal(&secrets(1)).unwrap();
            assert!(!text.contains(['"', '\n', ',', ' ']), "{text}");
            assert_eq!(DeviceSession::open(&secrets(1), &text, now), Some(session(store)));
            assert_eq!(DeviceSession::open(&secrets(2), &text, now), None);
            assert_eq!(
                DeviceSession::open(&secrets(1), &text, Timestamp::from_unix(1_000_000)),
                None
            );
        }
        for bad in ["", "sess-1", "AgEA"] {
            assert_eq!(DeviceSession::open(&secrets(1), bad, now), None);
        }
    }

    #[test]
    fn added_caveats_only_narrow_it() {
        let now = Timestamp::from_unix(10);
        let text = session(None).seal(&secrets(1)).unwrap();
        let open = |caveat: &str| DeviceSession::open(&secrets(1), &narrowed(&text, caveat), now);
        assert_eq!(
            open("expires = 1970-01-01T00:01:00Z").map(|s| s.expires.unix()),
            Some(60)
        );
        assert_eq!(open("expires = 2999-01-01T00:00:00Z"), Some(session(None)));
        assert_eq!(open("brand-id = acme"), Some(session(None)));
        for bad in [
            "brand-id = other",
            "serial = SN 2",
            "store = acme-store",
            "colour = red",
            "nonsense",
        ] {
            assert_eq!(open(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_header_is_read_in_all_its_forms() {
        assert_eq!(root("Macaroon root=\"abc\""), Some("abc"));
        assert_eq!(root("macaroon root=\"abc\", discharge=\"d\""), Some("abc"));
        for bad in [
            "",
            "Macaroon",
            "Macaroon abc",
            "Bearer root=\"abc\"",
            "Macaroon root=abc",
        ] {
            assert_eq!(root(bad), None, "{bad}");
        }
    }
}
