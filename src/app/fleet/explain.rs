//! Why a device sees a revision, in words.

use super::DeviceSight;
use super::follow::look;
use super::index::id_of;
use crate::app::{App, Refusal};
use crate::domain::catalog::{Channel, DeviceReport};
use crate::domain::fleet::{FleetDevice, PinRef, Rule, WaveRecord};
use crate::domain::ident::{DeviceId, SnapId, WaveName};
use crate::domain::time::Timestamp;

/// How a device stands in the fleet.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its place; none = a test device without tag or group.
    pub place: Option<FleetDevice>,
    /// The open wave of its tag, and whether it was shown to it.
    pub wave: Option<(WaveName, bool)>,
    /// How it takes that wave, where it was heard of.
    pub state: Option<crate::domain::fleet::State>,
    /// What it sees of each of its snaps, in the order of its report.
    pub snaps: Vec<Seen>,
}

/// What a device sees of a snap.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The snap.
    pub snap_id: String,
    /// The revision it would be told of; none = what its channel gives.
    pub revision: Option<u64>,
    /// A word for the rule.
    pub rule: &'static str,
    /// The rule in words.
    pub why: String,
}

/// How a device stands.
///
/// # Errors
/// If the database is out of reach.
pub async fn standing(
    app: &App,
    device: &DeviceId,
    report: Option<&DeviceReport>,
) -> Result<Standing, Refusal> {
    look(app).await?;
    let place = super::devices::find(app, device).await?.map(|found| found.record);
    let now = app.clock.now();
    let mut standing = Standing {
        place,
        wave: None,
        state: None,
        snaps: Vec::new(),
    };
    let sight = {
        let state = app.fleet.read();
        let number = state.number(id_of(device));
        if let Some(number) = number
            && let Some(known) = state.place(number)
            && let Some(open) = known.tag.as_ref().and_then(|tag| state.open(&known.store, tag))
        {
            let exposed = known.production && open.shows(number, known.group.as_ref());
            standing.wave = Some((open.wave().name.clone(), exposed));
            let progress = open.progress.get(&number).filter(|_| exposed);
            standing.state = progress.map(|progress| progress.state(&open.record.policy.patience, now));
        }
        number.and_then(|number| DeviceSight::at(&state, number, now))
    };
    for snap in report.into_iter().flat_map(|report| &report.snaps) {
        let seen = seen(app, sight.as_ref(), &standing, report, snap, now);
        standing.snaps.push(seen);
    }
    Ok(standing)
}

fn seen(
    app: &App,
    sight: Option<&DeviceSight>,
    standing: &Standing,
    report: Option<&DeviceReport>,
    snap: &crate::domain::catalog::ReportedSnap,
    now: Timestamp,
) -> Seen {
    let channel_text = snap.channel.as_deref().unwrap_or("stable");
    let by_channel = |why: String| Seen {
        snap_id: snap.snap_id.clone(),
        revision: None,
        rule: "channel",
        why,
    };
    let Some(sight) = sight else {
        let what = match &standing.place {
            None => "it is a test device".to_owned(),
            Some(place) if !place.production => "it is a test device".to_owned(),
            Some(place) => match &place.tag {
                None => "it is a production device without a tag".to_owned(),
                Some(tag) => format!("nothing was ever rolled out for tag {tag}"),
            },
        };
        return by_channel(format!("{what}: {channel_text} decides"));
    };
    let (Ok(id), Ok(channel), Some(report)) = (
        snap.snap_id.parse::<SnapId>(),
        channel_text.parse::<Channel>(),
        report,
    ) else {
        return by_channel(format!("it is not of this store: {channel_text} decides"));
    };
    let pin = PinRef {
        snap_id: &id,
        channel: &channel,
        architecture: &report.architecture,
    };
    let decision = sight.decide(app, pin, Some(snap.revision));
    let wave = standing.wave.as_ref().map_or("", |(name, _)| name.as_str());
    let (rule, why) = match decision.rule {
        Rule::Channel => (
            "channel",
            format!("nothing is pinned for it in {channel}: the channel decides"),
        ),
        Rule::Production(sequence) => (
            "production",
            match standing.wave {
                Some((_, false)) => format!(
                    "wave {wave} was not rolled out to it: what is published holds (number {sequence})"
                ),
                Some((_, true)) | None => format!("it is published, by the wave of number {sequence}"),
            },
        ),
        Rule::Wave(_) => ("wave", format!("wave {wave} was rolled out to it")),
        Rule::HaltedWave(_) => (
            "halted-wave",
            format!(
                "it has what wave {wave} brought, which {}; it keeps it",
                stopped(sight.wave(), now)
            ),
        ),
        Rule::NoDowngrade => (
            "no-downgrade",
            "what is pinned is lower than what it has, and no rollback names that".to_owned(),
        ),
        Rule::Reverted => (
            "reverted",
            "it came back from what is pinned by itself: that is not offered again".to_owned(),
        ),
    };
    let held = if snap.held {
        "; its owner holds it back"
    } else {
        ""
    };
    Seen {
        snap_id: snap.snap_id.clone(),
        revision: decision.revision,
        rule,
        why: format!("{why}{held}"),
    }
}

fn stopped(record: Option<&WaveRecord>, now: Timestamp) -> &'static str {
    match record {
        Some(record) if record.wave.expires <= now => "has expired",
        Some(record) if record.wave.is_offered(now) => "is outside of its window",
        Some(_) | None => "is halted",
    }
}
