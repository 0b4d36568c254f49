//! What the controllers count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::registry::{ClientState, ServerState, Snapshot};

/// The metric families of the controllers. Clones count into the same ones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    reconciles: Family<ReconcileLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    generation: Gauge,
    entries: Family<EntryLabels, Gauge>,
    leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryLabels {
    kind: &'static str,
    state: &'static str,
    reason: &'static str,
}

impl Metrics {
    /// Makes the families part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "lumoauth_reconciles",
            "Reconciles, by kind and by outcome (done, failed, timeout)",
            metrics.reconciles.clone(),
        );
        registry.register(
            "lumoauth_writes",
            "Writes to the API server, by kind and by outcome (done, refused, failed); one that would change nothing counts as done",
            metrics.writes.clone(),
        );
        registry.register(
            "lumoauth_snapshot_generation",
            "Generation of the registry snapshot in use",
            metrics.generation.clone(),
        );
        registry.register(
            "lumoauth_registry_entries",
            "Registry entries, by kind, by state (enforced, denied; accepted, rejected) and by reason",
            metrics.entries.clone(),
        );
        registry.register("lumoauth_leader", "1 while this replica may write", metrics.leader.clone());
        metrics
    }

    /// One reconcile of a `kind` ended: `done`, `failed` or `timeout`.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str) {
        self.reconciles.get_or_create(&ReconcileLabels { kind, outcome }).inc();
    }

    /// One write ended: `done`, `refused` or `failed`.
    pub fn wrote(&self, kind: &str, outcome: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind: kind.to_owned(), outcome }).inc();
    }

    /// Whether this replica may write.
    pub fn leads(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// A new snapshot is in use.
    pub fn observe(&self, snapshot: &Snapshot) {
        self.generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        self.entries.clear();
        for entry in snapshot.servers.values() {
            let (state, reason) = match &entry.state {
                ServerState::Enforced(_) => ("enforced", ""),
                ServerState::DenyAll(problem) => ("denied", problem.reason.as_str()),
            };
            self.entries.get_or_create(&EntryLabels { kind: "McpServer", state, reason }).inc();
        }
        for entry in snapshot.clients.values() {
            let (state, reason) = match &entry.state {
                ClientState::Accepted(_) => ("accepted", ""),
                ClientState::Rejected(problem) => ("rejected", problem.reason.as_str()),
            };
            self.entries.get_or_create(&EntryLabels { kind: "McpClient", state, reason }).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::registry::{Index, NamespaceMeta, ObjectKey, Parsed};

    #[test]
    fn entries_are_counted_by_state_and_reason() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let mut index = Index::default();
        index.apply_namespace("acme".to_owned(), NamespaceMeta::default());
        for name in ["a", "b"] {
            let key = ObjectKey::new("acme", name);
            index.apply_server(Parsed::Malformed { key, error: "no".to_owned() });
        }
        metrics.observe(&index.snapshot());
        index.delete_server(&ObjectKey::new("acme", "b"));
        metrics.observe(&Arc::new(index.snapshot()));
        metrics.leads(true);
        metrics.reconciled("McpServer", "done");

        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"lumoauth_registry_entries{kind="McpServer",state="denied",reason="Malformed"} 1"#,
            "lumoauth_snapshot_generation 4",
            "lumoauth_leader 1",
            r#"lumoauth_reconciles_total{kind="McpServer",outcome="done"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
