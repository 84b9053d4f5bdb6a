//! The passphrase: a file the operator names, or one made in the data directory with mode 0600.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Name of the generated file in the data directory. Backups leave it out (decisions.md 17).
pub const FILE: &str = "passphrase";
/// Name of the next one while the passphrase is being rotated.
pub const NEXT: &str = "passphrase.new";
/// Longest passphrase.
const MAX: u64 = 4096;

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// The file cannot be read.
    #[error("cannot read the passphrase file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the passphrase file {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds nothing usable.
    #[error("cannot use the passphrase file {path}: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

/// A passphrase and where it is from.
pub struct Passphrase {
    text: Zeroizing<Vec<u8>>,
    /// The file.
    pub path: PathBuf,
    /// Others than the owner may read the file.
    pub exposed: bool,
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passphrase")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Passphrase {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// Reads the file `path`; one line feed at its end does not count.
    pub fn read(path: &Path) -> Result<Self, PassphraseError> {
        let failed = |source| PassphraseError::Read {
            path: path.to_owned(),
            source,
        };
        let unusable = |why| PassphraseError::Unusable {
            path: path.to_owned(),
            why,
        };
        let file = File::open(path).map_err(failed)?;
        let exposed = file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0;
        // Room for all of it from the start, so that no copy is left behind by growing.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX as usize + 2));
        file.take(MAX + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX {
            return Err(unusable("it is longer than 4096 bytes"));
        }
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        text.truncate(length);
        if text.is_empty() {
            return Err(unusable("it is empty"));
        }
        Ok(Self {
            text,
            path: path.to_owned(),
            exposed,
        })
    }

    /// Makes a random passphrase (256 bits) in the new file `path`, readable by the owner only, durably.
    pub fn generate(path: &Path) -> Result<Self, PassphraseError> {
        let failed = |source| PassphraseError::Write {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(bytes.as_mut()).map_err(|_| failed(std::io::Error::other("no random bytes")))?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
        Self::write(path, text.as_bytes())
    }

    /// Writes a passphrase to the new file `path`. A crash leaves the whole file or none.
    fn write(path: &Path, text: &[u8]) -> Result<Self, PassphraseError> {
        let failed = |source| PassphraseError::Write {
            path: path.to_owned(),
            source,
        };
        let draft = path.with_extension("draft");
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            file.write_all(text)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&draft, path)?;
            sync_dir(path)
        })();
        written.map_err(failed)?;
        Self::read(path)
    }

    /// Writes the same passphrase to the new file `path`, readable by the owner only, durably.
    pub fn copy(&self, path: &Path) -> Result<Self, PassphraseError> {
        Self::write(path, &self.text)
    }

    /// Puts the file in the place of `path`, durably.
    pub fn replace(self, path: &Path) -> Result<(), PassphraseError> {
        let failed = |source| PassphraseError::Write {
            path: path.to_owned(),
            source,
        };
        std::fs::rename(&self.path, path)
            .and_then(|()| sync_dir(path))
            .map_err(failed)
    }
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_passphrase_is_private_long_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let made = Passphrase::generate(&path).unwrap();
        assert!(made.bytes().len() == 43 && !made.exposed);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(Passphrase::read(&path).unwrap().bytes(), made.bytes());
        assert!(!format!("{made:?}").contains(std::str::from_utf8(made.bytes()).unwrap()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_line_end_is_not_part_of_the_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        for (text, expected) in [
            ("a b", "a b"),
            ("a b\n", "a b"),
            ("a b\r\n", "a b"),
            ("a b\n\n", "a b\n"),
            (" a ", " a "),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(
                Passphrase::read(&path).unwrap().bytes(),
                expected.as_bytes(),
                "{text:?}"
            );
        }
        for text in ["", "\n", &"x".repeat(5000)] {
            std::fs::write(&path, text).unwrap();
            assert!(Passphrase::read(&path).is_err());
        }
        assert!(Passphrase::read(&dir.path().join("none")).is_err());
    }
}
