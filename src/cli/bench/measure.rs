//! The measurements: what a registration costs the server, and what a bare signature costs here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::digest::{Digest, SHA512};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;

use crate::cli::line::{Device, Server, Station};
use crate::domain::time::Timestamp;

/// What one run of the line cost.
#[derive(Debug)]
pub(super) struct Run {
    /// Devices registered.
    pub(super) devices: usize,
    /// Wall time of all calls; what clients do between them is left out.
    pub(super) wall: Duration,
    /// CPU time of the server process.
    pub(super) cpu: Duration,
    /// CPU time of one bare RSA-4096 signature, with every core signing: the limit no vault can beat here.
    pub(super) bare: Duration,
    /// Answer times of `/v1/request-id`.
    pub(super) request_id: Times,
    /// Answer times of `/v1/serial`.
    pub(super) serial: Times,
    /// Resident memory at the end and at its highest, MiB.
    pub(super) memory: (f64, f64),
}

/// Answer times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Median.
    pub(super) p50: Duration,
    /// 99 of 100 are faster.
    pub(super) p99: Duration,
}

impl Run {
    /// CPU time of the server per registration.
    pub(super) fn cpu_each(&self) -> Duration {
        self.cpu
            .checked_div(u32::try_from(self.devices).unwrap_or(u32::MAX))
            .unwrap_or_default()
    }

    /// Registrations per second.
    pub(super) fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.devices).unwrap_or(u32::MAX)) / self.wall.as_secs_f64()
    }
}

/// Devices that hold a connection at once: they keep theirs from the first call to the second.
const CHUNK: usize = 250;

/// Bare signatures per core after each chunk.
const BARE_ROUNDS: u32 = 50;

/// Registers `devices`, `concurrency` at a time, each over a connection of its own. Signing the requests is the
/// clients' work and happens between the two measured calls. Bare signatures are made in between, since a machine's
/// speed is not the same from second to second.
pub(super) async fn run(
    server: &Server,
    station: &Station,
    devices: &[Device],
    concurrency: usize,
    now: Timestamp,
) -> anyhow::Result<Run> {
    let pair = KeyPair::generate(KeySize::Rsa4096)
        .map_err(|_| anyhow::anyhow!("cannot make a key for the comparison"))?;
    let pair = Arc::new(pair);
    let mut request_ids = Calls::new()?;
    let mut serials = Calls::new()?;
    let mut bare = Vec::new();
    let cpu = server.cpu()?;
    for chunk in devices.chunks(CHUNK) {
        let visitors = chunk
            .iter()
            .map(|_| station.visitor())
            .collect::<Result<Vec<_>, _>>()?;
        let calls = visitors.iter().map(Station::request_id);
        let ids = request_ids
            .time(calls, concurrency)
            .await
            .context("cannot get request-ids")?;
        let mut requests = Vec::with_capacity(chunk.len());
        for (device, id) in chunk.iter().zip(&ids) {
            requests.push(device.serial_request(id, now)?);
        }
        let calls = visitors
            .iter()
            .zip(requests)
            .map(|(visitor, request)| visitor.submit(request));
        serials
            .time(calls, concurrency)
            .await
            .context("cannot get serials")?;
        bare.push(bare_signature(&pair)?);
    }
    let chunks = u32::try_from(bare.len())?;
    let bare: Duration = bare.iter().sum();
    Ok(Run {
        devices: devices.len(),
        bare: bare.checked_div(chunks).context("cannot measure no devices")?,
        wall: request_ids.wall + serials.wall,
        cpu: server.cpu()?.saturating_sub(cpu),
        request_id: request_ids.quantiles(),
        serial: serials.quantiles(),
        memory: server.memory()?,
    })
}

/// Calls of one kind.
struct Calls {
    times: Histogram<u64>,
    wall: Duration,
}

impl Calls {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            times: Histogram::new(3)?,
            wall: Duration::ZERO,
        })
    }

    /// Runs all calls, `concurrency` at a time, and gives their results.
    async fn time<T, F>(
        &mut self,
        calls: impl Iterator<Item = F>,
        concurrency: usize,
    ) -> anyhow::Result<Vec<T>>
    where
        F: Future<Output = Result<T, crate::cli::line::LineError>>,
    {
        let mut results = Vec::new();
        let started = Instant::now();
        let mut answers = futures_util::stream::iter(calls.map(|call| async {
            let asked = Instant::now();
            call.await.map(|result| (result, asked.elapsed()))
        }))
        .buffered(concurrency.max(1));
        while let Some(answer) = answers.next().await {
            let (result, time) = answer?;
            self.times.record(u64::try_from(time.as_micros())?)?;
            results.push(result);
        }
        self.wall += started.elapsed();
        Ok(results)
    }

    fn quantiles(&self) -> Times {
        let quantile = |q| Duration::from_micros(self.times.value_at_quantile(q));
        Times {
            p50: quantile(0.5),
            p99: quantile(0.99),
        }
    }
}

/// CPU time of one bare signature, with every core signing.
fn bare_signature(pair: &Arc<KeyPair>) -> anyhow::Result<Duration> {
    let failed = |_| anyhow::anyhow!("cannot sign for the comparison");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers: Vec<_> = (0..cores)
        .map(|_| {
            let pair = Arc::clone(pair);
            std::thread::spawn(move || -> anyhow::Result<Duration> {
                let digest = Digest::import_less_safe(&[7; 64], &SHA512).map_err(failed)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                let started = thread_cpu()?;
                for _ in 0..BARE_ROUNDS {
                    pair.sign_digest(&RSA_PKCS1_SHA512, &digest, &mut signature)
                        .map_err(failed)?;
                }
                Ok(thread_cpu()?.saturating_sub(started))
            })
        })
        .collect();
    let mut total = Duration::ZERO;
    for worker in workers {
        total += worker
            .join()
            .map_err(|_| anyhow::anyhow!("cannot sign for the comparison"))??;
    }
    let signatures = BARE_ROUNDS.saturating_mul(u32::try_from(cores)?);
    total
        .checked_div(signatures)
        .context("cannot compare with no signatures")
}

/// CPU time of the calling thread, in nanoseconds by the kernel's scheduler.
fn thread_cpu() -> anyhow::Result<Duration> {
    let stat =
        std::fs::read_to_string("/proc/thread-self/schedstat").context("cannot read CPU time of a thread")?;
    let nanos = stat
        .split_whitespace()
        .next()
        .and_then(|field| field.parse().ok());
    Ok(Duration::from_nanos(
        nanos.context("cannot read CPU time of a thread")?,
    ))
}
