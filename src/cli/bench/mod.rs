//! `hallmark bench`: measures a real server process over real HTTP, in ratios to a limit measured in the same run.

mod ceiling;
mod load;
mod measure;
mod preload;
mod store;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::line::{Device, DeviceKey, Instance, Server, Station};
use super::{CliError, Column, Cx};
use crate::domain::ident::{BrandId, DeviceId, ModelName};
use crate::domain::time::Timestamp;
use measure::Run;

/// What to measure
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Register devices against a server process on the embedded store, with every write on disk
    Vault(Vault),
    /// Ask a server process for refreshes, information, searches, assertions and files
    Store(store::Store),
    /// Upload many snaps at once, and look at what else the server does meanwhile
    Publish(store::publish::Publish),
    /// Roll waves out over a large fleet, and look at what the decision adds to a refresh
    Waves(store::waves::Waves),
    /// Register devices and refresh at running servers, and record what they acknowledge
    Load(load::Load),
    /// Look for every serial that `load` recorded as acknowledged
    Held(load::Held),
    /// Keep processors busy: what `publish` compares with
    #[command(hide = true)]
    Burn(store::publish::Burn),
    /// Answer everything with the same number of bytes: the limit that `store` compares with
    #[command(hide = true)]
    Ceiling(ceiling::Ceiling),
}

impl Verb {
    /// Runs the benchmark.
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Vault(vault) => vault.run(cx).await,
            Self::Store(store) => store.run(cx).await,
            Self::Publish(publish) => publish.run(cx).await,
            Self::Waves(waves) => waves.run(cx).await,
            Self::Load(load) => load.run(cx).await,
            Self::Held(held) => held.run(cx).await,
            Self::Burn(burn) => burn.run(cx),
            Self::Ceiling(ceiling) => ceiling.run(cx).await,
        }
    }
}

/// Measures the vault: an empty ledger first, then one with earlier serials
#[derive(Debug, Args)]
pub(super) struct Vault {
    /// Devices per measurement
    #[arg(long, value_name = "N", default_value_t = 1000)]
    devices: usize,
    /// Devices that talk to the vault at once
    #[arg(long, value_name = "C", default_value_t = 16)]
    concurrency: usize,
    /// Earlier serials of the second measurement; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 0)]
    preload: usize,
    /// Different device keys (RSA-4096, made before anything is measured)
    #[arg(long, value_name = "N", default_value_t = 8)]
    keys: usize,
    /// Directory for the server's data; made new, removed at the end
    #[arg(long, value_name = "DIR", default_value = "./hallmark-bench")]
    dir: PathBuf,
}

const BRAND: &str = "bench-brand";
const MODEL: &str = "bench-model";

/// One row of the result.
struct Row {
    earlier: usize,
    start_up: Duration,
    idle_memory: f64,
    run: Run,
}

impl Vault {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if self.devices == 0 || self.keys == 0 {
            return Err(CliError::Usage(
                "cannot measure nothing: --devices and --keys start at 1".to_owned(),
            ));
        }
        let result = in_directory(cx, &self.dir, self.measure(cx)).await?;
        self.print(cx, &result)
    }

    async fn measure(&self, cx: &Cx) -> anyhow::Result<Vec<Row>> {
        let instance = Instance::new(std::env::current_exe()?, &self.dir.canonicalize()?);
        cx.out.note(&format!("making {} device keys", self.keys));
        let keys = DeviceKey::generate_many(self.keys)?;
        cx.out.note("setting the vault up");
        instance.init(BRAND)?;
        let server = instance.serve()?;
        let api_key = instance.create_model(&server, MODEL)?;
        server.stop()?;
        let line = Line { keys, api_key };
        let mut rows = vec![line.measure(cx, &instance, self, 0).await?];
        if self.preload > 0 {
            cx.out.note(&format!("writing {} earlier serials", self.preload));
            preload::load(&instance.data().join("db"), BRAND, 0..self.preload).await?;
            rows.push(line.measure(cx, &instance, self, self.preload).await?);
        }
        Ok(rows)
    }

    fn print(&self, cx: &Cx, rows: &[Row]) -> Result<(), CliError> {
        let ms = |time: Duration| (time.as_secs_f64() * 1_000_000.0).round() / 1000.0;
        let hundredth = |number: f64| (number * 100.0).round() / 100.0;
        let results: Vec<_> = rows
            .iter()
            .map(
                |Row {
                     earlier,
                     start_up,
                     idle_memory,
                     run,
                 }| {
                    let cpu = run.cpu_each();
                    json!({
                        "earlier-serials": earlier,
                        "devices": run.devices,
                        "concurrency": self.concurrency,
                        "start-up-ms": ms(*start_up),
                        "registrations-per-second": hundredth(run.rate()),
                        "request-id-p50-ms": ms(run.request_id.p50),
                        "request-id-p99-ms": ms(run.request_id.p99),
                        "serial-p50-ms": ms(run.serial.p50),
                        "serial-p99-ms": ms(run.serial.p99),
                        "cpu-per-registration-ms": ms(cpu),
                        "bare-signature-cpu-ms": ms(run.bare),
                        "cpu-ratio": hundredth(cpu.as_secs_f64() / run.bare.as_secs_f64()),
                        "memory-idle-mib": hundredth(*idle_memory),
                        "memory-mib": hundredth(run.memory.0),
                        "memory-peak-mib": hundredth(run.memory.1),
                    })
                },
            )
            .collect();
        cx.out.list(&results.into(), COLUMNS)
    }
}

const COLUMNS: &[Column] = &[
    Column::field("earlier serials", "earlier-serials"),
    Column::field("start-up ms", "start-up-ms"),
    Column::field("registrations/s", "registrations-per-second"),
    Column::field("request-id p50 ms", "request-id-p50-ms"),
    Column::field("p99 ms", "request-id-p99-ms"),
    Column::field("serial p50 ms", "serial-p50-ms"),
    Column::field("p99 ms", "serial-p99-ms"),
    Column::field("CPU ms each", "cpu-per-registration-ms"),
    Column::field("bare signature ms", "bare-signature-cpu-ms"),
    Column::field("ratio", "cpu-ratio"),
    Column::field("RSS idle MiB", "memory-idle-mib"),
    Column::field("RSS MiB", "memory-mib"),
    Column::field("peak MiB", "memory-peak-mib"),
];

/// The devices of a run.
struct Line {
    keys: Vec<std::sync::Arc<DeviceKey>>,
    api_key: String,
}

impl Line {
    async fn measure(
        &self,
        cx: &Cx,
        instance: &Instance,
        vault: &Vault,
        earlier: usize,
    ) -> anyhow::Result<Row> {
        let server: Server = instance.serve()?;
        let (idle_memory, _) = server.memory()?;
        let station = Station::new(&server.url, &self.api_key)?;
        let brand: BrandId = BRAND.parse()?;
        let model: ModelName = MODEL.parse()?;
        let device = |number: usize, run: &str| -> anyhow::Result<Device> {
            let id = DeviceId {
                brand: brand.clone(),
                model: model.clone(),
                serial: format!("{run}-{earlier}-{number:08}").parse()?,
            };
            let key = self.keys.iter().cycle().nth(number % self.keys.len());
            let key = key.map(std::sync::Arc::clone);
            Ok(Device {
                id,
                key: key.ok_or_else(|| anyhow::anyhow!("cannot measure without device keys"))?,
            })
        };
        // The first registrations load code and caches: they are not what is measured.
        for number in 0..32 {
            station.register(&device(number, "warm")?, now()).await?;
        }
        cx.out.note(&format!(
            "registering {} devices, {} at a time",
            vault.devices, vault.concurrency
        ));
        let devices = (0..vault.devices)
            .map(|number| device(number, "line"))
            .collect::<Result<Vec<_>, _>>()?;
        let run = measure::run(&server, &station, &devices, vault.concurrency, now()).await?;
        let start_up = server.start_up;
        server.stop()?;
        Ok(Row {
            earlier,
            start_up,
            idle_memory,
            run,
        })
    }
}

/// Runs a measurement in a directory that is made for it and removed at its end.
async fn in_directory<T>(
    cx: &Cx,
    dir: &Path,
    measurement: impl Future<Output = anyhow::Result<T>>,
) -> Result<T, CliError> {
    let shown = dir.display();
    if dir.exists() {
        return Err(CliError::Failed(format!(
            "cannot use {shown}: it exists; remove it or name another with --dir"
        )));
    }
    std::fs::create_dir_all(dir).map_err(|error| CliError::failed(format!("cannot make {shown}"), error))?;
    let result = measurement.await;
    if let Err(error) = std::fs::remove_dir_all(dir) {
        cx.out.note(&format!("cannot remove {shown}: {error}"));
    }
    Ok(result?)
}

fn now() -> Timestamp {
    use crate::ports::Clock as _;
    crate::adapters::system::SystemClock.now()
}
