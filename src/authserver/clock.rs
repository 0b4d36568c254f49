//! The time, handed in so that tests can choose it.

use lumoauth_core::UnixTime;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        // Before 1970 every token is "not yet valid", which is the safe answer.
        UnixTime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default())
    }
}
