//! Waves as `fioctl` reads them. Its fields are never null: what there is not is an empty text, list or map.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::app::fleet::status::{GroupState, WaveState};
use crate::app::store::Snapshot;
use crate::domain::catalog::Channel;
use crate::domain::fleet::{Entry, Rollout, WaveRecord, WaveStatus};
use crate::domain::ident::{Architecture, SnapId, Tag, WaveName};

/// The three words the client knows: drafts and halted waves are active.
fn word(status: WaveStatus) -> &'static str {
    match status {
        WaveStatus::Draft | WaveStatus::Active | WaveStatus::Halted => "active",
        WaveStatus::Complete => "complete",
        WaveStatus::Canceled => "canceled",
    }
}

fn text<T: ToString>(what: Option<&T>) -> String {
    what.map(T::to_string).unwrap_or_default()
}

/// A wave.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct WaveView {
    name: WaveName,
    /// Its sequence. A text here, a number in [`StatusView`].
    version: String,
    tag: Tag,
    /// What it sets, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<TargetView>>,
    status: &'static str,
    /// Groups it was rolled out to, by the number of their first rollout.
    rollout_groups: BTreeMap<u32, GroupRef>,
    rollout_history: Vec<RolloutView>,
    change_meta: ChangeMeta,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct TargetView {
    name: String,
    snap_id: SnapId,
    channel: Channel,
    architecture: Architecture,
    revision: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct GroupRef {
    /// Groups have no numbers here: that of the first rollout.
    group_id: u32,
    group_name: String,
    created_at: String,
    created_by: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RolloutView {
    group_name: String,
    rollout_by: String,
    rollout_at: String,
    is_full_group: bool,
    is_factory_wide: bool,
    num_devices: u64,
}

/// The client prints `updated` as the end of a wave, so it is empty before.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ChangeMeta {
    created_by: String,
    created_at: String,
    updated_by: String,
    updated_at: String,
}

impl From<&Rollout> for RolloutView {
    fn from(rollout: &Rollout) -> Self {
        Self {
            group_name: text(rollout.group.as_ref()),
            rollout_by: text(rollout.by.as_ref()),
            rollout_at: rollout.at.to_string(),
            is_full_group: rollout.full_group,
            is_factory_wide: rollout.group.is_none(),
            num_devices: rollout.selected,
        }
    }
}

impl WaveView {
    /// Of a wave; `targets` = with what it sets, snaps by the names in this catalogue.
    pub(super) fn new(record: &WaveRecord, targets: Option<&Snapshot>) -> Self {
        let wave = &record.wave;
        let mut groups: Vec<GroupRef> = Vec::new();
        for rollout in &record.history {
            let Some(group) = &rollout.group else { continue };
            if groups.iter().all(|known| known.group_name != group.as_str()) {
                groups.push(GroupRef {
                    group_id: rollout.number,
                    group_name: group.to_string(),
                    created_at: rollout.at.to_string(),
                    created_by: text(rollout.by.as_ref()),
                });
            }
        }
        let target = |entry: &Entry, catalog: &Snapshot| TargetView {
            name: text(catalog.name_of(&entry.pin.snap_id).as_ref()),
            snap_id: entry.pin.snap_id.clone(),
            channel: entry.pin.channel.clone(),
            architecture: entry.pin.architecture.clone(),
            revision: entry.revision,
        };
        let ended_by = record.finished.and(record.authorship.modified_by.as_ref());
        Self {
            name: wave.name.clone(),
            version: wave.sequence.to_string(),
            tag: wave.tag.clone(),
            targets: targets.map(|catalog| {
                let entries = wave.entries().iter();
                entries.map(|entry| target(entry, catalog)).collect()
            }),
            status: word(wave.status),
            rollout_groups: groups.into_iter().map(|group| (group.group_id, group)).collect(),
            rollout_history: record.history.iter().map(RolloutView::from).collect(),
            change_meta: ChangeMeta {
                created_by: text(record.authorship.created_by.as_ref()),
                created_at: record.created.to_string(),
                updated_by: text(ended_by),
                updated_at: text(record.finished.as_ref()),
            },
        }
    }
}

/// A page of waves.
#[derive(Debug, Serialize)]
pub(super) struct ListView {
    pub(super) waves: Vec<WaveView>,
    /// How many there are on all pages.
    pub(super) total: usize,
    /// Path of the next page; none = this is the last one.
    pub(super) next: Option<String>,
}

/// What a rollout did. The client reads as many of the lists as `device_num` says, so they are that long, or empty.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RolledView {
    #[serde(flatten)]
    pub(super) wave: WaveView,
    pub(super) device_num: u64,
    pub(super) device_uuids: Vec<String>,
    pub(super) device_names: Vec<String>,
}

/// How far a wave has come.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct StatusView {
    name: WaveName,
    version: u64,
    tag: Tag,
    status: &'static str,
    created_at: String,
    finished_at: String,
    total_devices: u64,
    updated_devices: u64,
    scheduled_devices: u64,
    unscheduled_devices: u64,
    rollout_groups: Vec<GroupView>,
    other_groups: Vec<GroupView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct GroupView {
    /// Empty for the devices without a group.
    name: String,
    rollout_at: String,
    devices_total: u64,
    devices_online: u64,
    devices_on_wave_version: u64,
    devices_on_newer_version: u64,
    devices_on_older_version: u64,
    devices_scheduled_for_update: u64,
    targets: Vec<VersionView>,
}

/// Devices on a version. Only the wave's own has a number that all of a device's snaps share.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct VersionView {
    version: u64,
    devices: u64,
    is_orphan: bool,
}

impl GroupView {
    fn new(group: &GroupState, version: u64) -> Self {
        let on_wave = (group.on_wave > 0).then_some(VersionView {
            version,
            devices: group.on_wave,
            is_orphan: false,
        });
        Self {
            name: text(group.name.as_ref()),
            rollout_at: text(group.rollout_at.as_ref()),
            devices_total: group.total,
            devices_online: group.online,
            devices_on_wave_version: group.on_wave,
            devices_on_newer_version: group.newer,
            devices_on_older_version: group.older,
            devices_scheduled_for_update: group.scheduled,
            targets: on_wave.into_iter().collect(),
        }
    }
}

impl From<WaveState> for StatusView {
    fn from(state: WaveState) -> Self {
        let record = &state.record;
        let version = record.wave.sequence;
        let groups = |groups: &[GroupState]| {
            let views = groups.iter().map(|group| GroupView::new(group, version));
            views.collect()
        };
        Self {
            name: record.wave.name.clone(),
            version,
            tag: record.wave.tag.clone(),
            status: word(record.wave.status),
            created_at: record.created.to_string(),
            finished_at: text(record.finished.as_ref()),
            total_devices: state.total,
            updated_devices: state.updated,
            scheduled_devices: state.scheduled,
            unscheduled_devices: state.unscheduled,
            rollout_groups: groups(&state.rollout_groups),
            other_groups: groups(&state.other_groups),
        }
    }
}
