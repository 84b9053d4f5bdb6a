//! The commands of who owns the data directory, run as processes: `init`, `serve`, what works beside it, and the
//! external key manager.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hallmark::domain::assertion::{Assertion, AssertionType, PublicKey, StreamDecoder};
use hallmark::domain::blob::BlobId;
use rustix::process::{Pid, Signal, kill_process};

struct Home {
    dir: tempfile::TempDir,
    server: Option<Child>,
    address: String,
}

impl Drop for Home {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Home {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            server: None,
            address: String::new(),
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("HALLMARK_DATA", self.data())
            .env("HALLMARK_HOME", self.dir.path().join("home"))
            .current_dir(self.dir.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(Path::new(env!("CARGO_BIN_EXE_hallmark")), arguments)
            .output()
            .unwrap()
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn bad(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        text
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.good(&[&["--format", "json"], arguments].concat())).unwrap()
    }

    fn serve(&mut self) {
        let mut child = self
            .command(
                Path::new(env!("CARGO_BIN_EXE_hallmark")),
                &["serve", "--listen", "127.0.0.1:0"],
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        self.address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("the server starts")
            .to_owned();
        self.server = Some(child);
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.server.take() {
            let _ended = kill_process(Pid::from_child(&child), Signal::TERM);
            let _ended = child.wait();
        }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// As the tools call it: under its own name, found through a link.
    fn key_manager(&self, arguments: &[&str], input: &[u8]) -> Output {
        let link = self.dir.path().join("hallmark-keymgr");
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hallmark"), &link).unwrap();
        }
        let mut child = self
            .command(&link, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }
}

fn assertions(stream: &str) -> Vec<Assertion> {
    StreamDecoder::new(stream.as_bytes().to_vec().into())
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn an_instance_is_made_once_and_its_owner_can_look_after_it_with_and_without_a_server() {
    let mut home = Home::new();
    assert!(home.bad(1, &["status"]).contains("hallmark init"));
    let password = home.write("password", "correct horse battery\n");
    for (arguments, status) in [
        (vec!["init", "--brand", "Bad Brand"], 2),
        (
            vec!["init", "--brand", "api", "--admin-password-file", &password],
            1,
        ),
        (vec!["init", "--brand", "acme", "--authority-key", "/none"], 1),
    ] {
        home.bad(status, &arguments);
    }
    let made = home.json(&["init", "--brand", "acme", "--authority", "rooty"]);
    assert_eq!(
        (made["brand-id"].as_str(), made["authority-id"].as_str()),
        (Some("acme"), Some("rooty"))
    );
    assert_eq!(made["admin-email"], "admin@acme.example");
    assert!(
        home.bad(1, &["init", "--brand", "acme"])
            .contains("initialised already")
    );

    assert_eq!(home.json(&["status"])["server"], "stopped");
    assert!(home.bad(3, &["status", "--running"]).contains("none runs there"));
    let alone = home.good(&["trust", "export"]);
    home.serve();
    assert_eq!(home.json(&["status"])["server"], "running");
    assert_eq!(home.json(&["status", "--running"])["server"], "running");
    assert_eq!(home.good(&["trust", "export"]), alone);
    let padded = assertions(&home.good(&[
        "trust",
        "export",
        "--account-bytes",
        "1672",
        "--key-bytes",
        "3141",
    ]));
    assert_eq!(
        padded.iter().map(|a| a.encoded().len()).collect::<Vec<_>>(),
        [1672, 3141]
    );
    assert_eq!(home.json(&["doctor"])["problems"], serde_json::json!([]));
    assert!(
        home.bad(1, &["serve", "--listen", "127.0.0.1:0"])
            .contains("another hallmark process")
    );
    assert!(
        home.bad(1, &["passphrase", "rotate"])
            .contains("while a server runs")
    );

    let first = home.write("first", made["admin-password"].as_str().unwrap());
    let login = |home: &Home, file: &str| {
        home.run(&[
            "login",
            "--server",
            &home.address,
            "--email",
            "admin@acme.example",
            "--password-file",
            file,
        ])
    };
    assert!(login(&home, &first).status.success());
    home.good(&["passwd", "admin@acme.example", "--password-file", &password]);
    home.bad(1, &["key", "list"]);
    assert!(!login(&home, &first).status.success());
    assert!(login(&home, &password).status.success());
    assert_eq!(home.json(&["key", "list"]).as_array().unwrap().len(), 3);

    home.stop();
    assert!(!home.data().join("hallmark.sock").exists());
    home.good(&["passphrase", "rotate"]);
    // A rotation that was cut short between the database and the file is finished by whoever opens next.
    let passphrase = home.data().join("passphrase");
    std::fs::rename(&passphrase, home.data().join("passphrase.new")).unwrap();
    std::fs::write(&passphrase, "the one before").unwrap();
    assert_eq!(home.good(&["trust", "export"]), alone);
    assert!(!home.data().join("passphrase.new").exists());
    std::fs::write(&passphrase, "another").unwrap();
    assert!(home.bad(1, &["doctor"]).contains("passphrase"));
}

#[test]
fn what_is_read_at_most_is_a_setting() {
    let mut home = Home::new();
    let password = home.write("password", "correct horse battery\n");
    home.good(&["init", "--brand", "acme", "--admin-password-file", &password]);
    let root = home.good(&["trust", "export"]);
    let root = home.write("root", &root);
    let limits = "json-limit: 2KiB\nassertion-headers-limit: 64\n";
    std::fs::write(home.data().join("hallmark.yaml"), limits).unwrap();
    home.serve();
    home.good(&[
        "login",
        "--server",
        &home.address.clone(),
        "--email",
        "admin@acme.example",
        "--password-file",
        &password,
    ]);
    let refused = home.bad(1, &["assertion", "import", &root]);
    assert!(refused.contains("limit of 64 bytes"), "{refused}");
    let long = home.write("long.json", &format!("{{\"type\": \"{}\"}}", "x".repeat(2048)));
    let refused = home.bad(1, &["model", "sign", &long]);
    assert!(refused.contains("larger than 2048 bytes"), "{refused}");
}

#[test]
fn no_orphan_survives_a_repair_by_who_has_the_data_alone() {
    let mut home = Home::new();
    let password = home.write("password", "correct horse battery\n");
    home.good(&["init", "--brand", "acme", "--admin-password-file", &password]);
    let name = BlobId::of(b"left behind").to_string();
    let orphan = home.data().join("blobs").join(&name[..2]).join(&name);
    let leave = || {
        std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
        std::fs::write(&orphan, b"left behind").unwrap();
    };
    let repair = |home: &Home, more: &[&str]| {
        let output = home.run(&[&["doctor", "--repair"], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    // Beside a server an upload may be about to need it; the same if somebody says so.
    leave();
    home.serve();
    let said = repair(&home, &[]);
    assert!(
        said.contains("1 files belong to nothing but are too young to judge; run again after 20"),
        "{said}"
    );
    assert!(!said.contains("all is well") && orphan.exists(), "{said}");
    home.stop();
    assert!(repair(&home, &["--grace", "1h"]).contains("too young"));
    let findings = home.json(&["doctor"]);
    assert_eq!(findings["young-files"], 1);
    assert!(findings["judge-after"].is_string());
    assert!(orphan.exists());

    let said = repair(&home, &[]);
    assert!(
        said.contains("removed 1 files") && said.contains("all is well"),
        "{said}"
    );
    assert!(!orphan.exists());
    leave();
    home.serve();
    assert!(repair(&home, &["--grace", "0"]).contains("all is well"));
    assert!(!orphan.exists());
}

#[test]
fn the_doctor_lists_damage_to_the_file_everything_is_in() {
    let home = Home::new();
    let password = home.write("password", "correct horse battery\n");
    home.good(&["init", "--brand", "acme", "--admin-password-file", &password]);
    let journal = home.data().join("db").join("journal");
    let before = std::fs::read(&journal).unwrap().len();
    for _ in 0..2 {
        home.good(&["passwd", "admin@acme.example", "--password-file", &password]);
    }
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[before + 100] ^= 0x20;
    std::fs::write(&journal, bytes).unwrap();
    let output = home.run(&["doctor", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let damage = findings["problems"][0].as_str().unwrap();
    assert!(damage.contains("damaged"), "{findings}");
}

#[test]
fn the_key_manager_speaks_the_protocol_of_snap_sign() {
    let mut home = Home::new();
    let password = home.write("password", "correct horse battery\n");
    home.good(&["init", "--brand", "acme", "--admin-password-file", &password]);
    let none = home.key_manager(&["key-names"], b"");
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("hallmark serve"));
    home.serve();
    home.good(&[
        "login",
        "--server",
        &home.address.clone(),
        "--email",
        "admin@acme.example",
        "--password-file",
        &password,
    ]);

    let text = |output: Output| String::from_utf8(output.stdout).unwrap();
    let features = text(home.key_manager(&["features"], b""));
    assert_eq!(
        features,
        "{\"public-keys\":[\"DER\"],\"signing\":[\"RSA-PKCS\",\"OPENPGP\"]}\n"
    );
    assert_eq!(
        text(home.key_manager(&["key-names"], b"")),
        "{\"key-names\":[]}\n"
    );
    assert!(
        !home
            .key_manager(&["get-public-key", "-f", "DER", "-k", "model"], b"")
            .status
            .success()
    );
    assert!(
        home.bad(1, &["key", "external", "serial", "on"])
            .contains("serial key")
    );
    home.good(&["key", "external", "model", "on"]);
    assert_eq!(
        text(home.key_manager(&["key-names"], b"")),
        "{\"key-names\":[\"model\"]}\n"
    );

    let der = home
        .key_manager(&["get-public-key", "-f", "DER", "-k", "model"], b"")
        .stdout;
    let key = PublicKey::from_spki_der(&der).unwrap();
    assert_eq!(
        home.good(&["key", "export-public", "model"]),
        format!("{}\n", key.encoded())
    );
    let mut info = vec![
        0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00,
        0x04, 0x40,
    ];
    let sha512 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, b"text");
    info.extend_from_slice(sha512.as_ref());
    let signature = home
        .key_manager(&["sign", "-m", "RSA-PKCS", "-k", "model"], &info)
        .stdout;
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA512, &der)
        .verify(b"text", &signature)
        .unwrap();
    let refused = home.key_manager(&["sign", "-m", "OPENPGP", "-k", "model"], b"type: serial");
    assert!(!refused.status.success() && refused.stdout.is_empty());

    let registered = assertions(&home.good(&["key", "register", "model"]));
    assert_eq!(
        (registered[0].kind(), registered.len()),
        (AssertionType::AccountKey, 1)
    );
    let audit = home.json(&["audit", "list", "--action", "key.sign-digest"]);
    assert_eq!(audit.as_array().unwrap().len(), 1);
}
