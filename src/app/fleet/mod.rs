//! Update control: which production device sees which revision, when (waves-and-registration.md A). What operators do is
//! recorded; the fleet is kept in memory beside it, so that a refresh is decided without asking the database.

pub mod binding;
mod choice;
pub mod devices;
pub mod explain;
mod follow;
pub mod groups;
mod health;
mod index;
mod load;
mod notify;
mod pool;
pub mod rollout;
mod sets;
mod sight;
pub mod status;
mod watch;
pub mod waves;

pub(in crate::app) use binding::{maker, open_with_key, take as take_signature, waiting_for};
pub use follow::{behind, current, follow};
pub use health::observe;
pub(in crate::app) use health::{fetched, is_waited_for, put_fetched};
pub use load::start;
pub(in crate::app) use notify::untold;
pub use notify::{Hook, deliver};
pub(in crate::app) use sets::{
    holds, is_made as is_set_made, latest as latest_set, numbered as numbered_set,
};
pub use sight::DeviceSight;
pub use watch::{judge_all, watch};
pub(in crate::app) use waves::{Doer, named};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::{App, Refusal};
use follow::Following;
use index::State;

/// The fleet in memory. One per process.
#[derive(Debug, Default)]
pub struct Fleet {
    state: RwLock<State>,
    /// Whether there is anything to decide: most instances have no production devices.
    used: AtomicBool,
    loaded: OnceCell<()>,
    /// Operators act one after the other: what one of them saw is still so when it is recorded.
    acting: Mutex<()>,
    /// What other processes do.
    following: Following,
}

impl Fleet {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is in memory.
    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state: RwLockWriteGuard<'_, State> =
            self.state.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        self.used.store(!state.is_empty(), Ordering::Release);
        result
    }

    fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Whether a device that is not in memory may have a place, or anything to do with waves.
    fn may_be_used(&self) -> bool {
        self.is_used() || self.following.is_shared()
    }
}

/// Nobody else acts in this process while the guard lives, and what others did before is known. Who is faster in another process
/// is found out by versions of records: [`follow::Tries`].
///
/// # Errors
/// If the database is out of reach.
async fn act(app: &App) -> Result<MutexGuard<'_, ()>, Refusal> {
    let guard = app.fleet.acting.lock().await;
    follow::catch_up(app).await?;
    Ok(guard)
}
