//! `quickstart`: the main job in one go. A new instance, an example model, a line of simulated devices that register over
//! real HTTP, an example snap they install and update, and a wave of its next version; then it keeps serving.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::init::{self, Made};
use super::line::{Device, DeviceKey, LineError, Station};
use super::open::SettingsArgs;
use super::quickstart_store::{self, Published};
use super::serve::Running;
use super::{CliError, Column, Cx, Format};
use crate::app::models::{self, ModelSettings, NewModel, ShownOnce};
use crate::app::{App, BrandCtx, sign_model};
use crate::config::{Config, Maybe};
use crate::domain::assertion::{Assertion, AssertionType, Ref};
use crate::domain::ident::{BrandId, DeviceId, ModelName, Tag};
use crate::telemetry;

/// The brand, and the model its example devices are of.
const BRAND: &str = "quickstart-brand";
const MODEL: &str = "quickstart-gateway";
/// The model's headers, as a person would write them; `BRAND`, `REVISION` and `NOW` are filled in.
const MODEL_HEADERS: &str = include_str!("../../examples/quickstart-model.yaml");
/// Device keys that are made; more devices share them, since making an RSA-4096 key takes a second.
const KEYS: usize = 4;
/// Devices that talk to the vault at once.
const AT_ONCE: usize = 4;

/// Try it: a new instance, an example model and a simulated factory line, then keep serving
#[derive(Debug, Args)]
pub(super) struct Quickstart {
    /// Directory of the instance; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "./hallmark-quickstart")]
    data: String,
    /// Address to listen on; port 0 picks a free one [env: HALLMARK_LISTEN] [default: 127.0.0.1:8380]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Simulated devices
    #[arg(long, value_name = "N", default_value_t = 20)]
    devices: usize,
    /// End after the summary instead of serving on
    #[arg(long)]
    exit: bool,
}

/// A step that was done.
struct Step {
    name: &'static str,
    count: usize,
    time: Duration,
    look: String,
}

/// The names of all steps, in order.
const STEPS: &[&str] = &[
    "instance",
    "server",
    "model",
    "device keys",
    "serials",
    "device sessions",
    "wrong API key",
    "publisher",
    "snap",
    "installs",
    "updates",
    "wave",
];

impl Quickstart {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if self.devices == 0 {
            return Err(CliError::Usage(
                "cannot simulate no devices: --devices starts at 1".to_owned(),
            ));
        }
        let settings = SettingsArgs {
            data: Some(self.data.clone()),
            ..SettingsArgs::default()
        };
        let mut config = settings.load([("listen", self.listen.clone())])?;
        // Its devices are on this machine; a certificate of the environment names another host.
        config.tls_cert_file.value = Maybe(None);
        config.tls_key_file.value = Maybe(None);
        telemetry::start(
            &"warn".parse().unwrap_or_else(|_| config.log.value.clone()),
            config.log_format.value,
        );
        let mut run = Run {
            cx,
            steps: Vec::new(),
            made: None,
            running: None,
        };
        let outcome = run.all(&self, &config).await;
        run.summary(outcome.as_ref().err())?;
        match (outcome, run.running) {
            (Err(_), running) => {
                if let Some(running) = running {
                    running.stop().await?;
                }
                Err(CliError::Reported)
            }
            (Ok(()), Some(running)) if self.exit => running.stop().await,
            (Ok(()), Some(running)) => {
                cx.out.note("serving on; end it with Ctrl-C");
                running.until_stopped().await
            }
            (Ok(()), None) => Ok(()),
        }
    }
}

/// The simulated devices.
struct Fleet<'a> {
    station: &'a Station,
    devices: &'a [Device],
    sessions: &'a [String],
}

struct Run<'c> {
    cx: &'c Cx,
    steps: Vec<Step>,
    made: Option<Made>,
    running: Option<Running>,
}

impl Run<'_> {
    async fn all(&mut self, arguments: &Quickstart, config: &Config) -> Result<(), CliError> {
        let brand: BrandId = BRAND
            .parse()
            .map_err(|e| CliError::failed("cannot name the brand", e))?;
        let model: ModelName = MODEL
            .parse()
            .map_err(|e| CliError::failed("cannot name the model", e))?;

        let began = Instant::now();
        self.made = init::unless_there(self.cx, config, &brand).await?;
        let keys = if self.made.is_some() { 4 } else { 0 };
        self.done(
            "instance",
            keys,
            began,
            format!("keys and data in {}", config.data().display()),
        );

        let began = Instant::now();
        let running = self.running.insert(Running::start(config).await?);
        let base = running.address();
        let app = running.app.clone();
        self.done("server", 1, began, format!("{base}/healthz"));

        let began = Instant::now();
        let ctx = BrandCtx::local(brand.clone());
        let api_key = example_model(&app, &ctx, &model).await?;
        let reference = Ref::new(AssertionType::Model, ["16", brand.as_str(), model.as_str()]);
        let signed = sign_example(&app, &ctx, &reference).await?;
        self.done(
            "model",
            1,
            began,
            format!("{base}/v2/assertions/model/16/{brand}/{model}"),
        );

        let began = Instant::now();
        let count = arguments.devices.min(KEYS);
        let keys = tokio::task::spawn_blocking(move || DeviceKey::generate_many(count))
            .await
            .map_err(|error| CliError::failed("cannot make device keys", error))??;
        self.done(
            "device keys",
            count,
            began,
            "RSA-4096, made on the (simulated) devices".to_owned(),
        );

        let station = Station::new(&base, api_key.key.as_str())?;
        let devices = devices(&brand, &model, &keys, arguments.devices)?;
        let began = Instant::now();
        let serials = self
            .each("registering devices", devices.iter(), |device| {
                station.register(device, now())
            })
            .await?;
        let first = serials
            .first()
            .map(|serial| format!("hallmark serial show {model} {}", name(serial)));
        self.done("serials", serials.len(), began, first.unwrap_or_default());

        let began = Instant::now();
        let text = String::from_utf8_lossy(signed.encoded()).into_owned();
        let calls = devices.iter().zip(&serials);
        let sessions = self
            .each("opening sessions", calls, |(device, serial)| {
                station.session(device, serial, &text, now())
            })
            .await?;
        self.done(
            "device sessions",
            sessions.len(),
            began,
            "POST /api/v1/snaps/auth/sessions".to_owned(),
        );

        let began = Instant::now();
        refused(&base).await?;
        self.done(
            "wrong API key",
            1,
            began,
            "refused with 400 invalid-api-key".to_owned(),
        );
        let fleet = Fleet {
            station: &station,
            devices: &devices,
            sessions: &sessions,
        };
        self.store(&app, &ctx, &base, &fleet).await
    }

    /// Publishes the example snap, lets every device install it, updates them all, and rolls a wave out to a part of them.
    async fn store(
        &mut self,
        app: &App,
        ctx: &BrandCtx,
        base: &str,
        fleet: &Fleet<'_>,
    ) -> Result<(), CliError> {
        let (station, sessions) = (fleet.station, fleet.sessions);
        let began = Instant::now();
        let publisher = quickstart_store::publisher(app, ctx, base).await?;
        self.done("publisher", 1, began, "hallmark account list".to_owned());

        let began = Instant::now();
        let published = quickstart_store::publish(app, publisher).await?;
        self.done("snap", 2, began, "hallmark snap show quickstart-agent".to_owned());

        // Devices of an earlier run follow what was published to them then.
        quickstart_store::place(app, ctx, fleet.devices, None).await?;
        let began = Instant::now();
        let installed = self
            .each("installing", sessions.iter(), |session| {
                quickstart_store::install(station, session, &published)
            })
            .await?;
        self.done(
            "installs",
            installed.len(),
            began,
            "POST /v2/snaps/refresh, GET /download/...".to_owned(),
        );

        let began = Instant::now();
        quickstart_store::update(&published).await?;
        let updated = self
            .each("updating", sessions.iter(), |session| {
                quickstart_store::refresh(station, session, &published)
            })
            .await?;
        self.done("updates", updated.len(), began, "hallmark device list".to_owned());
        self.wave(app, ctx, fleet, &published).await
    }

    /// Makes production devices of all of them, rolls a wave out to a quarter, looks who is told of it, and completes it.
    async fn wave(
        &mut self,
        app: &App,
        ctx: &BrandCtx,
        fleet: &Fleet<'_>,
        published: &Published,
    ) -> Result<(), CliError> {
        let began = Instant::now();
        let tag: Tag = format!("run-{}", now().unix())
            .parse()
            .map_err(|error| CliError::failed("cannot name the tag", error))?;
        quickstart_store::place(app, ctx, fleet.devices, Some(&tag)).await?;
        let (wave, selected) = quickstart_store::roll_out(app, ctx, published, &tag).await?;
        let told = async |message| {
            let told = self
                .each(message, fleet.sessions.iter(), |session| {
                    quickstart_store::follow(fleet.station, session, published)
                })
                .await?;
            Ok::<usize, CliError>(told.into_iter().filter(|told| *told).count())
        };
        let part = told("rolling a wave out").await?;
        if u64::try_from(part).ok() != Some(selected) {
            return Err(CliError::Failed(format!(
                "cannot roll the wave out: {part} devices are told of it, not {selected}"
            )));
        }
        quickstart_store::complete(app, ctx, &wave).await?;
        let all = told("completing the wave").await?;
        if all != fleet.sessions.len() {
            return Err(CliError::Failed(format!(
                "cannot complete the wave: {all} of {} devices are told of it",
                fleet.sessions.len()
            )));
        }
        self.done("wave", all, began, format!("hallmark wave status {wave}"));
        Ok(())
    }

    fn done(&mut self, name: &'static str, count: usize, began: Instant, look: String) {
        self.steps.push(Step {
            name,
            count,
            time: began.elapsed(),
            look,
        });
    }

    /// Does `call` for every item, a few at a time and in order, with a progress bar on a terminal.
    async fn each<I, T, F>(
        &self,
        message: &'static str,
        items: impl ExactSizeIterator<Item = I>,
        call: impl Fn(I) -> F,
    ) -> Result<Vec<T>, CliError>
    where
        F: Future<Output = Result<T, LineError>>,
    {
        use futures_util::{StreamExt as _, TryStreamExt as _};
        let length = u64::try_from(items.len()).unwrap_or(u64::MAX);
        let bar =
            ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_message(message);
        if let Ok(style) = ProgressStyle::with_template("{msg:20} {bar:30} {pos}/{len} {elapsed}") {
            bar.set_style(style);
        }
        let results = futures_util::stream::iter(items.map(call))
            .buffered(AT_ONCE)
            .inspect_ok(|_| bar.inc(1))
            .try_collect()
            .await;
        bar.finish_and_clear();
        Ok(results?)
    }

    /// The table of steps, how to go on, and the last line scripts look for.
    fn summary(&self, error: Option<&CliError>) -> Result<(), CliError> {
        let mut rows: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                let seconds = (step.time.as_secs_f64() * 1000.0).round() / 1000.0;
                json!({"step": step.name, "result": "ok", "count": step.count, "seconds": seconds, "look-at": step.look})
            })
            .collect();
        for (place, name) in STEPS.iter().enumerate().skip(self.steps.len()) {
            let failed = place == self.steps.len();
            let why = error
                .filter(|_| failed)
                .and_then(CliError::message)
                .unwrap_or_default();
            let result = if failed { "failed" } else { "not run" };
            rows.push(json!({"step": name, "result": result, "look-at": why}));
        }
        self.cx.out.list(&rows.into(), COLUMNS)?;
        if let Some(running) = &self.running {
            self.cx.out.note(&format!("web address: {}", running.address()));
            match &self.made {
                Some(made) => self.cx.out.note(&format!(
                    "log in:      hallmark login --server {} --email {}   (one-time password: {})",
                    running.address(),
                    made.email,
                    made.password.as_str()
                )),
                None => self.cx.out.note("log in:      with the password printed at the first start, or a new one: hallmark passwd"),
            }
        }
        let line = format!("quickstart: {} of {} steps ok", self.steps.len(), STEPS.len());
        match self.cx.out.format() {
            Format::Table => self.cx.out.data_now(format!("{line}\n").as_bytes()),
            Format::Json => {
                self.cx.out.note(&line);
                Ok(())
            }
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::field("step", "step"),
    Column::field("result", "result"),
    Column::field("count", "count"),
    Column::field("seconds", "seconds"),
    Column::field("look at", "look-at"),
];

fn now() -> crate::domain::time::Timestamp {
    use crate::ports::Clock as _;
    crate::adapters::system::SystemClock.now()
}

fn name(serial: &Assertion) -> String {
    serial.text("serial").unwrap_or_default().to_owned()
}

fn devices(
    brand: &BrandId,
    model: &ModelName,
    keys: &[Arc<DeviceKey>],
    count: usize,
) -> Result<Vec<Device>, CliError> {
    keys.iter()
        .cycle()
        .take(count)
        .enumerate()
        .map(|(number, key)| {
            let serial = format!("QS{:05}", number + 1)
                .parse()
                .map_err(|e| CliError::failed("cannot name a device", e))?;
            let id = DeviceId {
                brand: brand.clone(),
                model: model.clone(),
                serial,
            };
            Ok(Device {
                id,
                key: Arc::clone(key),
            })
        })
        .collect()
}

/// The example model with an API key of this run: made at the first start, else given a further key.
async fn example_model(
    app: &crate::app::App,
    ctx: &BrandCtx,
    name: &ModelName,
) -> Result<ShownOnce, CliError> {
    let known = models::list(app, ctx)
        .await?
        .into_iter()
        .find(|model| model.name == *name);
    let Some(model) = known else {
        let new = NewModel {
            name: name.clone(),
            api_key: None,
            key: None,
            settings: ModelSettings::default(),
        };
        return Ok(models::create(app, ctx, new).await?.1);
    };
    // Keys of earlier runs were shown to nobody else: the new one replaces them.
    let (_, shown) = models::add_api_key(app, ctx, name, None, None, None).await?;
    for old in model.api_keys {
        models::revoke_api_key(app, ctx, name, &old.id).await?;
    }
    Ok(shown)
}

/// The model assertion: signed at the first start, then the stored one.
async fn sign_example(app: &crate::app::App, ctx: &BrandCtx, reference: &Ref) -> Result<Assertion, CliError> {
    if let Some(stored) = app.storage.assertion(reference, 0).await? {
        return crate::domain::assertion::decode(&stored.encoded)
            .map_err(|error| CliError::failed("cannot read the stored model", error));
    }
    let headers = MODEL_HEADERS
        .replace("BRAND", ctx.brand().as_str())
        .replace("NOW", &now().to_string());
    Ok(sign_model::sign_model(app, ctx, &headers, None).await?)
}

/// A device with a wrong API key must be refused, and told why.
async fn refused(base: &str) -> Result<(), CliError> {
    match Station::new(base, "not-the-key-of-any-model")?.request_id().await {
        Err(LineError::Answer { status, body, .. }) if status == 400 && body.contains("invalid-api-key") => {
            Ok(())
        }
        Err(other) => Err(CliError::failed("cannot see a wrong API key refused", other)),
        Ok(_) => Err(CliError::Failed(
            "cannot see a wrong API key refused: it was accepted".to_owned(),
        )),
    }
}

impl From<LineError> for CliError {
    fn from(error: LineError) -> Self {
        Self::Failed(error.to_string())
    }
}
