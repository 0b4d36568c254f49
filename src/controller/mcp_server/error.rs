//! Why a reconcile did not reach its end.

use crate::controller::{WriteError, work::Next};

/// A reconcile that has to be done again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The snapshot is older than the cluster, or of another object of that name; the watch will tell.
    #[error("the McpServer is not known in its newest version yet")]
    NotYetKnown,
    /// The authorization server has no keys yet, so sidecars cannot be told any.
    #[error("there are no signing keys yet: no configuration can be written")]
    NoSigningKeys,
    /// A read failed.
    #[error("cannot read {what}: {source}")]
    Read {
        /// What was read.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// A write failed.
    #[error("cannot write {what}: {source}")]
    Write {
        /// What was written.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: WriteError,
    },
    /// The object cannot be read even as metadata and status.
    #[error("the McpServer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Error {
    /// For `map_err` on reads.
    pub(super) fn read(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Read { what, source: Box::new(source) }
    }

    /// For `map_err` on writes.
    pub(super) fn write(what: &'static str) -> impl FnOnce(WriteError) -> Self {
        move |source| Self::Write { what, source }
    }

    /// When to look again at what is part of normal life; `None` for what is a failure.
    pub(super) fn expected(&self) -> Option<Next> {
        match self {
            Self::NotYetKnown | Self::Write { source: WriteError::Conflict, .. } => Some(Next::Behind),
            // The keys, and leadership, are triggers.
            Self::NoSigningKeys | Self::Write { source: WriteError::NotLeader, .. } => Some(Next::Wait),
            Self::Read { .. } | Self::Write { .. } | Self::Unreadable(_) => None,
        }
    }
}
