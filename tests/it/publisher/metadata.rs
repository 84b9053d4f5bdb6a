//! What people read about a snap, as tools of its publisher send it.

use hallmark::domain::audit::hex;
use serde_json::{Value, json};

use super::snapcraft::{BOUNDARY, Client, keys};
use crate::store::leave::in_pieces;
use crate::store::shop::{Answer, Shop, answer, snap_file, token};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nmore";

fn sha256(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

async fn send(client: &Client<'_>, method: &str, path: &str, info: &Value, icon: Option<&[u8]>) -> Answer {
    let mut body = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"info\"\r\n\r\n{info}\r\n")
        .into_bytes();
    if let Some(icon) = icon {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"icon\"; filename=\"../../icon.png\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(icon);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let request = client
        .request(method, path)
        .header(
            "Authorization",
            format!("Macaroon {}", token(client.who).reveal()),
        )
        .header(
            "Content-Type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        );
    answer(request.body(body)).await
}

#[tokio::test]
async fn texts_are_changed_unless_a_person_did() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    client
        .publish("my-snap", &snap_file("my-snap", "1", ""), json!({}))
        .await;
    let path = format!("/dev/api/snaps/{id}/metadata");
    let texts = |summary: &str| json!({"summary": summary, "description": "<script>alert(1)</script>", "license": "MIT", "title": "My Snap"});
    client.call("POST", &path, texts("first")).await.ok();
    let listing = shop.snap("my-snap").await.listing;
    assert_eq!(
        (listing.summary.as_str(), listing.title.as_deref()),
        ("first", Some("My Snap"))
    );
    assert_eq!(listing.description, "<script>alert(1)</script>");
    // The tool may do it again, and the next revision does not undo it.
    client.call("POST", &path, texts("second")).await.ok();
    client
        .publish("my-snap", &snap_file("my-snap", "2", ""), json!({}))
        .await;
    assert_eq!(shop.snap("my-snap").await.listing.summary, "second");
    // What a person edited stays, unless the tool insists.
    shop.call(
        "pub",
        "PUT",
        "/snaps/my-snap",
        json!({"summary": "by hand", "title": "Mine"}),
    )
    .await
    .ok();
    let answer = client.call("POST", &path, texts("third")).await;
    assert_eq!(answer.refusal(), (409, "conflict"));
    let told: Vec<(&Value, &Value)> = answer.body["error_list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (&error["extra"]["name"], &error["extra"]["current"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("title"), &json!("Mine")),
            (&json!("summary"), &json!("by hand"))
        ]
    );
    assert_eq!(shop.snap("my-snap").await.listing.summary, "by hand");
    client.call("PUT", &path, texts("third")).await.ok();
    assert_eq!(shop.snap("my-snap").await.listing.summary, "third");
    client.call("POST", &path, texts("fourth")).await.ok();
    // Pages where people edit say so.
    client
        .call(
            "PUT",
            &format!("{path}?conflict_on_update=true"),
            json!({"title": "Page"}),
        )
        .await
        .ok();
    assert_eq!(
        client.call("POST", &path, texts("fifth")).await.refusal(),
        (409, "conflict")
    );
    let shown = client.get(&path).await;
    assert_eq!(
        (&shown["title"], &shown["summary"]),
        (&json!("Page"), &json!("fourth"))
    );
    // The default track must be there.
    let track = json!({"default_track": "2.0"});
    assert_eq!(
        client.call("PUT", &path, track.clone()).await.refusal(),
        (400, "no-such-track")
    );
    shop.call("operator", "PUT", "/snaps/my-snap/tracks/2.0", Value::Null)
        .await
        .ok();
    client.call("PUT", &path, track).await.ok();
    let map = client.get("/api/v2/snaps/my-snap/channel-map").await;
    assert_eq!(map["snap"]["default-track"], "2.0");
    assert_eq!(map["snap"]["tracks"][1]["status"], "default");
    for (body, refusal) in [
        (json!({"title": "x".repeat(41)}), (400, "invalid-listing")),
        (json!({"title": 7}), (400, "invalid-request")),
        (
            json!({"website": "javascript:alert(1)"}),
            (400, "invalid-listing"),
        ),
    ] {
        assert_eq!(client.call("PUT", &path, body).await.refusal(), refusal);
    }
    for who in ["pub2", "view", "rev"] {
        let answer = Client::new(&shop, who).call("POST", &path, texts("theirs")).await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who}");
    }
}

#[tokio::test]
async fn the_icon_comes_and_goes() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    let path = format!("/dev/api/snaps/{id}/binary-metadata");
    assert_eq!(client.get(&path).await, json!([]));
    let info = |hash: &str| json!([{"type": "icon", "hash": hash, "key": "icon", "filename": "/home/user/../../etc/passwd"}]);
    let answer = send(&client, "POST", &path, &info(&sha256(PNG)), Some(PNG))
        .await
        .ok();
    assert_eq!(answer[0]["hash"], sha256(PNG));
    let listed = client.get(&path).await;
    assert_eq!(keys(&listed[0]), ["filename", "hash", "key", "type", "url"]);
    assert_eq!(
        (&listed[0]["type"], &listed[0]["filename"]),
        (&json!("icon"), &json!(""))
    );
    let icon = shop.snap("my-snap").await.listing.icon.unwrap();
    assert_eq!(icon.media, "image/png");
    let url = listed[0]["url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://127.0.0.1:8380")
        .unwrap()
        .to_owned();
    let served = client.request("GET", &url).send().await.unwrap();
    assert_eq!(served.bytes().await.unwrap(), PNG);
    // Named again without its file, it stays.
    send(&client, "PUT", &path, &info(&sha256(PNG)), None).await.ok();
    let large = [PNG, &vec![0; 300_000]].concat();
    for (info, icon, refusal) in [
        (info(&sha256(b"other")), Some(PNG), (400, "invalid-media")),
        (info(&sha256(b"other")), None, (400, "invalid-media")),
        (info(&sha256(b"text")), Some(&b"text"[..]), (400, "invalid-icon")),
        (json!({}), Some(PNG), (400, "invalid-media")),
        (
            json!([{"type": "screenshot", "hash": "x"}]),
            None,
            (400, "invalid-media"),
        ),
        (info(&sha256(&large)), Some(&large), (413, "request-too-large")),
    ] {
        let answer = send(&client, "POST", &path, &info, icon).await;
        assert_eq!(answer.refusal(), refusal, "{info}");
    }
    send(&client, "POST", &path, &json!([]), None).await.ok();
    assert!(shop.snap("my-snap").await.listing.icon.is_none());
    let foreign = send(&Client::new(&shop, "pub2"), "POST", &path, &json!([]), None).await;
    assert_eq!(foreign.refusal(), (404, "resource-not-found"));
}

#[tokio::test]
async fn what_a_person_edits_while_texts_are_on_their_way_stays() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    let (pieces, body) = in_pieces();
    let request = client
        .request("POST", &format!("/dev/api/snaps/{id}/metadata"))
        .header("Authorization", format!("Macaroon {}", token("pub").reveal()))
        .header("Content-Type", "application/json");
    let meanwhile = async {
        pieces.send("{\"summary\":".into()).await.unwrap();
        // It is known by now what the snap said.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let edit = json!({"summary": "by hand"});
        shop.call("pub", "PUT", "/snaps/my-snap", edit).await.ok();
        pieces.send("\"by a tool\"}".into()).await.unwrap();
        drop(pieces);
    };
    let (answer, ()) = tokio::join!(answer(request.body(body)), meanwhile);
    assert_eq!(answer.refusal(), (409, "conflict"));
    assert_eq!(answer.body["error_list"][0]["extra"]["current"], "by hand");
    assert_eq!(shop.snap("my-snap").await.listing.summary, "by hand");
}
