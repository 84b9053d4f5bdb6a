//! Passwords: argon2id, a bounded number at a time, off the event loop; the same work whether or not there is
//! a hash to compare with, so that answers do not tell which accounts exist.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::{Reason, Refusal};
use crate::domain::access::secret::random_letters;
use crate::ports::Entropy;

/// Shortest password that is taken, in characters.
pub const MIN_PASSWORD: usize = 12;
/// Longest password that is taken, in bytes.
pub const MAX_PASSWORD: usize = 1024;
/// Memory of one hash in KiB, passes, lanes: the first recommendation of the OWASP password storage cheat sheet.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Hashes computed at the same time.
const PARALLEL: usize = 2;
/// Requests that may wait for their turn; more are answered 503 at once.
const MAX_WAITING: usize = 64;

/// Computes and checks password hashes.
#[derive(Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(PARALLEL)),
            waiting: AtomicUsize::new(0),
        }
    }
}

/// A password in the clear.
#[derive(Clone, serde::Deserialize)]
#[serde(from = "String")]
pub struct Password(Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    /// A random password of 20 letters and digits (119 bits).
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(random_letters(20, |buffer| entropy.fill(buffer)))
    }

    /// The text, to show it once to the person it was made for.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Refuses what is too short or too long to become somebody's password.
    pub fn check_new(&self) -> Result<(), Refusal> {
        if self.0.chars().count() < MIN_PASSWORD || self.0.len() > MAX_PASSWORD {
            return Err(Refusal::invalid(
                "weak-password",
                format!(
                    "cannot use this password: it needs {MIN_PASSWORD} characters or more, up to {MAX_PASSWORD} bytes"
                ),
            ));
        }
        Ok(())
    }
}

impl Passwords {
    /// The argon2id hash to keep, as a PHC string. The password must be good enough to become one.
    pub async fn hash(&self, password: Password, entropy: &dyn Entropy) -> Result<String, Refusal> {
        password.check_new()?;
        let mut salt = [0u8; 16];
        entropy.fill(&mut salt);
        self.in_turn(move || hash_now(&password, &salt)).await?
    }

    /// Whether `password` belongs to `hash`. Takes the same time when there is no hash (the answer is no).
    /// `unless` is asked when the turn has come; its refusal ends the wait without any hashing. `then` is told the answer
    /// before the turn ends: whoever comes next is judged by it.
    pub async fn verify<T: Send + 'static>(
        &self,
        password: Password,
        hash: Option<String>,
        unless: impl FnOnce() -> Result<(), Refusal>,
        then: impl FnOnce(bool) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.turn().await?;
        unless()?;
        run_blocking(turn, move || {
            let known = hash.is_some();
            let text = hash.unwrap_or_else(decoy);
            let right = password.0.len() <= MAX_PASSWORD
                && PasswordHash::new(&text)
                    .is_ok_and(|parsed| argon2().verify_password(password.0.as_bytes(), &parsed).is_ok());
            then(known && right)
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.turn().await?;
        run_blocking(turn, work).await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let busy = || {
            Refusal::new(
                Reason::Unavailable,
                "login-busy",
                "cannot check passwords now: try again later",
            )
        };
        let _place = Place::take(&self.waiting).ok_or_else(busy)?;
        Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())
    }
}

/// A place in the queue; given back when dropped, also when the request goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The turn ends with the work, not with the request: a client that goes away does not free a place early.
async fn run_blocking<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let in_turn = move || {
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(in_turn).await.map_err(|error| {
        tracing::error!(%error, "password hashing failed");
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot check the password: internal error",
        )
    })
}

fn argon2() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(memory, passes, lanes, None).unwrap_or_default(),
    )
}

fn hash_now(password: &Password, salt: &[u8; 16]) -> Result<String, Refusal> {
    SaltString::encode_b64(salt)
        .and_then(|salt| Ok(argon2().hash_password(password.0.as_bytes(), &salt)?.to_string()))
        .map_err(|error| {
            tracing::error!(%error, "password hashing failed");
            Refusal::new(
                Reason::Internal,
                "internal-error",
                "cannot hash the password: internal error",
            )
        })
}

/// A hash of nobody's password, for accounts that do not exist or have none.
fn decoy() -> String {
    static DECOY: OnceLock<String> = OnceLock::new();
    DECOY
        .get_or_init(|| {
            hash_now(&Password::from("nobody has this password".to_owned()), &[7; 16]).unwrap_or_default()
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(5);
        }
    }

    fn password(text: &str) -> Password {
        Password::from(text.to_owned())
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_only() {
        let passwords = Passwords::default();
        let hash = passwords
            .hash(password("correct horse battery"), &Fixed)
            .await
            .unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        for (text, right) in [
            ("correct horse battery", true),
            ("correct horse batterx", false),
            ("", false),
        ] {
            assert_eq!(
                passwords
                    .verify(password(text), Some(hash.clone()), || Ok(()), |right| right)
                    .await
                    .unwrap(),
                right
            );
        }
    }

    #[tokio::test]
    async fn without_a_hash_the_answer_is_no_even_for_the_decoy() {
        let passwords = Passwords::default();
        assert!(
            !passwords
                .verify(
                    password("nobody has this password"),
                    None,
                    || Ok(()),
                    |right| right
                )
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn short_and_huge_passwords_are_refused() {
        let passwords = Passwords::default();
        for text in ["", "elevenchars", &"x".repeat(MAX_PASSWORD + 1)] {
            assert_eq!(
                passwords.hash(password(text), &Fixed).await.unwrap_err().code,
                "weak-password"
            );
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_refused_at_once() {
        let passwords = Passwords::default();
        passwords.waiting.store(MAX_WAITING, Ordering::Relaxed);
        let refusal = passwords
            .verify(password("x"), None, || Ok(()), |right| right)
            .await
            .unwrap_err();
        assert_eq!(refusal.reason, Reason::Unavailable);
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), MAX_WAITING);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_does_not_free_its_turn_before_the_work_is_done() {
        let passwords = Passwords::default();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let turn = passwords.turn().await.unwrap();
        let mut work = Box::pin(run_blocking(turn, move || wait.recv().unwrap()));
        tokio::select! {
            biased;
            _ = &mut work => panic!("the work waits for us"),
            () = std::future::ready(()) => {}
        }
        drop(work);
        assert_eq!(passwords.turns.available_permits(), PARALLEL - 1);
        go.send(()).unwrap();
        while passwords.turns.available_permits() < PARALLEL {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn secrets_are_not_printed_by_debug() {
        assert_eq!(format!("{:?}", password("hunter2")), "Password(…)");
    }
}
