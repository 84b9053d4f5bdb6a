//! Looking into snap files.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;

/// Why a file was not looked into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapFileError {
    /// The file itself cannot be read just now.
    #[error("cannot read the snap file: {0}")]
    Unreadable(String),
    /// It is no snap, or one that nobody should install. Reads as the end of a sentence about the file.
    #[error("cannot use the snap file: {0}")]
    Refused(String),
}

/// The files of a snap or component that a store needs. Nothing in it has been parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapContents {
    /// `meta/snap.yaml` or `meta/component.yaml`.
    pub description: Description,
    /// `meta/gadget.yaml`.
    pub gadget_yaml: Option<String>,
    /// The names of what lies in `meta/hooks`, ordered.
    pub hooks: Vec<String>,
    /// `meta/gui/icon.*`.
    pub icon: Option<Icon>,
    /// What was left out, and why: for whoever adds the snap.
    pub remarks: Vec<String>,
}

/// What kind of file it is, with its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Description {
    /// `meta/snap.yaml`.
    Snap(String),
    /// `meta/component.yaml`.
    Component(String),
}

/// An icon.
#[derive(Clone, PartialEq, Eq)]
pub struct Icon {
    /// What it is, judged by its bytes.
    pub kind: IconKind,
    /// The file, at most [`Icon::MAX_BYTES`].
    pub bytes: Vec<u8>,
}

impl Icon {
    /// Largest icon.
    pub const MAX_BYTES: usize = 300_000;
}

impl fmt::Debug for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Icon({}, {} bytes)", self.kind.media_type(), self.bytes.len())
    }
}

/// The formats of icons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IconKind {
    /// Portable Network Graphics.
    Png,
    /// Scalable Vector Graphics. May hold scripts: never show it but as an image.
    Svg,
    /// JPEG.
    Jpeg,
    /// Graphics Interchange Format.
    Gif,
}

impl IconKind {
    /// What a picture is, by its first bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let is_svg = || {
            let start = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
            let text = String::from_utf8_lossy(start);
            let text = text.trim_start_matches('\u{feff}').trim_start();
            text.starts_with("<svg") || (text.starts_with('<') && text.contains("<svg"))
        };
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            _ if is_svg() => Some(Self::Svg),
            _ => None,
        }
    }

    /// For `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Svg => "image/svg+xml",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
        }
    }
}

/// Looks into snap files.
#[async_trait]
pub trait SnapFiles: fmt::Debug + Send + Sync {
    /// What a store needs of the snap or component at `path`. Takes bounded time and memory whatever the file is.
    async fn inspect(&self, path: &Path) -> Result<SnapContents, SnapFileError>;
}
