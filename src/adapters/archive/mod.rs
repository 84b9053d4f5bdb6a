//! Backups as files: a tar archive that says at its end what must be in it, encrypted on request.
//!
//! `hallmark-backup.json`, then `rows/NNNNNN.jsonl` (a row as JSON on each line, in the order of
//! [`crate::ports::Transfer::export`]), `blobs/ID` and `summary.json`. A file that was cut off has no summary, and is
//! not taken for a backup. Bundles for another instance have a layout of their own (`bundle`).

mod bundle;
mod cipher;

use std::io::{self, BufRead as _, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use bundle::{BundleTaker, BundleWriter, read_bundle};
pub use cipher::{Keys, decrypt, encrypt};

use crate::domain::blob::BlobId;
use crate::domain::time::Timestamp;
use crate::ports::Row;

/// The layout that is written and read.
pub const FORMAT: u32 = 1;
/// The first entry.
const HEAD: &str = "hallmark-backup.json";
/// The last entry.
const SUMMARY: &str = "summary.json";
/// Rows are gathered up to this before they become an entry.
const PIECE: usize = 4 << 20;
/// No entry of rows is larger: a row may hold an assertion of several MiB.
const MAX_PIECE: u64 = 64 << 20;
/// No entry that describes the archive is larger.
const MAX_NOTE: u64 = 1 << 20;

/// What an archive is; its first entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    /// See [`FORMAT`].
    pub format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// When.
    pub created_at: Timestamp,
    /// Whether it holds the files too, or they are kept in a directory beside it.
    pub holds_files: bool,
}

/// Writes an archive.
pub struct Writer<W: Write> {
    tar: tar::Builder<W>,
    waiting: Vec<u8>,
    pieces: u32,
    time: u64,
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("pieces", &self.pieces)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// What `sink` says.
    pub fn begin(sink: W, head: &Head) -> io::Result<Self> {
        let mut writer = Self {
            tar: tar::Builder::new(sink),
            waiting: Vec::new(),
            pieces: 0,
            time: u64::try_from(head.created_at.unix()).unwrap_or_default(),
        };
        writer.entry(HEAD, &serde_json::to_vec_pretty(head)?)?;
        Ok(writer)
    }

    /// Adds rows. All rows come before the first file.
    ///
    /// # Errors
    /// What the sink says.
    pub fn rows(&mut self, rows: &[Row]) -> io::Result<()> {
        for row in rows {
            serde_json::to_writer(&mut self.waiting, row)?;
            self.waiting.push(b'\n');
            if self.waiting.len() >= PIECE {
                self.flush_rows()?;
            }
        }
        Ok(())
    }

    fn flush_rows(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.waiting);
        let name = format!("rows/{:06}.jsonl", self.pieces);
        self.pieces += 1;
        self.entry(&name, &piece)
    }

    /// Adds a file of `size` bytes.
    ///
    /// # Errors
    /// What the sink or the file says; a file of another length.
    pub fn file(&mut self, id: &BlobId, size: u64, mut content: impl Read) -> io::Result<()> {
        self.flush_rows()?;
        let mut header = self.header(size);
        let mut counted = Counted {
            inner: &mut content,
            read: 0,
        };
        self.tar
            .append_data(&mut header, format!("blobs/{id}"), &mut counted)?;
        if counted.read != size {
            return Err(io::Error::other(format!(
                "the file {id} has {} bytes, not {size}",
                counted.read
            )));
        }
        Ok(())
    }

    /// Ends the archive. Gives the sink back.
    ///
    /// # Errors
    /// What the sink says.
    pub fn finish(mut self, summary: &impl Serialize) -> io::Result<W> {
        self.flush_rows()?;
        self.entry(SUMMARY, &serde_json::to_vec_pretty(summary)?)?;
        self.tar.into_inner()
    }

    fn header(&self, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        header
    }

    fn entry(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = self.header(content.len() as u64);
        self.tar.append_data(&mut header, name, content)
    }
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// What an archive holds, as it is read.
pub trait Taker {
    /// Rows, in order.
    ///
    /// # Errors
    /// Any error ends the reading.
    fn rows(&mut self, rows: Vec<Row>) -> io::Result<()>;

    /// A file, to be read to its end, which may come too early.
    ///
    /// # Errors
    /// Any error ends the reading.
    fn file(&mut self, id: BlobId, size: u64, content: &mut dyn Read) -> io::Result<()>;
}

/// Reads a whole archive; gives its head and its summary.
///
/// # Errors
/// What the source or the taker says; `InvalidData` for what is no whole archive of [`FORMAT`].
pub fn read(source: impl Read, taker: &mut impl Taker) -> io::Result<(Head, Value)> {
    let mut archive = tar::Archive::new(source);
    let mut head: Option<Head> = None;
    let mut summary = None;
    for entry in archive.entries()? {
        let mut entry = entry.map_err(|error| match &head {
            None => wrong("it does not begin as one; an encrypted one needs its passphrase or key"),
            Some(_) => wrong(&error.to_string()),
        })?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if summary.is_some() {
            return Err(wrong("something follows its summary"));
        }
        match (name.as_str(), &head) {
            (HEAD, None) => {
                let found: Head = serde_json::from_slice(&note(&mut entry)?)
                    .map_err(|error| wrong(&format!("its head: {error}")))?;
                if found.format != FORMAT {
                    return Err(wrong(&format!(
                        "it has format {}, this program reads format {FORMAT}",
                        found.format
                    )));
                }
                head = Some(found);
            }
            (_, None) => return Err(wrong("it does not begin as one")),
            (SUMMARY, Some(_)) => summary = Some(serde_json::from_slice(&note(&mut entry)?)?),
            (name, Some(_)) => {
                if name.starts_with("rows/") {
                    taker.rows(lines(&mut entry)?)?;
                } else if let Some(id) = name.strip_prefix("blobs/") {
                    let id = id
                        .parse()
                        .map_err(|_| wrong(&format!("a file is named {id:?}")))?;
                    let size = entry.size();
                    let mut content = Counted {
                        inner: &mut entry,
                        read: 0,
                    };
                    taker.file(id, size, &mut content)?;
                    // The archive ends within the file: that reads like the end of the file.
                    if content.read != size {
                        return Err(wrong("it was cut off"));
                    }
                } else {
                    return Err(wrong(&format!("it holds {name:?}")));
                }
            }
        }
    }
    match (head, summary) {
        (Some(head), Some(summary)) => Ok((head, summary)),
        (None, _) => Err(wrong("it is empty")),
        (Some(_), None) => Err(wrong("it was cut off")),
    }
}

fn note(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    entry.take(MAX_NOTE).read_to_end(&mut text)?;
    Ok(text)
}

fn lines<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Vec<Row>> {
    if entry.size() > MAX_PIECE {
        return Err(wrong("a piece of it is too large"));
    }
    let mut rows = Vec::new();
    for line in io::BufReader::new(entry).lines() {
        let row = serde_json::from_str(&line?).map_err(|error| wrong(&format!("a row of it: {error}")))?;
        rows.push(row);
    }
    Ok(rows)
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it is no whole backup: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::SpentRow;

    #[derive(Default)]
    struct Kept {
        rows: Vec<Row>,
        files: Vec<(BlobId, Vec<u8>)>,
    }

    impl Taker for Kept {
        fn rows(&mut self, rows: Vec<Row>) -> io::Result<()> {
            self.rows.extend(rows);
            Ok(())
        }

        fn file(&mut self, id: BlobId, size: u64, content: &mut dyn Read) -> io::Result<()> {
            let mut bytes = Vec::new();
            let read = content.read_to_end(&mut bytes)?;
            assert!(read as u64 <= size);
            self.files.push((id, bytes));
            Ok(())
        }
    }

    fn row(number: u8) -> Row {
        Row::Spent(SpentRow {
            nonce: [number; 16],
            expires: Timestamp::from_unix(5),
        })
    }

    fn id() -> BlobId {
        "ab".repeat(48).parse().unwrap()
    }

    fn begun() -> Writer<Vec<u8>> {
        let head = Head {
            format: FORMAT,
            version: "1".to_owned(),
            created_at: Timestamp::from_unix(7),
            holds_files: true,
        };
        Writer::begin(Vec::new(), &head).unwrap()
    }

    fn archive() -> Vec<u8> {
        let mut writer = begun();
        writer.rows(&[row(1), row(2)]).unwrap();
        writer.rows(&[row(3)]).unwrap();
        writer.file(&id(), 5, &b"hello"[..]).unwrap();
        writer.finish(&serde_json::json!({"rows": 3})).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut kept = Kept::default();
        let (head, summary) = read(archive().as_slice(), &mut kept).unwrap();
        assert_eq!((head.format, head.version.as_str()), (FORMAT, "1"));
        assert_eq!(summary, serde_json::json!({"rows": 3}));
        assert_eq!(kept.rows, [row(1), row(2), row(3)]);
        assert_eq!(kept.files, [(id(), b"hello".to_vec())]);
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        let archive = archive();
        // Behind the last entry come only the zeros that end an archive.
        let content = archive.len() - 1024 - 512;
        for length in 0..=content {
            let cut = read(&archive[..length], &mut Kept::default());
            assert!(cut.is_err(), "{length} of {} bytes", archive.len());
        }
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let mut writer = begun();
        assert!(writer.file(&id(), 6, &b"hello"[..]).is_err());
    }
}
