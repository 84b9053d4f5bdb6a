//! Sends requests to the store and, in turns with it, to a server that answers the same number of bytes and does
//! nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use reqwest::Client;
use tokio::task::JoinSet;

use super::requests::{Ask, Fleet, Kind};
use crate::cli::line::{Instance, Server};
use crate::outgoing::http_client;

/// Turns between the two servers: a machine's speed is not the same from second to second.
const TURNS: usize = 10;

/// What answering some requests cost.
#[derive(Debug)]
pub(super) struct Cost {
    /// Requests answered.
    count: usize,
    /// Wall time.
    wall: Duration,
    /// CPU time of the server process, with what it did in the background.
    cpu: Duration,
    times: Histogram<u64>,
}

impl Cost {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            count: 0,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            times: Histogram::new(3)?,
        })
    }

    /// The server used so much more of its processors.
    pub(super) fn add_cpu(&mut self, cpu: Duration) {
        self.cpu += cpu;
    }

    /// Requests per second.
    pub(super) fn rate(&self) -> f64 {
        number(self.count) / self.wall.as_secs_f64()
    }

    /// Microseconds of the server's CPU per request.
    pub(super) fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / number(self.count)
    }

    /// Milliseconds in which this part of the requests was answered.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        Duration::from_micros(self.times.value_at_quantile(part)).as_secs_f64() * 1e3
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What one kind of request cost.
#[derive(Debug)]
pub(super) struct Measured {
    /// The store.
    pub(super) store: Cost,
    /// The server that does nothing.
    pub(super) ceiling: Cost,
    /// Mean length of an answer.
    pub(super) answer: usize,
}

/// Measures one kind of request.
pub(super) async fn measure(
    instance: &Instance,
    server: &Server,
    fleet: &Fleet,
    kind: Kind,
    snaps: usize,
    (requests, concurrency): (usize, usize),
) -> anyhow::Result<Measured> {
    let asks = Arc::new(fleet.asks(kind, snaps)?);
    let answer = look(&server.url, fleet, kind, &asks).await?;
    let ceiling = instance.start(&["bench", "ceiling", "--bytes", &answer.to_string()])?;
    // Code and caches are loaded with the first requests: they are not what is measured.
    for url in [&server.url, &ceiling.url] {
        let mut warm = Cost::new()?;
        send(url, &asks, requests.div_ceil(TURNS), concurrency, &mut warm).await?;
    }
    let (mut store, mut nothing) = (Cost::new()?, Cost::new()?);
    let before = (server.cpu()?, ceiling.cpu()?);
    for _ in 0..TURNS {
        let turn = requests.div_ceil(TURNS);
        send(&server.url, &asks, turn, concurrency, &mut store).await?;
        send(&ceiling.url, &asks, turn, concurrency, &mut nothing).await?;
    }
    store.cpu = server.cpu()?.saturating_sub(before.0);
    nothing.cpu = ceiling.cpu()?.saturating_sub(before.1);
    ceiling.stop()?;
    Ok(Measured {
        store,
        ceiling: nothing,
        answer,
    })
}

/// Makes every request once and looks at the answers: their mean length.
async fn look(url: &str, fleet: &Fleet, kind: Kind, asks: &[Ask]) -> anyhow::Result<usize> {
    let client = http_client(url).build()?;
    let mut length = 0;
    for ask in asks {
        let answer = call(&client, url, ask).await?;
        fleet
            .check(kind, &answer)
            .with_context(|| format!("cannot use the answer to {} {}", ask.method, ask.path))?;
        length += answer.len();
    }
    length
        .checked_div(asks.len())
        .context("cannot measure no devices")
}

/// Sends `count` requests, `concurrency` at a time, each sender over a connection of its own.
pub(super) async fn send(
    url: &str,
    asks: &Arc<Vec<Ask>>,
    count: usize,
    concurrency: usize,
    cost: &mut Cost,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    let started = Instant::now();
    for _ in 0..concurrency.max(1) {
        let (next, asks, url) = (Arc::clone(&next), Arc::clone(asks), url.to_owned());
        let client = http_client(&url).pool_max_idle_per_host(1).build()?;
        senders.spawn(async move {
            let mut times = Histogram::<u64>::new(3)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(times);
                }
                let place = number.checked_rem(asks.len()).unwrap_or_default();
                let ask = asks.get(place).context("cannot measure no devices")?;
                let asked = Instant::now();
                call(&client, &url, ask).await?;
                times.record(u64::try_from(asked.elapsed().as_micros())?)?;
            }
        });
    }
    while let Some(times) = senders.join_next().await {
        cost.times.add(times??)?;
    }
    cost.wall += started.elapsed();
    cost.count += count;
    Ok(())
}

pub(super) async fn call(client: &Client, url: &str, ask: &Ask) -> anyhow::Result<Bytes> {
    let answer = client
        .request(ask.method.clone(), format!("{url}{}", ask.path))
        .headers(ask.headers.clone())
        .body(ask.body.clone())
        .send()
        .await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    if !status.is_success() {
        let body: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        bail!("cannot {} {}: status {status}: {body}", ask.method, ask.path);
    }
    Ok(body)
}
