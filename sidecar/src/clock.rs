//! The one place where the date is read. What the core decides, it decides at a moment it is given.

use std::time::{SystemTime, UNIX_EPOCH};

use lumoauth_core::UnixTime;

/// The wall clock.
pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
