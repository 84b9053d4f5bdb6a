//! A real server that promises a letter, is killed before any mail server takes it, and keeps its promise.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::smtp_double::Double;

/// A data directory, and the mail server its server is to use.
struct Owner {
    home: TempDir,
    mail: SocketAddr,
}

/// A server at work.
struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Owner {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_hallmark")));
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .env("HALLMARK_HOME", self.home.path())
            .env("HALLMARK_DATA", "data")
            .env("HALLMARK_LOG", "debug")
            .env("HALLMARK_LISTEN", "127.0.0.1:0");
        command
    }

    /// The same, with these settings: it must not start; what it says.
    fn refused(&self, settings: &[(&str, &str)]) -> String {
        let mut command = self.command(&["serve"]);
        let ended = command.envs(settings.iter().copied()).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{settings:?} {ended:?}");
        String::from_utf8(ended.stderr).unwrap()
    }

    fn serve(&self) -> Running {
        let log = File::options().create(true).append(true).open(self.path("log"));
        let mut child = self
            .command(&["serve"])
            .env("HALLMARK_SMTP_HOST", self.mail.ip().to_string())
            .env("HALLMARK_SMTP_PORT", self.mail.port().to_string())
            .env("HALLMARK_SMTP_SECURITY", "none")
            .env("HALLMARK_SMTP_FROM", "store@acme.example")
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().strip_prefix("listening on ").map(str::to_owned);
        Running {
            child,
            url: url.unwrap_or_else(|| panic!("it does not listen: {}", self.log())),
        }
    }

    async fn logs(&self, text: &str) {
        for _ in 0..400 {
            if self.log().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{text:?} is not in {}", self.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promised_letter_outlives_the_server() {
    // An address nobody listens on.
    let mail = Double::new().await.address;
    let owner = Owner {
        home: TempDir::new().unwrap(),
        mail,
    };
    let made = owner.command(&["init", "--brand", "acme"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");

    for (settings, said) in [
        (&[][..], "set smtp-from (HALLMARK_SMTP_FROM) too"),
        (
            &[
                ("HALLMARK_SMTP_FROM", "a@b.example"),
                ("HALLMARK_SMTP_USER", "jo"),
            ][..],
            "or neither",
        ),
        (
            &[
                ("HALLMARK_SMTP_FROM", "a@b.example"),
                ("HALLMARK_SMTP_USER", "jo"),
                ("HALLMARK_SMTP_PASSWORD_FILE", "data/passphrase"),
                ("HALLMARK_SMTP_SECURITY", "none"),
            ][..],
            "over an open connection",
        ),
        (&[("HALLMARK_SMTP_FROM", "store")][..], "HALLMARK_SMTP_FROM"),
        (&[("HALLMARK_SMTP_SECURITY", "ssl")][..], "starttls, tls or none"),
    ] {
        let settings = [&[("HALLMARK_SMTP_HOST", "mail.acme.example")][..], settings].concat();
        let err = owner.refused(&settings);
        assert!(err.contains(said), "{settings:?} {err}");
    }

    let first = owner.serve();
    let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let page = http
        .get(format!("{}/login/forgotten", first.url))
        .send()
        .await
        .unwrap();
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let mark = Regex::new(r#"name="mark" value="([0-9a-f]{64})""#).unwrap();
    let page = page.text().await.unwrap();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("mark", &mark.captures(&page).unwrap()[1])
        .append_pair("email", "admin@acme.example")
        .finish();
    let answer = http
        .post(format!("{}/login/forgotten", first.url))
        .header("cookie", cookie)
        .header("origin", &first.url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("a link is on its way"));
    owner.logs("mail was not taken").await;
    // Killed, not stopped.
    drop(first);

    let double = Double::at(mail).await;
    let mut second = owner.serve();
    owner.logs("mail sent").await;
    let letters = double.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].to, ["admin@acme.example"]);
    let path = letters[0].link();
    let page = http.get(format!("{}{path}", second.url)).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("admin@acme.example"));

    let pid = Pid::from_child(&second.child);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(second.child.wait().unwrap().success());
    let log = owner.log();
    let secret = path.split_once("text=").unwrap().1;
    assert!(
        !log.contains(secret) && !log.contains("hmr_") && !log.contains("a new password for"),
        "{log}"
    );
}
