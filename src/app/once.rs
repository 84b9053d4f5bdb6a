//! Work that is done by one process, however many share the storage.
//!
//! Who begins it spends the name of the work for this minute and the next; as long as it goes on, for the minute after that
//! too. Others find it spent and leave it alone. A process that dies spends no further minute, so somebody else takes the work
//! up two minutes later at the most. Nothing is right because of this: it only saves doing the work twice, and clocks that
//! differ by more than a minute cost just that.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::App;
use crate::domain::time::Timestamp;
use crate::ports::StoreError;

/// For how long the name of some work is spent, in seconds.
const SPAN: i64 = 60;
/// How often it is looked whether the next span is near.
const LOOK: Duration = Duration::from_secs(10);

/// Does `work`, which has this name, unless another process is at it: then none. Where no other process can be, it is just done.
///
/// # Errors
/// If the storage is out of reach before the work begins.
pub(super) async fn once<T>(
    app: &App,
    name: &str,
    work: impl Future<Output = T>,
) -> Result<Option<T>, StoreError> {
    if super::fleet::behind(app).is_none() {
        return Ok(Some(work.await));
    }
    let mut span = app.clock.now().unix() / SPAN;
    if !spend(app, name, span).await? || !spend(app, name, span + 1).await? {
        return Ok(None);
    }
    span += 1;
    let mut work = std::pin::pin!(work);
    loop {
        if let Ok(done) = tokio::time::timeout(LOOK, &mut work).await {
            return Ok(Some(done));
        }
        while app.clock.now().unix() / SPAN >= span {
            span += 1;
            // Without it somebody else may begin too, which does no harm.
            if let Err(error) = spend(app, name, span).await {
                tracing::warn!(%error, work = name, "cannot tell other processes what is being worked on");
            }
        }
    }
}

/// False: it was spent.
async fn spend(app: &App, name: &str, span: i64) -> Result<bool, StoreError> {
    let hash = digest(&SHA256, format!("hallmark work 1\n{name}\n{span}").as_bytes());
    let mut nonce = [0; 16];
    for (to, from) in nonce.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    let expires = Timestamp::from_unix((span + 2) * SPAN);
    app.storage.spend(nonce, expires).await
}
