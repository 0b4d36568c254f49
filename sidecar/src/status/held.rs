//! What is known of one list.

use std::time::Duration;

use http::HeaderValue;
use lumoauth_core::{
    UnixTime,
    token::{LEEWAY_SECONDS, StatusList, StatusListToken},
};
use serde_json::Value;
use tokio::time::Instant;

use crate::clock::Moment;

/// How far apart the clocks of two of an issuer's replicas may be, in seconds: of two lists that are issued closer to
/// each other than this, nobody knows which is the newer.
const SETTLED_AFTER: u64 = 2 * LEEWAY_SECONDS;

/// What a list said when it was last seen.
#[derive(Clone)]
pub(super) struct Held {
    /// All that is revoked.
    pub(super) list: StatusList,
    /// What of it was said by lists that were issued after `since`, or arrived after one that was.
    recent: StatusList,
    since: UnixTime,
    pub(super) expires_at: UnixTime,
    /// When the issuer last said that this is its list.
    pub(super) confirmed: Instant,
    /// The key that it was last signed with.
    pub(super) signed_by: Value,
    pub(super) version: Option<HeaderValue>,
}

impl Held {
    /// What follows `before`. An issuer has several replicas, of which one may be behind in what it knows, and its clock
    /// ahead: what one list says is forgotten only by another that was certainly issued later.
    pub(super) fn next(
        before: Option<&Self>,
        token: StatusListToken,
        version: Option<HeaderValue>,
        now: Moment,
    ) -> Self {
        let StatusListToken { list: said, issued_at, expires_at, signed_by } = token;
        let (list, recent, since) = match before {
            None => (said.clone(), said, issued_at),
            // What was said before `before.since` is not said any more.
            Some(before) if before.since.plus(SETTLED_AFTER) <= issued_at => (said.or(&before.recent), said, issued_at),
            Some(before) => (said.or(&before.list), said.or(&before.recent), before.since),
        };
        Self { list, recent, since, expires_at, confirmed: now.steady, signed_by, version }
    }

    /// What follows when the issuer says that this still is its list.
    pub(super) fn unchanged(&self, now: Moment) -> Self {
        Self { confirmed: now.steady, ..self.clone() }
    }

    /// Whether what it does not call revoked may still be taken to be valid. Its age is measured by the steady clock,
    /// which nobody sets; its end by the other, which goes on while the machine sleeps.
    pub(super) fn is_fresh(&self, now: Moment, max_age: Duration) -> bool {
        now.steady.saturating_duration_since(self.confirmed) <= max_age
            && now.wall < self.expires_at.plus(LEEWAY_SECONDS)
    }
}
