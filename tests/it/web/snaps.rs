//! Snaps and their channels by pages.

use super::browser::Browser;
use crate::store::shop::{Shop, snap_file};

#[tokio::test]
async fn a_publisher_registers_releases_promotes_and_closes() {
    let shop = Shop::new().await;
    let publisher = Browser::of(&shop, "pub");
    publisher.get("/brands/acme/snaps").await.shows("No snap yet");
    let made = publisher.post("/brands/acme/snaps", &[("name", "hello")]).await;
    made.shows("The name is registered")
        .shows("there is no revision yet");
    for version in ["1", "2"] {
        shop.upload(
            "pub",
            "",
            &[snap_file("hello", version, "architectures: [amd64]\n")],
        )
        .await
        .ok();
    }
    let arm = snap_file("hello", "3", "architectures: [arm64]\n");
    shop.upload("pub", "", &[arm]).await.ok();
    let page = publisher.get("/brands/acme/snaps/hello").await;
    page.shows("devices find nothing to install")
        .shows("2: version 2, amd64");
    let path = "/brands/acme/snaps/hello";
    let release = |revision: &'static str, channels: &'static str, percentage: &'static str| {
        [
            ("revision", revision),
            ("channels", channels),
            ("percentage", percentage),
        ]
    };
    let send = |fields: [(&'static str, &'static str); 3]| {
        let publisher = &publisher;
        async move { publisher.post("/brands/acme/snaps/hello/release", &fields).await }
    };
    send(release("1", "edge, beta", ""))
        .await
        .shows("Released.")
        .shows("latest/edge");
    send(release("2", "edge", "20"))
        .await
        .shows("20 %")
        .shows("others: 1")
        .shows("Pause 2");
    // Paused and resumed at the percentage it has.
    let turn = async |word: &'static str| {
        let fields = [("revision", "2"), ("channels", "latest/edge"), ("pause", word)];
        publisher.post("/brands/acme/snaps/hello/release", &fields).await
    };
    let paused = turn("yes").await;
    paused.shows("Paused: no further").shows("20 %").shows("Resume 2");
    let resumed = turn("no").await;
    resumed
        .shows("The release goes on.")
        .shows("20 %")
        .shows("Pause 2");
    send(release("3", "edge", ""))
        .await
        .shows("arm64: <strong>3</strong> (3)");
    let promote = format!("{path}/promote");
    let promoted = publisher
        .post(&promote, &[("from", "latest/edge"), ("to", "latest/beta")])
        .await;
    promoted.shows("Promoted.");
    let record = shop.snap("hello").await;
    let held: Vec<(String, String, u64)> = record
        .releases
        .listed(shop.app.clock.now())
        .iter()
        .filter(|open| open.channel.short() == "beta")
        .map(|open| (open.channel.short(), open.architecture.to_string(), open.revision))
        .collect();
    let beta = |name: &str, revision| ("beta".to_owned(), name.to_owned(), revision);
    assert_eq!(held, [beta("amd64", 2), beta("arm64", 3)]);
    let closed = publisher
        .post(&format!("{path}/close"), &[("channel", "latest/edge")])
        .await;
    closed.shows("The channel is closed");
    assert!(!closed.text.contains("Close: latest/edge"), "{closed:?}");
    for (action, fields, status, text) in [
        (
            "close",
            vec![("channel", "latest/edge")],
            409,
            "nothing is released there",
        ),
        (
            "promote",
            vec![("from", "latest/edge"), ("to", "latest/beta")],
            409,
            "nothing is released there",
        ),
        (
            "promote",
            vec![("from", "latest/beta"), ("to", "latest/beta")],
            400,
            "to itself",
        ),
        (
            "release",
            vec![("revision", "9"), ("channels", "edge")],
            404,
            "cannot find revision 9",
        ),
        (
            "release",
            vec![("revision", "1"), ("channels", "")],
            400,
            "no channel",
        ),
        (
            "release",
            vec![("revision", "1"), ("channels", "edge"), ("percentage", "200")],
            400,
            "percentage",
        ),
        (
            "release",
            vec![("revision", "1"), ("channels", "edge"), ("pause", "maybe")],
            400,
            "pause is yes or no",
        ),
        (
            "release",
            vec![("revision", "1"), ("channels", "edge"), ("pause", "yes")],
            409,
            "not there for a part",
        ),
        (
            "release",
            vec![("revision", "1"), ("channels", "2.0/edge")],
            400,
            "no track 2.0",
        ),
        ("release", vec![("channels", "edge")], 400, "fill in"),
    ] {
        let seen = publisher.submit(&format!("{path}/{action}"), &fields).await;
        assert_eq!(seen.status, status, "{action} {fields:?} {seen:?}");
        assert!(seen.text.contains(text), "{seen:?}");
    }
    publisher
        .get(&format!("{path}/revisions"))
        .await
        .shows("arm64")
        .shows("4.0 KiB");
}

#[tokio::test]
async fn what_is_not_ones_own_is_seen_but_not_touched() {
    let shop = Shop::new().await;
    shop.upload("pub", "release=edge", &[snap_file("hello", "1", "")])
        .await
        .ok();
    let other = Browser::of(&shop, "pub2");
    let seen = other.get("/brands/acme/snaps/hello").await;
    assert_eq!(seen.status, 404, "publishers see their own");
    let seen = other
        .submit("/brands/acme/snaps/hello/close", &[("channel", "edge")])
        .await;
    assert_eq!(seen.status, 404);
    let viewer = Browser::of(&shop, "view").get("/brands/acme/snaps/hello").await;
    viewer.shows("latest/edge");
    assert!(viewer.controls().is_empty(), "{:?}", viewer.controls());
    assert_eq!(shop.snap("hello").await.releases.open.len(), 1);
}

#[tokio::test]
async fn tracks_are_made_within_what_an_administrator_allows() {
    let shop = Shop::new().await;
    shop.upload("pub", "", &[snap_file("hello", "1", "")]).await.ok();
    let (publisher, admin) = (Browser::of(&shop, "pub"), Browser::of(&shop, "admin"));
    let path = "/brands/acme/snaps/hello";
    let seen = publisher
        .submit(&format!("{path}/tracks"), &[("track", "2.0")])
        .await;
    assert_eq!(seen.status, 409);
    let saved = admin
        .post(
            &format!("{path}/guardrails"),
            &[("patterns", "[0-9]+\\.[0-9]+\r\nlts\r\n")],
        )
        .await;
    saved.shows("Saved.").shows("[0-9]+\\.[0-9]+\nlts");
    publisher
        .post(&format!("{path}/tracks"), &[("track", "2.0")])
        .await
        .shows("latest, 2.0");
}
