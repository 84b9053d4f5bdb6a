//! `bench load`: devices that register and refresh at running servers for a while, with a record of everything that was
//! acknowledged; `bench held` looks for all of it afterwards. What a cluster does when parts of it die is tried with these.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA3_384, digest};
use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::now;
use crate::cli::line::{Device, DeviceKey, LineError, Station};
use crate::cli::{CliError, Column, Cx};
use crate::domain::assertion::{Assertion, decode_bytes};
use crate::domain::audit::hex;
use crate::domain::ident::{BrandId, DeviceId, ModelName};
use crate::outgoing::http_client;

/// How long a device waits before it tries again; snapd waits longer, which would show less.
const AGAIN: Duration = Duration::from_millis(200);
/// How many assertions are asked for at once when they are looked for.
const LOOKING: usize = 8;

/// Register devices and refresh at running servers, and record what they acknowledge
#[derive(Debug, Args)]
pub(in crate::cli) struct Load {
    /// Address of a server; several are used in turns
    #[arg(long, value_name = "URL", required = true)]
    server: Vec<String>,
    /// Brand and model of the devices
    #[arg(long, value_name = "BRAND/MODEL")]
    model: String,
    /// API key of the model
    #[arg(
        long,
        value_name = "KEY",
        env = "HALLMARK_BENCH_API_KEY",
        hide_env_values = true
    )]
    api_key: String,
    /// How long, in seconds; an interrupt (Ctrl-C) ends it earlier
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u64,
    /// Devices that register at once
    #[arg(long, value_name = "C", default_value_t = 8)]
    concurrency: usize,
    /// Devices that ask for updates at once, each with a session; needs --snap
    #[arg(long, value_name = "C", default_value_t = 0, requires = "snap")]
    refreshing: usize,
    /// Devices that open one session after the other
    #[arg(long, value_name = "C", default_value_t = 0)]
    opening: usize,
    /// The snap they have, released to stable
    #[arg(long, value_name = "NAME")]
    snap: Option<String>,
    /// Different device keys
    #[arg(long, value_name = "N", default_value_t = 4)]
    keys: usize,
    /// Beginning of the serial numbers
    #[arg(long, value_name = "TEXT", default_value = "load")]
    prefix: String,
    /// Every acknowledged serial, one JSON document a line; added to
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
}

/// Look for every serial that `load` recorded as acknowledged
#[derive(Debug, Args)]
pub(in crate::cli) struct Held {
    /// Address of the server
    #[arg(long, value_name = "URL")]
    server: String,
    /// What `load --acknowledged` wrote
    #[arg(value_name = "FILE")]
    acknowledged: PathBuf,
}

/// A serial that a device got.
#[derive(Debug, Serialize, Deserialize)]
struct Acknowledged {
    brand: String,
    model: String,
    serial: String,
    revision: u64,
    /// Of the assertion's bytes.
    sha3_384: String,
}

impl Acknowledged {
    fn of(serial: &Assertion) -> anyhow::Result<Self> {
        let part = |place: usize| serial.primary_key().0.get(place).cloned().unwrap_or_default();
        Ok(Self {
            brand: part(0),
            model: part(1),
            serial: part(2),
            revision: serial.revision(),
            sha3_384: hex(digest(&SHA3_384, serial.encoded()).as_ref()),
        })
    }
}

/// What one kind of request was like.
struct Lane {
    began: Instant,
    last: Instant,
    /// The longest time without an answer that was good.
    silence: Duration,
    times: Histogram<u64>,
    failed: BTreeMap<String, u64>,
}

impl Lane {
    fn new() -> anyhow::Result<Self> {
        let began = Instant::now();
        Ok(Self {
            began,
            last: began,
            silence: Duration::ZERO,
            times: Histogram::new(3)?,
            failed: BTreeMap::new(),
        })
    }

    fn good(&mut self, took: Duration) {
        self.pause();
        self.last = Instant::now();
        // Grows as it needs to; nothing takes longer than it can hold.
        let _recorded = self
            .times
            .record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn bad(&mut self, error: &LineError) {
        let kind = match error {
            LineError::Answer { status, .. } => status.as_u16().to_string(),
            LineError::Connect(error) if error.is_timeout() => "timeout".to_owned(),
            LineError::Connect(_) => "connection".to_owned(),
            LineError::Key(_) | LineError::Document(_) => "answer".to_owned(),
        };
        *self.failed.entry(kind).or_default() += 1;
    }

    fn pause(&mut self) {
        self.silence = self.silence.max(self.last.elapsed());
    }

    fn result(&mut self, what: &str) -> Value {
        self.pause();
        let took = self.began.elapsed().as_secs_f64();
        let ms = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
        let good = self.times.len();
        let rate = Duration::from_micros(good).as_secs_f64() * 1e6 / took;
        json!({
            "requests": what,
            "good": good,
            "per-second": rounded(rate),
            "p50-ms": rounded(ms(self.times.value_at_quantile(0.5))),
            "p99-ms": rounded(ms(self.times.value_at_quantile(0.99))),
            "longest-silence-ms": rounded(self.silence.as_secs_f64() * 1000.0),
            "failed": self.failed,
        })
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

const COLUMNS: &[Column] = &[
    Column::field("requests", "requests"),
    Column::field("good", "good"),
    Column::field("per second", "per-second"),
    Column::field("p50 ms", "p50-ms"),
    Column::field("p99 ms", "p99-ms"),
    Column::field("longest silence ms", "longest-silence-ms"),
];

/// What all senders share.
struct Shared {
    lane: Mutex<Lane>,
    record: Option<Mutex<File>>,
    until: Instant,
    stopped: Arc<AtomicBool>,
}

impl Shared {
    fn lane<T>(&self, note: impl FnOnce(&mut Lane) -> T) -> T {
        note(&mut self.lane.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn acknowledge(&self, serial: &Assertion) -> anyhow::Result<()> {
        let Some(record) = &self.record else { return Ok(()) };
        let mut line = serde_json::to_vec(&Acknowledged::of(serial)?)?;
        line.push(b'\n');
        let mut file = record.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line)
            .context("cannot write what was acknowledged")
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.until && !self.stopped.load(Ordering::Relaxed)
    }
}

impl Load {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let rows = self.measure(cx).await?;
        for row in &rows {
            if let Some(failed) = row
                .get("failed")
                .and_then(Value::as_object)
                .filter(|f| !f.is_empty())
            {
                cx.out.note(&format!(
                    "{}: answers that were not good: {}",
                    row.get("requests").and_then(Value::as_str).unwrap_or_default(),
                    Value::from(failed.clone())
                ));
            }
        }
        cx.out.list(&rows.into(), COLUMNS)
    }

    async fn measure(&self, cx: &Cx) -> anyhow::Result<Vec<Value>> {
        if self.keys == 0 {
            bail!("cannot register devices without keys: --keys starts at 1");
        }
        let (brand, model) = self
            .model
            .split_once('/')
            .context("cannot tell which model: say BRAND/MODEL")?;
        let (brand, model): (BrandId, ModelName) = (brand.parse()?, model.parse()?);
        let stations = self
            .server
            .iter()
            .map(|url| Station::new(url, &self.api_key))
            .collect::<Result<Vec<_>, _>>()?;
        cx.out.note(&format!("making {} device keys", self.keys));
        let keys = DeviceKey::generate_many(self.keys)?;
        let device = |number: usize, part: &str| -> anyhow::Result<Device> {
            let key = keys
                .get(number % keys.len())
                .context("there are no device keys")?;
            Ok(Device {
                id: DeviceId {
                    brand: brand.clone(),
                    model: model.clone(),
                    serial: format!("{}-{part}-{number:04}", self.prefix).parse()?,
                },
                key: Arc::clone(key),
            })
        };
        let station = |number: usize| {
            stations
                .get(number % stations.len())
                .context("there is no server")
        };

        let mut openers = Vec::new();
        if self.opening > 0 {
            let model: Arc<str> = self.model_assertion(&brand, &model).await?.into();
            for number in 0..self.opening {
                let (device, station) = (device(number, "opens")?, station(number)?.visitor()?);
                let serial = station.register(&device, now()).await?;
                openers.push((station, device, serial, Arc::clone(&model)));
            }
        }
        let mut askers = Vec::new();
        if let Some(snap) = &self.snap {
            let model = self.model_assertion(&brand, &model).await?;
            let snap_id = self.snap_id(snap).await?;
            for number in 0..self.refreshing {
                let (device, station) = (device(number, "asks")?, station(number)?.visitor()?);
                let serial = station.register(&device, now()).await?;
                let session = station.session(&device, &serial, &model, now()).await?;
                askers.push((station, session, snap_id.clone()));
            }
        }
        cx.out.note(&format!("for {} seconds", self.seconds));
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let stopped = Arc::<AtomicBool>::default();
        let shared = |record| -> anyhow::Result<_> {
            let lane = Mutex::new(Lane::new()?);
            let stopped = Arc::clone(&stopped);
            Ok(Arc::new(Shared {
                lane,
                record,
                until,
                stopped,
            }))
        };
        let record = self.acknowledged.as_ref().map(|path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write {}", path.display()))
        });
        let registrations = shared(record.transpose()?.map(Mutex::new))?;
        let (sessions, refreshes) = (shared(None)?, shared(None)?);
        let mut senders = tokio::task::JoinSet::new();
        for number in 0..self.concurrency {
            let first = device(number, "line")?;
            senders.spawn(register(
                station(number)?.clone(),
                first,
                Arc::clone(&registrations),
            ));
        }
        for (station, device, serial, model) in openers {
            senders.spawn(open(station, device, serial, model, Arc::clone(&sessions)));
        }
        for (station, session, snap_id) in askers {
            senders.spawn(refresh(station, session, snap_id, Arc::clone(&refreshes)));
        }
        loop {
            tokio::select! {
                ended = senders.join_next() => match ended {
                    Some(ended) => ended??,
                    None => break,
                },
                _ = tokio::signal::ctrl_c(), if !stopped.load(Ordering::Relaxed) => stopped.store(true, Ordering::Relaxed),
            }
        }
        let mut rows = vec![registrations.lane(|lane| lane.result("registration"))];
        if self.opening > 0 {
            rows.push(sessions.lane(|lane| lane.result("session")));
        }
        if self.refreshing > 0 {
            rows.push(refreshes.lane(|lane| lane.result("refresh")));
        }
        Ok(rows)
    }

    async fn model_assertion(&self, brand: &BrandId, model: &ModelName) -> anyhow::Result<String> {
        let path = format!("/v2/assertions/model/16/{brand}/{model}");
        let found = self.get(&path, "application/x.ubuntu.assertion").await?;
        found.with_context(|| {
            format!("there is no assertion of the model {brand}/{model}: sign one with `hallmark model sign`")
        })
    }

    async fn snap_id(&self, snap: &str) -> anyhow::Result<String> {
        let found = self
            .get(&format!("/v2/snaps/info/{snap}"), "application/json")
            .await?;
        let info: Value = serde_json::from_str(&found.unwrap_or_default()).unwrap_or_default();
        let id = info.get("snap-id").and_then(Value::as_str);
        Ok(id
            .with_context(|| format!("devices do not see a snap {snap}: release it to stable"))?
            .to_owned())
    }

    /// What the first server answers; none if it has not got it.
    async fn get(&self, path: &str, accept: &str) -> anyhow::Result<Option<String>> {
        let server = self.server.first().context("there is no server")?;
        let server = server.trim_end_matches('/');
        let answer = http_client(server)
            .build()?
            .get(format!("{server}{path}"))
            .header("accept", accept)
            .header("snap-device-series", "16")
            .send()
            .await?;
        Ok(if answer.status().is_success() {
            Some(answer.text().await?)
        } else {
            None
        })
    }
}

/// Registers one device after the other; one that was refused or heard nothing tries again.
async fn register(station: Station, first: Device, shared: Arc<Shared>) -> anyhow::Result<()> {
    for number in 0u64.. {
        let mut device = first.clone();
        device.id.serial = format!("{}-{number:06}", first.id.serial).parse()?;
        loop {
            if !shared.goes_on() {
                return Ok(());
            }
            let asked = Instant::now();
            match station.register(&device, now()).await {
                Ok(serial) => {
                    shared.acknowledge(&serial)?;
                    shared.lane(|lane| lane.good(asked.elapsed()));
                    break;
                }
                Err(error) => {
                    shared.lane(|lane| lane.bad(&error));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
    Ok(())
}

/// Opens a session again and again, each with a nonce of its own.
async fn open(
    station: Station,
    device: Device,
    serial: Assertion,
    model: Arc<str>,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    while shared.goes_on() {
        let asked = Instant::now();
        match station.session(&device, &serial, &model, now()).await {
            Ok(_session) => shared.lane(|lane| lane.good(asked.elapsed())),
            Err(error) => {
                shared.lane(|lane| lane.bad(&error));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    Ok(())
}

/// Asks again and again for updates of the one snap it has, in its first revision.
async fn refresh(
    station: Station,
    session: String,
    snap_id: String,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let context = json!([{
        "snap-id": snap_id,
        "instance-key": snap_id,
        "revision": 1,
        "tracking-channel": "latest/stable",
        "epoch": {"read": [0], "write": [0]},
        "refreshed-date": "2026-11-01T10:00:00Z",
    }]);
    let actions = json!([{"action": "refresh", "instance-key": snap_id, "snap-id": snap_id}]);
    while shared.goes_on() {
        let asked = Instant::now();
        match station.refresh(&session, context.clone(), actions.clone()).await {
            Ok(answer) => {
                if !answer.get("results").is_some_and(Value::is_array) {
                    bail!("cannot measure refreshes: the store answers {answer}");
                }
                shared.lane(|lane| lane.good(asked.elapsed()));
            }
            Err(error) => {
                shared.lane(|lane| lane.bad(&error));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    Ok(())
}

impl Held {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let (held, newer, lost) = self.look().await?;
        let row = json!({"held": held, "newer": newer, "lost": lost.len()});
        cx.out.list(
            &Value::from(vec![row]),
            &[
                Column::field("held", "held"),
                Column::field("newer", "newer"),
                Column::field("lost", "lost"),
            ],
        )?;
        for what in lost.iter().take(20) {
            cx.out.note(what);
        }
        if lost.is_empty() {
            Ok(())
        } else {
            Err(CliError::Failed(format!(
                "cannot find {} serials that were acknowledged",
                lost.len()
            )))
        }
    }

    /// How many are there as they were acknowledged, of how many there is a newer revision, and what is missing.
    async fn look(&self) -> anyhow::Result<(usize, usize, Vec<String>)> {
        let shown = self.acknowledged.display();
        let file = File::open(&self.acknowledged).with_context(|| format!("cannot read {shown}"))?;
        let mut newest: BTreeMap<[String; 3], Acknowledged> = BTreeMap::new();
        let (mut lost, mut seen) = (Vec::new(), BTreeMap::new());
        for line in BufReader::new(file).lines() {
            let one: Acknowledged =
                serde_json::from_str(&line?).with_context(|| format!("cannot read {shown}"))?;
            let device = [one.brand.clone(), one.model.clone(), one.serial.clone()];
            if let Some(other) = seen.insert((device.clone(), one.revision), one.sha3_384.clone())
                && other != one.sha3_384
            {
                lost.push(format!(
                    "revision {} of {} was given twice",
                    one.revision, one.serial
                ));
            }
            let known = newest.get(&device).map_or(0, |known| known.revision);
            if one.revision > known {
                newest.insert(device, one);
            }
        }
        let server = self.server.trim_end_matches('/');
        let client = http_client(server).build()?;
        let (mut held, mut newer) = (0, 0);
        let mut asking = futures_util::stream::StreamExt::buffer_unordered(
            futures_util::stream::iter(newest.into_values().map(|one| {
                let client = client.clone();
                async move {
                    let url = format!(
                        "{server}/v2/assertions/serial/{}/{}/{}",
                        one.brand, one.model, one.serial
                    );
                    let answer = client.get(url).header("accept", "application/x.ubuntu.assertion");
                    let answer = answer.send().await?;
                    let found = answer.status().is_success();
                    Ok::<_, anyhow::Error>((one, found, answer.bytes().await?))
                }
            })),
            LOOKING,
        );
        while let Some(answer) = futures_util::stream::StreamExt::next(&mut asking).await {
            let (one, found, bytes) = answer?;
            let there = found
                .then(|| decode_bytes(bytes.clone()).ok())
                .flatten()
                .map(|assertion| assertion.revision());
            match there {
                Some(revision) if revision > one.revision => newer += 1,
                Some(_) if hex(digest(&SHA3_384, &bytes).as_ref()) == one.sha3_384 => held += 1,
                Some(revision) => lost.push(format!(
                    "{}: acknowledged with revision {}, there is {revision} with other bytes",
                    one.serial, one.revision
                )),
                None => lost.push(format!(
                    "{} revision {}: it is not there",
                    one.serial, one.revision
                )),
            }
        }
        Ok((held, newer, lost))
    }
}
