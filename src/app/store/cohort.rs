//! Cohort keys (device-api.md 7.5): who holds one gets what the channel held when the key was made.
//!
//! A key is the snap and that time under a MAC; nothing is written. It is good for as long as the channel's past is
//! remembered ([`MEMORY`]); later it no longer counts, and its holders follow the channel.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::asker::Asker;
use super::view::Snapshot;
use crate::app::{App, Refusal};
use crate::domain::catalog::MEMORY;
use crate::domain::ident::{SnapId, SnapName};
use crate::domain::time::Timestamp;

/// Snaps one call may ask about.
const MOST: usize = 1000;
const TIME: usize = 8;
const MAC: usize = 16;
/// Longest key that is looked at.
const LONGEST: usize = 256;

/// A key for each of the snaps, made now. A name that is not seen refuses all of them.
pub fn create(
    app: &App,
    catalog: &Snapshot,
    asker: &Asker,
    names: &[String],
) -> Result<BTreeMap<String, String>, Refusal> {
    if names.len() > MOST {
        return Err(Refusal::invalid(
            "too-many-snaps",
            format!("cannot make cohort keys: at most {MOST} snaps at a time"),
        ));
    }
    let now = app.clock.now();
    let key = |name: &String| {
        let entry = name
            .parse::<SnapName>()
            .ok()
            .and_then(|name| catalog.by_name(&name, asker.viewer()))
            .ok_or_else(|| {
                Refusal::not_found(format!("cannot make a cohort key: there is no snap {name:?}"))
            })?;
        Ok((name.clone(), seal(app, &entry.record.id, now)))
    };
    names.iter().map(key).collect()
}

/// When a key for this snap was made; none if it is not ours, is for another snap, or too old.
pub(super) fn open(app: &App, snap: &SnapId, key: &str) -> Option<Timestamp> {
    if key.len() > LONGEST {
        return None;
    }
    let token = URL_SAFE_NO_PAD.decode(key).ok()?;
    let (time, tag) = token.split_first_chunk::<TIME>()?;
    let expected = mac(app, snap, time);
    let same: bool = subtle::ConstantTimeEq::ct_eq(expected.as_slice(), tag).into();
    let made = Timestamp::from_unix(i64::from_be_bytes(*time));
    (same && made.plus_seconds(MEMORY) > app.clock.now()).then_some(made)
}

fn seal(app: &App, snap: &SnapId, now: Timestamp) -> String {
    let time = now.unix().to_be_bytes();
    URL_SAFE_NO_PAD.encode([time.as_slice(), &mac(app, snap, &time)].concat())
}

fn mac(app: &App, snap: &SnapId, time: &[u8; TIME]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &app.secrets.nonce_key);
    let mut context = hmac::Context::with_key(&key);
    context.update(b"hallmark cohort v1\0");
    context.update(snap.as_str().as_bytes());
    context.update(time);
    context.sign().as_ref().iter().take(MAC).copied().collect()
}
