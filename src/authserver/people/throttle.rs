//! How often a password may be tried: per user name, known or not, and per organization.
//!
//! Behind an Ingress every request comes from its address, and what it says of the client's is not to be trusted without
//! a setting: so nothing here looks at addresses. Who guesses at a name makes logins under that name wait, for at most
//! half a minute after the last guess; no name is ever locked. Sessions that exist are not touched by any of it.

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{
    Quota, RateLimiter, clock::Clock as GovernorClock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore,
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
    names: Limiter,
    orgs: Limiter,
    cells: RandomState,
    clock: Ticks,
}

type Limiter = RateLimiter<u16, HashMapStateStore<u16>, Ticks, NoOpMiddleware<Duration>>;

/// Our clock, as the rate limiter reads one.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl GovernorClock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_secs(self.0.now().0)
    }
}

impl Throttle {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let clock = Ticks(clock);
        let limiter = |period, burst| {
            // A period of zero would be none at all; these are not zero.
            let quota = Quota::with_period(period).unwrap_or(Quota::per_hour(burst)).allow_burst(burst);
            Limiter::new(quota, HashMapStateStore::default(), clock.clone())
        };
        Self {
            names: limiter(PERIOD, ATTEMPTS),
            orgs: limiter(ORG_PERIOD, ORG_ATTEMPTS),
            cells: RandomState::new(),
            clock: clock.clone(),
        }
    }

    /// Whether a password may be tried now; if so, that is one attempt. Attempts that have to wait do not count.
    pub(super) fn attempt(&self, org: &OrgId, name: &str) -> Result<(), TryAgain> {
        let by_name = self.names.check_key(&self.cell(&(org, name)));
        by_name.and_then(|()| self.orgs.check_key(&self.cell(&org))).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            TryAgain { seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) }
        })
    }

    fn cell(&self, key: &impl std::hash::Hash) -> u16 {
        let [low, high, ..] = self.cells.hash_one(key).to_le_bytes();
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
    fn memory_is_bounded() {
        let (throttle, _, _) = throttle();
        for n in 0..100_000 {
            let _ = throttle.names.check_key(&throttle.cell(&n));
        }
        assert!(throttle.names.len() <= 1 << 16);
    }
}
