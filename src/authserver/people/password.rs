//! Passwords: argon2id (RFC 9106), away from the threads that answer requests, and only so many at once.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    thread,
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher as _, PasswordVerifier as _, phc},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::authserver::{
    artefact::{RandomError, random},
    store::PasswordHash,
};

/// Memory of one hash, in KiB. 19 MiB with two passes is OWASP's least for argon2id; four at once are 76 MiB, which is
/// what the authorization server's memory limit leaves room for. More passes would let a flood of logins wait longer.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Threads of one hash: others have their own logins to answer.
const LANES: u32 = 1;
/// The most hashes at once, however many cores there are.
const MAX_AT_ONCE: usize = 4;
/// The most logins that wait for one or are at one.
const MAX_WAITING: usize = 64;
/// The most of those from browsers that are not known: a flood of strangers leaves room for the others.
const MAX_STRANGERS: usize = 48;
/// The shortest password, in bytes.
const MIN_BYTES: usize = 8;
/// The longest password, in bytes.
const MAX_BYTES: usize = 1024;

static ARGON2: LazyLock<Argon2<'static>> = LazyLock::new(|| {
    // Within every bound of the algorithm: a constant.
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
});

/// A hash that no password has, as costly to compare with as any other: for users who are not there.
static NOBODY: LazyLock<PasswordHash> = LazyLock::new(|| {
    let (salt, output) = ("A".repeat(22), "A".repeat(43));
    PasswordHash::new(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}"))
});

/// A password that may be set.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// A text that may not be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It is easily guessed.
    #[error("the password is too short: use at least {MIN_BYTES} characters, better 16")]
    TooShort,
    /// It would take too long to read.
    #[error("the password is too long: use at most {MAX_BYTES} bytes")]
    TooLong,
    /// Nobody could type it: browsers strip line breaks from what is typed or pasted.
    #[error("the password holds a line break or another control character: write one line")]
    Control,
}

impl Password {
    /// Takes a password that somebody chose: 8 to 1024 bytes without control characters, taken as they are.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        match text.len() {
            _ if text.chars().any(char::is_control) => Err(PasswordError::Control),
            ..MIN_BYTES => Err(PasswordError::TooShort),
            MIN_BYTES..=MAX_BYTES => Ok(Self(Zeroizing::new(text.to_owned()))),
            _ => Err(PasswordError::TooLong),
        }
    }

    /// A new one of 120 random bits, to be shown once.
    pub fn generate() -> Result<Self, RandomError> {
        let bytes: Zeroizing<[u8; 15]> = Zeroizing::new(random()?);
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No randomness for the salt.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The hash function refuses.
    #[error("the password cannot be hashed: {0}")]
    Argon2(#[from] password_hash::Error),
}

/// Hashes a password. It keeps the calling thread busy for a while.
pub fn hash(password: &Password) -> Result<PasswordHash, HashError> {
    let salt: [u8; 16] = random()?;
    let hash = ARGON2.hash_password_with_salt(password.text().as_bytes(), &salt)?;
    Ok(PasswordHash::new(hash.to_string()))
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// It is the user's password.
    Right {
        /// The hash to store instead, where today's parameters differ from those it was made with.
        better: Option<PasswordHash>,
    },
    /// It is not, or there is no such user.
    Wrong,
}

/// Too many logins wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Compares passwords, so many at once.
pub(super) struct Passwords {
    waiting: Semaphore,
    strangers: Semaphore,
    working: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::bounded(MAX_WAITING, MAX_STRANGERS, cores.min(MAX_AT_ONCE))
    }

    fn bounded(waiting: usize, strangers: usize, working: usize) -> Self {
        let [waiting, strangers, working] = [waiting, strangers, working].map(Semaphore::new);
        Self { waiting, strangers, working: Arc::new(working) }
    }

    /// Compares what was typed with the user's hash. Without a user, with one that nothing is equal to, so that both
    /// take the same time. `known`: it is typed on a device of the user.
    pub(super) async fn check(&self, typed: &str, hash: Option<&PasswordHash>, known: bool) -> Result<Checked, Busy> {
        if typed.len() > MAX_BYTES {
            // No user has such a password, and this tells nothing about any.
            return Ok(Checked::Wrong);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let _stranger = (!known).then(|| self.strangers.try_acquire()).transpose().map_err(|_| Busy)?;
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(|_| Busy)?;
        let typed = Zeroizing::new(typed.to_owned());
        let hash = hash.unwrap_or(&NOBODY).clone();
        let compared = tokio::task::spawn_blocking(move || {
            // Held by the work and not by the request, which may be gone before the work is done.
            let _working = working;
            compare(&typed, &hash)
        });
        compared.await.map_err(|_| Busy)
    }
}

fn compare(typed: &str, hash: &PasswordHash) -> Checked {
    let Ok(stored) = phc::PasswordHash::new(hash.as_str()) else {
        tracing::error!("a stored password hash cannot be read: its user cannot log in");
        return Checked::Wrong;
    };
    if ARGON2.verify_password(typed.as_bytes(), &stored).is_err() {
        return Checked::Wrong;
    }
    let typed = Password(Zeroizing::new(typed.to_owned()));
    let better = if is_current(&stored) { None } else { self::hash(&typed).ok() };
    Checked::Right { better }
}

/// Whether a hash was made as hashes are made today.
fn is_current(stored: &phc::PasswordHash) -> bool {
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    stored.algorithm == Algorithm::Argon2id.ident()
        && stored.version == Some(Version::V0x13.into())
        && Params::try_from(stored).is_ok_and(|params| costs(&params) == costs(ARGON2.params()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    use rstest::rstest;

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[rstest]
    #[case("", Some(PasswordError::TooShort))]
    #[case("1234567", Some(PasswordError::TooShort))]
    #[case("12345678", None)]
    #[case("pässwör", None)]
    #[case("correct horse battery staple", None)]
    #[case("correct horse\n", Some(PasswordError::Control))]
    #[case("correct\rhorse", Some(PasswordError::Control))]
    #[case("correct\thorse", Some(PasswordError::Control))]
    #[case("\0\0\0\0\0\0\0\0", Some(PasswordError::Control))]
    #[case("correct\u{85}horse", Some(PasswordError::Control))]
    #[case("\n", Some(PasswordError::Control))]
    fn what_may_be_one(#[case] text: &str, #[case] refused: Option<PasswordError>) {
        assert_eq!(Password::parse(text).err(), refused);
    }

    #[test]
    fn the_longest() {
        assert!(Password::parse(&"x".repeat(1024)).is_ok());
        assert_eq!(Password::parse(&"x".repeat(1025)).err(), Some(PasswordError::TooLong));
    }

    #[test]
    fn generated_ones_are_strong_and_not_shown() {
        let (one, two) = (Password::generate().unwrap(), Password::generate().unwrap());
        assert_ne!(one.text(), two.text());
        assert_eq!(one.text().len(), 20);
        assert!(!format!("{one:?}").contains(one.text()));
    }

    #[test]
    fn rfc9106_parameters() {
        let hash = hash(&password("correct horse")).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        assert_ne!(hash, super::hash(&password("correct horse")).unwrap(), "salted");
    }

    #[tokio::test]
    async fn right_and_wrong() {
        let passwords = Passwords::new();
        let stored = hash(&password("correct horse")).unwrap();
        let right = passwords.check("correct horse", Some(&stored), false).await;
        assert_eq!(right, Ok(Checked::Right { better: None }));
        for typed in ["Correct horse", "correct horse ", "", "correct hors"] {
            assert_eq!(passwords.check(typed, Some(&stored), false).await, Ok(Checked::Wrong), "{typed}");
        }
        assert_eq!(passwords.check("correct horse", None, false).await, Ok(Checked::Wrong));
        let unreadable = PasswordHash::new("correct horse".to_owned());
        assert_eq!(passwords.check("correct horse", Some(&unreadable), false).await, Ok(Checked::Wrong));
        assert_eq!(passwords.check(&"x".repeat(1025), None, false).await, Ok(Checked::Wrong));
    }

    /// The hash for nobody costs what every other does: it is one, with today's parameters.
    #[test]
    fn nobody_is_as_costly_as_anybody() {
        assert!(is_current(&phc::PasswordHash::new(NOBODY.as_str()).unwrap()));
    }

    #[tokio::test]
    async fn weaker_hashes_are_made_anew() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(1024, 1, 1, None).unwrap());
        let weak = weak.hash_password_with_salt(b"correct horse", &[7; 16]).unwrap();
        let weak = PasswordHash::new(weak.to_string());
        let passwords = Passwords::new();
        let Ok(Checked::Right { better: Some(better) }) = passwords.check("correct horse", Some(&weak), false).await
        else {
            panic!("it is right and weak")
        };
        assert_eq!(passwords.check("correct horse", Some(&better), false).await, Ok(Checked::Right { better: None }));
        assert_eq!(passwords.check("wrong horse", Some(&weak), false).await, Ok(Checked::Wrong));
    }

    #[tokio::test]
    async fn floods_are_turned_away() {
        let passwords = Passwords::bounded(3, 2, 1);
        let held = Arc::clone(&passwords.working).acquire_owned().await.unwrap();
        let check = |known| Box::pin(passwords.check("correct horse", None, known));
        let mut waiting = vec![check(false), check(false)];
        for one in &mut waiting {
            assert!(futures::poll!(one.as_mut()).is_pending());
        }
        assert_eq!(futures::poll!(check(false)), Poll::Ready(Err(Busy)));
        let mut known = check(true);
        assert!(futures::poll!(known.as_mut()).is_pending(), "there is room for who is known");
        assert_eq!(futures::poll!(check(true)), Poll::Ready(Err(Busy)), "and it is bounded");
        waiting.push(known);
        drop(held);
        for one in waiting {
            assert_eq!(one.await, Ok(Checked::Wrong));
        }
        assert_eq!(passwords.check("correct horse", None, false).await, Ok(Checked::Wrong));
    }
}
