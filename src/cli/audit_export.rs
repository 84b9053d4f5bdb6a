//! `audit export`: a copy of the audit log elsewhere, which grows with the log and proves itself.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::moment::span;
use super::remote::{Client, native};
use super::{BrandArg, CliError, Cx};
use crate::domain::audit::{AuditEntry, ChainHead, entry_hash};

/// Entries asked for at a time.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The copy: one entry as JSON on each line. What is there already is checked and goes on
    file: PathBuf,
    /// Go on copying what comes, until stopped
    #[arg(long)]
    follow: bool,
    /// How often to look, with --follow
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = span)]
    every: i64,
}

#[derive(Debug, Deserialize)]
struct Page {
    entries: Vec<AuditEntry>,
}

impl Export {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let failed = |error: io::Error| {
            CliError::failed(
                format!("cannot copy the audit log to {}", self.file.display()),
                error,
            )
        };
        let client = Client::open(&BrandArg::default())?;
        let mut copy = AuditCopy::open(&self.file).map_err(failed)?;
        let pause = Duration::from_secs(u64::try_from(self.every).unwrap_or(1).max(1));
        let mut added = 0;
        loop {
            match pull(&client, &mut copy).await {
                Ok(new) => added += new,
                // A server that is restarted, a network that comes back: the copy is needed most then.
                Err(CliError::Unreachable(why)) if self.follow => cx.out.note(&why),
                Err(error) => return Err(error),
            }
            if !self.follow {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                stopped = tokio::signal::ctrl_c() => {
                    stopped.map_err(failed)?;
                    break;
                }
            }
        }
        cx.out.done(
            &json!({"file": self.file, "entries": copy.entries, "new-entries": added, "chains": copy.heads.len()}),
            &format!(
                "copied {added} entries; {} now holds {} in {} chains",
                self.file.display(),
                copy.entries,
                copy.heads.len()
            ),
        )
    }
}

/// Copies what is new; how many entries.
async fn pull(client: &Client, copy: &mut AuditCopy) -> Result<u64, CliError> {
    let path = native(&["instance", "audit", "chains"]);
    let heads: Vec<ChainHead> = serde_json::from_value(client.get(&path, &[]).await?)
        .map_err(|error| CliError::failed("cannot read the chains", error))?;
    let mut added = 0;
    for head in heads {
        while copy.reached(&head.writer) < head.sequence {
            let path = native(&["instance", "audit", "chains", &head.writer]);
            let (from, limit) = ((copy.reached(&head.writer) + 1).to_string(), PAGE.to_string());
            let page = client.get(&path, &[("from", &from), ("limit", &limit)]).await?;
            let page: Page = serde_json::from_value(page)
                .map_err(|error| CliError::failed("cannot read a chain", error))?;
            if page.entries.is_empty() {
                return Err(CliError::Failed(format!(
                    "cannot copy the audit log: the chain {} ends before its head; run `hallmark audit verify`",
                    head.writer
                )));
            }
            copy.append(&page.entries)
                .map_err(|error| CliError::failed("cannot copy the audit log", error))?;
            added += page.entries.len() as u64;
        }
    }
    Ok(added)
}

/// A copy of the log in a file: entries as lines of JSON, each chain whole from its beginning.
#[derive(Debug)]
pub(super) struct AuditCopy {
    file: File,
    heads: BTreeMap<String, ChainHead>,
    entries: u64,
}

impl AuditCopy {
    /// Opens a copy to go on with it, or begins one. A last line that a crash cut off is removed.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let mut chains = Chains::default();
        let whole = chains.read(BufReader::new(&file), |_| Ok(()))?;
        if whole < file.metadata()?.len() {
            file.set_len(whole)?;
            file.seek(SeekFrom::End(0))?;
        }
        Ok(Self {
            file,
            entries: chains.entries,
            heads: chains.heads,
        })
    }

    fn reached(&self, writer: &str) -> u64 {
        self.heads.get(writer).map_or(0, |head| head.sequence)
    }

    fn append(&mut self, entries: &[AuditEntry]) -> io::Result<()> {
        let mut chains = Chains {
            heads: std::mem::take(&mut self.heads),
            entries: self.entries,
        };
        let mut lines = Vec::new();
        let checked = entries.iter().try_for_each(|entry| {
            chains.follow(entry)?;
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
            Ok::<_, io::Error>(())
        });
        self.heads = chains.heads;
        checked?;
        self.entries = chains.entries;
        self.file.write_all(&lines)?;
        self.file.sync_data()
    }
}

/// Chains as far as they were followed.
#[derive(Debug, Default)]
struct Chains {
    heads: BTreeMap<String, ChainHead>,
    entries: u64,
}

impl Chains {
    /// The next entry of its chain.
    fn follow(&mut self, entry: &AuditEntry) -> io::Result<()> {
        let head = self
            .heads
            .entry(entry.writer.clone())
            .or_insert_with(|| ChainHead::new(entry.writer.clone()));
        let hash = entry_hash(&entry.previous, &entry.writer, entry.sequence, &entry.event);
        if entry.sequence != head.sequence + 1 || entry.previous != head.hash || hash != entry.hash {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "entry {} of the chain {} does not follow the one before: it was changed, or belongs to another log",
                    entry.sequence, entry.writer
                ),
            ));
        }
        head.sequence = entry.sequence;
        head.hash.clone_from(&entry.hash);
        self.entries += 1;
        Ok(())
    }

    /// Reads lines; the length of those that are whole.
    fn read(
        &mut self,
        mut lines: impl BufRead,
        mut each: impl FnMut(&AuditEntry) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut whole = 0;
        let mut line = String::new();
        loop {
            line.clear();
            let length = lines.read_line(&mut line)?;
            if !line.ends_with('\n') {
                return Ok(whole);
            }
            let entry: AuditEntry = serde_json::from_str(&line)?;
            self.follow(&entry)?;
            each(&entry)?;
            whole += length as u64;
        }
    }
}

/// Goes through a copy, whose chains must be whole.
///
/// # Errors
/// What the file says; `InvalidData` for an entry that does not follow the one before.
pub(super) fn read_copy(path: &Path, each: impl FnMut(&AuditEntry) -> io::Result<()>) -> io::Result<()> {
    Chains::default()
        .read(BufReader::new(File::open(path)?), each)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{Actor, AuditEvent, link};
    use crate::domain::time::Timestamp;

    fn chain(writer: &str, entries: usize) -> Vec<AuditEntry> {
        let mut head = ChainHead::new(writer.to_owned());
        (0..entries)
            .map(|number| {
                let event = AuditEvent {
                    time: Timestamp::from_unix(7),
                    actor: Actor::Local,
                    brand: None,
                    action: "act".to_owned(),
                    subject: number.to_string(),
                    detail: serde_json::Map::new(),
                };
                link(&mut head, &event)
            })
            .collect()
    }

    #[test]
    fn a_copy_goes_on_where_it_was_cut_off_and_takes_no_other_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copy");
        let (one, two) = (chain("one", 4), chain("two", 2));
        let mut copy = AuditCopy::open(&path).unwrap();
        copy.append(&one[..2]).unwrap();
        copy.append(&two).unwrap();
        drop(copy);
        // A crash in the middle of a line.
        let whole = std::fs::metadata(&path).unwrap().len();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"writer\":\"on").unwrap();
        let mut copy = AuditCopy::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
        assert_eq!(
            (copy.entries, copy.reached("one"), copy.reached("two")),
            (4, 2, 2)
        );
        assert!(copy.append(&one[3..]).is_err(), "one is missing");
        let mut changed = one[2].clone();
        changed.event.push(' ');
        assert!(copy.append(&[changed]).is_err());
        copy.append(&one[2..]).unwrap();
        drop(copy);
        let mut read = Vec::new();
        read_copy(&path, |entry| {
            read.push(entry.clone());
            Ok(())
        })
        .unwrap();
        assert_eq!(read, [&one[..2], &two[..], &one[2..]].concat());
        // A line in the middle is gone.
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, [&lines[..1], &lines[2..]].concat().join("\n") + "\n").unwrap();
        assert!(read_copy(&path, |_| Ok(())).is_err());
        assert!(AuditCopy::open(&path).is_err());
    }
}
