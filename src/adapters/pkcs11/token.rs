//! One token: a few threads with a session each, a bounded queue in front of them, and what is known of its health.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use cryptoki::session::Session;
use cryptoki::slot::Slot;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::login::Login;
use super::module::{Module, State};
use super::objects::{TokenKey, find};
use super::trouble::{Trouble, said};
use crate::domain::ident::KeyId;
use crate::domain::vault::TokenUri;
use crate::ports::{SignError, TokenState};

/// How long a token that does not answer is left alone, the first time; doubled from then on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// A token. Dropping it ends its threads.
pub(super) struct Token {
    /// How it is called.
    pub(super) uri: TokenUri,
    module: Arc<Module>,
    login: Login,
    jobs: SyncSender<Job>,
    down: Mutex<Option<Down>>,
}

/// Since it could not be used.
struct Down {
    why: Trouble,
    pause: Duration,
    /// Nobody asks it before; who comes first then asks for all.
    until: Instant,
}

/// A session of one thread, and the keys it found by it.
pub(super) struct Open {
    pub(super) session: Session,
    slot: Slot,
    generation: u64,
    keys: HashMap<KeyId, TokenKey>,
}

/// A thread's side of it.
pub(super) struct Worker {
    token: Weak<Token>,
    module: Arc<Module>,
    open: Option<Open>,
}

impl Token {
    /// Starts `sessions` threads; `queue` requests may wait for them. The token itself is not asked for yet.
    pub(super) fn start(
        uri: TokenUri,
        module: Arc<Module>,
        pin_file: Option<PathBuf>,
        sessions: usize,
        queue: usize,
    ) -> Result<Arc<Self>, SignError> {
        let (jobs, waiting) = sync_channel(queue.max(1));
        let token = Arc::new(Self {
            uri,
            module,
            login: Login::new(pin_file),
            jobs,
            down: Mutex::new(None),
        });
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..sessions.max(1) {
            let mut worker = Worker {
                token: Arc::downgrade(&token),
                module: Arc::clone(&token.module),
                open: None,
            };
            let waiting: Arc<Mutex<Receiver<Job>>> = Arc::clone(&waiting);
            std::thread::Builder::new()
                .name(format!("token-{number}"))
                .spawn(move || {
                    loop {
                        let job = waiting.lock().recv();
                        match job {
                            Ok(job) => job(&mut worker),
                            Err(_) => return,
                        }
                    }
                })
                .map_err(|error| SignError::Offline(format!("no thread for a token: {error}")))?;
        }
        Ok(token)
    }

    /// Its label.
    pub(super) fn label(&self) -> &str {
        &self.uri.token
    }

    /// What is known of it.
    pub(super) fn state(&self) -> TokenState {
        let down = self.down.lock();
        TokenState {
            token: self.label().to_owned(),
            trouble: down.as_ref().map(|down| match &down.why {
                Trouble::Lost(why) | Trouble::Barred(why) | Trouble::Key(why) => why.clone(),
            }),
        }
    }

    /// Whether it is not known to be down.
    pub(super) fn is_up(&self) -> bool {
        self.down.lock().is_none()
    }

    /// Does `work` with a session, within `limit`. A token that is down is asked by one request at a time, after its
    /// pause; all others hear at once what it said.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        mut work: impl FnMut(&State, &mut Open) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, SignError> {
        self.admit()?;
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // Whoever asked may have gone: then there is nothing to do.
            if !answer.is_closed() {
                let _gone = answer.send(worker.carry_out(&mut work));
            }
        });
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(SignError::Saturated),
            Err(TrySendError::Disconnected(_)) => {
                return Err(SignError::Offline(
                    "the threads of the token have stopped".to_owned(),
                ));
            }
        }
        match tokio::time::timeout(limit, outcome).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(trouble))) => Err(trouble.of_token(self.label())),
            Ok(Err(_)) => Err(SignError::Offline("a thread of the token has stopped".to_owned())),
            Err(_) => {
                let why = Trouble::Lost(format!("it did not answer within {} seconds", limit.as_secs()));
                self.went_down(&why);
                Err(why.of_token(self.label()))
            }
        }
    }

    fn admit(&self) -> Result<(), SignError> {
        let mut down = self.down.lock();
        let Some(down) = down.as_mut() else {
            return Ok(());
        };
        let now = Instant::now();
        if now < down.until {
            return Err(down.why.clone().of_token(self.label()));
        }
        down.until = now + down.pause;
        Ok(())
    }

    fn went_down(&self, why: &Trouble) {
        self.module.note(&self.uri, false);
        let mut down = self.down.lock();
        let pause = match down.as_ref() {
            None => FIRST_PAUSE,
            // Several that were under way at once say it once.
            Some(down) if Instant::now() + FIRST_PAUSE / 2 < down.until && down.why == *why => down.pause,
            Some(down) => (down.pause * 2).min(LONGEST_PAUSE),
        };
        if down.as_ref().is_none_or(|down| down.why != *why) {
            let (Trouble::Lost(text) | Trouble::Barred(text) | Trouble::Key(text)) = why;
            tracing::warn!(
                token = self.label(),
                why = text,
                "a token cannot be used: keys in it do not sign"
            );
        }
        *down = Some(Down {
            why: why.clone(),
            pause,
            until: Instant::now() + pause,
        });
    }

    fn is_back(&self) {
        self.module.note(&self.uri, true);
        if self.down.lock().take().is_some() {
            tracing::info!(token = self.label(), "a token can be used again");
        }
    }

    /// The slot that holds this token now.
    fn slot(&self, state: &State) -> Result<Slot, Trouble> {
        let library = state.library()?;
        let mut found = Vec::new();
        for slot in library.get_slots_with_token()? {
            // One broken slot must not hide the others.
            let Ok(info) = library.get_token_info(slot) else {
                continue;
            };
            if info.token_initialized()
                && self.uri.is(
                    info.label(),
                    info.manufacturer_id(),
                    info.model(),
                    info.serial_number(),
                )
            {
                found.push(slot);
            }
        }
        match found.as_slice() {
            [] => Err(Trouble::Lost("it is not there".to_owned())),
            [slot] => Ok(*slot),
            several => Err(Trouble::Barred(format!(
                "{} tokens are called like that; tell them apart with serial= in pkcs11-token",
                several.len()
            ))),
        }
    }

    /// A new session, logged in.
    fn open(&self, state: &State) -> Result<Open, Trouble> {
        let slot = self.slot(state)?;
        let library = state.library()?;
        let session = library.open_ro_session_no_drop(slot)?;
        let entered = library
            .get_token_info(slot)
            .map_err(Trouble::from)
            .and_then(|info| self.login.enter(&session, &info));
        if let Err(trouble) = entered {
            let _closed = session.close();
            return Err(trouble);
        }
        Ok(Open {
            session,
            slot,
            generation: state.generation,
            keys: HashMap::new(),
        })
    }
}

impl Open {
    /// Finds the key `id` at `place`: once per session, and only if it is that key.
    pub(super) fn look(&mut self, id: &KeyId, place: &TokenUri) -> Result<(), Trouble> {
        if self.keys.contains_key(id) {
            return Ok(());
        }
        let found = find(&self.session, place)?;
        if found.public.id() != id {
            return Err(Trouble::Key(format!(
                "the key {place} is {}, not {id}",
                found.public.id()
            )));
        }
        self.keys.insert(id.clone(), found);
        Ok(())
    }

    /// Signs with the key `id` at `place`.
    pub(super) fn sign(
        &mut self,
        id: &KeyId,
        place: &TokenUri,
        sha512: &[u8; 64],
    ) -> Result<Vec<u8>, Trouble> {
        self.look(id, place)?;
        match self.keys.get(id) {
            Some(key) => key.sign(&self.session, sha512),
            None => Err(Trouble::Key(format!("there is no private key {place}"))),
        }
    }

    /// Looks for this key anew the next time.
    pub(super) fn forget(&mut self, id: &KeyId) {
        self.keys.remove(id);
    }

    /// Does `work` with a session that may write, which shares the log-in of this one.
    pub(super) fn writing<T>(
        &self,
        state: &State,
        work: impl FnOnce(&Session) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let session = state.library()?.open_rw_session_no_drop(self.slot)?;
        let done = work(&session);
        let _closed = session.close();
        done
    }
}

impl Worker {
    /// Does `work`: with the session at hand, then with a new one, then with the module initialised anew.
    fn carry_out<T>(
        &mut self,
        work: &mut dyn FnMut(&State, &mut Open) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let gone = || Trouble::Lost("the signer has stopped".to_owned());
        let token = self.token.upgrade().ok_or_else(gone)?;
        let mut last = gone();
        let had_session = self.open.is_some();
        let mut generation = 0;
        for attempt in 0..3 {
            if attempt == 1 && !had_session {
                continue; // that was a new one already
            }
            if attempt == 2 && !self.module.renew(&token.uri, generation) {
                break;
            }
            generation = self.module.generation();
            match self.once(&token, work) {
                Ok(done) => {
                    token.is_back();
                    return Ok(done);
                }
                Err(Trouble::Lost(why)) => last = Trouble::Lost(why),
                // An old session may have lost its log-in, and then sees no private keys.
                Err(trouble @ Trouble::Key(_)) if attempt == 0 && had_session => {
                    self.close();
                    last = trouble;
                }
                // The token is there: it is the key, or the PIN.
                Err(trouble @ Trouble::Key(_)) => {
                    token.is_back();
                    return Err(trouble);
                }
                Err(trouble @ Trouble::Barred(_)) => {
                    last = trouble;
                    break;
                }
            }
        }
        token.went_down(&last);
        Err(last)
    }

    fn once<T>(
        &mut self,
        token: &Token,
        work: &mut dyn FnMut(&State, &mut Open) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let module = Arc::clone(&self.module);
        let state = module.enter()?;
        let kept = self
            .open
            .take()
            .filter(|open| open.generation == state.generation);
        let mut open = match kept {
            Some(open) => open,
            None => token.open(&state)?,
        };
        let done = work(&state, &mut open);
        match &done {
            Err(Trouble::Lost(_)) => {
                if let Err(error) = open.session.close() {
                    tracing::debug!(error = said(&error), "a session was gone");
                }
            }
            Ok(_) | Err(Trouble::Key(_) | Trouble::Barred(_)) => self.open = Some(open),
        }
        done
    }
}

impl Worker {
    /// Closes the session, unless it went with the initialisation it belongs to.
    fn close(&mut self) {
        if let Some(open) = self.open.take()
            && let Ok(state) = self.module.enter()
            && state.generation == open.generation
        {
            let _closed = open.session.close();
        }
    }
}
