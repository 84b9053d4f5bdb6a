//! What uploaded files say about themselves, and whether they belong together.

use std::collections::BTreeSet;

use super::signing::File;
use crate::app::{App, Reason, Refusal};
use crate::domain::blob::BlobDigest;
use crate::domain::snap::{ComponentYaml, SnapType, SnapYaml, SnapYamlError, check_gadget_yaml, is_hook};
use crate::ports::{BlobError, Description, Icon, SnapFileError, Staged};

/// A snap with its components, read and checked.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// `snap.yaml`.
    pub yaml: SnapYaml,
    /// Digests and size of the snap.
    pub digest: BlobDigest,
    /// Its hooks: those it describes, and those that are there.
    pub hooks: BTreeSet<String>,
    /// The icon.
    pub icon: Option<Icon>,
    /// Its components.
    pub components: Vec<ReadComponent>,
    /// What was left out, and why.
    pub remarks: Vec<String>,
}

impl Reading {
    /// The file of the snap.
    pub(super) fn file(&self) -> File<'_> {
        File {
            blob: self.digest.id,
            size: self.digest.size,
            provenance: &self.yaml.provenance,
        }
    }
}

/// A component, read and checked against its snap.
#[derive(Clone, Debug)]
pub(super) struct ReadComponent {
    /// `component.yaml`.
    pub yaml: ComponentYaml,
    /// Its version, from wherever it has it.
    pub version: Option<String>,
    /// For people.
    pub summary: String,
    /// Digests and size.
    pub digest: BlobDigest,
}

/// Looks into the files: the snap first, then its components.
pub(super) async fn read(app: &App, files: &[Box<dyn Staged>]) -> Result<Reading, Refusal> {
    let (snap, components) = files.split_first().ok_or_else(|| invalid("there is no file"))?;
    let contents = app.snap_files.inspect(snap.path()).await?;
    let Description::Snap(text) = contents.description else {
        return Err(invalid("it is a component; upload it with its snap"));
    };
    let yaml = SnapYaml::parse(&text)?;
    if let (SnapType::Gadget, Some(text)) = (yaml.kind, &contents.gadget_yaml) {
        check_gadget_yaml(text)?;
    }
    let there = contents.hooks.into_iter().filter(|name| is_hook(name));
    let mut reading = Reading {
        hooks: there.chain(yaml.hooks.iter().cloned()).collect(),
        yaml,
        digest: snap.digest(),
        icon: contents.icon,
        components: Vec::new(),
        remarks: contents.remarks,
    };
    for file in components {
        let component = component(app, &reading, file.as_ref()).await?;
        reading.components.push(component);
    }
    Ok(reading)
}

async fn component(app: &App, snap: &Reading, file: &dyn Staged) -> Result<ReadComponent, Refusal> {
    let contents = app.snap_files.inspect(file.path()).await?;
    let Description::Component(text) = contents.description else {
        return Err(invalid("a component was expected, this is a snap"));
    };
    let yaml = ComponentYaml::parse(&text)?;
    let refuse = |why: &str| {
        Err(Refusal::invalid(
            "invalid-component",
            format!(
                "cannot take component {}+{} with snap {}: {why}",
                yaml.snap, yaml.component, snap.yaml.name
            ),
        ))
    };
    if yaml.snap != snap.yaml.name {
        return refuse("it belongs to another snap");
    }
    let Some(declared) = snap.yaml.components.get(&yaml.component) else {
        return refuse("snap.yaml does not name it");
    };
    if declared.kind != yaml.kind {
        return refuse(&format!(
            "snap.yaml says its type is {}, not {}",
            declared.kind, yaml.kind
        ));
    }
    if yaml.provenance != snap.yaml.provenance {
        return refuse("its provenance is not that of the snap");
    }
    if snap
        .components
        .iter()
        .any(|other| other.yaml.component == yaml.component)
    {
        return refuse("it is there twice");
    }
    let summary = yaml.summary.clone().or_else(|| declared.summary.clone());
    Ok(ReadComponent {
        version: yaml.version.clone().or_else(|| declared.version.clone()),
        summary: summary.unwrap_or_default(),
        digest: file.digest(),
        yaml,
    })
}

fn invalid(why: &str) -> Refusal {
    Refusal::invalid("invalid-snap", format!("cannot use the file: {why}"))
}

impl From<SnapYamlError> for Refusal {
    fn from(error: SnapYamlError) -> Self {
        Self::invalid("invalid-snap-yaml", format!("cannot use the snap: {error}"))
    }
}

impl From<SnapFileError> for Refusal {
    fn from(error: SnapFileError) -> Self {
        match error {
            SnapFileError::Refused(_) => Self::invalid("invalid-snap", error.to_string()),
            SnapFileError::Unreadable(_) => {
                tracing::error!(%error, "a staged file cannot be read");
                Self::new(
                    Reason::Unavailable,
                    "storage-unavailable",
                    "cannot read the file that was uploaded: try again later",
                )
            }
        }
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Self {
        tracing::error!(%error, "the store of files failed");
        match error {
            BlobError::Full => Self::new(Reason::Unavailable, "storage-full", error.to_string()),
            BlobError::Unavailable { .. } => Self::new(
                Reason::Unavailable,
                "storage-unavailable",
                "cannot reach the store of files: try again later",
            ),
            BlobError::Damaged { .. } => Self::new(
                Reason::Unavailable,
                "storage-unavailable",
                "cannot read a stored file: it is damaged; `hallmark doctor` looks at the rest",
            ),
        }
    }
}
