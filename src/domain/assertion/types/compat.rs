//! What clients older than 2.77 would make of an assertion (assertions.md 6). We judge by the newest rules; a fleet
//! may have older devices.

use super::super::decode::Assertion;
use super::super::registry::AssertionType;
use super::{Model, SnapKind, Typed};

/// What older clients would refuse, ignore or trip over, one sentence each; empty if there is nothing to say.
pub fn compat_warnings(assertion: &Assertion) -> Vec<String> {
    let mut warnings = Vec::new();
    let kind = assertion.kind();
    for (newest_without, types) in [("2.57", UNKNOWN_TO_2_57), ("2.64", UNKNOWN_TO_2_64)] {
        if types.contains(&kind) {
            warnings.push(format!(
                "snapd {newest_without} and older do not know the type {kind}: one in a stream makes them refuse all of it"
            ));
        }
    }
    let typed = assertion.typed();
    if let Typed::Model(model) = typed {
        model_warnings(model, assertion, &mut warnings);
    }
    if let Typed::AccountKey(key) = typed
        && key.is_constrained()
    {
        warnings
            .push("snapd 2.57 cannot use a key with constraints: nothing it signs counts there".to_owned());
    }
    if let Typed::SnapDeclaration(declaration) = typed {
        format_warnings(declaration.needed_format, &mut warnings);
    }
    if let Typed::SystemUser(user) = typed
        && user.expires
    {
        warnings
            .push("snapd 2.57 understands system-users up to format 1, \"user-presence\" needs 2".to_owned());
    }
    if let Typed::Preseed(preseed) = typed
        && assertion.authority_id() != Some(&preseed.brand_id)
    {
        warnings.push("snapd 2.57 refuses a preseed whose authority is not the brand".to_owned());
    }
    if matches!(typed, Typed::SnapRevision(_) | Typed::SnapResourceRevision(_))
        && assertion.headers().contains("integrity")
    {
        warnings.push("snapd 2.64 refuses the \"integrity\" list: it expects a map".to_owned());
    }
    if let Typed::ValidationSet(set) = typed
        && set.snaps.iter().any(|snap| !snap.components.is_empty())
    {
        warnings.push(
            "snapd 2.57 ignores \"components\" in validation sets, 2.64 checks them in part".to_owned(),
        );
    }
    if has_compat_label_constraint(assertion) {
        warnings.push(
            "snapd 2.64 and older refuse $SLOT_COMPAT and $PLUG_COMPAT, and no format number keeps it from them".to_owned(),
        );
    }
    warnings
}

fn model_warnings(model: &Model, assertion: &Assertion, warnings: &mut Vec<String>) {
    let headers = assertion.headers();
    for name in ["validation-sets", "preseed-authority"] {
        if headers.contains(name) {
            warnings.push(format!("snapd 2.57 ignores \"{name}\""));
        }
    }
    if model.snaps.iter().any(|snap| !snap.components.is_empty()) {
        warnings.push("snapd 2.57 ignores \"components\" of snaps".to_owned());
    }
    if model.snaps.iter().any(|snap| snap.classic) {
        warnings.push("snapd 2.57 ignores \"classic\" of snaps".to_owned());
    }
    let has = |kind| model.essential_snaps().iter().any(|snap| snap.kind == kind);
    if model.classic && headers.contains("snaps") && !(has(SnapKind::Kernel) && has(SnapKind::Gadget)) {
        warnings.push(
            "snapd 2.57 refuses a classic model with \"snaps\" but without kernel or gadget".to_owned(),
        );
    }
}

/// Types that 2.57 does not know, but 2.64 does.
const UNKNOWN_TO_2_57: &[AssertionType] = &[
    AssertionType::SnapResourceRevision,
    AssertionType::SnapResourcePair,
];

/// Types that 2.64 does not know.
const UNKNOWN_TO_2_64: &[AssertionType] = &[
    AssertionType::ConfdbSchema,
    AssertionType::ConfdbControl,
    AssertionType::HardwareIdentity,
    AssertionType::Cluster,
    AssertionType::RequestMessage,
    AssertionType::ResponseMessage,
];

fn format_warnings(needed: u32, warnings: &mut Vec<String>) {
    for (version, understood) in [("2.64", 6), ("2.57", 5)] {
        if needed > understood {
            warnings.push(format!(
                "snapd {version} understands snap-declarations up to format {understood}, this needs {needed}"
            ));
        }
    }
}

/// Whether interface rules compare compatibility labels. A search of the text is enough for a warning.
fn has_compat_label_constraint(assertion: &Assertion) -> bool {
    let rules = matches!(
        assertion.kind(),
        AssertionType::SnapDeclaration | AssertionType::BaseDeclaration
    );
    let text = std::str::from_utf8(assertion.content()).unwrap_or_default();
    rules && (text.contains("$SLOT_COMPAT(") || text.contains("$PLUG_COMPAT("))
}
