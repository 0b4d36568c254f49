//! Watches that feed the index: the only part of the registry that talks to a cluster.
//!
//! An object that cannot be read is applied as [`Parsed::Malformed`]: it neither stalls its watch nor leaves an older
//! meaning in force. No snapshot is published before every kind was listed once, so that "not there" is never said of
//! what was merely not seen yet.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{WatchStreamExt as _, watcher},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Index, NamespaceMeta, ObjectKey, Parsed, Snapshot};
use crate::api::{
    names,
    v1alpha1::{McpClient, McpServer},
};

/// How long a burst of events is gathered into one snapshot.
const GATHER: Duration = Duration::from_millis(10);

/// Objects in one page of a list: all of them are in memory as they came, up to a megabyte and more each.
const PAGE: u32 = 50;

/// Bytes of the rotate annotation that are kept: room for every character that counts.
const MAX_ROTATE: usize = 1024;

/// What the watches publish.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What all custom resources mean; empty, with generation 0, until `synced`.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Whether every kind was listed once. Never becomes false again.
    pub synced: watch::Receiver<bool>,
}

/// What the watches count.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    errors: Family<KindLabel, Counter>,
    last_event: Family<KindLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl Metrics {
    /// Makes the families part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("lumoauth_watch_errors", "Errors of watches, by kind", metrics.errors.clone());
        registry.register(
            "lumoauth_watch_last_event_timestamp_seconds",
            "When a watch last reported something, in seconds since 1970, by kind",
            metrics.last_event.clone(),
        );
        metrics
    }
}

/// Prepares the watches of McpServers, McpClients and Namespaces in all namespaces. They run while the returned future
/// is polled, until `shutdown`.
pub fn start(
    client: &Client,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> (Watched, impl Future<Output = ()> + Send + 'static) {
    let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (synced, is_synced) = watch::channel(false);
    let events = stream::select_all([
        events::<DeserializeGuard<McpServer>>(client, slim_server, |event| Event::Server(Box::new(event))),
        events::<DeserializeGuard<McpClient>>(client, slim, |event| Event::Client(Box::new(event))),
        events::<PartialObjectMeta<Namespace>>(client, slim, |event| Event::Namespace(Box::new(event))),
    ]);
    let publisher = Publisher { feed: Feed::default(), metrics, snapshot, synced };
    let run = async move {
        let _ = shutdown.run_until_cancelled(publisher.run(events)).await;
    };
    (Watched { snapshot: snapshots, synced: is_synced }, run)
}

type Guarded<K> = watcher::Event<DeserializeGuard<K>>;

/// An event of one of the watches.
enum Event {
    Server(Box<Result<Guarded<McpServer>, watcher::Error>>),
    Client(Box<Result<Guarded<McpClient>, watcher::Error>>),
    Namespace(Box<Result<watcher::Event<PartialObjectMeta<Namespace>>, watcher::Error>>),
}

fn events<K>(
    client: &Client,
    slim: fn(&mut K),
    wrap: fn(Result<watcher::Event<K>, watcher::Error>) -> Event,
) -> Pin<Box<dyn Stream<Item = Event> + Send>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().page_size(PAGE);
    watcher(Api::<K>::all(client.clone()), config).default_backoff().modify(slim).map(wrap).boxed()
}

/// Drops what nobody reads, as whoever may write an object could fill the memory of every reader with it. Kept are: of
/// `managedFields` the times of those who wrote the spec ([`super::ServerEntry::updated_at`]), of annotations what
/// rotates a secret, of labels the organization of a namespace.
fn slim<K: Resource>(object: &mut K) {
    let writes_spec = |fields: &serde_json::Value| fields.get("f:spec").is_some();
    let metadata = object.meta_mut();
    if let Some(entries) = &mut metadata.managed_fields {
        entries.retain(|entry| {
            entry.subresource.as_deref().unwrap_or_default().is_empty()
                && entry.fields_v1.as_ref().is_some_and(|fields| writes_spec(&fields.0))
        });
        for entry in entries {
            entry.fields_v1 = None;
        }
    }
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| name == names::ROTATE);
        for value in annotations.values_mut() {
            value.truncate(value.floor_char_boundary(MAX_ROTATE));
            value.shrink_to_fit();
        }
    }
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|name, _| name == names::ORG);
    }
    metadata.owner_references = None;
    metadata.finalizers = None;
}

/// The same of an McpServer, whose status is read only where it is written. That of an McpClient holds the hashes.
fn slim_server(object: &mut DeserializeGuard<McpServer>) {
    slim(object);
    if let Ok(server) = &mut object.0 {
        server.status = None;
    }
}

struct Publisher {
    feed: Feed,
    metrics: Metrics,
    snapshot: watch::Sender<Arc<Snapshot>>,
    synced: watch::Sender<bool>,
}

impl Publisher {
    async fn run(mut self, mut events: impl Stream<Item = Event> + Unpin) {
        let mut publish_at: Option<Instant> = None;
        loop {
            let due = async {
                match publish_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => {
                    publish_at = None;
                    self.publish();
                }
                event = events.next() => match event {
                    Some(event) => {
                        if self.take(event) {
                            publish_at.get_or_insert_with(|| Instant::now() + GATHER);
                        }
                    }
                    None => return,
                },
            }
        }
    }

    /// Whether the event may have changed what all objects mean.
    fn take(&mut self, event: Event) -> bool {
        let kind = KindLabel { kind: event.kind() };
        match self.feed.take(event) {
            Ok(changed) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                self.metrics.last_event.get_or_create(&kind).set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
                changed
            }
            Err(error) => {
                self.metrics.errors.get_or_create(&kind).inc();
                tracing::warn!(kind = kind.kind, %error, hint = hint(&error), "a watch failed and is started again");
                false
            }
        }
    }

    fn publish(&self) {
        if !self.feed.is_complete() {
            return;
        }
        self.snapshot.send_replace(Arc::new(self.feed.index.snapshot()));
        if !self.synced.send_replace(true) {
            tracing::info!("every McpServer, McpClient and Namespace is known");
        }
    }
}

/// What to do about an error, where we know it.
fn hint(error: &watcher::Error) -> &'static str {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return "";
    };
    match status.code {
        403 => "this ServiceAccount may not list and watch it: apply the ClusterRole of install.yaml",
        404 => "its CustomResourceDefinition is not installed: kubectl apply --server-side -f crds/",
        _ => "",
    }
}

impl Event {
    fn kind(&self) -> &'static str {
        match self {
            Self::Server(_) => "McpServer",
            Self::Client(_) => "McpClient",
            Self::Namespace(_) => "Namespace",
        }
    }
}

/// The index, and how far the list of each kind is.
#[derive(Default)]
struct Feed {
    index: Index,
    servers: Listing<ObjectKey>,
    clients: Listing<ObjectKey>,
    namespaces: Listing<String>,
}

/// The list of one kind.
struct Listing<T> {
    listed: BTreeSet<T>,
    complete: bool,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { listed: BTreeSet::new(), complete: false }
    }
}

impl Feed {
    /// Applies an event; says whether it may have changed the meaning of anything.
    fn take(&mut self, event: Event) -> Result<bool, watcher::Error> {
        match event {
            Event::Server(event) => self.server((*event)?),
            Event::Client(event) => self.client((*event)?),
            Event::Namespace(event) => self.namespace((*event)?),
        }
        Ok(self.is_complete())
    }

    /// Whether every kind was listed once.
    fn is_complete(&self) -> bool {
        self.servers.complete && self.clients.complete && self.namespaces.complete
    }

    fn server(&mut self, event: Guarded<McpServer>) {
        match event {
            watcher::Event::Init => self.servers.listed.clear(),
            watcher::Event::InitApply(object) => {
                self.servers.listed.insert(key_of(object.meta()));
                self.index.apply_server(parsed(object));
            }
            watcher::Event::InitDone => {
                self.index.retain_servers(&std::mem::take(&mut self.servers.listed));
                self.servers.complete = true;
            }
            watcher::Event::Apply(object) => self.index.apply_server(parsed(object)),
            watcher::Event::Delete(object) => self.index.delete_server(&key_of(object.meta())),
        }
    }

    fn client(&mut self, event: Guarded<McpClient>) {
        match event {
            watcher::Event::Init => self.clients.listed.clear(),
            watcher::Event::InitApply(object) => {
                self.clients.listed.insert(key_of(object.meta()));
                self.index.apply_client(parsed(object));
            }
            watcher::Event::InitDone => {
                self.index.retain_clients(&std::mem::take(&mut self.clients.listed));
                self.clients.complete = true;
            }
            watcher::Event::Apply(object) => self.index.apply_client(parsed(object)),
            watcher::Event::Delete(object) => self.index.delete_client(&key_of(object.meta())),
        }
    }

    fn namespace(&mut self, event: watcher::Event<PartialObjectMeta<Namespace>>) {
        match event {
            watcher::Event::Init => self.namespaces.listed.clear(),
            watcher::Event::InitApply(object) => {
                self.namespaces.listed.insert(object.name_any());
                self.index.apply_namespace(object.name_any(), meaning(&object));
            }
            watcher::Event::InitDone => {
                self.index.retain_namespaces(&std::mem::take(&mut self.namespaces.listed));
                self.namespaces.complete = true;
            }
            watcher::Event::Apply(object) => self.index.apply_namespace(object.name_any(), meaning(&object)),
            watcher::Event::Delete(object) => self.index.delete_namespace(&object.name_any()),
        }
    }
}

fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn meaning(namespace: &PartialObjectMeta<Namespace>) -> NamespaceMeta {
    NamespaceMeta { org_label: namespace.labels().get(names::ORG).cloned() }
}

fn parsed<K: Resource>(guarded: DeserializeGuard<K>) -> Parsed<K> {
    match guarded.0 {
        Ok(object) => Parsed::Object(Arc::new(object)),
        Err(invalid) => {
            let key = key_of(&invalid.metadata);
            tracing::warn!(%key, error = invalid.error, "an object cannot be read: it denies everything");
            Parsed::Malformed { key, error: invalid.error }
        }
    }
}

#[cfg(test)]
mod tests;
