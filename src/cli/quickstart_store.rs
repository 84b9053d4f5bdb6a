//! The store in the quickstart: an example snap is built, published by a publisher of its own, installed by every
//! simulated device, and updated.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::CliError;
use super::line::{Device, LineError, Publisher, Station};
use crate::adapters::squashfs::{Content, Entry, build};
use crate::app::accounts::{self, NewAccount};
use crate::app::devices::DeviceName;
use crate::app::fleet::devices::PlaceChange;
use crate::app::fleet::rollout::Wanted;
use crate::app::fleet::waves::{NewWave, Source};
use crate::app::members::{self, Confirmed};
use crate::app::store::flush_reports;
use crate::app::{App, BrandCtx, InstanceCtx, Password, StoreCtx, brands, fleet, login};
use crate::domain::access::Role;
use crate::domain::blob::BlobId;
use crate::domain::catalog::SnapRecord;
use crate::domain::fleet::{Act, Policy, WaveKind};
use crate::domain::ident::{Email, SnapName, Tag, WaveName};

const SNAP_YAML: &str = include_str!("../../examples/quickstart-agent/meta/snap.yaml");
const AGENT: &str = include_str!("../../examples/quickstart-agent/bin/agent");
const NAME: &str = "quickstart-agent";
/// The versions that are built: the one devices install, the one they are updated to, and the one a wave brings.
const VERSIONS: [&str; 3] = ["1.0", "1.1", "1.2"];
/// What a publisher releases to, and devices follow.
const CHANNEL: &str = "latest/stable";
/// Who publishes.
const PUBLISHER: &str = "publisher@quickstart.example";

/// The example snap in the store.
#[derive(Debug)]
pub(super) struct Published {
    publisher: Publisher,
    snap: SnapRecord,
    first: u64,
    second: u64,
    third: u64,
}

/// An account with the role publisher in the brand's base store, logged in at the server. One of an earlier run gets a new
/// password: the old one was shown to nobody.
pub(super) async fn publisher(app: &App, ctx: &BrandCtx, base: &str) -> Result<Publisher, CliError> {
    let instance = InstanceCtx::local();
    let email: Email = PUBLISHER
        .parse()
        .map_err(|error| CliError::failed("cannot name the publisher", error))?;
    let password = Password::generate(app.entropy.as_ref());
    let known = accounts::list(app, &instance).await?;
    if known.iter().any(|account| account.email == email) {
        login::reset_password(app, &instance, &email, password.clone()).await?;
    } else {
        let new = NewAccount {
            email: email.clone(),
            username: None,
            display_name: Some("Publisher of the quickstart".to_owned()),
            password: Some(password.clone()),
            operator: false,
        };
        accounts::create(app, &instance, new).await?;
    }
    let store = base_store(app, ctx).await?;
    let roles = BTreeSet::from([Role::Access]);
    members::set(app, &store, &email, &roles, Confirmed::default()).await?;
    Ok(Publisher::login(base, email.as_str(), password.reveal()).await?)
}

/// Builds the versions and publishes them as snapcraft does; the first one is released. The same again changes nothing
/// but the release.
pub(super) async fn publish(app: &App, publisher: Publisher) -> Result<Published, CliError> {
    publisher.register(NAME).await?;
    let mut revisions = Vec::new();
    for version in VERSIONS {
        let upload = publisher.upload(&image(version)?.into(), "").await?;
        revisions.push(publisher.push(NAME, &upload).await?);
    }
    let name: SnapName = NAME
        .parse()
        .map_err(|error| CliError::failed("cannot name the example snap", error))?;
    let snap = app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await
        .map_err(|error| CliError::failed("cannot find the example snap", error))?;
    let (Some(snap), [first, second, third]) = (snap, revisions.as_slice()) else {
        return Err(CliError::Failed("cannot find the example snap".to_owned()));
    };
    publisher.release(NAME, *first, CHANNEL).await?;
    Ok(Published {
        publisher,
        snap: snap.record,
        first: *first,
        second: *second,
        third: *third,
    })
}

/// Builds the example snap.
fn image(version: &str) -> Result<Vec<u8>, CliError> {
    let file = |path: &str, mode, text: &str| Entry {
        path: path.to_owned(),
        mode,
        content: Content::File(text.as_bytes().to_vec()),
    };
    let yaml = SNAP_YAML.replace("VERSION", &format!("'{version}'"));
    build([
        file("meta/snap.yaml", 0o644, &yaml),
        file("bin/agent", 0o755, AGENT),
    ])
    .map_err(|error| CliError::failed("cannot build the example snap", error))
}

/// Releases the second version.
pub(super) async fn update(published: &Published) -> Result<(), LineError> {
    published.publisher.release(NAME, published.second, CHANNEL).await
}

/// What a device does to install the snap: asks for it, downloads it, and compares the digest.
pub(super) async fn install(
    station: &Station,
    session: &str,
    published: &Published,
) -> Result<(), LineError> {
    let action = json!({
        "action": "install", "instance-key": "install-1", "name": published.snap.name, "channel": CHANNEL, "epoch": null,
    });
    let answer = station.refresh(session, json!([]), json!([action])).await?;
    fetch(station, session, &answer, published.first).await
}

/// What a device does that has the first version: asks for something newer, and downloads it.
pub(super) async fn refresh(
    station: &Station,
    session: &str,
    published: &Published,
) -> Result<(), LineError> {
    let answer = ask(station, session, published, published.first).await?;
    fetch(station, session, &answer, published.second).await
}

/// What a device is told that has this revision.
async fn ask(station: &Station, session: &str, published: &Published, has: u64) -> Result<Value, LineError> {
    let id = &published.snap.id;
    let installed = json!({
        "snap-id": id, "instance-key": id, "revision": has, "tracking-channel": CHANNEL,
        "epoch": {"read": [0], "write": [0]},
    });
    let action = json!({"action": "refresh", "instance-key": id, "snap-id": id, "channel": CHANNEL});
    station
        .refresh(session, json!([installed]), json!([action]))
        .await
}

/// A device that has the second version asks for something newer: whether it is told of the third, which then it fetches.
pub(super) async fn follow(
    station: &Station,
    session: &str,
    published: &Published,
) -> Result<bool, LineError> {
    let answer = ask(station, session, published, published.second).await?;
    let told = answer.pointer("/results/0/snap/revision").and_then(Value::as_u64);
    if told == Some(published.second) {
        return Ok(false);
    }
    fetch(station, session, &answer, published.third).await?;
    Ok(true)
}

/// Makes production devices of these, which follow `tag`; none: channels decide for them.
pub(super) async fn place(
    app: &App,
    ctx: &BrandCtx,
    devices: &[Device],
    tag: Option<&Tag>,
) -> Result<(), CliError> {
    for device in devices {
        if tag.is_none() && fleet::devices::find(app, &device.id).await?.is_none() {
            continue;
        }
        let change = PlaceChange {
            production: tag.map(|_| true),
            tag: Some(tag.cloned()),
            ..PlaceChange::default()
        };
        let name = DeviceName::Of(device.id.model.clone(), device.id.serial.clone());
        fleet::devices::change(app, ctx, &name, &change).await?;
    }
    Ok(())
}

/// A wave of the third version for the devices of a tag, rolled out to a quarter of them: its name, and how many that are.
pub(super) async fn roll_out(
    app: &App,
    ctx: &BrandCtx,
    published: &Published,
    tag: &Tag,
) -> Result<(WaveName, u64), CliError> {
    // What the devices reported is written from time to time; a wave is over what is known.
    flush_reports(app).await?;
    let store = base_store(app, ctx).await?;
    let name: WaveName = tag
        .as_str()
        .parse()
        .map_err(|error| CliError::failed("cannot name the wave", error))?;
    let new = NewWave {
        name: name.clone(),
        tag: tag.clone(),
        kind: WaveKind::Forward,
        source: Source::Snaps(vec![(published.snap.name.clone(), Some(published.third))]),
        channel: None,
        prune: Vec::new(),
        binding: None,
        expires: None,
        policy: Policy::default(),
    };
    fleet::waves::init(app, &store, new).await?;
    let wanted = Wanted {
        percentage: Some(25),
        ..Wanted::default()
    };
    let rolled = fleet::rollout::rollout(app, &store, &name, &wanted).await?;
    Ok((name, rolled.rollout.selected))
}

/// Publishes the wave to all of them.
pub(super) async fn complete(app: &App, ctx: &BrandCtx, wave: &WaveName) -> Result<(), CliError> {
    let store = base_store(app, ctx).await?;
    fleet::waves::act(app, &store, wave, Act::Complete).await?;
    Ok(())
}

async fn base_store(app: &App, ctx: &BrandCtx) -> Result<StoreCtx, CliError> {
    let brand = brands::show(app, ctx).await?;
    Ok(StoreCtx::local(app, &brand.base_store).await?)
}

/// Downloads the one snap of an answer, which must be this revision.
async fn fetch(station: &Station, session: &str, answer: &Value, revision: u64) -> Result<(), LineError> {
    let wrong = |what: &str| LineError::Document(format!("cannot install the example snap: {what}"));
    let snap = answer
        .pointer("/results/0/snap")
        .ok_or_else(|| wrong("the store offers none"))?;
    if snap.get("revision").and_then(Value::as_u64) != Some(revision) {
        return Err(wrong("the store offers another revision"));
    }
    let text = |pointer: &str| snap.pointer(pointer).and_then(Value::as_str);
    let url = text("/download/url").ok_or_else(|| wrong("the answer has no URL"))?;
    let file = station.download(session, url).await?;
    if text("/download/sha3-384") != Some(BlobId::of(&file).to_string().as_str()) {
        return Err(wrong("the file is not what its digest says"));
    }
    Ok(())
}
