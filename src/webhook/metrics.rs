//! What the webhook counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::connections::Counters;

/// The metric families of the webhook. Clones count into the same ones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    connections: Counters,
    certificate_ends: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    outcome: &'static str,
    reason: &'static str,
}

impl Metrics {
    /// Makes the families part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "lumoauth_webhook_requests",
            "Admission requests, by outcome (patched, unchanged, refused, error) and by reason",
            metrics.requests.clone(),
        );
        metrics.connections.register(registry, "lumoauth_webhook");
        registry.register(
            "lumoauth_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate in use expires, in seconds since 1970; 0 while there is none",
            metrics.certificate_ends.clone(),
        );
        metrics
    }

    pub(super) fn answered(&self, outcome: &'static str, reason: &'static str) {
        self.requests.get_or_create(&RequestLabels { outcome, reason }).inc();
    }

    pub(super) fn connections(&self) -> Counters {
        self.connections.clone()
    }

    pub(super) fn certificate_until(&self, seconds: u64) {
        self.certificate_ends.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}
