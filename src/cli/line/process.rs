//! A hallmark server as a process of its own, and what the system says about it.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Ticks per second in `/proc/*/stat`: fixed by the Linux user interface.
const TICKS: f64 = 100.0;
/// The administrator of a throw-away instance.
const EMAIL: &str = "admin@line.example";
const PASSWORD: &str = "a throw-away password of the line";

/// A hallmark of its own: binary, data directory and login file. Nothing of the caller's environment shines through.
#[derive(Debug)]
pub struct Instance {
    binary: PathBuf,
    data: PathBuf,
    home: PathBuf,
    settings: Vec<(String, String)>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `http://ADDR`
    pub url: String,
    /// From the start of the process to its `listening on` line.
    pub start_up: Duration,
}

impl Instance {
    /// A hallmark below directory `below`, run from `binary`. Nothing is made yet: `run(&["init", …])` is next.
    pub fn new(binary: impl Into<PathBuf>, below: &Path) -> Self {
        Self {
            binary: binary.into(),
            data: below.join("data"),
            home: below.join("home"),
            settings: Vec::new(),
        }
    }

    /// Sets an environment variable for everything it runs.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Runs a hallmark command to its end: what it printed.
    ///
    /// # Errors
    /// If it cannot be started or does not end with status 0; its messages are in the error.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let Output {
            status,
            stdout,
            stderr,
        } = self
            .command(arguments)
            .output()
            .with_context(|| format!("cannot run hallmark {}", arguments.join(" ")))?;
        if !status.success() {
            bail!(
                "cannot run hallmark {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// A hallmark command that is yet to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("HALLMARK_HOME", &self.home)
            .env("HALLMARK_DATA", &self.data)
            .stdin(Stdio::null());
        for name in [
            "HALLMARK_SERVER",
            "HALLMARK_TOKEN",
            "HALLMARK_DATABASE_URL",
            "HALLMARK_BRAND",
        ] {
            command.env_remove(name);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Initialises it for `brand`, with an administrator this struct can log in as.
    ///
    /// # Errors
    /// If `hallmark init` fails.
    pub fn init(&self, brand: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.home)?;
        let password = self.password_file();
        std::fs::write(&password, PASSWORD).context("cannot write the password file")?;
        self.run(&[
            "init",
            "--brand",
            brand,
            "--admin-email",
            EMAIL,
            "--admin-password-file",
            &password,
        ])?;
        Ok(())
    }

    /// Logs the administrator in, so that commands of [`Self::run`] reach `server`.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn login(&self, server: &Server) -> anyhow::Result<()> {
        let password = self.password_file();
        self.run(&[
            "login",
            "--server",
            &server.url,
            "--email",
            EMAIL,
            "--password-file",
            &password,
        ])?;
        Ok(())
    }

    /// Logs in and makes a model: its API key.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn create_model(&self, server: &Server, model: &str) -> anyhow::Result<String> {
        self.login(server)?;
        Ok(self.run(&["model", "create", model])?.trim().to_owned())
    }

    fn password_file(&self) -> String {
        self.home.join("password").display().to_string()
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started or does not come to listen.
    pub fn serve(&self) -> anyhow::Result<Server> {
        self.start(&["serve", "--listen", "127.0.0.1:0"])
    }

    /// Starts a command that serves, and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started or does not come to listen.
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<Server> {
        let started = Instant::now();
        let mut child = self
            .command(arguments)
            .env("HALLMARK_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let output = child.stdout.take().context("cannot read from the server")?;
        let mut line = String::new();
        std::io::BufReader::new(output)
            .read_line(&mut line)
            .context("cannot read from the server")?;
        let start_up = started.elapsed();
        let Some(url) = line.trim().strip_prefix("listening on ") else {
            let _killed = child.kill();
            bail!("cannot start the server: it said {line:?}");
        };
        Ok(Server {
            child,
            url: url.to_owned(),
            start_up,
        })
    }
}

impl Server {
    /// CPU time of the process so far: user and system.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(self.child.id())
    }

    /// Resident memory now and at its highest, in MiB.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn memory(&self) -> anyhow::Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let kib = status
                .lines()
                .find_map(|line| line.strip_prefix(name))?
                .split_whitespace()
                .nth(1)?;
            Some(kib.parse::<f64>().ok()? / 1024.0)
        };
        Ok((
            field("VmRSS").unwrap_or_default(),
            field("VmHWM").unwrap_or_default(),
        ))
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// If it does not end with status 0.
    pub fn stop(mut self) -> anyhow::Result<()> {
        // Not by the `kill` program: a small machine has none.
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("cannot stop the server")?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

/// CPU time of a process so far: user and system.
///
/// # Errors
/// If the system does not tell.
pub fn cpu_of(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field may hold spaces; the rest follows its closing parenthesis.
    let (_, rest) = stat.rsplit_once(')').context("cannot read /proc/PID/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |place: usize| {
        fields
            .get(place)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or_default()
    };
    Ok(Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS))
}

impl Server {
    /// Ends the process at once, as a crash would: SIGKILL.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    /// A bench that fails half-way leaves no server behind.
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
