//! What went wrong, for people: short, and without addresses and keys.

use std::time::Duration;

use object_store::Error;

use crate::ports::BlobError;

/// Longest reason that is passed on.
const LONGEST: usize = 200;

/// `doing` did not work.
pub(super) fn unavailable(doing: &'static str, why: impl Into<String>) -> BlobError {
    BlobError::Unavailable {
        doing,
        why: why.into(),
    }
}

/// The same, as the bucket or the connection to it says.
pub(super) fn trouble(doing: &'static str, error: &Error) -> BlobError {
    tracing::debug!(%error, doing, "the bucket refused");
    unavailable(doing, reason(&error.to_string()))
}

/// Waits no longer than `patience` for something that is over at once when all is well.
pub(super) async fn within<T>(
    patience: Duration,
    doing: &'static str,
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<T, BlobError> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done.map_err(|error| trouble(doing, &error)),
        Err(_) => Err(unavailable(doing, "the bucket does not answer in time")),
    }
}

/// Like [`within`]; none if there is no such object.
pub(super) async fn within_if_there<T>(
    patience: Duration,
    doing: &'static str,
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<Option<T>, BlobError> {
    let found = async {
        match work.await {
            Err(Error::NotFound { .. }) => Ok(None),
            found => found.map(Some),
        }
    };
    within(patience, doing, found).await
}

/// The library tells everything: address, number of tries, the whole answer as XML. What people need is at its end.
fn reason(text: &str) -> String {
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        rest.split_once(to).map(|(inner, _)| inner.trim())
    };
    if let Some(status) = text.split_once("status code: ").map(|(_, rest)| rest) {
        let status = status.split(':').next().unwrap_or_default().trim();
        return match between("<Code>", "</Code>") {
            Some(code) => shortened(&format!("the bucket answers {status} ({code})")),
            None => shortened(&format!("the bucket answers {status}")),
        };
    }
    let inner = text.rsplit_once(" - ").map_or(text, |(_, inner)| inner).trim();
    shortened(inner.strip_prefix("HTTP error: ").unwrap_or(inner))
}

fn shortened(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_short_and_name_no_address() {
        for (text, expected) in [
            (
                "Generic S3 error: Error performing PUT http://10.0.0.7:9000/b/kept/x in 1.2s, after 3 retries, max_retries: 3, \
                 retry_timeout: 15s  - Server returned non-2xx status code: 503 Service Unavailable: <?xml version=\"1.0\"?>\n\
                 <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
                "the bucket answers 503 Service Unavailable (SlowDown)",
            ),
            (
                "The operation lacked the necessary privileges to complete for path x: Error performing GET http://h/b/x in 1ms \
                 - Server returned non-2xx status code: 403 Forbidden: ",
                "the bucket answers 403 Forbidden",
            ),
            (
                "Generic S3 error: Error performing GET http://h/b/x in 1ms - HTTP error: Connection refused (os error 111)",
                "Connection refused (os error 111)",
            ),
        ] {
            assert_eq!(reason(text), expected);
        }
    }
}
