//! What runs: the registry, the sidecars, and how a change of the manifests reaches them.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use lumoauth_core::{
    IssuerUrl,
    config::{ServerRef, SidecarConfig},
};
use lumoauth_sidecar::{ConfigHandle, Limits, LoadError, Sidecar};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    data::{Data, DataError},
    files::FilesError,
    manifest::{Located, ManifestError, Manifests, Place},
    plan::{self, Guarded, NAMESPACE, Plan, Ports},
};
use crate::{
    api::v1alpha1::{ClientSecretStatus, McpClient, McpClientStatus},
    registry::{
        self, ClientEntry, ClientState, Index, Issuing, NamespaceMeta, ObjectKey, Parsed, ServerState, Snapshot,
    },
};

/// How long calls in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(2);

/// Manifests that cannot be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// They are not right.
    #[error("{}", lines(.0))]
    Manifests(Vec<ManifestError>),
    /// They cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Credentials or keys.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A sidecar's address is not to be had.
    #[error(
        "McpServer {server}: {address} {}: stop what listens there, or choose another port with --sidecar-port (or in spec.resourceUri, where that names it)",
        in_use(.error)
    )]
    Bind { server: String, address: SocketAddr, error: io::Error },
    /// A sidecar does not take its configuration.
    #[error("McpServer {server}: {error}")]
    Config { server: String, error: LoadError },
}

fn lines(errors: &[ManifestError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What it means that an address cannot be bound.
pub(super) fn in_use(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "is in use".to_owned(),
        _ => format!("cannot be bound ({error})"),
    }
}

struct Running {
    config: ConfigHandle,
    server: ServerRef,
}

/// Registry and sidecars of one run.
pub(super) struct World {
    ports: Ports,
    data: Data,
    issuing: Issuing,
    index: Index,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Every address that was ever given out in this run.
    guarded: BTreeMap<ObjectKey, Guarded>,
    running: BTreeMap<ObjectKey, Running>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl World {
    /// A world in which nothing runs.
    pub(super) fn new(ports: Ports, data: Data, issuing: Issuing, shutdown: CancellationToken) -> Self {
        let mut index = Index::default();
        index.apply_namespace(NAMESPACE.to_owned(), NamespaceMeta::default());
        let (snapshots, _) = watch::channel(Arc::new(index.snapshot()));
        let (guarded, running, tasks) = (BTreeMap::new(), BTreeMap::new(), TaskTracker::new());
        Self { ports, data, issuing, index, snapshots, guarded, running, tasks, shutdown }
    }

    /// The registry, as it changes.
    pub(super) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// The issuer of every token.
    pub(super) fn issuer(&self) -> IssuerUrl {
        let snapshot = self.snapshots.borrow();
        let org = snapshot.org(NAMESPACE);
        org.map_or_else(|| self.issuing.public_url.clone(), |org| self.issuing.issuer(org))
    }

    /// The names of the clients.
    pub(super) fn clients(&self) -> Vec<String> {
        self.snapshots.borrow().clients.keys().map(|key| key.name.clone()).collect()
    }

    /// Where each server is guarded, by name, in the order of their addresses.
    pub(super) fn guarded(&self) -> Vec<(&str, &Guarded)> {
        let mut guarded: Vec<_> = self.guarded.iter().map(|(key, guarded)| (key.name.as_str(), guarded)).collect();
        guarded.sort_by_key(|(_, guarded)| guarded.address);
        guarded
    }

    /// Makes the manifests what runs. What they no longer hold is denied from then on.
    pub(super) async fn apply(&mut self, manifests: Manifests) -> Result<(), ApplyError> {
        let Plan { servers, clients, guarded } =
            plan::plan(manifests, self.ports, &self.guarded).map_err(ApplyError::Manifests)?;
        let mut places = Places::new();
        self.index.retain_servers(&servers.iter().map(|server| plan::key(&server.object)).collect());
        self.index.retain_clients(&clients.iter().map(|client| plan::key(&client.object)).collect());
        for Located { place, object } in servers {
            places.insert(("McpServer", plan::key(&object)), place);
            self.index.apply_server(Parsed::Object(Arc::new(object)));
        }
        for Located { place, object } in clients {
            places.insert(("McpClient", plan::key(&object)), place);
            self.index.apply_client(Parsed::Object(Arc::new(object)));
        }
        let snapshot = self.index.snapshot();
        let refused = refused(&snapshot, &places);
        if !refused.is_empty() {
            return Err(ApplyError::Manifests(refused));
        }
        for entry in snapshot.clients.values() {
            if let Some(client) = self.with_credentials(entry)? {
                self.index.apply_client(Parsed::Object(Arc::new(client)));
            }
        }
        self.guarded.extend(guarded);
        self.publish().await
    }

    /// Denies every call and every token request, until manifests that can be read are applied.
    pub(super) async fn deny_all(&mut self, reason: &str) -> Result<(), ApplyError> {
        for key in self.index.snapshot().servers.into_keys() {
            self.index.apply_server(Parsed::Malformed { key, error: reason.to_owned() });
        }
        self.publish().await
    }

    /// Signs and verifies with other keys from now on.
    pub(super) async fn set_issuing(&mut self, issuing: Issuing) -> Result<(), ApplyError> {
        self.issuing = issuing;
        self.publish().await
    }

    /// Lets calls in flight end. To be called after the shutdown began.
    pub(super) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Gives every sidecar its configuration, tells the authorization server, and starts the sidecars that are missing.
    async fn publish(&mut self) -> Result<(), ApplyError> {
        let snapshot = Arc::new(self.index.snapshot());
        for (key, running) in &self.running {
            let config = match snapshot.servers.get(key) {
                Some(entry) => registry::sidecar_config(entry, &self.issuing),
                None => registry::deleted(running.server.clone()),
            };
            configure(&running.config, key, &config)?;
        }
        self.snapshots.send_replace(Arc::clone(&snapshot));
        let enforced =
            snapshot.servers.iter().filter(|(key, entry)| entry.server().is_some() && !self.running.contains_key(*key));
        let missing: Vec<_> = enforced.collect();
        for (key, entry) in missing {
            let Some(guarded) = self.guarded.get(key) else { continue };
            let listener = bind(key, guarded).await?;
            let config = registry::sidecar_config(entry, &self.issuing);
            let limits = Limits { drain: DRAIN, ..Limits::default() };
            let sidecar = Sidecar::new(lumoauth_sidecar::Options { limits, ..Default::default() });
            configure(&sidecar.config(), key, &config)?;
            self.tasks.spawn(sidecar.serve(listener, self.shutdown.clone()));
            self.running.insert(key.clone(), Running { config: sidecar.config(), server: config.server });
        }
        Ok(())
    }

    /// The client with the status that an operator would have written: its secret's hash.
    fn with_credentials(&self, entry: &ClientEntry) -> Result<Option<McpClient>, DataError> {
        let (Some(org), Some(id), Some(client), Some(object)) = (&entry.org, &entry.id, entry.client(), &entry.object)
        else {
            return Ok(None);
        };
        let credentials = self.data.credentials(&entry.key.name, id, client, &self.issuing.issuer(org))?;
        let secrets = credentials.sha256().into_iter().map(|sha256| ClientSecretStatus { sha256, not_after: None });
        let status = McpClientStatus { secrets: secrets.collect(), ..McpClientStatus::default() };
        Ok(Some(McpClient { status: Some(status), ..McpClient::clone(object) }))
    }
}

/// Where each object was written.
type Places = BTreeMap<(&'static str, ObjectKey), Place>;

/// What the registry does not accept, and why.
fn refused(snapshot: &Snapshot, places: &Places) -> Vec<ManifestError> {
    let mut refused = Vec::new();
    let mut refuse = |kind: &'static str, key: &ObjectKey, message: &str| {
        if let Some(place) = places.get(&(kind, key.clone())) {
            refused.push(ManifestError::new(place, format!("{kind} {}: {message}", key.name)));
        }
    };
    for (key, entry) in &snapshot.servers {
        if let ServerState::DenyAll(problem) = &entry.state {
            refuse("McpServer", key, &problem.message);
        } else if !entry.unresolved.is_empty() {
            let names = entry.unresolved.join(", ");
            refuse("McpServer", key, &format!("names no McpClient that is here: {names}"));
        }
    }
    for (key, entry) in &snapshot.clients {
        if let ClientState::Rejected(problem) = &entry.state {
            refuse("McpClient", key, &problem.message);
        }
    }
    refused
}

fn configure(handle: &ConfigHandle, key: &ObjectKey, config: &SidecarConfig) -> Result<(), ApplyError> {
    let failed = |error| ApplyError::Config { server: key.name.clone(), error };
    handle.set(config).map(drop).map_err(failed)
}

async fn bind(key: &ObjectKey, guarded: &Guarded) -> Result<TcpListener, ApplyError> {
    let failed = |error| ApplyError::Bind { server: key.name.clone(), address: guarded.address, error };
    TcpListener::bind(guarded.address).await.map_err(failed)
}
