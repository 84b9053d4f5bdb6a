//! Access keys from a file in the form of AWS's shared credentials file:
//!
//! ```text
//! [default]
//! aws_access_key_id = …
//! aws_secret_access_key = …
//! aws_session_token = …        (only with temporary keys)
//! ```
//!
//! The file is read again when it has changed, so keys can be exchanged while the server runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use zeroize::Zeroizing;

/// The section that is read.
const SECTION: &str = "[default]";
/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// A file is at most this long.
const MAX_FILE: u64 = 64 << 10;

/// Keys in a file.
#[derive(Debug)]
pub(super) struct CredentialsFile {
    path: PathBuf,
    last: Mutex<Option<Last>>,
}

#[derive(Clone, Debug)]
struct Last {
    keys: Arc<AwsCredential>,
    changed: Option<SystemTime>,
    looked: Instant,
}

impl CredentialsFile {
    /// Reads the file a first time. Errors name the file and what is missing, never what it holds.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let file = Self {
            path,
            last: Mutex::default(),
        };
        file.keys()?;
        Ok(file)
    }

    fn keys(&self) -> Result<Arc<AwsCredential>, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.looked.elapsed() < LOOK
        {
            return Ok(Arc::clone(&last.keys));
        }
        let cannot = |why: String| format!("cannot read {}: {why}", self.path.display());
        let metadata = std::fs::metadata(&self.path).map_err(|error| cannot(error.to_string()))?;
        let changed = metadata.modified().ok();
        if let Some(last) = &mut *last
            && last.changed.is_some()
            && last.changed == changed
        {
            last.looked = Instant::now();
            return Ok(Arc::clone(&last.keys));
        }
        if metadata.len() > MAX_FILE {
            return Err(cannot("it is far longer than a file of access keys".to_owned()));
        }
        let text = std::fs::read_to_string(&self.path).map_err(|error| cannot(error.to_string()))?;
        let keys = Arc::new(parse(&Zeroizing::new(text)).map_err(|why| cannot(why.to_owned()))?);
        *last = Some(Last {
            keys: Arc::clone(&keys),
            changed,
            looked: Instant::now(),
        });
        Ok(keys)
    }
}

#[async_trait]
impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.keys().map_err(|why| object_store::Error::Generic {
            store: "S3",
            source: why.into(),
        })
    }
}

fn parse(text: &str) -> Result<AwsCredential, &'static str> {
    let mut lines = text.lines().map(str::trim);
    let section = lines.by_ref().find(|line| *line == SECTION);
    section.ok_or("it has no section [default]")?;
    let (mut key_id, mut secret_key, mut token) = (None, None, None);
    for line in lines.take_while(|line| !line.starts_with('[')) {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match name.trim() {
            "aws_access_key_id" => key_id = value,
            "aws_secret_access_key" => secret_key = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Ok(AwsCredential {
        key_id: key_id.ok_or("it has no aws_access_key_id in [default]")?,
        secret_key: secret_key.ok_or("it has no aws_secret_access_key in [default]")?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[other]\naws_access_key_id = no\n[default]\naws_access_key_id=AKID\nregion = x\n\
                        aws_secret_access_key = a+b/c=\n\n[last]\naws_session_token = no\n";

    #[test]
    fn the_default_section_counts() {
        let keys = parse(FILE).unwrap();
        assert_eq!(
            (keys.key_id.as_str(), keys.secret_key.as_str()),
            ("AKID", "a+b/c=")
        );
        assert_eq!(keys.token, None);
        assert!(!format!("{keys:?}").contains("a+b/c="));
        for bad in [
            "",
            "[default]\naws_access_key_id = hunter2\n",
            "[other]\naws_access_key_id = hunter2\n",
        ] {
            assert!(!parse(bad).unwrap_err().contains("hunter2"));
        }
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        assert!(CredentialsFile::open(path.clone()).unwrap_err().contains("keys"));
        std::fs::write(&path, FILE).unwrap();
        let file = CredentialsFile::open(path.clone()).unwrap();
        std::fs::write(&path, FILE.replace("AKID", "NEXT")).unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        std::fs::File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        // Not at once: the file is not looked at for every request.
        assert_eq!(file.keys().unwrap().key_id, "AKID");
        file.last.lock().unwrap().as_mut().unwrap().looked = Instant::now().checked_sub(LOOK * 2).unwrap();
        assert_eq!(file.keys().unwrap().key_id, "NEXT");
    }
}
