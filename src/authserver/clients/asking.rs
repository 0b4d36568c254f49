//! Who asks for something that is fetched, and what is good enough for that.

use lumoauth_core::{ClientId, UnixTime};

use super::{
    ResolveError,
    cache::{Failure as _, Known},
};
use crate::{registry::OrgId, settings::ClientDocuments};

/// What a person is shown and agrees to: for so many seconds after it was last seen, where it cannot be seen now.
pub(super) const TO_AUTHORIZE: u64 = 3600;
/// What a client needs that people agreed to already.
pub(super) const TO_GO_ON: u64 = 24 * 3600;

/// A request for a document or a key set.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) org: &'a OrgId,
    pub(super) settings: &'a ClientDocuments,
    pub(super) now: UnixTime,
    /// How many seconds after it was last seen something is good enough, where its host fails now.
    pub(super) patience: u64,
}

impl Asking<'_> {
    /// What may be used at once, and what may be used where its host fails.
    pub(super) fn judge<V: Clone>(&self, known: Known<V>) -> (Option<V>, Option<V>) {
        let patient = known.since.until(self.now) < self.patience;
        let now = known.is_fresh || (known.is_resting && patient);
        (now.then(|| known.value.clone()), patient.then_some(known.value))
    }

    /// What was fetched; `old` where that failed in a way that says nothing about it.
    pub(super) fn or_old<V>(
        &self,
        fetched: Result<V, ResolveError>,
        old: Option<V>,
        client: &ClientId,
    ) -> Result<V, ResolveError> {
        match (fetched, old) {
            (Err(error), Some(old)) if error.is_outage() => {
                let reason = error.reason();
                tracing::warn!(org = %self.org, %client, reason, "cannot be fetched: what was fetched before is used");
                Ok(old)
            }
            (fetched, _) => fetched,
        }
    }
}
