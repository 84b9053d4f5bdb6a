//! What is answered to bytes that are no request, or whose head is too large: hyper refuses those below our code, with
//! an empty answer. It gets what every answer has: a request id, and a reason.

use super::router::{REQUEST_ID, RequestId};

/// How the answers begin that hyper makes by itself, with the reason we give.
const OWN: &[(&[u8], &str, &str)] = &[
    (
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n",
        "invalid-request",
        "cannot read the request: its head is not valid HTTP/1.1",
    ),
    (
        b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n",
        "request-too-large",
        "cannot read the request: its path is too long",
    ),
    (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n",
        "request-too-large",
        "cannot read the request: its head is too large, or has too many headers",
    ),
];

/// For a whole answer of hyper's own: the one to send in its place. `None` = the answer is not hyper's own.
pub(super) fn answer(written: &[u8], id: impl FnOnce() -> RequestId) -> Option<Vec<u8>> {
    let (_, code, message) = OWN.iter().find(|(start, ..)| written.starts_with(start))?;
    let text = std::str::from_utf8(written).ok()?;
    let rest = text.strip_suffix("\r\n\r\n")?;
    let mut lines = rest.split("\r\n");
    let status = lines.next()?;
    let kept: Vec<&str> = lines
        .filter(|line| !line.starts_with("content-length:"))
        .collect();
    if kept.iter().any(|line| line.is_empty()) {
        return None; // something follows the head: not hyper's own
    }
    Some(written_out(status, &kept.join("\r\n"), (code, message), id()))
}

/// The answer to a request without TLS on a port that speaks it.
pub(super) fn without_tls(id: RequestId) -> Vec<u8> {
    let why = (
        "tls-required",
        "cannot read the request: this port speaks TLS, use https://",
    );
    written_out("HTTP/1.1 400 Bad Request", "connection: close", why, id)
}

fn written_out(
    status: &str,
    headers: &str,
    (code, message): (&str, &str),
    RequestId(id): RequestId,
) -> Vec<u8> {
    tracing::info!(request.id = &*id, status, "refused what is no request");
    let body = serde_json::json!({
        "error-list": [{ "code": code, "message": message }],
        "message": message,
    })
    .to_string();
    format!(
        "{status}\r\ncontent-type: application/json\r\n{REQUEST_ID}: {id}\r\n{headers}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len(),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_our_own_are_left_alone() {
        let id = || RequestId("x".into());
        for ours in [
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-request-id: 1\r\nconnection: close\r\n\
             content-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n",
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\nmore\r\n\r\n",
            "",
        ] {
            assert_eq!(answer(ours.as_bytes(), id), None, "{ours}");
        }
    }
}
