//! The journal: one append-only file that is the durable truth of the database.
//!
//! A frame holds all changes of one group of writes: length, sequence number, digest, changes. It is synced before
//! any of them is acknowledged. Large values stay here for good; the index keeps their place. The whole index can be
//! rebuilt by applying all frames in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::ports::StoreError;

/// What is written under the keys of the index: new values, or none where a key goes.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Value>>;

/// A value: a small part that the index holds, and perhaps a large one that only the journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) small: Vec<u8>,
    pub(super) large: Option<Large>,
}

impl Value {
    /// Its length in bytes.
    pub(super) fn size(&self) -> usize {
        let large = match &self.large {
            None => 0,
            Some(Large::New(bytes)) => bytes.len(),
            Some(Large::Stored(place)) => place.length as usize,
        };
        self.small.len() + large
    }
}

/// The large part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Large {
    /// Not in the journal yet.
    New(Bytes),
    /// In the journal.
    Stored(Place),
}

/// Where bytes lie in the journal, and the start of their digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    length: u32,
    check: [u8; 4],
}

/// A point between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Where the next frame begins.
    pub(super) offset: u64,
    /// The number of the next frame.
    pub(super) sequence: u64,
}

/// How bytes get onto the disk, and whether the machine went down since. Tests put a failing one in its place.
pub(super) trait Disk: std::fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Returns once everything written to `file` would survive a power cut.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Fails if there is no room for `bytes` more in `directory`. Asking leaves nothing behind.
    fn room(&self, directory: &Path, bytes: usize) -> io::Result<()> {
        // Written, not just set as a length: only then do file systems say whether there is room.
        let path = directory.join("room");
        let written = File::create(&path).and_then(|mut file| {
            let zeros = vec![0; 1 << 20];
            (0..bytes.div_ceil(zeros.len())).try_for_each(|_| file.write_all(&zeros))
        });
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    }

    /// Differs after every start of the machine; empty where the system does not tell.
    fn boot(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_default()
            .trim()
            .to_owned()
    }
}

/// The operating system's disk.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {}

/// The open end of the journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<File>,
    disk: Arc<dyn Disk>,
    id: [u8; 16],
    end: Mark,
}

/// Why a frame was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Nothing was written, or what was is cut off again: later appends may work.
    Refused(String),
    /// It is not known what is on the disk: nothing may be appended until the journal was read again.
    Lost(String),
}

impl Journal {
    /// The journal of id `id` in `file`, ending at `end`.
    pub(super) fn new(file: Arc<File>, disk: Arc<dyn Disk>, id: [u8; 16], end: Mark) -> Self {
        Self { file, disk, id, end }
    }

    /// What tells this journal from others.
    pub(super) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Where the next frame will begin.
    pub(super) fn end(&self) -> Mark {
        self.end
    }

    /// Appends one frame and syncs it. Large values of `changes` are in their place afterwards.
    pub(super) fn append(&mut self, changes: &mut Changes) -> Result<(), AppendError> {
        let mut frame = Frame::new(self.end.offset);
        for (key, value) in changes.iter_mut() {
            frame.push(key, value.as_mut()).map_err(AppendError::Refused)?;
        }
        let frame = frame
            .finish(&self.id, self.end.sequence)
            .map_err(AppendError::Refused)?;
        if let Err(error) = self.disk.write(&self.file, &frame, self.end.offset) {
            let why = format!("cannot write the journal: {error}");
            return Err(match self.file.set_len(self.end.offset) {
                Ok(()) => AppendError::Refused(why),
                Err(_) => AppendError::Lost(why),
            });
        }
        // What a failed sync left on the disk is unknown, and a second sync would not tell.
        self.disk
            .sync(&self.file)
            .map_err(|error| AppendError::Lost(format!("cannot sync the journal: {error}")))?;
        self.end.offset += frame.len() as u64;
        self.end.sequence += 1;
        Ok(())
    }
}

/// Bytes before the first frame.
pub(super) const HEADER: u64 = 64;
const MAGIC: &[u8; 16] = b"hallmark journal";
const FRAME_HEADER: usize = 20;
/// No frame is longer, so that a damaged length is noticed.
const MAX_FRAME: usize = 64 << 20;

/// The header of a journal of layout `format` and id `id`.
pub(super) fn header(format: u32, id: [u8; 16]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&format.to_le_bytes());
    header.extend_from_slice(&id);
    let check = short_digest::<8>(&[&header]);
    header.extend_from_slice(&check);
    header.resize(HEADER as usize, 0);
    header
}

/// The format and id in a journal's header; none if it is no such header.
pub(super) fn read_header(file: &File) -> io::Result<Option<(u32, [u8; 16])>> {
    let mut bytes = [0; HEADER as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut rest = bytes.as_slice();
    let mut take = |length| rest.split_off(..length).unwrap_or_default();
    let (magic, format, id, check) = (take(16), take(4), take(16), take(8));
    let (Ok(format_bytes), Ok(id_bytes)) = (<[u8; 4]>::try_from(format), <[u8; 16]>::try_from(id)) else {
        return Ok(None);
    };
    let good = magic == MAGIC && check == short_digest::<8>(&[magic, format, id]);
    Ok(good.then(|| (u32::from_le_bytes(format_bytes), id_bytes)))
}

/// Reads the bytes at `place`.
pub(super) fn read_large(file: &File, place: Place) -> Result<Bytes, StoreError> {
    let mut bytes = vec![0; place.length as usize];
    file.read_exact_at(&mut bytes, place.offset)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => StoreError::Corrupt("the journal ends too early".to_owned()),
            _ => StoreError::Unavailable(format!("cannot read the journal: {error}")),
        })?;
    if short_digest(&[&bytes]) != place.check {
        return Err(StoreError::Corrupt(format!(
            "the journal is damaged at byte {}",
            place.offset
        )));
    }
    Ok(bytes.into())
}

/// What reading frames came upon.
#[derive(Debug)]
pub(super) enum ReplayError {
    Read(io::Error),
    /// Frames follow after one that is damaged: this was no interrupted write.
    Damaged(u64),
    Apply(StoreError),
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Gives the changes of every frame from `from` on to `apply`, in order, and returns the end of the last good one.
/// A last frame that was not written fully is left out: it was never acknowledged.
pub(super) fn replay(
    file: &File,
    id: [u8; 16],
    from: Mark,
    mut apply: impl FnMut(Changes, Mark) -> Result<(), StoreError>,
) -> Result<Mark, ReplayError> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.seek(SeekFrom::Start(from.offset))?;
    let mut mark = from;
    loop {
        match read_frame(&mut reader, &id, mark, length)? {
            Some((changes, next)) => {
                apply(changes, next).map_err(ReplayError::Apply)?;
                mark = next;
            }
            None if frames_follow(file, &id, mark, length)? => return Err(ReplayError::Damaged(mark.offset)),
            None => return Ok(mark),
        }
    }
}

fn read_frame(
    reader: &mut impl Read,
    id: &[u8; 16],
    mark: Mark,
    length: u64,
) -> io::Result<Option<(Changes, Mark)>> {
    let Some(left) = length.checked_sub(mark.offset + FRAME_HEADER as u64) else {
        return Ok(None);
    };
    let mut header = [0; FRAME_HEADER];
    reader.read_exact(&mut header)?;
    let Some((size, sequence, check)) = parse_frame_header(&header) else {
        return Ok(None);
    };
    if sequence != mark.sequence || size > MAX_FRAME || size as u64 > left {
        return Ok(None);
    }
    let mut payload = vec![0; size];
    reader.read_exact(&mut payload)?;
    if frame_digest(id, sequence, &payload) != check {
        return Ok(None);
    }
    let payload_offset = mark.offset + FRAME_HEADER as u64;
    let next = Mark {
        offset: payload_offset + size as u64,
        sequence: sequence + 1,
    };
    Ok(parse_changes(&payload, payload_offset).map(|changes| (changes, next)))
}

/// Whether a good frame begins anywhere behind `mark`, where none can be read.
fn frames_follow(file: &File, id: &[u8; 16], mark: Mark, length: u64) -> io::Result<bool> {
    let left = usize::try_from(length.saturating_sub(mark.offset)).unwrap_or(usize::MAX);
    if left > 2 * MAX_FRAME {
        return Ok(true);
    }
    let mut rest = vec![0; left];
    file.read_exact_at(&mut rest, mark.offset)?;
    let candidates = rest
        .windows(FRAME_HEADER)
        .enumerate()
        .skip(1)
        .filter_map(|(start, window)| {
            let (size, sequence, check) = parse_frame_header(window)?;
            let later = sequence.wrapping_sub(mark.sequence) <= u64::from(u16::MAX);
            (later && size <= MAX_FRAME).then_some((start + FRAME_HEADER, size, sequence, check))
        });
    let mut good = candidates.filter(|(start, size, sequence, check)| {
        rest.get(*start..start + size)
            .is_some_and(|payload| frame_digest(id, *sequence, payload) == *check)
    });
    Ok(good.next().is_some())
}

fn parse_frame_header(bytes: &[u8]) -> Option<(usize, u64, [u8; 8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    Some((size, u64::from_le_bytes(*sequence), rest.try_into().ok()?))
}

/// A frame under construction.
struct Frame {
    /// Where its payload will begin in the file.
    payload_offset: u64,
    bytes: Vec<u8>,
}

const DELETED: u8 = 0;
const SMALL: u8 = 1;
const WITH_NEW: u8 = 2;
const WITH_STORED: u8 = 3;

impl Frame {
    fn new(offset: u64) -> Self {
        Self {
            payload_offset: offset + FRAME_HEADER as u64,
            bytes: vec![0; FRAME_HEADER],
        }
    }

    fn push(&mut self, key: &[u8], value: Option<&mut Value>) -> Result<(), String> {
        self.push_slice(key)?;
        let Some(value) = value else {
            self.bytes.push(DELETED);
            return Ok(());
        };
        self.bytes.push(match &value.large {
            None => SMALL,
            Some(Large::New(_)) => WITH_NEW,
            Some(Large::Stored(_)) => WITH_STORED,
        });
        self.push_slice(&value.small)?;
        match &value.large {
            None => {}
            Some(Large::Stored(place)) => self.bytes.extend_from_slice(&place.to_bytes()),
            Some(Large::New(bytes)) => {
                let check = short_digest(&[bytes]);
                self.bytes.extend_from_slice(&check);
                self.push_slice(bytes)?;
                let start = self.bytes.len() - FRAME_HEADER - bytes.len();
                let place = Place {
                    offset: self.payload_offset + start as u64,
                    length: u32::try_from(bytes.len()).map_err(|_| TOO_LARGE)?,
                    check,
                };
                value.large = Some(Large::Stored(place));
            }
        }
        Ok(())
    }

    fn push_slice(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.bytes.len() + bytes.len() > MAX_FRAME {
            return Err(TOO_LARGE.to_owned());
        }
        let length = u32::try_from(bytes.len()).map_err(|_| TOO_LARGE)?;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(mut self, id: &[u8; 16], sequence: u64) -> Result<Vec<u8>, String> {
        let (header, payload) = self.bytes.split_at_mut(FRAME_HEADER);
        let size = u32::try_from(payload.len()).map_err(|_| TOO_LARGE)?;
        let digest = frame_digest(id, sequence, payload);
        let parts = [size.to_le_bytes().as_slice(), &sequence.to_le_bytes(), &digest].concat();
        header.copy_from_slice(&parts);
        Ok(self.bytes)
    }
}

const TOO_LARGE: &str = "more than 64 MiB at once";

fn parse_changes(payload: &[u8], payload_offset: u64) -> Option<Changes> {
    let mut rest = payload;
    let mut changes = Changes::new();
    while !rest.is_empty() {
        let key = take_slice(&mut rest)?.to_vec();
        let tag = *rest.split_off_first()?;
        if tag == DELETED {
            changes.insert(key, None);
            continue;
        }
        let small = take_slice(&mut rest)?.to_vec();
        let large = match tag {
            SMALL => None,
            WITH_STORED => Some(Place::from_bytes(rest.split_off(..Place::SIZE)?)?),
            WITH_NEW => {
                let check = rest.split_off(..4)?.try_into().ok()?;
                let bytes = take_slice(&mut rest)?;
                let start = payload.len() - rest.len() - bytes.len();
                let length = u32::try_from(bytes.len()).ok()?;
                Some(Place {
                    offset: payload_offset + start as u64,
                    length,
                    check,
                })
            }
            _ => return None,
        };
        changes.insert(
            key,
            Some(Value {
                small,
                large: large.map(Large::Stored),
            }),
        );
    }
    Some(changes)
}

fn take_slice<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(rest.split_off(..4)?.try_into().ok()?);
    rest.split_off(..usize::try_from(length).ok()?)
}

impl Place {
    /// Bytes of [`Self::to_bytes`].
    pub(super) const SIZE: usize = 16;

    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let (offset, rest) = bytes.split_at_mut(8);
        let (length, check) = rest.split_at_mut(4);
        offset.copy_from_slice(&self.offset.to_le_bytes());
        length.copy_from_slice(&self.length.to_le_bytes());
        check.copy_from_slice(&self.check);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (length, check) = rest.split_first_chunk()?;
        let (offset, length) = (u64::from_le_bytes(*offset), u32::from_le_bytes(*length));
        Some(Self {
            offset,
            length,
            check: check.try_into().ok()?,
        })
    }
}

fn frame_digest(id: &[u8; 16], sequence: u64, payload: &[u8]) -> [u8; 8] {
    short_digest(&[id, &sequence.to_le_bytes(), payload])
}

/// The first bytes of the SHA-256 of `parts`: finds damage, not malice.
fn short_digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut short = [0; N];
    for (to, from) in short.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    short
}
