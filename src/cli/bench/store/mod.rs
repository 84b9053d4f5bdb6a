//! `bench store`: what answering devices costs a server process on the embedded store, beside what HTTP alone costs;
//! files going out, beside nginx; files coming in, beside hashing alone.

mod catalogue;
mod files;
mod nginx;
pub(super) mod publish;
mod requests;
mod traffic;
pub(super) mod waves;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::{in_directory, now, preload};
use crate::cli::line::{Device, DeviceKey, Instance, Server, Station};
use crate::cli::output::Format;
use crate::cli::{CliError, Column, Cx};
use crate::domain::ident::{BrandId, DeviceId};
use files::{Ingestion, Transfer};
use requests::{Fleet, Kind};
use traffic::Measured;

/// Measures the store: a small catalogue with few devices, the whole catalogue, then all devices
#[derive(Debug, Args)]
pub(in crate::cli) struct Store {
    /// Snaps of the catalogue, for 4 architectures and in 8 channels each; the first measurement has a hundredth
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    snaps: usize,
    /// Registered devices; the first two measurements have a hundredth
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    devices: usize,
    /// Requests of each kind per measurement; an eighth of it for searches
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    requests: usize,
    /// Requests at a time
    #[arg(long, value_name = "C", default_value_t = 16)]
    concurrency: usize,
    /// Snaps on each device
    #[arg(long, value_name = "N", default_value_t = 12)]
    installed: usize,
    /// Devices that ask, with a session each
    #[arg(long, value_name = "N", default_value_t = 200)]
    sessions: usize,
    /// Size of the file that goes in and out; 0 leaves that out
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    file: u64,
    /// Downloads at a time
    #[arg(long, value_name = "N", default_value_t = 200)]
    downloads: usize,
    /// Directory for the server's data; made new, removed at the end
    #[arg(long, value_name = "DIR", default_value = "./hallmark-bench")]
    dir: PathBuf,
}

const BRAND: &str = "bench-brand";
const MODEL: &str = "bench-model";
/// Different device keys.
const KEYS: usize = 4;

/// Everything that was measured.
struct Results {
    rows: Vec<Row>,
    ingestion: Option<Ingestion>,
    transfers: Vec<Transfer>,
}

/// One kind of request on one catalogue.
struct Row {
    snaps: usize,
    devices: usize,
    kind: Kind,
    measured: Measured,
    start_up: Duration,
    memory: (f64, f64),
}

impl Store {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let smallest = [
            self.snaps,
            self.devices,
            self.requests,
            self.installed,
            self.sessions,
        ];
        if smallest.contains(&0) || self.snaps < self.installed {
            return Err(CliError::Usage(
                "cannot measure nothing: all numbers start at 1, and there are at least as many snaps as a device has"
                    .to_owned(),
            ));
        }
        let results = in_directory(cx, &self.dir, self.measure(cx)).await?;
        results.print(cx)
    }

    /// A small store for so many devices that ask.
    fn of_devices(sessions: usize, dir: &std::path::Path) -> Self {
        Self {
            snaps: 1200,
            devices: sessions,
            requests: 1,
            concurrency: 1,
            installed: 12,
            sessions,
            file: 0,
            downloads: 0,
            dir: dir.to_owned(),
        }
    }

    /// Snaps of the small catalogue.
    fn few(&self) -> usize {
        self.snaps.div_ceil(100).max(self.installed)
    }

    async fn measure(&self, cx: &Cx) -> anyhow::Result<Results> {
        let instance = Instance::new(std::env::current_exe()?, &self.dir.canonicalize()?);
        let brand: BrandId = BRAND.parse()?;
        let database = instance.data().join("db");
        cx.out.note(&format!(
            "setting the store up, with {} sessions of devices",
            self.sessions
        ));
        instance.init(BRAND)?;
        let (signer, fleet) = self.fleet(&instance, &brand).await?;
        let few = |count: usize| count.div_ceil(100);
        let stages = [
            (self.few(), few(self.devices)),
            (self.snaps, few(self.devices)),
            (self.snaps, self.devices),
        ];
        let (mut snaps, mut devices) = (0, 0);
        let mut rows = Vec::new();
        for (more_snaps, more_devices) in stages {
            cx.out
                .note(&format!("loading {more_snaps} snaps and {more_devices} devices"));
            if more_snaps > snaps {
                catalogue::load(&database, &brand, &signer, snaps..more_snaps, now()).await?;
            }
            if more_devices > devices {
                preload::load(&database, BRAND, devices..more_devices).await?;
            }
            (snaps, devices) = (more_snaps, more_devices);
            let server = instance.serve()?;
            for kind in Kind::ALL {
                cx.out.note(&format!("asking for {}", kind.name()));
                let size = (kind.share(self.requests), self.concurrency);
                let measured = traffic::measure(&instance, &server, &fleet, kind, snaps, size).await?;
                rows.push(Row {
                    snaps,
                    devices,
                    kind,
                    measured,
                    start_up: server.start_up,
                    memory: server.memory()?,
                });
            }
            server.stop()?;
        }
        let (mut ingestion, mut transfers) = (None, Vec::new());
        if self.file > 0 {
            cx.out.note("taking a file in");
            let blobs = instance.data().join("blobs");
            let (file, measured) = files::take_in(&blobs, self.file << 20).await?;
            ingestion = Some(measured);
            let id = catalogue::load_file(&database, &brand, &file, now()).await?;
            cx.out.note("giving it out");
            transfers = files::give_out(cx, &instance, &blobs, &file, &id, self.downloads).await?;
        }
        Ok(Results {
            rows,
            ingestion,
            transfers,
        })
    }

    /// Registers the devices that will ask, and opens their sessions.
    async fn fleet(&self, instance: &Instance, brand: &BrandId) -> anyhow::Result<(Device, Fleet)> {
        let keys = DeviceKey::generate_many(KEYS)?;
        let server: Server = instance.serve()?;
        let station = Station::new(&server.url, &instance.create_model(&server, MODEL)?)?;
        let file = self.dir.join("model.json");
        let headers = json!({
            "type": "model", "authority-id": BRAND, "brand-id": BRAND, "series": "16", "model": MODEL,
            "display-name": "Measured", "classic": "true", "architecture": "amd64", "timestamp": now().to_string(),
        });
        std::fs::write(&file, headers.to_string()).context("cannot write the model")?;
        let model = instance.run(&["model", "sign", &file.display().to_string()])?;
        let mut devices = Vec::new();
        for (number, key) in (0..self.sessions).zip(keys.iter().cycle()) {
            let id = DeviceId {
                brand: brand.clone(),
                model: MODEL.parse()?,
                serial: format!("asking-{number:05}").parse()?,
            };
            devices.push(Device {
                id,
                key: std::sync::Arc::clone(key),
            });
        }
        let mut sessions = Vec::new();
        for device in &devices {
            let serial = station.register(device, now()).await?;
            sessions.push(station.session(device, &serial, &model, now()).await?);
        }
        server.stop()?;
        let signer = devices.into_iter().next().context("cannot measure no devices")?;
        let fleet = Fleet {
            sessions,
            installed: self.installed,
            few: self.few(),
        };
        Ok((signer, fleet))
    }
}

impl Results {
    fn print(&self, cx: &Cx) -> Result<(), CliError> {
        let requests: Value = self.rows.iter().map(Row::json).collect();
        let ingestion: Value = self.ingestion.iter().map(Ingestion::json).collect();
        let downloads: Value = self.transfers.iter().map(Transfer::json).collect();
        if cx.out.format() == Format::Json {
            return cx
                .out
                .json(&json!({"requests": requests, "ingestion": ingestion, "downloads": downloads}));
        }
        cx.out.list(&requests, COLUMNS)?;
        if self.ingestion.is_some() {
            cx.out.list(&ingestion, files::INGESTION)?;
            cx.out.list(&downloads, files::TRANSFERS)?;
        }
        Ok(())
    }
}

impl Row {
    fn json(&self) -> Value {
        let Measured {
            store,
            ceiling,
            answer,
        } = &self.measured;
        json!({
            "snaps": self.snaps,
            "devices": self.devices,
            "request": self.kind.name(),
            "requests-per-second": rounded(store.rate()),
            "p50-ms": rounded(store.quantile(0.5)),
            "p99-ms": rounded(store.quantile(0.99)),
            "cpu-us": rounded(store.cpu_each()),
            "answer-bytes": answer,
            "ceiling-requests-per-second": rounded(ceiling.rate()),
            "ceiling-cpu-us": rounded(ceiling.cpu_each()),
            "rate-ratio": rounded(store.rate() / ceiling.rate()),
            "start-up-ms": rounded(self.start_up.as_secs_f64() * 1e3),
            "memory-mib": rounded(self.memory.0),
            "memory-peak-mib": rounded(self.memory.1),
        })
    }
}

/// With two decimals.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

const COLUMNS: &[Column] = &[
    Column::field("snaps", "snaps"),
    Column::field("devices", "devices"),
    Column::field("request", "request"),
    Column::field("requests/s", "requests-per-second"),
    Column::field("p50 ms", "p50-ms"),
    Column::field("p99 ms", "p99-ms"),
    Column::field("CPU us", "cpu-us"),
    Column::field("answer bytes", "answer-bytes"),
    Column::field("ceiling/s", "ceiling-requests-per-second"),
    Column::field("its CPU us", "ceiling-cpu-us"),
    Column::field("ratio", "rate-ratio"),
    Column::field("start-up ms", "start-up-ms"),
    Column::field("RSS MiB", "memory-mib"),
    Column::field("peak MiB", "memory-peak-mib"),
];
