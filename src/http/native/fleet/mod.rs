//! Update control: groups of devices, waves and their rollouts (waves-and-registration.md A.8).

mod groups;
mod view;
mod waves;

pub use view::{StatusView, WaveView};

use super::{Input, Json, Native, NoContent, Outcome};
use crate::app::devices::DeviceName;
use crate::app::{Reason, Refusal};
use crate::http::body::{self, Unread};
use crate::http::endpoint::{BodyShape, Endpoint};
use crate::http::fault::{Dialect, Fault};
use crate::http::fields;
use crate::http::typed::Body;

/// Longest list of devices, in bytes: more than a million uuids.
const LONGEST: usize = 64 << 20;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    [groups::endpoints(native), waves::endpoints(native)].concat()
}

/// JSON that may hold a long list of devices.
#[derive(Clone, Debug)]
pub struct Long<T>(pub T);

impl<T: serde::de::DeserializeOwned + Send + 'static> Body for Long<T> {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape {
            media: "application/json",
            fields: fields::of::<T>(),
        })
    }

    async fn read<D: Dialect>(body: Unread, _limits: &crate::app::ReadLimits) -> Result<Self, Fault<D>> {
        body::json(&body.up_to(LONGEST).await?).map(Self)
    }
}

/// The devices that a list names.
///
/// # Errors
/// `invalid-device` for what cannot be the name of one.
pub fn names(texts: &[String]) -> Result<Vec<DeviceName>, Refusal> {
    let name = |text: &String| {
        text.parse::<DeviceName>().map_err(|error| {
            Refusal::new(
                Reason::Invalid,
                "invalid-device",
                format!("cannot read the list of devices: {error}"),
            )
        })
    };
    texts.iter().map(name).collect()
}
