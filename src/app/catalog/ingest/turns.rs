//! One after the other: uploads of one snap that got into each other's way.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Line, OwnedMutexGuard};

use crate::domain::ident::SnapName;

/// The lines of snaps; in memory, one per process. What other processes do is seen at the commit only.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<SnapName, Weak<Line<()>>>>);

impl Turns {
    /// Waits for a turn with the snap of this name, first come first served. It lasts as long as the value lives.
    pub(super) async fn wait(&self, name: &SnapName) -> OwnedMutexGuard<()> {
        let line = {
            let mut lines = self.0.lock();
            lines.retain(|_, line| line.strong_count() > 0);
            let line = lines.get(name).and_then(Weak::upgrade).unwrap_or_default();
            lines.insert(name.clone(), Arc::downgrade(&line));
            line
        };
        line.lock_owned().await
    }
}
