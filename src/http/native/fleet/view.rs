//! Waves as programs read them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::app::fleet::status::{GroupState, WaveState};
use crate::app::store::Snapshot;
use crate::domain::catalog::Channel;
use crate::domain::fleet::{
    Binding, Document, Policy, Rollout, State, Verdict, WaveKind, WaveRecord, WaveStatus,
};
use crate::domain::ident::{AccountId, Architecture, GroupName, SetName, SnapId, StoreId, Tag, WaveName};
use crate::domain::time::Timestamp;

/// A wave.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WaveView {
    name: WaveName,
    store_id: StoreId,
    tag: Tag,
    sequence: u64,
    kind: WaveKind,
    status: WaveStatus,
    created_at: Timestamp,
    created_by: Option<AccountId>,
    expires_at: Timestamp,
    finished_at: Option<Timestamp>,
    /// Why it was stopped by itself.
    why: Option<String>,
    entries: Vec<EntryView>,
    /// Snaps that are pinned no more once it is complete.
    prune: Vec<SnapId>,
    /// Groups it was rolled out to as a whole.
    groups: Vec<GroupName>,
    rollouts: Vec<RolloutView>,
    policy: Policy,
    /// The validation sets by which devices hold themselves to it; none = the store alone decides.
    binding: Option<BindingView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BindingView {
    account_id: AccountId,
    set: SetName,
    /// What the wave says.
    wave: DocumentView,
    /// What takes it back.
    abort: DocumentView,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DocumentView {
    sequence: u64,
    signed: bool,
}

impl From<&Document> for DocumentView {
    fn from(document: &Document) -> Self {
        Self {
            sequence: document.sequence,
            signed: document.assertion.is_some(),
        }
    }
}

impl From<&Binding> for BindingView {
    fn from(binding: &Binding) -> Self {
        Self {
            account_id: binding.set.account.clone(),
            set: binding.set.name.clone(),
            wave: (&binding.wave).into(),
            abort: (&binding.abort).into(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct EntryView {
    /// None where the catalogue does not know it any more.
    name: Option<String>,
    snap_id: SnapId,
    channel: Channel,
    architecture: Architecture,
    revision: u64,
}

/// A rollout.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RolloutView {
    number: u32,
    group: Option<GroupName>,
    named: Option<u64>,
    limit: Option<u64>,
    percentage: Option<u8>,
    full_group: bool,
    matching: u64,
    eligible: u64,
    selected: u64,
    seed: u64,
    by: Option<AccountId>,
    at: Timestamp,
}

impl From<&Rollout> for RolloutView {
    fn from(rollout: &Rollout) -> Self {
        Self {
            number: rollout.number,
            group: rollout.group.clone(),
            named: rollout.named,
            limit: rollout.limit,
            percentage: rollout.percentage,
            full_group: rollout.full_group,
            matching: rollout.matching,
            eligible: rollout.eligible,
            selected: rollout.selected,
            seed: rollout.seed,
            by: rollout.by.clone(),
            at: rollout.at,
        }
    }
}

impl WaveView {
    /// Of a wave; names of snaps as the catalogue has them.
    pub fn new(record: &WaveRecord, catalog: &Snapshot) -> Self {
        let wave = &record.wave;
        let entry = |entry: &crate::domain::fleet::Entry| EntryView {
            name: catalog.name_of(&entry.pin.snap_id).map(ToString::to_string),
            snap_id: entry.pin.snap_id.clone(),
            channel: entry.pin.channel.clone(),
            architecture: entry.pin.architecture.clone(),
            revision: entry.revision,
        };
        Self {
            name: wave.name.clone(),
            store_id: wave.store.clone(),
            tag: wave.tag.clone(),
            sequence: wave.sequence,
            kind: wave.kind,
            status: wave.status,
            created_at: record.created,
            created_by: record.authorship.created_by.clone(),
            expires_at: wave.expires,
            finished_at: record.finished,
            why: record.why.clone(),
            entries: wave.entries().iter().map(entry).collect(),
            prune: record.prune.iter().cloned().collect(),
            groups: wave.groups.keys().cloned().collect(),
            rollouts: record.history.iter().map(RolloutView::from).collect(),
            policy: record.policy.clone(),
            binding: record.binding.as_ref().map(BindingView::from),
        }
    }
}

/// How far a wave has come; names as fioctl knows them (waves-and-registration.md A.4), and more.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatusView {
    name: WaveName,
    tag: Tag,
    version: u64,
    kind: WaveKind,
    status: WaveStatus,
    expired: bool,
    why: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
    finished_at: Option<Timestamp>,
    total_devices: u64,
    updated_devices: u64,
    scheduled_devices: u64,
    unscheduled_devices: u64,
    rollout_groups: Vec<GroupView>,
    other_groups: Vec<GroupView>,
    /// Devices that were shown it, by how they take it.
    devices: BTreeMap<State, u64>,
    verdict: Verdict,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct GroupView {
    name: Option<GroupName>,
    rollout_at: Option<Timestamp>,
    full_group: bool,
    devices_total: u64,
    devices_online: u64,
    devices_on_wave_version: u64,
    devices_on_newer_version: u64,
    devices_on_older_version: u64,
    devices_rolled_out_to: u64,
    devices_scheduled_for_update: u64,
}

impl From<GroupState> for GroupView {
    fn from(group: GroupState) -> Self {
        Self {
            name: group.name,
            rollout_at: group.rollout_at,
            full_group: group.full,
            devices_total: group.total,
            devices_online: group.online,
            devices_on_wave_version: group.on_wave,
            devices_on_newer_version: group.newer,
            devices_on_older_version: group.older,
            devices_rolled_out_to: group.exposed,
            devices_scheduled_for_update: group.scheduled,
        }
    }
}

impl From<WaveState> for StatusView {
    fn from(state: WaveState) -> Self {
        let (record, wave) = (&state.record, &state.record.wave);
        Self {
            name: wave.name.clone(),
            tag: wave.tag.clone(),
            version: wave.sequence,
            kind: wave.kind,
            status: wave.status,
            expired: state.expired,
            why: record.why.clone(),
            created_at: record.created,
            expires_at: wave.expires,
            finished_at: record.finished,
            total_devices: state.total,
            updated_devices: state.updated,
            scheduled_devices: state.scheduled,
            unscheduled_devices: state.unscheduled,
            rollout_groups: state.rollout_groups.into_iter().map(GroupView::from).collect(),
            other_groups: state.other_groups.into_iter().map(GroupView::from).collect(),
            devices: state.devices,
            verdict: state.verdict,
        }
    }
}
