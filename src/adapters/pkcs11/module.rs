//! The vendor's library: loaded and initialised at first use, and initialised anew when a token does not come back
//! otherwise. Some libraries see a device that was away only then.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::trouble::{Trouble, said};
use crate::domain::vault::TokenUri;

/// How long a new initialisation waits for calls that are under way.
const RENEW_WAIT: Duration = Duration::from_secs(2);
/// Least time between two of them.
const RENEW_PAUSE: Duration = Duration::from_millis(900);
/// The same while another token of the module works: it loses its sessions by that.
const DISTURBING_PAUSE: Duration = Duration::from_secs(60);

/// A PKCS#11 module. Calls into it are made under [`Module::enter`].
pub(super) struct Module {
    path: PathBuf,
    state: RwLock<State>,
    /// The tokens that did what they were asked for the last time.
    working: Mutex<HashSet<TokenUri>>,
}

/// The library as it is now.
pub(super) struct State {
    /// Kept once loaded: unloading is what libraries do worst.
    library: Option<Pkcs11>,
    initialised: bool,
    /// Nobody may call it any more.
    stopped: bool,
    /// Counts initialisations; sessions of another one are worth nothing, and their numbers may be given out again.
    pub(super) generation: u64,
    renewed: Option<Instant>,
}

impl Module {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: RwLock::new(State {
                library: None,
                initialised: false,
                stopped: false,
                generation: 0,
                renewed: None,
            }),
            working: Mutex::default(),
        }
    }

    /// Notes whether a token works.
    pub(super) fn note(&self, token: &TokenUri, works: bool) {
        let mut working = self.working.lock();
        if !works {
            working.remove(token);
        } else if !working.contains(token) {
            working.insert(token.clone());
        }
    }

    /// Keeps the library as it is while the guard lives.
    pub(super) fn enter(&self) -> Result<RwLockReadGuard<'_, State>, Trouble> {
        let state = self.state.read();
        if state.initialised {
            return Ok(state);
        }
        drop(state);
        let mut state = self.state.write();
        if !state.initialised {
            self.start(&mut state)?;
        }
        Ok(parking_lot::RwLockWriteGuard::downgrade(state))
    }

    /// Which initialisation this is.
    pub(super) fn generation(&self) -> u64 {
        self.state.read().generation
    }

    /// Initialises the library anew for `token`, unless somebody else did since generation `seen`. Whether it is worth
    /// trying again.
    pub(super) fn renew(&self, token: &TokenUri, seen: u64) -> bool {
        let alone = self.working.lock().iter().all(|working| working == token);
        let pause = if alone { RENEW_PAUSE } else { DISTURBING_PAUSE };
        let Some(mut state) = self.state.try_write_for(RENEW_WAIT) else {
            return false; // a call hangs in there: it cannot be taken away under it
        };
        if state.stopped {
            return false;
        }
        if state.generation != seen {
            return true;
        }
        if state.renewed.is_some_and(|at| at.elapsed() < pause) {
            return false;
        }
        state.renewed = Some(Instant::now());
        state.end();
        self.start(&mut state).is_ok()
    }

    /// Ends the use of the library, once calls under way are through: who calls it while the process ends, and its own
    /// data with it, crashes.
    pub(super) fn stop(&self) {
        if let Some(mut state) = self.state.try_write_for(RENEW_WAIT) {
            state.end();
            state.stopped = true;
        }
    }

    fn start(&self, state: &mut State) -> Result<(), Trouble> {
        let cannot = |error: &Error| {
            let why = match error {
                Error::LibraryLoading(error) => error.to_string(),
                error => said(error),
            };
            Trouble::Lost(format!("cannot load {}: {why}", self.path.display()))
        };
        if state.stopped {
            return Err(Trouble::Lost("the signer has stopped".to_owned()));
        }
        let library = match &state.library {
            Some(library) => library.clone(),
            None => Pkcs11::new(&self.path).map_err(|error| cannot(&error))?,
        };
        state.library = Some(library.clone());
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(cannot(&error)),
        }
        state.initialised = true;
        state.generation += 1;
        Ok(())
    }
}

impl State {
    fn end(&mut self) {
        if self.initialised
            && let Some(library) = self.library.clone()
            && let Err(error) = library.finalize()
        {
            tracing::warn!(error = said(&error), "cannot end the use of the PKCS#11 module");
        }
        self.initialised = false;
    }

    /// The library.
    pub(super) fn library(&self) -> Result<&Pkcs11, Trouble> {
        self.library
            .as_ref()
            .ok_or_else(|| Trouble::Lost("the PKCS#11 module is not loaded".to_owned()))
    }
}
