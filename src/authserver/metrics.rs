//! What is counted. Labels come from closed lists.

use std::fmt;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::connections::Counters;

/// The counters of the authorization server.
#[derive(Clone, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    issued: Counter,
    refused: Family<ReasonLabel, Counter>,
    logins: Family<OutcomeLabel, Counter>,
    rejected_files: Family<FileLabel, Counter>,
    store_errors: Counter,
    connections: Counters,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabel {
    file: &'static str,
}

impl Metrics {
    /// Makes the counters part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("lumoauth_as_requests", "Requests, by endpoint and outcome", metrics.requests.clone());
        registry.register("lumoauth_as_tokens_issued", "Access tokens issued", metrics.issued.clone());
        registry.register("lumoauth_as_tokens_refused", "Token requests refused, by reason", metrics.refused.clone());
        registry.register("lumoauth_as_logins", "Logins of people, by outcome", metrics.logins.clone());
        registry.register(
            "lumoauth_as_files_rejected",
            "Mounted files that changed to something unusable (the last good one stays), by file",
            metrics.rejected_files.clone(),
        );
        metrics.connections.register(registry, "lumoauth_as");
        registry.register("lumoauth_store_errors", "What the database could not do", metrics.store_errors.clone());
        metrics
    }

    /// Counts what the database could not do: for [`Store::open`](super::store::Store::open).
    pub fn store_errors(&self) -> Counter {
        self.store_errors.clone()
    }

    pub(super) fn request(&self, endpoint: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&RequestLabels { endpoint, outcome }).inc();
    }

    pub(super) fn issued(&self) {
        self.issued.inc();
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn login(&self, outcome: &'static str) {
        self.logins.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(super) fn connections(&self) -> Counters {
        self.connections.clone()
    }

    pub(super) fn rejected_file(&self, file: &'static str) {
        self.rejected_files.get_or_create(&FileLabel { file }).inc();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
