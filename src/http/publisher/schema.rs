//! Request bodies of administration clients: read strictly, since what is mistyped must not be left out in silence
//! (admin-api.md 2.3). Refusals have the code those clients know, `api-error`.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::app::ReadLimits;
use crate::http::body::Unread;
use crate::http::endpoint::BodyShape;
use crate::http::fault::{Dialect, Fault};
use crate::http::fields;
use crate::http::typed::Body;

/// An object. `T` says `#[serde(deny_unknown_fields)]`.
#[derive(Clone, Debug)]
pub(super) struct Schema<T>(pub T);

/// A list of objects, or of texts. `T` says `#[serde(deny_unknown_fields)]`.
#[derive(Clone, Debug)]
pub(super) struct SchemaList<T>(pub Vec<T>);

impl<T: DeserializeOwned + Send + 'static> Body for Schema<T> {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape {
            media: "application/json",
            fields: fields::of::<T>(),
        })
    }

    async fn read<D: Dialect>(body: Unread, limits: &ReadLimits) -> Result<Self, Fault<D>> {
        let bytes = body.up_to(limits.json).await?;
        // A list would be taken for the fields in order.
        match bytes.trim_ascii_start().first() {
            None | Some(b'{') => read(&bytes).map(Self),
            Some(_) => Err(wrong("an object is expected")),
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Body for SchemaList<T> {
    fn shape() -> Option<BodyShape> {
        Some(BodyShape {
            media: "application/json",
            fields: fields::of::<T>(),
        })
    }

    async fn read<D: Dialect>(body: Unread, limits: &ReadLimits) -> Result<Self, Fault<D>> {
        let bytes = body.up_to(limits.json).await?;
        let entries: Vec<Value> = read(&bytes)?;
        if entries.iter().any(Value::is_array) {
            return Err(wrong("a list of objects is expected"));
        }
        read(&bytes).map(Self)
    }
}

fn read<T: DeserializeOwned, D: Dialect>(bytes: &[u8]) -> Result<T, Fault<D>> {
    serde_json::from_slice(bytes).map_err(wrong)
}

fn wrong<D: Dialect>(why: impl Display) -> Fault<D> {
    Fault::invalid("api-error", format!("cannot read the request body: {why}"))
}
