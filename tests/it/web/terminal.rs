//! `hallmark login --web`: a terminal is let in with a browser.

use std::process::Stdio;
use std::time::Duration;

use hallmark::domain::access::TokenText;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use super::browser::Browser;
use crate::store::shop::Shop;

async fn ask(shop: &Shop, body: Value) -> (u16, Value) {
    let url = format!("http://{}/hallmark/v1/login/web", shop.address);
    let answer = shop.http.post(url).body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap(),
    )
}

/// A token a terminal made, and the path of the page it is let in on.
async fn asking(shop: &Shop, fill: u8) -> (TokenText, String) {
    let token = TokenText::generate(|buffer| buffer.fill(fill));
    let (status, answer) = ask(shop, json!({"hash": token.hash(), "description": "<b>desk</b>"})).await;
    assert_eq!(status, 201, "{answer}");
    let url = answer["url"].as_str().unwrap();
    let path = url.strip_prefix("http://127.0.0.1:8380").unwrap().to_owned();
    (token, path)
}

async fn works(shop: &Shop, token: &TokenText) -> bool {
    let url = format!("http://{}/hallmark/v1/whoami", shop.address);
    let answer = shop
        .http
        .get(url)
        .bearer_auth(token.reveal())
        .send()
        .await
        .unwrap();
    answer.status() == 200
}

#[tokio::test]
async fn the_command_waits_until_its_owner_lets_it_in() {
    let shop = Shop::new().await;
    let home = tempfile::TempDir::new().unwrap();
    let server = format!("http://{}", shop.address);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallmark"));
    command
        .args(["login", "--web", "--format", "json", "--server", &server])
        .env_clear()
        .env("HALLMARK_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut running = command.spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap()).lines();
    let line = said.next_line().await.unwrap().unwrap();
    let found =
        regex::Regex::new(r"http://127\.0\.0\.1:8380(/account/terminal/\S+) .* ([0-9A-F]{4}-[0-9A-F]{4}) ")
            .unwrap();
    let found = found.captures(&line).unwrap_or_else(|| panic!("{line}"));
    let (path, code) = (&found[1], &found[2]);

    let nobody = Browser::new(&shop).get(path).await;
    assert!(
        nobody.status == 303
            && nobody
                .location()
                .starts_with("/login?next=%2Faccount%2Fterminal%2F"),
        "{nobody:?}"
    );
    let admin = Browser::of(&shop, "admin");
    admin
        .get(path)
        .await
        .shows(code)
        .shows("admin@people.example")
        .shows("127.0.0.1");
    admin.post(path, &[]).await.shows("The terminal is logged in");
    let ended = tokio::time::timeout(Duration::from_secs(30), running.wait())
        .await
        .unwrap()
        .unwrap();
    let mut out = String::new();
    running
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .await
        .unwrap();
    assert!(ended.success(), "{out}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&shown["email"], &shown["server"]),
        (&json!("admin@people.example"), &json!(server))
    );
    let kept: Value =
        serde_json::from_slice(&std::fs::read(home.path().join("login.json")).unwrap()).unwrap();
    let listed = shop.call("admin", "GET", "/tokens", Value::Null).await.ok();
    assert_eq!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .filter(|token| token["kind"] == "log-in")
            .count(),
        2
    );
    assert!(works(&shop, &TokenText::parse(kept["token"].as_str().unwrap()).unwrap()).await);
}

#[tokio::test]
async fn a_terminal_is_let_in_once_in_time_by_a_person() {
    let shop = Shop::new().await;
    let (token, path) = asking(&shop, 1).await;
    assert!(!works(&shop, &token).await);
    let admin = Browser::of(&shop, "admin");
    admin.get(&path).await.shows("&lt;b&gt;desk&lt;/b&gt;");
    assert!(!works(&shop, &token).await, "looking lets nobody in");
    assert_eq!(
        admin.submit_raw(&path, &[], &[]).await.status,
        403,
        "nor does a form of another site"
    );
    let half = path.len() - 50;
    for changed in [
        path.replace("/account/terminal/", "/account/terminal/x"),
        path[..path.len() - 1].to_owned(),
        path[..half].to_owned(),
        "/account/terminal/x.y".to_owned(),
    ] {
        let seen = admin.get(&changed).await;
        assert!(
            seen.status == 404 && seen.text.contains("terminal-expired"),
            "{seen:?}"
        );
        assert_eq!(admin.submit(&changed, &[]).await.status, 404);
    }
    assert!(!works(&shop, &token).await);
    admin.post(&path, &[]).await.shows("The terminal is logged in");
    assert!(works(&shop, &token).await);
    let again = Browser::of(&shop, "view").submit(&path, &[]).await;
    assert!(
        again.status == 409 && again.text.contains("terminal-known"),
        "{again:?}"
    );

    let (late, path) = asking(&shop, 2).await;
    shop.clock.advance(601);
    assert_eq!(admin.submit(&path, &[]).await.status, 404);
    assert!(!works(&shop, &late).await);
}

#[tokio::test]
async fn what_is_no_hash_of_a_token_is_refused() {
    let shop = Shop::new().await;
    for body in [
        json!({"hash": ""}),
        json!({"hash": "0".repeat(63)}),
        json!({"hash": "A".repeat(64)}),
        json!({"hash": "é".repeat(32)}),
        json!({"hash": "0".repeat(64), "account": "admin"}),
        json!({"description": "x"}),
    ] {
        let (status, answer) = ask(&shop, body.clone()).await;
        assert_eq!(status, 400, "{body} {answer}");
    }
    let (status, answer) = ask(
        &shop,
        json!({"hash": "0".repeat(64), "description": "x\u{7}".repeat(5000)}),
    )
    .await;
    assert!(
        status == 201 && answer["url"].as_str().unwrap().len() < 900,
        "{answer}"
    );
}
