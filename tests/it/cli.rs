//! The command line as a user runs it: the real program against a server of this process.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hallmark::domain::access::{Account, ProviderIdentity, Role};
use hallmark::http::metrics::Metrics;
use hallmark::http::serve::{Limits, Listener, Server};
use hallmark::http::tls::Tls;
use hallmark::ports::{Change, Commit, CommitOutcome};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::office::{BRAND, Office};
use crate::tls::fixture;

const PASSWORD: &str = "correct horse battery";

/// Somebody's desk: a server to talk to and a home of one's own.
struct Desk {
    office: Arc<Office>,
    server: String,
    home: TempDir,
    stop: CancellationToken,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    status: i32,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        assert_eq!((self.status, self.err.as_str()), (0, ""), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

impl Desk {
    async fn new() -> Self {
        Self::with(None).await
    }

    /// A server that speaks TLS, with a certificate of `tls/authority.pem`.
    async fn secured() -> Self {
        let tls = Tls::open(&fixture("first.pem"), &fixture("first.key")).unwrap();
        Self::with(Some(tls)).await
    }

    async fn with(tls: Option<Tls>) -> Self {
        let office = Arc::new(Office::new().await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = format!("{scheme}://{}", listener.local_addr().unwrap());
        let router = hallmark::http::router(&office.app, Metrics::default()).unwrap();
        let stop = CancellationToken::new();
        let serving = Server::new(router, Limits::default(), Vec::new());
        let listener = match tls {
            Some(tls) => Listener::Tls(listener, tls),
            None => Listener::Tcp(listener),
        };
        tokio::spawn(serving.run(listener, stop.clone()));
        let home = TempDir::new().unwrap();
        std::fs::write(home.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        Self {
            office,
            server,
            home,
            stop,
        }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `hallmark` with these arguments and variables.
    async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hallmark"));
        command
            .args(arguments)
            .env_clear()
            .env("HALLMARK_HOME", self.home.path())
            .stdin(Stdio::null());
        command.envs(variables.iter().copied());
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        Ended {
            status: ended.status.code().unwrap(),
            out: String::from_utf8(ended.stdout).unwrap(),
            err: String::from_utf8(ended.stderr).unwrap(),
        }
    }

    /// Runs `hallmark` with the stored log-in.
    async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[]).await
    }

    /// Runs `hallmark` as this account, by token.
    async fn run_as(&self, email: &str, arguments: &[&str]) -> Ended {
        let token = self.office.token(email).await;
        self.run_with(
            arguments,
            &[("HALLMARK_SERVER", &self.server), ("HALLMARK_TOKEN", &token)],
        )
        .await
    }

    /// An account with [`PASSWORD`].
    async fn person(&self, email: &str) {
        let password = self.path("password");
        let arguments = ["account", "create", email, "--password-file", &password];
        let made = self.run_as("operator@hallmark.example", &arguments).await;
        assert_eq!(made.status, 0, "{made:?}");
    }

    async fn log_in(&self, email: &str) -> Ended {
        let password = self.path("password");
        self.run(&[
            "login",
            "--server",
            &self.server,
            "--email",
            email,
            "--password-file",
            &password,
        ])
        .await
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let desk = Desk::secured().await;
    let authority = fixture("authority.pem").display().to_string();
    let email = "operator@hallmark.example";
    let token = desk.office.token(email).await;
    let known = [
        ("HALLMARK_SERVER", desk.server.as_str()),
        ("HALLMARK_TOKEN", token.as_str()),
        ("HALLMARK_CA_FILE", authority.as_str()),
    ];
    let ended = desk.run_with(&["whoami"], &known[..2]).await;
    assert_eq!(ended.status, 3, "{ended:?}");
    assert!(ended.err.contains("certificate"), "{ended:?}");
    let ended = desk.run_with(&["whoami"], &known).await;
    assert_eq!(ended.status, 0, "{ended:?}");
    let password = desk.path("password");
    let arguments = [
        "account",
        "create",
        "jo@acme.example",
        "--password-file",
        &password,
    ];
    assert_eq!(desk.run_with(&arguments, &known).await.status, 0);

    // A log-in keeps what it was made with.
    assert_eq!(desk.log_in("jo@acme.example").await.status, 3);
    let mut arguments = vec!["login", "--server", &desk.server, "--email", "jo@acme.example"];
    arguments.extend(["--password-file", &password, "--ca-file", &authority]);
    let ended = desk.run(&arguments).await;
    assert_eq!(ended.status, 0, "{ended:?}");
    assert_eq!(desk.run(&["whoami"]).await.status, 0);
    assert_eq!(desk.run(&["logout"]).await.status, 0);

    let ended = desk.run(&["login", "--ca-file", &password]).await;
    assert!(ended.err.contains("it holds no certificates (PEM)"), "{ended:?}");
}

#[tokio::test]
async fn a_log_in_is_kept_in_a_private_file_until_log_out() {
    let desk = Desk::new().await;
    desk.person("jo@acme.example").await;
    let ended = desk.run(&["whoami"]).await;
    assert_eq!((ended.status, ended.out.as_str()), (1, ""));
    assert!(
        ended
            .err
            .starts_with("error: cannot do this without a log-in: run `hallmark login`"),
        "{ended:?}"
    );

    let ended = desk.log_in("Jo@acme.example").await;
    assert_eq!((ended.status, ended.out.as_str()), (0, ""), "{ended:?}");
    assert!(
        ended.err.starts_with("logged in to http://127.0.0.1:"),
        "{ended:?}"
    );
    let mode = std::fs::metadata(desk.path("login.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        desk.run(&["whoami", "--format", "json"]).await.json()["email"],
        "jo@acme.example"
    );
    let table = desk.run(&["whoami"]).await;
    assert!(
        table.out.contains("E-mail:") && table.out.contains("jo@acme.example"),
        "{table:?}"
    );

    let elsewhere = desk
        .run_with(&["whoami"], &[("HALLMARK_SERVER", "http://127.0.0.1:1")])
        .await;
    assert_eq!(
        elsewhere.status, 1,
        "the token is not shown to another server: {elsewhere:?}"
    );
    assert!(
        elsewhere.err.contains("cannot use the log-in for"),
        "{elsewhere:?}"
    );

    assert_eq!(desk.run(&["logout"]).await.status, 0);
    assert!(!std::fs::exists(desk.path("login.json")).unwrap());
    assert_eq!(desk.run(&["logout"]).await.status, 0);
    assert_eq!(desk.run(&["whoami"]).await.status, 1);
}

#[tokio::test]
async fn the_exit_status_says_what_kind_of_trouble_it_is() {
    let desk = Desk::new().await;
    let refused = desk.run_as("view@acme.example", &["member", "list", BRAND]).await;
    assert_eq!((refused.status, refused.out.as_str()), (1, ""));
    assert_eq!(
        refused.err,
        "error: cannot find store acme: there is no such store, or your role in it does not allow this \
         [resource-not-found]\n"
    );
    for usage in [
        vec!["nonsense"],
        vec!["member", "add", "acme", "jo@acme.example"],
        vec!["member", "add", "acme", "jo@acme.example", "--role", "king"],
        vec!["account", "create", "no address"],
        vec!["token", "create", "--expires", "soon"],
        vec!["login", "--email", "jo@acme.example"],
        vec![],
    ] {
        let ended = desk.run(&usage).await;
        assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{usage:?} {ended:?}");
        assert!(!ended.err.is_empty());
    }
    let variables = [
        ("HALLMARK_SERVER", "http://127.0.0.1:1"),
        ("HALLMARK_TOKEN", "hmk_x"),
    ];
    let unreachable = desk.run_with(&["whoami"], &variables).await;
    assert_eq!(unreachable.status, 3);
    assert!(
        unreachable
            .err
            .starts_with("error: cannot reach the server at http://127.0.0.1:1: "),
        "{unreachable:?}"
    );
    let bad = [
        ("HALLMARK_SERVER", desk.server.as_str()),
        ("HALLMARK_TOKEN", "hmk_x"),
    ];
    let ended = desk.run_with(&["whoami"], &bad).await;
    assert_eq!(ended.status, 1);
    assert!(ended.err.ends_with("[invalid-token]\n"), "{ended:?}");
}

#[tokio::test]
async fn help_is_not_an_error_and_a_closed_pipe_is_success() {
    let desk = Desk::new().await;
    for help in [
        vec!["--help"],
        vec!["-h"],
        vec!["member", "add", "--help"],
        vec!["help"],
        vec!["help", "member", "add"],
        vec!["--version"],
    ] {
        let ended = desk.run(&help).await;
        assert_eq!((ended.status, ended.err.as_str()), (0, ""), "{help:?}");
        assert!(!ended.out.contains('\u{1b}'), "no colour without a terminal");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[tokio::test]
async fn a_new_token_is_alone_on_stdout_and_works() {
    let desk = Desk::new().await;
    let made = desk
        .run_as(
            "admin@acme.example",
            &["token", "create", "--for", "ci", "--expires", "1h"],
        )
        .await;
    assert_eq!(made.status, 0, "{made:?}");
    assert!(
        made.out.starts_with("hmk_") && made.out.ends_with('\n') && made.out.len() == 51,
        "{made:?}"
    );
    let variables = [
        ("HALLMARK_SERVER", desk.server.as_str()),
        ("HALLMARK_TOKEN", made.out.trim()),
    ];
    assert_eq!(desk.run_with(&["store", "list"], &variables).await.status, 0);
    let more = desk.run_with(&["token", "create"], &variables).await;
    assert_eq!(more.status, 1, "{more:?}");
}

#[tokio::test]
async fn a_token_is_printed_as_snapcraft_takes_it() {
    use base64::Engine as _;
    let desk = Desk::new().await;
    let create = [
        "token",
        "create",
        "--packages",
        "thing,other",
        "--channels",
        "edge,2.*/beta",
        "--snapcraft",
    ];
    for form in ["macaroon", "u1-macaroon"] {
        let u1: &[&str] = if form == "macaroon" { &[] } else { &["--u1"] };
        let made = desk
            .run_as("access@acme.example", &[&create[..], u1].concat())
            .await;
        assert_eq!(made.status, 0, "{made:?}");
        let text = base64::engine::general_purpose::STANDARD
            .decode(made.out.trim())
            .unwrap();
        let credentials: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(credentials["t"], form);
        let header = match credentials["v"].as_str() {
            Some(token) => format!("macaroon {token}"),
            None => crate::publisher::client::header(
                credentials["v"]["r"].as_str().unwrap(),
                credentials["v"]["d"].as_str().unwrap(),
            ),
        };
        let answer = crate::publisher::client::whoami(&desk.office, &header).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["account"]["email"], "access@acme.example");
        let snap = |name| serde_json::json!({"type": "snap", "name": name});
        let snaps = serde_json::json!([snap("other"), snap("thing")]);
        assert_eq!(answer.body["packages"], snaps);
        assert_eq!(answer.body["channels"], serde_json::json!(["2.*/beta", "edge"]));
    }
    let alone = desk
        .run_as("access@acme.example", &["token", "create", "--u1"])
        .await;
    assert_eq!(alone.status, 2, "{alone:?}");
    let listed = desk.run_as("access@acme.example", &["token", "list"]).await;
    assert!(listed.out.contains("other, thing, 2.*/beta, edge"), "{listed:?}");
}

#[tokio::test]
async fn roles_are_given_in_either_vocabulary_and_shown_in_words() {
    let desk = Desk::new().await;
    let add = async |roles: &str| {
        let arguments = ["member", "add", BRAND, "nobody@acme.example", "--role", roles];
        desk.run_as("admin@acme.example", &arguments).await
    };
    let ended = add("viewer,access").await;
    assert_eq!((ended.status, ended.out.as_str()), (0, ""));
    assert_eq!(
        ended.err,
        "nobody@acme.example is now viewer, publisher in store acme\n"
    );
    assert_eq!(
        add("review,reviewer").await.err,
        "nobody@acme.example is now reviewer in store acme\n"
    );
    let list = desk
        .run_as("admin@acme.example", &["member", "list", BRAND])
        .await;
    let row = list.out.lines().find(|line| line.starts_with("nobody@")).unwrap();
    assert!(row.contains("reviewer"), "{row}");
}

/// Runs every verb about people once and compares what it prints with docs/cli-json.md.
#[tokio::test]
async fn json_output_is_as_documented() {
    let desk = Desk::new().await;
    let operator = "operator@hallmark.example";
    desk.person("jo@acme.example").await;
    desk.office
        .add_member(BRAND, "jo@acme.example", &[Role::Admin])
        .await;
    let mut printed: BTreeMap<&str, Value> = BTreeMap::new();
    let password = desk.path("password");
    let json = async |arguments: &[&str]| {
        desk.run(&[arguments, &["--format", "json"]].concat())
            .await
            .json()
    };
    let login = [
        "login",
        "--server",
        &desk.server,
        "--email",
        "jo@acme.example",
        "--password-file",
        &password,
    ];
    printed.insert("login", json(&login).await);
    printed.insert("whoami", json(&["whoami"]).await);
    printed.insert("brand list", json(&["brand", "list"]).await);
    printed.insert("brand show", json(&["brand", "show", "acme"]).await);
    assert_eq!(json(&["brand", "show"]).await["id"], "acme", "the only one");
    printed.insert("store list", json(&["store", "list"]).await);
    printed.insert("store show", json(&["store", "show", "acme"]).await);
    let member = ["nobody@acme.example", "--role", "viewer"];
    printed.insert(
        "member add",
        json(&[&["member", "add", "acme"], &member[..]].concat()).await,
    );
    printed.insert("member list", json(&["member", "list", "acme"]).await);
    let invite = ["new@partner.example", "--role", "viewer"];
    let sent = json(&[&["member", "invite", "acme"], &invite[..]].concat()).await;
    std::fs::write(desk.path("invite"), sent["token"].as_str().unwrap()).unwrap();
    printed.insert("member invite", sent);
    printed.insert("member invites", json(&["member", "invites", "acme"]).await);
    let (text, server) = (desk.path("invite"), desk.server.clone());
    let accept = [
        "member",
        "accept",
        &text,
        "--server",
        &server,
        "--password-file",
        &password,
    ];
    printed.insert("member accept", json(&accept).await);
    printed.insert(
        "audit list",
        json(&["audit", "list", "--since", "2020-01-01"]).await,
    );
    printed.insert(
        "member remove",
        json(&["member", "remove", "acme", "nobody@acme.example"]).await,
    );
    let quietly = async |email: &str, arguments: &[&str]| {
        let ended = desk
            .run_as(email, &[arguments, &["--format", "json"]].concat())
            .await;
        assert_eq!(ended.status, 0, "{ended:?}");
        serde_json::from_str::<Value>(&ended.out).unwrap()
    };
    let token = quietly("jo@acme.example", &["token", "create"]).await;
    printed.insert("token list", json(&["token", "list"]).await);
    printed.insert(
        "token revoke",
        json(&["token", "revoke", token["id"].as_str().unwrap()]).await,
    );
    printed.insert("token create", token);
    printed.insert(
        "account create",
        quietly(operator, &["account", "create", "sam@acme.example"]).await,
    );
    printed.insert("account list", quietly(operator, &["account", "list"]).await);
    printed.insert(
        "account show",
        quietly(operator, &["account", "show", "Sam@acme.example"]).await,
    );
    let off = quietly(operator, &["account", "disable", "sam@acme.example"]).await;
    let on = quietly(operator, &["account", "enable", "sam@acme.example"]).await;
    for (switched, disabled) in [(&off, true), (&on, false)] {
        assert_eq!(switched["disabled"], disabled);
        assert_eq!(differences("", &printed["account show"], switched), [""; 0]);
    }
    hallmark::app::audit::Checkpoints::default()
        .make(&desk.office.app)
        .await
        .unwrap();
    printed.insert("audit verify", quietly(operator, &["audit", "verify"]).await);
    let copy = desk.path("audit.jsonl");
    let exported = quietly(operator, &["audit", "export", copy.as_str()]).await;
    printed.insert("audit export", exported);
    let new = desk.path("new-password");
    std::fs::write(&new, "another long password").unwrap();
    let change = [
        "account",
        "password",
        "--current-file",
        &password,
        "--password-file",
        &new,
    ];
    printed.insert("account password", json(&change).await);
    printed.insert("logout", json(&["logout"]).await);
    let jo = "jo@acme.example";
    printed.insert("account otp show", quietly(jo, &["account", "otp", "show"]).await);
    let enrolment = quietly(jo, &["account", "otp", "enrol"]).await;
    let code = |steps: i64| {
        let secret = totp_rs::Secret::try_from_base32(enrolment["secret"].as_str().unwrap()).unwrap();
        let totp = totp_rs::Builder::new().with_secret(secret).build().unwrap();
        let now = u64::try_from(desk.office.now().unix() + 30 * steps).unwrap();
        totp.generate(now).to_string()
    };
    printed.insert(
        "account otp confirm",
        quietly(jo, &["account", "otp", "confirm", &code(0)]).await,
    );
    let login = [
        "login",
        "--server",
        &desk.server,
        "--email",
        "jo@acme.example",
        "--password-file",
        &new,
    ];
    let again = desk.run(&[&login[..], &["--otp", "000000"]].concat()).await;
    assert!(again.err.contains("[invalid-otp]"), "{again:?}");
    let asked = desk.run(&login).await;
    assert!(asked.err.contains("--otp"), "{asked:?}");
    printed.insert(
        "account otp disable",
        quietly(jo, &["account", "otp", "disable", &code(1)]).await,
    );
    quietly(jo, &["account", "otp", "enrol"]).await;
    printed.insert(
        "account otp remove",
        quietly(operator, &["account", "otp", "remove", "jo@acme.example"]).await,
    );
    printed.insert("account otp enrol", enrolment);
    let storage = &desk.office.app.storage;
    let found = storage
        .find_unique::<Account>("email", jo)
        .await
        .unwrap()
        .unwrap();
    let mut bound = found.record;
    bound.provider = Some(ProviderIdentity {
        issuer: "https://id.acme.example".to_owned(),
        subject: "jo".to_owned(),
        since: bound.created,
    });
    let records = vec![Change::replace(&bound, found.version)];
    let commit = Commit {
        records,
        ..Commit::default()
    };
    assert_eq!(storage.commit(commit).await.unwrap(), CommitOutcome::Done);
    printed.insert(
        "account unbind",
        quietly(operator, &["account", "unbind", jo]).await,
    );

    printed.insert(
        "account reset-password",
        quietly(operator, &["account", "reset-password", jo]).await,
    );

    let documented = documented();
    let mut wrong = Vec::new();
    for (verb, actual) in &printed {
        match documented.get(*verb) {
            Some(example) => wrong.extend(differences(verb, example, actual)),
            None => wrong.push(format!("{verb}: not in docs/cli-json.md")),
        }
    }
    assert_eq!(wrong, [""; 0]);
    let people = [
        "login", "logout", "whoami", "account ", "brand ", "member ", "token ", "audit ",
    ];
    let ours = documented
        .keys()
        .filter(|verb| people.iter().any(|noun| verb.starts_with(noun)));
    let untested: BTreeSet<&String> = ours.filter(|verb| !printed.contains_key(verb.as_str())).collect();
    assert_eq!(untested, BTreeSet::new(), "documented, but not run here");
}

/// The examples of docs/cli-json.md by verb.
pub fn documented() -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli-json.md")).unwrap();
    let mut examples = BTreeMap::new();
    for section in text.split("\n### `").skip(1) {
        let (verb, rest) = section.split_once('`').unwrap();
        let example = rest
            .split("```json\n")
            .nth(1)
            .and_then(|rest| rest.split("\n```").next());
        let example = example.unwrap_or_else(|| panic!("{verb} has no example"));
        examples.insert(
            verb.to_owned(),
            serde_json::from_str(example).unwrap_or_else(|e| panic!("{verb}: {e}")),
        );
    }
    examples
}

/// Where `actual` has other fields or other kinds of value than `example`. A null fits anything; of arrays the
/// first elements are compared; `detail` and `headers` are free.
pub fn differences(at: &str, example: &Value, actual: &Value) -> Vec<String> {
    match (example, actual) {
        (Value::Null, _) | (_, Value::Null) => Vec::new(),
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            let mut wrong = Vec::new();
            for name in names {
                match (left.get(name), right.get(name)) {
                    (Some(_), Some(_)) if matches!(name.as_str(), "detail" | "headers" | "rows") => {}
                    (Some(left), Some(right)) => {
                        wrong.extend(differences(&format!("{at}/{name}"), left, right))
                    }
                    (None, _) => wrong.push(format!("{at}/{name}: not documented")),
                    (_, None) => wrong.push(format!("{at}/{name}: not printed")),
                }
            }
            wrong
        }
        (Value::Array(left), Value::Array(right)) => match (left.first(), right.first()) {
            (Some(left), Some(right)) => differences(&format!("{at}[]"), left, right),
            _ => Vec::new(),
        },
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_)) => Vec::new(),
        _ => vec![format!("{at}: {example} is documented, {actual} is printed")],
    }
}

#[test]
fn differences_are_noticed() {
    let example = json!({"a": 1, "b": [{"c": "x"}], "d": null});
    assert_eq!(
        differences("", &example, &json!({"a": 2, "b": [], "d": "y"})),
        [""; 0]
    );
    assert_eq!(
        differences("", &example, &json!({"a": "2", "b": [{}], "e": 1})).len(),
        4
    );
}
