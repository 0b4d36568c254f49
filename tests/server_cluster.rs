//! The McpServer controller against a real API server: objects, drift, status, and what is left of servers that are
//! gone. The registry is fed from lists of one namespace; the authorization server is a page on loopback.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::Future,
    net::Ipv4Addr,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use lumoauth::{
    api::v1alpha1::{McpServer, McpServerStatus},
    controller::{Context, Events, Metrics, mcp_server},
    prober::{Asker, ForgedKey, Ports},
    registry::{self, Index, Issuing, NamespaceMeta, Parsed, Snapshot},
    settings::Settings,
};
use lumoauth_core::{
    IssuerUrl,
    config::{Enforcement, Generation, SidecarConfig},
    token::JsonWebKeySet,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::support;

const LIMIT: Duration = Duration::from_secs(20);
/// An operator retires what servers left in any namespace: two tests at once would have two operators.
static ONE_OPERATOR: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// One namespace, and a control plane that looks at nothing else.
struct Fixture {
    client: Client,
    namespace: String,
    page: Arc<Mutex<Option<String>>>,
    issuing: Arc<Issuing>,
}

impl Fixture {
    /// Runs `test` in a namespace of its own, and removes it whatever becomes of the test.
    async fn with<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Arc<Self>) -> F) {
        let _alone = ONE_OPERATOR.lock().await;
        let client = support::client().await;
        let crds = support::root().join("crds").display().to_string();
        support::kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &crds]);
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = format!("{name}-{}", std::process::id());
        let object = json!({"metadata": {"name": namespace}});
        namespaces.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let (page, address) = page().await;
        let issuing = Arc::new(Issuing {
            public_url: IssuerUrl::parse("https://auth.example").unwrap(),
            keys: JsonWebKeySet { keys: Vec::new() },
            internal_url: Some(IssuerUrl::parse(&format!("http://{address}")).unwrap()),
            ca_bundle: None,
            status_max_age: 900,
        });
        let fixture = Arc::new(Self { client, namespace: namespace.clone(), page, issuing });
        let result = AssertUnwindSafe(test(Arc::clone(&fixture))).catch_unwind().await;
        let pods: Api<Pod> = fixture.api();
        let at_once = DeleteParams::default().grace_period(0);
        let _ = pods.delete_collection(&at_once, &ListParams::default()).await;
        let _ = namespaces.delete(&namespace, &DeleteParams::background()).await;
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Starts an operator; it runs until the handle is dropped.
    fn operator(&self, leads: bool) -> AbortOnDropHandle<()> {
        let (snapshots, snapshot) = watch::channel(Arc::new(Snapshot::default()));
        let settings = "{publicUrl: 'https://auth.example', sidecarImage: 'docker.io/lumoauth/sidecar:0.0.0'}";
        let (settings_sender, settings) = watch::channel(Arc::new(Settings::parse(settings).unwrap()));
        let (issuing_sender, issuing) = watch::channel(Some(Arc::clone(&self.issuing)));
        let (leader_sender, leader) = watch::channel(leads);
        let context = Context {
            client: self.client.clone(),
            snapshot,
            settings,
            issuing,
            leader,
            events: Events::new(self.client.clone(), "test".to_owned()),
            metrics: Metrics::default(),
        };
        let (servers, namespace) = (self.api::<McpServer>(), self.namespace.clone());
        let asker = Arc::new(Asker::new(Ports::default(), ForgedKey::generate().unwrap()));
        AbortOnDropHandle::new(tokio::spawn(async move {
            let _senders = (settings_sender, issuing_sender, leader_sender);
            tokio::join!(
                mcp_server::run(context, asker, CancellationToken::new()),
                feed(servers, namespace, snapshots)
            );
        }))
    }

    async fn create_server(&self, name: &str, change: Value) -> McpServer {
        let mut spec = json!({
            "resourceUri": format!("https://{name}.example/mcp"), "port": 8000,
            "scopes": [{"name": "r"}], "requiredScopes": ["r"],
        });
        for (field, value) in change.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": name}, "spec": spec,
        });
        let object: McpServer = serde_json::from_value(object).unwrap();
        self.api::<McpServer>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Server `a` with a pod, and the operator that wrote what its sidecar enforces.
    async fn operator_of_enforced(&self) -> AbortOnDropHandle<()> {
        let labels = json!({"mcp.lumoauth.dev/server": "a"});
        self.create_pod("p", labels.clone(), labels).await;
        self.create_server("a", json!({})).await;
        let operator = self.operator(true);
        until("written", true, || self.is_enforced("a")).await;
        operator
    }

    async fn delete_server(&self, name: &str) {
        self.api::<McpServer>().delete(name, &DeleteParams::background()).await.unwrap();
    }

    /// A pod that no node takes: it exists, and nothing of it runs.
    async fn create_pod(&self, name: &str, labels: Value, annotations: Value) {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "spec": {
                "nodeSelector": {"lumoauth.test/none": "none"},
                "containers": [{"name": "app", "image": "docker.io/lumoauth/none:0"}],
            },
        });
        let object: Pod = serde_json::from_value(object).unwrap();
        self.api::<Pod>().create(&PostParams::default(), &object).await.unwrap();
    }

    async fn told(&self, pod: &str) -> Option<String> {
        self.api::<Pod>().get(pod).await.unwrap().annotations().get("mcp.lumoauth.dev/config").cloned()
    }

    async fn document(&self, server: &str) -> Option<String> {
        let map = self.api::<ConfigMap>().get_opt(&format!("{server}-mcp-sidecar")).await.unwrap()?;
        map.data?.remove("config.json")
    }

    async fn enforcement(&self, server: &str) -> Option<Enforcement> {
        let document = self.document(server).await?;
        Some(SidecarConfig::parse(document.as_bytes()).unwrap().enforcement)
    }

    async fn is_enforced(&self, server: &str) -> bool {
        matches!(self.enforcement(server).await, Some(Enforcement::Enforce(_)))
    }

    async fn status(&self, server: &str) -> McpServerStatus {
        self.api::<McpServer>().get(server).await.unwrap().status.unwrap_or_default()
    }

    async fn condition(&self, server: &str, kind: &str) -> String {
        let status = self.status(server).await;
        let found = status.conditions.iter().find(|condition| condition.type_ == kind);
        found.map(|found| format!("{}/{}", found.status, found.reason)).unwrap_or_default()
    }

    /// What the authorization server should publish for the only server of the namespace.
    async fn publish(&self) {
        let mut index = Index::default();
        index.apply_namespace(self.namespace.clone(), NamespaceMeta::default());
        for server in self.api::<McpServer>().list(&ListParams::default()).await.unwrap() {
            index.apply_server(Parsed::Object(Arc::new(server)));
        }
        let snapshot = index.snapshot();
        let entry = snapshot.servers.values().next().unwrap();
        let document = registry::metadata(entry.server().unwrap(), entry.org.as_ref().unwrap(), &self.issuing);
        *self.page.lock().unwrap() = Some(document.to_json());
    }
}

/// Feeds the registry from lists, as watches would.
async fn feed(servers: Api<McpServer>, namespace: String, snapshots: watch::Sender<Arc<Snapshot>>) {
    let mut index = Index::default();
    index.apply_namespace(namespace, NamespaceMeta::default());
    let mut seen = BTreeSet::new();
    loop {
        let listed = servers.list(&ListParams::default()).await.unwrap().items;
        let versions: BTreeSet<_> = listed.iter().map(|server| (server.uid(), server.resource_version())).collect();
        if versions != seen {
            seen = versions;
            index.retain_servers(&BTreeSet::new());
            for server in listed {
                index.apply_server(Parsed::Object(Arc::new(server)));
            }
            snapshots.send_replace(Arc::new(index.snapshot()));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// An authorization server that publishes one page under every path.
async fn page() -> (Arc<Mutex<Option<String>>>, std::net::SocketAddr) {
    let page: Arc<Mutex<Option<String>>> = Arc::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shown = Arc::clone(&page);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let page = Arc::clone(&shown);
            let service = service_fn(move |_| {
                let body = page.lock().unwrap().clone();
                async move {
                    let answer = Response::builder().header("content-type", "application/json");
                    let answer = answer.status(if body.is_some() { 200 } else { 404 });
                    Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(body.unwrap_or_default()))).unwrap())
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (page, address)
}

/// Waits until `now` gives what is wanted.
async fn until<T: PartialEq + std::fmt::Debug, F: Future<Output = T>>(what: &str, wanted: T, now: impl Fn() -> F) {
    let start = Instant::now();
    loop {
        let found = now().await;
        if found == wanted {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}; last: {found:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn deny_all(reason: &str) -> Enforcement {
    Enforcement::DenyAll { reason: reason.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_server_gets_its_objects_its_status_and_no_more_writes() {
    Fixture::with("server-objects", |fixture| async move {
        fixture.create_server("a", json!({})).await;
        let _operator = fixture.operator(true);
        until("published too early", "False/Different".to_owned(), || fixture.condition("a", "MetadataPublished"))
            .await;
        fixture.publish().await;
        until("published", "True/Published".to_owned(), || fixture.condition("a", "MetadataPublished")).await;
        let expected = [
            ("Accepted", "True/Accepted"),
            ("Injected", "Unknown/NoPods"),
            ("Programmed", "Unknown/NoPods"),
            ("BypassProtected", "Unknown/NotChecked"),
            ("EnforcementVerified", "Unknown/NoPods"),
            ("Ready", "Unknown/NoPods"),
        ];
        for (kind, condition) in expected {
            until(kind, condition.to_owned(), || fixture.condition("a", kind)).await;
        }
        let status = fixture.status("a").await;
        let document = fixture.document("a").await.unwrap();
        assert_eq!(status.config_generation.as_deref(), Some(Generation::of(document.as_bytes()).as_str()));
        assert_eq!((status.observed_generation, status.pods.unwrap().summary.as_str()), (Some(1), "0/0"));
        let service = fixture.api::<Service>().get("a-mcp").await.unwrap();
        assert_eq!(service.owner_references()[0].name, "a");
        let before =
            (fixture.api::<McpServer>().get("a").await.unwrap().resource_version(), service.resource_version());
        sleep(Duration::from_secs(3)).await;
        let service = fixture.api::<Service>().get("a-mcp").await.unwrap();
        let after = (fixture.api::<McpServer>().get("a").await.unwrap().resource_version(), service.resource_version());
        assert_eq!(before, after, "nothing changed, and something was written");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn what_is_ours_is_restored_and_what_is_not_is_left_alone() {
    Fixture::with("server-drift", |fixture| async move {
        let foreign = json!({
            "metadata": {"name": "b-mcp"}, "spec": {"ports": [{"port": 9}], "selector": {"app": "b"}},
        });
        let foreign: Service = serde_json::from_value(foreign).unwrap();
        let foreign = fixture.api::<Service>().create(&PostParams::default(), &foreign).await.unwrap();
        fixture.create_server("a", json!({})).await;
        fixture.create_server("b", json!({})).await;
        let _operator = fixture.operator(true);
        until("name taken", "False/NameTaken".to_owned(), || fixture.condition("b", "Ready")).await;
        assert_eq!(fixture.api::<Service>().get("b-mcp").await.unwrap().metadata, foreign.metadata);

        until("written", true, || async { fixture.document("a").await.is_some() }).await;
        let good = fixture.document("a").await;
        let maps: Api<ConfigMap> = fixture.api();
        let open = json!({"data": {"config.json": "{}"}});
        maps.patch("a-mcp-sidecar", &PatchParams::default(), &Patch::Merge(&open)).await.unwrap();
        until("an edited ConfigMap", good.clone(), || fixture.document("a")).await;
        maps.delete("a-mcp-sidecar", &DeleteParams::default()).await.unwrap();
        until("a deleted ConfigMap", good, || fixture.document("a")).await;
        let services: Api<Service> = fixture.api();
        let past_the_sidecar = json!({"spec": {"ports": [{"port": 80, "name": "mcp", "targetPort": 8000}]}});
        services.patch("a-mcp", &PatchParams::default(), &Patch::Merge(&past_the_sidecar)).await.unwrap();
        until("an edited Service", json!("mcp-auth"), || async {
            let service = serde_json::to_value(services.get("a-mcp").await.unwrap()).unwrap();
            service["spec"]["ports"][0]["targetPort"].clone()
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn an_edit_that_is_not_valid_denies_and_pods_are_told() {
    Fixture::with("server-edit", |fixture| async move {
        let labels = json!({"mcp.lumoauth.dev/server": "a"});
        fixture.create_pod("labelled", labels.clone(), labels.clone()).await;
        fixture.create_pod("annotated", json!({}), labels).await;
        fixture.create_pod("other", json!({}), json!({})).await;
        fixture.create_server("a", json!({})).await;
        let _operator = fixture.operator(true);
        until("pods without a sidecar", "False/Missing".to_owned(), || fixture.condition("a", "Injected")).await;
        let pods = fixture.status("a").await.pods.unwrap();
        assert_eq!((pods.selected, pods.injected, pods.summary.as_str()), (2, 0, "0/2"));
        let generation = fixture.status("a").await.config_generation;
        until("told", generation, || fixture.told("labelled")).await;

        let servers: Api<McpServer> = fixture.api();
        let edit = json!({"spec": {"path": "/a/../b"}});
        servers.patch("a", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
        until("denied", Some(deny_all("Invalid")), || fixture.enforcement("a")).await;
        until("accepted", "False/Invalid".to_owned(), || fixture.condition("a", "Accepted")).await;
        until("verified", "False/DenyAll".to_owned(), || fixture.condition("a", "EnforcementVerified")).await;
        let generation = fixture.status("a").await.config_generation;
        until("told again", generation, || fixture.told("labelled")).await;
        assert_eq!((fixture.told("annotated").await, fixture.told("other").await), (None, None));
        assert_eq!(fixture.status("a").await.observed_generation, Some(2));
    })
    .await;
}

/// What holds of a server that is gone: its pods deny, and what it left goes with the last of them.
async fn denies_until_its_last_pod_is_gone(fixture: &Fixture) {
    until("denied", Some(deny_all("Deleted")), || fixture.enforcement("a")).await;
    let generation = Generation::of(fixture.document("a").await.unwrap().as_bytes());
    until("told", Some(generation.as_str().to_owned()), || fixture.told("p")).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(fixture.enforcement("a").await, Some(deny_all("Deleted")), "a pod still carries the label");
    fixture.api::<Pod>().delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    until("removed", None, || fixture.document("a")).await;
    until("the Service", false, || async { fixture.api::<Service>().get_opt("a-mcp").await.unwrap().is_some() }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_deleted_server_denies_until_its_last_pod_is_gone() {
    Fixture::with("server-deleted", |fixture| async move {
        let _operator = fixture.operator_of_enforced().await;
        fixture.delete_server("a").await;
        denies_until_its_last_pod_is_gone(&fixture).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_server_deleted_while_no_operator_ran_denies_too() {
    Fixture::with("server-absent", |fixture| async move {
        drop(fixture.operator_of_enforced().await);
        fixture.delete_server("a").await;
        sleep(Duration::from_secs(1)).await;
        assert!(fixture.is_enforced("a").await, "nobody is there to change it");
        let standby = fixture.operator(false);
        sleep(Duration::from_secs(1)).await;
        assert!(fixture.is_enforced("a").await, "only the leader writes");
        drop(standby);
        let _operator = fixture.operator(true);
        denies_until_its_last_pod_is_gone(&fixture).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_server_deleted_with_its_configmap_while_no_operator_ran_denies_too() {
    Fixture::with("server-lost", |fixture| async move {
        drop(fixture.operator_of_enforced().await);
        fixture.delete_server("a").await;
        fixture.api::<ConfigMap>().delete("a-mcp-sidecar", &DeleteParams::default()).await.unwrap();
        until("nothing is left", None, || fixture.document("a")).await;
        let _operator = fixture.operator(true);
        denies_until_its_last_pod_is_gone(&fixture).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn an_edit_that_cannot_be_written_is_not_said_to_be_in_force() {
    Fixture::with("server-immutable", |fixture| async move {
        fixture.create_server("a", json!({})).await;
        let _operator = fixture.operator(true);
        until("written", "Unknown/NoPods".to_owned(), || fixture.condition("a", "Programmed")).await;
        let maps: Api<ConfigMap> = fixture.api();
        let immutable = json!({"immutable": true});
        maps.patch("a-mcp-sidecar", &PatchParams::default(), &Patch::Merge(&immutable)).await.unwrap();
        let edit = json!({"spec": {"path": "/a/../b"}});
        fixture.api::<McpServer>().patch("a", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
        until("programmed", "False/WriteFailed".to_owned(), || fixture.condition("a", "Programmed")).await;
        assert_eq!(fixture.condition("a", "EnforcementVerified").await, "Unknown/WriteFailed");
        assert_eq!(fixture.status("a").await.observed_generation, Some(2));
        maps.delete("a-mcp-sidecar", &DeleteParams::default()).await.unwrap();
        until("denied", Some(deny_all("Invalid")), || fixture.enforcement("a")).await;
        until("programmed", "Unknown/NoPods".to_owned(), || fixture.condition("a", "Programmed")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_server_that_becomes_stdio_leaves_nothing_open() {
    Fixture::with("server-stdio", |fixture| async move {
        let _operator = fixture.operator_of_enforced().await;
        let stdio = json!({"spec": {"transport": "Stdio"}});
        fixture.api::<McpServer>().patch("a", &PatchParams::default(), &Patch::Merge(&stdio)).await.unwrap();
        until("ready", "True/Ready".to_owned(), || fixture.condition("a", "Ready")).await;
        until("pods", "True/NotApplicable".to_owned(), || fixture.condition("a", "Injected")).await;
        denies_until_its_last_pod_is_gone(&fixture).await;
    })
    .await;
}
