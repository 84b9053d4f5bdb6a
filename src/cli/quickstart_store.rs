//! The store in the quickstart: an example snap is built, published, installed by every simulated device, and updated.

use serde_json::{Value, json};

use super::CliError;
use super::line::{LineError, Station};
use crate::adapters::squashfs::{Content, Entry, build};
use crate::app::catalog::ingest::{Ingested, Intake, Upload, ingest};
use crate::app::catalog::releases::{NewRelease, release};
use crate::app::{App, BrandCtx};
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Channel, SnapRecord};

const SNAP_YAML: &str = include_str!("../../examples/quickstart-agent/meta/snap.yaml");
const AGENT: &str = include_str!("../../examples/quickstart-agent/bin/agent");
/// The versions that are built: the one devices install, and the one they are updated to.
const VERSIONS: [&str; 2] = ["1.0", "1.1"];
/// What a publisher releases to, and devices follow.
const CHANNEL: &str = "latest/stable";

/// The example snap in the store.
#[derive(Debug)]
pub(super) struct Published {
    snap: SnapRecord,
    first: u64,
    second: u64,
}

/// Builds the two versions and publishes them; the first one is released. The same again changes nothing but the
/// release.
pub(super) async fn publish(app: &App, ctx: &BrandCtx) -> Result<Published, CliError> {
    let mut revisions = Vec::new();
    for version in VERSIONS {
        revisions.push(upload(app, ctx, version).await?);
    }
    let (Some(first), Some(second)) = (revisions.first(), revisions.last()) else {
        return Err(CliError::Failed("cannot publish nothing".to_owned()));
    };
    let published = Published {
        snap: second.snap.clone(),
        first: first.revision.revision,
        second: second.revision.revision,
    };
    put(app, ctx, &published, published.first).await?;
    Ok(published)
}

async fn upload(app: &App, ctx: &BrandCtx, version: &str) -> Result<Ingested, CliError> {
    let file = |path: &str, mode, text: &str| Entry {
        path: path.to_owned(),
        mode,
        content: Content::File(text.as_bytes().to_vec()),
    };
    let yaml = SNAP_YAML.replace("VERSION", &format!("'{version}'"));
    let image = build([
        file("meta/snap.yaml", 0o644, &yaml),
        file("bin/agent", 0o755, AGENT),
    ])
    .map_err(|error| CliError::failed("cannot build the example snap", error))?;
    let mut intake = Intake::begin(app, vec![image.len() as u64]).await?;
    intake.write(image.into()).await?;
    let upload = Upload {
        publisher: Some(ctx.brand().to_string()),
        ..Upload::default()
    };
    Ok(ingest(app, ctx, &upload, intake.finish().await?).await?)
}

/// Releases the second version.
pub(super) async fn update(app: &App, ctx: &BrandCtx, published: &Published) -> Result<(), CliError> {
    put(app, ctx, published, published.second).await
}

async fn put(app: &App, ctx: &BrandCtx, published: &Published, revision: u64) -> Result<(), CliError> {
    let channel: Channel = CHANNEL
        .parse()
        .map_err(|error| CliError::failed("cannot name the channel", error))?;
    let new = NewRelease {
        revision,
        channels: vec![channel],
        percentage: None,
    };
    release(app, ctx, &published.snap.name, &new).await?;
    Ok(())
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
    let id = &published.snap.id;
    let installed = json!({
        "snap-id": id, "instance-key": id, "revision": published.first, "tracking-channel": CHANNEL,
        "epoch": {"read": [0], "write": [0]},
    });
    let action = json!({"action": "refresh", "instance-key": id, "snap-id": id, "channel": CHANNEL});
    let answer = station
        .refresh(session, json!([installed]), json!([action]))
        .await?;
    fetch(station, session, &answer, published.second).await
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
