//! Tracks of a snap, and the patterns that say which ones its publisher may make.

use serde_json::json;

use super::snap;
use super::snaps::{ATTEMPTS, replace};
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::catalog::{SnapRecord, Track, check_pattern, guarded};
use crate::domain::ident::SnapName;

/// Most tracks a snap may have beside `latest`.
const MAX_TRACKS: usize = 200;
/// Most patterns.
const MAX_PATTERNS: usize = 20;
/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 256;

/// Makes a track. It must fit one of the patterns, unless the operator makes it; doing it twice is fine.
///
/// # Errors
/// `track-refused` for what no pattern allows, `too-many-tracks`.
pub async fn add(app: &App, ctx: &BrandCtx, name: &SnapName, track: &Track) -> Result<SnapRecord, Refusal> {
    for _ in 0..ATTEMPTS {
        let mut found = snap(app, ctx, name, Permission::SnapEdit).await?;
        if *track == Track::default() || found.record.tracks.contains(track) {
            return Ok(found.record);
        }
        put(ctx, &mut found.record, track)?;
        if let Some(done) = replace(app, ctx, found, "snap.track-add", &json!({ "track": track })).await? {
            return Ok(done);
        }
    }
    Err(App::changed_meanwhile())
}

/// Makes all of these tracks, or none; how many are new. `latest` is there already and cannot be made.
///
/// # Errors
/// As [`add`], and `track-exists`.
pub async fn add_all(app: &App, ctx: &BrandCtx, name: &SnapName, tracks: &[Track]) -> Result<usize, Refusal> {
    for _ in 0..ATTEMPTS {
        let mut found = snap(app, ctx, name, Permission::SnapEdit).await?;
        let before = found.record.tracks.len();
        for track in tracks {
            if *track == Track::default() {
                return Err(Refusal::invalid(
                    "track-exists",
                    format!("cannot make track {track} of {name}: every snap has it"),
                ));
            }
            if !found.record.tracks.contains(track) {
                put(ctx, &mut found.record, track)?;
            }
        }
        let made = found.record.tracks.len() - before;
        if made == 0 {
            return Ok(0);
        }
        let detail = json!({ "tracks": tracks });
        if replace(app, ctx, found, "snap.track-add", &detail)
            .await?
            .is_some()
        {
            return Ok(made);
        }
    }
    Err(App::changed_meanwhile())
}

fn put(ctx: &BrandCtx, record: &mut SnapRecord, track: &Track) -> Result<(), Refusal> {
    let name = &record.name;
    if !ctx.operates() && !guarded(&record.guardrails, track) {
        let allowed = if record.guardrails.is_empty() {
            "an administrator has to set a pattern for its tracks first".to_owned()
        } else {
            format!("its tracks must fit {}", record.guardrails.join(" or "))
        };
        return Err(Refusal::conflict(
            "track-refused",
            format!("cannot make track {track} of {name}: {allowed}"),
        ));
    }
    if record.tracks.len() >= MAX_TRACKS {
        return Err(Refusal::conflict(
            "too-many-tracks",
            format!("cannot make track {track} of {name}: it has {MAX_TRACKS} already"),
        ));
    }
    record.tracks.insert(track.clone());
    Ok(())
}

/// Removes a track without open channels.
///
/// # Errors
/// `track-in-use` while a channel of it is open, or it is the default track.
pub async fn remove(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    track: &Track,
) -> Result<SnapRecord, Refusal> {
    for _ in 0..ATTEMPTS {
        let mut found = snap(app, ctx, name, Permission::SnapEdit).await?;
        let record = &mut found.record;
        if !record.tracks.contains(track) {
            return Err(Refusal::not_found(format!(
                "cannot find track {track} of snap {name}"
            )));
        }
        if record.releases.has_track(track) || record.default_track.as_ref() == Some(track) {
            return Err(Refusal::conflict(
                "track-in-use",
                format!(
                    "cannot remove track {track} of {name}: a channel of it is open, or it is the default track"
                ),
            ));
        }
        record.tracks.remove(track);
        if let Some(done) = replace(app, ctx, found, "snap.track-remove", &json!({ "track": track })).await? {
            return Ok(done);
        }
    }
    Err(App::changed_meanwhile())
}

/// Says which tracks the publisher may make: regular expressions over the whole name, in place of those before.
///
/// # Errors
/// `invalid-pattern`.
pub async fn guard(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    patterns: &[String],
) -> Result<SnapRecord, Refusal> {
    let refuse = |message: String| Err(Refusal::invalid("invalid-pattern", message));
    if patterns.len() > MAX_PATTERNS {
        return refuse(format!(
            "cannot use these patterns: there are more than {MAX_PATTERNS}"
        ));
    }
    for pattern in patterns {
        if pattern.is_empty() || pattern.len() > MAX_PATTERN {
            return refuse(format!(
                "cannot use a pattern: it must have 1 to {MAX_PATTERN} bytes"
            ));
        }
        if let Err(error) = check_pattern(pattern) {
            return refuse(format!("cannot use the pattern {pattern:?}: it {error}"));
        }
    }
    for _ in 0..ATTEMPTS {
        let mut found = snap(app, ctx, name, Permission::TrackManage).await?;
        found.record.guardrails = patterns.to_vec();
        let detail = json!({ "patterns": patterns });
        if let Some(done) = replace(app, ctx, found, "snap.guardrails", &detail).await? {
            return Ok(done);
        }
    }
    Err(App::changed_meanwhile())
}
