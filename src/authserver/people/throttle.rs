//! How often a password may be tried: per user name, known or not, and per organization.
//!
//! Behind an Ingress every request comes from its address, and what it says of the client's is not to be trusted without
//! a setting: so nothing here looks at addresses. Who guesses at a name makes logins under that name wait, for at most
//! half a minute after the last guess that was checked. While somebody goes on guessing, whoever the name belongs to
//! competes with them for one attempt in half a minute, and may be kept from signing in for as long as that lasts; in the
//! same way, guesses at many names compete with everybody of the organization. No name stays locked afterwards, and
//! sessions that exist are not touched by any of it.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{authserver::Clock, registry::OrgId};

/// Attempts under one name before one has to wait.
const ATTEMPTS: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// How long until there is one more.
const PERIOD: Duration = Duration::from_secs(30);
/// The same for all names of an organization: a few common passwords are not to be tried on everybody. A company that
/// starts its day at once has room.
const ORG_ATTEMPTS: NonZeroU32 = NonZeroU32::new(300).unwrap();
/// How long until there is one more.
const ORG_PERIOD: Duration = Duration::from_millis(100);

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TryAgain {
    /// In seconds from now, at least one.
    pub(crate) seconds: u64,
}

/// Counts attempts.
///
/// What is counted under are 65536 cells each for names and organizations, found by a hash with a key that is new in
/// every process. So the memory is bounded whatever names are tried, and nobody can choose a name that shares a cell with
/// another's.
pub(super) struct Throttle {
    cells: Mutex<Cells>,
    keys: RandomState,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Cells {
    names: HashMap<u16, Debt>,
    orgs: HashMap<u16, Debt>,
}

/// Until when the attempts of a cell last, each for a period (the generic cell rate algorithm): since the epoch.
type Debt = Duration;

/// How many attempts at once, and how long one lasts.
struct Limit {
    attempts: NonZeroU32,
    period: Duration,
}

const OF_NAME: Limit = Limit { attempts: ATTEMPTS, period: PERIOD };
const OF_ORG: Limit = Limit { attempts: ORG_ATTEMPTS, period: ORG_PERIOD };

impl Limit {
    /// The debt after one attempt more, or how long until there may be one.
    fn more(&self, debt: Option<&Debt>, now: Duration) -> Result<Debt, Duration> {
        let after = debt.copied().unwrap_or_default().max(now).saturating_add(self.period);
        let most = now.saturating_add(self.period.saturating_mul(self.attempts.get()));
        if after <= most { Ok(after) } else { Err(after.saturating_sub(most)) }
    }
}

impl Throttle {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { cells: Mutex::default(), keys: RandomState::new(), clock }
    }

    /// Whether a password may be tried now; if so, that is one attempt, of the name and of the organization. One that has
    /// to wait for either counts for neither: who is refused at one name takes nothing from the others.
    pub(super) fn attempt(&self, org: &OrgId, name: &str) -> Result<(), TryAgain> {
        let now = Duration::from_secs(self.clock.now().0);
        let (of_name, of_org) = (self.cell(&(org, name)), self.cell(&org));
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let by_name = OF_NAME.more(cells.names.get(&of_name), now);
        let by_org = OF_ORG.more(cells.orgs.get(&of_org), now);
        let (name, org) = by_name
            .and_then(|name| Ok((name, by_org?)))
            .map_err(|wait| TryAgain { seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) })?;
        cells.names.insert(of_name, name);
        cells.orgs.insert(of_org, org);
        Ok(())
    }

    fn cell(&self, key: &impl std::hash::Hash) -> u16 {
        let [low, high, ..] = self.keys.hash_one(key).to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    use lumoauth_core::UnixTime;

    #[derive(Default)]
    struct FakeClock(AtomicU64);

    impl Clock for FakeClock {
        fn now(&self) -> UnixTime {
            UnixTime(1_800_000_000 + self.0.load(Ordering::Relaxed))
        }
    }

    fn throttle() -> (Throttle, Arc<FakeClock>, OrgId) {
        let clock = Arc::new(FakeClock::default());
        (Throttle::new(Arc::clone(&clock) as Arc<dyn Clock>), clock, OrgId::parse("acme").unwrap())
    }

    #[test]
    fn a_name_waits_after_ten_attempts_and_is_never_locked() {
        let (throttle, clock, acme) = throttle();
        for _ in 0..10 {
            assert_eq!(throttle.attempt(&acme, "alice"), Ok(()));
        }
        for _ in 0..1000 {
            assert_eq!(throttle.attempt(&acme, "alice"), Err(TryAgain { seconds: 30 }), "waiting adds nothing");
        }
        clock.0.store(29, Ordering::Relaxed);
        assert_eq!(throttle.attempt(&acme, "alice"), Err(TryAgain { seconds: 1 }));
        clock.0.store(30, Ordering::Relaxed);
        assert_eq!(throttle.attempt(&acme, "alice"), Ok(()));
        assert_eq!(throttle.attempt(&acme, "alice"), Err(TryAgain { seconds: 30 }));
        clock.0.store(3600, Ordering::Relaxed);
        for _ in 0..10 {
            assert_eq!(throttle.attempt(&acme, "alice"), Ok(()));
        }
    }

    #[test]
    fn others_do_not_wait_with_them() {
        let (throttle, _, acme) = throttle();
        let other = OrgId::parse("other").unwrap();
        while throttle.attempt(&acme, "alice").is_ok() {}
        // Any one of them may share a cell with her: not all.
        assert!((0..10).any(|n| throttle.attempt(&acme, &format!("bob{n}")).is_ok()));
        assert!((0..10).any(|n| throttle.attempt(&other, &format!("alice{n}")).is_ok()));
    }

    #[test]
    fn one_password_cannot_be_tried_on_everybody() {
        let (throttle, clock, acme) = throttle();
        let tried = (0..1000).filter(|n| throttle.attempt(&acme, &format!("user{n}")).is_ok()).count();
        assert_eq!(tried, 300);
        clock.0.store(1, Ordering::Relaxed);
        let tried = (1000..2000).filter(|n| throttle.attempt(&acme, &format!("user{n}")).is_ok()).count();
        assert_eq!(tried, 10);
        assert_eq!(throttle.attempt(&acme, "alice"), Err(TryAgain { seconds: 1 }));
        assert_eq!(throttle.attempt(&OrgId::parse("other").unwrap(), "alice"), Ok(()));
    }

    #[test]
    fn attempts_that_wait_count_nowhere() {
        let (throttle, clock, acme) = throttle();
        while throttle.attempt(&acme, "alice").is_ok() {}
        for _ in 0..1000 {
            assert!(throttle.attempt(&acme, "alice").is_err());
        }
        let others = (0..1000).filter(|n| throttle.attempt(&acme, &format!("user{n}")).is_ok()).count();
        assert_eq!(others, 290, "the organization has what alice did not use");
        for _ in 0..20 {
            assert_eq!(throttle.attempt(&acme, "bob"), Err(TryAgain { seconds: 1 }), "for the organization");
        }
        clock.0.store(3, Ordering::Relaxed);
        let bob = (0..10).filter(|_| throttle.attempt(&acme, "bob").is_ok()).count();
        assert!(bob >= 9, "bob, or who shares his cell, has all but one of his attempts: {bob}");
    }
}
