//! `bench waves`: rollouts over a large fleet, status, and what the decision adds to a refresh, against a server process on the
//! embedded store.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use reqwest::Client;
use serde_json::{Value, json};

use super::requests::{Ask, Fleet, Kind};
use super::traffic::{Cost, send};
use super::{BRAND, MODEL, Store, catalogue, rounded};
use crate::adapters::sled::{Sled, SledOptions};
use crate::cli::bench::{in_directory, now};
use crate::cli::line::{Device, Instance, Server};
use crate::cli::{CliError, Column, Cx};
use crate::domain::catalog::{DeviceReport, ReportedSnap};
use crate::domain::fleet::FleetDevice;
use crate::domain::ident::{BrandId, DeviceId, StoreId, Tag};
use crate::domain::time::Timestamp;
use crate::outgoing::http_client;
use crate::ports::{Change, Commit, CommitOutcome, Storage as _};

/// Snaps of every device; all of them are pinned.
const SNAPS: usize = 12;
/// Groups the devices are spread over.
const GROUPS: usize = 10;
/// Different states of the devices: which of six snaps are behind.
const STATES: usize = 64;
/// Devices in one commit.
const CHUNK: usize = 1000;
/// Devices a limited rollout takes.
const LIMIT: usize = 10_000;
/// Calls of which the quantiles are.
const CALLS: usize = 20;
/// Turns between devices that waves decide for and others.
const TURNS: usize = 20;
const TAG: &str = "main";

/// Measures waves: over a hundredth of the devices, a tenth, and all of them
#[derive(Debug, Args)]
pub(in crate::cli) struct Waves {
    /// Production devices
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    devices: usize,
    /// Refreshes of each kind of device per measurement
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    requests: usize,
    /// Devices that refresh, with a session each; waves decide for half of them
    #[arg(long, value_name = "N", default_value_t = 40)]
    sessions: usize,
    /// Directory for the server's data; made new, removed at the end
    #[arg(long, value_name = "DIR", default_value = "./hallmark-bench")]
    dir: std::path::PathBuf,
}

/// What was measured on a fleet of one size.
#[derive(Debug)]
struct Row {
    devices: usize,
    start_up: Duration,
    idle: f64,
    init: Duration,
    limited: Duration,
    whole_group: Duration,
    half: Duration,
    exposed: u64,
    grown: f64,
    status: (Duration, Duration),
    decided: f64,
    undecided: f64,
}

impl Waves {
    pub(in crate::cli::bench) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if self.devices < 100 || self.sessions < 2 || self.requests == 0 {
            return Err(CliError::Usage(
                "cannot measure so little: at least 100 devices, 2 sessions and 1 request".to_owned(),
            ));
        }
        let rows = in_directory(cx, &self.dir, self.measure(cx)).await?;
        let rows: Value = rows.iter().map(Row::json).collect();
        cx.out.list(&rows, COLUMNS)
    }

    async fn measure(&self, cx: &Cx) -> anyhow::Result<Vec<Row>> {
        let instance = Instance::new(std::env::current_exe()?, &self.dir.canonicalize()?);
        let brand: BrandId = BRAND.parse()?;
        let database = instance.data().join("db");
        cx.out.note(&format!(
            "setting the store up, with {} sessions of devices",
            self.sessions
        ));
        instance.init(BRAND)?;
        let store = Store::of_devices(self.sessions, &self.dir);
        let (signer, fleet): (Device, Fleet) = store.fleet(&instance, &brand).await?;
        catalogue::load(&database, &brand, &signer, 0..SNAPS, now()).await?;
        let fleet = Fleet { few: SNAPS, ..fleet };
        self.stock(&instance).await?;
        let (mut rows, mut loaded) = (Vec::new(), 0);
        for devices in [
            self.devices.div_ceil(100),
            self.devices.div_ceil(10),
            self.devices,
        ] {
            cx.out.note(&format!("loading {devices} devices"));
            load(&database, &brand, loaded..devices).await?;
            loaded = devices;
            let server = instance.serve()?;
            let row = self.measure_one(cx, &instance, &server, &fleet, devices).await;
            server.stop()?;
            rows.push(row?);
        }
        Ok(rows)
    }

    /// Groups, places of the devices that will ask, and what is published to begin with.
    async fn stock(&self, instance: &Instance) -> anyhow::Result<()> {
        let server = instance.serve()?;
        instance.login(&server)?;
        let office = Office::open(instance, &server)?;
        for group in 0..GROUPS {
            office
                .post("groups", &json!({ "name": group_name(group) }))
                .await?;
        }
        for number in 0..self.sessions / 2 {
            let serial = format!("gate/asking-{number:05}").replace("gate", MODEL);
            instance.run(&["device", "production", &serial, "yes"])?;
            instance.run(&["device", "tag", &serial, TAG])?;
        }
        office.init("first").await?;
        office.post("waves/first/complete", &json!({})).await?;
        server.stop()
    }

    async fn measure_one(
        &self,
        cx: &Cx,
        instance: &Instance,
        server: &Server,
        fleet: &Fleet,
        devices: usize,
    ) -> anyhow::Result<Row> {
        instance.login(server)?;
        let office = Office::open(instance, server)?;
        let all = (devices + self.sessions / 2) as u64;
        let wave = format!("wave-{devices}");
        let (idle, _) = server.memory()?;
        cx.out.note("rolling a wave out");
        let ((), init) = timed(office.init(&wave)).await?;
        let path = |rest: &str| format!("waves/{wave}/{rest}");
        let limit = LIMIT.min(devices / 4) as u64;
        let (first, limited) = timed(office.post(&path("rollouts"), &json!({ "limit": limit }))).await?;
        ensure!(
            number(&first, "matching") == all,
            "{first} is not over all {all} devices"
        );
        ensure!(
            number(&first, "selected") == limit,
            "{first} did not take {limit} devices"
        );
        let group = json!({ "group": group_name(0) });
        let (whole, whole_group) = timed(office.post(&path("rollouts"), &group)).await?;
        let (before, _) = server.memory()?;
        let wanted = json!({ "limit": devices / 2 });
        let (second, half) = timed(office.post(&path("rollouts"), &wanted)).await?;
        let (after, _) = server.memory()?;
        let exposed = [&first, &whole, &second].map(|rollout| number(rollout, "selected"));
        let exposed: u64 = exposed.iter().sum();
        cx.out.note("asking how far it is");
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let (status, time) = timed(office.get(&path("status"))).await?;
            times.push(time);
            // Exact: who was shown it and has it not, who was not, and who had all of it before.
            ensure!(
                number(&status, "total-devices") == all,
                "{status} does not count {all} devices"
            );
            ensure!(
                number(&status, "scheduled-devices") == exposed,
                "{status} does not count {exposed} exposed devices"
            );
        }
        times.sort_unstable();
        let quantile = |part: usize| {
            times
                .get((times.len() - 1) * part / 100)
                .copied()
                .unwrap_or_default()
        };
        cx.out.note("refreshing");
        let (decided, undecided) = self.refresh(server, fleet, &office, &wave).await?;
        office.post(&path("cancel"), &json!({})).await?;
        Ok(Row {
            devices,
            start_up: server.start_up,
            idle,
            init,
            limited,
            whole_group,
            half,
            exposed: number(&second, "selected"),
            grown: after - before,
            status: (quantile(50), quantile(99)),
            decided,
            undecided,
        })
    }

    /// Microseconds of CPU of a refresh of devices that waves decide for, and of others.
    async fn refresh(
        &self,
        server: &Server,
        fleet: &Fleet,
        office: &Office,
        wave: &str,
    ) -> anyhow::Result<(f64, f64)> {
        let asking = (0..self.sessions / 2).map(|number| format!("{MODEL}/asking-{number:05}"));
        let wanted = json!({ "uuids": asking.collect::<Vec<_>>() });
        office.post(&format!("waves/{wave}/rollouts"), &wanted).await?;
        let asks = fleet.asks(Kind::RefreshFew, SNAPS)?;
        let (of_waves, others) = asks.split_at(self.sessions / 2);
        let sides: [Arc<Vec<Ask>>; 2] = [Arc::new(of_waves.to_vec()), Arc::new(others.to_vec())];
        let mut costs = [Cost::new()?, Cost::new()?];
        let mut warm = Cost::new()?;
        for asks in &sides {
            send(&server.url, asks, self.requests.div_ceil(TURNS), 4, &mut warm).await?;
        }
        for _ in 0..TURNS {
            for (asks, cost) in sides.iter().zip(&mut costs) {
                let before = server.cpu()?;
                send(&server.url, asks, self.requests.div_ceil(TURNS), 4, cost).await?;
                cost.add_cpu(server.cpu()?.saturating_sub(before));
            }
        }
        let [decided, undecided] = costs;
        Ok((decided.cpu_each(), undecided.cpu_each()))
    }
}

async fn timed<T>(call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Duration)> {
    let began = Instant::now();
    let value = call.await?;
    Ok((value, began.elapsed()))
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or_default()
}

fn group_name(number: usize) -> String {
    format!("group-{number}")
}

/// Calls of an administrator.
struct Office {
    client: Client,
    base: String,
    token: String,
}

impl Office {
    fn open(instance: &Instance, server: &Server) -> anyhow::Result<Self> {
        let login = instance.data().with_file_name("home").join("login.json");
        let login: Value = serde_json::from_slice(&std::fs::read(login).context("cannot read the log-in")?)?;
        let token = login
            .get("token")
            .and_then(Value::as_str)
            .context("cannot find the token")?;
        Ok(Self {
            client: http_client(&server.url).build()?,
            base: format!("{}/hallmark/v1/stores/{BRAND}", server.url),
            token: token.to_owned(),
        })
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.client.post(format!("{}/{path}", self.base));
        let request = request
            .header("content-type", "application/json")
            .body(body.to_string());
        self.answer(request).await
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.client.get(format!("{}/{path}", self.base)))
            .await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.bearer_auth(&self.token).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status.is_success(), "the server says {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// A wave of the newest revisions.
    async fn init(&self, name: &str) -> anyhow::Result<()> {
        let snap = |number: usize| {
            let name = catalogue::snap_name(number)?;
            anyhow::Ok(json!({ "name": name, "revision": catalogue::revision(true) }))
        };
        let snaps = (0..SNAPS).map(snap).collect::<anyhow::Result<Vec<_>>>()?;
        let body = json!({ "name": name, "tag": TAG, "snaps": snaps, "channel": "latest/stable" });
        self.post("waves", &body).await.map(drop)
    }
}

/// Adds production devices with these numbers to the database of a stopped server, and what they reported.
async fn load(database: &Path, brand: &BrandId, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
    let storage = Sled::open(&SledOptions::new(database))?;
    let (store, tag): (StoreId, Tag) = (BRAND.parse()?, TAG.parse()?);
    let now = now();
    for start in numbers.clone().step_by(CHUNK) {
        let mut commit = Commit::default();
        for number in start..numbers.end.min(start + CHUNK) {
            let device = DeviceId {
                brand: brand.clone(),
                model: MODEL.parse()?,
                serial: format!("fleet-{number:08}").parse()?,
            };
            commit
                .records
                .push(Change::create(&report(&device, number, now)?));
            commit.records.push(Change::create(&FleetDevice {
                device,
                store: store.clone(),
                production: true,
                tag: Some(tag.clone()),
                group: Some(group_name(number % GROUPS).parse()?),
                since: now,
            }));
        }
        match storage.commit(commit).await? {
            CommitOutcome::Done => {}
            other => bail!("cannot load the fleet: {other:?}"),
        }
    }
    storage.close().await?;
    rustix::fs::sync();
    Ok(())
}

/// Every device is behind with at least one snap, so that a wave has something to do for it.
fn report(device: &DeviceId, number: usize, now: Timestamp) -> anyhow::Result<DeviceReport> {
    let state = number % STATES;
    let snaps = (0..SNAPS).map(|snap| {
        let behind = snap == SNAPS - 1 || (snap < 6 && state >> snap & 1 == 1);
        anyhow::Ok(ReportedSnap {
            snap_id: catalogue::snap_id(snap)?.to_string(),
            instance: None,
            revision: catalogue::revision(!behind),
            channel: Some("latest/stable".to_owned()),
            held: false,
        })
    });
    Ok(DeviceReport {
        device: device.clone(),
        store: None,
        architecture: "amd64".parse()?,
        client: Some("snapd/2.66 (series 16; classic) debian/12 (amd64) linux/6.1.0".to_owned()),
        snaps: snaps.collect::<anyhow::Result<Vec<_>>>()?,
        seen: now.plus_seconds(-i64::try_from(number % 200_000)?),
        heard: None,
        reverted: Vec::new(),
        wave: None,
        counted: None,
    })
}

impl Row {
    fn json(&self) -> Value {
        let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3);
        let matching = self.devices as f64;
        json!({
            "devices": self.devices,
            "start-up-ms": ms(self.start_up),
            "memory-mib": rounded(self.idle),
            "init-ms": ms(self.init),
            "rollout-limit-ms": ms(self.limited),
            "rollout-limit-us-per-device": rounded(self.limited.as_secs_f64() * 1e6 / matching),
            "rollout-group-ms": ms(self.whole_group),
            "rollout-half-ms": ms(self.half),
            "bytes-per-exposed-device": rounded(self.grown * 1_048_576.0 / self.exposed as f64),
            "status-p50-ms": ms(self.status.0),
            "status-p99-ms": ms(self.status.1),
            "refresh-cpu-us": rounded(self.decided),
            "refresh-without-waves-cpu-us": rounded(self.undecided),
            "decision-percent": rounded((self.decided / self.undecided - 1.0) * 100.0),
        })
    }
}

const COLUMNS: &[Column] = &[
    Column::field("devices", "devices"),
    Column::field("start-up ms", "start-up-ms"),
    Column::field("RSS MiB", "memory-mib"),
    Column::field("init ms", "init-ms"),
    Column::field("rollout of 10,000 ms", "rollout-limit-ms"),
    Column::field("us a device", "rollout-limit-us-per-device"),
    Column::field("whole group ms", "rollout-group-ms"),
    Column::field("rollout of half ms", "rollout-half-ms"),
    Column::field("bytes an exposed device", "bytes-per-exposed-device"),
    Column::field("status p50 ms", "status-p50-ms"),
    Column::field("p99 ms", "status-p99-ms"),
    Column::field("refresh CPU us", "refresh-cpu-us"),
    Column::field("without waves", "refresh-without-waves-cpu-us"),
    Column::field("decision %", "decision-percent"),
];
