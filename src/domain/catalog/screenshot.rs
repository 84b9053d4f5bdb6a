//! Screenshots: what publishers show of a snap at work, beside its icon.

use serde::{Deserialize, Serialize};

use crate::domain::blob::BlobId;

/// A picture of a snap at work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Screenshot {
    /// The file.
    pub blob: BlobId,
    /// Its SHA-256, lower-case hex: tools of publishers name pictures by it.
    pub sha256: String,
    /// Its media type.
    pub media: String,
    /// Its size in bytes.
    pub size: u64,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// Why a file is no screenshot. Reads as the end of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoScreenshot {
    /// Another format, vector graphics among them, which could hold scripts; or one without a size.
    #[error("it is no PNG or JPEG picture")]
    Format,
    /// Too many bytes.
    #[error("it has more than {} bytes", Screenshot::MAX_BYTES)]
    Bytes,
    /// Too few or too many pixels, or too long and narrow.
    #[error(
        "it is {0} by {1} pixels: 480 by 480 to 3840 by 2160, and at most twice as long as wide, are shown"
    )]
    Pixels(u32, u32),
}

/// What a picture says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its media type.
    pub media: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Screenshot {
    /// Most screenshots of one snap.
    pub const MOST: usize = 5;
    /// Most bytes of one.
    pub const MAX_BYTES: usize = 2_000_000;
    /// Fewest pixels of a side.
    const SHORTEST: u32 = 480;
    /// Most pixels of the longer and of the shorter side.
    const LONGEST: (u32, u32) = (3840, 2160);

    /// Looks whether a file can be shown. Only its head is read: nothing is decoded here, whatever the file is.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn judge(file: &[u8]) -> Result<Picture, NoScreenshot> {
        let picture = Picture::of(file).ok_or(NoScreenshot::Format)?;
        if file.len() > Self::MAX_BYTES {
            return Err(NoScreenshot::Bytes);
        }
        let Picture { width, height, .. } = picture;
        let (longer, shorter) = (width.max(height), width.min(height));
        let fits = shorter >= Self::SHORTEST
            && longer <= Self::LONGEST.0
            && shorter <= Self::LONGEST.1
            && longer <= shorter * 2;
        fits.then_some(picture).ok_or(NoScreenshot::Pixels(width, height))
    }
}

impl Picture {
    /// What the head of a PNG or JPEG file says; none for anything else.
    fn of(file: &[u8]) -> Option<Self> {
        png(file).or_else(|| jpeg(file))
    }
}

/// The header of a PNG file comes first, and begins with the two sides.
fn png(file: &[u8]) -> Option<Picture> {
    let header = file.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;
    Some(Picture {
        media: "image/png",
        width: u32::from_be_bytes(*header.first_chunk()?),
        height: u32::from_be_bytes(*header.get(4..)?.first_chunk()?),
    })
}

/// The sides of a JPEG picture stand in its frame header, after any number of other segments.
fn jpeg(file: &[u8]) -> Option<Picture> {
    let mut rest = file.strip_prefix(b"\xff\xd8\xff")?;
    loop {
        // A marker may have any number of 0xff before it.
        let (&marker, after) = rest.split_first()?;
        rest = after;
        match marker {
            0xff => continue,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let side = |at: usize| Some(u32::from(u16::from_be_bytes(*rest.get(at..)?.first_chunk()?)));
                return Some(Picture {
                    media: "image/jpeg",
                    height: side(3)?,
                    width: side(5)?,
                });
            }
            // Without a length; or the picture itself begins, or is over, and had no header.
            0x00 | 0x01 | 0xd0..=0xda => return None,
            _segment => {
                let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
                rest = rest.get(length.max(2)..)?.strip_prefix(b"\xff")?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_png(width: u32, height: u32) -> Vec<u8> {
        let head: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        [head, &width.to_be_bytes(), &height.to_be_bytes(), b"\x08\x02"].concat()
    }

    fn a_jpeg(width: u16, height: u16) -> Vec<u8> {
        let head: &[u8] = b"\xff\xd8\xff\xe0\x00\x04JF\xff\xff\xfe\x00\x03x\xff\xc2\x00\x11\x08";
        [head, &height.to_be_bytes(), &width.to_be_bytes(), b"\x03"].concat()
    }

    #[test]
    fn the_sides_stand_in_the_head() {
        let picture = |media, width, height| Picture { media, width, height };
        assert_eq!(
            Screenshot::judge(&a_png(1600, 900)),
            Ok(picture("image/png", 1600, 900))
        );
        assert_eq!(
            Screenshot::judge(&a_jpeg(900, 1600)),
            Ok(picture("image/jpeg", 900, 1600))
        );
    }

    #[test]
    fn only_pictures_that_can_be_shown_are_taken() {
        for (width, height, fits) in [
            (480, 480, true),
            (479, 480, false),
            (960, 480, true),
            (961, 480, false),
            (3840, 2160, true),
            (2160, 3840, true),
            (3841, 2160, false),
            (3840, 2161, false),
            (0, 0, false),
            (u32::MAX, u32::MAX, false),
        ] {
            let judged = Screenshot::judge(&a_png(width, height));
            let wrong = Err(NoScreenshot::Pixels(width, height));
            assert!(if fits { judged.is_ok() } else { judged == wrong }, "{judged:?}");
        }
        let mut large = a_png(480, 480);
        large.resize(Screenshot::MAX_BYTES, 0);
        assert!(Screenshot::judge(&large).is_ok());
        large.push(0);
        assert_eq!(Screenshot::judge(&large), Err(NoScreenshot::Bytes));
        let cut = a_jpeg(900, 900);
        for no in [
            b"".as_slice(),
            b"<svg width=\"900\" height=\"900\"/>",
            b"<?xml version=\"1.0\"?><svg/>",
            b"GIF89a\x84\x03\x84\x03",
            b"\x89PNG\r\n\x1a\nmore",
            b"\xff\xd8\xff\xda\x00\x04\x00\x00",
            cut.get(..cut.len() - 3).unwrap(),
        ] {
            assert_eq!(Screenshot::judge(no), Err(NoScreenshot::Format), "{no:?}");
        }
    }

    proptest! {
        /// No file makes it stop anywhere but at its end.
        #[test]
        fn any_file_is_judged(rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _judged = Screenshot::judge(&[b"\xff\xd8\xff".as_slice(), &rest].concat());
            let _judged = Screenshot::judge(&rest);
        }
    }
}
