//! `cluster`: devices that work together, and the snaps they share.

use std::collections::BTreeSet;

use super::Parts;
use super::checks::{Checked, Fields, positive};
use super::messages::DeviceName;
use super::names;

/// A well-formed cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its id.
    pub cluster_id: String,
    /// Its number in the sequence.
    pub sequence: u64,
    /// Its devices by number.
    pub devices: Vec<(u64, DeviceName)>,
    /// Names of its parts.
    pub subclusters: Vec<String>,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<Cluster> {
    let fields = &parts.fields;
    let sequence = fields.positive("sequence")?;
    let mut ids = BTreeSet::new();
    let mut devices = Vec::new();
    for entry in fields.maps("devices")? {
        let id = entry.positive("id")?;
        if !ids.insert(id) {
            return Err(entry.wrong("id", format!("gives number {id} a second time")));
        }
        let device = entry.filled("device")?;
        let device = DeviceName::parse(device).map_err(|problem| entry.wrong("device", problem))?;
        entry.texts("addresses")?;
        devices.push((id, device));
    }
    let mut names = BTreeSet::new();
    for entry in fields.maps("subclusters")? {
        let name = subcluster(&entry, &ids)?;
        if !names.insert(name) {
            return Err(entry.wrong("name", format!("gives name {name:?} a second time")));
        }
    }
    Ok(Cluster {
        cluster_id: fields.filled("cluster-id")?.to_owned(),
        sequence,
        devices,
        subclusters: names.into_iter().map(str::to_owned).collect(),
    })
}

fn subcluster<'a>(entry: &Fields<'a>, ids: &BTreeSet<u64>) -> Checked<&'a str> {
    let name = entry.filled("name")?;
    for device in entry.texts("devices")? {
        let id = positive(&device).map_err(|problem| entry.wrong("devices", problem))?;
        if !ids.contains(&id) {
            return Err(entry.wrong(
                "devices",
                format!("has number {id}, which no device of the cluster has"),
            ));
        }
    }
    for snap in entry.maps("snaps")? {
        snap.filled("state")?;
        snap.choice("state", &["clustered", "evacuated", "removed"])?;
        snap.named("instance", "the name of a snap instance", names::is_instance)?;
        snap.named("channel", "a channel", names::is_channel)?;
    }
    Ok(name)
}
