//! `POST /api/v1/snaps/auth/nonces` and `.../sessions` (device-api.md 3).

use std::convert::Infallible;

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use warp::reply::Response;
use warp::{Filter, Reply as _};

use crate::app::sessions::{
    DeviceSession, DeviceSessions, NoSession, SessionError, SessionRequest, verify_session,
};
use crate::app::{App, Reason};
use crate::http::body;
use crate::http::endpoint::{Access, BodyShape, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
use crate::http::fields;
use crate::http::reply;

/// The challenge on which snapd makes a new session and asks again (device-api.md 1.4).
const REFRESH: &str = "Macaroon refresh_device_session=1";

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let sessions = DeviceSessions::new(app);
    let nonces = warp::path!("api" / "v1" / "snaps" / "auth" / "nonces")
        .and(with(sessions.clone()))
        .map(|sessions: DeviceSessions| reply::json(&json!({"nonce": sessions.nonce()})))
        .boxed();
    let open = warp::path!("api" / "v1" / "snaps" / "auth" / "sessions")
        .and(body::up_to(app.settings.limits.session))
        .and(with(sessions))
        .then(|body: Bytes, sessions: DeviceSessions| async move {
            open(&sessions, &body).await.unwrap_or_else(Fault::into_response)
        })
        .boxed();
    vec![
        Endpoint::post(
            "/api/v1/snaps/auth/nonces",
            Access::Open,
            "Give out a nonce for a session",
            nonces,
        ),
        Endpoint::post(
            "/api/v1/snaps/auth/sessions",
            Access::Open,
            "Open a device session",
            open,
        )
        .with_body(Some(BodyShape {
            media: "application/json",
            fields: fields::of::<Body>(),
        })),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Body {
    device_session_request: String,
    serial_assertion: String,
    model_assertion: String,
}

async fn open(sessions: &DeviceSessions, body: &[u8]) -> Result<Response, Fault<DeviceDialect>> {
    let body: Body = body::json(body)?;
    let request = SessionRequest {
        request: body.device_session_request,
        serial: body.serial_assertion,
        model: body.model_assertion,
    };
    let macaroon = sessions.open(&request).await?;
    Ok(reply::json(&json!({"macaroon": macaroon})))
}

impl From<SessionError> for Fault<DeviceDialect> {
    fn from(error: SessionError) -> Self {
        match &error {
            SessionError::Invalid(_) => Self::of(Reason::Invalid, "invalid-request", error),
            SessionError::StaleNonce => Self::of(Reason::Invalid, "invalid-nonce", error),
            SessionError::Unverified(_) => Self::of(Reason::Invalid, "invalid-assertion", error),
            SessionError::UnknownSerial => Self::new(StatusCode::FORBIDDEN, "unknown-serial", error),
            SessionError::Denied => Self::new(StatusCode::FORBIDDEN, "device-denied", error),
            SessionError::Refused(refusal) => refusal.clone().into(),
        }
    }
}

impl From<NoSession> for Fault<DeviceDialect> {
    fn from(error: NoSession) -> Self {
        match &error {
            NoSession::Missing => Self::of(Reason::Unauthenticated, "device-session-required", error)
                .with_header(WWW_AUTHENTICATE, REFRESH),
            NoSession::Expired => Self::of(Reason::Unauthenticated, "device-session-expired", error)
                .with_header(WWW_AUTHENTICATE, REFRESH),
            // Without the challenge: a new session would be refused as well.
            NoSession::Denied => Self::new(StatusCode::FORBIDDEN, "device-denied", error),
            NoSession::Refused(refusal) => refusal.clone().into(),
        }
    }
}

/// The session the device presents, in either spelling of the header (device-api.md 1.2).
#[derive(Clone, Debug)]
pub struct Presented(Option<String>);

/// What the device presents; never rejects.
pub fn presented() -> impl Filter<Extract = (Presented,), Error = Infallible> + Clone + Send + Sync + 'static
{
    warp::header::headers_cloned().map(|headers: HeaderMap| {
        let value = ["snap-device-authorization", "x-device-authorization"]
            .into_iter()
            .find_map(|n| headers.get(n));
        // A value that is no text cannot be a session of ours either.
        Presented(value.map(|value| value.to_str().unwrap_or("-").to_owned()))
    })
}

impl Presented {
    /// The session; without one the fault that makes the device open one.
    pub async fn session(&self, app: &App) -> Result<DeviceSession, Fault<DeviceDialect>> {
        Ok(verify_session(app, self.0.as_deref()).await?)
    }

    /// The session where there is a good one, for paths that answer without, too.
    pub async fn any_session(&self, app: &App) -> Result<Option<DeviceSession>, Fault<DeviceDialect>> {
        match verify_session(app, self.0.as_deref()).await {
            Ok(session) => Ok(Some(session)),
            Err(NoSession::Refused(refusal)) => Err(refusal.into()),
            Err(NoSession::Missing | NoSession::Expired | NoSession::Denied) => Ok(None),
        }
    }
}
