//! Bundles on the disk: written under another name until they are whole; read to the end before anything is believed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::adapters::archive::{BundleTaker, BundleWriter, read_bundle};
use crate::cli::CliError;
use crate::domain::bundle::store::MAX_TEXTS;
use crate::domain::bundle::{BundleFile, Manifest, SignedManifest};

/// Where the files are that are not kept in memory.
pub(super) const BLOBS: &str = "blobs/";

/// A bundle that was read to its end, and is whole. Who signed it is known, not whether they are trusted.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) signed: SignedManifest,
    pub(super) manifest: Manifest,
    /// Its files but those in `blobs/`.
    pub(super) texts: BTreeMap<String, String>,
}

/// Reads all of a bundle.
pub(super) async fn look(file: &Path) -> Result<Seen, CliError> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut texts = Texts::default();
        let (signed, manifest) = read_bundle(open(&path)?, &mut texts)?;
        Ok::<_, io::Error>(Seen {
            signed,
            manifest,
            texts: texts.found,
        })
    });
    let failed = |why: String| CliError::failed(format!("cannot import {}", file.display()), why);
    read.await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}

/// Reads a bundle with `taker`, on this thread.
pub(super) fn read(file: &Path, taker: &mut impl BundleTaker) -> io::Result<()> {
    read_bundle(open(file)?, taker).map(|_| ())
}

fn open(file: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 20, File::open(file)?))
}

#[derive(Default)]
struct Texts {
    found: BTreeMap<String, String>,
    length: u64,
}

impl BundleTaker for Texts {
    fn manifest(&mut self, _: &SignedManifest, _: &Manifest) -> io::Result<()> {
        Ok(())
    }

    fn file(&mut self, file: &BundleFile, content: &mut dyn Read) -> io::Result<()> {
        if file.name.starts_with(BLOBS) {
            return Ok(());
        }
        self.length = self.length.saturating_add(file.size);
        if self.length > MAX_TEXTS {
            return Err(io::Error::other(format!(
                "its texts have more than {MAX_TEXTS} bytes"
            )));
        }
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        self.found.insert(file.name.clone(), text);
        Ok(())
    }
}

/// Writes a bundle to `file`; `files` writes what its manifest lists.
pub(super) fn write(
    file: &Path,
    signed: &SignedManifest,
    files: impl FnOnce(&mut BundleWriter<&mut BufWriter<File>>) -> io::Result<()>,
) -> io::Result<()> {
    // Under another name until it is whole, so that no half bundle replaces a good one.
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    let mut sink = BufWriter::with_capacity(1 << 20, opened);
    let written = BundleWriter::begin(&mut sink, signed)
        .and_then(|mut writer| {
            files(&mut writer)?;
            writer.finish().map(|_| ())
        })
        .and_then(|()| {
            sink.flush()?;
            sink.get_ref().sync_all()?;
            std::fs::rename(&partial, file)?;
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        });
    if written.is_err() {
        let _best_effort = std::fs::remove_file(&partial);
    }
    written
}
