//! Validation sets of a brand: made with a key of the vault, drawn up for another, listed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Created, Input, Json, Native, Outcome};
use crate::app::catalog::validation_sets::{self, NewSet, NewSnap, word};
use crate::app::catalog::vouching::Which;
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::assertion::types::{SetPresence, SetSnap};
use crate::domain::assertion::{Assertion, Typed};
use crate::domain::ident::{KeyId, KeyName, SnapName};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;
use crate::http::reply;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/validation-sets",
            P::AssertionRead,
            "List the validation sets of a brand, the last of each sequence",
            list,
        ),
        native.get(
            "/hallmark/v1/validation-sets/{name}{?sequence}",
            P::AssertionRead,
            "Show a validation set",
            show,
        ),
        native.post(
            "/hallmark/v1/validation-sets",
            P::ValidationSetSign,
            "Sign a validation set with a key of the brand",
            create,
        ),
        native.post(
            "/hallmark/v1/validation-set-drafts",
            P::AssertionRead,
            "Draw up a validation set that is signed elsewhere",
            draft,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SnapView {
    name: String,
    id: String,
    presence: &'static str,
    revision: Option<u64>,
    components: Map<String, Value>,
}

impl From<&SetSnap> for SnapView {
    fn from(snap: &SetSnap) -> Self {
        let components = snap.components.iter().map(|(name, component)| {
            let view = serde_json::json!({
                "presence": word(component.presence), "revision": component.revision,
            });
            (name.clone(), view)
        });
        Self {
            name: snap.name.clone(),
            id: snap.id.clone(),
            presence: word(snap.presence),
            revision: snap.revision,
            components: components.collect(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SetView {
    account_id: String,
    name: String,
    sequence: u64,
    revision: u64,
    timestamp: Timestamp,
    sign_key_sha3_384: KeyId,
    snaps: Vec<SnapView>,
    /// As it is signed.
    assertion: String,
}

impl SetView {
    fn of(assertion: &Assertion) -> Option<Self> {
        let Typed::ValidationSet(set) = assertion.typed() else {
            return None;
        };
        Some(Self {
            account_id: set.account_id.clone(),
            name: set.name.clone(),
            sequence: set.sequence,
            revision: assertion.revision(),
            timestamp: set.timestamp,
            sign_key_sha3_384: assertion.sign_key().clone(),
            snaps: set.snaps.iter().map(SnapView::from).collect(),
            assertion: String::from_utf8_lossy(assertion.encoded()).into_owned(),
        })
    }

    fn one(assertion: &Assertion) -> Outcome<Self> {
        let view = Self::of(assertion);
        Ok(view.ok_or_else(|| Refusal::not_found("cannot find the validation set: it is of another type"))?)
    }
}

async fn list(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<SetView>>> {
    let found = validation_sets::list(&app, &ctx, None, Which::Latest).await?;
    Ok(Json(found.iter().filter_map(SetView::of).collect()))
}

async fn show(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<SetView>> {
    let name: String = input.variable("name")?;
    let sequence = input.query("sequence")?;
    let found = validation_sets::show(&app, &ctx, &name, sequence).await?;
    Ok(Json(SetView::one(&found)?))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SetBody {
    name: String,
    sequence: u64,
    snaps: Vec<SnapBody>,
    /// Not for drafts.
    #[serde(default)]
    key: Option<KeyName>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SnapBody {
    name: SnapName,
    #[serde(default)]
    revision: Option<u64>,
    #[serde(default)]
    presence: Option<PresenceBody>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PresenceBody {
    Required,
    Optional,
    Invalid,
}

impl SetBody {
    fn read(self) -> (NewSet, Option<KeyName>) {
        let snaps = self.snaps.into_iter().map(|snap| NewSnap {
            name: snap.name,
            revision: snap.revision,
            presence: snap.presence.map(|presence| match presence {
                PresenceBody::Required => SetPresence::Required,
                PresenceBody::Optional => SetPresence::Optional,
                PresenceBody::Invalid => SetPresence::Invalid,
            }),
        });
        let new = NewSet {
            name: self.name,
            sequence: self.sequence,
            snaps: snaps.collect(),
        };
        (new, self.key)
    }
}

async fn create(app: App, ctx: BrandCtx, input: Input<Json<SetBody>>) -> Outcome<Created<SetView>> {
    let (new, key) = input.body.0.read();
    let made = validation_sets::create(&app, &ctx, &new, key).await?;
    Ok(Created(SetView::one(&made)?))
}

/// The headers as `snap sign` takes them.
async fn draft(app: App, ctx: BrandCtx, input: Input<Json<SetBody>>) -> Outcome<Json<Map<String, Value>>> {
    let (new, key) = input.body.0.read();
    if key.is_some() {
        return Err(Refusal::invalid(
            "invalid-request",
            "cannot draw up the validation set: whoever signs it chooses the key",
        )
        .into());
    }
    let statement = validation_sets::draft(&app, &ctx, &new).await?;
    Ok(Json(reply::unsigned(&statement)))
}
