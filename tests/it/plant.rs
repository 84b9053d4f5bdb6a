//! A server process on a directory that gets into trouble, and the devices that talk to it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use hallmark::adapters::sled::{Sled, SledOptions};
use hallmark::adapters::system::SystemClock;
use hallmark::cli::line::{Device, DeviceKey, Instance, LineError, Station};
use hallmark::domain::ident::DeviceId;
use hallmark::ports::{Clock as _, SerialLedger as _, Storage as _};
use rustix::process::{Pid, Signal, kill_process};

const BRAND: &str = "plant-brand";
const MODEL: &str = "plant-model";

/// A set-up instance with a model, and what it has acknowledged so far.
pub(crate) struct Plant {
    instance: Instance,
    below: PathBuf,
    /// Where servers log: never on the disk under test.
    logs: tempfile::TempDir,
    api_key: String,
    key: Arc<DeviceKey>,
    acknowledged: Vec<(String, Bytes)>,
}

/// A running server; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    url: String,
    station: Station,
    log: PathBuf,
}

impl Plant {
    /// Sets one up in `below`; no server runs.
    pub(crate) fn new(below: &Path) -> Self {
        let instance = Instance::new(env!("CARGO_BIN_EXE_hallmark"), below);
        instance.init(BRAND).unwrap();
        let server = instance.serve().unwrap();
        let api_key = instance.create_model(&server, MODEL).unwrap();
        server.stop().unwrap();
        Self {
            instance,
            below: below.to_owned(),
            logs: tempfile::tempdir().unwrap(),
            api_key,
            key: DeviceKey::generate_many(1).unwrap().remove(0),
            acknowledged: Vec::new(),
        }
    }

    /// A file of the database.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.instance.data().join("db").join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hallmark"));
        command
            .args(arguments)
            .env("HALLMARK_HOME", self.below.join("home"))
            .env("HALLMARK_DATA", self.below.join("data"))
            .env("HALLMARK_LOG", "warn")
            .env_remove("HALLMARK_DATABASE_URL")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn serve(&self) -> Running {
        let log = self.logs.path().join("log");
        let mut child = self
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let logged = || std::fs::read_to_string(&log).unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("it does not listen: {}", logged()))
            .to_owned();
        let station = Station::new(&url, &self.api_key).unwrap();
        Running {
            child,
            url,
            station,
            log,
        }
    }

    /// Logs in again, as addresses change.
    pub(crate) fn log_in(&self) -> Running {
        let running = self.serve();
        let server = running.url.as_str();
        let password = self.below.join("home/password");
        let arguments = [
            "login",
            "--server",
            server,
            "--email",
            "admin@line.example",
            "--password-file",
        ];
        let login = self.command(&arguments).arg(password).output().unwrap();
        assert!(login.status.success(), "{login:?}");
        running
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A command that may run beside others.
    pub(crate) fn detached(&self, arguments: &[&str]) -> Command {
        self.command(arguments)
    }

    /// `serve` must refuse: exit status 1 and one message, which it returns.
    pub(crate) fn refuses_to_serve(&self) -> String {
        let output = self.run(&["serve", "--listen", "127.0.0.1:0"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        let message = text
            .lines()
            .find(|line| line.starts_with("error: "))
            .unwrap_or_default();
        assert!(message.starts_with("error: cannot "), "{text}");
        message.to_owned()
    }

    /// Registers a device and notes what was acknowledged.
    pub(crate) async fn register(&mut self, running: &Running, serial: &str) -> Result<(), LineError> {
        let device = Device {
            id: DeviceId {
                brand: BRAND.parse().unwrap(),
                model: MODEL.parse().unwrap(),
                serial: serial.parse().unwrap(),
            },
            key: Arc::clone(&self.key),
        };
        let assertion = running.station.register(&device, SystemClock.now()).await?;
        self.acknowledged
            .push((serial.to_owned(), assertion.encoded().clone()));
        Ok(())
    }

    /// The last serial that was acknowledged.
    pub(crate) fn last_acknowledged(&self) -> Bytes {
        self.acknowledged.last().unwrap().1.clone()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Looks into the database of a stopped server: every acknowledged serial is there, byte for byte.
    pub(crate) async fn nothing_is_lost(&self) {
        let storage = Sled::open(&SledOptions::new(self.file(""))).unwrap();
        for (serial, bytes) in &self.acknowledged {
            let device = DeviceId {
                brand: BRAND.parse().unwrap(),
                model: MODEL.parse().unwrap(),
                serial: serial.parse().unwrap(),
            };
            let rows = storage.history(&device).await.unwrap();
            assert!(rows.iter().any(|row| row.assertion == *bytes), "{serial} is lost");
        }
        assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
        storage.close().await.unwrap();
    }
}

impl Running {
    /// Status and body of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// What all servers of the plant have logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Ends it in order; says whether its exit status was 0.
    pub(crate) fn stop(mut self) -> bool {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
