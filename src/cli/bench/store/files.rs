//! Files: taken into the store beside hashing alone, and downloaded from it beside nginx.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::nginx::Nginx;
use super::rounded;
use crate::adapters::blobs_file::FileBlobs;
use crate::adapters::system::SystemClock;
use crate::cli::line::{Instance, Server};
use crate::cli::{Column, Cx};
use crate::domain::blob::{BlobDigest, BlobId, BlobIdHasher};
use crate::domain::ident::SnapId;
use crate::ports::{Blobs as _, Staged, Staging};

const MIB: u64 = 1 << 20;
/// What a request's body comes in as.
const PIECE: usize = 64 << 10;
/// All downloads at a time together ask for this many times the file.
const ROUNDS: u64 = 8;
/// How often each is measured; the best counts, since everything else only adds to it.
const TRIES: usize = 3;

/// What taking a file in cost.
#[derive(Debug)]
pub(super) struct Ingestion {
    size: u64,
    staged: Duration,
    hashed: Duration,
    kept: Duration,
}

impl Ingestion {
    pub(super) fn json(&self) -> Value {
        let speed = |time: Duration| mib(self.size) / time.as_secs_f64();
        json!({
            "size-mib": mib(self.size),
            "staged-mib-per-second": rounded(speed(self.staged)),
            "hashing-alone-mib-per-second": rounded(speed(self.hashed)),
            "ratio": rounded(speed(self.staged) / speed(self.hashed)),
            "sync-ms": rounded(self.kept.as_secs_f64() * 1e3),
        })
    }
}

pub(super) const INGESTION: &[Column] = &[
    Column::field("file MiB", "size-mib"),
    Column::field("staged MiB/s", "staged-mib-per-second"),
    Column::field("SHA3-384 alone MiB/s", "hashing-alone-mib-per-second"),
    Column::field("ratio", "ratio"),
    Column::field("sync ms", "sync-ms"),
];

fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / MIB).unwrap_or(u32::MAX))
}

/// Puts a file of `size` bytes into the store at `root`, then takes it in again from the page cache, in turns with
/// hashing it.
pub(super) async fn take_in(root: &Path, size: u64) -> anyhow::Result<(BlobDigest, Ingestion)> {
    let store = FileBlobs::open(root, Arc::new(SystemClock))?;
    let mut staging = store.stage().await?;
    for number in 0..size / MIB {
        // No two pieces are the same, and none compresses well.
        let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let words = (0..MIB / 8).map(|word| (word + 1).wrapping_mul(seed).rotate_left(29).wrapping_mul(seed));
        let piece: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        staging.write(Bytes::from(piece)).await?;
    }
    let staged = staging.finish().await?;
    let digest = staged.digest();
    let began = Instant::now();
    staged.keep().await?;
    let kept = began.elapsed();
    let path = path(root, &digest.id);
    let (mut best_staged, mut best_hashed) = (Duration::MAX, Duration::MAX);
    for _ in 0..TRIES {
        let began = Instant::now();
        let staged = stage(store.stage().await?, &path).await?;
        best_staged = best_staged.min(began.elapsed());
        if staged.digest().id != digest.id {
            bail!("cannot take the file in: it came out different");
        }
        drop(staged);
        let path = path.clone();
        let hashed = tokio::task::spawn_blocking(move || hash(&path)).await??;
        best_hashed = best_hashed.min(hashed);
    }
    let ingestion = Ingestion {
        size: digest.size,
        staged: best_staged,
        hashed: best_hashed,
        kept,
    };
    Ok((digest, ingestion))
}

/// Where the store at `root` keeps a blob.
pub(super) fn path(root: &Path, id: &BlobId) -> std::path::PathBuf {
    let name = id.to_string();
    let folder: String = name.chars().take(2).collect();
    root.join(folder).join(name)
}

async fn stage(mut staging: Box<dyn Staging>, path: &Path) -> anyhow::Result<Box<dyn Staged>> {
    let mut file = std::fs::File::open(path)?;
    loop {
        let mut piece = vec![0; PIECE];
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(staging.finish().await?);
        }
        piece.truncate(length);
        staging.write(Bytes::from(piece)).await?;
    }
}

fn hash(path: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut file = std::fs::File::open(path)?;
    let mut hasher = BlobIdHasher::default();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            length => hasher.update(piece.get(..length).unwrap_or_default()),
        }
    }
    std::hint::black_box(hasher.finish());
    Ok(began.elapsed())
}

/// What giving a file out cost.
#[derive(Debug)]
pub(super) struct Transfer {
    from: &'static str,
    at_once: usize,
    bytes: u64,
    wall: Duration,
    cpu: Duration,
    /// Resident memory before, and at its highest while files went out.
    memory: Option<(f64, f64)>,
}

impl Transfer {
    pub(super) fn json(&self) -> Value {
        let gib = mib(self.bytes) / 1024.0;
        json!({
            "from": self.from,
            "at-once": self.at_once,
            "mib-per-second": rounded(mib(self.bytes) / self.wall.as_secs_f64()),
            "cpu-ms-per-gib": rounded(self.cpu.as_secs_f64() * 1e3 / gib),
            "memory-before-mib": self.memory.map(|(before, _)| rounded(before)),
            "memory-highest-mib": self.memory.map(|(_, highest)| rounded(highest)),
        })
    }
}

pub(super) const TRANSFERS: &[Column] = &[
    Column::field("from", "from"),
    Column::field("downloads at once", "at-once"),
    Column::field("MiB/s", "mib-per-second"),
    Column::field("CPU ms per GiB", "cpu-ms-per-gib"),
    Column::field("RSS before MiB", "memory-before-mib"),
    Column::field("RSS highest MiB", "memory-highest-mib"),
];

/// Downloads the file: alone, and `parallel` at once, each of these a part of it.
pub(super) async fn give_out(
    cx: &Cx,
    instance: &Instance,
    blobs: &Path,
    file: &BlobDigest,
    snap: &SnapId,
    parallel: usize,
) -> anyhow::Result<Vec<Transfer>> {
    let mut transfers = Vec::new();
    let server = instance.serve()?;
    let url = server.url.strip_prefix("http://").unwrap_or_default();
    let place = Place {
        address: url.parse()?,
        path: format!("/download/{snap}_1.snap"),
        size: file.size,
    };
    for at_once in [1, parallel] {
        let cpu = || server.cpu();
        transfers.push(place.measure("hallmark", at_once, &cpu, Some(&server)).await?);
    }
    server.stop()?;
    for (name, sendfile) in [("nginx, sendfile off", false), ("nginx, sendfile on", true)] {
        let directory = blobs.join("nginx");
        let Some(nginx) = Nginx::start(&directory, blobs, sendfile).await? else {
            cx.out.note("nginx is not installed: its downloads are left out");
            break;
        };
        let full = path(blobs, &file.id);
        let place = Place {
            address: nginx.address,
            path: format!("/{}", full.strip_prefix(blobs)?.display()),
            size: file.size,
        };
        for at_once in [1, parallel] {
            transfers.push(place.measure(name, at_once, &|| nginx.cpu(), None).await?);
        }
        nginx.stop(&directory)?;
    }
    Ok(transfers)
}

/// A file on a server.
#[derive(Clone, Debug)]
struct Place {
    address: SocketAddr,
    path: String,
    size: u64,
}

impl Place {
    async fn measure(
        &self,
        from: &'static str,
        at_once: usize,
        cpu: &dyn Fn() -> anyhow::Result<Duration>,
        watched: Option<&Server>,
    ) -> anyhow::Result<Transfer> {
        let mut best: Option<Transfer> = None;
        for _ in 0..TRIES {
            let before = watched.map(Server::memory).transpose()?;
            let (cpu_before, began) = (cpu()?, Instant::now());
            let mut highest = before.map_or(0.0, |(now, _)| now);
            let mut downloads = self.start(at_once);
            let mut bytes = 0;
            loop {
                // Memory is looked at while files go out: the highest the system knows of is that of the start.
                match tokio::time::timeout(Duration::from_millis(50), downloads.join_next()).await {
                    Ok(Some(length)) => bytes += length??,
                    Ok(None) => break,
                    Err(_) => {
                        let now = watched.map(Server::memory).transpose()?;
                        highest = now.map_or(highest, |(now, _)| highest.max(now));
                    }
                }
            }
            let transfer = Transfer {
                from,
                at_once,
                bytes,
                wall: began.elapsed(),
                cpu: cpu()?.saturating_sub(cpu_before),
                memory: before.map(|(before, _)| (before, highest)),
            };
            if best.as_ref().is_none_or(|best| transfer.wall < best.wall) {
                best = Some(transfer);
            }
        }
        best.context("cannot measure no downloads")
    }

    fn start(&self, at_once: usize) -> JoinSet<anyhow::Result<u64>> {
        let mut downloads = JoinSet::new();
        let total = if at_once == 1 {
            self.size
        } else {
            self.size * ROUNDS
        };
        let part = total
            .checked_div(at_once as u64)
            .unwrap_or_default()
            .min(self.size);
        for number in 0..at_once as u64 {
            let room = self.size - part;
            let first = if room == 0 { 0 } else { (number * part) % room };
            downloads.spawn(self.clone().download(first, part));
        }
        downloads
    }

    /// Reads a part of the file and forgets it: how many bytes came.
    async fn download(self, first: u64, length: u64) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nRange: bytes={first}-{}\r\nConnection: close\r\n\r\n",
            self.path,
            first + length - 1
        );
        stream.write_all(request.as_bytes()).await?;
        let mut piece = vec![0; 256 << 10];
        let mut head = 0;
        while !piece.get(..head).unwrap_or_default().ends_with(b"\r\n\r\n") {
            let Some(place) = piece.get_mut(head..head + 1) else {
                bail!("cannot download the file: the answer has no end of its head");
            };
            if stream.read(place).await? == 0 {
                bail!("cannot download the file: the answer ended early");
            }
            head += 1;
        }
        if !piece.starts_with(b"HTTP/1.1 206") {
            let line: Vec<u8> = piece.into_iter().take_while(|byte| *byte != b'\r').collect();
            bail!("cannot download the file: {}", String::from_utf8_lossy(&line));
        }
        let mut bytes = 0;
        loop {
            match stream.read(&mut piece).await? {
                0 => break,
                more => bytes += more as u64,
            }
        }
        if bytes == length {
            Ok(bytes)
        } else {
            bail!("cannot download the file: {bytes} of {length} bytes came")
        }
    }
}
