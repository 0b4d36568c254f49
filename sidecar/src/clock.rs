//! The one place where the date is read. What the core decides, it decides at a moment it is given.

use std::time::{SystemTime, UNIX_EPOCH};

use lumoauth_core::UnixTime;
use tokio::time::Instant;

/// The wall clock.
pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// A moment on both clocks: the steady one stands still while the machine sleeps, the other one may be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) steady: Instant,
    pub(crate) wall: UnixTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { steady: Instant::now(), wall: now() }
    }
}
