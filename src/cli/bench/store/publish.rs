//! `bench publish`: many uploads at once, as snapcraft makes them, against a server process on the embedded store: how fast
//! beside hashing alone, in how much memory, and what devices that refresh meanwhile notice of it, beside what they notice
//! of the same machine being busy with something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::requests::{Ask, Kind};
use super::traffic::call;
use super::{BRAND, Store, catalogue, rounded};
use crate::adapters::squashfs::{Content, Entry, build};
use crate::cli::bench::{in_directory, now};
use crate::cli::line::{Instance, LineError, Publisher, Server};
use crate::cli::{CliError, Column, Cx};
use crate::domain::blob::BlobIdHasher;
use crate::domain::ident::BrandId;
use crate::outgoing::http_client;

/// Senders of refreshes beside the uploads.
const REFRESHING: usize = 4;
/// Between two looks at the memory of the server.
const LOOK: Duration = Duration::from_millis(50);

/// Measures publishing: many uploads at once, and refreshes beside them
#[derive(Debug, Args)]
pub(in crate::cli) struct Publish {
    /// Uploads, all at once
    #[arg(long, value_name = "N", default_value_t = 50)]
    uploads: usize,
    /// Size of each file
    #[arg(long, value_name = "MIB", default_value_t = 50)]
    size: usize,
    /// Devices that refresh beside them, with a session each
    #[arg(long, value_name = "N", default_value_t = 20)]
    sessions: usize,
    /// Directory for the server's data; made new, removed at the end
    #[arg(long, value_name = "DIR", default_value = "./hallmark-bench")]
    dir: std::path::PathBuf,
}

/// Keeps processors busy until a signal ends it
#[derive(Debug, Args)]
pub(in crate::cli) struct Burn {
    /// How many
    #[arg(long, value_name = "N")]
    threads: usize,
}

impl Burn {
    pub(in crate::cli::bench) fn run(&self, cx: &Cx) -> Result<(), CliError> {
        for _ in 0..self.threads {
            // As an upload does: hashing, with memory read as it goes.
            std::thread::spawn(|| {
                let piece = vec![7; 1 << 20];
                let mut hasher = BlobIdHasher::default();
                loop {
                    hasher.update(&piece);
                }
            });
        }
        cx.out.data_now(b"listening on nothing\n")?;
        loop {
            std::thread::park();
        }
    }
}

/// What refreshing was like for a while.
#[derive(Debug)]
struct Refreshed {
    times: Histogram<u64>,
}

impl Refreshed {
    fn p99(&self) -> f64 {
        Duration::from_micros(self.times.value_at_quantile(0.99)).as_secs_f64() * 1e3
    }
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    bytes: usize,
    arrived: Duration,
    published: Duration,
    hashed: Duration,
    memory: (f64, f64),
    alone: Refreshed,
    beside: Refreshed,
    burning: Refreshed,
}

impl Publish {
    pub(in crate::cli::bench) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if self.uploads == 0 || self.size == 0 || self.sessions == 0 {
            return Err(CliError::Usage(
                "cannot measure nothing: all numbers start at 1".to_owned(),
            ));
        }
        let measured = in_directory(cx, &self.dir, self.measure(cx)).await?;
        self.print(cx, &measured)
    }

    async fn measure(&self, cx: &Cx) -> anyhow::Result<Measured> {
        let instance = Instance::new(std::env::current_exe()?, &self.dir.canonicalize()?);
        let brand: BrandId = BRAND.parse()?;
        cx.out.note(&format!(
            "setting the store up, with {} sessions of devices",
            self.sessions
        ));
        instance.init(BRAND)?;
        let store = Store::of_devices(self.sessions, &self.dir);
        let (signer, fleet) = store.fleet(&instance, &brand).await?;
        let database = instance.data().join("db");
        catalogue::load(&database, &brand, &signer, 0..store.few(), now()).await?;
        let server = instance.serve()?;
        instance.login(&server)?;
        let token = instance.run(&["token", "create", "--for", "ci", "--format", "json"])?;
        let token: Value = serde_json::from_str(&token).context("cannot read the token")?;
        let token = token
            .get("token")
            .and_then(Value::as_str)
            .context("there is no token")?;
        let publisher = Publisher::new(&server.url, token)?;
        let file = snap(self.size << 20)?;
        publisher.register(SNAP).await?;
        let asks = Arc::new(fleet.asks(Kind::RefreshFew, store.few())?);
        // Code and caches are loaded with the first of everything: that is not what is measured.
        refreshing(&server.url, &asks, tokio::time::sleep(Duration::from_secs(2))).await?;
        publish(&publisher, &file, self.uploads).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;

        cx.out.note("refreshing alone");
        let pause = tokio::time::sleep(Duration::from_secs(10));
        let (alone, ()) = refreshing(&server.url, &asks, pause).await?;
        let idle = server.memory()?.0;
        cx.out
            .note(&format!("uploading {} files, and refreshing", self.uploads));
        let began = Instant::now();
        let uploads = watched(&server, self.all(&publisher, &file));
        let (beside, (arrived, most)) = refreshing(&server.url, &asks, uploads).await?;
        let (arrived, published) = (arrived?, began.elapsed());
        cx.out.note("refreshing beside a burner");
        let threads = std::thread::available_parallelism()?.to_string();
        let burner = instance.start(&["bench", "burn", "--threads", &threads])?;
        let (burning, ()) = refreshing(&server.url, &asks, tokio::time::sleep(published)).await?;
        burner.kill();
        let bytes = file.len() * self.uploads;
        let (head, rounds) = (file.clone(), self.uploads);
        let hashed = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            for _ in 0..rounds {
                let mut hasher = BlobIdHasher::default();
                hasher.update(&head);
                std::hint::black_box(hasher.finish());
            }
            began.elapsed()
        });
        let hashed = hashed.await?;
        server.stop()?;
        Ok(Measured {
            bytes,
            arrived,
            published,
            hashed,
            memory: (idle, most),
            alone,
            beside,
            burning,
        })
    }

    /// Publishes all files at once; how long it took until the last of them had arrived.
    async fn all(&self, publisher: &Publisher, file: &Bytes) -> anyhow::Result<Duration> {
        let mut tasks = JoinSet::new();
        for number in 0..self.uploads {
            let (publisher, file) = (publisher.clone(), file.clone());
            tasks.spawn(async move { publish(&publisher, &file, number).await });
        }
        let mut last = Duration::ZERO;
        while let Some(arrived) = tasks.join_next().await {
            last = last.max(arrived??);
        }
        Ok(last)
    }

    fn print(&self, cx: &Cx, measured: &Measured) -> Result<(), CliError> {
        let mib = |bytes: usize| f64::from(u32::try_from(bytes >> 20).unwrap_or(u32::MAX));
        let speed = |time: Duration| mib(measured.bytes) / time.as_secs_f64();
        let result = json!([{
            "uploads": self.uploads,
            "size-mib": self.size,
            "arrived-mib-per-second": rounded(speed(measured.arrived)),
            "published-mib-per-second": rounded(speed(measured.published)),
            "hashing-alone-mib-per-second": rounded(speed(measured.hashed)),
            "ratio": rounded(speed(measured.arrived) / speed(measured.hashed)),
            "memory-idle-mib": rounded(measured.memory.0),
            "memory-most-mib": rounded(measured.memory.1),
            "refresh-p99-ms": rounded(measured.alone.p99()),
            "refresh-beside-p99-ms": rounded(measured.beside.p99()),
            "refresh-beside-burner-p99-ms": rounded(measured.burning.p99()),
            "refresh-ratio": rounded(measured.beside.p99() / measured.burning.p99()),
        }]);
        cx.out.list(&result, COLUMNS)
    }
}

const COLUMNS: &[Column] = &[
    Column::field("uploads", "uploads"),
    Column::field("MiB each", "size-mib"),
    Column::field("arrived MiB/s", "arrived-mib-per-second"),
    Column::field("published MiB/s", "published-mib-per-second"),
    Column::field("SHA3-384 alone MiB/s", "hashing-alone-mib-per-second"),
    Column::field("ratio", "ratio"),
    Column::field("RSS idle MiB", "memory-idle-mib"),
    Column::field("most MiB", "memory-most-mib"),
    Column::field("refresh p99 ms", "refresh-p99-ms"),
    Column::field("beside uploads ms", "refresh-beside-p99-ms"),
    Column::field("beside a burner ms", "refresh-beside-burner-p99-ms"),
    Column::field("ratio", "refresh-ratio"),
];

/// A snap of about this size that does not compress.
fn snap(size: usize) -> anyhow::Result<Bytes> {
    let words = (0..size / 8).map(|word| {
        let word = (word as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    });
    let filling: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    let yaml = "name: bench-published\nversion: '1'\nsummary: Is measured\ndescription: It is measured\n";
    let file = |path: &str, bytes: Vec<u8>| Entry {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::File(bytes),
    };
    let image = build([
        file("meta/snap.yaml", yaml.as_bytes().to_vec()),
        file("filling", filling),
    ])?;
    Ok(image.into())
}

/// The snap that is uploaded.
const SNAP: &str = "bench-published";

/// Uploads a file, pushes it, and waits until it is a revision; how long it took until the file had arrived. Behind the
/// image a file may go on; so each is another one.
async fn publish(publisher: &Publisher, file: &Bytes, number: usize) -> Result<Duration, LineError> {
    let began = Instant::now();
    let upload = publisher.upload(file, &format!("{number:016}")).await?;
    let arrived = began.elapsed();
    publisher.push(SNAP, &upload).await?;
    Ok(arrived)
}

/// Asks for refreshes until `work` is done; what that was like, and what became of the work.
async fn refreshing<T>(
    url: &str,
    asks: &Arc<Vec<Ask>>,
    work: impl Future<Output = T>,
) -> anyhow::Result<(Refreshed, T)> {
    let over = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for first in 0..REFRESHING {
        let (over, asks, url) = (Arc::clone(&over), Arc::clone(asks), url.to_owned());
        let client = http_client(&url).pool_max_idle_per_host(1).build()?;
        senders.spawn(async move {
            let mut times = Histogram::<u64>::new(3)?;
            for ask in asks.iter().cycle().skip(first) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let asked = Instant::now();
                call(&client, &url, ask).await?;
                times.record(u64::try_from(asked.elapsed().as_micros())?)?;
                // Devices do not ask as fast as they can; so the processors are the uploads'.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            anyhow::Ok(times)
        });
    }
    let done = work.await;
    over.store(true, Ordering::Relaxed);
    let mut times = Histogram::<u64>::new(3)?;
    while let Some(one) = senders.join_next().await {
        times.add(one??)?;
    }
    Ok((Refreshed { times }, done))
}

/// What becomes of `work`, and the most memory the server had meanwhile, in MiB.
async fn watched<T>(server: &Server, work: impl Future<Output = T>) -> (T, f64) {
    let mut work = std::pin::pin!(work);
    let mut most = 0.0_f64;
    loop {
        if let Ok((now, _)) = server.memory() {
            most = most.max(now);
        }
        if let Ok(done) = tokio::time::timeout(LOOK, &mut work).await {
            return (done, most);
        }
    }
}
