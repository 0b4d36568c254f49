//! What is counted. Every label value is a word of ours: nothing a client sends can make a new series.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// The metrics of one sidecar. Clones count together.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Families>);

#[derive(Default)]
struct Families {
    decisions: Family<DecisionLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    jwks_fetches: Family<FetchLabels, Counter>,
    status_fetches: Family<StatusLabels, Counter>,
    status_age: Gauge,
    verifications: Counter,
    upstream_failures: Family<FaultLabels, Counter>,
    streams_ended: Counter,
    connections: Gauge,
    streams: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    decision: &'static str,
    reason: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: ReloadResult,
}

/// What became of a changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum ReloadResult {
    Ok,
    Refused,
    Unreadable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    result: FetchResult,
}

/// What became of a fetch of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum FetchResult {
    Ok,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    result: StatusFetch,
}

/// What became of a fetch of a status list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum StatusFetch {
    Ok,
    Unchanged,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    reason: &'static str,
}

/// Methods that have a series of their own.
const METHODS: [&str; 14] = [
    "initialize",
    "server/discover",
    "ping",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
];

/// The series a JSON-RPC method is counted in.
pub(crate) fn method_class(method: &str) -> &'static str {
    match METHODS.iter().find(|known| **known == method) {
        Some(known) => known,
        None if method.starts_with("notifications/") => "notification",
        None if method.starts_with("tasks/") => "task",
        None => "other",
    }
}

impl Metrics {
    /// Registers the families, each with the prefix `lumoauth_sidecar_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("lumoauth_sidecar");
        let families = &self.0;
        registry.register("decisions", "Requests by what was decided and why", families.decisions.clone());
        registry.register("config_reloads", "Changed configurations by outcome", families.reloads.clone());
        registry.register("jwks_fetches", "Fetches of issuers' keys by outcome", families.jwks_fetches.clone());
        registry.register(
            "status_list_fetches",
            "Fetches of Token Status Lists by outcome",
            families.status_fetches.clone(),
        );
        registry.register_with_unit(
            "status_list_age",
            "Age of the oldest Token Status List that tokens name; 0 while none does",
            Unit::Seconds,
            families.status_age.clone(),
        );
        registry.register(
            "token_verifications",
            "Tokens that were not remembered and had to be verified",
            families.verifications.clone(),
        );
        registry.register(
            "upstream_failures",
            "Permitted calls the server did not answer usably",
            families.upstream_failures.clone(),
        );
        registry.register(
            "streams_ended",
            "Responses ended because the token or the permission did",
            families.streams_ended.clone(),
        );
        registry.register("connections", "Open client connections", families.connections.clone());
        registry.register("streams", "Responses being relayed", families.streams.clone());
    }

    pub(crate) fn decided(&self, decision: &'static str, reason: &'static str, method: &'static str) {
        self.0.decisions.get_or_create(&DecisionLabels { decision, reason, method }).inc();
    }

    pub(crate) fn reload(&self, result: ReloadResult) {
        self.0.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    pub(crate) fn jwks_fetch(&self, result: FetchResult) {
        self.0.jwks_fetches.get_or_create(&FetchLabels { result }).inc();
    }

    pub(crate) fn status_fetch(&self, result: StatusFetch) {
        self.0.status_fetches.get_or_create(&StatusLabels { result }).inc();
    }

    pub(crate) fn status_list_age(&self, age: Duration) {
        self.0.status_age.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    pub(crate) fn token_verified(&self) {
        self.0.verifications.inc();
    }

    pub(crate) fn upstream_failed(&self, reason: &'static str) {
        self.0.upstream_failures.get_or_create(&FaultLabels { reason }).inc();
    }

    pub(crate) fn stream_ended(&self) {
        self.0.streams_ended.inc();
    }

    /// Counts a connection until the result is dropped.
    pub(crate) fn connection(&self) -> Counted {
        Counted::new(&self.0.connections)
    }

    /// Counts a response being relayed until the result is dropped.
    pub(crate) fn stream(&self) -> Counted {
        Counted::new(&self.0.streams)
    }
}

/// One more on a gauge while it lives.
pub(crate) struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_make_series() {
        let classes: std::collections::BTreeSet<_> = (0..10_000)
            .flat_map(|i| [format!("x{i}"), format!("tasks/{i}"), format!("notifications/{i}")])
            .collect::<Vec<_>>()
            .iter()
            .map(|method| method_class(method))
            .collect();
        assert_eq!(classes.into_iter().collect::<Vec<_>>(), ["notification", "other", "task"]);
        assert_eq!(method_class("tools/call"), "tools/call");
    }
}
