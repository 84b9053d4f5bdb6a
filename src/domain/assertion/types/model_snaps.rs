//! The snaps of a model: from the separate headers of older models or the `snaps` list of newer ones to the one list,
//! completed and in the order devices use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::headers::Value;
use super::checks::{Checked, Fields, shown};
use super::model::Grade;
use super::names;
use super::snap_list::Seen;

/// Snap ids devices know by name, so that a model need not list them.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("core", "99T7MUlRhtI3U0QFgl5mXXESAiSwt776"),
    ("snapd", "PMrrV4ml8uWuEUDBT8dSGnKUYbevVhc4"),
    ("core18", "CSO04Jhav2yK0uz97cr0ipQRyqg0qQL6"),
    ("core20", "DLqre5XGLbDqg9jPtiAhRRjDuPVa5X1q"),
    ("core22", "amcUKQILKXHHTlmSa7NMdnXSx02dNeeT"),
    ("core24", "dwTAh7MZZ01zyriOZErqd1JynQLiOGvM"),
];

/// Where a listed snap starts out unless the model says otherwise.
const DEFAULT_CHANNEL: &str = "latest/stable";

/// What a snap of a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the wire names")]
pub enum SnapKind {
    App,
    Base,
    Gadget,
    Kernel,
    Core,
    Snapd,
    /// Not said: a snap of `required-snaps`.
    Unknown,
}

impl SnapKind {
    /// Its word on the wire; empty for [`SnapKind::Unknown`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Base => "base",
            Self::Gadget => "gadget",
            Self::Kernel => "kernel",
            Self::Core => "core",
            Self::Snapd => "snapd",
            Self::Unknown => "",
        }
    }
}

/// Whether a snap or component must be on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the wire names")]
pub enum Presence {
    Required,
    Optional,
}

impl Presence {
    /// Its word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

/// A snap of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSnap {
    /// Its name.
    pub name: String,
    /// Its id, where known.
    pub id: Option<String>,
    /// What it is.
    pub kind: SnapKind,
    /// The modes it is there in.
    pub modes: Arc<[String]>,
    /// The channel it starts out from; none in models without a `snaps` list.
    pub default_channel: Option<String>,
    /// The track it is bound to, only in models without a `snaps` list.
    pub pinned_track: Option<String>,
    /// Whether it must be there.
    pub presence: Presence,
    /// Whether it may be a snap of classic confinement.
    pub classic: bool,
    /// Its components.
    pub components: BTreeMap<String, ModelComponent>,
}

/// A component of a snap of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelComponent {
    /// Whether it must be there.
    pub presence: Presence,
    /// The modes it is there in, a part of those of its snap; shared with it where they are the same, so that a
    /// hostile model with many of both stays small.
    pub modes: Arc<[String]>,
}

/// All snaps of a model in order, the first `essential` of them essential.
#[derive(Debug)]
pub(super) struct Snaps {
    pub(super) all: Vec<ModelSnap>,
    pub(super) essential: usize,
}

impl Snaps {
    fn ordered(essential: [Option<ModelSnap>; 4], rest: Vec<ModelSnap>) -> Self {
        let mut all: Vec<ModelSnap> = essential.into_iter().flatten().collect();
        let essential = all.len();
        all.extend(rest);
        Self { all, essential }
    }
}

/// The snaps of a model without a `snaps` list.
pub(super) fn separate(fields: &Fields<'_>, base: Option<&str>) -> Checked<Snaps> {
    let kernel = tracked(fields, "kernel", SnapKind::Kernel)?;
    let gadget = tracked(fields, "gadget", SnapKind::Gadget)?;
    let base = base.map(|name| plain(name, SnapKind::Base));
    let rest = fields.names("required-snaps", "snap names", names::is_snap)?;
    let rest = rest.iter().map(|name| plain(name, SnapKind::Unknown)).collect();
    Ok(Snaps::ordered([None, kernel, base, gadget], rest))
}

/// The snaps of a model with a `snaps` list.
pub(super) fn listed(fields: &Fields<'_>, base: &str, grade: Grade, classic: bool) -> Checked<Snaps> {
    let (mut snapd, mut kernel, mut boot_base, mut gadget) = (None, None, None, None);
    let mut rest = Vec::new();
    let mut seen = Seen::default();
    for entry in fields.maps("snaps")? {
        let snap = listed_snap(&entry, base, grade, classic)?;
        seen.add(&entry, &snap.name, snap.id.as_deref())?;
        let place = match snap.kind {
            SnapKind::Snapd => &mut snapd,
            SnapKind::Kernel => &mut kernel,
            SnapKind::Gadget => &mut gadget,
            SnapKind::Base if snap.name == base => &mut boot_base,
            SnapKind::App | SnapKind::Base | SnapKind::Core | SnapKind::Unknown if snap.name == base => {
                return Err(entry.wrong("type", format!("must be base, as {base:?} is the boot base")));
            }
            SnapKind::App | SnapKind::Base | SnapKind::Core | SnapKind::Unknown => {
                rest.push(snap);
                continue;
            }
        };
        if let Some(before) = place {
            let ModelSnap { name, kind, .. } = before;
            return Err(entry.wrong(
                "type",
                format!("makes this the second {} snap, after {name:?}", kind.as_str()),
            ));
        }
        *place = Some(snap);
    }
    match (classic, &kernel, &gadget) {
        (false, _, None) => return Err(fields.wrong("snaps", "must list a gadget")),
        (false, None, _) => return Err(fields.wrong("snaps", "must list a kernel")),
        (true, Some(_), None) => {
            return Err(fields.wrong("snaps", "lists a kernel, so it must list a gadget too"));
        }
        (true, _, _) | (false, Some(_), Some(_)) => {}
    }
    let boot_base = match boot_base {
        Some(listed) => listed,
        None => unlisted_base(fields, base, grade)?,
    };
    Ok(Snaps::ordered([snapd, kernel, Some(boot_base), gadget], rest))
}

/// The boot base of a model that does not list it.
fn unlisted_base(fields: &Fields<'_>, base: &str, grade: Grade) -> Checked<ModelSnap> {
    let id = WELL_KNOWN
        .iter()
        .find(|(name, _)| *name == base)
        .map(|(_, id)| (*id).to_owned());
    if id.is_none() && grade != Grade::Dangerous {
        return Err(fields.wrong(
            "base",
            format!("is {base:?}, which devices do not know: list it in \"snaps\""),
        ));
    }
    Ok(ModelSnap {
        id,
        modes: essential_modes(),
        default_channel: Some(DEFAULT_CHANNEL.to_owned()),
        ..plain(base, SnapKind::Base)
    })
}

fn listed_snap(entry: &Fields<'_>, base: &str, grade: Grade, model_is_classic: bool) -> Checked<ModelSnap> {
    let name = entry.named("name", "a snap name", names::is_snap)?;
    let id = if entry.has("id") || grade != Grade::Dangerous {
        Some(
            entry
                .named("id", "a snap id (32 letters and digits)", names::is_snap_id)?
                .to_owned(),
        )
    } else {
        None
    };
    let kind = match entry.choice("type", &["app", "base", "gadget", "kernel", "core", "snapd"])? {
        Some("base") => SnapKind::Base,
        Some("gadget") => SnapKind::Gadget,
        Some("kernel") => SnapKind::Kernel,
        Some("core") => SnapKind::Core,
        Some("snapd") => SnapKind::Snapd,
        Some(_) | None => SnapKind::App,
    };
    let essential = match kind {
        SnapKind::Snapd | SnapKind::Kernel | SnapKind::Gadget => true,
        SnapKind::App | SnapKind::Base | SnapKind::Core | SnapKind::Unknown => name == base,
    };
    let presence = presence(entry)?;
    if essential && presence.is_some() {
        return Err(entry.wrong("presence", "must not be given: this snap is always there"));
    }
    let modes = entry.names("modes", "modes (lower-case words)", names::is_mode)?;
    let modes = match (essential, modes.is_empty()) {
        (true, false) => return Err(entry.wrong("modes", "must not be given: this snap is always there")),
        (true, true) => essential_modes(),
        (false, true) => default_modes(),
        (false, false) => modes.into(),
    };
    let default_channel = entry
        .optional_filled("default-channel")?
        .unwrap_or(DEFAULT_CHANNEL);
    match names::channel_track(default_channel) {
        Some(Some(_track)) => {}
        Some(None) => return Err(entry.wrong("default-channel", "must name a track, as in latest/stable")),
        None => {
            return Err(entry.not_a(
                "default-channel",
                "a channel such as latest/stable",
                default_channel,
            ));
        }
    }
    let classic = entry.flag("classic")?;
    if classic && !model_is_classic {
        return Err(entry.wrong("classic", "is only for snaps of classic models"));
    }
    if classic && kind != SnapKind::App {
        return Err(entry.wrong("classic", "is only for snaps of type app"));
    }
    if classic && modes != default_modes() {
        return Err(entry.wrong("modes", "must be run alone for a classic snap"));
    }
    let components = components(entry, &modes)?;
    Ok(ModelSnap {
        id,
        modes,
        default_channel: Some(default_channel.to_owned()),
        presence: presence.unwrap_or(Presence::Required),
        classic,
        components,
        ..plain(name, kind)
    })
}

fn presence(entry: &Fields<'_>) -> Checked<Option<Presence>> {
    Ok(match entry.choice("presence", &["required", "optional"])? {
        Some("optional") => Some(Presence::Optional),
        Some(_) => Some(Presence::Required),
        None => None,
    })
}

fn components(entry: &Fields<'_>, snap_modes: &Arc<[String]>) -> Checked<BTreeMap<String, ModelComponent>> {
    let Some(listed) = entry.optional_map("components")? else {
        return Ok(BTreeMap::new());
    };
    let known: BTreeSet<&str> = snap_modes.iter().map(String::as_str).collect();
    let mut components = BTreeMap::new();
    for (name, value) in listed.map() {
        if !names::is_snap(name) {
            return Err(listed.wrong(name, "is not the name of a component"));
        }
        let component = match value {
            Value::Text(text) => ModelComponent {
                presence: match text.as_str() {
                    "required" => Presence::Required,
                    "optional" => Presence::Optional,
                    other => return Err(listed.not_a(name, "required or optional", other)),
                },
                modes: snap_modes.clone(),
            },
            Value::Map(map) => component(&Fields::nested(map, listed.path(name)), snap_modes, &known)?,
            Value::List(_) => return Err(listed.wrong(name, "must be a map or one of required, optional")),
        };
        components.insert(name.clone(), component);
    }
    Ok(components)
}

/// A component given as a map; `known` are the modes of its snap.
fn component(
    fields: &Fields<'_>,
    snap_modes: &Arc<[String]>,
    known: &BTreeSet<&str>,
) -> Checked<ModelComponent> {
    if let Some(unknown) = fields
        .map()
        .keys()
        .find(|key| !matches!(key.as_str(), "presence" | "modes"))
    {
        return Err(fields.wrong(unknown, "is not known for a component"));
    }
    fields.filled("presence")?;
    let presence = presence(fields)?.unwrap_or(Presence::Required);
    let modes = fields.names("modes", "modes (lower-case words)", names::is_mode)?;
    if let Some(mode) = modes.iter().find(|mode| !known.contains(mode.as_str())) {
        return Err(fields.wrong(
            "modes",
            format!("has {:?}, a mode its snap is not there in", shown(mode)),
        ));
    }
    Ok(ModelComponent {
        presence,
        modes: if modes.is_empty() {
            snap_modes.clone()
        } else {
            modes.into()
        },
    })
}

/// `name` or `name=track`, in the `kernel` and `gadget` headers.
fn tracked(fields: &Fields<'_>, header: &str, kind: SnapKind) -> Checked<Option<ModelSnap>> {
    let Some(value) = fields.optional(header)? else {
        return Ok(None);
    };
    let (name, track) = match value.split_once('=') {
        Some((name, track)) => (name, Some(track)),
        None => (value, None),
    };
    if !names::is_snap(name) {
        return Err(fields.not_a(header, "a snap name, perhaps with =track", value));
    }
    if track.is_some_and(|track| track.contains('/') || names::is_risk(track)) {
        return Err(fields.wrong(header, "may name a track after the =, but no risk and no channel"));
    }
    let pinned_track = track.filter(|track| !track.is_empty()).map(str::to_owned);
    Ok(Some(ModelSnap {
        pinned_track,
        ..plain(name, kind)
    }))
}

fn plain(name: &str, kind: SnapKind) -> ModelSnap {
    ModelSnap {
        name: name.to_owned(),
        id: None,
        kind,
        modes: default_modes(),
        default_channel: None,
        pinned_track: None,
        presence: Presence::Required,
        classic: false,
        components: BTreeMap::new(),
    }
}

fn essential_modes() -> Arc<[String]> {
    ["run", "ephemeral"].map(str::to_owned).into()
}

fn default_modes() -> Arc<[String]> {
    ["run"].map(str::to_owned).into()
}
