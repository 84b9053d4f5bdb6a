//! Which files of a snap a store needs, and what it makes of them.

use super::image::{Fault, Found, Image, Source, bad};
use crate::ports::{Description, Icon, IconKind, SnapContents, SnapFileError};

/// Largest `snap.yaml`, `component.yaml` and `gadget.yaml`.
const MAX_YAML: u64 = 1 << 20;
/// Most hooks of a snap.
const MAX_HOOKS: usize = 1000;

/// What a store needs of an image. Blocks while it reads.
///
/// # Errors
/// [`SnapFileError::Refused`] if it is no image of a snap or component, [`SnapFileError::Unreadable`] if reading fails.
pub fn inspect_image(source: &(impl Source + ?Sized)) -> Result<SnapContents, SnapFileError> {
    let source: &dyn Source = &Borrowed(source);
    Ok(contents(&Image::open(source)?)?)
}

/// A source of any size as a trait object.
struct Borrowed<'s, S: ?Sized>(&'s S);

impl<S: Source + ?Sized> Source for Borrowed<'_, S> {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0.read_at(buffer, offset)
    }
}

fn contents(image: &Image<'_>) -> Result<SnapContents, Fault> {
    let snap = text(image, "meta/snap.yaml", MAX_YAML)?;
    let component = text(image, "meta/component.yaml", MAX_YAML)?;
    let description = match (snap, component) {
        (Some(snap), None) => Description::Snap(snap),
        (None, Some(component)) => Description::Component(component),
        (None, None) => return Err(bad("it has neither meta/snap.yaml nor meta/component.yaml")),
        (Some(_), Some(_)) => return Err(bad("it has both meta/snap.yaml and meta/component.yaml")),
    };
    let mut remarks = Vec::new();
    Ok(SnapContents {
        description,
        gadget_yaml: text(image, "meta/gadget.yaml", MAX_YAML)?,
        hooks: names(image, "meta/hooks", &mut remarks)?,
        icon: icon(image, &mut remarks)?,
        remarks,
    })
}

/// A text that must be a plain file if it is there.
fn text(image: &Image<'_>, path: &str, limit: u64) -> Result<Option<String>, Fault> {
    let file = match image.find(path, limit)? {
        Found::Nothing => return Ok(None),
        Found::File(file) => file,
        Found::Directory(_) => return Err(bad(format!("{path} is a directory"))),
        Found::Other(what) => return Err(bad(format!("{path} is {what}, or in one"))),
    };
    let content = image.content(&file, limit)?;
    let content = content.ok_or_else(|| bad(format!("{path} has more than {limit} bytes")))?;
    let text = String::from_utf8(content).map_err(|_| bad(format!("{path} is not UTF-8")))?;
    Ok(Some(text))
}

/// The names in a directory, if it is one.
fn names(image: &Image<'_>, path: &str, remarks: &mut Vec<String>) -> Result<Vec<String>, Fault> {
    let found = match image.find(path, 0)? {
        Found::Nothing => return Ok(Vec::new()),
        Found::Directory(found) => found,
        Found::File(_) | Found::Other(_) => {
            remarks.push(format!("{path} is left out: it is not a directory"));
            return Ok(Vec::new());
        }
    };
    if found.len() > MAX_HOOKS {
        return Err(bad(format!("{path} has more than {MAX_HOOKS} entries")));
    }
    let name = |name: Vec<u8>| {
        String::from_utf8(name).map_err(|_| bad(format!("{path} has a name that is not UTF-8")))
    };
    found.into_iter().map(|named| name(named.name)).collect()
}

/// The first usable icon. One that is not usable is no reason to refuse a snap.
fn icon(image: &Image<'_>, remarks: &mut Vec<String>) -> Result<Option<Icon>, Fault> {
    let limit = Icon::MAX_BYTES as u64;
    let Found::Directory(found) = image.find("meta/gui", 0)? else {
        return Ok(None);
    };
    // In the order people want them.
    for extension in ["svg", "png", "jpg", "jpeg", "gif"] {
        let name = format!("icon.{extension}");
        if !found.iter().any(|named| named.name == name.as_bytes()) {
            continue;
        }
        let path = format!("meta/gui/{name}");
        let mut leave_out = |why: &str| remarks.push(format!("{path} is left out: {why}"));
        let file = match image.find(&path, limit)? {
            Found::File(file) => file,
            Found::Nothing | Found::Directory(_) | Found::Other(_) => {
                leave_out("it is not a plain file");
                continue;
            }
        };
        let Some(bytes) = image.content(&file, limit)? else {
            leave_out(&format!("it has {} bytes, more than {limit}", file.size));
            continue;
        };
        match IconKind::of(&bytes) {
            Some(kind) => return Ok(Some(Icon { kind, bytes })),
            None => leave_out("it is neither PNG, SVG, JPEG nor GIF"),
        }
    }
    Ok(None)
}
