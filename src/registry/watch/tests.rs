use super::*;
use crate::registry::{Reason, ServerState};
use serde_json::{Value, json};

fn server(name: &str, port: &Value) -> DeserializeGuard<McpServer> {
    serde_json::from_value(json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
        "metadata": {"namespace": "acme", "name": name, "uid": name},
        "spec": {"resourceUri": format!("https://{name}.example/mcp"), "port": port},
    }))
    .unwrap()
}

fn on_servers(event: Guarded<McpServer>) -> Event {
    Event::Server(Box::new(Ok(event)))
}

fn on_namespaces(event: watcher::Event<PartialObjectMeta<Namespace>>) -> Event {
    Event::Namespace(Box::new(Ok(event)))
}

fn on_clients(event: Guarded<McpClient>) -> Event {
    Event::Client(Box::new(Ok(event)))
}

fn namespace(name: &str) -> PartialObjectMeta<Namespace> {
    serde_json::from_value(json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": name}
    }))
    .unwrap()
}

fn listed() -> Feed {
    let mut feed = Feed::default();
    let objects = [
        on_namespaces(watcher::Event::Init),
        on_namespaces(watcher::Event::InitApply(namespace("acme"))),
        on_namespaces(watcher::Event::InitDone),
        on_clients(watcher::Event::Init),
        on_clients(watcher::Event::InitDone),
        on_servers(watcher::Event::Init),
        on_servers(watcher::Event::InitApply(server("a", &json!(8000)))),
        on_servers(watcher::Event::InitApply(server("b", &json!(8000)))),
    ];
    for event in objects {
        assert!(!feed.take(event).unwrap(), "nothing may be published before the lists are complete");
    }
    assert!(feed.take(on_servers(watcher::Event::InitDone)).unwrap());
    feed
}

fn denied(feed: &Feed, name: &str) -> Option<Reason> {
    match &feed.index.snapshot().servers.get(&ObjectKey::new("acme", name)).unwrap().state {
        ServerState::Enforced(_) => None,
        ServerState::DenyAll(problem) => Some(problem.reason),
    }
}

#[test]
fn a_malformed_object_denies_and_the_older_policy_is_gone() {
    let mut feed = listed();
    assert_eq!(denied(&feed, "a"), None);
    feed.take(on_servers(watcher::Event::Apply(server("a", &json!("no port"))))).unwrap();
    assert_eq!(denied(&feed, "a"), Some(Reason::Malformed));
    assert_eq!(denied(&feed, "b"), None);
    feed.take(on_servers(watcher::Event::Apply(server("a", &json!(8001))))).unwrap();
    assert_eq!(denied(&feed, "a"), None);
}

#[test]
fn a_malformed_object_in_a_list_denies() {
    let mut feed = Feed::default();
    feed.take(on_servers(watcher::Event::InitApply(server("a", &json!({}))))).unwrap();
    assert!(feed.index.snapshot().servers.contains_key(&ObjectKey::new("acme", "a")));
}

#[test]
fn a_new_list_removes_what_is_gone() {
    let mut feed = listed();
    feed.take(on_servers(watcher::Event::Init)).unwrap();
    feed.take(on_servers(watcher::Event::InitApply(server("b", &json!(8000))))).unwrap();
    assert_eq!(feed.index.snapshot().servers.len(), 2, "until the list is complete");
    feed.take(on_servers(watcher::Event::InitDone)).unwrap();
    let names: Vec<_> = feed.index.snapshot().servers.keys().map(|key| key.name.clone()).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn a_list_that_was_cut_short_removes_nothing_of_the_next() {
    let mut feed = listed();
    for event in [
        watcher::Event::Init,
        watcher::Event::InitApply(server("a", &json!(8000))),
        watcher::Event::Init,
        watcher::Event::InitApply(server("b", &json!(8000))),
        watcher::Event::InitDone,
    ] {
        feed.take(on_servers(event)).unwrap();
    }
    let names: Vec<_> = feed.index.snapshot().servers.keys().map(|key| key.name.clone()).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn a_deleted_object_is_gone() {
    let mut feed = listed();
    feed.take(on_servers(watcher::Event::Delete(server("a", &json!(8000))))).unwrap();
    assert_eq!(feed.index.snapshot().servers.len(), 1);
}

#[test]
fn only_what_somebody_reads_is_kept() {
    let mut object: DeserializeGuard<McpServer> = serde_json::from_value(json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
        "metadata": {
            "namespace": "acme", "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{}", "other": "x",
                "mcp.lumoauth.dev/rotate": "ä".repeat(2000),
            },
            "labels": {"app": "x", "mcp.lumoauth.dev/org": "acme"},
            "finalizers": ["example.com/f"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "o"}],
            "managedFields": [
                {"manager": "kubectl", "operation": "Apply", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:port": {}}}},
                {"manager": "labeller", "operation": "Update", "time": "2026-01-05T00:00:00Z", "fieldsV1": {"f:metadata": {}}},
                {"manager": "lumoauth-operator", "operation": "Apply", "subresource": "status", "time": "2026-01-06T00:00:00Z", "fieldsV1": {"f:status": {}}},
            ]
        },
        "spec": {"resourceUri": "https://a.example/mcp", "port": 8000},
        "status": {"serverId": "mcp_0"},
    }))
    .unwrap();
    slim_server(&mut object);
    let object = object.0.unwrap();
    let kept = object.metadata.managed_fields.as_ref().unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].fields_v1.is_none());
    assert_eq!(object.annotations().keys().collect::<Vec<_>>(), [names::ROTATE]);
    assert_eq!(object.annotations()[names::ROTATE], "ä".repeat(512));
    assert_eq!(object.labels().keys().collect::<Vec<_>>(), [names::ORG]);
    assert!(object.owner_references().is_empty() && object.finalizers().is_empty());
    assert_eq!(object.status, None);

    let mut feed = listed();
    feed.index.apply_server(Parsed::Object(Arc::new(object)));
    let snapshot = feed.index.snapshot();
    let updated = snapshot.servers[&ObjectKey::new("acme", "a")].updated_at().unwrap();
    assert_eq!(updated.to_string(), "2026-01-02T00:00:00Z");
}

#[test]
fn a_client_keeps_the_hashes_of_its_secrets() {
    let mut object: DeserializeGuard<McpClient> = serde_json::from_value(json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
        "metadata": {"namespace": "acme", "name": "a", "annotations": {"mcp.lumoauth.dev/rotate": "1", "other": "x"}},
        "spec": {"grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"}},
        "status": {"secrets": [{"sha256": "0"}]},
    }))
    .unwrap();
    slim(&mut object);
    let object = object.0.unwrap();
    assert_eq!(object.status.as_ref().unwrap().secrets.len(), 1);
    assert_eq!(object.annotations().iter().collect::<Vec<_>>(), [(&names::ROTATE.to_owned(), &"1".to_owned())]);
}

#[tokio::test]
async fn a_burst_becomes_one_snapshot_and_the_latch_opens() {
    let (snapshot, mut snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (synced, is_synced) = watch::channel(false);
    let publisher = Publisher { feed: listed(), metrics: Metrics::default(), snapshot, synced };
    let burst = (0..50).map(|at| on_servers(watcher::Event::Apply(server(&format!("s{at}"), &json!(8000)))));
    let events = stream::iter(burst).chain(stream::pending());
    let run = tokio::spawn(publisher.run(Box::pin(events)));
    snapshots.changed().await.unwrap();
    assert_eq!(snapshots.borrow_and_update().servers.len(), 52);
    assert!(*is_synced.borrow());
    assert!(!snapshots.has_changed().unwrap());
    run.abort();
}

#[tokio::test]
async fn an_error_changes_nothing_and_is_counted() {
    let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (synced, _) = watch::channel(false);
    let metrics = Metrics::default();
    let mut publisher = Publisher { feed: listed(), metrics: metrics.clone(), snapshot, synced };
    assert!(!publisher.take(Event::Server(Box::new(Err(watcher::Error::NoResourceVersion)))));
    assert_eq!(metrics.errors.get_or_create(&KindLabel { kind: "McpServer" }).get(), 1);
    publisher.publish();
    assert_eq!(snapshots.borrow().servers.len(), 2);
}
