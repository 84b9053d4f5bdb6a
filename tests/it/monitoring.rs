//! What the examples for Prometheus and Grafana ask for is what `/metrics` tells.

use std::collections::BTreeSet;
use std::path::Path;

use hallmark::app::{App, gauges};
use hallmark::domain::time::Timestamp;
use hallmark::domain::vault::SigningKey;
use hallmark::http::metrics::Metrics;
use hallmark::http::tls::Tls;
use hallmark::ports::{Change, Commit, CommitOutcome, Key};
use http::StatusCode;

use crate::harness;
use crate::tls::fixture;

/// What a server prints that has everything: TLS, a request behind it, its disks looked at.
async fn printed(app: &App) -> String {
    let metrics = Metrics::default();
    metrics.watch_tls(Tls::open(&fixture("first.pem"), &fixture("first.key")).unwrap());
    metrics.set_disk("data", (1, 2));
    let elapsed = std::time::Duration::from_millis(1);
    metrics.count(&http::Method::GET, StatusCode::GATEWAY_TIMEOUT, "x", elapsed);
    assert!(gauges::answers(app).await);
    gauges::look(app).await.unwrap();
    let router = hallmark::http::router(app, metrics).unwrap();
    let request = http::Request::get("/metrics")
        .extension(hallmark::http::serve::Peer::Local)
        .body(http_body_util::Either::Right(http_body_util::Full::default()))
        .unwrap();
    let answer = router
        .answer(request, hallmark::http::router::RequestId("x".into()))
        .await;
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// The names that a query may use.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let ends: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        for end in ends {
            assert!(names.insert(format!("{name}{end}")), "{name} is told twice");
        }
    }
    names
}

#[tokio::test]
async fn rules_and_dashboard_name_only_metrics_that_are_told() {
    let (app, _) = harness::instance().await;
    let app = &app;
    let told = names(&printed(app).await);
    let word = regex::Regex::new(r"\b(?:hallmark|http_in)_[a-z_]+").unwrap();
    let mut used = BTreeSet::new();
    for file in ["alerts.yaml", "alerts-test.yaml", "grafana-dashboard.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/monitoring")
            .join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let found: BTreeSet<String> = word
            .find_iter(&text)
            .map(|found| found.as_str().to_owned())
            .collect();
        let unknown: Vec<&String> = found.difference(&told).collect();
        assert!(unknown.is_empty(), "{file} names what is not told: {unknown:?}");
        assert!(found.len() > 10, "{file}: {found:?}");
        used.extend(found);
    }
    // And the table of docs/operations.md has all of them.
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let bare = |name: &str| {
        name.trim_end_matches("_bucket")
            .trim_end_matches("_sum")
            .trim_end_matches("_count")
            .to_owned()
    };
    let silent: BTreeSet<String> = told
        .iter()
        .map(|name| bare(name))
        .filter(|name| !page.contains(&format!("`{name}`")) && !page.contains(&format!("`{name}{{")))
        .collect();
    assert!(
        silent.is_empty(),
        "docs/operations.md does not explain {silent:?}"
    );
}

#[tokio::test]
async fn the_end_of_a_key_is_told_and_whether_the_database_answers() {
    let (app, _) = harness::instance().await;
    let app = &app;
    let mut keys = app.storage.all::<SigningKey>(Key(Vec::new())).await.unwrap();
    let mut found = keys.remove(0);
    found.record.until = Some(Timestamp::from_unix(4_000_000_000));
    let commit = Commit {
        records: vec![Change::replace(&found.record, found.version)],
        ..Commit::default()
    };
    assert_eq!(app.storage.commit(commit).await.unwrap(), CommitOutcome::Done);
    let text = printed(app).await;
    let line = format!(
        "hallmark_signing_key_expiry_timestamp_seconds{{account=\"{}\",key=\"{}\"}} 4000000000",
        found.record.account_id, found.record.name
    );
    for line in [
        line.as_str(),
        "hallmark_database_up 1",
        "hallmark_queue_length{queue=\"mail\"} 0",
        "hallmark_queue_oldest_age_seconds{queue=\"pushes\"} 0",
        "hallmark_disk_free_bytes{place=\"data\"} 1",
        "hallmark_serial_requests_total{result=\"issued\",reason=\"\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line}:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
