//! Data of earlier versions: directories and backups that were written then are opened, checked and gone on with. What a
//! version wrote is kept in `tests/data/VERSION` for good (a quickstart of three devices; the keys are worth nothing); a new
//! format adds a directory there, and none is ever made anew.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const VERSIONS: &[&str] = &["0.1"];
const MODEL: &str = "quickstart-gateway";

fn kept(version: &str, name: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    data.join(version).join(name)
}

/// What a version wrote, as it was then.
fn unpacked(version: &str, name: &str) -> Vec<u8> {
    let packed = std::fs::read(kept(version, name)).unwrap();
    miniz_oxide::inflate::decompress_to_vec_zlib(&packed).unwrap()
}

/// A place of one instance.
struct Owner(tempfile::TempDir);

impl Owner {
    fn new(version: &str) -> Self {
        let owner = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(owner.path("data")).unwrap();
        std::fs::copy(kept(version, "passphrase"), owner.path("data/passphrase")).unwrap();
        owner
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hallmark"));
        command
            .args(arguments)
            .env_clear()
            .env("HALLMARK_HOME", self.path("home"))
            .env("HALLMARK_DATA", self.path("data"))
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let ended = self.command(arguments).output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{arguments:?}: {err}");
        ended
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["--format", "json"]].concat());
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// Everything that was there is there, sound, and good to go on with.
    fn goes_on(&self) {
        assert_eq!(self.json(&["doctor"])["problems"], Value::Array(Vec::new()));
        let made = self.json(&["passwd", "admin@quickstart-brand.example"]);
        std::fs::write(self.path("password"), made["password"].as_str().unwrap()).unwrap();
        let server = Server::start(self);
        self.run(&[
            "login",
            "--server",
            &server.address,
            "--email",
            "admin@quickstart-brand.example",
            "--password-file",
            self.path("password").to_str().unwrap(),
        ]);
        let length = |arguments: &[&str]| self.json(arguments).as_array().unwrap().len();
        assert_eq!(length(&["serial", "list", "--model", MODEL]), 3);
        assert_eq!(length(&["device", "list"]), 3);
        assert_eq!(length(&["key", "list"]), 3);
        let snap = self.json(&["snap", "show", "quickstart-agent"]);
        assert_eq!(snap["name"], "quickstart-agent");
        let waves = self.json(&["wave", "list"]);
        assert_eq!(waves.as_array().unwrap().len(), 1, "{waves}");
        assert_eq!(self.json(&["audit", "verify"])["verdict"], "ok");
        // Keys open and sign, and what is written now is kept.
        self.run(&["model", "create", "another-model"]);
        let headers = self.path("model.json");
        let model = r#"{"type":"model","authority-id":"quickstart-brand","series":"16","brand-id":"quickstart-brand",
            "model":"another-model","architecture":"amd64","gadget":"pc","kernel":"pc-kernel","base":"core22",
            "timestamp":"2026-11-24T00:00:00Z"}"#;
        std::fs::write(&headers, model).unwrap();
        let signed = self.run(&["model", "sign", headers.to_str().unwrap()]);
        assert!(signed.stdout.starts_with(b"type: model\n"));
        server.stop();
        assert_eq!(self.json(&["doctor"])["problems"], Value::Array(Vec::new()));
    }
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(owner: &Owner) -> Self {
        let mut child = owner
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_default()
            .to_owned();
        Self { child, address }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn data_directories_of_earlier_versions_are_gone_on_with() {
    for version in VERSIONS {
        let owner = Owner::new(version);
        let data = unpacked(version, "data.tar.z");
        tar::Archive::new(&data[..]).unpack(owner.path("data")).unwrap();
        owner.goes_on();
    }
}

#[test]
fn backups_of_earlier_versions_are_restored() {
    for version in VERSIONS {
        let owner = Owner::new(version);
        let backup = owner.path("backup.tar");
        std::fs::write(&backup, unpacked(version, "backup.tar.z")).unwrap();
        owner.run(&["restore", backup.to_str().unwrap(), "--revision-floor", "5"]);
        owner.goes_on();
    }
}
