//! The command line of the vault: the real program against a served factory, its output as documented.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use hallmark::app::models::ModelSettings;
use hallmark::domain::access::{Account, Membership, Role, Token, TokenText};
use hallmark::domain::assertion::{AssertionType as T, StreamDecoder};
use hallmark::domain::vault::Reissue;
use hallmark::ports::{Change, Commit};
use serde_json::{Value, json};

use super::factory::*;
use crate::cli::{differences, documented};

/// How a command ended.
#[derive(Debug)]
struct Ended {
    status: i32,
    out: String,
    err: String,
}

struct Desk {
    factory: Factory,
    token: String,
    home: tempfile::TempDir,
}

impl Desk {
    /// Somebody with these roles in the brand's base store, logged in as a person.
    async fn new(roles: &[Role]) -> Self {
        let factory = Factory::new().await;
        let now = factory.app.clock.now();
        let account = Account {
            id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            email: "jo@acme.example".parse().unwrap(),
            username: "jo-doe".parse().unwrap(),
            display_name: "Jo".to_owned(),
            password: None,
            unproven: false,
            operator: false,
            second_factor: None,
            provider: None,
            reset: None,
            disabled: false,
            created: now,
        };
        let membership = Membership {
            brand_id: BRAND.parse().unwrap(),
            store_id: BRAND.parse().unwrap(),
            account_id: account.id.clone(),
            roles: roles.to_vec(),
            changed: now,
        };
        let text = TokenText::generate(|buffer| buffer.fill(7));
        let token = Token {
            id: "test".to_owned(),
            account_id: account.id.clone(),
            hash: text.hash(),
            description: "test".to_owned(),
            permissions: None,
            brand_id: None,
            words: Vec::new(),
            limits: Default::default(),
            publisher: false,
            person: true,
            created: now,
            expires: now.plus_seconds(1_000_000),
        };
        let records = vec![
            Change::create(&account),
            Change::create(&membership),
            Change::create(&token),
        ];
        factory
            .commit(Commit {
                records,
                ..Commit::default()
            })
            .await;
        let home = tempfile::TempDir::new().unwrap();
        Self {
            factory,
            token: text.reveal().to_owned(),
            home,
        }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hallmark"));
        command
            .args(arguments)
            .env_clear()
            .env("HALLMARK_HOME", self.home.path())
            .env("HALLMARK_SERVER", format!("http://{}", self.factory.address))
            .env("HALLMARK_TOKEN", &self.token)
            .stdin(Stdio::null());
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        Ended {
            status: ended.status.code().unwrap(),
            out: String::from_utf8(ended.stdout).unwrap(),
            err: String::from_utf8(ended.stderr).unwrap(),
        }
    }

    /// Runs a verb that must do what it is asked.
    async fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!(ended.status, 0, "{arguments:?} {ended:?}");
        ended.out
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let out = self.done(&[arguments, &["--format", "json"]].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    /// Runs a verb that must be refused; the message.
    async fn refused(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!(
            (ended.status, ended.out.as_str()),
            (1, ""),
            "{arguments:?} {ended:?}"
        );
        assert!(ended.err.starts_with("error: cannot "), "{ended:?}");
        ended.err
    }

    async fn register(&self, serial: &str, key: &TestKey) -> Answer {
        self.factory.register(&Request::new(serial), key).await
    }
}

const STATEMENT: &str = "type: model\nauthority-id: acme\nseries: 16\nbrand-id: acme\nmodel: gate-1\n\
    architecture: amd64\nbase: core22\ngadget: pc\nkernel: pc-kernel\ntimestamp: 2026-06-01T00:00:00Z\n";

#[tokio::test]
async fn json_output_is_as_documented() {
    let desk = Desk::new(&[Role::Admin, Role::Brand]).await;
    let device = TestKey::new("device-2048");
    let mut printed: BTreeMap<&str, Value> = BTreeMap::new();
    let mut print = |verb, value| printed.insert(verb, value);

    print("model create", desk.json(&["model", "create", "gate-2"]).await);
    print("model list", desk.json(&["model", "list"]).await);
    print("model show", desk.json(&["model", "show", "gate-1"]).await);
    print(
        "model policy",
        desk.json(&["model", "policy", "gate-1", "--key", "serial-2"])
            .await,
    );
    print("model disable", desk.json(&["model", "disable", "gate-1"]).await);
    print("model enable", desk.json(&["model", "enable", "gate-1"]).await);
    let added = desk
        .json(&["model", "api-key", "add", "gate-1", "--expires", "90d"])
        .await;
    let id = added["api-key-id"].as_str().unwrap().to_owned();
    print("model api-key add", added);
    print(
        "model api-key expire",
        desk.json(&["model", "api-key", "expire", "gate-1", &id, "--in", "1d"])
            .await,
    );
    print(
        "model api-key list",
        desk.json(&["model", "api-key", "list", "gate-1"]).await,
    );
    print(
        "model api-key revoke",
        desk.json(&["model", "api-key", "revoke", "gate-1", &id]).await,
    );

    desk.register("S1", &device).await.serial();
    print("serial list", desk.json(&["serial", "list"]).await);
    print(
        "serial show",
        desk.json(&["serial", "show", "gate-1", "S1"]).await,
    );
    let list = desk.file("list", "A1\n# a comment\n\ngate-2/SN 2\n");
    print(
        "serial allow",
        desk.json(&["serial", "allow", &list, "--model", "gate-1"]).await,
    );
    print(
        "serial deny",
        desk.json(&["serial", "deny", "gate-1", "D1", "D2"]).await,
    );
    print("serial judged", desk.json(&["serial", "judged", "gate-1"]).await);
    print(
        "serial forget",
        desk.json(&["serial", "forget", "gate-1", "D1"]).await,
    );
    print(
        "serial policy",
        desk.json(&["serial", "policy", "gate-1", "--reissue", "approve"])
            .await,
    );
    assert_eq!(desk.register("S1", &device).await.status, 202);
    print("serial waiting", desk.json(&["serial", "waiting"]).await);
    print(
        "serial approve",
        desk.json(&["serial", "approve", "gate-1", "S1"]).await,
    );
    assert_eq!(
        desk.register("S1", &TestKey::new("brand-expired")).await.status,
        202
    );
    print(
        "serial reject",
        desk.json(&["serial", "reject", "gate-1", "S1"]).await,
    );

    print(
        "remodel add",
        desk.json(&["remodel", "add", "gate-1", "gate-2", "--note", "trial"])
            .await,
    );
    print("remodel list", desk.json(&["remodel", "list"]).await);
    print(
        "remodel remove",
        desk.json(&["remodel", "remove", "gate-1", "gate-2"]).await,
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
    let nouns = ["model ", "serial ", "remodel ", "system-user "];
    let ours = documented
        .keys()
        .filter(|verb| nouns.iter().any(|noun| verb.starts_with(noun)));
    let untested: BTreeSet<&String> = ours.filter(|verb| !printed.contains_key(verb.as_str())).collect();
    assert_eq!(untested, BTreeSet::new(), "documented, but not run here");
}

#[tokio::test]
async fn a_model_is_signed_created_and_hooked_as_in_the_walk_through() {
    let desk = Desk::new(&[Role::Admin, Role::Brand]).await;
    let file = desk.file("gate-1.yaml", STATEMENT);
    for format in ["table", "json"] {
        let revision = if format == "json" { "revision: 1\n" } else { "" };
        let file = desk.file("gate-1.yaml", &format!("{STATEMENT}{revision}"));
        let signed = desk.done(&["model", "sign", &file, "--format", format]).await;
        assert!(
            signed.starts_with("type: model\n") && signed.ends_with('\n'),
            "{signed}"
        );
        hallmark::domain::assertion::decode(signed.as_bytes()).unwrap();
    }
    let message = desk.refused(&["model", "sign", &file]).await;
    assert!(message.contains("[old-revision]"), "{message}");
    let bad = desk.file("bad.yaml", &STATEMENT.replace("base: core22", "base: UPPER"));
    assert!(desk.refused(&["model", "sign", &bad]).await.contains("\"base\""));

    let created = desk.run(&["model", "create", "gate-2"]).await;
    let key = created.out.strip_suffix('\n').unwrap();
    assert!(
        key.starts_with("hmv_") && !key.contains('\n'),
        "the key alone: {created:?}"
    );
    desk.factory.request_id(key).await;
    let hook = desk.done(&["model", "hook", "gate-2", "--api-key", key]).await;
    assert!(hook.starts_with("#!/bin/sh\n") && hook.contains(key), "{hook}");
    // As snapd reads it: digits alone would be a number to it.
    let line = hook
        .lines()
        .find_map(|line| line.strip_prefix("# snapctl set registration."));
    let shown = format!("cat() {{ echo 0042; }}; printf %s {}", line.unwrap());
    let shown = Command::new("sh").args(["-c", &shown]).output().unwrap().stdout;
    assert_eq!(String::from_utf8(shown).unwrap(), "proposed-serial=\"0042\"");
    let syntax = Command::new("sh")
        .args(["-n", &desk.file("hook", &hook)])
        .status()
        .unwrap();
    assert!(syntax.success());
    desk.refused(&["model", "hook", "gate-2", "--api-key", "not-this-one-either"])
        .await;
    let given = desk
        .run(&["model", "create", "gate-3", "--api-key", "a-key-of-my-own"])
        .await;
    assert_eq!(given.out, "a-key-of-my-own\n");

    let rotated = desk
        .run(&["model", "api-key", "rotate", "gate-2", "--overlap", "1h"])
        .await;
    desk.factory.request_id(rotated.out.trim()).await;
    desk.factory.request_id(key).await;
}

#[tokio::test]
async fn signing_a_model_tells_what_older_devices_would_make_of_it() {
    let desk = Desk::new(&[Role::Brand]).await;
    let plain = desk.file("plain.yaml", STATEMENT);
    let quiet = desk.run(&["model", "sign", &plain]).await;
    assert_eq!((quiet.status, quiet.err.as_str()), (0, ""), "{quiet:?}");

    let sets = "revision: 1\nvalidation-sets:\n  - name: base-set\n    mode: enforce\n";
    let file = desk.file("sets.yaml", &format!("{STATEMENT}{sets}"));
    let warned = desk.run(&["model", "sign", &file]).await;
    assert_eq!(warned.status, 0, "{warned:?}");
    assert_eq!(warned.err, "warning: snapd 2.57 ignores \"validation-sets\"\n");
    hallmark::domain::assertion::decode(warned.out.as_bytes()).unwrap();

    let file = desk.file("series.yaml", &STATEMENT.replace("series: 16", "series: 18"));
    let warned = desk.run(&["model", "sign", &file]).await;
    assert!(warned.err.contains("\"series\""), "{warned:?}");
}

#[tokio::test]
async fn the_log_is_listed_filtered_and_exported() {
    let desk = Desk::new(&[Role::Admin]).await;
    let device = TestKey::new("device-2048");
    for serial in ["=1+1", "SN 1", "a,\"b\""] {
        desk.factory.clock.advance(60);
        desk.register(serial, &device).await.serial();
    }
    let list = desk.json(&["serial", "list"]).await;
    let serials: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["serial"].as_str().unwrap())
        .collect();
    assert_eq!(serials, ["a,\"b\"", "SN 1", "=1+1"], "newest first");
    assert_eq!(
        desk.json(&["serial", "list", "--limit", "1"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        desk.json(&["serial", "list", "--model", "gate-9"]).await,
        json!([])
    );
    assert_eq!(
        desk.json(&["serial", "list", "--serial", "SN"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let since = desk
        .json(&["serial", "list", "--since", "2026-06-01T00:02:00Z"])
        .await;
    assert_eq!(since.as_array().unwrap().len(), 2);
    let csv = desk.done(&["serial", "list", "--csv"]).await;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(
        lines[0].starts_with("brand-id,model,serial,revision,created-at,"),
        "{csv}"
    );
    assert!(
        lines[1].starts_with("acme,gate-1,\"a,\"\"b\"\"\",1,2026-06-01T00:03:00Z,"),
        "{csv}"
    );
    assert!(lines[3].starts_with("acme,gate-1,'=1+1,1,"), "{csv}");
    let ndjson = desk
        .done(&["serial", "list", "--ndjson", "--model", "gate-1"])
        .await;
    assert_eq!(ndjson.lines().count(), 3);
    let table = desk.run(&["serial", "list", "--limit", "2"]).await;
    assert_eq!(table.out.lines().count(), 3);
    assert!(table.err.contains("more rows"), "{table:?}");
    let assertion = desk
        .done(&["serial", "show", "gate-1", "SN 1", "--assertion"])
        .await;
    assert!(assertion.starts_with("type: serial\n"), "{assertion}");
    assert!(
        desk.refused(&["serial", "show", "gate-1", "SN 9"])
            .await
            .contains("[resource-not-found]")
    );
}

#[tokio::test]
async fn an_empty_log_is_an_empty_list_and_an_export_with_a_head() {
    let desk = Desk::new(&[Role::Admin]).await;
    assert_eq!(desk.json(&["serial", "list"]).await, json!([]));
    assert_eq!(desk.done(&["serial", "list", "--csv"]).await.lines().count(), 1);
    assert_eq!(desk.done(&["serial", "list", "--ndjson"]).await, "");
}

#[tokio::test]
async fn serials_with_spaces_are_denied_from_a_list_line_by_line() {
    let desk = Desk::new(&[Role::Admin]).await;
    let file = desk.file("stolen", "SN 1\nSN 2\n");
    desk.done(&["serial", "deny", "gate-1", &format!("@{file}"), "SN 3"])
        .await;
    for serial in ["SN 1", "SN 2", "SN 3"] {
        assert_eq!(
            desk.register(serial, &TestKey::new("device-2048")).await.code(),
            "duplicate-assertion"
        );
    }
    let usage = desk.run(&["serial", "policy", "gate-1"]).await;
    assert_eq!(usage.status, 2, "{usage:?}");
    assert_eq!(
        desk.run(&["serial", "policy", "gate-1", "--reissue", "never"])
            .await
            .status,
        2
    );
}

#[tokio::test]
async fn a_system_user_is_issued_by_a_person_with_the_role_and_by_nobody_else() {
    let desk = Desk::new(&[Role::Admin]).await;
    let keys = desk.file("keys", "# laptop\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIw ann\n");
    let user = [
        "system-user",
        "issue",
        "ann@acme.example",
        "--username",
        "ann",
        "--model",
        "gate-1",
    ];
    let issue = [&user[..], &["--ssh-keys", &keys]].concat();
    let out = desk.done(&issue).await;
    let kinds: Vec<T> = StreamDecoder::new(out.into())
        .map(|a| a.unwrap().kind())
        .collect();
    assert_eq!(kinds, [T::Account, T::AccountKey, T::SystemUser]);
    assert!(desk.refused(&user).await.contains("[empty-credentials]"));
    let hash = desk.file("hash", "secret\n");
    let plain = [&user[..], &["--password-hash-file", &hash]].concat();
    assert!(desk.refused(&plain).await.contains("[invalid-password-hash]"));

    for roles in [&[Role::View][..], &[Role::Brand], &[Role::Review, Role::Access]] {
        let other = Desk::new(roles).await;
        let keys = other.file("keys", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIw ann\n");
        assert!(
            other
                .refused(&[&user[..], &["--ssh-keys", &keys]].concat())
                .await
                .contains("cannot do this")
        );
    }
    // A program's token is no person, whatever its owner may do.
    let mut token = desk
        .factory
        .app
        .storage
        .find::<Token>(["test"])
        .await
        .unwrap()
        .unwrap();
    token.record.person = false;
    let change = Change::replace(&token.record, token.version);
    desk.factory
        .commit(Commit {
            records: vec![change],
            ..Commit::default()
        })
        .await;
    desk.refused(&issue).await;
    desk.done(&["serial", "list"]).await;
}

#[tokio::test]
async fn settings_given_at_creation_are_in_force() {
    let desk = Desk::new(&[Role::Admin]).await;
    let made = desk
        .json(&[
            "model",
            "create",
            "gate-2",
            "--api-key",
            "acme-gate-2-key",
            "--reissue",
            "deny",
            "--auth",
            "none",
            "--allow-list",
            "on",
            "--quota",
            "7",
        ])
        .await;
    assert_eq!(made["reissue"], json!(Reissue::Deny));
    assert_eq!(
        (&made["auth"], &made["allow-list"], &made["quota"]),
        (&json!("none"), &json!(true), &json!(7))
    );
    let changed = desk
        .json(&[
            "serial", "policy", "gate-2", "--quota", "none", "--auth", "api-key",
        ])
        .await;
    assert_eq!(
        (&changed["auth"], &changed["quota"]),
        (&json!("api-key"), &Value::Null)
    );
    assert_eq!(changed["reissue"], "deny", "what is not given stays");
    desk.factory.configure(ModelSettings::default()).await;
}
