//! `meta/snap.yaml`, checked.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Fields, SnapYamlError};
use super::kind::{ComponentType, Confinement, Grade, SnapType};
use super::{Epoch, names};
use crate::domain::ident::{Architecture, SnapName};
use crate::domain::yaml::{self, Node};

/// What a snap says about itself. Fields the store does not need are ignored; those it needs have been checked, most of
/// them by the rules that devices apply too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapYaml {
    /// The document, verbatim: devices get it in this form.
    pub text: String,
    /// The name of the snap.
    pub name: SnapName,
    /// Its version: at most 32 of letters, digits and `:.+~-`.
    pub version: String,
    /// What the snap is for.
    pub kind: SnapType,
    /// The snap whose root file system it runs in; none: `core`, or it is a base itself.
    pub base: Option<String>,
    /// Where it runs, never empty; `all` if the document names none.
    pub architectures: BTreeSet<Architecture>,
    /// How much it is shut in.
    pub confinement: Confinement,
    /// Which data it reads and writes.
    pub epoch: Epoch,
    /// Whether it is fit for stable channels, if it says so.
    pub grade: Option<Grade>,
    /// At most 40 characters.
    pub title: Option<String>,
    /// At most 128 characters.
    pub summary: Option<String>,
    /// At most 4,096 characters.
    pub description: Option<String>,
    /// A licence expression, at most 128 characters.
    pub license: Option<String>,
    /// Addresses by kind: `contact`, `website`, `source-code`, `issues`, `donation`, or others.
    pub links: BTreeMap<String, Vec<String>>,
    /// Who vouches for it, unless [`SnapYaml::GLOBAL_UPLOAD`].
    pub provenance: String,
    /// Its applications, by name.
    pub apps: BTreeMap<String, App>,
    /// The hooks it describes, by name; there may be more in `meta/hooks`.
    pub hooks: BTreeSet<String>,
    /// The interface of each plug, by the plug's name.
    pub plugs: BTreeMap<String, String>,
    /// The interface of each slot, by the slot's name.
    pub slots: BTreeMap<String, String>,
    /// Its components, by name.
    pub components: BTreeMap<String, DeclaredComponent>,
    /// Features of snapd it needs.
    pub assumes: Vec<String>,
    /// Whether it rearranges its file system.
    pub has_layout: bool,
}

/// An application of a snap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct App {
    /// What is run.
    pub command: Option<String>,
    /// How the service is run (`simple`, `oneshot`, …); none: it is no service.
    pub daemon: Option<String>,
    /// Other names of the command.
    pub aliases: Vec<String>,
    /// Its identifier for software centres.
    pub common_id: Option<String>,
}

/// What `snap.yaml` says of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredComponent {
    /// What it holds.
    pub kind: ComponentType,
    /// Its version, if it is fixed.
    pub version: Option<String>,
    /// At most 128 characters.
    pub summary: Option<String>,
    /// At most 4,096 characters.
    pub description: Option<String>,
}

/// `meta/component.yaml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentYaml {
    /// The document, verbatim.
    pub text: String,
    /// The snap it belongs to: the part of `component` before `+`.
    pub snap: SnapName,
    /// The name of the component: the part after `+`.
    pub component: String,
    /// What it holds.
    pub kind: ComponentType,
    /// Its version, if it has one of its own.
    pub version: Option<String>,
    /// At most 128 characters.
    pub summary: Option<String>,
    /// At most 4,096 characters.
    pub description: Option<String>,
    /// Who vouches for it, unless [`SnapYaml::GLOBAL_UPLOAD`].
    pub provenance: String,
}

impl SnapYaml {
    /// The provenance of a snap that names none.
    pub const GLOBAL_UPLOAD: &'static str = "global-upload";
    /// Longest document, in bytes.
    pub const MAX_BYTES: usize = yaml::MAX_BYTES;

    /// Reads and checks a document. Takes bounded time and memory whatever the text is.
    ///
    /// # Errors
    /// The first field that breaks a rule, or that the text is too long, too deeply nested or no YAML map.
    pub fn parse(text: &str) -> Result<Self, SnapYamlError> {
        let fields = Fields::of_document("snap.yaml", text)?;
        let name = fields.parsed("name")?.ok_or_else(|| fields.missing("name"))?;
        let mut snap = Self {
            name,
            version: version(&fields)?.ok_or_else(|| fields.missing("version"))?,
            kind: kind(&fields)?,
            base: fields.checked("base", names::is_snap, "a snap name")?,
            architectures: architectures(&fields)?,
            confinement: fields.parsed("confinement")?.unwrap_or_default(),
            epoch: epoch(&fields)?,
            grade: fields.parsed("grade")?,
            title: fields.limited("title", 40)?,
            summary: fields.limited("summary", 128)?,
            description: fields.limited("description", 4096)?,
            license: fields.limited("license", 128)?,
            links: links(&fields)?,
            provenance: provenance(&fields)?,
            apps: BTreeMap::new(),
            hooks: BTreeSet::new(),
            plugs: connections(&fields, "plugs")?,
            slots: connections(&fields, "slots")?,
            components: BTreeMap::new(),
            assumes: fields.texts("assumes")?,
            has_layout: fields.map("layout")?.is_some_and(|layout| !layout.is_empty()),
            text: text.to_owned(),
        };
        for (name, app) in fields.entries("apps", names::is_app, "an application name")? {
            snap.implicit_connections(&app)?;
            let app = App {
                command: app.limited("command", 4096)?,
                daemon: app.limited("daemon", 32)?,
                aliases: app.texts("aliases")?,
                common_id: app.limited("common-id", 256)?,
            };
            snap.apps.insert(name, app);
        }
        for (name, hook) in fields.entries("hooks", names::is_hook, "a hook name")? {
            snap.implicit_connections(&hook)?;
            snap.hooks.insert(name);
        }
        for (name, component) in fields.entries("components", names::is_snap, "a component name")? {
            let kind = component.parsed("type")?;
            let declared = DeclaredComponent {
                kind: kind.ok_or_else(|| component.missing("type"))?,
                version: version(&component)?,
                summary: component.limited("summary", 128)?,
                description: component.limited("description", 4096)?,
            };
            snap.components.insert(name, declared);
        }
        Ok(snap)
    }

    /// The identifiers of its applications for software centres, in order of the applications' names, each once.
    pub fn common_ids(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let ids = self.apps.values().filter_map(|app| app.common_id.as_deref());
        ids.filter(|id| seen.insert(*id)).collect()
    }

    /// A plug or slot that an application or hook names without describing it has the interface of its name.
    fn implicit_connections(&mut self, user: &Fields<'_>) -> Result<(), SnapYamlError> {
        for (field, known) in [("plugs", &mut self.plugs), ("slots", &mut self.slots)] {
            for name in user.texts(field)? {
                if !names::is_connection(&name) {
                    return Err(user.refuse(field, format!("has {name:?}, which is no name of one")));
                }
                known.entry(name.clone()).or_insert(name);
            }
        }
        Ok(())
    }
}

impl ComponentYaml {
    /// Reads and checks a document. Takes bounded time and memory whatever the text is.
    ///
    /// # Errors
    /// As [`SnapYaml::parse`].
    pub fn parse(text: &str) -> Result<Self, SnapYamlError> {
        let fields = Fields::of_document("component.yaml", text)?;
        let whole = fields
            .text("component")?
            .ok_or_else(|| fields.missing("component"))?;
        let parts = whole.split_once('+').and_then(|(snap, component)| {
            let snap = snap.parse().ok()?;
            names::is_snap(component).then(|| (snap, component.to_owned()))
        });
        let Some((snap, component)) = parts else {
            return Err(fields.refuse("component", format!("must be SNAP+COMPONENT, not {whole:?}")));
        };
        Ok(Self {
            snap,
            component,
            kind: fields.parsed("type")?.ok_or_else(|| fields.missing("type"))?,
            version: version(&fields)?,
            summary: fields.limited("summary", 128)?,
            description: fields.limited("description", 4096)?,
            provenance: provenance(&fields)?,
            text: text.to_owned(),
        })
    }
}

fn version(fields: &Fields<'_>) -> Result<Option<String>, SnapYamlError> {
    let what = "at most 32 of letters, digits and :.+~- that begins with a letter or digit and ends with one or + or ~";
    fields.checked("version", names::is_version, what)
}

fn kind(fields: &Fields<'_>) -> Result<SnapType, SnapYamlError> {
    match fields.text("type")? {
        Some("application") => Ok(SnapType::App),
        _ => Ok(fields.parsed("type")?.unwrap_or_default()),
    }
}

fn architectures(fields: &Fields<'_>) -> Result<BTreeSet<Architecture>, SnapYamlError> {
    let mut architectures = BTreeSet::new();
    for name in fields.texts("architectures")? {
        let architecture = name.parse::<Architecture>();
        architectures.insert(architecture.map_err(|error| fields.refuse("architectures", error))?);
    }
    if architectures.is_empty() {
        let all = "all".parse::<Architecture>();
        architectures.insert(all.map_err(|error| fields.refuse("architectures", error))?);
    }
    Ok(architectures)
}

fn epoch(fields: &Fields<'_>) -> Result<Epoch, SnapYamlError> {
    let made = match fields.get("epoch") {
        None => return Ok(Epoch::default()),
        Some(Node::Map(_)) => {
            let lists = fields.section("epoch")?;
            let numbers = |field: &str| -> Result<Option<Vec<u32>>, SnapYamlError> {
                if lists.get(field).is_none() {
                    return Ok(None);
                }
                let texts = lists.texts(field)?;
                let numbers = texts.iter().map(|text| names::small_number(text)).collect();
                let numbers: Option<Vec<u32>> = numbers;
                let refused = || lists.refuse(field, "must be a list of numbers".to_owned());
                numbers.map(Some).ok_or_else(refused)
            };
            Epoch::of_lists(
                numbers("read")?.map(Into::into),
                numbers("write")?.map(Into::into),
            )
        }
        Some(_) => fields.text("epoch")?.unwrap_or_default().parse(),
    };
    made.map_err(|error| fields.refuse("epoch", error))
}

fn provenance(fields: &Fields<'_>) -> Result<String, SnapYamlError> {
    let what = "words of letters and digits joined by single dashes";
    let provenance = fields.checked("provenance", names::is_provenance, what)?;
    Ok(provenance.unwrap_or_else(|| SnapYaml::GLOBAL_UPLOAD.to_owned()))
}

/// `links`, and the older fields of their own.
fn links(fields: &Fields<'_>) -> Result<BTreeMap<String, Vec<String>>, SnapYamlError> {
    let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |from: &Fields<'_>, kind: &str| -> Result<(), SnapYamlError> {
        let addresses = from.text_or_texts(kind)?;
        for address in addresses {
            if !names::is_link(&address) {
                return Err(from.refuse(
                    kind,
                    format!("has {address:?}, which is neither a web nor a mail address"),
                ));
            }
            let known = links.entry(kind.to_owned()).or_default();
            if !known.contains(&address) {
                known.push(address);
            }
        }
        Ok(())
    };
    for kind in ["contact", "website", "source-code", "issues", "donation"] {
        add(fields, kind)?;
    }
    let section = fields.section("links")?;
    for kind in section.keys() {
        if !names::is_app(kind) {
            return Err(section.refuse(kind, "is no kind of link".to_owned()));
        }
        add(&section, kind)?;
    }
    Ok(links)
}

/// `plugs` or `slots`: name to interface.
fn connections(fields: &Fields<'_>, field: &str) -> Result<BTreeMap<String, String>, SnapYamlError> {
    let section = fields.section(field)?;
    let mut connections = BTreeMap::new();
    for name in section.keys() {
        let interface = match section.get(name) {
            None | Some(Node::Null) => None,
            Some(Node::Text(interface)) => Some(interface.clone()),
            Some(_) => section.section(name)?.text("interface")?.map(str::to_owned),
        };
        let interface = interface.unwrap_or_else(|| name.to_owned());
        if !names::is_connection(name) || !names::is_connection(&interface) {
            return Err(section.refuse(name, format!("is no name, or {interface:?} is no interface")));
        }
        connections.insert(name.to_owned(), interface);
    }
    Ok(connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "\
name: hello-world
version: 1.10
type: app
base: core22
title: Hello
summary: Says hello
description: |
  Says hello
  to the world.
license: MIT
contact: hello@example.com
website: [https://example.com]
links:
  contact: [mailto:hello@example.com, hello@example.com]
  source-code: [https://example.com/src]
architectures: [amd64, arm64]
confinement: classic
grade: devel
epoch: 1*
provenance: factory-one
assumes: [snapd2.50]
layout: {/usr/share/x: {bind: $SNAP/x}}
plugs:
  network:
  home: null
  shared: content
  camera-two: {interface: camera, special: [1]}
slots:
  served: {interface: dbus, name: org.example}
apps:
  hello: {command: bin/hello, plugs: [network, audio-playback], aliases: [hi], common-id: org.example.hello}
  served:
    command: bin/serve
    daemon: simple
    slots: [served]
hooks:
  configure: {plugs: [network-control]}
  install:
components:
  extra: {type: standard, version: '2', summary: More, description: Even more}
  modules: {type: kernel-modules}
unknown: {a: [b]}
";

    fn one(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    #[test]
    fn all_fields_are_read() {
        let snap = SnapYaml::parse(FULL).unwrap();
        assert_eq!(snap.text, FULL);
        assert_eq!(snap.name.as_str(), "hello-world");
        assert_eq!(snap.version, "1.10");
        assert_eq!(snap.base.as_deref(), Some("core22"));
        let architectures: Vec<_> = snap.architectures.iter().map(Architecture::as_str).collect();
        assert_eq!(architectures, ["amd64", "arm64"]);
        assert_eq!(
            (snap.kind, snap.confinement, snap.grade),
            (SnapType::App, Confinement::Classic, Some(Grade::Devel))
        );
        assert_eq!(snap.epoch, Epoch::new(vec![0, 1], vec![1]).unwrap());
        assert_eq!(snap.description.as_deref(), Some("Says hello\nto the world.\n"));
        assert_eq!(
            snap.links["contact"],
            ["hello@example.com", "mailto:hello@example.com"]
        );
        assert_eq!(snap.links["website"], ["https://example.com"]);
        assert_eq!(snap.links["source-code"], ["https://example.com/src"]);
        assert_eq!(snap.provenance, "factory-one");
        let plugs: Vec<_> = snap.plugs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            plugs,
            [
                ("audio-playback", "audio-playback"),
                ("camera-two", "camera"),
                ("home", "home"),
                ("network", "network"),
                ("network-control", "network-control"),
                ("shared", "content"),
            ]
        );
        assert_eq!(snap.slots.into_iter().collect::<Vec<_>>(), one("served", "dbus"));
        assert_eq!(snap.apps["served"].daemon.as_deref(), Some("simple"));
        assert_eq!(snap.apps["hello"].aliases, ["hi"]);
        assert_eq!(snap.apps["hello"].command.as_deref(), Some("bin/hello"));
        assert!(snap.hooks.iter().eq(["configure", "install"]));
        assert_eq!(snap.components["modules"].kind, ComponentType::KernelModules);
        assert_eq!(snap.components["extra"].version.as_deref(), Some("2"));
        assert_eq!(snap.assumes, ["snapd2.50"]);
        assert!(snap.has_layout);
    }

    #[test]
    fn little_is_needed() {
        let snap = SnapYaml::parse("name: a1\nversion: 0").unwrap();
        assert_eq!(snap.version, "0");
        assert_eq!(
            (snap.kind, snap.confinement, snap.grade),
            (SnapType::App, Confinement::Strict, None)
        );
        assert_eq!(snap.epoch, Epoch::default());
        assert_eq!(snap.provenance, "global-upload");
        assert_eq!(snap.architectures.len(), 1);
        assert!(!snap.has_layout && snap.common_ids().is_empty());
        let kernel = SnapYaml::parse("name: k\nversion: 1\n");
        assert!(kernel.is_err());
        let app = SnapYaml::parse(
            "name: ab\nversion: 1\ntype: application\nepoch: {read: [0, 1]}\napps:\nplugs: {}\n",
        );
        assert_eq!(app.unwrap().epoch, Epoch::new(vec![0, 1], vec![0, 1]).unwrap());
    }

    #[test]
    fn what_breaks_a_rule_is_refused_with_its_field() {
        let long = |len: usize| "é".repeat(len);
        for (line, expected) in [
            ("name: Hello", "name"),
            ("name: a--b", "name"),
            ("name: 12", "name"),
            ("name: [a]", "name must be"),
            ("name:", "name is missing"),
            ("version: ''", "version"),
            ("version: -1", "version"),
            ("version: 1-", "version"),
            ("version: 123456789012345678901234567890123", "version"),
            ("version: a b", "version"),
            ("version: {a: b}", "version must be"),
            ("type: core", "type"),
            ("base: Core", "base"),
            ("architectures: amd64", "architectures must be a list"),
            ("architectures: [vax]", "architectures"),
            ("architectures: [{build-on: amd64}]", "architectures"),
            ("confinement: loose", "confinement"),
            ("grade: great", "grade"),
            ("epoch: 0*", "epoch"),
            ("epoch: [0]", "epoch must be"),
            ("epoch: {read: [1, 0]}", "epoch"),
            ("epoch: {read: [x]}", "epoch.read"),
            ("epoch: {read: []}", "epoch"),
            (&format!("title: {}", long(41)), "title"),
            (&format!("summary: {}", long(129)), "summary"),
            (&format!("description: {}", long(4097)), "description"),
            ("links: {contact: [javascript:alert(1)]}", "links.contact"),
            ("links: {'a b': [https://a.example]}", "links.a b"),
            ("contact: ['data:text/html,x']", "contact"),
            ("provenance: a--b", "provenance"),
            ("apps: [a]", "apps must be a map"),
            ("apps: {a_b: {}}", "apps.a_b"),
            ("apps: {ab: x}", "apps.ab must be a map"),
            ("apps: {ab: {plugs: [Net]}}", "apps.ab.plugs"),
            ("apps: {ab: {plugs: {}}}", "apps.ab.plugs must be a list"),
            ("hooks: {Configure: }", "hooks.Configure"),
            ("plugs: [network]", "plugs must be a map"),
            ("plugs: {Net: }", "plugs.Net"),
            ("plugs: {net: {interface: a b}}", "plugs.net"),
            ("plugs: {net: [a]}", "plugs.net must be a map"),
            ("components: {extra: {}}", "components.extra.type is missing"),
            ("components: {extra: {type: odd}}", "components.extra.type"),
            ("layout: x", "layout must be a map"),
            ("assumes: {}", "assumes must be a list"),
            ("assumes: [[a]]", "assumes"),
        ] {
            let field = line.split(':').next().unwrap();
            let mut text = String::new();
            for default in ["name: hello", "version: 1"] {
                if !default.starts_with(field) {
                    text.push_str(default);
                    text.push('\n');
                }
            }
            text.push_str(line);
            let error = SnapYaml::parse(&text).unwrap_err().to_string();
            let expected = format!("cannot use snap.yaml: {expected}");
            assert!(error.starts_with(&expected), "{line}: {error}");
        }
        for (text, expected) in [
            ("", "it must be a map"),
            ("- a", "it must be a map"),
            ("a: [", "it is not valid YAML"),
            ("version: 1", "name is missing"),
        ] {
            let error = SnapYaml::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("cannot use snap.yaml: {expected}")),
                "{error}"
            );
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        let text = format!("name: ab\nversion: 1\ntitle: {}\n", "é".repeat(40));
        assert!(SnapYaml::parse(&text).is_ok());
    }

    #[test]
    fn components_are_read() {
        let text = "component: hello-world+extra\ntype: standard\nversion: 1.0\nsummary: s\n";
        let component = ComponentYaml::parse(text).unwrap();
        assert_eq!(
            (component.snap.as_str(), component.component.as_str()),
            ("hello-world", "extra")
        );
        assert_eq!(component.version.as_deref(), Some("1.0"));
        assert_eq!(component.provenance, "global-upload");
        for (bad, expected) in [
            ("type: standard", "component is missing"),
            ("component: a\ntype: standard", "component must be SNAP+COMPONENT"),
            (
                "component: Hello+a1\ntype: test",
                "component must be SNAP+COMPONENT",
            ),
            (
                "component: hello+ex+tra\ntype: test",
                "component must be SNAP+COMPONENT",
            ),
            ("component: hello+extra", "type is missing"),
            ("component: hello+extra\ntype: odd", "type"),
        ] {
            let error = ComponentYaml::parse(bad).unwrap_err().to_string();
            let expected = format!("cannot use component.yaml: {expected}");
            assert!(error.starts_with(&expected), "{bad}: {error}");
        }
    }
}
