//! What clients would trip over although the assertion is well-formed: mostly those older than 2.77 (assertions.md 6).
//! We judge by the newest rules; a fleet may have older devices.

use super::super::decode::Assertion;
use super::super::registry::AssertionType;
use super::{Model, SnapKind, Typed, needed_format};

/// Types with the snapd versions that do not know them.
const UNKNOWN: &[(AssertionType, &str)] = &[
    (AssertionType::SnapResourceRevision, "2.57 does"),
    (AssertionType::SnapResourcePair, "2.57 does"),
    (AssertionType::ConfdbSchema, "2.57 and 2.64 do"),
    (AssertionType::ConfdbControl, "2.57 and 2.64 do"),
    (AssertionType::HardwareIdentity, "2.57 and 2.64 do"),
    (AssertionType::Cluster, "2.57 and 2.64 do"),
    (AssertionType::RequestMessage, "2.57 and 2.64 do"),
    (AssertionType::ResponseMessage, "2.57 and 2.64 do"),
];

/// The highest format iterations older versions understand, where that is not the newest.
const FORMATS: &[(AssertionType, &str, u32)] = &[
    (AssertionType::SnapDeclaration, "2.64", 6),
    (AssertionType::SnapDeclaration, "2.57", 5),
    (AssertionType::SystemUser, "2.57", 1),
    (AssertionType::AccountKey, "2.57", 0),
];

/// What older clients would refuse, ignore or trip over, one sentence each; empty if there is nothing to say.
pub fn compat_warnings(assertion: &Assertion) -> Vec<String> {
    let kind = assertion.kind();
    let mut warnings = Vec::new();
    if let Some((_, who)) = UNKNOWN.iter().find(|(unknown, _)| *unknown == kind) {
        warnings.push(format!(
            "snapd {who} not know the type {kind}: one in a stream spoils all of it"
        ));
    }
    let format = assertion.format().max(needed_format(kind, assertion.headers()));
    for (_, version, understood) in FORMATS
        .iter()
        .filter(|(limited, _, most)| *limited == kind && format > *most)
    {
        warnings.push(format!(
            "snapd {version} understands {kind} up to format {understood}, this needs {format}"
        ));
    }
    if has_compat_label_constraint(assertion) {
        warnings.push(
            "snapd 2.57 and 2.64 refuse $SLOT_COMPAT and $PLUG_COMPAT, and the format does not keep them from it"
                .to_owned(),
        );
    }
    let typed = assertion.typed();
    if let Typed::Model(model) = typed {
        model_warnings(model, assertion, &mut warnings);
    }
    if let Typed::Preseed(preseed) = typed
        && assertion.authority_id() != Some(&preseed.brand_id)
    {
        warnings.push("snapd 2.57 refuses a preseed whose authority is not the brand".to_owned());
    }
    if matches!(typed, Typed::SnapRevision(_) | Typed::SnapResourceRevision(_))
        && assertion.headers().contains("integrity")
    {
        warnings.push("snapd 2.64 refuses a list in \"integrity\", 2.57 ignores it".to_owned());
    }
    if let Typed::ValidationSet(set) = typed
        && set.snaps.iter().any(|snap| !snap.components.is_empty())
    {
        warnings.push(
            "snapd 2.57 ignores \"components\" in validation sets, 2.64 checks them in part".to_owned(),
        );
    }
    warnings
}

fn model_warnings(model: &Model, assertion: &Assertion, warnings: &mut Vec<String>) {
    let headers = assertion.headers();
    if model.series != "16" {
        warnings.push(format!(
            "snapd of every version knows \"series\" 16 only, this is {}",
            model.series
        ));
    }
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

/// Whether interface rules compare compatibility labels. A search of the text is enough for a warning.
fn has_compat_label_constraint(assertion: &Assertion) -> bool {
    let has_rules = matches!(
        assertion.kind(),
        AssertionType::SnapDeclaration | AssertionType::BaseDeclaration
    );
    let text = std::str::from_utf8(assertion.content()).unwrap_or_default();
    has_rules && (text.contains("$SLOT_COMPAT(") || text.contains("$PLUG_COMPAT("))
}
