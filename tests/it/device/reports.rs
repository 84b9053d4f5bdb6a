//! What devices report, and how it is listed.

use hallmark::app::devices::{self, DeviceName, Place};
use hallmark::app::serials::SerialQuery;
use hallmark::app::store::flush_reports;
use hallmark::domain::time::Timestamp;
use serde_json::json;

use super::stock::{Device, device, field, installed, refresh_action};
use crate::harness::acme_ctx;

#[tokio::test]
async fn what_a_device_reports_is_kept_and_only_written_when_it_changes() {
    let field = field().await;
    let device = device(&field).await;
    let name: DeviceName = "gate-1/SN 1".parse().unwrap();
    let seen = async || {
        flush_reports(&field.app).await.unwrap();
        devices::show(&field.app, &acme_ctx(), &name)
            .await
            .unwrap()
            .report
    };
    assert_eq!(seen().await, None);
    device
        .refresh(
            json!([installed("agent", 1, "stable")]),
            json!([refresh_action("agent")]),
        )
        .await;
    assert_eq!(field.app.reports.waiting(), 1);
    let first = seen().await.unwrap();
    assert_eq!(
        (first.snaps[0].revision, first.snaps[0].channel.as_deref()),
        (1, Some("stable"))
    );
    assert_eq!(first.store.as_deref(), Some("acme-store"));
    // A call that says nothing of snaps does not wipe what is known; a little later nothing is written at all.
    field.clock.advance(60);
    device.refresh(json!([]), json!([])).await;
    assert_eq!(seen().await.unwrap(), first);
    field.clock.advance(600);
    device.refresh(json!([]), json!([])).await;
    let later = seen().await.unwrap();
    assert_eq!((later.snaps, later.seen), (first.snaps, field.app.clock.now()));
    device
        .refresh(json!([installed("agent", 2, "edge")]), json!([]))
        .await;
    assert_eq!(seen().await.unwrap().snaps[0].revision, 2);
    let uuid = devices::uuid(&later.device);
    let by_uuid = devices::show(&field.app, &acme_ctx(), &uuid.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(by_uuid.device.to_string(), "acme/gate-1/SN 1");
    let absent = devices::show(&field.app, &acme_ctx(), &"gate-1/SN 2".parse().unwrap()).await;
    assert_eq!(absent.unwrap_err().code, "resource-not-found");
}

#[tokio::test]
async fn devices_of_another_vault_are_listed_once_they_have_reported() {
    let field = field().await;
    device(&field).await.refresh(json!([]), json!([])).await;
    for serial in ["SN 8", "SN 9"] {
        let assertion = super::sign_serial(&field.app, &field.device.key, serial, 1).await;
        let request = field.request(&field.nonce().await, &[("serial", serial)]).await;
        let answer = field.open(&request, &assertion, &field.model).await;
        let session = format!(
            "Macaroon root=\"{}\"",
            answer.json()["macaroon"].as_str().unwrap()
        );
        let device = Device {
            field: &field,
            session,
        };
        let context = json!([installed("agent", 1, "stable")]);
        device.refresh(context, json!([])).await;
    }
    let list = async |query: &SerialQuery, from: Option<&Place>| {
        let page = devices::list(&field.app, &acme_ctx(), query.clone(), from.cloned()).await;
        let page = page.unwrap();
        let names: Vec<String> = page
            .devices
            .iter()
            .map(|found| found.device.to_string())
            .collect();
        (names, page.next)
    };
    let all = SerialQuery::default();
    assert_eq!(
        list(&all, None).await,
        (vec!["acme/gate-1/SN 1".to_owned()], None)
    );
    flush_reports(&field.app).await.unwrap();
    let names = ["SN 1", "SN 8", "SN 9"].map(|serial| format!("acme/gate-1/{serial}"));
    assert_eq!(list(&all, None).await, (names.to_vec(), None));
    // One by one, with every cursor as it travels.
    let one = SerialQuery {
        limit: Some(1),
        ..all.clone()
    };
    let (mut found, mut from) = (Vec::new(), None::<Place>);
    loop {
        let (page, next) = list(&one, from.as_ref()).await;
        assert_eq!(page.len(), 1);
        found.extend(page);
        let Some(next) = next else { break };
        let text = serde_json::to_value(&next).unwrap();
        from = Some(text.as_str().unwrap().parse().unwrap());
        assert_eq!(from, Some(next));
    }
    assert_eq!(found, names);
    for (query, expected) in [
        (
            SerialQuery {
                serial_prefix: Some("SN 9".to_owned()),
                ..all.clone()
            },
            &names[2..],
        ),
        (
            SerialQuery {
                models: vec!["gate-2".parse().unwrap()],
                ..all.clone()
            },
            &[],
        ),
        (
            SerialQuery {
                since: Some(Timestamp::from_unix(0)),
                ..all.clone()
            },
            &names[..1],
        ),
    ] {
        assert_eq!(list(&query, None).await, (expected.to_vec(), None), "{query:?}");
    }
    let shown = devices::show(&field.app, &acme_ctx(), &"SN 9".parse().unwrap()).await;
    let shown = shown.unwrap();
    assert_eq!((shown.device.to_string(), shown.serial), (names[2].clone(), None));
    assert_eq!(shown.report.unwrap().snaps.len(), 1);
    let absent = devices::show(&field.app, &acme_ctx(), &"SN".parse().unwrap()).await;
    assert_eq!(absent.unwrap_err().code, "resource-not-found");
}
