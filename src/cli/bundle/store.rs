//! `export store`, and the import of what it writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::file::{self, BLOBS, Seen};
use crate::adapters::archive::BundleTaker;
use crate::adapters::system::SystemClock;
use crate::app::bundles::store_in::{Checked, SnapState};
use crate::app::bundles::store_out::Wanted;
use crate::app::bundles::{Bundle, Trust};
use crate::cli::backup::files;
use crate::cli::local::Seat;
use crate::cli::open::{self, SettingsArgs};
use crate::cli::{CliError, Column, Cx};
use crate::config::Config;
use crate::domain::blob::BlobId;
use crate::domain::bundle::store::{
    BundleScope, Channels, ListedSnap, SHARED, StoreBody, assertions_of, records_of,
};
use crate::domain::bundle::{BundleFile, Manifest, SignedManifest};
use crate::domain::catalog::Risk;
use crate::domain::ident::{Architecture, SnapName, StoreId};
use crate::http::local::bundles::BundleTask;
use crate::ports::{Blobs, Clock};

#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Channels whose revisions go along: a risk means all tracks (stable), a channel only itself (2.0/edge); may be given
    /// several times [default: stable]
    #[arg(long, value_name = "CHANNEL")]
    channel: Vec<Channels>,
    /// Only what is released for this architecture; may be given several times
    #[arg(long, value_name = "ARCH")]
    arch: Vec<Architecture>,
    /// Leave out revisions and files of snaps: only the store, its snaps' names and the assertions
    #[arg(long, conflicts_with_all = ["channel", "arch"])]
    no_snaps: bool,
    /// Only this snap of the store; may be given several times
    #[arg(long, value_name = "NAME")]
    snap: Vec<SnapName>,
    /// The store
    store: StoreId,
    /// Where to
    file: PathBuf,
}

const EXPORTED: &[Column] = &[
    Column::field("File", "file"),
    Column::field("Store", "store"),
    Column::field("Snaps", "snaps"),
    Column::field("Files", "files"),
    Column::field("Bytes of files", "file-bytes"),
    Column::field("Made", "created-at"),
    Column::field("Signer", "signer"),
];

const IMPORTED: &[Column] = &[
    Column::field("Store", "store"),
    Column::field("From instance", "from"),
    Column::field("Made", "created-at"),
    Column::field("Snaps new", "new-snaps"),
    Column::field("Snaps changed", "changed-snaps"),
    Column::field("Snaps as before", "same-snaps"),
    Column::field("Snaps newer here", "newer-snaps"),
    Column::field("Snaps taken out of the store", "excluded-snaps"),
    Column::field("Files new", "new-files"),
    Column::field("Anything changed", "changed"),
];

impl Export {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let config = self.settings.load_quietly()?;
        let channels = match (self.no_snaps, self.channel.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => vec![Channels::Risk(Risk::Stable)],
            (false, false) => self.channel,
        };
        let wanted = Wanted {
            store: self.store,
            scope: BundleScope {
                channels,
                architectures: self.arch.into_iter().collect(),
                snaps: self.snap.into_iter().collect(),
            },
        };
        let seat = Seat::take(&config).await?;
        let made = seat.bundle(BundleTask::ExportStore { wanted }).await;
        seat.leave().await?;
        let bundle: Bundle = serde_json::from_value(made?)
            .map_err(|error| CliError::failed("cannot read the bundle", error))?;
        let failed = |why: String| CliError::failed(format!("cannot write {}", self.file.display()), why);
        let signed = bundle.signed();
        let manifest = signed.open().map_err(|error| failed(error.to_string()))?;
        let card = json!({
            "file": self.file,
            "kind": manifest.kind,
            "store": manifest.body.get("store"),
            "snaps": manifest.body.get("snaps").and_then(Value::as_array).map(Vec::len),
            "files": blobs_of(&manifest).count(),
            "file-bytes": blobs_of(&manifest).map(|file| file.size).sum::<u64>(),
            "created-at": manifest.created_at,
            "from": manifest.from,
            "signer": signed.signer(),
        });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let source = open::blobs(&config, &clock)?;
        let (path, runtime) = (self.file.clone(), Handle::current());
        let written = tokio::task::spawn_blocking(move || {
            write(&path, &signed, &manifest, &bundle.texts, &*source, &runtime)
        });
        written
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        cx.out.note(
            "compare the signer over another way than the bundle takes: the other instance asks for it with the first one",
        );
        cx.out.item(&card, EXPORTED)
    }
}

fn blobs_of(manifest: &Manifest) -> impl Iterator<Item = &BundleFile> {
    manifest.files.iter().filter(|file| file.name.starts_with(BLOBS))
}

fn write(
    path: &Path,
    signed: &SignedManifest,
    manifest: &Manifest,
    texts: &BTreeMap<String, String>,
    source: &dyn Blobs,
    runtime: &Handle,
) -> io::Result<()> {
    file::write(path, signed, |writer| {
        for listed in &manifest.files {
            if let Some(text) = texts.get(&listed.name) {
                writer.file(text.as_bytes())?;
                continue;
            }
            let found = runtime
                .block_on(source.open(&listed.sha3_384))
                .map_err(io::Error::other)?;
            let missing = || {
                io::Error::other(format!(
                    "the file {} is missing; see `hallmark doctor`",
                    listed.sha3_384
                ))
            };
            let blob = found.ok_or_else(missing)?;
            writer.file(files::Reading::new(blob.stream(0, blob.size()), runtime.clone()))?;
        }
        Ok(())
    })
}

/// Takes in a bundle that was found whole.
pub(super) async fn import(
    cx: &Cx,
    config: &Config,
    path: &Path,
    seen: Seen,
    trust: Trust,
) -> Result<(), CliError> {
    let seat = Seat::take(config).await?;
    let done = import_at(path, seen, trust, &seat).await;
    seat.leave().await?;
    cx.out.item(&done?, IMPORTED)
}

async fn import_at(path: &Path, seen: Seen, trust: Trust, seat: &Seat) -> Result<Value, CliError> {
    let Seen {
        signed,
        manifest,
        texts,
    } = seen;
    let bundle = Bundle::new(signed.clone(), texts)?;
    let task = BundleTask::CheckStore {
        bundle: bundle.clone(),
        trust: trust.clone(),
    };
    let checked: Checked = understood(seat.bundle(task).await?)?;
    let body: StoreBody = understood(manifest.body.clone())?;
    let job = Job {
        bundle,
        trust,
        seat,
        runtime: Handle::current(),
        waiting: body.snaps.into(),
        there: BTreeSet::new(),
        counts: BTreeMap::new(),
        new_files: 0,
        refused: None,
    };
    let shared = seat.bundle(job.task(&[SHARED.to_owned()], Step::Shared)).await?;
    let (path, signed) = (path.to_owned(), signed);
    // The reader blocks, and the steps between files wait for the server.
    let job = tokio::task::block_in_place(|| job.run(&path, &signed))?;
    let finished = seat.bundle(job.task(&[], Step::Finish)).await?;
    let excluded: u64 = part(&finished, "excluded")?;
    let changed: bool = part(&shared, "changed")?;
    let count = |state| job.counts.get(&state).copied().unwrap_or_default();
    let moved = count(SnapState::New) + count(SnapState::Changed);
    Ok(json!({
        "kind": manifest.kind,
        "store": checked.store,
        "from": manifest.from,
        "created-at": manifest.created_at,
        "signer": signed.signer(),
        "new-snaps": count(SnapState::New),
        "changed-snaps": count(SnapState::Changed),
        "same-snaps": count(SnapState::Same),
        "newer-snaps": count(SnapState::Newer),
        "excluded-snaps": excluded,
        "new-files": job.new_files,
        "changed": changed || moved > 0 || excluded > 0,
    }))
}

fn understood<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(|error| CliError::failed("cannot read the answer", error))
}

/// One part of an answer.
fn part<T: serde::de::DeserializeOwned>(answer: &Value, name: &str) -> Result<T, CliError> {
    understood(answer.get(name).cloned().unwrap_or_default())
}

/// A step of an import.
#[derive(Clone, Copy)]
enum Step<'s> {
    Shared,
    Snap(&'s ListedSnap),
    Finish,
}

/// Takes files in as they come, and each snap once its files are here.
struct Job<'s> {
    bundle: Bundle,
    trust: Trust,
    seat: &'s Seat,
    runtime: Handle,
    /// The snaps that are not taken in yet, in the order of the bundle, which is that of their files.
    waiting: VecDeque<ListedSnap>,
    there: BTreeSet<BlobId>,
    counts: BTreeMap<SnapState, u64>,
    new_files: u64,
    /// Why a snap or a file was not taken.
    refused: Option<CliError>,
}

impl Job<'_> {
    /// A task with these texts of the bundle.
    fn task(&self, names: &[String], step: Step<'_>) -> BundleTask {
        let text = |name: &String| Some((name.clone(), self.bundle.texts.get(name)?.clone()));
        let bundle = Bundle {
            manifest: self.bundle.manifest.clone(),
            signature: self.bundle.signature.clone(),
            texts: names.iter().filter_map(text).collect(),
        };
        let trust = self.trust.clone();
        match step {
            Step::Shared => BundleTask::ImportStore { bundle, trust },
            Step::Snap(listed) => BundleTask::ImportSnap {
                bundle,
                trust,
                snap: listed.id.clone(),
            },
            Step::Finish => BundleTask::FinishStore { bundle, trust },
        }
    }

    fn run(mut self, path: &Path, signed: &SignedManifest) -> Result<Self, CliError> {
        let failed = |why: String| CliError::failed(format!("cannot import {}", path.display()), why);
        let mut again = Again {
            job: &mut self,
            signed,
        };
        let read = file::read(path, &mut again);
        match (read, self.refused.take()) {
            (_, Some(refused)) => Err(refused),
            (Err(error), None) => Err(failed(error.to_string())),
            (Ok(()), None) if !self.waiting.is_empty() => {
                Err(failed("it lacks files of its snaps".to_owned()))
            }
            (Ok(()), None) => Ok(self),
        }
    }

    /// Ends the reading for a reason that is told.
    fn stop(&mut self, error: CliError) -> io::Error {
        self.refused = Some(error);
        io::Error::other("it was refused")
    }

    /// Takes in the snaps all of whose files are here.
    fn advance(&mut self) -> io::Result<()> {
        while let Some(next) = self.waiting.front() {
            if !next.files.is_subset(&self.there) {
                return Ok(());
            }
            let names = [records_of(&next.id), assertions_of(&next.id)];
            let task = self.task(&names, Step::Snap(next));
            let answer = self.runtime.block_on(self.seat.bundle(task));
            let done = answer.and_then(|answer| part::<SnapState>(&answer, "state"));
            match done {
                Ok(state) => *self.counts.entry(state).or_default() += 1,
                Err(error) => return Err(self.stop(error)),
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}

/// The second look at a bundle.
struct Again<'j, 's> {
    job: &'j mut Job<'s>,
    signed: &'j SignedManifest,
}

impl BundleTaker for Again<'_, '_> {
    fn manifest(&mut self, signed: &SignedManifest, _: &Manifest) -> io::Result<()> {
        if signed != self.signed {
            return Err(io::Error::other("it was changed meanwhile"));
        }
        self.job.advance()
    }

    fn file(&mut self, file: &BundleFile, content: &mut dyn Read) -> io::Result<()> {
        if !file.name.starts_with(BLOBS) {
            return Ok(());
        }
        let job = &mut *self.job;
        let put = job.seat.put(&job.runtime, &file.sha3_384, file.size, content);
        let new = put.map_err(|error| job.stop(error))?;
        job.new_files += u64::from(new);
        job.there.insert(file.sha3_384);
        job.advance()
    }
}
