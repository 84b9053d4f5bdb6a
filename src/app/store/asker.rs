//! Who asks, and which store that means.

use std::sync::Arc;

use super::refresh::Context;
use super::view::{Pinned, Snapshot};
use crate::app::credentials::{Credential, is_ours};
use crate::app::fleet::DeviceSight;
use crate::app::sessions::{DeviceSession, NoSession, verify_session};
use crate::app::{App, BrandCtx, Place, Reason, Refusal, StoreCtx, authorize};
use crate::domain::access::Permission;
use crate::domain::catalog::{Pins, Viewer};
use crate::domain::ident::{Architecture, SnapId, StoreId};

/// What a request says of who makes it.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// The device session header.
    pub device: Option<String>,
    /// What an account presents, for image builders.
    pub token: Option<Credential>,
    /// The store it names.
    pub store: Option<StoreId>,
    /// The architecture it names; [`Architecture::ANY`] for one we do not know.
    pub architecture: Option<Architecture>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The device, where one proved to be it.
    pub session: Option<DeviceSession>,
    /// The architecture; `amd64` where none is named, as snapd's own default on most hosts.
    pub architecture: Architecture,
    store: Option<StoreId>,
    belongs: bool,
    pinned: Option<Arc<Pinned>>,
}

impl Asker {
    /// Who asks. A device is of the store of its model, whatever store it names besides, if that store is its brand's;
    /// an account with a role in the store it names, or in its brand, sees that store. Everybody else is a stranger.
    ///
    /// # Errors
    /// If a session is presented that is none (any more), or a token that is unknown.
    pub async fn identify(app: &App, catalog: &Snapshot, presence: &Presence) -> Result<Self, NoSession> {
        let session = match verify_session(app, presence.device.as_deref()).await {
            Ok(session) => Some(session),
            Err(NoSession::Missing) => None,
            Err(error) => return Err(error),
        };
        let architecture = presence
            .architecture
            .clone()
            .map_or_else(default_architecture, Ok)?;
        let (store, belongs) = match (&session, &presence.token) {
            (Some(session), _) => place(catalog, session),
            // Macaroons of another server, from a log-in there, say nothing here.
            (None, Some(token)) if is_ours(token) => {
                builder(app, catalog, presence.store.as_ref(), token).await?
            }
            (None, Some(_) | None) => (presence.store.clone(), false),
        };
        let pinned = store.as_ref().and_then(|store| catalog.pinned_by(store));
        Ok(Self {
            session,
            architecture,
            pinned: pinned.cloned(),
            store,
            belongs,
        })
    }

    /// Nobody in particular.
    pub fn anybody() -> Self {
        Self {
            session: None,
            architecture: Architecture::ANY,
            store: None,
            belongs: false,
            pinned: None,
        }
    }

    /// What the store through which they see the catalogue pins of a snap.
    pub fn pins(&self, snap: &SnapId) -> Option<&Pins> {
        self.pinned.as_ref()?.get(snap)
    }

    /// What a production device sees of the stream it follows; none for others.
    ///
    /// # Errors
    /// If the database is out of reach where something has to be recorded before the device is told.
    pub async fn sight(&self, app: &App, context: &Context<'_>) -> Result<Option<DeviceSight>, Refusal> {
        let Some(session) = &self.session else {
            return Ok(None);
        };
        DeviceSight::of(
            app,
            &session.device,
            self.home(),
            &self.architecture,
            context.iter(),
        )
        .await
    }

    /// The store it belongs to; none for strangers.
    pub fn home(&self) -> Option<&StoreId> {
        self.store.as_ref().filter(|_| self.belongs)
    }

    /// For the visible-set rule.
    pub fn viewer(&self) -> Viewer<'_> {
        match &self.store {
            Some(store) if self.belongs => Viewer::Of(store),
            store => Viewer::Anyone(store.as_ref()),
        }
    }
}

/// The store of a device. A model may name any store, but only one of its brand opens to it.
fn place(catalog: &Snapshot, session: &DeviceSession) -> (Option<StoreId>, bool) {
    let brand = &session.device.brand;
    match &session.store {
        None => (catalog.base_store(brand).cloned(), true),
        Some(named) => match named.parse::<StoreId>() {
            Ok(store) => {
                let own = catalog.brand_of(&store) == Some(brand);
                (Some(store), own)
            }
            Err(_) => (None, false),
        },
    }
}

/// The store of somebody with a token: the one they name, else that of their only brand.
async fn builder(
    app: &App,
    catalog: &Snapshot,
    named: Option<&StoreId>,
    token: &Credential,
) -> Result<(Option<StoreId>, bool), NoSession> {
    let judged = match named {
        Some(store) => {
            let place = Place::Store(store.clone());
            authorize::<StoreCtx>(app, Some(token), Permission::ImageBuild, place)
                .await
                .map(|ctx| Some(ctx.store().id.clone()))
        }
        None => authorize::<BrandCtx>(app, Some(token), Permission::ImageBuild, Place::Unnamed)
            .await
            .map(|ctx| catalog.base_store(ctx.brand()).cloned()),
    };
    match judged {
        Ok(store) => Ok((store, true)),
        Err(refusal) if matches!(refusal.reason, Reason::NotFound | Reason::Invalid) => {
            Ok((named.cloned(), false))
        }
        Err(refusal) => Err(NoSession::Refused(refusal)),
    }
}

fn default_architecture() -> Result<Architecture, NoSession> {
    "amd64"
        .parse()
        .map_err(|error: crate::domain::ident::IdentError| NoSession::Refused(error.into()))
}
