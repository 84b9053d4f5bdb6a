//! Tests of the automatic checks.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::assertion::types::RevisionAuthority;
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Listing, Releases};
use crate::domain::snap::Epoch;
use crate::domain::time::Timestamp;

/// Everything an upload is judged by, to be changed before it is.
struct Case {
    yaml: String,
    name: SnapName,
    snap: SnapRecord,
    approved: Option<RevisionRecord>,
    confinement_known: bool,
    base_known: bool,
    headers: Headers,
    delegations: Vec<RevisionAuthority>,
    imported: bool,
    channels: Vec<Channel>,
    announced: Option<u64>,
}

impl Case {
    fn new(more: &str) -> Self {
        Self {
            yaml: format!("name: gizmo\nversion: '2'\n{more}"),
            name: "gizmo".parse().unwrap(),
            snap: snap(),
            approved: None,
            confinement_known: false,
            base_known: true,
            headers: Headers::default(),
            delegations: Vec::new(),
            imported: false,
            channels: Vec::new(),
            announced: None,
        }
    }

    fn with(more: &str, change: impl FnOnce(&mut Self)) -> Self {
        let mut case = Self::new(more);
        change(&mut case);
        case
    }

    fn grant(&mut self, header: &str, rules: &[(&str, &str)]) {
        let rules: BTreeMap<String, Value> = rules
            .iter()
            .map(|(interface, rule)| ((*interface).to_owned(), Value::from(*rule)))
            .collect();
        self.headers.set(header, rules);
    }

    fn findings(&self) -> Vec<Finding> {
        let declaration = SnapDeclaration {
            series: "16".into(),
            snap_id: self.snap.id.to_string(),
            snap_name: "gizmo".into(),
            publisher_id: "acme".into(),
            refresh_control: Vec::new(),
            auto_aliases: Vec::new(),
            aliases: BTreeMap::new(),
            revision_authority: self.delegations.clone(),
            needed_format: 0,
            timestamp: Timestamp::from_unix(0),
        };
        check(&Upload {
            yaml: &SnapYaml::parse(&self.yaml).unwrap(),
            name: &self.name,
            snap: &self.snap,
            approved: self.approved.as_ref(),
            confinement_known: self.confinement_known,
            base_known: self.base_known,
            headers: &self.headers,
            declaration: &declaration,
            imported: self.imported,
            channels: &self.channels,
            size: 4096,
            announced: self.announced,
        })
    }

    fn codes(&self) -> Vec<(Severity, String)> {
        self.findings()
            .into_iter()
            .map(|finding| (finding.severity, finding.code))
            .collect()
    }

    fn outcome(&self) -> Outcome {
        outcome(&self.findings())
    }
}

fn snap() -> SnapRecord {
    SnapRecord {
        id: "a".repeat(32).parse().unwrap(),
        name: "gizmo".parse().unwrap(),
        brand_id: "acme".parse().unwrap(),
        store_id: "acme".parse().unwrap(),
        publisher_id: "acme".parse().unwrap(),
        collaborators: BTreeSet::new(),
        kind: None,
        private: false,
        featured: None,
        revoked: false,
        listing: Listing::default(),
        tracks: BTreeSet::new(),
        guardrails: Vec::new(),
        default_track: None,
        aliases: BTreeSet::new(),
        refresh_control: BTreeSet::new(),
        newest_revision: 1,
        newest_components: BTreeMap::new(),
        releases: Releases::default(),
        created: Timestamp::from_unix(0),
    }
}

fn before(version: &str, epoch: &str) -> RevisionRecord {
    RevisionRecord {
        snap_id: snap().id,
        revision: 1,
        blob: BlobId::of(b""),
        size: 0,
        sha512: String::new(),
        version: version.into(),
        kind: SnapType::App,
        base: None,
        architectures: BTreeSet::from(["all".parse().unwrap()]),
        confinement: Confinement::Strict,
        epoch: epoch.parse::<Epoch>().unwrap(),
        grade: None,
        provenance: "global-upload".into(),
        snap_yaml: String::new(),
        common_ids: Vec::new(),
        apps: Vec::new(),
        hooks: BTreeSet::new(),
        components: Vec::new(),
        developer_id: "acme".parse().unwrap(),
        created: Timestamp::from_unix(0),
        review: Default::default(),
    }
}

#[test]
fn each_check_finds_what_it_is_for() {
    use Severity::{Hold, Note, Reject};
    let channel = |text: &str| vec![text.parse::<Channel>().unwrap()];
    let delegation = RevisionAuthority {
        account_id: "acme".into(),
        provenance: vec!["factory".into()],
        min_revision: 5,
        max_revision: None,
        scope: Default::default(),
    };
    let cases: Vec<(Case, &[(Severity, &str)])> = vec![
        (Case::new(""), &[]),
        (
            Case::with("", |case| case.name = "other".parse().unwrap()),
            &[(Reject, "name-differs")],
        ),
        (
            Case::with("", |case| case.snap.name = "other".parse().unwrap()),
            &[(Reject, "name-differs")],
        ),
        (
            Case::with("", |case| case.snap.revoked = true),
            &[(Reject, "snap-revoked")],
        ),
        (Case::with("", |case| case.announced = Some(4096)), &[]),
        (
            Case::with("", |case| case.announced = Some(4095)),
            &[(Reject, "size-differs")],
        ),
        (
            Case::new("provenance: factory\n"),
            &[(Reject, "provenance-not-delegated")],
        ),
        (
            Case::with("provenance: factory\n", |case| case.imported = true),
            &[],
        ),
        (
            Case::with("provenance: factory\n", |case| {
                case.delegations.push(delegation.clone())
            }),
            &[],
        ),
        (
            Case::with("provenance: other\n", |case| case.delegations.push(delegation)),
            &[(Reject, "provenance-not-delegated")],
        ),
        (Case::new("type: gadget\n"), &[(Hold, "type-not-allowed")]),
        (Case::new("type: kernel\n"), &[(Hold, "type-not-allowed")]),
        (
            Case::with("type: gadget\n", |case| {
                case.snap.kind = Some(SnapType::Gadget);
                case.approved = Some(before("1", "0"));
            }),
            &[],
        ),
        (
            Case::with("type: base\n", |case| case.snap.kind = Some(SnapType::App)),
            &[(Reject, "type-differs")],
        ),
        (
            Case::new("confinement: classic\n"),
            &[(Hold, "confinement-not-allowed")],
        ),
        (
            Case::with("confinement: classic\n", |case| case.confinement_known = true),
            &[],
        ),
        (
            Case::with("confinement: devmode\n", |case| {
                case.confinement_known = true;
                case.channels = channel("edge");
            }),
            &[],
        ),
        (
            Case::with("confinement: devmode\n", |case| {
                case.confinement_known = true;
                case.channels = channel("candidate");
            }),
            &[(Reject, "confinement-not-stable")],
        ),
        (
            Case::with("grade: devel\n", |case| case.channels = channel("beta")),
            &[],
        ),
        (
            Case::with("grade: devel\n", |case| case.channels = channel("2.0/stable")),
            &[(Reject, "grade-not-stable")],
        ),
        (
            Case::with("grade: stable\n", |case| case.channels = channel("stable")),
            &[],
        ),
        (
            Case::with("base: unheard\n", |case| case.base_known = false),
            &[(Hold, "base-unknown")],
        ),
        (Case::with("", |case| case.base_known = false), &[]),
        (
            Case::new("architectures: [all, amd64]\n"),
            &[(Note, "architectures-mixed")],
        ),
        (
            Case::with("epoch: 1\n", |case| case.approved = Some(before("1", "0"))),
            &[(Note, "epoch-leaps")],
        ),
        (
            Case::with("epoch: 1*\n", |case| case.approved = Some(before("1", "0"))),
            &[],
        ),
        (
            Case::with("", |case| case.approved = Some(before("2", "0"))),
            &[(Note, "version-repeated")],
        ),
        (
            Case::new("plugs: {snapd-control: null, network: null, camera: null}\n"),
            &[(Hold, "interface-not-granted"), (Note, "interface-by-hand")],
        ),
        (
            Case::with("plugs: {p: {interface: snapd-control}}\n", |case| {
                case.grant("plugs", &[("snapd-control", "true")])
            }),
            &[],
        ),
        (
            Case::with(
                "plugs: [network]\nslots: {}\n"
                    .replace("[network]", "{network: null}")
                    .as_str(),
                |case| case.grant("plugs", &[("network", "false")]),
            ),
            &[(Hold, "interface-denied")],
        ),
        (
            Case::new("slots: {bus: {interface: dbus}, mine: content}\n"),
            &[(Hold, "slot-not-granted")],
        ),
        (
            Case::with("slots: {bus: {interface: dbus}}\n", |case| {
                case.grant("slots", &[("dbus", "true")])
            }),
            &[],
        ),
        (
            Case::with("type: gadget\nslots: {p: {interface: serial-port}}\n", |case| {
                case.snap.kind = Some(SnapType::Gadget);
                case.approved = Some(before("1", "0"));
            }),
            &[],
        ),
        (
            Case::new("apps: {x: {plugs: [lxd-support]}}\n"),
            &[(Hold, "interface-not-granted")],
        ),
    ];
    for (case, expected) in cases {
        let expected: Vec<(Severity, String)> = expected
            .iter()
            .map(|(severity, code)| (*severity, (*code).to_owned()))
            .collect();
        assert_eq!(case.codes(), expected, "{}", case.yaml);
    }
}

#[test]
fn findings_say_what_they_are_about() {
    let case = Case::new("plugs: {mine: {interface: snapd-control}}\n");
    let finding = case.findings().remove(0);
    assert_eq!(finding.about.as_deref(), Some("plugs/mine"));
    assert!(finding.text.contains("snapd-control"), "{}", finding.text);
}

fn plugs() -> impl Strategy<Value = BTreeSet<&'static str>> {
    let names = vec![
        "network",
        "home",
        "camera",
        "serial-port",
        "snapd-control",
        "userns",
    ];
    prop::collection::btree_set(prop::sample::select(names), 0..5)
}

fn text_of(plugs: &BTreeSet<&'static str>) -> String {
    let list: Vec<String> = plugs.iter().map(|name| format!("{name}: null")).collect();
    format!("plugs: {{{}}}\n", list.join(", "))
}

proptest! {
    /// A strict application is held exactly if it has a plug of class C without a grant, and a grant never makes it worse.
    #[test]
    fn only_what_needs_a_grant_is_held(plugs in plugs(), granted in plugs()) {
        let mut case = Case::new(&text_of(&plugs));
        let without = case.outcome();
        let rules: Vec<(&str, &str)> = granted.iter().map(|name| (*name, "true")).collect();
        if !rules.is_empty() {
            case.grant("plugs", &rules);
        }
        let with = case.outcome();
        prop_assert!(with <= without);
        let needs = |name: &&&str| class(&name.parse().unwrap()) == Class::C;
        let held = plugs.iter().filter(needs).any(|name| !granted.contains(name));
        prop_assert_eq!(with, if held { Outcome::Hold } else { Outcome::Pass });
    }

    /// The weightiest finding decides, wherever it stands.
    #[test]
    fn the_weightiest_decides(weights in prop::collection::vec(0usize..3, 0..6)) {
        let findings: Vec<Finding> = weights
            .iter()
            .map(|weight| Finding {
                severity: [Severity::Note, Severity::Hold, Severity::Reject][*weight],
                code: String::new(),
                text: String::new(),
                about: None,
            })
            .collect();
        let expected = [Outcome::Pass, Outcome::Pass, Outcome::Hold, Outcome::Reject];
        let weight = weights.iter().max().map_or(0, |weight| weight + 1);
        prop_assert_eq!(outcome(&findings), expected[weight]);
    }
}
