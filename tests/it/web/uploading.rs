//! Uploads by form: streamed, within limits, whole or not at all.

use super::browser::{Browser, Seen};
use crate::store::shop::{Shop, component_file, snap_file};

const BOUNDARY: &str = "----hallmark-test-boundary";

/// A form with files as browsers send it: (field, file name or none, content), in this order.
fn multipart(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, file, content) in parts {
        let file = file.map_or(String::new(), |name| {
            format!("; filename=\"{name}\"\r\nContent-Type: application/octet-stream")
        });
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"{file}\r\n\r\n")
                .as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

async fn send(browser: &Browser<'_>, body: Vec<u8>) -> Seen {
    let request = browser
        .request("POST", "/brands/acme/upload")
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .header("origin", browser.origin())
        .body(body);
    browser.send(request).await
}

/// The upload form of this log-in filled in with `parts`.
async fn upload(browser: &Browser<'_>, parts: &[(&str, Option<&str>, &[u8])]) -> Seen {
    let mark = browser
        .get("/brands/acme/upload")
        .await
        .mark()
        .unwrap_or_default();
    let own: [(&str, Option<&str>, &[u8]); 1] = [("mark", None, mark.as_bytes())];
    send(browser, multipart(&[&own, parts].concat())).await
}

#[tokio::test]
async fn a_file_becomes_a_revision_and_is_released() {
    let shop = Shop::new().await;
    let publisher = Browser::of(&shop, "pub");
    let file = snap_file("hello", "1.5", "architectures: [amd64]\n");
    let id = "a".repeat(32);
    let parts: [(&str, Option<&str>, &[u8]); 5] = [
        ("upload", None, id.as_bytes()),
        ("channels", None, b"edge beta"),
        ("percentage", None, b""),
        ("snap", Some("../../etc/passwd<b>.snap"), &file),
        // Browsers send an empty part for a field nobody chose a file for.
        ("component", Some(""), b""),
    ];
    let seen = upload(&publisher, &parts).await;
    assert_eq!(
        (seen.status, seen.location()),
        (303, "/brands/acme/snaps/hello?done=uploaded"),
        "{seen:?}"
    );
    publisher
        .get(seen.location())
        .await
        .shows("The revision is there")
        .shows("latest/beta");
    let watched = publisher.get(&format!("/brands/acme/upload/{id}")).await;
    watched.shows("Done: revision 1 of hello");
    let other = Browser::of(&shop, "pub2")
        .get(&format!("/brands/acme/upload/{id}"))
        .await;
    other.shows("Nothing has arrived yet");
    let again = upload(&publisher, &parts[3..]).await;
    assert_eq!(again.location(), "/brands/acme/snaps/hello?done=known");
    assert_eq!(shop.snap("hello").await.newest_revision, 1);
}

#[tokio::test]
async fn components_come_with_their_snap() {
    let shop = Shop::new().await;
    let publisher = Browser::of(&shop, "pub");
    let snap = snap_file("hello", "1", "components:\n  more:\n    type: standard\n");
    let more = component_file("hello", "more", "");
    let wrong: [(&str, Option<&str>, &[u8]); 2] = [
        ("component", Some("more.comp"), &more),
        ("snap", Some("hello.snap"), &snap),
    ];
    let seen = upload(&publisher, &wrong).await;
    assert_eq!(seen.status, 400);
    assert!(seen.text.contains("the snap file comes first"), "{seen:?}");
    let right: [(&str, Option<&str>, &[u8]); 2] = [
        ("snap", Some("hello.snap"), &snap),
        ("component", Some("more.comp"), &more),
    ];
    assert_eq!(upload(&publisher, &right).await.status, 303);
    publisher
        .get("/brands/acme/snaps/hello/revisions")
        .await
        .shows("more 1 (");
}

#[tokio::test]
async fn what_is_wrong_is_told_and_nothing_is_kept() {
    let shop = Shop::new().await;
    let publisher = Browser::of(&shop, "pub");
    let file = snap_file("hello", "1", "");
    let foreign = Browser::of(&shop, "pub2")
        .get("/brands/acme/upload")
        .await
        .mark()
        .unwrap();
    let mark = publisher.get("/brands/acme/upload").await.mark().unwrap();
    let mark = mark.as_bytes();
    let long = vec![b'x'; 100_000];
    let snap: (&str, Option<&str>, &[u8]) = ("snap", Some("hello.snap"), &file);
    let many: Vec<(&str, Option<&str>, &[u8])> = std::iter::once(("mark", None, mark))
        .chain((0..400).map(|_| ("x", None, &b"1"[..])))
        .collect();
    let whole = multipart(&[("mark", None, mark), snap]);
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (multipart(&[snap]), 403, "Nothing was changed"),
        (
            multipart(&[snap, ("mark", None, mark)]),
            403,
            "Nothing was changed",
        ),
        (
            multipart(&[("mark", None, foreign.as_bytes()), snap]),
            403,
            "Nothing was changed",
        ),
        (multipart(&[("mark", None, mark)]), 400, "choose a snap file"),
        (
            multipart(&[("mark", None, mark), ("snap", Some(""), b"")]),
            400,
            "choose a snap file",
        ),
        (
            multipart(&[("mark", None, mark), ("snap", Some("x"), b"no snap at all")]),
            400,
            "cannot ",
        ),
        (
            multipart(&[("mark", None, mark), ("channels", None, b"a/b/c/d"), snap]),
            400,
            "Release to the channels",
        ),
        (
            multipart(&[("mark", None, mark), ("percentage", None, b"many"), snap]),
            400,
            "part of the devices",
        ),
        (
            multipart(&[("mark", None, mark), ("channels", None, &long), snap]),
            400,
            "larger than 65536 bytes",
        ),
        (
            multipart(&[("mark", None, mark), ("channels", None, b"\xff\xfe"), snap]),
            400,
            "no UTF-8",
        ),
        (multipart(&many), 400, "more than 300 parts"),
        (
            multipart(&[("mark", None, mark), ("store", None, b"nowhere"), snap]),
            404,
            "nowhere",
        ),
        (whole[..whole.len() - 40].to_vec(), 400, "cannot read the form"),
        (b"no form".to_vec(), 400, "cannot read the form"),
    ];
    for (body, status, text) in cases {
        let seen = send(&publisher, body).await;
        assert_eq!(seen.status, status, "{text}: {seen:?}");
        assert!(seen.text.contains(text), "{text}: {seen:?}");
        assert!(shop.blobs().await.is_empty(), "{text}");
    }
    assert_eq!(send(&publisher, whole).await.status, 303);
    for who in ["view", "rev", "admin"] {
        let seen = upload(&Browser::of(&shop, who), &[snap]).await;
        assert!(seen.absent(), "{who} {seen:?}");
    }
}
