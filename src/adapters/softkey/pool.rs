//! The threads that compute signatures, fed by a bounded queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use aws_lc_rs::digest::{Digest, SHA512};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use tokio::sync::oneshot;

use crate::ports::SignError;

/// One signature to make.
pub(super) struct Job {
    pub(super) pair: Arc<KeyPair>,
    pub(super) sha512: [u8; 64],
    pub(super) answer: oneshot::Sender<Result<Vec<u8>, SignError>>,
}

impl Job {
    fn run(self) {
        // Whoever asked may have gone (deadline, closed connection): then there is nothing to do.
        if !self.answer.is_closed() {
            let _gone = self.answer.send(raw_signature(&self.pair, &self.sha512));
        }
    }
}

/// RSASSA-PKCS1-v1_5 over a digest. aws-lc checks the result against the public key before it gives it out, so a
/// computing fault cannot leak the key.
fn raw_signature(pair: &KeyPair, sha512: &[u8; 64]) -> Result<Vec<u8>, SignError> {
    let failed = |_| SignError::Offline("the signature computation failed".to_owned());
    let digest = Digest::import_less_safe(sha512, &SHA512).map_err(failed)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(&RSA_PKCS1_SHA512, &digest, &mut signature)
        .map_err(failed)?;
    Ok(signature)
}

/// Threads that sign, fed by a bounded queue.
pub(super) struct Pool {
    state: Mutex<PoolState>,
    changed: Condvar,
    queue: usize,
}

struct PoolState {
    jobs: VecDeque<Job>,
    stopped: bool,
}

impl Pool {
    pub(super) fn start(threads: usize, queue: usize) -> Result<Arc<Self>, SignError> {
        let state = PoolState {
            jobs: VecDeque::with_capacity(queue),
            stopped: false,
        };
        let pool = Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            queue,
        });
        for number in 0..threads {
            let worker = Arc::clone(&pool);
            std::thread::Builder::new()
                .name(format!("sign-{number}"))
                .spawn(move || worker.work())
                .map_err(|e| SignError::Offline(format!("no signing thread: {e}")))?;
        }
        Ok(pool)
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), SignError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.jobs.len() >= self.queue {
            return Err(SignError::Saturated);
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    fn work(&self) {
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let job = loop {
                if state.stopped {
                    return;
                }
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            job.run();
        }
    }

    /// Ends the threads; whoever still waits hears of it.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        state.jobs.clear();
        drop(state);
        self.changed.notify_all();
    }
}
