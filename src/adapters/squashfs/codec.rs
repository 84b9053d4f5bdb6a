//! Decompression with a bound: never more than the asked number of bytes, and little memory besides.

use std::io::Read as _;

/// How an image is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Lzo,
    Xz,
    Zstd,
}

/// Largest dictionary or window that a block may ask for; squashfs blocks have at most 1 MiB.
const MAX_WINDOW: u64 = 2 << 20;
/// What the xz decoder counts besides the dictionary.
const XZ_OVERHEAD_KIB: u32 = 256;

impl Codec {
    /// The compressor of the superblock. The error is the end of a sentence about the image.
    pub(super) fn of_number(number: u16) -> Result<Self, String> {
        match number {
            1 => Ok(Self::Gzip),
            3 => Ok(Self::Lzo),
            4 => Ok(Self::Xz),
            6 => Ok(Self::Zstd),
            2 => Err("it is compressed with lzma; use xz".to_owned()),
            5 => Err("it is compressed with lz4; use xz".to_owned()),
            other => Err(format!("it has the unknown compressor {other}")),
        }
    }

    /// Decompresses one block into at most `limit` bytes. None if it is damaged or would be longer.
    pub(super) fn decompress(self, input: &[u8], limit: usize) -> Option<Vec<u8>> {
        let mut output = vec![0; limit];
        let len = match self {
            Self::Gzip => {
                let input = std::iter::once(input);
                miniz_oxide::inflate::decompress_slice_iter_to_slice(&mut output, input, true, false).ok()?
            }
            Self::Lzo => lzokay::decompress::decompress(input, &mut output).ok()?,
            Self::Xz => {
                let kib = u32::try_from(MAX_WINDOW >> 10).ok()? + XZ_OVERHEAD_KIB;
                let mut reader = lzma_rust2::XzReader::new_mem_limit(input, false, kib);
                output.clear();
                reader
                    .by_ref()
                    .take(u64::try_from(limit).ok()?)
                    .read_to_end(&mut output)
                    .ok()?;
                let more = reader.read(&mut [0; 1]).ok()?;
                if more != 0 {
                    return None;
                }
                output.len()
            }
            Self::Zstd => {
                let mut decoder = ruzstd::decoding::FrameDecoder::new();
                decoder.set_max_window_size(MAX_WINDOW);
                decoder.decode_all(input, &mut output).ok()?
            }
        };
        output.truncate(len);
        Some(output)
    }
}
