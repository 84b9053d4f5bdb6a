//! The threads that hash and write incoming files: a few for all of them, so that fifty uploads leave devices their share of
//! the processors, and behind everything else where these are short.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// How far behind other threads they stand (`nice`), from 0 to 19: one of them counts a tenth of one that answers requests.
const BEHIND: i32 = 10;

/// A runtime of their own: whoever works in it gives way after every batch, so files come in evenly.
#[derive(Debug)]
pub(super) struct Hands(Option<Runtime>);

impl Hands {
    /// Two threads for each processor: one may wait for the disk while the other hashes.
    pub(super) fn new() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Builder::new_multi_thread()
            .worker_threads(processors.saturating_mul(2))
            .thread_name("hallmark-files")
            .on_thread_start(step_behind)
            .build()
            .map(|runtime| Self(Some(runtime)))
    }

    /// Works on it, piece by piece.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(work);
        }
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        // The last owner may be a task of another runtime, where nobody may wait for threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// On Linux this is of the calling thread alone. Where it is not allowed, files are hashed like everything else.
fn step_behind() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, BEHIND) {
        tracing::debug!(%error, "threads for files stand beside the others");
    }
}
