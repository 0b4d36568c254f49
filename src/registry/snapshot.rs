//! The immutable result: every entry with its state, and the look-ups its readers need.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use lumoauth_core::ClientId;

use super::{Client, ObjectKey, OrgId, Problem, Server, ServerId, client_id};
use crate::api::v1alpha1::{McpClient, McpServer, Transport};

/// An McpServer and what it means.
#[derive(Clone, Debug)]
pub struct ServerEntry {
    /// Which object.
    pub key: ObjectKey,
    /// Its organization, when it has one.
    pub org: Option<OrgId>,
    /// Its identifier, when it can be told.
    pub id: Option<ServerId>,
    /// The object; `None` when it could not be read.
    pub object: Option<Arc<McpServer>>,
    /// Enforce, or deny everything.
    pub state: ServerState,
    /// References to clients that lead nowhere (they admit nobody), each after the field it stands in.
    pub unresolved: Vec<String>,
}

/// The two states of a registry entry.
#[derive(Clone, Debug)]
pub enum ServerState {
    /// Valid: every call is checked by this.
    Enforced(Arc<Server>),
    /// Not valid: every call is refused.
    DenyAll(Problem),
}

impl ServerEntry {
    /// The server, when it is enforced.
    pub fn server(&self) -> Option<&Arc<Server>> {
        match &self.state {
            ServerState::Enforced(server) => Some(server),
            ServerState::DenyAll(_) => None,
        }
    }

    /// When the spec was last written: the newest time in `managedFields` of those who wrote it, else when the object
    /// was created; `None` for an object that was never in a cluster.
    pub fn updated_at(&self) -> Option<Timestamp> {
        let metadata = &self.object.as_ref()?.metadata;
        let written = metadata.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
        written.map(|time| time.0).max().or_else(|| metadata.creation_timestamp.as_ref().map(|time| time.0))
    }

    /// Whether pods have nothing to do with it (`transport: Stdio`).
    pub fn is_registry_only(&self) -> bool {
        self.server().is_some_and(|server| server.transport == Transport::Stdio)
    }
}

/// An McpClient and what it means.
#[derive(Clone, Debug)]
pub struct ClientEntry {
    /// Which object.
    pub key: ObjectKey,
    /// Its organization, when it has one.
    pub org: Option<OrgId>,
    /// Its OAuth client identifier, when it has an organization.
    pub id: Option<ClientId>,
    /// The object; `None` when it could not be read.
    pub object: Option<Arc<McpClient>>,
    /// Whether it may ask for tokens.
    pub state: ClientState,
}

/// Whether a client is known to the authorization server.
#[derive(Clone, Debug)]
pub enum ClientState {
    /// It is.
    Accepted(Arc<Client>),
    /// It is not.
    Rejected(Problem),
}

impl ClientEntry {
    /// The client, when it is accepted.
    pub fn client(&self) -> Option<&Arc<Client>> {
        match &self.state {
            ClientState::Accepted(client) => Some(client),
            ClientState::Rejected(_) => None,
        }
    }
}

/// What all objects mean at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Rises with every change.
    pub generation: u64,
    /// Every McpServer.
    pub servers: BTreeMap<ObjectKey, Arc<ServerEntry>>,
    /// Every McpClient.
    pub clients: BTreeMap<ObjectKey, Arc<ClientEntry>>,
    client_ids: HashMap<ClientId, ObjectKey>,
    server_ids: HashMap<ServerId, ObjectKey>,
    orgs: BTreeSet<OrgId>,
}

impl Snapshot {
    pub(super) fn new(
        generation: u64,
        servers: BTreeMap<ObjectKey, Arc<ServerEntry>>,
        clients: BTreeMap<ObjectKey, Arc<ClientEntry>>,
    ) -> Self {
        let client_ids = clients.values().filter_map(|entry| Some((entry.id.clone()?, entry.key.clone()))).collect();
        let enforced = servers.values().filter(|entry| entry.server().is_some());
        let server_ids = enforced.filter_map(|entry| Some((entry.id.clone()?, entry.key.clone()))).collect();
        let of_servers = servers.values().filter_map(|entry| entry.org.clone());
        let orgs = of_servers.chain(clients.values().filter_map(|entry| entry.org.clone())).collect();
        Self { generation, servers, clients, client_ids, server_ids, orgs }
    }

    /// The organization `name`, when an object belongs to it.
    pub fn org(&self, name: &str) -> Option<&OrgId> {
        self.orgs.get(&OrgId::parse(name)?)
    }

    /// The enforced server with this identifier in `org`, with its entry.
    pub fn server(&self, org: &OrgId, id: &str) -> Option<(&Arc<ServerEntry>, &Arc<Server>)> {
        let entry = self.servers.get(self.server_ids.get(id)?)?;
        (entry.org.as_ref() == Some(org)).then_some((entry, entry.server()?))
    }

    /// The enforced servers of an organization, with their entries.
    pub fn enforced<'a>(&'a self, org: &'a OrgId) -> impl Iterator<Item = (&'a Arc<ServerEntry>, &'a Arc<Server>)> {
        let of_org = self.servers.values().filter(move |entry| entry.org.as_ref() == Some(org));
        of_org.filter_map(|entry| Some((entry, entry.server()?)))
    }

    /// Whether an McpClient object stands behind this identifier of `org`: accepted or not, and also one whose
    /// organization cannot be told at the moment.
    pub fn declares_client(&self, org: &OrgId, id: &ClientId) -> bool {
        let may_be = |entry: &ClientEntry| entry.org.as_ref().is_none_or(|of| of == org);
        self.clients.values().any(|entry| may_be(entry) && client_id(org, &entry.key) == *id)
    }

    /// The accepted client with this identifier in `org`.
    pub fn client(&self, org: &OrgId, id: &ClientId) -> Option<(&Arc<ClientEntry>, &Arc<Client>)> {
        let entry = self.clients.get(self.client_ids.get(id)?)?;
        (entry.org.as_ref() == Some(org)).then_some((entry, entry.client()?))
    }
}
