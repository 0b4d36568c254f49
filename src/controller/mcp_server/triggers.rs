//! What makes a server be looked at again: each source of changes is a task that puts keys into the queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::{
    Api, ResourceExt as _,
    api::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::pods::Pods;
use crate::{
    api::names,
    controller::{Context, work::Queue},
    inject::is_server_name,
    registry::{ObjectKey, ServerEntry, ServerState, Snapshot},
};

/// Objects in one page of a list.
const PAGE: u32 = 200;
/// How long changes of pods, ConfigMaps and Services are gathered before a server is looked at.
const GATHER: Duration = Duration::from_millis(50);
/// How often every server is looked at although nothing seems to have changed.
const RESYNC: Duration = Duration::from_mins(10);

/// Starts every source; they end when the handles are dropped.
pub(super) fn start(context: &Context, pods: &Pods, queue: &Arc<Queue>) -> Vec<AbortOnDropHandle<()>> {
    let spawn = |task| AbortOnDropHandle::new(task);
    let ours = format!("{}={},{}", names::MANAGED_BY, names::MANAGER, names::SERVER);
    vec![
        spawn(tokio::spawn(snapshots(context.snapshot.clone(), Arc::clone(queue)))),
        spawn(tokio::spawn(everything(context.clone(), Arc::clone(queue)))),
        spawn(tokio::spawn(labelled::<ConfigMap>(context.client.clone(), ours.clone(), Arc::clone(queue)))),
        spawn(tokio::spawn(labelled::<Service>(context.client.clone(), ours, Arc::clone(queue)))),
        spawn(tokio::spawn(labelled::<Pod>(context.client.clone(), names::SERVER.to_owned(), Arc::clone(queue)))),
        spawn(tokio::spawn(namespaces(context.clone(), pods.clone(), Arc::clone(queue)))),
    ]
}

/// Servers whose meaning changed from one snapshot to the next.
async fn snapshots(mut snapshots: watch::Receiver<Arc<Snapshot>>, queue: Arc<Queue>) {
    let mut before = Arc::new(Snapshot::default());
    loop {
        let now = Arc::clone(&snapshots.borrow_and_update());
        for key in changed(&before.servers, &now.servers) {
            queue.add(key);
        }
        before = now;
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// The keys whose entries are not the same. A new entry may mean the same: every write of a status makes one.
fn changed(
    before: &BTreeMap<ObjectKey, Arc<ServerEntry>>,
    now: &BTreeMap<ObjectKey, Arc<ServerEntry>>,
) -> BTreeSet<ObjectKey> {
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    let other = now.iter().filter(|(key, entry)| !before.get(*key).is_some_and(|old| is_same(old, entry)));
    gone.chain(other.map(|(key, _)| key)).cloned().collect()
}

fn is_same(one: &Arc<ServerEntry>, other: &Arc<ServerEntry>) -> bool {
    let version = |entry: &ServerEntry| {
        entry.object.as_ref().map(|object| (object.metadata.uid.clone(), object.metadata.generation))
    };
    let state = || match (&one.state, &other.state) {
        (ServerState::Enforced(one), ServerState::Enforced(other)) => one == other,
        (ServerState::DenyAll(one), ServerState::DenyAll(other)) => one == other,
        _ => false,
    };
    Arc::ptr_eq(one, other)
        || version(one) == version(other)
            && (&one.org, &one.id, &one.unresolved) == (&other.org, &other.id, &other.unresolved)
            && state()
}

/// Every server, when what all depend on changes, and now and then.
async fn everything(mut context: Context, queue: Arc<Queue>) {
    loop {
        let woken = tokio::select! {
            changed = context.issuing.changed() => changed,
            changed = context.settings.changed() => changed,
            () = tokio::time::sleep(RESYNC) => Ok(()),
        };
        if woken.is_err() {
            return;
        }
        let keys: Vec<ObjectKey> = context.snapshot.borrow().servers.keys().cloned().collect();
        for key in keys {
            queue.add(key);
        }
    }
}

/// The servers named by the label of what `selector` selects in any namespace, when it appears, changes or goes. The
/// first list finds what servers left that went while no operator ran: objects of ours, or only pods.
async fn labelled<K>(client: kube::Client, selector: String, queue: Arc<Queue>)
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().labels(&selector).page_size(PAGE);
    let events = watcher(Api::<PartialObjectMeta<K>>::all(client), config).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let object = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object) | watcher::Event::Delete(object)) => {
                object
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "a watch failed and is started again");
                continue;
            }
        };
        if let Some(key) = server_of(&object) {
            queue.add_after(key, GATHER);
        }
    }
}

/// The server that the label of `object` names, if that can be one.
fn server_of<K: kube::Resource>(object: &K) -> Option<ObjectKey> {
    let name = object.labels().get(names::SERVER).filter(|name| is_server_name(name))?;
    Some(ObjectKey::new(object.namespace()?, name))
}

/// Watches the pods of each namespace that holds a server, and of no other.
async fn namespaces(mut context: Context, pods: Pods, queue: Arc<Queue>) {
    let mut watched: BTreeMap<String, AbortOnDropHandle<()>> = BTreeMap::new();
    loop {
        let wanted: BTreeSet<String> =
            context.snapshot.borrow_and_update().servers.keys().map(|key| key.namespace.clone()).collect();
        watched.retain(|namespace, _| {
            let keep = wanted.contains(namespace);
            if !keep {
                pods.forget(namespace);
            }
            keep
        });
        for namespace in wanted {
            watched.entry(namespace.clone()).or_insert_with(|| {
                let task = namespace_pods(context.clone(), namespace, pods.clone(), Arc::clone(&queue));
                AbortOnDropHandle::new(tokio::spawn(task))
            });
        }
        if context.snapshot.changed().await.is_err() {
            return;
        }
    }
}

/// Metadata only: annotations cannot be selected, and most pods of a namespace may be none of ours.
async fn namespace_pods(context: Context, namespace: String, pods: Pods, queue: Arc<Queue>) {
    let api: Api<PartialObjectMeta<Pod>> = Api::namespaced(context.client.clone(), &namespace);
    let events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
    pin_mut!(events);
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let touched = match event {
            Ok(watcher::Event::Apply(pod)) => pods.applied(&namespace, &pod),
            Ok(watcher::Event::Delete(pod)) => pods.deleted(&namespace, &pod),
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(pod)) => {
                listed.insert(pod.name_any());
                pods.applied(&namespace, &pod);
                continue;
            }
            Ok(watcher::Event::InitDone) => {
                pods.listed(&namespace, &listed);
                let snapshot = Arc::clone(&context.snapshot.borrow());
                snapshot.servers.keys().filter(|key| key.namespace == namespace).map(|key| key.name.clone()).collect()
            }
            Err(error) => {
                tracing::warn!(namespace, %error, "the watch of pods failed and is started again");
                continue;
            }
        };
        for name in touched {
            queue.add_after(ObjectKey::new(namespace.clone(), name), GATHER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::a_pod_that_only_its_label_tells(json!({names::SERVER: "a"}), Some("acme/a"))]
    #[case::no_name(json!({names::SERVER: "A_b"}), None)]
    #[case::empty(json!({names::SERVER: ""}), None)]
    #[case::other_label(json!({"app": "a"}), None)]
    fn a_label_names_a_server(#[case] labels: serde_json::Value, #[case] key: Option<&str>) {
        let pod = json!({"metadata": {"name": "p", "namespace": "acme", "labels": labels}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(server_of(&pod).map(|key| key.to_string()).as_deref(), key);
    }
}
