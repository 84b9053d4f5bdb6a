//! While the storage is out of reach: what readers of the catalogue get, and how often it is asked whether it is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::view::Snapshot;
use crate::app::Refusal;

/// For how long the last picture is good enough. A database that fails over is back by then.
const KEPT: Duration = Duration::from_secs(60);
/// How often one reader finds out whether the storage is back; the others do not wait for that.
const AGAIN: Duration = Duration::from_secs(1);

/// Since when, if it is.
#[derive(Debug, Default)]
pub(super) struct Away(Mutex<Option<Since>>);

#[derive(Debug)]
struct Since {
    began: Instant,
    /// When it was tried last.
    tried: Instant,
    why: Refusal,
}

impl Away {
    /// What a reader gets at once; none: it may ask the storage, and says what came of it.
    pub(super) fn answer(
        &self,
        held: impl FnOnce() -> Option<Arc<Snapshot>>,
        now: Instant,
    ) -> Option<Result<Arc<Snapshot>, Refusal>> {
        let mut away = self.0.lock();
        let since = away.as_mut()?;
        if now.duration_since(since.tried) >= AGAIN {
            since.tried = now;
            return None;
        }
        Some(since.judge(held, now))
    }

    /// The storage could not be asked.
    pub(super) fn failed(
        &self,
        why: Refusal,
        held: impl FnOnce() -> Option<Arc<Snapshot>>,
        now: Instant,
    ) -> Result<Arc<Snapshot>, Refusal> {
        let mut away = self.0.lock();
        if away.is_none() {
            tracing::warn!(%why, "the catalogue is read from memory until the database is back");
        }
        let began = away.as_ref().map_or(now, |since| since.began);
        away.insert(Since {
            began,
            tried: now,
            why,
        })
        .judge(held, now)
    }

    /// The storage answers.
    pub(super) fn is_back(&self) {
        let mut away = self.0.lock();
        if away.take().is_some() {
            tracing::info!("the catalogue is known again");
        }
    }
}

impl Since {
    fn judge(
        &self,
        held: impl FnOnce() -> Option<Arc<Snapshot>>,
        now: Instant,
    ) -> Result<Arc<Snapshot>, Refusal> {
        let kept = (now.duration_since(self.began) < KEPT).then(held).flatten();
        kept.ok_or_else(|| self.why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Reason;

    #[test]
    fn the_last_picture_is_good_for_a_minute_and_one_reader_a_second_asks() {
        let away = Away::default();
        let began = Instant::now();
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        let held = || Some(Arc::<Snapshot>::default());
        let why = || Refusal::new(Reason::Unavailable, "unavailable", "cannot reach the database");
        assert!(away.answer(held, began).is_none(), "it is not away");
        assert!(away.failed(why(), held, began).is_ok());
        assert!(away.answer(held, at(0.5)).unwrap().is_ok());
        assert!(
            away.answer(|| None, at(0.5)).unwrap().is_err(),
            "there is no picture"
        );
        assert!(away.answer(held, at(1.5)).is_none(), "one asks");
        assert!(
            away.answer(held, at(1.6)).unwrap().is_ok(),
            "the others do not wait"
        );
        assert!(away.failed(why(), held, at(59.0)).is_ok());
        assert_eq!(away.failed(why(), held, at(60.0)).unwrap_err(), why());
        assert!(away.answer(held, at(60.5)).unwrap().is_err());
        away.is_back();
        assert!(away.answer(held, at(99.0)).is_none());
        assert!(away.failed(why(), held, at(99.0)).is_ok(), "a minute from here");
    }
}
