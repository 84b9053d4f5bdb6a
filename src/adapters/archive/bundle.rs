//! Bundles as files: a tar archive of `manifest.json`, `manifest.sig`, and then exactly the files the manifest lists, in
//! its order. The manifest is verified before the first file is looked at; every file is compared with its size and
//! SHA3-384 while it is read, and before the taker may believe it. Headers of the archive are not signed, so nothing of
//! them is used but what must agree with the manifest; there are no links, no long names, no sparse files.

use std::io::{self, Read, Write};

use crate::domain::blob::BlobIdHasher;
use crate::domain::bundle::{BundleFile, BundleSignature, MAX_MANIFEST, Manifest, SignedManifest};

/// The first entry.
const MANIFEST: &str = "manifest.json";
/// The second entry.
const SIGNATURE: &str = "manifest.sig";
/// No signature entry is larger.
const MAX_SIGNATURE: u64 = 4096;
/// What is read at a time.
const PIECE: usize = 128 << 10;

/// Writes a bundle. All of it is known before the first byte: the manifest lists it.
pub struct BundleWriter<W: Write> {
    tar: tar::Builder<W>,
    coming: std::vec::IntoIter<BundleFile>,
    time: u64,
}

impl<W: Write> std::fmt::Debug for BundleWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BundleWriter")
            .field("coming", &self.coming.len())
            .finish_non_exhaustive()
    }
}

impl<W: Write> BundleWriter<W> {
    /// Begins a bundle.
    ///
    /// # Errors
    /// What `sink` says; `InvalidData` for a manifest that is not properly signed.
    pub fn begin(sink: W, signed: &SignedManifest) -> io::Result<Self> {
        let manifest = signed.open().map_err(|error| wrong(&error.to_string()))?;
        let mut writer = Self {
            tar: tar::Builder::new(sink),
            time: u64::try_from(manifest.created_at.unix()).unwrap_or_default(),
            coming: manifest.files.into_iter(),
        };
        writer.entry(MANIFEST, signed.manifest.len() as u64, signed.manifest.as_slice())?;
        let signature = serde_json::to_vec_pretty(&signed.signature)?;
        writer.entry(SIGNATURE, signature.len() as u64, signature.as_slice())?;
        Ok(writer)
    }

    /// The file the manifest lists next.
    pub fn coming(&self) -> Option<&BundleFile> {
        self.coming.as_slice().first()
    }

    /// Writes the next file of the manifest.
    ///
    /// # Errors
    /// What the sink or the file says; a file that is not what the manifest promised, after which the bundle is lost.
    pub fn file(&mut self, content: impl Read) -> io::Result<()> {
        let file = self
            .coming
            .next()
            .ok_or_else(|| io::Error::other("the manifest lists no further file"))?;
        let mut checked = Checked::new(content, &file);
        self.entry(&file.name, file.size, &mut checked)?;
        checked.finish()
    }

    /// Ends the bundle. Gives the sink back.
    ///
    /// # Errors
    /// What the sink says; a file of the manifest that was not written.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(file) = self.coming.next() {
            return Err(io::Error::other(format!("{} was not written", file.name)));
        }
        self.tar.into_inner()
    }

    fn entry(&mut self, name: &str, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        self.tar.append_data(&mut header, name, content)
    }
}

/// What a bundle holds, as it is read.
pub trait BundleTaker {
    /// The manifest, properly signed by who it says; whether they are trusted is the taker's to judge. Comes first, once.
    ///
    /// # Errors
    /// Any error ends the reading.
    fn manifest(&mut self, signed: &SignedManifest, manifest: &Manifest) -> io::Result<()>;

    /// A file, in the order of the manifest. `content` ends with an error where it is not what the manifest promises, so
    /// nothing of it is to be believed before it was read to its end; what is left unread is checked all the same.
    ///
    /// # Errors
    /// Any error ends the reading.
    fn file(&mut self, file: &BundleFile, content: &mut dyn Read) -> io::Result<()>;
}

/// Reads a whole bundle; gives its manifest and who signed it.
///
/// # Errors
/// What the source or the taker says; `InvalidData` for what is no whole, unchanged bundle.
pub fn read_bundle(
    source: impl Read,
    taker: &mut impl BundleTaker,
) -> io::Result<(SignedManifest, Manifest)> {
    let mut archive = tar::Archive::new(source);
    // Raw: extensions of the format are entries like others, and refused as such, instead of being read into memory.
    let mut entries = archive.entries()?.raw(true);
    let bytes = note(entries.next(), MANIFEST, MAX_MANIFEST as u64)?;
    let signature = note(entries.next(), SIGNATURE, MAX_SIGNATURE)?;
    let signature: BundleSignature =
        serde_json::from_slice(&signature).map_err(|error| wrong(&format!("its signature: {error}")))?;
    let signed = SignedManifest {
        manifest: bytes,
        signature,
    };
    let manifest = signed.open().map_err(|error| wrong(&error.to_string()))?;
    taker.manifest(&signed, &manifest)?;
    for file in &manifest.files {
        let entry = named(entries.next(), &file.name)?;
        if entry.size() != file.size {
            return Err(wrong(&format!(
                "{} has {} bytes, not {}",
                file.name,
                entry.size(),
                file.size
            )));
        }
        let mut checked = Checked::new(entry, file);
        taker.file(file, &mut checked)?;
        checked.finish()?;
    }
    match entries.next() {
        None => Ok((signed, manifest)),
        Some(_) => Err(wrong("it holds more than its manifest lists")),
    }
}

/// A small entry as a whole.
fn note<R: Read>(entry: Option<io::Result<tar::Entry<'_, R>>>, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let entry = named(entry, name)?;
    let size = entry.size();
    if size > most {
        return Err(wrong(&format!("{name} is larger than {most} bytes")));
    }
    let mut text = Vec::new();
    entry.take(most).read_to_end(&mut text)?;
    if text.len() as u64 != size {
        return Err(wrong("it was cut off"));
    }
    Ok(text)
}

/// The entry, if it is an ordinary file of exactly this name.
fn named<'a, R: Read>(
    entry: Option<io::Result<tar::Entry<'a, R>>>,
    name: &str,
) -> io::Result<tar::Entry<'a, R>> {
    let entry = match entry {
        Some(Ok(entry)) => entry,
        // An archive that ends within a header reads like damage.
        Some(Err(error)) => return Err(wrong(&error.to_string())),
        None if name == MANIFEST => return Err(wrong("it is empty")),
        None => return Err(wrong("it was cut off")),
    };
    if !entry.header().entry_type().is_file() || *entry.path_bytes() != *name.as_bytes() {
        let found = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        return Err(wrong(&if name == MANIFEST {
            "it does not begin as one".to_owned()
        } else {
            format!("{found:?} stands where {name} should be")
        }));
    }
    Ok(entry)
}

/// A file on its way, compared with what was promised of it.
struct Checked<R> {
    inner: R,
    name: String,
    left: u64,
    hasher: Option<BlobIdHasher>,
    promised: crate::domain::blob::BlobId,
}

impl<R: Read> Checked<R> {
    fn new(inner: R, file: &BundleFile) -> Self {
        Self {
            inner,
            name: file.name.clone(),
            left: file.size,
            hasher: Some(BlobIdHasher::default()),
            promised: file.sha3_384,
        }
    }

    /// Reads what is left, for its digest; more than was promised is an error.
    fn finish(mut self) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        while self.read(&mut buffer)? > 0 {}
        if self.inner.read(&mut [0])? > 0 {
            return Err(wrong(&format!("{} is longer than promised", self.name)));
        }
        Ok(())
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..most).unwrap_or_default();
        let read = if most == 0 { 0 } else { self.inner.read(piece)? };
        if most > 0 && read == 0 {
            return Err(wrong(&format!("it was cut off within {}", self.name)));
        }
        self.left = self.left.saturating_sub(read as u64);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(piece.get(..read).unwrap_or_default());
        }
        if self.left == 0
            && let Some(hasher) = self.hasher.take()
            && hasher.finish() != self.promised
        {
            return Err(wrong(&format!(
                "{} is damaged: its SHA3-384 is another",
                self.name
            )));
        }
        Ok(read)
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it is no whole bundle: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::blob::BlobId;
    use crate::domain::bundle::{FORMAT, MAX_FILE};
    use crate::domain::time::Timestamp;

    const FILES: [(&str, &[u8]); 3] = [
        ("assertions/trust.assert", b"type: account\n"),
        ("snaps/empty.json", b""),
        ("blobs/x_1.snap", b"a snap"),
    ];

    #[derive(Default)]
    struct Kept {
        manifests: usize,
        files: Vec<(String, Vec<u8>)>,
        lazy: bool,
    }

    impl BundleTaker for Kept {
        fn manifest(&mut self, _: &SignedManifest, _: &Manifest) -> io::Result<()> {
            self.manifests += 1;
            Ok(())
        }

        fn file(&mut self, file: &BundleFile, content: &mut dyn Read) -> io::Result<()> {
            let mut bytes = Vec::new();
            if !self.lazy {
                content.read_to_end(&mut bytes)?;
            }
            self.files.push((file.name.clone(), bytes));
            Ok(())
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            kind: "store".to_owned(),
            version: "1".to_owned(),
            created_at: Timestamp::from_unix(7),
            from: "here".to_owned(),
            brand: None,
            body: serde_json::Value::Null,
            files: FILES
                .iter()
                .map(|(name, content)| BundleFile::of(*name, content))
                .collect(),
        }
    }

    fn signed() -> SignedManifest {
        SignedManifest::sign(&manifest(), &[1; 32]).unwrap()
    }

    fn bundle() -> Vec<u8> {
        let mut writer = BundleWriter::begin(Vec::new(), &signed()).unwrap();
        for (name, content) in FILES {
            assert_eq!(writer.coming().unwrap().name, name);
            writer.file(content).unwrap();
        }
        writer.finish().unwrap()
    }

    /// An archive of these entries after the manifest and its signature, whoever wrote it.
    fn archive(signed: &SignedManifest, entries: &[(tar::EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let signature = serde_json::to_vec(&signed.signature).unwrap();
        let file = tar::EntryType::Regular;
        let begin: [(_, &str, &[u8]); 2] =
            [(file, MANIFEST, &signed.manifest), (file, SIGNATURE, &signature)];
        for (kind, name, content) in begin.iter().chain(entries) {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            let path = &mut header.as_gnu_mut().unwrap().name;
            path[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        let mut kept = Kept::default();
        read_bundle(bytes, &mut kept).unwrap_err().to_string()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut kept = Kept::default();
        let (signed_then, manifest_then) = read_bundle(bundle().as_slice(), &mut kept).unwrap();
        assert_eq!((signed_then, manifest_then), (signed(), manifest()));
        let expected = FILES.map(|(name, content)| (name.to_owned(), content.to_vec()));
        assert_eq!((kept.manifests, kept.files.as_slice()), (1, expected.as_slice()));
    }

    #[test]
    fn every_byte_that_counts_is_checked() {
        let good = bundle();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            let mut lazy = Kept {
                lazy: at % 2 == 0,
                ..Kept::default()
            };
            if let Ok((read, manifest_then)) = read_bundle(bad.as_slice(), &mut lazy) {
                // Only what nothing is made of may differ: padding.
                assert_eq!((read, manifest_then), (signed(), manifest()), "byte {at}");
                if !lazy.lazy {
                    let expected = FILES.map(|(name, content)| (name.to_owned(), content.to_vec()));
                    assert_eq!(lazy.files, expected, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_bundle_cut_off_anywhere_is_refused() {
        let bundle = bundle();
        // Behind the last byte of the last file come only zeros.
        let content = bundle.len() - 1024 - (512 - FILES[2].1.len());
        for length in 0..content {
            let mut kept = Kept::default();
            assert!(
                read_bundle(&bundle[..length], &mut kept).is_err(),
                "{length} of {} bytes",
                bundle.len()
            );
        }
    }

    #[test]
    fn entries_are_exactly_those_of_the_manifest() {
        let file = tar::EntryType::Regular;
        let [one, two, three] = FILES.map(|(name, content)| (file, name, content));
        let with = |entries: &[(tar::EntryType, &str, &[u8])]| archive(&signed(), entries);
        let mut kept = Kept::default();
        read_bundle(with(&[one, two, three]).as_slice(), &mut kept).unwrap();
        for (entries, why) in [
            (vec![one, two], "cut off"),
            (vec![two, one, three], "should be"),
            (vec![one, three, two], "should be"),
            (vec![one, two, three, three], "more than its manifest"),
            (
                vec![one, two, three, (file, "../../etc/passwd", b"x")],
                "more than its manifest",
            ),
            (vec![one, two, (file, "/blobs/x_1.snap", b"a snap")], "should be"),
            (vec![one, two, (file, "./blobs/x_1.snap", b"a snap")], "should be"),
            (vec![one, two, (file, three.1, b"a snip")], "SHA3-384"),
            (vec![one, two, (file, three.1, b"a snap and more")], "bytes, not"),
            (vec![one, two, (file, three.1, b"a")], "bytes, not"),
            (
                vec![one, two, (tar::EntryType::Symlink, three.1, b"a snap")],
                "should be",
            ),
            (
                vec![one, two, (tar::EntryType::Link, three.1, b"a snap")],
                "should be",
            ),
            (
                vec![
                    one,
                    (tar::EntryType::GNULongName, "@", b"snaps/empty.json"),
                    two,
                    three,
                ],
                "should be",
            ),
            (
                vec![one, (tar::EntryType::XHeader, "x", b"12 size=9\n"), two, three],
                "should be",
            ),
            (
                vec![one, (tar::EntryType::GNUSparse, two.1, b""), three],
                "should be",
            ),
        ] {
            let said = refusal(&with(&entries));
            assert!(said.contains(why), "{said} ({why})");
        }
    }

    #[test]
    fn sizes_are_limited_before_anything_is_read() {
        let header = |name: &str, size: u64| {
            let mut header = tar::Header::new_gnu();
            header.set_path(name).unwrap();
            header.set_size(size);
            header.set_cksum();
            header.as_bytes().to_vec()
        };
        let said = refusal(&header(MANIFEST, MAX_MANIFEST as u64 + 1));
        assert!(said.contains("larger than"), "{said}");
        assert!(refusal(&header(MANIFEST, u64::MAX / 2)).contains("larger than"));
        assert!(refusal(&header("other", 1)).contains("does not begin"));
        assert!(refusal(b"").contains("empty"));
        // A promise of a terabyte that does not come takes no memory for it.
        let mut huge = manifest();
        huge.files[2].size = MAX_FILE;
        let signed = SignedManifest::sign(&huge, &[1; 32]).unwrap();
        let file = tar::EntryType::Regular;
        let [one, two, _] = FILES.map(|(name, content)| (file, name, content));
        let mut bytes = archive(&signed, &[one, two]);
        bytes.truncate(bytes.len() - 1024);
        bytes.extend(header(FILES[2].0, MAX_FILE));
        assert!(refusal(&bytes).contains("cut off"));
    }

    #[test]
    fn a_foreign_signature_is_none() {
        let mut other = signed();
        other.signature.public_key = SignedManifest::sign(&manifest(), &[2; 32]).unwrap().signer();
        assert!(refusal(&archive(&other, &[])).contains("signature"));
        assert!(BundleWriter::begin(Vec::new(), &other).is_err());
    }

    #[test]
    fn only_what_was_promised_is_written() {
        let begun = || BundleWriter::begin(Vec::new(), &signed()).unwrap();
        assert!(begun().finish().is_err(), "nothing came");
        for wrong in [&b"type: accounT\n"[..], b"type: account", b"type: account\n\n"] {
            assert!(begun().file(wrong).is_err());
        }
        let mut writer = begun();
        for (_, content) in FILES {
            writer.file(content).unwrap();
        }
        assert!(writer.file(&b""[..]).is_err(), "one more");
        assert_eq!(BundleFile::of("a/b", b"").sha3_384, BlobId::of(b""));
    }
}
