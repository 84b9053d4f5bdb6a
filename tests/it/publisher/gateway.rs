//! The gateway: the same snaps behind `/v1/snap`, and who else may help with one.

use serde_json::{Value, json};

use super::snapcraft::{Client, keys};
use crate::store::shop::{Shop, snap_file};

const GATEWAY: &str = "/publishergw/v1/snap";

/// Uploads and asks for a revision as on premises; what the review says in the end.
async fn publish(client: &Client<'_>, name: &str, file: &[u8]) -> Value {
    let upload = client.upload(file).await;
    let answer = client
        .call(
            "POST",
            &format!("{GATEWAY}/{name}/revisions"),
            json!({"upload-id": upload}),
        )
        .await
        .ok();
    // A path alone, without the prefix: the client puts it behind the address it has.
    let path = answer["status-url"].as_str().unwrap();
    assert_eq!(
        path,
        format!("/v1/snap/{name}/revisions/review?upload-id={upload}")
    );
    for _ in 0..600 {
        let review = client.get(&format!("/publishergw{path}")).await;
        let [entry] = review["revisions"].as_array().unwrap().as_slice() else {
            panic!("one entry: {review}");
        };
        if entry["status"] != "new" {
            return entry.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it is reviewed for ever");
}

#[tokio::test]
async fn on_premises_from_upload_to_close() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let answer = client
        .call(
            "POST",
            GATEWAY,
            json!({"name": "my-snap", "private": false, "type": "snap"}),
        )
        .await;
    assert_eq!(answer.status, 201);
    let id = answer.body["id"].as_str().unwrap().to_owned();
    let file = snap_file("my-snap", "1.0", "apps: {x: {command: y}}\n");
    let entry = publish(&client, "my-snap", &file).await;
    assert_eq!(
        (&entry["status"], &entry["revision"], &entry["errors"]),
        (&json!("approved"), &json!(1), &Value::Null)
    );
    // The same bytes are the same revision.
    assert_eq!(publish(&client, "my-snap", &file).await["revision"], 1);
    let entry = publish(&client, "my-snap", b"nonsense").await;
    assert_eq!(
        (&entry["status"], &entry["revision"]),
        (&json!("rejected"), &Value::Null)
    );
    assert_eq!(entry["errors"][0]["code"], "invalid-snap");
    assert!(entry["errors"][0]["message"].is_string());
    publish(&client, "my-snap", &snap_file("my-snap", "2.0", "")).await;

    let releases = format!("{GATEWAY}/my-snap/releases");
    let both = json!([{"revision": 1, "channel": "stable"}, {"revision": 2, "channel": "latest/edge", "resources": []}]);
    let answer = client.call("POST", &releases, both).await.ok();
    assert_eq!(
        answer["released"],
        json!([{"channel": "latest/stable", "revision": 1}, {"channel": "latest/edge", "revision": 2}])
    );
    // A list of objects, and nothing that looks like one.
    for wrong in [
        json!([["stable", 1]]),
        json!({"channel": "stable", "revision": 1}),
        json!(["stable"]),
    ] {
        let answer = client.call("POST", &releases, wrong.clone()).await;
        assert_eq!(answer.refusal(), (400, "invalid-request"), "{wrong}");
    }
    // All or none.
    let wrong = json!([{"revision": 2, "channel": "stable"}, {"revision": 9, "channel": "beta"}]);
    assert_eq!(
        client.call("POST", &releases, wrong).await.refusal(),
        (404, "resource-not-found")
    );
    assert_eq!(
        client.call("POST", &releases, json!([])).await.refusal(),
        (400, "channel-required")
    );
    assert_eq!(
        client.call("POST", &releases, json!({})).await.refusal(),
        (400, "invalid-request")
    );
    let map = client.get(&releases).await;
    assert_eq!(keys(&map), ["channel-map", "package", "revisions"]);
    let held: Vec<(&str, u64)> = map["channel-map"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert_eq!(
                keys(entry),
                [
                    "architecture",
                    "base",
                    "channel",
                    "expiration-date",
                    "progressive",
                    "revision",
                    "when"
                ]
            );
            (
                entry["channel"].as_str().unwrap(),
                entry["revision"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(held, [("latest/stable", 1), ("latest/edge", 2)]);
    assert_eq!(map["package"]["channels"].as_array().unwrap().len(), 4);
    for revision in map["revisions"].as_array().unwrap() {
        assert_eq!(
            keys(revision),
            [
                "apps",
                "architectures",
                "attributes",
                "base",
                "build-url",
                "confinement",
                "created-at",
                "created-by",
                "epoch",
                "grade",
                "revision",
                "sha3-384",
                "size",
                "status",
                "type",
                "version",
            ]
        );
        assert_eq!(revision["type"], "app");
    }
    let closed = json!([{"revision": null, "channel": "edge"}]);
    client.call("POST", &releases, closed.clone()).await.ok();
    assert_eq!(
        client.call("POST", &releases, closed).await.refusal(),
        (409, "channel-closed")
    );

    let list = client.get(&format!("{GATEWAY}/my-snap/revisions")).await;
    assert_eq!(keys(&list), ["releases", "revisions"]);
    let numbers: Vec<&Value> = list["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| &found["revision"])
        .collect();
    assert_eq!(numbers, [&json!(2), &json!(1)]);
    assert_eq!(
        keys(&list["revisions"][0]),
        [
            "architectures",
            "attributes",
            "base",
            "build-url",
            "confinement",
            "created-at",
            "epoch",
            "grade",
            "revision",
            "sha3-384",
            "size",
            "status",
            "version",
        ]
    );
    let one = client
        .get(&format!("{GATEWAY}/my-snap/revisions?revision=1"))
        .await;
    assert_eq!(one["revisions"].as_array().unwrap().len(), 1);

    // Names.
    client
        .call("POST", GATEWAY, json!({"name": "empty-snap"}))
        .await
        .ok();
    let names = client
        .get(&format!("{GATEWAY}?include-collaborations=true"))
        .await;
    let names: Vec<(&str, &str)> = names["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| {
            assert!(name["publisher"]["id"].is_string() && name["private"].is_boolean());
            (name["name"].as_str().unwrap(), name["status"].as_str().unwrap())
        })
        .collect();
    assert_eq!(names, [("empty-snap", "registered"), ("my-snap", "published")]);
    let shown = client.get(&format!("{GATEWAY}/my-snap")).await;
    assert_eq!(
        (&shown["metadata"]["id"], &shown["metadata"]["type"]),
        (&json!(id), &json!("snap"))
    );
    let title = json!({"title": "A <b>title</b>", "default-track": null});
    let edited = client
        .call("PATCH", &format!("{GATEWAY}/my-snap"), title)
        .await
        .ok();
    assert_eq!(edited["metadata"]["title"], "A <b>title</b>");
    let unknown = client
        .call("PATCH", &format!("{GATEWAY}/my-snap"), json!({"colour": "red"}))
        .await;
    assert_eq!(unknown.refusal(), (400, "invalid-request"));
    let charm = client
        .call("POST", GATEWAY, json!({"name": "my-charm", "type": "charm"}))
        .await;
    assert_eq!(charm.refusal(), (400, "invalid"));
}

#[tokio::test]
async fn a_name_without_revisions_can_be_given_back() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    let path = "/v1/snap/my-snap";
    for who in ["pub2", "view", "admin"] {
        let answer = Client::new(&shop, who).call("DELETE", path, Value::Null).await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who}");
    }
    let gone = client.call("DELETE", path, Value::Null).await.ok();
    assert_eq!(gone, json!({"package-id": id}));
    assert_eq!(client.call("DELETE", path, Value::Null).await.status, 404);
    // Devices that know it hear that it is gone.
    let kind = hallmark::domain::assertion::AssertionType::SnapDeclaration;
    let declaration = shop.assertion(kind, ["16", &id]).await.unwrap();
    assert_eq!(
        (declaration.text("snap-name"), declaration.revision()),
        (Some(""), 1)
    );
    // Others may have the name, as another snap.
    let other = Client::new(&shop, "pub2").register("my-snap").await;
    assert_ne!(other, id);
    let other = Client::new(&shop, "pub2");
    other
        .publish("my-snap", &snap_file("my-snap", "1", ""), json!({}))
        .await;
    let answer = other.call("DELETE", path, Value::Null).await;
    assert_eq!(answer.refusal(), (409, "snap-has-revisions"));
}

#[tokio::test]
async fn tracks_are_made_within_guardrails_all_or_none() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    client.register("my-snap").await;
    let tracks = "/v1/snap/my-snap/tracks";
    let make = |names: Value| client.call("POST", tracks, names);
    assert_eq!(
        make(json!([{"name": "2.0"}])).await.refusal(),
        (409, "track-refused")
    );
    shop.call(
        "admin",
        "PUT",
        "/snaps/my-snap/guardrails",
        json!({"patterns": ["[0-9.]+"]}),
    )
    .await
    .ok();
    let two = json!([{"name": "2.0", "version-pattern": null, "automatic-phasing-percentage": null}, {"name": "3"}]);
    let answer = make(two.clone()).await;
    assert_eq!(
        (answer.status, &answer.body),
        (201, &json!({"num-tracks-created": 2}))
    );
    assert_eq!(make(two).await.ok(), json!({"num-tracks-created": 0}));
    for (names, refusal) in [
        (json!([{"name": "4"}, {"name": "lts"}]), (409, "track-refused")),
        (json!([{"name": "latest"}]), (400, "track-exists")),
        (json!([{"name": "-4"}]), (400, "invalid-request")),
        (
            json!([{"name": "4", "version-pattern": "4.*"}]),
            (400, "not-supported"),
        ),
        (json!({"name": "4"}), (400, "invalid-request")),
    ] {
        assert_eq!(make(names.clone()).await.refusal(), refusal, "{names}");
    }
    assert_eq!(shop.snap("my-snap").await.tracks.len(), 2);
}

#[tokio::test]
async fn collaborators_help_with_that_snap_only() {
    let shop = Shop::new().await;
    let (client, helper) = (Client::new(&shop, "pub"), Client::new(&shop, "view"));
    client.register("my-snap").await;
    client.register("other-snap").await;
    let path = |rest: &str| format!("/v1/snap/my-snap/collaborators{rest}");
    let invite = |email: &str| {
        let (client, path, body) = (&client, path("/invites"), json!({"invites": [{"email": email}]}));
        async move { client.call("POST", &path, body).await }
    };
    let answer = invite("VIEW@people.example").await;
    assert_eq!(answer.status, 201);
    assert_eq!(keys(&answer.body["tokens"][0]), ["email", "token"]);
    let token = answer.body["tokens"][0]["token"].as_str().unwrap().to_owned();
    let pending = client.get(&path("/invites")).await;
    assert_eq!(
        keys(&pending["invites"][0]),
        [
            "accepted-at",
            "accepted-by",
            "created-at",
            "created-by",
            "email",
            "expires-at",
            "invite-type",
            "revoked-at",
            "revoked-by",
        ]
    );
    assert_eq!(pending["invites"][0]["expires-at"], "2026-07-01T00:00:00Z");
    // Only who was asked can answer, for that snap, with the token.
    for (who, path, token) in [
        ("pub2", path("/invites/accept"), token.as_str()),
        ("view", path("/invites/accept"), "wrong"),
        (
            "view",
            "/v1/snap/other-snap/collaborators/invites/accept".to_owned(),
            &token,
        ),
    ] {
        let answer = Client::new(&shop, who)
            .call("POST", &path, json!({"token": token}))
            .await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who}");
    }
    let dry_run = json!({"name": "my-snap", "dry_run": true});
    assert_eq!(
        helper.call("POST", "/dev/api/snap-push/", dry_run).await.status,
        404
    );
    let accepted = helper
        .call("POST", &path("/invites/accept"), json!({"token": token}))
        .await;
    assert_eq!(accepted.status, 204);
    let again = helper
        .call("POST", &path("/invites/accept"), json!({"token": token}))
        .await;
    assert_eq!(again.refusal(), (409, "invite-over"));
    let sharing = client.get(&path("")).await;
    assert_eq!(sharing["publisher"]["username"], "pub-name");
    let one = &sharing["collaborators"][0];
    assert_eq!(
        keys(one),
        ["account", "created-at", "created-by", "permissions", "updated-at"]
    );
    assert_eq!(
        (&one["account"]["username"], &one["permissions"]),
        (&json!("view-name"), &json!(["package-collaborator"]))
    );

    // They upload and release, with no other role than viewer in the brand; the account shows the snap.
    let status = helper
        .publish(
            "my-snap",
            &snap_file("my-snap", "1", ""),
            json!({"channels": ["edge"]}),
        )
        .await;
    assert_eq!(
        (&status["code"], &status["revision"]),
        (&json!("ready_to_release"), &json!(1)),
        "{status}"
    );
    let release = json!({"name": "my-snap", "revision": "1", "channels": ["beta"]});
    helper.call("POST", "/dev/api/snap-release/", release).await.ok();
    let account = helper.get("/dev/api/account").await;
    assert_eq!(keys(&account["snaps"]["16"]), ["my-snap"]);
    assert_eq!(
        helper.get("/v1/snap?include-collaborations=false").await["results"],
        json!([])
    );
    // Nothing else: not the other snap, no names, nobody else's invitation, not the name itself.
    for (method, path, body) in [
        (
            "POST",
            "/dev/api/snap-push/",
            json!({"name": "other-snap", "dry_run": true}),
        ),
        (
            "POST",
            "/dev/api/register-name/",
            json!({"snap_name": "third-snap"}),
        ),
        (
            "POST",
            "/v1/snap/my-snap/collaborators/invites",
            json!({"invites": [{"email": "pub2@people.example"}]}),
        ),
        ("GET", "/v1/snap/my-snap/collaborators/invites", Value::Null),
        ("DELETE", "/v1/snap/my-snap", Value::Null),
    ] {
        assert_eq!(
            helper.call(method, path, body).await.refusal(),
            (404, "resource-not-found"),
            "{method} {path}"
        );
    }
    assert_eq!(
        invite("view@people.example").await.refusal(),
        (409, "already-collaborator")
    );
    assert_eq!(
        invite("pub@people.example").await.refusal(),
        (409, "already-collaborator")
    );
    assert_eq!(invite("nonsense").await.refusal(), (400, "invalid-request"));

    // Taken back, it is over at once.
    let revoke = json!({"invites": [{"email": "view@people.example"}]});
    assert_eq!(
        client
            .call("POST", &path("/invites/revoke"), revoke.clone())
            .await
            .status,
        204
    );
    assert_eq!(
        client
            .call("POST", &path("/invites/revoke"), revoke)
            .await
            .refusal(),
        (409, "invite-over")
    );
    let dry_run = json!({"name": "my-snap", "dry_run": true});
    assert_eq!(
        helper.call("POST", "/dev/api/snap-push/", dry_run).await.status,
        404
    );
    let unknown = json!({"invites": [{"email": "nobody@people.example"}]});
    assert_eq!(
        client
            .call("POST", &path("/invites/revoke"), unknown)
            .await
            .status,
        404
    );

    // Rejected in both spellings of the path; too late is too late.
    for path in [
        "/v1/snap/my-snap/collaborators/invites/reject",
        "/v1/my-snap/collaborators/invites/reject",
    ] {
        let token = invite("view@people.example").await.ok()["tokens"][0]["token"].clone();
        assert_eq!(
            helper.call("POST", path, json!({"token": token})).await.status,
            204
        );
        assert_eq!(
            helper.call("POST", path, json!({"token": token})).await.refusal(),
            (409, "invite-over")
        );
    }
    let token = invite("view@people.example").await.ok()["tokens"][0]["token"].clone();
    shop.clock.advance(30 * 86_400);
    let late = helper
        .call("POST", &path("/invites/accept"), json!({"token": token}))
        .await;
    assert_eq!(late.refusal(), (409, "invite-over"));
    assert!(shop.snap("my-snap").await.collaborators.is_empty());
}
