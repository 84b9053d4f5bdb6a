//! One instance from its first command to its last, run as its owner would: the real program on a real directory,
//! without a server and beside one. What it prints as JSON is compared with docs/cli-json.md.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{differences, documented};

/// A data directory and what was printed about it, by verb.
struct Owner {
    home: TempDir,
    printed: BTreeMap<&'static str, Value>,
}

impl Owner {
    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hallmark"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
            .env("HALLMARK_HOME", self.home.path())
            .env("HALLMARK_DATA", "data");
        command
    }

    /// Runs a command that must succeed; its stdout.
    fn run(&self, arguments: &[&str]) -> String {
        let ended = self.command(arguments).output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {err}");
        String::from_utf8(ended.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let out = self.run(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }

    /// Runs a command that must be refused with status 1; its stderr.
    fn refused(&self, arguments: &[&str]) -> String {
        let ended = self.command(arguments).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(ended.stderr).unwrap()
    }

    /// Runs `verb` with `further` arguments and keeps what it prints.
    fn note(&mut self, verb: &'static str, further: &[&str]) -> Value {
        let words: Vec<&str> = verb.split(' ').chain(further.iter().copied()).collect();
        let printed = self.json(&words);
        self.printed.insert(verb, printed.clone());
        printed
    }

    /// Starts the server; the process and its address.
    fn serve(&self) -> (Child, String) {
        let mut child = self
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
            .unwrap_or_else(|| panic!("{line:?}"))
            .to_owned();
        (child, address)
    }
}

/// What can be asked of the directory, with a server or without.
fn look_around(owner: &mut Owner, server: &str) {
    let status = owner.note("status", &[]);
    assert_eq!(
        (status["server"].as_str(), status["brands"][0].as_str()),
        (Some(server), Some("acme"))
    );
    assert_eq!(owner.note("doctor", &[])["problems"], Value::Array(Vec::new()));
    assert!(
        owner.note("trust export", &[])["assertions"]
            .as_str()
            .unwrap()
            .starts_with("type: account\n")
    );
    assert!(owner.run(&["trust", "export"]).starts_with("type: account\n"));
    let made = owner.note("passwd", &["Admin@acme.example"]);
    std::fs::write(owner.path("password"), made["password"].as_str().unwrap()).unwrap();
}

#[test]
fn an_instance_does_from_its_first_to_its_last_command_what_is_documented() {
    let home = TempDir::new().unwrap();
    let mut owner = Owner {
        home,
        printed: BTreeMap::new(),
    };
    let never = owner.refused(&["status"]);
    assert!(never.contains("hallmark init"), "{never}");
    owner.note("init", &["--brand", "acme"]);
    assert!(
        owner
            .refused(&["init", "--brand", "acme"])
            .contains("initialised already")
    );
    owner.note("config show", &[]);
    look_around(&mut owner, "stopped");

    let (mut server, address) = owner.serve();
    look_around(&mut owner, "running");
    let password = owner.path("password");
    owner.run(&[
        "login",
        "--server",
        &address,
        "--email",
        "admin@acme.example",
        "--password-file",
        &password,
    ]);
    assert!(
        owner
            .refused(&["passphrase", "rotate"])
            .contains("while a server runs")
    );
    keys(&mut owner);
    assertions(&mut owner);
    assert_eq!(owner.json(&["audit", "verify"])["verdict"], "ok");

    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
    let ended = owner.command(&["whoami"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(3));
    owner.note("passphrase rotate", &[]);
    look_around(&mut owner, "stopped");

    copies(&mut owner);

    // The last checkpoint was made when the server stopped; only what came later is not covered yet.
    let (mut server, address) = owner.serve();
    owner.run(&[
        "login",
        "--server",
        &address,
        "--email",
        "admin@acme.example",
        "--password-file",
        &password,
    ]);
    let report = owner.json(&["audit", "verify"]);
    assert_eq!(report["verdict"], "ok", "{report}");
    assert!(report["checkpoints"].as_u64() >= Some(1), "{report}");
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));

    compare(&owner.printed);
}

/// Backup, restore, another database: what they print. What they do is tested in `backup`.
fn copies(owner: &mut Owner) {
    let (backup, other) = (owner.path("backup.tar"), owner.path("other"));
    owner.note("backup", &[&backup]);
    let bundle = owner.path("acme.bundle");
    owner.note("export store", &["acme", &bundle]);
    std::fs::create_dir(&other).unwrap();
    std::fs::copy(owner.path("data/passphrase"), owner.path("other/passphrase")).unwrap();
    owner.note("restore", &[&backup, "--data", &other, "--revision-floor", "3"]);
    let (from, to) = (
        format!("sled:{}", owner.path("data/db")),
        format!("sled:{}", owner.path("moved")),
    );
    owner.note("migrate", &["--from", &from, "--to", &to]);
}

fn keys(owner: &mut Owner) {
    owner.note("key list", &[]);
    owner.note("key show", &["model"]);
    let shown = owner.printed["key show"].clone();
    let same = |printed: &Value| assert_eq!(differences("", &shown, printed), [""; 0]);
    same(&owner.json(&["key", "create", "spare", "--purpose", "model", "--until", "730d"]));
    same(&owner.json(&["key", "disable", "spare"]));
    same(&owner.json(&["key", "enable", "spare"]));
    same(&owner.json(&["key", "external", "spare", "on"]));
    owner.note("key export-public", &["spare"]);
    owner.note("key register", &["spare"]);
    let planned = owner.json(&["key", "roll", "spare", "--dry-run"]);
    let out = owner.path("rolled");
    let rolled = owner.note("key roll", &["spare", "--out", &out, "--retire", "disable"]);
    assert_eq!(differences("", &rolled, &planned), [""; 0]);
    assert_eq!(
        (rolled["to"].as_str(), rolled["retired"].as_str()),
        (Some("spare-2"), Some("disabled"))
    );
    let files = rolled["files"].as_array().unwrap();
    let account_key = std::fs::read_to_string(files[0].as_str().unwrap()).unwrap();
    assert!(account_key.starts_with("type: account-key\n") && account_key.contains("\nname: spare-2\n"));
    let unsure = owner
        .command(&["key", "roll", "model", "--retire", "revoke"])
        .output();
    assert_eq!(unsure.unwrap().status.code(), Some(2));
    let refused = owner.refused(&["key", "revoke", "spare", "--yes", "--brand", "nosuchbrand"]);
    assert!(refused.contains("no such brand"), "{refused}");
    let revoked = owner.json(&["key", "revoke", "spare", "--yes"]);
    assert_eq!(differences("", &owner.printed["key register"], &revoked), [""; 0]);
}

fn assertions(owner: &mut Owner) {
    let exported = owner.note("assertion export", &[]);
    assert!(exported.as_array().unwrap().len() >= 4, "{exported}");
    let shown = owner.json(&["assertion", "show", "account", "account-id=acme"]);
    assert_eq!(differences("", &exported, &shown), [""; 0]);
    assert_eq!(shown[0]["headers"]["account-id"], "acme");
    let (all, root) = (owner.path("all.assert"), owner.path("root.assert"));
    write(&all, &owner.run(&["assertion", "export"]));
    write(&root, &owner.run(&["trust", "export"]));
    owner.note("assertion import", &[&all]);
    assert_eq!(owner.printed["assertion import"][0]["outcome"], "known");
    owner.note("assertion verify", &["--trusted", &root, &all]);
}

fn write(path: &str, text: &str) {
    std::fs::write(Path::new(path), text).unwrap();
}

fn compare(printed: &BTreeMap<&'static str, Value>) {
    let documented = documented();
    let mut wrong = Vec::new();
    for (verb, actual) in printed {
        match documented.get(*verb) {
            Some(example) => wrong.extend(differences(verb, example, actual)),
            None => wrong.push(format!("{verb}: not in docs/cli-json.md")),
        }
    }
    assert_eq!(wrong, [""; 0]);
    let ours = [
        "init",
        "config ",
        "status",
        "doctor",
        "passwd",
        "passphrase ",
        "trust ",
        "backup",
        "restore",
        "migrate",
        "export store",
        "key ",
        "assertion ",
    ];
    let missing: BTreeSet<&String> = documented
        .keys()
        .filter(|verb| ours.iter().any(|noun| verb.starts_with(noun)) && !printed.contains_key(verb.as_str()))
        .collect();
    assert_eq!(missing, BTreeSet::new(), "documented, but not run here");
}
