//! Which revision a device gets over HTTP: releases to a part of the devices, cohorts, epochs, branches.

use hallmark::domain::catalog::{Channel, Part, RevisionRecord, chance};
use hallmark::domain::ident::DeviceId;
use serde_json::json;

use super::Field;
use super::stock::{Device, Stock, device, field, id, installed, outcomes, refresh_action};

/// The device's place among all for a snap, in per cent.
fn place(name: &str) -> f64 {
    let device = DeviceId {
        brand: "acme".parse().unwrap(),
        model: "gate-1".parse().unwrap(),
        serial: "SN 1".parse().unwrap(),
    };
    100.0 * chance(&device, &id(name))
}

/// A percentage that reaches the device.
fn with(name: &str) -> f64 {
    (place(name) + 100.0) / 2.0
}

/// A percentage that does not reach it.
fn without(name: &str) -> f64 {
    place(name) / 2.0
}

/// A field whose snap `agent` has the revisions up to 4; 1 is in stable for all.
async fn agents() -> Field {
    let field = field().await;
    let stock = Stock { field: &field };
    for revision in 2..=4 {
        stock
            .revision("agent", revision, &format!("agent {revision}"), |_| ())
            .await;
    }
    field
}

async fn release(field: &Field, revision: u64, channel: &str, percentage: f64) {
    let stock = Stock { field };
    let (channel, now): (Channel, _) = (channel.parse().unwrap(), stock.now());
    stock
        .edit("agent", |record| {
            let all = ["all".parse().unwrap()];
            record
                .releases
                .release(&all, &channel, revision, Some(percentage), now);
        })
        .await;
}

/// What a device that has a revision of `agent` is offered.
async fn offered(device: &Device<'_>, has: u64, channel: &str) -> String {
    let context = json!([installed("agent", has, channel)]);
    let answer = device.refresh(context, json!([refresh_action("agent")])).await;
    outcomes(&answer).remove(0)
}

#[tokio::test]
async fn a_device_keeps_what_a_progressive_release_gave_it() {
    let field = agents().await;
    let device = device(&field).await;
    let (with, without) = (with("agent"), without("agent"));
    release(&field, 2, "stable", with).await;
    assert_eq!(offered(&device, 1, "stable").await, "2@latest/stable");
    assert_eq!(device.install(&["agent"], "stable").await, ["2@latest/stable"]);

    // The next one does not reach it: it stays, and who comes anew gets what was there for all.
    release(&field, 3, "stable", without).await;
    assert_eq!(offered(&device, 2, "latest/stable").await, "2@latest/stable");
    assert_eq!(offered(&device, 1, "stable").await, "1@latest/stable");
    assert_eq!(device.install(&["agent"], "stable").await, ["1@latest/stable"]);
    release(&field, 3, "stable", with).await;
    assert_eq!(offered(&device, 2, "edge").await, "3@latest/stable");
    // A lower percentage takes nothing back either.
    release(&field, 3, "stable", without).await;
    assert_eq!(offered(&device, 3, "stable").await, "3@latest/stable");
    assert_eq!(offered(&device, 2, "stable").await, "2@latest/stable");

    // Moved back for all, and closed: devices follow.
    release(&field, 1, "stable", 100.0).await;
    assert_eq!(offered(&device, 3, "stable").await, "1@latest/stable");
    release(&field, 4, "beta", with).await;
    assert_eq!(offered(&device, 1, "beta").await, "4@latest/beta");
    release(&field, 4, "beta", without).await;
    assert_eq!(offered(&device, 4, "beta").await, "4@latest/beta");
    let stock = Stock { field: &field };
    let now = stock.now();
    stock
        .edit("agent", |record| {
            record.releases.close(&"beta".parse().unwrap(), &[], now);
        })
        .await;
    assert_eq!(offered(&device, 4, "beta").await, "1@latest/stable");
}

#[tokio::test]
async fn a_pause_reaches_nobody_new_and_takes_nothing_back() {
    let field = agents().await;
    let device = device(&field).await;
    let part = async |revision: u64, percentage: f64, paused: bool| {
        let stock = Stock { field: &field };
        let (channel, now): (Channel, _) = ("stable".parse().unwrap(), stock.now());
        stock
            .edit("agent", |record| {
                let all = ["all".parse().unwrap()];
                let part = Some(Part { percentage, paused });
                record.releases.release_part(&all, &channel, revision, part, now);
            })
            .await;
    };
    let with = with("agent");
    part(2, with, true).await;
    assert_eq!(offered(&device, 1, "stable").await, "1@latest/stable");
    assert_eq!(device.install(&["agent"], "stable").await, ["1@latest/stable"]);
    assert_eq!(offered(&device, 2, "stable").await, "2@latest/stable");
    part(2, with, false).await;
    assert_eq!(offered(&device, 1, "stable").await, "2@latest/stable");
    part(2, with, true).await;
    assert_eq!(offered(&device, 2, "stable").await, "2@latest/stable");
    assert_eq!(offered(&device, 1, "edge").await, "1@latest/stable");
    // The next one is paused from its first moment on: who has the one before keeps that.
    part(3, with, true).await;
    assert_eq!(offered(&device, 2, "stable").await, "2@latest/stable");
    assert_eq!(offered(&device, 3, "stable").await, "3@latest/stable");
    assert_eq!(offered(&device, 1, "stable").await, "1@latest/stable");
    part(3, without("agent"), false).await;
    assert_eq!(offered(&device, 2, "stable").await, "2@latest/stable");
    part(3, with, false).await;
    assert_eq!(offered(&device, 2, "stable").await, "3@latest/stable");
}

#[tokio::test]
async fn a_cohort_key_does_not_open_a_progressive_release() {
    let field = agents().await;
    let device = device(&field).await;
    let headers = [("snap-device-authorization", device.session.as_str())];
    let key = async || {
        let body = json!({"snaps": ["agent"]}).to_string();
        let answer = field.call("POST", "/v2/cohorts", &headers, &body).await;
        answer.json()["cohort-keys"]["agent"].as_str().unwrap().to_owned()
    };
    let joined = async |key: &str| {
        let mut action = refresh_action("agent");
        action["cohort-key"] = json!(key);
        let context = json!([installed("agent", 1, "stable")]);
        let refreshed = outcomes(&device.refresh(context, json!([action])).await);
        let action = json!({"action": "install", "instance-key": "i", "name": "agent", "channel": "stable",
            "cohort-key": key, "epoch": null});
        let fresh = outcomes(&device.refresh(json!([]), json!([action])).await);
        assert_eq!(refreshed, fresh);
        fresh.concat()
    };
    for percentage in [without("agent"), with("agent")] {
        release(&field, 2, "stable", percentage).await;
        assert_eq!(joined(&key().await).await, "1@latest/stable");
    }
    let then = key().await;
    field.clock.advance(10);
    release(&field, 2, "stable", 100.0).await;
    assert_eq!(joined(&then).await, "1@latest/stable");
    assert_eq!(joined(&key().await).await, "2@latest/stable");
}

#[tokio::test]
async fn devices_step_through_epochs_and_never_back() {
    let field = field().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    for (revision, epoch) in [(2, "1*"), (3, "2*"), (4, "2")] {
        let content = format!("agent {revision}");
        let epoch = |record: &mut RevisionRecord| record.epoch = epoch.parse().unwrap();
        stock.revision("agent", revision, &content, epoch).await;
        release(&field, revision, "stable", 100.0).await;
    }
    let offered = async |has: u64, epoch: [&[u32]; 2]| {
        let mut snap = installed("agent", has, "stable");
        snap["epoch"] = json!({"read": epoch[0], "write": epoch[1]});
        let answer = device
            .refresh(json!([snap]), json!([refresh_action("agent")]))
            .await;
        outcomes(&answer).remove(0)
    };
    assert_eq!(offered(1, [&[0], &[0]]).await, "2@latest/stable");
    assert_eq!(offered(2, [&[0, 1], &[1]]).await, "3@latest/stable");
    assert_eq!(offered(3, [&[1, 2], &[2]]).await, "4@latest/stable");
    // Nothing that it could read: it stays. What is not of this store has nothing to stay at.
    assert_eq!(offered(2, [&[7], &[7]]).await, "2@latest/stable");
    assert_eq!(offered(9, [&[7], &[7]]).await, "revision-not-found");
    // An installation begins anywhere.
    assert_eq!(device.install(&["agent"], "stable").await, ["4@latest/stable"]);

    // The channel goes back over an epoch: who cannot read that stays, though an earlier holder could be read.
    let now = stock.now();
    stock
        .edit("agent", |record| {
            record.releases.close(&"stable".parse().unwrap(), &[], now);
        })
        .await;
    release(&field, 1, "stable", 100.0).await;
    assert_eq!(offered(2, [&[0, 1], &[1]]).await, "2@latest/stable");
    // And a part of the devices may step to what is new, the others may not.
    release(&field, 2, "stable", without("agent")).await;
    assert_eq!(offered(1, [&[0], &[0]]).await, "1@latest/stable");
    release(&field, 2, "stable", with("agent")).await;
    assert_eq!(offered(1, [&[0], &[0]]).await, "2@latest/stable");
}

#[tokio::test]
async fn a_branch_is_named_only_to_who_names_it() {
    let field = agents().await;
    let device = device(&field).await;
    let stock = Stock { field: &field };
    let now = stock.now();
    stock
        .edit("agent", |record| {
            record.releases.close(&"stable".parse().unwrap(), &[], now);
            for (channel, revision) in [("candidate", 2), ("beta/secret-fix", 3), ("beta/other", 4)] {
                let arm64 = ["arm64".parse().unwrap()];
                let channel = channel.parse().unwrap();
                record.releases.release(&arm64, &channel, revision, None, now);
            }
        })
        .await;
    let listed = async |channel: &str| {
        let install = json!({"action": "install", "instance-key": "i", "name": "agent", "channel": channel,
            "epoch": null});
        let context = json!([installed("agent", 1, channel)]);
        let answer = device
            .refresh(context, json!([refresh_action("agent"), install]))
            .await;
        assert_eq!(outcomes(&answer), ["revision-not-found", "revision-not-found"]);
        let of = |at: usize| answer["results"][at]["error"]["extra"]["releases"].clone();
        assert_eq!(of(0), of(1));
        let releases = of(0);
        let channels = releases.as_array().unwrap().iter();
        let channels: Vec<String> = channels
            .map(|release| release["channel"].as_str().unwrap().to_owned())
            .collect();
        channels
    };
    assert_eq!(listed("stable").await, ["latest/candidate"]);
    assert_eq!(listed("beta/nothing").await, ["latest/candidate"]);
    assert_eq!(
        listed("beta/secret-fix").await,
        ["latest/candidate", "latest/beta/secret-fix"]
    );
}
