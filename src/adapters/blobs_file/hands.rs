//! The threads that hash and write incoming files: a few for all of them, so that fifty uploads leave devices their share of
//! the processors, and behind everything else where these are short.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};

/// How far behind other threads they stand (`nice`), from 0 to 19: one of them counts a tenth of one that answers requests.
const BEHIND: i32 = 10;

/// A runtime of their own: where there is more work than threads, all of it gives way after every batch, so files come in evenly.
#[derive(Debug)]
pub(super) struct Hands {
    runtime: Option<Runtime>,
    crew: Arc<Crew>,
}

/// Who sits at work, and how many can at a time.
#[derive(Debug)]
struct Crew {
    threads: usize,
    working: AtomicUsize,
}

/// Belongs to one piece of work, from before it begins until its end.
#[derive(Debug)]
pub(super) struct Turn(Arc<Crew>);

impl Turn {
    /// Lets others have their turn, if any can be waiting for one. Giving way to nobody would be dear: a runtime's thread
    /// that gives way takes whatever comes next before it goes on, so what could run beside it runs before it.
    pub(super) async fn pass(&self) {
        if self.0.working.load(Ordering::Relaxed) > self.0.threads {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hands {
    /// A thread for each processor, and two at least, for the two that each file keeps busy. With more of them the system puts
    /// both onto one processor now and then.
    pub(super) fn new() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = processors.max(2);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("hallmark-files")
            .on_thread_start(step_behind)
            .build()?;
        let working = AtomicUsize::new(0);
        Ok(Self {
            runtime: Some(runtime),
            crew: Arc::new(Crew { threads, working }),
        })
    }

    /// For work that is about to be spawned.
    pub(super) fn turn(&self) -> Turn {
        self.crew.working.fetch_add(1, Ordering::Relaxed);
        Turn(Arc::clone(&self.crew))
    }

    /// Works on it, piece by piece.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        // The last owner may be a task of another runtime, where nobody may wait for threads.
        if let Some(runtime) = self.runtime.take() {
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
