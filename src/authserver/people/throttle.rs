//! How often a password may be tried: per user name, known or not, and per organization; on a device of the user, per
//! device.
//!
//! Behind an Ingress every request comes from its address, and what it says of the client's is not to be trusted without
//! a setting: so nothing here looks at addresses. Who guesses at a name makes logins under that name wait, for at most
//! half a minute after the last guess that was checked; in the same way, guesses at many names make everybody of the
//! organization wait.
//!
//! None of that reaches a browser in which the user signed in before: its attempts at that user's name count by
//! themselves, and nothing else counts for them (OWASP: device cookies). A user has a bounded number of devices, and
//! each came of knowing the password: who steals a device cookie can guess at one name, at the rate of any name. Where
//! somebody goes on guessing, only who signs in for the first time, or in a new browser, or for the first time since the
//! password was set, competes with them, and may have to wait until they stop. No name stays locked afterwards, and
//! sessions that exist are not touched by any of it.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{authserver::Clock, registry::OrgId};

/// Attempts under one name, or on one device, before one has to wait.
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
/// What is counted under are 65536 cells each for names, organizations and devices, found by a hash with a key that is
/// new in every process. So the memory is bounded whatever names are tried, and nobody can choose a name that shares a
/// cell with another's.
pub(super) struct Throttle {
    cells: Mutex<Cells>,
    keys: RandomState,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Cells {
    names: HashMap<u16, Debt>,
    orgs: HashMap<u16, Debt>,
    devices: HashMap<u16, Debt>,
}

/// Until when the attempts of a cell last, each for a period (the generic cell rate algorithm): since the epoch.
type Debt = Duration;

/// How many attempts at once, and how long one lasts.
struct Limit {
    attempts: NonZeroU32,
    period: Duration,
}

const OF_NAME: Limit = Limit { attempts: ATTEMPTS, period: PERIOD };
const OF_DEVICE: Limit = Limit { attempts: ATTEMPTS, period: PERIOD };
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

    /// Whether a password may be tried now; if so, that is one attempt: on a device of the user, of the device alone;
    /// otherwise of the name and of the organization. One that has to wait for either counts for neither: who is refused
    /// at one name takes nothing from the others.
    pub(super) fn attempt(&self, org: &OrgId, name: &str, device: Option<&str>) -> Result<(), TryAgain> {
        let now = Duration::from_secs(self.clock.now().0);
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = if let Some(device) = device {
            let cell = self.cell(&(org, device));
            let debt = OF_DEVICE.more(cells.devices.get(&cell), now);
            debt.map(|debt| {
                cells.devices.insert(cell, debt);
            })
        } else {
            let (of_name, of_org) = (self.cell(&(org, name)), self.cell(&org));
            let by_name = OF_NAME.more(cells.names.get(&of_name), now);
            let by_org = OF_ORG.more(cells.orgs.get(&of_org), now);
            by_name.and_then(|name| Ok((name, by_org?))).map(|(name, org)| {
                cells.names.insert(of_name, name);
                cells.orgs.insert(of_org, org);
            })
        };
        waits.map_err(|wait| TryAgain { seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) })
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
    use rstest::rstest;

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
            assert_eq!(throttle.attempt(&acme, "alice", None), Ok(()));
        }
        for _ in 0..1000 {
            assert_eq!(throttle.attempt(&acme, "alice", None), Err(TryAgain { seconds: 30 }), "waiting adds nothing");
        }
        clock.0.store(29, Ordering::Relaxed);
        assert_eq!(throttle.attempt(&acme, "alice", None), Err(TryAgain { seconds: 1 }));
        clock.0.store(30, Ordering::Relaxed);
        assert_eq!(throttle.attempt(&acme, "alice", None), Ok(()));
        assert_eq!(throttle.attempt(&acme, "alice", None), Err(TryAgain { seconds: 30 }));
        clock.0.store(3600, Ordering::Relaxed);
        for _ in 0..10 {
            assert_eq!(throttle.attempt(&acme, "alice", None), Ok(()));
        }
    }

    #[test]
    fn others_do_not_wait_with_them() {
        let (throttle, _, acme) = throttle();
        let other = OrgId::parse("other").unwrap();
        while throttle.attempt(&acme, "alice", None).is_ok() {}
        // Any one of them may share a cell with her: not all.
        assert!((0..10).any(|n| throttle.attempt(&acme, &format!("bob{n}"), None).is_ok()));
        assert!((0..10).any(|n| throttle.attempt(&other, &format!("alice{n}"), None).is_ok()));
    }

    #[test]
    fn one_password_cannot_be_tried_on_everybody() {
        let (throttle, clock, acme) = throttle();
        let tried = (0..1000).filter(|n| throttle.attempt(&acme, &format!("user{n}"), None).is_ok()).count();
        assert_eq!(tried, 300);
        clock.0.store(1, Ordering::Relaxed);
        let tried = (1000..2000).filter(|n| throttle.attempt(&acme, &format!("user{n}"), None).is_ok()).count();
        assert_eq!(tried, 10);
        assert_eq!(throttle.attempt(&acme, "alice", None), Err(TryAgain { seconds: 1 }));
        assert_eq!(throttle.attempt(&OrgId::parse("other").unwrap(), "alice", None), Ok(()));
    }

    #[test]
    fn attempts_that_wait_count_nowhere() {
        let (throttle, clock, acme) = throttle();
        while throttle.attempt(&acme, "alice", None).is_ok() {}
        for _ in 0..1000 {
            assert!(throttle.attempt(&acme, "alice", None).is_err());
        }
        let others = (0..1000).filter(|n| throttle.attempt(&acme, &format!("user{n}"), None).is_ok()).count();
        assert_eq!(others, 290, "the organization has what alice did not use");
        for _ in 0..20 {
            assert_eq!(throttle.attempt(&acme, "bob", None), Err(TryAgain { seconds: 1 }), "for the organization");
        }
        clock.0.store(3, Ordering::Relaxed);
        let bob = (0..10).filter(|_| throttle.attempt(&acme, "bob", None).is_ok()).count();
        assert!(bob >= 9, "bob, or who shares his cell, has all but one of his attempts: {bob}");
    }

    #[rstest]
    #[case::name(None, None, true)]
    #[case::device(Some("a"), Some("a"), true)]
    #[case::strangers_keep_no_device_waiting(None, Some("a"), false)]
    #[case::a_device_keeps_no_stranger_waiting(Some("a"), None, false)]
    fn who_waits_after_ten_attempts(#[case] tried: Option<&str>, #[case] then: Option<&str>, #[case] waits: bool) {
        let (throttle, _, acme) = throttle();
        for _ in 0..10 {
            assert_eq!(throttle.attempt(&acme, "alice", tried), Ok(()));
        }
        let expected = if waits { Err(TryAgain { seconds: 30 }) } else { Ok(()) };
        assert_eq!(throttle.attempt(&acme, "alice", then), expected);
    }

    #[test]
    fn devices_do_not_wait_with_one_another() {
        let (throttle, _, acme) = throttle();
        while throttle.attempt(&acme, "alice", Some("a")).is_ok() {}
        // Any one of them may share a cell with it: not all.
        assert!((0..10).any(|n| throttle.attempt(&acme, "alice", Some(&format!("b{n}"))).is_ok()));
    }

    #[test]
    fn devices_do_not_wait_with_their_organization() {
        let (throttle, _, acme) = throttle();
        while throttle.attempt(&acme, "alice", Some("a")).is_ok() {}
        let tried = (0..1000).filter(|n| throttle.attempt(&acme, &format!("user{n}"), None).is_ok()).count();
        assert_eq!(tried, 300, "the device took nothing from it");
        assert!(throttle.attempt(&acme, "bob", None).is_err());
        assert!((0..10).any(|n| throttle.attempt(&acme, "bob", Some(&format!("b{n}"))).is_ok()));
    }

    #[test]
    fn who_steals_a_device_guesses_as_slowly_as_anybody() {
        let (throttle, clock, acme) = throttle();
        let mut guesses = 0;
        for second in 0..3600 {
            clock.0.store(second, Ordering::Relaxed);
            guesses += (0..20).filter(|_| throttle.attempt(&acme, "alice", Some("a")).is_ok()).count();
        }
        assert_eq!(guesses, 10 + 3599 / 30);
    }
}
