//! One subrule of an interface rule, such as `allow-connection`: `true`, `false`, constraints, or alternatives of
//! constraints.

use super::super::super::headers::Value;
use super::super::checks::{Checked, Fields, positive, shown};
use super::super::names;
use super::attributes::check_attributes;
use super::regexp::Pattern;
use super::scope::DeviceScope;
use super::{Needed, Side, format};

/// A kind of subrule.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    allows: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Installation,
    Connection,
}

/// All kinds of subrules.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "allow-installation",
        allows: true,
        stage: Stage::Installation,
    },
    Kind {
        name: "deny-installation",
        allows: false,
        stage: Stage::Installation,
    },
    Kind {
        name: "allow-connection",
        allows: true,
        stage: Stage::Connection,
    },
    Kind {
        name: "deny-connection",
        allows: false,
        stage: Stage::Connection,
    },
    Kind {
        name: "allow-auto-connection",
        allows: true,
        stage: Stage::Connection,
    },
    Kind {
        name: "deny-auto-connection",
        allows: false,
        stage: Stage::Connection,
    },
];

/// What a constraint is about and how it is written.
#[derive(Clone, Copy, Debug)]
enum Constraint {
    Names,
    Attributes,
    SnapTypes,
    SnapIds,
    Publishers,
    Arity,
    OnClassic,
    OnCoreDesktop,
}

/// The constraints a subrule may have, besides the device scope.
fn known(side: Side, stage: Stage) -> &'static [(&'static str, Constraint)] {
    use Constraint as C;
    match (stage, side) {
        (Stage::Installation, Side::Plug) => &[
            ("plug-names", C::Names),
            ("plug-attributes", C::Attributes),
            ("plug-snap-type", C::SnapTypes),
            ("plug-snap-id", C::SnapIds),
            ("slots-per-plug", C::Arity),
            ("plugs-per-slot", C::Arity),
            ("on-classic", C::OnClassic),
            ("on-core-desktop", C::OnCoreDesktop),
        ],
        (Stage::Installation, Side::Slot) => &[
            ("slot-names", C::Names),
            ("slot-attributes", C::Attributes),
            ("slot-snap-type", C::SnapTypes),
            ("slot-snap-id", C::SnapIds),
            ("slots-per-plug", C::Arity),
            ("plugs-per-slot", C::Arity),
            ("on-classic", C::OnClassic),
            ("on-core-desktop", C::OnCoreDesktop),
        ],
        (Stage::Connection, Side::Plug) => &[
            ("plug-names", C::Names),
            ("slot-names", C::Names),
            ("plug-attributes", C::Attributes),
            ("slot-attributes", C::Attributes),
            ("slot-snap-type", C::SnapTypes),
            ("slot-publisher-id", C::Publishers),
            ("slot-snap-id", C::SnapIds),
            ("slots-per-plug", C::Arity),
            ("plugs-per-slot", C::Arity),
            ("on-classic", C::OnClassic),
            ("on-core-desktop", C::OnCoreDesktop),
        ],
        (Stage::Connection, Side::Slot) => &[
            ("plug-names", C::Names),
            ("slot-names", C::Names),
            ("plug-attributes", C::Attributes),
            ("slot-attributes", C::Attributes),
            ("slot-snap-type", C::SnapTypes),
            ("plug-snap-type", C::SnapTypes),
            ("plug-publisher-id", C::Publishers),
            ("plug-snap-id", C::SnapIds),
            ("slots-per-plug", C::Arity),
            ("plugs-per-slot", C::Arity),
            ("on-classic", C::OnClassic),
            ("on-core-desktop", C::OnCoreDesktop),
        ],
    }
}

/// Checks the value of subrule `kind` of `rule`.
pub(super) fn check(
    rule: &Fields<'_>,
    kind: &Kind,
    value: &Value,
    side: Side,
    needed: &mut Needed,
) -> Checked<()> {
    match value {
        Value::Text(text) if text == "true" || text == "false" => Ok(()),
        Value::Text(_) => Err(rule.wrong(kind.name, "must be a map, a list of maps, true or false")),
        Value::Map(map) => constraints(&Fields::nested(map, rule.path(kind.name)), kind, side, needed),
        Value::List(_) => rule
            .maps(kind.name)?
            .iter()
            .try_for_each(|alternative| constraints(alternative, kind, side, needed)),
    }
}

fn constraints(fields: &Fields<'_>, kind: &Kind, side: Side, needed: &mut Needed) -> Checked<()> {
    let known = known(side, kind.stage);
    let mut found = false;
    for (name, constraint) in known {
        if let Some(value) = fields.get(name) {
            found = true;
            one(fields, name, *constraint, value, kind, needed)?;
        }
    }
    if !DeviceScope::of(fields)?.is_everywhere() {
        found = true;
        needed.raise(format::DEVICE_SCOPE);
    }
    // Devices let an installation subrule without any known constraint pass.
    if found || kind.stage == Stage::Installation {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    Err(fields.wrong_here(format!(
        "must have at least one of {}, on-store, on-brand, on-model",
        names.join(", ")
    )))
}

fn one(
    fields: &Fields<'_>,
    name: &str,
    constraint: Constraint,
    value: &Value,
    kind: &Kind,
    needed: &mut Needed,
) -> Checked<()> {
    match constraint {
        Constraint::Names => {
            needed.raise(format::NAMES);
            name_patterns(fields, name)
        }
        Constraint::Attributes => check_attributes(fields, name, value, needed),
        Constraint::SnapTypes => fields
            .names(name, "core, kernel, gadget or app", |text| {
                matches!(text, "core" | "kernel" | "gadget" | "app")
            })
            .map(drop),
        Constraint::SnapIds => fields.names(name, "snap ids", names::is_snap_id).map(drop),
        Constraint::Publishers => fields
            .names(name, "account ids or $MARKERS", |text| {
                names::is_account_id(text) || is_marker(text)
            })
            .map(drop),
        Constraint::Arity => arity(fields, name, value, kind),
        Constraint::OnClassic => on_classic(fields, name, value, needed),
        Constraint::OnCoreDesktop => fields.flag(name).map(drop),
    }
}

/// `plug-names`, `slot-names`: patterns without spaces, or markers such as `$INTERFACE`.
fn name_patterns(fields: &Fields<'_>, name: &str) -> Checked<()> {
    if !fields.list(name)?.iter().all(|item| item.as_text().is_some()) {
        return Err(fields.wrong(name, "must be a list of patterns"));
    }
    for text in fields.texts(name)? {
        let problem = match text.chars().next() {
            Some('$') if is_marker(&text) => continue,
            Some('$') => "is no marker such as $INTERFACE".to_owned(),
            Some(_) | None if text.contains(char::is_whitespace) => "must not have spaces".to_owned(),
            Some(_) | None => match Pattern::new(&text) {
                Ok(_) => continue,
                Err(problem) => problem,
            },
        };
        return Err(fields.wrong(
            name,
            format!("has an invalid entry {:?}: {problem}", shown(&text)),
        ));
    }
    Ok(())
}

/// `slots-per-plug`, `plugs-per-slot`: `*` or a number of at least 1; only where connections are allowed.
fn arity(fields: &Fields<'_>, name: &str, value: &Value, kind: &Kind) -> Checked<()> {
    if !kind.allows || kind.stage == Stage::Installation {
        return Err(fields.wrong(name, "is only for allow-connection and allow-auto-connection"));
    }
    match value.as_text() {
        Some("*") => Ok(()),
        Some(text) => positive(text)
            .map(drop)
            .map_err(|problem| fields.wrong(name, problem)),
        None => Err(fields.wrong(name, "must be * or a whole number")),
    }
}

/// `on-classic`: `true`, `false`, or systems as `distro`, `distro/variant`, `distro/*` or `distro/`.
fn on_classic(fields: &Fields<'_>, name: &str, value: &Value, needed: &mut Needed) -> Checked<()> {
    if value.as_text().is_some() {
        return fields.flag(name).map(drop);
    }
    let systems = fields.names(name, "systems (distro or distro/variant)", is_system)?;
    if systems.iter().any(|system| system.contains('/')) {
        needed.raise(format::ON_CLASSIC_VARIANT);
    }
    Ok(())
}

fn is_system(text: &str) -> bool {
    let is_id = |id: &str| {
        !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_'))
    };
    match text.split_once('/') {
        None => is_id(text),
        Some((distro, variant)) => is_id(distro) && (matches!(variant, "" | "*") || is_id(variant)),
    }
}

/// `$NAME`: `^\$[A-Z][A-Z0-9_]*$`.
fn is_marker(text: &str) -> bool {
    text.strip_prefix('$').is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    })
}
