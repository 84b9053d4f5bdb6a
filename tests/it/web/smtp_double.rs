//! A mail server that can be told what to answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark::adapters::smtp::{Protection, Smtp, SmtpOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const USER: &str = "store";
pub const PASSWORD: &str = "the password of the store";

/// A letter that was taken.
#[derive(Clone, Debug)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    /// As it came, without the dots of the protocol.
    pub text: String,
}

impl Received {
    fn parts(&self) -> (&str, &str) {
        self.text.split_once("\r\n\r\n").unwrap()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> &str {
        let (head, _) = self.parts();
        let mut lines = head.split("\r\n");
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name} in {head}"))
    }

    /// The body, decoded.
    pub fn body(&self) -> String {
        let (_, body) = self.parts();
        match self.header("Content-Transfer-Encoding") {
            "7bit" => body.to_owned(),
            "base64" => String::from_utf8(STANDARD.decode(body.replace("\r\n", "")).unwrap()).unwrap(),
            "quoted-printable" => {
                let mut bytes = Vec::new();
                let joined = body.replace("=\r\n", "");
                let mut rest = joined.bytes();
                while let Some(byte) = rest.next() {
                    if byte == b'=' {
                        let digits = [rest.next().unwrap(), rest.next().unwrap()];
                        let digits = std::str::from_utf8(&digits).unwrap();
                        bytes.push(u8::from_str_radix(digits, 16).unwrap());
                    } else {
                        bytes.push(byte);
                    }
                }
                String::from_utf8(bytes).unwrap()
            }
            other => panic!("{other}"),
        }
    }

    /// The path of the link in it.
    pub fn link(&self) -> String {
        let link = regex::Regex::new(
            r"(?m)^http://\S+?((?:/login/(?:reset|invite)\?text=hm[ri]_[0-9A-Za-z]{46}|/account/snap-invite\?text=[0-9A-Za-z]{40}))\r?$",
        );
        let body = self.body();
        let found = link.unwrap().captures(&body);
        found.map_or_else(|| panic!("no link in {body}"), |found| found[1].to_owned())
    }
}

/// What it answers, and what it got.
#[derive(Debug, Default)]
pub struct Plan {
    /// Answers other than that all is well: the next time this command comes. `.` is the end of a letter.
    pub answers: VecDeque<(&'static str, &'static str)>,
    /// It asks who comes.
    pub asks: bool,
    pub letters: Vec<Received>,
    /// Every line that came outside letters.
    pub said: Vec<String>,
}

/// The server.
pub struct Double {
    pub address: SocketAddr,
    pub plan: Arc<Mutex<Plan>>,
    serving: JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Double {
    pub async fn new() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan: Arc<Mutex<Plan>> = Arc::default();
        let kept = Arc::clone(&plan);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let plan = Arc::clone(&kept);
                tokio::spawn(async move {
                    // A client that goes away ends it.
                    let _gone = converse(stream, &plan).await;
                });
            }
        });
        Self {
            address,
            plan,
            serving,
        }
    }

    /// The adapter for it; `change` makes it another one.
    pub fn mailer(&self, change: impl FnOnce(&mut SmtpOptions)) -> Smtp {
        let mut options = SmtpOptions {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            protection: Protection::None,
            login: None,
            from: "store@acme.example".parse().unwrap(),
            own_name: "store.acme.example".to_owned(),
        };
        change(&mut options);
        Smtp::new(options).unwrap()
    }

    /// The next time `command` comes, this is the answer.
    pub fn answers(&self, command: &'static str, answer: &'static str) {
        self.plan.lock().unwrap().answers.push_back((command, answer));
    }

    pub fn letters(&self) -> Vec<Received> {
        self.plan.lock().unwrap().letters.clone()
    }
}

async fn converse(stream: TcpStream, plan: &Mutex<Plan>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut from, mut to) = (String::new(), Vec::new());
    stream.write_all(b"220 double ready\r\n").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_owned();
        let (command, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        let planned = {
            let mut plan = plan.lock().unwrap();
            plan.said.push(line.clone());
            next(&mut plan, command)
        };
        let address = |rest: &str| rest.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let answer = match (planned, command) {
            (Some(answer), _) => answer.to_owned(),
            (None, "EHLO") if plan.lock().unwrap().asks => "250-double\r\n250 AUTH PLAIN".to_owned(),
            (None, "EHLO") => "250-double\r\n250 8BITMIME".to_owned(),
            (None, "AUTH") => {
                let right = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
                let text = if rest == format!("PLAIN {right}") {
                    "235 welcome"
                } else {
                    "535 who are you, jo@acme.example?"
                };
                text.to_owned()
            }
            (None, "MAIL") => {
                (from, to) = (address(rest), Vec::new());
                "250 yes".to_owned()
            }
            (None, "RCPT") => {
                to.push(address(rest));
                "250 yes".to_owned()
            }
            (None, "DATA") => {
                stream.write_all(b"354 go on\r\n").await?;
                let text = letter(&mut stream).await?;
                let mut plan = plan.lock().unwrap();
                let planned = next(&mut plan, ".");
                if planned.is_none() {
                    let (from, to) = (from.clone(), to.clone());
                    plan.letters.push(Received { from, to, text });
                }
                planned.unwrap_or("250 taken").to_owned()
            }
            (None, "QUIT") => "221 bye".to_owned(),
            (None, "RSET" | "NOOP") => "250 yes".to_owned(),
            (None, _) => "502 what?".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

/// The planned answer to a command.
fn next(plan: &mut Plan, command: &str) -> Option<&'static str> {
    let place = plan.answers.iter().position(|(planned, _)| *planned == command)?;
    plan.answers.remove(place).map(|(_, answer)| answer)
}

async fn letter(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
