//! Who asks: both spellings of the device headers on every path (device-api.md 1.2).

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, StatusCode};
use tracing::Instrument as _;
use warp::Filter;

use crate::app::sessions::NoSession;
use crate::app::store::{Asker, Presence, Snapshot};
use crate::app::{App, Reason, Refusal};
use crate::domain::ident::{Architecture, StoreId};
use crate::http::auth::credential;
use crate::http::fault::{DeviceDialect, Fault};

/// Who asks, as far as the headers say; never rejects.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    presence: Presence,
    /// Formats of deltas the client takes, the best first.
    pub(super) delta_formats: Vec<String>,
    /// The client, as it names itself; at most 128 bytes.
    pub(super) client: Option<String>,
}

/// The headers of a request to the store.
pub(super) fn asking() -> impl Filter<Extract = (Asking,), Error = Infallible> + Clone + Send + Sync + 'static
{
    warp::header::headers_cloned().map(|headers: HeaderMap| Asking::read(&headers))
}

/// The catalogue, who asks, and why that is not known.
type Entered = (Arc<Snapshot>, Asker, Option<Refusal>);

impl Asking {
    fn read(headers: &HeaderMap) -> Self {
        let text = |names: [&str; 2]| {
            let value = names.into_iter().find_map(|name| headers.get(name));
            value.map(|value| value.to_str().unwrap_or("-").trim())
        };
        let named = |names| text(names).filter(|text| !text.is_empty());
        let formats = headers.get("snap-accept-delta-format");
        let formats = formats.and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            delta_formats: formats
                .split(',')
                .map(|format| format.trim().to_owned())
                .filter(|format| !format.is_empty())
                .collect(),
            client: headers
                .get(USER_AGENT)
                .and_then(|value| value.to_str().ok())
                .map(|text| text.chars().take(128).collect()),
            presence: Presence {
                // A value that is no text cannot be a session of ours either.
                device: text(["snap-device-authorization", "x-device-authorization"]).map(str::to_owned),
                token: headers
                    .get(AUTHORIZATION)
                    // Whether macaroons are ours shows later; nobody has logged in here with others.
                    .and_then(|value| credential(value.to_str().ok()?)),
                store: named(["snap-device-store", "x-ubuntu-store"]).and_then(|text| text.parse().ok()),
                // For a machine we do not know there is what runs anywhere.
                architecture: named(["snap-device-architecture", "x-ubuntu-architecture"])
                    .map(|text| text.parse().unwrap_or(Architecture::ANY)),
            },
        }
    }

    /// The catalogue as it is now, and who asks.
    pub(super) async fn enter(&self, app: &App) -> Result<(Arc<Snapshot>, Asker), Fault<DeviceDialect>> {
        let catalog = app.catalog.readable(app).await?;
        let span = tracing::debug_span!(target: "hallmark::traces", "identify");
        let identified = Asker::identify(app, &catalog, &self.presence);
        Ok((Arc::clone(&catalog), identified.instrument(span).await?))
    }

    /// The same for a file. While nobody can be identified, since the database is out of reach, a device asks as anybody would:
    /// what anybody may have is the same for it. Whether it may have more shows later; then the last is why nobody knows now.
    pub(super) async fn enter_for_file(&self, app: &App) -> Result<Entered, Fault<DeviceDialect>> {
        let catalog = app.catalog.readable(app).await?;
        let identified = Asker::identify(app, &catalog, &self.presence).await;
        match identified {
            Err(NoSession::Refused(why)) if why.reason == Reason::Unavailable => {
                Ok((catalog, Asker::anybody(), Some(why)))
            }
            identified => Ok((catalog, identified?, None)),
        }
    }

    /// The store that was named.
    pub(super) fn store(&self) -> Option<&StoreId> {
        self.presence.store.as_ref()
    }

    /// Whether an architecture was named.
    pub(super) fn names_architecture(&self) -> bool {
        self.presence.architecture.is_some()
    }
}

/// What is not seen, or not there: the same answer.
pub(super) fn not_found(message: impl std::fmt::Display) -> Fault<DeviceDialect> {
    Fault::new(StatusCode::NOT_FOUND, "resource-not-found", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::credentials::Credential;
    use crate::domain::access::TokenText;

    #[test]
    fn both_spellings_are_read_and_empty_values_are_none() {
        for (session, store, architecture) in [
            (
                "snap-device-authorization",
                "snap-device-store",
                "snap-device-architecture",
            ),
            (
                "x-device-authorization",
                "x-ubuntu-store",
                "x-ubuntu-architecture",
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(session, "Macaroon root=\"x\"".parse().unwrap());
            headers.insert(store, "acme".parse().unwrap());
            headers.insert(architecture, "arm64".parse().unwrap());
            let presence = Asking::read(&headers).presence;
            assert_eq!(presence.device.as_deref(), Some("Macaroon root=\"x\""));
            assert_eq!(presence.store, Some("acme".parse().unwrap()));
            assert_eq!(presence.architecture, Some("arm64".parse().unwrap()));
        }
        let mut headers = HeaderMap::new();
        headers.insert("snap-device-store", "".parse().unwrap());
        headers.insert(
            "snap-accept-delta-format",
            "snap-1-1-xdelta3, xdelta3".parse().unwrap(),
        );
        let asking = Asking::read(&headers);
        assert_eq!(asking.presence.store, None);
        assert_eq!(asking.presence.architecture, None);
        headers.insert("snap-device-architecture", "ppc".parse().unwrap());
        let presence = Asking::read(&headers).presence;
        assert_eq!(presence.architecture, Some(Architecture::ANY));
    }

    #[test]
    fn tokens_are_read_in_the_forms_tools_send() {
        let text = TokenText::generate(|buffer| buffer.fill(9));
        let text = text.reveal();
        for header in [
            format!("Bearer {text}"),
            format!("Macaroon {text}"),
            format!("macaroon root=\"{text}\""),
            format!("Macaroon root=\"{text}\", discharge=\"d\""),
        ] {
            assert_eq!(
                credential(&header).and_then(|found| match found {
                    Credential::Token(token) => Some(token.reveal().to_owned()),
                    Credential::Single(_) | Credential::Pair { .. } => None,
                }),
                Some(text.to_owned()),
                "{header}"
            );
        }
        for other in ["Basic YTpi", "Bearer", ""] {
            assert!(credential(other).is_none(), "{other}");
        }
    }
}
