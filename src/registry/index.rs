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
mod tests;
