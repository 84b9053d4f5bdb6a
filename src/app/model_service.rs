//! Models as the clients of the model service administer them: an API key that can be read again, serial policies that can
//! be withdrawn (admin-api.md 2.5).

use serde_json::json;
use zeroize::Zeroizing;

use super::api_keys::{self, ApiKeyHash, Owner};
use super::models::{MAX_API_KEYS, find, held_key, make_api_key, replace};
use super::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::ident::ModelName;
use crate::domain::vault::ModelRecord;
use crate::ports::Versioned;

/// How long the API key of before stays good unless its administrator says otherwise, in seconds: 30 days. Images in the
/// field carry it.
pub const GRACE: i64 = 30 * 86_400;
/// The longest that can be asked for, in seconds: ten years.
pub const MAX_GRACE: i64 = 3650 * 86_400;

/// The API key of a model in clear: the one of those in force that was added last. None if there is none, if it is from
/// before keys could be read again, or for those who may not replace it.
pub fn api_key(app: &App, ctx: &BrandCtx, model: &ModelRecord) -> Result<Option<Zeroizing<String>>, Refusal> {
    if !ctx.may(Permission::ModelManage) {
        return Ok(None);
    }
    let Some(key) = model.newest_api_key(app.clock.now()) else {
        return Ok(None);
    };
    let owner = Owner {
        brand: &model.brand_id,
        model: &model.name,
        id: &key.id,
    };
    let open = |sealed: &String| api_keys::open(app, owner, sealed);
    key.sealed.as_ref().map(open).transpose()
}

/// Makes `key` the API key of a model. The others stop being good after `grace` seconds; none = [`GRACE`].
///
/// # Errors
/// `invalid-api-key`, `api-key-taken`, `invalid-grace`.
pub async fn set_api_key(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
    key: &str,
    grace: Option<i64>,
) -> Result<ModelRecord, Refusal> {
    let grace = grace.unwrap_or(GRACE);
    if !(0..=MAX_GRACE).contains(&grace) {
        return Err(Refusal::invalid(
            "invalid-grace",
            format!("cannot replace the API key: its grace period must be 0 to {MAX_GRACE} seconds"),
        ));
    }
    let now = app.clock.now();
    let end = now.plus_seconds(grace);
    let key = api_keys::given(key)?;
    let Versioned { mut record, version } = find(app, ctx, name).await?;
    let hash = ApiKeyHash::of(&app.secrets, &key).text();
    // One of the model's own comes first again.
    let known = record.api_keys.iter().position(|known| known.hash == hash);
    let mut first = match known {
        Some(known) => record.api_keys.remove(known),
        None => make_api_key(app, (ctx.brand(), name), Some(&key), None, now)?.0,
    };
    record.api_keys.retain(|other| !other.expired(now));
    // The oldest makes room: who replaces keys this way never removes one.
    while record.api_keys.len() >= MAX_API_KEYS {
        record.api_keys.remove(0);
    }
    for other in &mut record.api_keys {
        other.expires = Some(other.expires.map_or(end, |expires| expires.min(end)));
    }
    first.expires = None;
    if first.sealed.is_none() {
        let owner = Owner {
            brand: &record.brand_id,
            model: name,
            id: &first.id,
        };
        first.sealed = Some(api_keys::seal(app, owner, &key)?);
    }
    let detail = json!({ "api-key-id": first.id, "others-expire": end.to_string() });
    record.api_keys.push(first);
    replace(app, ctx, record, version, None, "model.api-key.add", detail).await
}

/// Withdraws a serial policy; the one before it comes into force where it was the last. A model that issues serials is not
/// left without a key that can sign them.
///
/// # Errors
/// `policy-in-use`; unknown ones are not found.
pub async fn withdraw_policy(
    app: &App,
    ctx: &BrandCtx,
    name: &ModelName,
    revision: u32,
) -> Result<ModelRecord, Refusal> {
    let Versioned {
        record: mut model,
        version,
    } = find(app, ctx, name).await?;
    let in_force = model.policy().map(|policy| policy.revision);
    let before = model.policies.len();
    model.last_policy = model.next_policy().saturating_sub(1);
    model.policies.retain(|policy| policy.revision != revision);
    if model.policies.len() == before {
        return Err(Refusal::not_found(format!(
            "cannot find serial policy {revision} of model {name}"
        )));
    }
    let mut held = None;
    if in_force == Some(revision) && !model.disabled {
        let refuse = |why: &str| {
            Refusal::conflict(
                "policy-in-use",
                format!(
                    "cannot delete serial policy {revision} of model {name}: {why}; add another policy first, or disable \
                     the model"
                ),
            )
        };
        let next = model
            .policy()
            .ok_or_else(|| refuse("the model would have none left to issue serials by"))?;
        held = Some(
            held_key(app, ctx, name, &next.key, app.clock.now())
                .await
                .map_err(|_| refuse("the key of the policy before it can sign no serials"))?,
        );
    }
    let detail = json!({ "revision": revision });
    replace(app, ctx, model, version, held, "model.policy.delete", detail).await
}
