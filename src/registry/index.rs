//! The index: objects in, snapshot out. Synchronous and pure; whoever watches feeds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    ClientEntry, ClientState, ObjectKey, OrgId, Problem, Reason, ServerEntry, ServerId, ServerState, Snapshot, client,
    client_id,
    references::Resolver,
    server::{self, Unresolved},
};
use crate::api::{
    names,
    v1alpha1::{McpClient, McpServer},
};

/// A watched object: read, or at least known to exist.
#[derive(Clone, Debug)]
pub enum Parsed<T> {
    /// It has the shape of its type.
    Object(Arc<T>),
    /// It has not; the entry denies everything.
    Malformed {
        /// Which object.
        key: ObjectKey,
        /// What is wrong, for the log.
        error: String,
    },
}

/// What matters of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMeta {
    /// Value of the organization label.
    pub org_label: Option<String>,
}

struct ServerRecord {
    object: Option<Arc<McpServer>>,
    parsed: Result<Unresolved, Problem>,
}

struct ClientRecord {
    object: Option<Arc<McpClient>>,
    parsed: Result<client::Client, Problem>,
}

/// Everything that was applied and not deleted.
#[derive(Default)]
pub struct Index {
    servers: BTreeMap<ObjectKey, ServerRecord>,
    clients: BTreeMap<ObjectKey, ClientRecord>,
    namespaces: BTreeMap<String, NamespaceMeta>,
    generation: u64,
}

fn key_of<K: kube::Resource>(object: &K) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

impl Index {
    /// Takes over an McpServer.
    pub fn apply_server(&mut self, parsed: Parsed<McpServer>) {
        self.generation += 1;
        let (key, record) = match parsed {
            Parsed::Object(object) => {
                let key = key_of(&*object);
                let parsed = guardable(&key)
                    .and_then(|()| server::parse(&key, &object.spec).map_err(|problems| joined(&problems)));
                (key, ServerRecord { object: Some(object), parsed })
            }
            Parsed::Malformed { key, error } => {
                (key, ServerRecord { object: None, parsed: Err(Problem::new(Reason::Malformed, error)) })
            }
        };
        self.servers.insert(key, record);
    }

    /// Takes over an McpClient.
    pub fn apply_client(&mut self, parsed: Parsed<McpClient>) {
        self.generation += 1;
        let (key, record) = match parsed {
            Parsed::Object(object) => {
                let key = key_of(&*object);
                let parsed = client::parse(&key, &object).map_err(|problems| joined(&problems));
                (key, ClientRecord { object: Some(object), parsed })
            }
            Parsed::Malformed { key, error } => {
                (key, ClientRecord { object: None, parsed: Err(Problem::new(Reason::Malformed, error)) })
            }
        };
        self.clients.insert(key, record);
    }

    /// Takes over a namespace.
    pub fn apply_namespace(&mut self, name: String, meta: NamespaceMeta) {
        self.generation += 1;
        self.namespaces.insert(name, meta);
    }

    /// Forgets an McpServer.
    pub fn delete_server(&mut self, key: &ObjectKey) {
        self.generation += 1;
        self.servers.remove(key);
    }

    /// Forgets an McpClient.
    pub fn delete_client(&mut self, key: &ObjectKey) {
        self.generation += 1;
        self.clients.remove(key);
    }

    /// Forgets a namespace.
    pub fn delete_namespace(&mut self, name: &str) {
        self.generation += 1;
        self.namespaces.remove(name);
    }

    /// After a new list: forgets the McpServers that are not in it.
    pub fn retain_servers(&mut self, listed: &BTreeSet<ObjectKey>) {
        self.generation += 1;
        self.servers.retain(|key, _| listed.contains(key));
    }

    /// After a new list: forgets the McpClients that are not in it.
    pub fn retain_clients(&mut self, listed: &BTreeSet<ObjectKey>) {
        self.generation += 1;
        self.clients.retain(|key, _| listed.contains(key));
    }

    /// After a new list: forgets the namespaces that are not in it.
    pub fn retain_namespaces(&mut self, listed: &BTreeSet<String>) {
        self.generation += 1;
        self.namespaces.retain(|name, _| listed.contains(name));
    }

    /// What everything applied so far means.
    pub fn snapshot(&self) -> Snapshot {
        let orgs = self.orgs();
        let org_of = |namespace: &str| {
            orgs.get(namespace).cloned().unwrap_or_else(|| {
                Err(Problem::new(Reason::NamespaceUnknown, format!("namespace {namespace:?} is not known yet")))
            })
        };
        let clients: BTreeMap<_, _> = self
            .clients
            .iter()
            .map(|(key, record)| (key.clone(), Arc::new(client_entry(key, record, org_of(&key.namespace)))))
            .collect();
        let owners = self.resource_owners(&orgs);
        let servers = self
            .servers
            .iter()
            .map(|(key, record)| {
                let entry = server_entry(key, record, org_of(&key.namespace), &owners, &clients);
                (key.clone(), Arc::new(entry))
            })
            .collect();
        Snapshot::new(self.generation, servers, clients)
    }

    /// The organization of each namespace, or why it has none.
    fn orgs(&self) -> BTreeMap<&str, Result<OrgId, Problem>> {
        let claimed: BTreeSet<&str> = self.namespaces.values().filter_map(|meta| meta.org_label.as_deref()).collect();
        let resolve = |name: &str, meta: &NamespaceMeta| match meta.org_label.as_deref() {
            Some(label) => OrgId::parse(label).ok_or_else(|| {
                Problem::new(
                    Reason::InvalidOrg,
                    format!(
                        "namespace {name:?} is labelled {}={label}: use lower-case letters, digits and -",
                        names::ORG
                    ),
                )
            }),
            None if claimed.contains(name) => Err(Problem::new(
                Reason::OrgConflict,
                format!(
                    "another namespace is labelled {org}={name}, and this one is not: label it {org}={name} to join that organization, or with another value",
                    org = names::ORG
                ),
            )),
            None => OrgId::parse(name)
                .ok_or_else(|| Problem::new(Reason::InvalidOrg, format!("namespace {name:?} is no DNS label"))),
        };
        self.namespaces.iter().map(|(name, meta)| (name.as_str(), resolve(name, meta))).collect()
    }

    /// Which object has a resource in an organization: the oldest valid one, then the first by name.
    fn resource_owners<'a>(
        &'a self,
        orgs: &BTreeMap<&str, Result<OrgId, Problem>>,
    ) -> BTreeMap<(OrgId, &'a str), &'a ObjectKey> {
        let mut owners: BTreeMap<(OrgId, &str), (Option<Timestamp>, &ObjectKey)> = BTreeMap::new();
        for (key, record) in &self.servers {
            let (Ok(server), Some(Ok(org))) = (&record.parsed, orgs.get(key.namespace.as_str())) else { continue };
            let created = record.object.as_ref().and_then(|object| created_at(&**object));
            let slot = (org.clone(), server.resource().canonical());
            let candidate = (created, key);
            match owners.get(&slot) {
                Some(owner) if *owner <= candidate => {}
                _ => {
                    owners.insert(slot, candidate);
                }
            }
        }
        owners.into_iter().map(|(slot, (_, key))| (slot, key)).collect()
    }
}

fn joined(problems: &[Problem]) -> Problem {
    Problem::join(problems).unwrap_or_else(|| Problem::new(Reason::Invalid, "the spec is not valid"))
}

/// Refuses an McpServer whose pods cannot be protected: one that was accepted would say that they could.
fn guardable(key: &ObjectKey) -> Result<(), Problem> {
    if !names::NEVER_INJECTED.contains(&key.namespace.as_str()) {
        return Ok(());
    }
    Err(Problem::new(
        Reason::SystemNamespace,
        format!(
            "pods of namespace {:?} never get a sidecar: create the McpServer and its workload in another namespace",
            key.namespace
        ),
    ))
}

fn created_at<K: kube::Resource>(object: &K) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

fn client_entry(key: &ObjectKey, record: &ClientRecord, org: Result<OrgId, Problem>) -> ClientEntry {
    let id = org.as_ref().ok().map(|org| client_id(org, key));
    let state = match (&org, &record.parsed) {
        (Err(problem), _) | (_, Err(problem)) => ClientState::Rejected(problem.clone()),
        (Ok(_), Ok(client)) => ClientState::Accepted(Arc::new(client::Client { id: id.clone(), ..client.clone() })),
    };
    ClientEntry { key: key.clone(), org: org.ok(), id, object: record.object.clone(), state }
}

fn server_entry(
    key: &ObjectKey,
    record: &ServerRecord,
    org: Result<OrgId, Problem>,
    owners: &BTreeMap<(OrgId, &str), &ObjectKey>,
    clients: &BTreeMap<ObjectKey, Arc<ClientEntry>>,
) -> ServerEntry {
    let mut id = None;
    let mut unresolved = Vec::new();
    let state = match (&org, &record.parsed) {
        (Err(problem), _) | (_, Err(problem)) => ServerState::DenyAll(problem.clone()),
        (Ok(org), Ok(server)) => {
            id = Some(ServerId::of(org, server.resource()));
            match owners.get(&(org.clone(), server.resource().canonical())) {
                Some(owner) if *owner != key => ServerState::DenyAll(Problem::new(
                    Reason::ResourceTaken,
                    format!(
                        "spec.resourceUri is already that of McpServer {owner}: use another one, or delete that object"
                    ),
                )),
                _ => {
                    let mut resolver = Resolver::new(org, clients);
                    let server = server.resolve(&mut resolver);
                    unresolved = resolver.unresolved();
                    ServerState::Enforced(Arc::new(server))
                }
            }
        }
    };
    ServerEntry { key: key.clone(), org: org.ok(), id, object: record.object.clone(), state, unresolved }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn server(namespace: &str, name: &str, created: &str, spec: &Value) -> Parsed<McpServer> {
        let object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created, "uid": "u"},
            "spec": spec,
        });
        Parsed::Object(Arc::new(serde_json::from_value(object).unwrap()))
    }

    fn client(namespace: &str, name: &str) -> Parsed<McpClient> {
        let object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"}, "credentialsSecretName": "c"},
        });
        Parsed::Object(Arc::new(serde_json::from_value(object).unwrap()))
    }

    fn spec() -> Value {
        json!({"resourceUri": "https://a.example/mcp", "port": 8000, "scopes": [{"name": "r"}], "requiredScopes": ["r"]})
    }

    fn index(namespaces: &[(&str, Option<&str>)]) -> Index {
        let mut index = Index::default();
        for (name, label) in namespaces {
            index.apply_namespace((*name).to_owned(), NamespaceMeta { org_label: label.map(str::to_owned) });
        }
        index
    }

    fn reason(snapshot: &Snapshot, namespace: &str, name: &str) -> Option<Reason> {
        match &snapshot.servers.get(&ObjectKey::new(namespace, name)).unwrap().state {
            ServerState::Enforced(_) => None,
            ServerState::DenyAll(problem) => Some(problem.reason),
        }
    }

    const T1: &str = "2026-01-01T00:00:01Z";
    const T2: &str = "2026-01-01T00:00:02Z";

    #[test]
    fn a_valid_server_is_enforced() {
        let mut index = index(&[("acme", None)]);
        index.apply_server(server("acme", "a", T1, &spec()));
        let snapshot = index.snapshot();
        assert_eq!(reason(&snapshot, "acme", "a"), None);
        assert_eq!(snapshot.enforced(snapshot.org("acme").unwrap()).count(), 1);
    }

    #[test]
    fn an_update_to_an_invalid_spec_denies() {
        let mut index = index(&[("acme", None)]);
        index.apply_server(server("acme", "a", T1, &spec()));
        let mut bad = spec();
        bad["requiredScopes"] = json!(["undeclared"]);
        index.apply_server(server("acme", "a", T1, &bad));
        assert_eq!(reason(&index.snapshot(), "acme", "a"), Some(Reason::Invalid));
    }

    #[test]
    fn an_object_that_cannot_be_read_denies() {
        let mut index = index(&[("acme", None)]);
        index.apply_server(server("acme", "a", T1, &spec()));
        index.apply_server(Parsed::Malformed { key: ObjectKey::new("acme", "a"), error: "spec.port: text".to_owned() });
        assert_eq!(reason(&index.snapshot(), "acme", "a"), Some(Reason::Malformed));
    }

    #[test]
    fn fields_nobody_enforces_are_refused() {
        for (field, value) in [
            ("transport", json!("HttpSse")),
            ("enforcement", json!("Observe")),
            ("requireDpop", json!(true)),
            ("authorizationServers", json!([{"issuer": "https://idp.example"}])),
            ("sidecar", json!({"tlsSecretName": "x"})),
            ("requirePkce", json!(false)),
        ] {
            let mut index = index(&[("acme", None)]);
            let mut spec = spec();
            spec[field] = value;
            index.apply_server(server("acme", "a", T1, &spec));
            assert_eq!(reason(&index.snapshot(), "acme", "a"), Some(Reason::NotImplemented), "{field}");
        }
    }

    #[test]
    fn the_older_object_keeps_a_resource() {
        let mut index = index(&[("acme", None), ("acme-2", Some("acme"))]);
        index.apply_namespace("acme".to_owned(), NamespaceMeta { org_label: Some("acme".to_owned()) });
        index.apply_server(server("acme", "b", T1, &spec()));
        let mut same = spec();
        same["resourceUri"] = json!("https://a.example:443/mcp");
        index.apply_server(server("acme-2", "a", T2, &same));
        let snapshot = index.snapshot();
        assert_eq!(reason(&snapshot, "acme", "b"), None);
        assert_eq!(reason(&snapshot, "acme-2", "a"), Some(Reason::ResourceTaken));
        index.delete_server(&ObjectKey::new("acme", "b"));
        assert_eq!(reason(&index.snapshot(), "acme-2", "a"), None);
    }

    #[test]
    fn organizations_do_not_share_resources() {
        let mut index = index(&[("one", None), ("two", None)]);
        index.apply_server(server("one", "a", T1, &spec()));
        index.apply_server(server("two", "a", T2, &spec()));
        let snapshot = index.snapshot();
        assert_eq!((reason(&snapshot, "one", "a"), reason(&snapshot, "two", "a")), (None, None));
    }

    #[test]
    fn a_label_cannot_take_over_a_namespace() {
        let mut index = index(&[("acme", None), ("other", Some("acme")), ("odd", Some("Not_A.Label"))]);
        for namespace in ["acme", "other", "odd", "unknown"] {
            index.apply_server(server(namespace, "a", T1, &spec()));
        }
        let snapshot = index.snapshot();
        assert_eq!(reason(&snapshot, "acme", "a"), Some(Reason::OrgConflict));
        assert_eq!(reason(&snapshot, "other", "a"), None);
        assert_eq!(reason(&snapshot, "odd", "a"), Some(Reason::InvalidOrg));
        assert_eq!(reason(&snapshot, "unknown", "a"), Some(Reason::NamespaceUnknown));
    }

    #[test]
    fn a_server_in_a_system_namespace_denies_and_takes_no_resource() {
        let mut index = index(&[("acme", Some("acme")), ("kube-system", Some("acme")), ("lumoauth-system", None)]);
        index.apply_server(server("kube-system", "a", T1, &spec()));
        index.apply_server(server("lumoauth-system", "a", T1, &spec()));
        index.apply_server(server("acme", "a", T2, &spec()));
        let snapshot = index.snapshot();
        assert_eq!(reason(&snapshot, "kube-system", "a"), Some(Reason::SystemNamespace));
        assert_eq!(reason(&snapshot, "lumoauth-system", "a"), Some(Reason::SystemNamespace));
        assert_eq!(reason(&snapshot, "acme", "a"), None);
    }

    #[test]
    fn system_namespaces_are_those_the_webhook_is_not_asked_about() {
        let manifest = include_str!("../../manifests/base/webhook.yaml");
        let (_, selector) = manifest.split_once("namespaceSelector:").unwrap();
        let (_, values) = selector.split_once("values:").unwrap();
        let (values, _) = values.split_once(']').unwrap();
        let values: Vec<_> = values.trim_start_matches([' ', '[']).split(',').map(str::trim).collect();
        assert_eq!(values, names::NEVER_INJECTED);
    }

    #[test]
    fn references_that_lead_nowhere_admit_nobody() {
        let mut index = index(&[("acme", None), ("foreign", None)]);
        let mut spec = spec();
        spec["allowedClients"] = json!(["there", "missing", "foreign/there"]);
        spec["grants"] = json!([{"clients": ["there"], "scopes": ["r"]}]);
        spec["introspectionClients"] = json!(["there", "foreign/there"]);
        index.apply_server(server("acme", "a", T1, &spec));
        index.apply_client(client("foreign", "there"));
        let key = ObjectKey::new("acme", "a");
        let entry = index.snapshot().servers[&key].clone();
        let server = entry.server().unwrap();
        assert_eq!(server.policy.allowed_clients(), Some(&[][..]));
        assert_eq!((server.grants[0].clients.len(), server.introspection_clients.len()), (0, 0));
        let expected = [
            "spec.allowedClients acme/there",
            "spec.allowedClients acme/missing",
            "spec.allowedClients foreign/there",
            "spec.grants[0].clients acme/there",
            "spec.introspectionClients acme/there",
            "spec.introspectionClients foreign/there",
        ];
        assert_eq!(entry.unresolved, expected);
        index.apply_client(client("acme", "there"));
        let entry = index.snapshot().servers[&key].clone();
        let server = entry.server().unwrap();
        assert_eq!(server.policy.allowed_clients().unwrap().len(), 1);
        assert_eq!((server.grants[0].clients.len(), server.introspection_clients.len()), (1, 1));
        assert_eq!(entry.unresolved.len(), 3);
    }

    #[test]
    fn bad_values_name_their_field() {
        for (field, value) in [
            ("resourceUri", json!("http://a.example/mcp")),
            ("resourceUri", json!("https://a.example/mcp?x=1")),
            ("endpointUrl", json!("ftp://a")),
            ("port", json!(16080)),
            ("path", json!("/a/../b")),
            ("tokenLifetimeSeconds", json!(59)),
            ("metadata", json!({"jwks_uri": "x"})),
            ("allowedClients", json!(["https://*"])),
            ("introspectionClients", json!(["https://app.example/id"])),
            ("grants[0]", json!([{"scopes": ["r"]}])),
            ("sidecar", json!({"allowedOrigins": ["https://A.example/"]})),
            ("scopes", json!([{"name": "r", "implies": ["r"]}])),
            ("rules", json!([{"tools": ["a"], "methods": ["b"], "scopes": ["r"]}])),
        ] {
            let mut index = index(&[("acme", None)]);
            let mut spec = spec();
            spec[field.split('[').next().unwrap()] = value;
            index.apply_server(server("acme", "a", T1, &spec));
            match &index.snapshot().servers[&ObjectKey::new("acme", "a")].state {
                ServerState::DenyAll(problem) => {
                    assert_eq!(problem.reason, Reason::Invalid, "{field}");
                    assert!(problem.message.contains(field), "{field}: {}", problem.message);
                }
                ServerState::Enforced(_) => panic!("{field} was accepted"),
            }
        }
    }
}
