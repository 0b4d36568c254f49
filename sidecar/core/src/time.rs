//! Time as an argument: seconds since the Unix epoch, handed in by whoever owns a clock.

use serde::{Deserialize, Serialize};

/// A NumericDate (RFC 7519 §2) without fractions: whole seconds since 1970-01-01T00:00:00Z, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// `self` plus `seconds`, saturating at the end of representable time.
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// `self` minus `seconds`, saturating at the epoch.
    pub fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `self` until `later`; zero when `later` has passed.
    pub fn until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}
