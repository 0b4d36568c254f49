//! Lists show only what the token may use.

use std::sync::Arc;

use crate::{ScopeSet, policy::Policy};

/// A response that cannot be filtered is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's list could not be read")]
pub struct FilterError;

/// Filters the answer to one list request for one token.
#[derive(Clone, Debug)]
pub struct ListFilter {
    /// The policy in force when the request came.
    pub policy: Arc<Policy>,
    /// The token's scopes.
    pub granted: ScopeSet,
}

impl ListFilter {
    /// A filter, if answers to `method` are lists that are filtered (`tools/list`, `prompts/list`, `resources/list`).
    pub fn for_method(_method: &str, _policy: &Arc<Policy>, _granted: &ScopeSet) -> Option<Self> {
        None
    }

    /// Filters a JSON body.
    pub fn json(&self, _body: &[u8]) -> Result<Vec<u8>, FilterError> {
        Err(FilterError)
    }

    /// A filter for an event stream.
    pub fn sse(self, max_event_bytes: usize) -> SseFilter {
        SseFilter { filter: self, max_event_bytes, pending: Vec::new() }
    }
}

/// Filters a `text/event-stream` body as it passes, event by event.
#[derive(Debug)]
pub struct SseFilter {
    filter: ListFilter,
    max_event_bytes: usize,
    pending: Vec<u8>,
}

impl SseFilter {
    /// Takes what arrived; gives what may be sent on now.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, FilterError> {
        if self.pending.len() + bytes.len() > self.max_event_bytes {
            return Err(FilterError);
        }
        self.filter.json(bytes)
    }

    /// The stream ended: gives what is left.
    pub fn finish(self) -> Result<Vec<u8>, FilterError> {
        Ok(self.pending)
    }
}
