//! Opening a session: the checks of device-api.md 3, in an order that spends the nonce last.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use bytes::Bytes;

use super::nonce::{self, Nonce};
use super::token::{DeviceSession, SESSION_LIFE, shut_out};
use crate::app::{App, Reason, Refusal, assertions};
use crate::domain::assertion::types::{DeviceSessionRequest, Model, Serial};
use crate::domain::assertion::{Assertion, AssertionType, Typed, decode};
use crate::domain::ident::DeviceId;
use crate::domain::time::Timestamp;
use crate::domain::vault::SerialState;

/// How far a device's clock may be ahead, in seconds. One that is behind is no reason to refuse: boards without a
/// battery start in the past, and it is the nonce that proves freshness.
const MAX_AHEAD: i64 = 24 * 3600;
/// Answers kept for clients that send the same request again because ours was lost, and for how long, in seconds.
/// snapd gives up after 38 s.
const MAX_REPEATS: usize = 4096;
const REPEAT_LIFE: i64 = 60;

/// What a device presents.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    /// The `device-session-request` assertion.
    pub request: String,
    /// The `serial` assertion.
    pub serial: String,
    /// The `model` assertion.
    pub model: String,
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// One of the three is not what it should be, or they do not belong together.
    #[error("cannot open a session: {0}")]
    Invalid(String),
    /// The nonce is not ours, too old or used.
    #[error("cannot open a session: the nonce is unknown, expired or used; get a new one")]
    StaleNonce,
    /// A signature does not hold.
    #[error("cannot open a session: {0}")]
    Unverified(String),
    /// The serial is not one issued for this model.
    #[error("cannot open a session: the serial assertion is not one issued by this brand")]
    UnknownSerial,
    /// The device or its model was shut out.
    #[error("cannot open a session: the device or its model is disabled")]
    Denied,
    /// Ours.
    #[error("{0}")]
    Refused(Refusal),
}

impl<E: Into<Refusal>> From<E> for SessionError {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// Gives out nonces and opens sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeviceSessions {
    app: App,
    repeats: Arc<Mutex<Repeats>>,
}

impl DeviceSessions {
    /// For `app`.
    pub fn new(app: &App) -> Self {
        Self {
            app: app.clone(),
            repeats: Arc::default(),
        }
    }

    /// A fresh nonce; writes nothing.
    pub fn nonce(&self) -> String {
        nonce::issue(&self.app)
    }

    /// Opens a session and gives its macaroon. The same request again, within a minute, gets the same answer: clients
    /// repeat it when the answer was lost.
    pub async fn open(&self, presented: &SessionRequest) -> Result<String, SessionError> {
        let now = self.app.clock.now();
        let name = presented.digest();
        if let Some(macaroon) = self
            .repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .find(&name, now)
        {
            return Ok(macaroon);
        }
        let (session, nonce) = self.judge(presented, now).await?;
        let macaroon = session.seal(&self.app.secrets).map_err(|error| {
            tracing::error!(%error, "cannot make a macaroon");
            Refusal::new(Reason::Internal, "internal-error", "cannot make the session")
        })?;
        if !self.app.storage.spend(nonce.random, nonce.expires).await? {
            return Err(SessionError::StaleNonce);
        }
        self.repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(name, macaroon.clone(), now);
        Ok(macaroon)
    }

    async fn judge(
        &self,
        presented: &SessionRequest,
        now: Timestamp,
    ) -> Result<(DeviceSession, Nonce), SessionError> {
        let app = &self.app;
        let request = read(
            "device-session-request",
            &presented.request,
            AssertionType::DeviceSessionRequest,
        )?;
        let serial = read("serial-assertion", &presented.serial, AssertionType::Serial)?;
        let model = read("model-assertion", &presented.model, AssertionType::Model)?;
        let Views {
            asked,
            named,
            described,
        } = Views::of(&request, &serial, &model)?;
        let device = together(asked, named, described)?;
        let nonce = Nonce::open(&app.secrets, &asked.nonce).filter(|nonce| now <= nonce.expires);
        let nonce = nonce.ok_or(SessionError::StaleNonce)?;
        if asked.timestamp > now.plus_seconds(MAX_AHEAD) {
            return Err(SessionError::Invalid(format!(
                "the device's clock says {}, but it is {now}",
                asked.timestamp
            )));
        }
        if request.sign_key() != named.device_key.id() {
            return Err(SessionError::Unverified(
                "the request is not signed with the device key".to_owned(),
            ));
        }
        let unverified = |e: &dyn std::fmt::Display| SessionError::Unverified(format!("the request: {e}"));
        named
            .device_key
            .verify_assertion(&request)
            .map_err(|e| unverified(&e))?;
        self.check_serial(&serial, &device, described).await?;
        if let Err(error) = assertions::check(app, &model).await? {
            return Err(SessionError::Unverified(format!("the model assertion: {error}")));
        }
        if shut_out(app, &device).await? {
            return Err(SessionError::Denied);
        }
        let session = DeviceSession {
            device,
            device_key: named.device_key.id().clone(),
            store: described.store.clone(),
            expires: now.plus_seconds(SESSION_LIFE),
        };
        Ok((session, nonce))
    }

    /// A serial in our ledger must be the very one we issued; any revision is good, as long as its key has proved
    /// itself, so that registering a serial again cannot shut the first device out. One that is not in the ledger
    /// (another vault of the brand issued it) must be signed by the brand or a serial authority of the model.
    async fn check_serial(
        &self,
        serial: &Assertion,
        device: &DeviceId,
        model: &Model,
    ) -> Result<(), SessionError> {
        let history = self.app.storage.history(device).await?;
        if let Some(row) = history.iter().find(|row| row.revision == serial.revision()) {
            let issued = row.state == SerialState::Issued && row.assertion == *serial.encoded();
            return if issued {
                Ok(())
            } else {
                Err(SessionError::UnknownSerial)
            };
        }
        let authority = serial.authority_id().unwrap_or_default();
        if authority != device.brand.as_str() && !model.lets_sign_serials(authority) {
            return Err(SessionError::UnknownSerial);
        }
        match assertions::check(&self.app, serial).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(SessionError::Unverified(format!("the serial assertion: {error}"))),
        }
    }
}

impl SessionRequest {
    fn digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&self.request, &self.serial, &self.model] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut name = [0; 32];
        name.copy_from_slice(context.finish().as_ref());
        name
    }
}

struct Views<'a> {
    asked: &'a DeviceSessionRequest,
    named: &'a Serial,
    described: &'a Model,
}

impl<'a> Views<'a> {
    fn of(request: &'a Assertion, serial: &'a Assertion, model: &'a Assertion) -> Result<Self, SessionError> {
        match (request.typed(), serial.typed(), model.typed()) {
            (Typed::DeviceSessionRequest(asked), Typed::Serial(named), Typed::Model(described)) => Ok(Self {
                asked,
                named,
                described,
            }),
            _others => Err(SessionError::Invalid(
                "an assertion has another type than its name says".to_owned(),
            )),
        }
    }
}

fn read(name: &str, text: &str, kind: AssertionType) -> Result<Assertion, SessionError> {
    let assertion = decode(&Bytes::copy_from_slice(text.as_bytes()))
        .map_err(|e| SessionError::Invalid(format!("{name}: {e}")))?;
    if assertion.kind() == kind {
        Ok(assertion)
    } else {
        Err(SessionError::Invalid(format!(
            "{name} is a {} assertion, not a {kind}",
            assertion.kind()
        )))
    }
}

/// The device all three speak of.
fn together(
    asked: &DeviceSessionRequest,
    named: &Serial,
    described: &Model,
) -> Result<DeviceId, SessionError> {
    let device = named.device().map_err(|e| SessionError::Invalid(e.to_string()))?;
    if asked.brand_id != named.brand_id || asked.model != named.model || asked.serial != named.serial {
        return Err(SessionError::Invalid(
            "the request is for another device than the serial assertion".to_owned(),
        ));
    }
    if described.brand_id != named.brand_id || described.model != named.model {
        return Err(SessionError::Invalid(
            "the serial assertion is for another model".to_owned(),
        ));
    }
    Ok(device)
}

/// Recent answers by the digest of their request, oldest first out.
#[derive(Debug, Default)]
struct Repeats {
    answers: HashMap<[u8; 32], String>,
    order: VecDeque<([u8; 32], Timestamp)>,
}

impl Repeats {
    fn find(&mut self, name: &[u8; 32], now: Timestamp) -> Option<String> {
        while self.order.front().is_some_and(|(_, until)| *until <= now) || self.order.len() > MAX_REPEATS {
            if let Some((old, _)) = self.order.pop_front() {
                self.answers.remove(&old);
            }
        }
        self.answers.get(name).cloned()
    }

    fn keep(&mut self, name: [u8; 32], macaroon: String, now: Timestamp) {
        self.order.push_back((name, now.plus_seconds(REPEAT_LIFE)));
        self.answers.insert(name, macaroon);
    }
}
