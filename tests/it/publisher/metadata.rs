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

/// The head of a picture of these sides; the rest tells it from others.
fn picture(width: u32, height: u32, rest: &str) -> Vec<u8> {
    let head: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    [head, &width.to_be_bytes(), &height.to_be_bytes(), rest.as_bytes()].concat()
}

async fn send(client: &Client<'_>, method: &str, path: &str, info: &Value, icon: Option<&[u8]>) -> Answer {
    let files: Vec<(&str, &[u8])> = icon.into_iter().map(|icon| ("icon", icon)).collect();
    send_all(client, method, path, info, &files).await
}

async fn send_all(
    client: &Client<'_>,
    method: &str,
    path: &str,
    info: &Value,
    files: &[(&str, &[u8])],
) -> Answer {
    let mut body = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"info\"\r\n\r\n{info}\r\n")
        .into_bytes();
    for (name, file) in files {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"../../icon.png\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(file);
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
async fn screenshots_are_kept_shown_and_cleared_away() {
    let shop = Shop::new().await;
    let client = Client::new(&shop, "pub");
    let id = client.register("my-snap").await;
    let file = snap_file("my-snap", "1", "");
    client
        .publish("my-snap", &file, json!({"channels": ["stable"]}))
        .await;
    let path = format!("/dev/api/snaps/{id}/binary-metadata");
    let (one, two) = (picture(1600, 900, "one"), picture(480, 960, "two"));
    let new = |key: &str, file: &[u8]| json!({"type": "screenshot", "key": key, "hash": sha256(file), "filename": "/x"});
    let icon = json!({"type": "icon", "key": "icon", "hash": sha256(PNG), "filename": "/y"});
    let info = json!([new("s1", &one), icon.clone(), new("s2", &two)]);
    let files: [(&str, &[u8]); 3] = [("s2", &two), ("icon", PNG), ("s1", &one)];
    let listed = send_all(&client, "POST", &path, &info, &files).await.ok();
    assert_eq!(client.get(&path).await, listed);
    let told = |listed: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = listed.as_array().unwrap().iter();
        all.map(|one| (text(&one["type"]), text(&one["hash"]))).collect()
    };
    let shot = |file: &[u8]| ("screenshot".to_owned(), sha256(file));
    let shown = [("icon".to_owned(), sha256(PNG)), shot(&one), shot(&two)];
    assert_eq!(told(&listed), shown);
    let listing = shop.snap("my-snap").await.listing;
    let media: Vec<Value> = listing
        .screenshots
        .iter()
        .map(|shot| {
            let url = format!("http://127.0.0.1:8380/download/{id}/{}", shot.blob);
            json!({"type": "screenshot", "url": url, "width": shot.width, "height": shot.height})
        })
        .collect();
    // Devices and software centres are told, and get them without credentials.
    let asked = |path: &str| client.request("GET", path).header("Snap-Device-Series", "16");
    for (path, at) in [
        ("/v2/snaps/info/my-snap?fields=media", "/channel-map/0/media"),
        (
            "/v2/snaps/find?q=my-snap&fields=media",
            "/results/0/revision/media",
        ),
    ] {
        let told = answer(asked(path)).await.ok();
        let told = told.pointer(at).unwrap().as_array().unwrap();
        assert_eq!(
            (&told[0]["type"], &told[1..]),
            (&json!("icon"), &media[..]),
            "{path}"
        );
    }
    assert_eq!(
        (media[0]["width"].clone(), media[1]["height"].clone()),
        (json!(1600), json!(960))
    );
    let url = media[1]["url"].as_str().unwrap();
    let served = client.request("GET", url.strip_prefix("http://127.0.0.1:8380").unwrap());
    let served = served.send().await.unwrap();
    assert_eq!(served.headers()["content-type"], "image/png");
    assert_eq!(
        served.headers()["content-security-policy"],
        "default-src 'none'; sandbox"
    );
    assert_eq!(served.bytes().await.unwrap(), two);
    let card = shop.run("pub", &["snap", "show", "my-snap"]).await;
    assert!(card.out.contains("1600x900, 480x960"), "{card:?}");

    // Whatever is wrong with a list, nothing changes.
    let kept = |file: &[u8]| json!({"type": "screenshot", "hash": sha256(file)});
    let large = [one.clone(), vec![0; 2_000_000]].concat();
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>";
    let (small, narrow) = (picture(479, 479, ""), picture(1000, 480, ""));
    let many: Vec<Value> = (0..6).map(|_| kept(&one)).collect();
    let invalid = (400, "invalid-screenshot");
    for (info, files, refusal) in [
        (json!([new("s", svg)]), vec![("s", &svg[..])], invalid),
        (json!([new("s", PNG)]), vec![("s", PNG)], invalid),
        (json!([new("s", b"GIF89a")]), vec![("s", &b"GIF89a"[..])], invalid),
        (json!([new("s", &small)]), vec![("s", &small[..])], invalid),
        (json!([new("s", &narrow)]), vec![("s", &narrow[..])], invalid),
        (
            json!([new("s", &large)]),
            vec![("s", &large[..])],
            (413, "request-too-large"),
        ),
        (
            json!([new("s", &one)]),
            vec![("s", &two[..])],
            (400, "invalid-media"),
        ),
        (json!([kept(b"other")]), vec![], (400, "invalid-media")),
        (
            json!([kept(&one)]),
            vec![("stray", &two[..])],
            (400, "invalid-media"),
        ),
        (json!([{"type": "screenshot"}]), vec![], (400, "invalid-media")),
        (
            json!([{"type": "banner", "hash": sha256(&one)}]),
            vec![],
            (400, "invalid-media"),
        ),
        (
            json!([icon.clone(), icon.clone()]),
            vec![],
            (400, "invalid-media"),
        ),
        (json!(many), vec![], (400, "too-many-screenshots")),
        (json!([]), vec![("a", PNG); 7], (400, "invalid-media")),
    ] {
        let answer = send_all(&client, "PUT", &path, &info, &files).await;
        assert_eq!(answer.refusal(), refusal, "{info:.200}");
    }
    assert_eq!(shop.snap("my-snap").await.listing, listing);

    // What the list leaves out goes; the same picture is shown once. Tools name what they leave alone by its hash.
    shop.clock.advance(hallmark::app::catalog::garbage::GRACE + 1);
    let gone = listing.screenshots[0].blob.to_string();
    assert!(shop.blobs().await.contains(&gone));
    let left = json!([kept(&two), icon.clone(), kept(&two)]);
    let listed = send_all(&client, "POST", &path, &left, &[]).await.ok();
    assert_eq!(told(&listed), [shown[0].clone(), shown[2].clone()]);
    assert!(!shop.blobs().await.contains(&gone));
    // The icon of the snap file was too young to go when it was replaced.
    let repaired = hallmark::app::doctor::repair(&shop.app, 0).await.unwrap();
    assert_eq!((repaired.removed_files, repaired.problems.len()), (1, 0));
    let examined = hallmark::app::doctor::examine(&shop.app).await.unwrap();
    assert_eq!(examined.problems, [""; 0]);
    let second = listing.screenshots[1].blob.to_string();
    assert!(shop.blobs().await.contains(&second), "it is named still");
    for who in ["pub2", "view"] {
        let answer = send(&Client::new(&shop, who), "PUT", &path, &json!([]), None).await;
        assert_eq!(answer.refusal(), (404, "resource-not-found"), "{who}");
    }
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
