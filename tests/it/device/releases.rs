//! Which revision a device gets: channels, tracks, cohorts, and what is gated.

use hallmark::domain::catalog::Track;
use serde_json::{Value, json};

use super::stock::{Stock, device, field, id, installed, outcomes, refresh_action, validate};

#[tokio::test]
async fn a_release_is_seen_at_once_and_a_closed_channel_follows_the_safer_one() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    let context = json!([installed("agent", 1, "latest/edge")]);
    let ask = || device.refresh(context.clone(), json!([refresh_action("agent")]));
    assert_eq!(outcomes(&ask().await), ["1@latest/stable"]);
    stock.release("agent", 2, "edge").await;
    assert_eq!(outcomes(&ask().await), ["2@latest/edge"]);
    let now = field.app.clock.now();
    stock
        .edit("agent", |record| {
            record.releases.close(&"edge".parse().unwrap(), &[], now);
            record.releases.close(&"stable".parse().unwrap(), &[], now);
            record.releases.release(
                &["arm64".parse().unwrap()],
                &"beta".parse().unwrap(),
                2,
                None,
                now,
            );
        })
        .await;
    let answer = ask().await;
    assert_eq!(outcomes(&answer), ["revision-not-found"]);
    assert_eq!(
        answer["results"][0]["error"]["extra"]["releases"],
        json!([{"architecture": "arm64", "channel": "latest/beta"}])
    );
    assert_eq!(answer["results"][0]["name"], "agent");
    // What runs anywhere is listed for the device's own architecture: the client compares the word.
    stock.release("agent", 2, "candidate").await;
    let answer = device
        .refresh(
            json!([installed("agent", 1, "9/edge")]),
            json!([refresh_action("agent")]),
        )
        .await;
    assert_eq!(
        answer["results"][0]["error"]["extra"]["releases"],
        json!([
            {"architecture": "amd64", "channel": "latest/candidate"},
            {"architecture": "arm64", "channel": "latest/beta"},
        ])
    );
}

#[tokio::test]
async fn while_releases_happen_devices_get_the_old_or_the_new_and_never_nothing() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    let writing = async {
        for round in 0..40 {
            stock.release("agent", 1 + round % 2, "stable").await;
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            seen.extend(device.install(&["agent"], "stable").await);
            tokio::task::yield_now().await;
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, reading);
    let either = ["1@latest/stable".to_owned(), "2@latest/stable".to_owned()];
    assert_eq!(seen, either.into());
}

#[tokio::test]
async fn the_default_track_redirects_an_installation() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.revision("agent", 2, "agent two", |_| ()).await;
    stock.release("agent", 2, "2.0/stable").await;
    stock
        .edit("agent", |record| {
            record.default_track = Some("2.0".parse::<Track>().unwrap());
        })
        .await;
    let install = |channel: Value| {
        let action = json!({"action": "install", "instance-key": "install-1", "name": "agent", "channel": channel, "epoch": null});
        device.refresh(json!([]), json!([action]))
    };
    let answer = install(json!("stable")).await;
    assert_eq!(answer["results"][0]["redirect-channel"], "2.0/stable");
    assert_eq!(answer["results"][0]["snap"]["revision"], 2);
    let answer = install(json!("latest/stable")).await;
    assert_eq!(answer["results"][0]["redirect-channel"], Value::Null);
    assert_eq!(answer["results"][0]["snap"]["revision"], 1);
    let answer = install(Value::Null).await;
    assert_eq!(answer["results"][0]["snap"]["revision"], 2);
    let info = device.get("/v2/snaps/info/agent?architecture=amd64").await.json();
    let names: Vec<&str> = info["channel-map"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["channel"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["2.0/stable", "stable"]);
    assert_eq!(info["default-track"], "2.0");
}

#[tokio::test]
async fn a_cohort_stays_where_it_was_made() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    let headers = [("snap-device-authorization", device.session.as_str())];
    let keys = async |names: Value| {
        let body = json!({"snaps": names}).to_string();
        field.call("POST", "/v2/cohorts", &headers, &body).await
    };
    let answer = keys(json!(["agent"])).await;
    let key = answer.json()["cohort-keys"]["agent"].as_str().unwrap().to_owned();
    assert_eq!(keys(json!(["agent", "theirs"])).await.status, 404);
    field.clock.advance(10);
    stock.revision("agent", 2, "agent two", |_| ()).await;
    stock.release("agent", 2, "stable").await;
    let context = json!([installed("agent", 1, "latest/stable")]);
    for (cohort, revision) in [(None, 2), (Some(key.as_str()), 1), (Some("nonsense"), 2)] {
        let mut action = refresh_action("agent");
        action["cohort-key"] = json!(cohort);
        let answer = device.refresh(context.clone(), json!([action])).await;
        assert_eq!(answer["results"][0]["snap"]["revision"], revision, "{cohort:?}");
    }
}

#[tokio::test]
async fn a_gated_snap_is_offered_in_what_was_validated() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    stock.simple("warden", "acme", false).await;
    stock.include("acme-store", "warden").await;
    for revision in 2..=4 {
        let content = format!("agent {revision}");
        stock.revision("agent", revision, &content, |_| ()).await;
        stock.release("agent", revision, "stable").await;
    }
    stock
        .edit("warden", |record| {
            record.refresh_control = [id("agent")].into();
        })
        .await;
    let context = |has: u64| {
        json!([
            installed("agent", has, "latest/stable"),
            installed("warden", 1, "stable")
        ])
    };
    let ask = |has: u64, action: Value| {
        let context = context(has);
        let device = &device;
        async move {
            let answer = device.refresh(context, json!([action])).await;
            outcomes(&answer).pop().unwrap_or_else(|| "nothing".to_owned())
        }
    };
    let with = |ignore: bool| {
        let mut action = refresh_action("agent");
        action["ignore-validation"] = json!(ignore);
        action
    };

    // Nothing is validated: a refresh of everything goes past it, for one snap the device itself says why.
    let answer = device
        .refresh(
            context(1),
            json!([refresh_action("agent"), refresh_action("warden")]),
        )
        .await;
    assert_eq!(outcomes(&answer), ["1@latest/stable"]);
    assert_eq!(
        answer["error-list"],
        json!([{
            "code": "not-validated",
            "message": "cannot refresh \"agent\" to revision 4: no validation by \"warden\"",
        }])
    );
    assert_eq!(ask(4, refresh_action("agent")).await, "nothing");
    assert_eq!(ask(1, with(false)).await, "4@latest/stable");
    assert_eq!(ask(1, with(true)).await, "4@latest/stable");
    // Who does not have the gate is not held back, nor is an installation.
    let free = device
        .refresh(
            json!([installed("agent", 1, "stable")]),
            json!([refresh_action("agent")]),
        )
        .await;
    assert_eq!(outcomes(&free), ["4@latest/stable"]);
    assert_eq!(device.install(&["agent"], "stable").await, ["4@latest/stable"]);
    let mut sticky = context(1);
    sticky[0]["ignore-validation"] = json!(true);
    let sticky = device.refresh(sticky, json!([refresh_action("agent")])).await;
    assert_eq!(outcomes(&sticky), ["4@latest/stable"]);

    // The newest that is validated, never one before what is there.
    validate(&field, "warden", "agent", 2, false).await;
    assert_eq!(ask(1, refresh_action("agent")).await, "2@latest/stable");
    assert_eq!(ask(1, with(false)).await, "2@latest/stable");
    assert_eq!(ask(2, refresh_action("agent")).await, "2@latest/stable");
    assert_eq!(ask(3, refresh_action("agent")).await, "nothing");
    validate(&field, "warden", "agent", 4, false).await;
    assert_eq!(ask(1, refresh_action("agent")).await, "4@latest/stable");
    validate(&field, "warden", "agent", 4, true).await;
    assert_eq!(ask(1, refresh_action("agent")).await, "2@latest/stable");
    // Another gate has a say of its own; what another snap validated is nothing to it.
    stock
        .edit("secret", |record| {
            record.refresh_control = [id("agent")].into();
        })
        .await;
    let both = json!([
        installed("agent", 1, "latest/stable"),
        installed("warden", 1, "stable"),
        installed("secret", 1, "stable"),
    ]);
    let both = device.refresh(both, json!([refresh_action("agent")])).await;
    assert_eq!(outcomes(&both), [""; 0]);
    assert!(
        both["error-list"][0]["message"].to_string().contains("secret"),
        "{both}"
    );
}
