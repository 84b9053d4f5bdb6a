//! The automatic checks of an upload: against the snap, its declaration and where it shall go. That the file is a snap at
//! all, and that its texts and numbers are well formed, was checked when it was read (`domain/snap`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::interfaces::{Class, Interface, class, slot_is_free};
use crate::domain::assertion::types::{
    Connection, DEFAULT_PROVENANCE, Installation, InterfaceSide, SnapDeclaration, installation,
};
use crate::domain::assertion::{Headers, Value};
use crate::domain::catalog::{Channel, RevisionRecord, Risk, SnapRecord};
use crate::domain::ident::SnapName;
use crate::domain::snap::{Confinement, Grade, SnapType, SnapYaml};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// A reviewer decides.
    Hold,
    /// Nobody can let it through as it is.
    Reject,
}

/// Something the checks found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Stable, for programs.
    pub code: String,
    /// For people: a sentence without its full stop.
    pub text: String,
    /// The plug or slot it is about, as `plugs/NAME` or `slots/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// What all findings together come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Nothing stands against it.
    Pass,
    /// A reviewer decides.
    Hold,
    /// It is refused.
    Reject,
}

/// An upload, and what it is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// What the snap says about itself.
    pub yaml: &'a SnapYaml,
    /// The name it was uploaded under.
    pub name: &'a SnapName,
    /// The snap it shall be a revision of.
    pub snap: &'a SnapRecord,
    /// The newest of its revisions that were approved.
    pub approved: Option<&'a RevisionRecord>,
    /// Whether one of its approved revisions has the same confinement: then a reviewer agreed to that.
    pub confinement_known: bool,
    /// Its base can be had here, or needs not to be.
    pub base_known: bool,
    /// The headers of its snap-declaration.
    pub headers: &'a Headers,
    /// The declaration.
    pub declaration: &'a SnapDeclaration,
    /// Its snap-revision was made by another root and imported: who may sign is not asked.
    pub imported: bool,
    /// Where it shall be released to.
    pub channels: &'a [Channel],
    /// Its size in bytes.
    pub size: u64,
    /// The size that was announced, where that was done.
    pub announced: Option<u64>,
}

/// All that the checks find, the weightiest first.
pub fn check(upload: &Upload<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    identity(upload, &mut found);
    kind(upload, &mut found);
    confinement(upload, &mut found);
    content(upload, &mut found);
    for side in [InterfaceSide::Plug, InterfaceSide::Slot] {
        connections(upload, side, &mut found);
    }
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    found
}

/// What the findings come to: the weightiest decides.
pub fn outcome(findings: &[Finding]) -> Outcome {
    match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Reject) => Outcome::Reject,
        Some(Severity::Hold) => Outcome::Hold,
        Some(Severity::Note) | None => Outcome::Pass,
    }
}

fn add(found: &mut Vec<Finding>, severity: Severity, code: &str, text: String) {
    found.push(Finding {
        severity,
        code: code.to_owned(),
        text,
        about: None,
    });
}

/// Name, provenance and size.
fn identity(upload: &Upload<'_>, found: &mut Vec<Finding>) {
    let (yaml, snap) = (upload.yaml, upload.snap);
    for known in [&snap.name, upload.name] {
        if yaml.name != *known {
            let text = format!(
                "the file says its name is {}, it was uploaded as {known}",
                yaml.name
            );
            add(found, Severity::Reject, "name-differs", text);
        }
    }
    if snap.revoked {
        let text = "the snap-declaration takes the snap away from everybody".to_owned();
        add(found, Severity::Reject, "snap-revoked", text);
    }
    if let Some(announced) = upload.announced.filter(|announced| *announced != upload.size) {
        let text = format!("{announced} bytes were announced, the file has {}", upload.size);
        add(found, Severity::Reject, "size-differs", text);
    }
    let brand = snap.brand_id.as_str();
    let next = |after| upload.declaration.next_delegated(&yaml.provenance, brand, after);
    if yaml.provenance != DEFAULT_PROVENANCE && !upload.imported && next(0).is_none() {
        let text = format!(
            "the snap-declaration lets nobody here sign provenance {} (revision-authority)",
            yaml.provenance
        );
        add(found, Severity::Reject, "provenance-not-delegated", text);
    }
}

/// The type of the snap.
fn kind(upload: &Upload<'_>, found: &mut Vec<Finding>) {
    let kind = upload.yaml.kind;
    match upload.snap.kind {
        Some(known) if known != kind => {
            let text = format!("its type is {kind}, that of the snap is {known}");
            add(found, Severity::Reject, "type-differs", text);
        }
        _ if kind != SnapType::App && upload.approved.is_none() => {
            let text = format!("type {kind} is not allowed until a reviewer approves a revision of it");
            add(found, Severity::Hold, "type-not-allowed", text);
        }
        _ => {}
    }
}

/// Confinement and grade.
fn confinement(upload: &Upload<'_>, found: &mut Vec<Finding>) {
    let confinement = upload.yaml.confinement;
    if confinement != Confinement::Strict && !upload.confinement_known {
        let text =
            format!("confinement {confinement} is not allowed until a reviewer approves a revision with it");
        add(found, Severity::Hold, "confinement-not-allowed", text);
    }
    let what = match (upload.yaml.grade, confinement) {
        (Some(Grade::Devel), _) => Some("grade-not-stable"),
        (_, Confinement::Devmode) => Some("confinement-not-stable"),
        _ => None,
    };
    let too_safe = upload
        .channels
        .iter()
        .find(|channel| channel.risk <= Risk::Candidate);
    if let (Some(code), Some(channel)) = (what, too_safe) {
        let text = format!("a development build may only be released to edge and beta, not to {channel}");
        add(found, Severity::Reject, code, text);
    }
}

/// Base, architectures, epoch, version.
fn content(upload: &Upload<'_>, found: &mut Vec<Finding>) {
    let yaml = upload.yaml;
    if let Some(base) = yaml.base.as_ref().filter(|_| !upload.base_known) {
        let text = format!("its base {base} is no snap of this instance");
        add(found, Severity::Hold, "base-unknown", text);
    }
    let all = yaml.architectures.iter().any(|name| name.as_str() == "all");
    if all && yaml.architectures.len() > 1 {
        let text = "it names the architecture all beside others, which say nothing more".to_owned();
        add(found, Severity::Note, "architectures-mixed", text);
    }
    let Some(before) = upload.approved else {
        return;
    };
    if !yaml.epoch.can_read(&before.epoch) {
        let text = format!(
            "it cannot read the data (epoch {}) of revision {}: channels that hold that do not take it",
            before.epoch, before.revision
        );
        add(found, Severity::Note, "epoch-leaps", text);
    }
    if yaml.version == before.version && yaml.architectures == before.architectures {
        let text = format!(
            "its version {} is that of revision {}",
            yaml.version, before.revision
        );
        add(found, Severity::Note, "version-repeated", text);
    }
}

/// What a declaration says about installing a snap with a plug or slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing; the rules of devices decide.
    Unsaid,
    /// It is allowed.
    Granted,
    /// It is not.
    Denied,
}

/// A plug or slot of a snap, for who reviews it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Which of the two.
    pub side: InterfaceSide,
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// The class of the interface.
    pub class: Class,
    /// What the declaration says.
    pub standing: Standing,
    /// The revision before has none of this name and interface.
    pub new: bool,
}

/// The plugs and slots of a snap, compared with those of the revision before.
pub fn connected(
    yaml: &SnapYaml,
    snap_id: &str,
    headers: &Headers,
    before: Option<&SnapYaml>,
) -> Vec<Connected> {
    let mut all = Vec::new();
    for side in [InterfaceSide::Plug, InterfaceSide::Slot] {
        let attributes = yaml.attributes(side);
        for (name, interface) in named(yaml, side) {
            let none = Default::default();
            let connection = connection(
                yaml,
                snap_id,
                side,
                (name, interface),
                attributes.get(name).unwrap_or(&none),
            );
            all.push(Connected {
                side,
                name: name.clone(),
                interface: interface.clone(),
                class: class_of(interface),
                standing: match installation(headers, &connection) {
                    Installation::Unsaid => Standing::Unsaid,
                    Installation::Allowed => Standing::Granted,
                    Installation::Denied => Standing::Denied,
                },
                new: before.is_none_or(|before| self::named(before, side).get(name) != Some(interface)),
            });
        }
    }
    all
}

fn named(yaml: &SnapYaml, side: InterfaceSide) -> &BTreeMap<String, String> {
    match side {
        InterfaceSide::Plug => &yaml.plugs,
        InterfaceSide::Slot => &yaml.slots,
    }
}

fn connection<'a>(
    yaml: &SnapYaml,
    snap_id: &'a str,
    side: InterfaceSide,
    (name, interface): (&'a str, &'a str),
    attributes: &'a BTreeMap<String, Value>,
) -> Connection<'a> {
    Connection {
        side,
        interface,
        name,
        attributes,
        snap_type: match yaml.kind {
            SnapType::Os | SnapType::Snapd => "core",
            other => other.as_str(),
        },
        snap_id,
    }
}

/// The class of an interface; what is no name of one is none to rely on.
fn class_of(interface: &str) -> Class {
    interface
        .parse::<Interface>()
        .map_or(Class::C, |interface| class(&interface))
}

/// Plugs or slots, one by one.
fn connections(upload: &Upload<'_>, side: InterfaceSide, found: &mut Vec<Finding>) {
    let yaml = upload.yaml;
    let named = named(yaml, side);
    if named.is_empty() {
        return;
    }
    let attributes = yaml.attributes(side);
    let none = Default::default();
    for (name, interface) in named {
        let attributes = attributes.get(name).unwrap_or(&none);
        let id = upload.snap.id.as_str();
        let connection = connection(yaml, id, side, (name, interface), attributes);
        let said = installation(upload.headers, &connection);
        if let Some((severity, code, text)) = judge(yaml.kind, &connection, said) {
            found.push(Finding {
                severity,
                code: code.to_owned(),
                text,
                about: Some(format!("{}/{name}", side.header())),
            });
        }
    }
}

/// What is to be said about a plug or slot of a snap of type `kind`, given what the declaration says.
fn judge(
    kind: SnapType,
    connection: &Connection<'_>,
    said: Installation,
) -> Option<(Severity, &'static str, String)> {
    let (name, interface) = (connection.name, connection.interface);
    let word = connection.side.word();
    let class = class_of(interface);
    let free = interface
        .parse::<Interface>()
        .is_ok_and(|interface| slot_is_free(&interface));
    match (connection.side, said, class) {
        (_, Installation::Denied, _) => Some((
            Severity::Hold,
            "interface-denied",
            format!("the declaration does not allow {word} {name} ({interface})"),
        )),
        (InterfaceSide::Plug, Installation::Unsaid, Class::C) => Some((
            Severity::Hold,
            "interface-not-granted",
            format!("plug {name} needs a grant of {interface}, which takes two persons (class C)"),
        )),
        (InterfaceSide::Plug, Installation::Unsaid, Class::B) => Some((
            Severity::Note,
            "interface-by-hand",
            format!(
                "plug {name} ({interface}) is connected by hand unless a reviewer grants auto-connection"
            ),
        )),
        (InterfaceSide::Slot, Installation::Unsaid, _) if kind == SnapType::App && !free => Some((
            Severity::Hold,
            "slot-not-granted",
            format!("slot {name} of an application needs a grant of {interface}"),
        )),
        (InterfaceSide::Plug, Installation::Unsaid, Class::A)
        | (InterfaceSide::Slot, Installation::Unsaid, _)
        | (_, Installation::Allowed, _) => None,
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
