//! How many devices have a snap, as its publisher asks (publisher-api.md 6.17).

use std::sync::Arc;

use hallmark::app::store::flush_reports;
use hallmark::app::{App, AppState, numbers};
use hallmark::domain::access::Role;
use hallmark::domain::catalog::{RevisionRecord, revision_key};
use hallmark::domain::numbers::{KEPT, REACH, SnapDay};
use hallmark::http::metrics::Metrics;
use hallmark::ports::{Change, Commit, CommitOutcome, Key};
use serde_json::{Value, json};

use super::connecting::token_in;
use super::stock::{Stock, field, id, installed, refresh_action};
use super::{Answer, Field, sign_serial};

const DAY: i64 = 86_400;
const READ: &[&str] = &["snap-read", "snap-read-all"];
const DEBIAN: &str = "snapd/2.66 (series 16; classic) debian/12 (amd64) linux/6.1.0";

/// The instance as another process on the same database has it.
fn process(field: &Field) -> App {
    let mut state = AppState::clone(&field.app);
    state.numbers = Arc::default();
    state.reports = Arc::default();
    state.catalog = Arc::default();
    App::from(state)
}

fn switch(field: &mut Field, app: App) {
    field.router = hallmark::http::router(&app, Metrics::default()).unwrap();
    field.app = app;
}

/// A device says what it has.
async fn report(field: &Field, serial: &str, client: &str, context: Value) {
    let assertion = sign_serial(&field.app, &field.device.key, serial, 1).await;
    let request = field.request(&field.nonce().await, &[("serial", serial)]).await;
    let answer = field.open(&request, &assertion, &field.model).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let session = format!(
        "Macaroon root=\"{}\"",
        answer.json()["macaroon"].as_str().unwrap()
    );
    let headers = [
        ("snap-device-authorization", session.as_str()),
        ("snap-device-architecture", "amd64"),
        ("user-agent", client),
    ];
    let body = json!({"context": context, "actions": [], "fields": ["name"]}).to_string();
    let answer = field.call("POST", "/v2/snaps/refresh", &headers, &body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

async fn asked(field: &Field, token: &str, snap: &str, metric: &str, days: (&str, &str)) -> Answer {
    let authorization = format!("Macaroon {token}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let filter = json!({"snap_id": id(snap), "metric_name": metric, "start": days.0, "end": days.1});
    let body = json!({"filters": [filter]}).to_string();
    field
        .call("POST", "/dev/api/snaps/metrics", &headers, &body)
        .await
}

/// What a publisher of the brand is told of the snap `agent`: buckets and series, as they are on the wire.
async fn told(field: &Field, metric: &str, days: (&str, &str)) -> (Value, Value) {
    let token = token_in(field, "acme", &[Role::Admin], READ).await;
    let answer = asked(field, &token, "agent", metric, days).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let mut answer = answer.json();
    let metrics = answer["metrics"].as_array_mut().unwrap();
    assert_eq!(metrics.len(), 1);
    let metric_told = metrics[0].as_object_mut().unwrap();
    let (buckets, series) = (
        metric_told.remove("buckets").unwrap(),
        metric_told.remove("series").unwrap(),
    );
    let status = if buckets == json!([]) { "NO DATA" } else { "OK" };
    assert_eq!(
        metrics[0],
        json!({"status": status, "snap_id": id("agent"), "metric_name": metric})
    );
    (buckets, series)
}

fn nothing() -> (Value, Value) {
    (json!([]), json!([]))
}

async fn parts(field: &Field) -> Vec<SnapDay> {
    let found = field.app.storage.all::<SnapDay>(Key(Vec::new())).await.unwrap();
    found.into_iter().map(|found| found.record).collect()
}

#[tokio::test]
async fn a_publisher_is_told_how_many_devices_have_the_snap() {
    let mut field = field().await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    stock.release("agent", 2, "edge").await;
    let june = ("2026-05-01", "2026-07-01");
    assert_eq!(told(&field, "installed_base_by_version", june).await, nothing());
    // On the first of June two devices, one of them updated later that day, and one with a snap of somebody else.
    report(&field, "SN 11", DEBIAN, json!([installed("agent", 1, "stable")])).await;
    report(&field, "SN 12", "other", json!([installed("agent", 1, "stable")])).await;
    report(
        &field,
        "SN 13",
        DEBIAN,
        json!([installed("nobody-knows", 1, "stable")]),
    )
    .await;
    flush_reports(&field.app).await.unwrap();
    let released = |name: &str, values: &[i64], released: bool| json!({"name": name, "values": values, "currently_released": released});
    let first = (json!(["2026-06-01"]), json!([released("1.1", &[2], true)]));
    assert_eq!(told(&field, "installed_base_by_version", june).await, first);
    report(&field, "SN 11", DEBIAN, json!([installed("agent", 2, "edge")])).await;
    flush_reports(&field.app).await.unwrap();
    report(&field, "SN 11", DEBIAN, json!([installed("agent", 2, "edge")])).await;
    flush_reports(&field.app).await.unwrap();
    let first = (
        json!(["2026-06-01"]),
        json!([released("1.1", &[1], true), released("1.2", &[1], true)]),
    );
    assert_eq!(told(&field, "installed_base_by_version", june).await, first);
    // Whom a day lost is not known before it is over.
    assert_eq!(told(&field, "daily_device_change", june).await, nothing());
    // The server starts anew. On the second only one of them is there, and the release it had is closed.
    let again = process(&field);
    switch(&mut field, again);
    field.clock.advance(DAY);
    report(&field, "SN 11", DEBIAN, json!([installed("agent", 2, "edge")])).await;
    flush_reports(&field.app).await.unwrap();
    let stock = Stock { field: &field };
    let now = stock.now();
    stock
        .edit("agent", |snap| {
            let edge = "edge".parse().unwrap();
            assert!(snap.releases.close(&edge, &["all".parse().unwrap()], now));
        })
        .await;
    // What it runs is forgotten as a revision, as stores may say; its version is still known.
    let key = [id("agent").to_string(), revision_key(2)];
    let key = Key(key.to_vec());
    let found = field
        .app
        .storage
        .find::<RevisionRecord>(key)
        .await
        .unwrap()
        .unwrap();
    let forget = Commit {
        records: vec![Change::delete(&found.record, found.version)],
        ..Commit::default()
    };
    assert_eq!(
        field.app.storage.commit(forget).await.unwrap(),
        CommitOutcome::Done
    );
    let days = json!(["2026-06-01", "2026-06-02"]);
    let plain = |name: &str, values: &[i64]| json!({"name": name, "values": values});
    for (metric, series) in [
        (
            "installed_base_by_version",
            json!([released("1.1", &[1, 0], true), released("1.2", &[1, 1], false)]),
        ),
        (
            "weekly_installed_base_by_version",
            json!([released("1.1", &[1, 1], true), released("1.2", &[1, 1], false)]),
        ),
        (
            "weekly_installed_base_by_channel",
            json!([
                released("latest/edge", &[1, 1], false),
                released("latest/stable", &[1, 1], true)
            ]),
        ),
        ("installed_base_by_architecture", json!([plain("amd64", &[2, 1])])),
        (
            "installed_base_by_operating_system",
            json!([plain("debian/12", &[1, 1])]),
        ),
    ] {
        assert_eq!(
            told(&field, metric, june).await,
            (days.clone(), series),
            "{metric}"
        );
    }
    for metric in [
        "installed_base_by_country",
        "weekly_installed_base_by_country",
        "anything",
    ] {
        assert_eq!(told(&field, metric, june).await, nothing(), "{metric}");
    }
    field.clock.advance(DAY);
    let change = json!([
        plain("continued", &[0, 1]),
        plain("lost", &[0, 1]),
        plain("new", &[2, 0])
    ]);
    assert_eq!(
        told(&field, "daily_device_change", june).await,
        (days.clone(), change)
    );
    // Days of the question only.
    let second = ("2026-06-02", "2026-06-02");
    let change = json!([plain("continued", &[1]), plain("lost", &[1]), plain("new", &[0])]);
    assert_eq!(
        told(&field, "daily_device_change", second).await,
        (json!(["2026-06-02"]), change)
    );
    // Upkeep makes one of the parts, and nobody sees a difference.
    field.clock.advance(2 * DAY);
    let june = ("2026-06-01", "2026-06-02");
    let before = told(&field, "weekly_installed_base_by_version", june).await;
    let again = process(&field);
    switch(&mut field, again);
    numbers::sweep(&field.app).await.unwrap();
    assert_eq!(
        told(&field, "weekly_installed_base_by_version", june).await,
        before
    );
    assert_eq!(parts(&field).await.len(), 2);
    // And lets go of them in the end.
    field.clock.advance((KEPT - 3) * DAY);
    numbers::sweep(&field.app).await.unwrap();
    assert_eq!(
        told(&field, "installed_base_by_architecture", june).await,
        (json!(["2026-06-02"]), json!([plain("amd64", &[1])]))
    );
    field.clock.advance(REACH * DAY);
    numbers::sweep(&field.app).await.unwrap();
    assert_eq!(parts(&field).await.len(), 1);
    field.clock.advance(DAY);
    numbers::sweep(&field.app).await.unwrap();
    assert_eq!(parts(&field).await, []);
}

#[tokio::test]
async fn processes_on_one_database_count_each_device_once() {
    let mut field = field().await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    let apps = [field.app.clone(), process(&field), process(&field)];
    // Every process hears of the same devices, in turns and together.
    for round in 0..6usize {
        for (place, app) in apps.iter().enumerate() {
            switch(&mut field, app.clone());
            // The fourth comes after the numbers of the day were merged.
            for serial in ["SN 11", "SN 12", "SN 13", "SN 14"] {
                if serial == "SN 14" && round < 5 {
                    continue;
                }
                let revision = 1 + u64::from((round + place) % 3 == 0);
                report(
                    &field,
                    serial,
                    DEBIAN,
                    json!([installed("agent", revision, "stable")]),
                )
                .await;
            }
        }
        let flushes = apps.iter().map(flush_reports);
        for flushed in futures_util::future::join_all(flushes).await {
            flushed.unwrap();
        }
        field.clock.advance(DAY / 3);
        // What is merged early is written to again.
        if round == 4 {
            field.clock.advance(2 * DAY);
            numbers::sweep(&field.app).await.unwrap();
            field.clock.advance(-2 * DAY);
        }
    }
    let june = ("2026-06-01", "2026-06-02");
    let (buckets, series) = told(&field, "installed_base_by_architecture", june).await;
    assert_eq!(buckets, json!(["2026-06-01", "2026-06-02"]));
    assert_eq!(series, json!([{"name": "amd64", "values": [3, 4]}]));
    let (_, series) = told(&field, "weekly_installed_base_by_version", june).await;
    let sum = |place: usize| -> i64 {
        let series = series.as_array().unwrap();
        series
            .iter()
            .map(|series| series["values"][place].as_i64().unwrap())
            .sum()
    };
    assert_eq!((sum(0), sum(1)), (3, 4));
    let week = ("2026-06-01", "2026-06-01");
    field.clock.advance(DAY);
    let (_, change) = told(&field, "daily_device_change", june).await;
    assert_eq!(
        change,
        json!([
            {"name": "continued", "values": [0, 3]}, {"name": "lost", "values": [0, 0]},
            {"name": "new", "values": [3, 1]},
        ])
    );
    let (_, change) = told(&field, "weekly_device_change", week).await;
    assert_eq!(change[2], json!({"name": "new", "values": [3]}));
}

#[tokio::test]
async fn numbers_are_for_who_takes_part_in_the_snap() {
    let field = field().await;
    let context = json!([installed("agent", 1, "stable"), installed("secret", 1, "stable")]);
    report(&field, "SN 11", DEBIAN, context).await;
    flush_reports(&field.app).await.unwrap();
    let days = ("2026-06-01", "2026-06-01");
    let metric = "installed_base_by_architecture";
    let mine = token_in(&field, "acme", &[Role::Admin], READ).await;
    for snap in ["agent", "secret"] {
        let answer = asked(&field, &mine, snap, metric, days).await;
        assert_eq!(answer.json()["metrics"][0]["series"][0]["values"], json!([1]));
    }
    // Somebody else's snaps, public or not, and one that is not there.
    for snap in ["theirs", "their-secret", "none"] {
        let answer = asked(&field, &mine, snap, metric, days).await;
        assert_eq!(answer.status, 404, "{snap}");
    }
    // A store that shows the snap is told nothing of other stores' devices, in the words for what is not there.
    let shows = token_in(&field, "acme-store", &[Role::Admin], READ).await;
    let words = async |snap: &str| {
        let answer = asked(&field, &shows, snap, metric, days).await;
        assert_eq!(answer.status, 404, "{snap}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        text.replace(id(snap).as_str(), "ID")
    };
    assert_eq!(words("agent").await, words("none").await);
    for days in [
        ("2026-06-02", "2026-06-01"),
        ("2026-6-1", "2026-06-01"),
        ("", ""),
        ("2026-02-30", "2026-03-01"),
    ] {
        assert_eq!(
            asked(&field, &mine, "agent", metric, days).await.status,
            400,
            "{days:?}"
        );
    }
    // Longer ago and later than can be.
    let ever = asked(&field, &mine, "agent", metric, ("0000-01-01", "9999-12-31")).await;
    assert_eq!(ever.json()["metrics"][0]["buckets"], json!(["2026-06-01"]));
}

#[tokio::test]
async fn a_device_that_says_nothing_of_its_snaps_does_not_count() {
    let field = field().await;
    field.clock.advance(DAY - 120);
    let device = super::stock::device(&field).await;
    device
        .refresh(json!([installed("agent", 1, "stable")]), json!([]))
        .await;
    flush_reports(&field.app).await.unwrap();
    field.clock.advance(180);
    device.refresh(json!([]), json!([])).await;
    flush_reports(&field.app).await.unwrap();
    let june = ("2026-06-01", "2026-06-02");
    let (_, series) = told(&field, "installed_base_by_channel", june).await;
    assert_eq!(series[0]["values"], json!([1, 0]));
    // The same said again, shortly after midnight, is a report of that day.
    field.clock.advance(60);
    device
        .refresh(
            json!([installed("agent", 1, "stable")]),
            json!([refresh_action("agent")]),
        )
        .await;
    flush_reports(&field.app).await.unwrap();
    let (_, series) = told(&field, "installed_base_by_channel", june).await;
    assert_eq!(series[0]["values"], json!([1, 1]));
}
