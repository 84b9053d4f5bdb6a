//! nginx, where it is installed, serving the same files.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::line::cpu_of;

/// A running nginx.
#[derive(Debug)]
pub(super) struct Nginx {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Nginx {
    /// Starts one over the files below `root`, with one worker per core; none if there is no program of that name.
    /// Its own files are in `directory`.
    pub(super) async fn start(directory: &Path, root: &Path, sendfile: bool) -> anyhow::Result<Option<Self>> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        std::fs::create_dir_all(directory)?;
        let configuration = directory.join("nginx.conf");
        let (dir, root) = (directory.display(), root.display());
        let sendfile = if sendfile { "on" } else { "off" };
        // Files are readable by their owner alone, who is who runs this.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let text = format!(
            "daemon off; {user} worker_processes auto; pid {dir}/pid; error_log {dir}/errors crit;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile {sendfile}; client_body_temp_path {dir}/body;\n\
             server {{ listen {address}; root {root}; }} }}\n"
        );
        std::fs::write(&configuration, text)?;
        let child = Command::new("nginx")
            .arg("-e")
            .arg(directory.join("errors"))
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot start nginx"),
        };
        let mut nginx = Self { child, address };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Ok(Some(nginx));
            }
            if let Some(status) = nginx.child.try_wait()? {
                bail!("cannot start nginx: it ended with {status}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("cannot start nginx: it does not listen")
    }

    /// CPU time of it and its workers so far.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let id = self.child.id();
        let mut total = cpu_of(id)?;
        let workers = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))
            .context("cannot find the workers of nginx")?;
        for worker in workers.split_whitespace() {
            total += cpu_of(worker.parse()?)?;
        }
        Ok(total)
    }

    /// Ends it and removes its own files.
    pub(super) fn stop(mut self, directory: &Path) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("cannot stop nginx")?;
        self.child.wait()?;
        std::fs::remove_dir_all(directory)?;
        Ok(())
    }
}

impl Drop for Nginx {
    /// A measurement that fails half-way leaves none behind; TERM, as only the master process can end its workers.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _already_gone = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _reaped = self.child.wait();
        }
    }
}
