//! Being let into a token. A PIN that was refused once is not tried again: a few tries lock a token for good.

use std::path::{Path, PathBuf};

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::RawAuthPin;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::trouble::{Trouble, refuses_pin, said};

/// Longest PIN file that is read.
const MAX_PIN_FILE: u64 = 4096;

/// The PIN of a token, and whether it is of any use.
pub(super) struct Login {
    file: Option<PathBuf>,
    /// The PIN the token refused. One thread at a time logs in, so that a wrong one is tried once.
    refused: Mutex<Option<Zeroizing<Vec<u8>>>>,
}

impl Login {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            refused: Mutex::new(None),
        }
    }

    /// Logs the application in by `session`, if the token wants that.
    pub(super) fn enter(&self, session: &Session, info: &TokenInfo) -> Result<(), Trouble> {
        if !info.login_required() {
            return Ok(());
        }
        let mut refused = self.refused.lock();
        let Some(file) = &self.file else {
            if info.protected_authentication_path() {
                return welcome(session.login(UserType::User, None)).map_err(Into::into);
            }
            return Err(Trouble::Barred("it wants a PIN; set pkcs11-pin-file".to_owned()));
        };
        let pin = read_pin(file)?;
        if refused.as_ref() == Some(&pin) {
            return Err(Trouble::Barred(format!(
                "it refused the PIN in {}, which is not tried again before the file changes or the server is \
                 started anew",
                file.display()
            )));
        }
        if info.user_pin_locked() {
            return Err(Trouble::Barred(
                "its PIN is locked; unlock it with the tools of its vendor".to_owned(),
            ));
        }
        if info.user_pin_final_try() {
            return Err(Trouble::Barred(
                "one more wrong PIN would lock it; log in once with the tools of its vendor".to_owned(),
            ));
        }
        let given = RawAuthPin::new(Box::new(pin.to_vec()));
        match welcome(session.login_with_raw(UserType::User, &given)) {
            Ok(()) => {
                *refused = None;
                Ok(())
            }
            Err(error) if refuses_pin(&error) => {
                tracing::error!(file = %file.display(), error = said(&error), "a token refused its PIN");
                *refused = Some(pin);
                Err(Trouble::Barred(format!(
                    "it refused the PIN in {}: {}",
                    file.display(),
                    said(&error)
                )))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// All sessions of a process share one log-in.
fn welcome(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        outcome => outcome,
    }
}

/// The first line of the file.
fn read_pin(file: &Path) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let cannot = |why: &str| Trouble::Barred(format!("cannot read its PIN from {}: {why}", file.display()));
    let length = std::fs::metadata(file)
        .map_err(|error| cannot(&error.to_string()))?
        .len();
    if length > MAX_PIN_FILE {
        return Err(cannot("the file is longer than any PIN"));
    }
    let bytes = Zeroizing::new(std::fs::read(file).map_err(|error| cannot(&error.to_string()))?);
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(cannot("its first line is empty"));
    }
    Ok(Zeroizing::new(line.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pin");
        for (text, pin) in [("1234", "1234"), ("1234\n", "1234"), ("12 34\r\nmore\n", "12 34")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_pin(&file).unwrap().as_slice(), pin.as_bytes());
        }
        for text in ["", "\n1234", &"1".repeat(5000)] {
            std::fs::write(&file, text).unwrap();
            let trouble = read_pin(&file).unwrap_err();
            assert!(
                matches!(&trouble, Trouble::Barred(why) if !why.contains("1234")),
                "{trouble:?}"
            );
        }
        assert!(read_pin(&dir.path().join("none")).is_err());
    }
}
